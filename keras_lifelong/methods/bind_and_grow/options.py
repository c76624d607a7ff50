"""What the arguments of BindAndGrow may be."""

from __future__ import annotations

from keras_lifelong.methods.bind_and_grow.similarity import GROW_SCORES

CHOICES = {
    "retention": ("slow", "freeze", "same"),
    "grow_score": GROW_SCORES,
    "bind": ("similar", "released"),
    "grow_init": ("bound", "root", "independent", "fresh"),
}


def check_options(**options) -> dict:
    """The options, if they are fine.

    Raises:
        ValueError: naming the argument, what was received and what is accepted.
    """

    def require(name, accepted, fine):
        if not fine:
            value = options[name]
            raise ValueError(f"`{name}` must be {accepted}. Received: {value!r}.")

    def number(value, low, high):
        real = isinstance(value, int | float) and not isinstance(value, bool)
        return real and low <= value <= high

    for name, known in CHOICES.items():
        require(name, f"one of {known}", options[name] in known)
    given = options["grow_coefficient"]
    values = given.values() if isinstance(given, dict) else [given]
    require(
        "grow_coefficient",
        "in [0, 1], or a dict of such numbers by task",
        all(number(v, 0, 1) for v in values),
    )
    ratio = options["slow_ratio"]
    require("slow_ratio", "in (0, 1]", number(ratio, 0, 1) and ratio > 0)
    given = options["bind_rank"]
    ranks = given.values() if isinstance(given, dict) else [given]
    require(
        "bind_rank",
        "an integer of at least 0, or a dict of them by task",
        all(isinstance(v, int) and v >= 0 for v in ranks),
    )
    groups = options["groups"]
    whole = isinstance(groups, int) and not isinstance(groups, bool) and groups > 1
    require("groups", "None or an integer of 2 or more", groups is None or whole)
    count = options["samples"]
    require("samples", "an integer of 3 or more", isinstance(count, int) and count > 2)
    for name in ("random_growth", "center"):
        require(name, "True or False", isinstance(options[name], bool))
    for name, what in (("candidates", list), ("bind_to", str)):
        given = options[name]
        fine = given is None or (
            isinstance(given, dict) and all(isinstance(v, what) for v in given.values())
        )
        words = "lists of names" if what is list else "names"
        require(name, f"None or a dict of {words} of tasks, by task", fine)
    return options
