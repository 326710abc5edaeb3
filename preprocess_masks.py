"""Refine RealHands' masks: python preprocess_masks.py --dataroot DIR (see --help)."""

import re
from collections import Counter

from data.masks import KEPT, Verdict
from data.realhands import PREVIEW_NAME, REFINED_FOLDER, REPORT_NAME, refine_tree, write_preview
from options.preprocess_masks_options import parse_preprocess_masks, refine_options
from util.errors import run_command


def main() -> int:
    """Exit status 0, or 1 if not one frame was kept."""
    opt = parse_preprocess_masks()
    rows, n_done = refine_tree(
        opt.real_root, opt.frames, refine_options(opt), num_workers=opt.num_workers, overwrite=opt.overwrite
    )
    preview = write_preview(opt.real_root, opt.frames, rows)
    print(summary(rows, n_done))
    print(f"masks: {opt.real_root}/<user>/{REFINED_FOLDER}/   report: {opt.real_root / REPORT_NAME}")
    if preview:
        print(f"preview: {opt.real_root / PREVIEW_NAME}")
    return 0 if any(row.verdict == KEPT for row in rows.values()) else 1


def summary(rows: dict[str, Verdict], n_done: int) -> str:
    """Lines that say how many frames were kept, by what means, and why the others were dropped, with three examples each."""
    kept = [row for row in rows.values() if row.verdict == KEPT]
    dropped = {file: row for file, row in rows.items() if row.verdict != KEPT}
    lines = [f"{len(rows)} frames: {len(kept)} kept, {len(dropped)} dropped"]
    if n_done:
        lines[0] += f" ({n_done} of them done before)"
    rescued = sum(row.source.startswith("chroma key") for row in kept)
    if rescued:
        lines.append(f"  {rescued} of the kept by chroma key, their masks being missing or of no use")
    for reason, count in Counter(_kind(row.verdict) for row in dropped.values()).most_common():
        files = [file for file, row in dropped.items() if _kind(row.verdict) == reason]
        more = ", ..." if count > 3 else ""
        lines.append(f"  {count} dropped: {reason} ({', '.join(ascii(file)[1:-1] for file in files[:3])}{more})")
    if not kept:
        lines.append("nothing was kept: see the report for each frame's reason, and --min_area, --max_area, --key_low")
    return "\n".join(lines)


def _kind(verdict: str) -> str:
    """The verdict with N for each number, so that verdicts of one kind can be counted together."""
    return re.sub(r"\d+", "N", verdict)


if __name__ == "__main__":
    run_command(main)
