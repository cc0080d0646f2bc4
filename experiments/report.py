"""Every experiment of a folder in one HTML page that needs nothing beside it.

    python -m experiments.report --results DIR [--out FILE.html]

    DIR/*/report.md --Markdown--> sections --+
    DIR/*/*.png     --base64----> figures  --+--> FILE.html (default: DIR/report.html)
    DIR/*/summary.json, results.json, where there is no report.md

An experiment is a folder with a report.md, a summary.json or a results.json in it. The page loads nothing from
anywhere, and nothing that a report or a file's name says gets into it as HTML. The same folder gives the same page.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from experiments import bench
from experiments.bench import BenchError

FIRST = ("rate_quality", "event_recall", "text_reading", "edge_cost", "server_cost", "latency")
REPORT, SUMMARY, ROWS = "report.md", "summary.json", "results.json"
MOST_ROWS, MOST_TEXT = 200, 20_000  # of a file that has no report: the page is for people
PNG = b"\x89PNG\r\n\x1a\n"


def run(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m experiments.report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, required=True, help="folder with a folder per experiment")
    parser.add_argument("--out", type=Path, help="the page (default: report.html in the folder)")
    args = parser.parse_args(argv)
    out = args.out or args.results / "report.html"
    page = build(args.results)
    try:
        write(out, page)
    except OSError as error:
        raise BenchError(f"--out {out}: cannot be written ({error.strerror})") from None
    print(out)


def build(results: Path) -> str:
    """The page of a folder."""
    if not results.is_dir():
        raise BenchError(f"--results {results}: no such folder")
    folders = find(results)
    if not folders:
        raise BenchError(f"--results {results}: no experiment in it (a folder with {REPORT}, {SUMMARY} or {ROWS})")
    anchor = Anchors()
    return page_of(results.resolve().name, [section(folder, results, anchor) for folder in folders])


def find(results: Path) -> list[Path]:
    """The experiments of a folder, itself included; hidden folders are left alone.

    Those of the benchmark first, in its order, then the others by name.
    """
    below = [p for p in results.rglob("*") if p.is_dir() and not _hidden(p.relative_to(results))]
    ranked = sorted(below, key=lambda p: (FIRST.index(p.name) if p.name in FIRST else len(FIRST), p))
    return [p for p in (results, *ranked) if any((p / name).is_file() for name in (REPORT, SUMMARY, ROWS))]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all; what is no Unicode (a file's name may be so) becomes a question mark."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8", errors="replace")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


# Sections


class Anchors:
    """Names of places in a page, each given out once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def __call__(self, text: str) -> str:
        plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"
        name, number = plain, 1
        while name in self._taken:
            number += 1
            name = f"{plain}-{number}"
        self._taken.add(name)
        return name


@dataclass(frozen=True)
class Section:
    """An experiment in the page; all but the anchors is HTML."""

    title: str
    anchor: str
    parts: Sequence[tuple[str, str]]  # (anchor, title) of what stands in it
    body: str


def section(folder: Path, results: Path, anchor: Callable[[str], str]) -> Section:
    """One experiment: its report, or what its files say; then the pictures that the report does not show."""
    name = folder.relative_to(results).as_posix() if folder != results else results.resolve().name
    top = anchor(name)
    pictures = Pictures(folder)
    text = _text(folder / REPORT)
    markdown = Markdown(pictures, lambda title: anchor(f"{name} {title}"))
    body = markdown.html(text) if text is not None else "".join(_files(folder))
    title = markdown.title or escape(name)
    rest = "".join(pictures.rest())
    said = f'<p class="quiet"><code>{escape(name)}</code></p>'
    return Section(title, top, markdown.parts, said + body + rest)


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


class Pictures:
    """The PNGs of a folder as HTML; what was not asked for by name is `rest`."""

    def __init__(self, folder: Path) -> None:
        self._files = {path.name: path for path in sorted(folder.glob("*.png")) if path.is_file()}
        self._shown: set[str] = set()

    def __call__(self, name: str, about: str) -> str:
        """A picture of the folder, or what it would have shown."""
        data = self._files[name].read_bytes() if name in self._files else b""
        if not data.startswith(PNG):
            return f"<em>[{escape(about or name)}: no such picture]</em>"
        self._shown.add(name)
        coded = base64.b64encode(data).decode("ascii")
        return f'<img src="data:image/png;base64,{coded}" alt="{escape(about or name)}">'

    def rest(self) -> Iterator[str]:
        """Those that nothing has shown yet."""
        for name in self._files:
            if name not in self._shown:
                yield f"<figure>{self(name, name)}<figcaption><code>{escape(name)}</code></figcaption></figure>"


def _files(folder: Path) -> Iterator[str]:
    """Summary and rows of an experiment without a report."""
    for name, show in ((SUMMARY, _summary), (ROWS, _rows)):
        text = _text(folder / name)
        if text is not None:
            yield f"<h3>{escape(name)}</h3>"
            try:
                yield show(json.loads(text))
            except ValueError:
                yield "<p>Not readable as JSON.</p>"


