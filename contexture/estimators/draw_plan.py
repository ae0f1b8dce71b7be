"""How many reference rows, and how often drawn, for a wanted error of τ."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from functools import partial

from contexture.contexts.base import Context
from contexture.contexts.reference import ReferenceContext
from contexture.errors import InputError
from contexture.estimators.options import DRAWS, Estimation

SHRINK_ROWS = 50_000
"""Rows above which a context over all rows becomes one over drawn references, where it means the
same over fewer and nothing else was asked for."""

FEWEST_NEIGHBOURS = 10
"""K among references that the plan chooses, at least: a fraction rounded to one neighbour, or two,
is another context."""


@dataclass(frozen=True)
class ErrorRule:
    """How far τ over R draws of m references is from τ over all rows.

    error² = (bias · m^(−exponent))² + spread²/(m R): a bias that falls with m alone, and a spread
    that falls with every draw.

    Attributes
    ----------
    spread, bias, exponent : float
    """

    spread: float
    bias: float
    exponent: float = 1.0

    def error(self, m: int, draws: int) -> float:
        """Root mean square error of the mean of some draws of m references."""
        spread = self.spread / math.sqrt(m * draws)
        return math.hypot(spread, self.bias * m**-self.exponent)


RULES = {"knn": ErrorRule(0.1, 8.8, 0.99), "rbf": ErrorRule(1.1, 121.0, 1.21)}
"""Measured on three corpora, worst points 2.5 times the rule
(docs/experiments/reference-sets.md). Masked contexts go by the plain ones."""

FEWEST_REFERENCES, MOST_REFERENCES = 500, 8192
MOST_DRAWS = 8


def rule_of(family: str) -> ErrorRule:
    """Return the rule for a family of contexts over references, "knn" or "masked-rbf", say."""
    return RULES[family.removeprefix("masked-")]


@dataclass(frozen=True)
class DrawPlan:
    """How many references, and how often drawn.

    Attributes
    ----------
    reference : int
        m.
    draws : int
        R.
    error : float
        Error of τ that is to be expected.
    work : float
        R (n m + m³), or R (n m² + m³) where P is dense, in units of one entry.
    reached : bool
        Whether ``error`` is the one that was wanted, or smaller.
    """

    reference: int
    draws: int
    error: float
    work: float
    reached: bool


def choose_draws(
    error: float,
    rows: int,
    *,
    rule: ErrorRule = RULES["knn"],
    references: tuple[int, int] = (FEWEST_REFERENCES, MOST_REFERENCES),
    draws: tuple[int, int] = (1, MOST_DRAWS),
    dense: bool = False,
) -> DrawPlan:
    """Choose m and R for a wanted error of τ, the cheapest that reach it.

    The sampling error of the inputs is not planned: it is the corpus's own.

    Parameters
    ----------
    error : float
        Root mean square error of τ that is wanted, positive.
    rows : int
        n.
    rule : ErrorRule
        What error to expect.
    references, draws : (int, int)
        Fewest and most that may be chosen; more references than rows never are. With a single
        draw the error is expected but cannot be measured: ask for two or more to see it.
    dense : bool
        Whether every row adds m² products to the moments.

    Returns
    -------
    DrawPlan
        If nothing allowed reaches the error, the most references and draws, and ``reached`` is
        False.

    Raises
    ------
    InputError
        If a parameter is out of range.
    """
    _check_positive(error=error, bias=rule.bias, exponent=rule.exponent, spread=rule.spread)
    for name, (low, high) in (("references", references), ("draws", draws)):
        if not 1 <= low <= high:
            raise InputError(f"{name} reach from {low} to {high}; 1 <= fewest <= most is needed.")
    if rows < 1:
        raise InputError(f"there are {rows} rows; at least 1 is needed.")
    fewest, most = min(references[0], rows), min(references[1], rows)

    def plan(m: int, R: int) -> DrawPlan:
        work = R * (float(rows) * m * (m if dense else 1) + float(m) ** 3)
        return DrawPlan(m, R, rule.error(m, R), work, _reached(rule, error, R, m))

    plans = []
    for R in range(draws[0], draws[1] + 1):
        # The error falls with m: the first that reaches it is found by bisection.
        sizes = range(fewest, most + 1)
        at = bisect.bisect_left(sizes, True, key=partial(_reached, rule, error, R))
        plans.append(plan(sizes[min(at, len(sizes) - 1)], R))
    enough = [each for each in plans if each.reached]
    return min(enough, key=lambda each: each.work) if enough else plan(most, draws[1])


def _reached(rule: ErrorRule, error: float, draws: int, m: int) -> bool:
    # The last bit of a power must not decide.
    return rule.error(m, draws) <= error * (1 + 1e-9)


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value}; a positive number is needed.")


def resolve(
    context: Context, n: int, D: int, options: Estimation, max_rank: int = 512
) -> tuple[Context, DrawPlan | None]:
    """Return the context with a reference set chosen for it, where it has many rows and none.

    A KNN context with a fixed K stays as it is: over fewer references it would be another one. So
    does one whose fraction of the most references would be a few neighbours, rounded, and any if
    so many values are wanted that the most references do not have them. What was chosen comes with
    it; None where nothing was.

    Parameters
    ----------
    context : Context
    n, D : int
        Shape of X.
    options : Estimation
    max_rank : int
        d_0.
    """
    if n <= SHRINK_ROWS or options.route_of(context.label) not in ("auto", "moments"):
        return context, None
    if not isinstance(context, ReferenceContext) or context.reference is not None:
        return context, None
    # Below d_0 references there are fewer values, and τ is another number.
    fewest = max(FEWEST_REFERENCES, max_rank + 1)
    fraction = getattr(context, "fraction", None)
    if fraction is not None:
        fewest = max(fewest, math.ceil(FEWEST_NEIGHBOURS / fraction))
    if not context.can_shrink or fewest > MOST_REFERENCES:
        return context, None
    wanted = choose_draws(
        options.reference_error,
        n,
        rule=rule_of(context.family),
        references=(fewest, MOST_REFERENCES),
        draws=(options.draws or DRAWS, options.draws or MOST_DRAWS),
        dense=not context.extent(n, D).sparse,
    )
    # The name stays: it is the same context, estimated.
    drawn = context.model_copy(update={"reference": wanted.reference, "name": context.label})
    return drawn, wanted


def reference_error(context: Context, n: int, draws: int) -> float | None:
    """Error of τ that is to be expected of drawn references; None where all rows are references."""
    if not isinstance(context, ReferenceContext) or not context.draws_references(n):
        return None
    # τ lies between 1 and 1 + β: a rule made for many references must not promise more.
    return min(1.0, rule_of(context.family).error(context.reference_size(n), draws))
