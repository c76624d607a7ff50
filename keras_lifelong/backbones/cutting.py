"""Backbones out of networks that people have: classifiers cut off, outputs pooled.

They go over what `keras.applications` and keras-hub give, and over one's own networks.
Keras is imported when a function is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    import keras

_ACTIVATIONS = ("Activation", "ELU", "Identity", "LeakyReLU", "ReLU", "Softmax")
_OPERATIONS = (
    *("Relu", "Relu6", "Sigmoid", "Softmax", "LogSoftmax", "Tanh", "Elu", "Selu"),
    *("Silu", "Gelu", "LeakyRelu", "Softplus", "Softsign", "HardSigmoid", "HardSilu"),
)
HOW = ("avg", "max", "flatten", "last")


def without_head(model: keras.Model) -> keras.Model:
    """A network without its classifier: what feeds it is the output.

    The rule: from the output back over activations alone, the first layer is the
    classifier, and it must be a Dense. If it lies at the end of a nested model, that
    one is cut. Nothing else is cut: dropout before the classifier stays.

    Args:
        model: a built `keras.Sequential` or functional `keras.Model` of one output. It
            is not changed.

    Returns:
        A model of the same layers, with their weights: a `keras.Sequential` of a
        Sequential, else a functional model. `pooled` brings its output to
        (batch, width) where it is not.

    Raises:
        ValueError: naming the layer, if another one than a Dense stands there, or
            nothing would be left.

    Example:

    >>> import keras
    >>> network = keras.applications.MobileNet((32, 32, 3), weights=None, classes=3)
    >>> try:
    ...     without_head(network)
    ... except ValueError as error:
    ...     print(str(error)[:62])
    The classifier of 'mobilenet_1.00_32' must be a Dense. Receive
    >>> layers = [keras.Input((4,)), keras.layers.Dense(5), keras.layers.Dense(3)]
    >>> without_head(keras.Sequential(layers)).output_shape
    (None, 5)
    """
    import keras

    from keras_lifelong import graph

    _check_model(model)
    if len(model.outputs) != 1:
        raise ValueError(
            f"`model` must have one output. Received: {model.name!r} with "
            f"{len(model.outputs)}."
        )
    if isinstance(model, keras.Sequential):
        return _shorter(model)
    tensor = model.outputs[0]
    layer, given = graph.giver(tensor)
    while _is_activation(layer):
        layer, given = graph.giver(given[0])
    if graph.is_graph(layer):
        inner = without_head(layer)
        tensor = inner(given[0] if len(given) == 1 else given)
    else:
        _check_dense(model, layer)
        tensor = given[0]
    if graph.giver(tensor)[1] == []:
        raise ValueError(f"Nothing is left of {model.name!r} without its classifier.")
    return keras.Model(graph.structure_of(model), tensor, name=model.name)


def pooled(
    model: keras.Model, how: str = "avg", output: str | None = None
) -> keras.Model:
    """A network whose output is features, (batch, width).

    Args:
        model: a built `keras.Sequential` or functional `keras.Model`, whose output is
            (batch, …, channels). It is not changed.
        how: "avg" and "max" take the mean and the largest over all positions, "flatten"
            puts them side by side, "last" takes the last step of a sequence (batch,
            steps, channels), whatever masks say. "avg" over a sequence counts what a
            mask leaves.
        output: the key of the output, of a model that gives a dict of them, as many of
            keras-hub do.

    Returns:
        A model of the same layers, with their weights; `model` itself, if its output is
        of that shape.

    Raises:
        ValueError: if an argument is not as said here.

    Example:

    >>> import keras
    >>> network = keras.Sequential([keras.Input((4, 2)), keras.layers.Conv1D(3, 2)])
    >>> [pooled(network, how).output_shape for how in HOW]
    [(None, 3), (None, 3), (None, 9), (None, 3)]
    """
    import keras

    from keras_lifelong import graph

    _check_model(model)
    if how not in HOW:
        raise ValueError(f"`how` must be one of {HOW}. Received: {how!r}.")
    tensor = _output(model, output)
    rank = len(tensor.shape)
    if rank == 2 and tensor is model.outputs[0] and len(model.outputs) == 1:
        return model
    if not 2 <= rank <= 5 or (how == "last" and rank != 3):
        raise ValueError(
            f"`how={how!r}` goes over outputs of 3 to 5 dimensions, 'last' over those "
            f"of 3. Received: {model.name!r} with an output of shape "
            f"{tuple(tensor.shape)}."
        )
    if rank == 2:
        return keras.Model(graph.structure_of(model), tensor, name=model.name)
    if how == "last":
        return keras.Model(graph.structure_of(model), tensor[:, -1], name=model.name)
    kinds = {"avg": "GlobalAveragePooling", "max": "GlobalMaxPooling"}
    name = "Flatten" if how == "flatten" else f"{kinds[how]}{rank - 2}D"
    layer = getattr(keras.layers, name)(name="features")
    if isinstance(model, keras.Sequential):
        return keras.Sequential([_input(model), *model.layers, layer], name=model.name)
    return keras.Model(graph.structure_of(model), layer(tensor), name=model.name)


def _check_model(model: Any) -> None:
    from keras_lifelong import graph

    if not graph.is_graph(model):
        raise ValueError(
            "`model` must be a built keras.Sequential or a functional keras.Model. "
            f"Received: {type(model).__name__}."
        )


def _input(model: Any) -> Any:
    import keras

    (given,) = model.inputs
    return keras.Input(batch_shape=tuple(given.shape), dtype=given.dtype)


def _output(model: Any, key: str | None) -> Any:
    from keras_lifelong import graph

    given = graph.structure_of(model, "outputs")
    if isinstance(given, dict) and key in given:
        return given[key]
    if key is None and len(model.outputs) == 1:
        return model.outputs[0]
    known = sorted(given) if isinstance(given, dict) else None
    raise ValueError(
        f"`output` must name one of the outputs of {model.name!r}, {known}. "
        f"Received: {key!r}."
    )


def _is_activation(layer: Any) -> bool:
    import keras

    known = _ACTIVATIONS if isinstance(layer, keras.Layer) else _OPERATIONS
    return type(layer).__name__ in known


def _check_dense(model: Any, layer: Any) -> None:
    import keras

    if not isinstance(layer, keras.layers.Dense):
        raise ValueError(
            f"The classifier of {model.name!r} must be a Dense. Received: the layer "
            f"{layer.name!r} ({type(layer).__name__}) at its end. Build the network "
            "without its classifier (`include_top=False`), and bring the output to "
            "(batch, width) with `pooled`."
        )


def _shorter(model: keras.Sequential) -> keras.Sequential:
    """A Sequential without the classifier at its end."""
    import keras

    from keras_lifelong import graph

    left = list(model.layers)
    while left and _is_activation(left[-1]):
        left.pop()
    if left and graph.is_graph(left[-1]):
        left[-1] = without_head(left[-1])
    elif left:
        _check_dense(model, left.pop())
    if not left:
        raise ValueError(f"Nothing is left of {model.name!r} without its classifier.")
    return keras.Sequential([_input(model), *left], name=model.name)
