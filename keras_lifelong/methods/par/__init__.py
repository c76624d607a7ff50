"""PAR: parameter allocation and regularisation by task distance."""

from keras_lifelong.methods.par.par import PAR

__all__ = ["PAR"]
