"""Optimizers: one that published results rest on, and what tells them apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated
from typing import Any

import keras
from keras import ops

from keras_lifelong import checks

_EXCLUDED = "excluded_from_weight_decay"

_BY_SINGLE_WEIGHTS = frozenset(
    {
        "Adadelta",
        "Adagrad",
        "Adam",
        "AdamW",
        "Adamax",
        "Ftrl",
        "Lion",
        "Nadam",
        "RMSprop",
        "SGD",
        "RMSpropFromOne",
    }
)


# What Keras takes without a word: clipping by -1 clips nothing, and a weight decay
# below 0 lets weights grow.
_FROM_0 = Annotated[float, checks.AtLeast(0)]
_ABOVE_0 = Annotated[float, checks.Above(0)]
_BELOW_1 = Annotated[float, checks.In(0, 1, open_high=True)]
_PART = Annotated[float, checks.In(0, 1)]
_RANGES: dict[str, Any] = {
    **dict.fromkeys(("clipnorm", "clipvalue", "global_clipnorm"), _ABOVE_0),
    **dict.fromkeys(("loss_scale_factor", "clip_threshold"), _ABOVE_0),
    **dict.fromkeys(("weight_decay", "adam_weight_decay", "adam_lr_ratio"), _FROM_0),
    **dict.fromkeys(("epsilon", "epsilon_1", "epsilon_2", "rms_rate"), _FROM_0),
    **dict.fromkeys(("beta", "initial_accumulator_value"), _FROM_0),
    "l1_regularization_strength": _FROM_0,
    "l2_regularization_strength": _FROM_0,
    "l2_shrinkage_regularization_strength": _FROM_0,
    **dict.fromkeys(("beta_1", "beta_2", "adam_beta_1", "adam_beta_2"), _BELOW_1),
    **dict.fromkeys(("momentum", "ema_momentum", "rho"), _PART),
    "ema_overwrite_frequency": Annotated[int, checks.AtLeast(1)],
    "gradient_accumulation_steps": Annotated[int, checks.AtLeast(2)],
    # of schedules
    **dict.fromkeys(("initial_learning_rate", "end_learning_rate"), _FROM_0),
    **dict.fromkeys(("warmup_target", "warmup_steps", "decay_rate"), _FROM_0),
    **dict.fromkeys(("alpha", "m_mul", "power"), _FROM_0),
    **dict.fromkeys(("decay_steps", "first_decay_steps", "t_mul"), _ABOVE_0),
    "values": list[_FROM_0],
}


def check_ranges(path: str, arguments: Mapping[str, Any]) -> None:
    """ValueError unless what is given of an optimizer or schedule is in its range.

    Args:
        path: of the section, which stands before a name in messages.
        arguments: by name, as Keras has them; None is not looked at.

    >>> check_ranges("training.optimizer", {"name": "adam", "clipnorm": -1})
    Traceback (most recent call last):
    ValueError: `training.optimizer.clipnorm` must be a number above 0. Received: -1
    """
    for name, value in arguments.items():
        if name in _RANGES and value is not None:
            checks.check(f"{path}.{name}", value, _RANGES[name])


@keras.saving.register_keras_serializable(package="keras_lifelong")
class RMSpropFromOne(keras.optimizers.RMSprop):
    """RMSprop as TensorFlow 1 had it: the averages of squares begin at 1, not at 0.

    Keras' own takes first steps of 3.2 learning rates whatever the gradient; this one
    begins with steps of a learning rate times the gradient. LASEM's results are with
    it and `epsilon=1e-10`, which is the default here.

    Args: as `keras.optimizers.RMSprop`.

    Example:

    >>> import numpy as np
    >>> w = keras.Variable([0.0])
    >>> optimizer = RMSpropFromOne(0.1, rho=0.0)
    >>> optimizer.apply([np.array([5.0], "float32")], [w])  # rho 0: forgets the 1
    >>> round(float(w[0]), 3)
    -0.1
    """

    def __init__(self, learning_rate=0.001, rho=0.9, epsilon=1e-10, **kwargs):
        super().__init__(learning_rate, rho=rho, epsilon=epsilon, **kwargs)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        for velocity in self._velocities:
            velocity.assign(ops.ones(velocity.shape, velocity.dtype))


def _public(config):
    """Keras' own classes by their public names.

    On PyTorch Keras names them within that backend, where no other finds them.
    """
    if isinstance(config, list):
        return [_public(part) for part in config]
    if not isinstance(config, dict):
        return config
    config = {key: _public(value) for key, value in config.items()}
    if str(config.get("module")).startswith("keras.src.backend.torch.optimizers."):
        config.update(module="keras.optimizers", registered_name=None)
    return config


def by_single_weights(optimizer: dict) -> bool:
    """Whether each weight's step depends on that weight's own gradients alone.

    Then tensors can be stacked and trained as one. Clipping by norm, and rules that
    look at a whole tensor (Adafactor, LAMB, Muon), forbid it; so does an optimizer
    that is not known here.

    Args:
        optimizer: as `keras.optimizers.serialize` has it.

    Example:

    >>> serialize = keras.optimizers.serialize
    >>> by_single_weights(serialize(keras.optimizers.Adam()))
    True
    >>> by_single_weights(serialize(keras.optimizers.Adam(clipnorm=1.0)))
    False
    >>> by_single_weights(serialize(RMSpropFromOne()))
    True
    """
    config = optimizer["config"]
    whole = ("clipnorm", "global_clipnorm", _EXCLUDED)
    config = {**config, _EXCLUDED: optimizer.get(_EXCLUDED)}
    if any(config.get(name) for name in whole):
        return False
    return optimizer["class_name"] in _BY_SINGLE_WEIGHTS


def inner(optimizer: Any) -> Any:
    """The optimizer that takes the steps, where another one scales the loss for it."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def scales_loss(optimizer: Any) -> bool:
    """Whether an optimizer is given the gradients of a loss that it has scaled."""
    return inner(optimizer) is not optimizer or optimizer.loss_scale_factor is not None


