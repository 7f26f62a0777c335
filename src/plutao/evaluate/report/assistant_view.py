"""The report's sections on how an assistant was made: conversations, reward model, reinforcement, and who wins.

Each is a `Section`, which the templates lay out alike: what it is, sentences, pictures with their tables, tables, answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plutao.evaluate.report import assistant_figures as figures
from plutao.evaluate.report.exhibits import Exhibit, capital, curves, share_row, table
from plutao.evaluate.report.history import History
from plutao.evaluate.report.numbers import Numbers
from plutao.evaluate.report.words import words

Facts = Mapping[str, Any]
CHAT_STAGES = ("sft", "rl", "dpo")
FOLDED = ("reward", "rl")
"""Stages whose curves of loss and speed are of little interest: their sections fold them away."""

MOST_TASKS = 16
"""Tasks of an exam up to which their picture is shown at once."""


@dataclass(frozen=True)
class Table:
    """Rows under a heading of their own; a heading may be empty."""

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]
    names: int = 1
    """Columns at the left that hold names, not numbers."""


@dataclass(frozen=True)
class Answers:
    """A prompt with several answers, each with who gave it."""

    prompt: str
    answers: list[tuple[str, str]]


@dataclass(frozen=True)
class Strip:
    """A text in coloured tokens, with their ids; the same as a table."""

    title: str
    note: str
    tokens: list[tuple[str, str, str]]
    """(what it shows, its id, its colour)."""
    columns: list[str]
    rows: list[list[str]]


@dataclass
class Section:
    """A part of the report under one heading."""

    id: str
    title: str
    note: str
    shows: str
    paragraphs: list[str] = field(default_factory=list)
    large: list[Exhibit] = field(default_factory=list)
    small: list[Exhibit] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    answers_title: str = ""
    answers: list[Answers] = field(default_factory=list)
    stage: str = ""
    """Whose it is; without one it stands after all stages."""
    folded: list[Exhibit] = field(default_factory=list)
    """Pictures behind a line that opens them."""
    folded_title: str = ""
    wrong: list[Facts] = field(default_factory=list)
    """An exam's wrong answers: task, prompt, expected, answered."""
    tables_last: bool = False
    """Whether the pictures come before the tables."""
    strip: "Strip | None" = None

    @property
    def wrong_rows(self) -> list[list[str]]:
        return [[item[key] for key in ("task", "prompt", "expected", "answered")] for item in self.wrong]


def sections(facts: Facts, histories: Mapping[str, History], language: str) -> list[Section]:
    """What there is to say of an assistant's making, in the order of the circle; nothing for a base model alone."""
    say = words(language)
    form = Numbers(say)
    found = [
        conversations(facts, say, form),
        reward(facts, histories.get("reward"), say, form, language),
        reinforcement(facts, histories.get("rl"), say, form, language),
        wins(facts, say, form, language),
        exams(facts, say, form, language),
        variety(facts, say, form, language),
        sums(facts, say, form, language),
        answers(facts, say, form),
    ]
    return [section for section in found if section is not None]


def are_simulated(facts: Facts) -> bool:
    """Whether rankings or comparisons come from a world, whose labellers are programs."""
    recipe = facts["recipe"]
    sources = [source for stage in ("reward", "dpo") for source in (recipe.get(stage) or {}).get("sources", [])]
    return any(source.get("world") for source in sources) or bool(facts.get("comparisons", {}).get("simulated"))


def interval(share: Mapping[str, float], form: Numbers) -> str:
    return f"{form.percent(share['low'])} – {form.percent(share['high'])}"


# ---------------------------------------------------------------------------------------------------------------------
# Stages


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


def dropped(row: list[str], place: int) -> list[str]:
    return [*row[:place], *row[place + 1 :]]


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


CURVES = (
    ("reward", "reward", "", "rl_reward_note"),
    ("kl", "kl", "nats_per_answer", "rl_kl_note"),
    ("entropy", "rl_entropy", "nats_per_token", "rl_entropy_note"),
    ("length", "rl_length", "tokens_of_answer", "rl_length_note"),
    ("clip_fraction", "clip_fraction", "", "rl_clip_note"),
)
"""(key in metrics.jsonl, title, unit on the axis, note)."""


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


# ---------------------------------------------------------------------------------------------------------------------
# Who wins


