"""Models and cards that a table of measured runs defines for itself, in run_models.csv and missing_gpus.csv beside it.

Each row becomes what a TOML file of specs/models or specs/gpus would hold, and is checked by the same schema.
"""

import datetime
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from perfsim.core.model import Model
from perfsim.inputs.explain import dotted, explain
from perfsim.inputs.files import Spec
from perfsim.inputs.gpu import GpuSpec
from perfsim.inputs.model import ModelSpec
from perfsim.inputs.tables import Cells, Complaints, read_table

MODEL_COLUMNS = (
    "key kind n_layers hidden heads kv_heads head_dim ffn gated act vocab tied causal positions max_positions "
    "norm biases attention_kind window q_lora kv_lora qk_nope qk_rope v_head experts top_k moe_ffn shared_ffn "
    "dense_layers router_bias enc_layers type_vocab norms_per_layer norm_bias emb_norm final_norm qkv_bias "
    "out_bias mlp_bias head_bias qk_norm extra_params extras n_params_published published_source "
    "n_params_computed n_params_active diff_pct explain spec_key"
).split()
GPU_COLUMNS = (
    "key name series architecture compute_capability launch_date sms cuda_cores tensor_cores boost_mhz "
    "tensor_clock_mhz l2_mb smem_per_sm_kb mem_gb mem_type mem_bw_gbs fp64_tflops fp32_tflops fp16_vector_tflops "
    "fp64_tensor_tflops tf32_tensor_tflops fp16_tensor_fp16acc_tflops fp16_tensor_fp32acc_tflops "
    "bf16_tensor_tflops int8_tops fp8_tensor_fp16acc_tflops fp8_tensor_fp32acc_tflops fp4_tensor_tflops tdp_w "
    "form_factor pcie_gen pcie_lanes nvlink_version nvlink_gbs p2p_pcie msrp_usd tensor_basis notes source"
).split()
# fmt: off
_NEEDED_OF_A_MODEL = (
    "key", "kind", "n_layers", "hidden", "heads", "kv_heads", "head_dim", "vocab", "gated", "act", "tied", "positions",
    "norm", "norms_per_layer",
)
_NEEDED_OF_A_GPU = (
    "key", "name", "series", "architecture", "compute_capability", "sms", "boost_mhz", "l2_mb", "mem_gb", "mem_type",
    "mem_bw_gbs", "fp32_tflops", "tdp_w", "form_factor", "pcie_gen", "pcie_lanes", "p2p_pcie",
)
_MODEL_NAMES = {
    "n_layers": "num_hidden_layers", "hidden": "hidden_size", "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads", "ffn": "intermediate_size", "gated": "is_gated_mlp", "act": "hidden_act",
    "vocab": "vocab_size", "tied": "tie_word_embeddings", "positions": "position_embedding_type",
    "max_positions": "max_position_embeddings", "type_vocab": "type_vocab_size", "enc_layers": "num_encoder_layers",
    "window": "sliding_window", "norm_bias": "has_norm_bias", "emb_norm": "has_embedding_norm",
    "final_norm": "has_final_norm", "out_bias": "has_output_bias", "mlp_bias": "has_mlp_bias",
    "head_bias": "has_head_bias", "qk_norm": "has_qk_norm", "extra_params": "extra_parameters", "key": "name",
}
_GPU_NAMES = {
    "sms": "multiprocessors", "l2_mb": "l2_mib", "mem_gb": "memory_gib", "mem_type": "memory_type",
    "mem_bw_gbs": "memory_bandwidth_gb_per_s", "tdp_w": "power_limit_watts", "pcie_gen": "pcie_generation",
    "nvlink_gbs": "nvlink_gb_per_s", "p2p_pcie": "peer_to_peer", "msrp_usd": "price_usd",
    "fp32_tflops": "peak_tflops.fp32", "tf32_tensor_tflops": "peak_tflops.tf32",
    "fp16_tensor_fp32acc_tflops": "peak_tflops.fp16", "bf16_tensor_tflops": "peak_tflops.bf16",
    "fp8_tensor_fp32acc_tflops": "peak_tflops.fp8", "fp4_tensor_tflops": "peak_tflops.fp4",
}
# fmt: on
_UNLIMITED = 10**6  # positions that no table limits
S = TypeVar("S", bound=Spec)


# (dropout, attention dropout) of recipes whose tables do not state them: NVIDIA/DeepLearningExamples
# Transformer-XL/pytorch/wt103_base.yaml and wt103_large.yaml, BART/configs/config.json, ELECTRA/configuration.py;
# NVIDIA/Megatron-LM megatron/arguments.py, whose GPT scripts leave both at their defaults
USUAL_DROPOUT: tuple[tuple[str, tuple[float, float | None]], ...] = (
    (r"transformer-xl-base", (0.1, 0.0)),
    (r"transformer-xl-large", (0.2, 0.2)),
    (r"bart-", (0.1, 0.0)),
    (r"electra-", (0.1, 0.1)),
    (r"(megatron-\d|mt-nlg-|mcore-ci-gpt-)", (0.1, 0.1)),
)


