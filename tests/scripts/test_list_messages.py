"""The list of texts contains what users read, and matches texts that were changed or moved."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scripts.list_messages import Message, main, messages_of

BEFORE = {
    "proxy/fetch.py": '''
"""Fetch the lists."""
import re

_PATTERN = re.compile("two words [a-z]")


class Fetcher:
    """Fetches one list."""

    def fetch(self, host):
        log.warning("the host %s tells nothing", host)
        raise ValueError(f"there is nothing at {host!r:>10} | "
                         "look elsewhere")


@click.command()
@click.option("--url", help="Where it is.")
def fetch(url):
    """Fetch a list.

    Prints it.
    """
    echo("nothing was found", "key")
''',
    "config.yaml": "# The whole truth.\nname: a  # told to others\nport: 80  # bare\n",
    "README.md": "# Title\n\n```sh\n# no heading\n```\n\n## For whoever calls\n",
}
AFTER = {
    "proxy/lists/fetch.py": BEFORE["proxy/fetch.py"]
    .replace("the host %s tells nothing", "the host %s returned nothing")
    .replace("look elsewhere", "check the URL")
    .replace("nothing was found", "no list found"),
    "config.yaml": BEFORE["config.yaml"].replace("The whole truth.", "The complete configuration."),
    "README.md": "# Title\n\n## Using the API\n",
}


def commit(tree: dict[str, str], repository: Path) -> str:
    """Commit a tree as the only files of a repository. Returns the revision."""
    for path in git(repository, "ls-files").splitlines():
        (repository / path).unlink()
    for path, content in tree.items():
        (repository / path).parent.mkdir(parents=True, exist_ok=True)
        (repository / path).write_text(content, encoding="utf-8")
    git(repository, "add", "-A")
    git(repository, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "tree")
    return git(repository, "rev-parse", "HEAD").strip()


def git(repository: Path, *arguments: str) -> str:
    """Run git, and return its stdout."""
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603  # git, as installed


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    return tmp_path


def test_texts_are_those_that_users_read() -> None:
    assert messages_of(BEFORE) == [
        Message("README.md", "", "Title"),
        Message("README.md", "", "For whoever calls"),
        Message("config.yaml", "", "The whole truth."),
        Message("config.yaml", "", "told to others"),
        Message("proxy/fetch.py", "Fetcher.fetch", "the host %s tells nothing"),
        Message("proxy/fetch.py", "Fetcher.fetch", "there is nothing at {host} | look elsewhere"),
        Message("proxy/fetch.py", "fetch", "Fetch a list.\n\n    Prints it."),
        Message("proxy/fetch.py", "fetch", "nothing was found"),
        Message("proxy/fetch.py", "fetch", "Where it is."),
    ]


def test_texts_of_two_revisions_are_matched_although_files_have_moved(repository: Path) -> None:
    revisions = commit(BEFORE, repository), commit(AFTER, repository)
    moved = "proxy/lists/fetch.py"
    assert main(revisions, repository).splitlines() == [
        "| place | before | after |",
        "|---|---|---|",
        "| README.md | (unchanged) | Title |",
        "| README.md | (added) | Using the API |",
        "| config.yaml | The whole truth. | The complete configuration. |",
        "| config.yaml | (unchanged) | told to others |",
        f"| {moved}: Fetcher.fetch | the host %s tells nothing | the host %s returned nothing |",
        f"| {moved}: Fetcher.fetch | there is nothing at {{host}} \\| look elsewhere "
        "| there is nothing at {host} \\| check the URL |",
        f"| {moved}: fetch | (unchanged) | Fetch a list.<br>Prints it. |",
        f"| {moved}: fetch | nothing was found | no list found |",
        f"| {moved}: fetch | (unchanged) | Where it is. |",
        "| README.md | For whoever calls | (removed) |",
    ]


def test_the_last_commit_alone_is_listed_without_a_comparison(repository: Path) -> None:
    commit({"README.md": "# Title\n"}, repository)
    assert main((), repository).splitlines()[2:] == ["| README.md | (unchanged) | Title |"]
