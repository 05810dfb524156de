"""Fine-tuning, export and loading, on the tiny base model."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import pytest

from modeling.ml import artifact, base_model, distill, export
from modeling.ml.arguments import (
    Labelled,
    SoftLabels,
    TrainingArguments,
    TrainingError,
    TrainingInterrupted,
    Watch,
    silent,
)
from modeling.ml.artifact import ArtifactError, ArtifactSettings
from modeling.ml.calibration import fit_temperature
from modeling.ml.checkpoints import Checkpoints
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.encoder import knows_emoji
from modeling.ml.optimisation import bucketed_batches, learning_rate_factor, parameter_groups
from modeling.ml.training import _Trainer, fine_tune
from tests.conftest import LABELS, obvious_posts


def quick(base: Path, **changes: object) -> TrainingArguments:
    values = {"base_model": str(base), "max_length": 32, "batch_size": 16, "epochs": 1}
    return TrainingArguments(**{**values, **changes})  # type: ignore[arg-type]


def data() -> tuple[Labelled, Labelled]:
    texts, labels = obvious_posts()
    return Labelled(texts, labels), Labelled(texts[:60], labels[:60])


def test_the_tiny_model_learned_and_the_folder_is_complete(tiny_model: Path) -> None:
    names = {path.name for path in tiny_model.iterdir()}
    assert {"model.safetensors", "tokenizer.json", "model.onnx", "model.int8.onnx"} <= names
    texts, labels = obvious_posts()
    given = SentimentClassifier(tiny_model, "onnx", 1).predict_proba(texts).argmax(axis=1)
    assert float((given == np.array(labels)).mean()) > 0.95


def test_the_same_seed_gives_the_same_model(tiny_base: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        fine_tune(*data(), LABELS, quick(tiny_base), tmp_path / name)
    one, two = (base_model.sha256(tmp_path / name / "model.safetensors") for name in "ab")
    assert one == two


def test_progress_rises_to_the_whole(tiny_base: Path, tmp_path: Path) -> None:
    seen: list[float] = []
    arguments = quick(tiny_base, epochs=2, gradient_accumulation_steps=2)
    outcome = fine_tune(
        *data(), LABELS, arguments, tmp_path, lambda share, text: seen.append(share)
    )
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1)
    assert len(outcome.history) == 2


def test_word_vectors_stay_as_they_were_when_frozen(tiny_base: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    fine_tune(*data(), LABELS, quick(tiny_base), tmp_path)
    before = load_file(tiny_base / "model.safetensors")
    after = load_file(tmp_path / "model.safetensors")
    name = next(key for key in after if key.endswith("word_embeddings.weight"))
    original = next(key for key in before if key.endswith("word_embeddings.weight"))
    assert np.array_equal(after[name], before[original])


def test_one_sided_data_is_refused_with_the_missing_label(tiny_base: Path, tmp_path: Path) -> None:
    train = Labelled(["a", "b", "c", "d"], [0, 0, 1, 1])
    with pytest.raises(TrainingError, match="positive"):
        fine_tune(train, train, LABELS, quick(tiny_base), tmp_path)


def test_batches_cover_every_row_once() -> None:
    rows = [[0] * length for length in range(1, 101)]
    batches = bucketed_batches(rows, 8, random.Random(1))
    assert sorted(index for batch in batches for index in batch) == list(range(100))
    assert max(map(len, batches)) == 8


def test_temperature_softens_what_is_too_sure() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 400)
    logits = np.eye(3)[truth] * 2 + generator.normal(size=(400, 3))
    assert fit_temperature(logits * 5, truth) > 2
    assert fit_temperature(logits * 10, truth) == pytest.approx(
        fit_temperature(logits * 5, truth) * 2, rel=0.05
    )


def test_temperature_never_makes_surer() -> None:
    truth = np.array([0, 1, 2] * 50)
    assert fit_temperature(np.eye(3)[truth] * 0.1, truth) == pytest.approx(1, abs=0.01)


def test_the_offline_encoder_is_the_published_one() -> None:
    assert Path(base_model.resolve("")).is_dir()


def test_an_altered_encoder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_model, "OFFLINE_WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(base_model.BaseModelError, match="not the published model"):
        base_model.resolve("")


def test_without_the_offline_encoder_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base_model, "OFFLINE_PACKAGE", "gt_no_such_package")
    with pytest.raises(base_model.BaseModelError, match="make setup"):
        base_model.resolve("")


def test_another_base_model_is_left_to_transformers() -> None:
    assert base_model.resolve("distilbert-base-uncased") == "distilbert-base-uncased"


def test_the_backends_agree(tiny_model: Path) -> None:
    texts, _ = obvious_posts()
    torch_, onnx, int8 = (
        SentimentClassifier(tiny_model, name, 1).predict_proba(texts)
        for name in ("torch", "onnx", "onnx-int8")
    )
    assert np.abs(torch_ - onnx).max() < 1e-3
    assert float((onnx.argmax(1) == int8.argmax(1)).mean()) > 0.97


@pytest.mark.parametrize("name", ["tokenizer.json", "model.int8.onnx", "sentiment.json"])
def test_a_missing_file_is_named(tiny_model: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_model, folder)
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        SentimentClassifier(folder, "onnx-int8", 1)


def test_a_broken_graph_is_an_artifact_error(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_model, folder)
    (folder / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        SentimentClassifier(folder, "onnx", 1)


def test_an_unknown_backend_lists_the_known_ones(tiny_model: Path) -> None:
    with pytest.raises(ArtifactError, match="onnx-int8, onnx, torch"):
        SentimentClassifier(tiny_model, "abacus", 1)


def test_digests_catch_every_change(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_model, folder)
    expected = artifact.digests(folder)
    artifact.verify(folder, expected)
    settings = ArtifactSettings.read(folder)
    ArtifactSettings(**{**vars(settings), "temperature": 9.0}).write(folder)
    with pytest.raises(ArtifactError, match="sentiment.json"):
        artifact.verify(folder, expected)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"labels": ["a"]}', "not JSON"])
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "sentiment.json").write_text(content)
    with pytest.raises(ArtifactError, match="not a model's settings"):
        ArtifactSettings.read(tmp_path)


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    settings = ArtifactSettings(LABELS, 80, 1.25, True, "tiny")
    settings.write(tmp_path)
    assert ArtifactSettings.read(tmp_path) == settings


def test_a_graph_that_differs_from_the_weights_is_not_trusted(
    tiny_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = tmp_path / "copy"
    shutil.copytree(tiny_model, folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    model.classifier.bias.data += 1.0
    with pytest.raises(ArtifactError, match=r"differs from the model by 1\."):
        export._compare(folder, model)


@pytest.mark.parametrize("length", [1, 2, 31])
def test_the_exported_graph_takes_any_batch_and_length(tiny_model: Path, length: int) -> None:
    classifier = SentimentClassifier(tiny_model, "onnx-int8", 1)
    probabilities = classifier.probabilities([[7] * length, [7]] * 3)
    assert probabilities.shape == (6, 3)
    assert np.allclose(probabilities.sum(axis=1), 1)


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_padding_changes_no_judgement(tiny_model: Path, backend: str) -> None:
    classifier = SentimentClassifier(tiny_model, backend, 1)
    short, long = "the food awful today", "the song wonderful today " * 5
    together = classifier.predict_proba([short, long])
    alone = classifier.predict_proba([short])
    assert np.abs(together[0] - alone[0]).max() < 1e-4


def test_a_cut_text_keeps_its_beginning_and_its_last_special_token(
    classifier: SentimentClassifier,
) -> None:
    (long,) = classifier.encode(["the food " * 100])
    (short,) = classifier.encode(["the food"])
    assert long.truncated and not short.truncated
    assert len(long.ids) == classifier.settings.max_length
    assert long.ids[:2] == short.ids[:2] and long.ids[-1] == short.ids[-1]


@pytest.mark.parametrize("text", ["", " ", "\u200b", "\x00"])
def test_a_text_of_nothing_is_judged_too(classifier: SentimentClassifier, text: str) -> None:
    assert classifier.predict_proba([text]).sum() == pytest.approx(1)


def test_no_texts_have_no_probabilities(classifier: SentimentClassifier) -> None:
    assert classifier.predict_proba([]).shape == (0, 3)


@pytest.mark.parametrize("knows", [True, False])
def test_whether_an_encoder_knows_emoji_is_seen_in_its_vocabulary(
    tmp_path: Path, knows: bool
) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"[UNK]": 0, "a": 1} | ({"😂": 2} if knows else {})
    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]")),
        unk_token="[UNK]",
    )
    assert knows_emoji(words) is knows


def test_texts_without_a_label_each_are_refused() -> None:
    with pytest.raises(TrainingError, match="2 texts but 1 labels"):
        Labelled(["a", "b"], [0])


def test_a_base_model_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        fine_tune(*data(), LABELS, quick(tmp_path / "nowhere"), tmp_path)


def digest_of(folder: Path) -> str:
    return base_model.sha256(folder / "model.safetensors")


def with_dropout(base: Path, folder: Path) -> Path:
    """A copy of the base model that draws random numbers in training, as real ones do."""
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_training_stopped_again_and_again_gives_the_model_of_an_undisturbed_one(
    tiny_base: Path, tmp_path: Path
) -> None:
    base = with_dropout(tiny_base, tmp_path / "base")
    arguments = quick(base, epochs=2, gradient_accumulation_steps=2, learning_rate=3e-3)
    undisturbed = fine_tune(*data(), LABELS, arguments, tmp_path / "whole")
    steps, stops, epochs = 0, 0, []

    def every_fourth() -> bool:
        nonlocal steps
        steps += 1
        return steps % 4 == 0

    while True:
        watch = Watch(
            should_stop=every_fourth, on_epoch=lambda history: epochs.append(len(history))
        )
        try:
            outcome = fine_tune(
                *data(),
                LABELS,
                arguments,
                tmp_path / "parts",
                saved=Checkpoints(tmp_path / "saved"),
                watch=watch,
            )
            break
        except TrainingInterrupted:
            stops += 1
    assert stops == 3 and steps == 12  # no step was done twice
    assert outcome == undisturbed and epochs[-1] == 2
    assert digest_of(tmp_path / "parts") == digest_of(tmp_path / "whole")


def test_within_an_epoch_checkpoints_are_written_by_the_clock(
    tiny_base: Path, tmp_path: Path
) -> None:
    saved = Checkpoints(tmp_path / "saved", every_seconds=0)
    fine_tune(*data(), LABELS, quick(tiny_base), tmp_path / "out", saved=saved)
    (last,) = saved.folder.iterdir()
    # One after each of the 12 steps, one after the epoch; nothing that would be unpickled.
    assert last.name == "checkpoint-000013"
    assert {path.suffix for path in last.iterdir()} == {".safetensors", ".json"}


def test_a_checkpoint_of_other_data_or_a_broken_one_is_left_alone(
    tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved = Checkpoints(tmp_path / "saved")
    fine_tune(*data(), LABELS, quick(tiny_base), tmp_path / "a", saved=saved)
    fine_tune(*data(), LABELS, quick(tiny_base, seed=2), tmp_path / "b", saved=saved)
    assert "of other data or arguments" in caplog.text
    assert digest_of(tmp_path / "a") != digest_of(tmp_path / "b")
    (last,) = saved.folder.iterdir()
    (last / "model.safetensors").write_bytes(b"nonsense")
    fine_tune(*data(), LABELS, quick(tiny_base, seed=2), tmp_path / "c", saved=saved)
    assert "cannot be read" in caplog.text
    assert digest_of(tmp_path / "b") == digest_of(tmp_path / "c")


def test_a_disk_that_takes_no_checkpoint_does_not_end_the_training(
    tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "saved").write_text("a file where the folder should be")
    saved = Checkpoints(tmp_path / "saved")
    fine_tune(*data(), LABELS, quick(tiny_base), tmp_path / "out", saved=saved)
    assert "no checkpoint could be written" in caplog.text


def test_a_disk_that_was_full_when_the_best_epoch_ended_costs_no_weights(
    tiny_base: Path, tmp_path: Path
) -> None:
    arguments = quick(tiny_base, epochs=3, learning_rate=3e-3)
    undisturbed = fine_tune(*data(), LABELS, arguments, tmp_path / "whole")
    assert undisturbed.best_epoch == 1
    saved = Checkpoints(tmp_path / "saved")
    (tmp_path / "full").write_text("nothing can be written here")
    steps = 0

    def on_loss(loss: float) -> None:
        nonlocal steps
        steps += 1
        # The last step of the second of three epochs, of 12 steps each.
        saved.folder = tmp_path / ("full" if steps == 24 else "saved")

    watch = Watch(on_loss=on_loss, should_stop=lambda: steps == 30)
    with pytest.raises(TrainingInterrupted):
        fine_tune(*data(), LABELS, arguments, tmp_path / "out", saved=saved, watch=watch)
    outcome = fine_tune(*data(), LABELS, arguments, tmp_path / "out", saved=saved)
    assert outcome == undisturbed
    assert digest_of(tmp_path / "out") == digest_of(tmp_path / "whole")


ENCODERS = ("distilbert", "roberta", "xlm-roberta")


def make_encoder(kind: str, folder: Path) -> Path:
    """An untrained encoder of another family, with its own kind of tokenizer: WordPiece, bytes,
    pieces of words with their spaces. Only BERT's takes token types."""
    import torch
    import transformers
    from tokenizers import (
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )

    texts, _ = obvious_posts()
    known = sorted({word for text in texts for word in text.split()})
    words = {"unk_token": "<unk>", "pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>"}
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    if kind == "roberta":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=600, special_tokens=special, initial_alphabet=alphabet
        )
        tokenizer.train_from_iterator(texts, trainer)
    elif kind == "xlm-roberta":
        # Their trainers number pieces by chance: each run would test another model.
        pieces = [(piece, 0.0) for piece in special] + [(f"▁{word}", -5.0) for word in known]
        pieces += [(letter, -10.0) for letter in "▁" + ascii_lowercase]
        tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        vocabulary = {word: number for number, word in enumerate([*special, *known])}
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **words).save_pretrained(
        folder
    )
    size = tokenizer.get_vocab_size()
    torch.manual_seed(1)
    if kind == "distilbert":
        config = transformers.DistilBertConfig(
            vocab_size=size,
            dim=32,
            n_layers=2,
            n_heads=2,
            hidden_dim=64,
            max_position_embeddings=24,
            pad_token_id=1,
            dropout=0.0,
            attention_dropout=0.0,
            initializer_range=0.2,
        )
        transformers.DistilBertModel(config).save_pretrained(folder)
        return folder
    config_class, model_class = {
        "roberta": (transformers.RobertaConfig, transformers.RobertaModel),
        "xlm-roberta": (transformers.XLMRobertaConfig, transformers.XLMRobertaModel),
    }[kind]
    config = config_class(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        # Two of them are kept free, as in the real ones.
        max_position_embeddings=26,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.2,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    model_class(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ENCODERS)
def test_encoders_of_every_family_are_trained_exported_and_served(
    kind: str, tmp_path: Path
) -> None:
    base = make_encoder(kind, tmp_path / "base")
    arguments = quick(
        base,
        epochs=5,
        patience=0,
        learning_rate=3e-3,
        freeze_embeddings=False,
        layer_decay=0.9,
        schedule="cosine",
        max_length=80,
    )
    fine_tune(*data(), LABELS, arguments, tmp_path / "out")
    export.export_onnx(tmp_path / "out")
    texts, labels = obvious_posts()
    onnx, int8, torch_ = (
        SentimentClassifier(tmp_path / "out", name, 1) for name in ("onnx", "onnx-int8", "torch")
    )
    # Longer than it has positions: cut at what the model can read.
    assert onnx.settings.max_length == 24
    texts[-1] = "the city thanks today " * 40
    probabilities = onnx.predict_proba(texts)
    assert float((probabilities.argmax(1) == np.array(labels)).mean()) > 0.9
    assert np.abs(torch_.predict_proba(texts) - probabilities).max() < 1e-3
    assert float((int8.predict_proba(texts).argmax(1) == probabilities.argmax(1)).mean()) > 0.95


def test_lower_layers_learn_more_slowly_and_frozen_ones_not_at_all(tiny_base: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_base, num_labels=3)
    groups = parameter_groups(model, weight_decay=0.01, layer_decay=0.5, freeze_embeddings=False)
    assert sorted({group["scale"] for group in groups}) == [0.125, 0.25, 0.5, 1.0]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    frozen = parameter_groups(model, weight_decay=0.01, layer_decay=0.5, freeze_embeddings=True)
    assert sorted({group["scale"] for group in frozen}) == [0.25, 0.5, 1.0]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_learning_rate_rises_and_falls(schedule: str) -> None:
    rates = [learning_rate_factor(step, 100, warmup=0.1, schedule=schedule) for step in range(100)]
    assert rates[:10] == sorted(rates[:10]) and rates[9] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True) and 0 < rates[-1] < 0.02


