"""Scores in words and in tables: the verdict, one run's table, and Table I of several runs."""

from typing import NamedTuple

from models import MODELS
from util.results.pages import table
from util.scores.metrics import METRICS
from util.scores.silhouettes import TOLERANCE

SHAPE_NOTE = (
    f"Shape IoU and boundary F (boundaries within {TOLERANCE} pixels): SilNet's silhouette of the translation, before it "
    "is composited by the mask, against the source's mask. The untranslated column is SilNet's own score and the ceiling."
)


class ScoreRow(NamedTuple):
    """One line of the table of scores; "" where a figure does not apply. better: see util.scores.metrics.Metric."""

    label: str
    translated: str
    untranslated: str
    real: str
    better: str


def verdict(metrics: dict) -> str:
    """One sentence on a metrics.json: whether translations are better than the untranslated sources, as the 95 % interval
    of the whole images' distance decides; "" without distances."""
    name = metric_name(metrics)
    if name is None:
        return ""
    base, (low, high), patch = metrics["baseline"], metrics[f"{name}_ci"], f"{name}_patch"
    figures = f"{name.upper()} {metrics[name]:.1f} against {base[name]:.1f}"
    inside = f"{patches(metrics)} {metrics[patch]:.1f} against {base[patch]:.1f}"
    if high < base[name]:
        worse_inside = ": there it is worse, look at the images" if metrics[patch] > base[patch] else ""
        return f"better than untranslated: {figures}; {inside}{worse_inside}"
    if low > base[name]:
        return f"worse than untranslated: {figures}; {inside}: train longer"
    return f"not clearly better or worse than untranslated: {figures} (95 % interval {low:.1f} to {high:.1f}); {inside}"


def patches(metrics: dict) -> str:
    """Where the 128 crops lie, in words; images without masks have no inside of a hand."""
    return "on 128 crops" if "not_measured" in metrics else "inside the hand"


def metric_name(metrics: dict) -> str | None:
    """ "fid" or "fd", by which of them was measured; None without scores."""
    return next((name for name in ("fid", "fd") if name in metrics), None)


def score_rows(metrics: dict) -> list[ScoreRow]:
    """The table of scores of one run's metrics.json: the distances, then each of METRICS that was measured."""
    name = metric_name(metrics)
    if name is None:
        return hand_rows(metrics)
    title = name.upper()
    lines = [
        (title, name, "{:.2f}", "floor", "lower"),
        ("  95 % interval", f"{name}_ci", "{0[0]:.1f} to {0[1]:.1f}", None, ""),
        (f"{title} {patches(metrics)}", f"{name}_patch", "{:.2f}", "floor_patch", "lower"),
        ("KID", "kid_mean", "{:.4f}", None, "lower"),
    ]
    rows = [
        ScoreRow(label, *_figures(metrics, key, form), f"{metrics[floor]:.2f}" if floor else "", better)
        for label, key, form, floor, better in lines
    ]
    return rows + hand_rows(metrics)


def hand_rows(metrics: dict) -> list[ScoreRow]:
    """A line for each of METRICS that was measured, or for each of its parts."""
    rows = []
    for metric in METRICS:
        value = metrics.get(metric.key)
        for part in value if isinstance(value, dict) else () if value is None else (None,):
            figures = _figures(metrics, metric.key, metric.form, part)
            rows.append(ScoreRow(metric.label.format(part), *figures, metric.real, metric.better))
    return rows


def _figures(metrics: dict, key: str, form: str, part: str | None = None) -> list[str]:
    """An entry, or a part of it, of the translations and of the baseline; "" where it was not measured."""
    values = [side.get(key) for side in (metrics, metrics.get("baseline", {}))]
    values = values if part is None else [value and value.get(part) for value in values]
    return ["" if value is None else form.format(value) for value in values]


def as_text(rows: list[ScoreRow]) -> str:
    """The table in plain text, one line a score."""
    lines = [ScoreRow("", "translated", "untranslated", "real", "better"), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(ScoreRow._fields))]
    form = "  {{:<{}}}  {{:>{}}}  {{:>{}}}  {{:>{}}}  {{:<{}}}".format(*widths)
    return "\n".join(form.format(*line).rstrip() for line in lines)


def comparison_table(runs: dict[str, dict]) -> str:
    """{run: its metrics.json} in Markdown: Table I with the published figures beside, and a table of all METRICS."""
    first = next(iter(runs.values()))
    name = metric_name(first)
    title = name.upper()

    def distances(scores: dict) -> list[str]:
        low, high = scores[f"{name}_ci"]
        kid = f"{scores['kid_mean']:.4f} ± {scores['kid_std']:.4f}"
        return [f"{scores[name]:.2f} ({low:.1f} to {high:.1f})", f"{scores[f'{name}_patch']:.2f}", kid]

    header = ["run", "model", "generator", "discriminator", "steps", f"{title} (95 % interval)"]
    header += [f"{title} inside the hand", "KID", "published FID", "published KID"]
    lines = [["untranslated", "", "", "", "", *distances(first["baseline"]), "", ""]]
    for run, scores in runs.items():
        entry, published = MODELS.get(scores["model"]), ["", ""]
        if entry and (entry.netG, entry.netD) == (scores["netG"], scores["netD"]):
            published = [f"{entry.fid:.3f}", f"{entry.kid[0]:.4f} ± {entry.kid[1]:.4f}"]
        made = [run, scores["model"], scores["netG"], scores["netD"], str(scores["step"])]
        lines.append([*made, *distances(scores), *published])
    meaning = "Inception features" if name == "fid" else f"{first['feature_net']} features, which is not FID"
    text = [
        table(header, lines),
        f"{title}: Fréchet distance of {meaning}. {first['n_generated']} generated against {first['n_real']} real images; real "
        f"against real (halves of {first['floor_n']}) scores {first['floor']:.1f}, {patches(first)} {first['floor_patch']:.1f}.",
        "Published: Table I of the paper, FID and KID by Inception on 2000 images a side of SynthHands and RealHands; "
        "comparable with no figure that was measured on other data, with other features or on fewer images.",
    ]
    rows = [{row.label: row for row in hand_rows(scores)} for scores in runs.values()]
    if known := {label: row for each in reversed(rows) for label, row in each.items()}:
        lines = []
        for label in dict.fromkeys(label for each in rows for label in each):
            figures = [each[label].translated if label in each else "" for each in rows]
            lines.append([label.strip(), known[label].untranslated, *figures, known[label].real, known[label].better])
        text.append(table(["", "untranslated", *runs, "real", "better"], lines))
    shaped = [scores["silnet"]["sha256"] for scores in runs.values() if "shape_iou" in scores]
    text += [SHAPE_NOTE] * bool(shaped)
    if len(set(shaped)) > 1:
        text.append("**The runs' shapes were measured by different SilNets; name one with --silnet to compare them.**")
    return "\n\n".join(text) + "\n"
