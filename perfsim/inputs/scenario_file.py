"""The schema of a scenario file: its tables, keys, bounds, and what people call the keys elsewhere."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from perfsim.core.site import Price, Site
from perfsim.inputs.files import Spec
from perfsim.inputs.positions import Loc

TaskName = Literal["pretrain", "finetune", "lora", "qlora", "freeze"]
HeadName = Literal["language-model", "classification", "span", "contrastive", "replaced-token"]
OptimizerName = Literal[
    "adamw", "adam", "sgd", "sgd-plain", "lamb", "adafactor", "lion", "muon", "adam8bit", "adamw8bit", "adam4bit",
    "adamw4bit", "paged-adamw", "paged-adamw8bit",
]  # fmt: skip
OffloadName = Literal["none", "optimizer", "parameters", "activations"]
PrecisionName = Literal[
    "fp32", "tf32", "amp-fp16", "fp16-o2", "amp-bf16", "bf16-mixed", "bf16", "fp8", "nvfp4", "mxfp4"
]
RecomputeName = Literal["none", "selective", "full"]
ScheduleName = Literal["gpipe", "1f1b", "zb-h1", "zb-v", "dualpipe"]
PlacementName = Literal["data-inner", "pipeline-inner"]
ContextExchangeName = Literal["ring", "all-to-all", "all-gather"]
Objective = Literal["time", "money", "energy"]
DEFAULT_SOFTWARE = "pytorch-2-eager"

ALIASES = {  # what other tools call a key: perfsim's key
    "per_device_train_batch_size": "micro_batch_size",
    "train_micro_batch_size_per_gpu": "micro_batch_size",
    "mbs": "micro_batch_size",
    "batch_size": "global_batch_size",
    "train_batch_size": "global_batch_size",
    "gbs": "global_batch_size",
    "global_batch": "global_batch_size",
    "gradient_accumulation_steps": "micro_batch_size",
    "seq_length": "seq_len",
    "max_seq_length": "seq_len",
    "max_length": "seq_len",
    "sequence_length": "seq_len",
    "seq": "seq_len",
    "resolution": "image_size",
    "img_size": "image_size",
    "num_train_epochs": "epochs",
    "max_steps": "steps",
    "train_iters": "steps",
    "optim": "optimizer",
    "optimizer_in_bwd": "optimizer_in_backward",
    "num_output_chunks": "loss_chunks",
    "use_liger_kernel": "fused_linear_loss",
    "cpu_offload": "offload",
    "fsdp_cpu_offload": "offload",
    "offload_optimizer": "offload",
    "dtype": "precision",
    "bf16": "precision",
    "fp16": "precision",
    "lora_r": "lora_rank",
    "tp": "tensor_parallel",
    "tp_size": "tensor_parallel",
    "tensor_model_parallel_size": "tensor_parallel",
    "pp": "pipeline_parallel",
    "pp_size": "pipeline_parallel",
    "pipeline_model_parallel_size": "pipeline_parallel",
    "cp": "context_parallel",
    "ep": "expert_parallel",
    "vpp": "virtual_stages",
    "zero": "zero_stage",
    "sharding": "zero_stage",
    "gradient_checkpointing": "recompute",
    "activation_checkpointing": "recompute",
    "num_gpus": "counts",
    "n_gpus": "counts",
    "power_limit": "power_limit_watts",
    "power_limit_w": "power_limit_watts",
    "kwh": "usd_per_kwh",
    "deadline_h": "deadline_hours",
    "budget": "budget_usd",
    "co2_g_per_kwh": "co2_grams_per_kwh",
}


def _as_list(value: Any) -> Any:
    """A single value as a list of one; "auto" as the empty list, which a file cannot say otherwise."""
    if value == "auto":
        return ()
    if value == []:
        raise ValueError('is an empty list; write values, or "auto"')
    return value if isinstance(value, list | tuple) else [value]


Length = Annotated[int, Field(ge=1, le=10**7)]
Count = Annotated[int, Field(ge=1, le=10**6)]
Samples = Annotated[int, Field(ge=1, le=10**12)]
Watts = Annotated[float, Field(gt=0, le=10_000)]
ZeroStage = Annotated[int, Field(ge=0, le=3)]
Text = Annotated[str, Field(min_length=1, max_length=1000)]

AUTO_OR_LIST = BeforeValidator(_as_list)
A_LIST = Field(strict=False, max_length=512)
Counts = Annotated[tuple[Count, ...], AUTO_OR_LIST, A_LIST]
Texts = Annotated[tuple[Text, ...], AUTO_OR_LIST, A_LIST]
Tasks = Annotated[tuple[TaskName, ...], AUTO_OR_LIST, A_LIST]


class WorkloadKeys(Spec):
    """[workload]: what is trained, how long, in which number formats."""

    model: Text
    task: Tasks = ("finetune",)
    head: HeadName | None = None
    seq_len: Length | None = None
    image_size: Length | None = None
    decoder_seq_len: Length | None = None
    global_batch_size: Length
    samples: Samples | None = None
    sample_tokens: Annotated[float, Field(gt=0, le=1e7)] | None = None
    sample_spread: Annotated[float, Field(ge=0, le=10)] | None = None
    packed: bool = False
    epochs: Annotated[float, Field(gt=0, le=10**6)] | None = None
    tokens: Annotated[float, Field(ge=1, le=1e17)] | None = None
    steps: Annotated[int, Field(ge=1, le=10**10)] | None = None
    precision: PrecisionName = "amp-bf16"
    optimizer: OptimizerName = "adamw"
    optimizer_in_backward: bool = False
    loss_chunks: Annotated[int, Field(ge=1, le=1024)] = 1
    fused_linear_loss: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    lora_rank: Annotated[int, Field(ge=1, le=65536)] | None = None
    mlm_positions: Length | None = None
    trained_towers: Annotated[tuple[Text, ...], AUTO_OR_LIST, A_LIST] = ()
    expert_imbalance: Annotated[float, Field(ge=1, le=100)] | None = None

    def problems(self) -> Iterator[tuple[Loc, str, str]]:
        """Keys that exclude or need each other."""
        lengths = [name for name in ("samples", "tokens", "steps") if getattr(self, name) is not None]
        if not lengths and self.epochs is None:
            yield (), "the length of the job is missing", "add samples (and epochs), tokens or steps"
        if len(lengths) > 1:
            yield (lengths[1],), f"the job's length is given twice, by {' and '.join(lengths)}", "keep one of them"
        if self.epochs is not None and self.samples is None:
            yield ("epochs",), "counts passes over samples, which are not given", "add samples"
        if self.lora_rank is not None and not {"lora", "qlora"} & set(self.task):
            yield ("lora_rank",), "is for the tasks lora and qlora", "remove it, or set the task"
        if self.mlm_positions is not None and self.seq_len is not None and self.mlm_positions > self.seq_len:
            yield ("mlm_positions",), f"{self.mlm_positions:,} exceeds seq_len", f"write at most {self.seq_len:,}"
        if self.fused_linear_loss and self.loss_chunks > 1:
            yield ("loss_chunks",), "the fused loss cuts its own chunks", "keep one of the two keys"
        if not self.task:
            yield ("task",), "is not told", "name one, such as finetune"
        if len(set(self.task)) < len(self.task):
            yield ("task",), "names a task twice", "keep one of them"


class SearchKeys(Spec):
    """[search]: which cards, how many of them, and what of a plan may vary."""

    gpus: Texts = ()
    systems: Texts = ()
    counts: Counts
    power_limit_watts: Annotated[tuple[Watts, ...], AUTO_OR_LIST, A_LIST] = ()
    tensor_parallel: Counts = ()
    pipeline_parallel: Counts = ()
    context_parallel: Counts = (1,)
    expert_parallel: Counts = ()
    micro_batch_size: Counts = ()
    virtual_stages: Counts = ()
    zero_stage: Annotated[tuple[ZeroStage, ...], AUTO_OR_LIST, A_LIST] = ()
    hybrid_shard: Counts = ()
    recompute: Annotated[tuple[RecomputeName, ...], AUTO_OR_LIST, A_LIST] = ()
    recompute_layers: Counts = ()
    offload: Annotated[tuple[OffloadName, ...], AUTO_OR_LIST, A_LIST] = ("none",)
    schedule: Annotated[tuple[ScheduleName, ...], AUTO_OR_LIST, A_LIST] = ()
    placement: Annotated[tuple[PlacementName, ...], AUTO_OR_LIST, A_LIST] = ("data-inner",)
    context_exchange: Annotated[tuple[ContextExchangeName, ...], AUTO_OR_LIST, A_LIST] = ("ring",)
    objective: Objective = "time"

    def problems(self) -> Iterator[tuple[Loc, str, str]]:
        """Cards are named once: by themselves, or by the systems that hold them."""
        if self.systems and self.gpus:
            yield ("gpus",), "the systems already name their cards", 'remove gpus, or write systems = "auto"'
        if not self.counts:
            yield ("counts",), "are not told", "list the numbers of GPUs to consider, such as [1, 2, 4, 8]"
        if not self.systems and not self.gpus:
            yield (), "gpus are missing", 'add gpus = ["RTX 4090", ...], a series such as "RTX 40", or "all"'


class SiteKeys(Spec):
    """[site]: prices, electricity, deadline, budget and sockets, and what a job loses of its time."""

    price: Price = "rent"
    prices: Annotated[tuple[Text, ...], AUTO_OR_LIST, A_LIST] = ()
    usd_per_kwh: Annotated[float, Field(ge=0, le=100)] = 0.15
    pue: Annotated[float, Field(ge=1, le=10)] = 1.0
    co2_grams_per_kwh: Annotated[float, Field(ge=0, le=10_000)] = 475.0
    ownership_hours: Annotated[float, Field(gt=0, le=1e6)] = Site.ownership_hours
    use_share: Annotated[float, Field(gt=0, le=1)] = Site.use_share
    host_usd: Annotated[float, Field(ge=0, le=1e7)] = 0.0
    deadline_hours: Annotated[float, Field(gt=0, le=1e7)] | None = None
    budget_usd: Annotated[float, Field(gt=0, le=1e12)] | None = None
    socket_watts: Annotated[float, Field(gt=0, le=1e6)] | None = None
    start_up_seconds: Annotated[float, Field(ge=0, le=1e6)] | None = None
    restart_seconds: Annotated[float, Field(ge=0, le=1e6)] | None = None
    checkpoint_gb_per_s: Annotated[float, Field(ge=0, le=1e6)] | None = None
    failures_per_gpu_hour: Annotated[float, Field(ge=0, le=10)] | None = None
    preemptions_per_hour: Annotated[float, Field(ge=0, le=100)] | None = None


class ScenarioFile(Spec):
    """A scenario: one question to perfsim."""

    title: Annotated[str, Field(max_length=200)] = ""
    software: Annotated[str, Field(min_length=1, max_length=64)] = DEFAULT_SOFTWARE
    workload: WorkloadKeys
    search: SearchKeys
    site: SiteKeys = SiteKeys()

    def problems(self) -> Iterator[tuple[Loc, str, str]]:
        """Those of its tables."""
        for name in ("workload", "search", "site"):
            for loc, what, todo in getattr(self, name).problems():
                yield (name, *loc), what, todo


def with_aliases(found: list[tuple[Loc, str, str]]) -> list[tuple[Loc, str, str]]:
    """The problems, with perfsim's key named where an unknown one is another tool's, and not reported missing again."""
    meant = {loc: ALIASES[str(loc[-1])] for loc, what, _ in found if what == "no such key" and loc[-1] in ALIASES}
    named = {(*loc[:-1], key) for loc, key in meant.items()}
    return [
        (loc, what, f"did you mean {meant[loc]}?" if loc in meant else todo)
        for loc, what, todo in found
        if not (what == "is missing" and loc in named)
    ]
