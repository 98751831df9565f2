"""Identification: which label of a gallery does an example have, if any?

One example a label is enrolled in the gallery; others are probes. Closed set: each probe's label is enrolled; the
identification rate at rank k is the share of probes with their mate (their label's example) among the k nearest of the
gallery, and over k it is the cumulative match characteristic (CMC). Open set: some labels are enrolled, others are not.
Of the probes of enrolled labels, the detection and identification rate (DIR) is the share whose nearest of the gallery
is their mate and within a threshold; the false alarm rate (FAR) is the share of the other probes with anything within
it. Phillips, Grother and Micheals, "Evaluation Methods in Face Recognition" (Handbook of Face Recognition, 2011); on
LFW: Liao, Lei, Yi and Li, "A Benchmark Study of Large-scale Unconstrained Face Recognition" (IJCB 2014).

Distances are squared L2. N: examples, D: dimension, G: gallery, P: probes.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float32Array, Int64Array
from pipeline.config import RecognitionConfig
from pipeline.errors import InputError
from pipeline.evaluation.metric_names import far_name
from pipeline.evaluation.verification.pairs import check_labelled
from pipeline.evaluation.verification.protocol import Verification

MAX_TILE_VALUES = 4_000_000
# Coarser than the rounding of a matrix product of unit vectors, finer than any difference of float32 ones that counts.
DISTANCE_DECIMALS = 12


@dataclass(frozen=True, eq=False)
class ClosedSet:
    """Ranks of the mates of probes of enrolled labels.

    Attributes:
        ranks: (P,) int64, ascending ranks of the probes' mates, from 1; of equally near examples, the gallery's first
            ranks first.
        gallery_size: G.
    """

    ranks: Int64Array
    gallery_size: int

    def rate(self, rank: int) -> float:
        """The share of probes whose mate is among the ``rank`` nearest."""
        return float(np.searchsorted(self.ranks, rank, side="right")) / len(self.ranks)


@dataclass(frozen=True)
class OpenSetPoint:
    """One threshold of the open-set identifier.

    Attributes:
        far: The requested false alarm rate.
        threshold: The largest float32 distance with at most this false alarm rate; infinite where far is 1.
        dir: The detection and identification rate at rank 1.
        actual_far: The false alarm rate at the threshold.
        is_resolved: Whether there are enough unmated probes for one false alarm at this rate.
    """

    far: float
    threshold: float
    dir: float
    actual_far: float
    is_resolved: bool


@dataclass(frozen=True, eq=False)
class OpenSet:
    """The distances of probes from the nearest example of the gallery, each ascending, float32.

    Attributes:
        mated: Probes whose label is enrolled; at least one.
        hits: Those of them whose nearest is their mate.
        unmated: Probes whose label is not enrolled; at least one.
        gallery_size: Enrolled labels.
    """

    mated: Float32Array
    hits: Float32Array
    unmated: Float32Array
    gallery_size: int

    def at_far(self, far: float) -> OpenSetPoint:
        """The largest threshold whose false alarm rate is at most ``far``, in [0, 1], and the DIR there."""
        accepted = Verification(same=self.mated, different=self.unmated)
        point = accepted.at_far(far)
        num_hits = int(np.searchsorted(self.hits, np.float32(point.threshold), side="right"))
        rate = num_hits / len(self.mated)
        return OpenSetPoint(far, point.threshold, rate, point.actual_far, accepted.resolves(far))

    def curve(self, num_points: int = 400) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """FAR, evenly spaced in its logarithm from one false alarm to all, and DIR there; (num_points,) float64."""
        fars = np.geomspace(1 / len(self.unmated), 1.0, num_points)
        return fars, np.array([self.at_far(far).dir for far in fars])


@dataclass(frozen=True, eq=False)
class IdentificationReport:
    """The figures of merit of a checkpoint in identification.

    Attributes:
        closed_set: All labels with two examples are enrolled.
        open_set: Half of them are.
        rates: Identification rate by rank.
        points: DIR and threshold at each false alarm rate of the config.
        num_closed_set_probes: Before ``max_probes`` of them were sampled.
        num_mated_probes: The same.
        num_unmated_probes: The same.
    """

    closed_set: ClosedSet
    open_set: OpenSet
    rates: dict[int, float]
    points: tuple[OpenSetPoint, ...]
    num_closed_set_probes: int
    num_mated_probes: int
    num_unmated_probes: int

    def metrics(self) -> dict[str, float]:
        """``identification_at_rank_1`` and so on, and ``dir_at_far_1e-02`` and so on."""
        rates = {f"identification_at_rank_{rank}": rate for rank, rate in self.rates.items()}
        return rates | {f"dir_at_far_{far_name(point.far)}": point.dir for point in self.points}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document: the metrics, their thresholds and the counts behind them."""
        return self.metrics() | {
            "closed_set": {
                "gallery_size": self.closed_set.gallery_size,
                "num_probes": self.num_closed_set_probes,
                "num_measured_probes": len(self.closed_set.ranks),
                "median_rank": float(np.median(self.closed_set.ranks)),
            },
            "open_set": {
                "gallery_size": self.open_set.gallery_size,
                "num_mated_probes": self.num_mated_probes,
                "num_measured_mated_probes": len(self.open_set.mated),
                "num_unmated_probes": self.num_unmated_probes,
                "num_measured_unmated_probes": len(self.open_set.unmated),
                "rank_1_rate": len(self.open_set.hits) / len(self.open_set.mated),
                "points": [asdict(point) for point in self.points],
            },
        }


