"""Tasks are scored by the metrics that are for their kind."""

import keras
import numpy as np
import pytest
import small

import keras_lifelong as kl

pytestmark = pytest.mark.usefixtures("eager")

VALUES = small.X[:, :1] * 2


def new(method="Finetune", **kwargs):
    model = getattr(kl, method)(small.backbone())
    model.compile("adam", **kwargs)
    return model


def task(name, y):
    held = small.X[:20], y[:20]
    return kl.Task(name, train=(small.X, y), validation=held, test=held)


def tasks():
    return [task("class", small.labels(1)), task("value", VALUES)]


@pytest.mark.parametrize("method", ["Finetune", "DEN", "EWC"])
def test_a_stream_of_two_kinds(method):
    model = new(method, metrics=["accuracy", "mse"])
    names = []

    class See(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            names.append({n for n in logs if n.startswith("val_")} - {"val_loss"})

    first, second = tasks()
    result = model.fit_stream([first, second], verbose=0, callbacks=[See()])
    assert names[0] == {"val_accuracy"} and names[-1] == {"val_mse"}
    assert np.isfinite(result.acc) and np.isfinite(result.measures("mse")["acc"])
    assert set(model.evaluate(first)) == {"loss", "accuracy"}
    found = model.evaluate(second)["mse"]
    want = np.mean((model.predict(second.test[0], task="value") - VALUES[:20]) ** 2)
    assert found == pytest.approx(want) == pytest.approx(result.matrices["mse"][1, 1])


def test_a_tested_task_without_a_metric_is_refused_before_training():
    model = new(metrics=["accuracy"])
    with pytest.raises(ValueError, match="`metrics`.*regression tasks.*'mse'.*'value'"):
        model.fit(tasks()[1], verbose=0)
    assert model.task_names == []


@pytest.mark.parametrize("split", ["validation", "test"])
def test_labels_that_a_metric_cannot_be_of_are_refused_before_training(split):
    model = new(metrics=["accuracy", "auroc"])
    y, epochs = small.labels(1), []
    held = {"validation": (small.X[:20], y[:20]), "test": (small.X[:20], y[:20])}
    held[split] = (small.X[:5], np.ones(5, int))
    bad = kl.Task("bad", kl.TaskSpec(2, input_shape=(6,)), train=(small.X, y), **held)
    see = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: epochs.append(1))
    said = rf"{split} of task 'bad': .*'auroc'.*one class among 5.*\[0, 5\]"
    with pytest.raises(ValueError, match=said):
        model.fit_stream([task("good", y), bad], epochs=3, verbose=0, callbacks=[see])
    assert model.task_names == ["good"] and len(epochs) == 3


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data.batch(2), ".*'auroc'.*one class among 5"),
        (lambda data: data.map(lambda x, y: (x, y + 1)), "`y` must be in 0 ... 1"),
        (lambda data: data.take(0), "one example"),
        (lambda data: data.repeat(), "for ever"),
    ],
)
def test_so_are_those_of_a_dataset(split, change, said):
    tf = pytest.importorskip("tensorflow")
    model, begun = new(metrics=["accuracy", "auroc"]), []
    one_class = tf.data.Dataset.from_tensor_slices((small.X[:5], np.ones(5, int)))
    held = {"validation_split": 0, split: change(one_class)}
    spec, train = kl.TaskSpec(2, input_shape=(6,)), (small.X, small.labels(1))
    see = keras.callbacks.LambdaCallback(on_train_begin=lambda *_: begun.append(1))
    with pytest.raises(ValueError, match=f"{split} of task 'bad'.*{said}"):
        bad = kl.Task("bad", spec, train=train, **held)
        model.fit(bad, verbose=0, callbacks=[see])
    assert model.task_names == [] and not begun


@pytest.mark.parametrize("is_read_later", [False, True])
def test_a_later_task_without_a_metric_is_refused_before_the_first(is_read_later):
    model, given = new(metrics=["accuracy"]), tasks()
    if is_read_later:
        spec, held = kl.TaskSpec(1, "regression", (6,)), (small.X, VALUES)
        given[1] = kl.Task("value", spec, train=lambda: held, test=lambda: held)
    with pytest.raises(ValueError, match="`metrics`.*regression tasks.*'mse'.*'value'"):
        model.fit_stream(given, verbose=0)
    assert model.task_names == []


@pytest.mark.parametrize(
    ("method", "options", "of", "said"),
    [
        ("Finetune", {}, ((3, "shared"), (2, "shared")), "'b' shares the head of"),
        ("Joint", {}, ((3, "per_task"), (2, "per_task")), "one kind and size.*'b'"),
        ("LwF", {}, ((3, "per_task"), (2, "shared")), "'b' with head 'shared'"),
        (
            "ICaRL",
            {"budget": 4},
            ((3, "per_task"), (2, "per_task")),
            "each of the 5 classes, those of task 'b' included.*room for 4",
        ),
    ],
)
def test_a_later_task_that_does_not_fit_is_refused_before_the_first(
    method, options, of, said
):
    model = getattr(kl, method)(small.backbone(), **options)
    model.compile("adam")
    specs = [kl.TaskSpec(n, "categorical", (6,), head) for n, head in of]
    stream = [
        kl.Task(name, spec, train=(small.X, np.arange(48) % spec.num_classes))
        for name, spec in zip("ab", specs, strict=True)
    ]
    with pytest.raises(ValueError, match=said):
        model.fit_stream(stream, verbose=0)
    assert model.task_names == []
    model.fit(stream[0], verbose=0)
    with pytest.raises(ValueError, match=said):  # after those that it knows, too
        model.fit_stream(stream[1:], verbose=0)
    assert model.task_names == ["a"]


def test_no_task_is_made_to_be_foreseen():
    made = []

    def make(index):
        made.append(index)
        return tasks()[index]

    model = new(metrics=["accuracy"])
    with pytest.raises(ValueError, match="regression tasks"):
        model.fit_stream(kl.TaskStream(make, num_tasks=2), verbose=0)
    assert made == [0, 1] and model.task_names == ["class"]


def test_epochs_of_a_task_without_a_metric_are_compared_by_loss():
    model = new(metrics=["accuracy"])
    history = model.fit(
        small.X, VALUES, task="value", validation_data=(small.X, VALUES), verbose=0
    )
    assert set(history.history) == {"loss", "val_loss"}
    assert set(model.evaluate(small.X, VALUES, task="value")) == {"loss"}


def test_metrics_come_with_the_model(tmp_path):
    top = keras.metrics.TopKCategoricalAccuracy(k=2, name="top2")
    model = new(metrics=["auroc", top])
    model.fit(tasks()[0], verbose=0)
    model.save(tmp_path / "m.keras")
    model.save_to_preset(tmp_path / "preset")
    x, y = small.X, small.labels(1)
    want = model.evaluate(x, y, task="class")
    for other in (
        keras.models.load_model(tmp_path / "m.keras"),
        kl.LifelongModel.from_preset(tmp_path / "preset"),
    ):
        found = other.evaluate(x, y, task="class")
        assert found.keys() == want.keys() == {"loss", "auroc", "top2"}
        assert found["top2"] == want["top2"] == 1.0


def test_a_model_that_was_never_compiled_is_saved(tmp_path):
    model = kl.EWC(small.backbone())
    assert model.metrics == []
    model.save(tmp_path / "m.keras")
    assert not keras.models.load_model(tmp_path / "m.keras").compiled
