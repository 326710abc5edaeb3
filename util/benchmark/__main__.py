"""python -m util.benchmark"""

from util.benchmark.step import main
from util.errors import run_command

run_command(main)
