"""A row of a run table as the records that formulas take, and what of a row they cannot say."""

import re
from dataclasses import replace
from math import ceil
from typing import Any

from perfsim.calibration.runs import NO_RECOMPUTATION, UNSTATED_MICRO_BATCH
from perfsim.core.model import Model
from perfsim.core.optimizer import OPTIMIZERS
from perfsim.core.plan import ContextExchange, Offload, Plan, Recompute
from perfsim.core.workload import PRECISIONS, Head, Precision, Task, Workload, model_of
from perfsim.formulas.parameters import count
from perfsim.inputs.gpu import GpuSpec
from perfsim.inputs.run_models import RunModel
from perfsim.inputs.run_row import RunRow
from perfsim.inputs.system import SystemSpec, box_spec

DEFAULT_LORA_RANK = 8
LORA_TARGETS = {  # the column's words for NeMo's target_modules
    "linear_qkv": ("q_proj", "k_proj", "v_proj"),
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj"),
}
SHARDING_STAGES = {"": 0, "none": 0, "zero1": 1, "zero2": 2, "zero3": 3, "hsdp": 3}
FRAMEWORK_DROPOUT = {"megatron": 0.1}  # NVIDIA/Megatron-LM megatron/arguments.py, hidden and attention alike
EVERY_SECOND = "every-2nd-layer"  # torchtitan's selective_ac_option = "2"
RECOMPUTE = {
    "none": Recompute.NONE,
    "selective": Recompute.SELECTIVE,
    "full": Recompute.FULL,
    "unknown": Recompute.NONE,
}
OFFLOADS = {"none": Offload.NONE, "unknown": Offload.NONE, "optimizer": Offload.OPTIMIZER}
FSDP_FRAMEWORKS = ("torchtune", "fsdp", "pytorch")  # torch.distributed.fsdp CPUOffloadPolicy has no optimizer alone
CHUNKS = 8  # of pytorch/torchtune torchtune/modules/loss/ce_chunked_output_loss.py
TRAINS_16_BIT_WEIGHTS = ("megatron", "megatron-core", "deepspeed", "llm.c")  # unless the row says otherwise

# Bytes per frozen base parameter with its scales: QLoRA, arXiv 2305.14314, sections 2 and 3, a scale of 32 bits for
# 64 weights, 0.127 bits a weight when quantised twice; int4 as GPTQ with groups of 128.
NF4_BYTES, NF4_TWICE_BYTES, INT4_BYTES, INT8_BYTES = 4.5 / 8, 4.127 / 8, 4.25 / 8, 1.0

# NIC rate [Gbit/s] and how many of them a node has, 0: one for each GPU
NETWORKS = {"ib-edr": (100, 0), "ib-hdr": (200, 0), "ib-ndr": (400, 0), "efa-400": (400, 1), "efa-3200": (400, 8)}
FABRICS = {"efa-400": "EFA v1", "efa-3200": "EFA v2", "roce": "RoCE"} | dict.fromkeys(
    ("ib-edr", "ib-hdr", "ib-ndr", "nvl72", "unknown"), "InfiniBand"
)
USUAL_NIC_GBIT = {"volta": 100, "turing": 100, "pascal": 100, "ampere": 200}  # 400 with later cards
RACK_GPUS = 72  # GB200 and GB300 NVL72

IMPOSSIBLE = {  # what a key of the column `extras` means for the model; `key=value` where only that value does
    "generator": "a second network is trained beside the model",
    "var_len=y": "sequences are shorter than seq_len by an unknown amount",
    "var_batch=y": "the batch is a token budget",
    "uneven=y": "the last micro-batch is smaller",
    "dataparallel=y": "single-process DataParallel is not modelled yet",
    "optimizer_timed=n": "the optimizer is not part of the timed step",
    "power_limited": "the power limit was lowered to an unknown number of watts",
    "lora_trains_embeddings=y": "adapters on embeddings are not modelled yet",
}


def impossible(row: RunRow) -> str:
    """Why the row cannot be expressed, "" when it can."""
    options = row.options
    for condition, why in IMPOSSIBLE.items():
        key, equals, value = condition.partition("=")
        given = options.get(key, "")
        if given == value if equals else given not in ("", "n"):
            return why
    if row.optimizer not in (*OPTIMIZERS, "unknown"):
        return f"the optimizer {row.optimizer} is not modelled"
    if row.offload in ("optimizer", "params") and options.get("activation_offload") == "y":
        return "activations and parameters are offloaded together"
    is_adapter = row.task in ("lora", "qlora")
    if row.optimizer == "unknown" and not is_adapter and row.peak_memory_gb:
        return "the optimizer is not stated, and it decides the memory"
    if not row.seq_len:
        return "seq_len is not stated"
    if not row.micro_batch and not row.global_batch:
        return "neither micro_batch nor global_batch is stated"
    return ""


