"""Pages from templates: whoever renders one gets the reader, their language and theme, and the words.

    return page(request, "chat/conversation.html", conversation=conversation)

In templates: `t("chat.send")` is a text, `asset("style.css")` the address of a file of ours, `me` the reader's account or
None, `form_token` what every form must carry (`{{ form_token_field() }}`), `number(x, digits)` a number as the language
writes it, `explain(code)` a refusal in words.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from plutao.serve import sessions
from plutao.web import words
from plutao.web.rail import entries_for

LANGUAGE_COOKIE = "plutao_language"
THEME_COOKIE = "plutao_theme"
THEMES = ("light", "dark")
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
"""Nothing from elsewhere, no script and no style that stands in a page."""


def language_of(request: Request) -> words.Language:
    return words.choose_language(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language", ""))


def theme_of(request: Request) -> str:
    """`light`, `dark`, or nothing where the system decides."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else ""


def translator(request: Request) -> Callable[..., str]:
    """`t(key, **values)` in the reader's language."""
    language = language_of(request)

    def t(key: str, **values: object) -> str:
        return words.say(language, key, **values)

    return t


def page(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """A whole page.

    Args:
        template: under templates/.
        context: for the template; `script_words` names the word files that the page's scripts read.
    """
    response = HTMLResponse(fragment(request, template, **context), status)
    response.headers["content-security-policy"] = POLICY
    response.headers["referrer-policy"] = "same-origin"  # without any, browsers send our own forms with `Origin: null`
    response.headers["vary"] = "Cookie, Accept-Language"
    return response


def fragment(request: Request, template: str, **context: Any) -> str:
    """A piece of a page, as scripts put it into one."""
    return environment().get_template(template).render({**common(request), **context})


def common(request: Request) -> dict[str, Any]:
    """What every template can use."""
    language = language_of(request)
    account = getattr(request.state, "account", None)
    cookie = request.cookies.get(sessions.COOKIE)
    token = sessions.form_token(cookie) if account is not None and cookie else ""
    return {
        "t": translator(request),
        "language": language,
        "locale": words.LOCALES[language],
        "theme": theme_of(request),
        "me": account,
        "form_token": token,
        "form_token_field": lambda: Markup('<input type="hidden" name="form_token" value="{}">').format(token),
        "rail": entries_for(account.role) if account is not None else [],
        "path": request.url.path,
        "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        "number": lambda value, digits=0: number(value, digits, language),
        "explain": lambda refusal: explain(language, refusal),
        "script_words": (),
        "words_of": lambda *pages: words.of_page(language, *pages),
        "asset": asset,
    }


def explain(language: str, refusal: str) -> str:
    """A refusal that is known by its code in the reader's language; another one as it is."""
    key = f"base.error_{refusal}"
    return words.say(language, key) if key in words.catalogue() else refusal


def in_words(request: Request, refusal: Exception) -> str:
    """A refusal in the reader's language where its code has words there, else as it says itself."""
    code = getattr(refusal, "code", None)
    said = explain(language_of(request), str(code))
    return str(refusal) if code is None or said == code else said


def number(value: float, digits: int, language: str) -> str:
    """A number as the language writes it: 1,234.5 or 1.234,5."""
    text = f"{value:,.{digits}f}"
    return text.translate(str.maketrans(",.", ".,")) if language == "pt" else text


def asset(name: str) -> str:
    """The address of a file under static/; it changes with the file's content."""
    return f"/static/{name}?{static_files()[name][1][:10]}"


@cache
def static_files() -> Mapping[str, tuple[bytes, str]]:
    """Every file under static/: its content and the SHA-256 of that."""
    found = {}
    for file in resources.files("plutao.web").joinpath("static").iterdir():
        if file.is_file() and not file.name.startswith("."):
            content = file.read_bytes()
            found[file.name] = (content, hashlib.sha256(content).hexdigest())
    return found


@cache
def environment() -> Environment:
    made = Environment(
        loader=PackageLoader("plutao.web"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters["browser_name"] = browser_name
    return made


def browser_name(told: str) -> str:
    """What a browser says of itself, in two words: `Firefox, Linux`."""
    browsers = ("Edg", "OPR", "Firefox", "Chrome", "Safari")
    systems = ("Android", "iPhone", "iPad", "Windows", "Mac OS", "Linux")
    names = {"Edg": "Edge", "OPR": "Opera"}
    found = [next((one for one in known if one in told), "") for known in (browsers, systems)]
    return ", ".join(names.get(one, one) for one in found if one) or told[:40] or "–"


def way_back(path: str) -> str:
    """A path of ours to return to; anything that leads elsewhere becomes the beginning."""
    parts = urlsplit(path)
    safe = path.startswith("/") and not path.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return path if safe and "\\" not in path and path.isprintable() else "/"
