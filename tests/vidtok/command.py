"""The command line as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VIDTOK = [sys.executable, "-m", "vidtok.cli"]


def vidtok(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """What a command says, once it has ended."""
    return subprocess.run([*VIDTOK, *map(str, args)], capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def serving_once() -> Iterator[tuple[str, Callable[[], list[dict[str, Any]]]]]:
    """A server of one stream: its address, and what waits for its end and gives the rows that it told."""
    server = subprocess.Popen([*VIDTOK, "serve", "--port", "0", "--json", "--once"], stdout=subprocess.PIPE, text=True)

    def told() -> list[dict[str, Any]]:
        assert server.stdout is not None
        rows = [json.loads(line) for line in server.stdout]
        assert server.wait(30) == 0
        return rows

    try:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["url"], told
    finally:
        server.kill()
        server.wait()
        server.stdout.close() if server.stdout else None
