"""A real server in a process of its own, and what it tells, row by row."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tests.vidtok.command import VIDTOK

PATIENCE_S = 120.0  # for anything that has to happen: this machine may be busy
LOOK_S = 0.05


def until(happens: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait for a true value; whatever takes longer never comes."""
    end = time.monotonic() + patience_s
    while not (value := happens()):
        assert time.monotonic() < end, f"in {patience_s:g} s not: {what}"
        time.sleep(LOOK_S)
    return value


class Served:
    """`vidtok serve`, which can be ended and begun again at the same place."""

    def __init__(self, *options: str) -> None:
        self.rows: list[dict[str, Any]] = []
        self._options = options
        self.port = 0
        self.begin()

    def begin(self) -> None:
        command = [*VIDTOK, "serve", "--port", str(self.port), "--json", *self._options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()
        begun = len(self.rows)
        until(lambda: [row for row in self.rows[begun:] if row["event"] == "page"], "a server that listens")
        self.url = self.of("page")[-1]["url"]
        self.port = urlsplit(self.url).port or 0

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self.rows.append(json.loads(line))

    def of(self, event: str, stream: str | None = None) -> list[dict[str, Any]]:
        """All rows of a kind, of all streams or of one."""
        rows = [row for row in list(self.rows) if row["event"] == event]
        return rows if stream is None else [row for row in rows if row["stream"] == stream]

    def hashes(self, stream: str) -> dict[int, int]:
        """The state hash of every version that came."""
        return {row["version"]: row["state_hash"] for row in self.of("update", stream)}

    def kill(self) -> None:
        """End at once, without a goodbye."""
        self.process.kill()
        self.process.wait()
