"""The mapping: faults are found before anything runs, all of them, and named so that they can be mended."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sfsync.core.ids import Entity
from sfsync.core.mapping import BoundMapping, bind
from sfsync.core.mapping_file import default_mapping, default_mapping_text, parse_mapping
from sfsync.core.standard_fields import standard_describe
from sfsync.errors import ConfigError

SAMPLES = Path(__file__).parent.parent / "samples"


def describes(**more: dict[str, dict[str, Any]]) -> dict[Entity, Any]:
    """Describes of the standard fields, with fields added or (None) hidden, by entity name."""
    described: dict[Entity, Any] = {}
    for entity in Entity:
        fields = {f["name"]: f for f in standard_describe(entity)["fields"]}
        for name, field in more.get(entity.value, {}).items():
            fields[name] = {"name": name, **field} if field else None
        described[entity] = {"name": entity.value, "fields": [f for f in fields.values() if f]}
    return described


def bound(toml: str, **more: dict[str, Any]) -> BoundMapping:
    return bind(parse_mapping(tomllib.loads(toml)), describes(**more))


def faults(toml: str, **more: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as refused:
        bound(toml, **more)
    return str(refused.value)


def test_default_mapping_fits_the_describes_of_a_real_org() -> None:
    """The first start must work as shipped, in an org that hides the opt-out field as most do."""
    real = {}
    for entity, name in (
        (Entity.LEAD, "077-rest-describe-lead"),
        (Entity.CONTACT, "076-rest-describe-contact"),
        (Entity.ACCOUNT, "078-rest-describe-account"),
    ):
        real[entity] = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    mapping = bind(default_mapping(), real)
    assert {w.column for w in mapping.warnings} == {"has_opted_out_of_email"}
    assert {c.name: c.pg_type for c in mapping.company}["annual_revenue"] == "numeric"
    assert {c.name: c.pg_type for c in mapping.person}["created_at"] == "timestamptz"
    assert {c.name for c in mapping.person if c.role == "address"} == {
        "postal_code", "prefecture", "city", "street", "country",
    }  # fmt: skip


def test_company_address_can_be_the_shipping_address() -> None:
    """Many firms are billed elsewhere than where their people sit."""
    shipped = {
        c.name: c.sources for c in default_mapping(company_address="shipping").columns if c.table == "company"
    }
    billed = {c.name: c.sources for c in default_mapping().columns if c.table == "company"}
    changed = {name: shipped[name][Entity.ACCOUNT] for name in shipped if shipped[name] != billed[name]}
    assert changed == {
        "postal_code": "ShippingPostalCode",
        "prefecture": "ShippingState",
        "city": "ShippingCity",
        "street": "ShippingStreet",
        "country": "ShippingCountry",
    }


def test_default_mapping_is_the_set_worth_shipping() -> None:
    """What sfsync keeps in columns of its own aside, every field that a mailing needs has a column."""
    own = {
        "Id",
        "IsDeleted",
        "MasterRecordId",
        "SystemModstamp",
        "AccountId",
        "IsConverted",
        "ConvertedAccountId",
        "ConvertedContactId",
    }
    worth = {
        Entity.LEAD: """Id LastName FirstName Salutation Company Title Email Phone MobilePhone Website PostalCode State
            City Street Country Status LeadSource Industry OwnerId IsConverted ConvertedDate ConvertedAccountId
            ConvertedContactId CreatedDate LastModifiedDate SystemModstamp IsDeleted""",
        Entity.CONTACT: """Id AccountId LastName FirstName Salutation Title Department Email Phone MobilePhone Fax
            MailingPostalCode MailingState MailingCity MailingStreet MailingCountry LeadSource OwnerId
            HasOptedOutOfEmail CreatedDate LastModifiedDate SystemModstamp IsDeleted MasterRecordId""",
        Entity.ACCOUNT: """Id Name Type Industry ParentId Phone Fax Website BillingPostalCode BillingState BillingCity
            BillingStreet BillingCountry NumberOfEmployees AnnualRevenue OwnerId CreatedDate LastModifiedDate
            SystemModstamp IsDeleted""",
    }
    mapped = {e: {c.sources[e] for c in default_mapping().columns if e in c.sources} for e in Entity}
    missing = {e.value: set(names.split()) - own - mapped[e] for e, names in worth.items()}
    assert missing == {"Lead": set(), "Contact": set(), "Account": set()}


def test_default_mapping_covers_the_usual_columns() -> None:
    """An operator who maps nothing still gets names, addresses, owners and opt-out."""
    mapping = bind(default_mapping(), describes())
    person = {c.name: c for c in mapping.person}
    assert person["last_name"].sources == {Entity.CONTACT: "LastName", Entity.LEAD: "LastName"}
    assert person["company_name"].role == "company"
    assert person["has_opted_out_of_email"].pg_type == "boolean"
    assert mapping.warnings == ()
    assert "# " in default_mapping_text()


def test_only_what_salesforce_alone_sets_is_not_compared() -> None:
    """Nobody can disagree with a creation date; comparing it would make every imported person pending."""
    mapping = bind(default_mapping(), describes())
    left_out = {c.name for c in (*mapping.person, *mapping.company) if not c.compared}
    assert left_out == {"created_at", "modified_at", "converted_on"}
    mixed = bound(
        '[person]\na = { contact = "F__c", lead = "LastName" }\nb = { contact = "F__c" }\nc = { lead = "G__c" }',
        Contact={"F__c": {"type": "string", "createable": False, "updateable": False}},
        Lead={"G__c": {"type": "string", "createable": False, "updateable": True}},
    )
    assert {c.name: c.compared for c in mixed.person} == {"a": True, "b": False, "c": True}


def test_what_is_compared_is_no_part_of_the_fingerprint() -> None:
    """A field made read-only must not cause every record to be read again."""
    toml = '[person]\na = { contact = "F__c" }'
    writable = bound(toml, Contact={"F__c": {"type": "string"}})
    read_only = bound(toml, Contact={"F__c": {"type": "string", "createable": False, "updateable": False}})
    assert writable.fingerprint == read_only.fingerprint
    assert writable.person != read_only.person


def test_plan_reads_mapped_and_structural_fields() -> None:
    """Identity needs conversion and parent fields, whatever somebody mapped."""
    plans = bound('[person]\nlast_name = { contact = "LastName", lead = "LastName" }').plans
    assert plans[Entity.LEAD].select == (
        *("Id", "IsDeleted", "MasterRecordId", "SystemModstamp"),
        *("ConvertedAccountId", "ConvertedContactId", "ConvertedDate", "IsConverted", "LastName"),
    )
    assert plans[Entity.CONTACT].announced == {"AccountId", "LastName"}
    assert plans[Entity.ACCOUNT].fields == {}


def test_field_that_events_leave_out_is_a_warning_and_unannounced() -> None:
    """It can be mapped, but only reads bring it: the daemon must know, and so must the operator."""
    mapping = bound(
        '[person]\nscore = { lead = "Score__c" }\nlast_seen = { lead = "LastViewedDate" }',
        Lead={"Score__c": {"type": "double", "calculated": True}},
    )
    assert mapping.plans[Entity.LEAD].unannounced == {"Score__c", "LastViewedDate"}
    assert [str(w).split(":")[0] for w in mapping.warnings] == ["person.score", "person.last_seen"]


def test_encrypted_field_is_a_warning() -> None:
    """A user without the right reads asterisks, which would overwrite the real value."""
    mapping = bound(
        '[person]\nsecret = { contact = "Secret__c" }', Contact={"Secret__c": {"type": "encryptedstring"}}
    )
    assert "mask" in mapping.warnings[0].problem


def test_all_faults_are_reported_at_once() -> None:
    """A file is mended once, not once per fault."""
    said = faults(
        """
        [person]
        last_name = { contact = "LastNam", lead = "LastName" }
        mail = { contact = "email" }
        home = { contact = "MailingAddress", lead = "Name" }
        opted_out = { contact = "HasOptedOutOfEmail" }
        mixed = { contact = "Birthdate", lead = "Title" }
        photo = { lead = "Photo__c" }
        gone = { lead = "IsDeleted" }
        """,
        Contact={"HasOptedOutOfEmail": {}},
        Lead={"Photo__c": {"type": "base64"}},
    )
    assert (
        "person.last_name: Contact.LastNam is not there, or hidden from this user; did you mean LastName"
        in said
    )
    assert "person.mail: Contact.email is spelled Email" in said
    assert "person.home: Contact.MailingAddress" in said
    assert "person.home: Lead.Name is a compound; map its components: LastName, FirstName" in said
    assert "person.opted_out: Contact.HasOptedOutOfEmail is hidden from this user" in said
    assert "person.mixed: its sources differ in type: Contact.Birthdate is date, Lead.Title is text" in said
    assert "person.photo: Lead.Photo__c is of type base64" in said
    assert "person.gone: Lead.IsDeleted is kept by sfsync itself" in said


def test_compound_fault_names_the_components_that_describe_lists() -> None:
    """The next edit of the file is then a copy."""
    parts = {
        name: {"type": "string", "compoundFieldName": "MailingAddress"}
        for name in ("MailingCity", "MailingX")
    }
    said = faults('[person]\nhome = { contact = "MailingAddress" }', Contact=parts)
    assert "map its components: MailingCity, MailingX" in said


def test_account_name_is_no_compound() -> None:
    """Describe calls it a component of itself; it is the one name a business account has."""
    described = {"Name": {"type": "string", "compoundFieldName": "Name"}}
    assert bound('[company]\nname = "Name"', Account=described).company[0].pg_type == "text"


def test_hidden_structural_field_is_a_fault() -> None:
    """Without ConvertedContactId a converted lead becomes a second person for ever."""
    said = faults('[company]\nname = "Name"', Lead={"ConvertedContactId": {}})
    assert "Lead: ConvertedContactId is needed to keep identity and order, but hidden" in said


def test_entity_that_cannot_be_described_is_a_fault() -> None:
    """No access to Account at all is told as that, not as forty unknown fields."""
    described = describes()
    del described[Entity.ACCOUNT]
    with pytest.raises(ConfigError) as refused:
        bind(default_mapping(), described)
    assert str(refused.value).count("\n") == 1
    assert "Account: cannot be described" in str(refused.value)


def test_optional_source_that_is_hidden_costs_only_itself() -> None:
    """The column lives on its other source; without any it is left out, and both are told."""
    toml = """
    [person]
    opted_out = { contact = "HasOptedOutOfEmail", lead = "HasOptedOutOfEmail", optional = true }
    quiet = { contact = "DoNotCall", optional = true }
    """
    mapping = bound(toml, Contact={"HasOptedOutOfEmail": {}, "DoNotCall": {}})
    assert [c.name for c in mapping.person] == ["opted_out"]
    assert mapping.person[0].sources == {Entity.LEAD: "HasOptedOutOfEmail"}
    assert len(mapping.warnings) == 2


def test_integer_sources_of_two_widths_share_the_wider_column() -> None:
    """Both fit in bigint and nothing is guessed."""
    mapping = bound(
        '[person]\nn = { contact = "N__c", lead = "NumberOfEmployees" }',
        Lead={"NumberOfEmployees": {"type": "int", "digits": 8}},
        Contact={"N__c": {"type": "int", "digits": 12}},
    )
    assert mapping.person[0].pg_type == "bigint"


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('[persons]\nx = "Y"', "[persons]: only [person] and [company]"),
        ('person = "x"', "person: a table [person] is expected"),
        ("[person]", "no column is mapped"),
        ('[person]\nx = "LastName"', 'person.x: { contact = "Field", lead = "Field" } is expected'),
        ("[company]\nx = 5", 'company.x: "Field" is expected'),
        ('[person]\nSync = { lead = "X" }', "person.Sync: a column name is lower-case"),
        ('[person]\nsync = { lead = "X" }', "person.sync: this column name is sfsync's own"),
        ('[company]\nid = "X"', "company.id: this column name is sfsync's own"),
        ('[person]\nxmin = { lead = "X" }', "person.xmin: this column name is sfsync's own"),
        ("[person]\n" + "a" * 64 + ' = { lead = "X" }', "63 at most"),
        ('[person]\nx = { account = "X" }', "person.x: 'account' is not known here"),
        ('[person]\nx = { role = "company" }', "person.x: no source is named"),
        ("[person]\nx = { lead = 5 }", "person.x: lead: the name of a field is expected"),
        ('[person]\nx = { lead = "X; DROP" }', "is no field name"),
        ('[person]\nx = { lead = "X", role = "address" }', 'person.x: role: only "company" can be given'),
        ('[person]\nx = { lead = "X", contact = "Y", role = "company" }', "comes from its company's row"),
        ('[person]\nx = { lead = "X", optional = 1 }', "person.x: optional: true or false is expected"),
        (
            '[person.address]\nzip = { lead = "X" }',
            "person.address.zip: no part of an address; the parts are postal_code",
        ),
        ('[company.address]\ncity = { account = "X", role = "company" }', "'role' is not known here"),
        (
            '[person]\ncity = { lead = "City" }\n[person.address]\ncity = { lead = "City" }',
            "person.city: stated twice",
        ),
    ],
)
def test_faulty_file_says_where_and_what(toml: str, said: str) -> None:
    """The fault names the place as it stands in the file."""
    with pytest.raises(ConfigError) as refused:
        parse_mapping(tomllib.loads(toml))
    assert said in str(refused.value)


def test_fingerprint_changes_with_what_is_stored_and_with_nothing_else() -> None:
    """It decides whether records are read again: order in the file must not, a source must."""
    one = bound('[company]\nname = "Name"\nfax = "Fax"').fingerprint
    assert bound('[company]\nfax = "Fax"\nname = "Name"').fingerprint == one
    assert bound('[company]\nname = "Name"\nfax = "Phone"').fingerprint != one
    retyped = bound('[company]\nname = "Name"\nfax = "Fax"', Account={"Fax": {"type": "double"}})
    assert retyped.fingerprint != one
