"""CSV files of prices: a person's own, SkyPilot's catalogues and gpuhunt's, as they are.

Prices that no one can mean stop the reading with their line. What a catalogue lists and perfsim cannot use (other
accelerators, names that several cards have, parts of a card) is counted by its reason.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

from perfsim.core.offers import Offer, OfferKind, PriceTable
from perfsim.errors import UnknownNameError
from perfsim.inputs.catalogue import Catalogue
from perfsim.inputs.price_names import Meant, Named, meaning
from perfsim.inputs.tables import Cells, Complaints, read_table

OWN = ("kind", "usd", "date", "source")
OWN_COLUMNS = (*OWN, "card", "system", "gpus", "instance", "region", "notes")
SKYPILOT = ("InstanceType", "AcceleratorName", "AcceleratorCount", "Price", "SpotPrice", "Region")
GPUHUNT = ("instance_name", "location", "price", "gpu_count", "gpu_name", "gpu_memory", "spot")
MAX_USD, MAX_GPUS = 1e7, 1024
_NUMBER = re.compile(r"\d{1,12}(\.\d{0,12})?|\.\d{1,12}", re.ASCII)


def read_prices(path: Path, catalogue: Catalogue, is_shipped: bool = False) -> PriceTable:
    """The offers of a CSV file in one of the three forms, told apart by its columns.

    Raises: InputError with the problems of the table and their lines.
    """
    rows = read_table(path, None, ())
    header = set(rows[0][1]) if rows else set()
    known = ((SKYPILOT, _skypilot_offers), (GPUHUNT, _gpuhunt_offers))
    form: Callable[..., Iterator[Offer]] | None
    form = next((form for columns, form in known if header >= set(columns)), None)
    if form is None:
        rows, form = read_table(path, OWN_COLUMNS, OWN), _own_offers
    complaints, table = Complaints(path), PriceTable(path)
    found = form(rows, table, catalogue, complaints)
    cheapest: dict[tuple[str, ...], Offer] = {}
    for offer in found:
        machine = (offer.kind, offer.gpu, str(offer.gpus), offer.system, offer.instance)
        other = cheapest.setdefault(machine, offer)
        cheapest[machine] = min(offer, other, key=lambda one: (one.usd, one.place, one.date, one.source))
    complaints.stop()
    file = "" if is_shipped else path.name
    offers = tuple(_filed(cheapest[key], file, path) for key in sorted(cheapest))
    return PriceTable(path, offers, table.unknown, table.unclear, table.unused)


def _filed(offer: Offer, file: str, path: Path) -> Offer:
    """The offer with its file; a catalogue's date is what its file's name tells."""
    told = re.search(r"(?<!\d)20\d\d-[01]\d-[0-3]\d(?!\d)", path.name, re.ASCII)
    date = offer.date or (told[0] if told else "")
    return replace(offer, file=file, date=date)


def _own_offers(
    rows: list[tuple[int, Cells]], table: PriceTable, catalogue: Catalogue, complaints: Complaints
) -> Iterator[Offer]:
    kinds: dict[str, OfferKind] = {kind: kind for kind in get_args(OfferKind)}
    for line, cells in rows:
        kind = kinds.get(cells["kind"])
        if kind is None:
            complaints.add(line, f"kind: {cells['kind'][:40]!r} is none", f"write {', '.join(kinds)}")
        for name in ("date", "source"):
            if not cells[name]:
                complaints.add(line, f"{name}: is empty", "say when and where the price was asked")
        usd = _dollars(line, "usd", cells, complaints)
        if usd == 0.0 and not cells["usd"].strip("0."):
            complaints.add(line, "usd: is empty or 0", "write dollars, or remove the row")
        whose = _own_name(line, cells, catalogue, complaints)
        if whose is None or kind is None:
            continue
        gpu, system, default = whose
        told = cells.get("gpus")
        gpus = int(_count(line, "gpus", told, complaints, is_whole=True)) if told else default
        if usd:
            yield Offer(
                kind, gpu, gpus, usd, system, cells.get("instance", ""), cells.get("region", ""), cells["date"],
                cells["source"],
            )  # fmt: skip


def _own_name(line: int, cells: Cells, catalogue: Catalogue, complaints: Complaints) -> tuple[str, str, int] | None:
    """(card, system, how many cards where the row does not say: a system's, each card by itself) of a row."""
    card, system = cells.get("card", ""), cells.get("system", "")
    if bool(card) == bool(system):
        complaints.add(line, "card, system: one of them says whose price it is", "name one of them")
        return None
    try:
        if card:
            return catalogue.find("gpus", card), "", 0
        key = catalogue.find("systems", system)
    except UnknownNameError as error:
        complaints.add(line, *str(error).split("; ", 1))
        return None
    spec = catalogue.system_spec(key)
    return spec.gpu, key, spec.gpus_per_node


def _skypilot_offers(
    rows: list[tuple[int, Cells]], table: PriceTable, catalogue: Catalogue, complaints: Complaints
) -> Iterator[Offer]:
    prices: Mapping[str, OfferKind] = {"Price": "on-demand", "SpotPrice": "spot"}
    of_card = cache(lambda named: meaning(named, catalogue))
    for line, cells in rows:
        name, instance, info = cells["AcceleratorName"], cells["InstanceType"], _info(cells)
        if not name:
            table.unused["without an accelerator"] += 1
            continue
        if not instance:
            table.unused["accelerators without their machine, which costs extra"] += 1
            continue
        gpus = _count(line, "AcceleratorCount", cells["AcceleratorCount"], complaints)
        usd = {kind: _dollars(line, column, cells, complaints) for column, kind in prices.items()}
        memory = re.search(r"SizeInMiB\W{1,4}(\d{1,9})", info, re.ASCII)
        also = re.search(r"""Name['"]+\s*:\s*['"]+([^'"]{1,80})""", info)
        named = Named(name, int(gpus), instance, also[1] if also else info[:80], float(memory[1]) if memory else None)
        place = cells.get("AvailabilityZone") or cells["Region"]
        yield from _priced(table, named, gpus, usd, place, of_card)


def _info(cells: Cells) -> str:
    return cells.get("GpuInfo") or cells.get("GPUInfo") or ""


def _gpuhunt_offers(
    rows: list[tuple[int, Cells]], table: PriceTable, catalogue: Catalogue, complaints: Complaints
) -> Iterator[Offer]:
    of_card = cache(lambda named: meaning(named, catalogue))
    for line, cells in rows:
        if not cells["gpu_name"] or cells["gpu_count"] in ("", "0"):
            table.unused["without an accelerator"] += 1
            continue
        gpus = _count(line, "gpu_count", cells["gpu_count"], complaints)
        kind: OfferKind = "spot" if cells["spot"].lower() == "true" else "on-demand"
        usd = {kind: _dollars(line, "price", cells, complaints)}
        gib = cells["gpu_memory"]
        memory = 1024 * float(gib) if _NUMBER.fullmatch(gib) else None
        named = Named(cells["gpu_name"], int(gpus), cells["instance_name"], memory_mib=memory)
        yield from _priced(table, named, gpus, usd, cells["location"], of_card)


def _priced(
    table: PriceTable, named: Named, gpus: float, usd: Mapping[OfferKind, float], place: str,
    of_card: Callable[[Named], Meant],
) -> Iterator[Offer]:  # fmt: skip
    """The offers of a catalogue's row, or a count of why there are none."""
    if not gpus.is_integer():
        table.unused["a part of a card"] += 1
    elif not any(usd.values()):
        table.unused["without a price"] += 1
    elif not (meant := of_card(named)).gpus:
        table.unknown[f"{named.name}, {meant.why}" if meant.why != "no such card" else named.name] += 1
    elif len(meant.gpus) > 1:
        table.unclear[named.name, meant.gpus] += 1
    else:
        for kind, price in usd.items():
            if price:
                yield Offer(kind, meant.gpus[0], int(gpus), price, meant.system, named.instance, place)


def _dollars(line: int, column: str, cells: Cells, complaints: Complaints) -> float:
    """A price [USD]; 0 where there is none."""
    text = cells[column]
    if not text:
        return 0.0
    usd = float(text) if _NUMBER.fullmatch(text) else -1.0
    if not 0.0 <= usd <= MAX_USD:
        complaints.add(line, f"{column}: {text[:40]!r} is no price", f"write dollars from 0 to {MAX_USD:,.0f}")
        return 0.0
    return usd


def _count(line: int, column: str, text: str, complaints: Complaints, is_whole: bool = False) -> float:
    """A number of cards, which may be a part of one in a catalogue; 1 where it is none, which is complained of."""
    count = float(text) if _NUMBER.fullmatch(text) else 0.0
    if not 0.0 < count <= MAX_GPUS or (is_whole and not count.is_integer()):
        complaints.add(line, f"{column}: {text[:40]!r} is no number of cards", f"write a number from 1 to {MAX_GPUS:,}")
        return 1.0
    return count
