"""An OpenID Connect provider on this machine: discovery, keys, a token endpoint that checks PKCE; it lies where told to."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT, SECRET = "plutao", "the client's secret"


@dataclass
class Provider:
    """What it is and does; `lies` are claims that it tells otherwise, `alg` how it signs."""

    issuer: str = ""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}))
    signs_with: Any = None
    alg: str = "RS256"
    person: dict[str, Any] = field(default_factory=dict)
    lies: dict[str, Any] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def authorize(self, address: str) -> str:
        """What the person's browser does there: signs in; returns the address it is sent back to."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = f"code{len(self.codes)}"
        self.codes[code] = asked
        return asked["redirect_uri"] + "?" + urlencode({"code": code, "state": asked["state"]})

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        asked = self.codes.pop(form.get("code", ""), None)
        expected = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).rstrip(b"=").decode()
        if asked is None or authorization != expected or asked["code_challenge"] != challenge:
            return 400, {"error": "invalid_grant"}
        if form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        present = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": present, "exp": present + 300, "nonce": asked["nonce"]}
        claims |= self.person | self.lies
        return 200, {"access_token": "at", "token_type": "Bearer", "id_token": self.sign(claims)}

    def sign(self, claims: dict[str, Any]) -> str:
        if self.alg in ("none", "HS256"):
            head = b".".join(segment(part) for part in ({"alg": self.alg, "typ": "JWT", "kid": "one"}, claims))
            public = self.key.as_pem(private=False)  # as a shared secret: everybody has it
            mac = hmac.digest(public, head, "sha256") if self.alg == "HS256" else b""
            return (head + b"." + unpadded(mac)).decode()
        key = self.signs_with or self.key
        return jwt.encode({"alg": self.alg, "kid": key.kid}, claims, key)


def segment(part: dict[str, Any]) -> bytes:
    return unpadded(json.dumps(part).encode())


def unpadded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@contextmanager
def provider() -> Iterator[Provider]:
    """A provider that answers on a port of this machine."""
    told = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/.well-known/openid-configuration":
                paths = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
                addresses = {name: f"{told.issuer}/{path}" for name, path in paths.items()}
                self.answer(200, {"issuer": told.issuer, **addresses})
            elif self.path == "/keys":
                self.answer(200, KeySet([told.key]).as_dict(private=False))
            else:
                self.answer(404, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self.answer(*told.token(form, self.headers.get("authorization", "")))

        def answer(self, status: int, body: Any) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.issuer = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
