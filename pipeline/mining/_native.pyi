from typing import Any

def scan(
    candidates: Any,
    ids: Any,
    labels: Any,
    spans: bytes,
    anchors: Any,
    anchor_labels: Any,
    first_pair: Any,
    lower: Any,
    upper: Any,
    best: Any,
    best_id: Any,
    num_candidates: int,
    num_anchors: int,
    num_dims: int,
    num_negatives: int,
    half: bool,
    instruction_set: int,
    compare: bool,
    /,
) -> tuple[int, int]: ...
def measure(vectors: Any, num_vectors: int, num_dims: int, half: bool, /) -> bytes: ...
def instruction_sets() -> tuple[str | None, ...]: ...
