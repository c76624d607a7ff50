"""Training on many tasks at once: all heads side by side, each sample by its own."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from keras_lifelong import heads as kinds
from keras_lifelong.layers import head as heads
from keras_lifelong.streams import TaskSpec
from keras_lifelong.streams.columns import concatenated
from keras_lifelong.streams.forms import is_dataset
from keras_lifelong.training.data import power_of_two
from keras_lifelong.training.distillation import own_logits
from keras_lifelong.training.distillation import stacked_logits
from keras_lifelong.training.phase import Phase
from keras_lifelong.training.protocol import JointlyTrainable


class JointHeads:
    """The heads of several tasks as one variable, for batches that mix tasks.

    Args:
        model: the `LifelongModel`.
        capacity: heads it has room for.
        width, units: the shape of one head.
    """

    def __init__(self, model: JointlyTrainable, capacity: int, width: int, units: int):
        self.model = model
        self.kernel = keras.Variable(
            np.zeros((capacity, width, units), "float32"), name="joint_kernel"
        )
        self.bias = keras.Variable(
            np.zeros((capacity, units), "float32"), name="joint_bias"
        )

    def loss(self, x, targets, weight, arguments):
        """Mean loss; `targets` are (labels, index of the head, index of the task)."""
        y, head, task = targets
        features = self.model.joint_features(x, task, arguments)
        features = ops.cast(features, "float32")
        both = {"kernel": self.kernel, "bias": self.bias}
        logits = own_logits(stacked_logits(both, features), head)
        return heads.mean_loss(self.model.loss_key()[0], y, logits, weight)

    def load(self, keys, memory, fit):
        """Copies the heads named by `keys` in."""
        kernel = np.zeros(self.kernel.shape, "float32")
        bias = np.zeros(self.bias.shape, "float32")
        for i, key in enumerate(keys):
            kernel[i], bias[i] = fit(memory[*key, "kernel"]), memory[*key, "bias"]
        self.kernel.assign(kernel)
        self.bias.assign(bias)

    def store(self, keys, memory):
        """Copies the heads named by `keys` back."""
        kernel, bias = (ops.convert_to_numpy(v) for v in (self.kernel, self.bias))
        for i, key in enumerate(keys):
            memory[*key, "kernel"] = kernel[i].copy()
            memory[*key, "bias"] = bias[i].copy()


def check_alike(specs: Mapping[str, TaskSpec]) -> None:
    """Raises a ValueError if the heads of tasks, by name, differ in kind or size."""
    name, first = next(iter(specs.items()))
    for other, spec in specs.items():
        if (spec.kind, spec.units) != (first.kind, first.units):
            raise ValueError(
                "Tasks learned jointly must have heads of one kind and size. Received: "
                f"{name!r} with {first} and {other!r} with {spec}."
            )


def joint_phases(model: JointlyTrainable, tasks, name: str, **kwargs):
    """A generator of one phase that trains the network and all heads on all `tasks`.

    Args:
        model: the `LifelongModel`, one of `tasks` active.
        tasks: list of `LoadedTask`s of the model, with arrays as training data.
        name: of the phase.
        kwargs: of the `Phase`.

    Raises:
        ValueError: if the tasks' heads differ in kind or size, or a task's data is a
            `tf.data.Dataset`.
    """
    first = tasks[0].spec
    check_alike({task.name: task.spec for task in tasks})
    for task in tasks:
        if is_dataset(task.train):
            raise ValueError(
                f"Task {task.name!r} is a tf.data.Dataset; joint learning takes arrays."
            )
    names = [task.name for task in tasks]
    keys = list(dict.fromkeys(model.head_key(name) for name in names))
    capacity = power_of_two(len(keys))
    model.store_active()
    joint = model.joint_heads(capacity, first.units)
    joint.load(keys, model.memory, model.fitted_head)

    def column(of):
        sizes = [len(task.train[1]) for task in tasks]
        return np.repeat(np.array([of(n) for n in names], "int32"), sizes)

    x = concatenated([task.train[0] for task in tasks])
    y = kinds.get(first.kind).joined([task.train[1] for task in tasks])
    weights = None
    if any(task.weight is not None for task in tasks):
        weights = np.concatenate(
            [
                np.ones(len(task.train[1]), "float32")
                if task.weight is None
                else task.weight
                for task in tasks
            ]
        )
    heads_of = column(lambda n: keys.index(model.head_key(n)))

    def publish():
        joint.store(keys, model.memory)
        key = model.head_key(model.active_task)
        model.head.kernel.assign(model.memory[*key, "kernel"])
        model.head.bias.assign(model.memory[*key, "bias"])

    yield Phase(
        name=name,
        variables=[*model.network.trainable_variables, joint.kernel, joint.bias],
        loss=joint.loss,
        data=(x, (y, heads_of, column(model.task_index))),
        weights=weights,
        publish=publish,
        **kwargs,
    )
