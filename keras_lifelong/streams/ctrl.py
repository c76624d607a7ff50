"""The streams of CTrL (Veniat, Denoyer, Ranzato: ICLR 2021), as in PAR.

Every stream puts one question to a method. Tasks are small, of images of 32x32 in three
colours, and begin or end with one that has ten times the data. Which classes a task has
is what the question is about and drawn by `task_seed`: there is no order of classes.
PAR's program normalises each task by its own training data: `standardize`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable

import numpy as np

from keras_lifelong.streams import tfds
from keras_lifelong.streams.arrays import array_stream
from keras_lifelong.streams.arrays import check_count
from keras_lifelong.streams.sampling import check_seed
from keras_lifelong.streams.sampling import generator
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.stream import register
from keras_lifelong.streams.task import TaskSpec

SIDE, MOST_TESTED = 32, 1000  # pixels; test images of a class
POOLS_SEED = 17  # of what is held out for validation, the same in every stream
FEW, MANY, LARGE, TINY = (40, 20), (400, 200), (1000, 500), (5, 3)

# Of each data set: its name in TFDS, classes, validation images of a class.
DATA = {
    "mnist": ("mnist", 10, 500),
    "fashion": ("fashion_mnist", 10, 500),
    "svhn": ("svhn_cropped", 10, 500),
    "cifar10": ("cifar10", 10, 500),
    "cifar100": ("cifar100", 100, 50),
    "dtd": ("dtd", 47, 27),
}
LONG = ("mnist", "svhn", "cifar10", "fashion", "cifar100")
SOURCE = "Veniat et al. 2021; as in PAR, section 4"


@dataclasses.dataclass(frozen=True)
class Plan:
    """A task: which images, how many of a class, and how they are coloured.

    Attributes:
        data: a key of `DATA`.
        classes: in the order of their labels.
        sizes: training and validation images of each class, at most.
        colour: the channel that the ground is lit in; None: as it is.
    """

    data: str
    classes: tuple[int, ...]
    sizes: tuple[int, int]
    colour: int | None = None


def ctrl_stream(plans: Callable[[int], list[Plan]]) -> Callable[..., TaskStream]:
    """Decorator: makes a function `task_seed -> plans` a stream of the same name."""

    def stream(
        num_tasks: int | None = None,
        seed: int = 0,
        task_seed: int = 0,
        train_per_task: int | list[int] | None = None,
        standardize: bool = False,
        head: str = "per_task",
        data_dir: str | None = None,
    ) -> TaskStream:
        check_seed("task_seed", task_seed)
        return _stream(
            plans(task_seed),
            num_tasks,
            seed,
            train_per_task,
            standardize,
            head,
            data_dir,
        )

    stream.__name__ = stream.__qualname__ = plans.__name__
    stream.__doc__ = (inspect.getdoc(plans) or "") + ARGUMENTS
    return register(plans.__name__, source=SOURCE)(stream)


ARGUMENTS = """

Args:
    num_tasks: only the first so many tasks.
    seed: of the choice of images.
    task_seed: of the tasks: classes, the order of labels, colours, sizes.
    train_per_task: only so many training images of each, or a number for each.
    standardize: normalise each colour by the training data's mean and standard
        deviation.
    head: "per_task" or "shared".
    data_dir: where TFDS has the data sets; None: `TFDS_DATA_DIR`.
