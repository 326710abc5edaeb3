"""Write the pages that are derived from the code, docs/defaults.md and docs/old_flags.md: python -m options.document"""

from dataclasses import MISSING
from pathlib import Path

from models.config import SAME, Knob, knobs
from options.old_flags import OLD_FLAGS, OLD_VALUES
from options.parsing import show
from util.files import write_bytes

DOCS = Path(__file__).resolve().parents[1] / "docs"
GROUPS = ("data", "model", "losses", "training", "extras", "machine")  # of knobs, in the order of the help
WRITTEN = "<!-- Written by python -m options.document; change {source} instead. -->"

DEFAULTS_TEXT = """# Defaults

Every flag of `train.py` that decides what is trained. Without `--paper` the defaults are what worked best in our trials; with
`--paper` they are those of the paper and its released code, and no extra runs. A flag that is given wins over both.
`--no-mask` turns off what needs masks, and `--model silnet` has defaults of its own. "same": the default's value. "-": the flag
does not apply.

[study.md](study.md) shows what the defaults give over 7,000 steps and what was tried on the way. They are not certain: trials
were of one seed each, on some 700 images per domain, with `--ngf 32 --ndf 32` and small crops, and judged by eye as much as by
scores. Those not named there were chosen in trials of 100 to 1,000 steps.
"""

OLD_FLAGS_TEXT = """# Flags of the CycleGAN code base

Flags and values of `junyanz/pytorch-CycleGAN-and-pix2pix`, what replaces them here, and why. The scripts' errors say the same.
"""


def main() -> None:
    """Write the pages."""
    for name, text in pages().items():
        write_bytes(DOCS / name, text.encode())
        print(f"written: {DOCS / name}")


def pages() -> dict[str, str]:
    """{file name in docs/: its text}."""
    return {"defaults.md": defaults_page(), "old_flags.md": old_flags_page()}


def defaults_page() -> str:
    """The training options by their groups in the help, and why our defaults differ from the paper's."""
    lines = [WRITTEN.format(source="models/config.py"), "", DEFAULTS_TEXT.rstrip()]
    by_name = knobs()
    for group in GROUPS:
        lines += ["", f"## {group.capitalize()}", "", "| flag | default | `--paper` | `--no-mask` | SilNet | meaning |"]
        lines += [
            "| --- | --- | --- | --- | --- | --- |",
            *(_row(knob) for knob in by_name.values() if knob.group == group),
        ]
    reasons = [
        f"- `--{name}`: {knob.reason[0].upper()}{knob.reason[1:]}." for name, knob in by_name.items() if knob.reason
    ]
    return "\n".join([*lines, "", "## Why ours differ from the paper's", "", *reasons, ""])


def _row(knob: Knob) -> str:
    values = [show(knob.default), _other(knob.paper, knob), _other(knob.no_mask, knob), _other(knob.silnet, knob)]
    if knob.of_model:
        values[:2] = ["the model's", "same"]
    choices = f": {', '.join(knob.choices)}" if knob.choices else ""
    return f"| `--{knob.name}` | {' | '.join(values)} | {knob.help}{choices} |"


def _other(value: object, knob: Knob) -> str:
    if value is MISSING:
        return "-"
    return "same" if value is SAME or value == knob.default else show(value)


def old_flags_page() -> str:
    """OLD_FLAGS and OLD_VALUES as two tables."""
    lines = [WRITTEN.format(source="options/old_flags.py"), "", OLD_FLAGS_TEXT]
    lines += ["| there | here | why |", "| --- | --- | --- |"]
    lines += [
        f"| `{old}` | {f'`{entry.use}`' if entry.use else 'nothing'} | {entry.why} |"
        for old, entry in OLD_FLAGS.items()
    ]
    lines += ["", "## Values", "", "| there | here |", "| --- | --- |"]
    lines += [f"| `{flag} {value}` | {why} |" for (flag, value), why in OLD_VALUES.items()]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
