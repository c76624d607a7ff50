"""ARI on Split MNIST: what a knowledge base of parameters is worth.

    TFDS_DATA_DIR=... python examples/ari_split_mnist.py

Three tasks of 500 images, with a small base: two minutes on two CPU cores. In the end,
the accuracy by how the set for a task is chosen, before and after fine-tuning on the
few examples that are kept. `zoo_configs/ari` has the paper's sizes.
"""

import keras

import keras_lifelong as kl

stream = kl.streams.get("split_mnist", num_tasks=3, train_per_task=500)
backbone = kl.backbones.get("mlp_100_100", (28, 28, 1))
model = kl.ARI(
    backbone,
    memory_budget=8,
    training_budget=4,
    outputs=10,
    storing_steps=800,
    estimator_epochs=300,
)
model.compile(keras.optimizers.Adam(1e-3), metrics=["accuracy"])
result = model.fit_stream(stream, epochs=3, batch_size=10)
print(result)

print("chosen by, epochs on examples, accuracy")
for row in model.compare_selections(list(stream)):
    print(f"{row['selection']:14s} {row['epochs']:3d}  {row['accuracy']:.3f}")
model.summary()
print("Figures:", kl.report.write(result, "ari_split_mnist_report"))
