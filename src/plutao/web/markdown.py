"""What people and models write, as HTML that can do nothing: Markdown without raw HTML, sanitised again, code coloured by
class names, formulas as MathML. Pictures from elsewhere are shown as links: a page that fetches them tells on its reader.
"""

import re
import xml.etree.ElementTree as ElementTree
from functools import cache
from html import escape
from typing import Any

import nh3
from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

LONGEST = 20_000
"""Characters that are read as Markdown; what is longer is shown as it is."""
LONGEST_FORMULA = 2000
TAGS = {
    "p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li",
    "table", "thead", "tbody", "tr", "th", "td", "a", "span", "div",
}  # fmt: skip
MATHML = {
    "math", "mrow", "mi", "mn", "mo", "ms", "mtext", "mspace", "msup", "msub", "msubsup", "munder", "mover", "munderover",
    "mfrac", "msqrt", "mroot", "mtable", "mtr", "mtd", "mpadded", "mphantom", "mstyle", "menclose", "mmultiscripts",
    "mprescripts", "semantics",
}  # fmt: skip
MATHML_ATTRIBUTES = {
    "display", "mathvariant", "stretchy", "fence", "form", "separator", "accent", "accentunder", "displaystyle",
    "linethickness", "columnalign", "rowspacing", "columnspacing", "minsize", "maxsize", "movablelimits", "largeop",
}  # fmt: skip
NAMESPACE = "{http://www.w3.org/1998/Math/MathML}"
MARK = "\x02{}\x03"


def blocks(text: str) -> list[str]:
    """The text as HTML, a string for each block at its top level: while it grows, only the last ones change."""
    text = text.replace("\x02", "").replace("\x03", "")
    if len(text) > LONGEST:
        return [f'<pre class="plain">{escape(text)}</pre>']
    env: dict[str, Any] = {"formulas": []}
    found: list[str] = []
    tokens = reader().parse(text, env)
    start = depth = 0
    for place, token in enumerate(tokens):
        depth += token.nesting
        if depth == 0:
            found.append(clean(reader().renderer.render(tokens[start : place + 1], reader().options, env), env))
            start = place + 1
    return found


def html(text: str) -> str:
    return "\n".join(blocks(text))


def clean(made: str, env: dict[str, Any]) -> str:
    """Only tags and attributes that are on the list; formulas, which are checked by themselves, are put in last."""
    safe = nh3.clean(
        made,
        tags=TAGS,
        clean_content_tags={"script", "style"},
        attributes={
            "a": {"href", "title"},
            "ol": {"start"},
            "code": {"class"},
            "span": {"class"},
            "div": {"class"},
            "td": {"class"},
            "th": {"class"},
        },
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        strip_comments=True,
    )
    return re.sub("\x02(\\d+)\x03", lambda match: env["formulas"][int(match[1])], safe)


@cache
def reader() -> MarkdownIt:
    """CommonMark with tables and strikethrough, raw HTML off, formulas on."""
    made = MarkdownIt("commonmark", {"html": False, "maxNesting": 30}).enable(["table", "strikethrough"])
    made.inline.ruler.before("escape", "formula", find_formula)
    made.add_render_rule("fence", draw_code)
    made.add_render_rule("code_block", draw_code)
    made.add_render_rule("image", draw_image)
    made.add_render_rule("formula", draw_formula)
    made.add_render_rule("th_open", draw_cell)
    made.add_render_rule("td_open", draw_cell)
    return made


# ---------------------------------------------------------------------------------------------------------------------
# Code and pictures


def draw_code(self: Any, tokens: list[Token], place: int, options: Any, env: Any) -> str:
    token = tokens[place]
    language = token.info.strip().split(maxsplit=1)[0][:30] if token.info.strip() else ""
    named = f'<span class="code-language">{escape(language)}</span>'
    return f'<div class="code">{named}<pre><code>{coloured(token.content, language)}</code></pre></div>\n'


def coloured(code: str, language: str) -> str:
    """Pygments' spans with class names; plain where the language is not known or the code is long."""
    if language and len(code) < 20_000:
        try:
            return str(highlight(code, get_lexer_by_name(language), HtmlFormatter(nowrap=True)))
        except ClassNotFound:
            pass
    return escape(code)


def draw_image(self: Any, tokens: list[Token], place: int, options: Any, env: Any) -> str:
    """A picture as a link: nothing is fetched before somebody wants it."""
    token = tokens[place]
    return f'<a href="{escape(str(token.attrs.get("src", "")))}">{escape(token.content or "↗")}</a>'


def draw_cell(self: Any, tokens: list[Token], place: int, options: Any, env: Any) -> str:
    """A table's cell; how it is aligned is a class, since styles are not allowed."""
    token = tokens[place]
    align = str(token.attrs.get("style", "")).removeprefix("text-align:")
    return f'<{token.tag} class="{align}">' if align in ("left", "right", "center") else f"<{token.tag}>"


# ---------------------------------------------------------------------------------------------------------------------
# Formulas


def find_formula(state: StateInline, silent: bool) -> bool:
    r"""$…$, $$…$$, \(…\) and \[…\]; a dollar that stands before a blank or a digit after its end is money."""
    text, start = state.src, state.pos
    for opening, closing in (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$")):
        if not text.startswith(opening, start):
            continue
        begin = start + len(opening)
        end = text.find(closing, begin, begin + LONGEST_FORMULA)
        body = text[begin:end] if end > begin else ""
        after = text[end + 1 : end + 2]
        if not body.strip() or (opening == "$" and (body != body.strip() or after.isdigit() or "\n\n" in body)):
            continue
        if not silent:
            token = state.push("formula", "math", 0)
            token.content, token.markup = body, opening
        state.pos = end + len(closing)
        return True
    return False


def draw_formula(self: Any, tokens: list[Token], place: int, options: Any, env: Any) -> str:
    token = tokens[place]
    display = token.markup in ("$$", "\\[")
    env["formulas"].append(formula(token.content, display))
    return MARK.format(len(env["formulas"]) - 1)


def formula(latex: str, display: bool) -> str:
    """MathML of a formula, or its source where it can't be read."""
    try:
        tree = ElementTree.fromstring(convert(latex, display="block" if display else "inline"))
        return ElementTree.tostring(checked(tree), encoding="unicode")
    except Exception:  # whatever a text may hold, it is no reason for a page to fail
        return f"<code>{escape(latex)}</code>"


def checked(element: ElementTree.Element) -> ElementTree.Element:
    """A copy with MathML's own elements alone: no links, nothing that acts."""
    name = element.tag.removeprefix(NAMESPACE)
    if name not in MATHML:
        raise ValueError(f"<{name}> is no formula")
    copy = ElementTree.Element(name, {key: value for key, value in element.attrib.items() if key in MATHML_ATTRIBUTES})
    copy.text = element.text
    for child in element:
        copy.append(checked(child))
    return copy
