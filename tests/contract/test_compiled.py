"""Every method compiled by XLA, as a user's process compiles it."""

import numpy as np
import pytest
import small

from keras_lifelong import backend

pytestmark = pytest.mark.compiled


@pytest.mark.skipif(
    backend.NAME != "tensorflow",
    reason="JAX compiles with XLA in every test of the contract, PyTorch in none",
)
def test_compiled_by_xla_it_answers_as_without(learned):
    """Given the same weights: training adds up rounding, answers do not."""
    assert backend.prefers_xla(has_convolution=False)
    model = small.learned(learned.case)
    assert model.trainer.xla
    for found in small.predictions(model).values():
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    model.set_state(*learned.model.get_state())
    for name, found in small.predictions(model).items():
        np.testing.assert_allclose(found, learned.tasks[name], atol=1e-4)
