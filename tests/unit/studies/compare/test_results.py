import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.studies.compare.results import ArmResult, CurvePoint
from tests.unit.studies.compare.samples import curve, result

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def document(**changes: object) -> dict[str, Any]:
    return {"arm": "random", "seed": 0, "digest": "d", "curve": curve([0.1, 0.2]), "facts": {}} | changes


@given(st.lists(FINITE, min_size=1, max_size=5), st.dictionaries(st.text(), FINITE))
def test_a_result_survives_json_bit_for_bit(values: list[float], facts: dict[str, float]) -> None:
    written = ArmResult(arm="random", seed=3, digest="d", curve=curve(values), facts=facts)
    assert ArmResult.model_validate_json(written.model_dump_json()) == written


def test_the_final_point_is_the_last_one_and_its_wall_time_is_training_and_refreshing() -> None:
    final = result("mined", 0, [0.1, 0.3, 0.2], refresh_s=0.5).final
    assert (final.metrics, final.wall_s) == ({"recall_at_1": 0.2}, 3.0)


def test_a_curve_without_a_point_is_refused() -> None:
    with pytest.raises(ValidationError, match="curve"):
        ArmResult(**document(curve=()))


@pytest.mark.parametrize("images", [(0, 100, 100), (0, 200, 100)])
def test_images_must_ascend(images: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="the curve of random, seed 0, has 100 images after"):
        ArmResult(**document(curve=curve([0.1, 0.2, 0.3], images)))


def test_the_metrics_are_the_same_at_every_point() -> None:
    other = CurvePoint(step=9, images=900, metrics={"roc_auc": 0.9}, train_s=9, refresh_s=0)
    with pytest.raises(ValidationError, match="changes its metrics at 900 images"):
        ArmResult(**document(curve=(*curve([0.1, 0.2]), other)))


@pytest.mark.parametrize(
    ("field", "what"), [("step", "steps"), ("train_s", "seconds of training"), ("refresh_s", "seconds of refreshing")]
)
def test_what_is_counted_from_the_start_never_falls(field: str, what: str) -> None:
    first, last = curve([0.1, 0.2], refresh_s=1.0)
    with pytest.raises(ValidationError, match=f"fewer {what} at 100 images"):
        ArmResult(**document(curve=(first.model_copy(update={field: 7}), last)))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_json_cannot_hold_are_refused(value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        curve([value])
    with pytest.raises(ValidationError, match="finite"):
        ArmResult(**document(facts={"staleness": value}))


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        ArmResult(**document(colour="blue"))
