"""Hypernetworks: published sizes, what goes where, and what storing preserves."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_lifelong as kl
from keras_lifelong.layers import hypernetwork
from keras_lifelong.layers.hypernetwork import ChunkedHypernetwork
from keras_lifelong.layers.hypernetwork import StructuredChunkedHypernetwork
from keras_lifelong.layers.hypernetwork import layers_of

MLP = [(784, 100), (100, 100), (100, 10)]
MLP_BIASES = [(784, 100), (100,), (100, 100), (100,), (100, 10), (10,)]


def resnet32(filters):
    """Shapes of ResNet-32 with normalisation and no other vectors."""
    backbone = kl.backbones.get("resnet32_thin", (32, 32, 3), filters=filters)
    shapes = [tuple(v.shape) for v in backbone.trainable_variables]
    return [*shapes, (filters[-1], 10)]


@pytest.mark.parametrize(
    "shapes, slots, conditional, count",
    [
        (MLP, 20, False, 35_736),
        (MLP, 50, False, 35_976),
        (MLP_BIASES, 20, False, 35_752),
        (MLP_BIASES, 50, False, 35_992),
        (MLP, 20, True, 103_680),
    ],
)
def test_sizes_of_the_chunked_one(shapes, slots, conditional, count):
    layer = ChunkedHypernetwork(shapes, slots, conditional=conditional)
    assert layer.count_params() == count


def test_sizes_of_the_structured_one():
    shapes = resnet32([5, 10, 20, 40])
    assert sum(int(np.prod(s)) for s in shapes) == 181_495
    layer = StructuredChunkedHypernetwork(shapes, 50)
    assert layer.chunks == [1, 2, 22, 44, 72, 1]
    assert layer.count_params() == 166_610
    assert StructuredChunkedHypernetwork(shapes, 20).count_params() == 132_290
    wide = resnet32([8, 16, 32, 64])
    assert sum(int(np.prod(s)) for s in wide) == 462_760
    tutorial = StructuredChunkedHypernetwork(wide, 10, [10, 10], slot_embedding=0)
    assert tutorial.count_params() == 117_896


def test_chunks_are_cut_anywhere_and_the_rest_is_dropped():
    layer = ChunkedHypernetwork([(3, 2), (2,)], 2, chunk=3, units=[4])
    raw = ops.convert_to_numpy(layer.raw(np.array([1])))
    assert layer.chunks == [3] and raw.shape == (1, 8)
    by_hand = []
    for chunk in range(3):
        e = ops.convert_to_numpy(layer.chunk_embeddings)[chunk]
        s = ops.convert_to_numpy(layer.slot_embeddings)[1]
        x = np.concatenate([e, s])[None]
        for inner in layer.inner[0]:
            x = inner(x)
        by_hand.append(ops.convert_to_numpy(x)[0])
    np.testing.assert_allclose(raw[0], np.concatenate(by_hand)[:8], rtol=1e-5)


def test_pieces_of_a_layer_lie_side_by_side():
    """A piece makes output channels of the kernel, and those of its vectors."""
    shapes = [(3, 3, 2, 4), (4,), (4, 8), (8,), (8, 3)]
    layer = StructuredChunkedHypernetwork(shapes, 2, units=[5])
    assert layer.width == 4 and layer.chunks == [1, 2, 1]
    rng = np.random.default_rng(0)
    chunks = [rng.random((1, 1, 76)), rng.random((1, 2, 20)), rng.random((1, 1, 24))]
    flat = ops.convert_to_numpy(layer.assemble([c.astype("float32") for c in chunks]))
    tensors = map(ops.convert_to_numpy, layer.tensors(flat[0]))
    conv, bias, dense, dense_bias, last = tensors
    np.testing.assert_allclose(conv.ravel(), chunks[0][0, 0, :72], rtol=1e-6)
    np.testing.assert_allclose(bias, chunks[0][0, 0, 72:], rtol=1e-6)
    for piece in (0, 1):
        columns = slice(4 * piece, 4 * piece + 4)
        values = chunks[1][0, piece]
        np.testing.assert_allclose(dense[:, columns].ravel(), values[:16], rtol=1e-6)
        np.testing.assert_allclose(dense_bias[columns], values[16:], rtol=1e-6)
    np.testing.assert_allclose(last.ravel(), chunks[2][0, 0], rtol=1e-6)


def test_vectors_belong_to_the_kernel_before_them():
    assert layers_of([(4, 8), (8,), (8,), (8, 8), (8,)]) == [[0, 1, 2], [3, 4]]
    assert layers_of([(4, 8), (3,)]) == [[0], [1]]


def test_a_fresh_one_draws_networks_of_the_usual_size():
    layer = ChunkedHypernetwork(MLP, 3, seed=1)
    for tensor, shape in zip(layer.generate(2), MLP, strict=True):
        assert tensor.std() == pytest.approx((2 / shape[0]) ** 0.5, rel=0.35)
    shapes, offsets = [(3, 3, 3, 4), (4,), (4, 2)], [0.0, 1.0, 0.0]
    scales = StructuredChunkedHypernetwork(shapes, 2, offsets=offsets).generate(0)[1]
    assert abs(scales.mean() - 1) < 0.3


@pytest.mark.parametrize("kind", ["chunked", "structured"])
def test_storing_several_networks(kind):
    shapes, rng = [(6, 4), (4,), (4, 3)], np.random.default_rng(0)
    wanted = {
        slot: [rng.normal(0, 0.5, shape).astype("float32") for shape in shapes]
        for slot in (0, 2)
    }
    layer = hypernetwork.get(kind, shapes, 3, units=[32, 32])
    before = layer.retention(wanted)
    after = layer.store(wanted, steps=600, learning_rate=1e-2)
    assert all(after[s] < 0.05 * before[s] for s in wanted)
    for slot, weights in wanted.items():
        for a, b in zip(layer.generate(slot), weights, strict=True):
            assert np.abs(a - b).max() < 0.6
    scored = layer.retention(wanted, score=lambda w: -abs(float(w[0].sum())))
    assert set(scored[2]) == {"error", "score", "drop"}
    early = layer.store(wanted, steps=600, learning_rate=1e-2, tolerance=1e9)
    assert early == layer.retention(wanted)


def test_a_slot_is_its_embeddings():
    layer = StructuredChunkedHypernetwork([(4, 4), (4, 2)], 3)
    other = layer.generate_from(layer.embeddings(1))
    for a, b in zip(other, layer.generate(1), strict=True):
        np.testing.assert_array_equal(a, b)
    before = layer.generate(0)
    drawn = layer.draw_embeddings(7, "new")
    layer.assign_embeddings(2, drawn)
    for a, b in zip(layer.generate(2), layer.generate_from(drawn), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(layer.generate(0), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_is_a_keras_layer():
    for kind in ("chunked", "structured"):
        layer = hypernetwork.get(kind, [(4, 4), (4,), (4, 2)], 2, seed=3)
        config = keras.saving.serialize_keras_object(layer)
        again = keras.saving.deserialize_keras_object(config)
        for a, b in zip(layer.generate(1), again.generate(1), strict=True):
            np.testing.assert_array_equal(a, b)
        assert layer.count_params() == sum(
            int(np.prod(v.shape)) for v in layer.trainable_variables
        )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"slots": 0}, "`slots`.*Received: 0"),
        ({"chunk": 0}, "`chunk`.*Received: 0"),
        ({"chunk_embedding": 0}, "`chunk_embedding`.*Received: 0"),
        ({"slot_embedding": 0}, "`slot_embedding`.*above 0"),
        ({"shapes": []}, "`shapes`"),
        ({"offsets": [1.0]}, "`offsets`.*2 shapes.*Received: 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ChunkedHypernetwork(**{"shapes": [(3, 2), (2,)], "slots": 2, **arguments})


def test_bad_weights_and_slots():
    layer = ChunkedHypernetwork([(3, 2), (2,)], 2)
    with pytest.raises(ValueError, match="`slot`.*0 to 1.*Received: 2"):
        layer.generate(2)
    with pytest.raises(ValueError, match="`weights`.*Received"):
        layer.store({0: [np.zeros((2, 3)), np.zeros(2)]})
    with pytest.raises(ValueError, match="`weights`.*one slot"):
        layer.store({})
    with pytest.raises(ValueError, match="`width` must divide"):
        StructuredChunkedHypernetwork([(3, 6), (6, 2)], 2, width=4)
    with pytest.raises(ValueError, match="no hypernetwork 'whole'.*: chunked, struc"):
        hypernetwork.get("whole", [(3, 2)], 2)


def test_depthwise_kernels_are_cut_with_their_channels():
    """Pieces hold channels, and the vectors after them; put together as they were."""
    shapes = [(3, 3, 4, 1), (4,), (1, 1, 4, 4), (4,), (4, 3)]
    layer = StructuredChunkedHypernetwork(shapes, 2, units=[5], width=2)
    assert layer.depthwise == [0] and layer.chunks == [2, 2, 1]
    tensors = [
        np.arange(np.prod(s)).reshape(s) + 100.0 * i for i, s in enumerate(shapes)
    ]
    chunks = []
    for kernel, vector, shape in ((0, 1, (3, 3, 4)), (2, 3, (1, 1, 4, 4))):
        whole = tensors[kernel].reshape(shape)
        pieces = [
            np.append(whole[..., i : i + 2].ravel(), tensors[vector][i : i + 2])
            for i in (0, 2)
        ]
        chunks.append(np.stack(pieces)[None].astype("float32"))
    chunks.append(tensors[4].reshape(1, 1, -1).astype("float32"))
    found = ops.convert_to_numpy(layer.assemble(chunks))[0]
    whole = np.concatenate([t.ravel() for t in tensors]).astype("float32")
    np.testing.assert_array_equal(found, whole)


def test_of_a_small_network_fewer_numbers_are_held_if_that_can_be():
    shapes = [(3, 3, 16, 1), (1, 1, 16, 16), (16,), (16,)] * 40 + [(16, 10)]
    layer = StructuredChunkedHypernetwork(shapes, 20)
    assert layer.count_params() < layer.size == 40 * (144 + 256 + 32) + 160
    again = StructuredChunkedHypernetwork.from_config(layer.get_config())
    assert again.count_params() == layer.count_params()
    given = StructuredChunkedHypernetwork(shapes, 20, [25, 25], 16, True)
    assert given.width == 16 and given.count_params() > given.size


def test_usual_sizes_may_be_given():
    layer = ChunkedHypernetwork([(4, 2), (3, 2)], 2, usual=[5.0, 0.1])
    sizes = [np.abs(w).mean() for w in layer.generate(0)]
    assert sizes[0] > 10 * sizes[1]
    with pytest.raises(ValueError, match="`usual` must be one for each of 2.*: 1"):
        ChunkedHypernetwork([(4, 2), (3, 2)], 2, usual=[5.0])
