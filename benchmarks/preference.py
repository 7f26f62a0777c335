"""Losses of preferences beside TRL's: the same model, the same tokens, its trainers' own loss functions.

The reward model's loss is compared on all pairs of four ranked answers, which TRL takes as six rows, and DPO's on pairs, with
a model that has left its reference. Ours packs several answers into a row, theirs pads. `pip install "trl>=1.16"` first;
`python benchmarks/preference.py` prints the losses and how far they are apart, `--json` for programs.
"""

import argparse
import json
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from plutao.data.panels import gathered
from plutao.data.ranking_batches import RankedAnswers, RankingBatch, encode_panels
from plutao.data.rankings import Ranking, by_prompt
from plutao.models.decoder import Decoder
from plutao.models.interop.huggingface import save_model
from plutao.models.presets import decoder_config
from plutao.models.reward import RewardModel, reward_token, save_reward
from plutao.text.chat import Message
from plutao.text.tokenizer import Tokenizer, train
from plutao.train.objectives_preference import answer_logprobs, direct_preference, ranking

TEXT = "the sun and pluto talk about ice and rings while a small moon of rock goes round in the dark"
CONTEXT, PROMPTS, BETA = 128, 8, 0.1
ALLOWED = 1e-5


def measure() -> dict[str, Any]:
    """Both losses on both sides, fp32 on the CPU."""
    torch.manual_seed(0)
    tokenizer = train("bpe", [f"{TEXT}\n"] * 5, 320)
    four, two = (elements(tokenizer, answers) for answers in (4, 2))
    with tempfile.TemporaryDirectory() as folder:
        rows = {
            "reward model, 4 answers a prompt": reward_losses(tokenizer, four, Path(folder) / "reward"),
            "DPO": dpo_losses(tokenizer, two, Path(folder) / "dpo"),
        }
    import trl

    for row in rows.values():
        row["difference"] = abs(row["plutao"] - row["trl"])
    return {"trl": trl.__version__, "torch": torch.__version__, "allowed": ALLOWED, "losses": rows}


def elements(tokenizer: Tokenizer, answers: int) -> list[RankedAnswers]:
    """Prompts of chance with so many ranked answers, without ties."""
    chance = random.Random(answers)
    some = []
    for number in range(PROMPTS):
        said = [
            " ".join(chance.choices(TEXT.split(), k=chance.randint(1, 12))) + f" {place}" for place in range(answers)
        ]
        ranks = tuple(chance.sample(range(1, answers + 1), answers))
        asked = (Message("user", f"{' '.join(chance.choices(TEXT.split(), k=4))} {number}?"),)
        some.append(Ranking(asked, tuple(said), ranks, str(number), "chance"))
    return [
        element for element in encode_panels(gathered(by_prompt(some)), tokenizer, CONTEXT)[0] if element is not None
    ]


def decoder(tokenizer: Tokenizer, seed: int) -> Decoder:
    """A small model whose every matrix is of chance: with zeros in it, a comparison would tell little."""
    config = decoder_config("plutao-1m", tokenizer.vocabulary_size, context=CONTEXT, layers=2, width=64, heads=2)
    model = Decoder(config)
    model.initialise(seed)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return model.eval()


def reward_losses(tokenizer: Tokenizer, some: list[RankedAnswers], folder: Path) -> dict[str, Any]:
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    model = RewardModel(decoder(tokenizer, 1), reward_token(tokenizer))
    nn.init.normal_(model.score.weight)
    folder.mkdir()
    save_reward(model, folder, tokenizer)
    ours, _ = ranking()(model, RankingBatch(some, CONTEXT))
    pairs = [
        {"chosen_ids": list(one.rows[better]), "rejected_ids": list(one.rows[worse])}
        for one in some
        for better, worse in one.pairs
    ]
    trainer = RewardTrainer(
        AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1),
        RewardConfig(
            str(folder / "trl"), use_cpu=True, bf16=False, report_to=[], max_length=None, disable_dropout=True
        ),
        train_dataset=Dataset.from_list(pairs),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    theirs = trainer.compute_loss(trainer.model.eval(), trainer.data_collator(pairs))
    return {"plutao": float(ours.detach()), "trl": float(theirs.detach())}


def dpo_losses(tokenizer: Tokenizer, some: list[RankedAnswers], folder: Path) -> dict[str, Any]:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    model, reference = decoder(tokenizer, 1), decoder(tokenizer, 2)
    for name, one in (("model", model), ("reference", reference)):
        (folder / name).mkdir(parents=True)
        save_model(one, folder / name, eos=tokenizer.end_of_text, pad=tokenizer.pad)
        tokenizer.save(folder / name)
    batch = RankingBatch(some, CONTEXT)
    with torch.no_grad():
        known = batch.by_element(answer_logprobs(reference, batch).tolist())
    told = [replace(one, reference=tuple(values)) for one, values in zip(some, known, strict=True)]
    ours, _ = direct_preference(BETA)(model, RankingBatch(told, CONTEXT))
    pairs = [as_pair(one) for one in some]
    trainer = DPOTrainer(
        AutoModelForCausalLM.from_pretrained(folder / "model"),
        AutoModelForCausalLM.from_pretrained(folder / "reference"),
        DPOConfig(str(folder / "trl"), use_cpu=True, bf16=False, report_to=[], beta=BETA, max_length=None),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
    )
    theirs = trainer.compute_loss(trainer.model.eval(), trainer.data_collator(pairs))
    return {"plutao": float(ours.detach()), "trl": float(theirs.detach())}


def as_pair(one: RankedAnswers) -> dict[str, list[int]]:
    """A pair's tokens as TRL takes them; the token of the reward is nothing a language model says."""
    better, worse = one.pairs[0]
    start = one.learned[better].index(True)
    return {
        "prompt_ids": list(one.rows[better][:start]),
        "chosen_ids": list(one.rows[better][start:-1]),
        "rejected_ids": list(one.rows[worse][start:-1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        import trl  # noqa: F401
    except ImportError:
        sys.exit("This comparison needs TRL, which is not installed: pip install 'trl>=1.16'.")
    result = measure()
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        for name, row in result["losses"].items():
            told = f"ours {row['plutao']:.6f}, TRL {row['trl']:.6f}, apart {row['difference']:.1e}"
            print(f"{name}: {told}")
    if any(row["difference"] > ALLOWED for row in result["losses"].values()):
        sys.exit(f"The losses are further apart than {ALLOWED:g}.")


if __name__ == "__main__":
    main()
