"""What methods reach when a task is not named: one head of all ten digits.

    python examples/one_head_of_all_classes.py

The methods of this package are task-incremental: `predict(x, task=...)` is told which
task an example belongs to, and answers among its classes. Here the five tasks of two
digits have one head of ten classes between them, so an answer is one of ten. It ends
with a table: only Joint, which keeps the data of all tasks, holds on. About a minute.
"""

import keras

import keras_lifelong as kl


def of_ten(task, first):
    """The task with labels 0 to 9 in place of 0 and 1, under the head of all tasks."""
    spec = kl.TaskSpec(10, input_shape=(8, 8, 1), head="shared")
    splits = {s: getattr(task, s) for s in ("train", "validation", "test")}
    return kl.Task(
        task.name, spec=spec, **{s: (x, first + y) for s, (x, y) in splits.items()}
    )


def accuracy(method, tasks, epochs=20, **options):
    backbone = kl.backbones.get("mlp", (8, 8, 1), units=[64, 32])
    model = method(backbone, seed=0, **options)
    model.compile(keras.optimizers.Adam(1e-3), metrics=["accuracy"])
    return model.fit_stream(tasks, epochs=epochs, batch_size=32, verbose=0).acc


named = list(kl.streams.get("digits", seed=0))
unnamed = [of_ten(task, 2 * i) for i, task in enumerate(named)]
methods = {
    "Finetune": (kl.Finetune, {}),
    "EWC": (kl.EWC, {"strength": 100.0}),
    "DEN": (kl.DEN, {"growth": 4, "l1": 1e-4}),
    "Joint": (kl.Joint, {}),
}
print("ACC on digits          task named   one head of ten classes")
for name, (method, options) in methods.items():
    row = [accuracy(method, tasks, **options) for tasks in (named, unnamed)]
    print(f"{name:22s} {row[0]:.3f}        {row[1]:.3f}", flush=True)
