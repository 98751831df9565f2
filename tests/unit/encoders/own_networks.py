"""Importable classes, good and bad, that a user may name in a config."""

import torch
from torch import Tensor, nn


class FlatLinear(nn.Module):
    """As small as a network can be."""

    def __init__(self, in_channels: int, embedding_dim: int, height: int, width: int, *, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels * height * width, embedding_dim, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.linear(images.flatten(1))
        return embeddings


class OneTooMany(FlatLinear):
    """Returns D + 1 numbers an image."""

    def __init__(self, in_channels: int, embedding_dim: int, height: int, width: int) -> None:
        super().__init__(in_channels, embedding_dim + 1, height, width)


class TwoOutputs(FlatLinear):
    """Returns a tuple."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return images, images


class FixedSize(FlatLinear):
    """Works for 8×8 images, whatever it is told."""

    def __init__(self, in_channels: int, embedding_dim: int, height: int, width: int) -> None:
        super().__init__(in_channels, embedding_dim, 8, 8)


class Zero(FlatLinear):
    """Maps everything to the zero vector."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), self.linear.out_features)


class NotAModule:
    """Has the constructor, but is no network."""

    def __init__(self, in_channels: int, embedding_dim: int, height: int, width: int) -> None:
        raise AssertionError("must not be built")
