"""What the audit finds among real faces whose labels were shuffled. Run with -s to see the figures."""

from pathlib import Path

import pytest

from tests.support.jobs import rounds
from tests.support.label_noise import SHARE, judge, trained_on_shuffled
from tests.support.lfw import lfw_folder, needs_lfw_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
FLOAT32 = ("--training.precision=float32", "--embed.precision=float32")  # few processors are fast in bfloat16


@needs_lfw_files
def test_shuffled_labels_of_faces_lead_the_list(tmp_path: Path) -> None:
    source = (f"--corpus.source.path={lfw_folder() / 'lfw-deepfunneled.tar'}",)
    training = (*rounds(100, 50), "--transform.height=48", "--transform.width=48", *FLOAT32)
    figures = judge(*trained_on_shuffled(tmp_path, "jobs/configs/lfw-view2.yaml", source, training, min_images=10))
    print(f"\nLFW, {SHARE:.0%} shuffled: {figures}")
    assert figures["precision_in_first_per_cent"] >= 0.8
