"""The third backend: the whole contract, in one process of its own."""

import backends
import pytest
import slow
import small


@pytest.fixture(scope="module")
def contract(tmp_path_factory, pytestconfig):
    """What `pytest tests/contract` said on PyTorch, and what it left."""
    backends.need("torch")
    folder = tmp_path_factory.mktemp("torch")
    return backends.contract("torch", folder, pytestconfig.getoption("-m")), folder


def test_the_contract_holds_on_torch(contract, pytestconfig):
    cases = small.CASES
    if backends.leaves_out(pytestconfig.getoption("-m")):
        cases = [case for case in cases if case not in slow.ELSEWHERE["torch"]]
    backends.assert_it_holds(*contract, cases)


@pytest.mark.skipif("os.environ.get('KERAS_BACKEND') == 'torch'", reason="needs two")
def test_both_backends_learn_the_same_from_the_same_weights(contract):
    backends.assert_it_learned(contract[1], small.learned_from_given_weights())
