"""Principal components over tasks, by which features are compared."""

from __future__ import annotations

import numpy as np


class Whitening:
    """Principal components of features, each divided by its standard deviation.

    Without the division the few strongest drown what tells tasks apart. Tasks count
    equally, however many examples they have.

    Args:
        components: how many; fewer if the features have fewer.
    """

    def __init__(self, components: int):
        if not isinstance(components, int) or components < 1:
            raise ValueError(
                "`components` must be an integer of at least 1. "
                f"Received: {components!r}"
            )
        self.components = components
        self.set_state({})

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Goes on from a `state`: tasks so far, their mean and second moment."""
        self.state = {key: np.asarray(value) for key, value in state.items()}
        self._axes = None  # found when first needed: this is what takes time

    def add(self, features: np.ndarray) -> None:
        """Takes a task's features (n, d) in."""
        f = np.asarray(features, "float64")
        n = float(self.state.get("tasks", 0))
        mean, second = self.state.get("mean", 0), self.state.get("second", 0)
        self.set_state(
            {
                "tasks": np.array(n + 1),
                "mean": (n * mean + f.mean(0)) / (n + 1),
                "second": (n * second + f.T @ f / len(f)) / (n + 1),
            }
        )

    def __call__(self, features: np.ndarray) -> np.ndarray:
        if not self.state:
            raise ValueError("Call `adapt` with the images of a task first.")
        mean, second = self.state["mean"], self.state["second"]
        if self._axes is None:
            variance, axes = np.linalg.eigh(second - np.outer(mean, mean))
            best = np.arange(len(variance))[::-1][: self.components]
            best = best[variance[best] > 1e-10 * variance[-1]]
            self._axes = axes[:, best] / np.sqrt(variance[best])
        return (features - mean) @ self._axes

    def count_params(self) -> int:
        return sum(np.size(array) for array in self.state.values())
