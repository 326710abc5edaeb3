"""Splits are disjoint, complete, seeded and stored."""

import json

import pytest

from data.frames import find_frames
from data.splits import load_split, make_split, save_split, select, validated
from util.errors import UsageError


@pytest.mark.parametrize("split_by", ["frame", "sequence"])
def test_split_is_disjoint_complete_and_seeded(hands_root, split_by):
    frames = find_frames(dataroot=hands_root)
    make = lambda seed: make_split(frames, split_by=split_by, val_size=2, test_size=3, seed=seed)  # noqa: E731
    split = make(0)
    for domain, parts in split.items():
        names = [name for phase in parts.values() for name in phase]
        assert sorted(names) == sorted(frame.relative for frame in frames[domain])
        assert len(set(names)) == len(names)
    assert split == make(0) != make(1)
    if split_by == "frame":
        assert {phase: len(names) for phase, names in split["synthetic"].items()} == {"train": 7, "val": 2, "test": 3}
    with pytest.raises(UsageError, match="--test_size"):
        make_split(frames, split_by=split_by, val_size=9, test_size=9, seed=0)


def test_split_by_sequence_keeps_sequences_whole(hands_root):
    frames = find_frames(dataroot=hands_root)
    split = make_split(frames, split_by="sequence", val_size=1, test_size=1, seed=0)
    for domain, found in frames.items():
        phase_of = {name: phase for phase, names in split[domain].items() for name in names}
        by_sequence = {}
        for frame in found:
            by_sequence.setdefault(frame.sequence, set()).add(phase_of[frame.relative])
        assert all(len(phases) == 1 for phases in by_sequence.values())


def test_validation_reads_no_more_than_it_was_asked_for(hands_root):
    frames = find_frames(dataroot=hands_root)
    split = make_split(frames, split_by="sequence", val_size=2, test_size=1, seed=0)
    whole = select(frames, split, "val")
    assert all(len(part) > 2 for part in whole.values())  # whole sequences
    read = validated(whole, 2)
    assert {domain: [part[0], part[-1]] for domain, part in whole.items()} == read
    assert validated(whole, None) == validated(whole, 1000) == whole
    assert validated(whole, 0) == {domain: [] for domain in whole}


def test_split_file_round_trip_and_selection(hands_root, tmp_path):
    frames = find_frames(dataroot=hands_root)
    split = make_split(frames, split_by="frame", val_size=2, test_size=3, seed=0)
    save_split(tmp_path / "splits.json", split)
    assert load_split(tmp_path / "splits.json") == split
    assert [f.relative for f in select(frames, split, "test")["real"]] == split["real"]["test"]
    assert sum(len(part) for part in select(frames, split, "all").values()) == 21
    (tmp_path / "splits.json").write_text(json.dumps({"synthetic": {}}))
    with pytest.raises(UsageError, match="damaged"):
        load_split(tmp_path / "splits.json")
