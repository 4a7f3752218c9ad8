"""The tries that the PowerShell script made, read as if they were made here.

A try is a record of texts; what is empty is not known::

    key         imds, versions, attested, identity (the plain requests), trial (the differential),
                wire, plugin (the WireServer's ports), or "proxy HOST:PORT", "wireproxy HOST:PORT"
    address, port, source that the socket was bound to, local address that it had
    code        0: connected, -1: no answer in time, -2: another error, else Winsock's number
    seconds     of the connect
    target      that was asked for; what follows is there only where a request was sent
    ended       how the answer ended: whole, closed, timeout, endless, or Winsock's number
    seconds     of request and answer
    time        UTC, when the answer had been read
    head        the status line and some headers; empty where no whole head came
    size        bytes of the body, or of what came where no head did
    body        what may leave the VM: of JSON, some keys

In ConstrainedLanguage mode curl.exe makes the tries; a code is then also ``curl`` and curl's words
for the error of a socket, or its exit code.

A further record, ``document``, has the attested document: the nonce, the document in hexadecimal
digits, and the thumbprints of the certificates that zeros stand for in it, because there is no room
for others than the signer's.
"""

from __future__ import annotations

import base64
import errno
import http.client
import io
import os
from dataclasses import replace
from typing import Any, FrozenSet, List, Optional, Sequence, Tuple

from ..attest import document as attested_data
from ..attest.cms import NO_SIGNER
from ..collect import Board, NoFact
from ..collect.board import DOCUMENT
from ..collect.system import System
from ..facts import (
    IMDS_ADDRESS,
    WIRESERVER_ADDRESS,
    AttestedDocument,
    Certificate,
    CertificateChain,
    Connection,
    EndpointTrial,
    Exchange,
    Imds,
    Instant,
    Outcome,
    PacFile,
    Proxy,
    ProxyTrial,
    SignatureState,
    Trial,
    WireServer,
    if_valid,
    is_from_imds,
    parse_address,
    parse_instant,
)
from ..facts.untrusted import decimal
from ..frozen import dataclass
from ..network import CONNECT_S, error_text, outcome_of
from ..winsock import is_of_a_name, posix_code
from . import certificates, http as http_protocol, imds as imds_protocol, wireserver
from .http import Answer
from .proxy import PROXIES, wanted_of

Record = Tuple[str, ...]
FIELDS = 14
NO_ROOM = "the script's output had no room for the document"
NOT_HERE = "the script sends the document on standard error, which is not in what was decoded"
NOT_KEPT = "the signer's certificate was not among those that the script brought"
LONGEST_S = 86_400.0
# curl's words for errors of Winsock (lib/strerror.c).
CURL_WORDS = {
    "refused": errno.ECONNREFUSED,
    "bad access": errno.EACCES,
    "network": errno.ENETUNREACH,
    "host": errno.EHOSTUNREACH,
    "timed out": errno.ETIMEDOUT,
    "not available": errno.EADDRNOTAVAIL,
}
ANSWERED, NO_ANSWER = "0", "-1"
CURL = "curl "
WHOLE, CLOSED, TIMEOUT, ENDLESS = "whole", "closed", "timeout", "endless"
ANNOUNCED = ("content-length:", "transfer-encoding:")
NOT_FETCHED = "the script fetches nothing from other hosts: run imds-check.exe"


@dataclass(frozen=True)
class Try:
    """One connect, and the request over it where there was one."""

    key: str
    connection: Connection
    code: str
    target: str = ""
    answer: Optional[Answer] = None
    seconds: float = 0.0
    size: int = 0

    def exchange(self) -> Tuple[Exchange, Optional[Any]]:
        """The fact of a request to IMDS, and the body where it is JSON."""
        if self.answer is None:
            connection = self.connection
            path = self.target or imds_protocol.INSTANCE
            return Exchange(
                path, connection, connection.outcome, elapsed_s=connection.elapsed_s
            ), None
        made, document = imds_protocol.exchange_of(self.target, self.connection, self.answer)
        return replace(
            made,
            body_bytes=self.size,
            elapsed_s=round(self.connection.elapsed_s + self.seconds, 4),
            allowed_s=http_protocol.EXCHANGE_S,
        ), document

    def of_wireserver(self) -> Exchange:
        """The fact of a request for the WireServer's versions."""
        connection = self.connection
        if self.answer is None:
            return Exchange(
                wireserver.VERSIONS, connection, connection.outcome, elapsed_s=connection.elapsed_s
            )
        elapsed = round(connection.elapsed_s + self.seconds, 4)
        return replace(
            wireserver.exchange_of(connection, self.answer, elapsed), body_bytes=self.size
        )


