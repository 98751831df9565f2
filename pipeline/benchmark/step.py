"""Times a few training steps on a real corpus, for a plan."""

import tempfile

import numpy as np

from pipeline.benchmark.examples import Examples
from pipeline.benchmark.machine import threads
from pipeline.benchmark.train_lap import Product
from pipeline.config import RunConfig
from pipeline.corpus.cache import ExampleCache
from pipeline.corpus.reader import Corpus

_STEPS = 5


def measure_step(config: RunConfig, corpus: Corpus) -> float | None:
    """Seconds of a step of the whole batch by one worker on this machine; None where there is nothing to train.

    The batches are of random labels: they cost what neighbourhoods cost, and need no generation.

    Raises:
        InputError: Training fails with these settings.
    """
    if config.encoder.name == "identity" or corpus.payload.is_derived:
        return None
    online = config.training.model_copy(update={"source": "online", "curriculum": ()})
    config = config.model_copy(update={"training": online})
    with tempfile.TemporaryDirectory(prefix="motherlode-plan-") as folder, threads(online.threads_per_worker):
        examples = Examples(config, corpus, ExampleCache(corpus, folder), np.empty(0, dtype=np.float32))
        product = Product(examples, None, _STEPS, online.decode_workers, decoded=False)
        return product.lap().step_s
