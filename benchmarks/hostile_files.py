"""What becomes of hostile configurations: here, in keras-hub, and in `load_model`.

    PYTHONPATH=tests/presets python benchmarks/hostile_files.py [docs/trust.json]

Each is one layer put into the backbone of a shipped preset; into the same network as
the `config.json` of a preset of keras-hub, where that is installed; and as a `.keras`
file, loaded with `safe_mode=True`. Prints of each: loaded or refused, seconds, and MiB
that the process grew by.
"""

from __future__ import annotations

import importlib.util
import json
import pathlib
import resource
import sys
import tempfile
import time
import zipfile

import keras
import trust_page
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
    "activations of 10^10 numbers": entry("keras.layers", "UpSampling2D", WIDE),
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
    return [what, round(time.perf_counter() - start, 1), grown // 1024]


def hub_preset(place, described):
    """The same network as a preset of keras-hub, or None without it."""
    if importlib.util.find_spec("keras_hub") is None:
        return None
    from keras_hub.src.utils import preset_utils

    config = keras.saving.serialize_keras_object(network())
    config = json.loads(json.dumps(config)) | {"registered_name": "Sequential"}
    config["config"]["layers"].insert(1, described)
    (place / "hub").mkdir()
    (place / "hub" / "config.json").write_text(json.dumps(config))
    loader = preset_utils.get_preset_loader(str(place / "hub"))
    return lambda: loader.load_backbone(loader.check_backbone_class(), False)


def network():
    return kl.LifelongModel.from_preset("finetune_digits").backbone_copy()


def keras_file(place, described):
    """The network of a shipped preset with another layer, as a `.keras` file."""
    network().save(place / "plain.keras")
    with zipfile.ZipFile(place / "plain.keras") as plain:
        parts = {name: plain.read(name) for name in plain.namelist()}
    config = json.loads(parts["config.json"])
    config["config"]["layers"].insert(1, described)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(place / "evil.keras", "w") as evil:
        for name, content in parts.items():
            evil.writestr(name, content)
    return place / "evil.keras"


def main(path: str | None = None) -> None:
    rows = []
    for name, described in CASES.items():
        described["config"].setdefault("name", "h")
        place = pathlib.Path(tempfile.mkdtemp())
        preset = Broken(place / "preset")
        preset.layers.insert(1, described)
        ours, file = preset.save(), keras_file(place, described)
        hub = hub_preset(place, described)
        found = tried(lambda ours=ours: kl.LifelongModel.from_preset(ours))
        found += ["not installed", None, None] if hub is None else tried(hub)
        found += tried(lambda file=file: keras.saving.load_model(file, safe_mode=True))
        rows.append([name, *found])
        print(rows[-1], flush=True)
        if path is not None:
            trust_page.record(path, "hostile_files", rows)


if __name__ == "__main__":
    main(*sys.argv[1:2])
