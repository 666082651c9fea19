"""Shadow models that are networks of the configuration, trained by this package."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tmi.config import Config
from tmi.data.tokens import BEGINNING, PADDING
from tmi.errors import TmiError
from tmi.shadows.makers.maker import Made, ShadowMaker, Step
from tmi.shadows.networks import (
    Classifier,
    Likelihoods,
    answers_in_windows,
    answers_of,
    apply_transfer,
    changed_weights,
    check_private,
    checkpoint_folder,
    consecutive,
    load_changed,
    load_weights,
    point_mixing_layer,
    require_own_head,
    token_targets,
    weights_of,
)
from tmi.shadows.training.data import Masking, TrainingSet
from tmi.shadows.training.loop import train
from tmi.shadows.training.measure import logits_of, measured, named_if_diverged
from tmi.shadows.training.private import train_privately
from tmi.shadows.training.state import Checkpoints
from tmi.system.devices import on_one_thread, own_device
from tmi.system.files import content_key
from tmi.system.seeding import torch_seed
from tmi.system.worker import samples_trained

# Points on which operations are counted: texts differ in length.
COUNTED = 8


def groups(config: Config, step: str) -> list[range]:
    """Consecutive models that are trained and queried together: only where it helps.

    Small networks and heads are faster side by side anywhere, others on an accelerator.
    """
    alone = step == "pretrain" or (step == "finetune" and config.finetune.transfer != "head")
    helps = not alone or config.model.kind == "mlp" or not config.compute.device.startswith("cpu")
    # As many texts of each model need not be as many windows.
    uneven = step == "pretrain" and config.encoder.stride is not None
    size = config.compute.models_at_once if helps and not uneven else 1
    return [range(start, min(start + size, config.models)) for start in range(0, config.models, size)]


class OwnNetworks(ShadowMaker):
    """Networks that are pretrained from scratch or further from a checkpoint, all by the same recipe."""

    def check(self) -> None:
        """Find out whether the points can be encoded and the network can be built and finetuned as configured."""
        experiment, config = self.experiment, self.experiment.config
        tokenizer = experiment.tokenizer
        if config.pretrain.objective == "masked" and (tokenizer is None or tokenizer.mask_id is None):
            raise TmiError("pretrain.objective is 'masked', but the tokenizer has no mask token; expected one that has")
        queries = experiment.encode_queries(experiment.queries(experiment.task.challenges.take(np.arange(1))))
        if tokenizer is not None:
            # Texts that are too long are found now, not when the first model reads them.
            _ = experiment.pool_inputs, experiment.downstream_inputs
        if config.finetune.objective == "causal":
            self._check_texts()
        classifier = experiment.network(config.seed)
        self._apply_transfer(classifier, config.seed)
        if config.finetune.private is None:
            return
        if layer := point_mixing_layer(classifier):
            raise TmiError(
                f"finetune.private: the layer {layer!r} mixes the points of a batch, so that it cannot be trained "
                'privately; set model.normalisation to "group", or let finetune.transfer leave it frozen'
            )
        check_private(classifier, torch.from_numpy(queries), config.finetune.private.ghost_clipping)

    def _check_texts(self) -> None:
        """Find out whether a model that writes has something to write of every text."""
        experiment = self.experiment
        sides = {
            "the pool": (experiment.task.pool.raw, experiment.pool_inputs),
            "the downstream task": (experiment.task.downstream.raw, experiment.downstream_inputs),
        }
        for side, (texts, inputs) in sides.items():
            if (short := np.flatnonzero((inputs != PADDING).sum(axis=1) < 2)).size:
                raise TmiError(
                    f"point {short[0]} of {side} ({texts[short[0]]!r}) has a single token, which leaves nothing to "
                    f"predict ({short.size} of {len(texts)} points have); finetune.objective 'causal' expects texts of "
                    "two tokens or more"
                )
        texts, tokens = experiment.task.downstream.raw, (experiment.downstream_inputs != PADDING).sum(axis=1)
        if (gone := np.flatnonzero(experiment.responses >= tokens)).size:
            raise TmiError(
                f"point {gone[0]} of the downstream task ({texts[gone[0]][:BEGINNING]!r}...) has no token of its "
                f"response among its first {experiment.config.encoder.length}, which leaves nothing to predict "
                f"({gone.size} of {len(texts)} points have none): raise encoder.length"
            )
        # A variation may have more tokens than its text.
        _ = experiment.encoded_queries

    def groups(self, step: Step) -> list[range]:
        """See `groups`."""
        return groups(self.experiment.config, step)

    def prepare(self, step: Step) -> None:
        """Encode the points, or the queries."""
        experiment = self.experiment
        if step == "pretrain":
            _ = experiment.membership, experiment.pool_inputs
        else:
            _ = experiment.downstream_inputs if step == "finetune" else experiment.encoded_queries

    def samples(self, step: Step) -> int:
        """Samples of all epochs together."""
        config = self.experiment.config
        if step == "pretrain":
            return config.pretrain.epochs * int(self._windows()[self.experiment.membership[0]].sum())
        return config.finetune.epochs * len(self.experiment.finetuning_set(0)) if step == "finetune" else 0

    def operations(self, step: Step) -> float:
        """Two per multiplication of matrix products and convolutions, which are nearly all.

        Counted on a few points, forward and backward; what a private finetuning takes besides is left out.
        """
        experiment, config, task = self.experiment, self.experiment.config, self.experiment.task
        of_pool = step in ("pretrain", "query_pretrained")
        points = task.pool if of_pool else task.downstream
        some = np.unique(np.linspace(0, len(points) - 1, COUNTED).astype(np.int64))
        inputs, windows = torch.from_numpy(experiment.encode(points.raw[some], in_windows=of_pool)), 1.0
        if config.encoder.stride is not None:
            begin_at = config.encoder.stride if "query" in step else None
            inputs, windows = consecutive(inputs, config.encoder.length)[0], float(self._windows(begin_at).mean())
        classifier = experiment.network(config.seed).eval()
        if not of_pool:
            self._apply_transfer(classifier, config.seed)
        if step in ("query", "query_pretrained"):
            asked = len(task.challenge_points) + (len(task.reference_points) if step == "query" else 0)
            network = self._as_asked(classifier) if of_pool else classifier
            return asked * windows * config.query.count * _operations(network, inputs, train=False)
        # Accuracies are measured at the end.
        seen = len(points) * (windows if of_pool else 1) * _operations(classifier, inputs, train=False)
        if step == "finetune" and self._features_once:
            with torch.no_grad():
                features = classifier.backbone(inputs)
            return 2 * seen + self.samples(step) * _operations(classifier.head, features, train=True)
        return seen + self.samples(step) * _operations(classifier, inputs, train=True)

    def reads(self, step: Step, model: int) -> list[Path]:
        """A finetuned model is kept as what finetuning changed of the pretrained one."""
        return [*super().reads(step, model), *([self.pretrained(model)] if step == "query" else [])]

    def unfinished(self, step: Step, models: range) -> list[Path]:
        """The checkpoint of the training."""
        return [self.files.checkpoint(step, models.start)] if step in ("pretrain", "finetune") else []

    @on_one_thread
    def pretrain(self, models: range) -> None:
        """Write weights and accuracies of networks that are trained each on its half of the pool."""
        experiment, config = self.experiment, self.experiment.config
        membership = experiment.membership[models.start : models.stop]
        inputs = torch.from_numpy(experiment.pool_inputs).to(self._device)
        targets = torch.from_numpy(experiment.task.pool.labels).to(self._device)
        masking = None
        if config.encoder.stride is not None:
            inputs, texts = consecutive(inputs, config.encoder.length)
            membership = membership[:, texts.cpu().numpy()]
        if config.pretrain.objective != "classification":
            targets = token_targets(inputs, config.pretrain.objective)
        if config.pretrain.objective == "masked" and (mask := self._mask_id) is not None:
            masking = Masking(mask, config.pretrain.mask_fraction)
        members = torch.from_numpy(np.stack([np.flatnonzero(row) for row in membership])).to(self._device)

        networks = [
            experiment.network(torch_seed(config.seed, "initialisation", model)).to(self._device) for model in models
        ]
        seeds = [torch_seed(config.seed, "pretraining order", model) for model in models]
        checkpoints = self._checkpoints("pretrain", models)
        with named_if_diverged("pretrain", models):
            train(networks, TrainingSet(inputs, targets, members, masking=masking), config.pretrain, seeds, checkpoints)

        if masking is not None:
            inputs, targets = masking.every_so_many(inputs, targets)
        for model, network, row in zip(models, networks, membership, strict=True):
            facts = measured(network, inputs, targets, torch.from_numpy(row).to(self._device))
            self.files.save_tensors(self.pretrained(model), weights_of(network), self.keys["pretrain"], facts)
        checkpoints.remove()

    @on_one_thread
    def finetune(self, models: range) -> None:
        """Write what finetuning changed of pretrained networks, and their accuracies."""
        experiment, config = self.experiment, self.experiment.config
        inputs = torch.from_numpy(experiment.downstream_inputs).to(self._device)
        labels = torch.from_numpy(experiment.task.downstream.labels).to(self._device)
        if config.finetune.objective == "causal":
            labels = token_targets(inputs, "causal", torch.from_numpy(experiment.responses).to(self._device))
        subsets = torch.from_numpy(np.stack([experiment.finetuning_set(model) for model in models])).to(self._device)

        classifiers = [self.pretrained_network(model) for model in models]
        for model, classifier in zip(models, classifiers, strict=True):
            self._apply_transfer(classifier, torch_seed(config.seed, "adapters", model))
            classifier.to(self._device)
        checkpoints = self._checkpoints("finetune", models)
        seeds = [torch_seed(config.seed, "finetuning order", model) for model in models]
        promised = self._finetune(classifiers, TrainingSet(inputs, labels, subsets), seeds, models, checkpoints)

        for model, classifier, subset in zip(models, classifiers, subsets, strict=True):
            seen = torch.zeros(len(labels), dtype=torch.bool, device=self._device)
            seen[subset] = True
            facts = measured(classifier, inputs, labels, seen) | promised
            self.files.save_tensors(self.finetuned(model), changed_weights(classifier), self.keys["finetune"], facts)
        checkpoints.remove()

    def _finetune(
        self,
        classifiers: list[Classifier],
        data: TrainingSet,
        seeds: list[int],
        models: range,
        checkpoints: Checkpoints,
    ) -> dict[str, Any]:
        """Train what the transfer setting leaves trainable; what was promised about the finetuning points."""
        recipe = self.experiment.config.finetune
        networks: list[nn.Module] = list(classifiers)
        if self._features_once:
            features = torch.stack([logits_of(classifier.backbone, data.inputs) for classifier in classifiers])
            data = TrainingSet(features, data.labels, data.subsets, per_model=True)
            networks = [classifier.head for classifier in classifiers]
        if recipe.private is None:
            with named_if_diverged("finetune", models):
                train(networks, data, recipe, seeds, checkpoints)
            return {}
        for index, (network, seed) in enumerate(zip(networks, seeds, strict=True)):
            alone = data.of(slice(index, index + 1))
            guarantee = train_privately(network, alone, recipe, seed, samples_trained)
        # The same for all models: it depends on the recipe and on the number of points only.
        return {"private": {name: value for name, value in asdict(guarantee).items() if value != float("inf")}}

    @on_one_thread
    def query(self, models: range) -> None:
        """Write the logits of finetuned networks."""
        challenges, references = self.experiment.encoded_queries
        for model in models:
            network, key = self.finetuned_network(model), self.keys["query"]
            self.files.save_array(self.files.predictions(model), self._predictions(network, challenges), key)
            if references is not None:
                path = self.files.reference_predictions(model)
                self.files.save_array(path, self._predictions(network, references), key)

    @on_one_thread
    def query_pretrained(self, models: range) -> None:
        """Write the logits of pretrained networks under their own heads, or the likelihoods of language models."""
        key = self.keys["query_pretrained"]
        challenges, _ = self.experiment.encoded_queries
        for model in models:
            network = self._as_asked(self.pretrained_network(model))
            self.files.save_array(self.files.pretrained_predictions(model), self._predictions(network, challenges), key)

    def pretrained_network(self, model: int) -> Classifier:
        """A pretrained model with its own head, on this process's device, in evaluation mode."""
        classifier = self.experiment.network(seed=0)
        load_weights(classifier, self.files.load_tensors(self.pretrained(model)))
        return classifier.to(self._device).eval()

    def finetuned_network(self, model: int) -> Classifier:
        """A finetuned model: the pretrained one with what finetuning changed or added."""
        classifier = self.pretrained_network(model)
        self._apply_transfer(classifier, seed=0)
        load_changed(classifier, self.files.load_tensors(self.finetuned(model)))
        return classifier.to(self._device).eval()

    @property
    def _features_once(self) -> bool:
        """A frozen backbone always says the same about a point: it is queried once."""
        recipe = self.experiment.config.finetune
        is_pooled = recipe.objective == "classification"
        return recipe.transfer == "head" and is_pooled and not (recipe.flip or recipe.crop)

    def _windows(self, apart: int | None = None) -> NDArray[np.int64]:
        """In how many windows the models read each text of the pool, so many tokens apart or one behind the other."""
        experiment = self.experiment
        if experiment.config.encoder.stride is None:
            return np.ones(len(experiment.task.pool), dtype=np.int64)
        length = experiment.config.encoder.length
        more: NDArray[np.int64] = np.maximum((experiment.pool_inputs != PADDING).sum(axis=1) - length, 0)
        return 1 - (-more // (apart or length))

    def _as_asked(self, pretrained: Classifier) -> nn.Module:
        """A pretrained model as it is asked itself: one of language about its likelihoods, unless it is to write."""
        recipe = self.experiment.config.pretrain
        if recipe.objective == "classification" or self.experiment.config.finetune.objective == "causal":
            return pretrained
        return Likelihoods(pretrained, self._mask_id, recipe.mask_fraction)

    def _apply_transfer(self, classifier: Classifier, seed: int) -> None:
        classes = len(self.experiment.task.downstream.class_names)
        apply_transfer(classifier, self.experiment.config.finetune, classes, seed)

    def _checkpoints(self, step: Step, models: range) -> Checkpoints:
        key = content_key("checkpoint", self.keys[step], models.start, models.stop)
        path = self.files.checkpoint(step, models.start)
        return Checkpoints(self.files, path, key, self.experiment.config.compute.checkpoint_minutes)

    def _predictions(self, network: nn.Module, encoded: NDArray[Any]) -> NDArray[Any]:
        """Logits ``[points, augmentations, classes]`` of encoded queries, which come one after another.

        Of a model that writes, what it says about every token, ``[points, augmentations, tokens]`` of type ``TOKEN``.
        """
        inputs, config = torch.from_numpy(encoded).to(self._device), self.experiment.config
        if config.finetune.objective == "causal":
            assert isinstance(network, Classifier)
            longest, encoder = self.experiment.longest_query, config.encoder
            if encoder.stride is None:
                answers = answers_of(network, inputs, longest)
            else:
                answers = answers_in_windows(network, inputs, longest, encoder.length, encoder.stride)
        else:
            answers = logits_of(network, inputs).float().cpu().numpy()
        return answers.reshape(-1, config.query.count, answers.shape[-1])

    @property
    def _mask_id(self) -> int | None:
        tokenizer = self.experiment.tokenizer
        return tokenizer and tokenizer.mask_id

    @property
    def _device(self) -> torch.device:
        return own_device(self.experiment.config.compute.device)


def _operations(network: nn.Module, inputs: torch.Tensor, *, train: bool) -> float:
    """Of a pass forward, and backward if it trains, per point."""
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(train):
        outputs = network(inputs)
        if train:
            outputs.float().sum().backward()
    return float(counter.get_total_flops()) / len(inputs)


class GivenCheckpoint(OwnNetworks):
    """Finetunings of one given checkpoint, some of whose training points are known.

    Nothing is pretrained: every pretrained model is the checkpoint itself, which is not copied into the run.
    """

    def check(self) -> None:
        """See `OwnNetworks.check`; a model that writes has to do so as its checkpoint does."""
        super().check()
        experiment, model = self.experiment, self.experiment.config.model
        if experiment.config.finetune.objective == "causal":
            experiment.require_same_tokens(checkpoint_folder(model), "model.checkpoint")
            text = torch.from_numpy(experiment.pool_inputs[:1, : experiment.config.encoder.length])
            require_own_head(experiment.network(seed=0), model, text)

    def groups(self, step: Step) -> list[range]:
        """Only finetuned models are made and queried: the checkpoint has no head that knows the classes of the pool."""
        return super().groups(step) if step in ("finetune", "query") else []

    def reads(self, step: Step, model: int) -> list[Path]:
        """Of the run, only what finetuning left."""
        return [path for path in super().reads(step, model) if path != self.pretrained(model)]

    def pretrained_network(self, model: int) -> Classifier:
        """The checkpoint, on this process's device, in evaluation mode."""
        return self.experiment.network(seed=0).to(self._device).eval()

    def describe(self) -> Made:
        """What is known about the finetuned models, and which checkpoint they were made from."""
        return replace(super().describe(), given=self.experiment.config.model.checkpoint)
