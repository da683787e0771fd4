"""Models and cards that a measured-run table brings along: run_models.csv and missing_gpus.csv beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from perfsim.core.model import Mla, Model, Moe
from perfsim.errors import InputError
from perfsim.inputs.explain import dotted, explain
from perfsim.inputs.files import problem
from perfsim.inputs.gpu import GpuSpec
from perfsim.inputs.run_table import read_plain

T = TypeVar("T")
Cells = dict[str, str]

DENSE_LAYERS_ELSEWHERE = "dense and MoE layers alternate"
ADAPTIVE_CUTOFFS = (19_997, 39_997, 199_997)  # NVIDIA/DeepLearningExamples PyTorch/LanguageModeling/Transformer-XL
_POSITIONS = ("learned", "rope", "alibi", "relative", "relative-bias", "sinusoidal")
_QKV_BIAS = {"y": "all", "qv": "qv", "n": "none", "": "none"}


class RunModel:
    """A row of run_models.csv: its model and what its `extras` add."""

    def __init__(self, cells: Cells) -> None:
        self.model = _model(cells)
        self.extras = cells.get("extras", "")
        self.problem = ""
        self.assumption = "rotary positions" if cells["positions"] == "unknown" else ""
        if DENSE_LAYERS_ELSEWHERE in self.extras or "chunked attention" in self.extras:
            self.problem = "a model whose layers alternate between dense and experts, or attend in chunks, is not modelled"

    def extra(self, name: str) -> str:
        """The value of one item of `extras`."""
        for item in self.extras.split(";"):
            key, _, value = item.partition("=")
            if key.strip() == name:
                return value.strip()
        return ""


def read_models(folder: Path) -> dict[str, RunModel]:
    """The models of run_models.csv in a folder, by key; none without the file.

    Raises: InputError that lists every problem of the file.
    """
    return _read(folder / "run_models.csv", RunModel)


def read_gpus(folder: Path) -> dict[str, GpuSpec]:
    """The cards of missing_gpus.csv in a folder, by key; none without the file.

    Raises: InputError that lists every problem of the file.
    """
    return _read(folder / "missing_gpus.csv", _gpu)


def _read(path: Path, build: Callable[[Cells], T]) -> dict[str, T]:
    if not path.exists():
        return {}
    found: dict[str, T] = {}
    problems = []
    for cells in read_plain(path):
        line = int(cells["line"])
        try:
            found[cells["key"]] = build(cells)
        except KeyError as error:
            problems.append(problem(path, 1, f"{error.args[0]}: the column is missing", "add it"))
            break
        except ValidationError as error:
            for loc, what, todo in explain(error, GpuSpec):
                problems.append(problem(path, line, f"{dotted(loc)}: {what}", todo))
        except ValueError as error:
            problems.append(problem(path, line, str(error), "correct it"))
    if problems:
        raise InputError("\n".join(problems))
    return found


def _whole(cells: Cells, name: str, least: int = 0) -> int:
    text = cells[name] or "0"
    if not text.isascii() or not text.isdigit() or len(text) > 15 or int(text) < least:
        raise ValueError(f"{name}: {text!r} is no whole number of at least {least}")
    return int(text)


def _is(cells: Cells, name: str) -> bool:
    if cells[name] not in ("y", "n", ""):
        raise ValueError(f"{name}: {cells[name]!r} is neither y nor n")
    return cells[name] == "y"


def _of(cells: Cells, name: str, allowed: tuple[str, ...]) -> Any:
    if cells[name] not in allowed:
        raise ValueError(f"{name}: {cells[name]!r} is none of {', '.join(allowed)}")
    return cells[name]


def _model(cells: Cells) -> Model:
    """The core record of a row."""
    kind = cells["kind"].removesuffix("-moe")
    extras = cells["extras"]
    layers, hidden = _whole(cells, "n_layers", 1), _whole(cells, "hidden", 1)
    heads, max_positions = _whole(cells, "heads", 1), _whole(cells, "max_positions")
    is_learned = cells["positions"] == "learned"
    window = _whole(cells, "window")
    alternates = "alternat" in extras
    is_encoder = _of({"kind": kind}, "kind", ("encoder", "decoder", "encoder-decoder")) == "encoder"
    return Model(
        key=cells["key"],
        name=cells["key"],
        kind=kind,  # type: ignore[arg-type]
        layers=layers,
        hidden_size=hidden,
        heads=heads,
        kv_heads=_whole(cells, "kv_heads", 1),
        head_dim=_whole(cells, "head_dim", 1),
        ffn_hidden_size=_whole(cells, "ffn"),
        is_gated_mlp=_is(cells, "gated"),
        activation={"relu2": "relu"}.get(cells["act"], cells["act"]),
        vocab_size=_whole(cells, "vocab", 1),
        has_tied_embeddings=_is(cells, "tied"),
        positions="rope" if cells["positions"] == "unknown" else _of(cells, "positions", _POSITIONS),
        max_positions=max_positions,
        is_causal=_is(cells, "causal"),
        norm=_of(cells, "norm", ("layernorm", "rmsnorm", "none")),
        has_norm_bias=_is(cells, "norm_bias"),
        norms_per_layer=_whole(cells, "norms_per_layer"),
        norm_position=_norm_position(cells, is_encoder),  # type: ignore[arg-type]
        has_embedding_norm=_is(cells, "emb_norm"),
        has_final_norm=_is(cells, "final_norm"),
        qkv_bias=_QKV_BIAS[_of(cells, "qkv_bias", tuple(_QKV_BIAS))],  # type: ignore[arg-type]
        has_output_bias=_is(cells, "out_bias"),
        has_mlp_bias=_is(cells, "mlp_bias"),
        has_head_bias=_is(cells, "head_bias"),
        has_qk_norm=_is(cells, "qk_norm"),
        window=window,
        windowed_layers=(layers // 2 if alternates else layers) if window else 0,
        mla=_mla(cells) if cells["kv_lora"] else None,
        moe=_moe(cells) if cells["experts"] else None,
        encoder_layers=_whole(cells, "enc_layers"),
        position_parameters=max_positions * hidden if is_learned else 0,
        token_types=_whole(cells, "type_vocab"),
        extra_parameters=_whole(cells, "extra_params"),
        adaptive_softmax_cutoffs=ADAPTIVE_CUTOFFS if "softmax=adaptive" in extras else (),
    )


def _norm_position(cells: Cells, is_encoder: bool) -> str:
    """Where the norms of a layer stand, as far as the table's columns tell."""
    if "parallel_residual=y" in cells["extras"] or cells["norms_per_layer"] == "1":
        return "parallel"
    if cells["norms_per_layer"] == "4":
        return "pre+post"
    return "post" if is_encoder or "post_norm=y" in cells["extras"] else "pre"


