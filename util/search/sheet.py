"""The files of a search: contact_sheet.png, index.html, trials.csv and best.yaml."""

import numpy as np
import yaml
from optuna.trial import FrozenTrial, TrialState

from util.drawing import PAPER, sheet
from util.files import csv_text, write_bytes
from util.images import read_rgb, write_png
from util.results.pages import html_page, table
from util.search.trials import Search, latest, run_folder

COLUMNS = 4
NO_PICTURE = np.full((150, 300, 3), 235, np.uint8)


def write_sheets(search: Search) -> None:
    """Write all four from the search's state."""
    opt, flags = search.opt, list(search.varied)
    trials = latest(search.short) | (latest(search.long) if search.long else {})
    header, rows = ["trial", "state", "score", *flags, "reason"], []
    for run, trial in trials.items():
        values = [trial.params.get(flag, "") for flag in flags]
        rows.append([run, trial.state.name.lower(), score_of(trial), *values, trial.user_attrs.get("reason", "")])
    write_bytes(opt.folder / "trials.csv", csv_text(header, rows).encode())
    write_png(opt.folder / "contact_sheet.png", contact_sheet(search, trials))
    again = f"python -m util.search {opt.space} --name {opt.name} --trials {opt.trials} --steps {opt.steps}"
    text = (
        f"# Search {opt.name}\n\n{len(rows)} trials of {opt.steps} steps. The score is the one that chooses best.pt; lower is "
        f"better. Look at the pictures, then go on with the trials that look right: `{again} --keep NUMBERS`\n\n"
        f"![All trials, by number](contact_sheet.png)\n\n{table(header, [[*map(shown, row)] for row in rows])}\n"
    )
    write_bytes(opt.folder / "index.html", html_page(f"Search {opt.name}", text).encode())
    best = best_trial(search)
    if best is not None:
        head = f"# trial {best.user_attrs['run']} of the search {opt.name}\n"
        flags = yaml.safe_dump(search.fixed | best.params, sort_keys=False)
        write_bytes(opt.folder / "best.yaml", (head + flags).encode())


def best_trial(search: Search) -> FrozenTrial | None:
    """The trial with the lowest score of those that halving left or, without one, of the short ones."""
    for study in filter(None, (search.long, search.short)):
        ended = [trial for trial in latest(study).values() if trial.state == TrialState.COMPLETE]
        if ended:
            return min(ended, key=lambda trial: trial.value)
    return None


def score_of(trial: FrozenTrial) -> float | str:
    """The trial's newest score."""
    return trial.intermediate_values.get(trial.last_step, "" if trial.value is None else trial.value)


def contact_sheet(search: Search, trials: dict[int, FrozenTrial]) -> np.ndarray:
    """What each trial paints, in rows of COLUMNS; below it its number, its score and the flags that vary. uint8 RGB."""
    images, captions = [], []
    for run, trial in trials.items():
        picture = next(run_folder(search.opt, run).glob("synthetic_*.png"), None)
        images.append(read_rgb(picture) if picture else NO_PICTURE)
        lines = [f"{run}: {shown(score_of(trial))} {trial.state.name.lower()}"]
        captions.append("\n".join(lines + [f"{flag} {shown(value)}" for flag, value in trial.params.items()]))
    missing = -len(images) % min(COLUMNS, len(images))
    images += [np.full((1, 1, 3), PAPER, np.uint8)] * missing
    captions += [""] * missing
    starts = range(0, len(images), COLUMNS)
    return sheet([images[i : i + COLUMNS] for i in starts], captions=[captions[i : i + COLUMNS] for i in starts])


def shown(value: object) -> str:
    """A value for people: four digits of a number."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
