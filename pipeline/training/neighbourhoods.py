"""Batches of cliques: labels that look alike, as the last refresh found them, beside random ones."""

import numpy as np

from pipeline.config import BatchConfig
from pipeline.config.training import Selection
from pipeline.training.batches import Batch, fill, step_rng
from pipeline.training.mined import Int64Array, Leaders, Mined
from pipeline.training.pool import NONE_FIRST, Pool


class Neighbourhoods:
    """Cliques of look-alikes beside random labels; every valid triplet of the batch counts, listed or not.

    A clique starts from a mined triplet: its anchor's label, its negative's, and further mined neighbours of the
    anchor's, each with the triplet's own images first. Cliques follow Doppelganger mining (Smirnov et al., ICCV
    Workshops 2017) and CliqueMining (arXiv 2407.02422), with neighbours from the whole corpus.
    """

    def __init__(
        self,
        pool: Pool,
        mined: Mined,
        config: BatchConfig,
        selection: Selection,
        seed: int,
        first_step: int,
        previous: Mined | None = None,
    ) -> None:
        """Takes what was mined, and from where on its cliques are counted.

        Args:
            pool: The examples.
            mined: One shard of the pinned generation.
            config: Sizes and shares.
            selection: Which triplets of a batch shall count.
            seed: The run's.
            first_step: The first step that trains on the shard.
            previous: A shard of the generation before, for ``previous_share``.
        """
        self._pool, self._config, self._seed, self._first_step = pool, config, seed, first_step
        self._selection: Selection = selection
        self._sources = [(mined, Leaders(mined, seed))]
        if previous is not None and len(previous) and config.previous_share > 0:
            self._sources.append((previous, Leaders(previous, seed)))
        num_mined = config.num_labels * (1.0 - config.random_share)
        self._num_mined = max(round(num_mined), int(num_mined > 0))
        self._num_cliques = round(num_mined / config.clique_size) or int(num_mined > 0)

    def plan(self, step: int) -> Batch:
        """The batch of this step."""
        config, rng = self._config, step_rng(self._seed, step)
        num_in_batch = _spread(step, config.in_batch_share)
        chosen: dict[int, Int64Array] = {}
        if _spread(step + 1, config.in_batch_share) == num_in_batch:
            num_mined = step - self._first_step - (num_in_batch - _spread(self._first_step, config.in_batch_share))
            for clique in range(num_mined * self._num_cliques, (num_mined + 1) * self._num_cliques):
                for label, images in self._clique(clique).items():
                    if label in chosen:  # cliques may share a label: it brings the images of both triplets
                        chosen[label] = np.concatenate([chosen[label], images[~np.isin(images, chosen[label])]])
                    elif len(chosen) < self._num_mined:
                        chosen[label] = images
        return fill(chosen, self._pool, config, rng, self._selection)

    def _clique(self, clique: int) -> dict[int, Int64Array]:
        """Labels of a clique, each with the images that the mined triplet names."""
        num_previous = _spread(clique, self._config.previous_share)
        from_previous = len(self._sources) > 1 and _spread(clique + 1, self._config.previous_share) > num_previous
        mined, leaders = self._sources[from_previous]
        if not len(leaders):
            return {}
        row = leaders.row(num_previous if from_previous else clique - num_previous * (len(self._sources) > 1))
        label, other = int(mined.anchor_label_T[row]), int(mined.negative_label_T[row])
        found = {label: np.array([mined.anchor_T[row], mined.positive_T[row]])}
        if self._config.clique_size > 1:
            found[other] = mined.negative_T[row : row + 1]
        for neighbour in mined.neighbours.of(label).tolist():
            if len(found) >= self._config.clique_size:
                break
            found.setdefault(neighbour, NONE_FIRST)
        return found


def _spread(number: int, share: float) -> int:
    """How many of the first ``number`` things are of a kind that has this share, spread as evenly as can be."""
    return int(number * share + 1e-9)
