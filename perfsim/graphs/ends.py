"""The graphs at a model's ends: what makes hidden values of words, pixels or sounds; what stands on the last layer."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from perfsim.core.model import Product
from perfsim.core.numbers import Floats
from perfsim.core.plan import Plan
from perfsim.core.software import Software
from perfsim.core.workload import Head, Workload
from perfsim.formulas.operations import Lookup, Loss
from perfsim.formulas.parameters import has_embedding_bias
from perfsim.graphs.blocks import Block
from perfsim.graphs.builder import Builder
from perfsim.graphs.vocabulary import softmax_clusters, word_values, words_on_rank

if TYPE_CHECKING:
    import networkx as nx

_WHOLE: dict[str, Any] = {"adapter_rank": 0, "stored_bytes": 0.0}  # neither adapted nor quantised


def embedding_graph(
    workload: Workload, plan: Plan, software: Software, is_encoder: bool = False, has_own_words: bool = True
) -> "nx.DiGraph[str]":
    """The stem, or word, position and type tables added up; and what follows.

    is_encoder: that of an encoder before a decoder. has_own_words: the word vectors are not those of another part.
    """
    model = workload.model
    block = Block("embedding", 1, has_cross_attention=model.encoder_layers > 0, is_encoder=is_encoder)
    build = Builder(workload, plan, software, block)
    values = build.rows / build.shard * model.hidden_size
    if model.stem and is_encoder == (model.encoder_layers > 0):
        _products(build, model.stem, None, **_WHOLE)
        if model.positions in ("learned", "sinusoidal"):
            build.pointwise("positions", "add", values)
    else:
        _words(build, has_own_words and not is_encoder)
    if model.has_embedding_norm:
        build.norm("embedding_norm", width=model.word_size)
    if model.word_size != model.hidden_size:
        build.linear("embedding_projection", model.hidden_size, model.word_size, has_embedding_bias(model), **_WHOLE)
    if workload.dropout > 0:
        build.pointwise("embedding_dropout", "dropout", values)
    return build.graph


def head_graph(workload: Workload, plan: Plan, software: Software, is_trained: bool) -> "nx.DiGraph[str]":
    """Final norm, projection, what the task needs, and its loss. is_trained: these products' weights are."""
    model = workload.model
    block = Block("head", 1, has_cross_attention=model.encoder_layers > 0)
    build = Builder(workload, plan, software, block, is_trained=is_trained)
    if model.has_final_norm and model.norm_position != "post":
        build.norm("final_norm")
    _products(build, model.projection, build.last, **_WHOLE)
    sequences = 1.0 * plan.micro_batch_size
    match workload.head:
        case Head.LANGUAGE_MODEL:
            _language_model(build)
        case Head.SPAN:
            build.linear("span", 2.0, model.hidden_size, True, **_WHOLE)
        case Head.REPLACED:
            build.linear("prediction", float(model.hidden_size), model.hidden_size, True, **_WHOLE)
            build.pointwise("prediction_activation", "activation", build.rows * model.hidden_size)
            build.linear("replaced_token", 1.0, model.hidden_size, True, **_WHOLE)
        case Head.CLASSIFICATION:
            if model.kind == "encoder":
                build.linear("pooler", float(model.hidden_size), model.hidden_size, True, rows=sequences, **_WHOLE)
            build.linear("classifier", 2.0, model.hidden_size, True, rows=sequences, **_WHOLE)
        case Head.CONTRASTIVE:
            _contrast(build)
    return build.graph


def _words(build: Builder, has_own_words: bool) -> None:
    model = build.workload.model
    tables = 1 + (model.positions == "learned") + (model.token_types > 0)
    width, t, multiple = model.word_size, build.plan.tensor_parallel, build.software.vocabulary_multiple
    values = width * words_on_rank(word_values(model) / width, t, multiple) if has_own_words else 0.0
    build.add(Lookup("embedding", build.residual, build.rows, 1.0 * width, values, tables, bool(build.is_trained)))


def _products(build: Builder, products: Iterable[Product], source: str | None, **more: Any) -> None:
    """Products one after the other; those of whole sequences read each other, not those of tokens.

    source: what the first of both read; None: it comes from outside and has no gradient.
    """
    newest: dict[bool, str] = {True: source, False: source} if source else {}
    for product in products:
        of_tokens = product.rows_per_token > 0
        rows = build.rows * product.rows_per_token if of_tokens else 1.0 * build.plan.micro_batch_size
        reads, given = newest.get(of_tokens), dict(more)
        if reads is None:
            reads = build.source(f"{product.name}_input", rows * product.inputs)
            given["has_input_gradient"] = False
        name = f"{product.name}_product"
        build.linear(name, float(product.outputs), product.inputs, product.has_bias, reads, rows=rows, **given)
        if product.activation:
            build.pointwise(f"{product.name}_activation", "activation", rows * product.outputs)
        newest[of_tokens] = build.last
    build.last = newest.get(True, build.last)


def _language_model(build: Builder) -> None:
    """The vocabulary projection of the positions that have one; again for every further token that is predicted."""
    model = build.workload.model
    rows = build.rows * (build.workload.head_positions / np.maximum(1.0 * build.tokens, 1.0))
    hidden = build.last
    if model.kind == "encoder":  # BERT's transform before the vocabulary projection
        build.linear("transform", float(model.word_size), model.hidden_size, True, rows=rows, **_WHOLE)
        build.pointwise("transform_activation", "activation", rows * model.word_size)
    elif model.word_size != model.hidden_size:
        build.linear("word_projection", float(model.word_size), model.hidden_size, False, rows=rows, **_WHOLE)
    _vocabulary(build, "logits", rows)
    for i in range(model.mtp_layers):
        build.norm(f"next_norm{i}", hidden)
        _vocabulary(build, f"logits_next{i}", rows)


def _vocabulary(build: Builder, name: str, rows: Floats) -> None:
    """The vocabulary projection and its loss, in one piece or in Transformer-XL's adaptive clusters."""
    model, t = build.workload.model, build.plan.tensor_parallel
    hidden = build.last
    for suffix, classes, share, width in softmax_clusters(model):
        part, cluster, source = f"{name}{suffix}", rows * share, hidden
        if model.adaptive_softmax_divisor > 1:
            projection = f"{part}_projection"
            source = build.linear(projection, width, model.hidden_size, False, hidden, rows=cluster, **_WHOLE)
        words, bias = words_on_rank(classes, t, build.software.vocabulary_multiple), model.has_head_bias
        build.linear(part, words, width, bias, source, rows=cluster, is_vocabulary=True, **_WHOLE)
        build.add(Loss(f"{part}_loss", build.value, cluster, words))


def _contrast(build: Builder) -> None:
    """Each sample's similarity to every sample of the global batch, both ways (Radford et al. 2021, arXiv 2103.00020).

    Every rank scores its own samples against what it gathered of all others (mlfoundations/open_clip
    src/open_clip/loss.py, local_loss); gathering vectors of so few values is not counted.
    """
    width, batch = build.workload.model.projection[-1].outputs, 1.0 * build.workload.global_batch_size
    rows, source = 1.0 * build.plan.micro_batch_size, build.last
    for name in ("logits", "logits_back"):
        build.linear(name, batch, width, False, source, rows=rows, is_vocabulary=True, **_WHOLE)
        build.add(Loss(f"{name}_loss", build.value, rows, batch))
