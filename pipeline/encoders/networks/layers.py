"""Building blocks that the registered networks share."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

NormName = Literal["batch", "group"]
PaperNormName = Literal["batch", "lrn"]
"""What stands for "norm" in FaceNet's tables: local response normalisation as printed, or batch normalisation."""

CHANNELS_PER_GROUP = 8

LRN_CHANNELS = 5
SMALLEST_SQUARED_NORM = 1e-12


def make_norm(name: NormName, channels: int) -> nn.Module:
    """Builds the normalisation that follows a convolution.

    Args:
        name: ``batch``: BatchNorm over the images of one worker; ``group``: GroupNorm over 8 channels of each
            image, which does not depend on how a batch is split over workers.
        channels: Channels of the map that is normalised.

    Raises:
        ValueError: An unknown name, or channels that do not divide into groups.
    """
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "group":
        if channels % CHANNELS_PER_GROUP:
            raise ValueError(f"norm 'group' needs a multiple of {CHANNELS_PER_GROUP} channels, not {channels}")
        return nn.GroupNorm(channels // CHANNELS_PER_GROUP, channels)
    raise ValueError(f"norm must be 'batch' or 'group', not {name!r}")


def conv_norm_relu(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, norm: NormName = "batch"
) -> nn.Sequential:
    """Convolution, normalisation, ReLU; a side of n pixels becomes ceil(n / stride)."""
    return nn.Sequential(
        # The normalisation has its own offset, so a bias here would be a parameter without effect.
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
        make_norm(norm, out_channels),
        nn.ReLU(inplace=True),
    )


def conv_relu(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution with a bias, ReLU; a side of n pixels becomes ceil(n / stride)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2), nn.ReLU(inplace=True)
    )


def halving_pool() -> nn.MaxPool2d:
    """Max pooling 3×3 with stride 2; a side of n pixels becomes ceil(n / 2)."""
    return nn.MaxPool2d(3, stride=2, padding=1)


def local_response_norm() -> nn.LocalResponseNorm:
    """Across five channels, with the constants of Caffe's GoogLeNet; FaceNet gives none."""
    return nn.LocalResponseNorm(LRN_CHANNELS, alpha=1e-4, beta=0.75, k=1.0)


def check_paper_norm(norm: str) -> None:
    """Refuses what is no `PaperNormName`.

    Raises:
        ValueError: An unknown name.
    """
    if norm not in ("batch", "lrn"):
        raise ValueError(f"norm must be 'batch' or 'lrn', not {norm!r}")


class L2Pool(nn.Module):
    """The L2 norm of every 3×3 window of every channel, with zeros around the map.

    Unlike torch's LPPool2d it has a gradient (of zero) where a whole window is zero, as windows behind a ReLU are.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C, H, W)."""
        squares: Tensor = F.avg_pool2d(x.square(), kernel_size=3, stride=1, padding=1, divisor_override=1)
        return squares.clamp_min(SMALLEST_SQUARED_NORM).sqrt()


class Maxout(nn.Module):
    """The largest of several linear maps, unit by unit (Goodfellow et al. 2013, arXiv 1302.4389)."""

    def __init__(self, in_features: int, out_features: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(in_features, out_features * pieces)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in_features) to (B, out_features)."""
        pieces: Tensor = self.linear(x).unflatten(1, (-1, self.pieces))
        return pieces.amax(dim=2)


def initialise(network: nn.Module) -> None:
    """Draws weights that keep the scale of what passes through (He et al. 2015, arXiv 1502.01852), with zero biases.

    An untrained encoder is mined too: the first generation comes from it. With torch's own smaller weights, and
    normalisations that have seen no batch yet, a deep network's output is its last bias: all but one point.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def grid_pool(map_size: tuple[int, int], grid: tuple[int, int]) -> tuple[nn.Module, int]:
    """Averages a map down to at most ``grid`` cells, so that a head's size does not grow with the image.

    A coarse grid keeps where a feature lies, which a global average forgets; aligned images need that.

    Args:
        map_size: Height and width of the incoming map.
        grid: Most rows and columns that are kept.

    Returns:
        The pooling module and the number of cells that it leaves.
    """
    rows, columns = (min(side, most) for side, most in zip(map_size, grid, strict=True))
    # Adaptive pooling has no deterministic backward pass on CUDA: leave it out where it would do nothing.
    pool = nn.Identity() if (rows, columns) == map_size else nn.AdaptiveAvgPool2d((rows, columns))
    return pool, rows * columns
