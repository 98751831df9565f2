"""What the audit refuses, and what it leaves out, through real jobs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from pipeline.config import RunConfig
from pipeline.encoders.checkpoints import CheckpointContents, checkpoints, config_of, load_encoder, save_checkpoint
from pipeline.storage.workspace import Workspace
from pipeline.triplets.quarantine import excluded_examples
from pipeline.triplets.reader import Generation, generations
from pipeline.triplets.refusals import read_refusals
from tests.support.jobs import TINY, run, succeed
from tests.support.jobs import vectors as vector_flags
from tests.support.oracle import unit_vectors
from tests.unit.corpus.samples import write_vectors

Spoil = Callable[[torch.nn.Linear], None]


def make_equal(head: torch.nn.Linear) -> None:
    head.weight.zero_()
    head.bias.fill_(1.0)


def make_a_line(head: torch.nn.Linear) -> None:
    # Features are positive: a row that sums to zero gives some images the one sign and some the other.
    row = torch.randn(head.in_features, generator=torch.Generator().manual_seed(0))
    head.weight.copy_(torch.outer(torch.linspace(-1, 1, head.out_features), row - row.mean()))
    head.bias.zero_()


def make_nan(head: torch.nn.Linear) -> None:
    head.weight[0, 0] = torch.nan


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with an untrained checkpoint, which was mined."""
    place = tmp_path_factory.mktemp("audit")
    succeed("prepare", *TINY, "--workspace", place)
    first = succeed("mine", *TINY, "--workspace", place)
    assert first.report["published"], "an untrained encoder passes"
    return place


def publish_spoilt(workspace: Workspace, step: int, spoil: Spoil) -> None:
    """A checkpoint of the same network with another last layer."""
    dataset = checkpoints(workspace)
    start = dataset.read(0)
    config = config_of(start, RunConfig())
    encoder = load_encoder(dataset, start, config.encoder, config.transform, "cpu")
    head = encoder.network.head
    assert isinstance(head, torch.nn.Linear)
    with torch.no_grad():
        spoil(head)
    contents = CheckpointContents(step, encoder, start.corpus_fingerprint, generation=0, parent=0)
    save_checkpoint(dataset, config, contents)


@pytest.mark.parametrize(
    ("step", "spoil", "words"),
    [
        (1, make_equal, "the encoder has collapsed: embeddings spread"),
        (2, make_a_line, "the encoder has collapsed onto a line"),
        (3, make_nan, "the encoder has diverged"),
    ],
)
def test_a_spoilt_checkpoint_is_refused_with_its_reason_and_the_generation_before_stays(
    mined: Path, step: int, spoil: Spoil, words: str
) -> None:
    workspace = Workspace.open(str(mined), "main")
    publish_spoilt(workspace, step, spoil)
    refused = run("mine", *TINY, "--workspace", mined)
    assert refused.code == 3 and f"error: {words}" in refused.words.splitlines()[-1]
    assert generations(workspace).numbers() == [0]
    record = {refusal.step: refusal for refusal in read_refusals(workspace)}[step]
    assert words in record.reason and "--encoder.pretrained RUN:STEP" in record.reason
    assert record.weights_digest == checkpoints(workspace).read(step).weights_digest
    assert record.figures


def vectors_with_faults() -> tuple[
    npt.NDArray[np.float32], npt.NDArray[np.int32], npt.NDArray[np.int64], dict[str, int]
]:
    """Clusters; some examples under a wrong label, and one vector under two."""
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(40), 12).astype(np.int32)
    vectors = unit_vectors(rng, true, 16, 0.25)
    given = true.copy()
    wrong = rng.choice(480, 12, replace=False)
    given[wrong] = (true[wrong] + rng.integers(1, 40, 12)) % 40
    right = np.setdiff1d(np.arange(480), wrong)
    a, b = (int(right[true[right] == label][0]) for label in (3, 20))
    vectors[[a, b]] = unit_vectors(rng, np.zeros(1, dtype=np.int32), 16, 0.0)  # one vector, amid neither label
    return vectors, given, np.sort(wrong), {"a": a, "b": b}


