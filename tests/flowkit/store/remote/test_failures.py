"""Which failures of requests are repeated, and what is said of those that are final."""

import pytest

from flowkit.errors import StoreError
from flowkit.store.remote import failures
from flowkit.store.remote.failures import call_with_retries


@pytest.fixture
def pauses(monkeypatch):
    """The pauses between attempts, which take no time."""
    made = []
    monkeypatch.setattr(failures.time, "sleep", made.append)
    return made


def fail(error):
    def call():
        raise error

    return call


class NotSupportedError(Exception):
    """The error of obstore of this name."""


def test_a_passing_failure_is_repeated(pauses):
    with pytest.raises(StoreError, match=r"s3://b/s/x: .*\(broken pipe\).* run the same command"):
        call_with_retries(fail(ConnectionError("broken pipe")), "s3://b/s", "x")
    assert len(pauses) == failures.ATTEMPTS - 1


def test_a_final_failure_is_neither_repeated_nor_to_be_repeated(pauses):
    with pytest.raises(StoreError, match=r"s3://b/s/x: .*\(no ranges\)") as error:
        call_with_retries(fail(NotSupportedError("no ranges")), "s3://b/s", "x")
    assert "run the same command again" not in str(error.value)
    assert not pauses


@pytest.mark.parametrize("kind", [AttributeError, KeyError])
def test_an_error_of_the_code_is_raised_as_it_is(pauses, kind):
    with pytest.raises(kind):
        call_with_retries(fail(kind("size")), "s3://b/s", "x")
    assert not pauses
