"""What an estimate consists of: frozen records of named parts, each a scalar or an array over plans."""

from dataclasses import dataclass, fields
from functools import cached_property, reduce
from operator import add
from typing import Any

import numpy as np

from perfsim.core.numbers import Floats, Ints


class Parts:
    """A record whose fields add up to its total."""

    def parts(self) -> dict[str, Floats]:
        """The named parts, in the order of the fields."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    def _sum(self) -> Floats:
        total: Floats = reduce(add, self.parts().values())
        return total


@dataclass(frozen=True)
class StepTime(Parts):
    """Seconds of one optimizer step on the slowest rank; what runs beside something else is counted once."""

    forward_seconds: Floats
    backward_seconds: Floats
    recompute_seconds: Floats
    launch_seconds: Floats  # the GPU waiting for the host
    tensor_parallel_seconds: Floats
    context_parallel_seconds: Floats
    expert_parallel_seconds: Floats
    parameter_gather_seconds: Floats  # ZeRO-3 and ZeRO-1's all-gather, what sticks out of compute
    pipeline_bubble_seconds: Floats
    pipeline_send_seconds: Floats
    gradient_reduce_seconds: Floats
    optimizer_seconds: Floats
    offload_seconds: Floats  # copies from and to host memory, what sticks out, and the CPU's update
    host_seconds: Floats  # fixed work of a step: data, logging, synchronisation
    straggler_seconds: Floats  # waiting for the slowest rank

    @cached_property
    def total_seconds(self) -> Floats:
        """The step."""
        return self._sum()


@dataclass(frozen=True)
class Moment(Parts):
    """Bytes that the framework has allocated on one GPU at one moment of a step."""

    weights_bytes: Floats
    gradients_bytes: Floats
    optimizer_bytes: Floats
    activations_bytes: Floats  # kept for the backward pass, all micro-batches in flight
    passing_bytes: Floats  # gradients of activations, logits, what is being recomputed, the update's temporaries
    buffers_bytes: Floats

    @property
    def allocated_bytes(self) -> Floats:
        """All of them."""
        return self._sum()


MEMORY_PARTS = ("context_bytes", "collective_bytes", *(f.name for f in fields(Moment)), "fragmentation_bytes")


@dataclass(frozen=True)
class Memory:
    """The moments of a step at which a GPU can be fullest, on the stage that is fullest then, and what it needs in all.

    loss: the head's backward pass, on the last stage; backward: the first layer to go back, on the first stage;
    reduced: the last layer to go back, all gradients there; update: the optimizer's step.
    total_bytes: what nvidia-smi shows at most. host_bytes: what one GPU needs of its host's memory besides.
    """

    loss: Moment
    backward: Moment
    reduced: Moment
    update: Moment
    context_bytes: Floats
    collective_bytes: Floats
    total_bytes: Floats
    host_bytes: Floats

    @cached_property
    def fullest(self) -> Moment:
        """The moment with most allocated, number by number."""
        moments = (self.loss, self.backward, self.reduced, self.update)
        which = np.argmax(np.broadcast_arrays(*(moment.allocated_bytes for moment in moments)), axis=0)
        parts = ([getattr(moment, f.name) for moment in moments] for f in fields(Moment))
        return Moment(*(np.choose(which, part) for part in parts))

    @property
    def allocated_bytes(self) -> Floats:
        """What the framework's allocator counts as allocated at most."""
        return self.fullest.allocated_bytes

    @property
    def reserved_bytes(self) -> Floats:
        """What the framework's allocator takes from the driver."""
        return self.total_bytes - self.context_bytes - self.collective_bytes

    def parts(self) -> dict[str, Floats]:
        """The total in parts: the fullest moment, what lies outside the allocator, and what it keeps unused."""
        outside = (self.context_bytes, self.collective_bytes)
        unused = np.maximum(
            self.reserved_bytes - self.allocated_bytes, 0.0
        )  # sums in another order differ in last bits
        return dict(zip(MEMORY_PARTS, (*outside, *self.fullest.parts().values(), unused), strict=True))


