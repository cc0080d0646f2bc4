"""What rows say of systems: means over clips, cost at a quality, who needs less, and how sure that is.

    rows --clips that all systems share--> weights of 1,000 draws @ (clips, settings) --> mean curves, one a draw
         --Pareto front--> log(cost) over quality, PCHIP --> cost at a quality, ratios, BD-rate: value, low, high

A clip counts only where every setting of every system has it: a mean over other clips is another question. Intervals
are 95% percentiles over clips drawn with replacement; all systems see the same draws, so ratios are compared clip by
clip. A draw whose curve does not cover the quality is missing; where more than a tenth are, no interval is given.
Nothing is extrapolated. The same rows in any order give the same figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.bench import Row

QUALITIES = (0.75, 0.80, 0.84, 0.87)
COLUMNS = (
    "kbps", "tokens_per_s", "feature_cosine", "feature_cosine_tokens", "feature_cosine_viewer",
    "feature_cosine_unseen", "feature_cosine_places", "top1_agreement", "psnr_db", "ssim",
)  # fmt: skip
DRAWS = 1000
INTERVAL = (2.5, 97.5)  # percentiles
LEAST_REACHED = 0.9  # of the draws, for an interval
LEAST_CLIPS = 2  # for an interval: one clip says nothing of others
LEAST_OVERLAP = 0.01  # of quality, for a BD-rate: over less it is the noise of one point
DIGITS = 9  # qualities that agree to so many decimals are the same

Floats = NDArray[np.float64]
Points = dict[str, dict[str, dict[str, tuple[float, float]]]]  # system -> setting -> clip -> (cost, quality)


# Means


def means(rows: Iterable[Row], columns: Sequence[str]) -> list[Row]:
    """One row per system and setting, in order of first appearance, with each column's mean over clips.

    A mean is over all clips of that setting or it is None: where some lack a value, the rest are not the same clips.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["system"], row["setting"]), []).append(row)
    return [
        {"system": system, "setting": setting, "clips": len(group)}
        | {column: _mean([_number(row.get(column)) for row in group]) for column in columns}
        for (system, setting), group in groups.items()
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None  # fsum: order cannot matter


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


# Curves


def pareto(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, quality) points that no other point beats on both, from cheap to dear."""
    front: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or quality > front[-1][1]:
            front.append((cost, quality))
    return front


@dataclass(frozen=True)
class Estimate:
    """A figure, its 95% interval, and the share of draws that have one. None: the curves do not tell."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reached: float = 0.0


class Curves:
    """Cost over quality for every system that has both, over the clips that all of them share."""

    def __init__(
        self, rows: Iterable[Row], cost: str = "kbps", quality: str = "feature_cosine", *, draws: int = DRAWS
    ) -> None:
        points = _points(rows, cost, quality)
        clips = [set(of_clip) for settings in points.values() for of_clip in settings.values()]
        self.systems = tuple(points)
        self.clips = tuple(sorted(set.intersection(*clips))) if clips else ()
        self._sure = len(self.clips) >= LEAST_CLIPS
        weights = _weights(len(self.clips), draws)
        self._fits = {system: self._fit(points[system], weights) for system in points if self.clips}

    def _fit(self, settings: Mapping[str, Mapping[str, tuple[float, float]]], weights: Floats) -> _Fit:
        table = np.array([[settings[name][clip] for name in sorted(settings)] for clip in self.clips])
        return _fit(weights @ table[:, :, 0], weights @ table[:, :, 1])

    def front(self, system: str) -> list[tuple[float, float]]:
        """(cost, quality) of the Pareto front of its mean points, from cheap to dear."""
        fit = self._fits.get(system)
        return [] if fit is None else fit.points(0)

    def at(self, system: str, quality: float) -> float | None:
        """What a quality costs; None outside the range that the curve covers."""
        return self.cost(system, quality).value

    def below(self, system: str, quality: float) -> float | None:
        """An upper bound of what a quality costs, where even the cheapest point is better than it; None elsewhere."""
        front = self.front(system)
        return front[0][0] if front and front[0][1] > quality else None

    def cost(self, system: str, quality: float) -> Estimate:
        """What a quality costs, with its interval."""
        return self._estimate(self._at(system, quality))

    def ratio(self, a: str, b: str, quality: float) -> Estimate:
        """How many times as much `a` needs as `b` at a quality."""
        return self._estimate(self._at(a, quality) - self._at(b, quality))

    def overlap(self, a: str, b: str) -> tuple[float, float] | None:
        """The qualities that both curves cover, where they are enough for a BD-rate."""
        if a not in self._fits or b not in self._fits:
            return None
        low, high = _overlap(self._fits[a], self._fits[b])
        return (float(low[0]), float(high[0])) if high[0] - low[0] >= LEAST_OVERLAP else None

    def bd_rate(self, a: str, b: str) -> Estimate:
        """How many percent more (or, below 0, fewer) bits `a` needs than `b` over the qualities that both cover."""
        if self.overlap(a, b) is None:
            return Estimate()
        ours = self._estimate(_log_distance(self._fits[a], self._fits[b]), percent=True)
        return Estimate(_reference_bd_rate(self.front(a), self.front(b)), ours.low, ours.high, ours.reached)

    def _at(self, system: str, quality: float) -> Floats:
        """(1 + draws,) log cost, the mean over all clips first; NaN where there is none."""
        fit = self._fits.get(system)
        return np.full(1, np.nan) if fit is None else fit.at(quality)

    def _estimate(self, logs: Floats, *, percent: bool = False) -> Estimate:
        def value(log: float) -> float:
            return 100 * math.expm1(log) if percent else math.exp(log)

        known = logs[1:][np.isfinite(logs[1:])]
        reached = len(known) / max(1, len(logs) - 1)
        if not np.isfinite(logs[0]):
            return Estimate(reached=reached)
        if not self._sure or reached < LEAST_REACHED:
            return Estimate(value(logs[0]), reached=reached)
        low, high = np.percentile(known, INTERVAL)
        return Estimate(value(logs[0]), value(low), value(high), reached)


def _points(rows: Iterable[Row], cost: str, quality: str) -> Points:
    """What each setting costs and gives on each clip; rows that lack either are not there."""
    out: Points = {}
    for row in rows:
        price, worth = _number(row.get(cost)), _number(row.get(quality))
        if price is not None and worth is not None:
            clips = out.setdefault(row["system"], {}).setdefault(row["setting"], {})
            if row["clip"] in clips:
                raise ValueError(f"two rows for {row['system']}, {row['setting']}, {row['clip']}")
            clips[row["clip"]] = (price, worth)
    return out


def _weights(clips: int, draws: int) -> Floats:
    """(1 + draws, clips): each clip's part of a mean; the first row is all clips, the others are drawn anew."""
    if not clips:
        return np.zeros((1 + draws, 0))
    even = np.full(clips, 1 / clips)
    drawn = np.random.default_rng(0).multinomial(clips, even, size=draws) / clips
    return np.concatenate([even[None], drawn])


# Interpolation


@dataclass(frozen=True, eq=False)
class _Fit:
    """Log cost over quality, one curve a row; rows with few points repeat their last, as pieces of no width."""

    knots: Floats  # (rows, points) qualities
    logs: Floats  # (rows, points) log cost there
    cubics: Floats  # (3, rows, points - 1) first to third order of what is added after a knot
    count: NDArray[np.int64]  # (rows,) points that are not repeated

    def points(self, row: int) -> list[tuple[float, float]]:
        """(cost, quality) of a row's front."""
        ends = zip(self.logs[row], self.knots[row], range(self.count[row]), strict=False)
        return [(math.exp(log), float(quality)) for log, quality, _ in ends]

    def at(self, quality: float) -> Floats:
        """(rows,) log cost at a quality; NaN where the curve does not cover it."""
        rows = np.arange(len(self.knots))
        piece = np.minimum((self.knots[:, 1:] < quality).sum(1), self.cubics.shape[2] - 1)
        step = quality - self.knots[rows, piece]
        first, second, third = self.cubics[:, rows, piece]
        covered = (self.knots[:, 0] <= quality) & (quality <= self.knots[:, -1])
        return np.where(covered, self.logs[rows, piece] + step * (first + step * (second + step * third)), np.nan)

    def integral(self, low: Floats, high: Floats) -> Floats:
        """(rows,) of log cost over the qualities between two bounds a row."""
        left, right = self.knots[:, :-1], self.knots[:, 1:]
        ends = [np.clip(bound[:, None], left, right) - left for bound in (low, high)]
        first, second, third = self.cubics
        begin, end = (
            step * (self.logs[:, :-1] + step * (first / 2 + step * (second / 3 + step * third / 4))) for step in ends
        )
        return np.asarray((end - begin).sum(1))


def _fit(cost: Floats, quality: Floats) -> _Fit:
    """PCHIP through the Pareto front of each row of (rows, settings); NaN where a row has no point."""
    cost, quality, count = _fronts(cost, quality)
    rows, points = len(cost), max(2, cost.shape[1])
    knots, logs, cubics = np.full((rows, points), np.nan), np.zeros((rows, points)), np.zeros((3, rows, points - 1))
    for number in np.unique(count[count > 0]):
        chosen, last = count == number, np.minimum(np.arange(points), number - 1)
        x, y = quality[chosen, :number], np.log(cost[chosen, :number])
        knots[chosen], logs[chosen] = x[:, last], y[:, last]
        if number > 1:
            cubics[:, chosen, : number - 1] = _cubics(x, y)
    return _Fit(knots, logs, cubics, count)


def _fronts(cost: Floats, quality: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Costs and qualities with each row's Pareto front first, from cheap to dear; and how many points it has.

    A point that costs nothing has no logarithm and is left out.
    """
    cost, quality = np.where(cost > 0, cost, np.inf), np.round(quality, DIGITS)
    order = np.lexsort((-quality, cost), axis=1)
    cost, quality = np.take_along_axis(cost, order, 1), np.take_along_axis(quality, order, 1)
    front = np.isfinite(cost)
    front[:, 1:] &= quality[:, 1:] > np.maximum.accumulate(quality, axis=1)[:, :-1]
    order = np.argsort(~front, axis=1, kind="stable")
    return np.take_along_axis(cost, order, 1), np.take_along_axis(quality, order, 1), front.sum(1)


def _cubics(x: Floats, y: Floats) -> Floats:
    """(3, rows, points - 1) the coefficients of first to third order; both coordinates rise along a row."""
    width = np.diff(x)
    rise = np.diff(y) / width
    slope = np.repeat(rise, x.shape[1], axis=1) if x.shape[1] == 2 else _slopes(width, rise)
    first, last = slope[:, :-1], slope[:, 1:]
    return np.stack([first, (3 * rise - 2 * first - last) / width, (first + last - 2 * rise) / width**2])


def _slopes(width: Floats, rise: Floats) -> Floats:
    """PCHIP's derivatives at the points (Fritsch and Butland), for curves that only rise."""
    w0, w1, r0, r1 = width[:, :-1], width[:, 1:], rise[:, :-1], rise[:, 1:]
    before, after = 2 * w1 + w0, w1 + 2 * w0
    below = before * r1 + after * r0
    inner = np.divide((before + after) * r0 * r1, below, out=np.zeros_like(below), where=below > 0)
    ends = [
        ((2 * width[:, k] + width[:, j]) * rise[:, k] - width[:, k] * rise[:, j]) / (width[:, k] + width[:, j])
        for k, j in ((0, 1), (-1, -2))
    ]
    begin, end = (np.maximum(slope, 0)[:, None] for slope in ends)
    return np.concatenate([begin, inner, end], axis=1)


def _overlap(a: _Fit, b: _Fit) -> tuple[Floats, Floats]:
    return np.maximum(a.knots[:, 0], b.knots[:, 0]), np.minimum(a.knots[:, -1], b.knots[:, -1])


def _log_distance(a: _Fit, b: _Fit) -> Floats:
    """(rows,) how far log cost of `a` lies above that of `b`, the mean over qualities that both cover."""
    low, high = _overlap(a, b)
    enough = high - low >= LEAST_OVERLAP
    width = np.where(enough, high - low, np.nan)
    return np.asarray((a.integral(low, high) - b.integral(low, high)) / width)


def _reference_bd_rate(test: Sequence[tuple[float, float]], anchor: Sequence[tuple[float, float]]) -> float:
    """BD-rate by the `bjontegaard` package."""
    import bjontegaard

    (rate, quality), (test_rate, test_quality) = zip(*anchor, strict=True), zip(*test, strict=True)
    found = bjontegaard.bd_rate(
        rate, quality, test_rate, test_quality, method="pchip", require_matching_points=False, min_overlap=0
    )
    return float(found)


# Summary


def summarise(rows: Sequence[Row], columns: Sequence[str] = COLUMNS) -> dict[str, Any]:
    """What summary.json holds; None for what is not known.

    clips      how many all systems share, by cost
    means      one row per system and setting
    bits_at    system -> quality -> kbps, low, high, reached (the share of draws that cover the quality), at_most
               (a bound, where the cheapest setting is already better)
    tokens_at  the same with tokens_per_s
    pairs      systems a and b by name; quality -> how many times as many bits and tokens a needs as b (qualities
               that neither ratio is known at are left out); the BD-rate of a against b, in percent
    """
    bits, tokens = Curves(rows, "kbps"), Curves(rows, "tokens_per_s")
    systems = sorted({*bits.systems, *tokens.systems})
    return {
        "clips": {"kbps": len(bits.clips), "tokens_per_s": len(tokens.clips)},
        "means": [{name: _short(value, 6) for name, value in row.items()} for row in means(rows, columns)],
        "bits_at": _costs(bits, "kbps"),
        "tokens_at": _costs(tokens, "tokens_per_s"),
        "pairs": [_pair(bits, tokens, a, b) for a, b in combinations(systems, 2)],
    }


def _costs(curves: Curves, name: str) -> dict[str, dict[str, Row]]:
    return {
        system: {_label(quality): _cost(curves, system, quality, name) for quality in QUALITIES}
        for system in curves.systems
    }


def _cost(curves: Curves, system: str, quality: float, name: str) -> Row:
    found = curves.cost(system, quality)
    return {
        name: _short(found.value),
        "low": _short(found.low),
        "high": _short(found.high),
        "reached": round(found.reached, 3),
        "at_most": _short(curves.below(system, quality)),
    }


def _pair(bits: Curves, tokens: Curves, a: str, b: str) -> Row:
    delta, overlap = bits.bd_rate(a, b), bits.overlap(a, b)
    return {
        "a": a,
        "b": b,
        "quality": {
            _label(quality): ratios for quality in QUALITIES if (ratios := _ratios(bits, tokens, a, b, quality))
        },
        "bd_rate_pct": _short(delta.value),
        "bd_low": _short(delta.low),
        "bd_high": _short(delta.high),
        "overlap": None if overlap is None else [round(end, 4) for end in overlap],
    }


def _ratios(bits: Curves, tokens: Curves, a: str, b: str, quality: float) -> Row | None:
    bit, token = bits.ratio(a, b, quality), tokens.ratio(a, b, quality)
    if bit.value is None and token.value is None:
        return None
    return {
        "bits_ratio": _short(bit.value),
        "low": _short(bit.low),
        "high": _short(bit.high),
        "tokens_ratio": _short(token.value),
        "tokens_low": _short(token.low),
        "tokens_high": _short(token.high),
    }


def _label(quality: float) -> str:
    return f"{quality:.2f}"


def _short(value: Any, digits: int = 4) -> Any:
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


# Reading a summary


def cheapest(summary: Mapping[str, Any], quality: float, systems: Iterable[str], cost: str = "kbps") -> str | None:
    """Which of these systems needs least at a quality; None where none reaches it.

    A system whose cheapest setting is already better counts with what that costs: it needs no more.
    """
    costs = summary["bits_at" if cost == "kbps" else "tokens_at"]
    found = []
    for system in systems:
        entry = costs.get(system, {}).get(_label(quality), {})
        value = entry.get(cost) if entry.get(cost) is not None else entry.get("at_most")
        if value is not None:
            found.append((value, system))
    return min(found)[1] if found else None


def versus(summary: Mapping[str, Any], a: str, b: str) -> Row:
    """The pair of two systems the way round that is asked for. Raises KeyError where there is none."""
    for pair in summary["pairs"]:
        if (pair["a"], pair["b"]) == (a, b):
            return dict(pair)
        if (pair["a"], pair["b"]) == (b, a):
            return _turned(pair)
    raise KeyError(f"no pair of {a} and {b}")


def _turned(pair: Row) -> Row:
    """A pair with `a` and `b` exchanged."""

    def ratio(value: float | None) -> float | None:
        return None if value is None else _short(1 / value)

    def percent(value: float | None) -> float | None:
        return None if value is None or value <= -100 else _short(100 * (1 / (1 + value / 100) - 1))

    return pair | {
        "a": pair["b"],
        "b": pair["a"],
        "quality": {
            label: {
                "bits_ratio": ratio(one["bits_ratio"]),
                "low": ratio(one["high"]),
                "high": ratio(one["low"]),
                "tokens_ratio": ratio(one["tokens_ratio"]),
                "tokens_low": ratio(one["tokens_high"]),
                "tokens_high": ratio(one["tokens_low"]),
            }
            for label, one in pair["quality"].items()
        },
        "bd_rate_pct": percent(pair["bd_rate_pct"]),
        "bd_low": percent(pair["bd_high"]),
        "bd_high": percent(pair["bd_low"]),
    }
