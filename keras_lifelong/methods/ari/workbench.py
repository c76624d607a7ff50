"""A network and a head in which one set of parameters at a time is trained or used."""

from __future__ import annotations

import threading

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers import head as heads
from keras_lifelong.methods.ari.stored import Parameters
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import without_seed_states
from keras_lifelong.training.hooks import decay
from keras_lifelong.training.hooks import shorter
from keras_lifelong.training.phase import Phase

DRAWN = "drawn"  # the source of a set that was newly drawn


class Workbench:
    """A network and a head slot into which sets of parameters are put.

    Args:
        network: a built network of hidden layers.
        head: a `HeadSlot` of as many outputs as the task has.
        kind: of the head's loss; see `layers.head.per_sample_loss`.
        head_bias: whether sets have a bias for the head.
    """

    def __init__(self, network, head, kind: str, head_bias: bool):
        self.network, self.head, self.kind = network, head, kind
        self.head_bias = head_bias
        self.statistics = without_seed_states(network.non_trainable_variables)

    @property
    def trained_variables(self) -> list:
        """The variables of a set that training moves: network, kernel, and bias."""
        bias = [self.head.bias] if self.head_bias else []
        return [*self.network.trainable_variables, self.head.kernel, *bias]

    @property
    def variables(self) -> list:
        """All that its outputs depend on."""
        return [*self.network.variables, *self.head.variables]

    def put(self, parameters: Parameters):
        """Puts a set of parameters in use."""
        trained = self.network.trainable_variables
        for variable, value in zip(
            trained, parameters.values[: len(trained)], strict=True
        ):
            variable.assign(value)
        for variable, value in zip(self.statistics, parameters.statistics, strict=True):
            variable.assign(value)
        units = self.head.units
        self.head.kernel.assign(parameters.values[len(trained)][:, :units])
        bias = np.zeros(units, "float32")
        if self.head_bias:
            bias = parameters.values[len(trained) + 1][:units]
        self.head.bias.assign(bias)

    def taken(self, start: Parameters, source: str) -> Parameters:
        """The set in use, which began as `start`: outputs of no class stay as there."""
        network = _arrays(self.network.trainable_variables)
        kernel, units = start.values[len(network)].copy(), self.head.units
        kernel[:, :units] = ops.convert_to_numpy(self.head.kernel)
        values = [*network, kernel]
        if self.head_bias:
            bias = start.values[-1].copy()
            bias[:units] = ops.convert_to_numpy(self.head.bias)
            values.append(bias)
        return Parameters(values, _arrays(self.statistics), start.embeddings, source)

    def logits(self, x):
        """Outputs before the activation, (batch, units), of the set in use."""
        return self.head(self.network(x))

    def loss(self, x, y, weight, arguments):
        """A phase's `loss`: of the set in use."""
        del arguments
        logits = self.head(self.network(x, training=True))
        return heads.mean_loss(self.kind, y, logits, weight)


class Adaptation:
    """Fine-tunes sets on a few examples, in a network of its own.

    So a task can be used while another is learned. One set is fine-tuned at a time,
    whichever thread asks.

    Args:
        trainer: runs the steps.
        network: a network of its own, which nothing else uses.
        head_bias: see `Workbench`.
        weight_decay: λ of coupled L2.
        seed: from which the order of the examples is derived, with the task's name.
    """

    def __init__(self, trainer, network, head_bias, weight_decay, seed):
        self.trainer, self.network, self.seed = trainer, network, seed
        self.head_bias, self.weight_decay = head_bias, weight_decay
        self._benches: dict[tuple, Workbench] = {}
        self._lock = threading.RLock()

    def bench(self, units: int, kind: str) -> Workbench:
        """The workbench for tasks of as many outputs."""
        with self._lock:
            if (units, kind) not in self._benches:
                head = heads.HeadSlot(units, name=f"head_{units}")
                head.build(self.network.output_shape)
                bench = Workbench(self.network, head, kind, self.head_bias)
                self._benches[units, kind] = bench
            return self._benches[units, kind]

    def adapt(self, name, bench, parameters, x, y, epochs: int, scale: float):
        """The set that fine-tuning on examples makes of another.

        Args:
            name: of the task.
            bench: of `bench(...)`.
            parameters: the set to begin from.
            x, y: the examples.
            epochs: passes over them; 0: none.
            scale: by which the optimizer's steps are shortened, in (0, 1].
        """
        with self._lock:
            bench.put(parameters)
            if epochs:
                phase = Phase(
                    "adaptation",
                    bench.trained_variables,
                    loss=bench.loss,
                    gradients=decay,
                    after_step=shorter,
                    arguments={
                        "weight_decay": np.float32(self.weight_decay),
                        "scale": np.float32(scale),
                    },
                    state=bench.variables,
                    data=(x, y),
                    epochs=epochs,
                    batch_size=10,
                )
                seed = derive_seed(self.seed, "adaptation", name)
                self.trainer.run_alone(phase, seed)
            return bench.taken(parameters, parameters.source)


def accuracy(logits, y) -> float:
    """Part of the answers (n, units) that are right; of one output, above 0 is 1."""
    y = np.asarray(y).reshape(-1)
    if logits.shape[-1] == 1:
        return float(((logits[:, 0] > 0) == (y > 0.5)).mean())
    return float((logits.argmax(-1) == y).mean())


def _arrays(variables) -> list[np.ndarray]:
    return [ops.convert_to_numpy(v).copy() for v in variables]


def twin(network: keras.Sequential) -> keras.Sequential:
    """A network of the same layers, with variables of its own."""
    return type(network).from_config(network.get_config())
