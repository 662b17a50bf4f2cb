"""The JSON Schema of config.yaml, from the configuration model and the texts of the settings reference.

`python -m scripts.write_reference` writes it. Editors complete and check a file with it while it is written. `check`
also finds what a schema cannot express: names that refer to each other, files, secrets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import DEFAULT_REF_TEMPLATE, GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from proxy.config.auth import Logins
from proxy.config.defaults import Cache, Defaults
from proxy.config.documents import SECTIONS as NAMES
from proxy.config.field_rules import OPERATORS
from proxy.config.fields import FAILOVER_CAUSES
from proxy.config.keys import KeyEntry
from proxy.config.notify import Webhook
from proxy.config.provider_settings import Iam, OAuth
from proxy.config.server import Server
from proxy.config.settings import Group, Merge
from proxy.dialects import DIALECTS, Dialect, Setting
from scripts.write_reference import ENTRIES, SECTIONS, bounds_of, default_of

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_VARIABLE = {"type": "string", "pattern": r"\$\{"}
"""A string with a variable can be replaced by any value."""
_WORD: Schema = {"type": "string", "minLength": 1}
_SCALAR: Schema = {"type": ["string", "number", "boolean"]}
_CREDENTIALS = ("api_key", "api_key_file", "api_keys", "api_keys_files", "iam", "oauth", "access_key_id")
_AWS_KEYS = ("access_key_id", "secret_access_key", "session_token")


def _text(pattern: str) -> Schema:
    return {"type": "string", "pattern": rf"{pattern}|\$\{{"}


def _or_variable(schema: Schema) -> Schema:
    return {"anyOf": [schema, _VARIABLE]}


def _or_list(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "array", "items": schema}]}


_SHARED: Mapping[str, Schema] = {
    "boolean": {"anyOf": [{"type": "boolean"}, {"enum": ["true", "false", "yes", "no", "on", "off", 0, 1]}, _VARIABLE]},
    "duration": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, _text(r"^\s*[0-9.]+\s*(ms|s|m|h|d)?\s*$")]},
    "size": {"anyOf": [{"type": "integer", "minimum": 1}, _text(r"^\s*[0-9]+\s*(B|KiB|MiB|GiB)?\s*$")]},
}
_HASH = _text("^sha256:[0-9a-fA-F]{64}$")
_OVERRIDE: Schema = {
    "type": "object",
    "required": ["match"],
    "properties": {
        "match": _or_list(_WORD),
        "set_params": {"type": "object"},
        "drop_params": {"type": "array", "items": _WORD},
        "rename_params": {"type": "object", "additionalProperties": _WORD},
    },
}
_RULE: Schema = {
    "type": "object",
    "required": ["field"],
    "properties": {"field": _WORD, **{name: {} for name in OPERATORS}},
    "additionalProperties": False,
}
_AUTH: Schema = {
    "anyOf": [
        {"enum": ["bearer", "basic", "none"]},
        *(
            {"type": "object", "required": [name], "properties": {name: _WORD}, "additionalProperties": False}
            for name in ("header", "query")
        ),
        _VARIABLE,
    ]
}
_BEFORE: Mapping[str, Schema] = {
    # The function that converts what is written in the file -> what can be written.
    "_duration": {"$ref": "#/$defs/duration"},
    "_size": {"$ref": "#/$defs/size"},
    "_day": _text("^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
    "_parameter": _SCALAR,
    "_override": _OVERRIDE,
    "_field_rule": _RULE,
    "_auth_style": _AUTH,
    "declared_model": {"anyOf": [_WORD, {"type": "object", "required": ["id"]}]},
    "fields_to_show": {"anyOf": [{"enum": ["all", "none"]}, {"type": "array", "items": _WORD}, _VARIABLE]},
    "failover_conditions": {
        "type": "array",
        "items": {
            "anyOf": [
                {"enum": FAILOVER_CAUSES},
                {"type": "integer", "minimum": 400, "maximum": 599},
                _text("^[45][0-9]{2}$"),
            ]
        },
    },
    "lists_to_wait_for": {
        "anyOf": [{"enum": ["any", "all"]}, {"type": "array", "items": {"type": "string"}, "minItems": 1}, _VARIABLE]
    },
    "rates": _or_list(_text(r"^\s*[0-9]{1,15}(k|M|G)?\s*/\s*(s|m|h|d|month)\s*$")),
    "number_or_off": {
        "anyOf": [{"enum": ["off", False]}, {"type": "integer", "minimum": 1, "maximum": 1_000_000}, _VARIABLE]
    },
}
_AFTER: Mapping[str, Schema] = {
    # The function that checks a text -> its form.
    "_name": _text("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"),
    "_url": _text("^[hH][tT][tT][pP][sS]?://[^?#]+$"),
    "proxy_url": _text("^[hH][tT][tT][pP][sS]?://[^?#]+$"),
    "extra_path": _text("^/"),
    "_path": _text("^/"),
    "header_name": _text("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"),
    "at_least_one": {"minItems": 1},
    "_filled": {"minItems": 1},
}


class _Generator(GenerateJsonSchema):
    """What can be written in the file, which is more than what the model contains: units, variables, short forms."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        function = schema["function"]["function"]
        name = getattr(function, "__name__", "")
        if bounds := bounds_of(function):
            number = {"type": "integer", "minimum": bounds["least"], "maximum": bounds["most"]}
            return {"anyOf": [number, _text(r"^\s*[0-9]{1,18}\s*$")]}
        if name == "_not_callable_if_false":
            return {"anyOf": [{"enum": [False, "false"]}, self.generate_inner(schema["schema"])]}
        if name == "default_of_kind":
            return self.generate_inner(schema["schema"])
        if name == "off_if_false":
            inner = self.generate_inner(schema["schema"])
            return {"anyOf": [*inner["anyOf"], {"enum": [False]}]}
        if name in ("alternatives", "one_or_more"):
            return {"anyOf": [_WORD, {"type": "array", "items": {"type": "string"}}]}
        return dict(_BEFORE.get(name, {}))

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        return {**inner, **_AFTER.get(getattr(schema["function"]["function"], "__name__", ""), {})}

    def bool_schema(self, schema: core_schema.BoolSchema) -> JsonSchemaValue:
        return {"$ref": "#/$defs/boolean"}

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        return _or_variable({"enum": list(schema["expected"])})

    def lax_or_strict_schema(self, schema: core_schema.LaxOrStrictSchema) -> JsonSchemaValue:
        return {"type": "string"}  # a secret; pydantic would hide it

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])  # None is a setting that is not written

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])  # as text, in the description

    def handle_ref_overrides(self, json_schema: JsonSchemaValue) -> JsonSchemaValue:
        return json_schema  # also of references to `_SHARED`

    def get_title_from_name(self, name: str) -> str:
        return ""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema() -> Schema:
    """The schema of the main file."""
    models = {section.model for section in SECTIONS}
    _, definitions = _Generator(by_alias=False, ref_template=DEFAULT_REF_TEMPLATE).generate_definitions(
        [(model, "validation", model.__pydantic_core_schema__) for model in sorted(models, key=lambda m: m.__name__)]
    )
    for section in SECTIONS:
        definitions[section.model.__name__] = _documented(section.model, definitions[section.model.__name__])
    for model in (Server, Logins, Cache, Defaults, Merge):
        definitions[model.__name__]["type"] = ["object", "null"]
    _refine_provider(definitions["Provider"])
    _refine_logins_and_keys(definitions)
    return {
        "$schema": DIALECT,
        "title": "Configuration of models-proxy",
        "type": "object",
        "properties": {name: _section(name) for name in NAMES},
        "patternProperties": {"^x-": {"description": "Ignored: a place for YAML anchors."}},
        "additionalProperties": False,
        "$defs": {**_SHARED, **dict(sorted(definitions.items()))},
    }


