"""The third backend: the whole contract, in one process of its own."""

import backends
import numpy as np
import pytest
import small


@pytest.fixture(scope="module")
def contract(tmp_path_factory):
    """What `pytest tests/contract` said on PyTorch, and what it left."""
    backends.need("torch")
    folder = tmp_path_factory.mktemp("torch")
    return backends.contract("torch", folder), folder


def test_the_contract_holds_on_torch(contract):
    backends.assert_it_holds(*contract, small.CASES)


@pytest.mark.skipif("os.environ.get('KERAS_BACKEND') == 'torch'", reason="needs two")
def test_both_backends_learn_the_same_from_the_same_weights(contract):
    _, folder = contract
    predictions = np.load(folder / "predictions.npy")
    np.testing.assert_allclose(
        predictions, small.learned_from_given_weights(), atol=1e-4
    )
    assert np.ptp(predictions[:, 0]) > 0.2  # it did learn something