def evaluate_identification(
    vectors_ND: Float32Array, labels_N: npt.ArrayLike, config: RecognitionConfig, seed: int
) -> IdentificationReport:
    """Identifies probes of the closed and of the open set.

    Of each label with two examples or more, one is sampled for the gallery, the rest are probes. For the open set, half
    of these labels are enrolled, by seed; all examples of all other labels, singletons included, are probes that
    are not. Memory is flat: a tile of probes at a time.

    Args:
        vectors_ND: (N, D) float32, unit vectors.
        labels_N: (N,) integer label codes.
        config: Ranks, false alarm rates, and how many probes of a kind are measured.
        seed: Draws the gallery, the enrolled labels, and the probes where there are more than ``max_probes``.

    Raises:
        InputError: Fewer than two labels have two examples, or an embedding is not finite.
    """
    labels = check_labelled(vectors_ND, labels_N)
    rng = np.random.default_rng(seed)
    gallery = _sample_gallery(labels, rng)
    probes = np.setdiff1d(np.flatnonzero(np.isin(labels, labels[gallery])), gallery)
    enrolled = np.sort(rng.permutation(gallery)[: len(gallery) // 2])
    mated = probes[np.isin(labels[probes], labels[enrolled])]
    unmated = np.flatnonzero(~np.isin(labels, labels[enrolled]))
    closed_set = _closed_set(vectors_ND, labels, gallery, _sample(probes, config.max_probes, rng))
    open_set = _open_set(
        vectors_ND, labels, enrolled, _sample(mated, config.max_probes, rng), _sample(unmated, config.max_probes, rng)
    )
    return IdentificationReport(
        closed_set,
        open_set,
        rates={rank: closed_set.rate(rank) for rank in config.ranks},
        points=tuple(open_set.at_far(far) for far in config.open_set_fars),
        num_closed_set_probes=len(probes),
        num_mated_probes=len(mated),
        num_unmated_probes=len(unmated),
    )


def _sample_gallery(labels: npt.NDArray[np.generic], rng: np.random.Generator) -> Int64Array:
    """One example of each label with two or more, in the order of the examples."""
    shuffled = rng.permutation(len(labels))
    _, firsts, counts = np.unique(labels[shuffled], return_index=True, return_counts=True)
    gallery = np.sort(shuffled[firsts[counts >= 2]])
    if len(gallery) < 2:
        raise InputError(
            f"identification needs two labels with two examples or more, but of the {len(counts)} labels of the "
            f"{len(labels)} evaluated examples {len(gallery)} has so many: raise corpus.test_fraction and prepare the "
            "corpus again"
        )
    return gallery


def _sample(rows: Int64Array, at_most: int, rng: np.random.Generator) -> Int64Array:
    return rows if len(rows) <= at_most else np.sort(rng.choice(rows, at_most, replace=False))


def _closed_set(
    vectors_ND: Float32Array, labels: npt.NDArray[np.generic], gallery: Int64Array, probes: Int64Array
) -> ClosedSet:
    columns = np.arange(len(gallery))
    mates = _mate_columns(labels, gallery, probes)
    ranks = np.empty(len(probes), dtype=np.int64)
    for tile, distances_TG in _tiles(vectors_ND[probes], vectors_ND[gallery]):
        mate_T1 = mates[tile, None]
        distance_T1 = np.take_along_axis(distances_TG, mate_T1, axis=1)
        is_before_TG = (distances_TG < distance_T1) | ((distances_TG == distance_T1) & (columns <= mate_T1))
        ranks[tile] = is_before_TG.sum(axis=1)
    return ClosedSet(np.sort(ranks), len(gallery))


def _open_set(
    vectors_ND: Float32Array,
    labels: npt.NDArray[np.generic],
    gallery: Int64Array,
    mated: Int64Array,
    unmated: Int64Array,
) -> OpenSet:
    columns, distances = _nearest(vectors_ND[mated], vectors_ND[gallery])
    is_hit = columns == _mate_columns(labels, gallery, mated)
    _, unmated_distances = _nearest(vectors_ND[unmated], vectors_ND[gallery])
    return OpenSet(np.sort(distances), np.sort(distances[is_hit]), np.sort(unmated_distances), len(gallery))


def _mate_columns(labels: npt.NDArray[np.generic], gallery: Int64Array, probes: Int64Array) -> Int64Array:
    """The place in the gallery of each probe's label."""
    by_label = np.argsort(labels[gallery])
    return by_label[np.searchsorted(labels[gallery], labels[probes], sorter=by_label)]


def _nearest(probes_PD: Float32Array, gallery_GD: Float32Array) -> tuple[Int64Array, Float32Array]:
    """The gallery column that is nearest to each probe, the first of equally near ones, and its distance."""
    places = np.empty(len(probes_PD), dtype=np.int64)
    distances = np.empty(len(probes_PD), dtype=np.float32)
    for tile, distances_TG in _tiles(probes_PD, gallery_GD):
        places[tile] = distances_TG.argmin(axis=1)
        distances[tile] = distances_TG.min(axis=1)
    return places, distances


def _tiles(probes_PD: Float32Array, gallery_GD: Float32Array) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
    """Distances of a tile of probes from the whole gallery, float64, rounded so that equal ones are equal numbers."""
    gallery = gallery_GD.astype(np.float64)
    gallery_norms = np.einsum("gd,gd->g", gallery, gallery)
    tile_size = max(1, MAX_TILE_VALUES // len(gallery))
    for start in range(0, len(probes_PD), tile_size):
        tile = slice(start, min(start + tile_size, len(probes_PD)))
        probes = probes_PD[tile].astype(np.float64)
        distances_TG = probes @ gallery.T
        distances_TG *= -2
        distances_TG += gallery_norms
        distances_TG += np.einsum("td,td->t", probes, probes)[:, None]
        yield tile, np.round(distances_TG, DISTANCE_DECIMALS, out=distances_TG)
