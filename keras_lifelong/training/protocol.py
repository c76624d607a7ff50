"""What training asks of a model: `LifelongModel` has it all.

The trainer, its callbacks and checkpoints know a model by these members only.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import MutableMapping
from typing import Any
from typing import Protocol

import keras


class Trainable(Protocol):
    """A model whose active network can be trained, scored and stored.

    Attributes:
        seed: from which the order of examples and dropout are derived.
        network: the network that tasks share.
        optimizer: while a phase runs, the optimizer that it uses.
        stop_training: set by callbacks to end a phase or the whole fit.
        uses_jit: True, False or "auto": whether XLA compiles; None: nothing does.
        rows_meet: whether one of `keras.ops` in the backbone looks at several rows.
    """

    seed: int
    network: keras.layers.Layer
    optimizer: Any
    stop_training: bool
    uses_jit: bool | str | None
    rows_meet: bool
    _initial_epoch: Any

    @property
    def main_metric(self) -> Any:
        """The metric by which epochs are compared."""

    def active_body(self) -> keras.layers.Layer:
        """The network that the active task goes through."""

    def optimizer_config(self) -> dict:
        """A copy of the serialized optimizer of `compile`."""

    def task_index(self, name: str) -> int:
        """How many tasks were learned before this one."""

    def loss_key(self) -> tuple:
        """What the compiled loss depends on beside variables."""

    def followed_scores(self) -> tuple:
        """The metrics that are followed in training."""

    def followed(self) -> Any:
        """New ones that follow them: an `AllFollowed`."""

    def noting_outputs(self) -> Any:
        """A context: what the head's loss is given in it goes into its list."""

    def checker(self, spec, what: str) -> Callable:
        """A function that checks `(x, y)` and returns it in standard form."""

    def score(self, task, what: str = "test", main_only: bool = False) -> dict:
        """Loss and metrics of the active task on one split, by name."""

    def active_variables(self) -> list:
        """Every variable that the active task's outputs depend on."""

    def store_active(self) -> None:
        """Copies what the active task has for itself back into memory."""

    def phase_began(self, phase) -> None:
        """Makes the variables of a phase the model's until `phase_ended`."""

    def phase_ended(self) -> None:
        """The end of what `phase_began` began."""

    def publish(self) -> None:
        """Copies what the phase trains elsewhere to where the model reads it."""

    def get_state(self) -> tuple[dict, dict]:
        """All that was learned: JSON, and arrays by name."""

    def set_state(self, config: dict, arrays: dict) -> None:
        """The inverse of `get_state`."""


class JointlyTrainable(Trainable, Protocol):
    """A model that learns several tasks at once; see `training/joint.py`.

    Attributes:
        active_task: the task in the active network.
        memory: the heads by key, each a "kernel" and a "bias".
    """

    @property
    def active_task(self) -> str | None: ...

    @property
    def memory(self) -> MutableMapping: ...

    def head_key(self, name: str) -> tuple:
        """Under which key of `memory` a task's head is kept."""

    def fitted_head(self, kernel, width: int | None = None):
        """A head's kernel at the width that the network has now."""

    def joint_heads(self, capacity: int, units: int) -> Any:
        """Room for that many heads side by side: a `JointHeads`."""

    def joint_features(self, x, task, arguments) -> Any:
        """Features of a batch that mixes tasks; `task` holds their indices (batch,)."""

    def activate(self, name: str | None) -> None:
        """Copies what a task has for itself into the active network."""

    def forget_active(self) -> None:
        """Lets go of the active task without storing it."""
