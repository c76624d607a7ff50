"""What each weight did for the loss on its way: the path integral of SI.

Zenke, Poole, Ganguli: Continual Learning Through Synaptic Intelligence, ICML 2017,
section 3. A step Δθ changes the loss by about Σ g Δθ, so that ω = -Σ_steps g Δθ says
how much of the fall of the loss each weight brought about.
"""

from __future__ import annotations

import keras
from keras import ops


class PathIntegral:
    """ω of some variables, summed up step by step within a compiled loop.

    Args:
        variables: those whose way is followed.

    Attributes:
        work: variables of ω, one for each.
        slope: variables that hold the gradient between the two hooks of a step.

    Example:

    >>> way = PathIntegral([keras.Variable([1.0])])
    >>> way.see([[2.0]])    # g
    >>> way.moved([[1.0]], [[0.5]])    # Δθ = -0.5, so that the loss fell by 1
    >>> way.work[0].numpy().tolist()
    [1.0]
    """

    def __init__(self, variables: list):
        def zeros():
            return [
                keras.Variable(ops.zeros(v.shape), trainable=False, name="path")
                for v in variables
            ]

        self.work, self.slope = zeros(), zeros()

    @property
    def variables(self) -> list:
        """All variables of its own."""
        return [*self.work, *self.slope]

    def reset(self) -> None:
        """A new task begins."""
        for variable in self.variables:
            variable.assign(ops.zeros(variable.shape))

    def see(self, gradients: list) -> None:
        """Keeps the gradients of the step that comes, one for each variable."""
        for slope, gradient in zip(self.slope, gradients, strict=True):
            slope.assign(gradient)

    def moved(self, before: list, after: list) -> None:
        """Adds -g Δθ of the step that was taken.

        Args:
            before, after: the variables, or as many values.
        """
        moves = zip(self.work, self.slope, before, after, strict=True)
        for work, slope, old, new in moves:
            step = ops.convert_to_tensor(new) - ops.convert_to_tensor(old)
            work.assign(work - slope * step)
