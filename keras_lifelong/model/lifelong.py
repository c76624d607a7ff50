"""LifelongModel: one network, many tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from typing import Self

import keras
import numpy as np

from keras_lifelong import backend
from keras_lifelong import checks
from keras_lifelong import metrics as metrics_lib
from keras_lifelong import networks
from keras_lifelong.model.active import ActiveMixin
from keras_lifelong.model.backbone import checked_backbone
from keras_lifelong.model.backbone import input_shape_of
from keras_lifelong.model.backbone import with_constants
from keras_lifelong.model.compiling import CompilingMixin
from keras_lifelong.model.inherited import InheritedMixin
from keras_lifelong.model.learning import Learning
from keras_lifelong.model.learning import LearningMixin
from keras_lifelong.model.learning import LoadedTask
from keras_lifelong.model.measuring import MeasuringMixin
from keras_lifelong.model.options import Options
from keras_lifelong.model.options import OptionsMixin
from keras_lifelong.model.presets import PresetMixin
from keras_lifelong.model.reading import Reader
from keras_lifelong.model.removal import RemovalMixin
from keras_lifelong.model.scoring import ScoringMixin
from keras_lifelong.model.session import Session
from keras_lifelong.model.state import StateMixin
from keras_lifelong.model.task_memory import TaskMemory
from keras_lifelong.model.tasks import TasksMixin
from keras_lifelong.model.using import UsingMixin
from keras_lifelong.seeds import seeded_copy
from keras_lifelong.training import optimizers
from keras_lifelong.training.layer_losses import rows_meet
from keras_lifelong.training.trainer import Trainer


class LifelongModel(
    MeasuringMixin,
    TasksMixin,
    ActiveMixin,
    UsingMixin,
    ScoringMixin,
    CompilingMixin,
    LearningMixin,
    OptionsMixin,
    RemovalMixin,
    StateMixin,
    PresetMixin,
    InheritedMixin,
    keras.Model,
):
    """A network that learns task after task. The base of all methods and baselines.

    What a task has for itself, its head at least, is kept in a memory by task. To use a
    task is a function of its weights, which changes nothing, so that any thread or
    callback may do so at any time; to learn one, the trainer has the active network
    (`network` and `head`) to itself. A method overrides `learn`, a generator of phases,
    and where needed `build_network`, `through`, `own_variables` and `plain_layers`.

    Args:
        backbone: `keras.Sequential` of the hidden layers, with an input shape; or a
            functional `keras.Model` of one output, of features, where the method
            carries it. It is cloned, never changed.
        seed: integer in [0, 2**32) from which everything random is derived: initial
            weights, shuffling, dropout.
        pretrained: whether to begin from the backbone's weights; by default they are
            drawn anew from `seed`.
        name: of the Keras model.
        options: a method's own constructor arguments, as `checked_options` gives them.
            They are fixed: see `with_options`.

    Raises:
        ValueError: if `backbone` is no built Sequential, or holds a layer that the
            method cannot carry, or ends in something else than features (batch, width)
            or, where the method carries them, (batch, time, width); or an argument is
            not as said here, naming it; or devices are to share the work in a way that
            is not carried.

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

    carries_graphs = True  # whether the backbone may be a functional model
    carries_inputs = False  # whether it may have several inputs, a dict or a list
    carries_sequences = False  # whether it may end in time steps, which heads read

    def __init__(
        self,
        backbone,
        seed: checks.Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
        options: dict | None = None,
    ):
        given = checks.checked(LifelongModel, locals())
        backend.check_devices()
        super().__init__(name=given["name"])
        method = type(self).__name__
        graph = checked_backbone(
            backbone, self.carries_graphs, method, self.carries_sequences
        )
        self.backbone_input_shape = input_shape_of(
            graph, backbone.name, self.carries_inputs, method
        )
        self.feature_shape = tuple(backbone.output_shape[1:])
        self.rows_meet = any(map(rows_meet, graph.steps))
        backbone = with_constants(backbone)
        self.seed, self.pretrained = given["seed"], given["pretrained"]
        self._session = Session(TaskMemory(self.task_forms, self.shared_forms))
        self.options = Options(options or {})
        config = keras.saving.serialize_keras_object(backbone)
        self._backbone_config = json.dumps(config)
        seeded = seeded_copy(backbone, self.seed, "backbone")
        if pretrained:
            seeded.set_weights(backbone.get_weights())
        self.network = self.build_network(seeded)
        self.stage = keras.Variable(0, dtype="int32", trainable=False, name="stage")
        self.trainer = Trainer(self)
        self._reader = Reader(
            self.through,
            self._session.lock,
            self.trainer.uses_xla,
            self.backbone_input_shape,
        )
        self.uses_jit: bool | str | None = "auto"
        # of `compile()`, until it is called
        default = optimizers.to_config(keras.optimizers.get("adam"))
        self._optimizer_config = json.dumps(default)
        self._loss = None
        self._metric_arguments = ["accuracy"]
        self._scored_by = [metrics_lib.get("accuracy")]
        self.built = True

    # What a method may override

    def build_network(self, backbone: keras.Model) -> keras.layers.Layer:
        """The trainable network made of a freshly cloned and seeded backbone."""
        return backbone

    def learn(self, task: LoadedTask) -> Learning:
        """A generator of `Phase`s that learns `task`; it is sent their results."""
        yield self.phase("training", self.network.trainable_variables)

    def own_variables(self) -> list:
        """Variables of the network, beside the head, that each task has for itself."""
        return []

    def through(self, body: Any, x: Any, training: bool = False) -> Any:
        """Features (batch, width) of a body: of `network`, or of what stands for it."""
        return body(x, training=training)

    def features(self, x: Any, training: bool = False) -> Any:
        """The active network's output (batch, width)."""
        if not training:
            return self.through(self.network, x)
        return backend.by_rows(lambda rows: self.through(self.network, rows, True), x)

    def begin_task(self, name: str) -> None:
        """Called when a new task has been added, before it is first activated."""

    def task_stage(self, name: str) -> int:
        """The stage of growth at which a task is used."""
        return self.task_index(name) + 1

    # Keras

    def call(self, inputs: Any, task: str | None = None, training: bool = False) -> Any:
        """Outputs of one task, (batch, units): probabilities, or values to regress.

        Args:
            inputs: (batch, *input_shape), or of several inputs a dict or list.
            task: name; may be left out when only one is known.
            training: whether layers act as in training; what they would update (batch
                statistics, random seeds) stays as it is.
        """
        return self.forward(self.which(task), inputs, training=training)

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
        width = int(backbone.output_shape[-1])
        units = self.task_spec(self.task_names[0]).units
        trained = sum(int(np.prod(v.shape)) for v in backbone.trainable_variables)
        return trained + (width + 1) * units

    def backbone_copy(self) -> keras.Model:
        """A fresh copy of the backbone as the user gave it, weights not included."""
        return networks.deserialized(json.loads(self._backbone_config))

    def get_config(self) -> dict[str, Any]:
        return {
            "backbone": json.loads(self._backbone_config),
            **self.options.as_dict(),
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> Self:
        config = dict(config)
        backbone = config.pop("backbone")
        if isinstance(backbone, dict):
            with keras.saving.CustomObjectScope(custom_objects or {}):
                backbone = networks.deserialized(backbone)
        return cls(backbone, **config)

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Nothing to do: the constructor builds."""

    def summarize_network(self, print_fn: Callable, **kwargs: Any) -> None:
        """Prints the network's layers, as Keras does."""
        self.network.summary(print_fn=lambda line, **_: print_fn(line), **kwargs)

    def summary(self, print_fn: Callable = print, **kwargs: Any) -> None:
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
