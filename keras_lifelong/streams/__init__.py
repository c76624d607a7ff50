"""Streams of tasks: your own, or real data sets by name.

>>> from keras_lifelong import streams
>>> stream = streams.get("digits", num_tasks=2)
>>> [task.name for task in stream]
['task_0', 'task_1']
"""

from keras_lifelong.streams import awa as _awa  # noqa: F401  (registers streams)
from keras_lifelong.streams import cifar as _cifar  # noqa: F401
from keras_lifelong.streams import ctrl as _ctrl  # noqa: F401
from keras_lifelong.streams import decathlon as _decathlon  # noqa: F401
from keras_lifelong.streams import digits as _digits  # noqa: F401
from keras_lifelong.streams import fceleba as _fceleba  # noqa: F401
from keras_lifelong.streams import five_datasets as _five_datasets  # noqa: F401
from keras_lifelong.streams import lasem as _lasem  # noqa: F401
from keras_lifelong.streams import mini_imagenet as _mini_imagenet  # noqa: F401
from keras_lifelong.streams import mnist as _mnist  # noqa: F401
from keras_lifelong.streams import multilingual_text as _text  # noqa: F401
from keras_lifelong.streams import office_home as _office_home  # noqa: F401
from keras_lifelong.streams import tiny_imagenet as _tiny_imagenet  # noqa: F401
from keras_lifelong.streams.checking import check_split
from keras_lifelong.streams.npz import export_npz
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.stream import describe
from keras_lifelong.streams.stream import factory
from keras_lifelong.streams.stream import get
from keras_lifelong.streams.stream import names
from keras_lifelong.streams.stream import register
from keras_lifelong.streams.task import Task
from keras_lifelong.streams.task import TaskSpec

__all__ = [
    "Task",
    "TaskSpec",
    "TaskStream",
    "check_split",
    "describe",
    "export_npz",
    "factory",
    "get",
    "names",
    "register",
]
