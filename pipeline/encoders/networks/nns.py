"""Face encoders of the size of FaceNet's small Inception networks NNS1 and NNS2."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from pipeline.encoders.networks.inception import InceptionShape, stack_inceptions
from pipeline.encoders.networks.layers import conv_norm_relu, grid_pool, halving_pool, initialise


class SmallInception(nn.Module):
    """A stem, Inception modules, and one hidden layer over the cells of the last map."""

    stem_channels: ClassVar[int]
    stem_stride: ClassVar[int]
    """Of the 7×7 convolution; a max pool then halves the map."""
    table: ClassVar[tuple[InceptionShape, ...]]
    grid: ClassVar[tuple[int, int]]
    """Rows and columns of the last map that are flattened into the hidden layer."""
    hidden_units: ClassVar[int]

    def __init__(self, in_channels: int, embedding_dim: int, height: int, width: int) -> None:
        """Builds the network.

        Raises:
            ValueError: The image is so small that less than one cell would be left of it.
        """
        super().__init__()
        stride = 2 * self.stem_stride * math.prod(shape.stride for shape in self.table)  # pixels a cell of the last map
        if min(height, width) < stride:
            raise ValueError(f"images must have at least {stride}x{stride} pixels, not {height}x{width}")
        self.stem = nn.Sequential(
            conv_norm_relu(in_channels, self.stem_channels, kernel=7, stride=self.stem_stride),
            halving_pool(),
        )
        self.inceptions, channels = stack_inceptions(
            self.stem_channels, {str(i): shape for i, shape in enumerate(self.table)}
        )
        self.pool, num_cells = grid_pool((-(-height // stride), -(-width // stride)), self.grid)
        self.head = nn.Sequential(
            nn.Linear(num_cells * channels, self.hidden_units, bias=False),
            nn.BatchNorm1d(self.hidden_units),
            nn.ReLU(inplace=True),
            nn.Linear(self.hidden_units, embedding_dim),
        )
        initialise(self.stem)
        initialise(self.inceptions)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    def forward(self, images: Tensor) -> Tensor:
        """Maps (B, C, H, W) float32 to (B, D) float32, not normalised."""
        features = self.inceptions(self.stem(images.contiguous(memory_format=torch.channels_last)))
        embeddings: Tensor = self.head(self.pool(features).flatten(1))
        return embeddings


class NNS1(SmallInception):
    """A mini Inception network with 26 M parameters and 220 M multiply-adds at 165×165 RGB.

    What the paper gives (FaceNet, Schroff et al. 2015, section 3.3): NNS1 is a mini Inception model for 165×165
    input with 26 M parameters and 220 M multiply-adds. Its layers are not published.

    What was decided here: the layers. They follow `NNS2`; the stem's stride is 2, and the flattened map is 6×6, for
    with eight multiply-adds a parameter most of the parameters must lie in the hidden layer. Images from 32×32 on are
    accepted; larger maps are averaged down to 6×6 cells.
    """

    stem_channels = 32
    stem_stride = 2
    table = (
        InceptionShape(conv1=16, conv3=(24, 32), conv5=(8, 16), pool=8),  # 42×42 at NNS1's input
        InceptionShape(conv1=0, conv3=(32, 64), conv5=(8, 16), pool=0, stride=2),  # 21×21
        InceptionShape(conv1=48, conv3=(48, 80), conv5=(8, 16), pool=32),
        InceptionShape(conv1=0, conv3=(64, 96), conv5=(16, 32), pool=0, stride=2),  # 11×11
        InceptionShape(conv1=128, conv3=(64, 128), conv5=(16, 32), pool=32),
        InceptionShape(conv1=0, conv3=(112, 192), conv5=(24, 48), pool=0, stride=2),  # 6×6
        InceptionShape(conv1=192, conv3=(160, 320), conv5=(24, 64), pool=64),
        InceptionShape(conv1=192, conv3=(160, 320), conv5=(24, 64), pool=64),
    )
    grid = (6, 6)
    hidden_units = 1024


class NNS2(SmallInception):
    """A tiny Inception network with 4.3 M parameters and 20 M multiply-adds at 140×116 (H×W) RGB.

    What the paper gives (FaceNet, Schroff et al. 2015, section 3.3 and figure 4): NNS2 is a tiny Inception model
    for 140×116 input with 4.3 M parameters and 20 M multiply-adds. Its layers are not published.

    What was decided here: the layers. A stem of one 7×7 convolution with stride 4 and a max pool, because every
    early pixel is dear when a parameter may be used less than five times on average; then modules with the
    branches of NN2's table 2, strided ones without a 1×1 branch as in its rows 3c and 4e, max pooling, batch
    normalisation; and where NN2 averages over the map, the 3×2 map is flattened into one hidden layer (as
    NN1 does), for its parameters cost one multiply-add each and faces are aligned, so that places matter.
    Images from 64×64 on are accepted; larger maps are averaged down to 3×2 cells.
    """

    stem_channels = 16
    stem_stride = 4
    table = (
        InceptionShape(conv1=16, conv3=(16, 24), conv5=(4, 8), pool=8),  # 18×15 at NNS2's input
        InceptionShape(conv1=0, conv3=(24, 48), conv5=(8, 16), pool=0, stride=2),  # 9×8
        InceptionShape(conv1=32, conv3=(32, 64), conv5=(8, 16), pool=16),
        InceptionShape(conv1=0, conv3=(48, 96), conv5=(8, 16), pool=0, stride=2),  # 5×4
        InceptionShape(conv1=80, conv3=(64, 128), conv5=(16, 32), pool=32),
        InceptionShape(conv1=0, conv3=(96, 192), conv5=(16, 32), pool=0, stride=2),  # 3×2
        InceptionShape(conv1=160, conv3=(160, 320), conv5=(16, 48), pool=48),
    )
    grid = (3, 2)
    hidden_units = 896
