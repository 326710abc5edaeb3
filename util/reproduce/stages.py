"""The stages that produce the paper's tables and figures. Running them skips what is done, and takes up what was interrupted.

A finished stage leaves a record, RESULTS_DIR/paper/stages/<name>.json: its command, and when it ended.
"""

import logging
import os
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data.frames import DOMAINS, find_frames
from data.splits import make_split
from options.classify_options import parse_classify
from util import workers
from util.errors import RunError
from util.files import LOCK_FILE, locked, read_json, write_json
from util.run import OPTIONS_FILE

log = logging.getLogger(__name__)

GROUPS = {
    "masks": "refine the masks of RealHands",
    "silnet": "train SilNet",
    "train": "train the five models of Table I",
    "translate": "translate the test split with each model, and score it (Table I, Figs. 1, 3 and 5)",
    "back": "translate real hands to the synthetic domain (Fig. 4)",
    "classify": "Tables II and III, Figs. 6 and 7",
    "downstream": "what translated hands are worth as training data",
    "tables": "write the page from whatever is there",
}
SILNET = "silnet"
PER_CLASS = {"train": 10500, "test": 3500}  # images that the paper classifies (section IV.D)


class Stage(NamedTuple):
    """One command."""

    name: str  # begins with a key of GROUPS
    command: tuple[str, ...]  # script and flags
    output: Path  # a file that is there once it has ended well
    after: tuple[str, ...] = ()  # names of the stages whose outputs it reads


def create_stages(opt: Namespace) -> list[Stage]:
    """All stages for these options, each after those that it reads."""
    stages, root, first = [], real_root(opt), opt.models[0]
    classified = "mshgan6" if "mshgan6" in opt.models else first  # as in the paper (Fig. 6)
    if root and any(root.iterdir()) and os.access(root, os.W_OK):  # else its masks are taken as they are
        paper = ("--paper",) * ("--paper" in opt.train_flags)
        command = ("preprocess_masks.py", "--real_root", str(root), *paper)
        stages.append(Stage("masks", command, root / "masks_report.csv"))
    stages += [_train(opt, model) for model in (SILNET, *opt.models)]
    few, many = (["--num_test", str(number)] for number in (opt.num_test, opt.classify_images))
    scored = [*few, "--silnet", str(opt.checkpoints_dir / SILNET), *opt.test_flags]
    stages += [_test(opt, m, f"translate_{m}", "test", *scored, after=(SILNET,)) for m in opt.models]
    # What is done with one model alone: the way back, the classifications and the downstream study.
    stages.append(_test(opt, first, "back", "test_RtoS", "--direction", "RtoS", "--no-metrics", *few))
    stages.append(_test(opt, classified, "classify_hands", "all", "--phase", "all", "--no-metrics", *many))
    for experiment in ("table2", "table3"):
        flags = ["--experiment", experiment, *_use(opt, classified), *_flags(opt, "seed")]
        for part, number in PER_CLASS.items():
            flags += [f"--{part}_per_class", str(min(number, opt.classify_images))]
        command = ("classify.py", *flags, *opt.classify_flags)
        output = opt.folder / "classify" / experiment / "metrics.json"
        stages.append(Stage(f"classify_{experiment}", command, output, after=("classify_hands",)))
    study = ["--downstream", "segmentation", *opt.downstream_flags]
    return [*stages, _test(opt, first, "downstream", "downstream/segmentation", *study)]


def real_root(opt: Namespace) -> Path | None:
    """RealHands, where the data is in the hands layout."""
    root = opt.dataroot and opt.dataroot / "RealHands"
    return root if root and root.is_dir() else None


def images_a_class(opt: Namespace, stages: Sequence[Stage]) -> str:
    """How many images a class the classifications get, by the data's file names; "" without them."""
    if not opt.dataroot:
        return ""
    frames = find_frames(dataroot=opt.dataroot)
    sizes = {"val_size": opt.val_size, "test_size": opt.test_size}
    split = make_split(frames, split_by=opt.split_by or "frame", seed=opt.seed, **sizes)
    (stage,) = (stage for stage in stages if stage.name == "classify_table3")
    wanted = parse_classify(stage.command[1:])
    train, test = (
        min(getattr(wanted, f"{part}_per_class"), *(len(split[domain][part]) for domain in DOMAINS))
        for part in PER_CLASS
    )
    found = " and ".join(f"{len(part):,} {domain}" for domain, part in frames.items())
    return f"Tables II and III: {train:,} training and {test:,} test images a class, from {found} images"


