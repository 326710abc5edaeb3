"""The parser of all scripts: flags with two levels of help, argument types with ranges, and errors of one sentence."""

import argparse
import contextlib
import difflib
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from util.errors import UsageError
from util.files import user_path

RENAMED = {  # flags of the CycleGAN code base, and what to use in their place
    "--gpu_ids": "use --device; CUDA_VISIBLE_DEVICES=0 chooses the GPU, torchrun trains on several",
    "--num_threads --nThreads": "use --num_workers",
    "--load_size --loadSize": "use --load_scale, a factor; by default hands keep their own size",
    "--fineSize --preprocess --resize_or_crop": "crops of --crop_size are cut from images at their own size",
    "--serial_batches": "images are always paired at random; --seed repeats the draws",
    "--which_direction": "use test.py --direction StoR (synthetic to real) or RtoS",
    "--lambda_A --lambda_B": "use --lambda_cycle, the same for both directions",
    "--gan_mode --no_lsgan": "the adversarial loss is always LSGAN",
    "--niter --niter_decay --n_epochs_decay --lr_policy --lr_decay_iters": "use --n_epochs and --lr_decay",
    "--epoch_count": "use --continue_train, which goes on from the last save",
    "--print_freq --save_latest_freq": "use --log_freq and --save_freq, in steps",
    "--update_html_freq --no_html --display_id": "use --display_freq; pictures go to TensorBoard",
    "--how_many --ntest": "use test.py --num_test",
    "--which_epoch --load_iter": "use test.py --epoch",
    "--which_model_netG --which_model_netD": "use --netG and --netD",
}


class Parser(argparse.ArgumentParser):
    """An ArgumentParser with two levels of help, whose errors are a UsageError of one sentence."""

    def __init__(self, **kwargs: Any) -> None:
        formatter = partial(_HelpFormatter, max_help_position=34)
        super().__init__(formatter_class=formatter, allow_abbrev=False, add_help=False, **kwargs)
        helps, details = self.add_argument_group("help"), {"action": "help", "dest": argparse.SUPPRESS}
        helps.add_argument("-h", "--help", help="show the basic flags", **details)
        helps.add_argument("--help-all", help="show all flags", **details)

    def group(self, title: str, **marks: bool) -> Callable[..., None]:
        """The group of flags with this title, as a function that adds one. marks: of all, unless a flag has its own.

        kind: bool for --name/--no-name, a tuple for one of its words, None for any text, else a function of the text. basic:
        --help shows it. may_change: when a run is continued. translators_only: SilNet does not use it. details: of
        add_argument.
        """
        group = next((each for each in self._action_groups if each.title == title), None)
        group = group or self.add_argument_group(title)

        def add(name, kind, default, help, *, basic=False, may_change=False, translators_only=False, **details) -> None:
            key = "action" if kind is bool else "choices" if isinstance(kind, tuple) else "type"
            details[key] = argparse.BooleanOptionalAction if kind is bool else kind
            flag = group.add_argument(f"--{name}", default=default, help=help, **details)
            flag.basic, flag.may_change, flag.translators_only = basic, may_change, translators_only

        return partial(add, **marks)

    def flags(self) -> list[argparse.Action]:
        """The script's flags, without the help flags."""
        return [action for action in self._actions if action.dest != argparse.SUPPRESS]

    def may_change(self) -> frozenset[str]:
        """The options that may change when a run is continued."""
        return frozenset(action.dest for action in self.flags() if getattr(action, "may_change", False))

    def parse(self, argv: Sequence[str] | None = None) -> argparse.Namespace:
        """Parse argv (None: the command line); `.explicit` lists the names of the flags in argv."""
        # argparse leaves attributes alone that the namespace has: those that still hold the marker were not given.
        defaults, marker = {action.dest: action.default for action in self.flags()}, object()
        opt = vars(self.parse_args(argv, argparse.Namespace(**dict.fromkeys(defaults, marker))))
        given = {name: value for name, value in opt.items() if value is not marker}
        return argparse.Namespace(**defaults | given, explicit=sorted(given))

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        """As argparse's, but reports an unknown flag before a missing one, with what to use in its place."""
        args = sys.argv[1:] if args is None else list(args)
        if "--help-all" not in args:
            self.shorten_help()
        for flag in (word.partition("=")[0] for word in args if re.match(r"--?[A-Za-z]", word)):
            if flag not in self._option_string_actions:
                hints = [use for old, use in RENAMED.items() if flag in old.split()]
                near = difflib.get_close_matches(flag, self._option_string_actions, n=1)
                hints += [f"did you mean {each}?" for each in near]
                self.error(": ".join([f"there is no flag {flag}", *hints[:1]]))
        return super().parse_known_args(args, namespace)

    def line(self, values: dict[str, Any]) -> str:
        """The command that gives flags these values, as it is typed in a shell; flags that have their default are left out."""
        flags, words = {flag.dest: flag for flag in self.flags()}, self.prog.removeprefix("python ").split()
        for name, value in values.items():
            if name not in flags or value is None or value == flags[name].default:
                continue
            if isinstance(value, bool):
                words.append(f"--{name}" if value else f"--no-{name}")
            else:
                words += flags[name].option_strings[:1]
                words += map(str, value) if isinstance(value, list) else [str(value)]
        return shlex.join(["python", *words])

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1000]} (see {self.prog} --help)")

    def shorten_help(self) -> None:
        """Have the help show the basic flags alone, if the script has any."""
        others = [action for action in self.flags() if not getattr(action, "basic", not action.option_strings)]
        if len(others) < len(self.flags()):
            for action in others:
                action.help = argparse.SUPPRESS
            self.epilog = f"{len(others)} more flags: --help-all"


