"""Several servers under the same load, in blocks that alternate, so that a slow minute of the machine hits them all."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.benchmarks.load import Block, Load

WARM_S = 0.3


@dataclass(frozen=True)
class Side:
    """One thing to load.

    Attributes:
        port: of the server.
        requests: the file of its requests.
    """

    port: int
    requests: str


@dataclass(frozen=True)
class Seen:
    """The blocks of one side, in order."""

    blocks: list[Block]

    @property
    def rate(self) -> float:
        """Requests a second, median over blocks."""
        return statistics.median(block.rate for block in self.blocks)

    def quantile(self, share: float) -> float:
        """In ms, median over blocks."""
        return statistics.median(block.quantile(share) for block in self.blocks)

    @property
    def bad(self) -> int:
        """Requests of all blocks that failed."""
        return sum(block.bad for block in self.blocks)

    def told(self) -> str:
        """For a row's note."""
        return f"p50 {self.quantile(0.5):.3f}, p99 {self.quantile(0.99):.3f} ms"

    def over(self, other: "Seen") -> float:
        """Ratio of requests a second, median over pairs of neighbours."""
        return statistics.median(a.rate / b.rate for a, b in zip(self.blocks, other.blocks, strict=True))


def alternate(
    load: Load,
    sides: Mapping[str, Side],
    clients: int,
    blocks: int,
    seconds: float,
    between: Callable[[], object] = lambda: None,
) -> dict[str, Seen]:
    """Load all sides in turn, every other time in the opposite order.

    Args:
        load: the clients.
        sides: by name.
        clients: at a time.
        blocks: of each side.
        seconds: of each block; before it comes a short one that does not count.
        between: called once before each turn.
    """
    found: dict[str, list[Block]] = {name: [] for name in sides}
    for number in range(blocks):
        between()
        for name in list(sides)[:: -1 if number % 2 else 1]:
            side = sides[name]
            load.block(side.port, side.requests, clients, WARM_S)
            found[name].append(load.block(side.port, side.requests, clients, seconds))
    return {name: Seen(each) for name, each in found.items()}
