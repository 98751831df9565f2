"""Global triplet mining: arrays in, arrays out; no I/O, no Ray, and torch for the GPU scan alone.

Axes: N examples, A anchors, P (anchor, positive) pairs, C candidates, M negatives a pair, D dimensions.
All distances are squared L2.
"""
