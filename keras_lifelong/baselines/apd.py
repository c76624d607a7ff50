"""APD: weights are those that tasks share, masked, plus a sparse part of their own.

Yoon, Kim, Yang, Hwang: Scalable and Order-robust Continual Learning with Additive
Parameter Decomposition, ICLR 2020. A task's weights are θ_t = σ ⊙ M_t + τ_t, of what
tasks share, a mask M_t = sigmoid(v_t) by output unit and a sparse part of its own; the
cost is L + λ1 Σ_i |τ_i| + λ2 Σ_{i<t} |θ_i* - (σ ⊙ M_i + τ_i)|² (Eq. 3).
"""

from __future__ import annotations

from typing import Annotated

import keras
import numpy as np
from keras import ops

from keras_lifelong.baselines.masking import Masking
from keras_lifelong.checks import Above
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.training import masks
from keras_lifelong.training import orthant

OPEN = 2.0  # v at first: masks begin almost open


@register
class APD(Masking):
    """Decomposes the weights of each kernel into what tasks share and what they add.

    While a task is learned, σ moves where that pays off beyond what it costs earlier
    tasks, whose τ_i are updated for it afterwards, so that σ ⊙ M_i + τ_i stays what it
    was to within λ1 / (2 λ2). Only what is not 0 of a τ is kept and counted.

    Departures: the earlier τ_i are not trained beside σ; for each σ the best ones are
    known (a soft threshold), so that their cost is a function of σ, and they are set at
    the end. The M_i of earlier tasks stay. τ and σ's change are exactly 0 where λ1 says
    so, under any optimizer (`training/orthant.py`). Hierarchical consolidation (k-means
    of the τ, locally shared parts) is left out. Biases and normalisation, and their
    statistics, are each task's own. The first σ is the drawn weight over its mask.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        sparsity: λ1, at least 0; the paper's are 1e-4 to 4e-4.
        strength: λ2, above 0; the paper's is 100.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it; if a kernel
            has a regularizer or a constraint, naming it.
    """

    task_forms = (("mask", str, int), ("gate", str, int), ("sparse", str, int))

    def __init__(
        self,
        backbone,
        sparsity: Annotated[float, AtLeast(0)] = 4e-4,
        strength: Annotated[float, Above(0)] = 100.0,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(APD, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def build_network(self, backbone):
        network = super().build_network(backbone)
        for kernel in self._parts.kernels:
            if kernel.regularizer is not None or kernel.constraint is not None:
                raise ValueError(
                    f"APD cannot carry the weight {kernel.path!r} of `backbone`: its "
                    "regularizer or constraint is of a kernel, which is a sum here. "
                    "Leave it out: `sparsity` and `strength` regularize."
                )
        self._trained = Decomposed(self._parts.kernels)
        return network

    def learn(self, task):
        trained, kernels = self._trained, self._parts.kernels
        earlier = [name for name in self.decomposed() if name != task.name]
        room = 1 << max(len(earlier) - 1, 0).bit_length()  # few sizes to compile
        shared, gates, sparse = self.all_weights(), [], []
        for i, weights in enumerate(shared):
            gate, own = self.own_parts(task.name, i)
            trained.begin(i, gate, own)
            kernels[i].assign(weights * sigmoid(gate) + own)
            parts = [self.own_parts(name, i) for name in earlier]
            masks_of = np.zeros((room, *gate.shape), "float32")  # 0: nobody
            sparse_of = np.zeros((room, *weights.shape), "float32")
            for k, (gate, own) in enumerate(parts):
                masks_of[k], sparse_of[k] = sigmoid(gate), own
            gates.append(masks_of)
            sparse.append(sparse_of)
        others = [v for v in self._parts.others if v.trainable]
        yield self.phase(
            "decomposing",
            [*trained.drifts, *trained.sparse, *trained.gates, *others],
            loss=self.decomposed_loss,
            gradients=self.with_penalties,
            after_step=self.held,
            state=[*self.active_variables(), *trained.ways],
            arguments={
                "shared": shared,
                "masks": gates,
                "sparse": sparse,
                "l1": np.float32(self.options.sparsity),
                "l2": np.float32(self.options.strength),
            },
        )
        self.settle_all(task.name, earlier, shared)

    def decomposed_loss(self, x, y, weight, arguments):
        """The task's loss under σ ⊙ M_t + τ_t."""
        composed = self._trained.composed(arguments["shared"])
        pairs = zip(self._parts.kernels, composed, strict=True)
        replaced = {id(kernel): value for kernel, value in pairs}
        features = masks.call_with(self.network, replaced, x, training=True)
        return self.head_loss(y, self.head(features), weight)

    def with_penalties(self, gradients, weights, arguments):
        """Adds the slopes of the penalties to the gradients of σ and τ_t."""
        del weights
        trained, count = self._trained, self.kernel_count
        changed = list(gradients)
        l1, l2 = arguments["l1"], arguments["l2"]
        for i, (masks_of, sparse_of) in enumerate(
            zip(arguments["masks"], arguments["sparse"], strict=True)
        ):
            drift = ops.convert_to_tensor(trained.drifts[i])
            own = ops.convert_to_tensor(trained.sparse[i])
            mask = _by_unit(masks_of, len(drift.shape))
            rest = sparse_of - drift * mask  # what τ_i would be to keep θ_i
            pull = ops.clip(2 * l2 * rest, -l1, l1)
            slope = -ops.sum(mask * pull, axis=0)
            at_kink = ops.cast(sparse_of == 0, "float32")
            hold = l1 * ops.sum(mask * at_kink, axis=0)
            changed[i] = orthant.pseudo_gradient(gradients[i], drift, slope, hold)
            k = count + i
            slope = l1 * ops.sign(own)
            changed[k] = orthant.pseudo_gradient(gradients[k], own, slope, l1)
            trained.ways[i].assign(orthant.way(changed[i]))
            trained.ways[k].assign(orthant.way(changed[k]))
        return changed

    def held(self, before, weights, arguments, learning_rate):
        """What crosses 0 stops there; the network's kernels are σ ⊙ M_t + τ_t."""
        del learning_rate
        after, trained = [ops.convert_to_tensor(w) for w in weights], self._trained
        for k, ways in enumerate(trained.ways):
            ways = ops.convert_to_tensor(ways)
            after[k] = orthant.stayed(before[k], after[k], ways)
        count = self.kernel_count
        values = zip(arguments["shared"], *_thirds(after, count), strict=True)
        for kernel, (shared, drift, own, gate) in zip(
            self._parts.kernels, values, strict=True
        ):
            kernel.assign((shared + drift) * ops.sigmoid(gate) + own)
        return after

    def settle_all(self, name, earlier, shared) -> None:
        """Keeps what was learned, and updates the τ of earlier tasks for it."""
        reach = self.options.sparsity / (2 * self.options.strength)
        trained = self._trained
        for i, weights in enumerate(shared):
            drift, own, gate = (
                ops.convert_to_numpy(v[i]).copy()
                for v in (trained.drifts, trained.sparse, trained.gates)
            )
            for other in earlier:
                its_gate, its = self.own_parts(other, i)
                rest = its - drift * sigmoid(its_gate)
                found = np.sign(rest) * np.maximum(np.abs(rest) - reach, 0)
                self.keep_sparse(other, i, np.where(drift == 0, its, found))
            self.memory["weights", i] = (weights + drift).astype("float32")
            self.memory["gate", name, i] = gate
            self.keep_sparse(name, i, own)
            self.memory.records[name].own.pop(i, None)

    # What is kept

    def all_weights(self):
        """σ of each kernel."""
        first = self._parts.first[: self.kernel_count]
        first = [w / np.float32(sigmoid(OPEN)) for w in first]
        return [self.memory.get(("weights", i), w) for i, w in enumerate(first)]

    def decomposed(self) -> list[str]:
        """The tasks that have been learned."""
        return [name for name in self.task_names if ("gate", name, 0) in self.memory]

    def own_parts(self, name: str, index: int) -> tuple[np.ndarray, np.ndarray]:
        """v and τ of a task for a kernel; those of a new task are as at first."""
        shape = tuple(self._parts.kernels[index].shape)
        mask = self.mask(name, index)
        if mask is None:
            return np.full(shape[-1:], OPEN, "float32"), np.zeros(shape, "float32")
        values = self.memory["sparse", name, index]
        return self.memory["gate", name, index], scattered(values, mask)

    def keep_sparse(self, name: str, index: int, own: np.ndarray) -> None:
        """Keeps what is not 0 of a τ."""
        self.memory["mask", name, index] = masks.pack(own != 0)
        self.memory["sparse", name, index] = own[own != 0].astype("float32")

    def initial_own(self, index, variable):
        if index < self.kernel_count:
            return (self.all_weights()[index] * sigmoid(OPEN)).astype("float32")
        return super().initial_own(index, variable)

    def own_values(self, name, memory):
        values = dict(memory.records[name].own)
        for i in range(self.kernel_count):
            if ("mask", name, i) in memory:
                keys = [(part, name, i) for part in ("gate", "mask", "sparse")]
                parts = memory["weights", i], *(memory[key] for key in keys)
                values[i] = self._products.get((name, i), parts, composed)
        return values

    def network_params(self):
        """σ, and of each task v and what is not 0 of τ."""
        shapes = [tuple(v.shape) for v in self._parts.kernels]
        total = sum(int(np.prod(shape)) for shape in shapes)
        for name in self.decomposed():
            for i, shape in enumerate(shapes):
                total += shape[-1] + self.memory["sparse", name, i].size
        return total

    def shared_with(self, name):
        found = super().shared_with(name)
        found.pop("weights", None)
        others = [other for other in self.decomposed() if other != name]
        return {**found, "the shared part": others} if others else found

    def check_state(self, config, shapes):
        super().check_state(config, shapes)
        for i, variable in enumerate(self._parts.kernels):
            units = tuple(variable.shape[-1:])
            for name in config["tasks"]:
                gate = shapes.get(f"memory/gate/{name}/{i}", units)
                if tuple(gate) != units:
                    raise ValueError(
                        f"task {name!r} has a mask of shape {tuple(gate)} for "
                        f"{variable.path}, which has {units[0]} units"
                    )


class Decomposed:
    """Where σ, τ and v of the kernels are trained.

    Attributes:
        drifts: how far σ is from what it was.
        sparse, gates: τ and v.
        ways: of both drifts and τ: where those at 0 may go.
    """

    def __init__(self, kernels):
        def zeros(name, shapes):
            return [keras.Variable(ops.zeros(shape), name=name) for shape in shapes]

        shapes = [tuple(v.shape) for v in kernels]
        self.drifts, self.sparse = zeros("drift", shapes), zeros("sparse", shapes)
        self.gates = zeros("gate", [shape[-1:] for shape in shapes])
        self.ways = zeros("way", [*shapes, *shapes])

    def begin(self, index: int, gate: np.ndarray, own: np.ndarray) -> None:
        """Gives a kernel's variables what a task begins with."""
        self.drifts[index].assign(np.zeros_like(own))
        self.sparse[index].assign(own)
        self.gates[index].assign(gate)

    def composed(self, shared) -> list:
        """σ ⊙ M + τ of each kernel."""
        parts = zip(shared, self.drifts, self.sparse, self.gates, strict=True)
        found = []
        for weights, *own in parts:
            drift, sparse, gate = (ops.convert_to_tensor(v) for v in own)
            found.append((weights + drift) * ops.sigmoid(gate) + sparse)
        return found


def sigmoid(x):
    """1 / (1 + e^-x), of arrays."""
    return 1 / (1 + np.exp(-np.asarray(x, "float32")))


def scattered(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """An array (…) of values (n,) where a mask (…) is True, in order, and else 0.

    Raises:
        ValueError: if there are more or fewer places than values.
    """
    if values.shape != (int(mask.sum()),):
        raise ValueError(
            f"values of shape {values.shape} are for {int(mask.sum())} places"
        )
    found = np.zeros(mask.shape, "float32")
    found[mask] = values
    return found


def composed(weights, gate, packed, values) -> np.ndarray:
    """σ ⊙ M + τ, of arrays as they are kept."""
    own = scattered(values, masks.unpack(packed, weights.shape))
    return (weights * sigmoid(gate) + own).astype("float32")


def _by_unit(values, rank: int):
    """(tasks, units) as (tasks, 1, …, units), to multiply kernels of `rank` axes."""
    return ops.reshape(values, (values.shape[0], *[1] * (rank - 1), values.shape[-1]))


def _thirds(values: list, count: int) -> list[list]:
    return [values[k * count : (k + 1) * count] for k in range(3)]
