"""Describe the processor and Python that a benchmark runs on, in one line."""

import os
import platform
from pathlib import Path


def describe_machine() -> str:
    """Return the processor's name, its cores and the version of Python."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"
