"""The report's sections on what came of it all: who wins, the assistants' exams, variety, sums, answers."""

from collections.abc import Mapping
from typing import Any

from plutao.evaluate.report import assistant_figures as figures
from plutao.evaluate.report.exhibits import Exhibit, capital, share_row
from plutao.evaluate.report.numbers import Numbers
from plutao.evaluate.report.section import Answers, Facts, Section, Table, cell, dropped, interval

MOST_TASKS = 16
"""Tasks of an exam up to which their picture is shown at once."""


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
