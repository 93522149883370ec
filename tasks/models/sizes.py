"""How large a model is: as it lies on disk, and as it travels.

Pruning and clustering change nothing on disk; they show only in the compressed size, so both are always stated.
"""

import zlib
from pathlib import Path

from tasks.foundations.record import Record

# gzip's own default; zlib's result depends on nothing but level and content.
LEVEL = 6
CHUNK = 1 << 20


class Sizes(Record):
    """Bytes of a file or folder.

    Attributes:
        raw_bytes: sum of the file sizes.
        gzip_bytes: size of one gzip stream at level 6 over all files in path order.
    """

    raw_bytes: int
    gzip_bytes: int


def measure(path: Path) -> Sizes:
    """Measure a file, or every file under a folder, in constant memory."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    squeeze = zlib.compressobj(LEVEL, zlib.DEFLATED, wbits=31)
    raw = packed = 0
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                raw += len(chunk)
                packed += len(squeeze.compress(chunk))
    return Sizes(raw_bytes=raw, gzip_bytes=packed + len(squeeze.flush()))
