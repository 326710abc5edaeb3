"""util.reproduce: verdicts on constructed numbers, stages that are skipped, continued and redone, and a real run."""

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, TINY, parser_of, start_child, within, write_hands

from data.frames import Frame
from util.errors import UsageError
from util.reproduce import claims, stages
from util.reproduce.__main__ import main, parse_reproduce
from util.reproduce.claims import FAILS, HOLDS, OPEN, UNTESTED
from util.reproduce.page import by_seed, claims_table, shading_step
from util.reproduce.stages import Stage, choose, create_stages, is_done, plan, run_stages
from util.scores.distances import Difference


def around(estimate: float, spread: float = 1.0) -> Difference:
    """Draws that are uniform in estimate +- spread."""
    return Difference(estimate, np.linspace(estimate - spread, estimate + spread, 1001))


def test_a_claim_holds_where_all_intervals_do_and_fails_where_one_contradicts():
    for estimates, bounds, verdict in (
        ([-2.0, -3.0], {"high": 0}, HOLDS),
        ([-2.0, 0.97], {"high": 0}, OPEN),  # above zero at 95 %, but not once corrected for two
        ([-2.0, 2.0], {"high": 0}, FAILS),
        ([-0.5, 0.9], {"low": -2, "high": 2}, HOLDS),  # as good as equal
        ([-0.5, -3.5], {"low": -2, "high": 2}, FAILS),
        ([], {"high": 0}, UNTESTED),
    ):
        assert claims.verdict_of([around(each) for each in estimates], **bounds) == verdict


def test_a_claim_about_models_that_are_not_all_there_can_fail_but_not_hold():
    stated = claims.Stated("x", "FD", [("a", "b"), ("a", "c")], high=0)
    good, bad = (lambda *_: around(-2.0)), (lambda *_: around(2.0))
    whole = claims.decide(stated, "abc", good)
    assert whole.verdict == HOLDS and whole.measured["a - b"] == pytest.approx([-2, -2.95, -1.05])
    lacking = claims.decide(stated, "ab", good)
    assert lacking.verdict == OPEN and lacking.note == "Not there yet: c." and list(lacking.measured) == ["a - b"]
    assert claims.decide(stated, "ab", bad).verdict == FAILS and claims.decide(stated, "a", good).verdict == UNTESTED


def write_calls(folder: Path, study: str, counts: dict[tuple[str, str, str], tuple[int, ...]]) -> None:
    """predictions.csv. counts: {(training set, test set, true class): hands called synthetic, real, generated}."""
    lines = ["file,true,predicted,train_set,test_set"]
    for (train_set, test_set, true), of_kind in counts.items():
        for called, count in zip(("synthetic", "real", "generated"), of_kind):
            lines += [f"x.png,{true},{called},{train_set},{test_set}"] * count
    (folder / study).mkdir(exist_ok=True)
    (folder / study / "predictions.csv").write_text("\n".join(lines))


def verdicts(*sides) -> dict[str, str]:
    """{the first two words of a claim: its verdict}."""
    return {" ".join(each.paper.split()[:2]): each.verdict for each in claims.decide_all(*sides)}


def test_a_claim_about_classifiers_counts_only_with_one_that_can_tell(tmp_path):
    for generated, real, synthetic, wanted in (  # each: called synthetic, real, generated
        ((40, 647, 2813), (121, 2915, 465), (3341, 114, 45), HOLDS),  # Fig. 7
        ((30, 5, 15), (2, 48, 0), (48, 2, 0), FAILS),
        ((45, 55, 0), (5, 95, 0), (95, 5, 0), OPEN),
        ((0, 0, 50), (0, 50, 0), (50, 0, 0), OPEN),  # none is mistaken
        ((0, 50, 0), (0, 50, 0), (0, 50, 0), UNTESTED),  # calls everything real
    ):
        known = {("syn_rea", "syn_rea", "real"): real, ("syn_rea", "syn_rea", "synthetic"): synthetic}
        write_calls(tmp_path, "table2", known | {("syn_rea", "syn_gen", "real"): generated})
        three = {"generated": generated, "real": real, "synthetic": synthetic}
        write_calls(tmp_path, "table3", {("syn_rea_gen", "syn_rea_gen", kind): each for kind, each in three.items()})
        found = verdicts(claims.of_classifiers(tmp_path))
        assert found["Most generated"] == found["Generated hands"] == wanted


