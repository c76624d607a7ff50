"""Your own network: convolutions, batch normalisation, dropout; and one task exported.

    python examples/your_own_backbone.py

DEN grows any Sequential of such layers. A learned task is then exported as a
SavedModel that needs neither this package nor Keras. Ends with the network's growth,
the size of one task alone (the network it began with, a third of the whole) and a
difference of about 1e-7. About 20 seconds.
"""

import tempfile

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_lifelong as kl

backbone = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        layers.Conv2D(16, 3, padding="same"),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.Flatten(),
        layers.Dropout(0.2),
        layers.Dense(32, activation="relu"),
    ]
)
stream = kl.streams.get("digits", num_tasks=3)
model = kl.DEN(backbone, growth=4)
model.compile(keras.optimizers.Adam(1e-3), metrics=["accuracy"])
print(model.fit_stream(stream, epochs=10, batch_size=32))
model.summary()

x, _ = stream[0].test
single = model.task_model("task_0")
print(f"task_0 alone: {single.count_params():,} of {model.count_params():,} parameters")
with tempfile.TemporaryDirectory() as folder:
    single.export(folder, verbose=False)
    loaded = tf.saved_model.load(folder)
    served = loaded.serve(x)
difference = np.abs(served - model.predict(x, task="task_0")).max()
print(f"The exported model predicts the same to {difference:.1e}")
