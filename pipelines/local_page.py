"""A page that a command shows in a browser of this machine, and what the page asks of it: the one local server.

It listens on 127.0.0.1 alone. Every address begins with a secret that the command tells, and requests whose Host is
another name are refused, so that no page of a stranger reads the photographs or writes a list.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import webbrowser
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from dp3d_data.errors import Dp3dError, PathUnusable

ADDRESS = "127.0.0.1"
NAMES = (ADDRESS, "localhost")
MOST_BYTES = 64 << 20
FOREVER = "private, max-age=86400, immutable"


# What goes to the page: bytes, their type, and whether they never change while the command runs.
Reply = tuple[bytes, str, bool]
# What one address does: the words of its query, or of the JSON that was posted -> a Reply, or what becomes JSON.
Route = Callable[[Mapping[str, Any]], Any]
HTML = "text/html; charset=utf-8"


def local_page(gets: Mapping[str, Route], posts: Mapping[str, Route], port: int = 0) -> tuple[ThreadingHTTPServer, str]:
    """The server of one page, and the page's address.

    Args:
        gets, posts: address below the secret ("" is the page) -> what it does.
        port: 0 for any that is free.

    Raises:
        PathUnusable: the port is taken.
    """
    secret = secrets.token_urlsafe(16)
    try:
        server = ThreadingHTTPServer((ADDRESS, port), partial(_Handler, gets, posts, secret))
    except (OSError, OverflowError) as error:
        what, hint = "nobody can listen on this port", "choose another: --port 0 takes any that is free"
        raise PathUnusable(what, got=error, path=f"{ADDRESS}:{port}", hint=hint) from None
    return server, f"http://{ADDRESS}:{server.server_address[1]}/{secret}/"


def serve(server: ThreadingHTTPServer, address: str, browser: bool) -> None:
    """Answer until the process is interrupted."""
    # where there is a screen: a browser in the terminal would hold it
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if browser and (sys.platform in ("darwin", "win32") or screen):
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def __init__(self, gets: Mapping[str, Route], posts: Mapping[str, Route], secret: str, *connection: Any) -> None:
        self.gets, self.posts, self.secret = gets, posts, secret
        super().__init__(*connection)

    def handle(self) -> None:
        """A browser that no longer wants its picture is no error."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        self._answer(self.gets, lambda: dict(parse_qsl(urlsplit(self.path).query)))

    def do_POST(self) -> None:
        self._answer(self.posts, self._posted)

    def _posted(self) -> Mapping[str, Any]:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MOST_BYTES:
            self.close_connection = True
            raise ValueError("too long")
        content = json.loads(self.rfile.read(length) or b"{}")
        if not isinstance(content, dict):
            raise ValueError("no object")
        return content

    def _answer(self, routes: Mapping[str, Route], words: Callable[[], Mapping[str, Any]]) -> None:
        secret, slash, rest = unquote(urlsplit(self.path).path).removeprefix("/").partition("/")
        route = routes.get(rest) if slash else None
        known = secrets.compare_digest(secret.encode(), self.secret.encode())
        if (self.headers.get("Host") or "").rsplit(":", 1)[0] not in NAMES or not known or route is None:
            self.close_connection = True
            self._send(404, (b"not found", "text/plain", False))
            return
        try:
            found = route(words())
        except Dp3dError as error:
            self._send(400, _json({"error": str(error)}))
        except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
            self._send(400, _json({"error": f"not understood: {error}"}))
        else:
            self._send(200, found if isinstance(found, tuple) else _json(found))

    def _send(self, status: int, reply: Reply) -> None:
        body, kind, kept = reply
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": len(body)}
        headers |= {"Cache-Control": FOREVER if kept else "no-store", "Referrer-Policy": "no-referrer"}
        headers |= {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """The terminal belongs to the command."""


def _json(found: Any) -> Reply:
    return json.dumps(found, separators=(",", ":"), allow_nan=False).encode(), "application/json", False
