"""Images of words in five scripts, drawn here: reading one script after another.

As BindAndGrow's multilingual text recognition (Shaikh and Sinha, CODS-COMAD 2021), on
images of our own: rendered in DejaVu Sans, which Matplotlib brings.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from keras_lifelong.streams.arrays import SPLITS
from keras_lifelong.streams.arrays import array_stream
from keras_lifelong.streams.arrays import check_count
from keras_lifelong.streams.sampling import generator
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.stream import register
from keras_lifelong.streams.task import TaskSpec

# Small letters, all of which the font has, read from left to right.
ALPHABETS = {
    "latin": "abcdefghijklmnopqrstuvwxyz",
    "cyrillic": "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "greek": "αβγδεζηθικλμνξοπρστυφχψω",
    "armenian": "աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ",
    "georgian": "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ",
}
HEIGHT = 32
LARGEST, SMALLEST = 22, 16  # of the font, in pixels
NARROWEST = 10  # pixels of an image for each letter of the longest word


@register("multilingual_text", source="rendered words; after BindAndGrow, section 5")
def multilingual_text(
    num_tasks: int | None = None,
    words_per_task: int = 1000,
    letters: int | None = None,
    shortest: int = 2,
    longest: int = 5,
    width: int = 96,
    shift: int = 8,
    noise: float = 0.1,
    train_per_task: int | list[int] | None = None,
    seed: int = 0,
    standardize: bool = False,
) -> TaskStream:
    """Words to read: Latin, Cyrillic, Greek, Armenian and Georgian, a task each.

    Words are letters drawn at random, each word once: those of training, validation (a
    tenth as many) and testing (a quarter as many) are others. An image is float32
    (32, width, 1) in [0, 1]; its word is at a height, size, contrast and brightness
    drawn for it, dark on light or light on dark, under Gaussian noise. Tasks are of
    kind "sequence", with the letters as `class_names`; so `predict(x, task=…,
    names=True)` gives texts. All is the same to the byte for a seed, with the same
    Pillow.

    Args:
        num_tasks: only the first so many tasks, 1 to 5.
        words_per_task: training words of each, at least 10.
        letters: only the first so many letters of each alphabet, at least 2, so that
            tasks have as many. None: all, 24 to 38.
        shortest, longest: letters of a word, 1 <= shortest <= longest.
        width: of the images, at least 10 for each letter of the longest word.
        shift: how many pixels from the left a word begins at most, 0 or more.
        noise: its standard deviation, in [0, 1].
        train_per_task: only so many training words of each, or a number for each.
        seed: of words and images.
        standardize: normalise by the training data's mean and standard deviation.

    Raises:
        ValueError: if an argument is out of range, or there are not so many words.
        ImportError: if Pillow or Matplotlib is missing.

    Example:

    >>> stream = multilingual_text(num_tasks=2, words_per_task=20)
    >>> [task.name for task in stream], stream[0].train[0].shape
    (['latin', 'cyrillic'], (20, 32, 96, 1))
    """
    names = list(ALPHABETS)
    num_tasks = check_count("num_tasks", num_tasks, len(names))
    words = check_count("words_per_task", words_per_task, least=10)
    fewest = min(map(len, ALPHABETS.values()))
    if letters is not None:
        check_count("letters", letters, fewest, least=2)
    check_count("longest", longest)
    check_count("shortest", shortest, longest)
    check_count("width", width)
    if width < NARROWEST * longest:
        raise ValueError(
            f"`width` must be at least {NARROWEST * longest}, for words of {longest} "
            f"letters. Received: {width!r}"
        )
    check_count("shift", shift, least=0)
    if not 0 <= noise <= 1:
        raise ValueError(f"`noise` must be in [0, 1]. Received: {noise!r}")
    sizes = {"train": words, "validation": words // 10, "test": words // 4}
    alphabets = [ALPHABETS[name][:letters] for name in names]
    least = min(map(len, alphabets))
    enough, found = 2 * sum(sizes.values()), 0
    for n in range(shortest, longest + 1):
        found += least**n
        if found >= enough:
            break  # of long words there are numbers of thousands of digits
    if found < enough:  # else drawing them would take long
        raise ValueError(
            "`words_per_task` must leave most words out, for which there are "
            f"{found} of {shortest} to {longest} letters. Received: {words_per_task!r}"
        )

    @functools.cache
    def drawn(index):
        rng = generator(seed, "words", index)
        y = _words(rng, len(alphabets[index]), sum(sizes.values()), shortest, longest)
        ends = np.cumsum([sizes[split] for split in SPLITS])[:-1]
        return dict(zip(SPLITS, np.split(y, ends), strict=True))

    def read(index, split):
        y = drawn(index)[split]
        rng = generator(seed, f"images: {split}", index)
        texts = ["".join(alphabets[index][c] for c in row if c >= 0) for row in y]
        return np.stack([_image(rng, text, width, shift, noise) for text in texts]), y

    specs = [
        TaskSpec(len(a), "sequence", (HEIGHT, width, 1), class_names=tuple(a))
        for a in alphabets
    ]
    return array_stream(
        read,
        specs,
        num_tasks=num_tasks,
        names=names,
        train_per_task=train_per_task,
        seed=seed,
        standardize=standardize,
    )


def _words(rng, letters: int, count: int, shortest: int, longest: int) -> np.ndarray:
    """Different words (count, longest), -1 after the last letter, in random order."""
    found = np.zeros((0, longest), int)
    while len(found) < count:
        more = rng.integers(letters, size=(2 * count, longest))
        lengths = rng.integers(shortest, longest + 1, (2 * count, 1))
        found = np.concatenate(
            [found, np.where(np.arange(longest) < lengths, more, -1)]
        )
        _, first = np.unique(found, axis=0, return_index=True)
        found = found[np.sort(first)]  # in the order they were drawn
    return found[:count].astype("int32")


@functools.cache
def _font(size: int) -> Any:
    try:
        import matplotlib
        from PIL import ImageFont
    except ImportError as error:
        raise ImportError(
            "The stream 'multilingual_text' draws words by Pillow, in a font that "
            "Matplotlib brings: `pip install pillow matplotlib`."
        ) from error
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    # the plain layout: others depend on what is installed
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def _image(rng, text: str, width: int, shift: int, noise: float) -> np.ndarray:
    """An image of a word, uint8 (HEIGHT, width, 1)."""
    size = int(rng.integers(SMALLEST, LARGEST + 1))
    while size > 1 and _font(size).getlength(text) > width - 2:
        size -= 1
    font = _font(size)
    from PIL import Image
    from PIL import ImageDraw

    left, top, right, bottom = font.getbbox(text)
    x = rng.integers(min(max(width - (right - left), 0), shift) + 1) - left
    y = rng.integers(max(HEIGHT - (bottom - top), 0) + 1) - top
    image = Image.new("L", (width, HEIGHT))
    ImageDraw.Draw(image).text((int(x), int(y)), text, font=font, fill=255)
    ink = np.asarray(image, "float32") / 255
    contrast, brightness = rng.uniform(0.5, 1), rng.uniform(0, 1)
    shown = contrast * ink if rng.random() < 0.5 else contrast * (1 - ink)
    shown = shown + brightness * (1 - contrast)
    shown = shown + noise * rng.standard_normal(shown.shape)
    return (255 * np.clip(shown, 0, 1)).round().astype("uint8")[..., None]
