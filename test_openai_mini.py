"""Tests of openai_mini, in the order of its rooms, on a POSIX system: python -m pytest"""

# fmt: off: tables and calls are laid out by hand

from __future__ import annotations

import ast
import atexit
import base64
import codecs
import collections
import concurrent.futures
import contextlib
import copy
import dataclasses
import dis
import enum
import functools
import gc
import importlib.util
import inspect
import io
import itertools
import json
import logging
import math
import multiprocessing
import os
import pathlib
import pickle
import random
import re
import selectors
import shelve
import shutil
import signal
import socket
import ssl
import stat
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import traceback
import tracemalloc
import types
import typing
import warnings
import weakref
import zipapp
import zlib
from collections import namedtuple
from contextlib import suppress
from functools import partial
from subprocess import DEVNULL, PIPE
from threading import Event
from typing import List, Optional
from urllib.parse import parse_qs, parse_qsl

import hypothesis
import hypothesis.strategies as st
import pytest
import requests

import openai_mini

from openai_mini import (  # isort: skip
    DEFAULT_MODELS, HIGH, LOW, NORMAL, NOT_GIVEN, APIConnectionError, APIError, APIResponseError,
    APIStatusError, APITimeoutError, AuthenticationError, AzureOpenAI, BadRequestError,
    CircuitBreaker, CircuitOpenError, InternalServerError, OpenAIError, OpenAIMini, QueueFullError,
    QueueTimeoutError, RateLimitError, RequestQueue, Result, Stream, StreamInterruptedError,
    ValidationError, iter_sse,
)

cases = pytest.mark.parametrize
MODULE = pathlib.Path(openai_mini.__file__).resolve()

# ------------ Helpers
#
# No network code is mocked: a loopback server plays a script.

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it

hypothesis.settings.register_profile("suite", deadline=None, database=None, max_examples=100)
hypothesis.settings.load_profile("suite")


class FakeClock:
    """A clock that moves only when told, as by `clock.sleep(s)`, which `sleeps` notes."""

    def __init__(self, now: float = 1000.0):
        self.now, self.sleeps = now, []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.advance(seconds)


# What servers answer

CHAT = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1764000000, "model": "gpt-5.4-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello", "refusal": None},
                 "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}


def chunk(delta: dict, finish=None) -> dict:
    """One chunk of a streamed chat completion."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    start = {name: CHAT[name] for name in ("id", "created", "model")}
    return dict(start, object="chat.completion.chunk", choices=[choice])


def chunks(*texts: str, finish="stop", usage=None) -> list:
    made = [chunk({"content": text}) for text in texts]
    made[:1] = [chunk({"role": "assistant", "content": text}) for text in texts[:1]]
    made += [chunk({}, finish)] if finish is not None else []
    return made + ([dict(chunk({}), choices=[], usage=usage)] if usage is not None else [])


def one(delta, finish=None, **more) -> dict:
    """A chunk with one choice; what is in `more` stands beside its delta."""
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, **more}]}


END = one({}, "stop")


def said(finish=None, **delta) -> dict:
    return one({"role": "assistant", "content": "", **delta}, finish)


def text(words, finish=None, **more) -> dict:
    return one({"content": words}, finish, **more)


def sse_bytes(item) -> bytes:
    """Bytes as they are, ("name", item) as a named event, else data, of a str or as JSON."""
    if isinstance(item, bytes):
        return item
    if isinstance(item, tuple):
        return b"event: " + item[0].encode() + b"\n" + sse_bytes(item[1])
    return b"data: " + (item if isinstance(item, str) else json.dumps(item)).encode() + b"\n\n"


class Answer:
    """One scripted HTTP answer. It has no state, so one may be given many times."""

    # The body: a value, bytes or str, events (see `sse_bytes`; `done` adds `[DONE]`), or a list of
    # bytes (or a function that returns an iterator). Each piece, or with drip=n each n bytes, goes
    # out by itself, with `pause` seconds between.
    json, body, sse, pieces, done, drip, pause = ..., None, None, None, True, None, 0
    framing = None  # "length", "chunked" (the default for `sse`), "close", "http10"
    gzip = False  # True, "deflate", "rawdeflate"; flushed after each piece
    headers, content_type = (), None  # a dict or pairs, which replace computed ones
    early = b""  # of a 1xx answer, sent first
    raw = None  # these bytes, or a list of them, and no more
    # An Event to wait for at first, or with hold_after=n when the head and n pieces are out.
    wait = hold_after = None
    cut = reset = None  # end, or reset, after n bytes of the body (without its framing) or of `raw`
    close = False  # with `Connection: close`; without it closes what cannot go on

    def __init__(self, status: int = 200, **options):
        assert all(name in vars(Answer) for name in options), options
        vars(self).update(options, status=status)
        if isinstance(self.headers, dict):
            self.headers = self.headers.items()
        self.framing = self.framing or ("length" if self.sse is None else "chunked")
        self.coding = "gzip" if self.gzip is True else self.gzip
        self.limit = self.cut if self.reset is None else self.reset
        broken = self.raw is not None or self.limit is not None
        self.closes = self.close or broken or self.framing in ("close", "http10")

    def wire(self, bodiless: bool = False, closing: bool = False):
        """What goes over the socket, the head first, and whether the body is an iterator."""
        if self.raw is not None:
            raw = [self.raw] if isinstance(self.raw, bytes) else self.raw
            return list(_framed(raw, False, self.limit)), False
        if bodiless or self.status in (204, 304):
            return [self._head(None, closing)], False
        chunked, payloads = self.framing == "chunked", _coded(self._payloads(), self.coding)
        if callable(self.pieces):
            frames = _framed(payloads, chunked, self.limit)
            return itertools.chain([self._head(None, closing)], frames), True
        payloads = list(payloads)
        frames = list(_framed(payloads, chunked, self.limit))
        end_is_held = self.hold_after == len(frames) - 1
        if chunked and self.limit is None and len(frames) > 1 and not end_is_held:
            frames[-2:] = [frames[-2] + frames[-1]]
        head = self._head(sum(map(len, payloads)), closing)
        if self.sse is None and self.pieces is None and not self.drip and self.hold_after is None:
            return [head + b"".join(frames)], False
        return [head, *frames], False

    def _payloads(self):
        if self.sse is not None:
            pieces = [sse_bytes(item) for item in self.sse] + [b"data: [DONE]\n\n"] * self.done
        elif self.pieces is not None:
            pieces = self.pieces() if callable(self.pieces) else self.pieces
        else:
            body = self.body or b"" if self.json is ... else json.dumps(self.json)
            pieces = [body.encode() if isinstance(body, str) else body]
        if not self.drip:
            return pieces
        whole = b"".join(pieces)
        return [whole[i : i + self.drip] for i in range(0, len(whole), self.drip)]

    def _head(self, length, closing: bool) -> bytes:
        kind = "application/octet-stream" if self.json is ... else "application/json"
        kind = "text/plain; charset=utf-8" if isinstance(self.body, str) else kind
        kind = kind if self.sse is None else "text/event-stream; charset=utf-8"
        kind = kind if self.content_type is None else self.content_type
        computed = {"content-type": kind} if kind else {}
        if self.coding:
            computed["content-encoding"] = self.coding.replace("raw", "")
        if self.framing == "chunked" and self.status not in (204, 304):
            computed["transfer-encoding"] = "chunked"
        elif self.framing == "length" and length is not None:
            computed["content-length"] = str(length)
        if self.close or self.framing == "close" or (closing and not self.closes):
            computed["connection"] = "close"
        for name, _ in self.headers:
            computed.pop(name.lower(), None)
        lines = ["HTTP/1.%d %d Whatever" % (self.framing != "http10", self.status)]
        lines += ["%s: %s" % pair for pair in [*computed.items(), *self.headers]]
        return "\r\n".join(lines + ["", ""]).encode("latin-1")


def _coded(payloads, coding):
    if not coding:
        yield from payloads
        return
    packer = zlib.compressobj(wbits={"gzip": 31, "deflate": 15, "rawdeflate": -15}[coding])
    for payload in payloads:
        yield packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


def _framed(payloads, chunked: bool, limit):
    for payload in payloads:
        if limit is not None and limit <= 0:
            return
        part = payload[:limit]
        limit = None if limit is None else limit - len(part)
        if chunked and payload:
            part = b"%x\r\n" % len(payload) + part + b"\r\n" * (len(part) == len(payload))
        if part:
            yield part
    if chunked and limit is None:
        yield b"0\r\n\r\n"


HELLO, NEVER = Answer(json=CHAT), Event()


def usual(request: Request) -> Answer:
    """The answer to a chat, streamed or not; else an empty list."""
    if not request.path.endswith("/chat/completions"):
        return Answer(json={"object": "list", "data": []})
    return Answer(sse=chunks("hel", "lo")) if request.json.get("stream") else HELLO


# What servers are asked

Part = namedtuple("Part", "name filename content_type body")


class Request:
    """One request as it came. `query` has a list where a name is repeated; `headers` has lower-case
    names; `length` is the body's; `connection` counts from 1."""

    def __init__(self, raw_head: bytes, connection: int):
        self.raw_head, self.connection, self.body, self.length = raw_head, connection, b"", 0
        first, *lines = raw_head.decode("latin-1").split("\r\n")
        self.method, self.target, self.version = first.split(" ", 2)
        self.headers: dict = {}
        for name, _, value in (line.partition(":") for line in lines[:-2]):
            before = self.headers.get(name.lower())
            self.headers[name.lower()] = (before + ", " if before else "") + value.strip()
        target = re.sub(r"^\w+://[^/?]*", "", self.target)
        self.path, _, query = target.partition("?")
        found = parse_qs(query, keep_blank_values=True)
        self.query = {name: many if many[1:] else many[0] for name, many in found.items()}

    json = property(lambda self: json.loads(self.body))
    # The head of each part of a multipart body, well-formed to its last byte, as bytes.
    part_heads = property(lambda self: [head for head, _ in self._split_parts()])

    @property
    def parts(self) -> list:
        """The `Part`s of a multipart body; names as they stand in quotes."""
        found = []
        for head, body in self._split_parts():
            lines = [line.partition(":") for line in head.decode("utf-8").split("\r\n")]
            fields = {key.lower(): value.strip() for key, _, value in lines}
            names = dict(re.findall(r';\s*(\w+)="([^"]*)"', fields["content-disposition"]))
            kind = fields.get("content-type")
            found.append(Part(names.get("name"), names.get("filename"), kind, body))
        return found

    def _split_parts(self) -> list:
        kind = self.headers["content-type"]
        match = re.match(r'multipart/form-data; *boundary="?([^";]+)"?$', kind)
        assert match, kind
        line = b"\r\n--" + match.group(1).encode()
        first, *parts, last = (b"\r\n" + self.body).split(line)
        assert first == b"" and last in (b"--", b"--\r\n")
        assert all(part.startswith(b"\r\n") for part in parts)
        return [tuple(part[2:].split(b"\r\n\r\n", 1)) for part in parts]


# Servers


def _has_hung_up(sock) -> bool:
    try:
        return not socket.socket.recv(sock, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError as error:
        return not isinstance(error, BlockingIOError)


def _read_head(reader) -> bytes:
    lines = []
    for line in reader:
        lines.append(line)
        if line in (b"\r\n", b"\n"):
            return b"".join(lines)
    raise ConnectionError("in a head")


def _read_body(reader, headers: dict):
    chunked = headers.get("transfer-encoding", "").lower() == "chunked"
    size = -1 if chunked else int(headers.get("content-length", 0))
    while size:
        if chunked:
            size = int(reader.readline().partition(b";")[0] or b"-1", 16)
        todo = size
        while todo:
            piece = reader.read(min(todo, 1 << 16)) if todo > 0 else b""
            if not piece:
                raise ConnectionError("in the middle of a body")
            todo -= len(piece)
            yield piece
        while chunked and reader.readline() not in (b"\r\n", b"\n", b""):
            pass
        size = size if chunked else 0


def loopback_thread(target, *args) -> threading.Thread:
    """A thread that nothing_left_over() does not count."""
    name = "loopback-" + target.__name__
    return threading.Thread(target=target, args=args, name=name, daemon=True)


class Listener:
    """A socket on 127.0.0.1; for each connection a thread does `serve(number, sock)`."""

    open_connections = property(lambda self: len(self._open))

    def __init__(self, tls: bool = False):
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        if tls:
            self.tls.load_cert_chain(*certificate())
        self.connections = self.hung_up = 0
        self._failures: list = []  # tracebacks
        self._changed = threading.Condition()  # guards what is counted
        self._closing = Event()
        self._open: dict = {}  # number -> socket
        self._threads: set = set()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listening.getsockname()[1]
        self.origin = "http%s://127.0.0.1:%d" % ("s" * tls, self.port)
        self.url = self.origin + "/v1"
        self._acceptor = loopback_thread(self._accept)
        self._acceptor.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()
        assert not self._failures, "\n".join(self._failures)

    def close(self) -> None:
        if self._closing.is_set():
            return
        self._closing.set()
        with suppress(OSError):  # wakes accept()
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._acceptor.join(10)
        self._listening.close()
        self.drop_connections()
        for thread in list(self._threads):
            thread.join(10)
            assert not thread.is_alive(), "a thread hangs"

    def drop_connections(self) -> None:
        with self._changed:
            for sock in self._open.values():
                with suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def wait_for(self, condition, timeout: float = 10) -> bool:
        """Wait until `condition()` of what is counted is true; it must become so."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout), "not in %s s" % timeout
        return True

    def wait_closed(self, number: int = 1, timeout: float = 10) -> bool:
        return self.wait_for(lambda: self.hung_up >= number, timeout)

    def _accept(self) -> None:
        while True:
            sock, _ = self._listening.accept()
            if self._closing.is_set():
                return sock.close()
            with suppress(OSError):  # gone already
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                sock = self.tls.wrap_socket(sock, True, do_handshake_on_connect=False)
            with self._changed:
                self.connections += 1
                self._open[self.connections] = sock
                thread = loopback_thread(self._run, self.connections, sock)
                self._threads.add(thread)
                self._changed.notify_all()
            thread.start()

    def _run(self, number: int, sock) -> None:
        gone = False
        try:
            if self.tls:
                sock.do_handshake()
            self.serve(number, sock)
        except OSError:
            gone = not self._closing.is_set()
        except Exception:
            self._failures.append(traceback.format_exc())
        finally:
            with self._changed:
                with suppress(OSError):
                    # A child forked meanwhile has this socket too: only this tells the client.
                    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER):
                        socket.socket.shutdown(sock, socket.SHUT_RDWR)
                sock.close()
                del self._open[number]
                self.hung_up += gone
                self._threads.discard(threading.current_thread())
                self._changed.notify_all()


class LoopbackServer(Listener):
    """An HTTP server that plays a script: `server.script(Answer(429), Answer(json=CHAT))`,
    or of one answer `server.script(json=CHAT)`.

    An entry of the script, and `default`, which answers when it is empty, may be a function of the
    request. `in_flight` counts from the last byte of a request to the last segment of its answer.
    `keep_bodies = False` keeps only their length.
    """

    in_flight = property(lambda self: len(self._in_flight))
    count = property(lambda self: len(self.requests))
    first = property(lambda self: self.requests[0])
    last = property(lambda self: self.requests[-1])

    def __init__(self, tls: bool = False):
        self.requests, self.default, self._answers = [], usual, []
        self.keep_bodies, self.max_in_flight = True, 0
        self._in_flight: set = set()  # numbers of connections
        self.cert_path = certificate()[0] if tls else None
        super().__init__(tls)

    def script(self, *answers, **how) -> None:
        self._answers += [*answers, Answer(**how)] if how else answers

    def wait_requests(self, number: int = 1) -> bool:
        return self.wait_for(lambda: len(self.requests) >= number)

    def serve(self, number: int, sock) -> None:
        with sock.makefile("rb", 1 << 16) as reader:
            while self._serve_one(number, sock, reader):
                pass

    def _serve_one(self, number: int, sock, reader) -> bool:
        """Whether the connection stays open."""
        request = Request(_read_head(reader), number)
        kept = []
        for piece in _read_body(reader, request.headers):
            request.length += len(piece)
            kept += [piece] if self.keep_bodies else []
        request.body = b"".join(kept)
        with self._changed:
            self.requests.append(request)
            answer = self._answers.pop(0) if self._answers else self.default
            self._in_flight.add(number)
            self.max_in_flight = max(self.max_in_flight, len(self._in_flight))
            self._changed.notify_all()
        closing = request.headers.get("connection") == "close"
        try:
            answer = answer if isinstance(answer, Answer) else answer(request)
            self._send(sock, answer, number, *answer.wire(request.method == "HEAD", closing))
        finally:
            self._answered(number)
        if answer.reset is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif self.tls and answer.cut is None and answer.closes:
            sock.settimeout(0)
            with suppress(OSError, ValueError):
                sock.unwrap()
        return not (answer.closes or closing)

    def _answered(self, number: int) -> None:
        with self._changed:
            self._in_flight.discard(number)
            self._changed.notify_all()

    def _send(self, sock, answer: Answer, number: int, segments, lazy: bool) -> None:
        sock.sendall(answer.early)
        hold_after = -1 if answer.hold_after is None else answer.hold_after
        for sent, segment in enumerate(itertools.chain([b""], segments), -1):  # 0 is the head
            if sent > 1 and answer.pause:
                self._hold(sock, Event(), answer.pause)
            if not lazy and sent == len(segments) - 1:
                # Not after the last bytes: who has them may be back with the next request.
                self._answered(number)
            sock.sendall(segment)
            if answer.wait is not None and sent == hold_after:
                self._hold(sock, answer.wait)

    def _hold(self, sock, event, seconds: float = 3600) -> None:
        end = time.monotonic() + seconds
        while not event.wait(min(seconds, 0.01)) and time.monotonic() < end:
            if self._closing.is_set() or _has_hung_up(sock):
                raise ConnectionError("while an answer was held back")


class Proxy(Listener):
    """A forward proxy; `asked` is the `Request`s it got. All goes to `to`, a server of ours,
    whatever address was asked for: nothing leaves the machine."""

    def __init__(self, to: LoopbackServer):
        self.asked, self._to = [], ("127.0.0.1", to.port)
        super().__init__()
        self.url = "http://127.0.0.1:%d" % self.port

    def serve(self, number: int, sock) -> None:
        sock.settimeout(30)
        with sock.makefile("rb", 0) as reader:
            request = Request(_read_head(reader), number)
        self.asked.append(request)
        with socket.create_connection(self._to, timeout=30) as onward:
            if request.method == "CONNECT":
                sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                head = re.sub(rb"(?i)\r\n(proxy-[^:]*|connection):[^\r]*", b"", request.raw_head)
                onward.sendall(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            with suppress(OSError):
                _relay(sock, onward)


def _relay(client, server) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ)
        selector.register(server, selectors.EVENT_READ)
        while True:
            pending = getattr(client, "pending", int)()  # which no selector sees
            for source in [client] if pending else [key.fileobj for key, _ in selector.select()]:
                piece = source.recv(1 << 16)
                if piece:
                    (server if source is client else client).sendall(piece)
                elif source is server:
                    return
                else:
                    selector.unregister(client)
                    server.shutdown(socket.SHUT_WR)


@functools.lru_cache(maxsize=None)
def certificate() -> tuple:
    folder = tempfile.mkdtemp(prefix="loopback-tls-")
    atexit.register(shutil.rmtree, folder)
    wish, cert, key = (os.path.join(folder, name) for name in ("wish.cnf", "cert", "key"))
    pathlib.Path(wish).write_text(
        "[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n[dn]\nCN=localhost\n"
        "[ext]\nsubjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=critical,CA:TRUE\n"
        "subjectKeyIdentifier=hash\nkeyUsage=critical,digitalSignature,keyCertSign\n"
    )
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -config".split()
    subprocess.run([*make, wish, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


# Threads, and what must not be left of them


def together(number: int, work, timeout: float = 60) -> list:
    """Run `work(i)` in threads that start as one; what each returned or raised."""
    barrier, results = threading.Barrier(number), [None] * number

    def run(i: int) -> None:
        barrier.wait(timeout)
        try:
            results[i] = work(i)
        except BaseException as error:  # a result like others
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(number)]
    for thread in threads:
        thread.start()
    eventually(lambda: not any(map(threading.Thread.is_alive, threads)), timeout)
    return results


def eventually(condition, timeout: float = 10) -> bool:
    """Wait until `condition()` is true; it must become so."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "not in %s s" % timeout
        time.sleep(0.002)
    return True


def pickled(thing, protocol=None):
    return pickle.loads(pickle.dumps(thing, protocol))


def slots_of(client) -> int:
    """How many calls are running."""
    return client.stats()["queue"]["running"]


def is_idle(client) -> bool:
    return client.stats()["queue"] == {"running": 0, "waiting": 0}


@contextlib.contextmanager
def without_gc():
    """For what takes no garbage collector."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def nothing_left_over():
    """What is done in here leaves no thread but servers' and no open descriptor, after a moment."""

    def living() -> set:
        found = {thread for thread in threading.enumerate() if "loopback-" not in thread.name}
        for path in pathlib.Path("/proc/self/fd").glob("*"):  # where the system tells
            with suppress(OSError):
                found.add((path, os.readlink(path)))
        return found

    before = living()
    yield
    gc.collect()
    eventually(lambda: living() <= before)


# Fixtures


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    found = "(?i)(AZURE_)?OPENAI_.*|(HTTPS?|ALL|NO)_PROXY|(REQUESTS_CA|CURL_CA)_BUNDLE|SSL_CERT_.*"
    for name in list(os.environ):
        if re.fullmatch(found, name):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=sys.version_info < (3, 9))
def no_collection_in_deep_json(request):
    """Python 3.8 ends ("Cannot recover from stack overflow") where Python code runs at its limit
    of recursion, as a finalizer or hypothesis's gc callback does in JSON of 1,000 levels."""
    deep = re.search("deep|objects|nested", request.node.name)
    (gc.disable if deep else int)()
    yield
    gc.enable()


@pytest.fixture
def server():
    with LoopbackServer() as server:
        yield server


@pytest.fixture
def tls_server():
    with LoopbackServer(tls=True) as server:
        yield server


@pytest.fixture
def client(server):
    options = {"initial_retry_delay": 0.001, "timeout": (5, 10)}
    with OpenAIMini("sk-test", base_url=server.url, **options) as client:
        yield client


# ------------ Server-sent events
#
# The rules are those of https://html.spec.whatwg.org/multipage/server-sent-events.html, "Parsing
# an event stream" and "Interpreting an event stream".

BOM = b"\xef\xbb\xbf"

# (bytes of the stream, the events: data alone, or (data, event, id, retry) as far as it is set)
SSE_CASES = [
    (b"\n\n\r\r\r\n\r\n: hi\n\nfoo: bar\n\n",), (BOM + b"\n\n",),
    # The ends of lines and of events
    (b"data: a\n\ndata: b\r\n\r\ndata: c\r\r", *"abc"),
    (b"data: a\n\rdata: b\r\r\ndata: c\r\n\ndata: d\r\n\rdata: e\n\r\ndata: f\n\n", *"abcdef"),
    (b"\n\n\ndata: a\ndata: b\r\ndata: c\rdata: d\r\n\n\n\n\ndata: e\n\n", "a\nb\nc\nd", "e"),
    (b"data: a\x0bdata\x0c\x1c\x1d\x1e\x1f\xc2\x85data: b\xe2\x80\xa8\xe2\x80\xa9\n\n",
     "a\x0bdata\x0c\x1c\x1d\x1e\x1f\x85data: b\u2028\u2029"),
    # The end of the stream: what has no blank line behind it is dropped
    (b"data: a\r",), (b"data: a\r\n",), (b"data: a\n\ndata: b\ndata: c", "a"),
    (b"data: a\n\ndata: \xe2\x82", "a"),
    # The byte order mark: one, at the start of the stream
    (BOM + b"data: a\n\ndata:" + BOM + b"\n\n", "a", "\ufeff"), (BOM + b"\ndata: a\n\n", "a"),
    *((start + b"data: a\n\ndata: b\n\n", "b") for start in (BOM + BOM, b"\n" + BOM, BOM[:2])),
    # The colon and the space
    (b"data:a\n\ndata:  a \n\ndata:\ta\n\n", "a", " a ", "\ta"),
    (b"data : a\n data: a\n\tdata: a\ndata: b\n\ndata: a\n \ndata: b\n\t\n\n", "b", "a\nb"),
    # data
    (b"data:\n\ndata\n\ndata\ndata\n\ndata: a\ndata\ndata: c\ndata:\n\n", "", "", "\n", "a\n\nc\n"),
    (b"data: a\0b\n\ndata: [DONE]\n\n", "a\0b", "[DONE]"),
    # Names of fields, and comments
    (b"Data: a\nDATA: b\ndatas: a\nda-ta: b\ndat: a\nd: b\ndata_x\ndata: c\n\n", "c"),
    (b"{\"data\": \"a\"}\n\n:\n:data: a\n: data: b\n::data: c\ndata: d\n:\n\n", "d"),
    # event
    (b"event: add\ndata: a\n\ndata: a\nevent:add\n\nevent:  add \ndata: a\n\n",
     ("a", "add"), ("a", "add"), ("a", " add ")),
    (b"event: a\nevent: b\ndata: x\n\nevent: a\nevent:\ndata: y\n\nevent: a\nevent\ndata: z\n\n",
     ("x", "b"), "y", "z"),
    (b"event: a\n\ndata: x\n\nevent: a\ndata:\n\ndata: x\n\n", "x", ("", "a"), "x"),
    (b"event: \xc3\xa9\0\xff\n: hi\ndata: x\ndata: y\n\nevent: a\ndata: x\nevent: b\n\n",
     ("x\ny", "\xe9\0\ufffd"), ("x", "b")),
    # id, which persists
    (b"event: a\nid: 7\ndata: x\n\ndata: y\n\nid: 1\ndata: z\nid:  2 \n\n",
     ("x", "a", "7"), ("y", "", "7"), ("z", "", " 2 ")),
    (b"id: 1\n\ndata: a\n\nid:\ndata: b\n\nid: 1\n\nid\ndata: c\n\n", ("a", "", "1"), "b", "c"),
    (b"id: 1\nid: 2\0\ndata: a\n\nid: \xe2\x82\xac\xff\ndata: a\n\n",
     ("a", "", "1"), ("a", "", "\u20ac\ufffd")),
    # retry; no digits but ASCII's count, whatever int() takes
    (b"retry\ndata: a\n\nretry: 5\n\ndata: b\n\n", "a", "b"),
    (b"retry: 5\nretry: 6\nretry: x\ndata: a\n\ndata: b\n\n", ("a", "", "", 6), "b"),
    (b"Retry: 4\nID: 1\nEvent: e\nretry:00\ndata: a\n\n", ("a", "", "", 0)),
    (b"".join(b"data: a\nretry:" + value + b"\n\n" for value in (
        b"", b"  5", b"5 ", b"+5", b"1_000", b"1.0", b"ten", b"5\xd9\xa5", b"\xc2\xb2")), *"a" * 9),
    # UTF-8
    (b"data: a\xffb\x80\xe2\x82c\xf0\x9f\x98\x80\xf0\x9f\x98\xc3\xa9\r\n\r\n",
     "a\ufffdb\ufffd\ufffdc\U0001f600\ufffd\xe9"),
    (b"data: \xc0\x8a\xed\xa0\x80\n\ndata: \xe2\ndata: \xf0\r\r", "\ufffd" * 5, "\ufffd\n\ufffd"),
]


def sse_read(pieces, **limits) -> list:
    events = iter_sse(pieces, **limits)
    return [(event.data, event.event, event.id, event.retry) for event in events]


def sse_cut(stream: bytes, size: int) -> list:
    return [stream[i : i + size] for i in range(0, len(stream), size)]


def sse_model(stream: bytes) -> list:
    """The standard, taken literally: decode it all, cut it into lines, take one after another."""
    text = stream.decode("utf-8", "replace")
    lines = re.split("\r\n|\r|\n", text[1:] if text[:1] == "\ufeff" else text)
    events: list = []
    event, data, last_id, retry = "", "", "", None
    for line in lines[:-1]:
        name, _, value = line.partition(":")
        value = value[1:] if value[:1] == " " else value
        if not line:
            if data:
                events.append((data[:-1], event or "message", last_id, retry))
            event, data, retry = "", "", None
        elif name == "data":
            data += value + "\n"
        elif name == "event":
            event = value
        elif name == "id" and "\0" not in value:
            last_id = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            retry = int(value)
    return events


@cases("case", SSE_CASES, ids=lambda case: ascii(case[0])[:60])
def test_a_stream_is_read_by_the_standard_wherever_it_is_cut(case):
    stream, *items = case
    items = [item if isinstance(item, tuple) else (item,) for item in items]
    full = [item + ("", "", "", None)[len(item) :] for item in items]
    expected = [(data, event or "message", id, retry) for data, event, id, retry in full]
    assert sse_model(stream) == expected == sse_read([stream]) == sse_read({stream: 1})
    for i in range(len(stream) + 1):
        assert sse_read([stream[:i], b"", stream[i:]]) == expected, "cut at %d" % i
    for size in (1, 5, 1000):
        assert sse_read(map(bytearray, sse_cut(stream, size))) == expected


def sse_no_further(*pieces):
    """Pieces for a parser that must not ask for more."""
    yield from pieces
    raise EOFError


@cases("ends", ["\n|\n", "\n|\r", "\r\n|\n", "\r\n|\r", "\r|\r", "\r|\n\n"])
def test_an_event_is_yielded_as_soon_as_its_blank_line_has_come(ends):
    end, last = ends.encode().split(b"|")
    for name in (b"", b"event: a" + end):
        stream = b"data: 0" + end * 2 + b"id: 1" + end + name + b"data: a" + end + last
        for pieces in ([stream], sse_cut(stream, 1)):
            events = iter_sse(sse_no_further(*pieces))
            first, second = itertools.islice(events, 2)
            assert (first.data, second.data, second.id) == ("0", "a", "1")
            assert second.event == ("a" if name else "message")
            client_error(lambda: next(events), EOFError)
            assert list(events) == []


# Limits


@cases("limit", [20, 1000, 70000])
def test_an_event_of_exactly_the_limit_passes_and_one_over_it_does_not(limit):
    for head, end in ((b"data:", b"\n"), (b"id: 1\rdata: ", b"\r"), (b"event: e\ndata: ", b"\r\n")):
        fits = head + b"x" * (limit - len(head + end * 2)) + end * 2
        for size in (limit // 40 + 7, limit, 100000):
            assert len(sse_read(sse_cut(fits, size) * 3, max_event_bytes=limit)) == 3
            for text in (b"x" * (limit + 1), b"\xc3\xa9" * (limit // 2 + 1)):
                pieces = sse_cut(b"data: 1\n\n" + head + text + end * 2, size)
                events = iter_sse(pieces, max_event_bytes=limit)
                assert next(events).data == "1"
                client_error(lambda: next(events), APIResponseError, str(limit))


@cases("size", [1, 5000])
@cases("start, again", [
    (b"data: ", b"x" * 100), (b"", b"data\n"), (b"", b"data: " + b"x" * 100 + b"\r"),
    (b"data: 1\n\nid: ", b"x" * 100), (b"foo: ", b"x" * 100),
])
def test_an_event_over_the_limit_is_refused_and_not_read_to_its_end(start, again, size):
    pieces = sse_cut(start + again * (200_000 // len(again)), size)
    events = iter_sse(sse_no_further(*pieces), max_event_bytes=10_000)
    with pytest.raises(APIResponseError):
        assert [event.data for event in itertools.islice(events, 1)] == ["1"]
        next(events)
    assert list(events) == []


def test_the_default_limit_is_16_mib():
    pieces = [b"data: " + b"x" * (9 << 20), b"x" * ((7 << 20) - 8), b"\n\n"]
    assert len(sse_read(pieces)) == 1
    client_error(lambda: sse_read([b"data: 1", *pieces]), APIResponseError, str(16 << 20))


@cases("start, again", [
    (b"data: a\n", b": " + b"x" * 97 + b"\n"), (b"", b"id: " + b"x" * 94 + b"\n\n"),
    (b"", b"foo" * 30 + b"\n\n"), (b"", b": ping\r\n\r\n"), (b"", b":\n\n"),
])
def test_what_makes_no_event_takes_no_memory_and_is_within_any_limit(start, again):
    pieces = itertools.chain([start], itertools.repeat(again * (10_000 // len(again)), 100))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with suppress(APIResponseError) if start else contextlib.nullcontext():
            assert sse_read(pieces, max_event_bytes=8000) == []
        assert tracemalloc.get_traced_memory()[1] - before < 500_000
    finally:
        tracemalloc.stop()


def test_a_retry_of_more_digits_than_int_takes_is_no_foreign_error():
    [event] = sse_read([b"retry: " + b"9" * 5000 + b"\ndata: a\n\n"])
    assert event[:3] == ("a", "message", "")


@cases("start, again, end, size", [
    (b"data: ", b"x" * 64, b"\n\n", 64), (b"", b"data: 123456789\n", b"\n", 1 << 30),
    (b"\r", b"event: a\ndata: 1234567\n\n", b"", 1 << 30),
])
def test_the_time_is_linear_in_the_bytes(start, again, end, size):
    def cpu_s(length: int) -> float:
        pieces, took = sse_cut(start + again * (length // len(again)) + end, size), []
        for _ in range(3):
            begun = time.thread_time()
            sse_read(pieces)
            took.append(time.thread_time() - begun)
        return min(took)

    assert cpu_s(1 << 20) < 200 * cpu_s(1 << 15)


SSE_TOKENS = [
    b"data", b"data: ", b"event: e", b"event: a.b\ndata: {}\n\n", b"id: ", b"retry: 1", b":", b" ",
    b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", BOM, BOM[1:], b"\0", b"x", b"1", b"\xc3",
    b"\xe2\x80\xa8", b"\xf0\x9f", b"\xff", b"\xd9\xa5", b"foo: bar",
]
sse_pieces = st.lists(st.sampled_from(SSE_TOKENS) | st.binary(max_size=9), max_size=40)


@hypothesis.given(sse_pieces, st.lists(st.integers(0, 99), max_size=9), st.integers(0, 60))
@hypothesis.settings(max_examples=400)
def test_any_stream_reads_as_the_model_or_under_a_limit_as_far_as_that(bits, cuts, limit):
    stream, got, cuts = b"".join(bits), [], sorted(cuts)
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, None])]
    expected = sse_model(stream)
    assert sse_read([stream]) == expected == sse_read(sse_cut(stream, 1)) == sse_read(pieces)
    try:
        for event in iter_sse(pieces, max_event_bytes=limit):
            got.append((event.data, event.event, event.id, event.retry))
    except APIResponseError:
        assert got == expected[: len(got)]
    else:
        assert got == expected
        assert all(len(event[0].encode()) <= 3 * limit for event in got)  # U+FFFD is 3 bytes for 1


# ------------ Errors

ERRORS_TREE = {  # base: classes, with their status where they have one
    "OpenAIError": "APIError CircuitOpenError QueueFullError QueueTimeoutError ToolLoopError "
                   "ValidationError",
    "APIError": "APIConnectionError APIStatusError APIResponseError StreamInterruptedError",
    "APIConnectionError": "APITimeoutError",
    "APIStatusError": "BadRequestError AuthenticationError PermissionDeniedError NotFoundError "
                      "ConflictError UnprocessableEntityError RateLimitError InternalServerError",
}
ERROR_CLASSES = [(name, base) for base, names in ERRORS_TREE.items() for name in names.split()]
ERROR_STATUSES = {status: "APIStatusError" for status in (302, 408, 418)}
ERROR_STATUSES.update({503: "InternalServerError", 529: "InternalServerError"})
STATUSES = (400, 401, 403, 404, 409, 422, 429, 500)
ERROR_STATUSES.update(zip(STATUSES, ERRORS_TREE["APIStatusError"].split()))


@pytest.fixture
def error_of(server, client):

    def raised(answer, call=lambda client: client.chat("hi")):
        server.script(answer)
        return client_error(lambda: call(client.with_options(max_retries=0)))

    return raised


@cases("name, base", [("OpenAIError", None), *ERROR_CLASSES])
def test_an_error_is_where_the_tree_has_it_has_every_attribute_and_pickles(name, base):
    cls = getattr(openai_mini, name)
    assert cls.__bases__[0] is (getattr(openai_mini, base) if base else Exception)
    assert issubclass(cls, ValueError) is (name == "ValidationError")
    error = cls("what happened")
    assert str(error) == error.message == "what happened" and error.is_auth_error is False
    for attribute in "code type param body request_id status_code response partial".split():
        assert getattr(error, attribute) is None
    assert error.is_rate_limit_error is (name == "RateLimitError")
    error.code, error.partial = "c", Result(content="so far")
    for again in (pickled(error), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is cls and str(again) == str(error) == "what happened"
        assert again.__dict__ == error.__dict__ and again.partial.content == "so far"
        assert again.is_transient_error is error.is_transient_error


@cases("status", ERROR_STATUSES)
def test_each_status_has_its_class_and_all_that_the_server_said(error_of, status):
    inner = {"message": "too hot", "type": "t1", "param": "t", "code": "c1", "more": [1]}
    headers = {"x-request-id": "req_7", "retry-after": "2"}
    error = error_of(Answer(status, json={"error": inner}, headers=headers))
    for error in (error, pickled(error)):
        assert type(error) is getattr(openai_mini, ERROR_STATUSES[status])
        assert error.message == str(error) and "too hot" in error.message
        assert error.message.startswith("POST /chat/completions: %d " % status)
        assert error.is_auth_error is (status in (401, 403))
        assert error.is_rate_limit_error is (status == 429)
        assert error.is_transient_error is (status in (408, 409, 429) or status >= 500)
        assert (error.code, error.type, error.param, error.retry_after) == ("c1", "t1", "t", 2)
        assert error.body == inner == error.response.json()["error"]
        assert error.status_code == error.response.status_code == status
        assert error.request_id == error.response.request_id == "req_7"
        assert error.response.headers["Retry-After"] == "2" and "too hot" in error.response.text


ERROR_SHAPES = [  # (body, what the message has of it, code, inner body where it is told)
    ('{"error": {"message": "m1", "code": 17}}', "m1", 17, {"message": "m1", "code": 17}),
    ('{"error": "in words"}', "in words", None, "in words"),
    ('{"message": "in words", "code": "c"}', "in words", "c", {"message": "in words", "code": "c"}),
    ('{"detail": [{"loc": ["body", "n"], "msg": "too many"}]}', "body; n; too many"),
    ('{"error": null, "detail": "by"}', "by"),
    ('{"errors": [{"message": "first"}, {"message": "second"}]}', "first; second"),
    ('{"detail": ["1a", "2a", "3a", "4a", "5a", "6a"]}', "1a; 2a; 3a; 4a; 5a, after"),
    ('[{"error": {"message": "of google", "code": 4}}, 7]', "of google", 4),
    ('{"error": {"message": null, "detail": "aside"}}', "aside"),
    ('{"error": {}, "message": "beside"}', "beside"), ('"a string"', "a string", None, "a string"),
    ('{"error": {"message": {"text": "inner"}}}', "inner"), ("null", ""), ("[]", ""), ("", ""),
    ("plain words", "plain words", None, "plain words"), ("w" * 600, "w" * 497),
    ("<html>\n<title>502 Sad</title>" + "x" * 600, "<html> <title>502 Sad</title>x"),
    ('{"error": {"message": "cut', '"cut'), ('\ufeff{"error": {"message": "mark"}}', "mark"),
    ("a\x1b[31mb\x07c\u202ed\r\ne\x9bf", "a?[31mb?c?d e?f"),  # as a terminal may show it
    ('{"error": {"message": "\\ud800 alone"}}', "? alone"),
    # Absurd ones
    ('{"error": {"message": "' + "w " * (1 << 20) + '"}}', "w w"),
    ('{"deep":' + "[" * (10 << 20), "[["),
    ('{"error":{"nested":' + "[" * 3000 + "]" * 3000 + "}}", ""),
    ('{"error": {"message": ' + "9" * 10000 + "}}", "9"),
]


@cases("shape", ERROR_SHAPES, ids=lambda shape: ascii(shape[0])[:40])
def test_each_shape_of_error_body_is_read(error_of, shape):
    body, said, *more = shape
    error = error_of(Answer(400, body=body.encode()))
    assert type(error) is BadRequestError and error.code == (more or [None])[0]
    assert said in error.message and error.message.startswith("POST /chat/completions: 400")
    assert ", after 1 attempt" in error.message and "attempts" not in error.message
    assert error.body == (more[1] if more[1:] else error.body)
    assert len(error.message) < 1000 and error.message.isprintable()
    pickled(error)


ERROR_CODES = {  # what an error under status 200 says: its status, and whether to try again
    "context_length_exceeded": (400, False), "invalid_api_key": (401, False), 404: (404, False),
    "permission_error": (403, False), "model_not_found": (404, False),
    "requests": (429, True), "rate_limit_exceeded": (429, True),
    "insufficient_quota": (429, False), "overloaded_error": (529, True), "503": (503, True),
    "server_error": (500, True), "nobody_knows": (200, False), "200": (200, False),
}


@cases("code", ERROR_CODES)
@cases("where", ["json", "first", "later", "event", "type"])
def test_an_error_under_status_200_is_the_one_that_its_code_says(error_of, code, where):
    status, is_transient = ERROR_CODES[code]
    inner, he = {"message": "so it is", "code": code}, chunk({"content": "he"})
    events = {
        "first": [{"error": inner}], "type": [dict(inner, type="error")],
        "later": [he, {"error": inner}], "event": [he, ("error", inner)],
    }.get(where)
    how = {"sse": events} if events else {"json": {"error": inner}}
    answer = Answer(headers={"x-request-id": "req_7"}, **how)
    error = error_of(answer, *[streamed] * bool(events))
    assert type(error).__name__ == {**ERROR_STATUSES, 200: "APIResponseError"}[status]
    assert (error.status_code, error.code) == (status, code) and "so it is" in error.message
    assert error.body["message"] == "so it is" and error.is_transient_error is is_transient
    assert where not in ("later", "event") or error.partial.content == "he"
    assert error.request_id == error.response.request_id == "req_7"


RETRY_AFTER = [  # (retry-after, seconds; None for none[, retry-after-ms])
    (" 1.5 ", 1.5), ("-5", None), ("+5", None), ("1e3", None), ("inf", None), ("7, 7", 7),
    ("", None), ("soon", None), ("\xb2", None), ("9" * 5000, math.inf), (None, None),
    ("Mon, 99 Foo 2026 99:99:99 GMT", None), ("Mon, 01 Jan 99999 00:00:00 GMT", None),
    ("Sunday, 06-Nov-94 08:49:37 GMT", 0), ("9", 0.2505, "250.5"), ("9", 9, "soon"),
    ("9", 7, "7000, 7000"),  # where it is told twice
]


@cases("case", RETRY_AFTER, ids=lambda case: ascii(case)[:40])
def test_retry_after_is_read_in_all_its_forms(error_of, case):
    names = ("retry-after", "retry-after-ms")
    headers = {name: value for name, value in zip(names, case[::2]) if value is not None}
    assert error_of(Answer(429, json={"error": "x"}, headers=headers)).retry_after == case[1]


def test_retry_after_as_a_date_is_the_seconds_until_then_in_gmt(error_of, monkeypatch):
    monkeypatch.setenv("TZ", "XYZ5")
    time.tzset()
    try:
        then = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
        answer = Answer(503, json={"error": "x"}, headers={"retry-after": then})
        assert 0 < error_of(answer).retry_after <= 100
    finally:
        monkeypatch.undo()
        time.tzset()


@cases("status, body, words", [
    (401, {"error": {"message": "no"}}, "API key"), (404, {}, "/v1/chat/completions."),
    (429, {}, "rate limit"),
    (400, "<400> Range of input", "<400> Range of input"),
    (404, {"error": {"code": "model_not_found"}}, "list_models()"),
    (400, {"error": "The model `y` does not exist"}, "list_models()"),
    (429, {"error": {"type": "insufficient_quota"}}, "billing"),
])
def test_a_message_says_what_to_do_next(error_of, status, body, words):
    error = error_of(Answer(status, json=body))
    assert words in error.message and (words == "list_models()") is ("list_models" in error.message)
    assert error.is_transient_error is (status in (429, 500) and words != "billing")


# ------------ Circuit breaker


def breaker_of(clock=None, **options):
    return CircuitBreaker(clock=clock or FakeClock(), **options)


def play(steps: str, breaker, clock=None) -> None:
    """Play steps with commas between them: `fail 4` (calls), `ok 2`, `give 1`, `allow`, `refuse`,
    `wait 29.9`, or a method's name; a state's name is a check."""
    ends = {"fail": breaker.failure, "ok": breaker.success, "give": breaker.release}
    for step in filter(None, steps.split(", ")):
        name, _, value = step.partition(" ")
        if name in ends:
            for _ in range(int(value or 1)):
                assert breaker.allow(), step
                ends[name]()
        elif name in ("allow", "refuse"):
            assert breaker.allow() is (name == "allow"), step
        elif name == "wait":
            clock.advance(float(value))
        elif name in ("closed", "open", "half_open"):
            assert breaker.state == name, "%s in: %s" % (step, steps)
        else:
            getattr(breaker, name)()


HALF_OPEN = "fail 5, open, wait 30, half_open, "
BREAKER_CASES = [  # (steps, options)
    ("ok 5, fail 4, closed, fail, open, refuse", {}),
    ("ok 6, fail 5, closed, wait 66, ok, closed", {}),
    ("ok 27, fail 3, open", {"failure_rate": 0.1, "failure_threshold": 3}),  # 0.1 * 30 > 3
    ("ok, fail 100, closed, wait 66, fail 4, closed, fail, open", {"failure_rate": 1}),
    ("fail 4, give 100, wait 60, closed, fail, open", {}),
    ("fail 4, wait 11, fail, closed", {"window": 10}),  # a tenth too long at most
    ("fail 5, half_open", {"reset_timeout": 0}),
    ("fail 5, wait 30, allow, half_open, refuse, refuse, success, half_open, allow, refuse", {}),
    (HALF_OPEN + "fail, open, refuse, wait 29.9, open, wait 0.1, half_open", {}),
    (HALF_OPEN + "ok, fail, open, wait 30, half_open, ok, half_open, ok, closed", {}),
    (HALF_OPEN + "allow, refuse, release, half_open, allow, refuse", {}),
    # What was begun before the circuit opened, or closed, counts for nothing.
    ("allow, fail 5, wait 30, half_open, success, half_open, ok, half_open", {}),
    ("allow, fail 5, wait 30, half_open, failure, half_open, ok 2, closed", {}),
    ("allow, " + HALF_OPEN + "ok 2, fail 4, failure, closed, fail, open", {}),
    ("allow, " + HALF_OPEN + "release, allow, refuse", {}),
    (HALF_OPEN + "allow, reset, closed, allow, allow, fail 4, closed, fail, open", {}),
    ("failure, failure, failure, failure, closed, failure, open", {}),  # without allow()
]


@cases("steps, options", BREAKER_CASES, ids=str)
def test_a_breaker_has_the_state_of_the_contract(steps, options):
    clock = FakeClock()
    play(steps, breaker_of(clock, **options), clock)


def test_an_open_breaker_runs_nothing_and_says_when_it_will():
    clock, ran = FakeClock(), []
    breaker = breaker_of(clock)
    assert breaker.call(sorted, [2, 1], reverse=True) == [2, 1]
    with breaker as entered:
        assert entered is breaker and breaker.retry_after == 0.0
    play("fail 5, wait 10", breaker, clock)
    error = client_error(lambda: breaker.call(ran.append, 1), CircuitOpenError)
    assert breaker.retry_after == error.retry_after == pytest.approx(20) and " 20 s" in str(error)
    with pytest.raises(CircuitOpenError), breaker:
        ran.append(2)
    clock.advance(25)
    assert not ran and breaker.retry_after == 0.0 and breaker.state == "half_open"


def test_a_breakers_memory_is_constant_over_any_number_of_outcomes():
    clock = FakeClock()
    breaker = breaker_of(clock, failure_rate=0.9)
    for i in range(5000):
        (breaker.failure if i % 2 else breaker.success)()
        breaker.allow() and breaker.allow()
        clock.advance(0.37)
        if i == 1000:
            before = sys.getallocatedblocks()
    assert sys.getallocatedblocks() - before < 1000


@cases("name, values", [
    ("failure_threshold", (0, "5", True, 2.5)), ("failure_rate", (1.5, -1)), ("window", (0,)),
    ("reset_timeout", (-1,)), ("success_threshold", (0, 1.5)),
])
def test_a_breaker_that_cannot_work_is_refused(name, values):
    for value in values:
        error = client_error(lambda: CircuitBreaker(**{name: value}), ValidationError)
        assert str(error).startswith("%s= is %r: " % (name, value))


def raising(error):
    if error is not None:
        raise error


def breaker_half_open(success_threshold=1, **options):
    clock = FakeClock()
    breaker = breaker_of(clock, success_threshold=success_threshold, **options)
    play(HALF_OPEN, breaker, clock)
    return breaker


@cases("error, state", [
    (OSError("x"), "open"), (APIStatusError("x", status_code=499), "closed"), (None, "closed"),
    (ValidationError("x"), "half_open"), (KeyboardInterrupt(), "half_open"),
    (QueueFullError("x"), "half_open"),
], ids=repr)
def test_what_the_guarded_work_raises_counts_by_the_rule(error, state):
    breaker = breaker_half_open()
    with pytest.raises(type(error)) if error else contextlib.nullcontext():
        breaker.call(raising, error)
    assert breaker.state == state and breaker.allow() is (state != "open")  # the place is free


def test_while_a_probe_is_under_way_others_are_told_to_wait():
    breaker = breaker_half_open(reset_timeout=30)
    assert breaker.retry_after == 0 and breaker.allow() and breaker.retry_after == 30
    error = client_error(lambda: breaker.call(len, "x"), CircuitOpenError, "30 s")
    assert error.retry_after == 30 and not breaker.release() and breaker.retry_after == 0


def test_on_change_is_told_each_change_and_may_raise_or_ask_back(caplog):
    told, clock = [], FakeClock()

    def on_change(old, new):
        told.append((old, new, breaker.state, breaker.allow()))
        breaker.release()
        raise RuntimeError("a listener's trouble")

    breaker = breaker_of(clock, on_change=on_change)
    play("fail 5, open, wait 30, half_open, fail, wait 30, ok 2, closed, reset", breaker, clock)
    assert [new for _, new, *_ in told] == ["open", "half_open", "open", "half_open", "closed"]
    assert told[:2] == [("closed", "open", "open", False), ("open", "half_open", "half_open", True)]
    assert "a listener's trouble" in caplog.text and breaker.opened == 2


def test_nothing_is_held_while_the_guarded_work_or_on_change_runs():
    working, inside, go_on = (Event() for _ in range(3))
    breaker = CircuitBreaker(1, on_change=lambda *_: inside.set() or go_on.wait(10))

    def work(i):
        if i == 0:
            return breaker.call(lambda: working.set() or go_on.wait(10))
        if i == 1:
            return working.wait(10) and breaker.failure()
        assert inside.wait(10) and breaker.state == "open" and not breaker.allow()  # and at once
        return breaker.success() or go_on.set()

    assert together(3, work) == [True, None, None]


class FinalizingClock(FakeClock):
    """Drops one of `left` at each look at it: a finalizer runs, in the midst of who looks."""

    def __call__(self):
        with suppress(IndexError):
            self.left.pop()
        return self.now


def test_outcomes_add_up_though_threads_and_finalizers_report_at_once():

    class Abandoned:
        def __del__(self):
            breaker.release()
            breaker.failure()

    clock = FinalizingClock()
    clock.left = [Abandoned() for _ in range(500)]
    breaker = breaker_of(clock, failure_threshold=901)
    together(4, lambda i: [breaker.failure() for _ in range(100)])
    play("closed, failure, open", breaker)
    assert not clock.left and breaker.opened == 1


def test_a_breaker_and_a_queue_pickle_as_they_are_set_up():
    breaker, queue = CircuitBreaker(2, 0.25, 10.0, 5.0, 3), queue_of(3, 7, 60)
    play("fail 2, open", breaker)
    with queue.slot():
        breaker, queue = pickled((breaker, queue))
    names = "failure_threshold failure_rate window reset_timeout success_threshold".split()
    assert [getattr(breaker, name) for name in names] == [2, 0.25, 10.0, 5.0, 3]
    play("closed, fail 2, open", breaker)
    assert (queue.max_concurrent, queue.size, queue.per_minute, queue.running) == (3, 7, 60, 0)
    assert queue.submit(len, "abc").result(10) == 3


def forked(work):
    """A child, forked here and now, that runs `work()`, which must return True."""
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=lambda: sys.exit(work() is not True), daemon=True)
    child.start()
    return child


def code_of(child):
    child.join(20)
    return child.exitcode


def in_child(work) -> bool:
    return code_of(forked(work)) == 0


def test_after_a_fork_the_probe_is_the_parents_and_both_sides_work(error_of):
    kept = error_of(Answer(sse=[{"error": WHY}]), streamed)
    breakers = [breaker_half_open(2) for _ in range(9)]
    for breaker in breakers:
        play("allow, refuse", breaker)
    assert in_child(lambda: all(one.state == "half_open" and one.allow() for one in breakers))
    play("refuse, success, allow", breaker)
    assert kept.__traceback__


# In the client


def guarded(server, breaker=None, **options):
    """A client whose calls are one attempt each, if nothing else is said."""
    return client_for(server, **{"max_retries": 0, "circuit_breaker": breaker, **options})


def ctrl_c_while(wait, when) -> None:
    """Call `wait()`; a Ctrl-C comes as soon as `when()` returns, and ends it."""
    main = threading.get_ident()
    thread = loopback_thread(lambda: (when(), signal.pthread_kill(main, signal.SIGINT)))
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        wait()
    thread.join(10)


def test_of_50_threads_at_a_half_open_breaker_one_reaches_the_server(server):
    answer_now, refused = Event(), []
    server.script(json=CHAT, wait=answer_now)

    def ask(i):
        try:
            return client.chat("hi").content
        except CircuitOpenError:
            refused.append(i)
            if len(refused) == 49:
                answer_now.set()

    with guarded(server, breaker_half_open(2)) as client:
        assert together(50, ask).count("hello") == 1 == server.count
        assert len(refused) == 49 and client.chat("hi").content == "hello"
        assert client.stats()["circuit"]["state"] == "closed"


def test_an_open_circuit_keeps_all_its_clients_off_the_network(server):
    breaker = breaker_of()
    play("fail 4", breaker)
    server.script(Answer(500))
    with guarded(server, breaker) as client, guarded(server, breaker) as other:
        chat_error(client, InternalServerError)
        for refused in (client, other):
            error = chat_error(refused, CircuitOpenError)
            assert "POST /chat/completions" in str(error) and error.retry_after == 30
            assert refused.stats()["circuit"] == {"state": "open", "opened": 1}
    assert server.count == 1


@cases("answer, state", [
    (HELLO, "closed"), (Answer(404), "closed"), (Answer(429), "closed"),
    (Answer(500), "open"), (None, "open"), (Answer(body="<p>", content_type="text/html"), "open"),
    (Answer(json=CHAT, cut=5), "open"), (Answer(wait=NEVER), "open"),
])
def test_an_answer_counts_as_what_it_says_of_the_service(server, answer, state):
    breaker = breaker_half_open()
    server.script(answer)
    if answer is None:
        server.close()
    with guarded(server, breaker, timeout=(5, 0.05 if answer and answer.wait else 10)) as client:
        with suppress(APIError):
            client.chat("hi")
    assert breaker.state == state


def test_an_open_circuit_is_told_at_once_and_no_retry_that_cannot_be(server):
    events = []
    with guarded(server, CircuitBreaker(1), max_retries=3, on_event=events.append,
                 max_concurrent_requests=1) as client:
        server.script(Answer(500, headers={"retry-after": "9"}))
        chat_error(client, InternalServerError)
        assert [e["event"] for e in events] == ["request", "circuit", "response", "error"]
        assert events[-1]["status"] == 500 and client.stats()["retries"] == 0
        with client._queue.slot():
            chat_error(client, CircuitOpenError)


def test_what_goes_wrong_before_anything_is_sent_takes_no_probe(server):
    breaker, queue = breaker_half_open(), RequestQueue(1, 0)
    with guarded(server, breaker) as client, queue.slot():
        full = client.with_options(use_request_queue=queue)
        no_key = client.with_options(api_key=lambda: {}["no key today"])
        for error, ask in ((ValidationError, lambda: client.chat([])),
                           (LookupError, lambda: no_key.chat("hi")),
                           (QueueFullError, lambda: full.chat("hi"))):
            client_error(ask, error)
            assert breaker.state == "half_open" and breaker.allow() and not breaker.release()
    assert not server.requests


def test_a_stream_succeeds_at_its_first_event_and_fails_if_it_breaks_off(server):
    breaker = breaker_half_open(failure_rate=0)
    with guarded(server, breaker) as client:
        stream_held(server, "a", "b")
        stream = client.stream_chat("hi")
        assert next(stream).content == "a" and breaker.state == "closed"
        del stream  # which is neither
        assert breaker.state == "closed" and slots_of(client) == 0
        play("fail 4", breaker)
        server.script(sse=chunks("a", "b", finish=None), done=False)
        client_error(lambda: list(client.stream_chat("hi")), StreamInterruptedError)
    assert breaker.state == "open"


# ------------ Request queue


def queue_of(*args, clock=None, **options):
    queue = RequestQueue(*args, **options)
    queue._clock = clock or queue._clock
    return queue


def queue_is_empty(queue) -> bool:
    return eventually(lambda: (queue.running, queue.waiting) == (0, 0))


def queue_waits(queue, number: int) -> bool:
    return eventually(lambda: queue.waiting == number)


def queue_refuses(queue, timeout=0, priority=99):
    """The error of one who comes behind all others. The queue looks at its clock meanwhile, as it
    does each second for those who wait."""
    return client_error(queue.slot(priority, timeout).acquire, QueueTimeoutError)


def queue_caller(queue, mark="", order=None, priority=NORMAL, timeout=None, keep=None):
    """The future of a thread that takes a slot, puts its mark into `order`, and stays until told.
    It is a job of another queue."""

    def run():
        with queue.slot(priority, timeout):
            None if order is None else order.append(mark)
            assert not keep or keep.wait(10)

    return RequestQueue().submit(run)


def all_ended(*futures) -> bool:
    return [future.result(10) for future in futures] == [None] * len(futures)


def test_callers_and_jobs_stand_in_one_order_by_priority_then_by_arrival():
    for _ in range(20):
        queue, order, jobs = queue_of(1), [], []
        with queue.slot():
            for n, priority in enumerate([LOW, NORMAL, HIGH] * 2):
                jobs.append(queue.submit(order.append, (priority, n), priority=priority))
                jobs.append(queue_caller(queue, (priority, n + 0.5), order, priority))
                queue_waits(queue, len(jobs))
            assert not order
        assert all_ended(*jobs) and queue_is_empty(queue)
        assert order == sorted(order) and len(order) == 12


@cases("size", [0, 2])
def test_one_caller_too_many_is_refused_at_once_and_a_job_never(size):
    queue = queue_of(1, size)
    with queue.slot():
        callers = [queue_caller(queue) for _ in range(size)]
        queue_waits(queue, size)
        error = client_error(queue.slot(HIGH).acquire, QueueFullError)
        assert re.search(r"\b%d\b.*queue_size=" % size, str(error)) and queue.waiting == size
        jobs = [queue.submit(str, n) for n in range(20)]
    assert [job.result(10) for job in jobs] == [str(n) for n in range(20)]
    assert all_ended(*callers) and queue_is_empty(queue)


def test_a_wait_over_its_timeout_is_an_error_and_leaves_the_line():
    queue = queue_of(1)
    with queue.slot():
        error = queue_refuses(queue, 0.02)
        assert "0.02 s" in str(error) and error.retry_after is None
        assert (queue.running, queue.waiting) == (1, 0)
    with queue.slot(timeout=0):
        assert queue.running == 1
    assert queue_is_empty(queue)
    queue.pause(0.9)
    queue_refuses(queue, 0.02)  # its time is over before the pause is


def test_no_more_than_per_minute_start_in_a_minute_and_jobs_wait_on():
    clock, order = FakeClock(), []
    queue = queue_of(10, 3, per_minute=2, clock=clock)
    for _ in range(2):
        with queue.slot():
            clock.advance(10)
    error = queue_refuses(queue)
    assert "40 s" in str(error) and error.retry_after == pytest.approx(40)
    jobs = [queue.submit(order.append, "job", priority=LOW) for _ in range(2)]
    jobs += [queue_caller(queue, "caller", order) for _ in range(2)]
    queue_waits(queue, 4)
    for wait_s, started in [(39.9, 0), (0.2, 1), (9.8, 1), (0.2, 2), (49, 2), (11, 4)]:
        clock.advance(wait_s)
        queue_refuses(queue)
        eventually(lambda expected=started: len(order) == expected)
        assert queue.waiting == 4 - started
    assert all_ended(*jobs) and order[2:] == ["job"] * 2 and queue_is_empty(queue)


def test_nothing_starts_during_a_pause_and_all_does_after_it_in_order():
    clock, order, keep = FakeClock(), [], Event()
    queue = queue_of(1, clock=clock)
    queue.pause(100)
    queue.pause(10)
    caller = queue_caller(queue, "1st", order, keep=keep)
    queue_waits(queue, 1)
    jobs = [queue.submit(order.append, "job") for n in range(3)]
    for passed_s in (0, 99):
        clock.advance(passed_s)
        assert queue_refuses(queue, 0, HIGH).retry_after == pytest.approx(100 - passed_s)
        assert not order and queue.waiting == 4
    clock.advance(1)
    assert queue_refuses(queue, 0, NORMAL).retry_after is None
    keep.set()
    assert all_ended(caller, *jobs) and order == ["1st"] + ["job"] * 3 and queue_is_empty(queue)


def test_a_slot_is_given_back_once_also_by_dropping_it():
    queue = queue_of(2)
    slot = queue.slot().acquire()
    queue.pause(0.01)
    other = queue.slot().acquire()
    caller = queue_caller(queue)
    queue_waits(queue, 1)
    del other
    assert all_ended(caller)
    with queue.slot():
        slot.release()
        slot.release()
        assert queue.running == 1
        with slot:  # it may be taken again
            assert slot.acquire() is slot and queue.running == 2
    queue.slot().release()  # never taken
    assert queue_is_empty(queue)


def test_a_finalizer_may_give_a_slot_back_while_the_queue_is_at_work():

    queue, left = queue_of(8, 1000, clock=FinalizingClock()), []
    queue._clock.left = left
    left += [queue.slot().acquire() for _ in range(7)]

    def work(i):
        for _ in range(50):
            with queue.slot():
                left.append(queue.slot().acquire())

    assert together(4, work) == [None] * 4
    left.clear()
    assert queue_is_empty(queue)


def test_ctrl_c_while_waiting_leaves_no_slot(server):
    queue = queue_of(1)
    with guarded(server, use_request_queue=queue) as client:
        for wait in (queue.slot().acquire, lambda: client.chat("x")):
            with queue.slot():
                ctrl_c_while(wait, lambda: queue_waits(queue, 1))
                assert (queue.running, queue.waiting) == (1, 0)
            assert client.chat("x", deadline=5).content == "hello" and queue_is_empty(queue)


def test_after_a_fork_both_sides_work_and_slots_are_the_parents():
    queue = queue_of(2)
    slots = [queue.slot().acquire() for _ in range(2)]

    def child():
        slots[0].release()
        with queue.slot(timeout=5), queue.slot(timeout=5):
            return queue.running == 2 and list(queue.map(len, [])) == []

    for work in (child, lambda: list(queue.map(len, ["a", "bb"])) == [1, 2]):
        assert in_child(work) and queue.running == 2
    slots.clear()
    assert queue_is_empty(queue) and queue.submit(len, "abc").result(10) == 3


# Jobs


def test_jobs_run_in_daemon_threads_that_end_when_idle():
    queue, seen = queue_of(4), set()
    job = lambda n: seen.add(threading.current_thread()) or n  # noqa: E731
    for count in (100, 1):  # and begin again
        with nothing_left_over():
            assert [queue.submit(job, n).result(10) for n in range(count)] == list(range(count))
            assert queue_is_empty(queue)
    assert all(thread.daemon for thread in seen) and threading.current_thread() not in seen


def test_what_a_job_raises_comes_out_of_its_future():
    queue = queue_of(1)
    for error in (ValueError("x"), SystemExit(3), KeyboardInterrupt()):
        assert queue.submit(raising, error).exception(10) is error
    assert queue.submit(len, "abc").result(10) == 3 and queue_is_empty(queue)


def test_a_job_that_is_cancelled_before_it_began_never_runs():
    queue, ran = queue_of(1), []
    with nothing_left_over(), queue.slot():
        futures = [queue.submit(ran.append, n) for n in range(1000)]
        assert futures[1].cancel() and queue.waiting == 999
        assert not concurrent.futures.wait(futures[1:2], 5).not_done
        assert all(future.cancel() for future in futures) and queue.waiting == 0
    assert not ran and queue_is_empty(queue)


def test_nothing_of_a_job_lives_on_in_the_queue():
    queue, thing = queue_of(1), FakeClock()
    gone = weakref.ref(thing)
    with without_gc():
        future = queue.submit(lambda thing: thing, thing)
        assert future.result(10) is thing and queue_is_empty(queue)
        del thing, future
        eventually(lambda: gone() is None)


def test_a_job_keeps_no_slot_after_its_answer_and_is_refused_no_other():
    queue, told = queue_of(2, 0), Event()

    def job():
        with queue.slot():
            pass
        assert told.wait(10)  # work of its own
        with queue.slot():
            return "had another"

    with queue.slot():
        first = queue.submit(job)
        assert queue.submit(lambda: told.set() or queue_waits(queue, 1)).result(10)
        assert first.result(10) == "had another"


def test_a_callback_of_a_job_holds_up_no_other_job():
    queue, begin, go_on, ended = queue_of(1), Event(), Event(), []
    queue.submit(begin.wait, 10).add_done_callback(lambda _: ended.append(go_on.wait(10)))
    begin.set()
    assert queue.submit(len, "abc").result(10) == 3 and not ended
    go_on.set()
    assert queue.submit(dict, function=1).result(10) == {"function": 1} and queue_is_empty(queue)


def test_a_job_goes_before_a_caller_of_lower_priority_though_its_slot_came_back():
    queue, order = queue_of(1), []

    def job(n):
        with queue.slot():
            order.append(n)

    with queue.slot():
        jobs = [queue.submit(job, n, priority=HIGH) for n in "ab"]
        caller = queue_caller(queue, "low", order, LOW)
        queue_waits(queue, 3)
    assert all_ended(*jobs, caller) and order == ["a", "b", "low"]


def test_where_the_system_has_no_thread_left_a_job_or_map_is_refused(monkeypatch):
    queue = queue_of(1)
    results = queue.map(len, ["a"])
    with monkeypatch.context() as patch:
        error = RuntimeError("no thread")
        patch.setattr(threading.Thread, "start", lambda self: raising(error))
        for ask in (lambda: queue.submit(len, "abc"), lambda: next(results)):
            client_error(ask, QueueFullError, "no thread")
    assert list(results) == []
    assert queue.submit(len, "abc").result(10) == 3 and queue_is_empty(queue)


@cases("size", [0, 1, 5])
def test_map_reads_ahead_no_more_than_the_queues_size_and_keeps_nothing(size):
    queue, read, living = queue_of(2, size), [], weakref.WeakSet()

    def inputs():
        for n in itertools.count():
            read.append(None)
            clock = FakeClock(n)
            living.add(clock)
            yield clock

    results = queue.map(lambda clock, more: clock.now + more, inputs(), more=1)
    for n in range(300):
        assert next(results) == n + 1 and len(read) <= n + 1 + max(size, 1) and len(living) <= 20
    results.close()
    assert list(results) == [] and queue_is_empty(queue)
    client_error(lambda: queue.map(len, 3), ValidationError)


def test_map_reads_ahead_while_it_waits_and_a_ctrl_c_loses_no_result():
    queue, read, go_on = queue_of(2, 5), [], Event()
    results = queue.map(lambda n: go_on.wait(10) and n, (read.append(n) or n for n in range(9)))
    ctrl_c_while(lambda: next(results), lambda: queue_waits(queue, 3))
    assert read == [0, 1, 2, 3, 4] and not go_on.set()
    assert list(results) == read == list(range(9))


def test_map_closes_down_when_its_consumer_stops():
    queue, ran, go_on = queue_of(2, 50), [], Event()

    def work(n):
        ran.append(n)
        return go_on.wait(10) if n else eventually(lambda: queue.waiting > 9)

    with nothing_left_over():
        for _ in queue.map(work, itertools.count()):
            break
        assert queue.waiting == 0
        go_on.set()
    assert len(ran) <= 5 and queue_is_empty(queue)


def test_map_raises_in_its_place_what_a_call_or_input_raises_and_goes_on():
    def inputs():
        yield from (1, 0, 2)
        raise LookupError("no more")

    results, seen = queue_of(2).map(lambda n: 6 // n, inputs()), []
    stops = queue_of(1).map(lambda n: n or next(iter(())), [0, 1])
    client_error(lambda: next(stops), RuntimeError)
    assert list(stops) == [1]
    calls, gone = queue_of(1).map(lambda n: 1 / n, range(50)), []
    weakref.finalize(calls, gone.append, 1)
    with without_gc():
        with suppress(ZeroDivisionError):
            next(calls)
        del calls
        assert gone, "a map that was dropped goes on"
    while len(seen) < 5:
        try:
            seen.append(next(results))
        except (LookupError, ZeroDivisionError, StopIteration) as error:
            seen.append(type(error))
    assert seen.pop() is StopIteration
    assert [item for item in seen if item is not LookupError] == [6, ZeroDivisionError, 3]
    assert LookupError in seen


# In the client


def test_a_call_has_no_slot_while_it_waits_to_retry_and_finds_one_then(server):
    states, streams = [], []

    def sleep(seconds):
        states.append(client.stats()["queue"])
        if not streams:
            together(1, lambda i: streams.extend(client.submit("stream_chat", y) for y in "yz"))
            assert streams[0].result(10) and not time.sleep(0.05)  # the other could begin

    with guarded(server, max_retries=3, max_concurrent_requests=2) as client:
        client._sleep = sleep
        server.script(Answer(500))
        assert client.submit("chat", "x").result(10).content == "hello"
        assert [len(list(stream.result(10))) for stream in streams] == [3, 3]
        server.script(Answer(500))
        assert client.chat("x").content == "hello"
    assert states == [{"running": 0, "waiting": 0}] * 2


@cases("asked_s", [0.3, 3600])
def test_a_429_pauses_all_callers_as_long_as_it_asks_or_max_retry_delay(server, asked_s):
    arrived = []
    server.script(Answer(429, headers={"retry-after-ms": "%d" % (1000 * asked_s)}))
    server.default = lambda request: arrived.append(time.monotonic()) or HELLO
    with guarded(server, max_retries=2, max_concurrent_requests=1, max_retry_delay=0.3) as client:
        began_at = time.monotonic()
        results = together(8, lambda i: client.chat("x", priority=i % 3))
    failed = [result for result in results if isinstance(result, Exception)]
    assert [error.retry_after for error in failed] == ([3600] if asked_s == 3600 else [])
    assert min(arrived) - began_at >= 0.3 and len(arrived) == 8 - len(failed)


def test_a_call_waits_for_a_slot_no_longer_than_timeout_and_deadline(server):
    queue = queue_of(1, 1)  # of two clients
    with guarded(server, use_request_queue=queue) as client:
        with guarded(server, use_request_queue=queue) as other, other.stream_chat("x"):
            for limits in ({"timeout": (5, 0.02)}, {"deadline": 0.02}):
                ask = partial(client.chat, "x", **limits)
                client_error(ask, QueueTimeoutError, "POST /chat/completions")
            waiting = [client.submit("chat", str(n), timeout=(5, 5)) for n in range(5)]
        assert [future.result(10).content for future in waiting] == ["hello"] * 5
        assert server.count == 6


def test_a_job_that_calls_the_client_does_not_deadlock(server):
    def job(text):
        first = client.chat(text)
        with client.stream_chat(first.content) as stream:
            said = stream_text(stream)
        inner = client.submit("chat", said).result(10)
        return [first.content, said, inner.content] + [r.content for r in client.map("chat", "ab")]

    with guarded(server, max_concurrent_requests=1) as client:
        assert client.submit(job, "x").result(20) == ["hello"] * 5
        assert list(client.map(job, ["x", "y"])) == [["hello"] * 5] * 2
        assert server.max_in_flight == 1 and slots_of(client) == 0


def test_of_200_threads_whose_server_fails_a_third_all_is_accounted_for():
    dice, now = random.Random(1), {"retry-after": "0"}
    troubles = [
        Answer(500), Answer(429, headers=now), Answer(json=CHAT, cut=20), Answer(raw=b""),
        Answer(json=CHAT, reset=0), Answer(body="<p>", content_type="text/html"),
    ]

    def answer(request):
        if dice.random() < 1 / 3:
            return dice.choice(troubles)
        said = request.json["messages"][0]["content"]
        return Answer(sse=chunks(said)) if request.json.get("stream") else chat_saying(said)

    ways = [
        lambda text: client.chat(text).content, lambda text: stream_text(client.stream_chat(text)),
        lambda text: client.submit("chat", text).result(60).content,
    ]

    def work(i):
        with suppress(OpenAIError):
            for n in range(6):
                assert ways[n % 3]("%d-%d" % (i, n)) == "%d-%d" % (i, n)

    with nothing_left_over(), LoopbackServer() as server:
        server.default = answer
        breaker = CircuitBreaker(failure_rate=0.99)
        with guarded(server, breaker, queue_size=150, max_retries=1) as client:
            assert together(200, work, timeout=120) == [None] * 200
            stats = client.stats()
        assert sum(stats["errors"].values()) == stats["failed"] > 9 < stats["succeeded"]
        assert stats["failed"] + stats["succeeded"] == stats["requests"]
        assert stats["queue"] == {"running": 0, "waiting": 0} and 1 < server.max_in_flight <= 10

# ------------ Results


def results_of(client, server, data, **how):
    """What request() makes of this JSON, over a socket."""
    text = data if isinstance(data, (str, bytes)) else json.dumps(data)
    server.script(body=text, content_type="application/json", **how)
    return client.request("GET", "/anything")


def test_attributes_reach_every_depth_and_what_is_not_there_reads_none(server, client):
    result, piece = client.chat("hi"), next(iter(client.stream_chat("hi")))
    assert result == CHAT and result.usage.total_tokens == 10
    assert result.choices[0].message.content == "hello"
    probed = "_x _repr_html_ reasoning_content reasoning thinking ndim dtype iloc __array__"
    for one in (result, result.choices[0].message, result.usage, piece, piece.choices[0].delta):
        assert not [name for name in probed.split() if hasattr(one, name)]
        assert one.annotations is one.audio is getattr(one, "x", 5) is None
    delta = list(client.stream_chat("hi"))[-1].choices[0].delta
    assert delta.role is delta.content is None
    assert results_of(client, server, [[{"a": [{"b": 1}]}]])[0][0].a[0].b == 1
    result = results_of(client, server, {"a": {"b": None}})
    assert result.a.b is result.a.nothing is None is result.content
    assert result.choices is result.output_text is None
    client_error(lambda: result["nothing"], KeyError)
    result.b, result.a = 2, 1
    result.a += 1
    assert result == {"a": 2, "b": 2}
    del result.a
    with pytest.raises(KeyError):
        del result.a
    no, a, b = {"type": "x", "text": "no"}, *({"type": "output_text", "text": t} for t in "ab")
    output = [{"type": "x"}, {"content": [no, a]}, {"content": [{"type": "output_text"}, b]}]
    assert results_of(client, server, {"output": output}).output_text == "ab"
    assert results_of(client, server, {"output": []}).output_text == ""


RESULTS_NAMES = {  # key: the name by which it is reached, where that is another
    "self-harm": "self_harm", "self-harm/intent": "self_harm_intent", "a.b c": "a_b_c",
    "schema": "schema_", "from": "from_", "a\nb": "a_b",
}


def test_a_key_is_reached_by_its_name_unless_it_is_that_of_a_method(server, client):
    keys = [*RESULTS_NAMES, *"plain class _hidden content message output_text parsed data".split()]
    result = results_of(client, server, {key: [key] for key in keys + ["\xe9t\xe9"]})
    assert all(getattr(result, RESULTS_NAMES.get(key, key)) == [key] for key in result)
    result = results_of(client, server, {"a-b": 1, "a_b": 2, "c": 3, "c_": 4})
    assert (result.a_b, result.c, result.c_) == (2, 3, 4)
    names = "items get copy to_dict to_json model_dump request_id headers status_code _request_id"
    names, headers = names.split(), {"x-request-id": "req_1", "x-other": "y"}
    inner = {"headers": {"x": "1"}, "request_id": "own", "status_code": 7}  # of the inner object
    answer = dict(dict.fromkeys(names, "the key"), tools=[inner, {}])
    result = results_of(client, server, answer, headers=headers)
    assert all(result[n] == "the key" and getattr(result, n) is not result[n] for n in names)
    assert result.request_id == result._request_id == "req_1" and result.status_code == 200
    assert result.headers["X-Other"] == "y" and result.to_dict()["to_dict"] == "the key"
    assert result.model_copy().headers["x-other"] == "y"
    for one in (result.tools[0], result.model_copy().tools[0]):
        assert one == inner and [getattr(one, name) for name in inner] == list(inner.values())
    assert [getattr(result.tools[1], name) for name in inner] == [None] * 3


def test_all_stays_as_it_was_sent_and_turns_into_plain_data_and_back(server, client):
    text = '{"z": 1.0, "a": 12345678901234567890123, "m": -0.0, "e": 1e400, "n": null,'
    text += ' "x": {"b": [1, 1.0, {"n": null}], "a": "\\ud83d\\ude00"}}'
    result = results_of(client, server, text)
    assert list(result) == list("zamenx") and list(result.x) == ["b", "a"]
    assert repr([result["z"], result.m]) == "[1.0, -0.0]" and result.a == 12345678901234567890123
    assert result.e == float("inf") and json.dumps(result.x.b) == '[1, 1.0, {"n": null}]'
    for plain in (
        result.to_dict(), result.dict(), result.model_copy(),
        result.model_dump(mode="json", exclude_unset=True),
        *map(json.loads, (result.to_json(), result.json(), result.model_dump_json(),
                          json.dumps(result))),
    ):
        assert plain == result
    assert type(result.to_dict()["x"]) is type(result.to_dict()["x"]["b"][2]) is dict
    assert result.model_dump(include={"x"}) == {"x": result.x} == result.to_dict(exclude="zamen")
    bare = {"b": [1, 1.0, {}], "a": "\U0001f600"}
    assert result.model_dump(include=["x", "n"], exclude_none=True) == {"x": bare}
    assert json.loads(result.x.model_dump_json(exclude_none=True)) == bare
    assert result.model_copy(update={"x": 1}) == dict(result, x=1) and result.model_extra is result
    assert result.model_copy().x.b[2].absent is None
    assert "\n" in result.to_json() and "\U0001f600" in result.to_json()
    assert "\n" in result.model_dump_json(indent=2) and "\n" not in result.model_dump_json()


RESULTS_KINDS = [  # an answer, and a call that gives it as Result, Page, Transcript or Binary
    (HELLO, lambda c: c.chat("hi")),
    (Answer(json={"data": [{"id": 1}], "has_more": False}), lambda c: c.files.list()),
    (Answer(json={"text": "words"}), lambda c: c.transcribe_audio(b"ID3x")),
    (Answer(body=b"\0\xff", content_type="audio/mpeg"), lambda c: c.text_to_speech("hi")),
]


@cases("answer, call", RESULTS_KINDS)
def test_results_pickle_and_copy_with_their_kind_and_without_the_key(server, client, answer, call):
    server.script(answer)
    result = call(client)
    raws = [pickle.dumps(result, p) for p in range(pickle.HIGHEST_PROTOCOL + 1)]
    assert b"sk-test" not in b"".join(raws)
    for again in (*map(pickle.loads, raws), copy.copy(result), copy.deepcopy(result)):
        assert again == result and type(again) is type(result)
        if isinstance(result, Result):
            assert again.status_code == 200 and not again.choices or again.choices[0].message


def test_odd_json_is_taken_and_lone_surrogates_go_back(server, client):
    assert results_of(client, server, b'\xef\xbb\xbf{"a": 1, "a": 2}') == {"a": 2}
    assert results_of(client, server, b"null") is None and results_of(client, server, b"[]") == []
    client_error(lambda: results_of(client, server, b'{"a": "\xff"}'), APIResponseError)
    for text in ('"a\\ud800b"', '"a\ud800b"'):
        body = json.dumps(CHAT).replace('"hello"', text).encode("utf-8", "surrogatepass")
        server.script(body=body, content_type="application/json")
        message = client.chat("hi").message
        client.chat([message])
        sent = server.last.json["messages"][0]
        assert message.content == message.to_dict()["content"] == sent["content"] == "a\ud800b"


# Pages


def results_pages(*pages, **more) -> list:
    """Answers of a list: each page's items, all but the last with has_more."""
    datas = [[{"id": name} for name in page] for page in pages]
    mores = [more or {"has_more": i < len(pages) - 1} for i in range(len(pages))]
    return [Answer(json={"data": data, **more}) for data, more in zip(datas, mores)]


def results_ids(page) -> str:
    return "".join(item.id for item in page)


def test_a_list_goes_over_all_items_of_all_pages_as_they_are_reached(server, client):
    server.script(*results_pages("ab", "c", "de"), *results_pages("ab", "c", "de")[1:])
    page = client.files.list(limit=2, purpose="x")
    items = iter(page)
    for name, requests_made in zip("abcde", (1, 1, 2, 3, 3)):
        assert next(items).id == name and server.count == requests_made
    queries = [request.query for request in server.requests[1:]]
    assert queries == [{"limit": "2", "purpose": "x", "after": id} for id in "bc"]
    assert results_ids(page.data) == "ab" and not list(items) and page.has_next_page()
    last = page.get_next_page().get_next_page()
    assert not last.has_next_page() and last.get_next_page() is None


RESULTS_LISTS = [  # what a page has, of which list, the query for the next one or None
    ({"next": "N"}, "files", {"after": "N"}), ({}, "files", {"after": "b"}),
    ({"data": [{"x": 1}]}, "files", {"after": "L"}), ({"data": ["a"]}, "files", {"after": "L"}),
    ({"data": [{}, "b"], "last_id": None}, "files", None),
    ({}, "beta.agents.environments.templates", {"after": "b"}),
]


@cases("behind", [[{"id": "z"}], []], ids=["z", "nothing"])
@cases("has_more", [True, None])
@cases("more, path, query", RESULTS_LISTS)
def test_a_list_goes_on_where_a_page_says_until_one_repeats_or_is_empty(
    server, client, more, path, query, has_more, behind
):
    page = {"data": [{"id": "a"}, {"id": "b"}], "last_id": "L", "has_more": has_more, **more}
    server.script(json={name: value for name, value in page.items() if value})
    server.default = Answer(json=dict(page, data=behind, **{k: "M" for k in more if k == "next"}))
    items = list(functools.reduce(getattr, path.split("."), client).list())
    assert items == (page["data"] or []) + (behind if query else [])
    queries = [request.query for request in server.requests[1:]]
    # With the page that repeats; the cursor of an empty one is its last_id.
    count = 2 if behind or has_more and query != {"after": "L"} else 1
    assert queries[:1] == [query] * bool(query) and len(queries) == count * bool(query)


def test_a_page_that_repeats_ends_the_list_though_an_item_has_changed(server, client):
    server.default = lambda r: Answer(json={"data": [{"id": "a", "done": server.count}]})
    assert results_ids(client.batches.list()) == "a" and server.count == 2
    server.script(*results_pages("ab", "c"))
    assert client.list_models() == ["a", "b", "c"]


# Bytes and files

NEW = b"new" * 1000


def test_a_binary_answer_reads_as_the_official_one(server, client):
    text = '{"a": 1}\n{"b": "\xe9\u2028"}\n'
    server.script(Answer(body=text), Answer(body=b'{"a": {"b": 1}}'))
    answer, other = client.files.content("f"), client.files.content("f")
    assert list(answer.iter_lines()) == text.split("\n")[:2] and answer.text == text
    assert b"".join(answer.iter_bytes(chunk_size=3)) == b"".join(answer.iter_bytes(3)) == answer
    assert other.json() == {"a": {"b": 1}}


def results_download(client, server, to, **how):
    server.script(**{"body": NEW, **how})
    return client.download_file("file-1", to)


def test_a_file_appears_whole_or_all_stays_as_it_was(server, client, once, tmp_path):
    assert results_download(client, server, tmp_path / "x") == 3000
    for how in ({"cut": 2000}, {"reset": 2000}, {"status": 500}):
        for name in ("x", "new"):
            client_error(lambda: results_download(once, server, str(tmp_path / name), **how))
    asked = server.count
    client_error(lambda: once.download_file("file-1", tmp_path / "no/such/folder/x"), OSError)
    assert server.count == asked
    client_error(lambda: once.download_file("file-1", tmp_path / ("n" * 300)), OSError)
    assert (tmp_path / "x").read_bytes() == NEW and os.listdir(tmp_path) == ["x"]
    let, asked = Event(), server.count
    server.script(pieces=[b"a" * 100, b"b" * 100], wait=let, hold_after=1)
    future = client.submit("download_file", "file-1", tmp_path / "y")
    server.wait_requests(asked + 1)
    assert not (tmp_path / "y").exists() and not let.set()  # while it comes
    assert future.result(10) == 200 and (tmp_path / "y").read_bytes()[99:101] == b"ab"
    assert sorted(os.listdir(tmp_path)) == ["x", "y"]
    file = io.BytesIO(b"old")
    file.seek(3)
    assert results_download(client, server, file) == 3000 and file.getvalue() == b"old" + NEW


def results_writers(client) -> list:
    return [
        (0o600, lambda to: client.download_file("f", to)),
        (0o640, lambda to: client.text_to_speech("hi", to=to)),
        (0o664, lambda to: client.files.content("f").write_to_file(to)),
        (0o604, lambda to: client.files.with_raw_response.content("f").stream_to_file(to)),
    ]


def test_a_file_keeps_its_rights_a_link_its_target_and_a_device_stays_one(server, client, tmp_path):
    server.default, path = Answer(body=NEW), tmp_path / "real"
    for mode, write in results_writers(client):
        path.write_bytes(b"old and longer" * 1000)
        path.chmod(mode)
        write(path)
        assert path.read_bytes() == NEW and stat.S_IMODE(path.stat().st_mode) == mode
    path.write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    client.download_file("f", tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and path.read_bytes() == NEW
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as file:
        assert client.download_file("f", "/dev/fd/%d" % write_end) == 3000
        os.close(write_end)
        assert file.read() == NEW
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]


def test_an_empty_file_is_written_in_place_and_emptied_at_a_break(server, client, tmp_path):
    once = results_writers(client.with_options(max_retries=0))
    for (_, write), (_, write_once) in zip(results_writers(client), once):
        with tempfile.NamedTemporaryFile(dir=str(tmp_path)) as file:
            server.default = Answer(body=b"x" * 300_000, cut=200_000)
            client_error(lambda: write_once(file.name), APIError)
            assert file.read() == b"" and os.path.getsize(file.name) == 0
            server.default = Answer(body=b"whole")
            write(file.name)
            assert file.read() == b"whole" and len(os.listdir(tmp_path)) == 1


# Images

RESULTS_PICTURES = {"png": b"\x89PNG\r\n", "webp": b"RIFF\0\0\0\0WEBPVP8 ", "bin": b"whatever"}


def test_images_are_saved_over_no_other_inline_or_by_url(server, client, tmp_path):
    texts = [base64.b64encode(body).decode() for body in RESULTS_PICTURES.values()]
    images = [{"b64_json": text} for text in texts]
    images += [{"url": start + texts[0]} for start in ("data:image/png;base64,", "DATA:;base64,")]
    images += [{"url": server.origin + "/p?sig=1"}, {"url": server.origin + "/p", "b64_json": None}]
    png = RESULTS_PICTURES["png"]
    server.script(Answer(json={"data": images}), Answer(body=png), Answer(body=b"BM"))
    result = client.generate_image("x")
    paths = result.save(tmp_path)
    bodies = [pathlib.Path(path).read_bytes() for path in paths]
    assert bodies == [*RESULTS_PICTURES.values(), png, png, png, b"BM"]
    assert [path.rsplit(".")[-1] for path in paths[:4]] == [*RESULTS_PICTURES, "png"]
    assert [request.target for request in server.requests[1:]] == ["/p?sig=1", "/p"]
    assert not [r for r in server.requests[1:] if "sk-test" in repr(r.headers)]
    some = Result(data=[{"error": {"message": "unsafe"}}, *result.data[:2]])
    more = together(8, lambda i: some.save(str(tmp_path)))
    assert len({*paths, *itertools.chain(*more)}) == 23 == len(os.listdir(tmp_path))


@cases("image, kind", [
    *((image, APIResponseError) for image in [
       {"b64_json": "A"}, {"b64_json": 7}, {"url": "data:a;base64,!"}, {}, {"error": "x"}]),
    ({"url": "http://127.0.0.1:1/x"}, APIConnectionError),
    ({"url": "file:///etc/hosts"}, OpenAIError), ({"url": 7}, OpenAIError),
    ({"url": "%s/gone"}, APIConnectionError),
], ids=str)
def test_an_image_that_cannot_be_had_is_an_error_and_no_file(server, client, tmp_path, image, kind):
    image = json.loads(json.dumps(image).replace("%s", server.origin))
    server.script(Answer(json={"data": [image]}), Answer(404, body="gone"))
    client_error(lambda: client.generate_image("x").save(tmp_path), kind)
    assert os.listdir(tmp_path) == []


# ------------ Client


def client_for(server, **options):
    usual = {"api_key": "sk-test", "initial_retry_delay": 0.001, "timeout": (5, 10)}
    return OpenAIMini(**{"base_url": server and server.url, **usual, **options})


def client_sleeping(server, **options):
    """A client whose waits are noted and not waited for, and the list of them."""
    clock = FakeClock()
    options = {"initial_retry_delay": 0.5, "use_request_queue": False, **options}
    client = client_for(server, **options)
    client._sleep = clock.sleep
    return client, clock.sleeps


def client_error(work, kind=OpenAIError, words=None):
    """The error that `work()` raises; its message matches `words`."""
    with pytest.raises(kind, match=words) as caught:
        work()
    return caught.value


def chat_error(client, kind=OpenAIError):
    return client_error(lambda: client.chat("hi"), kind)


def client_sent(server, name="authorization") -> list:
    """What came under a header's name in each request."""
    return [asked.headers.get(name) for asked in server.requests]


# The constructor and the environment


def test_arguments_win_over_the_environment_and_white_space_is_nothing(server, monkeypatch):
    def asked(client, **more):
        client.chat("hi", **more)
        headers = server.last.headers
        sent = [headers.get("openai-" + name) for name in ("organization", "project")]
        return [headers.get("authorization"), *sent, server.last.json["model"]]

    own = {"API_KEY": "sk-env", "BASE_URL": server.url + "/", "ORG_ID": "org-1",
           "PROJECT_ID": "proj-1", "MODEL": "env-model", "ADMIN_KEY": "sk-admin"}
    for blank in ("", " \n"):
        for name in own:
            monkeypatch.setenv("OPENAI_" + name, blank)
        client_error(OpenAIMini, AuthenticationError, "OPENAI_API_KEY")
        usual = DEFAULT_MODELS["chat"]
        assert asked(OpenAIMini(base_url=server.url)) == [None, None, None, usual]
    for name, value in own.items():
        monkeypatch.setenv("OPENAI_" + name, "\t'%s' \n" % value)
    assert asked(OpenAIMini(api_key="")) == ["Bearer sk-env", "org-1", "proj-1", "env-model"]
    client = client_for(server, organization="org-2", project="proj-2", model="mine")
    assert asked(client) == ["Bearer sk-test", "org-2", "proj-2", "mine"]
    assert asked(client, model="the call's")[-1] == "the call's"
    OpenAIMini().admin.organization.users.list()
    assert client_sent(server)[-1] == "Bearer sk-admin"


CLIENT_BAD_ARGUMENTS = [
    ("base_url", "ftp://host/v1", "localhost:8000", "http:///v1"),
    ("base_url", "https://me:secret-pw@host/v1", "https://me:secret-pw/rest@host/v1"),
    ("timeout", 0, -1, "10", (1, 2, 3), (1, "2"), float("nan")), ("deadline", 0, "5"),
    ("max_retries", -1, True, None, 2.5), ("initial_retry_delay", -1), ("backoff_factor", 0.5),
    ("max_retry_delay", "60"), ("max_concurrent_requests", 0), ("queue_size", -1),
    ("requests_per_minute", 0), ("default_headers", {"X A": "one"}), ("verify", 5),
    ("fallback", "gpt-4o-mini", [5]),
]


@cases("name, value", [(name, value) for name, *values in CLIENT_BAD_ARGUMENTS for value in values])
def test_a_wrong_argument_is_refused_by_name_without_what_is_secret_in_it(name, value):
    options = {"base_url": "http://127.0.0.1:9/v1", "api_key": "sk-test", name: value}
    said = str(client_error(lambda: OpenAIMini(**options), ValidationError))
    own = {"queue_size": "size", "default_headers": "X"}
    assert own.get(name, name.replace("_requests", "").replace("requests_", "")) in said
    assert "secret-pw" not in said and "\n" not in said


def test_an_unknown_argument_is_a_type_error():
    for make in (OpenAIMini, OpenAIMini(base_url="echo:").with_options):
        client_error(lambda: make(max_retrys=3), TypeError, "max_retrys")


@cases("end", "/ /v1 /v1// /v1?tenant=7 /v1/?api-version=7 /a%20b".split())
def test_a_base_url_may_end_as_it_likes_and_keeps_its_query(server, end):
    client_for(server, base_url=server.origin + end).chat("hi", extra_query={"b": 1})
    (asked,), (path, _, query) = server.requests, end.partition("?")
    assert asked.path == path.rstrip("/") + "/chat/completions"
    assert asked.query == {"b": "1", **dict(parse_qsl(query))}


def test_the_query_of_a_call_wins_over_the_default(server):
    client = client_for(server, default_query={"v": "0"})
    client = client.with_options(default_query={"v": "1", "keep": "0"})
    client.files.list(extra_query={"v": ["2", "3"]})
    client.files.list(limit=5, extra_query={"keep": "9"})
    assert [asked.query for asked in server.requests] == [
        {"v[]": ["2", "3"], "keep": "0"}, {"limit": "5", "v": "1", "keep": "9"},
    ]


# Copies


def test_a_copy_shares_all_but_its_options_and_the_original_stays(server):
    other = {"default_headers": {"X-B": "2"}, "api_key": "sk-other", "model": "m"}
    with client_for(server, default_headers={"X-A": "1"}, organization="org-1") as client:
        for twin in (client.with_options(**other), client.copy(max_retries=0), client):
            twin.chat("hi")
    client.close()  # once more
    server.wait_closed(1)
    assert client_sent(server) == ["Bearer sk-other", "Bearer sk-test", "Bearer sk-test"]
    assert client_sent(server, "x-a") == [None, "1", "1"]
    assert client_sent(server, "openai-organization") == ["org-1"] * 3
    assert server.first.json["model"] == "m" and server.connections == 1
    assert client.stats()["requests"] == client.with_options().stats()["requests"] == 3
    server.default = Answer(500)
    for _ in range(5):
        client_error(lambda: client.with_options(max_retries=0).chat("hi"))
    chat_error(client, CircuitOpenError)


@cases("given", [True, False])
def test_a_copy_for_another_server_has_a_like_breaker_of_its_own(server, other_server, given):
    settings = {"failure_threshold": 1, "reset_timeout": 7, "clock": FakeClock()}
    breaker = CircuitBreaker(**settings) if given else None
    client = guarded(server, breaker)
    state = lambda one: one.stats()["circuit"]["state"]  # noqa: E731
    other_server.default = Answer(500)
    copied = client.with_options(base_url=other_server.url)
    for _ in range(1 if given else 5):
        chat_error(copied, InternalServerError)
    error = client_error(lambda: copied.with_options(timeout=3).chat("hi"), CircuitOpenError)
    assert not given or error.retry_after == 7
    assert client.chat("hi").content == "hello" and state(client) == "closed"
    settings["clock"].advance(8)
    assert state(copied) == ("half_open" if given else "open")
    assert state(client.with_options(base_url=other_server.url)) == "closed"
    unguarded = client.with_options(circuit_breaker=False)
    assert state(unguarded.with_options(base_url=other_server.url)) is None


def test_a_copy_with_other_limits_or_session_has_its_own_queue_and_pool(server):
    client, gate, session = client_for(server), Event(), requests.Session()
    session.headers["x-mine"] = "1"
    server.default = Answer(json=CHAT, wait=gate)
    twin = client.with_options(max_concurrent_requests=1, queue_size=1000, session=session)
    same = twin.with_options(queue_size=int("1000"))
    jobs = [twin.submit("chat", "hi") for _ in range(3)]
    server.wait_requests(1)
    assert [slots_of(c) for c in (twin, same, client)] == [1, 1, 0]
    gate.set()
    assert [job.result(10).content for job in jobs] == ["hello"] * 3
    assert server.max_in_flight == 1 and client_sent(server, "x-mine") == ["1"] * 3


# Headers and keys


def test_headers_of_the_call_win_over_the_clients_whatever_their_case(server):
    mine = {"X-Team": "a", "user-agent": "mine", "X-Off": "1", "authorization": "Basic Zm9v"}
    client = client_for(server, default_headers=mine)
    client.chat("hi", extra_headers={"x-team": "b", "X-OFF": None, "X-New": "n"})
    client.chat("hi", extra_headers={"Authorization": "Bearer other"})
    headers = server.first.headers
    assert (headers["x-team"], headers["user-agent"], headers["x-new"]) == ("b", "mine", "n")
    assert "x-off" not in headers and client_sent(server) == ["Basic Zm9v", "Bearer other"]


def test_a_callable_key_is_asked_for_every_attempt_and_again_after_a_401(server):
    keys = iter(["a", "b", "c\n", *"defg"])
    client = client_for(server, api_key=lambda: next(keys))
    server.script(Answer(500), Answer(500), HELLO, Answer(401), HELLO)
    assert client.chat("hi").content == client.chat("hi").content == "hello"
    server.default = Answer(401)
    chat_error(client, AuthenticationError)
    client_error(lambda: client_for(server).chat("hi"), AuthenticationError)  # a str is final
    client = client_for(server, api_key=lambda: "token", max_retries=0)  # and so is one attempt
    chat_error(client, AuthenticationError)
    assert [value[7:] for value in client_sent(server)] == [*"abcdefg", "sk-test", "token"]
    server.default = usual
    client = client_for(server, api_key=lambda: {}["vault"])
    chat_error(client, LookupError)  # which is the caller's own
    assert slots_of(client) == 0 and counts_of(client) == (1, 0, 1, 0)


# What is tried again, and when


@cases("headers, wait", [
    ({"retry-after": "7"}, 7), ({"retry-after": "0"}, 0), ({"retry-after": "60"}, 60), ({}, None),
    ({"retry-after-ms": "250", "retry-after": "9"}, 0.25), ({"retry-after": "61"}, "too long"),
    ({"retry-after": "5"}, "past the deadline"),
])
def test_a_wait_that_the_server_asks_for_is_obeyed_up_to_max_retry_delay(server, headers, wait):
    for status in (429, 503):
        server.script(Answer(status, json={}, headers=headers))
        client, waits = client_sleeping(server, **{"deadline": 2} if "past" in str(wait) else {})
        if isinstance(wait, str):
            error = chat_error(client, APIStatusError)
            assert error.status_code == status and error.retry_after in (5, 61) and not waits
        else:
            assert client.chat("hi").content == "hello" and client.stats()["retries"] == 1
            assert waits == [wait] or wait is None and 0 <= waits[0] <= 0.5


def test_the_waits_grow_exponentially_with_full_jitter_up_to_a_limit(server, monkeypatch):
    drawn = []
    monkeypatch.setattr(random, "uniform", lambda least, most: drawn.append((least, most)) or most)
    monkeypatch.setattr(openai_mini, "random", random, raising=False)
    server.default = Answer(500)
    client, waits = client_sleeping(server, max_retries=6, max_retry_delay=5, circuit_breaker=False)
    chat_error(client)
    assert waits == [0.5, 1, 2, 4, 5, 5] and {least for least, _ in drawn} == {0}


def test_each_post_has_an_idempotency_key_for_all_its_attempts(server):
    server.script(Answer(500), Answer(json=CHAT, reset=0))
    client = client_for(server)
    for call in (client.chat, client.chat, lambda text: client.list_models()):
        call("hi")
    client.chat("hi", extra_headers={"idempotency-key": "mine"})
    first, *more, other, none, own = client_sent(server, "idempotency-key")
    assert more == [first] * 2 and first and other != first and (none, own) == (None, "mine")


def test_where_the_circuit_opens_between_attempts_the_real_error_is_raised(server):
    server.default = refusal(500, "the pump broke")
    client = client_for(server, circuit_breaker=CircuitBreaker(2))
    error = chat_error(client, InternalServerError)
    assert "pump" in str(error) and server.count == 2
    chat_error(client, CircuitOpenError)
    assert server.count == 2


# Fallbacks


@pytest.fixture
def other_server():
    with LoopbackServer() as other:
        yield other


@cases("fault", [Answer(500), Answer(429), Answer(json=CHAT, reset=0)])
def test_a_fallback_answers_when_the_first_server_does_not(server, other_server, fault):
    server.default = fault
    second = client_for(other_server, api_key="sk-other", model="other-model")
    client = client_for(server, fallback=second, max_retries=1)
    mine = {"Authorization": "Bearer sk-1", "X-A": "1"}  # a key of the first server
    assert client.chat("hi", extra_headers=mine).content == streamed(client) == "hello"
    assert client_sent(server) == ["Bearer sk-1"] * 2 + ["Bearer sk-test"] * 2
    assert other_server.first.json["model"] == "other-model"
    assert client_sent(other_server) == ["Bearer sk-other"] * 2
    assert client_sent(other_server, "x-a") == ["1", None]
    assert counts_of(client) == (2, 2, 0, 0)


def test_fallbacks_go_in_order_also_while_the_circuit_is_open(server, other_server):
    server.default, other_server.default = Answer(503), Answer(500)
    with LoopbackServer() as third:
        rest = [guarded(one) for one in (other_server, third)]
        client = guarded(server, CircuitBreaker(1), fallback=rest)
        assert client.chat("hi").content == "hello"
        third.default = Answer(504, json={"error": "third"})
        assert "third" in str(chat_error(client, InternalServerError))
        assert [len(each.requests) for each in (server, other_server, third)] == [1, 2, 2]


def test_what_another_server_would_refuse_too_does_not_go_to_the_fallback(server, other_server):
    client = client_for(server, fallback=client_for(other_server))
    for status in (400, 401, 404, 422):
        server.script(Answer(status))
        chat_error(client)
    server.script(sse=chunks("a", "b"), cut=250)  # nor a stream that has begun
    client_error(lambda: list(client.stream_chat("hi")), StreamInterruptedError)
    assert not other_server.requests


# ------------ Stream

FRAMED = cases("framing", ["chunked", "length", "close", "http10"])
STREAM_CODED = cases("coding", [False, "gzip", "deflate", "rawdeflate"])
TLS_OR_NOT = cases("tls", [False, True], ids=["plain", "tls"])
STREAM_HOW = {"content_type": "text/event-stream", "framing": "chunked"}


def stream_text(stream) -> str:
    return "".join(chunk.content for chunk in stream)


def stream_events(*datas) -> bytes:
    return b"".join(map(sse_bytes, datas))


def stream_held(server, *texts, after=1, **how):
    let = Event()
    server.script(sse=chunks(*texts), wait=let, hold_after=after, **how)
    return let


# When a chunk comes


@STREAM_CODED
@FRAMED
def test_each_chunk_reaches_the_caller_as_it_comes_in_pieces_of_any_size(
    server, client, framing, coding
):
    for after in (1, 2):
        let = stream_held(server, "a", "b", "c", after=after, framing=framing, gzip=coding)
        stream = client.stream_chat("hi")
        got = [next(stream).content for _ in range(after)]
        assert got == ["a", "b"][:after] and stream.content in ("a", "ab") and not let.is_set()
        assert stream.finish_reason is None is stream.usage
        let.set()
        assert "".join(got) + stream_text(stream) == "abc" == stream.content
    texts = ["t\xe9xt %d " % number for number in range(6)]
    for drip in (1, 7, 100):
        server.script(sse=chunks(*texts), framing=framing, gzip=coding, drip=drip)
        assert stream_text(client.stream_chat("hi")) == "".join(texts)


# Whether it is whole

LASTS = """response.completed response.failed response.incomplete image_generation.completed
    image_edit.completed transcript.text.done speech.audio.done""".split()


def stream_wholeness():
    """(name, events, whether [DONE] follows, whether that is a whole stream): of a chat, and,
    with a path in the name, of another call."""
    a = text("a")
    yield from [
        ("text and [DONE]", [a], True, True),
        ("a comment", [b": hi\n\n"], False, False),
        ("a finish reason, then usage", [a, END, {"choices": [], "usage": {}}], False, True),
        ("null", [text("a", "null")], False, False),
        ("one of two ended", [a, text("b", index=1), END], False, False),
        ("both ended", [a, one({}, "stop", index=1), END], False, True),
        ("another kind and chat without an end", [{"a": 1}, a], False, False),
        ("half an event after the end", [a, END, b"data: {"], False, True),
        ("/things of a kind", [{"type": "thing.happened"}], False, True),
    ]
    for last in LASTS:
        begun = {"type": last.rsplit(".", 1)[0] + ".delta"}
        yield ("/%s by name" % last, [("x.delta", begun), (last, {"type": last})], False, True)
        yield ("/%s not there" % last, [begun, {"type": "thing"}], False, False)
    yield ("/%s not there, but [DONE]" % last, [begun], True, True)


@cases("framing", ["chunked", "close"])
@cases("case", list(stream_wholeness()), ids=lambda case: case[0])
def test_half_a_stream_is_never_passed_off_as_a_whole_one(server, once, case, framing):
    name, items, done, whole = case
    server.script(sse=items, done=done, framing=framing)
    path = "/things" if "/" in name else "/chat/completions"
    call = partial(once.request, "POST", path, stream=True)
    read = lambda: list(call() if "/" in name else once.stream_chat("hi"))  # noqa: E731
    if whole:
        assert len(read()) == len([item for item in items if not isinstance(item, bytes)])
        return
    error = client_error(read, StreamInterruptedError)
    assert error.is_transient_error and error.partial.content in (None, "", "a")
    assert str(error).startswith("POST %s: " % path) and "1 attempt" in str(error)


@cases("framing", ["chunked", "length", "close"])
def test_cut_anywhere_a_stream_is_interrupted_unless_it_was_whole(server, once, framing):
    events = [text("h\xe9"), text("llo"), END]
    events = [json.dumps(event, ensure_ascii=False) for event in events]
    ends = list(itertools.accumulate(len(sse_bytes(item)) for item in events))
    needed = ends[2] - 2 * (framing == "close")
    for cut in range(ends[2] + len(b"data: [DONE]\n\n")):
        server.script(sse=events, framing=framing, cut=cut)
        got: list = []
        read = lambda: got.extend(c.content for c in once.stream_chat("hi"))  # noqa: E731
        if cut >= needed:
            read()
        else:
            error = client_error(read, StreamInterruptedError)
            assert (error.partial.content or "") == "".join(got)
        assert len(got) == sum(end - ends[2] + needed <= cut for end in ends), cut
    events[2] += " "
    server.script(sse=events, framing=framing, cut=ends[2] + 1 - 2 * (framing == "close"))
    assert "".join(chunk.content for chunk in once.stream_chat("hi")) == "h\xe9llo"
    if framing != "close":
        server.script(sse=[{"a": 1}, {"a": 2}], done=False, framing=framing, cut=20)
        others = once.request("POST", "/things", stream=True)
        client_error(lambda: list(others), StreamInterruptedError)


@cases("coding", [False, "gzip"])
@cases("how", ["cut", "reset"])
@FRAMED
def test_a_connection_lost_in_mid_stream_interrupts_it(server, client, framing, how, coding):
    whole = Answer(sse=chunks("abc", "def"), framing="length", gzip=coding)
    size = sum(map(len, whole.wire()[0][1:2])) + 8  # within the second event
    options = {"framing": framing, "gzip": coding, "pause": 0.01, how: size}
    server.script(sse=chunks("abc", "def"), **options)
    stream = client.stream_chat("hi")
    error = client_error(lambda: stream_text(stream), StreamInterruptedError)
    assert error.partial.content == stream.content == "abc"
    assert server.count == 1 and list(stream) == [] and stream.stats["chunks"] == 1


def test_after_the_finish_reason_no_silence_makes_it_half(server, client, monkeypatch):
    monkeypatch.setattr(openai_mini, "LINGER_S", 0.1)
    stream_held(server, "a", after=2, done=False)
    stream = client.stream_chat("hi", timeout=(5, 60))
    assert client.submit(stream_text, stream).result(20) == "a" and stream.finish_reason == "stop"
    server.wait_closed(1)
    for how in ({"finish_reason": "stop"}, {"finish_reason": None}):
        first, junk = {"choices": [{"delta": {"role": "assistant"}, **how}]}, b"data: DONE\n\n"
        body = [first, *chunks("b"), b"data: oops\n\n"]
        server.script(sse=[*body, junk], done=False, pause=0.3)
        assert stream_text(client.stream_chat("hi")) == "b"


@FRAMED
def test_after_done_the_iterator_ends_though_the_server_holds_on(server, client, framing):
    body = chunks("a") + ["[DONE]", b": more\n\n", text("b")]
    how = {"framing": framing, "wait": NEVER, "hold_after": 3}
    server.script(sse=body, done=False, **how)
    assert stream_text(client.stream_chat("hi")) == "a"
    server.wait_closed(1)
    assert slots_of(client) == 0


@cases("coding", [False, "gzip", "deflate"])
@cases("framing", ["chunked", "length"])
def test_where_the_end_came_with_done_the_connection_is_used_again(server, client, framing, coding):
    body = stream_events(*chunks("a", "b"), "[DONE]")
    server.default = Answer(body=body, **dict(STREAM_HOW, framing=framing), gzip=coding)
    for _ in range(4):
        assert stream_text(client.stream_chat("hi")) == "ab"
    assert server.connections == 1 and server.hung_up == 0


# Ways to leave it


def stream_left_by_exception(stream):
    with pytest.raises(ZeroDivisionError), stream as entered:
        assert entered is stream
        for _ in stream:
            raise ZeroDivisionError


def stream_left_by_close(stream):
    stream.close()
    stream.close()
    assert list(stream) == [] and stream.content == "a" == stream.message.content
    return stream


STREAM_LEAVING = {
    "close()": stream_left_by_close, "an exception": stream_left_by_exception,
    "response.close()": lambda stream: [*[stream.response.close() for _ in "ab"], stream],
    "dropped in mid loop": next, "dropped unread": id,
}


def stream_client(request, client, tls, **options):
    server = request.getfixturevalue("tls_server" if tls else "server")
    verify = server.cert_path if tls else None
    return server, client.with_options(base_url=server.url, verify=verify, **options)


@TLS_OR_NOT
@cases("way", STREAM_LEAVING)
def test_leaving_a_stream_frees_its_connection_and_slot_at_once(request, client, way, tls):
    server, client = stream_client(request, client, tls, max_concurrent_requests=1)
    stream_held(server, "a", "b")
    gc.collect()
    with without_gc():
        if tls:  # one that a job opened: it keeps the slot
            held = [client.submit("stream_chat", "hi").result(10)]
        else:
            held = [client.stream_chat("hi")]
        future = client.submit("chat", "next")
        eventually(lambda: client.stats()["queue"] == {"running": 1, "waiting": 1})
        held.append(STREAM_LEAVING[way](held.pop()))
        server.wait_closed(1, 5)
        assert future.result(10).content == "hello"  # who waited has the slot
    assert slots_of(client) == 0


@TLS_OR_NOT
@cases("framing", ["chunked", "close"])
def test_close_from_another_thread_wakes_a_blocked_reader(request, client, framing, tls):
    server, client = stream_client(request, client, tls, timeout=(5, 300))
    stream_held(server, "a", "b", framing=framing)
    stream = client.stream_chat("hi")
    got = []
    reader = threading.Thread(target=lambda: [got.append(c.content) for c in stream], daemon=True)
    reader.start()
    eventually(lambda: got)
    time.sleep(0.05)
    stream.close()
    reader.join(10)
    assert not reader.is_alive() and got == ["a"] and list(stream) == []
    server.wait_closed(1)
    assert slots_of(client) == 0 and client.stats()["abandoned"] == 1


# Silence

MORE = stream_events(*chunks("a", finish=None))


def stream_endless(between: bytes):
    yield MORE
    while True:
        time.sleep(0.02)
        yield between


@cases("between, options, named", [
    *((comment, {"timeout": (5, 0.4)}, "timeout=") for comment in
      (b": ping\n\n", b":", b"event: ping\n\n", None)),
    (MORE, {"deadline": 0.4}, "deadline"), (b":\n", {"deadline": 0.4}, "deadline"),
])
def test_a_silent_stream_ends_at_its_timeout_and_any_at_the_deadline(
    server, client, between, options, named
):
    if between is None:  # nothing at all
        stream_held(server, "a")
    else:
        server.script(pieces=partial(stream_endless, between), **STREAM_HOW)
    stream = client.stream_chat("hi", **options)
    error = client_error(lambda: list(stream), APITimeoutError)
    assert set(error.partial.content) == {"a"} and server.count == 1
    assert str(error).startswith("POST /chat/completions: ") and named in str(error)
    server.wait_closed(1)
    assert slots_of(client) == 0


def test_events_and_a_slow_reader_renew_the_time(server, client):
    server.script(sse=chunks(*"abcdefgh"), pause=0.1)
    stream = client.stream_chat("hi", timeout=(5, 0.6))
    assert stream_text(stream) == "abcdefgh" and stream.stats["duration_s"] > 0.6
    let = stream_held(server, "a", "b")
    stream = client.stream_chat("hi", timeout=(5, 0.5))
    next(stream)
    time.sleep(0.6)
    let.set()
    assert stream_text(stream) == "b"


# What is streamed without stream_chat, and what is no stream


@cases("method, args, family, names", [
    ("transcribe_audio", [b"ID3"], "transcript.text", "delta done"),
    ("generate_image", ["x"], "image_generation", "partial_image completed"),
    ("edit_image", [b"ID3", "x"], "image_edit", "partial_image completed"),
])
def test_stream_true_gives_a_stream_of_the_events(server, client, method, args, family, names):
    events = [{"type": "%s.%s" % (family, name), "delta": "good"} for name in names.split()]
    server.script(sse=events, done=False)
    stream = getattr(client, method)(*args, stream=True)
    assert isinstance(stream, Stream)
    assert [(event, getattr(event, "text", "")) for event in stream] == [(e, "") for e in events]
    assert stream.content == "good" * (method == "transcribe_audio")


def test_the_parts_of_a_transcription_end_nothing(server, client):
    server.script(sse=[text("one", "stop"), text(" two", "stop")])
    assert stream_text(client.transcribe_audio(MP3, stream=True)) == "one two"
    server.script(sse=[text("one", "stop")], done=False)
    stream = client.transcribe_audio(MP3, stream=True)
    client_error(lambda: list(stream), StreamInterruptedError)


STREAM_ODD = {  # what comes instead of an answer or a chunk, and the words of it in the error
    "cut": (b'{"choices": [', "choices"), "text": (b"no such", "no such"),
    "HTML": (b"<html><title>Sign in</title>", "Sign in"), "bytes": (b"\0\1", ""),
    "an array": (b"[1]", "[1]"), "null": (b"null", "null"), "choices": (b'{"choices": [5]}', ""),
    "deep": (b"[" * 100000, "[[["), "digits": (b'{"choices": ' + b"7" * 10000 + b"}", ""),
    "nested": (b'{"choices": [{"delta": %s1%s}]}' % (b'{"a":' * 3000, b"}" * 3000), ""),
}


@cases("how", ["call", "stream", "text", "chunk", "later"])
@cases("case", STREAM_ODD)
def test_what_is_no_json_object_is_an_error_that_says_what_came(server, once, case, how):
    body, words = STREAM_ODD[case]
    before = [text("a")] * (how == "later")
    answer = Answer(body=body, content_type="text/plain" if how == "text" else "application/json")
    is_event = how in ("chunk", "later")
    server.script(Answer(sse=[*before, b"data: %s\n\n" % body]) if is_event else answer)
    work = once.chat if how == "call" else lambda text: list(once.stream_chat(text))
    error = client_error(lambda: work("hi"), APIResponseError)
    assert str(error).startswith("POST /chat/completions: ") and words in str(error)
    assert len(str(error)) < 500 and server.count == 1
    if how != "call":
        partial = pickled(error).partial
        assert isinstance(partial, Result) and partial.role == "assistant"
        assert (partial.content or "") == "a" * len(before)
    assert slots_of(once) == 0


# Choices, counts and size


def test_with_n_over_1_each_choice_is_kept_apart(server, client):
    events = [text(letter, index=int(letter > "m")) for letter in "xayb"]
    events += [one({}, "length", index=1), one({}, "stop", index="0")]  # "0" is 0 too
    server.script(sse=events, done=False)
    with client.stream_chat("hi", n=2) as stream:
        assert [piece.content for piece in stream] == ["", "a", "", "b", "", ""]
    assert stream.content == "ab" == stream.message.content and stream.finish_reason == "stop"
    told = [(one.index, one.message.content, one.finish_reason) for one in stream.choices]
    assert told == [(0, "ab", "stop"), (1, "xy", "length")]
    server.script(sse=chunks("A"), done=False)  # a choice that starts late is waited for
    stream = client.stream_chat("hi", n=2)
    assert client_error(lambda: list(stream), StreamInterruptedError).partial.content == "A"


def test_its_times_and_counts_are_told(server, client):
    usage, head = {"completion_tokens": 7}, {"x-request-id": "req_5"}
    answer = Answer(sse=chunks(*"ab", usage=usage), pause=0.02, headers=head)
    server.script(lambda _: time.sleep(0.1) or answer)
    stream = client.stream_chat("hi")
    list(stream)
    stats = stream.stats
    assert stats["chunks"] == 4 and 0.1 <= stats["ttft_s"] < stats["duration_s"]
    between_s = (stats["duration_s"] - stats["ttft_s"]) / 3
    assert stats["avg_chunk_interval_s"] == pytest.approx(between_s) and between_s > 0.01
    assert stats["tokens_per_s"] == pytest.approx(7 / stats["duration_s"])
    assert stream.usage == usage and stream.tool_calls is None
    assert (stream.response.status_code, stream.response.request_id) == (200, "req_5")
    told = client.stats()["streams"]
    assert (told["started"], told["completed"], told["chunks"]) == (1, 1, 4) and told["ttft_s"] > 0


def test_a_forked_child_has_the_chunk_that_had_come_and_all_else_anew(server, client, capfd):
    server.script(sse=[text("whole", "stop")])
    stream = client.stream_chat("hi")
    assert in_child(lambda: stream_text(stream) == "whole")
    stream.close()
    let = stream_held(server, "a", after=0)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.stream_chat, "hi")
        try:
            eventually(lambda: any(type(one) is Stream for one in gc.get_objects()))
            assert in_child(lambda: slots_of(client) == 0)
        finally:
            let.set()
        assert stream_text(waiting.result(10)) == "a"
    assert capfd.readouterr().err == "", "what goes wrong in a fork's hook is only told there"


def test_memory_stays_constant_over_100000_chunks_but_for_the_text(server, client):
    hundred = stream_events(text("some text ")) * 100
    end = stream_events("[DONE]")
    server.script(pieces=lambda: itertools.chain([hundred] * 1000, [end]), **STREAM_HOW)
    stream = client.stream_chat("hi")
    for _ in range(5000):
        next(stream)
    gc.collect()
    before = sys.getallocatedblocks()
    assert sum(1 for _ in stream) == 95000
    gc.collect()
    assert sys.getallocatedblocks() - before < 5000
    assert stream.content == "some text " * 100000


# ------------ Faults

BROKEN, WRONG, LATE = APIConnectionError, APIResponseError, APITimeoutError


def faults_client(server, **options):
    return client_for(server, **{"max_retries": 2, "circuit_breaker": False, **options})


@pytest.fixture(params=["own pools", "session="])
def session(request):
    """What session= is: nothing, or a session of the caller's."""
    with requests.Session() as session:
        yield None if request.param == "own pools" else session


def streamed(client, **options) -> str:
    return stream_text(client.stream_chat("hi", **options))


def ending(client, stream=False, **options):
    """The text of one chat, or the error of ours that it raised."""
    try:
        return streamed(client, **options) if stream else client.chat("hi", **options).content
    except OpenAIError as error:
        assert re.match("POST /chat/completions: ", str(error)) and str(error).isprintable(), error
        assert pickled(error).args == error.args
        return error


def faults_raw(raw: bytes, **how) -> Answer:
    return Answer(raw=b"HTTP/1.1 200 OK\r\n" + raw, **how)


CUT_AT, WHY = len(json.dumps(CHAT)) // 2, {"error": {"message": "why", "code": "c"}}
ATTEMPTS = [  # id, how call and stream end, attempts with max_retries=2, the answer each time
    ("reset before the headers", BROKEN, 3, Answer(raw=b"", reset=0)),
    ("reset in the body", BROKEN, 3, Answer(json=CHAT, reset=20)),
    ("empty reply", BROKEN, 3, Answer(raw=b"")),
    ("no HTTP at all", BROKEN, 3, Answer(raw=b"220 smtp ready\r\n")),
    ("HTTP/1.0, deflate", "hello", 1, Answer(json=CHAT, framing="http10", gzip="deflate", drip=9)),
    ("a coding unknown", WRONG, 3, Answer(json=CHAT, headers={"content-encoding": "br"})),
    ("cut, with a length", WRONG, 3, Answer(json=CHAT, cut=CUT_AT)),
    ("cut, chunked", WRONG, 3, Answer(json=CHAT, framing="chunked", cut=CUT_AT)),
    ("cut, gzip, chunked", WRONG, 3, Answer(json=CHAT, gzip=True, framing="chunked", cut=60)),
    ("cut, to the end", WRONG, 1, Answer(json=CHAT, framing="close", cut=CUT_AT)),
    ("cut at once, gzip", WRONG, 3, Answer(json=CHAT, gzip=True, framing="close", cut=0)),
    ("chunks that are none", WRONG, 3, faults_raw(b"transfer-encoding: chunked\r\n\r\nzz\r\n")),
    ("204", WRONG, 1, Answer(204)),
    ("stream cut before its first event", WRONG, 3, Answer(sse=["x"], cut=3)),
    ("304", APIStatusError, 1, Answer(304)),
    *((str(status), APIStatusError, attempts, Answer(status, json=WHY))
      for attempts, *statuses in [(1, 400, 401, 402, 403, 404, 413, 422, 425),
                                  (3, 408, 409, 429, 500, 502, 503, 504, 529, 599)]
      for status in statuses),
    ("quota", RateLimitError, 1, Answer(429, json={"error": {"code": "insufficient_quota"}})),
    *(("%d, x-should-retry: %s" % (status, asked), APIStatusError, attempts,
       Answer(status, json=WHY, headers={"x-should-retry": asked}))
      for status, asked, attempts in [(400, "true", 3), (429, "false", 1), (500, "?", 3)]),
    *(("400, " + str(how), BadRequestError, 1, Answer(400, json=WHY, **how))
      for how in ({"reset": 5}, {"gzip": True, "cut": 9})),
]


@cases("case", ATTEMPTS, ids=lambda case: case[0])
@cases("stream", [False, True], ids=["call", "stream"])
def test_a_fault_ends_in_the_right_way_after_the_right_attempts(server, session, case, stream):
    _, right, attempts, server.default = case
    client = faults_client(server, session=session)
    for max_retries, tries in ((2, attempts), (0, 1)):
        server.requests.clear()
        got = ending(client, stream, max_retries=max_retries)
        assert server.count == tries
        assert len(set(client_sent(server, "idempotency-key"))) == 1
        if right == "hello":
            assert got == right
            continue
        assert isinstance(got, (right, StreamInterruptedError) if stream else right)
        assert "%d attempt" % tries in str(got)
        assert case[-1].status < 300 or got.status_code == case[-1].status
    server.default = usual
    assert ending(client, stream) == "hello"
    assert is_idle(client)


def test_a_host_that_takes_no_connection_costs_the_connect_timeout(session):
    with contextlib.ExitStack() as stack:
        deaf, *callers = (stack.enter_context(socket.socket()) for _ in range(4))
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for caller in callers:  # fill its backlog
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        url = "http://127.0.0.1:%d/v1" % deaf.getsockname()[1]
        error = ending(faults_client(None, base_url=url, timeout=(0.1, 30), session=session))
    assert isinstance(error, LATE) and "0.1 s" in str(error) and "3 attempts" in str(error)


def test_a_dead_pooled_connection_is_replaced_but_not_in_the_answer(server, session, monkeypatch):
    ok = HELLO
    with faults_client(server, max_retries=0, session=session) as client:
        assert ending(client) == "hello"
        server.drop_connections()
        server.wait_for(lambda: not server.open_connections)
        assert ending(client) == "hello" and server.connections <= 2
    server.script(ok, Answer(raw=b""), ok, Answer(raw=b"", reset=0), ok)
    server.script(faults_raw(b"cont", reset=99))
    with faults_client(server, max_retries=0) as client:
        assert ending(client) == ending(client) == "hello"
        assert client.upload_file(b"{}\n" * 100_000).object == "chat.completion"
        assert [request.connection for request in server.requests[2:]] == [3, 3, 4, 4, 5]
        assert isinstance(ending(client), BROKEN)
        assert client.stats()["retries"] == 0 and server.count == 8
        monkeypatch.setattr(openai_mini, "DEAD_S", -1)
        server.script(ok, Answer(raw=b""))
        assert ending(client) == "hello" and isinstance(ending(client), BROKEN)


def test_headers_that_drip_do_not_renew_the_time(server):
    server.default = Answer(raw=[b"HTTP/1.1 200 OK\r\n"] + [b"x-m", b": y\r\n"] * 90, pause=0.02)
    for options in ({"timeout": (5, 0.2)}, {"deadline": 0.2}):
        assert isinstance(ending(faults_client(server, max_retries=0, **options)), LATE)
    assert server.wait_requests(2) and server.wait_closed(2) and server.count == 2


def test_a_body_may_be_slow_but_not_beyond_the_deadline(server, session):
    server.default = Answer(json=CHAT, drip=40, pause=0.03, framing="chunked")
    client = faults_client(server, session=session, timeout=(5, 0.5))
    assert ending(client) == "hello"  # each piece renews the time
    error = ending(client, deadline=0.15)
    assert isinstance(error, LATE) and "deadline" in str(error)
    assert server.wait_requests(2) and server.count == 2


@cases("after", [None, 2], ids=["no answer", "half a body"])
def test_a_server_that_never_answers_a_post_is_asked_twice_at_most(server, session, after):
    server.default = Answer(json=CHAT, drip=40, wait=NEVER, hold_after=after)
    client = faults_client(server, timeout=(5, 0.08), max_retries=5, session=session)
    error = ending(client)
    assert isinstance(error, LATE) and "2 attempts" in str(error)
    assert after or "0.08 s" in str(error) and "timeout=" in str(error)
    assert server.wait_requests(2) and server.count == 2
    # reading again costs nothing
    client_error(lambda: client.list_models(max_retries=3), LATE, "4 attempts")
    error = ending(client, timeout=9, deadline=0.3)  # no reason to ask again
    assert isinstance(error, LATE) and "deadline" in str(error)
    assert server.wait_closed(7) and server.count == 7
    assert slots_of(client) == 0


def test_early_hints_never_give_the_answer_of_another_call(server, session):
    server.default = lambda request: Answer(json=dict(CHAT, id=request.json["user"]))
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n"
    client = faults_client(server, session=session)
    for early in (hints, b"HTTP/1.1 100 Continue\r\n\r\n" + hints * 2):
        server.script(json=dict(CHAT, id="1"), early=early)
        client_error(lambda: client.chat("hi", user="1"), APIStatusError, "103")
        assert client.chat("hi", user="2").id == "2" and server.count == 2
        server.requests.clear()


@cases("amid", ["a call", "a stream", "the wait before a retry"])
def test_ctrl_c_ends_at_once_and_leaves_nothing(server, amid):
    seen = Event()
    server.default = Answer(500, json={}, headers={"retry-after": "50"}, close=True)
    if amid == "a call":
        server.default = lambda request: (seen.set(), Answer(wait=NEVER))[1]
    elif amid == "a stream":
        stream_held(server, "hel", "lo")

    def work():
        if amid != "a stream":
            client.chat("hi")
        for _ in client.stream_chat("hi"):
            seen.set()

    client = faults_client(server, on_event=lambda told: told["event"] == "retry" and seen.set())
    with nothing_left_over():
        ctrl_c_while(work, lambda: (seen.wait(10), time.sleep(0.05)))
    assert is_idle(client)
    assert counts_of(client) == (1, 0, 0, 1) and server.count == 1


@cases("more", [b"", b"content-type: audio/mpeg\r\n", b"content-type: audio/mpeg\r\nconte"])
def test_an_answer_that_ends_in_its_head_is_none(server, session, more):
    server.default, client = faults_raw(more), faults_client(server, session=session)
    error = client_error(lambda: client.text_to_speech("hi"), (BROKEN, WRONG))
    assert error.is_transient_error and server.count == 3


@cases("coding", [b"chunked ", b"identity, chunked", b"chunked, chunked"])
def test_a_transfer_coding_in_a_list_is_undone_and_a_cut_one_is_told(server, session, coding):
    head = b"content-type: audio/mpeg\r\ntransfer-encoding: " + coding
    whole, client = head + b"\r\n\r\n4\r\nsong\r\n0\r\n\r\n", faults_client(server, session=session)
    server.script(faults_raw(whole), *[faults_raw(whole[:-8])] * 3)
    assert client.text_to_speech("hi") == b"song"
    client_error(lambda: client.text_to_speech("hi"), WRONG)
    assert server.count == 4


@cases("status, attempts", [(400, 1), (401, 1), (429, 3), (500, 3)])
def test_a_hook_of_a_session_that_raises_for_status_changes_no_error(server, status, attempts):
    server.default = Answer(status, json=WHY)
    with requests.Session() as session:
        session.hooks["response"].append(lambda answer, **how: answer.raise_for_status())
        error = ending(faults_client(server, session=session))
    assert type(error) is getattr(openai_mini, ERROR_STATUSES[status]) and error.code == "c"
    assert "why" in str(error) and server.count == attempts

# ------------ Answers
#
# What comes under status 200 is an answer only if it holds one; a streamed message is put together
# by meaning. From public reports, whose repository and number stand by, and siblings of them.

W = "no worker for this tenant"


def of_stream(client, *items):
    """The stream over these events, read to its end."""
    client.server.script(sse=list(items))
    stream = client.stream_chat("hi")
    assert stream_text(stream) == stream.content
    return stream


@pytest.fixture
def once(server, client):
    client = client.with_options(max_retries=0, circuit_breaker=False)
    client.server = server
    return client


# Whether it holds an answer

NO_ANSWERS = [  # id, what comes under 200, the error, attempts with max_retries=1
    ("base_resp", {"choices": None, "usage": {"total_tokens": 0},  # n8n#37959
                   "base_resp": {"status_code": 1008, "status_msg": W}}, APIError, 1),
    ("base_resp: rate", {"choices": None, "base_resp": {
        "status_code": 1002, "status_msg": W + ": rate limit"}}, APIError, 2),
    ("detail", {"detail": W}, APIError, 1),  # openai-agents-python#2850
    ("nothing", {"id": "x", "object": "chat.completion"}, APIResponseError, 1),
    ("msg", {"code": 40001, "msg": W, "choices": []}, APIError, 1),
    ("object: error", {"object": "error", "message": W, "code": 400}, BadRequestError, 1),
    ("error beside null", {"choices": None, "error": {"message": W, "code": 502}},
        InternalServerError, 2),
    ("a code nobody knows", {"error": {"message": W, "code": "inspection_failed"}}, APIError, 1),
    ("words of overload", {"error": {"message": W + ": overloaded"}}, APIError, 2),
    ("message", {"message": W, "code": "TENANT"}, APIError, 1),
    ("LM Studio", {"error": "Unexpected endpoint or method. " + W}, APIError, 1),
    ("error_type: overloaded", {"error": W, "error_type": "overloaded"}, APIError, 2),
    ("OpenRouter", {"error": {"message": "Provider returned error", "code": 400,
                              "metadata": {"raw": json.dumps({"error": W})}}}, BadRequestError, 1),
    ("in the choice", one({"content": ""}, "error", error={"message": W, "code": 502},
                          message={"content": ""}), InternalServerError, 2),
    ("beside a choice", dict(CHAT, error={"message": W, "code": 429}), RateLimitError, 2),
]


@cases("how", ["call", "stream", "stream, JSON"])
@cases("case", NO_ANSWERS, ids=lambda case: case[0])
def test_what_holds_no_answer_is_an_error_with_the_servers_words(server, once, case, how):
    name, body, kind, attempts = case
    server.default = Answer(sse=[body]) if how == "stream" else Answer(json=body)
    asked = partial(once.chat if how == "call" else once.stream_chat, "hi", max_retries=1)
    error = client_error(lambda: list(asked()), kind)
    assert str(error).startswith("POST /chat/completions: ") and server.count == attempts
    assert "nothing" in name or W in str(error)
    assert name != "LM Studio" or "base_url=" in str(error)
    if how != "call":
        assert error.partial.role == "assistant" and error.partial.content in (None, "", "hello")


INNER = {"code": 400, "message": W, "type": "invalid_request_error"}
ERROR_LINE, BARE_ERROR = json.dumps(INNER).encode(), json.dumps({"error": INNER}).encode()
ERROR_EVENTS = {  # how an error comes inside a stream: event, class; of servers as they are known
    "line, llama.cpp#16104": (b"error: " + ERROR_LINE + b"\n\n", BadRequestError),
    "bare JSON": (BARE_ERROR + b"\n\n", BadRequestError),
    "bare JSON at the end of the body": (BARE_ERROR, BadRequestError),
    "event: error, words": (("error", W), APIError),
    "OpenAI": ({"error": {"message": W, "type": "server_error"}}, InternalServerError),
    "OpenRouter, documentation of errors": (
        dict(text("", "error"), error={"code": 502, "message": W}), InternalServerError),
    "Groq, tensorzero#1893": ({"error": dict(INNER, code="tool_use_failed")}, BadRequestError),
    "vLLM": ({"error": dict(INNER, object="error", type="BadRequestError")}, BadRequestError),
    "TGI": ({"error": W, "error_type": "generation"}, APIError),
    "MiniMax": ({"base_resp": {"status_code": 1013, "status_msg": W}}, APIError),
    "Azure": ({"error": {"code": "content_filter", "message": W}}, BadRequestError),
}


@cases("first", [True, False], ids=["at first", "in mid-stream"])
@cases("case", ERROR_EVENTS)
def test_an_error_inside_a_stream_is_raised_with_what_had_come(server, once, case, first):
    event, kind = ERROR_EVENTS[case]
    done = "end of the body" not in case
    items = [event] if first else [b": ping\n\n", text("So "), event]
    server.script(sse=items, done=done, framing="chunked" if done else "close")
    got = []
    error = client_error(lambda: got.extend(once.stream_chat("hi")), kind)
    assert W in str(error) and server.count == 1 and error.partial.role == "assistant"
    assert [error.partial.content or ""] == ([piece.content for piece in got] or [""])
    assert len(got) == (not first)


@cases("reason", ["network_error", "Abort", "insufficient_system_resource", "f: MALFORMED_CALL"])
def test_a_finish_reason_of_a_break_is_an_error_with_what_had_come(server, once, reason):
    broken = {"finish_reason": "stop", "native_" * (reason == "Abort") + "finish_reason": reason}
    last = {"choices": [{"delta": {}, **broken}]}
    whole = Answer(json={"choices": [{"message": MSG, **broken}]})
    again = once.with_options(max_retries=1)
    server.script(whole, HELLO, Answer(sse=[last]), Answer(sse=chunks("a")))
    assert again.chat("hi").content == "hello" and stream_text(again.stream_chat("hi")) == "a"
    server.script(whole, Answer(sse=[text("half of it"), last]))
    stream = lambda: list(again.stream_chat("hi"))  # noqa: E731
    for ask, words in ((lambda: once.chat("hi"), MSG["content"]), (stream, "half of it")):
        error = client_error(ask, InternalServerError)
        assert reason in str(error) and error.partial.content == words
    assert server.count == 6


def test_words_without_choices_are_an_error_unless_the_answer_goes_on_to_its_end(once):
    for told in ({"detail": W}, {"code": 5, "error_msg": W}, {"success": False, "errors": [W]}):
        assert of_stream(once, text("a"), told, text("b", "stop")).content == "ab"
        error = client_error(lambda: of_stream(once, text("Half"), told), APIError)  # noqa: B023
        assert W in str(error) and error.partial.content == "Half"


def test_an_event_that_says_nothing_is_passed_over_and_is_no_answer(once):
    for empty in (b"data:\n\n", b"data: \n\n", b"event: ping\ndata:\n\n", b"data\n\n"):
        items = [empty, text("Good "), empty, empty, text("day", "stop"), empty]  # omnigent#1474
        stream = of_stream(once, *items)
        assert stream.content == "Good day" and stream.stats["chunks"] == 2
    for nothing in ((), (empty,), ({"choices": [], "usage": {}},)):
        error = client_error(lambda: of_stream(once, *nothing), APIError)
        assert error.partial.role == "assistant" and not error.partial.content


@cases("size", [b"zz", b"-5", b"f" * 18])
def test_chunks_that_arrived_before_the_body_broke_reach_the_caller_first(server, once, size):
    came = sse_bytes(text("came"))
    head = b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n"
    server.script(faults_raw(head % (len(came), came) + size + b"\r\n"))
    got = []
    error = client_error(lambda: got.extend(once.stream_chat("hi")), APIError)
    assert [piece.content for piece in got] == ["came"] and error.partial.content == "came"


@cases("kind", ["text/plain", "application/octet-stream", "text/html", ""])
def test_an_answer_under_another_content_type_is_read_by_its_first_bytes(server, once, kind):
    events = b"\n: ping\n\n" + stream_events(text("hel"), text("lo", "stop"), "[DONE]")
    whole = BOM + b" \n" + BODY
    for body, of_kind in ((events, kind), (events[1:], kind), (whole, kind),
                          (events[1:], "application/json"), (whole, "text/event-stream")):
        server.script(body=body, content_type=of_kind)
        assert stream_text(once.stream_chat("hi")) == "hello"
    server.script(*[Answer(body=whole, content_type=kind or "text/plain")] * 2)
    assert once.chat("hi").content == "hello"
    assert not isinstance(once.request("POST", "/things"), dict)


def test_a_whole_message_at_the_end_is_told_and_not_shown(once):
    last = {"choices": [dict(END["choices"][0], delta=None, message={"content": "hello"})]}
    once.server.script(sse=[text("helo"), last])
    stream = once.stream_chat("hi")
    assert stream_text(stream) == "helo"
    assert stream.content == "hello" == stream.message.content


# By meaning

USAGE = {"usage": {"output_tokens": 5, "total_tokens": 14}}
MSG = {"role": "assistant", "content": "Hello there."}
LAST = {"choices": [{"index": 0, "finish_reason": "stop", "delta": None,
                     "message": dict(MSG, reasoning_content="A greeting.", audio_content="")}],
        **USAGE, "base_resp": {"status_code": 0, "status_msg": ""}}
ZERO = {"usage": {"total_tokens": 0}}
SUMMARY = {"type": "reasoning.summary", "format": "r-v1", "index": 0, "id": "rs_1"}
SEALED = {"type": "reasoning.encrypted", "format": "r-v1", "index": 0, "id": "rs_1", "data": "x-"}


def parts(*pairs) -> dict:
    return one({"content": [{"type": kind, kind: value} for kind, value in pairs]})


def thought(words) -> tuple:
    return "thinking", [{"type": "text", "text": words}]


MEANINGS = [  # id, chunks, the text, and what else of the message is right
    # litellm#16272
    ("text and parts", [text("O, "), parts(thought("Hm")), parts(("text", "good ")),
        parts(("text", "day")), text("!"), END], "O, good day!",
        parts(("text", "O, "), thought("Hm"), ("text", "good day!"))["choices"][0]["delta"]),
    ("all kinds", [said(reasoning_content="Let ", flag=False),
        one({"content": None, "reasoning_content": 6}), text("\xe9", "stop"),
        one({"content": "\ud83d", "annotations": [{"a": 1}], "function_call": {"name": "f"}}),
        one({"annotations": [{"a": 2}], "audio": {"id": "a1", "data": "AA"}}),
        one({"function_call": {"arguments": "1"}, "details": [{"index": 0, "text": "a"}]}),
        one({"function_call": {"arguments": "2"}, "audio": {"id": "a1", "data": "BB"}}),
        one({"details": [{"index": 1, "text": "c"}, {"index": 0, "text": "b"}]})],
        "\xe9\ud83d", {"reasoning_content": "Let 6", "flag": False,
        "annotations": [{"a": 1}, {"a": 2}], "function_call": {"name": "f", "arguments": "12"},
        "audio": {"id": "a1", "data": "AABB"},
        "details": [{"index": 0, "text": "ab"}, {"index": 1, "text": "c"}]}),
    ("a message of one piece", [text("Hello "), text("there."),
        one({}, "stop", message={"content": "there."})], "Hello there.", {}),
    ("a message that grows beside", [text("Hello", message={"content": "Hello"}),
        text(" there.", "stop", message=MSG)], "Hello there.", {}),
    ("a message that grows alone", [one({}, message={"content": "Hello"}),
        one({}, "stop", message=MSG)], "Hello there.", {}),
    ("usage, a greater one", [dict(text("a"), usage={"total_tokens": 9}),
        dict(text(""), **USAGE), END], "a", {}),
    ("an empty error:", [text("a"), b"error:\n\n", END], "a", {}),
    ("null as a text", [text("a", "null"), text("b", "null"), END], "ab", {}),  # ai00_server#90
    ("parts of all kinds", [one({"content": [
        {"type": "text", "text": "b"}, {"type": "image"}]}), END], "b", {}),
    ("no role, no calls", [dict(said(role=None, tool_calls=[]), response=USAGE),
        said("stop", role="", content="a")], "a", {}),
    # ai-sdk-provider#519
    ("details by type", [*(one({"content": "", "reasoning_details": [detail]}) for detail in [
        dict(SUMMARY, summary="Weigh"), dict(SUMMARY, summary="ing"), SEALED, SEALED]), END], "",
        {"reasoning_details": [dict(SUMMARY, summary="Weighing"), SEALED, SEALED]}),
    ("two choices for one", [{"choices": text("a")["choices"] + [
        {"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"}]}, END], "a", {}),
]


def sp(arguments=None, name=None, id=None, index=None, **more) -> dict:
    """A piece of a call, without what is None."""
    given = lambda **pairs: {k: v for k, v in pairs.items() if v is not None}  # noqa: E731
    return given(id=id, index=index, function=given(arguments=arguments, name=name), **more)


PARIS, ROME = '{"city": "Paris"}', '{"city": "Rome"}'
F1, G2 = ("f", "1", "a"), ("g", "2", "b")
STREAMED_CALLS = {  # pieces, one list a chunk; name, arguments and id of each call (None: any)
    "interleaved": ([[sp("", "f", "a", 1)], [sp("", "g", "b", 2)],
                     [sp("1", index=1), sp("2", index=2)]], F1, G2),
    "another id in each piece": ([[sp("", "f", "a", 0)], [sp("1", id="b", index=0)]], F1),
    "another index": ([[sp("", "f", "a", 0)], [sp("1", index=1)], [sp("2", index=1)]],  # agno#8879
                      ("f", "12", "a")),
    "two, no index": ([[sp("", "f", "a")], [sp("1")], [sp("", "g", "b")], [sp("2")]], F1, G2),
    "one index, two ids": ([[sp("1", "f", "a", 0)], [sp("2", "g", "b", 0)]], F1, G2),
    "repeated, then empty": ([[sp("1", "f", "a", 0, type="function")], [sp("2", "f", "a", 0)],
                              [sp("3", "", "", 0, type="")]], ("f", "123", "a")),
    "two functions, no ids": ([[sp("1", "f")], [sp("2", "g")]], ("f", "1", None), ("g", "2", None)),
    "the name in each piece": ([[sp('{"city": ', "f")], [sp('"Paris"}', "f")]], ("f", PARIS, None)),
    # unsloth#9909, hermes-agent#62937: each call whole, of one function
    "whole, no index": ([[sp(PARIS, "f"), sp(ROME, "f")], [sp(PARIS, "f")]],
                        ("f", PARIS, None), ("f", ROME, None), ("f", PARIS, None)),
    "whole, index 0": ([[sp(PARIS, "f", "", 0)], [sp("{}", "f", index=0)], [sp("{}", "f", "", 0)]],
                       ("f", PARIS, None), ("f", "{}", None), ("f", "{}", None)),
}


@cases("case", STREAMED_CALLS)
def test_there_are_as_many_calls_as_the_server_made_and_they_go_back(once, case):
    pieces, *right = STREAMED_CALLS[case]
    chunks_of_it = [one({"tool_calls": piece}) for piece in pieces]
    stream = of_stream(once, *chunks_of_it, one({}, "tool_calls"))
    calls = stream.tool_calls
    told = [(c.function.name, c.function.arguments, c.id) for c in calls]
    assert [(*call[:2], id and call[2]) for call, (_, _, id) in zip(told, right)] == right
    assert len(calls) == len(right) == len({c.id or None for c in calls} - {None})
    assert stream.content == "" and stream.finish_reason == "tool_calls"
    assert calls == stream.message.tool_calls
    assert [set(c) for c in calls] == [{"id", "type", "function"}] * len(calls)
    assert_it_goes_back(once, stream.message)


def assert_it_goes_back(once, message):
    calls = message.get("tool_calls") or []
    answers = [{"role": "tool", "tool_call_id": c["id"], "content": "rain"} for c in calls]
    once.chat([*HI, message, *answers])
    assert once.server.last.json["messages"][1] == message


DELTA = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0}
DONE = dict(DELTA, type="response.output_text.done")
ITEM, ITEM_1, ITEM_2 = (
    {"type": "message", "content": [{"type": "output_text", "text": words}]}
    for words in ("Lima.", "Li", "ma."))
LI = dict(DELTA, delta="Li")
OUT = {"type": "response.output_item.done", "output_index": 0, "item": ITEM}


def completed(*output, kind="completed") -> dict:
    return {"type": "response." + kind, "response": {"output": list(output), **USAGE}}


def whole(**message) -> Answer:
    return Answer(json={"choices": [{"message": message, "finish_reason": "stop"}]})


SEARCHES = [{"id": "c", "type": "web.search"}]  # calls of another kind
CHAT_AND_DONE = json.dumps(CHAT) + "\n\ndata: [DONE]\n\n"
ANSWERS_AS_MEANT = [  # the answer, what is done, and what comes of it
    (whole(role="model", content={"a": 1}), lambda c: c.chat("x", schema={}).parsed, {"a": 1}),
    (whole(content=["Hello ", {"text": "you"}]), lambda c: c.chat("x").content, "Hello you"),
    (whole(role="model"), lambda c: c.chat("x").message, {"role": "assistant", "content": None}),
    (whole(tool_calls=SEARCHES), lambda c: c.chat("x").tool_calls, SEARCHES),
    (whole(tool_calls=SEARCHES[0]), lambda c: c.chat("x").tool_calls, SEARCHES),
    (Answer(json=dict(CHAT, content=7, tool_calls=True)), lambda c: c.chat("x").content, "hello"),
    (Answer(body=json.dumps(CHAT).replace("hello", "a\tb\nc")), lambda c: c.chat("x").content,
     "a\tb\nc"),
    (Answer(body=CHAT_AND_DONE), lambda c: c.chat("x").content, "hello"),
    (Answer(body=CHAT_AND_DONE), lambda c: stream_text(c.stream_chat("x")), "hello"),
    (Answer(json=completed(ITEM)["response"]), lambda c: stream_text(
        c.responses.create(model="m", input="x", stream=True)), "Lima."),
    (Answer(sse=[{"type": "transcript.text.done", "text": "hi"}]),
     lambda c: str(c.transcribe_audio(MP3)), None),
    (Answer(json={"text": "hi"}), lambda c: c.audio.transcriptions.create(
        file=MP3, model="m", response_format="text"), "hi"),
    (Answer(json={"object": "list", "data": None}), lambda c: list(c.models.list()), []),
    (Answer(json={"data": [{"index": 0, "embedding": [float("nan")]}]}),
     lambda c: c.embedding("x"), None),
    (Answer(json={"data": [{"embedding": "AAAAAAA="}]}),
     lambda c: c.embeddings.create(model="m", input="x"), None),
    (Answer(json={"data": [{"embedding": "AQ=="}]}), lambda c: c.embeddings.create(
        model="m", input="x", encoding_format="ubinary").data[0].embedding, "AQ=="),
    (Answer(headers={"content-encoding": "br"}, status=401), lambda c: c.chat("x"), 401),
    (Answer(json={"error": {"code": "held", "message": "server"}}), lambda c: c.chat("x"), None),
    (Answer(json=CHAT, headers={"content-length": "%d, %d" % (2 * (len(json.dumps(CHAT)),))}),
     lambda c: c.chat("x", timeout=5).content, "hello"),
]


@cases("number", range(len(ANSWERS_AS_MEANT)))
def test_an_answer_is_read_as_it_was_meant(server, client, number):
    """None: an APIResponseError. A number: the status of an error."""
    server.default, work, right = ANSWERS_AS_MEANT[number]
    if right is None or isinstance(right, int) and right > 9:
        error = client_error(lambda: work(client), APIStatusError if right else APIResponseError)
        assert error.status_code in (right, 200)
    else:
        assert work(client) == right
    assert server.count == 1


@cases(
    "items",
    [[dict(DONE, text="Lima."), completed(ITEM)], [OUT, completed()],
     [LI, dict(DELTA, delta="ma."), dict(DONE, text="Lima."), OUT, completed(ITEM)],
     [completed(dict(ITEM_1, type="reasoning"), ITEM, kind="incomplete")],
     [LI, dict(DELTA, delta="ma."), dict(OUT, output_index=1), completed(ITEM)],
     [LI, dict(DELTA, delta="ma.", output_index=1), dict(DONE, text="Li"), completed()],
     [LI, dict(DONE, text="Li"), dict(OUT, item=ITEM_2, output_index=1), completed(ITEM)],
     [LI, completed(ITEM_1, ITEM_2)]],
)
def test_the_text_of_a_responses_stream_is_told_once_wherever_it_stands(server, once, items):
    server.script(sse=[(i["type"], i) for i in items], done=False)  # codex-lb#504
    stream = once.responses.create(model="m", input="x", stream=True)
    assert stream_text(stream) == "Lima." == stream.content == stream.message.content
    assert stream.usage == USAGE["usage"] and stream.stats["tokens_per_s"] > 0


# What real servers send, by server: shapes only

T = sp("", "weather", "c1", 0, type="function")
REST = [one({"tool_calls": [sp(piece, index=0)]}) for piece in (PARIS[:5], PARIS[5:])]
WHOLE, TWO = sp(PARIS, "weather", "c1", type="function"), sp(ROME, "f", "c2", type="function")
CALLED = {"tool_calls": [WHOLE]}
FILTER = {"content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}
SIGNED = dict(WHOLE, extra_content={"google": {"thought_signature": "s="}})
HM, ENDED = {"reasoning_content": "Hm"}, dict(text("", "stop"), **USAGE)
HM_DETAILS = {"reasoning": "Hm", "reasoning_details": [dict(SUMMARY, summary="Hm")]}
BY_SERVER = [  # id, chunks, the text, and what else of the message is right
    # OpenAI's API reference, chat streaming
    ("OpenAI", [said(content=None, refusal=None, tool_calls=[T]), *REST, one({}, "tool_calls"),
        dict(USAGE, choices=[])], "", CALLED),
    ("OpenAI, refusal", [said(refusal=None), one({"refusal": "I "}), one({"refusal": "can't"}),
        END], "", {"refusal": "I can't"}),
    # openai-python#1677, microsoft/autogen#6465: filters before, beside and behind, without a delta
    ("Azure", [{"choices": [], "prompt_filter_results": [dict(FILTER, prompt_index=0)]}, said(),
        text("Hi", **FILTER), {"choices": [dict(FILTER, index=0, content_filter_offsets={})]},
        one({}, "content_filter"), dict(USAGE, choices=[])], "Hi", {}),
    # simonw/llm-mistral#39: content in parts; calls come whole
    ("Mistral", [said(), parts(thought("Hm.")), parts(("text", "Hi")),
        dict(one({"tool_calls": [dict(WHOLE, index=0)]}, "tool_calls"), **USAGE)], "Hi", CALLED),
    # open-webui/computer#224, dayu-agent#45: no index, a signature, "stop"
    ("Gemini", [said(tool_calls=[SIGNED]), dict(END, **USAGE)], "", {"tool_calls": [SIGNED]}),
    # OpenRouter's documentation of streaming; ai-sdk-provider#519
    ("OpenRouter", [b": OPENROUTER PROCESSING\n\n",
        said(**HM_DETAILS), said(content="Hi", reasoning=None), said("stop"),
        dict(said(), **USAGE)], "Hi", HM_DETAILS),
    # ogx-ai/ogx#630: each call whole, in a chunk of its own; Portkey-AI/gateway#1338: x_groq
    ("Groq", [dict(said(content=None), x_groq={"id": "r"}), said(tool_calls=[dict(WHOLE, index=0)]),
        dict(said(tool_calls=[dict(TWO, index=1)]), x_groq=USAGE), one({}, "tool_calls")],
        "", {"tool_calls": [WHOLE, TWO]}),
    # DeepSeek's API reference: usage beside the finish reason; langchaingo#1171: comments
    ("DeepSeek", [b": keep-alive\n\n", said(content=None, reasoning_content=""),
        said(content=None, reasoning_content="Hm"), text("Hi"), ENDED], "Hi", HM),
    # vllm-project/vllm#6540: usage in each chunk; serving_chat.py: reasoning_content
    ("vLLM", [dict(said(), **ZERO), one(HM),
        one({"tool_calls": [dict(T, function={"name": "weather"})]}), *REST,
        dict(text("", "tool_calls", stop_reason=None), **USAGE)], "", {**CALLED, **HM}),
    # llama.cpp, tools/server: timings beside the finish reason
    ("llama.cpp", [said(content=None), text("Hi"), dict(END, timings={"prompt_n": 1}, **USAGE)],
        "Hi", {}),
    # ollama/ollama#4357 and #7881: an empty finish reason, the role each time, calls without index
    ("Ollama", [said("", reasoning="Hm"), said("", tool_calls=[WHOLE]), said("tool_calls"),
        dict(USAGE, choices=[])], "", {**CALLED, "reasoning": "Hm"}),
    # huggingface/text-generation-inference#2461: arguments as an object
    ("TGI", [said(tool_calls=[sp({"city": "Paris"}, "weather", "c1", 0)]), said("tool_calls")],
        "", CALLED),
    # OpenBitFun#792: at the end the whole message once more
    ("MiniMax", [said(reasoning_content="A gree"), one({"reasoning_content": "ting."}),
        text("Hello there."), LAST], "Hello there.", {"reasoning_content": "A greeting."}),
    # earendil-works/pi#2017: usage in the choice
    ("Moonshot", [said(**HM), text("Hi"), one({}, "stop", **USAGE)], "Hi", HM),
    # vercel/ai#4031: no index; cloudflare/ai#651: numbers
    ("Workers AI", [{"choices": [{"delta": {"content": t}}]} for t in ("It is ", 6, " or ", 0.5)] +
        [ENDED], "It is 6 or 0.5", {}),
    # BerriAI/litellm, types/llms/databricks.py: parts of reasoning, with summaries
    ("Databricks", [said(content=[{"type": "reasoning", "summary": [
        {"type": "summary_text", "text": "Hm", "signature": "s"}]}]), parts(("text", "Hi")),
        ENDED], "Hi", {}),
]


@cases("case", MEANINGS + BY_SERVER, ids=lambda case: case[0])
def test_a_streamed_message_is_put_together_by_meaning_and_goes_back(once, case):
    _, items, words, more = case
    stream = of_stream(once, *items)
    assert stream.content == words and stream.tool_calls == more.get("tool_calls")
    assert stream.finish_reason == re.findall(r"'finish_reason': '(\w+)'", repr(items))[-1]
    assert stream.message.role == "assistant" and {**stream.message, **more} == stream.message
    assert more.get("tool_calls") or "tool_calls" not in stream.message
    assert not repr(items).count(repr(USAGE)[1:-1]) or stream.usage == USAGE["usage"]
    assert_it_goes_back(once, stream.message)


# No false alarm

NO_FILTER = {"error": {"code": "content_filter_error", "message": "the filter did not run"}}
IN_PARTS = parts(thought("Hm"), ("text", "Hi"), ("text", "!"))["choices"][0]["delta"]
OK_CHOICE = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
FINE = [  # an answer and its text
    *(({"choices": [{**OK_CHOICE, **more}]}, words) for more, words in [
        ({"message": {"tool_calls": [WHOLE]}}, None), ({"message": {"content": ""}}, ""),
        ({"message": {"content": None, "refusal": "no"}}, None), ({"message": {"content": 6}}, "6"),
        ({"message": {"role": None, "tool_calls": [], **IN_PARTS}}, "Hi!"),
        ({"error": None, "finish_reason": None}, "ok"),
        ({"message": {"role": "assistant"}, "finish_reason": "content_filter"}, None),
        ({"content_filter_results": NO_FILTER}, "ok")]),
    *((dict(beside, choices=[OK_CHOICE]), "ok") for beside in [
        USAGE, {"error": {"code": None, "message": ""}}, {"error": ""},
        {"detail": "cached", "code": 0},
        {"base_resp": {"status_code": 0, "status_msg": "unknown"}}]),  # lobehub#4054
]


@cases("body, words", FINE, ids=str)
def test_an_answer_that_holds_one_is_no_error(server, once, body, words):
    server.script(Answer(json=body), Answer(json=body))
    result = once.chat("hi")
    assert result.content == words and result.message.role == "assistant"
    assert result.message.get("tool_calls") != []
    stream = once.stream_chat("hi")
    (piece,) = list(stream)  # JSON to a streaming call is one chunk
    assert piece == body and piece.content == stream.content == (words or "")
    assert stream.stats["duration_s"] >= stream.stats["ttft_s"] > 0
    assert (stream.stats["tokens_per_s"] is None) is (stream.usage is None)
    assert stream.usage == body.get("usage") and stream.finish_reason == result.finish_reason
    chunk_of_it = json.loads(json.dumps(body).replace('"message": {', '"delta": {'))
    assert of_stream(once, chunk_of_it).content == (words or "")


def test_other_paths_are_judged_by_an_error_alone(server, once):
    for body in ({"object": "response", "output": [], "error": None}, {"choices": None},
                 {"detail": "of the thing", "message": "m", "code": 7}):
        server.script(json=body)
        assert once.request("GET", "/anything") == body
    job = {"object": "fine_tuning.job", "status": "failed", "error": {"message": "a bad file"}}
    server.script(Answer(json=job), Answer(json={"error": {"message": W, "code": 429}}))
    assert once.fine_tuning.jobs.retrieve("j") == job  # which is an answer
    client_error(lambda: once.request("GET", "/anything"), RateLimitError, W)


def test_text_that_looks_like_an_error_and_lines_of_no_event_are_none(once):
    odd = 'error: {"message": "x"}\n{"error": 1}\ndata: [DONE]'
    lines = [b": error: no\n\n", b"retry: 9\n\n", b"errors: 0\n\n", b"{}\n\n", b"id: error\n\n"]
    assert of_stream(once, *lines, text(odd), *lines, END, *lines).content == odd


# Any JSON, to any call

ODD = st.sampled_from([None, True, 0, 1.5, "", "x", [], {}, [None], [[]], [{}], {"a": [1]}, 10**30])
KEYS = st.sampled_from(
    "choices message content tool_calls name index id type usage error code text output".split()
)


def near(value):
    """JSON like `value`, with odd values anywhere in it."""
    if isinstance(value, dict):
        same = st.fixed_dictionaries({key: near(inner) for key, inner in value.items()})
        same = st.builds(lambda a, b: {**a, **b}, same, st.dictionaries(KEYS, ODD, max_size=1))
    else:
        same = st.tuples(*map(near, value)).map(list) if isinstance(value, list) else st.just(value)
    return st.one_of(same, same, same, ODD)


ANY_CALLS = {"role": "x", "content": "a", "tool_calls": [dict(WHOLE, index=0)]}
ANY = st.one_of(ODD, *map(near, [
    one(ANY_CALLS), {"choices": [{"message": ANY_CALLS}]}, LAST, OUT, dict(DELTA, delta="x"),
    completed(ITEM), {"data": [{"embedding": [0.5], "index": 0, "b64_json": "AA==", "id": "a"}]},
]))


def any_weather(city: str) -> str:
    return "rain in " + city


def of_chat(result) -> list:
    assert result.choices and result.message is not None
    assert isinstance(result.content, (str, type(None)))
    return [result.tool_calls, result.finish_reason, result.parsed, str(result)]


def of_any_stream(stream, is_chat) -> list:
    assert all(type(piece.content) is str for piece in stream) and type(stream.content) is str
    assert stream.choices or stream.content or not is_chat
    return [stream.message, stream.tool_calls, stream.choices, stream.stats, stream.usage]


ANY_CALL = [  # what is done, and what is asked of the answer; the first two stream
    lambda c, to: of_any_stream(c.stream_chat("hi"), True),
    lambda c, to: of_any_stream(c.responses.create(model="m", input="x", stream=True), False),
    lambda c, to: of_chat(c.chat("hi")),
    lambda c, to: of_chat(c.chat("hi", schema={"type": "object"})),
    lambda c, to: of_chat(c.run_tools("hi", [any_weather], max_rounds=1)),
    lambda c, to: [[float(number) for number in vector] for vector in c.embedding("x")],
    lambda c, to: c.moderation("x"), lambda c, to: c.generate_image("x").save(to),
    lambda c, to: str(c.transcribe_audio(b"ID3")), lambda c, to: c.list_models(),
    lambda c, to: [c.responses.create(model="m", input="x"), c.completions.create(model="m")],
    lambda c, to: list(c.files.list()),
]


# ------------ Uploads

FULL = bool(os.environ.get("OPENAI_MINI_FULL"))
PNG, JPG = b"\x89PNG\r\n\x1a\n-the rest of an image-", b"\xff\xd8\xff\xe0-the rest of a photo-"
MP3 = b"ID3\x04-the rest of a song-"

def chat_saying(content, finish="stop", **message) -> Answer:
    message = {"role": "assistant", "content": content, **message}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return Answer(json=dict(CHAT, choices=[choice]))


def chat_calling(*calls) -> Answer:
    """The answer of a chat that asks for tools: (name, arguments as text) each."""
    asked = [
        {"id": "call_%d" % i, "type": "function", "function": {"name": name, "arguments": text}}
        for i, (name, text) in enumerate(calls)
    ]
    return chat_saying(None, "tool_calls", tool_calls=asked)


def part_of(request, name: str = "file"):
    return next(part for part in request.parts if part.name == name)


def line_of(request) -> str:
    """As `GET /files?limit=2`: the method, and what is asked for below /v1."""
    return "%s %s" % (request.method, request.target.replace("/v1", "", 1))


@pytest.fixture
def uploads(server):
    server.default = Answer(json={"id": "file-1", "object": "file"})
    return server


FILE_NAMES = [  # what the caller gives, the name that arrives (None: any)
    ("my file.txt", "my file.txt"), ('a"b.txt', "a%22b.txt"), ("größe-日本.txt", "größe-日本.txt"),
    ('x"\r\nA: b-c\r\n\r\n', "x%22%0D%0AA: b-c%0D%0A%0D%0A"),
    *((name, None) for name in ("", "\ud800.txt", "nul\0.txt", "\x1b[31m")),
]


@cases("name, arrives", FILE_NAMES, ids=ascii)
def test_a_file_name_arrives_as_one_name_however_it_is_given(uploads, client, name, arrives):
    named = io.BytesIO(b"{}")
    named.name = name
    client.upload_file(b"{}", file_name=name)
    client.upload_file((name, b"{}"))
    client.request("POST", "/files", files={"file": (name, b"{}")}, data={"purpose": "x"})
    client.upload_file(named)
    for request in uploads.requests:
        head, part = request.part_heads[-1], part_of(request)
        assert head.count(b"\r\n") == 1 and head.count(b'"') == 4, "one disposition, one type"
        assert part.body == b"{}" and part.filename
        assert request is uploads.requests[3] or part.filename == (arrives or part.filename)


def test_fields_and_content_types_cannot_forge_a_header(uploads, client):
    files = {'f"\r\n': ("a.txt", b"1", "text/plain\r\nX-Evil: 1")}
    client.request("POST", "/files", data={'a"\r\nX: y': "1\r\n--x", "b": "ü"}, files=files)
    (request,) = uploads.requests
    assert [head.count(b"\r\n") for head in request.part_heads] == [0, 0, 1]
    assert [part.body for part in request.parts] == [b"1\r\n--x", "ü".encode(), b"1"]


def test_a_file_and_its_type_are_found_however_it_is_given(uploads, client, tmp_path):
    path, named = tmp_path / 'it"s.mp3', ("it%22s.mp3", "audio/mpeg")
    path.write_bytes(MP3)
    standing = io.BytesIO(b"skipped" + MP3)
    standing.seek(7)
    with open(str(path), "rb") as opened:
        for given, expected in (
            (path, named), (str(path), named), ((None, path), named), (opened, named),
            (("my.bin", path, "audio/x-own"), ("my.bin", "audio/x-own")),
            (standing, ("file.mp3", "audio/mpeg")),
        ):
            client.transcribe_audio(given, timestamp_granularities=["word"])
            assert part_of(uploads.last)[1:] == (*expected, MP3)
            assert part_of(uploads.last, "timestamp_granularities[]").body == b"word"
            assert not opened.closed, "it is the caller's"


def test_what_cannot_be_uploaded_is_named_and_nothing_is_sent(uploads, client, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("words")
    with nothing_left_over(), open(str(text)) as opened:
        for given, kind, words in (
            (tmp_path / "missing.txt", FileNotFoundError, "missing.txt"),
            (tmp_path, OSError, tmp_path.name), (("a", "no such file"), OSError, "no such file"),
            (io.StringIO("x"), ValidationError, None),
            (opened, ValidationError, "text.txt"), (None, ValidationError, "None"),
            (("a.txt",), ValidationError, "a.txt"), ("nul\0byte", ValidationError, "nul"),
        ):
            for send in (client.upload_file, client.transcribe_audio):
                client_error(lambda: send(given), kind, words)
    assert not uploads.requests


def test_the_bytes_are_the_same_on_every_attempt(uploads, session, tmp_path):
    client = faults_client(uploads, max_retries=3, session=session)
    content, path, told = os.urandom(400_000), tmp_path / "a.bin", []
    path.write_bytes(content)
    read_end, write_end = os.pipe()
    loopback_thread(lambda: open(write_end, "wb").write(content)).start()
    with client, open(str(path), "rb") as standing, open(read_end, "rb") as pipe:
        standing.seek(1000)
        for given in (path, bytearray(content), memoryview(content), standing, pipe):
            uploads.requests.clear(), told.clear()
            uploads.script(Answer(503, json={}), Answer(raw=b"", reset=0))
            uploads.script(Answer(429, json={}, headers={"retry-after": "0"}))
            assert client.upload_file(given, progress=lambda *sent: told.append(sent)).id
            right = content[1000:] if given is standing else content
            assert [part_of(request).body == right for request in uploads.requests] == [True] * 4
            (length,) = {request.length for request in uploads.requests}
            assert uploads.first.headers["content-length"] == str(length)
            assert told.count((length, length)) == 4 and len(told) > 8


def test_a_file_that_we_open_is_closed(uploads, client, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"x")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", ResourceWarning)
        client.upload_file(tmp_path / "a.bin")
        gc.collect()
    assert not [one for one in warned if "a.bin" in str(one.message)]


def test_an_open_file_is_sent_whole_again_after_an_upload_that_broke_off(uploads, client):
    def stop(sent, total):
        assert sent < 500_000

    file, content = io.BytesIO(b"head" + b"x" * 1_000_000), b"x" * 1_000_000
    file.seek(4)
    try:
        client.upload_file(file, progress=stop)
    except AssertionError:  # which keeps the frames of the first upload alive
        client.upload_file(file)
    assert part_of(uploads.last).body == content


def test_of_a_file_that_changes_the_old_length_goes_out_or_nothing(uploads, client, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"x" * 1_000_000)
    with pytest.raises(OSError, match="log.jsonl"):
        client.upload_file(path, progress=lambda *sent: os.truncate(str(path), 1000))
    assert slots_of(client) == 0 and not uploads.requests
    path.write_bytes(b"x" * 300_000)
    client.upload_file(path, progress=lambda *sent: os.truncate(str(path), 300_001))
    assert part_of(uploads.first).body == b"x" * 300_000


@cases("cls", [ZeroDivisionError, BrokenPipeError, ConnectionResetError])
@cases("where", ["progress", "file"])
def test_what_progress_or_a_file_raises_comes_out_and_nothing_is_resent(
    uploads, session, cls, where
):
    told = []

    class File(io.BytesIO):
        def read(self, size=-1):
            if where == "file" and told[1:]:
                raise cls("mine")
            return super().read(size)

    def progress(sent, total):
        told.append(sent)
        if where == "progress" and told[1:]:
            raise cls("mine")

    def fail(client):
        mine = FakeClock()
        with suppress(cls):
            client.upload_file(File(b"x" * 1_000_000), progress=progress)
            raise AssertionError("it was sent")
        return weakref.ref(mine)

    with without_gc(), faults_client(uploads, session=session) as client:
        client.request("GET", "/x")
        assert fail(client)() is None
        assert told == sorted(set(told)) and uploads.connections == uploads.count == 1
        assert slots_of(client) == 0


# Downloads


@cases("method", ["download_file", "text_to_speech"])
@cases("framing", ["length", "chunked", "close"])
def test_a_download_is_written_as_it_arrives_and_counted(
    server, client, tmp_path, monkeypatch, framing, method
):
    content, path, into, told = b"ID3" + os.urandom(299_997), tmp_path / "out.bin", io.BytesIO(), []
    tell = lambda *done: told.append(done)  # noqa: E731
    get = partial(getattr(client, method), "f", progress=tell)
    server.default = Answer(body=content, framing=framing, drip=70_000, pause=0.01)
    assert get(to=path) == len(content) and path.read_bytes() == content and len(told) > 1
    assert told == sorted(told) and get() == content
    assert told[-1] == (len(content), len(content) if framing == "length" else None)
    server.script(Answer(body=b"x" * 10_000, cut=5000), Answer(body=b"y" * 10_000))
    with suppress(APIError):
        get(to=into)
    assert into.getvalue() in (b"x" * 5000, b"y" * 10_000), "it is not begun again"
    monkeypatch.setattr(openai_mini, "MAX_BODY_BYTES", 1000)
    client_error(get, APIResponseError, "1000")


# Memory: of a process of its own, which says how much its peak grew

MEMORY_SCRIPT = """
    import resource, sys, openai_mini
    client = openai_mini.OpenAIMini("sk", base_url=sys.argv[1])
    path, way, size = sys.argv[2], sys.argv[3], int(sys.argv[4])
    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for size in (1 << 20, 1 << 20, 1 << 20, size):  # what is imported and allocated once
        before = peak()
        if way == "up":
            open(path, "wb").truncate(size), client.upload_file(path)
        else:
            client.download_file("f", path, extra_query={"size": size})
    print(peak() - before)
"""


@cases("way", ["up", "down"])
def test_a_file_of_any_size_needs_less_than_2_mib(uploads, tmp_path, way):
    """Of a GiB with OPENAI_MINI_FULL=1; of an eighth of that else."""
    block, size, path = os.urandom(1 << 17), (1 << 30) // (1 if FULL else 8), str(tmp_path / "x")
    uploads.keep_bodies = False
    if way == "down":
        uploads.default = lambda request: Answer(
            pieces=lambda: itertools.repeat(block, int(request.query["size"]) // len(block)),
            headers={"content-length": request.query["size"]})
    done = run_python(MEMORY_SCRIPT, uploads.url, path, way, str(size), timeout=300)
    assert int(done.stdout) // (1024 if sys.platform == "darwin" else 1) < 2048, done.stderr
    assert os.path.getsize(path) == size and (way == "down" or uploads.last.length > size)


# ------------ Endpoints

HI = [{"role": "user", "content": "hi"}]
RIGHT = [  # messages of the right shape
    *({"role": role, "content": "x"} for role in "developer system user tool function".split()),
    {"role": "assistant", "content": None, "tool_calls": []},
    {"role": "assistant", "refusal": "no"}, {"role": "assistant", "content": ""},
    {"role": "user", "content": [{"type": "text", "text": "x"}]},
]
CHATS = "POST /chat/completions"
METHODS = [  # method, arguments, request line, JSON body, or what else stands in the body
    ("chat", ["hi"], {"seed": NOT_GIVEN, "stop": None}, CHATS,
     {"messages": HI, "model": "gpt-5.4-mini", "stop": None}),
    ("chat", [(*RIGHT,)], {"model": "m"}, CHATS, {"messages": RIGHT, "model": "m"}),
    ("stream_chat", ["hi"], {"model": "m"}, CHATS, {"messages": HI, "model": "m", "stream": True}),
    ("run_tools", [HI, []], {"model": "m"}, CHATS, {"messages": HI, "model": "m"}),
    ("embedding", ["x"], {"dimensions": 2}, "POST /embeddings",
     {"input": ["x"], "model": "text-embedding-3-small", "dimensions": 2}),
    ("moderation", ["x"], {}, "POST /moderations",
     {"input": "x", "model": "omni-moderation-latest"}),
    ("generate_image", ["x"], {"n": 2}, "POST /images/generations",
     {"prompt": "x", "n": 2, "model": "gpt-image-2"}),
    ("text_to_speech", ["x"], {}, "POST /audio/speech",
     {"input": "x", "voice": "alloy", "model": "gpt-4o-mini-tts"}),
    ("request", ["POST", "/x"], {"json": {}}, "POST /x", {}),
    ("edit_image", [PNG, "x"], {}, "POST /images/edits", b"gpt-image-2"),
    ("transcribe_audio", [MP3], {}, "POST /audio/transcriptions", b"gpt-transcribe"),
    ("translate_audio", [MP3], {}, "POST /audio/translations", b"whisper-1"),
    ("upload_file", [b"{}"], {}, "POST /files", b"fine-tune"),
    ("download_file", ["file-1"], {}, "GET /files/file-1/content", b""),
    ("list_models", [], {}, "GET /models", b""), ("health", [], {}, "GET /models", b""),
]


@cases("method, args, kwargs, line, body", METHODS)
def test_each_method_sends_what_its_row_says_and_takes_a_calls_options(
    server, client, method, args, kwargs, line, body
):
    one = {"id": "m", "index": 0, "embedding": [1.0]}
    server.default = Answer(json=dict(CHAT, text="t", data=[one]))
    own = {"timeout": 9, "deadline": 60, "max_retries": 0, "priority": HIGH}
    extra = {"extra_headers": {"x-mine": "1"}, "extra_query": {"q": "2"}}
    extra.update({"extra_body": {"extra": 3}} if line.startswith("POST") else {})
    getattr(client, method)(*args, **kwargs, **own, **extra)
    (request,) = server.requests
    assert line_of(request) == line + "?q=2" and request.headers["x-mine"] == "1"
    if isinstance(body, bytes):
        assert body in request.body and (b"extra" in request.body) == ("extra_body" in extra)
    else:
        assert request.json == dict(body, extra=3)
    assert not any(name.encode() in request.body for name in own)


# Answers in the form of a schema


def person_schema(strict: bool) -> dict:
    def an_object(**properties):
        more = {"additionalProperties": False, "required": [*properties]} if strict else {}
        return {"type": "object", "properties": properties, **more}

    step, default = {"$ref": "#/$defs/Step"}, {} if strict else {"default": []}
    person = an_object(
        name={"type": "string"}, inner=an_object(x={"type": "integer", **default}),
        first={**({"anyOf": [step]} if strict else step), "description": "the first"},
        steps={"type": "array", "items": step, **default},
    )
    named = {"Step": an_object(default={"type": "string"})}
    return {"required": ["name"], "$defs": named, **person}


STRICT_PERSON = {"name": "Person", "strict": True, "schema": person_schema(strict=True)}


class Person:
    """A class as pydantic makes them, as far as this module knows them."""

    def __init__(self, **fields):
        self.__dict__.update(fields)

    @classmethod
    def model_json_schema(cls):
        return person_schema(strict=False)

    @classmethod
    def model_validate_json(cls, text):
        fields = json.loads(text)
        if "name" not in fields:
            raise ValueError("name: field required")
        return cls(**fields)


def test_a_schema_is_sent_as_strict_as_it_is_and_what_does_not_fit_is_told(server, client):
    server.default = chat_saying('{"name": "Ada"}')
    titled = {"type": "object", "title": "The answer", "additionalProperties": False}
    for schema, sent in (
        (Person, STRICT_PERSON), (titled, dict(name="The_answer", strict=True, schema=titled)),
        ({"type": "object"}, dict(name="answer", strict=False, schema={"type": "object"})),
    ):
        parsed = client.chat("hi", schema=schema).parsed
        assert parsed.name == "Ada" and isinstance(parsed, Person) == (schema is Person)
        asked = server.last.json["response_format"]
        assert asked == {"type": "json_schema", "json_schema": sent}
    for server.default in (chat_saying(None), chat_saying("")):  # a refusal
        assert client.chat("hi", schema=Person).parsed is None
    cut = [(chat_saying(text, finish="length"), "token") for text in (None, "", '{"a": ')]
    for server.default, words in [(chat_saying("{}"), "name: field"), *cut]:
        ask = partial(client.chat, "hi", schema=Person)
        client_error(ask, APIResponseError, "^POST /chat/completions.*" + words)
    for wrong in ("text", 5, object):
        client_error(lambda: client.chat("x", schema=wrong), ValidationError, "schema")


def test_a_class_has_a_name_that_the_api_takes_and_properties_of_any_name(server, client):
    name = "Größe" + "x" * 70
    schema = {"type": "object", "properties": {"default": {"type": "string"}}}
    cls = type(name, (Person,), {"model_json_schema": lambda: schema})
    server.default = chat_saying('{"name": "Ada"}')
    assert client.chat("hi", schema=cls).parsed.name == "Ada"
    asked = server.last.json["response_format"]["json_schema"]
    assert asked["name"] == ("Gr__e" + "x" * 70)[:64]
    closed = {"additionalProperties": False, "required": ["default"]}
    assert asked["schema"] == {**schema, **closed} and asked["strict"] is True


def test_words_beside_a_call_or_of_a_commentary_are_not_parsed(server, client):
    call = {"id": "c", "type": "function", "function": {"name": "forecast", "arguments": "{}"}}
    server.script(chat_saying("Let me see.", tool_calls=[call]))
    answer = client.chat("x", schema=Person)
    assert answer.parsed is None and answer.tool_calls and answer.content == "Let me see."
    texts = [("commentary", '{"name": "draft"}'), ("final_answer", '{"name": "Ada"}')]
    output = [{"phase": phase, "content": [{"type": "output_text", "text": text}]}
              for phase, text in texts]
    server.script(json={"output": output})
    assert client.responses.parse(text_format=Person).output_parsed.name == "Ada"


@cases("frame, is_read", [
    ("```JSON {} ```", True), ("\n {} \n", True), ("```json\n{", False),
    ("{} or {}", False),
    ("Here it is:\n\n```json\n{}\n```\nAs you asked.", True),
    ('hm ```json\n{"name": "draft"}\n```</think>\n```\n{}\n```', True),
])
def test_json_is_found_in_a_fence_or_behind_thoughts_or_not_lost(server, client, frame, is_read):
    text = frame.replace("{}", json.dumps({"name": "Ada", "note": "``` a ```"}))
    response = {"output": [{"content": [{"type": "output_text", "text": text}]}]}
    server.script(chat_saying(text), Answer(json=response))
    for call in (
        lambda: client.chat("x", schema={"type": "object"}).parsed,
        lambda: client.responses.parse(text_format=Person).output_parsed,
    ):
        if is_read:
            assert call().name == "Ada"
        else:
            error = client_error(call, APIResponseError)
            assert str(error).startswith("POST /")
            assert json.dumps(text) in error.partial.to_json()


# Embeddings


def vectors(as_base64=False):

    def answer(request):
        data = []
        for index, one in enumerate(request.json["input"]):
            vector = [float(one[0] if isinstance(one, list) else one), 0.5]
            if as_base64:
                vector = base64.b64encode(struct.pack("<2f", *vector)).decode()
            data.append({"object": "embedding", "index": index, "embedding": vector})
        return Answer(json={"object": "list", "data": data[::-1]})

    return answer


@cases("given, sent, expected", [
    ("7", ["7"], [7.0]), ([], None, []), (map(str, [7, 8]), ["7", "8"], [7.0, 8.0]),
    ([1, 2, 3], [[1, 2, 3]], [1.0]), ([[1, 2], [4]], [[1, 2], [4]], [1.0, 4.0]),
])
def test_an_embedding_is_a_list_of_vectors_in_input_order(server, client, given, sent, expected):
    server.default = vectors()
    assert client.embedding(given) == [[number, 0.5] for number in expected]
    assert [request.json["input"] for request in server.requests] == ([sent] if sent else [])


def test_long_inputs_are_split_by_size_too(server, client):
    one = {"index": 0, "embedding": [1.0]}
    server.default = Answer(json={"data": [one, dict(one, index=1)]})
    assert len(client.embedding(["x" * 250_000] * 4)) == 4
    assert [len(request.json["input"]) for request in server.requests] == [2, 2]


def test_a_deadline_is_that_of_all_parts_together(server, client, monkeypatch):
    monkeypatch.setattr(openai_mini, "MAX_EMBEDDING_INPUTS", 1)
    answer = json.dumps({"data": [{"index": 0, "embedding": [1.0]}]}).encode()
    server.default = Answer(pieces=[answer, b" "], pause=0.1)
    client_error(lambda: client.embedding(["x"] * 20, deadline=0.5), APITimeoutError)
    assert server.count < 12


# Images, audio, files, models, health


def test_one_image_is_edited_with_its_mask_and_many_together(server, client, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)
    client.edit_image(path, "a hat", mask=PNG + b"mask", size="auto", n=1)
    client.edit_image([PNG, ("b.jpg", JPG)], "mix", model="m")
    one, many = server.requests
    assert part_of(one, "image") == ("image", "photo.png", "image/png", PNG)
    assert part_of(one, "mask")[1::2] == ("file.png", PNG + b"mask")
    fields = {part.name: part.body for part in one.parts if part.filename is None}
    assert fields == {"prompt": b"a hat", "model": b"gpt-image-2", "size": b"auto", "n": b"1"}
    files = [part[:2] for part in many.parts if part.filename]
    assert files == [("image[]", "file.png"), ("image[]", "b.jpg")]


def buffer_of(content, **names):
    file = io.BytesIO(content)
    file.__dict__.update(names)
    return file


def fastapi_upload(content, filename):
    """As of FastAPI and Starlette: read() is a coroutine function."""
    return types.SimpleNamespace(file=io.BytesIO(content), filename=filename, read=async_tool)


def only_read(content, **more):
    return types.SimpleNamespace(read=io.BytesIO(content).read, **more)


class Sftp(io.BytesIO):
    """As paramiko's files, whose seek() returns nothing."""

    def seek(self, *where):
        super().seek(*where)


WAV, AVIF = b"RIFF\x24\0\0\0WAVEfmt " + bytes(28), b"\0\0\0 ftypavif"
UPLOADS = {  # what is given, and the name, type and bytes that arrive
    "fastapi": (lambda: fastapi_upload(MP3, "a.mp3"), "a.mp3", "audio/mpeg", MP3),
    "flask, no name": (lambda: buffer_of(MP3, name="a", filename=""), "a.mp3", "audio/mpeg", MP3),
    "read alone": (lambda: only_read(MP3), "file.mp3", "audio/mpeg", MP3),
    "a name of no file": (lambda: buffer_of(WAV, name="<stdin>"), "stdin.wav", "audio/wav", WAV),
    "no extension": (lambda: ("blob", WAV), "blob", "audio/wav", WAV),
    "a recording": (lambda: buffer_of(WAV, name="blob"), "blob.wav", "audio/wav", WAV),
    "four": (lambda: ("a.webm", WAV, None, {}), "a.webm", "audio/webm", WAV),
    "sftp": (lambda: Sftp(WAV), "file.wav", "audio/wav", WAV),
    "around a file": (lambda: only_read(WAV, file=io.BytesIO(b"?")), "file.wav", "audio/wav", WAV),
    "avif": (lambda: AVIF, "file.bin", "application/octet-stream", AVIF),
}


@cases("case", UPLOADS)
def test_what_can_be_read_goes_out_under_its_name_and_type(server, client, case, monkeypatch):
    import mimetypes

    bare = mimetypes.MimeTypes(())
    monkeypatch.setattr(mimetypes, "guess_type", bare.guess_type)
    make, name, kind, content = UPLOADS[case]
    server.default = Answer(json={"id": "f", "text": "t"})
    file = make()  # which may be sent twice
    client.transcribe_audio(file, model="m")
    client.files.create(file=file if hasattr(file, "seek") else make(), purpose="batch")
    for part in map(part_of, server.requests):
        assert part[1:] == (name, kind, content)


@cases("kind, body, content_type, text", [
    ("srt", "1\n00:00:00,000 --> 00:00:01,000\nGrüße\n", "text/plain", None),
    ("text", "{music} hi", "application/json", None), ("text", "error: no", "text/plain", None),
    ("json", '{"text": "hi"}', "text/plain", "hi"),
])
def test_the_text_formats_are_text_too(server, client, kind, body, content_type, text):
    server.default = Answer(body=body, content_type=content_type)
    for method in (client.transcribe_audio, client.translate_audio):
        result = method(MP3, response_format=kind)
        assert result.text == str(result) == "%s" % result == (text or body)


ERROR = b" " * 20 + b'{"error": {"message": "no quota", "code": "insufficient_quota"}}'
PAGE = b"\n<!doctype html><title>no quota</title>"


SSE = b'event: error\ndata: {"error": "no quota"}\n\n'


@cases("kind", ["audio/mpeg", "application/json"])
def test_an_error_or_a_page_in_place_of_speech_or_its_text_is_an_error(
    server, once, tmp_path, kind
):
    to, buffer = tmp_path / "to.mp3", io.BytesIO()
    to.write_bytes(b"old")
    for body, error in ((ERROR, RateLimitError), (PAGE, APIResponseError), (SSE, APIResponseError)):
        how = EVENTS if body is SSE else kind
        server.default = Answer(body=body, content_type=how, drip=20, pause=0.02)
        for call in (
            lambda: once.text_to_speech("x"), lambda: once.text_to_speech("x", to=to),
            lambda: once.text_to_speech("x", to=buffer), lambda: once.transcribe_audio(MP3),
        ):
            client_error(call, error, "no quota")
    assert to.read_bytes() == b"old" and not buffer.getvalue()
    for body in (b"{\0\xff", b"<\1html", b"<html\1"[:5], b"{"):
        server.default = Answer(body=body, content_type=kind)
        assert once.text_to_speech("x") == body
        assert once.text_to_speech("x", to=to) == len(body) and to.read_bytes() == body
    server.default = Answer(body=b'{"a": 1}', content_type=kind)
    client_error(lambda: once.text_to_speech("x", to=to), APIResponseError)
    assert once.text_to_speech("x") == b'{"a": 1}'
    server.default = Answer(sse=[{"type": "speech.audio.done"}])
    assert len(list(once.text_to_speech("x", stream_format="sse"))) == 1
    server.default = Answer(body=b'{"text": "half', content_type=kind)
    client_error(lambda: once.transcribe_audio(MP3), APIResponseError)


def test_health_tells_and_never_raises(server, client):
    server.default = Answer(json={"data": [{"id": "b"}, {"id": "a"}]})
    assert client.list_models() == ["b", "a"]
    health = client.health()
    assert 0 <= health.pop("latency_s") < 10
    assert health == {"ok": True, "models": 2, "circuit": "closed", "error": None}
    assert "vault" in OpenAIMini(lambda: {}["vault"], base_url=server.url).health()["error"]
    server.requests.clear()
    no_lists = [Answer(json=odd) for odd in ({"data": 5}, {"data": [{}]}, [1], {})]
    for server.default in (Answer(500), Answer(body="<html>"), *no_lists):
        health = client.health()
        assert health["ok"] is False and health["error"] and health["models"] is None
    assert server.count == 6, "it asks once"


# Tools


def forecast(city: str, days: int = 1, unit: Optional[str] = None) -> str:
    """The forecast of a city."""
    return "sun in %s for %d" % (city, days)


def full_disk():
    raise RuntimeError("the disk is full")


def test_run_tools_plays_the_whole_round(server, client):
    server.script(chat_calling(("forecast", '{"city": "Bonn", "days": 2}')), chat_saying("Sunny."))
    result = client.run_tools("How is Bonn?", [forecast], tool_choice="required", temperature=0)
    roles = [message["role"] for message in result.messages]
    assert result.content == "Sunny." and roles == ["user", "assistant", "tool", "assistant"]
    first, second = (request.json for request in server.requests)
    assert first["temperature"] == second["temperature"] == 0
    assert first["tool_choice"] == "required" and "tool_choice" not in second
    told = {"role": "tool", "tool_call_id": "call_0", "content": "sun in Bonn for 2"}
    assert second["messages"][2] == told
    tool = first["tools"][0]["function"]
    assert (tool["name"], tool["description"]) == ("forecast", "The forecast of a city.")
    assert tool["parameters"]["required"] == ["city"]


def test_tools_can_be_schemas_and_functions_or_methods(server, client):
    class Shop:
        def price(self, item: str) -> float:
            return 2.5

    parameters = {"type": "object", "properties": {"x": {"type": "number"}}}
    whole = {"type": "function", "function": {"name": "half", "parameters": parameters}}
    server.script(chat_calling(("half", '{"x": 4}'), ("price", '{"item": "tea"}')))
    tools = [(whole, lambda x: [x / 2]), Shop().price, (parameters, full_disk)]
    told = client.run_tools("go", tools).messages[2:4]
    assert [(m["tool_call_id"], m["content"]) for m in told] == [
        ("call_0", "[2.0]"), ("call_1", "2.5"),
    ]
    one, two, three = server.first.json["tools"]
    assert one == whole and three["function"]["parameters"] == parameters
    assert set(two["function"]["parameters"]["properties"]) == {"item"}


def called(client, server, tool, arguments, name=None):
    """The tool that run_tools tells of, and what it tells the model of a call."""
    server.script(chat_calling((name or tool.__name__, arguments)), chat_saying("done"))
    del server.requests[:]
    assert client.run_tools("go", [tool]).content == "done"
    first, second = (request.json for request in server.requests)
    return first["tools"][0]["function"]["parameters"], second["messages"][-1]["content"]


async def async_tool(it: str) -> str:
    return it


async def async_generator(it: str):
    yield it


def generator(it: str):
    yield it


@pytest.mark.filterwarnings("ignore:coroutine")
@cases("tool, name, arguments, told", [
    (forecast, "no_such_tool", "{}", "no_such_tool"), (forecast, 7, "{}", "Error"),
    (forecast, None, "[" * 100_000, ""), (forecast, None, '{"city": "B', ""),
    (forecast, None, '{"town": "Bonn"}', "town"),
    (forecast, None, "", "city"), (full_disk, None, "", "disk is full"),
    *((one, None, {"it": "x"}, "Error: ") for one in (async_tool, async_generator, generator)),
])
def test_what_goes_wrong_with_a_tool_is_told_to_the_model(
    server, client, tool, name, arguments, told
):
    content = called(client, server, tool, arguments, name)[1]
    assert told in content and content.startswith("Error: ") and len(content) < 2000
    call = server.requests[1].json["messages"][1]["tool_calls"][0]  # servers take JSON alone
    assert json.loads(call["function"]["arguments"]).keys() <= {"town", "it"}


@cases("arguments, told", [
    ({"it": "a"}, "a"), ('"{\\"it\\": \\"a\\"}"', "a"), ("", "none"), (" \n", "none"),
    ("null", "none"), (None, "none"), ("7", "Error: "), ({"it": None}, "none"),
    ({"it": "a", "n": 2}, "a n=2"),  # which no parameter names
])
def test_arguments_are_read_in_whatever_form_they_come(server, client, arguments, told):
    def tool(it: str = "none", **more) -> str:
        return it + "".join(" %s=%r" % pair for pair in more.items())

    assert called(client, server, tool, arguments)[1].startswith(told)


@dataclasses.dataclass
class Reading:
    unit: str = "°C"


def model_of(**fields):
    """What pydantic's models are, as far as this module knows them."""
    return types.SimpleNamespace(model_dump=lambda mode, exclude_unset=None: fields)


@cases("result, told", [
    ({"city": "東京"}, '{"city": "東京"}'), ([Reading()], "[\"Reading(unit='°C')\"]"),
    (b"x", "\"b'x'\""),
], ids=str)
def test_what_a_tool_returns_is_told_as_json_or_as_text(server, client, result, told):
    def tool():
        ran.append(1)
        return result

    ran: list = []
    assert called(client, server, tool, "{}")[1] == told and ran == [1]


def test_a_call_that_is_cut_at_the_models_limit_is_not_run(server, client):
    server.script(chat_calling(("forecast", "{}")))
    server._answers[0].json["choices"][0]["finish_reason"] = "length"
    run = partial(client.run_tools, "go", [full_disk])
    error = client_error(run, openai_mini.ToolLoopError, "max_tok")
    assert error.messages[-1].tool_calls and server.count == 1


def test_endless_calls_end_in_a_tool_loop_error(server, client):
    server.default = chat_calling(("forecast", '{"city": "Bonn"}'))
    ask = partial(client.run_tools, HI, [forecast], max_rounds=3)
    error = client_error(ask, openai_mini.ToolLoopError, "max_rounds")
    assert server.count == 3
    assert len(error.messages) == 7 and len(HI) == 1, "what it was given is left alone"


class Size(enum.Enum):
    SMALL, LARGE = "small", "large"


INTEGER, STRING, NULL = {"type": "integer"}, {"type": "string"}, {"type": "null"}
SIZE = {"type": "string", "enum": ["small", "large"]}
HINT_ROWS = [  # the hint, its schema, a JSON value and what the function gets, JSON it cannot be
    (int, INTEGER, -1, -1, True), (int, INTEGER, 5.0, 5, 5.5), (str, STRING, "x", "x", None),
    (float, {"type": "number"}, 3, 3.0, "x"), (bool, {"type": "boolean"}, True, True, 1),
    (typing.Any, {}, [1], [1], NotImplemented),
    (Optional[Size], {"anyOf": [SIZE, NULL]}, None, None, "x"),
    (typing.Union[Size, int], {"anyOf": [SIZE, INTEGER]}, "small", Size.SMALL, {"z": 1}),
    (List[Size], {"type": "array", "items": SIZE}, ["small"], [Size.SMALL], "small"),
    (list, {"type": "array", "items": {}}, [1, "a"], [1, "a"], "x"),
    (dict, {"type": "object"}, {"a": 1}, {"a": 1}, [1]),
    (typing.Literal["a", 2], {"enum": ["a", 2]}, 2, 2, "b"),
]


def tool_with(hint):
    """A function with a parameter of this hint, and what it gets."""

    def tool(it):
        got.append(it)

    got = []
    tool.__annotations__["it"] = hint
    return tool, got


@cases("hint, schema, value, expected, wrong", HINT_ROWS, ids=repr)
def test_a_hint_is_in_the_schema_and_the_function_gets_what_it_says(
    server, client, hint, schema, value, expected, wrong
):
    tool, got = tool_with(hint)
    parameters, told = called(client, server, tool, {"it": value})
    assert parameters == {"type": "object", "properties": {"it": schema}, "required": ["it"]}
    assert got == [expected] and type(got[0]) is type(expected) and told == "null"
    if wrong is not NotImplemented:
        told = called(client, server, tool, {"it": wrong})[1]
        assert told.startswith("Error: ") and len(got) == 1


WHOLE_TOOL = {"type": "function", "function": {"name": "x"}}
NO_HINTS = bytes, "NoSuchName", Reading, Person, List[bytes], typing.Union[str, Reading]


@cases(
    "tool",
    [partial(async_tool, "x"), partial(len), (async_tool,), WHOLE_TOOL,
     *(tool_with(hint)[0] for hint in NO_HINTS)],
)
def test_a_tool_that_no_schema_can_say_is_refused_before_anything_is_sent(server, client, tool):
    error = client_error(lambda: client.run_tools("go", [tool]), ValidationError)
    assert "tool" in str(error) and not server.requests


# request(), and the verbs of the official client


@cases("answer, expected", [
    (Answer(json={"a": 1}), {"a": 1}), (Answer(json=[1, 2]), [1, 2]), (Answer(204), b""),
    (Answer(body="a,b", content_type="text/csv; charset=utf-8"), "a,b"),
    (Answer(body=b"\x00\xff", content_type="audio/mpeg"), b"\x00\xff"),
    (Answer(body='{"a": 1}', content_type="application/problem+json"), {"a": 1}),
])
def test_request_returns_what_the_content_type_says(server, client, answer, expected):
    server.script(answer)
    result = client.request("get", "/anything")
    assert result == expected and line_of(server.first) == "GET /anything"
    assert not isinstance(result, dict) or result.a and result.status_code == 200


def test_request_sends_json_forms_files_and_raw_bodies(server, client):
    params = {"q": "1 2", "l": [1, 2], "c": {"d": False}, "no": None}
    client.request("POST", "/a", json={"x": [1, None]}, params=params)
    client.request("PUT", "b", data=b"raw", extra_headers={"content-type": "text/plain"})
    client.request("POST", "/c", data={"k": "v", "f": True}, files={"file": ("n.txt", b"data")})
    client.request("DELETE", "/d/1", params={"a": 1})
    one, two, three, four = server.requests
    assert one.path == "/v1/a" and one.json == {"x": [1, None]}
    assert one.query == {"q": "1 2", "l[]": ["1", "2"], "c[d]": "false"}
    assert (two.path, two.body, two.headers["content-type"]) == ("/v1/b", b"raw", "text/plain")
    sent = [(p.name, p.filename, p.body) for p in three.parts]
    assert sent == [("k", None, b"v"), ("f", None, b"true"), ("file", "n.txt", b"data")]
    assert line_of(four) == "DELETE /d/1?a=1" and four.body == b""
    assert "content-type" not in four.headers


def test_the_verbs_of_the_official_client_and_request_read_a_stream_as_one(server, client):
    for verb in ("get", "post", "put", "patch", "delete"):
        getattr(client, verb)("things", cast_to=object, body={"b": 2})
        asked = server.last
        assert line_of(asked) == verb.upper() + " /things" and asked.json == {"b": 2}
    path, body = "/chat/completions", {"stream": True}
    for stream in (
        client.request("POST", path, json=body, stream=True),
        client.request("POST", path, json=body),
        client.post(path, cast_to=object, stream_cls=object, body=body, stream=True),
    ):
        assert isinstance(stream, Stream)
        assert "".join(chunk.content for chunk in stream) == "hello"


# submit and map


def test_methods_are_submitted_and_mapped_by_name(server, client):
    server.default = lambda request: chat_saying(request.json["messages"][0]["content"].upper())
    future = client.submit("chat", "hi", priority=HIGH, model="m")
    assert isinstance(future, concurrent.futures.Future) and future.result(10).content == "HI"
    assert server.first.json["model"] == "m"
    create = client.chat.completions.create
    assert client.submit(create, messages=HI).result(10).content == "HI"
    assert [result.content for result in client.map("chat", "abc", model="m")] == ["A", "B", "C"]
    assert list(client.map(len, ["a", "bb"])) == [1, 2]
    client_error(lambda: client.submit("chatt", "x"), AttributeError, "chat")
    server.default = Answer(400)
    client_error(client.submit("chat", "x").result, BadRequestError)


# Validation


@cases(
    "messages",
    [[], None, HI[0], [{"content": "x"}], b"bytes", [{"role": "boss", "content": "x"}],
     [{"role": "user", "content": None}], [{"role": "assistant"}], [*HI, "y"]], ids=repr,
)
def test_messages_of_the_wrong_shape_are_refused_before_anything_is_sent(server, client, messages):
    for method, more in ((client.chat, ()), (client.stream_chat, ()), (client.run_tools, ([],))):
        error = client_error(lambda: method(messages, *more), ValidationError)
        assert "messages" in str(error) and isinstance(error, ValueError)
    assert not server.requests


RING: dict = {}
RING["ring"] = RING


@pytest.mark.filterwarnings("ignore:coroutine")
@cases("call, names", [
    (lambda c: c.chat("hi", x={"a": [1, float("inf")]}), r"x.a\[1\]"),
    (lambda c: c.chat("hi", x={1, 2}), "x .*set"),
    (lambda c: c.request("POST", "/x", json=RING), None),
    (lambda c: c.request("POST", "/x", jsn={}), "jsn"),
    (lambda c: c.text_to_speech("x", to=io.StringIO()), "to="),
    (lambda c: c.download_file("f", to=5), "to="),
    (lambda c: c.text_to_speech("x", to=[]), "to="),
    (lambda c: c.request("POST", "/x", data=[b"x"]), "data="),
    (lambda c: c.request("POST", "/x", json={}, files={"f": b"x"}), "json="),
    (lambda c: c.request("POST", "/x", data="x", files={"f": b"x"}), "data="),
    (lambda c: c.files.create(file=types.SimpleNamespace(read=async_tool)), "rb"),
    (lambda c: c.translate_audio(b"abc", temperature=float("nan")), "temperature"),
    (lambda c: c.upload_file(types.SimpleNamespace(read=lambda: b"x")), None),  # takes no size
    (lambda c: c.edit_image((b"\x89PNG1", b"\x89PNG2"), "x"), None),
    (lambda c: c.download_file("f", to=False), "to="),
    (lambda c: c.chat(one for one in []), "messages"),
    *((lambda c, cell=cell: c.embedding(iter(["row"] * 2100 + [cell] + ["row"] * 99)),
       r"input\[2100\]") for cell in (None, float("nan"), object(), b"text", [1, float("nan")])),
    # a lone surrogate where no request can hold it
    (lambda c: c.chat("hi", extra_headers={"x-a": "\ud800"}), "x-a"),
])
def test_what_cannot_be_sent_is_refused_before_anything_is(server, client, call, names):
    client_error(lambda: call(client), ValidationError, names)
    assert server.requests == []


OUT_OF_RANGE = {
    "temperature": (-0.1, 2.1, "hot", True, float("nan")), "top_p": (-0.1, 1.1),
    "frequency_penalty": (-2.1,), "presence_penalty": (2.1,), "max_tokens": (0, 131073, 1.5),
    "max_completion_tokens": (0, 131073), "n": (0, 129), "stop": ([*"abcde"], "", ["a", ""], 5),
    "logprobs": (1,), "top_logprobs": (2,), "seed": (1.5,),
}
IN_RANGE = [
    {"temperature": 0, "top_p": 0, "n": 1, "frequency_penalty": -2, "presence_penalty": 2},
    {"temperature": 2, "top_p": 1.0, "n": 128, "stop": ["a"] * 4, "seed": -5, "logprobs": True,
     "top_logprobs": 20, "max_completion_tokens": 131072},
    {"temperature": None, "logprobs": None, "top_logprobs": None, "stop": None, "seed": None},
]
RANGES = [{name: value} for name, values in OUT_OF_RANGE.items() for value in values]
RANGES += [{"top_logprobs": 21, "logprobs": True}, *IN_RANGE]


@cases("params", RANGES, ids=repr)
def test_what_is_out_of_range_is_refused_and_the_edges_are_inside(server, client, params):
    checked, name = client.with_options(validate=True), next(iter(params))
    if params in IN_RANGE:
        client = checked
    else:
        for call in (checked.chat, checked.stream_chat):
            error = client_error(lambda: call("hi", **params), ValidationError)
            assert name in str(error) and repr(params[name]) in str(error)
        assert not server.requests
    if params.get("temperature") == params.get("temperature"):  # NaN goes nowhere
        client.chat("hi", **params)
        assert {name: server.last.json[name] for name in params} == params


# The default host, and what is said otherwise to it


@pytest.fixture
def default_host(monkeypatch):
    with LoopbackServer(tls=True) as server, Proxy(server) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with OpenAIMini("sk-test", verify=False) as client:
            yield server, client


def test_the_default_host_alone_gets_its_own_wording(server, client, default_host):
    for own, (asked, caller) in ((False, (server, client)), (True, default_host)):
        asked.default = lambda r: (vectors(as_base64=True) if "input" in r.json else usual)(r)
        caller.chat("hi", max_tokens=5)
        list(caller.stream_chat("hi", max_tokens=5))
        assert caller.embedding("1") == [[1.0, 0.5]]
        chat, stream, embedding = (request.json for request in asked.requests)
        for body in (chat, stream):
            limits = body.get("max_tokens"), body.get("max_completion_tokens")
            assert limits == ((None, 5) if own else (5, None))
        assert stream.get("stream_options") == ({"include_usage": True} if own else None)
        assert embedding.get("encoding_format") == ("base64" if own else None)
    asked.requests.clear()
    caller.chat("hi", max_tokens=5, max_completion_tokens=6)
    list(caller.stream_chat("hi", stream_options={"include_usage": False}))
    assert caller.embedding("1", encoding_format="float") == [[1.0, 0.5]]  # though it is base64
    asked.default = lambda r: (vectors() if "input" in r.json else usual)(r)
    assert caller.embedding("1") == [[1.0, 0.5]]  # though it is no base64
    caller.chat.completions.create(model="m", messages=[], max_tokens=7)
    client_error(lambda: caller.chat("hi", temperature=3), ValidationError)
    caller.with_options(validate=False).chat("hi", temperature=3)
    chat, stream, floats, _, official, unchecked = (request.json for request in asked.requests)
    assert (chat["max_tokens"], chat["max_completion_tokens"]) == (5, 6)
    assert stream["stream_options"] == {"include_usage": False}
    assert floats["encoding_format"] == "float"
    assert official == {"model": "m", "messages": [], "max_tokens": 7}
    assert unchecked["temperature"] == 3


# ------------ Resources

RESPONSE = {
    "id": "resp_1", "object": "response", "output": [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": '{"name": "Ada"}'}]},
        {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]},
    ],
}


@cases("value, path", [
    ("a/b ?#", "a%2Fb%20%3F%23"), ("..%2f", "..%252f"), ("...", "..."), ("é", "%C3%A9"),
    ("ft:gpt::x", "ft:gpt::x"), ("{file_id}", "%7Bfile_id%7D"), (5, "5"),
    *((refused, None) for refused in ("", ".", "..", None, "a\ud800", "\n\udfff")),
])
def test_an_id_stays_one_segment_of_the_path_or_is_refused(server, client, value, path):
    in_store = client.vector_stores.files.retrieve
    for call, at in (
        (lambda: in_store("f", vector_store_id=value), "GET /vector_stores/%s/files/f"),
        (lambda: client.download_file(value), "GET /files/%s/content"),
    ):
        if path is None:
            assert "_id" in str(client_error(call, ValidationError)) and not server.requests
        else:
            call()
            assert line_of(server.last) == at % path


@cases("call, word", [
    (lambda c: c.files.retrieve(), "file_id"),
    (lambda c: c.files.retrieve("a", file_id="b"), "file_id"),
    (lambda c: c.vector_stores.files.retrieve("f"), "vector_store_id"),
    (lambda c: c.file, "'files"),
    (lambda c: c.qqqq, "'qqqq'"),
    (lambda c: openai_mini.Streem, "'Stream'"), (lambda c: openai_mini.api_key, "OpenAI"),
    (lambda c: c.files.creat(), "'create'"), (lambda c: c.files(), "client"),
    (lambda c: c.chat.completions.with_raw_response.make(), "client.chat.completions"),
])
def test_a_wrong_id_is_a_type_error_and_a_wrong_name_an_attribute_error(server, client, call, word):
    kind = TypeError if word.endswith("_id") else AttributeError
    assert word in str(client_error(lambda: call(client), kind)) and not server.requests


def test_the_names_of_the_module_and_of_its_resources_can_be_explored(client):
    scope: dict = {}
    exec("from openai_mini import *", scope)
    errors = {name for name in vars(openai_mini) if name.endswith("Error")}
    assert errors | {"OpenAIMini", "NOT_GIVEN", "main", "iter_sse", "Stream"} <= set(scope)
    assert not set(scope) & {"json", "sys", "requests", "annotations", "TYPE_CHECKING"}
    assert {"chat", "files", "embedding", "stats"} <= set(dir(client))
    assert "messages" in inspect.signature(OpenAIMini.chat).parameters
    for name in ("api_key", "base_url"):
        client_error(lambda: setattr(openai_mini, name, "x"), AttributeError, "make a client")
    exec(MODULE.read_text("utf-8"), {"__name__": "builtins"})
    assert type(sys.modules["builtins"]) is types.ModuleType is not type(openai_mini)
    for kept in (NOT_GIVEN, openai_mini.DEFAULT_MODELS):
        assert copy.deepcopy(kept) == kept
    assert pickled(NOT_GIVEN) is NOT_GIVEN and isinstance(NOT_GIVEN, openai_mini.NotGiven)


def test_a_mock_of_the_client_has_its_resources(client, server):
    from unittest import mock

    assert mock.MagicMock(spec=OpenAIMini).responses and not hasattr(client.files.list, "_x")
    with mock.patch.object(OpenAIMini, "responses"):
        assert OpenAIMini(base_url="echo:").responses.create().id
    assert client.responses.create(input="x") == {"object": "list", "data": []}


@cases("path", ["chat", "beta.vector_stores.list", "files.with_raw_response.list"])
def test_what_is_put_onto_a_resource_stays_there_and_decorators_take_it(server, client, path):
    from unittest import mock

    find = lambda name: functools.reduce(getattr, name.split(".")[:-1], client)  # noqa: E731
    name = path.split(".")[-1]
    method = getattr(find(path), name)
    wrapped = functools.wraps(method)(lambda *args, **kwargs: None)
    assert wrapped.__name__ == name and inspect.unwrap(wrapped) is method
    assert isinstance(inspect.signature(method), inspect.Signature)
    with mock.patch.object(find(path), name, return_value="stand-in"):
        assert getattr(find(path), name)() == "stand-in"
    assert not isinstance(getattr(find(path), name), mock.Mock)
    assert not server.requests and client.chat("hi").content == "hello"


# What goes out


def test_not_given_is_left_out_of_body_query_and_headers(server, client):
    empty = NOT_GIVEN
    assert openai_mini.omit is empty and not empty
    client.chat.completions.create(model="m", messages=[], stop=empty, timeout=empty)
    client.files.list(limit=empty, after="x", extra_query={"q": empty})
    client.files.create(file=("a", b"1"), purpose=empty)
    client.vector_stores.list(extra_headers=empty)
    client.vector_stores.list(extra_headers={"openai-beta": "mine"})
    client.beta.responses.create(betas=["a", "b"], name=empty, model="m")
    client.with_options(default_headers={"OpenAI-Beta": "d"}).responses.create(model="m")
    chat, listed, form, *betas = server.requests
    assert chat.json == {"model": "m", "messages": []} and betas[-1].json == {"model": "m"}
    assert line_of(listed) == "GET /files?after=x" and [p.name for p in form.parts] == ["file"]
    sent = [request.headers["openai-beta"] for request in betas]
    assert sent == ["assistants=v2", "mine", "a,b", "d"]


def test_a_subclass_that_overrides_chat_is_asked_each_time(server):
    class Mine(openai_mini.OpenAIMini):
        def chat(self, *args, **params):
            asked.append(args)
            return super().chat(*args, **params)

    asked, client = [], Mine("k", base_url=server.url)
    assert [client.chat("x").content for _ in range(3)] == ["hello"] * 3 and len(asked) == 3


@cases("make", [iter, lambda items: dict(enumerate(items)).values(), collections.deque])
def test_an_iterable_is_a_list_to_the_server_and_a_result_no_file(server, client, make):
    server.default = Answer(json=RESPONSE)
    first = client.responses.create(input=make(HI * 2), include=iter(["x"]))
    extra = {"extra_headers": collections.ChainMap({"x-mine": "1"}), "extra_body": {"no": "body"}}
    client.files.list(metadata={"a": "b"}, **extra)
    client.responses.create(input=first.output, previous=first)  # `.read` of them reads None
    column = types.SimpleNamespace(keys=None, tolist=None)
    column = type("Series", (), {**vars(column), "__iter__": lambda self: iter("ab")})()
    client.embeddings.create(model="m", input=column)
    client.batches.cancel("b", extra_body={"why": 1})
    created, listed, again, vectors, cancel = server.requests
    assert vectors.json["input"] == ["a", "b"] and cancel.json == {"why": 1}
    assert created.json == {"input": HI * 2, "include": ["x"]}
    assert listed.headers["x-mine"] == "1" and listed.query == {"metadata[a]": "b"}
    assert not listed.body and "idempotency-key" in cancel.headers
    assert again.json == {"input": RESPONSE["output"], "previous": RESPONSE}


# What comes back


def test_pages_of_a_list_go_on_as_they_began(server, client):
    first = {"object": "list", "data": [{"id": "a"}, {"id": "b"}], "has_more": True}
    last = {"data": [{"id": "c"}], "has_more": False}
    server.default = lambda request: Answer(json=last if "after" in request.query else first)
    client = client.with_options(admin_api_key="sk-admin")
    headers = {"extra_headers": {"x-a": "b"}, "extra_query": {"q": "1"}}
    options = {"limit": 2, **headers}
    for page, key, beta in (
        (client.admin.organization.users.list(**options), "sk-admin", None),
        (client.vector_stores.files.list("v", **options), "sk-test", "assistants=v2"),
        (client.files.with_raw_response.list(**options).parse(), "sk-test", None),
        (client.get("/files", params={"limit": 2}, **headers), "sk-test", None),
    ):
        assert [item.id for item in page] == ["a", "b", "c"]
        asked = server.last
        assert asked.query == {"limit": "2", "q": "1", "after": "b"}
        assert asked.headers["authorization"] == "Bearer " + key and asked.headers["x-a"] == "b"
        assert asked.headers.get("openai-beta") == beta
    server.default = Answer(json={"object": "list", "data": [{"id": "a"}]})
    in_store = client.vector_stores.files.content("f", vector_store_id="v")
    assert list(in_store) == [{"id": "a"}] and not in_store.has_next_page()
    assert server.count == 9


def test_each_method_reads_what_its_path_answers(server, client):
    server.default = Answer(body=b"text", content_type="application/json")
    for answer in (
        client.videos.download_content("v"), client.files.with_raw_response.content("f").parse(),
        client.audio.speech.create(input="x", voice="v"),
    ):
        assert isinstance(answer, bytes) and answer == answer.read() == b"text"
    server.script(Answer(204))
    assert not client.responses.delete("r")
    kinds = ["response.created", "response.output_text.delta", "response.completed"]
    events = [(kind, {"type": kind, "delta": "x", "response": {}}) for kind in kinds]
    server.default = Answer(sse=events, done=False)
    for stream in (
        client.responses.retrieve("r", stream=True, starting_after=3),
        client.beta.agents.sessions.events.stream("s"),
    ):
        assert [event.type for event in stream] == kinds
        assert server.last.headers["accept"] == "text/event-stream"
    assert server.requests[-2].query == {"stream": "true", "starting_after": "3"}


def test_embeddings_are_numbers_unless_base64_was_asked_for(server, client):
    text = base64.b64encode(struct.pack("<2f", 1, -0.5)).decode()
    as_text = {"encoding_format": "base64"}
    for form, asked, expected in ((text, {}, [1, -0.5]), ([1], {}, [1]), (text, as_text, text)):
        server.default = Answer(json={"data": [{"embedding": form}, {"embedding": form}]})
        answer = client.embeddings.create(input="a", **asked)
        raw = client.embeddings.with_raw_response.create(input="a", **asked)
        for made in (answer, raw.parse()):
            assert [one.embedding for one in made.data] == [expected] * 2
        assert server.last.json == {"input": "a", **asked}
    server.default = Answer(json={"data": [{"index": 0, "embedding": "%%%"}]})
    client_error(lambda: client.embeddings.create(input="a"), APIResponseError, "POST /embeddings")


# Raw and streaming responses


def test_a_streaming_response_has_the_official_methods(server, client, tmp_path):
    text, path = "a\nb\u2028c\nd", tmp_path / "file"
    content = client.files.with_streaming_response.content
    for work, expected in (
        (lambda r: list(r.iter_lines()), ["a", "b\u2028c", "d"]),
        (lambda r: b"".join(r.iter_bytes(2)).decode(), text),
        (lambda r: (r.text, r.read().decode()), (text, text)),
        (lambda r: (r.stream_to_file(path), path.read_text("utf-8"))[1], text),
    ):
        server.script(body=text)
        with content("f") as response:
            assert response.status_code == 200 and work(response) == expected
    create = client.chat.completions.with_streaming_response.create
    with create(messages=[]) as response:
        assert response.json() == response.parse() == CHAT
    with create(stream=True) as response:
        assert "".join(chunk.content for chunk in response.parse()) == "hello"
    server.script(body="abcde", cut=3)
    with content("f") as response, pytest.raises(APIResponseError, match="/f/content: .*1 attempt"):
        response.read()
    stats = client.stats()
    assert (stats["succeeded"], stats["failed"], stats["queue"]["running"]) == (6, 1, 0)
    assert stats["streams"]["completed"] == 1


def test_a_raw_response_has_the_official_names(server, client):
    server.script(Answer(500), Answer(json=CHAT, headers={"x-request-id": "r", "X-My": "mine"}))
    raw = client.with_raw_response.chat.completions.create(model="m", messages=[])
    assert raw.headers["x-my"] == raw.headers.get("X-MY") == "mine" and raw.request_id == "r"
    assert raw.status_code == 200
    assert json.loads(raw.text) == json.loads(raw.content) == raw.json() == raw.parse() == CHAT
    raw = client.chat.completions.with_raw_response.create(model="m", messages=[], stream=True)
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert next(raw.parse()).content + "".join(c.content for c in raw.parse()) == "hello"
    server.default, files = Answer(404, json={"message": "no such file"}), client.files
    for call in (
        lambda: files.with_raw_response.retrieve("f"),
        lambda: files.with_streaming_response.content("f").__enter__(),
    ):
        client_error(call, openai_mini.NotFoundError, "no such file")


def test_a_dropped_streaming_or_raw_answer_gives_slot_and_probe_back(server):
    client = guarded(server, breaker_half_open(), max_concurrent_requests=1)
    server.default = Answer(sse=chunks("a"), hold_after=1, wait=NEVER)
    with without_gc():
        for kind in ("with_streaming_response", "with_raw_response"):
            answer = getattr(client.chat.completions, kind).create(stream=True, timeout=5)
            del answer
            assert slots_of(client) == 0
    assert client.stats()["abandoned"] == 2


# parse


def test_parse_gives_an_instance_of_the_class_for_each_choice_and_text(server, client):
    texts, create = ['{"name": "Ada"}', '{"name": "Bob"}'], client.chat.completions
    choices = [{"message": {"role": "assistant", "content": text}} for text in texts]
    server.default = Answer(json=dict(CHAT, choices=choices))
    ask = {"model": "m", "messages": [], "response_format": Person, "n": 2}
    for made in (create.parse(**ask), create.with_raw_response.parse(**ask).parse()):
        assert [choice.message.parsed.name for choice in made.choices] == ["Ada", "Bob"]
        assert json.loads(json.dumps(made.choices[0].message)) == choices[0]["message"]
    form = {"type": "json_schema", "json_schema": STRICT_PERSON}
    assert server.first.json == dict(ask, response_format=form)
    client_error(lambda: create.parse(stream=True, **ask), ValidationError)
    ask["response_format"] = {"type": "json_object"}
    assert create.parse(**ask).content == texts[0] and server.last.json == ask
    server.default = Answer(json=RESPONSE)
    response = client.responses.parse(text={"verbosity": "low"}, text_format=Person, model="m")
    assert response.output_parsed.name == response.output[1].content[0].parsed.name == "Ada"
    text = {"verbosity": "low", "format": dict(STRICT_PERSON, type="json_schema")}
    assert server.last.json == {"model": "m", "text": text}


# Azure


@cases("by_variables, named, path", [(True, "my dep", "my%20dep"), (False, None, "m")])
def test_an_azure_client_asks_where_azure_wants_to_be_asked(
    server, monkeypatch, by_variables, named, path
):
    server.default = Answer(json=dict(CHAT, data=[], text=""))
    tail = "/" if named else "/openai/deployments/x/chat/completions?api-version=1\n"
    options = {"azure_endpoint": server.origin + tail, "api_key": "k", "api_version": "v 1"}
    variables = "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "OPENAI_API_VERSION"
    for name, variable in zip([*options], variables if by_variables else ()):
        monkeypatch.setenv(variable, options.pop(name))
    client, file = AzureOpenAI(azure_deployment=named, **options), {"file": b"x"}
    for call, at, more in (
        (client.chat.completions.create, "deployments/{}/chat/completions", {}),
        (client.audio.transcriptions.create, "deployments/{}/audio/transcriptions", file),
        (client.responses.create, "responses", {}), (client.files.create, "files", file),
    ):
        call(model="m", **more)
        request = server.last
        assert request.path == "/openai/" + at.format(path)
        assert request.query == {"api-version": "v 1"} and request.headers["api-key"] == "k"
        assert "authorization" not in request.headers


def test_an_azure_client_sends_a_token_as_a_bearer_never_openais_key(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    make, options = AzureOpenAI, {"azure_endpoint": server.origin, "api_version": "v"}
    client_error(lambda: make(**options), ValidationError, "AZURE_OPENAI_API_KEY")
    make(azure_ad_token_provider=lambda: "token", **options).files.list()
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "token")
    make(**options).files.list()
    monkeypatch.delenv("AZURE_OPENAI_AD_TOKEN")
    assert client_sent(server) == ["Bearer token"] * 2
    for missing in options:
        given = {**options, "api_key": "k", missing: None}
        client_error(lambda: make(**given), ValidationError, missing)


# ------------ Observe

MILLION = os.environ.get("OPENAI_MINI_MILLION")
SPENT = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


def run_readme(word, space: dict) -> dict:
    exec(next(block for block in readme_blocks("python") if word in block), space)
    return space


def counts_of(client) -> tuple:
    stats = client.stats()
    return tuple(stats[name] for name in ("requests", "succeeded", "failed", "abandoned"))


def test_the_statistics_agree_with_a_server_that_counts(server):
    client = client_for(server, cache={})
    stats = client.stats()
    assert json.dumps(stats) and stats["requests"] == 0 and stats["errors"] == {}
    assert stats["latency_s"] == {"count": 0, "mean": None, "p50": None, "p95": None, "max": None}
    assert stats["streams"]["ttft_s"] is None
    limits = {"x-ratelimit-remaining-requests": "59", "x-ratelimit-limit-tokens": "1000"}
    usage = {"input_tokens": 5, "output_tokens": 6, "total_tokens": 12}
    server.script(Answer(500, json={"error": "no"}), HELLO, Answer(400))
    server.script(sse=chunks("a", "b", usage=SPENT))
    server.script(json=dict(RESPONSE, usage=usage), headers=limits)
    assert client.chat("one") == client.chat("one")
    client_error(lambda: client.chat("two"), BadRequestError)
    list(client.stream_chat("three"))
    client.responses.create(input="four")
    stats, right = client.stats(), {
        "requests": 5, "succeeded": 4, "failed": 1, "abandoned": 0, "retries": 1,
        "errors": {"BadRequestError": 1}, "tokens": {"prompt": 23, "completion": 9, "total": 33},
        "bytes_sent": sum(len(asked.body) for asked in server.requests),
        "cache": {"hits": 1, "misses": 3}, "queue": {"running": 0, "waiting": 0},
        "circuit": {"state": "closed", "opened": 0},
    }
    assert {**stats, **right} == stats and stats["bytes_received"] > len(json.dumps(CHAT))
    assert {name.lower(): value for name, value in stats["rate_limit"].items()} == limits
    streams = {"started": 1, "completed": 1, "interrupted": 0, "abandoned": 0, "chunks": 4}
    assert {**stats["streams"], **streams} == stats["streams"] and stats["streams"]["ttft_s"] > 0
    latency = stats["latency_s"]
    assert latency["count"] == 4 and 0 < latency["mean"] <= latency["max"] >= latency["p95"]


def ask_chat(client):
    with suppress(OpenAIError):
        client.chat("my prompt")


def read_chat(client):
    with suppress(OpenAIError):
        list(client.stream_chat("my prompt"))


def test_memory_stays_constant_however_many_calls_are_counted():
    """A million with OPENAI_MINI_MILLION=1."""
    client = OpenAIMini(base_url="echo:", on_event=lambda event: None)
    tracemalloc.start()
    try:
        for calls in (1100, 1_000_000 if MILLION else 1500):
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for number in range(calls):
                client.chat("call")
                if number % 10 == 0:
                    read_chat(client)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 30_000
    finally:
        tracemalloc.stop()


# Events

FAILED = {"error": "InternalServerError"}
BUSY = Answer(503, headers={"x-request-id": "r1", "retry-after": "0.001"})
REFUSAL = Answer(sse=[{"error": {"message": "x", "code": "server_error"}}])
CUT_OFF, SAID = Answer(sse=chunks("a", "b"), cut=250), Answer(sse=chunks("a", usage=SPENT))
RETRIED, STREAMED = "request response retry ", "request response stream_end"
RETRIED_TWICE = RETRIED * 2 + "request response"
LIVES = [  # (answers, what is done, the names of the events, what the last one has)
    ([BUSY, Answer(500), Answer(json=CHAT, headers={"x-request-id": "r3"})], ask_chat,
     RETRIED_TWICE, {"status": 200, "request_id": "r3", "usage": CHAT["usage"]}),
    ([Answer(500)] * 3, ask_chat, RETRIED_TWICE + " error", FAILED),
    ([Answer(raw=b"")] * 3, ask_chat, "request retry " * 2 + "request error",
     {"error": "APIConnectionError"}),
    ([SAID], read_chat, STREAMED, {"state": "completed", "usage": SPENT}),
    ([REFUSAL, SAID], read_chat, RETRIED + STREAMED, {"state": "completed"}),
    ([REFUSAL] * 3, read_chat, RETRIED_TWICE + " error", FAILED),  # it never began
    ([CUT_OFF], read_chat, STREAMED, {"state": "interrupted", "error": "StreamInterruptedError"}),
    ([], lambda client: client.stream_chat("hi").close(), STREAMED, {"state": "abandoned"}),
    ([], lambda client: client.stream_chat("hi") and gc.collect(), STREAMED,
     {"state": "abandoned"}),
]


@cases("answers, work, names, last", LIVES)
def test_the_events_and_counts_tell_the_life_of_a_call(server, answers, work, names, last):
    server.script(*answers)
    events, state = [], last.get("state")
    client = client_for(server, on_event=events.append, max_retries=2)
    work(client)
    assert " ".join(event["event"] for event in events) == names
    of_all = {"id": events[0]["id"], "method": "POST", "path": "/chat/completions"}
    of_all["model"] = DEFAULT_MODELS["chat"]
    assert all({**event, **of_all} == event and None not in event.values() for event in events)
    assert {**events[-1], **last} == events[-1] and events[-1]["duration_s"] >= 0
    assert "sk-test" not in repr(events) and "my prompt" not in repr(events)
    if names == RETRIED_TWICE:
        assert [event["attempt"] for event in events] == [1, 1, 1, 2, 2, 2, 3, 3]
        failed, waited = events[1:3]
        assert (failed["status"], failed["request_id"], waited["wait_s"]) == (503, "r1", 0.001)
        assert failed["error"] == waited["error"] == FAILED["error"] and "error" not in events[-1]
    elif state:
        assert (events[-2]["status"], events[-2]["state"]) == (200, "streaming")
    failed, left, stats = int("error" in last), int(state == "abandoned"), client.stats()
    assert counts_of(client) == (1, 1 - failed - left, failed, left)
    for name in ("completed", "interrupted", "abandoned"):
        assert stats["streams"][name] == (name == state)
    assert stats["streams"]["started"] == bool(state) and stats["retries"] == names.count("retry")


@cases("has_fallback", [False, True])
def test_the_events_tell_of_a_circuit_that_opens_and_closes(server, other_server, has_fallback):
    clock, events = FakeClock(), []
    breaker = CircuitBreaker(2, success_threshold=1, clock=clock)
    fallback = client_for(other_server) if has_fallback else None
    client = guarded(server, breaker, on_event=events.append, fallback=fallback)
    server.script(Answer(500), Answer(500))
    for _ in range(3):
        ask_chat(client)
    clock.advance(60)
    ask_chat(client)
    states = [event["state"] for event in events if event["event"] == "circuit"]
    assert states == ["open", "half_open", "closed"]
    refused = [event["event"] for event in events if event.get("error") == "CircuitOpenError"]
    assert refused == ["error"] * (not has_fallback) and server.count == 3
    assert other_server.count == 3 * has_fallback


def test_a_hook_that_raises_breaks_nothing_and_one_may_call_the_client(server, caplog):
    def hook(event):
        if event["event"] == "request" and not seen:
            seen.append(None)
            seen[0] = client.with_options(on_event=None).chat("from the hook").content
        raise LookupError("the collector is down")

    client, seen = client_for(server, on_event=hook, max_concurrent_requests=1), []
    server.script(usual, Answer(500))
    assert ending(client) == streamed(client) == "hello" and seen == ["hello"]
    assert client.stats()["succeeded"] == 3 and slots_of(client) == 0
    assert "the collector is down" in caplog.text and "sk-test" not in caplog.text


def spans(make):
    sdk = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    trace, api = sys.modules["opentelemetry.sdk.trace"], sys.modules["opentelemetry.trace"]
    exporter, provider = sdk.InMemorySpanExporter(), trace.TracerProvider()
    provider.add_span_processor(trace.export.SimpleSpanProcessor(exporter))
    api.set_tracer_provider(provider)
    yield run_readme("opentelemetry", {"OpenAIMini": make})["client"]
    told = [dict(span.attributes) for span in exporter.get_finished_spans()]
    assert [one.get("error.type") for one in told] == ["InternalServerError", None, None]
    assert [one["gen_ai.usage.output_tokens"] for one in told] == [0, 1, 2]


def metrics(make):
    value = pytest.importorskip("prometheus_client").REGISTRY.get_sample_value
    yield run_readme("prometheus", {"OpenAIMini": make})["client"]
    names = {"event": "response", "model": DEFAULT_MODELS["chat"], "error": ""}
    assert value("openai_steps_total", names) == 2
    assert value("openai_steps_total", dict(names, **FAILED)) == 1


@cases("collector", [spans, metrics])
def test_the_readmes_adapters_tell_each_step_to_a_collector(server, collector):
    server.script(Answer(500), HELLO, Answer(sse=chunks("a", usage=SPENT)))
    for client in collector(partial(client_for, server)):
        ask_chat(client)
        read_chat(client)


# The cache


@cases("kind", ["dict", "diskcache"])  # shelve: below, in use
def test_a_repeated_call_is_answered_from_the_cache(server, tmp_path, kind):
    cache = {} if kind == "dict" else pytest.importorskip(kind).Cache(str(tmp_path))
    breaker = CircuitBreaker(1, failure_rate=0)
    client = guarded(server, breaker, cache=cache)
    server.script(Answer(400), Answer(json={"error": {"code": 400}}))
    for _ in range(2):
        chat_error(client, BadRequestError)  # errors are never kept
    first, second = client.chat("hi"), client.chat("hi")
    assert first == second and second.content == "hello" and type(second) is type(first)
    for other in ({"temperature": 1}, {"extra_query": {"a": 1}}, {"model": "m"}):
        client.chat("hi", **other)
    assert client.stats()["cache"] == {"hits": 1, "misses": 6}
    breaker.failure()  # opens the circuit
    assert ending(client) == ending(client_for(server, cache=cache, api_key="sk-2")) == "hello"
    client_error(lambda: client.chat("other"), CircuitOpenError)
    assert server.count == 6
    assert "sk-test" not in repr([(key, cache[key]) for key in list(cache)])
    getattr(cache, "close", int)()


CACHED = [
    lambda c: c.chat.completions.create(messages=[], model="m"), lambda c: c.moderation("a"),
    lambda c: c.embedding("a"), lambda c: c.completions.create(prompt="a"),
    lambda c: c.responses.create(input="a", model="m"),
]
NOT_CACHED = [
    read_chat, lambda c: c.request("GET", "/models"), lambda c: c.generate_image("x"),
    lambda c: c.request("POST", "/files", json={}),
    lambda c: c.chat.completions.with_raw_response.create(messages=[], model="m"),
]


@cases("call", CACHED + NOT_CACHED)
def test_what_is_no_stream_and_changes_nothing_is_cached_all_else_not(server, call):
    body = dict(CHAT, data=[{"embedding": [1.0], "index": 0}], results=[])
    server.default = lambda r: usual(r) if b'"stream": true' in r.body else Answer(json=body)
    client = client_for(server, cache={})
    assert call(client) == call(client) or call in NOT_CACHED
    assert server.count == (1 if call in CACHED else 2)


class BrokenCache(dict):
    def get(self, key, default=None):
        raise OSError("the disk is gone")

    __getitem__ = __setitem__ = __contains__ = get


def test_a_cache_that_raises_or_holds_rubbish_is_passed_over(server, caplog):
    client, cache = client_for(server, cache=BrokenCache()), {}
    assert ending(client) == ending(client) == "hello"
    assert server.count == 2 and "the disk is gone" in caplog.text
    client = client_for(server, cache=cache)
    client.chat("hi")
    for rubbish in (b"{", b"\xff\xfe", 42, None, "[]", b"[1]"):
        cache.update(dict.fromkeys(cache, rubbish))
        assert ending(client) == "hello"


# ------------ Processes

def echo(request):
    return chat_saying(request.json["messages"][-1]["content"])


def echoes(client, name, count=20):
    return all(client.chat(name + str(i)).content == name + str(i) for i in range(count))


def test_a_connection_is_that_of_its_process_whether_python_knows_or_not(
    server, client, monkeypatch
):
    server.default = echo
    assert echoes(client, "p", 2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 7)  # as behind a fork in C
        assert echoes(client, "c", 2) and server.connections == 2
    holder = threading.Thread(target=client._stats._lock._lock.acquire)
    holder.start(), holder.join()
    assert in_child(lambda: client.stats()["requests"] == 0)


def test_a_client_pickles_with_its_options_and_starts_its_counts_anew(server):
    breaker, given = CircuitBreaker(1), requests.Session()
    given.headers["X-S"] = "1"
    client = client_for(
        server, fallback=client_for(server), circuit_breaker=breaker, organization="org-1",
        use_request_queue=RequestQueue(3), default_headers={"X-A": "1"},
        session=given, on_event=print, model="m",
    )
    client.chat("hi")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickled(client, protocol)
        assert again.stats()["requests"] == 0 and again.on_event is print
        assert again.chat("hi").content == "hello"
        assert pickled(again.chat, protocol)("hi").content == "hello"
    first, *others = server.requests
    for other in others:
        assert other.json == first.json and first.json["model"] == "m"
        for name in ("authorization", "openai-organization", "x-a", "x-s"):
            assert first.headers[name] == other.headers[name]
    server.default = Answer(500)
    client_error(lambda: again.chat("hi", max_retries=0))
    assert again.stats()["circuit"]["state"] == "open" and breaker.state == "closed"


def test_a_child_makes_connections_of_its_own(server, session):
    server.default = echo
    client = client_for(server, session=session)
    client.chat("warm")
    children = [forked(lambda name=name: echoes(client, name)) for name in "abc"]
    assert echoes(client, "parent")
    assert [code_of(child) for child in children] == [0, 0, 0] and server.connections == 4


def test_a_fork_with_an_open_stream_leaves_it_to_the_parent(server):
    gate = stream_held(server, "a", "b", "c")
    client = client_for(server, max_concurrent_requests=1)
    stream = client.stream_chat("hi")
    assert next(stream).content == "a"

    def child():
        stream.close()
        return client.chat("child").content == "hello" and slots_of(client) == 0

    assert in_child(child)
    assert server.hung_up == 0 or server.open_connections
    gate.set()
    assert stream_text(stream) == "bc"
    assert client.stats()["streams"]["completed"] == 1


def test_a_fork_in_the_middle_of_calls_does_not_hang_the_child(server):
    server.default = echo
    client = client_for(server, max_concurrent_requests=2, cache={})
    ended, draw = Event(), random.Random(7)

    def calls(thread):
        numbers = itertools.count()
        while not ended.is_set():
            client.chat("%d/%d" % (thread, next(numbers)))

    def child():
        later = client.submit("chat", "later").result(10).content
        return later == "later" and echoes(client, "child", 2)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        done = [pool.submit(calls, thread) for thread in range(4)]
        try:
            server.wait_requests(20)
            for _ in range(12):
                time.sleep(draw.random() * 0.01)
                assert in_child(child)
        finally:
            ended.set()
    assert [one.result() for one in done] == [None] * 4


# The Batch API


def test_the_readmes_recipe_for_the_batch_api_reads_all_answers(server, capsys):
    batch = {"id": "batch-1", "request_counts": {"total": 3, "completed": 0, "failed": 0}}
    states = ["validating", "in_progress", "finalizing", "completed"]

    def results(request):
        lines = []
        for one in map(json.loads, reversed(part_of(server.first).body.splitlines())):
            answer = chat_saying(one["body"]["messages"][0]["content"].upper())
            response = {"status_code": 200, "body": answer.json}
            lines.append(json.dumps({"custom_id": one["custom_id"], "response": response}))
        return Answer(body="\n".join(lines).encode())

    server.script(json={"id": "file-in"})
    server.script(*[Answer(json=dict(batch, status=s, output_file_id="file-out")) for s in states])
    server.script(results)
    space = {"client": client_for(server), "prompts": ["a", "b\nc", "d"], "poll_s": 0}
    assert run_readme("custom_id", space)["answers"] == {0: "A", 1: "B\nC", 2: "D"}
    upload, create, *polls, content = server.requests
    assert part_of(upload, "purpose").body == b"batch"
    assert create.json["input_file_id"] == "file-in" and "/file-out/" in content.path
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == states[1:]


# ------------ In use


def refusal(status, message, **more) -> Answer:
    return Answer(status, json={"error": {"message": message, "type": "invalid", **more}})


TOO_MUCH = [
    refusal(400, "batch size is invalid, it should not be larger than 2"),
    refusal(400, "Invalid 'input': array too long. Expected at most 2 items"),
    refusal(400, "Requested 9 tokens, max 8 tokens per request", param=None),
    Answer(413, body="Request Entity Too Large"),
    Answer(422, json={"error": "batch size 4 > maximum allowed batch size 2"}),
    *(refusal(400, words) for words in (
        "250 instance(s) is allowed per prediction. Actual: 300", "must be <= 100",
        "the input token count is 20500 but the model supports up to 20000",
        "Too many input texts. Max is 512", "input数组最大不得超过64条", "must be 100 or less",
        "the length of input must be less than or equal to 100", "exceeds limit of 100")),
]
WRONG_INPUT = [
    refusal(422, "'dimensions' must be at most 1536", param="dimensions"),
    refusal(400, "'$.input' is invalid: it cannot be empty", param="input"),
    refusal(400, "This model's maximum context length is 8 tokens", code="context_length_exceeded"),
    *(refusal(status, words) for status, words in (
        (400, "Invalid 'input[8]': maximum input length is 8192 tokens."),
        (400, "Input length 1109 exceeds maximum allowed token size 512"),
        (400, "The example at index 0 in your batch has too many tokens"),
        (413, "`inputs` must have less than 512 tokens. Given: 600"),
        (400, "input is too large to process. increase the physical batch size"),
        (400, "dimensions 4096 is larger than the maximum 1024"))),
]


@cases("refused", TOO_MUCH + WRONG_INPUT)
def test_embeddings_are_halved_only_where_they_were_too_much_at_once(server, client, refused):
    server.default = lambda r: vectors()(r) if len(r.json["input"]) <= 10 else refused
    ask = lambda: client.embedding(map(str, range(1000)))  # noqa: E731
    if refused in TOO_MUCH:
        assert [vector[0] for vector in ask()] == list(range(1000))
        assert server.count <= 170, "what was learned of the limit is remembered"
    else:
        client_error(ask, APIStatusError)
        assert server.count == 1


@cases("fault", [refusal(400, "no"), Answer(json={"data": []})])
def test_vectors_that_were_paid_for_are_in_the_error_of_a_later_part(server, client, fault):
    server.default = lambda r: fault if r.json["input"][0] == "2048" else vectors()(r)
    error = client_error(lambda: client.embedding([str(i) for i in range(3000)]), APIError)
    assert error.partial == [[float(i), 0.5] for i in range(2048)]
    assert [len(request.json["input"]) for request in server.requests] == [2048, 952]


def embedded(*indexes) -> list:
    items = [{"index": index, "embedding": [float(at)]} for at, index in enumerate(indexes)]
    return [{name: item[name] for name in item if item[name] is not None} for item in items]


@cases("indexes", [(None, 1, 2), (0, None, 2), (None, None, None)])
def test_an_item_without_an_index_is_where_it_stands(server, client, indexes):
    server.script(json={"data": embedded(*indexes)})
    assert client.embedding(["a", "b", "c"]) == [[0.0], [1.0], [2.0]]


@cases(
    "data",
    [None, [], embedded(0), [{"index": 0}] * 3, embedded(0, 1, 0), embedded(1, 2, 3),
     embedded(*"abc"), embedded(None, 0, 1),
     [{"embedding": [1.0, math.inf]}] * 3, [{"embedding": {"7": 1.0}}] * 3],
)
def test_what_is_not_a_vector_for_each_input_is_an_error(server, client, data):
    server.script(json={"data": data, "key": "sk-test"}, headers={"x-request-id": "req_9"})
    error = client_error(lambda: client.embedding(["a", "b", "c"]), APIResponseError)
    assert re.match("POST /embeddings: .*1 att", str(error)) and error.request_id == "req_9"
    assert "sk-test" not in str(error) + repr(pickled(error))


# Tests of people's own


def test_an_error_made_by_hand_has_what_its_answer_says():
    response, body = requests.Response(), {"code": "c", "param": "p", "type": "t"}
    response.status_code, response.headers = 403, {"x-request-id": "req_1"}
    error = openai_mini.PermissionDeniedError("slow down", response=response, body=body)
    assert str(error) == error.message == "slow down" and error.response is response
    assert (error.status_code, error.request_id, error.body) == (403, "req_1", body)
    assert (error.code, error.param, error.type) == ("c", "p", "t") and error.is_auth_error
    assert RateLimitError("slow down", response=response, body=None).code is None
    assert APITimeoutError(request=None).status_code is None
    for name in ("LengthFinishReason", "ContentFilterFinishReason", "APIResponseValidation"):
        assert getattr(openai_mini, name + "Error") is APIResponseError


# The cache, the log


def test_a_cache_not_safe_for_threads_never_gives_another_calls_answer(server, tmp_path):
    server.default = echo
    with contextlib.closing(shelve.open(str(tmp_path / "cache"))) as cache:
        client = client_for(server, cache=cache, max_concurrent_requests=16)

        def ask(number):
            texts = ["%d" % (n % 40) for n in range(number * 7, number * 7 + 60)]
            return [text for text in texts if client.chat(text).content != text]

        assert together(16, ask) == [[]] * 16
        assert client.stats()["succeeded"] == 16 * 60


LOGGING_STEPS = """
    import logging.config, sys, openai_mini
    make = lambda **more: openai_mini.OpenAIMini("k", base_url=sys.argv[1], max_retries=0, **more)
    steps = {
        "client": lambda: make(debug=True), "quiet": make,
        "basic": lambda: logging.basicConfig(level=logging.INFO, format="PROGRAM %(message)s"),
        "handler": lambda: logging.getLogger("openai_mini").addHandler(logging.StreamHandler()),
        "dict": lambda: logging.config.dictConfig({"version": 1}),
    }
    made = [steps[step]() for step in sys.argv[2:]]
    [one for one in made if one][0].chat("x")
"""


@cases("steps, level, times", [
    ("client client", "", 1), ("basic client", "", 1), ("client basic", "", 1),
    ("quiet", " debug\n", 1), ("quiet basic", "info", 1), ("handler client", "", 1),
    ("basic quiet", "", 0), ("client dict", "", 1),
])
def test_each_line_of_the_log_comes_once_however_logging_is_set_up(server, steps, level, times):
    done = run_python(LOGGING_STEPS, server.url, *steps.split(), env={"OPENAI_LOG": level})
    lines = [line for line in done.stderr.splitlines() if "chat/completions" in line]
    assert done.returncode == 0 and len(lines) == times
    assert all("200" in line for line in lines)
    assert not steps.startswith("basic") or all(line.startswith("PROGRAM") for line in lines)


# ------------ Fallbacks, streams, wire: what was found by trying to break them


def test_a_fallback_has_what_is_left_of_the_deadline_and_is_not_kept(server, other_server):
    kept, go, other = {}, Event(), client_for(other_server)
    server.script(Answer(500, wait=go), Answer(503))
    with guarded(server, cache=kept, fallback=other) as client:
        client_error(lambda: client.chat("hi", deadline=0.1), APITimeoutError)
        go.set()
        assert not other_server.requests
        assert client.chat("hi").content == "hello" and not kept


@cases("method, status", [("HEAD", 200), ("GET", 204)])
def test_an_answer_without_a_body_ends_whatever_its_headers_say(server, client, method, status):
    head = b"HTTP/1.1 %d X\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.script(raw=head % status)
    client.request(method, "/models", max_retries=0, deadline=5)


class SlowReader(Listener):
    """Takes a request by the megabyte, with a pause after each."""

    def serve(self, number, sock):
        head, _, body = sock.recv(1 << 16).partition(b"\r\n\r\n")
        left = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head).group(1)) - len(body)
        while left:
            for _ in range(16):
                left -= len(sock.recv(min(left, 1 << 16)))
            time.sleep(0.02)
        sock.sendall(HELLO.wire()[0][0])


def test_a_large_body_that_moves_is_not_silent():
    with SlowReader() as server:
        with guarded(server, timeout=(5, 0.5)) as client:
            assert client.upload_file(bytes(48 << 20)).object == "chat.completion"


def test_a_call_out_of_an_uploads_progress_leaves_the_upload_its_time(server, client):
    called = []

    def progress(sent, total):
        if not called:
            called.append(client.chat("hi", deadline=0.3).content)
            time.sleep(0.3)

    queue = RequestQueue(1)  # which both clients have
    client, first = (client.with_options(use_request_queue=queue, max_retries=0) for _ in "ab")
    first.upload_file(b"x" * (1 << 20), progress=progress)
    assert called == ["hello"] and server.count == 2


def packed(body: bytes, wbits: int) -> bytes:
    packer = zlib.compressobj(9, wbits=wbits)
    return packer.compress(body) + packer.flush()


@cases("coding, sent, body", [
    *(("deflate", packed(b"a" * size, -15), b"a" * size)
      for size in ((1 << 20) + more for more in (0, 7, 259, 5000))),
    ("gzip", packed(b"one", 31) + packed(b"two", 31) + b"\0" * 600, b"onetwo"),
    ("gzip", packed(b"one", 31) + b"\r\nand more", b"one"), ("gzip", b"", b""),
], ids=len)
def test_a_coded_body_is_read_to_its_end(server, client, coding, sent, body):
    headers = {"content-encoding": coding}
    server.script(body=sent, content_type="audio/mpeg", headers=headers)
    assert client.download_file("f") == body


def test_a_client_whose_parts_were_not_used_is_freed_at_once(server):
    with without_gc():
        client = OpenAIMini("k", base_url=server.url)
        client.request("GET", "/x")
        gone = weakref.ref(client)
        del client
        assert gone() is None


@cases("answer", [{"raw": b""}, {"json": CHAT, "cut": 5}, {"body": "<p>"}, {"json": CHAT}])
def test_a_call_leaves_nothing_of_its_caller_nor_of_the_wire_alive(server, answer):
    server.default = Answer(**answer)

    def ask(client):
        mine = FakeClock()
        with suppress(OpenAIError):
            client.chat("hi")
        return weakref.ref(mine)

    def answers() -> int:
        return sum(type(one).__name__ == "HTTPResponse" for one in gc.get_objects())

    with without_gc(), guarded(server) as client:
        before = answers()
        assert not any(ask(client)() for _ in range(5)) and answers() < before + 3


def test_a_child_does_not_wait_for_the_reader_of_a_stream_in_its_parent(server):
    go_on = stream_held(server, "a", "b")
    with client_for(server) as client, client.stream_chat("hi") as stream:
        reader = threading.Thread(target=list, args=(stream,))
        reader.start()
        time.sleep(0.05)  # for it to wait at the socket
        assert in_child(lambda: client.chat("hi").content == "hello")
        go_on.set()
        reader.join(10)
    assert stream.content == "ab"


def test_without_a_queue_no_more_connections_are_kept_than_with_one(server):
    gate = threading.Barrier(6)
    server.default = lambda request: gate.wait(10) is None or HELLO
    options = {"use_request_queue": False, "max_concurrent_requests": 2}
    with client_for(server, **options) as client:
        assert together(6, lambda i: client.chat("hi").content) == ["hello"] * 6
        assert server.wait_closed(4)
        stream_held(server, "a", "b")
        with client.stream_chat("hi"):  # on one of the two
            client.close()
            assert server.wait_closed(5)
    assert server.connections == 6


@cases("call", [lambda c: c.stream_chat("hi"),
                lambda c: c.chat.completions.with_streaming_response.create(messages=HI)])
def test_a_dropped_stream_writes_no_line_of_the_log(server, caplog, call):
    stream_held(server, "a", "b")
    options = {"debug": True, "circuit_breaker": CircuitBreaker(1)}
    with client_for(server, **options) as client, caplog.at_level("INFO", "openai_mini"):
        stream = call(client)
        before = len(caplog.records)
        options["circuit_breaker"].failure()
        del stream
        gc.collect()
        assert len(caplog.records) == before


# ------------ Safety

KEY = "sk-live-S3cr3t/0123+456789"
safe_client = partial(faults_client, api_key=KEY)


# Keys


def words_of(error: OpenAIError) -> str:
    lines, chain = traceback.format_exception(type(error), error, error.__traceback__), [error]
    for one in chain:
        chain += [e for e in (one.__cause__, one.__context__) if e and e not in chain]
        response = getattr(one, "response", None)
        lines += map(str, (one, repr(one), one.args, getattr(one, "__dict__", ""), repr(response)))
        lines += [str(getattr(response, name, "")) for name in ("headers", "text")]
    return "\n".join(lines) + pickle.dumps(error).decode("latin-1")


HTML, RAW_KEY = "text/html", KEY.encode()
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ECHO = {"message": "Incorrect API key provided: %s." % KEY, "code": KEY, "key": {"a": [KEY]}}
ECHOES = [
    *(Answer(status, json=body, headers={"x-echo": "Bearer " + KEY}) for status, body in [
        (401, {"error": ECHO}), (403, {"error": {"message": "m", "type": KEY, "param": KEY}}),
        (401, {"error": "no %s" % KEY}), (500, {"detail": [{"msg": KEY}]}), (400, {KEY: KEY}),
        (200, [KEY]), (200, KEY), (200, {"error": {"message": KEY}})]),
    Answer(json={}, headers={"content-encoding": KEY}),
    Answer(307, headers={"location": "https://elsewhere.invalid/?key=" + KEY}),
    *(Answer(status, body=body, content_type=kind) for status, body, kind in [
        (400, "<title>%s</title>" % KEY, HTML), (400, "key=" + KEY, None),
        (200, "<html>Bearer %s</html>" % KEY, HTML), (200, '{"key": "' + KEY, "application/json")]),
    *(Answer(sse=events) for events in [
        [{"error": {"message": "bad " + KEY}}], ["no JSON: " + KEY], ['["%s"]' % KEY],
        chunks("hel") + [("error", {"message": KEY})]]),
    *(Answer(raw=raw) for raw in [
        b"HTTP/1.1 %s\r\n\r\n" % RAW_KEY, RAW_KEY + b"\r\n\r\n", CHUNKED + RAW_KEY + b"\r\n",
        b"HTTP/1.1 400 No\r\nx: \r\n bad %s\r\n\r\n" % RAW_KEY]),
    Answer(json=CHAT, headers={"content-length": KEY}, close=True), Answer(raw=b"", reset=0),
]


@cases("number", range(len(ECHOES)))
def test_a_key_that_the_server_echoes_is_nowhere_to_be_read(server, session, caplog, capfd, number):
    caplog.set_level(logging.DEBUG)
    server.default, events, words = ECHOES[number], [], []
    options = {"debug": True, "on_event": events.append, "session": session, "max_retries": 1}
    with safe_client(server, **options) as client:
        retrieve = client.models.with_streaming_response.retrieve
        for ask in (
            lambda: client.chat("hi"), lambda: list(client.stream_chat("hi")), client.list_models,
            lambda: client.request("POST", "/x", json={}), client.health,
            lambda: retrieve("m").__enter__().parse(), lambda: [retrieve("m").__enter__().json()],
        ):
            try:
                answer = ask()
                words += [str(answer["error"])] if "error" in answer else []
            except OpenAIError as error:
                words.append(words_of(error))
        words += [str(client.stats()), repr(client)]
    assert server.requests, "it was asked"
    words += [repr(events), caplog.text, repr([record.__dict__ for record in caplog.records])]
    for told in (*words, *capfd.readouterr()):
        at = told.find(KEY)
        assert at < 0, "the key is to be read: %r" % told[max(at - 150, 0) :][:300]


def test_the_key_is_nowhere_when_the_server_is_out_of_reach(server, tls_server, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    server.close()
    words = []
    for url in (server.url, tls_server.url, "http://\u2028bad.invalid/v1", server.url + "?key=x"):
        with suppress(ValidationError):
            client = safe_client(server, base_url=url, debug=True)
            words += [words_of(chat_error(client)), repr(client)]
    assert words and KEY not in "".join((*words, caplog.text, *capfd.readouterr()))


@cases("bad", ["\r\nX-Evil: 1", "a\rX", "\0", "ключ", "\x7f", " x\ny"])
def test_what_no_header_holds_is_refused_without_printing_a_key(server, session, bad):
    def ask(extra=None, method="POST", **options):
        client = client_for(server, session=session, **options)
        client.request(method, "/models", json={}, extra_headers=extra)

    key, value = KEY + bad + "tail-S3cr3t", "a" + bad + "b"
    for options in (
        {"api_key": key}, {"api_key": 42}, {"api_key": lambda: key},
        {"default_headers": {"Authorization": "Bearer " + key}}, {"extra": {"api-key": key}},
        {"organization": value}, {"project": value}, {"default_headers": {"x-mine": value}},
        {"default_headers": {value: "x"}}, {"extra": {"x-mine": value}}, {"method": "GET" + value},
    ):
        error = client_error(lambda: ask(**options), ValidationError)
        assert "S3cr3t" not in words_of(error)
    assert not server.requests
    ask(api_key="Bearer sk-1")
    assert client_sent(server) == ["Bearer sk-1"]


SECRET_HEADERS = """Authorization api-key x-functions-key X-Access-Key X-Amz-Signature Cookie
    X-Team-Token Helicone-Auth Ocp-Apim-Subscription-Key""".split()
OPEN_HEADERS = """X-Max-Tokens Helicone-Token-Limit-Exception-Handler X-Author
    idempotency-key""".split()


@cases("header, value, is_told", [
    *((header, "value-of-ours", False) for header in SECRET_HEADERS),
    *((header, "value-of-ours", True) for header in OPEN_HEADERS),
    ("api-key", "k1-", True), ("api-key", "k12-", False),  # as short as a word
    ("Cookie", "c1-", True), ("Cookie", "c12-", False),
])
def test_what_is_secret_in_a_header_is_told_as_little_as_the_key(server, header, value, is_told):
    server.script(refusal(400, "bad %s, bob" % value))
    client = client_for(server, default_headers={header: value, "X-By": "bob"})
    told = str(chat_error(client, BadRequestError))
    assert (value in told) == is_told and "bob" in told


def test_what_a_session_or_the_query_of_the_url_adds_is_told_as_little(server):
    server.default = lambda asked: Answer(400, json={"message": asked.raw_head.decode()})
    with requests.Session() as session:
        session.auth, session.cookies["sid"] = ("user", "password"), "a-cookie-of-ours"
        session.headers["X-Api-Key"] = "a-header-of-ours"
        client = OpenAIMini(base_url=server.url + "?key=a-query-of-ours", session=session)
        told = words_of(client_error(client.list_models, BadRequestError))
    assert "Cookie: " in told and "of-ours" not in told and "dXNlcjpwYXNzd29yZA" not in told


def test_a_proxys_password_is_in_no_error_that_a_session_raises(server):
    no_way = requests.exceptions.ProxyError("no way by http://mallory:hunter2@proxy")
    with requests.Session() as session:
        session.hooks["response"].append(lambda *_, **how: raising(no_way))
        error = ending(faults_client(server, session=session))
    assert "no way by http://proxy" in str(error) and "hunter2" not in words_of(error)


@cases("key", ["x", "ollama"])
def test_a_key_as_short_as_a_word_is_not_taken_out_of_what_the_model_said(server, key):
    server.script(sse=chunks("run ollama in a box", finish=None), done=False)
    stream = client_for(server, api_key=key).stream_chat("hi")
    error = client_error(lambda: list(stream), StreamInterruptedError)
    assert error.partial.content == "run ollama in a box"


# To no other origin

AWAY = ["http://{other}/v1/chat/completions", "//{other}/x", "http://{host}@{other}/x",
        "https://{host}/v1", ""]


@cases("status", [301, 302, 303, 307, 308])
@cases("location", AWAY)
def test_nothing_goes_to_another_origin_by_a_redirect(
    server, other_server, session, status, location
):
    host, other = (one.origin.split("//")[1] for one in (server, other_server))
    place = location.format(host=host, other=other)
    server.default = Answer(status, headers={"location": place} if place else {})
    leads = "https://" + host if "https" in place else other
    client = safe_client(server, session=session)
    for ask in (lambda: client.chat("hi"), client.list_models):
        error = client_error(ask)
        assert error.status_code == status and "1 attempt" in str(error)
        assert KEY not in str(error) and (not location or leads in str(error))
    assert other_server.connections == 0 and server.count == 2


@cases("status", [301, 302, 307, 308])
@cases("base, to", [("127.0.0.1", ""), ("LocalHost", "http://localhost:%d")])
def test_a_redirect_within_the_origin_keeps_method_and_body(server, session, status, base, to):
    to = to and to % server.port
    server.script(Answer(status, headers={"location": to + "/v2/chat/completions?a=b"}))
    base_url = server.url.replace("127.0.0.1", base)
    client = safe_client(server, session=session, base_url=base_url)
    assert ending(client) == ending(client) == "hello" and server.connections <= 2
    first, second, _ = server.requests
    assert (second.method, second.target) == ("POST", "/v2/chat/completions?a=b")
    assert second.body == first.body and second.headers["authorization"] == "Bearer " + KEY


def test_redirects_make_no_get_of_a_post_and_end_and_a_url_elsewhere_is_refused(server, client):
    own = [server.origin + more for more in ("@127.0.0.1:1/x", ".elsewhere.invalid/v1/x")]
    for url in ("http://127.0.0.1:1/x", "//127.0.0.1:1/x", "https://elsewhere.invalid/x", *own):
        client_error(lambda: client.request("GET", url), ValidationError)
    see_other = Answer(303, headers={"location": "/v1/other"})
    server.script(see_other, usual, see_other)
    client.request("GET", server.url + "/models")
    assert chat_error(client, APIStatusError).status_code == 303
    paths = ["/v1/models", "/v1/other", "/v1/chat/completions"]
    assert [asked.path for asked in server.requests] == paths
    server.default = Answer(307, headers={"location": "/v1/chat/completions"})  # without end
    assert isinstance(ending(client), APIStatusError) and server.count < 30


def test_netrc_replaces_no_key_and_no_cookie_comes_back(server, session, tmp_path, monkeypatch):
    server.default = Answer(json=CHAT, headers={"set-cookie": "a=b; Path=/"})
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    client = safe_client(server, session=session)
    client.chat("hi")
    client.with_options(api_version="2024", api_key="azure").chat("hi")
    assert client_sent(server)[0] == "Bearer " + KEY and "Basic" not in str(client_sent(server)[1])
    assert client_sent(server, "api-key") == [None, "azure"]
    assert session or client_sent(server, "cookie") == [None, None]


# Injection


@cases("path", ["/a\r\nX: 1", "/a b", "/a\nHTTP/1.1", "/ä", "/a\0b"], ids=ascii)
def test_a_path_or_query_of_request_forges_nothing(server, session, path):
    params = {"c": "x\r\nX-Evil: 1 #", "d": ["ä", "&"]}
    client = client_for(server, session=session, default_query={"a": "1&b=2"})
    client.request("GET", "/models", params=params)
    with suppress(OpenAIError):
        client.request("GET", path)
    first, *others = server.requests
    assert first.query == {"a": "1&b=2", "c": params["c"], "d[]": params["d"]}
    for request in others:
        assert "x" not in request.headers and request.version == "HTTP/1.1"
        assert request.target.isprintable() and ascii(request.target)[1:-1] == request.target


# TLS and the way there


def test_a_certificate_of_another_host_is_refused(tls_server, monkeypatch):
    here = socket.getaddrinfo("127.0.0.1", tls_server.port, 0, socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: here)
    url = "https://elsewhere.invalid:%d/v1" % tls_server.port
    error = ending(safe_client(None, base_url=url, verify=tls_server.cert_path))
    assert isinstance(error, BROKEN) and "certificate" in str(error) and "1 attempt" in str(error)


@cases("scheme", ["http", "https"])
def test_the_environments_proxies_are_used_and_the_server_is_verified(
    server, tls_server, monkeypatch, session, scheme
):
    target, method = (server, "POST") if scheme == "http" else (tls_server, "CONNECT")
    given = {"base_url": target.url.replace("127.0.0.1", "localhost"), "max_retries": 0}
    with Proxy(target) as proxy:
        monkeypatch.setenv(scheme + "_proxy", proxy.url.replace("//", "//us%40er:pa%3Ass@"))
        if scheme == "https":
            error = ending(safe_client(target, session=session, **given))
            assert isinstance(error, BROKEN) and "certificate" in str(error)
        assert not target.requests
        given.update(session=session and requests.Session(), verify=tls_server.cert_path)
        client = safe_client(target, **given)
        assert ending(client) == streamed(client) == "hello"
        target.script(Answer(403))
        client_error(lambda: client.chat("x"), words="through the proxy")
        monkeypatch.setenv("NO_PROXY", "localhost")
        assert ending(safe_client(target, **given)) == "hello"
    asked = proxy.asked[-1]
    assert len(proxy.asked) <= 3 and asked.method == method
    assert asked.target == given["base_url"] + "/chat/completions" or KEY not in repr(vars(asked))
    assert asked.headers["proxy-authorization"] == "Basic dXNAZXI6cGE6c3M="
    assert client_sent(target, "proxy-authorization") == [None] * 4


def test_a_proxy_that_does_not_answer_is_waited_for_as_a_connection_is(tls_server, monkeypatch):
    with LoopbackServer() as proxy:
        proxy.default = Answer(wait=NEVER)
        monkeypatch.setenv("https_proxy", proxy.origin)
        error = ending(client_for(tls_server, timeout=(0.2, 30), max_retries=0))
    assert isinstance(error, LATE) and "0.2 s" in str(error)


def test_a_session_is_used_as_it_is_and_its_auth_where_no_key_is_given(server, tls_server):
    heard, sent = [], []

    class Adapter(requests.adapters.HTTPAdapter):
        def send(self, request, **how):
            sent.append(request)
            request.url = request.url.replace("mine://somewhere", server.origin)
            return super().send(request, **how)

    with requests.Session() as session, Proxy(server) as proxy:
        for scheme in ("http://", "mine://"):
            session.mount(scheme, Adapter())
        session.hooks["response"].append(lambda answer, **how: heard.append(answer.text[:1]))
        session.headers.update({"x-mine": "1", "authorization": "Bearer other"})
        session.proxies["http"], session.params["p"] = proxy.url, "q"
        session.cookies.set("a", "b")
        session.verify, session.auth = tls_server.cert_path, ("user", "password")
        client = safe_client(server, session=session)
        assert ending(client) == streamed(client) == "hello" and len(sent) == 2
        assert ending(safe_client(tls_server, session=session)) == "hello"
        for url in (server.url, "mine://somewhere/v1"):
            assert ending(OpenAIMini(base_url=url, session=session)) == "hello"
    first = server.first
    assert len(sent) == len(proxy.asked) == 4 and heard[0] == "{" and first.query == {"p": "q"}
    assert first.headers["x-mine"] == "1" and first.headers["cookie"] == "a=b"
    assert client_sent(server) == ["Bearer " + KEY] * 2 + ["Basic dXNlcjpwYXNzd29yZA=="] * 2


# Exhaustion


def gzip_bomb(block: bytes) -> list:
    """1 MiB of gzip that is a GiB: `block`, again and again."""
    packer = zlib.compressobj(9, wbits=31)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress((block * (1 << 20))[: 1 << 20]) + packer.flush(zlib.Z_FULL_FLUSH)
    return [start] + [piece] * 1024


@cases("status, kind, name, block", [
    (200, "application/json", "BODY", b"["), (500, HTML, "BODY", b"<"),
    (200, "text/event-stream", "EVENT", b"x"), (200, "text/event-stream", "EVENT", b"data:\n"),
])
def test_a_gzip_bomb_stops_at_a_named_limit(server, monkeypatch, status, kind, name, block):
    monkeypatch.setattr(openai_mini, "MAX_%s_BYTES" % name, (1 if name == "EVENT" else 4) << 20)
    how = {"content_type": kind, "headers": {"content-encoding": "gzip"}, "framing": "close"}
    bomb, client = gzip_bomb(block), safe_client(server, max_retries=0)
    server.default = Answer(status, pieces=lambda: iter(bomb), **how)
    tracemalloc.start()
    try:
        ask = {"EVENT": lambda: streamed(client)}.get(name, lambda: client.request("POST", "/x"))
        error = client_error(ask, APIError)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert len(str(error)) < 800 and (error.status_code == 500) == (status == 500)
    assert status == 500 or isinstance(error, APIResponseError) and "bytes" in str(error)


ENDLESS = {
    "size": [CHUNKED] + [b"0" * 900] * 2000,
    "extension": [CHUNKED + b"5;ext="] + [b"x" * 900] * 2000,
    "trailer": [CHUNKED + b"0\r\n"] + [b"X: y\r\n" * 150] * 2000,
    "reason": b"HTTP/1.1 200 " + b"x" * 100_000,
    "header": b"HTTP/1.1 200 OK\r\na: " + b"b" * (20 << 20),
    "headers": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * (4 << 20),
    "hints": b"HTTP/1.1 103 Hints\r\n\r\n" * 50_000,
}
PAGES = {
    "html": "<html><title>Down</title>" + "<p>x</p>" * (10 << 17), "blank": " " * (10 << 20) + "<",
    **{"%s..." % name: name * (2 << 20) for name in ("<", "<title", "<title>", "<>a &\n\n<&<a")},
}


@cases("what", [*ENDLESS, *PAGES])
def test_an_endless_head_framing_or_page_ends_in_a_short_message(server, what):
    page = Answer(502, body=PAGES.get(what), content_type=HTML)
    server.default = page if what in PAGES else Answer(raw=ENDLESS[what])
    error = ending(safe_client(server, max_retries=0))
    assert isinstance(error, InternalServerError if what in PAGES else APIError)
    assert len(str(error)) < 800 and (what != "html" or "Down" in str(error))


def run_python(script: str, *argv: str, timeout: float = 60, env=None, **options):
    environment = dict(os.environ, PYTHONPATH=str(MODULE.parent), PYTHONIOENCODING="utf-8")
    environment.update(env or {})
    options.setdefault("stdin", DEVNULL)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *argv], env=environment, timeout=timeout,
        stdout=PIPE, stderr=PIPE, encoding="utf-8", **options,
    )


# ------------ The wire as it is


def patient_client(server, **options):
    breaker = CircuitBreaker(1)
    return client_for(server, circuit_breaker=breaker, **options)


def assert_is_of_this_side(error, client, *names) -> None:
    """Told at once, by the name of what to change, and no failure of the service."""
    assert any(name in str(error) for name in names), error
    assert "attempts" not in str(error) and client.stats()["retries"] == 0
    assert client.stats()["circuit"]["state"] == "closed"


# Connections


@cases("method, status", [("DELETE", 204), ("HEAD", 200), ("GET", 304)])
def test_an_answer_that_has_no_body_is_over_with_its_head(server, session, method, status):
    head = "HTTP/1.1 %d X\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" % status
    server.default = Answer(raw=[head.encode(), b""], hold_after=0, wait=NEVER)
    client = faults_client(server, session=session, timeout=(5, 2), max_retries=0)
    with suppress(APIStatusError):  # 304
        client.request(method, "/x")
    assert server.count == 1


@cases("clock, idle_s, connections", [("time", 30, 3), ("time", 61, 4)])
def test_no_connection_idle_over_a_minute_is_used(
    server, client, monkeypatch, clock, idle_s, connections
):
    gate = threading.Barrier(3)
    server.default = lambda request: (gate.wait(10), usual(request))[1]
    assert together(3, lambda i: ending(client)) == ["hello"] * 3
    server.default = usual
    assert ending(client) == "hello" and server.connections == 3
    now = getattr(time, clock)
    monkeypatch.setattr(time, clock, lambda: now() + idle_s)
    assert ending(client) == streamed(client) == "hello" and server.connections == connections
    assert server.last.connection == server.requests[-2].connection


def test_a_target_that_takes_nothing_is_refused_before_it_costs(
    server, client, tmp_path, monkeypatch
):
    server.default = Answer(body=b"speech" * 9)
    client_error(lambda: client.text_to_speech("x", to=tmp_path / "no" / "a.mp3"), OSError)
    with open(tmp_path / "a.txt", "w") as file:
        client_error(lambda: client.text_to_speech("x", to=file), ValidationError, "binary")
    with monkeypatch.context() as patch:
        patch.setattr(os, "chmod", lambda *_: raising(PermissionError(1, "a share")))
        assert client.text_to_speech("x", to=tmp_path / "a.txt") == 54
    assert server.count == 1


def test_who_records_requests_gets_the_body_and_a_hand_made_answer_is_read(
    server, client, monkeypatch
):
    import urllib3.connection

    def recorder(self, method, url, body=None, headers=None, **how):  # as of vcr
        recorded.append(body)
        return real(self, method, url, body, headers, **how)

    class Adapter(requests.adapters.BaseAdapter):
        send, close = lambda self, asked, **how: made, int

    recorded, real = [], urllib3.connection.HTTPConnection.request
    monkeypatch.setattr(urllib3.connection.HTTPConnection, "request", recorder)
    assert client.chat("hi").content == "hello" and b'"hi"' in recorded[0]
    made = requests.Response()
    made.status_code, made._content = 200, json.dumps(CHAT).encode()
    with requests.Session() as session:
        session.mount("http://", Adapter())
        assert client.with_options(session=session).chat("hi").content == "hello"


def test_a_timeout_that_a_signals_handler_raises_is_the_callers(server):
    script = """
        import signal, sys, openai_mini
        def handler(*_):
            raise TimeoutError("mine")
        signal.signal(signal.SIGALRM, handler)
        for work in (lambda c: c.chat("x"), lambda c: list(c.stream_chat("x"))):
            signal.setitimer(signal.ITIMER_REAL, 0.6)
            try:
                work(openai_mini.OpenAIMini("k", base_url=sys.argv[1], timeout=(5, 30)))
            except TimeoutError as error:
                print(error)
        """
    server.script(json=CHAT, wait=NEVER)
    server.default = Answer(sse=chunks("a", "b"), wait=NEVER, hold_after=2)
    assert run_python(script, server.url).stdout == "mine\nmine\n" and server.count == 2


class Refusing(LoopbackServer):
    """Answers once the head of a request has come, and closes with the rest of it unread."""

    def serve(self, number, sock):
        with sock.makefile("rb", 0) as reader:
            _read_head(reader)
        sock.sendall(self.default.wire()[0][0])
        with suppress(OSError, ValueError):
            sock.settimeout(0.2)
            sock.unwrap() if self.tls else sock.shutdown(socket.SHUT_WR)
        self._closing.wait(0.3)


@TLS_OR_NOT
@cases("status, method, arg", [
    (413, "upload_file", ("a.bin", bytes(20_000_000))), (401, "chat", "x" * 20_000_000)],
    ids=["upload", "chat"])
def test_a_body_refused_before_its_end_gives_the_answer_that_was_sent(tls, status, method, arg):
    with Refusing(tls=tls) as server:
        server.default = Answer(status, json={"error": "the file is over 10 MB"}, close=True)
        client = client_for(server, verify=certificate()[0])
        error = client_error(lambda: getattr(client, method)(arg), APIStatusError)
        assert error.status_code == status and "over 10 MB" in str(error)
        assert "1 attempt" in str(error) and server.connections == 1
        server.default = HELLO
        with nothing_left_over():
            assert client.chat("x" * 20_000_000).content == "hello"


# Answers' heads


EVENTS, JSON = "text/event-stream", "application/json"
BODY = json.dumps(CHAT).encode()
STREAM = stream_events(*chunks("hel", "lo"))


@cases("coding", ["UTF-8", "identity, identity", "", "x-gzip", "X-GZIP", "gzip, none"])
def test_a_coding_that_is_none_is_passed_over_and_x_gzip_is_gzip(server, client, coding):
    error = b'{"error": {"message": "no such thing"}}'
    for status, body, kind in ((200, BODY, JSON), (404, error, JSON), (200, STREAM, EVENTS)):
        body = packed(body, 31) if "gzip" in coding.lower() else body
        headers = {"content-encoding": coding, "content-type": kind}
        server.script(Answer(status, body=body, headers=headers))
    assert ending(client) == "hello" and "no such thing" in str(ending(client))
    assert streamed(client) == "hello"


@cases(
    "kinds", [[EVENTS + "; charset=utf-8", EVENTS], [EVENTS + ", " + EVENTS],
              [JSON + ", %s; charset=utf-8" % EVENTS], [JSON, EVENTS], ["TEXT/Event-Stream"]],
)
def test_of_several_content_types_the_one_that_fits_is_taken(server, client, kinds):
    headers = [("content-type", kind) for kind in kinds]
    server.script(sse=chunks("hel", "lo"), headers=headers)
    assert streamed(client) == "hello"
    headers = [(name, kind.lower().replace(EVENTS, JSON)) for name, kind in headers]
    server.script(*[Answer(json=CHAT, headers=headers)] * 2)
    assert ending(client) == "hello"
    assert isinstance(client.request("GET", "/x"), Result)


@cases("end", ["0\r\n", "0\r\n\r\n", "0;x=y\r\n", "000\r\n", "0\r\nX-A: b\r\n"])
@cases("ask, body, kind", [(ending, BODY, JSON), (streamed, STREAM, EVENTS)])
def test_a_last_chunk_needs_no_empty_line_behind_it(server, session, end, ask, body, kind):
    head = "content-type: %s\r\ntransfer-encoding: chunked\r\n\r\n \t%x\r\n" % (kind, len(body))
    server.default = faults_raw(head.encode() + body + b"\r\n" + end.encode())
    assert ask(client_for(server, session=session)) == "hello" and server.count == 1


@cases("headers", [90, 120, 300, "70 KB"])
@cases("status", [200, 500])
def test_many_headers_are_read_or_told_after_one_attempt(server, session, headers, status):
    many = [("x-trace", "a" * 70_000)] if headers == "70 KB" else [("x-edge", "1")] * headers
    server.default = Answer(status, json=CHAT, headers=many, close=True)
    got = str(ending(client_for(server, session=session)))
    too_many = "header" in got
    assert server.count == (1 if too_many or status == 200 else 4)
    assert too_many and "1 attempt" in got or got == "hello" or status == 500
    assert headers != 90 or not too_many


# Trust

OWN, FOLDER, USUAL = "the server's own", "a folder with that", requests.certs.where()
TRUST = [  # variables, verify=, what comes of it
    ({}, None, "certificate"), ({}, False, "hello"), ({}, FOLDER, "hello"),
    ({"SSL_CERT_FILE": OWN}, None, "hello"), ({"SSL_CERT_DIR": FOLDER}, None, "hello"),
    ({"REQUESTS_CA_BUNDLE": FOLDER}, None, "hello"), ({"CURL_CA_BUNDLE": OWN}, None, "hello"),
    ({"REQUESTS_CA_BUNDLE": OWN}, USUAL, "certificate"),
    ({"SSL_CERT_FILE": OWN, "REQUESTS_CA_BUNDLE": USUAL}, None, "certificate"),
]


@cases("variables, verify, right", TRUST, ids=str)
def test_verify_wins_over_a_variable_of_requests_and_that_over_openssls(
    tls_server, session, monkeypatch, tmp_path, variables, verify, right
):
    if "SSL_CERT" in str(variables) and right == "hello":
        session = None  # which does not know them
    command = ["openssl", "x509", "-hash", "-noout", "-in", tls_server.cert_path]
    name = subprocess.check_output(command).decode().strip() + ".0"
    shutil.copy(tls_server.cert_path, str(tmp_path / name))
    places = {OWN: tls_server.cert_path, FOLDER: str(tmp_path)}
    for name, value in variables.items():
        monkeypatch.setenv(name, places.get(value, value))
    client = patient_client(tls_server, session=session, verify=places.get(verify, verify))
    got = str(ending(client))
    assert right in got and (right != "hello" or streamed(client) == right)
    assert right == "hello" or "verify=" in got and "1 attempt" in got and not tls_server.requests


@cases("how", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "verify"])
@cases("bundle", [b"no certificate", b"", None, b"-----BEGIN CERTI",
                                    "", "0", "False", "/dev/null"])
def test_a_bundle_that_is_no_pem_is_named_and_turns_no_verification_off(
    tls_server, session, monkeypatch, tmp_path, how, bundle
):
    path = bundle if isinstance(bundle, str) else str(tmp_path / "bundle.pem")
    if isinstance(bundle, bytes):
        (tmp_path / "bundle.pem").write_bytes(bundle)
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    monkeypatch.setenv(how, path)
    session, verify = session if how != "SSL_CERT_FILE" else None, path if how == "verify" else None
    client = patient_client(tls_server, session=session, verify=verify)
    error = ending(client)
    if path:
        assert_is_of_this_side(error, client, path)
    assert isinstance(error, OpenAIError) and not tls_server.requests


def test_verify_may_be_a_context_and_nothing_unknown(tls_server, session):
    def ask(verify, session=None):
        url = tls_server.url.replace("127.0.0.1", "localhost")
        return ending(client_for(None, base_url=url, verify=verify, session=session))

    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    assert ask(blind) == "hello"
    trusting = ssl.create_default_context(cafile=tls_server.cert_path)
    assert ask(trusting) == "hello" and isinstance(ask(ssl.create_default_context()), BROKEN)
    for verify in (["ca.pem"], 3.5, object(), {"a": 1}):
        client_error(lambda: ask(verify, session), ValidationError, "verify")
    assert not session or client_error(lambda: ask(trusting, session), ValidationError)


WITHOUT_SSL = """
    import sys
    sys.modules["ssl"] = sys.modules["_ssl"] = None
    import openai_mini
    breaker = openai_mini.CircuitBreaker(failure_threshold=1)
    for url in sys.argv[1:]:
        client = openai_mini.OpenAIMini("k", base_url=url, circuit_breaker=breaker)
        try:
            print(client.chat("x").content)
        except openai_mini.OpenAIError as error:
            print(error, breaker.state, client.stats()["retries"])
"""


def test_a_python_without_ssl_speaks_http_and_says_what_https_would_need(server):
    done = run_python(WITHOUT_SSL, server.url, "https://127.0.0.1:9/v1", server.url)
    first, second, third = done.stdout.splitlines()
    assert first == third == "hello" and second.endswith("closed 0"), done.stderr
    assert re.search("(?i)ssl|tls", second) and "attempts" not in second


# Proxies

BAD_PROXIES = [
    "http://mallory:hunter#two@AT", "http://mallory:hunter/two@AT", "http://mallory:hunter?two@AT",
    "http://AT\n", " http://AT ", "socks://AT", "socks://mallory:hunter2@AT", "http://mallory:h2@",
    "http://mallory:hunter2@127.0.0.1:99999", "http://mallory:hunter\n2@AT", "mallory:hunter2@AT:x",
    "HTTP://AT", "http://two\\mallory:hunter2@AT",
]


@cases("number, value", list(enumerate(BAD_PROXIES)))
def test_a_proxy_that_is_no_url_is_understood_or_told_without_its_password(
    server, tls_server, session, monkeypatch, number, value
):
    name = ("HTTP_PROXY", "https_proxy", "ALL_PROXY")[number % 3]
    scheme, target = ("http", server) if name == "HTTP_PROXY" else ("https", tls_server)
    with Proxy(target) as proxy:
        monkeypatch.setenv(name, value.replace("AT", "127.0.0.1:%d" % proxy.port))
        given = {"base_url": scheme + "://far.invalid/v1", "session": session, "verify": False}
        client = patient_client(None, **given)
        got = ending(client)
    if got != "hello":
        told = str(got) if session else words_of(got)
        assert not re.search("mallory|hunter|two", told), told
        assert_is_of_this_side(got, client, "proxy", "PROXY")
        assert session or value.strip() != "http://AT" and name.lower() in told.lower()


@cases("status, attempts", [(407, 1), (502, 3), (503, 3)])
@cases("scheme", ["http", "https"])
def test_a_407_of_a_proxy_is_final_and_a_proxy_that_is_down_is_asked_again(
    server, session, monkeypatch, status, attempts, scheme
):
    server.default = Answer(status, headers={"proxy-authenticate": "Basic"}, close=True)
    monkeypatch.setenv(scheme + "_proxy", server.origin.replace("//", "//mallory:hunter2@"))
    error = ending(faults_client(None, base_url=scheme + "://127.0.0.1:9/v1", session=session))
    assert server.count == attempts and "%d attempt" % attempts in str(error)
    assert isinstance(error, APIError) and "hunter2" not in str(error)
    assert "proxy" in str(error).lower() or status != 407 and scheme == "http"


class PlainHttp(Listener):
    """Says what servers say to a handshake of TLS."""

    def serve(self, number, sock):
        sock.recv(1 << 16)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


@cases("wrong", ["https", "http", "nobody", "no host", "proxy"])
def test_a_connections_error_names_host_port_and_the_setting_to_change(
    server, tls_server, session, monkeypatch, wrong
):
    server.close()
    with PlainHttp() as plain:
        place = "127.0.0.1:%d" % {"http": tls_server, "https": plain}.get(wrong, server).port
        url = "%s://%s/v1" % ("https" if wrong == "https" else "http", place)
        if wrong == "no host":
            url, place = "http://nowhere.invalid:81/v1", "nowhere.invalid"
        elif wrong == "proxy":
            url = "http://far.invalid/v1"
            monkeypatch.setenv("HTTP_PROXY", server.origin)
        error = ending(faults_client(None, base_url=url, session=session))
    assert isinstance(error, BROKEN), repr(error)
    assert ("proxy" if wrong == "proxy" else "base_url=") in str(error).lower()
    assert place in str(error)
    assert ("1 attempt" if wrong == "https" else "3 attempts") in str(error)
    assert wrong != "nobody" or isinstance(error.__cause__, ConnectionRefusedError)


# This program


@cases("huge", [1e10, 10**30, float("inf")], ids=str)
def test_a_huge_time_is_no_limit(server, session, huge):
    client = client_for(server, timeout=(huge, huge), deadline=huge, session=session)
    assert ending(client) == streamed(client) == client.submit("chat", "x").result(10).content
    with RequestQueue(1).slot(timeout=huge):
        pass


def test_headers_of_latin_1_go_out_as_they_are(server, session):
    client = client_for(server, session=session, default_headers={"X-C": "größe"})
    client.chat("hi", extra_headers={"X-E": "\xe2\x82\xac"})
    (asked,) = server.requests
    assert [asked.headers["x-" + letter] for letter in "ce"] == ["größe", "\xe2\x82\xac"]


IN_A_HANDLER = """
    import signal, sys, openai_mini
    work, is_first = sys.argv[2], sys.argv[3] == "first"
    slots = 2 if "stream" in work or "submit" in work else 1  # else two may be in use
    options = {"max_retries": 0, "timeout": 5, "max_concurrent_requests": slots}
    client = openai_mini.OpenAIMini("k", base_url=sys.argv[1], **options)
    if not is_first:
        eval(work), client.list_models()
    calls, errors, amid = [], [], []

    def handler(*_):
        if not amid:
            amid.append(1)
            try:
                calls.append(client.list_models())
            except openai_mini.OpenAIError as error:
                errors.extend([] if is_first else [error])  # amid an import it may be told so
            amid.clear()

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
    while not errors:
        eval(work)
        if is_first or len(calls) > 40:
            break
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(errors or "all were answered")
"""
CALLS = ["client.chat('x')", "list(client.stream_chat('x'))", "client.upload_file(bytes(100000))",
         "client.submit('chat', 'x').result(5)"]


@cases("work", CALLS)
@cases("when", ["first", "warm"])
def test_a_call_in_a_signals_handler_amid_another_is_answered(server, work, when):
    done = run_python(IN_A_HANDLER, server.url, work, when)
    assert done.stdout == "all were answered\n", done


UNDER_GEVENT = """
    from gevent import monkey
    monkey.patch_all()
    import gevent, sys, openai_mini
    client = openai_mini.OpenAIMini("k", base_url=sys.argv[1], max_concurrent_requests=50)
    jobs = [gevent.spawn(client.chat, "together") for _ in range(50)]
    gevent.joinall(jobs, raise_error=True)
    print(sum(job.value.content == "hello" for job in jobs))
    for queue in (True, False):
        job, ticks = gevent.spawn(client.with_options(use_request_queue=queue).chat, "slow"), 0
        while not job.ready():
            ticks += 1
            gevent.sleep(0.01)
        print(job.get().content, ticks > 2)
    print("".join(piece.content for piece in client.stream_chat("x")))
"""


def test_under_gevent_50_calls_run_at_once_and_a_wait_blocks_nobody(server):
    pytest.importorskip("gevent")
    gate, slow = threading.Barrier(50), itertools.cycle([True, False])

    def answer(request):
        if b"together" in request.body:
            gate.wait(20)
        if b"slow" in request.body and next(slow):
            return Answer(429, headers={"retry-after-ms": "300"})
        return usual(request)

    server.default = answer
    done = run_python(UNDER_GEVENT, server.url)
    assert done.stdout == "50\nhello True\nhello True\nhello\n" and not done.stderr, done


# Ends

OPENED = """
    import signal, sys, threading
    import openai_mini
    client = openai_mini.OpenAIMini("k", base_url=sys.argv[1], max_retries=0)
    class Window: pass
    window = Window()
    window.itself = window
    def opened():
        stream = client.stream_chat("x")
        next(stream)
        return stream
    def stop(*_):
        raise KeyboardInterrupt  # what Ctrl-C does, at a moment of our choice
"""
LEFT = {
    "in a variable": "stream = opened()",
    "a streaming response": "window.answer = client.models.with_streaming_response.list()",
    "a map": "window.results = client.map('chat', ['x'] * 200); next(window.results)",
    "jobs at work": "window.jobs = [client.submit('stream_chat', 'x') for _ in range(30)]",
    "a thread that reads": "threading.Thread(target=lambda: list(opened()), daemon=True).start()",
    "with session=": "import requests; client = client.with_options(session=requests.Session())\n"
    "    window.stream = opened()",
}


@pytest.fixture
def endless(server):
    """Streams do not end, what says `wait` waits; all else is answered."""
    stream, held = Answer(sse=chunks("a"), wait=NEVER, hold_after=1), Answer(wait=NEVER)
    server.default = lambda request: (
        stream if b'"stream":true' in request.body else held if b"wait" in request.body
        else usual(request))
    return server


@cases("where", LEFT)
def test_what_is_left_at_the_end_of_a_program_is_let_go_in_silence(endless, where):
    end = "\n    print('end', flush=True)\n    sys.exit(3)\n"
    done = run_python(OPENED + "    " + LEFT[where] + end, endless.url, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (3, "end\n", "")


STOPPED = """
    if sys.argv[3] == "warm":
        client.list_models(), opened().close(), client.submit("list_models").result()
    signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, float(sys.argv[2]), 1)
        exec(sys.argv[4])
        signal.pause()
    except KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.exit(7)
"""
AT_WORK = {
    "a call": "client.chat('wait')",
    "a stream": "list(client.stream_chat('x'))",
    "a map": "answers = client.map('chat', ['wait'] * 200); list(answers)",
    "jobs": "jobs = [client.submit('chat', 'wait') for _ in range(200)]; jobs[-1].result()",
}


@cases("work", AT_WORK)
@cases("when", ["cold 0.001", "cold 0.03", "cold 0.1", "warm 0.001", "warm 0.05"])
def test_a_program_may_end_at_any_moment(endless, work, when):
    state, after_s = when.split()
    done = run_python(OPENED + STOPPED, endless.url, after_s, state, AT_WORK[work], timeout=20)
    is_amid_imports = state == "cold" and done.returncode == 1
    assert is_amid_imports or done.returncode == 7 and "openai_mini" not in done.stderr, done


# A line that dies


class Dying(Listener):
    """Reads the start of a request; then it is silent for a time, and gone."""

    silent_s = 0

    def serve(self, number, sock):
        sock.recv(1 << 16)
        self._closing.wait(self.silent_s)


@cases("silent_s, right, connections", [(30, LATE, 2), (0, BROKEN, 3)])
def test_an_upload_on_a_line_that_dies_ends(silent_s, right, connections):
    with Dying() as server:
        server.silent_s = silent_s
        with faults_client(server, timeout=(5, 0.3)) as client:
            client_error(lambda: client.upload_file(bytes(30_000_000)), right)
            assert is_idle(client)
    assert server.connections == connections


# Packed


def imports_in(code) -> set:
    found = {step.argval for step in dis.get_instructions(code) if step.opname == "IMPORT_NAME"}
    return found.union(*[imports_in(part) for part in code.co_consts if hasattr(part, "co_code")])


def test_packers_see_what_the_module_imports_late():
    source = MODULE.read_text("utf-8")
    late = {name.partition(".")[0] for name in imports_in(compile(source, "openai_mini", "exec"))}
    assert not {"requests", "urllib3", "json", "threading", "argparse", "zlib"} - late


# Opt-in: OPENAI_MINI_PACKED=1 makes real packages (read here, as no test sees such variables).
if os.environ.get("OPENAI_MINI_PACKED"):

    @cases("packer", ["PyInstaller", "zipapp"])
    def test_a_packed_program_runs(server, tls_server, tmp_path, packer):
        main = textwrap.dedent(WITHOUT_SSL).partition("import openai_mini")[2]
        (tmp_path / "__main__.py").write_text("import sys, openai_mini" + main)
        shutil.copy(CLI_FILE, str(tmp_path))
        if packer == "zipapp":
            for name in "requests urllib3 certifi idna charset_normalizer".split():
                origin = importlib.util.find_spec(name).origin
                shutil.copytree(os.path.dirname(origin), str(tmp_path / name))
            zipapp.create_archive(str(tmp_path), str(tmp_path) + ".pyz")
            command = [sys.executable, "-I", str(tmp_path) + ".pyz"]
        else:
            build = [sys.executable, "-m", packer, "-n", "packed", "--onefile", "__main__.py"]
            subprocess.run(build, cwd=str(tmp_path), check=True, stderr=-3)
            command = [str(tmp_path / "dist" / "packed")]
        done = subprocess.run([*command, server.url, tls_server.url], stdout=-1, stderr=-1)
        first, second = done.stdout.decode().splitlines()
        assert first == "hello" and "certificate" in second, done


# ------------ Offline


@pytest.fixture
def offline():
    with OpenAIMini(base_url="echo:") as client:
        yield client


def test_offline_a_chat_echoes_the_last_user_message_also_of_copies(offline, server):
    for other in (offline, offline.copy(), pickled(offline)):
        assert other.chat("x").content == "x"
    assert offline.with_options(base_url=server.url).chat("x").content == "hello"
    assert offline.stats()["succeeded"] == 3 and offline.stats()["tokens"]["total"] > 0
    said = [*HI, {"role": "user", "content": "two  lines\n"}, {"role": "assistant", "content": "x"}]
    result = offline.chat(said, model="m")
    assert (result.content, result.finish_reason, result.model) == ("two  lines\n", "stop", "m")
    assert result.usage.total_tokens > 0
    parts = [{"type": "text", "text": "what is"}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert offline.chat([{"role": "user", "content": parts}]).content == "what is"
    assert offline.chat.completions.create(messages=HI).content == "hi"


@cases("text", ["Hello, big world", " leading", "end \n\n", "größe\u2028b"])
def test_offline_a_stream_is_bytes_through_the_real_parser(offline, text):
    with offline.stream_chat(text) as stream:
        pieces = [chunk.content for chunk in stream]
    assert "".join(pieces) == stream.content == text and len(pieces) == text.count(" ") + 1
    assert (stream.finish_reason, stream.message.role) == ("stop", "assistant")
    assert stream.response.headers["content-type"].startswith("text/event-stream")
    assert stream.usage.total_tokens


def test_offline_a_schema_is_answered_by_0_for_each_field(offline):
    assert offline.chat("x", schema={"type": "object", "properties": {"a": {}}}).parsed == {"a": 0}


def test_offline_embeddings_are_unit_vectors_that_depend_on_the_text(offline):
    one, two, again = offline.embedding(["a", "b", "a"])
    assert one == again != two and math.isclose(sum(x * x for x in one), 1, rel_tol=1e-6)
    assert len(offline.embedding([[1, 2], [3]])) == 2


def test_offline_the_other_endpoints_give_small_valid_answers(offline, tmp_path):
    (result,) = offline.moderation("x").results
    assert result.flagged is False and result.categories.violence is False
    assert offline.edit_image(PNG, "x").save(tmp_path)
    assert str(offline.transcribe_audio(MP3, response_format="text"))
    file = offline.upload_file(b"{}")
    assert file.id and file.object == "file" and isinstance(offline.download_file(file.id), bytes)
    assert offline.request("POST", "/things", json={"a": [1]}).echo == {"a": [1]}


OFFLINE_SCRIPT = """
    import os, socket, sys
    def refuse(*args, **kw): raise SystemExit('a socket was made')
    socket.socket.__init__ = refuse
    import openai_mini
    client = openai_mini.OpenAIMini(base_url='echo:')
    print(client.chat('hi').content, client.list_models(), len(client.embedding('a')))
    print(sorted({'requests', 'urllib3', 'ssl'} & set(sys.modules)), flush=True)
    pid = os.fork()
    if not pid:
        os._exit(0 if client.chat('child').content == 'child' else 3)
    print(os.waitpid(pid, 0)[1])
"""


def test_offline_no_socket_is_imported_or_made_and_a_forked_child_can_ask():
    assert run_python(OFFLINE_SCRIPT).stdout.splitlines() == ["hi ['echo'] 1", "[]", "0"]


# ------------ Command line

CLI_FILE = str(MODULE)
CLI_WORDS = {  # each command, and what it needs
    **dict.fromkeys(["chat", "embed", "image", "speak", "moderate", "download"], ["text"]),
    **dict.fromkeys(["transcribe", "translate", "upload"], [CLI_FILE]),
    "models": [], "health": [], "request": ["POST", "/x"],
}


@pytest.fixture
def cli(monkeypatch, capfdbinary):
    """cli(*argv, piped=None) -> (exit code, stdout, stderr) of main(argv)."""

    def run(*argv, piped=None):
        stdin = types.SimpleNamespace(buffer=io.BytesIO(piped or b""), isatty=lambda: piped is None)
        monkeypatch.setattr(sys, "stdin", stdin)
        try:
            code = openai_mini.main([str(word) for word in argv])
        except SystemExit as end:  # argparse's
            code = end.code
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return run


def one_line(done, expected: int = 2) -> str:
    code, out, err = done
    assert (code, out, err.count("\n")) == (expected, "", 1) and err.startswith("openai-mini: ")
    return err


@pytest.fixture
def cli_server(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    return server


def cli_env(**more):
    left_out = ("OPENAI_", "COLUMNS", "PYTHONUNBUFFERED")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    return {**kept, "PYTHONIOENCODING": "utf-8", **more}


def cli_started(*argv, **options):
    pipes = {"stdin": DEVNULL, "stdout": PIPE, "stderr": PIPE}
    options = {"env": cli_env(), **pipes, **options}
    return subprocess.Popen([sys.executable, CLI_FILE, *argv], **options)


def cli_process(*argv, piped=None, **options):
    """(exit code, stdout, stderr) of a finished process."""
    if piped is not None:
        options["stdin"] = PIPE
    with cli_started(*argv, **options) as process:
        out, err = process.communicate(piped, timeout=60)
    return process.returncode, out, err


def cli_terminal(*argv, typed=b"", **options):
    """(exit code, all that a terminal shows) of the file run in a pty."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    ends = {"stdin": follower, "stdout": follower, "stderr": follower, "start_new_session": True}
    process = cli_started(*argv, **ends, **options)
    os.close(follower)
    os.write(leader, typed)
    shown = b""
    with suppress(OSError):  # EIO: the other end is gone
        for piece in iter(lambda: os.read(leader, 65536), b""):
            shown += piece
    os.close(leader)
    return process.wait(60), shown.decode().replace("\r\n", "\n")


# chat


def test_cli_options_go_where_they_belong_wherever_they_stand(cli, cli_server):
    argv = ["-m", "mine", "-s", "be brief", "-p", "temperature=0.5", "-p", 'metadata={"a": "b"}']
    assert cli(*argv, "-p", "note=a=b", "--", "-5 there") == (0, "hello\n", "")
    request = cli_server.first
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "-5 there"}]
    assert request.headers["authorization"] == "Bearer sk-secret" and request.json == {
        "messages": messages, "model": "mine", "stream": True, "temperature": 0.5,
        "metadata": {"a": "b"}, "note": "a=b",
    }
    assert cli("-m", "x", "moderate", "some", "--json", "words")[0] == 0
    assert cli_server.requests[1].json == {"input": "some words", "model": "x"}
    code, out, err = cli("--json", "Hello")
    assert (code, json.loads(out), out.count("\n"), err) == (0, CHAT, 1, "")
    assert cli("Hello", "--no-stream") == (0, "hello\n", "")
    assert not any("stream" in request.json for request in cli_server.requests[2:])
    assert cli("--", "--base-url=http://127.0.0.1:1", "x") == (0, "hello\n", "")
    assert cli_server.last.json["messages"][0]["content"] == "--base-url=http://127.0.0.1:1 x"


@cases("argv, piped, sent", [
    ("chat -", b"all of it\n", "all of it\n"), ("chat models", b"", "models"),
    ("Sum up", b"the notes", "Sum up\n\nthe notes"),
    ("", b"\xef\xbb\xbfwith a mark", "with a mark"),
    ("", "größe 😀\r\n".encode("utf-16"), "größe 😀\r\n"),
    ("-", b"\xfe\xff" + "größe".encode("utf-16-be"), "größe"),
    ("", "no mark".encode("utf-16-le"), "no mark"),
])
def test_cli_a_pipe_is_read_also_as_utf_16_and_with_a_mark(cli, cli_server, argv, piped, sent):
    assert cli(*argv.split(), piped=piped)[0] == 0
    assert cli_server.first.json["messages"] == [{"role": "user", "content": sent}]


@cases("content", ["Köln".encode("latin-1"), codecs.BOM_UTF16_LE + b"odd"])
def test_cli_what_is_no_text_is_refused_in_one_line(cli, tmp_path, content):
    schema = tmp_path / "schema.json"
    schema.write_bytes(content)
    assert "schema.json" in one_line(cli("--offline", "--schema", schema, "x"))
    one_line(cli("--offline", piped=content))


@cases("argv", [["embed", "Hello"], ["models"]])
def test_cli_with_words_a_pipe_that_stays_silent_is_not_waited_for(argv):
    process = cli_started("--offline", *argv, stdin=PIPE)  # which nobody closes
    try:
        assert process.wait(20) == 0 and process.stdout.read()
        assert (b"-" in process.stderr.read()) == (argv != ["models"])
    finally:
        process.kill()
        process.communicate()


def test_cli_images_are_attached_and_a_schema_shapes_the_answer(cli, cli_server, tmp_path):
    path, schema = tmp_path / "photo.jpg", tmp_path / "schema.json"
    path.write_bytes(JPG)
    assert cli("-a", path, "-a", "https://x.test/y.png", "What is this?")[0] == 0
    urls = "data:image/jpeg;base64," + base64.b64encode(JPG).decode(), "https://x.test/y.png"
    assert cli_server.first.json["messages"][0]["content"] == [
        {"type": "text", "text": "What is this?"},
        *({"type": "image_url", "image_url": {"url": url}} for url in urls),
    ]
    cli_server.default = chat_saying('{"a": 1}')
    for encoding in ("utf-8-sig", "utf-16"):
        schema.write_text('{"type": "object", "title": "Größe"}', encoding=encoding)
        assert cli("--schema", schema, "Hello") == (0, '{"a": 1}\n', "")
        sent = cli_server.last.json["response_format"]["json_schema"]
        assert sent["schema"] == {"type": "object", "title": "Größe"}


# The other commands

CLI_ROWS = [
    ("embed text", "/embeddings", {"input": ["text"]}, "[1.0, 2.0]\n"),
    ("moderate some words", "/moderations", {"input": "some words"}, '{"violence": true}}\n'),
    ("models", "/models", {}, "m-1\nm-2\n"),
    ("request post /x -p a=1 -m m", "/x", {"a": 1, "model": "m"}, ""),
    ('request POST /x {"a":2}', "/x", {"a": 2}, ""),
    ("upload FILE -p purpose=batch", "/files", {}, "x-1\n"),
    ("transcribe FILE", "/audio/transcriptions", {}, "said\n"),
]


@cases("argv, path, body, out", CLI_ROWS)
def test_cli_each_command_calls_its_method(cli, cli_server, argv, path, body, out):
    data = [{"id": "m-1", "index": 0, "embedding": [1.0, 2.0]}, {"id": "m-2"}]
    answer = {"data": data[: 1 if "embed" in path else 2], "id": "x-1", "text": "said"}
    cli_server.default = Answer(json={**answer, "results": [{"categories": {"violence": True}}]})
    words = argv.replace("FILE", CLI_FILE).split()
    code, shown, err = cli(*words)
    assert (code, err) == (0, "") and out in shown
    code, shown, err = cli(*words, "--json")
    assert (code, err) == (0, "") and json.loads(shown)
    for request in cli_server.requests:
        assert request.path == "/v1" + path
        assert not body or dict(request.json, **body) == request.json


def test_cli_request_has_parameters_in_a_gets_query_and_a_body_from_a_pipe(cli, cli_server):
    assert cli("request", "GET", "/files", "-p", "limit=2", "-p", "after=x")[0] == 0
    first = cli_server.first
    assert first.query == {"limit": "2", "after": "x"} and not first.body
    assert cli("request", "POST", "/x", "-", piped=b"no json")[0] == 2
    body = {"model": "m", "messages": HI, "stream": True}
    cli_server.script(sse=chunks("a", "b"))
    piped = json.dumps(body).encode()
    code, out, err = cli("request", "POST", "/chat/completions", "-", piped=piped)
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "") and [r.json for r in cli_server.requests[1:]] == [body]
    assert [line["choices"][0]["delta"].get("content") for line in lines][-3:-1] == ["a", "b"]


@cases("command", CLI_WORDS)
def test_cli_every_command_works_offline_and_writes_where_o_says(cli, tmp_path, command):
    to = tmp_path if command == "image" else tmp_path / "to"
    code, out, err = cli("--offline", command, *CLI_WORDS[command], "-o", to)
    assert (code, err) == (0, "") and out
    if command in ("speak", "download"):
        assert out.strip() == str(to)
        for more in ([], ["-o", "-"]):
            assert cli("--offline", command, "text", *more) == (0, to.read_text(), "")
    elif command == "image":
        path = pathlib.Path(out.strip())
        assert path.parent == to and path.read_bytes()[:4] == b"\x89PNG"


@cases("argv, name", [("transcribe", "mp3"), ("upload -", "")])
def test_cli_what_is_piped_is_the_file(cli, cli_server, argv, name):
    cli_server.default = Answer(json={"text": "t", "id": "file-1"})
    assert cli(*argv.split(), "-p", "user=me", piped=b"ID3 talk")[0] == 0
    parts = {part.name: part for part in cli_server.first.parts}
    assert parts["file"].body == b"ID3 talk" and parts["user"].body == b"me"
    assert parts["file"].filename.endswith(name)


def test_cli_health_says_so_by_its_exit_code(cli, cli_server):
    for code, cli_server.default in ((0, usual), (1, Answer(500, body="broken"))):
        told, out, err = cli("health")
        assert (told, json.loads(out)["ok"], err) == (code, not code, "")


# What goes wrong


@cases("argv, code, about", [
    ("", 2, "TEXT"), ("transcribe", 2, "FILE"), ("request GET", 2, "PATH"),
    ("models what?", 2, "models"), ("download ..", 2, "id"),
    ("--no-such-option x", 2, "--no-such-option"), ("-p temperature x", 2, "-p"),
    ("--schema DIR/broken x", 2, "DIR/broken"), ("models", 1, "base_url"),
    ("upload DIR/missing", 1, "DIR/missing"), ("-a DIR/missing x", 1, "DIR/missing"),
    ("--schema DIR/missing x", 1, "DIR/missing"), ("--offline download f -o DIR/a/b", 1, "DIR/a"),
    ("--base-url http://127.0.0.1:1/v1 -p max_retries=0 Hi", 1, "POST /chat/completions"),
])
def test_cli_what_goes_wrong_is_one_line_and_2_for_wrong_usage_or_1(
    cli, cli_server, tmp_path, argv, code, about
):
    (tmp_path / "broken").write_text("{broken")
    cli_server.default = Answer(404, body="<html><title>Nope</title>")
    said = one_line(cli(*argv.replace("DIR", str(tmp_path)).split()), code)
    assert about.replace("DIR", str(tmp_path)) in said
    assert cli_server.count == (argv == "models")


def test_cli_no_key_names_the_three_ways_on_and_a_bad_one_is_not_printed(cli, monkeypatch):
    for key, words in (("", ["OPENAI_API_KEY", "--base-url", "--offline"]), ("sk-sec\nret", [])):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        said = one_line(cli("Hello"))
        assert all(word in said for word in words) and "sk-" not in said


def test_cli_a_stream_that_breaks_off_shows_what_had_come(cli, cli_server):
    cli_server.script(sse=chunks("half an ", "answer", finish=None), done=False)
    code, out, err = cli("Hello")
    assert (code, out, err.count("\n")) == (1, "half an answer", 1)


@cases("finish", ["length", "content_filter"])
def test_cli_an_answer_that_is_not_whole_is_shown_and_ends_with_1(cli, cli_server, finish):
    streamed = Answer(sse=[chunk({"content": "half"}), chunk({}, finish)])
    cli_server.script(streamed, chat_saying("half", finish=finish))
    for options in ([], ["--no-stream"]):
        code, out, err = cli("Hello", *options)
        assert (code, out, err.count("\n")) == (1, "half\n", 1) and finish in err


def test_cli_help_names_commands_and_options(cli):
    code, out, err = cli("--help")
    assert (code, err) == (0, "")
    assert all(name in out for name in [*CLI_WORDS, "--offline", "--schema", "--no-stream"])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        cli("--offline", "Hello")
    assert printed.getvalue() == "Hello\n"  # to the stdout of a program


# As a process


def test_cli_it_runs_as_a_script_and_as_a_module(server):
    text = "Größe\n".encode()
    assert cli_process("--offline", "-s", "x", piped=text) == (0, text, b"")
    env = cli_env(OPENAI_BASE_URL="http://127.0.0.1:1/v1")  # which --base-url wins over
    how = {"cwd": str(MODULE.parent), "env": env, "stdin": DEVNULL, "timeout": 60}
    for given, word in (
        (["-OO", "-m", "openai_mini", "--base-url", server.url, "Hello"], b"hello"),
        (["-OO", CLI_FILE, "--help"], b"commands: "),
    ):
        assert word in subprocess.check_output([sys.executable, *given], **how)


def test_cli_verbose_is_a_line_for_each_attempt_on_stderr_without_the_key(server):
    server.script(Answer(500, body="no", headers={"retry-after": "0"}))
    env = cli_env(OPENAI_BASE_URL=server.url, OPENAI_API_KEY="sk-secret")
    code, out, err = cli_process("--verbose", "Hello", env=env)
    assert (code, out) == (0, b"hello\n") and b"sk-secret" not in err
    assert err.count(b"/chat/completions") >= 3


def test_cli_an_output_that_cannot_show_a_letter_still_gets_the_rest(server):
    server.default = Answer(sse=[chunk({"content": "a\ud800b€"}), chunk({}, "stop")])
    for encoding, shown in (("ascii", b"a?b?\n"), ("utf-8", "a?b€\n".encode())):
        env = cli_env(OPENAI_BASE_URL=server.url, PYTHONIOENCODING=encoding)
        assert cli_process("Hello", env=env)[:2] == (0, shown)


def test_cli_a_closed_pipe_is_quiet(server):
    server.default = Answer(sse=chunks(*["word " * 1000] * 200))
    with cli_started("--base-url", server.url, "Hello") as process:
        assert process.stdout.read(4) == b"word"
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait(60) in (0, 141)
    server.wait_for(lambda: not server.in_flight and not server.open_connections)
    for command in ("chat", "embed", "speak"):  # closed from the start
        reading, writing = os.pipe()
        os.close(reading)
        code, _, err = cli_process("--offline", command, "x", stdout=writing)
        os.close(writing)
        assert code in (0, 141) and err == b""


@cases("shown, held", [(b"a", 1), (b"", None)], ids=["in a stream", "before"])
def test_cli_ctrl_c_is_130_and_quiet(server, shown, held):
    server.default = Answer(sse=chunks("a", "b"), wait=NEVER, hold_after=held)
    with cli_started("--base-url", server.url, "Hello") as process:
        server.wait_for(lambda: server.in_flight == 1)
        assert process.stdout.read(len(shown)) == shown
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=30)[1]
    assert process.returncode == 130 and b"Traceback" not in err and err.count(b"\n") <= 1
    server.wait_for(lambda: not server.in_flight)


# On a terminal

EVIL = "a\x1b]0;title\x07b\x9b31mc\r\x08\x7f\u202e\u2066d\te\u00a0f\u200d\n"
EVIL_ANSWERS = {
    "completions": Answer(sse=[chunk({"content": EVIL}), chunk({}, "stop")]),
    "content": Answer(body=EVIL.encode()), "files": Answer(json={"id": EVIL}),
    "models": Answer(json={"data": [{"id": EVIL}]}),
}


@cases("argv", ["hi", "models", "upload FILE", "request GET /content"])
def test_cli_control_characters_of_a_server_never_reach_a_terminal_raw(server, argv):
    server.default = lambda request: EVIL_ANSWERS[request.path.split("/")[-1]]
    words = argv.replace("FILE", CLI_FILE).split(" ")
    code, shown = cli_terminal("--base-url", server.url, *words)
    rest = re.sub(r"[\d.]+ MB\r", "", shown)  # without progress
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u202e\u2066]", rest), shown
    assert code == 0 and "title" in rest
    assert argv != "hi" or "\te\u00a0f\u200d" in rest, "what is no control character stays"


def test_cli_progress_is_on_stderr_where_it_is_a_terminal_only(server, tmp_path):
    server.default = lambda request: (
        Answer(json={"id": "f"}) if request.body else Answer(pieces=[b"x" * 200_000] * 3)
    )
    path, to = str(tmp_path / "in.bin"), str(tmp_path / "out")
    pathlib.Path(path).write_bytes(b"x" * 600_000)
    for argv in (["upload", path], ["download", "file-1", "-o", to]):
        code, shown = cli_terminal("--base-url", server.url, *argv)
        assert code == 0 and "0.6 MB" in shown
        assert cli_process("--base-url", server.url, *argv)[::2] == (0, b"")
    server.default = Answer(400, json={"message": "too large"})
    code, shown = cli_terminal("--base-url", server.url, "upload", path)
    line = shown.rstrip().split("\r")[-1]
    assert code == 1 and line.startswith("openai-mini: ") and "too large" in line


def test_cli_on_a_terminal_it_answers_and_keeps_bytes_in_a_file(tmp_path):
    assert cli_terminal("--offline", "Hello big world") == (0, "Hello big world\n")
    code, shown = cli_terminal("--offline")
    assert code == 2 and shown.count("\n") == 1 and "--help" in shown
    code, shown = cli_terminal("--offline", "-", typed=b"typed text\n\x04")
    assert code == 0 and shown.endswith("typed text\n")
    code, shown = cli_terminal("--offline", "speak", "good day", cwd=tmp_path)
    assert code == 0 and "speech.mp3" in shown and (tmp_path / "speech.mp3").read_bytes()


# Offline, the loopback server, and those that OPENAI_MINI_TEST_SERVERS names, as `base_url key
# model`, with semicolons between.
SERVERS = ["echo: - echo", "loopback sk-test m"]
SERVERS += filter(str.strip, os.environ.get("OPENAI_MINI_TEST_SERVERS", "").split(";"))


@cases("row", SERVERS)
def test_one_script_and_one_command_line_run_on_every_server(server, row):
    models = Answer(json={"object": "list", "data": [{"id": "m"}]})
    server.default = lambda request: models if "models" in request.path else usual(request)
    base_url, key, model = row.replace("loopback", server.url).split()
    client = OpenAIMini(base_url=base_url, api_key=key, model=model)
    answer = client.chat("Hello")
    with client.stream_chat("Hello") as stream:
        pieces = [chunk.content for chunk in stream]
    assert "".join(pieces) == stream.content == stream.message.content == answer.content != ""
    assert stream.finish_reason == answer.finish_reason == "stop" and client.list_models()
    env = cli_env(OPENAI_API_KEY=key, OPENAI_BASE_URL=base_url)
    for more in ([], ["--no-stream"]):
        shown = cli_process("-m", model, "-p", "user=me", *more, "Hello", env=env)[1]
        assert shown.decode().strip() == answer.content.strip()
    assert cli_process("models", env=env)[1].strip()



# Opt-in: OPENAI_MINI_LLAMA names a Python that has xllamacpp (llama.cpp's server) and gguf. In the
# model each token leads to "hi", and that to the end.
LLAMA_PYTHON = os.environ.get("OPENAI_MINI_LLAMA")
LLAMA_SERVER = """
    import sys, time, gguf, numpy, xllamacpp
    size, tokens = 64, [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % i for i in range(256)), b"hi"]
    made = gguf.GGUFWriter("tiny.gguf", "llama")
    for name, value in {"context_length": 2048, "embedding_length": size, "block_count": 1,
                        "feed_forward_length": size, "head_count": 4, "head_count_kv": 4,
                        "layer_norm_rms_eps": 1e-5, "rope_dimension_count": 16,
                        "vocab_size": len(tokens), "tokenizer_model": "llama",
                        "tokenizer_pre": "default", "token_list": tokens,
                        "token_scores": [0.0] * len(tokens), "bos_token_id": 1, "eos_token_id": 2,
                        "token_types": [2, 3, 3] + [6] * 256 + [1], "unk_token_id": 0,
                        "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}:",
                        }.items():
        getattr(made, "add_" + name)(value)
    names = "attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down".split()
    weights = {"blk.0." + name: numpy.zeros((size, size)) for name in names}
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        weights[name] = numpy.ones(size)
    embedded, output = numpy.zeros((2, len(tokens), size))
    weights.update(token_embd=embedded, output=output)
    embedded[:-1, 0] = embedded[-1, 1] = output[-1, 0] = output[2, 1] = 4
    for name, array in weights.items():
        made.add_tensor(name + ".weight", array.astype(numpy.float32))
    made.write_header_to_file(), made.write_kv_data_to_file(), made.write_tensors_to_file()
    made.close()
    params = xllamacpp.CommonParams()
    params.model.path, params.hostnames, params.port = "tiny.gguf", ["127.0.0.1"], int(sys.argv[1])
    server = xllamacpp.Server(params)
    print("listens", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(not LLAMA_PYTHON, reason="opt-in: see the README")
def test_llama_cpps_server_runs_the_same_script_and_command_line(server, tmp_path):
    with Listener() as free:
        port = free.port
    argv = [LLAMA_PYTHON, "-c", textwrap.dedent(LLAMA_SERVER), str(port)]
    pipes = {"stdout": PIPE, "stderr": DEVNULL, "cwd": str(tmp_path)}
    with subprocess.Popen(argv, **pipes) as running:
        try:
            assert running.stdout.readline() == b"listens\n"
            row = "http://127.0.0.1:%d/v1 sk-test tiny.gguf" % port
            test_one_script_and_one_command_line_run_on_every_server(server, row)
        finally:
            running.kill()


# ------------ Official
#
# Side by side with the official package, which needs Python 3.10.

OFFICIAL_IS_HERE = importlib.util.find_spec("openai") is not None
OFFICIAL_VERSION, OFFICIAL_METHODS = "3.57.0", 396
OFFICIAL_RETIRED = ("beta.assistants", "beta.threads", "beta.realtime", "realtime", "webhooks")
OFFICIAL_OPTIONS = (
    "self extra_headers extra_query extra_body timeout output_type tool_handlers"
).split()


def official_sent(request: Request) -> dict:
    """What matters of a request, as plain data."""
    kind = request.headers.get("content-type", "").partition(";")[0] if request.body else ""
    body = request.parts if kind.startswith("multipart") else request.body
    return {
        "where": (request.method, request.path, kind),
        "query": sorted(parse_qsl(request.target.partition("?")[2])),
        "body": request.json if kind == "application/json" and body else body,
        "headers": [request.headers.get(name) for name in ("openai-beta", "authorization")],
        "idempotency": request.headers.get("idempotency-key") == "text",  # what the example is
    }


def official_answer(request: Request) -> Answer:
    """A small answer of the kind that was asked for."""
    said = (b'"stream":true', b'name="stream"\r\n\r\ntrue')
    wants = any(word in request.body for word in said) or "stream=true" in request.target
    if wants or request.headers["accept"] == "text/event-stream":
        return Answer(sse=chunks("a") if "chat" in request.path else [])
    return Answer(json=dict(CHAT, object="list", data=[], has_more=False))


def official_walk(resource, path=()):
    """Yield (attribute path, bound method) of each method that itself sends a request."""
    from openai._resource import SyncAPIResource

    sends = {"_post", "_get", "_put", "_patch", "_delete", "_get_api_list"}
    for name in dir(type(resource)):
        if name.startswith(("_", "with_")):
            continue
        member = inspect.getattr_static(type(resource), name)
        if inspect.isfunction(member) and path:
            if sends.intersection(inspect.unwrap(member).__code__.co_names):
                yield (*path, name), getattr(resource, name)
        elif hasattr(member, "func") and isinstance(getattr(resource, name), SyncAPIResource):
            yield from official_walk(getattr(resource, name), (*path, name))


def official_example(hint, depth: int = 0):
    """A value of the type `hint`; typed dicts to a depth of three."""
    import openai
    from typing_extensions import get_type_hints, is_typeddict

    origin, args = typing.get_origin(hint), typing.get_args(hint)
    plain = {int: 3, float: 0.5, bool: True, bytes: b"some bytes", list: ["text"], dict: {"a": "b"}}
    if str(origin).rpartition(".")[2] in ("Annotated", "Required", "NotRequired"):
        return official_example(args[0], depth)
    if origin is typing.Literal:
        return args[0]
    if origin is typing.Union or isinstance(hint, getattr(types, "UnionType", ())):
        if any("IO[bytes]" in str(arg) for arg in args):
            return ("name.jsonl", b"some bytes")
        empty = (type(None), openai.Omit, openai.NotGiven)
        return official_example([arg for arg in args if arg not in empty][0], depth)
    if is_typeddict(hint):
        hints = get_type_hints(hint)
        wanted = hints if depth < 3 else hint.__required_keys__
        return {key: official_example(hints[key], depth + 1) for key in wanted}
    if origin is dict or "Mapping" in str(origin):
        return {"key": official_example(args[1], depth + 1)}
    return plain.get(hint, "text") if origin is None else [official_example(args[0], depth + 1)] * 2


def official_styles(method):
    """{style: (args, kwargs)} of one method: what its signature says can be written."""
    from typing_extensions import get_type_hints

    function = inspect.unwrap(method)
    texts = [text for text in function.__code__.co_consts if isinstance(text, str)]
    ids = [name for text in texts if text[:1] == "/" for name in re.findall(r"{(\w+)}", text)]
    hints, values, required, by_position = get_type_hints(function), {}, set(), []
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in OFFICIAL_OPTIONS:
            values[name] = "the-" + name if name in ids else official_example(hints[name])
            by_keyword = name not in ids or parameter.kind is parameter.KEYWORD_ONLY
            by_position += [] if by_keyword else [name]
            required |= {name} if parameter.default is parameter.empty else set()
    values.update({"stream": False} if "stream" in values else {})
    variants = inspect.getclosurevars(method.__func__).nonlocals.get("variants")  # of overloads
    sets = [required.union(variant, ids) - {"stream"} for variant in variants or [()]]
    by_set = [{name: values[name] for name in values if name in wanted} for wanted in sets]
    styles = {"overload %d" % n: ((), kwargs) for n, kwargs in enumerate(by_set)}
    styles["all"] = (by_position, values)
    if "stream" in values:
        styles["stream"] = (by_position, dict(by_set[0], stream=True))
    for style, (names, given) in styles.items():
        named = {name: one for name, one in given.items() if name not in names}
        styles[style] = (tuple(given[name] for name in names), named)
    return styles


def official_request(server, client, path, args, kwargs, forgive: bool = False):
    """The one request that `client.<path>(*args, **kwargs)` sends."""
    del server.requests[:]
    try:
        answer = functools.reduce(getattr, path, client)(*args, **kwargs)
        (getattr(answer, "close", None) or int)()
    except Exception:
        if not forgive or not server.requests:
            raise
    (request,) = server.requests
    return official_sent(request)


def official_differences(ours, theirs) -> list:
    """What differs, but for the base64 that it asks for, and the `"stream": false` of its parse."""
    mine, body = ours["body"], theirs["body"]
    if isinstance(mine, dict) and isinstance(body, dict) and body.get("stream") is False:
        mine.setdefault("stream", False)
    if "/v1/embeddings" in theirs["where"] and "encoding_format" not in mine:
        body.pop("encoding_format", None)
    both = [(name, ours[name], theirs[name]) for name in theirs if ours[name] != theirs[name]]
    return ["%s: %.200r instead of %.200r" % one for one in both]


@pytest.mark.skipif(not OFFICIAL_IS_HERE, reason="no official package here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_official_method_sends_the_same_request(server, capsys):
    import openai

    given = {"api_key": "plain-key", "admin_api_key": "admin-key", "max_retries": 0, "timeout": 10}
    ours = OpenAIMini(base_url=server.url, circuit_breaker=False, **given)
    theirs = openai.OpenAI(base_url=server.url, **given)
    server.default = official_answer
    methods, wrong = list(official_walk(theirs)), {}
    for path, method in methods:
        for style, (args, kwargs) in official_styles(method).items():
            want = official_request(server, theirs, path, args, kwargs, forgive=True)
            try:
                got = official_request(server, ours, path, args, kwargs)
                found = official_differences(got, want)
            except Exception as error:
                found = [repr(error)]
            if found:
                wrong.setdefault(".".join(path), []).append("%s: %s" % (style, found))
    told = "%d of %d methods alike beside openai %s; misses: %s" % (
        len(methods) - len(wrong), len(methods), openai.__version__, ", ".join(wrong))
    with capsys.disabled():
        print("\n" + told)
    left = {name: found for name, found in wrong.items() if not name.startswith(OFFICIAL_RETIRED)}
    if openai.__version__ != OFFICIAL_VERSION:
        assert len(left) <= len(methods) * 0.05, told
        return
    assert len(methods) == OFFICIAL_METHODS and not left, left


# Scripts as the official README, examples and cookbook have them; each runs with both packages.

MATH = '{"steps": ["subtract"], "answer": "x"}'
TOOL_CALL = {"id": "call_1", "type": "function",
             "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}


def official_world(request: Request) -> Answer:
    is_json = request.headers.get("content-type") == "application/json"
    path, asked = request.path, request.json if is_json and request.body else {}
    headers, messages = {"x-request-id": "req_1"}, asked.get("messages", [{"role": "x"}])
    if path.endswith(("speech", "content")):
        return Answer(body='{"custom_id": "row-1"}\n', content_type="audio/mpeg")
    if b"\r\n\r\nsrt\r\n" in request.body:
        return Answer(body="1\n00:00 --> 00:01\nhello\n")
    text = MATH if {"text", "response_format"} & {*asked} else "hello to %d" % len(messages)
    message = dict(CHAT["choices"][0]["message"], content=text)
    if asked.get("tools") and messages[-1]["role"] == "user":
        message.update(content=None, tool_calls=[TOOL_CALL])
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}
    made = dict(CHAT, created_at=7, status="made", path=path, output=[item])
    made.update(asked, choices=[dict(CHAT["choices"][0], message=message)])
    if request.method == "GET":  # a list of two pages
        after = int(request.query.get("after", "0"))
        made.update(data=[{"id": "%d" % (after + n)} for n in (1, 2)], has_more=after < 2)
    elif not is_json and request.body:
        file = request.parts[-1]
        made.update(filename=file.filename, bytes=len(file.body), text="heard")
    if not asked.get("stream"):
        return Answer(json=made, headers=headers)
    kinds = ("output_text.delta", {"delta": "Ahoy"}), ("completed", {"response": made})
    events = [dict(more, type="response." + kind, sequence_number=7) for kind, more in kinds]
    return Answer(sse=[(event["type"], event) for event in events], done=False)


OFFICIAL_START = """\
import json
from pathlib import Path
import openai
from openai import OpenAI
client = OpenAI(max_retries=0)
hi = [{"role": "user", "content": "How?"}]
complete = client.chat.completions.create
"""
OFFICIAL_SCRIPTS = {
    "responses": """
    response = client.responses.create(model="gpt-5.5", instructions="Talk.", input="How?")
    print(response.output_text, response.status, response.usage.total_tokens, response._request_id)
    ask = [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]
    print(client.responses.create(model="m", input=ask).output[0].content[0].text)
    for event in client.responses.create(model="m", input="One sentence.", stream=True):
        if event.type == "response.output_text.delta":
            print(event.delta, end="")
        print(event.type, event.sequence_number)
    """,
    "audio": """
    speech, ask = Path("speech.mp3"), dict(model="tts-1", voice="alloy", input="the quick fox")
    with client.audio.speech.with_streaming_response.create(**ask) as response:
        response.stream_to_file(speech)
    print(speech.read_bytes() == client.audio.speech.create(**ask).read())
    with open(speech, "rb") as file:
        print(client.audio.transcriptions.create(model="whisper-1", file=file,
              response_format="srt", timestamp_granularities=["word"]))
    """,
    "structured output": """
    from typing import List
    from pydantic import BaseModel
    class MathResponse(BaseModel):
        steps: List[str]
        answer: str
    message = client.chat.completions.parse(
        model="m", messages=hi, response_format=MathResponse).choices[0].message
    print(message.parsed.steps, message.parsed.answer, message.refusal)
    rsp = client.responses.parse(input="8x + 31 = 2", model="m", text_format=MathResponse)
    print(rsp.output_parsed.answer, [i.parsed for out in rsp.output for i in out.content])
    """,
    "function calling": """
    function = {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}
    ask = dict(model="m", tools=[{"type": "function", "function": function}])
    message = complete(messages=hi, **ask).choices[0].message
    messages = [*hi, message]
    for call in message.tool_calls or []:
        degrees = json.dumps(dict(json.loads(call.function.arguments), name=call.function.name))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": degrees})
    second = complete(messages=messages, **ask)
    print(second.choices[0].message.content, hasattr(message, "reasoning_content"))
    """,
    "files and batches": """
    Path("batch.jsonl").write_text("{}")
    print(client.files.create(file=Path("batch.jsonl"), purpose="fine-tune").filename)
    with open("batch.jsonl", "rb") as file:
        uploaded = client.files.create(file=file, purpose="batch")
    batch = client.batches.create(input_file_id=uploaded.id, endpoint="/v1/chat/completions",
                                  completion_window="24h", metadata={"a": "b"})
    print(uploaded.bytes, batch.id, batch.status, batch.metadata, batch.errors)
    print([one.id for one in client.batches.list(limit=2)])
    content = client.files.content("file-out")
    content.write_to_file("copy.jsonl")
    print(content.read() == Path("copy.jsonl").read_bytes() == content.content)
    """,
}


def official_run(script: str, package: str, server) -> tuple:
    """(what a script prints, what it sends) with `package` as its openai."""
    source = OFFICIAL_START + textwrap.dedent(script)
    source = source.replace("from openai import", "from %s import" % package)
    source = source.replace("import openai\n", "import %s as openai\n" % package)
    del server.requests[:]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(source, package, "exec", dont_inherit=True), {"__name__": "__main__"})
    return printed.getvalue(), [official_sent(request) for request in server.requests]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@cases("name", OFFICIAL_SCRIPTS)
def test_an_official_script_prints_and_sends_the_same(name, server, tmp_path, monkeypatch):
    """Without the official package it must at least run, and print something."""
    script = OFFICIAL_SCRIPTS[name]
    if "pydantic" in script:
        pytest.importorskip("pydantic")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.chdir(tmp_path)
    server.default = official_world
    printed, sent = official_run(script, "openai_mini", server)
    assert printed
    if OFFICIAL_IS_HERE:
        want_printed, want_sent = official_run(script, "openai", server)
        assert printed == want_printed and len(sent) == len(want_sent)
        assert [official_differences(*both) for both in zip(sent, want_sent)] == [[]] * len(sent)


# ------------ Readme

README = MODULE.with_name("README.md")
# Recipes with libraries of the reader's choice: each has a test of its own elsewhere.
README_TRIED_ELSEWHERE = (
    "opentelemetry", "prometheus_client", "ProcessPoolExecutor", "dask", "completion_window",
)


def readme_blocks(language: str) -> list:
    return re.findall(r"^```%s\n(.*?)^```" % language, README.read_text("utf-8"), re.M | re.S)


@pytest.fixture
def readme_folder(tmp_path, monkeypatch):
    """Its samples run offline, as it says."""
    monkeypatch.setenv("OPENAI_BASE_URL", "echo:")
    monkeypatch.setenv("PYTHONPATH", str(README.parent))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "notes.txt").write_text("some notes")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff photo")
    return tmp_path


def test_each_python_block_of_the_readme_runs(readme_folder, capsys):
    for number, block in enumerate(readme_blocks("python")):
        if not any(word in block for word in README_TRIED_ELSEWHERE):
            exec(compile(block, "README block %d" % number, "exec"), {"__name__": "readme"})
    assert "Hello" in capsys.readouterr().out and number >= 6


def test_each_command_of_the_readme_runs(readme_folder):
    shim = readme_folder / "openai-mini"
    shim.write_text('#!/bin/sh\nexec "%s" -m openai_mini "$@"\n' % sys.executable)
    shim.chmod(0o755)
    env = dict(os.environ, PATH="%s%s%s" % (readme_folder, os.pathsep, os.environ["PATH"]))
    lines = [line for block in readme_blocks("sh") for line in block.splitlines()]
    commands = [line for line in lines if "openai-mini" in line and ".venv" not in line]
    for command in commands:
        how = {"env": env, "stdin": DEVNULL, "stdout": -1, "stderr": -1, "timeout": 60}
        done = subprocess.run(["sh", "-c", command], **how)
        assert done.returncode == 0, (command, done.stderr)
    assert (readme_folder / "summary.txt").read_text() == "some notes\n" and len(commands) >= 5


def test_the_version_stands_in_the_head_of_the_file_and_in_the_changes():
    head = MODULE.read_text("utf-8")[:2000]
    changes = README.read_text("utf-8").split("\n## Changes\n")[1]
    assert "openai_mini " + openai_mini.__version__ in head
    assert changes.split("\n### ")[1].split("\n")[0] == openai_mini.__version__


def test_importing_the_module_loads_nothing_that_it_may_not_need():
    code = "import sys; old = set(sys.modules); import openai_mini; print(set(sys.modules) - old)"
    assert set(ast.literal_eval(run_python(code).stdout)) <= {"__future__", "openai_mini"}


# ------------ Fuzz
#
# Inputs that nobody thought of. OPENAI_MINI_FUZZ=100000 tries that many.

FUZZ_SETTINGS = hypothesis.settings(
    max_examples=int(os.environ.get("OPENAI_MINI_FUZZ") or 60),
    suppress_health_check=list(hypothesis.HealthCheck),
)
FUZZ_NAMES = """error message detail code type param msg loc choices delta content tool_calls index
    usage finish_reason data id object has_more last_id output text function name arguments status
    response role""".split()
FUZZ_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(FUZZ_NAMES) | st.text(max_size=3), inner, max_size=4)),
    max_leaves=12,
)
FUZZ_FORMS = "%s", '{"error": %s}', "data: %s\n\n", "data: %s\n\ndata: [DONE]\n\n"
FUZZ_BODIES = st.one_of(
    st.builds(lambda form, value: form % json.dumps(value), st.sampled_from(FUZZ_FORMS),
              ANY | FUZZ_JSON),
    st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    st.sampled_from([b"<html><title>", b"[" * 5000, b"9" * 5000, b'"\\ud800"', b"\xed\xa0\x80",
                     b"NaN", b"-Infinity", b"{", b""]),
)
FUZZ_HEADER = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20)
FUZZ_HEADERS = st.fixed_dictionaries({
    name: st.sampled_from(values) | FUZZ_HEADER for name, values in {
        "content-type": ["application/json", "text/event-stream", "text/html", "a/b+json", ""],
        "retry-after": ["1", "-1", "1e9", "nan", "9" * 400, "Mon, 1 Jan 0000 00:00:00 -9999"],
        "retry-after-ms": ["", "5", "-5", "."], "x-should-retry": ["", "true", "false"],
        "content-encoding": ["", "", "", "identity", "gzip", "deflate", "br"],
        "x-request-id": [""], "location": [""],
    }.items()
})
FUZZ_LENGTHS = st.sampled_from(
    [None] * 3 + ["0", "5", "-1", "99999999999999999999", "1, 1", "0x5", "+5", "\xb2", ""]
)
FUZZ_STATUSES = st.sampled_from(
    [200] * 6 + [201, 204, 301, 304, 400, 401, 404, 413, 429, 500, 599, 999]
)


@st.composite
def fuzz_answers(draw):
    """An answer of any parts, or any bytes behind a right beginning."""
    if draw(st.integers(0, 3)) == 0:
        return Answer(raw=draw(FUZZ_HEADS) + draw(st.binary(max_size=200)))
    headers, length = draw(FUZZ_HEADERS), draw(FUZZ_LENGTHS)
    headers.update({} if length is None else {"content-length": length})
    return Answer(draw(FUZZ_STATUSES), body=draw(FUZZ_BODIES), headers=headers, close=True,
                  framing=draw(st.sampled_from(["length", "chunked", "close"])))


FUZZ_HEADS = st.sampled_from([
    b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", b"HTTP/1.0 503 \r\n\r\n",
])
FUZZ_WHICH = st.sampled_from(  # each way in which an answer is read
    [*ANY_CALL, lambda c, to: c.request("GET", "/x"), lambda c, to: c.download_file("f")]
)


@pytest.fixture(scope="module")
def fuzz_server(tmp_path_factory):
    given = {"max_retries": 0, "circuit_breaker": False, "use_request_queue": False}
    with LoopbackServer() as server, client_for(server, timeout=(5, 5), **given) as client:
        yield server, client, tmp_path_factory.mktemp("fuzz")


def fuzz_outcome(fuzz_server, answer, call):
    """What a call makes of an answer; an error is one of ours."""
    server, client, folder = fuzz_server
    server.requests.clear()
    server.default = answer
    try:
        return call(client, folder)
    except OpenAIError as error:
        assert 0 < len(str(error)) < 1200 and str(error).isprintable(), ascii(str(error))
        assert error.retry_after is None or error.retry_after >= 0
        assert pickled(error).args == error.args
        return "an error"


@FUZZ_SETTINGS
@hypothesis.given(fuzz_answers(), FUZZ_WHICH)
def test_any_answer_or_bytes_are_a_result_or_an_error_of_ours(fuzz_server, answer, call):
    fuzz_outcome(fuzz_server, answer, call)


@hypothesis.settings(max_examples=250)
@hypothesis.given(st.lists(ANY, min_size=1, max_size=3), st.sampled_from(range(-12, 2)))
def test_any_json_under_200_is_an_answer_or_an_error_of_ours(fuzz_server, datas, number):
    answer = Answer(sse=datas) if number >= 0 else Answer(json=datas[0])
    answer = fuzz_outcome(fuzz_server, answer, ANY_CALL[number])
    assert answer is not None and json.dumps(answer)
