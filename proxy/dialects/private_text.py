"""Recognize texts with credentials, or with details of a provider's machines, by their form. No I/O.

Each function searches the whole text, because a description can quote a command or an address. For speed, patterns
begin with a literal, or are used only for texts that contain one; then they look around it. They are compiled at first
use, because most lists need few of them.
"""

from __future__ import annotations

from base64 import b64decode
from ipaddress import ip_address
from itertools import islice

from proxy.dialects.private_paths import has_path
from proxy.dialects.text_patterns import BEFORE, compiled, contains_any

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
        ("AKLT", r"AKLT(?=[A-Za-z]*[0-9])[A-Za-z0-9]{12,}"),  # Volcengine
        ("ALTAK-", r"ALTAK-[A-Za-z0-9]{8,}"),
        ("gh", r"gh[pousr]_[A-Za-z0-9]{8,}"),  # GitHub, GitLab
        ("github_pat_", r"github_pat_\w{8,}"),
        ("glpat-", r"glpat-[\w-]{8,}"),
        ("eyJ", r"eyJ[\w-]{4,}\.[\w-]{4,}"),  # JSON Web Token
        ("eyAi", r"eyAi[\w-]{4,}\.[\w-]{4,}"),  # `{ "`: OpenAM's
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
        contains_any(text, _TOKENS)
        or ("Basic" in text and any(_is_login(match[1]) for match in compiled(_BASIC).finditer(text)))
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
        compiled(_NAME_OF_VALUE).search(text[max(0, match.start() - _MAX_NAME) : match.start()])
        for match in compiled(_ASSIGNMENT).finditer(text)
    )


def _has_login(text: str) -> bool:
    if "://" in text and any("@" in authority for _, authority in _urls(text)):
        return True
    hosts = list(islice(compiled(_HOST_OF_LOGIN).finditer(text), _MAX_LOGINS))
    # A text with so many addresses is no description, and searching before each takes too long.
    return len(hosts) == _MAX_LOGINS or any(
        compiled(_LOGIN_BEFORE_HOST).search(text[max(0, host.start() - _MAX_LOGIN) : host.start()]) for host in hosts
    )


# -- command lines -----------------------------------------------------------------------------------------------------

_OPTION = "--" + BEFORE % "--" + r"[A-Za-z][\w-]*"
_SECRET_OPTION = "--" + BEFORE % "--" + r"[\w-]{0,32}(?:key|token|password|secret)\b"
_COMMAND = (
    r"\s*(?:(?:sudo|nohup|exec|env)\s+|[A-Z_][A-Z0-9_]{0,64}=\S*\s+){0,16}(?:\S{0,256}/)?"
    r"(?:python[\d.]*|vllm|sglang|llama-server|llama-cli|ollama|lmdeploy|text-generation-launcher|tritonserver"
    r"|trtllm-serve|docker|podman|kubectl|uvicorn|torchrun|accelerate|mlx_lm[\w.]*|koboldcpp|local-ai|(?:ba|z)?sh)\s"
)


def is_option(text: str) -> bool:
    """Whether a text is one option of a command line, such as `--port` or `--port=1`."""
    return text.startswith("--") and " " not in text and compiled(_OPTION).match(text) is not None


def has_command(text: str) -> bool:
    """Whether a text is a command line, or quotes one: a command with an option, or several options."""
    if "--" not in text:
        return False
    options = len(compiled(_OPTION).findall(text))
    return (
        options > 1
        or (options == 1 and (text.lstrip().startswith("--") or compiled(_COMMAND).match(text) is not None))
        or (options == 1 and compiled(_SECRET_OPTION).search(text) is not None)
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
_ADDRESS = r"[A-Za-z0-9][\w.-]*:\d{2,5}(?:/\S*)?|[A-Za-z][\w+.-]{0,30}://\S+"


def is_address(text: str) -> bool:
    """Whether a text has the form `gpu-7:8000` or is a URL. Other fields can have these, so it must be one of a host.

    An id can be `qwen:7`, and many entries link to web sites.
    """
    return compiled(_ADDRESS).fullmatch(text) is not None or text.casefold().endswith(_PRIVATE_DOMAINS)


def has_private_address(text: str) -> bool:
    """Whether a text contains an address in a private network or of a storage."""
    if "://" in text and any(_is_private_url(scheme, authority) for scheme, authority in _urls(text)):
        return True
    if text == "localhost" or contains_any(text, _HOSTS_WITHOUT_SCHEME):
        return True
    if "." not in text or not compiled(_IPV4_INSIDE).search(text):
        return False
    return any(_is_private_ip(match[1], has_port=bool(match[2])) for match in compiled(_IPV4).finditer(text))


def _urls(text: str) -> list[tuple[str, str]]:
    """The schemes and authorities of all URLs in a text."""
    matches = compiled(_AUTHORITY).finditer(text)
    schemes = (
        (compiled(_SCHEME).search(text[max(0, url.start() - _MAX_SCHEME) : url.start()]), url[1]) for url in matches
    )
    return [(scheme[0].lower(), authority) for scheme, authority in schemes if scheme]


def _is_private_url(scheme: str, authority: str) -> bool:
    if scheme in _PRIVATE_SCHEMES:
        return True
    if authority.startswith("["):
        host, _, port = authority[1:].partition("]")
        return port != "" or _is_private_ip(host, has_port=True)
    if address := compiled(_IPV4).match(authority):
        return address[2] is not None or _is_private_ip(address[1], has_port=True)
    match = compiled(_HOST).match(authority)
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


# -- all forms ---------------------------------------------------------------------------------------------------------


def is_private_text(text: str) -> bool:
    """Whether a text contains a credential, a command line, a path of a machine or a private address."""
    return has_path(text) or has_private_address(text) or has_command(text) or has_secret(text)
