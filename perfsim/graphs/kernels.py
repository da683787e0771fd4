"""What a framework launches for each operation: software lowers a graph's operations to kernels.

The lists follow the frameworks' own code: eager PyTorch runs one kernel an operation, Megatron and Transformer Engine
fuse dropout with the residual, compilers fuse every pointwise chain. Bytes are reads plus writes of each kernel.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from perfsim.core.numbers import Bools, Floats
from perfsim.core.software import Software
from perfsim.formulas.convolutions import ChannelNorm, Convolution, Resample
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
from perfsim.formulas.roofline import Kernel, Kind
from perfsim.graphs.convolutions import channel_norm, convolution, resample
from perfsim.graphs.lowered import Lowered
from perfsim.graphs.naive_attention import naive_attention

if TYPE_CHECKING:
    import networkx as nx

# elementwise passes of rotary positions in eager code: rotation, two products and a sum for queries and for keys
EAGER_ROPE_PASSES = 8.0
# kernels of a router on tokens times experts, each way: casts around its product, softmax, top-k, two scatters, balance
# loss (5), counts, offsets and sorting indices (8)
ROUTER_KERNELS = 20.0
_READS_NORM = ("qkv", "mlp_up")  # products that Transformer Engine fuses with the norm before them


@dataclass(frozen=True)
class Lowering:
    """How operations become kernels: a software, the number format of its products, the attention kernel that runs.

    Products of the head and of attention stay in 16 bits when the layers' products run in 8 or 4. `is_autocast`:
    weights are kept in fp32 and cast at each use, norms and residuals run in fp32. `orthogonalises`: Muon updates the
    weights. `has_fused_loss`: the head's product and the loss are one, whose forward pass makes the gradients.
    `has_8_bit_attention`: attention's products run in FP8 too.
    """

    software: Software
    number_format: str
    is_autocast: bool = False
    has_backward: bool = True
    orthogonalises: bool = False
    has_fused_loss: bool = False
    has_8_bit_attention: bool = False

    def of(self, graph: "nx.DiGraph[str]") -> "Lowering":
        """The same for a graph's operations: one that nothing goes back through has no backward kernels."""
        return self if graph.graph.get("has_backward", True) else replace(self, has_backward=False)

    @property
    def gathered_share(self) -> float:
        """Bytes of an activation that tensor-parallel ranks gather, over its bytes in 16 bits.

        Transformer Engine quantises what FP8 products read before it gathers it.
        Source: NVIDIA/TransformerEngine transformer_engine/pytorch/module/layernorm_linear.py, base.py.
        """
        is_quantised = self.number_format in ("fp8", "fp4") and self.software.fusion == "fused"
        return 0.5 if is_quantised else 1.0

    def lower(self, operation: Operation) -> Lowered:
        """The kernels that `operation` launches."""
        match operation:
            case Linear():
                weight = tuple(self._weight_gradient(operation))
                backward = (*self._input_gradient(operation), *weight)
                found = Lowered(tuple(self._linear_forward(operation)), backward, len(weight))
            case Attention() if operation.is_flash:
                found = self._flash(operation)
            case Attention():
                found = naive_attention(self, operation)
            case Norm():
                found = self._norm(operation)
            case Pointwise():
                found = self._pointwise(operation)
            case Lookup():
                found = self._lookup(operation)
            case Loss():
                found = self._loss(operation)
            case Route():
                found = self._route(operation)
            case Convolution():
                found = convolution(self, operation)
            case ChannelNorm():
                found = channel_norm(self, operation)
            case Resample():
                found = resample(self, operation)
            case _:  # exchanges and inputs launch nothing of their own
                found = Lowered()
        return found if self.has_backward else Lowered(found.forward)

    @property
    def wide_format(self) -> str:
        """The format of products that never run in 8 or 4 bits."""
        return "bf16" if self.number_format in ("fp8", "fp4") else self.number_format

    @property
    def is_whole(self) -> bool:
        """A compiler sees whole layers: residual sums and casts ride along with the norms."""
        return self.software.fusion == "compiled" and not self.software.has_graph_breaks

    def reduction(
        self, kind: Kind, size: Floats, rows: Floats, columns: Floats, row_bytes: Floats, is_backward: bool = False
    ) -> Kernel:
        """A kernel that reduces rows; fused and compiled ones keep a row on the chip, eager ones walk it again."""
        if self.software.fusion != "eager":
            return self.stream(size)
        return Kernel(
            kind, self.number_format, size, rows=rows, columns=columns, row_bytes=row_bytes, is_backward=is_backward
        )

    def stream(self, size: Floats, kind: Kind = "elementwise", launches: Floats = 1.0) -> Kernel:
        """`launches` kernels that move `size` bytes each."""
        return Kernel(kind, self.number_format, size, launches=launches)

    def product(
        self, rows: Floats, columns: Floats, contraction: Floats, value: float, batch: Floats = 1.0,
        extra: Floats = 0.0, odd: Bools = False, wide: bool = False,
    ) -> Kernel:  # fmt: skip
        """`batch` products of values of `value` bytes; extra: bytes moved besides; wide: never in 8 or 4 bits."""
        size = batch * value * (rows * contraction + contraction * columns + rows * columns) + extra
        number_format = self.wide_format if wide else self.number_format
        if number_format == "fp16" and self.software.tensor_core_multiple > 1 and np.all(odd):
            number_format = "fp32"  # no tensor cores: products accumulate in fp32 at its rate
        return Kernel(
            "product", number_format, size, flops=2.0 * batch * rows * columns * contraction, batch=batch, rows=rows,
            columns=columns, contraction=contraction, is_misaligned=odd,
        )  # fmt: skip

    def _linear_forward(self, op: Linear) -> Iterator[Kernel]:
        value, software = op.activation_bytes, self.software
        output = op.output_values * value
        copies = op.has_bias and software.has_bias_copy
        if op.stored_bytes:
            yield self.stream(op.weights * (op.stored_bytes + value))
        if copies:
            yield self.stream(output)
        if self.is_autocast and op.is_trained:
            yield self.stream(op.weights * 6.0)  # autocast: weight to 16 bits
        # autocast casts the input for each product, a compiler once for all that read it
        if self._casts_input(op) and not (op.adds_gradient and software.fusion == "compiled"):
            yield self.stream(op.input_values * (op.input_bytes + value))
        yield from self._quantise(op, op.input_values, op.name.endswith(_READS_NORM) and not op.adapter_rank)
        odd, wide = self._odd(op), op.is_vocabulary
        yield self.product(op.rows, op.columns, op.contraction, value, op.count, output if copies else 0.0, odd, wide)
        if op.adapter_rank:
            yield from self._adapter(op, 1.0)

    def _input_gradient(self, op: Linear) -> Iterator[Kernel]:
        """The gradient of the input, and of adapters."""
        value = op.activation_bytes
        if op.has_input_gradient:
            odd, wide = self._odd(op), op.is_vocabulary
            if op.stored_bytes:
                yield self.stream(op.weights * (op.stored_bytes + value))
            yield from self._quantise(op, op.output_values)
            yield self.product(op.rows, op.contraction, op.columns, value, op.count, 0.0, odd, wide)
            yield from self._summed_gradient(op)
        if op.adapter_rank and op.has_input_gradient:
            yield from self._adapter(op, 2.0)

    def _weight_gradient(self, op: Linear) -> Iterator[Kernel]:
        value = op.activation_bytes
        if op.is_trained:
            odd, wide = self._odd(op), op.is_vocabulary
            yield self.product(op.columns, op.contraction, op.rows, value, op.count, 0.0, odd, wide)
            if self.is_autocast:
                yield self.stream(op.weights * 6.0)  # autocast: gradient to 32 bits
            if op.has_bias and not self.software.has_fused_epilogue:
                yield self.stream(op.output_values * value, "sum")

    def _odd(self, op: Linear) -> Bools:
        multiple = self.software.tensor_core_multiple if self.number_format == "fp16" else 1
        return is_misaligned(op.columns, op.contraction, multiple=max(multiple, 2))

    def _casts_input(self, op: Linear) -> bool:
        return self.is_autocast and not self.is_whole and op.input_bytes > op.activation_bytes

    def _summed_gradient(self, op: Linear) -> Iterator[Kernel]:
        """Casting an input gradient back, and adding it to that of another product with the same input."""
        value, wide, n = op.activation_bytes, op.input_bytes or op.activation_bytes, op.input_values
        if self.software.fusion == "compiled":  # one kernel casts and sums: one more read
            if self._casts_input(op) and not op.adds_gradient:
                yield self.stream(n * (value + wide))
            elif op.adds_gradient:
                yield self.stream(n * value)
            return
        if self._casts_input(op):
            yield self.stream(n * (value + wide))
        if op.adds_gradient:
            yield self.stream(n * 3.0 * (wide if self._casts_input(op) else value))

    def _quantise(self, op: Linear, values: Floats, is_after_norm: bool = False) -> Iterator[Kernel]:
        """Casting a product's operand to 8 or 4 bits: read, written, and transposed for the weight's gradient.

        Transformer Engine's norms write 8 bits in place of 16, so that only a transposed copy comes on top; experts'
        inputs, outputs of attention and of activations, and all gradients are cast by a kernel of their own. Megatron
        has weights cast once a step, which is not counted; elsewhere they are cast in every pass (NVIDIA/
        TransformerEngine transformer_engine/pytorch/module/layernorm_linear.py, linear.py, base.py).
        """
        if op.is_vocabulary or self.number_format not in ("fp8", "fp4"):
            return
        copies = 1.0 + op.is_trained
        if self.software.fusion != "fused":
            yield self.stream((values + op.weights) * (op.activation_bytes + copies))
        elif is_after_norm:
            yield self.stream(values * (copies - 1.0))
        else:
            yield self.stream(values * (op.activation_bytes + copies))

    def _adapter(self, op: Linear, factor: float) -> Iterator[Kernel]:
        """Low-rank adapter: two thin products, dropout, scale and sum; twice that backward."""
        value, rank = op.activation_bytes, float(op.adapter_rank)
        for _ in range(int(factor)):
            yield self.product(op.rows, rank, op.contraction, value, op.count)
            yield self.product(op.rows, op.columns, rank, value, op.count)
        passes = 1.0 if self.software.fusion == "compiled" else 2.0
        yield self.stream(op.output_values * value * 3.0 * passes / 2.0)
        yield self.stream(op.count * op.rows * op.contraction * value * 2.0)

    def _flash(self, op: Attention) -> Lowered:
        """One fused kernel; a causal one skips half of the square (Dao et al. 2022, arXiv 2205.14135)."""
        executed = op.forward_flops * (0.5 if op.is_causal or op.is_banded else 1.0)
        size = op.read_bytes + op.written_bytes
        is_narrow = self.has_8_bit_attention and self.number_format in ("fp8", "fp4")
        casts = (self.stream(size * (1.0 + 1.0 / op.activation_bytes)),) if is_narrow else ()  # to 8 bits, and back
        forward = Kernel(
            "attention", "fp8" if is_narrow else self.wide_format, size, executed, op.sequences * op.heads,
            op.query_len, (op.qk_dim + op.v_dim) / 2.0, op.key_len, efficiency=self.software.attention_efficiency,
            is_pre_hopper=self.software.attention in ("sdpa", "flash-1", "flash-2"), is_causal=op.is_causal,
        )  # fmt: skip
        backward = replace(
            forward, bytes=2.5 * size, flops=2.5 * executed, columns=1.0 * max(op.qk_dim, op.v_dim), is_backward=True
        )
        repeat = self.repeated_keys(op)
        return Lowered((*repeat, *casts, forward), (*casts, backward, *repeat))

    def repeated_keys(self, op: Attention) -> tuple[Kernel, ...]:
        """Grouped keys and values copied out to one a query head; backward the copies' gradients are summed."""
        if not self.software.repeats_keys:
            return ()
        groups = op.heads / op.kv_heads
        keys = op.sequences * op.kv_heads * op.key_len * (op.qk_dim + op.v_dim) * op.activation_bytes
        return (self.stream(np.where(groups > 1.0, (1.0 + groups) * keys / 2.0, 0.0), launches=2.0),)

    def _norm(self, op: Norm) -> Lowered:
        """Normalisation; eager code sums gamma's and beta's gradients in a column kernel of its own."""
        r, values = op.activation_bytes, op.output_values
        a = 2.0 if self.is_autocast else r
        if self.is_whole:  # forward: both summands, their sum and the result; backward: three gradients, the input
            again = self.software.reduction_reads - 1.0
            back = 3.0 * r + a + (a if self.is_autocast else 0.0) + ((a + r) * (1.0 + (again > 0)))
            ahead = (2.0 + again) * r + 2.0 * a
            return Lowered((self.stream(ahead * values),), (self.stream(back * values),))
        if self.software.fusion != "eager":
            return Lowered((self.stream(2.0 * r * values),), (self.stream(5.0 * r * values),))
        if op.is_rms:
            return self._eager_rms(op)
        passes = self.software.reduction_reads
        if passes > 1.0:  # written out: mean, square, variance, scale and shift, and each one's gradient
            forward = self.stream(2.0 * r * values, launches=passes)
            return Lowered((forward,), (self.stream(5.0 * r * values, launches=passes),))
        row = r * op.width
        backward = [self.reduction("norm", 3.0 * r * values, op.rows, op.width, 2.0 * row, True)]
        if op.is_trained and self.software.has_serial_norm_gradient:
            backward.append(Kernel("column", self.number_format, 2.0 * r * values, rows=op.rows))
        elif op.is_trained:
            backward.append(self.stream(2.0 * r * values, "sum"))
        return Lowered((self.reduction("norm", 2.0 * r * values, op.rows, op.width, row),), tuple(backward))

    def _eager_rms(self, op: Norm) -> Lowered:
        """Written out in fp32: square, mean, scale, weight, and casts where the values are in 16 bits.

        Backward: weight, its column sums, the scale's and the square's gradients, their sum.
        """
        r, values = op.activation_bytes, op.output_values
        casts = 2.0 * (r + 4.0) if r < 4.0 else 0.0
        forward = self.stream((casts + 20.0 + 2.0 * r) * values / 6.0, launches=6.0)
        backward = [self.stream((casts + 52.0 + 2.0 * r) * values / 9.0, launches=9.0)]
        if op.is_trained:
            backward += [self.stream(3.0 * r * values), self.stream(r * values, "sum")]
        return Lowered((forward,), tuple(backward))

    def _pointwise(self, op: Pointwise) -> Lowered:
        a, n, kept = op.activation_bytes, op.values, self.software.activation_kept_bytes
        is_eager = self.software.fusion == "eager"
        match op.action:
            case "activation" | "relu":
                # in an epilogue, the product writes and reads the activation's input besides
                sizes = (a, a) if self.software.has_fused_epilogue else (2.0 * a + kept, 3.0 * a + kept)
            case "gate":
                sizes, launches = ((5.0 * a, 9.0 * a), 3.0) if is_eager else ((3.0 * a, 5.0 * a), 1.0)
                return Lowered(
                    (self.stream(sizes[0] * n / launches, launches=launches),),
                    (self.stream(sizes[1] * n / launches, launches=launches),),
                )
            case "dropout":
                sizes = self.dropout_bytes(a)
            case "add":
                sizes = self._add_bytes(a)
                if self.is_whole:
                    return Lowered()
            case "copy":
                sizes = (2.0 * a, 2.0 * a)
            case "modulation":  # eager: product and sum; backward the input's gradient and the factors' column sums
                ahead, launches = (4.0 * a, 2.0) if is_eager else (2.0 * a, 1.0)
                back = (self.stream(2.0 * a * n), self.stream(3.0 * a * n, "sum"))
                return Lowered((self.stream(ahead * n / launches, launches=launches),), back)
            case "rope":
                if is_eager:
                    passes = EAGER_ROPE_PASSES
                    return Lowered(
                        (self.stream(2.0 * a * n, launches=passes),), (self.stream(2.0 * a * n, launches=passes),)
                    )
                sizes = (2.0 * a, 2.0 * a)
        return Lowered((self.stream(sizes[0] * n),), (self.stream(sizes[1] * n),))

    def dropout_bytes(self, a: float) -> tuple[float, float]:
        """Per value. Random numbers of a kernel of their own are written, read, and read again by a compiler.

        TensorFlow's eager list: random numbers, comparison, cast, scale, product; two products backward.
        """
        random = self.software.random_bytes
        match self.software.fusion:
            case "compiled":
                return (2.0 * random, random) if random else (1.0, 1.0)
            case "eager":
                return (6.0 * a + 2.0 + 2.0 * random, 5.0 * a) if random else (2.0 * a + 1.0, 2.0 * a + 1.0)
            case _:  # one kernel with the residual sum: here the mask, the read and the bias
                return a + 1.0, 2.0 * a + 1.0

    def _add_bytes(self, r: float) -> tuple[float, float]:
        """Per value. Under autocast a 16-bit summand joins the fp32 residual, and its gradient is cast back."""
        if self.software.fusion == "fused":
            return 2.0 * r, 3.0 * r
        return (2.0 * r + 2.0, 4.0 * r + 2.0) if self.is_autocast else (3.0 * r, 3.0 * r)

    def _route(self, op: Route) -> Lowered:
        """Into expert order and, weighted by the router, back; what arrives from other ranks, there and back again.

        The router's softmax, choice, balance loss, counts and offsets are small kernels (NVIDIA/Megatron-LM
        megatron/core/transformer/moe/router.py, token_dispatcher.py).
        """
        moved, arrived = op.values * op.activation_bytes, op.arrived * op.activation_bytes
        small = self.stream(4.0 * op.choices, launches=ROUTER_KERNELS)
        moves = self.stream(2.0 * moved, launches=2.5)
        sorts = self.stream(2.0 * arrived, launches=np.where(np.asarray(op.arrived) > 0.0, 2.0, 0.0))
        return Lowered((small, moves, sorts), (small, moves, sorts))

    def _lookup(self, op: Lookup) -> Lowered:
        a, n, tables = op.activation_bytes, op.output_values, float(op.tables)
        forward = [self.stream(2.0 * a * n, "gather", tables)]
        if op.tables > 1:
            forward.append(self.stream(3.0 * a * n, launches=tables))
        backward = []
        if op.is_trained:
            backward = [self.stream(4.0 * a * n, "gather", tables), self.stream(2.0 * a * op.table_values)]
        return Lowered(tuple(forward), tuple(backward))

    def _loss(self, op: Loss) -> Lowered:
        if self.has_fused_loss:  # two reads, and the gradient in the logits' place
            return Lowered((self.stream(3.0 * op.activation_bytes * op.logits),))
        streamed = self.software.loss_stream_bytes
        rest = self.software.loss_bytes_per_logit - streamed
        cast = [self.stream(streamed / 2.0 * op.logits)] if streamed else []
        half, row = rest / 2.0 * op.logits, op.activation_bytes * op.classes
        forward = self.reduction("softmax", half, op.rows, op.classes, row)
        backward = self.reduction("softmax", half, op.rows, op.classes, 2.0 * row, True)
        return Lowered((forward, *cast), (backward, *cast))
