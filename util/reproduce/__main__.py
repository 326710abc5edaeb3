"""Reproduce the paper: python -m util.reproduce --dataroot DIR"""

import argparse
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from models import MODELS
from options.parsing import Parser, existing_dir, integer
from util.errors import UsageError, parse_or_exit, run_command
from util.reproduce.stages import GROUPS, choose, create_stages, known_names, masks_wanted, real_root

log = logging.getLogger("reproduce")


def reproduce_parser() -> Parser:
    """The parser of util.reproduce."""
    parser = Parser(
        prog="python -m util.reproduce",
        description="Train, translate, compare and classify everything that the paper reports, and write one page: "
        "RESULTS_DIR/paper/index.html and paper.md. Stages that are done are skipped.",
    )
    data = parser.add_argument_group("data")
    data.add_argument("--dataroot", type=existing_dir, metavar="DIR", help="as train.py's (default: the demo)")
    data.add_argument("--synth_root", type=existing_dir, metavar="DIR", help="as train.py's")
    data.add_argument("--real_root", type=existing_dir, metavar="DIR", help="as train.py's")
    data.add_argument("--split_by", choices=("frame", "sequence"), help="as train.py's, for all trainings")
    data.add_argument("--val_size", type=integer(0), metavar="N", help="as train.py's, for all trainings")
    data.add_argument("--test_size", type=integer(0), metavar="N", help="as train.py's, for all trainings")
    data.add_argument("--seed", type=integer(0, 2**31 - 1), default=0, metavar="N", help="seed of all trainings")

    what = parser.add_argument_group("what to do")
    groups = "; ".join(f"{name}: {text}" for name, text in GROUPS.items())
    what.add_argument(
        "--only", nargs="+", default=[], metavar="STAGE", help=f"only these stages, by name or group ({groups})"
    )
    what.add_argument(
        "--models", nargs="+", choices=tuple(MODELS), default=list(MODELS), metavar="MODEL", help="models of Table I"
    )
    what.add_argument(
        "--figure_model", choices=tuple(MODELS), default="mshgan4", help="model of the figures and studies"
    )
    what.add_argument("--dry_run", action="store_true", help="print the plan, and do nothing else")

    budget = parser.add_argument_group("budget, the same for every training")
    budget.add_argument("--max_steps", type=integer(0), default=0, metavar="N", help="steps; 0: by epochs")
    budget.add_argument("--n_epochs", type=integer(1), metavar="N", help="epochs (default: train.py's)")
    budget.add_argument("--num_test", type=integer(1), default=2000, metavar="N", help="most test images a domain")
    budget.add_argument(
        "--classify_images",
        type=integer(1),
        default=10**6,
        metavar="N",
        help="most images a domain that are translated for the classifications",
    )

    more = parser.add_argument_group('flags for single commands, in one word with "=": --train_flags="--ngf 32"')
    for name, of in (
        ("train", "train.py of the five models"),
        ("silnet", "train.py of SilNet"),
        ("test", "test.py of the test split"),
        ("classify", "classify.py"),
        ("downstream", "test.py --downstream segmentation"),
    ):
        more.add_argument(f"--{name}_flags", type=shlex.split, default=[], metavar="FLAGS", help=f"for {of}")

    machine = parser.add_argument_group("machine and files")
    machine.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: CUDA if available")
    machine.add_argument("--num_workers", type=integer(0, 256), metavar="N", help="as train.py's")
    machine.add_argument("--gpus", type=integer(1, 64), metavar="N", help="run N commands in parallel, each on a GPU")
    machine.add_argument(
        "--jobs", type=integer(1, 256), metavar="N", help="run N commands in parallel, each on a CPU thread"
    )
    machine.add_argument(
        "--checkpoints_dir", type=Path, default=Path("checkpoints") / "paper", metavar="DIR", help="folder of the runs"
    )
    machine.add_argument(
        "--results_dir", type=Path, default=Path("results"), metavar="DIR", help="results go to RESULTS_DIR/paper"
    )
    return parser


def parse_reproduce(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse argv (None: the command line); `.folder` is RESULTS_DIR/paper. Raises UsageError."""
    opt = reproduce_parser().parse_args(argv)
    opt.folder = opt.results_dir / "paper"
    unknown = [name for name in opt.only if name not in known_names()]
    if unknown:
        raise UsageError(f"--only {' '.join(unknown)}: no such stage; known are {', '.join(known_names())}")
    if opt.gpus and opt.jobs:
        raise UsageError("--gpus runs a command a GPU, --jobs a command a thread on the CPU: give one of them")
    if opt.gpus and opt.device == "cpu":
        raise UsageError("--gpus with --device cpu: drop one of them, or give --jobs")
    if opt.jobs and opt.device == "auto":
        opt.device = "cpu"
    return opt


def main(opt: argparse.Namespace | None = None) -> int:
    """Print the plan, run the stages and write the page. Returns the exit status: 1 where a stage has failed."""
    opt = opt or parse_reproduce()
    from util.reproduce.page import write_page  # it imports PyTorch, which takes seconds
    from util.reproduce.runner import Runner, places_for, plan_text
    from util.training.logger import setup_logging

    setup_logging()
    stages = create_stages(opt)
    chosen = choose(stages, opt.only)
    runner = Runner(opt.folder, places_for(gpus=opt.gpus, jobs=opt.jobs), stages)
    if real_root(opt) and not masks_wanted(opt):
        log.warning("%s cannot be written: its masks are taken as they are, not refined", real_root(opt))
    if opt.dry_run:
        print(plan_text(runner, chosen))
        return 0
    log.info("%s", plan_text(runner, chosen))
    faults = runner.run(chosen)
    log.info("look at %s", write_page(opt, stages))
    for name, fault in faults.items():
        log.error("%s %s", name, fault)
    return 1 if faults else 0


if __name__ == "__main__":
    OPT = parse_or_exit(parse_reproduce)
    run_command(lambda: main(OPT))
