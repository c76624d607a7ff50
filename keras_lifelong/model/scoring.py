"""evaluate and predict of a LifelongModel."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_lifelong import heads as kinds
from keras_lifelong.layers import head as heads
from keras_lifelong.model import arguments
from keras_lifelong.model.reading import by_task
from keras_lifelong.model.reading import joined_array
from keras_lifelong.model.reading_data import ROWS
from keras_lifelong.model.reading_data import Calls
from keras_lifelong.model.reading_data import count
from keras_lifelong.model.reading_data import spans
from keras_lifelong.model.reading_data import to_predict
from keras_lifelong.model.reading_data import to_score
from keras_lifelong.streams import Task
from keras_lifelong.streams import TaskSpec
from keras_lifelong.streams.columns import Columns
from keras_lifelong.streams.columns import columns
from keras_lifelong.streams.columns import fits
from keras_lifelong.streams.forms import as_array
from keras_lifelong.streams.forms import is_dataset
from keras_lifelong.streams.labels import named
from keras_lifelong.training.layer_costs import LayerCosts


@dataclasses.dataclass
class LoadedTask:
    """A task whose data has been read and checked.

    Attributes:
        name, spec: of the task; the spec has an input shape.
        train, validation, test: `(x, y)` in standard form, or a `tf.data.Dataset` of
            single examples; None where there are none.
        weight: how much each training row counts in the loss, float32 (n,); None: all
            as much.
        validation_weight: of the validation rows.
    """

    name: str
    spec: TaskSpec
    train: Any
    validation: Any
    test: Any
    weight: np.ndarray | None = None
    validation_weight: np.ndarray | None = None


class ScoringMixin(keras.Model):
    """What a `LifelongModel` says of data, and how good that is."""

    def score(
        self, task: LoadedTask, what: str = "test", main_only: bool = False
    ) -> dict[str, float]:
        """Loss and metrics of the active task on one split, as floats by name."""
        data, check = getattr(task, what), self.checker(task.spec, "block")
        weight = task.validation_weight if what == "validation" else None
        blocks = iter([(*data, weight)])
        if is_dataset(data):
            blocks = ((*check(x, y), w) for x, y, w in data.blocks(ROWS))
        outputs, costs = [], self.layer_costs(task.name)
        for x, y, weights in blocks:
            outputs.append((self.active_logits(x), y, weights))
            costs.see(x, ROWS)
        return self._scores(task, outputs, costs, main_only)

    def active_logits(self, x: Any) -> np.ndarray:
        """Logits (n, units) of the active task, as it is used at the moment.

        Args:
            x: checked inputs (n, *input_shape), or `Columns`.
        """
        return self.trainer.forward(self.logits, x)

    def layer_costs(self, name: str) -> LayerCosts:
        """What the layers add to a task's loss, to be fed with its inputs."""
        reading = self.reading(name)
        variables = reading.body.trainable_variables
        return LayerCosts(
            reading, self.through, self.regularized_parts(name, variables)
        )

    def regularized_parts(self, name: str, variables: list) -> list[float] | None:
        """The part of each variable's regularizer that counts where a task is used.

        Args:
            name: of the task.
            variables: those that may be trained of what it goes through.

        Returns:
            Numbers in [0, 1]; None: all of all.
        """
        del name, variables
        return None

    def _scores(self, task, outputs, costs, main_only=False) -> dict:
        """Loss and metrics by name, of parts: logits, labels, and weights or None.

        Weights of examples count in the loss, as in Keras, not in the metrics.
        """
        found, wanted, weights = zip(*outputs, strict=True)
        logits = np.concatenate(found)
        y = kinds.get(task.spec.kind).joined(list(wanted))
        kind = self.loss_kind(task.name)
        predictions = keras.activations.get(heads.activation(kind))(
            ops.convert_to_tensor(logits)
        )
        predictions = ops.convert_to_numpy(predictions)
        metrics = self.metrics_of(task.spec)[: 1 if main_only else None]
        scores = {m.name: float(m(y, predictions, task.spec)) for m in metrics}
        if not (main_only and metrics):
            targets, said = map(ops.convert_to_tensor, (y, logits))
            loss = heads.per_sample_loss(kind, targets, said)
            if weights[0] is not None:
                loss = loss * ops.convert_to_tensor(np.concatenate(weights))
            scores = {"loss": float(ops.mean(loss)) + costs.mean, **scores}
        return scores

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = 0,
        sample_weight: ArrayLike | None = None,
        steps: int | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        return_dict: bool = True,
        *,
        task: str | None = None,
        split: str = "test",
    ) -> Any:
        """Scores a learned task. Inputs are read block by block, not copied whole.

        Args:
            x: a `Task` (its `split` is used); inputs; or what gives `(x, y)`, as in
                `fit`.
            y: labels, when `x` is an array.
            batch_size: at most so many rows are computed at once, rounded up to 32, 128
                or 1024, as few shapes are compiled; None: 1024. Results do not depend
                on it.
            verbose: 0 silent; 1, 2 or "auto": a line with the scores.
            sample_weight: how much each example counts in the loss, (n,): as in Keras
                the mean of weight times loss. Metrics do not use it.
            steps: batches of `batch_size` (None: of the data's own, or 32) that are
                scored; None: all.
            callbacks: list of Keras callbacks. Batch hooks are called for each block
                that is computed.
            return_dict: False for a list in the order of the dict, as Keras has it.
            task: the name of the task, when `x` is no `Task`.
            split: "train", "validation" or "test" of a `Task`.

        Returns:
            Dict of "loss", to which layers add what they add in training, and every
            metric given to `compile`; or a list.

        Raises:
            ValueError: if the task is unknown or the data bad.
        """
        if isinstance(x, Task):
            name, data, weight = self._split_of(x, y, task, split, sample_weight)
        else:
            name, weight = self.which(task), sample_weight
            data = x if arguments.is_given_in_batches(x) else (x, y)
            arguments.check_alone(x, y=y, sample_weight=sample_weight)
        spec, what = self.task_spec(name), f"{split} of task {name!r}"
        calls = Calls(callbacks, self, "test", verbose)
        size = None if batch_size is None else arguments.rows(batch_size)
        most = count(arguments.steps(steps), size, data, self.backbone_input_shape)
        blocks = to_score(data, weight, spec, what, most)
        outputs, costs = [], self.layer_costs(name)
        calls.begin()
        for inputs, labels, weights in blocks:
            self.check_steps(labels, spec, what)
            for rows in spans(len(inputs), size, calls):
                parts = self.read_outputs(name, inputs.part(rows), logits=True)
                own = None if weights is None else weights[rows]
                outputs.append((joined_array(parts), labels[rows], own))
            costs.see(inputs, ROWS)
        loaded = LoadedTask(name, spec, None, None, None)
        scores = self._scores(loaded, outputs, costs)
        calls.end(sum(len(labels) for _, labels, _ in outputs), scores)
        return scores if return_dict else list(scores.values())

    def _split_of(self, task, y, name, split, sample_weight):
        """Name, data and weights of a split of a `Task` that `evaluate` is given."""
        if y is not None or name not in (None, task.name):
            extra = "`y`" if y is not None else f"task={name!r}"
            raise ValueError(
                f"A Task brings its labels and name. Received: a Task and {extra}."
            )
        if split not in ("train", "validation", "test"):
            raise ValueError(
                f"`split` must be 'train', 'validation' or 'test'. Received: {split!r}."
            )
        data = getattr(task, split)
        if data is None:
            raise ValueError(f"Task {task.name!r} has no {split} data.")
        weight = task.weight(split) if sample_weight is None else sample_weight
        return task.name, data, weight

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = 0,
        steps: int | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        *,
        task: str | Sequence[str] | None = None,
        names: bool = False,
    ) -> np.ndarray:
        """Outputs of a task, (n, units): probabilities, or values to regress.

        Of a sequence task they are (n, time, C + 1), the blank's first, of which
        `heads.sequence.decoded` makes labels (n, longest).

        It changes nothing, so any thread or callback may call it at any time. A
        callback sees the model as it is being trained, other threads as it was before.

        Args:
            x: array or tensor (n, *input_shape), or a dict or list of them, of a
                network of several inputs; or what gives it, as in `fit`: labels that
                come along are not used.
            batch_size, verbose, steps, callbacks: see `evaluate`.
            task: name; or a name for each row, of tasks with as many outputs. It may
                be left out when only one task is known, and may come second.
            names: whether to return the names of the classes that are meant instead,
                (n,), of a task whose `TaskSpec` has `class_names`; of a multilabel
                task, a tuple of names for each row; of a sequence task, words.

        Raises:
            ValueError: if a task is unknown, `x` has another shape, tasks that are
                mixed have heads of different size, or the classes have no names.

        Example:

        ```python
        model.predict(x, task="monday")
        model.predict(x[:3], task=["monday", "tuesday", "monday"])
        ```
        """
        if task is None and not isinstance(batch_size, int | np.integer | None):
            task, batch_size = batch_size, None  # `predict(x, "monday")`
        calls = Calls(callbacks, self, "predict", verbose)
        size = None if batch_size is None else arguments.rows(batch_size)
        shape = self.backbone_input_shape
        most = count(arguments.steps(steps), size, x, shape)
        blocks = to_predict(x, self._checked_inputs, shape, most)
        one = task is None or isinstance(task, str)
        if one:
            task = self.which(task)
        elif arguments.is_given_in_batches(x):
            raise ValueError(
                "`task` must be one name for data that come in batches. Received: "
                f"{type(x).__name__} and {task!r}."
            )
        found = []
        calls.begin()
        for inputs in blocks:
            if not one:
                found.append(self._predict_mixed(inputs, task, names))
                continue
            for rows in spans(len(inputs), size, calls):
                parts = self.read_outputs(task, inputs.part(rows))
                found.append(joined_array(parts))
        out = found[0] if len(found) == 1 else np.concatenate(found)
        calls.end(len(out))
        if names and isinstance(task, str):
            return named(out, self.task_spec(task), task)
        return out

    def _predict_mixed(self, inputs, task, names):
        """Outputs, or names of classes, of rows that are each of a task of its own."""
        found = by_task(task, len(inputs))
        units = {name: self.task_spec(name).units for name in found}
        if len(set(units.values())) > 1:
            raise ValueError(
                "Tasks mixed in one call must have as many outputs each. "
                f"Received: {units}."
            )
        out: Any = None
        called = np.empty(len(inputs), object)
        for name, rows in found.items():
            said = joined_array(self.read_outputs(name, inputs[rows]))
            if out is None:
                out = np.zeros((len(inputs), *said.shape[1:]), "float32")
            out[rows] = said
            if names:
                called[rows] = named(out[rows], self.task_spec(name), name)
        return called if names else out

    def predict_on_batch(
        self, x: ArrayLike, task: str | Sequence[str] | None = None
    ) -> np.ndarray:
        """As `predict`."""
        return self.predict(x, task=task)

    def _checked_inputs(self, x) -> Any:
        expected = self.backbone_input_shape
        x = columns(x, expected, "`x`")
        if isinstance(x, Columns):
            x = x.map(as_array)
            lengths = {len(part) for part in x.leaves}
            if not fits(x.example_shape, expected) or len(lengths) != 1 or not len(x):
                raise ValueError(
                    f"`x` must hold inputs of as many rows each, of shape {expected}. "
                    f"Received: {x.example_shape}, of rows {sorted(lengths)}."
                )
            return x.map(self._standard_inputs)
        x = as_array(x)
        if not x.ndim or not fits(x.shape[1:], expected) or not len(x):
            raise ValueError(
                f"`x` must have shape (n, *{expected}) with n > 0. Received: {x.shape}."
            )
        return self._standard_inputs(x)

    @staticmethod
    def _standard_inputs(x) -> np.ndarray:
        if x.dtype.kind not in "biuf":
            raise ValueError(
                f"`x` must be an array of numbers. Received: dtype {x.dtype}."
            )
        if np.issubdtype(x.dtype, np.floating):
            with np.errstate(over="ignore"):  # what is beyond float32 is infinite there
                x = x.astype("float32", copy=False)
        return x
