"""Scores, tables and figures of the classification study against scikit-learn, the paper and hand-worked answers."""

from xml.etree import ElementTree

import numpy as np
import pytest

from options.classify_options import parse_classify
from util.errors import UsageError
from util.scores.classification import (
    accuracy,
    confusion_matrix,
    precision_recall_f1,
    report,
    taken_for_real,
    wilson_interval,
)
from util.studies.classification_figures import draw_confusion
from util.studies.classification_tables import (
    CLASSES,
    PUBLISHED_FIG7,
    PUBLISHED_TABLE2,
    PUBLISHED_TABLE3,
    PUBLISHED_TABLE3_ACCURACY,
    table2,
    table3,
)


def test_scores_of_a_matrix_worked_out_by_hand() -> None:
    true, predicted = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 0])
    matrix = confusion_matrix(true, predicted, 2)
    assert matrix.tolist() == [[3, 1], [1, 1]]  # row 0: predicted 0 are three true 0 and one true 1
    precision, recall, f1 = precision_recall_f1(matrix)
    assert precision.tolist() == [3 / 4, 1 / 2] and recall.tolist() == [3 / 4, 1 / 2] and f1.tolist() == [3 / 4, 1 / 2]
    assert accuracy(matrix) == 4 / 6


def test_rows_are_predicted_and_columns_true() -> None:
    matrix = confusion_matrix(np.array([0, 0, 0]), np.array([1, 1, 2]), 3)
    assert matrix.tolist() == [[0, 0, 0], [2, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("seed", range(6))
def test_scores_agree_with_scikit_learn(seed: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(seed)
    n_classes = 2 + seed % 3
    true = rng.integers(0, n_classes, 200)
    predicted = np.where(rng.random(200) < 0.6, true, rng.integers(0, n_classes, 200))
    if seed >= 3:  # a class that is never predicted, and one that is never true
        predicted[predicted == 0] = 1
        true[true == n_classes - 1] = 0
    names = [f"class {i}" for i in range(n_classes)]
    ours = report(true, predicted, names)
    labels = list(range(n_classes))
    assert np.array_equal(np.transpose(ours["confusion"]), sklearn.confusion_matrix(true, predicted, labels=labels))
    theirs = sklearn.precision_recall_fscore_support(true, predicted, labels=labels, zero_division=0)
    for key, expected in zip(("precision", "recall", "f1", "support"), theirs):
        assert [ours["per_class"][name][key] for name in names] == pytest.approx(expected.tolist(), abs=1e-9)
    assert ours["accuracy"] == pytest.approx(sklearn.accuracy_score(true, predicted), abs=1e-9) and ours["n"] == 200


def test_nothing_tested_scores_zero() -> None:
    empty = report(np.array([], int), np.array([], int), ["a", "b"])
    assert empty["accuracy"] == 0 and empty["per_class"]["a"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}


def published(matrix: np.ndarray) -> bool:
    """Whether the matrix gives Table III, to its four decimals."""
    scores = np.stack(precision_recall_f1(matrix), axis=1)
    known = np.array([PUBLISHED_TABLE3[name] for name in CLASSES])
    return bool(np.abs(scores - known).max() <= 0.5e-4 and abs(accuracy(matrix) - PUBLISHED_TABLE3_ACCURACY) <= 0.5e-4)


def test_figure_7_gives_table_3_with_columns_true_and_one_misprint() -> None:
    printed = np.array(PUBLISHED_FIG7)
    assert printed.sum(axis=0).tolist() == [3500, 3501, 3500]  # columns are true classes, and one hand is too many
    corrected = printed.copy()
    corrected[2, 1] -= 1
    assert published(corrected)
    assert not published(corrected.T) and not published(printed)
    scores = np.stack(precision_recall_f1(printed), axis=1)
    assert np.abs(scores - [PUBLISHED_TABLE3[name] for name in CLASSES]).max() < 4e-4  # the misprint moves little


def test_published_table_2_is_consistent_with_its_accuracy() -> None:
    assert len(PUBLISHED_TABLE2) == 6
    for line in PUBLISHED_TABLE2.values():  # classes of equal size: accuracy is the mean recall
        assert np.mean(line.recall) == pytest.approx(line.accuracy, abs=0.011)
        for p, r, f in zip(line.precision, line.recall, line.f1):
            assert 2 * p * r / (p + r) == pytest.approx(f, abs=0.011)


def test_wilson_interval() -> None:
    # z = 1.959964, n = 10: centre (0.5 + 0.192073) / 1.384146, margin 1.959964 sqrt(0.025 + 0.009604) / 1.384146
    low, high = wilson_interval(5, 10)
    assert (low, high) == (pytest.approx(0.236593, abs=1e-6), pytest.approx(0.763407, abs=1e-6))
    assert wilson_interval(0, 10) == (0.0, pytest.approx(3.841459 / 13.841459, abs=1e-6))  # z^2 / (n + z^2)
    assert wilson_interval(10, 10) == (pytest.approx(10 / 13.841459, abs=1e-6), 1.0)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    for bad in ((11, 10), (-1, 10)):
        with pytest.raises(ValueError):
            wilson_interval(*bad)


def test_the_answer_in_words() -> None:
    sentence = taken_for_real(3344, 3500)  # the paper's recall of generated hands after training on syn | rea
    start = "95.5 % of generated hands (3344 of 3500) were taken for real by a classifier that never saw one"
    assert sentence.startswith(start)
    assert "94.8 to 96.2 %" in sentence
    assert taken_for_real(2, 6).startswith("33 % of generated hands (2 of 6)")  # six images have no decimals


def test_tables_hold_ours_beside_the_published() -> None:
    true = np.repeat([0, 1], 50)
    predicted = true.copy()
    predicted[:10] = 1  # ten of fifty synthetic hands called real
    text = table2({("syn_rea", "syn_gen"): report(true, predicted, ["synthetic", "real"])})
    assert "| 1 | syn \\| rea | syn, gen | ours | 100.00 / 83.33 | 80.00 / 100.00 | 88.89 / 90.91 | 90.00 |" in text
    assert "| *published* | 95.62 / 97.18 | 97.23 / 95.54 | 96.42 / 96.35 | 96.39 |" in text
    assert text.count("*published*") == 6 and text.count("| ours | - | - | - | - |") == 5
    columns = {line.replace("\\|", "").count("|") for line in text.splitlines()}
    assert columns == {9}

    matrix = np.array(PUBLISHED_FIG7)
    true = np.concatenate([np.repeat(column, matrix[:, column].sum()) for column in range(3)])
    predicted = np.concatenate([np.repeat(np.arange(3), matrix[:, column]) for column in range(3)])
    text = table3(report(true, predicted, list(CLASSES)))
    assert "| synthetic | 0.9540 | 0.9540 | 0.9546 | 0.9546 | 0.9543 | 0.9543 |" in text
    assert {line.count("|") for line in text.splitlines()} == {8}


def test_confusion_figure_is_shaded_by_column_share(tmp_path) -> None:
    chart = draw_confusion(np.array([[9, 0], [1, 0]]), ["synthetic", "real"])
    figure, blank = chart.png(), draw_confusion(np.zeros((2, 2), int), ["synthetic", "real"]).png()
    assert figure.dtype == np.uint8 and figure.shape == blank.shape == (chart.height, chart.width, 3)
    (x, y, *_, dark), (*_, pale) = chart.rectangles[1], chart.rectangles[2]
    assert sum(dark) < sum(pale) - 200 and (figure[y + 5, x + 5] == dark).all()  # 90 % of the first column
    chart.write(tmp_path / "confusion.png")
    svg = (tmp_path / "confusion.svg").read_text()
    texts = [element.text for element in ElementTree.fromstring(svg).iter() if element.text and element.text.strip()]
    assert {"synthetic", "real", "n = 10", "n = 0", "9", "90 %", "True class", "Predicted class"} <= set(texts)


def test_options_default_to_the_paper(tmp_path) -> None:
    opt = parse_classify(["--experiment", "table3", "--name", "msh4"])
    assert (opt.vit, opt.img_size, opt.n_epochs, opt.lr) == ("base", 224, 20, 1e-5)
    assert (opt.train_per_class, opt.test_per_class, opt.background_root) == (10500, 3500, None)
    assert opt.explicit == ["experiment", "name"]
    folders = []
    for flag in ("synth_dir", "real_dir", "gen_dir"):
        (tmp_path / flag).mkdir()
        folders += [f"--{flag}", str(tmp_path / flag)]
    opt = parse_classify(["--experiment", "table2", *folders])
    assert opt.gen_dir == tmp_path / "gen_dir"


def test_options_that_cannot_be_are_refused(tmp_path, capsys) -> None:
    here = str(tmp_path)
    for argv, words in (
        ([], "--synth_dir, --real_dir, --gen_dir missing"),
        (["--synth_dir", here, "--gen_dir", here], "--real_dir missing"),
        (["--name", "msh4", "--gen_dir", here], "choose a run"),
        (["--synth_dir", here, "--gen_dir", here, "--real_dir", here], "same folder"),
    ):
        with pytest.raises(UsageError, match=words):
            parse_classify(["--experiment", "table2", *argv])
    for argv, words in (
        (["--img_size", "100"], "100 is not a multiple of 16"),
        (["--experiment", "table4"], "table2"),
        (["--background_root", here + "/none"], "is not a folder"),
        (["--lr", "0"], "above 0"),
    ):
        with pytest.raises(SystemExit) as stop:
            parse_classify(["--experiment", "table2", "--name", "msh4", *argv])
        assert stop.value.code == 2 and words in capsys.readouterr().err
