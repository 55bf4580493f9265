"""The OAuth endpoints: token, revoke, introspect, userinfo and the identity address.

Why: `instance_url` and `id` are built from the address a request came to, so the org works behind any port, over HTTP
and HTTPS, without being told its own name.

Source: Salesforce Help, "OAuth Endpoints", "Identity URLs"; replies seen by real clients.
"""

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from aiohttp import web

from sfsync.simorg.oauth_errors import REFUSALS, OAuthError, refusal
from sfsync.simorg.oauth_grants import Grant, TokenRequest, basic_credentials, grant
from sfsync.simorg.sessions import Session, Sessions
from sfsync.simorg.soap_login import add_soap_login_route

if TYPE_CHECKING:
    from sfsync.simorg.faults import Fault
    from sfsync.simorg.org import Org

FORM_BYTES_MAX = 65_536
__all__ = ["Session", "Sessions", "add_oauth_routes"]


def base_url(request: web.Request) -> str:
    """Return scheme and host that *request* was sent to."""
    return f"{request.scheme}://{request.host}"


def add_oauth_routes(app: web.Application, org: "Org") -> None:
    """Serve the OAuth endpoints and the SOAP login of *org*."""
    endpoints = OAuthEndpoints(org)
    app.router.add_post("/services/oauth2/token", endpoints.token)
    app.router.add_post("/services/oauth2/revoke", endpoints.revoke)
    app.router.add_get("/services/oauth2/revoke", endpoints.revoke)
    app.router.add_post("/services/oauth2/introspect", endpoints.introspect)
    app.router.add_get("/services/oauth2/userinfo", endpoints.userinfo)
    app.router.add_post("/services/oauth2/userinfo", endpoints.userinfo)
    app.router.add_get("/id/{org_id}/{user_id}", endpoints.identity)
    add_soap_login_route(app, org)


