"""What the arguments of ARI may be."""

from __future__ import annotations

import keras

from keras_lifelong import checks

SELECTIONS = ("estimator", "random", "exemplar_loss", "drawn")
KEEP = ("one", "each", "sum")
RATES = ("area", "steps")
HYPERNETWORKS = {
    "chunked": {
        "name": "chunked",
        "chunk": 200,
        "units": [100, 100],
        "chunk_embedding": 8,
        "slot_embedding": 8,
    },
    "structured": {
        "name": "structured",
        "units": [25, 25],
        "chunk_embedding": 8,
        "slot_embedding": 8,
    },
}


def check_options(**options) -> dict:
    """The options, if they are fine.

    Raises:
        ValueError: naming the argument, what was received and what is accepted.
    """

    require = checks.requirer(options)

    for name, least in (
        ("memory_budget", 1),
        ("training_budget", 1),
        ("initial", 1),
        ("exemplars", 1),
        ("interval", 1),
        ("adaptation", 0),
        ("storing_steps", 1),
        ("storing_batch", 4),
        ("estimator_epochs", 1),
        ("signature", 64),
    ):
        require(
            name,
            f"an integer of at least {least}",
            lambda v, n=least: checks.is_count(v, n),
        )
    for name in ("outputs", "horizon"):
        require(
            name,
            "None or an integer of at least 1",
            lambda v: v is None or checks.is_count(v),
        )
    for name, known in (
        ("selection", SELECTIONS),
        ("keep", KEEP),
        ("rate", RATES),
    ):
        require(name, f"one of {known}", lambda v, known=known: v in known)
    for name in ("head_bias", "rehearse"):
        require(name, "True or False", lambda v: isinstance(v, bool))
    require(
        "at_once", "None, True or False", lambda v: v is None or isinstance(v, bool)
    )
    for name in ("weight_decay", "function"):
        require(name, "at least 0", lambda v: v >= 0)
    require("storing_rate", "above 0", lambda v: v > 0)
    require("adaptation_scale", "above 0 and at most 1", lambda v: 0 < v <= 1)
    if options["initializer"] != "generated":
        keras.initializers.get(options["initializer"])  # raises if there is none
    if options["initial"] > options["memory_budget"]:
        raise ValueError(
            "`initial` must be at most `memory_budget`, which is "
            f"{options['memory_budget']}. Received: {options['initial']}."
        )
    options["hypernetwork"] = hypernetwork(options["hypernetwork"])
    return options


def hypernetwork(given) -> dict:
    """The name and arguments of a hypernetwork, from a name or a dict of some."""
    given = {"name": given} if isinstance(given, str) else given
    if not isinstance(given, dict) or given.get("name") not in HYPERNETWORKS:
        raise ValueError(
            f"`hypernetwork` must be one of {sorted(HYPERNETWORKS)}, or a dict of its "
            f"name and arguments. Received: {given!r}."
        )
    return {**HYPERNETWORKS[given["name"]], **given}
