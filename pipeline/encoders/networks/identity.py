"""The encoder of corpora that hold vectors already."""

from torch import Tensor, nn

from pipeline.errors import InputError


class Identity(nn.Module):
    """Passes vectors through; only the L2 normalisation around it changes them."""

    def __init__(self, in_channels: int, embedding_dim: int, height: int, width: int) -> None:
        """Takes the keywords of every registered network; ``embedding_dim`` is the length of the corpus' vectors."""
        super().__init__()
        self.embedding_dim = embedding_dim

    def forward(self, vectors: Tensor) -> Tensor:
        """Returns the (B, D) vectors as they are.

        Raises:
            InputError: The input is not a batch of vectors of length D.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.embedding_dim:
            raise InputError(
                f"encoder 'identity' takes vectors of length embedding_dim = {self.embedding_dim}, but a batch has "
                f"the shape {tuple(vectors.shape)}: set encoder.embedding_dim to the length of the corpus' "
                "vectors, or choose a network if the corpus holds images"
            )
        return vectors
