"""ICaRL: Incremental Classifier and Representation Learning (iCaRL).

Rebuffi et al., CVPR 2017: exemplars are chosen by herding, what old outputs said is
distilled, and an example is of the class whose exemplars' mean is nearest,
y* = argmin_y ‖φ(x) - μ_y‖ (Algorithms 1 to 5).
"""

from __future__ import annotations

import dataclasses
from typing import Annotated
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong import heads as kinds
from keras_lifelong import networks
from keras_lifelong.baselines.replaying import Replaying
from keras_lifelong.baselines.replaying import both
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.layers import head as heads
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.training import buffers
from keras_lifelong.training import distillation

MEANS = "means"
PARTS = ("kernel", "bias")


class UnitLength:
    """A network whose features are of length 1; its weights are the network's."""

    def __init__(self, network):
        self.network = network

    @property
    def trainable_variables(self):
        return self.network.trainable_variables

    def _flatten_layers(self):
        return self.network._flatten_layers()

    def __call__(self, x, training=False):
        """φ(x) / ‖φ(x)‖, (batch, width) of float32."""
        features = ops.cast(self.network(x, training=training), "float32")
        return ops.normalize(features, axis=-1, order=2, epsilon=1e-12)


@dataclasses.dataclass
class OfUnitLength:
    """What a plain model is made of, whose features are then of length 1."""

    layers: Any


