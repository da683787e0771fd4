"""The optimizer's own kernels: passes over weights, gradients and moments, and Muon's products."""

import numpy as np

from perfsim.core.numbers import Floats
from perfsim.core.optimizer import OPTIMIZERS, Optimizer
from perfsim.core.software import Software
from perfsim.formulas.operations import Linear
from perfsim.formulas.roofline import Kernel

# HBM traffic per parameter of LAMB compiled by TorchScript, tensor by tensor (NVIDIA/DeepLearningExamples
# PyTorch/LanguageModeling/Transformer-XL/pytorch/lamb.py: 14 passes in fp32 and three more for clipping and zeroing)
LAMB_LOOP_BYTES = 68.0

# kernels of an update, tensor by tensor, against Adam's 18: SGD's weight decay, momentum (2), update and zeroing
# (pytorch torch/optim/sgd.py); all others assumed to launch as many as Adam
OPTIMIZER_KERNELS = {"sgd": 5.0 / 18.0, "sgd-plain": 3.0 / 18.0}

FOREACH_KERNELS = 14.0  # of a multi-tensor Adam (pytorch torch/optim/adam.py, _multi_tensor_adam)
NEWTON_SCHULZ_STEPS = 5  # KellerJordan/Muon muon.py, zeropower_via_newtonschulz5


def optimizer_kernels(
    optimizer: Optimizer, software: Software, parameters: Floats, tensors: Floats, has_master: bool,
    is_one_by_one: bool = False,
) -> tuple[Kernel, ...]:  # fmt: skip
    """The kernels of one optimizer step over `parameters` held by this rank in `tensors` tensors.

    Bytes: the software's Adam traffic per parameter, scaled by what other optimizers move against Adam (fp32 states);
    a master copy adds the cast back to 16 bits and the unscaling of 16-bit gradients. is_one_by_one: every tensor is
    updated as soon as its gradient is there.
    """
    per_parameter = software.adam_bytes_per_parameter * optimizer.update_bytes / OPTIMIZERS["adam"].update_bytes
    if optimizer.key == "lamb" and software.adam_kernels_per_tensor > 0:
        per_parameter = LAMB_LOOP_BYTES
    size = (per_parameter + 12.0 * has_master) * parameters
    launches: Floats
    if software.adam_kernels_per_tensor > 0:
        launches = software.adam_kernels_per_tensor * OPTIMIZER_KERNELS.get(optimizer.key, 1.0) * tensors
    elif software.optimizer == "foreach":
        launches = FOREACH_KERNELS * (tensors if is_one_by_one else np.maximum(1.0, tensors / 40.0))
    else:
        launches = tensors if is_one_by_one else np.maximum(8.0, tensors / 100.0)
    return (Kernel("optimizer", "fp32", size / launches, launches=launches),)


def orthogonal_kernels(operation: Linear) -> tuple[Kernel, ...]:
    """Muon's Newton-Schulz steps on the weight of `operation`, or on its adapter: X is m x n with m <= n, in bf16.

    A step is A = X·Xᵀ, B = b·A + c·A·A and X = a·X + B·X: 4·m²·n + 2·m³ FLOPs a matrix, and two sums.
    Source: KellerJordan/Muon muon.py; Liu et al. 2025 (arXiv 2502.16982).
    """
    if not operation.is_trained and not operation.adapter_rank:
        return ()
    shapes = [(operation.columns, operation.contraction)]
    if operation.adapter_rank:
        rank = 1.0 * operation.adapter_rank
        shapes = [(rank, operation.contraction), (operation.columns, rank)]
    kernels: list[Kernel] = []
    for one, other in shapes:
        m, n = np.minimum(one, other), np.maximum(one, other)
        for rows, columns, contraction in ((m, m, n), (m, m, m), (m, n, m)):
            kernels.append(_product(operation.count, rows, columns, contraction))
        for values in (m * m, m * n):
            kernels.append(Kernel("elementwise", "bf16", 6.0 * operation.count * values, launches=NEWTON_SCHULZ_STEPS))
    return tuple(kernels)


def _product(batch: Floats, rows: Floats, columns: Floats, contraction: Floats) -> Kernel:
    size = 2.0 * batch * (rows * contraction + contraction * columns + rows * columns)
    return Kernel(
        "product", "bf16", size, flops=2.0 * batch * rows * columns * contraction, batch=batch, rows=rows,
        columns=columns, contraction=contraction, launches=1.0 * NEWTON_SCHULZ_STEPS,
    )  # fmt: skip