def test_training_ends_when_it_gets_no_better(tiny_base: Path, tmp_path: Path) -> None:
    arguments = quick(tiny_base, epochs=30, learning_rate=3e-3, patience=2)
    outcome = fine_tune(*data(), LABELS, arguments, tmp_path)
    assert len(outcome.history) == outcome.best_epoch + 3 < 30


@pytest.mark.parametrize(
    "values",
    [{"schedule": "zigzag"}, {"epochs": 0}, {"warmup": 1.5}, {"distillation_temperature": 0}],
)
def test_wrong_arguments_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(TrainingError, match=next(iter(values))):
        TrainingArguments(**values)  # type: ignore[arg-type]


def cpu_refuses() -> None:
    import torch

    torch.empty(1 << 60, dtype=torch.uint8)


def cuda_refuses() -> None:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def trained(
    base: Path, batch_size: int, most: int, refuse: Callable[[], None], said: list[str]
) -> _Trainer:
    """An epoch on a memory that has room for `most` texts at once."""

    def room(module: object, args: object, inputs: dict[str, Any]) -> None:
        if len(inputs["input_ids"]) > most:
            refuse()

    arguments = quick(base, batch_size=batch_size, learning_rate=3e-3)
    trainer = _Trainer(
        *data(), LABELS, arguments, lambda share, message: said.append(message), None
    )
    trainer.dtype, trainer.saved, trainer.watch = None, None, Watch()
    trainer.model.register_forward_pre_hook(room, with_kwargs=True)
    trainer.run()
    return trainer


