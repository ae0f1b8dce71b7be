"""An instruction of the processor that Numba has no name for, and a size of its cache."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

CACHE_LINE = 64
"""Bytes that are read at a time."""


def _float32_of_bits(context: Any, bits: Any) -> Any:
    """``float32_of_bits(bits)``: read the bits of an int32 as those of a float32."""
    del context

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), emit


# As Numba sees it, it has no context; type checkers would ask for it.
float32_of_bits: Any = intrinsic(_float32_of_bits)
