"""The report's sections on how an assistant was made: conversations, reward model, reinforcement; then those on what came of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from plutao.evaluate.report import assistant_figures as figures
from plutao.evaluate.report import wins_view
from plutao.evaluate.report.exhibits import Exhibit, capital, curves, share_row, table
from plutao.evaluate.report.history import History
from plutao.evaluate.report.numbers import Numbers
from plutao.evaluate.report.section import Answers, Facts, Section, Table, dropped, interval
from plutao.evaluate.report.words import words

CHAT_STAGES = ("sft", "rl", "dpo")
FOLDED = ("reward", "rl")
"""Stages whose curves of loss and speed are of little interest: their sections fold them away."""
CURVES = (
    ("reward", "reward", "", "rl_reward_note"),
    ("kl", "kl", "nats_per_answer", "rl_kl_note"),
    ("entropy", "rl_entropy", "nats_per_token", "rl_entropy_note"),
    ("length", "rl_length", "tokens_of_answer", "rl_length_note"),
    ("clip_fraction", "clip_fraction", "", "rl_clip_note"),
)
"""(key in metrics.jsonl, title, unit on the axis, note)."""


def sections(facts: Facts, histories: Mapping[str, History], language: str) -> list[Section]:
    """What there is to say of an assistant's making, in the order of the circle; nothing for a base model alone."""
    say = words(language)
    form = Numbers(say)
    found = [
        conversations(facts, say, form),
        reward(facts, histories.get("reward"), say, form, language),
        reinforcement(facts, histories.get("rl"), say, form, language),
        wins_view.wins(facts, say, form, language),
        wins_view.exams(facts, say, form, language),
        wins_view.variety(facts, say, form, language),
        wins_view.sums(facts, say, form, language),
        wins_view.answers(facts, say, form),
    ]
    return [section for section in found if section is not None]


def are_simulated(facts: Facts) -> bool:
    """Whether rankings or comparisons come from a world, whose labellers are programs."""
    recipe = facts["recipe"]
    sources = [source for stage in ("reward", "dpo") for source in (recipe.get(stage) or {}).get("sources", [])]
    return any(source.get("world") for source in sources) or bool(facts.get("comparisons", {}).get("simulated"))


def conversations(facts: Facts, say: Mapping[str, str], form: Numbers) -> Section | None:
    """The sources of stage sft."""
    stage = facts["stages"].get("sft") or {}
    sources: Mapping[str, Any] = stage.get("sources") or {}
    if not sources:
        return None
    keys = ("source", "conversation_count", "held_out_count", "learned_tokens", "languages", "licence")
    rows = [
        [
            name,
            form.number(source.get("conversations", 0)),
            form.number(source.get("validation", 0)),
            form.number(source.get("learned_tokens", 0)),
            ", ".join(say["unstated"] if each == "unknown" else each for each in source.get("languages", {})),
            ", ".join(say["unstated"] if each == "unknown" else each for each in source.get("licenses", {})),
        ]
        for name, source in sources.items()
    ]
    section = Section(
        "conversations", say["conversations"], say["conversations_note"], f"{facts['run']} · sft", stage="sft"
    )
    section.tables = [Table("", "", [say[key] for key in keys], rows)]
    if forbidding := stage.get("noncommercial"):
        section.paragraphs = [say["noncommercial"].format(sources=", ".join(forbidding))]
    return section


def reward(
    facts: Facts, history: History | None, say: Mapping[str, str], form: Numbers, language: str
) -> Section | None:
    """Accuracy beside its baselines and the labellers' own agreement, calibration, length, and the verdict."""
    stage = facts["stages"].get("reward") or {}
    overall = stage.get("pair_accuracy")
    if not overall:
        return None
    note = say["reward_section_note"].format(n=form.number(overall["n"]))
    section = Section("reward", say["reward_section"], note, f"{facts['run']} · reward", stage="reward")
    section.folded = curves("reward", history, stage, language) if history else []
    section.folded_title = say["curves_with_loss"]
    section.paragraphs = [text for text in ((stage.get("verdict") or {}).get("why"),) if text]
    section.paragraphs += [say["simulated"]] if are_simulated(facts) else []
    section.large = [accuracy_exhibit(stage, say, form, language)]
    if bins := (stage.get("calibration") or {}).get("bins"):
        section.small = [calibration_exhibit(stage["calibration"], bins, say, form, language)]
    if len(stage.get("by_source") or {}) > 1:
        section.tables, section.tables_last = [by_source(stage["by_source"], say, form)], True
    if bias := stage.get("length_bias"):
        amounts = {key: form.number(bias[key], 2).replace("-", "−") for key in ("rewards", "labels")}
        section.paragraphs.append(say["length_bias"].format(**amounts))
    return section


def by_source(found: Facts, say: Mapping[str, str], form: Numbers) -> Table:
    """Accuracy on each source of rankings beside that of the longer answer."""
    columns = [say[key] for key in ("source", "right", "interval", "pairs")] + [capital(say["baseline_longer"])]
    rows = [
        [*dropped(share_row(name, each["pair_accuracy"], form), 3), form.percent(each["longer"]["value"])]
        for name, each in found.items()
    ]
    return Table(say["by_source"], "", columns, rows)


