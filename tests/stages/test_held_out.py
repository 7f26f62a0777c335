"""Held-out conversations as prompts: the last answer is left out, short exchanges become examples, long ones stay away."""

import json
from pathlib import Path

from plutao.stages.held_out import EXAMPLES, held_out


def test_prompts_end_with_the_user_and_examples_are_none_of_them(tmp_path: Path) -> None:
    def row(*said: str, source: str = "people") -> str:
        roles = ("user", "assistant") * len(said)
        messages = [{"role": role, "content": text} for role, text in zip(roles, said, strict=False)]
        return json.dumps({"id": said[0], "source": source, "language": "en", "messages": messages})

    rows = [row(f"Question {n}?", f"Answer {n}.") for n in range(EXAMPLES + 2)]
    rows += [row("And then?", "This.", "Why?", "So."), row("Question 0?", "Another answer."), row("long " * 100, "No.")]
    (tmp_path / "held_out.jsonl").write_text("\n".join(rows), encoding="utf-8")
    asked, examples = held_out(tmp_path, context=64)
    assert [example.question for example in examples] == [f"Question {n}?" for n in range(EXAMPLES)]
    assert examples[0].answer == "Answer 0."
    assert [prompt.messages[-1].content for prompt in asked] == ["Question 4?", "Question 5?", "Why?"]
    assert len(asked[-1].messages) == 3 and all(prompt.messages[-1].role == "user" for prompt in asked)
    assert len({prompt.id for prompt in asked}) == 3 and asked[0].language == "en"
