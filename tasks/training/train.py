"""The job that trains the config's model and writes it as a model folder."""

from pathlib import Path

from tasks.data.dataset import open_dataset
from tasks.foundations import progress
from tasks.foundations.errors import InputError
from tasks.foundations.record import Record
from tasks.models import saved_model
from tasks.models.build import Source, fingerprint_of
from tasks.models.interface import describe
from tasks.models.signature import Signature
from tasks.training.fit import FitSettings, fit


class TrainRequest(Record):
    """What to train.

    Attributes:
        source: the model's source, as in `BuildRequest`.
        fingerprint: of the model that `build` saw.
        dataset: absolute path of the dataset folder.
        settings: of the fit, seed and the config's folder.
        out: absolute path of an empty folder.
    """

    source: Source
    fingerprint: str
    dataset: str
    settings: FitSettings
    out: str


class TrainResult(Record):
    """What was trained.

    Attributes:
        signature: of the model.
        epochs: epochs that were run.
        best_epoch: epoch whose weights were kept.
        final: Keras' figures of the kept epoch: loss, accuracy or mae, and each with `val_`.
    """

    signature: Signature
    epochs: int
    best_epoch: int
    final: dict[str, float]


def train(request: TrainRequest) -> TrainResult:
    """Build the model again, fit it and save it into `out`.

    Raises:
        InputError: the user's code does not build the same model twice.
        StepFailed: the training diverged, or the model cannot be saved.
    """
    settings = request.settings
    model = request.source.open(Path(settings.folder), settings.seed)
    if fingerprint_of(model) != request.fingerprint:
        raise InputError(
            "model: building it twice with the same seed gave two different models. "
            "Take random values from keras, numpy.random or random, which Slipway seeds, and no clock or counter."
        )
    history = fit(model, open_dataset(Path(request.dataset)), settings, progress.report_epoch)
    saved_model.save(
        model,
        Path(request.out),
        {
            "seed": settings.seed,
            "settings": settings.training.model_dump(mode="json"),
            **history.model_dump(mode="json"),
        },
    )
    final = {name: values[history.best_epoch - 1] for name, values in history.metrics.items()}
    return TrainResult(
        signature=describe(model).signature, epochs=history.epochs, best_epoch=history.best_epoch, final=final
    )
