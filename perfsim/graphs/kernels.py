"""What a framework launches for each operation: software lowers a graph's operations to kernels.

The lists follow the frameworks' own code: eager PyTorch runs one kernel an operation, Megatron and Transformer Engine
fuse dropout with the residual, compilers fuse every pointwise chain. Bytes are reads plus writes of each kernel.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from perfsim.core.calibration import Calibration
from perfsim.core.numbers import Bools, Floats
from perfsim.core.software import Software
from perfsim.formulas.operations import (
    Attention,
    Linear,
    Lookup,
    Loss,
    Norm,
    Operation,
    Pointwise,
    Route,
    is_misaligned,
)
from perfsim.formulas.roofline import Kernel

# elementwise passes of rotary positions in eager code: rotation, two products and a sum for queries and for keys
EAGER_ROPE_PASSES = 8.0


@dataclass(frozen=True)
class Lowered:
    """The kernels of one operation, forward and backward."""

    forward: tuple[Kernel, ...] = ()
    backward: tuple[Kernel, ...] = ()


@dataclass(frozen=True)
class Lowering:
    """How operations become kernels: a software, the number format of its products, the attention kernel that runs.

    Products of the head and of attention stay in 16 bits when the layers' products run in 8 or 4. `is_autocast`:
    weights are kept in fp32 and cast at each use, norms and residuals run in fp32.
    """

    software: Software
    calibration: Calibration
    number_format: str
    is_autocast: bool = False
    has_backward: bool = True

    def lower(self, operation: Operation) -> Lowered:
        """The kernels that `operation` launches."""
        match operation:
            case Linear():
                found = Lowered(tuple(self._linear_forward(operation)), tuple(self._linear_backward(operation)))
            case Attention() if operation.is_flash:
                found = self._flash(operation)
            case Attention():
                found = self._naive(operation)
            case Norm():
                found = self._norm(operation)
            case Pointwise():
                found = self._pointwise(operation)
            case Lookup():
                found = self._lookup(operation)
            case Loss():
                found = self._loss(operation)
            case Route():
                move = self._stream(2.0 * operation.read_bytes)
                found = Lowered((move,), (move, move))
            case _:  # exchanges and inputs launch nothing of their own
                found = Lowered()
        return found if self.has_backward else Lowered(found.forward)

    @property
    def wide_format(self) -> str:
        """The format of products that never run in 8 or 4 bits."""
        return "bf16" if self.number_format in ("fp8", "fp4") else self.number_format

    def _stream(self, size: Floats, kind: str = "elementwise", launches: Floats = 1.0) -> Kernel:
        return Kernel(kind, self.number_format, size, launches=launches)  # type: ignore[arg-type]

    def _product(
        self, rows: Floats, columns: Floats, contraction: Floats, value: float, batch: Floats = 1.0,
        extra: Floats = 0.0, odd: Bools = False, wide: bool = False,
    ) -> Kernel:  # fmt: skip
        size = batch * value * (rows * contraction + contraction * columns + rows * columns) + extra
        return Kernel(
            "product", self.wide_format if wide else self.number_format, size,
            flops=2.0 * batch * rows * columns * contraction, batch=batch, rows=rows, columns=columns,
            contraction=contraction, is_misaligned=odd,
        )  # fmt: skip

    def _linear_forward(self, op: Linear) -> Iterator[Kernel]:
        value, software = op.activation_bytes, self.software
        output = op.output_values * value
        copies = op.has_bias and software.has_bias_copy
        if op.stored_bytes:
            yield self._stream(op.weights * (op.stored_bytes + value))
        if copies:
            yield self._stream(output)
        if self.is_autocast and op.is_trained:
            yield self._stream(op.weights * 6.0)  # autocast: weight to 16 bits
        yield from self._quantise(op.count * op.rows * op.contraction, value)
        odd, wide = is_misaligned(op.columns, op.contraction), op.is_vocabulary
        yield self._product(op.rows, op.columns, op.contraction, value, op.count, output if copies else 0.0, odd, wide)
        if op.adapter_rank:
            yield from self._adapter(op, 1.0)

    def _linear_backward(self, op: Linear) -> Iterator[Kernel]:
        value = op.activation_bytes
        odd, wide = is_misaligned(op.columns, op.contraction), op.is_vocabulary
        if op.has_input_gradient:
            if op.stored_bytes:
                yield self._stream(op.weights * (op.stored_bytes + value))
            yield from self._quantise(op.output_values, value)
            yield self._product(op.rows, op.contraction, op.columns, value, op.count, 0.0, odd, wide)
        if op.is_trained:
            yield self._product(op.columns, op.contraction, op.rows, value, op.count, 0.0, odd, wide)
            if self.is_autocast:
                yield self._stream(op.weights * 6.0)  # autocast: gradient to 32 bits
            if op.has_bias:
                yield self._stream(op.output_values * value, "softmax")  # column sums
        if op.adapter_rank and op.has_input_gradient:
            yield from self._adapter(op, 2.0)

    def _quantise(self, values: Floats, value: float) -> Iterator[Kernel]:
        """Casting a product's operand to 8 or 4 bits with a transposed copy; fused code has the values at hand."""
        if self.number_format in ("fp8", "fp4"):
            read = value if self.software.fusion == "eager" else 0.0
            yield self._stream(values * (read + 2.0))

    def _adapter(self, op: Linear, factor: float) -> Iterator[Kernel]:
        """Low-rank adapter: two thin products, dropout, scale and sum; twice that backward."""
        value, rank = op.activation_bytes, float(op.adapter_rank)
        for _ in range(int(factor)):
            yield self._product(op.rows, rank, op.contraction, value, op.count)
            yield self._product(op.rows, op.columns, rank, value, op.count)
        passes = 1.0 if self.software.fusion == "compiled" else 2.0
        yield self._stream(op.output_values * value * 3.0 * passes / 2.0)
        yield self._stream(op.count * op.rows * op.contraction * value * 2.0)

    def _flash(self, op: Attention) -> Lowered:
        """One fused kernel; a causal one skips half of the square (Dao et al. 2022, arXiv 2205.14135)."""
        executed = op.forward_flops * (0.5 if op.is_causal else 1.0)
        size = op.read_bytes + op.written_bytes
        share = self.calibration.attention_small_head_share if op.qk_dim <= 64 else 1.0
        share *= self.software.attention_efficiency
        backward_share = share * self.calibration.attention_backward_share
        wide, keys = self.wide_format, op.key_len
        old = self.software.attention in ("sdpa", "flash-1", "flash-2")
        forward = Kernel("attention", wide, size, executed, rows=keys, efficiency=share, is_pre_hopper=old)
        backward = Kernel(
            "attention", wide, 2.5 * size, 2.5 * executed, rows=keys, efficiency=backward_share, is_pre_hopper=old
        )
        return Lowered((forward,), (backward,))

    def _naive(self, op: Attention) -> Lowered:
        """Scores and probabilities go through memory: two products forward, four backward, softmax between."""
        a, batch = op.activation_bytes, op.sequences * op.heads
        q, k, d, v, scores = op.query_len, op.key_len, op.qk_dim, op.v_dim, op.scores
        tokens = op.output_values * a
        wide = True
        forward = [self._product(q, k, d, a, batch, wide=wide), self._product(q, v, k, a, batch, wide=wide)]
        backward = [
            self._product(q, k, v, a, batch, wide=wide), self._product(k, v, q, a, batch, wide=wide),
            self._product(q, d, k, a, batch, wide=wide), self._product(k, d, q, a, batch, wide=wide),
        ]  # fmt: skip
        mask = 1.0 if op.has_dropout else 0.0
        if self.software.fusion == "eager":
            upcast = 6.0 if self.is_autocast else 0.0
            forward.append(self._stream(2.0 * a * scores, launches=2.0))
            forward.append(self._stream((2.0 * a + upcast) * scores, "softmax"))
            backward += [self._stream((3.0 * a + upcast) * scores, "softmax"), self._stream(2.0 * a * scores)]
            if op.has_dropout:
                forward.append(self._stream((2.0 * a + 1.0) * scores))
                backward.append(self._stream((2.0 * a + 1.0) * scores))
        elif self.software.fusion == "fused":  # scale, mask and softmax in one kernel, half the square when causal
            half = 0.75 if op.is_causal else 1.0
            forward.append(self._stream(2.0 * a * half * scores, "softmax"))
            backward.append(self._stream(3.0 * a * half * scores, "softmax"))
            if op.has_dropout:
                forward.append(self._stream((2.0 * a + 1.0) * scores))
                backward.append(self._stream((2.0 * a + 1.0) * scores))
        else:
            forward.append(self._stream((3.0 * a + mask) * scores, "softmax"))
            backward.append(self._stream((4.0 * a + mask) * scores, "softmax"))
        forward.append(self._stream(2.0 * tokens))
        backward.append(self._stream(2.0 * tokens))
        if self.software.has_contiguous_copies:
            forward.append(self._stream(2.0 * tokens, launches=3.0))
            backward.append(self._stream(2.0 * tokens, launches=3.0))
        if op.is_relative:
            self._relative(op, forward, backward)
        return Lowered(tuple(forward), tuple(backward))

    def _relative(self, op: Attention, forward: list[Kernel], backward: list[Kernel]) -> None:
        """Transformer-XL's position scores: one more product, the relative shift and the biases of eager code."""
        a, batch = op.activation_bytes, op.sequences * op.heads
        q, k, d, scores = op.query_len, op.key_len, op.qk_dim, op.scores
        queries, keys = op.output_values * a, op.sequences * op.heads * k * d * a
        forward += [
            self._product(q, k, d, a, batch, wide=True),
            self._stream(2.0 * a * scores),
            self._stream(a * scores),
            self._stream(2.0 * queries, launches=4.0),
            self._stream(2.0 * keys, launches=2.0),
        ]
        backward += [
            self._product(q, d, k, a, batch, wide=True), self._product(k, d, q, a, batch, wide=True),
            self._stream(2.0 * a * scores, launches=2.0), self._stream(a * scores),
            self._stream(2.0 * queries, launches=4.0), self._stream(2.0 * keys, launches=2.0),
            self._stream(queries, "softmax", 2.0), self._stream(9.0 * keys),
        ]  # fmt: skip

    def _norm(self, op: Norm) -> Lowered:
        """Normalisation; eager code sums gamma's and beta's gradients in a column kernel of its own."""
        r, values = op.activation_bytes, op.output_values
        column = Kernel("column", self.number_format, 2.0 * r * values, rows=op.rows)
        if self.software.fusion == "compiled":  # residual sum and casts ride along
            return Lowered((self._stream(3.0 * r * values, "norm"),), (self._stream(4.0 * r * values, "norm"),))
        forward = [self._stream(2.0 * r * values, "norm")]
        backward = [self._stream(3.0 * r * values, "norm")]
        if self.software.fusion == "fused":
            return Lowered(tuple(forward), (self._stream(5.0 * r * values, "norm"),))
        if self.is_autocast:
            forward.append(self._stream(1.5 * r * values))
            backward.append(self._stream(1.5 * r * values))
        if op.is_trained:
            backward.append(column)
        return Lowered(tuple(forward), tuple(backward))

    def _pointwise(self, op: Pointwise) -> Lowered:
        a, n = op.activation_bytes, op.values
        is_eager, is_compiled = self.software.fusion == "eager", self.software.fusion == "compiled"
        match op.action:
            case "activation":
                sizes = (2.0 * a, 3.0 * a)
            case "gate":
                sizes = (5.0 * a, 8.0 * a) if is_eager else (3.0 * a, 5.0 * a)
                launches = 2.0 if is_eager else 1.0
                return Lowered(
                    (self._stream(sizes[0] * n / launches, launches=launches),),
                    (self._stream(sizes[1] * n / launches, launches=launches),),
                )
            case "dropout":
                if is_compiled:
                    sizes = (1.0, 1.0)
                elif is_eager:
                    sizes = (2.0 * a + 1.0, 2.0 * a + 1.0)
                else:  # one kernel with the residual sum: here the mask, the read and the bias
                    sizes = (a + 1.0, 2.0 * a + 1.0)
            case "add":
                if is_compiled:
                    return Lowered((), (self._stream(3.0 * a * n),))
                sizes = (3.0 * a, 3.0 * a) if is_eager else (2.0 * a, 3.0 * a)
            case "rope":
                if is_eager:
                    passes = EAGER_ROPE_PASSES
                    return Lowered(
                        (self._stream(2.0 * a * n, launches=passes),), (self._stream(2.0 * a * n, launches=passes),)
                    )
                sizes = (2.0 * a, 2.0 * a)
        return Lowered((self._stream(sizes[0] * n),), (self._stream(sizes[1] * n),))

    def _lookup(self, op: Lookup) -> Lowered:
        a, n, tables = op.activation_bytes, op.output_values, float(op.tables)
        forward = [self._stream(2.0 * a * n, "gather", tables)]
        if op.tables > 1:
            forward.append(self._stream(3.0 * a * n, launches=tables))
        backward = []
        if op.is_trained:
            backward = [self._stream(4.0 * a * n, "gather", tables), self._stream(2.0 * a * op.table_values)]
        return Lowered(tuple(forward), tuple(backward))

    def _loss(self, op: Loss) -> Lowered:
        half = self.software.loss_bytes_per_logit / 2.0
        return Lowered((self._stream(half * op.logits, "softmax"),), (self._stream(half * op.logits, "softmax"),))


