"""LifelongModel: one network, many tasks."""

from __future__ import annotations

import contextlib
import json

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong import checks
from keras_lifelong import metrics as metrics_lib
from keras_lifelong.layers import head as heads
from keras_lifelong.model.learning import LearningMixin
from keras_lifelong.model.options import Options
from keras_lifelong.model.options import OptionsMixin
from keras_lifelong.model.presets import PresetMixin
from keras_lifelong.model.reading import Reader
from keras_lifelong.model.reading import Reading
from keras_lifelong.model.removal import RemovalMixin
from keras_lifelong.model.session import Session
from keras_lifelong.model.state import StateMixin
from keras_lifelong.model.task_memory import TaskMemory
from keras_lifelong.model.tasks import TasksMixin
from keras_lifelong.model.tasks import fitted
from keras_lifelong.seeds import seeded_copy
from keras_lifelong.training.trainer import Trainer


class LifelongModel(
    TasksMixin,
    LearningMixin,
    OptionsMixin,
    RemovalMixin,
    StateMixin,
    PresetMixin,
    keras.Model,
):
    """A network that learns task after task. The base of all methods and baselines.

    What a task has for itself, its head at least, is kept in a memory by task. To use a
    task is a function of its weights, which changes nothing, so that any thread or
    callback may do so at any time; to learn one, the trainer has the active network
    (`network` and `head`) to itself. A method overrides `learn`, a generator of phases,
    and where needed `build_network`, `through`, `own_variables` and `plain_layers`.

    Args:
        backbone: `keras.Sequential` of the hidden layers, with an input shape. It is
            cloned, never changed.
        seed: integer in [0, 2**32) from which everything random is derived: initial
            weights, shuffling, dropout.
        pretrained: whether to begin from the backbone's weights; by default they are
            drawn anew from `seed`.
        name: of the Keras model.
        options: a method's own constructor arguments, as `checked_options` gives them.
            They are fixed: see `with_options`.

    Raises:
        ValueError: if `backbone` is no built Sequential, or holds a layer that the
            method cannot carry; or an argument is not as said here, naming it.

    Example:

    >>> import keras, keras_lifelong as kl
    >>> stream = kl.streams.get("digits", num_tasks=2)
    >>> backbone = keras.Sequential(
    ...     [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(16)]
    ... )
    >>> model = kl.Finetune(backbone)
    >>> model.compile("adam", metrics=["accuracy"])
    >>> result = model.fit_stream(stream, epochs=5, batch_size=32, verbose=0)
    >>> len(result.task_names)
    2
    """

    def __init__(
        self,
        backbone,
        seed: checks.Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
        options: dict | None = None,
    ):
        given = checks.checked(LifelongModel, locals())
        super().__init__(name=given["name"])
        _check_backbone(backbone)
        self.seed, self.pretrained = given["seed"], given["pretrained"]
        self._session = Session(TaskMemory(self.task_forms, self.shared_forms))
        self._reader = Reader(self.through, self._session.lock)
        self.options = Options(options or {})
        config = keras.saving.serialize_keras_object(backbone)
        self._backbone_config = json.dumps(config)
        self.backbone_input_shape = tuple(backbone.input_shape[1:])
        seeded = seeded_copy(backbone, self.seed, "backbone")
        if pretrained:
            seeded.set_weights(backbone.get_weights())
        self.network = self.build_network(seeded)
        self.stage = keras.Variable(0, dtype="int32", trainable=False, name="stage")
        self.trainer = Trainer(self)
        self._loss = None
        self._metrics = [metrics_lib.get("accuracy")]
        self.built = True

    # What a method may override

    def build_network(self, backbone) -> keras.layers.Layer:
        """The trainable network made of a freshly cloned and seeded backbone."""
        return backbone

    def learn(self, task):
        """A generator of `Phase`s that learns `task`; it is sent their results."""
        yield self.phase("training", self.network.trainable_variables)

    def own_variables(self) -> list:
        """Variables of the network, beside the head, that each task has for itself."""
        return []

    def through(self, body, x, training: bool = False):
        """Features (batch, width) of a body: of `network`, or of what stands for it."""
        return body(x, training=training)

    def features(self, x, training: bool = False):
        """The active network's output (batch, width)."""
        return self.through(self.network, x, training)

    def begin_task(self, name: str):
        """Called when a new task has been added, before it is first activated."""

    def task_stage(self, name: str) -> int:
        """The stage of growth at which a task is used."""
        return self.task_index(name) + 1

    # Keras

    def call(self, inputs, task: str | None = None, training: bool = False):
        """Outputs of one task, (batch, units): probabilities, or values to regress.

        Args:
            inputs: (batch, *input_shape).
            task: name; may be left out when only one is known.
            training: whether layers act as in training; what they would update (batch
                statistics, random seeds) stays as it is.
        """
        return self.forward(self.which(task), inputs, training=training)

    def forward(self, name: str, x, training: bool = False):
        """Outputs of a task as a pure function of its weights; nothing is changed.

        Any thread may call it at any time, also inside `tf.function` or `jax.jit`,
        whose compiled function keeps the weights that the task had when it was traced.

        Args:
            name: of a learned task.
            x: tensor or array (batch, *input_shape).
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
        return self.read_outputs(name, x, training=training)

    def read_outputs(self, name, x, training=False, logits=False):
        """See `forward`; `logits`: before the activation."""
        self._record(name)
        while True:
            before = self._session.training
            reading = self.reading(name)
            if self._session.training is before:  # else it began, or ended, meanwhile
                break
        activation = "linear" if logits else heads.activation(self.loss_kind(name))
        return self._reader.outputs(name, reading, activation, x, training)

    def reading(self, name: str) -> Reading:
        """What the outputs of a task are a function of; see `Reading`."""
        training, active = self._session.training, self.active_task == name
        if training is not None and not training.is_mine:
            return self.reading_of(name, training.memory, training)
        if training is not None and not active:
            self.store_active()  # tasks may share what is being trained
        if active:
            variables = self.template_variables()
            head = backend.snapshot(self.head.variables)
            body = self.active_body()
            return Reading(body, variables, backend.snapshot(variables), head)
        return self.reading_of(name, self.memory)

    def reading_of(self, name: str, memory, training=None) -> Reading:
        """A task that is not active, as a memory has it.

        Args:
            name: of the task.
            memory: a `TaskMemory` that has it.
            training: the `Training` that changes the network's variables meanwhile,
                which has their values; None: they are as they stand.
        """
        self._record(name, memory)
        variables, own = self.network.variables, self.own_variables()
        stood = None if training is None else training.values
        stood = stood or backend.snapshot(variables)
        values = dict(zip(map(id, variables), stood, strict=True))
        for i, value in self.own_values(name, memory).items():
            like = values.get(id(own[i]))
            values[id(own[i])] = value if like is None else self._fitted(value, like)
        template = self.template_variables()
        values[id(self.stage)] = self._stage_value(name)
        return Reading(
            self.network,
            template,
            [values[id(v)] for v in template],
            self._head_of(name, memory, training),
        )

    def active_body(self) -> keras.layers.Layer:
        """The network that the active task goes through."""
        return self.network

    def template_variables(self) -> list:
        """The variables that the features of a task are read from."""
        return [*self.network.variables, self.stage]

    def _stage_value(self, name):
        return np.int32(self.task_stage(name))

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

    @staticmethod
    def _fitted(value, like):
        same = tuple(value.shape) == tuple(like.shape)
        return value if same else fitted(value, ops.convert_to_numpy(like))

    @contextlib.contextmanager
    def read(self, name: str):
        """Within it, this thread finds a task's values in the network's variables.

        What is assigned in it is dropped.
        """
        reading = self.reading(name)
        values = [ops.convert_to_tensor(v) for v in reading.values]
        with backend.ValuesScope(reading.variables, values):
            yield reading

    def which(self, task: str | None) -> str:
        """The task meant: the named one, or the only one."""
        if task is None and len(self.task_names) != 1:
            raise ValueError(
                f"`task` must name one of {self.task_names}. Received: None."
            )
        name = self.task_names[0] if task is None else task
        self._record(name)
        return name

    def count_params(self) -> int:
        """Parameters of the whole model: the network's that are used, and all heads."""
        return self.network_params() + self.task_params()

    def network_params(self) -> int:
        """Trainable parameters of the network, those in use only."""
        own = {id(v) for v in self.own_variables()}
        variables = self.network.trainable_variables
        return sum(int(np.prod(v.shape)) for v in variables if id(v) not in own)

    def task_params(self) -> int:
        """Parameters that tasks have for themselves: heads and own variables."""
        memory, trained = self.memory, [v.trainable for v in self.own_variables()]
        keys = {self.head_key(name) for name in self.task_names}
        parts = [(*key, part) for key in keys for part in ("kernel", "bias")]
        total = sum(memory[part].size for part in parts)
        for record in memory.records.values():
            total += sum(v.size for i, v in record.own.items() if trained[i])
        return total

    def base_params(self) -> int:
        """Parameters of the backbone as given, with one head: the first task's."""
        backbone = self.backbone_copy()
        width = int(np.prod(backbone.output_shape[1:]))
        units = self.task_spec(self.task_names[0]).units
        trained = sum(int(np.prod(v.shape)) for v in backbone.trainable_variables)
        return trained + (width + 1) * units

    def backbone_copy(self) -> keras.Sequential:
        """A fresh copy of the backbone as the user gave it, weights not included."""
        return keras.saving.deserialize_keras_object(json.loads(self._backbone_config))

    def get_config(self):
        return {
            "backbone": json.loads(self._backbone_config),
            **self.options.as_dict(),
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        backbone = config.pop("backbone")
        if isinstance(backbone, dict):
            backbone = keras.saving.deserialize_keras_object(
                backbone, custom_objects=custom_objects
            )
        return cls(backbone, **config)

    def build_from_config(self, config):
        """Nothing to do: the constructor builds."""

    def summarize_network(self, print_fn, **kwargs):
        """Prints the network's layers, as Keras does."""
        self.network.summary(print_fn=lambda line, **_: print_fn(line), **kwargs)

    def summary(self, print_fn=print, **kwargs):
        """The network's layers, then the tasks with their heads and sizes."""
        self.summarize_network(print_fn, **kwargs)
        lines = [f'Tasks of "{self.name}" ({type(self).__name__})']
        for name, record in self.memory.records.items():
            spec = record.spec
            lines.append(
                f"  {name}: {spec.kind}, {spec.num_classes} classes, "
                f"head {spec.head} of {spec.units} outputs"
            )
        lines.append(f"Parameters: {self.count_params():,}")
        print_fn("\n".join(lines))

    # One task as a plain Keras model

    def task_model(self, name: str) -> keras.Sequential:
        """One task's network as a plain `keras.Sequential` of just what it uses.

        It predicts what `predict(x, task=name)` does, and loads and exports without
        this package.

        Args:
            name: of a learned task.
        """
        with self.read(name) as reading:
            stage = int(ops.convert_to_numpy(self.stage))
            layers = self.plain_layers(reading.body, stage)
            rows = self.plain_rows(stage)
        kernel, bias = (ops.convert_to_numpy(part) for part in reading.head)
        activation = heads.activation(self.loss_kind(name))
        head = keras.layers.Dense(kernel.shape[1], activation, name="outputs")
        layers.append((head, [kernel[rows], bias]))
        safe = "".join(c if c.isalnum() else "_" for c in name).strip("_") or "task"
        model = keras.Sequential(name=safe if safe[0].isalpha() else f"task_{safe}")
        model.add(keras.Input(self.backbone_input_shape))
        for layer, values in layers:
            if hasattr(layer, "plain"):  # made of several, to be exported as a graph
                given = (None, *self.backbone_input_shape)
                layer.build(model.output_shape if model.layers else given)
                layer.set_weights(values)
                model.add(layer.plain())
            else:
                model.add(layer)
                layer.set_weights([] if values is None else values)
        model(ops.zeros((1, *self.backbone_input_shape)))  # `export` asks for a call
        return model

    def plain_layers(self, body, stage: int) -> list[tuple]:
        """A body as pairs of a plain layer, not built, and the arrays to give it.

        It is called where the variables have the values of a task: see `read`.
        """
        del stage
        pairs = []
        for layer in body.layers:
            values = [ops.convert_to_numpy(v) for v in layer.weights]
            pairs.append((type(layer).from_config(layer.get_config()), values))
        return pairs

    def plain_rows(self, stage: int) -> np.ndarray:
        """Rows of the head that a task of that stage uses."""
        del stage
        return np.arange(self.feature_width)


def _check_backbone(backbone):
    if not isinstance(backbone, keras.Sequential):
        raise ValueError(
            "`backbone` must be a keras.Sequential of hidden layers. "
            f"Received: {type(backbone).__name__}."
        )
    if not backbone.built or not backbone.layers:
        raise ValueError(
            "`backbone` must begin with keras.Input(shape) and hold a layer. "
            f"Received: {backbone.name!r}, which has no known input shape."
        )
    if len(backbone.output_shape) != 2:
        raise ValueError(
            "`backbone` must end in features of shape (batch, width): add a Flatten or "
            f"a global pooling. Received an output of shape {backbone.output_shape}."
        )