class Switch(argparse.Action):
    """--name {auto,on,off}: --name alone is on, --no-name off."""

    def __init__(self, option_strings: Sequence[str], **details: Any) -> None:
        (flag,) = option_strings
        super().__init__([flag, f"--no-{flag[2:]}"], nargs="?", const="on", **details)

    def __call__(self, parser, namespace, value, flag) -> None:
        setattr(namespace, self.dest, "off" if flag.startswith("--no-") else value)


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the default to every help line, unless it is None or told."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        told = action.default is None or "default" in (action.help or "")
        return action.help if told else super()._get_help_string(action)


def refuse(wrong: object, message: str) -> None:
    """Raise a UsageError if something is wrong."""
    if wrong:
        raise UsageError(message)


def apply_defaults(opt: argparse.Namespace, values: dict[str, Any]) -> None:
    """Set the options that were not given."""
    vars(opt).update((name, value) for name, value in values.items() if name not in opt.explicit)


def flags_of_file(content: dict[str, Any], parser: Parser, *, where: str) -> list[str]:
    """A YAML file's {flag: value} as a command line. where: the file, for the UsageError of flags that are wrong."""
    words, tokens = {action.dest for action in parser.flags() if "off" in (action.choices or ())}, []
    for name, value in content.items():
        name = str(name).removeprefix("--")
        if isinstance(value, bool):  # as YAML reads on and off, too
            on = "on" if value else "off"
            tokens.append(f"--{name}={on}" if name in words else f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, list):
            tokens += [f"--{name}", *map(str, value)]
        elif value is not None:
            tokens.append(f"--{name}={value}")
    try:
        parser.parse_args(tokens)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    return tokens


def integer(minimum: int, maximum: int = 2**31 - 1, *, step: int = 1) -> Callable[[str], int]:
    """An argument type: an integer in [minimum, maximum], a multiple of `step`."""
    return number(minimum, maximum, step=step)


def number(minimum: float, maximum: float = 1e6, *, above: bool = False, step: int = 0) -> Callable[[str], float]:
    """An argument type: a number in [minimum, maximum], or in (minimum, maximum] if `above`. step: see integer; 0: none."""
    kind = int if step else float

    def convert(text: str) -> float:
        with contextlib.suppress(ValueError):
            value = kind(text)
            if minimum <= value <= maximum and not (above and value == minimum) and not (step and value % step):
                return value
        wanted = "an integer" if step == 1 else f"a multiple of {step}" if step else "a number"
        limits = f"{'above' if above else 'at least'} {minimum:g} and at most {maximum:.10g}"
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted} {limits}")

    return convert


def run_name(text: str) -> str:
    """An argument type: the name of a run, which is a folder's name."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+=-]{0,99}", text):
        return text
    allowed = "up to 100 letters, digits and . _ + = - (not starting with . + = -), and not the path of its folder"
    raise argparse.ArgumentTypeError(f"{text!r} cannot name a run: use {allowed}")


def existing_path(text: str) -> Path:
    """An argument type: a folder or file that exists."""
    path = user_path(text)
    if not text or not os.path.exists(path):  # pathlib's raises for invalid names
        raise argparse.ArgumentTypeError(f"{text!r} does not exist")
    return path
