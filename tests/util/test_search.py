"""util.search: its space, halving and state; workers that die; and what it says without Optuna."""

import contextlib
import csv
import importlib
import json
import sys
from argparse import Namespace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import start_call, start_child, wait, write_hands

from options.train_options import parse_train
from util.errors import UsageError
from util.images import read_rgb, write_png
from util.search import __main__ as command
from util.search.flags import kept_trials, parse_search
from util.search.halving import differing, rungs, survivors
from util.search.space import load_space

SPACE = """
fixed: {dataroot: hands, crop_size: 64, flip: false}
space:
  lr: {low: 1.0e-5, high: 1e-3, log: true}
  batch_size: {low: 1, high: 4}
  lambda_identity: [0, 0.5, 1]
"""


@pytest.fixture
def space_file(tmp_path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def options(space_file: Path, *more: object) -> Namespace:
    words = [space_file, "--name", "s", "--trials", 12, "--steps", 10, "--results_dir", space_file.parent, *more]
    return parse_search([str(word) for word in words])


# Space and halving


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("space: {learning_rate: [1]}", "no flag --learning_rate"),
        ("space: {max_steps: [1, 2]}", "the search sets max_steps itself"),
        ("space: {lr: {low: 2, high: 1}}", "low below high"),
        ("space: {lr: {low: 0, high: 1, log: true}}", "low above 0"),
        ("space: {lr: {low: a, high: 1}}", "must be a list of values"),
        ("space: {lr: 1}", "must be a list of values"),
        ("space: {lr: [1]}\nfixed: {lr: 2}", "lr in both"),
        ("fixed: {lr: 2}", "must hold a mapping `space:`"),
        ("space: [", "cannot be read"),
    ],
)
def test_a_space_that_cannot_be_is_refused_in_one_sentence(tmp_path, text, message):
    file = tmp_path / "space.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_space(file)


def test_numbers_without_a_point_are_numbers_nevertheless(space_file):
    assert load_space(space_file).varied["lr"] == {"low": 1e-5, "high": 1e-3, "log": True}


def test_rungs_end_with_one_trial():
    assert rungs(9, steps=100, reduction=3) == [300, 900]
    assert rungs(4, steps=10, reduction=3) == [30, 90]
    assert rungs(1, steps=10, reduction=3) == []


def test_the_lowest_scores_survive_whatever_their_order():
    scores = {4: 3.0, 1: 9.0, 7: 1.0, 2: 5.0}
    assert survivors(scores, reduction=2) == [7, 4] and survivors(scores, reduction=3) == [7, 4]
    assert survivors(dict(reversed(scores.items())), reduction=4) == [7]
    assert survivors({5: 1.0, 3: 1.0}, reduction=2) == [3]


def test_only_flags_that_differ_are_told():
    assert differing([{"lr": 1, "ngf": 4}, {"lr": 2, "ngf": 4}]) == ["lr"]
    assert differing([]) == []


def test_keep_and_drop(space_file):
    assert kept_trials(options(space_file)) is None
    assert kept_trials(options(space_file, "--keep", 7, 3, 7)) == [3, 7]
    assert kept_trials(options(space_file, "--drop", *range(11))) == [11]
    with pytest.raises(UsageError, match="give one of them"):
        options(space_file, "--keep", 1, "--drop", 2)
    with pytest.raises(UsageError, match="numbered 0 to 11"):
        options(space_file, "--keep", 12)
    with pytest.raises(UsageError, match="leaves no trial"):
        kept_trials(options(space_file, "--drop", *range(12)))


def test_without_optuna_the_error_says_what_to_install(space_file, monkeypatch, run_main):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, message = run_main(command.main, space_file, "--name", "s", "--trials", 2, "--steps", 3)
    assert status == 2 and "pip install optuna" in message and "Traceback" not in message


def import_without_optuna() -> None:
    """Import what is imported before Optuna is looked for."""
    assert "optuna" not in sys.modules  # nor did the server need it, from which this process comes
    sys.modules["optuna"] = None
    for name in ("util.search.__main__", "util.search.halving", "train", "test"):
        importlib.import_module(name)


def test_the_parser_and_the_rest_of_the_project_need_no_optuna(tmp_path):
    log = tmp_path / "log"
    assert wait(start_call(import_without_optuna, log)) == 0, log.read_text()


# State


