"""The network, and how the corpus is encoded with it."""

from typing import Any, Literal

from pydantic import Field

from pipeline.config.base import ConfigPart, PositiveInt


class EncoderConfig(ConfigPart):
    """The network."""

    name: str = "small_cnn"
    """A registered name (small_cnn; FaceNet's nn1, nn2, nn3, nn4, nns1, nns2; zf96; identity for vectors), a backbone
    `torchvision/NAME` or `timm/NAME` where that package is installed, or an import path `package.module:Class` of an
    nn.Module."""
    embedding_dim: PositiveInt = 128
    """Length D of the L2-normalised output."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments for the network's constructor."""
    pretrained: str | None = None
    """Where training starts from instead of random weights: a .safetensors file, or RUN:STEP of this workspace."""


class EmbedConfig(ConfigPart):
    """How the corpus is encoded."""

    batch_size: PositiveInt = 256
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: the forward pass runs in mixed precision (autocast): several times as fast where the processor has
    16-bit matrix units; lengths are normalised in float32."""
    mirror: bool = False
    """An image's embedding is that of the image and of its mirror image together (their sum, of length one); takes
    twice as long."""
    dtype: Literal["float32", "float16"] = "float32"
    """What embeddings are stored as; mining computes from the stored values."""
