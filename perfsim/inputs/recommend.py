"""What a person has and could have, as pools of cards to choose from."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from math import ceil, log, log2
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System
from perfsim.core.offers import Offer
from perfsim.core.plan import Plan
from perfsim.core.site import Site
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.errors import InputError, UnknownNameError
from perfsim.estimate import estimate
from perfsim.formulas.cost import has_price, rented_kind
from perfsim.inputs import explain
from perfsim.inputs.catalogue import MAX_BOX_GPUS, Catalogue
from perfsim.inputs.choice import ALL, cards_named, systems_for
from perfsim.inputs.intervals import of_sweep
from perfsim.inputs.knobs import knobs_of
from perfsim.inputs.options import split_count
from perfsim.inputs.power_limit import limit_range, with_power_limit
from perfsim.inputs.prices import read_all
from perfsim.inputs.scenario import Scenario, site_with
from perfsim.inputs.scenario_file import DEFAULT_SOFTWARE, SiteKeys
from perfsim.search.advice import enabling, turning
from perfsim.search.intervals import Intervals
from perfsim.search.question import Question
from perfsim.search.recommend import Choice, Forecast, Pool, Recommendation, Tenure, recommend, swept
from perfsim.search.sensitivity import Inputs, wrong_chance
from perfsim.search.space import Space, filled
from perfsim.search.sweep import Objective
from perfsim.search.uncertainty import gap_spread
from perfsim.units import HOUR, printable

BEYOND_LEAST = 8  # times the least number of GPUs that could do
MOST_GPUS = 16_384
POWER_SHARES = (0.8, 0.65)  # of the boards' own limit, which owned machines are tried at besides: chosen
_OPTIONS = {"deadline_hours": "--deadline", "budget_usd": "--budget", "usd_per_kwh": "--usd-per-kwh", "pue": "--pue"}
_HOURS = {
    "s": 1 / 3600,
    "m": 1 / 60,
    "min": 1 / 60,
    "h": 1.0,
    "hour": 1.0,
    "d": 24.0,
    "day": 24.0,
    "w": 168.0,
    "week": 168.0,
}


@dataclass(frozen=True)
class Ask:
    """A job, its limits (in the site), and the cards to choose from.

    owned: machines that are there, for electricity alone. rented: machines to rent, empty where that is not wanted.
    space: choices of plans that are fixed; counts of it are those to rent, chosen by the job where they are empty.
    """

    workload: Workload
    software: Software
    calibration: Calibration
    site: Site
    owned: tuple[System, ...] = ()
    rented: tuple[System, ...] = ()
    space: Space = field(default_factory=lambda: Space(counts=()))


def ask_of(
    job: Workload | Scenario, known: Catalogue, software: str | None = None, own: Sequence[str] = (),
    rent: Sequence[str] | None = (), max_gpus: int | None = None, prices: Sequence[Path] = (),
    **site: float | str | None,
) -> Ask:  # fmt: skip
    """What a job, alone or in a scenario, and a person's wishes ask for.

    own: sets of cards, or systems. rent: cards or series; () for all of the scenario, or all; None for none. prices:
    files that come before perfsim's. site: what differs from the scenario's, None for what does not.

    Raises: InputError, UnknownNameError.
    """
    asked = _site(Site() if isinstance(job, Workload) else job.site, {k: v for k, v in site.items() if v is not None})
    owned, offers = tuple(owned_system(name, known) for name in own), read_all(prices, known)
    if isinstance(job, Workload):
        every = powers_of_two(max_gpus or MOST_GPUS)
        rented = () if rent is None else rentable(rent or (ALL,), every, known, asked, offers)
        space = Space(counts=powers_of_two(max_gpus) if max_gpus else ())
        stack = known.software(software or DEFAULT_SOFTWARE)
        return Ask(job, stack, known.calibration(), asked, owned, rented, space)
    counts = tuple(n for n in job.space.counts if not max_gpus or n <= max_gpus)
    if not counts:
        least = min(job.space.counts)
        raise InputError(f"--max-gpus: {max_gpus} is below all counts of the scenario; write {least} or more")
    if rent is None:
        rented = ()
    elif rent or offers:
        named = rent or [*dict.fromkeys(system.gpu.key for system in job.systems)]
        rented = rentable(named, counts, known, asked, offers)
    else:
        rented = _priced(job.systems, counts, asked)
    stack = known.software(software) if software else job.software
    return Ask(job.workload, stack, job.calibration, asked, owned, rented, replace(job.space, counts=counts))


def _site(site: Site, wishes: Mapping[str, float | str]) -> Site:
    """The site with a person's wishes, which are keys of a scenario's [site].

    Raises: InputError that lists every wish that cannot be had.
    """
    try:
        asked = site_with(site, SiteKeys.model_validate(dict(wishes)))
    except ValidationError as error:
        raise explain.input_error(explain.explain(error, SiteKeys), _OPTIONS) from None
    if asked.price not in ("rent", "spot"):
        todo = "leave it out, or write rent or spot; cards that are there are told by --own"
        raise InputError(f"site.price: {asked.price} says that all cards are there; {todo}")
    return asked


def hours_of(text: str) -> float:
    """A time that a person wrote, in hours.

    Raises: InputError.

    >>> hours_of("6h"), hours_of("90 min"), hours_of("30 days"), hours_of("2.5")
    (6.0, 1.5, 720.0, 2.5)
    """
    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([a-z]*)\s*", text.lower(), re.ASCII)
    size = _HOURS.get(found[2] or "h") or _HOURS.get(found[2].removesuffix("s")) if found else None
    if found is None or size is None or not 0.0 < float(found[1]) * size <= 1e7:
        raise InputError(f"--deadline: {text[:40]!r} is no time; write such as 6h, 90min or 30days")
    return float(found[1]) * size


def owned_system(name: str, known: Catalogue) -> System:
    """The machine that "2x RTX 3090", a card's or a system's name means: it holds that many GPUs and no more.

    Raises: InputError, UnknownNameError.
    """
    count, card = split_count(name)
    if "+" in name:
        todo = "name sets of like cards one by one, or cost the mix with `perfsim estimate --gpu`"
        raise InputError(f"--own: {printable(name)}: cards of several kinds in one machine are not searched; {todo}")
    if count is not None and not 1 <= count <= MOST_GPUS:
        raise InputError(f"--own: {printable(name)}: {count:,} GPUs; write a number from 1 to {MOST_GPUS:,}")
    if not known.candidates("gpus", card) and known.candidates("systems", card):
        system = known.system(card)
        count = count or int(system.gpus_per_node)
    else:
        try:
            system = systems_for(known.gpu(card), [count or 1], known)[0]
        except UnknownNameError as error:
            raise UnknownNameError(f"--own: {error}") from None
    if (count or 1) > system.max_gpus:
        todo = "name the system with --own SYSTEM, or fewer"
        raise InputError(f"--own: {count:,} GPUs are more than {system.name} can hold; {todo}")
    return replace(system, max_gpus=count or 1)


def rentable(
    names: Sequence[str], counts: Sequence[int], known: Catalogue, site: Site, own: Sequence[Offer] = ()
) -> tuple[System, ...]:
    """The machines with cards of these names that the site's kind of rent is known for; prices of `own` come first.

    Raises: UnknownNameError; InputError when no price of any is known.
    """
    offered = {offer.gpu for offer in (*own, *known.offers) if offer.kind == rented_kind(site)}
    cards = dict.fromkeys(gpu.key for name in names for gpu in cards_named(name, known))
    machines = (systems_for(known.gpu(key), counts, known, own) for key in cards if key in offered)
    found = _priced([*chain.from_iterable(machines)], counts, site)
    if not found:
        named = printable(", ".join(names))
        raise InputError(f"--gpu: no price to rent {named} is known; `perfsim specs prices` shows prices")
    return found


def _priced(systems: Sequence[System], counts: Sequence[int], site: Site) -> tuple[System, ...]:
    """Those with a price for one of the counts."""
    return tuple(system for system in systems if np.any(has_price(system, np.array(counts), site)))


def recommended(ask: Ask, known: Catalogue) -> Recommendation:
    """The best sets of cards for a job, with what would change the cheapest, or what would make one possible.

    Raises: InputError when there are no cards to choose from.
    """
    forecast: Forecast = partial(_forecast, known)
    pools = [*(_pool("owned", ask, _at_limits(system, ask.calibration)) for system in ask.owned)]
    if ask.rented:
        pools.append(_pool("rented", ask, ask.rented))
    if not pools:
        raise InputError("no cards to choose from: say what is there with --own, or let cards be rented")
    found = recommend(pools, forecast)
    if found and not ask.space.counts:
        found = replace(recommend([*pools, *_between(found["smallest"], ask)], forecast), asked=len(pools))
    if not found:
        rented = None if ask.rented else partial(_rented, ask, known)
        return replace(found, changes=tuple(enabling(found, rented, partial(_more, ask, known), forecast)))
    best, other = found.choices["cheapest"]
    overtaken = _overtaken(best, other, known) if other else 0.0
    return replace(found, changes=tuple(turning(found, forecast)), overtaken=overtaken)


def _at_limits(system: System, calibration: Calibration) -> tuple[System, ...]:
    """A machine of one's own, also at the lower power limits that are tried, as far as its cards can hold them."""
    least, most = limit_range(system.gpu, calibration.control)
    limits = (float(round(share * most)) for share in POWER_SHARES)
    return (system, *(with_power_limit(system, watts, calibration.control) for watts in limits if watts >= least))


