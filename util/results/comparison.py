"""Several models side by side: Table I, and the grid of Fig. 5."""

import logging
import os
from pathlib import Path

import numpy as np

from models import MODELS
from util.drawing import sheet, spread
from util.files import write_bytes
from util.images import read_rgb, write_png
from util.results.browse import Column, Gallery, write_gallery
from util.results.pages import table as markdown_table
from util.results.tested import Tested
from util.results.verdict import patches, score_rows
from util.scores.shape import TOLERANCE

log = logging.getLogger(__name__)

GRID_ROWS = 6
SHAPE_NOTE = (
    f"Shape IoU and boundary F (boundaries within {TOLERANCE} pixels): SilNet's silhouette of the translation, before it "
    "is composited by the mask, against the source's mask. The untranslated row is SilNet's own score and the ceiling."
)


def table(rows: dict[str, dict]) -> str:
    """Table I as Markdown: what was measured, with the published figures beside.

    rows: {run name: its metrics.json, with "model", "netG", "netD", "step"}.
    """
    first = next(iter(rows.values()))
    metric = "fid" if "fid" in first else "fd"
    title = metric.upper()
    shaped = [row for row in rows.values() if "shape_iou" in row]
    shapes = {"shape_iou": "shape IoU", "boundary_f": "boundary F"} if shaped else {}

    def scores(row: dict) -> list[str]:
        low, high = row[f"{metric}_ci"]
        return [
            f"{row[metric]:.2f} ({low:.1f} to {high:.1f})",
            f"{row[f'{metric}_patch']:.2f}",
            f"{row['kid_mean']:.4f} ± {row['kid_std']:.4f}",
            *(f"{row[key]:.3f}" if key in row else "" for key in shapes),
        ]

    header = ["run", "model", "generator", "discriminator", "steps", f"{title} (95 % interval)"]
    header += [f"{title} inside the hand", "KID", *shapes.values(), "published FID", "published KID"]
    baseline = first["baseline"] | {key: shaped[0]["baseline"][key] for key in shapes}
    lines = [["untranslated", "", "", "", "", *scores(baseline), "", ""]]
    for name, row in rows.items():
        entry, published = MODELS.get(row["model"]), ["", ""]
        if entry and (entry.netG, entry.netD) == (row["netG"], row["netD"]):
            published = [f"{entry.fid:.3f}", f"{entry.kid[0]:.4f} ± {entry.kid[1]:.4f}"]
        lines.append([name, row["model"], row["netG"], row["netD"], str(row["step"]), *scores(row), *published])
    meaning = "Inception features" if metric == "fid" else f"{first['feature_net']} features, which is not FID"
    text = [
        markdown_table(header, lines),
        f"{title}: Fréchet distance of {meaning}. {first['n_generated']} generated against {first['n_real']} real images; real "
        f"against real (halves of {first['floor_n']}) scores {first['floor']:.1f}, {patches(first)} {first['floor_patch']:.1f}.",
        "Published: Table I of the paper, FID and KID by Inception on 2000 images a side of SynthHands and RealHands; "
        "comparable with no figure that was measured on other data, with other features or on fewer images.",
        *[SHAPE_NOTE] * bool(shaped),
    ]
    if len({row["silnet"]["sha256"] for row in shaped}) > 1:
        text.append("**The runs' shapes were measured by different SilNets; name one with --silnet to compare them.**")
    return "\n\n".join(text) + "\n"


def grid(tests: dict[str, Tested]) -> np.ndarray:
    """Fig. 5: a row an input, a column a model, the input first. All models have translated the same images."""
    first = next(iter(tests.values()))
    places = spread(len(first.source), GRID_ROWS)
    columns = [first.source, *(test.generated for test in tests.values())]
    rows = [[read_rgb(column[place].image) for column in columns] for place in places]
    captions = [[first.source[place].image.stem, *[""] * len(tests)] for place in places]
    return sheet(rows, columns=[first.domains[0], *tests], captions=captions)


def gallery(folder: Path, tests: dict[str, Tested]) -> Gallery:
    """Every image that all runs translated, beside each run's translation."""
    first = next(iter(tests.values()))
    columns = [Column(first.domains[0], _relative(first.folder / first.domains[0], folder))]
    columns += [Column(name, _relative(test.folder / "generated", folder)) for name, test in tests.items()]
    columns.append(Column("mask", _relative(first.folder / "masks" / first.domains[0], folder)))
    if (first.folder / "true_pairs").is_dir():
        columns.append(Column("true pair", _relative(first.folder / "true_pairs", folder)))
    names = [each.image.relative_to(first.folder / "generated") for each in first.generated]
    scores = {f"{label} of {name}": v for name, test in tests.items() for label, v in test.image_scores().items()}
    verdicts = [f"{name}: {text}" for name, test in tests.items() if (text := test.metrics.get("verdict"))]
    tables = {name: score_rows(test.metrics) for name, test in tests.items()}
    notes = [f"{len(names)} images that every run has translated and none was trained on."]
    return Gallery(f"{' | '.join(tests)}: compared", verdicts, columns, names, scores, tables, notes=notes)


def _relative(path: Path, start: Path) -> str:
    return Path(os.path.relpath(path, start)).as_posix()


def write_comparison(folder: Path, tests: dict[str, Tested]) -> list[Path]:
    """Write grid.png, index.html and, where there are scores, table.md. Returns the files that were written."""
    for name in ("grid.png", "index.html", "table.md"):
        (folder / name).unlink(missing_ok=True)
    sources = [[each.image.relative_to(t.folder) for each in t.source] for t in tests.values()]
    if any(each != sources[0] for each in sources):
        log.warning("the runs could not read the same images; nothing is compared")
        return []
    write_png(folder / "grid.png", grid(tests))
    written = [folder / "grid.png", write_gallery(folder, gallery(folder, tests))]
    if all("n_generated" in test.metrics for test in tests.values()):
        write_bytes(folder / "table.md", table({name: test.metrics for name, test in tests.items()}).encode())
        written.append(folder / "table.md")
    return written
