"""Using a task: forward, and one task as a plain Keras model."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong import flops
from keras_lifelong import networks
from keras_lifelong.graph import Graph
from keras_lifelong.layers import head as heads
from keras_lifelong.model.active import fitted
from keras_lifelong.model.reading import Reader
from keras_lifelong.model.reading import Reading
from keras_lifelong.model.reading import joined
from keras_lifelong.model.session import Training
from keras_lifelong.model.task_memory import TaskMemory
from keras_lifelong.streams import columns
from keras_lifelong.streams.columns import zeros


class UsingMixin(keras.Model):
    """How a `LifelongModel` is used: what it reads, and from where.

    A task's outputs are a function of a `Reading`. Who learns sees what is being
    learned; everybody else sees the model as it was before.
    """

    _reader: Reader

    @backend.beside_call
    def forward(self, name: str, x: Any, training: bool = False) -> Any:
        """Outputs of a task as a pure function of its weights; nothing is changed.

        Any thread may call it at any time, also inside `tf.function` or `jax.jit`,
        whose compiled function keeps the weights that the task had when it was traced.

        Args:
            name: of a learned task.
            x: tensor or array (batch, *input_shape), or a dict or list of such.
            training: see `call`.

        Returns:
            Tensor (batch, units).

        Raises:
            ValueError: if there is no such task.

        Example:

        ```python
        @tf.function
        def serve(x):
            return model.forward("task_1", x)
        ```
        """
        return joined(self.read_outputs(name, x, training=training))

    def read_outputs(
        self, name: str, x: Any, training: bool = False, logits: bool = False
    ) -> list[tuple]:
        """See `forward`; `logits`: before the activation. For `reading.joined`."""
        self._record(name)
        activation = "linear" if logits else heads.activation(self.loss_kind(name))
        if isinstance(x, dict | list | tuple):
            x = columns.columns(x, self.backbone_input_shape, "`x`")
        traced = backend.tracing() or backend.is_traced(columns.leaves(x)[0])
        session = self._session
        while True:
            changes = session.changes
            with session.lock:  # nobody changes the network's structure meanwhile
                whole = training or traced
                reading = self.reading(name) if whole else self.reading_to_use(name)
            parts = self._reader.outputs(name, reading, activation, x, training, traced)
            if session.changes == changes:  # else something began to be learned
                return parts

    def reading(self, name: str) -> Reading:
        """What the outputs of a task are a function of; see `Reading`."""
        training, active = self._session.training, self.active_task == name
        if training is not None and not training.is_mine:
            return self.reading_of(name, training.memory, training)
        if training is not None:  # tasks may share what is being trained
            self.publish() if active else self.store_active()
        if active:
            variables = self.template_variables()
            stands = [None] * len(variables)
            head = backend.snapshot(self.head.variables)
            return Reading(self.active_body(), variables, stands, head)
        return self.reading_of(name, self.memory)

    def reading_of(
        self, name: str, memory: TaskMemory, training: Training | None = None
    ) -> Reading:
        """A task that is not active, as a memory has it.

        Args:
            name: of the task.
            memory: a `TaskMemory` that has it.
            training: the `Training` that changes the network's variables meanwhile,
                which has their values; None: they are as they stand.
        """
        self._record(name, memory)
        template, own = self.template_variables(), self.own_variables()
        stood = () if training is None else training.values
        variables = self.shared_variables() if stood else ()
        values = dict(zip(map(id, variables), stood, strict=True))
        shapes = self._session.shapes_of(own)
        for i, value in self.own_values(name, memory).items():
            like = values.get(id(own[i]))
            shape = shapes[i] if like is None else tuple(like.shape)
            if tuple(value.shape) != shape:
                value = fitted(value, own[i] if like is None else like)
            values[id(own[i])] = value
        values.update(self.placed(name))
        found = [values.get(id(v)) for v in template]
        head = self._head_of(name, memory, training)
        return Reading(self.network, template, found, head)

    def reading_to_use(self, name: str) -> Reading:
        """As `reading`, without what the task has no part in, if there is such a thing.

        It is called where nobody changes the network's structure.
        """
        return self.reading(name)

    def placed(self, name: str) -> dict[int, np.ndarray]:
        """Values that follow from a task's place, by id of their variable."""
        del name
        return {}

    def active_body(self) -> keras.layers.Layer:
        """The network that the active task goes through."""
        return self.network

    def template_variables(self) -> list:
        """The variables that the features of a task are read from."""
        session = self._session
        if session.template is None:
            session.template = self.network.variables
        return session.template

    def _head_of(self, name, memory, training):
        """A task's head at the width of the features that it is given."""
        key = self.head_key(name)
        width = self.feature_width if training is None else training.width
        kernel, bias = (memory[*key, part] for part in ("kernel", "bias"))
        kept = self._session.fitted.get(name)
        if kept is None or kept[0] is not kernel or kept[1] != width:
            kept = (kernel, width, self.fitted_head(kernel, width))
            self._session.fitted[name] = kept
        return kept[2], bias

    @contextlib.contextmanager
    def read(self, name: str) -> Iterator[Reading]:
        """Within it, this thread finds a task's values in the network's variables.

        What is assigned in it is dropped.
        """
        reading = self.reading(name)
        with backend.ValuesScope(*reading.given()):
            yield reading

    # One task as a plain Keras model

    def task_model(self, name: str) -> keras.Model:
        """One task's network as a plain Keras model of just what it uses.

        It predicts what `predict(x, task=name)` does, and loads and exports without
        this package. It is a `keras.Sequential` if the backbone is one, or a functional
        `keras.Model`.

        Args:
            name: of a learned task.
        """
        stage = self.task_stage(name)
        with self.read(name) as reading:
            layers = self.plain_layers(reading.body, stage)
            rows = self.plain_rows(stage)
        network = self.plain_network(layers)
        kernel, bias = (ops.convert_to_numpy(part) for part in reading.head)
        activation = heads.activation(self.loss_kind(name))
        if network.name in {x.name for x in network.inputs}:  # they are side by side
            network.name = networks.free_name(network.name, network)
        outputs = networks.free_name("outputs", network)
        head = keras.layers.Dense(
            kernel.shape[1], activation, name=outputs, dtype="float32"
        )
        safe = "".join(c if c.isalnum() else "_" for c in name).strip("_") or "task"
        safe = safe if safe[0].isalpha() else f"task_{safe}"
        if isinstance(network, keras.Sequential):
            model = network
            model.name = safe
            model.add(head)
        else:
            given = Graph(network).symbolic_inputs()
            model = keras.Model(given, head(network(given)), name=safe)
        head.set_weights([kernel[rows], bias])
        model(zeros(self.backbone_input_shape, 1))  # `export` asks for a call
        return model

    def flops(self, name: str) -> int | None:
        """Operations of using a task for one example; see `flops.count`.

        Args:
            name: of a learned task.
        """
        return flops.count(self.task_model(name))

    def plain_layers(self, body: Any, stage: int) -> Any:
        """What `plain_network` makes a plain model of: layers, and the arrays of them.

        It is called where the variables have the values of a task (see `read`), and
        where no layer can be built.

        Args:
            body: what the task goes through; see `Reading`.
            stage: of growth at which it is used.

        Returns:
            By default pairs of a plain layer, not built, and its arrays. If the
            backbone is no Sequential: its configuration, and the body's arrays.
        """
        del stage
        if not isinstance(body, keras.Sequential):
            weights = [ops.convert_to_numpy(v) for v in body.weights]
            return json.loads(self._backbone_config)["config"], weights
        pairs = []
        for layer in body.layers:
            values = [ops.convert_to_numpy(v) for v in layer.weights]
            pairs.append((type(layer).from_config(layer.get_config()), values))
        return pairs

    def plain_network(self, layers: Any) -> keras.Model:
        """A plain model of features.

        Args:
            layers: what `plain_layers` gave.
        """
        if isinstance(layers, tuple):
            config, weights = layers
            network = networks.from_config(config)
            network.set_weights(weights)
            return network
        model = keras.Sequential([keras.Input(self.backbone_input_shape)])
        for layer, values in layers:
            if hasattr(layer, "plain"):  # made of several, to be exported as a graph
                given = (None, *self.backbone_input_shape)
                layer.build(model.output_shape if model.layers else given)
                layer.set_weights(values)
                model.add(layer.plain())
            else:
                model.add(layer)
                layer.set_weights([] if values is None else values)
        return model

    def plain_rows(self, stage: int) -> np.ndarray:
        """Rows of the head that a task of that stage uses."""
        del stage
        return np.arange(self.feature_width)
