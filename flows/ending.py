"""How a release ends badly: with one sentence, a report if it can still be written, and no step that is waited for."""

from collections.abc import Iterator
from contextlib import contextmanager

from flows.desk import Desk
from flows.story import Story
from flows.summarize import summarize
from flows.unexpected import describe
from tasks.foundations.errors import Inconclusive, Refused, SlipwayError
from tasks.foundations.files import full_disk_said
from tasks.report import report

WORDS = {Refused.exit_code: "refused", Inconclusive.exit_code: "inconclusive"}


@contextmanager
def told(desk: Desk, story: Story) -> Iterator[None]:
    """Tell of every error of the block and end what still runs, because Prefect would wait for it.

    Raises:
        SlipwayError: as raised in the block, or because the disk is full.
        Exception: as raised in the block.
    """
    try:
        with full_disk_said(str(desk.home.root)):
            yield
    except SlipwayError as error:
        desk.executor.end()
        word = WORDS.get(error.exit_code, "failed")
        story.end(f"{word}: {error}", error.exit_code)
        _report(desk, story)
        raise
    except Exception as error:  # a mistake of ours: the work that was done before it is still worth a report
        desk.executor.end()
        story.end(f"failed: {describe(error)}", 1)
        _report(desk, story)
        raise
    except BaseException:  # a signal: whoever sent it does not want to wait
        desk.executor.end()
        raise


def _report(desk: Desk, story: Story) -> None:
    try:
        report(summarize(desk, story), desk.folder, desk.executor.digests)
    except Exception as error:  # noqa: BLE001 - what went wrong first is what matters
        desk.executor.observer.log(f"The report could not be written: {error}")
