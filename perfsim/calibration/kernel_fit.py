"""Fit the parameters of one kind of kernel to the measurements of many cards, and see how far the fit carries."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from perfsim.calibration.fit import SEPARATOR, Fitted, Parameter, Values, fit
from perfsim.calibration.kernel_models import AttentionModel, KernelModel, ProductModel, StreamModel
from perfsim.calibration.kernels import Attentions, Measured, Products, Streams, fold_of
from perfsim.core.calibration import Calibration
from perfsim.core.hardware import Gpu

FOLDS = 5


@dataclass(frozen=True)
class KernelFit:
    """One kind of kernel fitted on some cards: parameters are "name", "name@card" or "name@card timing"."""

    model: KernelModel
    cards: tuple[str, ...]
    fitted: Fitted

    def own(self, card: str) -> dict[str, tuple[float, float]]:
        """(value, standard error) of the card's own parameters."""
        names = [p.name for p in self.model.parameters["card"]]
        return {n: (self.fitted.values[f"{n}@{card}"], self.fitted.errors[f"{n}@{card}"]) for n in names}


def fit_kernels(
    model: KernelModel, measured: Measured, gpus: Mapping[str, Gpu], start: KernelFit | None = None
) -> KernelFit:
    """The model's parameters from these rows, each card weighing the same; `start` says where to begin.

    Raises: ValueError when there are fewer rows than parameters.
    """
    cards = tuple(dict.fromkeys(measured.gpu.tolist()))
    if not model.parameters["shared"] and len(cards) > 1:
        return _joined(model, measured, [_fit(model, measured.where(measured.gpu == c), gpus, start) for c in cards])
    return _fit(model, measured, gpus, start)


def predicted(fitted: KernelFit, measured: Measured, gpus: Mapping[str, Gpu]) -> np.ndarray:
    """Seconds of each row by the fit, shape (rows,)."""
    return _predict(fitted.model, measured, gpus, fitted.fitted.values)


def cross_validated(fitted: KernelFit, measured: Measured, gpus: Mapping[str, Gpu], folds: int = FOLDS) -> np.ndarray:
    """Seconds of each row from a fit on the other folds, shape (rows,); a shape is in one fold on every card."""
    fold, found = fold_of(measured, folds), np.zeros(len(measured))
    for i in range(folds):
        left_out = fold == i
        others = fit_kernels(fitted.model, measured.where(~left_out), gpus, fitted)
        found[left_out] = predicted(others, measured.where(left_out), gpus)
    return found


def card_left_out(fitted: KernelFit, measured: Measured, gpus: Mapping[str, Gpu]) -> np.ndarray:
    """Seconds of each row with its card known by its datasheet alone, shape (rows,): numbers of the other cards.

    Its own parameters and timings are the medians over the cards of its kind, else over all.
    """
    found = np.zeros(len(measured))
    for card in fitted.cards:
        mine = measured.gpu == card
        others = fit_kernels(fitted.model, measured.where(~mine), gpus, fitted)
        guess = unseen(others, gpus[card], gpus)
        rows = measured.where(mine)
        values = others.fitted.values | {
            _full(p.name, scope, card, timing): guess[p.name]
            for scope in ("card", "timing")
            for p in fitted.model.parameters[scope]  # type: ignore[index]
            for timing in dict.fromkeys(fitted.model.timing_of(rows).tolist())
        }
        found[mine] = _predict(fitted.model, rows, gpus, values)
    return found


def unseen(fitted: KernelFit, gpu: Gpu, gpus: Mapping[str, Gpu]) -> dict[str, float]:
    """The numbers of a card without measurements: medians over the fitted cards of its kind, else over all."""
    alike = [c for c in fitted.cards if _kind(gpus[c]) == _kind(gpu)] or list(fitted.cards)
    found: dict[str, float] = {}
    for p in (*fitted.model.parameters["card"], *fitted.model.parameters["timing"]):
        values = []
        for name, value in fitted.fitted.values.items():
            base, _, where = name.partition(SEPARATOR)
            if base == p.name and where.split()[0] in alike:
                values.append(fitted.model.carried(base, value, gpus[where.split()[0]], gpu))
        found[p.name] = float(np.median(values))
    return found


def _kind(gpu: Gpu) -> float:
    """Cards of one compute capability are alike; from Hopper on, of one generation."""
    capability = float(gpu.compute_capability)
    return capability if capability < 9.0 else float(int(capability))


def _full(name: str, scope: str, card: str, timing: str) -> str:
    where = {"shared": "", "card": f"{SEPARATOR}{card}", "timing": f"{SEPARATOR}{card} {timing}"}
    return name + where[scope]


def _groups(model: KernelModel, measured: Measured) -> Iterator[tuple[str, str, np.ndarray]]:
    """(card, timing, mask of the rows) of the parts of a table that one call of the model predicts."""
    timing = model.timing_of(measured)
    for card in dict.fromkeys(measured.gpu.tolist()):
        for label in dict.fromkeys(timing[measured.gpu == card].tolist()):
            yield card, label, (measured.gpu == card) & (timing == label)


def _own(model: KernelModel, values: Values, card: str, timing: str) -> dict[str, float]:
    """The numbers for rows of one card and timing, by the parameters' plain names."""
    return {
        p.name: values[_full(p.name, scope, card, timing)] for scope, listed in model.parameters.items() for p in listed
    }