def _summary(value: Any) -> str:
    text = json.dumps(value, indent=1, ensure_ascii=False)
    more = len(text) > MOST_TEXT
    return f"<pre>{escape(text[:MOST_TEXT])}</pre>" + (f"<p>... of {len(text):,} characters.</p>" if more else "")


def _rows(value: Any) -> str:
    rows = [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
    if not rows:
        return "<p>No rows.</p>"
    columns = list(dict.fromkeys(name for row in rows for name in row))
    shown = [[escape(bench.short(row.get(name))) for name in columns] for row in rows[:MOST_ROWS]]
    more = f"<p>... of {len(rows):,} rows.</p>" if len(rows) > MOST_ROWS else ""
    return table([escape(name) for name in columns], shown) + more


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells that are HTML already, in a box of their own to scroll in; numbers stand to the right."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: str) -> str:
    number = re.fullmatch(r"[-+−]?\d[\d.,]*(e[-+]?\d+)?( ?%)?|–|", cell)
    return f'<td class="number">{cell}</td>' if number else f"<td>{cell}</td>"


# Markdown

FENCE = re.compile(r" *```")
HEADING = re.compile(r"(#{1,6}) +(.*?)[ #]*$")
ITEM = re.compile(r"( *)([-*]|\d+[.)]) +(.*)")
RULE = re.compile(r"\|?( *:?-+:? *\|)*( *:?-+:? *)\|? *$")  # below a table's head
INLINE = re.compile(
    r"(?P<ticks>`+)(?P<code>.+?)(?<!`)(?P=ticks)(?!`)"
    r"|!\[(?P<about>[^\]]*)\]\((?P<picture>[^)]*)\)"
    r"|\[(?P<label>[^\]]*)\]\((?P<link>[^)\s]*)\)"
    r"|\*\*(?P<bold>.+?)\*\*"
    r"|\\(?P<plain>[\\`*_|\[\]#!<>-])"
)


@dataclass
class Markdown:
    """As much Markdown as our reports are written in; whatever else there is stays text."""

    picture: Callable[[str, str], str]  # (name, about) -> HTML
    anchor: Callable[[str], str]
    title: str = ""  # the first heading of the first order: the section's own, not in the text
    parts: list[tuple[str, str]] = field(default_factory=list)  # headings of the second order

    def html(self, text: str) -> str:
        """Blocks: headings, tables, lists, code, paragraphs."""
        lines, at, out = text.expandtabs(4).splitlines(), 0, []
        while at < len(lines):
            part, at = self._block(lines, at)
            out.append(part)
        return "\n".join(filter(None, out))

    def inline(self, text: str) -> str:
        """What stands within a line."""
        out, at = [], 0
        for match in INLINE.finditer(text):
            out += [escape(text[at : match.start()]), self._span(match)]
            at = match.end()
        return "".join([*out, escape(text[at:])])

    def _span(self, match: re.Match[str]) -> str:
        found = match.groupdict()
        if found["code"] is not None:
            return f"<code>{escape(found['code'].strip())}</code>"
        if found["picture"] is not None:
            return self.picture(found["picture"], found["about"])
        if found["link"] is not None:
            return self._link(found["link"], self.inline(found["label"]))
        if found["bold"] is not None:
            return f"<strong>{self.inline(found['bold'])}</strong>"
        return escape(found["plain"])

    def _link(self, link: str, label: str) -> str:
        """Links that leave the page; a file beside the report is not beside the page, and scripts are no links."""
        if not re.match(r"https?://", link):
            return label
        return f'<a href="{escape(link)}" rel="noopener noreferrer">{label}</a>'

    def _block(self, lines: Sequence[str], at: int) -> tuple[str, int]:
        line = lines[at]
        if not line.strip():
            return "", at + 1
        if FENCE.match(line):
            return self._code(lines, at)
        if match := HEADING.match(line):
            return self._heading(len(match[1]), match[2]), at + 1
        if _starts_table(lines, at):
            return self._table(lines, at)
        if ITEM.match(line):
            return self._list(lines, at)
        return self._paragraph(lines, at)

    def _code(self, lines: Sequence[str], at: int) -> tuple[str, int]:
        end = next((n for n in range(at + 1, len(lines)) if FENCE.match(lines[n])), len(lines))
        text = textwrap.dedent("\n".join(lines[at + 1 : end]))
        return f"<pre>{escape(text)}</pre>", end + 1

    def _heading(self, order: int, text: str) -> str:
        title = self.inline(text)
        if order == 1 and not self.title:
            self.title = title
            return ""
        name = self.anchor(text)
        if order <= 2:
            self.parts.append((name, title))
        level = min(6, max(3, order + 1))  # the page has one of the first order, sections of the second
        return f'<h{level} id="{name}">{title}</h{level}>'

    def _table(self, lines: Sequence[str], at: int) -> tuple[str, int]:
        end = at + 2
        while end < len(lines) and lines[end].lstrip().startswith("|"):
            end += 1
        cells = [[self.inline(cell) for cell in _cells(line)] for line in (lines[at], *lines[at + 2 : end])]
        return table(cells[0], cells[1:]), end

    def _list(self, lines: Sequence[str], at: int) -> tuple[str, int]:
        first = ITEM.match(lines[at])
        assert first is not None
        indent, numbered, items = len(first[1]), first[2][0].isdigit(), []
        while at < len(lines):
            line, match = lines[at], ITEM.match(lines[at])
            if match and len(match[1]) == indent and match[2][0].isdigit() == numbered:
                items.append([match[3]])
            elif line.strip() and (len(line) - len(line.lstrip()) > indent or not _starts_block(lines, at)):
                items[-1].append(line)
            elif line.strip() or not _goes_on(lines, at + 1, indent):
                break
            else:
                items[-1].append("")
            at += 1
        tag = "ol" if numbered else "ul"
        return f"<{tag}>" + "".join(f"<li>{self._item(item)}</li>" for item in items) + f"</{tag}>", at

    def _item(self, lines: Sequence[str]) -> str:
        html = self.html(lines[0] + "\n" + textwrap.dedent("\n".join(lines[1:])))
        only = re.fullmatch(r"<p>((?:(?!<p>).)*)</p>", html, re.DOTALL)
        return only[1] if only else html

    def _paragraph(self, lines: Sequence[str], at: int) -> tuple[str, int]:
        end = at + 1
        while end < len(lines) and lines[end].strip() and not _starts_block(lines, end):
            end += 1
        return f"<p>{self.inline(' '.join(line.strip() for line in lines[at:end]))}</p>", end


def _starts_block(lines: Sequence[str], at: int) -> bool:
    return any(kind.match(lines[at]) for kind in (FENCE, HEADING, ITEM)) or _starts_table(lines, at)


def _starts_table(lines: Sequence[str], at: int) -> bool:
    rule = lines[at + 1] if at + 1 < len(lines) else ""
    return lines[at].lstrip().startswith("|") and "-" in rule and "|" in rule and bool(RULE.match(rule.strip()))


def _goes_on(lines: Sequence[str], at: int, indent: int) -> bool:
    """Whether a list goes on after an empty line."""
    if at >= len(lines) or not lines[at].strip():
        return False
    match = ITEM.match(lines[at])
    return len(lines[at]) - len(lines[at].lstrip()) > indent or (match is not None and len(match[1]) == indent)


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    inner = inner.removesuffix("|") if not inner.endswith("\\|") else inner
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]


