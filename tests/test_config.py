"""The settings: what is accepted, what is refused with which words, and that no secret is ever shown."""

from __future__ import annotations

import copy
import os
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from sfsync.config import ConsoleSettings, SecretText, Settings, load_settings
from sfsync.config.credentials import save_secret
from sfsync.config.rules import NEEDED_BY_FLOW, SECRET_KEYS
from sfsync.errors import ConfigError
from sfsync.salesforce.auth import ClientCredentials, JwtBearer, LegacyPassword, RefreshToken
from sfsync.salesforce.secret import Secret

DOCUMENT = Path(__file__).parent.parent / "docs" / "configuration.md"
CANARY = "c4n4ry-s3cret-value-that-must-not-appear"

GOOD = {
    "SFSYNC_SALESFORCE__LOGIN_URL": "https://acme.my.salesforce.com",
    "SFSYNC_SALESFORCE__FLOW": "client_credentials",
    "SFSYNC_SALESFORCE__CLIENT_ID": "consumer-key",
    "SFSYNC_SALESFORCE__CLIENT_SECRET": CANARY,
}


@pytest.fixture(autouse=True)
def _in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `sfsync.toml` of the developer is found by accident."""
    monkeypatch.chdir(tmp_path)


def refused(environ: Mapping[str, str], toml: str | None = None) -> dict[str, str]:
    """Load settings that must be refused; return the faults by key."""
    path = None
    if toml is not None:
        path = Path("written.toml")
        path.write_text(toml, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environ)
    assert CANARY not in str(caught.value)
    faults: dict[str, str] = {}
    for line in str(caught.value).splitlines()[1:]:
        key, _, fault = line.strip().partition(": ")
        faults[key] = fault
    return faults


def secret_file(tmp_path: Path, text: str = CANARY, mode: int = 0o600) -> Path:
    path = tmp_path / "secret"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


# ---- where values come from


def test_environment_alone_is_enough() -> None:
    """A container needs no file."""
    settings = load_settings(None, GOOD)
    assert settings.salesforce.login_url == "https://acme.my.salesforce.com"
    assert settings.sync.sweep_interval_s == 900


def test_environment_wins_over_file(tmp_path: Path) -> None:
    """An operator overrides one key without touching the file."""
    path = tmp_path / "a.toml"
    path.write_text("[sync]\nsweep_interval_s = 60\nhold_ms = 7\n")
    settings = load_settings(path, GOOD | {"SFSYNC_SYNC__SWEEP_INTERVAL_S": "30.5"})
    assert (settings.sync.sweep_interval_s, settings.sync.hold_ms) == (30.5, 7)


@pytest.mark.parametrize("way", ["argument", "variable", "directory"])
def test_file_is_found_in_the_documented_order(tmp_path: Path, way: str) -> None:
    """--config, then SFSYNC_CONFIG, then ./sfsync.toml."""
    (tmp_path / "sfsync.toml").write_text("[sync]\nhold_ms = 3\n")
    (tmp_path / "variable.toml").write_text("[sync]\nhold_ms = 2\n")
    (tmp_path / "argument.toml").write_text("[sync]\nhold_ms = 1\n")
    environ = GOOD | ({} if way == "directory" else {"SFSYNC_CONFIG": str(tmp_path / "variable.toml")})
    path = tmp_path / "argument.toml" if way == "argument" else None
    assert load_settings(path, environ).sync.hold_ms == {"argument": 1, "variable": 2, "directory": 3}[way]


def test_process_environment_is_no_second_way_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the caller passes counts, or a reload and a test would see other settings than they ask for."""
    monkeypatch.setenv("SFSYNC_SYNC__HOLD_MS", "9")
    assert load_settings(None, GOOD).sync.hold_ms == 20


