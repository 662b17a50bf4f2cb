"""Secrets in files: which changes of a file are used, and what is logged."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from proxy.config import read
from proxy.config.fields import check_api_key
from proxy.config.secret_files import SecretFile, values_of

OLD, NEW = "sk-canary-old", "sk-canary-new"
SETTING = "provider a: api_key_file"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(f"{OLD}\n")
    return file


@pytest.fixture
def secret(path: Path) -> SecretFile:
    made = SecretFile(str(path), SETTING, check_api_key)
    made.poll()
    made.poll()
    return made


def written(path: Path, content: str | bytes) -> None:
    """Replace the content of a file in place."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def replaced(path: Path, content: str) -> None:
    """Replace a file by another one, with the same size and time."""
    time = path.stat().st_mtime_ns
    other = path.with_name("other")
    other.write_text(content)
    os.utime(other, ns=(time, time))
    other.replace(path)


def test_secret_is_equal_to_its_text_and_is_not_shown(secret: SecretFile) -> None:
    assert secret == SecretStr(OLD)
    assert SecretStr(OLD) == secret
    assert hash(secret) == hash(SecretStr(OLD))
    assert "canary" not in f"{secret} {secret!r}"


def test_changed_file_is_loaded_when_two_polls_are_equal(path: Path, secret: SecretFile) -> None:
    written(path, NEW[:-3])
    secret.poll()
    written(path, NEW)
    secret.poll()
    assert secret.get_secret_value() == OLD
    secret.poll()
    assert secret.get_secret_value() == NEW


def test_replaced_file_of_the_same_size_and_time_is_loaded(path: Path, secret: SecretFile) -> None:
    replaced(path, f"{NEW}\n")
    secret.poll()
    secret.poll()
    assert secret.get_secret_value() == NEW


def test_replaced_symbolic_link_is_loaded(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    secret = SecretFile(str(link), SETTING, check_api_key)
    (tmp_path / "new").write_text(NEW)
    (tmp_path / "link2").symlink_to(tmp_path / "new")
    (tmp_path / "link2").replace(link)
    secret.poll()
    secret.poll()
    assert secret.get_secret_value() == NEW


def test_unchanged_file_is_not_read_again(path: Path) -> None:
    reads = []

    def counted(name: str) -> str:
        reads.append(name)
        return Path(name).read_text()

    secret = SecretFile(str(path), SETTING, check_api_key, counted)
    for _ in range(10):
        secret.poll()
    assert len(reads) == 2


def test_reload_loads_a_changed_file_immediately(path: Path, secret: SecretFile) -> None:
    written(path, NEW)
    secret.reload()
    assert secret.get_secret_value() == NEW


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param("", "its content is empty; set a value or remove it", id="empty"),
        pytest.param(" \n", "its content is empty; set a value or remove it", id="blank"),
        pytest.param(b"\xff\xfe", "is not a UTF-8 text file", id="not UTF-8"),
        pytest.param(
            "sk-canary\nsk-canary",
            "its content must be printable ASCII without leading or trailing spaces, because it is sent in a header",
            id="two lines",
        ),
        pytest.param(None, "cannot be read: No such file or directory", id="missing"),
    ],
)
def test_unusable_file_keeps_the_secret_and_is_logged_once(
    content: str | bytes | None, fault: str, path: Path, secret: SecretFile, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "models_proxy")
    if content is None:
        path.unlink()
    else:
        written(path, content)
    for _ in range(4):
        secret.poll()
        secret.reload()
    assert secret.get_secret_value() == OLD
    assert caplog.messages == [f"{SETTING}: {path}: {fault}; the previous secret is still used"]
    path.unlink(missing_ok=True)
    written(path, NEW)
    secret.reload()
    written(path, "")
    secret.reload()
    assert caplog.messages[1] == f"{SETTING}: {path}: the file has changed; the new secret is used"
    assert len(caplog.messages) == 3
    assert "canary" not in caplog.text


def test_previous_secret_is_still_a_secret(path: Path, secret: SecretFile) -> None:
    assert values_of(secret) == (OLD,)
    written(path, NEW)
    secret.reload()
    secret.reload()
    assert values_of(secret) == (NEW, OLD)
    assert values_of(SecretStr(OLD)) == (OLD,)


def test_configuration_names_all_its_secrets_in_files(path: Path, tmp_path: Path) -> None:
    (tmp_path / "second").write_text(NEW)
    file = tmp_path / "config.yaml"
    file.write_text(f"""\
providers:
  - {{name: a, base_url: "http://h", api_key_file: {path}}}
  - {{name: b, base_url: "http://h", api_keys_files: [{path}, {tmp_path}/second]}}
  - {{name: c, base_url: "http://h", oauth: {{url: "http://h", id: i, secret_file: {path}}}}}
  - name: d
    kind: pangu
    base_url: http://h
    workspace_id: w
    model_ids: [m]
    iam: {{url: "http://h", domain: d, user: u, project: p, password_file: {path}}}
  - {{name: e, base_url: "http://h", api_key: {OLD}}}
""")
    config = read(file, {})
    assert [len(provider.secret_files) for provider in config.providers] == [1, 2, 1, 1, 0]