# The page

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fff; --line: #d8d8d8; --soft: #f4f4f4; --quiet: #666;
  --link: #00539b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e4e4; --paper: #161616; --line: #3d3d3d; --soft: #222;
  --quiet: #a0a0a0; --link: #7db8f0; } }
body { margin: 0 auto; max-width: 76rem; padding: 1rem 1.25rem 4rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
a { color: var(--link); }
h1, h2, h3, h4 { line-height: 1.25; }
section { border-top: 1px solid var(--line); margin-top: 2.5rem; }
nav ul { list-style: none; padding-left: 1rem; margin: 0; }
nav > ul { padding-left: 0; }
.quiet, figcaption { color: var(--quiet); font-size: 0.85rem; margin: 0; }
code, pre { font-family: ui-monospace, monospace; font-size: 0.88em; background: var(--soft); border-radius: 3px; }
code { padding: 0.1em 0.25em; }
pre { padding: 0.75rem; overflow: auto; max-height: 40rem; }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 4px; margin: 0.75rem 0 0; }
figure { margin: 1.25rem 0; }
.scroll { overflow-x: auto; margin: 0.75rem 0; }
table { border-collapse: collapse; font-size: 0.88rem; white-space: nowrap; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: 0.25rem 0.7rem; text-align: left; }
th { background: var(--soft); }
td.number { text-align: right; }
"""


def page_of(name: str, sections: Sequence[Section]) -> str:
    """All of it, one file. The policy in its head keeps even a browser from fetching anything."""
    title = f"Results: {escape(name)}"
    contents = "".join(
        f'<li><a href="#{one.anchor}">{_unlinked(one.title)}</a>{_list_of(one.parts)}</li>' for one in sections
    )
    bodies = "\n".join(f'<section id="{one.anchor}">\n<h2>{one.title}</h2>\n{one.body}\n</section>' for one in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{title}</h1>
<nav><ul>{contents}</ul></nav>
{bodies}
</body>
</html>
"""


def _list_of(parts: Sequence[tuple[str, str]]) -> str:
    items = "".join(f'<li><a href="#{name}">{_unlinked(title)}</a></li>' for name, title in parts)
    return f"<ul>{items}</ul>" if items else ""


def _unlinked(title: str) -> str:
    """A title without what cannot stand in a link: other links and pictures."""
    return re.sub(r"</?a\b[^>]*>|<img\b[^>]*>", "", title)


if __name__ == "__main__":
    bench.main(run)
