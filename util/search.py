"""Search for settings: python -m util.search SPACE.yaml --name NAME --trials N --steps N

Short trials of a space of flags, successive halving, the winner's whole training; and what is written of them. The first two stages
are Optuna studies, queues of trials that several processes share. A trial's user attribute "run" is its number, and that of its
run of train.py. What a killed process left is queued again, and goes on from its checkpoint.
"""

from __future__ import annotations  # Optuna's classes are named in signatures, and it may not be installed

import json
import logging
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from options.parsing import Parser, existing_path, integer, run_name
from options.train_options import parse_train
from util import workers
from util.checkpoint_file import load_checkpoint
from util.drawing import sheet
from util.errors import RunError, UsageError, first_lines, parse_or_exit, run_command
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
    """fixed: flags of all trials; varied: {flag: a list of values, or a range with low, high, log and step}. short: the study of
    stage one; long: that of the kept trials, once halving has begun. Raises UsageError."""

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
        self.short = self.study(opt.name, space=[self.fixed, self.varied], steps=opt.steps)
        self.long: optuna.Study | None = None

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

    def study(self, name: str, *, pruner: Any = None, **begun: Any) -> optuna.Study:
        """The study with this name. Raises UsageError unless `begun` is as when it was begun."""
        url = self.opt.storage or f"sqlite:///{self.opt.folder / 'study.db'}"
        wait = {"connect_args": {"timeout": 120}} if url.startswith("sqlite") else {}  # one process writes at a time
        storage = optuna.storages.RDBStorage(url, wait, heartbeat_interval=5, grace_period=20)  # seconds
        study = optuna.create_study(study_name=name, storage=storage, pruner=pruner, load_if_exists=True)
        for key, value in json.loads(json.dumps(begun)).items():
            was = study.user_attrs.get(key, value)
            if was != value:
                raise UsageError(f"{name} was begun with {key} {was}; give the same, or another --name")
            study.set_user_attr(key, value)
        return study

    def run_short(self) -> None:
        """Stage one: every trial for --steps steps."""
        self.work(self.short, self.settings, lambda run, trial: self.train(run, self.suggest(trial), self.opt.steps))

    def run_long(self) -> None:
        """Stage two: the kept trials, the best first, train --reduction times as long, again and again, unless they are pruned."""
        opt, done = self.opt, latest(self.short)
        if failed := [str(n) for n in opt.keep if n not in done or done[n].state != TrialState.COMPLETE]:
            raise UsageError(f"trials {' '.join(failed)} have no score from stage one; keep others")
        kept = {run: done[run].params for run in sorted(opt.keep, key=lambda run: done[run].value)}
        pruner = optuna.pruners.SuccessiveHalvingPruner(opt.steps * opt.reduction, opt.reduction)
        self.long = self.study(f"{opt.name}-halving", pruner=pruner, keep=sorted(kept), reduction=opt.reduction)

        def train(run: int, trial: Trial) -> float:
            score, steps = done[run].value, opt.steps
            while steps < opt.steps * len(kept):
                steps *= opt.reduction
                score = self.train(run, self.suggest(trial), steps)
                trial.report(score, steps)
                if trial.should_prune():
                    trial.set_user_attr("reason", f"pruned at step {steps}")
                    raise optuna.TrialPruned
            return score

        self.work(self.long, kept, train)

    def finish(self, run: int) -> None:
        """Stage three: the whole training of a run, and its test split. Raises RunError."""
        self.run_train(run, self.settings[run] | ({"max_steps": self.opt.full_steps} if self.opt.full_steps else {}))
        results, net = str(self.opt.folder / "test"), self.fixed.get("feature_net", "auto")
        self.run_script("test.py", run, "--results_dir", results, "--feature_net", net)
        log.info("tested: %s", f"{results}/trial_{run:03d}/test")

    def work(self, study: optuna.Study, settings: dict, train: Callable[[int, Trial], float]) -> None:
        """Train the trials {run: values}, together with other processes, until all have ended, be it by an error."""

        def next_one(trial: Trial) -> float:
            if "run" not in trial.user_attrs:  # another process took the last one of the queue
                raise optuna.TrialPruned
            try:
                return train(trial.user_attrs["run"], trial)
            except RunError as error:
                log.error("trial %d failed: %s", trial.user_attrs["run"], error)
                trial.set_user_attr("reason", str(error))
                raise

        while True:
            optuna.storages.fail_stale_trials(study)
            known = latest(study)
            for run, values in settings.items():
                trial = known.get(run)
                if not trial or (trial.state == TrialState.FAIL and "reason" not in trial.user_attrs):  # it was killed
                    study.enqueue_trial(values, user_attrs={"run": run})
            self.write_sheets()
            states = {trial.state for trial in latest(study).values()}
            if TrialState.WAITING in states:
                study.optimize(next_one, n_trials=1, catch=(RunError,))
            elif TrialState.RUNNING in states:  # another process is at work
                time.sleep(1)
            else:
                return

    def train(self, run: int, values: dict[str, Any], steps: int) -> float:
        """Start or continue a run, to this many steps, and validate at the last: the score that chooses best.pt."""
        log.info("trial %d: to step %d with %s", run, steps, values)
        self.run_train(run, {"val_interval": 10**5, "display_freq": steps} | values | {"max_steps": steps})
        if not (best := self.run_folder(run) / BEST).exists():
            raise RunError(f"there is no {best}: give the run a val split (val_size) and a feature_net")
        return float(load_checkpoint(best)["score"])

    def run_train(self, run: int, flags: dict[str, Any]) -> None:
        """Start or continue the run of a trial."""
        folder = self.run_folder(run)
        if folder.exists():
            with locked(folder / LOCK_FILE, wait=True):
                pass  # a child of a killed process takes a moment to save
        again = ["--continue_train"] if (folder / OPTIONS_FILE).exists() else []
        self.run_script("train.py", run, "--options", str(self.write_flags(run, flags)), *again)

    def run_script(self, script: str, run: int, *flags: str) -> None:
        """Run a script to its end; its output goes to logs/. Raises RunError."""
        output, folder = self.opt.folder / "logs" / f"trial_{run:03d}.log", self.run_folder(run)
        command = [script, "--name", folder.name, "--checkpoints_dir", str(folder.parent), *flags]
        workers.run_child(command, log=output)

    def run_folder(self, run: int) -> Path:
        """The folder of a trial's run, of all its stages."""
        return self.opt.folder / "runs" / f"trial_{run:03d}"

    def write_flags(self, run: int, values: dict[str, Any]) -> Path:
        """Write the trial's flags as a file for train.py --options."""
        file = self.opt.folder / "flags" / f"trial_{run:03d}.yaml"
        write_bytes(file, yaml.safe_dump(self.fixed | values, sort_keys=False).encode())
        return file

    def best(self) -> FrozenTrial | None:
        """The trial with the lowest score of those that halving left or, without one, of the short ones."""
        studies = (latest(study).values() for study in (self.long, self.short) if study)
        ended = ([trial for trial in study if trial.state == TrialState.COMPLETE] for study in studies)
        return min(next(filter(None, ended), []), key=lambda trial: trial.value, default=None)

    def write_sheets(self) -> None:
        """Write trials.csv, contact_sheet.png, index.html and best.yaml."""
        opt, trials = self.opt, latest(self.short) | (latest(self.long) if self.long else {})
        header, rows, cells = ["trial", "state", "score", *self.varied, "reason"], [], []  # cells: of the contact sheet
        for run, trial in trials.items():
            score, state = "" if trial.value is None else trial.value, trial.state.name.lower()
            values = [trial.params.get(flag, "") for flag in self.varied]
            rows.append([run, state, score, *values, trial.user_attrs.get("reason", "")])
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
            f"# Search {opt.name}\n\n{len(rows)} trials of {opt.steps} steps. The score is the one that chooses best.pt; lower is "
            f"better. Look at the pictures, then go on with the trials that look right: `{again} --keep NUMBERS`\n\n"
            f"![All trials, by number](contact_sheet.png)\n\n{table(header, [[*map(shown, row)] for row in rows])}\n"
        )
        write_bytes(opt.folder / "index.html", html_page(f"Search {opt.name}", text).encode())
        if best := self.best():
            flags = yaml.safe_dump(self.fixed | best.params, sort_keys=False)
            text = f"# trial {best.user_attrs['run']} of the search {opt.name}\n{flags}"
            write_bytes(opt.folder / "best.yaml", text.encode())


