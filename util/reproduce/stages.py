"""The stages that produce the paper's tables and figures: their commands, inputs and outputs."""

import os
from argparse import Namespace
from dataclasses import dataclass
from functools import partial
from pathlib import Path

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


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One command."""

    name: str  # begins with a key of GROUPS
    command: tuple[str, ...]  # script and flags
    after: tuple[str, ...] = ()  # names of the stages whose outputs it reads
    output: Path  # a file that is there once it has ended well
    run: Path | None = None  # the folder that --continue_train goes on with

    @property
    def group(self) -> str:
        return self.name.partition("_")[0]


def create_stages(opt: Namespace) -> list[Stage]:
    """All stages for these options, each after those that it reads."""
    stages = [_train(opt, model) for model in (SILNET, *opt.models)] + [_translate(opt, model) for model in opt.models]
    if masks_wanted(opt):
        root = real_root(opt)
        command = ("preprocess_masks.py", "--real_root", str(root))
        stages.insert(0, Stage(name="masks", command=command, output=root / "masks_report.csv"))
    return stages + (_studies(opt, opt.figure_model) if opt.figure_model in opt.models else [])


def real_root(opt: Namespace) -> Path | None:
    """RealHands, where the data is in the hands layout."""
    root = opt.real_root or (opt.dataroot and opt.dataroot / "RealHands")
    return root if root and root.is_dir() else None


def masks_wanted(opt: Namespace) -> bool:
    """Whether there are RealHands whose masks can be refined: in a folder that may be written."""
    root = real_root(opt)
    return root is not None and any(root.iterdir()) and os.access(root, os.W_OK)


def _flags(opt: Namespace, *names: str) -> list[str]:
    """These of the command's own flags, passed on if they were given."""
    given = ((name, getattr(opt, name)) for name in names)
    return [word for name, value in given if value is not None for word in (f"--{name}", str(value))]


def _train(opt: Namespace, model: str) -> Stage:
    """Trainings have the data, its split, the seed and the length in common."""
    data = ("dataroot", "synth_root", "real_root", "split_by", "val_size", "test_size")
    run = opt.checkpoints_dir / model
    flags = ["--model", model, "--name", model, "--checkpoints_dir", str(opt.checkpoints_dir)]
    flags += _flags(opt, *data, "max_steps", "n_epochs", "seed", "device", "num_workers")
    name, after, more = f"train_{model}", ("masks",), opt.train_flags
    if model == SILNET:
        name, more = SILNET, opt.silnet_flags
    elif model == "geocongan":
        after += (SILNET,)
        flags += ["--silnet", str(opt.checkpoints_dir / SILNET)]
    return Stage(name=name, command=("train.py", *flags, *more), after=after, output=run / "latest.pt", run=run)


def _use(opt: Namespace, model: str) -> list[str]:
    """Flags of every command that uses a trained model."""
    where = ["--checkpoints_dir", str(opt.checkpoints_dir), "--results_dir", str(opt.folder)]
    return ["--name", model, *where, *_flags(opt, "device", "num_workers")]


def _test(opt: Namespace, model: str, name: str, written: str, *flags: str, after: tuple[str, ...] = ()) -> Stage:
    """A test.py of a model. written: the folder that it writes."""
    command, output = ("test.py", *_use(opt, model), *flags), opt.folder / model / written / "metrics.json"
    return Stage(name=name, command=command, after=(f"train_{model}", *after), output=output)


def _translate(opt: Namespace, model: str) -> Stage:
    flags = ["--num_test", str(opt.num_test), "--silnet", str(opt.checkpoints_dir / SILNET), *opt.test_flags]
    return _test(opt, model, f"translate_{model}", "test", *flags, after=(SILNET,))


def _studies(opt: Namespace, model: str) -> list[Stage]:
    """What is done with one model: the way back, the classifications and the downstream study."""

    def classify(experiment: str) -> Stage:
        name, run = f"classify_{experiment}", opt.folder / "classify" / experiment
        flags = ["--experiment", experiment, *_use(opt, model), *_flags(opt, "seed"), *opt.classify_flags]
        where = {"after": ("classify_hands",), "output": run / "metrics.json", "run": run}
        return Stage(name=name, command=("classify.py", *flags), **where)

    test = partial(_test, opt, model)
    few, all_images = (["--no-metrics", "--num_test", str(number)] for number in (opt.num_test, opt.classify_images))
    study = ["--downstream", "segmentation", *opt.downstream_flags]
    return [
        test("back", "test_RtoS", "--direction", "RtoS", *few),
        test("classify_hands", "all", "--phase", "all", *all_images),
        *map(classify, ("table2", "table3")),
        test("downstream", "downstream/segmentation", *study),
    ]


def choose(stages: list[Stage], only: list[str]) -> list[Stage]:
    """The stages that --only names, by name or group; all of them where it names none."""
    return [stage for stage in stages if not only or stage.name in only or stage.group in only]
