"""`server.tls`: HTTPS with certificates that are replaced while the server runs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest
import trustme

from proxy.config import Config, ConfigError, parse
from proxy.config.reload_rules import restart_needed
from proxy.upstream.event_loop import EventLoop
from tests import processes
from tests.fakes import digest
from tests.processes import Process, until
from tests.providers.calls import DONE, chunk_event, completion
from tests.providers.scripted import Exchange, FakeProviders

KEY = "sk-fake-of-a-client"
HEADERS = {"Authorization": f"Bearer {KEY}"}
PROVIDERS = "providers: [{name: lab, kind: static, models: [m]}]"
AUTHORITY = trustme.CA()


class Files:
    """The files of the certificate and the key, and a configuration with them."""

    def __init__(self, directory: Path) -> None:
        self.certificate, self.key = directory / "llm.pem", directory / "llm.key"
        self.config = directory / "config.yaml"
        self.issue()

    def issue(self) -> None:
        """Write another certificate and its key, each by renaming a complete file."""
        issued = AUTHORITY.issue_cert("127.0.0.1", "localhost")
        self._replace(self.certificate, b"".join(each.bytes() for each in issued.cert_chain_pems))
        self._replace(self.key, issued.private_key_pem.bytes())

    @staticmethod
    def _replace(file: Path, content: bytes) -> None:
        new = file.with_suffix(".new")
        new.write_bytes(content)
        new.chmod(0o600)
        new.rename(file)

    def text(self, providers: str = PROVIDERS) -> str:
        tls = f"{{certificate: '{self.certificate}', key: '{self.key}'}}"
        keys = f"keys: [{{name: k, hash: '{digest(KEY)}', models: ['*']}}]"
        return f"server: {{tls: {tls}, drain_delay: 300ms}}\n{keys}\n{providers}"

    def parsed(self) -> Config:
        return parse(self.text(), "config.yaml")

    def serving(self, providers: str = PROVIDERS) -> Process:
        return processes.serving(self.config, self.text(providers))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def client() -> httpx.Client:
    return httpx.Client(verify=trusting(), headers=HEADERS, trust_env=False, timeout=30)


def connected(url: str, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    return (context or trusting()).wrap_socket(socket.create_connection(address, 10), server_hostname="localhost")


def serial(url: str) -> object:
    with connected(url) as connection:
        certificate = connection.getpeercert()
        assert certificate
        return certificate["serialNumber"]


# -- connections -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("own_protocol")  # uvicorn's waits 30 s until clients confirm the end of TLS
def test_list_call_and_stream_are_served_over_https(files: Files) -> None:
    async def provider(exchange: Exchange) -> None:
        if b'"stream"' not in exchange.request.body:
            await exchange.reply(msgspec.json.encode(completion("m")))
            return
        await exchange.stream()
        await exchange.chunk(chunk_event("m", "a"))
        await exchange.chunk(DONE)
        await exchange.end()

    with FakeProviders() as upstreams:
        lab = f"providers: [{{name: lab, base_url: '{upstreams.open(provider).url}/v1', models: [m]}}]"
        with files.serving(lab) as process, client() as requests:
            assert process.url.startswith("https://127.0.0.1:")
            call = {"model": "m", "messages": [{"role": "user", "content": "x" * 5_000_000}]}
            listed = requests.get(f"{process.url}/v1/models")
            called = requests.post(f"{process.url}/v1/chat/completions", json=call)
            streamed = requests.post(f"{process.url}/v1/chat/completions", json={**call, "stream": True})
            assert process.stop() == 0
    assert [model["id"] for model in listed.json()["data"]] == ["m"]
    assert called.json() == completion("m")
    assert streamed.content == chunk_event("m", "a") + DONE


def test_connection_has_tls_1_3_and_http_1_1(files: Files) -> None:
    with files.serving() as process:
        context = trusting()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with connected(process.url, context) as connection:
            assert (connection.version(), connection.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
        assert process.stop() == 0


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_1_2_is_accepted_and_tls_1_1_is_not(files: Files) -> None:
    with files.serving() as process:
        context = trusting()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with connected(process.url, context) as connection:
            assert connection.version() == "TLSv1.2"
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError):
            connected(process.url, context)
        assert process.stop() == 0


def test_malformed_request_gets_an_error_and_the_end_of_the_connection(files: Files) -> None:
    with files.serving() as process:
        with connected(process.url) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
            received = b""
            while part := connection.recv(4096):
                received += part
        assert received.startswith(b"HTTP/1.1 400 ")
        assert process.stop() == 0
    assert not [line for line in process.err if " INFO " not in line]


def test_plain_http_is_not_answered(files: Files) -> None:
    with files.serving() as process:
        port = int(process.url.rpartition(":")[2])
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False, timeout=30)
        assert process.stop() == 0
    assert not [line for line in process.err if " INFO " not in line]


def test_health_command_finds_the_server_by_its_configuration(files: Files) -> None:
    with files.serving() as process:
        port = process.url.rpartition(":")[2]
        text = files.text().replace("server: {", f"server: {{port: {port}, ")
        files.config.write_text(text, encoding="utf-8")
        with processes.models_proxy("health", "--config", str(files.config)) as health:
            assert (health.wait(), health.out) == (0, [f"ready (https://127.0.0.1:{port}/readyz)"])
        assert process.stop() == 0


def test_client_that_does_not_finish_the_handshake_is_disconnected(files: Files) -> None:
    class Impatient(EventLoop):
        handshake_seconds = 0.2

    async def wait_for_the_end() -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=context)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        try:
            return await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.close()
            server.close()

    with asyncio.Runner(loop_factory=Impatient) as runner:
        assert runner.run(wait_for_the_end()) == b""


@pytest.mark.usefixtures("own_protocol")  # only its connections are limited
def test_clients_that_do_not_begin_the_handshake_keep_no_one_out(files: Files) -> None:
    files.config.write_text(files.text().replace("drain_delay", "limits: {connections: 8}, drain_delay"), "utf-8")
    with processes.models_proxy("serve", "--config", str(files.config), "--port", "0", *processes.CONSOLE) as process:
        port = httpx.URL(process.url).port or 0
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
        with client() as requests:
            assert requests.get(f"{process.url}/v1/models").status_code == 200
        process.line(process.err, "connection limit reached")
        for each in silent:
            each.close()
        assert process.stop() == 0


# -- replaced files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", ["the files change", "SIGHUP"])
@pytest.mark.usefixtures("own_protocol")  # uvicorn's waits 30 s until clients confirm the end of TLS
def test_replaced_certificate_is_used_for_new_connections(cause: str, files: Files) -> None:
    with files.serving() as process, client() as requests:
        before = serial(process.url)
        assert requests.get(f"{process.url}/livez").status_code == 200
        files.issue()
        if cause == "SIGHUP":
            process.send(signal.SIGHUP)
        until(lambda: serial(process.url) != before)
        assert requests.get(f"{process.url}/livez").status_code == 200
        process.line(process.err, "configuration reloaded: generation .*; no setting has changed")
        assert process.stop() == 0


def test_certificate_without_its_key_changes_nothing(files: Files) -> None:
    with files.serving() as process:
        before = serial(process.url)
        key = files.key.read_bytes()
        files.issue()
        Files._replace(files.key, key)
        process.line(process.err, "configuration not reloaded: 1 problem")
        process.line(process.err, r"server\.tls\.key: is not the key of the first certificate in `certificate`$")
        assert serial(process.url) == before
        assert process.stop() == 0


# -- the configuration -------------------------------------------------------------------------------------------------


def _mismatched(files: Files) -> None:
    certificate = files.certificate.read_bytes()
    files.issue()
    files.certificate.write_bytes(certificate)


def _encrypted(files: Files) -> None:
    command = ["openssl", "pkey", "-aes256", "-passout", "pass:fake", "-in", str(files.key)]
    encrypted = subprocess.run(command, check=True, capture_output=True)  # noqa: S603  # our own command
    files.key.write_bytes(encrypted.stdout)


def _directory(files: Files) -> None:
    files.key.unlink()
    files.key.mkdir()


FAULTS: dict[str, tuple[Callable[[Files], object], str]] = {
    "no certificate file": (lambda files: files.certificate.unlink(), "certificate: cannot be read: No such file"),
    "no key file": (lambda files: files.key.unlink(), "key: cannot be read: No such file"),
    "no certificate": (lambda files: files.certificate.write_text("x"), "certificate: contains no PEM certificate"),
    "no key": (lambda files: files.key.write_text("x"), "key: contains no PEM key that fits the certificate"),
    "another key": (_mismatched, "key: is not the key of the first certificate in `certificate`"),
    "a passphrase": (_encrypted, "key: is protected by a passphrase; remove it"),
    "a directory": (_directory, "key: cannot be read: "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_unusable_certificate_is_a_problem_of_the_configuration(fault: str, files: Files) -> None:
    spoil, text = FAULTS[fault]
    spoil(files)
    with pytest.raises(ConfigError) as error:
        files.parsed()
    (problem,) = error.value.problems
    assert str(problem).startswith(f"config.yaml:1: server.tls.{text}")


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 0), (0o644, 1)])
def test_key_that_all_users_can_read_is_a_warning(mode: int, warnings: int, files: Files) -> None:
    os.chmod(files.key, mode)
    text = "config.yaml:1: server.tls.key: the private key can be read by all users of this machine; "
    assert files.parsed().warnings == (f"{text}remove that permission",) * warnings


def test_switching_tls_on_or_off_needs_a_restart(files: Files) -> None:
    plain = parse(f"{PROVIDERS}\nkeys: [{{name: k, hash: '{digest(KEY)}', models: ['*']}}]")
    assert restart_needed(plain, files.parsed()) == ["server.tls"]
    assert restart_needed(files.parsed(), plain) == ["server.tls"]
    assert restart_needed(files.parsed(), files.parsed()) == []
