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
from typing import Literal

import numpy as np
from keras import ops

from keras_lifelong.checks import Above
from keras_lifelong.checks import ArgumentsOf
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import In
from keras_lifelong.checks import Seed
from keras_lifelong.layers import extractors
from keras_lifelong.layers.augmentation import CropFlip
from keras_lifelong.layers.cell import CellNetwork
from keras_lifelong.methods.par.cell_search import CellSearch
from keras_lifelong.methods.par.cell_search import SearchSettings
from keras_lifelong.methods.par.distance import FIRST_EXPERT
from keras_lifelong.methods.par.distance import FUNCTION
from keras_lifelong.methods.par.distance import TaskDistances
from keras_lifelong.methods.par.expert_training import ExpertTraining
from keras_lifelong.methods.par.experts import ExpertsModel
from keras_lifelong.metrics import task_distance
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.seeds import derive_seed
from keras_lifelong.streams.task import is_dataset
from keras_lifelong.training import distillation
from keras_lifelong.training import schedules

WeightDecay = Annotated[float, AtLeast(0)]
_GIVEN = ("rate", "monitor", "higher_is_better")  # by `PAR` itself
Plateau = Annotated[dict, ArgumentsOf(schedules.plateau, _GIVEN)]
Augmentation = Annotated[dict, ArgumentsOf(CropFlip, ("seed",))]


