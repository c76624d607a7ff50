"""Office-Home, and what all streams of images in files have in common."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from keras_lifelong import streams
from keras_lifelong.streams import image_files
from keras_lifelong.streams import office_home as office_home_module
from keras_lifelong.streams.image_files import ImageFolder
from keras_lifelong.streams.image_files import part_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two domains of 65 classes with ten tiny images each; the colour is the class."""
    image = pytest.importorskip("PIL.Image")
    root = tmp_path_factory.mktemp("office")
    for d, domain in enumerate(("Product", "Real World")):
        for c in range(65):
            place = root / domain / f"{'aA'[c % 2]}{c:02d}"
            place.mkdir(parents=True)
            for i in range(10):
                colour = (3 * c, 200 * d, 20 * i)
                image.new("RGB", (6 + d, 5), colour).save(place / f"{i}.png")
    return root


def test_office_home(folder):
    stream = streams.get(
        "office_home", path=str(folder), image_size=4, standardize=False
    )
    assert len(stream) == 10
    for index in (1, 6):
        task = stream[index]
        assert task.spec.input_shape == (4, 4, 3) and task.spec.num_classes == 13
        seen = set()
        for (x, y), each in zip(
            (task.train, task.validation, task.test), (6, 1, 3), strict=True
        ):
            assert np.bincount(y).tolist() == [each] * 13
            pixels = np.rint(x[:, 0, 0] * 255).astype(int)
            group = np.take(office_home_module.GROUPS[1], y)
            np.testing.assert_array_equal(pixels[:, 0], 3 * group)
            assert set(pixels[:, 1]) == {200 * (index > 4)}
            numbers = {(c, n) for c, n in zip(group, pixels[:, 2], strict=True)}
            assert not seen & numbers
            seen |= numbers
        assert len(seen) == 130


def test_office_home_reads_a_task_when_it_is_asked_for(folder, monkeypatch):
    read = []
    monkeypatch.setattr(
        ImageFolder,
        "_image",
        lambda self, file, size: (
            read.append(file) or np.zeros((size, size, 3), "uint8")
        ),
    )
    stream = streams.get("office_home", path=str(folder), standardize=False)
    task = stream[9]
    assert not read
    assert task.test[0].shape == (39, 128, 128, 3)
    assert len(read) == 39
    few = streams.get("office_home", path=str(folder), train_per_task=13)[0]
    assert len(few.train[0]) == 13 and len(read) == 52


def test_office_home_rounds_all_splits_down(tmp_path):
    for i in range(19):
        (tmp_path / f"{i}.jpg").touch()
    (tmp_path / "notes.txt").touch()
    every = ImageFolder(tmp_path, "it", "a site").images(tmp_path)
    parts = office_home_module.PARTS
    files = [
        part_of(every, split, parts, np.random.default_rng(0))
        for split in image_files.SPLITS
    ]
    assert [len(found) for found in files] == [11, 1, 5]
    assert len(set().union(*files)) == 17


def test_office_home_accepts_real_world_in_one_word(folder, tmp_path, assert_same):
    (tmp_path / "Product").symlink_to(folder / "Product")
    (tmp_path / "RealWorld").symlink_to(folder / "Real World")
    one, two = (
        streams.get("office_home", path=str(path), image_size=2)[5]
        for path in (folder, tmp_path)
    )
    assert_same([one], [two])


def test_images_are_resized_with_anti_aliasing(tmp_path):
    image = pytest.importorskip("PIL.Image")
    board = np.indices((64, 64)).sum(0) % 2 * 255
    image.fromarray(board.astype("uint8")).save(tmp_path / "board.png")
    x = ImageFolder(tmp_path, "it", "a site").read([tmp_path / "board.png"], 8)
    assert x.shape == (1, 8, 8, 3) and x.dtype == "uint8"
    np.testing.assert_allclose(x.astype(int), 127, atol=4)


