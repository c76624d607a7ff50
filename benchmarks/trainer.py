"""Time of a training step against a hand-written compiled loop and `Model.fit`.

    python benchmarks/trainer.py                     # TensorFlow, about 6 minutes
    KERAS_BACKEND=jax python benchmarks/trainer.py

The network is an MLP 784-100-100-10, with SGD and Adam, at batch 10 and 256. The
hand-written loop does the same arithmetic: it gathers shuffled rows from data on the
device, and the optimizers are written out; its first epoch must give our loss. Every
turn times an epoch of it right before an epoch of each of

    trainer    our compiled loop, called as the trainer calls it; it follows accuracy,
               as always, and the hand-written loop does not;
    kl epoch   the second epoch inside our `fit`: callbacks and copies of a head added;
    watched    the same with callbacks that read every epoch (`EarlyStopping`,
               `ReduceLROnPlateau`, `TerminateOnNaN`);
    Model.fit  plain Keras.

What is printed is the median (lowest to highest) of the ratios within turns, so that a
slow moment of the machine touches both sides. Compilation is left out. The aim is a
trainer at no more than 1.25. `once` is what a `fit` costs besides its epochs, in
epochs: checking the data and copying it to the device.

With TensorFlow it ends with XLA against TensorFlow's own kernels, for this network and
a small convolutional one, on which `keras_lifelong.backend.prefers_xla` is based.
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

TURNS = flags.DEFINE_integer("turns", 7, "turns of each", lower_bound=1)
BATCHES = flags.DEFINE_list("batches", ["10", "256"], "batch sizes")
OPTIMIZERS = flags.DEFINE_list("optimizers", ["SGD", "Adam"], "SGD, Adam")
SCALE = flags.DEFINE_float("scale", 1.0, "of the number of steps in an epoch")
MODES = flags.DEFINE_bool("modes", True, "whether to compare XLA with TensorFlow")

WATCHING = (
    lambda: keras.callbacks.EarlyStopping("loss", patience=5),
    lambda: keras.callbacks.ReduceLROnPlateau("loss", patience=5),
    keras.callbacks.TerminateOnNaN,
)
BETA_1, BETA_2, EPSILON, RATE = 0.9, 0.999, 1e-7, 1e-3


def data(batch, steps):
    rng = np.random.default_rng(0)
    x = rng.random((batch * steps, 784), "float32")
    return x, rng.integers(0, 10, len(x)).astype("int32")


def backbone():
    layers = [keras.layers.Dense(100, activation="relu") for _ in range(2)]
    return keras.Sequential([keras.Input((784,)), *layers])


def initial():
    rng = np.random.default_rng(1)
    weights = []
    for inputs, units in [(784, 100), (100, 100), (100, 10)]:
        weights += [rng.normal(0, inputs**-0.5, (inputs, units)), np.zeros(units)]
    return [w.astype("float32") for w in weights]


def tensorflow_loop(x, y, optimizer):
    """`tf.while_loop` over variables, with XLA where the trainer has it."""
    import tensorflow as tf

    x, y = tf.constant(x), tf.constant(y)
    weights = [tf.Variable(w) for w in initial()]
    first = [tf.Variable(tf.zeros_like(w)) for w in weights]
    second = [tf.Variable(tf.zeros_like(w)) for w in weights]
    time_step = tf.Variable(0.0)

    def sgd(gradients):
        for w, g in zip(weights, gradients, strict=True):
            w.assign_sub(RATE * g)

    def adam(gradients):
        t = time_step.assign_add(1.0)
        alpha = RATE * tf.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)
        for w, m, v, g in zip(weights, first, second, gradients, strict=True):
            m.assign_add((g - m) * (1 - BETA_1))
            v.assign_add((tf.square(g) - v) * (1 - BETA_2))
            w.assign_sub(alpha * m / (tf.sqrt(v) + EPSILON))

    update = {"SGD": sgd, "Adam": adam}[optimizer]

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
            update(tape.gradient(loss, weights))
            return i + 1, total + loss

        n = tf.shape(rows)[0]
        return tf.while_loop(lambda i, _: i < n, body, (0, 0.0))[1]

    return lambda rows: float(epoch(tf.constant(rows))) / len(rows)


def jax_loop(x, y, optimizer):
    """`lax.fori_loop` over arrays."""
    import jax
    import jax.numpy as jnp

    x, y = jnp.asarray(x), jnp.asarray(y)

    def loss_of(w, xb, yb):
        h = jax.nn.relu(xb @ w[0] + w[1])
        h = jax.nn.relu(h @ w[2] + w[3])
        logits = jax.nn.log_softmax(h @ w[4] + w[5])
        return -jnp.mean(jnp.take_along_axis(logits, yb[:, None], 1))

    def each(function, *lists):
        return [function(*items) for items in zip(*lists, strict=True)]

    def sgd(weights, first, second, t, g):
        return each(lambda w, a: w - RATE * a, weights, g), first, second, t

    def adam(weights, first, second, t, g):
        t = t + 1
        alpha = RATE * jnp.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)
        first = each(lambda m, a: m + (a - m) * (1 - BETA_1), first, g)
        second = each(lambda v, a: v + (a * a - v) * (1 - BETA_2), second, g)
        weights = each(
            lambda w, m, v: w - alpha * m / (jnp.sqrt(v) + EPSILON),
            weights,
            first,
            second,
        )
        return weights, first, second, t

    update = {"SGD": sgd, "Adam": adam}[optimizer]

    @jax.jit
    def epoch(state, x, y, rows):
        def body(i, carry):
            *state, total = carry
            loss, g = jax.value_and_grad(loss_of)(state[0], x[rows[i]], y[rows[i]])
            return *update(*state, g), total + loss

        return jax.lax.fori_loop(0, rows.shape[0], body, (*state, 0.0))

    weights = [jnp.asarray(w) for w in initial()]
    zeros = [jnp.zeros_like(w) for w in weights]
    state = [weights, zeros, zeros, 0.0]

    def run(rows):
        *state[:], total = epoch(tuple(state), x, y, jnp.asarray(rows))
        return float(total) / len(rows)

    return run


def lifelong(task, network, optimizer, batch, jit_compile="auto"):
    """A model that knows a task, the phase that learns it, and the task's data."""
    model = kl.Finetune(network)
    rate = getattr(keras.optimizers, optimizer)(RATE)
    model.compile(rate, jit_compile=jit_compile)
    loaded = model.load_task(task)
    model.add_task(loaded.name, loaded.spec)
    model.activate(loaded.name)
    phase = next(model.learn(loaded))
    return model, phase, ArrayData(*loaded.train, batch, Buckets())


