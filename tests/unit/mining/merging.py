"""``Nearest.join`` as an operation that changes nothing."""

from pipeline.mining.topk import Nearest


def merge(a: Nearest, b: Nearest) -> Nearest:
    merged = a.copy()
    merged.merge(b)
    return merged
