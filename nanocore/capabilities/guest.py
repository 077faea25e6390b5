"""What is inside a guest: how its first boot is told what to be, what it says of itself, and what can be asked of it.

Everything that comes from a guest is a stranger's word: typed, bounded, and never acted upon.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from nanocore.contracts.operation import Operation
from nanocore.ids import InstanceId, StepKey
from nanocore.model.instance import CloudInit, GuestFacts, Readiness
from nanocore.wire import Command, Event, Meta, Query, Result, Struct, field

MAX_USER_DATA_BYTES = 64 * 1024
UserName = Annotated[
    str, Meta(description="Name of a user in the guest", pattern="^[a-z_][a-z0-9_-]{0,31}$", max_length=32)
]


class UserDataKind(StrEnum):
    """What cloud-init takes user-data for, by its first line."""

    CLOUD_CONFIG = "cloud-config"
    SCRIPT = "script"
    MULTIPART = "multipart"
    INCLUDE = "include"
    BOOTHOOK = "boothook"
    JINJA = "jinja"
    ARCHIVE = "cloud-config-archive"


class UserDataInfo(Result, frozen=True, kw_only=True):
    """What was found in user-data."""

    kind: UserDataKind


class FindUserData(Query[UserDataInfo], frozen=True, kw_only=True):
    """On the core, by ``compute``: what cloud-init would make of ``user_data``.

    ``invalid_argument`` with field ``cloud_init.user_data`` for what it would ignore or fail on.
    """

    op: ClassVar[str] = "guest.find_user_data"

    user_data: str


class SeedNic(Struct, frozen=True, kw_only=True):
    """A network card in the guest's first-boot settings. IPv4 comes by DHCP, from the cell or the LAN.

    ``addresses`` are IPv6 addresses with their prefix lengths; ``gateway`` is theirs.
    """

    mac: str
    addresses: list[str] = field(default_factory=list)
    gateway: str | None = None


class EnsureSeed(Command[None], frozen=True, kw_only=True):
    """Core to cell, before the guest is defined: have its first-boot settings as a file there."""

    op: ClassVar[str] = "guest.ensure_seed"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: InstanceId
    name: str
    cloud_init: CloudInit
    nics: list[SeedNic] = field(default_factory=list)


class DeleteSeed(Command[None], frozen=True, kw_only=True):
    """Core to cell: remove the first-boot settings; absent is fine."""

    op: ClassVar[str] = "guest.delete_seed"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: InstanceId


class SeedPaths(Result, frozen=True, kw_only=True):
    """Where a guest's first-boot settings are, and where it may speak to this cell; ``None`` without any."""

    seed_path: str | None = None
    signal_path: str | None = None


class FindSeed(Query[SeedPaths], frozen=True, kw_only=True):
    """On a cell, by ``agent``: what ``GuestSpec`` is to be given."""

    op: ClassVar[str] = "guest.find_seed"

    id: InstanceId


class SeedList(Result, frozen=True, kw_only=True):
    """Instances with first-boot settings on a cell."""

    ids: list[InstanceId]


class ListSeeds(Query[SeedList], frozen=True, kw_only=True):
    """On a cell, for the inventory."""

    op: ClassVar[str] = "guest.list_seeds"


class GuestReported(Event, frozen=True, kw_only=True):
    """Cell to core: what a guest says of itself has changed; both ``None`` once it does not run."""

    op: ClassVar[str] = "guest.reported"

    id: InstanceId
    ready: Readiness | None = None
    facts: GuestFacts | None = None


class StageState(StrEnum):
    """How far a stage of the first boot is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Stage(Result, frozen=True, kw_only=True):
    """One stage of the first boot, with what went wrong in it, in the guest's words."""

    name: str
    state: StageState
    errors: list[str] = field(default_factory=list)
    seconds: float | None = None
    """How long it took."""


class Guest(Result, frozen=True, kw_only=True):
    """Everything that is known of the inside of an instance."""

    id: InstanceId
    ready: Readiness = field(default_factory=Readiness)
    facts: GuestFacts = field(default_factory=GuestFacts)
    stages: list[Stage] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """What cloud-init grumbled about without failing."""
    source: str | None = None
    """Who told: ``agent``, or ``seed`` where the first-boot settings make the guest speak; ``None``: nobody."""


class GetGuestTools(Query[Guest], frozen=True, kw_only=True):
    """Core to cell: what is known of one guest."""

    op: ClassVar[str] = "guest.get_guest_tools"

    id: InstanceId


class GetInstanceGuest(Query[Guest], frozen=True, kw_only=True):
    """What is known of the inside of an instance: readiness, stages of the first boot, facts told by its agent."""

    op: ClassVar[str] = "guest.get_instance_guest"
    permission: ClassVar[str | None] = "instance.read"

    id: InstanceId


class ChangeGuest(Command[None], frozen=True, kw_only=True):
    """Core to cell: have the guest's agent set what is given. The password comes as its crypt(3) hash."""

    op: ClassVar[str] = "guest.change_guest"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: InstanceId
    username: str | None = None
    password_hash: str | None = None
    hostname: str | None = None


class ChangeGuestPassword(Command[Operation], frozen=True, kw_only=True):
    """Set a user's password in the running guest, by its agent. Only the hash of it goes further than the core."""

    op: ClassVar[str] = "guest.change_guest_password"
    permission: ClassVar[str | None] = "instance.update"

    id: InstanceId
    username: UserName = "root"
    password: Annotated[str, Meta(description="The new password", min_length=1, max_length=256)]
    idempotency_key: str | None = None


class ChangeGuestHostname(Command[Operation], frozen=True, kw_only=True):
    """Set the host name in the running guest, by its agent."""

    op: ClassVar[str] = "guest.change_guest_hostname"
    permission: ClassVar[str | None] = "instance.update"

    id: InstanceId
    hostname: Annotated[
        str,
        Meta(
            description="Host name, with or without domain",
            pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$",
            max_length=253,
        ),
    ]
    idempotency_key: str | None = None


class FreezeInstance(Command[Operation], frozen=True, kw_only=True):
    """Have the guest hold all writing to its file systems, for at most ``seconds``, then they thaw by themselves."""

    op: ClassVar[str] = "guest.freeze_instance"
    permission: ClassVar[str | None] = "instance.update"

    id: InstanceId
    seconds: Annotated[float, Meta(description="Thaw by itself after this time", ge=1, le=600)] = 60
    idempotency_key: str | None = None


class ThawInstance(Command[Operation], frozen=True, kw_only=True):
    """Let the guest write to its file systems again."""

    op: ClassVar[str] = "guest.thaw_instance"
    permission: ClassVar[str | None] = "instance.update"

    id: InstanceId
    idempotency_key: str | None = None


class AgentAnswer(Result, frozen=True, kw_only=True):
    """What a guest's agent answered, as JSON text: a stranger's word."""

    text: str


class FindAgentAnswer(Query[AgentAnswer], frozen=True, kw_only=True):
    """On a cell, by itself: ask a guest's agent. ``arguments`` is JSON text."""

    op: ClassVar[str] = "hypervisor.find_agent_answer"
    timeout_seconds: ClassVar[float] = 40

    id: InstanceId
    execute: str
    arguments: str = "{}"
    seconds: float = 10
