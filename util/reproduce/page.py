"""paper.md and index.html: the paper's tables and figures as reproduced here, and which of its claims hold.

Figures are JPEG files, small enough to be shared.
"""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from util import workers
from util.drawing import sheet, spread
from util.errors import UsageError
from util.files import write_bytes
from util.images import ImageError, read_mask, read_rgb
from util.reproduce.claims import Claim, Comparison
from util.reproduce.evidence import (
    classifier_claims,
    common_sources,
    deep_inside,
    model_claims,
    read_json,
    table_rows,
    test_folder,
)
from util.reproduce.runner import duration
from util.reproduce.stages import SILNET, Stage, real_root
from util.results.pages import table, write_pages
from util.results.tables import comparison_table
from util.run import load_options
from util.training.logger import read_log

TITLE = "H-GAN, reproduced"
SIDE = 176  # pixels of a hand
COLUMNS, ROWS = 8, 6
WIDEST = 1500  # pixels of a picture
CAPTIONS = {
    "fig1": "Fig. 1: synthetic hands (top), translated (bottom).",
    "fig3": "Fig. 3: the synthetic hands with the strongest steps of shading (top), translated (bottom).",
    "masks": "Masks of RealHands, as published (red) and refined (blue): paper, section IV.B, Datasets.",
    "fig4": "Fig. 4: real hands (top), translated to the synthetic domain (bottom).",
    "fig5": "Fig. 5: the same synthetic hands (first column) through every model.",
    "fig6": "Fig. 6: hands on random backgrounds, as the classifier sees them.",
    "fig7": "Fig. 7: confusion matrix of the three classes (published: 3341 121 40 / 114 2915 647 / 45 465 2813).",
    "downstream": "What networks trained on synthetic, translated and real hands find on real ones.",
}


def write_page(opt: Namespace, stages: list[Stage]) -> Path:
    """Write the page from whatever is there, and the figures. Returns index.html."""
    rows = table_rows(opt)
    pictures = write_figures(opt, list(rows))
    of_models, comparisons = model_claims(opt, rows)
    all_claims = [*of_models, *classifier_claims(opt)]
    parts = [
        f"# {TITLE}",
        claims_section(all_claims),
        training_section(opt, rows),
        *table_one_section(rows, comparisons),
        *(picture(pictures, name) for name in ("fig1", "fig3", "masks", "fig4", "fig5")),
        *study_sections(opt, pictures),
        commands_section(stages),
    ]
    write_pages(opt.folder, "paper.md", title=TITLE, text="\n\n".join(part for part in parts if part) + "\n")
    return opt.folder / "index.html"


def picture(pictures: Mapping[str, Path], name: str) -> str:
    """The figure with its caption; a sentence where it could not be made."""
    if name in pictures:
        return f"![{CAPTIONS[name]}](figures/{pictures[name].name})\n\n*{CAPTIONS[name]}*"
    return "" if name in ("masks", "downstream") else f"*Not there yet: {CAPTIONS[name]}*"


def claims_section(all_claims: list[Claim]) -> str:
    """Which of the paper's claims hold here."""
    rows = [[each.paper, f"**{each.verdict}**", each.measured.replace("; ", "<br>")] for each in all_claims]
    return "\n\n".join(
        [
            "## Which of the paper's claims hold here",
            table(["the paper", "verdict", "measured here"], rows),
            "A claim about models holds if each comparison's 95 % interval lies on its side, and does not hold if one lies "
            "on the other side at a level corrected for their number; anything else is undecided. Intervals are bootstrap "
            "intervals of the difference over images, with the same sources for both models. They say how sure the "
            "difference is for these trainings; each model was trained once, and another seed was not tried.",
        ]
    )


def training_section(opt: Namespace, rows: Mapping[str, dict]) -> str:
    """What was trained, on what, for how long, and with which frozen networks."""
    lines, notes = [], []
    for name in (SILNET, *opt.models):
        try:
            options = load_options(opt.checkpoints_dir / name)
        except UsageError:
            continue
        resolved = options.get("resolved", {})
        steps, seconds = training_time(opt.checkpoints_dir / name)
        images = resolved.get("images", {}).get("train", {})
        vgg = resolved.get("vgg_weights") or {}
        lines.append(
            [
                name,
                str(steps),
                duration(seconds),
                f"{options['crop_size']} px, batch {options['batch_size']}",
                f"{images.get('synthetic', '?')} / {images.get('real', '?')}",
                vgg.get("source", "") or "",
                str(resolved.get("device_name", "")),
                "as published" if options.get("paper") else "this project's",
            ]
        )
    if not lines:
        return ""
    budgets = {row["step"] for row in rows.values()}
    if len(budgets) > 1:
        notes.append(
            f"The scored checkpoints stand at different steps ({', '.join(map(str, sorted(budgets)))}), where each did best "
            "in validation or as far as it was trained."
        )
    nets = {row["feature_net"] for row in rows.values()}
    if nets:
        notes.append(f"Scores by features of {', '.join(sorted(nets))}.")
    header = ["run", "steps", "time of its steps", "crops", "images syn / real", "VGG16", "device", "settings"]
    data = opt.dataroot or "the demo data" if not (opt.synth_root and opt.real_root) else "two roots"
    return "\n\n".join([f"## What was trained\n\nData: `{data}`.", table(header, lines), " ".join(notes)])


def training_time(run: Path) -> tuple[int, float]:
    """(steps, seconds they took in sum) by the run's log."""
    last, total = 0, 0.0
    for entry in read_log(run):
        if isinstance(entry.get("seconds"), (int, float)):
            total += entry["seconds"] * (entry["step"] - last)
            last = entry["step"]
    return last, total


