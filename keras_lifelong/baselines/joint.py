"""Joint: all tasks at once (multi-task learning, MTL), the upper bound of sharing."""

from __future__ import annotations

from keras_lifelong.model import LifelongModel
from keras_lifelong.model.registry import register
from keras_lifelong.training.joint import joint_phases


@register
class Joint(LifelongModel):
    """With every new task, trains one shared network on all tasks so far together.

    It keeps all data, which a lifelong learner may not: it says how far sharing alone
    can go. Batches mix the tasks. Tasks must have heads of one kind and size.

    Raises:
        ValueError: if the data of an earlier task is not at hand, as after loading:
            learn the stream from its beginning then.
    """

    def __init__(self, backbone, seed: int = 0, pretrained: bool = False, name=None):
        super().__init__(backbone, seed, pretrained, name)
        self._data = _Data()

    def learn(self, task):
        earlier = [n for n in self.task_names if n != task.name]
        missing = [name for name in earlier if name not in self._data.tasks]
        if missing:
            raise ValueError(
                f"Joint learns on the data of all tasks. Not at hand are {missing}."
            )
        tasks = [self.load_task(self._data.tasks[name]) for name in earlier]
        yield from joint_phases(self, [*tasks, task], "joint training")
        self._data.tasks[task.name] = task.source

    def learned_before(self, task):
        self._data.tasks[task.name] = task

    def release(self, name):
        self._data.tasks.pop(name, None)


class _Data:
    """The tasks that were learned in this process. Plain, so that Keras tracks none."""

    def __init__(self):
        self.tasks: dict = {}
