"""A preset makes as many layers as what it stores is worth."""

import time

import pytest
import small
from broken import Broken
from broken import entry

import keras_lifelong as kl
from keras_lifelong.presets import budget
from keras_lifelong.presets.reading import PresetError


def many(count, module="keras.layers", name="ReLU"):
    return [entry(module, name, {"name": f"l{i}"}) for i in range(count)]


@pytest.mark.parametrize("load_weights", [True, False])
def test_a_thousand_layers_that_store_nothing_are_refused_at_once(
    tmp_path, load_weights
):
    broken = Broken(tmp_path / "preset")
    broken.layers[2:2] = many(1000)
    path, start = broken.save(), time.process_time()
    with pytest.raises(PresetError, match=r"1,00\d calls of layers, where 250 are"):
        kl.LifelongModel.from_preset(path, load_weights=load_weights)
    assert time.process_time() - start < 2


def test_layers_are_paid_for_by_what_is_stored(monkeypatch):
    made = []
    monkeypatch.setattr(
        budget.networks, "deserialized", lambda config: made.append(config)
    )
    monkeypatch.setattr(budget, "is_graph", lambda network: False)

    def refusal(layers, stored):
        config = entry("keras", "Sequential", {"name": "s", "layers": many(layers)})
        with pytest.raises(ValueError) as caught:
            budget.check_network(config, lambda: stored)
        return str(caught.value)

    most = budget.LAYERS - 1  # the Sequential is one
    assert "must be a Sequential" in refusal(most, 0)  # it came so far
    assert "calls of layers" in refusal(most + 1, budget.A_LAYER - 1)
    assert "must be a Sequential" in refusal(most + 1, budget.A_LAYER)
    assert len(made) == 2


def test_a_layer_that_is_called_often_counts_as_often(tmp_path):
    """A model of 40 layers within the network, which calls it ten times."""
    inner = {
        **entry("keras", "Sequential", {"name": "n", "layers": many(40)}),
        "name": "n",
        "inbound_nodes": [{"args": [], "kwargs": {}}] * 10,
    }
    config = entry("keras", "Model", {"name": "m", "layers": [inner]})
    with pytest.raises(ValueError, match="411 calls of layers"):
        budget.check_network(config, lambda: 0)


def test_what_would_not_be_loaded_again_is_not_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "LAYERS", 3)
    monkeypatch.setattr(budget, "A_LAYER", 10**6)
    model = small.learned("Finetune", 1)
    with pytest.raises(ValueError, match="not be loaded again.*calls of layers.*keras"):
        model.save_to_preset(tmp_path / "preset")
    assert not (tmp_path / "preset").exists()
    monkeypatch.setattr(budget, "A_LAYER", 1)
    model.save_to_preset(tmp_path / "preset")
    small.assert_same(
        small.predictions(kl.LifelongModel.from_preset(tmp_path / "preset")),
        small.predictions(model),
    )
