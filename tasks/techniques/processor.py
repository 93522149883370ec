"""What the arithmetic of an 8-bit model depends on: the family of the processor and its dot-product instructions."""

import platform
from typing import Literal

from tasks.runtimes.environment import read_environment

_VNNI = frozenset({"avx512_vnni", "avx_vnni"})


def reduced(reduce_range: bool | Literal["auto"]) -> bool:
    """Whether weights have seven bits: as asked, else where products of eight saturate (x86 without VNNI)."""
    return is_x86() and not has_vnni() if reduce_range == "auto" else reduce_range


def is_x86() -> bool:
    """Whether this machine is an x86."""
    return platform.machine().lower() in {"x86_64", "amd64", "i386", "i686"}


def has_vnni() -> bool:
    """Whether 8-bit products are summed in 32 bits; False where the machine does not tell."""
    return bool(_VNNI & set(read_environment(libraries=()).flags))
