"""Facts for tests of the rules: the catalogue's two VMs, with what their probes found."""

from __future__ import annotations

from dataclasses import replace

from runcommand.facts import (
    IMDS_ADDRESS,
    WIRESERVER_ADDRESS,
    Body,
    Connection,
    Exchange,
    Facts,
    Imds,
    Outcome,
    Trial,
    WireServer,
)
from runcommand.probes.imds import read_instance
from runcommand.simulator.host import instance_document
from runcommand.simulator.scenarios import LINUX_VM, WINDOWS_VM, linux, windows

NOW = "2026-11-23T01:44:05Z"
PATH = "/metadata/instance?api-version=2025-04-07"


def connection(outcome=Outcome.ANSWERED, source=None, port=80, address=IMDS_ADDRESS, **more):
    return Connection(
        address,
        port,
        outcome,
        local_address=source,
        elapsed_s=3.0 if outcome is Outcome.TIMED_OUT else 0.004,
        **more,
    )


def no_answer(source, outcome=Outcome.TIMED_OUT, **more):
    made = connection(outcome, source, **more)
    return Exchange(PATH, made, outcome, elapsed_s=made.elapsed_s)


def http(source, status, body=Body.JSON, **more):
    return Exchange(
        PATH,
        connection(source=source),
        Outcome.HTTP,
        status,
        body=body,
        date=NOW,
        read_at=NOW,
        elapsed_s=0.004,
        **more,
    )


def metadata(source, vm, **more):
    return http(source, 200, instance=read_instance(instance_document(vm)), **more)


def wireserver(source, outcome=Outcome.ANSWERED, plugin=None):
    web = connection(outcome, source, address=WIRESERVER_ADDRESS)
    answered = outcome is Outcome.ANSWERED
    exchange = Exchange(
        "/?comp=versions",
        web,
        Outcome.HTTP if answered else outcome,
        200 if answered else None,
        versions=("2012-11-30",) if answered else (),
    )
    return WireServer(exchange, connection(plugin or outcome, source, 32526, WIRESERVER_ADDRESS))


def imds(exchange, **more):
    found = Imds((exchange,), "2025-04-07", requests=1)
    if exchange.instance:
        found = replace(
            found,
            attested=http(exchange.connection.local_address, 200),
            attested_document=True,
            identity_present=True,
        )
    return replace(found, **more)


class Side:
    """One of the two VMs: its facts, its primary and its other address."""

    def __init__(self, system):
        self.system = system
        self.make = windows if system == "windows" else linux
        self.vm = WINDOWS_VM if system == "windows" else LINUX_VM
        self.ip, self.other = self.vm.nics[0].addresses[0], self.vm.nics[1].addresses[0]

    def healthy(self, **more) -> Facts:
        facts = self.make(**more)
        return replace(facts, imds=imds(metadata(self.ip, self.vm)), wireserver=wireserver(self.ip))

    def dark(self, sent_from=None, outcome=Outcome.TIMED_OUT, proof=True, **more) -> Facts:
        """The plain request fails; the differential proves the primary address, or nothing."""
        facts = self.make(**more)
        trials = [Trial(connection(Outcome.TIMED_OUT, self.other), None)]
        if proof:
            trials.insert(0, Trial(connection(source=self.ip), metadata(self.ip, self.vm)))
        return replace(
            facts,
            imds=imds(no_answer(sent_from or self.ip, outcome)),
            wireserver=wireserver(self.ip),
            differential=tuple(trials),
        )

    def silent(self, **more) -> Facts:
        """Neither IMDS nor the WireServer answers any address."""
        return replace(
            self.dark(proof=False, **more), wireserver=wireserver(self.ip, Outcome.TIMED_OUT)
        )

    def answers(self, exchange, **more) -> Facts:
        facts = self.make(**more)
        return replace(
            facts, imds=imds(exchange), wireserver=wireserver(self.ip), differential=None
        )


WINDOWS, LINUX = Side("windows"), Side("linux")
BOTH = (WINDOWS, LINUX)
