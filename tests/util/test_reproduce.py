"""util.reproduce: verdicts on constructed numbers, stages that are skipped, continued and redone, and a real run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import ROOT, TINY, start_child, within, write_hands

from data.frames import Frame
from util.errors import UsageError
from util.reproduce import __main__ as reproduce
from util.reproduce import claims, stages
from util.reproduce.__main__ import parse_reproduce
from util.reproduce.claims import FAILS, HOLDS, OPEN, UNTESTED, Comparison, sharpness
from util.reproduce.page import shading_step
from util.reproduce.stages import Runner, Stage, choose, create_stages
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
    for sign in (1, -1):
        differences = [around(sign * each) for each in estimates]
        assert claims.verdict_of(differences, lower_is_better=sign > 0) == verdict


def test_a_claim_about_models_that_are_not_all_there_can_fail_but_not_hold():
    good, bad = (Comparison("a", "b", "FID", around(value)) for value in (-2.0, 2.0))
    assert claims.better("x", [good]) == ("x", HOLDS, "FID, a - b: -2.00 (-2.95 to -1.05)")
    lacking = claims.better("x", [good], missing=["mshgan6"])
    assert lacking.verdict == OPEN and "mshgan6" in lacking.measured
    assert claims.better("x", [bad], missing=["mshgan6"]).verdict == FAILS


def called_real(*shares: tuple[int, int]) -> dict:
    return dict(zip(("generated", "real", "synthetic"), shares))


def right(*counts: int) -> dict:
    return {name: [True] * n + [False] * (100 - n) for name, n in zip(("syn_half", "syn_rea", "syn_gen"), counts)}


@pytest.mark.parametrize(
    ("claim", "measured", "verdict"),
    [
        (claims.taken_for_real, called_real((3344, 3500), (3302, 3500), (89, 3500)), HOLDS),  # the paper's own figures
        (claims.taken_for_real, called_real((20, 100), (95, 100), (5, 100)), FAILS),
        (claims.taken_for_real, called_real((55, 100), (95, 100), (5, 100)), OPEN),
        (claims.taken_for_real, called_real((99, 100), (99, 100), (98, 100)), UNTESTED),  # calls everything real
        (claims.taken_for_real, called_real((90, 100), (55, 100), (45, 100)), UNTESTED),  # guesses
        (claims.confused_with_real, [[3341, 121, 40], [114, 2915, 647], [45, 465, 2813]], HOLDS),  # Fig. 7
        (claims.confused_with_real, [[48, 2, 30], [2, 48, 5], [0, 0, 15]], FAILS),
        (claims.confused_with_real, [[50, 0, 0], [0, 50, 0], [0, 0, 50]], FAILS),  # all were recognised
        (claims.confused_with_real, [[0, 0, 0], [50, 50, 50], [0, 0, 0]], UNTESTED),  # calls everything real
        (claims.mixing_helps, right(80, 50, 50), HOLDS),
        (claims.mixing_helps, right(50, 80, 50), FAILS),
        (claims.mixing_helps, right(80, 80, 50), OPEN),
    ],
)
def test_a_claim_about_classifiers_counts_only_with_one_that_can_tell(claim, measured, verdict):
    assert claim("x", measured).verdict == verdict


def test_sharpness_and_shading_see_what_they_are_for_and_not_the_outline():
    mask = np.zeros((64, 64), bool)
    mask[8:56, 8:56] = True
    flat = np.where(mask[..., None], 120, 255).astype(np.uint8).repeat(3, 2)
    assert sharpness(flat, mask) == 0 and shading_step(flat, mask) < 0.1
    lines, step = flat.copy(), flat.copy()
    lines[8:56:4, 8:56] = 60
    soft = cv2.blur(lines, (1, 3))
    assert sharpness(lines, mask) > 1.5 * sharpness(soft, mask) > 0
    step[32:56, 8:56] = 60
    assert shading_step(step, mask) > 5
    assert np.isnan(sharpness(flat, np.zeros_like(mask))) and shading_step(flat, np.zeros_like(mask)) == 0


# Stages


COUNT = "out.write_text(out.read_text() + 'x' if out.exists() else 'x')"  # how often the stage has run


def stage(folder: Path, name: str, *more: object, body: str = COUNT, after: tuple[str, ...] = ()) -> Stage:
    script, out = folder / f"{name}.py", folder / f"{name}.txt"
    script.write_text(f"import os, sys, time\nfrom pathlib import Path\nout = Path(sys.argv[1])\n{body}\n")
    return Stage(name=name, command=(str(script), str(out), *map(str, more)), output=out, after=after)


def test_a_stage_runs_once_and_again_when_its_command_or_a_stage_that_it_reads_has_changed(tmp_path):
    second = stage(tmp_path, "second", after=("first",))

    def counts(*more: object) -> tuple[str, str]:
        """After another run, with these flags for the first stage."""
        stages = [stage(tmp_path, "first", *more), second]
        runner = Runner(tmp_path / "paper", stages)
        assert ("first: to do" in runner.plan(stages)) is not runner.is_done(stages[0])
        assert runner.run(stages) == {}
        return tuple(each.output.read_text() for each in stages)

    assert counts() == counts() == ("x", "x")
    (tmp_path / "first.txt").unlink()
    assert counts() == counts() == ("x", "xx")
    assert counts("--max_steps", 3) == ("xx", "xxx")


def test_a_failure_is_told_and_stops_only_what_needs_it(tmp_path):
    bad = stage(tmp_path, "bad", body="sys.exit('error: no such thing')")
    needs, other = stage(tmp_path, "needs", after=("bad",)), stage(tmp_path, "other")
    stages = [bad, needs, other, stage(tmp_path, "silent", body="pass")]
    runner = Runner(tmp_path / "paper", stages)
    faults = runner.run(stages)
    assert set(faults) == {"bad", "needs", "silent"} and other.output.exists() and not runner.is_done(bad)
    assert "no such thing" in faults["bad"] and "needs bad" in faults["needs"] and "it left no" in faults["silent"]


# The command


def test_only_takes_names_and_groups_and_refuses_others():
    stages = create_stages(parse_reproduce([]))
    names = [each.name for each in stages]
    assert [each.name for each in choose(stages, ["silnet", "train_mshgan6"])] == ["silnet", "train_mshgan6"]
    assert len(choose(stages, ["train"])) == 5 and choose(stages, ["tables"]) == []
    assert names.index("silnet") < names.index("train_geocongan") < names.index("translate_geocongan")
    with pytest.raises(UsageError, match="no such stage; known are masks"):
        parse_reproduce(["--only", "train", "tabels"])


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
    opt = parse_reproduce(["--max_steps", "10", "--test_size", "5", "--train_flags=--ngf 8 --paper"])
    for each in create_stages(opt):
        parsers[each.command[0]](list(each.command[1:]))


def test_pages_escape():
    page = html_page("<T>", table(["a|b", "c"], [["1", "x | y"]]))
    assert "<title>&lt;T&gt;</title>" in page and page.count("<td") == 2 and "x | y" in page


def test_a_run_that_is_killed_goes_on_and_ends_with_a_page(run_main, monkeypatch, tmp_path):
    """SIGKILL while a model trains; the second start skips what was done and continues the training."""
    write_hands(tmp_path / "hands", frames=6, size=64)
    silnet = "--ngf 4 --crop_size 32 --val_interval 0 --display_freq 0 --num_workers 0 --amp off --max_steps 2"
    command = [sys.executable, "-m", "util.reproduce", "--dataroot", "hands", "--models", "pixcyclegan4"]
    command += ["--only", "silnet", "train", "translate", "tables", "--val_size", "2", "--test_size", "6"]
    command += [f"--train_flags={' '.join(TINY)} --save_freq 2 --max_steps 40", f"--silnet_flags={silnet}"]
    command += ["--test_flags=--feature_net random --num_workers 0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    start = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    checkpoint = tmp_path / "checkpoints" / "paper" / "pixcyclegan4" / "latest.pt"
    assert within(120, lambda: start.poll() is not None or checkpoint.exists()), "it hangs"
    assert start.poll() is None, "it ended before it could be killed"
    start.kill()
    start.wait()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("util.workers.start_child", start_child)
    status, said = run_main(reproduce.main, *command[3:])
    assert status == 0, said
    assert "silnet: done before" in said
    assert re.search(r"train_pixcyclegan4: python train.py .* --continue_train", said)
    folder = tmp_path / "results" / "paper"
    page = (folder / "paper.md").read_text()
    assert "| pixcyclegan4 | 40 |" in page and "70.815" in page and "translation brings" in page.lower()
    assert (folder / "figures" / "fig5.jpg").exists() and "fig5.jpg" in (folder / "index.html").read_text()


def test_a_dry_run_tells_the_paper_s_counts(monkeypatch, capsys, tmp_path):
    """93,000 frames without objects and 29,000 photographs, as published."""

    def frames(count: int) -> list[Frame]:
        return [Frame(Path(f"{i}.png"), f"{i}.png", "", None, "") for i in range(count)]

    monkeypatch.setattr(stages, "find_frames", lambda dataroot: {"synthetic": frames(93_000), "real": frames(29_000)})
    assert reproduce.main(parse_reproduce(["--dataroot", str(tmp_path), "--dry_run"])) == 0
    said = capsys.readouterr().out
    assert "10,500 training and 3,500 test images a class, from 93,000 synthetic and 29,000 real images" in said
    assert "classify_hands: to do\n    python test.py --name mshgan6" in said and "--num_test 10500" in said
