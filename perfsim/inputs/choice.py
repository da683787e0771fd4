"""Which cards a name or a series means, and which systems a card is bought or rented in."""

import re
from collections.abc import Sequence

from perfsim.core.hardware import Gpu, System
from perfsim.core.offers import Offer
from perfsim.inputs.catalogue import MAX_BOX_GPUS, Catalogue
from perfsim.inputs.prices import with_prices

ALL = "all"


def cards_named(name: str, catalogue: Catalogue) -> tuple[Gpu, ...]:
    """The card called `name`, the cards of the series `name` ("RTX 40", "GTX 10 series"), or "all" of them.

    Raises: UnknownNameError with the nearest names.
    """
    series = _squeezed(name).removesuffix("series")
    cards = _cards(catalogue)
    if series == ALL:
        return cards
    members = tuple(card for card in cards if _squeezed(card.series) == series)
    return members or (catalogue.gpu(name),)


def systems_for(gpu: Gpu, counts: Sequence[int], catalogue: Catalogue, own: Sequence[Offer] = ()) -> tuple[System, ...]:
    """The systems that hold `counts` of a card: the smallest listed box or node for each, else a plain PCIe box.

    own: prices that come before those of the specs.
    """
    listed = catalogue.templates(gpu.key)
    chosen: dict[str, System] = {}
    for count in counts:
        holding = [system for system in listed if system.max_gpus >= count]
        whole = [system for system in holding if system.gpus_per_node >= count]
        if whole:
            least = min(int(system.gpus_per_node) for system in whole)
            best = [system for system in whole if system.gpus_per_node == least]
        else:
            best = holding or [catalogue.box(gpu, min(count, MAX_BOX_GPUS))]
        chosen |= {system.key: system for system in best}
    return tuple(with_prices(system, catalogue, own) for system in chosen.values())


def divisors_text(whole: int) -> str:
    """The divisors of a number in words, the smaller ones where there are many.

    >>> divisors_text(12)
    '1, 2, 3, 4, 6 or 12'
    """
    divisors = [n for n in range(1, min(whole, 4096) + 1) if whole % n == 0]
    if len(divisors) > 12:
        return f"a divisor, such as {', '.join(map(str, divisors[:12]))}"
    return f"{', '.join(map(str, divisors[:-1]))} or {divisors[-1]}" if len(divisors) > 1 else "1"


def _cards(catalogue: Catalogue) -> tuple[Gpu, ...]:
    return tuple(catalogue.gpu(key) for key in catalogue.names("gpus"))


def _squeezed(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.lower())
