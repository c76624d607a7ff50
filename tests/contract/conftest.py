"""Every registered method, learned once in a process and not changed by tests."""

import functools

import pytest
import small

from keras_lifelong import backend


@pytest.fixture
def step_by_step(request):
    """TensorFlow runs without compiling; JAX has no other way than to compile."""
    if backend.NAME == "tensorflow":
        request.getfixturevalue("eager")


class Learned:
    """A method that has learned two tasks: itself, and as a preset to be loaded."""

    def __init__(self, case, directory):
        self.case = case
        self.model = small.learned(case)
        self.tasks = small.predictions(self.model)
        self._path = directory / "preset"
        self._directory = directory

    @functools.cached_property
    def path(self):
        self.model.save_to_preset(self._path)
        return self._path

    def load(self):
        """A copy that a test may change."""
        return small.loaded(self.path, self.model.seen)

    @functools.cached_property
    def three(self):
        """Another model, made and taught alike, that has learned a third task."""
        model = small.learned(self.case)
        self.again = small.predictions(model)
        small.learn(model, 2)
        return model


@pytest.fixture(scope="session")
def _learned(tmp_path_factory):
    return functools.cache(
        lambda case: Learned(case, tmp_path_factory.mktemp("contract"))
    )


@pytest.fixture(params=small.CASES)
def learned(request, _learned):
    return _learned(request.param)
