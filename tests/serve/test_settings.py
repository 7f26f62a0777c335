"""Settings: the command line over the environment over the file, and mistakes told with their place."""

from pathlib import Path

import pytest

from plutao.errors import UserError
from plutao.serve.settings import ServeSettings, load_settings


def test_the_command_line_wins_over_the_environment_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_text('port = 1001\nslots = 3\nhost = "0.0.0.0"\n')
    environment = {
        "PLUTAO_PORT": "1002",
        "PLUTAO_SLOTS": "4",
        "PLUTAO_CORS_ORIGINS": "https://a, https://b",
        "HOME": "/",
    }
    settings = load_settings(tmp_path, given={"port": 1003, "host": None}, environment=environment)
    assert (settings.port, settings.slots, settings.host) == (1003, 4, "0.0.0.0")
    assert settings.cors_origins == ("https://a", "https://b")
    assert settings.address == "http://127.0.0.1:1003"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot = 8000", "Did you mean 'port'?"),
        ("port = 99999", "port is not right"),
        ('upstream = "localhost:8000"', "must begin with http"),
        ("port = ", "not valid TOML"),
        ('precision = "fp16"', "precision is not right"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "serve.toml").write_text(text)
    with pytest.raises(UserError) as refusal:
        load_settings(tmp_path, environment={})
    assert says in str(refusal.value) and "serve.toml" in str(refusal.value)


def test_a_variable_that_is_nearly_a_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="PLUTAO_SLOTS"):
        load_settings(tmp_path, environment={"PLUTAO_SLOT": "3"})
    assert load_settings(tmp_path, environment={"PLUTAO_DATA": "/corpora"}) == ServeSettings(root=tmp_path)


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--config"):
        load_settings(tmp_path, tmp_path / "none.toml", environment={})


def test_every_setting_is_described() -> None:
    assert all(field.description for field in ServeSettings.model_fields.values())


def test_secrets_are_not_shown() -> None:
    settings = ServeSettings(
        upstream_key="hidden", oidc_client_secret="hidden", database_url="postgresql://u:hidden@h/d"
    )
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize("page", ["serving.md", "serving.pt-BR.md"])
def test_every_setting_stands_on_the_page_with_its_default(page: str) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / page).read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    for name, field in ServeSettings.model_fields.items():
        if name == "root":
            continue
        [default] = [row[2].strip().strip("`") for row in rows if f"`{name}`" in row[1]]
        if isinstance(field.default, bool):
            assert default == str(field.default).lower()
        elif isinstance(field.default, int | float):
            assert float(default) == field.default, name
