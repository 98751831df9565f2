"""Exports of pictures and of vectors, and what everybody reads of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.inspection.export.exports import ExportedTriplets, export_triplets
from pipeline.inspection.export.layouts import Format
from pipeline.inspection.generation import OpenGeneration, open_generation
from pipeline.inspection.query.rows import TripletQuery
from tests.unit.inspection.mined_samples import all_triplets
from tests.unit.inspection.report_samples import finished_run


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> OpenGeneration:
    """Read only: 120 triplets of 60 × 60 pictures."""
    return open_generation(finished_run(tmp_path_factory.mktemp("images")))


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> OpenGeneration:
    """Read only: the same of vectors of 12 numbers."""
    return open_generation(finished_run(tmp_path_factory.mktemp("vectors"), vectors=True))


def exported(
    generation: OpenGeneration,
    folder: Path,
    layout: Format,
    query: TripletQuery = TripletQuery("anchor"),  # noqa: B008 — frozen
) -> ExportedTriplets:
    return export_triplets(generation, str(folder / "export"), layout, query, str(folder / "cache"))


def loaded(folder: Path) -> Any:  # noqa: ANN401 — datasets ships no types
    """As everybody would open it."""
    import datasets  # type: ignore[import-untyped]

    datasets.disable_progress_bars()
    return datasets.load_dataset(str(folder / "export"), cache_dir=str(folder / "hf"), split="train")


def published(generation: OpenGeneration) -> pd.DataFrame:
    """All triplets with the labels, by plain lookup."""
    corpus, frame = generation.corpus, all_triplets(generation)
    names = np.asarray(corpus.label_names, dtype=object)
    frame["label"] = names[corpus.labels[frame["anchor"]]]
    frame["negative_label"] = names[corpus.labels[frame["negative"]]]
    return frame
