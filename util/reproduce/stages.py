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

    group: a key of GROUPS. command: script and flags. after: names of the stages whose outputs it reads. outputs: files that
    are there once it has ended well. run: the folder that --continue_train goes on with. exclusive: stages with the same word
    here write into the same folder and never run at once.
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
    stages = [_train(opt, model) for model in (SILNET, *opt.models)] + [_translate(opt, model) for model in opt.models]
    if masks_wanted(opt):
        root = real_root(opt)
        command = ("preprocess_masks.py", "--real_root", str(root))
        stages.insert(0, Stage(name="masks", group="masks", command=command, outputs=(root / "masks_report.csv",)))
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
    return [word for name, value in given if value not in (None, 0, "auto") for word in (f"--{name}", str(value))]


def _train(opt: Namespace, model: str) -> Stage:
    """Trainings have the data, its split, the seed and the length in common."""
    common = ("dataroot", "synth_root", "real_root", "split_by", "max_steps", "n_epochs", "device")
    flags = ["--model", model, "--name", model, *_flags(opt, *common), "--seed", str(opt.seed)]
    for name in ("val_size", "test_size", "num_workers"):  # 0 has a meaning
        if getattr(opt, name) is not None:
            flags += [f"--{name}", str(getattr(opt, name))]
    flags += ["--checkpoints_dir", str(opt.checkpoints_dir)]
    if model == "geocongan":
        flags += ["--silnet", str(opt.checkpoints_dir / SILNET)]
    silnet = model == SILNET
    run = opt.checkpoints_dir / model
    return Stage(
        name=SILNET if silnet else f"train_{model}",
        group=SILNET if silnet else "train",
        command=("train.py", *flags, *(opt.silnet_flags if silnet else opt.train_flags)),
        after=("masks", SILNET) if model == "geocongan" else ("masks",),
        outputs=(run / "latest.pt",),
        run=run,
    )


def _use(opt: Namespace, model: str) -> list[str]:
    """Flags of every command that uses a trained model."""
    where = ["--checkpoints_dir", str(opt.checkpoints_dir), "--results_dir", str(opt.folder)]
    workers = [] if opt.num_workers is None else ["--num_workers", str(opt.num_workers)]
    return ["--name", model, *where, *_flags(opt, "device"), *workers]


def _translate(opt: Namespace, model: str) -> Stage:
    silnet = ["--silnet", str(opt.checkpoints_dir / SILNET)]
    return Stage(
        name=f"translate_{model}",
        group="translate",
        command=("test.py", *_use(opt, model), "--num_test", str(opt.num_test), *silnet, *opt.test_flags),
        after=(f"train_{model}", SILNET),
        outputs=(opt.folder / model / "test" / "metrics.json",),
        exclusive=model,
    )


def _studies(opt: Namespace, model: str) -> list[Stage]:
    """What is done with one model: the way back, the classifications and the downstream study."""
    use = _use(opt, model)

    def test_stage(name: str, group: str, written: str, *flags: str) -> Stage:
        outputs = (opt.folder / model / written / "metrics.json",)
        command, after = ("test.py", *use, *flags), (f"train_{model}",)
        return Stage(name=name, group=group, command=command, after=after, outputs=outputs, exclusive=model)

    def classify_stage(experiment: str) -> Stage:
        study = opt.folder / "classify" / experiment
        return Stage(
            name=f"classify_{experiment}",
            group="classify",
            command=("classify.py", "--experiment", experiment, *use, "--seed", str(opt.seed), *opt.classify_flags),
            after=("classify_hands",),
            outputs=(study / "metrics.json",),
            run=study,
        )

    no_metrics, most = ("--no-metrics", "--num_test"), str(opt.classify_images)
    back = test_stage("back", "back", "test_RtoS", "--direction", "RtoS", *no_metrics, str(opt.num_test))
    hands = test_stage("classify_hands", "classify", "all", "--phase", "all", *no_metrics, most)
    study = ("--downstream", "segmentation", *opt.downstream_flags)
    downstream = test_stage("downstream", "downstream", "downstream/segmentation", *study)
    return [back, hands, *map(classify_stage, ("table2", "table3")), downstream]


def choose(stages: list[Stage], only: list[str]) -> list[Stage]:
    """The stages that --only names, by name or group; all of them where it names none."""
    return [stage for stage in stages if not only or stage.name in only or stage.group in only]


def known_names() -> list[str]:
    """Everything that --only takes."""
    singles = [f"{group}_{model}" for group in ("train", "translate") for model in MODELS]
    return [*GROUPS, *singles, "classify_hands", "classify_table2", "classify_table3"]
