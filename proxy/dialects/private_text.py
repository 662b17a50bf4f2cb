"""Recognize texts with credentials, or with details of a provider's machines, by their form. No I/O.

Each function searches the whole text, because a description can quote a command or an address. For speed, patterns
begin with a literal, or are used only for texts that contain one; then they look around it. They are compiled at first
use, because most lists need few of them.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Sequence
from functools import cache
from ipaddress import ip_address
from itertools import islice

_BEFORE = r"(?<![^\s\"'`(\[<=,:;|\x80-\U0010ffff]%s)"
"""Before `%s` is the start of the text, a blank, a quote, punctuation, or a character of a script without blanks."""


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compiling all patterns takes 14 ms, which would delay each start."""
    return re.compile(pattern)


def _any(text: str, patterns: Sequence[tuple[str, str]]) -> bool:
    """Whether one of the patterns is found. The text before each is a literal that all its matches contain."""
    for literal, pattern in patterns:  # noqa: SIM110 - any() takes twice as long
        if literal in text and _compiled(pattern).search(text):
            return True
    return False


# -- credentials -------------------------------------------------------------------------------------------------------

_START = r"(?<![A-Za-z0-9])"
_TOKENS = tuple(
    (literal, _START + pattern)
    for literal, pattern in (
        # OpenAI, Anthropic, OpenRouter and others; Groq and Stripe.
        ("sk-", r"[cd]?sk-(?:(?=[A-Za-z_-]*[0-9])[\w-]{8,}|[\w-]{16,})"),
        ("sk_", r"[cg]?sk_(?:(?=[A-Za-z_-]*[0-9])[\w-]{8,}|[\w-]{16,})"),
        ("hf_", r"hf_(?:(?=[A-Za-z]*[0-9])[A-Za-z0-9]{8,}|[A-Za-z0-9]{20,})"),  # Hugging Face
        ("AIza", r"AIza[\w-]{10,}"),  # Google
        ("xai-", r"xai-(?=[A-Za-z]*[0-9])[A-Za-z0-9]{12,}"),
        ("pplx-", r"pplx-(?=[A-Za-z]*[0-9])[A-Za-z0-9]{12,}"),
        ("nvapi-", r"nvapi-[\w-]{8,}"),
        ("tvly-", r"tvly-[\w-]{12,}"),
        ("AKIA", r"AKIA[A-Z0-9]{10,}"),  # AWS
        ("ASIA", r"ASIA(?=[A-Z]*[0-9])[A-Z0-9]{10,}"),
        ("ABSK", r"ABSK[A-Za-z0-9+/=]{20,}"),
        ("bedrock-api-key-", r"bedrock-api-key-[\w+/=-]{12,}"),
        ("LTAI", r"LTAI[A-Za-z0-9]{10,}"),  # Alibaba, Tencent, Baidu
        ("AKID", r"AKID[A-Za-z0-9]{12,}"),
        ("ALTAK-", r"ALTAK-[A-Za-z0-9]{8,}"),
        ("gh", r"gh[pousr]_[A-Za-z0-9]{8,}"),  # GitHub, GitLab
        ("github_pat_", r"github_pat_\w{8,}"),
        ("glpat-", r"glpat-[\w-]{8,}"),
        ("eyJ", r"eyJ[\w-]{4,}\.[\w-]{4,}"),  # JSON Web Token
        ("Bearer", r"Bearer\s+(?:(?=[A-Za-z_.~+/=-]*[0-9])[\w.~+/=-]{8,}|[\w.~+/=-]{20,})"),
        ("-BEGIN ", r"-----BEGIN [A-Z0-9 ]+-----"),
    )
)
_BASIC = r"\bBasic\s+([A-Za-z0-9+/]{6,}={0,2})"
# `api_key=...`, `"password": "..."`, parameters of URLs. Values without digits are words (`required`) unless long.
_ASSIGNMENT = r"(?:=|[\"']\s*:)\s*[\"']?(?:(?=[A-Za-z_.~+/%-]*[0-9])[\w.~+/%-]{6,}|[\w.~+/%-]{16,})"
_NAME_OF_VALUE = (
    r"(?i:(?:api[-_ ]?key|access[-_ ]?key|account[-_]?key|secret|passwd|password|(?:auth|access|api)[-_ ]?token)\s*"
    r"|[?&](?:[\w-]{0,32}(?:key|token|secret|signature)|sig|auth))\Z"
)
_MAX_NAME = 48  # characters
# `user:password@host`, but neither a mail address nor the digest of an image.
_HOST_OF_LOGIN = r"@(?!sha\d)[\w-]{1,64}[.:]\w"
_LOGIN_BEFORE_HOST = r"(?<![\w.+-])(?!(?:mailto|acct|sips?|xmpp):)[\w.+-]{1,64}:[^\s@/:\"']{1,128}\Z"
_MAX_LOGIN = 200  # characters
_MAX_LOGINS = 1000


