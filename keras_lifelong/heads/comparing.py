"""How the outputs of two heads of a kind are compared."""

from __future__ import annotations

from keras_lifelong.heads.kind import get
from keras_lifelong.heads.losses import get_loss

CLASSES, YES_NO, NUMBERS = "classes", "yes_no", "numbers"


def comparison(kind: str) -> str | None:
    """How the outputs of two heads of a kind are compared.

    Args:
        kind: of a task; see `keras_lifelong.heads`.

    Returns:
        `CLASSES`, as logits of classes that exclude each other; `YES_NO`, each output
        by itself as the logit of a yes; `NUMBERS`, by their squared difference; or
        None, where it is not known how.

    >>> [comparison(kind) for kind in ("binary", "multilabel", "regression")]
    ['classes', 'yes_no', 'numbers']
    """
    of = get(kind)
    if of.distillable:
        return CLASSES
    activation = get_loss(of.losses[0]).activation
    return {"sigmoid": YES_NO, "linear": NUMBERS}.get(activation)
