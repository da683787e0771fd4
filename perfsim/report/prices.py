"""Offers as a table, and what a file of prices has that is not used."""

from collections.abc import Iterable, Iterator
from typing import Any

from perfsim.core.offers import Offer, PriceTable
from perfsim.units import printable

MOST_NAMES = 12


def offer_rows(offers: Iterable[Offer]) -> list[dict[str, Any]]:
    """The cheapest offer of every card, kind and number of GPUs in a machine, by card."""
    cheapest: dict[tuple[str, str, int], Offer] = {}
    for offer in sorted(offers, key=lambda o: (o.gpu, o.kind, o.gpus, o.usd, o.instance, o.place)):
        cheapest.setdefault((offer.gpu, offer.kind, offer.gpus), offer)
    return [
        {
            "card": offer.gpu,
            "kind": offer.kind,
            "gpus": offer.gpus or "each",
            "usd": offer.usd,
            "usd_per_gpu": offer.usd_per_gpu,
            "instance": offer.instance or offer.system,
            "region": offer.place,
            "date": offer.date or "undated",
        }
        for offer in cheapest.values()
    ]


def unused_lines(table: PriceTable) -> Iterator[str]:
    """What the file has that perfsim does not use, counted: names of no card, names of several, other rows."""
    yield from _named("name no card", {printable(name): rows for name, rows in table.unknown.items()})
    several = {printable(f"{name} ({', '.join(keys)})"): rows for (name, keys), rows in table.unclear.items()}
    yield from _named("can be several cards", several)
    yield from (f"{_rows(rows)} {printable(reason)}" for reason, rows in sorted(table.unused.items()))


def _named(what: str, rows: dict[str, int]) -> Iterator[str]:
    if rows:
        names = sorted(rows, key=lambda name: (-rows[name], name))
        more = f" and {len(names) - MOST_NAMES} more names" if len(names) > MOST_NAMES else ""
        listed = ", ".join(f"{name}: {rows[name]:,}" for name in names[:MOST_NAMES])
        few = sum(rows.values())
        yield f"{_rows(few)} {what.replace('name ', 'names ', 1) if few == 1 else what}: {listed}{more}"


def _rows(number: int) -> str:
    return f"{number:,} row{'s' * (number != 1)}"
