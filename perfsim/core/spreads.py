"""How well the numbers that predictions rest on are known, as whole measured runs show it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Spreads:
    """Standard deviations of logs, fitted on whole runs (calibration.run_fit).

    kinds: of a kind of number, e.g. "products of a card, rule", from one card, link or software to the next.
    numbers: of one of them that runs have shown, by its key. source: between publications, whatever else is known.
    noise: what remains of a run. energy_noise: besides, of its joules. reach: how many standard deviations to either
    side hold 90 % of the runs of a source that no fit has seen. runs: measured ones behind it; 0: all are priors.
    """

    source: float
    noise: float
    energy_noise: float
    reach: float
    runs: int = 0
    kinds: Mapping[str, float] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
