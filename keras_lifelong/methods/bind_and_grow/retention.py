"""Retention: what becomes of shared parts while a new task is learned."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

from keras_lifelong.methods.bind_and_grow.blocks import applied
from keras_lifelong.methods.bind_and_grow.joint_net import JointNet
from keras_lifelong.methods.bind_and_grow.joint_net import Node


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
        return [self._scale(v, shared) for v in variables]

    def _scale(self, variable, shared) -> np.ndarray:
        parts = self.joint_net.parts
        for place, layer in enumerate(self.joint_net.network.layers):
            if any(variable is v for v in layer.variables):
                mine = [(u, x) for u, x in enumerate(parts) if x.layer == place]
                channels = mine[-1][1].stop
                if channels is None:
                    value = self.factor if mine[0][0] in shared else 1.0
                    return np.full((1,), value, "float32")
                scale = np.ones(channels, "float32")
                for u, part in mine:
                    scale[part.start : part.stop] = self.factor if u in shared else 1.0
                return scale
        raise ValueError(f"{variable.path} is no variable of the network.")

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
        parts, layers = self.joint_net.parts, self.joint_net.network.layers
        return tuple(
            place
            for place in sorted({part.layer for part in parts})
            if layers[place].non_trainable_variables
            and all(u in kept for u, part in enumerate(parts) if part.layer == place)
        )

    def _make_loss(self, still):
        def loss(x, y, weight, arguments):
            del arguments
            for place, layer in enumerate(self.joint_net.network.layers):
                x = applied(layer, x, training=place not in still)
            return self._loss_of(y, x, weight)

        return loss
