"""The certificates that the documentation and `config.yaml` name."""

from __future__ import annotations

from pathlib import Path

import trustme


def with_certificates(text: str, directory: Path) -> str:
    """Write the files that a text names below /etc/ssl to a directory. Returns the text with this directory."""
    authority = trustme.CA()
    issued = authority.issue_cert("llm.example.com")
    authority.cert_pem.write_to_path(str(directory / "corp.pem"))
    issued.cert_chain_pems[0].write_to_path(str(directory / "llm.pem"))
    issued.private_key_pem.write_to_path(str(directory / "llm.key"))
    return text.replace("/etc/ssl/", f"{directory}/")
