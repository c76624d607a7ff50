"""Presets written from a grammar of Keras' configurations: what is made is on the list.

GRAMMAR_PRESETS=5000 pytest -n 0 tests/presets/test_grammar.py
"""

import json
import os
import random
import resource
import sys
import time

import keras
import pytest
from broken import Broken
from broken import entry
from keras.src.saving import serialization_lib

import keras_lifelong as kl
from keras_lifelong.presets import allowed
from keras_lifelong.presets import configs
from keras_lifelong.presets.reading import PresetError

COUNT = int(os.environ.get("GRAMMAR_PRESETS", 150))
SLOWEST = 5.0  # seconds for one
LARGEST = 2**20  # KiB of the process

_EXPORTED = [
    (module.__name__.replace("keras._tf_keras.", ""), name)
    for module in (
        *(keras, keras.layers, keras.activations, keras.initializers, keras.utils),
        *(keras.regularizers, keras.constraints, keras.optimizers, keras.config),
        *(keras.ops, keras.saving, keras.losses, keras.metrics, keras.models),
        *(keras.backend, keras.random, keras.callbacks, keras.datasets, keras.export),
    )
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
    """What is looked up, opened and started while presets are looked at."""

    def __init__(self):
        self.on, self.made, self.events = False, [], []
        sys.addaudithook(self.hear)

    def hear(self, event, arguments):
        if self.on and event in (
            "open",
            "os.system",
            "subprocess.Popen",
            "socket.connect",
        ):
            self.events.append((event, arguments[0]))


WATCHED = Watched()


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


def test_what_is_made_is_on_the_list(tmp_path, monkeypatch):
    find = serialization_lib._retrieve_class_or_fn

    def noted(*args, **kwargs):
        found = find(*args, **kwargs)
        WATCHED.made.append(found)
        return found

    monkeypatch.setattr(serialization_lib, "_retrieve_class_or_fn", noted)
    listed = {getattr(keras.activations, name) for name in allowed.ACTIVATIONS}
    for module, name in allowed.CLASSES:
        listed.add(getattr(configs._module(module), name))
    original = Broken(tmp_path / "preset")
    text = json.dumps(original.config)
    kl.LifelongModel.from_preset(original.save())
    rng, loaded, refused, longest = random.Random(0), 0, 0, 0.0
    settings = (keras.config.epsilon(), keras.config.floatx())
    for i in range(COUNT):
        original.config = json.loads(text)
        fits(original, rng)
        path = original.save()
        WATCHED.made.clear()
        WATCHED.events.clear()
        start, WATCHED.on = time.process_time(), True
        try:
            kl.LifelongModel.from_preset(path, load_weights=rng.random() < 0.5)
            loaded += 1
        except PresetError as error:
            refused += 1
            assert len(str(error)) < 1000, i
        except Exception as error:
            raise AssertionError(f"number {i}: {original.config}") from error
        finally:
            WATCHED.on = False
        longest = max(longest, time.process_time() - start)
        for made in WATCHED.made:
            ours = getattr(made, "__module__", "").startswith("keras_lifelong.")
            assert made in listed or ours, (i, made)
        for event, what in WATCHED.events:
            fine = event == "open" and (
                isinstance(what, int)
                or str(path) in str(what)
                or not os.path.isabs(str(what))
                or any(
                    part in str(what) for part in ("/venv/", "/lib/python", "/proc/")
                )
                or "keras_lifelong" in str(what)
            )
            assert fine, (i, event, what)
        assert settings == (keras.config.epsilon(), keras.config.floatx()), i
        if i % 50 == 0:
            keras.backend.clear_session()
    assert refused > COUNT // 2 and loaded + refused == COUNT
    assert longest < SLOWEST, longest
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{COUNT} presets: {loaded} loaded, {refused} refused, the slowest took ")
    print(f"{longest:.1f} s, {most / 1024:.0f} MiB of the process at most")
    if COUNT >= 1000:  # by itself
        assert most < LARGEST


@pytest.mark.parametrize("seed", range(3))
def test_the_grammar_draws_plain_data(seed):
    grammar = Grammar(random.Random(seed))
    drawn = [grammar.object() for _ in range(50)] + [grammar.graph()]
    assert json.loads(json.dumps(drawn))