def wins(facts: Facts, say: Mapping[str, str], form: Numbers, language: str) -> Section | None:
    """Win rates as in the book's Figure 90, ratings as in Figure 92, and what the reward model makes of the same answers."""
    rates: Mapping[str, Any] = facts.get("win_rates") or {}
    if not rates:
        return None
    contest = facts.get("comparisons") or {}
    amounts = {
        "n": form.number(contest.get("prompts", 0)),
        "temperature": form.number(contest.get("temperature", 1), 1),
    }
    section = Section("wins", say["wins_section"], say["wins_section_note"].format(**amounts), facts["run"])
    section.paragraphs = [say[f"judge_{contest.get('judge', 'rule')}"]]
    section.paragraphs += [say["nobody_judged"]] if contest.get("simulated") else []
    ladder = ladder_of(rates)
    if len(ladder) > 1:
        rows = [[name, form.percent(share["value"]), interval(share, form)] for name, share in ladder.items()]
        title = say["wins_figure"].format(opponent="sft")
        note = say["wins_figure_note"].format(opponent="sft")
        columns = [say["stage"], say["win_rate"], say["interval"]]
        section.large.append(Exhibit("win-rates", title, note, figures.against(ladder, "sft", language), columns, rows))
    section.tables = [rates_table("", "", rates, say, form)]
    if judged := (contest.get("by_reward_model") or {}).get("win_rates"):
        section.tables.append(rates_table(say["by_reward_model"], say["by_reward_model_note"], judged, say, form))
    if facts.get("ratings"):
        section.large.append(ratings_exhibit(facts["ratings"], say, form, language))
    if facts.get("right"):
        section.large.append(right_exhibit(facts["right"], say, form, language))
    return section


def ladder_of(rates: Mapping[str, Mapping[str, float]], opponent: str = "sft") -> dict[str, Mapping[str, float]]:
    """Each stage's win rate against one of them, in the order of the circle; that one against itself is even."""
    found: dict[str, Mapping[str, float]] = {}
    for stage in ("base", "sft", "rl", "dpo"):
        ahead, behind = rates.get(f"{stage}_over_{opponent}"), rates.get(f"{opponent}_over_{stage}")
        if stage == opponent:
            found[stage] = {"value": 0.5, "low": 0.5, "high": 0.5}
        elif ahead:
            found[stage] = ahead
        elif behind:
            found[stage] = {"value": 1 - behind["value"], "low": 1 - behind["high"], "high": 1 - behind["low"]}
    return found if len(found) > 1 else {}


def rates_table(title: str, note: str, rates: Mapping[str, Any], say: Mapping[str, str], form: Numbers) -> Table:
    columns = [say[key] for key in ("comparison", "win_rate", "interval", "won", "ties", "lost")]
    rows = []
    for name, rate in rates.items():
        model, _, opponent = name.partition("_over_")
        counts = [form.number(rate[key]) if key in rate else "–" for key in ("wins", "ties", "losses")]
        named = say["over"].format(model=model, opponent=opponent)
        rows.append([named, form.percent(rate["value"]), interval(rate, form), *counts])
    return Table(title, note, columns, rows)


def ratings_exhibit(ratings: Mapping[str, Any], say: Mapping[str, str], form: Numbers, language: str) -> Exhibit:
    order = dict(sorted(ratings.items(), key=lambda item: -item[1]["value"]))
    rows = [
        [
            name,
            form.number(each["value"]),
            f"{form.number(each['low'])} – {form.number(each['high'])}",
            form.number(each["n"]),
        ]
        for name, each in order.items()
    ]
    columns = [say["stage"], say["rating"], say["interval"], say["games"]]
    figure = figures.dots(order, say["points"], language, height=40)
    return Exhibit("ratings", say["ratings"], say["ratings_note"], figure, columns, rows)


def right_exhibit(right: Mapping[str, Any], say: Mapping[str, str], form: Numbers, language: str) -> Exhibit:
    rows = [dropped(share_row(name, share, form), 3) for name, share in right.items()]
    columns = [say["stage"], say["right"], say["interval"], say["questions"]]
    figure = figures.per_cent(figures.dots(right, say["right_answers"], language, height=40))
    return Exhibit("right", say["right_title"], say["right_note"], figure, columns, rows)


# ---------------------------------------------------------------------------------------------------------------------
# Exams, variety, sums, answers


def compared_exams(facts: Facts) -> dict[str, Any]:
    """The exams that several assistants took, which are shown beside each other; empty where there is but one."""
    taken = {stage: result for stage, result in facts["exam"].items() if result.get("kind") == "chat"}
    return taken if len(taken) > 1 else {}


