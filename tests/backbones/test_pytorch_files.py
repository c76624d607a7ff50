"""PyTorch's files are read as data; what is anything else is refused."""

import io
import struct
import zipfile

import numpy as np
import pytest

from keras_lifelong.backbones import pytorch_files

# === Programs of the pickle machine, written by hand ===

ODD = b"ccollections\nOrderedDict\n)R"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"


def program(body):
    return b"\x80\x02" + body + b"."


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"J" + struct.pack("<i", value)


def numbers(*values):
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(key="0", count=6, kind="torch\nFloatStorage", old=True):
    named = text("storage") + b"c" + kind.encode() + b"\n" + text(key) + text("cpu")
    return b"(" + named + number(count) + (b"N" if old else b"") + b"tQ"


def tensor(shape, strides, offset=0, **kwargs):
    given = storage(**kwargs) + number(offset) + numbers(*shape) + numbers(*strides)
    return TENSOR + b"(" + given + b"\x89" + ODD + b"tR"


def state(**tensors):
    items = b"".join(text(name) + body for name, body in tensors.items())
    return program(ODD + b"(" + items + b"u}" + text("_metadata") + ODD + b"sb")


DATA = np.arange(6, dtype="<f4").tobytes()
COUNTED = struct.pack("<q", 6) + DATA


def stream(state, keys=("0",), data=COUNTED):
    magic = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
    little = b"}" + text("little_endian") + b"\x88s"
    listed = b"](" + b"".join(map(text, keys)) + b"e"
    head = [b"\x8a\x0a" + magic, b"M" + struct.pack("<H", 1001), little]
    return b"".join(map(program, head)) + state + program(listed) + data


def zipped(state, data=DATA, compression=zipfile.ZIP_STORED, **more):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        archive.writestr("model/data.pkl", state)
        archive.writestr("model/byteorder", b"little")
        archive.writestr("model/data/0", data)
        for name, value in more.items():
            archive.writestr(name, value)
    return content.getvalue()


ROWS = tensor((2, 3), (3, 1))
NEW = tensor((2, 3), (3, 1), old=False)


@pytest.fixture
def read(tmp_path):
    def read(content):
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        return pytorch_files.read(path)

    return read


@pytest.mark.parametrize("new", [False, True])
def test_both_layouts_are_read(read, new):
    old = not new
    tensors = state(
        rows=tensor((2, 3), (3, 1), old=old),
        columns=tensor((2, 3), (1, 2), old=old),  # a transposed view
        tail=tensor((1, 2), (7, 1), offset=4, old=old),  # one row: any stride
        last=tensor((), (), offset=5, old=old),
    )
    found = read((zipped if new else stream)(tensors))
    assert list(found) == ["rows", "columns", "tail", "last"]
    assert found["rows"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["columns"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert found["tail"].tolist() == [[4, 5]] and found["last"] == 5


def test_it_reads_what_pytorch_itself_writes(tmp_path):
    torch = pytest.importorskip("torch")
    drawn = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.BatchNorm2d(2))
    tensors = drawn.state_dict()
    tensors["turned"] = torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1)
    for new in (True, False):
        path = tmp_path / f"{new}.pth"
        torch.save(tensors, path, _use_new_zipfile_serialization=new)
        found = pytorch_files.read(path)
        assert found.keys() == tensors.keys()
        for name, value in tensors.items():
            np.testing.assert_array_equal(found[name], value.numpy())


def called(module, name, *arguments):
    """A program that would call something as it is loaded."""
    given = b"(" + b"".join(map(text, arguments)) + b"t"
    return program(f"c{module}\n{name}\n".encode() + given + b"R")


HOSTILE = {
    "a command": (stream(called("os", "system", "echo")), "it calls os.system"),
    "in a zip": (zipped(called("builtins", "eval", "1")), "it calls builtins.eval"),
    "in place of a tensor": (
        stream(state(a=called("os", "getcwd")[2:-1])),
        "it calls os.getcwd",
    ),
    "a class": (
        stream(program(b"(ios\nsystem\n")),
        "has the instruction INST",
    ),
    "an object": (
        stream(program(b"cos\nsystem\n)\x81")),
        "has the instruction NEWOBJ",
    ),
    "an extension": (stream(program(b"\x82\x01")), "the instruction EXT1"),
    "a filled name": (
        stream(program(b"ctorch._utils\n_rebuild_tensor_v2\n" + text("a") + b"Ns")),
        "fills a _Name",
    ),
    "another storage": (
        stream(state(a=tensor((1,), (1,), kind="os\nFloatStorage"))),
        "it names os.FloatStorage",
    ),
    "a type": (
        stream(state(a=tensor((1,), (1,), kind="torch\nQInt8Storage"))),
        "it names torch.QInt8Storage",
    ),
    "too much": (
        stream(state(a=tensor((2**30,), (1,)))),
        "'a' is larger than its storage",
    ),
    "too far": (
        stream(state(a=tensor((2,), (1,), offset=5))),
        "'a' is larger than its storage",
    ),
    "repeated": (
        stream(state(a=tensor((2**20, 2**10), (0, 0)))),
        "'a' does not lie in one piece",
    ),
    "negative": (stream(state(a=tensor((-1,), (1,)))), "where a count is expected"),
    "huge storage": (
        stream(state(a=tensor((2,), (1,), count=2**30))),
        "another length",
    ),
    "no data": (stream(state(a=ROWS), data=struct.pack("<q", 6)), "smaller than"),
    "two ways": (
        stream(state(a=ROWS, b=tensor((1,), (1,), count=5))),
        "the storage '0' in two ways",
    ),
    "no storage": (stream(state(a=ROWS), keys=("1",)), "other storages"),
    "no tensor": (stream(state(a=text("b")), keys=()), "'a' is no tensor"),
    "no dict": (stream(program(b"N"), keys=()), "no dict of tensors"),
    "no end": (stream(program(b"N"))[:-70], "no file of PyTorch"),
    "empty": (b"", "no file of PyTorch"),
    "a key": (stream(program(b"})Ns")), "where a name is expected"),
    "deep": (stream(program(b"}" + b")" + b"\x85" * 10**4 + b"Ns")), "is expected"),
    "no system": (stream(b"").replace(b"\x88s", b"\x880"), "no file of PyTorch"),
    "stack": (stream(program(b"\x86")), "takes what is not there"),
    "marks": (stream(program(b"t")), "no file of PyTorch"),
    "compressed": (
        zipped(state(a=NEW), bytes(24), zipfile.ZIP_DEFLATED),
        "compressed or encrypted",
    ),
    "big-endian": (
        zipped(state(a=NEW)).replace(b"little", b"big   "),
        "no file of PyTorch",
    ),
    "short": (zipped(state(a=NEW), DATA[:8]), "another length"),
    "two programs": (
        zipped(state(a=NEW), **{"other/data.pkl": b""}),
        "holds 2 programs",
    ),
    "a broken zip": (zipped(state(a=NEW))[:-30], "no file of PyTorch"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_anything_else_is_refused(read, name):
    content, message = HOSTILE[name]
    with pytest.raises(ValueError, match=message) as refused:
        read(content)
    assert "weights.pth" in str(refused.value)


def test_a_program_of_endless_steps_is_left(read, monkeypatch):
    monkeypatch.setattr(pytorch_files, "MOST_STEPS", 100)
    with pytest.raises(ValueError, match="more than 100 steps"):
        read(stream(program(b"N" * 200)))
