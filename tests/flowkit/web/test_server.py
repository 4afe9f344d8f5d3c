"""`flowkit view` as a process: its address, its port, its end."""

import json
import re
import signal
import socket
import struct
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from click.testing import CliRunner

from flowkit.cli import main
from flowkit.store.format.header import create_or_open
from flowkit.web.keys import make_key
from flowkit.web.server import open_listener


@pytest.fixture
def view(root):
    """``view(*options)``: start the server; the lines that it prints, up to its address."""
    started = []

    def start(*options):
        command = [sys.executable, "-m", "flowkit", "view", str(root), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        lines = []
        while not lines or "http" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], "the server ended"
        return process, lines

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def read(address):
    with urllib.request.urlopen(address, timeout=20) as answer:
        return answer.read()


def test_the_next_port_is_taken_and_ctrl_c_ends(view):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        process, lines = view("--port", str(port))
        assert lines[0] == f"port {port} cannot be used; {port + 1} is taken instead\n" or (
            re.match(rf"port {port} cannot be used; \d+ is taken instead\n", lines[0])
        )
    address = re.match(r"http://127\.0\.0\.1:\d+/", lines[1])[0]
    assert b"<title>store" in read(address)
    assert b'"videos":5' in read(f"{address}api/overview")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


def test_an_address_that_others_reach_gets_a_token(view):
    _, lines = view("--host", "0.0.0.0", "--port", "0")
    address = re.match(r"http://0\.0\.0\.0(:\d+/)(\?token=[\w-]+)", lines[-1])
    local = f"http://127.0.0.1{address[1]}"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        read(local)
    assert b"<title>store" in read(local + address[2])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere"),
        (["{root}", "--host", "203.0.113.7"], "cannot listen on 203.0.113.7"),
        (["{root}", "--port", "99999"], "99999"),
    ],
)
def test_a_wrong_command_is_a_line(root, arguments, words):
    command = ["view", *(argument.format(root=root) for argument in arguments)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code in (1, 2)
    assert words in result.output
    assert "Traceback" not in result.output


def test_an_empty_store_without_an_index_is_a_line(tmp_path, root):
    from flowkit.store import read_header

    create_or_open(tmp_path / "empty", read_header(root).recipe)
    result = CliRunner().invoke(main, ["view", str(tmp_path / "empty")])
    assert result.exit_code == 1
    assert "index" in result.output


def test_a_store_of_a_newer_format_is_a_line(root):
    header = json.loads((root / "store.json").read_text())
    (root / "store.json").write_text(json.dumps(header | {"format": header["format"] + 1}))
    result = CliRunner().invoke(main, ["view", str(root)])
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert "newer" in result.output


def test_a_client_that_goes_away_harms_nobody(view):
    _, lines = view("--port", "0")
    port = int(re.match(r"http://127\.0\.0\.1:(\d+)/", lines[-1])[1])
    target = f"/api/video/{make_key('a')}/frames?count=64"
    for sent in (f"GET {target} HTTP/1.1\r\nhost: localhost:{port}\r\n\r\n", "GET / HT", ""):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(sent.encode())
                # Closed at once, with a reset.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert b'"videos":5' in read(f"http://127.0.0.1:{port}/api/overview")


def test_any_free_port():
    listener, port = open_listener("127.0.0.1", 0)
    with listener:
        assert port > 0
