"""How the Numba kernels are compiled: three decorators over `numba.njit`.

All release the GIL, cache machine code on disk, and use fast-math without reciprocal
estimates, whose bits differ between makers of CPUs.

Numba renews its cache when the file of a kernel changes, but not when a file does that the
kernel was inlined from. So the cache beside the sources carries a digest of all of them,
and is dropped when it is of others.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.compiler import Compiler

Function = TypeVar("Function", bound=Callable[..., Any])

FASTMATH = {"nnan", "ninf", "nsz", "contract", "reassoc"}


class NoAliasCompiler(Compiler):
    """Promises LLVM that the array arguments of a function do not overlap: C's `restrict`.

    LLVM must otherwise compare a dozen pointers with each other at run time before it may use
    its vectorized loop; that is more than it is willing to, and the loop stays scalar.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.state.flags.noalias = True


def drop_stale_cache(folder: Path) -> None:
    """Remove machine code in ``folder/__pycache__`` that was made from other sources."""
    sources = sorted(folder.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    stamp = folder / "__pycache__" / "kernels.sha256"
    with suppress(OSError):  # read-only: then Numba caches elsewhere, by each file's own age
        if stamp.is_file() and stamp.read_text() == digest:
            return
        for path in stamp.parent.glob("*.nb[ci]"):
            path.unlink(missing_ok=True)
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(digest)


def _compile(fastmath: Any = FASTMATH, **options: Any) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        def compile(cache: bool) -> Function:
            compiled: Function = numba.njit(
                nogil=True, cache=cache, fastmath=fastmath, error_model="numpy", **options
            )(function)
            return compiled

        try:
            return compile(cache=True)
        except RuntimeError:  # nowhere to write a cache: compile anew in each process
            return compile(cache=False)

    return decorate


drop_stale_cache(Path(__file__).parent)

kernel = _compile()
"""A function that Python calls."""

inlined = _compile(forceinline=True)
"""A function that only kernels call, and that becomes part of them."""

row_kernel = _compile(forceinline=True, pipeline_class=NoAliasCompiler)
"""An inlined loop over one-dimensional arrays none of which overlaps one that is written."""

exact_kernel = _compile(fastmath=False)
"""A kernel that rounds each operation as it is written, so that its bytes are the same anywhere."""

exact_inlined = _compile(fastmath=False, forceinline=True)
"""A function that only exact kernels call, and that becomes part of them."""

exact_row_kernel = _compile(fastmath=False, forceinline=True, pipeline_class=NoAliasCompiler)
"""As `row_kernel`, for exact kernels."""
