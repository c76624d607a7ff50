"""Joint: all tasks at once (multi-task learning, MTL), the upper bound of sharing."""

from __future__ import annotations

from keras_lifelong.model import LifelongModel
from keras_lifelong.model.registry import register
from keras_lifelong.training.joint import check_alike
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

    carries_inputs = True
    carries_sequences = True

    keeps_data = True

    def check_spec(self, name, spec, others):
        super().check_spec(name, spec, others)
        check_alike({**others, name: spec})

    def learn(self, task):
        earlier = [name for name in self.task_names if name != task.name]
        missing = [name for name in earlier if name not in self.seen]
        if missing:
            raise ValueError(
                f"Joint learns on the data of all tasks. Not at hand are {missing}."
            )
        tasks = [self.load_task(self.seen[name]) for name in earlier]
        yield from joint_phases(self, [*tasks, task], "joint training")
