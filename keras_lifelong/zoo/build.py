"""Makes the presets that the package ships, from `zoo_configs/*/digits.yaml`.

    python -m keras_lifelong.zoo.build [NAME …]

To be run in a checkout, after a change of what presets hold. Each takes a minute or two
on two CPU cores.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

from keras_lifelong import config as config_lib
from keras_lifelong.zoo.shipped import FOLDER

CONFIGS = pathlib.Path(__file__).parents[2] / "zoo_configs"
# What would make a preset larger than a few hundred KiB is smaller here.
SMALLER = {
    "lasem_digits": ["backbone.filters=[4, 8]", "backbone.units=[16]"],
    "ari_digits": ["method.signature=256"],
    "par_digits": [
        "backbone.filters=[8, 16]",
        "backbone.units=[32]",
        "method.extractor={name: random_convolutions, filters: [16, 32]}",
    ],
}


def main(names: list[str]) -> None:
    """Builds the named presets, or all."""
    for path in sorted(CONFIGS.glob("*/digits.yaml")):
        name = f"{path.parent.name}_digits"
        if names and name not in names:
            continue
        config = config_lib.load(path, SMALLER.get(name, []))
        stream = config.build_stream()
        model = config.build_model(stream.input_shape)
        result = model.fit_stream(stream, **config.fit_arguments, verbose=0)
        model.results[-1:] = [dataclasses.replace(result, config=config.resolved)]
        model.save_to_preset(FOLDER / name)
        size = sum(p.stat().st_size for p in (FOLDER / name).rglob("*") if p.is_file())
        print(f"{name}: ACC {result.acc:.4f}, {size / 1024:.0f} KiB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
