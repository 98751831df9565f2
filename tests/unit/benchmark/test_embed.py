import json
from pathlib import Path

from pipeline.benchmark.kinds import run_benchmark
from pipeline.benchmark.plans import EmbedPlan
from pipeline.config import EmbedConfig, EncoderConfig, RunConfig


def test_a_benchmark_of_encoding_leaves_a_document(tmp_path: Path) -> None:
    config = RunConfig(
        encoder=EncoderConfig(embedding_dim=16, options={"base_width": 4}), embed=EmbedConfig(batch_size=50)
    )
    report = run_benchmark("embed", config, EmbedPlan(rounds=1, labels=12), tmp_path / "new")
    assert json.loads((tmp_path / "new" / "embed.json").read_text()) == report
    assert report["settings"]["num_examples"] > 100 and report["decoding_images_per_s"] > 0
    assert [case["precision"] for case in report["cases"]] == ["float32", "bfloat16"]
    for case in report["cases"]:
        assert all(rate > 0 for rate in case["images_per_s"].values())
        assert all(share["median"] > 0 for share in case["share_of_bare"].values())
    assert report["bfloat16_times_as_fast"]["bare"]["median"] > 0