@pytest.fixture
def search(space_file, monkeypatch):
    """opt, space and the modules that need Optuna, with a training that writes a score made of the trial's flags."""
    pytest.importorskip("optuna")
    from util.search import sheet, study, worker

    space = load_space(space_file)
    trained = []

    def train_to(opt, _space, trial, number, steps):
        trained.append((number, steps))
        run = study.run_folder(opt.folder, number)
        write_png(run / sheet.TRANSLATOR.picture, np.full((40, 60, 3), 20 * number, np.uint8))
        return trial.params["lr"] * 1000 + trial.params["batch_size"] + 1 / steps

    monkeypatch.setattr(worker, "train_to", train_to)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.01)
    return Namespace(space=space, trained=trained, study=study, worker=worker, sheet=sheet)


def nothing() -> None:
    pass


def test_draws_are_distinct_repeatable_and_end_with_the_space(space_file, tmp_path):
    pytest.importorskip("optuna")
    from util.search.space import draw

    space = load_space(space_file)
    first, again = (list(islice(draw(space, seed=3), 20)) for _ in range(2))
    assert first == again and len({tuple(sorted(each.items())) for each in first}) == 20
    assert all(1e-5 <= each["lr"] <= 1e-3 and each["batch_size"] in (1, 2, 3, 4) for each in first)
    (tmp_path / "small.yaml").write_text("space: {mask: [true, false], batch_size: {low: 1, high: 3}}")
    assert len(list(draw(load_space(tmp_path / "small.yaml"), seed=0))) == 6


def test_stage_one_trains_each_trial_once_and_writes_its_sheets(space_file, search):
    opt = options(space_file)
    first, second = (search.study.Search(opt, search.space) for _ in range(2))
    search.worker.short_trials(opt, search.space, first, nothing)
    search.worker.short_trials(opt, search.space, second, nothing)  # nothing is left
    assert search.trained == [(number, 10) for number in range(12)]
    search.sheet.write_sheets(opt, search.space, second)
    rows = list(csv.DictReader((opt.folder / "trials.csv").open()))
    assert [row["state"] for row in rows] == ["COMPLETE"] * 12
    best = min(rows, key=lambda row: float(row["score"]))
    found = yaml.safe_load((opt.folder / "best.yaml").read_text())
    assert found["lr"] == float(best["lr"]) and found["crop_size"] == 64 and found["flip"] is False
    trained = parse_train(["--name", "x", "--options", str(opt.folder / "best.yaml")])  # train.py takes it
    assert trained.lr == float(best["lr"]) and trained.batch_size == int(best["batch_size"]) and not trained.flip
    assert read_rgb(opt.folder / "contact_sheet.png").shape[1] > 1000
    page = (opt.folder / "index.html").read_text()
    assert page.count("<img") == 13 and "crop_size" not in page


def test_a_trial_whose_worker_died_is_taken_up_and_one_at_work_is_not(space_file, search):
    opt = options(space_file)
    dead, alive, other = (search.study.Search(opt, search.space) for _ in range(3))
    with contextlib.ExitStack() as held:
        left = dead.claim_short(search.space, held).number  # its lock goes, as with a process that is killed
    with contextlib.ExitStack() as held:
        taken = alive.claim_short(search.space, held).number
        assert taken == left
        search.worker.short_trials(opt, search.space, other, nothing)
        assert taken not in [number for number, _ in search.trained] and len(search.trained) == 11
    assert len(other.short.trials) == 12


def test_halving_prunes_by_score_and_ends_with_the_best(space_file, search):
    opt = options(space_file, "--reduction", 2)
    one = search.study.Search(opt, search.space)
    search.worker.short_trials(opt, search.space, one, nothing)
    del search.trained[:]
    kept = [0, 2, 5, 8, 11]
    winner = search.worker.halve(opt, search.space, one, kept, nothing)
    score = {n: one.short.trials[n].value for n in kept}
    order = sorted(kept, key=score.get)
    assert winner == order[0]
    assert sorted(search.trained) == sorted(
        [(n, 20) for n in kept] + [(n, 40) for n in order[:3]] + [(n, 80) for n in order[:2]]
    )
    reasons = {t.user_attrs["trial"]: t.user_attrs.get("pruned", "") for t in one.long.trials}
    assert "at step 20" in reasons[order[4]] and "at step 40" in reasons[order[2]] and "at step 80" in reasons[order[1]]
    assert {t.user_attrs["trial"]: t.state.name for t in one.long.trials}[order[0]] == "COMPLETE"
    # Somebody starts the same command again: nothing is trained twice, and the winner is the same.
    again = search.study.Search(opt, search.space)
    assert search.worker.halve(opt, search.space, again, kept, nothing) == winner and len(search.trained) == 10
    with pytest.raises(UsageError, match="was begun with trials 0 2 5 8 11"):
        search.worker.halve(opt, search.space, again, [1], nothing)
    search.sheet.write_sheets(opt, search.space, again)
    assert f"trial {winner} " in (opt.folder / "best.yaml").read_text()