def has_secret(text: str) -> bool:
    """Whether a text contains a credential."""
    return (
        _any(text, _TOKENS)
        or ("Basic" in text and any(_is_login(match[1]) for match in _compiled(_BASIC).finditer(text)))
        or (("=" in text or '"' in text or "'" in text) and _has_assignment(text))
        or ("@" in text and _has_login(text))
    )


def _is_login(encoded: str) -> bool:
    """Whether a word of HTTP basic authentication decodes to `user:password`."""
    try:
        login = b64decode(encoded, validate=True).decode("ascii")
    except ValueError:
        return False
    return ":" in login and login.isprintable()


def _has_assignment(text: str) -> bool:
    return any(
        _compiled(_NAME_OF_VALUE).search(text[max(0, match.start() - _MAX_NAME) : match.start()])
        for match in _compiled(_ASSIGNMENT).finditer(text)
    )


def _has_login(text: str) -> bool:
    if "://" in text and any("@" in authority for _, authority in _urls(text)):
        return True
    hosts = list(islice(_compiled(_HOST_OF_LOGIN).finditer(text), _MAX_LOGINS))
    # A text with so many addresses is no description, and searching before each takes too long.
    return len(hosts) == _MAX_LOGINS or any(
        _compiled(_LOGIN_BEFORE_HOST).search(text[max(0, host.start() - _MAX_LOGIN) : host.start()]) for host in hosts
    )


# -- command lines -----------------------------------------------------------------------------------------------------

_OPTION = "--" + _BEFORE % "--" + r"[A-Za-z][\w-]*"
_SECRET_OPTION = "--" + _BEFORE % "--" + r"[\w-]{0,32}(?:key|token|password|secret)\b"
_COMMAND = (
    r"\s*(?:(?:sudo|nohup|exec|env)\s+|[A-Z_][A-Z0-9_]{0,64}=\S*\s+){0,16}(?:\S{0,256}/)?"
    r"(?:python[\d.]*|vllm|sglang|llama-server|llama-cli|ollama|lmdeploy|text-generation-launcher|tritonserver"
    r"|trtllm-serve|docker|podman|kubectl|uvicorn|torchrun|accelerate|mlx_lm[\w.]*|koboldcpp|local-ai|(?:ba|z)?sh)\s"
)


def is_option(text: str) -> bool:
    """Whether a text is one option of a command line, such as `--port` or `--port=1`."""
    return text.startswith("--") and " " not in text and _compiled(_OPTION).match(text) is not None


def has_command(text: str) -> bool:
    """Whether a text is a command line, or quotes one: a command with an option, or several options."""
    if "--" not in text:
        return False
    options = len(_compiled(_OPTION).findall(text))
    return (
        options > 1
        or (options == 1 and (text.lstrip().startswith("--") or _compiled(_COMMAND).match(text) is not None))
        or (options == 1 and _compiled(_SECRET_OPTION).search(text) is not None)
    )


# -- addresses ---------------------------------------------------------------------------------------------------------

_AUTHORITY = r"://([^\s/?#\"'<>`\\|{}(),;，。；、）]*)"  # empty in unix:///run/server.sock
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,30}\Z"
_MAX_SCHEME = 31  # characters
_PRIVATE_SCHEMES = frozenset(
    ["abfs", "abfss", "amqp", "amqps", "az", "cifs", "cos", "cosn", "dbfs", "file", "ftp", "gcs", "grpc", "grpcs", "gs",
     "hdfs", "inproc", "ipc", "jdbc", "jfs", "kafka", "mongodb", "mongodb+srv", "mysql", "nats", "nfs", "obs", "oss",
     "postgres", "postgresql", "rdma", "redis", "rediss", "s3", "s3a", "s3n", "sftp", "smb", "sqlite", "ssh", "tcp",
     "tos", "udp", "unix", "wasb", "wasbs", "webhdfs"]
)  # fmt: skip
_PRIVATE_DOMAINS = (
    ".internal", ".intranet", ".local", ".localdomain", ".localhost", ".lan", ".corp", ".private", ".home.arpa",
    ".svc", ".cluster",
)  # fmt: skip
_HOST = r"[\w.-]*"
_IPV4 = r"(?<![\w.])((?:\d{1,3}\.){3}\d{1,3})(?![0-9A-Za-z_]|\.\d)(:\d)?"
_IPV4_INSIDE = r"\.\d{1,3}\.\d{1,3}\.\d"
_HOSTS_WITHOUT_SCHEME = (
    ("localhost:", r"(?<![\w.-])localhost:\d{2,5}(?!\w)"),
    (
        ".",
        r"\.(?<=[A-Za-z0-9_-]\.)(?i:(?:internal|intranet|local(?:domain)?|lan|home\.arpa)(?![\w-]|\.\w|:\w)"
        r"|(?:internal|intranet|local(?:domain|host)?|lan|corp|private|svc|cluster|home\.arpa):\d{1,5}(?!\w))",
    ),
)
_HOST_AND_PORT = r"[A-Za-z0-9][\w.-]*:\d{2,5}(?:/\S*)?"


