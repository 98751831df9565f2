from pathlib import Path

import pytest

from pipeline.cluster.evaluate_stage import has_test_pairs, parse_checkpoint
from pipeline.config import CorpusConfig, GlyphsConfig, SourceConfig
from pipeline.corpus.ingest import prepare
from pipeline.corpus.reader import Corpus
from pipeline.errors import InputError
from pipeline.storage.workspace import Workspace


@pytest.mark.parametrize(("test_fraction", "expected"), [(0.0, False), (0.5, True)])
def test_a_corpus_that_keeps_no_test_labels_cannot_be_evaluated(
    tmp_path: Path, test_fraction: float, expected: bool
) -> None:
    workspace = Workspace.open(str(tmp_path), "main")
    source = SourceConfig(glyphs=GlyphsConfig(max_labels=12, image_size=16))
    prepare(CorpusConfig(source=source, test_fraction=test_fraction), workspace, 0, "c" * 64)
    assert has_test_pairs(Corpus.open(workspace)) is expected


def test_a_run_without_checkpoints_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run 'other' has no checkpoint"):
        parse_checkpoint(Workspace.open(str(tmp_path), "main"), "other:3")