class OAuthEndpoints:
    """The request handlers of one org."""

    def __init__(self, org: "Org") -> None:
        self._org = org

    async def token(self, request: web.Request) -> web.Response:
        """Answer the token endpoint."""
        form = await _form(request) | basic_credentials(request.headers.get("Authorization"))
        self._org.stats.note("token", form.get("grant_type", "")[:100])
        try:
            self._refuse_by_fault(form.get("grant_type", ""))
            granted = grant(self._org, TokenRequest(form, base_url(request), request.host))
        except OAuthError as error:
            return _json(error.body(), status=error.status)
        return _json(self._token_reply(granted, base_url(request)))

    async def revoke(self, request: web.Request) -> web.Response:
        """Void an access or refresh token."""
        token = (await _form(request)).get("token") or request.query.get("token", "")
        if self._org.sessions.revoke(token) or self._org.sessions.retire_refresh_token(token):
            return web.Response()
        return _json(OAuthError("invalid_token", "token not found or already revoked").body(), status=400)

    async def introspect(self, request: web.Request) -> web.Response:
        """Tell a client about a token of its own."""
        form = await _form(request) | basic_credentials(request.headers.get("Authorization"))
        credentials = self._org.credentials
        if (form.get("client_id"), form.get("client_secret")) != (
            credentials.client_id,
            credentials.client_secret,
        ):
            return _json(refusal("wrong_secret").body(), status=401)
        session = self._org.sessions.find(form.get("token", ""))
        return _json(self._introspection(session, base_url(request)) if session else {"active": False})

    async def userinfo(self, request: web.Request) -> web.Response:
        """Answer OpenID's userinfo."""
        return self._who(request, identity=False)

    async def identity(self, request: web.Request) -> web.Response:
        """Answer the identity address that a token reply names."""
        mine = self._org.world.org_id
        if request.match_info["org_id"] not in (mine, mine[:15]):
            return web.Response(status=403, text="Wrong_Org")
        return self._who(request, identity=True)

    def _who(self, request: web.Request, *, identity: bool) -> web.Response:
        header = request.headers.get("Authorization")
        if header is None:
            return web.Response(status=403, text="Missing_OAuth_Token")
        session = self._org.sessions.check(header)
        if session is None:
            return web.Response(status=403, text="Bad_OAuth_Token")
        if identity and session.user_id[:15] != request.match_info["user_id"][:15]:
            return web.Response(status=403, text="Bad_Id")
        return _json(self._person(session, base_url(request)))

    def _refuse_by_fault(self, grant_type: str) -> None:
        """Raise what a planted fault asks for, with `grant_type` as its subject."""
        status = self._org.faults.take("token_status", grant_type)
        if status is not None:
            raise _bare_reply(status)
        fault = self._org.faults.take("token_refuse", grant_type)
        if fault is not None:
            name = str(fault.params.get("case", "authentication_failure"))
            error, description = REFUSALS.get(name, REFUSALS["authentication_failure"])
            raise OAuthError(
                str(fault.params.get("error", error)),
                str(fault.params.get("description", description)),
                status=int(fault.params.get("status", 400)),
            )

    def _token_reply(self, granted: Grant, url: str) -> dict[str, Any]:
        session = self._org.sessions.issue(granted.user_id, granted.client_id)
        identity = f"{url}/id/{self._org.world.org_id}/{granted.user_id}"
        issued_at = str(session.issued_at_ms)
        secret = self._org.credentials.client_secret.encode()
        signature = hmac.new(secret, (identity + issued_at).encode(), hashlib.sha256).digest()
        reply = {
            "access_token": session.token,
            "signature": base64.b64encode(signature).decode(),
            "scope": session.scope,
            "instance_url": url,
            "id": identity,
            "token_type": "Bearer",
            "issued_at": issued_at,
        }
        return reply if granted.refresh_token is None else reply | {"refresh_token": granted.refresh_token}

    def _introspection(self, session: Session, url: str) -> dict[str, Any]:
        issued_s = session.issued_at_ms // 1_000
        fields = self._org.world.get(session.user_id) or {}
        return {
            "active": True,
            "scope": session.scope,
            "client_id": session.client_id,
            "username": fields.get("Username"),
            "sub": f"{url}/id/{self._org.world.org_id}/{session.user_id}",
            "token_type": "access_token",
            "exp": issued_s + int(self._org.settings.session_timeout_s),
            "iat": issued_s,
            "nbf": issued_s,
        }

    def _person(self, session: Session, url: str) -> dict[str, Any]:
        org_id, user_id = self._org.world.org_id, session.user_id
        fields = self._org.world.get(user_id) or {}
        services = f"{url}/services/data/v{{version}}/"
        name = f"{fields.get('FirstName', '')} {fields.get('LastName', '')}".strip()
        return {
            "sub": f"{url}/id/{org_id}/{user_id}",
            "id": f"{url}/id/{org_id}/{user_id}",
            "user_id": user_id,
            "organization_id": org_id,
            "preferred_username": fields.get("Username"),
            "username": fields.get("Username"),
            "nick_name": fields.get("Username"),
            "name": name,
            "display_name": name,
            "email": fields.get("Email"),
            "email_verified": True,
            "given_name": fields.get("FirstName"),
            "family_name": fields.get("LastName"),
            "zoneinfo": "Asia/Tokyo",
            "active": True,
            "user_type": "STANDARD",
            "language": "ja",
            "locale": "ja_JP",
            "utcOffset": 32_400_000,
            "is_app_installed": True,
            "urls": {
                "rest": services,
                "sobjects": f"{services}sobjects/",
                "query": f"{services}query/",
                "search": f"{services}search/",
                "recent": f"{services}recent/",
                "custom_domain": url,
            },
        }


def _bare_reply(fault: "Fault") -> web.HTTPException:
    """Return the reply of a `token_status` fault: its `status` (default 503) and `body` (default HTML)."""
    return _Status(
        int(fault.params.get("status", 503)),
        str(fault.params.get("body", "<html><body><h1>Service Unavailable</h1></body></html>")),
        str(fault.params.get("content_type", "text/html")),
    )


class _Status(web.HTTPException):
    """An HTTP reply raised from within a handler."""

    def __init__(self, status: int, body: str, content_type: str) -> None:
        self.status_code = status
        super().__init__(text=body, content_type=content_type)


async def _form(request: web.Request) -> dict[str, str]:
    """Return the form fields of *request*, from its body or, as some clients send them, from its query."""
    body = await request.read()
    if len(body) > FORM_BYTES_MAX:
        raise web.HTTPRequestEntityTooLarge(FORM_BYTES_MAX, len(body))
    text = body.decode(errors="replace")
    is_form = request.content_type in ("application/x-www-form-urlencoded", "application/octet-stream")
    return dict(request.query) | (dict(parse_qsl(text)) if is_form else {})


def _json(body: dict[str, Any], *, status: int = 200) -> web.Response:
    response = web.json_response(body, status=status)
    response.headers["Cache-Control"] = "no-cache, no-store"
    return response
