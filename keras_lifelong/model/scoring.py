"""evaluate and predict of a LifelongModel."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_lifelong.layers import head as heads
from keras_lifelong.model.reading import by_task
from keras_lifelong.model.reading import joined_array
from keras_lifelong.streams import Task
from keras_lifelong.streams import TaskSpec
from keras_lifelong.streams import check_split
from keras_lifelong.streams.task import is_dataset
from keras_lifelong.training.phase import Phase
from keras_lifelong.training.phase import PhaseResult

# of the phases of a task, which is sent their results
Learning = Generator[Phase, PhaseResult, Any]


@dataclasses.dataclass
class LoadedTask:
    """A task whose data has been read and checked."""

    name: str
    spec: TaskSpec
    train: Any
    validation: tuple | None
    test: tuple | None
    weight: np.ndarray | None = None


class ScoringMixin(keras.Model):
    """What a `LifelongModel` says of data, and how good that is."""

    def score(
        self, task: LoadedTask, what: str = "test", main_only: bool = False
    ) -> dict[str, float]:
        """Loss and metrics of the active task on one split, as floats by name."""

        def logits(x):
            return self.trainer.forward(self.logits, x)

        return self._scores(task, what, logits, main_only)

    def _scores(self, task, what, logits_of, main_only=False) -> dict:
        """Loss and metrics by name, of what `logits_of(x)` says of a split."""
        data = getattr(task, what)
        found, wanted = [], []
        if is_dataset(data):
            check = self.checker(task.spec, "block")
            batches = data.batch(1024).as_numpy_iterator()
            data = [check(x, y) for x, y in batches]
        else:
            data = [data]
        for x, labels in data:
            found.append(logits_of(x))
            wanted.append(labels)
        logits, y = np.concatenate(found), np.concatenate(wanted)
        kind = self.loss_kind(task.name)
        predictions = keras.activations.get(heads.activation(kind))(
            ops.convert_to_tensor(logits)
        )
        predictions = ops.convert_to_numpy(predictions)
        metrics = self.metrics_of(task.spec)[: 1 if main_only else None]
        scores = {m.name: float(m(y, predictions, task.spec)) for m in metrics}
        if not (main_only and metrics):
            loss = ops.mean(
                heads.per_sample_loss(kind, y, ops.convert_to_tensor(logits))
            )
            scores = {"loss": float(loss), **scores}
        return scores

    def evaluate(
        self,
        x: Task | ArrayLike | None = None,
        y: ArrayLike | None = None,
        *,
        task: str | None = None,
        split: str = "test",
        verbose: int | str = 0,
    ) -> dict[str, float]:
        """Scores a learned task.

        Args:
            x: a `Task` (its `split` is used), or inputs.
            y: labels, when `x` is an array.
            task: the name of the task, when `x` is an array.
            split: "train", "validation" or "test" of a `Task`.
            verbose: accepted for Keras' sake.

        Returns:
            Dict of "loss" and every metric given to `compile`.

        Raises:
            ValueError: if the task is unknown or the data bad.
        """
        data: Any
        if isinstance(x, Task):
            name, data = x.name, getattr(x, split)
            if data is None:
                raise ValueError(f"Task {name!r} has no {split} data.")
        else:
            name, data = self.which(task), (x, y)
        spec = self.task_spec(name)
        if not is_dataset(data):
            inputs, labels = data
            data = check_split(inputs, labels, spec, f"{split} of task {name!r}")
        loaded = LoadedTask(name, spec, data, data, data)

        def logits(x):
            return joined_array(self.read_outputs(name, x, logits=True))

        return self._scores(loaded, split, logits)

    def predict(
        self,
        x: ArrayLike,
        task: str | Sequence[str] | None = None,
        verbose: int | str = 0,
    ) -> np.ndarray:
        """Outputs of a task, (n, units): probabilities, or values to regress.

        It changes nothing, so any thread or callback may call it at any time. A
        callback sees the model as it is being trained, other threads as it was before.

        Args:
            x: array (n, *input_shape).
            task: name; or a name for each row, of tasks with as many outputs. It may
                be left out when only one task is known.
            verbose: accepted for Keras' sake.

        Raises:
            ValueError: if a task is unknown, `x` has another shape, or tasks that are
                mixed have heads of different size.

        Example:

        ```python
        model.predict(x, task="monday")
        model.predict(x[:3], task=["monday", "tuesday", "monday"])
        ```
        """
        x = self._checked_inputs(x)
        if task is None or isinstance(task, str):
            return joined_array(self.read_outputs(self.which(task), x))
        found = by_task(task, len(x))
        units = {name: self.task_spec(name).units for name in found}
        if len(set(units.values())) > 1:
            raise ValueError(
                "Tasks mixed in one call must have as many outputs each. "
                f"Received: {units}."
            )
        out = np.zeros((len(x), *set(units.values())), "float32")
        for name, rows in found.items():
            out[rows] = joined_array(self.read_outputs(name, x[rows]))
        return out

    def predict_on_batch(
        self, x: ArrayLike, task: str | Sequence[str] | None = None
    ) -> np.ndarray:
        """As `predict`."""
        return self.predict(x, task)

    def _checked_inputs(self, x) -> np.ndarray:
        x = np.asarray(x)
        if x.shape[1:] != self.backbone_input_shape or not len(x):
            raise ValueError(
                f"`x` must have shape (n, *{self.backbone_input_shape}) with n > 0. "
                f"Received: {x.shape}."
            )
        if x.dtype.kind not in "biuf":
            raise ValueError(
                f"`x` must be an array of numbers. Received: dtype {x.dtype}."
            )
        if np.issubdtype(x.dtype, np.floating):
            x = x.astype("float32", copy=False)
        return x
