"""How near predicted watts and joules come to measured ones: in sample, on cards and networks left out of the fit.

Joules of a run are its watts times its time over that at the board's own limit, so that a card whose absolute times
were not published counts too; where a step's seconds are known, whole steps are compared as well. A server's joules
are those of a step.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perfsim.calibration.energy import LargeProduct, PoweredRun
from perfsim.calibration.energy_fit import Measurements, Predicted, fit_boards
from perfsim.calibration.fit import Fitted
from perfsim.core.calibration import Calibration
from perfsim.estimate import estimate

Report = Callable[[int, int], None]
LEAST = 5  # rows of a card


@dataclass(frozen=True)
class EnergyScore:
    """Errors of one group [%]; spread, low, high: standard deviation, 5 % and 95 % of ln(predicted / measured)."""

    name: str
    rows: int
    mape: float
    median: float
    p90: float
    bias: float
    spread: float
    low: float
    high: float


@dataclass(frozen=True)
class ServerFit:
    """What servers draw beside their boards.

    base_watts: assumed for each GPU; share: of the board's limit that comes on top, fitted, with its standard error;
    efficiency: power behind the supplies over that at the wall, the median of runs metered at both; 0: none was.
    """

    base_watts: float
    share: float
    error: float
    rows: int
    mape: float
    efficiency: float


@dataclass(frozen=True)
class EnergyStudy:
    """A fit of boards and servers and how far it carries: tables of scores by title; errors of the boards' joules."""

    data: Measurements
    fitted: Fitted | None
    server: ServerFit | None
    tables: Mapping[str, list[EnergyScore]]
    problems: Sequence[str]


@dataclass(frozen=True)
class _Server:
    """A server's run: predicted watts of its boards at the measured speed, waiting beyond the predicted step."""

    row: PoweredRun
    gpus: int  # of the node
    board_watts: float
    idle_watts: float
    seconds: float

    @property
    def boards(self) -> float:
        """Watts of a node's boards at the measured speed [W]: what a step takes longer than predicted, they wait."""
        return self.boards_at(self.row.run.measured_step_seconds or self.seconds)

    def boards_at(self, seconds: float) -> float:
        """The same at a step of `seconds` [W]."""
        busy = min(1.0, self.seconds / seconds)
        return self.gpus * (busy * self.board_watts + (1.0 - busy) * self.idle_watts)


def study(
    rows: Sequence[PoweredRun], products: Sequence[LargeProduct], calibration: Calibration, base_watts: float,
    report: Report = lambda done, total: None, leaves_out: bool = True,
) -> EnergyStudy:  # fmt: skip
    """Everything fitted and scored; rows that cannot be replayed are told.

    base_watts: what a server draws for each GPU apart from fans and supplies.
    Raises: ValueError where there are too few measurements to fit.
    """
    problems = [f"{row.run.run_id}: {row.run.problem}" for row in rows if row.run.problem]
    usable = [row for row in rows if not row.run.problem]
    boards = [row for row in usable if not row.scope.startswith("node")]
    trained = {row.card.architecture: row.card.nanometres for row in boards}
    alike = [p for p in products if trained.get(p.card.architecture) == p.card.nanometres]
    data = Measurements(boards, alike, calibration)
    tables: dict[str, list[EnergyScore]] = {}
    fitted = None
    counts = Counter(row.card.key for row in boards if row.scope == "board")
    if few := [f"{key}: {count} rows of a board are too few to fit" for key, count in counts.items() if count < LEAST]:
        raise ValueError("; ".join(few))
    if counts:
        fitted = fit_boards(data, np.ones(len(data.measured), dtype=bool))
        tables |= _board_tables(data, data.predict(fitted.values), "in sample")
        if leaves_out:
            tables |= _left_out(data, report)
    server = None
    nodes = [_server(row, calibration) for row in usable if row.scope == "node"]
    if nodes:
        server = _fit_server(nodes, [row for row in usable if row.scope == "node-dc"], base_watts)
        tables |= _server_tables(nodes, server, base_watts, leaves_out)
    return EnergyStudy(data, fitted, server, tables, problems)


