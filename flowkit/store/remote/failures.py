"""Repeat requests that failed for a passing reason, and explain those that failed for good."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from flowkit.errors import FlowkitError, StoreError
from flowkit.store.remote.settings import read_timeout

ATTEMPTS = 6
"""Attempts of one request."""
FIRST_PAUSE = 0.1
"""Seconds before the second attempt; each later pause is three times as long."""
FINAL = {
    "NotFoundError", "InvalidPathError", "NotSupportedError", "PreconditionError",
    "PermissionDeniedError", "UnauthenticatedError", "UnknownConfigurationKeyError",
}  # fmt: skip
"""Names of obstore's errors that another attempt would not change."""
PROGRAMMING_ERRORS = (AttributeError, LookupError, NameError, AssertionError)
"""Errors that no request causes; they are raised as they are."""
METADATA_SERVICES = ("169.254.169.254", "metadata.google.internal", "169.254.170.2")
"""Where obstore looks for credentials if the environment has none."""
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SKIP_SIGNATURE=true if all may read)",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    "hf": "HF_TOKEN",
}
"""Environment variables with credentials, by scheme."""

T = TypeVar("T")


class MissingObjectError(StoreError):
    """There is no object of this name."""


def call_with_retries(call: Callable[[], T], url: str, name: str) -> T:
    """Call a function that makes a request, again if it fails for a passing reason.

    Args:
        call: Makes the request.
        url: URL of the store.
        name: Name of the object; "" for none.

    Raises:
        MissingObjectError: There is no such object.
        StoreError: The request failed for good; the message says what to do.
        AttributeError, LookupError, NameError or AssertionError: The code has an error.
    """
    pause = FIRST_PAUSE
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except (FlowkitError, *PROGRAMMING_ERRORS):
            raise
        except Exception as error:  # noqa: BLE001 (obstore's errors have no common base in Python)
            if attempt == ATTEMPTS or is_final(error):
                raise explain(error, url, name) from None
        time.sleep(pause * random.uniform(0.7, 1.3))
        pause *= 3
    raise AssertionError("unreachable")


def is_final(error: Exception) -> bool:
    """Return whether another attempt would fail in the same way."""
    text = str(error)
    return (
        type(error).__name__ in FINAL
        or isinstance(error, FileNotFoundError | PermissionError | TypeError)
        or any(service in text for service in METADATA_SERVICES)
        or "must be specified" in text
        or "redirect" in text.lower()
        or "416 Range Not Satisfiable" in text
    )


def explain(error: Exception, url: str, name: str) -> StoreError:
    """Make the error that tells the user what failed, and what to do."""
    kind, text = type(error).__name__, str(error)
    scheme = url.partition(":")[0]
    where = f"{url}/{name}" if name else url
    credentials = CREDENTIALS.get({"s3a": "s3", "abfs": "az", "abfss": "az"}.get(scheme, scheme))
    if "NoSuchBucket" in text or "ContainerNotFound" in text or "bucket does not exist" in text:
        return StoreError(f"{url}: there is no such bucket; check its name and the endpoint")
    if kind == "NotFoundError" or isinstance(error, FileNotFoundError):
        return MissingObjectError(f"{where}: there is no such object")
    if any(service in text for service in METADATA_SERVICES) or "must be specified" in text:
        return StoreError(f"{url}: found no credentials; set {credentials or 'them'}")
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or isinstance(
        error, PermissionError
    ):
        advice = f"; check {credentials}, and what they may read" if credentials else ""
        return StoreError(f"{where}: access was refused{advice}")
    if "redirect" in text.lower() and scheme in ("s3", "s3a"):
        return StoreError(f"{url}: the bucket is in another region; set AWS_REGION to it")
    if "timed out" in text or "TimedOut" in text:
        return StoreError(
            f"{where}: no answer within {read_timeout():g} s in {ATTEMPTS} attempts; check the "
            "region and the network, or raise FLOWKIT_REMOTE_TIMEOUT"
        )
    reason = " ".join(text.partition("\n")[0].split())
    if is_final(error):
        return StoreError(
            f"{where}: the request cannot succeed ({reason}); check the address, and the settings "
            "in the environment"
        )
    return StoreError(
        f"{where}: cannot be reached or read ({reason}); check the address and the network, and "
        "run the same command again"
    )
