"""Machines that are not a developer's laptop: `flowkit` as it is started there.

Most of them cost no Ray. Where one is started, it is on several oddities at once.
"""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import flowkit
from flowkit.errors import FlowkitError
from flowkit.extraction.ray_cluster import import_ray, open_ray, start_local_cluster
from flowkit.extraction.ray_session import find_start_error, lock_session, make_session
from flowkit.store import Store

ROOT = os.getuid() == 0
OTHER_USER = 2000  # not in passwd
HOMELESS = "/nonexistent" if not ROOT else "/proc/1/no-such-home"  # which nobody can make
# `env`, since what setpriv itself starts still has root's rights to files.
AS_OTHER = (
    "setpriv", f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups", "env",
)  # fmt: skip
DEAD = "http://127.0.0.1:9"
PROXIES = dict.fromkeys(
    ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"), DEAD
)
SMALL = ("--size", "32x32")
# A training of a step or two of each stream, with a process that loads.
TRAIN = "train motion8_cma --store T --run R --workers 1 --set iterations=0"
TINY = {
    "classes": 2, "dataset": "tiny", "data.short_side": 24, "data.size": 16,
    "data.num_segments": 2, "network.width": 4, "training.epochs": 1, "training.batch": 4,
    "testing.segments": 2,
}  # fmt: skip


@pytest.fixture
def clips(tmp_path, make_clip):
    return [make_clip(tmp_path / "run" / f"{i}.mp4", frames=9, seed=i) for i in range(2)]


def run(
    *words: object,
    before: tuple[str, ...] = (),
    python: str = sys.executable,
    timeout: float = 280,
    env: dict[str, str | None] | None = None,
    **options,
) -> subprocess.CompletedProcess:
    """``flowkit`` with these words, started by the command ``before``; None is no variable."""
    merged = {**os.environ, "PYTHONPATH": search_path(), **(env or {})}
    environment = {name: value for name, value in merged.items() if value is not None}
    return subprocess.run(
        [*before, python, "-m", "flowkit", *map(str, words)],
        env=environment,
        text=True,
        timeout=timeout,
        check=False,
        **({"capture_output": True} | options),
    )


def search_path() -> str:
    """Where flowkit and its packages are, for a Python that is not this one."""
    own = Path(flowkit.__file__).parents[1]
    packages = [path for path in sys.path if path.endswith("site-packages")]
    return os.pathsep.join([str(own), *packages])


def shell(line: str) -> tuple[str, ...]:
    """A command that does ``line`` in a shell, and then what follows."""
    return ("sh", "-c", f'{line}\nexec "$@"', "sh")


def mounts(line: str) -> tuple[str, ...]:
    """The same with mounts of its own, which needs root."""
    command = ("unshare", "--mount", *shell(line))
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs root's right to mount, and the program unshare")
    return command


