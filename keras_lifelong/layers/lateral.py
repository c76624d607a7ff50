"""What a layer hears of the columns before its own: lateral connections."""

from __future__ import annotations

from typing import Literal

from keras import layers as K
from keras import ops

from keras_lifelong.graph import with_mask_of

Lateral = Literal["joint", "apart"]


class Narrow(K.Layer):
    """relu(V (α ⊙ h) + b) of the outputs h of earlier columns, side by side.

    Args:
        columns: how many, n.
        units: width of what it gives, m.

    Call arguments:
        x: (batch, ..., n · c), the columns one after the other.
    """

    def __init__(self, columns: int, units: int, **kwargs):
        super().__init__(**kwargs)
        self.columns, self.units = columns, units
        self.supports_masking = True

    def build(self, input_shape):
        width = input_shape[-1]
        self.scales = self.add_weight((self.columns, 1, 1), "ones", name="scales")
        self.kernel = self.add_weight((width, self.units), name="kernel")
        self.bias = self.add_weight((self.units,), "zeros", name="bias")
        self.built = True

    def scaled(self):
        """V with the rows of each column times its α."""
        shape = (self.columns, -1, self.units)
        kernel = ops.reshape(ops.convert_to_tensor(self.kernel), shape)
        scaled = kernel * ops.convert_to_tensor(self.scales)
        return ops.reshape(scaled, self.kernel.shape)

    def call(self, x):
        return ops.relu(ops.add(ops.matmul(x, self.scaled()), self.bias))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def plain(self):
        """A `Dense` layer that does the same, built."""
        layer = K.Dense(self.units, "relu", name=self.name, dtype=self.dtype_policy)
        layer.build((None, self.kernel.shape[0]))
        layer.set_weights([ops.convert_to_numpy(v) for v in (self.scaled(), self.bias)])
        return layer


class Adapter:
    """U relu(V [α_1 h_1, …, α_n h_n] + b): what a layer hears of earlier columns.

    Args:
        columns: how many there are, n, at least 1.
        width: channels of each, c.
        widen: the layer U.
        lateral: "joint": V leads from all columns to c channels (Rusu et al.);
            "apart": a V for each, to c / (2 (n + 1)) channels (as LASEM's program).
        name: of the layers.
        dtype: their `keras.DTypePolicy`.
    """

    def __init__(self, columns, width, widen, lateral: Lateral, name: str, dtype):
        self.widen, self.add = widen, K.Add(name=f"{name}_sum", dtype=dtype)
        self.side_by_side = K.Concatenate(name=f"{name}_beside", dtype=dtype)
        self._plain: list = []
        if lateral == "joint":
            self.narrow = [Narrow(columns, width, name=f"{name}_narrow", dtype=dtype)]
        else:
            units = max(width // (2 * (columns + 1)), 1)
            self.narrow = [
                Narrow(1, units, name=f"{name}_narrow_{i}", dtype=dtype)
                for i in range(columns)
            ]

    @property
    def layers(self) -> list:
        return [*self.narrow, self.widen, self.side_by_side, self.add]

    @property
    def weighted(self) -> list:
        """Those of its layers that have weights."""
        return [*self.narrow, self.widen]

    def __call__(self, x, earlier: list, plain: bool = False):
        """The sum of x and of what is heard, under the mask of x.

        Args:
            x: (batch, …), of the own column.
            earlier: outputs (batch, …, c) of the earlier columns.
            plain: whether only Keras' own layers are to be called.
        """
        narrow = self.narrow
        if plain:
            self._plain = self._plain or [layer.plain() for layer in self.narrow]
            narrow = self._plain
        if len(narrow) == 1:
            joint = self.side_by_side(earlier) if len(earlier) > 1 else earlier[0]
            heard = narrow[0](joint)
        else:
            pairs = zip(narrow, earlier, strict=True)
            heard = self.side_by_side([layer(h) for layer, h in pairs])
        # Attention takes the masks off what it is given, earlier columns' included.
        return with_mask_of(x, self.add([x, self.widen(heard)]))


def without_bias(layer, name: str):
    """A layer U beside a layer W: of the same sizes and strides."""
    config = {
        k: v
        for k, v in layer.get_config().items()
        if k not in ("activation", "lora_rank", "lora_alpha", "quantization_config")
        and not k.startswith(("bias_", "activity_"))
    }
    config |= {"name": name, "use_bias": False}
    if "groups" in config:
        config["groups"] = 1
    return type(layer).from_config(config)
