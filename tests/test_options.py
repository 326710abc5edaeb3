"""The parsers: every flag is read by something, and every type refuses what it should."""

import argparse
import ast
from pathlib import Path

import pytest

from models import MODELS
from options.classify_options import classify_parser
from options.parsing import Parser, integer, number, parse_with_explicit, run_name
from options.preprocess_masks_options import preprocess_masks_parser
from options.test_options import test_parser as parser_of_test  # not to be taken for a test
from options.train_options import parse_train, train_parser
from models.hgan import NetworkConfig, Objective
from util.errors import UsageError

ROOT = Path(__file__).parent.parent


def attributes_read() -> set[str]:
    """Every name that the program reads as an attribute (opt.lr), or through the fields of a configuration class."""
    names = set(NetworkConfig.__dataclass_fields__) | set(Objective.__dataclass_fields__)
    for path in [*ROOT.glob("*.py"), *(p for d in ("data", "models", "options", "util") for p in (ROOT / d).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                names.add(node.attr)
    return names


@pytest.mark.parametrize("make", [train_parser, parser_of_test, classify_parser, preprocess_masks_parser])
def test_every_flag_is_read_and_explained(make):
    read = attributes_read()
    for action in make()._actions:
        if action.dest == "help":
            continue
        assert action.dest in read, f"{action.option_strings} is read by nothing"
        assert action.help, f"{action.option_strings} has no help"


@pytest.mark.parametrize("name", MODELS)
def test_the_registry_supplies_defaults_and_flags_win(name):
    entry = MODELS[name]
    opt = parse_train(["--name", "x", "--model", name])
    assert (opt.netG, opt.netD) == (entry.netG, entry.netD)
    opt = parse_train(["--name", "x", "--model", name, "--netD", "perceptual", "--netG", "resnet_6blocks", "--lr", "0.5"])
    assert (opt.netG, opt.netD, opt.lr) == ("resnet_6blocks", "perceptual", 0.5)


def test_paper_sets_every_such_choice_back():
    opt = parse_train(["--name", "x", "--paper"])
    assert (opt.upsample, opt.ema, opt.normalize_features, opt.lr) == ("deconv", 0.0, False, 5e-5)
    assert (opt.init_gain, opt.warmup, opt.flip, opt.hand_box) == (0.02, 0, False, False)
    assert parse_train(["--name", "x", "--paper", "--model", "geocongan"]).lr == 2e-4
    assert parse_train(["--name", "x", "--paper", "--ema", "0.5"]).ema == 0.5
    opt = parse_train(["--name", "x"])
    assert (opt.upsample, opt.normalize_features, opt.hand_box) == ("resize", True, True) and opt.ema > 0


def test_booleans_can_be_switched_off():
    opt = parse_train(["--name", "x", "--no-mask", "--no-flip"])
    assert opt.mask is False and opt.flip is False


def test_explicit_flags_are_told_from_defaults():
    parser = Parser()
    parser.add_argument("--a", type=int, default=1)
    parser.add_argument("--b", type=int, default=2)
    opt = parse_with_explicit(parser, ["--a", "1"])
    assert (opt.a, opt.b, opt.explicit) == (1, 2, ["a"])


@pytest.mark.parametrize("text", ["", "..", "../x", "/x", "a/b", "a\\b", ".hidden", "-x", "a b", "a\n", "x" * 101, "a\0"])
def test_names_cannot_leave_the_folder(text):
    with pytest.raises(argparse.ArgumentTypeError):
        run_name(text)


@pytest.mark.parametrize("text", ["msh4", "a.b-c_d+1", "X", "_x"])
def test_ordinary_names_are_taken(text):
    assert run_name(text) == text


def test_numbers_have_ranges():
    assert integer(1, 3)("3") == 3 and number(0)("0") == 0 and number(0, 1)("1e-3") == 1e-3
    for convert, text in [
        (integer(1), "0"), (integer(1, 3), "4"), (integer(0), "1.5"), (integer(0), "x"), (number(0), "-0.1"),
        (number(0, above=True), "0"), (number(0), "nan"), (number(0), "inf"), (number(0, 1), "1.1"), (number(0), ""),
    ]:  # fmt: skip
        with pytest.raises(argparse.ArgumentTypeError):
            convert(text)


@pytest.mark.parametrize(
    "flags, named",
    [
        (["--accumulate", "3", "--batch_size", "2"], "--batch_size"),
        (["--checkpoint_activations", "--norm", "batch"], "--norm batch"),
    ],
    ids=str,
)
def test_combinations_that_cannot_work(flags, named):
    with pytest.raises(UsageError, match=named):
        parse_train(["--name", "x", *flags])
