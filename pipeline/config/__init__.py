"""The configuration of a run: one frozen pydantic model, checked as a whole before anything starts.

Constraints live in ``Field``; rules that span several fields live in validators. Units are part of a name
(``timeout_s``). Only ``jobs/`` reads files, command lines and the environment.
"""

from pipeline.config.base import ConfigPart, Fraction, PositiveInt, Seed
from pipeline.config.corpus import CorpusConfig, GlyphsConfig, SourceConfig, TransformConfig
from pipeline.config.encoder import EmbedConfig, EncoderConfig
from pipeline.config.evaluation import (
    ClusteringConfig,
    EvaluationConfig,
    LfwConfig,
    RecognitionConfig,
    RetrievalConfig,
    RobustnessConfig,
)
from pipeline.config.harmonic import HarmonicConfig, OldEncoder
from pipeline.config.mining import AuditConfig, BandConfig, IndexConfig, MiningConfig, PositivesConfig
from pipeline.config.observe import ObserveConfig
from pipeline.config.retention import RetentionConfig
from pipeline.config.run import ClusterConfig, RunConfig
from pipeline.config.training import (
    AugmentConfig,
    BatchConfig,
    CurriculumStage,
    LossConfig,
    OptimiserConfig,
    StalenessConfig,
    TrainingConfig,
)

__all__ = [
    "AuditConfig",
    "AugmentConfig",
    "BandConfig",
    "BatchConfig",
    "ClusterConfig",
    "ClusteringConfig",
    "ConfigPart",
    "CorpusConfig",
    "CurriculumStage",
    "EmbedConfig",
    "EncoderConfig",
    "EvaluationConfig",
    "Fraction",
    "GlyphsConfig",
    "HarmonicConfig",
    "IndexConfig",
    "LfwConfig",
    "LossConfig",
    "MiningConfig",
    "ObserveConfig",
    "OldEncoder",
    "OptimiserConfig",
    "PositiveInt",
    "PositivesConfig",
    "RecognitionConfig",
    "RetentionConfig",
    "RetrievalConfig",
    "RobustnessConfig",
    "RunConfig",
    "Seed",
    "SourceConfig",
    "StalenessConfig",
    "TrainingConfig",
    "TransformConfig",
]