def score(name: str, predicted: Iterable[float], measured: Iterable[float]) -> EnergyScore:
    """The errors of one group."""
    logs = np.log(np.array(list(predicted)) / np.array(list(measured)))
    errors = 100.0 * np.expm1(logs)
    size = np.abs(errors)
    low, high = np.percentile(logs, [5, 95])
    return EnergyScore(
        name, len(logs), float(size.mean()), float(np.median(size)), float(np.percentile(size, 90)),
        float(errors.mean()), float(logs.std()), float(low), float(high),
    )  # fmt: skip


def _groups(names: Sequence[str], predicted: np.ndarray, measured: np.ndarray) -> list[EnergyScore]:
    """The score of all rows and of each name."""
    named = np.array(names)
    parts = [score(name, predicted[named == name], measured[named == name]) for name in dict.fromkeys(names)]
    return [score("all", predicted, measured), *parts]


def _board_tables(data: Measurements, found: Predicted, how: str) -> dict[str, list[EnergyScore]]:
    """Watts and joules of the runs by card and by network."""
    chosen = np.array([run.scope == "board" for run in data.runs])
    runs = [run for run in data.runs if run.scope == "board"]
    watts = np.array([run.watts for run in runs])
    by = {"card": [run.card.key for run in runs], "network": [run.network for run in runs]}
    tables = {f"watts of a board by {name}, {how}": _groups(by[name], found.watts[chosen], watts) for name in by}
    timed = data.is_timed[chosen]
    relative = np.array([run.relative_seconds for run in runs])
    joules = (found.watts * found.times)[chosen][timed]
    for name, names in by.items():
        kept = [n for n, is_timed in zip(names, timed, strict=True) if is_timed]
        tables[f"joules of a board by {name}, {how}"] = _groups(kept, joules, (watts * relative)[timed])
    steps = np.array([run.run.measured_step_seconds for run in runs])
    if np.any(is_whole := steps > 0.0):
        kept = [n for n, is_known in zip(by["card"], is_whole, strict=True) if is_known]
        whole = (found.watts * found.seconds)[chosen][is_whole]
        tables[f"joules of a whole step by card, {how}"] = _groups(kept, whole, (watts * steps)[is_whole])
    return tables


def _left_out(data: Measurements, report: Report) -> dict[str, list[EnergyScore]]:
    """Each card, then each network, predicted by a fit on the others."""
    networks = np.array([run.network for run in data.runs if run.scope == "board"])
    of_run = np.array([run.network for run in data.runs])
    of_row = np.concatenate([of_run, np.full(len(data.products), ""), of_run[data.is_timed]])
    folds = {"card left out": data.has_card, "network left out": of_row}
    trained = dict.fromkeys(run.card.key for run in data.runs if run.scope == "board")
    names = {"card left out": list(trained), "network left out": list(dict.fromkeys(networks.tolist()))}
    tables: dict[str, list[EnergyScore]] = {}
    done, total = 0, sum(map(len, names.values()))
    for how, of in folds.items():
        if len(names[how]) < 2:
            continue
        figures = {part: np.zeros(len(data.runs)) for part in ("watts", "times", "seconds")}
        for name in names[how]:
            report(done, total)
            done += 1
            found = data.predict(fit_boards(data, of != name).values)
            mine = of[: len(data.runs)] == name
            for part, values in figures.items():
                values[mine] = getattr(found, part)[mine]
        tables |= _board_tables(data, Predicted(**figures, rates=np.zeros(0), is_timed=data.is_timed), how)
    return tables


