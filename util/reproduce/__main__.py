"""Reproduce the paper: python -m util.reproduce --dataroot DIR"""

import argparse
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from models import MODELS
from options.parsing import Parser, existing_path, integer, refuse
from util.errors import run_command
from util.files import read_json, user_path
from util.reproduce.stages import GROUPS, PER_CLASS, choose, create_stages, images_a_class, plan, run_stages

log = logging.getLogger("reproduce")


def parse_reproduce(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse argv (None: the command line); `.folder` is RESULTS_DIR/paper. Raises UsageError."""
    parser = Parser(
        prog="python -m util.reproduce",
        description="Train, translate, compare and classify everything that the paper reports, and write one page: "
        "RESULTS_DIR/paper/index.html and paper.md. Stages that are done are skipped.",
    )
    add = parser.group("data, for all trainings")
    add("dataroot", existing_path, None, "as train.py's (default: the demo)", metavar="DIR")
    add("split_by", ("frame", "sequence"), None, "as train.py's")
    add("val_size", integer(0), None, "as train.py's")
    add("test_size", integer(0), None, "as train.py's")
    add("seed", integer(0, 2**31 - 1), 0, "seed of all trainings")

    add = parser.group("what to do")
    groups = "; ".join(f"{name}: {text}" for name, text in GROUPS.items())
    add("only", None, [], f"only these stages, by name or group ({groups})", nargs="+", metavar="STAGE")
    text = "models of Table I; the first is that of figures and the downstream study, mshgan6 is classified, as in the paper"
    add("models", tuple(MODELS), list(MODELS), text, nargs="+", metavar="MODEL")
    text = "summary.json of other seeds, from their RESULTS_DIR/paper, which the page shows beside this one"
    add("other_seeds", existing_path, [], text, nargs="+", metavar="FILE")
    add("dry_run", bool, False, "print the plan, and do nothing else")

    add = parser.group("budget, the same for every training")
    add("max_steps", integer(0), None, "steps (default: by epochs)")
    add("n_epochs", integer(1), None, "epochs (default: train.py's)")
    add("num_test", integer(1), 2000, "most test images a domain")
    most = "most images a class, and a domain of a split that is translated, for the classifications"
    add("classify_images", integer(1), max(PER_CLASS.values()), most)

    title = 'flags for single commands, in one word with "=": --train_flags="--ngf 32"'
    add = parser.group(title, metavar="FLAGS")
    add("train_flags", shlex.split, [], "for train.py of the five models")
    add("silnet_flags", shlex.split, [], "for train.py of SilNet")
    add("test_flags", shlex.split, [], "for test.py of the test split")
    add("classify_flags", shlex.split, [], "for classify.py")
    add("downstream_flags", shlex.split, [], "for test.py --downstream segmentation")

    add = parser.group("machine and files")
    add("device", ("auto", "cpu", "cuda"), "auto", "auto: CUDA if available")
    add("num_workers", integer(0, 256), None, "as train.py's")
    add("checkpoints_dir", user_path, Path("checkpoints") / "paper", "folder of the runs")
    add("results_dir", user_path, Path("results"), "results go to RESULTS_DIR/paper")
    opt = parser.parse_args(argv)
    opt.folder = opt.results_dir / "paper"
    known = [*GROUPS, *(stage.name for stage in create_stages(opt))]
    unknown = " ".join(name for name in opt.only if name not in known)
    refuse(unknown, f"--only {unknown}: no such stage; known are {', '.join(dict.fromkeys(known))}")
    opt.other_seeds = [read_json(path) for path in opt.other_seeds]
    seeds = [opt.seed, *(each["seed"] for each in opt.other_seeds)]
    refuse(len(set(seeds)) < len(seeds), f"--other_seeds: two files, or one and --seed, are of one seed: {seeds}")
    return opt


def main(opt: argparse.Namespace | None = None) -> int:
    """Print the plan, run the stages and write the page. Returns the exit status: 1 where a stage has failed."""
    opt = opt or parse_reproduce()
    from util.reproduce.page import write_page  # it imports PyTorch, which takes seconds
    from util.training.logger import setup_logging

    setup_logging()
    stages = create_stages(opt)
    chosen = choose(stages, opt.only)
    if opt.dry_run:
        print(plan(opt.folder, chosen), images_a_class(opt, stages), sep="\n")
        return 0
    log.info("%s", plan(opt.folder, chosen))
    faults = run_stages(opt.folder, stages, chosen)
    log.info("look at %s", write_page(opt, stages))
    return 1 if faults else 0


if __name__ == "__main__":
    run_command(main)
