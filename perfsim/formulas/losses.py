"""What a head holds while its loss runs: all logits at once, chunk by chunk, or fused with the head's product."""

import numpy as np

from perfsim.core.numbers import Floats
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.formulas.operations import Linear, Loss

LOG_SOFTMAX_BYTES = 4.0  # a logit's, in fp32, which eager cross entropy keeps for its backward pass


def loss_bytes(loss: Loss, product: Linear, workload: Workload, software: Software) -> Floats:
    """Bytes at the fullest moment of a loss and of its product's backward pass, hidden states apart [B].

    Whole: the software's logit_bytes a logit. In n chunks the logits of all stay, and in eager code their log-softmax
    in fp32; all else is one chunk's, in compiled code its gradient alone. Backward, autograd runs the chunks' losses
    first, so that all logits' gradients are there when the products' begin; each of these makes a weight gradient, to
    be added to the sum. Fused: of one chunk the logits, which the gradient overwrites, and two weight gradients too.
    Source: pytorch/torchtune torchtune/modules/loss/ce_chunked_output_loss.py; linkedin/Liger-Kernel
    src/liger_kernel/ops/fused_linear_cross_entropy.py; order of execution: pytorch torch/csrc/autograd/engine.cpp.
    """
    value = loss.activation_bytes
    whole = 0.5 * value * software.logit_bytes
    if workload.loss_chunks == 1 and not workload.fused_linear_loss:
        return whole * loss.logits
    gradients = 2.0 * value * product.weights * product.is_trained
    if workload.fused_linear_loss:
        return value * loss.logits / fused_chunks(loss, product) + gradients
    chunk = 1.0 / workload.loss_chunks
    is_eager = software.fusion == "eager"
    kept = value + (LOG_SOFTMAX_BYTES if is_eager else 0.0)
    passing = max(whole - kept, 0.0) if is_eager else value
    ahead = (kept + passing * chunk) * loss.logits
    return np.maximum(ahead, value * (1.0 - chunk) * loss.logits + gradients)


def fused_chunks(loss: Loss, product: Linear) -> Floats:
    """Into how many chunks Liger-Kernel cuts the rows, so that a chunk's logits are as large as its hidden states [-].

    >>> float(fused_chunks(Loss("loss", 2.0, 8192.0, 128256.0), Linear("logits", 2.0, contraction=3072.0)))
    32.0
    """
    rows = np.maximum(1.0, loss.rows)
    most = np.ceil(rows / np.ceil(loss.classes / product.contraction))
    return np.ceil(rows / 2.0 ** np.ceil(np.log2(most)))
