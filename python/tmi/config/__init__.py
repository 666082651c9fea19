"""The configuration of a run: its tables, and how they are read."""

from tmi.config.attacking import AttackConfig, AttackedConfig, ComputeConfig, EvaluationConfig
from tmi.config.data import DownstreamConfig, EncoderConfig, PoolConfig, QueryConfig, SourceConfig
from tmi.config.reading import (
    attacked_config,
    differences,
    load_any_config,
    load_config,
    parse_value,
    preset_description,
    preset_names,
    preset_text,
    saved_config,
    validate,
    variant_of,
    with_values,
    without_shadows_config,
)
from tmi.config.recipe import RecipeConfig
from tmi.config.saved import SavedConfig, SavedFiles, SavedFinetuning, TargetFiles, WithoutShadowsConfig
from tmi.config.tables import Config
from tmi.config.target import TargetConfig
from tmi.config.training import (
    FinetuneConfig,
    ModelConfig,
    PretrainConfig,
    PrivacyConfig,
    TrainingConfig,
    transfer_method,
)

__all__ = [
    "AttackConfig",
    "AttackedConfig",
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
    "RecipeConfig",
    "SavedConfig",
    "SavedFiles",
    "SavedFinetuning",
    "SourceConfig",
    "TargetConfig",
    "TargetFiles",
    "TrainingConfig",
    "WithoutShadowsConfig",
    "attacked_config",
    "differences",
    "load_any_config",
    "load_config",
    "parse_value",
    "preset_description",
    "preset_names",
    "preset_text",
    "saved_config",
    "transfer_method",
    "validate",
    "variant_of",
    "with_values",
    "without_shadows_config",
]
