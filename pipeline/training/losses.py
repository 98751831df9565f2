"""The loss of one triplet as a function of its two squared distances: what is summed, not which triplets.

For unit vectors the similarity ⟨x, y⟩ is 1 - d / 2.
"""

import importlib
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from pipeline.config import LossConfig
from pipeline.errors import InputError

TripletLoss = Callable[[Tensor, Tensor, LossConfig], Tensor]


def hinge(d_ap_T: Tensor, d_an_T: Tensor, config: LossConfig) -> Tensor:
    """[d_ap - d_an + margin]+ (FaceNet §3.1); shape (T,)."""
    return (d_ap_T - d_an_T + config.margin).clamp_min(0.0)


def soft_margin(d_ap_T: Tensor, d_an_T: Tensor, config: LossConfig) -> Tensor:
    """ln(1 + exp(d_ap - d_an)): never quite zero (Hermans et al. 2017, arXiv 1703.07737, §2); shape (T,)."""
    return F.softplus(d_ap_T - d_an_T)


def selectively_contrastive(d_ap_T: Tensor, d_an_T: Tensor, config: LossConfig) -> Tensor:
    """Contrastive for hard negatives, a softmax over the two similarities otherwise (Xuan et al. 2020).

    "Hard negative examples are hard, but useful" (arXiv 2007.12749, §3): pulling the positive of a triplet whose
    negative is nearer moves all three together, and training collapses; so there only the negative is pushed away,
    by λ times its similarity. Shape (T,).
    """
    hard_T = d_an_T < d_ap_T
    pushed_T = config.hard_weight * (1.0 - d_an_T / 2.0)
    told_apart_T = F.softplus((d_ap_T - d_an_T) / (2.0 * config.temperature))
    return pushed_T.where(hard_T, told_apart_T)


LOSSES: dict[str, TripletLoss] = {
    "hinge": hinge,
    "soft_margin": soft_margin,
    "selectively_contrastive": selectively_contrastive,
}


def loss_function(name: str) -> TripletLoss:
    """A built-in loss, or the function at an import path ``package.module:function``.

    A function of one's own is called as ``function(d_ap_T, d_an_T, config)`` with float32 tensors of shape (T,) and
    the LossConfig, and returns a tensor of that shape.

    Raises:
        InputError: There is no such loss.
    """
    if name in LOSSES:
        return LOSSES[name]
    module_name, _, function_name = name.partition(":")
    if not function_name:
        raise InputError(
            f"training.loss.name {name!r} is not known: use one of {', '.join(LOSSES)}, or an import path "
            "package.module:function of a function (d_ap, d_an, config) -> losses"
        )
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # the last two: no absolute module name
        raise InputError(
            f"training.loss.name {name!r} cannot be imported ({error}): install its package on every machine of the "
            "cluster, or put it on PYTHONPATH"
        ) from error
    if not callable(function):
        raise InputError(f"training.loss.name {name!r} is a {type(function).__name__}: name a function")
    found: TripletLoss = function
    return found