def _server(row: PoweredRun, calibration: Calibration) -> _Server:
    """What is predicted of a server's boards."""
    run = row.run
    if run.workload is None or run.system is None or run.plan is None or run.software is None:
        raise ValueError(f"{run.run_id} cannot be replayed")
    found = estimate(run.workload, run.system, run.plan, run.software, calibration)
    gpus = min(int(run.plan.gpus), int(run.system.gpus_per_node))
    idle = float(run.system.gpu.power.idle_watts)
    return _Server(row, gpus, float(found.watts_per_gpu), idle, float(found.time.total_seconds))


def _setup(one: _Server) -> str:
    """Runs of one machine and job are repeats of each other."""
    machine = one.row.run.source.partition("/results/")[0]
    return f"{machine} {one.row.network} {one.row.run.plan.gpus if one.row.run.plan else 0}"


def _share(nodes: Sequence[_Server], base_watts: float) -> tuple[float, float]:
    """(median over machines and jobs of what is drawn beside boards and base, over the boards' limits; its error)."""
    each: dict[str, list[float]] = {}
    for one in nodes:
        rest = (one.row.watts - one.boards) / one.gpus - base_watts
        each.setdefault(_setup(one), []).append(rest / one.row.card.board_watts)
    values = np.array([np.median(list(v)) for v in each.values()])
    error = 1.2533 * 1.4826 * np.median(np.abs(values - np.median(values))) / np.sqrt(len(values))
    return float(max(np.median(values), 0.0)), float(error)


def _watts(one: _Server, share: float, base_watts: float, boards: float) -> float:
    return boards + one.gpus * (base_watts + share * one.row.card.board_watts)


def _fit_server(nodes: Sequence[_Server], behind: Sequence[PoweredRun], base_watts: float) -> ServerFit:
    """The share, and what supplies lose by runs metered on both sides."""
    share, error = _share(nodes, base_watts)
    at_wall = {one.row.run.source.rpartition("/result_")[2]: one.row.watts for one in nodes}
    pairs = [(row.watts, at_wall.get(row.run.source.rpartition("/result_")[2], 0.0)) for row in behind]
    ratios = [dc / ac for dc, ac in pairs if ac]
    found = score("all", [_watts(one, share, base_watts, one.boards) for one in nodes], [n.row.watts for n in nodes])
    return ServerFit(
        base_watts, share, error, len(nodes), found.mape, float(np.median(ratios)) if ratios else 0.0
    )  # fmt: skip


def _server_tables(
    nodes: Sequence[_Server], server: ServerFit, base_watts: float, leaves_out: bool
) -> dict[str, list[EnergyScore]]:
    """Watts of servers at the measured speed, and joules of a step at the predicted one, by card and job."""
    measured = np.array([one.row.watts for one in nodes])
    names = [f"{one.row.card.key} {one.row.network}" for one in nodes]
    cards = np.array([one.row.card.key for one in nodes])
    shares = {"in sample": np.full(len(nodes), server.share)}
    if leaves_out and len(set(cards.tolist())) > 1:
        of = {key: _share([n for n in nodes if n.row.card.key != key], base_watts)[0] for key in set(cards.tolist())}
        shares["card left out"] = np.array([of[key] for key in cards.tolist()])
    timed = np.array([one.row.run.measured_step_seconds > 0.0 for one in nodes])
    tables = {}
    for how, share in shares.items():
        watts = np.array([_watts(n, s, base_watts, n.boards) for n, s in zip(nodes, share, strict=True)])
        tables[f"watts of a server at the measured speed, {how}"] = _groups(names, watts, measured)
        if np.any(timed):
            step = np.array([n.seconds * _watts(n, s, base_watts, n.boards_at(n.seconds))
                             for n, s in zip(nodes, share, strict=True)])  # fmt: skip
            whole = measured * np.array([one.row.run.measured_step_seconds for one in nodes])
            kept = [name for name, is_timed in zip(names, timed, strict=True) if is_timed]
            tables[f"joules of a server's step, {how}"] = _groups(kept, step[timed], whole[timed])
    return tables
