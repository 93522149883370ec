"""A few distinct values a layer: the model compresses well when it travels, its speed stays what it was.

Weights share centroids that are trained on (Han, Mao and Dally, "Deep Compression", 2016, arXiv:1510.00149).
"""

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tasks.foundations.record import Record
from tasks.techniques import projection, trainable
from tasks.techniques.step import Place, Step

# Stripped of its clusters, attention has its weights in another order than before (tfmot 0.8.1).
_TAKEN = tuple(name for name in trainable.MATRICES if name != "MultiHeadAttention")
Start = Literal["kmeans++", "linear", "density", "random"]


class Clustering(Record):
    """The weights of a layer share a few values, which are trained on."""

    level: ClassVar[Literal["training", "onnx"]] = "training"
    place: ClassVar[Place] = "training"
    followed_by: ClassVar[str | None] = None

    kind: Literal["clustering"] = "clustering"
    clusters: int = Field(
        16,
        ge=3,
        le=4096,
        description="Distinct weights of a layer at most, zero included; after int8, of an output channel.",
    )
    start: Start = Field("kmeans++", description="How the first centroids are chosen.")
    epochs: trainable.Epochs = None
    batch_size: trainable.BatchSize = None
    optimizer: trainable.OwnOptimizer = None
    exclude: trainable.Exclude = ()

    def apply(self, step: Step) -> dict[str, Any]:
        """Cluster while fine-tuning; zeros of an earlier pruning stay.

        Raises:
            NotApplicable: no layer can be clustered.
            InputError: no `training` section, or an entry of `exclude` is no layer.
            StepFailed: the training diverged.
        """
        from tensorflow_model_optimization.clustering.keras import strip_clustering

        twin = trainable.open_source(step)
        layers = trainable.choose(self.kind, twin.model, self.exclude, self._fits, ", ".join(_TAKEN))
        made = trainable.promise("clusters", self.clusters, twin.model, layers)
        # A layer of fewer values keeps the promise if its ties are kept.
        wide = [name for name in layers if _distinct(twin.model.get_layer(name)) > self.clusters]
        zeros = projection.constraints(twin.model, [each for each in twin.kept if each.what != "clusters"])
        ties = projection.constraints(twin.model, (*twin.kept, made))
        coverage = trainable.coverage(twin.model, layers)
        settings = trainable.settings(self, step)
        sparse = {layer for layer, _ in zeros}
        wrapped = trainable.wrap(twin.model, wide, lambda layer: self._wrapped(layer, layer.name in sparse))
        narrow = {place: each for place, each in ties.items() if place[0] not in wide}
        keep = projection.keeping({place: _variable(twin.model, place) for place in narrow}, narrow)
        history = trainable.train(wrapped, step, settings, keep)
        plain = strip_clustering(wrapped)
        projection.apply({place: _variable(plain, place) for place in zeros}, zeros)
        trainable.finish(step, twin, plain, made)
        return {"layers": layers, "coverage": coverage, "history": history.model_dump(mode="json")}

    def prove(self, folder: str, source: str) -> dict[str, Any]:
        """Count distinct values, layer by layer.

        Raises:
            ProofFailed: a layer has more than asked, or another promise of the chain was broken.
        """
        return trainable.prove(folder)

    def _fits(self, layer: Any) -> bool:
        return type(layer).__name__ in _TAKEN

    def _wrapped(self, layer: Any, sparse: bool) -> Any:
        from tensorflow_model_optimization.clustering.keras import CentroidInitialization
        from tensorflow_model_optimization.python.core.clustering.keras import cluster_wrapper as wrappers

        # `cluster_weights` itself cannot keep zeros: only the wrapper underneath takes `preserve_sparsity`.
        start = CentroidInitialization[_STARTS[self.start]]
        wrapper = wrappers.ClusterWeightsRNN if hasattr(layer, "cell") else wrappers.ClusterWeights
        return wrapper(layer, self.clusters, start, preserve_sparsity=sparse)


def _distinct(layer: Any) -> int:
    return max(len(np.unique(layer.weights[index].numpy())) for index in trainable.kernels(layer))


def _variable(model: Any, place: projection.Place) -> Any:
    return model.get_layer(place[0]).weights[place[1]]


_STARTS = {"kmeans++": "KMEANS_PLUS_PLUS", "linear": "LINEAR", "density": "DENSITY_BASED", "random": "RANDOM"}
