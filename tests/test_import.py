"""What importing costs: nothing is loaded before it is used."""

import subprocess
import sys

NAMES = """
import sys, keras
before = set(sys.modules)
import keras_lifelong as kl
[getattr(kl, name) for name in kl.__all__]
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_the_package_alone_loads_nothing_heavy():
    code = "import sys, keras_lifelong; print(*{m.split('.')[0] for m in sys.modules})"
    heavy = {"keras", "tensorflow", "jax", "numpy", "matplotlib", "sklearn", "yaml"}
    assert not heavy & set(run(code))


def test_all_public_names_add_little_to_keras():
    loaded = set(run(NAMES))
    assert "keras_lifelong" in loaded
    heavy = {"matplotlib", "sklearn", "tensorflow_datasets", "PIL", "yaml", "pandas"}
    heavy |= {"keras_tuner", "optuna"}
    assert not heavy & loaded
