import hashlib
import math
from pathlib import Path

import pytest

from pipeline.errors import CorruptDataError, InputError
from pipeline.storage.object_store import ObjectStore, open_store
from pipeline.storage.publish import Manifest, PartRecord, Transaction, VersionedDataset, library_versions

GOLDEN = Path(__file__).parents[2] / "golden" / "manifest.json"


class ThingManifest(Manifest):
    thing: str
    score: float = 0.0


def _things(store: ObjectStore) -> VersionedDataset[ThingManifest]:
    return VersionedDataset(store, "runs/main/things", ThingManifest)


def _manifest(transaction: Transaction[ThingManifest], thing: str = "t", score: float = 0.0) -> ThingManifest:
    return ThingManifest(
        **transaction.manifest_fields(), parent=None, seed=0, config_digest="c" * 64, thing=thing, score=score
    )


def _publish(store: ObjectStore, number: int, thing: str = "t") -> tuple[ThingManifest, bool]:
    transaction = _things(store).begin(number)
    transaction.add_part("rows", "part-0.bin", thing.encode() * 100, num_rows=100)
    return transaction.commit(_manifest(transaction, thing))


def test_what_was_published_is_read_back_with_its_parts(store: ObjectStore) -> None:
    published, ours = _publish(store, 7, "seven")
    assert ours
    things = _things(open_store(store.uri))
    assert things.numbers() == [7]
    assert things.read(7) == things.latest() == published
    (part,) = published.parts_of("rows")
    assert published.parts_of("other") == ()
    assert things.read_part(part) == b"seven" * 100
    assert (part.num_bytes, part.num_rows) == (500, 100)


def test_the_latest_is_the_highest_number_not_the_last_written(store: ObjectStore) -> None:
    for number in (10, 200, 3):
        _publish(store, number)
    assert _things(store).numbers() == [3, 10, 200]
    latest = _things(store).latest()
    assert latest is not None and latest.number == 200


def test_other_files_among_the_manifests_are_ignored(store: ObjectStore) -> None:
    _publish(store, 1)
    folder = "runs/main/things/manifests"
    arabic = "\N{ARABIC-INDIC DIGIT ONE}" * 9 + ".json"
    for name in ("README.md", "000000002.json.bak", "3.json", "deep/000000004.json", arabic):
        store.put(f"{folder}/{name}", b"{}")
    assert _things(store).numbers() == [1]


def test_a_writer_that_was_thought_dead_and_commits_second_is_invisible(store: ObjectStore) -> None:
    late = _things(store).begin(0)
    late.add_part("rows", "part-0.bin", b"late", 1)
    winner, _ = _publish(store, 0, "winner")
    document = store.get(_things(store).manifest_key(0))
    late.add_part("rows", "part-1.bin", b"late", 1)
    assert late.commit(_manifest(late, "loser")) == (winner, False)
    assert _things(store).numbers() == [0] and _things(store).read(0) == winner
    assert store.get(_things(store).manifest_key(0)) == document
    assert _things(store).read_part(winner.parts[0]) == b"winner" * 100


def test_a_refused_create_that_meets_its_own_manifest_is_a_success(store: ObjectStore) -> None:
    transaction = _things(store).begin(0)
    manifest = _manifest(transaction)
    # As when the first answer of the server is lost and the request sent again.
    assert transaction.commit(manifest) == (manifest, True)
    assert transaction.commit(manifest) == (manifest, True)


def test_two_transactions_on_one_number_never_share_a_key(store: ObjectStore) -> None:
    parts = [_things(store).begin(5).add_part("rows", "part-0", data, 1) for data in (b"one", b"two")]
    assert parts[0].key != parts[1].key
    assert [_things(store).read_part(part) for part in parts] == [b"one", b"two"]


