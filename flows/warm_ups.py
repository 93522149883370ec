"""Trainings that would end before their learning rate has risen.

Techniques inherit the schedule of `training`; a fine-tuning that is all warm-up cost a MobileNetV2 15
points of accuracy.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flows.yaml_source import Where

if TYPE_CHECKING:
    from flows.config import Config


def warm_ups(config: "Config") -> Iterator[tuple[Where, str]]:
    """(where, sentence) for each."""
    for where, epochs, optimizer in _trainings(config):
        rising = getattr(optimizer.learning_rate, "warmup_epochs", 0)
        if rising >= epochs:
            told = f"it trains for {epochs} epoch(s), and the learning rate rises for {rising:g}"
            yield where, f"{told}: it would never be at its best. Train longer, or give it an optimizer of its own."


def _trainings(config: "Config") -> Iterator[tuple[Where, int, Any]]:
    base = config.training
    if base is None:
        return
    if config.model.needs_training:
        yield ("training",), base.epochs, base.optimizer
    for name, chain in config.candidates.items():
        for index, technique in enumerate(chain):
            if technique.level == "training":
                where = ("candidates", name, index)
                yield where, technique.epochs or base.epochs, technique.optimizer or base.optimizer
