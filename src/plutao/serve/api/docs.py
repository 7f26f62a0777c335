"""GET /docs: the API's description as a page, made from /openapi.json here; it loads nothing from elsewhere."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from fastapi import APIRouter, Request
from jinja2 import Environment
from starlette.responses import HTMLResponse, Response

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs(request: Request) -> Response:
    schema = request.app.openapi()
    style = read("docs.css")
    page = template().render(
        info=schema["info"], groups=groups(schema), style=style, address=str(request.base_url).rstrip("/")
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    return HTMLResponse(page, headers={"content-security-policy": policy})


@dataclass(frozen=True)
class Field:
    """A field of a request or an answer."""

    name: str
    kind: str
    required: bool
    description: str


@dataclass(frozen=True)
class Operation:
    """One way to ask."""

    method: str
    path: str
    summary: str
    description: str
    needs_key: bool
    parameters: list[Field]
    body: list[Field]
    answer: list[Field]
    statuses: list[tuple[str, str]]


def groups(schema: dict[str, Any]) -> dict[str, list[Operation]]:
    """The operations by subject, as they stand in the description."""
    found: dict[str, list[Operation]] = {}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            found.setdefault(tag, []).append(describe(schema, method, path, operation))
    return found


def describe(schema: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> Operation:
    parameters = [
        Field(one["name"], kind_of(one["schema"]), one.get("required", False), one["schema"].get("description", ""))
        for one in operation.get("parameters", [])
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    responses = operation["responses"]
    good: dict[str, Any] = next((answer for status, answer in responses.items() if status.startswith("2")), {})
    told = good.get("content", {}).get("application/json", {}).get("schema", {})
    return Operation(
        method=method.upper(),
        path=path,
        summary=operation.get("summary", ""),
        description=operation.get("description", ""),
        needs_key="security" in operation,
        parameters=parameters,
        body=list(fields(schema, body)),
        answer=list(fields(schema, told)),
        statuses=[(status, answer.get("description", "")) for status, answer in responses.items()],
    )


def fields(schema: dict[str, Any], of: dict[str, Any]) -> Iterator[Field]:
    """The fields of an object, where `of` is one or names one."""
    whole = resolve(schema, of)
    for name, field in whole.get("properties", {}).items():
        yield Field(name, kind_of(field), name in whole.get("required", []), field.get("description", ""))


def resolve(schema: dict[str, Any], of: dict[str, Any]) -> dict[str, Any]:
    name = of.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = schema["components"]["schemas"][name] if name else of
    return found


def kind_of(field: dict[str, Any]) -> str:
    """A field's type in a few words."""
    if "$ref" in field:
        return str(field["$ref"].rpartition("/")[2])
    if alternatives := field.get("anyOf") or field.get("oneOf"):
        return " or ".join(dict.fromkeys(kind_of(one) for one in alternatives))
    if "const" in field:
        return f'"{field["const"]}"'
    if "enum" in field:
        return " or ".join(f'"{value}"' for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {kind_of(field.get('items', {}))}"
    return str(field.get("type", "anything")) + bounds(field)


def bounds(field: dict[str, Any]) -> str:
    low, high = field.get("minimum", field.get("exclusiveMinimum")), field.get("maximum")
    if low is None and high is None:
        return ""
    return f" {low if low is not None else '…'} to {high if high is not None else '…'}"


@cache
def template() -> Any:
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(read("docs.html.j2"))


@cache
def read(name: str) -> str:
    return (resources.files("plutao.serve.api") / name).read_text(encoding="utf-8")
