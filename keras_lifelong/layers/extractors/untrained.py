"""Extractors without weights of ImageNet: random ones, values, a network's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers.extractors.base import Extractor
from keras_lifelong.layers.extractors.base import register
from keras_lifelong.layers.extractors.whitening import Whitening
from keras_lifelong.seeds import derive_seed


@register("random_convolutions")
class RandomConvolutions(Extractor):
    """Layers of random 3x3 filters with ReLU and 2x2 pooling between them.

    Features are the mean and the standard deviation of every map of every layer. They
    are compared by their principal components over all tasks so far, whitened. Random
    filters keep much of what tells images apart (Jarrett et al., ICCV 2009). Without
    whitening most tasks look alike: on CIFAR-100's superclasses, groups then agree far
    less with the known ones (see the README).

    Args:
        filters: of each layer.
        components: how many are compared. None: the features as they are.
        seed: of the filters.
    """

    def __init__(
        self,
        filters: Sequence[int] = (64, 128, 256),
        components: int | None = 16,
        seed: int = 0,
    ):
        super().__init__(
            {
                "name": "random_convolutions",
                "filters": list(filters),
                "components": components,
                "seed": seed,
            }
        )
        if not len(filters) or any(not isinstance(n, int) or n < 1 for n in filters):
            raise ValueError(
                f"`filters` must be positive integers. Received: {filters!r}"
            )
        self._whiten = None if components is None else Whitening(components)
        self._kernels: dict[tuple[int, int], Any] = {}

    def _kernel(self, index: int, inputs: int):
        if (index, inputs) not in self._kernels:
            units, seed = self.config["filters"][index], self.config["seed"]
            init = keras.initializers.HeNormal(derive_seed(seed, "random", index))
            self._kernels[index, inputs] = init((3, 3, inputs, units))
        return self._kernels[index, inputs]

    def features(self, images):
        x, found = ops.convert_to_tensor(images), []
        for index in range(len(self.config["filters"])):
            if index and min(x.shape[1:3]) > 1:
                x = ops.max_pool(x, 2, 2, padding="same")
            x = ops.relu(ops.conv(x, self._kernel(index, x.shape[-1]), padding="same"))
            found += [ops.mean(x, axis=(1, 2)), ops.std(x, axis=(1, 2))]
        return ops.convert_to_numpy(ops.concatenate(found, axis=-1))

    def adapt(self, images):
        if self._whiten is not None:
            self._whiten.add(self(images))

    def project(self, features):
        return features if self._whiten is None else self._whiten(features)

    def count_params(self):
        kernels = sum(int(np.prod(kernel.shape)) for kernel in self._kernels.values())
        return kernels + (0 if self._whiten is None else self._whiten.count_params())

    def get_state(self):
        return {} if self._whiten is None else dict(self._whiten.state)

    def set_state(self, state):
        if self._whiten is not None:
            self._whiten.set_state(state)


@register("pca")
class PCA(Extractor):
    """The values of an example as they are, compared by whitened components.

    Components are those of all tasks so far. For data of any shape.

    Args:
        components: how many are compared; fewer if there are fewer values.
    """

    def __init__(self, components: int = 16):
        super().__init__({"name": "pca", "components": components})
        self._whiten = Whitening(components)

    def checked(self, images):
        images = np.asarray(images, "float32")
        if images.ndim < 2 or not len(images):
            raise ValueError(
                f"`images` must be (n, …) with n > 0. Received: shape {images.shape}"
            )
        return images

    def features(self, images):
        return images.reshape(len(images), -1)

    def adapt(self, images):
        self._whiten.add(self(images))

    def project(self, features):
        return self._whiten(features)

    def count_params(self):
        return self._whiten.count_params()

    def get_state(self):
        return dict(self._whiten.state)

    def set_state(self, state):
        self._whiten.set_state(state)


class Body(Extractor):
    """A network's own features: that of the first expert, once it has learned.

    Args:
        network: `keras.Model` of examples of any shape to vectors; it is not changed.
    """

    def __init__(self, network):
        super().__init__({"name": "body"})
        self.network = network

    def checked(self, images):
        return np.asarray(images, "float32")

    def features(self, images):
        return ops.convert_to_numpy(self.network(images, training=False))

    def count_params(self):
        return sum(int(np.prod(v.shape)) for v in self.network.variables)
