"""The knowledge base Θ: whole sets of parameters in the weights of a hypernetwork."""

from __future__ import annotations

import dataclasses
from typing import Any
from typing import TypedDict

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers import hypernetwork as hypernetworks
from keras_lifelong.layers.hypernetwork_base import Hypernetwork
from keras_lifelong.methods.ari.parameters import DRAWN
from keras_lifelong.methods.ari.parameters import GIVEN
from keras_lifelong.methods.ari.parameters import Candidate
from keras_lifelong.methods.ari.parameters import Form
from keras_lifelong.methods.ari.parameters import Parameters
from keras_lifelong.methods.ari.parameters import score
from keras_lifelong.methods.ari.remembered import ByMemory
from keras_lifelong.methods.ari.remembered import numbered
from keras_lifelong.methods.ari.remembered import recall
from keras_lifelong.methods.ari.remembered import remember
from keras_lifelong.methods.ari.storing import Storer
from keras_lifelong.methods.ari.storing import Storing
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import reseeded

GENERATED = "generated"
HYPERNETWORKS: dict[str, dict[str, Any]] = {
    "chunked": {
        "name": "chunked",
        "chunk": 200,
        "units": [100, 100],
        "chunk_embedding": 8,
        "slot_embedding": 8,
    },
    "structured": {
        "name": "structured",
        "units": None,
        "chunk_embedding": 8,
        "slot_embedding": 8,
    },
}


class Slot(TypedDict):
    """A slot in use: what the set in it is."""

    task: str  # on which it was last trained
    source: str  # where it came from


class KnowledgeBase:
    """At most B sets of parameters, which one hypernetwork generates.

    What lasts of it is in a `TaskMemory`, which is handed in: the hypernetwork's
    variables, and a vector of normalisation's statistics for each slot.

    Args:
        form: a `Form`, of the sets.
        budget: B, the number of slots.
        hypernetwork: a dict of "name" and arguments of the layer.
        seed: from which all that is drawn here is derived.

    Attributes:
        slots: a `Slot` for each that is in use, the first ones.
        computed: what was computed from the sets, by memory: forgotten as they change.
    """

    def __init__(
        self, form: Form, budget: int, hypernetwork: dict[str, Any], seed: int
    ):
        self.form, self.budget, self.seed = form, budget, seed
        self.slots: list[Slot] = []
        self.computed = ByMemory()
        self._config = hypernetwork
        self._storer: Storer | None = None

    # The hypernetwork

    @property
    def is_made(self) -> bool:
        """Whether there is a hypernetwork."""
        return self._storer is not None

    @property
    def storer(self) -> Storer:
        """What trains the hypernetwork."""
        if self._storer is None:
            raise ValueError("The hypernetwork is made when the first task is learned.")
        return self._storer

    @property
    def hypernetwork(self) -> Hypernetwork:
        """The layer that generates the sets."""
        return self.storer.hypernetwork

    def make(self, outputs: int | None):
        """Makes the hypernetwork, freshly drawn.

        Args:
            outputs: of the head in every set; tasks of fewer classes use the first.
        """
        arguments = dict(self._config)
        tensors = self.form.tensors()
        hypernetwork = hypernetworks.get(
            arguments.pop("name"),
            self.form.shapes(outputs),
            self.budget,
            offsets=self.form.offsets(),
            usual=[tensor.usual for tensor in tensors],
            depthwise=[i for i, tensor in enumerate(tensors) if tensor.depthwise],
            seed=derive_seed(self.seed, "hypernetwork"),
            **arguments,
        )
        self._storer = Storer(hypernetwork, self.form)

    def count_params(self) -> int:
        """Parameters that hold the sets."""
        return self.hypernetwork.count_params() if self.is_made else 0

    # Sets

    def generated(self, memory, slot: int) -> Parameters:
        """The set of parameters in a slot."""
        places = range(len(self.form.statistics))
        return Parameters(
            self.hypernetwork.generate(slot),
            [memory["statistics", i][slot] for i in places],
            self.hypernetwork.embeddings(slot),
            f"slot {slot}",
        )

    def drawn(self, *seed_parts, initializer: str = GENERATED) -> Parameters:
        """A new set.

        Args:
            seed_parts: what it is drawn from.
            initializer: `GENERATED`: what a slot of newly drawn embeddings would hold,
                which has something of all sets that are stored; or the name of a Keras
                initializer for the kernels.
        """
        h = self.hypernetwork
        embeddings = h.draw_embeddings(self.seed, *seed_parts)
        if initializer == GENERATED:
            values = h.generate_from(embeddings)
        else:
            facts = zip(h.shapes, h.offsets, self.form.tensors(), strict=True)
            values = [
                _initial(initializer, shape, offset, tensor, self.seed, *seed_parts, i)
                for i, (shape, offset, tensor) in enumerate(facts)
            ]
        return Parameters(values, self.form.fresh_statistics(), embeddings, DRAWN)

    def given(self, memory, *seed_parts) -> Parameters | None:
        """The backbone's own weights with a newly drawn head; None: they are not kept.

        Args:
            memory: a `TaskMemory`, where `keep_given` put them.
            seed_parts: what the head and the embeddings are drawn from.
        """
        given = [v for key, v in memory.shared.items() if key[0] == GIVEN]
        if not given:
            return None
        drawn, count = self.drawn(*seed_parts), len(self.form.trained)
        values = [*given[:count], *drawn.values[count:]]
        return Parameters(values, given[count:], drawn.embeddings, GIVEN)

    def keep_given(self, memory):
        """Keeps the weights that the form's network has now, for `given`."""
        for i, variable in enumerate([*self.form.trained, *self.form.statistics]):
            memory[GIVEN, i] = ops.convert_to_numpy(variable).copy()
        for i, variable in enumerate(self.form.frozen):
            memory["frozen", i] = ops.convert_to_numpy(variable).copy()

    def as_new(self, trained: Parameters, start: Candidate, task: str, number: int):
        """A trained set, as one that is to have a slot of its own.

        Args:
            trained: the set.
            start: what it began as.
            task: on which it was trained.
            number: of the candidate, among those of the task.
        """
        embeddings = trained.embeddings
        if start.task is not None and not self.hypernetwork.conditional:
            # two sets of the same embeddings would both be stored worse
            embeddings = self.hypernetwork.draw_embeddings(
                self.seed, "embeddings", task, number
            )
        source = f"{start.parameters.source}, {task}"
        return dataclasses.replace(trained, embeddings=embeddings, source=source)

    # Storing

    def store(self, memory, kept: list[Candidate], specs, probes, old, how: Storing):
        """A phase that makes the hypernetwork generate these sets, and no others.

        Args:
            memory: a `TaskMemory`, where they are remembered.
            kept: the sets, at most as many as there are slots, the newest last; with
                the tasks on which each was last trained.
            specs: of each of these tasks, its `TaskSpec`.
            probes: for each, inputs (m, …) on which its answers are to be kept.
            old: for each, whether it is one that was stored before.
            how: the settings.
        """
        sets = [c.parameters for c in kept]
        seed = derive_seed(self.seed, "storing", kept[-1].task, len(kept))
        phase = self.storer.phase(sets, specs, probes, old, how, seed)
        self.slots = [
            {"task": str(c.task), "source": c.parameters.source} for c in kept
        ]
        self.computed.clear()
        result = yield phase
        remember(memory, self.variables())
        for i, values in enumerate(self.storer.statistics(sets, probes)):
            memory["statistics", i] = values
        self.computed.clear()  # of what was only half stored
        return result

    def retention(self, memory, slot: int, wanted: Parameters, x, y, spec):
        """What became of a set that was stored: see `Hypernetwork.retention`.

        Args:
            memory: a `TaskMemory`.
            slot: where it is.
            wanted: the set as it was.
            x, y: examples of a task, on which scores are measured.
            spec: the task's `TaskSpec`.

        Returns:
            Dict of "error", "score" and "drop".
        """
        stored = self.generated(memory, slot)

        def scored(values):
            changed = dataclasses.replace(stored, values=values)
            return score(self.form.answers(changed, x)[:, : spec.units], y, spec.kind)

        return self.hypernetwork.retention({slot: wanted.values}, scored)[slot]

    def hand_over(self, name: str, heirs: dict[int, str]):
        """Counts the sets of a task to others; all sets stay, for any task may use any.

        Args:
            name: of the task.
            heirs: the task that each of its slots is counted to. Empty: there is none
                left, so that the slots are of no use.
        """
        if not heirs and any(slot["task"] == name for slot in self.slots):
            self.slots.clear()
        for i, heir in heirs.items():
            self.slots[i]["task"] = heir
        self.computed.clear()

    # What is kept in memory

    def variables(self) -> dict[tuple, keras.Variable]:
        """The variables that are remembered, by their keys in a memory."""
        if not self.is_made:
            return {}
        return numbered("hypernetwork", self.hypernetwork.variables)

    def recall(self, memory, outputs: int | None):
        """Becomes what a memory says, or as it was before the first task.

        Args:
            memory: a `TaskMemory`.
            outputs: see `make`; None only if nothing is stored in the memory.
        """
        self.computed.clear()
        self._storer = None
        for i, variable in enumerate(self.form.frozen):
            if ("frozen", i) in memory:
                variable.assign(memory["frozen", i])
        if ("hypernetwork", 0) in memory:
            self.make(outputs)
            recall(memory, self.variables())

    def check(self, memory):
        """Raises a ValueError if a set is not of the form."""
        wanted = [tuple(v.shape) for v in self.form.statistics]
        for slot in range(len(self.slots)):
            shapes = [s.shape for s in self.generated(memory, slot).statistics]
            if shapes != wanted:
                raise ValueError(
                    f"statistics of slot {slot} have shapes {shapes}, where the "
                    f"network has {wanted}"
                )


