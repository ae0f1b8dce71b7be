"""How many reference rows, and how often drawn, for a wanted error of τ."""

from __future__ import annotations

import math
from dataclasses import dataclass

from contexture.errors import InputError

REFERENCE_ERROR = 0.3
"""a of the standard error a·m^(−b) of τ over draws of m references
(docs/experiments/reference-sets.md)."""

REFERENCE_EXPONENT = 0.5
"""b of it."""

FEWEST_REFERENCES, MOST_REFERENCES = 500, 8192
MOST_DRAWS = 8


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
        Standard error of τ over draws that is to be expected.
    work : float
        R (n m + m³), in units of one entry.
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
    references: tuple[int, int] = (FEWEST_REFERENCES, MOST_REFERENCES),
    draws: tuple[int, int] = (1, MOST_DRAWS),
    reference_error: float = REFERENCE_ERROR,
    reference_exponent: float = REFERENCE_EXPONENT,
) -> DrawPlan:
    """Choose m and R for a wanted standard error of τ, the cheapest that reach it.

    The error of the mean of R draws of m references is taken as a·m^(−b)/√R, the work as
    R (n m + m³). Only the error *over draws* is planned: the bias of a finite m and the sampling
    error of the inputs are not in it.

    Parameters
    ----------
    error : float
        Standard error of τ that is wanted, positive.
    rows : int
        n.
    references, draws : (int, int)
        Fewest and most that may be chosen; more references than rows never are. With a single
        draw the error is expected but cannot be measured: ask for two or more to see it.
    reference_error, reference_exponent : float
        a and b, both positive.

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
    _check_positive(error=error, reference_error=reference_error, exponent=reference_exponent)
    for name, (low, high) in (("references", references), ("draws", draws)):
        if not 1 <= low <= high:
            raise InputError(f"{name} reach from {low} to {high}; 1 <= fewest <= most is needed.")
    if rows < 1:
        raise InputError(f"there are {rows} rows; at least 1 is needed.")
    fewest, most = min(references[0], rows), min(references[1], rows)

    def plan(m: int, R: int) -> DrawPlan:
        expected = reference_error * m**-reference_exponent / math.sqrt(R)
        # The last bit of a power must not decide.
        reached = expected <= error * (1 + 1e-9)
        return DrawPlan(m, R, expected, R * (float(rows) * m + float(m) ** 3), reached)

    plans = []
    for R in range(draws[0], draws[1] + 1):
        wanted = (reference_error / (error * math.sqrt(R))) ** (1 / reference_exponent)
        m = max(fewest, math.ceil(min(wanted * (1 - 1e-9), most)))
        plans.append(plan(m, R))
    enough = [each for each in plans if each.reached]
    return min(enough, key=lambda each: each.work) if enough else plan(most, draws[1])


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value}; a positive number is needed.")
