"""paper.md and index.html: the paper's tables and figures as reproduced here, and which of its claims hold; and summary.json,
one seed's figures, which the page of another seed shows beside its own."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from data.crops import centred_box, window
from data.masks import bounding_box
from util import workers
from util.drawing import evenly, sheet
from util.files import read_json, write_bytes, write_json
from util.images import read_mask, read_rgb
from util.reproduce.claims import OPEN, UNTESTED, Claim, all_claims, common_sources, table_rows, test_folder
from util.reproduce.stages import SILNET, Stage, real_root
from util.results.pages import comparison_table, html_page, metric_name, table
from util.run import OPTIONS_FILE, load_options
from util.scores.appearance import distance_inside
from util.studies.classification import TEST_LABELS, TRAINING_LABELS
from util.training.logger import read_log

TITLE = "H-GAN, reproduced"
SIDE, MARGIN = 176, 12  # pixels of a hand's picture; around the largest hand
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
    "In brackets: the 95 % interval over test images. It does not cover what another seed would give. A claim holds if all of its "
    "intervals lie on its side. It does not hold if one of them lies on the other side at a level corrected for their "
    "number. Otherwise it is undecided. Where the seeds that test it disagree it is undecided, too. Each seed has its own split."
)
TABLE1 = {  # what is compared over seeds: {label: entry of metrics.json}, {} is FID or FD
    "{}": "{}", "closed": "closed", "{} inside the hand": "{}_patch", "closed inside": "closed_patch", "KID": "kid_mean",
    "structure kept": "structure", "shading kept": "shading_kept", "fringe": "fringe",
}  # fmt: skip
TRAINED = ["seed", "run", "steps", "time of its steps", "crops", "images syn / real", "VGG16", "device", "settings"]
STRUCTURE = (
    "Structure kept: the share of the source's inner edges that the translation still shows; where there is depth, of its edges "
    "of depth. Shading kept, where there is depth: the same share of its other strong edges, shadows above all, which the paper "
    "wants gone (Fig. 3). Shape IoU, boundary F and gaps: by SilNet's silhouette of the output before the mask is applied. Only for "
    "geocongan, which has no masks, do they tell whether the shape is kept; the others are not trained beside the hand, unless with "
    "`--paper`."
)


def write_page(opt: Namespace, stages: list[Stage]) -> Path:
    """Write the page from whatever is there, the figures, and summary.json. Returns index.html."""
    rows = table_rows(opt)
    images = draw_figures(opt, rows)
    figures = {name: figure(opt.folder / "figures" / f"{name}.jpg", images.get(name)) for name in CAPTIONS}
    write_json(opt.folder / "summary.json", own := summarize(opt, rows))
    seeds = sorted([own, *opt.other_seeds], key=lambda each: each["seed"])
    studies = {
        "Table II": (opt.folder / "classify" / "table2", "fig6"),
        "Table III": (opt.folder / "classify" / "table3", "fig7"),
        "Downstream": (opt.folder / opt.models[0] / "downstream" / "segmentation", "downstream"),
    }
    trained = [row for each in seeds for row in each["trained"]]
    parts = [
        f"# {TITLE}",
        *(each["about"] for each in seeds),
        "## Which of the paper's claims hold here",
        claims_table(seeds),
        VERDICTS,
        *(["## What was trained", table(TRAINED, trained)] if trained else []),
        f"All below is of seed {opt.seed}, but for the tables by seed." if len(seeds) > 1 else "",
        "## Table I",
        comparison_table(rows) if rows else "Not there yet: no model's test split has been translated and scored.",
        STRUCTURE if rows else "",
        by_seed(seeds, "Table I"),
        *(figures[name] for name in ("fig1", "fig3", "masks", "fig4", "fig5")),
    ]
    for title, (folder, name) in studies.items():
        file = folder / "table.md"
        parts += [f"## {title}", file.read_text(encoding="utf-8") if file.exists() else "Not there yet."]
        parts += [by_seed(seeds, title), figures[name]]
    commands = "\n".join(workers.shell_line(stage.command) for stage in stages)
    parts.append(f"## Commands\n\nWhat `python -m util.reproduce` ran, in order:\n\n```\n{commands}\n```")
    text, page = "\n\n".join(filter(None, parts)) + "\n", opt.folder / "index.html"
    write_bytes(opt.folder / "paper.md", text.encode())
    write_bytes(page, html_page(TITLE, text).encode())
    return page


def summarize(opt: Namespace, rows: Mapping[str, Mapping]) -> dict[str, Any]:
    """What summary.json holds: this seed's claims, what was trained, and tables as {row: {column: number}}."""
    about, table1 = f"Seed {opt.seed}: data `{opt.dataroot or 'the demo'}`", {}
    if rows:
        first = next(iter(rows.values()))
        name, sides = metric_name(first), {"untranslated": first["baseline"], **rows}
        about += f", {first['n_generated']} test images, {name.upper()} by features of {first['feature_net']}"
        for label, key in TABLE1.items():
            key, label = key.format(name), label.format(name.upper())
            table1[label] = {model: side[key] for model, side in sides.items() if side.get(key) is not None}
    summary = {"seed": opt.seed, "about": f"{about}.", "trained": trained_rows(opt), "Table I": table1}
    for title, experiment in (("Table II", "table2"), ("Table III", "table3")):
        results = (read_json(opt.folder / "classify" / experiment / "metrics.json") or {}).get("results", {})
        summary[title] = {
            f"{TRAINING_LABELS.get(trained, trained)}, tested on {TEST_LABELS.get(test, test)}": {
                "accuracy": scores["accuracy"]
            }
            | {f"F1 {kind}": of_class["f1"] for kind, of_class in scores["per_class"].items()}
            for trained, tests in results.items()
            for test, scores in tests.items()
        }
    return summary | {"claims": {each.paper: each._asdict() for each in all_claims(opt, list(rows))}}


