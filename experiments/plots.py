"""The figures of `rate_quality`: quality over bits and over tokens, parts switched off, bits at equal quality.

    means (a row per system and setting) --a line per system through its Pareto front--> PNG
    summary["bits_at"]                   --a bar per system with its interval--------> PNG

A family has a colour, a system its own marker and dashes; they are the same in every figure. A setting that another of
the same system beats on both axes is drawn small and off the line; figures at equal quality do without it, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from experiments.bench import Row, short
from experiments.statistics import pareto

FAMILIES = {  # in the legend's order
    "vidtok": ("ours", "#c8102e"),
    "video": ("video codecs", "#0063a6"),
    "pictures": ("pictures", "#b36b00"),
    "tokens": ("policies on our tokens", "#00795c"),
    "other": ("other", "#555555"),
    "ablations": ("ours, a part changed", "#7b3294"),
}
PALETTE = ("#0063a6", "#b36b00", "#00795c", "#7b3294", "#555555", "#009fb7", "#9c2c5a", "#6b7a00", "#8c564b")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "*")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (2, 1.2)), (0, (6, 2, 1.5, 2)), (0, (1, 1.2)))
WIDTH, DPI, FONT = 11.0, 110, 10.0
LONGEST = 30  # characters of a name beside a plot
NARROWEST = 4.0  # what the two ends of a logarithmic axis differ by: there is a tick between
BAR_QUALITIES = ("0.80", "0.87")


@dataclass(frozen=True)
class Look:
    """How a system is drawn, everywhere."""

    family: str
    color: str
    marker: str
    dashes: Any
    heavy: bool = False


def looks(systems: Iterable[str], family: Mapping[str, str]) -> dict[str, Look]:
    """A look per system: those that `family` names in its order, then the others."""
    out: dict[str, Look] = {}
    signs = {name: zip(cycle(MARKERS), cycle(DASHES), strict=False) for name in FAMILIES}
    for system in dict.fromkeys([*family, *systems]):
        kind = family.get(system, "other")
        kind = kind if kind in FAMILIES else "other"
        out[system] = Look(kind, FAMILIES[kind][1], *next(signs[kind]), heavy=kind == "vidtok")
    return out


# Quality over cost


def rate_plot(means: Sequence[Row], path: Path, family: Mapping[str, str]) -> None:
    """Feature cosine over kbps; ablations are left to their own plot."""
    drawn = looks(_systems(means), family)
    shown = [row for row in means if drawn[row["system"]].family != "ablations"]
    lines(shown, path, drawn, x="kbps", y="feature_cosine", labels=("kbps", "feature cosine"))


def tokens_plot(means: Sequence[Row], path: Path, family: Mapping[str, str]) -> None:
    """Feature cosine over tokens a second; many settings cost the same number of them, only the best is drawn."""
    drawn = looks(_systems(means), family)
    shown = [row for row in means if drawn[row["system"]].family != "ablations"]
    labels = ("tokens a second", "feature cosine")
    lines(shown, path, drawn, x="tokens_per_s", y="feature_cosine", labels=labels, beaten=False)


def unseen_plot(means: Sequence[Row], path: Path, family: Mapping[str, str]) -> None:
    """The cosine of the network that nothing is tuned against, over kbps."""
    drawn = looks(_systems(means), family)
    shown = [row for row in means if drawn[row["system"]].family != "ablations"]
    labels = ("kbps", "feature cosine, unseen network, through pictures")
    lines(shown, path, drawn, x="kbps", y="feature_cosine_unseen", labels=labels)


def ablation_plot(means: Sequence[Row], path: Path, family: Mapping[str, str], whole: str = "vidtok") -> None:
    """Feature cosine over kbps of the whole and of each variant of it, a colour each."""
    drawn = looks(_systems(means), family)
    parts = [name for name in _systems(means) if drawn[name].family == "ablations"]
    colours = dict(zip(parts, cycle(PALETTE), strict=False))
    own = {
        name: Look("ablations", colours[name], drawn[name].marker, drawn[name].dashes) if name in colours else look
        for name, look in drawn.items()
    }
    shown = [row for row in means if row["system"] == whole or row["system"] in colours]
    lines(shown, path, own, x="kbps", y="feature_cosine", labels=("kbps", "feature cosine"))


def lines(
    means: Sequence[Row],
    path: Path,
    drawn: Mapping[str, Look],
    *,
    x: str,
    y: str,
    labels: tuple[str, str],
    beaten: bool = True,
) -> None:
    """One column over another, logarithmic, a line per system, a legend beside it; rows without both are left out."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in means:
        if row.get(x) is not None and row.get(y) is not None and row[x] > 0:
            points.setdefault(row["system"], []).append((row[x], row[y]))
    order = sorted(points, key=lambda system: list(FAMILIES).index(drawn[system].family))
    plt = pyplot()
    height = max(6.2, 0.2 * (len(order) + len(FAMILIES)) + 0.5)
    with plt.rc_context(_rules()):
        figure, axis = plt.subplots(figsize=(WIDTH, height), layout="constrained")
        for number, system in enumerate(reversed(order)):  # ours last, on top
            _line(axis, points[system], drawn[system], number, beaten)
        axis.set(xlabel=f"{labels[0]} (logarithmic), the mean over clips", ylabel=labels[1])
        if order:
            _log_axis(axis, [cost for of in points.values() for cost, _ in of])
            _legend(figure, order, drawn)
        else:
            _say_nothing(axis)
        figure.savefig(path, dpi=DPI)
        plt.close(figure)


