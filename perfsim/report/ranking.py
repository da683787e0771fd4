"""Whether predictions rank what one can choose among as measurements do, as tables for people and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from perfsim.calibration.ranking import FEWEST, NOISE, Alternatives, Choice, Ranking
from perfsim.report.export import json_text
from perfsim.units import printable

MOST_NAMES = 40
TITLES: dict[Choice, str] = {
    "plan": "plans and batches on the same GPUs",
    "gpus": "numbers of GPUs, by speed of each",
    "card": "cards, as many of each",
}


def ranking_lines(found: Mapping[Choice, Sequence[Ranking]], by: str) -> Iterator[RenderableType]:
    """For each choice a verdict, the worst group and a row for each source, card, model or software."""
    for choice, (everything, *others) in found.items():
        yield Text(f"{TITLES[choice]}: {_verdict(everything)}")
        if everything.worst:
            if everything.worst.regret > 0:
                yield Text(f"worst: {_worst(everything.worst)}")
            table = Table(box=None, pad_edge=False, header_style="bold")
            table.add_column(by)
            for title in ("groups", "runs", "tau", "median", "clear", "regret %", "worst %", "best", "near"):
                table.add_column(title, justify="right")
            for one in (everything, *others[:MOST_NAMES]):
                table.add_row(Text(printable(one.name)), *_cells(one))
            yield table
        yield Text("")
    yield Text("tau: mean of Kendall's tau-b, 1 in the measured order, -1 in reverse; regret: speed lost by choosing")
    yield Text(f"clear: tau of pairs measured more than {100 * NOISE:.0f} % apart; near: within it of the best")


def ranking_json(found: Mapping[Choice, Sequence[Ranking]], by: str) -> str:
    """{"by": ..., a choice: one record a name}; tau from -1 to 1, regret a share of one; null: nothing to rank."""
    return json_text({"by": by, **{choice: [_record(one) for one in rows] for choice, rows in found.items()}})


def _verdict(one: Ranking) -> str:
    if not one.groups:
        return f"no {FEWEST} runs differ by that alone"
    near = one.near_best_chosen
    return f"the fastest chosen in {one.best_chosen:,} of {one.groups:,} groups, or within noise in {near:,}"


def _worst(group: Alternatives) -> str:
    chosen, best = (printable(one.runs[0].run.run_id) for one in (group.chosen, group.best))
    return f"{chosen} is chosen, {best} is faster, {100 * group.regret:.1f} % lost"


def _cells(one: Ranking) -> list[str]:
    taus = (one.mean_tau, one.median_tau, one.mean_clear_tau)
    return [
        f"{one.groups:,}", f"{one.runs:,}", *("-" if tau is None else f"{tau:.2f}" for tau in taus),
        *("-" if share is None else f"{100 * share:.1f}" for share in (one.mean_regret, one.worst_regret)),
        f"{one.best_chosen:,}", f"{one.near_best_chosen:,}",
    ]  # fmt: skip


def _record(one: Ranking) -> dict[str, Any]:
    worst = [member.runs[0].run.run_id for member in one.worst.members] if one.worst else []
    return asdict(one) | {"worst": worst}
