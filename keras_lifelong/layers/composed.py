"""A layer made of layers that Keras does not track."""

from __future__ import annotations

import keras


class Composed(keras.layers.Layer):
    """A layer that says itself which variables it has, and which of them are trained.

    A subclass has `variables` and `trainable_variables`; what Keras derives from those
    that it tracks follows from these two.
    """

    @property
    def non_trainable_variables(self):
        mine = {id(v) for v in self.trainable_variables}
        return [v for v in self.variables if id(v) not in mine]

    @property
    def weights(self):
        return self.variables

    @property
    def trainable_weights(self):
        return self.trainable_variables

    @property
    def non_trainable_weights(self):
        return self.non_trainable_variables
