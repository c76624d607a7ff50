"""Real handwritten digits that come with scikit-learn."""

from __future__ import annotations

from keras_lifelong.streams.arrays import class_tasks
from keras_lifelong.streams.grouping import ClassOrder
from keras_lifelong.streams.grouping import groups
from keras_lifelong.streams.sampling import hold_out
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.stream import register


@register("digits", source="scikit-learn load_digits; Alpaydin and Kaynak, UCI, 1998")
def digits(
    num_tasks: int | None = None,
    train_per_task: int | list[int] | None = None,
    seed: int = 0,
    standardize: bool = False,
    head: str = "per_task",
    classes_per_task: int | list[int] = 2,
    first_task: int | None = None,
    class_order: ClassOrder = None,
) -> TaskStream:
    """Real 8x8 digits, offline: five tasks of two digits each, in order.

    1,797 images, float32 (8, 8, 1) in [0, 1], about 245 for training, 27 for validation
    and 90 for testing in each task. The test images are the same for every seed; the
    seed chooses the validation images.

    Args:
        num_tasks: only the first so many tasks, 1 to 5.
        classes_per_task: 2, 5 or 10; or a number for each task, as [4, 2, 2, 2].
        first_task: so many classes in the first task. None: as in the others.
        class_order: the classes in the order that tasks take them, each once, or
            "random": an order drawn by `seed`. None: 0, 1, ...
        train_per_task: only so many training images of each, or a number for each.
        seed: of validation images and of `train_per_task`.
        standardize: normalise by the training data's mean and standard deviation.
        head: "per_task" or "shared".

    Example:

    >>> task = digits()[0]
    >>> task.name, task.train[0].shape[1:]
    ('task_0', (8, 8, 1))
    """

    def load():
        from sklearn.datasets import load_digits

        bunch = load_digits()
        x = (bunch.images / 16).astype("float32")[..., None]
        y = bunch.target
        rest, test = hold_out(y, 0.25, seed=0, purpose="digits test")
        kept, held = hold_out(y[rest], 0.1, seed)
        rows = {"train": rest[kept], "validation": rest[held], "test": test}
        return {split: (x[chosen], y[chosen]) for split, chosen in rows.items()}

    return class_tasks(
        load,
        groups(10, classes_per_task, first_task, class_order, seed),
        (8, 8, 1),
        num_tasks=num_tasks,
        head=head,
        train_per_task=train_per_task,
        seed=seed,
        standardize=standardize,
    )
