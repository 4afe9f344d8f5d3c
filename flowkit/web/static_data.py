"""Ask the application for what a folder without a server has, and write it as scripts.

The answers are those of the JSON API, so that the page shows the same. static_answers.js reads the
scripts, and lists them.
"""

import asyncio
import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import parse_qsl

import cv2
import numpy as np
from starlette.applications import Starlette

from flowkit.errors import CorruptError, StoreError, UsageError
from flowkit.flow import flow_to_color
from flowkit.store import Video
from flowkit.store.label_columns import LabelColumns, Rows
from flowkit.web.app import Plugin
from flowkit.web.browse import choose_thumbnail, describe_absent_page, describe_page
from flowkit.web.images import MAX_FRAMES, PARTS, bundle_frames, draw_spectrogram, read_part
from flowkit.web.open_store import OpenStore
from flowkit.web.static_page import dump_json, make_script, make_site_script

CHUNK_BYTES = 3_000_000
"""Bytes of the frames of one script, about."""

MESSAGES = ("error", "times_error", "reason")
"""Keys of answers whose values are messages, which may name files of the store."""

Write = Callable[[str, bytes], None]
"""Writes a file of the folder: its path below the folder, and its content."""


def request_answer(app: Starlette, address: str) -> dict[str, Any]:
    """Request an address below ``/api/`` in this process, without a server.

    Returns:
        The answer as ``value``; or if it is an error, its words as ``error``.
    """
    path, _, query = address.partition("?")
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "",
        "query_string": query.encode(), "headers": [], "client": None, "server": None,
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    value = json.loads(b"".join(message.get("body", b"") for message in sent[1:]))
    return {"value": value} if sent[0]["status"] == 200 else {"error": value["error"]}


@dataclass(frozen=True, kw_only=True)
class StaticData:
    """What the folder has."""

    store: OpenStore
    """The store."""
    rows: Rows
    """Rows of the videos that the folder has, in the order of their ids."""
    plugins: Sequence[Plugin]
    """What other packages add."""
    app: Starlette
    """The application, which is asked for the answers."""

    def write(self, write: Write) -> None:
        """Write all scripts and pictures.

        Raises:
            StoreError: A run changed the index of the store meanwhile.
        """
        view = self.store.get()
        videos = describe_page(view, self.rows)
        keys = [video["key"] for video in videos]
        layouts = {}
        for number, (row, video) in enumerate(zip(self.rows.tolist(), videos, strict=True)):
            neighbours = {
                "previous": keys[number - 1] if number else None,
                "next": keys[number + 1] if number + 1 < len(keys) else None,
            }
            layouts[video["key"]] = write_video(view.store[row], number, write)
            if video["thumbnail"] is not None:
                video["thumbnail"]["part"] = "picture"  # a file, which also shows flow
            self._write_answer(
                f"video-{number}", self._answer_video(video["key"], neighbours), write
            )
        write_json("videos", make_table(view.videos.labels, videos), write)
        self._write_absent(set(keys), write)
        answers = self._write_answers(write)
        site = {
            "videos": layouts, "answers": answers, "stored": len(view.store),
            "bound": view.store.bound, "version": view.version,
        }  # fmt: skip
        write("data/site.js", make_site_script(site).encode())
        if self.store.get().version != view.version:
            raise StoreError(
                "the store was changed while its videos were written; run the same command again"
            )

    def _answer_video(self, key: str, neighbours: dict[str, str | None]) -> dict[str, Any]:
        """Collect the answers about one video."""
        addresses = [f"/api/video/{key}", f"/api/video/{key}/motion"]
        for plugin in self.plugins:
            addresses += plugin.list_video_addresses(key)
        answers = {name_answer(address): request_answer(self.app, address) for address in addresses}
        answer = answers[addresses[0]].get("value")
        if answer is not None:
            answer.update(neighbours)
            # A folder that is given away does not tell where this machine keeps its files.
            answer["source"] = PurePath(answer["source"]).name
            for record in answer["committed"]:
                record.get("provenance", {}).pop("host", None)
        return answers

    def _write_absent(self, kept: set[str], write: Write) -> None:
        """Write the videos that failed or are missing."""
        absent = self.store.get_absent()
        videos = describe_absent_page(self.store.get(), absent, np.arange(len(absent.ids)))
        for video, is_missing in zip(videos, absent.is_missing.tolist(), strict=True):
            video["missing"] = is_missing
            video["key"] = video["key"] if video["key"] in kept else None
        write_json("absent", make_table(absent.labels, videos), write)

    def _write_answers(self, write: Write) -> dict[str, str]:
        """Write the answers that are about no single video; return their scripts by name."""
        addresses = ["/api/overview"]
        for plugin in self.plugins:
            addresses += plugin.list_addresses()
        scripts = {}
        for number, address in enumerate(addresses):
            answer, name = request_answer(self.app, address), name_answer(address)
            if address == "/api/overview" and "value" in answer:
                answer["value"]["path"] = ""
            scripts[name] = f"answers-{number}"
            self._write_answer(scripts[name], {name: answer}, write)
        return scripts

    def _write_answer(self, name: str, answers: dict[str, Any], write: Write) -> None:
        """Write answers as a script; in their messages, the store has its name without a path."""
        write_json(name, shorten_messages(answers, self.store.root.absolute()), write)


