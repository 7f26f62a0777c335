"""The page behind a one-time link, for a service without other pages: plain HTML, without a script."""

from html import escape
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse

from plutao.errors import UserError
from plutao.serve import accounts, sessions
from plutao.serve.api.common import Kept, Password, Short
from plutao.serve.errors import ApiError
from plutao.serve.identity import same_origin
from plutao.serve.sessions import visitor_of

router = APIRouter(prefix="/setup", tags=["people"], include_in_schema=False)
HEADERS = {
    "content-security-policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "cache-control": "no-store",
}
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Plutão</title></head><body><main><h1>Plutão</h1>{body}</main></body></html>
"""
FORM = """<p>{words}</p>{problem}
<form method="post" action="/setup">
<input type="hidden" name="token" value="{token}">{person}
<p><label>Password (12 characters or more) · <span lang="pt-BR">Senha (12 caracteres ou mais)</span><br>
<input name="password" type="password" autocomplete="new-password" minlength="12" required></label></p>
<p><button>Continue · <span lang="pt-BR">Continuar</span></button></p>
</form>"""
PERSON = """
<p><label>E-mail<br><input name="email" type="email" autocomplete="username" required value="{email}"></label></p>
<p><label>Name · <span lang="pt-BR">Nome</span><br><input name="name" autocomplete="name" value="{name}"></label></p>"""
WORDS = {
    "owner": 'You are the owner of this service. · <span lang="pt-BR">Este serviço é seu.</span>',
    "password": 'Choose your password. · <span lang="pt-BR">Escolha sua senha.</span>',
}
DONE = """<p>Done: you are signed in. · <span lang="pt-BR">Pronto: você está dentro.</span></p><p><a href="/">Plutão</a></p>"""


def page(body: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(PAGE.format(body=body), status, HEADERS)


@router.get("")
def show(token: Annotated[Short, Query()], database: Kept) -> HTMLResponse:
    return form(database, token)


@router.post("", dependencies=[Depends(same_origin)])
def follow(
    request: Request,
    database: Kept,
    token: Annotated[Short, Form()],
    password: Annotated[Password, Form()],
    email: Annotated[Short, Form()] = "",
    name: Annotated[Short, Form()] = "",
) -> HTMLResponse:
    try:
        with database.writing() as db:
            begun = accounts.use_link(db, token, password, visitor_of(request), email, name)
    except UserError as error:
        return form(database, token, str(error), email, name)
    except ApiError as error:
        return page(f"<p>{escape(error.message)}</p>", error.status)
    response = page(DONE)
    sessions.put_cookie(request, response, begun.token)
    return response


def form(database: Kept, token: str, problem: str = "", email: str = "", name: str = "") -> HTMLResponse:
    """The form; what was wrong with what was sent stands above it."""
    with database.reading() as db:
        link = accounts.find_link(db, token)
    if link is None:
        old = "This link was used already or is too old: ask for a new one."
        velho = "Este link já foi usado ou venceu: peça outro."
        return page(f'<p>{old}</p><p lang="pt-BR">{velho}</p>', 401)
    person = PERSON.format(email=escape(email), name=escape(name)) if link.purpose == "owner" else ""
    wrong = f'<p role="alert"><strong>{escape(problem)}</strong></p>' if problem else ""
    words = WORDS[link.purpose]
    return page(FORM.format(words=words, problem=wrong, token=escape(token), person=person), 400 if problem else 200)
