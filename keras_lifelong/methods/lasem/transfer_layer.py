"""A layer that a task shares with others or has for itself."""

from __future__ import annotations

import keras
from keras import ops

from keras_lifelong.layers.factorised import DeconvFactorizedConv2D
from keras_lifelong.layers.factorised import TuckerConv2D
from keras_lifelong.layers.factorised import TuckerDense
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import reseeded
from keras_lifelong.training.layer_losses import terms

K = keras.layers
SHARING = ("hps", "tf", "dfcnn")

# DF-CNN's channels (knowledge base, deconvolution) by (filters, kernel size) of the
# networks for which they were published.
_PUBLISHED = {
    ((32, 3), (32, 3), (64, 3), (64, 3)): ((16, 24), (24, 48), (32, 64), (36, 72)),
    ((64, 11), (256, 5), (256, 3), (256, 3)): (
        (24, 48),
        (64, 128),
        (64, 128),
        (64, 128),
    ),
    ((32, 3), (32, 3), (64, 3), (64, 3), (128, 3), (128, 3)): (
        (12, 24),
        (24, 48),
        (32, 64),
        (48, 96),
        (64, 128),
        (96, 192),
    ),
}


@keras.saving.register_keras_serializable(package="keras_lifelong")
class TransferLayer(keras.layers.Layer):
    """A Dense or Conv2D layer that exists twice: to share, and a task's own.

    Args:
        transfer: the layer used if shared: of the same class as `own`, or a
            factorised one (see `layers/factorised.py`).
        own: `keras.layers.Dense` or `keras.layers.Conv2D`.

    Call arguments:
        x: (batch, ...).
        shared: scalar, 1 to use `transfer`, 0 to use `own`.
    """

    def __init__(self, transfer, own, **kwargs):
        super().__init__(name=own.name, **kwargs)
        self.transfer = transfer
        self.own = own

    def build(self, input_shape):
        self.transfer.build(input_shape)
        self.own.build(input_shape)
        self.built = True

    @property
    def shared_variables(self) -> list:
        """What tasks use together."""
        return list(getattr(self.transfer, "shared_variables", self.transfer.variables))

    @property
    def mapping_variables(self) -> list:
        """What a task needs beside them to use them."""
        return list(getattr(self.transfer, "mapping_variables", []))

    @property
    def own_variables(self) -> list:
        """The layer of a task that does not share."""
        return list(self.own.variables)

    @property
    def units(self) -> int:
        """Its units, or filters."""
        return self.own.units if isinstance(self.own, K.Dense) else self.own.filters

    def variables_of(self, shared: bool) -> list:
        """What a task has for itself if it shares the layer, or if not."""
        return self.mapping_variables if shared else self.own_variables

    def penalty(self):
        """The mechanism's term of the loss while the layer is shared, a scalar."""
        if hasattr(self.transfer, "penalty"):
            return self.transfer.penalty()
        return ops.zeros(())

    def chosen(self, shared):
        """Kernel and bias (None without) under a choice."""
        chosen = ops.convert_to_tensor(shared) > 0

        def choose(transfer, own):
            transfer, own = map(ops.convert_to_tensor, (transfer, own))  # JAX insists
            return ops.where(chosen, transfer, own)

        kernel = choose(self.transfer.kernel, self.own.kernel)
        if not self.own.use_bias:
            return kernel, None
        return kernel, choose(self.transfer.bias, self.own.bias)

    def call(self, x, shared):
        return self._apply(x, *self.chosen(shared))

    def both(self, x):
        """Shared outputs and own ones, (2 batch, ...), stacked in this order.

        One convolution with twice the filters, whose outputs are then stacked.
        """
        pair = (self.transfer, self.own)
        kernel = ops.concatenate([layer.kernel for layer in pair], axis=-1)
        bias = None
        if self.own.use_bias:
            bias = ops.concatenate([layer.bias for layer in pair], axis=-1)
        return ops.concatenate(ops.split(self._apply(x, kernel, bias), 2, axis=-1))

    def halves(self, x):
        """Shared outputs of the batch's first half, own ones of its second."""
        first, second = ops.split(x, 2)
        return ops.concatenate(
            [self.call(first, shared=1), self.call(second, shared=0)]
        )

    def _apply(self, x, kernel, bias):
        own = self.own
        if isinstance(own, K.Dense):
            x = ops.matmul(x, kernel)
        else:
            x = own.convolution_op(x, ops.convert_to_tensor(kernel))
        x = x if bias is None else ops.add(x, bias)
        return x if own.activation is None else own.activation(x)

    def compute_output_shape(self, input_shape, **kwargs):
        return self.own.compute_output_shape(input_shape)

    def plain(self, shared: bool) -> tuple:
        """An ordinary layer that does what this one does under a choice; its arrays."""
        layer = type(self.own).from_config(self.own.get_config())
        values = [v for v in self.chosen(int(shared)) if v is not None]
        return layer, [ops.convert_to_numpy(v) for v in values]

    def get_config(self):
        layers = {"transfer": self.transfer, "own": self.own}
        layers = {k: keras.saving.serialize_keras_object(v) for k, v in layers.items()}
        return {**super().get_config(), **layers}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        config.pop("name", None)
        for key in ("transfer", "own"):
            config[key] = keras.saving.deserialize_keras_object(config[key])
        return cls(**config)


def deconv_channels(backbone, names) -> dict[str, tuple[int, int]]:
    """Published sizes for the published networks; elsewhere the layer's own rule."""
    convolutions = [x for x in backbone.layers if x.name in names]
    if any(type(x) is not K.Conv2D for x in convolutions):
        raise ValueError(
            "`sharing='dfcnn'` is for Conv2D layers. "
            f"Received `searched` layers {list(names)}."
        )
    key = tuple((x.filters, x.kernel_size[0]) for x in convolutions)
    published = _PUBLISHED.get(key, [None] * len(names))
    return dict(zip(names, published, strict=True))


def transfer_layer(layer, place: int, sharing: str, seed: int, channels):
    """The layer to share in place of one of the backbone's.

    Args:
        layer: Dense or Conv2D.
        place: its place among the backbone's layers, from which, with `seed`, its
            seeds are derived. Not from its name: Keras counts unnamed layers up, so
            that a second model of the same code would begin elsewhere.
        sharing: see `TransferNetwork`.
        channels: DF-CNN's (knowledge base, deconvolution). None: the layer's own rule.
    """
    config = layer.get_config()
    if sharing == "hps":
        for name in ("kernel_initializer", "bias_initializer"):
            part = derive_seed(seed, "shared", place, name)
            config[name] = keras.initializers.serialize(
                reseeded(getattr(layer, name), part)
            )
        return type(layer).from_config(config)
    asked = [k for k in terms(layer) if k != "activity_regularizer"]
    if asked:
        raise ValueError(
            f"LASEM cannot carry the layer {layer.name!r} of `backbone` with "
            f"sharing={sharing!r}: its {asked[0]} is of a kernel, which is made of "
            "factors here. Use sharing='hps'."
        )
    config = {
        k: v
        for k, v in config.items()
        if not k.endswith(("initializer", "regularizer", "constraint"))
        and k not in ("lora_rank", "lora_alpha", "quantization_config")
    }
    config["seed"] = derive_seed(seed, "shared", place)
    if sharing == "tf":
        tucker = TuckerDense if type(layer) is K.Dense else TuckerConv2D
        return tucker.from_config(config)
    if channels is not None:
        config["knowledge_channels"], config["deconv_channels"] = channels
    return DeconvFactorizedConv2D.from_config(config)
