"""`store.directory` with the real process: what a restart shows, and what a broken directory changes."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import httpx

from tests.fakes import digest
from tests.processes import Process, free_port, serving, until
from tests.providers.lists import lists
from tests.providers.scripted import Exchange, FakeProviders, Script

ADMIN = {"Authorization": "Bearer key-fake-admin"}
KEYS = f'keys: [{{name: ops, hash: "{digest("key-fake-admin")}", models: ["*"], admin: true}}]\n'
MODELS = [
    {"id": f"maker/m{number}", "created": 1_700_000_000 + number, "owned_by": "maker", "context_length": number}
    for number in range(300)
]


def text_of(directory: Path, *urls: str, settings: str = "") -> str:
    providers = ", ".join(f'{{name: p{number}, base_url: "{url}"{settings}}}' for number, url in enumerate(urls))
    return f"{KEYS}store: {{directory: {directory}}}\nproviders: [{providers}]\n"


def get(process: Process, path: str) -> httpx.Response:
    return httpx.get(f"{process.url}{path}", headers=ADMIN, trust_env=False, timeout=30)


def health(process: Process) -> Any:
    return get(process, "/health").json()


def directory_of(process: Process) -> Any:
    return health(process)["store"]["directory"]


def written(process: Process, number: int = 1) -> None:
    until(lambda: directory_of(process)["writes"] >= number)


def dead() -> str:
    return f"http://127.0.0.1:{free_port()}/v1"


def killed(process: Process) -> None:
    process.send(signal.SIGKILL)
    process.wait()


def calls_and_lists(is_listing: list[bool]) -> Script:
    """A provider whose calls work, and whose list fails if `is_listing` is empty."""

    async def script(exchange: Exchange) -> None:
        if exchange.request.path.endswith("/models"):
            if is_listing:
                await lists(*MODELS)(exchange)
            else:
                await exchange.reply(b"{}", 500)
        else:
            await exchange.reply(b'{"id": "r", "model": "maker/m1", "choices": []}')

    return script


def test_lists_are_the_same_after_kill_9_while_every_provider_is_down(tmp_path: Path) -> None:
    directory = tmp_path / "lists"
    with FakeProviders() as upstreams:
        first, second = upstreams.open(lists(*MODELS)), upstreams.open(lists("x", "y"))
        text = text_of(directory, first.url, second.url)
        with serving(tmp_path / "config.yaml", text) as process:
            before = get(process, "/v1/models")
            written(process, 2)
            killed(process)
    with serving(tmp_path / "config.yaml", text) as process:
        after = get(process, "/v1/models")
        assert (after.content, after.headers["etag"]) == (before.content, before.headers["etag"])
        assert [(each["origin"], each["models"]) for each in health(process)["providers"]] == [
            ("restored", 300),
            ("restored", 2),
        ]
        assert get(process, "/readyz").status_code == 200
        assert 'models_proxy_provider_list_restored{provider="p0"} 1' in get(process, "/metrics").text
        process.line(process.err, r"store\.directory: restored the lists of p0, p1")


def test_restored_lists_are_stale_with_their_true_age_and_their_models_can_be_called(tmp_path: Path) -> None:
    directory = tmp_path / "lists"
    is_listing = [True]
    with FakeProviders() as upstreams:
        text = text_of(directory, upstreams.open(calls_and_lists(is_listing)).url, settings=", ttl: 1s")
        with serving(tmp_path / "config.yaml", text) as process:
            get(process, "/v1/models")
            written(process)
            killed(process)
        is_listing.clear()
        time.sleep(1.1)  # the age is that of the wall clock
        with serving(tmp_path / "config.yaml", text) as process:
            response = get(process, "/v1/models")
            (provider,) = health(process)["providers"]
            assert response.headers["x-models-stale"] == "p0"
            assert (provider["state"], provider["origin"]) == ("stale", "restored")
            assert 1.1 < provider["age_seconds"] < 60
            called = httpx.post(
                f"{process.url}/v1/chat/completions",
                json={"model": "maker/m1", "messages": []},
                headers=ADMIN,
                trust_env=False,
                timeout=30,
            )
            assert (called.status_code, called.json()["id"]) == (200, "r")
            is_listing.append(True)
            until(lambda: health(process)["providers"][0]["origin"] == "fetched")


async def stores_responses(exchange: Exchange) -> None:
    if exchange.request.path.endswith("/models"):
        await lists("m")(exchange)
    else:
        await exchange.reply(b'{"id": "resp_77", "object": "response", "model": "m", "output": []}')


def test_stored_responses_are_found_after_kill_9_by_the_key_that_created_them_only(tmp_path: Path) -> None:
    directory = tmp_path / "lists"
    other = f'{{name: other, hash: "{digest("key-fake-other")}", models: ["*"]}}'
    with FakeProviders() as upstreams:
        text = text_of(directory, upstreams.open(stores_responses).url)
        text = text.replace("admin: true}]", f"admin: true}}, {other}]")
        with serving(tmp_path / "config.yaml", text) as process:
            body = {"model": "m", "input": "Hi"}
            created = httpx.post(f"{process.url}/v1/responses", json=body, headers=ADMIN, trust_env=False, timeout=30)
            assert created.json()["id"] == "resp_77"
            until(lambda: [*directory.glob("ledger-*")] != [])
            killed(process)
        assert b"resp_77" not in b"".join(file.read_bytes() for file in directory.iterdir())
        with serving(tmp_path / "config.yaml", text) as process:
            assert get(process, "/v1/responses/resp_77").status_code == 200
            theirs = {"Authorization": "Bearer key-fake-other"}
            url = f"{process.url}/v1/responses/resp_77"
            assert httpx.get(url, headers=theirs, trust_env=False, timeout=30).status_code == 404
            process.stop()
        with serving(tmp_path / "config.yaml", text) as process:
            assert get(process, "/v1/responses/resp_77").status_code == 200, "also after the second restart"


def test_files_contain_no_secret_and_no_field_that_is_not_shown(tmp_path: Path) -> None:
    directory = tmp_path / "lists"
    model = {"id": "m", "api_key": "sk-fake-leak-1", "tenant": "fake-leak-2", "root": "/data/fake-leak-3", "note": "n"}
    settings = ", api_key: sk-fake-leak-4, where: [{field: tenant, is: fake-leak-2}], extra_fields: [note]"
    with FakeProviders() as upstreams:
        text = text_of(directory, upstreams.open(lists(model)).url, settings=settings)
        with serving(tmp_path / "config.yaml", text) as process:
            assert [each["id"] for each in get(process, "/v1/models").json()["data"]] == ["m"]
            written(process)
            process.stop()
    content = b"".join(file.read_bytes() for file in directory.iterdir())
    # The rule itself is stored, as a part of the name of its result.
    assert b"leak" not in content.replace(b'tenant is \\"fake-leak-2', b"")
    assert b"note" in content
    assert {oct(file.stat().st_mode & 0o777) for file in directory.iterdir()} == {"0o600"}
    with serving(tmp_path / "config.yaml", text) as process:
        assert [each["id"] for each in get(process, "/v1/models").json()["data"]] == ["m"]


def test_second_process_on_the_same_directory_does_not_write_to_it(tmp_path: Path) -> None:
    directory = tmp_path / "lists"
    with FakeProviders() as upstreams:
        text = text_of(directory, upstreams.open(lists("m")).url)
        with serving(tmp_path / "one.yaml", text) as first:
            written(first)
            with serving(tmp_path / "two.yaml", text) as second:
                second.line(second.err, "another process uses the directory; this one does not write to it")
                assert get(second, "/v1/models").status_code == 200
                assert directory_of(second)["problem"] == "another process uses the directory"
                assert directory_of(first)["problem"] == ""


def test_directory_that_is_removed_while_running_is_created_again(tmp_path: Path) -> None:
    directory = tmp_path / "lists"
    with FakeProviders() as upstreams:
        text = text_of(directory, upstreams.open(lists("m")).url, settings=", ttl: 1s")
        with serving(tmp_path / "config.yaml", text) as process:
            written(process)
            for file in directory.iterdir():
                file.unlink()
            directory.rmdir()
            until(lambda: directory.is_dir() and len([*directory.glob("*.list")]) == 1)
            assert get(process, "/v1/models").status_code == 200


def test_path_that_is_a_file_is_reported_and_changes_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "lists"
    directory.write_text("a file")
    with FakeProviders() as upstreams:
        text = text_of(directory, upstreams.open(lists("m")).url)
        with serving(tmp_path / "config.yaml", text) as process:
            assert get(process, "/v1/models").status_code == 200
            assert directory_of(process)["problem"] == "Not a directory"
    assert directory.read_text() == "a file"


LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
sys.argv[0] = "models-proxy"
runpy.run_module("proxy", run_name="__main__")
"""


