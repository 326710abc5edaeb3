"""Hands on disk, and how they become samples."""

from pathlib import Path

DEMO_ROOT = Path("datasets") / "demo"  # the default of --dataroot
