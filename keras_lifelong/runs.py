"""What `run` does in a directory: one seed or several, single-task nets beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from keras_lifelong import config as config_lib
from keras_lifelong.files import write_atomic
from keras_lifelong.messages import shown
from keras_lifelong.run_directory import RESULTS
from keras_lifelong.run_directory import SEED
from keras_lifelong.run_directory import SINGLE
from keras_lifelong.run_directory import RunDirectory
from keras_lifelong.run_directory import seed_folder
from keras_lifelong.run_directory import seed_folders

if TYPE_CHECKING:
    from keras_lifelong.metrics import Comparison
    from keras_lifelong.metrics import Result

SUMMARY = "summary.json"


def build(config: config_lib.Config) -> tuple[Any, Any]:
    """The stream and the model of a configuration.

    Raises:
        ValueError: if it asks for what can't be.
        FileNotFoundError: if data that it names are not there.
    """
    stream = config.build_stream().checked()  # before a directory is begun for it
    model = config.build_model(stream.input_shape)
    model.check_stream(stream)
    return stream, model


def learn(
    config: config_lib.Config,
    directory: RunDirectory,
    built: tuple[Any, Any],
    *,
    overwrite: bool = False,
    accept_changed_data: bool = False,
    single: bool = False,
    verbose: int | str = "auto",
) -> Result:
    """Learns a configuration in a directory that this process has locked.

    Args:
        config: the configuration.
        directory: of this run and no other; one that it began is gone on with.
        built: the stream and the model, of `build`.
        overwrite: first removes what an earlier run wrote.
        accept_changed_data: see `fit_stream`.
        single: learns a network for each task as well, in `single/`, over which the
            gain is.
        verbose: of `fit_stream`.

    Returns:
        The `Result`, which is stored with the model and the page.
    """
    stream, model = built
    if overwrite:
        directory.clear()
    if directory.checkpoint.exists():
        print(f"Resuming the interrupted run in {directory.path}", flush=True)
    directory.begin(config)
    result = model.fit_stream(
        stream,
        **config.fit_arguments,
        verbose=verbose,
        checkpoint_dir=str(directory.checkpoint),
        accept_changed_data=accept_changed_data,
    )
    flops = [_flops(model, name) for name in result.task_names]
    result = dataclasses.replace(result, config=config.resolved, flops_by_task=flops)
    if single:
        result = with_single(result, config, directory, verbose)
    directory.save(model, result)
    directory.write_report()
    return result


def _flops(model: Any, name: str) -> int | None:
    """Operations of a task; None where they can't be told."""
    if name not in model.task_names:  # removed on the way
        return None
    try:
        return model.flops(name)
    except ValueError:  # a network that no plain model is made of
        return None


def with_single(
    result: Result,
    config: config_lib.Config,
    directory: RunDirectory,
    verbose: int | str = "auto",
) -> Result:
    """A result with the scores of a network for each task, learned if missing.

    They are learned by `Independent` with the same backbone, stream and training, in
    `single/` of the directory, where an interrupted run goes on.
    """
    if result.single_by_task:
        return result
    if config.resolved["method"]["name"] == "Independent":
        return dataclasses.replace(result, single_by_task=list(result.matrix[-1]))
    raw = {k: v for k, v in config.resolved.items() if k != "search"}
    pretrained = bool(raw["method"].get("pretrained"))
    raw["method"] = {"name": "Independent", "pretrained": pretrained}
    alone = config_lib.resolve(raw)
    beside = RunDirectory(directory.path / SINGLE)
    with beside.locked():
        found = finished(beside, alone)
        if found is None:
            print(f"A network for each task, in {beside.path}", flush=True)
            found = learn(alone, beside, build(alone), verbose=verbose)
    scores = dict(zip(found.task_names, found.matrix[-1], strict=True))
    single = [scores.get(name) for name in result.task_names]
    return dataclasses.replace(result, single_by_task=single)


def finished(directory: RunDirectory, config: config_lib.Config) -> Result | None:
    """The result of a directory, if a run of this configuration has ended there.

    Raises:
        ValueError: if it holds a run of another configuration.
    """
    if not directory.started:
        return None
    if differing := directory.differing(config):
        raise ValueError(
            f"{directory.path} holds a run of another configuration: {differing}"
        )
    return directory.result() if directory.has_results else None


