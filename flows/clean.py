"""`clean`: bound an installation by `keep`: versions, reports, and artifacts that neither of them needs."""

import json
import shutil
from pathlib import Path
from typing import Any

from flows.config import Keep, load
from flows.control import open_control
from flows.home import Home, home
from flows.running import none_running
from tasks.journal.fold import fold
from tasks.promotion.control import Control
from tasks.promotion.reconcile import retain
from tasks.store.artifact import Artifact
from tasks.store.store import Store

ARTIFACTS = "artifacts.json"


def clean_up(config: str, *, dry_run: bool) -> dict[str, Any]:
    """Remove what `keep` of a config does not name, of its model; artifacts stay as long as any model needs them.

    The champion and every version in the production stack always stay.

    Raises:
        InputError: the config is wrong.
        Conflict: a release is running; try again when it has finished.
    """
    plan, place = load(config), home()
    model, keep = plan.config.name, plan.config.keep
    store = Store(str(place.store), place.store)
    control = open_control(place, store)
    old = sorted(path for path in place.releases(model).glob("*") if path.is_dir())[: -keep.releases]
    with none_running(place):
        wanted = _bundles(control, store, model, keep) | _artifacts(place, set(old))
        freed = store.retain(wanted, dry_run=dry_run)
        staged = retain(control, model, keep.versions) if not dry_run and model in control.journal.models() else []
        for folder in old if not dry_run else []:
            shutil.rmtree(folder)
    word = "would free" if dry_run else "freed"
    text = f"{model}: {word} {freed / 1e6:.1f} MB; {len(old)} old release(s), {len(staged)} staged version(s)"
    removed = [folder.name for folder in old]
    return {"model": model, "freed_bytes": freed, "releases": removed, "staged": staged, "exit_code": 0, "text": text}


def _bundles(control: Control, store: Store, model: str, keep: Keep) -> set[str]:
    """Artifacts of the bundles that stay: of other models all, their own config decides about them."""
    wanted = set()
    for name in control.journal.models():
        state = fold(control.journal.events(name))
        versions = sorted(state.digests)
        kept = versions if name != model else [*versions[-keep.versions :], *state.stack]
        wanted |= {state.digests[version] for version in kept}
    contents = (store.read(f"bundles/{digest}.json") for digest in wanted)
    return {Artifact.model_validate_json(content).digest for content in contents if content}


def _artifacts(place: Home, old: set[Path]) -> set[str]:
    """Artifacts that the releases that stay have made or used, of every model."""
    lists = (path for path in (place.root / "releases").glob(f"*/*/{ARTIFACTS}") if path.parent not in old)
    return {digest for path in lists for digest in json.loads(path.read_text())}