def table_one_section(rows: Mapping[str, dict], comparisons: list[Comparison]) -> list[str]:
    """Table I, and the differences between the perceptual models and the baselines."""
    if not rows:
        return ["## Table I\n\nNot there yet: no model's test split has been translated and scored."]
    parts = ["## Table I", comparison_table(dict(rows))]
    if comparisons:
        cells = [[each.measure, each.text()] for each in comparisons]
        parts += [
            "Differences between models (95 % interval); below zero, the first is better:",
            table(["by", "difference"], cells),
        ]
    return parts


def study_sections(opt: Namespace, pictures: Mapping[str, Path]) -> list[str]:
    """Tables II and III with their figures, and the downstream table."""
    studies = {
        "Table II": (opt.folder / "classify" / "table2", "fig6"),
        "Table III": (opt.folder / "classify" / "table3", "fig7"),
        "Downstream": (opt.folder / opt.figure_model / "downstream" / "segmentation", "downstream"),
    }
    parts = []
    for title, (folder, figure) in studies.items():
        there = read_json(folder / "metrics.json") and (folder / "table.md").exists()
        text = (folder / "table.md").read_text(encoding="utf-8") if there else "Not there yet."
        parts += [f"## {title}", text, picture(pictures, figure)]
    return parts


def commands_section(stages: list[Stage]) -> str:
    """Every command, to be run by hand."""
    lines = "\n".join(workers.shell_line(stage.command) for stage in stages)
    return f"## Commands\n\nWhat `python -m util.reproduce` ran, in order:\n\n```\n{lines}\n```"


# ------------------------------------------------------------------ figures


def write_jpeg(path: Path, image: np.ndarray, *, quality: int = 88) -> Path:
    """Write uint8 RGB (H, W, 3), scaled down to at most WIDEST pixels a line."""
    scale = min(1.0, WIDEST / image.shape[1])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    encoded, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise ImageError(f"{path}: could not encode an array of shape {image.shape} as JPEG")
    write_bytes(path, data.tobytes())
    return path


def some_of(items: list, count: int) -> list:
    """Up to `count` of the items, evenly spread."""
    return [items[place] for place in spread(len(items), count)]


def pair_figure(folder: Path, names: list[Path], *, source: str, labels: tuple[str, str]) -> np.ndarray:
    """Sources in the top row, their translations below: Figs. 1, 3 and 4. folder: of test.py; names: below generated/."""
    rows = [[read_rgb(folder / part / name) for name in names] for part in (source, "generated")]
    return sheet(rows, labels=list(labels), side=SIDE)


def model_figure(opt: Namespace, models: list[str], names: list[Path]) -> np.ndarray:
    """Fig. 5: a row a hand, the synthetic one first and then what each model makes of it."""
    columns = [test_folder(opt, models[0]) / "synthetic", *(test_folder(opt, m) / "generated" for m in models)]
    rows = [[read_rgb(column / name) for column in columns] for name in names]
    return sheet(rows, columns=["synthetic", *models], side=SIDE)


def shading_step(image: np.ndarray, mask: np.ndarray, *, margin: int = 8) -> float:
    """The strongest step of brightness inside the hand, in grey levels a pixel, away from its outline; 0 without an inside.

    Shading discontinuities, as the paper's Fig. 3 shows them at the wrist, are such steps. The brightness is smoothed by
    a deviation of 2 pixels, and the strongest thousandth of the pixels is left out.
    """
    inside = deep_inside(mask, margin)
    if not inside.any():
        return 0.0
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 2.0)
    slope = np.hypot(*np.gradient(grey))
    return float(np.quantile(slope[inside], 0.999))


def strongest_shading(folder: Path, names: list[Path], count: int) -> list[Path]:
    """The sources with the strongest shading steps, strongest first."""
    strength = {
        name: shading_step(read_rgb(folder / "synthetic" / name), read_mask(folder / "masks" / "synthetic" / name))
        for name in names
    }
    return sorted(strength, key=lambda name: (-strength[name], name))[:count]


def write_figures(opt: Namespace, models: list[str]) -> dict[str, Path]:
    """Write every figure whose hands are there to opt.folder/figures. Returns {figure: file}."""
    out, shown = opt.folder / "figures", test_folder(opt, opt.figure_model)
    written: dict[str, Path] = {}
    names = common_sources(opt, models)
    if names:
        written["fig5"] = write_jpeg(out / "fig5.jpg", model_figure(opt, models, some_of(names, ROWS)))
    if opt.figure_model in models and names:
        labels = ("synthetic", "translated")
        fig1 = pair_figure(shown, some_of(names, COLUMNS), source="synthetic", labels=labels)
        written["fig1"] = write_jpeg(out / "fig1.jpg", fig1)
        steps = strongest_shading(shown, names, COLUMNS)
        written["fig3"] = write_jpeg(out / "fig3.jpg", pair_figure(shown, steps, source="synthetic", labels=labels))
    back = opt.folder / opt.figure_model / "test_RtoS"
    if (back / "metrics.json").exists():
        real = sorted(path.relative_to(back / "generated") for path in (back / "generated").rglob("*.png"))
        fig4 = pair_figure(back, some_of(real, COLUMNS), source="real", labels=("real", "translated"))
        written["fig4"] = write_jpeg(out / "fig4.jpg", fig4)
    copies = {
        "fig6": opt.folder / "classify" / "table2" / "samples.png",
        "fig7": opt.folder / "classify" / "table3" / "confusion.png",
        "downstream": opt.folder / opt.figure_model / "downstream" / "segmentation" / "samples.png",
    }
    if real_root(opt):
        copies["masks"] = real_root(opt) / "masks_preview.png"
    for name, path in copies.items():
        if path.exists():
            written[name] = write_jpeg(out / f"{name}.jpg", read_rgb(path))
    return written
