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
from typing import get_args

import keras
import numpy as np
from keras import ops

from keras_lifelong.checks import Above
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import In
from keras_lifelong.checks import Seed
from keras_lifelong.layers import extractors
from keras_lifelong.layers import head as heads
from keras_lifelong.layers.normalization import batch_normalizations
from keras_lifelong.methods.ari.estimator import rank_correlation
from keras_lifelong.methods.ari.exploration import Exploration
from keras_lifelong.methods.ari.generated import GENERATED
from keras_lifelong.methods.ari.generated import GeneratedModel
from keras_lifelong.methods.ari.generated import Parameters
from keras_lifelong.methods.ari.probes import mixed
from keras_lifelong.methods.ari.probes import repeated
from keras_lifelong.methods.ari.probes import shifted
from keras_lifelong.methods.ari.rates import Candidate
from keras_lifelong.methods.ari.rates import EstimatedRates
from keras_lifelong.methods.ari.rates import worth_keeping
from keras_lifelong.methods.ari.workbench import accuracy
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training.data import filled

Count = Annotated[int, AtLeast(1)]
Selection = Literal["estimator", "random", "exemplar_loss", "drawn"]
SELECTIONS: tuple[Selection, ...] = get_args(Selection)
HYPERNETWORKS = {
    "chunked": {
        "name": "chunked",
        "chunk": 200,
        "units": [100, 100],
        "chunk_embedding": 8,
        "slot_embedding": 8,
    },
    "structured": {
        "name": "structured",
        "units": [25, 25],
        "chunk_embedding": 8,
        "slot_embedding": 8,
    },
}


