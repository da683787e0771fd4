"""On what was measured: card, driver, limits, versions. No name of a machine, a user or a folder."""

import platform
from typing import Any

from perfsim import __version__
from perfsim.measure.board import Board
from perfsim.measure.card import Card
from perfsim.units import GIB, MIB


def environment(card: Card, board: Board, gpu: str, day: str) -> dict[str, Any]:
    """What environment.json holds; gpu: the card's key, day: the ISO date."""
    torch = card.torch
    has_nccl = torch.distributed.is_available() and torch.distributed.is_nccl_available()
    return {
        "gpu": gpu,
        "name": card.name,
        "multiprocessors": card.multiprocessors,
        "compute_capability": ".".join(map(str, card.capability)),
        "memory_gib": round(card.memory_bytes / GIB, 2),
        "l2_mib": round(card.l2_bytes / MIB, 1),
        **board.facts(),
        **{f"{name}_at_start": value for name, value in vars(board.read()).items()},
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if has_nccl else None,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "perfsim": __version__,
        "date": day,
    }