def is_host_and_port(text: str) -> bool:
    """Whether a text has the form `gpu-7:8000`. Ids can have it too (`qwen:7`), so the field must be one of a host."""
    return _compiled(_HOST_AND_PORT).fullmatch(text) is not None


def has_private_address(text: str) -> bool:
    """Whether a text contains an address in a private network or of a storage."""
    if "://" in text and any(_is_private_url(scheme, authority) for scheme, authority in _urls(text)):
        return True
    if text == "localhost" or _any(text, _HOSTS_WITHOUT_SCHEME):
        return True
    if "." not in text or not _compiled(_IPV4_INSIDE).search(text):
        return False
    return any(_is_private_ip(match[1], has_port=bool(match[2])) for match in _compiled(_IPV4).finditer(text))


def _urls(text: str) -> list[tuple[str, str]]:
    """The schemes and authorities of all URLs in a text."""
    matches = _compiled(_AUTHORITY).finditer(text)
    schemes = (
        (_compiled(_SCHEME).search(text[max(0, url.start() - _MAX_SCHEME) : url.start()]), url[1]) for url in matches
    )
    return [(scheme[0].lower(), authority) for scheme, authority in schemes if scheme]


def _is_private_url(scheme: str, authority: str) -> bool:
    if scheme in _PRIVATE_SCHEMES:
        return True
    if authority.startswith("["):
        return _is_private_ip(authority[1:].partition("]")[0], has_port=True)
    if address := _compiled(_IPV4).match(authority):
        return _is_private_ip(address[1], has_port=True)
    match = _compiled(_HOST).match(authority)
    host = match[0].strip(".").casefold() if match else ""
    if host.endswith(_PRIVATE_DOMAINS):
        return True
    # `hf://maker/model` names no machine.
    return host != "" and "." not in host and (scheme in ("http", "https", "ws", "wss") or ":" in authority)


def _is_private_ip(text: str, *, has_port: bool) -> bool:
    """Whether an address is not public; also if it is invalid and has a port. `0.0.0.1` alone can be a version."""
    try:
        address = ip_address(text)
    except ValueError:
        return has_port
    return not address.is_global and (has_port or not text.startswith("0"))


# -- paths -------------------------------------------------------------------------------------------------------------

