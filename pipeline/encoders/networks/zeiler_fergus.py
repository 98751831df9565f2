"""Networks of Zeiler and Fergus' kind with 1×1 convolutions: FaceNet's NN1, and a small one for 96×96 grey images."""

from collections import OrderedDict
from typing import ClassVar

import torch
from torch import Tensor, nn

from pipeline.encoders.networks.layers import (
    Maxout,
    PaperNormName,
    check_paper_norm,
    conv_relu,
    grid_pool,
    halving_pool,
    initialise,
    local_response_norm,
)

STRIDE = 32
GRID = (7, 7)


class ZeilerFergus(nn.Module):
    """Table 1 of FaceNet (Schroff et al. 2015, arXiv 1503.03832), with what follows the map left open.

    Every convolution has a bias and a ReLU. Any image size is taken: the map has a 32nd of its sides, and larger
    ones than the paper's 7×7 cells are averaged down to these.
    """

    hidden_units: ClassVar[int]
    """Width of fc1 and fc2."""
    maxout_pieces: ClassVar[int]
    """Linear maps that each of their units takes the largest of; 1: a ReLU instead."""

    def __init__(
        self, in_channels: int, embedding_dim: int, height: int, width: int, *, norm: PaperNormName = "batch"
    ) -> None:
        """Builds the network; ``norm`` says what rnorm1 and rnorm2 are: BatchNorm or local response normalisation.

        Raises:
            ValueError: An unknown norm.
        """
        super().__init__()
        check_paper_norm(norm)
        self.features = nn.Sequential(
            OrderedDict[str, nn.Module](
                conv1=conv_relu(in_channels, 64, kernel=7, stride=2),
                pool1=halving_pool(),
                rnorm1=_norm(norm, 64),
                conv2a=conv_relu(64, 64, kernel=1),
                conv2=conv_relu(64, 192, kernel=3),
                rnorm2=_norm(norm, 192),
                pool2=halving_pool(),
                conv3a=conv_relu(192, 192, kernel=1),
                conv3=conv_relu(192, 384, kernel=3),
                pool3=halving_pool(),
                conv4a=conv_relu(384, 384, kernel=1),
                conv4=conv_relu(384, 256, kernel=3),
                conv5a=conv_relu(256, 256, kernel=1),
                conv5=conv_relu(256, 256, kernel=3),
                conv6a=conv_relu(256, 256, kernel=1),
                conv6=conv_relu(256, 256, kernel=3),
                pool4=halving_pool(),
            )
        )
        self.pool, num_cells = grid_pool((-(-height // STRIDE), -(-width // STRIDE)), GRID)
        self.head = nn.Sequential(
            OrderedDict[str, nn.Module](
                fc1=_hidden(num_cells * 256, self.hidden_units, self.maxout_pieces),
                fc2=_hidden(self.hidden_units, self.hidden_units, self.maxout_pieces),
                fc7128=nn.Linear(self.hidden_units, embedding_dim),
            )
        )
        initialise(self)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    def forward(self, images: Tensor) -> Tensor:
        """Maps (B, C, H, W) float32 to (B, D) float32, not normalised."""
        features = self.features(images.contiguous(memory_format=torch.channels_last))
        embeddings: Tensor = self.head(self.pool(features).flatten(1))
        return embeddings


class NN1(ZeilerFergus):
    """FaceNet's NN1: 140 M parameters and 1.6 G multiply-adds at 220×220 RGB, nearly all of the former in fc1.

    What the paper gives (table 1): every layer, with maxout of two pieces in fc1 and fc2. What was decided here: the
    constants of the local response normalisation, the initial weights (He's), and that BatchNorm takes the place of
    rnorm1 and rnorm2 unless told otherwise; ``norm: lrn`` is the table as printed.
    """

    hidden_units = 32 * 128
    maxout_pieces = 2


class ZF96(ZeilerFergus):
    """A published student reproduction's NN1 for 96×96 grey images: 6,705,344 parameters, 512 running statistics.

    Its convolutions are NN1's, with BatchNorm in the place of rnorm1 and rnorm2; its two hidden layers have 1,024
    units with a ReLU.
    """

    hidden_units = 1024
    maxout_pieces = 1


def _norm(norm: PaperNormName, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if norm == "batch" else local_response_norm()


def _hidden(in_features: int, units: int, pieces: int) -> nn.Module:
    if pieces > 1:
        return Maxout(in_features, units, pieces)
    return nn.Sequential(nn.Linear(in_features, units), nn.ReLU(inplace=True))
