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
    """Lines that say how many frames were kept, and why the others were dropped; verdicts that differ in numbers are one."""
    dropped = Counter(re.sub(r"\d+", "N", row.verdict) for row in rows.values() if row.verdict != KEPT)
    before = f" ({n_done} of them done before)" if n_done else ""
    lines = [f"{len(rows)} frames: {len(rows) - dropped.total()} kept, {dropped.total()} dropped{before}"]
    return "\n".join(lines + [f"  {count} dropped: {reason}" for reason, count in dropped.most_common()])


if __name__ == "__main__":
    run_command(main)
