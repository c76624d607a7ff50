"""What becomes of hostile configurations: here, and in Keras' own `load_model`.

    PYTHONPATH=tests/presets python benchmarks/hostile_files.py

Each is one layer put into the backbone of a shipped preset, and into the same network
as a `.keras` file, loaded with `safe_mode=True`. Prints a table: loaded or refused,
seconds, MiB that the process grew by.
"""

from __future__ import annotations

import json
import pathlib
import resource
import tempfile
import time
import zipfile

import keras
from broken import Broken
from broken import entry

import keras_lifelong as kl

NUMPY = {"class_name": "__numpy__", "config": {"value": ["a"], "dtype": "S400000000"}}
CONSTANT = entry("keras.initializers", "Constant", {"value": NUMPY})
RUN = entry("keras", "config.set_epsilon")
WIDE = {"name": "h", "size": [20_000, 20_000]}
CASES = {
    "`keras` / `layers.Hashing`": entry("keras", "layers.Hashing", {"num_bins": 3}),
    "`Lambda` of `__lambda__`": entry(
        "keras.layers",
        "Lambda",
        {"function": {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}},
    ),
    "`Lambda` of `keras.config.set_epsilon`": entry(
        "keras.layers", "Lambda", {"function": RUN, "arguments": {}}
    ),
    "`Lambda` of `keras.utils.get_file`": entry(
        "keras.layers",
        "Lambda",
        {"function": entry("keras.utils", "function", "get_file")},
    ),
    "`StringLookup` of a file": entry(
        "keras.layers", "StringLookup", {"vocabulary": "/etc/hostname"}
    ),
    "`TFSMLayer` of a directory": entry(
        "keras.layers", "TFSMLayer", {"filepath": "/tmp"}
    ),
    "array of 400 MB, as a dtype": entry(
        "keras.layers", "Dense", {"units": 2, "bias_initializer": CONSTANT}
    ),
    "activations of 10^9 numbers": entry("keras.layers", "UpSampling2D", WIDE),
    "a model within the network": entry("keras.src.models.functional", "Functional"),
}


def tried(load):
    """What came of it, seconds, and MiB by which the process grew."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, epsilon = time.perf_counter(), keras.config.epsilon()
    try:
        load()
        what = "loaded"
    except Exception as error:
        what = f"refused ({type(error).__name__})"
    if keras.config.epsilon() is not epsilon:
        what += ", **ran a function**"
        keras.config.set_epsilon(1e-7)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return f"{what} | {time.perf_counter() - start:.1f} | {grown / 1024:.0f}"


def keras_file(place, described):
    """The network of a shipped preset with another layer, as a `.keras` file."""
    model = kl.LifelongModel.from_preset("finetune_digits")
    model.backbone_copy().save(place / "plain.keras")
    with zipfile.ZipFile(place / "plain.keras") as plain:
        parts = {name: plain.read(name) for name in plain.namelist()}
    config = json.loads(parts["config.json"])
    config["config"]["layers"].insert(1, described)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(place / "evil.keras", "w") as evil:
        for name, content in parts.items():
            evil.writestr(name, content)
    return place / "evil.keras"


def main() -> None:
    print("| file | here | s | MiB | Keras | s | MiB |")
    print("|---|---|---|---|---|---|---|")
    for name, described in CASES.items():
        described["config"].setdefault("name", "h")
        place = pathlib.Path(tempfile.mkdtemp())
        preset = Broken(place / "preset")
        preset.layers.insert(1, described)
        path, file = preset.save(), keras_file(place, described)
        ours = tried(lambda path=path: kl.LifelongModel.from_preset(path))
        theirs = tried(lambda file=file: keras.saving.load_model(file, safe_mode=True))
        print(f"| {name} | {ours} | {theirs} |", flush=True)


if __name__ == "__main__":
    main()
