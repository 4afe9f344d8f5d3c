"""Kernels compiled from older sources are never run."""

import os
import subprocess
import sys

from flowkit.flow.cpu.compilation import drop_stale_cache


def test_the_cache_goes_when_any_source_changes(tmp_path):
    (tmp_path / "compilation.py").write_text("a")
    (tmp_path / "warp.py").write_text("b")
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    code = cache / "warp.warp-80.py311.1.nbc"
    other = cache / "compilation.cpython-311.pyc"
    for path in (code, other):
        path.write_text("")
    drop_stale_cache(tmp_path)
    assert not code.exists()
    assert other.exists()
    code.write_text("")
    drop_stale_cache(tmp_path)
    assert code.exists()  # of these sources
    (tmp_path / "warp.py").write_text("c")
    drop_stale_cache(tmp_path)
    assert not code.exists()


def test_without_a_place_for_a_cache_kernels_still_compile():
    code = (
        "import numba.core.caching as c\n"
        "c.CompileResultCacheImpl._locator_classes = []\n"
        "import numpy as np\n"
        "from numba import njit\n"
        "from flowkit.flow.cpu.compilation import kernel\n"
        "f = kernel(lambda x: x + 1)\n"
        "print(f(1))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "2", done.stderr
