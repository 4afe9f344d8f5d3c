"""Settings with defaults for this machine."""

import pytest

from flowkit.errors import UsageError
from train.runs.settings import make_settings


@pytest.mark.parametrize("device", ["gpu", "cuda:0", "CUDA", ""])
def test_an_unknown_device_is_refused(device):
    with pytest.raises(UsageError, match="expected auto, cpu or cuda, got"):
        make_settings(device, None, None)


def test_no_processes_are_refused():
    with pytest.raises(UsageError, match="processes"):
        make_settings("cpu", None, None, processes=0)
