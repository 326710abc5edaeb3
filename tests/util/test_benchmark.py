"""The benchmark runs, and names what it was asked to time. Nothing is timed here."""

import torch

from util import benchmark

TINY = ["--crop_size", "32", "--ngf", "2", "--ndf", "2", "--max_steps", "1", "--device", "cpu", "--num_workers", "0"]


def test_models_parts_and_loader_by_train_py_s_flags(hands_root, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "MODELS", ("pixcyclegan4", "geocongan"))
    benchmark.main([*TINY, "--dataroot", str(hands_root), "--netD", "pixel", "--amp", "off", "--batch_size", "2"])
    said = capsys.readouterr().out
    assert f"PyTorch {torch.__version__}" in said and "crop 32, batch 2, width 2, off" in said
    rows = [line.split("|")[1].strip() for line in said.splitlines() if line.startswith("| ")]
    steps = ["pixcyclegan4, step", "geocongan, step"]
    assert rows == ["what", "---", *steps, "batch from the loader, 0 workers"]
