"""Whatever a server answers to a request or a login, what is made of it is a value or one of our errors."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from sfsync.core.ids import record_id
from sfsync.errors import QueryError, SalesforceError
from sfsync.salesforce import soql
from sfsync.salesforce.auth import ClientCredentials, Session, _session, check_instance_url
from sfsync.salesforce.connection import Answer
from sfsync.salesforce.refusals import refusal, token_refusal
from sfsync.salesforce.rest import _page
from sfsync.salesforce.secret import Secret
from sfsync.salesforce.soql import Keyset, Selection
from sfsync.salesforce.transport import date_ms, retry_after_s
from tests.hostile import FUZZ, as_json, damaged, text, torn
from tests.salesforce.stub_org import DATE_MS

LOGIN = "https://acme.my.salesforce.com"
CREDENTIALS = ClientCredentials("client", Secret("s"), LOGIN)
CONTACT = record_id("0035i00000Con01")
RESULT = {
    "totalSize": 2,
    "done": False,
    "nextRecordsUrl": "/services/data/v66.0/query/01g-2000",
    "records": [
        {
            "attributes": {"type": "Contact"},
            "Id": CONTACT,
            "LastName": "Lovelace",
            "IsDeleted": False,
            "SystemModstamp": "2026-11-24T03:04:05.000+0000",
            "Amount__c": 1.5,
        }
    ],
}
TOKEN = {
    "access_token": "00D5i000000Demo!c4n4ry",
    "instance_url": LOGIN,
    "id": "https://login.salesforce.com/id/00D5i000000DemoEAC/0055i000000SyncAAE",
    "refresh_token": "c4n4ry-rotated",
}
REFUSAL = [
    {"message": "No such column 'X__c' on entity 'Contact'", "errorCode": "INVALID_FIELD", "fields": []}
]
headers = st.dictionaries(
    st.sampled_from(["Retry-After", "Date", "Sforce-Limit-Info", "Content-Type"]),
    st.one_of(text, st.from_regex(r"\A-?[0-9]{1,400}\Z"), st.just("Tue, 24 Nov 2026 03:04:05 GMT")),
)


@FUZZ
@given(st.one_of(damaged(RESULT).map(as_json), torn(st.just(as_json(RESULT)))))
def test_result_is_a_page_or_refused(body: bytes) -> None:
    """And a page's way on is a plain path of the API, or it is refused."""
    must_be_a_page_or_refused(body)


def must_be_a_page_or_refused(body: bytes) -> None:
    try:
        page = _page(Answer(200, {}, body, DATE_MS), DATE_MS)
    except SalesforceError:
        return
    assert page.next_path is None or page.next_path.startswith("/services/")
    for record in page.records:
        with suppress(SalesforceError):
            Keyset.of(record)


@FUZZ
@given(
    st.integers(200, 599), headers, st.one_of(damaged(REFUSAL).map(as_json), torn(st.just(as_json(REFUSAL))))
)
@example(429, {"Retry-After": "9" * 400}, b"")
@example(429, {"Retry-After": "Tue, 24 Nov 99999 03:04:05 GMT"}, b"")
def test_refusal_is_one_of_our_errors(status: int, said: dict[str, str], body: bytes) -> None:
    """Error pages come from proxies, gateways and maintenance, in any shape; their words are not repeated."""
    for error in (refusal(status, said, body), token_refusal(status, said, body)):
        assert isinstance(error, SalesforceError)
        assert str(error).isprintable()
        assert getattr(error, "retry_after_s", 0) is None or 0 <= getattr(error, "retry_after_s", 0) <= 3600


@FUZZ
@given(headers)
@example({"Date": "Tue, 24 Nov 99999 03:04:05 GMT", "Retry-After": "-1"})
@example({"Date": "Tue, 24 Nov 0001 03:04:05 +9999"})
def test_instants_of_headers_are_read_or_not(said: dict[str, str]) -> None:
    """Order rests on `Date`: it is an instant, or there is none."""
    date_ms(said)
    retry_after_s(said)


@FUZZ
@given(st.one_of(damaged(TOKEN).map(as_json), torn(st.just(as_json(TOKEN)))))
def test_login_is_a_session_with_salesforce_or_refused(body: bytes) -> None:
    """And its token stays inside, whatever else is wrong with the answer."""
    must_be_a_session_or_refused(body)


def must_be_a_session_or_refused(body: bytes) -> None:
    try:
        session = _session(body, LOGIN, CREDENTIALS)
    except SalesforceError as error:
        told = f"{error} {error.__cause__!r}"
    else:
        told = repr(session)
        must_be_safe(session)
    assert "c4n4ry" not in told


def must_be_safe(session: Session) -> None:
    assert session.instance_url == check_instance_url(session.instance_url, LOGIN)
    assert session.instance_url.endswith((".salesforce.com", ".salesforce.mil", ".sfcrmproducts.cn"))
    assert all(33 <= ord(char) <= 126 for char in session.access_token.reveal())


@FUZZ
@given(st.one_of(text, st.just(CONTACT), st.builds(lambda one: CONTACT + one, text)))
def test_what_enters_a_query_is_an_id(said: str) -> None:
    """A `MasterRecordId` or a key of the stream is chosen by the org, and may hold a quote."""
    try:
        query = soql.by_ids(Selection("Contact", ("LastName",)), [said])  # type: ignore[list-item]
    except QueryError:
        return
    assert query.count("'") == 2
