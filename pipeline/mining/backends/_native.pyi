def scan(
    candidates: object,
    ids: object,
    labels: object,
    spans: bytes,
    anchors: object,
    anchor_labels: object,
    first_pair: object,
    lower: object,
    upper: object,
    best: object,
    best_id: object,
    num_candidates: int,
    num_anchors: int,
    num_dims: int,
    num_negatives: int,
    half: bool,
    instruction_set: int,
    split: int,
    compare: bool,
    /,
) -> tuple[int, int, int]: ...
def measure(vectors: object, num_vectors: int, num_dims: int, half: bool, /) -> bytes: ...
def instruction_sets() -> tuple[str | None, ...]: ...
