"""The scores of a test in words and in a small table."""

from typing import NamedTuple


class ScoreRow(NamedTuple):
    """One line of the table of scores; "" where a figure does not apply. better: "higher", "lower", "near 1" or ""."""

    label: str
    translated: str
    untranslated: str
    real: str
    better: str


def verdict(metrics: dict) -> str:
    """One sentence: whether the translations are better than the untranslated sources, with the figures.

    metrics: what metrics.json holds. The distance of whole images decides, with its 95 % interval; the distance inside
    the hand stands beside it. "" without distances.
    """
    name = metric_name(metrics)
    if name is None:
        return ""
    base, title = metrics["baseline"], name.upper()
    low, high = metrics[f"{name}_ci"]
    patch = f"{name}_patch"
    figures = f"{title} {metrics[name]:.1f} against {base[name]:.1f}"
    inside = f"{patches(metrics)} {metrics[patch]:.1f} against {base[patch]:.1f}"
    if high < base[name]:
        text = f"better than untranslated: {figures}; {inside}"
        if metrics[patch] > base[patch]:
            text += ": there it is worse, look at the images"
    elif low > base[name]:
        text = f"worse than untranslated: {figures}; {inside}: train longer"
    else:
        text = f"not clearly better or worse than untranslated: {figures} (95 % interval {low:.1f} to {high:.1f}); {inside}"
    return text


def patches(metrics: dict) -> str:
    """Where the 128 crops lie, in words; images without masks have no inside of a hand."""
    return "on 128 crops" if "not_measured" in metrics else "inside the hand"


def metric_name(metrics: dict) -> str | None:
    """ "fid" or "fd", by which of them was measured; None without scores."""
    return next((name for name in ("fid", "fd") if name in metrics), None)


def score_rows(metrics: dict) -> list[ScoreRow]:
    """The table of scores of one run's metrics.json."""
    name, base, rows = metric_name(metrics), metrics.get("baseline", {}), []

    def add(label: str, key: str, form: str, *, real: str = "", better: str = "") -> None:
        if metrics.get(key) is not None:
            rows.append(ScoreRow(label, _figure(metrics[key], form), _figure(base.get(key), form), real, better))

    if name:
        title = name.upper()
        low, high = metrics[f"{name}_ci"]
        add(title, name, "{:.2f}", real=f"{metrics['floor']:.2f}", better="lower")
        rows.append(ScoreRow("  95 % interval", f"{low:.1f} to {high:.1f}", _interval(base, name), "", ""))
        inside = f"{title} {patches(metrics)}"
        add(inside, f"{name}_patch", "{:.2f}", real=f"{metrics['floor_patch']:.2f}", better="lower")
        add("KID", "kid_mean", "{:.4f}", better="lower")
    add("shape IoU, unmasked", "shape_iou", "{:.3f}", better="higher")
    add("boundary F, unmasked", "boundary_f", "{:.3f}", better="higher")
    add("structure kept", "structure", "{:.3f}", better="higher")
    add("  by chance alone", "structure_chance", "{:.3f}")
    add("new edges", "new_edges", "{:.3f}")
    for key, label in (("texture", "texture"), ("tone", "tone spread")):
        for part, value in (metrics.get(key) or {}).items():
            other = (base.get(key) or {}).get(part)
            unit = " px" if key == "texture" else ""
            rows.append(
                ScoreRow(f"{label} {part}{unit}", _figure(value, "{:.2f}"), _figure(other, "{:.2f}"), "1.00", "near 1")
            )
    add("fringe", "fringe", "{:.2f}", real="1.00", better="near 1")
    add("PSNR to the true pair, dB", "psnr", "{:.2f}", better="higher")
    add("SSIM to the true pair", "ssim", "{:.3f}", better="higher")
    return rows


def as_text(rows: list[ScoreRow]) -> str:
    """The table in plain text, one line a score."""
    lines = [ScoreRow("", "translated", "untranslated", "real", "better"), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(ScoreRow._fields))]
    columns = ("{:<%d}", "{:>%d}", "{:>%d}", "{:>%d}", "{:<%d}")
    form = "  " + "  ".join(column % width for column, width in zip(columns, widths))
    return "\n".join(form.format(*line).rstrip() for line in lines)


def _figure(value: float | None, form: str) -> str:
    return form.format(value) if isinstance(value, (int, float)) else ""


def _interval(base: dict, name: str) -> str:
    return "{:.1f} to {:.1f}".format(*base[f"{name}_ci"]) if f"{name}_ci" in base else ""
