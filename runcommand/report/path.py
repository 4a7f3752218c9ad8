"""PATH: the plain request from the client to the host, with the place where it ends."""

from __future__ import annotations

from typing import Tuple

from ..facts import Route, RouteKind, prefix_length
from ..model.errors import error_in_words
from ..model.model import Model
from ..model.words import quoted, short
from ..rules.firewall import described
from ..rules.proxy import path_words
from .blocks import Passage, Path, Step


def path(model: Model) -> Path:
    proxy = Step(path_words(model))
    stop = _stop(model)
    if stop:
        return Path(_client(model), (proxy, Step(stop, Passage.STOPPED)))
    return Path(_client(model), (proxy, Step(_firewall(model)), *_to_host(model)))


def _client(model: Model) -> str:
    lookup = model.routing.to_imds
    if lookup.source and lookup.known and not lookup.error:
        return f"client from {lookup.source}"
    return "client"


def _stop(model: Model) -> str:
    """What stops the request before it has a route; empty where nothing is known to."""
    lookup = model.routing.to_imds
    if not lookup.known:
        return ""
    if lookup.error:
        return f"no route: {error_in_words(lookup.error, model.facts.system)}"
    if model.filtering.stopped_by:
        return f"firewall: {described(model.filtering.stopped_by[0])}"
    redirected = model.filtering.to_imds and model.filtering.to_imds.redirected
    if redirected and not model.answers.imds_is_genuine and not model.answers.proof:
        return f"firewall, which redirects to {short(redirected.target or '?', 60)}"
    return ""


def _firewall(model: Model) -> str:
    filtering = model.filtering.to_imds
    if filtering is None:
        return "firewall?"
    if filtering.blocked or filtering.possible:
        return "firewall (may block)"
    return "firewall"


def _to_host(model: Model) -> Tuple[Step, ...]:
    """Where the route leads."""
    route, answer = model.routing.to_imds.route, _answer(model)
    if not model.routing.to_imds.known:
        return Step("?"), Step("host")
    if route is None:
        return (Step("host", answer),)
    if route.kind is RouteKind.LOCAL:
        return Step(f"{route.destination} on this VM"), Step("host", answer)
    next_hop = "on-link"
    if route.gateway:
        next_hop = f"via {route.gateway}"
    row = Step(f"route /{prefix_length(route.destination)} {next_hop}")
    if model.routing.leaves_by_primary_nic or model.primary_nic is None:
        return row, Step(_egress(model, route)), Step("host", answer)
    return row, Step(_egress(model, route), answer), Step("host")


def _answer(model: Model) -> Passage:
    """Whether the request comes to IMDS."""
    if model.answers.imds is None:
        return Passage.UNKNOWN
    if model.answers.imds_is_genuine:
        return Passage.PASSED
    return Passage.STOPPED


def _egress(model: Model, route: Route) -> str:
    if model.routing.egress:
        return f"{quoted(model.routing.egress.name)} {model.routing.egress.mac or ''}".strip()
    return quoted(route.interface or "?")
