"""The trials of a search for TensorBoard's HParams page."""

from __future__ import annotations

import pathlib
import shutil


def write(rows: list[dict], measured: list[str], directory) -> pathlib.Path:
    """Writes a run for each trial: its values as hyperparameters, the rest as metrics.

    Args:
        rows: as `ParetoTuner.rows` gives them.
        measured: names of what was measured; others are hyperparameters.
        directory: it is replaced.

    Returns:
        The directory.

    Raises:
        ImportError: if TensorBoard or TensorFlow is not installed.

    ```python
    tensorboard.write(tuner.rows(), tuner.measured_names(), "runs/pareto/tensorboard")
    # tensorboard --logdir runs/pareto/tensorboard
    ```
    """
    try:
        import tensorflow as tf  # its writer; nothing is computed
        from tensorboard.plugins.hparams import api
    except ImportError as error:
        raise ImportError(
            "TensorBoard's HParams need it and TensorFlow, whose writer they take: "
            "pip install tensorboard tensorflow"
        ) from error

    directory = pathlib.Path(directory)
    shutil.rmtree(directory, ignore_errors=True)
    for row in rows:
        values = {
            name: value
            for name, value in row.items()
            if name not in (*measured, "trial", "on_front")
        }
        name = f"trial_{row['trial']}"
        with tf.summary.create_file_writer(str(directory / name)).as_default():
            api.hparams(values, trial_id=name)
            for metric in measured:
                if metric in row:
                    tf.summary.scalar(metric, row[metric], step=0)
    return directory
