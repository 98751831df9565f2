"""The charts of a page. G: generations, B: bins of a histogram."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.inspection.report.charts import Chart, Line
from pipeline.inspection.report.generations import Seen
from pipeline.inspection.report.history import Stretches, Training
from pipeline.inspection.report.tiles import merit_words, merits
from pipeline.inspection.summary.survey import Histogram

BLUE, VERMILION, GREEN, PURPLE, ORANGE = range(5)
"""Places in pipeline.plotting.PALETTE."""
MAX_BINS = 64
TAIL = 0.0005
"""Share of a generation's triplets that a histogram may leave out on either side."""
HEADROOM = 1.5
"""How much higher than the newest generation's peak an older one's is shown."""
FAINTEST = 0.25


def distance_charts(seen: Sequence[Seen]) -> list[Chart]:
    """Histograms of d_ap, d_an and the margin, the newest generation in full colour; and how distances moved."""
    band_margin = seen[-1].manifest.mining.band.margin
    rules = [(0.0, "d_an = d_ap"), (band_margin, f"the band's margin, {band_margin:g}")]
    return [
        _histograms("d_ap: anchor to positive", "squared distance", BLUE, seen, [one.d_ap for one in seen]),
        _histograms("d_an: anchor to negative", "squared distance", VERMILION, seen, [one.d_an for one in seen]),
        _histograms("margin: d_an − d_ap", "margin", GREEN, seen, [one.margin for one in seen], rules),
        Chart(
            "median and middle half",
            "generation",
            [
                _quartiles("d_ap", BLUE, seen, [one.d_ap for one in seen]),
                _quartiles("d_an", VERMILION, seen, [one.d_an for one in seen]),
            ],
            has_whole_x=True,
        ),
    ]


def generation_charts(seen: Sequence[Seen]) -> list[Chart]:
    """Effective rank, spread, yield and triplets by generation."""

    def chart(title: str, colour: int, values: Sequence[float], is_share: bool = False) -> Chart:
        points = [(float(one.manifest.number), float(value)) for one, value in zip(seen, values, strict=True)]
        line = Line("", points, colour, has_dots=True)
        return Chart(title, "generation", [line], is_share=is_share, has_whole_x=True)

    return [
        chart("effective rank", PURPLE, [one.manifest.effective_rank for one in seen]),
        chart("spread about the mean", ORANGE, [one.manifest.spread for one in seen]),
        chart("yield: pairs with a negative", GREEN, [one.band_yield for one in seen], is_share=True),
        chart("triplets", BLUE, [one.manifest.num_triplets for one in seen]),
    ]


def training_charts(training: Training, evaluations: Mapping[int, Mapping[str, float]]) -> list[Chart]:
    """Loss and active share over the steps, staleness at the checkpoints, figures of merit where measured."""
    rounds = [(float(one.step), f"checkpoint {one.step:,}") for one in training.manifests if one.step]
    charts = []
    if len(training.loss.step_S):
        charts += [
            Chart("loss", "step", [_curve(training.loss, BLUE)], rounds),
            Chart("active triplets of a batch", "step", [_curve(training.active_share, VERMILION)], rounds, True),
        ]
    listed = [
        Line(words, training.metric(name), colour, has_dots=True)
        for words, name, colour in (
            ("still active", "listed_active_share", GREEN),
            ("still in band", "listed_in_band_share", PURPLE),
        )
    ]
    if any(line.points for line in listed):
        charts.append(Chart("listed triplets, scored again", "step", listed, is_share=True))
    measured = []
    for name, colour in zip(merits(evaluations), (BLUE, VERMILION, GREEN, PURPLE), strict=False):
        points = [(float(step), figures[name]) for step, figures in evaluations.items() if name in figures]
        measured.append(Line(merit_words(name), points, colour, has_dots=True))
    if measured:
        charts.append(Chart("labels kept for evaluation", "step", measured))
    return charts


def _curve(quantity: Stretches, colour: int) -> Line:
    steps = quantity.step_S.tolist()
    spread = list(zip(steps, quantity.low_S.tolist(), quantity.high_S.tolist(), strict=True))
    return Line("", list(zip(steps, quantity.mean_S.tolist(), strict=True)), colour, spread=spread)


def _quartiles(name: str, colour: int, seen: Sequence[Seen], histograms: Sequence[Histogram]) -> Line:
    numbers = [float(one.manifest.number) for one in seen]
    low, middle, high = ([one.quantile(share) for one in histograms] for share in (0.25, 0.5, 0.75))
    spread = list(zip(numbers, low, high, strict=True))
    return Line(name, list(zip(numbers, middle, strict=True)), colour, has_dots=True, spread=spread)


def _histograms(
    title: str,
    x_label: str,
    colour: int,
    seen: Sequence[Seen],
    histograms: Sequence[Histogram],
    rules: Sequence[tuple[float, str]] = (),
) -> Chart:
    """Shares of each generation's triplets, in equal bins over what all but the tails of any of them cover."""
    first, end = _covered(histograms)
    per_bin = max(1, math.ceil((end - first) / MAX_BINS))
    starts = np.arange(first, end, per_bin)
    width = (histograms[0].high - histograms[0].low) / len(histograms[0].counts)
    edges = histograms[0].low + width * np.append(starts, starts[-1] + per_bin)
    lines, peak = [], 0.0
    for age, (one, histogram) in enumerate(zip(reversed(seen), reversed(histograms), strict=True)):
        counts_B = np.add.reduceat(histogram.counts[: min(end, len(histogram.counts))], starts)
        share_B = counts_B / max(1, int(histogram.counts.sum()))
        peak = peak or float(share_B.max())
        # Two points a bin make the line a staircase.
        points = list(zip(np.repeat(edges, 2)[1:-1].tolist(), np.repeat(share_B, 2).tolist(), strict=True))
        opacity = max(FAINTEST, 0.75 - 0.15 * age) if age else 1.0
        lines.append(Line(f"{one.manifest.number}", points, colour, opacity, is_filled=age == 0))
    return Chart(title, x_label, lines[::-1], rules, is_share=True, y_limit=HEADROOM * peak or math.inf)


def _covered(histograms: Sequence[Histogram]) -> tuple[int, int]:
    """First bin, and the one after the last, of what lies between the tails of any histogram that holds something."""
    reached = [one.counts.cumsum() / one.counts.sum() for one in histograms if one.counts.any()]
    if not reached:
        return 0, len(histograms[0].counts)
    firsts = [int(np.searchsorted(shares, TAIL, side="right")) for shares in reached]
    lasts = [int(np.searchsorted(shares, 1.0 - TAIL)) for shares in reached]
    return min(firsts), max(lasts) + 1