def test_a_rung_that_was_interrupted_goes_on_where_it_was(space_file, search, monkeypatch):
    opt = options(space_file, "--reduction", 3)
    one = search.study.Search(opt, search.space)
    search.worker.short_trials(opt, search.space, one, nothing)
    real, calls = search.worker.train_to, []

    def interrupted(*arguments):
        calls.append(arguments[3])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(search.worker, "train_to", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search.worker.halve(opt, search.space, one, [1, 2, 3], nothing)
    del search.trained[:]
    search.worker.halve(opt, search.space, search.study.Search(opt, search.space), [1, 2, 3], nothing)
    assert sorted(search.trained) == [(2, 30), (3, 30)]


def test_a_failed_trial_is_told_and_cannot_be_kept(space_file, search, monkeypatch):
    opt = options(space_file)
    one = search.study.Search(opt, search.space)
    real = search.worker.train_to

    def fails(opt, space, trial, number, steps):
        if number == 4:
            raise search.worker.TrialFailed("out of memory")
        return real(opt, space, trial, number, steps)

    monkeypatch.setattr(search.worker, "train_to", fails)
    search.worker.short_trials(opt, search.space, one, nothing)
    search.sheet.write_sheets(opt, search.space, one)
    rows = list(csv.DictReader((opt.folder / "trials.csv").open()))
    assert rows[4]["state"] == "FAIL" and rows[4]["reason"] == "out of memory"
    with pytest.raises(UsageError, match="trials 4 have no score"):
        search.worker.halve(opt, search.space, one, [3, 4], nothing)


def test_another_space_or_budget_is_refused_and_more_trials_are_added(space_file, search):
    opt = options(space_file)
    params = [t.system_attrs["fixed_params"] for t in search.study.Search(opt, search.space).short.trials]
    with pytest.raises(UsageError, match="another steps"):
        search.study.Search(options(space_file, "--steps", 11), search.space)
    more = search.study.Search(options(space_file, "--trials", 14), search.space).short.trials
    assert [t.system_attrs["fixed_params"] for t in more][:12] == params and len(more) == 14


def test_a_storage_that_cannot_be_opened_is_named(space_file, search):
    with pytest.raises(UsageError, match="--storage sqlite:////no/such/folder/x.db cannot be opened"):
        search.study.Search(options(space_file, "--storage", "sqlite:////no/such/folder/x.db"), search.space)


def test_real_trainings_from_the_first_trial_to_the_winners_test(tmp_path, monkeypatch, run_main):
    pytest.importorskip("optuna")
    write_hands(tmp_path / "hands", frames=4, size=48)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("util.workers.start_child", start_child)
    fixed = {"dataroot": "hands", "model": "pixcyclegan4", "ngf": 4, "ndf": 4, "crop_size": 32, "num_workers": 0}
    fixed |= {"feature_net": "random", "val_size": 2, "test_size": 4, "device": "cpu"}
    Path("space.yaml").write_text(yaml.safe_dump({"fixed": fixed, "space": {"lambda_identity": [0.0, 0.5]}}))
    words = ["space.yaml", "--name", "s", "--trials", 2, "--steps", 2]
    status, message = run_main(command.main, *words)
    assert status == 0, message
    folder = tmp_path / "results" / "search" / "s"
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    assert [row["state"] for row in rows] == ["COMPLETE"] * 2 and rows[0]["score"] != rows[1]["score"]
    assert all((folder / "pictures" / f"trial_00{number}.png").exists() for number in (0, 1))
    status, message = run_main(command.main, *words, "--keep", 1, "--full_steps", 3)
    assert status == 0, message
    metrics = json.loads((folder / "test" / "trial_001" / "test" / "metrics.json").read_text())
    assert metrics["step"] <= 3 and "trial 1 " in (folder / "best.yaml").read_text()
    status, message = run_main(command.main, *words, "--keep", 1, "--full_steps", 3)
    assert status == 0 and (folder / "logs" / "winner.log").read_text().count("$ python test.py") == 1
