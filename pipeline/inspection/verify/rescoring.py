"""Scores a sample of a generation's triplets again, under other weights than it was mined from."""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import RunConfig
from pipeline.corpus.cache import ExampleCache
from pipeline.embeddings.encode import encode
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints, config_of, load_encoder
from pipeline.errors import InputError
from pipeline.inspection.generation import OpenGeneration
from pipeline.inspection.sampling import sample_triplets
from pipeline.mining.staleness import Staleness, score_again
from pipeline.progress import log


def score_under_checkpoint(generation: OpenGeneration, config: RunConfig, step: int, num: int) -> dict[str, Any]:
    """Scores a sample of the triplets, by seed, under a checkpoint of the run.

    Args:
        generation: The generation.
        config: Seeds the sample, and says how to encode; encoder and preprocessing are the checkpoint's own.
        step: The checkpoint.
        num: At most so many triplets.

    Returns:
        ``num_triplets``; the shares ``listed_active_share`` (loss above 0 at the band's margin) and
        ``listed_in_band_share``; the mean changes ``d_ap_drift`` and ``d_an_drift`` since they were mined. None
        where there are no triplets.

    Raises:
        InputError: The triplets were mined from vectors of two encoders, or the checkpoint's network is unavailable.
        CorruptDataError: Something stored is not what was published.
    """
    manifest = generation.manifest
    if manifest.old_share > 0.0:
        raise InputError(
            f"--against: generation {manifest.number} stands with vectors of an old encoder for a share of "
            f"{manifest.old_share:g} of its examples, so one checkpoint cannot score it; its trainers' own figures are "
            "in the summary without --against"
        )
    checkpoint = checkpoints(generation.workspace).read(step)
    sample = sample_triplets(generation.reader, num, config.seed)
    log(f"scoring {len(sample):,} triplets again under checkpoint {step}")
    anchor, positive, negative = (sample[name].to_numpy() for name in ("anchor", "positive", "negative"))
    embed = functools.partial(_embed, generation, config, checkpoint)
    d_ap, d_an = score_again(anchor, positive, negative, embed)
    band = manifest.mining.band
    staleness = Staleness.of(d_ap, d_an, band, band.margin)
    figures: dict[str, float] = staleness.metrics()
    for name, now in (("d_ap", d_ap), ("d_an", d_an)):
        figures[f"{name}_drift"] = float(np.mean(now - sample[name].to_numpy())) if len(sample) else 0.0
    return {
        "step": step,
        "num_triplets": staleness.num_triplets,
        **{name: value if len(sample) else None for name, value in figures.items()},
    }


def _embed(
    generation: OpenGeneration, config: RunConfig, checkpoint: CheckpointManifest, ids: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Embeds examples as the miner does, on the CPU."""
    config = config_of(checkpoint, config)
    dataset = checkpoints(generation.workspace)
    encoder = load_encoder(dataset, checkpoint, config.encoder, config.transform, "cpu")
    load = ExampleCache.of(generation.corpus, config.cluster).loader(config.transform)
    return encode(encoder, ids.tolist(), load, config.embed, "cpu")
