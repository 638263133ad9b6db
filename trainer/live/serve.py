"""A web server for one folder, which this machine alone can reach."""

from __future__ import annotations

import functools
import http.server
from pathlib import Path
from typing import Final

from renderer.errors import MachineError

HOST: Final = "127.0.0.1"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, to pages that share their process with no other site: such pages may compute with threads."""

    extensions_map = {  # noqa: RUF012
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".js": "text/javascript",
        ".wasm": "application/wasm",
        ".onnx": "application/octet-stream",
    }

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: every picture and script would be a line."""


def server(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """Bound, not yet serving. port: 0 is any that is free. Raises MachineError where it is taken."""
    try:
        return http.server.ThreadingHTTPServer((HOST, port), functools.partial(Handler, directory=str(folder)))
    except OSError as error:
        raise MachineError(f"port {port} of {HOST} cannot be used ({error.strerror}): give another --port") from error


def address(serving: http.server.ThreadingHTTPServer) -> str:
    return f"http://{HOST}:{serving.server_port}/"
