"""How a LifelongModel is compiled: optimizer, loss and metrics, and their saving."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras

from keras_lifelong import metrics as metrics_lib
from keras_lifelong.layers.keras_loss import as_loss
from keras_lifelong.training import optimizers


class CompilingMixin(keras.Model):
    """`compile` of a `LifelongModel`, as Keras has it."""

    def compile(
        self,
        optimizer: str | dict | keras.optimizers.Optimizer = "adam",
        loss: str | dict | keras.losses.Loss | Callable | None = None,
        metrics: Sequence[str | Callable] = ("accuracy",),
        run_eagerly: bool = False,
        jit_compile: bool | str = "auto",
        *,
        steps_per_execution: int | str = 1,
        auto_scale_loss: bool = True,
        loss_weights: None = None,
        weighted_metrics: None = None,
    ) -> None:
        """Sets how tasks are learned and scored.

        Args:
            optimizer: Keras optimizer, name or instance. Every phase starts with a
                fresh copy of it.
            loss: None for each head's own loss, or "softmax" or "sigmoid" for
                categorical heads ("sigmoid" is one-versus-rest, as DEN's). Or a name
                or object of `keras.losses`, or a function `(y, predictions)` that gives
                the loss of each example, (batch,): see `layers.keras_loss`.
            metrics: list of "accuracy", "auroc", "mse", "mae", Keras metrics or
                functions `(y, predictions) -> float`. The first is the main one.
            run_eagerly: whether nothing is compiled: slow, and every line of a layer
                can be stepped through.
            jit_compile: whether XLA compiles; "auto": where it is faster (dense
                networks, and all on accelerators) and every layer supports it.
            steps_per_execution: accepted as Keras takes it, an integer of at least 1
                or "auto": many batches are one compiled call whatever it says.
            auto_scale_loss: whether, under `mixed_float16`, the loss is scaled.
            loss_weights, weighted_metrics: None. A task has one loss, and weights of
                examples count in it alone.

        Raises:
            ValueError: if an argument is not one of these.
        """
        loss = as_loss(loss)
        if isinstance(metrics, str) or not metrics:
            raise ValueError(
                "`metrics` must be a list of at least one metric. "
                f"Received: {metrics!r}."
            )
        if not isinstance(run_eagerly, bool):
            raise ValueError(
                f"`run_eagerly` must be True or False. Received: {run_eagerly!r}."
            )
        if not (jit_compile == "auto" or isinstance(jit_compile, bool)):
            raise ValueError(
                "`jit_compile` must be True, False or 'auto'. "
                f"Received: {jit_compile!r}."
            )
        steps = steps_per_execution
        if steps != "auto" and (type(steps) is not int or steps < 1):
            raise ValueError(
                "`steps_per_execution` must be an integer of at least 1 or 'auto'. "
                f"Received: {steps!r}."
            )
        if not isinstance(auto_scale_loss, bool):
            raise ValueError(
                "`auto_scale_loss` must be True or False. "
                f"Received: {auto_scale_loss!r}."
            )
        if loss_weights is not None:
            raise ValueError(
                "`loss_weights` must be None, as a task has one loss: weigh its "
                f"examples by `sample_weight` of `fit`. Received: {loss_weights!r}."
            )
        if weighted_metrics is not None:
            raise ValueError(
                "`weighted_metrics` must be None: weights of examples count in the "
                f"loss, and `metrics` count all alike. Received: {weighted_metrics!r}."
            )
        self._scored_by = [metrics_lib.get(metric) for metric in metrics]
        self._loss = loss
        self._metric_arguments = list(metrics)
        optimizer = keras.optimizers.get(optimizer)
        optimizers.to_config(optimizer)  # refuses what it cannot carry
        self._scales_loss = auto_scale_loss  # if it is of halves
        super().compile(
            optimizer=optimizer, jit_compile=False, auto_scale_loss=auto_scale_loss
        )
        self.uses_jit = None if run_eagerly else jit_compile
        self._reader.forget_programs()
        self._optimizer_config = json.dumps(optimizers.to_config(self.optimizer))

    def get_compile_config(self) -> dict[str, Any]:
        """What `compile` was given, for saving; functions by their names."""
        if not self.compiled:
            return {}
        config = {
            "optimizer": self.optimizer_config(),
            "loss": self._loss_config(),
            "metrics": [metrics_lib.to_config(m) for m in self._metric_arguments],
        }
        if self.uses_jit != "auto":
            config["jit_compile"] = self.uses_jit  # None: not compiled at all
        if not self._scales_loss:
            config["auto_scale_loss"] = False
        return config

    def _loss_config(self):
        if self._loss is None or isinstance(self._loss, str):
            return self._loss
        return keras.saving.serialize_keras_object(self._loss)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """The inverse of `get_compile_config`."""
        self.compile(
            optimizers.from_config(config["optimizer"]),
            config["loss"],
            metrics_lib.from_config(config["metrics"]) or ["accuracy"],
            run_eagerly=config.get("jit_compile", "auto") is None,
            jit_compile=config.get("jit_compile") or "auto",
            auto_scale_loss=config.get("auto_scale_loss", True),
        )

    def optimizer_config(self) -> dict:
        """A copy of the serialized optimizer of `compile`."""
        return json.loads(self._optimizer_config)  # afresh: Keras edits what it reads
