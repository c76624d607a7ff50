"""How a task-net and a JointNet represent a task's examples, and their conflict."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import TypedDict

import keras
import numpy as np

from keras_lifelong.methods.bind_and_grow import similarity as rsa
from keras_lifelong.methods.bind_and_grow.blocks import Blocks
from keras_lifelong.methods.bind_and_grow.blocks import Said
from keras_lifelong.routes.joint_net import JointNet
from keras_lifelong.routes.joint_net import Node
from keras_lifelong.seeds import derive_seed
from keras_lifelong.streams.columns import plain
from keras_lifelong.streams.forms import is_dataset

FEWEST = 3  # examples whose dissimilarities can be compared


class Conflict(TypedDict):
    """How much two networks are in conflict, as the growth log has it.

    Attributes:
        rho: ρ in [-1, 1] of every part that is decided about, from the input up.
        conflict: c = (1 - ρ) / 2 of every part.
        norm: of the conflicts.
        similarity_norm: of 1 - c.
    """

    rho: list[float]
    conflict: list[float]
    norm: float
    similarity_norm: float


def conflict_of(rho: list[float]) -> Conflict:
    """The conflict of networks whose parts are alike by ρ.

    >>> conflict_of([0.0, 0.0])["conflict"]
    [0.5, 0.5]
    """
    scores = rsa.conflict(rho)
    return {
        "rho": rho,
        "conflict": scores.tolist(),
        "norm": float(np.linalg.norm(scores)),
        "similarity_norm": float(np.linalg.norm(1 - scores)),
    }


class Representations:
    """Compares networks of nodes by what their parts say of the same examples.

    Args:
        joint_net: the `JointNet`, into whose network nodes are copied to be compared.
        samples: N: examples at most.
        center: see `similarity.dissimilarities`.
        seed: of which examples are taken.
    """

    def __init__(self, joint_net: JointNet, samples: int, center: bool, seed: int):
        self.joint_net = joint_net
        self.samples, self.center, self.seed = samples, center, seed
        self.blocks = Blocks(joint_net)

    def probes(self, task) -> Any:
        """The examples (n, …) on which parts are compared: N of the validation data.

        They have the structure that the network takes.

        Of the training data, where there is no validation data or only a few examples,
        among which there are no dissimilarities to be compared.
        """
        data = task.validation
        if data is None or (not is_dataset(data) and len(data[1]) < FEWEST):
            data = task.train
        if is_dataset(data):
            data = next(data.blocks(self.samples))[:2]
        x = keras.tree.map_structure(np.asarray, plain(data[0]))
        seed = derive_seed(self.seed, "probes", task.name)
        rows = np.random.default_rng(seed).permutation(len(data[1]))
        rows = np.sort(rows[: self.samples])
        return keras.tree.map_structure(lambda array: array[rows], x)

    def matrices(self, nodes: Sequence[Node], x: Any) -> list[np.ndarray]:
        """The dissimilarities (n, n) of every part of a network of these nodes.

        Of those that are decided about. The network's variables are afterwards those of
        the nodes.

        Args:
            nodes: one for each part.
            x: examples (n, …), in the structure that the network takes.
        """
        self.joint_net.load(nodes)
        found = {u: m for _, u, m in self.blocks.said({"": nodes}, x, self._matrix)}
        return [found[u] for u in self.joint_net.decided]

    def _matrix(self, u: int, said: list[Said]) -> np.ndarray:
        """The dissimilarities of a part, by what it says at its ends."""
        part = self.joint_net.parts[u]
        if len(said) == 1:
            values = part.of(said[0].values)
            return rsa.dissimilarities(values, self.center, mask=said[0].mask)
        n = len(said[0].values)
        values = np.concatenate([part.of(s.values).reshape(n, -1) for s in said], 1)
        mask = None
        if any(s.mask is not None for s in said):
            masks = [
                rsa.wide(np.ones(n) if s.mask is None else s.mask, part.of(s.values))
                for s in said
            ]
            mask = np.concatenate(masks, 1)
        return rsa.dissimilarities(values, self.center, mask=mask)

    def _ranked(self, u: int, said: list[Said]) -> rsa.Ranked:
        return rsa.ranked(self._matrix(u, said))

    def conflicts(
        self, task, alone: Sequence[Node], others: Mapping[str, Sequence[Node]]
    ) -> dict[str, Conflict]:
        """The conflict of a task's own network with that of each candidate.

        What candidates have in common from the input up is compared once, so that the
        cost is that of the different nodes on their routes, however many tasks there
        are. The network's variables are afterwards as they were.

        Args:
            task: whose examples are looked at.
            alone: the nodes of the network that learned it by itself.
            others: nodes of the candidates, by name.
        """
        x, start = self.probes(task), self.joint_net.active_nodes()
        own = {u: r for _, u, r in self.blocks.said({"": alone}, x, self._ranked)}
        rho: dict[str, dict[int, float]] = {name: {} for name in others}
        for names, u, ranks in self.blocks.said(others, x, self._ranked):
            found = rsa.agreement(own[u], ranks)
            for name in names:
                rho[name][u] = found
        self.joint_net.load(start)
        decided = self.joint_net.decided
        return {
            name: conflict_of([found[u] for u in decided])
            for name, found in rho.items()
        }
