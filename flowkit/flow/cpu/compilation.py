"""Define how the Numba kernels are compiled, as decorators over `numba.njit`.

All kernels release the GIL and cache machine code on disk. Those that are not exact use fast-math
without reciprocal estimates, whose bits differ between CPU makers.

Numba renews its cache when the file of a kernel changes, but not when a file changes from which the
kernel inlines code. So a digest of all sources is stored in the cache folder beside them, and the
cache is deleted when the digest differs.
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
    """A compiler that tells LLVM that the array arguments of a function do not overlap.

    It is C's `restrict`. Otherwise LLVM must compare a dozen pointers with each other at run time
    before it may use its vectorized loop. That is more than its limit, so the loop stays scalar.
    """

    def __init__(self, *args: Any) -> None:
        """Set the flag that Numba passes to LLVM."""
        super().__init__(*args)
        self.state.flags.noalias = True


def drop_stale_cache(folder: Path) -> None:
    """Remove the machine code in ``folder/__pycache__`` if it was compiled from other sources.

    Args:
        folder: Folder of the sources.
    """
    sources = sorted(folder.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    digest_file = folder / "__pycache__" / "kernels.sha256"
    with suppress(OSError):  # in a read-only folder Numba caches elsewhere, by the age of each file
        if digest_file.is_file() and digest_file.read_text() == digest:
            return
        for path in digest_file.parent.glob("*.nb[ci]"):
            path.unlink(missing_ok=True)
        digest_file.parent.mkdir(exist_ok=True)
        digest_file.write_text(digest)


def _compile(fastmath: Any = FASTMATH, **options: Any) -> Callable[[Function], Function]:
    """Make a decorator that compiles a function with Numba."""

    def decorate(function: Function) -> Function:
        def compile(cache: bool) -> Function:
            compiled: Function = numba.njit(
                nogil=True, cache=cache, fastmath=fastmath, error_model="numpy", **options
            )(function)
            return compiled

        try:
            return compile(cache=True)
        except RuntimeError:  # there is no folder for a cache, so each process compiles
            return compile(cache=False)

    return decorate


drop_stale_cache(Path(__file__).parent)

kernel = _compile()
"""Compile a function that Python calls."""

inlined = _compile(forceinline=True)
"""Compile a function that only kernels call, and that becomes part of them."""

row_kernel = _compile(forceinline=True, pipeline_class=NoAliasCompiler)
"""Compile an inlined loop over one-dimensional arrays; no array that it writes overlaps another."""

exact_kernel = _compile(fastmath=False)
"""Compile a kernel that rounds each operation as written, so its bytes are the same everywhere."""

exact_inlined = _compile(fastmath=False, forceinline=True)
"""Compile a function that only exact kernels call, and that becomes part of them."""

exact_row_kernel = _compile(fastmath=False, forceinline=True, pipeline_class=NoAliasCompiler)
"""Like `row_kernel`, for exact kernels."""