def _section(name: str) -> Schema:
    section = next((each for each in SECTIONS if each.heading == name), None)
    if name == "facts":
        words = ["off", "bundled", False, None]  # YAML 1.1 reads off as false
        return {"description": "Where facts of models come from that no provider reports.", "enum": words}
    if section is None:
        return {"description": "Files, or patterns of files, that are added to this one.", **_list_of(_WORD)}
    reference = {"$ref": f"#/$defs/{section.model.__name__}"}
    if section.model is Group:
        kind: Schema = {"type": ["object", "null"], "additionalProperties": reference}
    elif section.text.startswith("A list"):
        kind = _list_of(reference)
    else:
        kind = reference
    return {"description": section.text, **kind}


def _list_of(schema: Schema) -> Schema:
    return {"type": ["array", "null"], "items": schema}


def _documented(model: type[BaseModel], definition: Schema) -> Schema:
    """Add the texts of the settings reference."""
    properties = definition["properties"]
    for name, value in properties.items():
        if entry := _entry(model, name):
            default = entry.default or default_of(model.model_fields[name])
            suffix = "" if default == "required" else f"\n\nDefault: {default}."
            properties[name] = {
                **value, "description": f"{entry.meaning}{suffix}\n\nExample: `{entry.example}`",
            }  # fmt: skip
    return {key: value for key, value in definition.items() if key not in ("title", "description")}


