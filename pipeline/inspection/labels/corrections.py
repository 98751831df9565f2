"""Applies a list of corrections: publishes the newest corpus with new labels, if the list is of this corpus."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.corpus.reader import Corpus
from pipeline.corpus.relabel import Changes, find_changes, relabel
from pipeline.corpus.schema import CorpusManifest
from pipeline.errors import InputError
from pipeline.inspection.labels.label_list import CorrectionList, read_label_list
from pipeline.progress import log
from pipeline.storage.workspace import Workspace


@dataclass(frozen=True)
class AppliedCorrections:
    """What a list led to: the corpus with its labels, whether that is new, and the changes against the one before."""

    corpus: CorpusManifest
    is_new: bool
    changes: Changes
    num_blank: int


def apply_corrections(workspace: Workspace, file: Path, seed: int, config_digest: str) -> AppliedCorrections:
    """Publishes the newest corpus with the labels of a list, and announces what they change.

    Args:
        workspace: Of the corpus.
        file: The list.
        seed: The run's, for the record.
        config_digest: Of the whole run's config, for the record.

    Raises:
        InputError: The list is invalid or of another corpus, or leaves nothing to mine; nothing is published.
    """
    corpus = Corpus.open(workspace)
    corrections = read_label_list(file)
    _check_corpus(corpus, corrections, file)
    changes = find_changes(corpus, {key: correction.new_label for key, correction in corrections.by_id.items()})
    _announce(changes)
    manifest, is_new = relabel(workspace, corpus, changes, seed, config_digest)
    return AppliedCorrections(manifest, is_new, changes, corrections.num_blank)


def _check_corpus(corpus: Corpus, corrections: CorrectionList, file: Path) -> None:
    """Refuses a list of another corpus, whose ids mean other examples.

    A row whose example has the new label already passes, so that a list can be applied twice.
    """
    if any(correction.label is correction.path is None for correction in corrections.by_id.values()):
        log(f"note: {file} names neither labels nor paths: nothing shows that it is of corpus {corpus.manifest.number}")
    ids = [key for key, correction in corrections.by_id.items() if correction.path is not None]
    paths = corpus.paths_of(example_id for example_id in ids if example_id < corpus.num_examples)
    known = set(corpus.label_names)
    for example_id, correction in corrections.by_id.items():
        where = f"line {correction.line} of {file}"
        if example_id >= corpus.num_examples:
            raise InputError(
                f"{where} names example {example_id}, but the ids of corpus {corpus.manifest.number} are 0 to "
                f"{corpus.num_examples - 1}: the list is of another corpus"
            )
        new = correction.new_label
        if new not in known and (new != new.strip() or not new.isprintable()):
            raise InputError(
                f"{where} has the new label {new!r}, which begins or ends with a blank or holds a control character: "
                "write a label that people can tell from others"
            )
        label = corpus.label_names[corpus.labels[example_id]]
        path = paths.get(example_id)
        for name, listed, found in (("label", correction.label, label), ("path", correction.path, path)):
            if listed not in (None, found) and (name == "path" or correction.new_label != label):
                raise InputError(
                    f"{where} says that the {name} of example {example_id} is {listed!r}, but in corpus "
                    f"{corpus.manifest.number} it is {found!r}: the list is of another corpus, or was altered; make it "
                    "anew"
                )


def _announce(changes: Changes) -> None:
    if changes.new_labels:
        log(
            f"note: labels that are new to the corpus: {len(changes.new_labels):,}, the first "
            f"{changes.new_labels[0]!r}; if that is not meant, correct the list and apply it again"
        )
    if changes.num_to_test:
        log(
            "WARNING: examples that move from training labels to labels kept for evaluation: "
            f"{changes.num_to_test:,}; checkpoints trained before have seen them under their old labels, and their "
            "figures may flatter"
        )
    if changes.num_to_training:
        log(f"note: examples that move from labels kept for evaluation to training labels: {changes.num_to_training:,}")
