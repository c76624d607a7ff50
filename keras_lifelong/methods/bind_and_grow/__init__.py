"""BindAndGrow: learn to bind and grow neural structures (L2BG)."""

from keras_lifelong.methods.bind_and_grow.bind_and_grow import BindAndGrow

__all__ = ["BindAndGrow"]
