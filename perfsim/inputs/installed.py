"""Which card of the specs an installed card is."""

from perfsim.errors import InputError
from perfsim.inputs.catalogue import Catalogue
from perfsim.inputs.gpu import GpuSpec
from perfsim.units import GIB, printable

MEMORY_TOLERANCE = 0.15  # the driver keeps some of it, with error correction more


def installed_gpu(catalogue: Catalogue, name: str, memory_bytes: float, multiprocessors: int) -> str:
    """The key of the card that the driver calls `name`, told by memory [B] and multiprocessors where several fit.

    Raises: InputError that says how to add the card.
    """
    keys = catalogue.candidates("gpus", name)
    fitting = [key for key in keys if _fits(catalogue.gpu_spec(key), memory_bytes, multiprocessors)]
    if len(fitting) == 1:
        return fitting[0]
    shown = f"{printable(name)} ({multiprocessors} multiprocessors, {memory_bytes / GIB:.1f} GiB)"
    if keys:
        what = f"{shown} is not quite {' or '.join(keys)}; a slice of a card (MIG, vGPU) cannot be measured"
    else:
        what = f"{shown} is not among the cards of the specs"
    nearest = (keys or catalogue.nearest(name, ("gpus",)) or ["l4"])[0]
    raise InputError(
        f"{what}; to add it, copy perfsim's specs/gpus/{nearest}.toml to FOLDER/gpus/NEWNAME.toml, fill in its "
        f'datasheet and aliases = ["{printable(name)}"], give --specs FOLDER (see docs/contributing.md)'
    )


def _fits(spec: GpuSpec, memory_bytes: float, multiprocessors: int) -> bool:
    is_alike = abs(memory_bytes / (spec.memory_gib * GIB) - 1.0) <= MEMORY_TOLERANCE
    return is_alike and spec.multiprocessors == multiprocessors
