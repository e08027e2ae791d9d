"""Who may look: everything is refused that does not come from the page that was opened here.

The address that is opened has a random token, which becomes a cookie that no script can read and no
other site can send; the page takes it out of the address bar. Requests for another host (a name
that was made to point here: DNS rebinding) and from other sites are refused whatever they carry.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_HERE = ("127.0.0.1", "localhost", "::1")


class Guard:
    """Passes on what may be answered, and puts the headers that keep a page to itself on it.

    Args:
        app: what is guarded.
        token: whoever has it may look.
        host: the interface that is listened on.
        port: part of the cookie's name, as cookies do not know ports.
    """

    def __init__(self, app: ASGIApp, token: str, host: str, port: int) -> None:
        self._app = app
        self._token = token
        self._host = host
        self._cookie = f"astuner_view_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        opened = self._is_opening(scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if opened:
                    cookie = f"{self._cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/"
                    headers.append("set-cookie", cookie)
            await send(message)

        refusal = self._refusal(scope, opened)
        app = self._app if refusal is None else refusal
        await app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, opened: bool) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Nothing can be changed here.", 405)
        if not self._is_known_host(headers.get("host", "")):
            return PlainTextResponse("This host is not served.", 421)
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != headers.get("host"):
            return PlainTextResponse("Another site may not look here.", 403)
        site = headers.get("sec-fetch-site", "none")
        # A link to the page itself may be anywhere: it shows nothing without the cookie.
        if site not in ("none", "same-origin") and scope["path"] != "/":
            return PlainTextResponse("Another site may not look here.", 403)
        if not opened and not self._has_cookie(headers):
            return PlainTextResponse(
                "Open the address that `astuner view` printed: it has the token.", 403
            )
        return None

    def _is_opening(self, scope: Scope) -> bool:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        return scope["path"] == "/" and self._is_token(given)

    def _has_cookie(self, headers: Headers) -> bool:
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return False
        return cookie is not None and self._is_token(cookie.value)

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._token.encode())

    def _is_known_host(self, header: str) -> bool:
        """Its port may be another one: that of a tunnel (`ssh -L`)."""
        name = header.rsplit(":", 1)[0] if not header.endswith("]") else header
        name = name.strip("[]").lower()
        if name in _HERE or name == self._host.lower():
            return True
        if self._host in _HERE:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name == socket.gethostname().lower()
        return True
