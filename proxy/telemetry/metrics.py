"""All metrics at `/metrics`: names, types, labels and meanings. `docs/metrics.md` has the same table.

Series are bounded: values of labels are in the configuration, or constants of the code. Others become `other`.
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy.telemetry.exposition import Metric

PRIVATE_LABELS = frozenset({"key", "provider", "model"})
"""Left out with `server.metrics: open`."""

_OF_PROVIDER = ("provider",)

_TABLE = (
    # -- model lists
    Metric(
        "models_proxy_provider_list_state",
        "gauge",
        "1 for the current state of the model list of a provider, 0 for all other states.",
        ("provider", "state"),
    ),
    Metric("models_proxy_provider_models", "gauge", "Models of a provider after all rules.", _OF_PROVIDER),
    Metric(
        "models_proxy_provider_list_age_seconds",
        "gauge",
        "Seconds since the last valid model list of a provider was fetched.",
        _OF_PROVIDER,
        "max",
    ),
    Metric(
        "models_proxy_provider_list_held",
        "gauge",
        "1 while an empty or shrunken list of a provider is not accepted until it is confirmed.",
        _OF_PROVIDER,
    ),
    Metric(
        "models_proxy_provider_fetch_failures",
        "gauge",
        "Failed fetches of the model list of a provider since the last successful one.",
        _OF_PROVIDER,
        "max",
    ),
    Metric(
        "models_proxy_provider_dropped_entries",
        "gauge",
        "Entries of the last model list of a provider that are not models or not valid.",
        _OF_PROVIDER,
    ),
    # -- calls
    Metric(
        "models_proxy_circuit_state",
        "gauge",
        "1 for the current state of the calls of a provider, 0 for all other states.",
        ("provider", "state"),
    ),
    Metric(
        "models_proxy_open_model_circuits",
        "gauge",
        "Circuit breakers of single models of a provider that are not closed.",
        _OF_PROVIDER,
    ),
    Metric("models_proxy_in_flight_calls", "gauge", "Calls in progress at a provider.", _OF_PROVIDER),
    Metric("models_proxy_max_in_flight_calls", "gauge", "Limit of calls in progress (max_in_flight).", _OF_PROVIDER),
    Metric("models_proxy_queued_calls", "gauge", "Calls that wait because max_in_flight is reached.", _OF_PROVIDER),
    Metric("models_proxy_body_memory_bytes", "gauge", "Bytes reserved for request bodies."),
    Metric("models_proxy_body_memory_limit_bytes", "gauge", "Limit of the bytes of request bodies."),
    # -- the process
    Metric("models_proxy_build_info", "info", "The running version.", ("version", "python")),
    Metric("models_proxy_connections", "gauge", "Open connections of clients."),
    Metric("models_proxy_connections_limit", "gauge", "Limit of the open connections of clients."),
    Metric(
        "models_proxy_event_loop_lag_seconds",
        "histogram",
        "How late a timer of the event loop is called; measured twice per second.",
    ),
    Metric("process_cpu_seconds_total", "counter", "User and system CPU time of the process in seconds."),
    Metric("process_resident_memory_bytes", "gauge", "Resident memory of the process."),
    Metric("process_virtual_memory_bytes", "gauge", "Virtual memory of the process."),
    Metric("process_start_time_seconds", "gauge", "Start time of the process in Unix seconds."),
    Metric("process_open_fds", "gauge", "Open file descriptors."),
    Metric("process_max_fds", "gauge", "Limit of open file descriptors."),
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _TABLE}
"""By name, in the order of the output."""
