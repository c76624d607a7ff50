"""ARI: a knowledge base of parameters, chosen by their predicted adaptation.

"Adaptation Rate Integral", anonymous submission to ICLR. A knowledge base Θ of whole
sets of parameters lives in the weights of one hypernetwork. For a new task the sets
that are predicted to adapt fastest are trained on it, all of them (exploration); how
fast they did teaches the estimator of the adaptation rate q; the best of old and new
sets are stored again (consolidation). To use a task, the set predicted to adapt fastest
is fine-tuned on a few examples of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated
from typing import Any
from typing import Literal

import numpy as np

from keras_lifelong.checks import Above
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import In
from keras_lifelong.checks import Seed
from keras_lifelong.layers import extractors
from keras_lifelong.methods.ari import exemplars
from keras_lifelong.methods.ari import probes
from keras_lifelong.methods.ari.estimator import rank_correlation
from keras_lifelong.methods.ari.exploration import Exploration
from keras_lifelong.methods.ari.exploration import Trial
from keras_lifelong.methods.ari.keeping import worth_keeping
from keras_lifelong.methods.ari.knowledge_base import GENERATED
from keras_lifelong.methods.ari.knowledge_base import KnowledgeBase
from keras_lifelong.methods.ari.knowledge_base import check_initializer
from keras_lifelong.methods.ari.knowledge_base import hypernetwork_config
from keras_lifelong.methods.ari.parameters import DRAWN
from keras_lifelong.methods.ari.parameters import Candidate
from keras_lifelong.methods.ari.parameters import Form
from keras_lifelong.methods.ari.parameters import Parameters
from keras_lifelong.methods.ari.parameters import score
from keras_lifelong.methods.ari.rates import RateEstimator
from keras_lifelong.methods.ari.selections import Selecting
from keras_lifelong.methods.ari.selections import Selection
from keras_lifelong.methods.ari.signatures import Signer
from keras_lifelong.methods.ari.storing import Storing
from keras_lifelong.methods.ari.workbench import Adaptation
from keras_lifelong.methods.ari.workbench import FineTuning
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.seeds import derive_seed

Count = Annotated[int, AtLeast(1)]


@register
class ARI(Selecting):
    """Learns tasks from a knowledge base of parameters in a hypernetwork.

    Args:
        backbone: `keras.Sequential` or functional `keras.Model` of hidden layers, of
            one input. Layers of it that are not trainable are the same for all sets.
        memory_budget: B, the sets of parameters in the knowledge base; at least 1, as
            every number of things here but for what is said otherwise.
        training_budget: Q, how many are trained on each task.
        initial: how many newly drawn ones are candidates for each task, at most B.
        initializer: of these: "generated", by the hypernetwork, which can store again
            what came from it; or the name of a Keras initializer.
        exemplars: D, the training examples that are kept, in all.
        outputs: of the head in every set. None: those of the first task.
        head_bias: whether that head has a bias; the paper's networks have none.
        hypernetwork: "chunked", "structured" or a dict of "name" and arguments; see
            `keras_lifelong.layers.hypernetwork`.
        rate: "area", the adaptation rate integral (Eq. 4), or "steps", by the steps to
            convergence (section 4.5).
        interval: steps between two measurements of the accuracy of a candidate.
        horizon: measurements, after the first, that the rate is made of; later ones
            are taken after each epoch alone. None: all.
        at_once: whether all sets are trained on a task at once, over stacked weights,
            and not one after another. The results are the same but for rounding;
            validation data is not scored meanwhile. None: where it is faster, of dense
            networks and on accelerators, if the optimizer moves each weight by itself.
        selection: how the set for a task is chosen when it is used: "estimator", or to
            see what that is worth "random", "exemplar_loss" (the set of the least loss
            on the task's examples) or "drawn" (none: new parameters by He's rule, so
            that the examples alone are learned from).
        adaptation: epochs of fine-tuning on a task's examples; 0: none.
        adaptation_scale: by which the optimizer's steps are shortened there, in (0, 1]:
            a set that knows a task is easily spoilt by few examples. A "drawn" one goes
            the whole step.
        keep: "one": every task keeps its best set alone; if these are more than B, the
            sets go without which tasks lose least. "each": then tasks take turns, each
            keeping its next best, until B sets are kept: there are more to begin from.
            "sum" (the paper): those of the largest sum over all tasks, often copies.
        rehearse: whether the estimator also learns from the sets as they were stored,
            each tried for an epoch on the examples of each task; without it, it knows
            them only as they were before they were trained.
        weight_decay: λ of coupled L2 while parameters are trained, at least 0.
        storing_steps, storing_rate: of the hypernetwork's Adam, along a cosine; the
            rate is above 0.
        storing_batch: inputs that each of these steps sees, of four sets; at least 4.
        function: weight of the answers beside the parameters in what is stored, at
            least 0; 0: the parameters alone, as in the paper.
        estimator_epochs: passes over the remembered pairs.
        extractor: of the features by which tasks are described: see `PAR`; "pca", the
            default, takes the values as they are, so that it sees where they stand.
        signature: numbers by which a task or a set is described, at least 64; most of
            the estimator's parameters are to read them.
        pretrained: whether for every task one of the `initial` sets has the backbone's
            weights, the others being drawn. The hypernetwork stores them worse than
            sets that it generated, which `retention` in the log tells.
        seed, name: see `LifelongModel`.

    Rates are of accuracies, or of what `parameters.score` has where there are none.

    Raises:
        ValueError: if an argument is of another type or range, naming it.

    Example:

    ```python
    stream = kl.streams.get("split_mnist", train_per_task=1000)
    model = kl.ARI(kl.backbones.get("mlp_100_100", (28, 28, 1)), outputs=10)
    model.compile(keras.optimizers.Adam(1e-3))
    result = model.fit_stream(stream, epochs=10, batch_size=10)
    model.choices("task_0")  # the slots, best first
    ```
    """

    takes_weights = False  # of examples
    sizes_from = ("memory_budget", "outputs", "hypernetwork", "signature")

    def __init__(
        self,
        backbone,
        memory_budget: Count = 20,
        training_budget: Count = 10,
        initial: Count = 3,
        initializer: str = GENERATED,
        exemplars: Count = 200,
        outputs: Count | None = None,
        head_bias: bool = False,
        hypernetwork: Literal["chunked", "structured"] | dict[str, Any] = "chunked",
        rate: Literal["area", "steps"] = "area",
        interval: Count = 10,
        horizon: Count | None = 10,
        at_once: bool | None = None,
        selection: Selection = "estimator",
        adaptation: Annotated[int, AtLeast(0)] = 10,
        adaptation_scale: Annotated[float, In(0, 1, open_low=True)] = 0.1,
        keep: Literal["one", "each", "sum"] = "each",
        rehearse: bool = True,
        weight_decay: Annotated[float, AtLeast(0)] = 1e-3,
        storing_steps: Count = 2000,
        storing_rate: Annotated[float, Above(0)] = 3e-3,
        storing_batch: Annotated[int, AtLeast(4)] = 200,
        function: Annotated[float, AtLeast(0)] = 10.0,
        estimator_epochs: Count = 1000,
        extractor: str | dict[str, Any] | Callable = "pca",
        signature: Annotated[int, AtLeast(64)] = 2048,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(ARI, locals())
        if options["initial"] > options["memory_budget"]:
            raise ValueError(
                "`initial` must be at most `memory_budget`, which is "
                f"{memory_budget}. Received: {initial}"
            )
        check_initializer(options["initializer"])
        options["hypernetwork"] = hypernetwork_config(options["hypernetwork"])
        extract = extractors.get(options["extractor"])
        options["extractor"] = getattr(extract, "config", extractor)
        super().__init__(backbone, seed, pretrained, name, options)
        o, seed = self.options, self.seed
        self.form = Form(self.network, o.head_bias)
        self.signer = Signer(self.form, extract, o.signature, seed)
        self.knowledge_base = KnowledgeBase(
            self.form, o.memory_budget, o.hypernetwork, seed
        )
        if self.pretrained:
            self.knowledge_base.keep_given(self.memory)
        self.estimator = RateEstimator(o.signature, seed)
        self.exploration = Exploration(self.trainer, self.form, seed)
        self.adaptation = Adaptation(self.trainer, self.form, seed)

    @property
    def outputs_per_set(self) -> int | None:
        if self.options.outputs or not self.task_names:
            return self.options.outputs
        return self.task_spec(self.task_names[0]).units

    def release(self, name):
        self._change_options(outputs=self.outputs_per_set)  # as the first task has it
        super().release(name)

    # Algorithm 1

    def learn(self, task):
        """One round of the paper's Algorithm 1.

        Lines 2 and 3 choose candidates from Θ and new sets, 4 and 5 train them, 6 adds
        their rates to the pairs, 7 trains q on the pairs, 8 chooses the B sets that
        are kept, and 9 stores them in Θ.
        """
        name, memory, o = task.name, self.memory, self.options
        base, estimator = self.knowledge_base, self.estimator
        if not base.is_made:
            base.make(self.outputs_per_set)
        estimator.describe(memory, name, self.signer.of_task(task))
        candidates = self.candidates(name)  # lines 2 and 3
        trained, rates = yield from self.explore(task, candidates)  # lines 4 and 5
        for candidate, rate in zip(candidates, rates, strict=True):
            estimator.add(memory, candidate.signature, name, rate)  # line 6
        correlation = rank_correlation([c.predicted for c in candidates], rates)
        self.log(name, "knowledge base", "rank correlation", 0, value=correlation)
        exemplars.keep(memory, name, *task.train, o.exemplars, self.seed)
        yield from estimator.fit(memory, o.estimator_epochs)  # line 7
        known = self.knowledge() + trained
        kept = [known[i] for i in self.best(known)]  # line 8
        yield from self.store(task, kept)  # line 9
        if o.rehearse:
            yield from estimator.fit(memory, o.estimator_epochs, self.rehearsed())

    def candidates(self, name: str) -> list[Candidate]:
        """The sets to train on a task: of all known and some new, the most promising.

        Line 3 has arg min for what the text and the figures call the highest estimate;
        this is arg max.
        """
        known, o = self.knowledge(), self.options
        for i in range(o.initial):
            base, parts = self.knowledge_base, ("initial", name, i)
            drawn = base.drawn(*parts, initializer=o.initializer)
            if i == 0:
                drawn = base.given(self.memory, *parts) or drawn
            known.append(Candidate(drawn, self.signer.of_set(drawn)))
        predicted = self.estimator.predict(self.memory, known, [name])[:, 0]
        order = np.argsort(-predicted, kind="stable")[: o.training_budget]
        return [
            dataclasses.replace(known[i], predicted=float(predicted[i])) for i in order
        ]

    def explore(self, task, candidates: list[Candidate]):
        """Trains sets on a task; returns them as trained, and their rates."""
        name, o, exploration = task.name, self.options, self.exploration
        at_once = exploration.goes_at_once(o.at_once, self.optimizer_config())
        trial = Trial(at_once, o.interval, o.horizon, o.rate, o.weight_decay)
        bench = exploration.bench(self.head, self.loss_kind(name))
        starts = [c.parameters for c in candidates]
        tried = yield from exploration.explore(task, bench, starts, trial)
        trained = []
        for i, (start, end) in enumerate(zip(candidates, tried, strict=True)):
            why = {"predicted": start.predicted, "rate": end.rate, "curve": end.curve}
            source = start.parameters.source
            self.log(name, source, "explore", 0, **why, learned=start.task)
            new = self.knowledge_base.as_new(end.parameters, start, name, i)
            trained.append(Candidate(new, self.signer.of_set(new), task=name))
        return trained, [t.rate for t in tried]

    def best(self, known: list[Candidate]) -> list[int]:
        """Which sets are worth keeping, by their rates on all tasks seen."""
        names, o = self.task_names, self.options
        rates = self.estimator.predict(self.memory, known, names)
        learned = np.array([[c.task == name for name in names] for c in known])
        return worth_keeping(rates, learned, o.memory_budget, o.keep)

    def store(self, task, kept: list[Candidate]):
        """Makes these the sets of the knowledge base, and logs how well that went.

        Accuracies are on the examples of the task that a set was last trained on.
        """
        base, memory, o = self.knowledge_base, self.memory, self.options
        how = Storing(o.storing_steps, o.storing_rate, o.storing_batch, o.function)
        tasks: list[Any] = [c.task for c in kept]  # names: all have been trained
        specs = [self.task_spec(other) for other in tasks]
        old = [other != task.name for other in tasks]
        inputs = self.probes(kept, task.train[0], old)
        yield from base.store(memory, kept, specs, inputs, old, how)
        for slot, c in enumerate(kept):
            examples = self.exemplars(tasks[slot])
            found = base.retention(memory, slot, c.parameters, *examples, specs[slot])
            why = {"error": found["error"], "accuracy": found["score"]}
            why = {"from": c.parameters.source, "learned": c.task, **why}
            self.log(task.name, f"slot {slot}", "keep", 0, **why, drop=found["drop"])

    def probes(self, kept: list[Candidate], newest, old) -> list:
        """Inputs on which the answers of each set are to stay: see `probes.of`.

        Where they would be many millions of numbers: what makes them (`made_of`).

        Args:
            kept: the sets.
            newest: the newest task's training inputs (n, …).
            old: for each, whether it is one that was stored before.
        """
        found: list = []
        make: Any = probes.of
        numbers = int(np.prod(self.backbone_input_shape)) * probes.PROBES
        if numbers * self.options.memory_budget > probes.MOST:
            make = probes.made_of
            seed = derive_seed(self.seed, "probes", len(self.task_names))
            newest = probes.pool_of(newest, seed)
        for slot, (c, was) in enumerate(zip(kept, old, strict=True)):
            name: Any = c.task  # it has been trained on one
            x = self.exemplars(name)[0] if was else newest
            seed = derive_seed(self.seed, "probes", len(self.task_names), slot)
            found.append(make(self.form.network, x, was, seed))
        return found

    def rehearsed(self) -> list[tuple]:
        """Pairs of every set in the base and every task, tried on its examples."""
        found, answers = [], self.form.answers
        for index, name in enumerate(self.task_names):
            (x, y), spec = self.exemplars(name), self.task_spec(name)
            for candidate in self.knowledge():
                start = candidate.parameters
                curve = [
                    score(answers(used, x)[:, : spec.units], y, spec.kind)
                    for used in (start, self.adapt(name, start, epochs=1))
                ]
                found.append((candidate.signature, index, np.mean(curve)))
        return found

    # How a task is used

    def adapted(self, name: str) -> Parameters:
        """The set that a task is used with: chosen, and fine-tuned on its examples.

        It is made when the task is first used, kept until something is learned, and
        never written back: tasks take no memory but for their examples.
        """
        o, computed = self.options, self.knowledge_base.computed
        key = (name, o.selection, o.adaptation, o.adaptation_scale)
        with computed.lock:
            known = computed.of(self.memory)
            if key not in known:
                self.adaptation.check_untraced(name)
                with self.as_remembered():
                    chosen = self.choose(name)
                known[key] = self.adapt(name, chosen)
            return known[key]

    def adapt(self, name: str, parameters: Parameters, epochs: int | None = None):
        """A set as fine-tuning on the examples of a task makes it; nothing is changed.

        Args:
            name: of the task.
            parameters: the set.
            epochs: None: those of the option `adaptation`.
        """
        o = self.options
        scale = 1.0 if parameters.source == DRAWN else o.adaptation_scale
        epochs = o.adaptation if epochs is None else epochs
        tuning = FineTuning(epochs, scale, o.weight_decay)
        bench = self.adaptation.bench(self.task_spec(name).units, self.loss_kind(name))
        return self.adaptation.adapt(
            name, bench, parameters, *self.exemplars(name), tuning
        )

    def choose(self, name: str, how: Selection | None = None) -> Parameters:
        """The set from which a task is adapted (section 3.4).

        Args:
            name: of a learned task.
            how: see `selection`, which is meant by None.
        """
        how, known = how or self.options.selection, self.knowledge()
        if how == "drawn":
            return self.knowledge_base.drawn("alone", name, initializer="he_normal")
        if how == "random":
            seed = derive_seed(self.seed, "random", name, len(self.task_names))
            return known[np.random.default_rng(seed).integers(len(known))].parameters
        return known[self.choices(name, how)[0]].parameters

    def choices(self, name: str, how: str = "estimator") -> list[int]:
        """The slots by what they promise for a task, the best first.

        Args:
            name: of a learned task.
            how: "estimator" or "exemplar_loss".
        """
        known = self.knowledge()
        if how == "estimator":
            tasks = [self._record(name) and name]
            promise = self.estimator.predict(self.memory, known, tasks)[:, 0]
        else:
            units, kind = self.task_spec(name).units, self.loss_kind(name)
            data = *self.exemplars(name), units, kind
            promise = -np.array([self.form.loss(c.parameters, *data) for c in known])
        return [int(i) for i in np.argsort(-promise, kind="stable")]
