"""ARI: a knowledge base of parameters, chosen by their predicted adaptation."""

from keras_lifelong.methods.ari.ari import ARI

__all__ = ["ARI"]