def latest(study: optuna.Study) -> dict[int, FrozenTrial]:
    """{run: the newest trial of it}, by number."""
    trials = {t.user_attrs["run"]: t for t in study.get_trials(deepcopy=False) if "run" in t.user_attrs}
    return dict(sorted(trials.items()))


def shown(value: object) -> str:
    """A value for people: four digits of a number."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def search_parser() -> Parser:
    """The parser of this command; see parse_search."""
    parser = Parser(
        prog="python -m util.search",
        description="Search for good settings as the paper did (section IV.B): many short trials and a contact sheet of them; "
        "then, with --keep, successive halving of those that look right, and the winner's whole training and test.",
    )
    parser.add_argument(
        "space", type=existing_path, metavar="SPACE.yaml", help="flags of all trials, and those that vary"
    )
    add = parser.group("search")
    add("name", run_name, None, "name of the search; its files go to RESULTS_DIR/search/NAME", required=True)
    add("trials", integer(1, 10000), None, "short trials", required=True)
    add("steps", integer(1), None, "steps of each short trial", required=True)
    add("keep", integer(0, 10000), None, "trials that go on", nargs="+", metavar="TRIAL")
    add("reduction", integer(2, 100), 3, "halving: about one trial in N goes on, for N times the steps")
    add("full_steps", integer(0), None, "steps of the winner's whole training (default: train.py's epochs); 0: none")
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
    """All stages that opt asks for, shared with other processes of the same command. Returns the exit status."""
    opt = opt or parse_search()
    if optuna is None:
        raise UsageError("python -m util.search needs Optuna, which is not installed: pip install optuna")
    setup_logging()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats are
    search = Search(opt)
    search.run_short()
    if not opt.keep:
        logging.info("look at %s, then go on with --keep", opt.folder / "index.html")
        return 0
    search.run_long()
    winner = search.best().user_attrs["run"]
    logging.info("best: trial %d, %s", winner, opt.folder / "best.yaml")
    if opt.full_steps != 0:
        search.finish(winner)
    return 0


if __name__ == "__main__":
    run_command(lambda: main(parse_or_exit(parse_search)))
