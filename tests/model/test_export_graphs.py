"""Tasks of networks that are no chains, exported to ONNX and run without Keras."""

import keras
import numpy as np
import pytest
from networks import NETWORKS
from networks import examples
from networks import labels
from small import OPTIONS

from keras_lifelong.model import registry

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

# `vit_small` is not among them: tf2onnx has no operator for its exact GELU (Erfc).
CASES = [
    *(("resnet_light", "DEN"), ("resnet_light", "LASEM")),
    *(("mobilenet_like", "DEN"), ("mobilenet_like", "BindAndGrow")),
    *(("two_branch_shared", "BindAndGrow"), ("two_branch_shared", "ARI")),
    *(("conv1d", "Finetune"), ("conv1d", "PAR")),
    *(("two_inputs", "BindAndGrow"), ("two_inputs", "PAR")),
]


def run_onnx(path, x):
    """What a file says of inputs, which are told apart by their shapes."""
    runtime = pytest.importorskip("onnxruntime", reason="runs ONNX files")
    session = runtime.InferenceSession(str(path))
    by_shape = {a.shape[1:]: a for a in keras.tree.flatten(x)}
    given = {i.name: by_shape[tuple(i.shape[1:])] for i in session.get_inputs()}
    return session.run(None, given)[0]


@pytest.mark.skipif("keras.backend.backend() != 'tensorflow'", reason="it exports ONNX")
@pytest.mark.parametrize(("network", "method"), CASES)
def test_onnx_answers_as_the_model_does(eager, network, method, tmp_path):
    import tensorflow as tf

    model = registry.get(method)(NETWORKS[network](), **OPTIONS.get(method, {}))
    model.compile(keras.optimizers.Adam(0.01))
    x = examples(NETWORKS[network](), 16)
    for i in range(2):
        model.fit(x, labels(16, i), task=f"t{i}", verbose=0, batch_size=8)
    expected = {name: model.predict(x, task=name) for name in model.task_names}
    tf.config.run_functions_eagerly(False)  # what is exported is traced
    for name in model.task_names:
        path = tmp_path / f"{name}.onnx"
        model.task_model(name).export(str(path), format="onnx", verbose=False)
        found = run_onnx(path, x)
        assert found.shape == expected[name].shape
        assert np.abs(found - expected[name]).max() <= 1e-5