def test_relative_paths_of_the_file_start_at_the_file(tmp_path: Path) -> None:
    """A supervisor starts us in another directory than the operator edits in."""
    (tmp_path / "etc").mkdir()
    secret_file(tmp_path / "etc")
    path = tmp_path / "etc" / "a.toml"
    path.write_text('[salesforce]\nclient_secret_file = "secret"\n[mapping]\nfile = "mapping.toml"\n')
    environ = {key: value for key, value in GOOD.items() if not key.endswith("SECRET")}
    settings = load_settings(path, environ)
    assert settings.mapping.file == tmp_path / "etc" / "mapping.toml"
    assert settings.salesforce.client_secret is not None
    assert settings.salesforce.client_secret.get_secret_value() == CANARY


def test_secret_in_environment_replaces_the_files_secret_file(tmp_path: Path) -> None:
    """The layer above wins whichever of the two ways it uses."""
    path = tmp_path / "a.toml"
    path.write_text('[salesforce]\nclient_secret_file = "gone"\n')
    settings = load_settings(path, GOOD)
    assert settings.salesforce.client_secret is not None
    assert settings.salesforce.client_secret_file is None


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"[sync\n", "is not TOML"), (b"a = '\xff'\n", "not UTF-8"), (None, "cannot be read")],
)
def test_unreadable_file_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    """The message says which file and why."""
    path = tmp_path / "broken.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        load_settings(path, GOOD)
    assert str(path) in str(caught.value)


def test_empty_variable_is_not_set() -> None:
    """Compose files pass variables on, set or not."""
    assert load_settings(None, GOOD | {"SFSYNC_SYNC__HOLD_MS": ""}).sync.hold_ms == 20
    assert "is required" in refused(GOOD | {"SFSYNC_SALESFORCE__LOGIN_URL": ""})["salesforce.login_url"]


