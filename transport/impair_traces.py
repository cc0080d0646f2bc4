"""Networks that change over time: what a `Link` plays back, and the readers of published traces.

    rows (time_s, value), ...   a row holds until the next one's time, the first from 0 on, the last for as long as
                                the one before it; then all begins again. One row alone holds for ever.
    stamps ms, ...              each lets 1,500 bytes pass (Mahimahi); after the last one all begins again

Every reader returns what `Link` takes: `Link(1, rates=read_bandwidth(path))`, `Link(1, **read_alphartc(path))`.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, TypedDict

from transport.errors import LocalProtocolError

Steps = Sequence[tuple[float, float]]

_TRACE_PACKET = 1500
_BEFORE = math.nextafter(0.0, -1.0)  # 0 is above it, everything below 0 is not


class Conditions(TypedDict, total=False):
    """What a trace says of a link, as options of `Link`."""

    rates: list[tuple[float, float]]
    losses: list[tuple[float, float]]
    delays: list[tuple[float, float]]
    jitters: list[tuple[float, float]]


class Curve:
    """A value that changes in steps and repeats."""

    def __init__(self, name: str, steps: Steps, highest: float = math.inf) -> None:
        self.times = [time for time, _ in steps]
        self.values = [value for _, value in steps]
        if not steps or not all(a < b < math.inf for a, b in pairwise([_BEFORE, *self.times])):
            raise LocalProtocolError(f"{name} needs rows (time in seconds, value), times from 0 on that rise")
        if not all(0 <= value <= highest and value < math.inf for value in self.values):
            raise LocalProtocolError(f"{name}: every value must be at least 0 and at most {highest:g}")
        gap = self.times[-1] - self.times[-2] if len(steps) > 1 else 1.0
        self.period = self.times[-1] + gap

    def at(self, time: float) -> float:
        """The value that holds at `time`."""
        return self.values[max(0, bisect_right(self.times, time % self.period) - 1)]


class Capacity:
    """When bits pass at rates that change in steps: exact, however many steps and repeats a packet spans."""

    def __init__(self, rates: Steps) -> None:
        curve = Curve("rates", rates)
        self._times = [Fraction(0), *map(Fraction, curve.times[1:]), Fraction(curve.period)]
        self._rates = [Fraction(rate) for rate in curve.values]
        stretches = zip(self._rates, pairwise(self._times), strict=True)
        self._passed = [Fraction(0), *accumulate(rate * (end - start) for rate, (start, end) in stretches)]
        self._from = Fraction(0)  # bits that could have passed when the queue was last empty
        self._bits = 0  # and that have been asked for since
        self._left_at = -1.0

    def serve(self, size: int, start: float) -> float:
        """When the last bit of a packet that is first in the queue at `start` passes; infinity: never."""
        if not size:
            return start
        if start != self._left_at:
            self._from, self._bits = self._passed_by(Fraction(start)), 0
        self._bits += size * 8
        self._left_at = max(start, self._time_of(self._from + self._bits))
        return self._left_at

    def _passed_by(self, time: Fraction) -> Fraction:
        repeats, rest = divmod(time, self._times[-1])
        place = bisect_right(self._times, rest) - 1
        return repeats * self._passed[-1] + self._passed[place] + (rest - self._times[place]) * self._rates[place]

    def _time_of(self, bits: Fraction) -> float:
        """The first moment by which so many bits, more than 0, have passed."""
        if not self._passed[-1]:
            return math.inf
        repeats = math.ceil(bits / self._passed[-1]) - 1
        rest = bits - repeats * self._passed[-1]
        place = bisect_left(self._passed, rest) - 1
        within = (rest - self._passed[place]) / self._rates[place]
        return float(repeats * self._times[-1] + self._times[place] + within)


class Opportunities:
    """Delivery opportunities of a Mahimahi trace: each stamp passes 1,500 bytes; the trace repeats."""

    def __init__(self, trace_ms: Sequence[int]) -> None:
        if not trace_ms or trace_ms[-1] <= 0 or any(a > b for a, b in pairwise(trace_ms)):
            raise LocalProtocolError("a trace needs millisecond stamps that never fall and end above 0")
        self._stamps = tuple(trace_ms)
        self._used = -1  # the opportunity in use, counted over all repeats
        self._left = 0

    def _time(self, index: int) -> float:
        repeats, place = divmod(index, len(self._stamps))
        return (repeats * self._stamps[-1] + self._stamps[place]) / 1000

    def _first_at(self, now: float) -> int:
        repeats, rest = divmod(now * 1000, self._stamps[-1])
        return int(repeats) * len(self._stamps) + bisect_left(self._stamps, rest)

    def serve(self, size: int, now: float) -> float:
        """When the last byte of a packet that is first in the queue at `now` passes."""
        if self._used < 0 or self._time(self._used) < now:
            self._used, self._left = max(self._used + 1, self._first_at(now)), _TRACE_PACKET
        while size > self._left:
            size -= self._left
            self._used, self._left = self._used + 1, _TRACE_PACKET
        self._left -= size
        return max(now, self._time(self._used))


# -- readers of text


def read_mahimahi(path: str | Path) -> list[int]:
    """The millisecond stamps of a Mahimahi trace file, one a line."""
    stamps: list[int] = []
    for number, text in _lines(path):
        if not text.isdecimal() or (stamps and int(text) < stamps[-1]):
            raise LocalProtocolError(f"{path}, line {number}: stamps are whole milliseconds that never fall")
        stamps.append(int(text))
    if not stamps or stamps[-1] == 0:
        raise LocalProtocolError(f"{path}: no millisecond stamps above 0")
    return stamps


def read_bandwidth(
    path: str | Path, *, time_unit_s: float = 1.0, rate_unit_bps: float = 1e6
) -> list[tuple[float, float]]:
    """Rates over time from two columns, time and rate: seconds and Mbit/s unless told otherwise.

    Oboe's files, for instance, are in milliseconds and kbit/s: `time_unit_s=1e-3, rate_unit_bps=1e3`.
    """
    steps: list[tuple[float, float]] = []
    for number, text in _lines(path):
        try:
            time, rate = (float(column) for column in text.replace(",", " ").split())
        except ValueError:
            raise LocalProtocolError(
                f"{path}, line {number}: two numbers are wanted, time and rate, not {text[:40]!r}: is it another kind?"
            ) from None
        steps.append((time * time_unit_s, rate * rate_unit_bps))
        _check_row(f"{path}, line {number}", steps)
    if not steps:
        raise LocalProtocolError(f"{path}: holds no rows; two columns are wanted, time and rate")
    return steps


def _check_row(where: str, steps: Steps) -> None:
    time, rate = steps[-1]
    if not 0 <= rate < math.inf:
        raise LocalProtocolError(f"{where}: a rate must be at least 0: remove this row or correct it")
    if not 0 <= time < math.inf or (len(steps) > 1 and time <= steps[-2][0]):
        raise LocalProtocolError(f"{where}: times must start at 0 or later and rise: sort the rows")


def _lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, empty ones and comments left out."""
    for number, line in enumerate(Path(path).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        text = line.strip()
        if text and not text.startswith("#"):
            yield number, text


# -- readers of JSON


def read_alphartc(path: str | Path, direction: str = "uplink") -> Conditions:
    """Rates, and losses, delays and jitters where they are given, of a trace of AlphaRTC's gym.

    There, durations, round trips and jitters are milliseconds, capacities kbit/s, losses shares; half of a round
    trip is a link's delay. A missing value is 0. Nothing is corrected: some published files hold single capacities
    that are a thousand times their neighbours'.
    """
    where = f"{path}, {direction}.trace_pattern"
    rows = _list(_field(_load(path), direction), "trace_pattern", where)
    lasting = [_number(row, "duration", f"{where}[{number}]") / 1000 for number, row in enumerate(rows)]
    if not all(duration > 0 for duration in lasting):
        raise LocalProtocolError(f"{where}: every duration must be above 0: remove the rows that last no time")

    def steps(name: str, unit: float, highest: float = math.inf) -> list[tuple[float, float]]:
        values = [_number(row, name, f"{where}[{number}]", 0.0) * unit for number, row in enumerate(rows)]
        return _checked(f"{where}: {name}", _laid_out(lasting, values), highest)

    given = {name for row in rows for name in row}
    out = Conditions(rates=steps("capacity", 1e3))
    if "loss" in given:
        out["losses"] = steps("loss", 1.0, 1.0)
    if "rtt" in given:
        out["delays"] = steps("rtt", 0.5e-3)
    if "jitter" in given:
        out["jitters"] = steps("jitter", 1e-3)
    return out


def read_iperf(path: str | Path) -> Conditions:
    """Rates, and for UDP losses and jitters, per interval of an `iperf3 --json` run.

    Rates are what arrived, so they say what the network can do only where the run asked for more. Iperf's jitter is
    the mean difference of two packets' delays: drawn evenly, delays range over three times that. A negative loss
    (late packets) is none.
    """
    where = f"{path}, intervals"
    sums = [_field(row, "sum") for row in _list(_load(path), "intervals", where)]

    def steps(name: str, unit: float, highest: float = math.inf) -> list[tuple[float, float]]:
        places = [f"{where}[{number}].sum" for number in range(len(sums))]
        times = [_number(row, "start", place) for row, place in zip(sums, places, strict=True)]
        values = [max(0.0, _number(row, name, place)) * unit for row, place in zip(sums, places, strict=True)]
        return _checked(f"{where}: {name}", list(zip(times, values, strict=True)), highest)

    out = Conditions(rates=steps("bits_per_second", 1.0))
    if all("lost_percent" in row for row in sums):
        out["losses"] = steps("lost_percent", 0.01, 1.0)
    if all("jitter_ms" in row for row in sums):
        out["jitters"] = steps("jitter_ms", 3e-3)
    return out


def _load(path: str | Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8", errors="replace"))
    except json.JSONDecodeError as error:
        raise LocalProtocolError(f"{path}, line {error.lineno}: not JSON ({error.msg}): is it a trace?") from None
    except (ValueError, RecursionError):
        raise LocalProtocolError(f"{path}: not JSON that can be read: is it a trace?") from None


def _field(value: Any, name: str) -> Mapping[str, Any]:
    """The object called `name` within another; an empty one where there is none."""
    inner = value.get(name) if isinstance(value, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def _list(value: Any, name: str, where: str) -> list[Mapping[str, Any]]:
    rows = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
        raise LocalProtocolError(f"{where}: a list of objects is wanted: is it a trace of another kind?")
    return rows


def _number(row: Mapping[str, Any], name: str, where: str, missing: float | None = None) -> float:
    value = row.get(name, missing)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        raise LocalProtocolError(f"{where}: {name} must be a number: correct it, or leave this row out")
    return float(value)


def _checked(name: str, steps: list[tuple[float, float]], highest: float) -> list[tuple[float, float]]:
    """The rows themselves; an error that says where they stand when a link would not take them."""
    Curve(name, steps, highest)
    return steps


def _laid_out(lasting: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
    """Values with durations as rows; the last one as two halves, so that all repeats after the sum of durations."""
    halves = [*lasting[:-1], lasting[-1] / 2]
    starts = [0.0, *accumulate(halves)]
    return list(zip(starts, [*values, values[-1]], strict=True))
