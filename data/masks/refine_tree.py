"""Refine all masks of a RealHands tree: many processes, one record, and the same result however often interrupted.

The record, masks_progress.jsonl in the root, is what a rerun goes by: its first line holds the options, every further
one a finished frame and the state of its source files. A frame is done if the record says so, its sources have not
changed since and its output is there. masks_report.csv is made from the record when all frames are done.
"""

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import cv2

from data.listing import file_stamp
from data.masks.realhands import KEPT, REPORT_NAME, RealFrame, refined_path, report_key
from data.masks.refine import RefineOptions, Verdict, refine_frame
from util.errors import UsageError
from util.files import csv_text, json_lines, write_bytes
from util.locks import try_lock
from util.workers import in_processes, progress

PROGRESS_NAME = "masks_progress.jsonl"
COLUMNS = [field.name for field in fields(Verdict)]
CHUNK = 16  # frames a task: enough that handing them over costs nothing


@dataclass(frozen=True)
class Outcome:
    """rows: {report_key: Verdict} of all frames, in the frames' order; n_skipped: how many an earlier run had done."""

    rows: dict[str, Verdict]
    n_skipped: int


def refine_tree(
    root: Path, frames: list[RealFrame], options: RefineOptions, *, num_workers: int, overwrite: bool
) -> Outcome:
    """Refine every frame that is not done yet, write the report, and return what became of each.

    Raises UsageError where the masks there were made with other options (unless overwrite), where another run is at
    work on the tree, and where a file cannot be written; RunError where a worker process is lost or hangs.
    """
    with _open_record(root) as record:
        wanted = json.loads(json.dumps(asdict(options)))  # tuples as the lists that come back
        recorded, done = _read_record(record)
        if recorded is not None and recorded != wanted and not overwrite:
            differ = [name for name in wanted if recorded.get(name) != wanted[name]]
            changes = [f"--{name} {recorded.get(name)} (now {wanted[name]})" for name in differ]
            raise UsageError(
                f"the masks under {root} were refined with {', '.join(changes)}; "
                "pass --overwrite to redo them all, or the same options as then"
            )
        if overwrite:
            done = {}
            (root / REPORT_NAME).unlink(missing_ok=True)
        if overwrite or recorded is None:
            record.seek(0)
            record.truncate()
            record.write(json.dumps({"options": wanted}) + "\n")
            record.flush()  # before any mask is replaced
        for folder in {refined_path(frame).parent for frame in frames}:
            for part in folder.glob(".part-*"):  # of a run that was killed
                part.unlink(missing_ok=True)

        keys = [report_key(frame, root) for frame in frames]
        adopt = recorded is None and not overwrite
        verdicts = [_recorded_verdict(frame, done.get(key), adopt=adopt) for key, frame in zip(keys, frames)]
        rows = {key: verdict for key, verdict in zip(keys, verdicts) if verdict}
        todo = [(key, frame) for key, frame, verdict in zip(keys, frames, verdicts) if not verdict]
        n_skipped = len(rows)

        with progress(total=len(frames), initial=n_skipped, unit="mask", desc="refining") as bar:
            for finished in _work(todo, options, num_workers):
                for key, stamp, verdict in finished:
                    rows[key] = verdict
                    record.write(json.dumps({"file": key, "stamp": stamp, **asdict(verdict)}) + "\n")
                record.flush()
                bar.update(len(finished))

        rows = {key: rows[key] for key in keys}
        write_bytes(root / REPORT_NAME, report_text(rows).encode())
        return Outcome(rows, n_skipped)


def report_text(rows: dict[str, Verdict]) -> str:
    """masks_report.csv: one line a frame; areas are fractions of the frame."""
    lines = [
        [key, *(f"{value:.6f}" if isinstance(value, float) else value for value in vars(row).values())]
        for key, row in rows.items()
    ]
    return csv_text(["file", *COLUMNS], lines)


# The record


@contextlib.contextmanager
def _open_record(root: Path) -> Iterator[io.TextIOBase]:
    """Open the record, new or old, and hold its lock within the block. A file that cannot be written is a UsageError."""
    try:
        with open(root / PROGRESS_NAME, "a+", encoding="utf-8", errors="replace") as record:
            if try_lock(record.fileno()) is False:
                raise UsageError(f"another preprocess_masks.py is at work under {root}: wait for it to end")
            yield record
    except OSError as error:
        raise UsageError(
            f"cannot write under {root}: {error.strerror or error} ({error.filename or PROGRESS_NAME}); "
            "what was done is kept, run again to go on"
        ) from error


def _read_record(record: io.TextIOBase) -> tuple[dict | None, dict[str, dict]]:
    """(options or None, {report_key: row}); a line that a crash cut short is left out, and ended."""
    record.seek(0)
    text = record.read()
    if text and not text.endswith("\n"):
        record.write("\n")
    entries = json_lines(text)
    if not entries or not isinstance(entries[0].get("options"), dict):
        return None, {}
    whole = [entry for entry in entries[1:] if {"file", "stamp", *COLUMNS} <= entry.keys()]
    return entries[0]["options"], {str(entry["file"]): entry for entry in whole}


def _stamp(frame: RealFrame) -> list[int]:
    """The state of a frame's sources: sizes in bytes and times of change in ns; zeros for what is not there."""
    return [number for path in (frame.image, frame.mask) for number in file_stamp(path) or (0, 0)]


def _recorded_verdict(frame: RealFrame, row: dict | None, *, adopt: bool) -> Verdict | None:
    """What an earlier run said of the frame, or None if it is to be refined.

    adopt: there is no record; a refined mask that lies there, whoever made it, is kept and trained on.
    """
    if adopt and frame.refined:
        return Verdict(KEPT, "refined mask found")
    if row is None or row["stamp"] != _stamp(frame):
        return None
    verdict, output = Verdict(**{name: row[name] for name in COLUMNS}), refined_path(frame)
    there = output.is_file() and output.stat().st_size > 0
    return verdict if there == (verdict.verdict == KEPT) else None


# The processes


def _work(
    todo: list[tuple[str, RealFrame]], options: RefineOptions, num_workers: int
) -> Iterator[list[tuple[str, list[int], Verdict]]]:
    """Refine the frames chunk by chunk, in any order; yields (report_key, stamp, verdict) of each chunk's frames."""
    chunks = [todo[i : i + CHUNK] for i in range(0, len(todo), CHUNK)]
    if num_workers == 0 or len(todo) <= CHUNK:
        yield from (refine_chunk(chunk, options) for chunk in chunks)
        return
    tasks = ((chunk, options) for chunk in chunks)
    yield from in_processes(
        refine_chunk, tasks, count=num_workers, name=lambda task: f"{task[0][0][0]} (or a neighbour)"
    )


def refine_chunk(chunk: list[tuple[str, RealFrame]], options: RefineOptions) -> list[tuple[str, list[int], Verdict]]:
    """Refine some frames one after the other. Raises OSError where a mask cannot be written."""
    cv2.setNumThreads(1)  # the processes are the parallelism
    return [(key, _stamp(frame), refine_frame(frame, options)) for key, frame in chunk]
