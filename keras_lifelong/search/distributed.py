"""Chief and workers of KerasTuner, made to survive the death of either.

The chief asks and records, workers learn. As everywhere in KerasTuner the same program
runs in all of them and the environment says which it is: KERASTUNER_ORACLE_IP,
KERASTUNER_ORACLE_PORT and KERASTUNER_TUNER_ID, whose "chief" is the chief.

KerasTuner's own loop waits for ever for a worker that died, and a worker ends with the
chief. Here workers show that they live while they learn; a trial whose worker was not
heard of is given to another; and requests are repeated until the chief is back.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import time
from typing import Any

import grpc

from keras_lifelong.search import kerastuner
from keras_lifelong.search.beating import beating

OracleClient: Any  # a base class
OracleServicer, OracleClient, SERVICE = kerastuner.rpc()
POLL = 0.2  # seconds
_SEARCH = "keras-lifelong-search"  # in a request: which search a worker means
# What a request ends with when the chief dies under it, or is not there yet.
GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class _Saying(grpc.UnaryUnaryClientInterceptor):
    """Says with each request which search a worker means."""

    def __init__(self, oracle):
        self._oracle = oracle

    def intercept_unary_unary(self, continuation, details, request):
        said = [*(details.metadata or ()), (_SEARCH, self._oracle.identity())]
        return continuation(_Details(details, said), request)


class _Details(grpc.ClientCallDetails):
    def __init__(self, details, metadata):
        self.method, self.timeout = details.method, details.timeout
        self.credentials, self.metadata = details.credentials, metadata
        self.wait_for_ready = details.wait_for_ready
        self.compression = details.compression


class _Listening(grpc.ServerInterceptor):
    """Answers workers of this search, and tells others that they are wrong here."""

    def __init__(self, oracle):
        self._oracle = oracle

        def refuse(request, context):
            context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, "this chief's search is another"
            )

        self._refusing = grpc.unary_unary_rpc_method_handler(refuse)

    def intercept_service(self, continuation, details):
        said = dict(details.invocation_metadata).get(_SEARCH)
        if said == self._oracle.identity():
            return continuation(details)
        return self._refusing


class Client(OracleClient):
    """A worker's way to the chief's oracle: requests are repeated while it is away.

    All of them may be: a trial that ended already stays as it is.

    Args:
        oracle: the worker's own, of the same arguments.
        patience: seconds for which a chief may be away.
    """

    def __init__(self, oracle, patience: float):
        super().__init__(oracle)
        self._patience = patience
        self._channel = grpc.insecure_channel(_place())
        saying = grpc.intercept_channel(self._channel, _Saying(oracle))
        self.stub = SERVICE.OracleStub(saying)

    def _repeated(self, call, *args, **kwargs):
        end = time.monotonic() + self._patience
        while True:
            try:
                ready = grpc.channel_ready_future(self._channel)
                ready.result(timeout=max(0.0, end - time.monotonic()))
                return call(*args, **kwargs)
            except grpc.FutureTimeoutError as error:
                raise TimeoutError(
                    f"The chief at {_place()} was not heard of for {self._patience:g} "
                    "seconds: it has finished, or must be started again."
                ) from error
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
                    raise ValueError(
                        f"The chief at {_place()} runs another search than this "
                        "worker: start both with the same program, configuration and "
                        "directory, or give each search a port of its own."
                    ) from error
                if error.code() not in GONE:
                    raise
                time.sleep(POLL)

    def get_space(self):
        return self._repeated(super().get_space)

    def update_space(self, hyperparameters):
        return self._repeated(super().update_space, hyperparameters)

    def create_trial(self, tuner_id):
        trial = self._repeated(super().create_trial, tuner_id)
        if trial.status == kerastuner.TrialStatus.IDLE:  # KerasTuner asks again at once
            time.sleep(5 * POLL)
        return trial

    def update_trial(self, trial_id, metrics, step=0):
        return self._repeated(super().update_trial, trial_id, metrics, step)

    def end_trial(self, trial):
        return self._repeated(super().end_trial, trial)

    def get_trial(self, trial_id):
        return self._repeated(super().get_trial, trial_id)


def heartbeat(client, trial_id: str, interval: float):
    """Shows the chief that a trial's worker lives, as long as the block lasts."""

    def beat():
        with contextlib.suppress(grpc.RpcError, TimeoutError):  # away: later again
            client.get_trial(trial_id)

    return beating(beat, interval)


def serve(oracle, trial_timeout: float, idle_timeout: float) -> None:
    """Answers workers until every trial has ended and every worker knows.

    Args:
        oracle: a `ParetoOracle`.
        trial_timeout: seconds without a sign of life after which a trial is given to
            another worker.
        idle_timeout: seconds without any worker after which the chief gives up.

    Raises:
        OSError: if the port is another's, be it of another search.
        TimeoutError: if no worker was heard of for so long.
    """
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(max_workers=1),
        interceptors=[_Listening(oracle)],
        options=[("grpc.so_reuseport", 0)],  # else two chiefs share a port
    )
    servicer = OracleServicer(oracle)
    SERVICE.add_OracleServicer_to_server(servicer, server)
    try:
        port = server.add_insecure_port(_place())
    except RuntimeError as error:
        raise _cannot_listen() from error
    if not port:
        raise _cannot_listen()
    server.start()
    oracle.heard_of()
    try:
        while True:
            time.sleep(POLL)
            oracle.release(trial_timeout)
            finished = servicer.stop_triggered or oracle.is_exhausted
            if finished and not oracle.is_waiting and not oracle.tuner_ids:
                return
            if oracle.silence() > idle_timeout:
                raise TimeoutError(
                    f"No worker was heard of for {idle_timeout:g} seconds. What was "
                    "found is kept: start the chief and the workers again."
                )
    finally:
        server.stop(grace=2).wait()


def _cannot_listen() -> OSError:
    return OSError(
        f"The chief cannot listen at {_place()}: another process does, which may be "
        "the chief of another search. Give each search a port of its own."
    )


def _place() -> str:
    """Where the chief listens."""
    return ":".join(os.environ[f"KERASTUNER_ORACLE_{p}"] for p in ("IP", "PORT"))
