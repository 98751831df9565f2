from pathlib import Path

import numpy as np
import pytest

from pipeline.corpus.reader import Corpus
from pipeline.corpus.split import Split
from pipeline.storage.workspace import Workspace
from tests.unit.corpus.samples import faces, folder_config, make_corpus, run_prepare, write_folder, write_tar


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    names = ["zoe/0.png", "adam/0.png", "zoe/1.png", "mia/0.png", "adam/1.png"]
    files = dict(zip(names, faces().values(), strict=False))
    config = folder_config(write_tar(tmp_path / "t.tar", files), examples_per_part=2)
    return make_corpus(tmp_path, config)


def test_label_codes_point_into_sorted_names(corpus: Corpus) -> None:
    assert corpus.label_names == ["adam", "mia", "zoe"]
    assert corpus.labels.dtype == np.int32
    assert corpus.labels.tolist() == [2, 0, 2, 1, 0]


def test_parts_cover_all_example_ids_in_order(corpus: Corpus) -> None:
    assert (corpus.num_parts, corpus.num_examples) == (3, 5)
    assert [corpus.part_ids(part) for part in range(3)] == [range(2), range(2, 4), range(4, 5)]
    assert [corpus.part_of(i) for i in range(5)] == [0, 0, 1, 1, 2]
    for part in range(3):
        assert corpus.read_part(part).column("example_id").to_pylist() == list(corpus.part_ids(part))


@pytest.mark.parametrize("example_id", [-1, 5])
def test_unknown_example_is_an_index_error(corpus: Corpus, example_id: int) -> None:
    with pytest.raises(IndexError):
        corpus.part_of(example_id)


def test_test_examples_are_those_of_test_labels(tmp_path: Path) -> None:
    config = folder_config(write_folder(tmp_path / "faces", faces(20, 2)), test_fraction=0.4)
    corpus = make_corpus(tmp_path, config)
    expected = [Split(0.4).is_test(corpus.label_names[code]) for code in corpus.labels]
    assert corpus.is_test.dtype == np.bool_
    assert corpus.is_test.tolist() == expected
    assert 0 < corpus.is_test.sum() < 40


def test_open_takes_the_newest_corpus(tmp_path: Path, workspace: Workspace) -> None:
    folder = write_folder(tmp_path / "faces", faces())
    run_prepare(folder_config(folder), workspace)
    newest, _ = run_prepare(folder_config(folder, examples_per_part=3), workspace)
    corpus = Corpus.open(workspace)
    assert corpus.manifest == newest
    assert corpus.fingerprint == newest.fingerprint
