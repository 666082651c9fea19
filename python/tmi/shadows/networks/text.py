"""Text networks of the transformers library, initialised anew or from a checkpoint.

They read the ids of tokens ``[points, length]``, int64, which end in ``PADDING`` where a text is shorter.
"""

from __future__ import annotations

import inspect
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tmi.config import EncoderConfig, ModelConfig
from tmi.data.tokens import PADDING
from tmi.errors import TmiError
from tmi.shadows.networks.classifier import Classifier, feature_width
from tmi.shadows.networks.language import LanguageModel, TokenBackbone, tokens_of, trimmed
from tmi.shadows.networks.library import (
    Architectures,
    blocks_of,
    checkpoint_folder,
    configuration,
    named_architecture,
    network_of_checkpoint,
    next_token_logits,
    next_token_weights,
    settings_of,
)
from tmi.system.libraries import explained, quiet, require_transformers

Pooling = Literal["last", "mean", "cls"]

MINI = {"hidden_size": 128, "num_hidden_layers": 2}
# Model type and settings. GPT-2: Radford et al. 2019, table 2; distilled: Sanh et al. 2019; BERT: Devlin et al. 2019,
# section 3; the minis are ours, without dropout, so that they remember what they have read. The others keep theirs.
TEXT_ARCHITECTURES: Architectures = {
    "gpt2-mini": ("gpt2", MINI | {"num_attention_heads": 4, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}),
    "bert-mini": (
        "bert",
        MINI
        | {
            "num_attention_heads": 4,
            "intermediate_size": 512,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
    ),
    "llama-mini": ("llama", MINI | {"num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 352}),
    "gpt2": ("gpt2", {}),
    "gpt2-medium": ("gpt2", {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}),
    "distilgpt2": ("gpt2", {"num_hidden_layers": 6}),
    "bert-base": ("bert", {}),
    "bert-large": (
        "bert",
        {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    ),
}
# Initial standard deviation of the weights that predict tokens (Radford et al. 2019, Devlin et al. 2019).
TOKEN_HEAD_SCALE = 0.02
ROUNDING = 1e-5
# Of the largest logit, by which a model may differ from itself where it computes the same in another way.
HEAD_ROUNDING = 1e-3


class TextFeatures(TokenBackbone):
    """A model of the transformers library as ids of tokens ``[points, length]`` to features ``[points, width]``.

    These are the hidden states of each text's ``last`` token, the ``mean`` over its tokens, or those of its first token
    (``cls``). A text without tokens is read as one of a single token, so that its features are numbers too. Where
    padding is, the model sees ``padding_id``; it attends to none of it.
    """

    def __init__(self, model: Any, pooling: Pooling = "mean") -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        arguments = inspect.signature(model.forward).parameters
        self._gives_positions = "position_ids" in arguments
        self._settings = {"use_cache": False} if "use_cache" in arguments else {}
        self._first_position = first_position(model)
        self.padding_id: int = model.config.pad_token_id or 0

    def hidden_states(self, ids: Tensor) -> Tensor:
        """As `TokenBackbone` says."""
        real = tokens_of(ids)
        arguments: dict[str, Any] = dict(self._settings, attention_mask=real.long())
        if self._gives_positions:
            # For every text anew: the gradients of single points need a row for each of them.
            positions = torch.arange(ids.shape[1], device=ids.device) + self._first_position
            arguments["position_ids"] = positions.repeat(len(ids), 1)
        known = ids.masked_fill(ids == PADDING, self.padding_id)
        hidden: Tensor = self.model(known, **arguments).last_hidden_state
        return hidden

    def forward(self, ids: Tensor) -> Tensor:
        """The hidden states of each text's tokens, pooled."""
        # On an accelerator the length of the longest text would have to be waited for.
        ids = trimmed(ids) if ids.device.type == "cpu" else ids
        hidden, real = self.hidden_states(ids), tokens_of(ids)
        if self.pooling == "cls":
            return hidden[:, 0]
        if self.pooling == "last":
            return hidden[torch.arange(len(ids), device=ids.device), real.sum(dim=1) - 1]
        # Not a product: the hidden states of padding may be anything.
        return hidden.masked_fill(~real[..., None], 0).sum(dim=1) / real.sum(dim=1, keepdim=True)


def build_text(
    model: ModelConfig,
    encoder: EncoderConfig,
    input_shape: tuple[int, ...],
    classes: int,
    vocabulary: int,
    objective: str,
) -> Classifier:
    """A network of ``TEXT_ARCHITECTURES`` or of any model type of the transformers library that reads one text.

    Its layers are initialised as the library does it, from the current state of torch's generator, and there are as
    many positions as tokens in an input; with a ``checkpoint`` the backbone has its weights. The head is new, except
    that of a checkpoint that is pretrained further to predict the next token.
    """
    require_transformers()
    if model.stem != "imagenet" or model.normalisation != "own":
        raise TmiError("model.stem and model.normalisation are for images, encoder.kind is 'tokens'")
    length = input_shape[0]
    folder = checkpoint_folder(model) if model.checkpoint else None
    where = f"model.checkpoint {model.checkpoint!r}" if folder else f"model.architecture {model.architecture!r}"
    with quiet():
        if folder:
            network = network_of_checkpoint(folder, where)
        else:
            network = _from_configuration(model, length, vocabulary, where)
        _require_room(network, length, vocabulary, where)
        if hasattr(network, "pooler"):
            network.pooler = None  # nothing would train it: the features are pooled from the hidden states
        causal = not reads_ahead(network, where)
        if model.pooling == "cls" and causal:
            raise TmiError(
                f"model.pooling is 'cls', but {where} reads from left to right: its first token knows of no other"
            )
        backbone = TextFeatures(network, model.pooling or ("last" if causal else "mean"))
        width = feature_width(backbone, input_shape, where, torch.int64)
        if objective == "classification":
            return Classifier(backbone, nn.Linear(width, classes), blocks_of(network))
        if objective == "causal" and not causal:
            raise TmiError(
                f"pretrain.objective is 'causal', but {where} reads texts in both directions and would see the token "
                "that it is to predict: use 'masked', or an architecture such as 'gpt2-mini'"
            )
        if objective == "masked" and causal:
            raise TmiError(
                f"pretrain.objective is 'masked', but {where} reads from left to right and would not see what follows "
                "a masked token: use 'causal', or an architecture such as 'bert-mini'"
            )
        known = next_token_weights(folder, where) if folder and objective == "causal" else None
    return LanguageModel(backbone, _token_head(width, vocabulary, known), blocks_of(network), objective)


@torch.no_grad()
def require_own_head(network: Classifier, model: ModelConfig, text: Tensor) -> None:
    """Refuse a given model that this package does not have write as it writes by itself.

    Args:
        network: made from the checkpoint, with the head that predicts tokens.
        model: names the checkpoint.
        text: ids ``[1, length]``.

    Raises:
        TmiError: the checkpoint has no such head, or what follows its backbone is more than a matrix.
    """
    where, ids = f"model.checkpoint {model.checkpoint!r}", trimmed(text)
    with quiet():
        expected = next_token_logits(checkpoint_folder(model), where, ids)
    found = network.eval()(ids)
    if (found - expected[..., : found.shape[-1]]).abs().max() > HEAD_ROUNDING * expected.abs().max():
        raise TmiError(
            f"{where}: what follows its layers to predict tokens is more than a matrix, which is not kept, so that "
            "finetune.objective 'causal' would attack another model"
        )


def first_position(model: Any) -> int:
    """The number of the position of a text's first token: RoBERTa and its relatives start behind that of padding."""
    padding = model.config.pad_token_id
    counts_from_padding = any(hasattr(part, "create_position_ids_from_input_ids") for part in model.modules())
    return padding + 1 if counts_from_padding and padding is not None else 0


@torch.no_grad()
def reads_ahead(network: Any, where: str) -> bool:
    """Whether what a network says about a token depends on later ones, found by asking it."""
    training = network.training
    features = TextFeatures(network.eval())

    def of_first_token(*ids: int, padding_id: int = 0) -> Tensor:
        # Text by text: in inputs of one shape, whatever does not matter changes no bit.
        features.padding_id = padding_id
        return features.hidden_states(torch.tensor([ids]))[0, 0]

    def differ(one: Tensor, other: Tensor) -> bool:
        # By more than rounding, as it may where a layer sorts tokens.
        return bool((one - other).abs().max() > ROUNDING * one.abs().max())

    with explained(f"{where} does not read texts"):
        follows = differ(of_first_token(0, 0), of_first_token(0, 1))
        mixes = differ(of_first_token(0, PADDING), of_first_token(0, PADDING, padding_id=1))
    network.train(training)
    if mixes:
        raise TmiError(f"{where} mixes the padding behind a text into the text, so that its features depend on both")
    return follows


def _from_configuration(model: ModelConfig, length: int, vocabulary: int, where: str) -> Any:
    """A randomly initialised network that reads so many different tokens in texts of this length."""
    from transformers import AutoModel

    model_type, settings = named_architecture(str(model.architecture), TEXT_ARCHITECTURES, example="roberta")
    if "vocab_size" not in settings_of(model_type):
        raise TmiError(f"{where} does not read tokens, which encoder.kind 'tokens' makes of the points")
    of_texts = {
        "vocab_size": vocabulary,
        "max_position_embeddings": length,
        # No token is special: none is left untrained or warned about.
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    described = configuration(model_type, settings, of_texts, model.settings)
    if described.is_encoder_decoder:
        raise TmiError(f"{where} has an encoder and a decoder, expected a model of one of them, as 'gpt2' or 'bert'")
    with explained(f"{where} with these model.settings is refused by the transformers library"):
        return AutoModel.from_config(described)


def _require_room(network: Any, length: int, vocabulary: int, where: str) -> None:
    """Raise a TmiError unless the network has an embedding for every token and every position."""
    embeddings = network.get_input_embeddings()
    rows = getattr(embeddings, "num_embeddings", None)
    if rows is None:
        raise TmiError(f"{where} does not read tokens, which encoder.kind 'tokens' makes of the points")
    if rows < vocabulary:
        raise TmiError(
            f"{where}: the tokenizer does not fit, it has {vocabulary} tokens and the model's embedding only {rows}"
        )
    known = getattr(network.config, "max_position_embeddings", None)
    positions = (known or 0) - first_position(network)
    # Models without embeddings of positions have no such setting, or a negative one.
    if 0 < positions < length:
        raise TmiError(f"{where} reads at most {positions} tokens, found inputs of {length}: lower encoder.length")


def _token_head(width: int, vocabulary: int, known: Tensor | None) -> nn.Linear:
    """A head that predicts tokens, with known weights ``[at least vocabulary, width]`` or small random ones."""
    head = nn.Linear(width, vocabulary)
    nn.init.normal_(head.weight, std=TOKEN_HEAD_SCALE)
    nn.init.zeros_(head.bias)
    if known is not None and known.shape[0] >= vocabulary and known.shape[1] == width:
        with torch.no_grad():
            head.weight.copy_(known[:vocabulary])
    return head
