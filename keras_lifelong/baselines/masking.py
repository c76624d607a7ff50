"""What the methods that mask weights have in common: one set of weights, a mask a task.

No method of itself; see `packnet`, `wsn` and `supsup`.
"""

from __future__ import annotations

import keras
import numpy as np

from keras_lifelong.model import LifelongModel
from keras_lifelong.training import masks
from keras_lifelong.training.layer_losses import refuse_constraints


class Masking(LifelongModel):
    """A model whose tasks use parts of one set of weights.

    The memory has the weights of each kernel, `("weights", i)`, and which of them a
    task uses, `("mask", name, i)`, a bit each. Biases and normalisation are each task's
    own, and begin as those of the task before. In the network tasks are but trained.
    """

    task_forms: tuple[tuple, ...] = (("mask", str, int),)

    def build_network(self, backbone):
        self._parts = masks.Kernels(backbone)
        refuse_constraints(
            type(self).__name__,
            self._parts.kernels,
            "it moves some of a kernel's numbers, and uses some",
            (keras.constraints.NonNeg,),
        )
        self._products = masks.Products()
        return backbone

    def own_variables(self):
        return [*self._parts.kernels, *self._parts.others]

    def shared_variables(self):
        return self._parts.shared

    @property
    def kernel_count(self) -> int:
        """How many variables are masked; they are the first of the own ones."""
        return len(self._parts.kernels)

    def initial_own(self, index, variable):
        del variable
        if index < self.kernel_count:
            return self.all_weights()[index].copy()
        for record in reversed(self.memory.records.values()):
            if index in record.own:
                return record.own[index].copy()
        return self._parts.first[index].copy()

    def all_weights(self) -> list[np.ndarray]:
        """Of each kernel all weights, of whatever task; at first those drawn."""
        first = self._parts.first[: self.kernel_count]
        return [self.memory.get(("weights", i), w) for i, w in enumerate(first)]

    def keep_own(self, name, index, value):
        """While a task is learned, its kernels are its own; then its mask has them."""
        if index >= self.kernel_count or ("mask", name, index) not in self.memory:
            super().keep_own(name, index, value)

    def own_values(self, name, memory):
        values = dict(memory.records[name].own)
        for i in range(self.kernel_count):
            key = ("mask", name, i)
            if key in memory:
                parts = memory["weights", i], memory[key]
                values[i] = self._products.get((name, i), parts, masks.product)
        return values

    def settle(self, name: str, weights: list, mask: list) -> None:
        """Ends the learning of a task: its kernels are weights and a mask.

        Args:
            name: of the task.
            weights: arrays, of each kernel.
            mask: bool arrays, of each kernel.
        """
        for i, (values, used) in enumerate(zip(weights, mask, strict=True)):
            self.memory["weights", i] = values.astype("float32")
            self.memory["mask", name, i] = masks.pack(used)
            self.memory.records[name].own.pop(i, None)

    def mask(self, name: str, index: int) -> np.ndarray | None:
        """Which weights of a kernel a task uses, bool; None while it has none yet."""
        packed = self.memory.get(("mask", name, index))
        shape = tuple(self._parts.kernels[index].shape)
        return None if packed is None else masks.unpack(packed, shape)

    def used(self, without: str | None = None) -> list[np.ndarray]:
        """Which weights of each kernel tasks use, bool.

        Args:
            without: a task that does not count.
        """
        found = [np.zeros(tuple(v.shape), bool) for v in self._parts.kernels]
        for name in self.memory.records:
            for i in range(self.kernel_count):
                mask = None if name == without else self.mask(name, i)
                if mask is not None:
                    found[i] |= mask
        return found

    def network_params(self) -> int:
        """The weights that any task uses."""
        return sum(int(mask.sum()) for mask in self.used())

    def shared_with(self, name):
        found = super().shared_with(name)
        kernels = range(self.kernel_count)
        names = [
            other
            for other in self.task_names
            if other != name
            and any(self._overlap(name, other, index) for index in kernels)
        ]
        return {**found, "weights": names} if names else found

    def release(self, name):
        super().release(name)
        self._products.forget(name)

    def tidy(self):
        super().tidy()
        if not self.task_names:  # the next task is a first one
            for i in range(self.kernel_count):
                self.memory.shared.pop(("weights", i), None)

    def _overlap(self, name, other, index) -> bool:
        mine, theirs = self.mask(name, index), self.mask(other, index)
        return mine is not None and theirs is not None and bool((mine & theirs).any())

    def check_state(self, config, shapes):
        super().check_state(config, shapes)
        for i, variable in enumerate(self._parts.kernels):
            shape = tuple(variable.shape)
            wanted = {f"memory/weights/{i}": shape}
            for name in config["tasks"]:
                wanted[f"memory/mask/{name}/{i}"] = (masks.packed_size(shape),)
            for key, size in wanted.items():
                if key in shapes and tuple(shapes[key]) != size:
                    raise ValueError(
                        f"{key} has shape {tuple(shapes[key])}, {variable.path} has "
                        f"shape {shape}"
                    )
