"""The benchmark: that it runs, counts right, and says what it was asked. Nothing is timed here."""

import json

import pytest
import torch

from data.demo import ensure_demo
from util.benchmark import others
from util.benchmark import step as benchmark
from util.runtime import Amp

CPU = torch.device("cpu")
TINY = ["--crop_size", "32", "--ngf", "2", "--ndf", "2", "--steps", "1", "--device", "cpu"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(benchmark, "matmul_rate", lambda device, amp: 1e9)


def test_steps(tmp_path, capsys):
    file = tmp_path / "figures.json"
    benchmark.main(
        [*TINY, "--models", "pixcyclegan4", "geocongan", "--amp", "off", "--batch_size", "2", "--json", str(file)]
    )
    figures = json.loads(file.read_text())
    assert figures["batch_size"] == 2 and figures["threads"] == torch.get_num_threads()
    whats = [f"{model}, fast" for model in ("pixcyclegan4", "geocongan")]
    assert [row["what"] for row in figures["rows"]] == whats
    assert all(row["operators"] > 0 for row in figures["rows"])
    for row in figures["rows"]:
        assert (
            row["ms"] > 0
            and row["gflop"] > 0
            and row["share_of_matmul"] == pytest.approx(1000 * row["gflop"] / row["ms"], 1e-3)
        )
        assert row["images_per_second"] == pytest.approx(4000 / row["ms"])
    said = capsys.readouterr().out
    assert all(what in said for what in whats)
    assert all(head in said for head in ("operators", "GB moved", "GFLOP"))


def test_operations_are_counted():
    """A matrix product of n^3 multiply-adds is 2 n^3 operations; a backward pass twice as many."""
    a = torch.rand(8, 8, requires_grad=True)
    b = torch.rand(8, 8, requires_grad=True)
    assert benchmark.count(lambda: (a @ b).sum().backward(), CPU)["gflop"] == pytest.approx(3 * 2 * 8**3 / 1e9)


def test_operators_and_their_bytes_are_counted():
    """A matrix product reads two matrices and writes one; the sum reads that and writes a number. A view costs nothing."""
    a, b = torch.rand(8, 8), torch.rand(8, 8)
    cost = benchmark.count(lambda: (a @ b).view(64).sum(), CPU)
    assert cost["operators"] == 2 and cost["gigabytes"] == pytest.approx(4 * (3 * 64 + 64 + 1) / 1e9)


def test_other_sections(capsys, monkeypatch):
    fewest = {"num_workers": 0, "frames_per_camera": 1, "frames_per_user": 1}
    monkeypatch.setattr(others, "ensure_demo", lambda root, **_: ensure_demo(root, **fewest))
    flags = ["--vit", "tiny", "--vit_size", "32", "--metric_images", "20", "--metric_dim", "4"]
    benchmark.main([*TINY, *flags, "--sections", "vit", "metrics", "loader", "masks"])
    said = capsys.readouterr().out
    whats = ("ViT tiny", "FID", "KID", "batches", "masks of")
    assert all(what in said for what in whats) and "images/s" in said


def test_medians_are_taken_in_turns():
    order = []
    subjects = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    medians = benchmark.alternate(subjects, 3, CPU)
    assert order == ["a", "b"] * 3 and medians.keys() == subjects.keys()


def test_the_matmul_rate_is_one(monkeypatch):
    monkeypatch.undo()
    assert benchmark.matmul_rate(CPU, Amp("off")) > 1e6
