"""What is asked of every `LifelongModel`, answered by the parts that ARI is made of."""

from __future__ import annotations

import contextlib

import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.layers import head as heads
from keras_lifelong.methods.ari import exemplars
from keras_lifelong.methods.ari import rates
from keras_lifelong.methods.ari.knowledge_base import KnowledgeBase
from keras_lifelong.methods.ari.knowledge_base import Slot
from keras_lifelong.methods.ari.parameters import Candidate
from keras_lifelong.methods.ari.parameters import Form
from keras_lifelong.methods.ari.parameters import Parameters
from keras_lifelong.methods.ari.rates import RateEstimator
from keras_lifelong.methods.ari.signatures import Signer
from keras_lifelong.model.lifelong import LifelongModel
from keras_lifelong.model.reading import Reading
from keras_lifelong.model.state import AllInMemory
from keras_lifelong.streams.forms import is_dataset
from keras_lifelong.training.distillation import check_compared


class GeneratedModel(AllInMemory, LifelongModel):
    """A `LifelongModel` whose tasks are used with sets that a hypernetwork generates.

    The network and head are where a set is put to be trained; nothing is learned there
    that lasts. What lasts is in memory: what the parts keep there, and some examples
    of each task. No task has parameters of its own.

    A subclass makes the parts, and says `outputs_per_set` and which set is `adapted`.

    Attributes:
        form: a `Form`: of the network, and whether its head has a bias.
        signer: a `Signer` of sets of that form, and of tasks.
        knowledge_base: a `KnowledgeBase`: Θ.
        estimator: a `RateEstimator`: q.
    """

    carries_graphs = True

    form: Form
    signer: Signer
    knowledge_base: KnowledgeBase
    estimator: RateEstimator

    task_forms = (*exemplars.FORMS, *rates.FORMS)

    # What a subclass says

    @property
    def outputs_per_set(self) -> int | None:
        """Outputs of the head in every set; None while that is not known."""
        raise NotImplementedError(f"{type(self).__name__} says how many.")

    def adapted(self, name: str) -> Parameters:
        """The set that a task is used with."""
        raise NotImplementedError(f"{type(self).__name__} chooses a set.")

    # What is known

    @property
    def slots(self) -> list[Slot]:
        """A `Slot` for each set in the knowledge base: its task, its source."""
        training = self._session.training
        if training is None or training.is_mine:
            return self.knowledge_base.slots
        return training.structure["slots"]

    def knowledge(self) -> list[Candidate]:
        """The sets in the knowledge base, as they are generated now."""
        base, memory = self.knowledge_base, self.memory
        known = base.computed.of(memory)
        if "knowledge" not in known:
            found = []
            for number, slot in enumerate(self.slots):
                parameters = base.generated(memory, number)
                signature = self.signer.of_set(parameters)
                found.append(Candidate(parameters, signature, task=slot["task"]))
            known["knowledge"] = found
        return list(known["knowledge"])

    def exemplars(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The examples kept of a task: inputs (n, …) and labels."""
        return exemplars.of(self.memory, name)

    # How a task is read: nothing is written

    def reading(self, name):
        training = self._session.training
        if training is None or not training.is_mine or name == self.active_task:
            return super().reading(name)
        with training.looking_back():  # what is half stored answers nothing
            return super().reading(name)

    def reading_of(self, name, memory, training=None):
        self._record(name, memory)
        units, form = self.task_spec(name).units, self.form
        network = form.network
        if not self.slots or not exemplars.kept(memory, name):
            kernel = heads.draw(form.width, units, self.seed, f"head/{units}")
            values = [None] * len(network.variables)  # it was added and not learned
            bias = np.zeros(units, "float32")
            return Reading(network, network.variables, values, (kernel, bias))
        found = self.adapted(name)
        kernel, *bias = form.head_of(found)
        bias = bias[0] if bias else np.zeros(units)
        return Reading(
            network,
            [*form.trained, *form.statistics, *form.frozen],
            [
                *found.values[: len(form.trained)],
                *found.statistics,
                *(None for _ in form.frozen),  # as they stand
            ],
            (kernel[:, :units], bias[:units].astype("float32")),
        )

    @contextlib.contextmanager
    def as_remembered(self):
        """Within it the parts generate and predict by what this thread's memory says.

        While another thread trains them, that is what they were before.
        """
        training, kept = self._session.training, {}
        if training is not None and not training.is_mine:
            kept = {**self.knowledge_base.variables(), **self.estimator.variables()}
        found = {key: v for key, v in kept.items() if key in self.memory}
        values = [ops.convert_to_tensor(self.memory[key]) for key in found]
        with backend.ValuesScope(list(found.values()), values):
            yield

    # The active network: a place to train sets in

    def activate(self, name):
        """Makes a task the active one, with whatever parameters are in use."""
        if name is not None:
            self._slot(self.task_spec(name).units)
        self._session.active = name

    def store_active(self):
        """Nothing to do: what is in the active network does not last."""

    def head_key(self, name):
        """A place that all tasks of as many outputs have in turn, and no task's own."""
        return ("head", self.memory.records[name].spec.units)

    def draw_head(self, name, spec):
        """Nothing to do: every set has a head."""

    def log_initial(self, task):
        """Nothing to do: every set is logged as it is kept."""

    # Sizes

    def network_params(self):
        return self.knowledge_base.count_params()

    def task_params(self):
        return 0  # tasks have no parameters of their own

    def base_params(self) -> int:
        shapes = self.form.shapes(self.outputs_per_set)
        return sum(int(np.prod(shape)) for shape in shapes)

    def sizes(self) -> dict[str, int]:
        """Numbers held.

        Returns:
            Dict of "hypernetwork", which `count_params()` counts; "statistics" of
            normalisation by slot; "estimator"; "exemplars"; "signatures", of tasks and
            remembered pairs; and "extractor".
        """

        def held(*kinds):
            return sum(v.size for key, v in self.memory.items() if key[0] in kinds)

        extractor = self.signer.extractor
        return {
            "hypernetwork": self.network_params(),
            "statistics": held("statistics"),
            "estimator": self.estimator.network.count_params(),
            "exemplars": held("exemplars"),
            "signatures": held("signature", "pairs"),
            "extractor": getattr(extractor, "count_params", lambda: 0)(),
        }

    def summarize_network(self, print_fn, **kwargs):
        super().summarize_network(print_fn, **kwargs)
        parts = [f"{size:,} {name}" for name, size in self.sizes().items()]
        print_fn(f"Numbers held: {', '.join(parts)}")
        held = self.network_params()
        alone = self.knowledge_base.budget * self.base_params() if held else 0
        if held > alone:
            print_fn(
                f"The hypernetwork holds {held:,} numbers, more than the {alone:,} of "
                "all its sets: `hypernetwork` may have narrower `units`, or a larger "
                "`memory_budget`."
            )

    # What is accepted

    def check_spec(self, name, spec, others):
        super().check_spec(name, spec, others)
        check_compared(type(self).__name__, name, spec)
        accepted = self.outputs_per_set
        if accepted is not None and spec.units > accepted:
            raise ValueError(
                f"Sets of parameters have {accepted} outputs; pass `outputs=` for "
                f"more. Received task {name!r} with {spec.units}."
            )

    def load_task(self, task):
        loaded = super().load_task(task)
        if is_dataset(loaded.train):
            raise ValueError(
                f"{type(self).__name__} takes arrays. Received task {task.name!r} as a "
                "tf.data.Dataset."
            )
        return loaded

    # Its state

    def structure(self):
        return {"slots": self.slots}

    def set_structure(self, structure):
        self.knowledge_base.slots = [dict(slot) for slot in structure["slots"]]

    def memory_changed(self):
        self.knowledge_base.recall(self.memory, self.outputs_per_set)
        self.estimator.recall(self.memory)

    def check_loaded(self, names):
        """As of every model, without the fine-tuning that using a task takes."""
        for name in names:
            if exemplars.kept(self.memory, name):
                exemplars.check(self.memory, name, self.backbone_input_shape)
        self.knowledge_base.check(self.memory)
        self.estimator.check(self.memory, names)
        if self.slots:
            self.estimator.predict(self.memory, self.knowledge(), names)

    # A task that goes

    def release(self, name):
        """The sets stay, each counted to the task that it is estimated best for."""
        memory = self.memory
        others = [
            o for o in self.task_names if o != name and ("signature", o) in memory
        ]
        heirs = {
            number: self.estimator.best_task(memory, self.knowledge()[number], others)
            for number, slot in enumerate(self.slots)
            if slot["task"] == name and others
        }
        self.knowledge_base.hand_over(name, heirs)
        self.estimator.forget(memory, name)

    def shared_with(self, name):
        found = super().shared_with(name)
        others = found.pop("the network", [])
        found.pop("the head", None)  # a place, which all use in turn
        return {"the hypernetwork": others} if others else found
