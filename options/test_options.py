"""Flags of test.py."""

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path

from data.frames import PHASES
from data.hands import WRITTEN_BACKGROUNDS
from models import GENERATOR, SEGMENTERS
from options.downstream_flags import add_downstream_flags, check_downstream
from options.parsing import Parser, add_flag, add_switch, existing_path, integer, parse_with_explicit, run_name
from options.shared import add_data_flags, add_machine_flags, add_metric_flags
from util.errors import UsageError
from util.run import load_options, runs_in

NOT_OF_A_FOLDER = ("phase", "num_test", "dataroot", "synth_root", "real_root", "dataset_mode", "silnet")


def test_parser() -> Parser:
    """The parser of test.py; see parse_test for what it checks beyond single flags."""
    parser = Parser(
        prog="test.py",
        usage="python test.py [--name NAME [NAME ...]] [flags]",
        description="Translate a split, or a folder of images, with a trained model, and score the result. "
        "Several names are compared.",
    )
    run = parser.add_argument_group("run")
    add_flag(
        run,
        "--name",
        basic=True,
        type=run_name,
        nargs="+",
        metavar="NAME",
        help="runs of train.py (default: the newest translator)",
    )
    add_flag(run, "--checkpoints_dir", type=Path, default=Path("checkpoints"), metavar="DIR", help="folder of all runs")
    add_flag(
        run,
        "--epoch",
        basic=True,
        type=epoch,
        default="best",
        metavar="{best,latest,N}",
        help="checkpoint: best by validation, latest, or that of epoch N, kept by --save_epoch_freq",
    )
    add_flag(
        run, "--results_dir", basic=True, type=Path, default=Path("results"), metavar="DIR", help="folder of results"
    )

    add_flag(
        run,
        "--export",
        type=Path,
        metavar="FILE",
        help="write the generator as FILE.onnx or FILE.pt2 for other programs, and translate nothing",
    )

    what = parser.add_argument_group("what to translate")
    add_flag(what, "--phase", basic=True, choices=(*PHASES, "all"), default="test", help="split")
    add_flag(what, "--num_test", basic=True, type=integer(1), default=2000, metavar="N", help="most images a domain")
    add_flag(
        what, "--direction", basic=True, choices=tuple(GENERATOR), default="StoR", help="synthetic to real, or back"
    )
    add_flag(
        what,
        "--input",
        basic=True,
        type=existing_path,
        metavar="DIR",
        help="translate all images in DIR and its subfolders, or one image, instead of a split",
    )
    add_switch(
        what,
        "--annotations",
        basic=True,
        default=False,
        help="link the annotation files beside each source (_joint_pos.txt, _depth.png, ...) beside its translation",
    )
    add_switch(
        what,
        "--crop",
        basic=True,
        default=None,
        help="a region centred on the hand (default), or the whole frame (default with --input)",
    )
    add_switch(
        what,
        "--crop_to_hand",
        default=None,
        help="translate the hand's bounding box only, which the hand fills as it fills a training crop (default: the run's "
        "setting)",
    )
    add_flag(
        what,
        "--background",
        basic=True,
        choices=WRITTEN_BACKGROUNDS,
        help="what is written outside the hand; networks always see the background of their training (default: the source's "
        "pixels with --input, else the background that networks see)",
    )
    add_switch(what, "--objects", default=False, help="with --input: take SynthHands' sequences with objects, too")
    add_data_flags(what, default_root=None)

    score = parser.add_argument_group("scores")
    add_switch(score, "--metrics", basic=True, default=True, help="FID or FD, KID, and the same inside the hand")
    add_metric_flags(score)
    add_flag(
        score,
        "--silnet",
        basic=True,
        metavar="CHECKPOINT",
        help="SilNet of the shape scores: a run of train.py --model silnet, its folder, or a .pt file of it (default: the one "
        "the run was trained with, if any)",
    )

    add_downstream_flags(parser.add_argument_group("study of networks trained on translated hands"))

    machine = parser.add_argument_group("machine")
    add_machine_flags(machine)
    add_flag(
        machine,
        "--batch_size",
        basic=True,
        type=integer(1, 65536),
        default=1,
        metavar="N",
        help="images translated together",
    )
    return parser


def newest_translator(checkpoints_dir: Path) -> str:
    """The name of the newest run of a translator. Raises UsageError if there is none."""
    for folder in runs_in(checkpoints_dir):
        with contextlib.suppress(UsageError):  # damaged runs are skipped
            if load_options(folder).get("model") not in SEGMENTERS:
                return folder.name
    raise UsageError(
        f"there are no translators in {checkpoints_dir}; train one (python train.py --name NAME), or give --checkpoints_dir"
    )


def epoch(text: str) -> str:
    """An argument type: "best", "latest" or an epoch's number."""
    if text in ("best", "latest") or (text.isdecimal() and len(text) < 8 and int(text) > 0):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is neither best, nor latest, nor the number of an epoch")


def parse_test(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse argv (None: the command line). Raises UsageError for combinations that cannot work."""
    opt = parse_with_explicit(test_parser(), argv)
    if opt.name is None:
        opt.name = [newest_translator(opt.checkpoints_dir)]
    check_downstream(opt)
    if opt.crop is None:
        opt.crop = opt.input is None
    if opt.annotations and opt.crop:
        raise UsageError("--annotations with --crop: annotations are in the pixels of the whole image; add --no-crop")
    if opt.input and len(opt.name) > 1:
        raise UsageError(f"--input takes one model, got {len(opt.name)} names; translate with each in turn")
    if len(set(opt.name)) < len(opt.name):
        raise UsageError(f"--name names a run twice: {' '.join(opt.name)}")
    if opt.input:
        given = [f for f in NOT_OF_A_FOLDER if f in opt.explicit]
        if given:
            raise UsageError(f"--input translates a folder, not a split; drop {', '.join('--' + f for f in given)}")
    if opt.export and (len(opt.name) > 1 or opt.input):
        raise UsageError("--export writes one generator and translates nothing; give one --name and no --input")
    if "objects" in opt.explicit and not opt.input:
        raise UsageError("--objects needs --input; a split holds the frames that the run was trained with")
    if opt.silnet and not opt.metrics:
        raise UsageError("--silnet scores translations, and --no-metrics scores nothing; drop one of them")
    return opt