def _entry(model: type[BaseModel], name: str) -> Any:
    owners = (*(each.__name__ for each in model.__mro__), "Defaults", "Cache", "ListSettings")
    return next((ENTRIES[f"{owner}.{name}"] for owner in owners if f"{owner}.{name}" in ENTRIES), None)


# -- what depends on other settings ------------------------------------------------------------------------------------


def _refine_provider(definition: Schema) -> None:
    """The settings of kinds, and which settings a kind requires or does not have."""
    properties = definition["properties"]
    del properties["settings"]
    properties["kind"] = {**properties["kind"], **_or_variable({"enum": list(DIALECTS)})}
    del properties["kind"]["type"]
    for row in DIALECTS.values():
        for name, setting in row.settings.items():
            properties.setdefault(name, _setting_of_kind(setting))
    definition["allOf"] = [*_only_of_kinds(), *_required_by_kinds(), *_conflicts(_CREDENTIALS)]


def _setting_of_kind(setting: Setting) -> Schema:
    if setting.many:
        return {"type": "array", "items": _SCALAR, "minItems": 1}
    return {"enum": [True, False, "true", "false"]} if setting.flag else dict(_SCALAR)


def _only_of_kinds() -> Iterator[Schema]:
    names = {name for row in DIALECTS.values() for name in row.settings}
    for name in sorted(names | {"iam", "list", *_AWS_KEYS}):
        kinds = [row.kind for row in DIALECTS.values() if name in _names_of(row)]
        yield _if_given(name, {"required": ["kind"], "properties": {"kind": _or_variable({"enum": kinds})}})


def _names_of(row: Dialect) -> Sequence[str]:
    return (*row.settings, *["iam"] * row.iam, *["list"] * (row.kind == "custom"), *(_AWS_KEYS if row.aws else ()))


def _required_by_kinds() -> Iterator[Schema]:
    for row in DIALECTS.values():
        required = [name for name, setting in row.settings.items() if setting.default is None and not setting.optional]
        required += ["base_url"] * (row.is_remote and not row.base_url)
        required += ["models"] * (not row.is_remote) + ["list"] * (row.kind == "custom")
        is_kind: Schema = {"properties": {"kind": {"const": row.kind}}}
        if row.kind != "openai":  # the default
            is_kind["required"] = ["kind"]
        if required:
            yield {"if": is_kind, "then": {"required": required}}


def _refine_logins_and_keys(definitions: Schema) -> None:
    for model, secret in ((Iam, "password"), (OAuth, "secret"), (Webhook, "secret")):
        definitions[model.__name__]["oneOf"] = [{"required": [secret]}, {"required": [f"{secret}_file"]}]
    key = definitions[KeyEntry.__name__]
    properties = key["properties"]
    for name, kind in (("hash", _HASH), ("key", _VARIABLE), ("hashes", {"type": "array", "items": _HASH})):
        properties[name] = {**properties[name], **kind}
    key["allOf"] = [
        {"oneOf": [{"required": [name]} for name in ("hash", "hashes", "key")]},
        {"anyOf": [{"required": [name]} for name in ("group", "models")]},
    ]


def _conflicts(names: Sequence[str]) -> Iterator[Schema]:
    for pair in combinations(names, 2):
        yield {"not": {"required": list(pair)}}


def _if_given(name: str, then: Schema) -> Schema:
    return {"if": {"required": [name]}, "then": then}


def text() -> str:
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"