def _pool(
    tenure: Tenure, ask: Ask, systems: Sequence[System], counts: Sequence[int] = (),
    simulated: Sequence[Objective] = ("money", "time"),
) -> Pool:  # fmt: skip
    """The machines, swept over the counts that there are or that the job may need."""
    site, space = ask.site, ask.space
    if tenure == "owned":
        site = replace(site, price="electricity")
        counts = counts or powers_of_two(max(int(system.max_gpus) for system in systems))
    counts = counts or space.counts or _counts_to_try(ask, systems)
    chunks = space.virtual_stages or (() if max(counts) > MAX_BOX_GPUS else (1,))
    space = filled(replace(space, counts=tuple(counts), virtual_stages=chunks), ask.workload, systems)
    question = Question(ask.workload, ask.software, ask.calibration, tuple(systems), space, site)
    return swept(tenure, question, simulated)


def _counts_to_try(ask: Ask, systems: Sequence[System]) -> tuple[int, ...]:
    """Powers of two, up to a machine of eight or, for jobs that need more, a few times the least that could do.

    At least: its states lie in the memory of so many of the fastest card, and its products run in time at their peak.
    """
    rate = ask.workload.precision.matmul
    fastest = max(systems, key=lambda system: float(system.gpu.peak_flops_per_s[rate]))
    found = estimate(ask.workload, fastest, Plan(), ask.software, ask.calibration, ask.site)
    whole = found.memory.fullest
    least = float((whole.weights_bytes + whole.gradients_bytes + whole.optimizer_bytes) / found.memory_capacity_bytes)
    peak = float(fastest.gpu.peak_flops_per_s[rate])
    if ask.site.deadline_hours and peak:
        seconds = float(found.model_flops * ask.workload.steps) / peak
        least = max(least, seconds / (ask.site.deadline_hours * HOUR))
    if least <= MAX_BOX_GPUS / 2:
        return powers_of_two(MAX_BOX_GPUS)
    most = min(BEYOND_LEAST * 2 ** ceil(log2(least)), MOST_GPUS)
    return tuple(count for count in powers_of_two(most) if 2 * count > least)


