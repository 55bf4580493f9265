"""Every setting: its key, default, bounds and meaning, written once.

Why: the models are the only list of settings; `docs/configuration.md` is compared with them by a test, and a unit
is part of a key's name. Models are frozen: what was checked at the start is what runs. A secret is a type of
its own, so that no repr, log line or traceback can show it by accident.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Secret, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from . import rules

if TYPE_CHECKING:
    from ..salesforce.auth import Credentials

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Days = Annotated[int, Field(ge=1, le=3650)]


class SecretText(Secret[str]):
    """A text that shows itself as `***` and refuses to be pickled; `get_secret_value()` gives it out."""

    def _display(self) -> str:
        return "***"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a secret is not pickled")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)


class SalesforceSettings(_Section):
    """How to reach the org, and as whom."""

    login_url: Annotated[str, BeforeValidator(rules.login_url)] = Field(
        description="Where to log in: your My Domain, `https://DOMAIN.my.salesforce.com` "
        "(`http` is taken for loopback only)."
    )
    flow: Literal["jwt", "client_credentials", "refresh_token", "legacy_password"] = Field(
        default="jwt",
        description="How to log in. `jwt` needs `client_id`, `username`, `private_key`; `client_credentials` needs "
        "`client_id`, `client_secret`; `refresh_token` needs `client_id`, `refresh_token`; `legacy_password` needs "
        "`client_id`, `client_secret`, `username`, `password` and is ended by Salesforce in February 2027.",
    )
    client_id: str = Field(min_length=1, description="Consumer key of the External Client App.")
    client_secret: SecretText | None = Field(
        default=None, description="Consumer secret of the External Client App."
    )
    client_secret_file: Path | None = Field(default=None, description="File that holds `client_secret`.")
    username: str | None = Field(default=None, description="The integration user.")
    private_key: SecretText | None = Field(
        default=None, description="PEM private key whose certificate the app knows."
    )
    private_key_file: Path | None = Field(default=None, description="File that holds `private_key`.")
    password: SecretText | None = Field(
        default=None, description="Password and security token, written together."
    )
    password_file: Path | None = Field(default=None, description="File that holds `password`.")
    refresh_token: SecretText | None = Field(
        default=None, description="Refresh token of the integration user."
    )
    refresh_token_file: Path | None = Field(default=None, description="File that holds `refresh_token`.")
    audience: str | None = Field(
        default=None,
        description="`aud` of the JWT; unset: `https://test.salesforce.com` for a sandbox, else `https://login.salesforce.com`.",
    )
    api_version: Annotated[str, BeforeValidator(rules.api_version)] = Field(
        default="66.0", description="Version of REST and CometD; the org must list it at `/services/data/`."
    )
    ca_file: Path | None = Field(
        default=None, description="Certificates (PEM) to trust besides the system's."
    )
    channel: Annotated[str, BeforeValidator(rules.channel)] = Field(
        default="/data/ChangeEvents",
        description="The one channel to subscribe to: `/data/ChangeEvents` or a custom one, `/data/NAME__chn`.",
    )
    api_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5,
        description="Part of the org's API calls of any 24 hours that sfsync may make; near it verify waits first, then "
        "backfill, sweep and refetch; pulls never wait.",
    )
    api_reserve: Annotated[float, Field(ge=0, le=0.4)] = Field(
        default=0.1,
        description="Part of the org's API calls that sweeps leave to other systems, whoever made the rest; "
        "refetches leave half of it, backfill 1.5 and verify 2 times as much.",
    )
    api_look_s: Seconds = Field(
        default=300,
        description="While something waits for that reserve: how often to ask, by one call, how many calls are left.",
    )
    request_timeout_s: Seconds = Field(default=120, description="Longest wait for one REST answer.")
    long_poll_s: Seconds = Field(default=110, description="How long Salesforce holds an idle CometD connect.")
    reconnect_window_s: Seconds = Field(
        default=40, description="How long Salesforce keeps a CometD session between connects."
    )


class StoreSettings(_Section):
    """The Postgres that is kept equal."""

    dsn: Annotated[SecretText, BeforeValidator(rules.dsn)] | None = Field(
        default=None,
        description="`postgresql://USER@HOST/DATABASE`; may stand in the TOML file when it has no password.",
    )
    dsn_file: Path | None = Field(default=None, description="File that holds `dsn`.")
    embedded_dir: Path = Field(
        default=Path(".sfsync/postgres"),
        description="Where the embedded server keeps its cluster; used when no `dsn` is given.",
    )
    crm_schema: Annotated[str, BeforeValidator(rules.schema_name)] = Field(
        default="crm", description="Schema that applications read."
    )
    internal_schema: Annotated[str, BeforeValidator(rules.schema_name)] = Field(
        default="sfsync", description="Schema of sfsync's own tables."
    )
    statement_timeout_s: Seconds = Field(default=60, description="Longest run of one statement.")
    lock_timeout_s: Seconds = Field(default=10, description="Longest wait for one lock.")
    change_retention_days: Days = Field(default=30, description="How long the change feed is kept.")
    dead_letter_retention_days: Days = Field(default=30, description="How long dead letters are kept.")


class SyncSettings(_Section):
    """How the work is paced."""

    sweep_interval_s: Seconds = Field(default=900, description="Time from sweep to sweep.")
    look_back_s: Annotated[float, Field(ge=0)] = Field(
        default=900,
        description="How far a sweep reads behind its watermark; longer than the longest transaction plus `settle_s`.",
    )
    settle_s: Annotated[float, Field(ge=0)] = Field(
        default=60, description="How long REST may answer older than a commit."
    )
    clock_fuzz_s: Annotated[float, Field(ge=0)] = Field(
        default=1, description="How exact Salesforce's instants are."
    )
    hold_ms: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=20, description="How long the tail of a transaction waits for its rest; 0 = not at all."
    )
    other_half_wait_s: Annotated[float, Field(ge=0)] = Field(
        default=5, description="How long a conversion or a possible merge waits for its other half."
    )
    queue_events_max: Annotated[int, Field(ge=1)] = Field(
        default=20_000, description="Events that wait to be applied, at most."
    )
    batch_events_max: Annotated[int, Field(ge=1)] = Field(
        default=5_000, description="Events of one database transaction, at most."
    )
    sweep_page: Annotated[int, Field(ge=1, le=2_000)] = Field(
        default=2_000, description="Records of one page of a sweep."
    )
    sweep_enabled: bool = Field(
        default=True, description="Whether to sweep at all; off only for tests of the stream."
    )
    starved_tip_after_s: Seconds = Field(
        default=3_600,
        description="How long a subscription may deliver nothing of what sweeps find before it is given up and begun at "
        "the tip of the stream.",
    )
    refetch_batch: Annotated[int, Field(ge=1, le=2_000)] = Field(
        default=2_000,
        description="Dirty records read by one call, at most; those that may be deleted 400 at most.",
    )
    backoff_s_max: Seconds = Field(default=60, description="Longest wait between two attempts in an outage.")
    auth_retry_s: Seconds = Field(
        default=900, description="Wait after refused credentials; short waits lock users out."
    )
    adopt: Literal["all", "on_request"] = Field(
        default="all",
        description="Who becomes a person or company: every record, or only those imported or requested, with the "
        "accounts of such contacts. Whoever has become one stays one.",
    )
    mirror: Literal["all", "adopted"] = Field(
        default="all",
        description='Which records the mirror keeps: every one, or only adopted ones (needs `adopt = "on_request"`).',
    )
    shutdown_s: Seconds = Field(default=10, description="Longest time from SIGTERM to the end.")

    @field_validator("mirror")
    @classmethod
    def _needs_adoption(cls, mirror: str, others: ValidationInfo) -> str:
        if mirror == "adopted" and others.data.get("adopt") == "all":
            raise ValueError('"adopted" needs adopt = "on_request": with "all" every record is wanted')
        return mirror


class MappingSettings(_Section):
    """Which field feeds which column."""

    file: Path | None = Field(
        default=None, description="Mapping file; unset: the mapping that ships with sfsync."
    )
    company_address: Literal["billing", "shipping"] = Field(
        default="billing",
        description="Which address of an account the shipped mapping takes for the company; "
        "a `file` names the fields itself, so both cannot be given.",
    )


class AddressSettings(_Section):
    """To which address a person is written."""

    default_side: Literal["company", "person"] = Field(
        default="company",
        description="The side that is preferred for people for whom none was chosen.",
    )


class ConsoleSettings(_Section):
    """Health, metrics and the API over HTTP."""

    enabled: bool = Field(
        default=True, description="Whether to serve `/healthz`, `/readyz`, `/metrics` and `/v1/`."
    )
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on; other than loopback needs a token.",
    )
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        default=8686, description="Port to listen on; 0 = any free one."
    )
    token: SecretText | None = Field(
        default=None,
        description="Bearer token for details, metrics and the API, which is closed without one; 32 characters or more.",
    )
    token_file: Path | None = Field(default=None, description="File that holds `token`.")
    allowed_hosts: Annotated[tuple[str, ...], BeforeValidator(rules.names)] = Field(
        default=(),
        description="Names by which clients may address us, besides `localhost` and bare addresses; in the environment separated by commas.",
    )


class LogSettings(_Section):
    """What is told on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least level that is written."
    )
    format: Literal["auto", "json", "pretty"] = Field(
        default="auto", description="`auto`: pretty on a terminal, JSON lines elsewhere."
    )

    @property
    def pretty(self) -> bool | None:
        """Whether to write for people; None = when standard error is a terminal."""
        return None if self.format == "auto" else self.format == "pretty"


class Settings(BaseSettings):
    """Everything that can be set, checked and frozen. Made by `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix="SFSYNC_",
        env_nested_delimiter="__",
        enable_decoding=False,
    )

    salesforce: SalesforceSettings
    store: StoreSettings = StoreSettings()
    sync: SyncSettings = SyncSettings()
    mapping: MappingSettings = MappingSettings()
    address: AddressSettings = AddressSettings()
    console: ConsoleSettings = ConsoleSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: Any,
        **_named: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what `load_settings` read: the process environment is no hidden second way in."""
        return (init_settings,)

    def credentials(self) -> Credentials:
        """Return what the chosen flow logs in with."""
        from .credentials import credentials  # noqa: PLC0415 - only who logs in pays for importing HTTP and TLS

        return credentials(self.salesforce)
