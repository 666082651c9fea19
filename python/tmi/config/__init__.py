"""The configuration of a run: its tables, and how they are read."""

from tmi.config.data import DownstreamConfig, EncoderConfig, PoolConfig, QueryConfig, SourceConfig
from tmi.config.reading import (
    differences,
    load_config,
    parse_value,
    preset_description,
    preset_names,
    preset_text,
    validate,
    variant_of,
)
from tmi.config.tables import AttackConfig, ComputeConfig, Config, EvaluationConfig
from tmi.config.training import FinetuneConfig, ModelConfig, PretrainConfig, PrivacyConfig, TrainingConfig

__all__ = [
    "AttackConfig",
    "ComputeConfig",
    "Config",
    "DownstreamConfig",
    "EncoderConfig",
    "EvaluationConfig",
    "FinetuneConfig",
    "ModelConfig",
    "PoolConfig",
    "PretrainConfig",
    "PrivacyConfig",
    "QueryConfig",
    "SourceConfig",
    "TrainingConfig",
    "differences",
    "load_config",
    "parse_value",
    "preset_description",
    "preset_names",
    "preset_text",
    "validate",
    "variant_of",
]
