"""The words of an answer: cards, plans, jobs and verdicts in a line each."""

import math
import re
from collections.abc import Mapping
from typing import Any

from perfsim.core.plan import ContextExchange, Placement, Problem, Schedule
from perfsim.core.site import Site
from perfsim.core.workload import Workload
from perfsim.search.certificate import Certificate
from perfsim.units import GIB, NO_NUMBER, count_text, number_text, printable, usd_text, watts_text

TASK_TEXTS = {
    "pretrain": "pre-training",
    "finetune": "fine-tuning",
    "lora": "LoRA",
    "qlora": "QLoRA",
    "freeze": "training of the head alone",
}
DAY_HOURS, MANY_HOURS = 24.0, 96.0  # a job as long as that is told in days
_SHORT_FORMS = (
    ("NVIDIA ", ""),
    ("GeForce ", ""),
    ("Tesla ", ""),
    (" Generation", ""),
    (" Blackwell", ""),
    (" GB", "GB"),
)
_REMARK = re.compile(r" \(.*?\)|,.*$")


def card_text(name: str) -> str:
    """A card's name without the words that no one says and without remarks.

    >>> card_text("GeForce RTX 4090"), card_text("A100 SXM4 80 GB"), card_text("GB200 (per GPU)")
    ('RTX 4090', 'A100 SXM4 80GB', 'GB200')
    """
    name = _REMARK.sub("", name)
    for long, short in _SHORT_FORMS:
        name = name.replace(long, short)
    return printable(name)


def cards_text(row: Mapping[str, Any]) -> str:
    """How many of which card a row is about, and its power limit where that is a lowered one.

    >>> cards_text({"gpus": 2, "gpu_name": "GeForce RTX 4090"})
    '2x RTX 4090'
    >>> cards_text({"gpus": 1, "gpu_name": "Tesla T4", "power_limit_watts": 50.0, "board_limit_watts": 70.0})
    '1x T4 at 50.0 W'
    """
    limit = f" at {watts_text(row['power_limit_watts'])}" if is_limited(row) else ""
    return f"{row['gpus']}x {card_text(row['gpu_name'])}{limit}"


def is_limited(row: Mapping[str, Any]) -> bool:
    """The row's boards have a power limit below their own."""
    return bool(row.get("power_limit_watts", 0.0) < row.get("board_limit_watts", 0.0))


def plan_text(row: Mapping[str, Any]) -> str:
    """A plan as practitioners write it; degrees of 1 are left out, mb is the micro-batch of a GPU."""
    degrees = (
        ("TP", row["tensor_parallel"]),
        ("CP", row["context_parallel"]),
        ("PP", row["pipeline_parallel"]),
        ("DP", row["data_parallel"]),
        ("EP", row["expert_parallel"]),
    )
    words = [f"{name}{degree}" for name, degree in degrees if degree > 1]
    if len(words) == 1 and row["data_parallel"] > 1:
        words = [f"FSDP{row['data_parallel']}" if row["zero_stage"] == 3 else f"DDP{row['data_parallel']}"]
    if row["zero_stage"] and row["data_parallel"] > 1 and not words[0].startswith("FSDP"):
        words = [word.replace("DDP", "DP") for word in words] + [f"ZeRO-{row['zero_stage']}"]
    if row["hybrid_shard"]:
        words.append(f"sharded by {row['hybrid_shard']}")
    if row["virtual_stages"] > 1:
        words.append(f"v{row['virtual_stages']}")
    if row["schedule"] != Schedule.ONE_F_ONE_B.label:
        words.append(row["schedule"])
    if row["placement"] != Placement.DATA_INNER.label:
        words.append(row["placement"])
    words.append(f"mb{row['micro_batch_size']}")
    some = f"recompute {row['recompute_layers']} layers" if row["recompute_layers"] else "recompute"
    words += {"none": [], "selective": ["selective"], "full": [some]}[row["recompute"]]
    if row["context_parallel"] > 1 and row["context_exchange"] != ContextExchange.RING.label:
        words.append(row["context_exchange"])
    words += [] if row["offload"] == "none" else [f"offload-{row['offload']}"]
    return " ".join(words)


def hours_text(hours: float | None) -> str:
    """A job's length in hours, in days where that is easier to read.

    >>> hours_text(0.5), hours_text(480.0)
    ('0.500 h', '20.0 days')
    """
    if hours is None:
        return NO_NUMBER
    return f"{number_text(hours / DAY_HOURS)} days" if hours >= MANY_HOURS else f"{number_text(hours)} h"


