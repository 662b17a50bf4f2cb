"""Recognize paths of a provider's machines in texts."""

from __future__ import annotations

from proxy.dialects.text_patterns import BEFORE, compiled, contains_any

_WEIGHTS = r"\.(?:gguf|ggml|safetensors|bin|pth?|ckpt|onnx|engine)\b"
_LOCAL_PATHS = (
    (":\\", r"^[A-Za-z]:\\|:\\(?<=[A-Z]:\\)(?<![A-Za-z0-9][A-Z]:\\)\w"),
    (":\\", r":\\(?<=[a-z]:\\)(?<![A-Za-z0-9][a-z]:\\)[\w.-]+\\\w"),
    (":/", r":/(?!/)(?<=[A-Za-z]:/)(?<![A-Za-z0-9][A-Za-z]:/)\w"),
    ("\\\\", r"^\\\\\w|(?<=\s)\\\\[\w.-]+\\[\w$]"),
    ("\\", rf"[\w-]{{1,64}}(?:\\[\w.-]{{1,64}}){{1,16}}{_WEIGHTS}"),
    ("%\\", r"%[A-Z_]{1,64}%\\\w"),
    ("file:", r"\bfile:[\\/]"),
    ("~", "~" + BEFORE % "~" + r"(?:[A-Za-z_][\w.-]*)?/"),
    ("$", r"\$\{?[A-Z][A-Z0-9_]{0,64}\}?/\w"),
    ("./", rf"(?<![\w./])\.{{1,2}}/[\w@+-][\w.@+-]*(?:/[\w.@+-]|(?<=[\w-]){_WEIGHTS})"),
    ("models--", r"models--[\w.-]+?--\w"),  # the cache of Hugging Face
)
_ABSOLUTE_PATH = "/" + BEFORE % "/" + r"(?<!GET /)(?<!POST /)(?<!PUT /)(?<!DELETE /)[\w.@+~%-]+(?:/[\w.@+~%:=-]*)*"
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
        or contains_any(text, _LOCAL_PATHS)
        or compiled(_WEIGHTS_FILE).match(text) is not None
    )


def has_path(text: str) -> bool:
    """Whether a text contains a path of a machine. Paths of APIs and web sites are none."""
    if "/" not in text and "\\" not in text and "models--" not in text:
        return False
    if "data:" in text:
        text = compiled(_DATA_URL).sub("", text)
    return contains_any(text, _LOCAL_PATHS) or any(
        _is_machine_path(match[0].rstrip(".,:"), text[max(0, match.start() - _MAX_LINK_START) : match.start()], text)
        for match in compiled(_ABSOLUTE_PATH).finditer(text)
    )


def _is_machine_path(path: str, before: str, text: str) -> bool:
    """Whether an absolute path in a text is one of a machine. `before` is some text before it."""
    first, *others = path[1:].removesuffix("/").split("/")
    if before.endswith(_LINK_STARTS):
        return first.casefold() in _LINKED_MACHINE_ROOTS and bool(others)
    if not others:
        # `/think` is a command of models, `/models` an endpoint.
        is_directory = path.endswith("/") and path == text
        return is_directory or bool(compiled(_FILE if path == text else _MACHINE_FILE).search(first))
    if first.casefold() in _MACHINE_ROOTS:
        return True
    # Scripts without blanks separate alternatives with slashes, too.
    is_alternative = not first.isascii() or before[-1:].isalpha()
    is_other = is_alternative or first.casefold() in _SITE_ROOTS
    return not (is_other or compiled(_API_PATH).match(path) or compiled(_PICTURE).search(path))
