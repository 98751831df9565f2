from pipeline.storage.object_store import ObjectStore
from pipeline.storage.speed import measure_speed


def test_every_store_is_measured_and_left_as_it_was(store: ObjectStore) -> None:
    store.put("kept", b"kept")
    speed = measure_speed(store)
    assert min(vars(speed).values()) > 0.0 and speed.create_s < 10.0
    assert store.list("") == ["kept"]
