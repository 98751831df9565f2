"""The Inception module that FaceNet's NN2 to NN4, NNS1 and NNS2 are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.encoders.networks.layers import L2Pool, PaperNormName, conv_norm_relu, conv_relu


@dataclass(frozen=True)
class InceptionShape:
    """One module, in the columns of FaceNet's table 2.

    Attributes:
        conv1: Channels of the 1×1 branch; 0: no such branch.
        conv3: Channels of the 3×3 branch: of its 1×1 reduction, of its output.
        conv5: Channels of the 5×5 branch: of its 1×1 reduction, of its output; None: no such branch.
        pool: Channels of the 1×1 projection behind the pooling branch; 0: the pooled map itself.
        pooling: What the pooling branch takes of a 3×3 window: its maximum or its L2 norm.
        stride: 2 halves the map, which takes max pooling and no 1×1 branch in the tables.
    """

    conv1: int
    conv3: tuple[int, int]
    conv5: tuple[int, int] | None
    pool: int
    pooling: Literal["max", "l2"] = "max"
    stride: int = 1


class Inception(nn.Module):
    """Parallel 1×1, 3×3, 5×5 and pooling branches, concatenated (Szegedy et al. 2015, figure 2b)."""

    def __init__(self, in_channels: int, shape: InceptionShape, norm: PaperNormName = "batch") -> None:
        """Builds the module.

        Args:
            in_channels: Channels of the incoming map.
            shape: Its row of a table.
            norm: ``batch``: BatchNorm behind every convolution; ``lrn``: none inside the module, and biases.
        """
        super().__init__()
        convolution = conv_norm_relu if norm == "batch" else conv_relu
        stride = shape.stride
        self.branches = nn.ModuleList()
        self.out_channels = shape.conv1 + (shape.pool or in_channels)
        if shape.conv1:
            self.branches.append(convolution(in_channels, shape.conv1, kernel=1, stride=stride))
        for kernel, channels in ((3, shape.conv3), (5, shape.conv5)):
            if channels is not None:
                reduced, out = channels
                reduction = convolution(in_channels, reduced, kernel=1)
                self.branches.append(nn.Sequential(reduction, convolution(reduced, out, kernel, stride)))
                self.out_channels += out
        pool = L2Pool() if shape.pooling == "l2" else nn.MaxPool2d(3, stride, padding=1)
        pooling = nn.Sequential(pool)
        if shape.pool:
            pooling.append(convolution(in_channels, shape.pool, kernel=1))
        self.branches.append(pooling)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride))."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def stack_inceptions(
    channels: int, table: Mapping[str, InceptionShape], norm: PaperNormName = "batch"
) -> tuple[nn.Sequential, int]:
    """The modules of a table by name, one behind the other, on a map of ``channels``; and the channels behind them."""
    stack = nn.Sequential()
    for name, shape in table.items():
        module = Inception(channels, shape, norm)
        stack.add_module(name, module)
        channels = module.out_channels
    return stack, channels
