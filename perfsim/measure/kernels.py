"""Measures single kernels: products, operators that memory bounds, attention; for `perfsim calibrate kernels`."""

from collections.abc import Callable, Iterator
from typing import Any

from perfsim.measure.board import Board
from perfsim.measure.card import Card
from perfsim.measure.cases import Attention, Case, Product, Stream
from perfsim.measure.session import Row, Save, Table, Work
from perfsim.measure.timing import TIMING_COLUMNS, Call, burst, sustained
from perfsim.units import GIGA, TERA

SUSTAINED_SECONDS = 1.5
CASE_SECONDS, SUSTAINED_CASE_SECONDS = 0.5, 3.0  # about what one takes
COLUMNS = {
    Product: ("products.csv", ("m", "n", "k", "batch", "layout")),
    Stream: ("streams.csv", ("op", "rows", "cols", "bytes")),
    Attention: ("attention.csv", ("batch", "heads", "kv_heads", "head_dim", "q_len", "kv_len", "causal", "pass")),
}
RATES = ("tflops_per_s", "gb_per_s")
Calls = tuple[str, Call, int, float, float]  # pass, call, sets, FLOP and bytes of a call


def kernel_works(card: Card, board: Board, gpu: str, source: str, cases: list[Case], save: Save) -> list[Work]:
    """What to work off to measure these cases on the card `gpu` (its key) into three tables."""
    tables = {
        kind: Table(name, ("gpu", "dtype", *columns, *TIMING_COLUMNS, *RATES, "source", "error"), save)
        for kind, (name, columns) in COLUMNS.items()
    }
    return [
        Work(
            tables[type(case)],
            {"gpu": gpu, "dtype": case.dtype, "source": source, **_cells(case)},
            SUSTAINED_CASE_SECONDS if case.is_sustained else CASE_SECONDS,
            _measuring(card, board, case),
        )
        for case in cases
    ]


def _cells(case: Case) -> Row:
    """What the kernel was, in the columns of its table."""
    match case:
        case Product():
            return {"m": case.m, "n": case.n, "k": case.k, "batch": case.batch, "layout": case.layout}
        case Stream():
            return {"op": case.op, "rows": case.rows, "cols": case.cols, "bytes": case.bytes}
        case Attention():
            heads = {"batch": case.batch, "heads": case.heads, "kv_heads": case.kv_heads, "head_dim": case.head_dim}
            return heads | {"q_len": case.length, "kv_len": case.length, "causal": int(case.is_causal)}


def _measuring(card: Card, board: Board, case: Case) -> Callable[[], list[Row]]:
    return lambda: measure_case(card, board, case)


def measure_case(card: Card, board: Board, case: Case) -> list[Row]:
    """The rows of one case: a burst and, where it is asked for, a sustained one; attention's for each pass."""
    rows = []
    card.multiplies(case.dtype)
    for way, call, sets, flops, size in _calls(card, case):
        timings = [burst(card, board, call, sets)]
        if case.is_sustained:
            timings.append(sustained(card, board, call, sets, timings[0].seconds, SUSTAINED_SECONDS))
        for timing in timings:
            rates = {"tflops_per_s": flops / timing.seconds / TERA, "gb_per_s": size / timing.seconds / GIGA}
            rows.append({**timing.row(), **rates, "pass": way})
    card.multiplies("fp32")
    return rows


def _calls(card: Card, case: Case) -> Iterator[Calls]:
    match case:
        case Product():
            call, sets = product_call(card, case)
            yield "", call, sets, case.flops, case.bytes
        case Stream():
            call, sets = stream_call(card, case)
            yield "", call, sets, 0.0, case.bytes
        case Attention():
            yield from _attention_calls(card, case)


def product_call(card: Card, case: Product) -> tuple[Call, int]:
    """(call(i) that multiplies set i of operands, how many sets there are)."""
    sets, lead = card.sets(case.bytes), (case.batch,) if case.batch > 1 else ()

    def operand(rows: int, columns: int, is_transposed: bool) -> list[Any]:
        shape = (*lead, columns, rows) if is_transposed else (*lead, rows, columns)
        made = [card.randn(case.dtype, *shape) for _ in range(sets)]
        return [values.transpose(-1, -2) for values in made] if is_transposed else made

    a = operand(case.m, case.k, case.layout == "NT")
    b = operand(case.k, case.n, case.layout == "TN")
    c = [card.torch.empty(*lead, case.m, case.n, device=card.device, dtype=a[0].dtype) for _ in range(sets)]
    return lambda i: card.torch.matmul(a[i], b[i], out=c[i]), sets


def stream_call(card: Card, case: Stream) -> tuple[Call, int]:
    """(call(i) that runs the operator on set i, how many sets there are)."""
    torch, functional = card.torch, card.torch.nn.functional
    sets = card.sets(case.bytes)
    x, y = ([card.randn(case.dtype, case.rows, case.cols) for _ in range(sets)] for _ in range(2))
    weight, bias = (card.randn(case.dtype, case.cols) for _ in range(2))
    operators: dict[str, Call] = {
        "add": lambda i: torch.add(x[i], y[i]),
        "mul": lambda i: torch.mul(x[i], y[i]),
        "gelu": lambda i: functional.gelu(x[i]),
        "silu": lambda i: functional.silu(x[i]),
        "copy": lambda i: y[i].copy_(x[i]),
        "dropout": lambda i: torch.native_dropout(x[i], 0.1, True),
        "softmax": lambda i: torch.softmax(x[i], -1),
        "layer_norm": lambda i: functional.layer_norm(x[i], (case.cols,), weight, bias),
    }
    operator = operators[case.op]
    results: list[Any] = [None] * sets

    def call(i: int) -> None:
        results[i] = operator(i)  # results live for a round: they take turns as well

    return call, sets


def _attention_calls(card: Card, case: Attention) -> Iterator[Calls]:
    """PyTorch's choice of a fused kernel, forward and then backward."""
    torch, functional = card.torch, card.torch.nn.functional
    sets = card.sets(2.0 * case.bytes)
    more = {"enable_gqa": True} if case.kv_heads != case.heads else {}

    def operands() -> list[Any]:
        heads = (case.heads, case.kv_heads, case.kv_heads)
        made = [card.randn(case.dtype, case.batch, n, case.length, case.head_dim) for n in heads]
        return [values.requires_grad_() for values in made]

    data = [operands() for _ in range(sets)]
    results: list[Any] = [None] * sets

    def attend(i: int) -> Any:
        return functional.scaled_dot_product_attention(*data[i], is_causal=case.is_causal, **more)

    def forward(i: int) -> None:
        with torch.no_grad():
            results[i] = attend(i)

    yield "forward", forward, sets, case.flops(False), case.bytes
    outputs = [attend(i) for i in range(sets)]
    gradients = [torch.randn_like(output) for output in outputs]

    def backward(i: int) -> None:
        results[i] = torch.autograd.grad(outputs[i], data[i], gradients[i], retain_graph=True)

    yield "backward", backward, sets, case.flops(True), 2.5 * case.bytes
