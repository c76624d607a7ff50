"""Presets written from a grammar of Keras' configurations, and what loading them does.

`benchmarks/grammar_presets.py` writes 5,000 of them, `test_grammar.py` some.
"""

import inspect
import json
import os
import random
import resource
import sys
import time

import keras
from broken import Broken
from broken import entry
from keras.src.saving import serialization_lib

import keras_lifelong as kl
from keras_lifelong.presets import allowed
from keras_lifelong.presets import configs
from keras_lifelong.presets.reading import PresetError

SLOWEST = 5.0  # seconds for one
LARGEST = 2**20  # KiB of the process

_MODULES = (
    *(keras, keras.layers, keras.activations, keras.initializers, keras.utils),
    *(keras.regularizers, keras.constraints, keras.optimizers, keras.config),
    *(keras.ops, keras.saving, keras.losses, keras.metrics, keras.models),
    *(keras.backend, keras.random, keras.callbacks, keras.datasets, keras.export),
)
_EXPORTED = [
    (module.__name__.replace("keras._tf_keras.", ""), name)
    for module in _MODULES
    for name in dir(module)
    if not name.startswith("_")
]
_LISTED = sorted(allowed.CLASSES)
_TENSOR = {"shape": [None, 8], "dtype": "float32", "keras_history": ["drawn_in", 0, 0]}
_ODD = [
    None,
    True,
    -1,
    0,
    1,
    3,
    10**9,
    0.5,
    float("nan"),
    "",
    "relu",
    "x" * 500,
    [],
    {},
]


class Grammar:
    """Draws descriptions as `serialize_keras_object` writes them, or nearly so."""

    def __init__(self, rng):
        self.rng, self.names = rng, 0

    def value(self, depth=0):
        kind = self.rng.random()
        if kind < 0.35:
            return self.rng.choice(_ODD)
        if kind < 0.6:
            return self.rng.randint(1, 8)
        if kind < 0.7 and depth < 4:
            return [self.value(depth + 1) for _ in range(self.rng.randint(0, 3))]
        if kind < 0.8:
            return self.rng.choice(["same", "valid", "l2", "zeros", "float16", "get"])
        return self.object(depth + 1)

    def name(self):
        module, name = self.rng.choice(_EXPORTED)
        how = self.rng.random()
        if how < 0.5:
            return self.rng.choice(_LISTED)
        if how < 0.65:  # dotted
            return "keras", f"{module.partition('.')[2]}.{name}".strip(".")
        if how < 0.75:
            return f"keras.src.{module.partition('.')[2]}".strip("."), name
        return module, name

    def object(self, depth=0):
        if self.rng.random() < 0.1:
            return self.rng.choice(
                [
                    {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}},
                    {
                        "class_name": "__numpy__",
                        "config": {"value": [1], "dtype": "S9"},
                    },
                    {"class_name": "__tensor__", "config": {"value": 1.0}},
                    entry("builtins", "function", self.rng.choice(_EXPORTED)[1]),
                    entry("keras.activations", "function", "relu"),
                ]
            )
        module, name = self.name()
        found = entry(module, name, self.arguments(module, name, depth))
        if self.rng.random() < 0.1:
            found["build_config"] = {"input_shape": [None, self.value()]}
        if self.rng.random() < 0.05:
            found["compile_config"] = {"loss": self.object(depth + 1)}
        if self.rng.random() < 0.05:
            found["registered_name"] = self.rng.choice(["keras_lifelong>DEN", name, 3])
        return found

    def graph(self):
        """A functional model of one to three calls, some of which are odd."""
        self.names += 1
        name, last = f"drawn_{self.names}", "drawn_in"
        members = [
            {
                **entry("keras.layers", "InputLayer", {"batch_shape": [None, 8]}),
                "name": last,
                "inbound_nodes": [],
            }
        ]
        for i in range(self.rng.randint(1, 3)):
            tensor = {**_TENSOR, "keras_history": [last, 0, 0]}
            call = {"args": [{"class_name": "__keras_tensor__", "config": tensor}]}
            odd = self.rng.random() < 0.1
            call["kwargs"] = {"training": self.value(2)} if odd else {}
            if self.rng.random() < 0.3:
                call["args"].append(self.value(2))
            made = self.rng.choice(
                [
                    entry("keras.layers", "Dense", {"units": self.rng.randint(1, 8)}),
                    entry("keras.src.ops.nn", "Relu"),
                    entry("keras.src.ops.numpy", "Add"),
                    self.object(2),
                ]
            )
            last = f"{name}_{i}"
            if isinstance(made["config"], dict):
                made["config"]["name"] = last
            members.append({**made, "name": last, "inbound_nodes": [call]})
        config = {"name": name, "trainable": True, "layers": members}
        config |= {"input_layers": ["drawn_in", 0, 0], "output_layers": [last, 0, 0]}
        found = entry("keras.src.models.functional", "Functional", config)
        if self.rng.random() < 0.3:
            part = self.rng.choice([found, config, *members, *members[-1].values()])
            if isinstance(part, dict) and part:
                part[self.rng.choice(sorted(part))] = self.value()
        return found

    def arguments(self, module, name, depth):
        self.names += 1
        found = {"name": f"drawn_{self.names}"}
        keys = """
            units activation layer rate filters kernel_size size kernel_initializer
            function fn dtype target_shape cell seed padding axis pool_size input_dim
            output_dim n
        """.split()
        for key in self.rng.sample(keys, self.rng.randint(0, 3)) if depth < 4 else ():
            found[key] = self.value(depth)
        return found


