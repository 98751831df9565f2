"""What the charts of a comparison share: the look of an arm, and labels that do not overlap."""

from collections.abc import Mapping, Sequence

from pipeline.plotting import INK, line_look

# Colour and marker of an arm; and those of every arm.
Look = tuple[str, str]
Looks = Mapping[str, Look]


def arm_looks(arms: Sequence[str], baseline: str) -> dict[str, Look]:
    """Colour and marker of each arm; the baseline has ink and no marker, wherever it stands."""
    others = [arm for arm in arms if arm != baseline]
    return {baseline: (INK, "")} | {arm: line_look(place) for place, arm in enumerate(others)}


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moves labels apart, so that the sum of the squared moves is least, and keeps their order.

    Args:
        positions: Wanted positions, in any order.
        gap: Least distance of two labels, in the same unit.
        low: Least position.
        high: Greatest position, where there is room for all labels between the two; else they leave by the top.

    Returns:
        Positions in the order given, neighbours at least ``gap`` apart.
    """
    order = sorted(range(len(positions)), key=positions.__getitem__)
    # Pool adjacent violators: a cluster is its members' wanted positions, less their places within it.
    clusters: list[list[float]] = []
    for rank, index in enumerate(order):
        clusters.append([positions[index] - rank * gap])
        while len(clusters) > 1 and _mean(clusters[-2]) >= _mean(clusters[-1]):
            last = clusters.pop()
            clusters[-1] += last
    top = max(low, high - (len(order) - 1) * gap)
    starts = [min(max(_mean(cluster), low), top) for cluster in clusters for _ in cluster]
    placed = [0.0] * len(positions)
    for rank, index in enumerate(order):
        placed[index] = starts[rank] + rank * gap
    return placed


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