def plan_of(row: RunRow, framework: str, layers: int, assumptions: list[str]) -> Plan:
    """Who computes what in the row's run; what had to be assumed is added to `assumptions`."""
    micro_batch = row.micro_batch
    if not micro_batch:
        micro_batch = 1
        assumptions.append(UNSTATED_MICRO_BATCH)
    if row.recompute == "unknown":
        assumptions.append(NO_RECOMPUTATION)
    if not row.sharding and row.dp > 1:
        assumptions.append("no ZeRO")
    if row.sharding == "hsdp" and not row.whole("shard_gpus"):
        assumptions.append("sharded within a node")
    is_split, detail = row.tp > 1, row.options.get("recompute_detail")
    if row.sequence_parallel == "unknown" and is_split:
        assumptions.append("sequence parallel" if framework == "megatron-core" else "no sequence parallelism")
    exchanges = row.options.get("grad_sync") != "n"
    if not exchanges:
        assumptions.append("gradients are never exchanged: one GPU alone")
    return Plan(
        tensor_parallel=row.tp,
        pipeline_parallel=row.pp,
        data_parallel=row.dp if exchanges else 1,
        context_parallel=row.cp,
        expert_parallel=row.ep,
        micro_batch_size=micro_batch,
        virtual_stages=row.vpp if row.pp > 1 else 1,
        sequence_parallel=is_split
        and (row.sequence_parallel == "y" or (row.sequence_parallel == "unknown" and framework == "megatron-core")),
        zero_stage=SHARDING_STAGES[row.sharding],
        hybrid_shard=(row.whole("shard_gpus") or row.gpus_per_node) if row.sharding == "hsdp" else 0,
        recompute=RECOMPUTE["full" if detail == EVERY_SECOND else row.recompute],
        recompute_layers=layers // 2 if detail == EVERY_SECOND else 0,
        context_exchange=ContextExchange.ALL_TO_ALL if row.options.get("cp_comm") == "a2a" else ContextExchange.RING,
        offload=_offload(row, framework),
    )


def _offload(row: RunRow, framework: str) -> Offload:
    """What the row keeps in host memory; FSDP moves parameters with the optimizer."""
    if row.options.get("activation_offload") == "y":
        return Offload.ACTIVATIONS
    is_fsdp = row.sharding == "zero3" and framework in FSDP_FRAMEWORKS
    is_all = row.offload == "params" or (row.offload == "optimizer" and is_fsdp)
    return Offload.PARAMETERS if is_all else OFFLOADS[row.offload]


def workload_of(row: RunRow, known: RunModel, framework: str, assumptions: list[str]) -> Workload:
    """What the row's run trains; what had to be assumed is added to `assumptions`."""
    task, options = Task(row.task), row.options
    is_adapter = task in (Task.LORA, Task.QLORA)
    optimizer = row.optimizer
    if optimizer == "unknown":
        optimizer = "adamw"
        assumptions.append("AdamW")
    if is_adapter and not row.lora_rank:
        assumptions.append(f"LoRA rank {DEFAULT_LORA_RANK}")
    model = known.model
    if known.follows_seq_len:
        model = replace(model, max_positions=row.seq_len, position_parameters=row.seq_len * model.hidden_size)
    if "tied" in options:
        model = replace(model, has_tied_embeddings=options["tied"] == "y")
    head = _head(known, task)
    model = model_of(model, task, head)
    decoder_len = row.whole("decoder_seq") or (row.seq_len if model.kind == "encoder-decoder" else 0)
    batch = row.global_batch if options.get("grad_sync") != "n" else row.global_batch // row.dp
    return Workload(
        model=model,
        task=task,
        seq_len=1 if model.nets else row.seq_len,
        image_size=model.image_size,
        global_batch_size=batch,
        precision=_precision(row, framework, is_adapter),
        optimizer=optimizer,
        optimizer_in_backward=options.get("optimizer_in_backward") == "y",
        loss_chunks=CHUNKS if options.get("chunked_ce") == "y" else 1,
        steps=1.0,
        head=head,
        head_positions=_head_positions(row, head, decoder_len),
        decoder_seq_len=decoder_len,
        memory_len=row.whole("mem_len"),
        dropout=float(options.get("dropout", known.dropout or FRAMEWORK_DROPOUT.get(framework, 0.0))),
        attention_dropout=None if "dropout" in options else known.attention_dropout,
        lora_rank=(row.lora_rank or DEFAULT_LORA_RANK) if is_adapter else 0,
        lora_targets=LORA_TARGETS.get(options.get("lora_targets", ""), ()),
        sample_tokens=float(row.whole("packed_tokens")),
        is_packed=row.whole("packed_tokens") > 0,
        base_bytes=_base_bytes(row, model),
    )


