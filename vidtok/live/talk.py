"""What the server reports, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def json_row(row: Mapping[str, object]) -> None:
    """One JSON object a line."""
    print(json.dumps(row), flush=True)


class Talk:
    """Says what the server reports, in sentences and at most once a second a stream."""

    def __init__(self) -> None:
        self._said_ms: dict[object, float] = {}

    def __call__(self, row: Mapping[str, Any]) -> None:
        match row["event"]:
            case "listening":
                token = f" --token {row['token']}" if row["token"] else ""
                print(f"listening: vidtok send SOURCE --to {row['url']}{token}", flush=True)
                print(f'ask:       vidtok ask {row["url"]} "what do you see?"{token}', flush=True)
            case "noticed":
                print(f"{row['stream']}  {row['capture_ms'] / 1000:7.1f} s  {row['condition']} yes", flush=True)
            case "sight" if row["capture_ms"] - self._said_ms.get(row["stream"], -1e9) >= 1000:
                self._said_ms[row["stream"]] = row["capture_ms"]
                labels = ", ".join(f"{name} {score:.0%}" for name, score in row["labels"])
                print(
                    f"{row['stream']}  {row['capture_ms'] / 1000:7.1f} s  version {row['version']}: {labels}",
                    flush=True,
                )
            case "connected" | "suspended" | "resumed" | "closed" | "refused":
                print("  ".join(str(value) for key, value in row.items() if value not in (None, "")), flush=True)
            case _:
                pass
