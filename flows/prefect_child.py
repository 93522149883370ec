"""Prefect's API in a process of its own that ends with its parent, even one that was killed.

Run as `python -m flows.prefect_child DESCRIPTOR PARENT`: a listening socket, and the process id to watch.
"""

import gc

gc.disable()  # importing a large library allocates a million objects that all live: collecting them costs 15 %

import os  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402


def main(descriptor: int, parent: int) -> None:
    """Serve until a signal comes or the parent is gone."""
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    import prefect.server.api.server  # noqa: F401 - now, while nothing is collected
    import uvicorn

    gc.freeze()
    gc.enable()
    application = "prefect.server.api.server:create_app"
    config = uvicorn.Config(application, factory=True, log_level="error", lifespan="on")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
