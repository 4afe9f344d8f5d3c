"""The same ids, whatever the locale says that the bytes of file names mean."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flowkit.path_text import (
    ESCAPE_HANDLER,
    argument_to_text,
    path_to_text,
    printable_path,
    replace_surrogates,
    text_to_path,
)
from flowkit.store import Store
from flowkit.store.failures import read_failures

NAME = "日本語 クリップ.mp4"
CLASS = "跳ぶ é"
ROOT = Path(__file__).parents[2]
PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
UTF8 = {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "0"}
LATIN = {"LC_ALL": "xx_XX.ISO-8859-1", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

pytestmark = pytest.mark.skipif(
    sys.getfilesystemencoding() != "utf-8", reason="the names are written from a UTF-8 locale"
)


@pytest.fixture(scope="session")
def latin_locale(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An ISO-8859-1 locale, compiled here: hardly a machine has one."""
    if shutil.which("localedef") is None:
        pytest.skip("no localedef (glibc's) to compile an ISO-8859-1 locale with")
    folder = tmp_path_factory.mktemp("locales")
    command = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(folder / LATIN["LC_ALL"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode > 1:  # 1 is a warning
        pytest.skip(f"localedef cannot compile an ISO-8859-1 locale: {done.stderr}")
    return {**LATIN, "LOCPATH": str(folder)}


@pytest.fixture(params=["C", "ISO-8859-1", "UTF-8"])
def locale(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "ISO-8859-1":
        environment: dict[str, str] = request.getfixturevalue("latin_locale")
        encoding = run_python(environment, "import sys; print(sys.getfilesystemencoding())")
        assert encoding.stdout == b"iso8859-1\n"
        return environment
    return {"C": PLAIN, "UTF-8": UTF8}[request.param]


def run_python(
    environment: dict[str, str], *code: str, folder: Path = ROOT
) -> "subprocess.CompletedProcess[bytes]":
    arguments = ["-c", *code] if len(code) == 1 else list(code)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LC_") and name not in ("LANG", "PYTHONIOENCODING")
    }
    return subprocess.run(
        [sys.executable, *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        cwd=folder,
        capture_output=True,
        timeout=300,
        check=False,
    )


def run_flowkit(environment: dict[str, str], folder: Path, *arguments: str, code: int = 0) -> bytes:
    done = run_python(environment, "-m", "flowkit", *arguments, folder=folder)
    assert done.returncode == code, done.stderr.decode("utf-8", "replace")
    assert b"Traceback" not in done.stderr
    return done.stdout


# The arguments are sys.argv's, as the interpreter decodes them; "--then" separates commands.
COMMANDS = """
import os, sys
from flowkit.cli import main
commands, words = [[]], sys.argv[1:]
for word in words:
    commands.append([]) if word == "--then" else commands[-1].append(word)
for number, command in enumerate(commands):
    sys.stdout.flush()
    os.dup2(os.open(f"output.{number}", os.O_CREAT | os.O_WRONLY), 1)
    try:
        main(command)
    except SystemExit as end:
        assert not end.code, (command, end.code)
"""


def run_commands(environment: dict[str, str], folder: Path, *commands: list[str]) -> list[bytes]:
    """Run commands after one another in one process, which starts sooner than many."""
    words = [word for command in commands for word in ("--then", *command)][1:]
    done = run_python(environment, "-c", COMMANDS, *words, folder=folder)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    assert b"Traceback" not in done.stderr
    return [(folder / f"output.{number}").read_bytes() for number in range(len(commands))]


def read_json(output: bytes) -> dict:
    assert output.isascii()
    return json.loads(output)


BROKEN = "壊れた.mp4"
EXTRACT = ["--streams", "rgb", "--workers", "0", "--no-resize"]


def write_videos(folder: Path, make_clip: Callable[..., Path]) -> None:
    make_clip(folder / NAME)
    (folder / BROKEN).write_bytes(b"\0\0\0\x18ftypisom" + bytes(40))


def test_a_file_has_the_id_of_its_bytes(
    locale: dict[str, str], tmp_path: Path, make_clip: Callable[..., Path]
) -> None:
    write_videos(tmp_path / "動画 ü", make_clip)
    files = [f"動画 ü/{NAME}", f"動画 ü/{BROKEN}"]
    extracted, status_output, _, _ = run_commands(
        locale,
        tmp_path,
        ["extract", *files, "--store", "保存", *EXTRACT],
        ["status", "保存", "--failures", "--json"],
        ["preview", "保存", NAME, "-o", "絵.png"],
        ["export", "保存", "出力", "--format", "denseflow", "--ids", NAME],
    )
    assert b"\\udc" not in extracted
    store = Store(tmp_path / "保存")
    assert list(store) == [NAME]
    (failure,) = read_failures(store.path).values()
    assert (failure.id, failure.kind) == (BROKEN, "broken")
    assert failure.reason.startswith(f"{BROKEN}: a cut or damaged file")
    assert BROKEN.encode() in (store.path / "failures.jsonl").read_bytes()

    status = read_json(status_output)
    assert status["videos"] == 1
    assert [failed["id"] for failed in status["failed"]] == [BROKEN]
    assert (tmp_path / "絵.png").read_bytes().startswith(b"\x89PNG")

    with (tmp_path / "出力" / "videos.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["id"] == NAME
    assert row["name"].isascii()
    assert len(list((tmp_path / "出力" / row["name"]).glob("img_*.jpg"))) == 9


def test_other_commands_under_the_c_locale(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    """A store that is made under one locale is gone on with under another."""
    write_videos(tmp_path, make_clip)
    extract = ["extract", NAME, BROKEN, "--store", "保存", *EXTRACT]
    run_flowkit(UTF8, tmp_path, *extract)
    extracted, status, _, _, exported = run_commands(
        PLAIN,
        tmp_path,
        [*extract, "--json"],
        ["status", "保存", "--failures"],
        ["preview", "保存", NAME, "-o", "映画.mp4"],
        ["verify", "保存"],
        ["export", "保存", "出力", "--format", "denseflow"],
    )
    again = read_json(extracted)
    assert again["done_before"] == 1
    assert [known["id"] for known in again["quarantined"]] == [BROKEN]
    assert again["store"] == "保存"
    assert f"broken\t{BROKEN}\t{BROKEN}: a cut or damaged file" in status.decode()
    assert (tmp_path / "映画.mp4").stat().st_size > 500
    assert exported.startswith(b"1 videos")

    (folder,) = (tmp_path / "出力").glob("*.mp4")
    folder.rename(tmp_path / "跳ぶ")  # a folder of JPEGs with a name of its own
    (tmp_path / "映像").mkdir()
    (tmp_path / "跳ぶ").rename(tmp_path / "映像" / "跳ぶ")
    convention = ["--format", "denseflow", "--fps", "25"]
    run_flowkit(PLAIN, tmp_path, "import", "映像", "--store", "第二", *convention)
    second = Store(tmp_path / "第二")
    assert list(second) == ["跳ぶ"]
    assert second[0].source == "映像/跳ぶ"

    error = run_python(PLAIN, "-m", "flowkit", "preview", "保存", "無い", folder=tmp_path).stderr
    assert "無い" in error.decode()


def test_class_folders_and_subsets(
    locale: dict[str, str], tmp_path: Path, make_clip: Callable[..., Path]
) -> None:
    for subset in ("train", "val"):
        make_clip(tmp_path / "集" / subset / CLASS / NAME)
    run_flowkit(locale, tmp_path, "extract", "--videos", "集", "--subset", "val", *EXTRACT)
    store = Store(tmp_path / "stores" / "集")
    assert list(store) == [f"val/{CLASS}/{NAME}"]
    assert [label.name for label in store[0].labels] == [CLASS]
    assert store[0].subsets == ("val",)
    assert store.classes == (CLASS,)


def test_annotations_meet_files(locale: dict[str, str], tmp_path: Path) -> None:
    """Their text is UTF-8 and the names' bytes are: they are the same video."""
    (tmp_path / CLASS).mkdir()
    (tmp_path / CLASS / NAME).touch()
    code = f"""
from pathlib import Path
from flowkit.annotations import Annotation, AnnotationTable, Label
from flowkit.annotations.source import match_videos
id = {CLASS + "/" + NAME!a}
table = AnnotationTable(("c",), (Annotation(id, (Label("c"),), ()),))
located = match_videos(Path(), table, {{id: table.annotations[0]}}, str)
(source,) = located.sources
assert source.id == id
assert source.path.stat().st_size == 0
assert not located.missing and not located.unannotated
"""
    done = run_python(locale, code, folder=tmp_path)
    assert done.returncode == 0, done.stderr.decode()


def test_the_source_is_kept_in_words(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    """Also below a folder whose name is not UTF-8: the id is."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    make_clip(folder / NAME)
    run_flowkit(PLAIN, tmp_path, "extract", str(folder / NAME), "--store", "S", *EXTRACT)
    video = Store(tmp_path / "S")[0]
    assert video.id == NAME
    assert video.source == f"{tmp_path}/caf\\xe9/{NAME}"


def test_a_worker_opens_the_same_file(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    """Ray itself fails where the command line has such names, so here it has none."""
    make_clip(tmp_path / "videos" / NAME)
    run_flowkit(
        PLAIN, tmp_path, "extract", "videos", "--store", "S", "--streams", "rgb",
        "--workers", "1", "--no-resize",
    )  # fmt: skip
    assert list(Store(tmp_path / "S")) == [NAME]


def test_the_default_store_of_a_folder_is_found_again(
    tmp_path: Path, make_clip: Callable[..., Path]
) -> None:
    make_clip(tmp_path / "видео" / CLASS / NAME)
    extract = ["extract", "--videos", "видео", *EXTRACT]
    first, second = run_commands(PLAIN, tmp_path, extract, extract)
    assert b"1  videos extracted" in first
    assert b"1  videos done before" in second


def test_output_off_a_terminal_cuts_no_name(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    long = "x" * 150 + " " + "y" * 90 + ".mp4"
    (tmp_path / long).write_bytes(b"\0\0\0\x18ftypisom" + bytes(40))
    deep = "/".join(["z" * 100, "w w" * 40, "S"])
    # Exit code 1, since no video could be extracted.
    extract = ("extract", long, "--store", deep, *EXTRACT)
    out = run_flowkit(UTF8, tmp_path, *extract, code=1).decode()
    assert f"  {long}: a cut or damaged file" in out
    assert f"store: {deep}\n" in out
    assert deep in run_flowkit(UTF8, tmp_path, "status", deep).decode()


def test_printing_under_the_c_locale(tmp_path: Path) -> None:
    """Text, a path as the locale has it, and bytes that are no text."""
    for name in (NAME, "caf\udce9"):
        (tmp_path / name).mkdir()
    code = """
import os
import click
from flowkit.cli import make_printable
from flowkit.commands.terminal import print_table
import sys
make_printable(sys.stdout)
click.echo("日本語")
for name in sorted(os.listdir()):
    click.echo(name)
    print_table(name)
"""
    for environment in (PLAIN, UTF8):
        # the code itself comes from a file, since arguments are decoded by the locale, too
        (tmp_path / "code.py").write_text(code, encoding="utf-8")
        done = run_python(environment, "code.py", "", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.decode().splitlines()
        assert lines[0] == "日本語"
        assert lines.count(NAME) == 2
        assert lines.count("caf\\xe9") == 2


def test_texts_and_paths() -> None:
    assert path_to_text(Path("a/ü")) == "a/ü"
    assert path_to_text("caf\udce9") == "caf\udce9"
    assert text_to_path("caf\udce9/ü") == Path("caf\udce9/ü")
    assert printable_path("caf\udce9/ü") == "caf\\xe9/ü"
    assert printable_path("a\ud800/ü") == "a\\xed\\xa0\\x80/ü"  # no locale can encode it
    assert argument_to_text("日\udce9") == "日\udce9"
    assert replace_surrogates("日\udce6\udc97\udca5\udce9") == "日日\\xe9"
    assert replace_surrogates("a\ud800") == "a\\xed\\xa0\\x80"
    replace_surrogates("\ud800\udce9").encode()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "iso8859-2", "koi8-r", "cp437", "cp037"])
def test_every_encoding_has_escapes_for_what_it_cannot_write(encoding: str) -> None:
    """Codecs with a table, such as ISO-8859-2, do not say in their errors which one they are."""
    text = "a\x85\xa9ÿ€日\udce9\udcc2\udca9z"
    printed = text.encode(encoding, ESCAPE_HANDLER).decode(encoding)
    for character in replace_surrogates(text):
        escape = character.encode("ascii", "backslashreplace").decode()
        assert printed.startswith((character, escape))
        printed = printed.removeprefix(character).removeprefix(escape)
    assert printed == ""
