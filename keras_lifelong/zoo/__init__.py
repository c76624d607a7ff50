"""The zoo: pretrained models that the package ships, and how others are published.

>>> from keras_lifelong import zoo
>>> "den_digits" in zoo.names()
True
"""

from __future__ import annotations

from keras_lifelong.zoo.publishing import publish
from keras_lifelong.zoo.publishing import upload_preset
from keras_lifelong.zoo.shipped import describe
from keras_lifelong.zoo.shipped import names
from keras_lifelong.zoo.shipped import path

__all__ = ["describe", "names", "path", "publish", "upload_preset"]
