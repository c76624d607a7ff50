"""CAT: Continual Learning of a Mixed Sequence of Similar and Dissimilar Tasks.

Ke, Liu, Huang, NeurIPS 2020: units have gates as in HAT. Earlier tasks whose features
serve a new one better than learning it alone are similar: their units are not blocked,
and the new task attends to what they compute.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated
from typing import Any

import numpy as np
from keras import ops

from keras_lifelong.baselines.hat import HAT
from keras_lifelong.baselines.hat import MOST_E
from keras_lifelong.baselines.hat import Gated
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.layers import head as heads
from keras_lifelong.layers.feature_attention import FeatureAttention
from keras_lifelong.layers.feature_attention import plain_attention
from keras_lifelong.metrics.directions import sign
from keras_lifelong.model import LifelongModel
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import seeded_copy


@dataclasses.dataclass
class Heard:
    """What a plain model of a task that attends to others is made of.

    Attributes:
        gated: the layers, and the task's own gates.
        others: gates of each task that it attends to.
        trained: arrays of the attention: q, K, V and U.
    """

    gated: Gated
    others: list[list[np.ndarray]]
    trained: list[np.ndarray]


@register
class CAT(HAT):
    """Blocks units of dissimilar tasks, and attends to what similar tasks compute.

    A new task is first learned alone, by a network drawn anew: the reference. An
    earlier task is similar if a new head on its features is better than that on
    validation data. Then the task is learned as by `HAT`, but weights between units of
    similar tasks may move: these tasks can gain, and lose. Where there are similar
    tasks the task attends to their features, and is trained by the sum of two losses:
    of its own features, and of these and what it hears. It is used with what it hears.

    Departures: the two losses go through one head, where the paper has two, since heads
    here may be of any size and shared; so what is heard is added to the features. The
    attention has one query and no feed-forward layers. Of many similar tasks the best
    few are attended to; these are read without dropout and under the normalisation of
    the task, and what it hears is held for it as its own units are. A task attends to
    one similar task, too, where the authors' program takes two. Without validation
    data, training data decide.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        s_max: as in `HAT`.
        strength: as in `HAT`.
        similar: how many similar tasks are attended to, at most, at least 1. Others are
            neither attended to nor blocked.
        tolerance: by how much a head may be worse than the reference, in the first
            metric, at least 0; the paper's is 0.
        inner: width d of the attention, at least 1.
        transfer_epochs: of the heads that are compared. None: those of `fit`.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: as `HAT`.
    """

    def __init__(
        self,
        backbone,
        s_max: Annotated[float, AtLeast(1)] = 400.0,
        strength: Annotated[float, AtLeast(0)] = 0.75,
        similar: Annotated[int, AtLeast(1)] = 3,
        tolerance: Annotated[float, AtLeast(0)] = 0.0,
        inner: Annotated[int, AtLeast(1)] = 16,
        transfer_epochs: Annotated[int, AtLeast(1)] | None = None,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(CAT, locals())
        LifelongModel.__init__(self, backbone, seed, pretrained, name, options)

    def build_network(self, backbone):
        network, given = super().build_network(backbone), self.options
        self._others = FeatureAttention(
            network, self._gates.units, given.similar, given.inner
        )
        return network

    # A task has what HAT's has and, if it attends to others, its attention

    @property
    def _first(self) -> int:
        """The place of the attention among the own variables."""
        return len(self._attention.embeddings) + len(self._gates.own)

    def own_variables(self):
        return [*super().own_variables(), *self._others.variables]

    def own_indices(self, name):
        return range(len(self.own_variables()) if self.attends(name) else self._first)

    def attends(self, name: str | None, memory=None) -> bool:
        """Whether a task attends to others."""
        records = (self.memory if memory is None else memory).records
        return name is not None and self._first in records[name].own

    def uses(self, name):
        """Of each unit how far a task needs it: itself, or where it attends to it."""
        found = self.attention(name)
        if not self.attends(name):
            return found
        own = self.memory.records[name].own
        heard = [own[self._first + i].max(axis=0) for i in range(len(found))]
        return [np.maximum(a, most) for a, most in zip(found, heard, strict=True)]

    def begin_task(self, name):
        super().begin_task(name)
        if self.pretrained and ("pretrained", 0) not in self.memory:
            for i, value in enumerate(self.network.get_weights()):  # of references
                self.memory["pretrained", i] = value

    # Learning

    def learn(self, task):
        name = task.name
        others = [other for other in self.task_names if other != name]
        if "similar" not in self.notes(name):
            similar = (yield from self.find_similar(task, others)) if others else []
            self.notes(name)["similar"] = similar  # a callback may load others
            self.attend(name, similar[: self.options.similar])
        similar = self.notes(name)["similar"]
        held = [other for other in others if other not in similar]
        loss, more = self.gated_loss, ()
        if self.attends(name):
            loss, more = self.attending_loss, self._others.trained
        yield self.gated_phase(self.used(others), self.used(held), loss, more)

    def find_similar(self, task, others):
        """The similar ones of other tasks, the best first (section 3.3)."""
        metric, start = self.main_metric, self.get_active()
        split = "train" if task.validation is None else "validation"

        def score():
            return self.score(task, split, main_only=True)[metric.name]

        self.begin_reference(task.name)
        yield self.phase(
            "the reference",
            self.network.trainable_variables,
            loss=self.reference_loss,
            validate=False,
        )
        reference, scores = score(), {}
        for other in others:
            self.set_active(start)
            own = self.own_variables()
            for i, value in self.memory.records[other].own.items():
                if i < self._first:
                    own[i].assign(value)
            yield self.phase(
                f"a head on {other}",
                [],
                loss=self.loss_of_head,
                epochs=self.options.transfer_epochs,
                validate=False,
            )
            scores[other] = score()
        self.set_active(start)
        way = sign(metric)
        least = way * reference - self.options.tolerance
        order = sorted(scores, key=lambda other: -way * scores[other])
        similar = [other for other in order if way * scores[other] > least]
        told = {"to": similar, "reference": reference, "heads": scores}
        self.log(task.name, "network", "bind", 0, **told)
        return similar

    def begin_reference(self, name: str) -> None:
        """Makes the active network one that has learned nothing, its gates open."""
        count = len(self.network.weights)
        if ("pretrained", 0) in self.memory:
            values = [self.memory["pretrained", i] for i in range(count)]
        else:
            seed = derive_seed(self.seed, "reference", name)
            values = seeded_copy(self.backbone_copy(), seed).get_weights()
        self.network.set_weights(values)
        for e in self._attention.embeddings:
            e.assign(np.full(e.shape, MOST_E, "float32"))

    def reference_loss(self, x, y, weight, arguments):
        """The loss of a network of its own."""
        return self.task_loss(x, y, weight, arguments)

    def loss_of_head(self, x, y, weight, arguments):
        """The loss of a head on features that stay."""
        del arguments
        return self.head_loss(y, self.head(self.features(x)), weight)

    def attend(self, name: str, others: list[str]) -> None:
        """Gives the active task an attention to others, which adds nothing yet."""
        if not others:
            return
        rng = np.random.default_rng(derive_seed(self.seed, name, "others"))
        values = self._others.initial([self.attention(o) for o in others], rng)
        pairs = zip(self._others.variables, values, strict=True)
        for i, (variable, value) in enumerate(pairs, self._first):
            self.memory["own", name, i] = value
            variable.assign(value)

    def attending_loss(self, x, y, weight, arguments):
        """The losses of the features, and of these with what is heard, summed."""
        features = self.gated(x, self.gates(self.scale(arguments)))
        kind, both = self.loss_key()[0], self.head(self.with_heard(x, features))
        own = heads.mean_loss(kind, y, self.head(features), weight)
        return own + self.head_loss(y, both, weight)

    def with_heard(self, x, features):
        """Features, and what the task hears of others, float32."""
        gates = [ops.convert_to_tensor(rows) for rows in self._others.gates]
        room = range(self._others.room)
        others = [self._gates.run(x, [rows[k] for rows in gates]) for k in room]
        return ops.cast(features, "float32") + self._others.heard(others)

    # Using a task

    def reading(self, name):
        """Others are as they were while the reference lies in their network."""
        training, phase = self._session.training, self._session.phase
        if training is not None and training.is_mine and phase is not None:
            if phase.loss == self.reference_loss and name != self.active_task:
                return self.reading_of(name, training.memory, training)
        return super().reading(name)

    def reading_of(self, name, memory, training=None):
        found = super().reading_of(name, memory, training)
        if self.attends(name, memory):
            found.body = self._others.body
        return found

    def active_body(self):
        return self._others.body if self.attends(self.active_task) else self.network

    def through(self, body, x, training=False):
        features = super().through(body, x, training)
        return features if body is self.network else self.with_heard(x, features)

    def features(self, x, training=False):
        return self.through(self.active_body(), x, training)

    def active_variables(self):
        more = self._others.variables if self.attends(self.active_task) else []
        return [*super().active_variables(), *more]

    def template_variables(self):
        return [*super().template_variables(), *self._others.variables]

    def release(self, name):
        super().release(name)
        for record in self.memory.records.values():
            others = record.notes.get("similar", [])
            if name in others:
                record.notes["similar"] = [other for other in others if other != name]

    def plain_layers(self, body, stage):
        gated = super().plain_layers(body, stage)
        return gated if body is self.network else Heard(gated, *self._others.arrays())

    def plain_network(self, layers: Any):
        if isinstance(layers, Gated):
            return super().plain_network(layers)
        passes = [layers.gated.gates, *layers.others]
        return plain_attention(self.plain_passes(layers.gated, passes), layers.trained)
