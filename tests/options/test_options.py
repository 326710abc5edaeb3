"""The parsers: every flag is read by something, and every type refuses what it should."""

import argparse
import ast
import functools
import os
from pathlib import Path

import pytest
from helpers import SCRIPTS, imports, nodes, parser_of

from data.masks import RefineOptions
from models import MODELS
from models.config import SAME, options_of
from options.parsing import existing_path, integer, number, run_name
from options.train_options import parse_train
from util.errors import UsageError
from util.files import user_path


@functools.cache
def options_read(script: str) -> set[str]:
    """Every name that a script, or what it imports, reads as an attribute (opt.lr), by getattr(opt, "lr"), or through the
    fields of RefineOptions. Parsers' own files are left out: they read to check, not to obey. So is models/config.py: what
    its options do is measured, see tests/models/test_each_option.py.
    """
    names, found, todo = set(), set(), [Path(script).stem]
    while todo:
        if (module := todo.pop()) in found:
            continue
        found.add(module)
        todo += imports()[module]
        own = module in (Path(script).stem, f"options.{Path(script).stem}_options")
        if module == "models.config" or (module.startswith("options.") and not own):
            continue
        for node in nodes(module):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                names.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and module == Path(script).stem:
                names.add(node.value)  # getattr(opt, flag) over a tuple of names
            elif isinstance(node, ast.Name) and node.id == "RefineOptions":
                names |= set(RefineOptions.__dataclass_fields__)
    return names


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_flag_is_read_by_its_own_script_and_explained(script):
    read = options_read(script)
    for action in parser_of(script).flags():
        assert action.dest in read, f"{action.option_strings} is read by nothing that {script} imports"
        assert action.help, f"{action.option_strings} has no help"
    if script == "train.py":
        assert options_of().keys() <= read


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_number_has_a_range(script):
    """No flag takes infinity, what is no number, or more digits than any machine has bytes."""
    for action in parser_of(script).flags():
        if isinstance(action.default, (int, float)) and not isinstance(action.default, bool):
            assert action.type not in (None, int, float), f"{action.option_strings} takes any number"
        if action.type in (None, os.path.expanduser, user_path, run_name, existing_path):
            continue
        for text in ("nan", "inf", "-inf", "1e999", "-1", "9" * 20, "9" * 5000, "", "x"):
            with pytest.raises((argparse.ArgumentTypeError, ValueError, UsageError)):
                action.type(text)


@pytest.mark.parametrize("name", MODELS)
def test_the_registry_supplies_defaults_and_flags_win(name):
    entry = MODELS[name]
    flags = ["--name", "x", "--model", name, "--silnet", "s"]
    opt = parse_train(flags)
    assert (opt.netG, opt.netD, opt.lambda_geo) == (entry.netG, entry.netD, entry.lambda_geo)
    opt = parse_train([*flags, "--netD", "perceptual", "--netG", "resnet_6blocks", "--lr", "0.5"])
    assert (opt.netG, opt.netD, opt.lr) == ("resnet_6blocks", "perceptual", 0.5)


def test_paper_is_the_published_training():
    """Section IV.A and the released code, by value: not derived from the options that are tested."""
    opt = parse_train(["--name", "x", "--paper"])
    assert (opt.netG, opt.netD, opt.upsample, opt.norm) == ("resnet_4blocks", "perceptual", "deconv", "instance")
    assert (opt.ngf, opt.ndf) == (64, 64)
    assert (opt.init_type, opt.init_gain, opt.dropout, opt.normalize_features) == ("xavier", 0.02, False, False)
    assert (opt.lr, opt.beta1, opt.batch_size, opt.crop_size, opt.n_epochs) == (5e-5, 0.5, 1, 128, 10)
    assert (opt.lambda_gan, opt.lambda_cycle, opt.lambda_identity, opt.pool_size) == (1.0, 10.0, 0.5, 50)
    assert (opt.mask, opt.amp, opt.crop_to_hand, opt.lr_decay) == (True, "off", False, "none")
    assert (opt.common_mask, opt.extend_colors) == (False, False)
    assert (opt.lambda_joints, opt.lambda_geo) == (0.0, 0.0)
    opt = parse_train(["--name", "x", "--paper", "--amp", "auto", "--upsample", "smooth"])
    assert (opt.amp, opt.upsample) == ("auto", "smooth")


