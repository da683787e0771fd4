"""All presets and networks of measured collectives, and how far predictions are off, seen and unseen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from perfsim.calibration.collective_fit import FittedPreset, fit_network, fit_preset, left_out, network_left_out
from perfsim.calibration.collectives import Collectives
from perfsim.core.fabric import Transport
from perfsim.units import MIB

Report = Callable[[int, int], None]
LEAST_ROWS = 15  # of a preset
LEAST_NETWORK_ROWS = 15


@dataclass(frozen=True)
class Score:
    """Errors of some rows [%]; in `mape` and `median` every group of system, collective and ranks weighs the same."""

    name: str
    rows: int
    mape: float
    median: float
    p90: float
    bias: float


@dataclass(frozen=True)
class FittedNetwork:
    """A network preset's numbers, the errors [%] row by row, those of sizes left out (nan: not tried), who measured."""

    name: str
    values: dict[str, float]
    errors: np.ndarray
    sizes_left_out: np.ndarray
    source: str


@dataclass(frozen=True)
class CollectiveStudy:
    """What a table of collectives says. sources: by preset; tables: scores by title; left_out: rows of no fit."""

    presets: tuple[FittedPreset, ...]
    networks: tuple[FittedNetwork, ...]
    sources: dict[str, str]
    tables: dict[str, list[Score]]
    left_out: int


def study(rows: Collectives, report: Report | None = None, cross_validates: bool = True) -> CollectiveStudy:
    """Fit a preset for every kind of link and machine with enough rows, and for every network.

    Raises: ValueError when no preset has enough rows and payload sizes.
    """
    local = rows.where(rows.is_inside & (rows.collective != "send_recv"))
    if not len(local):
        raise ValueError("no rows inside a node, which a network is fitted beside")
    names = [name for name in np.unique(local.preset) if np.sum(local.preset == name) >= LEAST_ROWS]
    parts = {str(name): local.where(local.preset == name) for name in names}
    presets = {}
    for i, (name, part) in enumerate(parts.items()):
        try:
            presets[name] = fit_preset(name, part)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if report:
            report(i + 1, len(parts) + 1)
    if not presets:
        most = max((int(np.sum(local.preset == name)) for name in np.unique(local.preset)), default=0)
        raise ValueError(f"{most} rows of one machine; {LEAST_ROWS} at least identify its numbers")
    networks = _networks(rows, {name: preset.transport for name, preset in presets.items()}, cross_validates)
    tables = _tables(parts, presets, networks, rows, cross_validates)
    used = sum(map(len, parts.values())) + sum(len(network.errors) for network in networks)
    sources = {name: _who(part.source) for name, part in parts.items()}
    return CollectiveStudy(tuple(presets.values()), tuple(networks), sources, tables, len(rows) - used)


def _networks(rows: Collectives, transports: dict[str, Transport], cross_validates: bool) -> list[FittedNetwork]:
    found = []
    remote = rows.where(~rows.is_inside & np.isin(rows.preset, list(transports)))
    for name in np.unique(remote.network):
        part = remote.where(remote.network == name)
        if len(part) >= LEAST_NETWORK_ROWS and np.min(part.bytes) <= MIB:  # larger payloads do not show the start
            by_system = [transports[str(part.preset[part.system == s][0])] for s in np.unique(part.system)]
            values, errors = fit_network(part, by_system)
            unseen = np.full(len(part), np.nan)
            if cross_validates:
                unseen = network_left_out(part, by_system, _octaves(part))
            found.append(FittedNetwork(str(name), values, errors, unseen, _who(part.source)))
    return found


