"""The ASGI factory: what any ASGI server runs."""

from pathlib import Path

import httpx
import pytest

from app import main, settings


@pytest.fixture
def environment(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DEID_DATA_DIR", str(tmp_path / "data"))


@pytest.mark.usefixtures("environment", "logs")
async def test_the_factory_opens_its_parts_with_the_server() -> None:
    app = main.app()
    transport = httpx.ASGITransport(app)

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client,
    ):
        answer = await client.get("/readyz")

    assert answer.json()["ready"] is True


@pytest.mark.usefixtures("environment", "logs")
def test_the_factory_refuses_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEID_PORT", "planted-secret")

    with pytest.raises(settings.InvalidSettings) as caught:
        main.app()

    assert "planted-secret" not in str(caught.value)
