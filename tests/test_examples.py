"""The examples run as they stand, and leave nothing behind but what they name."""

import pathlib

import processes
import pytest

ROOT = pathlib.Path(__file__).parents[1]
SHOWN = {  # words of the output, and the files it leaves
    "ari_split_mnist.py": ("Figures:", {"ari_split_mnist_report"}),
    "lasem_cifar100.py": ("Figures:", {"lasem_cifar100_report"}),
    "par_cifar100_groups.py": ("Numbers held:", {"par_cifar100_report"}),
    "pareto_digits.py": ("uses the layers of", {"pareto_digits"}),
    "one_head_of_all_classes.py": ("Joint ", set()),
    "den_digits.py": ("task_2 as a plain Keras model", {"den_digits_report"}),
    "your_own_tasks.py": ("DEN on npz, 2 tasks", set()),
    "zoo_digits.py": ("Task 'upside down' is removed", set()),
    "your_own_backbone.py": ("predicts the same", set()),
}


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_example(name, tmp_path, real_data):
    for data in ("cifar100", "mnist"):
        if data in name:
            real_data(data)
    work = (ROOT / "examples" / name).read_text(encoding="utf-8")
    words, files = SHOWN[name]
    assert words in processes.finish(work, cwd=tmp_path, path=[ROOT])
    assert {path.name for path in tmp_path.iterdir()} == files


def test_every_example_is_tested():
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(SHOWN)
