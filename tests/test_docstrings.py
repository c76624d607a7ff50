"""The examples in docstrings: doctests pass, code blocks are Python."""

import doctest
import importlib
import inspect
import pkgutil
import re

import keras
import pytest

import keras_lifelong

OTHERS = {"tensorflow", "jax", "torch"} - {keras.backend.backend()}
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(keras_lifelong.__path__, "keras_lifelong.")
    if module.name != "keras_lifelong.__main__"
    and module.name not in {f"keras_lifelong.backend.{name}" for name in OTHERS}
)
FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_modules_are_found():
    assert "keras_lifelong.methods.den.den" in MODULES and len(MODULES) > 50


@pytest.mark.parametrize("name", ["keras_lifelong", *MODULES])
def test_doctests(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, _ = doctest.testmod(importlib.import_module(name), verbose=False)
    assert not failed


@pytest.mark.parametrize("name", ["keras_lifelong", *MODULES])
def test_code_blocks_are_python(name):
    module = importlib.import_module(name)
    texts = [inspect.getdoc(module) or ""]
    for member in vars(module).values():
        if getattr(member, "__module__", None) == name:
            texts.append(inspect.getdoc(member) or "")
            if inspect.isclass(member):
                texts += [inspect.getdoc(m) or "" for m in vars(member).values()]
    for text in texts:
        for block in FENCED.findall(text):
            compile(block, name, "exec")
