"""The pages, mounted into the service's application: `install(app)` adds every module under pages/ with a `router`."""

import importlib
import mimetypes
import pkgutil

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from plutao.errors import UserError
from plutao.serve import refusals
from plutao.serve.errors import ApiError, not_found
from plutao.web import pages
from plutao.web.people import SignInFirst
from plutao.web.templating import in_words, page, static_files

static = APIRouter(include_in_schema=False)
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


def install(app: FastAPI) -> None:
    """Adds static files, pages, and errors that people can read."""
    app.include_router(static)
    for module in sorted(pkgutil.iter_modules(pages.__path__), key=lambda one: one.name):
        found = importlib.import_module(f"{pages.__name__}.{module.name}")
        if hasattr(found, "router"):
            app.include_router(found.router)
        if hasattr(found, "install"):
            found.install(app)

    async def sign_in_first(_: Request, error: Exception) -> Response:
        assert isinstance(error, SignInFirst)
        return RedirectResponse(error.address, 303)

    async def refused(request: Request, error: Exception) -> Response:
        refusal = error if isinstance(error, ApiError) else refusals.of_user(error)
        if "text/html" not in request.headers.get("accept", "") or request.url.path.startswith(("/v1/", "/api/")):
            return JSONResponse(refusal.body(), refusal.status, refusal.headers)
        return page(
            request, "error.html", refusal.status, message=in_words(request, refusal), missing=refusal.status == 404
        )

    async def http(request: Request, error: Exception) -> Response:
        refusal = refusals.from_http(error, request)  # type: ignore[arg-type]
        headers = getattr(error, "headers", None) or {}
        answer = await refused(request, refusal)
        answer.headers.update({**headers, **refusal.headers})
        return answer

    app.add_exception_handler(SignInFirst, sign_in_first)
    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(UserError, refused)
    app.add_exception_handler(HTTPException, http)


@static.get("/static/{name}")
def static_file(name: str, request: Request) -> Response:
    """A file of ours. Browsers keep it and ask whether it is still the same."""
    if name not in static_files():
        raise not_found(f"There is no file {name[:100]!r}.")
    content, digest = static_files()[name]
    headers = {"etag": f'"{digest}"', "cache-control": "public, max-age=0, must-revalidate"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    suffix = name[name.rfind(".") :]
    return Response(content, media_type=TYPES.get(suffix) or mimetypes.guess_type(name)[0], headers=headers)
