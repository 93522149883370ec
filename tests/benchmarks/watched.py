"""`python -m tests.benchmarks.watched FILE VERB ...`: `python -m flows VERB ...`; FILE then tells about its process."""

import atexit
import json
import sys
from pathlib import Path

from tasks.runtimes._timed import read_memory


def tell(path: Path) -> None:
    """Write peak memory and whether TensorFlow was ever imported."""
    tensorflow = any(name.partition(".")[0] in ("tensorflow", "tf_keras", "keras") for name in sys.modules)
    path.write_text(json.dumps({"peak_rss_bytes": read_memory("VmHWM"), "tensorflow": tensorflow}))


if __name__ == "__main__":
    atexit.register(tell, Path(sys.argv.pop(1)))
    from flows.__main__ import main

    main(prog_name="flows")
