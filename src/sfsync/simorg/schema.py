"""Which entities and fields the org has; custom fields may be added, removed, retyped and hidden while it runs.

Why: the standard fields are a table a reader can check against the Field Reference line by line, read at start;
one class per entity would say the same in ten times the space. Field names are looked up without regard to case.

Source: Object Reference for Salesforce (Account, Contact, Lead, Opportunity, User, PermissionSet,
PermissionSetAssignment, ObjectPermissions).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

STRING_TYPES = frozenset(
    {
        "string",
        "textarea",
        "email",
        "phone",
        "url",
        "picklist",
        "multipicklist",
        "combobox",
        "encryptedstring",
    }
)
REFERENCE_TYPES = frozenset({"id", "reference"})
NUMBER_TYPES = frozenset({"int", "double", "currency", "percent"})
PICKLISTS = {
    "Salutation": ("Mr.", "Ms.", "Mrs.", "Dr.", "Prof."),
    "LeadSource": ("Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Other"),
    "AccountSource": ("Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Other"),
    "Industry": (
        "Banking",
        "Construction",
        "Electronics",
        "Manufacturing",
        "Retail",
        "Technology",
        "Transportation",
    ),
    "Rating": ("Hot", "Warm", "Cold"),
    "Type": ("Prospect", "Customer - Direct", "Customer - Channel", "Technology Partner", "Other"),
    "Ownership": ("Public", "Private", "Subsidiary", "Other"),
    "CleanStatus": ("Matched", "Different", "Pending", "NotFound", "Inactive"),
    "Status": ("Open - Not Contacted", "Working - Contacted", "Closed - Converted", "Closed - Not Converted"),
    "StageName": ("Prospecting", "Qualification", "Closed Won", "Closed Lost"),
    "Tier__c": ("Gold", "Silver", "Bronze"),
    "GeocodeAccuracy": ("Address", "Street", "City", "Unknown"),
}


@dataclass(frozen=True, slots=True)
class FieldDef:
    """One field of one entity; *formula* is the path of what a formula field shows, such as `Account.Tier__c`."""

    name: str
    type: str
    length: int = 0
    precision: int = 0
    scale: int = 0
    required: bool = False
    createable: bool = True
    updateable: bool = True
    default: str | None = None
    compound: str | None = None
    reference_to: tuple[str, ...] = ()
    relationship: str | None = None
    formula: str | None = None
    hidden: bool = False
    external_id: bool = False
    nillable: bool = True

    @property
    def custom(self) -> bool:
        """Whether an administrator made it."""
        return self.name.endswith("__c")

    @property
    def is_address(self) -> bool:
        """Whether it is a compound of components stored under names of their own."""
        return self.type in ("address", "location")


class EntityDef:
    """One entity: its name, key prefix and fields in their order."""

    def __init__(self, name: str, label_plural: str, fields: list[FieldDef]) -> None:
        self.name = name
        self.label_plural = label_plural
        self._fields = {field.name.lower(): field for field in fields}
        self._relationships = {f.relationship.lower(): f for f in fields if f.relationship}

    def __iter__(self) -> Iterator[FieldDef]:
        return iter(self._fields.values())

    def field(self, name: str) -> FieldDef | None:
        """Return a field by its name in any case, hidden or not."""
        return self._fields.get(name.lower())

    def visible(self, name: str) -> FieldDef | None:
        """Return a field that the API user may read, by its name in any case."""
        field = self._fields.get(name.lower())
        return None if field is None or field.hidden else field

    def relation(self, name: str) -> FieldDef | None:
        """Return the visible lookup field whose relationship is called *name*."""
        field = self._relationships.get(name.lower())
        return None if field is None or field.hidden else field

    def components(self, compound: str) -> list[FieldDef]:
        """Return the fields stored as parts of *compound*."""
        return [f for f in self._fields.values() if f.compound == compound and f.name != compound]

    def put(self, field: FieldDef) -> None:
        """Add or replace *field*."""
        self._fields[field.name.lower()] = field
        if field.relationship:
            self._relationships[field.relationship.lower()] = field

    def drop(self, name: str) -> None:
        """Remove a field by its name in any case."""
        field = self._fields.pop(name.lower())
        if field.relationship:
            self._relationships.pop(field.relationship.lower(), None)

    @property
    def is_person(self) -> bool:
        """Whether its Name is composed of a first and a last name."""
        return self.name in ("Lead", "Contact")


class Schema:
    """All entities; *version* grows with every change of a field."""

    def __init__(self) -> None:
        self.entities = {name: _entity(name, plural, table) for name, plural, table in _ENTITIES}
        # What a query may read besides.
        self.setup = {name: _entity(name, plural, table) for name, plural, table in _SETUP}
        self.version = 1

    def entity(self, name: str) -> EntityDef | None:
        """Return an entity by its name in any case."""
        return _named(self.entities, name)

    def source(self, name: str) -> EntityDef | None:
        """Return what a query may read, an entity or a setup object, by its name in any case."""
        return _named(self.entities, name) or _named(self.setup, name)

    def target(self, field: FieldDef) -> EntityDef | None:
        """Return what a lookup points at, as far as this org has it."""
        named = (self.source(name) for name in field.reference_to)
        return next((found for found in named if found is not None), None)

    def add_field(self, entity: str, field: FieldDef, *, standard: bool = False) -> None:
        """Add a custom field, or a *standard* one that this org lacks. Raises ValueError if it exists or is misnamed."""
        owner = self._known(entity)
        if not field.custom and not standard:
            raise ValueError(f"{field.name!r} is no custom field: its name must end in __c")
        if owner.field(field.name):
            raise ValueError(f"{entity} already has a field {field.name}")
        owner.put(field)
        self.version += 1

    def remove_field(self, entity: str, name: str) -> FieldDef:
        """Remove a custom field and return it. Raises ValueError for standard and unknown fields."""
        field = self._custom(entity, name)
        self._known(entity).drop(name)
        self.version += 1
        return field

    def retype_field(self, entity: str, like: FieldDef) -> None:
        """Give a custom field the type and size of *like*. Raises ValueError for standard and unknown fields."""
        field = self._custom(entity, like.name)
        changed = replace(
            field, type=like.type, length=like.length, precision=like.precision, scale=like.scale
        )
        self._known(entity).put(changed)
        self.version += 1

    def set_hidden(self, entity: str, name: str, *, hidden: bool) -> None:
        """Hide a field from the API user (field-level security) or show it. Raises ValueError if unknown."""
        field = self._known(entity).field(name)
        if field is None:
            raise ValueError(f"{entity} has no field {name!r}")
        if field.required or not (field.createable or field.updateable or field.custom):
            raise ValueError(
                f"{entity}.{field.name} is required or a system field: field-level security cannot hide it"
            )
        self._known(entity).put(replace(field, hidden=hidden))
        self.version += 1

    def _known(self, entity: str) -> EntityDef:
        if entity not in self.entities:
            raise ValueError(f"unknown entity {entity!r}; known are {', '.join(self.entities)}")
        return self.entities[entity]

    def _custom(self, entity: str, name: str) -> FieldDef:
        field = self._known(entity).field(name)
        if field is None:
            raise ValueError(f"{entity} has no field {name!r}")
        if not field.custom:
            raise ValueError(
                f"{entity}.{field.name} is a standard field: only custom ones (__c) can be changed"
            )
        return field


def _named(entities: Mapping[str, EntityDef], name: str) -> EntityDef | None:
    exact = entities.get(name)
    return exact or next((e for key, e in entities.items() if key.lower() == name.lower()), None)


def _entity(name: str, plural: str, table: str) -> EntityDef:
    return EntityDef(name, plural, [_field(line) for line in table.strip().splitlines()])


def _field(line: str) -> FieldDef:
    """Read one line: name, type with length or (precision,scale), then flags.

    Flags: `!` required, `*` never null but filled by the org, `ro` read-only, `upd` only updateable, `new` only
    createable, `=value` default, `~Compound`, `>Entity:Relationship`, `fx:path` formula, `hidden`, `ext`.
    """
    name, spec, *flags = line.split()
    base, _, size = spec.partition(":")
    precision, _, scale = size.partition(",")
    field = FieldDef(name, base, length=0 if scale else int(precision or 0))
    if scale:
        field = replace(field, precision=int(precision), scale=int(scale))
    if base in REFERENCE_TYPES:
        field = replace(field, length=18)
    if base in ("boolean", "id"):
        field = replace(field, nillable=False)
    for flag in flags:
        field = _flagged(field, flag)
    return field


def _flagged(field: FieldDef, flag: str) -> FieldDef:
    if flag in _FLAGS:
        return replace(field, **_FLAGS[flag])  # type: ignore[arg-type]  # a table of keyword sets
    value = flag[1:].replace("_", " ")
    if flag.startswith("~"):
        return replace(field, compound=flag[1:])
    if flag.startswith("="):
        return replace(field, default=value)
    if flag.startswith("fx:"):
        return replace(field, formula=flag[3:], createable=False, updateable=False)
    targets, _, relationship = flag[1:].partition(":")
    return replace(field, reference_to=tuple(targets.split(",")), relationship=relationship or None)


_FLAGS: dict[str, dict[str, bool]] = {
    "!": {"required": True, "nillable": False},
    "*": {"nillable": False},
    "ro": {"createable": False, "updateable": False},
    "upd": {"createable": False},
    "new": {"updateable": False},
    "hidden": {"hidden": True},
    "ext": {"external_id": True},
}

_HEAD = """
Id id ro
IsDeleted boolean ro
MasterRecordId reference ro >{entity}:MasterRecord
"""
_STAMPS = """
CreatedDate datetime ro *
CreatedById reference ro * >User:CreatedBy
LastModifiedDate datetime ro *
LastModifiedById reference ro * >User:LastModifiedBy
SystemModstamp datetime ro *
LastActivityDate date ro
LastViewedDate datetime ro
LastReferencedDate datetime ro
"""
_PERSON_NAME = """
LastName string:80 ! ~Name
FirstName string:40 ~Name
Salutation picklist:40 ~Name
Name string:121 ro *
"""


def _address(prefix: str) -> str:
    return f"""
{prefix}Street textarea:255 ~{prefix}Address
{prefix}City string:40 ~{prefix}Address
{prefix}State string:80 ~{prefix}Address
{prefix}PostalCode string:20 ~{prefix}Address
{prefix}Country string:80 ~{prefix}Address
{prefix}Latitude double:18,15 ~{prefix}Address
{prefix}Longitude double:18,15 ~{prefix}Address
{prefix}GeocodeAccuracy picklist:40 ~{prefix}Address
{prefix}Address address ro
"""


def _lines(*parts: str) -> str:
    return "\n".join(line for part in parts for line in part.splitlines() if line.strip())


_LEAD = _lines(
    _HEAD.format(entity="Lead"),
    _PERSON_NAME,
    """
