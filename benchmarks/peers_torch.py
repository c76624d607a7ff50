"""The loops of `peers.py` written by hand in PyTorch, as a person would who needs one.

Run by `peers.py` in a process of its own: `peers_torch.py DATA ROW`.
"""

import json
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

RATE, MOMENTUM, BATCH = 0.05, 0.9, 128  # as in `peers.py`, which has no PyTorch
FISHER_SAMPLES, STRENGTH = 1000, 100.0


class Network(nn.Module):
    """The MLP with a head for each task, from given weights."""

    def __init__(self, data):
        super().__init__()
        layers = []
        for i in range(int(data["layers"])):
            layers += [linear(data[f"kernel_{i}"], data[f"bias_{i}"]), nn.ReLU()]
        self.hidden = nn.Sequential(*layers)
        self.heads = nn.ModuleList(
            linear(data[f"head_kernel_{t}"], data[f"head_bias_{t}"])
            for t in range(int(data["tasks"]))
        )

    def forward(self, x, task):
        return self.heads[task](self.hidden(x))


def linear(kernel, bias):
    layer = nn.Linear(*kernel.shape)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(kernel.T))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


def load(path):
    """The file, and its arrays of each task as tensors: (train x, y, test x, y)."""
    data = dict(np.load(path))
    names = ["train_x", "train_y", "test_x", "test_y"]
    tasks = [
        [torch.from_numpy(data[f"{name}_{t}"]) for name in names]
        for t in range(int(data["tasks"]))
    ]
    return data, tasks


def accuracies(network, tasks, seen):
    with torch.no_grad():
        return [
            float((network(x, t).argmax(1) == y).float().mean())
            for t, (_, _, x, y) in enumerate(tasks[:seen])
        ]


class Naive:
    def __init__(self, network):
        self.network = network

    def cost(self, loss):
        return loss

    def learned(self, x, y, task):
        pass


class EWC(Naive):
    """A penalty for each task that was, of squared gradients of single examples."""

    def __init__(self, network):
        super().__init__(network)
        self.kept = []

    def cost(self, loss):
        for fisher, weights in self.kept:
            for f, w, v in zip(
                fisher, weights, self.network.hidden.parameters(), strict=True
            ):
                loss = loss + STRENGTH / 2 * (f * (v - w) ** 2).sum()
        return loss

    def learned(self, x, y, task):
        weights = list(self.network.hidden.parameters())
        fisher = [torch.zeros_like(v) for v in weights]
        rows = torch.randperm(len(x))[:FISHER_SAMPLES]
        for row in rows:
            logits = self.network(x[row : row + 1], task)
            drawn = torch.multinomial(logits.detach().softmax(1), 1)[:, 0]
            loss = functional.cross_entropy(logits, drawn)
            for f, g in zip(fisher, torch.autograd.grad(loss, weights), strict=True):
                f += g**2 / len(rows)
        self.kept.append((fisher, [v.detach().clone() for v in weights]))


ROWS = {"Naive": Naive, "EWC": EWC}


def turn(data, tasks, row):
    """One stream; returns seconds of training and testing, and the accuracies."""
    network = Network(data)
    strategy = ROWS[row](network)
    train = test = 0.0
    matrix = []
    for t, (x, y, _, _) in enumerate(tasks):
        start = time.perf_counter()
        optimizer = torch.optim.SGD(network.parameters(), RATE, MOMENTUM)
        for at in range(0, len(x), BATCH):
            optimizer.zero_grad()
            logits = network(x[at : at + BATCH], t)
            loss = functional.cross_entropy(logits, y[at : at + BATCH])
            strategy.cost(loss).backward()
            optimizer.step()
        strategy.learned(x, y, t)
        middle = time.perf_counter()
        matrix.append(accuracies(network, tasks, t + 1))
        train += middle - start
        test += time.perf_counter() - middle
    return {"train": train, "test": test, "matrix": matrix}


def serve(turn, rows):
    """Says which of the rows are here, then does a turn for each line it is sent."""
    data, tasks = load(sys.argv[1])
    torch.set_num_threads(2)
    row = sys.argv[2]
    print(json.dumps({"known": row in rows}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(turn(data, tasks, row)), flush=True)


if __name__ == "__main__":
    serve(turn, ROWS)
