"""What users meet: help and errors without PyTorch, suggestions, files of options, the page of defaults."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import ROOT, SCRIPTS

from models import DISCRIMINATORS, GENERATORS
from models.config import options_of
from models.networks import layers, resnet_generator
from options import test_options
from options.classify_options import classify_parser, parse_classify
from options.test_options import parse_test
from options.train_options import defaults_table, parse_train, train_parser, with_defaults
from util.errors import UsageError
from util.run import TRAINING_VERSION, open_run, plain_options, save_options
from util.scores.__main__ import parse_scores
from util.search import search_parser

WRONG = {
    "train.py": ["--name", "x", "--netD", "nonsense"],
    "test.py": ["--no_such_flag"],
    "classify.py": ["--experiment", "table9"],
    "preprocess_masks.py": ["--median", "2"],
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_flags_are_read_without_pytorch(script):
    """Help and mistakes come at once: a PyTorch that cannot be imported goes unnoticed."""
    for argv, status in (["--help"], 0), (WRONG[script], 2):
        code = (
            "import runpy, sys; sys.modules['torch'] = sys.modules['torchvision'] = None; "
            f"sys.argv = {[script, *argv]!r}; runpy.run_path({script!r}, run_name='__main__')"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == (status == 2)


def test_tensorboard_starts():
    """It needs a part of setuptools that newer ones lack."""
    assert subprocess.run([sys.executable, "-m", "tensorboard.main", "--version"], check=True)


def test_the_short_help_of_train_shows_what_a_newcomer_sets():
    parser = train_parser()
    long = parser.format_help()
    parser.shorten_help()
    short = parser.format_help()
    basic = [action for action in parser.flags() if action.basic]
    assert 20 <= len(basic) <= 30
    assert 50 < len(parser.flags()) <= 59, "too many flags: a constant beside its use, or take another away"
    for action in parser.flags():
        name = action.option_strings[0]
        assert re.search(rf"^  {name}\b", long, re.M), name
        assert bool(re.search(rf"^  {name}\b", short, re.M)) == action.basic, name


def test_the_short_help_shows_what_has_to_be_given(capsys):
    with pytest.raises(SystemExit):
        parse_scores(["--help"])
    shown = capsys.readouterr().out
    assert "\n  GENERATED  " in shown and "\n  REAL  " in shown


def test_choices_are_those_of_the_implementations():
    """Registries that need PyTorch, and the names by which parsers know them."""
    options = options_of()
    assert set(options["norm"].choices) == set(layers.NORMS)
    assert set(options["init_type"].choices) == set(layers.INITS)
    assert set(options["upsample"].choices) == set(resnet_generator.UPSAMPLERS)
    assert all(network.load().__name__ == network.name for network in (*GENERATORS.values(), *DISCRIMINATORS.values()))


def test_the_page_of_defaults_is_not_stale():
    written = (ROOT / "docs" / "defaults.md").read_text(encoding="utf-8")
    assert written.endswith(defaults_table()), "run python -m options.train_options"
    paper = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    assert paper == with_defaults(paper), "run python -m options.train_options"
    told = set(re.findall(r"`(?:--)?(\w+)`", paper))
    assert not set(options_of()) - told, "docs/paper.md says nothing of these"
    assert re.search(r"\| `--lambda_joints` \| 300 \| 0 \| 0 \| - \|", written)
    assert re.search(r"\| `extend_colors` \| on \| off \| off \| - \|", written)


@pytest.mark.parametrize(
    "command, words",
    [
        ("train --name x --batchSize 4", ["no flag --batchSize", "did you mean --batch_size?"]),
        ("train --name x --gpu_ids 0", ["no flag --gpu_ids", "use --device"]),
        ("train --name x --nThreads 2", ["no flag --nThreads", "use --num_workers"]),
        ("classify --exp table2", ["no flag --exp"]),
        ("train --name x --continue_train=yes", ["--continue_train", "'yes'"]),
        ("train --name x --continue_train yes", ["unrecognized arguments: yes"]),
        ("test --direction AtoB", ["--direction", "StoR"]),
        ("test --name x --downstream_seeds 2", ["--downstream_seeds needs --downstream"]),
        ("test --name x --downstream segmentation --direction RtoS", ["drop --direction RtoS"]),
        ("test --name x --downstream segmentation --phase all", ["drop --phase"]),
        ("test --name x --downstream segmentation --input .", ["--input"]),
        ("test --name x --annotations", ["--no-crop"]),
        ("test --input nowhere", ["nowhere"]),
        ("test --input . --masks nowhere", ["nowhere"]),
        ("test --input . --mask_values 5-2", ["5-2"]),
        ("test --name x --objects", ["--input"]),
        ("test --name x --input . --phase val", ["drop --phase"]),
        ("test --name x x", ["twice"]),
        ("test --inception_weights nowhere", ["nowhere"]),
        ("classify --experiment table2 --name a --gen_dir .", ["choose a run"]),
        ("classify --experiment table2", ["--synth_dir, --real_dir, --gen_dir missing"]),
        ("classify --experiment table2 --synth_dir . --gen_dir .", ["--real_dir missing"]),
        ("classify --experiment table2 --name a --img_size 100", ["not a multiple of 16"]),
        ("classify --experiment table4 --name a", ["table2"]),
        ("classify --experiment table2 --name a --background_root none", ["does not exist"]),
        ("classify --experiment table2 --name a --lr 0", ["above 0"]),
        ("train --name x --lr -1", ["above 0"]),
        ("train --name x --crop_size 48", ["multiples of 32"]),
        ("train --name x --dataset_mode unaligned --real_root .", ["--dataroot"]),
    ],
)
def test_wrong_flags_are_answered_in_a_sentence(command, words):
    script, *argv = command.split()
    with pytest.raises(UsageError) as error:
        {"train": parse_train, "test": parse_test, "classify": parse_classify}[script](argv)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


def test_without_a_name_test_takes_the_newest_translator(tmp_path):
    where = ["--checkpoints_dir", str(tmp_path)]
    for parse, words in (parse_train, "--name is required"), (parse_test, "no translators"):
        with pytest.raises(UsageError, match=words):
            parse(where)
    runs = ("silnet", "silnet", 1), ("newest", "mshgan4", 0), ("older", "mshgan4", -1)
    for name, model, hours in runs:
        (tmp_path / name).mkdir()
        save_options(tmp_path / name, {"model": model})
        os.utime(tmp_path / name / "options.yaml", (1e9 + 3600 * hours,) * 2)
    opt = parse_test(where)
    assert opt.name == ["newest"] and "name" not in opt.explicit


def test_a_file_of_options_is_read_and_the_command_line_wins(tmp_path):
    file = tmp_path / "best.yaml"
    file.write_text("lr: 1e-4\nnetG: resnet_6blocks\nmask: no\n--ngf: 8\nval_size: null\namp: off\ncrop_to_hand: off")
    opt = parse_train(["--name", "x", "--options", str(file), "--ngf", "16"])
    assert (opt.lr, opt.netG, opt.mask, opt.ngf) == (1e-4, "resnet_6blocks", False, 16)
    assert opt.val_size is None and opt.amp == "off"
    assert opt.explicit == ["amp", "crop_to_hand", "lr", "mask", "name", "netG", "ngf"]
    assert not opt.crop_to_hand and not hasattr(opt, "options")
    assert parse_train([f"--options={file}", "--name", "x", "--mask"]).mask is True
    file.write_text("paper: true\ncommon_mask: true\n")
    opt = parse_train(["--name", "x", "--options", str(file)])
    assert opt.common_mask and not opt.extend_colors


@pytest.mark.parametrize(
    "flags",
    [[], ["--paper"], ["--model", "silnet"], ["--no-mask", "--netD", "patch"], ["--lambda_joints", "3"]],
    ids=str,
)
def test_a_run_s_own_options_start_another_one_alike(tmp_path, flags):
    first = parse_train(["--name", "x", "--seed", "3", *flags])
    save_options(tmp_path, plain_options(first) | {"continue_train": True, "resolved": {"device": "cpu"}})
    second = parse_train(["--options", str(tmp_path / "options.yaml"), "--name", "y"])
    assert vars(second) == vars(first) | {"name": "y", "explicit": second.explicit}


@pytest.mark.parametrize(
    "text, words",
    [
        ("learning_rate: 1", "no flag --learning_rate"),
        ("lr: 3", "--lr: '3' is not"),
        ("mask: 1", "--mask"),
        ("netD: patches", "patches"),
        ("lr: [1, 2]", "unrecognized arguments: 2"),
        ("- lr", "holds no options"),
        ("lr: {", "cannot be read"),
    ],
)
def test_mistakes_in_a_file_of_options(tmp_path, text, words):
    file = tmp_path / "options.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=f"--options {re.escape(str(file))}.*{re.escape(words)}"):
        parse_train(["--name", "x", "--options", str(file)])


def test_what_may_change_says_how_long_where_how_often_and_how_fast():
    free = train_parser().may_change()
    assert {"n_epochs", "max_steps", "device", "num_workers", "save_freq", "dataroot"} <= free
    assert free & set(options_of()) == {"amp", "lr", "lr_decay"}
    assert free.isdisjoint({"seed", "model", "paper", "split_by", "objects"})


def test_a_run_of_another_version_is_refused_and_says_which_commit_made_it(tmp_path):
    options = {"lr": 0.1}
    for version in (None, TRAINING_VERSION - 1, TRAINING_VERSION + 1):
        stored = options | {"resolved": {"git_commit": "abc123"}, "training_version": version}
        (tmp_path / "options.yaml").write_text(yaml.safe_dump(stored))
        with pytest.raises(UsageError, match="abc123.*trains differently"):
            open_run(tmp_path, options, continue_train=True, may_change=())
    save_options(tmp_path, options)
    assert open_run(tmp_path, options, continue_train=True, may_change=())["lr"] == 0.1


def test_a_continued_run_takes_its_own_options_and_the_command_line_wins(tmp_path):
    first = parse_train(["--name", "x", "--max_steps", "30", "--netG", "resnet_6blocks", "--no-mask"])
    assert first.n_epochs is None  # --max_steps alone decides
    first.checkpoints_dir = tmp_path
    (tmp_path / "x").mkdir()
    save_options(tmp_path / "x", plain_options(first))
    go_on = ["--name", "x", "--checkpoints_dir", str(tmp_path), "--continue_train"]
    again = parse_train(go_on)
    assert vars(again) == vars(first) | {"continue_train": True, "explicit": again.explicit}
    longer = parse_train([*go_on, "--n_epochs", "7", "--lr", "0.1"])
    assert (longer.n_epochs, longer.max_steps, longer.lr) == (7, 0, 0.1)
    both = parse_train([*go_on, "--n_epochs", "7", "--max_steps", "9"])
    assert (both.n_epochs, both.max_steps) == (7, 9)


WEIRD = "my runs, it's: #1"


@pytest.mark.parametrize(
    ("parser", "values"),
    [
        (train_parser, {"model": "silnet", "name": "s", "dataroot": Path(WEIRD), "paper": True}),
        (test_options.test_parser, {"name": ["a", "b"], "checkpoints_dir": Path(WEIRD), "metrics": False}),
        (search_parser, {"space": Path(WEIRD), "name": "s", "trials": 3, "steps": 4, "storage": "x"}),
        (classify_parser, {"experiment": "table2", "synth_dir": Path(WEIRD), "max_steps": 3}),
    ],
    ids=["train", "test", "search", "classify"],
)
def test_a_printed_command_gives_the_same_options_when_it_is_pasted(parser, values, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(WEIRD).mkdir()
    python, *words = shlex.split(parser().line(values | {"seed": 0}))
    start = 2 if words[0] == "-m" else 1
    parsed = vars(parser().parse_args(words[start:]))
    assert python == "python" and {name: parsed[name] for name in values} == values
    assert "seed" not in " ".join(words)  # a default


def test_a_tilde_is_the_home_folder_also_after_an_equals_sign(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x").mkdir()
    opt = parse_train(["--name", "a", "--checkpoints_dir=~/runs", "--synth_root=~/x", "--silnet=~/x", "--dataroot=~/x"])
    assert opt.checkpoints_dir == tmp_path / "runs" and opt.synth_root == opt.dataroot == tmp_path / "x"
    assert opt.silnet == str(tmp_path / "x")
    opt = parse_test(["--name", "a", "--results_dir=~/out", "--export=~/g.pt2"])
    assert opt.results_dir == tmp_path / "out" and opt.export == tmp_path / "g.pt2"
    opt = parse_classify(["--experiment", "table2", "--name", "a", "--results_dir=~/out"])
    assert opt.results_dir == tmp_path / "out"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train.py --name x --dataroot nowhere", "--dataroot nowhere is not a folder"),
        ("train.py --name x --vgg_weights nowhere", "neither one of auto, imagenet, hed, random nor a file"),
        ("train.py --name x --silnet nowhere", "--silnet nowhere is neither"),
        ("train.py --name run", "holds a run already"),
        ("train.py --name nothing --continue_train", "no run in"),
        ("test.py --name nothing", "no run in"),
        ("classify.py --experiment table2 --name nothing", "no run in"),
        ("test.py --name run --epoch 7", "holds no epoch_7.pt"),
        ("test.py --name run --export x.pt", "must end in .onnx or .pt2"),
        ("test.py --name run --export folder.pt2", "is a folder"),
    ],
)
def test_paths_runs_and_epochs_are_looked_up_without_pytorch(command, words, tmp_path):
    (tmp_path / "checkpoints" / "run").mkdir(parents=True)
    (tmp_path / "folder.pt2").mkdir()
    (tmp_path / "checkpoints" / "run" / "options.yaml").write_text("model: mshgan4\n")
    script, *flags = command.split()
    called = [sys.executable, "-X", "importtime", str(ROOT / script), *flags]
    where = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(ROOT)}}
    done = subprocess.run(called, capture_output=True, text=True, **where)
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time")]
    assert done.returncode == 2 and len(said) < 6 and words in said[0], said
    assert "| torch" not in done.stderr
