"""Pages as Markdown and as HTML made from it."""

import html
from pathlib import Path

import markdown

from util.files import write_bytes

STYLE = """
body { max-width: 85rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; font-size: 14px; }
th, td { border: 1px solid #ccc; padding: .3rem .6rem; vertical-align: top; }
th { background: #f3f3f3; }
img { max-width: 100%; }
pre, code { background: #f6f6f6; }
pre { padding: .6rem; overflow-x: auto; }
"""


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


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; columns of numbers are flush right. A pipe in a cell is escaped."""

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    numeric = [all(not cell or cell[0] in "-+.0123456789" for cell in column) for column in zip(*rows)]
    return "\n".join([line(header), line(["---:" if each else "---" for each in numeric]), *map(line, rows)])