def test_example_for_services_is_sound(tmp_path: Path) -> None:
    """The file that an operator copies needs only its secrets."""
    path = tmp_path / "sfsync.toml"
    path.write_text((DOCUMENT.parents[1] / "docker" / "sfsync.toml.example").read_text(encoding="utf-8"))
    for name, text in (("private_key.pem", CANARY), ("dsn", f"postgresql://sfsync:{CANARY}@db.internal/crm")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    assert load_settings(path, {}).store.dsn is not None


# ---- what is refused


def test_all_faults_are_told_at_once() -> None:
    """An operator who mends one line per restart loses an hour."""
    faults = refused(
        {"SFSYNC_SYNC__HOLD_MS": "many", "SFSYNC_CONSOLE__HOST": "0.0.0.0"},
        '[salesforce]\nflow = "jwt"\nchannel = "/data/LeadChangeEvent"\n[store]\ncrm_schema = "CRM"\n[nonsense]\n',
    )
    assert set(faults) == {
        "salesforce.login_url",
        "salesforce.client_id",
        "salesforce.username",
        "salesforce.private_key",
        "salesforce.channel",
        "store.crm_schema",
        "sync.hold_ms",
        "console.token",
        "nonsense",
    }


def test_empty_configuration_tells_what_is_required_and_where_to_set_it() -> None:
    """The first thing a stranger sees."""
    faults = refused({})
    assert faults["salesforce.login_url"].endswith("set it in the file or as SFSYNC_SALESFORCE__LOGIN_URL")
    assert "SFSYNC_SALESFORCE__PRIVATE_KEY or salesforce.private_key_file" in faults["salesforce.private_key"]


@pytest.mark.parametrize(
    ("toml", "key", "suggestion"),
    [
        ("[sync]\nsweep_intervall_s = 1", "sync.sweep_intervall_s", "sync.sweep_interval_s"),
        ("[salesforce]\nhold_ms = 1", "salesforce.hold_ms", "sync.hold_ms"),
        ("[sinc]\nhold_ms = 1", "sinc", "sync"),
    ],
)
def test_unknown_key_is_refused_with_the_nearest_known_one(toml: str, key: str, suggestion: str) -> None:
    """A misspelt key that is ignored would leave the default in force unseen."""
    assert refused(GOOD, toml)[key].endswith(f"did you mean {suggestion}?")


@pytest.mark.parametrize("variable", ["SFSYNC_SYNC__HOLDMS", "SFSYNC_SINC__HOLD_MS"])
def test_unknown_variable_is_refused(variable: str) -> None:
    """The same holds for the environment."""
    assert len(refused(GOOD | {variable: CANARY})) == 1


def test_variables_of_other_programs_and_tests_are_left_alone() -> None:
    """SFSYNC_TEST_DSN and the like are no settings."""
    others = {"SFSYNC_TEST_DSN": "x", "SFSYNC_PG_BIN": "y", "OTHER__KEY": "z"}
    assert load_settings(None, GOOD | others) == load_settings(None, GOOD)


@pytest.mark.parametrize(
    "url",
    [
        "http://acme.my.salesforce.com",
        "https://user@acme.my.salesforce.com",
        "https://acme.my.salesforce.com/path",
        "https://acme.lightning.force.com",
        "https://",
        "acme.my.salesforce.com",
        "ftp://localhost",
        "https://h:port",
    ],
)
def test_login_url_that_is_no_safe_origin_is_refused(url: str) -> None:
    """Credentials are sent there."""
    assert set(refused(GOOD | {"SFSYNC_SALESFORCE__LOGIN_URL": url})) == {"salesforce.login_url"}


@pytest.mark.parametrize(
    "url", ["http://localhost:1234/", "http://127.0.0.1:1", "http://[::1]:1", "https://a.my.salesforce.com/"]
)
def test_login_url_of_loopback_may_be_plain_http(url: str) -> None:
    """The simulated org speaks plain HTTP on loopback."""
    settings = load_settings(None, GOOD | {"SFSYNC_SALESFORCE__LOGIN_URL": url})
    assert settings.salesforce.login_url == url.rstrip("/")


@pytest.mark.parametrize("host", ["login.salesforce.com", "test.salesforce.com"])
def test_client_credentials_need_my_domain(host: str) -> None:
    """Salesforce answers the shared hosts with an error that explains nothing."""
    faults = refused(GOOD | {"SFSYNC_SALESFORCE__LOGIN_URL": f"https://{host}"})
    assert faults["salesforce.login_url"].endswith("use https://DOMAIN.my.salesforce.com")


@pytest.mark.parametrize("channel", ["/data/LeadChangeEvent", "/data/Foo__ChangeEvent"])
def test_single_entity_channel_is_refused_with_the_reason(channel: str) -> None:
    """Two such channels would have no common order."""
    faults = refused(GOOD | {"SFSYNC_SALESFORCE__CHANNEL": channel})
    assert "no common order" in faults["salesforce.channel"]


@pytest.mark.parametrize("channel", ["/data/ChangeEvents", "/data/SalesEvents__chn"])
def test_channel_with_all_entities_is_taken(channel: str) -> None:
    """The standard one, or a custom one."""
    assert load_settings(None, GOOD | {"SFSYNC_SALESFORCE__CHANNEL": channel}).salesforce.channel == channel


@pytest.mark.parametrize("flow", sorted(NEEDED_BY_FLOW))
def test_each_flow_names_what_it_lacks(flow: str) -> None:
    """Keys that belong together are checked together, each by its own name."""
    environ = {
        "SFSYNC_SALESFORCE__LOGIN_URL": "https://acme.my.salesforce.com",
        "SFSYNC_SALESFORCE__CLIENT_ID": "consumer-key",
        "SFSYNC_SALESFORCE__FLOW": flow,
    }
    assert set(refused(environ)) == {f"salesforce.{key}" for key in NEEDED_BY_FLOW[flow]}


@pytest.mark.parametrize("dsn", ["host=localhost", "mysql://h/d", "postgresql"])
def test_dsn_must_be_a_postgres_url(dsn: str) -> None:
    """The driver takes URLs only."""
    assert set(refused(GOOD | {"SFSYNC_STORE__DSN": dsn})) == {"store.dsn"}


def test_two_schemas_must_differ() -> None:
    """Internal tables would stand among those that applications read."""
    assert "store.internal_schema" in refused(GOOD, '[store]\ncrm_schema = "x"\ninternal_schema = "x"\n')


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("sync", "sweep_page", 2001),
        ("sync", "backoff_s_max", 0),
        ("sync", "settle_s", -1),
        ("console", "port", 65536),
    ],
)
def test_numbers_out_of_bounds_are_refused(section: str, key: str, value: int) -> None:
    """The bound is told."""
    assert refused(GOOD, f"[{section}]\n{key} = {value}\n")[f"{section}.{key}"].startswith("must be ")