def optimizer_kernels(
    optimizer: str, software: Software, parameters: Floats, tensors: Floats, has_master: bool
) -> tuple[Kernel, ...]:
    """The kernels of one optimizer step over `parameters` held by this rank in `tensors` tensors.

    Bytes: the software's Adam traffic per parameter, scaled by what other optimizers move against Adam (fp32 states);
    a master copy adds the cast back to 16 bits and the unscaling of 16-bit gradients.
    """
    per_parameter = software.adam_bytes_per_parameter * OPTIMIZER_TRAFFIC[optimizer]
    if optimizer == "lamb" and software.adam_kernels_per_tensor > 0:
        per_parameter = LAMB_LOOP_BYTES
    size = (per_parameter + 12.0 * has_master) * parameters
    if software.adam_kernels_per_tensor > 0:
        launches = software.adam_kernels_per_tensor * tensors
    elif software.optimizer == "foreach":
        launches = 14.0 * np.maximum(1.0, tensors / 40.0)
    else:
        launches = np.maximum(8.0, tensors / 100.0)
    return (Kernel("optimizer", "fp32", size / launches, launches=launches),)


# HBM traffic per parameter of LAMB compiled by TorchScript, tensor by tensor (NVIDIA/DeepLearningExamples
# PyTorch/LanguageModeling/Transformer-XL/pytorch/lamb.py: 14 passes in fp32 and three more for clipping and zeroing)
LAMB_LOOP_BYTES = 68.0

# bytes an update moves against Adam's (read gradient, weight, two moments; write weight, two moments: 28 bytes),
# counted for adam, sgd, lion and the 8-bit states; assumed for lamb, adafactor and muon
OPTIMIZER_TRAFFIC = {
    "adam": 1.0, "adamw": 1.0, "lamb": 1.55, "sgd": 0.6, "adafactor": 0.7, "adam8bit": 0.6, "adamw8bit": 0.6,
    "lion": 0.75, "muon": 0.9, "none": 0.0,
}  # fmt: skip

# optimizer moments kept per parameter, in units of the precision's state_bytes
OPTIMIZER_STATES = {
    "adam": 2.0, "adamw": 2.0, "lamb": 2.0, "sgd": 1.0, "adafactor": 0.01, "adam8bit": 0.53, "adamw8bit": 0.53,
    "lion": 1.0, "muon": 1.0, "none": 0.0,
}  # fmt: skip