def _between(smallest: Choice, ask: Ask) -> list[Pool]:
    """Numbers of GPUs between the least power of two that does and half of it, in whole nodes beyond one."""
    system, plan, _ = smallest.parts
    gpus, node = int(plan.gpus), int(system.gpus_per_node)
    step = max(1, gpus // 8) if gpus <= node else node * ceil(gpus / node / 8)
    counts = tuple(range(gpus // 2 + step, gpus, step))
    return [_pool(smallest.tenure, ask, (system,), counts, ("money",))] if counts else []


def _rented(ask: Ask, known: Catalogue) -> Pool:
    """All cards that could be rented."""
    return _pool("rented", ask, rentable((ALL,), powers_of_two(MOST_GPUS), known, ask.site))


def _more(ask: Ask, known: Catalogue, times: int) -> Pool | None:
    """Times as many of the cards: to rent where they are rented, else as if one owned them."""
    if ask.rented:
        most = max(ask.space.counts or _counts_to_try(ask, ask.rented))
        holding = tuple(system for system in ask.rented if system.max_gpus >= times * most)
        return _pool("rented", ask, holding, (times * most,)) if holding else None
    system = max(ask.owned, key=lambda one: int(one.max_gpus))
    count = times * int(system.max_gpus)
    larger = systems_for(system.gpu, [count], known)[0]
    return _pool("owned", ask, (larger,), (count,)) if larger.max_gpus >= count else None


def _overtaken(best: Choice, other: Choice, known: Catalogue) -> float:
    """The chance that the other one is the cheaper in truth: dollars go by seconds, whose errors they partly share."""
    one, two = _inputs(best), _inputs(other)
    spread = gap_spread(one, two, knobs_of(one, known), knobs_of(two, known), known.spreads)
    gap = log(other.figure("job_usd") / best.figure("job_usd"))
    return wrong_chance(gap, spread)


def _inputs(choice: Choice) -> Inputs:
    system, plan, _ = choice.parts
    sweep = choice.pool.sweep
    return Inputs(sweep.workload, system, plan, sweep.software, sweep.calibration)


def _forecast(known: Catalogue, wanted: Sequence[tuple[Pool, int]]) -> list[Intervals]:
    """The intervals of rows of pools, in their order."""
    found: dict[tuple[int, int], Intervals] = {}
    for pool in {id(pool): pool for pool, _ in wanted}.values():
        rows = [row for own, row in wanted if own is pool]
        found |= {(id(pool), row): one for row, one in zip(rows, of_sweep(pool.sweep, rows, known), strict=True)}
    return [found[id(pool), row] for pool, row in wanted]


def powers_of_two(most: int) -> tuple[int, ...]:
    """1, 2, 4 ... and `most` itself.

    >>> powers_of_two(6)
    (1, 2, 4, 6)
    """
    return (*(2**n for n in range(most.bit_length()) if 2**n < most), most)
