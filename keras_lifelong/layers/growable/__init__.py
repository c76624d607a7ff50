"""Layers whose units come and go without changing a shape.

A growable layer is stored at a *capacity*, and a vector of integer `timestamps` says
which of its units exist: 0 is free, k > 0 was born at stage k. Calling the layer at
stage s selects the outputs of `0 < timestamps <= s`, which is at once the state of
growth, DEN's timestamp (Yoon et al., ICLR 2018, section 3.4) and the inference mask. A
unit may also be retired from a stage on, for tasks that have a copy in its place.
Weights into and out of free units are exactly zero, so they get no gradient, move no
prediction and cost no parameter; only when a capacity overflows is storage made anew,
at the next multiple of `bucket`.

A kind of layer is a file here, which says by `@grows` what layer of Keras it stands
for; see `table`.
"""

import importlib
import pkgutil

from keras_lifelong.layers.growable.base import Growable
from keras_lifelong.layers.growable.conv2d import GrowableConv2D
from keras_lifelong.layers.growable.dense import GrowableDense
from keras_lifelong.layers.growable.normalization import GrowableBatchNormalization
from keras_lifelong.layers.growable.resizing import resize_inputs
from keras_lifelong.layers.growable.resizing import resize_last
from keras_lifelong.layers.growable.table import ByChannel
from keras_lifelong.layers.growable.table import PerUnit
from keras_lifelong.layers.growable.table import carries
from keras_lifelong.layers.growable.table import grows

for _found in pkgutil.iter_modules(__path__):  # each enters the table
    importlib.import_module(f"{__name__}.{_found.name}")

__all__ = [
    "ByChannel",
    "Growable",
    "GrowableBatchNormalization",
    "GrowableConv2D",
    "GrowableDense",
    "PerUnit",
    "carries",
    "grows",
    "resize_inputs",
    "resize_last",
]
