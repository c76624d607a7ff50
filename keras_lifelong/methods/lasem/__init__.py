"""LASEM: lifelong learning with selective layer transfer."""

from keras_lifelong.methods.lasem.lasem import LASEM

__all__ = ["LASEM"]
