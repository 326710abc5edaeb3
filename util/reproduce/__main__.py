"""Reproduce the paper: python -m util.reproduce --dataroot DIR"""

import argparse
import functools
import logging

from util.errors import UsageError, parse_or_exit, run_command
from util.reproduce.flags import parse_reproduce

if __name__ == "__main__":
    OPT = parse_or_exit(parse_reproduce)  # before PyTorch is imported, which takes seconds

import torch

from util.locks import locked
from util.reproduce.page import write_page
from util.reproduce.plan import plan_text, stage_seconds
from util.reproduce.records import data_fingerprint
from util.reproduce.runner import Runner, slots
from util.reproduce.stages import choose, create_stages, masks_wanted, real_root
from util.training.logger import setup_logging

log = logging.getLogger("reproduce")


def main(opt: argparse.Namespace | None = None) -> int:
    opt = opt or parse_reproduce()
    setup_logging()
    opt.folder.mkdir(parents=True, exist_ok=True)
    with locked(opt.folder / ".lock", what=f"the reproduction in {opt.folder}", remedy="choose another --results_dir"):
        return reproduce(opt)


def reproduce(opt: argparse.Namespace) -> int:
    """Print the plan, run the stages and write the page. Returns the exit status: 1 where a stage has failed."""
    stages = create_stages(opt)
    chosen = choose(stages, opt.only)
    places = slots(gpus=opt.gpus, jobs=opt.jobs)
    if opt.jobs and opt.jobs > 1:
        torch.set_num_threads(1)  # as the commands will have: for the plan's timings
    roots = (opt.dataroot, opt.synth_root, opt.real_root)
    runner = Runner(
        folder=opt.folder,
        slots=places,
        data=functools.cache(lambda: data_fingerprint(roots)),
        all_stages=stages,
    )
    if real_root(opt) and not masks_wanted(opt):
        log.warning("%s cannot be written, so that its masks are not refined but taken as they are", real_root(opt))
    estimate = functools.partial(stage_seconds, runner)
    if opt.dry_run:
        print(plan_text(runner, chosen, parallel=len(places), estimate=estimate))
        return 0
    log.info("%s", plan_text(runner, chosen, parallel=len(places), estimate=estimate))
    faults = runner.run(chosen)
    try:
        log.info("look at %s", write_page(opt, stages))
    except UsageError as error:
        log.error("the page could not be written: %s", error)
        return 1
    for name, fault in faults.items():
        log.error("%s %s", name, fault)
    return 1 if faults else 0


if __name__ == "__main__":
    run_command(lambda: main(OPT))
