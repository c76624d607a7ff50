"""LASEM chooses, task by task, which layers of a small network to share.

    TFDS_DATA_DIR=... python examples/lasem_cifar100.py

Three ten-way tasks of 170 CIFAR-100 images each, half a minute on two CPU cores. It is
the paper's network on the paper's data but a hundredth of its schedule, so that what
is learned is little: see `zoo_configs/lasem` for runs that show what sharing is worth.
"""

import keras

import keras_lifelong as kl

stream = kl.streams.get("lasem_cifar100", num_tasks=3)
backbone = kl.backbones.get("lasem_cifar100", (32, 32, 3))
model = kl.LASEM(backbone, sharing="hps")
model.compile(keras.optimizers.RMSprop(1e-3), metrics=["accuracy"])
result = model.fit_stream(stream, epochs=20, batch_size=10)
print(result)

for name in model.task_names:
    choices = zip(model.network.searched, model.configuration(name), strict=True)
    text = ", ".join(f"{x.name} {'shared' if c else 'own'}" for x, c in choices)
    print(f"{name}: {text}")
print("Figures:", kl.report.write(result, "lasem_cifar100_report"))
