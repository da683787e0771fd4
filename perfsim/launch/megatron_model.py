"""A decoder's architecture as Megatron-LM's arguments, and which architectures have none.

Names: NVIDIA/Megatron-LM megatron/training/arguments.py at core_v0.19.0.
"""

from collections.abc import Iterator

from perfsim.core.model import Model
from perfsim.launch.job import Job, Refusal, Value

POSITIONS = {"learned": "learned_absolute", "rope": "rope", "none": "none"}
NORMS = {"layernorm": "LayerNorm", "rmsnorm": "RMSNorm"}


def refusals(job: Job) -> Iterator[Refusal]:
    """What of the model pretrain_gpt.py has no argument for."""
    found = list(_lacks(job.workload.model))
    if found:
        yield Refusal("model", f"{job.workload.model.key}: pretrain_gpt.py has no argument for {', '.join(found)}")


def _lacks(model: Model) -> Iterator[str]:
    if model.kind != "decoder":
        yield f"a model of the kind {model.kind}"
        return
    if model.positions not in POSITIONS:
        yield f"{model.positions} positions"
    if model.norm_position != "pre" or model.norm not in NORMS:
        yield f"norms of the kind {model.norm}, {model.norm_position}"
    is_plain = model.activation.startswith("gelu") and not model.is_gated_mlp
    if not is_plain and not (model.activation == "silu" and model.is_gated_mlp):
        yield f"the activation {model.activation}{', gated' if model.is_gated_mlp else ''}"
    biases = {model.has_output_bias, model.has_mlp_bias}
    if len(biases) > 1 or model.qkv_bias == "qv" or (model.has_mlp_bias and model.qkv_bias == "none"):
        yield "biases of some products alone"
    if model.window or model.has_chunks:
        yield "attention in windows of some layers"
    if model.towers or model.stem or model.projection or model.embedding_size or model.has_embedding_norm:
        yield "what stands around its layers"


def arguments(job: Job) -> Iterator[tuple[str, Value | None]]:
    """Sizes, norms, positions, activation, experts and latent attention."""
    model = job.workload.model
    yield "--num-layers", model.layers
    yield "--hidden-size", model.hidden_size
    yield "--ffn-hidden-size", model.ffn_hidden_size
    yield "--num-attention-heads", model.heads
    if model.mla is None:
        yield "--kv-channels", model.head_dim
    if model.mla is None and model.kv_heads != model.heads:
        yield "--group-query-attention", None
        yield "--num-query-groups", model.kv_heads
    yield "--vocab-size", model.vocab_size
    yield "--max-position-embeddings", max(model.max_positions, int(job.workload.seq_len))
    yield "--position-embedding-type", POSITIONS[model.positions]
    yield "--normalization", NORMS[model.norm]
    if model.is_gated_mlp:
        yield "--swiglu", None
    if not model.has_mlp_bias:
        yield "--disable-bias-linear", None
    if model.qkv_bias == "all" and not model.has_mlp_bias:
        yield "--add-qkv-bias", None
    if model.has_qk_norm:
        yield "--qk-layernorm", None
    if not model.has_tied_embeddings:
        yield "--untie-embeddings-and-output-weights", None
    if model.mtp_layers:
        yield "--mtp-num-layers", model.mtp_layers
    yield from _latent(model)
    yield from _experts(model)


def _latent(model: Model) -> Iterator[tuple[str, Value | None]]:
    if model.mla is None:
        return
    yield "--multi-latent-attention", None
    if model.mla.q_lora_rank:
        yield "--q-lora-rank", model.mla.q_lora_rank
    yield "--kv-lora-rank", model.mla.kv_lora_rank
    yield "--qk-head-dim", model.mla.qk_nope_head_dim
    yield "--qk-pos-emb-head-dim", model.mla.qk_rope_head_dim
    yield "--v-head-dim", model.mla.v_head_dim


def _experts(model: Model) -> Iterator[tuple[str, Value | None]]:
    moe = model.moe
    if moe is None:
        return
    yield "--num-experts", moe.experts
    yield "--moe-router-topk", moe.experts_per_token
    yield "--moe-ffn-hidden-size", moe.expert_ffn_hidden_size
    if moe.shared_ffn_hidden_size:
        yield "--moe-shared-expert-intermediate-size", moe.shared_ffn_hidden_size
    if moe.dense_layers:
        yield "--moe-layer-freq", f"'([0]*{moe.dense_layers}+[1]*{model.moe_layers})'"
    yield "--moe-grouped-gemm", None
    yield "--moe-token-dispatcher-type", "alltoall"
