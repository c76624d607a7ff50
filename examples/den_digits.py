"""DEN learns five tasks of real handwritten digits, growing where it must.

    python examples/den_digits.py

Ends with the accuracy matrix (ACC 0.995, the last task 0.98; nothing forgotten), what
grew with each task, and a page of figures in `den_digits_report/`. About 20 seconds.
"""

import keras

import keras_lifelong as kl

stream = kl.streams.get("digits")  # 0 or 1?  2 or 3?  ...  8 or 9?
backbone = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(32, activation="relu"),
    ]
)
model = kl.DEN(backbone, growth=4, l1=1e-4)
model.compile(keras.optimizers.Adam(1e-3), metrics=["accuracy", "auroc"])
result = model.fit_stream(stream, epochs=20, batch_size=32)
print(result)

for entry in model.growth:
    if entry["kind"] in ("add", "split"):
        print(f"{entry['task']}: {entry['kind']} {entry['count']} in {entry['layer']}")

single = model.task_model("task_2")  # a plain Keras model of just what task 2 uses
x, y = stream[2].test
accuracy = (single.predict(x, verbose=0).argmax(1) == y).mean()
print(f"task_2 as a plain Keras model: accuracy {accuracy:.4f}")
print("Figures:", kl.report.write(result, "den_digits_report"))
