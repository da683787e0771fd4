"""The Nvidia card that is measured, as PyTorch drives it."""

import gc
import math
import time
from typing import Any

from perfsim.errors import InputError

CACHES_BETWEEN = 3.0  # caches' worth of other operands that lie between two uses of a set
MOST_SETS = 64
SPIN_HZ = 2.0e9


class Card:
    """A card: its clock, its memory, and random operands on it.

    name, uuid; multiprocessors; capability: compute capability (major, minor); memory_bytes, l2_bytes [B].
    """

    def __init__(self, index: int = 0) -> None:
        import torch

        self.torch: Any = torch
        self.device = torch.device("cuda", index)
        torch.cuda.set_device(self.device)
        found = torch.cuda.get_device_properties(self.device)
        self.name: str = found.name
        uuid = str(getattr(found, "uuid", ""))
        self.uuid = uuid if uuid.startswith(("GPU-", "MIG-")) or not uuid else f"GPU-{uuid}"
        self.multiprocessors: int = found.multi_processor_count
        self.capability: tuple[int, int] = (found.major, found.minor)
        self.memory_bytes: int = found.total_memory
        self.l2_bytes: int = getattr(found, "L2_cache_size", 0) or 50 * 2**20

    def now(self) -> float:
        """The host's time [s]."""
        return time.perf_counter()

    def mark(self) -> Any:
        """An event in the queue."""
        event = self.torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def wait(self, mark: Any) -> None:
        """Return when the GPU has passed the mark."""
        mark.synchronize()

    def seconds(self, first: Any, last: Any) -> float:
        """Time of the GPU between two marks [s]."""
        return float(first.elapsed_time(last)) / 1e3

    def spin(self, seconds: float) -> None:
        """Keep the GPU busy for about so long [s] without memory traffic."""
        self.torch.cuda._sleep(int(seconds * SPIN_HZ))

    def sync(self) -> None:
        """Return when the GPU has nothing left to do."""
        self.torch.cuda.synchronize()

    def free_bytes(self) -> float:
        """Memory that a tensor can still get [B], what the allocator holds unused with it."""
        cuda = self.torch.cuda
        return float(cuda.mem_get_info()[0] + cuda.memory_reserved() - cuda.memory_allocated())

    def allocated_bytes(self) -> int:
        """Memory of live tensors [B]."""
        return int(self.torch.cuda.memory_allocated())

    def peak_bytes(self) -> tuple[int, int]:
        """The most memory since `reset_peaks` that tensors had, and that the allocator held for them [B]."""
        return int(self.torch.cuda.max_memory_allocated()), int(self.torch.cuda.max_memory_reserved())

    def reset_peaks(self) -> None:
        """Peaks count from here."""
        self.torch.cuda.reset_peak_memory_stats()

    def release(self) -> None:
        """Give back what is no longer used."""
        gc.collect()
        self.torch.cuda.empty_cache()

    def sets(self, bytes_per_set: float) -> int:
        """How many sets of operands must take turns so that none is still in the cache when its turn comes."""
        wanted = math.ceil(CACHES_BETWEEN * self.l2_bytes / bytes_per_set)
        return int(max(1, min(wanted, MOST_SETS, 0.4 * self.free_bytes() / bytes_per_set)))

    def dtype(self, number_format: str) -> Any:
        """PyTorch's type of a number format; tf32 is a way to multiply fp32."""
        torch = self.torch
        return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(number_format, torch.float32)

    def multiplies(self, number_format: str) -> None:
        """Lets products of fp32 values run in TF32, or not."""
        self.torch.set_float32_matmul_precision("high" if number_format == "tf32" else "highest")

    def randn(self, number_format: str, *shape: int) -> Any:
        """Normal random values: zeros and constants would draw less power and run at a higher clock."""
        return self.torch.randn(*shape, device=self.device, dtype=self.dtype(number_format))

    def randint(self, most: int, *shape: int) -> Any:
        """Random whole numbers below `most`."""
        return self.torch.randint(0, most, shape, device=self.device)


def open_card(index: int = 0) -> Card:
    """The card that PyTorch calls `index`.

    Raises: InputError where PyTorch or a card is missing.
    """
    count_cards()
    return Card(index)


def count_cards() -> int:
    """How many cards PyTorch sees.

    Raises: InputError where PyTorch or a card is missing.
    """
    torch = load_torch()
    if not torch.cuda.is_available() or torch.version.hip:
        how = "" if torch.version.cuda else ": this PyTorch is built without CUDA"
        raise InputError(f"no Nvidia GPU found{how}; run it on a machine whose nvidia-smi lists one")
    return int(torch.cuda.device_count())


def load_torch() -> Any:
    """PyTorch.

    Raises: InputError that names the extra to install.
    """
    try:
        import torch
    except ImportError:
        raise InputError("measuring needs PyTorch; install it with: pip install 'perfsim[measure]'") from None
    return torch
