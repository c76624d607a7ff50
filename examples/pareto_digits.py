"""Which trade-offs of accuracy and size does BindAndGrow offer on digits?

    python examples/pareto_digits.py

Twelve trials of one δ for all tasks, half a minute on two CPU cores. The search is kept
in `pareto_digits`: run the program again and it goes on, or finds itself finished.
"""

import keras

import keras_lifelong as kl
from keras_lifelong.search import GrowSequenceTuner
from keras_lifelong.search import figures


def build():
    backbone = kl.backbones.get("mlp", (8, 8, 1), units=[64, 32])
    model = kl.BindAndGrow(backbone)
    model.compile(keras.optimizers.Adam(1e-3), metrics=["accuracy"])
    return model


tuner = GrowSequenceTuner(
    build,
    kl.streams.get("digits"),
    epochs=20,
    max_trials=12,
    directory="pareto_digits",
    project_name="search",
)
tuner.search(verbose=0)
for trial in tuner.front():
    found = tuner.oracle.measured(trial)
    delta = trial.hyperparameters.values["delta"]
    print(f"δ {delta:.2f}: gain {found['gain']:.2f} %, {found['params']:,.0f} params")
figures.front(tuner.rows()).savefig("pareto_digits/front.png")

model = tuner.load_model(tuner.front()[-1])
for name, owners in model.routing.items():
    print(f"{name} uses the layers of {', '.join(owners)}")
