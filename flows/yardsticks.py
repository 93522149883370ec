"""What a candidate of quantization-aware training must be as fast as: `int8_static` of the same model, trained no more.

Fake quantization that survives into the file makes a model slower than float; it is noticed by comparison only. Where
a config has no such candidate, it is added.
"""

from collections.abc import Mapping
from typing import Any

Chains = dict[str, list[Any]]
_TRAINED, _PLAIN = "qat", "int8_static"


def with_yardsticks(chains: Chains) -> Chains:
    """The chains, with a yardstick for each that needs one and has none."""
    known = dict(chains)
    for name, chain in chains.items():
        if _needs_one(chain) and yardstick(known, name) is None:
            known[f"{name}_control"] = _plain(chain)
    return known


def yardstick(chains: Mapping[str, list[Any]], name: str) -> str | None:
    """Name of the candidate that this one must not be slower than, None if there is none."""
    if not _needs_one(chains[name]):
        return None
    wanted = [*_students(chains[name]), _PLAIN]
    return next((other for other, chain in chains.items() if [*_students(chain), *_kinds(chain)] == wanted), None)


def _needs_one(chain: list[Any]) -> bool:
    return any(technique.kind == _TRAINED for technique in chain)


def _plain(chain: list[Any]) -> list[Any]:
    return [technique for technique in chain if technique.place == "distillation" or technique.kind == _PLAIN]


def _students(chain: list[Any]) -> list[Any]:
    return [technique for technique in chain if technique.place == "distillation"]


def _kinds(chain: list[Any]) -> list[str]:
    return [technique.kind for technique in chain if technique.place != "distillation"]