def test_office_home_says_what_is_wrong(tmp_path):
    def fails(error, words):
        with pytest.raises(error, match=words):
            streams.get("office_home", path=str(tmp_path))[0].train  # noqa: B018

    tmp_path = tmp_path / "office"
    fails(FileNotFoundError, "`path` is no folder.*hemanthdv.org.*office'")
    (tmp_path / "Product").mkdir(parents=True)
    fails(ValueError, "`path` must have 65 folders.*hemanthdv.org.*Received: 0 in")
    for c in range(65):
        (tmp_path / "Product" / f"b{c}").mkdir()
    fails(FileNotFoundError, "`path` has no 'Real World' or 'RealWorld'.*hemanthdv")
    for c in range(1, 66):
        (tmp_path / "RealWorld" / f"b{c}").mkdir(parents=True)
    fails(ValueError, r"`path`.* the same classes.*\['b0', 'b65'\] in only one")
    (tmp_path / "RealWorld" / "b65").rename(tmp_path / "RealWorld" / "b0")
    fails(ValueError, "`path` must have 10 files or more.*Received: 0 in")
    for place in (tmp_path / "Product").iterdir():
        for i in range(10):
            (place / f"{i}.jpg").write_bytes(b"no image")
    fails(ValueError, r"`path`.*Pillow.*hemanthdv.org.*\.jpg', which cannot be read")


@pytest.fixture
def linked(folder, tmp_path):
    """The same classes, the last task's last one of which can be changed."""
    (tmp_path / "Product").symlink_to(folder / "Product")
    changed = sorted(p.name for p in (folder / "Real World").iterdir())
    changed = sorted(changed, key=str.lower)[office_home_module.GROUPS[4][-1]]
    for place in (folder / "Real World").iterdir():
        own = tmp_path / "RealWorld" / place.name
        own.parent.mkdir(exist_ok=True)
        if place.name == changed:
            shutil.copytree(place, own)
        else:
            own.symlink_to(place)
    return tmp_path, tmp_path / "RealWorld" / changed


def test_what_is_hidden_or_a_folder_is_no_image(linked, folder, assert_same):
    path, own = linked
    (own / "._0.png").write_bytes(b"of a Mac")
    (own / "more.png").mkdir()
    (own.parent / ".thumbnails").mkdir()
    (own / "9.png").rename(own / "9.PNG")
    one, two = (
        streams.get("office_home", path=str(p), image_size=2) for p in (path, folder)
    )
    one.check()
    assert_same([one[9]], [two[9]])


def test_a_photograph_stands_as_its_camera_was_held(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.zeros((2, 2, 3), "uint8")
    pixels[0] = 255  # the upper half is white
    turned = image.fromarray(pixels)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    turned.save(tmp_path / "turned.png", exif=exif)
    turned.save(tmp_path / "plain.png")
    read = ImageFolder(tmp_path, "photographs", "nowhere").read
    found = read([tmp_path / f"{name}.png" for name in ("turned", "plain")], 2)
    np.testing.assert_array_equal(found[0], np.rot90(pixels, -1))
    np.testing.assert_array_equal(found[1], pixels)


def test_what_a_later_task_lacks_is_missed_at_once(linked):
    path, own = linked
    stream = streams.get("office_home", path=str(path), image_size=2)
    stream.check()
    (own / "9.png").unlink()
    with pytest.raises(ValueError, match="10 files or more.*Received: 9 in .*RealWor"):
        stream.check()
    (own / "9.png").symlink_to(path / "nowhere")
    with pytest.raises(FileNotFoundError, match="`path` lacks an image.*no file .*9.p"):
        stream.check()
    few = streams.get("office_home", path=str(path), image_size=2, num_tasks=9)
    few.check()  # which does not need it
    (path / "Product").unlink()
    (path / "Product").touch()
    with pytest.raises(FileNotFoundError, match="`path` must have a folder 'Product'"):
        streams.get("office_home", path=str(path))


def test_an_image_of_too_many_pixels_is_named(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    image.new("L", (30, 30)).save(tmp_path / "é 1.png")
    folder = ImageFolder(tmp_path, "it", "a site")
    assert folder.read([tmp_path / "é 1.png"], 2).shape == (1, 2, 2, 3)  # grey, too
    monkeypatch.setattr(image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="`path`.*Pillow.*é 1.png'.*exceeds limit"):
        folder.read([tmp_path / "é 1.png"], 2)
