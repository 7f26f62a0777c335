"""The report's facts put into words: plain strings and tables that the templates only lay out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from plutao.evaluate.report import assistant_view, exhibits, wins_view
from plutao.evaluate.report.assistant_view import CHAT_STAGES, FOLDED
from plutao.evaluate.report.history import History
from plutao.evaluate.report.numbers import Numbers
from plutao.evaluate.report.section import Section
from plutao.evaluate.report.words import words

Facts = Mapping[str, Any]


def view(
    facts: Facts,
    histories: Mapping[str, History],
    recipe_text: str,
    language: str,
    more: Sequence[Section] = (),
) -> dict[str, Any]:
    """Everything the templates show, by section; a section without facts is empty.

    Args:
        more: further sections; those that are of no stage come last before what it cost.
    """
    say = words(language)
    form = Numbers(say)
    learned = {stage: stage_view(facts, stage, history, language) for stage, history in histories.items()}
    together = wins_view.compared_exams(facts)  # shown side by side in a section of their own
    exams = {
        stage: exam_view(facts, stage, result, language)
        for stage, result in facts["exam"].items()
        if stage not in together
    }
    shown: dict[str, Any] = {
        "say": say,
        "title": say["title"].format(run=facts["run"]),
        "made_with": say["made_with"].format(version=facts["plutao"], date=(facts["created"] or "–")[:10]),
        "description": facts["recipe"].get("description", ""),
        "summary": summary(facts, say, form),
        "headline": headline(facts, say, form),
        "data": data_view(facts["data"], say, form) if facts["data"] else None,
        "tokenizer": tokenizer_view(facts["stages"].get("tokenizer"), say, form),
        "story": story(learned, exams, [*assistant_view.sections(facts, histories, language), *more]),
        "cost": cost_view(facts, say, form),
        "machine": machine_view(facts["machine"], say),
        "repeat": repeat_view(facts, recipe_text, say),
    }
    return {**shown, "contents": contents(shown, say)}


Block = dict[str, Any]
"""A part of the report under one heading: its kind, which the templates lay out, its id, its title and its content."""


def story(learned: Mapping[str, Facts], exams: Mapping[str, Facts], sections: Sequence[Section]) -> list[Block]:
    """The stages in the order of the circle, each with its own: how it learned, what it said, its exam; then the rest."""
    found: list[Block] = []
    of_stage = {section.stage: section for section in sections if section.stage}
    for stage in dict.fromkeys([*learned, *exams, *of_stage]):
        if stage in of_stage:
            found += of_sections([of_stage[stage]])
        if stage in learned:
            shown = learned[stage]
            if stage not in FOLDED:
                found.append({"kind": "learned", "id": f"learning-{stage}", "title": shown["title"], "of": shown})
            if shown["samples"]:
                found.append({"kind": "samples", "id": f"samples-{stage}", "title": shown["said"], "of": shown})
        if stage in exams:
            found.append({"kind": "exam", "id": f"exam-{stage}", "title": exams[stage]["title"], "of": exams[stage]})
    return found + of_sections([section for section in sections if not section.stage])


def of_sections(sections: Sequence[Section]) -> list[Block]:
    return [{"kind": "section", "id": section.id, "title": section.title, "of": section} for section in sections]


def contents(shown: Mapping[str, Any], say: Mapping[str, str]) -> list[tuple[str, str]]:
    """(anchor, name) of every section there is."""
    found = [(key, say[key]) for key in ("data", "tokenizer") if shown[key]]
    found += [(block["id"], block["title"]) for block in shown["story"]]
    return [*found, ("cost", say["cost"]), ("repeat", say["repeat"])]


# ---------------------------------------------------------------------------------------------------------------------
# In a paragraph and in four numbers


def told(facts: Facts) -> Facts:
    """The stage whose size and reading the summary tells: the one that read the most; empty where none has been trained."""
    trained = [stage for stage in facts["stages"].values() if "parameters" in stage and "tokens" in stage]
    found: Facts = facts["stages"].get("base") or (max(trained, key=lambda stage: stage["tokens"]) if trained else {})
    return found


def validated(facts: Facts) -> Facts:
    """The last measure in bits per byte, or why there is none; empty where no text was measured."""
    measured = [stage.get("validation") or {} for stage in facts["stages"].values()]
    return next((each for each in reversed(measured) if "bits_per_byte" in each), {})


def summary(facts: Facts, say: Mapping[str, str], form: Numbers) -> str:
    """One paragraph: what it is, what it read, how well it predicts, what it knows, and who wins."""
    stage, validation = told(facts), validated(facts)
    sentences = []
    if stage:
        amounts = {key: form.big(stage[key], of=True) for key in ("parameters", "tokens")}
        sentences.append(say["model_of"].format(**amounts, time=form.time(stage["seconds"])))
    if name := machine_name(facts["machine"]):
        sentences.append(say["on_machine"].format(machine=name))
    if validation.get("bits_per_byte"):
        bits = validation["bits_per_byte"]
        ratio = form.number(8 / bits, 1)
        text = say["predicts"].format(
            bits=form.number(bits, 3), interval=bits_interval(validation, say, form), ratio=ratio
        )
        sentences.append(text)
    elif validation.get("not_comparable"):
        sentences.append(say["not_comparable"].format(reason=validation["not_comparable"]))
    if facts["exam"]:
        sentences.append(of_exam(list(facts["exam"].values())[-1], say, form))
    return " ".join([*sentences, *of_wins(facts, say, form)])


def of_exam(result: Facts, say: Mapping[str, str], form: Numbers) -> str:
    """The last exam in a sentence."""
    share = result["overall"]
    key = "talks" if result.get("kind") == "chat" else "answers" if "floor" in share else "answers_plain"
    amounts = {"n": form.number(share["n"]), "share": form.percent(share["value"])}
    floor = form.percent(share.get("floor", 0))
    return say[key].format(**amounts, interval=share_interval(share, say, form), floor=floor)


def of_wins(facts: Facts, say: Mapping[str, str], form: Numbers) -> list[str]:
    """A sentence on who wins: each step of the way against the one before."""
    found, prompts = [], 0
    for name in ("sft_over_base", "rl_over_sft", "dpo_over_sft"):
        if rate := (facts.get("win_rates") or {}).get(name):
            model, _, opponent = (say[f"name_{each}"] if each != "over" else each for each in name.split("_"))
            share, between = form.percent(rate["value"]), share_interval(rate, say, form)
            found.append(say["prefers"].format(model=model, opponent=opponent, share=share, interval=between))
            prompts = rate["n"]
    return [say["in_comparisons"].format(n=form.number(prompts), found=", ".join(found))] if found else []


def headline(facts: Facts, say: Mapping[str, str], form: Numbers) -> list[dict[str, str]]:
    """The figures that one looks for first, each with its interval or with what belongs to it."""
    stage, validation = told(facts), validated(facts)
    figures = []
    if facts["exam"]:
        share = list(facts["exam"].values())[-1]["overall"]
        figures.append(
            (say["headline_exam"], form.percent(share["value"]), share_interval(share, say, form).strip(" ()"))
        )
    rates = facts.get("win_rates") or {}
    for name in [name for name in ("rl_over_sft", "dpo_over_sft", "sft_over_base") if name in rates][:2]:
        model, _, opponent = name.split("_")
        label = say["headline_wins"].format(model=model, opponent=opponent)
        figures.append((label, form.percent(rates[name]["value"]), share_interval(rates[name], say, form).strip(" ()")))
    if validation.get("bits_per_byte"):
        bits = form.number(validation["bits_per_byte"], 3)
        figures.insert(
            0 if not rates else len(figures),
            (say["headline_bits"], bits, bits_interval(validation, say, form).strip(" ()")),
        )
    if stage:
        read = say["headline_tokens"].format(tokens=form.big(stage["tokens"], of=True))
        figures.append((say["headline_parameters"], form.big(stage["parameters"]), read))
    speed = stage.get("tokens_per_second") if not rates else None
    pace = f"{form.number(speed)} {say['tokens_per_second']}" if speed else ""
    figures.append((say["headline_time"], form.time(facts["seconds"]), pace))
    return [{"label": label, "value": value, "detail": detail} for label, value, detail in figures]


def bits_interval(validation: Facts, say: Mapping[str, str], form: Numbers) -> str:
    if validation.get("low") is None or validation.get("high") is None:
        return ""
    return say["between"].format(low=form.number(validation["low"], 3), high=form.number(validation["high"], 3))


def share_interval(share: Facts, say: Mapping[str, str], form: Numbers) -> str:
    return say["between"].format(low=form.percent(share["low"]), high=form.percent(share["high"]))


# ---------------------------------------------------------------------------------------------------------------------
# Data and tokenizer


def data_view(card: Facts, say: Mapping[str, str], form: Numbers) -> dict[str, Any]:
    """The data card as rows: the book's Figure 72 with sizes, languages and licences."""
    sources = [source_row(name, source, say, form) for name, source in card["sources"].items()]
    keys = ("name", "documents", "size", "tokens", "weight", "epochs", "languages", "licences")
    kept = [source["validation"] for source in card["sources"].values() if "validation" in source]
    skipped = sum((Counter(source.get("skipped", {})) for source in card["sources"].values()), Counter[str]())
    lines = []
    if kept:
        size, documents = sum(part["bytes"] for part in kept), sum(part["documents"] for part in kept)
        lines.append(say["kept_aside"].format(size=form.size(size), documents=form.number(documents)))
    if skipped:
        reasons = ", ".join(f"{form.number(count)} × {reason}" for reason, count in skipped.most_common())
        lines.append(say["skipped"].format(count=form.number(skipped.total()), reasons=reasons))
        lines += [example for source in card["sources"].values() for example in source.get("skipped_examples", [])]
    total = None
    if len(sources) > 1:
        documents, size = (sum(source[key] for source in card["sources"].values()) for key in ("documents", "bytes"))
        tokens = [source.get("tokens") for source in card["sources"].values()]
        all_tokens = form.number(sum(tokens)) if all(count is not None for count in tokens) else "–"
        total = [form.number(documents), form.size(size), all_tokens, "", ""]
    return {
        "sources": sources,
        "total": total,
        "lines": lines,
        "plain_rows": [[source[key] for key in keys] for source in sources],
    }


