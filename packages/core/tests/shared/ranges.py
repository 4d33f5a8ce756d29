"""A small HTTP server over a folder, with ranges, that counts requests and fails when it is told to.

It stands for an object store: ``with serving(folder) as store: store.url`` is the folder's address. It
runs in a thread of the test's process, and other processes reach it like any server.
"""

from __future__ import annotations

import html
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

CHUNK = 64 << 10


@dataclass(frozen=True)
class Request:
    method: str
    name: str
    """Path below the folder."""
    range: tuple[int, int] | None
    """First and last byte, or None for all."""


@dataclass
class Fault:
    kind: str
    times: int | None
    """GETs of ranges that still meet it (others do so uncounted); None: all until it is mended."""


class Store:
    """What a test sees of the server.

    Attributes:
        requests: all so far, in the order of their arrival.
        chunk_delay_s: wait between pieces of 64 KiB of a body: a slow line.
        takes_writes: answer that what is sent was written; it never is.
        hides_absence: answer 403 for what is not there, as public buckets do whose listing is private.
    """

    KINDS = ("error", "refuse", "vanish", "short", "stall")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.requests: list[Request] = []
        self.chunk_delay_s = 0.0
        self.hides_absence = False
        self.takes_writes = False
        self._faults: dict[str, Fault] = {}
        self._lock = threading.Lock()
        self._released = threading.Event()

    def fail(self, name: str, kind: str, times: int | None = None) -> None:
        """Let GETs (and HEADs, but for ``short``) of ``name`` fail.

        ``error`` answers 500, ``refuse`` 403, ``vanish`` 404, ``short`` ends the body half-way as if it
        were complete, ``stall`` sends half of the body and then nothing until :meth:`mend`.
        """
        assert kind in self.KINDS
        self._faults[name] = Fault(kind, times)

    def mend(self) -> None:
        """End all faults; stalled answers go on."""
        self._faults.clear()
        self._released.set()
        self._released = threading.Event()

    def gets(self, name: str) -> list[Request]:
        """The GETs of a range of ``name``."""
        return [each for each in self.requests if each.method == "GET" and each.name == name and each.range]

    def fault(self, request: Request) -> str | None:
        """Which fault this request meets; counts it."""
        with self._lock:
            self.requests.append(request)
            fault = self._faults.get(request.name)
            if fault is None or (request.method == "HEAD" and fault.kind == "short"):
                return None
            if fault.times is not None and request.range:
                fault.times -= 1
                if fault.times == 0:
                    del self._faults[request.name]
            return fault.kind

    def wait(self) -> None:
        self._released.wait(60)


@contextmanager
def serving(folder: Path) -> Iterator[Store]:
    store = Store(Path(folder))
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": store}))
    store.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        store.mend()
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed, or lost patience, is part of the test."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits for the client to say that it has the headers
    store: Store

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def do_PUT(self) -> None:
        self._take("PUT")

    def do_POST(self) -> None:
        self._take("POST")

    def _take(self, method: str) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.store.requests.append(Request(method, unquote(urlsplit(self.path).path).strip("/"), None))
        self._send(201 if self.store.takes_writes else 405, b"", method)

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self, method: str) -> None:
        name = unquote(urlsplit(self.path).path).strip("/")
        span = _span(self.headers.get("Range"))
        fault = self.store.fault(Request(method, name, span))
        path = self.store.folder / name
        if fault == "error":
            self._send(500, b"", method)
        elif fault == "refuse":
            self._send(403, b"", method)
        elif fault == "vanish" or not path.exists():
            self._send(403 if self.store.hides_absence else 404, b"", method)
        elif path.is_dir():
            links = "".join(
                f'<a href="{html.escape(each)}">{html.escape(each)}</a>\n'
                for each in sorted(os.listdir(path))
            )
            self._send(200, links.encode(), method, {"Content-Type": "text/html"})
        else:
            self._send_file(path, span, fault, method)

    def _send_file(self, path: Path, span: tuple[int, int] | None, fault: str | None, method: str) -> None:
        found = path.stat()
        size = found.st_size
        headers = {"ETag": f'"{found.st_mtime_ns:x}-{size:x}"', "Accept-Ranges": "bytes"}
        status, first, last = 200, 0, size - 1
        if span is not None:
            status, first, last = 206, span[0], min(span[1], last)
            if first > last:
                self._send(416, b"", method, {"Content-Range": f"bytes */{size}"})
                return
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        with path.open("rb") as file:
            file.seek(first)
            content = file.read(last + 1 - first)
        if fault == "short":
            content = content[: len(content) // 2]
        self._send(status, content, method, headers, stall=fault == "stall")

    def _send(
        self,
        status: int,
        content: bytes,
        method: str,
        headers: dict[str, str] | None = None,
        *,
        stall: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if method == "HEAD":
            return
        for start in range(0, len(content), CHUNK):
            if stall and start + CHUNK >= len(content) // 2:
                self.wfile.flush()
                self.store.wait()
                stall = False
            self.wfile.write(content[start : start + CHUNK])
            if self.store.chunk_delay_s:
                time.sleep(self.store.chunk_delay_s)


def _span(header: str | None) -> tuple[int, int] | None:
    if not header:
        return None
    first, _, last = header.removeprefix("bytes=").partition("-")
    return int(first), int(last) if last else 1 << 62
