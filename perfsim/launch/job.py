"""What a launch file says, apart from any tool: the plan in whole numbers, and what a tool cannot say of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import gcd

from perfsim.core.hardware import System
from perfsim.core.plan import Offload, Plan, Recompute, Schedule
from perfsim.core.software import Software
from perfsim.core.workload import Head, Task, Workload
from perfsim.formulas.pipeline import microbatches_of
from perfsim.units import printable

FILL_IN = "FILL_IN"  # stands where only the user knows what to write

Value = str | int | float | bool


@dataclass(frozen=True)
class Refusal:
    """What a tool cannot say: which choice of the plan, by its name in the glossary, and why, in words."""

    choice: str
    why: str


@dataclass(frozen=True)
class LaunchFile:
    """A tool's own file: a name to give it, its text, and what a person has to know or do besides."""

    name: str
    text: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """One plan on one system, for one workload and software, as launch files take it."""

    workload: Workload
    system: System
    plan: Plan
    software: Software

    @property
    def gpus(self) -> int:
        """GPUs of the plan."""
        return int(self.plan.gpus)

    @property
    def gpus_a_node(self) -> int:
        """Processes of a node: all of its GPUs, or as many as share the plan's evenly."""
        return gcd(self.gpus, int(self.system.gpus_per_node)) if self.gpus > self.system.gpus_per_node else self.gpus

    @property
    def nodes(self) -> int:
        """Nodes that the plan takes."""
        return self.gpus // self.gpus_a_node

    @property
    def microbatches(self) -> int:
        """Micro-batches of a rank's share of a step: accumulation steps, or what a pipeline is fed."""
        return int(microbatches_of(self.workload, self.plan))

    @property
    def steps(self) -> int:
        """Optimizer steps of the job."""
        return max(1, round(float(self.workload.steps)))

    @property
    def own_notes(self) -> Iterator[str]:
        """What no tool says: a lowered power limit, and that nobody told the job's length."""
        limit, most = float(self.system.gpu.power_limit_watts), float(self.system.gpu.board_limit_watts)
        if limit < most:
            yield f"before it, as root on every node: nvidia-smi -pl {limit:g}"
        if self.steps == 1:
            yield "the job's length was not told (--steps, or --samples and --epochs): 1 step is a placeholder"

    @property
    def shard_ranks(self) -> int:
        """Ranks that ZeRO can shard over: data parallel times context parallel."""
        return int(self.plan.data_parallel * self.plan.context_parallel)

    @property
    def zero(self) -> int:
        """The ZeRO stage; 0 where one rank has nobody to shard with, and nothing lies in host memory."""
        is_alone = self.shard_ranks == 1 and self.offload in (Offload.NONE, Offload.ACTIVATIONS)
        return 0 if is_alone else int(self.plan.zero_stage)

    @property
    def shards(self) -> int:
        """Ranks that shard among themselves; 1 without ZeRO."""
        if not self.zero:
            return 1
        return int(self.plan.hybrid_shard) or self.shard_ranks

    @property
    def is_hybrid(self) -> bool:
        """Shards are kept in several copies."""
        return 1 < self.shards < self.shard_ranks

    @property
    def is_split(self) -> bool:
        """Ranks share more than the batch."""
        plan = self.plan
        return max(map(int, (plan.tensor_parallel, plan.pipeline_parallel, plan.context_parallel))) > 1

    @property
    def is_compiled(self) -> bool:
        """The software was estimated with torch.compile."""
        return self.software.fusion == "compiled"

    @property
    def schedule(self) -> Schedule:
        """The pipeline's schedule."""
        return Schedule(int(self.plan.schedule))

    @property
    def recompute(self) -> Recompute:
        """Which activations are computed again."""
        return Recompute(int(self.plan.recompute))

    @property
    def offload(self) -> Offload:
        """What lies in host memory."""
        return Offload(int(self.plan.offload))

    @property
    def title(self) -> str:
        """The job in a line, fit for a comment."""
        w, name = self.workload, printable(self.workload.model.name)
        what = f"{name}, {w.task.value}, {int(w.seq_len):,} tokens x {int(w.global_batch_size):,} a step"
        return f"{what}; {self.gpus}x {printable(self.system.gpu.name)} on {self.nodes} node{'s' * (self.nodes > 1)}"


