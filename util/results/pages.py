"""Tables and pages: the verdict on one run, the scores of one or several, Table I, Markdown tables, and HTML pages."""

import html
from collections.abc import Mapping, Sequence

import markdown

from models import MODELS
from util.scores.metrics import METRICS, agreements

STYLE = """
body { max-width: 85rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; font-size: 14px; }
th, td { border: 1px solid #ccc; padding: .3rem .6rem; vertical-align: top; }
th { background: #f3f3f3; }
img { max-width: 100%; }
pre, code { background: #f6f6f6; }
pre { padding: .6rem; overflow-x: auto; }
figure { display: flex; flex-wrap: wrap; gap: 6px; margin: 1rem 0; content-visibility: auto; contain-intrinsic-height: 16rem; }
figure img { width: 14rem; height: 14rem; object-fit: contain; background: #eee; }
figcaption { width: 100%; font-size: 14px; overflow-wrap: anywhere; }
"""
TRACKED = {  # what the tracker says: {entry: (label, form, better)}
    "joints_10": ("tracker: joints within .1", "{:.3f}", "higher"),
    "joints_05": ("tracker: joints within .05", "{:.3f}", "higher"),
    "found": ("tracker: hands found", "{:.3f}", "higher"),
    "score": ("  sure which side", "{:.3f}", "higher"),
    "blur": ("  at a blur of, pixels", "{:.1f}", ""),
}
DAMAGED = 0.5  # an agreement, of util.scores.metrics.agreements, below which hands are damaged


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; columns of numbers are flush right. A pipe in a cell is escaped."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    numeric = [all(not cell or cell[0] in "-+.0123456789" for cell in column) for column in zip(*rows)]
    return "\n".join([line(header), line(["---:" if each else "---" for each in numeric]), *map(line, rows)])


def html_page(title: str, text: str, below: str = "") -> str:
    """A whole page, which needs no other file but its pictures, from Markdown with tables. below: HTML that follows it."""
    body = markdown.markdown(text, extensions=["tables", "fenced_code", "sane_lists"])
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}\n{below}\n</body>\n</html>\n"
    )


def gallery(rows: Sequence[tuple[str, Mapping[str, str]]]) -> str:
    """HTML of many pictures, which a browser loads when they come near: for each row its caption and {label: a picture's
    URL}."""
    lines = []
    for caption, pictures in rows:
        images = (
            f'<a href="{url}"><img src="{url}" alt="{label}" title="{label}" loading="lazy"></a>'
            for label, url in ((html.escape(label), url) for label, url in pictures.items())
        )
        lines.append(f"<figure>{''.join(images)}<figcaption>{html.escape(caption)}</figcaption></figure>")
    return "\n".join(lines)


def metric_name(metrics: Mapping) -> str | None:
    """ "fid" or "fd", by which of them was measured; None without scores."""
    return next((name for name in ("fid", "fd") if name in metrics), None)


def verdict(metrics: Mapping) -> str:
    """One sentence on a metrics.json with distances: whether translations are better than the untranslated sources.

    The 95 % interval of the whole images' distance decides, unless the hands are damaged: unless one of metrics.agreements is
    below DAMAGED, and below the sources' own.
    """
    name = metric_name(metrics)
    base, (low, high), patch = metrics["baseline"], metrics[f"{name}_ci"], f"{name}_patch"
    own = agreements(base)
    damage = [key for key, value in agreements(metrics).items() if value < min(DAMAGED, own[key])]
    better, worse, interval = high < base[name], low > base[name], f" (95 % interval {low:.1f} to {high:.1f})"
    if better:
        said = f"better than untranslated{' by distance alone' * bool(damage)}"
    else:
        said = f"{'' if worse or damage else 'not clearly better or '}worse than untranslated"
    figures = f"{name.upper()} {metrics[name]:.1f} against {base[name]:.1f}{'' if better or worse else interval}"
    said += f": {figures}; inside the hand {metrics[patch]:.1f} against {base[patch]:.1f}"
    if better and metrics[patch] > base[patch]:
        said += ": there it is worse, look at the images"
    if metrics.get("closed") is not None:
        inside = "" if metrics["closed_patch"] is None else f" (inside the hand {100 * metrics['closed_patch']:.0f} %)"
        said += f"; closes {100 * metrics['closed']:.0f} % of the distance{inside}"
    if "tracker" in metrics:
        key, what = ("joints_10", "joints") if "joints_10" in metrics["tracker"] else ("found", "hands")
        ours, theirs = (f"{side['tracker'][key]:.2f}".removeprefix("0") for side in (metrics, base))
        sources = "renders" if metrics["direction"] == "StoR" else "photographs"
        said += f"; the tracker finds {ours} of the {what}, {theirs} in the {sources}"
    if damage:
        rows = scores_table({"": metrics})
        told = [f"{label} {ours}" for label, _, ours, *_ in rows if ours and label.split()[0] in damage]
        said += f"; the hands are damaged: {', '.join(told)}"
    return said + "; train longer" * (worse and not damage)


