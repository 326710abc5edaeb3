"""paper.md and index.html: the paper's tables and figures as reproduced here, and which of its claims hold."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from util import workers
from util.drawing import evenly, sheet
from util.files import write_bytes
from util.images import read_mask, read_rgb
from util.reproduce.claims import classifier_claims, common_sources, deep_inside, model_claims, table_rows, test_folder
from util.reproduce.stages import SILNET, Stage, real_root
from util.results.pages import comparison_table, html_page, table
from util.run import OPTIONS_FILE, load_options
from util.training.logger import read_log

TITLE = "H-GAN, reproduced"
SIDE = 176  # pixels of a hand
COLUMNS, ROWS = 8, 6
WIDEST, QUALITY = 1500, 88  # of a JPEG: pixels a line, and quality of 100
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
VERDICTS = (
    "A claim about models holds if each comparison's 95 % interval lies on its side, and does not hold if one lies on the "
    "other side at a level corrected for their number; anything else is undecided. Intervals are bootstrap intervals of the "
    "difference over images, with the same sources for both models. They say how sure the difference is for these "
    "trainings; each model was trained once, and another seed was not tried."
)


def write_page(opt: Namespace, stages: list[Stage]) -> Path:
    """Write the page from whatever is there, and the figures. Returns index.html."""
    rows = table_rows(opt)
    images = draw_figures(opt, list(rows))
    figures = {name: figure(opt.folder / "figures" / f"{name}.jpg", images.get(name)) for name in CAPTIONS}
    of_models, comparisons = model_claims(opt, rows)
    studies = {
        "Table II": (opt.folder / "classify" / "table2", "fig6"),
        "Table III": (opt.folder / "classify" / "table3", "fig7"),
        "Downstream": (opt.folder / opt.models[0] / "downstream" / "segmentation", "downstream"),
    }
    claims = [*of_models, *classifier_claims(opt)]
    lines = [[each.paper, f"**{each.verdict}**", each.measured.replace("; ", "<br>")] for each in claims]
    commands = "\n".join(workers.shell_line(stage.command) for stage in stages)
    parts = [
        f"# {TITLE}",
        "## Which of the paper's claims hold here",
        table(["the paper", "verdict", "measured here"], lines),
        VERDICTS,
        *training_section(opt, rows),
        "## Table I",
        comparison_table(rows) if rows else "Not there yet: no model's test split has been translated and scored.",
        "Differences between models (95 % interval); below zero, the first is better:" if comparisons else "",
        table(["by", "difference"], [[each.measure, each.text()] for each in comparisons]) if comparisons else "",
        *(figures[name] for name in ("fig1", "fig3", "masks", "fig4", "fig5")),
    ]
    for title, (folder, name) in studies.items():
        file = folder / "table.md"
        parts += [f"## {title}", file.read_text(encoding="utf-8") if file.exists() else "Not there yet.", figures[name]]
    parts.append(f"## Commands\n\nWhat `python -m util.reproduce` ran, in order:\n\n```\n{commands}\n```")
    text, page = "\n\n".join(filter(None, parts)) + "\n", opt.folder / "index.html"
    write_bytes(opt.folder / "paper.md", text.encode())
    write_bytes(page, html_page(TITLE, text).encode())
    return page


def training_section(opt: Namespace, rows: Mapping[str, dict]) -> list[str]:
    """What was trained, on what, for how long, and with which frozen networks."""
    lines = []
    for run in (opt.checkpoints_dir / name for name in (SILNET, *opt.models)):
        if not (run / OPTIONS_FILE).exists():
            continue
        options = load_options(run)
        resolved, images = options["resolved"], options["resolved"]["images"]["train"]
        step, seconds = 0, 0.0
        for entry in read_log(run):
            if entry.get("seconds"):
                seconds += entry["seconds"] * (entry["step"] - step)
                step = entry["step"]
        vgg = (resolved.get("vgg_weights") or {}).get("source", "")
        crops = f"{options['crop_size']} px, batch {options['batch_size']}"
        settings = "as published" if options.get("paper") else "this project's"
        count = f"{images['synthetic']} / {images['real']}"
        lines.append(
            [run.name, str(step), tqdm.format_interval(seconds), crops, count, vgg, resolved["device_name"], settings]
        )
    if not lines:
        return []
    header = ["run", "steps", "time of its steps", "crops", "images syn / real", "VGG16", "device", "settings"]
    data = opt.dataroot or "the demo data"
    steps = ", ".join(map(str, sorted({row["step"] for row in rows.values()})))
    nets = ", ".join(sorted({row["feature_net"] for row in rows.values()}))
    notes = f"The checkpoints scored are of step {steps}, by features of {nets}." if rows else ""
    return ["## What was trained", f"Data: `{data}`.", table(header, lines), notes]


# ------------------------------------------------------------------ figures


def figure(path: Path, image: np.ndarray | None) -> str:
    """Write a JPEG of uint8 RGB (H, W, 3), scaled down to at most WIDEST pixels a line. Returns Markdown with its caption."""
    caption = CAPTIONS[path.stem]
    if image is None:
        return "" if path.stem in ("masks", "downstream") else f"*Not there yet: {caption}*"
    scale = min(1.0, WIDEST / image.shape[1])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    write_bytes(path, data.tobytes())
    return f"![{caption}](figures/{path.name})\n\n*{caption}*"


def draw_figures(opt: Namespace, models: list[str]) -> dict[str, np.ndarray]:
    """{figure: its picture} of every figure whose hands are there."""
    shown, back = test_folder(opt, opt.models[0]), opt.folder / opt.models[0] / "test_RtoS"
    drawn = {}
    names = common_sources(opt, models)
    if names:
        columns = [test_folder(opt, models[0]) / "synthetic", *(test_folder(opt, m) / "generated" for m in models)]
        rows = [[read_rgb(column / name) for column in columns] for name in evenly(names, ROWS)]
        drawn["fig5"] = sheet(rows, columns=["synthetic", *models], side=SIDE)
    if opt.models[0] in models and names:
        labels, sources, masks = ["synthetic", "translated"], shown / "synthetic", shown / "masks" / "synthetic"
        drawn["fig1"] = pair_figure(shown, evenly(names, COLUMNS), labels)
        steps = {name: shading_step(read_rgb(sources / name), read_mask(masks / name)) for name in names}
        strongest = sorted(names, key=lambda name: (-steps[name], name))[:COLUMNS]
        drawn["fig3"] = pair_figure(shown, strongest, labels)
    if (back / "metrics.json").exists():
        real = sorted(path.relative_to(back / "generated") for path in (back / "generated").rglob("*.png"))
        drawn["fig4"] = pair_figure(back, evenly(real, COLUMNS), ["real", "translated"])
    copies = {
        "fig6": opt.folder / "classify" / "table2" / "samples.png",
        "fig7": opt.folder / "classify" / "table3" / "confusion.png",
        "downstream": opt.folder / opt.models[0] / "downstream" / "segmentation" / "samples.png",
        "masks": (real_root(opt) or Path()) / "masks_preview.png",
    }
    return drawn | {name: read_rgb(path) for name, path in copies.items() if path.exists()}


def pair_figure(folder: Path, names: list[Path], labels: list[str]) -> np.ndarray:
    """Sources, in the folder of the first label, over their translations: Figs. 1, 3 and 4. names: below generated/."""
    rows = [[read_rgb(folder / part / name) for name in names] for part in (labels[0], "generated")]
    return sheet(rows, labels=labels, side=SIDE)


def shading_step(image: np.ndarray, mask: np.ndarray, *, margin: int = 8) -> float:
    """The strongest step of brightness inside the hand, in grey levels a pixel, away from its outline; 0 without an inside.

    Shading discontinuities, as in the paper's Fig. 3, are such steps. The brightness is smoothed by a deviation of 2 pixels,
    and the strongest thousandth of the pixels is left out.
    """
    inside = deep_inside(mask, margin)
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 2.0)
    slope = np.hypot(*np.gradient(grey))
    return float(np.quantile(slope[inside], 0.999)) if inside.any() else 0.0
