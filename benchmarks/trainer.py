"""Time of a training step against a hand-written compiled loop and `Model.fit`.

    python benchmarks/trainer.py                     # TensorFlow
    KERAS_BACKEND=jax python benchmarks/trainer.py

The network is an MLP 784-100-100-10 with Adam, at batch 10 and 256. The hand-written
loop does the same arithmetic: it gathers shuffled rows from data on the device, and
Adam is written out. The three take turns in one process, an epoch each; what is
printed is the median of the ratios of turns, so that a slow moment of the machine
touches all alike. Compilation is left out. The issue's aim is at most 1.25.
"""

import os
import time

import keras
import numpy as np
from absl import app
from absl import flags

import keras_lifelong as kl
from keras_lifelong import backend
from keras_lifelong.training.data import ArrayData
from keras_lifelong.training.data import Buckets

TURNS = flags.DEFINE_integer("turns", 15, "turns of each")
BETA_1, BETA_2, EPSILON, RATE = 0.9, 0.999, 1e-7, 1e-3


def data(batch):
    rng = np.random.default_rng(0)
    n = 20_000 if batch == 10 else 51_200
    x = rng.random((n, 784)).astype("float32")
    return x, rng.integers(0, 10, n).astype("int32")


def backbone():
    layers = [keras.layers.Dense(100, activation="relu") for _ in range(2)]
    return keras.Sequential([keras.Input((784,)), *layers])


def initial():
    rng = np.random.default_rng(1)
    sizes = [(784, 100), (100, 100), (100, 10)]
    weights = []
    for a, b in sizes:
        weights += [rng.normal(0, a**-0.5, (a, b)), np.zeros(b)]
    return [w.astype("float32") for w in weights]


def tensorflow_loop(x, y, batch):
    """`tf.while_loop` over variables, with XLA as the trainer has it."""
    import tensorflow as tf

    x, y = tf.constant(x), tf.constant(y)
    weights = [tf.Variable(w) for w in initial()]
    first = [tf.Variable(tf.zeros_like(w)) for w in weights]
    second = [tf.Variable(tf.zeros_like(w)) for w in weights]
    time_step = tf.Variable(0.0)

    @tf.function(jit_compile=backend.prefers_xla(False), autograph=False)
    def epoch(rows):
        def body(i, total):
            xb, yb = tf.gather(x, rows[i]), tf.gather(y, rows[i])
            with tf.GradientTape() as tape:
                h = tf.nn.relu(xb @ weights[0] + weights[1])
                h = tf.nn.relu(h @ weights[2] + weights[3])
                logits = h @ weights[4] + weights[5]
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(yb, logits)
                loss = tf.reduce_mean(losses)
            gradients = tape.gradient(loss, weights)
            t = time_step.assign_add(1.0)
            alpha = RATE * tf.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)
            for w, m, v, g in zip(weights, first, second, gradients, strict=True):
                m.assign_add((g - m) * (1 - BETA_1))
                v.assign_add((tf.square(g) - v) * (1 - BETA_2))
                w.assign_sub(alpha * m / (tf.sqrt(v) + EPSILON))
            return i + 1, total + loss

        n = tf.shape(rows)[0]
        return tf.while_loop(lambda i, _: i < n, body, (0, 0.0))[1]

    return lambda rows: float(epoch(tf.constant(rows)))


def jax_loop(x, y, batch):
    """`lax.fori_loop` over arrays."""
    import jax
    import jax.numpy as jnp

    x, y = jnp.asarray(x), jnp.asarray(y)
    weights = [jnp.asarray(w) for w in initial()]
    zeros = [jnp.zeros_like(w) for w in weights]

    def loss_of(w, xb, yb):
        h = jax.nn.relu(xb @ w[0] + w[1])
        h = jax.nn.relu(h @ w[2] + w[3])
        logits = jax.nn.log_softmax(h @ w[4] + w[5])
        return -jnp.mean(jnp.take_along_axis(logits, yb[:, None], 1))

    @jax.jit
    def epoch(state, rows):
        def body(i, carry):
            weights, first, second, t, total = carry
            loss, g = jax.value_and_grad(loss_of)(weights, x[rows[i]], y[rows[i]])
            t = t + 1
            alpha = RATE * jnp.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)
            first = [m + (a - m) * (1 - BETA_1) for m, a in zip(first, g, strict=True)]
            second = [
                v + (a * a - v) * (1 - BETA_2) for v, a in zip(second, g, strict=True)
            ]
            weights = [
                w - alpha * m / (jnp.sqrt(v) + EPSILON)
                for w, m, v in zip(weights, first, second, strict=True)
            ]
            return weights, first, second, t, total + loss

        return jax.lax.fori_loop(0, rows.shape[0], body, (*state, 0.0))

    state = [weights, zeros, zeros, 0.0]

    def run(rows):
        *state[:], total = epoch(tuple(state), jnp.asarray(rows))
        return float(total)

    return run


def ours(x, y, batch):
    """The trainer's inner epoch, and a whole `fit` of one epoch."""
    model = kl.Finetune(backbone())
    model.compile(keras.optimizers.Adam(RATE))
    task = kl.Task("task", train=(x, y), validation_split=0)

    def fit(rows):
        model.fit(task, epochs=1, batch_size=batch, verbose=0)

    fit(None)
    loaded = model.load_task(task)
    phase = next(model.learn(loaded))
    held = ArrayData(x, y, batch, Buckets())
    program = model.trainer._program(phase, held)

    def inner(rows):
        for block in held.epoch(0):
            program.run(block, {})

    return inner, fit


def keras_fit(x, y, batch):
    model = keras.Sequential([*backbone().layers, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(RATE), loss)
    return lambda rows: model.fit(x, y, batch_size=batch, epochs=1, verbose=0)


def timed(function, rows):
    start = time.perf_counter()
    function(rows)
    return time.perf_counter() - start


def main(_):
    raw = {"tensorflow": tensorflow_loop, "jax": jax_loop}[backend.NAME]
    print(f"{backend.NAME}, {os.cpu_count()} cores; ratios to the hand-written loop")
    for batch in (10, 256):
        x, y = data(batch)
        rng = np.random.default_rng(2)
        rows = rng.permutation(len(x)).reshape(-1, batch).astype("int32")
        inner, fit = ours(x, y, batch)
        runners = {
            "hand-written": raw(x, y, batch),
            "trainer": inner,
            "kl fit": fit,
            "Model.fit": keras_fit(x, y, batch),
        }
        for runner in runners.values():
            timed(runner, rows)
        times = {name: [] for name in runners}
        for _ in range(TURNS.value):
            for name, runner in runners.items():
                times[name].append(timed(runner, rows))
        base = np.array(times.pop("hand-written"))
        for name, seconds in times.items():
            ratio = np.array(seconds) / base
            low, middle, high = np.percentile(ratio, [10, 50, 90])
            print(f"batch {batch:3d}  {name:10s} {middle:5.2f}  ({low:.2f}-{high:.2f})")


if __name__ == "__main__":
    app.run(main)