def _initial(initializer, shape, offset, tensor, *seed_parts) -> np.ndarray:
    """A fresh tensor: kernels by the initializer, vectors as normalisation has them."""
    if not tensor.fan_in:
        return np.full(shape, offset, "float32")
    draw = reseeded(keras.initializers.get(initializer), derive_seed(*seed_parts))
    value = ops.convert_to_numpy(draw(shape)).copy()
    if isinstance(draw, keras.initializers.VarianceScaling):
        # Keras goes by the shape, which of a depthwise kernel has as many inputs more
        seen = np.prod(shape[:-1])
        if tensor.fan_in != seen:
            value *= np.float32(np.sqrt(seen / tensor.fan_in))
    return value


def check_initializer(given: str) -> None:
    """Raises a ValueError if `KnowledgeBase.drawn` knows no such initializer."""
    if given == GENERATED:
        return
    try:
        keras.initializers.get(given)
    except ValueError as error:
        raise ValueError(
            f"`initializer` must be {GENERATED!r} or the name of a Keras initializer. "
            f"Received: {given!r}"
        ) from error


def hypernetwork_config(given: str | dict[str, Any]) -> dict[str, Any]:
    """The name and arguments of a hypernetwork, from a name or a dict of some."""
    given = {"name": given} if isinstance(given, str) else given
    if given.get("name") not in list(HYPERNETWORKS):
        raise ValueError(
            f"`hypernetwork` must be one of {sorted(HYPERNETWORKS)}, or a dict of its "
            f"name and arguments. Received: {given!r}"
        )
    return {**HYPERNETWORKS[given["name"]], **given}
