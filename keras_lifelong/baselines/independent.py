"""Independent: a network of its own for every task (single-task learning, STL)."""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_lifelong.model import LifelongModel
from keras_lifelong.model.registry import register
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import seeded_copy
from keras_lifelong.seeds import without_seed_states


@register
class Independent(LifelongModel):
    """Learns every task with a fresh copy of the backbone: nothing is shared.

    There is no forgetting and no transfer; the size grows by a whole network a task.
    One network is active at a time, so one compiled step trains them all.
    """

    carries_inputs = True
    carries_sequences = True

    def own_variables(self):
        return without_seed_states(self.network.variables)

    def begin_task(self, name):
        """Draws the task's initial weights from (seed, task), or takes those given."""
        seed = derive_seed(self.seed, "independent", name)
        if self.pretrained and ("pretrained", 0) not in self.memory:
            for i, v in enumerate(self.own_variables()):  # as given: this task is first
                self.memory["pretrained", i] = ops.convert_to_numpy(v).copy()
        if ("pretrained", 0) in self.memory:
            count = len(self.own_variables())
            fresh = [self.memory["pretrained", i].copy() for i in range(count)]
        else:
            network = seeded_copy(self.backbone_copy(), seed)
            fresh = [
                ops.convert_to_numpy(v).copy()
                for v in without_seed_states(network.variables)
            ]
        self._fresh = fresh

    def initial_own(self, index, variable) -> np.ndarray:
        del variable
        return self._fresh[index]
