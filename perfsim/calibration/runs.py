"""One measured training run, in the records that the model speaks."""

import re
from dataclasses import dataclass

from perfsim.core.hardware import System
from perfsim.core.plan import Plan
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.search.sensitivity import Knob

NO_RECOMPUTATION = "no recomputation"  # assumed of a run whose source does not say
UNSTATED_MICRO_BATCH = "micro-batch of 1"  # likewise


@dataclass(frozen=True)
class MeasuredRun:
    """A run as it was published, and as perfsim would run it.

    workload, system, plan and software are None where `problem` says why the run cannot be replayed.
    software_note: why the stack was mapped to this entry of specs/software; "" when the entry describes it.
    assumptions: what the source does not state and was filled in.
    measured_step_seconds, measured_peak_memory_bytes: 0 where not measured.
    memory_kind: "allocated", "reserved", "nvidia-smi", "unknown"; "" without a measurement.
    outcome: "ok", or "oom" when the run did not fit.
    knobs: the uncertain numbers that a prediction of the run rests on.
    """

    run_id: str
    source: str
    role: str
    quality: str
    gpu_key: str
    model_key: str
    stack: str
    software_text: str
    measured_step_seconds: float
    measured_peak_memory_bytes: float
    memory_kind: str
    outcome: str
    workload: Workload | None = None
    system: System | None = None
    plan: Plan | None = None
    software: Software | None = None
    software_note: str = ""
    assumptions: tuple[str, ...] = ()
    problem: str = ""
    knobs: tuple[Knob, ...] = ()

    @property
    def collection(self) -> str:
        """Which publication the run belongs to: the run_id without its number, else the source's repository.

        >>> from dataclasses import replace
        >>> run = MeasuredRun("dle-bert-0042", "a/b@c:d", "dev", "a", "t4", "bert", "", "", 1.0, 0.0, "", "ok")
        >>> run.collection, replace(run, run_id="monday").collection
        ('dle-bert', 'a/b')
        """
        found = re.fullmatch(r"(.+?)-\d+", self.run_id)
        return found[1] if found else re.split(r"[@:]", self.source)[0]
