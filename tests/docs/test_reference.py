"""The generated parts of the documentation are up to date, complete, and their examples are valid."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from pydantic import create_model

from proxy.config.fields import Settings
from scripts import write_schema
from scripts.write_reference import (
    CONFIGURATION,
    ENTRIES,
    METRICS_PAGE,
    PROVIDERS,
    SCHEMA,
    SECTIONS,
    configuration,
    with_kinds,
    with_metrics,
)
from tests.docs.pages import text_of

_REMEDY = "run `python -m scripts.write_reference`"
MODELS = {section.model.__name__: section.model for section in SECTIONS}


def test_the_settings_reference_is_up_to_date() -> None:
    assert text_of(CONFIGURATION) == configuration(), _REMEDY


def test_the_schema_is_up_to_date() -> None:
    assert text_of(SCHEMA) == write_schema.text(), _REMEDY


def test_the_table_of_kinds_is_up_to_date() -> None:
    page = text_of(PROVIDERS)
    assert page == with_kinds(page), _REMEDY
    assert "| `openai` | `/models` |" in page


def test_the_table_of_metrics_is_up_to_date() -> None:
    page = text_of(METRICS_PAGE)
    assert page == with_metrics(page), _REMEDY
    assert "| `process_open_fds` | gauge | - |" in page


def test_every_setting_is_documented_once() -> None:
    in_model = {f"{name}.{field}" for name, model in MODELS.items() for field in model.model_fields}
    inherited = {f"{section.model.__name__}.{field}" for section in SECTIONS for field in section.without}
    assert set(ENTRIES) == in_model - inherited


@pytest.mark.parametrize("name", ENTRIES)
def test_each_example_is_valid(name: str) -> None:
    model, setting = name.split(".")
    field = MODELS[model].model_fields[setting]
    definition: dict[str, Any] = {setting: (field.annotation, field)}
    model_of_setting = create_model("OfOne", __base__=Settings, **definition)
    quoted = re.sub(r"(?<![\"'])\$\{\w+}", r'"\g<0>"', ENTRIES[name].example)
    ((written, value),) = yaml.safe_load(quoted).items()
    assert written == setting
    model_of_setting.model_validate({setting: value})
