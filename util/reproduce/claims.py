"""The paper's claims as statistical tests, which can fail.

Every test is about these trainings: its interval covers the choice of images, not what another seed would have given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from util.scores.classification import wilson_interval
from util.scores.distances import Difference

HOLDS, FAILS, OPEN, UNTESTED = "holds here", "does not hold here", "undecided here", "not tested"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Claim:
    """One claim. paper: what the paper says; verdict: one of the four above; measured: the figures behind it."""

    paper: str
    verdict: str
    measured: str


@dataclass(frozen=True)
class Comparison:
    """One model against another by one measure; `difference` is the first's less the second's."""

    first: str
    second: str
    measure: str
    difference: Difference
    form: str = "{:+.2f}"

    def text(self) -> str:
        """As in: mshgan4 - geocongan: -3.10 (-4.00 to -2.20)."""
        low, high = self.difference.interval(CONFIDENCE)
        numbers = [self.form.format(value) for value in (self.difference.estimate, low, high)]
        return f"{self.first} - {self.second}: {numbers[0]} ({numbers[1]} to {numbers[2]})"


def verdict_of(differences: Sequence[Difference], *, lower_is_better: bool) -> str:
    """Whether the first is better than the second in every one of several comparisons.

    It holds if every 95 % interval lies on the better side (each has to hold, so none needs a correction), and does
    not hold if one lies on the worse side with its level corrected for their number (Bonferroni).
    """
    if not differences:
        return UNTESTED
    sign = 1.0 if lower_is_better else -1.0

    def bounds(difference: Difference, level: float) -> tuple[float, float]:
        low, high = sorted(sign * value for value in difference.interval(level))
        return low, high

    if all(bounds(each, CONFIDENCE)[1] < 0 for each in differences):
        return HOLDS
    strict = 1.0 - (1.0 - CONFIDENCE) / len(differences)
    if any(bounds(each, strict)[0] > 0 for each in differences):
        return FAILS
    return OPEN


def better(
    paper: str, comparisons: Sequence[Comparison], *, lower_is_better: bool = True, missing: Sequence[str] = ()
) -> Claim:
    """A claim that one kind of model is better than another in all of the comparisons.

    missing: models that the claim speaks of and that have not been scored; without them it can fail, but not hold.
    """
    verdict = verdict_of([each.difference for each in comparisons], lower_is_better=lower_is_better)
    measured = [f"{each.measure}, {each.text()}" for each in comparisons] or ["no two models to compare"]
    if missing:
        measured.append(f"not there yet: {', '.join(missing)}")
        verdict = OPEN if verdict == HOLDS else verdict
    return Claim(paper, verdict, "; ".join(measured))


def taken_for_real(paper: str, calls: Mapping[str, tuple[int, int]] | None) -> Claim:
    """That a classifier which knows real and synthetic hands takes most generated ones for real (Table II).

    calls: {kind: (called real, tested)} for synthetic, real and generated. A classifier that does not tell real from
    synthetic hands itself tests nothing.
    """
    if calls is None:
        return Claim(paper, UNTESTED, "classify.py --experiment table2 has not been run")
    shares = {kind: 100 * count / total for kind, (count, total) in calls.items()}
    low, high = wilson_interval(*calls["generated"])
    measured = (
        f"called real: {shares['generated']:.1f} % of {calls['generated'][1]} generated hands ({100 * low:.1f} to "
        f"{100 * high:.1f} %), {shares['real']:.1f} % of real and {shares['synthetic']:.1f} % of synthetic ones"
    )
    (right, reals), (wrong, synthetics) = calls["real"], calls["synthetic"]
    able = wilson_interval(right, reals)[0] > 0.5 > wilson_interval(wrong, synthetics)[1]
    if not able:
        return Claim(paper, UNTESTED, f"{measured}: the classifier does not tell real from synthetic hands itself")
    return Claim(paper, HOLDS if low > 0.5 else FAILS if high < 0.5 else OPEN, measured)


def confused_with_real(paper: str, confusion: Sequence[Sequence[int]] | None) -> Claim:
    """That generated hands which are not recognised go to the real class rather than to the synthetic (Fig. 7).

    confusion: rows predicted, columns true, in the order synthetic, real, generated. A classifier that calls no larger
    share of real than of synthetic hands real tests nothing.
    """
    if confusion is None:
        return Claim(paper, UNTESTED, "classify.py --experiment table3 has not been run")
    as_synthetic, as_real, as_generated = (row[2] for row in confusion)
    total = as_synthetic + as_real + as_generated
    measured = f"of {total} generated hands {as_real} were called real and {as_synthetic} synthetic"
    of_synthetic, of_real = ((confusion[1][column], sum(row[column] for row in confusion)) for column in (0, 1))
    if wilson_interval(*of_real)[0] <= wilson_interval(*of_synthetic)[1]:
        return Claim(paper, UNTESTED, f"{measured}: the classifier does not tell real from synthetic hands itself")
    if not as_synthetic + as_real:
        return Claim(paper, FAILS, f"{measured}: all were recognised")
    low, high = wilson_interval(as_real, as_synthetic + as_real)
    measured += f" (real ones among these: {100 * low:.1f} to {100 * high:.1f} %)"
    return Claim(paper, HOLDS if low > 0.5 else FAILS if high < 0.5 else OPEN, measured)


def mixing_helps(paper: str, right: Mapping[str, Sequence[bool]] | None) -> Claim:
    """That training on real and generated hands together tells synthetic from generated hands better than on either.

    right: {training set: whether each synthetic and generated test hand was classified rightly}, the same hands in the
    same order, for syn_rea, syn_gen and syn_half. Two classifiers are compared on the hands on which they differ (McNemar's exact
    test).
    """
    if right is None:
        return Claim(paper, UNTESTED, "classify.py --experiment table2 has not been run")
    figures, verdicts = [], []
    for other in ("syn_rea", "syn_gen"):
        pairs = list(zip(right["syn_half"], right[other], strict=True))
        gained = sum(mixed and not alone for mixed, alone in pairs)
        lost = sum(alone and not mixed for mixed, alone in pairs)
        p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
        figures.append(f"against {other}: {gained} gained, {lost} lost of {len(pairs)} (p = {p:.2g})")
        if gained > lost:
            verdicts.append(HOLDS if p < 1 - CONFIDENCE else OPEN)
        else:
            verdicts.append(FAILS if p < (1 - CONFIDENCE) / 2 else OPEN)  # either of two could fail by chance
    verdict = FAILS if FAILS in verdicts else OPEN if OPEN in verdicts else HOLDS
    return Claim(paper, verdict, "; ".join(figures))
