"""Presets written from a grammar of Keras' configurations: what is made is listed."""

import json
import random

import grammar
import pytest


def test_what_is_made_is_on_the_list(tmp_path):
    """Many more of them: `benchmarks/grammar_presets.py`."""
    found = grammar.run(tmp_path / "preset", 100)
    assert found["refused"] > 50 and found["looked_up"] > 0


@pytest.mark.parametrize("seed", range(3))
def test_the_grammar_draws_plain_data(seed):
    found = grammar.Grammar(random.Random(seed))
    drawn = [found.object() for _ in range(50)] + [found.graph()]
    assert json.loads(json.dumps(drawn))
