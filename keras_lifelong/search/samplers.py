"""What to try next: KerasTuner's hyperparameters for any sampler, ask and tell.

A sampler is asked anew for every trial, from the finished ones and a seed of the
trial's number alone. So a search that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import itertools
import math

import numpy as np

from keras_lifelong.registry import Registry
from keras_lifelong.search import ehvi
from keras_lifelong.seeds import derive_seed

_SAMPLERS = Registry("sampler")  # and the packages that each one needs
for _name, _needs in {
    "ehvi": (),
    "tpe": ("optuna",),
    "nsga2": ("optuna",),
    "gp": ("optuna", "torch"),
    "random": (),
    "grid": (),
}.items():
    _SAMPLERS.register(_name)(_needs)
SAMPLERS = tuple(_SAMPLERS.names())
CANDIDATES = 1024  # compared by expected improvement, where there are more


@dataclasses.dataclass
class Tried:
    """A trial as samplers see it.

    Attributes:
        values: of the hyperparameters, by name.
        objectives: to be minimised; None: it is not finished.
        attributes: what the sampler wrote down when it was asked: JSON.
    """

    values: dict
    objectives: list[float] | None
    attributes: dict


class Space:
    """KerasTuner's hyperparameters as a cube.

    Args:
        hyperparameters: a `keras_tuner.HyperParameters` without conditions.
    """

    def __init__(self, hyperparameters):
        from keras_lifelong.search.kerastuner import Fixed

        self.fixed, self.axes = {}, []
        for hp in hyperparameters.space:
            if hp.conditions:
                raise ValueError(
                    f"Hyperparameter {hp.name!r} has conditions, which a Pareto search "
                    "cannot follow. Make it always active."
                )
            if isinstance(hp, Fixed):
                self.fixed[hp.name] = hp.value
            else:
                self.axes.append(hp)

    def complete(self, values: dict) -> dict:
        """Values of the axes with those of all other hyperparameters."""
        return {**self.fixed, **values}

    def holds(self, values: dict) -> bool:
        """Whether values of all hyperparameters are a point of this space."""
        return True

    def values(self, cube) -> dict:
        """Values of a point of the cube."""
        found = {}
        for hp, p in zip(self.axes, cube, strict=True):
            value = hp.prob_to_value(float(np.clip(p, 0.0, 1.0 - 1e-9)))
            found[hp.name] = round(value, 10) if isinstance(value, float) else value
        return self.complete(found)

    def cube(self, values: dict) -> np.ndarray:
        """The point (d,) of values."""
        return np.array([hp.value_to_prob(values[hp.name]) for hp in self.axes], float)

    def choices(self, hp) -> list | None:
        """All values of a hyperparameter; None: there is a continuum."""
        kind = type(hp).__name__
        if kind == "Choice":
            return list(hp.values)
        if kind == "Boolean":
            return [False, True]
        if hp.step is None or hp.sampling != "linear":
            return None
        count = int(np.floor((hp.max_value - hp.min_value) / hp.step + 1e-9)) + 1
        found = [hp.min_value + i * hp.step for i in range(count)]
        return [round(v, 10) if isinstance(v, float) else v for v in found]

    def everything(self, limit: int) -> list[dict] | None:
        """All points, if there are so many at most."""
        sets = []
        for hp in self.axes:
            choices = self.choices(hp)
            if choices is None:
                return None
            sets.append(choices)
        if math.prod(len(s) for s in sets) > limit:  # in integers of any size
            return None
        names = [hp.name for hp in self.axes]
        return [
            self.complete(dict(zip(names, chosen, strict=True)))
            for chosen in itertools.product(*sets)
        ]

    def features(self, values: dict) -> np.ndarray:
        """What a Gaussian process sees: choices without an order one-hot."""
        parts = []
        for hp in self.axes:
            if type(hp).__name__ == "Choice" and not hp.ordered:
                chosen = np.equal(list(hp.values), values[hp.name])
                parts.append(chosen.astype(float))
            else:
                parts.append(np.array([hp.value_to_prob(values[hp.name])]))
        return np.concatenate(parts)

    def random(self, rng) -> dict:
        return self.values(rng.random(len(self.axes)))


class TiedSpace(Space):
    """A line through a space: some hyperparameters have one value between them.

    All others have their defaults.

    Args:
        space: a `Space`.
        names: of hyperparameters of the same kind and range, one or more.

    Raises:
        ValueError: if there is none of that name, or they differ.
    """

    def __init__(self, space: Space, names: list[str]):
        known = {hp.name: hp for hp in space.axes}
        kinds = [_kind(known[name]) for name in names if name in known]
        if not names or kinds != [kinds[0] if kinds else None] * len(names):
            raise ValueError(
                f"`tied` must be names of {sorted(known)} that take the same values. "
                f"Received: {names}"
            )
        self.names = list(names)
        self.axes = [known[names[0]]]
        defaults = {n: hp.default for n, hp in known.items() if n not in names}
        self.fixed = {**space.fixed, **defaults}

    def complete(self, values):
        return {**self.fixed, **dict.fromkeys(self.names, values[self.names[0]])}

    def holds(self, values):
        return self.complete(values) == values


def _kind(hp) -> tuple:
    """What values a hyperparameter takes."""
    own = ("name", "default", "conditions")
    config = {k: v for k, v in hp.get_config().items() if k not in own}
    return type(hp).__name__, config


def key(values: dict) -> str:
    """A name for values, by which repetitions are seen."""
    return repr(sorted(values.items()))


class Sampler:
    """Asks one of `SAMPLERS` for the values of a trial.

    Args:
        name: "ehvi", on scikit-learn; "random"; "grid": all points in their order; or,
            with Optuna: "tpe", "nsga2" or (which needs PyTorch) "gp".
        space: a `Space`.
        seed: integer.
        start: trials drawn at random before a model is fitted.

    Raises:
        ValueError: if there is no such sampler, with the nearest ones; if "grid" is
            asked for a continuum.
        ImportError: if a package that it needs is not installed.
    """

    def __init__(self, name: str, space: Space, seed: int, start: int | None = None):
        self.with_optuna = "optuna" in _SAMPLERS.get(name)
        if self.with_optuna:
            _optuna(name)
        self.name, self.space, self.seed = name, space, seed
        self.start = min(8, 2 * len(space.axes) + 2) if start is None else start
        if name == "grid" and space.everything(10**6) is None:
            raise ValueError(
                "`sampler='grid'` needs hyperparameters with steps, a million points "
                "at most"
            )

    def ask(self, index: int, tried: list[Tried]) -> tuple[dict, dict] | None:
        """Values that were not tried, and attributes to write down.

        Args:
            index: the trial's number.
            tried: the trials so far, in their order.

        Returns:
            None, if nothing is left to try.
        """
        seen = {key(t.values) for t in tried}
        everything = self.space.everything(CANDIDATES if self.name != "grid" else 10**6)
        left = None
        if everything is not None:
            left = [v for v in everything if key(v) not in seen]
            if not left:
                return None
            if self.name == "grid":
                return left[0], {}
        rng = np.random.default_rng(derive_seed(self.seed, "ask", index))
        if self.with_optuna:
            for attempt in range(10):
                values, attributes = self._suggested(index, attempt, tried)
                if key(values) not in seen:
                    return values, attributes
            return self._unseen(rng, left, seen), {}
        done = [t for t in tried if t.objectives is not None]
        if self.name == "ehvi" and len(done) >= max(2, self.start):
            return self._improving(rng, index, left, seen, tried, done), {}
        return self._unseen(rng, left, seen), {}

    def ask_random(self, index: int, tried: list[Tried]) -> tuple[dict, dict] | None:
        """As `ask`, but drawn at random."""
        return Sampler("random", self.space, self.seed).ask(index, tried)

    def _unseen(self, rng, left, seen) -> dict:
        if left is not None:
            return left[int(rng.integers(len(left)))]
        while True:
            values = self.space.random(rng)
            if key(values) not in seen:
                return values

    def _improving(self, rng, index, left, seen, tried, done) -> dict:
        space = self.space
        if left is None:
            left = [space.random(rng) for _ in range(CANDIDATES // 2)]
            for _ in range(CANDIDATES // 2):  # near what was tried
                near = done[int(rng.integers(len(done)))].values
                step = rng.normal(0, 0.1, len(space.axes)) * (
                    rng.random(len(space.axes)) < 0.5
                )
                left.append(space.values(np.clip(space.cube(near) + step, 0, 1)))
            left = [v for v in left if key(v) not in seen] or [
                self._unseen(rng, None, seen)
            ]
        pending = [t for t in tried if t.objectives is None]
        best = ehvi.suggest(
            np.array([space.features(v) for v in left]),
            np.array([space.features(t.values) for t in done]),
            np.array([t.objectives for t in done], float),
            np.array([space.features(t.values) for t in pending]),
            derive_seed(self.seed, "fit", index),
        )
        return left[best]

    def _suggested(self, index, attempt, tried) -> tuple[dict, dict]:
        """Optuna's answer, from a study made anew of the trials."""
        optuna = _optuna(self.name)
        seed = derive_seed(self.seed, "optuna", index, attempt)
        s = optuna.samplers
        sampler = {
            "tpe": lambda: s.TPESampler(seed=seed, n_startup_trials=self.start),
            "nsga2": lambda: s.NSGAIISampler(population_size=8, seed=seed),
            "gp": lambda: s.GPSampler(seed=seed, n_startup_trials=self.start),
        }[self.name]()
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            study = optuna.create_study(
                directions=["minimize"] * 2,
                sampler=sampler,
            )
            space = self.space
            axes = {hp.name: distribution(optuna, space, hp) for hp in space.axes}
            states = optuna.trial.TrialState
            for t in tried:
                is_done = t.objectives is not None
                study.add_trial(
                    optuna.trial.create_trial(
                        state=states.COMPLETE if is_done else states.RUNNING,
                        values=t.objectives,
                        params={n: self._plain(t.values[n]) for n in axes},
                        distributions=axes,
                        system_attrs=t.attributes,
                    )
                )
            with _one_thread(self.name):
                trial = study.ask(axes)
            attributes = trial.storage.get_trial(trial._trial_id).system_attrs
            attributes = {k: v for k, v in attributes.items() if "cache" not in k}
            values = {
                k: round(v, 10) if isinstance(v, float) else v
                for k, v in trial.params.items()
            }
            return self.space.complete(values), attributes
        finally:
            optuna.logging.set_verbosity(level)

    @staticmethod
    def _plain(value):
        return value.item() if hasattr(value, "item") else value


