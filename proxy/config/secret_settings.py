"""Settings that name a file with a secret."""

from __future__ import annotations

from collections.abc import Callable

from proxy.config.authorities import is_path
from proxy.config.document import Path
from proxy.config.secret_files import CheckSecret, SecretFile
from proxy.config.validation import Validation


def secret_in(
    file: str,
    validation: Validation,
    where: Path,
    setting: str,
    check: CheckSecret,
    read_secret: Callable[[str], str],
) -> SecretFile | None:
    """Return the secret in a file; None, with a problem, if it cannot be used.

    `setting`: its name for the log; `check` raises ValueError for an unusable secret.
    """
    if not is_path(file) or validation.is_unresolved(where):
        return None
    validation.log.add(file)
    try:
        return SecretFile(file, setting, check, read_secret)
    except OSError as error:
        validation.unavailable(where, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        validation.problem(where, "is not a UTF-8 text file")
    except ValueError as error:
        validation.problem(where, f"its content {error}")
    return None
