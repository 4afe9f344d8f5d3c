"""A small S3 server with faults, and stores on it."""
# ruff: noqa: N802, N815 (names that http.server asks for)

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

import pytest

KEY = "test-key"
BUCKET = "bucket"


class S3Server(ThreadingHTTPServer):
    """Objects in memory, below /bucket/; GET, HEAD, PUT, DELETE, lists and uploads in parts.

    ``fault`` is asked before each request: fault(method, key) returns None or one of "301", "403",
    "500", "503", "reset" (the connection breaks), "truncate" (the body ends early), or seconds to
    wait.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.fault: Callable[[str, str], str | float | None] = lambda method, key: None
        self.has_conditions = True  # False: conditions of requests are ignored
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def count(self, method: str = "GET", ending: str = "") -> int:
        return sum(1 for m, key, _ in self.requests if m == method and key.endswith(ending))

    def handle_error(self, request, client_address) -> None:
        """Say nothing of clients that hang up."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3Server

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def handle_request(self) -> None:
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        query = parse_qs(parts.query, keep_blank_values=True)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        with self.server.lock:
            self.server.requests.append((self.command, key, self.headers.get("Range")))
        fault = self.server.fault(self.command, key)
        if isinstance(fault, float):
            time.sleep(fault)
        elif fault == "301":
            self.refuse(301, "PermanentRedirect")
        elif fault in ("403", "500", "503"):
            self.refuse(int(fault), "AccessDenied" if fault == "403" else "SlowDown")
            return
        elif fault == "reset":
            self.connection.close()
            self.close_connection = True
            return
        signature = self.headers.get("Authorization", "")
        if signature and f"Credential={KEY}/" not in signature:
            self.refuse(403, "InvalidAccessKeyId")
        elif bucket != BUCKET:
            self.refuse(404, "NoSuchBucket")
        else:
            getattr(self, f"answer_{self.command}")(key, query, body, fault == "truncate")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_request

    def answer_GET(self, key: str, query: dict, body: bytes, truncated: bool) -> None:
        if "list-type" in query:
            self.answer_list(query.get("prefix", [""])[0])
            return
        content = self.server.objects.get(key)
        if content is None:
            self.refuse(404, "NoSuchKey")
            return
        headers = {
            "ETag": f'"{hashlib.md5(content).hexdigest()}"',
            "Last_Modified": "Wed, 21 Oct 2026 07:28:00 GMT",
        }
        status, data = 200, content
        if match := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or ""):
            start, stop = int(match[1]), min(int(match[2]) + 1, len(content))
            if start >= len(content):
                self.refuse(416, "InvalidRange")
                return
            status, data = 206, content[start:stop]
            headers["Content_Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        headers["Content_Length"] = str(len(data))
        self.answer(status, data[: len(data) // 2] if truncated else data, **headers)
        if truncated:
            self.close_connection = True

    def answer_HEAD(self, key: str, query: dict, body: bytes, truncated: bool) -> None:
        self.answer_GET(key, query, body, False)

    def answer_list(self, prefix: str) -> None:
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size>"
            f'<ETag>"{hashlib.md5(content).hexdigest()}"</ETag>'
            "<LastModified>2026-10-21T07:28:00.000Z</LastModified></Contents>"
            for key, content in sorted(self.server.objects.items())
            if key.startswith(prefix)
        )
        self.answer(
            200,
            f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode(),
        )

    def answer_PUT(self, key: str, query: dict, body: bytes, truncated: bool) -> None:
        if self.headers.get("If-None-Match") == "*" and self.server.has_conditions:
            with self.server.lock:
                if key in self.server.objects:
                    self.refuse(412, "PreconditionFailed")
                    return
                self.server.objects[key] = body
        elif "uploadId" in query:
            self.server.uploads[query["uploadId"][0]][int(query["partNumber"][0])] = body
        else:
            self.server.objects[key] = body
        self.answer(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')

    def answer_POST(self, key: str, query: dict, body: bytes, truncated: bool) -> None:
        if "delete" in query:
            keys = re.findall(r"<Key>(.*?)</Key>", body.decode())
            for name in map(unescape, keys):
                self.server.objects.pop(name, None)
            deleted = "".join(f"<Deleted><Key>{name}</Key></Deleted>" for name in keys)
            xml = f"<DeleteResult>{deleted}</DeleteResult>"
        elif "uploads" in query:
            id = f"upload-{len(self.server.uploads)}"
            self.server.uploads[id] = {}
            result = "InitiateMultipartUploadResult"
            xml = f"<{result}><UploadId>{id}</UploadId></{result}>"
        else:
            parts = self.server.uploads.pop(query["uploadId"][0])
            self.server.objects[key] = b"".join(parts[n] for n in sorted(parts))
            xml = '<CompleteMultipartUploadResult><ETag>"x"</ETag></CompleteMultipartUploadResult>'
        self.answer(200, xml.encode())

    def answer_DELETE(self, key: str, query: dict, body: bytes, truncated: bool) -> None:
        self.server.objects.pop(key, None)
        self.answer(204)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3Server]:
    """An empty server with one bucket, credentials for it, and an empty cache."""
    pytest.importorskip("obstore", reason="pip install obstore: stores on object storage need it")
    from flowkit.store.remote import client, failures, files, page_cache

    server = S3Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL": server.address,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "FLOWKIT_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(failures, "FIRST_PAUSE", 0.002)

    def forget() -> None:
        client._state.reset()
        files.get_files.cache_clear()
        page_cache.get_cache.cache_clear()

    server.forget = forget  # as in a new process
    forget()
    yield server
    forget()
    with suppress(OSError):
        server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def upload(s3: S3Server) -> Callable[..., str]:
    """``upload(folder, name)``: put a store on the server; returns its URL."""

    def put(folder: Path, name: str = "stores/one") -> str:
        for path in folder.rglob("*"):
            if path.is_file() and "locks" not in path.parts:
                s3.objects[f"{name}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
        return f"s3://{BUCKET}/{name}"

    return put
