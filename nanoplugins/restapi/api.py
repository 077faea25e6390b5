"""What every request handler is given: the parts that requests share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanocore.contracts.plugin import PluginContext
from nanoplugins.restapi.config import RestapiConfig
from nanoplugins.restapi.core_link import CoreLink
from nanoplugins.restapi.idempotency import KeptAnswers
from nanoplugins.restapi.identities import Identities
from nanoplugins.restapi.metrics import Counters

if TYPE_CHECKING:
    from nanoplugins.restapi.feed import Feed
    from nanoplugins.restapi.health import Health
    from nanoplugins.restapi.tickets import Tickets


@dataclass(kw_only=True)
class Api:
    """Composed by the service."""

    context: PluginContext
    config: RestapiConfig
    core: CoreLink
    identities: Identities
    kept_answers: KeptAnswers
    counters: Counters
    feed: Feed
    tickets: Tickets
    health: Health
    topics: dict[str, str]
    """Nouns that events are about, with the permission that reading them takes."""
    is_certificate_real: bool = False
    documents: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """Paths of generated documents (OpenAPI, reference) with content type and body."""