def claims_table(seeds: Sequence[Mapping]) -> str:
    """The claims with their verdicts, and what each seed measured. Where the seeds that test a claim disagree, it is undecided."""
    lines, unknown = [], Claim("", "", UNTESTED, {}, "Not a claim of another version of this program.")._asdict()
    for paper in seeds[0]["claims"]:
        found = {each["seed"]: each["claims"].get(paper, unknown) for each in seeds}
        of_seeds = {claim["verdict"] for claim in found.values()}
        tested = of_seeds - {UNTESTED} or of_seeds
        said = [f"**{tested.pop() if len(tested) == 1 else OPEN}**"]
        if len(of_seeds) > 1:
            said += [f"seed {seed}: {claim['verdict']}" for seed, claim in found.items()]
        measured = [claim["measure"] for claim in found.values() if claim["measured"]][:1]
        for what in dict.fromkeys(what for claim in found.values() for what in claim["measured"]):
            figures = (claim["measured"].get(what) for claim in found.values())
            texts = ("{} ({} to {})".format(*map(number, each)) if each else "none" for each in figures)
            measured.append(f"{what}: {' and '.join(texts)}")
        measured += dict.fromkeys(claim["note"] for claim in found.values() if claim["note"])
        lines.append([paper, "<br>".join(said), "<br>".join(measured)])
    return table(["the paper", "verdict", f"measured here, seed {' and '.join(map(str, found))}"], lines)


def number(value: float) -> str:
    """Three significant digits, as in 0.0470, 1.50 and 179."""
    return f"{value:#.3g}".rstrip(".")


def by_seed(seeds: Sequence[Mapping], title: str) -> str:
    """The seeds' figures of a table, one below the other, and their spread: the highest less the lowest. "" for one seed."""
    tables = {each["seed"]: each.get(title, {}) for each in seeds}
    columns = list(dict.fromkeys(column for each in tables.values() for row in each.values() for column in row))
    lines = []
    for label in dict.fromkeys(label for each in tables.values() for label, row in each.items() if row):
        rows = {seed: each.get(label, {}) for seed, each in tables.items()}
        for seed, row in rows.items():
            lines.append([label, f"seed {seed}", *(number(row[c]) if c in row else "" for c in columns)])
        found = ([row[column] for row in rows.values() if column in row] for column in columns)
        lines.append(["", "spread", *(number(max(each) - min(each)) if len(each) > 1 else "" for each in found)])
    return f"{title} by seed:\n\n{table(['', '', *columns], lines)}" if lines and len(seeds) > 1 else ""


