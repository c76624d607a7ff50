"""ChoosingModel: phases of a chosen configuration, and how likely each choice is."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_lifelong.methods.lasem.transfer_model import TransferModel
from keras_lifelong.training.phase import Phase
from keras_lifelong.training.phase import PhaseResult


class ChoosingModel(TransferModel):
    """What all ways to choose a task's configuration have in common.

    Its options have `continue_schedule`, `sharing` and `orthogonality`.

    Attributes:
        posterior: variable of probabilities, as `belief` has them: those of now, by
            which regularizers and the mechanism's penalty are weighed.
    """

    posterior: keras.Variable

    def build_network(self, backbone, *arguments):
        network = super().build_network(backbone, *arguments)
        self.posterior = keras.Variable(
            self.belief.uniform(), trainable=False, name="posterior"
        )
        return network

    def active_variables(self):
        return [*super().active_variables(), self.posterior]

    # Phases

    def trained(self, phase):
        """Runs a phase; counts its steps, from which a schedule goes on."""
        if self.options.continue_schedule:
            phase.iterations = sum(
                self.notes(n).get("steps", 0) for n in self.task_names
            )
        result = yield phase
        notes = self.notes(self.active_task)
        notes["steps"] = notes.get("steps", 0) + result.steps
        return result

    def static_phase(self, name, variables) -> Phase:
        """A phase that trains the configuration of the most evidence."""
        self.posterior.assign(self.certain())
        penalty = self.penalty if self.options.sharing == "tf" else None
        variables = [v for v in variables if v.trainable]
        return self.phase(name, variables, penalty=penalty, shares=self.regularized)

    def regularized(self, variables, arguments):
        """How much the regularizer of each variable counts: as likely as it is used."""
        del arguments
        likely = self.belief.sharing(ops.convert_to_tensor(self.posterior))
        counts = {}
        layers = self.network.searched
        for layer, p in zip(layers, self.network.by_layer(likely), strict=True):
            counts |= dict.fromkeys(map(id, layer.shared_variables), p)
            counts |= dict.fromkeys(map(id, layer.own_variables), 1 - p)
        return [counts.get(id(v)) for v in variables]

    def penalty(self, weights, arguments):
        """Orthogonality of the factors of shared layers, weighted by the posterior."""
        del weights, arguments
        shared = self.belief.sharing(ops.convert_to_tensor(self.posterior))
        by_layer = self.network.by_layer([shared[g] for g in range(shared.shape[0])])
        pairs = zip(by_layer, self.network.searched, strict=True)
        return self.options.orthogonality * sum(p * x.penalty() for p, x in pairs)

    # What was found

    def certain(self) -> np.ndarray:
        """All probability on the configuration of the most evidence."""
        return self.belief.certain(ops.convert_to_numpy(self.choices()))

    def log_choices(self, task, prior, why):
        """Logs for every layer what was chosen, and how likely sharing it was."""
        sharing = [float(p) for p in np.asarray(self.sharing_of(prior))]
        chosen = self.notes(task)["configuration"]
        for path, layer, is_shared, p in zip(
            self.network.paths,
            self.network.searched,
            chosen,
            self.network.by_layer(sharing),
            strict=True,
        ):
            kind = "share" if is_shared else "own"
            self.log(task, path, kind, layer.units, probability_of_sharing=p)
        if self.configurations is None:
            why["sharing"] = sharing  # of each choice
            if "trace" in why:
                why["sharing_trace"] = np.array(why.pop("trace"))[..., 0].tolist()
        else:
            why["prior"] = [float(p) for p in prior]
        why = {"configuration": chosen, **why}
        self.log(task, "configuration", "configuration", 0, **why)

    def sharing_of(self, prior):
        """The probability of sharing each choice, (d,), by a prior as an array."""
        if self.configurations is None:
            return prior[:, 0]
        return prior @ self.configurations


def traced(result: PhaseResult) -> dict:
    """Of what a search observed as "prior", epoch by epoch, at most fifty."""
    trace = result.history["prior"]
    every = -(-len(trace) // 50)
    return {"trace_every": every, "trace": trace[every - 1 :: every]}