@dataclass(frozen=True)
class RunModel:
    """A model and what a run table knows of how it is trained.

    head: "span_qa", "mlm+nsp", "replaced_token", or "" where the task decides.
    follows_seq_len: the learned position table is as long as the run's sequences.
    """

    model: Model
    head: str = ""
    dropout: float = 0.0
    attention_dropout: float | None = None
    follows_seq_len: bool = False


def read_models(path: Path) -> dict[str, RunModel]:
    """The models of a run_models.csv by key.

    Raises: InputError that lists every problem of the file.
    """
    found = _read(path, MODEL_COLUMNS, _NEEDED_OF_A_MODEL, ModelSpec, _MODEL_NAMES, _model_data)
    return {key: _run_model(spec.model(key), cells) for key, (spec, cells) in found.items()}


def read_gpus(path: Path, known: Collection[str]) -> dict[str, GpuSpec]:
    """The cards of a missing_gpus.csv by key; rows whose key is among the `known` cards are passed over.

    Raises: InputError that lists every problem of the file.
    """
    found = _read(path, GPU_COLUMNS, _NEEDED_OF_A_GPU, GpuSpec, _GPU_NAMES, _gpu_data, known)
    return {key: spec for key, (spec, _) in found.items()}


def _read(
    path: Path,
    columns: list[str],
    needed: tuple[str, ...],
    kind: type[S],
    names: dict[str, str],
    data_of: Callable[[Cells], dict[str, Any]],
    known: Collection[str] = (),
) -> dict[str, tuple[S, Cells]]:
    complaints = Complaints(path)
    columns_by_name = {name: column for column, name in names.items()}
    found: dict[str, tuple[S, Cells]] = {}
    for line, cells in read_table(path, columns, needed):
        if cells["key"] in known:
            continue
        absent = [name for name in needed if not cells[name]]
        for name in absent:
            complaints.add(line, f"{name}: is missing", "fill it in")
        if cells["key"] in found:
            complaints.add(line, f"key: {cells['key']} stands twice", "remove one of the two")
        if absent:
            continue
        problems: list[Any] = []
        try:
            spec = kind.model_validate(data_of(cells))
            problems += spec.problems()
            found.setdefault(cells["key"], (spec, cells))
        except ValidationError as error:
            problems += explain(error, kind)
        for loc, what, todo in problems:
            name = dotted(loc)
            complaints.add(line, f"{columns_by_name.get(name, name)}: {what}", todo)
    complaints.stop()
    return found


def _plain(cell: str) -> Any:
    """A cell as the number it spells, else the text."""
    if re.fullmatch(r"-?[0-9]{1,18}", cell):
        return int(cell)
    return float(cell) if re.fullmatch(r"[0-9]{1,12}\.[0-9]{1,12}", cell) else cell


def _whole(cells: Cells, name: str) -> Any:
    """The number in a cell, 0 where it is empty; a text stays, for the schema to refuse."""
    cell = cells.get(name, "")
    return _plain(cell) if cell else 0


def _flag(cells: Cells, name: str) -> bool:
    return cells.get(name) == "y"