class Tries:
    """The tries of one run, in order.

    :param documents: the records of attested documents
    :param signer: of the attested document, where that itself was not brought
    :param no_room: how many documents there was no room for
    :param missing: why nothing is known where there is no try
    """

    def __init__(
        self,
        records: Sequence[Record],
        documents: Sequence[Record],
        signer: Optional[Certificate],
        no_room: int,
        missing: Optional[str],
    ) -> None:
        self._signer = signer
        read = [_try_if_readable(record) for record in records]
        self._tries = [item for item in read if item]
        self._unreadable = len(read) - len(self._tries)
        self._documents = documents
        self._no_room = no_room
        self._missing = missing or "the script made no such try"

    def of(self, key: str) -> List[Try]:
        return [item for item in self._tries if item.key == key]

    def last(self, key: str) -> Optional[Try]:
        return next(reversed(self.of(key)), None)

    # --- the facts ---

    def imds(self, board: Board) -> Imds:
        """The plain requests."""
        if self._unreadable:
            board.note("imds", f"{self._unreadable} tries of the script cannot be read")
        attempts = self.of("imds")
        if not attempts:
            raise NoFact(self._missing)
        version = attempts[-1].target.partition("api-version=")[2].partition("&")[0]
        asked = [item for item in self._tries if item.key in ("imds", "versions", "attested")]
        found = Imds(
            tuple(item.exchange()[0] for item in attempts),
            version or imds_protocol.API_VERSIONS[0],
            requests=sum(item.answer is not None for item in asked),
        )
        versions, attested, identity = map(self.last, ("versions", "attested", "identity"))
        if versions:
            found = replace(found, versions=versions.exchange()[0])
        if attested:
            found = self._with_document(found, attested, board)
        if identity:
            exchange, answer = identity.exchange()
            present = imds_protocol.is_identity(exchange, answer)
            found = replace(
                found,
                identity=exchange,
                identity_present=present,
                requests=found.requests + (identity.answer is not None),
            )
        return found

    def _with_document(self, found: Imds, attested: Try, board: Board) -> Imds:
        exchange, answer = attested.exchange()
        is_attested = exchange.status == 200 and imds_protocol.is_attested(answer)
        found = replace(found, attested=exchange, attested_document=is_attested)
        if not is_attested or not answer:
            return found
        for nonce, digits, *blank in self._of_this_run(attested):
            message = base64.b64encode(bytes.fromhex(digits)).decode("ascii")
            read = attested_data.read(answer["encoding"], message, nonce)
            board.post(DOCUMENT, read.certificates)
            return replace(found, document=_without_zeros(read.document, len(blank)))
        reason = NOT_HERE
        if self._no_room:
            reason = NO_ROOM
        document = AttestedDocument(
            SignatureState.UNVERIFIABLE,
            reason,
            signer=self._signer,
            # neither is known
            asked_nonce="",
            nonce="",
        )
        return replace(found, document=document)

    def _of_this_run(self, attested: Try) -> List[Record]:
        """The documents that answer the request; another run's has another nonce."""
        nonce = attested.target.partition("nonce=")[2]
        return [record for record in self._documents if record[0] == nonce]

    @property
    def embedded(self) -> FrozenSet[str]:
        """The thumbprints of the certificates in the document that zeros stand for."""
        return frozenset(name for record in self._documents for name in record[2:])

    def wireserver(self, board: Board) -> WireServer:
        web, plugin = self.last("wire"), self.last("plugin")
        if web is None or plugin is None:
            raise NoFact(self._missing)
        return WireServer(web.of_wireserver(), plugin.connection)

    def differential(self, board: Board) -> Optional[Tuple[Trial, ...]]:
        plain: Optional[Imds] = board.wait("imds")
        if plain and is_from_imds(plain.attempts[-1]):
            return None
        trials: List[Trial] = []
        for item in self.of("trial"):
            exchange = None
            if item.answer is not None:
                exchange = item.exchange()[0]
            trials.append(Trial(item.connection, exchange))
        return tuple(trials)

    def proxy_trials(self, board: Board) -> Tuple[ProxyTrial, ...]:
        settings: Optional[Sequence[Proxy]] = board.wait("proxies")
        if settings is None:
            raise NoFact("the proxy settings are not known")
        wanted = wanted_of(settings)
        trials: List[ProxyTrial] = []
        for count, (server, addresses) in enumerate(wanted.items()):
            if "://" in server:
                scheme = server.partition(":")[0]
                error = f"not tried: {scheme} is not asked in plain HTTP"
                trials.append(ProxyTrial(server, error=error))
            elif count >= PROXIES:
                trials.append(ProxyTrial(server, error=f"not tried: {PROXIES} others were"))
            else:
                trials.append(self._through(server, addresses))
        return tuple(trials)

    def _through(self, server: str, addresses: Sequence[str]) -> ProxyTrial:
        web, wire = self.last(f"proxy {server}"), self.last(f"wireproxy {server}")
        known = web or wire
        if known is None:
            return ProxyTrial(server, error=f"not tried: {self._missing}")
        if known.code not in (ANSWERED, NO_ANSWER) and is_of_a_name(decimal(known.code)):
            error = f"the name {server.rpartition(':')[0]}: it has no address"
            return ProxyTrial(server, error=error, is_nowhere=True)
        found = ProxyTrial(server)
        if web and IMDS_ADDRESS in addresses:
            found = replace(found, imds=web.exchange()[0])
        if wire and WIRESERVER_ADDRESS in addresses:
            found = replace(found, wireserver=wire.of_wireserver())
        return found


