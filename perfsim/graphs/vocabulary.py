"""The words of a model: one softmax over all, padded and split over ranks, or Transformer-XL's adaptive clusters."""

import numpy as np

from perfsim.core.model import Model
from perfsim.core.numbers import Floats, Ints

ADAPTIVE_SHARES = (0.953, 0.021, 0.023, 0.003)  # tokens by cluster, WikiText-103 with cutoffs 20k, 40k, 200k: assumed


def words_on_rank(words: Floats, tensor_parallel: Ints, multiple: int) -> Floats:
    """Rows of the vocabulary's matrix on one tensor-parallel rank, each rank's padded to a `multiple` [-].

    Source: NVIDIA/Megatron-LM megatron/training/tokenizer (vocab_size_with_padding).

    >>> float(words_on_rank(131073.0, 4, 128)), float(words_on_rank(50257.0, 2, 1))
    (32896.0, 25128.5)
    """
    share = words / np.asarray(tensor_parallel)
    return np.ceil(share / multiple) * multiple if multiple > 1 else share


def softmax_clusters(model: Model) -> list[tuple[str, float, float, float]]:
    """(suffix, columns, share of tokens, width) of the output softmax; one entry unless it is adaptive.

    Grave et al. 2016 (arXiv 1609.04309): the head holds the frequent words and one column a cluster, and only the
    tokens of a cluster go through its columns.
    """
    cutoffs, h = model.adaptive_softmax_cutoffs, model.word_size
    if not cutoffs:
        return [("", float(model.vocab_size), 1.0, float(h))]
    edges = (*cutoffs, model.vocab_size)
    tails = zip(edges, edges[1:], ADAPTIVE_SHARES[1:], strict=False)
    head = [("_head", float(cutoffs[0] + len(cutoffs)), 1.0, float(h))]
    return head + [
        (f"_tail{i}", float(high - low), share, float(h // model.adaptive_softmax_divisor**i))
        for i, (low, high, share) in enumerate(tails, 1)
    ]


def word_values(model: Model) -> float:
    """Values of the word embedding, narrower for each further cluster of an adaptive softmax with a divisor."""
    if model.adaptive_softmax_divisor == 1:
        return 1.0 * model.vocab_size * model.word_size
    edges = (0, *model.adaptive_softmax_cutoffs, model.vocab_size)
    widths = (model.hidden_size // model.adaptive_softmax_divisor**i for i in range(len(edges)))
    return float(sum((high - low) * width for low, high, width in zip(edges, edges[1:], widths, strict=False)))