def _line(axis: Any, points: Sequence[tuple[float, float]], look: Look, number: int, beaten: bool) -> None:
    front = pareto(points)
    others = sorted(set(points) - set(front)) if beaten else []
    style = {"color": look.color, "marker": look.marker, "zorder": 3 + number / 100}
    axis.plot(
        *zip(*front, strict=True), linestyle=look.dashes, linewidth=2.6 if look.heavy else 1.5,
        markersize=8 if look.heavy else 6, markeredgecolor="white", markeredgewidth=0.7, **style,
    )  # fmt: skip
    if others:
        axis.plot(*zip(*others, strict=True), linestyle="none", markersize=4, markerfacecolor="none", **style)


def _legend(figure: Any, order: Sequence[str], drawn: Mapping[str, Look]) -> None:
    """Systems under the names of their families, beside the plot."""
    from matplotlib.lines import Line2D

    handles, heads = [], []
    for system in order:
        look = drawn[system]
        head = FAMILIES[look.family][0]
        if head not in heads:
            heads.append(head)
            handles.append(Line2D([], [], linestyle="none", label=head))
        handles.append(
            Line2D([], [], color=look.color, marker=look.marker, linestyle=look.dashes, label=plain(system),
                   linewidth=2.6 if look.heavy else 1.5, markersize=7, markeredgecolor="white", markeredgewidth=0.5)
        )  # fmt: skip
    legend = figure.legend(handles=handles, loc="outside right upper", frameon=False, handlelength=4, labelspacing=0.35)
    for text in legend.get_texts():
        if text.get_text() in heads:
            text.set_fontweight("bold")


# Bits at equal quality


