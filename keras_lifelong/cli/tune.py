"""`tune`: searches for the best trade-offs."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

from absl import flags

from keras_lifelong.cli.command import Command
from keras_lifelong.cli.command import asked_wrongly
from keras_lifelong.cli.configured import asked
from keras_lifelong.cli.configured import check_same
from keras_lifelong.cli.configured import run_flags


def _tune(arguments: SimpleNamespace) -> None:
    from keras_lifelong import tune

    config, directory = asked(arguments)
    with directory.locked():
        if directory.started and not arguments.overwrite:
            check_same(directory, config)
        with asked_wrongly(ImportError):  # of what a sampler or a storage needs
            tuner = tune.make_tuner(config, directory.path, arguments.overwrite)
            study = arguments.storage and tuner.study(arguments.storage)
        directory.begin(config)
        verbose = 1 if arguments.verbose else 0
        if study:
            study.run(verbose)
        else:
            tuner.search(verbose=verbose)
        names = tune.draw(tuner, directory.path)
        if importlib.util.find_spec("tensorboard") is not None:
            tuner.write_hparams(directory.path / "tensorboard")
    print(tune.table(tuner))
    print(
        f"Written to {directory.path}: {tune.PROJECT}/trials.csv, "
        f"{', '.join(f'figures/{name}' for name in names)}; models of the front in "
        f"{tune.PROJECT}/trial_*/preset/"
    )


def _tune_flags(values: flags.FlagValues) -> None:
    run_flags(values)
    text = (
        "Optuna's storage, a URL or a file, which any number of these programs may "
        "share, each with an --output_dir of its own."
    )
    flags.DEFINE_string("storage", None, text, flag_values=values)


COMMAND = Command(
    "Search for the best trade-offs of accuracy and size; goes on likewise.",
    _tune,
    {
        "config": "YAML file with a section `search`.",
        "output_dir": "Directory of this search; made if absent.",
    },
    _tune_flags,
    "[--set KEY=VALUE ...] [--seed N] [--overwrite] [--storage URL]",
)
