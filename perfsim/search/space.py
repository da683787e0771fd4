"""Which plans a search considers: the values that each choice may take, and the open grid they span."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from perfsim.core.hardware import System
from perfsim.core.plan import ContextExchange, Offload, Placement, Plan, Recompute, Schedule
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.formulas.stages import ends_counted


@dataclass(frozen=True)
class Space:
    """Every combination of these values is considered; an empty tuple is filled in by `filled`.

    data_parallel is what the other degrees leave of a count.
    """

    counts: tuple[int, ...]
    tensor_parallel: tuple[int, ...] = ()
    pipeline_parallel: tuple[int, ...] = ()
    context_parallel: tuple[int, ...] = (1,)
    expert_parallel: tuple[int, ...] = ()
    micro_batch_size: tuple[int, ...] = ()
    virtual_stages: tuple[int, ...] = ()
    zero_stage: tuple[int, ...] = ()
    hybrid_shard: tuple[int, ...] = (0,)
    recompute: tuple[int, ...] = ()
    recompute_layers: tuple[int, ...] = (0,)
    offload: tuple[int, ...] = (Offload.NONE,)
    schedule: tuple[int, ...] = ()
    placement: tuple[int, ...] = (Placement.DATA_INNER,)
    context_exchange: tuple[int, ...] = (ContextExchange.RING,)

    @property
    def size(self) -> int:
        """Plans for one system."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def shape(self) -> tuple[int, ...]:
        """Values of each choice, in the order of the fields."""
        return tuple(len(getattr(self, f.name)) for f in fields(self))


def filled(space: Space, workload: Workload, systems: Sequence[System]) -> Space:
    """The space with its empty choices filled in from what the model, the batch and the systems allow.

    Degrees: all that divide one of the counts, and the heads or experts; tensor parallel inside a domain of up to 16,
    stages up to one a layer, whether or not they divide the layers. Virtual stages: up to 16, where chunks come out
    even. Micro-batches: divisors of the global batch up to 64, powers of two up to 1,024. Context parallelism, hybrid
    shards, partial recomputation and other schedules are had by naming them.
    """
    model, most = workload.model, max(space.counts)
    layers = model.split_layers
    domain = max(int(np.max(system.gpus_per_domain)) for system in systems)

    def degrees(largest: int, whole: int) -> list[int]:
        upto = range(1, min(most, largest) + 1)
        return [n for n in upto if whole % n == 0 and any(count % n == 0 for count in space.counts)]

    tensor = degrees(min(domain, 16), model.split_heads)
    stages = [p for p in range(1, min(most, layers) + 1) if any(count % p == 0 for count in space.counts)]
    batch = int(np.max(workload.global_batch_size))
    micro = [b for b in range(1, min(batch, 1024) + 1) if batch % b == 0 and (b <= 64 or b & (b - 1) == 0)]
    experts = degrees(model.moe.experts, model.moe.experts) if model.moe else [1]
    pipelines = [p for p in space.pipeline_parallel or stages if p > 1]
    virtual = [v for v in range(1, 17) if v == 1 or any(_has_chunks(layers, p, v) for p in pipelines)]
    auto: dict[str, list[int]] = {
        "tensor_parallel": tensor,
        "pipeline_parallel": stages,
        "context_parallel": [1],
        "expert_parallel": experts,
        "micro_batch_size": micro,
        "virtual_stages": virtual,
        "zero_stage": [0, 1, 2, 3] if most > 1 else [0, 3] if Offload.PARAMETERS in space.offload else [0],
        "recompute": [int(r) for r in Recompute],
        "offload": [int(o) for o in Offload],
        "schedule": [Schedule.ONE_F_ONE_B],
        "placement": [int(p) for p in Placement] if pipelines else [Placement.DATA_INNER],
    }
    return replace(space, **{name: tuple(values) for name, values in auto.items() if not getattr(space, name)})


