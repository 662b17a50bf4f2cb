"""The reference: a bare ASGI application with prepared responses, on uvicorn with the settings of the proxy.

`python -m benchmarks.bare PORT FOLDER NAME ...` responds to `/NAME` with the status, headers and body of that name in
the folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import uvicorn

from benchmarks.harness import SERVER_CORE, pin

_SET_BY_SERVER = ("date", "connection")


def read(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    recorded = json.loads((folder / f"{name}.json").read_text())
    headers = [
        (key.lower().encode(), value.encode())
        for key, value in recorded["headers"]
        if key.lower() not in _SET_BY_SERVER
    ]
    start = {"type": "http.response.start", "status": recorded["status"], "headers": headers}
    return start, {"type": "http.response.body", "body": (folder / name).read_bytes()}


def main(port: int, folder: Path, names: list[str]) -> None:
    responses = {f"/{name}": read(folder, name) for name in names}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        start, body = responses[scope["path"]]
        await send(start)
        await send(body)

    pin(SERVER_CORE)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
