"""Logging in: what is granted, and every way in which it is refused."""

import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jwt
import pytest

from sfsync.simorg.oauth_errors import REFUSALS
from sfsync.simorg.tls import JwtFiles, ensure_jwt_keys
from tests.simorg.push_rig import Rig, open_rig

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with open_rig() as opened:
        yield opened


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> JwtFiles:
    """A key pair, made once: making one takes a tenth of a second."""
    return ensure_jwt_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def private_key(keys: JwtFiles) -> str:
    """The half that signs."""
    return keys.private_key_file.read_text()


@pytest.fixture
def jwt_rig(rig: Rig, keys: JwtFiles) -> Rig:
    """An org that knows the half that verifies."""
    rig.org.jwt_public_pem = keys.public_key_file.read_text()
    return rig


async def ask(rig: Rig, headers: dict[str, str] | None = None, /, **form: str) -> tuple[int, dict[str, Any]]:
    """Send a token request and return status and body."""
    async with rig.http.post(f"{rig.url}/services/oauth2/token", data=form, headers=headers) as response:
        return response.status, await response.json()


def client_of(rig: Rig) -> dict[str, str]:
    """Return the form fields that name the client."""
    credentials = rig.org.credentials
    return {"client_id": credentials.client_id, "client_secret": credentials.client_secret}


def claims(rig: Rig, **changed: Any) -> dict[str, Any]:
    """Return good claims, with some of them changed."""
    good = {
        "iss": rig.org.credentials.client_id,
        "sub": rig.org.credentials.username,
        "aud": "https://login.salesforce.com",
        "exp": int(time.time()) + 180,
    }
    return good | changed


async def ask_jwt(rig: Rig, assertion: str) -> tuple[int, dict[str, Any]]:
    """Send an assertion."""
    return await ask(rig, grant_type=JWT_BEARER, assertion=assertion)


async def test_client_credentials_in_body_or_basic_header(rig: Rig) -> None:
    """Clients put the secret in either place, and the reply has the fields and types that they read."""
    status, body = await ask(rig, grant_type="client_credentials", **client_of(rig))
    pair = ":".join(client_of(rig).values()).encode()
    basic = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    by_header, _ = await ask(rig, basic, grant_type="client_credentials")

    assert (status, by_header) == (200, 200)
    assert set(body) == {
        "access_token", "signature", "scope", "instance_url", "id", "token_type", "issued_at",
    }  # fmt: skip
    assert body["access_token"].startswith(rig.org.world.org_id[:15] + "!")
    assert body["instance_url"] == rig.url
    assert body["id"] == f"{rig.url}/id/{rig.org.world.org_id}/{rig.org.credentials.user_id}"
    assert body["token_type"] == "Bearer"
    assert abs(int(body["issued_at"]) - rig.org.clock.now_ms()) < 60_000
    signed = (body["id"] + body["issued_at"]).encode()
    expected = hmac.new(rig.org.credentials.client_secret.encode(), signed, hashlib.sha256).digest()
    assert base64.b64decode(body["signature"]) == expected


async def test_client_credentials_are_refused_on_a_login_host(rig: Rig) -> None:
    """This flow works on My Domain only; the wrong host is the commonest mistake."""
    headers = {"Host": "login.salesforce.com"}

    status, body = await ask(rig, headers, grant_type="client_credentials", **client_of(rig))

    assert (status, body["error_description"]) == (400, "request not supported on this domain")


async def test_password_with_and_without_security_token(rig: Rig) -> None:
    """The token follows the password without a separator."""
    credentials = rig.org.credentials
    flow = {"grant_type": "password", "username": credentials.username, **client_of(rig)}

    with_token, _ = await ask(rig, **flow, password=credentials.password + credentials.security_token)
    without, _ = await ask(rig, **flow, password=credentials.password)
    wrong, body = await ask(rig, **flow, password=credentials.password + "x")

    assert (with_token, without, wrong) == (200, 200, 400)
    assert body == {"error": "invalid_grant", "error_description": "authentication failure"}


@pytest.mark.parametrize(
    ("changed", "error", "description"),
    [
        ({"client_id": "3MVG9unknown"}, "invalid_client_id", "client identifier invalid"),
        ({"client_secret": "wrong"}, "invalid_client", "invalid client credentials"),
        ({"grant_type": "magic"}, "unsupported_grant_type", "grant type not supported"),
        ({"grant_type": "refresh_token"}, "invalid_grant", "expired access/refresh token"),
    ],
)
async def test_wrong_requests_get_their_own_error(
    rig: Rig, changed: dict[str, str], error: str, description: str
) -> None:
    """A client tells a wrong secret from a wrong client by these words alone."""
    form = {"grant_type": "client_credentials", **client_of(rig)} | changed

    assert await ask(rig, **form) == (400, {"error": error, "error_description": description})


