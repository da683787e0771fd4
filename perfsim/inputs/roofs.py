"""What a card's roofs rest on, and whether a card can run a job's number format and libraries at all."""

from collections.abc import Mapping
from dataclasses import replace

from perfsim.core.hardware import Gpu
from perfsim.core.software import Software
from perfsim.core.workload import PRECISIONS, Workload
from perfsim.errors import InputError
from perfsim.formulas.needs import attention_needs, lacks_units, library_needs
from perfsim.graphs.points import Roofline
from perfsim.inputs.calibration import deciding_rules
from perfsim.inputs.catalogue import Catalogue
from perfsim.units import printable

USUAL_PRECISIONS = ("amp-bf16", "amp-fp16", "fp32")
_DATASHEET_KEYS = {"compute": "peak_tflops", "attention": "peak_tflops", "dram": "memory_bandwidth_gb_per_s"}


def usual_precision(gpu: Gpu) -> str:
    """amp-bf16 where the card has bf16, else amp-fp16, else fp32.

    >>> import perfsim as ps
    >>> usual_precision(ps.gpu("RTX 3090")), usual_precision(ps.gpu("T4"))
    ('amp-bf16', 'amp-fp16')
    """
    return next(key for key in USUAL_PRECISIONS if _has(gpu, key))


def check_card(workload: Workload, gpu: Gpu, software: Software) -> None:
    """Refuses a number format or a library that the card cannot run.

    Raises: InputError that lists all.
    """
    found = []
    precision = workload.precision
    if lacks_units(workload, gpu):
        able = ", ".join(key for key in PRECISIONS if _has(gpu, key))
        found.append(f"--precision: {printable(gpu.name)} has no units for {precision.matmul}; write one of {able}")
    needs = (*attention_needs(workload, software), *library_needs(workload, software))
    if lacking := ", ".join(key for key in needs if gpu.lacks[key]):
        what = f"needs {lacking}, which {printable(gpu.name)} cannot run"
        found.append(f"--software: {what} (perfsim support); choose another software, precision or task")
    if found:
        raise InputError("\n".join(found))


def with_sources(found: Roofline, catalogue: Catalogue) -> Roofline:
    """The same roofline, every roof with its datasheet's source and the basis and source of what is reached."""
    key = found.gpu.key
    spec, shared = catalogue.gpu_spec(key), catalogue.calibration_spec()
    rules = deciding_rules(key, spec, catalogue.rules)
    roofs = []
    for roof in found.roofs:
        rule = rules.get(roof.quantity)
        datasheet = _DATASHEET_KEYS.get(roof.kind, "")
        roofs.append(
            replace(
                roof,
                datasheet_source=_told(spec.sources, f"{datasheet}.{roof.format}", datasheet) if datasheet else "",
                basis=rule.basis if rule else _told(shared.basis, roof.quantity),
                source=rule.source if rule else _told(shared.sources, roof.quantity),
            )
        )
    return replace(found, roofs=tuple(roofs))


def _has(gpu: Gpu, precision: str) -> bool:
    return float(gpu.peak_flops_per_s[PRECISIONS[precision].matmul]) > 0.0


def _told(table: Mapping[str, str], *keys: str) -> str:
    """What a table of sources says of the first key that it has, else of all keys."""
    return next((table[key] for key in (*keys, "*") if key in table), "")
