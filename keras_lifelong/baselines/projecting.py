"""What the methods that project steps have in common: a basis M a layer, and the step.

No method of itself; see `gpm` and `trgp`.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_lifelong.model import LifelongModel
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training.importance import examples_of
from keras_lifelong.training.layer_losses import refuse_constraints
from keras_lifelong.training.optimizers import is_schedule_free
from keras_lifelong.training.projection import ProjectedLayers
from keras_lifelong.training.projection import at_right_angle


class Projecting(LifelongModel):
    """A model that steps at a right angle to what its layers were given.

    The memory has M of each layer, `("gpm", i)`. Normalisation is each task's own. Its
    options have `threshold`, `increase` and `samples`.
    """

    def build_network(self, backbone):
        self._projected = ProjectedLayers(backbone, type(self).__name__)
        layers = self._projected.layers.values()
        refuse_constraints(
            type(self).__name__,
            [v for layer in layers for v in layer.trainable_variables],
            "its steps are projected",
        )
        threshold, count = self.options.threshold, len(layers)
        if isinstance(threshold, list) and len(threshold) != count:
            raise ValueError(
                f"`threshold` must be a number, or a list of {count}, one for each of "
                f"the layers {', '.join(self._projected.layers)}. Received: {threshold}"
            )
        return backbone

    def own_variables(self):
        return self._projected.own

    def check_settings(self, task, settings):
        del task, settings  # it is the optimizer whose steps can't be projected
        if is_schedule_free(self.optimizer):
            raise ValueError(
                f"{type(self).__name__} projects what a step does to the weights. "
                "ScheduleFreeAdamW moves others, of which these are an average: give "
                "`compile` another `optimizer`, such as AdamW."
            )

    def bases(self) -> list[np.ndarray]:
        """M of each layer, (d, directions), none at first."""
        found = []
        for i, layer in enumerate(self._projected.layers.values()):
            size = int(np.prod(layer.kernel.shape[:-1])) + layer.use_bias
            found.append(self.memory.get(("gpm", i), np.zeros((size, 0), "float32")))
        return found

    def project(self, before, weights, arguments, learning_rate):
        """W ← W - (I - M Mᵀ) ΔW of each layer, its bias included."""
        del learning_rate
        after = [ops.convert_to_tensor(w) for w in weights]
        place = {id(v): i for i, v in enumerate(weights)}
        layers = self._projected.layers.values()
        for layer, projector in zip(layers, arguments["projectors"], strict=True):
            mine = [place[id(v)] for v in layer.trainable_variables]
            steps = at_right_angle([after[i] - before[i] for i in mine], projector)
            for i, step in zip(mine, steps, strict=True):
                after[i] = before[i] + step
        return after

    def share(self, name: str, layer: int) -> float:
        """ε of a task in a layer, at most 1."""
        first = self.options.threshold
        if isinstance(first, list):
            first = first[layer]
        return min(first + self.options.increase * self.task_index(name), 1.0)

    def moments(self, task) -> list[np.ndarray]:
        """R Rᵀ of the inputs that each layer has of examples of a task, (d, d)."""
        rng = np.random.default_rng(derive_seed(self.seed, task.name, "inputs"))
        x, _ = examples_of(task, self.options.samples, rng)
        found = self._projected.moments(x)
        return [found[path] for path in self._projected.layers]
