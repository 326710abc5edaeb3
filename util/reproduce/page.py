"""paper.md and index.html: the paper's tables and figures as reproduced here, and which of its claims hold."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from util import workers
from util.errors import UsageError
from util.reproduce.claims import Claim, Comparison
from util.reproduce.evidence import classifier_claims, model_claims, read_json, table_rows
from util.reproduce.figures import write_figures
from util.reproduce.runner import duration
from util.reproduce.stages import SILNET, Stage
from util.results.comparison import table as table_one
from util.results.pages import table, write_pages
from util.run import load_options
from util.training.logger import read_log

TITLE = "H-GAN, reproduced"
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
    parts = ["## Table I", table_one(dict(rows))]
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