def money_text(usd: float | None) -> str:
    """Dollars, or words where no price is known."""
    return "no price known" if usd is None else usd_text(usd)


def memory_text(row: Mapping[str, Any]) -> str:
    """Memory of the fullest GPU against what it has."""
    return f"{number_text(row['memory_bytes'] / GIB)} of {number_text(row['memory_capacity_bytes'] / GIB)} GiB"


def workload_text(workload: Workload) -> str:
    """The job in a line."""
    steps = f", {workload.steps:,.0f} steps" if workload.steps > 1 else ""
    return (
        f"{printable(workload.model.name)} {TASK_TEXTS[workload.task]}, {sample_text(workload)} x"
        f" {workload.global_batch_size:,} a step{steps}, {workload.precision.key}, {workload.optimizer}"
    )


def sample_text(workload: Workload) -> str:
    """How large one sample is: a sequence's tokens, or an image's pixels a side."""
    length = f"{workload.image_size:,} px" if workload.model.nets else f"{workload.seq_len:,} tokens"
    if not workload.sample_tokens:
        return length
    own = number_text(float(workload.sample_tokens))
    return f"{length} packed with samples of {own}" if workload.is_packed else f"{length}, {own} of them samples' own,"


def miss_text(row: Mapping[str, Any], site: Site) -> str:
    """What of the site's limits a row breaks, "" when none."""
    misses = []
    if site.deadline_hours and (row["job_hours"] is None or row["job_hours"] > site.deadline_hours):
        misses.append("misses the deadline")
    if site.budget_usd and (row["job_usd"] is None or row["job_usd"] > site.budget_usd):
        misses.append("no price known" if row["job_usd"] is None else "over budget")
    return ", ".join(misses)


def reason_lines(problems: Mapping[Problem, int], most: int = 3) -> list[str]:
    """Why plans cannot run: the reasons that lie in the job and the cards first, the commonest of them first."""
    counted = counted_problems(problems)
    lines = [f"{count:,} plans cannot run: {problem.text}" for problem, count in counted[:most]]
    if len(counted) > most:
        rest = len(counted) - most
        lines[-1] += f"; {rest} more in --json"
    return lines


def counted_problems(problems: Mapping[Problem, int]) -> list[tuple[Problem, int]]:
    """Those that stop some plan, in the order of reason_lines."""
    counted = [(problem, count) for problem, count in problems.items() if count]
    return sorted(counted, key=lambda pair: (pair[0] in _ARITHMETIC, -pair[1]))


def telling_lines(problems: Mapping[Problem, int]) -> list[str]:
    """The commonest reason beside memory that lies in the job and the cards, if any; uneven degrees tell nothing.

    >>> telling_lines({Problem.MEMORY: 7, Problem.GPUS: 5, Problem.PRECISION: 3})
    ['3 plans cannot run: the card has no units for this precision']
    """
    telling = {problem: count for problem, count in problems.items() if problem not in _ARITHMETIC | Problem.MEMORY}
    return reason_lines(telling, most=1)


def search_line(told: Certificate, objective: str) -> str:
    """What became of all plans, and what those that were not costed are no better than."""
    least = told.least_left[objective]
    bound = f" (none that fits {_LEAST[objective](_rounded_down(least))})" if 0.0 < least < math.inf else ""
    parts = (
        (told.illegal, "cannot run"),
        (told.repeated, "the same as another"),
        (told.too_large + told.costed - told.runnable, "too large"),
        (told.beaten, f"beaten by bounds{bound}"),
        (told.runnable, "costed"),
        (told.simulated, "of them simulated"),
    )
    listed = ", ".join(f"{_plans_text(count)} {what}" for count, what in parts if count)
    return f"{told.considered:,} plans: {listed}"


_LEAST = {
    "time": lambda hours: f"takes under {hours_text(hours)}",
    "money": lambda usd: f"costs under {usd_text(usd)}",
    "energy": lambda kwh: f"takes under {number_text(kwh)} kWh",
}


def _plans_text(count: int) -> str:
    return f"{count:,}" if count < 100_000 else count_text(count)


def _rounded_down(value: float) -> float:
    """Three digits that promise no more than the value, which is positive."""
    last: float = 10.0 ** (math.floor(math.log10(value)) - 2)
    return math.floor(value / last) * last


_ARITHMETIC = (
    Problem.GPUS | Problem.SYSTEM | Problem.BATCH | Problem.INTERLEAVE | Problem.NODE
)  # degrees that do not come out even
