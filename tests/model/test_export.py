"""One task of every method, exported and run by runtimes that know nothing of Keras."""

import keras
import numpy as np
import pytest
from keras import layers
from small import OPTIONS

from keras_lifelong.model import registry

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.random((24, 8, 8, 1)).astype("float32")


@pytest.fixture(scope="module", params=registry.names())
def model(request):
    """Two tasks, learned by a small convolutional network."""
    backbone = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(3, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(6, activation="relu"),
        ]
    )
    model = registry.get(request.param)(backbone, **OPTIONS.get(request.param, {}))
    model.compile(keras.optimizers.Adam(0.01))
    for i in range(2):
        y = np.arange(len(X)) // (i + 1) % 3
        model.fit(X, y, task=f"t{i}", verbose=0)
    return model


def run_saved_model(path, x):
    tf = pytest.importorskip("tensorflow", reason="runs SavedModels")
    loaded = tf.saved_model.load(str(path))
    return loaded.serve(x).numpy()


def run_onnx(path, x):
    runtime = pytest.importorskip("onnxruntime", reason="runs ONNX files")
    session = runtime.InferenceSession(str(path))
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def run_litert(path, x):
    module = "ai_edge_litert.interpreter"
    interpreter = pytest.importorskip(module, reason="runs LiteRT files").Interpreter(
        str(path)
    )
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


RUN = {
    "tf_saved_model": ("model", run_saved_model),
    "onnx": ("model.onnx", run_onnx),
    "litert": ("model.tflite", run_litert),
}


@pytest.mark.parametrize("format", RUN)
def test_an_exported_task_answers_as_the_model_does(model, format, tmp_path):
    if keras.config.backend() != "tensorflow":
        pytest.skip("Keras exports these from TensorFlow")
    file, run = RUN[format]
    for name in model.task_names:
        path = tmp_path / name / file
        path.parent.mkdir()
        single = model.task_model(name)
        single.export(str(path), format=format, verbose=False)
        found = run(path, X)
        expected = model.predict(X, task=name)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-5