def source_row(name: str, source: Facts, say: Mapping[str, str], form: Numbers) -> dict[str, Any]:
    weight, tokens, epochs = (source.get(key) for key in ("weight", "tokens", "epochs"))
    return {
        "name": name,
        "documents": form.number(source["documents"]),
        "size": form.size(source["bytes"]),
        "tokens": "–" if tokens is None else form.number(tokens),
        "weight": "–" if weight is None else form.percent(weight),
        "share": None if weight is None else round(100 * weight, 2),
        "epochs": "–" if epochs is None else form.significant(epochs),
        "languages": mixed(source.get("languages", {}), say, form),
        "licences": mixed(source.get("licenses", {}), say, form),
    }


def mixed(shares: Mapping[str, float], say: Mapping[str, str], form: Numbers) -> str:
    """`pt 60%, en 40%`; a single one without its 100%."""
    names = [say["unstated"] if name in ("", "unknown") else name for name in shares]
    if len(names) == 1:
        return names[0]
    return ", ".join(f"{name} {form.percent(share)}" for name, share in zip(names, shares.values(), strict=True))


def tokenizer_view(stage: Facts | None, say: Mapping[str, str], form: Numbers) -> dict[str, Any] | None:
    if not stage:
        return None
    parts = [say["tokenizer_kind"].format(kind=stage["kind"], vocabulary=form.number(stage["vocabulary"]))]
    if "reversible" in stage:
        parts.append(say["tokenizer_reversible" if stage["reversible"] else "tokenizer_lossy"])
    measured = stage.get("bytes_per_token", {})
    beside = any("gpt2" in each for each in measured.values())
    rows = []
    for language, each in measured.items():
        row = [say["unstated"] if language in ("", "unknown") else language, form.number(each["ours"], 2)]
        rows.append([*row, form.number(each["gpt2"], 2) if "gpt2" in each else "–"] if beside else row)
    columns = [say["language"], say["bytes_per_token"], *([say["gpt2"]] if beside else [])]
    return {"line": "; ".join(parts) + ".", "columns": columns, "rows": rows}


