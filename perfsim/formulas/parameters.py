"""How many parameters an architecture has, part by part, and how many of them a task trains.

Everything follows from the weight matrices of a layer: biases, adapters and tensor counts are sums over the same lists.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import lru_cache

from perfsim.core.model import Mla, Model, Product, Tower
from perfsim.core.numbers import Ints
from perfsim.core.workload import NF4_BYTES, Head, Precision, Task, Workload
from perfsim.errors import UnsupportedError

TASK_HEAD_OUTPUTS = 2  # classes of a classification head, or the start and end scores of a span head


@dataclass(frozen=True)
class Matrix:
    """The weight of one product: `inputs` x `outputs` values, named as Hugging Face names the projection."""

    name: str
    inputs: int
    outputs: int
    has_bias: bool = False


@dataclass(frozen=True)
class Part:
    """Parameters of a part of a model: `weights` of products, `others` (biases, norms, embeddings), and its tensors."""

    weights: int = 0
    others: int = 0
    tensors: int = 0

    @property
    def parameters(self) -> int:
        """All parameters of the part."""
        return self.weights + self.others

    def __add__(self, other: "Part") -> "Part":
        return Part(self.weights + other.weights, self.others + other.others, self.tensors + other.tensors)

    def __rmul__(self, times: int) -> "Part":
        return Part(times * self.weights, times * self.others, times * self.tensors)


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of one model, in named parts; the parts of a layer are counted once, not times the layers.

    total, active              all parameters; those that one token meets (without the experts it does not visit)
    embedding                  token, position and type embeddings with their norm, or the stem
    head                       the vocabulary projection where it is untied, and its bias
    final_norms                norms after the last layer
    extra                      towers, products after the last layer, what the other fields do not describe
    attention_layer            self-attention: products, biases, query and key norms
    cross_attention_layer      a decoder's attention to its encoder, without the norm before it; 0 without an encoder
    mlp_layer                  the ordinary MLP, modulation; 0 where every layer holds experts
    moe_layer                  router, all routed experts and the shared ones; 0 without experts
    moe_layer_active           router, shared experts and those routed ones that a token visits
    expert_parameters          all routed experts
    norms_layer                all norms of one layer (of the decoder, where there is an encoder too)
    dense_layer_total, moe_layer_total  one whole layer with an MLP, one with experts
    encoder_layer              one whole encoder layer of an encoder-decoder; 0 otherwise
    linear_parameters          weights of all products inside the layers: no embedding, head, bias or norm
    tensors_per_layer, tensors_per_moe_layer  weight, bias and norm tensors, with q, k, v and each expert stored apart
    tensors                    the same of the whole model, `extra` left out
    """

    total: int
    active: int
    embedding: int
    head: int
    final_norms: int
    extra: int
    attention_layer: int
    cross_attention_layer: int
    mlp_layer: int
    moe_layer: int
    moe_layer_active: int
    expert_parameters: int
    norms_layer: int
    dense_layer_total: int
    moe_layer_total: int
    encoder_layer: int
    linear_parameters: int
    tensors_per_layer: int
    tensors_per_moe_layer: int
    tensors: int


