"""Several models side by side: Table I, and the grid of Fig. 5."""

import logging
from pathlib import Path

import numpy as np

from models import MODELS
from util.images import read_rgb, tile, write_bytes, write_png
from util.results.write import Written, square
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
    lines = [
        f"| run | model | generator | discriminator | steps | {title} (95 % interval) | {title} inside the hand | KID "
        f"|{' shape IoU | boundary F |' if shaped else ''} published FID | published KID |",
        f"| --- | --- | --- | --- | ---: | ---: | ---: | ---: |{' ---: | ---: |' if shaped else ''} ---: | ---: |",
    ]
    base = first["baseline"]
    ceiling = _shape(shaped[0]["baseline"]) if shaped else ""
    lines.append(f"| untranslated | | | | | {_scores(base, metric)} |{ceiling} | |")
    for name, row in rows.items():
        entry = MODELS.get(row["model"])
        published = " | |"
        if entry and (entry.netG, entry.netD) == (row["netG"], row["netD"]):
            published = f" {entry.fid:.3f} | {entry.kid[0]:.4f} ± {entry.kid[1]:.4f} |"
        lines.append(
            f"| {name} | {row['model']} | {row['netG']} | {row['netD']} | {row['step']} | {_scores(row, metric)} |"
            f"{_shape(row) if shaped else ''}{published}"
        )
    lines += [
        "",
        f"{title}: {_meaning(metric, first)}. {first['n_generated']} generated against {first['n_real']} real images; real "
        f"against real (halves of {first['floor_n']}) scores {first['floor']:.1f}, inside the hand {first['floor_patch']:.1f}.",
        "",
        "Published: Table I of the paper, FID and KID by Inception on 2000 images a side of SynthHands and RealHands; "
        "comparable with no figure that was measured on other data, with other features or on fewer images.",
    ]
    if shaped:
        lines += ["", SHAPE_NOTE]
        if len({row["silnet"]["sha256"] for row in shaped}) > 1:
            lines += [
                "",
                "**The runs' shapes were measured by different SilNets; name one with --silnet to compare them.**",
            ]
    return "\n".join(lines) + "\n"


def _shape(row: dict) -> str:
    """Two cells, empty for a run whose shape was not measured."""
    return f" {row['shape_iou']:.3f} | {row['boundary_f']:.3f} |" if "shape_iou" in row else " | |"


def _scores(row: dict, metric: str) -> str:
    low, high = row[f"{metric}_ci"]
    return (
        f"{row[metric]:.2f} ({low:.1f} to {high:.1f}) | {row[f'{metric}_patch']:.2f} "
        f"| {row['kid_mean']:.4f} ± {row['kid_std']:.4f}"
    )


def _meaning(metric: str, row: dict) -> str:
    if metric == "fid":
        return "Fréchet distance of Inception features"
    return f"Fréchet distance of {row['feature_net']} features, which is not FID"


def grid(sources: Written, generated: dict[str, Written]) -> np.ndarray:
    """Fig. 5: one row an input, one column a model, the input first; images are matched by their place in the lists."""
    places = np.linspace(0, len(sources.images) - 1, min(GRID_ROWS, len(sources.images))).round().astype(int)
    rows = []
    for place in places:
        columns = [written.images[place] for written in (sources, *generated.values())]
        rows.append([square(read_rgb(path)) for path in columns])
    return tile(rows)


def write_comparison(folder: Path, rows: dict[str, dict], sources: Written, generated: dict[str, Written]) -> None:
    """Write table.md and grid.png."""
    counts = {len(written.images) for written in generated.values()}
    if len(counts) > 1:
        log.warning("the models translated different numbers of images (%s): no grid", counts)
    else:
        write_png(folder / "grid.png", grid(sources, generated))
    if all("n_generated" in row for row in rows.values()):
        write_bytes(folder / "table.md", table(rows).encode())
