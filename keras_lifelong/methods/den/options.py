"""The constructor arguments of DEN, checked before anything costs time."""

from __future__ import annotations

from keras_lifelong import checks

COEFFICIENTS = (
    "l1",
    "l2",
    "group_lasso",
    "drift",
    "loss_threshold",
    "split_threshold",
    "head_l1",
)


def check_options(**options) -> dict:
    """Returns DEN's options, if all are in range.

    Raises:
        ValueError: naming the argument, what was received and what is accepted.
    """
    require = checks.requirer(options)
    for name in ("growth", "bucket"):
        require(name, "an integer of at least 1", checks.is_count)
    require(
        "head_epochs",
        "an integer of at least 1, or None",
        lambda value: value is None or checks.is_count(value),
    )
    require(
        "expansion",
        "'dynamic', 'constant' or None",
        lambda value: value in ("dynamic", "constant", None),
    )
    for name in COEFFICIENTS:
        require(
            name,
            "a number of at least 0",
            lambda value: isinstance(value, int | float) and value >= 0,
        )
    return options
