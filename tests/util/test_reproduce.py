"""util.reproduce: verdicts on constructed numbers, stages that are skipped, continued and redone, and a real run."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, TINY, start_child, write_hands

from util.errors import UsageError
from util.reproduce import __main__ as reproduce
from util.reproduce import claims
from util.reproduce.__main__ import parse_reproduce
from util.reproduce.claims import FAILS, HOLDS, OPEN, UNTESTED, Comparison
from util.reproduce.evidence import sharpness
from util.reproduce.page import shading_step
from util.reproduce.runner import Runner, duration, places_for, plan_text
from util.reproduce.stages import Stage, choose, create_stages
from util.results.pages import html_page, table
from util.scores.distances import Difference


def around(estimate: float, spread: float = 1.0) -> Difference:
    """Draws that are uniform in estimate +- spread."""
    return Difference(estimate, np.linspace(estimate - spread, estimate + spread, 1001))


@pytest.mark.parametrize(
    ("estimates", "verdict"),
    [
        ([-2.0, -3.0], HOLDS),
        ([-2.0, -0.5], OPEN),  # one interval holds zero
        ([-2.0, 0.97], OPEN),  # above zero at 95 %, but not once corrected for two
        ([-2.0, 2.0], FAILS),
        ([], UNTESTED),
    ],
)
def test_a_claim_holds_where_all_intervals_do_and_fails_where_one_contradicts(estimates, verdict):
    differences = [around(each) for each in estimates]
    assert claims.verdict_of(differences, lower_is_better=True) == verdict
    flipped = [around(-each) for each in estimates]
    assert claims.verdict_of(flipped, lower_is_better=False) == verdict


def test_a_claim_about_models_that_are_not_all_there_can_fail_but_not_hold():
    good, bad = (Comparison("a", "b", "FID", around(value)) for value in (-2.0, 2.0))
    assert claims.better("x", [good]).verdict == HOLDS
    assert claims.better("x", [good], missing=["mshgan6"]).verdict == OPEN
    assert claims.better("x", [bad], missing=["mshgan6"]).verdict == FAILS
    assert "mshgan6" in claims.better("x", [good], missing=["mshgan6"]).measured
    assert "a - b: -2.00 (-2.95 to -1.05)" in claims.better("x", [good]).measured


@pytest.mark.parametrize(
    ("generated", "real", "synthetic", "verdict"),
    [
        ((90, 100), (95, 100), (5, 100), HOLDS),
        ((20, 100), (95, 100), (5, 100), FAILS),
        ((55, 100), (95, 100), (5, 100), OPEN),
        ((99, 100), (99, 100), (98, 100), UNTESTED),  # calls everything real
        ((90, 100), (55, 100), (45, 100), UNTESTED),  # guesses
    ],
)
def test_generated_hands_taken_for_real_count_only_with_a_classifier_that_can_tell(generated, real, synthetic, verdict):
    calls = {"generated": generated, "real": real, "synthetic": synthetic}
    assert claims.taken_for_real("x", calls).verdict == verdict


def test_the_papers_own_figures_support_its_claims():
    fig7 = [[3341, 121, 40], [114, 2915, 647], [45, 465, 2813]]
    assert claims.confused_with_real("x", fig7).verdict == HOLDS
    calls = {"generated": (3344, 3500), "real": (3302, 3500), "synthetic": (89, 3500)}
    assert claims.taken_for_real("x", calls).verdict == HOLDS


def test_confusion_is_no_evidence_from_a_classifier_that_calls_everything_real():
    assert claims.confused_with_real("x", [[0, 0, 0], [50, 50, 50], [0, 0, 0]]).verdict == UNTESTED
    assert claims.confused_with_real("x", [[48, 2, 30], [2, 48, 5], [0, 0, 15]]).verdict == FAILS
    assert claims.confused_with_real("x", None).verdict == UNTESTED


def test_mixing_helps_only_where_hands_are_gained():
    worse = [True] * 50 + [False] * 50
    better = [True] * 80 + [False] * 20
    assert claims.mixing_helps("x", {"syn_half": better, "syn_rea": worse, "syn_gen": worse}).verdict == HOLDS
    assert claims.mixing_helps("x", {"syn_half": worse, "syn_rea": better, "syn_gen": worse}).verdict == FAILS
    assert claims.mixing_helps("x", {"syn_half": better, "syn_rea": better, "syn_gen": worse}).verdict == OPEN


def test_sharpness_and_shading_see_what_they_are_for_and_not_the_outline():
    mask = np.zeros((64, 64), bool)
    mask[8:56, 8:56] = True
    flat = np.where(mask[..., None], 120, 255).astype(np.uint8).repeat(3, 2)
    assert sharpness(flat, mask) == 0 and shading_step(flat, mask) < 0.1
    lines = flat.copy()
    lines[8:56:4, 8:56] = 60
    soft = np.stack([np.asarray(lines[..., 0], float)] * 3, -1)
    soft = ((soft + np.roll(soft, 1, 0) + np.roll(soft, -1, 0)) / 3).astype(np.uint8)
    assert sharpness(lines, mask) > 1.5 * sharpness(soft, mask) > 0
    step = flat.copy()
    step[32:56, 8:56] = 60
    assert shading_step(step, mask) > 5
    assert np.isnan(sharpness(flat, np.zeros_like(mask))) and shading_step(flat, np.zeros_like(mask)) == 0


# Stages


def script(folder: Path, name: str, body: str) -> str:
    path = folder / f"{name}.py"
    path.write_text("import sys, time\nfrom pathlib import Path\nout = Path(sys.argv[1])\n" + body)
    return str(path)


def stage(folder: Path, name: str, *, body: str | None = None, after: tuple[str, ...] = (), more: tuple = ()) -> Stage:
    """A stage that counts how often it has run."""
    body = body or "out.write_text(out.read_text() + 'x' if out.exists() else 'x')\n"
    out = folder / f"{name}.txt"
    command = (script(folder, name, body), str(out), *more)
    return Stage(name=name, group="train", command=command, outputs=(out,), after=after)


def runner(folder: Path, stages: list[Stage]) -> Runner:
    return Runner(folder / "paper", [{}, {}], stages)


def test_a_stage_runs_once_and_again_when_its_command_or_a_stage_that_it_reads_has_changed(tmp_path):
    first, second = stage(tmp_path, "first"), stage(tmp_path, "second", after=("first",))
    stages = [first, second]
    assert runner(tmp_path, stages).run(stages) == {}
    assert runner(tmp_path, stages).run(stages) == {}
    assert first.outputs[0].read_text() == second.outputs[0].read_text() == "x"
    first.outputs[0].unlink()
    assert runner(tmp_path, stages).run(stages) == {}
    assert first.outputs[0].read_text() == "x" and second.outputs[0].read_text() == "xx"
    idle = stage(tmp_path, "first", more=("--num_workers", "3"))
    assert runner(tmp_path, [idle, second]).run([idle, second]) == {}
    assert first.outputs[0].read_text() == "x"
    longer = stage(tmp_path, "first", more=("--max_steps", "3"))
    assert "first: to do" in plan_text(runner(tmp_path, [longer, second]), [longer, second])
    assert runner(tmp_path, [longer, second]).run([longer, second]) == {}
    assert first.outputs[0].read_text() == "xx" and second.outputs[0].read_text() == "xxx"


def test_a_failure_is_told_and_stops_only_what_needs_it(tmp_path):
    bad = stage(tmp_path, "bad", body="sys.exit('error: no such thing')\n")
    needs, other = stage(tmp_path, "needs", after=("bad",)), stage(tmp_path, "other")
    silent = stage(tmp_path, "silent", body="pass\n")
    stages = [bad, needs, other, silent]
    faults = runner(tmp_path, stages).run(stages)
    assert set(faults) == {"bad", "needs", "silent"} and other.outputs[0].exists()
    assert "no such thing" in faults["bad"] and "needs bad" in faults["needs"] and "it left no" in faults["silent"]
    assert not runner(tmp_path, stages).is_done(bad)


def test_independent_stages_run_side_by_side_in_their_own_places(tmp_path):
    body = "import os\nother = Path(sys.argv[2])\nout.write_text(os.environ['CUDA_VISIBLE_DEVICES'])\n"
    body += "end = time.time() + 20\nwhile not other.exists() and time.time() < end: time.sleep(.05)\n"
    body += "sys.exit(not other.exists())\n"
    both = [stage(tmp_path, name, body=body, more=(str(tmp_path / f"{other}.txt"),)) for name, other in ("ab", "ba")]
    found = Runner(tmp_path / "paper", places_for(gpus=2, jobs=None), both).run(both)
    assert found == {} and {each.outputs[0].read_text() for each in both} == {"0", "1"}


def wait_until(true, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


# The command


def test_only_takes_names_and_groups_and_refuses_others():
    stages = create_stages(parse_reproduce([]))
    names = [each.name for each in stages]
    assert [each.name for each in choose(stages, ["silnet", "train_mshgan6"])] == ["silnet", "train_mshgan6"]
    assert len(choose(stages, ["train"])) == 5 and choose(stages, ["tables"]) == []
    assert names.index("silnet") < names.index("train_geocongan") < names.index("translate_geocongan")
    with pytest.raises(UsageError, match="no such stage; known are masks"):
        parse_reproduce(["--only", "train", "tabels"])
    with pytest.raises(UsageError, match="give one of them"):
        parse_reproduce(["--gpus", "2", "--jobs", "2"])


def test_every_command_of_the_plan_is_one_that_its_script_takes():
    from options.classify_options import parse_classify
    from options.preprocess_masks_options import preprocess_masks_parser
    from options.test_options import parse_test
    from options.train_options import parse_train

    parsers = {
        "train.py": parse_train,
        "test.py": parse_test,
        "classify.py": parse_classify,
        "preprocess_masks.py": preprocess_masks_parser().parse_args,
    }
    opt = parse_reproduce(["--max_steps", "10", "--test_size", "5", "--train_flags=--ngf 8 --paper", "--jobs", "2"])
    for each in create_stages(opt):
        parsers[each.command[0]](list(each.command[1:]))


def test_pages_escape_and_tables_align():
    text = table(["a|b", "c"], [["1", "x | y"]])
    page = html_page("<T>", text)
    assert "<title>&lt;T&gt;</title>" in page and page.count("<td") == 2 and "x | y" in page


@pytest.mark.parametrize(("seconds", "text"), [(41.6, "42 s"), (720, "12 min"), (11100, "3 h 05 min")])
def test_durations_read_aloud(seconds, text):
    assert duration(seconds) == text


def test_a_run_that_is_killed_goes_on_and_ends_with_a_page(run_main, monkeypatch, tmp_path):
    """SIGKILL while a model trains; the second start skips what was done and continues the training."""
    write_hands(tmp_path / "hands", frames=6, size=64)
    silnet = " ".join(flag for pair in zip(TINY[::2], TINY[1::2]) if pair[0] in SILNET_TAKES for flag in pair)
    command = [sys.executable, "-m", "util.reproduce", "--dataroot", "hands", "--models", "pixcyclegan4", "--jobs", "1"]
    command += ["--only", "silnet", "train", "translate", "tables", "--val_size", "2", "--test_size", "6"]
    command += [
        f"--train_flags={' '.join(TINY)} --save_freq 2 --max_steps 40",
        f"--silnet_flags={silnet} --max_steps 2",
    ]
    command += ["--test_flags=--feature_net random --num_workers 0", "--figure_model", "pixcyclegan4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    start = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    run = tmp_path / "checkpoints" / "paper" / "pixcyclegan4"
    wait_until(lambda: (run / "latest.pt").exists() or start.poll() is not None, 120)
    assert start.poll() is None, "it ended before it could be killed"
    start.send_signal(signal.SIGKILL)
    start.wait()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("util.workers.start_child", start_child)
    status, said = run_main(reproduce.main, *command[3:])
    assert status == 0, said
    assert "silnet: done before" in said
    assert re.search(r"train_pixcyclegan4: python train.py .* --continue_train", said)
    page = (tmp_path / "results" / "paper" / "paper.md").read_text()
    assert "| pixcyclegan4 | 40 |" in page and "70.815" in page and "translation brings" in page.lower()
    assert (tmp_path / "results" / "paper" / "figures" / "fig5.jpg").exists()
    assert "fig5.jpg" in (tmp_path / "results" / "paper" / "index.html").read_text()


SILNET_TAKES = ("--ngf", "--crop_size", "--val_interval", "--display_freq", "--num_workers", "--amp", "--log_freq")
