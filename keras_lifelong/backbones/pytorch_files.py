"""PyTorch's files of weights, read as data: nothing that they name is looked up or run.

What `torch.save(model.state_dict(), path)` writes is a program for Python's pickle
machine, and the bytes of the tensors beside it. `pickle.load` would call whatever such
a program names. The machine here knows the few instructions that a dict of tensors
takes, and the two names in it; it calls nothing, and refuses a file with anything else.
Both layouts are read: one stream (PyTorch before 1.6) and a zip archive.
"""

from __future__ import annotations

import io
import os
import pickletools
import struct
import zipfile
from typing import Any
from typing import NamedTuple

import numpy as np

MOST_STEPS = 200_000  # of a program; EfficientNet-Lite0's takes 10,696
_MAGIC = 119547037146038801333356  # with which a file of one stream begins
_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_DICT = ("collections", "OrderedDict")
_TENSOR = ("torch._utils", "_rebuild_tensor_v2")

_GIVEN = {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NEW = {"EMPTY_DICT": dict, "EMPTY_LIST": list}


_BROKEN = (
    *(ValueError, LookupError, TypeError, RecursionError, EOFError),
    *(struct.error, zipfile.BadZipFile),
)


class _Name(NamedTuple):
    """What a program refers to by module and name."""

    module: str
    name: str


class _Storage(NamedTuple):
    """A piece of memory that tensors lie in."""

    dtype: str
    key: str
    numbers: int


class _Tensor(NamedTuple):
    """Where a tensor lies in a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays in a file that `torch.save(model.state_dict(), path)` wrote.

    Args:
        path: of the file.

    Returns:
        Dict of read-only arrays by name, in the file's order and PyTorch's layouts.

    Raises:
        OSError: if the file cannot be read.
        ValueError: naming the file and the reason, if it is anything else than a dict
            of tensors in main memory.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        zipped = content.startswith(b"PK")
        tensors, pieces = (_zip if zipped else _stream)(content)
        if not isinstance(tensors, dict):
            raise ValueError("it holds no dict of tensors")
        return {_text(n): _array(n, t, pieces) for n, t in tensors.items()}
    except _BROKEN as error:
        raise ValueError(
            f"{str(path)!r} is no file of PyTorch that can be read as data: {error}. "
            "It must be what `torch.save(model.state_dict(), path)` writes."
        ) from error


def _stream(content: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """Five programs one after the other, then every storage behind its length."""
    file = io.BytesIO(content)
    if _run(file) != _MAGIC:
        raise ValueError("it does not begin as one")
    version, system = _run(file), _run(file)
    if version != 1001 or _of_kind(system, dict).get("little_endian") is not True:
        raise ValueError("its layout is of another version, or not little-endian")
    found: dict[str, _Storage] = {}
    tensors, keys = _run(file, found), _run(file)
    if sorted(keys) != sorted(found):
        raise ValueError("its tensors lie in other storages than it holds")
    pieces, at = {}, file.tell()
    for key in keys:
        dtype, _, count = found[key]
        if int.from_bytes(content[at : at + 8], "little") != count:
            raise ValueError(f"its storage {key!r} has another length than was said")
        pieces[key] = np.frombuffer(content, dtype, count, at + 8)
        at += 8 + pieces[key].nbytes
    return tensors, pieces


def _zip(content: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """An archive, not compressed: a program, and a file for each storage."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        programs = [name for name in entries if name.endswith("/data.pkl")]
        if len(programs) != 1:
            raise ValueError(
                f"it holds {len(programs)} programs, where one is expected"
            )
        root = programs[0].removesuffix("data.pkl")

        def entry(name):
            info = entries[root + name]
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
                raise ValueError(f"its entry {name!r} is compressed or encrypted")
            if info.file_size > len(content):
                raise ValueError(f"its entry {name!r} is longer than the file")
            return archive.read(info)

        if root + "byteorder" in entries and entry("byteorder") != b"little":
            raise ValueError("its numbers are not little-endian")
        found: dict[str, _Storage] = {}
        tensors = _run(io.BytesIO(entry("data.pkl")), found)
        pieces = {}
        for key, (dtype, _, count) in found.items():
            pieces[key] = np.frombuffer(entry(f"data/{key}"), dtype)
            if pieces[key].size != count:
                raise ValueError(f"its storage {key!r} has another length than said")
        return tensors, pieces


def _run(file: io.BytesIO, storages: dict[str, _Storage] | None = None) -> Any:
    """What a program makes, of dicts, lists, tuples, numbers, texts and `_Tensor`s.

    Args:
        file: read from where it is to the end of the program.
        storages: is given those that the program names. None: it may name none.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    given: Any

    def pop(count: int) -> list[Any]:
        if count > len(stack) - (marks[-1] if marks else 0):
            raise ValueError("its program takes what is not there")
        taken = stack[len(stack) - count :]
        del stack[len(stack) - count :]
        return taken

    def since_mark() -> list[Any]:
        start = marks.pop()
        taken = stack[start:]
        del stack[start:]
        return taken

    for step, (code, given, _) in enumerate(pickletools.genops(file)):
        name = code.name
        if step > MOST_STEPS:
            raise ValueError(f"its program has more than {MOST_STEPS:,} steps")
        if name == "STOP":
            (made,) = pop(1)
            return made
        if name in _GIVEN:
            stack.append(given)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _NEW:
            stack.append(_NEW[name]())
        elif name in _TUPLES:
            stack.append(tuple(pop(_TUPLES[name])))
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(since_mark()))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[given] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[given])
        elif name in ("APPEND", "APPENDS"):
            items = pop(1) if name == "APPEND" else since_mark()
            _of_kind(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = pop(2) if name == "SETITEM" else since_mark()
            names = map(_text, items[::2])  # to hash a deep tuple would end the process
            pairs = zip(names, items[1::2], strict=True)
            _of_kind(stack[-1], dict).update(pairs)
        elif name == "GLOBAL":
            stack.append(_Name(*given.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(_Name(*map(_text, pop(2))))
        elif name == "BINPERSID":
            (named,) = pop(1)
            stack.append(_storage(named, storages))
        elif name == "REDUCE":
            made, of = pop(2)
            stack.append(_made(made, of))
        elif name == "BUILD":
            pop(1)  # attributes of a dict, which PyTorch notes versions in
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"its program has the instruction {name}")
    raise ValueError("its program has no end")


def _of_kind(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"its program fills a {type(value).__name__}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"it has a {type(value).__name__} where a name is expected")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"it has a {type(value).__name__} where a count is expected")
    return value


def _storage(named: Any, storages: dict[str, _Storage] | None) -> _Storage:
    """A storage of the words ("storage", type, key, device, count), noted."""
    if storages is None or type(named) is not tuple or not 5 <= len(named) <= 6:
        raise ValueError("it names a storage in another way than is known")
    word, kind, key, _, count = named[:5]
    if word != "storage" or type(kind) is not _Name or any(named[5:]):
        raise ValueError("it names a storage in another way than is known")
    if kind.module != "torch" or kind.name not in _TYPES:
        raise ValueError(f"it names {'.'.join(kind)}")
    storage = _Storage(_TYPES[kind.name], _text(key), _count(count))
    if storages.setdefault(key, storage) != storage:
        raise ValueError(f"it names the storage {key!r} in two ways")
    return storage


def _made(name: Any, arguments: Any) -> Any:
    """What a call in the program stands for: an empty dict, or a tensor."""
    if type(name) is not _Name or name not in (_DICT, _TENSOR):
        called = ".".join(name) if type(name) is _Name else type(name).__name__
        raise ValueError(f"it calls {called}")
    if name == _DICT:
        if arguments != ():
            raise ValueError("it makes a dict of arguments")
        return {}
    storage, offset, shape, strides = arguments[:4]
    if type(storage) is not _Storage:
        raise ValueError("it makes a tensor of no storage")
    lengths = (tuple(map(_count, values)) for values in (shape, strides))
    return _Tensor(storage, _count(offset), *lengths)


def _array(name: str, tensor: Any, pieces: dict[str, np.ndarray]) -> np.ndarray:
    """A tensor's part of its storage: a view, so that it takes no memory of its own."""
    if type(tensor) is not _Tensor:
        raise ValueError(f"its entry {name!r} is no tensor")
    shape, strides = tensor.shape, tensor.strides
    if len(shape) != len(strides):
        raise ValueError(f"its tensor {name!r} has {len(strides)} strides")
    # dense in some order of its axes, so that no hostile stride repeats numbers
    order = sorted(range(len(shape)), key=lambda i: (-strides[i], -shape[i]))
    size = 1
    for axis in reversed(order):
        if shape[axis] != 1 and strides[axis] != size:
            raise ValueError(f"its tensor {name!r} does not lie in one piece")
        size *= shape[axis]
    values = pieces[tensor.storage.key][tensor.offset : tensor.offset + size]
    if values.size != size:
        raise ValueError(f"its tensor {name!r} is larger than its storage")
    laid_out = values.reshape([shape[axis] for axis in order])
    return laid_out.transpose(np.argsort(order))
