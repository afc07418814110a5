"""Serves a page to browsers on this machine that know the token."""

import hmac
import secrets
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_HOST = "127.0.0.1"


class Server:
    """A server on the loopback interface; `url` includes the token that it requires."""

    def __init__(self, page: Callable[[], str], port: int = 0) -> None:
        """page: renders the page for each request. port: 0 picks any free port."""
        token = secrets.token_urlsafe(16)
        self._server = ThreadingHTTPServer((_HOST, port), _handler(page, token))
        self.port = int(self._server.server_address[1])
        self.url = f"http://{_HOST}:{self.port}/?token={token}"

    def serve(self) -> None:
        """Serves requests until interrupted."""
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """Stops `serve` and releases the port."""
        self._server.shutdown()
        self._server.server_close()


def _handler(page: Callable[[], str], token: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """The page, for the right host name and token; anything else is refused."""
            parts = urlsplit(self.path)
            given = parse_qs(parts.query).get("token", [""])[0]
            host = (self.headers.get("Host") or "").partition(":")[0]
            # Any other host name belongs to a foreign page that points here (DNS rebinding).
            is_allowed = host in (_HOST, "localhost") and hmac.compare_digest(
                given.encode(), token.encode()
            )
            if not is_allowed:
                self._send(403, "Open the address that the command printed.")
            elif parts.path != "/":
                self._send(404, "There is one page: /")
            else:
                self._send(200, page())

        def _send(self, status: int, text: str) -> None:
            data = text.encode()
            self.send_response(status)
            kind = "text/html" if status == 200 else "text/plain"
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Logs nothing: the request line contains the token."""

    return Handler
