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
from keras_lifelong.methods.den.constants import constant_outputs
from keras_lifelong.methods.den.growing import GrowingModel
from keras_lifelong.methods.den.regions import Region
from keras_lifelong.methods.den.regions import Snapshot
from keras_lifelong.methods.den.regions import nonzero_inputs
from keras_lifelong.methods.den.sparse_phases import Coefficients
from keras_lifelong.methods.den.sparse_phases import SparsePhases
from keras_lifelong.methods.den.splitting import drifts
from keras_lifelong.methods.den.splitting import restore
from keras_lifelong.methods.den.splitting import rewire
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.training.joint import joint_phases


@register
class DEN(GrowingModel):
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
        backbone: `keras.Sequential` or functional `keras.Model`, of any depth. Dense
            layers and convolutions grow, those of one width as one: what an `Add`
            takes, and depthwise convolutions and normalisation behind it. What is
            added to the network's input, or read by a recurrent or attention layer,
            keeps its width; `summary()` says so.
        growth: k: units added to every hidden layer, or group of layers of one width,
            and the most that are split in one. At least 1.
        l1: μ: threshold of the proximal l1 step, at least 0, as all coefficients.
        l2: coefficient of half the squared norm of what is trained.
        group_lasso: γ: threshold of the proximal step on the weights into a new unit.
        drift: λ: coefficient of half the squared distance to the previous weights. The
            published 0.5 is for dense networks; on a ResNet with batch normalisation 50
            forgot a twentieth as much, and split nothing (results/den_resnet_*.json).
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
            any outgoing weight are removed; one in each layer stays.
        prox_scaled_by_lr: whether thresholds are multiplied by the learning rate, and
            so mean coefficients of a penalty.
        bucket: storage is made in multiples of this many units, at least 1.
        seed, pretrained, name: see `LifelongModel`. Pretrained weights are those of the
            first units.

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
        pretrained: bool = False,
        name: str | None = None,
    ):
        o = checked_options(DEN, locals())
        super().__init__(
            backbone, seed=seed, pretrained=pretrained, name=name, options=o
        )
        self.sparse = SparsePhases(
            Coefficients(
                o["l1"], o["l2"], o["drift"], o["head_l1"], o["prox_scaled_by_lr"]
            ),
            self.network,
            head=lambda: self.head,
            own=self.own_variables,
            loss=self.task_loss,
            head_loss=self.head_loss,
            features=lambda x: self.trainer.forward(self.features, x),
        )

    def build_network(self, backbone):
        return super().build_network(backbone, bucket=self.options.bucket)

    # Algorithm 1

    def learn(self, task):
        o, name, sparse = self.options, task.name, self.sparse
        if self.task_index(name) == 0 and len(self.task_names) == 1:
            yield sparse.weights("sparse training", self.everything())
            if not self.is_revisited(name):
                self.prune_first_task(name)
            self.notes(name)["learned"] = True
            return

        previous = Snapshot(self.network)
        if o.selective:
            yield sparse.sparse_head(task, self.everything(), o.head_epochs)
            selected = self.select_units(name)
            result = yield sparse.weights("selective retraining", selected, previous)
        else:
            result = yield sparse.weights("retraining", self.everything(), previous)
        if self.is_revisited(name):
            return  # its units exist already

        self.notes(name)["learned"] = True
        grows = o.expansion == "dynamic" and result.loss > o.loss_threshold
        grows = grows or o.expansion == "constant"
        if grows:
            yield from self.expand(name, result.loss)
        if o.split:
            drifted = self.split_drifted(name, previous)
            if grows or drifted:
                yield sparse.weights("final training", self.everything(), previous)

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

    def begin_task(self, name):
        self.notes(name)["stage"] = self.latest_stage() + 1
        self.clear_free_head_rows()

    def task_stage(self, name):
        noted = self.options.timestamps
        return self.notes(name)["stage"] if noted else self.latest_stage()

    def check_spec(self, name, spec, others):
        super().check_spec(name, spec, others)
        o = self.options
        if spec.head == "shared" and o.split and not o.timestamps:
            raise ValueError(
                f"Task {name!r} shares its head, and without timestamps all tasks hear "
                "the same units: none can have the copy of a split unit, and others "
                "the original. Use `timestamps=True` or `split=False`. "
                "Received: timestamps=False, split=True."
            )

    def is_revisited(self, name):
        return self.notes(name).get("learned", False)

    # Algorithm 2: selection, breadth first from the head down

    def select_units(self, task) -> Region:
        """Units from which a path of non-zero weights leads to the new head."""
        network, stage = self.network, int(self.stage.value)
        capacities = network.capacities()
        exist = [group.units_at(stage) for group in network.groups]
        selected = [np.array([], int) for _ in exist]
        reached = set()

        def reach(kernel, units, layout):
            rows = layout.units_of(nonzero_inputs(kernel, units), capacities)
            for group, found in rows.items():
                more = np.union1d(selected[group], np.intersect1d(found, exist[group]))
                if more.size > selected[group].size:
                    selected[group] = more
                    reached.add(group)

        head = ops.convert_to_numpy(self.head.kernel)
        top = network.layout(len(network.growable))
        reach(head, range(head.shape[1]), top)
        for layer in network.growable:  # of a fixed width: all its units are kept
            if network.group_of(layer) is None:
                every = range(layer.capacity)
                reach(layer.kernel_array(), every, network.inputs_of(layer))
        while reached:  # in a graph, groups may feed each other
            group = network.groups[reached.pop()]
            for layer in group.members:
                units = selected[group.number]
                reach(layer.kernel_array(), units, network.inputs_of(layer))
        for group, units in zip(network.groups, selected, strict=True):
            self.log_group(task, group, "select", units.size)
        return Region(tuple(selected))

    # Algorithm 3: expansion

    def expand(self, task: str, loss: float):
        """Adds k units to every layer, trains them alone, removes the useless ones.

        Args:
            task: name of the active task.
            loss: of the network before, which was too large.
        """
        before, added = self.everything(), self.add_units(task)
        dynamic = self.options.expansion == "dynamic"
        yield self.sparse.weights(
            "expansion",
            self.everything().without(before),
            group=self.options.group_lasso if dynamic else 0.0,
        )
        removed = [np.array([], int) for _ in added]
        if dynamic:
            removed = self.remove_units(lambda i: self.useless(i, added[i]))
        self.log_added(task, added, removed, loss)

    def add_units(self, task) -> list[np.ndarray]:
        """Adds k units to every hidden layer; returns their indices by layer."""
        return self.insert_units(task, self.options.growth, self.notes(task)["stage"])

    def useless(self, index, units) -> np.ndarray:
        """Those of `units` with no incoming or no outgoing weight."""
        useful = self.has_incoming(index) & self.has_outgoing(index)
        return np.array([u for u in units if not useful[u]], int)

    def log_added(self, task, added, removed, loss):
        for i, group in enumerate(self.network.groups):
            count = len(added[i]) - len(removed[i])
            why = {
                "loss": loss,
                "threshold": self.options.loss_threshold,
                "added": len(added[i]),
                "removed": len(removed[i]),
            }
            self.log_group(task, group, "add", count, **why)

    def prune_first_task(self, task):
        """Removes what the first task's sparse training left without use."""
        groups = self.network.groups
        units = [group.units_at() for group in groups]
        removed = [np.array([], int) for _ in units]
        if self.options.prune_first and not self.own_variables():
            removed = self.remove_units(self.useless_first)
        for group, had, gone in zip(groups, units, removed, strict=True):
            left = had.size - gone.size
            self.log_group(task, group, "initial", left, removed=gone.size)

    def useless_first(self, index) -> np.ndarray:
        """Units of a group that cannot move any output of the first task.

        All but one: where l1 left none, the group keeps its first, through which
        later tasks may learn.
        """
        constant = constant_outputs(self.network, index)
        useful = (self.has_incoming(index) | (constant != 0)) & self.has_outgoing(index)
        units = self.network.groups[index].units_at()
        if not useful[units].any():
            units = units[1:]
        return np.array([u for u in units if not useful[u]], int)

    # Algorithm 4: split and duplication

    def split_drifted(self, task, previous) -> bool:
        """Splits old units that moved by more than σ; says whether there were any.

        The original gets its previous incoming weights back, for the tasks that use
        it; the copy, born now, keeps the moved ones and takes over the original's
        place in whatever belongs to this task alone. A head that old tasks share
        belongs to no task alone: there the original keeps its place, for them, and
        is retired from this stage on.
        """
        network, stage = self.network, self.notes(task)["stage"]
        chosen = self.drifted_units(task, previous)
        if not any(units.size for units in chosen):
            return False
        with self.restructured():
            copies = [
                network.split_units(i, units, stage) if units.size else units
                for i, units in enumerate(chosen)
            ]
        heard = self.hand_over_head(chosen, copies, stage)
        restore(network, previous, chosen)
        for i in range(len(chosen)):
            rewire(network, i, chosen[i], copies[i], stage, retired=i in heard)
            network.copy_channels(i, chosen[i], copies[i])
        return True

    def drifted_units(self, task, previous) -> list[np.ndarray]:
        """Of each group the units to split: the k that moved most, by more than σ."""
        o, chosen = self.options, []
        for group in self.network.groups:
            old = previous.region.units[group.number]
            drift = drifts(self.network, previous, group)
            most = np.argsort(-drift, kind="stable")[: o.growth]
            most = np.sort(most[drift[most] > o.split_threshold])
            chosen.append(old[most])
            if most.size:
                why = {
                    "drift_max": float(drift.max()),
                    "drift_median": float(np.median(drift)),
                    "drifted": int((drift > o.split_threshold).sum()),
                    "threshold": o.split_threshold,
                }
                self.log_group(task, group, "split", most.size, **why)
        return chosen
