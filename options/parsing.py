"""The parser of all scripts: flags with two levels of help, argument types with ranges, and errors with suggestions."""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

from data.masks.values import parse_values
from models.config import SAME, Knob
from options.old_flags import OLD_VALUES, explain_flag


class Parser(argparse.ArgumentParser):
    """An ArgumentParser with two levels of help, whose errors are one sentence on stderr (exit status 2).

    --help shows the flags marked as basic, --help-all all of them. The error for an unknown flag or choice suggests the
    nearest known one; for a flag of the CycleGAN code base, its replacement.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(formatter_class=HelpFormatter, allow_abbrev=False, add_help=False, **kwargs)
        helps = self.add_argument_group("help")
        details = {"action": _Help, "nargs": 0, "dest": argparse.SUPPRESS, "default": argparse.SUPPRESS}
        helps.add_argument("-h", "--help", const=False, help="show the basic flags", **details)
        helps.add_argument("--help-all", const=True, help="show all flags", **details)

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"(\S{200})\S+", r"\1...", message)
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")

    def flags(self) -> list[argparse.Action]:
        """The script's flags, without the help flags."""
        return [action for action in self._actions if not isinstance(action, _Help)]

    def may_change(self) -> frozenset[str]:
        """The options that may change when a run is continued: they do not affect what is computed."""
        return frozenset(action.dest for action in self.flags() if getattr(action, "may_change", False))

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        """As argparse's, but reports unknown flags before missing ones, with a suggestion, and says which take no value."""
        args = sys.argv[1:] if args is None else list(args)
        flags = [token.partition("=")[0] for token in takewhile(lambda token: token != "--", args)]
        unknown = [f for f in flags if re.match(r"--?[A-Za-z]", f) and f not in self._option_string_actions]
        if unknown:
            self.error(". ".join(map(self._explain_unknown, dict.fromkeys(unknown))))
        for token in takewhile(lambda token: token != "--", args):
            self._refuse_value(*token.partition("=")[::2], given="=" in token)
        namespace, left = super().parse_known_args(args, namespace)
        for before, token in zip(["", *args], args):
            self._refuse_value(before, token, given=token in left)
        return namespace, left

    def _refuse_value(self, flag: str, value: str, *, given: bool) -> None:
        """The error for a value that is given to a flag without one."""
        action = self._option_string_actions.get(flag)
        if given and action is not None and action.nargs == 0:
            self.error(f"{flag} takes no value, and got {_short(value)}: give {' or '.join(action.option_strings)}")

    def _explain_unknown(self, flag: str) -> str:
        reason = explain_flag(flag)
        if reason is None:
            near = nearest(flag, self._option_string_actions)
            elsewhere = [script for script in PARSERS if script != self.prog and flag in flags_of(script)]
            if elsewhere:
                reason = f"it is a flag of {' and '.join(elsewhere)}"
            elif near:
                reason = f"did you mean {near}?"
        return f"{self.prog} has no flag {flag}" + (f": {reason}" if reason else "")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        flag = action.option_strings[0]
        message = f"{value!r} is not one of {', '.join(map(str, action.choices))}"
        hint = OLD_VALUES.get((flag, str(value)))
        near = nearest(str(value), map(str, action.choices))
        if hint or near:
            message += f"; {hint or f'did you mean {near}?'}"
        raise argparse.ArgumentError(action, message)

    def format_help(self, *, everything: bool = True) -> str:
        """The help text. everything: all flags; else the basic ones, if the script has any."""
        further = [action for action in self.flags() if not getattr(action, "basic", False)]
        if everything or len(further) == len(self.flags()):
            return super().format_help()
        helps = [action.help for action in further]
        for action in further:
            action.help = argparse.SUPPRESS
        text = super().format_help()
        for action, help in zip(further, helps):
            action.help = help
        return f"{text}\n{len(further)} more flags: python {self.prog} --help-all\n"


# {script: (module, function) of its parser}
PARSERS = {
    "train.py": ("options.train_options", "train_parser"),
    "test.py": ("options.test_options", "test_parser"),
    "classify.py": ("options.classify_options", "classify_parser"),
    "preprocess_masks.py": ("options.preprocess_masks_options", "preprocess_masks_parser"),
}


def flags_of(script: str) -> set[str]:
    """The flags of a script, as "--name"."""
    module, function = PARSERS[script]
    return set(getattr(import_module(module), function)()._option_string_actions)


class _Help(argparse.Action):
    """--help and --help-all."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        print(parser.format_help(everything=self.const), end="")
        parser.exit()


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the default to every help line, unless it is decided later (None)."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or "default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most similar to `word`; None if none is similar."""
    words = {each.lower(): each for each in known}
    return next((words[each] for each in difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)), None)


def add_flag(
    group: argparse._ActionsContainer,
    flag: str,
    *,
    basic: bool = False,
    may_change: bool = False,
    translators_only: bool = False,
    **kwargs: Any,
) -> argparse.Action:
    """add_argument with attributes of the flag.

    basic: --help shows it. may_change: it does not affect what is computed, and may change when a run is continued.
    translators_only: SilNet does not use it.
    """
    action = group.add_argument(flag, **kwargs)
    action.basic, action.may_change, action.translators_only = basic, may_change, translators_only
    return action