Title string:128
Company string:255 !
""",
    _address(""),
    """
Phone phone:40
MobilePhone phone:40
Fax phone:40
Email email:80
Website url:255
PhotoUrl url:255 ro
Description textarea:32000
LeadSource picklist:255
Status picklist:255 * =Open_-_Not_Contacted
Industry picklist:255
Rating picklist:255
AnnualRevenue currency:18,0
NumberOfEmployees int:8
OwnerId reference * >User,Group:Owner
HasOptedOutOfEmail boolean
HasOptedOutOfFax boolean hidden
DoNotCall boolean hidden
IsConverted boolean ro
ConvertedDate date ro
ConvertedAccountId reference ro >Account:ConvertedAccount
ConvertedContactId reference ro >Contact:ConvertedContact
ConvertedOpportunityId reference ro >Opportunity:ConvertedOpportunity
IsUnreadByOwner boolean
""",
    _STAMPS,
    """
Jigsaw string:20
CleanStatus picklist:40
CompanyDunsNumber string:9
EmailBouncedReason string:255
EmailBouncedDate datetime
Score__c double:5,1
Campaign_Code__c string:20
""",
)

_CONTACT = _lines(
    _HEAD.format(entity="Contact"),
    "AccountId reference >Account:Account",
    _PERSON_NAME,
    _address("Other"),
    _address("Mailing"),
    """
