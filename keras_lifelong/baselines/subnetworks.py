"""What the methods that search a task's subnetwork by scores have in common.

No method of itself; see `wsn` and `supsup`. Every weight has a score, and a task uses
those of the largest scores: in the forward pass the mask is 0 or 1, and its gradient
goes to the scores as it is (Ramanujan et al., CVPR 2020, "edge-popup").
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_lifelong.baselines.masking import Masking
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training import masks


class Searched:
    """Where a subnetwork is trained: weights and scores of each kernel."""

    def __init__(self, kernels):
        def zeros(name):
            return [keras.Variable(ops.zeros(v.shape), name=name) for v in kernels]

        self.weights, self.scores = zeros("weight"), zeros("score")
        for weight, kernel in zip(self.weights, kernels, strict=True):
            weight.regularizer, weight.constraint = (
                kernel.regularizer,
                kernel.constraint,
            )


class Subnetworks(Masking):
    """Finds a subnetwork for each task; its options have `capacity`.

    With `pretrained` weights the search begins with the largest of them, as pruning
    does: a random half of a trained network knows nothing of what it was trained for.

    While a task is learned, the network's kernels hold weights times mask after every
    step, so that whoever reads them reads the subnetwork.
    """

    trains_weights = True

    def build_network(self, backbone):
        network = super().build_network(backbone)
        self._searched = Searched(self._parts.kernels)
        # of the scores as they are: found once a step, after they have moved
        self._masks = [keras.Variable(ops.zeros(v.shape)) for v in self._parts.kernels]
        return network

    def learn(self, task):
        search, used = self._searched, self.used(without=task.name)
        kernels = self._parts.kernels
        rng = np.random.default_rng(derive_seed(self.seed, task.name, "scores"))
        for i, weights in enumerate(self.all_weights()):
            search.weights[i].assign(weights)
            scores = masks.drawn_scores(weights.shape, rng)
            if self.pretrained:
                scores = masks.dealt_by_size(scores, weights)
            search.scores[i].assign(scores)
            found = self.found(i)
            self._masks[i].assign(found)
            kernels[i].assign(weights * found)
        others = [v for v in self._parts.others if v.trainable]
        trained = [*(search.weights if self.trains_weights else []), *search.scores]
        yield self.phase(
            "training a subnetwork",
            [*trained, *others],
            loss=self.subnetwork_loss,
            gradients=self.of_free,
            after_step=self.held,
            state=[*self.active_variables(), *search.weights, *self._masks],
            arguments={"free": [(~u).astype("float32") for u in used]},
        )
        ends = zip(used, self.all_weights(), search.weights, strict=True)
        weights = [np.where(u, w, ops.convert_to_numpy(v)) for u, w, v in ends]
        found = [self.found(i).astype(bool) for i in range(self.kernel_count)]
        self.settle(task.name, weights, found)

    def found(self, index) -> np.ndarray:
        """The mask of a kernel by its scores, 0 and 1."""
        scores = self._searched.scores[index]
        return ops.convert_to_numpy(masks.chosen(scores, self.options.capacity))

    def subnetwork_loss(self, x, y, weight, arguments):
        """The task's loss under θ ⊙ m."""
        del arguments
        search, replaced = self._searched, {}
        parts = (self._parts.kernels, search.weights, search.scores, self._masks)
        for kernel, values, scores, mask in zip(*parts, strict=True):
            mask = masks.straight_through(mask, scores)
            replaced[id(kernel)] = ops.convert_to_tensor(values) * mask
        features = masks.call_with(self.network, replaced, x, training=True)
        return self.head_loss(y, self.head(features), weight)

    def of_free(self, gradients, weights, arguments):
        """∂L/∂θ ⊙ (1 - M): weights that other tasks use have no gradient."""
        del weights
        count = self.kernel_count if self.trains_weights else 0
        pairs = zip(gradients[:count], arguments["free"], strict=False)
        return [*(g * free for g, free in pairs), *gradients[count:]]

    def held(self, before, weights, arguments, learning_rate):
        """Those weights are what they were, and the network's kernels θ ⊙ m."""
        del learning_rate
        after, count = [ops.convert_to_tensor(w) for w in weights], self.kernel_count
        values = [ops.convert_to_tensor(w) for w in self._searched.weights]
        if self.trains_weights:
            triples = zip(before, after[:count], arguments["free"], strict=False)
            values = [ops.where(free > 0, new, old) for old, new, free in triples]
            after = [*values, *after[count:]]
            scores = after[count : 2 * count]
        else:
            scores = after[:count]
        parts = (self._parts.kernels, self._masks, values, scores)
        for kernel, mask, value, score in zip(*parts, strict=True):
            found = masks.chosen(score, self.options.capacity)
            mask.assign(found)
            kernel.assign(value * found)
        return after