@register
class ARI(Exploration, EstimatedRates, GeneratedModel):
    """Learns tasks from a knowledge base of parameters in a hypernetwork.

    Args:
        backbone: `keras.Sequential` of hidden layers.
        memory_budget: B, the sets of parameters in the knowledge base; at least 1, as
            every number of things here but for what is said otherwise.
        training_budget: Q, how many are trained on each task.
        initial: how many newly drawn ones are candidates for each task, at most B.
        initializer: of these: "generated", by the hypernetwork, which can store again
            what came from it; or the name of a Keras initializer.
        exemplars: D, the training examples that are kept, in all.
        outputs: of the head in every set. None: those of the first task.
        head_bias: whether that head has a bias; the paper's networks have none.
        hypernetwork: "chunked" or "structured", or a dict of "name" and arguments of
            the layer (see `keras_lifelong.layers.hypernetwork`).
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
        keep: "one": every task keeps its best set, and no other, so that little has to
            be stored; of more than B, those go that tasks lose least by. "each": of
            the sets that are left every task in turn keeps one more, until B are kept,
            so that there are more to begin from. "sum" (the paper): the B of the
            largest sum over all tasks, which tends to keep copies of one.
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
        seed, name: see `LifelongModel`.

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
        name: str | None = None,
    ):
        options = checked_options(ARI, locals())
        if options["initial"] > options["memory_budget"]:
            raise ValueError(
                "`initial` must be at most `memory_budget`, which is "
                f"{memory_budget}. Received: {initial}"
            )
        _check_initializer(options["initializer"])
        options["hypernetwork"] = _hypernetwork(options["hypernetwork"])
        self.extractor = extractors.get(options["extractor"])
        options["extractor"] = getattr(self.extractor, "config", extractor)
        super().__init__(backbone, seed=seed, name=name, options=options)
        self.make_estimator()

    # Algorithm 1

    def learn(self, task):
        name = task.name
        if self._store.hypernetwork is None:
            self.make_hypernetwork()
        self.memory["signature", name] = self.sign_task(task)
        candidates = self.candidates(name)  # lines 2 and 3
        trained, rates = yield from self.explore(task, candidates)  # lines 4 and 5
        for candidate, rate in zip(candidates, rates, strict=True):
            self.add_pair(candidate.signature, name, rate)  # line 6
        correlation = rank_correlation([c.predicted for c in candidates], rates)
        self.log(name, "knowledge base", "rank correlation", 0, value=correlation)
        self.keep_exemplars(task)
        yield from self.fit_estimator()  # line 7
        known = self.knowledge() + trained
        kept = [known[i] for i in self.best(known)]  # line 8
        sets, tasks = [c.parameters for c in kept], [c.task for c in kept]
        old = [c.task != name for c in kept]
        probes = self.probes(kept, task.train[0], old)
        yield from self.store(sets, tasks, probes, old)  # line 9
        for slot, c in enumerate(kept):
            self.log(name, f"slot {slot}", "keep", 0, **self.retention(slot, c))
        if self.options.rehearse:
            yield from self.fit_estimator(self.rehearsed())

    def best(self, known: list[Candidate]) -> list[int]:
        """Which sets are worth keeping, by their rates on all tasks seen."""
        names, o = self.task_names, self.options
        rates = self.predict_rates(known, names)
        learned = np.array([[c.task == name for name in names] for c in known])
        return worth_keeping(rates, learned, o.memory_budget, o.keep)

    def knowledge(self) -> list[Candidate]:
        """The sets in the knowledge base, as they are generated now."""
        known = self._store.known_of(self.memory)
        if "knowledge" not in known:
            found = []
            for slot, of in enumerate(self.slots):
                parameters = self.generated(slot)
                signature = self.sign(parameters)
                found.append(Candidate(parameters, signature, task=of["task"]))
            known["knowledge"] = found
        return list(known["knowledge"])

    def probes(self, kept: list[Candidate], newest, old) -> list[np.ndarray]:
        """Inputs on which the answers of each set are to stay.

        Of a set that has just learned the newest task, that task's training images.
        Of an older one there are a few examples of the task that it was last trained
        on, of which many are made. There are no labels to be wrong: an older set is
        what is generated now, and says itself what it answers. Mixed values would
        change what batch normalisation sees, so a network that has it is asked about
        the examples as they are, or images shifted and mirrored.
        """
        of_old = shifted if batch_normalizations(self.network) else mixed
        found = []
        for slot, candidate in enumerate(kept):
            seed = derive_seed(self.seed, "probes", len(self.task_names), slot)
            if old[slot]:
                found.append(of_old(self.exemplars(candidate.task)[0], seed))
            else:
                found.append(repeated(newest, seed))
        return found

    def retention(self, slot: int, kept: Candidate) -> dict:
        """What became of a set that was stored: see `Hypernetwork.retention`.

        Accuracies are on the examples of the task it was last trained on.
        """
        x, y = self.exemplars(kept.task)
        units = self.task_spec(kept.task).units

        def score(values):
            stored = self.knowledge()[slot].parameters
            changed = dataclasses.replace(stored, values=values)
            return accuracy(self.outputs_under(changed, x)[:, :units], y)

        found = self.hypernetwork.retention({slot: kept.parameters.values}, score)
        return {
            "from": kept.parameters.source,
            "learned": kept.task,
            "error": found[slot]["error"],
            "accuracy": found[slot]["score"],
            "drop": found[slot]["drop"],
        }

    # How a task is used

    def choose(self, name: str, how: Selection | None = None) -> Parameters:
        """The set from which a task is adapted (section 3.4).

        Args:
            name: of a learned task.
            how: see `selection`, which is meant by None.
        """
        how, known = how or self.options.selection, self.knowledge()
        if how == "drawn":
            return self.drawn("alone", name, initializer="he_normal")
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
            promise = self.predict_rates(known, [self._record(name) and name])[:, 0]
        else:
            promise = -np.array([self.exemplar_loss(name, c) for c in known])
        return [int(i) for i in np.argsort(-promise, kind="stable")]

    def exemplar_loss(self, name: str, candidate: Candidate) -> float:
        """Mean loss of a set, before any adaptation, on the examples of a task."""
        x, y = self.exemplars(name)
        units = self.task_spec(name).units
        weight = filled(np.ones(len(y), "float32"))
        logits = self.outputs_under(candidate.parameters, filled(x))[:, :units]
        batch = map(ops.convert_to_tensor, (filled(y), logits, weight))
        return float(heads.mean_loss(self.loss_kind(name), *batch))

    def compare_selections(self, tasks, epochs=(0, 1, 10)) -> list[dict]:
        """What the choice of a set is worth: accuracy on tasks by how it is chosen.

        To be shown beside every result: much of what ARI reaches, the examples reach by
        themselves ("drawn"), if they are fine-tuned on for long enough.

        Args:
            tasks: learned `Task`s with test data.
            epochs: of fine-tuning on the examples, one row for each and selection.

        Returns:
            List of dicts of "selection", "epochs" and "accuracy", the mean over tasks.
        """
        rows, tested = [], [self.load_task(task) for task in tasks]
        for selection in SELECTIONS:
            chosen = [self.choose(task.name, selection) for task in tested]
            for count in epochs:
                found = []
                for task, start in zip(tested, chosen, strict=True):
                    used, (x, y) = self.adapt(task.name, start, count), task.test
                    logits = self.outputs_under(used, x)[:, : task.spec.units]
                    found.append(accuracy(logits, y))
                mean = float(np.mean(found))
                row = {"selection": selection, "epochs": count, "accuracy": mean}
                rows.append(row)
        return rows

    def sizes(self) -> dict[str, int]:
        """Numbers held.

        Returns:
            Dict of "hypernetwork", which `count_params()` counts; "statistics" of
            normalisation by slot; "estimator"; "exemplars"; "signatures", of tasks and
            remembered pairs; and "extractor".
        """

        def held(*kinds):
            return sum(v.size for key, v in self.memory.items() if key[0] in kinds)

        return {
            "hypernetwork": self.network_params(),
            "statistics": held("statistics"),
            "estimator": self._store.estimator.count_params(),
            "exemplars": held("exemplars"),
            "signatures": held("signature", "pairs"),
            "extractor": getattr(self.extractor, "count_params", lambda: 0)(),
        }

    def summarize_network(self, print_fn, **kwargs):
        super().summarize_network(print_fn, **kwargs)
        parts = [f"{size:,} {name}" for name, size in self.sizes().items()]
        print_fn(f"Numbers held: {', '.join(parts)}")


def _check_initializer(given: str) -> None:
    if given == GENERATED:
        return
    try:
        keras.initializers.get(given)
    except ValueError as error:
        raise ValueError(
            f"`initializer` must be {GENERATED!r} or the name of a Keras initializer. "
            f"Received: {given!r}"
        ) from error


def _hypernetwork(given: str | dict[str, Any]) -> dict[str, Any]:
    """The name and arguments of a hypernetwork, from a name or a dict of some."""
    given = {"name": given} if isinstance(given, str) else given
    if given.get("name") not in list(HYPERNETWORKS):
        raise ValueError(
            f"`hypernetwork` must be one of {sorted(HYPERNETWORKS)}, or a dict of its "
            f"name and arguments. Received: {given!r}"
        )
    return {**HYPERNETWORKS[given["name"]], **given}
