"""The base of all methods and baselines."""

from keras_lifelong.model.lifelong import LifelongModel

__all__ = ["LifelongModel"]
