"""Which context should a model on this corpus learn from, and is it any good."""

from contexture import contexts, readers, scores
from contexture.contexts import Features
from contexture.errors import ContextureError
from contexture.estimators import decompose, decompose_operator, operator_of
from contexture.evaluation import evaluate
from contexture.features import Recipe
from contexture.operator import ExpectationOperator
from contexture.spectrum import Spectrum
from contexture.store import Audit, open_store

__version__ = "0.1.0"

__all__ = [
    "Audit",
    "ContextureError",
    "ExpectationOperator",
    "Features",
    "Recipe",
    "Spectrum",
    "contexts",
    "decompose",
    "decompose_operator",
    "evaluate",
    "open_store",
    "operator_of",
    "readers",
    "scores",
]
