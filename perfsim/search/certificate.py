"""What a search looked at, what it left out and why: the numbers by which its answer can be checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from perfsim.core.plan import Problem

COUNTS = ("considered", "illegal", "repeated", "too_large", "beaten", "costed", "runnable", "simulated")
OBJECTIVES = {"time": "job_hours", "money": "job_usd", "energy": "job_kwh"}


@dataclass(frozen=True)
class Certificate:
    """Every plan of a space, counted once: considered = illegal + repeated + too_large + beaten + costed.

    illegal: cannot run whatever the memory; repeated: another plan under a second name; too_large: by the bound of
    memory; beaten: by the bounds of time and energy; costed: in full, `runnable` of them can run and `simulated` were
    piece by piece, as closed forms and bounds could not tell which is best. problems: how many plans each problem
    stops, where several show at once in each of them. least_left: of the beaten plans that may surely fit, the lowest
    bound of each of OBJECTIVES for the job [h], [USD], [kWh]; infinite where none was beaten. No plan left out is
    better than it, and it is no better than the best plan found.
    """

    considered: int = 0
    illegal: int = 0
    repeated: int = 0
    too_large: int = 0
    beaten: int = 0
    costed: int = 0
    runnable: int = 0
    simulated: int = 0
    problems: Mapping[Problem, int] = field(default_factory=dict)
    least_left: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(OBJECTIVES, float("inf")))

    def plus(self, other: "Certificate") -> "Certificate":
        """The certificate of both searches."""
        return Certificate(
            **{name: getattr(self, name) + getattr(other, name) for name in COUNTS},
            problems={p: n for p in Problem if (n := self.problems.get(p, 0) + other.problems.get(p, 0))},
            least_left={name: min(self.least_left[name], other.least_left[name]) for name in OBJECTIVES},
        )