def _flags(opt: Namespace, *names: str) -> list[str]:
    """These of the command's own flags, passed on if they were given."""
    given = ((name, getattr(opt, name)) for name in names)
    return [word for name, value in given if value is not None for word in (f"--{name}", str(value))]


def _train(opt: Namespace, model: str) -> Stage:
    """Trainings have the data, its split, the seed and the length in common."""
    data = ("dataroot", "split_by", "val_size", "test_size")
    flags = ["--model", model, "--name", model, "--checkpoints_dir", str(opt.checkpoints_dir)]
    flags += _flags(opt, *data, "max_steps", "n_epochs", "seed", "device", "num_workers")
    name, after, more = f"train_{model}", ("masks",), opt.train_flags
    if model == SILNET:
        name, more = SILNET, opt.silnet_flags
    elif model == "geocongan":
        after += (SILNET,)
        flags += ["--silnet", str(opt.checkpoints_dir / SILNET)]
    return Stage(name, ("train.py", *flags, *more), opt.checkpoints_dir / model / "latest.pt", after)


def _use(opt: Namespace, model: str) -> list[str]:
    """Flags of every command that uses a trained model."""
    where = ["--checkpoints_dir", str(opt.checkpoints_dir), "--results_dir", str(opt.folder)]
    return ["--name", model, *where, *_flags(opt, "device", "num_workers")]


def _test(opt: Namespace, model: str, name: str, written: str, *flags: str, after: tuple[str, ...] = ()) -> Stage:
    """A test.py of a model. written: the folder that it writes."""
    command, output = ("test.py", *_use(opt, model), *flags), opt.folder / model / written / "metrics.json"
    return Stage(name, command, output, (f"train_{model}", *after))


def choose(stages: list[Stage], only: list[str]) -> list[Stage]:
    """The stages that --only names, by name or group; all of them where it names none."""
    return [stage for stage in stages if not only or stage.name in only or stage.name.partition("_")[0] in only]


def is_done(folder: Path, stage: Stage) -> bool:
    """Whether this command ended well, after every stage whose output it reads, and its output is still there."""
    record, *before = (read_json(folder / "stages" / f"{name}.json") or {} for name in (stage.name, *stage.after))
    return (
        record.get("command") == list(stage.command)
        and all(each.get("ended", 0) <= record["ended"] for each in before)
        and stage.output.exists()
    )


def plan(folder: Path, stages: Sequence[Stage]) -> str:
    """The stages with their states and commands."""
    states = ((stage, "done" if is_done(folder, stage) else "to do") for stage in stages)
    return "\n".join(f"{stage.name}: {state}\n    {workers.shell_line(stage.command)}" for stage, state in states)


def run_stages(folder: Path, stages: Sequence[Stage], chosen: Sequence[Stage]) -> dict[str, str]:
    """Run the chosen ones of all stages, one after another. Returns {stage: why it has not ended well}.

    A stage waits for those that it reads, but for the masks: they may stay as they are where --only leaves them out.
    """
    outputs, faults = {stage.name: stage.output for stage in stages if stage.name != "masks"}, {}
    for stage in chosen:
        missing = [each for each in stage.after if each in faults or (each in outputs and not outputs[each].exists())]
        try:
            if missing:
                raise RunError(f"needs {', '.join(missing)}, which is not done")
            run_stage(folder, stage)
        except RunError as error:
            faults[stage.name] = str(error)
            log.error("%s %s", stage.name, error)
    return faults


def run_stage(folder: Path, stage: Stage) -> None:
    """Run a stage that is not done, and leave its record. Raises RunError."""
    if is_done(folder, stage):
        log.info("%s: done before", stage.name)
        return
    command, begun = list(stage.command), (stage.output.parent / OPTIONS_FILE).exists()
    # A training's latest.pt is there from its first step on; a study's figures are written at its end.
    if begun and (command[0] == "train.py" or not stage.output.exists()):
        command.append("--continue_train")
        with locked(stage.output.parent / LOCK_FILE, wait=True):
            pass  # a child of a killed start takes a moment to save
    log.info("%s: %s", stage.name, workers.shell_line(command))
    workers.run_child(command, log=folder / "logs" / f"{stage.name}.log")
    if not stage.output.exists():
        raise RunError(f"it left no {stage.output}")
    write_json(folder / "stages" / f"{stage.name}.json", {"command": list(stage.command), "ended": time.time()})