# ---- secrets


@pytest.mark.parametrize(("section", "key"), [(s, k) for s, keys in SECRET_KEYS.items() for k in keys])
def test_secret_in_the_file_is_refused(section: str, key: str) -> None:
    """People copy, mail and commit that file."""
    value = f"postgresql://user:{CANARY}@host/db" if key == "dsn" else CANARY
    fault = refused(GOOD, f'[{section}]\n{key} = "{value}"\n')[f"{section}.{key}"]
    assert "must not stand in the TOML file" in fault
    assert f"SFSYNC_{section.upper()}__{key.upper()}" in fault


@pytest.mark.parametrize("place", ["?password={}", "?sslmode=require&password={}"])
def test_password_anywhere_in_a_dsn_of_the_file_is_refused(place: str) -> None:
    """A DSN has two places for it."""
    dsn = "postgresql://user@host/db" + place.format(CANARY)
    assert "store.dsn" in refused(GOOD, f'[store]\ndsn = "{dsn}"\n')


def test_dsn_without_password_may_stand_in_the_file(tmp_path: Path) -> None:
    """Peer authentication and password files need none."""
    path = tmp_path / "a.toml"
    path.write_text('[store]\ndsn = "postgresql://user@host/db"\n')
    assert load_settings(path, GOOD).store.dsn is not None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_secret_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """Whoever can read the key is the integration user."""
    path = secret_file(tmp_path, mode=mode)
    environ = {k: v for k, v in GOOD.items() if not k.endswith("SECRET")}
    environ["SFSYNC_SALESFORCE__CLIENT_SECRET_FILE"] = str(path)
    assert "chmod 600" in refused(environ)["salesforce.client_secret_file"]


def test_secret_file_open_to_others_is_taken_by_declared_exception(tmp_path: Path) -> None:
    """Container secrets are mounted that way, inside a file system of their own."""
    environ = {k: v for k, v in GOOD.items() if not k.endswith("SECRET")}
    environ["SFSYNC_SALESFORCE__CLIENT_SECRET_FILE"] = str(secret_file(tmp_path, mode=0o444))
    assert load_settings(None, environ | {"SFSYNC_ALLOW_SHARED_SECRETS": "1"}).salesforce.client_secret


@pytest.mark.parametrize(
    ("content", "words"), [("", "empty"), ("\n", "empty"), ("x" * 70_000, "larger"), (None, "cannot be read")]
)
def test_useless_secret_file_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    """An empty mount is a common accident."""
    path = tmp_path / "absent" if content is None else secret_file(tmp_path, content)
    environ = {k: v for k, v in GOOD.items() if not k.endswith("SECRET")}
    environ["SFSYNC_SALESFORCE__CLIENT_SECRET_FILE"] = str(path)
    faults = refused(environ)
    assert words in faults["salesforce.client_secret_file"]
    assert len(faults) == 1


