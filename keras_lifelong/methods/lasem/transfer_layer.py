"""A layer that a task shares with others or has for itself."""

from __future__ import annotations

import keras
from keras import ops

from keras_lifelong import backend
from keras_lifelong.layers.factorised import DeconvFactorizedConv2D
from keras_lifelong.layers.factorised import TuckerConv2D
from keras_lifelong.layers.factorised import TuckerDense
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import reseeded
from keras_lifelong.training.layer_losses import terms

K = keras.layers
SHARING = ("hps", "tf", "dfcnn")
CONVOLUTIONS = (
    *(K.Conv1D, K.Conv2D, K.Conv3D, K.DepthwiseConv1D, K.DepthwiseConv2D),
    *(K.SeparableConv1D, K.SeparableConv2D),
)
# What each mechanism makes of its factors
CARRIED = {
    "hps": (K.Dense, *CONVOLUTIONS),
    "tf": (K.Dense, K.Conv2D),
    "dfcnn": (K.Conv2D,),
}

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
    """A layer that exists twice: to share, and a task's own.

    Args:
        transfer: the layer used if shared: of the same class as `own`, or a
            factorised one (see `layers/factorised.py`).
        own: `keras.layers.Dense`, `Conv1D`, `Conv2D`, `Conv3D`, or a depthwise or
            separable convolution.

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
        """Its units, or filters; of a depthwise convolution all that it gives."""
        if isinstance(self.own, K.DepthwiseConv1D | K.DepthwiseConv2D):
            kernel = self.own.kernel.shape
            return int(kernel[-1]) * int(kernel[-2])
        return self.own.units if isinstance(self.own, K.Dense) else self.own.filters

    def variables_of(self, shared: bool) -> list:
        """What a task has for itself if it shares the layer, or if not."""
        return self.mapping_variables if shared else self.own_variables

    def penalty(self):
        """The mechanism's term of the loss while the layer is shared, a scalar."""
        if hasattr(self.transfer, "penalty"):
            return self.transfer.penalty()
        return ops.zeros(())

    @property
    def _has_one_kernel(self) -> bool:
        """Whether it is a kernel and a bias, of which filters may lie side by side."""
        own = self.own
        return type(own) is K.Dense or (type(own) is K.Conv2D and own.groups == 1)

    def chosen(self, shared):
        """Its arrays under a choice, in the order of the own layer's."""
        chosen = ops.convert_to_tensor(shared) > 0

        def choose(transfer, own):
            transfer, own = map(ops.convert_to_tensor, (transfer, own))  # JAX insists
            return ops.where(chosen, transfer, own)

        if not self._has_one_kernel:
            pairs = zip(self.transfer.variables, self.own.variables, strict=True)
            return [choose(*pair) for pair in pairs]
        found = [choose(self.transfer.kernel, self.own.kernel)]
        if self.own.use_bias:
            found.append(choose(self.transfer.bias, self.own.bias))
        return found

    def call(self, x, shared):
        return self._apply(x, *self.chosen(shared))

    def both(self, x):
        """Shared outputs and own ones, (2 batch, ...), stacked in this order.

        Where it can be, one convolution with twice the filters, whose outputs are then
        stacked.
        """
        pair = (self.transfer, self.own)
        if not self._has_one_kernel:
            return ops.concatenate([self.call(x, shared) for shared in (1, 0)])
        kernel = ops.concatenate([layer.kernel for layer in pair], axis=-1)
        arrays = [kernel]
        if self.own.use_bias:
            arrays.append(ops.concatenate([layer.bias for layer in pair], axis=-1))
        return ops.concatenate(ops.split(self._apply(x, *arrays), 2, axis=-1))

    def mixed(self, x, part):
        """A mixture of both outputs, after the activation.

        Args:
            x: (batch, ...).
            part: scalar in [0, 1], of the shared ones; the rest is of the own ones.
        """
        shared, own = ops.split(self.both(x), 2)
        part = ops.cast(part, shared.dtype)
        return part * shared + (1 - part) * own

    def halves(self, x):
        """Shared outputs of the batch's first half, own ones of its second."""
        first, second = ops.split(x, 2)
        return ops.concatenate(
            [self.call(first, shared=1), self.call(second, shared=0)]
        )

    def _apply(self, x, *arrays):
        own = self.own
        if not self._has_one_kernel:  # as Keras does it, with these arrays
            with backend.ValuesScope(own.variables, arrays):
                return own.call(x)
        kernel, *bias = arrays
        if isinstance(own, K.Dense):
            x = ops.matmul(x, kernel)
        else:
            x = own.convolution_op(x, ops.convert_to_tensor(kernel))
        x = ops.add(x, bias[0]) if bias else x
        return x if own.activation is None else own.activation(x)

    def compute_output_shape(self, input_shape, **kwargs):
        return self.own.compute_output_shape(input_shape)

    def plain(self, shared: bool) -> tuple:
        """An ordinary layer that does what this one does under a choice; its arrays."""
        layer = type(self.own).from_config(self.own.get_config())
        values = self.chosen(int(shared))
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


