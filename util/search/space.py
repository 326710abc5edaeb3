"""The space of a search: a YAML file of flags that all trials share, and of flags that vary.

fixed:
  dataroot: ./datasets/hands
  crop_size: 64
space:
  lr: {low: 1.0e-5, high: 1.0e-3, log: true}     a number, drawn evenly on the scale of its logarithm
  batch_size: {low: 1, high: 8}                   whole numbers, if both ends are
  lambda_identity: [0, 0.5, 1]                    one of these
  mask: [true, false]                             --mask or --no-mask
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from options.train_options import train_parser
from util.errors import UsageError
from util.run import read_mapping

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# Flags that the search sets itself.
RESERVED = ("name", "checkpoints_dir", "continue_train", "max_steps", "help", "help_all", "options")
RANGE_KEYS = ("low", "high", "log", "step")


@dataclass(frozen=True)
class Space:
    """fixed: {flag: value} of every trial; varied: {flag: list of values, or a range with low, high, log, step}."""

    fixed: dict[str, Any]
    varied: dict[str, list | dict]

    def distributions(self) -> "dict[str, BaseDistribution]":
        """The varied flags as Optuna knows them."""
        return {flag: _distribution(value) for flag, value in self.varied.items()}

    def flags(self, params: dict[str, Any]) -> dict[str, Any]:
        """Everything that a trial with these values is given, {flag: value}; null leaves a flag out."""
        return {flag: value for flag, value in {**self.fixed, **params}.items() if value is not None}


def load_space(path: Path) -> Space:
    """Read a space and check its flags and ranges. Raises UsageError, which names the flag."""
    content = read_mapping(path, name=str(path))
    if set(content) - {"fixed", "space"} or not content.get("space"):
        raise UsageError(f"{path} must hold a mapping `space:` of flags that vary and, if you like, `fixed:` of others")
    fixed, varied = content.get("fixed") or {}, content["space"]
    if not isinstance(fixed, dict) or not isinstance(varied, dict):
        raise UsageError(f"{path}: `fixed:` and `space:` must map flags of train.py to values")
    known = {action.dest for action in train_parser()._actions}
    for flag in (*fixed, *varied):
        if flag in RESERVED:
            raise UsageError(f"{path}: the search sets {flag} itself; leave it out")
        if flag not in known:
            raise UsageError(f"{path}: train.py has no flag --{flag}; see python train.py --help-all")
    if twice := sorted(set(fixed) & set(varied)):
        raise UsageError(f"{path}: {', '.join(twice)} in both `fixed:` and `space:`")
    return Space(dict(fixed), {flag: _checked(path, flag, value) for flag, value in varied.items()})


def _checked(path: Path, flag: str, value: Any) -> list | dict:
    """A list of plain values or a range of numbers, or a UsageError."""
    if isinstance(value, list) and value and all(isinstance(v, (str, int, float, bool, type(None))) for v in value):
        return value
    if isinstance(value, dict) and {"low", "high"} <= set(value) <= set(RANGE_KEYS):
        try:
            # YAML reads 1e-4 as text: a number there needs a point, 1.0e-4.
            ends = {key: float(value[key]) if isinstance(value[key], str) else value[key] for key in ("low", "high")}
            right = ends["low"] <= ends["high"] and (ends["low"] > 0 or not value.get("log"))
        except (TypeError, ValueError):
            right = False
        if right:
            return {**value, **ends}
    raise UsageError(
        f"{path}: {flag} must be a list of values, or {{low: ..., high: ...}} with low below high and, if you like, log: true "
        "(low above 0) or step"
    )


def _distribution(value: list | dict) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(value, list):
        return CategoricalDistribution(value)
    low, high, log = value["low"], value["high"], bool(value.get("log"))
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log, step=value.get("step") or 1)
    return FloatDistribution(float(low), float(high), log=log, step=value.get("step"))


def draw(space: Space, *, seed: int) -> Iterator[dict[str, Any]]:
    """Settings drawn at random, each only once; ends where no new one turns up in a thousand draws.

    Numbers are rounded to three digits, so that a command line can be read.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    drawing = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    distributions, seen, idle = space.distributions(), set(), 0
    while idle < 1000:
        params = drawing.ask(distributions).params
        params = {flag: _rounded(value, distributions[flag]) for flag, value in params.items()}
        key = tuple(sorted((flag, repr(value)) for flag, value in params.items()))
        if key in seen:
            idle += 1
            continue
        seen.add(key)
        idle = 0
        yield params


def _rounded(value: Any, distribution: "BaseDistribution") -> Any:
    if not isinstance(value, float) or getattr(distribution, "step", None) or not hasattr(distribution, "low"):
        return value
    return min(max(float(f"{value:.3g}"), distribution.low), distribution.high)
