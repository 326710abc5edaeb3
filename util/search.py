"""Search for settings: python -m util.search SPACE.yaml --name NAME --trials N --steps N

Short trials of a space of flags, then successive halving of those that look right. All are trials of one Optuna study, a queue
that several processes share. A trial's user attributes are "run", the number of its run of train.py, and "steps", how far it
trains that. What a killed process left is queued again, and goes on from its checkpoint.
"""

from __future__ import annotations  # Optuna's classes are named in signatures, and it may not be installed

import json
import logging
import math
import time
import warnings
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from options.parsing import Parser, existing_path, integer, run_name
from options.train_options import parse_train, train_parser
from util import workers
from util.checkpoint_file import load_checkpoint
from util.drawing import sheet
from util.errors import RunError, UsageError, first_lines, run_command
from util.files import LOCK_FILE, csv_text, locked, user_path, write_bytes
from util.images import read_rgb, write_png
from util.results.pages import html_page, table
from util.run import BEST, OPTIONS_FILE, read_mapping
from util.training.logger import setup_logging

try:
    import optuna
    from optuna.trial import FrozenTrial, Trial, TrialState
except ImportError:
    optuna = None

log = logging.getLogger("search")

RESERVED = {"name", "checkpoints_dir", "continue_train", "max_steps", "options"}  # flags that the search sets itself


