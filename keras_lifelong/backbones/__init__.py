"""Named backbones: the hidden layers of a network, for an input shape.

A backbone has no head: heads are the lifelong model's own, one per task. Its layers
are named `dense`, `dense_1`, … in order, whatever was built before in the process,
so that results and presets of two runs name the same layer alike. `without_head` and
`pooled` make backbones of networks from elsewhere.

    >>> backbone = get("mlp", (28, 28, 1), units=[312, 128])
    >>> [layer.name for layer in backbone.layers]
    ['flatten', 'dense', 'dense_1']
"""

from keras_lifelong.backbones import cells  # noqa: F401 - registers its own
from keras_lifelong.backbones import efficientnet  # noqa: F401 - registers its own
from keras_lifelong.backbones import recurrent  # noqa: F401 - registers its own
from keras_lifelong.backbones import residual  # noqa: F401 - registers its own
from keras_lifelong.backbones import sequential  # noqa: F401 - registers its own
from keras_lifelong.backbones.cutting import pooled
from keras_lifelong.backbones.cutting import without_head
from keras_lifelong.backbones.registry import function
from keras_lifelong.backbones.registry import get
from keras_lifelong.backbones.registry import names
from keras_lifelong.backbones.registry import register
from keras_lifelong.backbones.serialised import from_layers

__all__ = [
    "from_layers",
    "function",
    "get",
    "names",
    "pooled",
    "register",
    "without_head",
]
