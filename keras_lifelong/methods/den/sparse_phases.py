"""Phases that train a region of a growing network towards exact zeros."""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_lifelong.methods.den.regions import group_threshold
from keras_lifelong.methods.den.regions import soft_threshold
from keras_lifelong.streams.task import is_dataset
from keras_lifelong.training.phase import Phase


class SparsePhasesMixin:
    """Phases of a `GrowingModel` with l1, l2, drift and group lasso terms.

    The model's `options` give the coefficients `l1`, `l2`, `drift`, `head_l1`,
    `head_epochs` and `prox_scaled_by_lr`; DEN's docstring says what they mean.
    """

    def weights_phase(self, name, region, previous=None, group=0.0) -> Phase:
        """A phase that trains the weights of a region and the head's rows above it.

        Args:
            name: of the phase.
            region: what may move.
            previous: a `Snapshot` to stay near (Eq. 6's λ term). None: no drift term.
            group: threshold of the group lasso.
        """
        o = self.options
        network = self.network
        grouped = [id(x.kernel) for x in network.growable if x.groups_filters]
        masks = region.masks(network)
        head_mask = np.zeros(self.head.kernel.shape, "float32")
        head_mask[region.head_rows(network)] = 1
        masks[id(self.head.kernel)] = head_mask
        old = {} if previous is None else previous.region.masks(network)
        values = {} if previous is None else previous.values(network)
        own = {id(v) for v in self.own_variables()}
        arguments = []
        variables = [*network.trainable_variables, *self.head.trainable_variables]
        for v in variables:
            regular = id(v) not in own
            mask = masks.get(id(v), np.ones(v.shape, "float32"))
            filters = id(v) in grouped  # (2,1)-norm in place of the l1 norm
            arguments.append(
                {
                    "mask": mask,
                    "previous": values.get(id(v), np.zeros(v.shape, "float32")),
                    "old": mask * old.get(id(v), np.zeros((1,) * mask.ndim, "float32")),
                    "l1": np.float32(o.l1 * (regular and not filters)),
                    "l2": np.float32(o.l2 * regular),
                    "group": np.float32(
                        o.l1 * filters + group * (id(v) in masks and mask.ndim > 1)
                    )
                    * np.float32(v is not self.head.kernel),
                }
            )
        return Phase(
            name=name,
            variables=variables,
            loss=self.task_loss,
            penalty=self.penalty,
            gradients=self.mask_gradients,
            after_step=self.proximal_step,
            arguments={"weights": arguments, "drift": np.float32(o.drift)},
        )

    def sparse_head_phase(self, task) -> Phase:
        """Trains the head alone, on features that are computed once (Eq. 3)."""
        o = self.options
        arguments = [
            {
                "mask": np.ones(v.shape, "float32"),
                "previous": np.zeros(v.shape, "float32"),
                "old": np.zeros((1,) * len(v.shape), "float32"),
                "l1": np.float32(o.l1 if o.head_l1 is None else o.head_l1),
                "l2": np.float32(o.l2),
                "group": np.float32(0),
            }
            for v in self.head.trainable_variables
        ]
        rows = np.zeros(self.head.kernel.shape, "float32")
        rows[self.everything().head_rows(self.network)] = 1
        arguments[0]["mask"] = rows
        phase = Phase(
            name="sparse head",
            variables=self.head.trainable_variables,
            loss=self.task_loss,
            penalty=self.penalty,
            gradients=self.mask_gradients,
            after_step=self.proximal_step,
            arguments={"weights": arguments, "drift": np.float32(0)},
            epochs=o.head_epochs,
        )
        if not is_dataset(task.train):
            x, y = task.train
            phase.data = (self.trainer.forward(self.features, x), y)
            phase.loss, phase.state = self.head_only_loss, []
        return phase

    def head_only_loss(self, features, y, weight, arguments):
        del arguments
        return self.head_loss(y, self.head(features), weight)

    def penalty(self, weights, arguments):
        """μ and λ terms: half squared norms of what moves, and of how far it moved."""
        cost = 0.0
        for w, a in zip(weights, arguments["weights"], strict=True):
            w = ops.convert_to_tensor(w)
            cost += a["l2"] * 0.5 * ops.sum(ops.square(w) * a["mask"])
            moved = ops.square(w - a["previous"]) * a["old"]
            cost += arguments["drift"] * 0.5 * ops.sum(moved)
        return cost

    def mask_gradients(self, gradients, weights, arguments):
        del weights
        pairs = zip(gradients, arguments["weights"], strict=True)
        return [g * a["mask"] for g, a in pairs]

    def proximal_step(self, before, weights, arguments, learning_rate):
        """Exact zeros by soft thresholds; what is outside the region is put back."""
        scale = learning_rate if self.options.prox_scaled_by_lr else 1.0
        out = []
        for old, w, a in zip(before, weights, arguments["weights"], strict=True):
            fresh = a["mask"] * (
                1 - a["old"]
            )  # shared weights stay near W^{t-1} instead
            w = soft_threshold(ops.convert_to_tensor(w), a["l1"] * scale * fresh)
            if len(w.shape) > 1:
                w = group_threshold(w, fresh, a["group"] * scale)
            out.append(ops.where(a["mask"] > 0, w, old))
        return out
