"""A small preset whose files tests rewrite, with digests that agree again."""

import json
import pathlib
import shutil

from keras_lifelong import zoo
from keras_lifelong.presets import layout


class Broken:
    """A copy of a shipped preset.

    Args:
        place: an empty directory's path.
    """

    def __init__(self, place):
        self.path = pathlib.Path(place)
        shutil.copytree(zoo.path("finetune_digits"), self.path)
        self.config = json.loads((self.path / layout.CONFIG).read_text())
        self.metadata = json.loads((self.path / layout.METADATA).read_text())

    @property
    def layers(self):
        return self.config["config"]["backbone"]["config"]["layers"]

    @property
    def dense(self):
        """The arguments of the first Dense layer."""
        return next(x for x in self.layers if x["class_name"] == "Dense")["config"]

    def write(self, file, content):
        (self.path / file).write_bytes(content)
        self.metadata["files"][file] = layout.description(content)

    def save(self):
        self.write(layout.CONFIG, json.dumps(self.config).encode())
        layout.write_json(self.path / layout.METADATA, self.metadata)
        return self.path


def entry(module, name, config=None, **more):
    found = {"module": module, "class_name": name, "config": config or {}}
    return {**found, "registered_name": None, **more}
