"""Find out whether a Ray cluster asks for an authentication token, and whether this user has it.

A cluster started with `ray start --head` asks for a token if its user has one, in ``~/.ray`` or in
the environment, or if ``RAY_AUTH_MODE`` is ``token``. ``ray.init`` sends the token only if that
variable is set, but a client that sends it to a cluster that asks for none cannot start actors. So
the cluster is asked first, by `ray health-check`.
"""

import os
import subprocess
import sys
from pathlib import Path

CHECK_SECONDS = 60.0
"""How long to wait for `ray health-check`, which imports Ray."""
REFUSAL = "AuthToken"
"""Part of Ray's errors about tokens that are missing or wrong."""
NO_TOKEN = "no authentication token was found"
"""Part of Ray's error where there is no token to send."""
COPY_ADVICE = (
    "copy ~/.ray/auth_token of the head node to this machine, or name a copy with "
    "RAY_AUTH_TOKEN_PATH"
)


def choose_auth_mode(address: str) -> None:
    """Set Ray's authentication mode, before its import, to that of the cluster at ``address``."""
    if "RAY_AUTH_MODE" not in os.environ and asks_for_token(address):
        os.environ["RAY_AUTH_MODE"] = "token"


def asks_for_token(address: str) -> bool:
    """Return whether a cluster asks for a token; False if it does not answer."""
    return REFUSAL in check_health(address, "disabled")


def find_token() -> str | None:
    """Return where Ray finds the token of this user: a variable or a file; None if nowhere."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN"
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or os.path.expanduser("~/.ray/auth_token"))  # noqa: PTH111
    return str(path) if path.is_file() else None


def find_token_problem(address: str) -> tuple[str, str] | None:
    """Check that a cluster takes what this user would send it.

    Args:
        address: Address of the cluster, as ``host:port``.

    Returns:
        The problem and the advice, or None if there is no problem.
    """
    mode = os.environ.get("RAY_AUTH_MODE")
    if not asks_for_token(address):
        if mode != "token":
            return None
        problem = f"the cluster at {address} asks for no token, but RAY_AUTH_MODE=token"
        return problem, "unset RAY_AUTH_MODE, or start the cluster with RAY_AUTH_MODE=token"
    place = find_token()
    if place is None:
        return f"the cluster at {address} asks for a token, and this user has none", COPY_ADVICE
    if mode not in (None, "token"):
        problem = f"the cluster at {address} asks for a token, but RAY_AUTH_MODE={mode}"
        return problem, "export RAY_AUTH_MODE=token"
    answer = check_health(address, "token")
    if REFUSAL in answer or NO_TOKEN in answer:
        return f"the cluster at {address} refuses the token of {place}", COPY_ADVICE
    return None


def check_health(address: str, mode: str) -> str:
    """Return what `ray health-check` prints about a cluster; '' if it does not end.

    Args:
        address: Address of the cluster.
        mode: Authentication mode of the check: "token" or "disabled".
    """
    command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
    try:
        answer = subprocess.run(
            [*command, "health-check", "--address", address],
            env=os.environ | {"RAY_AUTH_MODE": mode},
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ""  # whoever connects fails as well, with a better message
    return answer.stdout + answer.stderr
