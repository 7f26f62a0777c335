"""Reward accuracy on real debates: ours beside `transformers`' sequence classifier, the same weights, the same time.

Both start from one base model's folder and learn from UKPConvArg's pairs (Habernal & Gurevych 2016), whole debates kept
aside to measure with. Ours is stage reward's way: the answers of a debate read together, every pair in one batch element.
Theirs is the usual one: each pair two padded rows, −log σ of their difference, AdamW. Beside both stands the longer argument.

`python benchmarks/reward.py BASE RANKINGS --minutes 5`, on a machine that has nothing else to do.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from plutao.data.panels import gathered, panel_of
from plutao.data.ranking_batches import RankedAnswers, RankingBatches, encode_panels
from plutao.data.rankings import Labelled, by_prompt, read_rankings
from plutao.data.settings import ExampleSource
from plutao.evaluate.preference import accuracy, judge
from plutao.models.interop.huggingface import load_model
from plutao.models.reward import RewardModel, reward_token, save_reward, score_tokens
from plutao.recipe import OptimizerSettings
from plutao.stages.rankings import group_of, held_out_groups
from plutao.text.tokenizer import Tokenizer
from plutao.train.objectives_preference import ranking
from plutao.train.optimizer import Optimizers

PAIRS = 16
"""Of a step, on both sides about: as many answers are read."""
Held = list[tuple[Labelled, RankedAnswers]]


def measure(
    base: Path, rankings: Path, minutes: float, aside: float, learning_rate: float, most: int
) -> dict[str, Any]:
    tokenizer, context = Tokenizer.load(base), load_model(base).config.context
    labelled = by_prompt(read_rankings(rankings, ExampleSource(name="debates", path=str(rankings))))
    debates = held_out_groups([group_of(one.ranking) for one in labelled], aside, seed=1)
    train = [one for one in labelled if group_of(one.ranking) not in debates]
    kept = [one for one in labelled if group_of(one.ranking) in debates]
    random.Random(1).shuffle(kept)
    elements = encode_panels([panel_of(one) for one in kept], tokenizer, context)[0]
    held = [(one, element) for one, element in zip(kept, elements, strict=True) if element is not None][:most]
    sides = {"plutao": ours, "transformers": theirs}
    shares = {}
    for name, side in sides.items():
        rewards = iter(side(base, tokenizer, train, held, context, 60 * minutes, learning_rate))
        judged = [judge(one, element.kept, [next(rewards) for _ in element.rows]) for one, element in held]
        share = accuracy(judged)
        assert share is not None
        shares[name] = share.as_json()
    longer = accuracy(judged, lambda prompt: prompt.lengths)
    assert longer is not None
    shares["the longer argument"] = longer.as_json()
    return {"minutes": minutes, "threads": torch.get_num_threads(), "debates": sorted(debates), "accuracy": shares}


def follow(step: Callable[[float], None], seconds: float) -> int:
    """Takes steps for so long; each is told the share of the learning rate: up over 5%, down over the last half."""
    started, steps = time.perf_counter(), 0
    while (done := (time.perf_counter() - started) / seconds) < 1:
        step(min(1.0, (done + 0.01) / 0.05, 2 * (1 - done)))
        steps += 1
    return steps


def ours(
    base: Path, tokenizer: Tokenizer, train: list[Labelled], held: Held, context: int, seconds: float, rate: float
) -> list[float]:
    model = RewardModel(load_model(base), reward_token(tokenizer))
    elements = [one for one in encode_panels(gathered(train), tokenizer, context)[0] if one is not None]
    answers = sum(len(one.rows) for one in elements) / len(elements)
    batches = RankingBatches({"debates": elements}, {}, max(1, round(2 * PAIRS / answers)), context, seed=1)
    optimizer = Optimizers(model, OptimizerSettings(kind="adamw", learning_rate=rate), "cpu")
    objective = ranking()

    def step(share: float) -> None:
        loss, _ = objective(model, next(batches))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(share)
        optimizer.zero_grad()

    model.train()
    follow(step, seconds)
    rows = [row for _, element in held for row in element.rows]
    return [float(reward) for reward in score_tokens(model.eval(), rows)]


def theirs(
    base: Path, tokenizer: Tokenizer, train: list[Labelled], held: Held, context: int, seconds: float, rate: float
) -> list[float]:
    from transformers import AutoModelForSequenceClassification

    with tempfile.TemporaryDirectory() as folder:
        save_reward(RewardModel(load_model(base), reward_token(tokenizer)), Path(folder), tokenizer)
        model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    elements = [one for one in encode_panels([panel_of(one) for one in train], tokenizer, context)[0] if one]
    chance = random.Random(1)
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.95), weight_decay=0.05)

    def score(rows: Sequence[Sequence[int]]) -> torch.Tensor:
        width = max(map(len, rows))
        tokens = torch.tensor([[*row, *[tokenizer.pad] * (width - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        logits: torch.Tensor = model(tokens, attention_mask=mask).logits.squeeze(-1)
        return logits

    def step(share: float) -> None:
        some = [(one.rows[one.pairs[0][0]], one.rows[one.pairs[0][1]]) for one in chance.choices(elements, k=PAIRS)]
        better, worse = score([row for pair in zip(*some, strict=True) for row in pair]).chunk(2)
        (-F.logsigmoid(better - worse).mean()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate * share
        optimizer.step()
        optimizer.zero_grad()

    model.train()
    follow(step, seconds)
    model.eval()
    with torch.no_grad():
        return [float(reward) for _, element in held for reward in score(element.rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="a base model's folder, such as RUN/base")
    parser.add_argument("rankings", type=Path, help="UKPConvArg's pairs")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, for each side")
    parser.add_argument("--aside", type=float, default=0.2, help="share of the pairs whose debates are kept aside")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--most", type=int, default=1000, help="held-out pairs at most")
    given = parser.parse_args()
    result = measure(given.base, given.rankings, given.minutes, given.aside, given.learning_rate, given.most)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