_WEIGHTS = r"\.(?:gguf|ggml|safetensors|bin|pth?|ckpt|onnx|engine)\b"
_LOCAL_PATHS = (
    (":\\", r"^[A-Za-z]:\\|:\\(?<=[A-Z]:\\)(?<![A-Za-z0-9][A-Z]:\\)\w"),
    (":\\", r":\\(?<=[a-z]:\\)(?<![A-Za-z0-9][a-z]:\\)[\w.-]+\\\w"),
    (":/", r":/(?!/)(?<=[A-Za-z]:/)(?<![A-Za-z0-9][A-Za-z]:/)\w"),
    ("\\\\", r"^\\\\\w|(?<=\s)\\\\[\w.-]+\\[\w$]"),
    ("\\", rf"[\w-]{{1,64}}(?:\\[\w.-]{{1,64}}){{1,16}}{_WEIGHTS}"),
    ("%\\", r"%[A-Z_]{1,64}%\\\w"),
    ("file:", r"\bfile:[\\/]"),
    ("~", "~" + _BEFORE % "~" + r"(?:[A-Za-z_][\w.-]*)?/"),
    ("$", r"\$\{?[A-Z][A-Z0-9_]{0,64}\}?/\w"),
    ("./", rf"(?<![\w./])\.{{1,2}}/[\w@+-][\w.@+-]*(?:/[\w.@+-]|(?<=[\w-]){_WEIGHTS})"),
    ("models--", r"models--[\w.-]+?--\w"),  # the cache of Hugging Face
)
_ABSOLUTE_PATH = "/" + _BEFORE % "/" + r"(?<!GET /)(?<!POST /)(?<!PUT /)(?<!DELETE /)[\w.@+~%-]+(?:/[\w.@+~%:=-]*)*"
_API_PATH = (
    r"/(?:api|openai)(?:/|\Z)|/(?:[\w.:-]+/)*v[0-9]+[a-z0-9]*(?:/|\Z)"
    r"|/(?:[\w.:-]+/)*(?:completions|responses|messages|embeddings|generations|edits|variations|speech"
    r"|transcriptions|translations|moderations|rerank|realtime|batch|batches|count_tokens)/?\Z"
)
# First names of absolute paths of machines, and of those of web sites.
_MACHINE_ROOTS = frozenset(
    ["app", "bin", "cache", "checkpoints", "ckpt", "content", "data", "dbfs", "dev", "disk", "efs", "etc", "export",
     "fsx", "gpfs", "hf", "home", "huggingface", "kaggle", "lib", "lustre", "media", "mnt", "model", "models", "nfs",
     "nvme", "opt", "private", "proc", "pvc", "raid", "root", "run", "scratch", "shared", "snap", "srv", "storage",
     "tmp", "users", "usr", "var", "volumes", "weights", "work", "workspace", "workspaces"]
)  # fmt: skip
_SITE_ROOTS = frozenset(
    ["about", "account", "announcements", "assets", "billing", "blog", "catalog", "chat", "collections", "console",
     "dashboard", "docs", "guides", "help", "icons", "images", "img", "keys", "learn", "legal", "login", "news",
     "playground", "pricing", "privacy", "providers", "public", "rankings", "reference", "research", "settings",
     "static", "support", "terms"]
)  # fmt: skip
_LINK_STARTS = ("](", 'href="', "href='", 'src="', "src='")
"""Before the path of a link in Markdown or HTML."""
_MAX_LINK_START = max(map(len, _LINK_STARTS))
# Web sites have `/models/...`, too.
_LINKED_MACHINE_ROOTS = _MACHINE_ROOTS - {
    "app",
    "cache",
    "content",
    "data",
    "media",
    "model",
    "models",
    "shared",
    "users",
}
_PICTURE = r"(?i:\.(?:svg|png|jpe?g|webp|gif|ico))\Z"
_MACHINE_FILE = rf"(?:{_WEIGHTS}|\.(?:json|ya?ml|py|sh|log|env|pem|key|sock)\b)\Z"
_FILE = r"\.\w{1,12}\Z"
_WEIGHTS_FILE = rf".+/.+{_WEIGHTS}\Z"
_DATA_URL = r"data:[\w/+.;=-]{0,64},[\w+/=%-]*"


def is_path(text: str) -> bool:
    """Whether a text as a whole is a path, also a relative one. For fields that name a model."""
    return (
        text.startswith(("/", "./", "../", "~", "file:"))
        or "\\" in text
        or _any(text, _LOCAL_PATHS)
        or _compiled(_WEIGHTS_FILE).match(text) is not None
    )


def has_path(text: str) -> bool:
    """Whether a text contains a path of a machine. Paths of APIs and web sites are none."""
    if "/" not in text and "\\" not in text and "models--" not in text:
        return False
    if "data:" in text:
        text = _compiled(_DATA_URL).sub("", text)
    return _any(text, _LOCAL_PATHS) or any(
        _is_machine_path(match[0].rstrip(".,:"), text[max(0, match.start() - _MAX_LINK_START) : match.start()], text)
        for match in _compiled(_ABSOLUTE_PATH).finditer(text)
    )


def _is_machine_path(path: str, before: str, text: str) -> bool:
    """Whether an absolute path in a text is one of a machine. `before` is some text before it."""
    first, *others = path[1:].removesuffix("/").split("/")
    if before.endswith(_LINK_STARTS):
        return first.casefold() in _LINKED_MACHINE_ROOTS and bool(others)
    if not others:
        # `/think` is a command of models, `/models` an endpoint.
        is_directory = path.endswith("/") and path == text
        return is_directory or bool(_compiled(_FILE if path == text else _MACHINE_FILE).search(first))
    if first.casefold() in _MACHINE_ROOTS:
        return True
    # Scripts without blanks separate alternatives with slashes, too.
    is_alternative = not first.isascii() or before[-1:].isalpha()
    is_other = is_alternative or first.casefold() in _SITE_ROOTS
    return not (is_other or _compiled(_API_PATH).match(path) or _compiled(_PICTURE).search(path))


# -- all forms ---------------------------------------------------------------------------------------------------------


def is_private_text(text: str) -> bool:
    """Whether a text contains a credential, a command line, a path of a machine or a private address."""
    return has_path(text) or has_private_address(text) or has_command(text) or has_secret(text)