def accuracy_exhibit(stage: Facts, say: Mapping[str, str], form: Numbers, language: str) -> Exhibit:
    shares = {say["all_pairs"]: stage["pair_accuracy"]}
    for distance, share in (stage.get("by_distance") or {}).items():
        shares[say["ranks_apart_one" if distance == "1" else "ranks_apart"].format(n=distance)] = share
    for name, share in (stage.get("baselines") or {}).items():
        shares[say.get(f"baseline_{name}", name)] = share
    if agreed := (stage.get("labellers") or {}).get("agreement"):
        shares[say["labellers_agree"]] = agreed
    columns = [capital(say["reward_model"]), say["right"], say["interval"], say["pairs"]]
    rows = [dropped(share_row(name, share, form), 3) for name, share in shares.items()]
    figure = figures.pair_accuracy(stage, language)
    return Exhibit("reward-accuracy", say["reward_accuracy"], say["reward_accuracy_note"], figure, columns, rows)


def calibration_exhibit(
    found: Facts, bins: Sequence[Facts], say: Mapping[str, str], form: Numbers, language: str
) -> Exhibit:
    rows = [
        [form.percent(each["predicted"]), form.percent(each["observed"]["value"]), interval(each["observed"], form),
         form.number(each["observed"]["n"])]
        for each in bins
    ]  # fmt: skip
    columns = [capital(say["predicted_share"]), capital(say["observed_share"]), say["interval"], say["pairs"]]
    note = say["calibration_note"].format(error=form.percent(found.get("error", 0.0)))
    return Exhibit("reward-calibration", say["calibration"], note, figures.calibration(bins, language), columns, rows)


def reinforcement(
    facts: Facts, history: History | None, say: Mapping[str, str], form: Numbers, language: str
) -> Section | None:
    """What RL did: the diagnosis, the curves, held-out prompts before and after, best of n at equal divergence."""
    stage = facts["stages"].get("rl") or {}
    if "reward_after" not in stage:
        return None
    amounts = {"algorithm": str(stage.get("algorithm", "")).upper(), "rounds": form.number(stage.get("rounds", 0))}
    section = Section("rl", say["rl_section"], say["rl_section_note"].format(**amounts), f"{facts['run']} · rl")
    section.stage = "rl"
    section.folded = curves("rl", history, stage, language) if history else []
    section.folded_title = say["curves_with_loss"]
    section.paragraphs = [stage["diagnosis"]] if stage.get("diagnosis") else []
    section.tables = [before_after(stage, say, form)]
    for key, title, unit, note in CURVES:
        if history is not None and any(point.get(key) is not None for point in history.training):
            target = stage.get("kl_target") if key == "kl" else None
            figure = figures.over_steps(history, key, say[unit] if unit else "", language, target)
            points = [point for point in history.training if point.get(key) is not None]
            rows = table(points, {key: None}, form)
            columns = [say["step"], say[title]]
            section.small.append(Exhibit(f"rl-{key}", capital(say[title]), say[note], figure, columns, rows))
    if stage.get("best_of_n"):
        section.large = [best_of_exhibit(stage, say, form, language)]
    section.answers_title = say["rl_examples"]
    section.answers = [
        Answers(each["prompt"], [(say["before"], each["before"]), (say["after"], each["after"])])
        for each in stage.get("examples", [])
    ]
    return section


def before_after(stage: Facts, say: Mapping[str, str], form: Numbers) -> Table:
    """Reward, divergence and the answers' form on held-out prompts."""
    rows = [[capital(say["reward"]), form.number(stage["reward_before"], 2), form.number(stage["reward_after"], 2)]]
    rows.append([capital(say["kl_per_answer"]), form.number(0, 1), form.number(stage["kl"], 1)])
    sides = stage.get("answers") or {}
    shown = (("length", "rl_length", form.number), ("entropy", "rl_entropy", None), ("ended", "ended", form.percent),
             ("distinct", "distinct", form.percent))  # fmt: skip
    for key, label, show in shown:
        values = [sides[side][key] for side in ("before", "after") if key in (sides.get(side) or {})]
        if len(values) == 2:
            cells = [show(value) if show else form.number(value, 2) for value in values]
            rows.append([capital(say[label]), *cells])
    return Table(say["rl_before_after"], "", ["", say["before"], say["after"]], rows)


def best_of_exhibit(stage: Facts, say: Mapping[str, str], form: Numbers, language: str) -> Exhibit:
    curve = stage["best_of_n"]
    rows = [
        [f"n = {form.number(point['n'])}", form.number(point["kl"], 2), form.number(point["reward"], 2)]
        for point in curve
    ]
    rows.append(["rl", form.number(stage["kl"], 2), form.number(stage["reward_after"], 2)])
    figure = figures.best_of_n(curve, (stage["kl"], stage["reward_after"]), language)
    columns = [capital(say["best_of_n"]), capital(say["kl_per_answer"]), capital(say["reward"])]
    return Exhibit("rl-best-of-n", say["best_of_title"], say["best_of_note"], figure, columns, rows)
