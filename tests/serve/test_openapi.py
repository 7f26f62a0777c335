"""What /openapi.json promises is what is answered, for requests that nobody thought of (schemathesis)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from api_service import Service, start, stop
from hypothesis import HealthCheck
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from stand_in import StandIn

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
EXAMPLES = 8
MANY = 25
"""Of the operations that write text or read it."""
MAIN = ("chat/completions", "completions", "embeddings", "responses", "responses/input_tokens")
LATER = {"/api/me/forget", "/v1/moderations", "/metrics", "/api/oidc", "/api/oidc/callback"}
"""Not asked: the first ends the account that asks, the second always says 501, the others do not answer with JSON."""


@pytest.fixture(scope="module")
def restless(talker_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of its own: what is made up here may change its accounts and prices."""
    service, thread = start(tmp_path_factory.mktemp("restless"), StandIn(talker_folder), max_answers=2, max_prompts=4)
    service.key = service.new_key(scopes=["inference", "usage", "admin"])
    yield service
    stop(service, thread)


def test_every_operation_answers_as_described(restless: Service) -> None:
    schema = schemathesis.openapi.from_dict(restless.serving.app.openapi())
    operations = [result.ok() for result in schema.get_all_operations()]
    asked = [operation for operation in operations if operation.path not in LATER]
    assert len(asked) > 20
    statuses = {f"{operation.method.upper()} {operation.path}": check(restless, operation) for operation in asked}
    for name in MAIN:
        assert {200, 400} <= statuses[f"POST /v1/{name}"], f"{name}: only {statuses[f'POST /v1/{name}']}"


def body_of(operation) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    """The description of the body that an operation takes."""
    described = operation.schema.raw_schema
    asked = described["paths"][operation.path][operation.method].get("requestBody", {}).get("content", {})
    name = asked.get("application/json", {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
    return dict(described["components"]["schemas"].get(name, {}))


def check(service: Service, operation) -> set[int]:  # type: ignore[no-untyped-def]
    """Asks one operation for what hypothesis makes up of its description; which statuses that gave."""
    statuses: set[int] = set()

    form = body_of(operation)
    required, known_fields = form.get("required", []), form.get("properties", {})

    @hypothesis.given(case=operation.as_strategy(), known=st.integers(0, 4), extras=st.integers(0, 3))
    @hypothesis.settings(
        max_examples=MANY if operation.path.removeprefix("/v1/") in MAIN else EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case, known: int, extras: int) -> None:  # type: ignore[no-untyped-def]
        if isinstance(case.body, dict) and known and "model" in case.body:
            # Of everything at once something is always refused: mostly a few fields, and a model that there is.
            few = [*required, *[name for name in case.body if name in known_fields and name not in required][:extras]]
            case.body = {name: case.body[name] for name in few if name in case.body} | {"model": "current"}
            if operation.path in ("/v1/chat/completions", "/v1/completions"):
                case.body["max_tokens"] = 2
            if known > 1 and isinstance(case.body.get("messages"), list):  # made-up conversations hardly ever end well
                case.body["messages"] = [{"role": "user", "content": "Oi"}]
        headers = {"Authorization": f"Bearer {service.key}"}
        answer = case.call_and_validate(base_url=service.url, headers=headers, checks=CHECKS, timeout=60)
        statuses.add(answer.status_code)

    ask()
    return statuses