def _tables(
    parts: dict[str, Collectives], presets: dict[str, FittedPreset], networks: Sequence[FittedNetwork],
    rows: Collectives, cross_validates: bool,
) -> dict[str, list[Score]]:  # fmt: skip
    joined = _joined(list(parts.values()))
    errors = np.concatenate([presets[name].errors for name in parts])
    tables = {"in sample, by system and collective": by_group(joined, errors)}
    for network in networks:
        part = rows.where(~rows.is_inside & (rows.network == network.name) & np.isin(rows.preset, list(presets)))
        tables[f"between nodes, {network.name}, in sample"] = by_group(part, network.errors)
        if cross_validates:
            tables[f"between nodes, {network.name}, a payload size left out"] = by_group(part, network.sizes_left_out)
    if not cross_validates:
        return tables
    sizes = np.concatenate([_left_out_sizes(part) for part in parts.values()])
    tables["a payload size left out, by system"] = by_system(joined, sizes)
    switches = {name: part for name, part in parts.items() if name.startswith("nvswitch")}
    if len(switches) > 1:
        switched = _joined(list(switches.values()))
        systems = np.concatenate([left_out(part, part.system) for part in switches.values()])
        large = switched.bytes >= MIB
        tables["an NVSwitch system left out, 1 MiB and more"] = by_system(switched.where(large), systems[large])
        generations = left_out(switched, switched.preset)
        tables["an NVSwitch generation left out, 1 MiB and more"] = by_system(switched.where(large), generations[large])
    for kind, is_kind in (("NVSwitch", True), ("other links", False)):
        larger = [p for name, p in parts.items() if len(np.unique(p.ranks)) > 2 and (name in switches) == is_kind]
        if larger:
            found = np.concatenate([_left_out_ranks(part) for part in larger])
            tables[f"2 and 4 GPUs predict more, {kind}"] = by_system(_joined(larger), found)
    return tables


def _left_out_sizes(part: Collectives) -> np.ndarray:
    return left_out(part, _octaves(part))


def _octaves(part: Collectives) -> np.ndarray:
    """Payloads that are left out together: those nearest to the same power of two."""
    return np.round(np.log2(part.bytes))


def _left_out_ranks(part: Collectives) -> np.ndarray:
    errors = left_out(part, part.ranks > 4)
    return np.where(part.ranks > 4, errors, np.nan)


def _joined(parts: Sequence[Collectives]) -> Collectives:
    if not parts:
        return Collectives(*(np.array([]) for _ in fields(Collectives)))
    return Collectives(*(np.concatenate(columns) for columns in zip(*(vars(p).values() for p in parts), strict=True)))


def by_group(rows: Collectives, errors: np.ndarray) -> list[Score]:
    """A score for every system and collective, and for all."""
    keys = np.array([f"{s}, {c}" for s, c in zip(rows.system, rows.collective, strict=True)])
    return _scores(keys, rows, errors)


def by_system(rows: Collectives, errors: np.ndarray) -> list[Score]:
    """A score for every system, and for all."""
    return _scores(rows.system, rows, errors)


def _scores(keys: np.ndarray, rows: Collectives, errors: np.ndarray) -> list[Score]:
    known = np.isfinite(errors)
    groups = rows.groups
    found = [
        _score(str(key), errors[known & (keys == key)], groups[known & (keys == key)]) for key in np.unique(keys[known])
    ]
    if not np.any(known):
        return []
    found.append(_score("all", errors[known], groups[known]))
    looped = known & ~rows.has_host
    if np.any(looped) and np.any(known & rows.has_host):
        found.append(_score("all that no host launched one by one", errors[looped], groups[looped]))
    return found


def _score(name: str, errors: np.ndarray, groups: np.ndarray) -> Score:
    size = np.abs(errors)
    each = [size[groups == group] for group in np.unique(groups)]
    return Score(
        name,
        len(errors),
        float(np.mean([np.mean(part) for part in each])),
        float(np.mean([np.median(part) for part in each])),
        float(np.quantile(size, 0.9)),
        float(np.mean(errors)),
    )


def _who(sources: np.ndarray) -> str:
    """Who measured, each named once, without files and lines."""
    names = dict.fromkeys(str(s).split("@")[0].split(" network/")[0].split(":")[0] for s in sources)
    shown = ", ".join({"aic": "ai-dynamo/aiconfigurator", "vidur": "microsoft/vidur"}.get(n, n) for n in names)
    return shown[:400] or "one's own"
