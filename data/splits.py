"""The split into train, val and test: drawn once, seeded, stored with the run, and used by every later command."""

import json
import logging
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from data.frames import DOMAINS, PHASES, Domains
from util.drawing import evenly
from util.errors import UsageError
from util.files import write_bytes

log = logging.getLogger(__name__)

SPLIT_FILE = "splits.json"
# (most images, share of the domain). The paper scores 2000 test images a domain (section IV.B) and classifies 3500 (IV.D).
HELD_OUT = {"test": (3500, 0.2), "val": (400, 0.1)}

Split = dict[str, dict[str, list[str]]]
"""{domain: {phase: relative paths, sorted}}"""


def make_split(frames: Domains, *, split_by: str, val_size: int | None, test_size: int | None, seed: int) -> Split:
    """Draw the split of each domain. Raises UsageError where nothing is left to train on.

    split_by: "frame" shuffles single frames, as the released code does; "sequence" keeps sequences (subjects of RealHands)
    together, so that no near-copy of a test frame is trained on. val_size, test_size: images wanted a domain; None:
    HELD_OUT. Frames whose phase the data root fixes stay there; a phase that has none is drawn from the train frames.
    """
    split = {}
    for domain in DOMAINS:
        parts = {phase: [frame for frame in frames[domain] if frame.phase == phase] for phase in HELD_OUT}
        pool = [frame for frame in frames[domain] if frame.phase in (None, "train")]
        groups = defaultdict(list)
        for frame in pool:
            groups[frame.sequence if split_by == "sequence" else frame.relative].append(frame)
        order, wanted = shuffled(groups, f"{seed}-{domain}"), {"test": test_size, "val": val_size}
        for phase, (most, share) in HELD_OUT.items():
            if wanted[phase] is None:
                wanted[phase] = min(most, round(len(pool) * share))
            if parts[phase]:
                continue
            while len(parts[phase]) < wanted[phase] and order:  # whole groups
                parts[phase] += groups[order.pop()]
            if parts[phase] and any(frame.phase for frame in pool):
                log.info(
                    "no %s %s images are given: %d of the train images are held out", domain, phase, len(parts[phase])
                )
        if not order:
            raise UsageError(
                f"the split leaves no {domain} images to train on: {len(pool)} images, {wanted['test']} wanted for test and "
                f"{wanted['val']} for val, by {split_by}; lower --test_size and --val_size"
            )
        if not parts["test"] and test_size != 0:
            log.warning("%d %s images leave none for test; test.py --phase train translates them", len(pool), domain)
        parts["train"] = [frame for group in order for frame in groups[group]]
        split[domain] = {phase: sorted(frame.relative for frame in parts[phase]) for phase in PHASES}
    return split


def shuffled(names: Iterable[str], seed: str) -> list[str]:
    """The names in an order that depends on them and the seed alone."""
    order = sorted(names)
    random.Random(seed).shuffle(order)
    return order


def validated(frames: Domains, val_size: int | None) -> Domains:
    """What validation reads of the val split, whose sequences may be long: val_size frames a domain (None: 400)."""
    most = HELD_OUT["val"][0] if val_size is None else val_size
    return {domain: evenly(part, most) for domain, part in frames.items()}


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


def report_added(frames: Domains, split: Split) -> None:
    """Log how many images are in no part of a run's split, as they came to the data root later."""
    for domain, part in frames.items():
        known = {name for names in split[domain].values() for name in names}
        if added := sum(frame.relative not in known for frame in part):
            log.warning(
                "%d %s images are not in the run's split; they are not used (a new run takes them)", added, domain
            )


def select(frames: Domains, split: Split, phase: str, *, whole: bool = False) -> Domains:
    """The frames of a phase or "all", in the split's order, with their phase. Images that the data root no longer holds are
    counted in a warning; they are a UsageError if `whole`, or if none is left."""
    chosen = {}
    for domain in DOMAINS:
        known = {frame.relative: frame for frame in frames[domain]}
        names = {name: each for each in (PHASES if phase == "all" else (phase,)) for name in split[domain][each]}
        chosen[domain] = [replace(known[name], phase=each) for name, each in names.items() if name in known]
        if missing := [name for name in names if name not in known]:
            lost = f"the data root lacks {len(missing)} of {len(names)} {domain} images of the run's {phase} split"
            if whole or not chosen[domain]:
                raise UsageError(f"{lost}, such as {missing[0]}; check --dataroot")
            log.warning("%s", lost)
    return chosen
