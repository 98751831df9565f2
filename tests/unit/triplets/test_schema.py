import sys
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.arrays import Float32Array
from pipeline.errors import CorruptDataError
from pipeline.inspection.sampling import sample_triplets
from pipeline.inspection.verify.check import verify_generation
from pipeline.mining.triplets import Triplets
from pipeline.triplets.schema import TRIPLETS
from pipeline.triplets.writer import TRIPLET_ENCODINGS
from tests.unit.inspection.mined_samples import mined, tampered
from tests.unit.inspection.sql_samples import answer


def test_mining_and_shards_have_the_same_columns_in_the_same_order() -> None:
    assert [field.name for field in fields(Triplets)] == [f"{name}_T" for name in TRIPLETS.names]


@dataclass(frozen=True)
class Weighted(Triplets):
    weight_T: Float32Array | None = None

    def __post_init__(self) -> None:
        if self.weight_T is None:
            object.__setattr__(self, "weight_T", self.d_an_T / 2)


def test_a_new_column_is_mined_stored_asked_for_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe of CONTRIBUTING.md, with half of d_an; every module that imported the two gets the new ones."""
    new = {id(TRIPLETS): TRIPLETS.append(pa.field("weight", pa.float32(), nullable=False)), id(Triplets): Weighted}
    for name, module in list(sys.modules.items()):
        for attribute in ("TRIPLETS", "Triplets") if name.startswith(("pipeline.", "tests.")) else ():
            if id(known := vars(module).get(attribute)) in new:
                monkeypatch.setattr(module, attribute, new[id(known)])
    monkeypatch.setitem(TRIPLET_ENCODINGS, "weight", "BYTE_STREAM_SPLIT")
    generation = mined(str(tmp_path / "w"), tmp_path)
    shard = generation.reader.shard(0)
    np.testing.assert_array_equal(shard["weight"], shard["d_an"].to_numpy() / 2)
    num = generation.manifest.num_triplets
    statement = "SELECT count(*) FROM triplets WHERE weight = d_an / 2"
    assert num and answer(generation.workspace, statement) == [(num,)]
    assert verify_generation(generation, None, seed=0)["num_triplets"] == num
    assert sample_triplets(generation.reader, num, seed=0).column_names[-1] == "weight"
    broken = tampered(generation, lambda columns: columns["negative"].__setitem__(2, columns["positive"][2]))
    with pytest.raises(CorruptDataError, match=r"row 2 of shard 0: .*, d_an [\d.]+, weight [\d.]+"):
        verify_generation(broken, None, seed=0)
