"""A bad network that gets well."""

from __future__ import annotations

from typing import Any

from transport.impair import Link


class HealingLink(Link):
    """Impaired until a time, then only as slow as before."""

    def __init__(self, until: float, **options: Any) -> None:
        super().__init__(**options)
        self._until = until
        self._after = Link(**{key: options[key] for key in ("seed", "delay_s", "rate_bps")})

    def push(self, data: bytes, now: float) -> None:
        if now < self._until:
            super().push(data, now)
        else:
            self._after.push(data, now)

    def pop(self, now: float) -> list[bytes]:
        return super().pop(now) + self._after.pop(now)

    def next_time(self) -> float | None:
        times = [time for time in (super().next_time(), self._after.next_time()) if time is not None]
        return min(times, default=None)
