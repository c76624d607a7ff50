"""Phases that train a region of a growing network towards exact zeros."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_lifelong.methods.den.growable_network import GrowableNetwork
from keras_lifelong.methods.den.regions import Region
from keras_lifelong.methods.den.regions import Snapshot
from keras_lifelong.methods.den.regions import group_norms
from keras_lifelong.methods.den.regions import group_threshold
from keras_lifelong.methods.den.regions import soft_threshold
from keras_lifelong.streams.forms import is_dataset
from keras_lifelong.training import hooks
from keras_lifelong.training.phase import Phase


@dataclasses.dataclass(frozen=True)
class Coefficients:
    """How strongly, in the symbols of the paper.

    Args:
        l1: μ, a threshold.
        l2: of half the squared norm of what is trained.
        drift: λ, of half the squared distance to the previous weights.
        head_l1: μ of the sparse head. None: `l1`.
        scaled_by_lr: whether thresholds are multiplied by the learning rate.
    """

    l1: float
    l2: float
    drift: float
    head_l1: float | None = None
    scaled_by_lr: bool = False


class SparsePhases:
    """Makes phases with l1, l2, drift and group lasso terms.

    Args:
        coefficients: `Coefficients`.
        network: the `GrowableNetwork` that is trained.
        head: `head()` gives the head slot of the active task.
        own: `own()` gives the network's variables that each task has for itself; they
            are trained, and not held by any term.
        loss: `loss(x, y, weight, arguments)`: of network and head.
        head_loss: `head_loss(y, logits, weight)`: of the head's outputs.
        features: `features(x)`: array (n, width) of what the head is given.
    """

    def __init__(
        self,
        coefficients: Coefficients,
        network: GrowableNetwork,
        head: Callable,
        own: Callable,
        loss: Callable,
        head_loss: Callable,
        features: Callable,
    ):
        self.coefficients, self.network = coefficients, network
        self.head, self.own = head, own
        self.loss, self.head_loss, self.features = loss, head_loss, features
        # exact zeros; then what is outside the region is again what it was
        self.proximal_step = hooks.chain(self.thresholds, hooks.put_back)
        self.tied_step = hooks.chain(self.tied_thresholds, hooks.put_back)

    def weights(
        self,
        name: str,
        region: Region,
        previous: Snapshot | None = None,
        group: float = 0.0,
    ) -> Phase:
        """A phase that trains the weights of a region and the head's rows above it.

        Args:
            name: of the phase.
            region: what may move.
            previous: to stay near (Eq. 6's λ term). None: no drift term.
            group: γ: threshold of the group lasso.
        """
        c, network, head = self.coefficients, self.network, self.head()
        layers: list[Any] = [*network.growable, *network.per_unit]
        grouped = [id(x.kernel) for x in layers if x.groups_filters]
        held = region.masks(network)
        head_mask = np.zeros(head.kernel.shape, "float32")
        head_mask[region.head_rows(network)] = 1
        held[id(head.kernel)] = head_mask
        old = {} if previous is None else previous.region.masks(network)
        values = {} if previous is None else previous.values(network)
        own = {id(v) for v in self.own()}
        terms, masks = [], []
        variables = [*network.trainable_variables, *head.trainable_variables]
        for v in variables:
            regular = id(v) not in own
            mask = held.get(id(v), np.ones(v.shape, "float32"))
            filters = id(v) in grouped  # (2,1)-norm in place of the l1 norm
            masks.append(mask)
            terms.append(
                {
                    "previous": values.get(id(v), np.zeros(v.shape, "float32")),
                    "old": mask * old.get(id(v), np.zeros((1,) * mask.ndim, "float32")),
                    "l1": np.float32(c.l1 * (regular and not filters)),
                    "l2": np.float32(c.l2 * regular),
                    "group": np.float32(
                        c.l1 * filters + group * (id(v) in held and mask.ndim > 1)
                    )
                    * np.float32(v is not head.kernel),
                }
            )
        phase = self._phase(name, variables, masks, terms, c.drift)
        if any(tie is not None for tie in self.ties()):
            phase.after_step = self.tied_step
        return phase

    def ties(self) -> list[int | None]:
        """For each trainable variable of the network, which of them hold one group.

        It is the number of a group of layers that has several kernels, whose columns
        are then the incoming weights of one unit, in their kernels; None elsewhere.
        """
        found: dict[int, int] = {}
        for group in self.network.groups:
            layers: list[Any] = [*group.members, *group.followers]
            if len(layers) > 1:
                found.update({id(layer.kernel): group.number for layer in layers})
        return [found.get(id(v)) for v in self.network.trainable_variables]

    def sparse_head(self, task, region: Region, epochs: int | None) -> Phase:
        """Trains the head alone, on features that are computed once (Eq. 3).

        Args:
            task: the loaded task.
            region: the units that the head hears.
            epochs: None: as many as other phases.
        """
        c, head = self.coefficients, self.head()
        variables = head.trainable_variables
        masks = [np.ones(v.shape, "float32") for v in variables]
        masks[0] = np.zeros(head.kernel.shape, "float32")
        masks[0][region.head_rows(self.network)] = 1
        terms = [
            {
                "previous": np.zeros(v.shape, "float32"),
                "old": np.zeros((1,) * len(v.shape), "float32"),
                "l1": np.float32(c.l1 if c.head_l1 is None else c.head_l1),
                "l2": np.float32(c.l2),
                "group": np.float32(0),
            }
            for v in variables
        ]
        phase = self._phase("sparse head", variables, masks, terms, 0)
        phase.epochs = epochs
        if not is_dataset(task.train):
            x, y = task.train
            phase.data, phase.weights = (self.features(x), y), task.weight
            phase.loss, phase.state = self.head_only_loss, []
        return phase

    def _phase(self, name, variables, masks, terms, drift) -> Phase:
        return Phase(
            name=name,
            variables=variables,
            loss=self.loss,
            penalty=self.penalty,
            gradients=hooks.mask,
            after_step=self.proximal_step,
            arguments={"masks": masks, "terms": terms, "drift": np.float32(drift)},
        )

    # Hooks

    def head_only_loss(self, features, y, weight, arguments):
        """The loss where the features are the data."""
        del arguments
        return self.head_loss(y, self.head()(features), weight)

    def penalty(self, weights, arguments):
        """l2 and λ terms: half squared norms of what moves, and of how far it moved."""
        cost = 0.0
        triples = zip(weights, arguments["masks"], arguments["terms"], strict=True)
        for w, mask, term in triples:
            w = ops.convert_to_tensor(w)
            cost += term["l2"] * 0.5 * ops.sum(ops.square(w) * mask)
            moved = ops.square(w - term["previous"]) * term["old"]
            cost += arguments["drift"] * 0.5 * ops.sum(moved)
        return cost

    def thresholds(self, before, weights, arguments, learning_rate):
        """The proximal steps of μ and γ, on weights that no earlier task shares.

        Shared weights stay near W^{t-1} instead.
        """
        del before
        return self._thresholds(weights, arguments, learning_rate, {})

    def tied_thresholds(self, before, weights, arguments, learning_rate):
        """As `thresholds`, where a unit has weights in several kernels.

        Its group is then all of them: the norm is taken over the layers of one width.
        """
        del before
        ties = dict(enumerate(self.ties()))
        return self._thresholds(weights, arguments, learning_rate, ties)

    def _thresholds(self, weights, arguments, learning_rate, ties):
        """Args: `ties`: see `ties()`, by the place of the variable."""
        scale = learning_rate if self.coefficients.scaled_by_lr else 1.0
        terms, shrunk, fresh = arguments["terms"], [], []
        triples = zip(weights, arguments["masks"], terms, strict=True)
        for w, mask, term in triples:
            fresh.append(mask * (1 - term["old"]))
            w = ops.convert_to_tensor(w)
            shrunk.append(soft_threshold(w, term["l1"] * scale * fresh[-1]))
        norms = {}
        for tie in sorted({tie for tie in ties.values() if tie is not None}):
            of = [i for i, number in ties.items() if number == tie]
            norms[tie] = group_norms([shrunk[i] for i in of], [fresh[i] for i in of])
        return [
            group_threshold(w, mask, term["group"] * scale, norms.get(ties.get(i)))
            if len(w.shape) > 1
            else w
            for i, (w, mask, term) in enumerate(zip(shrunk, fresh, terms, strict=True))
        ]
