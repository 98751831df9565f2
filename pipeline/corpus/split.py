"""Which labels are kept for evaluation, and never mined or trained on."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import CorpusConfig
from pipeline.corpus.lfw_files import read_people
from pipeline.errors import InputError


@dataclass(frozen=True)
class Split:
    """The rule that makes test labels.

    Attributes:
        test_fraction: Expected share of the labels, drawn by a hash of their name; not used where they are listed.
        test_labels: Exactly these; None: by hash.
    """

    test_fraction: float
    test_labels: frozenset[str] | None = None

    def is_test(self, label: str) -> bool:
        """Whether a label is kept for evaluation: as listed, or by a hash of its name: new labels move no old one."""
        if self.test_labels is not None:
            return label in self.test_labels
        draw = int.from_bytes(hashlib.sha256(label.encode()).digest()[:8]) / 2**64
        return draw < self.test_fraction

    def fingerprint(self, content: str) -> str:
        """The fingerprint of a corpus: of its examples (``content``) and of which of them are kept for evaluation.

        Embeddings, generations and checkpoints name it, so nothing that was mined or trained under one split is taken
        for fit to be evaluated under another.
        """
        if self.test_labels is None:
            rule = f"test_fraction {self.test_fraction!r}"
        else:
            rule = "\n".join(("test_labels", *sorted(self.test_labels)))
        return hashlib.sha256(f"{content} {rule}".encode()).hexdigest()

    def format_settings(self) -> str:
        """The settings that a person would change to get another split."""
        if self.test_labels is None:
            return f"corpus.test_fraction {self.test_fraction}"
        return f"the {len(self.test_labels)} labels of corpus.test_people"


def read_split(config: CorpusConfig) -> Split:
    """The split that a config asks for.

    Raises:
        InputError: The list of people cannot be read, or has not the sets that are asked for.
    """
    if config.test_people is None:
        return Split(config.test_fraction)
    sets = [{person.name for person in members} for members in read_people(Path(config.test_people)).sets]
    wanted = config.test_sets or range(1, len(sets) + 1)
    missing = [number for number in wanted if number > len(sets)]
    if missing:
        raise InputError(
            f"corpus.test_sets names set {missing[0]}, but {config.test_people} has {len(sets)}, counted from 1"
        )
    return Split(config.test_fraction, frozenset().union(*(sets[number - 1] for number in wanted)))
