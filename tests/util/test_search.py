"""util.search: its space, halving and state; processes that die; and what it says without Optuna."""

import csv
import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import start_child, write_hands

from options.train_options import parse_train
from util import search as command
from util.checkpoint_file import load_checkpoint
from util.errors import RunError, UsageError
from util.images import read_rgb, write_png
from util.search import parse_search

SPACE = """
fixed: {dataroot: hands, crop_size: 64, common_mask: false}
space:
  lr: {low: 1.0e-5, high: 1e-3, log: true}
  batch_size: {low: 1, high: 4}
  lambda_identity: [0, 0.5, 1]
"""


@pytest.fixture
def space_file(tmp_path) -> Path:
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path / "space.yaml"


def options(space_file: Path, *more: object) -> Namespace:
    words = [space_file, "--name", "s", "--trials", 12, "--steps", 10, "--results_dir", space_file.parent, *more]
    return parse_search([str(word) for word in words])


def test_without_optuna_the_error_says_what_to_install(space_file, run_main, monkeypatch):
    monkeypatch.setattr(command, "optuna", None)
    status, said = run_main(lambda: command.main(options(space_file)))
    assert status == 2 and "pip install optuna" in said and "Traceback" not in said


@pytest.fixture
def search(monkeypatch):
    """The modules that need Optuna, with a training that writes a score made of the trial's flags."""
    optuna = pytest.importorskip("optuna")

    trained, errors = [], {}

    def train(self, run, values, steps):
        if run in errors:
            raise errors[run]
        trained.append((run, steps))
        write_png(self.run_folder(run) / "synthetic_translated_cycle.png", np.full((40, 60, 3), 10 * run, np.uint8))
        return values["lr"] * 1000 + values["batch_size"] + 1 / steps

    monkeypatch.setattr(command.Search, "train", train)
    monkeypatch.setattr(command.time, "sleep", lambda _: None)
    return Namespace(trained=trained, errors=errors, optuna=optuna, Search=command.Search)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("space: {learning_rate: [1]}", "no flag --learning_rate"),
        ("space: {max_steps: [1, 2]}", "set by the search"),
        ("space: {lr: {low: 2, high: 1}}", "with or without log: true"),
        ("space: {lr: [1]}\nfixed: {lr: 2}", "lr stands in both"),
        ("fixed: {lr: 2}", "must hold a mapping `space:`"),
        ("space: {mask: [true, false], batch_size: {low: 1, high: 3}}", "holds 6 different settings"),
    ],
)
def test_a_space_that_cannot_be_is_refused_in_one_sentence(space_file, search, text, message):
    space_file.write_text(text)
    with pytest.raises(UsageError, match=message):
        search.Search(options(space_file))


def test_stage_one_trains_each_trial_once_and_writes_its_sheets(space_file, search):
    opt = options(space_file)
    first, second = (search.Search(opt) for _ in range(2))
    assert first.settings == second.settings and len({str(each) for each in first.settings.values()}) == 12
    assert all(1e-5 <= each["lr"] <= 1e-3 and each["batch_size"] in (1, 2, 3, 4) for each in first.settings.values())
    runs = list(range(12))
    ranked = first.train_all(runs, 10)
    assert second.train_all(runs, 10) == ranked  # nothing is left
    assert search.trained == [(number, 10) for number in range(12)]
    rows = list(csv.DictReader((opt.folder / "trials.csv").open()))
    assert [row["state"] for row in rows] == ["complete"] * 12
    best = min(rows, key=lambda row: float(row["score"]))
    assert int(best["trial"]) == ranked[0]
    trained = parse_train(["--name", "x", "--options", str(opt.folder / "best.yaml")])
    assert (trained.lr, trained.batch_size) == (float(best["lr"]), int(best["batch_size"]))
    assert trained.crop_size == 64 and not trained.common_mask
    assert read_rgb(opt.folder / "contact_sheet.png").shape[1] > 1000
    assert "contact_sheet.png" in (opt.folder / "index.html").read_text()


def test_a_trial_whose_process_died_is_taken_up(space_file, search, monkeypatch):
    opt = options(space_file)
    one = search.Search(opt)
    search.errors[2] = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        one.train_all(range(12), 10)
    search.errors.clear()
    killed = one.study.ask()  # which nobody works on
    monkeypatch.setattr(
        search.optuna.storages,
        "fail_stale_trials",
        lambda study: [study.tell(t.number, state=t.state.FAIL) for t in study.trials if t.state == t.state.RUNNING],
    )
    search.Search(opt).train_all(range(12), 10)
    assert sorted(search.trained) == [(number, 10) for number in range(12)]
    assert killed.user_attrs["run"] == 3
    assert all(trial.value for trial in one.trials().values())


def test_halving_keeps_the_better_half_and_ends_with_the_best(space_file, search):
    opt = options(space_file, "--reduction", 2, "--keep", 0, 2, 5, 8, 11)
    assert command.main(opt) == 0
    one = search.Search(opt)
    score = {run: trial.value for run, trial in one.trials(10).items()}
    order = sorted(opt.keep, key=score.get)
    longer = [(run, 20) for run in order] + [(run, 40) for run in order[:3]] + [(run, 80) for run in order[:2]]
    assert search.trained == [(run, 10) for run in range(12)] + longer
    assert command.main(opt) == 0 and len(search.trained) == 22  # nothing is trained twice
    assert one.best().user_attrs == {"run": order[0], "steps": 80}
    assert f"trial {order[0]} " in (opt.folder / "best.yaml").read_text()
    rows = list(csv.DictReader((opt.folder / "trials.csv").open()))
    assert [rows[run]["steps"] for run in order] == ["80", "80", "40", "20", "20"]


def test_a_failed_trial_is_told_and_cannot_be_kept(space_file, search):
    opt = options(space_file, "--keep", 3, 4, 12)
    search.errors[4] = RunError("out of memory")
    with pytest.raises(UsageError, match="trials 4 12 have no score"):
        command.main(opt)
    rows = list(csv.DictReader((opt.folder / "trials.csv").open()))
    assert rows[4]["state"] == "fail" and rows[4]["reason"] == "out of memory"


def test_another_length_is_refused_and_more_trials_are_added(space_file, search):
    command.main(options(space_file))
    with pytest.raises(UsageError, match="was begun with steps 10"):
        search.Search(options(space_file, "--steps", 11))
    command.main(options(space_file, "--trials", 14))
    assert search.trained == [(number, 10) for number in range(14)]


def test_real_trainings_from_the_first_trial_to_the_winner(tmp_path, monkeypatch, run_main):
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
    assert [row["state"] for row in rows] == ["complete"] * 2 and rows[0]["score"] != rows[1]["score"]
    logged = [json.loads(line) for line in (folder / "runs" / "trial_000" / "log.jsonl").open()]
    assert float(rows[0]["score"]) == next(line["score"] for line in logged if "score" in line)
    status, message = run_main(command.main, *words, "--keep", 1)
    assert status == 0 and "trial 1 " in (folder / "best.yaml").read_text(), message
    assert load_checkpoint(folder / "runs" / "trial_001" / "latest.pt")["step"] == 6
