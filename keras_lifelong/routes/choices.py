"""What can be done with each part of a network, all at once, searched by gradients.

A part is reused, adapted or new. Σ softmax(α)_c W_c are its weights while α is learned.
Liu, Simonyan, Yang: DARTS, ICLR 2019; Li et al.: Learn to Grow, ICML 2019, section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong.routes.adapters import AdaptedNet
from keras_lifelong.routes.adapters import Adapters

CLOSED = -1e9  # added to the α of what is no choice
There = Mapping[int, Sequence[str]]


class Choices:
    """The α of each part, and adapters of all its nodes, where they are learned.

    Of a part there is room for n nodes; they are known by their owners, "there": for
    each part a list of at most n.

    Args:
        net: an `AdaptedNet`. Its network has the weights of what is new.
        room: n.

    Attributes:
        alphas: of each part (2 n + 1,): to reuse a node, to adapt one, or a new one.
        variables: those of the adapters, then `alphas`.
        turn: which held-out examples are next.
    """

    def __init__(self, net: AdaptedNet, room: int):
        self.net, self.room = net, room
        self.adapters = Adapters(net.all_forms, room)
        self.alphas = [
            keras.Variable(np.zeros(2 * room + 1, "float32"), name="alpha")
            for _ in net.decided
        ]
        self.variables = [*self.adapters.variables, *self.alphas]
        self.turn = keras.Variable(0, dtype="int32", trainable=False, name="turn")

    def begin(self, *seed_parts) -> None:
        """Adapters that change nothing, and α of 0."""
        values: list[np.ndarray] = []
        for u in self.net.decided:
            count = range(self.room)
            each = [self.net.initial_adapter(u, *seed_parts, n) for n in count]
            for parts in zip(*each, strict=True):  # of a variable, of each node
                values += [np.stack(arrays) for arrays in zip(*parts, strict=True)]
        values += [np.zeros(2 * self.room + 1, "float32") for _ in self.alphas]
        self.turn.assign(0)
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)

    def arguments(self, there: There) -> dict[str, Any]:
        """What `weights` is given: "nodes", and "open", what is added to α."""
        return {"nodes": self._nodes(there), "open": self._open(there)}

    def _nodes(self, there) -> list[np.ndarray]:
        """Of each variable its values in all nodes, (n, *shape)."""
        found = []
        for u in self.net.decided:
            nodes = [self.net.node(u, owner) for owner in there[u]]
            for values in zip(*nodes, strict=True):
                stack = np.zeros((self.room, *values[0].shape), values[0].dtype)
                stack[: len(values)] = values
                found.append(stack)
        return found

    def _open(self, there) -> list[np.ndarray]:
        """Of each part (2 n + 1,): 0 for a choice, `CLOSED` for none."""
        room, found = self.room, []
        for u in self.net.decided:
            closed, count = np.full(2 * room + 1, CLOSED, "float32"), len(there[u])
            closed[:count] = closed[-1] = 0
            if u in self.net.adaptable:
                closed[room : room + count] = 0
            found.append(closed)
        return found

    def weights(self, arguments) -> dict[int, Any]:
        """Σ softmax(α)_c W_c of each variable, by its id.

        All weights of a part are one product with softmax(α): TensorFlow sums three
        gradients of one tensor, or more, in an order that is not always the same.
        """
        changes, i, found = self.adapters.changes(), 0, {}
        for alpha, closed, u in zip(
            self.alphas, arguments["open"], self.net.decided, strict=True
        ):
            variables, rows = self.net.variables(u), []
            for v in variables:
                there, new = arguments["nodes"][i], ops.convert_to_tensor(v)[None]
                each = ops.concatenate([there, there + changes[i], new])
                rows.append(ops.reshape(each, (2 * self.room + 1, -1)))
                i += 1
            share = ops.softmax(ops.convert_to_tensor(alpha) + closed)
            mixed = ops.matmul(share[None], ops.concatenate(rows, axis=1))[0]
            start = 0
            for v in variables:
                size = math.prod(v.shape)
                found[id(v)] = ops.reshape(mixed[start : start + size], v.shape)
                start += size
        return found

    def best(self, there: There) -> tuple[dict[int, tuple], dict[str, dict]]:
        """The choice of the largest α of each part.

        Of equals it is to reuse, and the oldest.

        Returns:
            Of each part "reuse", "adapt" or "new", and the owner of the node; and by
            the part's name the same with softmax(α), summed by the three.
        """
        room, found, why = self.room, {}, {}
        for u, alpha, closed in zip(
            self.net.decided, self.alphas, self._open(there), strict=True
        ):
            values = ops.convert_to_numpy(alpha).astype("float64") + closed
            share = np.exp(values - values.max())
            share /= share.sum()
            kind, n = divmod(int(values.argmax()), room)
            how = ("reuse", "adapt", "new")[kind]
            found[u] = how, (there[u][n] if how != "new" else None)
            cut = np.split(share, (room, 2 * room))
            why[self.net.parts[u].name] = {
                "chosen": how,
                "of": found[u][1],
                "reuse": float(cut[0].sum()),
                "adapt": float(cut[1].sum()),
                "new": float(cut[2].sum()),
            }
        return found, why
