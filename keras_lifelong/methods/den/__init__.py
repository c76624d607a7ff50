"""DEN: lifelong learning with dynamically expandable networks."""

from keras_lifelong.methods.den.den import DEN

__all__ = ["DEN"]
