import numpy as np
import pytest
import torch
from torch import nn

from pipeline.config import EmbedConfig
from pipeline.embeddings.encode import encode
from pipeline.errors import InputError


def test_payloads_are_encoded_in_order_whatever_the_last_batch_holds() -> None:
    network = nn.Linear(3, 2).eval()
    inputs = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    found = encode(network, list(range(10)), lambda i: inputs[i], EmbedConfig(batch_size=4), "cpu")
    with torch.no_grad():
        np.testing.assert_allclose(found, network(torch.from_numpy(inputs)).numpy(), rtol=1e-6)
    assert found.dtype == np.float32 and found.shape == (10, 2)


def test_with_the_mirror_an_image_and_its_mirror_image_have_one_embedding_of_length_one() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 8)).eval()
    images = np.random.default_rng(0).normal(size=(5, 3, 4, 4)).astype(np.float32)
    config = EmbedConfig(mirror=True)
    found = encode(network, list(images), lambda image: image, config, "cpu")
    mirrored = encode(network, list(images[..., ::-1].copy()), lambda image: image, config, "cpu")
    np.testing.assert_allclose(found, mirrored, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-6)
    plain = encode(network, list(images), lambda image: image, EmbedConfig(), "cpu")
    assert not np.allclose(plain, found, atol=1e-2)


def test_vectors_are_not_mirrored_in_silence() -> None:
    with pytest.raises(InputError, match=r"embed\.mirror"):
        encode(nn.Linear(3, 2), [np.zeros(3, np.float32)], lambda x: x, EmbedConfig(mirror=True), "cpu")
