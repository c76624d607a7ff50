"""Installs the package; what it is and needs stands in pyproject.toml.

The configurations of `zoo_configs` go into the wheel as `keras_lifelong/zoo_configs`,
so that who has installed it has them.
"""

import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py


class WithConfigurations(build_py):
    """Copies `zoo_configs` beside the package's own files."""

    def run(self):
        super().run()
        if self.editable_mode:  # they lie beside the package there
            return
        place = pathlib.Path(self.build_lib, "keras_lifelong", "zoo_configs")
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree("zoo_configs", place)


setup(cmdclass={"build_py": WithConfigurations})