def test_secret_file_of_another_user_is_refused(tmp_path: Path) -> None:
    """Its owner can change it."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    path = secret_file(tmp_path)
    os.chown(path, 12345, -1)
    environ = {k: v for k, v in GOOD.items() if not k.endswith("SECRET")}
    environ["SFSYNC_SALESFORCE__CLIENT_SECRET_FILE"] = str(path)
    assert "another user" in refused(environ)["salesforce.client_secret_file"]


def test_last_line_end_is_no_part_of_a_secret(tmp_path: Path) -> None:
    """Editors add it."""
    environ = {k: v for k, v in GOOD.items() if not k.endswith("SECRET")}
    environ["SFSYNC_SALESFORCE__CLIENT_SECRET_FILE"] = str(secret_file(tmp_path, f" {CANARY} \r\n"))
    secret = load_settings(None, environ).salesforce.client_secret
    assert secret is not None
    assert secret.get_secret_value() == f" {CANARY} "


def settings_full_of_secrets() -> Settings:
    """Every secret is set, each to its own canary."""
    environ = dict(GOOD)
    for section, keys in SECRET_KEYS.items():
        for key in keys:
            value = f"postgresql://user:{CANARY}@host/db" if key == "dsn" else f"{CANARY}-{key}"
            environ[f"SFSYNC_{section}__{key}".upper()] = value
    return load_settings(None, environ)


def test_no_spelling_of_the_settings_shows_a_secret() -> None:
    """What nobody prints on purpose ends in a log by accident."""
    settings = settings_full_of_secrets()
    spellings = [
        repr(settings),
        str(settings),
        f"{settings}",
        settings.model_dump_json(),
        str(settings.model_dump()),
    ]
    for section in (settings.salesforce, settings.store, settings.console):
        spellings += [repr(section), str(vars(section)), section.model_dump_json()]
    for spelling in spellings:
        assert CANARY not in spelling
    assert repr(settings).count("***") == sum(map(len, SECRET_KEYS.values()))


def test_secret_is_not_pickled_or_deeply_copied() -> None:
    """A pickle is a file with the secret in it."""
    settings = settings_full_of_secrets()
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(settings)


def test_settings_are_frozen() -> None:
    """What was checked at the start is what runs."""
    settings = load_settings(None, GOOD)
    with pytest.raises(ValidationError):
        settings.sync.hold_ms = 1


def test_every_text_of_the_models_that_names_a_secret_is_one() -> None:
    """A new secret must be added to the list that the file is searched for."""
    declared = {(section, key) for section, keys in SECRET_KEYS.items() for key in keys}
    typed = {(s, k) for s, k, field in all_fields() if SecretText in _types_of(field.annotation)}
    assert typed == declared
    for section, key in declared:
        assert f"{key}_file" in getattr(Settings.model_fields[section].annotation, "model_fields", {})


def _types_of(annotation: Any) -> set[Any]:
    if get_origin(annotation) is Annotated:
        return _types_of(get_args(annotation)[0])
    return {annotation}.union(*(_types_of(inner) for inner in get_args(annotation)))


# ---- console


def test_company_address_and_a_mapping_file_exclude_each_other() -> None:
    """A setting that a file silently overrides is one that somebody believes in."""
    shipping = GOOD | {"SFSYNC_MAPPING__COMPANY_ADDRESS": "shipping"}
    assert load_settings(None, shipping).mapping.company_address == "shipping"
    with pytest.raises(ConfigError, match=r"name the fields you want under \[company.address\]"):
        load_settings(None, shipping | {"SFSYNC_MAPPING__FILE": "mapping.toml"})


def test_console_beyond_loopback_needs_a_token() -> None:
    """Anybody on the network could read the details."""
    assert set(refused(GOOD | {"SFSYNC_CONSOLE__HOST": "0.0.0.0"})) == {"console.token"}
    environ = GOOD | {"SFSYNC_CONSOLE__HOST": "0.0.0.0", "SFSYNC_CONSOLE__TOKEN": "x" * 32}
    assert load_settings(None, environ).console.token


def test_short_token_is_refused() -> None:
    """It can be guessed."""
    assert "openssl" in refused(GOOD | {"SFSYNC_CONSOLE__TOKEN": "x" * 31})["console.token"]


def test_host_names_are_separated_by_commas_in_the_environment() -> None:
    """A variable holds no list."""
    settings = load_settings(None, GOOD | {"SFSYNC_CONSOLE__ALLOWED_HOSTS": "sfsync, metrics.example"})
    assert settings.console.allowed_hosts == ("sfsync", "metrics.example")
    assert ConsoleSettings(allowed_hosts=("a",)).allowed_hosts == ("a",)


# ---- credentials


@pytest.mark.parametrize(
    ("flow", "kind"),
    [
        ("jwt", JwtBearer),
        ("client_credentials", ClientCredentials),
        ("refresh_token", RefreshToken),
        ("legacy_password", LegacyPassword),
    ],
)
def test_each_flow_gives_its_credentials(flow: str, kind: type) -> None:
    """The settings name the flow; nothing is guessed from what is set."""
    environ = {f"SFSYNC_SALESFORCE__{key.upper()}": CANARY for key in NEEDED_BY_FLOW[flow]}
    environ["SFSYNC_SALESFORCE__USERNAME"] = "sfsync@acme.example"
    credentials = load_settings(None, GOOD | environ | {"SFSYNC_SALESFORCE__FLOW": flow}).credentials()
    assert type(credentials) is kind
    assert credentials.login_url == "https://acme.my.salesforce.com"
    assert CANARY not in repr(credentials)


def test_rotated_refresh_token_replaces_the_old_one_in_its_file(tmp_path: Path) -> None:
    """With rotation on, the old token is dead: using it again may void the whole grant."""
    path = secret_file(tmp_path, "old\n")
    environ = GOOD | {
        "SFSYNC_SALESFORCE__FLOW": "refresh_token",
        "SFSYNC_SALESFORCE__REFRESH_TOKEN_FILE": str(path),
    }
    credentials = load_settings(None, environ).credentials()
    assert isinstance(credentials, RefreshToken)
    assert credentials.save_rotated is not None
    credentials.save_rotated(Secret("new"))
    again = load_settings(None, environ).salesforce.refresh_token
    assert again is not None
    assert again.get_secret_value() == "new"
    assert sorted(tmp_path.iterdir()) == [path]


def test_rotated_token_that_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    """Going on with a token that only memory holds would end at the next start."""
    with pytest.raises(ConfigError, match="refresh_token_file"):
        save_secret(tmp_path / "gone" / "secret", Secret(CANARY))


# ---- the document


def all_fields() -> Iterator[tuple[str, str, FieldInfo]]:
    """Every setting: section, key, field."""
    for section, outer in Settings.model_fields.items():
        model = outer.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        for key, field in model.model_fields.items():
            yield section, key, field


UNITS = {"_ms": "ms", "_s": "s", "_s_max": "s", "_days": "days", "_events_max": "events"}


def document_row(key: str, field: FieldInfo) -> str:
    """One row of the table in docs/configuration.md."""
    default = "**required**" if field.is_required() else _spell(field.default)
    unit = next((UNITS[end] for end in sorted(UNITS, key=len, reverse=True) if key.endswith(end)), "")
    meaning = (field.description or "").replace("|", "\\|")
    return f"| `{key}` | {default} | {unit} | {meaning} |"


def _spell(default: Any) -> str:
    match default:
        case None | ():
            return ""
        case bool():
            return f"`{str(default).lower()}`"
        case str() | Path():
            return f'`"{default}"`'
        case _:
            return f"`{default}`"


def test_document_lists_every_setting_with_default_unit_and_meaning() -> None:
    """The table is the reference; it must not rot."""
    sections: dict[str, list[str]] = {}
    for part in re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        sections[title.strip("` ")] = re.findall(r"^\| `.*\|$", body, flags=re.MULTILINE)
    expected: dict[str, list[str]] = {section: [] for section in Settings.model_fields}
    for section, key, field in all_fields():
        expected[section].append(document_row(key, field))
    assert {section: sections.get(section) for section in expected} == expected
