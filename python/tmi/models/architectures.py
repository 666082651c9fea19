"""Image networks of the transformers library, initialised anew or from a checkpoint on disk.

An architecture is a configuration: of a model type of the library, with the size and channels of the images at hand.
Nothing is downloaded.
"""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tmi.config import EncoderConfig, ModelConfig
from tmi.errors import TmiError, did_you_mean
from tmi.models.checks import explained, feature_width, image_shape
from tmi.models.classifier import Classifier
from tmi.models.normalisation import use_group_normalisation
from tmi.models.pixels import Pixels

# Model type and settings. Residual networks: He et al. 2016, table 1; ViT-Ti: Touvron et al. 2021, table 1; ConvNeXt-A:
# Woo et al. 2023, appendix A, ConvNeXt-T: Liu et al. 2022, section 3.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet-18": (
        "resnet",
        {"layer_type": "basic", "depths": [2, 2, 2, 2], "embedding_size": 64, "hidden_sizes": [64, 128, 256, 512]},
    ),
    "resnet-34": (
        "resnet",
        {"layer_type": "basic", "depths": [3, 4, 6, 3], "embedding_size": 64, "hidden_sizes": [64, 128, 256, 512]},
    ),
    "resnet-50": (
        "resnet",
        {
            "layer_type": "bottleneck",
            "depths": [3, 4, 6, 3],
            "embedding_size": 64,
            "hidden_sizes": [256, 512, 1024, 2048],
        },
    ),
    "vit-tiny": (
        "vit",
        {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768},
    ),
    "convnext-atto": ("convnext", {"depths": [2, 2, 6, 2], "hidden_sizes": [40, 80, 160, 320]}),
    "convnext-tiny": ("convnext", {"depths": [3, 3, 9, 3], "hidden_sizes": [96, 192, 384, 768]}),
}

# Where model types of several stages keep their blocks: names of modules, * for each of their children in turn.
BLOCKS = {
    "resnet": "encoder.stages.*.layers.*",
    "convnext": "encoder.stages.*.layers.*",
    "swin": "encoder.layers.*.blocks.*",
}
SMALL_STEMS = ("resnet", "convnext", "vit")
# ConvNeXt halves its feature maps three times behind the stem: smaller images than this keep their resolution in it.
SMALL_IMAGE = 32
# ViT with the small stem cuts an image into about 8 × 8 patches.
PATCHES_PER_SIDE = 8


