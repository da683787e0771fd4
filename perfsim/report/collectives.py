"""Fitted collectives: the presets as a TOML file, and the error by system and collective as tables or JSON."""

import numpy as np

from perfsim.calibration.collective_fit import FittedPreset
from perfsim.calibration.collective_study import CollectiveStudy, FittedNetwork, Score
from perfsim.report.export import json_text
from perfsim.units import printable

HEADER = """# NCCL on links, networks and machines that were measured; `{command}` wrote this file.
# A protocol's keys: start, step, share of the bandwidth (1 where the machine's own rates are told), by how much the
# start grows with the payload, what a rank's own chunk costs of a step, and a slice of the pipeline.
"""


def presets_text(study: CollectiveStudy, command: str) -> str:
    """The presets and networks as specs/calibration/collectives.toml has them."""
    blocks = [HEADER.format(command=printable(command))]
    blocks += [_preset(preset, study) for preset in study.presets]
    blocks += [_network(network) for network in study.networks]
    blocks.append('[sources]\n"*" = "each preset names its own"\n')
    return "\n".join(blocks)


def _preset(preset: FittedPreset, study: CollectiveStudy) -> str:
    lines = ["[[preset]]", f'name = "{preset.name}"', f'wire = "{preset.wire}"']
    for name in preset.shown:
        numbers = {k: value for k, value in preset.protocols[name].items() if value or k in ("base_us", "fraction")}
        lines.append(f"{name} = {{ {', '.join(f'{key} = {_figure(value)}' for key, value in numbers.items())} }}")
    for n, (ring, exchange) in preset.rates.items():
        lines.append(f"rate.{n} = {{ ring_gb_per_s = {_figure(ring)}, exchange_gb_per_s = {_figure(exchange)} }}")
    return "\n".join([*lines, *_basis(preset.errors, study.sources[preset.name])]) + "\n"


def _network(network: FittedNetwork) -> str:
    lines = ["[[network]]", f'name = "{network.name}"']
    lines += [f"{key} = {_figure(value)}" for key, value in network.values.items()]
    return "\n".join([*lines, *_basis(network.errors, network.source)]) + "\n"


def _basis(errors: np.ndarray, source: str) -> list[str]:
    return [
        'basis = "fitted"',
        f"rows = {len(errors)}",
        f"error_percent = {float(np.mean(np.abs(errors))):.1f}",
        f'source = "{printable(source)}"',
    ]


def _figure(value: float) -> str:
    return f"{float(f'{value:.3g}'):g}" if value >= 0.0005 else "0.0"


def study_lines(study: CollectiveStudy) -> list[str]:
    """Tables of errors: every system and collective, and what was left out of the fit."""
    lines = []
    for title, scores in study.tables.items():
        lines += ["", title, f"{'':44}{'rows':>6}{'MAPE':>7}{'median':>8}{'p90':>7}{'bias':>8}"]
        lines += [_line(score) for score in scores]
    return lines[1:]


def _line(score: Score) -> str:
    figures = f"{score.mape:>7.1f}{score.median:>8.1f}{score.p90:>7.1f}{score.bias:>+8.1f}"
    return f"{printable(score.name)[:43]:44}{score.rows:>6}{figures}"


def study_json(study: CollectiveStudy) -> str:
    """The same tables as JSON."""
    return json_text({title: [vars(score) for score in scores] for title, scores in study.tables.items()})
