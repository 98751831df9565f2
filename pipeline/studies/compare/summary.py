"""All results of a comparison, arm by arm."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.studies.compare.results import ArmResult
from pipeline.studies.compare.statistics import (
    Difference,
    Estimate,
    Reach,
    compare_pairs,
    estimate,
    images_of,
    reach_baseline,
    seconds_of,
)

BySeed = Mapping[int, ArmResult]  # seeds ascending


@dataclass(frozen=True)
class MetricSummary:
    """One metric of one arm. What compares is None for the lack of a seed that the baseline has too.

    Attributes:
        final: The value at the end of the budget.
        difference: To the baseline; None for the baseline itself too.
        images: Share of the baseline's images needed for the baseline's final value.
        seconds: Share of the baseline's wall seconds needed for the same.
    """

    final: Estimate
    difference: Difference | None
    images: Reach | None
    seconds: Reach | None


@dataclass(frozen=True)
class ArmSummary:
    """One arm over its seeds.

    Attributes:
        arm: Name.
        seeds: The seeds that were run, ascending.
        metrics: By the metric's name.
        images: Fewest and most images that a seed forwarded.
        wall_s: Wall seconds of training, embedding and mining.
        refresh_share: Share of embedding and mining in them; 0 where no time passed.
        facts: Means over the seeds that have the fact, by its name.
    """

    arm: str
    seeds: tuple[int, ...]
    metrics: dict[str, MetricSummary]
    images: tuple[int, int]
    wall_s: Estimate
    refresh_share: Estimate
    facts: dict[str, Estimate]


@dataclass(frozen=True)
class Comparison:
    """Every arm against the baseline.

    Attributes:
        baseline: Name of the arm that the others are compared with.
        budget: Images that a seed of the baseline forwarded, the most of them.
        metrics: Names, in alphabetical order.
        arms: In the order asked for.
    """

    baseline: str
    budget: int
    metrics: tuple[str, ...]
    arms: tuple[ArmSummary, ...]

    def best(self, metric: str) -> str:
        """The arm with the highest mean, be it by a hair; of equal ones the first."""
        return max(self.arms, key=lambda summary: summary.metrics[metric].final.mean).arm


def compare(results: Iterable[ArmResult], baseline: str, arms: Sequence[str] = ()) -> Comparison:
    """Compares what was run so far. The order of the results does not matter.

    Args:
        results: One for each arm and seed.
        baseline: Name of the arm that the others are compared with.
        arms: In the order of the report; others follow in alphabetical order.

    Raises:
        InputError: No results, two for one arm and seed, different metrics, or a baseline that is not among the arms.
    """
    by_arm = group_results(results, arms)
    if not by_arm:
        raise InputError("there is no result to compare: run the comparison for one arm and seed at least")
    if baseline not in by_arm:
        raise InputError(f"the baseline {baseline} is not among the arms ({', '.join(by_arm)}): name one of them")
    everything = [result for by_seed in by_arm.values() for result in by_seed.values()]
    metrics = tuple(sorted(everything[0].final.metrics))
    for result in everything:
        if tuple(sorted(result.final.metrics)) != metrics:
            raise InputError(
                f"{result.arm}, seed {result.seed}, was evaluated by other metrics than {everything[0].arm}, seed "
                f"{everything[0].seed}: run both with the same evaluation settings"
            )
    against = by_arm[baseline]
    return Comparison(
        baseline=baseline,
        budget=max(result.final.images for result in against.values()),
        metrics=metrics,
        arms=tuple(_summarise(arm, by_seed, against, metrics) for arm, by_seed in by_arm.items()),
    )


def group_results(results: Iterable[ArmResult], arms: Sequence[str] = ()) -> dict[str, dict[int, ArmResult]]:
    """Results by arm and seed, arms in the order of ``arms`` and then of the alphabet, seeds ascending.

    Raises:
        InputError: Two results for one arm and seed.
    """
    found: dict[str, dict[int, ArmResult]] = {}
    for result in results:
        by_seed = found.setdefault(result.arm, {})
        if result.seed in by_seed:
            raise InputError(f"there are two results of {result.arm}, seed {result.seed}: remove one of them")
        by_seed[result.seed] = result
    order = [arm for arm in dict.fromkeys((*arms, *sorted(found))) if arm in found]
    return {arm: dict(sorted(found[arm].items())) for arm in order}


def _summarise(arm: str, by_seed: BySeed, baseline: BySeed, metrics: Sequence[str]) -> ArmSummary:
    ends = [result.final for result in by_seed.values()]
    facts = sorted({name for result in by_seed.values() for name in result.facts})
    return ArmSummary(
        arm=arm,
        seeds=tuple(by_seed),
        metrics={metric: _summarise_metric(metric, by_seed, baseline) for metric in metrics},
        images=(min(end.images for end in ends), max(end.images for end in ends)),
        wall_s=estimate([end.wall_s for end in ends]),
        refresh_share=estimate([end.refresh_s / end.wall_s if end.wall_s > 0 else 0.0 for end in ends]),
        facts={
            name: estimate([result.facts[name] for result in by_seed.values() if name in result.facts])
            for name in facts
        },
    )


def _summarise_metric(metric: str, by_seed: BySeed, baseline: BySeed) -> MetricSummary:
    values, of_baseline = (
        {seed: result.final.metrics[metric] for seed, result in each.items()} for each in (by_seed, baseline)
    )
    return MetricSummary(
        final=estimate(list(values.values())),
        difference=None if by_seed is baseline else compare_pairs(values, of_baseline),
        images=reach_baseline(by_seed, baseline, metric, images_of),
        seconds=reach_baseline(by_seed, baseline, metric, seconds_of),
    )