def _predict(model: KernelModel, measured: Measured, gpus: Mapping[str, Gpu], values: Values) -> np.ndarray:
    found = np.zeros(len(measured))
    for card, timing, mask in _groups(model, measured):
        found[mask] = model.seconds(measured.where(mask), gpus[card], _own(model, values, card, timing))
    return found


def _fit(model: KernelModel, measured: Measured, gpus: Mapping[str, Gpu], start: KernelFit | None) -> KernelFit:
    begin = start.fitted.values if start else {}
    parameters: dict[str, Parameter] = {}
    acts_on: dict[str, np.ndarray] = {}
    groups = list(_groups(model, measured))
    for card, timing, mask in groups:
        for scope, listed in model.parameters.items():
            for p in listed:
                name = _full(p.name, scope, card, timing)
                parameters[name] = replace(p, name=name, start=_inside(begin.get(name, p.start), p))
                acts_on[name] = acts_on.get(name, False) | mask
    parts = [(card, timing, measured.where(mask), mask) for card, timing, mask in groups]

    def predict(values: Values) -> np.ndarray:
        found = np.zeros(len(measured))
        for card, timing, rows, mask in parts:
            found[mask] = model.seconds(rows, gpus[card], _own(model, values, card, timing))
        return found

    cards = tuple(dict.fromkeys(measured.gpu.tolist()))
    weights = np.zeros(len(measured))
    for card in cards:
        mask = measured.gpu == card
        weights[mask] = np.sqrt(len(measured) / len(cards) / np.sum(mask))
    fitted = fit(list(parameters.values()), predict, measured.seconds, weights, acts_on)
    return KernelFit(model, cards, fitted)


def _inside(value: float, p: Parameter) -> float:
    """A start that is not at a bound, where a slope could vanish."""
    margin = 1e-3 * (p.most - p.least)
    return float(np.clip(value, p.least + margin, p.most - margin))


def _joined(model: KernelModel, measured: Measured, fits: list[KernelFit]) -> KernelFit:
    """The fits of single cards as one."""
    residuals = np.zeros(len(measured))
    for one in fits:
        residuals[measured.gpu == one.cards[0]] = one.fitted.residuals
    each = [one.fitted for one in fits]
    fitted = Fitted(
        {k: v for f in each for k, v in f.values.items()},
        {k: v for f in each for k, v in f.errors.items()},
        tuple(name for f in each for name in f.at_bound),
        {k: v for f in each for k, v in f.correlations.items()},
        residuals,
    )
    return KernelFit(model, tuple(one.cards[0] for one in fits), fitted)


@dataclass(frozen=True)
class Studied:
    """A fit of one family of kernels and how far it carries: seconds of each row in sample, by shape, by card."""

    name: str
    measured: Measured
    fit: KernelFit
    in_sample: np.ndarray
    cross_validated: np.ndarray
    card_left_out: np.ndarray  # not a number where it was not tried


def families(tables: Mapping[str, Measured], calibration: Calibration) -> Iterator[tuple[str, KernelModel, Measured]]:
    """(name, model, rows) of what is fitted together: products with and without tensor cores, streams, attention."""
    if (products := tables.get("products")) is not None:
        is_vector = products.number_format == "fp32"
        for name, number_format, mask in (("products", "bf16", ~is_vector), ("products fp32", "fp32", is_vector)):
            if np.any(mask):
                yield name, ProductModel(calibration, number_format), products.where(mask)
    if (streams := tables.get("streams")) is not None:
        yield "streams", StreamModel(calibration), streams
    if (attention := tables.get("attention")) is not None:
        yield "attention", AttentionModel(calibration), attention


def study(
    tables: Mapping[str, Measured],
    gpus: Mapping[str, Gpu],
    calibration: Calibration,
    report: Callable[[int, int], None] = lambda done, total: None,
    leaves_cards_out: bool = True,
) -> list[Studied]:
    """Every family fitted, cross-validated by shape and, where asked for, with one card left out.

    Raises: ValueError where a card has too few rows.
    """
    found, listed = [], list(families(tables, calibration))
    for done, (name, model, rows) in enumerate(listed):
        report(done, len(listed))
        fitted = fit_kernels(model, rows, gpus)
        is_alone = len(fitted.cards) < 2 or not leaves_cards_out
        shapes_left_out = cross_validated(fitted, rows, gpus)
        unseen_cards = np.full(len(rows), np.nan) if is_alone else card_left_out(fitted, rows, gpus)
        found.append(Studied(name, rows, fitted, predicted(fitted, rows, gpus), shapes_left_out, unseen_cards))
    return found


def subsets(studied: Studied) -> Iterator[tuple[str, np.ndarray]]:
    """(name, mask) of the rows that are reported apart: what training runs, and single operations."""
    rows = studied.measured
    if isinstance(rows, Products):
        large = (rows.rows >= 256) & (rows.columns >= 512) & (rows.contraction >= 512)
        yield f"{studied.name}, training shapes", large
        yield f"{studied.name}, all shapes", np.ones(len(rows), dtype=bool)
    elif isinstance(rows, Streams):
        for kind in ("elementwise", "norm", "softmax"):
            yield kind, rows.kind == kind
    elif isinstance(rows, Attentions):
        yield "attention forward, s >= 512", ~rows.is_backward & (rows.key_len >= 512)
        yield "attention backward", rows.is_backward
