"""DEN: Lifelong Learning with Dynamically Expandable Networks.

Yoon, Yang, Lee, Hwang: ICLR 2018. The names of the paper's steps and symbols are used
throughout: μ (`l1`), λ (`drift`), γ (`group_lasso`), τ (`loss_threshold`),
σ (`split_threshold`), k (`growth`).
"""

from __future__ import annotations

from typing import Annotated
from typing import Literal

import numpy as np
from keras import ops

from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.layers import head as heads
from keras_lifelong.methods.den.growing import GrowingModel
from keras_lifelong.methods.den.regions import Region
from keras_lifelong.methods.den.regions import Snapshot
from keras_lifelong.methods.den.regions import nonzero_inputs
from keras_lifelong.methods.den.sparse_phases import SparsePhasesMixin
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training.joint import joint_phases


@register
class DEN(SparsePhasesMixin, GrowingModel):
    """A network that retrains what a task needs, grows where it must and splits units
    that would drift away from the tasks that use them.

    Algorithm 1 of the paper, with its published constants as defaults:

    1. The first task is trained with an l1 penalty (filters: a (2,1)-norm).
    2. Of a later task, first the head alone is trained, sparsely; units that reach its
       non-zero weights, breadth first, are *selected* and retrained (section 3.1).
    3. If the loss is still above τ, k units are added to every hidden layer, trained
       under group sparsity, and those that stay useless removed (section 3.2).
    4. Old units whose incoming weights moved by more than σ are *split*: the old tasks
       keep the previous version, the new task gets a copy of the moved one
       (section 3.3). Then everything is trained once more.
    5. Every unit carries the stage at which it was born, and a task is predicted with
       the units of its time only (section 3.4).

    As in the authors' code, `l1` and `group_lasso` are thresholds of a proximal step
    taken after every optimizer step, in units of the weights: penalties in the loss
    would never give the exact zeros that selection and pruning live on. They act where
    the paper has μ and γ: on the first task, on heads and on new weights; shrinking
    shared weights with every task, as that code does, is forgetting. As there,
    selective retraining is also held near the previous weights, which the paper's
    Eq. 4 is not.

    Args:
        backbone: `keras.Sequential` of Dense, Conv2D, BatchNormalization, pooling,
            dropout, flatten and activation layers, of any depth.
        growth: k: units added to every hidden layer, and the most that are split in
            one. At least 1.
        l1: μ: threshold of the proximal l1 step, at least 0, as all coefficients.
        l2: coefficient of half the squared norm of what is trained.
        group_lasso: γ: threshold of the proximal step on the weights into a new unit.
        drift: λ: coefficient of half the squared distance to the previous weights.
        loss_threshold: τ: mean training loss above which the network is expanded.
        split_threshold: σ: l2 norm of the change of a unit's incoming weights.
        head_epochs: epochs of the sparse head, at least 1. None: as many as the other
            phases.
        head_l1: threshold of the proximal step on the sparse head. None: `l1`.
        selective: whether to retrain only selected units; otherwise all.
        expansion: "dynamic", "constant" (k units for every task, none removed) or
            None.
        split: whether drifted units are split.
        timestamps: whether a task is predicted with the units of its time only.
        prune_first: whether units that the first task left without any incoming or
            any outgoing weight are removed.
        prox_scaled_by_lr: whether thresholds are multiplied by the learning rate, and
            so mean coefficients of a penalty.
        bucket: storage is made in multiples of this many units, at least 1.
        seed, pretrained, name: see `LifelongModel`. Pretrained weights are not taken.

    Raises:
        ValueError: if an argument is of another type or range, naming it, or the
            backbone has a layer that cannot grow, with its name.

    Example:

    ```python
    model = kl.DEN(kl.backbones.get("mlp", (8, 8, 1), units=[32, 16]), growth=4)
    model.compile("adam", metrics=["accuracy"])
    result = model.fit_stream(kl.streams.get("digits"), epochs=20)
    model.growth    # why every unit exists
    ```
    """

    def __init__(
        self,
        backbone,
        growth: Annotated[int, AtLeast(1)] = 10,
        l1: Annotated[float, AtLeast(0)] = 1e-5,
        l2: Annotated[float, AtLeast(0)] = 1e-4,
        group_lasso: Annotated[float, AtLeast(0)] = 1e-3,
        drift: Annotated[float, AtLeast(0)] = 0.5,
        loss_threshold: Annotated[float, AtLeast(0)] = 0.01,
        split_threshold: Annotated[float, AtLeast(0)] = 0.05,
        head_epochs: Annotated[int, AtLeast(1)] | None = None,
        head_l1: Annotated[float, AtLeast(0)] | None = None,
        selective: bool = True,
        expansion: Literal["dynamic", "constant"] | None = "dynamic",
        split: bool = True,
        timestamps: bool = True,
        prune_first: bool = True,
        prox_scaled_by_lr: bool = False,
        bucket: Annotated[int, AtLeast(1)] = 64,
        seed: Seed = 0,
        name: str | None = None,
    ):
        options = checked_options(DEN, locals())
        super().__init__(backbone, seed=seed, name=name, options=options)

    def learn(self, task):
        o = self.options
        if self.task_index(task.name) == 0 and len(self.task_names) == 1:
            yield self.weights_phase("sparse training", self.everything())
            if not self.is_revisited(task.name):
                self.prune_first_task(task.name)
            self.notes(task.name)["learned"] = True
            return

        previous = Snapshot(self.network)
        if o.selective:
            yield self.sparse_head_phase(task)
            selected = self.select_units(task.name)
            result = yield self.weights_phase(
                "selective retraining", selected, previous
            )
        else:
            result = yield self.weights_phase("retraining", self.everything(), previous)
        if self.is_revisited(task.name):
            return  # its units exist already

        self.notes(task.name)["learned"] = True
        added = drifted = None
        if o.expansion == "constant" or (
            o.expansion == "dynamic" and result.loss > o.loss_threshold
        ):
            before = self.everything()
            added = self.add_units(task.name)
            dynamic = o.expansion == "dynamic"
            yield self.weights_phase(
                "expansion",
                self.everything().without(before),
                group=o.group_lasso if dynamic else 0.0,
            )
            removed = [[] for _ in added]
            if dynamic:
                removed = self.remove_units(lambda i: self.useless(i, added[i]))
            self.log_added(task.name, added, removed, result.loss)
        if o.split:
            drifted = self.split_drifted(task.name, previous)
            if added or drifted:
                yield self.weights_phase("final training", self.everything(), previous)

    def finetune(
        self, stream, *, epochs=1, batch_size=32, callbacks=None, verbose="auto"
    ):
        """DEN-Finetune: trains all tasks together on the structure that was found.

        Units and timestamps stay; every sample uses the units of its own task's time.

        Args:
            stream: the tasks, all learned before; a `TaskStream` or iterable of `Task`.
            epochs, batch_size, callbacks, verbose: as in `fit`.

        Returns:
            `keras.callbacks.History`.

        Raises:
            ValueError: if a task was not learned before, or the network has batch
                normalisation, whose statistics belong to single tasks.
        """
        if self.own_variables():
            raise ValueError(
                "`finetune` mixes tasks in a batch, and this backbone has batch "
                "normalisation, which each task keeps for itself."
            )
        tasks = list(stream)
        for task in tasks:
            self.task_index(task.name)

        def phases(loaded):
            stages = [self.task_stage(name) for name in self.task_names]
            arguments = {"stages": np.array(stages, "int32")}
            others = [self.load_task(task) for task in tasks[1:]]
            yield from joint_phases(
                self, [loaded, *others], "fine-tuning", arguments=arguments
            )

        return self.fit(
            tasks[0],
            epochs=epochs,
            batch_size=batch_size,
            callbacks=callbacks,
            verbose=verbose,
            learn=phases,
        )

    sizes_from = ("bucket",)

    @property
    def bucket(self):
        return self.options.bucket

    def begin_task(self, name):
        self.notes(name)["stage"] = self._latest_stage() + 1
        self.clear_free_head_rows()

    def task_stage(self, name):
        return (
            self.notes(name)["stage"]
            if self.options.timestamps
            else self._latest_stage()
        )

    def _latest_stage(self) -> int:
        """Of tasks and of units: of those whose task was removed, as well."""
        noted = [self.notes(name).get("stage", 0) for name in self.task_names]
        stamps = [layer.timestamps for layer in self.network.growable]
        born = [int(ops.convert_to_numpy(s).max()) for s in stamps]
        return max(*noted, *born) if any(noted) else 0

    def is_revisited(self, name):
        return self.notes(name).get("learned", False)

    # Algorithm 2: selection, breadth first from the head down

    def select_units(self, task) -> Region:
        """Units from which a path of non-zero weights leads to the new head."""
        network = self.network
        head = ops.convert_to_numpy(self.head.kernel)
        rows = nonzero_inputs(head, range(head.shape[1]))
        selected = [None] * len(network.growable)
        for i in reversed(range(len(network.growable))):
            exists = network.growable[i].units_at(int(self.stage.value))
            fed = np.unique(rows % network.growable[i].capacity)
            selected[i] = np.intersect1d(fed, exists)
            if i:
                rows = nonzero_inputs(network.growable[i].kernel_array(), selected[i])
        for layer, units in zip(network.growable, selected, strict=True):
            self.log(task, layer.name, "select", units.size)
        return Region(tuple(selected))

    # Algorithm 3: expansion

    def add_units(self, task) -> list[np.ndarray]:
        """Adds k units to every hidden layer; returns their indices by layer."""
        stage, k = self.notes(task)["stage"], self.options.growth
        layers = range(len(self.network.growable))
        seeds = [derive_seed(self.seed, task, "add", i) for i in layers]
        with self.restructured():
            added = [self.network.add_units(i, k, stage, seeds[i]) for i in layers]
        head = ops.convert_to_numpy(self.head.kernel).copy()
        drawn = heads.draw(*head[self.head_rows()].shape, self.seed, task, "add")
        rows = self.network.rows_of(len(layers), added[-1])
        head[rows] = drawn[-rows.size :]
        self.head.kernel.assign(head)
        self.store_active()
        return added

    def useless(self, index, units) -> np.ndarray:
        """Those of `units` with no incoming or no outgoing weight."""
        useful = self.has_incoming(index) & self.has_outgoing(index)
        return np.array([u for u in units if not useful[u]], int)

    def remove_units(self, choose) -> list[np.ndarray]:
        """Removes the units that `choose(layer index)` gives, from the top down."""
        network = self.network
        removed = [None] * len(network.growable)
        for i in reversed(range(len(network.growable))):
            removed[i] = choose(i)
            network.growable[i].remove_units(removed[i])
            rows = network.rows_of(i + 1, removed[i])
            if i + 1 < len(network.growable):
                network.growable[i + 1].clear_inputs(rows)
            else:
                head = ops.convert_to_numpy(self.head.kernel).copy()
                head[rows] = 0
                self.head.kernel.assign(head)
        self.store_active()
        return removed

    def has_incoming(self, index) -> np.ndarray:
        """Mask (capacity,) of units with a non-zero weight from below."""
        kernel = self.network.growable[index].kernel_array()
        return (kernel != 0).any(axis=tuple(range(kernel.ndim - 1)))

    def has_outgoing(self, index) -> np.ndarray:
        """Mask (capacity,) of units with a non-zero weight to what is above."""
        network = self.network
        if index + 1 < len(network.growable):
            kernel = network.growable[index + 1].kernel_array()
        else:
            kernel = ops.convert_to_numpy(self.head.kernel)
        rows = nonzero_inputs(kernel, range(kernel.shape[-1]))
        mask = np.zeros(network.growable[index].capacity, bool)
        mask[np.unique(rows % mask.size)] = True
        return mask

    def log_added(self, task, added, removed, loss):
        for i, layer in enumerate(self.network.growable):
            count = len(added[i]) - len(removed[i])
            why = {
                "loss": loss,
                "threshold": self.options.loss_threshold,
                "added": len(added[i]),
                "removed": len(removed[i]),
            }
            self.log(task, layer.name, "add", count, **why)

    def prune_first_task(self, task):
        """Removes what the first task's sparse training left without use."""
        units = [layer.units_at() for layer in self.network.growable]
        removed = [np.array([], int) for _ in units]
        if self.options.prune_first and not self.own_variables():
            removed = self.remove_units(self.useless_first)
        for layer, had, gone in zip(self.network.growable, units, removed, strict=True):
            self.log(
                task, layer.name, "initial", had.size - gone.size, removed=gone.size
            )

    def useless_first(self, index) -> np.ndarray:
        """Units of a layer that cannot move any output of the first task."""
        layer = self.network.growable[index]
        constant = self.network.constant_outputs(index)
        useful = (self.has_incoming(index) | (constant != 0)) & self.has_outgoing(index)
        return np.array([u for u in layer.units_at() if not useful[u]], int)

    # Algorithm 4: split and duplication

    def split_drifted(self, task, previous) -> bool:
        """Splits old units that moved by more than σ; says whether there were any.

        The original gets its previous incoming weights back, for the tasks that use
        it; the copy, born now, keeps the moved ones and takes over the original's
        place in whatever belongs to this task alone.
        """
        network, o = self.network, self.options
        stage = self.notes(task)["stage"]
        chosen, drifts = [], []
        for i, layer in enumerate(network.growable):
            old = previous.region.units[i]
            moved = layer.kernel_array() - previous.kernel(network, i)
            rows = previous.region.rows(network, i)
            moved = moved[..., rows, :][..., old]
            drift = np.sqrt(np.sum(moved**2, axis=tuple(range(moved.ndim - 1))))
            most = np.argsort(-drift, kind="stable")[: o.growth]
            most = np.sort(most[drift[most] > o.split_threshold])
            chosen.append(old[most])
            drifts.append(drift)
            if most.size:
                self.log(
                    task,
                    layer.name,
                    "split",
                    most.size,
                    drift_max=float(drift.max()),
                    drift_median=float(np.median(drift)),
                    drifted=int((drift > o.split_threshold).sum()),
                    threshold=o.split_threshold,
                )
        if not any(units.size for units in chosen):
            return False
        with self.restructured():
            copies = [
                network.split_units(i, units, stage) if units.size else units
                for i, units in enumerate(chosen)
            ]
        for i, layer in enumerate(network.growable):
            kernel = layer.kernel_array()
            before = previous.kernel(network, i)
            kernel[..., chosen[i]] = before[..., chosen[i]]
            if i:
                self._rewire(network, i, kernel, chosen[i - 1], copies[i - 1], stage)
            layer.kernel.assign(kernel)
            if layer.use_bias:
                bias = layer.bias_array()
                bias[chosen[i]] = previous.bias(network, i)[chosen[i]]
                layer.bias.assign(bias)
            network.copy_channels(i, chosen[i], copies[i])
        head = ops.convert_to_numpy(self.head.kernel).copy()
        top = len(network.growable)
        from_rows = network.rows_of(top, chosen[-1])
        to_rows = network.rows_of(top, copies[-1])
        head[to_rows], head[from_rows] = head[from_rows], 0
        self.head.kernel.assign(head)
        self.store_active()
        return True

    @staticmethod
    def _rewire(network, index, kernel, originals, copies, stage):
        """Units born now listen to the copies, older ones go on with the originals."""
        now = np.flatnonzero(
            ops.convert_to_numpy(network.growable[index].timestamps) == stage
        )
        from_rows = network.rows_of(index, originals)[:, None]
        to_rows = network.rows_of(index, copies)[:, None]
        kernel[..., to_rows, now] = kernel[..., from_rows, now]
        kernel[..., from_rows, now] = 0
