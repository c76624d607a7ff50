"""ExpertTraining alone: which phases it runs, and which weights stay."""

import types

import numpy as np
import pytest

from keras_lifelong.methods.par.expert_training import ExpertTraining
from keras_lifelong.training.hooks import clip_and_decay
from keras_lifelong.training.phase import Phase


class Stub:
    """A model of one number, which each phase multiplies by what it decays by."""

    def __init__(self, rate=0.1, higher=True):
        self.main_metric = types.SimpleNamespace(name="score", higher_is_better=higher)
        self.weights, self.stored, self.rate = 1.0, 0, rate

    def optimizer_config(self):
        return {"config": {"learning_rate": self.rate}}

    def get_active(self):
        return self.weights

    def set_active(self, values):
        self.weights = values

    def store_active(self):
        self.stored += 1


def run(model, training, grid, scores):
    """Runs it with these best scores; returns the phases and what it returned."""
    phase = Phase("reuse", [], loss=len, arguments={"strength": 2.0}, patience=3)
    phases, result = [], None
    generator = training.run(phase, grid)
    while True:
        try:
            phases.append(generator.send(result))
        except StopIteration as stop:
            return phases, stop.value
        model.weights = model.weights * float(phases[-1].arguments["weight_decay"])
        score = scores[len(phases) - 1]
        history = {"val_score": [score - 1, score, score - 2]}
        result = types.SimpleNamespace(history=history)


def test_a_single_weight_decay_completes_the_phase():
    model = Stub()
    training = ExpertTraining(model, 0.5, clip_norm=10.0)
    phases, best = run(model, training, training.weight_decays, [1.0])
    (phase,) = phases
    assert best is None and model.weights == 0.5 and not model.stored
    assert phase.name == "reuse" and phase.gradients is clip_and_decay
    assert phase.arguments == {"strength": 2.0, "weight_decay": 0.5, "clip_norm": 10.0}
    assert phase.arguments["clip_norm"].dtype == np.float32
    assert phase.keep_best and phase.patience == 3 and phase.loss is len
    assert phase.learning_rate is None


@pytest.mark.parametrize(
    ("scores", "best"),
    [([1.0, 3.0, 2.0], 4.0), ([3.0, 3.0, 2.0], 2.0), ([np.nan] * 3, None)],
)
def test_of_a_grid_the_best_stays_and_each_begins_alike(scores, best):
    model = Stub()
    training = ExpertTraining(model, [2.0, 4.0, 8.0])
    phases, found = run(model, training, training.weight_decays, scores)
    assert [p.name for p in phases] == [f"reuse, weight decay {d}" for d in (2, 4, 8)]
    assert found == best
    assert model.weights == (8.0 if best is None else best)
    assert model.stored == (best is not None)


def test_less_may_be_better():
    model = Stub(higher=False)
    training = ExpertTraining(model, [2.0, 4.0])
    history = [5.0, 9.0]  # the least of three epochs: 3 and 7
    assert run(model, training, training.weight_decays, history)[1] == 2.0


def test_schedules_begin_with_the_optimizers_rate():
    for schedule in ("cosine", "plateau"):
        plateau = {"patience": 1} if schedule == "plateau" else None
        training = ExpertTraining(Stub(), 0.0, schedule=schedule, plateau=plateau)
        assert training.learning_rate()(0, 10, {}) == pytest.approx(0.1)
    odd = ExpertTraining(Stub(rate={"class_name": "Decay"}), 0.0, schedule="cosine")
    with pytest.raises(ValueError, match="learning rate is a number"):
        odd.learning_rate()


def test_inputs_are_augmented_in_training():
    class Twice:
        variables = ("seed",)

        def __call__(self, x, training):
            return 2 * x if training else x

    plain, augmented = (ExpertTraining(Stub(), 0.0, augment=a) for a in (None, Twice()))
    assert plain.augmented(3) == 3 and plain.augment_variables() == []
    assert augmented.augmented(3) == 6 and augmented.augment_variables() == ("seed",)