@pytest.mark.parametrize("refuse", [cpu_refuses, cuda_refuses])
def test_out_of_memory_halves_the_batch_and_learns_the_same(
    tiny_base: Path, refuse: Callable[[], None]
) -> None:
    import torch

    said: list[str] = []
    whole = trained(tiny_base, 64, 64, refuse, [])
    halved = trained(tiny_base, 64, 40, refuse, said)
    assert said[0] == "out of memory: batch halved to 32, gradient accumulation 1 → 2"
    assert said[-1].startswith("epoch 1/1, loss")
    assert (halved.batch_size, halved.evaluation_batch) == (32, 32)
    expected = whole.model.state_dict()
    for name, weights in halved.model.state_dict().items():
        assert torch.allclose(weights, expected[name], atol=1e-3), name


def test_a_memory_without_room_for_one_text_ends_the_training(tiny_base: Path) -> None:
    with pytest.raises(TrainingError, match="with one text at a time: lower MAX_LENGTH"):
        trained(tiny_base, 2, 0, cpu_refuses, [])


def test_a_batch_in_pieces_has_the_same_gradient(tiny_base: Path) -> None:
    import torch

    train, validation = data()
    trainer = _Trainer(train, validation, LABELS, quick(tiny_base), silent, None)
    trainer.dtype = None
    gradients = []
    for trainer.batch_size in (64, 7):
        loss = trainer._gradients([list(range(40)), list(range(100, 140))])
        named = [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None]
        gradients.append((loss, named))
        trainer.optimizer.zero_grad()
    (whole, expected), (pieces, actual) = gradients
    assert pieces == pytest.approx(whole, rel=1e-4)
    assert all(torch.allclose(a, e, atol=1e-5) for a, e in zip(actual, expected, strict=True))


