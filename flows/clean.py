"""`clean`: bound an installation by `keep`: versions, reports, and artifacts that neither of them needs."""

import json
import shutil
from pathlib import Path
from typing import Any

from flows.config import Keep, load
from flows.control import open_control, registry_place, settle_first
from flows.home import Home, home
from flows.running import none_running
from flows.storage import open_store
from tasks.journal.fold import ModelState, fold
from tasks.promotion.control import Control
from tasks.promotion.reconcile import retain
from tasks.store.artifact import Artifact
from tasks.store.store import Store

ARTIFACTS = "artifacts.json"


def clean_up(config: str, *, dry_run: bool) -> dict[str, Any]:
    """Remove what `keep` of a config does not name, of its model; artifacts stay as long as any model needs them.

    Of versions, the newest and the uppermost of the production history stay, the champion and what a rollback goes to
    always. The others are also taken out of MLflow, which has a copy of each; the journal keeps their history.

    Raises:
        InputError: the config is wrong.
        Conflict: a release is running; try again when it has finished.
        SlipwayError: MLflow does not answer; nothing was removed.
    """
    plan, place = load(config), home()
    model, keep = plan.config.name, plan.config.keep
    store = open_store(place)
    control = open_control(place, store)
    notes = [] if dry_run else settle_first(place, control)
    if store.shared:
        notes.append(f"Others use the store {store.url} as well, so nothing is removed there.")
    old = sorted(path for path in place.releases(model).glob("*") if path.is_dir())[: -keep.releases]
    with none_running(place):
        versions = _unregister(place, control, model, keep, dry_run)
        wanted = _bundles(control, store, model, keep) | _artifacts(place, set(old))
        freed = store.retain(wanted, dry_run=dry_run)
        staged = retain(control, model, keep.versions, dry_run) if model in control.journal.models() else []
        for folder in old if not dry_run else []:
            shutil.rmtree(folder)
    word = "would free" if dry_run else "freed"
    text = (
        f"{model}: {word} {freed / 1e6:.1f} MB of the store; {len(old)} old release(s), "
        f"{len(staged)} staged version(s), {len(versions)} version(s) in MLflow"
    )
    return {
        "model": model,
        "freed_bytes": freed,
        "releases": [folder.name for folder in old],
        "staged": staged,
        "versions": versions,
        "notes": notes,
        "exit_code": 0,
        "text": "\n".join([*(f"note: {note}" for note in notes), text]),
    }


def _kept(state: ModelState, keep: Keep) -> list[int]:
    return [*sorted(state.digests)[-keep.versions :], *state.stack[: keep.versions]]


def _unregister(place: Home, control: Control, model: str, keep: Keep, dry_run: bool) -> list[int]:
    """Take the versions that do not stay out of MLflow; returns those that were, or would be."""
    state = fold(control.journal.events(model))
    outdated = sorted(set(state.registered) - set(_kept(state, keep)))
    if not outdated:
        return []
    from tasks.registry.jobs import DeleteRequest, delete_versions

    request = DeleteRequest(place=registry_place(place, model), model=model, versions=tuple(outdated), dry_run=dry_run)
    return list(delete_versions(request).versions)


def _bundles(control: Control, store: Store, model: str, keep: Keep) -> set[str]:
    """Artifacts of the bundles that stay: of other models all, their own config decides about them."""
    wanted = set()
    for name in control.journal.models():
        state = fold(control.journal.events(name))
        kept = _kept(state, keep) if name == model else list(state.digests)
        wanted |= {state.digests[version] for version in kept}
    contents = (store.read(f"bundles/{digest}.json") for digest in wanted)
    return {Artifact.model_validate_json(content).digest for content in contents if content}


def _artifacts(place: Home, old: set[Path]) -> set[str]:
    """Artifacts that the releases that stay have made or used, of every model."""
    lists = (path for path in (place.root / "releases").glob(f"*/*/{ARTIFACTS}") if path.parent not in old)
    return {digest for path in lists for digest in json.loads(path.read_text())}