def test_full_disk_keeps_the_old_list_and_is_reported_once(tmp_path: Path) -> None:
    directory = tmp_path / "lists"
    is_long: list[bool] = []

    async def script(exchange: Exchange) -> None:
        await (lists(*MODELS) if is_long else lists("m"))(exchange)

    with FakeProviders() as upstreams:
        text = text_of(directory, upstreams.open(script).url, settings=", ttl: 1s")
        config = tmp_path / "config.yaml"
        config.write_text(text)
        with Process(
            "-c", LIMITED, "serve", "--config", str(config), "--port", "0", "--log-format", "console"
        ) as process:
            written(process)
            (file,) = directory.glob("*.list")
            before = file.read_bytes()
            is_long.append(True)
            until(lambda: len(get(process, "/v1/models").json()["data"]) == 300)
            until(lambda: directory_of(process)["failed_writes"] >= 1)
            assert directory_of(process)["problem"] == "File too large"
            assert [*directory.glob("*.list*")] == [file]
            assert len(before) == file.stat().st_size, "the file is the last one that could be written"
            assert len([line for line in process.err if "File too large" in line]) == 1


WRITERS = """
import os, random, signal, sys, time
from proxy.store.disk import Disk
from proxy.store.fingerprint import fingerprint
from proxy.store.records import ListRecord, decode, encode
from proxy.catalog import FetchResult
from proxy.config import parse
from proxy.dialects.entry import Entry

provider = parse('providers: [{name: a, base_url: "http://127.0.0.1:9/v1", api_key: sk-fake}]', environ={}).providers[0]
of = fingerprint(provider)
name = of.name + ".list"
chance = random.Random(17)


def write(disk, numbers):
    for number in numbers:
        entries = tuple(Entry(f"m{number}-{i}", extra=b'{"a":"%b"}' % (b"x" * 500)) for i in range(300))
        record = ListRecord(entries, float(number), FetchResult(()), {}, {}, None, None)
        disk.write(name, encode(record, provider, of))
        if os.getppid() != parent:  # it has failed
            os._exit(1)


parent = os.getppid()
path = os.path.join(sys.argv[1], name)
disk = Disk(sys.argv[1])
disk.lock()
write(disk, [1])
disk.unlock()
numbers = [1.0]
parent = os.getpid()
while len(numbers) <= 30:
    before = os.stat(path).st_mtime_ns
    writer = os.fork()
    disk = Disk(sys.argv[1])
    if not writer:
        disk.lock()
        first = int(numbers[-1]) + 1
        write(disk, range(first, first + 10**6))
    while os.stat(path).st_mtime_ns == before:  # however slow the machine is, a list was written
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.03))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    disk.lock()  # the lock of a process that died is free
    record = decode(disk.read(name, 10**7), of)
    disk.unlock()
    assert {entry.id.partition("-")[0] for entry in record.entries} == {f"m{record.fetched_at:.0f}"}
    assert len(record.entries) == 300
    numbers.append(record.fetched_at)
assert numbers == sorted(set(numbers))
print("lists read:", len(set(numbers)))
"""


def test_no_torn_file_is_read_however_often_the_writer_is_killed(tmp_path: Path) -> None:
    with Process("-c", WRITERS, str(tmp_path / "lists")) as writers:
        writers.line(writers.out, "^lists read: 31$")
