import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.benchmark.checks import check, num_nearer_negatives, rank_of
from pipeline.benchmark.kinds import run_benchmark
from pipeline.benchmark.ladder import measure_ladder
from pipeline.benchmark.mine import Bench, measure_sample, measure_warm_start
from pipeline.benchmark.plans import MinePlan
from pipeline.benchmark.results import report
from pipeline.benchmark.results.chart import draw_mining
from pipeline.benchmark.synthetic import Size, make_shard
from pipeline.benchmark.trained import load_trained
from pipeline.config import BandConfig, MiningConfig, RunConfig
from pipeline.errors import InputError, PipelineError
from pipeline.mining.backends.native.compiled import unavailable_reason
from pipeline.mining.backends.reference import scan
from pipeline.mining.topk import Nearest

SIZE = Size(num_examples=1200, num_dims=16, num_anchors=300, num_rounds=1, num_threads=2)
BENCH = Bench(MiningConfig(), SIZE).with_positives(1)


def test_embeddings_are_unit_vectors_and_noise_spreads_a_label() -> None:
    near, far = make_shard(SIZE, 0.3), make_shard(SIZE, 3.0)
    for shard in (near, far):
        np.testing.assert_allclose(np.linalg.norm(shard.vectors_ND, axis=1), 1.0, atol=1e-6)
        assert np.bincount(shard.labels_N).tolist() == [12] * 100

    def spread(vectors: np.ndarray) -> float:
        return float(((vectors[:12] - vectors[:12].mean(axis=0)) ** 2).sum(axis=1).mean())

    assert spread(near.vectors_ND) < 0.2
    assert spread(far.vectors_ND) > 0.5


def test_an_answer_that_is_wrong_stops_the_benchmark() -> None:
    world = BENCH.world(1.0)
    found = scan(world.queries, world.shard, 1)
    assert check("native", world, found)["agreement_with_brute_force"] == 1.0
    worse = Nearest(found.d_an_PM + np.float32(0.01), found.id_PM)
    with pytest.raises(PipelineError, match="disagrees with brute force"):
        check("native", world, worse)
    assert check("faiss", world, worse)["agreement_with_brute_force"] < 1.0


def test_ranks_are_counted_among_negatives_in_band() -> None:
    world = BENCH.world(2.0)
    best = scan(world.queries, world.shard, 1)
    assert (rank_of(world, best) == 1).all()
    fifth = scan(world.queries, world.shard, 5)
    has_five = fifth.found_PM[:, 4]
    kept = Nearest(
        np.where(has_five[:, None], fifth.d_an_PM[:, 4:], np.inf).astype(np.float32),
        np.where(has_five[:, None], fifth.id_PM[:, 4:], best.id_PM.max()),
    )
    assert (num_nearer_negatives(world.queries, world.shard, kept, True)[has_five] == 4).all()


def test_a_sample_has_the_rank_that_it_should_and_a_warm_start_the_same_answers() -> None:
    found = measure_sample(BENCH, 2.0, 0.25)
    assert 2.0 < found["mean_rank"] < 7.0
    assert measure_warm_start(BENCH, 2.0)["times_as_fast"]["median"] > 0


PLAN = MinePlan(
    rounds=1, examples=1200, dims=16, per_label=12, anchors=200, threads=1, noises=(1.0,), positives=(1, 2),
    peers=("torch",), scaling=(600, 1200),
)  # fmt: skip


def test_a_benchmark_leaves_a_document_and_a_chart(tmp_path: Path) -> None:
    config = RunConfig(mining=MiningConfig(band=BandConfig(margin=0.4)))
    found = run_benchmark("mine", config, PLAN, tmp_path / "new")
    assert json.loads((tmp_path / "new" / "mine.json").read_text()) == found
    assert (tmp_path / "new" / "mine.png").read_bytes().startswith(b"\x89PNG")
    assert len(found["cases"]) == 2 and found["scaling"]["exponent"] is not None
    assert all("torch mm+topk" in case["times_as_fast_as"] for case in found["cases"])
    assert all(point["peak_bytes"] > 0 for point in found["scaling"]["points"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rounds": 0}, "--rounds"),
        ({"peers": ("annoy",)}, "not known"),
        ({"examples": 20}, "fewer than two labels"),
        ({"instruction_set": "sse9"}, "this processor has"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(
    changes: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "_machine", lambda size: {})  # whose limits take seconds to measure
    with pytest.raises(InputError, match=words):
        run_benchmark("mine", RunConfig(), replace(PLAN, **changes), tmp_path)


def test_a_workspace_without_embeddings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no generation"):
        load_trained(str(tmp_path), "main")


@pytest.mark.skipif(unavailable_reason() is not None, reason=str(unavailable_reason()))
def test_each_step_of_the_ladder_is_measured_and_drawn() -> None:
    bench = Bench(MiningConfig(backend="native"), Size(2500, 40, num_anchors=64))
    stages: list[dict[str, Any]] = [
        {"checkpoint_step": step, "steps": measure_ladder(bench, make_shard(bench.size, noise))}
        for step, noise in ((0, 4.0), (400, 0.3))
    ]
    untrained, trained = (stage["steps"] for stage in stages)
    assert [row["step"] for row in untrained] == [row["step"] for row in trained]
    assert len(trained) == 1 or trained[0]["looks"] < untrained[0]["looks"]
    assert all(row["float32_products"] > 0 for row in trained)
    case = {"noise": 1.0, "pairs_per_anchor": 1.0, "products_per_s": {"native": 1e9}}
    rest = {"scaling": {"points": []}, "size": asdict(SIZE), "machine": {"name": "m", "num_threads": 1}}
    picture = draw_mining({"cases": [case], **rest, "ladder": stages})
    assert picture.startswith(b"\x89PNG")