@pytest.fixture
def store(tmp_path, clips) -> Path:
    done = run("extract", *clips, "--store", "S", "--workers", "0", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path / "S"


@pytest.fixture
def other_user() -> tuple[Path, Callable[..., subprocess.CompletedProcess]]:
    """(A folder that another user can write to, what runs flowkit there as that user)."""
    if not ROOT:
        pytest.skip("needs root, to be somebody else")
    names = [sys.executable, f"/usr/bin/python3.{sys.version_info[1]}", "/usr/local/bin/python3"]
    for python in names:
        probe = [*AS_OTHER, python, "-c", "import av, numba, ray, torch, flowkit, train"]
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": search_path()}
        try:
            if not subprocess.run(probe, env=env, capture_output=True, check=False).returncode:
                break
        except OSError:
            continue
    else:
        pytest.skip(f"none of {', '.join(names)} can be used by another user")
    folder = Path(tempfile.mkdtemp(prefix="flowkit-test-"))
    os.chown(folder, OTHER_USER, OTHER_USER)
    # No name, no home, and what they say of the tester's is not theirs.
    names = ("USER", "LOGNAME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")

    def run_as_other(*words, home: str | None):
        env = {"HOME": home, **dict.fromkeys(names)}
        return run(*words, before=AS_OTHER, python=python, env=env, cwd=folder)

    yield folder, run_as_other
    shutil.rmtree(folder)
    shutil.rmtree(Path(tempfile.gettempdir()) / f"flowkit-{OTHER_USER}", ignore_errors=True)


def test_a_hostile_environment(tmp_path, clips):
    """No home, a long TMPDIR, dead proxies, one core, no docstrings, umask 077, no terminal."""
    scratch = tmp_path / ("x" * 150)
    scratch.mkdir()
    done = run(
        "extract", *clips, "--store", "S", "--workers", "1", *SMALL,
        before=shell("umask 077; exec <&- >&-"),
        env={
            "HOME": HOMELESS, "TMPDIR": str(scratch), "PYTHONOPTIMIZE": "2", **PROXIES,
            "XDG_CACHE_HOME": None, "RAY_ADDRESS": None, "RAY_TMPDIR": None,
        },
        cwd=tmp_path,
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(Store(tmp_path / "S")) == 2
    assert not any("ray" in path.name for path in scratch.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("which", ["tmpdir", "limits"])
def test_other_machines_with_ray(tmp_path, clips, which):
    """A TMPDIR that is not there; 64 open files and 64 MB of shared memory."""
    before, env = (), {"TMPDIR": str(tmp_path / "none")}
    if which == "limits":
        env = {}
        # The test's own folder may be in /dev/shm, and is mounted again.
        before = mounts(
            f"ulimit -n 64; exec 9<'{tmp_path}'; mount -t tmpfs -o size=64m tmpfs /dev/shm; "
            f"mkdir -p '{tmp_path}'; "
            f"mount --no-canonicalize --bind /proc/self/fd/9 '{tmp_path}'; exec 9<&-"
        )
    done = run(
        "extract", *clips, "--store", "S", "--workers", "1", *SMALL,
        before=before, env=env, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(Store(tmp_path / "S")) == 2


def use(tmp_path: Path, start: Callable[..., subprocess.CompletedProcess], clips, *options) -> None:
    """Extract two videos with Ray, train on the store T, draw the curves of the training."""
    done = start("extract", *clips, "--store", "S", "--workers", "1", *SMALL)
    assert done.returncode == 0, done.stderr
    assert len(Store(tmp_path / "S")) == 2
    changes = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
    done = start(*TRAIN.split(), *changes, *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "R" / "phases" / "rgb" / "weights.pt").is_file()
    done = start("report", "R", "curves")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "R" / "figures" / "curves.png").stat().st_size > 1000


@pytest.mark.slow
def test_another_user_without_a_home(other_user, make_clip, make_store):
    folder, start = other_user
    clips = make_videos(folder, make_clip)
    make_store([f"video {number:02}" for number in range(12)], folder / "T", frames=9)
    use(folder, lambda *words: start(*words, home="/nonexistent"), clips)


def test_another_user_who_is_in_no_passwd(other_user, make_clip):
    """HOME is not even set: Path.home() would raise."""
    folder, start = other_user
    clips = make_videos(folder, make_clip)
    command = ("extract", *clips, "--store", "S", "--workers", "0", *SMALL)
    done = start(*command, home=None)
    assert done.returncode == 0, done.stderr
    assert len(Store(folder / "S")) == 2


@pytest.mark.slow
def test_a_long_tmpdir(tmp_path, make_clip, make_store):
    """Sockets of Ray, of Ray Train and of the processes that load."""
    scratch = tmp_path / ("x" * 150)
    scratch.mkdir()
    env = {"TMPDIR": str(scratch)}
    clips = make_videos(tmp_path, make_clip)
    make_store([f"video {number:02}" for number in range(12)], tmp_path / "T", frames=9)
    use(
        tmp_path, lambda *words: run(*words, env=env, cwd=tmp_path), clips,
        "--processes", "2",
    )  # fmt: skip


def test_few_open_files(tmp_path, clips):
    done = run(
        "extract", *clips, "--store", "S", "--workers", "0", *SMALL,
        before=shell("ulimit -n 64"), cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_store_that_can_only_be_read(tmp_path, store):
    """And no folder to work in: it is read and checked, and drawn to where there is room."""
    read_only = mounts(f"mount --bind -o ro {tmp_path} {tmp_path} && cd {tmp_path}")
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "strip.png"
        for words in (("status", "S"), ("verify", "S"), ("preview", "S", "-o", picture)):
            done = run(*words, before=read_only, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        assert picture.stat().st_size > 1000
    probe = "from flowkit import Store; s = Store('S'); print(s['0.mp4'].rgb(0).shape)"
    done = subprocess.run(
        [*read_only, sys.executable, "-c", probe],
        env={**os.environ, "PYTHONPATH": search_path()},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "(32, 32, 3)\n", done.stderr
    done = run("extract", "run/0.mp4", "--store", "T", "--workers", "0", before=read_only,
               cwd=tmp_path)  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "Read-only file system" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_address_at_which_nobody_answers(tmp_path, clips):
    done = run(
        "extract", *clips, "--store", "S", *SMALL, env={"RAY_ADDRESS": "127.0.0.1:9"}, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "no Ray cluster answers at 127.0.0.1:9" in done.stderr.splitlines()[-1]
    assert "unset RAY_ADDRESS" in done.stderr


@pytest.fixture
def short_folder():
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        yield folder


# After a run in a notebook, its user's own processes are forked from one that Ray has been in.
FORK = """
import gc, os, sys
from pathlib import Path
from flowkit.annotations import explicit_files
from flowkit.extraction import Options, RecipeOverrides, choose_recipe, extract

gc.disable()  # so that it is not by luck that nothing of Ray is left
root, clip = map(Path, sys.argv[1:])
recipe = choose_recipe(root, ("rgb",), RecipeOverrides(size="32x32"), None)
extract(explicit_files([clip]), root, recipe, Options(streams=("rgb",), workers=1))
child = os.fork()
if child == 0:
    gc.collect()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_after_a_run_forks_are_safe_and_nothing_is_left(tmp_path, clips, short_folder):
    """Ray leaves clients with threads, and a child in which they are freed dies of signal 11."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, str(tmp_path / "S"), str(clips[0])],
        env={**os.environ, "PYTHONPATH": search_path(), "RAY_TMPDIR": short_folder},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.stdout == "0\n", done.stderr
    assert list(Path(short_folder).iterdir()) == []  # no folder of Ray's session


def test_what_a_killed_run_left_is_removed(short_folder, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", short_folder)
    killed, young, other = (Path(short_folder) / f"flowkit-ray-{name}" for name in "kyo")
    for folder in (killed, young, other):
        (folder / "r").mkdir(parents=True)
        (folder / "lock").touch()
    os.utime(killed, (0, 0))
    with make_session() as used:
        os.utime(used.parent, (0, 0))  # of a run that takes long
        os.utime(other, (0, 0))
        with lock_session(other), make_session() as second:
            left = {path.name for path in Path(short_folder).iterdir()}
            mine = {used.parent.name, second.parent.name}
            assert left == {young.name, other.name, *mine}
        assert stat.S_IMODE(used.parent.stat().st_mode) == 0o700
        token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
        assert token.parent == used.parent and stat.S_IMODE(token.stat().st_mode) == 0o600
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ


# --- Ray that does not start ----------------------------------------------------------------------

AGENT = """
2026-11-27 16:44:49,403\tINFO agent.py:356 -- Starting agent at pid 15864
2026-11-27 16:44:49,404\tERROR agent.py:400 -- Agent is dead
Traceback (most recent call last):
  File "/x/ray/util/state/common.py", line 947, in <module>
    state.__doc__ += "text"
TypeError: unsupported operand type(s) for +=: 'NoneType' and 'str'
"""
RAYLET = """
[2026-11-27 16:44:49,978 E 15839 15863] (raylet) agent_manager.cc:87: The raylet exited immediately.
The raylet fate shares with the agent. This can happen because
[2026-11-27 16:45:03,521 C 15839 15839] (raylet) node_manager.cc:3588:  Check failed
*** StackTrace Information ***
"""


def test_the_line_of_rays_logs_that_matters(tmp_path):
    logs = tmp_path / "session_latest" / "logs"
    logs.mkdir(parents=True)
    assert find_start_error(tmp_path) == ""
    (logs / "raylet.err").write_text(RAYLET)
    assert find_start_error(tmp_path) == (
        "agent_manager.cc:87: The raylet exited immediately. (raylet.err)"
    )
    (logs / "dashboard_agent.log").write_text(AGENT)
    assert find_start_error(tmp_path) == (
        "TypeError: unsupported operand type(s) for +=: 'NoneType' and 'str' (dashboard_agent.log)"
    )


def test_ray_that_raises_anything_is_one_line(tmp_path):
    class Ray:
        @staticmethod
        def init(**options):
            raise Exception("The current node timed out.\nThis could happen because")

    with pytest.raises(FlowkitError, match=r"does not start .*: The current node timed out"):
        start_local_cluster(Ray, tmp_path, 1, 0, {})


def test_no_place_for_sockets_is_one_line(monkeypatch):
    import_ray()
    monkeypatch.setattr("flowkit.extraction.ray_session.RAY_SOCKET_BYTES", 107)
    with (
        pytest.raises(FlowkitError, match=r"cannot start Ray: no folder for sockets: .*--w"),
        open_ray(None, 1, 0),
    ):
        pass


@pytest.mark.slow
def test_ray_whose_agent_does_not_start(tmp_path, short_folder, clips):
    """Ray waits for 45 seconds, and says that the node timed out."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if any('dashboard/agent.py' in word for word in sys.orig_argv):\n"
        "    sys.modules['ray.dashboard.utils'] = None  # importing it raises\n"
    )
    path = os.pathsep.join([str(tmp_path), search_path()])
    done = run("extract", *clips, "--store", "S", "--workers", "1", *SMALL,
               env={"PYTHONPATH": path, "RAY_TMPDIR": short_folder}, cwd=tmp_path)  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: Ray does not start on this machine: ")
    assert (
        "import of ray.dashboard.utils halted" in done.stderr
        and "--workers 0 works without Ray" in done.stderr
    )
    assert len(done.stderr.splitlines()) == 1
    assert list(Path(short_folder).iterdir()) == []


def make_videos(folder: Path, make_clip) -> list[Path]:
    return [make_clip(folder / "run" / f"{i}.mp4", frames=9, seed=i) for i in range(2)]
