"""Batches of cliques: labels that look alike, as the last refresh found them, beside random ones."""

import numpy as np

from pipeline.config import TrainingConfig
from pipeline.config.training import Selection
from pipeline.training.batches import Batch, ImagesByLabel, fill_batch, step_rng
from pipeline.training.label_index import NO_IDS, LabelIndex
from pipeline.training.triplet_shard import CliqueSeeds, TripletShard


class Neighbourhoods:
    """Cliques of look-alikes beside random labels; every valid triplet of the batch counts, listed or not.

    A clique starts from a mined triplet: its anchor's label, its negative's, and further mined neighbours of the
    anchor's, each with the triplet's own images first. Cliques follow Doppelganger mining (Smirnov et al., ICCV
    Workshops 2017) and CliqueMining (arXiv 2407.02422), with neighbours from the whole corpus.
    """

    def __init__(
        self,
        config: TrainingConfig,
        index: LabelIndex,
        seed: int,
        first_step: int,
        shard: TripletShard,
        previous: TripletShard | None = None,
    ) -> None:
        """Takes what was mined now and before, and from which step on its cliques are counted."""
        self._config, self._index, self._seed, self._first_step = config.batch, index, seed, first_step
        self._selection: Selection = config.selection
        self._sources = [(shard, CliqueSeeds(shard, seed))]
        if previous is not None and len(previous) and self._config.previous_share > 0:
            self._sources.append((previous, CliqueSeeds(previous, seed)))
        num_mined = self._config.num_labels * (1.0 - self._config.random_share)
        self._num_mined = max(round(num_mined), int(num_mined > 0))
        self._num_cliques = round(num_mined / self._config.clique_size) or int(num_mined > 0)

    def plan(self, step: int) -> Batch:
        """The batch of this step."""
        config, rng = self._config, step_rng(self._seed, step)
        num_in_batch = _quota(step, config.in_batch_share)
        chosen: ImagesByLabel = {}
        if _quota(step + 1, config.in_batch_share) == num_in_batch:
            turn = step - self._first_step - (num_in_batch - _quota(self._first_step, config.in_batch_share))
            for clique in range(turn * self._num_cliques, (turn + 1) * self._num_cliques):
                for label, images in self._clique(clique).items():
                    if label in chosen:  # cliques may share a label: it brings the images of both triplets
                        chosen[label] = np.concatenate([chosen[label], images[~np.isin(images, chosen[label])]])
                    elif len(chosen) < self._num_mined:
                        chosen[label] = images
        return fill_batch(chosen, self._index, config, rng, self._selection)

    def _clique(self, clique: int) -> ImagesByLabel:
        """Labels of a clique, each with the images that the mined triplet names."""
        num_previous = _quota(clique, self._config.previous_share)
        from_previous = len(self._sources) > 1 and _quota(clique + 1, self._config.previous_share) > num_previous
        shard, seeds = self._sources[from_previous]
        if not len(seeds):
            return {}
        row = seeds.row(num_previous if from_previous else clique - num_previous * (len(self._sources) > 1))
        label, other = int(shard.anchor_label_T[row]), int(shard.negative_label_T[row])
        images_by_label = {label: np.array([shard.anchor_T[row], shard.positive_T[row]])}
        if self._config.clique_size > 1:
            images_by_label[other] = shard.negative_T[row : row + 1]
        for neighbour in shard.neighbours.of(label).tolist():
            if len(images_by_label) >= self._config.clique_size:
                break
            images_by_label.setdefault(neighbour, NO_IDS)
        return images_by_label


def _quota(number: int, share: float) -> int:
    """How many of the first ``number`` things are of a kind that has this share, spread as evenly as can be."""
    return int(number * share + 1e-9)
