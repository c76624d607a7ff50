"""All that a search takes from KerasTuner, in one place.

Its last release is a year old: what may have to be replaced one day is what stands
here. `study.py` does without its loop, its files and its chief; hyperparameters,
trials and the tuner's methods are KerasTuner's for both.
"""

from __future__ import annotations

from typing import Any

from keras_tuner import HyperParameters
from keras_tuner import Objective
from keras_tuner import Oracle
from keras_tuner import synchronized
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.hyperparameters import Fixed
from keras_tuner.engine.trial import Trial
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.src.distribute.utils import is_chief_oracle


def rpc() -> tuple[Any, Any, Any]:
    """What chief and workers talk by: service, client, and the protocol's module.

    Imported when it is used: protocol buffers of another version may be loaded.
    """
    from keras_tuner.src import protos
    from keras_tuner.src.distribute.oracle_chief import OracleServicer
    from keras_tuner.src.distribute.oracle_client import OracleClient

    return OracleServicer, OracleClient, protos.get_service_grpc()


__all__ = [
    "BaseTuner",
    "Fixed",
    "HyperParameters",
    "Objective",
    "Oracle",
    "Trial",
    "TrialStatus",
    "is_chief_oracle",
    "rpc",
    "synchronized",
]
