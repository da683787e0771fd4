"""Fits what NCCL reaches on links, machines and networks to measured collectives, also to part of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from perfsim.calibration.collectives import Collectives, network_of, predicted_seconds, rate_at, transport_of
from perfsim.calibration.fit import Fitted, Parameter, Values, fit
from perfsim.core.fabric import Network, Transport
from perfsim.formulas.nccl import BELIEVED
from perfsim.units import GIGA, MICRO

LEAST_STEPS = {"hop_us": 2, "copy_share": 3}  # numbers of steps that tell these from the start and the rate
USUAL_HOST_US = 35.0  # of a program that launches each call, as PyTorch does
LEAST_SIZES = 5  # distinct payloads that show both the start and the bandwidth

# Where fits start and what is physically possible, by protocol: (start, least, most) in the units of a preset's keys.
# Starts are near what NVSwitch nodes of three generations reach; a number that the rows do not show stays there.
RANGES: dict[str, dict[str, tuple[float, float, float]]] = {
    "low_latency": {
        "base_us": (7.0, 1.0, 200.0), "hop_us": (1.0, 0.05, 60.0), "fraction": (0.27, 0.02, 2.0),
        "growth": (0.3, 0.0, 4.0),
    },
    "low_latency_128": {"base_us": (19.0, 1.0, 200.0), "fraction": (0.65, 0.05, 2.0)},
    "simple": {
        "base_us": (14.0, 1.0, 400.0), "hop_us": (7.0, 0.05, 100.0), "fraction": (1.04, 0.3, 1.5),
        "copy_share": (0.6, 0.0, 4.0), "slice_us": (15.0, 0.0, 500.0),
    },
    "switch": {
        "base_us": (17.0, 1.0, 200.0), "fraction": (1.0, 0.5, 1.3), "slice_us": (100.0, 0.0, 5000.0),
    },
    "send_low_latency": {
        "base_us": (8.0, 1.0, 200.0), "hop_us": (0.3, 0.0, 10.0), "fraction": (1.0, 0.02, 2.0),
        "growth": (0.3, 0.0, 4.0),
    },
    "send": {
        "base_us": (11.0, 1.0, 400.0), "hop_us": (0.2, 0.0, 20.0), "fraction": (1.05, 0.3, 1.5),
        "copy_share": (0.4, 0.0, 4.0), "slice_us": (40.0, 0.0, 2000.0),
    },
}  # fmt: skip
NETWORK_RANGES = {
    "base_us": (60.0, 5.0, 500.0), "hop_us": (14.0, 1.0, 200.0), "fraction": (0.9, 0.2, 1.05),
    "growth": (0.6, 0.0, 4.0), "low_latency_share": (0.3, 0.02, 1.0), "start_us": (20.0, 0.0, 1000.0),
    "slice_us": (500.0, 0.0, 8000.0),
}  # fmt: skip


@dataclass(frozen=True)
class FittedPreset:
    """A preset's numbers by protocol and key, the rates of a measured machine, and how well they fit.

    rates: by ranks, (ring, exchange) [GB/s]; empty for links whose rate the datasheet tells. errors [%] row by row.
    """

    name: str
    wire: str
    protocols: dict[str, dict[str, float]]
    rates: dict[int, tuple[float, float]]
    errors: np.ndarray
    fitted: Fitted

    @property
    def shown(self) -> list[str]:
        """The protocols that the wire has."""
        return [name for name in RANGES if name in BELIEVED[self.wire] or name.startswith("send")]

    @property
    def transport(self) -> Transport:
        """The record that formulas take."""
        return transport_of({name: self.protocols[name] for name in self.shown}, self.wire)


NO_NETWORK = Network(1.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class PresetModel:
    """How a preset's parameters make seconds. has_rates: the links' rates are parameters too, by number of ranks."""

    wire: str
    has_rates: bool

    def parameters(self, rows: Collectives) -> list[Parameter]:
        """One for every number that some row can show."""
        found = []
        for protocol, keys in RANGES.items():
            shown = rows.where(_is_exchange(rows) == protocol.startswith("send"))
            steps = np.where(shown.collective == "all_reduce", 2, 1) * (shown.ranks - 1)
            if not len(shown) or not (protocol in BELIEVED[self.wire] or protocol.startswith("send")):
                continue
            for key, bounds in keys.items():
                if len(np.unique(steps)) >= LEAST_STEPS.get(key, 1) and not self._is_unit(protocol, key):
                    found.append(Parameter(f"{protocol}.{key}", *bounds))
        found += host_parameters(rows)
        for n in self._sizes(rows):
            for kind, chosen in _kinds(rows, n):
                if np.any(chosen):
                    reached = float(np.max(rows.wire_bytes[chosen] / rows.seconds[chosen])) / GIGA
                    found.append(Parameter(f"{kind}@{n}", reached, reached / 4.0, reached * 4.0))
        return found

    def transport(self, values: Values) -> Transport:
        """The record with these values."""
        return transport_of(self.protocols(values), self.wire)

    def protocols(self, values: Values) -> dict[str, dict[str, float]]:
        """All numbers by protocol and key; those that are no parameters at their start."""
        return _completed({
            name: {key: values.get(f"{name}.{key}", 1.0 if self._is_unit(name, key) else bounds[0])
                   for key, bounds in keys.items()}
            for name, keys in RANGES.items()
        })  # fmt: skip

    def rates(self, values: Values, rows: Collectives) -> dict[int, tuple[float, float]]:
        """(ring, exchange) [GB/s] by ranks; one that was not measured is taken to be the other."""
        ring, exchange = _rates(values, "ring"), _rates(values, "exchange")
        return {n: (rate_at(ring, n), rate_at(exchange, n)) for n in self._sizes(rows)}

    def predict(self, values: Values, rows: Collectives) -> np.ndarray:
        """Seconds of the rows [s]."""
        ring = exchange = rows.ring_bytes_per_s
        if self.has_rates:
            ring, exchange = (
                np.array([rate_at(_rates(values, kind), int(n)) * GIGA for n in rows.ranks])
                for kind in ("ring", "exchange")
            )
        alone = predicted_seconds(rows, self.transport(values), NO_NETWORK, ring, exchange)
        return np.hypot(alone, host_seconds(rows, values))

    def fit(self, rows: Collectives) -> Fitted:
        """The values nearest to the rows; every group of ranks and collective counts alike."""
        parameters = self.parameters(rows)
        return fit(
            parameters, lambda values: self.predict(values, rows), rows.seconds, _even_weights(rows),
            _acts_on(parameters, rows),
        )  # fmt: skip

    def _is_unit(self, protocol: str, key: str) -> bool:
        return self.has_rates and protocol in ("simple", "send") and key == "fraction"

    def _sizes(self, rows: Collectives) -> list[int]:
        return sorted({int(n) for n in rows.ranks}) if self.has_rates else []


def _completed(protocols: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """With what rows seldom show alone: LL128's step in NCCL's own proportion, and one copy share for all of a ring."""
    base, hop, _ = BELIEVED["nvlink"]["low_latency_128"]
    ll128 = protocols["low_latency_128"]
    shared = {"copy_share": protocols["simple"]["copy_share"]}
    return protocols | {
        "low_latency": protocols["low_latency"] | shared,
        "low_latency_128": ll128 | shared | {"hop_us": ll128["base_us"] * hop / base},
    }


def _rates(values: Values, kind: str) -> dict[int, float]:
    """Fitted rates of a kind by ranks [GB/s]; of the other kind where no row showed this one."""
    for name in (kind, "exchange" if kind == "ring" else "ring"):
        if found := {int(key.split("@")[1]): value for key, value in values.items() if key.startswith(f"{name}@")}:
            return found
    return {}


def _kinds(rows: Collectives, n: int) -> Iterator[tuple[str, np.ndarray]]:
    yield "ring", (rows.ranks == n) & ~_is_exchange(rows)
    yield "exchange", (rows.ranks == n) & _is_exchange(rows)


def _is_exchange(rows: Collectives) -> np.ndarray:
    return np.isin(rows.collective, ("all_to_all", "send_recv"))


def _acts_on(parameters: Sequence[Parameter], rows: Collectives) -> dict[str, np.ndarray]:
    """The rows of every parameter "name@where": those of a number of ranks, or of a system."""
    found = {}
    for name, _, where in (parameter.name.partition("@") for parameter in parameters):
        if name == "host_us":
            found[f"{name}@{where}"] = (rows.system == where) & rows.has_host
        elif where:
            found[f"{name}@{where}"] = (rows.ranks == int(where)) & (_is_exchange(rows) == (name == "exchange"))
    return found


def _even_weights(rows: Collectives) -> np.ndarray:
    groups = rows.groups
    counts = np.bincount(groups)
    return np.sqrt(len(groups) / len(counts) / counts[groups])


def model_of(rows: Collectives) -> PresetModel:
    """Rates are by the datasheet on NVLink, and measured where they hang on the machine."""
    has_rates = bool(np.any(rows.ring_bytes_per_s <= 0.0))
    return PresetModel("pcie" if has_rates else "nvlink", has_rates)


def fit_preset(name: str, rows: Collectives) -> FittedPreset:
    """A preset from rows inside nodes.

    Raises: ValueError when there are too few sizes to tell the start from the bandwidth.
    """
    sizes = len(np.unique(rows.bytes))
    if sizes < LEAST_SIZES:
        raise ValueError(f"{sizes} payload sizes; {LEAST_SIZES} at least show start and bandwidth")
    model = model_of(rows)
    found = model.fit(rows)
    errors = 100.0 * (model.predict(found.values, rows) / rows.seconds - 1.0)
    return FittedPreset(name, model.wire, model.protocols(found.values), model.rates(found.values, rows), errors, found)


def fit_network(rows: Collectives, transports: Sequence[Transport]) -> tuple[dict[str, float], np.ndarray]:
    """(numbers of a network preset, errors [%] row by row) from rows between nodes, each system with its transport."""
    values = _network_values(rows, transports)
    errors = 100.0 * (network_seconds(rows, transports, values) / rows.seconds - 1.0)
    return {key: values[key] for key in NETWORK_RANGES}, errors


def network_left_out(rows: Collectives, transports: Sequence[Transport], parts: np.ndarray) -> np.ndarray:
    """Errors [%] row by row, each part predicted from a fit to the others."""
    errors = np.zeros(len(rows))
    for part in np.unique(parts):
        out = parts == part
        values = _network_values(rows.where(~out), transports)
        errors[out] = 100.0 * (network_seconds(rows, transports, values) / rows.seconds - 1.0)[out]
    return errors


def _network_values(rows: Collectives, transports: Sequence[Transport]) -> dict[str, float]:
    parameters = [Parameter(key, *bounds) for key, bounds in NETWORK_RANGES.items()] + host_parameters(rows)
    return fit(
        parameters, lambda values: network_seconds(rows, transports, values), rows.seconds, _even_weights(rows),
        _acts_on(parameters, rows),
    ).values  # fmt: skip


def network_seconds(rows: Collectives, transports: Sequence[Transport], values: Values) -> np.ndarray:
    """Seconds of rows between nodes [s] with a network preset's numbers."""
    found = np.zeros(len(rows))
    for system, transport in zip(np.unique(rows.system), transports, strict=True):
        chosen = rows.system == system
        part = rows.where(chosen)
        network = network_of(values, part.nic_bytes_per_s)
        found[chosen] = predicted_seconds(part, transport, network, part.ring_bytes_per_s, part.ring_bytes_per_s)
    return np.hypot(found, host_seconds(rows, values))


