"""The files of a search: contact_sheet.png, index.html, trials.csv and best.yaml."""

import csv
import io
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import yaml
from optuna.trial import FrozenTrial, TrialState

from util.images import ImageError, read_rgb, write_bytes, write_png
from util.results.pages import html_page, table
from util.search.halving import differing
from util.search.space import Space
from util.search.study import Search, run_folder
from util.training.translator_run import PICTURE

WIDTH = 300  # pixels of a picture
COLUMNS = 4
LINE = 18  # pixels of a line of text
FONT = cv2.FONT_HERSHEY_SIMPLEX


def write_sheets(opt: Namespace, space: Space, search: Search) -> None:
    """Write all four from the search's state."""
    trials = [trial for trial in search.short.get_trials(deepcopy=False) if trial.params]
    halving = {t.user_attrs["trial"]: t for t in search.long.trials} if hasattr(search, "long") else {}
    varied = differing([trial.params for trial in trials])
    write_bytes(opt.folder / "trials.csv", trials_csv(trials, halving, list(space.varied)).encode())
    pictures = {trial.number: keep_picture(opt, trial.number) for trial in trials}
    tiles = [contact(trial, halving.get(trial.number), pictures[trial.number], varied) for trial in trials]
    if tiles:
        write_png(opt.folder / "contact_sheet.png", contact_sheet(tiles))
    text = page_text(opt, trials, halving, varied, pictures)
    write_bytes(opt.folder / "index.html", html_page(f"Search {opt.name}", text).encode())
    best = best_trial(trials, halving)
    if best is not None:
        write_bytes(opt.folder / "best.yaml", best_yaml(space, best, opt.name).encode())


def keep_picture(opt: Namespace, number: int) -> Path | None:
    """The picture that stage one left, kept under pictures/ before later stages replace it; None where there is none."""
    kept = opt.folder / "pictures" / f"trial_{number:03d}.png"
    if not kept.exists():
        source = run_folder(opt.folder, number) / PICTURE
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


def contact(trial: FrozenTrial, later: FrozenTrial | None, picture: Path | None, varied: list[str]) -> np.ndarray:
    """One trial: its number and score above what it paints, the flags that differ beneath. uint8 RGB."""
    image = np.full((WIDTH // 2, WIDTH, 3), 235, np.uint8)
    if picture is not None:
        try:
            image = read_rgb(picture)
        except ImageError:
            picture = None
    if picture is not None:
        image = cv2.resize(image, (WIDTH, round(WIDTH * image.shape[0] / image.shape[1])), interpolation=cv2.INTER_AREA)
    words = [f"{flag}: {trial.params[flag]}" for flag in varied]
    sheet = np.full((26 + len(image) + LINE * len(words) + 8, WIDTH, 3), 255, np.uint8)
    cv2.putText(sheet, str(trial.number), (2, 20), FONT, 0.7, (0, 0, 0), 2, cv2.LINE_AA)
    cv2.putText(sheet, state_of(trial, later), (46, 19), FONT, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
    sheet[26 : 26 + len(image)] = image
    for line, text in enumerate(words):
        place = (2, 26 + len(image) + 14 + LINE * line)
        cv2.putText(sheet, text[:44], place, FONT, 0.4, (40, 40, 40), 1, cv2.LINE_AA)
    return sheet


def contact_sheet(tiles: list[np.ndarray], *, gap: int = 12) -> np.ndarray:
    """Pictures of one width in rows of COLUMNS on white."""
    height = max(len(tile) for tile in tiles)
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (WIDTH + gap) + gap, 3), 255, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = gap + index // columns * (height + gap), gap + index % columns * (WIDTH + gap)
        sheet[top : top + len(tile), left : left + WIDTH] = tile
    return sheet


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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["number", "state", "score", "halving_state", "halving_step", "halving_score", *flags, "run", "reason"]
    )
    for trial in trials:
        later = halving.get(trial.number)
        step = max(later.intermediate_values, default="") if later else ""
        writer.writerow(
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
    return text.getvalue()


def best_trial(trials: list[FrozenTrial], halving: Mapping[int, FrozenTrial]) -> FrozenTrial | None:
    """The winner of halving; before there is one, the best of stage one."""
    winners = [n for n, later in halving.items() if later.state == TrialState.COMPLETE]
    complete = [t for t in trials if (t.number in winners if winners else t.state == TrialState.COMPLETE)]
    return min(complete, key=lambda trial: (trial.value, trial.number), default=None)


def best_yaml(space: Space, trial: FrozenTrial, name: str) -> str:
    """The trial's flags as train.py --options takes them."""
    head = f"# trial {trial.number} of the search {name}; python train.py --name NAME --options best.yaml\n"
    return head + yaml.safe_dump(space.flags(trial.params), sort_keys=False, allow_unicode=False)