@lru_cache(maxsize=64)
def count(model: Model) -> ParameterCount:
    """The parameters of `model`, part by part [count]; of a convolutional model all together.

    Holds for: transformers whose layers differ only in holding an MLP or experts; convolutional nets.
    Source: the sum of the weights that each architecture's paper lists, e.g. GPT-2 (12 h^2 + 13 h a layer),
    latent attention in DeepSeek-V2 (arXiv 2405.04434), experts in Mixtral (arXiv 2401.04088).
    """
    if model.nets:
        return _count_nets(model)
    streams = 2 if model.context_tokens else 1
    attention = streams * (_part(attention_matrices(model)) + _query_key_norms(model))
    cross = attention if model.encoder_layers else Part()
    norm = _norm(model)
    norms = (model.norms_per_layer + (1 if model.encoder_layers else 0)) * norm
    mlp = streams * (_part(mlp_matrices(model, model.ffn_hidden_size)) + _part(_modulation_matrices(model)))
    experts, unvisited, common = _moe(model)

    dense_layers = model.layers - model.moe_layers
    dense_layer = attention + cross + norms + mlp if dense_layers else Part()
    moe_layer = attention + cross + norms + common + experts if model.moe_layers else Part()
    encoder_layer = attention + model.norms_per_layer * norm + mlp if model.encoder_layers else Part()
    embedding, head = _embedding(model), _head(model)
    final_norms = ((2 if model.encoder_layers else 1) if model.has_final_norm else 0) * norm
    layers = dense_layers * dense_layer + model.moe_layers * moe_layer
    layers += model.encoder_layers * encoder_layer
    joined = _matrix(Matrix("joined_proj", 2 * model.hidden_size, model.hidden_size))
    layers += model.mtp_layers * ((moe_layer if model.moe else dense_layer) + joined + 3 * norm)
    extra = Part(others=model.extra_parameters) + _part(_end_matrices(model.projection))
    extra = sum((_tower(tower) for tower in model.towers), extra)
    whole = layers + embedding + head + final_norms + extra
    unvisited_layers = model.moe_layers + (model.mtp_layers if model.moe else 0)
    return ParameterCount(
        total=whole.parameters,
        active=whole.parameters - unvisited_layers * unvisited.parameters,
        embedding=embedding.parameters,
        head=head.parameters,
        final_norms=final_norms.parameters,
        extra=extra.parameters,
        attention_layer=attention.parameters,
        cross_attention_layer=cross.parameters,
        mlp_layer=mlp.parameters,
        moe_layer=(common + experts).parameters,
        moe_layer_active=(common + experts).parameters - unvisited.parameters,
        expert_parameters=experts.parameters,
        norms_layer=norms.parameters,
        dense_layer_total=dense_layer.parameters,
        moe_layer_total=moe_layer.parameters,
        encoder_layer=encoder_layer.parameters,
        linear_parameters=layers.weights,
        tensors_per_layer=dense_layer.tensors,
        tensors_per_moe_layer=moe_layer.tensors,
        tensors=whole.tensors,
    )


def _count_nets(model: Model) -> ParameterCount:
    nothing = dict.fromkeys((f.name for f in fields(ParameterCount)), 0)
    total = sum(net.parameters for net in model.nets)
    tensors = sum(net.tensors for net in model.nets)
    return ParameterCount(**nothing | {"total": total, "active": total, "extra": total, "tensors": tensors})


def attention_matrices(model: Model) -> tuple[Matrix, ...]:
    """The products of one attention layer: q, k, v and output, or the low-rank chain of latent attention."""
    if model.mla:
        return _latent_matrices(model, model.mla)
    h, queries, keys = model.hidden_size, model.heads * model.head_dim, model.kv_heads * model.head_dim
    query_bias, key_bias = model.qkv_bias != "none", model.qkv_bias == "all"
    return (
        Matrix("q_proj", h, queries, query_bias),
        Matrix("k_proj", h, keys, key_bias),
        Matrix("v_proj", h, keys, query_bias),
        Matrix("o_proj", queries, h, model.has_output_bias),
    )


def mlp_matrices(model: Model, width: int) -> tuple[Matrix, ...]:
    """The products of an MLP of `width` hidden values (gate, up, down); none where the width is zero."""
    if not width:
        return ()
    h, bias = model.hidden_size, model.has_mlp_bias
    gate = (Matrix("gate_proj", h, width, bias),) if model.is_gated_mlp else ()
    return (*gate, Matrix("up_proj", h, width, bias), Matrix("down_proj", width, h, bias))


def trainable(
    model: Model,
    task: Task,
    head: Head = Head.LANGUAGE_MODEL,
    lora_rank: Ints = 0,
    lora_targets: Collection[str] = (),
) -> Ints:
    """How many parameters a task trains [count].

    LoRA of rank r adds r (inputs + outputs) to every adapted matrix (arXiv 2106.09685), and trains a classification or
    span head and what joins towers to the model beside them; FREEZE trains the head alone; the other tasks train
    everything that stands under the head, but for frozen towers.

    lora_targets: names of the adapted products; none named: all products inside the layers, experts with them.
    Raises: UnsupportedError for a target that the model does not have.
    """
    task_head = 0 if head is Head.LANGUAGE_MODEL else head_parameters(model, head)
    if task in (Task.LORA, Task.QLORA):
        return adapter_parameters(model, lora_rank, lora_targets) + task_head + _joints(model, head)
    if task is Task.FREEZE:
        return head_parameters(model, head)
    frozen = [tower.model for tower in model.towers if tower.is_frozen]
    still = sum(count(one).total - _part(_end_matrices(one.projection)).parameters for one in frozen)
    return parameters_with_head(model, head) - still


