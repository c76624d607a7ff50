"""PAR finds out which of CIFAR-100's superclasses are alike, and lets those share.

    TFDS_DATA_DIR=... python examples/par_cifar100_groups.py

Twelve five-way tasks of 200 images each, a minute on two CPU cores: so few that
little is learned of each, but enough to see that fish are like other animals and
flowers like fruit. `zoo_configs/par` has longer runs.
"""

import keras

import keras_lifelong as kl

stream = kl.streams.get("cifar100_superclass", num_tasks=12, train_per_task=200)
backbone = kl.backbones.get("cnn", (32, 32, 3), filters=[16, 32], units=[64])
model = kl.PAR(backbone, alpha=0.4, weight_decay=1e-3)
model.compile(keras.optimizers.SGD(0.02, momentum=0.9), metrics=["accuracy"])
result = model.fit_stream(stream, epochs=8, batch_size=20)
print(result)

for k, expert in enumerate(model.experts):
    print(f"expert {k}: {', '.join(expert['tasks'])}")
model.summary()
print("Figures:", kl.report.write(result, "par_cifar100_report"))
