"""Face encoders of the size of FaceNet's small Inception networks NNS1 and NNS2."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from pipeline.encoders.networks.inception import Inception, InceptionShape
from pipeline.encoders.networks.layers import conv_norm_relu, grid_pool, halving_pool, initialise


@dataclass(frozen=True)
class SmallInceptionPlan:
    """What NNS1 and NNS2 differ in.

    Attributes:
        stem_channels: Of the 7×7 convolution.
        stem_stride: Of the 7×7 convolution; a max pool then halves the map.
        table: The Inception modules.
        grid: Rows and columns of the last map that are flattened into the hidden layer.
        hidden_units: Width of the hidden layer.
    """

    stem_channels: int
    stem_stride: int
    table: tuple[InceptionShape, ...]
    grid: tuple[int, int]
    hidden_units: int

    @property
    def stride(self) -> int:
        """Pixels of a side of the image for one cell of the last map."""
        stride = 2 * self.stem_stride
        for shape in self.table:
            stride *= shape.stride
        return stride


class SmallInception(nn.Module):
    """A stem, Inception modules, and one hidden layer over the cells of the last map."""

    plan: ClassVar[SmallInceptionPlan]

    def __init__(self, in_channels: int, embedding_dim: int, height: int, width: int) -> None:
        """Builds the network.

        Args:
            in_channels: C of the input, 3 in the paper.
            embedding_dim: D of the output, 128 in the paper.
            height: H of the input in pixels.
            width: W of the input in pixels.

        Raises:
            ValueError: The image is so small that less than one cell would be left of it.
        """
        super().__init__()
        plan = self.plan
        if min(height, width) < plan.stride:
            raise ValueError(f"images must have at least {plan.stride}x{plan.stride} pixels, not {height}x{width}")
        self.stem = nn.Sequential(
            conv_norm_relu(in_channels, plan.stem_channels, kernel=7, stride=plan.stem_stride),
            halving_pool(),
        )
        modules, channels = [], plan.stem_channels
        for shape in plan.table:
            module = Inception(channels, shape)
            modules.append(module)
            channels = module.out_channels
        self.inceptions = nn.Sequential(*modules)
        self.pool, num_cells = grid_pool((-(-height // plan.stride), -(-width // plan.stride)), plan.grid)
        self.head = nn.Sequential(
            nn.Linear(num_cells * channels, plan.hidden_units, bias=False),
            nn.BatchNorm1d(plan.hidden_units),
            nn.ReLU(inplace=True),
            nn.Linear(plan.hidden_units, embedding_dim),
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

    plan = SmallInceptionPlan(
        stem_channels=32,
        stem_stride=2,
        table=(
            InceptionShape(conv1=16, conv3=(24, 32), conv5=(8, 16), pool=8),  # 42×42 at NNS1's input
            InceptionShape(conv1=0, conv3=(32, 64), conv5=(8, 16), pool=0, stride=2),  # 21×21
            InceptionShape(conv1=48, conv3=(48, 80), conv5=(8, 16), pool=32),
            InceptionShape(conv1=0, conv3=(64, 96), conv5=(16, 32), pool=0, stride=2),  # 11×11
            InceptionShape(conv1=128, conv3=(64, 128), conv5=(16, 32), pool=32),
            InceptionShape(conv1=0, conv3=(112, 192), conv5=(24, 48), pool=0, stride=2),  # 6×6
            InceptionShape(conv1=192, conv3=(160, 320), conv5=(24, 64), pool=64),
            InceptionShape(conv1=192, conv3=(160, 320), conv5=(24, 64), pool=64),
        ),
        grid=(6, 6),
        hidden_units=1024,
    )


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

    plan = SmallInceptionPlan(
        stem_channels=16,
        stem_stride=4,
        table=(
            InceptionShape(conv1=16, conv3=(16, 24), conv5=(4, 8), pool=8),  # 18×15 at NNS2's input
            InceptionShape(conv1=0, conv3=(24, 48), conv5=(8, 16), pool=0, stride=2),  # 9×8
            InceptionShape(conv1=32, conv3=(32, 64), conv5=(8, 16), pool=16),
            InceptionShape(conv1=0, conv3=(48, 96), conv5=(8, 16), pool=0, stride=2),  # 5×4
            InceptionShape(conv1=80, conv3=(64, 128), conv5=(16, 32), pool=32),
            InceptionShape(conv1=0, conv3=(96, 192), conv5=(16, 32), pool=0, stride=2),  # 3×2
            InceptionShape(conv1=160, conv3=(160, 320), conv5=(16, 48), pool=48),
        ),
        grid=(3, 2),
        hidden_units=896,
    )