def test_training_on_both_is_compared_hand_by_hand(tmp_path):
    """Of 100 real, or generated, hands the classifiers recognise the first so many."""
    for half, rea, gen, wanted in ((80, 50, 50, HOLDS), (50, 80, 50, FAILS), (80, 80, 50, OPEN)):
        rights = {"syn_half": half, "syn_rea": rea, "syn_gen": gen}
        tests = product(rights.items(), ("syn_rea", "syn_gen"))
        calls = {(name, test_set, "real"): (0, n, 100 - n) for (name, n), test_set in tests}
        write_calls(tmp_path, "table2", calls)
        found = verdicts(claims.of_classifiers(tmp_path))
        assert found["Training on"] == found["That costs"] == wanted


def test_claims_about_models_by_constructed_hands():
    """Six blocks lie `step` farther from the photographs than four, pixel discriminators 4 farther than perceptual ones."""
    real, base = np.random.default_rng(0).normal(size=(2, 60, 3))
    for step, wanted in ((0.1, HOLDS), (6, FAILS)):
        shift = {"mshgan4": 1, "mshgan6": 1 + step, "pixcyclegan4": 5, "pixcyclegan6": 5 + step, "geocongan": 4}
        features = {name: base + 0.3 * far for name, far in shift.items()}
        sides = dict.fromkeys((claims.FD, claims.KID, claims.SHARE), features)
        single = {name: base[:, 0] + far for name, far in shift.items()}
        sides |= dict.fromkeys((claims.GAPS, claims.COLOUR, claims.SHADING), single)
        found = verdicts(sides, real)
        assert found["The number"] == found["msH-GAN4 and"] == found["msH-GAN gives"] == found["A perceptual"] == wanted
        others = found["Pixel discriminators"], found["msH-GAN4 fills"], found["Models with"]
        assert others == (FAILS, HOLDS, UNTESTED)


def test_scatter_of_colour_and_steps_of_shading():
    scatter = claims.colour_scatter(np.array([[50, 10, 10], [56, 10, 18], [np.nan] * 3]))
    assert scatter[:2] == pytest.approx([5, 5]) and np.isnan(scatter[2])
    mask = np.pad(np.ones((48, 48), bool), 8)
    flat = np.where(mask[..., None], 120, 255).astype(np.uint8).repeat(3, 2)
    step = flat.copy()
    step[32:56, 8:56] = 60
    assert shading_step(flat, mask) < 0.1 < 5 < shading_step(step, mask)
    assert shading_step(flat, np.zeros_like(mask)) == 0


def test_seeds_stand_beside_each_other_and_a_claim_holds_only_with_all():
    def seed(number: int, verdict: str, fd: float) -> dict:
        figures = {"measure": "FD", "measured": {"a - b": [fd, fd - 1, fd + 1]}, "note": ""}
        found = {"both": figures | {"verdict": HOLDS}, "one": figures | {"verdict": verdict}}
        return {"seed": number, "claims": found, "Table I": {"FD": {"mshgan4": fd}}}

    seeds = [seed(0, HOLDS, 50.0), seed(3, FAILS, 51.5)]
    *_, both, one = claims_table(seeds).splitlines()
    assert both == f"| both | **{HOLDS}** | FD<br>a - b: 50.0 (49.0 to 51.0) and 51.5 (50.5 to 52.5) |"
    assert one.startswith(f"| one | **{OPEN}**<br>seed 0: {HOLDS}<br>seed 3: {FAILS} | FD")
    rows = by_seed(seeds, "Table I").splitlines()[-3:]
    assert rows == ["| FD | seed 0 | 50.0 |", "| FD | seed 3 | 51.5 |", "|  | spread | 1.50 |"]
    assert f"| one | **{HOLDS}** | FD<br>a - b: 50.0 (49.0 to 51.0) |" in claims_table(seeds[:1])
    untested = claims_table([seeds[0], seed(3, UNTESTED, 51.5)])
    assert f"| one | **{HOLDS}**<br>seed 0: {HOLDS}<br>seed 3: {UNTESTED} |" in untested
    assert by_seed(seeds[:1], "Table I") == ""


COUNT = "out.write_text(out.read_text() + 'x' if out.exists() else 'x')"  # how often the stage has run


def stage(folder: Path, name: str, *more: object, body: str = COUNT, after: tuple[str, ...] = ()) -> Stage:
    script, out = folder / f"{name}.py", folder / f"{name}.txt"
    script.write_text(f"import os, sys, time\nfrom pathlib import Path\nout = Path(sys.argv[1])\n{body}\n")
    return Stage(name, (str(script), str(out), *map(str, more)), out, after)