def _mla(cells: Cells) -> Mla:
    names = ("q_lora", "kv_lora", "qk_nope", "qk_rope", "v_head")
    return Mla(*(_whole(cells, name) for name in names))


def _moe(cells: Cells) -> Moe:
    return Moe(
        experts=_whole(cells, "experts", 2),
        experts_per_token=_whole(cells, "top_k", 1),
        expert_ffn_hidden_size=_whole(cells, "moe_ffn", 1),
        shared_ffn_hidden_size=_whole(cells, "shared_ffn"),
        dense_layers=_whole(cells, "dense_layers"),
        has_router_bias=_is(cells, "router_bias"),
    )


def _gpu(cells: Cells) -> GpuSpec:
    """The card as its file in specs/gpus would say it."""

    def number(name: str) -> float | None:
        return float(cells[name]) if cells[name] else None

    peaks = {"fp32": number("fp32_tflops"), "tf32": number("tf32_tensor_tflops"), "bf16": number("bf16_tensor_tflops")}
    peaks |= {"fp16": number("fp16_tensor_fp32acc_tflops"), "fp8": number("fp8_tensor_fp32acc_tflops")}
    values: dict[str, Any] = {
        "name": cells["name"],
        "series": cells["series"],
        "architecture": cells["architecture"],
        "compute_capability": cells["compute_capability"],
        "multiprocessors": _whole(cells, "sms", 1),
        "boost_mhz": number("boost_mhz"),
        "l2_mib": number("l2_mb"),
        "memory_gib": number("mem_gb"),
        "memory_type": cells["mem_type"],
        "memory_bandwidth_gb_per_s": number("mem_bw_gbs"),
        "power_limit_watts": number("tdp_w") or DEFAULT_WATTS,
        "form_factor": cells["form_factor"],
        "pcie_generation": _whole(cells, "pcie_gen", 1),
        "pcie_lanes": _whole(cells, "pcie_lanes", 1),
        "nvlink_gb_per_s": number("nvlink_gbs") or None,
        "peer_to_peer": cells["p2p_pcie"] or "no",
        "peak_tflops": {name: peak for name, peak in peaks.items() if peak is not None},
    }
    return GpuSpec.model_validate(values)


DEFAULT_WATTS = 300.0  # of a card whose power limit is not known; no replay depends on it
