"""How the Numba kernels are compiled: three decorators over `numba.njit`.

All release the GIL, cache machine code on disk, and use fast-math without reciprocal
estimates, whose bits differ between makers of CPUs. Numba renews its cache when the file of
a kernel changes, not when this one does: after editing it, delete `__pycache__/*.nbi`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba.core.compiler import Compiler

Function = TypeVar("Function", bound=Callable[..., Any])

FASTMATH = {"nnan", "ninf", "nsz", "contract", "reassoc"}


class NoAliasCompiler(Compiler):  # type: ignore[misc]
    """Promises LLVM that the array arguments of a function do not overlap: C's `restrict`.

    LLVM must otherwise compare a dozen pointers with each other at run time before it may use
    its vectorized loop; that is more than it is willing to, and the loop stays scalar.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.state.flags.noalias = True


def _compile(**options: Any) -> Callable[[Function], Function]:
    decorate: Callable[[Function], Function] = numba.njit(
        nogil=True, cache=True, fastmath=FASTMATH, error_model="numpy", **options
    )
    return decorate


kernel = _compile()
"""A function that Python calls."""

inlined = _compile(forceinline=True)
"""A function that only kernels call, and that becomes part of them."""

row_kernel = _compile(forceinline=True, pipeline_class=NoAliasCompiler)
"""An inlined loop over one-dimensional arrays none of which overlaps one that is written."""