@pytest.mark.parametrize("audience", ["https://login.salesforce.com", "https://test.salesforce.com", "own"])
async def test_signed_assertion_is_granted(jwt_rig: Rig, private_key: str, audience: str) -> None:
    """The audience is a login host or the org itself; no refresh token comes back."""
    aud = jwt_rig.url if audience == "own" else audience
    assertion = jwt.encode(claims(jwt_rig, aud=aud), private_key, algorithm="RS256")

    status, body = await ask_jwt(jwt_rig, assertion)

    assert status == 200
    assert "refresh_token" not in body


async def test_expiry_may_be_text(jwt_rig: Rig, private_key: str) -> None:
    """The client simple-salesforce sends `exp` as a string, and Salesforce accepts it."""
    assertion = jwt.encode(claims(jwt_rig, exp=str(int(time.time()) + 180)), private_key, algorithm="RS256")

    assert (await ask_jwt(jwt_rig, assertion))[0] == 200


async def test_assertion_is_judged_by_either_clock(jwt_rig: Rig, private_key: str) -> None:
    """A test that moves the org's clock by days must not lock every client out."""
    jwt_rig.org.clock.advance(80 * 3600)
    assertion = jwt.encode(claims(jwt_rig), private_key, algorithm="RS256")

    assert (await ask_jwt(jwt_rig, assertion))[0] == 200


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"aud": "https://example.com"}, "wrong_audience"),
        ({"exp": 1_700_000_000}, "expired_assertion"),
        ({"exp": 32_503_680_000}, "invalid_assertion"),
        ({"exp": "soon"}, "invalid_assertion"),
        ({"iss": "3MVG9unknown"}, "unknown_client"),
        ({"sub": "nobody@example.com"}, "not_approved"),
    ],
)
async def test_bad_claims_are_refused(
    jwt_rig: Rig, private_key: str, changed: dict[str, Any], refusal: str
) -> None:
    """Each claim is checked; an expiry far away is what milliseconds look like."""
    assertion = jwt.encode(claims(jwt_rig, **changed), private_key, algorithm="RS256")

    status, body = await ask_jwt(jwt_rig, assertion)

    assert status == 400
    assert (body["error"], body["error_description"]) == REFUSALS[refusal]


async def test_signature_is_checked(jwt_rig: Rig, private_key: str, tmp_path: Path) -> None:
    """Another key, a shared secret, no signature at all, and a changed text are all refused."""
    other = ensure_jwt_keys(tmp_path).private_key_file.read_text()
    good = jwt.encode(claims(jwt_rig), private_key, algorithm="RS256")
    head, payload, signature = good.split(".")
    forged = [
        jwt.encode(claims(jwt_rig), other, algorithm="RS256"),
        jwt.encode(claims(jwt_rig), "0" * 64, algorithm="HS256"),
        jwt.encode(claims(jwt_rig), "", algorithm="none"),
        f"{head}.{payload[:-4]}AAAA.{signature}",
        "no-jwt",
    ]

    for assertion in forged:
        status, body = await ask_jwt(jwt_rig, assertion)
        assert (status, body["error_description"]) == (400, "invalid assertion")


async def test_refresh_token_is_rotated_and_its_reuse_voids_the_grant(rig: Rig) -> None:
    """A client that does not store the new token before using it is locked out for good."""
    rig.org.settings.refresh_rotation = True
    first = rig.org.sessions.issue_refresh_token(rig.org.credentials.user_id)
    flow = {"grant_type": "refresh_token", **client_of(rig)}

    _, body = await ask(rig, **flow, refresh_token=first)
    reused, _ = await ask(rig, **flow, refresh_token=first)
    voided, refused = await ask(rig, **flow, refresh_token=body["refresh_token"])

    assert (reused, voided) == (400, 400)
    assert refused["error_description"] == "expired access/refresh token"


async def test_refresh_token_without_rotation_is_used_again(rig: Rig) -> None:
    """Rotation is an option of the app; without it no new token is sent."""
    token = rig.org.sessions.issue_refresh_token(rig.org.credentials.user_id)
    flow = {"grant_type": "refresh_token", "refresh_token": token, **client_of(rig)}

    replies = [await ask(rig, **flow) for _ in range(2)]

    assert [status for status, _ in replies] == [200, 200]
    assert all("refresh_token" not in body for _, body in replies)


