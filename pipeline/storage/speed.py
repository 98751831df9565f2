"""The speed of a store, as one client measures it."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from pipeline.storage.object_store import PROBE_PREFIX, ObjectStore

_SMALL_OBJECTS = 5
_LARGE_OBJECT_BYTES = 8 * 2**20


@dataclass(frozen=True)
class StoreSpeed:
    """How fast one client's requests were at one time.

    Attributes:
        create_s: Median seconds of a conditional create of a few bytes.
        get_s: Median seconds of a read of these bytes.
        delete_s: Median seconds of their deletion.
        write_bytes_per_s: Speed of writing one object of 8 MiB.
        read_bytes_per_s: Speed of reading it back.
    """

    create_s: float
    get_s: float
    delete_s: float
    write_bytes_per_s: float
    read_bytes_per_s: float


def measure_speed(store: ObjectStore) -> StoreSpeed:
    """Writes, reads and deletes a few objects; leaves nothing behind.

    Raises:
        PipelineError: A method of the store failed.
    """
    key, small, large = f"{PROBE_PREFIX}/speed-{uuid.uuid4().hex}", b"motherlode", bytes(_LARGE_OBJECT_BYTES)
    create_s, get_s, delete_s = [], [], []
    for _ in range(_SMALL_OBJECTS):
        create_s.append(_seconds(lambda: store.create(key, small)))
        get_s.append(_seconds(lambda: store.get(key)))
        delete_s.append(_seconds(lambda: store.delete(key)))
    try:
        write_s = _seconds(lambda: store.put(key, large))
        read_s = _seconds(lambda: store.get(key))
    finally:
        store.delete(key)
    size = len(large)
    return StoreSpeed(median(create_s), median(get_s), median(delete_s), size / write_s, size / read_s)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
