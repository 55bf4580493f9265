"""simple-salesforce, unchanged, against the running process: a foreign client judges the org."""

from __future__ import annotations

import datetime
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceMalformedRequest, SalesforceResourceNotFound

from tests.simorg.site import org_process


@pytest.fixture(scope="module")
def session(process: dict[str, str]) -> Iterator[requests.Session]:
    """A session that trusts the org's own CA, whatever bundle the environment names."""
    with requests.Session() as opened:
        opened.trust_env = False
        opened.verify = process["ca_file"]
        yield opened


@pytest.fixture(scope="module")
def sf(process: dict[str, str], session: requests.Session) -> Any:
    """A client logged in with the client credentials that the process printed."""
    answer = session.post(
        f"{process['url']}/services/oauth2/token",
        data={
            "grant_type": "client_credentials",
            "client_id": process["client_id"],
            "client_secret": process["client_secret"],
        },
    ).json()
    return Salesforce(
        instance_url=answer["instance_url"],
        session_id=answer["access_token"],
        version="66.0",
        session=session,
    )


def test_queries_page_to_their_end(sf: Any) -> None:
    """Three ways to read everything agree with the count."""
    total = sf.query("SELECT COUNT() FROM Contact")["totalSize"]
    assert total > 100
    rows = sf.query_all("SELECT Id, Name, Account.Name FROM Contact")["records"]
    assert len(rows) == total
    assert len(list(sf.query_all_iter("SELECT Id FROM Contact"))) == total
    assert any(row["Account"] and row["Account"]["Name"] for row in rows)


def test_describe_limits_and_usage(sf: Any) -> None:
    """Metadata as the client expects it."""
    assert {"Lead", "Contact", "Account"} <= {entry["name"] for entry in sf.describe()["sobjects"]}
    assert sf.Contact.metadata()["objectDescribe"]["keyPrefix"] == "003"
    assert any(field["name"] == "MailingCity" for field in sf.Contact.describe()["fields"])
    assert sf.limits()["DailyApiRequests"]["Max"] == 115_000
    assert sf.api_usage["api-usage"].used > 0


def test_rows_live_and_die(sf: Any, process: dict[str, str], session: requests.Session) -> None:
    """Create, get, update, upsert, delete, and the list of deletions."""
    created = sf.Contact.create({"LastName": "試験", "Email": "t@example.jp"})
    assert created["success"]
    assert sf.Contact.get(created["id"])["LastName"] == "試験"
    assert sf.Contact.update(created["id"], {"FirstName": "一"}) == 204
    assert sf.Contact.upsert("External_Key__c/x1", {"LastName": "U"}) == 201
    assert sf.Contact.upsert("External_Key__c/x1", {"LastName": "V"}) == 200
    assert sf.Contact.get_by_custom_id("External_Key__c", "x1")["LastName"] == "V"
    assert sf.Contact.delete(created["id"]) == 204
    with pytest.raises(SalesforceResourceNotFound):
        sf.Contact.get(created["id"])
    # The lists end with the last full minute.
    session.post(f"{process['control_url']}/clock", json={"advance_s": 60})
    now = datetime.datetime.now(datetime.UTC)
    span = (now - datetime.timedelta(minutes=5), now + datetime.timedelta(minutes=2))
    assert created["id"] in [row["id"] for row in sf.Contact.deleted(*span)["deletedRecords"]]
    assert created["id"] not in sf.Contact.updated(*span)["ids"]


def test_errors_reach_the_client_as_arrays(sf: Any) -> None:
    """The client hands the parsed error body on."""
    with pytest.raises(SalesforceMalformedRequest) as refused:
        sf.query("SELECT Foo FROM Lead")
    content: Any = refused.value.content
    assert content[0]["errorCode"] == "INVALID_FIELD"


def test_bulk_2_query_and_ingest(sf: Any) -> None:
    """The client relies on the exact header names and states."""
    total = sf.query("SELECT COUNT() FROM Lead")["totalSize"]
    pages = list(sf.bulk2.Lead.query("SELECT Id, LastName, CreatedDate FROM Lead", max_records=50, wait=0.1))
    assert sum(len(page.strip().splitlines()) - 1 for page in pages) == total
    outcome = sf.bulk2.Lead.insert(
        records=[{"LastName": "B", "Company": "C"}, {"LastName": "", "Company": "C"}]
    )
    assert (outcome[0]["numberRecordsProcessed"], outcome[0]["numberRecordsFailed"]) == (2, 1)


def test_bulk_1_query_and_insert(sf: Any) -> None:
    """The older API, as many scripts still use it."""
    rows = sf.bulk.Contact.query("SELECT Id, Name FROM Contact LIMIT 3")
    assert len(rows) == 3
    assert [result["success"] for result in sf.bulk.Contact.insert([{"LastName": "z"}])] == [True]


def test_the_process_explains_itself_and_refuses_bad_arguments(tmp_path: Path) -> None:
    """--help helps, and a wrong value is named."""
    command = [sys.executable, "-m", "sfsync.simorg"]
    helped = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=30, check=False)
    assert helped.returncode == 0
    assert "--population" in helped.stdout
    wrong = subprocess.run(
        [*command, "--population", "-3"], capture_output=True, text=True, timeout=30, check=False
    )
    assert wrong.returncode == 2
    assert "--population must not be negative" in wrong.stderr


def test_the_process_ends_at_once_though_a_request_hangs(tmp_path: Path) -> None:
    """SIGTERM must not wait for clients; `org_process` fails if the process does not end by itself."""
    with ThreadPoolExecutor(1) as pool, requests.Session() as opened:
        opened.trust_env = False
        with org_process(state_dir=tmp_path) as told:
            fault = {"kind": "hang", "times": None, "match": "services/data"}
            faults = f"{told['control_url']}/faults"
            assert opened.post(faults, json=fault).status_code == 200
            with pytest.raises(requests.Timeout):
                opened.get(f"{told['url']}/services/data/", timeout=0.2)
            held = pool.submit(requests.get, f"{told['url']}/services/data/", timeout=20)
            while opened.get(faults).json()["faults"][0]["taken"] < 2:
                pass
            ended = time.monotonic()
        assert time.monotonic() - ended < 5
        with pytest.raises(requests.ConnectionError):
            held.result(timeout=5)
