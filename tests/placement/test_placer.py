"""The placer: who is refused, who wins, and what the decision says of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanocore.capabilities.placement import Candidate, PlacementFilter, PlacementRequest
from nanocore.ids import InstanceId, NodeId
from nanocore.model.compute_pool import Usage
from nanoplugins.placement.config import PlacementConfig
from nanoplugins.placement.filters import all_filters
from nanoplugins.placement.placer import WeightedPlacer
from nanoplugins.placement.weighers import all_weighers

GIB = 1024**3


def candidate(name: str, **changes: object) -> Candidate:
    usage = {"cores": 4, "memory_bytes": 8 * GIB, "disk_bytes": 100 * GIB} | {
        key: changes.pop(key) for key in list(changes) if key in Usage.__struct_fields__
    }
    facts = {"zone": "default", "is_reachable": True, "is_enabled": True, "instances": 0} | changes
    return Candidate(node_id=NodeId(name), name=name, usage=Usage(**usage), **facts)  # type: ignore[arg-type]


def request(**changes: object) -> PlacementRequest:
    facts = {"vcpus": 1, "memory_bytes": GIB, "disk_bytes": GIB} | changes
    return PlacementRequest(instance_id=InstanceId("i"), **facts)  # type: ignore[arg-type]


def placer(*more: PlacementFilter) -> WeightedPlacer:
    filters = [*all_filters(PlacementConfig()), *more]
    return WeightedPlacer(lambda: filters, all_weighers)


def test_least_loaded_cell_wins_and_the_reason_names_it() -> None:
    decision = placer().decide(
        request(), [candidate("a", memory_allocated_bytes=6 * GIB, vcpus_allocated=6), candidate("b")]
    )
    assert decision.node_id == "b"
    assert decision.reason.startswith("b rates best of 2 cells")
    assert [score.name for score in decision.scores] == ["b", "a"]


def test_a_cell_without_what_is_needed_is_refused() -> None:
    cells = [candidate("a", lacks={"has_uefi": "install ovmf"}, memory_bytes=100 * GIB), candidate("b")]
    decision = placer().decide(request(needs=["has_uefi"]), cells)
    assert decision.node_id == "b"
    assert [(refusal.filter, refusal.reason) for refusal in decision.refusals] == [
        ("abilities", "the cell lacks has_uefi: install ovmf")
    ]
    assert placer().decide(request(), cells).node_id == "a"


@pytest.mark.parametrize(
    ("changes", "by", "words"),
    [
        ({"is_reachable": False}, "reachable", "unreachable"),
        ({"cores": 0}, "reachable", "not reported"),
        ({"is_enabled": False}, "enabled", "disabled"),
        ({"vcpus_allocated": 32}, "cpu", "33 vCPUs would be promised, the limit is 32"),
        ({"memory_allocated_bytes": 8 * GIB}, "memory", "9216 MiB of memory would be promised, the limit is 8192 MiB"),
        ({"disk_used_bytes": 99 * GIB}, "disk", "must stay free"),
    ],
)
def test_each_refusal_names_filter_and_reason(changes: dict[str, object], by: str, words: str) -> None:
    decision = placer().decide(request(), [candidate("a", **changes)])
    assert decision.node_id is None
    assert [refusal.filter for refusal in decision.refusals] == [by]
    assert words in decision.refusals[0].reason
    assert words in decision.reason


def test_the_wanted_cell_is_taken_or_nobody() -> None:
    cells = [candidate("a"), candidate("b", is_enabled=False)]
    assert placer().decide(request(node_id="a"), cells).node_id == "a"
    refused = placer().decide(request(node_id="b"), cells)
    assert refused.node_id is None
    assert "b: the cell is disabled" in refused.reason


def test_an_empty_pool_says_what_to_do() -> None:
    assert "add-cell" in placer().decide(request(), []).reason


def test_cached_image_decides_between_equals() -> None:
    cells = [candidate("a"), candidate("b", cached_images=["img"])]
    assert placer().decide(request(image_id="img"), cells).node_id == "b"


def test_other_plugins_filters_count() -> None:
    only_b = PlacementFilter("only_b", lambda _request, cell: None if cell.name == "b" else "not b")
    assert placer(only_b).decide(request(), [candidate("a"), candidate("b")]).node_id == "b"


@given(st.permutations(["a", "b", "c", "d"]), st.integers(1, 4))
def test_order_of_candidates_never_matters(order: list[str], vcpus: int) -> None:
    load = {"a": 3, "b": 1, "c": 1, "d": 9}
    cells = [candidate(name, vcpus_allocated=load[name]) for name in order]
    assert placer().decide(request(vcpus=vcpus), cells).node_id == "b"


@given(st.lists(st.tuples(st.integers(0, 16), st.integers(0, 8)), max_size=6))
def test_every_candidate_is_scored_or_refused_once(loads: list[tuple[int, int]]) -> None:
    cells = [
        candidate(f"n{index}", vcpus_allocated=vcpus * 3, memory_allocated_bytes=gib * GIB)
        for index, (vcpus, gib) in enumerate(loads)
    ]
    decision = placer().decide(request(), cells)
    named = [entry.node_id for entry in (*decision.scores, *decision.refusals)]
    assert sorted(named) == sorted(cell.node_id for cell in cells)
    assert all(0 <= score.total <= 2.75 for score in decision.scores)
