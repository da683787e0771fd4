"""Fitted power: the processes and servers as TOML, and the error of watts and joules as tables or JSON."""

from perfsim.calibration.energy import PoweredCard
from perfsim.calibration.energy_fit import fitted_process
from perfsim.calibration.energy_study import EnergyScore, EnergyStudy, ServerFit
from perfsim.calibration.fit import Fitted
from perfsim.report.export import json_text
from perfsim.units import MEGA, NANO, PICO, printable

HEADER = """# Written by `{command}`: put these blocks in the place of those for the same cards in
# calibration/power.toml.
"""
LEFT_OUT = "joules of a board by card, card left out"


def rules_text(study: EnergyStudy, command: str) -> str:
    """The fitted [[process]] blocks and [server] as specs/calibration/power.toml has them."""
    blocks = [HEADER.format(command=printable(command))]
    if study.fitted:
        cards = {run.card.architecture: run.card for run in study.data.runs if run.scope == "board"}
        blocks += [_process(card, study.fitted, study) for card in cards.values()]
    if study.server:
        blocks.append(_server(study.server))
    return "\n".join(blocks)


def _process(card: PoweredCard, fitted: Fitted, study: EnergyStudy) -> str:
    found = fitted_process(card, fitted.values)
    joules = {name: j / PICO for name, j in found.joules_per_flop.items() if j}
    mine = [run for run in study.data.runs if run.card.architecture == card.architecture and run.scope == "board"]
    keys = dict.fromkeys(run.card.key for run in mine)
    scores = [s for s in study.tables.get(LEFT_OUT, ()) if s.name in keys]
    lines = [
        "[[process]]",
        f'match = {{ architecture = ["{card.architecture}"] }}',
        f"nanometres = {card.nanometres}",
        f"idle_share = {_figure(found.idle_share)}",
        f"busy_nanojoules_per_clock = {_figure(found.busy_joules_per_clock / NANO)}",
        f"picojoules_per_flop = {{ {', '.join(f'{name} = {_figure(j)}' for name, j in joules.items())} }}",
        f"knee_mhz = {_figure(found.knee_hz / MEGA)}",
        f"voltage_rise = {_figure(found.voltage_rise)}",
        'basis = "fitted"',
        f"rows = {len(mine)}",
        *(f"error_percent = {s.mape:.1f}" for s in scores[:1]),
        f'source = "measured power of {", ".join(keys)}; joules of each card predicted from the others"',
    ]
    return "\n".join(lines) + "\n"


def _server(server: ServerFit) -> str:
    lines = [
        "[server]",
        f"watts_per_gpu = {_figure(server.base_watts)}",
        f"share_of_board = {_figure(server.share)}",
        f"share_error = {_figure(server.error)}",
        f"rows = {server.rows}",
        f"error_percent = {server.mape:.1f}",
    ]
    return "\n".join(lines) + "\n"


def _figure(value: float) -> str:
    return f"{float(f'{value:.3g}'):g}"


def study_lines(study: EnergyStudy) -> list[str]:
    """What was fitted, with standard errors, and tables of errors."""
    lines = []
    if study.fitted:
        lines += ["fitted number                        value      error"]
        for name, value in study.fitted.values.items():
            mark = "  at its bound" if name in study.fitted.at_bound else ""
            lines.append(f"{printable(name):34}{value:>9.4g}  {study.fitted.errors[name]:>9.2g}{mark}")
        close = [f"{a} and {b} {r:+.2f}" for (a, b), r in study.fitted.correlations.items()]
        lines += [f"correlated: {printable(text)}" for text in close]
    if study.server:
        s = study.server
        lines.append(
            f"a server adds {s.base_watts:g} W (assumed) and {100 * s.share:.1f} +- {100 * s.error:.1f} % of the "
            f"board's limit for each GPU; {s.rows} rows"
        )
        if s.efficiency:
            lines.append(f"behind its power supplies it draws {100 * s.efficiency:.1f} % of that at the wall")
    for title, scores in study.tables.items():
        lines += ["", title, f"{'':34}{'rows':>6}{'MAPE':>7}{'median':>8}{'p90':>7}{'bias':>8}{'spread':>8}"]
        lines += [_line(s) for s in scores]
    if study.problems:
        lines += ["", f"{len(study.problems)} rows not replayed:", *map(printable, study.problems[:5])]
    return lines


def _line(s: EnergyScore) -> str:
    figures = f"{s.mape:>7.1f}{s.median:>8.1f}{s.p90:>7.1f}{s.bias:>+8.1f}{s.spread:>8.3f}"
    return f"{printable(s.name)[:33]:34}{s.rows:>6}{figures}"


def study_json(study: EnergyStudy) -> str:
    """The same as JSON."""
    fitted = study.fitted
    return json_text({
        "fitted": {name: {"value": value, "error": fitted.errors[name] if fitted.errors[name] < float("inf") else None}
                   for name, value in fitted.values.items()} if fitted else {},
        "server": vars(study.server) if study.server else None,
        "tables": {title: [vars(s) for s in scores] for title, scores in study.tables.items()},
        "not_replayed": list(study.problems),
    })  # fmt: skip