def add_switch(
    group: argparse._ActionsContainer, flag: str, *, default: bool | None, help: str, **marks: bool
) -> argparse.Action:
    """add_flag for `--flag/--no-flag`."""
    return add_flag(group, flag, action=argparse.BooleanOptionalAction, default=default, help=help, **marks)


def add_knob(group: argparse._ActionsContainer, knob: Knob, *, choices: tuple[str, ...] = ()) -> None:
    """Add the flag of a knob. Its default is None, as it may depend on other flags. choices: of a registry."""
    marks = {
        "basic": knob.basic,
        "may_change": knob.may_change,
        "translators_only": knob.silnet is MISSING,
    }
    flag, help = f"--{knob.name}", f"{knob.help} ({describe_defaults(knob)})".replace("%", "%%")
    choices = choices or knob.choices
    if knob.type is bool:
        action = add_switch(group, flag, default=None, help=help, **marks)
    elif choices:
        action = add_flag(group, flag, choices=choices, help=help, **marks)
    else:
        convert = (
            integer(knob.low, int(knob.high)) if knob.type is int else number(knob.low, knob.high, above=knob.above)
        )
        metavar = knob.metavar or ("N" if knob.type is int else "X")
        action = add_flag(group, flag, type=convert, metavar=metavar, help=help, **marks)
    action.knob = knob


def describe_defaults(knob: Knob) -> str:
    """A knob's values in words: "default: 0.75; --paper: 0; --no-mask: 0"."""
    values = [f"default: {'of the model' if knob.of_model else show(knob.default)}"]
    for flag, value in (("--paper", knob.paper), ("--no-mask", knob.no_mask), ("SilNet", knob.silnet)):
        if value is not SAME and value is not MISSING and value != knob.default:
            values.append(f"{flag}: {show(value)}")
    return "; ".join(values)


def show(value: Any) -> str:
    """A value as text: on, off, 2e-05, white."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_flags(values: dict[str, Any]) -> list[str]:
    """Options as a command line: {"lr": 0.1, "mask": False} -> ["--lr=0.1", "--no-mask"]. None is left out."""
    tokens = []
    for name, value in values.items():
        if isinstance(value, bool):
            tokens.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, (list, tuple)):
            tokens += [f"--{name}", *map(str, value)]
        elif value is not None:
            tokens.append(f"--{name}={value}")
    return tokens


def parse_with_explicit(parser: Parser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse argv (None: the command line); `.explicit` lists the destinations of the flags in argv.

    argparse leaves an attribute alone that the namespace has already. So those that still hold the marker were not given.
    """
    marker = object()
    opt = parser.parse_args(argv, argparse.Namespace(**{action.dest: marker for action in parser.flags()}))
    opt.explicit = sorted(dest for dest, value in vars(opt).items() if value is not marker)
    for action in parser.flags():
        if getattr(opt, action.dest) is marker:
            setattr(opt, action.dest, action.default)
    return opt


def integer(minimum: int, maximum: int = 2**31 - 1) -> Callable[[str], int]:
    """An argument type: an integer in [minimum, maximum]."""
    return _in_range(int, "an integer", minimum, maximum)


def number(minimum: float, maximum: float = 1e6, *, above: bool = False) -> Callable[[str], float]:
    """An argument type: a finite number in [minimum, maximum], or in (minimum, maximum] if `above`."""
    return _in_range(float, "a number", minimum, maximum, above)


def _in_range(kind: type, name: str, minimum: float, maximum: float, above: bool = False) -> Callable:
    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{_short(text)} is not {name}") from None
        if not ((value > minimum if above else value >= minimum) and value <= maximum):  # nor does nan
            low = f"{'above' if above else 'at least'} {minimum:g}"
            high = maximum if isinstance(maximum, int) else f"{maximum:g}"
            raise argparse.ArgumentTypeError(f"{_short(text)} is not {low} and at most {high}")
        return value

    return convert


def _short(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "...")


def run_name(text: str) -> str:
    """An argument type: the name of a run, which is a folder's name."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+=-]{0,99}", text):
        if "/" in text and Path(text).is_dir():
            raise argparse.ArgumentTypeError(f"{text!r} is a folder; give the run's name, {Path(text).name}")
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot name a run: use up to 100 letters, digits and . _ + = - (not starting with . + = -)"
        )
    return text


def _existing(exists: Callable[[str], bool], name: str) -> Callable[[str], Path]:
    """An argument type: a path that passes the test, one of os.path's, as pathlib's raise for invalid names."""

    def convert(text: str) -> Path:
        if not exists(text):
            raise argparse.ArgumentTypeError(f"{_short(text)} is {name}")
        return Path(text)

    return convert


existing_dir = _existing(os.path.isdir, "not a folder")
existing_path = _existing(os.path.exists, "neither a folder nor a file")
existing_file = _existing(os.path.isfile, "not a file")


def mask_values(text: str) -> str:
    """An argument type: values of a mask file that mean hand, such as 1 or 2-33,40."""
    try:
        parse_values(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
