"""A scope in which variables have other values, whatever the backend."""

import keras


class ValuesScope(keras.StatelessScope):
    """Within it, `variables` have `values`; nothing that is assigned lasts.

    Unlike Keras' own it takes values of other shapes: a network that has grown since
    can be read as it was.

    Args:
        variables: list of `keras.Variable`s.
        values: list of tensors, as many.
    """

    def __init__(self, variables, values):
        super().__init__()
        pairs = zip(variables, values, strict=True)
        self.state_mapping = {id(variable): value for variable, value in pairs}


class Values(list):
    """Values of variables that stay as they are, as those of a task that is used.

    Attributes:
        prepared: what a backend found of them for a compiled call, or None.
    """

    prepared: tuple | None = None
