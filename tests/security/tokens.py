"""An issuer of tokens for OAUTHBEARER: an HTTP server that signs them, and the key that a broker checks."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

AUDIENCE, ISSUER = "brokers", "tests"
LIFE_SECONDS = 300


class Issuer:
    """Signs a token for whoever shows the secret; the client's id becomes the principal."""

    def __init__(self, directory: Path, secret: str) -> None:
        self.secret = secret
        self.issued_tokens: list[str] = []
        self.keys = directory / "jwks.json"
        self._key = directory / "token.key"
        _openssl("genrsa", "-out", str(self._key), "2048")
        shown = _openssl("rsa", "-in", str(self._key), "-noout", "-modulus").decode().strip()
        modulus = bytes.fromhex(shown.partition("=")[2])
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1", "n": _text(modulus), "e": "AQAB"}
        self.keys.write_text(json.dumps({"keys": [key]}))
        self.url = ""
        """Where tokens are to be had while it runs."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve."""
        with ThreadingHTTPServer(("127.0.0.1", 0), self._handler()) as server:
            self.url = f"http://127.0.0.1:{server.server_address[1]}/token"
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join(5)

    def token(self, subject: str) -> str:
        """Return a token, signed by RS256."""
        now = int(time.time())
        claims = {"sub": subject, "aud": AUDIENCE, "iss": ISSUER, "iat": now, "exp": now + LIFE_SECONDS}
        head = {"alg": "RS256", "typ": "JWT", "kid": "1"}
        signed = ".".join(_text(json.dumps(part).encode()) for part in (head, claims))
        sign = ["openssl", "dgst", "-sha256", "-sign", str(self._key)]
        made = subprocess.run(sign, input=signed.encode(), capture_output=True, check=True).stdout
        return f"{signed}.{_text(made)}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                shown = self.headers.get("Authorization", "").removeprefix("Basic ")
                who, _, secret = base64.b64decode(shown).decode().partition(":")
                if secret != issuer.secret:
                    self._answer(401, {"error": "invalid_client"})
                    return
                token = issuer.token(who)
                issuer.issued_tokens.append(token)
                self._answer(200, {
                    "access_token": token, "token_type": "bearer", "expires_in": LIFE_SECONDS,
                })  # fmt: skip

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _openssl(*words: str) -> bytes:
    return subprocess.run(["openssl", *words], capture_output=True, check=True).stdout
