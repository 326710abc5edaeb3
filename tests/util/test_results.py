"""Verdict, index.html, folders and sheets: what a test leaves to be looked at."""

import re
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from data.frames import DOMAINS, Frame
from options.test_options import parse_test
from util.drawing import FONT, GAP, fit_picture, sheet, shortened, trimmed
from util.results.pages import as_text, comparison_table, gallery, html_page, scores_table, table, verdict
from util.results.selection import INPUT_FILE, limited, open_folder, results_folder
from util.results.write import in_path_order


def metrics(value: float = 80.0, base: float = 80.0, *, inside: float = 40.0, **more) -> dict:
    """A metrics.json."""
    sides = [
        {"fd": fd, "fd_ci": [fd - 5, fd + 5], "fd_patch": patch, "kid_mean": 0.01, "kid_std": 0.002}
        for fd, patch in ((value, inside), (base, 50.0))
    ]
    sets = {"n_generated": 20, "n_real": 30, "floor": 30.0, "floor_n": 15, "floor_patch": 5.0, "feature_net": "lite0"}
    sides[1] |= {"tracker": {"joints_10": 0.784, "found": 0.96}, "tone": {"L": 2.5}, "structure": 1.0, "fringe": 0.6}
    run = {"model": "mshgan4", "netG": "resnet_4blocks", "netD": "perceptual", "step": 7}
    return sides[0] | sets | run | {"baseline": sides[1]} | more


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (metrics(70.66, 90.2), "better than untranslated: FD 70.7 against 90.2; inside the hand 40.0 against 50.0$"),
        (metrics(136, 77), "worse than untranslated.*train longer"),
        (metrics(88, 90), "not clearly better or worse"),
        (metrics(70, 90, inside=60), "better.*there it is worse"),
        (
            metrics(
                70, 90, closed=0.444, closed_patch=0.51, tracker={"joints_10": 0.8, "found": 0.9}, direction="StoR"
            ),
            r".*; closes 44 % of the distance \(inside the hand 51 %\); the tracker finds .80 of the joints, .78 in the renders$",
        ),
        (
            metrics(70, 90, closed=-0.1, closed_patch=None, tracker={"found": 1.0}, direction="RtoS"),
            ".*; closes -10 % of the distance; the tracker finds 1.00 of the hands, .96 in the photographs$",
        ),
        # Rainbows, and fists dissolved: the distance may say what it likes.
        (
            metrics(88, 90, fringe=2.4, structure=0.41, tone={"L": 0.9}),
            "worse than untranslated: FD 88.0 against 90.0 .*; the hands are damaged: structure kept 0.410, fringe 2.40$",
        ),
        (metrics(70, 90, texture={"6": 3.0, "12": 2.5}), "better .* by distance alone.*damaged: texture 6 px 3.00"),
        # The tone of the renders is 2.5.
        (metrics(70, 90, tone={"L": 0.45}, structure=0.6), "better than untranslated: [^;]*; inside [^;]*$"),
    ],
)
def test_the_verdict_says_what_the_figures_mean(scores, said):
    assert re.match(said, verdict(scores))


def test_the_table_has_a_line_a_score():
    more = {"structure": 0.91, "texture": {"6": 0.5, "12": None}, "tone": {"L": 1.1}, "fringe": 1.4}
    more["real"] = {"fringe": 1.0}
    rows = scores_table({"a": metrics(70, 90, **more)})
    table = {label: cells for label, *cells in rows}
    assert table["FD"] == ["90.00", "70.00", "30.00", "lower"]
    assert table["texture 6 px"][:2] == ["", "0.50"] and "texture 12 px" not in table
    assert table["structure kept"][:2] == ["1.000", "0.910"] and table["fringe"][1:] == ["1.40", "1.00", "1 or less"]
    lines = as_text(rows).splitlines()
    assert len(lines) == len(rows) and lines[0].index("better") == lines[1].index("lower")


def test_pages_escape_list_every_image_and_need_no_network():
    rows = [(f"{i} é#", {"source": f"a%20b/{i}.png", "<b>": "x.png"}) for i in range(3)] + [("</script>", {})]
    text = html_page("msh4 <test>", "better & better", gallery(rows))
    assert text.count('loading="lazy"') == 6 and 'src="a%20b/2.png"' in text and "<figcaption>2 é#</figcaption>" in text
    assert "msh4 &lt;test&gt;" in text and "better &amp; better" in text and "&lt;b&gt;" in text and "<b>" not in text
    assert "</script>" not in text and not re.search(r"https?://|@import|<link|<script", text)
    page = html_page("<T>", table(["a|b", "c"], [["1", "x | y"]]))
    assert "<title>&lt;T&gt;</title>" in page and page.count("<td") == 2 and "x | y" in page


