"""MNTDP: a modular network whose paths are found by nearest neighbours and validation.

Veniat, Denoyer, Ranzato: Efficient Continual Learning with Modular Networks and
Task-Driven Priors, ICLR 2021; the deterministic one, MNTDP-D (section 4.2).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from keras import ops

from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.metrics.directions import sign
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.routes.parts import find_parts
from keras_lifelong.routes.routed import RoutedModel
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training.importance import examples_of


@register
class MNTDP(RoutedModel):
    """Reuses the lower modules of the nearest earlier task, and adds modules on top.

    A layer with weights is a module. The nearest task is the one whose features tell
    the new task's classes apart best, by nearest neighbours. Of its path the top k
    modules are replaced by new ones, for every k from none to all; each candidate is
    trained, the modules of earlier tasks held still, and the best on validation data
    stays, of equals that of the fewest new modules. So nothing is forgotten.

    Departures: normalisation and statistics are each task's own, and begin as those of
    the modules that they belong to. A head is always new, so that k may be none.
    Without validation data the training data take their place.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        neighbours: of an example, whose labels say its class, at least 1.
        samples: how many examples are taken of training and of validation data to find
            the nearest task, at least 1.
        parts: which layers are one module, as in `BindAndGrow`.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it.
    """

    def __init__(
        self,
        backbone,
        neighbours: Annotated[int, AtLeast(1)] = 5,
        samples: Annotated[int, AtLeast(1)] = 1000,
        parts: dict[str, list[str]] | list[list[str]] | None = None,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(MNTDP, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def parts_of(self, backbone):
        return find_parts(backbone, together=self.options.parts, by_task=True)

    def learn(self, task):
        name, net, metric = task.name, self.joint_net, self.main_metric
        if name in net.routing:  # a task that comes back keeps its path
            yield self.holding("training", net.shared(name))
            return
        nearest, why = self.nearest(task)
        split = "train" if task.validation is None else "validation"
        fresh, start = self.first_nodes("new", name), self.get_active()
        best, found, scores = -np.inf, None, []
        for k in self.numbers_of_new(nearest):
            owners, nodes = self.path(name, nearest, k, fresh)
            self.set_active(start)
            net.load(nodes)
            held = [u for u, owner in enumerate(owners) if owner != name]
            yield self.holding(f"candidate with {k} new modules", held)
            score = self.score(task, split, main_only=True)[metric.name]
            scores.append(score)
            if found is None or sign(metric) * score > best:
                head = [ops.convert_to_numpy(v).copy() for v in self.head.variables]
                best, found = sign(metric) * score, (owners, net.active_nodes(), head)
        owners, nodes, head = found
        self.set_active(start)
        self.store_active()
        self.route(name, owners, nodes)
        self.set_head(head)
        if nearest is not None:
            told = {"to": nearest, "neighbours": why, "candidates": scores}
            self.log(name, "joint_net", "bind", 0, **told)
        kind = "initial" if nearest is None else "grow"
        for u in net.decided:
            if owners[u] == name:
                self.log(name, net.parts[u].name, kind, net.params(u))

    def nearest(self, task) -> tuple[str | None, dict[str, float]]:
        """The earlier task of the best features for a task, and the score of each."""
        net = self.joint_net
        rng = np.random.default_rng(derive_seed(self.seed, task.name, "neighbours"))
        x, y = examples_of(task, self.options.samples, rng)
        if task.validation is None:
            asked, expected, itself = x, y, 1  # its own example says nothing
        else:
            count, itself = self.options.samples, 0
            asked, expected = examples_of(task, count, rng, split="validation")
        start, scores = net.active_nodes(), {}
        for other in net.routing:
            net.load(net.nodes_of(other))
            known, new = (self.trainer.forward(self.features, z) for z in (x, asked))
            k = self.options.neighbours
            scores[other] = neighbours_score(known, y, new, expected, k, itself)
        net.load(start)
        return max(scores, key=lambda other: scores[other], default=None), scores

    def numbers_of_new(self, nearest: str | None) -> list[int]:
        """Of each candidate how many modules are new."""
        count = len(self.joint_net.decided)
        return [count] if nearest is None else list(range(count + 1))

    def path(self, name, nearest, k, fresh) -> tuple[list, list]:
        """A candidate: the owner and the values of each part, the top k modules new."""
        net, count = self.joint_net, len(self.joint_net.parts)
        decided = net.decided
        first = count if k == 0 else decided[len(decided) - k]
        owners = [name] * count
        nodes = list(fresh)
        if nearest is not None:
            of_nearest = net.nodes_of(nearest)
            for u in range(count):
                if u < first:
                    nodes[u] = of_nearest[u]
                    owners[u] = name if u in net.by_task else net.routing[nearest][u]
        return owners, nodes


def neighbours_score(known, labels, asked, expected, k: int, skip: int = 0) -> float:
    """How well the nearest examples' labels say those of others.

    Args:
        known: features (n, width).
        labels: (n,) of classes, or (n, …) of numbers.
        asked: features (m, width).
        expected: what their labels are, (m, …).
        k: how many neighbours count, fewer where there are not as many.
        skip: how many of the nearest do not count: 1 where each is its own nearest.

    Returns:
        Of classes the accuracy of the most frequent one, of equals the first; of
        numbers less the mean squared error of their mean.

    >>> known, asked = np.array([[0.0], [1.0], [9.0]]), np.array([[0.4], [8.0]])
    >>> labels = np.array([0, 0, 1])
    >>> neighbours_score(known, labels, asked, np.array([0, 0]), k=1)
    0.5
    """
    known, asked = (np.reshape(x, (len(x), -1)) for x in (known, asked))
    squares = (asked**2).sum(1)[:, None] + (known**2).sum(1) - 2 * asked @ known.T
    order = np.argsort(squares, axis=1, kind="stable")[:, skip : skip + k]
    labels, expected = np.asarray(labels), np.asarray(expected)
    if not order.shape[1]:  # nobody is there to ask
        return 0.0
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer):
        classes = int(max(labels.max(), expected.max())) + 1
        votes = np.eye(classes)[labels[order]].sum(1)
        return float((votes.argmax(1) == expected).mean())
    means = labels[order].astype("float64").mean(1)
    return -float(((means - expected) ** 2).mean())