def test_every_option_has_its_default_and_the_paper_s_value():
    given = ["--name", "x", "--model", "mshgan4"]
    ours, paper = parse_train(given), parse_train([*given, "--paper"])
    for name, option in options_of().items():
        assert getattr(ours, name) == option.default and getattr(paper, name) == option.paper, name
        assert option.paper == option.default or option.reason, f"{name} departs from the paper and does not say why"
        assert isinstance(option.default, option.type) and isinstance(option.paper, option.type), name


def test_paper_rate_follows_the_discriminator_unless_a_model_is_named():
    rates = {
        "--model geocongan --lambda_geo 0": 2e-4,
        "--netG resnet_9blocks --netD patch": 2e-4,
        "--netD patch": 2e-4,
        "--netD pixel": 5e-5,
        "--netG resnet_9blocks": 5e-5,
        "--model mshgan4 --netD patch": 5e-5,
        "--netD patch --lr 0.001": 1e-3,
    }
    assert {flags: parse_train(["--name", "x", "--paper", *flags.split()]).lr for flags in rates} == rates


@pytest.mark.parametrize("paper", [[], ["--paper"]], ids=["ours", "paper"])
def test_geocongan_is_silnet_s_loss_without_masks(paper, tmp_path):
    where = ["--name", "geo", "--model", "geocongan", "--checkpoints_dir", str(tmp_path), *paper]
    with pytest.raises(UsageError, match="python train.py --model silnet --name silnet"):
        parse_train(where)
    opt = parse_train([*where, "--silnet", "elsewhere"])
    assert (opt.lambda_geo, opt.mask, opt.silnet) == (1.0, False, "elsewhere")
    masked = parse_train([*where, "--lambda_geo", "0"])
    assert (masked.lambda_geo, masked.mask, masked.silnet, masked.model) == (0.0, True, None, "geocongan")
    (tmp_path / "silnet").mkdir()
    assert parse_train(where).silnet == "silnet"
    assert parse_train(["--name", "x", "--checkpoints_dir", str(tmp_path)]).silnet is None


def test_cuda_graphs_is_a_word_or_a_switch(tmp_path):
    """As a word alone it stands before other flags, too; runs of before have on or off in their options.yaml."""
    words = {"": "auto", "--cuda_graphs --seed 1": "on", "--cuda_graphs=off": "off", "--no-cuda_graphs": "off"}
    file = tmp_path / "options.yaml"
    file.write_text("cuda_graphs: true")
    words[f"--options {file}"] = "on"
    assert {flags: parse_train(["--name", "x", *flags.split()]).cuda_graphs for flags in words} == words


def test_what_is_switched_off_and_flags_are_told_from_defaults():
    opt = parse_train(["--name", "x", "--no-mask"])
    assert (opt.crop_to_hand, opt.extend_colors, opt.common_mask, opt.lambda_joints) == (True, False, False, 0.0)
    needy = {name: option for name, option in options_of().items() if option.no_mask is not SAME}
    assert all(getattr(opt, name) == option.no_mask for name, option in needy.items())
    opt = parse_train(["--name", "x", "--no-mask", "--lambda_joints", "3", "--dropout", "--ngf", "64"])
    assert opt.lambda_joints == 3.0 and opt.dropout is True
    assert opt.explicit == ["dropout", "lambda_joints", "mask", "name", "ngf"]


def test_types_refuse_what_they_should():
    assert all(run_name(text) == text for text in ("msh4", "a.b-c_d+1", "X", "_x"))
    assert integer(1, 3)("3") == 3 and number(0)("0") == 0 and number(0, 1)("1e-3") == 1e-3
    wrong = {
        run_name: ["..", "../x", "/x", "a/b", "a\\b", ".hidden", "-x", "a b", "a\n", "x" * 101, "a\0"],
        integer(1, 3): ["0", "4", "1.5", "x"],
        integer(16, 64, step=16): ["0", "24", "80"],
        number(0): ["-0.1", "nan", "inf", "x"],
        number(0, above=True): ["0"],
        number(0, 1): ["1.1"],
    }
    for convert, texts in wrong.items():
        for text in ("", *texts):
            with pytest.raises(argparse.ArgumentTypeError):
                convert(text)
