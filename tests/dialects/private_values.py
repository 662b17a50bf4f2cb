"""Private values, each with the word "kookaburra" in some form: by name, by form, and deep inside of others."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

C = "kookaburra-0000"
_LOGIN = b64encode(b"kookaburra:made-up").decode()
TRACES = ("kookaburra", _LOGIN.lower())
"""Texts in lower case of which one is in each private value."""

FORMS: Mapping[str, str] = {
    # Credentials.
    "OpenAI key": "sk-kookaburra-0000",
    "OpenAI project key": "sk-proj-kookaburra0000",
    "Anthropic key": "sk-ant-api03-kookaburra0000",
    "key in a sentence": "Set the key to sk-kookaburra-0000, then call it.",
    "long key without digits": "sk-kookaburra-of-a-provider",
    "Groq key": "gsk_kookaburra0000",
    "Stripe key": "sk_live_kookaburra0000",
    "Hugging Face token": "hf_kookaburra0000",
    "Google key": "AIzaKookaburra000000",
    "xAI key": "xai-kookaburra0000000000",
    "Perplexity key": "pplx-kookaburra0000000000",
    "NVIDIA key": "nvapi-kookaburra-0000",
    "AWS key": "AKIAKOOKABURRA0000000000",
    "AWS session key": "ASIAKOOKABURRA0000000000",
    "Bedrock key": "bedrock-api-key-kookaburra000000",
    "Alibaba key": "LTAIkookaburra0000000000",
    "Tencent key": "AKIDkookaburra0000000000",
    "Volcengine key": "AKLTkookaburra0000000000",
    "Baidu key": "bce-v3/ALTAK-kookaburra000/x",
    "GitHub token": "ghp_kookaburra0000",
    "GitHub token with permissions": "github_pat_kookaburra0000",
    "GitLab token": "glpat-kookaburra0000",
    "JSON Web Token": "eyJkookaburra.eyJmYWtl.c2lnbmF0dXJl",
    "JSON Web Token of OpenAM": "eyAikookaburra.eyAimYWtl.c2lnbmF0dXJl",
    "bearer token": "Bearer kookaburra-0000",
    "bearer token in a header": "Authorization: Bearer kookaburra-0000",
    "basic credentials": f"Basic {_LOGIN}",
    "private key": "-----BEGIN RSA PRIVATE KEY-----\nkookaburra\n-----END RSA PRIVATE KEY-----",
    "assignment": "OPENAI_API_KEY=kookaburra-0000",
    "assignment in an ini file": "[m]\napi-key = kookaburra-0000",
    "assignment in a dict": "{'password': 'kookaburra-0000'}",
    "signed URL": "https://files.example/m?X-Amz-Signature=kookaburra0000",
    "key in a URL": "https://api.example/v1/models?key=kookaburra0000",
    "login in a URL": f"https://bob:{C}@api.example/v1",
    "user in a URL": f"https://{C}@api.example/v1",
    "login in a URL in a sentence": f"Runs at https://bob:{C}@api.example/v1, mostly.",
    "login without a scheme": f"bob:{C}@api.example",
    # Command lines.
    "command": "vllm serve kookaburra --port 8000",
    "command with variables": "CUDA_VISIBLE_DEVICES=0 vllm serve kookaburra --port 8000",
    "command of Python": "python -m vllm.entrypoints.openai.api_server --model kookaburra",
    "command in a sentence": "Started with `llama-server --model kookaburra --port 8080`.",
    "options": "--model kookaburra",
    "option with a key": "Start it with --api-key kookaburra",
    # Addresses.
    "public address with a port": f"http://8.8.4.4:8000/{C}",
    "public IPv6 address with a port": f"http://[2001:4860::8844]:8000/{C}",
    "address in a private network": f"http://10.1.2.3:8000/{C}",
    "address in a sentence": f"The server at http://192.168.0.7:8000/{C} is fast.",
    "address in Chinese": f"地址http://10.0.0.5，{C}",
    "address of the same machine": f"http://[::1]:8000/{C}",
    "localhost": f"http://localhost/{C}",
    "name in a private network": f"https://{C}.internal/v1",
    "name without a domain": f"http://{C}:8000/v1",
    "invalid address": f"http://[{C}",
    "private IP address and port": "172.16.0.9:8000 kookaburra",
    "private IP address": "10.20.30.40 kookaburra",
    "localhost without a scheme": "localhost:11434/kookaburra",
    "name in a private network without a scheme": "kookaburra.internal:8000",
    "name in a cluster": "kookaburra.models.svc.cluster.local",
    "name in a local network": "runs on kookaburra.lan",
    "bucket": f"s3://{C}/m",
    "database": f"postgresql://{C}/m",
    # Paths.
    "path": f"/home/bob/{C}.gguf",
    "path at the root": f"/{C}.gguf",
    "directory at the root": f"/{C}/",
    "path with spaces": f"/srv/my models/{C}",
    "path in a sentence": f"Served from /mnt/models/{C}.gguf by vLLM.",
    "path in Chinese": f"路径为/data/{C}/m",
    "path after a colon": f"model:/srv/x/{C}",
    "path at home": f"~/{C}",
    "path of a link": f"[the weights](/mnt/models/{C})",
    "path after Chinese": f"模型位于/data/models/{C}",
    "path at the home of a user": f"~bob/{C}",
    "relative path": f"./models/{C}",
    "relative path to weights": f"../{C}.gguf",
    "path with a variable": f"${{MODELS}}/{C}",
    "path of Windows": f"C:\\models\\{C}",
    "path of Windows with slashes": f"D:/models/{C}",
    "path of Windows in a sentence": f"Loaded from C:\\models\\{C} today.",
    "relative path of Windows": f"models\\{C}\\m.gguf",
    "path of a network": f"\\\\nas\\{C}",
    "address of a file": f"file:///srv/{C}",
    "address of a socket": f"unix:///sockets/{C}",
    "address of a storage without a host": f"Weights: hdfs:///user/{C}",
    "cache": f"models--acme--{C}",
    # JSON in a text.
    "JSON": json.dumps({"any": [{"api_key": C}]}),
    "JSON with a path": json.dumps(["x", {"file": f"/srv/models/{C}"}]),
    "JSON in JSON": json.dumps({"any": json.dumps({"litellm_params": C})}),
}
"""Texts that are private in any field."""

NAMED: Mapping[str, dict[str, Any]] = {
    "arguments": {"status": {"value": "loaded", "args": ["--api-key", C]}},
    "preset": {"status": {"value": "loaded", "preset": f"[m]\napi-key = {C}"}},
    "options under another name": {"flags": ["serve", "m", "--api-key", C]},
    "options as names": {"flags": {"--api-key": C}},
    "relative path": {"path": f"acme/{C}.gguf"},
    "api_base": {"api_base": f"https://{C}.example/v1"},
    "base_url": {"base_url": f"https://{C}.example/v1"},
    "litellm_params": {"litellm_params": {"model": "m", "any": C}},
    "key, deep": {"info": {"deep": [{"deeper": {"apiKey": C}}]}},
    "path, deep": {"info": {"deep": [[[["x", f"/srv/models/{C}"]]]]}},
    "key in other case": {"Api-Key": C},
    "command": {"cmd": f"serve {C}"},
    "environment": {"env": {"HF_TOKEN": C}},
    "token": {"token": C},
    "secret": {"client_secret": C},
    "password": {"password": 0, "db_password": C},
    "headers": {"headers": {"Authorization": C}},
    "token of a session": {"aws_session_token": C},
    # The JSON library caches a few hundred names of at most 32 characters.
    "key as a name": {"keys": {f"sk-of-the-provider-{C}": "all models"}},
    "path as a name": {"files": {f"/srv/models/of/the/provider/{C}": 5}},
    "host and port": {"backend": f"{C}:8000"},
    "public address of a host": {"endpoint": f"https://{C}.azure.example/openai"},
    "public address in the description of a host": {"upstream": {"model": "m", "URL": f"https://{C}.azure.example"}},
    "name of a host in a private network": {"server": f"{C}.corp"},
    "root that is a path": {"root": f"/models/{C}"},
    "root that is a directory": {"root": f"/{C}"},
    "root that is a relative path": {"root": f"./{C}"},
    "root that is a path above": {"root": f"../{C}"},
    "root that is a path at home": {"root": f"~{C}"},
    "root that is a path of Windows": {"root": f"models\\{C}"},
    "root that is a file": {"root": f"file:{C}"},
    "root that is a file of weights": {"root": f"models/{C}.gguf"},
    "parent that is a path": {"parent": f"/models/{C}"},
    "owner alone that is a path": {"owned_by": f"/home/{C}/m"},
    "owner that is a path of Windows": {"owned_by": f"C:\\models\\{C}"},
    "owner that is a network path": {"owned_by": f"\\\\host\\{C}"},
    "owner that is a file": {"owned_by": f"file:/{C}"},
    "owners that are paths": {"owned_by": f"/home/{C}/m", "publisher": f"/home/{C}/m"},
    "titles that are paths": {"title": f"/home/{C}/m", "display_name": f"/home/{C}/m"},
    "owner that is a key": {"owned_by": f"sk-{C}"},
    "title that is a key": {"display_name": f"sk-{C}"},
    "permission": {"permission": [{"organization": f"sk-{C}", "id": f"sk-{C}", "group": f"/srv/{C}/x"}]},
}
"""Private values in certain fields."""

PRIVATE: Mapping[str, dict[str, Any]] = {
    **{f"{name} as a text": {"about": text} for name, text in FORMS.items()},
    **{f"{name}, deep": {"info": {"list": [1, [{"about": ["x", text]}]]}} for name, text in FORMS.items()},
    **{f"{name} by its field": fields for name, fields in NAMED.items()},
}
"""Fields of an entry with one private value each."""


def traces_in(data: bytes) -> Sequence[str]:
    """The traces of private values in some output."""
    return [trace for trace in TRACES if trace.encode() in data.lower()]
