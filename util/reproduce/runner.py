"""Runs stages, several side by side where asked, skips what is done, and takes up what was interrupted."""

import logging
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from util import workers
from util.errors import Stopped
from util.reproduce import records
from util.reproduce.records import Record, fingerprint, is_done, read_record, write_record
from util.reproduce.stages import Stage
from util.run import OPTIONS_FILE

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2


@dataclass
class Running:
    """A stage that is being run: its process, the slot it has, and when it began."""

    stage: Stage
    child: subprocess.Popen
    slot: int
    record: Record
    since: float = field(default_factory=time.monotonic)


@dataclass
class Runner:
    """folder: RESULTS_DIR/paper, for records and logs. slots: the environment of each place to run a command in.
    data: () -> the fingerprint of the data. all_stages: those that are not run, too, as their outputs are read.
    """

    folder: Path
    slots: Sequence[dict[str, str]]
    data: Callable[[], str]
    all_stages: Sequence[Stage]

    def __post_init__(self) -> None:
        self.by_name = {stage.name: stage for stage in self.all_stages}

    @property
    def records(self) -> Path:
        """The folder of the records."""
        return self.folder / "stages"

    def log_of(self, stage: Stage) -> Path:
        """Where the stage's output goes."""
        return self.folder / "logs" / f"{stage.name}.log"

    def fingerprint(self, stage: Stage) -> str:
        """Of the stage as things stand."""
        inputs = [path for name in stage.after if name in self.by_name for path in self.by_name[name].outputs]
        return fingerprint(stage, inputs, self.data())

    def is_done(self, stage: Stage) -> bool:
        """Whether the stage was done with what it reads as that is now."""
        return is_done(read_record(self.records, stage.name), self.fingerprint(stage))

    def run(self, stages: Sequence[Stage]) -> dict[str, str]:
        """Run the stages. Returns {stage: why it has not ended well}; raises util.errors.Stopped on SIGINT and SIGTERM, once every
        command has saved.
        """
        waiting, running, faults = list(stages), [], {}
        with workers.note_signals() as received:
            try:
                while waiting or running:
                    self._look_after(running, faults)
                    if received:
                        raise Stopped(received[0], "every command has saved; start the same command again to go on")
                    self._start_what_can(waiting, running, faults)
                    time.sleep(POLL_SECONDS)
            finally:
                for each in running:
                    each.child.terminate()
                for each in running:
                    workers.stop_child(each.child)
        return faults

    def _start_what_can(self, waiting: list[Stage], running: list[Running], faults: dict[str, str]) -> None:
        for stage in list(waiting):
            busy = {each.stage.name for each in running} | {other.name for other in waiting if other is not stage}
            if busy & set(stage.after):
                continue
            missing = [name for name in stage.after if name in faults or not self._outputs_there(name)]
            if missing:
                waiting.remove(stage)
                faults[stage.name] = f"needs {', '.join(missing)}, which is not done"
                log.warning("%s: %s", stage.name, faults[stage.name])
                continue
            if any(stage.exclusive and stage.exclusive == each.stage.exclusive for each in running):
                continue
            free = [slot for slot in range(len(self.slots)) if slot not in {each.slot for each in running}]
            if not free:
                return
            waiting.remove(stage)
            if self.is_done(stage):
                log.info("%s: done before", stage.name)
            else:
                running.append(self._start(stage, free[0]))

    def _outputs_there(self, name: str) -> bool:
        """Whether a stage can read what another leaves. Masks may stay as they are where --only leaves them out."""
        stage = self.by_name.get(name)
        return stage is None or stage.group == "masks" or all(path.exists() for path in stage.outputs)

    def _start(self, stage: Stage, slot: int) -> Running:
        wanted = self.fingerprint(stage)
        last_record = read_record(self.records, stage.name)
        command = list(stage.command)
        if stage.run and (stage.run / OPTIONS_FILE).exists():
            if command[0] == "train.py":
                workers.wait_for_run(stage.run)
                command.append("--continue_train")
            elif not stage.outputs[0].exists():  # an unfinished classification; a finished one is replaced
                if last_record and last_record.fingerprint == wanted:
                    command.append("--continue_train")
                else:
                    shutil.rmtree(stage.run)
        record = Record(wanted, list(stage.command))
        write_record(self.records, stage.name, record)
        log.info("%s: %s", stage.name, workers.shell_line(command))
        child = workers.start_child(command, log=self.log_of(stage), environment=self.slots[slot])
        return Running(stage, child, slot, record)

    def _look_after(self, running: list[Running], faults: dict[str, str]) -> None:
        for each in list(running):
            status = each.child.poll()
            if status is None:
                continue
            running.remove(each)
            name, seconds = each.stage.name, time.monotonic() - each.since
            lacking = [path for path in each.stage.outputs if not path.exists()]
            if status == 0 and not lacking:
                each.record.finished, each.record.seconds = True, seconds
                each.record.outputs = {str(path): records.file_digest(path) for path in each.stage.outputs}
                write_record(self.records, name, each.record)
                log.info("%s: done in %s", name, duration(seconds))
            else:
                reason = workers.last_line(self.log_of(each.stage)) if status else f"it left no {lacking[0]}"
                faults[name] = f"ended with status {status}: {reason} (see {self.log_of(each.stage)})"
                log.error("%s %s", name, faults[name])


def duration(seconds: float) -> str:
    """As read aloud: 42 s, 12 min, 3 h 05 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def slots(*, gpus: int | None, jobs: int | None) -> list[dict[str, str]]:
    """The environment of each command that runs at a time: a GPU each, a thread each, or one with the whole machine."""
    if gpus:
        return [{"CUDA_VISIBLE_DEVICES": str(index)} for index in range(gpus)]
    if jobs and jobs > 1:
        return [{"OMP_NUM_THREADS": "1"} for _ in range(jobs)]
    return [{}]