def test_a_stage_runs_once_and_again_when_its_command_or_a_stage_that_it_reads_has_changed(tmp_path):
    second = stage(tmp_path, "second", after=("first",))

    def counts(*more: object) -> tuple[str, str]:
        """After another run, with these flags for the first stage."""
        stages = [stage(tmp_path, "first", *more), second]
        assert ("first: to do" in plan(tmp_path, stages)) is not is_done(tmp_path, stages[0])
        assert run_stages(tmp_path, stages, stages) == {}
        return tuple(each.output.read_text() for each in stages)

    assert counts() == counts() == ("x", "x")
    (tmp_path / "first.txt").unlink()
    assert counts() == counts() == ("x", "xx")
    assert counts("--max_steps", 3) == ("xx", "xxx")


def test_a_failure_is_told_and_stops_only_what_needs_it(tmp_path):
    bad = stage(tmp_path, "bad", body="sys.exit('error: no such thing')")
    needs, other = stage(tmp_path, "needs", after=("bad",)), stage(tmp_path, "other")
    stages = [bad, needs, other, stage(tmp_path, "silent", body="pass")]
    faults = run_stages(tmp_path, stages, stages)
    assert set(faults) == {"bad", "needs", "silent"} and other.output.exists() and not is_done(tmp_path, bad)
    assert "no such thing" in faults["bad"] and "needs bad" in faults["needs"] and "it left no" in faults["silent"]


def test_only_takes_names_and_groups_and_refuses_others(tmp_path):
    stages = create_stages(parse_reproduce([]))
    names = [each.name for each in stages]
    assert [each.name for each in choose(stages, ["silnet", "train_mshgan6"])] == ["silnet", "train_mshgan6"]
    assert len(choose(stages, ["train"])) == 5 and choose(stages, ["tables"]) == []
    assert names.index("silnet") < names.index("train_geocongan") < names.index("translate_geocongan")
    with pytest.raises(UsageError, match="no such stage; known are masks"):
        parse_reproduce(["--only", "train", "tabels"])
    (tmp_path / "summary.json").write_text('{"seed": 1}')
    with pytest.raises(UsageError, match="are of one seed"):
        parse_reproduce(["--other_seeds", str(tmp_path / "summary.json"), "--seed", "1"])


def test_every_command_of_the_plan_is_one_that_its_script_takes():
    opt = parse_reproduce(["--max_steps", "10", "--test_size", "5", "--train_flags=--ngf 8 --paper"])
    for script, *flags in (each.command for each in create_stages(opt)):
        parser_of(script).parse_args(flags)


def test_a_run_that_is_killed_goes_on_and_ends_with_a_page(run_main, monkeypatch, tmp_path):
    """SIGKILL while a model trains; the second start skips what was done and continues the training."""
    write_hands(tmp_path / "hands", frames=6, size=64)
    silnet = "--ngf 4 --crop_size 32 --val_interval 0 --display_freq 0 --num_workers 0 --amp off --max_steps 2"
    command = [sys.executable, "-m", "util.reproduce", "--dataroot", "hands", "--models", "pixcyclegan4"]
    command += ["--only", "silnet", "train", "translate", "tables", "--val_size", "2", "--test_size", "6"]
    command += [f"--train_flags={' '.join(TINY)} --save_freq 2 --max_steps 40", f"--silnet_flags={silnet}"]
    command += ["--test_flags=--feature_net random --num_workers 0"]
    start = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)
    checkpoint = tmp_path / "checkpoints" / "paper" / "pixcyclegan4" / "latest.pt"
    assert within(300, lambda: start.poll() is not None or checkpoint.exists()), "it hangs"
    start.kill()
    assert start.wait() < 0, "it ended before it could be killed"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("util.workers.start_child", start_child)
    status, said = run_main(main, *command[3:])
    assert status == 0 and "silnet: done before" in said and "--continue_train" in said, said
    folder = tmp_path / "results" / "paper"
    page = (folder / "paper.md").read_text()
    assert "| pixcyclegan4 | 40 |" in page and "70.815" in page and "translation brings" in page.lower()
    assert (folder / "figures" / "fig5.jpg").exists() and "fig5.jpg" in (folder / "index.html").read_text()


def test_a_dry_run_tells_the_paper_s_counts(monkeypatch, capsys, tmp_path):
    """93,000 frames without objects and 29,000 photographs, as published."""
    counts = {"synthetic": 93_000, "real": 29_000}
    frames = {name: [Frame(Path(f"{i}.png"), f"{i}.png", "", None, "") for i in range(n)] for name, n in counts.items()}
    monkeypatch.setattr(stages, "find_frames", lambda dataroot: frames)
    assert main(parse_reproduce(["--dataroot", str(tmp_path), "--dry_run"])) == 0
    said = capsys.readouterr().out
    assert "10,500 training and 3,500 test images a class, from 93,000 synthetic and 29,000 real images" in said
    assert "classify_hands: to do\n    python test.py --name mshgan6" in said and "--num_test 10500" in said
