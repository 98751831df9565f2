"""Which triplets of a batch count, and their mean loss.

Distances are squared L2 between unit vectors (FaceNet §3.1), in [0, 4].
"""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.config import BandConfig, LossConfig
from pipeline.config.training import Selection
from pipeline.training.losses import loss_function

_ROWS_AT_ONCE = 4096  # positive pairs whose negatives are looked at together: bounds memory, not results


@dataclass(frozen=True)
class BatchLoss:
    """The loss of a batch.

    Attributes:
        loss: Scalar, with gradient.
        num_triplets: Triplets that counted.
        num_active: Those with d_ap - d_an + margin > 0.
    """

    loss: Tensor
    num_triplets: int
    num_active: int


@dataclass(frozen=True)
class Objective:
    """What a run minimises.

    Attributes:
        loss: Loss of a triplet.
        band: For the selection "positive_aware".
    """

    loss: LossConfig
    band: BandConfig

    def __call__(
        self,
        embeddings_BD: Tensor,
        labels_B: Tensor,
        selection: Selection,
        listed_T3: Tensor | None = None,
        old_BD: Tensor | None = None,
    ) -> BatchLoss:
        """Mean loss over the selected triplets whose loss is not zero.

        The mean leaves out zeros so that the many easy triplets of a large batch do not drown the rest (Hermans et al.
        2017, arXiv 1703.07737, §2, "batch all, non-zero mean").

        With old vectors, it is FaceNet's harmonic triplet loss (appendix): the triplets are those of all 2B vectors,
        but for the ones of old vectors alone, which could move nothing. An example's new and old vector are a positive
        pair; that ties the two spaces together.

        Args:
            embeddings_BD: Unit vectors, shape (B, D).
            labels_B: Label codes, shape (B,).
            selection: See ``select``; not used where triplets are listed.
            listed_T3: (anchor, positive, negative) rows of the batch, int64, shape (T, 3): these alone count; with old
                vectors, in all seven mixtures of old and new.
            old_BD: Unit vectors of the same examples by an older encoder, constants, shape (B, D).

        Returns:
            Loss and counts. A batch without any triplet has loss 0 (with a gradient of zeros).
        """
        num_new = len(labels_B)
        if old_BD is not None:
            embeddings_BD, labels_B = torch.cat([embeddings_BD, old_BD]), labels_B.repeat(2)
            listed_T3 = None if listed_T3 is None else mixtures(listed_T3, num_new)
        distances_BB = squared_distances(embeddings_BD)
        if listed_T3 is None:
            with torch.no_grad():
                listed_T3 = select(distances_BB, labels_B, selection, self.loss.margin, self.band, num_new)
        anchor_T, positive_T, negative_T = listed_T3.unbind(dim=1)
        d_ap_T, d_an_T = distances_BB[anchor_T, positive_T], distances_BB[anchor_T, negative_T]
        loss_T = loss_function(self.loss.name)(d_ap_T, d_an_T, self.loss)
        num_counted = int((loss_T != 0).sum())
        num_active = int((d_ap_T - d_an_T + self.loss.margin > 0).sum())
        return BatchLoss(loss_T.sum() / max(num_counted, 1), len(listed_T3), num_active)


def mixtures(listed_T3: Tensor, num_new: int) -> Tensor:
    """Triplets of B examples, with each member by its new vector (its row) or its old one (row + B), but not all old.

    Shape (7 T, 3).
    """
    shifts = list(itertools.product((0, num_new), repeat=3))[:-1]
    return (listed_T3 + listed_T3.new_tensor(shifts)[:, None]).reshape(-1, 3)


def select(
    distances_BB: Tensor,
    labels_B: Tensor,
    selection: Selection,
    margin: float,
    band: BandConfig,
    num_new: int | None = None,
) -> Tensor:
    """The triplets of a batch that count.

    Args:
        distances_BB: Squared distances, shape (B, B).
        labels_B: Label codes, shape (B,).
        selection: "semi_hard": every positive pair with its nearest negative farther than the positive (FaceNet
            §3.2's online choice); "hard": with its nearest negative (its argmin); "positive_aware": with its nearest
            negative beyond ratio · d_ap + offset (the guard against false negatives, NV-Retriever, arXiv 2407.15831);
            "band": every triplet with d_ap < d_an < d_ap + margin; "all": every valid triplet.
        margin: For "band".
        band: For "positive_aware".
        num_new: Rows from this one on are constants; triplets of constants alone do not count. None: there are none.

    Returns:
        Rows (anchor, positive, negative), int64, shape (T, 3).
    """
    same_BB = labels_B[:, None] == labels_B[None, :]
    itself_BB = torch.eye(len(labels_B), dtype=torch.bool, device=labels_B.device)
    pair_P2 = torch.nonzero(same_BB & ~itself_BB)
    ratio, offset = (band.ratio, band.offset) if selection == "positive_aware" else (1.0, 0.0)
    found = [pair_P2.new_empty(0, 3)]
    for pair_p2 in torch.split(pair_P2, _ROWS_AT_ONCE):
        anchor_p = pair_p2[:, 0]
        d_ap_p1 = distances_BB[anchor_p, pair_p2[:, 1]][:, None]
        d_an_pB = distances_BB[anchor_p]
        wanted_pB = ~same_BB[anchor_p]
        if num_new is not None and num_new < len(labels_B):
            wanted_pB[(pair_p2 >= num_new).all(dim=1), num_new:] = False
        if selection in ("semi_hard", "positive_aware", "band"):
            wanted_pB &= d_an_pB > ratio * d_ap_p1 + offset
        if selection == "band":
            wanted_pB &= d_an_pB < d_ap_p1 + margin
        if selection in ("band", "all"):
            row_T, negative_T = torch.nonzero(wanted_pB).unbind(dim=1)
        else:
            nearest_p, negative_p = d_an_pB.masked_fill(~wanted_pB, torch.inf).min(dim=1)
            row_T = torch.nonzero(torch.isfinite(nearest_p))[:, 0]
            negative_T = negative_p[row_T]
        found.append(torch.cat([pair_p2[row_T], negative_T[:, None]], dim=1))
    return torch.cat(found)


def squared_distances(embeddings_BD: Tensor) -> Tensor:
    """All squared distances of unit vectors, clamped at 0 against rounding; shape (B, B)."""
    return (2.0 - 2.0 * embeddings_BD @ embeddings_BD.T).clamp_min(0.0)
