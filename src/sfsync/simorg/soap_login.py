"""The SOAP `login()` call, which older clients use to get a session id from a user name and a password.

Why: simple-salesforce and others log in this way when they are given a password; XML is read with the standard
parser after refusing document types, since nothing else of SOAP is offered.

Source: SOAP API Developer Guide, "login()"; absent from API version 65.0 on.
"""

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from aiohttp import web

from sfsync.simorg.oauth_errors import OAuthError
from sfsync.simorg.oauth_grants import check_password

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

LAST_VERSION = 64.0


def add_soap_login_route(app: web.Application, org: "Org") -> None:
    """Serve `login()` on the partner and enterprise addresses."""

    async def login(request: web.Request) -> web.Response:
        org.stats.note("soap_login", request.match_info["version"])
        if float(request.match_info["version"]) > LAST_VERSION:
            return fault("UNSUPPORTED_API_VERSION", "login() is not available in this API version")
        try:
            username, password = _credentials((await request.read()).decode(errors="replace"))
            user_id = check_password(org, username, password)
        except (ET.ParseError, KeyError):
            return fault("MALFORMED_REQUEST", "the body is no login() call")
        except OAuthError:
            message = "Invalid username, password, security token; or user locked out."
            return fault("INVALID_LOGIN", message)
        url = f"{request.scheme}://{request.host}"
        return _answer(org, user_id, url, request.match_info["version"])

    # EMP-Connector's address ends in a slash, that of an earlier login in the org id.
    app.router.add_post(r"/services/Soap/{kind:[uc]}/{version:\d\d\.\d}{tail:(/.*)?}", login)


def _credentials(text: str) -> tuple[str, str]:
    """Return user name and password. Raises ParseError or KeyError."""
    if "<!DOCTYPE" in text:
        raise ET.ParseError("document types are refused")
    values = {element.tag.rpartition("}")[2]: element.text or "" for element in ET.fromstring(text).iter()}  # noqa: S314  # no DTD
    return values["username"], values["password"]


def _answer(org: "Org", user_id: str, url: str, version: str) -> web.Response:
    org_id = org.world.org_id
    fields = org.world.get(user_id) or {}
    address = f"{url}/services/Soap/{{}}/{version}/{org_id[:15]}"
    result = {
        "metadataServerUrl": address.format("m"),
        "passwordExpired": "false",
        "sandbox": "false",
        "serverUrl": address.format("u"),
        "sessionId": org.sessions.issue(user_id).token,
        "userId": user_id,
    }
    info = {
        "organizationId": org_id,
        "userEmail": str(fields.get("Email", "")),
        "userFullName": str(fields.get("LastName", "")),
        "userId": user_id,
        "userName": str(fields.get("Username", "")),
        "sessionSecondsValid": str(int(org.settings.session_timeout_s)),
    }
    body = f"<loginResponse><result>{_elements(result)}<userInfo>{_elements(info)}</userInfo></result></loginResponse>"
    return _envelope(body, status=200)


def fault(code: str, message: str) -> web.Response:
    """Return a SOAP fault; its HTTP status is 500 by the rules of SOAP."""
    detail = _elements({"sf:exceptionCode": code, "sf:exceptionMessage": message})
    body = (
        f"<soapenv:Fault><faultcode>sf:{code}</faultcode><faultstring>{code}: {escape(message)}</faultstring>"
        f'<detail><sf:LoginFault xsi:type="sf:LoginFault">{detail}</sf:LoginFault></detail></soapenv:Fault>'
    )
    return _envelope(body, status=500)


def _elements(values: dict[str, str]) -> str:
    return "".join(f"<{name}>{escape(value)}</{name}>" for name, value in values.items())


def _envelope(body: str, *, status: int) -> web.Response:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
        'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com" '
        'xmlns:sf="urn:fault.partner.soap.sforce.com" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"
    )
    return web.Response(text=text, status=status, content_type="text/xml")
