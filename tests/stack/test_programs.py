"""Which programs the stack starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.stack.programs import program


def test_grafana_is_left_out_even_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "grafana").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program("grafana") is None
