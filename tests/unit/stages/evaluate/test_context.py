from pathlib import Path

import numpy as np
import pytest

from pipeline.config import EvaluationConfig, RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.errors import InputError
from pipeline.stages.evaluate.context import evaluation_ids, has_test_pairs
from pipeline.storage.workspace import Workspace
from tests.unit.corpus.samples import glyph_corpus


def corpus(folder: Path, test_fraction: float) -> Corpus:
    return glyph_corpus(Workspace.open(str(folder), "main"), 12, test_fraction)


@pytest.mark.parametrize(("test_fraction", "expected"), [(0.0, False), (0.5, True)])
def test_a_corpus_that_keeps_no_test_labels_cannot_be_evaluated(
    tmp_path: Path, test_fraction: float, expected: bool
) -> None:
    assert has_test_pairs(corpus(tmp_path, test_fraction)) is expected


def test_test_examples_or_all_are_measured_as_the_config_says(tmp_path: Path) -> None:
    found = corpus(tmp_path, 0.5)
    assert np.array_equal(evaluation_ids(RunConfig(), found), np.flatnonzero(found.is_test))
    everything = RunConfig(evaluation=EvaluationConfig(examples="all"))
    assert np.array_equal(evaluation_ids(everything, found), np.arange(found.num_examples))


def test_without_test_labels_the_other_choice_is_offered(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"evaluation\.examples all"):
        evaluation_ids(RunConfig(), corpus(tmp_path, 0.0))