@pytest.mark.parametrize("name", sorted(REFUSALS))
async def test_every_refusal_is_reachable(rig: Rig, name: str) -> None:
    """By a fault for one request, and by the login state for all."""
    error, description = REFUSALS[name]
    form = {"grant_type": "client_credentials", **client_of(rig)}
    rig.org.faults.add("token_refuse", case=name)
    by_fault = await ask(rig, **form)
    rig.org.settings.login_state = name
    by_state = await ask(rig, **form)

    assert by_fault == by_state == (400, {"error": error, "error_description": description})


async def test_token_endpoint_may_answer_with_a_page(rig: Rig) -> None:
    """A gateway answers 503 with HTML, which is no JSON to parse."""
    rig.org.faults.add("token_status", status=503)

    async with rig.http.post(f"{rig.url}/services/oauth2/token", data={"grant_type": "password"}) as response:
        assert (response.status, response.content_type) == (503, "text/html")


async def test_revoked_token_is_void_everywhere(rig: Rig) -> None:
    """After a revoke userinfo and introspection know the token no more."""
    token = rig.token()
    headers = {"Authorization": f"Bearer {token}"}
    form = {"token": token, **client_of(rig)}
    async with rig.http.get(f"{rig.url}/services/oauth2/userinfo", headers=headers) as response:
        person = await response.json()
    async with rig.http.post(f"{rig.url}/services/oauth2/introspect", data=form) as response:
        before = await response.json()
    async with rig.http.post(f"{rig.url}/services/oauth2/revoke", data={"token": token}) as response:
        assert response.status == 200
    async with rig.http.post(f"{rig.url}/services/oauth2/revoke", data={"token": token}) as response:
        assert response.status == 400
    async with rig.http.post(f"{rig.url}/services/oauth2/introspect", data=form) as response:
        after = await response.json()
    async with rig.http.get(f"{rig.url}/services/oauth2/userinfo", headers=headers) as response:
        assert (response.status, await response.text()) == (403, "Bad_OAuth_Token")

    assert person["organization_id"] == rig.org.world.org_id
    assert person["preferred_username"] == rig.org.credentials.username
    assert before["active"]
    assert after == {"active": False}


async def test_identity_address_of_the_token_reply_answers(rig: Rig) -> None:
    """Clients learn the org id there."""
    _, body = await ask(rig, grant_type="client_credentials", **client_of(rig))
    headers = {"Authorization": f"Bearer {body['access_token']}"}

    async with rig.http.get(body["id"], headers=headers) as response:
        identity = await response.json()
    async with rig.http.get(body["id"]) as response:
        assert (response.status, await response.text()) == (403, "Missing_OAuth_Token")

    assert identity["user_id"] == rig.org.credentials.user_id
    assert identity["urls"]["custom_domain"] == rig.url


async def test_token_ends_by_idleness(rig: Rig) -> None:
    """Using a token keeps it alive, leaving it does not."""
    rig.org.settings.session_timeout_s = 0.0
    token = rig.token()

    assert rig.org.sessions.find(token) is None


@pytest.mark.parametrize(
    ("version", "password", "status", "code"),
    [
        ("59.0", None, 200, None),
        ("44.0/", None, 200, None),
        ("59.0", "wrong", 500, "INVALID_LOGIN"),
        ("66.0", None, 500, "UNSUPPORTED_API_VERSION"),
    ],
)
async def test_soap_login(
    rig: Rig, version: str, password: str | None, status: int, code: str | None
) -> None:
    """What simple-salesforce calls when it is given a user name and a password; gone from version 65.0 on."""
    credentials = rig.org.credentials
    secret = password or credentials.password + credentials.security_token
    envelope = (
        '<env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/"><env:Body>'
        '<n1:login xmlns:n1="urn:partner.soap.sforce.com">'
        f"<n1:username>{credentials.username}</n1:username><n1:password>{secret}</n1:password>"
        "</n1:login></env:Body></env:Envelope>"
    )
    async with rig.http.post(f"{rig.url}/services/Soap/u/{version}", data=envelope) as response:
        assert response.status == status
        answer = ET.fromstring(await response.text())  # noqa: S314  # our own org's answer

    found = {each.tag.rpartition("}")[2]: each.text for each in answer.iter()}
    if code is None:
        assert rig.org.sessions.find(str(found["sessionId"])) is not None
        assert str(found["serverUrl"]).startswith(f"{rig.url}/services/Soap/u/")
    else:
        assert found["exceptionCode"] == code
