"""What a model has at hand in this process, beside its weights."""

from __future__ import annotations

import contextlib
import copy
import threading

from keras_lifelong import backend
from keras_lifelong.layers.head import HeadSlot
from keras_lifelong.model.reading import same_objects
from keras_lifelong.model.task_memory import TaskMemory
from keras_lifelong.training.phase import Phase


class Session:
    """Everything of a `LifelongModel` that Keras is not to track.

    Attributes:
        memory: the `TaskMemory`; while a task is learned, the one that it changes.
        active: the task whose values are in the active network, or None.
        training: the `Training` that is under way, or None.
        phase: the `Phase` that is trained at the moment, or None.
        last: the one that ended last, for as long as it may be undone, or None.
        changes: how often one began or ended, or what is kept of a task was changed by
            other ways: who read in between reads again.
        slots: the head slots of the active network, by number of outputs.
        fitted: heads by task at the width of the features, so that they are resized
            once: the kernel kept, the width, the kernel resized.
        template: the network's variables, where they stay the same ones, or None.
        noted: what the head's loss is given, while somebody wants to know; else None.
        joint: room for heads that are trained side by side.
        seen: `Task`s by name whose data a method keeps.
        results: what was measured on streams.
        origin: the preset that the model comes from.
        lock: held while the network's structure changes or is traced.
    """

    def __init__(self, memory: TaskMemory):
        self.memory = memory
        self.active: str | None = None
        self.training: Training | None = None
        self.phase: Phase | None = None
        self.last: Training | None = None
        self.changes = 0
        self.slots: dict[int, HeadSlot] = {}
        self.fitted: dict[str, tuple] = {}
        self.template: list | None = None
        self.noted: list | None = None
        self.joint: dict = {}
        self.seen: dict = {}
        self.results: list = []
        self.origin: dict | None = None
        self.lock = threading.RLock()
        self._shapes: tuple[list, list] = ([], [])

    def shapes_of(self, variables: list) -> list[tuple]:
        """The shapes of variables, which Keras takes long to tell one by one."""
        kept, shapes = self._shapes
        if not same_objects(kept, variables):
            shapes = [tuple(variable.shape) for variable in variables]
            self._shapes = list(variables), shapes
        return shapes


class Training:
    """The learning of one task: who is at it, and what the model was before.

    Until it is over, other threads read the model as it was; the thread that learns
    sees what is being learned. Where it fails, that is what the model becomes again.

    Args:
        model: the `LifelongModel`.
        name: of the task.

    Attributes:
        running: False once it has failed: then nobody reads what was half learned.
        memory, values, structure, width, seen: the model's `TaskMemory`,
            `shared_values()`, `structure()`, `feature_width` and `seen` before.
        began: `Session.changes` before.
    """

    def __init__(self, model, name: str):
        self.name = name
        self.thread: int | None = threading.get_ident()
        self.running = True
        self.memory = model.memory
        self.values = backend.snapshot(model.shared_variables())
        self.structure = copy.deepcopy(model.structure())
        self.width = model.feature_width
        self.seen = dict(model.seen)
        self.began = model._session.changes

    @contextlib.contextmanager
    def looking_back(self):
        """Within it the thread that learns reads the model as it was before."""
        thread, self.thread = self.thread, None
        try:
            yield
        finally:
            self.thread = thread

    @property
    def is_mine(self) -> bool:
        """Whether this thread learns, and so sees what is being learned."""
        return self.running and self.thread == threading.get_ident()
