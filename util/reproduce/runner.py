"""Runs stages, several side by side where asked, skips what is done, and takes up what was interrupted."""

import logging
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from util import workers
from util.files import read_json, write_json
from util.reproduce.stages import Stage
from util.run import OPTIONS_FILE

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
# Flags that set where and how often, and do not change the result.
IDLE_FLAGS = ("--device", "--num_workers", "--log_freq", "--save_freq", "--display_freq")


class Runner:
    """folder: RESULTS_DIR/paper. places: the environment of each command that runs at a time. all_stages: to look up others.

    A finished stage leaves a record: its command, when it ended, and how long it took.
    """

    def __init__(self, folder: Path, places: Sequence[dict[str, str]], all_stages: Sequence[Stage]) -> None:
        self.folder, self.places = folder, places
        self.by_name = {stage.name: stage for stage in all_stages}
        self.faults: dict[str, str] = {}  # why stages have not ended well

    def record(self, name: str) -> dict:
        """The stage's record; {} where there is none."""
        return read_json(self.folder / "stages" / f"{name}.json") or {}

    def log_of(self, stage: Stage) -> Path:
        """Where the stage's output goes."""
        return self.folder / "logs" / f"{stage.name}.log"

    def is_done(self, stage: Stage) -> bool:
        """Whether this command ended well, after every stage whose output it reads, and its output is still there."""
        record = self.record(stage.name)
        return (
            record.get("command") == effective(stage.command)
            and all(self.record(name).get("ended", 0) <= record["ended"] for name in stage.after)
            and self._output_there(stage.name)
        )

    def plan(self, stages: Sequence[Stage]) -> str:
        """The stages with their states and commands; a stage that has run says how long it took."""
        again: set[str] = set()
        lines = []
        for stage in stages:
            if again.isdisjoint(stage.after) and self.is_done(stage):
                lines.append(f"{stage.name}: done in {duration(self.record(stage.name)['seconds'])}")
            else:
                again.add(stage.name)
                lines.append(f"{stage.name}: to do\n    {workers.shell_line(stage.command)}")
        return "\n".join(lines)

    def run(self, stages: Sequence[Stage]) -> dict[str, str]:
        """Run the stages. Returns {stage: why it has not ended well}.

        An exception, such as Ctrl-C's, first ends the commands that are running; each saves.
        """
        waiting = list(stages)
        running: dict[int, tuple[Stage, subprocess.Popen, float]] = {}  # by place
        try:
            while waiting or running:
                for place, (stage, child, since) in list(running.items()):
                    if child.poll() is not None:
                        del running[place]
                        self._finish(stage, child.returncode, time.time() - since)
                for place in set(range(len(self.places))) - set(running):
                    if stage := self._next(waiting, running={stage.name for stage, _, _ in running.values()}):
                        running[place] = stage, self._start(stage, place), time.time()
                time.sleep(POLL_SECONDS)
        finally:
            for _, child, _ in running.values():
                child.terminate()
            for _, child, _ in running.values():
                workers.stop_child(child)
        return self.faults

    def _next(self, waiting: list[Stage], *, running: set[str]) -> Stage | None:
        """Take the first stage that can start now out of `waiting`."""
        for stage in list(waiting):
            unfinished = running | {other.name for other in waiting}
            if unfinished & set(stage.after):
                continue
            waiting.remove(stage)
            missing = [name for name in stage.after if name in self.faults or not self._output_there(name)]
            if missing:
                self._fail(stage, f"needs {', '.join(missing)}, which is not done")
            elif self.is_done(stage):
                log.info("%s: done before", stage.name)
            else:
                return stage
        return None

    def _output_there(self, name: str) -> bool:
        """Whether a stage can read what another leaves. Masks may stay as they are where --only leaves them out."""
        stage = self.by_name.get(name)
        return stage is None or stage.group == "masks" or stage.output.exists()

    def _start(self, stage: Stage, place: int) -> subprocess.Popen:
        command = list(stage.command)
        begun = stage.run is not None and (stage.run / OPTIONS_FILE).exists()
        # A training's latest.pt is there from its first step on; a study's figures are written at its end.
        if begun and (command[0] == "train.py" or not stage.output.exists()):
            command.append("--continue_train")
        log.info("%s: %s", stage.name, workers.shell_line(command))
        return workers.start_child(command, log=self.log_of(stage), environment=self.places[place])

    def _finish(self, stage: Stage, status: int, seconds: float) -> None:
        if status == 0 and stage.output.exists():
            record = {"command": effective(stage.command), "ended": time.time(), "seconds": seconds}
            write_json(self.folder / "stages" / f"{stage.name}.json", record)
            log.info("%s: done in %s", stage.name, duration(seconds))
        else:
            reason = workers.last_line(self.log_of(stage)) if status else f"it left no {stage.output}"
            self._fail(stage, f"ended with status {status}: {reason} (see {self.log_of(stage)})")

    def _fail(self, stage: Stage, why: str) -> None:
        self.faults[stage.name] = why
        log.error("%s %s", stage.name, why)


def effective(command: Sequence[str]) -> list[str]:
    """The command without IDLE_FLAGS and their values."""
    pairs = zip(command, ("", *command))
    return [word for word, before in pairs if word not in IDLE_FLAGS and before not in IDLE_FLAGS]


def duration(seconds: float) -> str:
    """As read aloud: 42 s, 12 min, 3 h 05 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def places_for(*, gpus: int | None, jobs: int | None) -> list[dict[str, str]]:
    """The environment of each command that runs at a time: a GPU each, a thread each, or one with the whole machine."""
    if gpus:
        return [{"CUDA_VISIBLE_DEVICES": str(index)} for index in range(gpus)]
    return [{"OMP_NUM_THREADS": "1"}] * jobs if jobs and jobs > 1 else [{}]
