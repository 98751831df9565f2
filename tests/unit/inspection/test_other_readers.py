"""The readers of the raw shards in docs/triplets.md, run as they stand there, see what was published."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.inspection.generation import OpenGeneration, open_generation
from tests.unit.inspection.mined_samples import all_triplets
from tests.unit.inspection.report_samples import finished_run

PAGE = Path(__file__).parents[3] / "docs" / "triplets.md"
_SECTION = "Without Motherlode"


def blocks() -> list[str]:
    """The section's blocks of Python; the first finds the shards for all others."""
    section = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    (text,) = (line for line in section if line.startswith(_SECTION))
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def run(reader: str) -> tuple[dict[str, Any], Any]:
    """Runs the first block and that of a reader; gives the names that they define, and what the reader printed."""
    first, *others = blocks()
    (code,) = (one for one in others if one.startswith(f"# {reader}"))
    printed: list[Any] = []
    names: dict[str, Any] = {"print": printed.append}
    exec(first + code, names)
    (answer,) = printed
    return names, answer


@pytest.fixture(scope="module")
def generation(tmp_path_factory: pytest.TempPathFactory) -> OpenGeneration:
    folder = tmp_path_factory.mktemp("readers")
    return open_generation(finished_run(folder, str(folder / "build" / "demo")))


@pytest.fixture(autouse=True)
def here(generation: OpenGeneration, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with a finished run in build/demo."""
    monkeypatch.chdir(Path(generation.workspace.store.uri).parents[1])


def test_there_are_readers_for_pandas_duckdb_and_polars() -> None:
    first, *others = blocks()
    assert [re.split(r"\W+", code)[1] for code in others] == ["pandas", "DuckDB", "Polars"]
    assert "pipeline" not in first + "".join(others)


def test_pandas_reads_every_triplet(generation: OpenGeneration) -> None:
    names, answer = run("pandas")
    assert names["triplets"].reset_index(drop=True).equals(all_triplets(generation))
    assert answer["d_an"].tolist() == all_triplets(generation)["d_an"].nsmallest(5).tolist()


def test_duckdb_joins_the_labels(generation: OpenGeneration) -> None:
    _, answer = run("DuckDB")
    codes, names = generation.corpus.labels, generation.corpus.label_names
    frame = all_triplets(generation)
    counts = Counter(
        (names[codes[a]], names[codes[n]]) for a, n in zip(frame["anchor"], frame["negative"], strict=True)
    )
    found = answer.fetchall()
    assert [row[2] for row in found] == sorted(counts.values(), reverse=True)[:5]
    assert all(counts[label, negative_label] == num for label, negative_label, num in found)


def test_polars_describes_the_margins(generation: OpenGeneration) -> None:
    _, answer = run("Polars")
    frame = all_triplets(generation)
    margin = (frame["d_an"] - frame["d_ap"]).to_numpy()
    described = dict(answer.iter_rows())
    assert described["count"] == len(margin) and described["null_count"] == 0
    expected = [margin.min(), margin.mean(dtype=np.float64), margin.max()]
    assert [described[name] for name in ("min", "mean", "max")] == pytest.approx(expected, abs=1e-6)