# ---------------------------------------------------------------------------------------------------------------------
# A stage, an exam


def titled(name: str, stage: str, several: bool) -> str:
    """A section's name, with its stage where there are several."""
    return f"{name} · {stage}" if several else name


def stage_view(facts: Facts, stage: str, history: History, language: str) -> dict[str, Any]:
    say = words(language)
    card = facts["stages"][stage]
    shown = exhibits.curves(stage, history, card, language)
    step = Numbers(say).number(history.training[-1]["step"])
    several = sum("parameters" in each for each in facts["stages"].values()) > 1
    return {
        "name": stage,
        "title": titled(say["learning"], stage, several),
        "said": titled(say["samples"], stage, several),
        "shows": say["shows"].format(run=facts["run"], stage=stage, step=step),
        "large": [exhibit for exhibit in shown if exhibit.id.endswith(("-loss", "-validation"))],
        "small": [exhibit for exhibit in shown if not exhibit.id.endswith(("-loss", "-validation"))],
        "validation": validation_view(card.get("validation") or {}, say, Numbers(say)),
        "samples": samples_view(history, say, Numbers(say), stage in CHAT_STAGES),
        "events": [[Numbers(say).number(event["step"]), str(event["event"])] for event in history.events],
    }


def validation_view(validation: Facts, say: Mapping[str, str], form: Numbers) -> dict[str, Any] | None:
    if "bytes" not in validation:
        return None  # of conversations it is a loss, which the curve ends with
    measured = {say["all_languages"]: validation, **validation.get("by_language", {})}
    rows = [validation_row(name, each, form) for name, each in measured.items()]
    units = say[f"units_{validation.get('interval_over', 'documents')}"]
    columns = ["language", "bits_per_byte", "interval", "bytes", "tokens", "perplexity"]
    return {"columns": [say[key] for key in columns], "rows": rows, "note": say["perplexity_note"].format(units=units)}


