"""Names of metrics: as documents hold them, and as people read them."""

import re

import numpy as np

_LABELS = {"roc_auc": "ROC AUC", "eer": "EER"}


def far_name(far: float) -> str:
    """A false accept rate as part of a metric's name: 0.001 is ``1e-03``, 0.0015 is ``1.5e-03``."""
    return np.format_float_scientific(far, trim="-", exp_digits=2)


def val_name(far: float) -> str:
    """VAL at a false accept rate: at 0.001 it is ``val_at_far_1e-03``."""
    return f"val_at_far_{far_name(far)}"


def metric_label(metric: str) -> str:
    """A metric's name for people: ``recall_at_1`` is "recall@1", ``val_at_far_1e-03`` is "VAL at FAR 1e-3"."""
    if match := re.fullmatch(r"val_at_far_([\d.]+)(?:e([+-]\d+))?", metric):
        mantissa, exponent = match.groups()
        return f"VAL at FAR {mantissa}" + (f"e{int(exponent)}" if exponent else "")
    if match := re.fullmatch(r"(.+)_at_(\d+)", metric):
        return f"{match[1].replace('_', ' ')}@{match[2]}"
    return _LABELS.get(metric, metric.replace("_", " "))
