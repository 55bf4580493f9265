"""Entities as describe shows them: what the API user may see of them.

Source: REST API Developer Guide, "sObject Describe", "Describe Global"; SOAP API's DescribeSObjectResult.
"""

from functools import lru_cache
from typing import Any

from sfsync.simorg.ids import KEY_PREFIXES
from sfsync.simorg.schema import PICKLISTS, STRING_TYPES, EntityDef, FieldDef, Schema
from sfsync.simorg.values import label

_SOAP_TYPES = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "int": "xsd:int",
    "double": "xsd:double",
    "currency": "xsd:double",
    "percent": "xsd:double",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
    "address": "urn:address",
    "location": "urn:location",
}
_MERGEABLE = ("Account", "Contact", "Lead")
# Text longer than this is kept outside the row and cannot be filtered, sorted or grouped.
_INLINE_LENGTH_MAX = 255


def describe_global(schema: Schema, version: str) -> dict[str, Any]:
    """Return the describe of all entities in short."""
    return {
        "encoding": "UTF-8",
        "maxBatchSize": 200,
        "sobjects": [brief_of(entity, version) for entity in schema.entities.values()],
    }


def brief_of(entity: EntityDef, version: str) -> dict[str, Any]:
    """Return what the global describe says of one entity."""
    base = f"/services/data/v{version}/sobjects/{entity.name}"
    is_record = entity.name != "User"
    return {
        "activateable": False,
        "associateEntityType": None,
        "associateParentEntity": None,
        "createable": True,
        "custom": False,
        "customSetting": False,
        "deepCloneable": False,
        "deletable": is_record,
        "deprecatedAndHidden": False,
        "feedEnabled": True,
        "hasSubtypes": False,
        "isInterface": False,
        "isSubtype": False,
        "keyPrefix": KEY_PREFIXES[entity.name],
        "label": entity.name,
        "labelPlural": entity.label_plural,
        "layoutable": True,
        "mergeable": entity.name in _MERGEABLE,
        "mruEnabled": True,
        "name": entity.name,
        "queryable": True,
        "replicateable": True,
        "retrieveable": True,
        "searchable": True,
        "triggerable": True,
        "undeletable": is_record,
        "updateable": True,
        "urls": {"sobject": base, "describe": f"{base}/describe", "rowTemplate": base + "/{ID}"},
    }


def describe_entity(schema: Schema, entity: EntityDef, version: str) -> dict[str, Any]:
    """Return the full describe of one entity, without the fields hidden from the user."""
    return {
        **brief_of(entity, version),
        "actionOverrides": [],
        "childRelationships": _children(schema, entity),
        "compactLayoutable": True,
        "fields": [_field(entity.name, entity.is_person, field) for field in entity if not field.hidden],
        "namedLayoutInfos": [],
        "networkScopeFieldName": None,
        "recordTypeInfos": [],
        "searchLayoutable": True,
        "sobjectDescribeOption": "FULL",
        "supportedScopes": [],
    }


def _children(schema: Schema, entity: EntityDef) -> list[dict[str, Any]]:
    names = {
        "Contact.AccountId": "Contacts",
        "Account.ParentId": "ChildAccounts",
        "Opportunity.AccountId": "Opportunities",
    }
    return [
        {
            "cascadeDelete": field.name == "AccountId",
            "childSObject": child.name,
            "deprecatedAndHidden": False,
            "field": field.name,
            "junctionIdListNames": [],
            "junctionReferenceTo": [],
            "relationshipName": names.get(f"{child.name}.{field.name}"),
            "restrictedDelete": False,
        }
        for child in schema.entities.values()
        for field in child
        if entity.name in field.reference_to and not field.hidden
    ]


# A mapping with its fields is described at every start of every daemon; what is returned is only ever written out.
@lru_cache(maxsize=4_096)
def _field(entity_name: str, is_person: bool, field: FieldDef) -> dict[str, Any]:  # noqa: FBT001 - a key of the cache
    is_text = field.type in STRING_TYPES
    is_filterable = not field.is_address and field.length <= _INLINE_LENGTH_MAX
    return {
        "aggregatable": is_filterable,
        "aiPredictionField": False,
        "autoNumber": False,
        "byteLength": field.length
        if field.type in ("id", "reference")
        else 3 * field.length
        if is_text
        else 0,
        "calculated": field.formula is not None,
        "calculatedFormula": field.formula,
        "cascadeDelete": False,
        "caseSensitive": False,
        "compoundFieldName": field.compound,
        "controllerName": None,
        "createable": field.createable,
        "custom": field.custom,
        "defaultValue": False if field.type == "boolean" else None,
        "defaultValueFormula": None,
        "defaultedOnCreate": not field.nillable and not field.required,
        "dependentPicklist": False,
        "deprecatedAndHidden": False,
        "digits": field.length if field.type == "int" else 0,
        "displayLocationInDecimal": False,
        "encrypted": field.type == "encryptedstring",
        "externalId": field.external_id,
        "extraTypeInfo": _extra_type(entity_name, is_person, field),
        "filterable": is_filterable,
        "filteredLookupInfo": None,
        "formulaTreatNullNumberAsZero": False,
        "groupable": is_filterable and field.type not in ("double", "currency", "percent", "datetime"),
        "highScaleNumber": False,
        "htmlFormatted": False,
        "idLookup": field.type == "id" or field.external_id or field.type == "email",
        "inlineHelpText": None,
        "label": label(field.name),
        "length": 0 if field.type == "int" else field.length,
        "mask": None,
        "maskType": None,
        "name": field.name,
        "nameField": field.name == "Name",
        "namePointing": len(field.reference_to) > 1,
        "nillable": field.nillable,
        "permissionable": field.nillable and field.name != "Id",
        "picklistValues": _picklist(field),
        "polymorphicForeignKey": len(field.reference_to) > 1,
        "precision": field.precision,
        "queryByDistance": field.is_address,
        "referenceTargetField": None,
        "referenceTo": list(field.reference_to),
        "relationshipName": field.relationship,
        "relationshipOrder": None,
        "restrictedDelete": False,
        "restrictedPicklist": False,
        "scale": field.scale,
        "searchPrefilterable": field.type == "reference",
        "soapType": _SOAP_TYPES.get(field.type, "xsd:string"),
        "sortable": is_filterable,
        "type": field.type,
        "unique": False,
        "updateable": field.updateable,
        "writeRequiresMasterRead": False,
    }


def _extra_type(entity_name: str, is_person: bool, field: FieldDef) -> str | None:  # noqa: FBT001 - as above
    if field.compound == "Name" or field.name == "Name":
        if entity_name == "Account":
            return "switchablepersonname"
        return "personname" if is_person else None
    if field.type == "textarea":
        return "plaintextarea"
    return "imageurl" if field.name == "PhotoUrl" else None


def _picklist(field: FieldDef) -> list[dict[str, Any]]:
    values = PICKLISTS.get(field.name.removeprefix("Mailing").removeprefix("Other"), ())
    if field.type not in ("picklist", "multipicklist"):
        return []
    return [
        {
            "active": True,
            "defaultValue": value == field.default,
            "label": value,
            "validFor": None,
            "value": value,
        }
        for value in values
    ]
