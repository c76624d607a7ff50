"""What the arguments of PAR may be."""

from __future__ import annotations

import inspect

from keras_lifelong import checks
from keras_lifelong.layers.augmentation import CropFlip
from keras_lifelong.methods.par.mdl import RULES
from keras_lifelong.metrics.task_distance import REFERENCES
from keras_lifelong.training import schedules

SCHEDULES = ("cosine", "plateau", None)


def check_options(**options) -> dict:
    """The options, if they are fine.

    Raises:
        ValueError: naming the argument, what was received and what is accepted.
    """

    require = checks.requirer(options)
    for name in ("alpha", "beta"):
        require(name, "in [0, 1]", lambda v: 0 <= v <= 1)
    for name, known in (
        ("reference", REFERENCES),
        ("rule", RULES),
        ("schedule", SCHEDULES),
    ):
        require(name, f"one of {known}", lambda v, known=known: v in known)
    require("search", "True or False", lambda v: isinstance(v, bool))
    for name, least in (
        ("search_epochs", 1),
        ("search_filters", 2),
        ("tiny", 0),
        ("patience", 1),
    ):
        require(
            name,
            f"None or an integer of at least {least}",
            lambda v, least=least: v is None or (isinstance(v, int) and v >= least),
        )
    require("freeze_ratio", "None or in [0, 1]", lambda v: v is None or 0 <= v <= 1)
    require("temperature", "above 0", lambda v: v > 0)
    for name in ("distillation", "clip_norm"):
        require(name, "at least 0", lambda v: v >= 0)
    require(
        "weight_decay",
        "a number of at least 0, or a list of them",
        lambda v: (v and all(d >= 0 for d in v)) if isinstance(v, list) else v >= 0,
    )
    for name, callee, fixed in (
        ("plateau", schedules.plateau, {"rate", "monitor", "higher_is_better"}),
        ("augmentation", CropFlip.__init__, {"self", "seed", "kwargs"}),
    ):
        known = [p for p in inspect.signature(callee).parameters if p not in fixed]
        require(
            name,
            f"None or a dict of {', '.join(known)}",
            lambda v, known=known: (
                v is None or (isinstance(v, dict) and set(v) <= set(known))
            ),
        )
    return options