Phone phone:40
Fax phone:40
MobilePhone phone:40
HomePhone phone:40
OtherPhone phone:40
AssistantPhone phone:40
ReportsToId reference >Contact:ReportsTo
Email email:80
Title string:128
Department string:80
AssistantName string:40
LeadSource picklist:255
Birthdate date
Description textarea:32000
OwnerId reference * >User:Owner
HasOptedOutOfEmail boolean
HasOptedOutOfFax boolean hidden
DoNotCall boolean hidden
""",
    _STAMPS,
    """
EmailBouncedReason string:255
EmailBouncedDate datetime
IsEmailBounced boolean ro
PhotoUrl url:255 ro
Jigsaw string:20
CleanStatus picklist:40
Loyalty__c string:40
External_Key__c string:36 ext
Account_Tier__c string:255 fx:Account.Tier__c
Private_Note__c textarea:1000 hidden
""",
)

_ACCOUNT = _lines(
    _HEAD.format(entity="Account"),
    """
Name string:255 ! ~Name
Type picklist:255
ParentId reference >Account:Parent
""",
    _address("Billing"),
    _address("Shipping"),
    """
Phone phone:40
Fax phone:40
AccountNumber string:40
Website url:255
PhotoUrl url:255 ro
Sic string:20
Industry picklist:255
AnnualRevenue currency:18,0
NumberOfEmployees int:8
Ownership picklist:255
TickerSymbol string:20
Description textarea:32000
Rating picklist:255
Site string:80
OwnerId reference * >User:Owner
""",
    _STAMPS,
    """
