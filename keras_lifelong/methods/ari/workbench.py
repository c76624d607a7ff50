"""A network and a head in which one set of parameters at a time is trained."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.layers import head as heads
from keras_lifelong.methods.ari.parameters import Form
from keras_lifelong.methods.ari.parameters import Parameters
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training.hooks import decay
from keras_lifelong.training.hooks import shorter
from keras_lifelong.training.phase import Phase


class Workbench:
    """The network of a form and a head slot, into which sets of parameters are put.

    Args:
        form: a `Form`.
        head: a `HeadSlot` of as many outputs as the task has.
        kind: of the head's loss; see `layers.head.per_sample_loss`.
    """

    def __init__(self, form: Form, head: heads.HeadSlot, kind: Any):
        self.form, self.head, self.kind = form, head, kind

    @property
    def trained_variables(self) -> list:
        """The variables of a set that training moves: network, kernel, and bias."""
        bias = [self.head.bias] if self.form.head_bias else []
        return [*self.form.trained, self.head.kernel, *bias]

    @property
    def variables(self) -> list:
        """All that its outputs depend on."""
        return [*self.form.network.variables, *self.head.variables]

    def put(self, parameters: Parameters):
        """Puts a set of parameters in use."""
        form, units = self.form, self.head.units
        body = parameters.values[: len(form.trained)]
        for variable, value in zip(form.trained, body, strict=True):
            variable.assign(value)
        for variable, value in zip(form.statistics, parameters.statistics, strict=True):
            variable.assign(value)
        kernel, *bias = form.head_of(parameters)
        self.head.kernel.assign(kernel[:, :units])
        self.head.bias.assign(bias[0][:units] if bias else np.zeros(units, "float32"))

    def taken(self, start: Parameters, source: str) -> Parameters:
        """The set in use, which began as `start`: outputs of no class stay as there."""
        units = self.head.units
        kernel, *bias = (part.copy() for part in self.form.head_of(start))
        kernel[:, :units] = ops.convert_to_numpy(self.head.kernel)
        if bias:
            bias[0][:units] = ops.convert_to_numpy(self.head.bias)
        values = [*_arrays(self.form.trained), kernel, *bias]
        statistics = _arrays(self.form.statistics)
        return Parameters(values, statistics, start.embeddings, source)

    def logits(self, x):
        """Outputs before the activation, (batch, units), of the set in use."""
        return self.head(self.form.network(x))

    def loss(self, x, y, weight, arguments):
        """A phase's `loss`: of the set in use."""
        del arguments
        logits = self.head(self.form.network(x, training=True))
        return heads.mean_loss(self.kind, y, logits, weight)


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """How a set is fine-tuned on examples.

    Attributes:
        epochs: passes over them; 0: none.
        scale: by which the optimizer's steps are shortened, in (0, 1].
        weight_decay: λ of coupled L2.
    """

    epochs: int
    scale: float
    weight_decay: float


class Adaptation:
    """Fine-tunes sets on a few examples, in a network of its own.

    So a task can be used while another is learned. One set is fine-tuned at a time,
    whichever thread asks.

    Args:
        trainer: runs the steps.
        form: a `Form`; of its network a twin is made when it is first needed.
        seed: from which the order of the examples is derived, with the task's name.
    """

    def __init__(self, trainer, form: Form, seed: int):
        self.trainer, self.seed = trainer, seed
        self._form = form
        self._twin: Form | None = None
        self._benches: dict[tuple, Workbench] = {}
        self._lock = threading.RLock()

    def bench(self, units: int, kind: Any) -> Workbench:
        """The workbench for tasks of as many outputs, under such a loss."""
        with self._lock:
            if self._twin is None:
                self._twin = self._form.twin()
            if (units, kind) not in self._benches:
                head = heads.HeadSlot(units, name=f"head_{units}")
                head.build((None, self._twin.width))
                self._benches[units, kind] = Workbench(self._twin, head, kind)
            return self._benches[units, kind]

    def check_untraced(self, name: str) -> None:
        """Raises a ValueError where a function is being compiled: nothing is tuned."""
        if backend.tracing():
            raise ValueError(
                "ARI chooses and fine-tunes a set when a task is first used, which is "
                "no part of a compiled function. Call `predict` with the task once "
                f"before. Received: task {name!r} in a function that is being traced."
            )

    def adapt(self, name, bench, parameters, x, y, tuning: FineTuning) -> Parameters:
        """The set that fine-tuning on examples makes of another.

        Args:
            name: of the task.
            bench: of `bench(...)`.
            parameters: the set to begin from.
            x, y: the examples.
            tuning: how.
        """
        with self._lock:
            bench.put(parameters)
            if tuning.epochs:
                phase = Phase(
                    "adaptation",
                    bench.trained_variables,
                    loss=bench.loss,
                    gradients=decay,
                    after_step=shorter,
                    arguments={
                        "weight_decay": np.float32(tuning.weight_decay),
                        "scale": np.float32(tuning.scale),
                    },
                    state=bench.variables,
                    data=(x, y),
                    epochs=tuning.epochs,
                    batch_size=10,
                )
                seed = derive_seed(self.seed, "adaptation", name)
                self.trainer.run_alone(phase, seed)
            return bench.taken(parameters, parameters.source)


def _arrays(variables) -> list[np.ndarray]:
    return [ops.convert_to_numpy(v).copy() for v in variables]
