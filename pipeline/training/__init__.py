"""Training: batches, losses and the step, in plain torch. Knows neither Ray nor storage.

Axes: B images of a batch, D dimensions, P (anchor, positive) pairs, T triplets, N examples, L labels.
"""
