"""Starting a run: the environment of clusters, more processes than GPUs, external failures, folders that cannot be made."""

import os
import signal
import socket
from datetime import timedelta

import pytest
import torch
import torch.nn.functional as F
from helpers import TINY, as_on_gpus

import train
from models.networks.layers import max_pool, reflect_pad
from util import distributed, errors
from util.distributed import Place
from util.errors import UsageError
from util.run import open_run
from util.runtime import resolve_device, seed_everything

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture
def environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return lambda **values: [monkeypatch.setenv(name, str(value)) for name, value in values.items()]


@pytest.mark.parametrize("values", [{}, {"WORLD_SIZE": 4}, {"RANK": 3}, {"WORLD_SIZE": 2, "LOCAL_RANK": 1}])
def test_a_job_of_one_process_is_one_whatever_the_cluster_exports(environment, values):
    environment(**values)
    assert distributed.place() == Place()
    distributed.start(distributed.place(), torch.device("cpu"))
    assert distributed.world_size() == 1


def test_world_size_alone_trains(environment, run_main, hands_root, tmp_path):
    environment(WORLD_SIZE=2)
    where = ("--name", "run", "--dataroot", hands_root, "--checkpoints_dir", tmp_path)
    status, said = run_main(train.main, *where, *TINY, "--netD", "pixel", "--max_steps", 1)
    assert status == 0, said


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"RANK": "x", "WORLD_SIZE": 2}, "RANK=x"),
        ({"RANK": 0, "WORLD_SIZE": 0}, "WORLD_SIZE=0"),
        ({"RANK": 2, "WORLD_SIZE": 2}, "RANK=2 WORLD_SIZE=2"),
    ],
)
def test_an_environment_that_makes_no_sense_is_named(environment, values, words):
    environment(**values)
    with pytest.raises(UsageError, match=words):
        distributed.place()


@pytest.mark.parametrize("known", [True, False], ids=["address", "no address"])
def test_a_peer_that_never_comes_is_one_sentence(environment, monkeypatch, known):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment(RANK=0, WORLD_SIZE=2, **({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} if known else {}))
    monkeypatch.setattr(distributed, "START_TIMEOUT", timedelta(seconds=1))
    with pytest.raises(UsageError, match="RANK=0 and WORLD_SIZE=2 .* did not come together .* torchrun"):
        distributed.start(distributed.place(), torch.device("cpu"))


def test_more_processes_than_gpus_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="3 processes on this machine, and PyTorch sees 2 GPUs.*--nproc_per_node=2"):
        resolve_device("auto", 0, 3)
    assert resolve_device("cpu", 2, 3) == torch.device("cpu")


def test_processes_on_a_gpu_host_that_train_on_the_cpu_talk_by_gloo(environment, monkeypatch):
    calls = {}
    environment(RANK=0, WORLD_SIZE=2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(distributed.dist, "rendezvous", lambda *_, **__: iter([("store", 0, 2)]))
    monkeypatch.setattr(
        distributed.dist, "init_process_group", lambda backend, **more: calls.update(backend=backend, **more)
    )
    distributed.start(distributed.place(), torch.device("cpu"))
    assert calls["backend"] == "gloo" and calls["device_id"] is None
    distributed.start(distributed.place(), torch.device("cuda", 0))
    assert calls["backend"] == "nccl" and calls["device_id"] == torch.device("cuda", 0)
    assert calls["timeout"] > timedelta(hours=1)  # the others wait while rank 0 validates


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "the GPU failed"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "the GPU failed"),
        (RuntimeError("GET was unable to find an engine to execute this computation"), "lower --batch_size"),
        (RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer"), "another process of this run"),
    ],
)
def test_external_failures_are_known(error, words):
    message = errors.explain(error)
    assert message and words in message and "\n" not in message


@pytest.mark.parametrize(
    ("script", "words", "lacks"),
    [
        ("train.py", ("--crop_size", "--continue_train"), ()),
        ("test.py", ("--crop",), ("--continue_train", "--crop_size")),
        ("classify.py", ("--img_size", "--vit"), ("--crop_size",)),
        ("preprocess_masks.py", ("--num_workers",), ("--batch_size", "--continue_train")),
    ],
)
def test_advice_on_memory_names_the_commands_own_flags(monkeypatch, script, words, lacks):
    monkeypatch.setattr("sys.argv", [f"/somewhere/{script}"])
    message = errors.explain(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert all(word in message for word in words) and not any(word in message for word in lacks)


def test_sigterm_ends_any_command_in_order(run_main):
    left = []

    def main():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            left.append("in order")

    handler = signal.getsignal(signal.SIGTERM)
    status, said = run_main(main)
    assert status == 143 and said.startswith("terminated; ") and left == ["in order"]
    assert signal.getsignal(signal.SIGTERM) == handler


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


def test_deterministic_refuses_what_cannot_repeat_itself(deterministic):
    assert torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


def test_deterministic_uses_own_gradients_on_every_device(deterministic):
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    with as_on_gpus():
        y = reflect_pad(x, 2)
    assert "_ReflectPad" in type(y.grad_fn).__name__
    (ours,) = torch.autograd.grad(max_pool(y).square().sum(), x)
    (theirs,) = torch.autograd.grad(F.max_pool2d(F.pad(x, (2,) * 4, mode="reflect"), 2).square().sum(), x)
    torch.testing.assert_close(ours, theirs)
