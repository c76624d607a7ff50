"""WSN: Forget-free Continual Learning with Winning Subnetworks.

Kang et al., ICML 2022: weights θ and scores s are learned together; a task uses the c %
of each layer with the largest scores, and weights that a task uses stay as they are,
θ ← θ - η (∂L/∂θ ⊙ (1 - M_{t-1})) (Eq. 4, Algorithm 1).
"""

from __future__ import annotations

from typing import Annotated

from keras_lifelong.baselines.subnetworks import Subnetworks
from keras_lifelong.checks import In
from keras_lifelong.checks import Seed
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register


@register
class WSN(Subnetworks):
    """Finds a subnetwork for each task, and trains those of its weights that are free.

    There is no forgetting: weights that an earlier task uses are frozen, and a mask may
    use them again. Scores are drawn anew for each task, and not kept. Masks are kept as
    bits, without the paper's Huffman code. Biases, which the paper's networks have not,
    and normalisation are each task's own.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        capacity: c, which share of each layer's weights a task uses, above 0 and at
            most 1.
        seed, pretrained, name: see `LifelongModel`. With `pretrained` weights each task
            begins with the largest of them, not with some drawn at random.

    Raises:
        ValueError: if an argument is of another type or range, naming it; if a
            kernel has a constraint other than NonNeg.
    """

    def __init__(
        self,
        backbone,
        capacity: Annotated[float, In(0, 1, open_low=True)] = 0.3,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(WSN, locals())
        super().__init__(backbone, seed, pretrained, name, options)
