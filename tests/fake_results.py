"""Results as a run would give them, without a run, and what their figures say."""

from __future__ import annotations

import numpy as np

from keras_lifelong.metrics import Result


def fake(
    tasks: int = 5,
    method: str = "DEN",
    forget: float = 0.0,
    layers: tuple[tuple[str, int], ...] = (("dense", 312), ("dense_1", 128)),
    grow: bool = True,
    log: bool = True,
    level: float = 0.95,
    seed: int = 0,
    **fields,
) -> Result:
    """A plausible `Result`: task j loses about `forget` from each later task."""
    rng = np.random.default_rng(seed)
    R = np.full((tasks, tasks), np.nan)
    for j in range(tasks):
        value = level + (1 - level) * rng.uniform(-0.6, 0.6)
        for i in range(j, tasks):
            R[i, j] = np.clip(value, 0, 1)
            value -= forget * rng.uniform(0.2, 1.8) * (value - 0.5)
    names = [f"task_{i}" for i in range(tasks)]
    growth = []
    if log:
        growth += [
            {"task": names[0], "layer": name, "kind": "initial", "count": n, "why": {}}
            for name, n in layers
        ]
    for task in names[1:] if grow and log else []:
        for name, _ in layers:
            why = {"loss": 0.0312, "threshold": 0.01}
            for kind, count, cause in [
                ("select", int(rng.integers(20, 90)), {"edges": 1234}),
                ("add", int(rng.integers(0, 9)), why),
                ("split", int(rng.integers(0, 3)), {"drift": 0.08, "threshold": 0.05}),
            ]:
                growth += [
                    {
                        "task": task,
                        "layer": name,
                        "kind": kind,
                        "count": count,
                        "why": cause,
                    }
                ] * bool(count)
    defaults = {
        "method": method,
        "stream": "permuted_mnist",
        "seed": 0,
        "backend": "tensorflow",
        "metric": "accuracy",
        "task_names": names,
        "matrices": {"accuracy": R, "auroc": 1 - (1 - R) / 12},
        "peak_by_task": (R.diagonal() + 0.001).tolist(),
        "params_base": 286_274,
        "params_by_task": [286_274 + 11_000 * i for i in range(tasks)],
        "train_seconds_by_task": rng.uniform(8, 14, tasks).round(3).tolist(),
        "wall_seconds": 12.9 * tasks,
        "compile_count": 9,
        "peak_rss_mib": 1234.5,
        "growth": growth,
        "config": {
            "method": {"name": method, "growth": 10, "l1": 1e-4},
            "backbone": {"name": "mlp", "units": [312, 128]},
            "stream": {"name": "permuted_mnist", "num_tasks": tasks},
            "training": {"epochs": 20, "batch_size": 256, "optimizer": "adam"},
            "seed": 0,
        },
        "versions": {"keras": "3.15.1", "tensorflow": "2.21.0"},
    }
    return Result(**(defaults | fields))


def texts(figure) -> list[str]:
    """All that is written in a figure: titles, labels of columns, notes."""
    found = [t.get_text() for t in figure.texts]
    for axes in figure.axes:
        found += [t.get_text() for t in axes.texts] + [axes.get_title(loc="left")]
        found += [t.get_text() for t in axes.get_xticklabels()]
    return found