def test_a_student_learns_from_a_teacher_what_no_label_shows(
    tiny_model: Path, tiny_base: Path, tmp_path: Path
) -> None:
    train, validation = data()
    said: list[str] = []
    # Labels of the first words of each kind alone; the others are the teacher's to explain.
    shown = [index for index in range(len(train)) if index % 6 < 2]
    hidden = [index for index in range(len(train)) if index % 6 >= 2]
    few = Labelled([train.texts[i] for i in shown], [train.labels[i] for i in shown])
    texts = [train.texts[i] for i in hidden]
    logits = distill.opinions(distill.load(tiny_model), [*few.texts, *texts], LABELS, said.append)
    assert said[-1] == "the teacher has judged 180 of 180 texts"
    soft = SoftLabels(logits[: len(few)], texts, logits[len(few) :])
    arguments = quick(tiny_base, epochs=8, learning_rate=3e-3)
    fine_tune(few, validation, LABELS, arguments, tmp_path, soft_labels=soft)
    given = SentimentClassifier(tmp_path, "torch", 1).predict_proba(texts).argmax(axis=1)
    assert float((given == np.array([train.labels[i] for i in hidden])).mean()) > 0.95


def test_a_teacher_of_transformers_is_asked_in_our_order_or_refused(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "teacher"
    shutil.copytree(tiny_model, folder)
    (folder / artifact.SETTINGS_FILE).unlink()
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"0": "Negative", "1": "Neutral", "2": "Positive"}
    (folder / "config.json").write_text(json.dumps(config))
    texts, labels = obvious_posts()
    order = ("positive", "negative", "neutral")
    logits = distill.opinions(distill.load(str(folder)), texts, order, lambda words: None)
    given = np.array([LABELS.index(order[i]) for i in logits.argmax(axis=1)])
    assert float((given == np.array(labels)).mean()) > 0.95
    ours = distill.opinions(distill.load(tiny_model), texts, LABELS, lambda words: None)
    assert np.array_equal(given, ours.argmax(axis=1))
    with pytest.raises(TrainingError, match="labels are negative, neutral, positive, not a, b"):
        distill.opinions(distill.load(str(folder)), texts, ("a", "b"), lambda words: None)
