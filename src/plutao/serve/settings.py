"""The settings of the service: defaults, then a TOML file, then PLUTAO_* in the environment, then the command line.

Every key can be given in each place: `port = 8000` in the file, PLUTAO_PORT=8000 in the environment.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from plutao.errors import UserError

FILE = "serve.toml"
PREFIX = "PLUTAO_"
ELSEWHERE = frozenset({"DATA", "DEBUG"})
"""Names behind PLUTAO_ that other parts of Plutão read."""


class ServeSettings(BaseModel):
    """What `plutao serve` can be told. Durations are seconds, sizes bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    root: Path = Field(Path(), description="The project's folder.")

    # Where it listens and who may reach it
    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 lets other machines in.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    public_url: str | None = Field(
        None, description="How browsers reach the service, https://… behind a proxy; None: http://HOST:PORT."
    )
    trusted_proxies: str = Field(
        "127.0.0.1",
        description="Proxies whose X-Forwarded-For and -Proto are believed: addresses with commas between, or *.",
    )
    cors_origins: tuple[str, ...] = Field(
        (),
        description="Origins whose scripts may call the API from a browser, as https://example.org; none by default.",
    )
    docs: bool = Field(True, description="Whether /docs and /openapi.json are shown.")
    open_metrics: bool = Field(
        False, description="Whether /metrics answers without a key; otherwise it asks for an owner's."
    )

    # What answers
    upstream: str | None = Field(
        None,
        description="Base address of an OpenAI-compatible engine that answers in place of ours, as http://host:8001/v1.",
    )
    upstream_key: str | None = Field(None, repr=False, description="The key that the upstream engine asks for.")
    slots: int = Field(16, ge=1, le=1024, description="Answers written at the same time by one model.")
    queue: int = Field(64, ge=0, description="Requests that may wait beyond those; more are refused with 503.")
    models_loaded: int = Field(
        2, ge=1, description="Models in memory at once; the one unused longest leaves for another."
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="In fp32 answers don't depend on who else asks; bf16 is faster."
    )
    threads: int | None = Field(
        None, ge=1, description="Processor threads of an engine; None: as many as there are cores."
    )

    # What a request may ask
    max_body: int = Field(4 * 2**20, ge=1024, description="Largest request body.")
    max_answers: int = Field(16, ge=1, le=128, description="Answers to one prompt at most (n, best_of).")
    max_prompts: int = Field(
        128, ge=1, description="Prompts in one completions request, inputs in one embeddings request."
    )
    default_max_tokens: int = Field(512, ge=1, description="Tokens of a chat answer where the request names no limit.")
    request_timeout: float = Field(600.0, gt=0, description="Seconds after which an answer is ended where it is.")
    grace: float = Field(
        20.0, ge=0, description="Seconds that running answers get to finish when the service is stopped."
    )
    ping: float = Field(10.0, gt=0, description="Seconds of silence in a stream after which a comment keeps it alive.")

    # What is kept
    database_url: str | None = Field(
        None, repr=False, description="SQLAlchemy URL of the database; None: sqlite in the project's plutao.db."
    )

    # Signing in
    oidc_issuer: str | None = Field(
        None, description="OpenID Connect provider for signing in, by its issuer's address."
    )
    oidc_client_id: str | None = Field(None, description="The client's name at that provider.")
    oidc_client_secret: str | None = Field(None, repr=False, description="The client's secret at that provider.")
    oidc_newcomers: Literal["member", "labeller"] | None = Field(
        None, description="Role of people who sign in there and have no account yet; None: owners invite people first."
    )

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("public_url", "upstream")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/") if value else None

    @property
    def address(self) -> str:
        """Where people reach the service, without a slash at the end."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        shown = f"[{host}]" if ":" in host else host
        return self.public_url or f"http://{shown}:{self.port}"


def load_settings(
    root: Path,
    file: Path | None = None,
    given: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> ServeSettings:
    """The settings for a project.

    Args:
        file: a TOML file; None: `serve.toml` in the project, where there is one.
        given: the command line's; None among the values says nothing.
        environment: os.environ, if not given.

    Raises:
        UserError: a key or a value is not right, with the place it came from and what is allowed.
    """
    path = file if file is not None else root / FILE
    layers: list[tuple[str, dict[str, Any]]] = [(str(path), from_file(path, needed=file is not None))]
    layers.append(("the environment", from_environment(os.environ if environment is None else environment)))
    layers.append(("the command line", {key: value for key, value in (given or {}).items() if value is not None}))
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for name, layer in layers:
        values |= layer
        origin |= dict.fromkeys(layer, name)
    try:
        return ServeSettings(**{**values, "root": root})
    except ValidationError as error:
        raise UserError("\n".join(describe(problem, origin) for problem in error.errors())) from error


def from_file(path: Path, needed: bool) -> dict[str, Any]:
    """The keys of a settings file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        if needed:
            raise UserError(
                f"There is no {path}: --config names a TOML file with settings such as `port = 8000`."
            ) from error
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}.") from error


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """The keys that PLUTAO_* variables give.

    Raises:
        UserError: a variable whose name is nearly a key's.
    """
    keys = set(ServeSettings.model_fields) - {"root"}
    found: dict[str, Any] = {}
    for name, value in environment.items():
        key = name.removeprefix(PREFIX).lower()
        if not name.startswith(PREFIX) or name.removeprefix(PREFIX) in ELSEWHERE:
            continue
        if key in keys:
            found[key] = value
        elif close := difflib.get_close_matches(key, keys, n=1, cutoff=0.8):
            raise UserError(f"{name} in the environment is no setting. Did you mean {PREFIX}{close[0].upper()}?")
    return found


def describe(problem: Any, origin: Mapping[str, str]) -> str:
    """One thing wrong, as one sentence."""
    key = str(problem["loc"][0]) if problem["loc"] else ""
    where = origin.get(key, "the settings")
    if problem["type"] == "extra_forbidden":
        known = [name for name in ServeSettings.model_fields if name != "root"]
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        return f"{where}: unknown key {key!r}.{meant} Allowed: {', '.join(known)}."
    what = ServeSettings.model_fields[key].description if key in ServeSettings.model_fields else ""
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {key} is not right: {message[:1].lower()}{message[1:]}. {what}"