@register
class ICaRL(Replaying):
    """Uses a task by the nearest mean of its exemplars; the head serves to learn.

    The loss is binary cross-entropy, as the paper's: of each output of the task with
    its labels and, over the batch and exemplars drawn beside it, of each output of each
    old head with what it said before the task. Network and all heads are trained. Then
    exemplars are chosen, as many of each class of each task, and the means of all tasks
    are taken anew. The chances that `predict` gives are softmax(-‖φ(x) - μ_y‖²), with
    features and means of length 1.

    The paper has one head of all classes; here the task is named, and its classes alone
    are compared, so that old exemplars say nothing to the new head. The paper mixes
    exemplars into the data; here every step draws some. Where `compile` is given a
    loss, the new head is trained by it. While a task is first learned, it is scored by
    its head. A class of which there is no exemplar is never the answer.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        budget: K, how many examples of all tasks are kept: at least one for each class.
        max_bytes: how many bytes they may take; None: any number.
        replay_batch: how many of them each step draws, at least 1.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it; if a task is
            not categorical, or shares its head; before a task is trained, if there is
            no room for an exemplar of each class.
    """

    policy = "herding"
    task_forms = (*buffers.FORMS, *((MEANS, str, part) for part in PARTS))

    carries_sequences = False  # it compares classes

    def __init__(
        self,
        backbone,
        budget: Annotated[int, AtLeast(1)] = 500,
        max_bytes: Annotated[int, AtLeast(1)] | None = None,
        replay_batch: Annotated[int, AtLeast(1)] = 32,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(ICaRL, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def build_network(self, backbone):
        self._body: Any = UnitLength(backbone)
        return backbone

    # Learning

    def learn(self, task):
        self.check_room(task.name, self.task_specs, self._room(task))
        yield from super().learn(task)
        self.take_means()

    def replaying(self, past, shared):
        values = [ops.convert_to_numpy(v) for v in past.stack.variables]
        past.arguments["heads"] = dict(zip(PARTS, values, strict=True))
        past.arguments["network"] = [
            ops.convert_to_numpy(v) for v in self.network.variables
        ]
        name = "training with distillation"
        phase = self.joint_phase(name, past, shared, self.distilled_loss)

        def publish():
            past.publish()
            self.take_means()  # so that old tasks are read by features as they are

        phase.publish = publish
        return phase

    def task_loss(self, x, y, weight, arguments):
        del arguments
        features = self.features(x, training=True)
        return self.classification(y, self.head(features), weight)

    def classification(self, y, logits, weight):
        """-Σ_y δ log g_y + (1 - δ) log(1 - g_y), the mean over examples."""
        loss = self.head_loss(y, logits, weight)  # it tells metrics of the outputs
        if self._loss is not None:
            return loss
        return logits.shape[-1] * heads.mean_loss("sigmoid", y, logits, weight)

    def distilled_loss(self, x, y, weight, arguments):
        """That, and -Σ_y q_y log g_y + (1 - q_y) log(1 - g_y) over old heads' outputs.

        Less the entropy of q, which nothing changes: it is 0 where g is q.
        """
        n, rows = x.shape[0], self.options.replay_batch
        x = both(x, self.drawn(arguments, rows))
        features = self.features(x, training=True)
        loss = self.classification(y, self.head(features[:n]), weight)
        before = distillation.features_under(self.network, arguments["network"], x)
        q = distillation.stacked_logits(arguments["heads"], before)
        stack = dict(zip(PARTS, self._stack.variables, strict=True))
        g = distillation.stacked_logits(stack, features)
        apart = ops.sum(distillation.yes_no_divergence(q, g, 1.0), axis=(1, 2))
        count = ops.sum(weight) + rows
        return loss + ops.sum(apart[:n] * weight) / count, ops.sum(apart[n:]) / count

    def loss_key(self):
        return *super().loss_key(), self._loss is None

    # The nearest mean

    def take_means(self) -> None:
        """μ of each class of each task, by the features that exemplars have now."""
        names = self.buffer.names(self.memory)
        kept = [self.buffer.of(self.memory, name) for name in names]
        x = np.concatenate([columns[buffers.X] for columns in kept])
        phi = self.trainer.forward(self.unit_features, x)
        start = 0
        for name, columns in zip(names, kept, strict=True):
            y = columns[buffers.Y]
            mine, start = phi[start : start + len(y)], start + len(y)
            found = nearest_mean(mine, y, self.task_spec(name).units)
            for part, value in zip(PARTS, found, strict=True):
                self.memory[MEANS, name, part] = value

    def unit_features(self, x):
        """φ(x) of length 1, (batch, width)."""
        return self._body(x)

    def reading_of(self, name, memory, training=None):
        reading = super().reading_of(name, memory, training)
        if (MEANS, name, "kernel") not in memory:  # it is first learned
            return reading
        means = tuple(memory[MEANS, name, part] for part in PARTS)
        return dataclasses.replace(reading, body=self._body, head=means)

    def plain_layers(self, body, stage):
        if isinstance(body, UnitLength):
            return OfUnitLength(super().plain_layers(body.network, stage))
        return super().plain_layers(body, stage)

    def plain_network(self, layers):
        if not isinstance(layers, OfUnitLength):
            return super().plain_network(layers)
        network = super().plain_network(layers.layers)
        name = networks.free_name("unit_length", network)
        last = keras.layers.UnitNormalization(dtype="float32", name=name)
        if isinstance(network, keras.Sequential):
            network.add(last)
            return network
        return keras.Model(network.inputs[0], last(network.outputs[0]))

    # What it can learn

    def check_spec(self, name, spec, others):
        if not kinds.get(spec.kind).by_index:
            raise ValueError(
                "ICaRL learns categorical tasks: a class is the mean of its exemplars. "
                f"Received task {name!r} of kind {spec.kind!r}. A yes or no may be a "
                "categorical task of two classes."
            )
        super().check_spec(name, spec, others)
        distillation.check_own_head(type(self).__name__, name, spec)
        self.check_room(name, {**others, name: spec}, self.options.budget)

    def check_room(self, name, specs, room) -> None:
        """Raises a ValueError if some class would have no exemplar.

        Args:
            name: of the task to learn.
            specs: `TaskSpec`s by name, its own among them.
            room: how many examples there is room for.
        """
        classes = sum(spec.num_classes for spec in specs.values())
        if room < classes:
            raise ValueError(
                f"`budget` and `max_bytes` must have room for an exemplar of each of "
                f"the {classes} classes, those of task {name!r} included. "
                f"Received: room for {room}."
            )

    def check_state(self, config, shapes):
        super().check_state(config, shapes)
        for name in config["tasks"]:
            kernel, bias = (
                shapes.get(f"memory/{MEANS}/{name}/{part}") for part in PARTS
            )
            if kernel is not None and bias is not None:
                wanted = (self.feature_width, *bias)
                if tuple(kernel) != wanted:
                    raise ValueError(
                        f"the means of task {name!r} have shape {tuple(kernel)}, not "
                        f"{wanted}"
                    )


def nearest_mean(
    phi: np.ndarray, y: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """-‖φ - μ_y‖² as a linear head on φ, but for what all classes have in common.

    Args:
        phi: features (n, width) of exemplars, of length 1.
        y: their classes (n,).
        classes: how many there are; one without exemplars is never the nearest.

    Returns:
        2 μ, (width, classes), and -‖μ‖², (classes,); μ are of length 1.

    >>> phi = np.array([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]])
    >>> kernel, bias = nearest_mean(phi, np.array([0, 1, 1]), 2)
    >>> kernel.round(3).tolist(), bias.tolist()
    ([[2.0, 2.0], [0.0, 0.0]], [-1.0, -1.0])
    """
    kernel = np.zeros((phi.shape[1], classes), "float32")
    bias = np.full(classes, distillation.ABSENT, "float32")
    for c in np.unique(y):
        mean = phi[y == c].astype("float64").mean(0)
        mean /= max(np.linalg.norm(mean), 1e-12)
        kernel[:, c], bias[c] = 2 * mean, -np.square(mean).sum()
    return kernel, bias
