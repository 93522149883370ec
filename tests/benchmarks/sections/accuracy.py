"""How often the accuracy gate passes a model that is exactly as bad as it must not be: simulated."""

import itertools

import numpy as np

from tasks.evaluation.bounds import tango
from tests.benchmarks.bench import Bench
from tests.benchmarks.table import Row

MARGIN = 0.01
ROWS = (500, 900, 2000, 5000, 20000)
DISCORDANCE = (0.015, 0.02, 0.04, 0.08)
TRIALS = 20_000


def rows(_: Bench) -> list[Row]:
    """Shares of passes at a true drop equal to the margin; the gate promises 5 % at 95 % confidence."""
    generator = np.random.default_rng(0)
    bound, naive = {}, {}
    for n, discordant in itertools.product(ROWS, DISCORDANCE):
        worse, better = (discordant + MARGIN) / 2, (discordant - MARGIN) / 2
        drawn = generator.multinomial(n, (worse, better, 1 - discordant), TRIALS)
        pairs, counts = np.unique(drawn[:, :2], axis=0, return_counts=True)
        _, high = tango(pairs[:, 0], pairs[:, 1], n)
        bound[n, discordant] = float(counts[high <= MARGIN].sum()) / TRIALS
        naive[n, discordant] = float(counts[(pairs[:, 0] - pairs[:, 1]) / n <= MARGIN].sum()) / TRIALS
    worst = max(bound, key=lambda case: bound[case])
    where = f"{worst[0]} rows, {worst[1]:.1%} discordant; {TRIALS:,} trials of {len(bound)} cases"
    return [
        Row("accuracy gate, false passes, worst case (%)", 100 * bound[worst], at_most=6, note=where),
        Row("accuracy gate, false passes, mean (%)", 100 * float(np.mean(list(bound.values()))), at_most=5),
        Row("the naive rule (point estimate), mean (%)", 100 * float(np.mean(list(naive.values())))),
    ]
