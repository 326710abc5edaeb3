"""Tests that need a GPU: `python -m pytest -m gpu -n 0`. They skip without one; with one they end in a table to paste into an
issue."""

import platform
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
outcomes: list[tuple[str, str, float]] = []  # test, outcome, seconds
figures: list[tuple[str, str]] = []  # what a test measured, and the figure


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in Path(item.fspath).parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture
def figure():
    """figure("memory, GiB", 3.2): a line of the table at the end."""
    return lambda name, value: figures.append((name, f"{value:.4g}" if isinstance(value, float) else str(value)))


@pytest.fixture
def cuda() -> torch.device:
    return torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def exact_products(monkeypatch):
    """float32 as on a CPU: no TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def pytest_runtest_logreport(report):
    if "tests/gpu/" in report.nodeid and (report.when == "call" or report.outcome == "failed"):
        outcomes.append((report.nodeid.removeprefix("tests/gpu/"), report.outcome, report.duration))


def pytest_terminal_summary(terminalreporter):
    if not outcomes or not torch.cuda.is_available():
        return
    card = torch.cuda.get_device_properties(0)
    terminalreporter.section("to paste into an issue")
    lines = [
        f"{torch.cuda.device_count()} x {card.name}, {card.total_memory / 2**30:.0f} GiB; torch {torch.__version__}, CUDA "
        f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, Python {platform.python_version()}",
        "",
        "| test | outcome | seconds |",
        "| --- | --- | ---: |",
        *(f"| {name} | {outcome} | {seconds:.1f} |" for name, outcome, seconds in outcomes),
    ]
    if figures:
        lines += ["", "| figure | value |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in figures)]
    for line in lines:
        terminalreporter.write_line(line)
