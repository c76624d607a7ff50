"""OnlineEWC: Progress & Compress: A scalable framework for continual learning.

Schwarz et al., ICML 2018, section 3.2: the penalty λ/2 Σ_i γF*_i (θ_i - θ*_i)², with
one running Fisher F* and one centre, the weights θ* after the last task.
"""

from __future__ import annotations

from typing import Annotated
from typing import Literal

import numpy as np

from keras_lifelong.baselines.ewc import EWC
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import In
from keras_lifelong.checks import Seed
from keras_lifelong.model import LifelongModel
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.training.importance import kept
from keras_lifelong.training.importance import quadratic
from keras_lifelong.training.importance import values_of


@register
class OnlineEWC(EWC):
    """Elastic weight consolidation around the weights after the last task alone.

    After task t the running Fisher becomes F* = γF* + F_t ("sum"), or, as EWC++ has it
    (Chaudhry et al., RWalk, ECCV 2018, Eq. 6), F* = γF* + (1 - γ)F_t ("mean"). EWC++
    takes that mean at every step; here it is taken once a task, of the Fisher of its
    end, as EWC estimates it. Memory does not grow with the tasks.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        strength: λ, at least 0.
        decay: γ, in [0, 1]: how much of F* a new task leaves.
        running: "sum" or "mean".
        fisher: "sampled" or "empirical": see `EWC`.
        fisher_samples: how many training samples it is estimated on, at least 1.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it.
    """

    def __init__(
        self,
        backbone,
        strength: Annotated[float, AtLeast(0)] = 100.0,
        decay: Annotated[float, In(0, 1)] = 1.0,
        running: Literal["sum", "mean"] = "sum",
        fisher: Literal["sampled", "empirical"] = "sampled",
        fisher_samples: Annotated[int, AtLeast(1)] = 1000,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(OnlineEWC, locals())
        LifelongModel.__init__(self, backbone, seed, pretrained, name, options)

    def learn(self, task):
        shared, decay = self.network.trainable_variables, self.options.decay
        past = kept(self.memory, ("online_ewc",), shared)  # F*
        faded = [np.float32(decay) * f for f in past]  # γF*
        arguments = {
            "strength": np.float32(self.options.strength),
            "importance": faded if self.options.running == "sum" else past,
            "anchor": values_of(shared),
        }
        yield self.phase("training", shared, penalty=quadratic, arguments=arguments)

        is_mean = self.options.running == "mean" and any(f.any() for f in past)
        part = np.float32(1 - decay if is_mean else 1)
        for i, f in enumerate(self.fisher(task)):
            self.memory["online_ewc", i] = faded[i] + part * f
