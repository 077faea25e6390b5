"""Handlers of declared routes: message out, reply in, answer back."""

from __future__ import annotations

from typing import Any

from nanocore.capabilities.compute import GetSystemOverview
from nanocore.capabilities.identity import CreateSession, DeleteSession, NewSession
from nanocore.contracts.authorizer import ANONYMOUS
from nanocore.contracts.handler import Reply
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import PUBLIC, encode_json, to_builtins
from nanoplugins.restapi.endpoints import API, Endpoint
from nanoplugins.restapi.handling import COOKIE, SAFE_METHODS, BodyHandler, is_number
from nanoplugins.restapi.idempotency import scoped_key
from nanoplugins.restapi.identities import SESSION_PREFIX
from nanoplugins.restapi.problems import Answer

PRODUCT = "Nano"


class RouteHandler(BodyHandler):
    """Serves one endpoint; made by Tornado for every request."""

    keeps_answers = True

    def initialize(self, **options: Any) -> None:  # noqa: ANN401  each handler has its own
        """Take the endpoint; called by Tornado."""
        super().initialize(**options)
        self.endpoint: Endpoint = options["endpoint"]

    async def serve(self, **parameters: str) -> None:
        """Answer the request."""
        credential = self.credential()
        await self.check_cross_site(credential)
        body = self.take_body()
        key = self.request.headers.get("Idempotency-Key")
        if key is None or not self.keeps_answers or self.request.method in SAFE_METHODS:
            answer = await self.work(credential, parameters, body, None)
        else:
            user_id = await self.api.identities.user_id(credential)
            scoped = scoped_key(key, user_id, self.endpoint.route.method, self.request.path)
            if self.api.kept_answers.holds(scoped):
                # The core is not asked again, so that a login that has ended would still get the answer.
                await self.api.identities.ask(credential)
            answer = await self.api.kept_answers.once(
                scoped, body, lambda: self.work(credential, parameters, body, scoped)
            )
        await self.finish_answer(answer, credential)

    get = head = post = put = patch = delete = serve

    async def work(self, credential: str, parameters: dict[str, str], body: bytes, key: str | None) -> Answer:
        """Send the message and return the answer. Nothing here ends early when the client has gone."""
        if credential == ANONYMOUS and self.endpoint.message.permission != PUBLIC:
            raise NanoError(ErrorCode.UNAUTHENTICATED, "log in first")  # before its body costs anything
        message = self.endpoint.build(parameters, self.query(), body, self.header_fields(key))
        reply = await self.api.core.call_reply(message, credential=credential)
        return self.endpoint.answer(reply)

    def header_fields(self, key: str | None) -> dict[str, Any]:
        """Return the fields that headers set. Raises ``invalid_argument`` and ``unsupported``."""
        extra: dict[str, Any] = {"idempotency_key": key if self.endpoint.has_idempotency_key else None}
        match = self.request.headers.get("If-Match")
        if match is not None and self.request.method not in SAFE_METHODS and match.strip() != "*":
            extra["expect_revision"] = self._revision(match)
        return extra

    async def finish_answer(self, answer: Answer, credential: str) -> None:
        """Send the answer; a variant does more with it."""
        del credential
        if "ETag" in answer.headers:
            self.set_header("Cache-Control", "private, no-cache")
            self.set_header("ETag", answer.headers["ETag"])
            if self.request.method in SAFE_METHODS and self.check_etag_header():
                answer = Answer(304, headers=answer.headers)
        await self.send(answer)

    def _revision(self, match: str) -> int:
        if not self.endpoint.has_expect_revision:
            raise NanoError(
                ErrorCode.UNSUPPORTED, f"{self.endpoint.route.key} can't be made conditional; leave If-Match out"
            )
        text = match.strip().removeprefix("W/").strip('"')
        if not is_number(text):
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT, "If-Match must be an ETag that a GET returned", field="If-Match"
            )
        return int(text)


class LoginHandler(RouteHandler):
    """``POST /session``: the secret goes into the cookie and nowhere else; a repeat is another login."""

    keeps_answers = False

    def credential(self) -> str:
        """Return nobody: whatever came along, a login starts afresh."""
        return ANONYMOUS

    def header_fields(self, key: str | None) -> dict[str, Any]:
        """Add where the request came from."""
        return {**super().header_fields(key), "address": self.request.remote_ip or "local"}

    async def work(self, credential: str, parameters: dict[str, str], body: bytes, key: str | None) -> Answer:
        """Log in."""
        message = self.endpoint.build(parameters, self.query(), body, self.header_fields(key))
        reply: Reply[NewSession] = await self.api.core.call_reply(message, credential=credential)
        shown = to_builtins(reply.body)
        secret = shown.pop("credential").removeprefix(SESSION_PREFIX)
        cookie = f"{COOKIE}={secret}; Path=/; Secure; HttpOnly; SameSite=Strict"
        return Answer(201, encode_json(shown), {"Set-Cookie": cookie, "Location": f"{API}/session"})


class LogoutHandler(RouteHandler):
    """``DELETE /session``: takes the cookie back and closes what the session opened."""

    async def finish_answer(self, answer: Answer, credential: str) -> None:
        """Forget the credential here as well."""
        self.api.identities.forget(credential)
        cookie = f"{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"
        await self.send(Answer(answer.status, answer.body, {**answer.headers, "Set-Cookie": cookie}))


class SystemHandler(RouteHandler):
    """``GET /system``: before login the name and the version only."""

    async def work(self, credential: str, parameters: dict[str, str], body: bytes, key: str | None) -> Answer:
        """Answer a stranger without asking the core."""
        if credential == ANONYMOUS:
            return Answer(200, encode_json({"name": PRODUCT, "version": self.api.context.node.version}))
        return await super().work(credential, parameters, body, key)


HANDLERS: dict[type[Any], type[RouteHandler]] = {
    CreateSession: LoginHandler,
    DeleteSession: LogoutHandler,
    GetSystemOverview: SystemHandler,
}
"""Messages whose route does more than send and answer."""