Jigsaw string:20
CleanStatus picklist:40
AccountSource picklist:255
SicDesc string:80
Tier__c picklist:255
External_Key__c string:36 ext
""",
)

_OPPORTUNITY = _lines(
    """
Id id ro
IsDeleted boolean ro
AccountId reference >Account:Account
Name string:120 !
StageName picklist:255 ! =Prospecting
Amount currency:18,2
CloseDate date !
LeadSource picklist:255
IsClosed boolean ro
OwnerId reference * >User:Owner
""",
    _STAMPS,
)

_USER = """
Id id ro
Username string:80 !
LastName string:80 !
FirstName string:40
Name string:121 ro *
Email email:128 !
IsActive boolean
CreatedDate datetime ro *
LastModifiedDate datetime ro *
SystemModstamp datetime ro *
"""

_ENTITIES = (
    ("Account", "Accounts", _ACCOUNT),
    ("Contact", "Contacts", _CONTACT),
    ("Lead", "Leads", _LEAD),
    ("Opportunity", "Opportunities", _OPPORTUNITY),
    ("User", "Users", _USER),
)

# What an administrator gave to whom. It can be queried, and nothing else: describe and change events leave it out.
_PERMISSION_SET = """
Id id ro
Name string:80 ro *
Label string:80 ro *
IsOwnedByProfile boolean ro
PermissionsViewAllData boolean ro
PermissionsModifyAllData boolean ro
SystemModstamp datetime ro *
"""
_ASSIGNMENT = """
Id id ro
PermissionSetId reference ro * >PermissionSet:PermissionSet
AssigneeId reference ro * >User:Assignee
IsActive boolean ro
SystemModstamp datetime ro *
"""
_OBJECT_PERMISSIONS = """
Id id ro
ParentId reference ro * >PermissionSet:Parent
SobjectType picklist:40 ro *
PermissionsRead boolean ro
PermissionsCreate boolean ro
PermissionsEdit boolean ro
PermissionsDelete boolean ro
PermissionsViewAllRecords boolean ro
PermissionsModifyAllRecords boolean ro
SystemModstamp datetime ro *
"""
_SETUP = (
    ("PermissionSet", "Permission Sets", _PERMISSION_SET),
    ("PermissionSetAssignment", "Permission Set Assignments", _ASSIGNMENT),
    ("ObjectPermissions", "Object Permissions", _OBJECT_PERMISSIONS),
)
