"""The start table of `serve`, or lines of the log instead, and those for later state changes of providers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from proxy import __version__
from proxy.catalog.bundled import bundled
from proxy.cli.text import count
from proxy.config import Config
from proxy.config.addresses import UNIX
from proxy.printable import printable, printable_lines
from proxy.server.output import Print
from proxy.states import ListState
from proxy.store import Report, Store
from proxy.telemetry.message_fields import ListFields, attributes

_FINE: frozenset[ListState] = frozenset({"ok", "declared", "disabled"})

_log = logging.getLogger("models_proxy")


class Screen(NamedTuple):
    """Prints lines to stdout and stderr."""

    out: Print
    err: Print


class StartupReport:
    """A row for each provider when its first refresh ends, then the URL. An observer of `proxy.server.run`."""

    def __init__(self, config: Config, name: str, screen: Screen | None) -> None:
        """`name`: the name of the configuration, usually the path of the file. `screen` must not block; None: the log
        has lines instead of the table."""
        self._screen = screen
        self.is_quiet = False
        """Whether nothing is reported, because another process does that."""
        self._config = config
        self._name = name
        names = [provider.name for provider in config.providers] + [skipped.name for skipped in config.skipped]
        self._width = max(map(len, names))
        self._names = frozenset(names)
        """The providers of the table; later ones are only logged."""
        self._states: dict[str, tuple[ListState, str]] = {}
        """Provider -> its state and the kind of its last error, "" without one; only providers that have a row."""

    def print(self, text: str) -> None:
        if self.is_quiet:
            return
        if self._screen:
            self._screen.out(printable_lines(text))
        else:
            _log.info("%s", text)

    def begin(self) -> None:
        """Print the first line and the warnings of the configuration."""
        skipped = f", {len(self._config.skipped)} skipped" if self._config.skipped else ""
        providers = count(len(self._config.providers), "provider")
        self.print(f"models-proxy {__version__}, {self._name}: {providers}{skipped}")
        for warning in self._config.warnings:
            if self._screen:
                self._screen.err(f"warning: {printable(warning)}")
            else:
                _log.warning("%s", warning)

    def on_start(self, reports: Sequence[Report]) -> None:
        """Print the rows of providers that are never contacted."""
        for skipped in self._config.skipped:
            self._row(ListFields(skipped.name, skipped.state), skipped.reason)
        for report in reports:
            if report.state == "declared":
                self._states[report.name] = (report.state, "")
                self._row(_fields(report), count(report.models, "model"))

    def on_report(self, report: Report) -> None:
        """Print the row of a provider after its first refresh; after later ones, log changes of its state only."""
        before = self._states.get(report.name)
        state = self._states[report.name] = report.state, report.error.kind if report.error else ""
        if before is None and report.name in self._names:
            self._row(_fields(report), _outcome(report))
        elif state != before and not self.is_quiet:
            _log_change(report)

    def on_ready(self, url: str, store: Store) -> None:
        """Print the providers that have not responded yet, then the URL and an example request."""
        reports = {report.name: report for report in store.reports()}  # a reload can have changed the providers
        for provider in self._config.providers:
            if provider.name not in self._states and (report := reports.get(provider.name)):
                self._row(_fields(report), f"no response within {provider.initial_wait:g} s; still trying")
        if self._config.facts == "bundled":
            self.print(f"Facts that no provider reports: {bundled().label(store.clock.time())}")
        self.print(f"Listening on {url}")
        self.print_example(url, store)

    def print_example(self, url: str, store: Store) -> None:
        """Print an example request."""
        if self._screen is None:
            return
        key = "" if self._config.anonymous is not None else ' -H "Authorization: Bearer $KEY"'
        if url.startswith(UNIX):
            socket, _, path = url.removeprefix(UNIX).partition(":")
            key, url = f" --unix-socket {socket}{key}", f"http://localhost{path}"
        self.print(f"  curl{key} {url}/v1/models")

    def _row(self, of: ListFields, text: str) -> None:
        if self._screen or self.is_quiet:
            self.print(f"  {of.state:<10}  {of.provider:<{self._width}}  {printable(text)}")
        else:
            level = logging.INFO if of.state in _FINE else logging.WARNING
            _log.log(level, "provider %s is %s: %s", of.provider, of.state, text, extra=attributes(of))


def _log_change(report: Report) -> None:
    """Log a changed state or reason. After a failed refresh a list is `ok` until its TTL expires."""
    outcome, fields = _outcome(report), attributes(_fields(report))
    if report.error is None:
        _log.info("provider %s is %s: %s", report.name, report.state, outcome, extra=fields)
    elif report.state == "ok":
        _log.warning("refresh of provider %s failed: %s", report.name, outcome, extra=fields)
    else:
        _log.warning("provider %s is %s: %s", report.name, report.state, outcome, extra=fields)


def _fields(report: Report) -> ListFields:
    error = report.error.kind if report.error else ""
    return ListFields(report.name, report.state, report.models, report.failures, error)


def _outcome(report: Report) -> str:
    if report.error is not None:
        models = f"{count(report.models, 'model')}; " if report.state in ("incomplete", "empty") else ""
        url = f"; URL: {report.error.url}" if report.error.url else ""
        return f"{models}{report.error.reason}{url}; retrying in {report.next_attempt_in or 0:.0f} s"
    dropped = sum(report.result.dropped.values()) if report.result else 0
    note = f", {count(dropped, 'entry', 'entries')} dropped" if dropped else ""
    return f"{count(report.models, 'model')}{note}"
