"""The split into train, val and test: drawn once, seeded, stored with the run, and used by every later command."""

import json
import logging
from collections import defaultdict
from pathlib import Path

from data.frames import DOMAINS, PHASES, Domains, Frame
from data.shuffled import shuffled
from util.drawing import spread
from util.errors import UsageError
from util.files import write_bytes

log = logging.getLogger(__name__)

SPLIT_FILE = "splits.json"
# The paper tests on 2000 images a domain (section IV.B); smaller sets hold out a fifth at most.
MAX_TEST, TEST_SHARE = 2000, 0.2
MAX_VAL, VAL_SHARE = 400, 0.1

Split = dict[str, dict[str, list[str]]]  # domain -> phase -> relative paths, sorted


def make_split(frames: Domains, *, split_by: str, val_size: int | None, test_size: int | None, seed: int) -> Split:
    """Draw the split of each domain.

    split_by: "frame" shuffles single frames, as the paper does; "sequence" keeps whole sequences (SynthHands) or
    subjects (RealHands) together, so that no near-copy of a test frame is trained on.
    val_size, test_size: images wanted a domain; None takes a tenth, a fifth (at most 400, 2000). Frames whose data
    root fixes their phase (trainA, testA, ...) stay there; only what it leaves open is drawn, from its train frames.
    Raises UsageError where nothing would be left to train on.
    """
    split = {}
    for domain in DOMAINS:
        fixed = {phase: [frame for frame in frames[domain] if frame.phase == phase] for phase in PHASES}
        pool = [frame for frame in frames[domain] if frame.phase in (None, "train")]
        total = len(pool)
        sizes = {
            "test": min(MAX_TEST, round(total * TEST_SHARE)) if test_size is None else test_size,
            "val": min(MAX_VAL, round(total * VAL_SHARE)) if val_size is None else val_size,
        }
        wanted = {phase: 0 if fixed[phase] else size for phase, size in sizes.items()}
        drawn, rest = _draw(pool, wanted, split_by=split_by, seed=f"{seed}-{domain}")
        if not rest:
            raise UsageError(
                f"the split leaves no {domain} images to train on: {total} images, {wanted['test']} wanted for test and "
                f"{wanted['val']} for val, by {split_by}; lower --test_size and --val_size"
            )
        for phase in ("test", "val"):
            if drawn[phase] and any(frame.phase for frame in frames[domain]):
                log.info("no %s images are set apart for %s: %d are drawn from train", domain, phase, len(drawn[phase]))
        if not drawn["test"] and not fixed["test"] and test_size != 0:
            log.warning("%d %s images leave none for test; test.py --phase train translates them", total, domain)
        parts = {"train": rest, "val": drawn["val"] or fixed["val"], "test": drawn["test"] or fixed["test"]}
        split[domain] = {phase: sorted(frame.relative for frame in parts[phase]) for phase in PHASES}
    return split


def _draw(frames: list[Frame], wanted: dict[str, int], *, split_by: str, seed: str) -> tuple[dict, list[Frame]]:
    """Move whole groups, in random order, into each phase until it holds at least what is wanted."""
    groups = defaultdict(list)
    for frame in frames:
        groups[frame.sequence if split_by == "sequence" else frame.relative].append(frame)
    order = shuffled(groups, seed)
    drawn: dict[str, list[Frame]] = {"test": [], "val": []}
    for phase, size in wanted.items():
        while len(drawn[phase]) < size and order:
            drawn[phase] += groups[order.pop()]
    return drawn, [frame for group in order for frame in groups[group]]


def validated(frames: Domains, val_size: int | None) -> Domains:
    """The frames of the val split that validation reads: at most val_size a domain (None: 400), evenly spread.

    A split by sequence holds whole sequences, which may be many more images than were asked for.
    """
    most = MAX_VAL if val_size is None else val_size
    return {domain: [part[place] for place in spread(len(part), most)] for domain, part in frames.items()}


def save_split(path: Path, split: Split) -> None:
    """Write splits.json."""
    write_bytes(path, (json.dumps(split, indent=1) + "\n").encode(), sync=True)


def load_split(path: Path) -> Split:
    """Read splits.json. Raises UsageError where it is missing or damaged."""
    try:
        split = json.loads(path.read_text(encoding="utf-8"))
        return {domain: {phase: [str(name) for name in split[domain][phase]] for phase in PHASES} for domain in DOMAINS}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} is missing or damaged ({error!r}); it is written by train.py with the run") from error


def check_complete(frames: Domains, split: Split) -> None:
    """Raise UsageError unless the data root holds every image of the split; for a run that is continued on moved data."""
    for domain in DOMAINS:
        known = {frame.relative for frame in frames[domain]}
        missing = [name for phase in PHASES for name in split[domain][phase] if name not in known]
        if missing:
            raise UsageError(
                f"the run was started on another data root, and this one lacks {len(missing)} of its {domain} images, such "
                f"as {missing[0]}; check --dataroot, or start another run under another --name"
            )


def select(frames: Domains, split: Split, phase: str) -> Domains:
    """The frames of a phase ("all" for every one of the split), in the split's order.

    What the split names and the data root no longer holds is counted in a warning; UsageError if nothing is left of
    a phase that was not empty.
    """
    phases = PHASES if phase == "all" else (phase,)
    chosen = {}
    for domain in DOMAINS:
        known = {frame.relative: frame for frame in frames[domain]}
        names = [name for each in phases for name in split[domain][each]]
        chosen[domain] = [known[name] for name in names if name in known]
        if missing := len(names) - len(chosen[domain]):
            log.warning(
                "%d of %d %s images of the %s split are no longer in the data root", missing, len(names), domain, phase
            )
        if names and not chosen[domain]:
            raise UsageError(
                f"none of the {len(names)} {domain} images of the {phase} split is there; check --dataroot"
            )
    return chosen
