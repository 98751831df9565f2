"""Collects the triplets of a generation as they are mined: writes them, and counts what the manifest must say."""

from collections.abc import Mapping

import numpy as np

from pipeline.config import MiningConfig
from pipeline.corpus.reader import Corpus
from pipeline.mining.audit.hubs import HubCap, Hubs
from pipeline.mining.triplets import Triplets
from pipeline.storage.publish import PartRecord, Transaction
from pipeline.triplets.neighbours import NeighbourTally
from pipeline.triplets.schema import KINDS, GenerationManifest, count_kinds, from_arrow, to_arrow
from pipeline.triplets.writer import TripletWriter, parse


class TripletCollector:
    """The triplets of one transaction.

    Attributes:
        num_triplets: Taken in so far.
        kinds: Of them, by kind.
        negatives_N: How many triplets each example is the negative of, int64.
        tally: Which labels they join.
    """

    def __init__(
        self,
        transaction: Transaction[GenerationManifest],
        mining: MiningConfig,
        corpus: Corpus,
        provenance: Mapping[str, str],
        stem: str = "triplets",
    ) -> None:
        """Begins with nothing; each file carries the provenance, and its name begins with the stem."""
        self._transaction, self._mining, self._corpus, self._provenance = transaction, mining, corpus, provenance
        self._writer = TripletWriter(transaction, mining.rows_per_shard, provenance, stem)
        self.num_triplets = 0
        self.kinds = dict.fromkeys(KINDS, 0)
        self.negatives_N = np.zeros(corpus.num_examples, dtype=np.int64)
        self.tally = NeighbourTally(len(corpus.label_names))

    def add(self, triplets: Triplets) -> None:
        """Takes in the next triplets."""
        self._writer.write(to_arrow(triplets))
        labels, d_an_T = self._corpus.labels, triplets.d_an_T
        self.tally.add(labels[triplets.anchor_T], labels[triplets.negative_T], d_an_T)
        for kind, count in count_kinds(triplets.d_ap_T, d_an_T, self._mining.band.margin).items():
            self.kinds[kind] += count
        np.add.at(self.negatives_N, triplets.negative_T, 1)  # a bincount would pass over all N at every block
        self.num_triplets += len(triplets)

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()

    def capped(self, hubs: Hubs, seed: int) -> "TripletCollector":
        """The same triplets with no hub the negative of more than its cap; the shards of this one are taken back."""
        parts, cap = self._transaction.parts, HubCap(hubs, seed)
        for part in parts:
            cap.see(self._read_back(part))
        left = TripletCollector(self._transaction, self._mining, self._corpus, self._provenance, "triplets-capped")
        for part in parts:
            triplets = self._read_back(part)
            left.add(triplets.take(cap.keep(triplets)))
            self._transaction.delete_part(part)
        left.close()
        return left

    def _read_back(self, part: PartRecord) -> Triplets:
        return from_arrow(parse(self._transaction.read_part(part)))
