"""Avalanche's strategies for `peers.py`, in the environment that has it.

Run by `peers.py` in a process of its own: `peers_avalanche.py DATA ROW`.
"""

import time

import torch
from avalanche.benchmarks import tensors_benchmark
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.models import PNN
from avalanche.models import MultiHeadClassifier
from avalanche.models import MultiTaskModule
from avalanche.training import supervised
from avalanche.training.plugins import EvaluationPlugin
from peers_torch import BATCH
from peers_torch import MOMENTUM
from peers_torch import RATE
from peers_torch import Network
from peers_torch import serve

ROWS = {  # the options of `peers.py`, as far as Avalanche has them
    "Naive": (supervised.Naive, {}),
    "EWC": (supervised.EWC, {"ewc_lambda": 100.0}),
    "LwF": (supervised.LwF, {"alpha": 1.0, "temperature": 2.0}),
    "SI": (supervised.SynapticIntelligence, {"si_lambda": 1.0}),
    "Replay": (supervised.Replay, {"mem_size": 500}),
    "PNN": (supervised.PNNStrategy, {}),  # of a network of its own, drawn by itself
    # as many examples of each task as ours has of each in the end, with ten tasks
    "MAS": (supervised.MAS, {"lambda_reg": 0.1}),
    "AGEM": (supervised.AGEM, {"patterns_per_exp": 100, "sample_size": 256}),
    "GEM": (supervised.GEM, {"patterns_per_exp": 100, "memory_strength": 0.5}),
    # its DER asks for heads without saying which task, and fails
}


class BeginAnew(SupervisedPlugin):
    """An optimizer without a past for each task, as the others have."""

    def before_training_exp(self, strategy, **kwargs):
        strategy.optimizer.state.clear()


class MultiHead(MultiTaskModule):
    """The network of `peers_torch.py` with Avalanche's own heads."""

    def __init__(self, data, stream):
        super().__init__()
        given = Network(data)
        self.hidden = given.hidden
        units = given.heads[0].out_features
        width = given.heads[0].in_features
        self.heads = MultiHeadClassifier(width, units, masking=False)
        for experience, head in zip(stream, given.heads, strict=True):
            self.heads.adaptation(experience)
            name = str(experience.task_labels[0])
            own = self.heads.classifiers[name].classifier
            own.load_state_dict(head.state_dict())

    def forward(self, x, task_labels):
        return self.heads(self.hidden(x), task_labels)


def turn(data, tasks, row):
    """As `peers_torch.turn`."""
    stream = tensors_benchmark(
        train_tensors=[(x, y) for x, y, _, _ in tasks],
        test_tensors=[(x, y) for _, _, x, y in tasks],
        task_labels=list(range(len(tasks))),
    )
    if row == "PNN":
        sizes = data["kernel_0"].shape
        model = PNN(int(data["layers"]), *sizes, adapter="mlp")
    else:
        model = MultiHead(data, stream.train_stream)
    strategy, options = ROWS[row]
    learner = strategy(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), RATE, MOMENTUM),
        criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=BATCH,
        train_epochs=1,
        eval_mb_size=1024,
        plugins=[BeginAnew()],
        evaluator=EvaluationPlugin(accuracy_metrics(experience=True), loggers=[]),
        **options,
    )
    train = test = 0.0
    matrix = []
    for t, experience in enumerate(stream.train_stream):
        start = time.perf_counter()
        learner.train(experience, shuffle=False, num_workers=0)
        middle = time.perf_counter()
        found = learner.eval(stream.test_stream[: t + 1], num_workers=0)
        matrix.append([v for k, v in sorted(found.items()) if k.startswith("Top1_Acc")])
        train += middle - start
        test += time.perf_counter() - middle
    return {"train": train, "test": test, "matrix": matrix}


if __name__ == "__main__":
    serve(turn, ROWS)
