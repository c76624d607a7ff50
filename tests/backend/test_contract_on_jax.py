"""The second backend: the whole contract, in one process of its own."""

import backends
import pytest
import slow
import small


@pytest.fixture(scope="module")
def contract(tmp_path_factory, pytestconfig):
    """What `pytest tests/contract` said on JAX, and what it left."""
    backends.need("jax")
    folder = tmp_path_factory.mktemp("jax")
    # The same small programs are compiled again and again: by each of them once.
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    return backends.contract(
        "jax", folder, pytestconfig.getoption("-m"), **cache
    ), folder


def test_the_contract_holds_on_jax(contract, pytestconfig):
    cases = small.CASES
    if backends.leaves_out(pytestconfig.getoption("-m")):
        cases = [case for case in cases if case not in slow.ELSEWHERE["jax"]]
    backends.assert_it_holds(*contract, cases)


@pytest.mark.skipif("os.environ.get('KERAS_BACKEND') == 'jax'", reason="needs two")
def test_both_backends_learn_the_same_from_the_same_weights(contract):
    backends.assert_it_learned(contract[1], small.learned_from_given_weights())