class Search:
    """fixed: flags of all trials; varied: {flag: a list of values, or a range with low, high, log and step}; settings: {run: its
    values of these}. Raises UsageError."""

    def __init__(self, opt: Namespace) -> None:
        content = read_mapping(opt.space, name=str(opt.space))
        self.opt, self.fixed, self.varied = opt, content.get("fixed") or {}, content.get("space")
        if not isinstance(self.varied, dict):
            raise UsageError(f"{opt.space} must hold a mapping `space:` of flags that vary")
        if wrong := (RESERVED & {*self.fixed, *self.varied}) | (set(self.fixed) & set(self.varied)):
            raise UsageError(f"{opt.space}: {', '.join(wrong)} stands in both, or is set by the search itself")
        drawing, tries = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=opt.seed)), 0
        self.settings: dict[int, dict[str, Any]] = {}  # drawn at random, no two alike
        while len(self.settings) < opt.trials and (tries := tries + 1) < 1000 + 10 * opt.trials:
            values = self.suggest(drawing.ask())
            if values not in self.settings.values():
                self.settings[len(self.settings)] = values
        for run, values in self.settings.items():
            parse_train(["--name", "x", "--options", str(self.write_flags(run, values))])  # with train.py's own errors
        if len(self.settings) < opt.trials:
            raise UsageError(f"{opt.space} holds {len(self.settings)} different settings; lower --trials {opt.trials}")
        self.study = self.open_study(space=[self.fixed, self.varied], steps=opt.steps)

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """The trial's values of the flags that vary. Raises UsageError for a range that is none."""
        values = {}
        for flag, ends in self.varied.items():
            try:
                if isinstance(ends, list):
                    values[flag] = trial.suggest_categorical(flag, ends)
                    continue
                ends = {key: float(end) if isinstance(end, str) else end for key, end in ends.items()}  # 1e-4 is a text
                whole = isinstance(ends["low"], int) and isinstance(ends["high"], int)
                values[flag] = (trial.suggest_int if whole else trial.suggest_float)(flag, **ends)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                wanted = "must be a list of values, or {low: ..., high: ...}, with or without log: true or step"
                raise UsageError(f"{self.opt.space}: {flag} {wanted} ({first_lines(error)})") from error
        return values

    def open_study(self, **begun: Any) -> optuna.Study:
        """The search's study. Raises UsageError unless `begun` is as when it was begun."""
        url = self.opt.storage or f"sqlite:///{self.opt.folder / 'study.db'}"
        wait = {"connect_args": {"timeout": 120}} if url.startswith("sqlite") else {}  # one process writes at a time
        storage = optuna.storages.RDBStorage(url, wait, heartbeat_interval=5, grace_period=20)  # seconds
        study = optuna.create_study(study_name=self.opt.name, storage=storage, load_if_exists=True)
        for key, value in json.loads(json.dumps(begun)).items():
            was = study.user_attrs.get(key, value)
            if was != value:
                raise UsageError(f"{self.opt.name} was begun with {key} {was}; give the same, or another --name")
            study.set_user_attr(key, value)
        return study

    def trials(self, steps: int | None = None) -> dict[int, FrozenTrial]:
        """{run: its newest trial}, by number: of those that train it to these steps, or to the most."""
        known = [each for each in self.study.get_trials(deepcopy=False) if "run" in each.user_attrs]
        known = [each for each in known if steps in (None, each.user_attrs["steps"])]
        known.sort(key=lambda each: (each.user_attrs["run"], each.user_attrs["steps"], each.number))
        return {each.user_attrs["run"]: each for each in known}

    def train_all(self, runs: Sequence[int], steps: int) -> list[int]:
        """Train runs to these steps, together with other processes. Returns those that have a score, the best first."""
        while True:
            optuna.storages.fail_stale_trials(self.study)
            known = self.trials(steps)
            for run in runs:
                trial = known.get(run)
                if not trial or (trial.state == TrialState.FAIL and "reason" not in trial.user_attrs):  # it was killed
                    self.study.enqueue_trial(self.settings[run], user_attrs={"run": run, "steps": steps})
            self.write_sheets()
            known = self.trials(steps)
            states = {known[run].state for run in runs}
            if TrialState.WAITING in states:
                self.study.optimize(self.objective, n_trials=1, catch=(RunError,))
            elif TrialState.RUNNING in states:  # another process is at work
                time.sleep(1)
            else:
                done = [run for run in runs if known[run].state == TrialState.COMPLETE]
                return sorted(done, key=lambda run: known[run].value)

    def objective(self, trial: Trial) -> float:
        """What Optuna calls for each trial."""
        values = self.suggest(trial)
        if "run" not in trial.user_attrs:  # another process took the last one of the queue
            raise optuna.TrialPruned
        try:
            return self.train(trial.user_attrs["run"], values, trial.user_attrs["steps"])
        except RunError as error:
            log.error("trial %d failed: %s", trial.user_attrs["run"], error)
            trial.set_user_attr("reason", str(error))
            raise

    def train(self, run: int, values: dict[str, Any], steps: int) -> float:
        """Start or continue a run, to this many steps, and validate at the last: the score that chooses best.pt."""
        log.info("trial %d: to step %d with %s", run, steps, values)
        flags = self.write_flags(run, {"val_interval": 10**5, "display_freq": steps} | values | {"max_steps": steps})
        folder = self.run_folder(run)
        command = ["train.py", "--name", folder.name, "--checkpoints_dir", str(folder.parent), "--options", str(flags)]
        if (folder / OPTIONS_FILE).exists():
            command.append("--continue_train")
            with locked(folder / LOCK_FILE, wait=True):
                pass  # a child of a killed process takes a moment to save
        workers.run_child(command, log=self.opt.folder / "logs" / f"{folder.name}.log")
        if not (best := folder / BEST).exists():
            raise RunError(f"there is no {best}: give the run a val split (val_size) and a feature_net")
        return float(load_checkpoint(best)["score"])

    def run_folder(self, run: int) -> Path:
        """The folder of a trial's run, of all its stages."""
        return self.opt.folder / "runs" / f"trial_{run:03d}"

    def write_flags(self, run: int, values: dict[str, Any]) -> Path:
        """Write the trial's flags as a file for train.py --options."""
        file = self.opt.folder / "flags" / f"trial_{run:03d}.yaml"
        write_bytes(file, yaml.safe_dump(self.fixed | values, sort_keys=False).encode())
        return file

    def best(self) -> FrozenTrial | None:
        """Of the trials that got farthest the one with the lowest score."""
        done = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
        return min(done, key=lambda trial: (-trial.user_attrs["steps"], trial.value), default=None)

    def write_sheets(self) -> None:
        """Write trials.csv, contact_sheet.png, index.html and best.yaml."""
        opt, header = self.opt, ["trial", "state", "steps", "score", *self.varied, "reason"]
        rows, cells = [], []  # cells: of the contact sheet
        for run, trial in self.trials().items():
            score, state = "" if trial.value is None else trial.value, trial.state.name.lower()
            values = [trial.params.get(flag, "") for flag in self.varied]
            reason = trial.user_attrs.get("reason", "")
            rows.append([run, state, trial.user_attrs["steps"], score, *values, reason])
            picture = next(self.run_folder(run).glob("synthetic_*.png"), None)
            lines = [f"{run}: {shown(score)} {state}", *(f"{flag} {shown(v)}" for flag, v in trial.params.items())]
            image = read_rgb(picture) if picture else np.full((150, 300, 3), 235, np.uint8)
            cells.append((image, "\n".join(lines)))
        grid = [list(zip(*cells[i : i + 4])) for i in range(0, len(cells), 4)]
        picture = sheet([images for images, _ in grid], captions=[captions for _, captions in grid])
        write_png(opt.folder / "contact_sheet.png", picture)
        write_bytes(opt.folder / "trials.csv", csv_text(header, rows).encode())
        again = search_parser().line(vars(opt) | {"keep": None})
        text = (
            f"# Search {opt.name}\n\n{len(rows)} trials. The score is the one that chooses best.pt; lower is "
            f"better. Look at the pictures, then go on with the trials that look right: `{again} --keep NUMBERS`\n\n"
            f"![All trials, by number](contact_sheet.png)\n\n{table(header, [[*map(shown, row)] for row in rows])}\n"
        )
        write_bytes(opt.folder / "index.html", html_page(f"Search {opt.name}", text).encode())
        if best := self.best():
            flags = yaml.safe_dump(self.fixed | best.params, sort_keys=False)
            text = f"# trial {best.user_attrs['run']} of the search {opt.name}\n{flags}"
            write_bytes(opt.folder / "best.yaml", text.encode())