def to_config(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """A serialized optimizer, with what Keras leaves out of its configuration.

    That is `exclude_from_weight_decay(var_names=...)`.

    Args:
        optimizer: of `compile`.

    Returns:
        JSON.

    Raises:
        ValueError: if it excludes variables by themselves, or is one of several
            optimizers for parts of a model: every phase trains variables of its own.

    Example:

    >>> optimizer = keras.optimizers.AdamW(0.1)
    >>> optimizer.exclude_from_weight_decay(var_names=["bias"])
    >>> again = from_config(to_config(optimizer))
    >>> names = "kernel", "bias"
    >>> [again._use_weight_decay(keras.Variable([1.0], name=n)) for n in names]
    [True, False]
    """
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        raise ValueError(
            "`optimizer` must be one optimizer for all variables. "
            f"Received: {type(optimizer).__name__}, whose parts name the variables of "
            "another model."
        )
    config = _public(keras.optimizers.serialize(optimizer))
    scaled = inner(optimizer)
    if getattr(scaled, "_exclude_from_weight_decay", None):
        raise ValueError(
            "`optimizer` must exclude variables from weight decay by their names, "
            "`exclude_from_weight_decay(var_names=['bias'])`: a task's variables are "
            "not those of the backbone that was given. Received: `var_list`."
        )
    pattern = getattr(scaled, "_exclude_from_weight_decay_pattern", None)
    if pattern is not None:
        config[_EXCLUDED] = _plain(pattern.pattern)
    return config


def _plain(pattern: str) -> str:
    """Names with | between them, which no text takes long to be searched for."""
    if not isinstance(pattern, str) or not re.fullmatch(r"[\w./|-]*", pattern):
        raise ValueError(
            "`optimizer` must exclude variables from weight decay by plain names. "
            f"Received: {pattern!r}."
        )
    return pattern


def from_config(config: dict[str, Any]) -> keras.optimizers.Optimizer:
    """The inverse of `to_config`: an optimizer that is not built.

    Args:
        config: it is not changed.
    """
    config = {**config, "config": dict(config["config"])}
    pattern = config.pop(_EXCLUDED, None)
    of_keras = getattr(keras.optimizers, config["class_name"], None)
    if of_keras is not None and config.get("registered_name") is None:
        optimizer = of_keras.from_config(config["config"])  # `deserialize` lacks Lamb
    else:
        optimizer = keras.optimizers.deserialize(config)
    if pattern is not None:
        scaled = inner(optimizer)
        scaled.exclude_from_weight_decay(var_names=["."])
        scaled._exclude_from_weight_decay_pattern = re.compile(_plain(pattern))
    return optimizer


def is_schedule_free(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether gradients are taken between an average of weights and what moves them."""
    return type(inner(optimizer)).__name__ == "ScheduleFreeAdamW"


def begin_averages(optimizer: keras.optimizers.Optimizer, variables) -> None:
    """Lets what an optimizer averages of variables begin at what these are now.

    Args:
        optimizer: built on `variables`.
        variables: list of `keras.Variable`s.
    """
    scaled = inner(optimizer)
    averages: list[tuple] = []
    if scaled.use_ema:
        averages += zip(variables, scaled._model_variables_moving_average, strict=True)
    if is_schedule_free(scaled):
        averages += zip(variables, scaled._momentums, strict=True)
    for variable, average in averages:
        if average is not None:
            average.assign(variable)


def correct_averages(
    optimizer: keras.optimizers.Optimizer, variables, corrected
) -> None:
    """Makes averages (`use_ema`) those of the values that variables are given.

    The optimizer took them of what its step made of the variables, before what must
    not move was put back.

    Args:
        optimizer: that has just taken a step.
        variables: list of `keras.Variable`s, as the step left them.
        corrected: the values that they are to have, as many.
    """
    scaled = inner(optimizer)
    if not scaled.use_ema:
        return
    steps, every = scaled.iterations, scaled.ema_overwrite_frequency
    share = ops.where(steps == 1, 1.0, 1.0 - scaled.ema_momentum)
    if every:  # then the variables are the averages
        share = ops.where(steps % every == 0, 1.0, share)
    averages = scaled._model_variables_moving_average
    for variable, new, average in zip(variables, corrected, averages, strict=True):
        if average is not None:
            average.assign(average + ops.cast(share, average.dtype) * (new - variable))
