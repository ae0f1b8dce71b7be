"""Sums of gathered rows, by an instruction for Numba.

Written as a loop over columns, a row of sums goes to memory and back for every few entries, and
before each of them it is looked at whether the arrays overlap: more than half of the time where all
is in cache. Here the sums are vectors, which LLVM keeps in registers for as long as a row of the
matrix lasts.

The rows that come next are asked for in advance (prefetch): where they are in no near cache, the
sums would wait for memory.

What is compiled here is kept by Numba for as long as this file stays as it is; of a file that only
uses `sum_row`, it would not see that `sum_row` has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from contexture.estimators.intrinsics import CACHE_LINE
from contexture.estimators.sizes import BLOCK
from contexture.inputs import Floats

LEAD = 48
"""How many entries in advance the rows are asked for."""

_WIDTHS = (BLOCK, BLOCK // 2, BLOCK // 4, 4, 2, 1)
"""Columns of which the sums fit registers, descending."""

_REGISTERS = 256
"""Bytes of all running sums: half the registers of AVX2; the rest is for what is added."""

_MOST_SUMS = 4
"""Running sums of a row, so that an addition need not wait for the one before it."""

_WHOLE, _NUMBER, _BYTE = ir.IntType(64), ir.IntType(32), ir.IntType(8)
_READ, _KEEP, _DATA = 0, 3, 1
_FUSED = ("contract",)


class _Rows:
    """A C-ordered matrix as LLVM sees it."""

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any) -> None:
        self.builder = builder
        self.item = kind.dtype.bitwidth // 8
        self.number = ir.FloatType() if self.item == 4 else ir.DoubleType()
        values = make_array(kind)(context, builder, array)
        self.start = builder.ptrtoint(values.data, _WHOLE)
        self.stride = cgutils.unpack_tuple(builder, values.strides, 2)[0]

    def place(self, row: Any, column: Any) -> Any:
        """Address of an entry."""
        b = self.builder
        beside = b.mul(column, _WHOLE(self.item))
        return b.add(b.add(self.start, beside), b.mul(row, self.stride))

    def pointer(self, row: Any, column: Any, width: int) -> Any:
        """Where ``width`` entries stand."""
        kind = ir.VectorType(self.number, width).as_pointer()
        return self.builder.inttoptr(self.place(row, column), kind)


def _sum(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Emit what `sum_row` does."""
    kinds = signature.args
    result, V = (_Rows(context, builder, kinds[k], arguments[k]) for k in (0, 3))
    indices, entries = (make_array(kinds[k])(context, builder, arguments[k]) for k in (4, 5))
    i, column, first, last = (
        context.cast(builder, arguments[k], kinds[k], types.int64) for k in (1, 2, 6, 7)
    )
    width = kinds[8].literal_value
    vector = ir.VectorType(V.number, width)
    end = cgutils.unpack_tuple(builder, indices.shape, 1)[0]
    end = builder.sub(end, _WHOLE(1))
    hint = builder.module.declare_intrinsic(
        "llvm.prefetch",
        (_BYTE.as_pointer(),),
        ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), _NUMBER, _NUMBER, _NUMBER]),
    )

    def index(q: Any) -> Any:
        j = builder.load(builder.gep(indices.data, [q]))
        return builder.zext(j, _WHOLE) if j.type.width < _WHOLE.width else j

    def ask(q: Any) -> None:
        ahead = builder.add(q, _WHOLE(LEAD))
        ahead = builder.select(builder.icmp_signed("<", ahead, end), ahead, end)
        place = V.place(index(ahead), column)
        for line in range(0, width * V.item, CACHE_LINE):
            pointer = builder.inttoptr(builder.add(place, _WHOLE(line)), _BYTE.as_pointer())
            builder.call(hint, [pointer, *(_NUMBER(code) for code in (_READ, _KEEP, _DATA))])

    def add(q: Any, total: Any) -> None:
        ask(q)
        x = builder.load(builder.gep(entries.data, [q]))
        x = builder.insert_element(ir.Constant(vector, ir.Undefined), x, _NUMBER(0))
        everywhere = ir.Constant(ir.VectorType(_NUMBER, width), [0] * width)
        x = builder.shuffle_vector(x, ir.Constant(vector, ir.Undefined), everywhere)
        row = builder.load(V.pointer(index(q), column, width))
        row.align = V.item
        term = builder.fmul(x, row, flags=_FUSED)
        builder.store(builder.fadd(builder.load(total), term, flags=_FUSED), total)

    ways = max(1, min(_MOST_SUMS, _REGISTERS // (width * V.item)))
    totals = [cgutils.alloca_once_value(builder, ir.Constant(vector, None)) for _ in range(ways)]
    whole = builder.mul(builder.sdiv(builder.sub(last, first), _WHOLE(ways)), _WHOLE(ways))
    whole = builder.add(first, whole)
    with cgutils.for_range_slice(builder, first, whole, _WHOLE(ways), _WHOLE, inc=True) as (q, _):
        for way, total in enumerate(totals):
            add(builder.add(q, _WHOLE(way)), total)
    with cgutils.for_range_slice(builder, whole, last, _WHOLE(1), _WHOLE, inc=True) as (q, _):
        add(q, totals[0])
    value = builder.load(totals[0])
    for total in totals[1:]:
        value = builder.fadd(value, builder.load(total))
    builder.store(value, result.pointer(i, column, width)).align = result.item
    return context.get_dummy_value()


def _sum_row(
    context: Any,
    result: Any,
    i: Any,
    column: Any,
    V: Any,
    indices: Any,
    entries: Any,
    first: Any,
    last: Any,
    width: Any,
) -> Any:
    """``sum_row(result, i, column, V, indices, entries, first, last, width)``.

    Writes Σ entries[q] V[indices[q]], q from ``first`` to ``last``, to row i of ``result``: for
    ``width`` columns from ``column`` on. Matrices are C-ordered; entries, V and result are of one
    type, float32 or float64; ``width`` is a constant. Nothing is checked when it runs.
    """
    del context
    arrays = result, V, indices, entries
    if (
        not isinstance(width, types.IntegerLiteral)
        or len({result.dtype, V.dtype, entries.dtype}) > 1
        or not isinstance(V.dtype, types.Float)
        or any(array.layout != "C" for array in arrays)
    ):
        return None
    return types.void(result, i, column, V, indices, entries, first, last, width), _sum


# As Numba sees it, it has no context; type checkers would ask for it.
sum_row: Any = intrinsic(_sum_row)


def _strips(columns: int) -> Iterator[tuple[int, int, int]]:
    """Cut columns into (first, last, width) of the widths that there are, as wide as can be."""
    first = 0
    for width in _WIDTHS:
        last = first + (columns - first) // width * width
        if first < last:
            yield first, last, width
        first = last


def _multiplier(width: int) -> Callable[..., None]:
    """Compile a product for strips of ``width`` columns."""

    @numba.njit(cache=True, nogil=True)
    def product(
        pointers: Any, indices: Any, entries: Any, V: Any, result: Any, strips: Any, piece: Any
    ) -> None:
        for i in range(piece[0], piece[1]):
            first, last = pointers[i], pointers[i + 1]
            for column in range(strips[0], strips[1], width):
                sum_row(result, i, column, V, indices, entries, first, last, width)

    return product


_MULTIPLY = {width: _multiplier(width) for width in _WIDTHS}


def sum_rows(
    pointers: Any,
    indices: Any,
    entries: Any,
    V: Floats,
    result: Floats,
    rows: tuple[int, int],
) -> None:
    """Write some rows of A V to ``result``, A the CSR matrix of the first three.

    Parameters
    ----------
    pointers, indices, entries : ndarray
        Contiguous.
    V, result : ndarray of shape (m, w), (n, w)
        C-ordered, of the type of the entries: float32 or float64.
    rows : (int, int)
        The first, and the one after the last.
    """
    for first, last, width in _strips(V.shape[1]):
        _MULTIPLY[width](pointers, indices, entries, V, result, (first, last), rows)