def bits_bars(
    summary: Mapping[str, Any], path: Path, family: Mapping[str, str], qualities: Sequence[str] = BAR_QUALITIES
) -> None:
    """A bar per system and quality with the interval over clips; ablations are left out."""
    drawn = looks(summary["bits_at"], family)
    costs = {name: of for name, of in summary["bits_at"].items() if drawn[name].family != "ablations"}
    order = sorted(costs, key=lambda name: [_rank(costs[name].get(quality, {})) for quality in qualities])
    known = [value for of in costs.values() for q in qualities for value in _numbers(of.get(q, {}))]
    plt = pyplot()
    with plt.rc_context(_rules()):
        size = (WIDTH, max(3.0, 0.34 * len(order) + 1.3))
        figure, axes = plt.subplots(1, len(qualities), figsize=size, layout="constrained", sharey=True, squeeze=False)
        for axis, quality in zip(axes[0], qualities, strict=True):
            axis.set(title=f"at feature cosine {quality}", xlabel="kbps (logarithmic), 95% interval over clips")
            axis.grid(axis="y", visible=False)
            if not known:
                _say_nothing(axis)
                continue
            left = _log_axis(axis, known, right=2.2)
            for place, name in enumerate(order):
                _bar(axis, place, costs[name].get(quality, {}), drawn[name].color, left)
            axis.set(yticks=range(len(order)), yticklabels=[plain(name) for name in order])
            axis.set_ylim(len(order) - 0.4, -0.6)
        for name, tick in zip(order, axes[0][0].get_yticklabels(), strict=False):
            tick.set_color(drawn[name].color)
            tick.set_fontweight("bold" if drawn[name].heavy else "normal")
        figure.savefig(path, dpi=DPI)
        plt.close(figure)


def _rank(entry: Row) -> tuple[int, float]:
    """Known costs first, then what is better even at its cheapest, then what never gets there."""
    for rank, name in enumerate(("kbps", "at_most")):
        if entry.get(name) is not None:
            return rank, entry[name]
    return 2, math.inf


def _numbers(entry: Row) -> list[float]:
    return [entry[name] for name in ("kbps", "low", "high", "at_most") if entry.get(name)]


def _bar(axis: Any, place: int, entry: Row, color: str, left: float) -> None:
    value, low, high, bound = (entry.get(name) for name in ("kbps", "low", "high", "at_most"))
    end, text = left, "not reached"
    if value is not None:
        axis.barh(place, value - left, left=left, height=0.62, color=color, alpha=0.75)
        end, text = value, short(float(f"{value:.3g}"))
        if low is not None and high is not None:
            axis.errorbar(value, place, xerr=[[value - low], [high - value]], color="#222222", capsize=3, linewidth=1.2)
            end = high
    elif bound is not None:
        axis.barh(
            place, bound - left, left=left, height=0.62, facecolor="none", edgecolor=color, hatch="////", alpha=0.6
        )
        end, text = bound, f"≤ {short(float(f'{bound:.3g}'))}, its cheapest is better"
    quiet = value is None
    axis.annotate(
        text, (end, place), xytext=(6, 0), textcoords="offset points", va="center",
        color="#777777" if quiet else "#222222", style="italic" if quiet else "normal", fontsize=9.5,
    )  # fmt: skip


# What figures share


def plain(name: str) -> str:
    """A name that matplotlib shows as it is: not as a formula, not hidden for its underscore, not over the plot."""
    name = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def _systems(means: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row["system"] for row in means))


def _log_axis(axis: Any, values: Sequence[float], right: float = 1.3) -> float:
    """A logarithmic x axis around some values, with plain numbers on it; where it begins."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = min(values) / 1.3, max(values) * right
    spare = max(1.0, math.sqrt(NARROWEST * low / high))
    low, high = low / spare, high * spare
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    decades = math.log10(high / low)
    subs = (1.0,) if decades > 4 else (1.0, 3.0) if decades > 2.6 else (1.0, 2.0, 5.0)
    axis.xaxis.set_major_locator(LogLocator(subs=subs))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.xaxis.set_minor_locator(LogLocator(subs=range(1, 10)))
    axis.xaxis.set_minor_formatter(NullFormatter())
    return low


def _say_nothing(axis: Any) -> None:
    axis.set(xticks=[], yticks=[])
    axis.text(0.5, 0.5, "no system has these figures", transform=axis.transAxes, ha="center", color="#777777")


def _rules() -> dict[str, Any]:
    return {
        "font.size": FONT, "axes.grid": True, "grid.color": "#e4e4e4", "axes.axisbelow": True,
        "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": FONT + 1, "hatch.linewidth": 0.7,
    }  # fmt: skip


def pyplot() -> Any:
    """matplotlib.pyplot, drawing to files only; loaded when something is drawn."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt
