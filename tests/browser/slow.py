"""A model behind an endpoint that takes its time: it answers when it is told to, and notices who has gone away."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.browser.served import LOOK_S

WORDS = ("At ", "last ", "a ", "word.")


class SlowModel:
    """An endpoint as `openai:` models have it; `ready` lets it answer, `left` counts those that did not wait."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.asked = self.left = 0
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                model.asked += 1
                while not model.ready.wait(LOOK_S):
                    if self.gone():
                        model.left += 1
                        return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                for word in WORDS:
                    self.tell(json.dumps({"choices": [{"delta": {"content": word}}]}))
                self.tell("[DONE]")

            def gone(self) -> bool:
                try:
                    return self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
                except BlockingIOError:
                    return False
                except ConnectionError:
                    return True

            def tell(self, event: str) -> None:
                self.wfile.write(f"data: {event}\n\n".encode())

            def log_message(self, *_: object) -> None:
                """Nothing: the tests say what went wrong."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def name(self) -> str:
        """What `vidtok serve --model` takes."""
        return f"openai:http://127.0.0.1:{self._server.server_address[1]}/v1?model=slow"

    def close(self) -> None:
        """Answer nobody any more."""
        self.ready.set()
        self._server.shutdown()
        self._server.server_close()
