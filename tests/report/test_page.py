"""The page: self-contained, complete, and safe with strings of users."""

from __future__ import annotations

import base64
import os
import re
from html.parser import HTMLParser

import pytest
from fake_results import fake

from keras_lifelong.metrics import Result
from keras_lifelong.report import write

EVIL = "<script>alert(1)</script>"


class Reader(HTMLParser):
    """Collects tags with their attributes, and the text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def read(path):
    page = path.read_text(encoding="utf-8")
    return page, Reader(page)


def test_everything_is_written(tmp_path):
    path = write(fake(5), tmp_path / "run")
    assert path == tmp_path / "run" / "report.html"
    pictures = sorted(os.listdir(tmp_path / "run" / "figures"))
    assert pictures == ["accuracy_matrix.png", "accuracy_over_tasks.png", "growth.png"]
    assert sorted(os.listdir(tmp_path / "run")) == ["figures", "report.html"]
    page, reader = read(path)
    inlined = [
        base64.b64decode(attrs["src"].split(",", 1)[1])
        for tag, attrs in reader.tags
        if tag == "img"
    ]
    on_disk = [(tmp_path / "run" / "figures" / p).read_bytes() for p in pictures]
    assert sorted(inlined) == sorted(on_disk)
    text = "".join(reader.text)
    for said in (
        "DEN on permuted_mnist",
        "seed 0",
        "0.9407",  # ACC
        "330,274",  # parameters
        "1.15×",  # capacity
        "after task_4",
        "drift 0.08, threshold 0.05",  # growth log
        "units:\n  - 312\n  - 128",  # configuration as YAML
        "3.15.1",
        "1,234 MiB",
        "auroc: ACC",
    ):
        assert said in text, said
    assert page.count("<figcaption>") == 3
    assert "prefers-color-scheme:dark" in page


def test_nothing_is_fetched_or_run(tmp_path):
    page, reader = read(write(fake(3), tmp_path))
    policy = next(a["content"] for t, a in reader.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none';") and "script" not in policy
    assert "http" not in page.replace("http-equiv", "")
    assert not re.search(r"@import|url\(", page)
    for tag, attrs in reader.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed")
        assert not any(name.startswith("on") for name in attrs)
        assert attrs.get("src", "data:").startswith("data:image/png;base64,") or (
            "src" not in attrs
        )
        assert "href" not in attrs


def test_strings_of_users_are_escaped(tmp_path):
    quote = '"><img src=x onerror=alert(1)>'
    names = [EVIL, quote, "$\\frac{", "two\nlines", "Aufgabe ö \ud800"]
    log = [
        {"task": EVIL, "layer": EVIL, "kind": "initial", "count": 3, "why": {}},
        {"task": quote, "layer": quote, "kind": "add", "count": 3, "why": {EVIL: EVIL}},
        {"task": quote, "layer": "$x", "kind": EVIL, "count": 3, "why": quote},
    ]
    result = fake(5, forget=0.1, task_names=names, growth=log)
    result.method = result.stream = result.backend = EVIL
    result.matrices = {EVIL: result.matrix, quote: result.matrix}
    result.metric = EVIL
    result.config = {EVIL: [EVIL, quote]}
    result.versions = {EVIL: quote}
    page, reader = read(write(result, tmp_path))
    assert {tag for tag, _ in reader.tags} & {"script"} == set()
    assert sum(tag == "img" for tag, _ in reader.tags) == 3
    assert not any("onerror" in attrs for _, attrs in reader.tags)
    assert EVIL not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


@pytest.mark.parametrize("tasks", [1, 20])
def test_other_runs(tmp_path, tasks):
    result = fake(tasks, method="Independent", log=False, config={}, versions={})
    result.peak_by_task = None
    page, reader = read(write(result, tmp_path))
    text = "".join(reader.text)
    assert "This method keeps no log of growth" in text
    assert "added no units" in text
    assert "nan" not in text.lower().replace("independent", "")


def test_a_failure_leaves_the_old_page(tmp_path, monkeypatch):
    path = write(fake(2), tmp_path)
    old = path.read_bytes()
    real = os.replace

    def replace(source, target):
        if str(target).endswith("report.html"):
            raise OSError("No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="No space left"):
        write(fake(3), tmp_path)
    assert path.read_bytes() == old
    assert sorted(os.listdir(tmp_path)) == ["figures", "report.html"]


def test_classes_are_called_by_their_names(tmp_path):
    names = {"task_1": ["cat", EVIL, *"abcdefghij"]}
    result = fake(3, class_names={**names, "unknown": ["x"]})
    assert Result.from_json(result.to_json()).class_names == names
    page, reader = read(write(result, tmp_path / "run"))
    text = "".join(reader.text)
    assert f"cat, {EVIL}, a, b, c, d, e, f, g, h, …" in text and EVIL not in page
    assert "classes" not in read(write(fake(3), tmp_path / "other"))[0]