"""


@ctrl_stream
def ctrl_minus(task_seed: int) -> list[Plan]:
    """CTrL's S-: much of CIFAR-10, four other tasks, then little of CIFAR-10 again.

    Does a method go back to what it learned first? Tasks: CIFAR-10 (4,000 training
    images), MNIST, DTD, Fashion-MNIST, SVHN (400 each) and CIFAR-10 with the same
    labels (400), all ten-way.
    """
    same = _ten("cifar10", task_seed, 0)
    return [_sized(same, MANY), *_middle(task_seed), _sized(same, FEW)]


@ctrl_stream
def ctrl_plus(task_seed: int) -> list[Plan]:
    """CTrL's S+: as S-, with little of CIFAR-10 first and much of it at the end.

    Is what was learned first improved by more data?
    """
    same = _ten("cifar10", task_seed, 0)
    return [_sized(same, FEW), *_middle(task_seed), _sized(same, MANY)]


@ctrl_stream
def ctrl_in(task_seed: int) -> list[Plan]:
    """CTrL's S_in: much of MNIST on a coloured ground, in the end 50 on another.

    Is knowledge used where only inputs have changed? Tasks: MNIST on one of red, green
    and blue (4,000 training images), CIFAR-10, DTD, Fashion-MNIST, SVHN (400 each) and
    MNIST on another colour (50).
    """
    rng = generator(task_seed, "colours of ctrl")
    first, last = (int(c) for c in rng.choice(3, 2, replace=False))
    same = _ten("mnist", task_seed, 0)
    middle = _middle(task_seed, ("cifar10", "dtd", "fashion", "svhn"))
    return [_sized(same, MANY, first), *middle, _sized(same, TINY, last)]


@ctrl_stream
def ctrl_out(task_seed: int) -> list[Plan]:
    """CTrL's S_out: as S-, but in the last task every label k has become k + 1.

    Is knowledge used where only outputs have changed?
    """
    same = _ten("cifar10", task_seed, 0)
    rotated = dataclasses.replace(same, classes=(same.classes[-1], *same.classes[:-1]))
    return [_sized(same, MANY), *_middle(task_seed), _sized(rotated, FEW)]


@ctrl_stream
def ctrl_plastic(task_seed: int) -> list[Plan]:
    """CTrL's S_pl: MNIST, DTD, Fashion-MNIST and SVHN, then much of CIFAR-10.

    Can a method still learn what is unlike all before? Four tasks of 400 training
    images and one of 4,000.
    """
    return [*_middle(task_seed), _sized(_ten("cifar10", task_seed, 0), MANY)]


@ctrl_stream
def ctrl_long(task_seed: int) -> list[Plan]:
    """CTrL's S_long: a hundred five-way tasks, large ones ever rarer.

    Does a method bear many tasks? Each has five random classes of MNIST, SVHN,
    CIFAR-10, Fashion-MNIST or CIFAR-100. Of the first 33, every second is large (1,000
    training images of a class, 450 of CIFAR-100), of the next 33 every fourth, in the
    mean; all others have 5 of a class, and 3 for validation. CTrL adds altered copies
    of those to the validation data, which is not done here.
    """
    return long_plans(task_seed)


def long_plans(task_seed: int) -> list[Plan]:
    """The hundred tasks of S_long."""
    rng, plans = generator(task_seed, "tasks of ctrl_long"), []
    for t in range(100):
        data = LONG[rng.integers(len(LONG))]
        _, classes, held = DATA[data]
        chosen = tuple(rng.permutation(classes)[:5].tolist())
        is_large = rng.random() < (0.5 if t < 33 else 0.25 if t < 66 else 0)
        large = (450, held) if data == "cifar100" else LARGE
        plans.append(Plan(data, chosen, large if is_large else TINY))
    return plans


def _middle(task_seed, names=("mnist", "dtd", "fashion", "svhn")):
    """Four unrelated tasks of few images."""
    return [_ten(name, task_seed, 1 + i) for i, name in enumerate(names)]


def _ten(data, task_seed, index) -> Plan:
    """A task of ten classes of a data set, few of each."""
    rng = generator(task_seed, "classes of ctrl", index)
    classes = rng.permutation(DATA[data][1])[:10]
    return Plan(data, tuple(classes.tolist()), FEW)


def _sized(plan, sizes, colour=None) -> Plan:
    return dataclasses.replace(plan, sizes=sizes, colour=colour)


def _stream(plans, num_tasks, seed, train_per_task, standardize, head, data_dir):
    """The stream of a list of plans."""
    num_tasks = check_count("num_tasks", num_tasks, len(plans))

    @functools.cache
    def pool(data, split):
        return _pool(data, split, data_dir)

    def read(index, split):
        plan = plans[index]
        images, rows_of = pool(plan.data, split)
        sizes = {"train": plan.sizes[0], "validation": plan.sizes[1]}
        rng = generator(seed, f"{split} images of ctrl", index)
        rows = [
            rng.permutation(rows_of[c])[: sizes.get(split, MOST_TESTED)]
            for c in plan.classes
        ]
        labels = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
        x = as_colour(images[np.concatenate(rows)])
        return (x if plan.colour is None else lit(x, plan.colour)), labels

    classes = len(plans[0].classes)
    return array_stream(
        read,
        TaskSpec(classes, "categorical", (SIDE, SIDE, 3), head),
        num_tasks=num_tasks,
        names=[f"{i}_{plan.data}" for i, plan in enumerate(plans)],
        train_per_task=train_per_task,
        seed=seed,
        standardize=standardize,
    )


def _pool(data, split, data_dir):
    """The images that a split is drawn from, and the rows of each class."""
    name, classes, held = DATA[data]
    if data == "dtd":  # photographs of any size, with a validation split
        parts = ["test"] if split == "test" else ["train", "validation"]
        loaded = [tfds.load_covering(name, part, SIDE, data_dir) for part in parts]
        x, y = (np.concatenate(arrays) for arrays in zip(*loaded, strict=True))
    else:
        x, y = tfds.load(name, "test" if split == "test" else "train", data_dir)
    rows_of = []
    for c in range(classes):
        rows = np.flatnonzero(y == c)
        if split != "test":
            rows = generator(POOLS_SEED, f"pools of {name}", c).permutation(rows)
            rows = rows[:held] if split == "validation" else rows[held:]
        rows_of.append(rows)
    return x, rows_of


def as_colour(x: np.ndarray) -> np.ndarray:
    """Images (n, height, width, channels), uint8, as 32x32 in three colours."""
    from PIL import Image

    if x.shape[1:3] != (SIDE, SIDE):
        bilinear = Image.Resampling.BILINEAR
        x = np.stack(
            [
                np.asarray(Image.fromarray(i).resize((SIDE, SIDE), bilinear))
                for i in x[..., 0]
            ]
        )[..., None]
    return np.repeat(x, 3, axis=-1) if x.shape[-1] == 1 else x


def lit(x: np.ndarray, colour: int) -> np.ndarray:
    """Images on a coloured ground: one channel is as bright as can be."""
    x = x.copy()
    x[..., colour] = 255
    return x