class PooledFeatures(nn.Module):
    """A model of the transformers library as images ``[points, channels, height, width]`` to ``[points, width]``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._has_class_token = any(name.endswith("cls_token") for name, _ in model.named_parameters())

    def forward(self, images: Tensor) -> Tensor:
        """The pooled output; of a model without one the class token, else the mean over tokens or places."""
        outputs = self.model(images)
        pooled: Tensor | None = getattr(outputs, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        last: Tensor = outputs.last_hidden_state
        if last.ndim == 3:
            return last[:, 0] if self._has_class_token else last.mean(dim=1)
        return last.mean(dim=(2, 3))


def build_transformers(
    model: ModelConfig, encoder: EncoderConfig, input_shape: tuple[int, ...], classes: int
) -> Classifier:
    """A network of ``ARCHITECTURES`` or of any model type of the transformers library that reads images.

    Its layers are initialised as the library does it, from the current state of torch's generator; with a
    ``checkpoint`` the backbone has its weights. The head is new.

    Raises:
        TmiError: transformers is missing, there is no such architecture, setting or checkpoint, or the network does
            not read images of this size.
    """
    _require_transformers()
    shape = image_shape(input_shape, model.kind)
    with _quiet():
        network, where = _from_checkpoint(model) if model.checkpoint else _from_configuration(model, shape)
        if model.normalisation == "group":
            use_group_normalisation(network)
        pixels = Pixels(input_shape, encoder, channel_axis=True)
        backbone = nn.Sequential(OrderedDict(pixels=pixels, network=PooledFeatures(network)))
        width = feature_width(backbone, input_shape, where)
    return Classifier(backbone, nn.Linear(width, classes), _blocks_of(network))


def _from_configuration(model: ModelConfig, shape: tuple[int, int, int]) -> tuple[Any, str]:
    """A randomly initialised network and what error messages call it."""
    from transformers import AutoModel

    where = f"model.architecture {model.architecture!r}"
    model_type, settings = _architecture(str(model.architecture))
    if model.stem == "small":
        settings |= _small_stem_settings(model_type, shape, where)
    configuration = _configuration(model_type, settings, model.settings, shape)
    with explained(f"{where} with these model.settings is refused by the transformers library"):
        network = AutoModel.from_config(configuration)
    if model.stem == "small" and model_type == "resnet":
        _give_small_stem(network)
    if model.stem == "imagenet" and model_type in SMALL_STEMS:
        where += " with model.stem 'imagenet' ('small' is for images of few pixels)"
    return network, where


def _architecture(name: str) -> tuple[str, dict[str, Any]]:
    """Model type and settings."""
    from transformers import CONFIG_MAPPING

    if name in ARCHITECTURES:
        model_type, settings = ARCHITECTURES[name]
        return model_type, dict(settings)
    if name not in CONFIG_MAPPING:
        raise TmiError(
            f"model.architecture is {name!r}, which tmi does not know{did_you_mean(name, list(ARCHITECTURES))} "
            "and which is no model type of the transformers library, such as 'swin'"
        )
    return name, {}


def _configuration(
    model_type: str, settings: dict[str, Any], changes: dict[str, Any], shape: tuple[int, int, int]
) -> Any:
    """The library's configuration for images of this shape, the user's changes last."""
    from transformers import AutoConfig, PretrainedConfig

    # What every configuration has is bookkeeping, not architecture.
    known = AutoConfig.for_model(model_type).to_dict().keys() - PretrainedConfig().to_dict().keys() - {"model_type"}
    for key in changes:
        if key not in known:
            raise TmiError(f"model.settings: {model_type} has no setting {key!r}{did_you_mean(key, sorted(known))}")
    channels, height, width = shape
    size = height if height == width else [height, width]
    of_images = {key: value for key, value in (("num_channels", channels), ("image_size", size)) if key in known}
    with explained(f"model.settings are refused by the transformers library's {model_type}"):
        return AutoConfig.for_model(model_type, **(settings | of_images | changes))


def _small_stem_settings(model_type: str, shape: tuple[int, int, int], where: str) -> dict[str, Any]:
    _, height, width = shape
    if model_type == "resnet":
        return {}
    if model_type == "convnext":
        return {"patch_size": 1 if min(height, width) < SMALL_IMAGE else 2}
    if model_type == "vit":
        largest = math.ceil(min(height, width) / PATCHES_PER_SIDE)
        return {"patch_size": max(size for size in range(1, largest + 1) if height % size == width % size == 0)}
    raise TmiError(f"model.stem is 'small', which {where} does not have, only {', '.join(SMALL_STEMS)}")


def _give_small_stem(resnet: Any) -> None:
    """A 3×3 convolution of stride 1 without pooling, as He et al. 2016, section 4.2, use for images of 32×32."""
    embedder = resnet.embedder
    large: nn.Conv2d = embedder.embedder.convolution
    small = nn.Conv2d(large.in_channels, large.out_channels, kernel_size=3, stride=1, padding=1, bias=False)
    # As transformers initialises the convolutions of a ResNet.
    nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")
    embedder.embedder.convolution = small
    embedder.pooler = nn.Identity()


def _from_checkpoint(model: ModelConfig) -> tuple[Any, str]:
    """A network with the weights of a directory or of the local Hugging Face cache, and what messages call it."""
    from transformers import AutoModel

    where = f"model.checkpoint {model.checkpoint!r}"
    for key, default in (("architecture", None), ("settings", {}), ("stem", "imagenet")):
        if getattr(model, key) != default:
            raise TmiError(
                f"model.{key} is given besides model.checkpoint, which decides the architecture: leave it out"
            )
    folder = _checkpoint_folder(str(model.checkpoint), where)
    with explained(f"{where}: {folder} has no weights that can be read, expected config.json and model.safetensors"):
        network, report = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    missing = sorted(report["missing_keys"])
    if missing and all(name.startswith("pooler.") for name in missing):
        # Checkpoints of classifiers have no pooler: without one, the features are what their head read.
        network.pooler = None
    elif missing:
        raise TmiError(f"{where}: {folder} lacks the weights {missing[0]!r} of {type(network).__name__}")
    return network, where


def _checkpoint_folder(name: str, where: str) -> Path:
    """The directory itself, or where the local Hugging Face cache has a model of the hub."""
    from huggingface_hub import snapshot_download

    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except Exception:
        raise TmiError(
            f"{where}: there is no such directory, and the local Hugging Face cache has no such model; if it is one of "
            f"the hub, `hf download {name}` fetches it"
        ) from None


def _blocks_of(network: Any) -> list[nn.Module]:
    """The blocks of a model, by the table; of another model type the entries of its largest list of modules."""
    pattern = BLOCKS.get(network.config.model_type)
    if pattern is not None:
        return _children_at(network, pattern.split("."))
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        return [child for child in network.children() if any(True for _ in child.parameters())]
    sizes = [sum(parameter.numel() for parameter in module.parameters()) for module in lists]
    return list(lists[sizes.index(max(sizes))])


def _children_at(module: nn.Module, path: list[str]) -> list[nn.Module]:
    if not path:
        return [module]
    children = list(module.children()) if path[0] == "*" else [module.get_submodule(path[0])]
    return [block for child in children for block in _children_at(child, path[1:])]


def _require_transformers() -> None:
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise TmiError("model.kind 'transformers' needs the transformers library: `pip install transformers`") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bars, load reports and warnings: whatever matters here is raised."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
