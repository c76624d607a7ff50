"""What layers themselves add to the loss, and whether rows of a batch meet in them."""

from __future__ import annotations

import contextlib

import keras
from keras import ops

from keras_lifelong import backend


class LayerLosses:
    """The losses of some layers, as `keras.Model.losses` has them.

    Args:
        layers: layers, those inside them included, that a loss goes through.
        variables: those that are trained: the regularizers of these count.
        shares: `shares(variables, arguments) -> list`: for each of `variables` the
            part of its regularizer that counts, a scalar, or None for all of it. None:
            all of all.
    """

    def __init__(self, layers, variables, shares=None):
        self._layers = list(layers)
        self._variables = list(variables)
        self._shares = shares
        self._some = any(v.regularizer is not None for v in self._variables)

    @contextlib.contextmanager
    def collected(self):
        """Within it, what the layers add as they are called is kept, then let go."""
        self._forget()
        try:
            yield self
        finally:
            self._forget()

    def added_to(self, value, arguments):
        """A loss and what the layers add to it, a scalar of float32."""
        for layer in self._layers:
            for loss in layer._get_own_losses():
                value = value + ops.cast(ops.sum(loss), "float32")
        if not self._some:
            return value
        shares = [None] * len(self._variables)
        if self._shares is not None:
            shares = self._shares(self._variables, arguments)
        for variable, share in zip(self._variables, shares, strict=True):
            if variable.regularizer is not None:
                cost = variable.regularizer(ops.convert_to_tensor(variable))
                value = value + (cost if share is None else share * cost)
        return value

    def _forget(self):
        for layer in self._layers:
            layer._losses.clear()
            layer._loss_ids.clear()


def flattened(layer) -> list:
    """A layer and all layers inside it."""
    return list(layer._flatten_layers())


def terms(layer) -> list[str]:
    """What a layer asks of training beside its outputs, by Keras' names.

    >>> terms(keras.layers.Dense(2, kernel_constraint="non_neg"))
    ['kernel_constraint']
    """
    known = ("regularizer", "constraint")
    config = layer.get_config()
    return [k for k, v in config.items() if k.endswith(known) and v is not None]


def refuse_constraints(method: str, weights: list, why: str, holds: tuple = ()):
    """Refuses constraints that would not hold under what a method does with weights.

    Args:
        method: named in messages.
        weights: variables of the backbone.
        why: they would not.
        holds: classes of constraints that do.

    Raises:
        ValueError: naming the weight.
    """
    for v in weights:
        if v.constraint is None or isinstance(v.constraint, holds):
            continue
        accepted = "".join(f" Accepted: {kind.__name__}." for kind in holds)
        raise ValueError(
            f"{method} cannot carry the weight {v.path!r} of `backbone`: {why}, so "
            f"that its constraint, {type(v.constraint).__name__}, would not hold. "
            f"Leave it out.{accepted}"
        )


def mixes_rows(layer) -> bool:
    """Whether a layer makes of one row's outputs something that others have a part in.

    Batch normalisation does, a regularizer of activities divides by the rows, and what
    a layer or a function of a user's own does is not known.

    >>> mixes_rows(keras.layers.Softmax()), mixes_rows(keras.layers.Softmax(axis=0))
    (False, True)
    """
    if layer.activity_regularizer is not None or isinstance(layer, _OF_ROWS):
        return True
    if getattr(layer, "mixes_rows", False) or 0 in _axes(layer):
        return True
    functions = (getattr(layer, name, None) for name in _FUNCTIONS)
    return not all(map(_is_known, (type(layer), *filter(callable, functions))))


_K = keras.layers
_OF_ROWS = (_K.BatchNormalization, _K.Lambda, _K.MixUp, _K.CutMix)
_FUNCTIONS = ("activation", "recurrent_activation")  # which a user may write


def _is_known(thing) -> bool:
    module = getattr(thing, "__module__", None) or type(thing).__module__
    return module.partition(".")[0] in ("keras", "keras_lifelong")


def _axes(operation) -> list:
    """The axes that it looks along; [None]: it doesn't say."""
    axis = getattr(operation, "axis", None)
    return list(axis) if isinstance(axis, list | tuple) else [axis]


def has_a_state(layer) -> bool:
    """Whether what a layer gives depends on how often it was called before.

    The states of random seeds do not count, nor those that rows have a part in (see
    `mixes_rows`).
    """
    return isinstance(layer, _K.SpectralNormalization) or bool(
        getattr(layer, "stateful", False)
    )


# Of `keras.ops`: those whose every output is made of one element of each input.
_BY_ELEMENT = frozenset(
    """Abs Absolute Add Cast Clip Cos Divide Elu Exp Gelu Maximum Minimum Multiply
    Negative NotEqual Power Relu Relu6 Sigmoid Silu Sin Softplus Sqrt Square Subtract
    Tanh TrueDivide""".split()
)


def rows_meet(step) -> bool:
    """As `mixes_rows`, of one of `keras.ops` in a graph.

    Those along an axis that is not the first keep to rows; of others it isn't known. Of
    a layer: whether it looks along an axis that is the first, told from the last.

    Args:
        step: a `Step` of a `Graph`.

    >>> from keras_lifelong.graph import Graph
    >>> x = keras.Input((3,))
    >>> graph = Graph(keras.Model(x, x - ops.mean(x, axis=0)))
    >>> [rows_meet(step) for step in graph.steps]
    [True, False]
    """
    operation = step.layer
    if type(operation).__name__ in _BY_ELEMENT:
        return False
    is_layer = isinstance(operation, keras.Layer)
    rank = len(step.inputs[0].shape) if step.inputs else 1
    axes = _axes(operation)
    return any(not is_layer if one is None else one % rank == 0 for one in axes)


def check_devices(meet: bool, layers: list) -> None:
    """Refuses devices of `keras.distribution` that would not learn what one does.

    They are those that are set now, maybe others than when the model was made.

    Args:
        meet: whether one of `keras.ops` in the network looks at several rows.
        layers: all of the network's.

    Raises:
        ValueError: naming the layers.
    """
    backend.check_devices()
    if not backend.computed_by_rows():
        return
    names = [layer.name for layer in layers if mixes_rows(layer) or has_a_state(layer)]
    if meet or names:
        raise ValueError(
            "On TensorFlow each device of `keras.distribution` computes some rows of a "
            "batch by themselves, and `backbone` makes of a row what others have a "
            "part in, or earlier calls: "
            f"{', '.join(names) or 'an operation along the batch'}. On JAX it is "
            "carried; else use one device, or LayerNormalization or "
            "GroupNormalization in the place of BatchNormalization."
        )