def validation_row(name: str, measured: Facts, form: Numbers) -> list[str]:
    bits, low, high = (measured.get(key) for key in ("bits_per_byte", "low", "high"))
    return [
        name,
        "–" if bits is None else form.number(bits, 3),
        "–" if low is None or high is None else f"{form.number(low, 3)} – {form.number(high, 3)}",
        form.size(measured["bytes"]),
        form.number(measured["tokens"]),
        form.significant(measured["perplexity"]),
    ]


def samples_view(
    history: History, say: Mapping[str, str], form: Numbers, answers: bool = False
) -> list[dict[str, Any]]:
    """Samples by prompt, each a list from the first step to the last; an answer does not go on in the prompt's line."""
    groups: dict[str, list[dict[str, str]]] = {}
    for point in history.samples:
        step = form.number(point["step"])
        when = say["before_training"] if point["step"] == 0 else say["after_steps"].format(steps=step)
        for sample in point["samples"]:
            text = sample["text"] if answers else sample["text"].removeprefix(sample["prompt"])
            groups.setdefault(sample["prompt"], []).append({"when": when, "text": text})
    return [{"prompt": prompt, "samples": samples, "answers": answers} for prompt, samples in groups.items()]


def exam_view(facts: Facts, stage: str, result: Facts, language: str) -> dict[str, Any]:
    say = words(language)
    keys = ("task", "prompt", "expected", "answered")
    wrong = result.get("wrong", [])
    return {
        "name": stage,
        "title": titled(say["exam"], stage, len(facts["exam"]) > 1),
        "note": say["exam_chat_note" if result.get("kind") == "chat" else "exam_note"],
        "behaviour": wins_view.behaviour(result, say, Numbers(say)),
        "shows": f"{facts['run']} · {stage}",
        "exhibits": exhibits.exam(stage, result, language),
        "wrong": wrong,
        "wrong_rows": [[item[key] for key in keys] for item in wrong],
    }