def test_what_is_excluded_is_mined_in_no_role_and_what_is_reported_still_is(tmp_path: Path) -> None:
    vectors, labels, wrong, twins = vectors_with_faults()
    source = write_vectors(tmp_path / "vectors.parquet", vectors.tolist(), labels.astype(str).tolist())
    flags = (*vector_flags(source), "--workspace", str(tmp_path / "w"), "--mining.band.mode=hard")
    succeed("prepare", *flags)
    tables = {}
    for action in ("report", "exclude"):
        finished = succeed(
            "mine",
            *flags,
            f"--mining.audit.quarantine={action}",
            "--mining.audit.max_hub_factor=3",
            "--cluster.num_shards=3",
            "--cluster.anchors_per_block=100",
        )
        assert finished.report["generation"]["agreement"] == 1.0
        dataset = generations(Workspace.open(str(tmp_path / "w"), "main"))
        generation = Generation(dataset, dataset.read(finished.report["generation"]["number"]))
        tables[action] = generation.shard(0).to_pandas(), generation.quarantine(), generation.manifest
    triplets, quarantine, manifest = tables["report"]
    assert not len(excluded_examples(quarantine)) and not quarantine["excluded"].to_numpy(zero_copy_only=False).any()
    suspects = quarantine.to_pandas().query("reason == 'label_noise_suspect'")
    assert set(suspects["example_id"][:12]) == set(wrong)
    assert manifest.quarantined["label_noise_suspect"] == len(suspects)
    assert {(twins["a"], twins["b"])} <= set(triplets[["anchor", "negative"]].itertuples(index=False, name=None))
    hubs = quarantine.to_pandas().query("reason == 'hub'")
    counts = triplets["negative"].value_counts()
    assert len(hubs) and (hubs["score"].to_numpy() == counts.loc[hubs["example_id"]].to_numpy()).all()

    left, quarantine, manifest = tables["exclude"]
    gone = excluded_examples(quarantine)
    assert set(gone) == set(suspects["example_id"])
    assert not np.isin(left[["anchor", "positive", "negative"]].to_numpy(), gone).any()
    forbidden = quarantine.to_pandas().query("other_id.notna()")
    pairs = set(forbidden[["example_id", "other_id"]].astype(int).itertuples(index=False, name=None))
    assert {(twins["a"], twins["b"])} <= pairs
    assert not pairs & set(left[["anchor", "negative"]].itertuples(index=False, name=None))
    assert manifest.num_triplets == len(left) and sum(manifest.kinds.values()) == len(left)
    assert manifest.audit["num_triplets_left_out_by_hubs"] > 0
    assert left["negative"].value_counts().max() == manifest.audit["most_triplets_of_a_negative"]
    assert left["anchor"].is_monotonic_increasing


def test_no_neighbours_are_looked_at_where_none_are_asked_for(mined: Path) -> None:
    finished = succeed("mine", *TINY, "--workspace", mined, "--run=fast", "--mining.audit.num_neighbours=0")
    assert "neighbour_accuracy" not in finished.report["generation"]["audit"]
    assert "label_noise_suspect" not in finished.report["generation"]["quarantined"]


def test_a_band_that_runs_dry_is_refused_where_a_yield_is_asked_for(mined: Path) -> None:
    dry = ("--run=dry", "--mining.band.mode=range", "--mining.band.low=3.98", "--mining.band.high=3.99")
    refused = run("mine", *TINY, "--workspace", mined, *dry, "--mining.audit.min_yield=0.5")
    workspace = Workspace.open(str(mined), "dry")
    assert workspace.store.list(f"{workspace.generations_prefix}/data") == [], "what nobody will read is gone"
    assert "only 0 of" in (mined / workspace.report_key).read_text(), "the report says why"
    assert refused.code == 3 and "have a negative in their band" in refused.words
    assert read_refusals(Workspace.open(str(mined), "dry"))[0].figures == {"band_yield": 0.0}


def test_training_that_overlaps_goes_on_without_what_was_refused(mined: Path) -> None:
    overlap = ("--run=overlap", "--training.mode=overlap", "--mining.audit.min_spread=3.9")
    finished = succeed("loop", *TINY, "--workspace", mined, *overlap)
    assert finished.report["generations"] == []
    assert "WARNING: refused by the audit, training goes on" in finished.words
    workspace = Workspace.open(str(mined), "overlap")
    assert checkpoints(workspace).numbers()[-1] == 6
    assert "The audit refused checkpoint" in Path(finished.report["report"]).read_text()


def test_a_trainer_in_another_job_ends_with_the_reason_instead_of_waiting(mined: Path) -> None:
    apart = ("--run=apart", "--mining.audit.min_spread=3.9")
    assert run("mine", *TINY, "--workspace", mined, *apart).code == 3
    ended = run("train", *TINY, "--workspace", mined, *apart)
    assert ended.code == 3
    assert "no generation can be mined from checkpoint 0: the encoder has collapsed" in ended.words
