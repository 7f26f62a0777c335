"""A reward model against rankings: does it order the answers as whoever ranked them did?"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plutao.data import catalogue
from plutao.data.panels import panel_of
from plutao.data.ranking_batches import RankedAnswers, encode_panels
from plutao.data.rankings import Labelled, by_prompt, read_rankings
from plutao.data.settings import ExampleSource
from plutao.data.sources.rows import BadRows
from plutao.errors import UserError
from plutao.evaluate.preference import Judged, judge, measure
from plutao.models.reward import RewardModel, load_reward, score_tokens
from plutao.text.tokenizer import Tokenizer


def judge_all(model: RewardModel, held_out: Sequence[tuple[Labelled, RankedAnswers]]) -> list[Judged]:
    """The rankings with the rewards of their answers."""
    rows = [row for _, element in held_out for row in element.rows]
    rewards = iter(score_tokens(model, rows).tolist())
    return [judge(one, element.kept, [next(rewards) for _ in element.rows]) for one, element in held_out]


def measure_rankings(folder: Path, name: str, root: Path) -> dict[str, Any]:
    """A reward model's folder measured on rankings it need not have been trained for, as stage reward measures it, with
    `left_out`: what could not be read or did not fit its context, counted by reason.

    Args:
        name: a file or folder of rankings in any form that stage reward reads, or a corpus of the catalogue.
        root: the project whose catalogue is meant.

    Raises:
        UserError: no reward model, no such file or corpus, no ranking in it, or none that can be measured with.
    """
    tokenizer = Tokenizer.load(folder)
    model = load_reward(folder, tokenizer).eval()
    path = Path(name) if Path(name).exists() else catalogue.get(name, root)
    bad = BadRows("skip")
    labelled = by_prompt(read_rankings(path, ExampleSource(name=path.name, path=str(path)), bad))
    elements, without = encode_panels([panel_of(one) for one in labelled], tokenizer, model.decoder.config.context)
    held_out = [(one, element) for one, element in zip(labelled, elements, strict=True) if element is not None]
    left_out = Counter(without.as_json()) + Counter(bad.counts)
    if not held_out:
        reasons = ", ".join(f"{count} × {reason}" for reason, count in left_out.items()) or "it is empty"
        raise UserError(f"{name} holds no ranking that can be measured with: {reasons}.")
    return {"rankings": name, **measure(judge_all(model, held_out)), "left_out": dict(left_out)}
