"""BERT's encoder: what it promises a caller, and that transformers computes the same from the same folder."""

from pathlib import Path

import pytest
import torch

from plutao.errors import UserError
from plutao.files import read_json, write_json
from plutao.models.encoder import EncoderConfig, MaskedModel, SequenceModel, SpanModel, take_over
from plutao.models.interop.bert import load_bert, load_labels, save_bert

CONFIG = EncoderConfig(vocabulary=90, context=24, layers=3, width=32, heads=4, hidden=64, dropout=0.0)
TOKENS = torch.randint(5, 90, (3, 20), generator=torch.Generator().manual_seed(1))
PRESENT = torch.arange(20) < torch.tensor([[20], [13], [7]])
SEGMENTS = (torch.arange(20) >= 6).long().expand(3, -1) * PRESENT


def lively(model: torch.nn.Module) -> torch.nn.Module:
    """Random weights everywhere, so that no part can hide behind a zero."""
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        parameter.data.normal_(0.0, 0.3, generator=generator)
    return model.eval()


@pytest.mark.parametrize(
    ("theirs", "model", "attribute"),
    [
        ("BertForMaskedLM", MaskedModel(CONFIG), "logits"),
        ("BertForPreTraining", MaskedModel(CONFIG, next_sentence=True), "prediction_logits"),
        ("BertForSequenceClassification", SequenceModel(CONFIG, 3), "logits"),
        ("BertForSequenceClassification", SequenceModel(CONFIG, 1), "logits"),
        ("BertForQuestionAnswering", SpanModel(CONFIG), "start_logits"),
    ],
)
def test_transformers_computes_the_same_from_our_folder(
    theirs: str, model: torch.nn.Module, attribute: str, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    save_bert(lively(model), tmp_path, pad=1)  # type: ignore[arg-type]
    other = getattr(transformers, theirs).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        ours = model(TOKENS, PRESENT, SEGMENTS)
        expected = other(TOKENS, attention_mask=PRESENT.long(), token_type_ids=SEGMENTS)
    ours = ours[..., 0] if theirs == "BertForQuestionAnswering" else ours
    mine, wanted = (
        (ours, expected[attribute])
        if ours.ndim == 2 and ours.shape[0] == 3 and ours.shape[1] != 20
        else (ours[PRESENT], expected[attribute][PRESENT])
    )
    assert (mine - wanted).abs().max() < 1e-4
    if theirs == "BertForPreTraining":
        with torch.no_grad():
            follows = model.follows(model.encoder(TOKENS, PRESENT, SEGMENTS))
        assert (follows - expected.seq_relationship_logits).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertForSequenceClassification", "BertForQuestionAnswering"])
def test_a_folder_of_transformers_becomes_our_model(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=90,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=24,
        num_labels=2 if name == "BertForQuestionAnswering" else 3,
    )
    theirs = getattr(transformers, name)(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = load_bert(tmp_path)
    with torch.no_grad():
        found = ours(TOKENS, PRESENT, SEGMENTS)
        expected = theirs(TOKENS, attention_mask=PRESENT.long(), token_type_ids=SEGMENTS)
    wanted = expected.logits if "logits" in expected else torch.stack([expected.start_logits, expected.end_logits], -1)
    if found.ndim == 3:
        found, wanted = found[PRESENT], wanted[PRESENT]
    assert (found - wanted).abs().max() < 1e-4


def test_a_model_comes_back_from_its_folder(tmp_path: Path) -> None:
    model = lively(SequenceModel(CONFIG, 2))
    save_bert(model, tmp_path, pad=1, labels=["não", "sim"])  # type: ignore[arg-type]
    again = load_bert(tmp_path)
    assert load_labels(tmp_path) == ["não", "sim"]
    assert isinstance(again, SequenceModel)
    assert again.config == CONFIG
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_names_of_files_converted_from_tensorflow_are_understood(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = lively(MaskedModel(CONFIG))
    save_bert(model, tmp_path, pad=1)  # type: ignore[arg-type]
    tensors = load_file(tmp_path / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }
    save_file(old, tmp_path / "model.safetensors")
    with torch.no_grad():
        assert torch.equal(load_bert(tmp_path)(TOKENS), model(TOKENS))


def test_filling_a_row_up_changes_nothing() -> None:
    model = lively(MaskedModel(CONFIG))
    alone = model(TOKENS[:1, :9])
    padded = torch.cat([TOKENS[:1, :9], torch.ones(1, 11, dtype=torch.long)], dim=1)
    there = torch.arange(20)[None] < 9
    assert torch.allclose(alone, model(padded, there)[:, :9], atol=1e-5)


def test_every_token_sees_both_sides() -> None:
    """Unlike the decoder: changing the last token changes what is said of the first."""
    model = lively(MaskedModel(CONFIG))
    changed = TOKENS.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 90
    assert (model(TOKENS)[:, 0] - model(changed)[:, 0]).abs().max() > 1e-4


def test_the_plain_attention_of_processors_with_bf16_sees_both_sides_too() -> None:
    model = lively(MaskedModel(CONFIG))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        low = model(TOKENS, PRESENT)
    assert torch.nn.functional.cosine_similarity(low[PRESENT].float(), model(TOKENS, PRESENT)[PRESENT]).min() > 0.99


def test_attention_that_is_looked_at_is_the_attention_that_is_used() -> None:
    model = lively(MaskedModel(CONFIG))
    seen = model.encoder.attention(TOKENS, PRESENT, SEGMENTS)
    assert len(seen) == CONFIG.layers
    assert all(torch.allclose(layer.sum(-1), torch.ones(3, 4, 20)) for layer in seen)
    assert all(layer[1, :, :, 13:].abs().max() == 0 for layer in seen)


def test_a_fresh_head_takes_the_pretrained_encoder_over() -> None:
    pretrained = lively(MaskedModel(CONFIG, next_sentence=True))
    model = SequenceModel(CONFIG, 2)
    take_over(model, pretrained)  # type: ignore[arg-type]
    assert torch.equal(model.encoder(TOKENS), pretrained.encoder(TOKENS))
    assert torch.equal(model.pooler.dense.weight, pretrained.pooler.dense.weight)


def test_what_can_not_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="5 heads"):
        EncoderConfig(vocabulary=9, context=8, layers=1, width=32, heads=5, hidden=8)
    save_bert(MaskedModel(CONFIG), tmp_path, pad=1)
    settings = read_json(tmp_path / "config.json")
    write_json(tmp_path / "config.json", settings | {"architectures": ["BertForMultipleChoice"]})
    with pytest.raises(UserError, match="BertForMultipleChoice"):
        load_bert(tmp_path)
    write_json(tmp_path / "config.json", settings | {"hidden_size": 64})
    with pytest.raises(UserError, match="not of the same model"):
        load_bert(tmp_path)
    write_json(tmp_path / "config.json", settings | {"position_embedding_type": "relative_key"})
    with pytest.raises(UserError, match="relative_key"):
        load_bert(tmp_path)
