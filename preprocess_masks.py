"""Refine RealHands' masks, or any folder's: python preprocess_masks.py --dataroot DIR (see --help)."""

import re
from collections import Counter

from data.listing import REFINED_FOLDER
from data.masks import KEPT
from data.realhands import PREVIEW_NAME, REPORT_NAME, refine_tree, write_preview
from options.preprocess_masks_options import parse_preprocess_masks, refine_options
from util.errors import run_command


def main() -> int:
    """Exit status 0, or 1 if not one frame was kept."""
    opt = parse_preprocess_masks()
    rows, n_done = refine_tree(
        opt.real_root, opt.frames, refine_options(opt), num_workers=opt.num_workers, overwrite=opt.overwrite
    )
    write_preview(opt.real_root, opt.frames, rows)
    dropped = Counter(re.sub(r"\d+", "N", row.verdict) for row in rows.values() if row.verdict != KEPT)  # N: any number
    kept = len(rows) - dropped.total()
    before = f" ({n_done} of them done before)" if n_done else ""
    print(f"{len(rows)} frames: {kept} kept, {dropped.total()} dropped{before}")
    for reason, count in dropped.most_common():
        print(f"  {count} dropped: {reason}")
    where = opt.real_root if opt.images else f"{opt.real_root}: <user>/{REFINED_FOLDER}"
    print(f"{where}/, {REPORT_NAME}" + (f", {PREVIEW_NAME}" if kept else ""))
    return 0 if kept else 1


if __name__ == "__main__":
    run_command(main)
