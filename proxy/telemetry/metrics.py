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
    # -- requests
    Metric(
        "models_proxy_requests_total",
        "counter",
        "Requests, by the template of their path. Status 499: the client disconnected before it got a response.",
        ("route", "method", "status", "key"),
    ),
    Metric(
        "models_proxy_request_duration_seconds",
        "histogram",
        "Seconds from the head of a request to the end of its response.",
        ("route",),
    ),
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
        "1 while a list that became empty or much shorter is not accepted until it is confirmed.",
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
    Metric(
        "models_proxy_provider_fetches_total",
        "counter",
        "Fetches of the model list of a provider; the outcome is ok or the kind of the error.",
        ("provider", "outcome"),
    ),
    Metric(
        "models_proxy_provider_fetch_duration_seconds",
        "histogram",
        "Seconds of a fetch of the model list of a provider, with all pages and retries.",
        _OF_PROVIDER,
    ),
    Metric(
        "models_proxy_provider_model_changes_total",
        "counter",
        "Models that were added to or removed from the list of a provider after its first one.",
        ("provider", "change"),
    ),
    Metric(
        "models_proxy_provider_list_restored",
        "gauge",
        "1 while the model list of a provider is the one in `store.directory`, because it was not fetched yet.",
        _OF_PROVIDER,
    ),
    Metric("models_proxy_store_up", "gauge", "1 while the shared store (`store.valkey`) can be used, otherwise 0."),
    Metric(
        "models_proxy_store_operations_total",
        "counter",
        "Commands for the shared store; the outcome is ok, failed or ignored (a value that is damaged or foreign).",
        ("outcome",),
    ),
    Metric("models_proxy_store_directory_up", "gauge", "1 while lists can be written to `store.directory`."),
    Metric(
        "models_proxy_store_directory_writes_total",
        "counter",
        "Lists written to `store.directory`; the outcome is ok or failed.",
        ("outcome",),
    ),
    Metric(
        "models_proxy_notifications_total",
        "counter",
        "Notifications for webhooks (`notify`); the outcome is sent, failed (one attempt) or dropped (given up).",
        ("outcome",),
    ),
    Metric("models_proxy_notifications_pending", "gauge", "Notifications in the queue (`notify`)."),
    # -- the catalog
    Metric("models_proxy_catalog_models", "gauge", "Different ids of all models, before the rules of keys."),
    Metric(
        "models_proxy_catalog_info",
        "info",
        "The version of the catalog: a hash of its ids, equal on all replicas with the same models.",
        ("version",),
    ),
    Metric(
        "models_proxy_model_shutdown_timestamp_seconds",
        "gauge",
        "The earliest shutdown date, in Unix seconds, of a model that was called since the start and has one.",
        ("model",),
        "min",
    ),
    Metric(
        "models_proxy_retiring_model_calls_total",
        "counter",
        "Calls that were sent to a provider, of models with a shutdown date.",
        ("model",),
    ),
    # -- calls
    Metric(
        "models_proxy_calls_total",
        "counter",
        "Calls, by their last provider (empty if none was tried) and by how they ended for the client.",
        ("key", "provider", "outcome"),
    ),
    Metric(
        "models_proxy_call_first_byte_seconds",
        "histogram",
        "Seconds from the head of a call to the first byte of the response of a provider.",
        _OF_PROVIDER,
    ),
    Metric(
        "models_proxy_call_duration_seconds",
        "histogram",
        "Seconds from the head of a call to the end of its response, if a provider was tried.",
        _OF_PROVIDER,
    ),
    Metric(
        "models_proxy_tokens_total",
        "counter",
        "Tokens that providers reported; direction is input or output.",
        ("key", "provider", "direction"),
    ),
    Metric(
        "models_proxy_model_calls_total", "counter", "Calls that were sent to a provider, by listed model.", ("model",)
    ),
    Metric(
        "models_proxy_model_tokens_total",
        "counter",
        "Tokens that providers reported, by listed model; direction is input or output.",
        ("model", "direction"),
    ),
    Metric(
        "models_proxy_attempts_total",
        "counter",
        "Requests to providers for calls; one call can need several.",
        ("provider", "outcome"),
    ),
    Metric(
        "models_proxy_failovers_total",
        "counter",
        "How often a further provider was tried for a call, by the last one that was tried.",
        _OF_PROVIDER,
    ),
    Metric(
        "models_proxy_queue_wait_seconds",
        "histogram",
        "Seconds that a call waited because max_in_flight was reached.",
        _OF_PROVIDER,
    ),
    Metric(
        "models_proxy_circuit_changes_total",
        "counter",
        "State changes of circuit breakers of calls, of the whole provider, a model, or a model for one key (scope).",
        ("provider", "scope", "state"),
    ),
    Metric(
        "models_proxy_circuit_state",
        "gauge",
        "1 for the current state of the calls of a provider, 0 for all other states.",
        ("provider", "state"),
    ),
    Metric(
        "models_proxy_account_rejected",
        "gauge",
        "1 while a provider rejects the credential of the proxy, or its account has no credit.",
        _OF_PROVIDER,
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
    Metric(
        "models_proxy_limit_rejections_total",
        "counter",
        "Requests that were rejected by a limit of their caller or group.",
        ("limit",),
    ),
    Metric(
        "models_proxy_limits_local",
        "gauge",
        "1 while this process counts limits locally, because the other processes are unreachable.",
    ),
    Metric(
        "models_proxy_limit_counters_dropped_total",
        "counter",
        "Counters of limits, or changes of them, that were lost while in use, by `reason`: `memory` (too many "
        "counters), `unsent` (too many changes waiting for store.valkey) or `late` (granted too late by the "
        "supervisor).",
        ("reason",),
    ),
    Metric(
        "models_proxy_limit_counters_not_stored",
        "gauge",
        "Callers and groups whose counters of limits do not fit in store.directory: they are lost on restart.",
    ),
    Metric(
        "models_proxy_usage_dropped_calls_total",
        "counter",
        "Calls missing from usage, because there were too many rows, or because the store rejected them.",
    ),
    # -- the configuration
    Metric(
        "models_proxy_config_info",
        "info",
        "The generation of the configuration in use, equal on all replicas with equal configurations.",
        ("generation",),
    ),
    Metric(
        "models_proxy_config_last_reload_success_timestamp_seconds",
        "gauge",
        "When the configuration in use was applied, at the start or by a reload, in Unix seconds.",
    ),
    Metric(
        "models_proxy_config_last_reload_failure_timestamp_seconds",
        "gauge",
        "When a reload last failed, in Unix seconds; missing before the first failure.",
    ),
    Metric(
        "models_proxy_config_problems",
        "gauge",
        "Problems that prevent the current configuration files from being used.",
    ),
    Metric("models_proxy_config_restart_needed", "gauge", "Changed settings that only a restart applies."),
    # -- the process
    Metric("models_proxy_build_info", "info", "The running version.", ("version", "python")),
    Metric(
        "models_proxy_log_dropped_lines_total",
        "counter",
        "Lines of the log that were dropped because writing was blocked or failed.",
    ),
    Metric("models_proxy_workers", "gauge", "Processes that serve requests (server.workers)."),
    Metric("models_proxy_ready", "gauge", "1 if /readyz returns 200, otherwise 0."),
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
