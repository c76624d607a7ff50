"""A phase: what one stage of learning a task may move, towards what, and how."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass
class Phase:
    """One training run inside the learning of a task (DESIGN: a method is a list of
    phases). A method's `learn` is a generator that yields phases and is sent their
    `PhaseResult`s.

    The hooks are compiled into the training step. They must be pure functions of what
    they are given, written with `keras.ops`, and must be the *same* function object
    from task to task (a method of the model, a module function): a compiled step is
    kept by its hooks and variables and serves the whole stream. What differs between
    tasks goes through `arguments`.

    Args:
        name: shown in the progress bar, e.g. `"selective retraining"`.
        variables: list of the `keras.Variable`s that are trained.
        loss: `loss(x, y, weight, arguments) -> scalar`, the mean over the batch under
            the sample weights `weight` (batch,), which are 0 for the filling of a last
            partial batch, and else 1 in the mean. Or a pair of that, which is
            multiplied by the mean of the weights as they were given, and of what is
            added to it whatever these are, as the loss of replayed examples.
        arguments: nested dict/list of tensors or arrays, handed to every hook.
        state: the other variables that the loss reads or updates. Defaults to all of
            the model's active ones.
        penalty: `penalty(weights, arguments) -> scalar` added to the loss, or None.
        shares: `shares(variables, arguments) -> list`: for each of `variables` the
            part of its regularizer that is added to the loss, a scalar in [0, 1], or
            None for all of it. None: all of all.
        gradients: `gradients(gradients, weights, arguments) -> gradients`, or None.
        gradients_with: `gradients_with(gradients, weights, arguments, gradients_of)`,
            as `gradients` and before it, for what compares the gradients with those of
            other losses: `gradients_of(objective, weights)` gives
            `((cost, aux), gradients)` of `objective() -> (cost, aux)`.
        after_step: `after_step(before, weights, arguments, learning_rate) -> values`:
            the values to assign after the optimizer's step, given the weights before
            and after it, or None. Proximal steps live here, and whatever restores
            weights that momentum or weight decay must not move.
        publish: function without arguments that copies `variables` that are not the
            network's or the active head's to where the model reads them, as of other
            heads to its memory. It is called before the model is read or stored while
            the phase lasts, and at its end. None: there are none.
        data: `(x, y)` arrays to train on. None: the task's training data.
        weights: of the examples of `data` in the loss, (n,). None: all count alike;
            the task's own data have its own weights.
        epochs: passes over the data. None: those given to `fit`.
        batch_size: None: that given to `fit`.
        learning_rate: a number, or `learning_rate(epoch, epochs, history) -> float`
            called before each epoch (see `training/schedules.py`). None: that of the
            compiled optimizer.
        optimizer: a Keras optimizer of which a fresh copy is used. None: that of
            `compile`.
        seed: of the order of the examples and of dropout. None: derived from the
            model's seed and the numbers of the task and of the phase.
        iterations: the step at which a learning rate schedule begins.
        validate: whether the validation data is scored after each epoch.
        keep_best: whether the phase ends with the weights of the epoch of the best
            main metric on validation data (of equals, the last), not with those of its
            last epoch. Without validation data, the last epoch's are kept.
        patience: the phase ends after so many epochs without a better main metric on
            validation data. None: it runs all its epochs.
        observe: `observe(finished) -> dict` called after each epoch, with True; what it
            returns (numbers or lists of them) goes into the result's `history`, and
            nowhere else.
        observe_every: steps after which `observe` is called within an epoch, too, with
            False. None: never.
        observe_until: epochs that begin after so many steps are not interrupted any
            more. None: all are.
    """

    name: str
    variables: list
    loss: Callable
    arguments: Any = dataclasses.field(default_factory=dict)
    state: list | None = None
    penalty: Callable | None = None
    shares: Callable | None = None
    gradients: Callable | None = None
    gradients_with: Callable | None = None
    after_step: Callable | None = None
    publish: Callable | None = None
    data: tuple | None = None
    weights: Any = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | Callable | None = None
    optimizer: Any = None
    seed: int | None = None
    iterations: int = 0
    validate: bool = True
    keep_best: bool = False
    patience: int | None = None
    observe: Callable | None = None
    observe_every: int | None = None
    observe_until: int | None = None


@dataclasses.dataclass
class PhaseResult:
    """What a finished phase reports to its method.

    Attributes:
        name: the phase's name.
        loss: mean training loss of the last epoch, without the penalty.
        history: dict of the lists of logs by epoch, as in `keras.callbacks.History`,
            and of what the phase observed.
        steps: optimizer steps taken.
        seconds: wall time.
    """

    name: str
    loss: float
    history: dict[str, list]
    steps: int
    seconds: float

    def to_config(self) -> dict:
        return dataclasses.asdict(self)
