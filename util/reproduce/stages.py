"""The stages that produce the paper's tables and figures: their commands, inputs and outputs."""

import os
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from models import MODELS

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
    """One command.

    name: unique; group: a key of GROUPS. command: script and flags. after: names of the stages whose outputs it reads, if there are such.
    outputs: files that are there once it has ended well. run: the run's folder of a training, which --continue_train
    goes on with where it exists.
    exclusive: stages with the same word here write the same files and never run at once.
    """

    name: str
    group: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    outputs: tuple[Path, ...]
    run: Path | None = None
    exclusive: str = ""


def create_stages(opt: Namespace) -> list[Stage]:
    """All stages for these options, each after those that it reads."""
    trainings = [train_stage(opt, model) for model in (SILNET, *opt.models)]
    return [*masks_stage(opt), *trainings, *(translate_stage(opt, model) for model in opt.models), *study_stages(opt)]


def real_root(opt: Namespace) -> Path | None:
    """RealHands, where the data is in the hands layout."""
    root = opt.real_root or (opt.dataroot and opt.dataroot / "RealHands")
    return root if root and root.is_dir() else None


def masks_wanted(opt: Namespace) -> bool:
    """Whether there are RealHands whose masks can be refined: in a folder that may be written."""
    root = real_root(opt)
    return root is not None and any(root.iterdir()) and os.access(root, os.W_OK)


def masks_stage(opt: Namespace) -> list[Stage]:
    root = real_root(opt)
    if root is None or not masks_wanted(opt):
        return []
    command = ("preprocess_masks.py", "--real_root", str(root))
    return [Stage(name="masks", group="masks", command=command, outputs=(root / "masks_report.csv",))]


def shared_flags(opt: Namespace) -> list[str]:
    """What all trainings must have in common: the data, its split, the seed and the budget."""
    words = []
    for flag in ("dataroot", "synth_root", "real_root", "split_by", "val_size", "test_size", "seed"):
        value = getattr(opt, flag)
        if value is not None:
            words += [f"--{flag}", str(value)]
    for flag in ("max_steps", "n_epochs"):
        if getattr(opt, flag):
            words += [f"--{flag}", str(getattr(opt, flag))]
    return [*words, "--checkpoints_dir", str(opt.checkpoints_dir), *machine_flags(opt)]


def machine_flags(opt: Namespace) -> list[str]:
    """Flags of every command that depend on the machine."""
    words = ["--device", opt.device] if opt.device != "auto" else []
    return words + (["--num_workers", str(opt.num_workers)] if opt.num_workers is not None else [])


def train_stage(opt: Namespace, model: str) -> Stage:
    run = opt.checkpoints_dir / model
    flags = ["--model", model, "--name", model, *shared_flags(opt)]
    needs = ("masks", SILNET) if model == "geocongan" else ("masks",)
    if SILNET in needs:
        flags += ["--silnet", str(opt.checkpoints_dir / SILNET)]
    name, group, more = f"train_{model}", "train", opt.train_flags
    if model == SILNET:
        name, group, more = SILNET, "silnet", opt.silnet_flags
    command = ("train.py", *flags, *more)
    return Stage(name=name, group=group, command=command, after=needs, outputs=(run / "latest.pt",), run=run)


def test_flags(opt: Namespace, model: str) -> list[str]:
    """Flags of every command that uses a trained model."""
    where = ["--checkpoints_dir", str(opt.checkpoints_dir), "--results_dir", str(opt.folder)]
    return ["--name", model, *where, *machine_flags(opt)]


def translate_stage(opt: Namespace, model: str) -> Stage:
    silnet = ["--silnet", str(opt.checkpoints_dir / SILNET)]
    flags = [*test_flags(opt, model), "--num_test", str(opt.num_test), *silnet, *opt.test_flags]
    return Stage(
        name=f"translate_{model}",
        group="translate",
        command=("test.py", *flags),
        after=(f"train_{model}", SILNET),
        outputs=(opt.folder / model / "test" / "metrics.json",),
        exclusive=model,
    )


def study_stages(opt: Namespace) -> list[Stage]:
    """What is done with one model: the way back, the classifications and the downstream study."""
    model, trained = opt.figure_model, (f"train_{opt.figure_model}",)
    if model not in opt.models:
        return []
    base = test_flags(opt, model)
    back = ("test.py", *base, "--direction", "RtoS", "--num_test", str(opt.num_test), "--no-metrics")
    all_hands = ("test.py", *base, "--phase", "all", "--num_test", str(opt.classify_images), "--no-metrics")
    downstream = ("test.py", *base, "--downstream", "segmentation", *opt.downstream_flags)
    stages = [
        Stage(
            name="back",
            group="back",
            command=back,
            after=trained,
            outputs=(opt.folder / model / "test_RtoS" / "metrics.json",),
            exclusive=model,
        ),
        Stage(
            name="classify_hands",
            group="classify",
            command=all_hands,
            after=trained,
            outputs=(opt.folder / model / "all" / "metrics.json",),
            exclusive=model,
        ),
    ]
    for experiment in ("table2", "table3"):
        study = opt.folder / "classify" / experiment
        command = ("classify.py", "--experiment", experiment, *base, "--seed", str(opt.seed), *opt.classify_flags)
        stages.append(
            Stage(
                name=f"classify_{experiment}",
                group="classify",
                command=command,
                after=("classify_hands",),
                outputs=(study / "metrics.json",),
                run=study,
            )
        )
    stages.append(
        Stage(
            name="downstream",
            group="downstream",
            command=downstream,
            after=trained,
            outputs=(opt.folder / model / "downstream" / "segmentation" / "metrics.json",),
            exclusive=model,
        )
    )
    return stages


def choose(stages: list[Stage], only: list[str]) -> list[Stage]:
    """The stages that --only names, by name or group; all of them where it names none."""
    return [stage for stage in stages if not only or stage.name in only or stage.group in only]


def known_names() -> list[str]:
    """Everything that --only takes."""
    singles = [f"{group}_{model}" for group in ("train", "translate") for model in MODELS]
    return [*GROUPS, *singles, "classify_hands", "classify_table2", "classify_table3"]
