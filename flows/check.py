"""`check`: is the whole config right, without importing or running anything of the user's?"""

from typing import Any

from flows.config import Plan, load


def check_config(path: str) -> dict[str, Any]:
    """Check a config file.

    Returns:
        `config`, `model`, `candidates`, `targets` and a readable `text`.

    Raises:
        InputError: every problem, one a line.
    """
    plan = load(path)
    config = plan.config
    return {
        "config": plan.path,
        "model": config.name,
        "candidates": {name: [technique.kind for technique in chain] for name, chain in config.chains().items()},
        "targets": {name: target.model_dump(mode="json") for name, target in config.targets.items()},
        "exit_code": 0,
        "text": describe(plan),
    }


def describe(plan: Plan) -> str:
    """A config in a few lines for people."""
    config = plan.config
    chains = (
        f"  {name}: {' -> '.join(technique.kind for technique in chain) or 'the model as it is'}"
        for name, chain in config.chains().items()
    )
    targets = (
        f"  {name}: {target.runtime}, {target.threads} thread(s), batch {target.batch_size}"
        for name, target in config.targets.items()
    )
    return "\n".join(
        [
            f"{plan.path} is right.",
            f"model {config.name}, {config.task.kind}, from {config.model.kind}, data from {config.data.kind}",
            "candidates:",
            *chains,
            "targets:",
            *targets,
            f"gates: {len(config.gates)}; serving: {', '.join(place.kind for place in config.serving) or 'none'}",
        ]
    )
