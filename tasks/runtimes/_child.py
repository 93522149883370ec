"""The measuring processes of one round: a nursery imports the library once, then forks one process a contender.

Importing dominates a round (TensorFlow 1.5 s of processor time), so it is done once and not once a contender. The
nursery itself is fresh in every round and opens no model; whatever a process owes to its own start, the layout of
its memory above all, is drawn anew each round, and what a fork shares is the same for all contenders of the round.

Run as `python -m tasks.runtimes._child`. JSON lines over pipes; whatever libraries print goes to stderr. A process
ends when its pipe closes, and a watchdog ends it when its parent is gone while it is busy.
"""

import gc

gc.disable()  # importing a large library allocates a million objects that all live: collecting them costs 15 %

import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402
from typing import IO, Any  # noqa: E402

from tasks.foundations.errors import SlipwayError  # noqa: E402
from tasks.runtimes._timed import Timed, read_memory  # noqa: E402
from tasks.runtimes.session import Runtime, as_runtime  # noqa: E402
from tasks.runtimes.target import parse_target  # noqa: E402


def main() -> None:
    """Import, fork, tell the process ids, then tell of every process that ends, with its status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides when to end us
    commands, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    _redirect(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    message = json.loads(commands.readline())
    try:
        runtime = as_runtime(parse_target(message["target"]))
        import_lean(runtime)
    except Exception as error:  # noqa: BLE001 - the parent turns every reason into its contenders' failure
        _say(replies, {"error": _sentence(error)})
        return
    gc.freeze()
    message["library_bytes"] = read_memory("RssFile") if sys.platform == "linux" else 0
    children = message["children"]
    pids = [_fork(runtime, message, number, (commands, replies)) for number in range(len(children))]
    for child in children:
        _close(child)
    _say(replies, {"pids": pids})
    _watch(message["parent"])
    for _ in pids:
        pid, status = os.wait()
        _say(replies, {"pid": pid, "code": os.waitstatus_to_exitcode(status)})
    os._exit(0)  # nothing to save; tearing TensorFlow down takes a while


def import_lean(runtime: Runtime) -> None:
    """Import the library without what it does not need here."""
    blocked = [name for name in runtime.needless if name not in sys.modules]
    sys.modules.update(dict.fromkeys(blocked))  # type: ignore[arg-type]  # None makes an import fail: PEP 328
    try:
        runtime.prepare()
    finally:
        for name in blocked:
            sys.modules.pop(name, None)


def _fork(runtime: Runtime, message: dict[str, Any], number: int, nursery: tuple[IO[bytes], IO[bytes]]) -> int:
    """Start the process of one contender. Safe because importing has started no thread (a contract test)."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        for pipe in nursery:
            pipe.close()
        own = message["children"][number]
        for child in message["children"]:
            if child is not own:
                _close(child)
        _redirect(own["err"], 2)
        os.dup2(2, 1)
        _watch(parent)
        _serve(Timed(runtime, {**message, **own}), os.fdopen(own["in"], "rb"), os.fdopen(own["out"], "wb"))
        code = 0
    except BaseException:  # noqa: BLE001 - a forked process must never return into the code of the nursery
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)


def _serve(timed: Timed, commands: IO[bytes], replies: IO[bytes]) -> None:
    """Answer commands until the pipe closes, asleep in between."""
    for line in commands:
        message = json.loads(line)
        try:
            answer = getattr(timed, message["do"])(*message["with"])
        except Exception as error:  # noqa: BLE001 - as in main
            answer = {"error": _sentence(error)}
        _say(replies, answer)


def _say(replies: IO[bytes], answer: dict[str, Any]) -> None:
    replies.write(json.dumps(answer).encode() + b"\n")
    replies.flush()


def _sentence(error: Exception) -> str:
    return str(error).rstrip(".") if isinstance(error, SlipwayError) else f"{type(error).__name__}: {error}"


def _redirect(source: int, destination: int) -> None:
    os.dup2(source, destination)
    os.close(source)


def _close(child: dict[str, Any]) -> None:
    for end in ("in", "out", "err"):
        os.close(child[end])


def _watch(parent: int) -> None:
    """End this process when its parent has ended, even in the middle of a call."""

    def poll() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=poll, daemon=True).start()


if __name__ == "__main__":
    main()