def grid(space: Space, software: Software) -> tuple[Plan, np.ndarray]:
    """(plans, counts) of a filled space as an open grid: each choice on an axis of its own, after one for systems.

    For costing all of them at once; a search does not need to (search.branch), and is held against it.
    """
    axes = np.ix_(np.zeros(1, dtype=np.int64), *(_values(space, name) for name in AXES))
    values = dict(zip(AXES, axes[1:], strict=True))
    return plans(values, software), values["counts"]


def plans(values: Mapping[str, np.ndarray], software: Software) -> Plan:
    """The plans with these values, by the names of a space's fields; what is not there has the plan's default.

    data_parallel is what the degrees leave of the counts. Sequence parallelism goes with tensor parallelism in software
    that has it.
    """
    given = {name: value for name, value in values.items() if name != "counts"}
    tensor = values.get("tensor_parallel", np.asarray(1))
    degrees = tensor * values.get("pipeline_parallel", 1) * values.get("context_parallel", 1)
    if "hybrid_shard" in given:
        given["hybrid_shard"] = np.where(given["zero_stage"] == 3, given["hybrid_shard"], 0)
    if "recompute_layers" in given:
        given["recompute_layers"] = np.where(given["recompute"] == Recompute.FULL, given["recompute_layers"], 0)
    return Plan(
        **given,
        data_parallel=np.maximum(1, values["counts"] // degrees),
        sequence_parallel=(tensor > 1) & software.has_sequence_parallel,
    )


@dataclass(frozen=True)
class Rows:
    """Plans, many or all of whose choices are made: of each, its system and the place of its values in the space.

    systems [plans]; places: by the names of the space's fields [plans].
    """

    systems: np.ndarray
    places: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.systems)

    def at(self, index: np.ndarray) -> "Rows":
        """The rows at an index or under a mask."""
        return Rows(self.systems[index], {name: place[index] for name, place in self.places.items()})

    def times(self, space: Space, names: Sequence[str]) -> "Rows":
        """Every row with every combination of the choices `names`."""
        lengths = [len(getattr(space, name)) for name in names]
        each, n = int(np.prod(lengths)), len(self)
        places = {name: np.repeat(place, each) for name, place in self.places.items()}
        new = np.unravel_index(np.arange(each), lengths)
        places |= {name: np.tile(place, n) for name, place in zip(names, new, strict=True)}
        return Rows(np.repeat(self.systems, each), places)

    def values(self, space: Space) -> dict[str, np.ndarray]:
        """The values of the choices that are made."""
        return {name: _values(space, name)[place] for name, place in self.places.items()}


AXES = tuple(f.name for f in fields(Space))


def _values(space: Space, name: str) -> np.ndarray:
    return np.asarray(getattr(space, name), dtype=np.int64)


def cut(space: Space, names: Sequence[str], most: int) -> Iterator[tuple[tuple[int, ...], Space]]:
    """(where it begins on each axis, a part of the space of at most `most` plans), cut along the choices `names`.

    The first of them that can be halved is; parts that are one value of each are as large as they are.
    """
    parts = [(tuple(0 for _ in space.shape), space)]
    while parts:
        first, part = parts.pop()
        name = next((n for n in names if len(getattr(part, n)) > 1), None)
        if part.size <= most or name is None:
            yield first, part
            continue
        values, axis = getattr(part, name), AXES.index(name)
        half = len(values) // 2
        behind = tuple(at + half * (k == axis) for k, at in enumerate(first))
        parts.append((behind, replace(part, **{name: values[half:]})))
        parts.append((first, replace(part, **{name: values[:half]})))


def _has_chunks(layers: int, stages: int, virtual_stages: int) -> bool:
    """Whether the layers can be cut into that many chunks, with or without the ends counted as layers."""
    chunks = stages * virtual_stages
    return chunks <= layers and (layers % chunks == 0 or bool(ends_counted(layers, stages, virtual_stages)))
