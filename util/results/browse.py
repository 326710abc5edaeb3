"""index.html of a results folder: every image of a test beside its translation, to look through in a browser.

One static file without scripts or styles from elsewhere. It holds the list of images and their scores; the browser
draws a page of 100 and asks for an image when it comes near the window.
"""

import html
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from urllib.parse import quote

from util.files import printable, write_bytes
from util.results.verdict import ScoreRow

TEMPLATE = Path(__file__).with_name("browse.html")
PAGE = 100  # images a page
SCORE_LABELS = {
    "structure": "structure kept",
    "shape_iou": "shape IoU",
    "distance": "distance to the real mean",
    "ssim": "SSIM to the true pair",
}


@dataclass(frozen=True)
class Column:
    """A picture of each row. label: what stands over it; folder: where its files are, relative to index.html."""

    label: str
    folder: str


@dataclass(frozen=True)
class Gallery:
    """What index.html shows.

    names: files below each column's folder, one a row. scores: {label: one value, or None, a row}, to sort by. tables:
    {title: lines of scores}. options: what stands under "options". size: (width, height) in pixels that a picture is
    drawn at, before the page fits it.
    """

    title: str
    verdicts: Sequence[str]
    columns: Sequence[Column]
    names: Sequence[PurePath]
    scores: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    tables: Mapping[str, Sequence[ScoreRow]] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()


def write_gallery(folder: Path, gallery: Gallery) -> Path:
    """Write index.html to the folder. Returns its path."""
    path = folder / "index.html"
    write_bytes(path, page(gallery).encode())
    return path


def page(gallery: Gallery) -> str:
    """The whole page."""
    data = {
        "columns": [[column.label, quote(column.folder)] for column in gallery.columns],
        "rows": [[quote(os.fsencode(name)), printable(name)] for name in gallery.names],
        "scores": {label: [_rounded(value) for value in values] for label, values in gallery.scores.items()},
        "page": PAGE,
    }
    parts = {
        "title": html.escape(gallery.title),
        "verdict": "".join(f'<p class="verdict">{html.escape(text)}</p>' for text in gallery.verdicts),
        "tables": "".join(_table(title, rows) for title, rows in gallery.tables.items()),
        "options": _options(gallery.options),
        "notes": "".join(f"<p>{html.escape(note)}</p>" for note in gallery.notes),
        "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    for key, value in parts.items():
        text = text.replace(f"<!--{key}-->", value)
    return text


def _table(title: str, rows: Sequence[ScoreRow]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{label}</th>" for label in ("", "translated", "untranslated", "real", "better"))
    lines = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><caption>{html.escape(title)}</caption><tr>{head}</tr>{lines}</table>"


def _options(options: Mapping[str, object]) -> str:
    lines = "".join(
        f"<dt>{html.escape(key)}</dt><dd>{html.escape(printable(str(value)))}</dd>" for key, value in options.items()
    )
    return f"<details><summary>options</summary><dl>{lines}</dl></details>" if lines else ""


def _rounded(value: float | None) -> float | None:
    return None if value is None or value != value else round(value, 4)
