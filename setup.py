"""Installs the package; what it is and needs stands in pyproject.toml."""

from setuptools import setup

setup()