def compiled(model, phase, held):
    """The trainer's inner epoch: `run()` returns the mean loss."""
    active, key = model.active_variables(), model.loss_key()
    program, arguments = model.trainer.prepared(phase, held, 0, active, key)

    def run(rows=None):
        blocks = held.epoch(0)
        return sum(program.run(block, arguments)[1] for block in blocks) / held.length

    return run


def our_fit(task, optimizer, batch, callbacks=()):
    """A function that learns two epochs, under callbacks."""
    model = kl.Finetune(backbone())
    model.compile(getattr(keras.optimizers, optimizer)(RATE))
    ends = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter())
    )

    def run():
        """Seconds of the second epoch, and of all that was no epoch."""
        ends.clear()
        start = time.perf_counter()
        model.fit(
            task,
            epochs=2,
            batch_size=batch,
            verbose=0,
            callbacks=[clock, *(make() for make in callbacks)],
        )
        total, epoch = time.perf_counter() - start, ends[1] - ends[0]
        return epoch, total - 2 * epoch

    return run


def keras_fit(x, y, optimizer, batch):
    model = keras.Sequential([*backbone().layers, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(getattr(keras.optimizers, optimizer)(RATE), loss)
    return lambda: model.fit(x, y, batch_size=batch, epochs=1, verbose=0)


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def spread(values, form="5.2f"):
    low, middle, high = min(values), np.median(values), max(values)
    return f"{middle:{form}} ({low:{form.lstrip('5')}} to {high:{form.lstrip('5')}})"


def compare(batch, optimizer):
    """Prints the ratios of one batch size and optimizer."""
    steps = int((5000 if batch < 100 else 400) * SCALE.value)
    x, y = data(batch, steps)
    task = kl.Task("task", train=(x, y), validation_split=0)
    model, phase, held = lifelong(task, backbone(), optimizer, batch)
    for variable, value in zip(phase.variables, initial(), strict=True):
        variable.assign(value)
    trainer = compiled(model, phase, held)
    rows = np.concatenate([block.rows[: block.steps] for block in held.epoch(0)])
    by_hand = {"tensorflow": tensorflow_loop, "jax": jax_loop}[backend.NAME]
    raw = by_hand(x, y, optimizer)
    np.testing.assert_allclose(trainer(), raw(rows), rtol=1e-3)
    fit, plain = our_fit(task, optimizer, batch), keras_fit(x, y, optimizer, batch)
    watched = our_fit(task, optimizer, batch, WATCHING)
    fit(), watched(), plain()  # compiles
    ratios = {"trainer": [], "kl epoch": [], "watched": [], "Model.fit": []}
    once, step = [], []
    for _ in range(TURNS.value):
        base = seconds(raw, rows)
        ratios["trainer"].append(seconds(trainer) / base)
        step.append(1e6 * base / steps)
        base = seconds(raw, rows)
        epoch, rest = fit()
        ratios["kl epoch"].append(epoch / base)
        once.append(rest / epoch)
        base = seconds(raw, rows)
        ratios["watched"].append(watched()[0] / base)
        base = seconds(raw, rows)
        ratios["Model.fit"].append(seconds(plain) / base)
    print(f"batch {batch}, {optimizer}, {steps} steps an epoch")
    print(f"  hand-written {np.median(step):.0f} microseconds a step")
    for name, values in ratios.items():
        print(f"  {name:9s} {spread(values)}")
    print(f"  once, in epochs: {spread(once)} for {x.nbytes / 1e6:.0f} MB", flush=True)


def compare_modes():
    """Prints the time of a step under XLA over that of TensorFlow's own kernels."""
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # warns of compilations, which are wanted here
    convolutional = kl.backbones.get("cnn", (28, 28, 1), filters=[16, 32], units=[64])
    for name, network, shape, steps in (
        ("dense 784-100-100-10", backbone(), (784,), 1000),
        ("conv 16-32, dense 64", convolutional, (28, 28, 1), 20),
    ):
        for batch in (10, 256):
            x, y = data(batch, max(4, steps * 10 // batch))
            x = x.reshape(-1, *shape)
            task = kl.Task("task", train=(x, y), validation_split=0)
            xla = compiled(*lifelong(task, network, "Adam", batch, True))
            own = compiled(*lifelong(task, network, "Adam", batch, False))
            xla(), own()  # compiles
            ratios = [seconds(xla) / seconds(own) for _ in range(TURNS.value)]
            print(f"XLA / own kernels, {name}, batch {batch}: {spread(ratios)}")


def main(_):
    print(f"{backend.NAME}, {os.cpu_count()} cores; times over the hand-written loop's")
    for batch in map(int, BATCHES.value):
        for optimizer in OPTIMIZERS.value:
            compare(batch, optimizer)
    if MODES.value and backend.NAME == "tensorflow":
        compare_modes()


if __name__ == "__main__":
    app.run(main)
