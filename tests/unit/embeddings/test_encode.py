import numpy as np
import torch
from torch import nn

from pipeline.embeddings.encode import encode


def test_payloads_are_encoded_in_order_whatever_the_last_batch_holds() -> None:
    network = nn.Linear(3, 2).eval()
    inputs = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    found = encode(network, list(range(10)), lambda i: inputs[i], batch_size=4, device="cpu")
    with torch.no_grad():
        np.testing.assert_allclose(found, network(torch.from_numpy(inputs)).numpy(), rtol=1e-6)
    assert found.dtype == np.float32 and found.shape == (10, 2)
