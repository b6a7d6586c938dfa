"""The demo runs a real gateway and holds it to what it prints."""

import pytest

from tools import demo


@pytest.mark.db
def test_the_demo_sends_a_study_and_finds_its_patient(capsys):
    assert demo.main([]) == 0

    printed = capsys.readouterr().out
    assert "SAMPLE-0001" in printed
    assert "7 instances, one cloud study id" in printed


def test_the_demo_says_why_a_gateway_did_not_start(tmp_path, capsys, monkeypatch):
    (tmp_path / "deid-gateway").write_text("#!/bin/sh\necho no such thing\nexit 1\n")
    (tmp_path / "deid-gateway").chmod(0o755)
    monkeypatch.setattr(demo.sys, "executable", str(tmp_path / "python"))

    assert demo.main([]) == 1

    assert "no such thing" in capsys.readouterr().out
