"""Pages: Markdown and HTML made from it, and index.html of a results folder, to look through its images in a browser."""

import html
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from urllib.parse import quote

import markdown

from util.files import printable, write_bytes

STYLE = """
body { max-width: 85rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; font-size: 14px; }
th, td { border: 1px solid #ccc; padding: .3rem .6rem; vertical-align: top; }
th { background: #f3f3f3; }
img { max-width: 100%; }
pre, code { background: #f6f6f6; }
pre { padding: .6rem; overflow-x: auto; }
"""
PAGE = 100  # images a page of a gallery


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; columns of numbers are flush right. A pipe in a cell is escaped."""

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    numeric = [all(not cell or cell[0] in "-+.0123456789" for cell in column) for column in zip(*rows)]
    return "\n".join([line(header), line(["---:" if each else "---" for each in numeric]), *map(line, rows)])


def html_page(title: str, text: str) -> str:
    """A whole page, which needs no other file but its pictures, from Markdown with tables."""
    body = markdown.markdown(text, extensions=["tables", "fenced_code", "sane_lists"])
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def write_pages(folder: Path, name: str, *, title: str, text: str) -> None:
    """Write name (a .md file) and index.html to the folder."""
    write_bytes(folder / name, text.encode())
    write_bytes(folder / "index.html", html_page(title, text).encode())


def gallery(
    title: str,
    *,
    verdicts: Sequence[str],
    columns: Sequence[tuple[str, str]],
    names: Sequence[PurePath],
    scores: Mapping[str, Sequence[float | None]],
    tables: Mapping[str, Sequence[Sequence[str]]],
    options: Mapping[str, object] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """A page of many images that needs no network: the browser draws 100 rows and asks for an image when it comes near.

    columns: (what stands over a picture, its folder relative to the page). names: files below each column's folder, one
    a row. scores: {label: one value, or None, a row}, to sort by. tables: {title: a ScoreRow a line}.
    """

    def rounded(value: float | None) -> float | None:
        return None if value is None or value != value else round(value, 4)

    data = {
        "columns": [[label, quote(folder)] for label, folder in columns],
        "rows": [[quote(os.fsencode(name)), printable(name)] for name in names],
        "scores": {label: [rounded(value) for value in values] for label, values in scores.items()},
        "page": PAGE,
    }
    values = [(html.escape(key), html.escape(printable(str(value)))) for key, value in (options or {}).items()]
    listed = "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in values)
    parts = {
        "title": html.escape(title),
        "verdict": "".join(f'<p class="verdict">{html.escape(text)}</p>' for text in verdicts),
        "tables": "".join(_score_table(title, rows) for title, rows in tables.items() if rows),
        "options": f"<details><summary>options</summary><dl>{listed}</dl></details>" if listed else "",
        "notes": "".join(f"<p>{html.escape(note)}</p>" for note in notes),
        "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    }
    text = Path(__file__).with_name("gallery.html").read_text(encoding="utf-8")
    for key, value in parts.items():
        text = text.replace(f"<!--{key}-->", value)
    return text


def _score_table(title: str, rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{label}</th>" for label in ("", "translated", "untranslated", "real", "better"))
    lines = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><caption>{html.escape(title)}</caption><tr>{head}</tr>{lines}</table>"
