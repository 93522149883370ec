"""`status`: what is in production, from the journal and the serving folders. No Prefect, no MLflow."""

from typing import Any

from flows.control import open_control, settle_first
from flows.home import home
from flows.storage import open_store
from tasks.promotion.known import strangers
from tasks.promotion.overview import Overview, overviews
from tasks.promotion.publish import served
from tasks.promotion.status import ServerStatus, Status, ask_servers, status

PATIENCE_S = 1.0
"""How long servers of a killed move may take to answer; what needs longer stays as it is, with a warning."""
SHOWN = 12


def show(model: str | None) -> dict[str, Any]:
    """One model, or a line for each and for each of its servers.

    What killed processes left is settled first, as far as that takes no time.

    Raises:
        InputError: no such model; the message lists those there are.
        DigestMismatch: the model is served, and the journal does not know it.
    """
    place = home()
    control = open_control(place, open_store(place))
    notes = settle_first(place, control, PATIENCE_S)
    if model is not None:
        found = status(control, model)
        text = "\n".join([_text(found), *(f"note: {note}" for note in notes)])
        return {**found.model_dump(mode="json"), "notes": notes, "exit_code": 0, "text": text}
    models = overviews(control, ask_servers(control))
    known = {each.model for each in models}
    lines = [line for each in models for line in (f"{each.model}: {_champion(each)}", *map(_server, each.servers))]
    unknown = [name for name in served(control) if name not in known]
    warnings = [sentence for name in unknown for sentence in strangers(control, name)]
    lines += [f"warning: {warning}" for warning in (*warnings, *(text for each in models for text in each.warnings))]
    lines += [f"note: {note}" for note in notes]
    content = [each.model_dump(mode="json") for each in models]
    text = "\n".join(lines) or "No model was released here yet."
    return {"models": content, "warnings": warnings, "notes": notes, "exit_code": 0, "text": text}


def _champion(found: Status | Overview) -> str:
    waiting = f"; version {found.challenger} waits as challenger" if found.challenger is not None else ""
    if found.champion is None:
        return f"nothing in production{waiting}"
    before = f", before it {found.previous}" if found.previous is not None else ""
    return f"version {found.champion} in production{before}{waiting}"


def _server(server: ServerStatus) -> str:
    serves = [] if server.version is None else [f"version {server.version} (move {server.serial})"]
    says = "; ".join([*serves, *([server.failed] if server.failed else [])]) or "no version"
    return f"  {server.url}  process {server.pid} on {server.host}  {says}"


def _text(found: Status) -> str:
    versions = [
        f"  {each.version:>4}  {each.state:<12} {each.at}  {each.digest[:12]}{'' if each.has_files else '  no files'}"
        for each in found.versions
    ]
    newest = {event["attempt"]: event for event in found.journal}  # how far each came; --json has every step
    events = [
        f"  {event['serial']:>4}  {event['at']}  {event['kind']:<10} {event['phase']:<9} version {event['version']}"
        f"  by {event['actor']}{'  ' + event['reason'].splitlines()[0] if event['reason'] else ''}"
        for event in sorted(newest.values(), key=lambda event: int(event["serial"]))[-SHOWN:]
    ]
    warnings = [f"warning: {warning}" for warning in found.warnings]
    servers = ["servers", *map(_server, found.servers)] if found.servers else []
    header = f"{found.model}: {_champion(found)}"
    return "\n".join([header, *servers, "versions", *versions, "journal (newest last)", *events, *warnings])