def common_refusals(job: Job) -> Iterable[Refusal]:
    """What none of the tools says."""
    w, model = job.workload, job.workload.model
    if w.loss_chunks > 1:
        yield Refusal("loss_chunks", f"a loss in {w.loss_chunks} chunks")
    if job.recompute is Recompute.SELECTIVE and job.software.selective_recompute not in ("core", "per-op"):
        yield Refusal("recompute", "selective recomputation by the names of products, as JAX's policies have it")
    if job.nodes > 1 and job.gpus_a_node < job.system.gpus_per_node:
        yield Refusal("gpus", f"{job.gpus} GPUs, which do not fill nodes of {int(job.system.gpus_per_node)}")
    if w.precision.key == "mxfp4":
        yield Refusal("precision", "MXFP4 products")
    if w.precision.has_8_bit_attention:
        yield Refusal("precision", "attention in FP8")
    if model.nets and len(model.nets) > 1:
        yield Refusal("model", "a GAN's two nets, which need a script of their own")


def pretraining_refusals(job: Job) -> Iterable[Refusal]:
    """What tools that bring their own training loop for language models cannot say."""
    w = job.workload
    if w.task not in (Task.PRETRAIN, Task.FINETUNE):
        yield Refusal("task", f"task {w.task.value}: it trains all weights")
    if w.head is not Head.LANGUAGE_MODEL:
        yield Refusal("head", f"the head {w.head.value}: it trains language models")
    if w.fused_linear_loss:
        yield Refusal("fused_linear_loss", "head and loss as one kernel")
    if w.useful_share < 1:
        yield Refusal("packed", "samples that are padded: it fills every sequence with several (--packed)")


def comment(lines: Iterable[str]) -> str:
    """The lines as a comment of a shell script, a YAML or a TOML file."""
    return "".join(f"# {line}\n" for line in lines)


def word(value: Value) -> str:
    """A value as YAML, TOML and the Hugging Face parser read it.

    >>> word(True), word(8), word("bf16"), word(0.5)
    ('true', '8', '"bf16"', '0.5')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def arguments_text(arguments: Iterable[tuple[str, Value | None]]) -> list[str]:
    """Each argument as a shell takes it; None is a bare switch.

    >>> arguments_text([("--bf16", True), ("--swiglu", None), ("--optim", "sgd")])
    ['--bf16 true', '--swiglu', '--optim sgd']
    """
    return [
        name if value is None else f"{name} {str(value).lower() if isinstance(value, bool) else value}"
        for name, value in arguments
    ]


def command(job: Job, script: str, arguments: Iterable[tuple[str, Value | None]]) -> str:
    """torchrun with the plan's nodes and GPUs, the script, and its arguments, one a line."""
    lines = ["torchrun", f"--nnodes {job.nodes}", f"--nproc-per-node {job.gpus_a_node}"]
    if job.nodes > 1:
        lines += ['--node-rank "$NODE_RANK"', '--master-addr "$MASTER_ADDR"', '--master-port "$MASTER_PORT"']
    else:
        lines.append("--standalone")
    lines.append(script)
    lines += arguments_text(arguments)
    return " \\\n    ".join(lines) + "\n"


def rendezvous(job: Job) -> str:
    """Where the nodes meet, as shell variables to fill in; nothing for one node."""
    if job.nodes == 1:
        return ""
    return (
        f"MASTER_ADDR={FILL_IN}  # address of the first node\n"
        "MASTER_PORT=29500\n"
        f"NODE_RANK={FILL_IN}  # 0 to {job.nodes - 1}, another on every node\n"
    )