@pytest.mark.parametrize(
    ("damaged", "finding"),
    [(b"T" + b"t" * 99, "SHA-256"), (b"t" * 99, "99 bytes"), (b"t" * 101, "101 bytes"), (None, "missing")],
    ids=["flipped", "truncated", "longer", "missing"],
)
def test_a_part_that_is_not_what_its_manifest_records_is_corrupt(
    store: ObjectStore, damaged: bytes | None, finding: str
) -> None:
    manifest, _ = _publish(store, 0, "t")
    (part,) = manifest.parts
    store.delete(part.key)
    if damaged is not None:
        store.put(part.key, damaged)
    with pytest.raises(CorruptDataError, match=f"{part.key}.*{finding}") as caught:
        _things(store).read_part(part)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("old", "new"),
    [('"format": 1', '"format": 2'), ('"thing": "t"', '"other": "t"'), ("{", ""), ('"number": 3', '"number": 4')],
)
def test_a_manifest_that_cannot_be_trusted_is_corrupt_and_named(store: ObjectStore, old: str, new: str) -> None:
    _publish(store, 3)
    key = "runs/main/things/manifests/000000003.json"
    document = store.get(key).decode()
    assert old in document
    store.put(key, document.replace(old, new, 1).encode())
    with pytest.raises(CorruptDataError, match=key) as caught:
        _things(store).read(3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "",
        "corpus/data/0-{writer}/examples-00000.parquet",
        "runs/other/things/data/3-{writer}/part-0.bin",
        "runs/main/things/data/2-{writer}/part-0.bin",
        "runs/main/things/data/3-{writer}0/part-0.bin",
        "runs/main/things/data/3-{writer}/../2-{writer}/part-0.bin",
        "runs/main/things/data/3-{writer}/",
        "runs/main/things/data/3-{writer}/..",
        "runs/main/things/manifests/000000003.json",
    ],
)
def test_a_manifest_that_names_parts_outside_its_folder_is_corrupt(store: ObjectStore, elsewhere: str) -> None:
    manifest, _ = _publish(store, 3)
    (part,) = manifest.parts
    stray = part.model_copy(update={"key": elsewhere.format(writer=manifest.writer)})
    forged = manifest.model_copy(update={"parts": (part, stray)})
    store.put(_things(store).manifest_key(3), forged.model_dump_json().encode())
    for read in (lambda: _things(store).read(3), _things(store).latest):
        with pytest.raises(CorruptDataError, match=r"000000003\.json.*not in its folder: restore it"):
            read()


def test_reading_a_number_that_was_not_published_is_an_input_error_naming_what_was(store: ObjectStore) -> None:
    _publish(store, 2)
    with pytest.raises(InputError, match=r"number 9 .*\[2\]"):
        _things(store).read(9)


def test_mistakes_of_the_caller_are_caught_before_anything_is_published(store: ObjectStore) -> None:
    things = _things(store)
    transaction, other = things.begin(0), things.begin(0)
    with pytest.raises(ValueError, match="own transaction"):
        transaction.commit(_manifest(other))
    early = _manifest(transaction)
    transaction.add_part("rows", "a", b"x", 1)
    with pytest.raises(ValueError, match="own transaction"):
        transaction.commit(early)
    with pytest.raises(ValueError, match="added before"):
        transaction.add_part("rows", "a", b"y", 1)
    for number in (-1, 10**9):
        with pytest.raises(ValueError, match="between"):
            things.begin(number)
    assert things.numbers() == []


def test_a_score_that_is_no_number_survives_publishing(store: ObjectStore) -> None:
    transaction = _things(store).begin(0)
    transaction.commit(_manifest(transaction, score=math.nan))
    assert math.isnan(_things(store).read(0).score)


def test_the_bytes_of_a_manifest_are_the_golden_ones(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    things = _things(store)
    transaction = things.begin(300)
    transaction.writer = "0123456789abcdef0123456789abcdef"
    transaction.add_part("rows", "part-00000.parquet", b"rows", num_rows=2)
    manifest = ThingManifest(
        number=300,
        parent=0,
        writer=transaction.writer,
        created_at="2026-01-02T03:04:05+00:00",
        seed=42,
        config_digest=hashlib.sha256(b"config").hexdigest(),
        versions={"motherlode": "0.1.0", "python": "3.11.9"},
        parts=transaction.parts,
        thing="golden",
        score=0.5,
    )
    transaction.commit(manifest)
    assert store.get(things.manifest_key(300)).decode() == GOLDEN.read_text()
    assert ThingManifest.model_validate_json(GOLDEN.read_bytes()) == manifest


def test_a_part_record_knows_what_a_digest_looks_like() -> None:
    with pytest.raises(ValueError, match="sha256"):
        PartRecord(role="rows", key="k", num_bytes=1, num_rows=1, sha256="short")


def test_versions_name_this_code_python_and_what_is_installed() -> None:
    versions = library_versions()
    assert {"motherlode", "python", "numpy", "pyarrow"} <= versions.keys()
    assert all(versions.values())
