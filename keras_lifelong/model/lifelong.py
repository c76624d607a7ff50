"""LifelongModel: one network, many tasks."""

from __future__ import annotations

import json

import keras
import numpy as np
from keras import ops

from keras_lifelong import checks
from keras_lifelong import metrics as metrics_lib
from keras_lifelong.layers import head as heads
from keras_lifelong.model.learning import LearningMixin
from keras_lifelong.model.options import Options
from keras_lifelong.model.options import OptionsMixin
from keras_lifelong.model.presets import PresetMixin
from keras_lifelong.model.removal import RemovalMixin
from keras_lifelong.model.state import StateMixin
from keras_lifelong.model.tasks import Book
from keras_lifelong.model.tasks import TasksMixin
from keras_lifelong.seeds import seed_config
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

    The active network (`network` and `head`) holds one task at a time: what a task has
    for itself, its head at least, is kept in a memory by task and copied in when the
    task is used. A method overrides `learn`, a generator of phases, and where needed
    `build_network`, `own_variables` and `plain_layers`.

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
        self._book = Book()
        self.options = Options(options or {})
        config = keras.saving.serialize_keras_object(backbone)
        self._backbone_config = json.dumps(config)
        self.backbone_input_shape = tuple(backbone.input_shape[1:])
        seeded = keras.Sequential.from_config(
            seed_config(backbone.get_config(), self.seed, "backbone")
        )
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

    def features(self, x, training: bool = False):
        """The network's output (batch, width) for the active task."""
        return self.network(x, training=training)

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
            training: as everywhere in Keras.
        """
        self.activate(self.which(task))
        return self.outputs(inputs, training=training)

    def which(self, task: str | None) -> str:
        """The task meant: the named one, or the only one."""
        if task is None and len(self._book.tasks) != 1:
            raise ValueError(
                f"`task` must name one of {self.task_names}. Received: None."
            )
        return self._known(self.task_names[0] if task is None else task)

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
        keys = {self.head_key(name) for name in self._book.tasks}
        total = sum(
            self.memory[f"{key}/{part}"].size
            for key in keys
            for part in ("kernel", "bias")
        )
        counts = [v.trainable for v in self.own_variables()]
        for name in self._book.tasks:
            own = [i for i in self.own_indices(name) if counts[i]]
            total += sum(self.memory[self.own_key(name, i)].size for i in own)
        return total

    def base_params(self) -> int:
        """Parameters of the backbone as given, with one head: the first task's."""
        backbone = self.backbone_copy()
        width = int(np.prod(backbone.output_shape[1:]))
        units = next(iter(self._book.tasks.values())).units
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
        for name, spec in self._book.tasks.items():
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
        self.activate(self._known(name))
        layers = [*self.plain_layers(), self._plain_head()]
        safe = "".join(c if c.isalnum() else "_" for c in name).strip("_") or "task"
        model = keras.Sequential(
            [keras.Input(self.backbone_input_shape), *[x for x, _ in layers]],
            name=safe if safe[0].isalpha() else f"task_{safe}",
        )
        for layer, values in layers:
            if values is not None:
                layer.set_weights(values)
        model(ops.zeros((1, *self.backbone_input_shape)))  # `export` asks for a call
        return model

    def plain_layers(self) -> list[tuple]:
        """The active network as pairs of a plain layer and its weights."""
        pairs = []
        for layer in self.plain_sources():
            if hasattr(layer, "plain"):  # made of several, to be exported as a graph
                pairs.append((layer.plain(), None))
                continue
            copy = type(layer).from_config(layer.get_config())
            pairs.append((copy, layer.get_weights()))
        return pairs

    def plain_sources(self) -> list:
        """The layers of the active network."""
        return self.network.layers

    def plain_rows(self) -> np.ndarray:
        """Rows of the head that the active task uses."""
        return np.arange(self.feature_width)

    def _plain_head(self):
        kernel, bias = (ops.convert_to_numpy(v) for v in self.head.variables)
        head = keras.layers.Dense(
            kernel.shape[1], heads.activation(self.loss_key()[0]), name="outputs"
        )
        return head, [kernel[self.plain_rows()], bias]


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