def _model_data(cells: Cells) -> dict[str, Any]:
    """What a file of specs/models would hold."""
    kind = cells["kind"].removesuffix("-moe")
    is_transformer_xl = cells["positions"] == "relative" and kind == "decoder"
    data: dict[str, Any] = {
        "name": cells["key"],
        "family": "run_models.csv",
        "kind": kind,
        "norm": cells["norm"],
        "norms_per_layer": _whole(cells, "norms_per_layer"),
        "norm_position": _norm_position(cells, kind),
        "qkv_bias": {"y": "all", "qv": "qv"}.get(cells.get("qkv_bias", ""), "none"),
        "hidden_act": cells["act"].replace("relu2", "relu"),
        "position_embedding_type": "none" if cells["positions"] == "unknown" else cells["positions"],
        "max_position_embeddings": _whole(cells, "max_positions") or _UNLIMITED,
        "extra_parameters": {"total": _whole(cells, "extra_params")},
        "sources": {"*": "run_models.csv"},
    }
    counts = ("n_layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab", "type_vocab", "enc_layers")
    flags = ("gated", "tied", "norm_bias", "emb_norm", "final_norm", "out_bias", "mlp_bias", "head_bias", "qk_norm")
    data |= {_MODEL_NAMES.get(name, name): _whole(cells, name) for name in (*counts, "window")}
    data |= {_MODEL_NAMES[name]: _flag(cells, name) for name in flags}
    data["windowed_layers"] = _windowed_layers(cells)
    if cells["positions"] == "learned" and not _whole(cells, "max_positions"):
        data["position_parameters"] = 0  # set from the run's sequence length
    if is_transformer_xl:
        data["position_embedding_type"] = "relative"
    if _whole(cells, "kv_lora"):
        data["mla"] = {
            "q_lora_rank": _whole(cells, "q_lora"),
            "kv_lora_rank": _whole(cells, "kv_lora"),
            "qk_nope_head_dim": _whole(cells, "qk_nope"),
            "qk_rope_head_dim": _whole(cells, "qk_rope"),
            "v_head_dim": _whole(cells, "v_head"),
        }
    if _whole(cells, "experts"):
        data["moe"] = {
            "num_local_experts": _whole(cells, "experts"),
            "num_experts_per_tok": _whole(cells, "top_k"),
            "moe_intermediate_size": _whole(cells, "moe_ffn"),
            "shared_expert_intermediate_size": _whole(cells, "shared_ffn"),
            "first_k_dense_replace": _whole(cells, "dense_layers"),
            "has_router_bias": _flag(cells, "router_bias"),
        }
    return data


def _norm_position(cells: Cells, kind: str) -> str:
    """Where the norms stand: the row says so, or four norms a layer, or a final norm (pre-norm models have one)."""
    extras = cells.get("extras", "")
    if "parallel_residual=y" in extras or cells["norms_per_layer"] == "1":
        return "parallel"
    if cells["norms_per_layer"] == "4":
        return "pre+post"
    is_post = "post_norm=y" in extras or (kind in ("encoder", "encoder-decoder") and not _flag(cells, "final_norm"))
    return "post" if is_post or (kind == "encoder" and _flag(cells, "emb_norm")) else "pre"


def _windowed_layers(cells: Cells) -> Any:
    layers, extras = _whole(cells, "n_layers"), cells.get("extras", "")
    if not _whole(cells, "window") or not isinstance(layers, int):
        return 0
    if "every 4th layer" in extras:
        return layers - layers // 4
    return layers // 2 if "alternat" in extras else layers


def _run_model(model: Model, cells: Cells) -> RunModel:
    extras = cells.get("extras", "")
    if cutoffs := re.search(r"softmax=adaptive\(cutoffs ([0-9/]+)", extras):
        divisor = re.search(r"div_val ([1-9])", extras)
        model = replace(
            model,
            adaptive_softmax_cutoffs=tuple(int(c) for c in cutoffs[1].split("/") if c),
            adaptive_softmax_divisor=int(divisor[1]) if divisor else 1,
        )
    head = re.search(r"head=([a-z_+]+)", extras)
    stated = re.search(r"dropout=(0\.[0-9]+)", extras)
    usual = next((values for pattern, values in USUAL_DROPOUT if re.match(pattern, model.key)), (0.0, None))
    dropout, attention_dropout = (float(stated[1]), None) if stated else usual
    return RunModel(
        model=replace(model, is_causal=_flag(cells, "causal") if cells.get("causal") else model.is_causal),
        head=head[1] if head else "",
        dropout=dropout,
        attention_dropout=attention_dropout,
        follows_seq_len=model.positions == "learned" and not _whole(cells, "max_positions"),
    )


def _gpu_data(cells: Cells) -> dict[str, Any]:
    """What a file of specs/gpus would hold; fp16 without tensor cores that sum in fp32 runs at fp32's rate."""
    data: dict[str, Any] = {"sources": {"*": cells.get("source") or "missing_gpus.csv"}, "peak_tflops": {}}
    for column, cell in cells.items():
        name = _GPU_NAMES.get(column, column)
        if not cell or (name not in GpuSpec.model_fields and not name.startswith("peak_tflops.")):
            continue
        if name.startswith("peak_tflops."):
            data["peak_tflops"][name.removeprefix("peak_tflops.")] = _plain(cell)
        elif name not in ("notes", "nvlink_gb_per_s", "launch_date"):
            is_text = name in ("name", "series", "architecture", "compute_capability", "memory_type", "form_factor")
            data[name] = cell if is_text else _plain(cell)
    if cells.get("nvlink_gbs", "0") not in ("", "0"):
        data["nvlink_gb_per_s"] = _plain(cells["nvlink_gbs"])
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", cells.get("launch_date", "")):
        data["launch_date"] = datetime.date.fromisoformat(cells["launch_date"])
    data["peak_tflops"].setdefault("fp16", data["peak_tflops"].get("fp32"))
    return data
