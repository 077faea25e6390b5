"""``nano network``, ``nano address-pool`` and ``nano policy``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from nanocore.cli.nouns import AGE, ID, NAME, NOUNS, Noun, follow, noun_group, resolve
from nanocore.cli.output import Column, field, print_item, print_items
from nanocore.cli.session import Session
from nanocore.errors import ErrorCode, NanoError

MODES = click.Choice(["nat", "isolated", "bridge"])
VERDICT = click.Choice(["accept", "drop"])
DIRECTIONS, PROTOCOLS = ("inbound", "outbound"), ("any", "tcp", "udp", "icmp")
RULE_HELP = "'DIRECTION ACTION [PROTOCOL [PORTS]] [from|to CIDR]', such as 'inbound accept tcp 22,80-90'."
NETWORK = NOUNS["network"]
INSTANCE = NOUNS["instance"]

ADDRESS_POOL = Noun(
    "address-pool",
    "/address-pools",
    "Ranges of a network's addresses that network cards get theirs from",
    (
        NAME,
        Column("NETWORK", field("network")),
        Column("RANGES", lambda item: ",".join(f"{each['first']}-{each['last']}" for each in item["ranges"])),
        Column("ADDRESSES", lambda item: f"{item['addresses_allocated']}/{item['addresses_total']}"),
        Column("RESERVED", field("addresses_reserved")),
        ID,
    ),
)
POLICY = Noun(
    "policy",
    "/security-policies",
    "Security policies: which connections network cards accept and make",
    (
        NAME,
        Column("INBOUND", field("default_inbound")),
        Column("OUTBOUND", field("default_outbound")),
        Column("RULES", lambda item: str(len(item["rules"]))),
        Column("CARDS", field("nics_attached")),
        AGE,
        ID,
    ),
)
RESERVATION_COLUMNS = (
    Column("ADDRESS", field("address")),
    Column("INSTANCE", field("instance_id")),
    Column("DESCRIPTION", field("description")),
    AGE,
)


def network_group() -> click.Group:
    """Return ``nano network``."""
    made = noun_group(NETWORK)
    made.add_command(_create_network)
    made.add_command(_update_network)
    return made


def address_pool_group() -> click.Group:
    """Return ``nano address-pool``."""
    made = noun_group(ADDRESS_POOL)
    for command in (_create_pool, _update_pool, _reservations, _reserve, _release):
        made.add_command(command)
    return made


def policy_group() -> click.Group:
    """Return ``nano policy``."""
    made = noun_group(POLICY)
    for command in (_create_policy, _update_policy, _rules, _add_rule, _remove_rule, _assign, _unassign):
        made.add_command(command)
    return made


def parse_rule(text: str) -> dict[str, str]:
    """Return a rule as the API takes it; raise ``invalid_argument`` with the form."""
    words = text.split()
    rule: dict[str, str] = {}
    if len(words) > 2 and words[-2] in ("from", "to"):  # noqa: PLR2004  direction and action come first
        rule["remote"] = words[-1]
        words = words[:-2]
    for name, allowed in (("direction", DIRECTIONS), ("action", VERDICT.choices), ("protocol", PROTOCOLS)):
        if words:
            word = words.pop(0)
            if word not in allowed:
                raise _bad_rule(text, f"{name} must be {' or '.join(allowed)}, got {word!r}")
            rule[name] = word
    if words:
        rule["ports"] = words.pop(0)
    if words or "action" not in rule:
        raise _bad_rule(text, f"the form is {RULE_HELP}")
    return rule


def show_rule(rule: Mapping[str, Any]) -> str:
    """Return a rule in the form that ``parse_rule`` takes."""
    where = "from" if rule["direction"] == "inbound" else "to"
    parts = [rule["direction"], rule["action"], rule["protocol"], rule["ports"]]
    parts += [where, rule["remote"]] if rule["remote"] else []
    return " ".join(part for part in parts if part)


def _bad_rule(text: str, why: str) -> NanoError:
    return NanoError(ErrorCode.INVALID_ARGUMENT, f"rule {text!r}: {why}", field="rule")


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None and value != ()}


def _changes(noun: Noun, options: Mapping[str, Any]) -> dict[str, Any]:
    body = _given(options)
    if not body:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, f"say what to change; see: nano {noun.name} update --help")
    return body


def _patch(session: Session, noun: Noun, reference: str, body: Mapping[str, Any]) -> None:
    path = f"{noun.path}/{resolve(session, noun, reference)}"
    print_item(session.client.request("PATCH", path, json=dict(body)), session.output)


@click.command("create", help="Make a network.")
@click.argument("name")
@click.option("--mode", type=MODES, help="How it reaches the outside [default: nat].")
@click.option("--cidr", help="IPv4 range, such as 10.20.0.0/24 [default: a free private one].")
@click.option("--ipv6-cidr", help="IPv6 range, or auto for a unique local one [default: none].")
@click.option("--interface", help="For mode bridge: the cells' device or bridge that is on the LAN.")
@click.option("--domain", help="DNS domain of the guests' names.")
@click.option("--description", help="Free text.")
@click.option("--default", "is_default", is_flag=True, default=None, help="Use it where no network is named.")
@click.pass_obj
def _create_network(session: Session, /, **options: Any) -> None:  # noqa: ANN401
    print_item(session.client.request("POST", NETWORK.path, json=_given(options)), session.output)


@click.command("update", help="Change it; ranges and interface only while no network card uses it.")
@click.argument("reference")
@click.option("--name", help="New name.")
@click.option("--cidr", help="IPv4 range.")
@click.option("--ipv6-cidr", help="IPv6 range, auto for a unique local one, or '' for none.")
@click.option("--interface", help="For mode bridge: the cells' device or bridge that is on the LAN.")
@click.option("--domain", help="DNS domain of the guests' names.")
@click.option("--description", help="Free text.")
@click.option("--default", "is_default", is_flag=True, default=None, help="Use it where no network is named.")
@click.pass_obj
def _update_network(session: Session, /, reference: str, **options: Any) -> None:  # noqa: ANN401
    _patch(session, NETWORK, reference, _changes(NETWORK, options))


@click.command("create", help="Make an address pool: new network cards get their addresses from it.")
@click.argument("name")
@click.option("--network", required=True, help="Network, by name or id.")
@click.option("--range", "ranges", multiple=True, required=True, metavar="FIRST-LAST", help="May be given repeatedly.")
@click.option("--description", help="Free text.")
@click.pass_obj
def _create_pool(session: Session, name: str, network: str, ranges: Sequence[str], description: str | None) -> None:
    body = {"name": name, "network_id": resolve(session, NETWORK, network), "ranges": _parse_ranges(ranges)}
    body |= _given({"description": description})
    print_item(session.client.request("POST", ADDRESS_POOL.path, json=body), session.output)


@click.command("update", help="Change it; the ranges that are given replace all others.")
@click.argument("reference")
@click.option("--name", help="New name.")
@click.option("--range", "ranges", multiple=True, metavar="FIRST-LAST", help="May be given repeatedly.")
@click.option("--description", help="Free text.")
@click.pass_obj
def _update_pool(
    session: Session, reference: str, name: str | None, ranges: Sequence[str], description: str | None
) -> None:
    wanted = {"name": name, "ranges": _parse_ranges(ranges) or None, "description": description}
    _patch(session, ADDRESS_POOL, reference, _changes(ADDRESS_POOL, wanted))


def _parse_ranges(ranges: Sequence[str]) -> list[dict[str, str]]:
    parsed = []
    for text in ranges:
        first, dash, last = text.partition("-")
        parsed.append({"first": first.strip(), "last": last.strip() if dash else first.strip()})
    return parsed


@click.command("reservations", help="List its reserved addresses.")
@click.argument("reference")
@click.pass_obj
def _reservations(session: Session, reference: str) -> None:
    path = f"{ADDRESS_POOL.path}/{resolve(session, ADDRESS_POOL, reference)}/reservations"
    print_items(list(session.client.items(path)), RESERVATION_COLUMNS, session.output)


@click.command("reserve", help="Keep ADDRESS, or the lowest free one: only who names it gets it.")
@click.argument("reference")
@click.argument("address", required=False)
@click.option("--description", help="Free text.")
@click.pass_obj
def _reserve(session: Session, reference: str, address: str | None, description: str | None) -> None:
    path = f"{ADDRESS_POOL.path}/{resolve(session, ADDRESS_POOL, reference)}/reservations"
    body = _given({"address": address, "description": description})
    print_item(session.client.request("POST", path, json=body), session.output)


@click.command("release", help="Release a reserved ADDRESS.")
@click.argument("reference")
@click.argument("address")
@click.pass_obj
def _release(session: Session, reference: str, address: str) -> None:
    id = resolve(session, ADDRESS_POOL, reference)
    session.client.request("DELETE", f"{ADDRESS_POOL.path}/{id}/reservations/{address}")
    click.echo(f"address {address} released", err=True)


@click.command("create", help="Make a security policy.")
@click.argument("name")
@click.option("--inbound", "default_inbound", type=VERDICT, help="What no rule is about [default: drop].")
@click.option("--outbound", "default_outbound", type=VERDICT, help="What no rule is about [default: accept].")
@click.option("--rule", "rules", multiple=True, metavar="RULE", help=RULE_HELP)
@click.option("--description", help="Free text.")
@click.pass_obj
def _create_policy(session: Session, /, rules: Sequence[str], **options: Any) -> None:  # noqa: ANN401
    body = _given(options) | {"rules": [parse_rule(text) for text in rules]}
    print_item(session.client.request("POST", POLICY.path, json=body), session.output)


@click.command("update", help="Change it, at once for running guests; rules that are given replace all others.")
@click.argument("reference")
@click.option("--name", help="New name.")
@click.option("--inbound", "default_inbound", type=VERDICT, help="What no rule is about.")
@click.option("--outbound", "default_outbound", type=VERDICT, help="What no rule is about.")
@click.option("--rule", "rules", multiple=True, metavar="RULE", help=RULE_HELP)
@click.option("--description", help="Free text.")
@click.pass_obj
def _update_policy(session: Session, /, reference: str, rules: Sequence[str], **options: Any) -> None:  # noqa: ANN401
    wanted = options | {"rules": [parse_rule(text) for text in rules] or None}
    _patch(session, POLICY, reference, _changes(POLICY, wanted))


@click.command("rules", help="List its rules with their numbers.")
@click.argument("reference")
@click.pass_obj
def _rules(session: Session, reference: str) -> None:
    rules = session.client.get(f"{POLICY.path}/{resolve(session, POLICY, reference)}")["rules"]
    columns = (
        Column("NUMBER", field("number")),
        Column("RULE", show_rule),
        Column("DESCRIPTION", field("description")),
    )
    print_items([rule | {"number": number} for number, rule in enumerate(rules, start=1)], columns, session.output)


@click.command("add-rule", help="Add a RULE at the end, or before the one with a number.")
@click.argument("reference")
@click.argument("rule")
@click.option("--before", type=click.IntRange(min=1), help="Number of a rule, see: nano policy rules.")
@click.option("--description", help="Free text.")
@click.pass_obj
def _add_rule(session: Session, reference: str, rule: str, before: int | None, description: str | None) -> None:
    id = resolve(session, POLICY, reference)
    rules = session.client.get(f"{POLICY.path}/{id}")["rules"]
    rules.insert(len(rules) if before is None else before - 1, parse_rule(rule) | _given({"description": description}))
    _patch(session, POLICY, id, {"rules": rules})


@click.command("remove-rule", help="Remove the rule with NUMBER.")
@click.argument("reference")
@click.argument("number", type=click.IntRange(min=1))
@click.pass_obj
def _remove_rule(session: Session, reference: str, number: int) -> None:
    id = resolve(session, POLICY, reference)
    rules = session.client.get(f"{POLICY.path}/{id}")["rules"]
    if number > len(rules):
        raise NanoError(ErrorCode.INVALID_ARGUMENT, f"policy {reference} has {len(rules)} rules, not {number}")
    del rules[number - 1]
    _patch(session, POLICY, id, {"rules": rules})


@click.command("assign", help="Give it to the network cards of INSTANCE, at once if that runs.")
@click.argument("reference")
@click.argument("instance")
@click.option("--nic", help="Only the network card with this id or MAC.")
@click.pass_obj
def _assign(session: Session, reference: str, instance: str, nic: str | None) -> None:
    _set_policy(session, instance, nic, resolve(session, POLICY, reference))


@click.command("unassign", help="Leave the network cards of INSTANCE without a policy: everything may pass.")
@click.argument("instance")
@click.option("--nic", help="Only the network card with this id or MAC.")
@click.pass_obj
def _unassign(session: Session, instance: str, nic: str | None) -> None:
    _set_policy(session, instance, nic, None)


def _set_policy(session: Session, instance: str, nic: str | None, policy_id: str | None) -> None:
    id = resolve(session, INSTANCE, instance)
    cards = [
        each
        for each in session.client.get(f"/instances/{id}")["nics"]
        if nic is None or nic in (each["id"], each["mac"])
    ]
    if not cards:
        what = "no network card" if nic is None else f"no network card {nic}"
        raise NanoError(ErrorCode.NOT_FOUND, f"instance {instance} has {what}; see: nano instance get {instance}")
    for card in cards:
        path = f"/instances/{id}/nics/{card['id']}"
        changed = session.client.request("PATCH", path, json={"security_policy_id": policy_id})
        if follow(session, changed) is not None:
            click.echo(f"network card {card['mac']} of {instance} changed", err=True)