def base_bytes(task: Task, precision: Precision, model: Model) -> float:
    """Mean bytes of a frozen weight [B]: the compute format, but 4 bits for QLoRA's products inside the layers.

    0 where no adapters are trained. Source: Dettmers et al. 2023 (arXiv 2305.14314).
    """
    if task is Task.LORA:
        return precision.activation_bytes
    if task is not Task.QLORA:
        return 0.0
    counted = count(model)
    quantised = counted.linear_parameters / counted.total
    return NF4_BYTES * quantised + precision.activation_bytes * (1.0 - quantised)


def with_adapters(workload: Workload, task: Task, rank: int) -> Workload:
    """The same job with low-rank adapters of `rank` in place of what it trains; task: LORA or QLORA."""
    own = base_bytes(task, workload.precision, workload.model)
    return replace(workload, task=task, lora_rank=rank, base_bytes=own)


def parameters_with_head(model: Model, head: Head) -> int:
    """All parameters when `head` stands on the last layer, an untied vocabulary projection left out for other heads."""
    counted = count(model)
    if head is Head.LANGUAGE_MODEL:
        return counted.total
    return counted.total - counted.head + head_parameters(model, head)


def head_parameters(model: Model, head: Head) -> int:
    """Parameters of the head: the vocabulary projection (tied or not), a small one, or nothing of its own [count]."""
    match head:
        case Head.LANGUAGE_MODEL:
            return model.vocab_size * (model.word_size + (1 if model.has_head_bias else 0))
        case Head.NONE | Head.CONTRASTIVE:
            return 0
        case Head.REPLACED:
            return model.hidden_size * (model.hidden_size + 1) + model.hidden_size + 1
        case _:
            return TASK_HEAD_OUTPUTS * (model.hidden_size + 1)