def deconv_channels(layers: dict) -> dict:
    """Published sizes for the published networks; elsewhere the layer's own rule.

    Args:
        layers: Conv2D layers by path, from the input up.
    """
    key = tuple((x.filters, x.kernel_size[0]) for x in layers.values())
    published = _PUBLISHED.get(key, [None] * len(layers))
    return dict(zip(layers, published, strict=True))


def refusal(layer, sharing: str) -> str | None:
    """Why a layer cannot be shared by a mechanism; None if it can."""
    known = [cls.__name__ for cls in CARRIED[sharing]]
    if type(layer) not in CARRIED[sharing]:
        way_out = "" if sharing == "hps" else ", and `sharing='hps'` for more"
        return f"`sharing={sharing!r}` is for {', '.join(known)} layers{way_out}"
    if sharing == "hps" or type(layer) is K.Dense:
        return None
    if layer.groups != 1 or layer.data_format != "channels_last":
        return (
            f"`sharing={sharing!r}` is for Conv2D layers that are ungrouped and "
            "channels-last; use `sharing='hps'`"
        )
    if sharing == "dfcnn" and len(set(layer.kernel_size)) != 1:
        return (
            "`sharing='dfcnn'` is for Conv2D layers of square kernels; use "
            "`sharing='hps'`"
        )
    return None


def transfer_layer(
    layer, path: str, place: int, sharing: str, seed: int, channels, method: str
):
    """The layer to share in place of one of the backbone's.

    Args:
        layer: one that the mechanism carries (see `refusal`).
        path: of the layer, named in refusals.
        place: its place among the backbone's layers, from which, with `seed`, its
            seeds are derived. Not from its name: Keras counts unnamed layers up, so
            that a second model of the same code would begin elsewhere.
        sharing: see `TransferNetwork`.
        channels: DF-CNN's (knowledge base, deconvolution). None: the layer's own rule.
        method: named in refusals.
    """
    config = layer.get_config()
    if sharing == "hps":
        for name in [key for key in config if key.endswith("_initializer")]:
            if not isinstance(
                getattr(layer, name, None), keras.initializers.Initializer
            ):
                continue  # of a kernel that this class has not
            part = derive_seed(seed, "shared", place, name)
            config[name] = keras.initializers.serialize(
                reseeded(getattr(layer, name), part)
            )
        return type(layer).from_config(config)
    asked = [k for k in terms(layer) if k != "activity_regularizer"]
    if asked:
        raise ValueError(
            f"{method} cannot carry the layer {path!r} of `backbone` with "
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


def begin_from(transfer: TransferLayer, arrays: list) -> None:
    """Gives both halves of a layer weights to begin from, as far as they can take them.

    The own half takes them as they are, a hard-shared one as well. Of a tensor
    factorisation the core is the kernel and the factors are the identity, which is the
    same layer. DF-CNN's factors cannot be found from a kernel: they stay as drawn.

    Args:
        transfer: a `TransferLayer`.
        arrays: of the backbone's layer, in its order.
    """
    transfer.own.set_weights(arrays)
    shared = transfer.transfer
    if hasattr(shared, "core"):
        shared.core.assign(arrays[0])
        for factor in shared.factors:
            factor.assign(ops.eye(factor.shape[0]))
        if shared.bias is not None:
            shared.bias.assign(arrays[1])
    elif not hasattr(shared, "generate_kernel"):
        shared.set_weights(arrays)
