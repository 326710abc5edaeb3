"""The table of several runs, with and without shape scores."""

import pytest

from util.results.comparison import table


def row(**more) -> dict:
    """A metrics.json."""
    scores = {"fd": 80.0, "fd_ci": [70.0, 90.0], "fd_patch": 40.0, "kid_mean": 0.01, "kid_std": 0.002}
    told = {
        "n_generated": 20,
        "n_real": 30,
        "floor": 10.0,
        "floor_n": 15,
        "floor_patch": 5.0,
        "feature_net": "effnet_lite0",
    }
    run = {"model": "mshgan4", "netG": "resnet_4blocks", "netD": "perceptual", "step": 7}
    return scores | told | run | {"baseline": dict(scores)} | more


def shaped(iou: float, sha256: str = "a") -> dict:
    measured = row(shape_iou=iou, boundary_f=0.75, silnet={"sha256": sha256})
    measured["baseline"] |= {"shape_iou": 0.98765, "boundary_f": 0.96}
    return measured


def cells(text: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    assert len({len(cells) for cells in rows}) == 1, "ragged table"
    return {each[0]: each[1:] for each in rows}


def test_without_silnet_there_are_no_columns_of_shape():
    found = cells(table({"a": row(), "b": row(netD="pixel")}))
    assert "shape IoU" not in found["run"]
    assert found["a"][-2:] == ["63.297", "0.0479 ± 0.0067"] and found["b"][-2:] == ["", ""]


def test_shape_stands_beside_its_ceiling():
    text = table({"a": row(), "b": shaped(0.91)})
    found = cells(text)
    place = found["run"].index("shape IoU")
    assert found["run"][place + 1] == "boundary F"
    assert found["untranslated"][place : place + 2] == ["0.988", "0.960"]
    assert found["a"][place : place + 2] == ["", ""] and found["b"][place : place + 2] == ["0.910", "0.750"]
    assert "within 2 pixels" in text and "different SilNets" not in text


@pytest.mark.parametrize(("other", "told"), [("a", False), ("b", True)])
def test_two_silnets_are_not_compared_in_silence(other, told):
    assert ("different SilNets" in table({"a": shaped(0.9), "b": shaped(0.8, other)})) is told