def _without_zeros(document: AttestedDocument, blank: int) -> AttestedDocument:
    """The fact of a document in which zeros stand for some certificates.

    It is not kept: nobody else could read it.
    """
    if not blank:
        return document
    document = replace(document, pkcs7="", pkcs7_length=0, embedded=document.embedded + blank)
    if document.reason == NO_SIGNER:
        return replace(document, signature=SignatureState.UNVERIFIABLE, reason=NOT_KEPT)
    return document


def pac_files(board: Board) -> Tuple[PacFile, ...]:
    settings: Optional[Sequence[Proxy]] = board.wait("proxies")
    if settings is None:
        raise NoFact("the proxy settings are not known")
    if any(proxy.pac_url for proxy in settings):
        raise NoFact(NOT_FETCHED)
    return ()


def certificate_chains(
    system: System, embedded: FrozenSet[str], at: Instant, board: Board
) -> Optional[Tuple[CertificateChain, ...]]:
    """The chains that Windows built on the VM: from what was at hand and, where that was not
    trusted, by its own fetching.

    :param embedded: thumbprints of further certificates in the document
    :param at: the VM's time, where the host's is not known
    """
    imds: Optional[Imds] = board.wait("imds")
    if imds is None:
        raise NoFact("IMDS's answer is not known")
    if not certificates.could_be_right(imds.document):
        return None
    found: Sequence[bytes] = board.wait(DOCUMENT, 0.0) or ()
    when = certificates.time_to_judge_by(imds, at)
    first = system.judge_chain(found, when, False, 0.0)
    chains = [first]
    if first.trusted is False and certificates.lacking(first):
        try:
            chains.append(system.judge_chain(found, when, True, 0.0))
        except NoFact as missing:
            board.note("certificate_chains", f"fetching: {missing}")
    return tuple(
        certificates.in_document(certificates.placed(chain, found), embedded) for chain in chains
    )