# ---------------------------------------------------------------------------------------------------------------------
# Cost, machine, and how to repeat it


def cost_view(facts: Facts, say: Mapping[str, str], form: Numbers) -> dict[str, Any]:
    rows = []
    for name, stage in facts["stages"].items():
        seconds, flops, speed = stage.get("seconds", 0.0), stage.get("flops"), stage.get("tokens_per_second")
        rows.append(
            [
                name,
                form.time(seconds),
                form.percent(seconds / facts["seconds"]) if facts["seconds"] else "–",
                form.number(speed) if speed else "–",
                form.significant(flops) if flops else "–",
                form.significant(flops / seconds) if flops and seconds else "–",
            ]
        )
    rows.append([say["total"], form.time(facts["seconds"]), "100%" if facts["seconds"] else "–", "", "", ""])
    columns = ["stage", "time", "share_of_time", "tokens_per_second", "flops", "flops_rate"]
    return {"columns": [exhibits.capital(say[key]) for key in columns], "rows": rows}


def machine_name(machine: Facts) -> str:
    """The accelerators, or the processor with its threads."""
    if machine.get("accelerators"):
        return ", ".join(machine["accelerators"])
    processor = machine.get("processor", "")
    threads = machine.get("threads")
    return (
        f"{processor} ({threads} {'thread' if threads == 1 else 'threads'})"
        if processor and threads
        else str(processor)
    )


def machine_view(machine: Facts, say: Mapping[str, str]) -> list[tuple[str, str]]:
    """Every fact of the machine as (name, value)."""
    rows = []
    for key, value in machine.items():
        if isinstance(value, Mapping):
            rows += [(str(name), str(version)) for name, version in value.items()]
        elif value not in (None, [], ""):
            text = say["yes"] if value is True else say["no"] if value is False else value
            rows.append(
                (
                    say.get(key, exhibits.capital(key.replace("_", " "))),
                    ", ".join(text) if isinstance(text, list) else str(text),
                )
            )
    return rows


def repeat_view(facts: Facts, recipe_text: str, say: Mapping[str, str]) -> dict[str, Any]:
    """The commands that make this run again, the seed, and the hashes of what went in."""
    rows = [(say["seed"], str(facts["recipe"].get("seed", "–")))]
    names = {"recipe": say["recipe"], "data": say["data"]}
    rows += [(f"{say['fingerprint']} · {names[key].lower()}", value) for key, value in facts["fingerprints"].items()]
    sources = (facts["data"] or {"sources": {}})["sources"]
    hashes = [(name, source["sha256"]) for name, source in sources.items() if source.get("sha256")]
    command = ["mkdir again", f"cp runs/{facts['run']}/recipe.toml again/plutao.toml", "plutao run again"]
    paths = [source["path"] for source in facts["recipe"].get("data", {}).get("sources", []) if source.get("path")]
    command[2:2] = [f"# {say['same_files'].format(path=' '.join(path.split()))}" for path in paths]
    return {"command": "\n".join(command), "facts": rows, "hashes": hashes, "recipe": recipe_text}
