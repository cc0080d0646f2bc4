"""The page of a results folder: all of it, in one file, with nothing in it that was not written as HTML by us."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.bench import BenchError, table
from experiments.report import Anchors, Markdown, build, run

OPEN = {"meta", "img", "br"}  # tags that nothing closes


class Seen(HTMLParser):
    """A page taken apart; refuses tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in OPEN:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str) -> int:
        return sum(1 for name, _ in self.tags if name == tag)

    def all(self, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for _, attrs in self.tags if attribute in attrs]


def markdown(text: str) -> str:
    return Markdown(lambda name, about: f"<i>{len(name)},{len(about)}</i>", Anchors()).html(text)


def png(path: Path) -> bytes:
    done, data = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))
    assert done
    path.write_bytes(data.tobytes())
    return data.tobytes()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two experiments with reports, one without, and things that are none."""
    folder = tmp_path / "results"
    for name in ("rate_quality", "latency", "old", ".hidden", "pictures only"):
        (folder / name).mkdir(parents=True)
    rows = [{"system": "vidtok", "kbps": 4.25}, {"system": "x264", "kbps": None}]
    report = ["# What a model knows", "", "![kbps](rate.png)", "", "## Bits", "", *table(rows, ("system", "kbps"))]
    (folder / "rate_quality" / "report.md").write_text("\n".join(report))
    png(folder / "rate_quality" / "rate.png")
    png(folder / "rate_quality" / "other.png")
    (folder / "latency" / "report.md").write_text("# Latency\n\n## Bits\n\nnone\n")
    (folder / "old" / "summary.json").write_text('{"<b>": 1}')
    (folder / "old" / "results.json").write_text(json.dumps([{"system": "<s>", "kbps": 1.5}] * 250))
    (folder / ".hidden" / "report.md").write_text("# Hidden")
    png(folder / "pictures only" / "lonely.png")
    return folder


# The page


def test_everything_is_in_the_page(results: Path) -> None:
    page = build(results)
    seen = Seen(page)
    assert [attrs["id"] for tag, attrs in seen.tags if tag == "section"] == ["rate-quality", "latency", "old"]
    assert "What a model knows" in seen.text
    assert "Hidden" not in seen.text
    assert seen.count("img") == 2  # the one that the report shows, and the one that it does not
    assert "other.png" in seen.text
    assert '<td class="number">4.25</td>' in page
    assert "... of 250 rows." in seen.text


def test_its_table_of_contents_leads_everywhere(results: Path) -> None:
    seen = Seen(build(results))
    ids, links = seen.all("id"), [link[1:] for link in seen.all("href") if link.startswith("#")]
    assert len(set(ids)) == len(ids)
    assert set(links) <= set(ids)
    assert {"latency", "old", "rate-quality", "latency-bits", "rate-quality-bits"} == set(links)


def test_it_needs_nothing_beside_it(results: Path) -> None:
    report = results / "latency" / "report.md"
    report.write_text(
        "![a](http://example.org/a.png) ![b](../rate_quality/rate.png) ![c](/etc/passwd) [d](results.json)\n"
        "[e](javascript:alert(1)) [f](https://example.org/?a=1&b=2) <img src=http://example.org/g.png>\n"
    )
    page = build(results)
    seen = Seen(page)
    assert all(source.startswith("data:image/png;base64,") for source in seen.all("src"))
    assert [link for link in seen.all("href") if not link.startswith("#")] == ["https://example.org/?a=1&b=2"]
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in seen.tags}
    assert "default-src 'none'" in page
    assert "url(" not in page


def test_pictures_are_there_to_the_byte(results: Path) -> None:
    data = (results / "rate_quality" / "rate.png").read_bytes()
    source = next(source for source in Seen(build(results)).all("src"))
    assert base64.b64decode(source.partition(",")[2]) == data


def test_what_is_no_picture_is_said_so(results: Path) -> None:
    (results / "rate_quality" / "other.png").write_bytes(b"<svg onload=alert(1)>")
    (results / "rate_quality" / "rate.png").unlink()
    seen = Seen(build(results))
    assert seen.count("img") == 0
    assert "[kbps: no such picture]" in seen.text


def test_names_are_text(tmp_path: Path) -> None:
    odd = tmp_path / "results" / '<b onclick="x">&amp;'
    odd.mkdir(parents=True)
    png(odd / "<script>\"'&.png")
    (odd / "summary.json").write_text('{"</pre><script>": "<i>"}')
    seen = Seen(build(tmp_path / "results"))
    assert not {"b", "i", "script"} & {tag for tag, _ in seen.tags}
    assert '<b onclick="x">&amp;' in seen.text
    assert seen.all("alt") == ["<script>\"'&.png"]
    assert "</pre><script>" in seen.text


def test_files_that_cannot_be_read_do_not_stop_the_page(results: Path) -> None:
    (results / "old" / "summary.json").write_text("{")
    (results / "old" / "results.json").write_text("{}")
    (results / "latency" / "report.md").write_bytes(b"# Latency \xff\n")
    text = Seen(build(results)).text
    assert "Not readable as JSON." in text
    assert "No rows." in text
    assert "Latency \ufffd" in text


def test_the_folder_of_one_experiment_is_enough(results: Path) -> None:
    assert "What a model knows" in build(results / "rate_quality")


# The command


def test_it_writes_the_page_and_says_where(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["--results", str(results)])
    assert capsys.readouterr().out == f"{results / 'report.html'}\n"
    first = (results / "report.html").read_text()
    run(["--results", str(results), "--out", str(results / "new" / "page.html")])
    assert (results / "new" / "page.html").read_text() == first  # the page that is there already changes nothing
    assert not list(results.rglob("*.part"))


def test_what_cannot_be_done_is_one_line(results: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="nowhere: no such folder"):
        run(["--results", str(tmp_path / "nowhere")])
    with pytest.raises(BenchError, match="pictures only: no experiment in it"):
        run(["--results", str(results / "pictures only")])
    with pytest.raises(BenchError, match="cannot be written"):
        run(["--results", str(results), "--out", str(results / "old")])
    with pytest.raises(BenchError, match="cannot be written"):
        run(["--results", str(results), "--out", str(results / "old" / "summary.json" / "page.html")])
    assert not list(results.rglob("*.part"))


def test_the_command_as_a_user_runs_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.report", "--results", str(tmp_path / "nowhere")]
    out = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (out.returncode, out.stdout) == (2, "")
    assert out.stderr == f"error: --results {tmp_path / 'nowhere'}: no such folder\n"


# Markdown


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("one\ntwo\n\nthree", "<p>one two</p>\n<p>three</p>"),
        ("a **b `c`** d", "<p>a <strong>b <code>c</code></strong> d</p>"),
        ("`**x** <y>` 2 * 3 * 4", "<p><code>**x** &lt;y&gt;</code> 2 * 3 * 4</p>"),
        ("``a ` b``", "<p><code>a ` b</code></p>"),
        (r"kbps\* and \|", "<p>kbps* and |</p>"),
        ("![about](name.png)", "<p><i>8,5</i></p>"),
        ('[x](https://a.b/?c="d")', '<p><a href="https://a.b/?c=&quot;d&quot;" rel="noopener noreferrer">x</a></p>'),
        ("[x](javascript:a) [y](b.json)", "<p>x y</p>"),
        ("```sh\n# a\n\n| b |\n```\nc", "<pre># a\n\n| b |</pre>\n<p>c</p>"),
        ("```\nnever closed", "<pre>never closed</pre>"),
        ("- a\n- b\n  goes on\n* c", "<ul><li>a</li><li>b goes on</li><li>c</li></ul>"),
        ("1. a\n2. b\n\nc", "<ol><li>a</li><li>b</li></ol>\n<p>c</p>"),
        ("- a\n  - b\n  - c\n- d", "<ul><li><p>a</p>\n<ul><li>b</li><li>c</li></ul></li><li>d</li></ul>"),
        ("- a\n\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("- a\n1. b", "<ul><li>a</li></ul>\n<ol><li>b</li></ol>"),
        ("text\n- a", "<p>text</p>\n<ul><li>a</li></ul>"),
        ("| no table |", "<p>| no table |</p>"),
        ("# a\n# b", '<h3 id="b">b</h3>'),
        ("### a & b ###", '<h4 id="a-b">a &amp; b</h4>'),
        ("<script>", "<p>&lt;script&gt;</p>"),
        ("", ""),
    ],
)
def test_markdown_as_our_reports_use_it(text: str, html: str) -> None:
    assert markdown(text) == html


def test_tables_hold_markdown_and_stand_in_a_box() -> None:
    html = markdown("| a | **b** |\n|---|:--:|\n| `x\\|y` | 1,234.5 |\n| <z> | – |\nafter")
    assert html == (
        '<div class="scroll"><table><thead><tr><th>a</th><th><strong>b</strong></th></tr></thead><tbody>'
        '<tr><td><code>x|y</code></td><td class="number">1,234.5</td></tr>'
        '<tr><td>&lt;z&gt;</td><td class="number">–</td></tr></tbody></table></div>\n<p>after</p>'
    )


def test_a_table_of_ours_reads_back() -> None:
    rows = [{"system": f"s{n}", "kbps": n / 7, "low": None} for n in range(5)]
    seen = Seen(markdown("\n".join(table(rows, ("system", "kbps", "low")))))
    assert (seen.count("tr"), seen.count("th"), seen.count("td")) == (6, 3, 15)


MARKS = st.lists(
    st.sampled_from(
        ["# ", "## ", "- ", "1. ", "  ", "|", "---", "|---|", "\n", "\n\n", "`", "```", "**", "[", "](", "![", ")",
         "\\", "https://", "<b>", "&", '"', "a", "b c", "\t", "\x00", "\u2028"]
    ),
    max_size=60,
).map("".join)  # fmt: skip


@given(st.one_of(MARKS, st.text()))
@settings(deadline=None)
def test_any_text_gives_tags_of_ours_that_match(text: str) -> None:
    seen = Seen(markdown(text))
    ours = {
        "p",
        "ul",
        "ol",
        "li",
        "pre",
        "code",
        "strong",
        "a",
        "i",
        "div",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    assert {tag for tag, _ in seen.tags} <= ours | {f"h{order}" for order in range(3, 7)}
    assert set(seen.all("class")) <= {"scroll", "number"}
    assert all(link.startswith(("https://", "http://")) for link in seen.all("href"))


@given(st.lists(st.text(max_size=6), max_size=12))
@settings(deadline=None)
def test_anchors_are_given_out_once(names: list[str]) -> None:
    anchor = Anchors()
    found = [anchor(name) for name in names]
    assert len(set(found)) == len(found)
    assert all(name.replace("-", "").isalnum() and name.isascii() for name in found)