def endpoints(board: Board) -> Optional[Tuple[EndpointTrial, ...]]:
    chains: Optional[Sequence[CertificateChain]] = board.wait("certificate_chains")
    if not chains or chains[-1].trusted or not certificates.lacking(chains[0]):
        return None
    raise NoFact(NOT_FETCHED)


# --- one try ---


def _try_if_readable(record: Record) -> Optional[Try]:
    """A try; None where an address or a number in its record is none."""
    try:
        return read_try(record)
    except ValueError:
        return None


def read_try(record: Record) -> Try:
    """Raises ``ValueError`` where an address or a number is none."""
    key, address, port, source, local, code, seconds, *sent = record + ("",) * FIELDS
    outcome, error = _ended(code)
    connection = Connection(
        parse_address(address),
        decimal(port),
        outcome,
        if_valid(parse_address, source),
        None,
        if_valid(parse_address, local),
        error,
        seconds_of(seconds),
        CONNECT_S,
    )
    target, ended, took, at, head, size, body = sent[:7]
    if not ended:
        return Try(key, connection, code, target)
    answer = answer_of(head, body, ended, decimal(size or "0"))
    if if_valid(parse_instant, at):
        answer = replace(answer, read_at=Instant(at))
    return Try(key, connection, code, target, answer, seconds_of(took), decimal(size or "0"))


def seconds_of(text: str) -> float:
    """A duration of less than a day. Raises ``ValueError``."""
    found = float(text)
    if not 0 <= found < LONGEST_S:
        raise ValueError("no duration")
    return found


def _ended(code: str) -> Tuple[Outcome, Optional[str]]:
    """The outcome of a connect, and the error in words."""
    if code == ANSWERED:
        return Outcome.ANSWERED, None
    if code == NO_ANSWER:
        return Outcome.TIMED_OUT, None
    failure = _failure(code)
    return outcome_of(failure), error_text(failure)


def _failure(code: str) -> OSError:
    if code.startswith(CURL):
        words = code[len(CURL) :].lower()
        for word, known in CURL_WORDS.items():
            if word in words:
                return OSError(known, os.strerror(known))
        return OSError("another error than one of a socket")
    number = posix_code(decimal(code))
    if not 0 <= number < 2**31:
        return OSError("another error than one of a socket")
    return OSError(number, os.strerror(number))


def answer_of(head: str, body: str, ended: str, size: int) -> Answer:
    """What came over a connection, as ``probes.http`` would have read it."""
    if not head:
        return _without_head(ended, size)
    lines = head.split("\r\n")
    is_announced = any(line.lower().startswith(ANNOUNCED) for line in lines)
    # what was kept of the body has another length
    kept = [line for line in lines if not line.lower().startswith(ANNOUNCED)]
    text = "\r\n".join([*kept, "", body])
    try:
        answer = http_protocol.read(_Recorded(text.encode("latin-1", "replace")))
    except (OSError, http.client.HTTPException, ValueError) as failure:
        return Answer(Outcome.GARBLED, f"no HTTP head ({type(failure).__name__})")
    is_cut = ended not in (WHOLE, TIMEOUT, ENDLESS) and (is_announced or ended != CLOSED)
    is_complete = ended == WHOLE or (ended == CLOSED and not is_announced)
    return replace(answer, read_at=None, complete=is_complete, cut=is_cut)


def _without_head(ended: str, size: int) -> Answer:
    if size:
        return Answer(Outcome.GARBLED, f"no HTTP head in {size} bytes")
    if ended in (CLOSED, WHOLE):
        return Answer(Outcome.RESET, "the connection was closed without an answer")
    if ended in (TIMEOUT, ENDLESS):
        return Answer(Outcome.TIMED_OUT, "no answer to the request")
    failure = _failure(ended)
    return Answer(outcome_of(failure), error_text(failure))


class _Recorded:
    """A stream that has everything already."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._content)
