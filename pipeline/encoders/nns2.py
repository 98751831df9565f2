"""A face encoder of the size of FaceNet's NNS2."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.encoders.layers import conv_norm_relu, grid_pool, initialise

STRIDE = 64
GRID = (3, 2)
STEM_CHANNELS = 16
HIDDEN_UNITS = 896


@dataclass(frozen=True)
class InceptionShape:
    """One row of the table below, in the columns of FaceNet's table 2.

    Attributes:
        conv1: Channels of the 1×1 branch; 0: no such branch.
        conv3: Channels of the 3×3 branch: of its 1×1 reduction, of its output.
        conv5: Channels of the 5×5 branch: of its 1×1 reduction, of its output.
        pool: Channels of the 1×1 projection behind the pooling branch; 0: the pooled map itself.
        stride: 2 halves the map.
    """

    conv1: int
    conv3: tuple[int, int]
    conv5: tuple[int, int]
    pool: int
    stride: int = 1


TABLE = (
    InceptionShape(conv1=16, conv3=(16, 24), conv5=(4, 8), pool=8),  # 18×15 at NNS2's input
    InceptionShape(conv1=0, conv3=(24, 48), conv5=(8, 16), pool=0, stride=2),  # 9×8
    InceptionShape(conv1=32, conv3=(32, 64), conv5=(8, 16), pool=16),
    InceptionShape(conv1=0, conv3=(48, 96), conv5=(8, 16), pool=0, stride=2),  # 5×4
    InceptionShape(conv1=80, conv3=(64, 128), conv5=(16, 32), pool=32),
    InceptionShape(conv1=0, conv3=(96, 192), conv5=(16, 32), pool=0, stride=2),  # 3×2
    InceptionShape(conv1=160, conv3=(160, 320), conv5=(16, 48), pool=48),
)


class Inception(nn.Module):
    """Parallel 1×1, 3×3, 5×5 and pooling branches, concatenated (Szegedy et al. 2015, figure 2b)."""

    def __init__(self, in_channels: int, shape: InceptionShape) -> None:
        super().__init__()
        stride = shape.stride
        self.branches = nn.ModuleList()
        if shape.conv1:
            self.branches.append(conv_norm_relu(in_channels, shape.conv1, kernel=1, stride=stride))
        for kernel, (reduced, out) in ((3, shape.conv3), (5, shape.conv5)):
            reduction = conv_norm_relu(in_channels, reduced, kernel=1)
            self.branches.append(nn.Sequential(reduction, conv_norm_relu(reduced, out, kernel, stride)))
        pooling = nn.Sequential(nn.MaxPool2d(3, stride, padding=1))
        if shape.pool:
            pooling.append(conv_norm_relu(in_channels, shape.pool, kernel=1))
        self.branches.append(pooling)
        self.out_channels = shape.conv1 + shape.conv3[1] + shape.conv5[1] + (shape.pool or in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride))."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class NNS2(nn.Module):
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

    def __init__(self, in_channels: int, embedding_dim: int, height: int, width: int) -> None:
        """Builds the network.

        Args:
            in_channels: C of the input, 3 in the paper.
            embedding_dim: D of the output, 128 in the paper.
            height: H of the input in pixels, 140 in the paper.
            width: W of the input in pixels, 116 in the paper.

        Raises:
            ValueError: The image is smaller than 64×64.
        """
        super().__init__()
        if min(height, width) < STRIDE:
            raise ValueError(f"images must have at least {STRIDE}x{STRIDE} pixels, not {height}x{width}")
        self.stem = nn.Sequential(
            conv_norm_relu(in_channels, STEM_CHANNELS, kernel=7, stride=4),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        modules, channels = [], STEM_CHANNELS
        for shape in TABLE:
            module = Inception(channels, shape)
            modules.append(module)
            channels = module.out_channels
        self.inceptions = nn.Sequential(*modules)
        self.pool, num_cells = grid_pool((-(-height // STRIDE), -(-width // STRIDE)), GRID)
        self.head = nn.Sequential(
            nn.Linear(num_cells * channels, HIDDEN_UNITS, bias=False),
            nn.BatchNorm1d(HIDDEN_UNITS),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN_UNITS, embedding_dim),
        )
        initialise(self.stem)
        initialise(self.inceptions)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    def forward(self, images: Tensor) -> Tensor:
        """Maps (B, C, H, W) float32 to (B, D) float32, not normalised."""
        features = self.inceptions(self.stem(images.contiguous(memory_format=torch.channels_last)))
        embeddings: Tensor = self.head(self.pool(features).flatten(1))
        return embeddings
