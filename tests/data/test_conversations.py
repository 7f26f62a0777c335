"""Conversations in the layouts people have them in; what does not fit is refused by row and field, or counted."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plutao.data.conversations import Conversation, learnable, lot, read_conversations
from plutao.data.layouts import Misfit
from plutao.data.sources.rows import BadRows
from plutao.errors import UserError
from plutao.text.chat import Message, Messages, ToolCall

QUESTION, ANSWER = Message("user", "How much is 12 + 30?"), Message("assistant", "42.")
CALL = ToolCall("calculator", {"expression": "12+30"})
WITH_TOOL: Messages = (QUESTION, Message("assistant", "", (CALL,)), Message("tool", "42"), ANSWER)


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read_one(tmp_path: Path, row: Any, **options: Any) -> Messages:
    (conversation,) = read_conversations(write(tmp_path / "rows.jsonl", row), "rows", **options)
    return conversation.messages


def refused(tmp_path: Path, *rows: Any) -> str:
    with pytest.raises(UserError) as error:
        list(read_conversations(write(tmp_path / "rows.jsonl", *rows), "rows"))
    return str(error.value)


TURNS = [{"role": "user", "content": QUESTION.content}, {"role": "assistant", "content": ANSWER.content}]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": TURNS},
        {"conversation": TURNS},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION.content}]}, TURNS[1]]},
        {"conversations": [{"from": "human", "value": QUESTION.content}, {"from": "gpt", "value": "42."}]},
        {"instruction": QUESTION.content, "input": "", "output": "42."},
        {"instruction": QUESTION.content, "output": "42.", "history": []},
        {"prompt": QUESTION.content, "response": "42."},
        {"prompt": QUESTION.content, "completion": "42."},
        {"prompt": [TURNS[0]], "completion": [TURNS[1]]},
        {"question": QUESTION.content, "answer": "42."},
        {"question": QUESTION.content, "answers": [{"text": "42.", "answer_start": 7}, {"text": "42"}]},
        {"question": QUESTION.content, "answers": {"text": ["42."], "answer_start": [7]}},
        {"input": QUESTION.content, "output": "42."},
        {"pergunta": QUESTION.content, "resposta": "42."},
        {"instruction": QUESTION.content, "instances": [{"input": "", "output": "42."}, {"input": "", "output": "x"}]},
    ],
    ids=lambda row: "-".join(row),
)
def test_the_usual_layouts_mean_the_same(tmp_path: Path, row: dict[str, Any]) -> None:
    assert read_one(tmp_path, row) == (QUESTION, ANSWER)


def test_what_an_instruction_is_about_follows_it(tmp_path: Path) -> None:
    alpaca = read_one(tmp_path, {"instruction": "Translate.", "input": "sol", "output": "sun"})
    assert alpaca == (Message("user", "Translate.\n\nsol"), Message("assistant", "sun"))
    squad = read_one(tmp_path, {"question": "Onde?", "context": "Em Lisboa.", "answers": [{"text": "Lisboa"}]})
    assert squad[0].content == "Onde?\n\nEm Lisboa."


def test_system_prompts_and_earlier_turns_are_kept(tmp_path: Path) -> None:
    row = {"system": "Be brief.", "history": [["Hi", "Hello"]], "instruction": QUESTION.content, "output": "42."}
    expected = (Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Hello"), QUESTION, ANSWER)
    assert read_one(tmp_path, row) == expected
    sharegpt = {
        "system": "Be brief.",
        "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "x"}],
    }
    assert read_one(tmp_path, sharegpt)[0] == Message("system", "Be brief.")
    empty = {"messages": [{"role": "system", "content": " "}, *TURNS]}
    assert read_one(tmp_path, empty) == (QUESTION, ANSWER)


def test_tool_calls_as_openai_and_sharegpt_write_them(tmp_path: Path) -> None:
    function = {"name": "calculator", "arguments": json.dumps(CALL.arguments)}
    openai = [
        TURNS[0],
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
        TURNS[1],
    ]
    assert read_one(tmp_path, {"messages": openai}) == WITH_TOOL
    sharegpt = [
        {"from": "human", "value": QUESTION.content},
        {"from": "function_call", "value": json.dumps({"name": "calculator", "arguments": CALL.arguments})},
        {"from": "observation", "value": "42"},
        {"from": "gpt", "value": "42."},
    ]
    assert read_one(tmp_path, {"conversations": sharegpt}) == WITH_TOOL


def test_a_question_with_alternatives_is_answered_with_letter_and_text(tmp_path: Path) -> None:
    alternatives = [
        {"letter": "A", "text": "Marte", "isCorrect": False},
        {"letter": "B", "text": "Vênus", "file": None},
    ]
    row = {
        "context": "Do Sol:",
        "alternativesIntroduction": "O segundo planeta é",
        "alternatives": alternatives,
        "correctAlternative": "B",
    }
    asked, answered = read_one(tmp_path, row)
    assert asked.content == "Do Sol:\n\nO segundo planeta é\nA) Marte\nB) Vênus" and answered.content == "B) Vênus"
    assert "'correctAlternative' is 'C'" in refused(tmp_path, row | {"correctAlternative": "C"})


def test_any_table_is_read_where_the_recipe_says_how(tmp_path: Path) -> None:
    row = {"en": "The sun {en}", "meta": {"pt": ["O sol", "x"]}}
    options = {"prompt": "Traduza: {en}", "answer": "{meta.pt.0}"}
    assert read_one(tmp_path, row, **options) == (
        Message("user", "Traduza: The sun {en}"),
        Message("assistant", "O sol"),
    )
    with pytest.raises(UserError, match=r"row 1: field 'fr' holds nothing"):
        read_one(tmp_path, row, prompt="{fr}", answer="{en}")
    with pytest.raises(UserError, match="holds nothing"):  # a template reaches into data, never into objects
        read_one(tmp_path, row, prompt="{en.__class__}", answer="{en}")


def test_what_lies_on_disk_comes_back(tmp_path: Path) -> None:
    once = Conversation((Message("system", "S"), *WITH_TOOL), "a", "own", "pt", "CC0")
    (again,) = read_conversations(write(tmp_path / "rows.jsonl", once.as_json()), "own")
    assert again == once


def test_rows_say_their_own_name_language_and_licence(tmp_path: Path) -> None:
    rows = [{"id": 7, "lang": "pt", "license": "MIT", "messages": TURNS}, {"messages": TURNS}]
    first, second = read_conversations(write(tmp_path / "rows.jsonl", *rows), "s", language="en", license="CC0")
    assert (first.id, first.language, first.license) == ("7", "pt", "MIT")
    assert (second.id, second.language, second.license) == ("rows.jsonl:2", "en", "CC0")


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "json", "parquet", "csv", "csv;"])
def test_files_of_every_kind_give_the_same(tmp_path: Path, kind: str) -> None:
    rows = [{"instruction": f"Diz, {n};\nsim", "output": f"{n}"} for n in range(3)]
    path = tmp_path / f"rows.{kind.rstrip(';')}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind.startswith("csv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, delimiter=";" if kind == "csv;" else ",")
            table.writerows([["instruction", "output"], *(row.values() for row in rows)])
    else:
        lines = json.dumps(rows) if kind == "json" else "\n".join(json.dumps(row) for row in rows)
        path.write_bytes(gzip.compress(lines.encode()) if kind.endswith("gz") else lines.encode())
    read = list(read_conversations(path, "s"))
    assert [c.messages[0].content for c in read] == [row["instruction"] for row in rows]
    assert [c.messages[1].content for c in read] == ["0", "1", "2"]


# ---------------------------------------------------------------------------------------------------------------------
# What is refused


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": TURNS[1:]}, "turn 1 is the assistant's, and nobody has said anything yet"),
        ({"messages": [{"role": "system", "content": "S"}, TURNS[1]]}, "turn 2 is the assistant's"),
        ({"messages": TURNS[:1]}, "ends with a turn of the user; the assistant's answer is missing"),
        ({"messages": []}, "field 'messages' has no turns"),
        ({"messages": [TURNS[0], {"role": "assistant", "content": ""}]}, "turn 2 is empty: the assistant's answer"),
        ({"messages": [{"role": "user", "content": "  "}, TURNS[1]]}, "turn 1 is empty: what the user says"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0] has the role 'boss', which is none of"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content holds a number, not text"),
        ({"messages": ["hello"]}, "messages[0] holds text, not a turn"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "messages[0].content[0] is image_url: only text",
        ),
        (
            {"messages": [TURNS[0], {"role": "tool", "content": "42"}, TURNS[1]]},
            "turn 2 is a tool's result that no tool",
        ),
        (
            {"messages": [TURNS[0], {"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}]},
            "messages[1].tool_calls[0].name is missing",
        ),
        (
            {"messages": [TURNS[0], {"role": "assistant", "tool_calls": [{"name": "c", "arguments": "{"}]}]},
            "messages[1].tool_calls[0].arguments is not valid JSON",
        ),
        ({"instruction": "Say."}, "the row has no field with an answer; it has 'instruction'"),
        ({"text": "Once"}, "the row has no field with a conversation; it has 'text'"),
        ({"instruction": "Say.", "output": None}, "no field with an answer"),
        ({"instruction": "Say.", "output": ["a"], "input": 3}, "field 'input' holds a number"),
        ({"prompt": "Say.", "chosen": "a", "rejected": "b"}, "'chosen' says that these are ranked answers"),
        ({"messages": TURNS[:1], "completions": ["a", "b"], "ranks": [1, 2]}, "[[reward.sources]]"),
        (["no object"], "holds a list, not an object"),
        ({"prompt": "\ud800", "response": "x"}, "half of a character"),
    ],
)
def test_a_row_that_does_not_fit_is_named_with_its_field_and_the_right_form(
    tmp_path: Path, row: Any, said: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"messages": TURNS}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(UserError) as error:
        list(read_conversations(path, "rows"))
    message = str(error.value)
    assert f"{path}, row 2" in message and said in message and 'data.bad_rows = "skip"' in message
    if "half of" not in said and "not an object" not in said:
        assert "The form is {" in message or 'The form is "tool' in message


def test_rows_that_do_not_fit_are_counted_where_the_recipe_says_so(tmp_path: Path) -> None:
    bad = BadRows("skip")
    path = write(tmp_path / "rows.jsonl", {"messages": TURNS}, {"messages": TURNS[:1]}, {"x": 1}, {"messages": TURNS})
    assert len(list(read_conversations(path, "rows", bad=bad))) == 2
    assert bad.counts == {"no conversation": 2} and "row 2" in bad.examples[0]


def test_files_without_rows_are_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Hello")
    with pytest.raises(UserError, match=r"notes\.txt \(\.txt\) is none of \.jsonl"):
        list(read_conversations(tmp_path / "notes.txt", "s"))
    with pytest.raises(UserError, match="is not there"):
        list(read_conversations(tmp_path / "gone.jsonl", "s"))
    (tmp_path / "one.json").write_text('{"messages": []}')
    with pytest.raises(UserError, match="holds an object, not a list of rows"):
        list(read_conversations(tmp_path / "one.json", "s"))
    (tmp_path / "short.csv").write_text("prompt,response\na,b\nc\n")
    with pytest.raises(UserError, match="row 3 has 1 fields, and the first line names 2"):
        list(read_conversations(tmp_path / "short.csv", "s"))


# ---------------------------------------------------------------------------------------------------------------------
# Open Assistant


def message(id: str, parent: str | None, role: str, text: str, rank: int | None = None, **more: Any) -> dict[str, Any]:
    return {"message_id": id, "parent_id": parent, "role": role, "text": text, "rank": rank, "lang": "pt", **more}


TREE = [
    message("q", None, "prompter", "Oi?"),
    message("b", "q", "assistant", "worse", 1),
    message("a", "q", "assistant", "better", 0),
    message("c", "a", "prompter", "one way"),
    message("d", "a", "prompter", "another way"),
    message("e", "c", "assistant", "end"),
    message("f", "d", "assistant", "second", 1),
    message("g", "d", "assistant", "first", 0),
    message("h", "d", "assistant", "removed", None, deleted=True),
    message("i", "g", "prompter", "never answered"),
]


def test_trees_give_the_conversations_of_their_best_answers(tmp_path: Path) -> None:
    found = list(read_conversations(write(tmp_path / "trees.jsonl", *TREE), "oasst"))
    said = [[m.content for m in conversation.messages] for conversation in found]
    assert said == [["Oi?", "better", "one way", "end"], ["Oi?", "better", "another way", "first"]]
    assert [c.id for c in found] == ["q", "q:2"] and {c.language for c in found} == {"pt"}
    assert {c.messages[1].role for c in found} == {"assistant"}


def test_trees_in_one_row_and_message_by_message_mean_the_same(tmp_path: Path) -> None:
    nodes = {row["message_id"]: row | {"replies": []} for row in TREE}
    for row in TREE:
        if row["parent_id"]:
            nodes[row["parent_id"]]["replies"].append(nodes[row["message_id"]])
    nested = list(
        read_conversations(write(tmp_path / "nested.jsonl", {"message_tree_id": "q", "prompt": nodes["q"]}), "s")
    )
    flat = list(read_conversations(write(tmp_path / "flat.jsonl", *TREE), "s"))
    assert nested == flat


def test_a_reply_to_nothing_is_refused(tmp_path: Path) -> None:
    assert "row 2: parent_id 'zz' is in no row" in refused(tmp_path, TREE[0], message("x", "zz", "assistant", "?"))
    assert "row 1: field 'role' is 'robot'" in refused(tmp_path, message("x", None, "robot", "?"))


# ---------------------------------------------------------------------------------------------------------------------


def test_conversations_that_open_alike_fall_on_one_side() -> None:
    other = (QUESTION, Message("assistant", "Forty-two."))
    assert lot((QUESTION, ANSWER), 1) == lot(other, 1) == lot(WITH_TOOL, 1)
    assert lot((QUESTION, ANSWER), 1) != lot((QUESTION, ANSWER), 2)
    assert lot((Message("user", "else"), ANSWER), 1) != lot((QUESTION, ANSWER), 1)
    lots = [lot((Message("user", str(n)), ANSWER), 1) for n in range(400)]
    assert 0.14 < sum(each < 0.2 for each in lots) / 400 < 0.26


def test_learnable_says_what_is_wrong() -> None:
    with pytest.raises(Misfit, match="ends with no turn"):
        learnable(())
    with pytest.raises(Misfit, match="ends with no turn"):
        learnable((Message("system", ""),))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "conversations", "skipped"),
    [
        ("sft/alpaca_5000_en.jsonl.gz", 4998, 2),
        ("sft/oasst1_en_validation_trees.jsonl.gz", 143, 1),
        ("sft/faquad_train_pt.jsonl.gz", 837, 0),
        ("sft/enem_text_only_pt.jsonl.gz", 1361, 0),
        ("sft/self_instruct_seed_en.jsonl.gz", 175, 0),
    ],
)
def test_real_corpora_are_read_as_they_are(real_data: Path, file: str, conversations: int, skipped: int) -> None:
    bad = BadRows("skip")
    found = list(read_conversations(real_data / file, "s", bad=bad))
    assert (len(found), sum(bad.counts.values())) == (conversations, skipped)
