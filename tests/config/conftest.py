"""Files for several tests of the configuration."""

from __future__ import annotations

import pytest
import trustme


@pytest.fixture(scope="module")
def corp_pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("tls") / "corp.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    return str(file)
