import pytest
from pydantic import ValidationError

from pipeline.config import HarmonicConfig, OldEncoder, RunConfig


def test_a_checkpoint_is_a_run_and_perhaps_a_step() -> None:
    named, newest = HarmonicConfig(checkpoint="old-2.b:400"), HarmonicConfig(checkpoint="old-2.b")
    assert (named.run, named.step) == ("old-2.b", 400)
    assert (newest.run, newest.step) == ("old-2.b", None)
    assert str(OldEncoder(run="old", step=400, weights_digest="w")) == "old:400"


@pytest.mark.parametrize("text", ["", ":3", "old:", "old:x", "a/b", "../old:1", "old:1:2"])
def test_what_names_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="checkpoint"):
        HarmonicConfig(checkpoint=text)


@pytest.mark.parametrize("given", [{}, {"mined_share": 0.5}, {"checkpoint": None}])
def test_other_settings_need_the_old_encoder_to_be_named(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"harmonic\.checkpoint must name the old encoder: RUN:STEP"):
        RunConfig.model_validate({"harmonic": given})


def test_a_run_cannot_be_its_own_old_encoder() -> None:
    with pytest.raises(ValidationError, match=r"'main:3' is of the run that is to be trained: .*--run"):
        RunConfig.model_validate({"run": "main", "harmonic": {"checkpoint": "main:3"}})
    assert RunConfig.model_validate({"run": "new", "harmonic": {"checkpoint": "main:3"}}).harmonic is not None