def host_parameters(rows: Collectives) -> list[Parameter]:
    """A time of its own for every system whose calls were launched one by one: a nuisance, in no preset."""
    hosts = np.unique(rows.system[rows.has_host])
    return [Parameter(f"host_us@{system}", USUAL_HOST_US, 0.0, 400.0) for system in hosts]


def host_seconds(rows: Collectives, values: Values) -> np.ndarray:
    """That time row by row [s]; of a system that the fit has not seen, the median of the others'."""
    found = np.zeros(len(rows))
    known = [value for name, value in values.items() if name.startswith("host_us@")]
    for system in np.unique(rows.system[rows.has_host]):
        unknown = float(np.median(known)) if known else USUAL_HOST_US
        found[(rows.system == system) & rows.has_host] = values.get(f"host_us@{system}", unknown) * MICRO
    return found


def left_out(rows: Collectives, parts: np.ndarray) -> np.ndarray:
    """Errors [%] row by row, each part predicted from a fit to the others; nan where the others cannot tell."""
    errors = np.full(len(rows), np.nan)
    model = model_of(rows)
    for part in np.unique(parts):
        out = parts == part
        seen, unseen = rows.where(~out), rows.where(out)
        if len(np.unique(seen.bytes)) < LEAST_SIZES:
            continue
        values = model.fit(seen).values
        known = set(seen.ranks.tolist())
        if model.has_rates and len(known) < 2 and not set(unseen.ranks.tolist()) <= known:
            continue  # one rate does not tell how rates go with the number of cards
        errors[out] = 100.0 * (model.predict(values, unseen) / unseen.seconds - 1.0)
    return errors
