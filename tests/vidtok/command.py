"""The command line as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

VIDTOK = [sys.executable, "-m", "vidtok.cli"]


def vidtok(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """What a command says, once it has ended."""
    return subprocess.run([*VIDTOK, *map(str, args)], capture_output=True, text=True, timeout=120, check=False)
