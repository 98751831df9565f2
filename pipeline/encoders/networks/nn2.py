"""FaceNet's Inception networks NN2, NN3 and NN4."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from pipeline.encoders.networks.inception import InceptionShape, stack_inceptions
from pipeline.encoders.networks.layers import (
    PaperNormName,
    check_paper_norm,
    conv_norm_relu,
    conv_relu,
    halving_pool,
    initialise,
    local_response_norm,
)

TABLE_2 = {
    "3a": InceptionShape(conv1=64, conv3=(96, 128), conv5=(16, 32), pool=32),
    "3b": InceptionShape(conv1=64, conv3=(96, 128), conv5=(32, 64), pool=64, pooling="l2"),
    "3c": InceptionShape(conv1=0, conv3=(128, 256), conv5=(32, 64), pool=0, stride=2),
    "4a": InceptionShape(conv1=256, conv3=(96, 192), conv5=(32, 64), pool=128, pooling="l2"),
    "4b": InceptionShape(conv1=224, conv3=(112, 224), conv5=(32, 64), pool=128, pooling="l2"),
    "4c": InceptionShape(conv1=192, conv3=(128, 256), conv5=(32, 64), pool=128, pooling="l2"),
    "4d": InceptionShape(conv1=160, conv3=(144, 288), conv5=(32, 64), pool=128, pooling="l2"),
    "4e": InceptionShape(conv1=0, conv3=(160, 256), conv5=(64, 128), pool=0, stride=2),
    "5a": InceptionShape(conv1=384, conv3=(192, 384), conv5=(48, 128), pool=128, pooling="l2"),
    "5b": InceptionShape(conv1=384, conv3=(192, 384), conv5=(48, 128), pool=128),
}
"""Rows inception (3a) to (5b) of FaceNet's table 2."""

NN4_WITHOUT_5X5 = ("4e", "5a", "5b")


class NN2(nn.Module):
    """FaceNet's NN2: 7.5 M parameters and 1.6 G multiply-adds at 224×224 RGB.

    What the paper gives (Schroff et al. 2015, arXiv 1503.03832, table 2): every layer. What was decided here: the
    constants of the local response normalisation, the initial weights (He's), and that BatchNorm behind every
    convolution takes the place of the two local response normalisations unless told otherwise (Ioffe and Szegedy
    2015, arXiv 1502.03167); ``norm: lrn`` is the table as printed. Any image size is taken: the last map, with a 32nd
    of the image's sides, is averaged.
    """

    table: ClassVar[Mapping[str, InceptionShape]] = TABLE_2

    def __init__(
        self, in_channels: int, embedding_dim: int, height: int, width: int, *, norm: PaperNormName = "batch"
    ) -> None:
        """Builds the network; height and width do not matter, as the last map is averaged, whatever its size.

        Raises:
            ValueError: An unknown norm.
        """
        super().__init__()
        check_paper_norm(norm)
        convolution = conv_norm_relu if norm == "batch" else conv_relu
        self.stem = nn.Sequential(
            OrderedDict[str, nn.Module](
                conv1=convolution(in_channels, 64, kernel=7, stride=2),
                pool1=halving_pool(),
                norm1=_norm(norm),
                inception2=nn.Sequential(convolution(64, 64, kernel=1), convolution(64, 192, kernel=3)),
                norm2=_norm(norm),
                pool2=halving_pool(),
            )
        )
        self.inceptions, channels = stack_inceptions(192, self.table, norm)
        self.head = nn.Linear(channels, embedding_dim)
        initialise(self)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    def forward(self, images: Tensor) -> Tensor:
        """Maps (B, C, H, W) float32 to (B, D) float32, not normalised."""
        features = self.inceptions(self.stem(images.contiguous(memory_format=torch.channels_last)))
        embeddings: Tensor = self.head(features.mean(dim=(2, 3)))
        return embeddings


class NN3(NN2):
    """FaceNet's NN3: NN2 for 160×160 images (section 3.3), which is NN2 itself under the name of its input."""


class NN4(NN2):
    """FaceNet's NN4: for 96×96 images, 6.6 M parameters and 285 M multiply-adds.

    What the paper gives (section 3.3): the input, 285 M multiply-adds, and that NN2's 5×5 convolutions are left out
    "in the higher layers". What was decided here: these layers are 4e, 5a and 5b, which are the ones that lead to 285 M
    (from 5a on, as OpenFace reads it, it is 289 M; from 4d on, 282 M). With one grey channel it is an Inception
    network of the kind of student reproductions at 96×96, of which no count is published.
    """

    table: ClassVar[Mapping[str, InceptionShape]] = {
        name: replace(shape, conv5=None) if name in NN4_WITHOUT_5X5 else shape for name, shape in TABLE_2.items()
    }


def _norm(norm: PaperNormName) -> nn.Module:
    return nn.Identity() if norm == "batch" else local_response_norm()
