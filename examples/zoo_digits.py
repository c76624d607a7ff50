"""Take a pretrained model from the zoo, teach it one more task, and pass it on.

    python examples/zoo_digits.py

Offline: the preset ships with the package. About half a minute on 2 CPU cores.
"""

import tempfile

import keras_lifelong as kl

model = kl.LifelongModel.from_preset("den_digits")
print("It knows", model.task_names)

x, y = kl.streams.get("digits")[0].train
upside_down = x[:, ::-1]
model.fit(upside_down, y, task="upside down", epochs=20, verbose=0)
print("The new task:", model.evaluate(upside_down, y, task="upside down"))

with tempfile.TemporaryDirectory() as folder:
    preset = f"{folder}/den_more_digits"
    model.save_to_preset(preset)  # names den_digits as its parent
    # kl.upload_preset("hf://user/den_more_digits", preset)
    one = kl.LifelongModel.from_preset(preset, tasks=["upside down"])
print("Loaded again, alone:", one.task_names)
print(model.remove_task("upside down"))
