"""Scores of contexts and tasks: plain functions of a spectrum or an operator."""

from contexture.scores.association import kernel_deviation, lipschitz_constant, verdict
from contexture.scores.compatibility import (
    compatibility,
    compatibility_from_spectrum,
    one_vs_rest,
    worst_case_error,
)
from contexture.scores.decay import decay_rate, decay_rate_standard_error
from contexture.scores.usefulness import Usefulness, usefulness

__all__ = [
    "Usefulness",
    "compatibility",
    "compatibility_from_spectrum",
    "decay_rate",
    "decay_rate_standard_error",
    "kernel_deviation",
    "lipschitz_constant",
    "one_vs_rest",
    "usefulness",
    "verdict",
    "worst_case_error",
]
