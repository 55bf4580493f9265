"""Lead conversion: one transaction that makes or reuses an account and a contact and marks the lead.

Source: Apex Developer Guide, "Converting Leads"; CDC Developer Guide, "Change Events for Lead Conversion".
"""

from dataclasses import dataclass
from datetime import timedelta, timezone
from typing import Any

from sfsync.simorg.errors import DmlError
from sfsync.simorg.transaction import Transaction
from sfsync.simorg.world import World

# Dates are set in the acting user's time zone, instants are stored in UTC.
USER_ZONE = timezone(timedelta(hours=9))
CONVERTED_STATUS = "Closed - Converted"
_PERSON_FIELDS = ("LastName", "FirstName", "Salutation", "Title", "Email", "Phone", "MobilePhone", "Fax")
_PERSON_OPTIONS = ("LeadSource", "Description", "HasOptedOutOfEmail", "HasOptedOutOfFax", "DoNotCall")
_ADDRESS = ("Street", "City", "State", "PostalCode", "Country", "Latitude", "Longitude", "GeocodeAccuracy")
_COMPANY_FIELDS = ("Phone", "Fax", "Website", "Industry", "AnnualRevenue", "NumberOfEmployees", "Rating")


@dataclass(frozen=True, slots=True)
class Conversion:
    """What to convert, and into what; a missing account or contact is made, and belongs to *owner_id*.

    Without an owner it belongs to the lead's, or to whoever converts when that is a queue.
    """

    lead_id: str
    account_id: str | None = None
    contact_id: str | None = None
    status: str = CONVERTED_STATUS
    opportunity: bool = True
    owner_id: str | None = None


@dataclass(frozen=True, slots=True)
class Converted:
    """The records a conversion led to."""

    account_id: str
    contact_id: str
    opportunity_id: str | None


def convert(world: World, tx: Transaction, conversion: Conversion) -> Converted:
    """Stage the conversion in *tx*. Raises DmlError."""
    lead = tx.read_live(conversion.lead_id)
    if lead.get("IsConverted"):
        raise DmlError("CANNOT_UPDATE_CONVERTED_LEAD", "This lead has already been converted", ["Id"])
    if "IsConverted" not in lead:
        raise DmlError("INVALID_ID_FIELD", "only leads can be converted", ["Id"])
    account_id = _account(tx, lead, conversion)
    contact_id = _contact(tx, lead, account_id, conversion)
    today = world.clock.now().astimezone(USER_ZONE).date()
    opportunity_id = None
    if conversion.opportunity:
        opportunity = {
            "Name": f"{lead.get('Company', '')[:118]}-",
            "AccountId": account_id,
            "StageName": "Prospecting",
            "CloseDate": today + timedelta(days=90),
        }
        if conversion.owner_id is not None:
            opportunity["OwnerId"] = conversion.owner_id
        opportunity_id = tx.create("Opportunity", opportunity)
    marks = {
        "Status": conversion.status,
        "IsConverted": True,
        "ConvertedDate": today,
        "ConvertedAccountId": account_id,
        "ConvertedContactId": contact_id,
        "ConvertedOpportunityId": opportunity_id,
        "IsUnreadByOwner": False,
    }
    tx.set_fields(conversion.lead_id, marks)
    return Converted(account_id, contact_id, opportunity_id)


def _account(tx: Transaction, lead: dict[str, Any], conversion: Conversion) -> str:
    if conversion.contact_id is not None:
        owner = tx.read_live(conversion.contact_id).get("AccountId")
        if conversion.account_id not in (None, owner) or owner is None:
            raise DmlError(
                "INVALID_CROSS_REFERENCE_KEY", "the contact does not belong to the account", ["AccountId"]
            )
        return str(owner)
    if conversion.account_id is not None:
        tx.read_live(conversion.account_id)
        return conversion.account_id
    values = {name: lead.get(name) for name in _COMPANY_FIELDS}
    values |= {f"Billing{name}": lead.get(name) for name in _ADDRESS}
    values |= {
        "Name": lead.get("Company"),
        "AccountSource": lead.get("LeadSource"),
        "OwnerId": _owner(tx, lead, conversion),
    }
    return _create(tx, "Account", values)


def _contact(tx: Transaction, lead: dict[str, Any], account_id: str, conversion: Conversion) -> str:
    values = {name: lead.get(name) for name in (*_PERSON_FIELDS, *_PERSON_OPTIONS)}
    values |= {f"Mailing{name}": lead.get(name) for name in _ADDRESS}
    if conversion.contact_id is None:
        return _create(
            tx, "Contact", values | {"AccountId": account_id, "OwnerId": _owner(tx, lead, conversion)}
        )
    contact = tx.read_live(conversion.contact_id)
    blanks = {
        name: value for name, value in values.items() if value is not None and contact.get(name) is None
    }
    if blanks:
        tx.set_fields(conversion.contact_id, blanks)
    return conversion.contact_id


def _owner(tx: Transaction, lead: dict[str, Any], conversion: Conversion) -> str:
    owner = conversion.owner_id or str(lead.get("OwnerId", ""))
    return owner if owner.startswith("005") else tx.user_id


def _create(tx: Transaction, entity: str, values: dict[str, Any]) -> str:
    privileged, tx.privileged = tx.privileged, True
    try:
        return tx.create(entity, values)
    finally:
        tx.privileged = privileged
