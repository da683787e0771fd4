"""What the errors on the shipped runs may reach, recorded from what they were: a change that makes them worse shows."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from perfsim.calibration.accuracy import Accuracy, Group

Quantity = Literal["step time", "peak memory"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
GUARDED = ("set", "source", "gpu", "software")  # kinds of groups
FEWEST = 10  # measurements of a group that no set names
MARGIN = 0.005  # that a budget is above the recorded figure, which is then rounded up to the next 0.001
RECORD = "perfsim validate --record scenarios/validation/budgets.csv"


@dataclass(frozen=True)
class Budget:
    """What a group's mean error and its bias, in size, may reach [shares of one]; count: its measurements."""

    kind: str
    group: str
    quantity: Quantity
    count: int
    mape: float
    bias: float


def record(accounts: Mapping[str, Sequence[Group]]) -> list[Budget]:
    """The present figures of every guarded group as budgets; `accounts` as accuracy.summaries has them."""
    found = []
    for (kind, name, quantity), now in _figures(accounts).items():
        if now.mean is not None and now.bias is not None and (now.count >= FEWEST or kind == "set"):
            found.append(Budget(kind, name, quantity, now.count, _rounded(now.mean), _rounded(abs(now.bias))))
    return found


def worse(budgets: Sequence[Budget], accounts: Mapping[str, Sequence[Group]]) -> Iterator[str]:
    """A sentence for each budget that is exceeded or lost measurements, and for each guarded group without one."""
    figures = _figures(accounts)
    for one in budgets:
        name = f"{one.kind} {one.group}, {one.quantity}"
        now = figures.get((one.kind, one.group, one.quantity), Accuracy(0, None, None, None, None))
        if now.count < one.count:
            yield f"{name}: {now.count:,} measurements are compared where {one.count:,} were"
        if now.mean is not None and now.mean > one.mape:
            yield f"{name}: MAPE {100 * now.mean:.2f} % is over its budget of {100 * one.mape:.1f} %"
        if now.bias is not None and abs(now.bias) > one.bias:
            yield f"{name}: bias {100 * now.bias:+.2f} % is beyond its budget of {100 * one.bias:.1f} % either way"
    known = {(one.kind, one.group, one.quantity) for one in budgets}
    for new in record(accounts):
        if (new.kind, new.group, new.quantity) not in known:
            yield f"{new.kind} {new.group}, {new.quantity}: has no budget"


def _figures(accounts: Mapping[str, Sequence[Group]]) -> dict[tuple[str, str, Quantity], Accuracy]:
    """The accuracy of each group of the guarded kinds, by kind, name and quantity; all runs count as a set."""
    found: dict[tuple[str, str, Quantity], Accuracy] = {}
    for kind in GUARDED:
        for group in accounts[kind]:
            if kind == "set" or group.name != "all":
                found[kind, group.name, "step time"] = group.time
                found[kind, group.name, "peak memory"] = group.memory
    return found


def _rounded(share: float) -> float:
    """The figure with its margin, rounded up.

    >>> _rounded(0.0732), _rounded(0.0)
    (0.079, 0.005)
    """
    return math.ceil(round(1000.0 * (share + MARGIN), 6)) / 1000.0