def trained_rows(opt: Namespace) -> list[list[str]]:
    """What was trained, on what, for how long, and with which frozen networks: rows under TRAINED."""
    lines = []
    for run in (opt.checkpoints_dir / name for name in (SILNET, *opt.models)):
        if not (run / OPTIONS_FILE).exists():
            continue
        options = load_options(run)
        resolved, images = options["resolved"], options["resolved"]["images"]["train"]
        logged = [(0, 0.0), *((each["step"], each["seconds"]) for each in read_log(run) if each.get("seconds"))]
        seconds = sum(mean * (step - before) for (before, _), (step, mean) in zip(logged, logged[1:]))
        vgg = (resolved.get("vgg_weights") or {}).get("source", "")
        data = ["{crop_size} px, batch {batch_size}".format(**options), "{synthetic} / {real}".format(**images)]
        settings = "as published" if options.get("paper") else "this project's"
        length = [str(logged[-1][0]), tqdm.format_interval(seconds)]
        lines.append([str(options["seed"]), run.name, *length, *data, vgg, resolved["device_name"], settings])
    return lines


def figure(path: Path, image: np.ndarray | None) -> str:
    """Write a JPEG of uint8 RGB (H, W, 3), scaled down to at most WIDEST pixels a line. Returns Markdown with its caption."""
    caption = CAPTIONS[path.stem]
    if image is None:
        return "" if path.stem in ("masks", "downstream") else f"*Not there yet: {caption}*"
    scale = min(1.0, WIDEST / image.shape[1])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    write_bytes(path, data.tobytes())
    return f"![{caption}](figures/{path.name})\n\n*{caption}*"


def draw_figures(opt: Namespace, rows: Mapping[str, Mapping]) -> dict[str, np.ndarray]:
    """{figure: its picture} of every figure whose hands are there."""
    shown, back = test_folder(opt, opt.models[0]), opt.folder / opt.models[0] / "test_RtoS"
    models, drawn = list(rows), {}
    names = common_sources(opt, models)
    if names:
        first, *_ = folders = [test_folder(opt, model) for model in models]
        columns = [first / "synthetic", *(folder / "generated" for folder in folders)]
        pictures = close_ups(columns, evenly(names, ROWS), masks=first / "masks" / "synthetic")
        drawn["fig5"] = sheet(pictures, columns=["synthetic", *models], side=SIDE)
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
    source = labels[0]
    pairs = close_ups([folder / source, folder / "generated"], names, masks=folder / "masks" / source)
    return sheet(list(zip(*pairs)), labels=labels, side=SIDE)


def close_ups(folders: Sequence[Path], names: Sequence[Path], *, masks: Path) -> list[list[np.ndarray]]:
    """For each name its image in every folder, cut to a square around the hand, as large as the largest hand needs."""
    hands = [read_mask(masks / name) for name in names]
    side = max(part.stop - part.start for hand in hands for part in bounding_box(hand, margin=MARGIN))
    boxes = [centred_box(hand, side, side) for hand in hands]
    return [[window(read_rgb(folder / name), box, beyond=255) for folder in folders] for name, box in zip(names, boxes)]


def shading_step(image: np.ndarray, mask: np.ndarray, *, margin: int = 8) -> float:
    """The strongest step of brightness inside the hand (the paper's Fig. 3), in grey levels a pixel, away from its outline
    and the image's border; 0 without an inside. The strongest thousandth of the pixels is left out."""
    inside = distance_inside(np.pad(mask, 1))[1:-1, 1:-1] > margin
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 2.0)
    slope = np.hypot(*np.gradient(grey))
    return float(np.quantile(slope[inside], 0.999)) if inside.any() else 0.0
