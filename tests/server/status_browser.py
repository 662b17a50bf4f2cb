"""A browser that opens the status page of an application, without sockets."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from proxy.server.app import Proxy
from tests.fakes import Reply, reply_to

ADMIN = "sk-canary-status-admin"
HOST = "llm.example.com"
BROWSER = {"host": HOST, "accept": "text/html,*/*;q=0.8", "sec-fetch-site": "same-origin"}
FORM = {**BROWSER, "origin": f"https://{HOST}", "content-type": "application/x-www-form-urlencoded"}
INSIDE = "/status.json"
"""For administrators only."""
ADMITTED, REFUSED = 200, 401


class Browser:
    """Keeps cookies, as a browser does for one host."""

    def __init__(self, app: Proxy, headers: Mapping[str, str] = FORM) -> None:
        self.app = app
        self.headers = headers
        self.cookies: dict[str, str] = {}
        self.csrf = ""

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        given = {name: value for name, value in self.headers.items() if name not in ("origin", "content-type")}
        return self._kept(await reply_to(self.app, path, {**given, **self._cookie, **(headers or {})}))

    async def post(self, path: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Reply:
        body = urlencode(fields).encode()
        given = {**self.headers, **self._cookie, "content-length": str(len(body)), **(headers or {})}
        return self._kept(await reply_to(self.app, path, given, method="POST", body=body))

    async def log_in(self, key: str = ADMIN) -> Reply:
        return await self.post("/status/login", {"key": key})

    async def log_out(self) -> Reply:
        return await self.post("/status/logout", {"csrf": self.csrf_token()})

    def csrf_token(self) -> str:
        """As the page contains it."""
        sessions = self.app.shared.sessions.sealed
        session = sessions.open(next(iter(self.cookies.values()), "").encode())
        return sessions.csrf_token(session.id) if session else ""

    async def is_logged_in(self) -> bool:
        reply = await self.get(INSIDE)
        assert reply.status in (ADMITTED, REFUSED)
        return reply.status == ADMITTED

    @property
    def _cookie(self) -> Mapping[str, str]:
        return {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}

    def _kept(self, reply: Reply) -> Reply:
        for cookie in (value.decode() for name, value in reply.headers if name == b"set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies.pop(name, None)
            if "Max-Age=0" not in cookie:
                self.cookies[name] = value
        return reply
