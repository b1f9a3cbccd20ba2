"""Who may talk to the page: Host and Origin are checked, and addresses other than this machine's own need a token.

A web page that the user visits elsewhere can make the browser send requests to 127.0.0.1. The Host header tells DNS
rebinding; Origin and Sec-Fetch-Site tell requests of foreign pages.
"""

import hmac
import ipaddress
import socket
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "tetragan_token"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Middleware that refuses foreign requests before the application sees them, and sets the security headers.

    address: what the server is bound to. token: None where no token is needed. script_hashes: of the page's inline
    scripts, for the content security policy.
    """

    def __init__(self, app: ASGIApp, address: str, token: str | None, script_hashes: tuple[str, ...] = ()) -> None:
        if token is None and not is_loopback(address):
            raise ValueError(f"Guard: expected a token for the address {address}")
        self.app, self.address, self.token = app, address.lower(), token
        scripts = " ".join(["'self'", *(f"'{entry}'" for entry in script_hashes)])
        self.headers = {
            "server": "tetragan",
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-resource-policy": "same-origin",
            "content-security-policy": f"default-src 'self'; script-src {scripts}; img-src 'self' blob: data:; "
            "connect-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in self.headers.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        refusal = self._refusal(scope)
        return await (refusal or self.app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if len(headers.getlist("host")) != 1 or not self._knows(headers["host"]):
            return refused(403, "this host name is not served here; open the page by the address that was printed")
        origin = headers.get("origin")
        if origin is not None and origin != f"{scope.get('scheme', 'http')}://{headers['host']}":
            return refused(403, "requests of other web pages are refused")
        site = headers.get("sec-fetch-site", "none")
        if site not in ("same-origin", "none") and scope["path"] != "/":  # a link to the page is fine
            return refused(403, "requests of other web pages are refused")
        return None if self.token is None else self._token_refusal(scope, headers)

    def _token_refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """None for a right token. The first visit carries it in the URL, and goes on with a cookie."""
        items = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = items.pop("token", [])
        if scope["path"] == "/" and len(given) == 1 and self._is_token(given[0]):
            rest = urlencode(items, doseq=True)
            response = RedirectResponse(f"/{'?' if rest else ''}{rest}", status_code=303)
            response.set_cookie(COOKIE, given[0], httponly=True, samesite="strict")
            return response
        bearer = headers.get("authorization", "")
        if bearer.startswith("Bearer ") and self._is_token(bearer.removeprefix("Bearer ")):
            return None
        # The cookies of other programs on this machine are sent, too, whatever their form.
        if self._is_token(cookie_parser(headers.get("cookie", "")).get(COOKIE, "")):
            return None
        return refused(401, "a token is needed: open the address that was printed, or send Authorization: Bearer TOKEN")

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), (self.token or "").encode()) and bool(self.token)

    def _knows(self, host: str) -> bool:
        """Whether a Host header names this server. Rebinding needs a domain name, so addresses as numbers are safe."""
        if set(host) & set("@/?#\\ "):
            return False
        try:
            parts = urlsplit(f"//{host}")
            name, _ = (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            return False
        if name in LOOPBACK_NAMES:
            return True
        if is_loopback(self.address):
            return False
        return name in (self.address, socket.gethostname().lower()) or _is_number(name)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address."""
    return address.lower() == "localhost" or (_is_number(address) and ipaddress.ip_address(address).is_loopback)


def refused(status: int, reason: str) -> Response:
    """An error as the API gives it."""
    return JSONResponse({"error": reason}, status)


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
