"""python -m data.demo writes the demo to datasets/demo; train.py without --dataroot does so, too."""

import argparse
import logging

from data import DEMO_ROOT
from data.demo import ensure_demo
from util.errors import run_command


def main() -> None:
    """Write the demo to datasets/demo, unless it is there."""
    argparse.ArgumentParser(prog="python -m data.demo", description=main.__doc__).parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    ensure_demo(DEMO_ROOT)


if __name__ == "__main__":
    run_command(main)