def adapter_parameters(model: Model, rank: Ints, targets: Collection[str] = ()) -> Ints:
    """Parameters of low-rank adapters on every product that `targets` names (none named: all) [count]."""
    layer_products = _products(model)
    known = {matrix.name for matrix, _ in layer_products}
    for target in targets:
        if target not in known:
            close = get_close_matches(target, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"its products are {', '.join(sorted(known))}"
            raise UnsupportedError(f"{model.key} has no product {target}; {hint}")
    return rank * sum(
        copies * (matrix.inputs + matrix.outputs)
        for matrix, copies in layer_products
        if not targets or matrix.name in targets
    )


def _products(model: Model) -> list[tuple[Matrix, int]]:
    """Every product inside the layers with how many copies of it the model holds; routers are not among them."""
    attention = attention_matrices(model)
    mlp = mlp_matrices(model, model.ffn_hidden_size)
    decoder_attentions = model.layers * (2 if model.encoder_layers else 1)
    products = [(matrix, decoder_attentions + model.encoder_layers) for matrix in attention]
    products += [(matrix, model.layers - model.moe_layers + model.encoder_layers) for matrix in mlp]
    if moe := model.moe:
        expert = mlp_matrices(model, moe.expert_ffn_hidden_size)
        shared = mlp_matrices(model, moe.shared_ffn_hidden_size)
        products += [(matrix, model.moe_layers * moe.experts) for matrix in expert]
        products += [(matrix, model.moe_layers) for matrix in shared]
    for tower in model.towers:
        products += [] if tower.is_frozen else _products(tower.model)
    return products


def _joints(model: Model, head: Head) -> int:
    """Parameters of the products between the model and its towers, which are neither adapted nor frozen."""
    own = model.projection if head is Head.CONTRASTIVE else ()
    joined = [product for tower in model.towers for product in tower.model.projection]
    return _part(_end_matrices([*own, *joined])).parameters


def has_embedding_bias(model: Model) -> bool:
    """The product between word vectors and layers of another width has a bias: ELECTRA's has, OPT-350M's has not."""
    return model.kind == "encoder"


def _tower(tower: Tower) -> Part:
    """All of a tower; a generator's word vectors are the model's."""
    counted = count(tower.model)
    shared = tower.model.vocab_size * tower.model.word_size if tower.role == "generator" else 0
    weights = counted.linear_parameters
    return Part(weights, counted.total - weights - shared, counted.tensors - (1 if shared else 0))


def _modulation_matrices(model: Model) -> tuple[Matrix, ...]:
    h = model.hidden_size
    return (Matrix("modulation", h, model.modulations * h, True),) if model.modulations else ()


def _end_matrices(products: Iterable[Product]) -> tuple[Matrix, ...]:
    return tuple(Matrix(p.name, p.inputs, p.outputs, p.has_bias) for p in products)


def _latent_matrices(model: Model, mla: Mla) -> tuple[Matrix, ...]:
    h, queries = model.hidden_size, model.heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
    query = (
        (Matrix("q_a_proj", h, mla.q_lora_rank), Matrix("q_b_proj", mla.q_lora_rank, queries))
        if mla.q_lora_rank
        else (Matrix("q_proj", h, queries),)
    )
    return (
        *query,
        Matrix("kv_a_proj_with_mqa", h, mla.kv_lora_rank + mla.qk_rope_head_dim),
        Matrix("kv_b_proj", mla.kv_lora_rank, model.heads * (mla.qk_nope_head_dim + mla.v_head_dim)),
        Matrix("o_proj", model.heads * mla.v_head_dim, h),
    )


def _part(matrices: Iterable[Matrix]) -> Part:
    return sum((_matrix(m) for m in matrices), Part())


def _matrix(matrix: Matrix) -> Part:
    bias = matrix.outputs if matrix.has_bias else 0
    return Part(matrix.inputs * matrix.outputs, bias, 2 if matrix.has_bias else 1)


def _norm(model: Model) -> Part:
    """One norm over the hidden size: a scale and, for most layer norms, a bias."""
    has_weights = model.norm != "none" and model.norm_position != "adaLN-zero"
    tensors = (2 if model.has_norm_bias else 1) if has_weights else 0
    return Part(others=tensors * model.hidden_size, tensors=tensors)


def _query_key_norms(model: Model) -> Part:
    """Norms inside attention: over each head's queries and keys, or over the latent vectors."""
    if model.mla:
        ranks = [rank for rank in (model.mla.q_lora_rank, model.mla.kv_lora_rank) if rank]
        return Part(others=sum(ranks), tensors=len(ranks))
    return Part(others=2 * model.head_dim, tensors=2) if model.has_qk_norm else Part()


def _moe(model: Model) -> tuple[Part, Part, Part]:
    """Of one layer: all routed experts, those of them that a token does not visit, and what every token meets."""
    if not (moe := model.moe):
        return Part(), Part(), Part()
    expert = _part(mlp_matrices(model, moe.expert_ffn_hidden_size))
    router = _matrix(Matrix("router", model.hidden_size, moe.experts, moe.has_router_bias))
    shared = _part(mlp_matrices(model, moe.shared_ffn_hidden_size))
    return moe.experts * expert, (moe.experts - moe.experts_per_token) * expert, router + shared


def _embedding(model: Model) -> Part:
    e, h = model.word_size, model.hidden_size
    tables = (model.vocab_size * e, model.position_parameters, model.token_types * e)
    norm = _norm(replace(model, hidden_size=e)) if model.has_embedding_norm else Part()
    between = [] if e == h else [Matrix("embedding_projection", e, h, has_embedding_bias(model))]
    back = [] if e == h or model.kind == "encoder" else [Matrix("word_projection", h, e)]
    ends = _part([*_end_matrices(model.stem), *between, *back])
    others = sum(tables) + ends.parameters
    return norm + Part(others=others, tensors=ends.tensors + sum(1 for table in tables if table))


def _head(model: Model) -> Part:
    projection = 0 if model.has_tied_embeddings else model.vocab_size * model.word_size
    bias = model.vocab_size if model.has_head_bias else 0
    return Part(others=projection + bias, tensors=(1 if projection else 0) + (1 if bias else 0))
