"""The triplet loss on squared L2 distances of unit vectors (FaceNet §3.1), over the triplets of a batch."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Selection = Literal["all", "band", "semi_hard", "listed"]


@dataclass(frozen=True)
class BatchLoss:
    """The loss of a batch.

    Attributes:
        loss: Scalar, with gradient.
        num_triplets: Valid triplets that were looked at.
        num_active: Those with a loss above zero.
    """

    loss: Tensor
    num_triplets: int
    num_active: int

    @property
    def active_share(self) -> float:
        """Share of the triplets that still teach something, in [0, 1]."""
        return self.num_active / max(self.num_triplets, 1)


def triplet_loss(
    embeddings_BD: Tensor,
    labels_B: Tensor,
    margin: float,
    selection: Selection,
    listed_T3: Tensor | None = None,
) -> BatchLoss:
    """Mean hinge [d_ap - d_an + margin]+ over the active triplets of a batch.

    The mean is over active triplets only, so that the many easy ones of a large batch do not drown the rest
    (Hermans et al. 2017, arXiv 1703.07737, §2, "batch all, non-zero mean").

    Args:
        embeddings_BD: Unit vectors, shape (B, D).
        labels_B: Label codes, shape (B,).
        margin: FaceNet's alpha, on squared distances.
        selection: "semi_hard": every positive pair with its nearest negative farther than the positive (FaceNet
            §3.2's online choice); "band": every triplet whose negative is farther than the positive (beyond
            d_ap + margin its loss is zero); "all": every valid triplet; "listed": those of ``listed_T3``.
        listed_T3: (anchor, positive, negative) rows of the batch, int64, shape (T, 3).

    Returns:
        Loss and counts. A batch without any triplet has loss 0 (with a gradient of zeros).
    """
    distances_BB = _squared_distances(embeddings_BD)
    if selection == "listed":
        if listed_T3 is None:
            raise ValueError("selection 'listed' needs listed_T3")
        anchor, positive, negative = listed_T3.unbind(dim=1)
        hinge = distances_BB[anchor, positive] - distances_BB[anchor, negative] + margin
        return _mean_active(hinge, hinge.numel())
    same_BB = labels_B[:, None] == labels_B[None, :]
    pair = torch.nonzero(same_BB & ~torch.eye(len(labels_B), dtype=torch.bool, device=labels_B.device))
    d_ap_P = distances_BB[pair[:, 0], pair[:, 1]]
    negative_PB = ~same_BB[pair[:, 0]]
    d_an_PB = distances_BB[pair[:, 0]]
    if selection == "semi_hard":
        farther_PB = negative_PB & (d_an_PB > d_ap_P[:, None])
        d_an_P = torch.where(farther_PB, d_an_PB, torch.inf).amin(dim=1)
        hinge = (d_ap_P - d_an_P + margin)[torch.isfinite(d_an_P)]
        return _mean_active(hinge, hinge.numel())
    hinge_PB = d_ap_P[:, None] - d_an_PB + margin
    if selection == "band":
        negative_PB = negative_PB & (d_an_PB > d_ap_P[:, None])
    return _mean_active(hinge_PB.masked_fill(~negative_PB, 0.0), int(negative_PB.sum()))


def _squared_distances(embeddings_BD: Tensor) -> Tensor:
    """All squared distances of unit vectors, clamped at 0 against rounding; shape (B, B)."""
    return (2.0 - 2.0 * embeddings_BD @ embeddings_BD.T).clamp_min(0.0)


def _mean_active(hinge: Tensor, num_triplets: int) -> BatchLoss:
    loss = hinge.clamp_min(0.0)
    num_active = int((loss > 0).sum())
    return BatchLoss(loss.sum() / max(num_active, 1), num_triplets, num_active)