def scores_table(runs: Mapping[str, Mapping]) -> list[list[str]]:
    """All that was measured of runs, {name: metrics.json}, on the same sources: the header, then a row a score. Columns: the
    untranslated sources, the runs, the first one's baselines, photographs, and what is better; "" where nothing was measured."""
    first = next(iter(runs.values()))
    untranslated = {key: value for run in reversed(runs.values()) for key, value in run["baseline"].items()}
    name = metric_name(first)
    real = {name: first["floor"], f"{name}_patch": first["floor_patch"], "closed": 1.0, "closed_patch": 1.0}
    real |= first.get("real", {})
    columns = {"untranslated": untranslated, **runs, **first.get("baselines", {}), "real": real}
    rows = [["", *columns, "better"]]

    def add(label: str, form: str, better: str, key: str, part: str | None = None) -> None:
        values = [side.get(key) for side in columns.values()]
        values = values if part is None else [value and value.get(part) for value in values]
        if any(value is not None for value in values[1:-1]):
            rows.append([label, *("" if value is None else form.format(value) for value in values), better])

    for title, suffix in ((name.upper(), ""), (f"{name.upper()} inside the hand", "_patch")):
        add(title, "{:.2f}", "lower", f"{name}{suffix}")
        add("  of it closed", "{:.2f}", "higher", f"closed{suffix}")
        add("  95 % interval", "{0[0]:.1f} to {0[1]:.1f}", "", f"{name}{suffix}_ci")
    add("KID", "{:.4f}", "lower", "kid_mean")
    for part, (label, form, better) in TRACKED.items():
        add(label, form, better, "tracker", part)
    for metric in METRICS:
        entry = next(filter(None, (side.get(metric.key) for side in columns.values())), None)
        for part in entry if isinstance(entry, dict) else (None,):
            add(metric.label.format(part), metric.form, metric.better, metric.key, part)
    return rows


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """A table in plain text, one line a row, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def comparison_table(runs: Mapping[str, Mapping]) -> str:
    """{run: its metrics.json} in Markdown: Table I with the published figures beside, and all scores."""
    first = next(iter(runs.values()))
    name = metric_name(first)
    title = name.upper()

    def distances(scores: Mapping) -> list[str]:
        low, high = scores[f"{name}_ci"]
        kid = f"{scores['kid_mean']:.4f} ± {scores['kid_std']:.4f}"
        return [f"{scores[name]:.2f} ({low:.1f} to {high:.1f})", kid]

    header = ["run", "model", "generator", "discriminator", "steps", f"{title} (95 % interval)", "KID"]
    header += ["published FID", "published KID"]
    lines = [["untranslated", "", "", "", "", *distances(first["baseline"]), "", ""]]
    for run, scores in runs.items():
        entry, published = MODELS.get(scores["model"]), ["", ""]
        if entry and (entry.netG, entry.netD) == (scores["netG"], scores["netD"]):
            published = [f"{entry.fid:.3f}", f"{entry.kid[0]:.4f} ± {entry.kid[1]:.4f}"]
        made = [run, scores["model"], scores["netG"], scores["netD"], str(scores["step"])]
        lines.append([*made, *distances(scores), *published])
    meaning = "Inception features" if name == "fid" else f"{first['feature_net']} features, which is not FID"
    all_scores = scores_table(runs)
    text = [
        table(header, lines),
        f"{title}: Fréchet distance of {meaning}. {first['n_generated']} generated against {first['n_real']} real images; real "
        f"against real (halves of {first['floor_n']}) scores {first['floor']:.1f}, inside the hand {first['floor_patch']:.1f}.",
        "Published: Table I of the paper, FID and KID by Inception on 2000 images a side of SynthHands and RealHands; "
        "comparable with no figure that was measured on other data, with other features or on fewer images.",
        table(all_scores[0], all_scores[1:]),
    ]
    return "\n\n".join(text) + "\n"
