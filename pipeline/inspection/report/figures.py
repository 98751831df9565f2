"""The charts of a page. B: bins of a histogram."""

import math
from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.metric_names import metric_label
from pipeline.inspection.report.charts import Chart, Line
from pipeline.inspection.report.generations import GenerationOverview
from pipeline.inspection.report.history import BinnedSeries, Evaluations, TrainingHistory
from pipeline.inspection.report.key_figures import headline_metrics
from pipeline.inspection.summary.statistics import Histogram

BLUE, VERMILION, GREEN, PURPLE, ORANGE = range(5)
"""Indices in pipeline.plotting.PALETTE."""
MAX_BINS = 64
TAIL = 0.0005
"""Share of a generation's triplets that a histogram may leave out on either side."""
HEADROOM = 1.5
"""Peaks of older generations are cut off above so many times the newest one's peak."""
FAINTEST = 0.25


def distance_charts(overviews: Sequence[GenerationOverview]) -> list[Chart]:
    """Histograms of d_ap, d_an and the margin, the newest generation in full colour; and quartiles by generation."""
    numbers = [overview.manifest.number for overview in overviews]
    d_ap, d_an = [overview.d_ap for overview in overviews], [overview.d_an for overview in overviews]
    band_margin = overviews[-1].manifest.mining.band.margin
    rules = [(0.0, "d_an = d_ap"), (band_margin, f"the band's margin, {band_margin:g}")]
    quartiles = [_quartiles("d_ap", BLUE, numbers, d_ap), _quartiles("d_an", VERMILION, numbers, d_an)]
    return [
        _histograms("d_ap: anchor to positive", "squared distance", BLUE, numbers, d_ap),
        _histograms("d_an: anchor to negative", "squared distance", VERMILION, numbers, d_an),
        _histograms(
            "margin: d_an − d_ap", "margin", GREEN, numbers, [overview.margin for overview in overviews], rules
        ),
        Chart("median and middle half", "generation", quartiles, has_whole_x=True),
    ]


def generation_charts(overviews: Sequence[GenerationOverview]) -> list[Chart]:
    """Effective rank, spread, yield and triplets by generation."""
    manifests = [overview.manifest for overview in overviews]

    def chart(title: str, colour: int, values: Sequence[float], is_share: bool = False) -> Chart:
        points = [(float(manifest.number), float(value)) for manifest, value in zip(manifests, values, strict=True)]
        line = Line("", points, colour, has_markers=True)
        return Chart(title, "generation", [line], is_share=is_share, has_whole_x=True)

    return [
        chart("effective rank", PURPLE, [manifest.effective_rank for manifest in manifests]),
        chart("spread about the mean", ORANGE, [manifest.spread for manifest in manifests]),
        chart("yield: pairs with a negative", GREEN, [overview.band_yield for overview in overviews], is_share=True),
        chart("triplets", BLUE, [manifest.num_triplets for manifest in manifests]),
    ]


def training_charts(training: TrainingHistory, evaluations: Evaluations) -> list[Chart]:
    """Loss and active share over the steps, staleness at the checkpoints, figures of merit where measured."""
    steps = [manifest.step for manifest in training.manifests if manifest.step]
    rounds = [(float(step), f"checkpoint {step:,}") for step in steps]
    charts = []
    if len(training.loss.step_S):
        charts += [
            Chart("loss", "step", [_curve(training.loss, BLUE)], rounds),
            Chart("active triplets of a batch", "step", [_curve(training.active_share, VERMILION)], rounds, True),
        ]
    listed = [
        Line(label, training.metric(name), colour, has_markers=True)
        for label, name, colour in (
            ("still active", "listed_active_share", GREEN),
            ("still in band", "listed_in_band_share", PURPLE),
        )
    ]
    if any(line.points for line in listed):
        charts.append(Chart("listed triplets, scored again", "step", listed, is_share=True))
    measured = []
    for name, colour in zip(headline_metrics(evaluations), (BLUE, VERMILION, GREEN, PURPLE), strict=False):
        points = [(float(step), figures[name]) for step, figures in evaluations.items() if name in figures]
        measured.append(Line(metric_label(name), points, colour, has_markers=True))
    if measured:
        charts.append(Chart("labels kept for evaluation", "step", measured))
    return charts


def _curve(series: BinnedSeries, colour: int) -> Line:
    steps = series.step_S.tolist()
    spread = list(zip(steps, series.low_S.tolist(), series.high_S.tolist(), strict=True))
    return Line("", list(zip(steps, series.mean_S.tolist(), strict=True)), colour, spread=spread)


def _quartiles(name: str, colour: int, numbers: Sequence[int], histograms: Sequence[Histogram]) -> Line:
    low, middle, high = ([histogram.quantile(share) for histogram in histograms] for share in (0.25, 0.5, 0.75))
    x = [float(number) for number in numbers]
    spread = list(zip(x, low, high, strict=True))
    return Line(name, list(zip(x, middle, strict=True)), colour, has_markers=True, spread=spread)


def _histograms(
    title: str,
    x_label: str,
    colour: int,
    numbers: Sequence[int],
    histograms: Sequence[Histogram],
    rules: Sequence[tuple[float, str]] = (),
) -> Chart:
    """Shares of each generation's triplets, in equal bins over the range of all histograms without their tails."""
    first, end = _bin_range(histograms)
    per_bin = max(1, math.ceil((end - first) / MAX_BINS))
    starts = np.arange(first, end, per_bin)
    width = (histograms[0].high - histograms[0].low) / len(histograms[0].counts)
    edges = histograms[0].low + width * np.append(starts, starts[-1] + per_bin)
    lines, peak = [], 0.0
    for age, (number, histogram) in enumerate(zip(reversed(numbers), reversed(histograms), strict=True)):
        counts_B = np.add.reduceat(histogram.counts[: min(end, len(histogram.counts))], starts)
        share_B = counts_B / max(1, int(histogram.counts.sum()))
        peak = peak or float(share_B.max())
        # Two points a bin make the line a staircase.
        points = list(zip(np.repeat(edges, 2)[1:-1].tolist(), np.repeat(share_B, 2).tolist(), strict=True))
        opacity = max(FAINTEST, 0.75 - 0.15 * age) if age else 1.0
        lines.append(Line(f"{number}", points, colour, opacity, is_filled=age == 0))
    return Chart(title, x_label, lines[::-1], rules, is_share=True, y_limit=HEADROOM * peak or math.inf)


def _bin_range(histograms: Sequence[Histogram]) -> tuple[int, int]:
    """The first bin between the tails of any histogram that is not empty, and the bin after the last."""
    counts = [histogram.counts for histogram in histograms if histogram.counts.any()]
    if not counts:
        return 0, len(histograms[0].counts)
    cumulative = [counts_B.cumsum() / counts_B.sum() for counts_B in counts]
    firsts = [int(np.searchsorted(shares, TAIL, side="right")) for shares in cumulative]
    lasts = [int(np.searchsorted(shares, 1.0 - TAIL)) for shares in cumulative]
    return min(firsts), max(lasts) + 1
