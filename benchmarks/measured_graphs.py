"""Writes docs/measured_graphs.md from the files of other benchmarks; runs nothing.

    python benchmarks/measured_graphs.py --predict predict.json \
        --den runs/den_resnet.jsonl --pretrained runs/pretrained.jsonl

A section whose file is not given, or not there, is left out.
"""

import json
import pathlib
import shutil

import numpy as np
import results_file
from absl import app
from absl import flags

PREDICT = flags.DEFINE_string("predict", None, "of predict.py")
DEN = flags.DEFINE_string("den", None, "of den_resnet.py")
PRETRAINED = flags.DEFINE_string("pretrained", None, "of pretrained.py")
DOCS = pathlib.Path(__file__).parents[1] / "docs"
MACHINE = (
    "Measured on 2 CPU cores that did much other work at the same time, Keras 3.15: "
    "seconds say little, ratios are of what ran in turns."
)
SHOWN = {
    "acc": "accuracy at the end",
    "learned": "when learned",
    "forgetting": "forgetting",
    "capacity": "capacity",
    "added": "units added",
    "split": "split",
    "moved": "largest change of an earlier task's output",
    "exported_apart": "of its exported network from the model",
}


def spread(rows, key):
    """Mean of a number over seeds, and its deviation where there are several."""
    values = np.array([r[key] for r in rows], float)
    if key == "moved" or key.startswith("exported"):
        return f"{values.max():.1e}" if values.max() else "0"
    digits = 3 if np.abs(values).max() < 10 else 0
    text = f"{values.mean():.{digits}f}"
    return text + (f" ± {values.std():.{digits}f}" if len(values) > 1 else "")


def table(results, keys, first="method"):
    """Lines of Markdown: a row for each of the results' names."""
    keys = [k for k in keys if any(k in r for r in results)]
    lines = [f"| {first} | {' | '.join(SHOWN[k] for k in keys)} |"]
    lines.append("|---" * (len(keys) + 1) + "|")
    for row in dict.fromkeys(r["row"] for r in results):
        same = [r for r in results if r["row"] == row]
        cells = [spread(same, k) if k in same[0] else "" for k in keys]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return [*lines, ""]


def schedule(row):
    train, test = row["images"]
    return (
        f"{row['tasks']} tasks of ten classes, {train} training and {test} test images "
        f"each; {row['epochs']} epochs of each phase, batches of {row['batch']}; "
        f"{row['backend']}."
    )


def predict(path):
    ratios = json.loads(path.read_text())["graph"]
    columns = list(dict.fromkeys(name.split(" ", 2)[2] for name in ratios))
    rows = list(dict.fromkeys(tuple(name.split(" ", 2)[:2]) for name in ratios))
    lines = [
        "## What predicting costs",
        "",
        "An earlier task of two, over plain Keras' `predict` and `predict_on_batch` of "
        "the network that `task_model` gives, medians of pairs; aim: at most 1.1. "
        "`DEN/8` is DEN with `bucket=8`: its storage of filters is made in multiples "
        "of that, by default of 64. `python benchmarks/predict.py --parts graph`.",
        "",
        f"| network, method | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for network, method in rows:
        found = [ratios[f"{network} {method} {c}"]["median"] for c in columns]
        cells = " | ".join(f"{value:.2f}" for value in found)
        lines.append(f"| {network}, {method} | {cells} |")
    return [*lines, ""]


def den(path):
    rows = results_file.read(path, part="compare")
    lines = ["## DEN on a ResNet", ""]
    if rows:
        seeds = sorted({r["seed"] for r in rows})
        lines += [
            f"Three stages of 8, 16 and 32 filters. {schedule(rows[0])} "
            f"Seeds {seeds}; settings were chosen on validation images by another "
            "seed: "
            + ", ".join(
                f"{r['row']}: {r['settings']}"
                for r in rows
                if r["settings"] and r["seed"] == seeds[0]
            )
            + ". `python benchmarks/den_resnet.py`.",
            "",
            *table(rows, SHOWN),
        ]
    tried = results_file.read(path, part="choose")
    if tried:
        lines += ["Tried on validation images:", ""]
        lines += table(tried, ["acc", "forgetting", "capacity"], "settings")
    exact = results_file.read(path, part="exact")
    for r in exact:
        same = "the same" if r["exported_as_learned"] else "not the same"
        lines += [
            f"Growing alone, `{r['row'].replace(' ', '=')}`: later tasks added "
            f"{r['added']} units while no old weight was trained. The first task's "
            f"outputs changed by at most {r['moved']:.1e} (storage of another size is "
            f"summed in another order), and its exported network has {same} weights as "
            "before.",
            "",
        ]
    return lines


def pretrained(path):
    lines = ["## From ImageNet's EfficientNet-Lite0", ""]
    rows = results_file.read(path, part="compare")
    if rows:
        lines += [
            f"All of the network is trained, on images of {rows[0]['size']} pixels. "
            f"{schedule(rows[0])} `python benchmarks/pretrained.py`.",
            "",
            *table(rows, ["acc", "learned", "forgetting", "capacity"]),
        ]
    for picture in sorted(path.parent.glob(f"{path.stem}.*pretrained_*.png")):
        name = "graphs_" + picture.name.removeprefix(f"{path.stem}.").lower()
        shutil.copy(picture, DOCS / name)
        lines += [f"![{picture.stem.rpartition('.')[2]}]({name})", ""]
    costs = results_file.read(path, part="cost")
    if costs:
        lines += [
            f"Processor seconds of a step, at {costs[0]['size']} pixels, and of "
            "learning the second task for an epoch:",
            "",
            "| method | a step | the task | steps |",
            "|---|---|---|---|",
            *(
                f"| {r['row']} | {r['step']:.2f} | {r['task']:.0f} | {r['steps']} |"
                for r in costs
            ),
            "",
        ]
    return lines


def main(_):
    lines = ["# Networks of any form: what was measured", "", MACHINE, ""]
    for flag, section in ((PREDICT, predict), (DEN, den), (PRETRAINED, pretrained)):
        if flag.value and pathlib.Path(flag.value).is_file():
            lines += section(pathlib.Path(flag.value))
    (DOCS / "measured_graphs.md").write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    app.run(main)