@dataclass(frozen=True)
class Energy(Parts):
    """Joules of one step over all GPUs."""

    gpu_joules: Floats
    host_joules: Floats
    cooling_joules: Floats

    @cached_property
    def total_joules(self) -> Floats:
        """At the meter."""
        return self._sum()


@dataclass(frozen=True)
class Cost(Parts):
    """US dollars of one step over all GPUs; all 0 where no price is known."""

    hardware_usd: Floats  # rent, or the card's price spread over its life
    electricity_usd: Floats  # 0 when rented: the rent holds it

    @cached_property
    def total_usd(self) -> Floats:
        """The step."""
        return self._sum()


@dataclass(frozen=True)
class JobTime(Parts):
    """Seconds of a whole job, with what is lost of them on average."""

    start_up_seconds: Floats  # until the first step
    useful_seconds: Floats  # the workload's steps
    checkpoint_seconds: Floats  # training waits while states are saved on the way
    repeated_seconds: Floats  # steps since the last checkpoint, done again after an interruption
    restart_seconds: Floats  # from interruptions until training goes on
    final_save_seconds: Floats  # the result

    @cached_property
    def total_seconds(self) -> Floats:
        """From the start of the job to its end."""
        return self._sum()

    @property
    def fixed_seconds(self) -> Floats:
        """What does not depend on the steps."""
        return self.start_up_seconds + self.final_save_seconds

    @property
    def waiting_seconds(self) -> Floats:
        """No step runs."""
        return self.fixed_seconds + self.checkpoint_seconds + self.restart_seconds

    @property
    def goodput(self) -> Floats:
        """Useful steps, as a share of the time between the first step and the last [-]."""
        lost = self.checkpoint_seconds + self.repeated_seconds + self.restart_seconds
        return self.useful_seconds / (self.useful_seconds + lost)


@dataclass(frozen=True)
class Estimate:
    """One plan's prediction, or many plans'. Job figures are for all of the workload's steps and what is lost."""

    time: StepTime
    memory: Memory
    energy: Energy
    cost: Cost
    problems: Ints  # bits of Problem
    memory_capacity_bytes: Floats
    memory_spread: float  # standard deviation of log(needed / predicted) bytes
    model_flops: Floats  # of one step, all GPUs
    hardware_flops: Floats  # recomputation included
    mfu: Floats
    hfu: Floats
    tokens_per_s: Floats
    samples_per_s: Floats
    useful_tokens_per_s: Floats  # of samples, without padding
    watts_per_gpu: Floats
    clock_ratio: Floats  # the core clock that the power limit leaves, over the full one
    job: JobTime
    job_hours: Floats
    job_usd: Floats
    job_kwh: Floats
    job_kg_co2: Floats
    operations: dict[str, tuple[Floats, Floats]]  # one layer's operations: seconds forward and backward, a micro-batch

    def to_dict(self) -> dict[str, float | int]:
        """One plan's figures as flat plain numbers, SI units in the names, such as experiment trackers log.

        Raises: ValueError for the estimate of many plans.
        """
        figures = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in (*_RECORDS, "operations")}
        parts = (getattr(self, name).parts() for name in _RECORDS)
        totals = {"step_seconds": self.time.total_seconds, "memory_bytes": self.memory.total_bytes}
        named = totals | figures | {name: part for record in parts for name, part in record.items()}
        if any(np.ndim(value) for value in named.values()):
            raise ValueError("an estimate of many plans is no flat dict; estimate one, or use a sweep's to_pandas()")
        return {name: np.asarray(value).item() for name, value in named.items()}

    def plot_memory(self, ax: Any = None) -> Any:
        """Memory in its parts against what the card has, on `ax`, matplotlib's axes, or on new ones; returns them."""
        import perfsim

        return perfsim.plot_memory(self, ax)

    def plot_time(self, ax: Any = None, alone: dict[str, Any] | None = None) -> Any:
        """The step as a waterfall of its parts; alone: of ps.alone_seconds, to show what is hidden."""
        import perfsim

        return perfsim.plot_time(self, ax, alone)

    def _repr_html_(self) -> str:
        import perfsim

        return perfsim.html(self)


_RECORDS = ("time", "memory", "energy", "cost", "job")
