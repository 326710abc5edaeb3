"""The files of a search: contact_sheet.png, index.html, trials.csv and best.yaml."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml
from optuna.trial import FrozenTrial, TrialState

from util.drawing import PAPER, sheet
from util.files import csv_text, write_bytes
from util.images import ImageError, read_rgb, write_png
from util.results.pages import html_page, table
from util.search.halving import differing
from util.search.space import Space
from util.search.study import Search, run_folder
from util.training.translator_run import TRANSLATOR

COLUMNS = 4
NO_PICTURE = np.full((150, 300, 3), 235, np.uint8)


def write_sheets(opt: Namespace, space: Space, search: Search) -> None:
    """Write all four from the search's state."""
    trials = [trial for trial in search.short.get_trials(deepcopy=False) if trial.params]
    halving = {t.user_attrs["trial"]: t for t in search.long.trials} if hasattr(search, "long") else {}
    varied = differing([trial.params for trial in trials])
    write_bytes(opt.folder / "trials.csv", trials_csv(trials, halving, list(space.varied)).encode())
    pictures = {trial.number: keep_picture(opt, trial.number) for trial in trials}
    if trials:
        write_png(opt.folder / "contact_sheet.png", contact_sheet(trials, halving, pictures, varied))
    text = page_text(opt, trials, halving, varied, pictures)
    write_bytes(opt.folder / "index.html", html_page(f"Search {opt.name}", text).encode())
    best = best_trial(trials, halving)
    if best is not None:
        write_bytes(opt.folder / "best.yaml", best_yaml(space, best, opt.name).encode())


def keep_picture(opt: Namespace, number: int) -> Path | None:
    """The picture that stage one left, kept under pictures/ before later stages replace it; None where there is none."""
    kept = opt.folder / "pictures" / f"trial_{number:03d}.png"
    if not kept.exists():
        source = run_folder(opt.folder, number) / TRANSLATOR.picture
        if not source.exists():
            return None
        write_bytes(kept, source.read_bytes())
    return kept


def state_of(trial: FrozenTrial, later: FrozenTrial | None) -> str:
    """The trial's state in words, with its newest score."""
    if later is not None and later.intermediate_values:
        step = max(later.intermediate_values)
        word = {TrialState.PRUNED: "pruned", TrialState.COMPLETE: "winner", TrialState.FAIL: "failed"}.get(
            later.state, ""
        )
        return f"{later.intermediate_values[step]:.3f} at step {step} {word}".rstrip()
    if trial.state == TrialState.COMPLETE:
        return f"{trial.value:.3f}"
    return trial.state.name.lower()


def contact_sheet(
    trials: list[FrozenTrial],
    halving: Mapping[int, FrozenTrial],
    pictures: Mapping[int, Path | None],
    varied: list[str],
) -> np.ndarray:
    """What each trial paints, in rows of COLUMNS; below it its number, its score and the flags that differ. uint8 RGB."""
    columns = min(COLUMNS, len(trials))
    images = [trial_picture(pictures[trial.number]) for trial in trials]
    captions = []
    for trial in trials:
        lines = [f"{trial.number}: {state_of(trial, halving.get(trial.number))}"]
        captions.append("\n".join(lines + [f"{flag} {shown(trial.params[flag])}" for flag in varied]))
    missing = -len(trials) % columns
    images += [np.full((1, 1, 3), PAPER, np.uint8)] * missing
    captions += [""] * missing
    starts = range(0, len(images), columns)
    return sheet([images[i : i + columns] for i in starts], captions=[captions[i : i + columns] for i in starts])


def shown(value: object) -> str:
    """A flag's value for people: four digits of a number."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def trial_picture(file: Path | None) -> np.ndarray:
    """The picture, or a pale one where there is none that can be read. uint8 RGB."""
    try:
        return read_rgb(file) if file else NO_PICTURE
    except ImageError:
        return NO_PICTURE


def page_text(
    opt: Namespace,
    trials: list[FrozenTrial],
    halving: Mapping[int, FrozenTrial],
    varied: list[str],
    pictures: Mapping[int, Path | None],
) -> str:
    """index.html as Markdown."""
    ended = any(reason(trial, halving) for trial in trials)
    rows = []
    for trial in trials:
        cells = [str(trial.number), state_of(trial, halving.get(trial.number))]
        cells += [str(trial.params[flag]) for flag in varied]
        rows.append(cells + [reason(trial, halving)] * ended)
    header = ["trial", "score", *varied] + ["why it went no further"] * ended
    again = f"python -m util.search {opt.space} --name {opt.name} --trials {opt.trials} --steps {opt.steps}"
    parts = [
        f"# Search {opt.name}",
        f"{len(trials)} trials of {opt.steps} steps. The score is the validation's; lower is better. Look at the pictures, then "
        f"go on with the trials that look right: `{again} --keep NUMBERS`",
        table(header, rows) if rows else "No trial has begun.",
        *["![All trials, by number](contact_sheet.png)"] * bool(trials),
    ]
    for trial in trials:
        if pictures[trial.number]:
            caption = ", ".join(f"{flag} {trial.params[flag]}" for flag in varied)
            parts.append(
                f"## {trial.number}\n\n![trial {trial.number}](pictures/{pictures[trial.number].name})\n\n{caption}"
            )
    return "\n\n".join(parts) + "\n"


def reason(trial: FrozenTrial, halving: Mapping[int, FrozenTrial]) -> str:
    """Why the trial went no further."""
    later = halving.get(trial.number)
    attributes = {**trial.user_attrs, **(later.user_attrs if later else {})}
    return str(attributes.get("error") or attributes.get("pruned") or "")


def trials_csv(trials: list[FrozenTrial], halving: Mapping[int, FrozenTrial], flags: list[str]) -> str:
    """trials.csv: one row a trial, with its state and scores in both stages and one column a varied flag."""
    header = ["number", "state", "score", "halving_state", "halving_step", "halving_score", *flags, "run", "reason"]
    rows = []
    for trial in trials:
        later = halving.get(trial.number)
        step = max(later.intermediate_values, default="") if later else ""
        rows.append(
            [
                trial.number,
                trial.state.name,
                "" if trial.value is None else trial.value,
                later.state.name if later else "",
                step,
                later.intermediate_values[step] if step != "" else "",
                *(trial.params[flag] for flag in flags),
                f"runs/trial_{trial.number:03d}",
                reason(trial, halving),
            ]
        )
    return csv_text(header, rows)


def best_trial(trials: list[FrozenTrial], halving: Mapping[int, FrozenTrial]) -> FrozenTrial | None:
    """The winner of halving; before there is one, the best of stage one."""
    winners = [n for n, later in halving.items() if later.state == TrialState.COMPLETE]
    complete = [t for t in trials if (t.number in winners if winners else t.state == TrialState.COMPLETE)]
    return min(complete, key=lambda trial: (trial.value, trial.number), default=None)


def best_yaml(space: Space, trial: FrozenTrial, name: str) -> str:
    """The trial's flags as train.py --options takes them."""
    head = f"# trial {trial.number} of the search {name}; python train.py --name NAME --options best.yaml\n"
    return head + yaml.safe_dump(space.flags(trial.params), sort_keys=False, allow_unicode=False)
