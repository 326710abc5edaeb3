"""Starting a run: the environment of clusters, more processes than GPUs, folders that cannot be made, signals, --deterministic."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest
import torch
import torch.nn.functional as F
from helpers import CPU, ROOT, as_on_gpus, free_port

from models.networks.layers import max_pool, reflect_pad
from util import distributed
from util.distributed import Place
from util.errors import STOP_SIGNALS, UsageError
from util.run import open_run
from util.runtime import resolve_device, seed_everything


@pytest.fixture
def environment(monkeypatch):
    """environment(RANK=0, ...) sets these and no others of what torchrun sets."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    return lambda **values: [monkeypatch.setenv(name, str(value)) for name, value in values.items()]


@pytest.mark.parametrize("values", [{}, {"WORLD_SIZE": 4}, {"RANK": 3}, {"WORLD_SIZE": 2, "LOCAL_RANK": 1}])
def test_a_job_of_one_process_is_one_whatever_the_cluster_exports(environment, values):
    environment(**values)
    assert distributed.place() == Place()
    distributed.start(distributed.place(), CPU)
    assert distributed.world_size() == 1


@pytest.mark.parametrize(("rank", "world_size"), [("x", 2), (0, 0), (2, 2)])
def test_an_environment_that_makes_no_sense_is_named(environment, rank, world_size):
    environment(RANK=rank, WORLD_SIZE=world_size)
    with pytest.raises(UsageError, match=f"RANK={rank} WORLD_SIZE={world_size}"):
        distributed.place()


@pytest.mark.parametrize("known", [True, False], ids=["address", "no address"])
def test_a_peer_that_never_comes_is_one_sentence(environment, monkeypatch, caplog, known):
    port = free_port()
    environment(RANK=0, WORLD_SIZE=2, **({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} if known else {}))
    monkeypatch.setattr(distributed, "START_TIMEOUT", timedelta(seconds=1))
    caplog.set_level("INFO")
    with pytest.raises(UsageError, match="RANK=0 and WORLD_SIZE=2 did not come together .* torchrun"):
        distributed.start(distributed.place(), CPU)
    assert (f"rank 0 of 2 waits for the others at 127.0.0.1:{port}" in caplog.text) == known


def test_a_process_that_waits_for_others_ends_at_a_signal(environment):
    environment(RANK=0, WORLD_SIZE=2, MASTER_ADDR="127.0.0.1", MASTER_PORT=free_port())
    code = (
        "import logging, torch; from util import distributed as d; from util.errors import run_command; logging.basicConfig(level=20);"
        "run_command(lambda: d.start(d.place(), torch.device('cpu')))"
    )
    waiting = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert "waits for the others" in waiting.stderr.readline()
    time.sleep(0.5)
    waiting.terminate()
    assert waiting.communicate(timeout=60)[1] == "" and waiting.returncode == -signal.SIGTERM


def test_more_processes_than_gpus_and_a_device_of_another_kind_are_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="3 processes on this machine, and PyTorch sees 2 GPUs.*--nproc_per_node=2"):
        resolve_device("auto", 0, 3)
    assert resolve_device("cpu", 2, 3) == CPU
    with pytest.raises(UsageError, match="'mps' is none of auto, cpu, cuda"):
        resolve_device("mps")


def test_processes_on_a_gpu_host_that_train_on_the_cpu_talk_by_gloo(environment, monkeypatch):
    calls = {}
    environment(RANK=0, WORLD_SIZE=2)
    group = lambda backend, **more: calls.update(backend=backend, **more)  # noqa: E731
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(distributed.dist, "rendezvous", lambda *_, **__: iter([("store", 0, 2)]))
    monkeypatch.setattr(distributed.dist, "init_process_group", group)
    for device, backend, device_id in ((CPU, "gloo", None), (torch.device("cuda", 0), "nccl", torch.device("cuda", 0))):
        distributed.start(distributed.place(), device)
        assert calls["backend"] == backend and calls["device_id"] == device_id
    assert calls["timeout"] > timedelta(hours=1)  # the others wait while rank 0 validates


@pytest.mark.parametrize("number", [number for number in STOP_SIGNALS if number != signal.SIGINT])
def test_signals_end_any_command_in_order(run_main, number):
    left = []

    def main():
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            left.append("in order")

    handler = signal.getsignal(number)
    status, said = run_main(main)
    assert status == 128 + number and said.startswith("interrupted; ") and left == ["in order"]
    assert signal.getsignal(number) == handler


def test_nohup_is_heeded(tmp_path):
    code = "import signal; from util.errors import STOP_SIGNALS; print(signal.SIGHUP in STOP_SIGNALS)"
    for before, heard in ([], b"True"), (["nohup"], b"False"):
        done = subprocess.run(
            [*before, sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True
        )
        assert done.stdout.strip() == heard, done.stderr


def test_folders_that_cannot_be_made_name_the_flag(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--checkpoints_dir"):
        open_run(tmp_path / "file" / "run", {}, continue_train=False, may_change=())


@pytest.fixture
def deterministic():
    """--deterministic, and what it sets undone."""
    benchmark = torch.backends.cudnn.benchmark
    seed_everything(0, deterministic=True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = benchmark


def test_deterministic_refuses_what_cannot_repeat_itself_and_uses_own_gradients_on_every_device(deterministic):
    assert torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    with as_on_gpus():
        y = reflect_pad(x, 2)
    assert "_ReflectPad" in type(y.grad_fn).__name__
    (ours,) = torch.autograd.grad(max_pool(y).square().sum(), x)
    (theirs,) = torch.autograd.grad(F.max_pool2d(F.pad(x, (2,) * 4, mode="reflect"), 2).square().sum(), x)
    torch.testing.assert_close(ours, theirs)
