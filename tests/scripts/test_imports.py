"""Imports run downward from folder to folder, and no modules import each other in a circle."""

from pathlib import Path

from helpers import ROOT, imports, modules

# From the top down: a folder, or a file such as util/benchmark.py, imports from those below it only. "util" is the other files
# at its root, which import nothing else.
FOLDERS = (
    "scripts", "util/search", "util/reproduce", "util/benchmark", "util/studies", "util/results", "util/training",
    "util/scores", "options", "models", "data", "util",
)  # fmt: skip


def folder_of(file: Path) -> str:
    """The file's entry in FOLDERS."""
    top, *rest = file.relative_to(ROOT).parts
    if not rest:
        return "scripts"
    inside = f"util/{rest[0].removesuffix('.py')}"
    return inside if top == "util" and inside in FOLDERS else top


def test_every_folder_has_its_place_and_imports_run_downward():
    height = {name: FOLDERS.index(folder_of(file)) for name, file in modules().items()}
    assert set(height.values()) == set(range(len(FOLDERS)))
    upward = [f"{a} -> {b}" for a in modules() for b in imports()[a] if height[a] > height[b]]
    assert not upward, f"imports that run upward: {upward}"


def test_no_modules_import_each_other_in_a_circle():
    """A package's __init__ counts only where a name is imported from it."""
    remaining = {name: set(targets) for name, targets in imports().items()}
    while free := [name for name, targets in remaining.items() if not targets & remaining.keys()]:
        for name in free:
            del remaining[name]
    assert not remaining, f"circles among or above: {sorted(remaining)}"
