"""Imports run downward from folder to folder, and no modules import each other in a circle.

Read from the source, so that imports inside functions count too.
"""

import ast
from functools import cache
from pathlib import Path

from helpers import ROOT

# From the top down: a folder, or a file such as util/benchmark.py, imports from those below it only. "util" is the other files
# at its root, which import nothing else.
FOLDERS = (
    "scripts",
    "util/search",
    "util/reproduce",
    "util/benchmark",
    "util/studies",
    "util/results",
    "util/training",
    "util/scores",
    "options",
    "models",
    "data",
    "util",
)
UPWARD: set[tuple[str, str]] = set()  # exceptions, as (importer, imported); three at most


def module_name(file: Path) -> str:
    """options/shared.py -> options.shared; models/__init__.py -> models."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def folder_of(file: Path) -> str:
    """The file's entry in FOLDERS."""
    top, *rest = file.relative_to(ROOT).parts
    if not rest:
        return "scripts"
    inside = f"util/{rest[0].removesuffix('.py')}"
    return inside if top == "util" and inside in FOLDERS else top


@cache
def modules() -> dict[str, Path]:
    """{module: file} of the product's code."""
    files = [
        *ROOT.glob("*.py"),
        *(file for top in ("util", "options", "models", "data") for file in ROOT.glob(f"{top}/**/*.py")),
    ]
    return {module_name(file): file for file in files}


@cache
def imports() -> dict[str, set[str]]:
    """{module: the modules of this project that it imports}."""
    found = {}
    for name, file in modules().items():
        names = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: imports are absolute"
                names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        found[name] = {each for each in names & modules().keys() if modules()[each].stat().st_size}
    return found


def test_every_folder_has_its_place():
    assert {folder_of(file) for file in modules().values()} == set(FOLDERS)


def test_imports_run_downward():
    upward = []
    for name, file in modules().items():
        for target in imports()[name]:
            importer, imported = folder_of(file), folder_of(modules()[target])
            if FOLDERS.index(importer) > FOLDERS.index(imported) and (importer, imported) not in UPWARD:
                upward.append(f"{name} -> {target}")
    assert not upward, f"imports that run upward: {upward}"
    assert len(UPWARD) <= 3


def test_no_modules_import_each_other_in_a_circle():
    """A package's __init__ counts only where a name is imported from it."""
    remaining = {name: set(targets) for name, targets in imports().items()}
    while free := [name for name, targets in remaining.items() if not targets & remaining.keys()]:
        for name in free:
            del remaining[name]
    assert not remaining, f"circles among or above: {sorted(remaining)}"
