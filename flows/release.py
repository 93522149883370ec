"""The release: from a trained model to a promoted version, on one page. Each call is one stage of the diagram.

build, read, train (or inspect, load, read) -> [convert -> techniques -> predict -> rehearse] of every candidate
-> barrier -> measure every target -> judge -> pack -> register -> promote -> report
"""

from typing import Annotated

from prefect import flow
from pydantic import Field

from flows import notify
from flows.candidates import prepare
from flows.cause import parameters, run_actor, run_name
from flows.champion import find_champion, names_champion
from flows.config import load, model_name
from flows.control import settle_first
from flows.desk import Desk, desk_of
from flows.elsewhere import answered, ask_machines
from flows.ending import told
from flows.forecast import forecast
from flows.forms import DryRun, Reason, readable
from flows.gate import Material, gate, has_own_metrics, prepare_judging, try_metrics
from flows.home import config_path
from flows.killed import note_release, tell_prefect
from flows.messages import Message, release_message
from flows.notify import send
from flows.overrides import Epochs, Seed, StepTimeout, Workers, overridden
from flows.reference import make_reference
from flows.running import forget
from flows.say import say
from flows.story import Story, bundle_request, release_log, still_pass
from flows.summarize import summarize
from tasks.bundle.manifest import Manifest
from tasks.foundations.errors import Conflict, Inconclusive, Refused, SlipwayError
from tasks.foundations.files import full_disk_said
from tasks.journal.fold import fold
from tasks.pack import pack
from tasks.predict import REFERENCE_BATCH, predict
from tasks.promote import promote
from tasks.promotion.control import Move, Order
from tasks.promotion.registration import announce, record_version
from tasks.register import attach_report, open_registry, register
from tasks.registry.jobs import AttachRequest, PublishRequest
from tasks.report import Progress, report
from tasks.runtimes.tensorflow import TensorFlow
from tasks.store.artifact import Artifact

ENDINGS = {error.exit_code: error for error in (SlipwayError, Refused, Inconclusive)}


ConfigFile = Annotated[str, Field(title="Config", description="Its YAML file, from the checkout.")]
Promote = Annotated[bool, Field(title="Promote", description="Off: leave a challenger, to be promoted later.")]


def _name() -> str:
    given = parameters()
    return run_name(f"release {model_name(config_path(given['config']))}", given["reason"])


@readable
@flow(name="release", flow_run_name=_name, persist_result=False)
def release(  # noqa: PLR0913 - a form of the UI is flat
    config: ConfigFile,
    promote: Promote = True,
    dry_run: DryRun = False,
    reason: Reason = "",
    seed: Seed = None,
    epochs: Epochs = None,
    workers: Workers = None,
    step_timeout_s: StepTimeout = None,
) -> None:
    """Take one model from its config to production.

    Raises:
        InputError: config, data or model are wrong; nothing was changed.
        Refused: no candidate passes on some target, or somebody else promoted first; the champion is untouched.
        Inconclusive: the measurements cannot decide; the champion is untouched.
        SlipwayError: no candidate could be judged.
    """
    changes = {"seed": seed, "epochs": epochs, "workers": workers, "step_timeout_s": step_timeout_s}
    plan, notes = overridden(load(config_path(config)), changes)
    if dry_run:
        say(plan.config.name, "dry-run", forecast(plan, promote)["text"].splitlines())
        return
    notify.check()
    with desk_of(plan) as desk:
        note_release(desk.release)
        tell_prefect(desk.killed)
        forget(desk.home, desk.killed)
        story = Story(reason=reason, notes=notes)
        try:
            with told(desk, story):
                _run(desk, story, promote)
            with full_disk_said(str(desk.folder)):
                _publish_report(desk, story)
        finally:
            desk.observer.end(story.version, story.decision, story.exit_code)
            for unsent in send(_message(desk, story)):  # also where the report could not be written
                desk.observer.log(unsent)
        if story.exit_code:
            raise ENDINGS[story.exit_code](story.decision)


