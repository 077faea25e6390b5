"""Filters first, then the best total of weighted points; every step of it ends up in the decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nanocore.capabilities.placement import (
    Candidate,
    Decision,
    PlacementFilter,
    PlacementRequest,
    PlacementWeigher,
    Refusal,
    Score,
)


class WeightedPlacer:
    """The placer ``weighted``. Filters and weighers come from all plugins, so they are asked for at each decision."""

    name = "weighted"

    def __init__(
        self,
        filters: Callable[[], Sequence[PlacementFilter]],
        weighers: Callable[[], Sequence[PlacementWeigher]],
    ) -> None:
        self._filters = filters
        self._weighers = weighers

    def decide(self, request: PlacementRequest, candidates: list[Candidate]) -> Decision:
        """Choose the candidate with most points; the lower node id wins a draw."""
        refusals: list[Refusal] = []
        scores: list[Score] = []
        for candidate in candidates:
            refusal = self._refuse(request, candidate)
            if refusal is None:
                scores.append(self._score(request, candidate))
            else:
                refusals.append(refusal)
        scores.sort(key=lambda score: (-score.total, score.node_id))
        if not scores:
            return Decision(node_id=None, reason=_why_nobody(refusals), refusals=refusals)
        return Decision(node_id=scores[0].node_id, reason=_why(scores), scores=scores, refusals=refusals)

    def _refuse(self, request: PlacementRequest, candidate: Candidate) -> Refusal | None:
        for check in self._filters():
            reason = check.refuse(request, candidate)
            if reason is not None:
                return Refusal(node_id=candidate.node_id, name=candidate.name, filter=check.name, reason=reason)
        return None

    def _score(self, request: PlacementRequest, candidate: Candidate) -> Score:
        points = {
            weigher.name: round(weigher.weigh(request, candidate) * weigher.weight, 4) for weigher in self._weighers()
        }
        return Score(
            node_id=candidate.node_id, name=candidate.name, total=round(sum(points.values()), 4), by_weigher=points
        )


def _why(scores: list[Score]) -> str:
    best = scores[0]
    if len(scores) == 1:
        return f"{best.name} is the only cell that fits"
    second = scores[1]
    gains = {name: value - second.by_weigher.get(name, 0.0) for name, value in best.by_weigher.items()}
    decisive = max(gains, key=lambda name: gains[name])
    if gains[decisive] <= 0:
        return f"{best.name} and {second.name} fit equally well"
    return f"{best.name} rates best of {len(scores)} cells that fit ({best.total:.2f}), above all by {decisive}"


def _why_nobody(refusals: list[Refusal]) -> str:
    if not refusals:
        return "the compute pool has no cells; add one with: nano compute-pool add-cell"
    told = [refusal for refusal in refusals if refusal.filter != "wanted"] or refusals
    return "no cell fits: " + "; ".join(f"{refusal.name}: {refusal.reason}" for refusal in told[:5])
