"""Means over seeds with their uncertainty, paired differences, and what it takes to reach a target.

An interval is the two-sided 95 % interval of Student's t with n - 1 degrees of freedom over n seeds. Each interval
stands for itself: of twenty comparisons between equals, one is expected to be called decided.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from scipy.special import stdtrit  # type: ignore[import-untyped]

from pipeline.studies.compare.results import ArmResult, CurvePoint

CONFIDENCE = 0.95

Verdict = Literal["better", "worse", "undecided"]
# What a curve is measured along: images forwarded, or wall seconds.
Position = Callable[[CurvePoint], float]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: In the unit of the values.
        half_width: Half the length of the interval about the mean; None with one seed, which says nothing about
            the spread.
        num: Seeds.
    """

    mean: float
    half_width: float | None
    num: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """The ends of the interval; None with one seed."""
        return None if self.half_width is None else (self.mean - self.half_width, self.mean + self.half_width)


@dataclass(frozen=True)
class Difference:
    """An arm minus the baseline.

    Attributes:
        paired: Mean of the differences within a seed. The spread between seeds that both arms share cancels.
        verdict: "better" or "worse" where the paired interval excludes 0; a higher metric is better.
        disjoint: Whether the interval of the arm and that of the baseline, each over all its seeds, are disjoint as
            well, which is harder; None where either has one seed.
    """

    paired: Estimate
    verdict: Verdict
    disjoint: bool | None


@dataclass(frozen=True)
class Reach:
    """Which share of what the baseline used an arm needs to come to where the baseline ended.

    Attributes:
        share: Mean over the seeds. A seed that never came there counts with all that it used, so that the mean is a
            lower bound where ``num_reached`` is below ``share.num``.
        num_reached: Seeds that came there.
    """

    share: Estimate
    num_reached: int

    @property
    def is_lower_bound(self) -> bool:
        """Whether a seed did not come there."""
        return self.num_reached < self.share.num


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval of one value a seed; the order of the values changes no bit.

    Raises:
        ValueError: No values.
    """
    if not values:
        raise ValueError("there is no value to take the mean of")
    num = len(values)
    if num == 1:
        return Estimate(values[0], None, 1)
    quantile = float(stdtrit(num - 1, (1 + CONFIDENCE) / 2))
    return Estimate(fmean(values), quantile * stdev(values) / math.sqrt(num), num)


def compare_pairs(arm: Mapping[int, float], baseline: Mapping[int, float]) -> Difference | None:
    """Compares one metric of an arm with the baseline's, each by seed.

    Returns:
        The difference over the seeds that both have; None where there is no such seed.
    """
    shared = sorted(arm.keys() & baseline.keys())
    if not shared:
        return None
    paired = estimate([arm[seed] - baseline[seed] for seed in shared])
    ends = [estimate(list(values.values())).interval for values in (arm, baseline)]
    return Difference(paired, _verdict(paired), _are_disjoint(*ends))


def reach_baseline(
    arm: Mapping[int, ArmResult], baseline: Mapping[int, ArmResult], metric: str, position: Position
) -> Reach | None:
    """What an arm needs to come to where the baseline ended: of images (``images_of``) or of seconds (``seconds_of``).

    The target of a seed is the baseline's final value in that seed, not its mean: a seed's first weights may be lucky,
    for both arms alike. The baseline itself needs less than everything where its curve is not at its highest at the
    end.

    Returns:
        The share, 1 being all that the baseline used in that seed; None without a seed that both have, or where the
        baseline used nothing.
    """
    shares: list[float] = []
    num_reached = 0
    for seed in sorted(arm.keys() & baseline.keys()):
        end = baseline[seed].final
        if position(end) <= 0:
            return None
        reached = first_reach(arm[seed].curve, metric, end.metrics[metric], position)
        num_reached += reached is not None
        shares.append((position(arm[seed].final) if reached is None else reached) / position(end))
    return Reach(estimate(shares), num_reached) if shares else None


def images_of(point: CurvePoint) -> float:
    """Images forwarded up to a point."""
    return point.images


def seconds_of(point: CurvePoint) -> float:
    """Wall seconds up to a point."""
    return point.wall_s


def first_reach(curve: Sequence[CurvePoint], metric: str, target: float, position: Position) -> float | None:
    """Where a curve, linear between its points, first reaches a target: at its first point or later; None if never."""
    earlier: CurvePoint | None = None
    for point in curve:
        value, end = point.metrics[metric], position(point)
        if value >= target:
            if earlier is None:
                return end
            below, start = earlier.metrics[metric], position(earlier)
            # Rounding must not carry the answer past the point that has reached the target.
            return min(start + (target - below) / (value - below) * (end - start), end)
        earlier = point
    return None


def _verdict(paired: Estimate) -> Verdict:
    if (interval := paired.interval) is None or interval[0] <= 0 <= interval[1]:
        return "undecided"
    return "better" if paired.mean > 0 else "worse"


def _are_disjoint(first: tuple[float, float] | None, second: tuple[float, float] | None) -> bool | None:
    if first is None or second is None:
        return None
    return first[1] < second[0] or second[1] < first[0]
