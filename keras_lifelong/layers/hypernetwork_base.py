"""What hypernetworks have in common: slots, generating and storing sets of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.seeds import derive_seed

K = keras.layers


class Hypernetwork(keras.layers.Layer):
    """What both kinds have in common: slots, generating, storing, what was retained.

    Values are generated in units of each tensor's usual size, √(2 / fan-in) for kernels
    and a tenth for vectors, so that a fresh hypernetwork draws sound networks and an
    error counts alike in all layers. `offsets` are added: 1 for the scales of batch
    normalisation, for example. It computes in float32, whatever the policy: weights of
    halves would be too coarse.

    Args:
        shapes: of the tensors of one set of weights, kernels as Keras has them.
        slots: K, how many sets it keeps.
        units: of the hidden layers (ReLU) of the inner networks.
        chunk_embedding: width of a chunk's embedding.
        slot_embedding: width of a slot's embedding, 0 for none.
        conditional: whether every slot has chunk embeddings of its own.
        offsets: what is added to every value of a tensor, one number each.
        usual: the usual size of a tensor's values, one number each. None: by their
            shapes; see `usual_size`.
        depthwise: places of the tensors that are kernels of depthwise convolutions,
            whose outputs are their last two axes. None: by their shapes.
        seed: of the initial weights.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        shapes: Sequence[Sequence[int]],
        slots: int,
        units: Sequence[int],
        chunk_embedding: int = 8,
        slot_embedding: int = 8,
        conditional: bool = False,
        offsets: Sequence[float] | None = None,
        usual: Sequence[float] | None = None,
        depthwise: Sequence[int] | None = None,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.shapes = [tuple(int(n) for n in shape) for shape in shapes]
        self.offsets = [0.0] * len(self.shapes) if offsets is None else list(offsets)
        counts = {"slots": slots, "chunk_embedding": chunk_embedding}
        for name, value in counts.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"`{name}` must be an integer of at least 1. Received: {value!r}"
                )
        if not isinstance(slot_embedding, int) or slot_embedding < 0:
            raise ValueError(
                f"`slot_embedding` must be an integer of at least 0. "
                f"Received: {slot_embedding!r}"
            )
        if not (slot_embedding or conditional):
            raise ValueError(
                "`slot_embedding` must be above 0 unless `conditional`: slots would "
                "all be the same. Received: 0"
            )
        if not self.shapes or any(not math.prod(s) for s in self.shapes):
            raise ValueError(
                f"`shapes` must be those of one tensor or more. Received: {shapes!r}"
            )
        if usual is None:
            usual = [usual_size(shape) for shape in self.shapes]
        self.usual = [float(size) for size in usual]
        if depthwise is None:
            depthwise = [i for i, s in enumerate(self.shapes) if is_depthwise(s)]
        self.depthwise = [int(place) for place in depthwise]
        for name, given in (("offsets", self.offsets), ("usual", self.usual)):
            if len(given) != len(self.shapes):
                raise ValueError(
                    f"`{name}` must be one for each of {len(self.shapes)} shapes. "
                    f"Received: {len(given)}"
                )
        self.slots, self.units, self.seed = slots, list(units), int(seed)
        self.chunk_embedding, self.slot_embedding = chunk_embedding, slot_embedding
        self.conditional = bool(conditional)
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.size = sum(self.sizes)
        self._scale = np.concatenate(
            [
                np.full(n, u, "float32")
                for n, u in zip(self.sizes, self.usual, strict=True)
            ]
        )
        self._offset = np.repeat(np.array(self.offsets, "float32"), self.sizes)

    # What the kinds differ in

    def _make(self, chunks: Sequence[int], widths: Sequence[int]):
        """Makes an inner network for each kind of chunk, and the embeddings.

        Args:
            chunks: how many there are of each kind.
            widths: numbers in a chunk of each kind.
        """
        self.chunks, self.inner = list(chunks), []
        first = self.chunk_embedding + self.slot_embedding
        for kind, width in enumerate(widths):
            sizes = [*self.units, width]
            layers = []
            for depth, (inputs, outputs) in enumerate(
                zip([first, *self.units], sizes, strict=True)
            ):
                last = depth == len(sizes) - 1
                seed = derive_seed(self.seed, "inner", kind, depth)
                init = keras.initializers.VarianceScaling(
                    1.0 if last else 2.0, "fan_in", "untruncated_normal", seed
                )
                layer = K.Dense(
                    outputs,
                    None if last else "relu",
                    kernel_initializer=init,
                    dtype="float32",
                )
                layer.build((None, inputs))
                layers.append(layer)
            self.inner.append(layers)
            for i, layer in enumerate(layers):
                setattr(self, f"inner_{kind}_{i}", layer)  # so that Keras tracks it

        def embedding(name, *shape):
            seed = derive_seed(self.seed, "embedding", name)
            init = keras.initializers.RandomNormal(stddev=1.0, seed=seed)
            return self.add_weight(name=name, shape=shape, initializer=init)

        owners = (self.slots,) if self.conditional else ()
        total = sum(self.chunks)
        self.chunk_embeddings = embedding(
            "chunk_embeddings", *owners, total, self.chunk_embedding
        )
        self.slot_embeddings = None
        if self.slot_embedding:
            self.slot_embeddings = embedding(
                "slot_embeddings", self.slots, self.slot_embedding
            )
        self.built = True

    def assemble(self, chunks: list):
        """All values (n, N) from the chunks of each kind, (n, count, width)."""
        raise NotImplementedError

    # Generating

    def call(self, slots):
        """The values (n, N) of some slots, in the order of `shapes`.

        Args:
            slots: integers (n,).
        """
        return self.scaled(self.raw(slots))

    def scaled(self, raw):
        """Values (…, N) from those in units of the tensors' usual sizes."""
        return ops.add(ops.multiply(raw, self._scale), self._offset)

    def raw(self, slots):
        """As `call`, in units of each tensor's usual size: what is compared."""
        slots = ops.cast(slots, "int32")
        chunks = ops.convert_to_tensor(self.chunk_embeddings)
        if self.conditional:
            chunks = ops.take(chunks, slots, axis=0)
        else:
            shape = (ops.shape(slots)[0], *chunks.shape)
            chunks = ops.broadcast_to(chunks[None], shape)
        if self.slot_embeddings is not None:
            own = ops.take(ops.convert_to_tensor(self.slot_embeddings), slots, axis=0)
            shape = (*ops.shape(chunks)[:2], own.shape[-1])
            own = ops.broadcast_to(own[:, None], shape)
            chunks = ops.concatenate([chunks, own], axis=-1)
        found, start = [], 0
        for count, layers in zip(self.chunks, self.inner, strict=True):
            x = chunks[:, start : start + count]
            start += count
            for layer in layers:
                x = layer(x)
            found.append(x)
        return self.assemble(found)

    def tensors(self, values) -> list:
        """The tensors of one slot, from its values (N,)."""
        found, start = [], 0
        for shape, size in zip(self.shapes, self.sizes, strict=True):
            found.append(ops.reshape(values[start : start + size], shape))
            start += size
        return found

    def generate(self, slot: int) -> list[np.ndarray]:
        """The weights in a slot, arrays of `shapes`.

        Raises:
            ValueError: if there is no such slot.
        """
        self._check_slot(slot)
        values = self._generated(np.array([slot], "int32"))
        return [ops.convert_to_numpy(t).copy() for t in self.tensors(values[0])]

    def _generated(self, slots) -> np.ndarray:
        if not hasattr(self, "_call"):
            run = backend.compile_function(self.call, self.variables, xla=False)
            self._call = run
        values = [ops.convert_to_tensor(v) for v in self.variables]
        return ops.convert_to_numpy(self._call(values, ops.convert_to_tensor(slots)))

    # Storing

    def standard(self, weights: Sequence[np.ndarray]) -> np.ndarray:
        """A set of weights as values (N,) in units of the tensors' usual sizes.

        Raises:
            ValueError: if they are not of the shapes that this hypernetwork generates.
        """
        shapes = [np.shape(w) for w in weights]
        if shapes != self.shapes:
            raise ValueError(
                f"`weights` must be arrays of shapes {self.shapes}. Received: {shapes}"
            )
        flat = np.concatenate([np.asarray(w, "float32").reshape(-1) for w in weights])
        return (flat - self._offset) / self._scale

    def store(
        self,
        weights: dict[int, Sequence[np.ndarray]],
        steps: int = 2000,
        learning_rate: float = 3e-3,
        tolerance: float = 0.0,
    ) -> dict[int, float]:
        """Learns to generate sets of weights; slots that are not named may change.

        Adam on all named slots at once, its learning rate falling along a cosine.

        Args:
            weights: by slot, arrays of `shapes`.
            steps: of the optimizer, at most.
            learning_rate: in the beginning.
            tolerance: the mean squared error (as `retention` gives it) at which it
                ends early.

        Returns:
            `retention(weights)`.
        """
        if not weights:
            raise ValueError("`weights` must hold one slot or more. Received: {}")
        for slot in weights:
            self._check_slot(slot)
        slots = np.array(list(weights), "int32")
        targets = np.stack([self.standard(w) for w in weights.values()])
        schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
        optimizer = keras.optimizers.Adam(schedule)
        trained = self.trainable_variables
        optimizer.build(trained)

        def step(gradients_of, i, carry, slots, targets):
            del i, carry

            def objective():
                error = ops.mean(ops.square(self.raw(slots) - targets))
                return error, error

            (error, _), gradients = gradients_of(objective, trained)
            optimizer.apply(gradients, trained)
            return error

        run = backend.compile_loop(
            step, [*self.variables, *optimizer.variables], False, lambda: None
        )
        slots, targets = ops.convert_to_tensor(slots), ops.convert_to_tensor(targets)
        error, done = ops.convert_to_tensor(np.float32(0)), 0
        while done < steps:
            count = min(100, steps - done)
            error = run(ops.convert_to_tensor(count, "int32"), error, slots, targets)
            done += count
            if float(error) <= tolerance:
                break
        return self.retention(weights)

    def retention(self, weights: dict[int, Sequence[np.ndarray]], score=None) -> dict:
        """How far what is generated is from what was to be kept, by slot.

        Args:
            weights: by slot, as in `store`.
            score: `score(weights) -> float`, such as the accuracy of a network under a
                set of weights; or None.

        Returns:
            Dict by slot: the mean squared error in units of the tensors' usual sizes
            (generating nothing but `offsets` has one of about 1 for a freshly drawn
            network); with `score`, a dict of "error", "score" (of the weights
            generated) and "drop" (by how much those to be kept score better).
        """
        found: dict[int, Any] = {}
        for slot, wanted in weights.items():
            generated = self.generate(slot)
            difference = self.standard(generated) - self.standard(wanted)
            found[slot] = float(np.mean(np.square(difference)))
            if score is not None:
                now = float(score(generated))
                drop = float(score(list(wanted))) - now
                found[slot] = {"error": found[slot], "score": now, "drop": drop}
        return found

    # What slots have for themselves

    @property
    def slot_variables(self) -> list:
        """The embeddings that slots have for themselves, each (K, …)."""
        own = [self.chunk_embeddings] if self.conditional else []
        return own + ([] if self.slot_embeddings is None else [self.slot_embeddings])

    def embeddings(self, slot: int) -> list[np.ndarray]:
        """A slot's own embeddings: any slot that has them generates the same."""
        self._check_slot(slot)
        return [ops.convert_to_numpy(v)[slot].copy() for v in self.slot_variables]

    def assign_embeddings(self, slot: int, values: Sequence[np.ndarray]):
        """Gives a slot the embeddings of another, or some that were drawn."""
        self._check_slot(slot)
        for variable, value in zip(self.slot_variables, values, strict=True):
            whole = ops.convert_to_numpy(variable).copy()
            whole[slot] = value
            variable.assign(whole)

    def draw_embeddings(self, *seed_parts) -> list[np.ndarray]:
        """Embeddings as a new slot's would be drawn, from a seed of these parts."""
        rng = np.random.default_rng(derive_seed(*seed_parts))
        shapes = [tuple(v.shape[1:]) for v in self.slot_variables]
        return [rng.standard_normal(shape).astype("float32") for shape in shapes]

    def generate_from(self, embeddings: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The weights that a slot of these embeddings would hold."""
        kept = self.embeddings(0)
        self.assign_embeddings(0, embeddings)
        try:
            return self.generate(0)
        finally:
            self.assign_embeddings(0, kept)

    def _check_slot(self, slot):
        if not isinstance(slot, int | np.integer) or not 0 <= slot < self.slots:
            raise ValueError(
                f"`slot` must be an integer from 0 to {self.slots - 1}. "
                f"Received: {slot!r}"
            )

    def get_config(self):
        return {
            **super().get_config(),
            "shapes": [list(shape) for shape in self.shapes],
            "slots": self.slots,
            "units": self.units,
            "chunk_embedding": self.chunk_embedding,
            "slot_embedding": self.slot_embedding,
            "conditional": self.conditional,
            "offsets": self.offsets,
            "usual": self.usual,
            "depthwise": self.depthwise,
            "seed": self.seed,
        }


def usual_size(shape: Sequence[int]) -> float:
    """The standard deviation of a fresh tensor: He's for kernels, 0.1 for vectors.

    >>> usual_size((3, 3, 8, 16)) == (2 / 72) ** 0.5
    True
    >>> usual_size((3, 3, 8, 1)) == (2 / 9) ** 0.5  # of a depthwise convolution
    True
    """
    if len(shape) == 1:
        return 0.1
    if is_depthwise(shape):
        return math.sqrt(2 / math.prod(shape[:-2]))
    return math.sqrt(2 / math.prod(shape[:-1]))


def is_depthwise(shape: Sequence[int]) -> bool:
    """Whether a kernel's shape is that of a depthwise convolution, or of one filter."""
    return len(shape) > 2 and shape[-1] == 1 < shape[-2]
