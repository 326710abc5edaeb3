"""Tests that need a GPU: `python -m pytest -m gpu -n 0`. They skip without one; with one they end in the figures that they measured."""

import platform
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
figures: list[str] = []  # what a test measured, and the figure


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in Path(item.fspath).parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture
def figure():
    """figure("memory, GiB", 3.2): a line at the end."""
    return lambda name, value: figures.append(f"{name}: {value:.4g}")


@pytest.fixture
def cuda() -> torch.device:
    return torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def exact_products(monkeypatch):
    """float32 as on a CPU: no TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def pytest_terminal_summary(terminalreporter):
    if figures:
        card = torch.cuda.get_device_name()
        terminalreporter.section(f"{card}; torch {torch.__version__}, Python {platform.python_version()}")
        terminalreporter.write_line("\n".join(figures))