class Watched:
    """What is looked up, called, opened and started while presets are looked at."""

    def __init__(self):
        self.on, self.made, self.events, self.called = False, [], [], set()
        self.functions = {
            found.__code__: f"{module.__name__}.{name}"
            for module in _MODULES
            for name, found in vars(module).items()
            if inspect.isfunction(found) and name not in allowed.ACTIVATIONS
        }
        sys.addaudithook(self.hear)

    def hear(self, event, arguments):
        if self.on and event in (
            *("open", "os.system", "os.exec", "os.posix_spawn", "os.remove"),
            *("subprocess.Popen", "socket.connect", "import"),
        ):
            self.events.append((event, arguments[0]))

    def profile(self, frame, event, argument):
        """Notes functions that Keras exports and its reader of configurations calls."""
        if event == "call" and frame.f_code in self.functions:
            caller = frame.f_back and frame.f_back.f_code.co_filename
            if caller and caller.endswith(_READERS):
                self.called.add(self.functions[frame.f_code])

    def begin(self):
        self.made.clear()
        self.events.clear()
        self.called.clear()
        self.on = True
        sys.setprofile(self.profile)

    def end(self):
        sys.setprofile(None)
        self.on = False


# Where Keras calls what a configuration names.
_READERS = ("saving/serialization_lib.py", "layers/core/lambda_layer.py")
# What its reader itself is made of.
_ITS_OWN = """
deserialize_keras_object get_registered_object get_custom_objects get_registered_name
standardize_dtype in_safe_mode serialize_keras_object convert_to_tensor is_keras_tensor
""".split()


WATCHED = Watched()  # one in a process: an audit hook stays


def fits(preset, rng):
    grammar = Grammar(rng)
    layers = preset.layers
    how = rng.random()
    if how < 0.2:
        layers.insert(rng.randint(1, len(layers)), grammar.graph())
    elif how < 0.6:
        layers.insert(rng.randint(0, len(layers)), grammar.object())
    elif how < 0.9:
        config = rng.choice(layers)["config"]
        config[rng.choice(sorted(config))] = grammar.value()
    else:
        preset.config["compile_config"]["optimizer"] = grammar.object()


def run(place, count: int, seed: int = 0) -> dict:
    """Loads presets of the grammar; says what came of them.

    Args:
        place: an empty directory's path.
        count: how many.
        seed: of what is drawn.

    Raises:
        AssertionError: if one makes, calls or opens what it must not, or takes too long
            or too much.
    """
    find = serialization_lib._retrieve_class_or_fn

    def noted(*args, **kwargs):
        found = find(*args, **kwargs)
        WATCHED.made.append(found)
        return found

    listed = {getattr(keras.activations, name) for name in allowed.ACTIVATIONS}
    for module, name in allowed.CLASSES:
        listed.add(getattr(configs._module(module), name))
    original = Broken(place)
    text = json.dumps(original.config)
    kl.LifelongModel.from_preset(original.save())
    rng, longest, made = random.Random(seed), 0.0, 0
    counts = {"loaded": 0, "refused": 0}
    serialization_lib._retrieve_class_or_fn = noted
    try:
        for i in range(count):
            original.config = json.loads(text)
            fits(original, rng)
            path, load = original.save(), rng.random() < 0.5
            start = time.process_time()
            counts[_tried(i, path, load, original.config)] += 1
            longest = max(longest, time.process_time() - start)
            _check(i, path, listed)
            made += len(WATCHED.made)
            if i % 50 == 0:
                keras.backend.clear_session()
    finally:
        serialization_lib._retrieve_class_or_fn = find
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert longest < SLOWEST, longest
    return {
        "presets": count,
        **counts,
        "looked_up": made,
        "seconds": round(longest, 2),
        "mib": most // 1024,
    }


def _tried(i, path, load, config) -> str:
    settings = (keras.config.epsilon(), keras.config.floatx())
    WATCHED.begin()
    try:
        kl.LifelongModel.from_preset(path, load_weights=load)
        return "loaded"
    except PresetError as error:
        assert len(str(error)) < 1000, i
        return "refused"
    except Exception as error:
        raise AssertionError(f"number {i}: {config}") from error
    finally:
        WATCHED.end()
        assert settings == (keras.config.epsilon(), keras.config.floatx()), i


def _check(i, path, listed):
    """That nothing but what is listed was looked up, called or opened."""
    for made in WATCHED.made:
        ours = getattr(made, "__module__", "").startswith("keras_lifelong.")
        assert made in listed or ours, (i, made)
    odd = {name for name in WATCHED.called if name.rpartition(".")[2] not in _ITS_OWN}
    assert not odd, (i, odd)
    for event, what in WATCHED.events:
        if event == "import":
            continue
        fine = event == "open" and (
            isinstance(what, int)
            or str(path) in str(what)
            or not os.path.isabs(str(what))
            or any(part in str(what) for part in ("/venv/", "/lib/python", "/proc/"))
            or "keras_lifelong" in str(what)
        )
        assert fine, (i, event, what)
