"""Kinds of heads: what a task's labels mean, and what its outputs are trained with.

A kind is a file here, with a class decorated with `@register(name)`; `TaskSpec`, the
checks of labels, losses, metrics and distillation ask it. One of your own may be
registered from anywhere, before a `TaskSpec` of it is made.

    >>> from keras_lifelong import heads
    >>> heads.names()
    ['binary', 'categorical', 'multilabel', 'regression', 'sequence']
    >>> heads.get("categorical").loss(None)
    'softmax'

Importing this costs NumPy only; Keras is imported when a loss is computed.
"""

import importlib
import pkgutil

from keras_lifelong.heads.kind import HeadKind
from keras_lifelong.heads.kind import get
from keras_lifelong.heads.kind import loss_choices
from keras_lifelong.heads.kind import names
from keras_lifelong.heads.kind import register
from keras_lifelong.heads.kind import that
from keras_lifelong.heads.losses import HeadLoss
from keras_lifelong.heads.losses import get_loss
from keras_lifelong.heads.losses import register_loss

for _found in pkgutil.iter_modules(__path__):  # each registers its kind
    importlib.import_module(f"{__name__}.{_found.name}")

__all__ = [
    "HeadKind",
    "HeadLoss",
    "get",
    "get_loss",
    "loss_choices",
    "names",
    "register",
    "register_loss",
    "that",
]
