"""What is known of Lead, Contact and Account without asking an org: standard fields, and what CDC leaves out.

Why: describe is the authority and is asked whenever an org is there. This table serves where none is:
`sfsync decode` works offline, and a mapped field that describe does not list can be told apart, hidden
(it exists in every org) from misspelt.
Source: Salesforce Object Reference; Change Data Capture Developer Guide, "Change Event Message Structure"
and "Considerations" for the fields that no change event carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .ids import Entity

UNANNOUNCED = frozenset(
    [
        "Id",
        "IsDeleted",
        "MasterRecordId",
        "SystemModstamp",
        "LastActivityDate",
        "LastViewedDate",
        "LastReferencedDate",
        "PhotoUrl",
        "IsEmailBounced",
        "IsPriorityRecord",
    ]
)
"""Standard fields that change without any change event naming them."""

FILLED_BY_SALESFORCE = frozenset(["OwnerId", "Status"])
"""Standard fields, besides checkboxes, that Salesforce fills at creation where nobody does."""

SET_BY_SALESFORCE = frozenset(
    [
        "Id",
        "IsDeleted",
        "MasterRecordId",
        "SystemModstamp",
        "CreatedDate",
        "CreatedById",
        "LastModifiedDate",
        "LastModifiedById",
        "LastActivityDate",
        "LastViewedDate",
        "LastReferencedDate",
        "LastTransferDate",
        "LastCURequestDate",
        "LastCUUpdateDate",
        "PhotoUrl",
        "IsEmailBounced",
        "IsPersonAccount",
        "PersonContactId",
        "JigsawContactId",
        "JigsawCompanyId",
        "ConvertedDate",
        "ConvertedAccountId",
        "ConvertedContactId",
        "ConvertedOpportunityId",
    ]
)
"""Standard fields that nobody can write: describe calls them neither createable nor updateable."""

_SYSTEM = {
    "id": "Id",
    "boolean": "IsDeleted",
    "reference": "MasterRecordId OwnerId CreatedById LastModifiedById RecordTypeId",
    "datetime": "CreatedDate LastModifiedDate SystemModstamp LastViewedDate LastReferencedDate",
    "date": "LastActivityDate",
    "url": "PhotoUrl",
}
_PERSON = {
    "string": "LastName FirstName MiddleName Suffix Name Title EmailBouncedReason Jigsaw JigsawContactId",
    "picklist": "Salutation LeadSource CleanStatus Pronouns GenderIdentity",
    "email": "Email",
    "phone": "Phone MobilePhone Fax",
    "textarea": "Description",
    "boolean": "HasOptedOutOfEmail HasOptedOutOfFax DoNotCall",
    "datetime": "EmailBouncedDate",
    "reference": "IndividualId",
}
_LEAD = {
    "string": "Company CompanyDunsNumber",
    "url": "Website",
    "picklist": "Status Industry Rating",
    "currency": "AnnualRevenue",
    "int": "NumberOfEmployees",
    "boolean": "IsConverted IsUnreadByOwner IsPriorityRecord",
    "date": "ConvertedDate LastTransferDate",
    "reference": "ConvertedAccountId ConvertedContactId ConvertedOpportunityId DandbCompanyId",
}
_CONTACT = {
    "string": "Department AssistantName",
    "phone": "HomePhone OtherPhone AssistantPhone",
    "date": "Birthdate",
    "datetime": "LastCURequestDate LastCUUpdateDate",
    "boolean": "IsEmailBounced IsPersonAccount",
    "picklist": "ContactSource DepartmentGroup TitleType",
    "multipicklist": "BuyerAttributes",
    "reference": "AccountId ReportsToId",
}
_ACCOUNT = {
    "string": "Name AccountNumber Sic SicDesc TickerSymbol Site DunsNumber Tradestyle NaicsCode NaicsDesc "
    "YearStarted Jigsaw JigsawCompanyId",
    "picklist": "Type Industry Ownership Rating AccountSource CleanStatus",
    "phone": "Phone Fax",
    "url": "Website",
    "textarea": "Description",
    "currency": "AnnualRevenue",
    "int": "NumberOfEmployees",
    "boolean": "IsPersonAccount IsPartner IsCustomerPortal",
    "reference": "ParentId PersonContactId DandbCompanyId OperatingHoursId",
}
_ADDRESS_PART = {
    "textarea": "Street",
    "string": "City State PostalCode Country",
    "picklist": "StateCode CountryCode GeocodeAccuracy",
    "double": "Latitude Longitude",
}


def _address(prefix: str) -> dict[str, str]:
    parts = {kind: " ".join(prefix + part for part in names.split()) for kind, names in _ADDRESS_PART.items()}
    return parts | {"address": f"{prefix}Address"}


def _collect(*groups: Mapping[str, str]) -> dict[str, str]:
    return {name: kind for group in groups for kind, names in group.items() for name in names.split()}


STANDARD_TYPES: Mapping[Entity, Mapping[str, str]] = {
    Entity.LEAD: _collect(_SYSTEM, _PERSON, _LEAD, _address("")),
    Entity.CONTACT: _collect(_SYSTEM, _PERSON, _CONTACT, _address("Mailing"), _address("Other")),
    Entity.ACCOUNT: _collect(_SYSTEM, _ACCOUNT, _address("Billing"), _address("Shipping")),
}
"""Describe type by field name, for the fields that Salesforce ships."""


def standard_describe(entity: Entity) -> dict[str, Any]:
    """Return a describe of *entity* with the standard fields only, for work without an org."""
    fields = [
        {
            "name": name,
            "type": kind,
            "createable": name not in SET_BY_SALESFORCE,
            "defaultedOnCreate": name in FILLED_BY_SALESFORCE,
            "nillable": name not in FILLED_BY_SALESFORCE,
            "updateable": name not in SET_BY_SALESFORCE,
        }
        for name, kind in STANDARD_TYPES[entity].items()
    ]
    return {"name": entity.value, "fields": fields}
