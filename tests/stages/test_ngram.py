"""Stage [ngram] from a recipe to a folder that writes, is measured and compared; and the family that it begins."""

import json
from pathlib import Path

import pytest
from commands import done, refused, tiny_project

from plutao.evaluate.family import losses_by_context, rows_of
from plutao.evaluate.family_words import NAMES, STORY, WORDS
from plutao.evaluate.orders import WORDS as ORDER_WORDS
from plutao.files import read_json
from plutao.models.language import load_language_model
from plutao.project import open_project
from plutao.stages import family


def project_of(root: Path, *lines: str, kind: str = "bpe") -> Path:
    """The tiny project with an [ngram] section and without a base model."""
    tiny_project(root)
    recipe = (root / "plutao.toml").read_text(encoding="utf-8").partition("[base]")[0]
    recipe = recipe.replace("[tokenizer]", f'[tokenizer]\nkind = "{kind}"')
    (root / "plutao.toml").write_text("\n".join([recipe, "[ngram]", *lines]), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = project_of(tmp_path_factory.mktemp("stage") / "tiny", "order = 3", "sample_tokens = 12")
    done("run", root)
    return root


def test_a_run_of_ngrams_is_written_with_measured_and_compared(run: Path) -> None:
    card = read_json(run / "runs/current/ngram/stage.json")
    assert card["order"] == 3 and card["parameters"] > 0 and card["tokens"] > 1000
    assert len(card["ngrams"]) == 3 and card["ngrams"] == card["ngrams_seen"]
    measured = json.loads(done("eval", run, "--json").out)
    assert measured["bits_per_byte"] == pytest.approx(card["validation"]["bits_per_byte"])
    assert measured["bits_per_byte"] < 4, "far less than the eight bits of knowing nothing"
    first = done("complete", run, "--prompt", "the sun", "--seed", 3, "--max-tokens", 8).out
    assert first == done("complete", run, "--prompt", "the sun", "--seed", 3, "--max-tokens", 8).out and len(first) > 4
    compared = json.loads(done("compare", "tiny-1", "tiny-1:ngram", "--project", run, "--json").out)
    assert compared["pairs"][0]["difference"]["value"] == 0


def test_what_is_done_is_not_done_again(run: Path) -> None:
    assert "done already" in done("run", run).err


def test_orders_are_measured_and_write(run: Path) -> None:
    found = read_json(run / "runs/current/ngram/orders.json")
    orders = found["orders"]
    assert [one["order"] for one in orders] == [1, 2, 3]
    assert orders[0]["bits_per_byte"] > orders[1]["bits_per_byte"], "one token of context helps"
    assert [one["possible"] for one in orders] == pytest.approx([found["vocabulary"] ** n for n in (1, 2, 3)])
    assert orders[0]["unseen"] <= orders[1]["unseen"] <= orders[2]["unseen"], "the curse of dimensionality"
    assert all(len(one["texts"]) == 2 and one["texts"][0] for one in orders)
    page = (run / "runs/current/ngram/orders.html").read_text(encoding="utf-8")
    assert "The curse of dimensionality" in page and "http-equiv" in page


def test_an_arpa_file_goes_out_and_comes_in(run: Path, tmp_path: Path) -> None:
    proof = json.loads(done("export", run, "--to", "arpa", "--json").out)
    assert proof["largest_difference"] < 1e-5
    other = project_of(tmp_path / "other", f'arpa = "{proof["file"]}"')
    (other / "plutao.toml").write_text(
        (other / "plutao.toml")
        .read_text(encoding="utf-8")
        .replace("vocabulary = 300", f'path = "{run}/runs/current/ngram"'),
        encoding="utf-8",
    )
    done("run", other)
    theirs, ours = (json.loads(done("eval", place, "--json").out)["bits_per_byte"] for place in (run, other))
    assert theirs == pytest.approx(ours, rel=1e-5)


def test_characters_and_words_are_counted_too(tmp_path: Path) -> None:
    project_of(tmp_path / "letters", "order = 6", kind="char")
    done("run", tmp_path / "letters")
    assert read_json(tmp_path / "letters/runs/current/ngram/stage.json")["validation"]["bits_per_byte"] < 3
    root = project_of(tmp_path / "words", "order = 2", kind="word")
    (root / "data/sources/more.txt").write_text(" ".join(f"w{n % 90}" for n in range(4000)), encoding="utf-8")
    done("run", root, "--set", "tokenizer.vocabulary=64")
    measured = read_json(root / "runs/current/ngram/stage.json")["validation"]
    assert "not_comparable" in measured and measured["perplexity"] > 1


def test_pruning_and_limits_are_settings(tmp_path: Path) -> None:
    root = project_of(tmp_path / "pruned", "order = 3", "prune = [0, 0, 1]", "tokens = 4000")
    done("run", root)
    card = read_json(root / "runs/current/ngram/stage.json")
    assert card["tokens"] == pytest.approx(4000, abs=2)
    assert card["ngrams"][2] < card["ngrams_seen"][2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("prune = [1]", "must begin with 0"),
        ("prune = [0, 2, 1]", "not go down"),
        ("order = 0", "ngram.order"),
        ('arpa = "nowhere.arpa"', "nowhere.arpa is not there"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(tmp_path: Path, line: str, message: str) -> None:
    assert message in refused("run", project_of(tmp_path / "odd", line))
    assert not (tmp_path / "odd" / "data" / "documents").exists()


# ---------------------------------------------------------------------------------------------------------------------
# The family


def test_an_ngram_model_is_seen_to_use_the_context_that_it_has(run: Path) -> None:
    project = open_project(run, run="tiny-1")
    rows = rows_of(project.shards(), 16, project.tokenizer().end_of_text, rows=64)
    assert rows.shape == (64, 17)
    losses = losses_by_context(load_language_model(run / "runs/current/ngram"), rows)
    assert [k for k, _ in losses] == [1, 2], "order 3 looks back on two tokens"
    assert losses[1][1] < losses[0][1]


def test_the_family_meets_on_one_text(tmp_path: Path) -> None:
    root = tiny_project(tmp_path / "tiny")
    small = (
        '\n[recurrent]\nwidth = 16\nhidden = 16\nbatch = 4\ncompile = "off"\nprecision = "fp32"\n[ngram]\norder = 3\n'
    )
    (root / "plutao.toml").write_text((root / "plutao.toml").read_text(encoding="utf-8") + small, encoding="utf-8")
    members = ("ngram", "mlp", "gru", "decoder")
    asked = ("compare", "--family", root, "--members", ",".join(members), "--time", "1s")
    found = json.loads(done(*asked, "--json").out)
    assert [one["name"] for one in found["members"]] == list(members)
    for one in found["members"]:
        assert one["parameters"] > 0 and one["bytes"] > 0 and one["written_per_second"] > 0
        assert 0 < one["share_used"] <= 1 and one["losses"][-1][0] == one["shown"]
        folder = root / "runs" / one["folder"].replace(":", "/")
        assert read_json(folder / "stage.json")["validation"]["bits_per_byte"] == one["bits_per_byte"]
    assert read_json(root / "runs/family/family.json") == found
    page = (root / "runs/family/family.html").read_text(encoding="utf-8")
    assert all(
        title in page for title in ("Side by side", "How much context each really uses", "What each step bought")
    )
    again = done(*asked)
    assert again.err.count("kept from before") == len(members)
    assert "Transformer" in again.out and "n-grams" in again.out
    assert done("complete", root, "--run", "family/gru", "--prompt", "the", "--max-tokens", 4).out


def test_strange_members_are_refused(tmp_path: Path) -> None:
    assert "no member 'elmo'" in refused("compare", "--family", tiny_project(tmp_path / "tiny"), "--members", "elmo")


def test_the_pages_say_the_same_in_both_languages() -> None:
    for words in (WORDS, NAMES, STORY, ORDER_WORDS):
        assert set(words["en"]) == set(words["pt"])
    assert set(NAMES["en"]) == set(STORY["en"]) == set(family.STAGE_OF)