def exams(facts: Facts, say: Mapping[str, str], form: Numbers, language: str) -> Section | None:
    """The assistants' exams beside each other, where there are several."""
    taken = compared_exams(facts)
    if not taken:
        return None
    note = f"{say['exams_compared_note']} {say['exam_chat_note']} {say['interval_note']}"
    section = Section("exams", say["exams_compared"], note, facts["run"])
    for key in ("by_language", "by_task"):
        measured = {
            stage: {**({say["overall"]: result["overall"]} if key == "by_language" else {}), **result[key]}
            for stage, result in taken.items()
        }
        names = list(dict.fromkeys(name for shares in measured.values() for name in shares))
        rows = [[name, *(cell(shares.get(name), form) for shares in measured.values())] for name in names]
        figure = figures.series(measured, say["share_right"], language, ranked=key == "by_task")
        columns = [say["language" if key == "by_language" else "task"], *taken]
        place = section.folded if len(names) > MOST_TASKS else section.large
        place.append(Exhibit(f"exams-{key}", say[key], "", figure, columns, rows))
    section.folded_title = say["by_task"]
    sides = [(kind, side) for kind in ("unknown", "refusals") for side in ("where_due", "where_not_due")]
    rows = [
        [say[f"{kind}_{side}"], *(cell((result.get(kind) or {}).get(side), form) for result in taken.values())]
        for kind, side in sides
    ]
    section.tables = [Table(say["behaviour"], say["behaviour_note"], [say["case"], *taken], rows)]
    section.tables_last = True
    section.wrong = list(taken.values())[-1].get("wrong", [])
    return section


def cell(share: Mapping[str, float] | None, form: Numbers) -> str:
    return "–" if share is None else f"{form.percent(share['value'])} ({interval(share, form)})"


def behaviour(result: Facts, say: Mapping[str, str], form: Numbers) -> Table | None:
    """ "I don't know" and refusals, where due and where not."""
    rows = [
        dropped(share_row(say[f"{kind}_{side}"], share, form), 3)
        for kind in ("unknown", "refusals")
        for side, share in (result.get(kind) or {}).items()
    ]
    columns = [say["case"], say["share"], say["interval"], say["questions"]]
    return Table(say["behaviour"], say["behaviour_note"], columns, rows) if rows else None


def variety(facts: Facts, say: Mapping[str, str], form: Numbers, language: str) -> Section | None:
    """How varied each stage's answers are."""
    measured: Mapping[str, Any] = facts.get("diversity") or {}
    if not measured:
        return None
    section = Section("diversity", say["diversity_section"], say["diversity_section_note"], facts["run"])
    alike = {stage: found["self_similarity"] for stage, found in measured.items()}
    columns = [
        say["stage"],
        say["diversity_similarity"],
        say["interval"],
        say["diversity_different"],
        say["diversity_entropy"],
    ]
    columns += [say["diversity_distinct"].format(n=n) for n in (1, 2, 3)]
    rows = [
        [
            stage,
            form.percent(found["self_similarity"]["value"]),
            interval(found["self_similarity"], form),
            form.percent(found["different"]["value"]),
            form.number(found["entropy"]["value"], 2) if "entropy" in found else "–",
            *(form.percent(found[f"distinct_{n}"]["value"]) for n in (1, 2, 3)),
        ]
        for stage, found in measured.items()
    ]
    figure = figures.per_cent(figures.dots(alike, say["self_similarity"], language, height=40))
    title = capital(say["self_similarity"])
    section.large = [Exhibit("diversity-likeness", title, say["self_similarity_note"], figure, columns, rows)]
    return section


def sums(facts: Facts, say: Mapping[str, str], form: Numbers, language: str) -> Section | None:
    """Arithmetic by number of digits, with and without the calculator."""
    found = facts.get("arithmetic") or {}
    if not found:
        return None
    with_it, without = found["with"], found["without"]
    note = say["arithmetic_section_note"].format(model=found.get("model", ""))
    section = Section("arithmetic", say["arithmetic_section"], note, f"{facts['run']} · {found.get('model', '')}")
    columns = [
        say["operation"],
        capital(say["digits"]),
        capital(say["with_calculator"]),
        capital(say["without_calculator"]),
    ]
    rows = [
        [
            say.get(operation, operation),
            digits,
            cell(share, form),
            cell(without["by_operation"][operation].get(digits), form),
        ]
        for operation, shares in with_it["by_operation"].items()
        for digits, share in shares.items()
    ]
    figure = figures.by_digits(with_it["by_digits"], without["by_digits"], language)
    section.large = [Exhibit("arithmetic-digits", say["arithmetic_title"], "", figure, columns, rows)]
    return section


def answers(facts: Facts, say: Mapping[str, str], form: Numbers) -> Section | None:
    """What each stage said to the same prompts."""
    rows = facts.get("answers") or []
    if not rows:
        return None
    section = Section("answers", say["answers_section"], say["answers_section_note"], facts["run"])
    section.answers = [
        Answers(
            row["messages"][-1]["content"],
            [
                (
                    f"{stage} · {say['score'].format(score=form.number(row['scores'][stage], 2))}",
                    text or say["nothing_said"],
                )
                for stage, text in row["answers"].items()
            ],
        )
        for row in rows
    ]
    return section