def test_num_test_counts_each_split_and_all_is_not_cut():
    counts = {"train": 30, "val": 1, "test": 10}
    frames = [
        Frame(Path(f"{i}.png"), f"{i}{phase}.png", "", phase=phase) for phase in counts for i in range(counts[phase])
    ]
    for flags, count in (("", 41), ("--num_test 20", 31), ("--num_test 4", 9)):
        opt = parse_test(["--name", "run", "--phase", "all", *flags.split()])
        chosen = limited(opt, dict.fromkeys(DOMAINS, frames), 0)
        assert [len(chosen[domain]) for domain in DOMAINS] == [count, count]
    assert parse_test(["--name", "run"]).num_test == 2000  # as Table I
    (four,) = {tuple(frame.relative for frame in part) for part in chosen.values()}
    assert [sum(name.endswith(f"{phase}.png") for name in four) for phase in counts] == [4, 1, 4]


def test_each_way_of_translating_has_its_own_folder(tmp_path):
    def folder_of(given: Path | None = None, **flags) -> Path:
        defaults = {"phase": "test", "direction": "StoR", "crop": not given, "input": given and [given]}
        return results_folder(Namespace(results_dir=tmp_path, **defaults | flags), "a")

    ways = [{}, {"direction": "RtoS"}, {"crop": False}, {"phase": "val"}, {"direction": "RtoS", "crop": False}]
    folders = [folder_of(**way).name for way in ways]
    assert folders == ["test", "test_RtoS", "test_whole", "val", "test_RtoS_whole"]

    one, two = tmp_path / "x" / "renders", tmp_path / "y" / "renders"
    for each in (one, two):
        each.mkdir(parents=True)
        open_folder(folder_of(each), [each])
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["input_renders", "input_renders_2"]
    assert (folder_of(two) / INPUT_FILE).read_bytes() == bytes(two.resolve())


def test_files_are_scored_in_the_order_of_a_folder_s_sorted_paths():
    """As torch-fidelity sorts them, by whole paths: "a-b/" comes before "a/", as "-" does before "/"."""
    frames = [Frame(Path(name), f"{name}.jpg", "") for name in ("b/0", "a/1", "a-b/2", "a/10")]
    assert [frame.image.as_posix() for frame in in_path_order(frames)] == ["a-b/2", "a/1", "a/10", "b/0"]


def cells(text: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    assert len({len(cells) for cells in rows}) == 1, "ragged table"
    return {each[0]: each[1:] for each in rows}


def test_table_one_has_the_published_figures_of_the_paper_s_models():
    text = comparison_table({"a": metrics(), "b": metrics(netD="pixel")})
    found = cells(text.partition("\n\n")[0])
    assert found["a"][-2:] == ["63.297", "0.0479 ± 0.0067"] and found["b"][-2:] == ["", ""]
    assert found["untranslated"][4] == found["a"][4] == "80.00 (75.0 to 85.0)" and "shape IoU" not in text


def test_all_that_was_measured_stands_beside_its_baseline():
    shaped = metrics(shape_iou=0.91, boundary_f=0.75)
    shaped["baseline"] |= {"shape_iou": 0.98765, "boundary_f": 0.96}
    text = comparison_table({"a": metrics(), "b": shaped})
    found = cells("\n".join(text.split("\n\n")[3:]))
    assert found[""] == ["untranslated", "a", "b", "real", "better"]
    assert found["shape IoU, unmasked"] == ["0.988", "", "0.910", "", "higher"]
    assert found["boundary F, unmasked"] == ["0.960", "", "0.750", "", "higher"]


def test_a_sheet_keeps_the_pixels_of_pictures_that_fit_and_its_labels_their_place():
    black, grey = np.zeros((100, 150, 3), np.uint8), np.full((100, 150, 3), 99, np.uint8)
    plain = sheet([[black, grey]], side=150)
    assert (plain == 0).all(-1).sum() == (plain == 99).all(-1).sum() == 100 * 150
    texts = {"columns": ("one", "two"), "labels": ("row",), "captions": (("a", "b"),), "title": "t"}
    labelled = sheet([[black, grey]], side=150, **texts)
    assert (labelled == 99).all(-1).sum() >= 100 * 150 and all(np.greater(labelled.shape, plain.shape)[:2])
    assert sheet([[black] * 4] * 2).shape[1] <= 1280
    assert fit_picture(grey, 60, 60).shape == (60, 60, 3)


@pytest.mark.parametrize("text", ["short", "a very long name that does not fit at all_color", "caf\udce9" * 9])
def test_names_are_cut_at_their_start(text):
    cut = shortened(text, 120)
    assert FONT.getlength(cut) <= 120 and text.endswith(cut.removeprefix("..."))


def test_pictures_lose_the_white_margin_that_all_of_them_have():
    blank = np.full((60, 80, 3), 255, np.uint8)
    high, low = blank.copy(), blank.copy()
    high[20, 30], low[39, 50, 2] = 0, 254
    ((first, second),) = trimmed([[high, low]])
    assert first.shape == second.shape == (20 + 2 * GAP, 21 + 2 * GAP, 3)
    assert (first[GAP, GAP] == 0).all() and second[-GAP - 1, -GAP - 1, 2] == 254
    for rows in ([[blank, blank]], [[high, low[1:]]]):
        assert all(a is b or np.array_equal(a, b) for a, b in zip(trimmed(rows)[0], rows[0]))
