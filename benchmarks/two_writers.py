"""Two writers, two readers and a killer on one preset directory.

    python benchmarks/two_writers.py [MINUTES [docs/trust.json]]

Writers save one of two models over and over, readers load what is there, and the killer
ends a writer at any moment and starts another. It prints how often each happened, and
ends with 1 if a preset was ever lost, a reader or writer met an error, or something is
left beside the preset in the end. Processes are forked from one that has imported all
that they need, so that they spend their time on presets.
"""

from __future__ import annotations

import collections
import multiprocessing
import pathlib
import random
import sys
import tempfile
import time

import trust_page

PAUSE = 0.2  # seconds between two saves or loads of a process
METHODS = ("keras_lifelong.baselines.finetune", "keras_lifelong.baselines.independent")
NAMES = ("finetune_digits", "independent_digits")


def write(place, log, name):
    import keras_lifelong as kl

    model = kl.LifelongModel.from_preset(name)
    model.results.clear()  # whose figures take most of the time
    while True:
        note(log, "saves", model.save_to_preset, place)
        time.sleep(PAUSE)


def read(place, log):
    import keras_lifelong as kl

    while True:
        note(log, "loads", kl.LifelongModel.from_preset, place)
        time.sleep(PAUSE)


def note(log, what, call, place):
    """Calls, and adds a line of what came of it; a kill loses at most that line."""
    try:
        call(place)
        line = what
    except Exception as error:
        line = f"error: {what}: {type(error).__name__}: {error}"
    with open(log, "a") as file:
        file.write(" ".join(line.split()) + "\n")


def main(minutes: float, record: str | None = None) -> int:
    import keras_lifelong as kl

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras_lifelong.model.lifelong", *METHODS])
    folder, logs = (pathlib.Path(tempfile.mkdtemp()) for _ in range(2))
    place, rng, begun = folder / "preset", random.Random(0), 0

    def start(target, *arguments):
        nonlocal begun
        begun += 1
        arguments = (place, logs / str(begun), *arguments)
        process = context.Process(target=target, args=arguments, daemon=True)
        process.start()
        return process

    kl.LifelongModel.from_preset(NAMES[0]).save_to_preset(place)
    writers = [start(write, name) for name in NAMES]
    numbers = [1, 2]
    readers = [start(read) for _ in range(2)]
    found: collections.Counter[str] = collections.Counter()
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        i = rng.randrange(2)
        log = logs / str(numbers[i])
        kill_at = None
        while time.monotonic() < (kill_at or end):
            time.sleep(0.005)
            found["lost"] += not place.is_dir()
            if kill_at is None and log.exists():  # it takes long to begin
                kill_at = time.monotonic() + rng.uniform(0, 3)
        writers[i].kill()
        writers[i].join()
        found["kills"] += 1
        writers[i], numbers[i] = start(write, NAMES[i]), begun
    for process in [*readers, *writers]:
        process.kill()
        process.join()
    kl.LifelongModel.from_preset(place).save_to_preset(place)
    found["left"] = len(list(folder.iterdir())) - 1
    lines = [x for log in logs.iterdir() for x in log.read_text().splitlines()]
    errors = [line for line in lines if line.startswith("error")]
    found.update("errors" if line in errors else line for line in lines)
    print(dict(found))
    print("\n".join(errors[:10]))
    if record is not None:
        kinds = ("saves", "loads", "kills", "lost", "errors", "left")
        counts = {kind: found[kind] for kind in kinds}
        trust_page.record(record, "two_writers", {"minutes": minutes, **counts})
    return int(bool(errors or found["lost"] or found["left"]))


if __name__ == "__main__":
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 20
    sys.exit(main(minutes, *sys.argv[2:3]))
