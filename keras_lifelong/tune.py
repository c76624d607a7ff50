"""What `keras-lifelong tune` does: a Pareto search as a configuration describes it."""

from __future__ import annotations

from pathlib import Path

from keras_lifelong import checks
from keras_lifelong import config as config_lib
from keras_lifelong.files import write_atomic

PROJECT = "search"
# What the program gives a tuner, which a configuration therefore cannot.
GIVEN = (
    *("build", "stream", "epochs", "batch_size", "seed"),
    *("directory", "project_name", "overwrite"),
)


def tuner_class(method: str) -> type:
    """The tuner of a method's hyperparameters.

    Raises:
        ValueError: if there is none.
    """
    from keras_lifelong import search

    known = {"BindAndGrow": "GrowSequenceTuner", "PAR": "ThresholdTuner"}
    if method not in known:
        raise ValueError(
            f"`tune` knows what to search for {' and '.join(known)}. "
            f"Received: method {method!r}"
        )
    return getattr(search, known[method])


def make_tuner(config, directory: Path, overwrite: bool = False):
    """The tuner that a configuration describes.

    Args:
        config: a `Config`.
        directory: in which the search is kept.
        overwrite: whether an earlier search there is removed.

    Raises:
        ValueError: if the method cannot be tuned, or `search` is bad.
    """
    method = config.resolved["method"]["name"]
    cls = tuner_class(method)
    given = _fit_arguments(config)
    settings = checks.arguments("search", config.resolved["search"], cls, skip=GIVEN)
    stream = config.build_stream()
    shape = stream.input_shape  # may read data: once, not for every trial

    def build(alpha=None, beta=None):
        thresholds = {} if alpha is None else {"alpha": alpha, "beta": beta}
        return config.build_model(shape, **thresholds)

    tuner = cls(
        build,
        stream,
        **given,
        **settings,
        seed=config.seed,
        directory=str(directory),
        project_name=PROJECT,
        overwrite=overwrite,
    )
    tuner.own_oracle.meant = config.to_yaml()  # chief and workers of one search
    return tuner


def _fit_arguments(config) -> dict[str, int]:
    """Those of `training` that a tuner takes; what is changed of the others is refused.

    A search compares models by their scores on all tasks.
    """
    given = dict(config.fit_arguments)
    for key in config_lib.TESTING:
        value, default = given.pop(key), getattr(config_lib.Training, key)
        if value != default:
            raise ValueError(
                f"`training.{key}` must be {default} in a search, which tests all "
                f"tasks. Received: {value}"
            )
    return given


def draw(tuner, directory: Path) -> list[str]:
    """Writes the figures of a search; returns their names."""
    from keras_lifelong.report.style import to_png
    from keras_lifelong.search import figures

    high, low = tuner.oracle.names
    rows = tuner.rows()
    names = []
    for draw_one in (figures.front, figures.hypervolume):
        name = f"{draw_one.__name__}.png"
        write_atomic(directory / "figures" / name, to_png(draw_one(rows, low, high)))
        names.append(name)
    return names


def table(tuner) -> str:
    """The trials that none beats, as text."""
    high, low = tuner.oracle.names
    lines = [f"{'trial':>6}  {high:>10}  {low:>12}  values"]
    for trial in tuner.oracle.pareto_trials():
        found, values = tuner.oracle.measured(trial), trial.hyperparameters.values
        shown = ", ".join(
            f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}"
            for k, v in values.items()
        )
        lines.append(
            f"{trial.trial_id:>6}  {found[high]:>10.4f}  {found[low]:>12,.0f}  {shown}"
        )
    return "\n".join(lines)
