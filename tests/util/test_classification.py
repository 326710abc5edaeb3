"""Scores, tables and figures of the classification study against scikit-learn, the paper and hand-worked answers."""

import numpy as np
import pytest
from sklearn import metrics as sklearn

from data.labelled_hands import KINDS
from options.classify_options import parse_classify
from util.studies import classification as study
from util.studies.classification import DEEP, PALE, answer, draw_confusion, report, table2, table3


@pytest.mark.parametrize("seed", range(6))
def test_scores_agree_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_classes = 2 + seed % 3
    true = rng.integers(0, n_classes, 200)
    predicted = np.where(rng.random(200) < 0.6, true, rng.integers(0, n_classes, 200))
    if seed >= 3:  # a class that is never predicted, and one that is never true
        predicted[predicted == 0] = 1
        true[true == n_classes - 1] = 0
    names, labels = [f"class {i}" for i in range(n_classes)], list(range(n_classes))
    matrix = np.zeros((n_classes, n_classes), int)
    np.add.at(matrix, (predicted, true), 1)
    ours = report(matrix, names)
    assert np.array_equal(np.transpose(ours["confusion"]), sklearn.confusion_matrix(true, predicted, labels=labels))
    theirs = sklearn.precision_recall_fscore_support(true, predicted, labels=labels, zero_division=0)
    for key, expected in zip(("precision", "recall", "f1", "support"), theirs):
        assert [ours["per_class"][name][key] for name in names] == pytest.approx(expected.tolist(), abs=1e-9)
    assert ours["accuracy"] == pytest.approx(sklearn.accuracy_score(true, predicted), abs=1e-9) and ours["n"] == 200


FIG7 = np.array([[3341, 121, 40], [114, 2915, 647], [45, 464, 2813]])  # published, but for a misprint: 465 for 464


def test_figure_7_gives_table_3_with_columns_true() -> None:
    scores, swapped = report(FIG7, KINDS), report(FIG7.T, KINDS)
    ours, theirs = (
        [each["per_class"][name][key] for name in KINDS for key in ("precision", "recall", "f1")] + [each["accuracy"]]
        for each in (scores, swapped)
    )
    published = [value for name in (*KINDS, "accuracy") for value in study.PUBLISHED_TABLE3[name]]
    assert ours == pytest.approx(published, abs=0.5e-4)
    assert np.abs(np.subtract(theirs, published)).max() > 4e-4
    text = table3(scores)
    assert "| synthetic | 0.9540 | 0.9540 | 0.9546 | 0.9546 | 0.9543 | 0.9543 |" in text
    assert {line.count("|") for line in text.splitlines()} == {8}


def test_published_table_2_is_consistent_and_stands_beside_ours() -> None:
    assert len(study.PUBLISHED_TABLE2) == 6
    for line in study.PUBLISHED_TABLE2.values():  # classes of equal size: accuracy is the mean recall
        assert np.mean(line[2:4]) == pytest.approx(line[6], abs=0.011)
        for p, r, f in zip(line[:2], line[2:4], line[4:6]):
            assert 2 * p * r / (p + r) == pytest.approx(f, abs=0.011)
    ours = report(np.array([[40, 0], [10, 50]]), ["synthetic", "real"])  # ten of fifty synthetic hands called real
    text = table2({train: dict.fromkeys(study.TEST_LABELS, ours) for train in study.TRAINING_LABELS})
    assert "| 1 | syn \\| rea | syn, gen | ours | 100.00 / 83.33 | 80.00 / 100.00 | 88.89 / 90.91 | 90.00 |" in text
    assert "| *published* | 95.62 / 97.18 | 97.23 / 95.54 | 96.42 / 96.35 | 96.39 |" in text
    assert text.count("*published*") == 6
    assert {line.replace("\\|", "").count("|") for line in text.splitlines()} == {9}


def test_the_answer_in_words() -> None:
    text = answer("table2", np.array([[3300, 200, 156], [200, 3300, 3344]]))  # generated: the paper's recall
    assert text.startswith(
        "95.5 % of generated hands (3344 of 3500) were taken for real by a classifier that never saw"
    )
    assert "94.8 to 96.2 %" in text
    few = answer("table3", np.array([[6, 0, 1], [0, 6, 2], [0, 0, 3]]))
    assert few.startswith("33.3 % of generated hands (2 of 6) were taken for real by a classifier that was taught")
    good = np.array([[96, 10, 17], [4, 90, 83]])
    assert answer("table2", good).startswith("83.0 % of generated hands (83 of 100)")
    assert "90.0 % of real hands and 4.0 % of synthetic hands real" in answer("table2", good)
    blind = answer("table2", np.array([[0, 0, 0], [100, 100, 100]]))  # it calls everything real
    assert blind.startswith("The classifier has learnt nothing") and "worth nothing" in blind
    assert "not tell real from synthetic hands better than chance" in blind and "worth nothing" not in text


def test_confusion_figure_is_shaded_by_column_share() -> None:
    names = ["synthetic", "real"]
    figure, blank = (draw_confusion(np.array(m), names, names, title="t") for m in ([[9, 0], [1, 0]], [[0, 0], [0, 0]]))
    assert figure.dtype == np.uint8 and figure.shape == blank.shape
    assert (figure == DEEP).all(-1).sum() == 0  # 90 % of the first column is not 100 %
    dark, pale = (PALE + (DEEP - PALE) * share for share in (0.9, 0.1))
    assert (figure == np.rint(dark)).all(-1).mean() > 0.1 and (figure == np.rint(pale)).all(-1).mean() > 0.1


def test_options_default_to_the_paper(tmp_path) -> None:
    opt = parse_classify(["--experiment", "table3", "--name", "msh4"])
    assert (opt.vit, opt.img_size, opt.n_epochs, opt.lr) == ("base", 224, 20, 1e-5)
    assert (opt.train_per_class, opt.test_per_class, opt.background_root) == (10500, 3500, None)
    assert opt.explicit == ["experiment", "name"]