@register
class PAR(TaskDistances, ExpertTraining, ExpertsModel):
    """Shares an expert with related tasks, allocates one for a task unlike them.

    For a new task, with s the smallest of its distances to the groups of tasks that
    share an expert (section 3.1):

    - s <= α: the task joins that group. Its expert is trained on, with distillation on
      every head it has, or frozen, if the task is small beside those of the group.
    - α < s <= β: a new expert with the cells of the nearest one.
    - s > β: a new expert whose cells are searched for the task.

    The first task gets an expert of searched cells. A backbone without a `CellNetwork`
    has no cells to search: every new expert is then a fresh copy of it.

    Args:
        backbone: `keras.Sequential` of hidden layers, of any kind; with a `CellNetwork`
            its cells can be searched.
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
        seed, name: see `LifelongModel`.

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
        name: str | None = None,
    ):
        options = checked_options(PAR, locals())
        if options["weight_decay"] == []:
            raise ValueError("`weight_decay` must be one or more. Received: []")
        super().__init__(backbone, seed=seed, name=name, options=options)
        extractor, augmentation = options["extractor"], options["augmentation"]
        if extractor is None:
            images = len(self.backbone_input_shape) == 3
            extractor = "random_convolutions" if images else "pca"
        if extractor in (FIRST_EXPERT, FUNCTION):
            self.extractor = None  # none yet
        else:
            self.extractor = extractors.get(extractor)
            extractor = getattr(self.extractor, "config", FUNCTION)
        self._change_options(extractor=extractor)
        self.augment = None
        if augmentation is not None:
            seed = derive_seed(self.seed, "augmentation")
            self.augment = CropFlip(**augmentation, seed=seed)
        self._searches = {}

    task_forms = (("prototypes", str),)

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
        x, y = self.samples(task)
        features = None
        if self.experts or not self.measures_late:
            self.adapt_extractor(task)
            features = self.extract(x)
        why = self.compare(features, y)
        why["samples"] = size = 0 if is_dataset(task.train) else len(task.train[1])
        strategy, k = self.decide(why, size)
        if strategy == "share":
            frozen = size < self.freeze_ratio * self.experts[k]["largest"]
            self.join(name, k)
            yield from self.share(task, frozen)
            kind, added = "freeze" if frozen else "reuse", 0
        else:
            genotype, why["cell"] = None, None
            if self.has_cells:
                why["cell"] = strategy
                if strategy == "searched":
                    genotype = yield from self.search(task)
                elif strategy == "reused":
                    genotype = self.experts[k]["genotype"]
            k = self.add_expert(name, genotype)
            yield from self.allocate(task)
            kind, added = "allocate", self.expert_params(k)
        self.experts[k]["largest"] = max(size, self.experts[k]["largest"])
        if features is None:
            self.use_first_expert()
            features = self.extract(x)
        self.memory["prototypes", name] = task_distance.prototypes(features, y)
        why["genotype"] = self.genotype(k)
        why["prototypes"] = self.memory["prototypes", name].size
        self.log(name, f"expert_{k}", kind, added, **why)

    # Section 3.1: what to do with a task

    def decide(self, why: dict, size: int) -> tuple[str, int | None]:
        """What to do with a task: ("share" | "reused" | "searched" | "given", expert).

        Args:
            why: what `compare` gave.
            size: training examples of the task.
        """
        o, fresh = self.options, "searched" if self.options.search else "given"
        if why["nearest"] is None:
            return fresh, None
        groups = list(why["group_distances"].values())
        if 0 < size <= self.tiny:
            able = [k for k, e in enumerate(self.experts) if e["largest"] >= 10 * size]
            if able:
                return "share", min(able, key=lambda k: groups[k])
        s, k = why["distance"], int(np.argmin(groups))
        if s <= o.alpha and o.alpha > 0:
            return "share", k
        if s <= o.beta and o.beta > 0 and o.search:
            return "reused", k
        return fresh, k

    @property
    def freeze_ratio(self) -> float:
        given, code = self.options.freeze_ratio, self.options.reference == "code"
        return (0.5 if code else 0.1) if given is None else given

    @property
    def tiny(self) -> int:
        given, code = self.options.tiny, self.options.reference == "code"
        return (25 if code else 0) if given is None else given

    # Section 3.2: regularised reuse

    def share(self, task, frozen: bool = False):
        """Learns a task with the expert it shares; `frozen`: its head alone."""
        k = self.expert_of(task.name)
        if frozen:
            yield from self.trained(task, "frozen reuse", [], self.frozen_loss)
            return
        others = [t for t in self.experts[k]["tasks"] if t != task.name]
        if not others:
            yield from self.allocate(task)
            return
        values = self.expert_values(k)
        heads = [
            (self.memory[*key, "kernel"], self.memory[*key, "bias"])
            for key in map(self.head_key, others)
        ]
        arguments = {
            "teacher": values,
            "heads": distillation.stack_heads(heads),
            "strength": np.float32(self.options.distillation),
        }
        body = self.network.trainable_variables
        loss = self.reuse_loss
        yield from self.trained(task, "regularised reuse", body, loss, arguments)

    def reuse_loss(self, x, y, weight, arguments):
        """Cross-entropy of the new task and distillation on the heads of the others."""
        x = self.augmented(x)
        features = self.features(x, training=True)
        old = distillation.distillation(
            arguments["heads"],
            distillation.features_under(
                self.network.current(), arguments["teacher"], x
            ),
            features,
            weight,
            self.options.temperature,
        )
        loss = self.head_loss(y, self.head(features), weight)
        return loss + arguments["strength"] * old

    def frozen_loss(self, x, y, weight, arguments):
        """Cross-entropy with a body that stays as it is, batch statistics included."""
        del arguments
        features = self.features(self.augmented(x), training=False)
        return self.head_loss(y, self.head(ops.stop_gradient(features)), weight)

    # Section 3.3: allocation

    def allocate(self, task):
        """Trains a whole expert."""
        body, patience = self.network.trainable_variables, self.options.patience
        name = "training"
        yield from self.trained(task, name, body, self.fresh_loss, patience=patience)

    def fresh_loss(self, x, y, weight, arguments):
        """Cross-entropy of the task."""
        return self.task_loss(self.augmented(x), y, weight, arguments)

    def search(self, task):
        """Searches cells for a task; returns their genotype, and logs it."""
        if is_dataset(task.train):
            raise ValueError(
                f"Task {task.name!r} is a tf.data.Dataset, on which cells are not "
                "searched. Pass arrays, or `search=False`."
            )
        o, classes = self.options, task.spec.num_classes
        if classes not in self._searches:
            cells = next(
                x for x in self.backbone_copy().layers if isinstance(x, CellNetwork)
            )
            settings = SearchSettings(
                o.rule,
                filters=o.search_filters or cells.filters,
                cells=len(cells.cells),
                weight_decay=self.weight_decays[0],
            )
            shape, state = self.backbone_input_shape, self.augment_variables()
            self._searches[classes] = CellSearch(
                self, shape, classes, settings, self.augment, state
            )
        x, y = task.train
        seed = derive_seed(self.seed, "search", task.name)
        found, accuracy, probabilities = yield from self._searches[classes].search(
            x,
            np.asarray(y).reshape(-1).astype("int32"),
            seed,
            self.rate,
            o.search_epochs,
        )
        self.log(
            task.name,
            f"expert_{len(self.experts)}",
            "search",
            0,
            genotype=found,
            accuracy=accuracy,
            probabilities=probabilities,
        )
        return found

    def genotype(self, k: int) -> dict | None:
        """The cells of an expert; None if the backbone has none."""
        for layer in self._network_of(k).layers:
            if isinstance(layer, CellNetwork):
                return layer.genotype
        return None

    # What it can learn, and what it holds

    def check_spec(self, name, spec):
        super().check_spec(name, spec)
        distillation.check_head(type(self).__name__, name, spec)

    def load_task(self, task):
        loaded = super().load_task(task)
        if len(self.weight_decays) > 1 and loaded.validation is None:
            raise ValueError(
                "A grid of `weight_decay` needs validation data to choose by. "
                f"Task {loaded.name!r} has none."
            )
        if self.options.schedule is not None or (
            self.has_cells and self.options.search
        ):
            self.rate  # noqa: B018 - raises if it is no number
        return loaded

    def sizes(self) -> dict[str, int]:
        """Numbers held: M, that of the paper, is experts + heads.

        Returns:
            Dict of "experts" and "heads", of which `count_params()` is the sum, and
            of "prototypes" and "extractor", which the paper leaves out.
        """
        prototypes = [
            v.size for key, v in self.memory.items() if key[0] == "prototypes"
        ]
        return {
            "experts": self.network_params(),
            "heads": self.task_params(),
            "prototypes": sum(prototypes),
            "extractor": getattr(self.extractor, "count_params", lambda: 0)(),
        }

    def structure(self):
        return {**super().structure(), "extractor": self._experts.extractor}

    def set_structure(self, structure):
        super().set_structure(structure)
        self._experts.extractor = structure["extractor"]

    def summarize_network(self, print_fn, **kwargs):
        super().summarize_network(print_fn, **kwargs)
        parts = [f"{size:,} {name}" for name, size in self.sizes().items()]
        print_fn(f"Numbers held: {', '.join(parts)}")
