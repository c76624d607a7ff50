"""Several networks of which one is in use: experts of other cells, more columns."""

from __future__ import annotations

import keras


class _Kept:
    """Networks by key. A plain object, so that Keras tracks none of them."""

    def __init__(self, key: str):
        self.networks: dict[str, keras.Model] = {}
        self.key = key


class SwitchedNetwork(keras.layers.Layer):
    """Stands for the network in use of several; their weights are kept elsewhere.

    Networks are made when first used and stay, so that what was compiled for one
    serves whenever it is used again.

    Args:
        make: `make(key) -> keras.Model`.
        key: of the network in use at first.
    """

    def __init__(self, make, key: str, **kwargs):
        super().__init__(**kwargs)
        self._make = make
        self._kept = _Kept(key)
        self.use(key)
        self.built = True

    def use(self, key: str):
        """Changes which network is in use."""
        self.of(key)
        self._kept.key = key

    def of(self, key: str) -> keras.Model:
        """The network of a key, made if it is not there yet."""
        networks = self._kept.networks
        if key not in networks:
            networks[key] = self._make(key)
        return networks[key]

    def current(self) -> keras.Model:
        """The network in use. Not a property: Keras would save what it finds there."""
        return self._kept.networks[self._kept.key]

    def call(self, x, training=False):
        return self.current()(x, training=training)

    def compute_output_shape(self, input_shape):
        return self.current().compute_output_shape(input_shape)

    @property
    def output_shape(self):
        return self.current().output_shape

    @property
    def variables(self):
        return self.current().variables

    @property
    def weights(self):
        return self.current().weights

    @property
    def trainable_variables(self):
        return self.current().trainable_variables

    @property
    def non_trainable_variables(self):
        return self.current().non_trainable_variables

    @property
    def trainable_weights(self):
        return self.current().trainable_weights

    @property
    def non_trainable_weights(self):
        return self.current().non_trainable_weights

    def summary(self, **kwargs):
        """Prints the network in use."""
        self.current().summary(**kwargs)