def distribution(optuna, space: Space, hp):
    """The distribution of Optuna that has the values of a hyperparameter."""
    d, choices = optuna.distributions, space.choices(hp)
    if type(hp).__name__ in ("Choice", "Boolean"):
        return d.CategoricalDistribution(choices)
    kind = d.IntDistribution if type(hp).__name__ == "Int" else d.FloatDistribution
    log = hp.sampling == "log"
    step = None if log else hp.step
    if kind is d.IntDistribution:
        return kind(hp.min_value, hp.max_value, log=log, step=step or 1)
    return kind(hp.min_value, hp.max_value, log=log, step=step)


@contextlib.contextmanager
def _one_thread(name: str):
    """PyTorch on one thread, if the sampler uses it.

    Its matrices are small: on more threads it waits for them, the longer the busier
    the machine.
    """
    if name != "gp":
        yield
        return
    torch = importlib.import_module("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _optuna(name: str):
    """Optuna, imported.

    Raises:
        ImportError: if it, or what the sampler needs beside it, is not installed.
    """
    needs = _SAMPLERS.get(name)
    missing = [m for m in needs if importlib.util.find_spec(m) is None]
    if missing:
        raise ImportError(
            f"`sampler={name!r}` needs {' and '.join(needs)}. "
            f"To install what is missing: pip install {' '.join(missing)}"
        )
    return importlib.import_module("optuna")
