"""Search for the best trade-offs, as KerasTuner tuners over a Pareto oracle.

>>> from keras_lifelong import search
>>> "ParetoOracle" in search.__all__
True
"""

import importlib

# Imported when first used: KerasTuner loads much.
_WHERE = {
    "GrowSequenceTuner": "grow_sequence",
    "ParetoOracle": "oracle",
    "ParetoTuner": "tuner",
    "ThresholdTuner": "thresholds",
    "hypervolume": "pareto",
    "non_dominated": "pareto",
}
__all__ = sorted(_WHERE)


def __getattr__(name):
    if name in _WHERE:
        module = importlib.import_module(f"keras_lifelong.search.{_WHERE[name]}")
        return getattr(module, name)
    raise AttributeError(f"module 'keras_lifelong.search' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
