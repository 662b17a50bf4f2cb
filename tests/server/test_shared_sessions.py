"""Sessions in several processes: workers, replicas over a shared store, and restarts with a directory."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.access.sessions import SECRET_BYTES, SESSION_SECONDS, Sessions
from proxy.config import Config
from proxy.server.app import Proxy
from proxy.server.session_file import NAME, SessionFile
from proxy.server.shared_sessions import AGREE_SECONDS, first_sessions
from proxy.sharing import Sharing
from proxy.store.disk import Disk
from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.processes import TIMEOUT
from tests.providers.oidc import oidc_provider
from tests.server.status_browser import ADMIN, Browser
from tests.sharing.memory import Medium, SharedMemory
from tests.store.files import FakeFiles
from tests.valkey_servers import ValkeyServer

pytestmark = pytest.mark.anyio

TEXT = f"""
providers: [{{name: a, base_url: 'http://127.0.0.1:9/v1'}}]
keys: [{{name: root, hash: '{digest(ADMIN)}', models: ['*'], admin: true}}]
"""


@asynccontextmanager
async def started(
    clock: FakeClock, sharing: Sharing | None = None, sessions: Sessions | None = None, config: Config | None = None
) -> AsyncIterator[Browser]:
    """A process, and a browser that uses it."""
    app = Proxy(config or config_of(TEXT), clock=clock, fetch=FakeFetch(), sharing=sharing, sessions=sessions)
    async with app.lifespan():
        await clock.advance(0)
        yield Browser(app)


def secret_of(browser: Browser) -> bytes:
    return browser.app.shared.sessions.sealed.secret


# -- replicas ----------------------------------------------------------------------------------------------------------


async def test_a_session_is_valid_and_ends_in_all_replicas(clock: FakeClock) -> None:
    medium = Medium(clock)
    async with started(clock, SharedMemory(medium)) as one, started(clock, SharedMemory(medium)) as other:
        await one.log_in()
        other.cookies = dict(one.cookies)
        assert await other.is_logged_in()
        assert (await other.log_out()).status == 303

        cookies = dict(one.cookies)
        page = await one.get("/status")
        assert (page.status, page.header("location")) == (303, "/status/login")
        one.cookies = cookies
        assert not await one.is_logged_in()
        medium.is_down = True
        assert not await one.is_logged_in()  # known from now on


async def test_replicas_share_the_secret_as_soon_as_the_store_is_reached(clock: FakeClock) -> None:
    medium = Medium(clock)
    medium.is_down = True
    async with started(clock, SharedMemory(medium)) as one, started(clock, SharedMemory(medium)) as other:
        await one.log_in()
        assert await one.is_logged_in()
        assert secret_of(one) != secret_of(other)
        medium.is_down = False
        await clock.advance(AGREE_SECONDS)

        assert secret_of(one) == secret_of(other)
        assert await one.is_logged_in()


async def test_replicas_keep_their_secret_when_the_store_loses_it(clock: FakeClock) -> None:
    medium = Medium(clock)
    async with started(clock, SharedMemory(medium)) as one:
        await one.log_in()
        medium.records.clear()
        await clock.advance(AGREE_SECONDS)
        async with started(clock, SharedMemory(medium)) as other:
            other.cookies = dict(one.cookies)

            assert await other.is_logged_in()


async def test_a_secret_of_another_program_is_ignored(clock: FakeClock) -> None:
    medium = Medium(clock)
    medium.records["session-secret"] = b"foreign"
    async with started(clock, SharedMemory(medium)) as browser:
        assert len(secret_of(browser)) == SECRET_BYTES
        await browser.log_in()
        assert await browser.is_logged_in()


# -- the directory -----------------------------------------------------------------------------------------------------


async def test_a_restart_keeps_sessions_and_those_that_were_ended(clock: FakeClock, tmp_path: Path) -> None:
    file = SessionFile(Disk(str(tmp_path)))
    config = config_of(f"store: {{directory: '{tmp_path}'}}\n{TEXT}")
    async with started(clock, sessions=file.load(clock.time), config=config) as before:
        ended = Browser(before.app)
        for browser in (before, ended):
            await browser.log_in()
        cookies = dict(ended.cookies)
        await ended.log_out()

    async with started(clock, sessions=file.load(clock.time), config=config) as after:
        after.cookies = before.cookies
        assert await after.is_logged_in()
        after.cookies = cookies
        assert not await after.is_logged_in()
    assert stat.S_IMODE(os.stat(tmp_path / NAME).st_mode) == 0o600


def test_a_start_removes_expired_sessions_from_the_file(clock: FakeClock) -> None:
    files = FakeFiles(clock)
    file = SessionFile(files)
    sessions = file.load(clock.time)
    empty = files.content[NAME]
    file.append(b"a" * 16, clock.time() + 60)
    file.append(b"b" * 16, clock.time() + 7200)
    with_both = file.load(clock.time)
    clock.set_time(clock.time() + 3600)
    with_one = file.load(clock.time)

    assert [*with_both.ended] == [b"a" * 16, b"b" * 16]
    assert [*with_one.ended] == [b"b" * 16]
    clock.set_time(clock.time() + SESSION_SECONDS)
    assert file.load(clock.time).secret == sessions.secret
    assert files.content[NAME] == empty


@pytest.mark.parametrize("data", [b"", b"x" * 200, b"x" * 5_000_000])
def test_a_file_that_cannot_be_used_is_replaced(
    data: bytes, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    files = FakeFiles(clock)
    before = SessionFile(files).load(clock.time)
    files.content[NAME] = data
    after = SessionFile(files).load(clock.time)

    assert after.secret != before.secret
    assert "the file sessions is ignored, so its sessions have ended: " in caplog.text
    assert SessionFile(files).load(clock.time).secret == after.secret


def test_a_record_that_is_not_whole_is_ignored(clock: FakeClock) -> None:
    files = FakeFiles(clock)
    before = SessionFile(files).load(clock.time)
    files.content[NAME] += b"MODELS-PROXY\0\0\0\0"

    assert SessionFile(files).load(clock.time).secret == before.secret


def test_without_a_directory_that_works_there_are_new_sessions(clock: FakeClock) -> None:
    files = FakeFiles(clock)
    files.error = OSError(5, "Input/output error")

    assert SessionFile(files).load(clock.time).secret != SessionFile(files).load(clock.time).secret


def test_a_server_starts_with_the_sessions_of_its_directory(tmp_path: Path) -> None:
    config = config_of(f"store: {{directory: '{tmp_path / 'new'}'}}\n{TEXT}")

    assert first_sessions(config).secret == first_sessions(config).secret
    assert first_sessions(config_of(TEXT)).secret != first_sessions(config_of(TEXT)).secret


async def test_a_session_ends_also_if_the_directory_does_not_work(clock: FakeClock, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("no directory")
    config = config_of(f"store: {{directory: '{path}'}}\n{TEXT}")
    async with started(clock, config=config) as browser:
        await browser.log_in()
        cookies = dict(browser.cookies)
        assert (await browser.log_out()).status == 303
        browser.cookies = cookies

        assert not await browser.is_logged_in()


# -- a real server -----------------------------------------------------------------------------------------------------


async def test_a_session_is_valid_and_ends_in_two_replicas_over_valkey(clock: FakeClock) -> None:
    with ValkeyServer() as server:
        config = config_of(f"store: {{valkey: '{server.url}', namespace: test}}\n{TEXT}")
        async with started(clock, config=config) as one, started(clock, config=config) as other:
            await until(lambda: secret_of(one) == secret_of(other), clock)
            await one.log_in()
            other.cookies = dict(one.cookies)
            assert await other.is_logged_in()
            await other.log_out()
            await until(lambda: bool(server.client.keys("models-proxy:test:id:session:*")), clock)

            assert not await one.is_logged_in()
            await one.log_in()
            server.kill()
            assert await one.is_logged_in()  # lists, calls and sessions go on


async def until(is_so: Callable[[], bool], clock: FakeClock) -> None:
    """Wait for the server."""
    async with asyncio.timeout(TIMEOUT):
        while not is_so():
            await clock.advance(1)
            await asyncio.sleep(0.01)


async def test_a_session_of_a_removed_key_is_no_obstacle_to_a_token_whose_keys_must_be_fetched(
    clock: FakeClock,
) -> None:
    medium = Medium(clock)
    async with started(clock, SharedMemory(medium)) as before:
        await before.log_in()
    with oidc_provider() as issuer:
        more = f"""
groups: {{staff: {{models: ['*']}}}}
auth:
  jwt:
    - issuer: {issuer.issuer}
      audience: models-proxy
      header: Cf-Access-Jwt-Assertion
      groups: {{u: staff}}
      admin: [u]
"""
        config = config_of(TEXT.replace("root", "other") + more)
        sessions = before.app.shared.sessions.sealed
        async with started(clock, SharedMemory(medium), sessions, config) as browser:
            browser.cookies = dict(before.cookies)
            token = {"cf-access-jwt-assertion": issuer.token(groups=["u"])}

            assert (await browser.get("/status.json", token)).status == 200
