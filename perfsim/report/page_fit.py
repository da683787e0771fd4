"""The fit matrix as a page shows it: the texts of `perfsim fit`, each cell with a word for its looks."""

from perfsim.formulas.fits import HARDLY_CHANCE, SURE_CHANCE
from perfsim.report.fit import CARDS, full_rows, header, legend, rows_of, title
from perfsim.report.page import Grid
from perfsim.search.fit import Fit

LIKELY_CHANCE = 0.5


def fit_grid(found: Fit) -> Grid:
    """Which of the cards hold the model, a row for cards of like memory."""
    columns = header(found)
    figures = (len(columns) - CARDS - 2) // len(found.question.methods)  # of a method
    kinds = []
    for row in rows_of(found):
        of_methods = (_kind(found, method, row.cards[0]) for method in range(len(found.question.methods)))
        kinds.append(("none", "none", *(kind for one in of_methods for kind in [one] * figures)))
    rows = [(line[CARDS], *line[:CARDS], *line[CARDS + 1 :]) for line in full_rows(found)]
    names = (columns[CARDS], *columns[:CARDS], *columns[CARDS + 1 :])
    return Grid(title(found), "; ".join(legend(found)[:-1]), names, tuple(rows), tuple(kinds))


def _kind(found: Fit, method: int, card: int) -> str:
    """Surely fits, may, may not, or cannot."""
    chance = float(found.fit_probability[method, card])
    if found.problems[method, card] or chance < HARDLY_CHANCE:
        return "none"
    return "good" if chance >= SURE_CHANCE else "fair" if chance >= LIKELY_CHANCE else "poor"