# === Seeds ===


def seeds_of(text: str) -> list[int]:
    """Seeds as `--seeds` has them.

    Raises:
        ValueError: if they are no whole numbers from 0 on, each once.

    >>> seeds_of("0,1,2"), seeds_of("3-5")
    ([0, 1, 2], [3, 4, 5])
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not _is_seed(first) or (dash and not _is_seed(last)):
            raise _no_seeds(text)
        ends = int(first), int(last or first)
        if ends[1] - ends[0] > 1000:
            raise _no_seeds(text)
        seeds += range(ends[0], ends[1] + 1)
    if not seeds or len(set(seeds)) < len(seeds):
        raise _no_seeds(text)
    return seeds


def _is_seed(text: str) -> bool:
    """Whether a text has the digits of a seed: few enough to be a number."""
    return text.isascii() and text.isdecimal() and len(text) <= 10


def _no_seeds(text: str) -> ValueError:
    return ValueError(
        "--seeds must be whole numbers from 0 on, each once, such as 0,1,2 or 0-4, at "
        f"most 1001 in a row. Received: {shown(text)}"
    )


def folders(path: Path, seeds: Sequence[int]) -> dict[int, RunDirectory]:
    """The directory of each seed below a path.

    Raises:
        ValueError: if the path holds a run itself.
    """
    if RunDirectory(path).started:
        raise ValueError(
            f"{path} holds a run of one seed. Give another --output_dir: with several "
            "seeds it holds a folder for each"
        )
    return {seed: RunDirectory(seed_folder(path, seed)) for seed in seeds}


def summarise(path: Path, results: Sequence[Result]) -> Comparison:
    """Writes `summary.json` and the page of the runs of several seeds.

    Args:
        path: the directory above theirs.
        results: of runs that differ in their seed alone.
    """
    from keras_lifelong import report
    from keras_lifelong.metrics import compare

    comparison = compare({results[0].method: results})
    (group,) = comparison.groups
    measures = {}
    for name in comparison.measures:
        found = group.interval(name)
        measures[name] = {
            "mean": found.mean,
            "half": found.half,
            "values": group.values(name).tolist(),
        }
    content = {
        "schema": 1,
        "method": results[0].method,
        "stream": results[0].stream,
        "metric": comparison.metric,
        "seeds": list(group.seeds),
        "interval": "95 %, Student's t",
        "measures": measures,
    }
    report.write_comparison(comparison, path)
    write_json(path / SUMMARY, content)
    return comparison


def write_json(path: Path, content: Any) -> None:
    """Writes JSON whole or not at all; what is not finite becomes null."""
    from keras_lifelong.metrics import plain_json

    text = plain_json.pretty(plain_json.plain(content, path.name)) + "\n"
    write_atomic(path, text.encode("utf-8"))


# === Results of others ===


def results_in(paths: Sequence[str | Path]) -> list[Result]:
    """Results of runs: directories of runs, of several seeds, and files.

    Raises:
        FileNotFoundError: if there is none in one of the paths, naming it.
        ValueError: if a file holds no result.
    """
    from keras_lifelong.metrics import Result

    files = [file for path in paths for file in _files(Path(path))]
    unique = list(dict.fromkeys(file.resolve() for file in files))
    return [Result.load(file) for file in unique]


def unfinished(paths: Sequence[str | Path]) -> list[Path]:
    """Folders of seeds below these paths whose runs have not ended."""
    found = [place for path in paths for place in seed_folders(Path(path)).values()]
    begun = {f for f in found if f.is_dir() and RunDirectory(f).started}
    return sorted(folder for folder in begun if not RunDirectory(folder).has_results)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / RESULTS).is_file():
        return [path / RESULTS]
    inside = [place / RESULTS for place in seed_folders(path).values()]
    found = [file for file in inside if file.is_file()]
    if not found:
        raise FileNotFoundError(
            f"There is no {RESULTS} in {path}, nor in folders {SEED}N of it: give "
            "directories of finished runs"
        )
    return found
