"""PAR: task-difficulty-aware parameter allocation and regularisation.

Wang, Hu, Chen, Zhang: Task Difficulty Aware Parameter Allocation & Regularization for
Lifelong Learning, CVPR 2023. How far a new task is from those of each expert decides:
near, it shares the nearest expert, which distillation keeps from forgetting; further,
it gets an expert of its own, with the cells of the nearest; furthest, with cells
searched for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from typing import Any
from typing import Literal

import numpy as np
from keras import ops

from keras_lifelong.checks import Above
from keras_lifelong.checks import ArgumentsOf
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import In
from keras_lifelong.checks import Seed
from keras_lifelong.layers.augmentation import CropFlip
from keras_lifelong.methods.par.cell_search import CellSearches
from keras_lifelong.methods.par.cell_search import SearchSettings
from keras_lifelong.methods.par.deciding import TINY
from keras_lifelong.methods.par.deciding import Deciding
from keras_lifelong.methods.par.expert_training import ExpertTraining
from keras_lifelong.methods.par.experts import ExpertsModel
from keras_lifelong.methods.par.task_distances import FUNCTION
from keras_lifelong.methods.par.task_distances import TaskDistances
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.seeds import derive_seed
from keras_lifelong.streams.columns import are_several
from keras_lifelong.streams.forms import is_dataset
from keras_lifelong.training import distillation
from keras_lifelong.training import schedules

WeightDecay = Annotated[float, AtLeast(0)]
_GIVEN = ("rate", "monitor", "higher_is_better")  # by `PAR` itself
Plateau = Annotated[dict, ArgumentsOf(schedules.plateau, _GIVEN)]
Augmentation = Annotated[dict, ArgumentsOf(CropFlip, ("seed",))]


@register
class PAR(Deciding, ExpertsModel):
    """Shares an expert with related tasks, allocates one for a task unlike them.

    For a new task, with s the smallest of its distances to the groups of tasks that
    share an expert (section 3.1, `distances`, `decide`):

    - s <= α: the task joins that group (section 3.2, `share`). Its expert is trained
      on, with λ times the distillation, at temperature T, of every head it has, or
      frozen, if the task is small beside those of the group.
    - α < s <= β: a new expert with the cells of the nearest one (section 3.3,
      `allocate`).
    - s > β: a new expert whose cells are searched for the task (`search`).

    The first task gets an expert of searched cells. A backbone without a `CellNetwork`
    has no cells to search: every new expert is then a fresh copy of it.

    Args:
        backbone: `keras.Sequential` or functional `keras.Model` of hidden layers, of
            any kind; with a `CellNetwork` its cells can be searched.
        alpha: α in [0, 1]; 0: no expert is ever shared.
        beta: β in [0, 1]; 0: cells are searched for every new expert.
        extractor: of the features that distances are measured in: "random_convolutions"
            (for images), "pca" (for any data), "application" (an ImageNet network of
            Keras), "hub" (one of keras-hub), "first_expert" (the first expert's own
            features), a dict `{name: …, …arguments}`, or a function of images (n, …) to
            features (n, d). A function is not saved with the model: set
            `model.extractor` after loading. None: "random_convolutions" for images,
            "pca" for other data.
        reference: "paper"; "code": where the authors' program differs: there a class
            adds at least 0 to a divergence, a distance of 0 is 1, `freeze_ratio` is
            0.5, `tiny` is 25, and tiny tasks are trained with ten times the weight
            decay; or "leave_one_out": the paper's with distances that are not too large
            where validation data are few, see `metrics.task_distance.divergence`.
        search: whether cells are searched. False: new experts have the backbone's own.
        rule: how the search learns its probabilities, "difference" or "softmax"; see
            `MDL`.
        search_epochs: at least 1. None: as those of `fit`.
        search_filters: width of the searched network, at least 2. None: that of the
            backbone.
        freeze_ratio: an expert is frozen for a task of fewer examples than this part,
            in [0, 1], of the largest task in the group. None: what `reference` says.
        tiny: a task of at most so many examples takes the nearest expert that has seen
            ten times as many, whatever the distance. None: what `reference` says: 0 for
            the paper, which has no such rule.
        temperature: T of distillation, above 0.
        distillation: λ: weight of the sum of distillation losses, at least 0.
        weight_decay: coupled L2 on all that is trained, at least 0; a list is a grid,
            of which the best on validation data is taken task by task (the paper's is
            3e-4, 1e-3, 3e-3, 1e-2), at the cost of training as often.
        clip_norm: global norm to which gradients are clipped, at least 0; 0: they are
            not.
        schedule: of the learning rate given to the optimizer: "cosine", "plateau", or
            None to leave it as it is.
        plateau: arguments of the "plateau" schedule: factor, patience, least.
        patience: a new expert's training ends after so many epochs, at least 1, that
            were not better on validation data. None: never.
        augmentation: None, or a dict of the arguments of `CropFlip`: padding, flip,
            brightness.
        pretrained: whether new experts begin from the backbone's weights, all of them;
            searched cells do not, and are drawn.
        seed, name: see `LifelongModel`.

    Tasks without classes are compared by groups of their examples (see
    `metrics.target_groups`), and distilled by their own measure (see
    `training.distillation`).

    Raises:
        ValueError: if an argument is of another type or range, naming it.

    Example:

    ```python
    stream = kl.streams.get("split_cifar100")
    model = kl.PAR(kl.backbones.get("cells", (32, 32, 3), filters=16))
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9))
    result = model.fit_stream(stream, epochs=30, batch_size=64)
    [expert["tasks"] for expert in model.experts]
    ```
    """

    carries_graphs = True
    carries_inputs = True

    def __init__(
        self,
        backbone,
        alpha: Annotated[float, In(0, 1)] = 0.5,
        beta: Annotated[float, In(0, 1)] = 0.75,
        extractor: str | dict | Callable | None = None,
        reference: Literal["paper", "code", "leave_one_out"] = "paper",
        search: bool = True,
        rule: Literal["difference", "softmax"] = "difference",
        search_epochs: Annotated[int, AtLeast(1)] | None = None,
        search_filters: Annotated[int, AtLeast(2)] | None = None,
        freeze_ratio: Annotated[float, In(0, 1)] | None = None,
        tiny: Annotated[int, AtLeast(0)] | None = None,
        temperature: Annotated[float, Above(0)] = 2.0,
        distillation: Annotated[float, AtLeast(0)] = 1.0,
        weight_decay: WeightDecay | list[WeightDecay] = 3e-3,
        clip_norm: Annotated[float, AtLeast(0)] = 10.0,
        schedule: Literal["cosine", "plateau"] | None = "cosine",
        plateau: Plateau | None = None,
        patience: Annotated[int, AtLeast(1)] | None = None,
        augmentation: Augmentation | None = None,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(PAR, locals())
        if options["weight_decay"] == []:
            raise ValueError("`weight_decay` must be one or more. Received: []")
        super().__init__(backbone, seed, pretrained, name, options)
        shape = self.backbone_input_shape
        images = not are_several(shape) and len(shape) == 3
        self.distances = TaskDistances(
            options["extractor"],
            images,
            options["reference"],
            lambda: self.memory,
            self.make_network,
        )
        self._change_options(extractor=self.distances.config)
        self.augment = None
        if options["augmentation"] is not None:
            if not images:
                raise ValueError(
                    "`augmentation` goes with one input, of images (height, width, "
                    "channels): put layers that augment into the backbone. Received: "
                    f"{options['augmentation']!r} and inputs of shape {shape}"
                )
            seed = derive_seed(self.seed, "augmentation")
            self.augment = CropFlip(**options["augmentation"], seed=seed)
        self.expert_training = ExpertTraining(
            self,
            options["weight_decay"],
            options["clip_norm"],
            options["schedule"],
            options["plateau"],
            self.augment,
        )
        cells = self.given_cells()
        if cells is not None and options["search"]:
            if not images:
                raise ValueError(
                    "Cells are searched for one input, of images (height, width, "
                    "channels): pass `search=False`. Received: a backbone with a "
                    f"CellNetwork that takes inputs of shape {shape}"
                )
            settings = SearchSettings(
                options["rule"],
                filters=options["search_filters"] or cells.filters,
                cells=len(cells.cells),
                weight_decay=self.expert_training.weight_decays[0],
            )
            self.searches = CellSearches(self, shape, settings, self.augment)

    task_forms = (("prototypes", str),)

    @property
    def extractor(self) -> Callable | None:
        """What distances are measured by: inputs (n, …) to features (n, d)."""
        return self.distances.extractor

    @extractor.setter
    def extractor(self, extractor: Callable | None):
        self.distances.extractor = extractor

    def with_options(self, **changes):
        """As of every model; a function that is the extractor stays so."""
        if self.options.extractor == FUNCTION and self.extractor is not None:
            changes.setdefault("extractor", self.extractor)
        return super().with_options(**changes)

    def learn(self, task):
        name = task.name
        if self.expert_of(name) is not None:  # a task that comes back
            yield from self.share(task)
            return
        x, y = self.distances.samples(task)
        features = None
        if self.experts or not self.distances.by_first_expert:
            self.distances.adapt(task)
            features = self.distances.features(x)
        found = self.distances.compare(features, y, self.groups())
        size = 0 if is_dataset(task.train) else len(task.train[1])
        o = self.options
        why = {**found, "alpha": o.alpha, "beta": o.beta, "samples": size}
        strategy, k = self.decide([*found.get("group_distances", {}).values()], size)
        if strategy == "share":
            frozen = size < self.freeze_ratio * self.experts[k]["largest"]
            self.join(name, k)
            yield from self.share(task, frozen)
            kind, added = "freeze" if frozen else "reuse", 0
        else:
            why["cell"] = strategy if self.has_cells else None
            k = yield from self.allocate(task, strategy, k)
            kind, added = "allocate", self.expert_params(k)
        self.experts[k]["largest"] = max(size, self.experts[k]["largest"])
        if features is None:
            self.distances.freeze_expert(self.cells_key(0), self.expert_values(0))
            features = self.distances.features(x)
        self.distances.keep(name, features, y)
        why["genotype"] = self.genotype(k)
        why["prototypes"] = self.distances.prototypes(name).size
        self.log(name, f"expert_{k}", kind, added, **why)

    # Section 3.1: what to do with a task

    def groups(self) -> dict[str, list[str]]:
        """The names of the tasks that share each expert, by the expert's name."""
        return {f"expert_{k}": e["tasks"] for k, e in enumerate(self.experts)}

    # Section 3.2: regularised reuse

    def share(self, task, frozen: bool = False):
        """Learns a task with the expert it shares; `frozen`: its head alone."""
        k: Any = self.expert_of(task.name)  # it was given one
        if frozen:
            yield from self.train(task, "frozen reuse", [], self.frozen_loss)
            return
        others = [t for t in self.experts[k]["tasks"] if t != task.name]
        if not others:
            yield from self.train_expert(task)
            return
        keys, memory = map(self.head_key, others), self.memory
        heads = [(memory[*key, "kernel"], memory[*key, "bias"]) for key in keys]
        compared = [distillation.comparison(self.task_spec(t).kind) for t in others]
        arguments = {
            "teacher": self.expert_values(k),
            "heads": distillation.stack_heads(heads, compared),
            "strength": np.float32(self.options.distillation),
        }
        body = self.network.trainable_variables
        name, loss = "regularised reuse", self.reuse_loss
        yield from self.train(task, name, body, loss, arguments=arguments)

    def reuse_loss(self, x, y, weight, arguments):
        """Loss of the new task + λ distillation on the heads of the others."""
        x = self.expert_training.augmented(x)
        features = self.features(x, training=True)
        body, teacher = self.network.current(), arguments["teacher"]
        before = distillation.features_under(body, teacher, x)
        heads, temperature = arguments["heads"], self.options.temperature
        old = distillation.distillation(heads, before, features, weight, temperature)
        loss = self.head_loss(y, self.head(features), weight)
        return loss + arguments["strength"] * old

    def frozen_loss(self, x, y, weight, arguments):
        """Loss with a body that stays as it is, batch statistics included."""
        del arguments
        x = self.expert_training.augmented(x)
        features = ops.stop_gradient(self.features(x, training=False))
        return self.head_loss(y, self.head(features), weight)

    # Section 3.3: allocation

    def allocate(self, task, strategy: str, k: int | None):
        """Gives a task its own expert, as `decide` says; returns that one's number."""
        genotype = None
        if self.has_cells and strategy == "searched":
            genotype = yield from self.search(task)
        elif self.has_cells and strategy == "reused" and k is not None:
            genotype = self.experts[k]["genotype"]
        k = self.add_expert(task.name, genotype)
        yield from self.train_expert(task)
        return k

    def train_expert(self, task):
        """Trains a whole expert for the one task that it has."""
        body, patience = self.network.trainable_variables, self.options.patience
        name, loss = "training", self.fresh_loss
        yield from self.train(task, name, body, loss, patience=patience)

    def fresh_loss(self, x, y, weight, arguments):
        """Loss of the task."""
        return self.task_loss(self.expert_training.augmented(x), y, weight, arguments)

    def train(self, task, name, body, loss, **kwargs):
        """A phase with the best weight decay of the grid, which is noted."""
        grid = self.expert_training.weight_decays
        code = self.options.reference == "code" and not is_dataset(task.train)
        if code and body and len(task.train[1]) <= TINY:
            grid = [10 * decay for decay in grid]
        phase = self.phase(name, body, loss=loss, **kwargs)
        best = yield from self.expert_training.run(phase, grid)
        if best is not None:
            self.notes(task.name)["weight_decay"] = best

    def search(self, task):
        """Searches cells for a task; returns their genotype, and logs it."""
        seed = derive_seed(self.seed, "search", task.name)
        rate, epochs = self.expert_training.rate, self.options.search_epochs
        found = yield from self.searches.search(task, seed, rate, epochs)
        self.log(task.name, f"expert_{len(self.experts)}", "search", 0, **found)
        return found["genotype"]

    # What it can learn, and what it holds

    def check_spec(self, name, spec, others):
        super().check_spec(name, spec, others)
        distillation.check_compared(type(self).__name__, name, spec)
        distillation.check_own_head(type(self).__name__, name, spec)

    def check_settings(self, task, settings):
        if len(self.expert_training.weight_decays) > 1:
            settings.check_validates("A grid of `weight_decay`")

    def load_task(self, task):
        loaded = super().load_task(task)
        if len(self.expert_training.weight_decays) > 1 and loaded.validation is None:
            raise ValueError(
                "A grid of `weight_decay` needs validation data to choose by. "
                f"Task {loaded.name!r} has none."
            )
        searched = self.has_cells and self.options.search
        if searched or self.options.schedule is not None:
            self.expert_training.rate  # noqa: B018 - raises if it is no number
        return loaded

    def active_variables(self):
        return [*super().active_variables(), *self.expert_training.augment_variables()]

    def sizes(self) -> dict[str, int]:
        """Numbers held: M, that of the paper, is experts + heads.

        Returns:
            Dict of "experts" and "heads", of which `count_params()` is the sum, and
            of "prototypes" and "extractor", which the paper leaves out.
        """
        experts, heads = self.network_params(), self.task_params()
        return {"experts": experts, "heads": heads, **self.distances.sizes()}

    def structure(self):
        return {**super().structure(), "extractor": self.distances.cells}

    def set_structure(self, structure):
        super().set_structure(structure)
        self.distances.restore(structure["extractor"])

    def summarize_network(self, print_fn, **kwargs):
        super().summarize_network(print_fn, **kwargs)
        parts = [f"{size:,} {name}" for name, size in self.sizes().items()]
        print_fn(f"Numbers held: {', '.join(parts)}")