def system_of(row: RunRow, key: str, card: GpuSpec, assumptions: list[str]) -> SystemSpec | None:
    """The machines of the row, built from its card, fabric and network; None where the card has no such fabric."""
    per_node = row.gpus_per_node
    spec = box_spec(key, card, per_node)
    if row.fabric == "unknown":
        assumptions.append("the card's usual fabric")
    elif row.fabric in ("nvswitch", "nvlink-mesh", "nvlink-bridge"):
        if card.nvlink_gb_per_s is None:
            return None
        is_whole = row.fabric != "nvlink-bridge" or min(per_node, row.n_gpus) == 2
        update = {"topology": row.fabric, "nvlink_gb_per_s": card.nvlink_gb_per_s}
        spec = spec.model_copy(update=update | {"nvlink_domain_gpus": per_node if is_whole else 2})
    elif row.fabric in ("pcie", "pcie-nop2p"):
        peer = "yes" if row.fabric == "pcie" else "no"
        spec = spec.model_copy(update={"topology": "pcie", "nvlink_gb_per_s": None, "peer_to_peer": peer})
    spec = spec.model_copy(update=_host(row))
    nodes = ceil(row.n_gpus / per_node)
    network = _network(row, card, assumptions) if nodes > 1 else {}
    return spec.model_copy(update=network | {"pcie_lanes": card.pcie_lanes, "max_nodes": nodes})


def _host(row: RunRow) -> dict[str, Any]:
    """What the row tells of its node's processors and PCIe switches, as keys of a system file."""
    vendor = re.search("intel|amd", row.options.get("cpu", ""), re.IGNORECASE)
    known = {key: row.whole(key) for key in ("sockets", "gpus_per_pcie_switch") if key in row.options}
    return known | ({"host_cpu": vendor[0].lower()} if vendor else {})


def _network(row: RunRow, card: GpuSpec, assumptions: list[str]) -> dict[str, Any]:
    """The NICs of a node, as keys of a system file."""
    rate, count = NETWORKS.get(row.internode, (USUAL_NIC_GBIT.get(card.architecture, 400), 0))
    if row.internode in ("unknown", "roce", "nvl72"):
        assumptions.append(f"a {rate} Gbit/s NIC for each GPU")
    nics: dict[str, Any] = {
        "fabric": FABRICS.get(row.internode),
        "nics": count or row.gpus_per_node,
        "nic_gbit_per_s": rate,
    }
    return nics | ({"nvlink_domain_gpus": RACK_GPUS} if row.internode == "nvl72" else {})


def _head(known: RunModel, task: Task) -> Head:
    is_pretraining = task is Task.PRETRAIN
    if known.head == "span_qa" or (known.head == "replaced_token" and not is_pretraining):
        return Head.SPAN
    kind = known.model.kind
    if kind == "diffusion" or known.model.nets:
        return Head.NONE
    if kind == "vit" or (kind == "encoder" and not is_pretraining):
        return Head.CLASSIFICATION
    return Head.LANGUAGE_MODEL


def _head_positions(row: RunRow, head: Head, decoder_len: int) -> int:
    tokens = decoder_len or row.seq_len
    if head is Head.LANGUAGE_MODEL:
        return min(row.whole("mlm_positions") or tokens, tokens)
    return {Head.SPAN: tokens, Head.CLASSIFICATION: 1, Head.NONE: 0}[head]


def _precision(row: RunRow, framework: str, is_adapter: bool) -> Precision:
    """The number formats; `params=fp32` are fp32 weights that are cast for compute, without a second master copy."""
    keeps_fp32 = row.options.get("params") == "fp32"
    if row.precision == "bf16-mixed":
        is_16_bit = row.options.get("params") == "bf16" or is_adapter or framework in TRAINS_16_BIT_WEIGHTS
        return PRECISIONS["bf16-mixed" if is_16_bit and not keeps_fp32 else "amp-bf16"]
    precision = replace(PRECISIONS[row.precision], has_8_bit_attention=row.options.get("fp8_attention") == "y")
    if keeps_fp32 and row.precision in ("fp8", "nvfp4", "mxfp4"):
        copy = precision.weight_copy_bytes + 2
        return replace(precision, weight_bytes=4, gradient_bytes=4, master_bytes=0, weight_copy_bytes=copy)
    return precision


def _base_bytes(row: RunRow, model: Model) -> float:
    """Mean bytes of a frozen weight; products inside the layers are quantised, embeddings and head stay in 16 bits."""
    is_twice = row.options.get("double_quant") == "y"
    nf4 = NF4_TWICE_BYTES if is_twice else NF4_BYTES
    packed = {"nf4": nf4, "int4": INT4_BYTES, "int8": INT8_BYTES}.get(row.base_quant)
    if packed is None:
        return 0.0
    counted = count(model)
    quantised = counted.linear_parameters / counted.total
    return packed * quantised + 2.0 * (1.0 - quantised)
