"""What a YAML configuration may say, checked before it costs time.

Every section of a configuration is a call: `method` of a method's constructor,
`backbone` of a backbone function, `stream` of a stream's factory, `training` of
`Training`, `training.optimizer` of a Keras optimizer. So one check serves all: of keys
by the callee's signature, of values by its annotations.

Precedence: defaults of the signatures < the YAML file < `--set`, in order.

    >>> config = resolve({
    ...     "method": {"name": "DEN"},
    ...     "backbone": {"name": "mlp", "units": [64]},
    ...     "stream": {"name": "digits"},
    ... }, ["training.epochs=2"])
    >>> config.resolved["training"]["epochs"]
    2
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import re
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from typing import Any
from typing import Literal

from keras_lifelong import checks
from keras_lifelong import dotted
from keras_lifelong.messages import shown
from keras_lifelong.strict_yaml import dump
from keras_lifelong.strict_yaml import parse

TESTING = ("evaluate_every", "evaluate_last")
FIT_ARGUMENTS = ("epochs", "batch_size", *TESTING)
SECTIONS = ("method", "backbone", "stream", "training", "seed", "search")


@dataclasses.dataclass(frozen=True)
class Training:
    """The `training` section: how each phase of a method is trained.

    Args:
        epochs: passes over a task's training data, for each phase, at least 1.
        batch_size: examples a step, at least 1.
        learning_rate: of the optimizer, above 0, or one of Keras' schedules over steps,
            `{name: inverse_time_decay, …arguments}`.
        optimizer: name of a Keras optimizer, or `{name: …, …arguments}`; also
            "rmsprop_from_one", TensorFlow 1's RMSprop.
        loss: "softmax" or "sigmoid"; None takes what fits the kind of the head.
        metrics: names; the first is the main one of `results.json`.
        evaluate_every: all tasks are tested after every so many and after the last.
        evaluate_last: in between the newest so many are.
    """

    epochs: Annotated[int, checks.AtLeast(1)] = 1
    batch_size: Annotated[int, checks.AtLeast(1)] = 32
    learning_rate: Annotated[float, checks.Above(0)] | dict[str, Any] = 1e-3
    optimizer: str | dict = "adam"
    loss: Literal["softmax", "sigmoid"] | None = None
    metrics: Sequence[str] = ("accuracy",)
    evaluate_every: Annotated[int, checks.AtLeast(1)] = 1
    evaluate_last: Annotated[int, checks.AtLeast(0)] = 1


# Arguments that the program gives: the seed is one for the whole configuration.
_NOT_SET = {"backbone", "input_shape", "learning_rate", "name", "seed"}

# Where a key that stands in the wrong section may belong.
_ELSEWHERE = [
    *SECTIONS,
    *(f"training.{field.name}" for field in dataclasses.fields(Training)),
]


@dataclasses.dataclass(frozen=True)
class Config:
    """A checked configuration; `resolved` holds every key with its value.

    Example:

    ```python
    config = load("zoo_configs/den/digits.yaml", ["training.epochs=2"])
    stream = config.build_stream()
    model = config.build_model(stream[0].spec.input_shape)
    result = model.fit_stream(stream, **config.fit_arguments)
    ```
    """

    resolved: dict[str, Any]

    @property
    def seed(self) -> int:
        return self.resolved["seed"]

    @property
    def fit_arguments(self) -> dict[str, int]:
        """What `fit_stream` takes from the configuration."""
        return {key: self.resolved["training"][key] for key in FIT_ARGUMENTS}

    def build_stream(self) -> Any:
        """The `TaskStream`."""
        from keras_lifelong import streams

        return streams.get(seed=self.seed, **self.resolved["stream"])

    def build_backbone(self, input_shape: Sequence[int]) -> Any:
        """The `keras.Model` of hidden layers for examples of `input_shape`."""
        from keras_lifelong import backbones

        section = self.resolved["backbone"]
        if "layers" in section:
            return backbones.from_layers(section["layers"], input_shape)
        return backbones.get(input_shape=input_shape, **section)

    def build_model(self, input_shape: Sequence[int], **options: Any) -> Any:
        """The compiled `LifelongModel`; `options` come before those given here."""
        from keras_lifelong.model import registry

        arguments = {**self.resolved["method"], **options}
        method = registry.get(arguments.pop("name"))
        backbone = self.build_backbone(input_shape)
        model = method(backbone, seed=self.seed, **arguments)
        training = self.resolved["training"]
        model.compile(
            optimizer=self.build_optimizer(),
            loss=training["loss"],
            metrics=list(training["metrics"]),
        )
        return model

    def build_optimizer(self) -> Any:
        """A new `keras.optimizers.Optimizer`."""
        training = self.resolved["training"]
        arguments = _named(training["optimizer"])
        optimizer = _optimizers()[arguments.pop("name")]
        rate = training["learning_rate"]
        if isinstance(rate, dict):
            schedule = dict(rate)
            rate = _schedules()[schedule.pop("name")](**schedule)
        return optimizer(learning_rate=rate, **arguments)

    def to_yaml(self) -> str:
        """The resolved configuration, which `load` reads back to the same."""
        return dump(self.resolved)

    def differences(self, other: Config) -> dict[str, tuple[Any, Any]]:
        """Each key whose value differs -> (value here, value in `other`)."""
        return dotted.differences(self.resolved, other.resolved)


def load(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Reads and checks a YAML file.

    Args:
        path: the file.
        overrides: `"training.epochs=1"`, values in YAML, later ones win.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file and the key, for anything `resolve` refuses.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no configuration file {str(path)!r}.")
    try:
        return resolve(parse(path.read_text(encoding="utf-8")), overrides)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def resolve(raw: Any, overrides: Iterable[str] = ()) -> Config:
    """Checks a configuration and fills in the defaults.

    Args:
        raw: what the YAML holds, see `SECTIONS`; it isn't changed.
        overrides: as for `load`.

    Raises:
        ValueError: for an unknown key or a value of the wrong type or out of range,
            naming the key's path, what was received and the nearest that is valid.
    """
    raw = override(raw, overrides)
    for key in raw:
        if key not in SECTIONS:
            raise checks.unknown_key(key, raw[key], SECTIONS, _ELSEWHERE)
    # What needs no Keras is checked first, so that most mistakes are named at once.
    seed, search = _seed(raw), _section(raw, "search", {})
    backbone, stream, training = _backbone(raw), _stream(raw), _training(raw)
    method = _method(raw)
    if backbone.get("weights") is not None and not method.get("pretrained"):
        raise ValueError(
            "`method.pretrained` must be true where `backbone.weights` are given: they "
            "would be drawn anew. Received: backbone.weights="
            f"{shown(backbone['weights'])}, method={shown(raw['method'])}"
        )
    return Config(
        {
            "method": method,
            "backbone": backbone,
            "stream": stream,
            "training": training,
            "seed": seed,
            "search": search,
        }
    )


def override(raw: Any, overrides: Iterable[str]) -> dict[str, Any]:
    """Returns a copy of `raw` with each `"key.path=value"` set."""
    if not isinstance(raw, dict):
        raise ValueError(
            f"A configuration must be a mapping of {', '.join(SECTIONS)}. "
            f"Received: {shown(raw)}"
        )
    raw = copy.deepcopy(raw)
    for text in overrides:
        path, equals, value = text.partition("=")
        if not equals or not value.strip() or not all(path.strip().split(".")):
            raise ValueError(
                "--set takes KEY=VALUE, such as training.epochs=1 or "
                f"training.loss=null. Received: {shown(text)}"
            )
        found = parse(value)
        try:
            dotted.put(raw, path.strip(), found)
        except ValueError as error:
            raise ValueError(f"{error}. Received: --set {text}") from error
    return raw


def resolve_stream(name: str, overrides: Iterable[str] = ()) -> Config:
    """A configuration that holds a stream and its seed only.

    Raises:
        ValueError: as `resolve`.
    """
    raw = override({"stream": {"name": name}}, overrides)
    for key in raw:
        if key not in ("stream", "seed"):
            accepted = ["seed", "stream"]
            raise checks.unknown_key(key, raw[key], accepted, [f"stream.{key}"])
    return Config({"stream": _stream(raw), "seed": _seed(raw)})


# === Sections ===


def _stream(raw: dict[str, Any]) -> dict[str, Any]:
    from keras_lifelong import streams

    return _call("stream", _section(raw, "stream"), streams.names(), streams.factory)


def _method(raw: dict[str, Any]) -> dict[str, Any]:
    from keras_lifelong.model import registry

    return _call("method", _section(raw, "method"), registry.names(), registry.get)


def _backbone(raw: dict[str, Any]) -> dict[str, Any]:
    from keras_lifelong import backbones

    section = _section(raw, "backbone")
    if "layers" in section:
        for key in section:
            if key != "layers":
                accepted = ["backbone.layers"]
                raise checks.unknown_key(f"backbone.{key}", section[key], accepted)
        checks.check("backbone.layers", section["layers"], list[dict])
        return dict(section)
    return _call("backbone", section, backbones.names(), backbones.function)


def _training(raw: dict[str, Any]) -> dict[str, Any]:
    from keras_lifelong.metrics import scores
    from keras_lifelong.training.optimizers import check_ranges

    section = _section(raw, "training", {})
    training = checks.arguments("training", section, Training, elsewhere=_ELSEWHERE)
    if isinstance(training["learning_rate"], dict):
        known = _schedules()
        path = "training.learning_rate"
        rate = _call(path, training["learning_rate"], known, known.__getitem__)
        check_ranges(path, rate)
        training["learning_rate"] = rate
    metrics = training["metrics"]
    if not metrics or len(set(metrics)) < len(metrics):
        raise ValueError(
            "`training.metrics` must be one or more names, each once. "
            f"Received: {shown(metrics)}"
        )
    for metric in metrics:
        try:
            scores.get(metric)
        except ValueError as error:
            raise ValueError(f"`training.metrics`: {error}") from error
    _check_optimizer(training["optimizer"])
    return training


def _check_optimizer(optimizer: str | dict[str, Any]) -> None:
    from keras_lifelong.training.optimizers import check_ranges

    path = "training.optimizer"
    section = _named(optimizer)
    if "learning_rate" in section:
        raise ValueError(
            f"`{path}.learning_rate` is set as `training.learning_rate`. "
            f"Received: {shown(optimizer)}"
        )
    known = _optimizers()
    _call(path, section, known, known.__getitem__)
    check_ranges(path, section)


def _optimizers() -> dict[str, type]:
    """The optimizers of Keras by lower-case name; wrappers of others are left out."""
    import keras

    from keras_lifelong.training.optimizers import RMSpropFromOne

    found = {
        name.lower(): member
        for name, member in vars(keras.optimizers).items()
        if isinstance(member, type)
        and issubclass(member, keras.optimizers.Optimizer)
        and "learning_rate" in inspect.signature(member).parameters
    }
    return {**found, "rmsprop_from_one": RMSpropFromOne}


def _schedules() -> dict[str, type]:
    """Keras' learning rate schedules by name, in lower case with underscores."""
    import keras

    schedules = keras.optimizers.schedules
    return {
        re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower(): member
        for name, member in vars(schedules).items()
        if isinstance(member, type)
        and issubclass(member, schedules.LearningRateSchedule)
        and member is not schedules.LearningRateSchedule
    }


def _seed(raw: dict[str, Any]) -> int:
    seed = raw.get("seed", 0)
    return checks.check("seed", seed, checks.Seed)


def _section(raw: dict[str, Any], key: str, default: Any = None) -> dict[str, Any]:
    section = raw.get(key, default)
    if not isinstance(section, dict):
        received = shown(section) if key in raw else "no such key"
        raise ValueError(f"`{key}` must be a mapping. Received: {received}")
    return section


def _named(value: str | dict[str, Any]) -> dict[str, Any]:
    return {"name": value} if isinstance(value, str) else dict(value)


def _call(
    path: str,
    section: dict[str, Any],
    names: Iterable[str],
    callee: Callable[[str], Callable],
) -> dict[str, Any]:
    """Checks `{name: …, …arguments}` against the signature of `callee(name)`."""
    if "name" not in section:
        raise ValueError(f"`{path}.name` is required. Received: {shown(section)}")
    given = dict(section)
    name = given.pop("name")
    checks.check(f"{path}.name", name, Literal[*sorted(names)])
    return {
        "name": name,
        **checks.arguments(path, given, callee(name), _NOT_SET, _ELSEWHERE),
    }
