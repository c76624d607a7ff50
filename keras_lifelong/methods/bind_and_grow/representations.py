"""How a task-net and a JointNet represent a task's examples, and their conflict."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from keras_lifelong.methods.bind_and_grow import similarity as rsa
from keras_lifelong.methods.bind_and_grow.blocks import activation_places
from keras_lifelong.methods.bind_and_grow.blocks import block_outputs
from keras_lifelong.methods.bind_and_grow.joint_net import JointNet
from keras_lifelong.methods.bind_and_grow.joint_net import Node
from keras_lifelong.seeds import derive_seed
from keras_lifelong.streams.task import is_dataset

FEWEST = 3  # examples whose dissimilarities can be compared


class Conflict(TypedDict):
    """How much two networks are in conflict, as the growth log has it.

    Attributes:
        rho: ρ in [-1, 1] of every part, from the input up.
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
        self._places = activation_places(joint_net.network)

    def probes(self, task) -> np.ndarray:
        """The examples (n, …) on which parts are compared: N of the validation data.

        Of the training data, where there is no validation data or only a few examples,
        among which there are no dissimilarities to be compared.
        """
        data = task.validation
        if data is None or (not is_dataset(data) and len(data[0]) < FEWEST):
            data = task.train
        if is_dataset(data):
            data = next(data.batch(self.samples).as_numpy_iterator())
        x = np.asarray(data[0])
        seed = derive_seed(self.seed, "probes", task.name)
        rows = np.random.default_rng(seed).permutation(len(x))
        return x[np.sort(rows[: self.samples])]

    def matrices(self, nodes: Sequence[Node], x: np.ndarray) -> list[np.ndarray]:
        """The dissimilarities (n, n) of every part of a network of these nodes.

        The network's variables are afterwards those of the nodes.
        """
        self.joint_net.load(nodes)
        network = self.joint_net.network
        found: list[np.ndarray] = []
        for _, matrices in block_outputs(network, self._places, x, self._of_layer):
            found += matrices  # parts are numbered from the input up, as layers are
        return found

    def _of_layer(self, place: int, outputs: np.ndarray) -> list[np.ndarray]:
        """Dissimilarities of the parts of a layer, by its outputs (n, …)."""
        parts = [part for part in self.joint_net.parts if part.layer == place]
        return [rsa.dissimilarities(part.of(outputs), self.center) for part in parts]

    def conflicts(
        self, task, alone: Sequence[Node], others: Mapping[str, Sequence[Node]]
    ) -> dict[str, Conflict]:
        """The conflict of a task's own network with that of each candidate.

        The network's variables are afterwards as they were.

        Args:
            task: whose examples are looked at.
            alone: the nodes of the network that learned it by itself.
            others: nodes of the candidates, by name.
        """
        x, start = self.probes(task), self.joint_net.active_nodes()
        own, found = self.matrices(alone, x), {}
        for name, nodes in others.items():
            pairs = zip(own, self.matrices(nodes, x), strict=True)
            found[name] = conflict_of([rsa.similarity(a, b) for a, b in pairs])
        self.joint_net.load(start)
        return found
