"""The uncertain numbers that a prediction rests on, and how well each is known."""

from collections.abc import Iterator

from perfsim.core.calibration import Calibration
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.inputs.calibration import Rule, deciding_rules
from perfsim.inputs.catalogue import Catalogue
from perfsim.inputs.collectives import NetworkPreset, Preset
from perfsim.inputs.fabric import link_presets, network_preset
from perfsim.inputs.files import Sourced
from perfsim.inputs.wiring import domain_of
from perfsim.search.sensitivity import WIDEST, Inputs, Knob

SPREADS = {  # standard deviation of a number's log where its file tells no error of its own
    "measured": 0.03,  # two cards of a kind, or two runs of a benchmark, differ by 2-4 %
    "fitted": 0.08,  # kernel fits err by 4-14 % on shapes left out, NVSwitch's collectives by 5-9 %
    "rule": 0.15,  # fitted cards of one architecture lie 14 (memory), 16 (attention) and 17 % (fp32) around their mean
    "assumed": 0.30,  # as energies per byte, whose file tells +-30 %
    "assumed efficiency": 0.10,  # products, attention and memory of the software files differ by 4, 4 and 19 %
    "assumed host time": 0.50,  # the software files' host times differ by 60 %
}
_GPU = "system.gpu.calibration."
_LATENCIES = ("base_seconds", "hop_seconds", "slice_seconds")
_MOST_SHARE = 0.95  # of the multiprocessors, that collectives may hold


def knobs_of(inputs: Inputs, known: Catalogue) -> list[Knob]:
    """Those of the card, its links, the software, what all cards share and the workload; a zero is none."""
    return [
        *_of_card(inputs, known), *_of_links(inputs, known), *_of_software(inputs.software, known),
        *_shared(inputs.calibration, known), *_of_workload(inputs.workload),
    ]  # fmt: skip


def _of_card(inputs: Inputs, known: Catalogue) -> Iterator[Knob]:
    key, name, used = inputs.system.gpu.key, inputs.system.gpu.name, inputs.workload.precision.matmul
    spec = known.gpu_spec(key)
    rules = deciding_rules(key, spec, known.rules)
    for quantity, what, path in (
        (used, f"share of peak that {used} products reach", f"gemm_fraction.{used}"),
        (
            "gemm_bandwidth_fraction",
            "share of memory bandwidth that products reach",
            "products.gemm_bandwidth_fraction",
        ),
        ("bandwidth_fraction", "share of memory bandwidth that other kernels reach", "bandwidth_fraction"),
        ("attention_fraction", "share of peak that attention reaches", "attention_fraction"),
        ("kernel_us", "fixed time of a kernel", "kernel_seconds"),
    ):
        rule = rules.get(quantity)
        yield Knob(f"{key} {quantity}", f"{what} on {name}", _spread(rule), (_GPU + path,))
    power = ("system.gpu.power.joules_per_flop.*", "system.gpu.power.busy_watts")
    basis = known.power_rules.process_of(key, spec).basis
    yield Knob(f"{key} power", f"energy of computing on {name}", SPREADS[basis], power)


def _of_links(inputs: Inputs, known: Catalogue) -> Iterator[Knob]:
    """Plans whose links are of the same kinds share what is known of them."""
    spec, card = known.system_spec(inputs.system.key), known.gpu_spec(inputs.system.gpu.key)
    presets = link_presets(spec, domain_of(spec, card), card, known.collectives)
    names, spread = " and ".join(preset.name for preset in presets), max(map(_spread, presets))
    within = "system.within.transport.*."
    yield Knob(f"{names} rate", f"bandwidth reached on {names}", spread, (f"{within}fraction",))
    starts = tuple(within + part for part in _LATENCIES)
    yield Knob(f"{names} start", f"latency of exchanges on {names}", spread, starts)
    joined = network_preset(spec, known.collectives)
    between, what = "system.between.", f"{joined.name} between nodes"
    yield Knob(f"{joined.name} network rate", f"bandwidth reached on {what}", _spread(joined), (f"{between}fraction",))
    starts = tuple(between + part for part in (*_LATENCIES, "start_seconds"))
    yield Knob(f"{joined.name} network start", f"latency of exchanges on {what}", _spread(joined), starts)
    host, rates = spec.name, ("system.host_link_bytes_per_s", "system.host_memory_bytes_per_s")
    yield Knob(f"{spec.name} host", f"bandwidth between GPUs and the host of {host}", SPREADS["rule"], rates)


def _of_software(software: Software, known: Catalogue) -> Iterator[Knob]:
    spec = known.software_spec(software.key)
    for quantity, what, kind in (
        ("gemm_efficiency", "efficiency of products", "efficiency"),
        ("memory_efficiency", "efficiency of other kernels", "efficiency"),
        ("attention_efficiency", "efficiency of attention", "efficiency"),
        ("host_seconds", "host time to launch a kernel", "host time"),
        ("optimizer_host_seconds", "host time to launch a kernel of the optimizer", "host time"),
        ("step_seconds", "fixed host time of a step", "host time"),
        ("synchronisation_seconds", "host time to read a value back", "host time"),
    ):
        name = f"{what} in {software.name}"
        yield Knob(f"{software.key} {quantity}", name, _told(spec, quantity, kind), (f"software.{quantity}",))


def _shared(calibration: Calibration, known: Catalogue) -> Iterator[Knob]:
    spec = known.calibration_spec()
    held = calibration.communication_multiprocessor_share
    for quantity, what, most in (
        ("communication_multiprocessor_share", "multiprocessors that exchanges hold", _MOST_SHARE / max(held, 1e-9)),
        ("rank_jitter", "jitter between ranks", WIDEST),
        ("gather_bandwidth_share", "share of memory bandwidth of embedding look-ups", WIDEST),
        ("optimizer_bandwidth_share", "share of memory bandwidth of the optimizer", WIDEST),
        ("column_sum_share", "share of memory bandwidth of bias gradients", WIDEST),
        ("attention.backward_share", "rate of attention's backward pass over its forward pass", WIDEST),
    ):
        limit = min(WIDEST, max(most, 1.0))
        yield Knob(quantity, what, _told(spec, quantity), (f"calibration.{quantity}",), most=limit)


def _of_workload(workload: Workload) -> Iterator[Knob]:
    least = max(1.0 / WIDEST, 1.0 / float(workload.expert_imbalance))  # the busiest rank has the mean at least
    name = "tokens of the busiest experts' GPU over the mean"
    yield Knob("imbalance", name, SPREADS["assumed"], ("workload.expert_imbalance",), least=least)


def _spread(entry: Rule | Preset | NetworkPreset | None) -> float:
    """Of what a rule or a preset says: its fit's error, else by its basis."""
    if entry is None:
        return SPREADS["assumed"]
    return SPREADS[entry.basis] if entry.error_percent is None else entry.error_percent / 100.0


def _told(spec: Sourced, quantity: str, kind: str = "") -> float:
    """Of a number in a file: what [spread] tells, else by [basis], of the key, its table or all."""
    keys = (quantity, quantity.partition(".")[0], "*")
    if found := [spec.spread[key] for key in keys if key in spec.spread]:
        return found[0]
    basis = next((spec.basis[key] for key in keys if key in spec.basis), "fitted")
    return SPREADS.get(f"{basis} {kind}".strip(), SPREADS.get(basis, SPREADS["assumed"]))
