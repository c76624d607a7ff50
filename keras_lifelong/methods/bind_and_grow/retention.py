"""Retention: what becomes of shared parts while a new task is learned."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

from keras_lifelong.routes.joint_net import JointNet
from keras_lifelong.routes.joint_net import Node


class Retention:
    """How much of a step each part takes, and which layers hold still.

    Args:
        joint_net: the `JointNet` whose network is trained.
        how: "slow": shared parts are trained with `slow_ratio` times the learning
            rate; "freeze": not at all; "same": as the new ones.
        slow_ratio: in (0, 1].
        loss_of: `loss_of(y, features, weight) -> scalar`, of features (batch, width).

    Attributes:
        factor: of the steps of shared parts.
    """

    def __init__(
        self, joint_net: JointNet, how: str, slow_ratio: float, loss_of: Callable
    ):
        self.joint_net = joint_net
        self.freezes = how == "freeze"
        self.factor = {"slow": slow_ratio, "freeze": 0.0, "same": 1.0}[how]
        self._loss_of = loss_of
        self._losses: dict[tuple[int, ...], Callable] = {}  # one for each set held

    def scales(self, shared: Sequence[int]) -> list[np.ndarray]:
        """Of each trainable variable: how much of a step it takes, by channel.

        Args:
            shared: numbers of the parts that are others' as well.

        Returns:
            Arrays (channels,), or (1,) for all channels.
        """
        variables = self.joint_net.network.trainable_variables
        parts: dict[int, list[int]] = {}
        for u in range(len(self.joint_net.parts)):
            for v in self.joint_net.variables(u):
                parts.setdefault(id(v), []).append(u)
        return [self._scale(parts[id(v)], shared) for v in variables]

    def _scale(self, mine: list[int], shared: Sequence[int]) -> np.ndarray:
        """Of a variable, by the parts that it is of."""
        parts = [(u, self.joint_net.parts[u]) for u in mine]
        channels = parts[-1][1].stop
        if channels is None:
            value = self.factor if mine[0] in shared else 1.0
            return np.full((1,), value, "float32")
        scale = np.ones(channels, "float32")
        for u, part in parts:
            scale[part.start : part.stop] = self.factor if u in shared else 1.0
        return scale

    # Frozen parts

    def kept(self, shared: Sequence[int]) -> dict[int, Node]:
        """The nodes of shared parts that are frozen, as they are before training."""
        if not self.freezes:
            return {}
        active = self.joint_net.active_nodes()
        return {u: active[u] for u in shared}

    def put_back(self, kept: dict[int, Node]) -> None:
        """Makes frozen parts what they were, statistics of norms included."""
        active = self.joint_net.active_nodes()
        self.joint_net.load([kept.get(u, node) for u, node in enumerate(active)])

    def loss(self, kept: dict[int, Node]) -> Callable | None:
        """A loss under which layers hold still; None where none has to.

        It is one function for each set of layers, so that what is compiled serves again
        and again.
        """
        still = self.still_layers(kept)
        if still and still not in self._losses:
            self._losses[still] = self._make_loss(still)
        return self._losses.get(still)

    def still_layers(self, kept: dict[int, Node]) -> tuple[int, ...]:
        """Layers with statistics of which every part is frozen."""
        parts = self.joint_net.parts
        layers = list(self.joint_net.graph.layers.values())
        return tuple(
            place
            for place in sorted({place for part in parts for place in part.layers})
            if layers[place].non_trainable_variables
            and all(u in kept for u, part in enumerate(parts) if place in part.layers)
        )

    def _make_loss(self, still):
        graph = self.joint_net.graph
        layers = list(graph.layers.values())
        held = {id(layers[place]) for place in still}

        def call(step, *args, **kwargs):
            return step(*args, training=id(step.layer) not in held, **kwargs)

        def loss(x, y, weight, arguments):
            del arguments
            return self._loss_of(y, graph.run(x, call), weight)

        return loss
