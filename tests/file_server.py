"""A server on this machine that fails as servers do, for the tests of downloads."""

import functools
import hashlib
import http.server
import threading
import time

import pytest

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """What a test's server sends, and what it was asked for."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.etag: str | None = '"v1"'
        self.status: list[int] = []  # errors for the next requests
        self.break_after: list[int] = []  # bytes after which the next answers end
        self.stall_seconds = 0.0  # how long an answer that ends early stays open
        self.ranges: list[str | None] = []
        self.url = ""


class Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, state: Server, *args) -> None:
        self.state = state
        super().__init__(*args)

    def do_GET(self) -> None:
        state = self.state
        asked = self.headers.get("Range")
        state.ranges.append(asked)
        if state.status:
            self.send_error(state.status.pop(0))
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if self.headers.get("If-Range", state.etag) != state.etag:
            start = 0
        if start >= len(state.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(state.content)}")
            self.end_headers()
            return
        body = state.content[start:]
        self.send_response(206 if start else 200)
        if start:
            last = len(state.content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
        self.send_header("Content-Length", str(len(body)))
        if state.etag:
            self.send_header("ETag", state.etag)
        self.end_headers()
        limit = state.break_after.pop(0) if state.break_after else len(body)
        self.wfile.write(body[:limit])
        if limit < len(body):
            self.wfile.flush()
            time.sleep(state.stall_seconds)

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def server():
    state = Server()
    handler = functools.partial(Handler, state)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,)).start()
        state.url = f"http://127.0.0.1:{running.server_port}/data.bin"
        yield state
        running.shutdown()
