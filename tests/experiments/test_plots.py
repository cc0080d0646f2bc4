"""Figures: everything that should be in them is, nothing else, whatever the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from experiments import plots
from experiments.bench import Row
from experiments.plots import LONGEST, bits_bars, looks, plain

FAMILY = {
    "vidtok": "vidtok",
    "vidtok-no-pan": "ablations",
    "vidtok-no-gate": "ablations",
    "x264": "video",
    "vp9": "video",
    "rlt": "tokens",
}
PLOTS = (plots.rate_plot, plots.tokens_plot, plots.unseen_plot, plots.ablation_plot)


def rows(system: str, points: Sequence[tuple[float | None, float | None]]) -> list[Row]:
    return [
        {
            "system": system,
            "setting": str(number),
            "kbps": kbps,
            "tokens_per_s": None if kbps is None else kbps * 20,
            "feature_cosine": cosine,
            "feature_cosine_unseen": cosine,
        }
        for number, (kbps, cosine) in enumerate(points)
    ]


def some() -> list[Row]:
    out = [row for name in FAMILY if name != "rlt" for row in rows(name, [(1.0, 0.5), (3.0, 0.7), (9.0, 0.6)])]
    return out + rows("rlt", [(None, 0.7), (None, 0.8)]) + rows("guest", [(5.0, 0.8)])


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were written."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: Any, **kwargs: Any) -> None:
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for of in figure.legends for text in of.get_texts()]


def written(figure: Figure) -> list[str]:
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def width(path: Path) -> int:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    return int.from_bytes(data[16:20], "big")


@pytest.mark.parametrize("plot", PLOTS)
def test_every_plot_is_drawn_with_and_without_rows(plot: Callable[..., None], tmp_path: Path) -> None:
    plot(some(), tmp_path / "some.png", FAMILY)
    plot([], tmp_path / "none.png", FAMILY)
    assert width(tmp_path / "some.png") == width(tmp_path / "none.png") == 1210


@pytest.mark.parametrize(
    ("points", "places"),
    [
        ([(2.0, 0.7)], [(2.0, 0.7)]),
        ([(2.0, 0.7), (2.0, 0.7)], [(2.0, 0.7)]),
        ([(None, None), (3.0, None), (None, 0.4), (0.0, 0.4)], []),
    ],
    ids=["one", "the same twice", "nothing to place"],
)
def test_what_has_no_place_is_left_out(
    points: list[Any], places: list[Any], drawn: list[Figure], tmp_path: Path
) -> None:
    plots.rate_plot(rows("x264", points), tmp_path / "out.png", FAMILY)
    found = [place for line in drawn[0].axes[0].lines for place in zip(*line.get_data(), strict=True)]
    assert found == places


def test_systems_stand_in_the_legend_by_family_without_ablations(drawn: list[Figure], tmp_path: Path) -> None:
    plots.rate_plot(some(), tmp_path / "out.png", FAMILY)
    assert legend(drawn[0]) == ["ours", "vidtok", "video codecs", "x264", "vp9", "other", "guest"]
    assert len(drawn[0].axes[0].lines) == 4 + 3  # a line each, and the setting that another beats where there is one
    plots.tokens_plot(some(), tmp_path / "out.png", FAMILY)
    assert len(drawn[1].axes[0].lines) == 4


def test_ablations_stand_beside_the_whole(drawn: list[Figure], tmp_path: Path) -> None:
    plots.ablation_plot(some(), tmp_path / "out.png", FAMILY)
    assert legend(drawn[0]) == ["ours", "vidtok", "ours, a part changed", "vidtok-no-pan", "vidtok-no-gate"]
    colours = {line.get_color() for line in drawn[0].axes[0].lines}
    assert len(colours) == 3


def test_the_legend_covers_no_data(drawn: list[Figure], tmp_path: Path) -> None:
    plots.rate_plot(some(), tmp_path / "out.png", FAMILY)
    figure = drawn[0]
    assert figure.legends[0].get_window_extent().x0 >= figure.axes[0].get_window_extent().x1


def test_a_system_looks_the_same_whoever_is_beside_it() -> None:
    everyone, alone = looks([*FAMILY, "guest"], FAMILY), looks(["vp9"], FAMILY)
    assert everyone["vp9"] == alone["vp9"]
    assert everyone["vp9"] != everyone["x264"]
    assert everyone["vp9"].color == everyone["x264"].color
    assert everyone["guest"].family == "other"
    assert looks(["odd"], {"odd": "no such family"})["odd"].family == "other"


def test_many_systems_of_a_family_are_told_apart() -> None:
    drawn = looks([f"guest{number}" for number in range(40)], {})
    assert len({(look.marker, look.dashes) for look in drawn.values()}) == 40


def test_names_are_shown_as_they_are(drawn: list[Figure], tmp_path: Path) -> None:
    odd = [r"$\frac{x$", "_hidden", "x" * 99, "<b>"]
    plots.rate_plot([row for name in odd for row in rows(name, [(1.0, 0.5)])], tmp_path / "out.png", {})
    assert legend(drawn[0])[1:] == [r"\$\frac{x\$", " _hidden", "x" * (LONGEST - 1) + "…", "<b>"]
    assert plain("vidtok") == "vidtok"


def entry(kbps: float | None, low: float | None = None, high: float | None = None, most: float | None = None) -> Row:
    return {"kbps": kbps, "low": low, "high": high, "reached": 1.0, "at_most": most}


def test_bars_say_what_is_known(drawn: list[Figure], tmp_path: Path) -> None:
    none = entry(None)
    summary = {
        "bits_at": {
            "x264": {"0.80": entry(20.0, 15.0, 25.0), "0.87": entry(40.0)},
            "vidtok": {"0.80": entry(5.04, 4.0, 6.0), "0.87": none},
            "vidtok-no-pan": {"0.80": entry(6.0), "0.87": none},
            "vp9": {"0.80": entry(None, most=9.0), "0.87": entry(12.0)},
            "guest": {"0.80": none, "0.87": none},
        }
    }
    bits_bars(summary, tmp_path / "out.png", FAMILY)
    assert [label.get_text() for label in drawn[0].axes[0].get_yticklabels()] == ["vidtok", "x264", "vp9", "guest"]
    texts = written(drawn[0])
    assert texts[:4] == ["5.04", "20", "≤ 9, its cheapest is better", "not reached"]
    assert texts[4:] == ["not reached", "40", "12", "not reached"]


@pytest.mark.parametrize("costs", [{}, {"vidtok": {}}, {"vidtok": {"0.80": entry(None), "0.87": entry(None)}}])
def test_bars_without_figures_say_so(costs: dict[str, Any], drawn: list[Figure], tmp_path: Path) -> None:
    bits_bars({"bits_at": costs}, tmp_path / "out.png", FAMILY)
    assert written(drawn[0]) == ["no system has these figures"] * 2


def test_one_bar_has_an_axis_around_it(drawn: list[Figure], tmp_path: Path) -> None:
    bits_bars({"bits_at": {"vidtok": {"0.80": entry(3.0)}}}, tmp_path / "out.png", FAMILY)
    low, high = drawn[0].axes[0].get_xlim()
    assert low < 3.0 < high
    assert high / low >= 4 * 0.999
