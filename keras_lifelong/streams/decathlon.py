"""The Visual Decathlon: image sets of very different kinds, one after another."""

from __future__ import annotations

from keras_lifelong.streams import tfds
from keras_lifelong.streams.arrays import check_count
from keras_lifelong.streams.arrays import whole_tasks
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.stream import register
from keras_lifelong.streams.task import TaskSpec

# Classes of each domain, by its name in TFDS.
CLASSES = {
    "aircraft": 100,
    "cifar100": 100,
    "daimlerpedcls": 2,
    "dtd": 47,
    "gtsrb": 43,
    "imagenet12": 1000,
    "omniglot": 1623,
    "svhn": 10,
    "ucf101": 101,
    "vgg-flowers": 102,
}
DATA, VALIDATION = "visual_domain_decathlon", 0.1


@register("visual_decathlon", source="Rebuffi et al. 2017; as in BindAndGrow")
def visual_decathlon(
    domains: list[str] | None = None,
    num_tasks: int | None = None,
    train_per_task: int | list[int] | None = None,
    image_size: int = 64,
    seed: int = 0,
    standardize: bool = False,
    head: str = "per_task",
    data_dir: str | None = None,
) -> TaskStream:
    """The Visual Decathlon: nine domains of 2 to 1,623 classes, a task each.

    Aircraft (100 classes), CIFAR-100 (100), Daimler pedestrians (2), textures (47),
    German traffic signs (43), Omniglot (1,623), SVHN (10), UCF-101 as dynamic images
    (101) and flowers (102), in this order. ImageNet (1,000), the tenth, is left out
    unless `domains` names it: BindAndGrow begins from weights that were trained on it,
    and as arrays its images take 15 GB at 64x64, four times that as floats.

    The labels of the test images were never published, so the competition's validation
    images are for testing, and a tenth of its training images for validation. Images
    are 72 pixels on the shorter side; the middle square is scaled to `image_size`. A
    domain is read when its task is; tasks have the domains' names.

    The classes of a domain stay together: the words are `domains`, not an order of
    classes.

    Args:
        domains: which, and in which order, each once, by their names in TFDS. None: the
            nine above.
        num_tasks: only the first so many of them.
        train_per_task: only so many training images of each, or a number for each.
        image_size: of the square images, in pixels.
        seed: of validation images and of `train_per_task`.
        standardize: normalise each colour by the training data's mean and standard
            deviation.
        head: "per_task" or "shared".
        data_dir: where TFDS has `visual_domain_decathlon`; None: `TFDS_DATA_DIR`.

    Raises:
        FileNotFoundError: when a task is read, or a stream learned, whose domain is not
            there.
        ValueError: if an argument is out of range or a domain given twice.

    Example:

    ```python
    stream = streams.get("visual_decathlon", domains=["dtd", "svhn", "vgg-flowers"])
    ```
    """
    check_count("image_size", image_size)
    names = domains or [name for name in CLASSES if name != "imagenet12"]
    if domains == [] or len(set(names)) < len(names) or not {*names} <= {*CLASSES}:
        raise ValueError(
            f"`domains` must be one or more of {', '.join(CLASSES)}, each once. "
            f"Received: {domains!r}"
        )
    num_tasks = check_count("num_tasks", num_tasks, len(names))
    shape = (image_size, image_size, 3)

    def load(name, split):
        part = "validation" if split == "test" else "train"
        return tfds.load_covering(f"{DATA}/{name}", part, image_size, data_dir)

    return whole_tasks(
        load,
        names[:num_tasks],
        [TaskSpec(CLASSES[name], "categorical", shape, head) for name in names],
        VALIDATION,
        train_per_task=train_per_task,
        seed=seed,
        standardize=standardize,
        check=lambda index: tfds.check(f"{DATA}/{names[index]}", data_dir),
    )
