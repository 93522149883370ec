"""Keeping what earlier techniques achieved while a later one trains on: projected gradient descent.

Pruned weights stay zero and the members of a cluster stay equal. Both are linear subspaces, so the nearest point is a
product with the mask and a mean over each cluster; after every step the weights are put back there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.techniques.promises import Promise

Array = np.ndarray[Any, Any]


class Constraint:
    """What one weight has to keep.

    Attributes:
        mask: (shape of the weight) 1 where it may differ from zero; None if zeros need not stay.
        groups: (shape of the weight) number of each element's cluster, None if there are no clusters.
        clusters: number of distinct values allowed, zero included.
    """

    def __init__(self, weight: Array, sparse: bool, clusters: int | None) -> None:
        self.mask = (weight != 0).astype(weight.dtype) if sparse else None
        self.clusters = clusters
        self.groups = np.unique(weight, return_inverse=True)[1].reshape(weight.shape) if clusters else None

    def regroup(self, weight: Array) -> None:
        """Take the zeros of `weight` as promised from now on, and share the other values anew among its clusters."""
        self.mask = (weight != 0).astype(weight.dtype)
        if self.groups is not None and self.clusters is not None and not self.mask.all():
            alive = weight[weight != 0]
            self.groups = np.searchsorted(_borders(alive, self.clusters - 1), weight)

    def project(self, weight: Array) -> Array:
        """The nearest weight that keeps the promises."""
        result = weight if self.mask is None else weight * self.mask
        if self.groups is None:
            return result
        alive = np.ones(weight.shape, bool) if self.mask is None else self.mask.astype(bool)
        sums = np.bincount(self.groups[alive], result[alive], minlength=int(self.groups.max()) + 1)
        counts = np.bincount(self.groups[alive], minlength=len(sums))
        values = (sums / np.maximum(counts, 1)).astype(weight.dtype)
        return np.where(alive, values[self.groups], np.zeros((), weight.dtype))


# Values that clusters are looked for in: more change a centre by less than training does.
SAMPLE = 100_000
Place = tuple[str, int]


def _borders(values: Array, clusters: int) -> Array:
    """(clusters - 1,) values between the clusters of k-means on a line."""
    from sklearn.cluster import KMeans

    sample = values if len(values) <= SAMPLE else np.random.default_rng(0).choice(values, SAMPLE, replace=False)
    if len(np.unique(sample)) <= clusters:
        centres = np.unique(sample)
    else:
        start = np.quantile(sample, (np.arange(clusters) + 0.5) / clusters)[:, None]
        centres = np.sort(KMeans(clusters, init=start, n_init=1).fit(sample[:, None]).cluster_centers_[:, 0])
    borders: Array = (centres[1:] + centres[:-1]) / 2
    return borders


def constraints(model: Any, promises: Sequence[Promise]) -> dict[Place, Constraint]:
    """What the weights of a tf_keras model have to keep: (layer, index in its list of weights) -> constraint."""
    sparse: set[Place] = set()
    clusters: dict[Place, int] = {}
    for promise in promises:
        places = [(layer, index) for layer, indices in promise.layers.items() for index in indices]
        if promise.what == "clusters":
            clusters |= dict.fromkeys(places, int(promise.asked))
        else:
            sparse |= set(places)
    return {
        (layer, index): Constraint(
            model.get_layer(layer).weights[index].numpy(), (layer, index) in sparse, clusters.get((layer, index))
        )
        for layer, index in sorted(sparse | set(clusters))
    }


def variables(model: Any, plain: Any) -> dict[Place, Any]:
    """Variables of a model whose layers tensorflow-model-optimization has wrapped, by their places in the plain model.

    A wrapper holds its layer's variables in another order, among its own.
    """
    layers = by_name(model)
    return {
        (layer.name, index): variable
        for layer in plain.layers
        for index, variable in enumerate(_in_order(layers[layer.name], layer))
    }


def by_name(model: Any) -> dict[str, Any]:
    """Layers of a model, wrapped or not, by the names that they have in the plain model."""
    return {_inner(layer).name: layer for layer in model.layers}


def apply(places: Mapping[Place, Any], found: Mapping[Place, Constraint]) -> None:
    """Put variables, by place, where their constraints want them."""
    for place, constraint in found.items():
        places[place].assign(constraint.project(places[place].numpy()))


def keeping(places: Mapping[Place, Any], found: Mapping[Place, Constraint], regroup_at: int = 0) -> list[Any]:
    """Callbacks for a fit that keep the constraints after every step.

    Args:
        places: variables of the model that is fitted.
        found: from `constraints`.
        regroup_at: step before which nothing is kept, and at which the zeros of that moment are taken over: for a
            technique that itself makes zeros.
    """
    import tf_keras

    class Keep(tf_keras.callbacks.Callback):  # type: ignore[misc, unused-ignore]
        step = 0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.step += 1
            if self.step == regroup_at:
                for place, constraint in found.items():
                    constraint.regroup(places[place].numpy())
            if self.step >= regroup_at:
                apply(places, found)

    return [Keep()] if found else []


def _inner(layer: Any) -> Any:
    wrapped = getattr(layer, "layer", None)
    ours = type(layer).__module__.startswith("tensorflow_model_optimization")
    return wrapped if ours and wrapped is not None else layer


def _in_order(layer: Any, plain: Any) -> list[Any]:
    if _inner(layer) is layer:
        return list(layer.weights)
    # Pruning wraps the layer itself; the others make its variables anew, in layers whose weights differ in name.
    own = {id(variable) for variable in layer.weights}
    named = {short_name(variable): variable for variable in layer.weights}
    return [variable if id(variable) in own else named[short_name(variable)] for variable in plain.weights]


def short_name(variable: Any) -> str:
    """`kernel` of `dense/kernel:0`."""
    return str(variable.name).rpartition("/")[2].partition(":")[0]
