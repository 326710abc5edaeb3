"""Checks of the options of a stored run, by the ranges and choices of their knobs."""

from pathlib import Path
from typing import Any

from models import DISCRIMINATORS, GENERATORS
from models.config import Knob, knobs
from util.errors import UsageError

# Options that a translator cannot do without; others may be newer than the run.
NEEDED = ("netG", "netD", "ngf", "norm", "upsample", "model", "mask", "extend_colors", "crop_to_hand", "background")
REGISTRIES = {"netG": tuple(GENERATORS), "netD": tuple(DISCRIMINATORS)}


def check_knobs(options: dict[str, Any], file: Path) -> None:
    """Raise UsageError, naming the option, if a knob in options.yaml is missing or out of its range."""
    missing = [name for name in NEEDED if name not in options]
    if missing:
        raise UsageError(f"{file} does not say {', '.join(missing)}; put back the file that the run was started with")
    for name, knob in knobs().items():
        if options.get(name) is not None and not fits(knob, options[name]):
            shown = str(options[name])[:40]
            raise UsageError(f"{file}: {name} cannot be {shown!r}; put back the file that the run was started with")


def fits(knob: Knob, value: Any) -> bool:
    """Whether a value is one that the knob's flag gives."""
    if knob.type is bool:
        return isinstance(value, bool)
    if knob.type is str:
        return value in (REGISTRIES.get(knob.name) or knob.choices)
    if not isinstance(value, (int, knob.type)) or isinstance(value, bool):
        return False
    return (value > knob.low if knob.above else value >= knob.low) and value <= knob.high
