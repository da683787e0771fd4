"""What a job needs of a card's software, and what of it a card lacks."""

from dataclasses import dataclass

import numpy as np

from perfsim.core.hardware import Gpu
from perfsim.core.numbers import Bools
from perfsim.core.software import OTHER_FRAMEWORKS, Software
from perfsim.core.workload import Task, Workload

TORCH_COMPILE_SINCE = "2023-03-15"  # PyTorch 2.0; compilers before it had no Triton
_KERNELS = {
    "flash-1": "flash-attention-1",
    "flash-2": "flash-attention-2",
    "flash-3": "flash-attention-3",
    "cudnn": "cudnn-attention",
}
_RECIPES = {"fp8": "fp8", "nvfp4": "nvfp4", "mxfp4": "mxfp4"}  # of precisions
_OWN_NF4 = ("torchtune",)  # frameworks that quantise to 4 bits without bitsandbytes


@dataclass(frozen=True)
class Verdict:
    """A card's software in a sentence; lacking: what of a job's needs it has not, as specs/support calls it."""

    sentence: str
    lacking: tuple[str, ...] = ()


def attention_needs(workload: Workload, software: Software) -> tuple[str, ...]:
    """The attention kernel that the software calls, if it is one that only some cards run; PyTorch finds its own."""
    kernel = _KERNELS.get(software.attention) if workload.model.has_attention else None
    return (kernel,) if kernel else ()


def library_needs(workload: Workload, software: Software) -> tuple[str, ...]:
    """What else the job needs besides units for its products: a recipe, a compiler, a quantiser."""
    found = []
    is_torch = software.framework not in OTHER_FRAMEWORKS
    if workload.precision.key in _RECIPES:
        found.append(_RECIPES[workload.precision.key])
    if is_torch and software.fusion == "compiled" and software.last_release >= TORCH_COMPILE_SINCE:
        found.append("torch-compile")
    if is_torch and workload.task is Task.QLORA and software.framework not in _OWN_NF4:
        found.append("bitsandbytes-4bit")
    return tuple(found)


def lacks_units(workload: Workload, gpu: Gpu) -> Bools:
    """The card has no units for the products' format [cards]."""
    lacks: Bools = np.asarray(gpu.peak_flops_per_s[workload.precision.matmul]) <= 0.0
    return lacks


def lacks_any(gpu: Gpu, needs: tuple[str, ...]) -> Bools:
    """Something of `needs` is known not to run on the card [cards]; the unknown may run."""
    lacks: Bools = np.asarray(False)
    for key in needs:
        lacks = lacks | np.asarray(gpu.lacks[key])
    return lacks


def is_older_than(software: Software, gpu: Gpu) -> Bools:
    """The software's period ended before any toolkit made code for the card [cards]."""
    is_older: Bools = np.asarray(gpu.first_code_day) > _ordinal(software.last_release)
    return is_older


def verdict(gpu: Gpu, workload: Workload | None = None, software: Software | None = None) -> Verdict:
    """What a card's software can do in a sentence, and what of the job's needs it lacks.

    >>> import perfsim as ps
    >>> verdict(ps.gpu("T4"), ps.workload("gpt2", precision="bf16"), ps.software("megatron-core")).lacking
    ('bf16', 'cudnn-attention')
    """
    lacking: list[str] = []
    if workload is not None and lacks_units(workload, gpu):
        lacking.append(workload.precision.matmul)
    if workload is not None and software is not None:
        needs = (*attention_needs(workload, software), *library_needs(workload, software))
        lacking += [key for key in needs if gpu.lacks[key] and key not in lacking]
    if software is not None and is_older_than(software, gpu):
        lacking.append(f"releases of {software.key}")
    return Verdict(gpu.software_verdict, tuple(lacking))


def _ordinal(day: str) -> int:
    return int((np.datetime64(day) - np.datetime64("0001-01-01")).astype(int)) + 1
