"""What the server reports, for people and for programs.

{"event": "answered", "time": "2026-11-22T06:05:09.120Z", "stream": "stream 1", "question": 3, ...}
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from vidtok.live.inviting import qr


def json_row(row: Mapping[str, object]) -> None:
    """One JSON object a line, with the time at which it is told."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    print(json.dumps({"event": row["event"], "time": time, **row}, default=_packed), flush=True)


def _packed(value: object) -> str:
    """Bytes as text."""
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} in a row")
    return base64.b64encode(value).decode()


def spoken_row(row: Mapping[str, Any]) -> None:
    """The same in sentences, for people."""
    match row["event"]:
        case "listening":
            token = f" --token {row['token']}" if row["token"] else ""
            print(f"listening: vidtok send SOURCE --to {row['url']}{token}", flush=True)
            print(f'ask:       vidtok ask {row["url"]} "what do you see?"{token}', flush=True)
        case "certificate":
            print(
                f"tls:       a certificate made here; browsers warn once, its SHA-256 is {row['sha256']}",
                flush=True,
            )
        case "page":
            print(f"page:      {row['url']}", flush=True)
            if "#" in row["url"]:
                print(
                    f"{qr(row['url'])}\n           (works once; the next one is printed when it was used)",
                    flush=True,
                )
        case "noticed":
            print(f"{row['stream']}  {row['capture_ms'] / 1000:7.1f} s  {row['condition']} yes", flush=True)
        case "sight":
            labels = ", ".join(f"{name} {score:.0%}" for name, score in row["labels"])
            print(
                f"{row['stream']}  {row['capture_ms'] / 1000:7.1f} s  version {row['version']}: {labels}",
                flush=True,
            )
        case "moved":
            print(f"{row['stream']}  {row['reason']}: goes on with {row['to']}", flush=True)
        case "connected" | "suspended" | "resumed" | "closed" | "refused" | "ending":
            print("  ".join(str(value) for key, value in row.items() if value not in (None, "")), flush=True)
        case _:
            pass