def _run(desk: Desk, story: Story, promote: bool) -> None:
    config, executor = desk.config, desk.executor
    progress = Progress(config.name)
    story.notes += settle_first(desk.home, desk.control)
    story.champion = find_champion(desk)  # nothing is begun on a journal that is not that of what is served
    prepare_judging(desk)
    opening = open_registry.submit(executor, desk.registry)
    reference, dataset = make_reference(desk)
    story.notes += dataset.result.get("warnings", [])
    whole = TensorFlow(runtime="tensorflow", threads=1, batch_size=1)
    predictions = predict.submit(executor, "reference", "tensorflow", whole, reference, dataset, REFERENCE_BATCH)
    if has_own_metrics(config):
        try_metrics(desk, Material(reference, predictions.result(), dataset))
    progress.reach(20)
    story.contestants = prepare(desk, reference, dataset)
    opening.result()  # nothing is measured for a registry that cannot be reached
    progress.reach(40)
    material = Material(reference, predictions.result(), dataset)
    _gate(desk, story, material)
    progress.reach(80)
    if story.exit_code or story.is_already_in_production(desk.config, find_champion(desk)):
        _register(desk, story, None)
    else:
        _register(desk, story, pack(executor, lambda out: bundle_request(desk, story, out)))
        progress.reach(90)
        if promote:
            _promote(desk, story, material)
        else:
            story.notes += announce(desk.control, config.name)
            story.end(f"version {story.version} passed and waits as challenger", 0)
    progress.reach(100)


def _gate(desk: Desk, story: Story, material: Material) -> None:
    story.champion = find_champion(desk)
    answers = ask_machines(desk, story.contestants, material.dataset, story.champion)
    story.contestants = [answered(each, answers) for each in story.contestants]
    story.gated = gate(desk, story.contestants, material, story.champion, answers)
    story.choose()


def _register(desk: Desk, story: Story, bundle: Artifact | None) -> None:
    log = release_log(desk, summarize(desk, story), story)
    path = str(desk.store.path(bundle.digest)) if bundle else None
    above = max(fold(desk.control.journal.events(desk.config.name)).versions, default=0)
    published = register(
        desk.executor, PublishRequest(place=desk.registry, log=log, model=desk.config.name, bundle=path, above=above)
    )
    story.mlflow = published
    if bundle and published.version is not None:
        story.version = published.version
        digest = Manifest.read(desk.store.path(bundle.digest)).digest
        order = Order(actor=run_actor(), reason=story.reason, run=desk.release)
        record_version(desk.control, desk.config.name, published.version, digest, order)


def _promote(desk: Desk, story: Story, material: Material) -> None:
    """Promote, unless somebody else did since the gates were judged: then judge once more, against the new champion."""
    try:
        story.moved(_move(desk, story))
        return
    except Refused as refusal:
        _refuse(desk, story, refusal)
        return
    except Conflict as conflict:
        story.notes.append(str(conflict))
        chosen = story.winners
        if names_champion(desk.config):
            _gate(desk, story, material)
            if not still_pass(chosen, story.gated):
                story.end(f"refused: version {story.version} does not pass against the new champion. {conflict}", 3)
                return
            story.winners = chosen  # the bundle is made of these; another candidate may be the best by now
        else:
            story.champion = find_champion(desk)
    try:
        story.moved(_move(desk, story))
    except Refused as refusal:
        _refuse(desk, story, refusal)
    except Conflict as conflict:
        story.end(f"refused: {conflict}", Refused.exit_code)


def _refuse(desk: Desk, story: Story, refusal: Refused) -> None:
    """The decision is one line; what a server wrote before it failed is said once, here."""
    story.refused(refusal)
    if "\n" in str(refusal):
        desk.executor.observer.log(str(refusal))


def _move(desk: Desk, story: Story) -> Move:
    order = Order(actor=run_actor(), reason=story.reason, run=desk.release, expected_serial=story.champion.serial)
    return promote(desk.control, desk.config.name, story.registered_version, order)


def _message(desk: Desk, story: Story) -> Message | tuple[()]:
    moved = story.move is not None and story.move.moved
    return release_message(desk.config.name, story.decision, story.exit_code, moved, str(desk.folder / "report.html"))


def _publish_report(desk: Desk, story: Story) -> None:
    summary = report(summarize(desk, story), desk.folder, desk.executor.digests)
    if story.mlflow:
        attach_report(
            desk.executor,
            AttachRequest(
                place=desk.registry,
                run_id=story.mlflow.run_id,
                report=summary.report_path or "",
                decision=story.decision,
            ),
        )