def make_table(labels: LabelColumns, videos: list[dict[str, Any]]) -> dict[str, Any]:
    """Make a table that static_videos.js selects from."""
    return {"classes": labels.classes, "subsets": labels.subset_names, "videos": videos}


def shorten_messages(value: Any, root: Path) -> Any:
    """Replace the path of a store by its name in all messages inside JSON values."""
    if isinstance(value, list):
        return [shorten_messages(inner, root) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        key: inner.replace(f"{root}/", f"{root.name}/")
        if key in MESSAGES and isinstance(inner, str)
        else shorten_messages(inner, root)
        for key, inner in value.items()
    }


def name_answer(address: str) -> str:
    """Name the answer to an address: its path, and a line for each parameter."""
    path, _, query = address.partition("?")
    return "\n".join([path, *sorted(f"{name}={value}" for name, value in parse_qsl(query))])


def write_json(name: str, values: Any, write: Write) -> None:
    """Write JSON values as a script of ``data/``."""
    write(f"data/{name}.js", make_script(name, dump_json(values)).encode())


def write_video(video: Video, number: int, write: Write) -> dict[str, Any]:
    """Write the frames, the picture and the sound of a video.

    Args:
        video: The video.
        number: Its number, which its files are named by: ids may be too long for names, and keys
            may differ in case alone, which some file systems do not tell apart.
        write: Writes a file.

    Returns:
        What static_answers.js has to know: the number, the number of frames, of frames of a script,
        the parts of each frame, and the addresses of the picture and of the sound.
    """
    parts = [part for part in PARTS if part.partition("_")[0] in video.streams]
    count, chunk = (video.num_frames if parts else 0), 1
    if count:
        middle_bytes = len(bundle_frames(video, parts, count // 2, 1))
        chunk = max(1, min(MAX_FRAMES, CHUNK_BYTES // middle_bytes))
    for k, start in enumerate(range(0, count, chunk)):
        text = base64.b64encode(bundle_frames(video, parts, start, chunk)).decode()
        name = f"frames-{number}-{k}"
        write(f"data/{name}.js", make_script(name, text).encode())
    pictures: dict[str, tuple[str, Callable[[], bytes]]] = {
        "picture": (f"pictures/{number}.jpg", lambda: draw_picture(video)),
        "sound": (f"pictures/{number}-sound.png", lambda: draw_spectrogram(video)),
    }
    layout: dict[str, Any] = {"number": number, "frames": count, "chunk": chunk, "parts": parts}
    for name, (path, draw) in pictures.items():
        try:
            write(path, draw())
        except (UsageError, CorruptError):
            path = ""  # there is none, or it is damaged
        layout[name] = path or None
    return layout


def draw_picture(video: Video) -> bytes:
    """Return the picture of the grid as a JPEG; a flow field is drawn in colours.

    Raises:
        UsageError: The video has neither frames nor flow.
        CorruptError: The shard is damaged.
    """
    thumbnail = choose_thumbnail(video)
    if thumbnail is None:
        raise UsageError(f"video {video.id!r} has no pictures")
    if thumbnail["part"] == "rgb":
        return read_part(video, "rgb", thumbnail["t"])
    colours = flow_to_color(video.flow(thumbnail["t"]))
    return bytes(cv2.imencode(".jpg", np.ascontiguousarray(colours[..., ::-1]))[1])
