"""The uncertain numbers that a prediction rests on, and how well each is known."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from perfsim.core.hardware import Gpu
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.inputs.calibration import Rule, deciding_rules
from perfsim.inputs.collectives import NetworkPreset, Preset
from perfsim.inputs.fabric import link_presets, network_preset
from perfsim.inputs.files import Sourced
from perfsim.inputs.gpu import GpuSpec
from perfsim.inputs.wiring import domain_of
from perfsim.search.sensitivity import UNLIKE, WIDEST, Inputs, Knob

if TYPE_CHECKING:
    from perfsim.inputs.catalogue import Catalogue
    from perfsim.inputs.system import SystemSpec

PRIORS = {  # standard deviation of a number's log, by its basis, where no run has shown it
    "measured": 0.03,  # two cards of a kind, or two runs of a benchmark, differ by 2-4 %
    "fitted": 0.08,  # kernel fits err by 4-14 % on shapes left out, NVSwitch's collectives by 5-9 %
    "rule": 0.15,  # fitted cards of one architecture lie 14 (memory), 16 (attention) and 17 % (fp32) around their mean
    "assumed": 0.30,  # as energies per byte, whose file tells +-30 %
    "assumed efficiency": 0.10,  # products, attention and memory of the software files differ by 4, 4 and 19 %
    "assumed host time": 0.50,  # the software files' host times differ by 60 %
    "assumed traffic": 0.20,  # assumed, of bytes counted in the frameworks' code, kernel by kernel
}
_GPU = "system.gpu.calibration."
# of the log of flash-2, flash-1 (0.77 of it, specs/software/llm-foundry), and either without Hopper's instructions
# there (0.57, attention_pre_hopper_share)
ATTENTION_SPREAD = 0.25
_ATTENTION = (f"{_GPU}attention_fraction",)
_LATENCIES = ("base_seconds", "hop_seconds", "slice_seconds")
_MOST_SHARE = 0.95  # of the multiprocessors, that collectives may hold


def knobs_of(inputs: Inputs, known: "Catalogue") -> list[Knob]:
    """Those of the card, its links, the software, what all cards share and the workload; a zero is none."""
    card, system = known.gpu_spec(inputs.system.gpu.key), known.system_spec(inputs.system.key)
    return knobs(inputs.workload, inputs.system.gpu, card, system, inputs.software, known)


def knobs(
    workload: Workload, gpu: Gpu, card: GpuSpec, system: "SystemSpec", software: Software, known: "Catalogue",
    is_mapped: bool = False, is_attention_told: bool = True,
) -> list[Knob]:  # fmt: skip
    """The same of a card and a system that need not be among the specs.

    is_mapped: the software is not the one that ran but the entry nearest to it; is_attention_told: its attention kernel
    is known to be the entry's.
    """
    found = [
        *_of_card(gpu, card, workload.precision.matmul, known), *_of_links(system, card, known),
        *_of_software(software, known, is_mapped), *_shared(known), *_of_workload(workload),
    ]  # fmt: skip
    if not is_attention_told:
        found.append(Knob("attention kernel", "which attention kernel ran", ATTENTION_SPREAD, _ATTENTION, "unknown"))
    spreads = known.spreads
    return [replace(k, spread=spreads.numbers.get(k.key, spreads.kinds.get(k.kind, k.spread))) for k in found]


def _of_card(gpu: Gpu, spec: GpuSpec, used: str, known: "Catalogue") -> Iterator[Knob]:
    key, name = gpu.key, gpu.name
    rules = deciding_rules(key, spec, known.rules)
    for quantity, kind, what, path in (
        (used, "products", f"share of peak that {used} products reach", f"gemm_fraction.{used}"),
        (
            "gemm_bandwidth_fraction",
            "operands of products",
            "share of memory bandwidth that products reach",
            "products.gemm_bandwidth_fraction",
        ),
        ("bandwidth_fraction", "streams", "share of memory bandwidth that other kernels reach", "bandwidth_fraction"),
        ("attention_fraction", "attention", "share of peak that attention reaches", "attention_fraction"),
        ("kernel_us", "kernel starts", "fixed time of a kernel", "kernel_seconds"),
    ):
        rule = rules.get(quantity)
        basis = rule.basis if rule else "assumed"
        yield Knob(
            f"{key} {quantity}", f"{what} on {name}", _spread(rule), (_GPU + path,), f"{kind} of a card, {basis}"
        )
    power = ("system.gpu.power.joules_per_flop.*", "system.gpu.power.busy_watts")
    basis = known.power_rules.process_of(key, spec).basis
    yield Knob(f"{key} power", f"energy of computing on {name}", PRIORS[basis], power, f"power of a card, {basis}")


def _of_links(spec: "SystemSpec", card: GpuSpec, known: "Catalogue") -> Iterator[Knob]:
    """Plans whose links are of the same kinds share what is known of them."""
    presets = link_presets(spec, domain_of(spec, card), card, known.collectives)
    worst = max(presets, key=_spread)
    names, spread, basis = " and ".join(preset.name for preset in presets), _spread(worst), worst.basis
    within = "system.within.transport.*."
    rate, start = f"rate of links, {basis}", f"latency of links, {basis}"
    yield Knob(f"{names} rate", f"bandwidth reached on {names}", spread, (f"{within}fraction",), rate)
    starts = tuple(within + part for part in _LATENCIES)
    yield Knob(f"{names} start", f"latency of exchanges on {names}", spread, starts, start)
    joined = network_preset(spec, known.collectives)
    between, what = "system.between.", f"{joined.name} between nodes"
    rate, start = f"rate of a network, {joined.basis}", f"latency of a network, {joined.basis}"
    yield Knob(
        f"{joined.name} network rate", f"bandwidth reached on {what}", _spread(joined), (f"{between}fraction",), rate
    )
    starts = tuple(between + part for part in (*_LATENCIES, "start_seconds"))
    yield Knob(f"{joined.name} network start", f"latency of exchanges on {what}", _spread(joined), starts, start)
    host, rates = spec.name, ("system.host_link_bytes_per_s", "system.host_memory_bytes_per_s")
    yield Knob(
        f"{spec.name} host", f"bandwidth between GPUs and the host of {host}", PRIORS["rule"], rates, "host links"
    )


MOST_EFFICIENCY = 1.05  # of a framework's kernels over those that are measured by themselves, which err by about 5 %
MOST_OFF = 2.0  # times and a fraction of, that counted bytes and efficiencies may be wrong
SOFTWARE_NUMBERS = (  # name, what it is, the class of its prior, other numbers that move with it
    ("gemm_efficiency", "efficiency of products", "efficiency", ()),
    ("memory_efficiency", "efficiency of other kernels", "efficiency", ()),
    ("attention_efficiency", "efficiency of attention", "efficiency", ()),
    ("host_seconds", "host time to launch a kernel", "host time", ()),
    ("optimizer_host_seconds", "host time to launch a kernel of the optimizer", "host time", ()),
    ("step_seconds", "fixed host time of a step", "host time", ()),
    ("synchronisation_seconds", "host time to read a value back", "host time", ()),
    ("adam_bytes_per_parameter", "memory traffic of the optimizer", "traffic", ()),
    ("loss_bytes_per_logit", "memory traffic of the loss", "traffic", ()),
    (
        "sharded_bytes_per_parameter", "memory traffic of gathered weights and gradients", "traffic",
        ("accumulation_bytes_per_parameter",),
    ),
)  # fmt: skip


def _of_software(software: Software, known: "Catalogue", is_mapped: bool) -> Iterator[Knob]:
    spec, owner = known.software_spec(software.key), software.key + (UNLIKE if is_mapped else "")
    for quantity, what, kind, others in SOFTWARE_NUMBERS:
        paths = tuple(f"software.{name}" for name in (quantity, *others))
        name = f"{what} in {software.name}"
        widest = WIDEST if kind == "host time" else MOST_OFF
        most = max(MOST_EFFICIENCY / getattr(software, quantity), 1.0) if kind == "efficiency" else widest
        spread = _told(spec, quantity, kind)
        yield Knob(f"{owner} {quantity}", name, spread, paths, f"{what}, software", 1.0 / widest, most)


def _shared(known: "Catalogue") -> Iterator[Knob]:
    spec = known.calibration_spec()
    held = known.calibration().communication_multiprocessor_share
    for quantity, what, most in (
        ("communication_multiprocessor_share", "multiprocessors that exchanges hold", _MOST_SHARE / max(held, 1e-9)),
        ("rank_jitter", "jitter between ranks", WIDEST),
        ("gather_bandwidth_share", "share of memory bandwidth of embedding look-ups", WIDEST),
        ("optimizer_bandwidth_share", "share of memory bandwidth of the optimizer", WIDEST),
        ("column_sum_share", "share of memory bandwidth of bias gradients", WIDEST),
        ("misaligned_flops_per_clock", "rate of products with odd dimensions", WIDEST),
        ("column_seconds_per_row", "gradients of an eager norm's scale and shift", WIDEST),
        ("attention_pre_hopper_share", "rate of older attention kernels on Hopper and later", WIDEST),
        ("attention.backward_share", "rate of attention's backward pass over its forward pass", WIDEST),
    ):
        limit = min(WIDEST, max(most, 1.0))
        yield Knob(quantity, what, _told(spec, quantity), (f"calibration.{quantity}",), quantity, most=limit)


def _of_workload(workload: Workload) -> Iterator[Knob]:
    least = max(1.0 / WIDEST, 1.0 / float(workload.expert_imbalance))  # the busiest rank has the mean at least
    name = "tokens of the busiest experts' GPU over the mean"
    yield Knob("imbalance", name, PRIORS["assumed"], ("workload.expert_imbalance",), "imbalance", least=least)


def _spread(entry: Rule | Preset | NetworkPreset | None) -> float:
    """Of what a rule or a preset says: its fit's error, else by its basis."""
    if entry is None:
        return PRIORS["assumed"]
    return PRIORS[entry.basis] if entry.error_percent is None else entry.error_percent / 100.0


def _told(spec: Sourced, quantity: str, kind: str = "") -> float:
    """Of a number in a file: what [spread] tells, else by [basis], of the key, its table or all."""
    keys = (quantity, quantity.partition(".")[0], "*")
    if found := [spec.spread[key] for key in keys if key in spec.spread]:
        return found[0]
    basis = next((spec.basis[key] for key in keys if key in spec.basis), "fitted")
    return PRIORS.get(f"{basis} {kind}".strip(), PRIORS.get(basis, PRIORS["assumed"]))
