from typing import Literal

import pytest

from pipeline.training.batches import ListedTriplets, RandomLabels, RandomTriplets
from pipeline.training.neighbourhoods import Neighbourhoods
from pipeline.training.planner import make_planner
from pipeline.training.triplet_shard import TripletShard
from tests.unit.training.samples import Examples, configured, equal

EXAMPLES = Examples([4] * 20)
MINED = EXAMPLES.mined([(y, (y + 1) % 20) for y in range(20)])
NOTHING = EXAMPLES.mined([])
Source = Literal["mined", "listed", "online", "random"]
SOURCES = {"mined": Neighbourhoods, "listed": ListedTriplets, "online": RandomLabels, "random": RandomTriplets}


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_has_its_batches(source: Source) -> None:
    planner = make_planner(configured(source=source, selection="band"), EXAMPLES.index, 0, 0, MINED)
    assert type(planner) is SOURCES[source]
    assert planner.plan(3).selection == ("all" if source in ("listed", "random") else "band")


@pytest.mark.parametrize("mined", [None, NOTHING])
@pytest.mark.parametrize("source", ["mined", "listed"])
def test_where_nothing_was_mined_batches_are_of_random_labels(source: Source, mined: TripletShard | None) -> None:
    planner = make_planner(configured(source=source), EXAMPLES.index, 4, 0, mined, MINED)
    online = make_planner(configured(source="online"), EXAMPLES.index, 4)
    assert type(planner) is RandomLabels
    assert all(equal(planner.plan(step), online.plan(step)) for step in range(3))


@pytest.mark.parametrize("source", ["mined", "listed"])
def test_a_segment_counts_from_its_first_step(source: Source) -> None:
    config = configured(source=source)
    batches = [make_planner(config, EXAMPLES.index, 0, first, MINED).plan(step) for first, step in ((0, 9), (9, 9))]
    assert not equal(*batches)