def shown(value: object) -> str:
    """A value for people: four digits of a number."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def search_parser() -> Parser:
    """The parser of this command; see parse_search."""
    parser = Parser(
        prog="python -m util.search",
        description="Search for good settings as the paper did (section IV.B): many short trials and a contact sheet of them; "
        "then, with --keep, successive halving of those that look right.",
    )
    parser.add_argument("space", type=existing_path, metavar="SPACE.yaml", help="flags of all trials, and what varies")
    add = parser.group("search")
    add("name", run_name, None, "name of the search; its files go to RESULTS_DIR/search/NAME", required=True)
    add("trials", integer(1, 10000), None, "short trials", required=True)
    add("steps", integer(1), None, "steps of each short trial", required=True)
    add("keep", integer(0, 10000), None, "trials that go on", nargs="+", metavar="TRIAL")
    add("reduction", integer(2, 100), 3, "halving: one trial in N goes on, for N times the steps")
    add("seed", integer(0, 2**31 - 1), 0, "seed of the draws from the space")
    add("storage", None, None, "Optuna's storage, such as postgresql://... (default: SQLite in the search's folder)")
    add("results_dir", user_path, Path("results"), "results go to RESULTS_DIR/search/NAME")
    return parser


def parse_search(argv: Sequence[str] | None = None) -> Namespace:
    """Parse argv (None: the command line); `.folder` is RESULTS_DIR/search/NAME."""
    opt = search_parser().parse_args(argv)
    opt.folder = opt.results_dir / "search" / opt.name
    return opt


def main(opt: Namespace | None = None) -> int:
    """The short trials and, with --keep, the halving, shared with other processes of the same command. Returns the exit status."""
    opt = opt or parse_search()
    if optuna is None:
        raise UsageError("python -m util.search needs Optuna, which is not installed: pip install optuna")
    setup_logging()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats are
    search, steps = Search(opt), opt.steps
    kept = search.train_all(list(search.settings), steps)
    if not opt.keep:
        log.info("look at %s, then go on with --keep", opt.folder / "index.html")
        return 0
    if failed := [str(run) for run in opt.keep if run not in kept]:
        raise UsageError(f"no score from stage one: {' '.join(failed)}; keep others, counted from 0")
    kept = [run for run in kept if run in opt.keep]
    while steps == opt.steps or len(kept) > 1:
        steps *= opt.reduction
        kept = search.train_all(kept, steps)[: math.ceil(len(kept) / opt.reduction)]
    again = {"name": opt.name, "options": opt.folder / "best.yaml"}
    log.info("best: trial %d; now: %s", search.best().user_attrs["run"], train_parser().line(again))
    return 0


if __name__ == "__main__":
    run_command(main)
