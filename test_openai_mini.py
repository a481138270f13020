"""Tests of openai_mini, in the order of its rooms. Run with: python -m pytest"""

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
from typing import List, Optional
from urllib.parse import parse_qs, parse_qsl

import hypothesis
import hypothesis.strategies as st
import pytest
import requests

import openai_mini

from openai_mini import (  # isort: skip
    APIConnectionError, APIError, APIResponseError, APIStatusError, APITimeoutError,
    AuthenticationError, BadRequestError, CircuitOpenError, InternalServerError, OpenAIError,
    OpenAIMini, QueueFullError, QueueTimeoutError, RateLimitError, StreamInterruptedError,
    ValidationError,
)  # fmt: skip

# ------------------------------------------------------------------------------------------------
# Helpers
#
# No network code is mocked: a loopback server plays a script. Tests meet it at events, never at
# sleeps.

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
        self.now += seconds


# What servers answer

CHAT = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1764000000, "model": "gpt-5.4-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello", "refusal": None},
                 "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}  # fmt: skip


def chunk(delta: dict, finish=None) -> dict:
    """One chunk of a streamed chat completion."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    start = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1764000000}
    return dict(start, model="gpt-5.4-mini", choices=[choice])


def chunks(*texts: str, finish="stop", usage=None) -> list:
    """The chunks of a chat: one for each text, the finish reason, the usage (None: without)."""
    made = [chunk({"role": "assistant", "content": text}) for text in texts[:1]]
    made += [chunk({"content": text}) for text in texts[1:]]
    made += [chunk({}, finish)] if finish is not None else []
    return made + ([dict(chunk({}), choices=[], usage=usage)] if usage is not None else [])


def sse_bytes(item) -> bytes:
    """Bytes as they are, ("name", item) as a named event, else a data line: a str as it is, other
    things as JSON."""
    if isinstance(item, bytes):
        return item
    if isinstance(item, tuple):
        return b"event: " + item[0].encode() + b"\n" + sse_bytes(item[1])
    return b"data: " + (item if isinstance(item, str) else json.dumps(item)).encode() + b"\n\n"


class Answer:
    """One scripted HTTP answer. It has no state, so one may be given many times."""

    # The body: a value, bytes or str, events (see `sse_bytes`; `done` adds `[DONE]`), or a list of
    # bytes (or a function that returns an iterator). Each piece, or with drip=n each n bytes, goes
    # out by itself.
    json, body, sse, pieces, done, drip = ..., None, None, None, True, None
    framing = None  # "length", "chunked" (the default for `sse`), "close", "http10"
    gzip = False  # True, "deflate", "rawdeflate"; flushed after each piece
    headers, content_type = (), None  # a dict or pairs, which replace computed ones
    early = b""  # of a 1xx answer, sent first
    raw = None  # these bytes, or a list of them, and no more
    # An Event to wait for before anything is sent, or with hold_after=n when the head and n pieces
    # are out; seconds between pieces.
    wait, hold_after, pause = None, None, 0
    # Close, or reset, after n bytes of the body or of `raw` (transfer framing not counted).
    cut = reset = None
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
        lazy, chunked = callable(self.pieces), self.framing == "chunked"
        payloads = _coded(self._payloads(), self.coding)
        payloads = payloads if lazy else list(payloads)
        if bodiless or self.status in (204, 304):
            return [self._head(None, closing)], False
        head = self._head(None if lazy else sum(map(len, payloads)), closing)
        frames = _framed(payloads, chunked, self.limit)
        if lazy:
            return itertools.chain([head], frames), True
        frames = list(frames)
        end_is_held = self.hold_after == len(frames) - 1
        if chunked and self.limit is None and len(frames) > 1 and not end_is_held:
            frames[-2:] = [frames[-2] + frames[-1]]  # most servers send the end with the last piece
        if self.sse is None and self.pieces is None and not self.drip and self.hold_after is None:
            return [head + b"".join(frames)], False
        return [head] + frames, False

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
    """The pieces under a content coding, each flushed, so that it can be read when it comes."""
    if not coding:
        yield from payloads
        return
    packer = zlib.compressobj(wbits={"gzip": 31, "deflate": 15, "rawdeflate": -15}[coding])
    for payload in payloads:
        yield packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


def _framed(payloads, chunked: bool, limit):
    """The pieces as they go over the wire; with a limit that many bytes of them, and no end."""
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


def usual(request: Request) -> Answer:
    """What the server answers when its script is empty: chat, streamed or not, or an empty list."""
    if not request.path.endswith("/chat/completions"):
        return Answer(json={"object": "list", "data": []})
    return Answer(sse=chunks("hel", "lo")) if request.json.get("stream") else Answer(json=CHAT)


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
        target = re.sub(r"^\w+://[^/?]*", "", self.target)  # the absolute form, as proxies get it
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
            quoted = re.findall(r';\s*(name|filename)="([^"]*)"', fields["content-disposition"])
            names = map(dict(quoted).get, ("name", "filename"))
            found.append(Part(*names, fields.get("content-type"), body))
        return found

    def _split_parts(self) -> list:
        kind = self.headers["content-type"]
        match = re.match(r'multipart/form-data; *boundary="?([^";]+)"?$', kind)
        assert match, "no multipart body: %s" % kind
        line = b"\r\n--" + match.group(1).encode()
        first, *parts, last = (b"\r\n" + self.body).split(line)
        assert first == b"" and last in (b"--", b"--\r\n"), "not closed as multipart bodies are"
        assert all(part.startswith(b"\r\n") for part in parts)
        return [tuple(part[2:].split(b"\r\n\r\n", 1)) for part in parts]


# Servers


def _has_hung_up(sock) -> bool:
    try:
        return not socket.socket.recv(sock, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError as error:
        return not isinstance(error, BlockingIOError)


def _read_head(reader) -> bytes:
    lines: list = []
    while not lines or lines[-1] not in (b"\r\n", b"\n"):
        lines.append(reader.readline())
        if not lines[-1]:
            raise ConnectionError("at the end of %d lines" % (len(lines) - 1))
    return b"".join(lines)


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
            pass  # a chunk's end, or the trailers
        size = size if chunked else 0


def loopback_thread(target, *args) -> threading.Thread:
    """A thread of a server, which left_over() does not count."""
    name = "loopback-" + target.__name__
    return threading.Thread(target=target, args=args, name=name, daemon=True)


class Listener:
    """A socket on 127.0.0.1, and a thread for each connection that does `serve(number, sock)`."""

    open_connections = property(lambda self: len(self._open))

    def __init__(self, tls: bool = False):
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        if tls:
            self.tls.load_cert_chain(*certificate())
        self.connections = self.hung_up = 0  # accepted, and closed by the client, so far
        self._failures: list = []  # tracebacks
        self._changed = threading.Condition()  # guards what is counted; notified at each change
        self._closing = threading.Event()
        self._open: dict = {}  # number -> socket
        self._dropped, self._threads = set(), set()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listening.getsockname()[1]
        self._acceptor = loopback_thread(self._accept)
        self._acceptor.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()
        assert not self._failures, "\n".join(self._failures)

    def close(self) -> None:
        """Close every socket and wait for every thread; may be called again."""
        if self._closing.is_set():
            return  # and the port may be another's by now
        self._closing.set()
        with contextlib.suppress(OSError):  # wakes accept()
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._acceptor.join(10)
        self._listening.close()
        self.drop_connections()
        for thread in list(self._threads):
            thread.join(10)
            assert not thread.is_alive(), "a thread hangs"

    def drop_connections(self) -> None:
        with self._changed:
            self._dropped.update(self._open)
            for sock in self._open.values():
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def wait_for(self, condition, timeout: float = 10) -> bool:
        """Wait until `condition()` is true, asking at each change here; it must become so."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout), "not in %s s" % timeout
        return True

    def wait_closed(self, number: int = 1, timeout: float = 10) -> bool:
        """Wait until clients have closed `number` connections in all."""
        return self.wait_for(lambda: self.hung_up >= number, timeout)

    def _accept(self) -> None:
        while True:
            sock, _ = self._listening.accept()
            if self._closing.is_set():
                return sock.close()
            with contextlib.suppress(OSError):  # gone already
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:  # the handshake is the connection's thread's
                how = {"server_side": True, "do_handshake_on_connect": False}
                sock = self.tls.wrap_socket(sock, **how)
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
            gone = number not in self._dropped and not self._closing.is_set()
        except Exception:
            self._failures.append(traceback.format_exc())
        finally:
            with self._changed:
                with contextlib.suppress(OSError):
                    # A child forked meanwhile has this socket too: only this tells the client.
                    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER):
                        socket.socket.shutdown(sock, socket.SHUT_RDWR)
                sock.close()
                del self._open[number]
                self.hung_up += gone
                self._threads.discard(threading.current_thread())
                self._changed.notify_all()


class LoopbackServer(Listener):
    """An HTTP server that plays a script: `server.script(Answer(429), Answer(json=CHAT))`.

    An entry of the script, and `default`, which answers when it is empty, may be a function of the
    request. `requests` is what came; `in_flight` and `max_in_flight` count from the last byte of a
    request to the last segment of its answer. `keep_bodies = False` keeps only their length.
    """

    in_flight = property(lambda self: len(self._in_flight))

    def __init__(self, tls: bool = False):
        self.requests, self.default, self._answers = [], usual, []
        self.keep_bodies, self.max_in_flight = True, 0
        self._in_flight: dict = {}  # number of the connection -> socket
        self.cert_path = certificate()[0] if tls else None
        super().__init__(tls)
        self.origin = "http%s://127.0.0.1:%d" % ("s" * tls, self.port)
        self.url = self.origin + "/v1"

    def script(self, *answers) -> None:
        self._answers.extend(answers)

    def wait_requests(self, number: int = 1) -> bool:
        """Wait until `number` requests in all have been read."""
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
            if len(self._in_flight) >= self.max_in_flight:
                # Those that were abandoned a moment ago do not count.
                for other in [n for n, s in self._in_flight.items() if _has_hung_up(s)]:
                    del self._in_flight[other]
            self._in_flight[number] = sock
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
            sock.settimeout(0)  # tells the end, and does not wait for the other side to tell it
            with contextlib.suppress(OSError, ValueError):
                sock.unwrap()
        return not (answer.closes or closing)

    def _answered(self, number: int) -> None:
        with self._changed:
            self._in_flight.pop(number, None)
            self._changed.notify_all()

    def _send(self, sock, answer: Answer, number: int, segments, lazy: bool) -> None:
        sock.sendall(answer.early)
        hold_after = -1 if answer.hold_after is None else answer.hold_after
        for sent, segment in enumerate(itertools.chain([b""], segments), -1):  # 0 is the head
            if sent > 1 and answer.pause:
                self._hold(sock, threading.Event(), answer.pause)
            if not lazy and sent == len(segments) - 1:
                # Not after the last bytes: who has them may be back with the next request.
                self._answered(number)
            sock.sendall(segment)
            if answer.wait is not None and sent == hold_after:
                self._hold(sock, answer.wait)

    def _hold(self, sock, event, seconds: float = 3600) -> None:
        """Wait for the event; raises when the client hangs up or the server is closed."""
        end = time.monotonic() + seconds
        while not event.wait(min(seconds, 0.01)) and time.monotonic() < end:
            if self._closing.is_set() or _has_hung_up(sock):
                raise ConnectionError("while an answer was held back")


class Proxy(Listener):
    """A forward proxy, for the absolute form and for CONNECT; `asked` is the `Request`s it got. All
    goes to `to`, a server of ours, whatever address was asked for: nothing leaves the machine."""

    def __init__(self, to: LoopbackServer, tls: bool = False):
        self.asked, self._to = [], ("127.0.0.1", to.port)
        super().__init__(tls)
        # urllib3 1.26.5 checks no IP address
        self.url = ("https://localhost:%d" if tls else "http://127.0.0.1:%d") % self.port

    def serve(self, number: int, sock) -> None:
        sock.settimeout(30)
        with sock.makefile("rb", 0) as reader:  # unbuffered: what follows the head is not ours
            request = Request(_read_head(reader), number)
        self.asked.append(request)
        with socket.create_connection(self._to, timeout=30) as onward:
            if request.method == "CONNECT":
                sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                head = re.sub(rb"(?i)\r\n(proxy-[^:]*|connection):[^\r]*", b"", request.raw_head)
                onward.sendall(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            with contextlib.suppress(OSError):
                _relay(sock, onward)


TlsProxy = functools.partial(Proxy, tls=True)


def _relay(client, server) -> None:
    """Pass bytes both ways until the server has ended. By one thread: TLS allows no two at once."""
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
    """A self-signed certificate for 127.0.0.1 and localhost, and its key: two paths."""
    folder, owner = tempfile.mkdtemp(prefix="loopback-tls-"), os.getpid()  # a child leaves it there
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(folder, ignore_errors=True))
    wish, cert, key = (os.path.join(folder, name) for name in ("wish.cnf", "cert.pem", "key.pem"))
    pathlib.Path(wish).write_text(
        "[req]\ndistinguished_name = dn\nx509_extensions = ext\nprompt = no\n[dn]\nCN = localhost\n"
        "[ext]\nsubjectAltName = IP:127.0.0.1, DNS:localhost\n"
        "basicConstraints = critical, CA:TRUE\nsubjectKeyIdentifier = hash\n"
        "keyUsage = critical, digitalSignature, keyCertSign\n"
    )
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -config".split()
    subprocess.run([*make, wish, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


# Threads, and what must not be left of them


def together(number: int, work, timeout: float = 60) -> list:
    """Run `work(i)` in threads that start as one; what each returned, or what it raised."""
    barrier, results = threading.Barrier(number), [None] * number

    def run(i: int) -> None:
        barrier.wait(timeout)
        try:
            results[i] = work(i)
        except BaseException as error:  # a result like others: the caller looks at it
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(number)]
    for thread in threads:
        thread.start()
    eventually(lambda: not any(map(threading.Thread.is_alive, threads)), timeout)
    return results


def eventually(condition, timeout: float = 10, what: str = "it") -> bool:
    """Wait until `condition()` is true, for what no server here notices; it must become so."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "%s: not in %s s" % (what, timeout)
        time.sleep(0.002)
    return True


def left_over() -> set:
    """The living threads, without those of the servers in here, and the open descriptors."""
    found = {thread for thread in threading.enumerate() if "loopback-" not in thread.name}
    for path in pathlib.Path("/proc/self/fd").glob("*"):  # where the system tells
        with contextlib.suppress(OSError):  # that of the listing itself is gone by now
            found.add((path, os.readlink(path)))
    return found


@contextlib.contextmanager
def nothing_left_over():
    """What is done in here leaves no thread and no descriptor; they have a moment to go."""
    before = left_over()
    yield
    gc.collect()
    eventually(lambda: left_over() <= before, what="what is left over")


# Fixtures


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No test sees the keys, endpoints, proxies and certificate bundles of whoever runs it."""
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


# ------------------------------------------------------------------------------------------------
# Server-sent events
#
# The rules are those of https://html.spec.whatwg.org/multipage/server-sent-events.html, "Parsing
# an event stream" and "Interpreting an event stream".

BOM = b"\xef\xbb\xbf"

# (bytes of the stream, the events: data alone, or (data, event, id, retry) as far as it is set)
SSE_CASES = [
    (b"",), (b"\n\n\r\r\r\n\r\n",), (BOM + b"\n\n",), (b": hi\n\nfoo: bar\n\n",),
    # The ends of lines and of events
    (b"data: a\n\n", "a"), (b"data: a\r\n\r\n", "a"), (b"data: a\r\r", "a"),
    (b"data: a\n\rdata: b\n\n", "a", "b"), (b"data: a\r\r\ndata: b\n\n", "a", "b"),
    (b"data: a\r\n\ndata: b\n\n", "a", "b"), (b"data: a\r\n\rdata: b\n\n", "a", "b"),
    (b"data: a\n\r\ndata: b\n\n", "a", "b"),
    (b"data: a\ndata: b\r\ndata: c\rdata: d\r\n\n", "a\nb\nc\nd"),
    (b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", "a", "b"),
    (b"data: a\x0bdata\x0c\x1c\x1d\x1e\x1f\n\n", "a\x0bdata\x0c\x1c\x1d\x1e\x1f"),
    (b"data: a\xc2\x85data: b\xe2\x80\xa8\xe2\x80\xa9\n\n", "a\x85data: b\u2028\u2029"),
    # The end of the stream: what has no blank line behind it is dropped
    (b"data: a",), (b"data: a\n",), (b"data: a\r",), (b"data: a\r\n",), (b"data: a\n\n: bye", "a"),
    (b"data: a\n\ndata: b\ndata: c", "a"), (b"data: a\n\ndata: \xe2\x82", "a"),
    # The byte order mark: one, at the start of the stream
    (BOM + b"data: a\n\n", "a"), (BOM + b"\ndata: a\n\n", "a"),
    (BOM + BOM + b"data: a\n\ndata: b\n\n", "b"), (BOM + b"data:" + BOM + b"\n\n", "\ufeff"),
    (b"\n" + BOM + b"data: a\n\ndata: b\n\n", "b"), (b"\xef\xbbdata: a\n\ndata: b\n\n", "b"),
    # The colon and the space
    (b"data:a\n\n", "a"), (b"data:  a \n\n", " a "), (b"data:\ta\n\n", "\ta"),
    (b"data : a\n data: a\n\tdata: a\ndata: b\n\n", "b"), (b"data: a\n \ndata: b\n\t\n\n", "a\nb"),
    # data
    (b"data:\n\n", ""), (b"data\n\n", ""), (b"data\ndata\n\n", "\n"),
    (b"data: a\ndata\ndata: c\ndata:\n\n", "a\n\nc\n"),
    (b"data: a\0b\n\ndata: [DONE]\n\n", "a\0b", "[DONE]"),
    # Names of fields, and comments
    (b"Data: a\nDATA: b\ndatas: a\nda-ta: b\ndat: a\nd: b\ndata_x\ndata: c\n\n", "c"),
    (b"<p>no\n</p>\n\n{\"data\": \"a\"}\n\ndata: a\n\n", "a"),
    (b":\n:data: a\n: data: b\n::data: c\ndata: d\n:\n\n", "d"),
    # event
    (b"event: add\ndata: a\n\n", ("a", "add")), (b"data: a\nevent:add\n\n", ("a", "add")),
    (b"event:  add \ndata: a\n\n", ("a", " add ")),
    (b"event: a\nevent: b\ndata: x\n\n", ("x", "b")), (b"event: a\nevent:\ndata: x\n\n", "x"),
    (b"event: a\nevent\ndata: x\n\n", "x"), (b"event: a\n\ndata: x\n\n", "x"),
    (b"event: a\ndata:\n\n", ("", "a")),
    (b"event: \xc3\xa9\0\xff\ndata: x\n\n", ("x", "\xe9\0\ufffd")),
    (b"event: a\n: hi\ndata: x\ndata: y\n\ndata: z\n\n", ("x\ny", "a"), "z"),
    (b"event: a\ndata: x\nevent: b\n\n", ("x", "b")),
    (b"event: a\nid: 7\ndata: x\n\ndata: y\n\n", ("x", "a", "7"), ("y", "message", "7")),
    # id, which persists
    (b"data: a\nid: 7\n\ndata: b\n\n", ("a", "message", "7"), ("b", "message", "7")),
    (b"id: 1\nid:  2 \ndata: a\n\n", ("a", "message", " 2 ")),
    (b"id: 1\n\ndata: a\n\n", ("a", "message", "1")), (b"id: 1\n\nid:\ndata: b\n\n", "b"),
    (b"id: 1\n\nid\ndata: b\n\n", "b"), (b"id: 1\nid: 2\0\ndata: a\n\n", ("a", "message", "1")),
    (b"id: \xe2\x82\xac\xff\ndata: a\n\n", ("a", "message", "\u20ac\ufffd")),
    # retry; no digits but ASCII's count, whatever int() takes
    (b"retry\ndata: a\n\n", "a"), (b"retry: 5\n\ndata: a\n\n", "a"),
    (b"retry: 5\nretry: 6\nretry: x\ndata: a\n\n", ("a", "message", "", 6)),
    (b"data: a\nretry: 5\n\ndata: b\n\n", ("a", "message", "", 5), "b"),
    (b"data: a\nretry:0123456789\n\n", ("a", "", "", 123456789)),
    (b"Retry: 4\nID: 1\nEvent: e\nretry: 00\ndata: a\n\n", ("a", "", "", 0)),
    *((b"data: a\nretry:" + value + b"\n\n", "a") for value in (
        b"", b"  5", b"5 ", b"+5", b"1_000", b"1.0", b"ten", b"5\xd9\xa5", b"\xc2\xb2")),
    # UTF-8
    (b"data: \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\n\n", "\xe9\u20ac\U0001f600"),
    (b"data: a\xffb\x80c\x85\xc3\n\n", "a\ufffdb\ufffdc\ufffd\ufffd"),
    (b"data: \xe2\x82a\xf0\x9f\x98\xc3\xa9\r\n\r\n", "\ufffda\ufffd\xe9"),
    (b"data: \xc0\x8a\xed\xa0\x80\n\n", "\ufffd" * 5),
    (b"data: \xe2\ndata: \xf0\x9f\r\r", "\ufffd\n\ufffd"),
    # The standard's own, and its tests
    (b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
     ("first event", "message", "1"), "second event"),
    (b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n"
     b" data:32\ndata:4\n\n", "\0\n 2\n1\n3\n\n4"),
]  # fmt: skip


def sse_events(*items) -> list:
    """(event, data, id, retry) of each of (data, event, id, retry), or data alone."""
    events = [item if isinstance(item, tuple) else (item,) for item in items]
    full = [event + ("", "message", "", None)[len(event) :] for event in events]
    return [(event or "message", data, id, retry) for data, event, id, retry in full]


SSE_TABLE = [(stream, sse_events(*items)) for stream, *items in SSE_CASES]


def sse_read(pieces, **limits) -> list:
    events = openai_mini.iter_sse(pieces, **limits)
    return [(event.event, event.data, event.id, event.retry) for event in events]


def sse_cut(stream: bytes, size: int) -> list:
    return [stream[i : i + size] for i in range(0, len(stream), size)]


def sse_model(stream: bytes) -> list:
    """The standard, taken literally: decode it all, cut it into lines, take one after another."""
    text = stream.decode("utf-8", "replace")
    lines = re.split("\r\n|\r|\n", text[1:] if text[:1] == "\ufeff" else text)
    events: list = []
    event, data, last_id, retry = "", "", "", None
    for line in lines[:-1]:  # what follows the last end of a line is no line yet
        name, _, value = line.partition(":")
        value = value[1:] if value[:1] == " " else value
        if not line:
            if data:
                events.append((event or "message", data[:-1], last_id, retry))
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


def sse_refilled(stream: bytes, size: int):
    """As with recv_into(): one buffer, filled again for each piece."""
    buffer = bytearray(size)
    for piece in sse_cut(stream, size):
        buffer[: len(piece)] = piece
        yield memoryview(buffer)[: len(piece)]


@pytest.mark.parametrize("stream, expected", SSE_TABLE, ids=lambda value: ascii(value)[:60])
def test_a_stream_is_read_by_the_standard_wherever_it_is_cut(stream, expected):
    """The model, against which random streams are held, reads the same."""
    assert sse_model(stream) == expected == sse_read([stream]) == sse_read({stream: 1})
    for i in range(len(stream) + 1):
        assert sse_read([stream[:i], b"", stream[i:]]) == expected, "cut at %d" % i
    for size in (1, 5, 1000):
        assert sse_read(map(bytearray, sse_cut(stream, size))) == expected
        assert sse_read(sse_refilled(stream, size)) == expected


class SseTooFar(Exception):
    """The parser asked for more than it needed."""


def sse_no_further(*pieces):
    yield from pieces
    raise SseTooFar


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("last", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("name", [b"", b"event: a"])
def test_an_event_is_yielded_as_soon_as_its_blank_line_has_come(end, last, name):
    """A CR may be half of a CRLF, but the line that it ends has ended: nobody waits for the LF."""
    last = last if end == b"\r" and last == b"\n" else last[:1]  # the CR of a CRLF is enough
    last += b"\n" if end + last == b"\r\n" else b""  # which is one end
    stream = b"id: 1" + end + (name and name + end) + b"data: a" + end + last
    for pieces in ([stream], sse_cut(stream, 1)):
        events = openai_mini.iter_sse(sse_no_further(*pieces))
        first = next(events)
        assert (first.data, first.id, first.event) == ("a", "1", "a" if name else "message")
        with pytest.raises(SseTooFar):
            next(events)
        assert list(events) == []


def test_all_events_of_a_piece_are_yielded_before_the_next_is_asked_for():
    piece = b"data: 1\n\ndata: 2\r\n\r\nevent: e\rdata: 3\r\rdata: 4\n\ndata: 5\n"
    events = openai_mini.iter_sse(sse_no_further(piece))
    assert [event.data for event in itertools.islice(events, 4)] == ["1", "2", "3", "4"]


# Limits

SSE_HEADS = [(b"data:", b"\n\n"), (b"id: 1\rdata: ", b"\r\r"), (b"event: e\ndata: ", b"\r\n\r\n")]


@pytest.mark.parametrize("limit", [20, 1000, 70000])
def test_an_event_of_exactly_the_limit_passes_and_one_over_it_does_not(limit):
    """Counted with all its bytes it passes; counted with none but those of its data it does not.
    What was complete before it is yielded."""
    for head, ends in SSE_HEADS:
        fits = head + b"x" * (limit - len(head + ends)) + ends
        for size in (7 if limit < 2000 else 2000, limit, 100000):
            assert len(sse_read(sse_cut(fits, size) * 3, max_event_bytes=limit)) == 3
            for text in (b"x" * (limit + 1), b"\xc3\xa9" * (limit // 2 + 1)):
                pieces = sse_cut(b"data: 1\n\n" + head + text + ends, size)
                events = openai_mini.iter_sse(pieces, max_event_bytes=limit)
                assert next(events).data == "1"
                with pytest.raises(APIResponseError, match=str(limit)):
                    next(events)


SSE_ENDLESS = [  # what a stream that never ends its event begins with, and repeats
    (b"data: ", b"x" * 100), (b"", b"data\n"), (b"", b"data: " + b"x" * 100 + b"\r"),
    (b"data: 1\nid: ", b"x" * 100), (b"data: 1\n\ndata: ", b"x" * 100), (b"foo: ", b"x" * 100),
]  # fmt: skip


@pytest.mark.parametrize("start, again", SSE_ENDLESS, ids=lambda value: repr(value[:9]))
@pytest.mark.parametrize("size", [1, 5000])
def test_an_event_over_the_limit_is_refused_and_not_read_to_its_end(start, again, size):
    limit = 10000
    stream = itertools.chain(start, itertools.islice(itertools.cycle(again), 20 * limit))
    pieces = iter(lambda: bytes(itertools.islice(stream, size)), b"")
    events = openai_mini.iter_sse(sse_no_further(b"", *pieces), max_event_bytes=limit)
    with pytest.raises(APIResponseError):
        for event in events:
            assert event.data == "1"
    assert list(events) == []


def test_keep_alive_comments_are_no_part_of_an_event():
    """Hours of them are within any limit."""
    for ping in (b": ping\n\n", b":\n\n", b": ping\r\r", b": ping\r\n\r\n"):
        for pieces in ([ping] * 1000, [ping * 1000]):
            stream = [b"data: a\n\n"] + pieces + [b"data: b\n\n"]
            assert sse_read(stream, max_event_bytes=100) == sse_events("a", "b")


def test_the_default_limit_is_16_mib():
    """Streams of images hold some MB of base64 in one event."""
    piece = b"x" * (1 << 16)
    assert len(sse_read([b"data: "] + [piece] * 255 + [b"\n\n"])[0][1]) == 255 << 16
    with pytest.raises(APIResponseError, match=str(16 << 20)):
        sse_read([b"data: "] + [piece] * 257)


SSE_UNHELD = [  # what may come for ever without an event: each line is short, or a comment
    (b"data: a\n", b": " + b"x" * 97 + b"\n"), (b"", b"id: " + b"x" * 94 + b"\n\n"),
    (b"", b"event: " + b"x" * 92 + b"\n"), (b"", b"\n" * 100), (b"", b"foo" * 30 + b"\n\n"),
]  # fmt: skip


@pytest.mark.parametrize("start, again", SSE_UNHELD, ids=lambda value: repr(value[:9]))
def test_what_makes_no_event_takes_no_memory(start, again):
    """Refused at the limit or passed over, but not kept: 100 KB under a limit of 8 KB."""
    pieces = itertools.chain([start], itertools.repeat(again * 10, 100))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with contextlib.suppress(APIResponseError):
            assert sse_read(pieces, max_event_bytes=1 << 13) == []
        assert tracemalloc.get_traced_memory()[1] - before < 50000
    finally:
        tracemalloc.stop()


def test_a_retry_of_many_digits_is_read_or_ignored_but_is_no_foreign_error():
    """More than 64 bits hold; int() refuses over 4,300 digits, and may be told to refuse 641."""
    for digits in (20, 640, 5000):
        [event] = sse_read([b"retry: " + b"9" * digits + b"\ndata: a\n\n"])
        assert event[:3] == ("message", "a", "")
        assert digits > 640 or event[3] == int("9" * digits)


SSE_LONG = [  # what a long stream begins with, repeats and ends with, the size of its pieces
    (b"data: ", b"x" * 64, b"\n\n", 64), (b"\r", b"event: a\ndata: 1234567\n\n", b"", 1 << 30),
    (b"", b"data: 123456789\n", b"\n", 1 << 30), (b"\n", b"data: 12345678\r\r", b"", 1 << 30),
]  # fmt: skip


@pytest.mark.parametrize("start, again, end, size", SSE_LONG, ids=lambda value: repr(value)[:20])
def test_the_time_is_linear_in_the_bytes(start, again, end, size):
    """32 times the bytes take about 32 times as long, 1,000 times if it were quadratic."""

    def cpu_s(length: int) -> float:
        pieces, took = sse_cut(start + again * (length // len(again)) + end, size), []
        for _ in range(3):
            begun = time.thread_time()
            sse_read(pieces)
            took.append(time.thread_time() - begun)
        return min(took)

    assert cpu_s(1 << 20) < 200 * cpu_s(1 << 15)


# Random streams

SSE_TOKENS = [
    b"data", b"data:", b"data: ", b"event", b"event: e", b"event: a.b\ndata: {}\n\n", b"id",
    b"id: ", b"retry", b"retry: 1", b":", b" ", b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", BOM,
    BOM[1:], b"\0", b"x", b"1", b"\xc3", b"\xe2\x80\xa8", b"\xf0\x9f", b"\xff", b"\xd9\xa5",
    b"Data: ", b"foo: bar",
]  # fmt: skip
sse_pieces = st.lists(st.sampled_from(SSE_TOKENS) | st.binary(max_size=9), max_size=40)


@hypothesis.given(sse_pieces, st.lists(st.integers(0, 99), max_size=9), st.integers(0, 60))
@hypothesis.settings(max_examples=400)
def test_any_stream_reads_as_the_model_reads_it_or_under_a_limit_as_far_as_that(bits, cuts, limit):
    stream, got, cuts = b"".join(bits), [], sorted(cuts)
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, None])]
    expected = sse_model(stream)
    assert sse_read([stream]) == expected == sse_read(sse_cut(stream, 1)) == sse_read(pieces)
    try:
        for event in openai_mini.iter_sse(pieces, max_event_bytes=limit):
            got.append((event.event, event.data, event.id, event.retry))
    except APIResponseError:
        assert got == expected[: len(got)]
    else:
        assert got == expected
        assert all(len(event[1].encode()) <= 3 * limit for event in got)  # U+FFFD is 3 bytes for 1


# ------------------------------------------------------------------------------------------------
# Errors
#
# That no key is in any of it stands below, in Safety.

ERRORS_TREE = {  # base: classes, with their status where they have one
    "OpenAIError": "APIError CircuitOpenError QueueFullError QueueTimeoutError ToolLoopError "
                   "ValidationError",
    "APIError": "APIConnectionError APIStatusError APIResponseError StreamInterruptedError",
    "APIConnectionError": "APITimeoutError",
    "APIStatusError": "BadRequestError AuthenticationError PermissionDeniedError NotFoundError "
                      "ConflictError UnprocessableEntityError RateLimitError InternalServerError",
}  # fmt: skip
ERROR_CLASSES = [(name, base) for base, names in ERRORS_TREE.items() for name in names.split()]
ERROR_STATUSES = {status: "APIStatusError" for status in (302, 408, 418)}
ERROR_STATUSES.update({503: "InternalServerError", 529: "InternalServerError"})
STATUSES = (400, 401, 403, 404, 409, 422, 429, 500)
ERROR_STATUSES.update(zip(STATUSES, ERRORS_TREE["APIStatusError"].split()))


def read_stream(client) -> list:
    return list(client.stream_chat("hi"))


@pytest.fixture
def error_of(server, client):
    """Has the server answer one attempt, of chat() if nothing else; returns the error."""

    def raised(answer, call=lambda client: client.chat("hi")):
        server.script(answer)
        with pytest.raises(OpenAIError) as caught:
            call(client.with_options(max_retries=0))
        return caught.value

    return raised


@pytest.mark.parametrize("name, base", [("OpenAIError", None), *ERROR_CLASSES])
def test_an_error_is_where_the_tree_has_it_has_every_attribute_and_pickles(name, base):
    cls = getattr(openai_mini, name)
    assert cls.__bases__[0] is (getattr(openai_mini, base) if base else Exception)
    assert issubclass(cls, ValueError) is (name == "ValidationError")
    error = cls("what happened")
    assert str(error) == error.message == "what happened" and error.is_auth_error is False
    for attribute in "code type param body request_id status_code response partial".split():
        assert getattr(error, attribute) is None
    assert error.is_rate_limit_error is (name == "RateLimitError")
    error.code, error.partial = "c", openai_mini.Result(content="so far")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is cls and str(again) == str(error) == "what happened"
        assert again.__dict__ == error.__dict__ and again.partial.content == "so far"
        assert again.is_transient_error is error.is_transient_error


@pytest.mark.parametrize("status", ERROR_STATUSES)
def test_each_status_has_its_class_and_all_that_the_server_said(error_of, status):
    inner = {"message": "too hot", "type": "t1", "param": "t", "code": "c1", "more": [1]}
    headers = {"x-request-id": "req_7", "retry-after": "2"}
    error = error_of(Answer(status, json={"error": inner}, headers=headers))
    for error in (error, pickle.loads(pickle.dumps(error))):
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
    ('{"object": "error", "message": "vllm", "code": 40}', "vllm", 40),
    ('{"detail": {"message": "deeper", "code": "c"}}', "deeper", "c"),
    ('{"detail": [{"loc": ["body", "n"], "msg": "too many"}]}', "body.n: too many"),
    ('{"error": {"code": "alone"}}', "alone", "alone"), ('{"error": null, "detail": "by"}', "by"),
    ('{"errors": [{"message": "first"}, {"message": "second"}]}', "first; second"),
    ('{"detail": ["1a", "2a", "3a", "4a", "5a", "6a"]}', "1a; 2a; 3a; 4a; 5a, after"),
    ('[{"error": {"message": "of google", "status": "X"}}, 7]', "of google"),
    ('{"error": {"message": null, "detail": "aside"}}', "aside"),
    ('{"error": true, "message": "beside"}', "beside"),
    ('{"error": {}, "message": "beside"}', "beside"), ('"a string"', "a string", None, "a string"),
    ('{"fault": {"faultstring": "apigee"}}', "apigee"), ('{"error": [{"message": "of"}]}', ": of"),
    ('{"error": {"message": {"text": "inner"}}}', "inner"), ("17", "17"), ("null", ""), ("[]", ""),
    ("", ""), ("plain words", "plain words", None, "plain words"), ("w" * 600, "w" * 497),
    ("<html><title lang=x>502 Sad &amp;</title><p>x</html>", "HTML page: 502 Sad &amp;, after"),
    ("<!DOCTYPE html>\n<p>no <b>title</b> here", "no title here"),
    ('{"error": {"message": "cut', '"cut'), ('\ufeff{"error": {"message": "mark"}}', "mark"),
    ("a\x1b[31mb\x07c\u202ed\r\ne\x9bf", "a?[31mb?c?d e?f"),  # as a terminal may show it
    ('{"error": {"message": "a\\u001b[31mb\\u0007"}}', "a?[31mb?"),
    ("<title>a\x1b[31mb\x07c</title>", "a?[31mb?c"), ("w" * 500, "w" * 500 + ","),
]  # fmt: skip


@pytest.mark.parametrize("shape", ERROR_SHAPES, ids=lambda shape: ascii(shape[0])[:40])
def test_each_shape_of_error_body_is_read(error_of, shape):
    body, said, *more = shape
    error = error_of(Answer(400, body=body.encode()))
    assert type(error) is BadRequestError and error.code == (more or [None])[0]
    assert said in error.message and error.message.startswith("POST /chat/completions: 400 ")
    assert error.body == (more[1] if more[1:] else error.body)
    assert len(error.message) < 1000 and error.message.isprintable()


ABSURD_BODIES = {
    "words": json.dumps({"error": {"message": "w " * (1 << 20)}}), "deep": "[" * (10 << 20),
    "other": json.dumps({"error": {"code": "c", "data": ["w"] * (1 << 16)}}),
    "objects": '{"error":' * 100000,
    "nested": '{"error":{"a":' + "[" * 3000 + "]" * 3000 + "}}",
    "digits": '{"error": {"message": ' + "9" * 10000 + "}}", "bytes": b"\xff\xfe\0" * (1 << 16),
    "lone": '{"error": {"message": "\\ud800 alone"}}',
}  # fmt: skip


@pytest.mark.parametrize("body", ABSURD_BODIES)
def test_an_absurd_error_body_makes_a_short_message(error_of, body):
    error = error_of(Answer(500, body=ABSURD_BODIES[body]))
    assert type(error) is InternalServerError and error.status_code == 500
    assert 20 < len(error.message) < 1000 and error.message.encode()
    pickle.loads(pickle.dumps(error))


ERROR_CODES = {  # what an error under status 200 says: its status, and whether to try again
    "context_length_exceeded": (400, False), "invalid_api_key": (401, False), 404: (404, False),
    "permission_error": (403, False), "model_not_found": (404, False),
    "requests": (429, True), "tokens": (429, True), "rate_limit_exceeded": (429, True),
    "insufficient_quota": (429, False),
    "overloaded_error": (529, True), "503": (503, True), "server_error": (500, True),
    "nobody_knows": (500, False), "200": (500, False),
}  # fmt: skip


@pytest.mark.parametrize("code", ERROR_CODES)
@pytest.mark.parametrize("where", ["json", "first", "later", "event", "type"])
def test_an_error_under_status_200_is_the_one_that_its_code_says(error_of, code, where):
    status, is_transient = ERROR_CODES[code]
    inner = {"message": "so it is", "code": code}
    answer = {
        "json": {"json": {"error": inner}}, "first": {"sse": [{"error": inner}]},
        "later": {"sse": [chunk({"content": "he"}), {"error": inner}]},
        "event": {"sse": [chunk({"content": "he"}), ("error", inner)]},
        "type": {"sse": [dict(inner, type="error")]},
    }[where]  # fmt: skip
    error = error_of(Answer(**answer), *[read_stream] * (where != "json"))
    assert type(error) is getattr(openai_mini, ERROR_STATUSES[status])
    assert (error.status_code, error.code) == (status, code) and "so it is" in error.message
    assert error.body["message"] == "so it is" and error.is_transient_error is is_transient
    assert where not in ("later", "event") or error.partial.content == "he"


@pytest.mark.parametrize("data", ['{"error": "text"}', "text", '{"error": {"message": "text"}}'])
def test_an_error_event_may_say_it_in_any_shape(error_of, data):
    error = error_of(Answer(sse=[chunk({"content": "he"}), ("error", data)]), read_stream)
    assert isinstance(error, InternalServerError) and "text" in error.message


RETRY_AFTER = [  # (retry-after, seconds; None for none[, retry-after-ms])
    (" 1.5 ", 1.5), ("00012", 12), ("99999999999999999999", 1e20), ("-5", None), ("+5", None),
    ("1_0", None), ("1e3", None), ("inf", None), ("nan", None), ("", None), ("5, 6", 5),
    ("soon", None), ("\xb2", None), ("9" * 5000, pytest.approx(1e64)), (None, None),
    ("Mon, 99 Foo 2026 99:99:99 GMT", None), ("Mon, 01 Jan 99999 00:00:00 GMT", None),
    ("Sunday, 06-Nov-94 08:49:37 GMT", 0), ("9", 0.2505, "250.5"), ("9", 9, "soon"),
]  # fmt: skip


@pytest.mark.parametrize("case", RETRY_AFTER, ids=lambda case: ascii(case)[:40])
def test_retry_after_is_read_in_all_its_forms(error_of, case):
    value, seconds, *ms = case
    headers = {} if value is None else {"retry-after": value}
    headers.update({"retry-after-ms": ms[0]} if ms else {})
    assert error_of(Answer(429, json={"error": "x"}, headers=headers)).retry_after == seconds


@pytest.mark.parametrize(
    "form", ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"]
)
def test_retry_after_as_a_date_is_the_seconds_until_then_in_gmt(error_of, monkeypatch, form):
    monkeypatch.setenv("TZ", "XYZ5")  # where nobody is on Greenwich time
    time.tzset()
    try:
        header = {"retry-after": time.strftime(form, time.gmtime(time.time() + 100))}
        assert 0 < error_of(Answer(503, json={"error": "x"}, headers=header)).retry_after <= 100
    finally:
        monkeypatch.undo()
        time.tzset()


MESSAGES = [  # (status, body, what the message has of what to do next)
    (401, {"error": {"message": "no"}}, "API key"), (403, {}, "project="), (404, {}, "base_url="),
    (404, {"error": {"message": "x", "code": "model_not_found"}}, "list_models()"),
    (400, {"error": "The model `y` does not exist"}, "list_models()"), (302, {}, "base_url="),
    (429, {}, "rate limit"),
    (429, {"error": {"type": "insufficient_quota"}}, "billing"),
    (500, {"error": "The model `y` does not exist"}, "does not exist"),
]  # fmt: skip


@pytest.mark.parametrize("status, body, words", MESSAGES)
def test_a_message_says_what_to_do_next(error_of, status, body, words):
    headers = {"location": "https://elsewhere.invalid/", "retry-after": "2.5"}
    error = error_of(Answer(status, json=body, headers=headers if words != "rate limit" else ()))
    assert words in error.message and (words == "list_models()") is ("list_models" in error.message)
    assert error.is_transient_error is (status in (429, 500) and words != "billing")


def test_a_message_counts_the_attempts(server, client):
    server.script(*[Answer(500, json={"error": "x"})] * 3)
    with pytest.raises(InternalServerError, match="after 3 attempts"):
        client.chat("hi", max_retries=2)
    server.close()
    with pytest.raises(APIConnectionError, match=r"^GET /models: .*after 1 attempt\b"):
        client.with_options(max_retries=0).list_models()


def test_an_error_out_of_a_stream_pickles_with_its_partial_message(error_of):
    headers = {"x-request-id": "req_7"}
    answer = Answer(sse=chunks("he", finish=None), done=False, headers=headers)
    error = pickle.loads(pickle.dumps(error_of(answer, read_stream)))
    assert isinstance(error, StreamInterruptedError) and error.partial.content == "he"
    assert error.request_id == error.response.request_id == "req_7"


# ------------------------------------------------------------------------------------------------
# Circuit breaker


def breaker_of(clock=None, **options):
    return openai_mini.CircuitBreaker(clock=clock or FakeClock(), **options)


def play(steps: str, breaker, clock=None) -> None:
    """Play steps with commas between them: `fail 4` (calls), `ok 2`, `give back`, `allow`,
    `refuse`, `success`, `failure`, `release`, `wait 29.9`, `reset`; a state's name is a check."""
    for step in filter(None, steps.split(", ")):
        name, _, value = step.partition(" ")
        if name in ("fail", "ok", "give"):
            for _ in range(int(value) if value.isdigit() else 1):
                assert breaker.allow(), step
                {"fail": breaker.failure, "ok": breaker.success, "give": breaker.release}[name]()
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
    ("fail 4, closed, fail, open, refuse", {}), ("ok 5, fail 4, closed, fail, open", {}),
    ("ok 6, fail 5, closed, wait 66, ok, closed", {}),  # the rule is asked at failures only
    ("ok 27, fail 3, open", {"failure_rate": 0.1, "failure_threshold": 3}),  # 0.1 * 30 > 3
    ("ok 1000, fail 4, closed, fail, open", {"failure_rate": 0}),
    ("ok, fail 100, closed, wait 66, fail 4, closed, fail, open", {"failure_rate": 1}),
    ("fail 4, give 100, closed, fail, open", {}), ("fail 4, wait 60, fail, open", {}),
    ("fail 4, wait 66, fail, closed, fail 3, closed, fail, open", {}),
    ("fail 4, wait 11, fail, closed", {"window": 10}),  # a tenth too long at most
    ("fail 5, open, wait 29.9, open, refuse, wait 0.1, half_open", {}),
    ("fail 5, wait 30, allow, half_open", {}), ("fail 5, half_open", {"reset_timeout": 0}),
    (HALF_OPEN + "allow, refuse, refuse, success, half_open, allow, refuse", {}),
    (HALF_OPEN + "fail, open, refuse, wait 29.9, open, wait 0.1, half_open", {}),
    (HALF_OPEN + "ok, fail, open, wait 30, half_open, ok, half_open, ok, closed", {}),
    (HALF_OPEN + "allow, refuse, release, half_open, allow, refuse", {}),
    (HALF_OPEN + "ok, give, half_open, ok, closed", {}),
    # What was begun before the circuit opened, or closed, counts for nothing.
    ("allow, fail 5, wait 30, half_open, success, half_open, ok, half_open", {}),
    ("allow, fail 5, wait 30, half_open, failure, half_open, ok 2, closed", {}),
    ("allow, " + HALF_OPEN + "ok 2, fail 4, failure, closed, fail, open", {}),
    ("allow, " + HALF_OPEN + "release, allow, refuse", {}),
    ("fail 5, open, reset, closed, fail 4, closed, fail, open", {}),
    (HALF_OPEN + "allow, reset, closed, allow, allow, fail 4, closed, fail, open", {}),
    ("failure, failure, failure, failure, closed, failure, open", {}),  # without allow()
]  # fmt: skip


@pytest.mark.parametrize("steps, options", BREAKER_CASES, ids=str)
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
    with pytest.raises(CircuitOpenError, match=r"\b20 s") as caught:
        breaker.call(ran.append, 1)
    assert breaker.retry_after == caught.value.retry_after == pytest.approx(20)
    with pytest.raises(CircuitOpenError), breaker:
        ran.append(2)
    clock.advance(25)
    assert not ran and breaker.retry_after == 0.0 and breaker.state == "half_open"


def test_a_breakers_memory_is_constant_over_any_number_of_outcomes():
    clock = FakeClock()
    breaker = breaker_of(clock, failure_rate=0.9)
    tracemalloc.start()
    try:
        for i in range(3000):
            (breaker.failure if i % 2 else breaker.success)()
            breaker.allow()  # and never told what it came to
            clock.advance(0.37)
            if i == 1000:
                before = tracemalloc.get_traced_memory()[0]
        assert tracemalloc.get_traced_memory()[0] - before < 10000
    finally:
        tracemalloc.stop()


BAD_SETTINGS = {
    "failure_threshold": (0, "5", True, 2.5), "failure_rate": (1.5, -1), "reset_timeout": (-1,),
    "window": (0, float("nan")), "success_threshold": (0, 1.5), "max_concurrent": (0, 2.5),
    "size": (-1, "5", 2.5), "per_minute": (0, 2.5),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_a_breaker_or_queue_that_cannot_work_is_refused(name):
    is_queue = name in ("max_concurrent", "size", "per_minute")
    for value in BAD_SETTINGS[name]:
        with pytest.raises(ValidationError, match=r"\b%s\b.*%s" % (name, re.escape(repr(value)))):
            (openai_mini.RequestQueue if is_queue else openai_mini.CircuitBreaker)(**{name: value})


BREAKER_OUTCOMES = [  # (what the work raises, the state that this turns a half-open breaker to)
    (OSError("x"), "open"), (APIResponseError("x"), "open"), (None, "closed"),
    (InternalServerError("x", status_code=500), "open"), (ValidationError("x"), "half_open"),
    (APIStatusError("x", status_code=499), "closed"), (KeyboardInterrupt(), "half_open"),
]  # fmt: skip


def raising(error):
    if error is not None:
        raise error


def breaker_half_open(success_threshold=1, **options):
    clock = FakeClock()
    breaker = breaker_of(clock, success_threshold=success_threshold, **options)
    play(HALF_OPEN, breaker, clock)
    return breaker


@pytest.mark.parametrize("way", ["call", "with"])
@pytest.mark.parametrize("error, state", BREAKER_OUTCOMES, ids=lambda value: type(value).__name__)
def test_what_the_guarded_work_raises_counts_by_the_rule(error, state, way):
    breaker = breaker_half_open()
    with pytest.raises(type(error)) if error else contextlib.nullcontext():
        if way == "call":
            breaker.call(raising, error)
        else:
            with breaker:
                raising(error)
    assert breaker.state == state and breaker.allow() is (state != "open")  # the place is free


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
    working, inside, go_on = (threading.Event() for _ in range(3))
    breaker = openai_mini.CircuitBreaker(1, on_change=lambda *_: inside.set() or go_on.wait(10))

    def work(i):
        if i == 0:
            return breaker.call(lambda: working.set() or go_on.wait(10))
        if i == 1:
            return working.wait(10) and breaker.failure()
        assert inside.wait(10) and breaker.state == "open" and not breaker.allow()  # and at once
        breaker.success()
        return go_on.set()

    assert together(3, work) == [True, None, None]


def test_outcomes_add_up_though_threads_and_finalizers_report_in_the_midst_of_a_report():
    """The garbage collector may end an abandoned stream in a thread that is counting an outcome."""

    class Abandoned:
        def __del__(self):
            breaker.release()
            breaker.failure()

    class Clock(FakeClock):
        def __call__(self):
            if left:
                left.pop()
                Abandoned()
            return self.now

    left = list(range(500))
    breaker = breaker_of(Clock(), failure_threshold=901)
    together(4, lambda i: [breaker.failure() for _ in range(100)])
    play("closed, failure, open", breaker)
    assert not left and breaker.opened == 1


def test_threads_at_a_half_open_breaker_are_told_changes_in_their_order():
    clock, told = FakeClock(), [("", "closed")]
    breaker = breaker_of(clock, failure_threshold=1, reset_timeout=0.001, success_threshold=1,
                         on_change=lambda *change: told.append(change))  # fmt: skip

    def work(i):
        for n in range(100):
            if breaker.allow():
                (breaker.failure if (n + i) % 2 else breaker.success)()
            clock.advance(0.001)

    assert together(8, work) == [None] * 8
    assert len(told) > 3 and all(old == new for (_, new), (old, _) in zip(told, told[1:]))


def test_a_breaker_and_a_queue_pickle_as_they_are_set_up():
    breaker = openai_mini.CircuitBreaker(2, 0.25, 10.0, 5.0, 3)
    play("fail 2, open", breaker)
    again = pickle.loads(pickle.dumps(breaker))
    names = "failure_threshold failure_rate window reset_timeout success_threshold".split()
    assert [getattr(again, name) for name in names] == [2, 0.25, 10.0, 5.0, 3]
    play("closed, fail 2, open", again)
    queue = openai_mini.RequestQueue(3, 7, 60)
    with queue.slot():
        queue = pickle.loads(pickle.dumps(queue))
    assert (queue.max_concurrent, queue.size, queue.per_minute, queue.running) == (3, 7, 60, 0)
    assert queue.submit(len, "abc").result(10) == 3


def in_child(work) -> bool:
    """Whether `work()` is true in a child that is forked here, and ends there."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = not work()
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def test_after_a_fork_the_probe_is_the_parents_and_both_sides_work():
    breaker = breaker_half_open(2)
    play("allow, refuse", breaker)
    assert in_child(lambda: breaker.state == "half_open" and breaker.allow())
    play("refuse, success, allow", breaker)


# In the client


def guarded(server, breaker=None, **options):
    """A client whose calls are one attempt each, if nothing else is said."""
    return client_for(server, **{"max_retries": 0, "circuit_breaker": breaker, **options})


def ctrl_c_while(wait, when) -> None:
    """Call `wait()`; a Ctrl-C comes as soon as `when()` returns, and ends it."""
    main = threading.get_ident()
    press = lambda: (when(), signal.pthread_kill(main, signal.SIGINT))  # noqa: E731
    thread = threading.Thread(target=press, name="loopback-ctrl-c", daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        wait()
    thread.join(10)


def test_of_50_threads_at_a_half_open_breaker_exactly_one_reaches_the_server(server):
    answer_now, refused = threading.Event(), []
    server.script(Answer(json=CHAT, wait=answer_now))

    def ask(i):
        try:
            return client.chat("hi").content
        except CircuitOpenError:
            refused.append(i)
            if len(refused) == 49:
                answer_now.set()

    with guarded(server, breaker_half_open(2)) as client:
        assert together(50, ask).count("hello") == 1 == len(server.requests)
        assert len(refused) == 49 and client.chat("hi").content == "hello"
        assert client.stats()["circuit"]["state"] == "closed"


def test_an_open_circuit_keeps_all_its_clients_off_the_network(server):
    breaker = breaker_of()
    play("fail 4", breaker)
    server.script(Answer(500))
    with guarded(server, breaker) as client, guarded(server, breaker) as other:
        client_error(lambda: client.chat("hi"), InternalServerError)
        for refused in (client, other):
            with pytest.raises(CircuitOpenError, match="POST /chat/completions") as caught:
                refused.chat("hi")
            assert caught.value.retry_after == pytest.approx(30) and len(server.requests) == 1
            assert refused.stats()["circuit"] == {"state": "open", "opened": 1}
    with guarded(server, False) as without:
        assert without.chat("hi").content == "hello"
        assert without.stats()["circuit"]["state"] is None


BREAKER_ANSWERS = {  # what one attempt gets, and the state that this turns a half-open breaker to
    "good": (Answer(json=CHAT), "closed"), "404": (Answer(404), "closed"),
    "429": (Answer(429), "closed"), "500": (Answer(500), "open"), "refused": (None, "open"),
    "html": (Answer(body="<html>", content_type="text/html"), "open"),
    "cut": (Answer(json=CHAT, cut=5), "open"), "silent": (Answer(wait=threading.Event()), "open"),
}  # fmt: skip


@pytest.mark.parametrize("case", BREAKER_ANSWERS)
def test_an_answer_counts_as_what_it_says_of_the_service(server, case):
    answer, state = BREAKER_ANSWERS[case]
    breaker = breaker_half_open()
    server.script(answer)
    if answer is None:
        server.close()
    with guarded(server, breaker, timeout=(5, 0.05 if case == "silent" else 10)) as client:
        with contextlib.suppress(APIError):
            client.chat("hi")
    assert breaker.state == state


def no_key_today():
    raise LookupError("no key today")


@pytest.mark.parametrize("error, options", [
    (ValidationError, {}), (LookupError, {"api_key": no_key_today}),
    (QueueFullError, {"use_request_queue": openai_mini.RequestQueue(1, 0)}),
], ids=["validation", "key", "queue"])  # fmt: skip
def test_what_goes_wrong_before_anything_is_sent_takes_no_probe(server, error, options):
    breaker, queue = breaker_half_open(), options.get("use_request_queue")
    with guarded(server, breaker) as client, queue.slot() if queue else contextlib.nullcontext():
        with pytest.raises(error):
            client.with_options(**options).chat([] if error is ValidationError else "hi")
    assert breaker.state == "half_open" and breaker.allow() and not server.requests


def test_a_probe_that_ctrl_c_interrupts_gives_its_place_back(server):
    breaker = breaker_half_open(2)
    server.script(Answer(wait=threading.Event()))
    with guarded(server, breaker) as client:
        ctrl_c_while(lambda: client.chat("hi"), server.wait_requests)
        assert breaker.state == "half_open" and client.chat("hi").content == "hello"


def test_a_stream_is_a_success_at_its_first_event_and_a_failure_if_it_breaks_off(server):
    breaker = breaker_half_open(failure_rate=0)
    with guarded(server, breaker) as client:
        server.script(Answer(sse=chunks("a", "b"), wait=threading.Event(), hold_after=1))
        stream = client.stream_chat("hi")
        assert next(stream).content == "a" and breaker.state == "closed"
        del stream  # which is neither
        assert breaker.state == "closed" and client.stats()["queue"]["running"] == 0
        play("fail 4", breaker)
        server.script(Answer(sse=chunks("a", "b", finish=None), done=False))
        client_error(lambda: list(client.stream_chat("hi")), StreamInterruptedError)
    assert breaker.state == "open"


# ------------------------------------------------------------------------------------------------
# Request queue

HIGH, NORMAL, LOW = openai_mini.HIGH, openai_mini.NORMAL, openai_mini.LOW


def queue_of(*args, clock=None, **options):
    queue = openai_mini.RequestQueue(*args, **options)
    queue._clock = clock or queue._clock
    return queue


def queue_is_empty(queue) -> bool:
    return eventually(lambda: (queue.running, queue.waiting) == (0, 0), 10, "an empty queue")


def queue_waits(queue, number: int) -> bool:
    return eventually(lambda: queue.waiting == number, 10, "%d waiting" % number)


def queue_refuses(queue, timeout=0, priority=99):
    """The error of one who comes behind all others. The queue looks at its clock meanwhile, as it
    does each second for those who wait."""
    return client_error(queue.slot(priority, timeout).acquire, QueueTimeoutError)


class QueueCaller(threading.Thread):
    """A thread that takes a slot, notes it in `order`, and keeps it until told."""

    def __init__(self, queue, name="", order=None, priority=NORMAL, timeout=None, keep=None):
        super().__init__(name=name, daemon=True)
        self.queue, self.order, self.keep = queue, order if order is not None else [], keep
        self.options, self.error = (priority, timeout), None
        self.start()

    def run(self):
        try:
            with self.queue.slot(*self.options):
                self.order.append(self.name)
                assert not self.keep or self.keep.wait(10)
        except Exception as error:
            self.error = error

    def ends_well(self) -> bool:
        self.join(10)
        return not self.is_alive() and self.error is None


def test_slots_go_by_priority_then_by_arrival():
    queue, order, callers = queue_of(1), [], []
    with queue.slot():
        for n, priority in enumerate([LOW, NORMAL, HIGH] * 2):
            callers.append(QueueCaller(queue, "%d-%d" % (priority, n), order, priority))
            queue_waits(queue, n + 1)
        assert not order
    assert all(caller.ends_well() for caller in callers)
    assert order == sorted(order) and queue_is_empty(queue)


def test_callers_and_jobs_stand_in_the_same_order():
    for _ in range(20):
        queue, order = queue_of(1), []
        with queue.slot():
            jobs = [queue.submit(order.append, "low job", priority=LOW)]
            caller = QueueCaller(queue, "caller", order)
            queue_waits(queue, 2)
            jobs.append(queue.submit(order.append, "normal job"))
            jobs += [queue.submit(order.append, "high job", priority=HIGH) for _ in range(3)]
            assert queue.waiting == 6 and not order
        assert [job.result(10) for job in jobs] == [None] * 5 and caller.ends_well()
        assert order == 3 * ["high job"] + ["caller", "normal job", "low job"]


@pytest.mark.parametrize("size", [0, 2])
def test_one_caller_too_many_is_refused_at_once_and_a_job_never(size):
    queue, keep = queue_of(1, size), threading.Event()
    callers = [QueueCaller(queue, keep=keep)]
    eventually(lambda: queue.running == 1)
    callers += [QueueCaller(queue) for _ in range(size)]
    queue_waits(queue, size)
    with pytest.raises(QueueFullError, match=r"\b%d\b.*queue_size=" % size):
        queue.slot(HIGH).acquire()
    assert queue.waiting == size
    jobs = [queue.submit(str, n) for n in range(20)]
    keep.set()
    assert all(caller.ends_well() for caller in callers)
    assert [job.result(10) for job in jobs] == [str(n) for n in range(20)]
    assert queue_is_empty(queue)


@pytest.mark.parametrize("timeout", [0, 0.02])
def test_a_wait_over_its_timeout_is_an_error_and_leaves_the_line(timeout):
    queue = queue_of(1)
    with queue.slot():
        error = queue_refuses(queue, timeout)
        assert "%s s" % timeout in str(error) and error.retry_after is None
        assert (queue.running, queue.waiting) == (1, 0)
    with queue.slot(timeout=0):  # there is no wait where one is free
        assert queue.running == 1
    assert queue_is_empty(queue)


def test_no_more_than_per_minute_start_in_any_minute_and_jobs_wait_without_end():
    clock, order = FakeClock(), []
    queue = queue_of(10, 3, per_minute=2, clock=clock)
    for _ in range(2):
        with queue.slot():
            clock.advance(10)
    error = queue_refuses(queue)
    assert "40 s" in str(error) and error.retry_after == pytest.approx(40)
    callers = [QueueCaller(queue, str(n), order) for n in range(2)]
    jobs = [queue.submit(order.append, "job", priority=LOW) for n in range(2)]
    queue_waits(queue, 4)
    for wait_s, started in [(39.9, 0), (0.2, 1), (9.8, 1), (0.2, 2), (49, 2), (11, 4)]:
        clock.advance(wait_s)
        queue_refuses(queue)
        eventually(lambda expected=started: len(order) == expected)
        assert queue.waiting == 4 - started
    assert all(caller.ends_well() for caller in callers) and [job.result(10) for job in jobs]
    assert order[2:] == ["job"] * 2 and queue_is_empty(queue)


def test_nothing_starts_during_a_pause_and_all_does_after_it_in_order():
    clock, order, keep = FakeClock(), [], threading.Event()
    queue = queue_of(1, clock=clock)
    queue.pause(100)
    queue.pause(10)  # a shorter one does not end it
    caller = QueueCaller(queue, "1st", order, keep=keep)
    queue_waits(queue, 1)
    jobs = [queue.submit(order.append, "job") for n in range(3)]
    for passed_s in (0, 99):
        clock.advance(passed_s)
        assert queue_refuses(queue, 0, HIGH).retry_after == pytest.approx(100 - passed_s)
        assert not order and queue.waiting == 4
    clock.advance(1)  # it is over, and nobody has been woken yet
    assert queue_refuses(queue, 0, NORMAL).retry_after is None
    keep.set()
    assert caller.ends_well() and not any(job.result(10) for job in jobs)
    assert order == ["1st"] + ["job"] * 3 and queue_is_empty(queue)


def test_the_next_in_line_watches_the_pause_when_the_first_gives_up():
    queue, order = queue_of(1), []
    queue.pause(0.5)
    first, second = QueueCaller(queue, "", [], HIGH, 0.05), QueueCaller(queue, "2nd", order)
    assert second.ends_well() and order == ["2nd"] and not first.ends_well()
    assert isinstance(first.error, QueueTimeoutError)


@pytest.mark.parametrize("paused_s", [0, 0.01])
def test_a_slot_is_given_back_once_also_by_dropping_it(paused_s):
    queue, order = queue_of(2), []
    queue.pause(paused_s)
    slot, other = queue.slot().acquire(), queue.slot().acquire()
    caller = QueueCaller(queue, "next", order)
    queue_waits(queue, 1)
    del other
    assert caller.ends_well() and order == ["next"]
    with queue.slot():
        slot.release()
        slot.release()
        assert queue.running == 1
        with slot:  # it may be taken again
            assert slot.acquire() is slot and queue.running == 2
    queue.slot().release()  # never taken
    assert queue_is_empty(queue)


def test_a_finalizer_may_give_a_slot_back_while_the_queue_is_at_work():
    """The garbage collector may end an abandoned stream in a thread that is taking a slot."""

    class Clock(FakeClock):
        def __call__(self):
            if abandoned:
                abandoned.pop()  # a finalizer runs here, in the midst of the queue's own work
            return self.now

    abandoned: list = []
    queue = queue_of(8, 1000, clock=Clock())
    abandoned += [queue.slot().acquire() for _ in range(7)]

    def work(i):
        for _ in range(50):
            with queue.slot():
                abandoned.append(queue.slot().acquire())

    assert together(4, work) == [None] * 4
    abandoned.clear()
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
    queue, keep = queue_of(2), threading.Event()
    mine = queue.slot().acquire()
    other = QueueCaller(queue, keep=keep)
    eventually(lambda: queue.running == 2)

    def child():
        mine.release()  # was the parent's: nothing happens here
        with queue.slot(timeout=5), queue.slot(timeout=5):
            return queue.running == 2 and list(queue.map(len, [])) == []

    assert in_child(child) and in_child(lambda: list(queue.map(len, ["a", "bb"])) == [1, 2])
    assert queue.running == 2
    keep.set()
    mine.release()
    assert other.ends_well() and queue_is_empty(queue) and queue.submit(len, "abc").result(10) == 3


# Jobs


def test_jobs_run_in_daemon_threads_that_end_when_idle():
    queue, seen = queue_of(4), set()
    job = lambda n: seen.add(threading.current_thread()) or n  # noqa: E731
    for count in (100, 1):  # and begin again
        with nothing_left_over():
            assert [queue.submit(job, n).result(10) for n in range(count)] == list(range(count))
            assert queue_is_empty(queue)
    assert all(thread.daemon for thread in seen) and threading.current_thread() not in seen


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_what_a_job_raises_comes_out_of_its_future(error):
    queue = queue_of(1)
    assert queue.submit(raising, error).exception(10) is error
    assert queue.submit(len, "abc").result(10) == 3 and queue_is_empty(queue)


def test_a_job_that_is_cancelled_before_it_began_never_runs():
    queue, ran = queue_of(1), []
    with nothing_left_over(), queue.slot():
        futures = [queue.submit(ran.append, n) for n in range(1000)]
        assert futures[1].cancel() and queue.waiting == 999
        assert all(future.cancel() for future in futures) and queue.waiting == 0
    assert not ran and queue_is_empty(queue)


def test_nothing_of_a_job_lives_on_in_the_queue():
    queue, thing = queue_of(1), FakeClock()
    gone = weakref.ref(thing)
    gc.disable()  # for it takes no garbage collector
    try:
        future = queue.submit(lambda thing: thing, thing)
        assert future.result(10) is thing and queue_is_empty(queue)
        del thing, future
        eventually(lambda: gone() is None)
    finally:
        gc.enable()


def test_where_the_system_has_no_thread_left_a_job_is_refused(monkeypatch):
    queue = queue_of(1)
    with monkeypatch.context() as patch, pytest.raises(QueueFullError, match="no thread"):
        patch.setattr(threading.Thread, "start", lambda self: raising(RuntimeError("no thread")))
        queue.submit(len, "abc").result(10)
    assert queue.submit(len, "abc").result(10) == 3 and queue_is_empty(queue)


@pytest.mark.parametrize("size", [0, 1, 5])
def test_map_reads_no_further_ahead_than_the_size_of_the_queue_and_keeps_nothing(size):
    queue, read = queue_of(2, size), []
    living: weakref.WeakSet = weakref.WeakSet()

    def inputs():
        for n in itertools.count():
            read.append(FakeClock(n))
            living.add(read[-1])
            read[:] = [None] * len(read)
            yield FakeClock(n)

    results = queue.map(lambda clock, more: clock.now + more, inputs(), more=1)
    for n in range(300):
        assert next(results) == n + 1 and len(read) <= n + 1 + max(size, 1) and len(living) <= 20
    results.close()
    assert list(results) == [] and queue_is_empty(queue)
    client_error(lambda: queue.map(len, 3), ValidationError)


def test_map_reads_ahead_while_a_result_is_not_there():
    queue, read, go_on = queue_of(2, 5), [], threading.Event()
    results = queue.map(lambda n: go_on.wait(10) and n, (read.append(n) or n for n in range(9)))
    reader = threading.Thread(target=lambda: read.extend(results))
    reader.start()
    eventually(lambda: read == [0, 1, 2, 3, 4])
    go_on.set()
    reader.join(10)
    assert sorted(read) == sorted(2 * list(range(9)))


def test_map_closes_down_when_its_consumer_stops():
    queue, ran, go_on = queue_of(2, 50), [], threading.Event()
    with nothing_left_over():
        for _ in queue.map(lambda n: ran.append(n) or n == 0 or go_on.wait(10), itertools.count()):
            break
        assert queue.waiting == 0
        go_on.set()
    assert len(ran) <= 5 and queue_is_empty(queue)


def test_map_raises_what_a_call_or_the_inputs_raise_in_its_place_and_goes_on():
    def inputs():
        yield from (1, 0, 2)
        raise LookupError("no more")

    results, seen = queue_of(2).map(lambda n: 6 // n, inputs()), []
    while len(seen) < 5:
        try:
            seen.append(next(results))
        except (LookupError, ZeroDivisionError, StopIteration) as error:
            seen.append(type(error))
    assert seen.pop() is StopIteration  # the inputs are read ahead, results are in their order
    assert [item for item in seen if item is not LookupError] == [6, ZeroDivisionError, 3]
    assert LookupError in seen


def test_ctrl_c_while_waiting_for_a_result_loses_none():
    queue, go_on = queue_of(1), threading.Event()
    results = queue.map(lambda n: go_on.wait(10) and n, [0, 1, 2])
    ctrl_c_while(lambda: next(results), lambda: eventually(lambda: queue.running == 1))
    go_on.set()
    assert list(results) == [0, 1, 2]


# In the client


def test_the_server_never_sees_more_at_once_than_max_concurrent(server):
    def answer(request):
        if request.json.get("stream"):
            return Answer(sse=chunks("a", "b"), pause=0.001)
        return Answer(json=CHAT, drip=200, pause=0.001)

    def work(i):
        for n in range(4):
            if (i + n) % 3 == 0:
                assert stream_text(client.stream_chat("x")) == "ab"
            elif (i + n) % 3 == 1:
                assert client.chat("x").content == "hello"
            else:
                assert client.submit("chat", "x").result(20).content == "hello"

    server.default = answer
    with guarded(server, max_concurrent_requests=3) as client:
        assert together(12, work) == [None] * 12
        assert server.max_in_flight == 3 and len(server.requests) == 48
        assert client.stats()["queue"] == {"running": 0, "waiting": 0}


@pytest.mark.parametrize("way", ["drop", "read"])
def test_a_stream_out_of_a_job_keeps_its_slot_to_its_end(server, way):
    go_on = stream_held(server, "a", "b")
    with guarded(server, max_concurrent_requests=1) as client:
        stream = client.submit("stream_chat", "x").result(10)
        assert client.stats()["queue"]["running"] == 1
        client_error(lambda: client.chat("x", timeout=(5, 0.02)), QueueTimeoutError)
        gc.disable()  # for it takes no garbage collector
        try:
            if way == "read":
                go_on.set()
                assert stream_text(stream) == "ab"
            del stream
            assert client.stats()["queue"]["running"] == 0
        finally:
            gc.enable()
        assert client.chat("x").content == "hello"


def test_a_call_has_no_slot_while_it_waits_to_retry_and_finds_one_then(server):
    """Also as a job: else streams that nobody reads as yet would keep all slots for ever."""
    states, streams = [], []

    def sleep(seconds):
        states.append(client.stats()["queue"])
        together(1, lambda i: streams.append(client.submit("stream_chat", "y")))

    with guarded(server, max_retries=3, max_concurrent_requests=1) as client:
        client._sleep = sleep
        server.script(Answer(500))
        assert client.submit("chat", "x").result(10).content == "hello"
        assert len(list(streams[0].result(10))) == 3
        server.script(Answer(500))
        client._sleep = lambda seconds: states.append(client.stats()["queue"])
        assert client.chat("x").content == "hello"
    assert states == [{"running": 0, "waiting": 0}] * 2


@pytest.mark.parametrize("asked_s", [0.3, 3600])
def test_a_429_pauses_all_callers_as_long_as_the_server_asks_or_max_retry_delay(server, asked_s):
    arrived = []
    server.script(Answer(429, headers={"retry-after-ms": "%d" % (1000 * asked_s)}))
    server.default = lambda request: arrived.append(time.monotonic()) or Answer(json=CHAT)
    with guarded(server, max_retries=2, max_concurrent_requests=1, max_retry_delay=0.3) as client:
        began_at = time.monotonic()
        results = together(8, lambda i: client.chat("x", priority=i % 3))
    failed = [result for result in results if isinstance(result, Exception)]
    assert [error.retry_after for error in failed] == ([3600] if asked_s == 3600 else [])
    assert min(arrived) - began_at >= 0.3 and len(arrived) == 8 - len(failed)


def test_a_call_waits_for_its_slot_no_longer_than_its_timeout_and_its_deadline(server):
    queue = queue_of(1, 1)  # of two clients
    with guarded(server, use_request_queue=queue) as client:
        with guarded(server, use_request_queue=queue) as other, other.stream_chat("x"):
            for limits in ({"timeout": (5, 0.02)}, {"deadline": 0.02}):
                with pytest.raises(QueueTimeoutError, match="POST /chat/completions"):
                    client.chat("x", **limits)
            caller = QueueCaller(queue)
            queue_waits(queue, 1)
            with pytest.raises(QueueFullError, match="POST /chat/completions.*queue_size"):
                client.chat("x")
            waiting = [client.submit("chat", str(n), timeout=(5, 5)) for n in range(5)]
        assert [future.result(10).content for future in waiting] == ["hello"] * 5
        assert caller.ends_well() and len(server.requests) == 6


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
        assert server.max_in_flight == 1 and client.stats()["queue"]["running"] == 0


def chat_of_the_last_text(request, **how) -> Answer:
    message = {"role": "assistant", "content": request.json["messages"][-1]["content"]}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return Answer(json={"choices": [choice]}, **how)


@pytest.mark.parametrize("options", [{"queue_size": 8}, {"use_request_queue": False}], ids=repr)
def test_client_map_is_in_order_while_answers_are_not(server, options):
    server.default = lambda request: chat_of_the_last_text(
        request, drip=60, pause=random.random() / 200)  # fmt: skip
    asked = [str(n) for n in range(40)]
    with nothing_left_over(), guarded(server, max_concurrent_requests=4, **options) as client:
        assert [r.content for r in client.map("chat", asked, priority=LOW)] == asked
        assert 1 < server.max_in_flight <= 4


def test_of_200_threads_against_a_server_that_fails_a_third_all_is_accounted_for():
    """Every call ends in its own result or in an error of ours, and nothing is left over."""
    dice = random.Random(1)
    troubles = [
        Answer(500), Answer(503, headers={"retry-after": "0"}), Answer(400, body="no"),
        Answer(429, headers={"retry-after": "0"}), Answer(json=CHAT, cut=20), Answer(raw=b""),
        Answer(json=CHAT, reset=0), Answer(body="<p>", content_type="text/html"),
    ]  # fmt: skip

    def answer(request):
        return dice.choice(troubles) if dice.random() < 1 / 3 else chat_of_the_last_text(request)

    def work(i):
        succeeded = 0
        for n in range(12):
            text = "%d-%d" % (i, n)
            with contextlib.suppress(OpenAIError):
                ask = client.chat if n % 5 else lambda text: client.submit("chat", text).result(60)
                assert ask(text).content == text
                succeeded += 1
        return succeeded

    with nothing_left_over(), LoopbackServer() as server:
        server.default = answer
        breaker = openai_mini.CircuitBreaker(failure_rate=0.99)
        with guarded(server, breaker, queue_size=150, max_retries=1) as client:
            succeeded = sum(together(200, work, timeout=120))
            stats = client.stats()
        assert 1200 < succeeded == stats["succeeded"] < 2400 == stats["requests"]
        assert sum(stats["errors"].values()) == stats["failed"] == 2400 - succeeded
        assert stats["queue"] == {"running": 0, "waiting": 0} and server.max_in_flight <= 10


# ------------------------------------------------------------------------------------------------
# Results
#
# What a call returns: JSON with attributes, lists that go on over pages, bytes, and files that are
# whole or not there.


def results_of(client, server, data, **how):
    """What request() makes of this JSON, over a socket."""
    text = data if isinstance(data, (str, bytes)) else json.dumps(data)
    server.script(Answer(body=text, content_type="application/json", **how))
    return client.request("GET", "/anything")


def test_attributes_reach_every_depth_and_what_is_not_there_reads_none(server, client):
    result = client.chat("hi")
    assert result == CHAT and isinstance(result.choices[0]["message"], dict)
    assert result.choices[0].message.content == "hello" and result.usage.total_tokens == 10
    assert results_of(client, server, [[{"a": [{"b": 1}]}]])[0][0].a[0].b == 1
    result = results_of(client, server, {"a": {"b": None}})
    assert result.nothing is result.a.b is result.a.nothing is None is result.content
    assert result.choices is result.output_text is None and getattr(result, "x", 5) is None
    with pytest.raises(KeyError):
        result["nothing"]
    assert not [n for n in ("_x", "__len_hint__", "_repr_html_") if hasattr(result, n)]
    no, a, b = {"type": "x", "text": "no"}, *({"type": "output_text", "text": t} for t in "ab")
    output = [{"type": "x"}, {"content": [no, a]}, {"content": [{"type": "output_text"}, b]}]
    assert results_of(client, server, {"output": output}).output_text == "ab"
    assert results_of(client, server, {"output": []}).output_text == ""
    result.b, result.a = 2, 1
    result.a += 1
    assert result == {"a": 2, "b": 2}


RESULTS_NAMES = {  # key: the name by which it is reached, where that is another
    "self-harm": "self_harm", "self-harm/intent": "self_harm_intent", "a.b c": "a_b_c",
    "schema": "schema_", "from": "from_", "a\nb": "a_b",
}  # fmt: skip


def test_a_key_is_reached_by_its_name_unless_it_is_that_of_a_method(server, client):
    keys = [*RESULTS_NAMES, *"plain class _hidden content message output_text parsed data".split()]
    result = results_of(client, server, {key: [key] for key in keys + ["\xe9t\xe9"]})
    assert all(getattr(result, RESULTS_NAMES.get(key, key)) == [key] for key in result)
    result = results_of(client, server, {"a-b": 1, "a_b": 2, "c": 3, "c_": 4})
    assert (result.a_b, result.c, result.c_) == (2, 3, 4)  # an exact key wins over a similar one
    names = "items get copy to_dict to_json model_dump request_id headers status_code _request_id"
    names, headers = names.split(), {"x-request-id": "req_1", "x-other": "y"}
    result = results_of(client, server, dict.fromkeys(names, "the key"), headers=headers)
    assert all(result[n] == "the key" and getattr(result, n) is not result[n] for n in names)
    assert result.request_id == result._request_id == "req_1" and result.status_code == 200
    assert result.headers["X-Other"] == "y" and result.to_dict()["to_dict"] == "the key"


def test_all_stays_as_it_was_sent_and_turns_into_plain_data_and_back(server, client):
    text = '{"z": 1.0, "a": 12345678901234567890123, "m": -0.0, "e": 1e400,'
    result = results_of(client, server, text + ' "x": {"b": [1, 1.0], "a": "\\ud83d\\ude00"}}')
    assert list(result) == list("zamex") and list(result.x) == ["b", "a"]
    assert repr([result["z"], result.m]) == "[1.0, -0.0]" and result.a == 12345678901234567890123
    assert result.e == float("inf") and json.dumps(result.x.b) == "[1, 1.0]"
    assert result.model_dump(mode="json") == result and type(result.to_dict()["x"]) is dict
    assert result.model_dump(include={"x"}) == {"x": result.x} == result.to_dict(exclude="zame")
    for text in (result.to_json(), result.model_dump_json(), json.dumps(result)):
        assert json.loads(text) == result
    assert "\n" in result.to_json() and "\n" not in result.model_dump_json()
    assert "\U0001f600" in result.to_json()


RESULTS_KINDS = [  # an answer, and a call that gives it as Result, Page, Transcript or Binary
    (Answer(json=CHAT), lambda c: c.chat("hi")),
    (Answer(json={"data": [{"id": 1}], "has_more": True}), lambda c: c.files.list()),
    (Answer(json={"text": "words"}), lambda c: c.transcribe_audio(b"ID3x")),
    (Answer(body=b"\0\xff", content_type="audio/mpeg"), lambda c: c.text_to_speech("hi")),
]


@pytest.mark.parametrize("answer, call", RESULTS_KINDS)
def test_results_pickle_and_copy_with_their_kind_and_without_the_key(server, client, answer, call):
    server.script(answer)
    result = call(client)
    raws = [pickle.dumps(result, p) for p in range(pickle.HIGHEST_PROTOCOL + 1)]
    assert not [raw for raw in raws if b"sk-test" in raw]
    for again in (*map(pickle.loads, raws), copy.copy(result), copy.deepcopy(result)):
        assert again == result and type(again) is type(result)
        if isinstance(result, openai_mini.Result):
            assert again.request_id == result.request_id and again.status_code == 200
            assert type(again.get("choices", [result])[0]) in (openai_mini.Result, type(result))


# JSON that is none, or more than JSON

RESULTS_BROKEN = {  # what comes, and the words of the server that the error shows
    "blank": (b" \r\n", ""), "cut": (b'{"choices": [', "choices"), "two": (b"{}{}", "{}{}"),
    "HTML": (b"<html><title>Sign in</title>", "Sign in"), "text": (b"no such", "no such"),
    "deep": (b"[" * 100000, "[[["), "digits": (b'{"a": ' + b"9" * 10000 + b"}", ""),
    "deep objects": (b'{"a":' * 100000 + b"1" + b"}" * 100000, ""),
    "an array": (b"[1]", "[1]"), "null": (b"null", "null"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), ""), "bad UTF-8": (b'{"a": "\xff"}', ""),
}  # fmt: skip


@pytest.mark.parametrize("case", RESULTS_BROKEN)
def test_an_answer_that_is_no_json_object_is_an_error_that_says_what_came(server, client, case):
    body, words = RESULTS_BROKEN[case]
    if case == "digits" and not hasattr(sys, "get_int_max_str_digits"):  # this Python reads them
        assert results_of(client, server, body).a == int("9" * 10000)
        return
    server.script(Answer(body=body, content_type="application/json"))
    message = str(client_error(lambda: client.chat("hi"), APIResponseError))
    assert message.startswith("POST /chat/completions: ") and words in message
    assert len(message) < 500 and len(server.requests) == 1


def test_odd_json_is_taken_and_lone_surrogates_go_back(server, client):
    assert results_of(client, server, b'\xef\xbb\xbf{"a": 1, "a": 2}') == {"a": 2}
    assert results_of(client, server, b"null") is None and results_of(client, server, b"[]") == []
    for text in ('"a\\ud800b"', '"a\ud800b"'):
        body = json.dumps(CHAT).replace('"hello"', text).encode("utf-8", "surrogatepass")
        server.script(Answer(body=body, content_type="application/json"))
        message = client.chat("hi").message
        client.chat([message])
        sent = server.requests[-1].json["messages"][0]
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
        assert next(items).id == name and len(server.requests) == requests_made
    queries = [request.query for request in server.requests[1:]]
    assert queries == [{"limit": "2", "purpose": "x", "after": id} for id in "bc"]
    assert results_ids(page.data) == "ab" and not list(items) and page.has_next_page()
    last = page.get_next_page().get_next_page()
    assert not last.has_next_page() and last.get_next_page() is None


RESULTS_LISTS = {  # answers, the items, the requests made
    "no has_more: until empty": (results_pages("a", "", x=1), "a", 2),
    "an empty page that has more": (results_pages("a", "", "b"), "a", 2),
    "items without ids": ([Answer(json={"data": [{}, "b"], "has_more": True})], None, 1),
    "null": ([Answer(json={"data": None, "has_more": True})], "", 1),
}


@pytest.mark.parametrize("case", RESULTS_LISTS)
def test_where_a_list_ends(server, client, case):
    answers, expected, requests_made = RESULTS_LISTS[case]
    server.script(*answers)
    items = list(client.files.list())
    assert expected is None or results_ids(items) == expected
    assert len(server.requests) == requests_made


def test_a_pickled_list_does_not_pass_its_first_page_off_as_all(server, client):
    server.script(results_pages("ab", "c")[0], *results_pages("x"))
    more, whole = (pickle.loads(pickle.dumps(client.files.list())) for _ in range(2))
    items = iter(more)
    assert next(items).id + next(items).id == "ab" and results_ids(whole) == "x"
    client_error(lambda: next(items))


# Bytes and files

NEW = b"new" * 1000


def results_download(client, server, to, **how):
    server.script(Answer(**{"body": NEW, **how}))
    return client.download_file("file-1", to)


def test_a_file_appears_whole_or_all_stays_as_it_was(server, client, tmp_path):
    old_mask = os.umask(0o027)
    try:
        assert results_download(client, server, tmp_path / "x") == 3000
    finally:
        os.umask(old_mask)
    assert os.name != "posix" or stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640
    once = client.with_options(max_retries=0, circuit_breaker=False)
    for how in ({"cut": 2000}, {"reset": 2000}, {"status": 500}):
        for name in ("x", "new"):
            client_error(lambda: results_download(once, server, str(tmp_path / name), **how))
    for place in ("no/such/folder/x", ".", "n" * 300):
        with pytest.raises(OSError):
            results_download(once, server, tmp_path / place)
    assert (tmp_path / "x").read_bytes() == NEW and os.listdir(tmp_path) == ["x"]
    let, long_name, asked = threading.Event(), tmp_path / ("n" * 250), len(server.requests)
    server.script(Answer(pieces=[b"a" * 100, b"b" * 100], wait=let, hold_after=1))
    future = client.submit("download_file", "file-1", long_name)
    server.wait_requests(asked + 1)
    assert not long_name.exists() and not let.set()  # while it comes
    assert future.result(10) == 200 == long_name.stat().st_size and len(os.listdir(tmp_path)) == 2
    file = io.BytesIO(b"old")
    file.seek(3)
    assert results_download(client, server, file) == 3000 and file.getvalue() == b"old" + NEW


@pytest.mark.skipif(os.name != "posix", reason="links and devices are those of POSIX")
def test_a_link_stays_a_link_and_a_device_a_device(server, client, tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    results_download(client, server, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == NEW
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as file:
        assert results_download(client, server, "/dev/fd/%d" % write_end) == 3000
        os.close(write_end)
        assert file.read() == NEW


# Images

RESULTS_PICTURES = {"png": b"\x89PNG\r\n", "webp": b"RIFF\0\0\0\0WEBPVP8 ", "bin": b"whatever"}


def test_images_are_saved_over_no_other_inline_or_by_url(server, client, tmp_path):
    images = [{"b64_json": base64.b64encode(body).decode()} for body in RESULTS_PICTURES.values()]
    images += [{"url": server.origin + "/p?sig=1"}, {"url": server.origin + "/p", "b64_json": None}]
    png = RESULTS_PICTURES["png"]
    server.script(Answer(json={"data": images}), Answer(body=png), Answer(body=b"BM"))
    result = client.generate_image("x")
    paths = result.save(tmp_path)
    bodies = [pathlib.Path(path).read_bytes() for path in paths]
    assert bodies == [*RESULTS_PICTURES.values(), png, b"BM"]
    assert [path.rsplit(".")[-1] for path in paths[:4]] == [*RESULTS_PICTURES, "png"]
    assert [request.target for request in server.requests[1:]] == ["/p?sig=1", "/p"]
    assert not [r for r in server.requests[1:] if "sk-test" in repr(r.headers)]
    paths += openai_mini.Result(data=result.data[:2]).save(str(tmp_path))
    assert len(set(paths)) == 7 == len(os.listdir(tmp_path))


@pytest.mark.parametrize(
    "image, kind",
    [({"b64_json": "A"}, APIResponseError), ({"b64_json": None}, APIResponseError),
     ({"b64_json": 7}, APIResponseError), ({"url": "http://127.0.0.1:1/x"}, APIConnectionError),
     ({"url": "file:///etc/hosts"}, OpenAIError), ({"url": 7}, OpenAIError),
     ({"url": "%s/gone"}, openai_mini.NotFoundError)], ids=str,
)  # fmt: skip
def test_an_image_that_cannot_be_had_is_an_error_and_no_file(server, client, tmp_path, image, kind):
    image = json.loads(json.dumps(image).replace("%s", server.origin))
    server.script(Answer(json={"data": [image]}), Answer(404, body="gone"))
    client_error(lambda: client.generate_image("x").save(tmp_path), kind)
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------------------------
# Client: constructor, copies, headers, keys, what is tried again, fallbacks


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


def client_error(work, kind=OpenAIError):
    """What `work()` raises, which must be an error of that kind."""
    with pytest.raises(kind) as caught:
        work()
    return caught.value


def client_sent(server, name="authorization") -> list:
    """What came under a header's name in each request."""
    return [asked.headers.get(name) for asked in server.requests]


# The constructor and the environment


def test_arguments_win_over_the_environment_which_says_who_asks_whom(server, monkeypatch):
    assert "OPENAI_API_KEY" in str(client_error(OpenAIMini, AuthenticationError))
    assert OpenAIMini(base_url=server.url).chat("hi").content == "hello"
    values = {"API_KEY": "sk-env\n", "BASE_URL": server.url + "/", "ORG_ID": "org-1"}
    for name, value in {**values, "PROJECT_ID": "proj-1", "MODEL": "env-model"}.items():
        monkeypatch.setenv("OPENAI_" + name, value)
    OpenAIMini(api_key="").chat("hi")
    client = client_for(server, organization="org-2", project="proj-2", model="arg-model")
    client.chat("hi")
    client.chat("hi", model="call-model")
    assert client_sent(server) == [None, "Bearer sk-env"] + ["Bearer sk-test"] * 2
    assert client_sent(server, "openai-organization") == [None, "org-1", "org-2", "org-2"]
    assert client_sent(server, "openai-project") == [None, "proj-1", "proj-2", "proj-2"]
    models = [asked.json["model"] for asked in server.requests[1:]]
    assert models == ["env-model", "arg-model", "call-model"]


CLIENT_BAD_ARGUMENTS = [
    ("base_url", "ftp://host/v1", "localhost:8000", "http:///v1", "http://host:99999/v1"),
    ("base_url", "https://me:secret-pw@host/v1"), ("api_key", 42),
    ("timeout", 0, -1, "10", (1, 2, 3), (1, "2"), float("nan")), ("deadline", 0, "5"),
    ("max_retries", -1, True, None, 2.5), ("initial_retry_delay", -1), ("backoff_factor", 0.5),
    ("max_retry_delay", "60"), ("max_concurrent_requests", 0), ("queue_size", -1),
    ("requests_per_minute", 0), ("use_request_queue", "yes"), ("circuit_breaker", "yes"),
    ("fallback", "https://other.example/v1"), ("session", "session"), ("cache", 42, True),
    ("default_headers", {"X-A": "one\r\nX-B: two"}, {"X A": "one"}, [("X-A", "one")]),
    ("organization", "org\n1"), ("on_event", "print"),
]  # fmt: skip


@pytest.mark.parametrize(
    "name, value", [(name, value) for name, *values in CLIENT_BAD_ARGUMENTS for value in values]
)
def test_a_wrong_argument_is_refused_by_name_without_what_is_secret_in_it(name, value):
    options = {"base_url": "http://127.0.0.1:9/v1", "api_key": "sk-test", name: value}
    said = str(client_error(lambda: OpenAIMini(**options), ValidationError))
    own = {"queue_size": "size", "default_headers": "X", "organization": "Organization"}
    assert own.get(name, name.replace("_requests", "").replace("requests_", "")) in said
    assert "secret-pw" not in said and "\n" not in said


def test_an_unknown_argument_is_a_type_error():
    for make in (OpenAIMini, OpenAIMini(base_url="echo:").with_options):
        with pytest.raises(TypeError, match="max_retrys"):
            make(max_retrys=3)


@pytest.mark.parametrize("end", "/ /v1 /v1// /v1?tenant=7 /v1/?api-version=7 /a%20b".split())
def test_a_base_url_may_end_as_it_likes_and_keeps_its_query(server, end):
    client_for(server, base_url=server.origin + end).chat("hi", extra_query={"b": 1})
    (asked,), (path, _, query) = server.requests, end.partition("?")
    assert asked.path == path.rstrip("/") + "/chat/completions"
    assert asked.query == {"b": "1", **dict(parse_qsl(query))}


# Copies


def test_a_copy_shares_session_queue_breaker_and_statistics_and_the_original_stays(server):
    client = client_for(server, default_headers={"X-A": "1"}, organization="org-1")
    other = {"default_headers": {"X-B": "2"}, "api_key": "sk-other", "model": "m"}
    for twin in (client.with_options(**other), client.copy(max_retries=0), client):
        twin.chat("hi")
    assert client_sent(server) == ["Bearer sk-other", "Bearer sk-test", "Bearer sk-test"]
    assert client_sent(server, "x-a") == [None, "1", "1"]
    assert client_sent(server, "x-b") == ["2", None, None]
    assert client_sent(server, "openai-organization") == ["org-1"] * 3
    assert server.requests[0].json["model"] == "m" and server.connections == 1
    assert client.stats()["requests"] == client.with_options().stats()["requests"] == 3
    server.default = Answer(500)
    for _ in range(5):
        client_error(lambda: client.with_options(max_retries=0).chat("hi"))
    client_error(lambda: client.chat("hi"), CircuitOpenError)


def test_a_copy_with_other_limits_or_another_session_has_a_queue_and_connections_of_its_own(server):
    client, gate, session = client_for(server), threading.Event(), requests.Session()
    session.headers["x-mine"] = "1"
    server.default = Answer(json=CHAT, wait=gate)
    twin = client.with_options(max_concurrent_requests=1, session=session)
    jobs = [twin.submit("chat", "hi") for _ in range(3)]
    server.wait_requests(1)
    assert [c.stats()["queue"]["running"] for c in (twin, client)] == [1, 0]
    gate.set()
    assert [job.result(10).content for job in jobs] == ["hello"] * 3
    assert server.max_in_flight == 1 and client_sent(server, "x-mine") == ["1"] * 3


def test_close_may_be_called_again_and_with_closes(server):
    with client_for(server) as client:
        client.chat("hi")
    client.close()
    assert server.wait_closed(1)


# Headers


def test_headers_of_the_call_win_over_the_clients_whatever_their_case(server):
    mine = {"X-Team": "a", "user-agent": "mine", "X-Off": "1", "authorization": "Basic Zm9v"}
    client = client_for(server, default_headers=mine)
    client.chat("hi", extra_headers={"x-team": "b", "X-OFF": None, "X-New": "n"})
    client.chat("hi", extra_headers={"Authorization": "Bearer other"})
    headers = server.requests[0].headers
    assert (headers["x-team"], headers["user-agent"], headers["x-new"]) == ("b", "mine", "n")
    assert "x-off" not in headers and client_sent(server) == ["Basic Zm9v", "Bearer other"]


# Keys


def test_a_callable_key_is_asked_for_every_attempt_and_once_more_after_a_401(server):
    keys = iter(["a", "b", "c\n", *"defg"])
    client = client_for(server, api_key=lambda: next(keys))
    server.script(Answer(500), Answer(500), Answer(json=CHAT), Answer(401), Answer(json=CHAT))
    assert client.chat("hi").content == client.chat("hi").content == "hello"
    server.default = Answer(401)
    client_error(lambda: client.chat("hi"), AuthenticationError)
    client_error(lambda: client_for(server).chat("hi"), AuthenticationError)  # a str is final
    client = client_for(server, api_key=lambda: "token", max_retries=0)  # and so is one attempt
    client_error(lambda: client.chat("hi"), AuthenticationError)
    assert [value[7:] for value in client_sent(server)] == [*"abcdefg", "sk-test", "token"]


def test_what_a_callable_key_raises_reaches_the_caller_and_gives_the_slot_back(server):
    client = client_for(server, api_key=lambda: {}["vault"])
    with pytest.raises(LookupError, match="vault"):
        client.chat("hi")
    assert client.stats()["queue"]["running"] == 0 and counts_of(client) == (1, 0, 1, 0)


# What is tried again and when: the rest of it is the table of faults below


@pytest.mark.parametrize(
    "headers, wait",
    [({"retry-after": "7"}, 7), ({"retry-after": "0"}, 0), ({"retry-after": "60"}, 60), ({}, None),
     ({"retry-after-ms": "250", "retry-after": "9"}, 0.25), ({"retry-after": "61"}, "too long")],
)  # fmt: skip
def test_a_wait_that_the_server_asks_for_is_obeyed_up_to_max_retry_delay(server, headers, wait):
    for status in (429, 503):
        server.script(Answer(status, json={}, headers=headers))
        client, waits = client_sleeping(server)
        if wait == "too long":
            error = client_error(lambda: client.chat("hi"), APIStatusError)
            assert error.status_code == status and error.retry_after > 60 and not waits
        else:
            assert client.chat("hi").content == "hello" and client.stats()["retries"] == 1
            assert waits == [wait] or wait is None and 0 <= waits[0] <= 0.5


def test_the_waits_grow_exponentially_with_full_jitter_up_to_a_limit(server, monkeypatch):
    drawn = []
    monkeypatch.setattr(random, "uniform", lambda least, most: drawn.append((least, most)) or most)
    monkeypatch.setattr(openai_mini, "random", random, raising=False)
    server.default = Answer(500)
    client, waits = client_sleeping(server, max_retries=6, max_retry_delay=5, circuit_breaker=False)
    client_error(lambda: client.chat("hi"))
    assert waits == [0.5, 1, 2, 4, 5, 5] and {least for least, _ in drawn} == {0}


def test_one_idempotency_key_for_all_attempts_of_a_post_and_another_for_the_next(server):
    server.script(Answer(500), Answer(json=CHAT, reset=0), Answer(json=CHAT), Answer(json=CHAT))
    client = client_for(server)
    client.chat("hi")
    client.chat("hi")
    client.list_models()
    client.chat("hi", extra_headers={"idempotency-key": "mine"})
    keys = client_sent(server, "idempotency-key")
    assert keys[0] == keys[1] == keys[2] != keys[3] and keys[0] and keys[4:] == [None, "mine"]


def test_a_wait_past_the_deadline_is_not_begun(server):
    server.default = Answer(429, headers={"retry-after": "5"})
    client, waits = client_sleeping(server, deadline=2)
    error = client_error(lambda: client.chat("hi"), RateLimitError)
    assert (waits, error.retry_after, len(server.requests)) == ([], 5, 1)


def test_when_the_circuit_opens_between_two_attempts_the_last_real_error_is_raised(server):
    server.default = Answer(500, json={"error": {"message": "the pump broke"}})
    client = client_for(server, circuit_breaker=openai_mini.CircuitBreaker(failure_threshold=2))
    error = client_error(lambda: client.chat("hi"), InternalServerError)
    assert "pump" in str(error) and len(server.requests) == 2
    client_error(lambda: client.chat("hi"), CircuitOpenError)
    assert len(server.requests) == 2


def test_a_redirect_never_turns_a_post_into_a_get(server, client):
    server.script(Answer(303, headers={"location": "/v2"}))
    assert client_error(lambda: client.chat("hi"), APIStatusError).status_code == 303
    assert len(server.requests) == 1


# Fallbacks


@pytest.fixture
def other_server():
    with LoopbackServer() as other:
        yield other


@pytest.mark.parametrize("fault", [Answer(500), Answer(429), Answer(json=CHAT, reset=0)])
def test_a_fallback_answers_when_the_first_server_does_not(server, other_server, fault):
    server.default = fault
    second = client_for(other_server, api_key="sk-other", model="other-model")
    client = client_for(server, fallback=second, max_retries=1)
    assert client.chat("hi").content == "hello"
    assert "".join(chunk.content for chunk in client.stream_chat("hi")) == "hello"
    assert len(server.requests) == 4 and other_server.requests[0].json["model"] == "other-model"
    assert client_sent(other_server) == ["Bearer sk-other"] * 2
    assert counts_of(client) == (2, 2, 0, 0)


def test_fallbacks_go_in_order_also_while_the_circuit_is_open(server, other_server):
    server.default, other_server.default = Answer(503), Answer(500)
    with LoopbackServer() as third:
        rest = [client_for(one, max_retries=0) for one in (other_server, third)]
        breaker = openai_mini.CircuitBreaker(failure_threshold=1)
        client = client_for(server, max_retries=0, fallback=rest, circuit_breaker=breaker)
        assert client.chat("hi").content == "hello"
        third.default = Answer(504, json={"error": "third"})
        assert "third" in str(client_error(lambda: client.chat("hi"), InternalServerError))
        assert [len(each.requests) for each in (server, other_server, third)] == [1, 2, 2]


def test_what_another_server_would_refuse_too_does_not_go_to_the_fallback(server, other_server):
    client = client_for(server, fallback=client_for(other_server))
    for status in (400, 401, 404, 422):
        server.script(Answer(status))
        client_error(lambda: client.chat("hi"))
    server.script(Answer(sse=chunks("a", "b"), cut=250))  # nor a stream that has begun
    client_error(lambda: list(client.stream_chat("hi")), StreamInterruptedError)
    assert not other_server.requests


# ------------------------------------------------------------------------------------------------
# Stream
#
# Streams over real sockets: each chunk when it has been sent, whole or an error, and nothing left
# behind. What answers hold has a room of its own.

STREAM_FRAMINGS = ["chunked", "length", "close", "http10"]
FRAMED = pytest.mark.parametrize("framing", STREAM_FRAMINGS)
STREAM_CODED = pytest.mark.parametrize("coding", [False, "gzip", "deflate", "rawdeflate"])
TLS_OR_NOT = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
STREAM_HOW = {"content_type": "text/event-stream", "framing": "chunked"}


def stream_text(stream) -> str:
    return "".join(chunk.content for chunk in stream)


def stream_events(*datas) -> bytes:
    return b"".join(map(sse_bytes, datas))


def stream_delta(delta: dict, finish=None, index: int = 0) -> dict:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def stream_held(server, *texts, after=1, **how):
    """The server sends `after` chunks and holds back the rest until the Event is set."""
    let = threading.Event()
    server.script(Answer(sse=chunks(*texts), wait=let, hold_after=after, **how))
    return let


@pytest.fixture
def stream_once(client):
    return client.with_options(max_retries=0, circuit_breaker=False)


# When a chunk comes


@STREAM_CODED
@FRAMED
def test_each_chunk_reaches_the_caller_while_the_server_holds_back_the_rest(
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


@STREAM_CODED
@FRAMED
def test_a_stream_may_come_in_pieces_of_any_size(server, client, framing, coding):
    texts = ["t\xe9xt %d " % number for number in range(6)]
    for drip in (1, 7, 100):
        server.script(Answer(sse=chunks(*texts), framing=framing, gzip=coding, drip=drip))
        assert stream_text(client.stream_chat("hi")) == "".join(texts)


def test_stream_chat_waits_for_the_first_chunk_and_asks_for_a_stream(server, client):
    let = stream_held(server, "a", after=0)
    future = client.submit("stream_chat", "hi", temperature=0)
    assert server.wait_requests(1) and not future.done() and not let.set()
    assert stream_text(future.result(10)) == "a"
    assert server.requests[0].json["stream"] is True and server.requests[0].json["temperature"] == 0


# Whether it is whole

LASTS = "response.completed response.failed response.incomplete image_generation.completed "
LASTS += "image_edit.completed transcript.text.done speech.audio.done"


def stream_wholeness():
    """(name, events, whether [DONE] follows, whether that is a whole stream): of a chat, and,
    with a path in the name, of another call."""
    a, end = stream_delta({"content": "a"}), stream_delta({}, "stop")
    yield from [
        ("text and [DONE]", [a], True, True),
        ("text", [a], False, False),
        ("a comment", [b": hi\n\n"], False, False),
        ("a finish reason, then usage", [a, end, {"choices": [], "usage": {}}], False, True),
        ("one of two ended", [a, stream_delta({"content": "b"}, None, 1), end], False, False),
        ("both ended", [a, stream_delta({}, "stop", 1), end], False, True),
        ("another kind and chat without an end", [{"a": 1}, a], False, False),
        ("half an event after the end", [a, end, b"data: {"], False, True),
        ("half an event", [a, b"data: {"], False, False),
        ("/things of a kind", [{"type": "thing.happened"}], False, True),
    ]
    for last in LASTS.split():
        begun = {"type": last.rsplit(".", 1)[0] + ".delta"}
        yield ("/%s by name" % last, [("x.delta", begun), (last, {"type": last})], False, True)
        yield ("/%s not there" % last, [begun, {"type": "thing"}], False, False)
    yield ("/%s not there, but [DONE]" % last, [begun], True, True)


@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize("case", list(stream_wholeness()), ids=lambda case: case[0])
def test_half_a_stream_is_never_passed_off_as_a_whole_one(server, stream_once, case, framing):
    name, items, done, whole = case
    server.script(Answer(sse=items, done=done, framing=framing))
    got = []
    path = "/things" if "/" in name else "/chat/completions"
    call = functools.partial(stream_once.request, "POST", path, stream=True)
    try:
        got.extend(call() if "/" in name else stream_once.stream_chat("hi"))
        assert whole
    except StreamInterruptedError as error:
        assert not whole and error.is_transient_error
        assert str(error).startswith("POST %s: " % path) and "1 attempt" in str(error)
        assert error.partial.content in (None, "", "a")
        return
    assert len(got) == len([item for item in items if not isinstance(item, bytes)])


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_cut_anywhere_a_stream_is_interrupted_unless_it_was_whole(server, stream_once, framing):
    """Where a clean end is possible, the last event needs no blank line."""
    events = [stream_delta({"content": "h\xe9"}), stream_delta({"content": "llo"})]
    events = [json.dumps(e, ensure_ascii=False) for e in events + [stream_delta({}, "stop")]]
    ends = list(itertools.accumulate(len(sse_bytes(item)) for item in events))
    needed = ends[2] - 2 * (framing == "close")
    for cut in range(ends[2] + len(b"data: [DONE]\n\n")):
        server.script(Answer(sse=events, framing=framing, cut=cut))
        got = []
        try:
            for piece in stream_once.stream_chat("hi"):
                got.append(piece.content)
            assert cut >= needed
        except StreamInterruptedError as error:
            assert cut < needed, (cut, error)
            assert (error.partial.content or "") == "".join(got)
        assert len(got) == sum(end - ends[2] + needed <= cut for end in ends), cut
    if framing != "close":  # events of other kinds need the end of their transfer
        server.script(Answer(sse=[{"a": 1}, {"a": 2}], done=False, framing=framing, cut=20))
        others = stream_once.request("POST", "/things", stream=True)
        client_error(lambda: list(others), StreamInterruptedError)


@pytest.mark.parametrize("coding", [False, "gzip"])
@pytest.mark.parametrize("how", ["cut", "reset"])
@FRAMED
def test_a_connection_lost_in_mid_stream_interrupts_it(server, client, framing, how, coding):
    whole = Answer(sse=chunks("abc", "def"), framing="length", gzip=coding)
    size = sum(map(len, whole.wire()[0][1:2])) + 8  # within the second event
    options = {"framing": framing, "gzip": coding, "pause": 0.01, how: size}
    server.script(Answer(sse=chunks("abc", "def"), **options))
    stream = client.stream_chat("hi")
    error = client_error(lambda: stream_text(stream), StreamInterruptedError)
    assert error.partial.content == stream.content == "abc"
    assert len(server.requests) == 1 and list(stream) == [] and stream.stats["chunks"] == 1


def test_after_the_finish_reason_no_silence_makes_it_half(server, client, monkeypatch):
    """A server that keeps the connection open without a [DONE] is not waited for long."""
    monkeypatch.setattr(openai_mini, "LINGER_S", 0.1)
    stream_held(server, "a", after=2, done=False)
    stream = client.stream_chat("hi", timeout=(5, 60))
    assert client.submit(stream_text, stream).result(20) == "a" and stream.finish_reason == "stop"
    server.wait_closed(1)


@FRAMED
def test_after_done_the_iterator_ends_though_the_server_holds_on(server, client, framing):
    body = chunks("a") + ["[DONE]", b": more\n\n", stream_delta({"content": "b"})]
    how = {"framing": framing, "wait": threading.Event(), "hold_after": 3}
    server.script(Answer(sse=body, done=False, **how))
    assert stream_text(client.stream_chat("hi")) == "a"
    server.wait_closed(1)
    assert client.stats()["queue"]["running"] == 0


@pytest.mark.parametrize("coding", [False, "gzip", "deflate"])
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_where_the_end_came_with_done_the_connection_is_used_again(server, client, framing, coding):
    body = stream_events(*chunks("a", "b"), "[DONE]")  # sent in one segment, with its end
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
    """What had come of a stream that is kept goes on to be there."""
    stream.close()
    stream.close()
    assert list(stream) == [] and stream.content == "a" == stream.message.content


STREAM_LEAVING = {
    "close()": stream_left_by_close, "an exception": stream_left_by_exception,
    "dropped in mid loop": next, "dropped unread": id,
}  # fmt: skip


def stream_client(request, client, tls, **options):
    """A server of the kind, and the client for it."""
    server = request.getfixturevalue("tls_server" if tls else "server")
    verify = server.cert_path if tls else None
    return server, client.with_options(base_url=server.url, verify=verify, **options)


@TLS_OR_NOT
@pytest.mark.parametrize("way", STREAM_LEAVING)
def test_leaving_a_stream_frees_its_connection_and_slot_at_once(request, client, way, tls):
    """With the garbage collector off, so that dropping alone must do it."""
    server, client = stream_client(request, client, tls, max_concurrent_requests=1)
    stream_held(server, "a", "b")
    gc.collect()
    gc.disable()
    try:
        held = [client.stream_chat("hi")]  # a list: the call below takes the only reference
        future = client.submit("chat", "next")
        eventually(lambda: client.stats()["queue"] == {"running": 1, "waiting": 1})
        STREAM_LEAVING[way](held.pop())
        server.wait_closed(1, 5)
        assert future.result(10).content == "hello"  # who waited has the slot
    finally:
        gc.enable()
    assert client.stats()["queue"]["running"] == 0


@TLS_OR_NOT
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_close_from_another_thread_wakes_a_blocked_reader(request, client, framing, tls):
    server, client = stream_client(request, client, tls, timeout=(5, 300))
    stream_held(server, "a", "b", framing=framing)
    stream = client.stream_chat("hi")
    got = []
    reader = threading.Thread(target=lambda: [got.append(c.content) for c in stream], daemon=True)
    reader.start()
    eventually(lambda: got)
    time.sleep(0.05)  # until it waits for bytes, most likely
    stream.close()
    reader.join(10)
    assert not reader.is_alive() and got == ["a"] and list(stream) == []
    server.wait_closed(1)
    assert client.stats()["queue"]["running"] == 0 and client.stats()["abandoned"] == 1


# Silence

MORE = stream_events(*chunks("a", finish=None))


def stream_endless(between: bytes):
    """A chunk, and then `between` for ever."""
    yield MORE
    while True:
        time.sleep(0.02)
        yield between


@pytest.mark.parametrize("between, options, named", [
    *((comment, {"timeout": (5, 0.4)}, "timeout=") for comment in
      (b": ping\n\n", b":", b"event: ping\n\n", None)),
    (MORE, {"deadline": 0.4}, "deadline"), (b":\n", {"deadline": 0.4}, "deadline"),
])  # fmt: skip
def test_comments_do_not_renew_the_time_of_a_silent_stream_and_nothing_the_deadline(
    server, client, between, options, named
):
    if between is None:  # nothing at all
        stream_held(server, "a")
    else:
        server.script(Answer(pieces=functools.partial(stream_endless, between), **STREAM_HOW))
    stream = client.stream_chat("hi", **options)
    error = client_error(lambda: list(stream), APITimeoutError)
    assert set(error.partial.content) == {"a"} and len(server.requests) == 1
    assert str(error).startswith("POST /chat/completions: ") and named in str(error)
    server.wait_closed(1)
    assert client.stats()["queue"]["running"] == 0


def test_events_and_a_slow_reader_renew_the_time(server, client):
    server.script(Answer(sse=chunks(*"abcdef"), pause=0.1))
    begun = time.monotonic()
    assert stream_text(client.stream_chat("hi", timeout=(5, 0.45))) == "abcdef"
    assert time.monotonic() - begun > 0.45
    let = stream_held(server, "a", "b")
    stream = client.stream_chat("hi", timeout=(5, 0.2))
    next(stream)
    time.sleep(0.3)
    let.set()
    assert stream_text(stream) == "b"


# What is no stream


def test_a_json_answer_to_a_streaming_call_is_one_chunk(server, client):
    server.script(Answer(json=CHAT))
    stream = client.stream_chat("hi")
    pieces = list(stream)
    assert pieces == [CHAT] and pieces[0].content == "hello" == stream.content
    assert stream.finish_reason == "stop" and stream.usage == CHAT["usage"]
    assert stream.message == CHAT["choices"][0]["message"] and stream.stats["chunks"] == 1
    assert client.chat("again").content == "hello" and server.connections == 1


STREAM_ODD = {  # what comes instead of a stream, or as a chunk; and what the error shows of it
    "HTML": (Answer(body="<title>Sign in</title>", content_type="text/html"), "Sign in"),
    "text": (Answer(body="no such thing"), "no such thing"), "bytes": (Answer(body=b"\0\1"), ""),
    "an array": (Answer(json=[1]), "[1]"),
    **{item[:14]: (Answer(sse=[item]), words) for item, words in [
        ("<title>Gone</title>", "Gone"), ("17", "17"), ("[1]", "[1]"), ("null", "null"),
        ('{"choices": [', ""), ("[" * 100000, ""), ('{"choices": [5]}', "5"),
        ('{"choices": ' + "7" * 10000 + "}", "")]},
}  # fmt: skip


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("case", STREAM_ODD)
def test_what_is_no_stream_is_an_error_that_says_what_came(server, stream_once, case, later):
    answer, words = STREAM_ODD[case]
    if later and answer.sse:
        answer = Answer(sse=[stream_delta({"content": "a"})] + answer.sse)
    server.script(answer)
    error = client_error(lambda: list(stream_once.stream_chat("hi")), APIResponseError)
    message = str(error)
    assert message.startswith("POST /chat/completions: ") and words in message
    assert len(message) < 500 and len(server.requests) == 1
    partial = pickle.loads(pickle.dumps(error)).partial
    assert isinstance(partial, openai_mini.Result) and partial.role == "assistant"
    assert (partial.content or "") == "a" * bool(later and answer.sse)
    assert stream_once.stats()["queue"]["running"] == 0


# Choices, counts and size


def test_with_n_over_1_each_choice_is_kept_apart(server, client):
    x, y = ({"content": t, "role": "assistant"} for t in "xy")
    both = stream_delta(y, None, 1)["choices"] + stream_delta({"content": "b"})["choices"]
    events = [stream_delta(x, None, 1), stream_delta({"content": "a"}), {"choices": both}]
    events += [stream_delta({}, "length", 1), stream_delta({}, "stop", "0")]  # "0" is 0 too
    server.script(Answer(sse=events, done=False))
    with client.stream_chat("hi", n=2) as stream:
        assert [piece.content for piece in stream] == ["", "a", "b", "", ""]
    assert stream.content == "ab" == stream.message.content and stream.finish_reason == "stop"
    told = [(one.index, one.message.content, one.finish_reason) for one in stream.choices]
    assert told == [(0, "ab", "stop"), (1, "xy", "length")]


def test_its_times_and_counts_are_told(server, client):
    """The first from the call on: a server may hold back its headers until it has something."""
    usage = {"completion_tokens": 7}
    server.script(lambda _: time.sleep(0.1) or Answer(sse=chunks(*"ab", usage=usage), pause=0.02))
    server.script(Answer(sse=chunks("a"), headers={"x-request-id": "req_5"}))
    stream, other = client.stream_chat("hi"), client.stream_chat("hi")
    list(stream), list(other)
    stats = stream.stats
    assert stats["chunks"] == 4 and 0.15 < stats["duration_s"] < 10
    assert 0.1 <= stats["ttft_s"] < stats["duration_s"] and 0.01 < stats["avg_chunk_interval_s"] < 5
    assert stats["tokens_per_s"] == pytest.approx(7 / stats["duration_s"])
    assert stream.usage.completion_tokens == 7 and stream.tool_calls is None
    assert other.stats["tokens_per_s"] is None and other.response.status_code == 200
    assert other.response.request_id == "req_5"
    told = client.stats()["streams"]
    assert (told["started"], told["completed"], told["chunks"]) == (2, 2, 6) and told["ttft_s"] > 0


def test_of_a_responses_stream_usage_and_counts_are_known(server, client):
    usage = {"input_tokens": 2, "output_tokens": 5, "total_tokens": 7}
    last = {"type": "response.completed", "response": {"usage": usage, "error": None}}
    events = [{"type": "response.created"}, {"type": "response.output_text.delta", "delta": "he"},
              {"type": "response.function_call_arguments.delta", "delta": "{}"}, last]  # fmt: skip
    server.script(Answer(sse=[(event["type"], event) for event in events], done=False))
    with client.responses.create(model="m", input="x", stream=True) as stream:
        assert [piece.content for piece in stream] == ["", "he", "", ""] and stream.usage == usage
    assert stream.stats["tokens_per_s"] > 0 and stream.stats["chunks"] == 4
    assert client.stats()["tokens"] == {"prompt": 2, "completion": 5, "total": 7}


def test_memory_stays_constant_over_100000_chunks_but_for_the_text(server, client):
    """Counted in blocks of the allocator: a list of the pieces would hold one for each."""

    def hundreds():
        for start in range(0, 100000, 100):
            yield stream_events(
                *(stream_delta({"content": "%06d " % n}) for n in range(start, start + 100))
            )
        yield b"data: [DONE]\n\n"

    server.script(Answer(pieces=hundreds, **STREAM_HOW))
    stream = client.stream_chat("hi")
    for _ in range(5000):
        next(stream)
    gc.collect()
    before = sys.getallocatedblocks()
    assert sum(1 for _ in stream) == 95000
    gc.collect()
    assert sys.getallocatedblocks() - before < 5000
    assert stream.content == "".join("%06d " % n for n in range(100000))


def test_an_event_without_an_end_stops_at_the_limit(server, stream_once):
    blocks = itertools.chain([b"data: "], itertools.repeat(b"x" * (1 << 20)))
    server.script(Answer(pieces=lambda: blocks, **STREAM_HOW))
    error = client_error(lambda: stream_once.stream_chat("hi"), APIResponseError)
    assert str(openai_mini.MAX_EVENT_BYTES) in str(error) and server.wait_closed(1)


# ------------------------------------------------------------------------------------------------
# Faults
#
# Faults of servers and networks: the right result or error, after the right number of attempts.
# Each is tried over real sockets; nothing hangs, and no foreign exception leaves.

BROKEN, WRONG, LATE = APIConnectionError, APIResponseError, APITimeoutError
HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n"


def faults_client(server, **options):
    """A client of `server` with short waits and no breaker in the way."""
    return client_for(server, **{"max_retries": 2, "circuit_breaker": False, **options})


@pytest.fixture(params=["own pools", "session="])
def faults_session(request):
    """What session= is: nothing, or a session of the caller's."""
    session = None if request.param == "own pools" else requests.Session()
    yield session
    if session:
        session.close()


def faults_ending(client, stream=False, **options):
    """The text of one call, or the error of ours that it raised."""
    try:
        if not stream:
            return client.chat("hi", **options).content
        return stream_text(client.stream_chat("hi", **options))
    except OpenAIError as error:
        assert str(error).startswith("POST /chat/completions: "), error
        assert pickle.loads(pickle.dumps(error)).args == error.args
        return error


def faults_raw(raw: bytes, **how) -> Answer:
    return Answer(raw=b"HTTP/1.1 200 OK\r\n" + raw, **how)


def faults_status(status, **headers) -> Answer:
    return Answer(status, json={"error": {"message": "why", "code": "c"}}, headers=headers)


CUT_AT = len(json.dumps(CHAT)) // 2
GZIP = {"content-encoding": "gzip"}
ATTEMPTS = [  # id, how call and stream end, attempts with max_retries=2, the answer each time
    ("reset before the headers", BROKEN, 3, Answer(raw=b"", reset=0)),
    ("reset after the headers", BROKEN, 3, Answer(json=CHAT, reset=0)),
    ("reset in the body", BROKEN, 3, Answer(json=CHAT, reset=20)),
    ("empty reply", BROKEN, 3, Answer(raw=b"")),
    ("no HTTP at all", BROKEN, 3, Answer(raw=b"220 smtp ready\r\n")),
    ("HTTP/1.0", "hello", 1, Answer(json=CHAT, framing="http10")),
    ("chunked", "hello", 1, Answer(json=CHAT, framing="chunked", drip=7)),
    ("Connection: close", "hello", 1, Answer(json=CHAT, framing="close")),
    ("deflate", "hello", 1, Answer(json=CHAT, gzip="deflate", drip=9)),
    ("gzip that is none", WRONG, 3, Answer(json=CHAT, headers=GZIP)),
    ("a coding unknown", WRONG, 1, Answer(json=CHAT, headers={"content-encoding": "br"})),
    ("cut, with a length", WRONG, 3, Answer(json=CHAT, cut=CUT_AT)),
    ("cut, chunked", WRONG, 3, Answer(json=CHAT, framing="chunked", cut=CUT_AT)),
    ("cut, gzip, chunked", WRONG, 3, Answer(json=CHAT, gzip=True, framing="chunked", cut=60)),
    ("cut, to the end", WRONG, 1, Answer(json=CHAT, framing="close", cut=CUT_AT)),
    ("chunks that are none", WRONG, 3, faults_raw(b"transfer-encoding: chunked\r\n\r\nzz\r\n")),
    ("204", WRONG, 1, Answer(204)),
    ("stream cut before its first event", WRONG, 3, Answer(sse=["x"], cut=3)),
    ("304", APIStatusError, 1, Answer(304)),
    *((str(status), APIStatusError, attempts, faults_status(status))
      for attempts, *statuses in [(1, 400, 401, 402, 403, 404, 413, 418, 422, 425),
                                  (3, 408, 409, 429, 500, 502, 503, 504, 529, 599)]
      for status in statuses),
    ("quota", RateLimitError, 1, Answer(429, json={"error": {"code": "insufficient_quota"}})),
    *(("%d, x-should-retry: %s" % (status, asked), APIStatusError, attempts,
       faults_status(status, **{"x-should-retry": asked}))
      for status, asked, attempts in [(400, "true", 3), (429, "FALSE", 1), (500, "?", 3)]),
    *(("400, " + str(how), BadRequestError, 1, Answer(400, json={"error": "why"}, **how))
      for how in ({"reset": 5}, {"gzip": True, "cut": 9})),
]  # fmt: skip


@pytest.mark.parametrize("case", ATTEMPTS, ids=lambda case: case[0])
@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
def test_a_fault_ends_in_the_right_way_after_the_right_attempts(
    server, faults_session, case, stream
):
    _, expected, attempts, answer = case
    server.default = answer
    kinds = (expected, StreamInterruptedError) if stream else expected
    with faults_client(server, session=faults_session) as client:
        for max_retries, tries in ((2, attempts), (0, 1)):
            server.requests.clear()
            ending = faults_ending(client, stream, max_retries=max_retries)
            assert len(server.requests) == tries
            assert len(set(client_sent(server, "idempotency-key"))) == 1
            if isinstance(expected, str):
                assert ending == expected
                continue
            assert isinstance(ending, kinds) and "%d attempt" % tries in str(ending)
            assert answer.status < 300 or ending.status_code == answer.status
        server.default = usual  # what was left of the last connection does no harm
        assert faults_ending(client, stream) == "hello"
        assert client.stats()["queue"] == {"running": 0, "waiting": 0}


def test_a_host_that_takes_no_connection_is_given_up_after_the_connect_timeout():
    with contextlib.ExitStack() as stack:
        deaf, *callers = (stack.enter_context(socket.socket()) for _ in range(4))
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for caller in callers:  # fill its backlog
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        url = "http://127.0.0.1:%d/v1" % deaf.getsockname()[1]
        client = faults_client(None, base_url=url, timeout=(0.1, 30), max_retries=2)
        error = faults_ending(client)
    assert isinstance(error, LATE) and "0.1 s" in str(error) and "3 attempts" in str(error)


def test_a_pooled_connection_that_dies_is_replaced_but_not_in_the_answer(server, faults_session):
    """Once an answer has begun the server was at work: to ask again must be the caller's wish."""
    ok = Answer(json=CHAT)
    with faults_client(server, max_retries=0, session=faults_session) as client:
        assert client.chat("1").content == "hello"
        server.drop_connections()
        server.wait_for(lambda: not server.open_connections)
        assert client.chat("2").content == "hello" and server.connections == 2
    server.script(ok, Answer(raw=b""), ok, Answer(raw=b"", reset=0), ok)
    server.script(faults_raw(b"cont", reset=99))
    with faults_client(server, max_retries=0) as client:
        assert client.chat("1").content == client.chat("2").content == "hello"
        assert client.upload_file(b"{}\n" * 100_000).object == "chat.completion"
        assert [request.connection for request in server.requests[2:]] == [3, 3, 4, 4, 5]
        assert isinstance(faults_ending(client), BROKEN)
        assert client.stats()["retries"] == 0 and len(server.requests) == 8


def test_headers_that_drip_do_not_renew_the_time(server):
    head = b"HTTP/1.1 200 OK\r\n" + b"x-more: y\r\n" * 90
    server.default = Answer(raw=[head[i : i + 4] for i in range(0, len(head), 4)], pause=0.02)
    for options in ({"timeout": (5, 0.2)}, {"deadline": 0.2}):
        with faults_client(server, max_retries=0, **options) as client:
            assert isinstance(faults_ending(client), LATE)
    assert server.wait_requests(2) and server.wait_closed(2) and len(server.requests) == 2


def test_a_body_may_be_slow_but_not_beyond_the_deadline(server, faults_session):
    server.default = Answer(json=CHAT, drip=40, pause=0.03, framing="chunked")
    with faults_client(server, session=faults_session, timeout=(5, 0.5)) as client:
        assert client.chat("hi").content == "hello"  # each piece renews the time
        error = faults_ending(client, deadline=0.15)
    assert isinstance(error, LATE) and "deadline" in str(error)
    assert server.wait_requests(2) and len(server.requests) == 2


@pytest.mark.parametrize("after", [None, 2], ids=["no answer", "half a body"])
def test_a_server_that_never_answers_a_post_is_asked_twice_at_most(server, faults_session, after):
    server.default = Answer(json=CHAT, drip=40, wait=threading.Event(), hold_after=after)
    with faults_client(server, timeout=(5, 0.08), max_retries=5, session=faults_session) as client:
        error = faults_ending(client)
        assert isinstance(error, LATE) and "2 attempts" in str(error)
        assert after or "0.08 s" in str(error) and "timeout=" in str(error)
        assert server.wait_requests(2) and len(server.requests) == 2
        with pytest.raises(LATE, match="4 attempts"):  # reading again costs nothing
            client.list_models(max_retries=3)
        error = faults_ending(client, timeout=None, deadline=0.05)  # no reason to ask again
        assert isinstance(error, LATE) and "deadline" in str(error)
        assert server.wait_closed(7) and len(server.requests) == 7
        assert client.stats()["queue"]["running"] == 0


@pytest.mark.parametrize("early", [HINTS, b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS * 2])
def test_early_hints_never_give_the_answer_of_another_call(server, faults_session, early):
    """http.client takes a 103 for the answer: with session= that attempt fails, and no mix-up."""
    server.default = lambda request: Answer(json=dict(CHAT, id=request.json["user"]))
    with faults_client(server, session=faults_session) as client:
        for user in ("1", "2", "3"):
            server.script(Answer(json=dict(CHAT, id=user), early=early))
            assert client.chat("hi", user=user).id == user
            assert client.chat("hi", user="own" + user).id == "own" + user
    assert faults_session or server.connections == 1 and len(server.requests) == 6


@pytest.mark.parametrize("amid", ["a call", "a stream", "the wait before a retry"])
def test_ctrl_c_ends_at_once_and_leaves_nothing(server, amid):
    """Nothing of the server, and of slots, threads and sockets."""
    seen = threading.Event()
    server.default = Answer(500, json={}, headers={"retry-after": "50"}, close=True)
    if amid == "a call":
        server.default = lambda request: (seen.set(), Answer(wait=threading.Event()))[1]
    elif amid == "a stream":
        stream_held(server, "hel", "lo")

    def strike():
        seen.wait(10)
        time.sleep(0.05)  # a signal just before a system call would not end that
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = loopback_thread(strike)
    on_event = lambda event: event["event"] == "retry" and seen.set()  # noqa: E731
    client = faults_client(server, on_event=on_event)
    with nothing_left_over():
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            if amid != "a stream":
                client.chat("hi")
            for _ in client.stream_chat("hi"):
                seen.set()
        thread.join(10)
    stats = client.stats()
    assert stats["queue"] == {"running": 0, "waiting": 0}
    assert stats["abandoned"] == 1 and stats["failed"] == 0 and len(server.requests) == 1


def test_an_answer_that_ends_in_its_head_is_none(server):
    """Its body would seem to be empty, and whole."""
    server.default = Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\nconte")
    with faults_client(server) as client:
        error = client_error(lambda: client.text_to_speech("hi"), APIConnectionError)
    assert error.is_transient_error and len(server.requests) == 3
# ------------------------------------------------------------------------------------------------
# Answers: an answer is what holds one
#
# What comes under status 200 is an answer only if it holds one; a streamed message is put together
# by meaning. Kinds from public reports and siblings of them; the repository and number stand by.

W = "no worker for this tenant"


def one(delta, finish=None, **more) -> dict:
    """A chunk with one choice; what is in `more` stands beside its delta."""
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, **more}]}


END = one({}, "stop")


def said(finish=None, **delta) -> dict:
    """A chunk of a server that says the role, and a text, in each."""
    return one({"role": "assistant", "content": "", **delta}, finish)


def text(words, finish=None, **more) -> dict:
    return one({"content": words}, finish, **more)


def of_stream(client, *items):
    """The stream over these events, read to its end."""
    client.server.script(Answer(sse=list(items)))
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
    ("error beside null", {"choices": None, "error": {"message": W, "code": 502}},
        InternalServerError, 2),
    ("detail", {"detail": W}, APIError, 1),  # openai-agents-python#2850
    ("message", {"message": W, "code": "TENANT"}, APIError, 1),
    ("nothing", {"id": "x", "object": "chat.completion"}, APIError, 1),
    ("msg", {"code": 40001, "msg": W, "choices": []}, APIError, 1),
    ("object: error", {"object": "error", "message": W, "code": 400}, BadRequestError, 1),
    ("a code nobody knows", {"error": {"message": W, "code": "inspection_failed"}}, APIError, 1),
    ("error_type: overloaded", {"error": W, "error_type": "overloaded"}, APIError, 2),
    ("a type of rate", {"error": {"message": W, "type": "rate_limit_error"}}, RateLimitError, 2),
    ("words of overload", {"error": {"message": W + ": overloaded"}}, APIError, 2),
    ("in the choice", one({"content": ""}, "error", error={"message": W, "code": 502},
                          message={"content": ""}), InternalServerError, 2),
    ("beside a choice", dict(CHAT, error={"message": W, "code": 429}), RateLimitError, 2),
]  # fmt: skip


@pytest.mark.parametrize("how", ["call", "stream", "stream, JSON"])
@pytest.mark.parametrize("case", NO_ANSWERS, ids=lambda case: case[0])
def test_what_holds_no_answer_is_an_error_with_the_servers_words(server, once, case, how):
    name, body, kind, attempts = case
    server.default = Answer(sse=[body]) if how == "stream" else Answer(json=body)
    asked = functools.partial(once.chat if how == "call" else once.stream_chat, "hi", max_retries=1)
    error = client_error(lambda: list(asked()), kind)
    assert str(error).startswith("POST /chat/completions: ") and len(server.requests) == attempts
    assert "nothing" in name or W in str(error)
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
}  # fmt: skip


@pytest.mark.parametrize("first", [True, False], ids=["at first", "in mid-stream"])
@pytest.mark.parametrize("case", ERROR_EVENTS)
def test_an_error_inside_a_stream_is_raised_with_what_had_come(server, once, case, first):
    event, kind = ERROR_EVENTS[case]
    done = "end of the body" not in case
    items = [event] if first else [b": ping\n\n", text("So "), event]
    server.script(Answer(sse=items, done=done, framing="chunked" if done else "close"))
    got = []
    error = client_error(lambda: got.extend(once.stream_chat("hi")), kind)
    assert W in str(error) and len(server.requests) == 1 and error.partial.role == "assistant"
    assert [error.partial.content or ""] == ([piece.content for piece in got] or [""])
    assert len(got) == (not first)


def test_an_event_that_says_nothing_is_passed_over_and_is_no_answer(once):
    for empty in (b"data:\n\n", b"data: \n\n", b"event: ping\ndata:\n\n", b"data\n\n"):
        items = [empty, text("Good "), empty, empty, text("day", "stop"), empty]  # omnigent#1474
        stream = of_stream(once, *items)
        assert stream.content == "Good day" and stream.stats["chunks"] == 2
    for nothing in ((), (empty,), ({"choices": [], "usage": {}},)):
        error = client_error(lambda: of_stream(once, *nothing), APIError)
        assert error.partial.role == "assistant" and not error.partial.content


@pytest.mark.parametrize("size", [b"zz", b"-5", b"f" * 18])
def test_chunks_that_arrived_before_the_body_broke_reach_the_caller_first(server, once, size):
    came = sse_bytes(text("came"))
    head = b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n"
    server.script(faults_raw(head % (len(came), came) + size + b"\r\n"))
    got = []
    error = client_error(lambda: got.extend(once.stream_chat("hi")), APIError)
    assert [piece.content for piece in got] == ["came"] and error.partial.content == "came"


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", "text/html", ""])
def test_an_answer_under_another_content_type_is_read_by_its_first_bytes(server, once, kind):
    events = b"\n: ping\n\n" + b"".join(map(sse_bytes, [text("hel"), text("lo", "stop"), "[DONE]"]))
    whole = b"\xef\xbb\xbf \n" + json.dumps(CHAT).encode()
    for body, of_kind in ((events, kind), (events[1:], kind), (whole, kind),
                          (events[1:], "application/json"), (whole, "text/event-stream")):
        server.script(Answer(body=body, content_type=of_kind))
        assert stream_text(once.stream_chat("hi")) == "hello"
    server.script(*[Answer(body=whole, content_type=kind or "text/plain")] * 2)
    assert once.chat("hi").content == "hello"
    assert not isinstance(once.request("POST", "/things"), dict)  # which goes by the Content-Type


# By meaning

USAGE = {"usage": {"total_tokens": 14}}
MSG = {"role": "assistant", "content": "Hello there."}
LAST = {"choices": [{"index": 0, "finish_reason": "stop", "delta": None,
                     "message": dict(MSG, reasoning_content="A greeting.", audio_content="")}],
        **USAGE, "base_resp": {"status_code": 0, "status_msg": ""}}  # fmt: skip
ZERO = {"usage": {"total_tokens": 0}}
SUMMARY = {"type": "reasoning.summary", "format": "r-v1", "index": 0, "id": "rs_1"}
SEALED = {"type": "reasoning.encrypted", "format": "r-v1", "index": 0, "id": "rs_1", "data": "x-"}


def parts(*pairs) -> dict:
    """A delta whose content is parts: (type, value) pairs, the value under the type's name."""
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
    ("usage, a greater one, zeros", [dict(text("a"), usage={"total_tokens": 9}),
        dict(text(""), **USAGE), dict(END, **ZERO)], "a", {}),
    ("no role, no calls", [said(role=None, tool_calls=[]), said("stop", role="", content="a")],
        "a", {}),
    # ai-sdk-provider#519
    ("details by type", [*(one({"content": "", "reasoning_details": [detail]}) for detail in [
        dict(SUMMARY, summary="Weigh"), dict(SUMMARY, summary="ing"), SEALED, SEALED]), END], "",
        {"reasoning_details": [dict(SUMMARY, summary="Weighing"), SEALED, SEALED]}),
    ("two choices for one", [{"choices": text("a")["choices"] + [
        {"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"}]}, END], "a", {}),
]  # fmt: skip


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
    "whole, once more": ([[sp(PARIS, "f", "a", 0)], [sp(PARIS, "f", "a", 0)]], ("f", PARIS, "a")),
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
}  # fmt: skip


@pytest.mark.parametrize("case", STREAMED_CALLS)
def test_there_are_as_many_calls_as_the_server_made_and_they_go_back(once, case):
    pieces, *right = STREAMED_CALLS[case]
    chunks_of_it = [one({"tool_calls": piece}) for piece in pieces]
    stream = of_stream(once, *chunks_of_it, one({}, "tool_calls"))
    calls = stream.tool_calls
    told = [(c.function.name, c.function.arguments, c.id) for c in calls]
    assert [(*call[:2], id and call[2]) for call, (_, _, id) in zip(told, right)] == right
    assert len(calls) == len(right) == len({c.id or None for c in calls} - {None})
    assert stream.content == "" and stream.finish_reason == "tool_calls"
    assert calls == stream.message.tool_calls  # with the same ids at each look
    assert [set(c) for c in calls] == [{"id", "type", "function"}] * len(calls)
    assert_it_goes_back(once, stream.message)


def assert_it_goes_back(once, message):
    """In the next turn the message is sent as it is, with an answer to each of its calls."""
    calls = message.get("tool_calls") or []
    answers = [{"role": "tool", "tool_call_id": c["id"], "content": "rain"} for c in calls]
    once.chat([{"role": "user", "content": "hi"}, message, *answers])
    assert once.server.requests[-1].json["messages"][1] == message


DELTA = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0}
DONE = dict(DELTA, type="response.output_text.done")
ITEM, ITEM_1, ITEM_2 = ({"type": "message", "content": [{"type": "output_text", "text": words}]}
                        for words in ("Lima.", "Li", "ma."))  # fmt: skip
LI = dict(DELTA, delta="Li")
OUT = {"type": "response.output_item.done", "output_index": 0, "item": ITEM}


def completed(*output, kind="completed") -> dict:
    return {"type": "response." + kind, "response": {"output": list(output), **USAGE}}


@pytest.mark.parametrize(
    "items",
    [[dict(DONE, text="Lima."), completed(ITEM)], [OUT, completed()],
     [LI, dict(DELTA, delta="ma."), dict(DONE, text="Lima."), OUT, completed(ITEM)],
     [completed({"type": "reasoning"}, ITEM, kind="incomplete")],
     [LI, completed(ITEM_1, ITEM_2)]],
    ids=["text.done", "item.done", "all", "at the end alone", "two items"],
)  # fmt: skip
def test_the_text_of_a_responses_stream_is_told_once_wherever_it_stands(server, once, items):
    server.script(Answer(sse=[(i["type"], i) for i in items], done=False))  # codex-lb#504
    stream = once.responses.create(model="m", input="x", stream=True)
    assert stream_text(stream) == "Lima." == stream.content == stream.message.content
    assert stream.usage == USAGE["usage"]


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
        said(tool_calls=[dict(TWO, index=1)]), dict(one({}, "tool_calls"), x_groq=USAGE)],
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
]  # fmt: skip


@pytest.mark.parametrize("case", MEANINGS + BY_SERVER, ids=lambda case: case[0])
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
        ({"message": {"content": None, "refusal": "no"}}, None), ({"error": None}, "ok"),
        ({"message": {"role": None, "tool_calls": [], **IN_PARTS}}, "Hi!"),
        ({"message": {"content": 6}}, "6"),
        ({"message": {"role": "assistant"}, "finish_reason": "content_filter"}, None),
        ({"content_filter_results": NO_FILTER}, "ok")]),
    *((dict(beside, choices=[OK_CHOICE]), "ok") for beside in [
        {"error": ""}, {"error": {"code": None, "message": ""}}, {"detail": "cached", "code": 0},
        {"base_resp": {"status_code": 0, "status_msg": "unknown field"}}]),  # lobehub#4054
]  # fmt: skip


@pytest.mark.parametrize("body, words", FINE, ids=str)
def test_an_answer_that_holds_one_is_no_error(server, once, body, words):
    server.script(Answer(json=body), Answer(json=body))
    result = once.chat("hi")
    assert result.content == words and result.message.role == "assistant"
    assert result.message.get("tool_calls") != []
    assert stream_text(once.stream_chat("hi")) == (words or "")
    chunk_of_it = json.loads(json.dumps(body).replace('"message": {', '"delta": {'))
    assert of_stream(once, chunk_of_it).content == (words or "")


def test_other_paths_are_judged_by_an_error_alone(server, once):
    bodies = [{"object": "response", "output": [], "error": None}, {"errors": {"data": []}},
              {"detail": "of the thing", "message": "m", "code": 7}, {"choices": None}]  # fmt: skip
    for body in bodies:
        server.script(Answer(json=body))
        assert once.request("GET", "/anything") == body
    job = {"object": "fine_tuning.job", "status": "failed", "error": {"message": "a bad file"}}
    server.script(Answer(json=job), Answer(json={"error": {"message": W, "code": 429}}))
    assert once.fine_tuning.jobs.retrieve("j") == job  # which is an answer
    assert W in str(client_error(lambda: once.request("GET", "/anything"), RateLimitError))


def test_text_that_looks_like_an_error_and_lines_that_are_none_are_no_errors(once):
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
]))  # fmt: skip


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
]  # fmt: skip


def test_any_json_under_200_is_an_answer_that_holds_one_or_an_error_of_ours(tmp_path):
    with LoopbackServer() as server:
        client = client_for(server, max_retries=0, circuit_breaker=False)

        @hypothesis.settings(max_examples=250)
        @hypothesis.given(st.lists(ANY, min_size=1, max_size=3), st.sampled_from(range(-12, 2)))
        def any_answer(datas, number):  # those from 0 on are of events
            server.requests.clear()
            server.default = Answer(sse=datas) if number >= 0 else Answer(json=datas[0])
            try:
                answer = ANY_CALL[number](client, tmp_path)
                assert answer is not None and json.dumps(answer)
            except OpenAIError as error:
                assert str(error) and pickle.loads(pickle.dumps(error)).args == error.args

        any_answer()


# ------------------------------------------------------------------------------------------------
# Uploads
#
# Files go out from disk as they are read, under one harmless name, the same on every attempt.

FULL = bool(os.environ.get("OPENAI_MINI_FULL"))  # read before the fixture hides it
PNG, JPG = b"\x89PNG\r\n\x1a\n-the rest of an image-", b"\xff\xd8\xff\xe0-the rest of a photo-"
MP3 = b"ID3\x04-the rest of a song-"

new_client = client_for


def chat_saying(content, finish="stop", **message) -> Answer:
    """The answer of a chat with this content."""
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
    """`GET /files?limit=2` of a request: its method and what it asks for below /v1."""
    return "%s %s" % (request.method, request.target.replace("/v1", "", 1))


@pytest.fixture
def uploads(server):
    """The server, which answers as to an upload."""
    server.default = Answer(json={"id": "file-1", "object": "file"})
    return server


FILE_NAMES = [  # what the caller gives, the name that arrives (None: any)
    ("my file.txt", "my file.txt"), ('a"b.txt', "a%22b.txt"), ("größe-日本.txt", "größe-日本.txt"),
    ('x"\r\nA: b-c\r\n\r\n', "x%22%0D%0AA: b-c%0D%0A%0D%0A"), ("a;b=c.txt", "a;b=c.txt"),
    ("%22.txt", "%22.txt"), *((name, None) for name in ("", "\ud800.txt", "nul\0.txt", "\x1b[31m")),
]  # fmt: skip


@pytest.mark.parametrize("name, arrives", FILE_NAMES, ids=ascii)
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
        ):  # fmt: skip
            client.transcribe_audio(given, language="en", timestamp_granularities=["word"])
            assert part_of(uploads.requests[-1])[1:] == (*expected, MP3)
    assert {p.name: p.body for p in uploads.requests[-1].parts if not p.filename} == {
        "language": b"en", "model": b"gpt-transcribe", "timestamp_granularities[]": b"word",
    }  # fmt: skip
    client.translate_audio(MP3)
    assert line_of(uploads.requests[-1]) == "POST /audio/translations"
    assert part_of(uploads.requests[-1], "model").body == b"whisper-1"


def test_fields_and_content_types_cannot_forge_a_header(uploads, client):
    files = {'f"\r\n': ("a.txt", b"1", "text/plain\r\nX-Evil: 1")}
    client.request("POST", "/files", data={'a"\r\nX: y': "1\r\n--x", "b": "ü"}, files=files)
    (request,) = uploads.requests
    assert [head.count(b"\r\n") for head in request.part_heads] == [0, 0, 1]
    assert [part.body for part in request.parts] == [b"1\r\n--x", "ü".encode(), b"1"]


def test_what_cannot_be_uploaded_is_named_and_nothing_is_sent(uploads, client, tmp_path):
    empty, text, at_its_end = tmp_path / "empty.txt", tmp_path / "text.txt", io.BytesIO(b"words")
    empty.write_bytes(b"")
    text.write_text("words")
    at_its_end.read()
    with nothing_left_over(), open(str(text)) as opened:
        for given, kind, words in (
            (tmp_path / "missing.txt", FileNotFoundError, "missing.txt"),
            (tmp_path, OSError, tmp_path.name), (("a", "no such file"), OSError, "no such file"),
            (empty, ValidationError, "empty.txt"), (b"", ValidationError, None),
            (at_its_end, ValidationError, None), (io.StringIO("x"), ValidationError, None),
            (opened, ValidationError, "text.txt"), (None, ValidationError, "None"),
            (("a.txt",), ValidationError, "a.txt"), ("nul\0byte", ValidationError, "nul"),
        ):  # fmt: skip
            for send in (client.upload_file, client.transcribe_audio):
                with pytest.raises(kind, match=words and re.escape(words)):
                    send(given)
    assert not uploads.requests


def test_the_bytes_are_the_same_on_every_attempt(uploads, faults_session, tmp_path):
    client = client_for(uploads, circuit_breaker=False, session=faults_session)
    content, path, told = os.urandom(400_000), tmp_path / "a.bin", []
    path.write_bytes(content)
    read_end, write_end = os.pipe()
    loopback_thread(lambda: open(write_end, "wb").write(content)).start()
    with client, open(str(path), "rb") as standing, open(read_end, "rb") as pipe:
        standing.seek(1000)
        for given in (path, bytearray(content), memoryview(content), standing, pipe):
            expected = content[1000:] if given is standing else content
            uploads.requests.clear(), told.clear()
            uploads.script(Answer(503, json={}), Answer(raw=b"", reset=0))
            uploads.script(Answer(429, json={}, headers={"retry-after": "0"}))
            assert client.upload_file(given, progress=lambda *sent: told.append(sent)).id
            assert [part_of(request).body == expected for request in uploads.requests] == [True] * 4
            (length,) = {request.length for request in uploads.requests}
            assert uploads.requests[0].headers["content-length"] == str(length)
            assert told.count((length, length)) == 4 and len(told) > 8


def test_a_file_of_the_callers_stays_open_and_ours_are_closed(uploads, client, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"x")
    with open(str(path), "rb") as file:
        client.upload_file(file)
        assert not file.closed
    with warnings.catch_warnings(record=True) as warned, nothing_left_over():
        warnings.simplefilter("always", ResourceWarning)
        uploads.script(Answer(json={}), Answer(400))
        client.upload_file(path)
        client_error(lambda: client.upload_file(path), BadRequestError)
        gc.collect()
        assert not [one for one in warned if "a.bin" in str(one.message)]


def test_of_a_file_that_changes_while_it_is_sent_the_old_length_goes_out_or_nothing(
    uploads, client, tmp_path
):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"x" * 1_000_000)
    with pytest.raises(OSError, match="log.jsonl"):
        client.upload_file(path, progress=lambda *sent: os.truncate(str(path), 1000))
    with pytest.raises(ZeroDivisionError):  # what progress raises reaches the caller
        client.upload_file(b"x" * 1_000_000, progress=lambda sent, total: sent // 0)
    assert client.stats()["queue"]["running"] == 0 and not uploads.requests
    path.write_bytes(b"x" * 300_000)
    client.upload_file(path, progress=lambda *sent: os.truncate(str(path), 300_001))
    assert part_of(uploads.requests[0]).body == b"x" * 300_000


# Downloads


@pytest.mark.parametrize("method", ["download_file", "text_to_speech"])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_download_is_written_as_it_arrives_and_counted(
    server, client, tmp_path, monkeypatch, framing, method
):
    get = functools.partial(getattr(client, method), "file-1")
    content, path, into, told = os.urandom(300_000), tmp_path / "out.bin", io.BytesIO(), []
    tell = lambda *done: told.append(done)  # noqa: E731
    server.default = Answer(body=content, framing=framing, drip=70_000)
    assert get(to=path, progress=tell) == len(content) and path.read_bytes() == content
    total = len(content) if framing == "length" else None
    assert told[-1] == (len(content), total) and len(told) > 2 and told == sorted(told)
    with open(str(path), "ab") as file:
        assert get(to=file) == len(content)
    assert path.read_bytes() == content * 2 and os.listdir(str(tmp_path)) == ["out.bin"]
    whole = get(progress=tell)
    assert isinstance(whole, bytes) and whole == whole.content == whole.read() == content
    assert told[-1] == (len(content), total)
    server.script(Answer(body=b"x" * 10_000, cut=5000), Answer(body=b"y" * 10_000))
    with contextlib.suppress(APIError):
        get(to=into)
    assert into.getvalue() in (b"x" * 5000, b"y" * 10_000), "it is not begun again"
    with pytest.raises(OSError):
        get(to=tmp_path / "no folder" / "out.bin")
    monkeypatch.setattr(openai_mini, "MAX_BODY_BYTES", 1000)
    with pytest.raises(APIResponseError, match="1000"):
        get(progress=tell)


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


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_file_of_any_size_needs_less_than_2_mib(uploads, tmp_path, way):
    """Of a GiB with OPENAI_MINI_FULL=1; of an eighth of that else."""
    block, size, path = os.urandom(1 << 17), (1 << 30) // (1 if FULL else 8), str(tmp_path / "x")
    uploads.keep_bodies = False
    if way == "down":
        uploads.default = lambda request: Answer(
            pieces=lambda: itertools.repeat(block, int(request.query["size"]) // len(block)),
            headers={"content-length": request.query["size"]})  # fmt: skip
    done = run_python(MEMORY_SCRIPT, uploads.url, path, way, str(size), timeout=300)
    assert int(done.stdout) // (1024 if sys.platform == "darwin" else 1) < 2048, done.stderr
    assert os.path.getsize(path) == size and (way == "down" or uploads.requests[-1].length > size)


# ------------------------------------------------------------------------------------------------
# Endpoints
#
# The methods of the client: what is sent, what comes back.

HI = [{"role": "user", "content": "hi"}]
RIGHT = [  # messages of the right shape
    *({"role": role, "content": "x"} for role in "developer system user tool function".split()),
    {"role": "assistant", "content": None, "tool_calls": []},
    {"role": "assistant", "refusal": "no"}, {"role": "assistant", "content": ""},
    {"role": "user", "content": [{"type": "text", "text": "x"}]},
]  # fmt: skip
METHODS = [  # method, arguments, request line, JSON body, or what else stands in the body
    ("chat", ["hi"], {"seed": openai_mini.NOT_GIVEN, "stop": None}, "POST /chat/completions",
     {"messages": HI, "model": "gpt-5.4-mini", "stop": None}),
    ("chat", [(*RIGHT,)], {"model": "m"}, "POST /chat/completions",
     {"messages": RIGHT, "model": "m"}),
    ("stream_chat", ["hi"], {"model": "m"}, "POST /chat/completions",
     {"messages": HI, "model": "m", "stream": True}),
    ("run_tools", [HI, []], {"model": "m"}, "POST /chat/completions",
     {"messages": HI, "model": "m"}),
    ("embedding", ["x"], {"dimensions": 2}, "POST /embeddings",
     {"input": ["x"], "model": "text-embedding-3-small", "dimensions": 2}),
    ("moderation", ["x"], {}, "POST /moderations",
     {"input": "x", "model": "omni-moderation-latest"}),
    ("generate_image", ["x"], {"n": 2}, "POST /images/generations",
     {"prompt": "x", "n": 2, "model": "gpt-image-2"}),
    ("text_to_speech", ["x"], {}, "POST /audio/speech",
     {"input": "x", "voice": "alloy", "model": "gpt-4o-mini-tts"}),
    ("text_to_speech", ["x", "nova"], {"model": "tts-1", "speed": 1.5}, "POST /audio/speech",
     {"input": "x", "voice": "nova", "model": "tts-1", "speed": 1.5}),
    ("request", ["POST", "/x"], {"json": {}}, "POST /x", {}),
    ("edit_image", [PNG, "x"], {}, "POST /images/edits", b"gpt-image-2"),
    ("transcribe_audio", [MP3], {}, "POST /audio/transcriptions", b"gpt-transcribe"),
    ("translate_audio", [MP3], {}, "POST /audio/translations", b"whisper-1"),
    ("upload_file", [b"{}"], {}, "POST /files", b"fine-tune"),
    ("download_file", ["file-1"], {}, "GET /files/file-1/content", b""),
    ("list_models", [], {}, "GET /models", b""), ("health", [], {}, "GET /models", b""),
]  # fmt: skip


@pytest.mark.parametrize("method, args, kwargs, line, body", METHODS)
def test_each_method_sends_what_its_row_says_and_takes_the_options_of_a_call(
    server, client, method, args, kwargs, line, body
):
    one = {"id": "m", "index": 0, "embedding": [1.0]}
    server.default = Answer(json=dict(CHAT, text="t", data=[one]))
    own = {"timeout": 9, "deadline": 60, "max_retries": 0, "priority": openai_mini.HIGH}
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


# Chat


def person_schema(strict: bool) -> dict:
    """What the class below says of itself, and what of that is sent: strict to its leaves."""

    def an_object(**properties):
        made = {"type": "object", "properties": properties}
        return dict(made, additionalProperties=False, required=[*properties]) if strict else made

    def default(value):
        return {} if strict else {"default": value}

    step = {"$ref": "#/$defs/Step"}
    person = an_object(
        name={"type": "string"},
        inner=an_object(x={"type": "integer", **default(1)}),
        first=dict({"anyOf": [step]} if strict else step, description="the first"),
        steps={"type": "array", "items": step, **default([])},
    )
    definitions = {"Step": an_object(default={"type": "string"})}
    return {"required": ["name"], "$defs": definitions, **person}


STRICT_PERSON = person_schema(strict=True)


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


def test_a_class_as_schema_is_strict_and_what_does_not_fit_it_is_an_error(server, client):
    server.script(chat_saying('{"name": "Ada"}'), chat_saying(None))  # the second is a refusal
    parsed = client.chat("hi", schema=Person).parsed
    assert isinstance(parsed, Person) and parsed.name == "Ada"
    expected = {"name": "Person", "strict": True, "schema": STRICT_PERSON}
    sent = server.requests[0].json["response_format"]
    assert sent == {"type": "json_schema", "json_schema": expected}
    assert client.chat("hi", schema=Person).parsed is None
    answers = (chat_saying("{}"), "name: field"), (chat_saying('{"a": ', finish="length"), "token")
    for server.default, words in answers:
        error = client_error(lambda: client.chat("hi", schema=Person), APIResponseError)
        assert re.match("POST /chat/completions.*" + words, str(error))


# Embeddings: more of them is below, in use


def vectors(turned=False, as_base64=False):
    """Answers with the embeddings of numbers, or lists of them, each as two floats."""

    def answer(request):
        data = []
        for index, one in enumerate(request.json["input"]):
            vector = [float(one[0] if isinstance(one, list) else one), 0.5]
            if as_base64:
                vector = base64.b64encode(struct.pack("<2f", *vector)).decode()
            data.append({"object": "embedding", "index": index, "embedding": vector})
        return Answer(json={"object": "list", "data": data[::-1] if turned else data})

    return answer


@pytest.mark.parametrize(
    "given, sent, expected",
    [
        ("7", ["7"], [7.0]), ([], None, []), (map(str, [7, 8]), ["7", "8"], [7.0, 8.0]),
        ([1, 2, 3], [[1, 2, 3]], [1.0]), ([[1, 2], [4]], [[1, 2], [4]], [1.0, 4.0]),
    ],
)  # fmt: skip
def test_an_embedding_is_a_list_of_vectors_in_input_order(server, client, given, sent, expected):
    server.default = vectors(turned=True)
    assert client.embedding(given) == [[number, 0.5] for number in expected]
    assert [request.json["input"] for request in server.requests] == ([sent] if sent else [])


def test_long_inputs_are_split_by_size_too(server, client):
    one = {"index": 0, "embedding": [1.0]}
    server.default = Answer(json={"data": [one, dict(one, index=1)]})
    assert len(client.embedding(["x" * 250_000] * 4)) == 4
    assert [len(request.json["input"]) for request in server.requests] == [2, 2]


def test_a_deadline_is_that_of_all_parts_together(server, client):
    data = [{"index": i, "embedding": [1.0]} for i in range(2048)]
    server.default = Answer(pieces=[json.dumps({"data": data}).encode(), b" "], pause=0.1)
    client_error(lambda: client.embedding(["x"] * 2048 * 20, deadline=0.5), APITimeoutError)
    assert len(server.requests) < 12


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
    files = [(part.name, part.filename) for part in many.parts if part.filename]
    assert files == [("image[]", "file.png"), ("image[]", "b.jpg")]


@pytest.mark.parametrize(
    "kind, body, content_type, text",
    [("srt", "1\n00:00:00,000 --> 00:00:01,000\nGrüße\n", "text/plain", None),
     ("text", "words", "application/json", None), ("text", "{music} hi", "text/plain", None),
     ("json", '{"text": "hi"}', "text/plain", "hi")],
)  # fmt: skip
def test_the_text_formats_are_text_too(server, client, kind, body, content_type, text):
    server.default = Answer(body=body, content_type=content_type)
    for method in (client.transcribe_audio, client.translate_audio):
        result = method(MP3, response_format=kind)
        assert result.text == str(result) == "%s" % result == (text or body)


def test_health_tells_and_never_raises(server, client):
    server.default = Answer(json={"data": [{"id": "b"}, {"id": "a"}]})
    assert client.list_models() == ["b", "a"]
    health = client.health()
    assert 0 <= health.pop("latency_s") < 10
    assert health == {"ok": True, "models": 2, "circuit": "closed", "error": None}
    assert "vault" in OpenAIMini(lambda: {}["vault"], base_url=server.url).health()["error"]
    server.requests.clear()
    no_lists = [Answer(json=odd) for odd in ({"data": 5}, {"data": [5]}, {"data": [{}]}, [1], {})]
    for server.default in (Answer(500, body="broken"), Answer(body="<html>"), *no_lists):
        health = client.health()
        assert health["ok"] is False and health["error"] and health["models"] is None
    assert len(server.requests) == 7, "it asks once"


# Tools


def forecast(city: str, days: int = 1, unit: Optional[str] = None) -> str:
    """The forecast of a city."""
    return "%s in %s for %d" % ("sun", city, days)


def full_disk():
    raise RuntimeError("the disk is full")


def test_run_tools_plays_the_whole_round(server, client):
    server.script(chat_calling(("forecast", '{"city": "Bonn", "days": 2}')), chat_saying("Sunny."))
    result = client.run_tools("How is Bonn?", [forecast], tool_choice="required", temperature=0)
    assert result.content == "Sunny."
    roles = [message["role"] for message in result.messages]
    assert roles == ["user", "assistant", "tool", "assistant"]
    first, second = (request.json for request in server.requests)
    assert first["temperature"] == second["temperature"] == 0
    assert (first["tool_choice"], second["tool_choice"]) == ("required", "auto")
    told = {"role": "tool", "tool_call_id": "call_0", "content": "sun in Bonn for 2"}
    assert second["messages"][2] == told
    tool = first["tools"][0]["function"]
    assert (tool["name"], tool["description"]) == ("forecast", "The forecast of a city.")
    assert tool["parameters"]["required"] == ["city"]
    assert len(client.run_tools("hi", [forecast]).messages) == 2, "without a call it is a chat"


def test_tools_can_be_schemas_and_functions_or_methods(server, client):
    class Shop:
        def price(self, item: str) -> float:
            return 2.5

    parameters = {"type": "object", "properties": {"x": {"type": "number"}}}
    whole = {"type": "function", "function": {"name": "half", "parameters": parameters}}
    server.script(chat_calling(("half", '{"x": 4}'), ("price", '{"item": "tea"}')))
    tools = [(whole, lambda x: [x / 2]), Shop().price, (parameters, full_disk)]
    messages = client.run_tools("go", tools).messages
    one, two, three = server.requests[0].json["tools"]
    assert one == whole and three["function"]["parameters"] == parameters
    assert set(two["function"]["parameters"]["properties"]) == {"item"}
    told = [(m["tool_call_id"], json.loads(m["content"])) for m in messages[2:4]]
    assert told == [("call_0", [2.0]), ("call_1", 2.5)]


@pytest.mark.parametrize(
    "name, arguments, told",
    [
        ("no_such_tool", "{}", "no_such_tool"), (None, "{}", "Error"),
        ("forecast", "[" * 100_000, "Error"), ("forecast", '{"town": "Bonn"}', "town"),
        ("forecast", "", "city"), ("full_disk", "", "disk is full"),
    ],
)  # fmt: skip
def test_what_goes_wrong_with_a_tool_is_told_to_the_model(server, client, name, arguments, told):
    server.script(chat_calling((name, arguments)), chat_saying("sorry"))
    assert client.run_tools("go", [forecast, full_disk]).content == "sorry"
    content = server.requests[1].json["messages"][2]["content"]
    assert told in content and len(content) < 2000


def test_endless_calls_end_in_a_tool_loop_error(server, client):
    server.default = chat_calling(("forecast", '{"city": "Bonn"}'))
    run = lambda: client.run_tools(HI, [forecast], max_rounds=3)  # noqa: E731
    error = client_error(run, openai_mini.ToolLoopError)
    assert "max_rounds" in str(error) and len(server.requests) == 3
    assert len(error.messages) == 7 and len(HI) == 1, "what it was given is left alone"


# request(), and the verbs of the official client


@pytest.mark.parametrize(
    "answer, expected",
    [(Answer(json={"a": 1}), {"a": 1}), (Answer(json=[1, 2]), [1, 2]), (Answer(204), b""),
     (Answer(body="a,b", content_type="text/csv; charset=utf-8"), "a,b"),
     (Answer(body=b"\x00\xff", content_type="audio/mpeg"), b"\x00\xff"),
     (Answer(body='{"a": 1}', content_type="application/problem+json"), {"a": 1})],
)  # fmt: skip
def test_request_returns_what_the_content_type_says(server, client, answer, expected):
    server.script(answer)
    result = client.request("get", "/anything")
    assert result == expected or not result and not expected
    assert line_of(server.requests[0]) == "GET /anything"
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
        server.script(Answer(json={"ok": True}))
        assert getattr(client, verb)("things", cast_to=object, body={"b": 2}).ok is True
        asked = server.requests[-1]
        assert line_of(asked) == verb.upper() + " /things" and asked.json == {"b": 2}
    path, body = "/chat/completions", {"stream": True}
    for stream in (
        client.request("POST", path, json=body, stream=True),
        client.request("POST", path, json=body),
        client.post(path, cast_to=object, stream_cls=object, body=body, stream=True),
    ):
        assert isinstance(stream, openai_mini.Stream)
        assert "".join(chunk.content for chunk in stream) == "hello"


# submit and map


def test_methods_are_submitted_and_mapped_by_name(server, client):
    server.default = lambda request: chat_saying(request.json["messages"][0]["content"].upper())
    future = client.submit("chat", "hi", priority=openai_mini.HIGH, model="m")
    assert isinstance(future, concurrent.futures.Future) and future.result(10).content == "HI"
    assert server.requests[0].json["model"] == "m"
    asked = {"model": "m", "messages": [{"role": "user", "content": "deep"}]}
    assert client.submit("chat.completions.create", **asked).result(10).content == "DEEP"
    assert [result.content for result in client.map("chat", "abc", model="m")] == ["A", "B", "C"]
    assert list(client.map(len, ["a", "bb"])) == [1, 2]
    with pytest.raises(AttributeError, match="chat"):
        client.submit("chatt", "x")
    server.default = Answer(400)
    client_error(client.submit("chat", "x").result, BadRequestError)
    client_error(lambda: list(client.map("chat", ["x"])), BadRequestError)


# Validation


@pytest.mark.parametrize(
    "messages",
    [[], None, {"role": "user", "content": "x"}, ["x"], [{"content": "x"}], b"bytes",
     [{"role": "boss", "content": "x"}], [{"role": "user", "content": None}],
     [{"role": "assistant"}], [{"role": "user", "content": "x"}, "y"]], ids=repr,
)  # fmt: skip
def test_messages_of_the_wrong_shape_are_refused_before_anything_is_sent(server, client, messages):
    for method, more in ((client.chat, ()), (client.stream_chat, ()), (client.run_tools, ([],))):
        error = client_error(lambda: method(messages, *more), ValidationError)
        assert "messages" in str(error) and isinstance(error, ValueError)
    assert not server.requests


RING: dict = {}
RING["ring"] = RING


@pytest.mark.parametrize(
    "call, names",
    [
        (lambda c: c.chat("hi", metadata={"a": float("nan")}), "metadata.a"),
        (lambda c: c.chat("hi", x=[1, float("inf")]), r"x\[1\]"),
        (lambda c: c.chat("hi", x={1, 2}), "x .*set"), (lambda c: c.chat("hi", x={(1, 2): 3}), "x"),
        (lambda c: c.request("POST", "/x", json=RING), None),
        (lambda c: c.request("POST", "/x", jsn={}), "jsn"), (lambda c: c.request("A B", "/x"), "A"),
        (lambda c: c.text_to_speech("x", to=io.StringIO()), "to="),
        (lambda c: c.download_file("f", to=5), "to="),
        (lambda c: c.request("POST", "/x", json={}, files={"f": b"x"}), "json="),
        (lambda c: c.request("POST", "/x", data=io.BytesIO(b"x")), "data="),
        (lambda c: c.request("GET", "/x", params=[("a", 1)]), "params="),
        (lambda c: c.chat("hi", extra_headers=["a"]), "extra_headers="),
        (lambda c: c.chat("hi", extra_body=[1]), "extra_body="),
        (lambda c: c.translate_audio(b"abc", temperature=float("nan")), "temperature"),
        (lambda c: c.run_tools("hi", [functools.partial(len)]), "len|tool"),
        # a lone surrogate where no request can hold it
        (lambda c: c.files.list(after="\ud800"), "query"),
        (lambda c: c.download_file("a\udfff"), "file_id"),
        (lambda c: c.chat("hi", extra_headers={"x-a": "\ud800"}), "x-a"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused_before_anything_is(server, client, call, names):
    with pytest.raises(ValidationError, match=names):
        call(client)
    assert server.requests == []


OUT_OF_RANGE = [
    {"temperature": -0.1}, {"temperature": 2.1}, {"temperature": "hot"}, {"temperature": True},
    {"temperature": float("nan")}, {"top_p": -0.1}, {"top_p": 1.1}, {"frequency_penalty": -2.1},
    {"presence_penalty": 2.1}, {"max_tokens": 0}, {"max_tokens": 131073}, {"max_tokens": 1.5},
    {"max_completion_tokens": 0}, {"n": 0}, {"n": 129}, {"stop": ["a", "b", "c", "d", "e"]},
    {"stop": ""}, {"stop": ["a", ""]}, {"stop": 5}, {"logprobs": 1}, {"top_logprobs": 2},
    {"top_logprobs": 21, "logprobs": True}, {"seed": 1.5},
]  # fmt: skip
IN_RANGE = [
    {"temperature": 0, "top_p": 0, "n": 1, "frequency_penalty": -2, "presence_penalty": 2},
    {"temperature": 2, "top_p": 1.0, "n": 128, "stop": ["a"] * 4, "seed": -5},
    {"logprobs": True, "top_logprobs": 20, "stop": "x", "max_completion_tokens": 131072},
    {"temperature": None, "logprobs": None, "top_logprobs": None, "stop": None, "seed": None},
]


@pytest.mark.parametrize("params", OUT_OF_RANGE + IN_RANGE, ids=repr)
def test_what_is_out_of_range_is_refused_and_named_and_the_edges_are_inside(server, client, params):
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
        assert {name: server.requests[-1].json[name] for name in params} == params


# The default host, and what is said otherwise to it


@pytest.fixture
def default_host(monkeypatch):
    """A server, and a client of https://api.openai.com/v1, which a proxy leads to that server."""
    with LoopbackServer(tls=True) as server, Proxy(server) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with OpenAIMini("sk-test", verify=False) as client:
            yield server, client


def test_only_the_default_host_gets_its_own_wording(server, client, default_host):
    for own, (asked, caller) in ((True, default_host), (False, (server, client))):
        asked.default = lambda r: (vectors(as_base64=True) if "input" in r.json else usual)(r)
        caller.chat("hi", max_tokens=5)
        list(caller.stream_chat("hi", max_tokens=5))
        assert caller.embedding("1") == [[1.0, 0.5]]
        chat, stream, embedding = (request.json for request in asked.requests)
        for body in (chat, stream):
            assert body["max_completion_tokens" if own else "max_tokens"] == 5
            assert ("max_tokens" in body) == (not own)
        assert stream.get("stream_options") == ({"include_usage": True} if own else None)
        assert embedding.get("encoding_format") == ("base64" if own else None)


def test_what_the_caller_wrote_wins_on_the_default_host_too(default_host):
    """And either form of embeddings is read: here the one that was not asked for."""
    server, client = default_host
    swapped = lambda r: vectors(as_base64=r.json["encoding_format"] == "float")(r)  # noqa: E731
    server.default = lambda r: (swapped if "input" in r.json else usual)(r)
    client.chat("hi", max_tokens=5, max_completion_tokens=6)
    list(client.stream_chat("hi", stream_options={"include_usage": False}))
    assert client.embedding("1", encoding_format="float") == [[1.0, 0.5]]
    assert client.embedding("1") == [[1.0, 0.5]]
    client.chat.completions.create(model="m", messages=[], max_tokens=7)
    with pytest.raises(ValidationError, match="temperature"):
        client.chat("hi", temperature=3)
    client.with_options(validate=False).chat("hi", temperature=3)
    client.chat("hi", extra_body={"temperature": 3})
    chat, stream, floats, base, official, *unchecked = (asked.json for asked in server.requests)
    assert (chat["max_tokens"], chat["max_completion_tokens"]) == (5, 6)
    assert stream["stream_options"] == {"include_usage": False}
    assert (floats["encoding_format"], base["encoding_format"]) == ("float", "base64")
    assert official == {"model": "m", "messages": [], "max_tokens": 7}
    assert [body["temperature"] for body in unchecked] == [3, 3]


# ------------------------------------------------------------------------------------------------
# Resources
#
# The official package's shape: the attribute path is the URL path, the verb the HTTP method.

RESPONSE = {
    "id": "resp_1", "object": "response", "output": [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": '{"name": "Ada"}'}]},
        {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    "value, path",
    [("a/b ?#", "a%2Fb%20%3F%23"), ("..%2f", "..%252f"), ("...", "..."), ("é☃", "%C3%A9%E2%98%83"),
     ("ft:gpt::x", "ft:gpt::x"), ("{file_id}", "%7Bfile_id%7D"), (5, "5"),
     *((refused, None) for refused in ("", ".", "..", None, "a\ud800"))],
)  # fmt: skip
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
            assert line_of(server.requests[-1]) == at % path


def test_a_missing_id_or_one_too_many_is_a_type_error_that_names_it(server, client):
    files, in_store = client.files.retrieve, client.vector_stores.files.retrieve
    for call, word in (
        (lambda: files(), "file_id"), (lambda: files("a", "b"), "file_id"),
        (lambda: files("a", file_id="b"), "file_id"), (lambda: in_store("f"), "vector_store_id"),
        (lambda: client.chat.completions.create("m"), "create"),
    ):  # fmt: skip
        assert word in str(client_error(call, TypeError)) and not server.requests


@pytest.mark.parametrize(
    "work, near",
    [
        (lambda c: c.file, "'files"), (lambda c: c.embedings, "'embedding"),
        (lambda c: openai_mini.Streem, "'Stream'"), (lambda c: openai_mini.api_key, "OpenAI"),
        (lambda c: c.qqqq, "'qqqq'"), (lambda c: c.files.creat(), "'create'"),
        (lambda c: c.vector_stores.files.upload_and_poll("f"), "upload_and_poll"),
        (lambda c: c.chat.completions.with_raw_response.make(), "client.chat.completions"),
        (lambda c: c.files(), "client"),
    ],
)  # fmt: skip
def test_an_unknown_name_is_an_attribute_error_that_suggests_the_nearest(
    server, client, work, near
):
    assert near in str(client_error(lambda: work(client), AttributeError)) and not server.requests


def test_the_names_of_the_module_and_of_its_resources_can_be_explored(client):
    scope: dict = {}
    exec("from openai_mini import *", scope)
    errors = {name for name in vars(openai_mini) if name.endswith("Error")}
    assert errors | {"OpenAIMini", "NOT_GIVEN", "main", "iter_sse", "Stream"} <= set(scope)
    assert not set(scope) & {"json", "sys", "time", "requests", "annotations", "TYPE_CHECKING"}
    assert {"chat", "files", "vector_stores", "embedding", "stats"} <= set(dir(client))


# What goes out


def test_not_given_is_left_out_of_body_query_and_headers(server, client):
    empty = openai_mini.NOT_GIVEN
    assert openai_mini.omit is empty and not empty
    client.chat.completions.create(model="m", messages=[], stop=empty, timeout=empty)
    client.files.list(limit=empty, after="x", extra_query={"q": empty})
    client.files.create(file=("a", b"1"), purpose=empty)
    client.vector_stores.list(extra_headers=empty)
    client.vector_stores.list(extra_headers={"openai-beta": "mine"})
    client.beta.responses.create(betas=["a", "b"], name=empty, model="m")
    chat, listed, form, *betas = server.requests
    assert chat.json == {"model": "m", "messages": []} and betas[-1].json == {"model": "m"}
    assert line_of(listed) == "GET /files?after=x" and [p.name for p in form.parts] == ["file"]
    sent = [request.headers["openai-beta"] for request in betas]
    assert sent == ["assistants=v2", "mine", "a,b"]


def test_files_are_known_by_their_kind_of_value(server, client, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}")
    with open(str(path), "rb") as opened:
        for file in (path, opened, ("a.jsonl", b"{}"), ("a.jsonl", path)):
            client.files.create(file=file, purpose="batch")
            fields = {part.name: (part.filename, part.body) for part in server.requests[-1].parts}
            assert fields == {"purpose": (None, b"batch"), "file": ("a.jsonl", b"{}")}


def test_results_in_arguments_are_no_files(server, client):
    server.default = Answer(json=RESPONSE)
    first = client.responses.create(input="x")
    client.responses.create(input=first.output, previous=first)  # `.read` of them reads None
    assert server.requests[1].json["input"] == RESPONSE["output"]


# What comes back


def test_pages_of_a_list_go_on_as_they_began(server, client):
    first = {"object": "list", "data": [{"id": "a"}, {"id": "b"}], "has_more": True}
    last = {"data": [{"id": "c"}], "has_more": False}
    server.default = lambda request: Answer(json=last if "after" in request.query else first)
    client = client.with_options(admin_api_key="sk-admin")
    options = {"limit": 2, "extra_headers": {"x-a": "b"}, "extra_query": {"q": "1"}}
    for page, key, beta in (
        (client.admin.organization.users.list(**options), "sk-admin", None),
        (client.vector_stores.files.list("v", **options), "sk-test", "assistants=v2"),
        (client.files.with_raw_response.list(**options).parse(), "sk-test", None),
    ):
        assert [item.id for item in page] == ["a", "b", "c"]
        asked = server.requests[-1]
        assert asked.query == {"limit": "2", "q": "1", "after": "b"}
        assert asked.headers["authorization"] == "Bearer " + key and asked.headers["x-a"] == "b"
        assert asked.headers.get("openai-beta") == beta
    server.default = Answer(json={"object": "list", "data": [{"id": "a"}]})
    for answer in (
        client.models.list(), client.vector_stores.files.content("f", vector_store_id="v"),
    ):  # fmt: skip
        assert list(answer) == [{"id": "a"}] and not answer.has_next_page()
    assert len(server.requests) == 8


def test_each_method_reads_what_its_path_answers(server, client):
    server.default = Answer(body=b"text", content_type="application/json")
    for answer in (
        client.videos.download_content("v"), client.audio.speech.create(input="x", voice="v"),
        client.containers.files.content.retrieve("f", container_id="c"),
        client.files.with_raw_response.content("f").parse(),
    ):  # fmt: skip
        assert isinstance(answer, bytes) and answer == answer.read() == b"text"
    assert client.files.retrieve_content("f") == "text"
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
        assert server.requests[-1].headers["accept"] == "text/event-stream"
    assert server.requests[-2].query == {"stream": "true", "starting_after": "3"}


# Raw and streaming responses


def test_a_streaming_response_has_the_official_methods(server, client, tmp_path):
    text, path = "a\nb\u2028c\nd", tmp_path / "file"
    for work, expected in (
        (lambda r: list(r.iter_lines()), ["a", "b\u2028c", "d"]),
        (lambda r: "".join(r.iter_text()), text),
        (lambda r: b"".join(r.iter_bytes(2)).decode(), text),
        (lambda r: (r.text(), r.read().decode()), (text, text)),
        (lambda r: (r.stream_to_file(path), path.read_text("utf-8"))[1], text),
    ):
        server.script(Answer(body=text))
        with client.files.with_streaming_response.content("f") as response:
            assert response.status_code == 200 and work(response) == expected
    create = client.chat.completions.with_streaming_response.create
    with create(messages=[]) as response:
        assert response.json() == response.parse() == CHAT
    with create(stream=True) as response:
        assert "".join(chunk.content for chunk in response.parse()) == "hello"
    server.script(Answer(body="abcde", cut=3))
    with client.files.with_streaming_response.content("f") as response:
        with pytest.raises(APIResponseError, match="GET /files/f/content: .*1 attempt"):
            response.read()
    stats = client.stats()
    assert (stats["succeeded"], stats["failed"], stats["queue"]["running"]) == (7, 1, 0)
    assert stats["streams"]["completed"] == 1


def test_a_raw_response_has_the_official_names(server, client):
    server.script(Answer(500), Answer(json=CHAT, headers={"x-request-id": "r", "X-My": "mine"}))
    raw = client.with_raw_response.chat.completions.create(model="m", messages=[])
    assert raw.headers["x-my"] == raw.headers.get("X-MY") == "mine" and raw.request_id == "r"
    assert (raw.status_code, raw.http_response.status_code, raw.retries_taken) == (200, 200, 1)
    assert json.loads(raw.text) == json.loads(raw.content) == raw.json() == raw.parse() == CHAT
    assert pickle.loads(pickle.dumps(raw)).headers["x-my"] == "mine"
    raw = client.chat.completions.with_raw_response.create(model="m", messages=[], stream=True)
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert "".join(chunk.content for chunk in raw.parse()) == "hello"
    server.default, files = Answer(404, json={"error": {"message": "no such file"}}), client.files
    for call in (
        lambda: files.with_raw_response.retrieve("f"),
        lambda: files.with_streaming_response.content("f").__enter__(),
    ):
        assert "no such file" in str(client_error(call, openai_mini.NotFoundError))


def test_a_dropped_streaming_or_raw_answer_gives_slot_and_probe_back(server, request):
    clock = FakeClock()
    breaker = openai_mini.CircuitBreaker(failure_threshold=1, clock=clock)
    client = new_client(server, circuit_breaker=breaker, max_concurrent_requests=1, max_retries=0)
    breaker.failure()
    clock.advance(100)
    server.default = Answer(sse=chunks("a"), hold_after=1, wait=threading.Event())
    request.addfinalizer(gc.enable)
    gc.disable()
    for kind in ("with_streaming_response", "with_raw_response"):
        answer = getattr(client.chat.completions, kind).create(stream=True, timeout=5)
        del answer
        assert client.stats()["queue"]["running"] == 0
    assert client.stats()["abandoned"] == 2


# parse


def test_parse_gives_an_instance_of_the_class_for_each_choice_and_text(server, client):
    texts = ['{"name": "Ada"}', '{"name": "Bob"}']
    choices = [{"message": {"role": "assistant", "content": text}} for text in texts]
    server.default = Answer(json=dict(CHAT, choices=choices))
    ask = {"model": "m", "messages": [], "response_format": Person, "n": 2}
    completions = client.chat.completions
    for made in (completions.parse(**ask), completions.with_raw_response.parse(**ask).parse()):
        assert [choice.message.parsed.name for choice in made.choices] == ["Ada", "Bob"]
        assert json.loads(json.dumps(made.choices[0].message)) == choices[0]["message"]
    form = {"name": "Person", "strict": True, "schema": STRICT_PERSON}
    sent = server.requests[0].json["response_format"]
    assert sent == {"type": "json_schema", "json_schema": form}
    client_error(lambda: completions.parse(stream=True, **ask), ValidationError)
    ask["response_format"] = {"type": "json_object"}  # without a class it is create()
    assert completions.parse(**ask).choices[0].message.content == texts[0]
    assert server.requests[-1].json == ask
    server.default, ask = Answer(json=RESPONSE), {"model": "m", "input": "x"}
    response = client.responses.parse(text={"verbosity": "low"}, text_format=Person, **ask)
    assert response.output_parsed.name == response.output[1].content[0].parsed.name == "Ada"
    text = {"verbosity": "low", "format": dict(form, type="json_schema")}
    assert server.requests[-1].json == dict(ask, text=text)


# Azure


@pytest.mark.parametrize(
    "by_variables, named, path", [(True, "my dep", "my%20dep"), (False, None, "m")]
)
def test_an_azure_client_asks_where_azure_wants_to_be_asked(
    server, monkeypatch, by_variables, named, path
):
    """Of a deployment (the model names it where nothing else does), or below /openai itself."""
    server.default = Answer(json=dict(CHAT, data=[], text=""))
    options = {"azure_endpoint": server.origin + "/", "api_key": "k", "api_version": "v 1"}
    for name in [*options] if by_variables else ():
        prefix = "OPENAI_" if name == "api_version" else "AZURE_OPENAI_"
        monkeypatch.setenv(prefix + name.replace("azure_", "").upper(), options.pop(name))
    client, file = openai_mini.AzureOpenAI(azure_deployment=named, **options), {"file": b"x"}
    for call, at, more in (
        (client.chat.completions.create, "deployments/{}/chat/completions", {}),
        (client.audio.transcriptions.create, "deployments/{}/audio/transcriptions", file),
        (client.responses.create, "responses", {}), (client.files.create, "files", file),
    ):  # fmt: skip
        call(model="m", **more)
        request = server.requests[-1]
        assert request.path == "/openai/" + at.format(path)
        assert request.query == {"api-version": "v 1"} and request.headers["api-key"] == "k"
        assert "authorization" not in request.headers


def test_an_azure_client_sends_a_token_as_a_bearer_and_never_the_key_of_openai(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    make, options = openai_mini.AzureOpenAI, {"azure_endpoint": server.origin, "api_version": "v"}
    make(azure_ad_token_provider=lambda: "token", **options).files.list()
    assert client_sent(server) == ["Bearer token"]
    with pytest.raises(AuthenticationError, match="AZURE_OPENAI_API_KEY"):
        make(**options)
    for missing in options:
        with pytest.raises(ValidationError, match=missing):
            make(**{**options, "api_key": "k", missing: None})


# ------------------------------------------------------------------------------------------------
# Observe
#
# Statistics, events, the cache.

MILLION = os.environ.get("OPENAI_MINI_MILLION")  # read before the fixture hides it
SPENT = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


def run_readme(word, space: dict) -> dict:
    """Run the code block of the README that has `word` in it; the names that it leaves."""
    exec(next(block for block in readme_blocks("python") if word in block), space)
    return space


def counts_of(client) -> tuple:
    stats = client.stats()
    return tuple(stats[name] for name in ("requests", "succeeded", "failed", "abandoned"))


def test_the_statistics_agree_with_a_server_that_counts(server):
    client = new_client(server, cache={})
    stats = client.stats()
    assert json.dumps(stats) and stats["requests"] == 0 and stats["errors"] == {}
    assert stats["latency_s"] == {"count": 0, "mean": None, "p50": None, "p95": None, "max": None}
    assert stats["streams"]["ttft_s"] is None
    limits = {"x-ratelimit-remaining-requests": "59", "x-ratelimit-limit-tokens": "1000"}
    usage = {"input_tokens": 5, "output_tokens": 6, "total_tokens": 12}
    server.script(Answer(500, json={"error": "no"}), Answer(json=CHAT), Answer(400))
    server.script(Answer(sse=chunks("a", "b", usage=SPENT)))
    server.script(Answer(json=dict(RESPONSE, usage=usage), headers=limits))
    assert client.chat("one") == client.chat("one")
    client_error(lambda: client.chat("two"), BadRequestError)
    list(client.stream_chat("three"))
    client.responses.create(input="four")
    stats = client.stats()
    assert counts_of(client) == (5, 4, 1, 0)
    assert stats["retries"] == 1 and stats["errors"] == {"BadRequestError": 1}
    assert stats["tokens"] == {"prompt": 23, "completion": 9, "total": 33}
    assert stats["bytes_sent"] == sum(len(asked.body) for asked in server.requests)
    assert stats["bytes_received"] > len(json.dumps(CHAT))
    assert stats["cache"] == {"hits": 1, "misses": 3}
    assert stats["queue"] == {"running": 0, "waiting": 0}
    assert stats["circuit"] == {"state": "closed", "opened": 0}
    assert {name.lower(): value for name, value in stats["rate_limit"].items()} == limits
    streams = {"started": 1, "completed": 1, "interrupted": 0, "abandoned": 0, "chunks": 4}
    assert {**stats["streams"], **streams} == stats["streams"] and stats["streams"]["ttft_s"] > 0
    latency = stats["latency_s"]
    assert latency["count"] == 4 and 0 < latency["mean"] <= latency["max"]
    assert 0 <= latency["p50"] <= latency["p95"] <= latency["max"]


def ask_chat(client):
    with contextlib.suppress(OpenAIError):
        client.chat("my prompt")


def read_chat(client):
    with contextlib.suppress(OpenAIError):
        list(client.stream_chat("my prompt"))


def test_memory_stays_constant_however_many_calls_are_counted():
    """A million with OPENAI_MINI_MILLION=1; the transport is a simulated one."""
    client = OpenAIMini(base_url="echo:", on_event=lambda event: None)
    tracemalloc.start()
    try:
        for _ in range(1100):  # what grows up to its bound
            client.chat("warm")
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(1_000_000 if MILLION else 1500):
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
    ([REFUSAL, SAID], read_chat, RETRIED + STREAMED, {"state": "completed", "usage": SPENT}),
    ([REFUSAL] * 3, read_chat, RETRIED_TWICE + " error", FAILED),  # it never began
    ([CUT_OFF], read_chat, STREAMED, {"state": "interrupted", "error": "StreamInterruptedError"}),
    ([], lambda client: client.stream_chat("hi").close(), STREAMED, {"state": "abandoned"}),
    ([], lambda client: client.stream_chat("hi") and gc.collect(), STREAMED,
     {"state": "abandoned"}),
]  # fmt: skip


@pytest.mark.parametrize("answers, work, names, last", LIVES)
def test_the_events_and_counts_tell_the_life_of_a_call(server, answers, work, names, last):
    server.script(*answers)
    events = []
    client = new_client(server, on_event=events.append, max_retries=2)
    work(client)
    assert " ".join(event["event"] for event in events) == names
    of_all = {"id": events[0]["id"], "method": "POST", "path": "/chat/completions"}
    of_all["model"] = openai_mini.DEFAULT_MODELS["chat"]
    assert all({**event, **of_all} == event and None not in event.values() for event in events)
    assert {**events[-1], **last} == events[-1] and events[-1]["duration_s"] >= 0
    assert "sk-test" not in repr(events) and "my prompt" not in repr(events)
    if names == RETRIED_TWICE:
        assert [event["attempt"] for event in events] == [1, 1, 1, 2, 2, 2, 3, 3]
        failed, waited = events[1:3]
        assert (failed["status"], failed["request_id"], waited["wait_s"]) == (503, "r1", 0.001)
        assert failed["error"] == waited["error"] == FAILED["error"] and "error" not in events[-1]
    elif STREAMED in names:
        assert (events[-2]["status"], events[-2]["state"]) == (200, "streaming")
    state, ends = last.get("state"), ("completed", "interrupted", "abandoned")
    failed, left = int("error" in last), int(state == "abandoned")
    assert counts_of(client) == (1, 1 - failed - left, failed, left)
    streams = client.stats()["streams"]
    assert [streams[name] for name in ends] == [int(name == state) for name in ends]
    assert streams["started"] == int(state in ends)
    assert client.stats()["retries"] == names.count("retry")


def test_the_events_tell_of_a_circuit_that_opens_and_closes(server):
    clock, events = FakeClock(), []
    breaker = openai_mini.CircuitBreaker(failure_threshold=2, success_threshold=1, clock=clock)
    client = new_client(server, max_retries=0, circuit_breaker=breaker, on_event=events.append)
    server.script(Answer(500), Answer(500))
    for _ in range(3):
        ask_chat(client)
    clock.advance(60)
    ask_chat(client)
    states = [event["state"] for event in events if event["event"] == "circuit"]
    assert states == ["open", "half_open", "closed"]
    refused = [event["event"] for event in events if event.get("error") == "CircuitOpenError"]
    assert refused == ["error"] and len(server.requests) == 3


def test_a_hook_that_raises_breaks_nothing_and_one_may_call_the_client(server, caplog):
    def hook(event):
        if event["event"] == "response" and not seen:
            seen.append(None)
            seen[0] = client.with_options(on_event=None).chat("from the hook").content
        raise LookupError("the collector is down")

    client, seen = new_client(server, on_event=hook), []
    server.script(Answer(500))
    assert client.chat("hi").content == "hello" and seen == ["hello"]
    assert [chunk.content for chunk in client.stream_chat("hi")][:2] == ["hel", "lo"]
    assert client.stats()["succeeded"] == 3 and client.stats()["queue"]["running"] == 0
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
    names = {"event": "response", "model": openai_mini.DEFAULT_MODELS["chat"], "error": ""}
    assert value("openai_steps_total", names) == 2
    assert value("openai_steps_total", dict(names, **FAILED)) == 1


@pytest.mark.parametrize("collector", [spans, metrics])
def test_the_readmes_adapters_tell_each_step_to_a_collector(server, collector):
    server.script(Answer(500), Answer(json=CHAT), Answer(sse=chunks("a", usage=SPENT)))
    for client in collector(functools.partial(new_client, server)):
        ask_chat(client)
        read_chat(client)


# The cache


@pytest.mark.parametrize("kind", ["dict", "diskcache"])  # shelve: below, in use
def test_a_repeated_call_is_answered_from_the_cache(server, tmp_path, kind):
    cache = {} if kind == "dict" else pytest.importorskip(kind).Cache(str(tmp_path))
    breaker = openai_mini.CircuitBreaker(failure_threshold=1, failure_rate=0)
    client = new_client(server, cache=cache, circuit_breaker=breaker, max_retries=0)
    server.script(Answer(400), Answer(json={"error": {"code": 400}}))
    for _ in range(2):
        client_error(lambda: client.chat("hi"), BadRequestError)  # errors are never kept
    first, second = client.chat("hi"), client.chat("hi")
    assert first == second and second.content == "hello" and type(second) is type(first)
    for other in ({"temperature": 1}, {"extra_query": {"a": 1}}, {"model": "m"}):
        client.chat("hi", **other)
    assert len(server.requests) == 6 and client.stats()["cache"] == {"hits": 1, "misses": 6}
    breaker.failure()  # opens the circuit
    assert client.chat("hi").content == "hello"
    client_error(lambda: client.chat("other"), CircuitOpenError)
    assert new_client(server, cache=cache, api_key="sk-2").chat("hi").content == "hello"
    assert len(server.requests) == 6
    assert "sk-test" not in repr([(key, cache[key]) for key in list(cache)])
    getattr(cache, "close", int)()


CACHED = [
    lambda c: c.chat.completions.create(messages=[], model="m"), lambda c: c.moderation("a"),
    lambda c: c.embedding("a"), lambda c: c.completions.create(prompt="a"),
    lambda c: c.responses.create(input="a", model="m"),
    lambda c: c.request("POST", "/responses", json={"input": "b"}),
]  # fmt: skip
NOT_CACHED = [
    read_chat, lambda c: c.request("GET", "/models"), lambda c: c.generate_image("x"),
    lambda c: c.request("POST", "/files", json={}),
    lambda c: c.chat.completions.with_raw_response.create(messages=[], model="m"),
]  # fmt: skip


@pytest.mark.parametrize("call", CACHED + NOT_CACHED)
def test_what_is_no_stream_and_changes_nothing_is_cached_and_all_else_is_not(server, call):
    body = dict(CHAT, data=[{"embedding": [1.0], "index": 0}], results=[])
    server.default = lambda r: usual(r) if b'"stream": true' in r.body else Answer(json=body)
    client = new_client(server, cache={})
    assert call(client) == call(client) or call in NOT_CACHED
    assert len(server.requests) == (1 if call in CACHED else 2)


class BrokenCache(dict):
    def get(self, key, default=None):
        raise OSError("the disk is gone")

    __getitem__ = __setitem__ = __contains__ = get


def test_a_cache_that_raises_or_holds_rubbish_is_passed_over(server, caplog):
    client, cache = new_client(server, cache=BrokenCache()), {}
    assert client.chat("hi").content == client.chat("hi").content == "hello"
    assert len(server.requests) == 2 and "the disk is gone" in caplog.text
    client = new_client(server, cache=cache)
    client.chat("hi")
    for rubbish in (b"{", b"\xff\xfe", 42, None, "[]", b"[1]"):
        cache.update(dict.fromkeys(cache, rubbish))
        assert client.chat("hi").content == "hello"


# ------------------------------------------------------------------------------------------------
# Processes
#
# Pickling, pools of processes, forks, the Batch API.

processes_that_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def echo(request):
    """The server says what it was asked."""
    return chat_saying(request.json["messages"][-1]["content"])


def echoes(client, name, count=20):
    """Whether each of some chats is answered with its own words."""
    texts = ["%s/%d" % (name, number) for number in range(count)]
    return all(client.chat(text).content == text for text in texts)


def forked(work):
    """A child, forked here and now, that runs `work()`, which must return True."""
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=lambda: sys.exit(work() is not True), daemon=True)
    child.start()
    return child


def code_of(child):
    """The exit code of a child; None where it hangs."""
    child.join(20)
    return child.exitcode


def test_a_client_pickles_with_its_options_and_starts_its_counts_anew(server):
    breaker, queue = openai_mini.CircuitBreaker(failure_threshold=1), openai_mini.RequestQueue(3)
    session = requests.Session()
    session.headers["X-S"] = "1"
    options = {"circuit_breaker": breaker, "use_request_queue": queue, "session": session}
    options.update(organization="org-1", default_headers={"X-A": "1"}, on_event=print, model="m")
    client = new_client(server, fallback=new_client(server), **options)
    client.chat("hi")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(client, protocol))
        assert again.stats()["requests"] == 0 and again.on_event is print
        assert again.chat("hi").content == "hello"
    first, *others = server.requests
    for other in others:
        assert other.json == first.json and first.json["model"] == "m"
        for name in ("authorization", "openai-organization", "x-a", "x-s"):
            assert first.headers[name] == other.headers[name]
    server.default = Answer(500)
    client_error(lambda: again.chat("hi", max_retries=0))
    assert again.stats()["circuit"]["state"] == "open" and breaker.state == "closed"


def test_what_cannot_be_pickled_is_told_without_the_key(server):
    client = new_client(server, on_event=lambda event: None, api_key="sk-hush")
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)) as caught:
        pickle.dumps(client)
    assert "sk-hush" not in str(caught.value)


def test_200_chats_over_two_workers_are_each_answered_once(server):
    server.default = echo
    texts = ["chat %d" % i for i in range(200)]
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, spawn) as pool:
        answers = list(pool.map(new_client(server).chat, texts, chunksize=5))
    assert [answer.content for answer in answers] == texts
    asked = [request.json["messages"][0]["content"] for request in server.requests]
    assert sorted(asked) == sorted(texts)


@processes_that_fork
@pytest.mark.parametrize("own_session", [False, True])
def test_a_child_makes_connections_of_its_own(server, own_session):
    """Parent and child on one socket would get each other's answers."""
    server.default = echo
    client = new_client(server, session=requests.Session() if own_session else None)
    client.chat("warm")
    children = [forked(lambda name=name: echoes(client, name)) for name in "abc"]
    assert echoes(client, "parent")
    assert [code_of(child) for child in children] == [0, 0, 0] and server.connections == 4


@processes_that_fork
def test_a_fork_with_an_open_stream_leaves_it_to_the_parent(server):
    """The child ends it, drops it and exits: the parent's connection hears nothing of that."""
    gate = threading.Event()
    server.script(Answer(sse=chunks("a", "b", "c"), wait=gate, hold_after=1))
    client = new_client(server, max_concurrent_requests=1)
    stream = client.stream_chat("hi")
    assert next(stream).content == "a"

    def child():
        with pytest.raises(openai_mini.StreamInterruptedError):
            list(stream)  # half an answer is no whole one in the child either
        stream.close()
        return client.chat("child").content == "hello" and client.stats()["queue"]["running"] == 0

    assert code_of(forked(child)) == 0
    assert server.hung_up == 0 or server.open_connections
    gate.set()
    assert [chunk.content for chunk in stream] == ["b", "c", ""]
    assert client.stats()["streams"]["completed"] == 1


@processes_that_fork
def test_a_fork_in_the_middle_of_calls_does_not_hang_the_child(server):
    server.default = echo
    client = new_client(server, max_concurrent_requests=2, cache={})
    ended, draw = threading.Event(), random.Random(7)

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
                assert code_of(forked(child)) == 0
        finally:
            ended.set()
    assert [one.result() for one in done] == [None] * 4


# The Batch API


def test_the_readmes_recipe_for_the_batch_api_reads_all_answers(server, capsys):
    states = ["validating", "in_progress", "finalizing", "completed"]
    batch = {"id": "batch-1", "request_counts": {"total": 3, "completed": 0, "failed": 0}}

    def results(request):
        lines = []
        for one in map(json.loads, reversed(part_of(server.requests[0]).body.splitlines())):
            answer = chat_saying(one["body"]["messages"][0]["content"].upper())
            response = {"status_code": 200, "body": answer.json}
            lines.append(json.dumps({"custom_id": one["custom_id"], "response": response}))
        return Answer(body="\n".join(lines).encode())

    server.script(Answer(json={"id": "file-in"}))
    server.script(*(Answer(json=dict(batch, status=state)) for state in states[:-1]))
    server.script(Answer(json=dict(batch, status=states[-1], output_file_id="file-out")), results)
    space = {"client": new_client(server), "prompts": ["a", "b\nc", "d"], "poll_s": 0}
    assert run_readme("custom_id", space)["answers"] == {0: "A", 1: "B\nC", 2: "D"}
    upload, create, *polls, content = server.requests
    assert part_of(upload, "purpose").body == b"batch"
    assert part_of(upload).filename.endswith(".jsonl") and create.json["input_file_id"] == "file-in"
    assert line_of(upload) == "POST /files" and line_of(content) == "GET /files/file-out/content"
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == states[1:]


# ------------------------------------------------------------------------------------------------
# In use
#
# What people do with such a client: tables in bulk, files, scripts and tests of the official
# package, web frameworks, settings. Most cases are kinds that were reported of other clients.


def refusal(status, message, **more) -> Answer:
    return Answer(status, json={"error": {"message": message, "type": "invalid", **more}})


# Embeddings in bulk

TOO_MUCH = [
    refusal(400, "batch size is invalid, it should not be larger than 2"),
    refusal(400, "Invalid 'input': array too long. Expected at most 2 items"),
    refusal(400, "Requested 9 tokens, max 8 tokens per request", param=None),
    Answer(413, body="Request Entity Too Large"),
    Answer(422, json={"error": "batch size 4 > maximum allowed batch size 2"}),
]
WRONG_INPUT = [
    refusal(400, "'dimensions' must be 1 to 1536", param="dimensions"),
    refusal(400, "'$.input' is invalid: it cannot be empty", param="input"),
    refusal(400, "This model's maximum context length is 8 tokens", code="context_length_exceeded"),
    refusal(422, "encoding_format: unexpected value", param="encoding_format"),
]


@pytest.mark.parametrize("refused", TOO_MUCH + WRONG_INPUT)
def test_embeddings_are_halved_only_where_they_were_too_much_at_once(server, client, refused):
    server.default = lambda r: vectors()(r) if len(r.json["input"]) <= 10 else refused
    ask = lambda: client.embedding(map(str, range(1000)))  # noqa: E731
    if refused in TOO_MUCH:
        assert [vector[0] for vector in ask()] == list(range(1000))
        assert len(server.requests) <= 170, "what was learned of the limit is remembered"
    else:
        client_error(ask, APIStatusError)
        assert len(server.requests) == 1


@pytest.mark.parametrize("cell", [float("nan"), None, object(), b"text", [1, float("nan")]])
def test_a_cell_that_no_request_can_hold_is_told_by_its_row_at_once(server, client, cell):
    rows = iter(["row"] * 2100 + [cell] + ["row"] * 99)
    assert "input[2100]" in str(client_error(lambda: client.embedding(rows), ValidationError))
    assert not server.requests


@pytest.mark.parametrize("fault", [refusal(400, "no"), Answer(json={"data": []})])
def test_vectors_that_were_paid_for_are_in_the_error_of_a_later_part(server, client, fault):
    server.default = lambda r: fault if r.json["input"][0] == "2048" else vectors()(r)
    error = client_error(lambda: client.embedding([str(i) for i in range(3000)]), APIError)
    assert error.partial == [[float(i), 0.5] for i in range(2048)]
    assert [len(request.json["input"]) for request in server.requests] == [2048, 952]


def embedded(*indexes) -> list:
    return [{"index": index, "embedding": [float(at)]} for at, index in enumerate(indexes)]


@pytest.mark.parametrize(
    "data",
    [None, [], embedded(0), [{"index": 0}] * 3, embedded(2, 0, 1), embedded(0, 1, 0),
     embedded(1, 2, 3), embedded(0, 0, 0), embedded(None, None, None), embedded(*"abc"),
     embedded(0, 1, 9)],
)  # fmt: skip
def test_indexes_are_an_order_or_none_and_never_misplace_a_vector(server, client, data):
    server.script(Answer(json={"data": data, "key": "sk-test"}, headers={"x-request-id": "req_9"}))
    right = [[1.0], [2.0], [0.0]] if data == embedded(2, 0, 1) else [[0.0], [1.0], [2.0]]
    try:
        assert client.embedding(["a", "b", "c"]) == right
    except openai_mini.APIResponseError as error:
        assert data != embedded(2, 0, 1) and re.match("POST /embeddings: .*1 att", str(error))
        assert error.request_id == "req_9" and error.response.status_code == 200
        assert "sk-test" not in str(error) + repr(pickle.loads(pickle.dumps(error)))


# Files


def writers(client) -> list:
    return [
        lambda to: client.download_file("f", to), lambda to: client.text_to_speech("hi", to=to),
        lambda to: client.files.content("f").write_to_file(to),
        lambda to: client.files.with_raw_response.content("f").stream_to_file(to),
    ]  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="rights are those of POSIX")
def test_a_file_that_is_there_keeps_its_rights(server, client, tmp_path):
    server.default, path = Answer(body=b"new"), tmp_path / "out.bin"
    for write, mode in zip(writers(client), (0o600, 0o640, 0o664, 0o604)):
        path.write_bytes(b"old and longer")
        path.chmod(mode)
        write(path)
        assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == mode
    assert os.listdir(str(tmp_path)) == ["out.bin"]


def test_an_empty_file_is_written_in_place_and_emptied_at_a_break(server, client, tmp_path):
    """As of a NamedTemporaryFile, which its owner reads by the handle that he has."""
    once = client.with_options(max_retries=0)
    for number, write in enumerate(writers(client)):
        with tempfile.NamedTemporaryFile(dir=str(tmp_path)) as file:
            server.default = Answer(body=b"x" * 300_000, cut=200_000)
            client_error(lambda: writers(once)[number](file.name), APIError)
            assert file.read() == b"" and os.path.getsize(file.name) == 0
            server.default = Answer(body=b"whole")
            write(file.name)
            assert file.read() == b"whole" and len(os.listdir(str(tmp_path))) == 1


def test_an_image_in_its_url_is_saved(server, client, tmp_path):
    starts = ("data:image/png;base64,", PNG), ("DATA:;base64,", JPG)
    for number, (start, saved) in enumerate(starts, 1):
        url = start + base64.b64encode(saved).decode()
        server.script(Answer(json={"data": [{"url": url}]}))
        (path,) = client.generate_image("a boat").save(tmp_path)
        assert open(path, "rb").read() == saved and len(os.listdir(str(tmp_path))) == number
    server.script(Answer(json={"data": [{"url": "data:image/png;base64,!"}]}))
    client_error(lambda: client.generate_image("a boat").save(tmp_path), APIError)
    assert len(os.listdir(str(tmp_path))) == 2


@pytest.mark.parametrize(
    "method, args, family, ends",
    [("transcribe_audio", [MP3], "transcript.text.", ("delta", "done")),
     ("translate_audio", [MP3], "transcript.text.", ("delta", "done")),
     ("generate_image", ["a boat"], "image_generation.", ("partial_image", "completed")),
     ("edit_image", [PNG, "a boat"], "image_edit.", ("partial_image", "completed"))],
)  # fmt: skip
def test_stream_true_gives_a_stream_of_the_events(server, client, method, args, family, ends):
    events = [{"type": family + end, "text": "good"} for end in ends]
    server.default = Answer(sse=events, done=False)
    stream = getattr(client, method)(*args, stream=True)
    assert isinstance(stream, openai_mini.Stream) and list(stream) == events


def test_a_binary_answer_reads_as_the_official_one(server, client):
    text = '{"a": 1}\n{"b": "\u00e9\u2028"}\n'
    server.default = Answer(body=text)
    answer = client.files.content("f")
    assert list(answer.iter_lines()) == ['{"a": 1}', '{"b": "\u00e9\u2028"}']
    assert b"".join(answer.iter_bytes(chunk_size=3)) == b"".join(answer.iter_bytes(3)) == answer
    assert answer.text == text
    server.default = Answer(body='{"a": {"b": 1}}', content_type="application/octet-stream")
    assert client.files.content("f").json() == {"a": {"b": 1}}


# Scripts of the official package


def test_names_that_scripts_probe_for_are_absent_at_every_depth_of_an_answer(server, client):
    chunk = next(iter(client.stream_chat("hi")))
    result = client.chat("hi")
    for one in (result, result.choices[0].message, result.usage, chunk, chunk.choices[0].delta):
        for name in ("reasoning_content", "reasoning", "thinking", "ndim", "shape", "__array__"):
            assert not hasattr(one, name) and getattr(one, name, "default") == "default"
        assert one.annotations is None and one.audio is None


def test_the_methods_of_an_answer_do_what_their_options_say(server, client):
    sent = {"role": "assistant", "content": "hi", "refusal": None, "parts": [{"a": None, "b": 1}]}
    bare = {"role": "assistant", "content": "hi", "parts": [{"b": 1}]}
    server.default = Answer(json=dict(CHAT, choices=[{"index": 0, "message": sent}]))
    message = client.chat("hi").choices[0].message
    for made in (
        message.dict(), message.model_dump(exclude_unset=True), json.loads(message.json()),
        message.model_copy(), message.to_dict(),
    ):  # fmt: skip
        assert made == sent == message
    assert message.model_dump(exclude_none=True) == bare
    assert json.loads(message.model_dump_json(exclude_none=True)) == bare
    assert message.model_copy(update={"content": "yo"}) == dict(sent, content="yo")
    assert type(message.to_dict()["parts"][0]) is dict and "\n" in message.model_dump_json(indent=2)
    assert message.model_copy().parts[0].b == 1 and message.model_copy().absent is None
    del message.refusal
    assert "refusal" not in message and message.refusal is None
    with pytest.raises(AttributeError):
        del message.refusal


def test_closing_the_response_of_a_stream_ends_the_request(server, client):
    server.default = Answer(sse=chunks("a", "b"), hold_after=1, wait=threading.Event())
    for number, make in enumerate((client.stream_chat, client.responses.create), 1):
        stream = make("hi") if number == 1 else make(stream=True)
        assert next(stream)
        stream.response.close()
        stream.response.close()
        server.wait_closed(number)
    assert client.stats()["queue"]["running"] == 0


def test_headers_request_id_and_status_code_of_a_nested_object_are_its_own(server, client):
    tool = {"headers": {"x": "1"}, "request_id": "own", "status_code": 7}
    body = dict(RESPONSE, tools=[tool, {}], request_id="body's")
    server.default = Answer(json=body, headers={"x-request-id": "req_1"})
    result = client.responses.create(input="x")
    assert (result.request_id, result.status_code, result["request_id"]) == ("req_1", 200, "body's")
    for one in (result.tools[0], result.model_copy().tools[0]):
        assert one == tool and [getattr(one, name) for name in tool] == list(tool.values())
    assert [getattr(result.tools[1], name) for name in tool] == [None] * 3


@pytest.mark.parametrize("given", [True, False])
def test_a_copy_for_another_server_has_a_breaker_of_its_own_with_the_same_settings(server, given):
    clock, breaker = FakeClock(), None
    if given:
        breaker = openai_mini.CircuitBreaker(failure_threshold=1, reset_timeout=7, clock=clock)
    client = new_client(server, circuit_breaker=breaker, max_retries=0)
    state = lambda one: one.stats()["circuit"]["state"]  # noqa: E731
    with LoopbackServer() as other:
        other.default = Answer(500)
        copied = client.with_options(base_url=other.url)
        for _ in range(1 if given else 5):
            client_error(lambda: copied.chat("hi"), InternalServerError)
        error = client_error(lambda: copied.chat("hi"), CircuitOpenError)
        assert not given or error.retry_after == 7
        assert client.chat("hi").content == "hello" and state(client) == "closed"
        clock.advance(8)
        assert state(copied) == ("half_open" if given else "open")
        assert state(copied.with_options(timeout=3)) == state(copied)
        assert state(client.with_options(base_url=other.url)) == "closed"
        unguarded = client.with_options(circuit_breaker=False).with_options(base_url=other.url)
        assert state(unguarded) is None


@pytest.mark.parametrize(
    "given, query",
    [
        ({"extra_query": {"v": "2"}}, {"v": "2", "keep": "0"}),
        ({"extra_query": {"v": ["2", "3"]}}, {"v[]": ["2", "3"], "keep": "0"}),
        ({"limit": 5, "extra_query": {"keep": "9"}}, {"limit": "5", "v": "1", "keep": "9"}),
    ],
)  # fmt: skip
def test_the_query_of_a_call_wins_over_the_default(server, given, query):
    client = new_client(server, default_query={"v": "0"})
    client.with_options(default_query={"v": "1", "keep": "0"}).files.list(**given)
    assert server.requests[0].query == query


@pytest.mark.parametrize("answer", [types.SimpleNamespace, requests.Response])
def test_an_error_made_by_hand_has_what_its_answer_says(answer):
    """People test their handlers so, with whichever object has the shape of an answer."""
    kinds = {403: openai_mini.PermissionDeniedError, 429: RateLimitError, 418: APIStatusError}
    for status, made in kinds.items():
        response, body = answer(), {"code": "c", "param": "p", "type": "t"}
        response.status_code, response.headers = status, {"x-request-id": "req_1"}
        error = made("slow down", response=response, body=body)
        assert str(error) == error.message == "slow down" and error.response is response
        assert (error.status_code, error.request_id, error.body) == (status, "req_1", body)
        assert (error.is_rate_limit_error, error.is_auth_error) == (status == 429, status == 403)
        assert (error.code, error.param, error.type) == ("c", "p", "t")
        assert made("slow down", response=response, body=None).code is None
    assert APITimeoutError(request=None).status_code is None


A_PAGE = {"data": [{"id": "a"}, {"id": "b"}], "has_more": True, "last_id": "L", "next": "N"}


@pytest.mark.parametrize(
    "left_out, items, path, query",
    [
        ((), None, "files", {"after": "N"}), (("next",), None, "files", {"after": "b"}),
        (("next",), [{"x": 1}], "files", {"after": "L"}),
        (("next",), ["a"], "files", {"after": "L"}),
        (("has_more", "next"), None, "files", {"after": "b"}),
        ((), None, "beta.agents.environments.files", {"page": "N"}),
        (("next",), None, "beta.agents.environments.templates", {"after": "b"}),
    ],
)  # fmt: skip
def test_a_list_goes_on_where_its_page_says(server, client, left_out, items, path, query):
    first = {name: value for name, value in A_PAGE.items() if name not in left_out}
    first["data"], last = items or first["data"], {"id": "z"}
    server.script(Answer(json=first))
    server.default = Answer(json=dict(first, data=[last]))  # and then a page that repeats
    resource = functools.reduce(getattr, path.split("."), client)
    page = resource.list(**({"environment_id": "e"} if path.endswith("environments.files") else {}))
    assert list(page) == first["data"] + [last] and len(server.requests) == 3
    assert server.requests[1].query == query


# Tables and web frameworks: libraries that are asked only where they are


def test_results_are_rows_of_a_table_and_vectors_are_an_array(server, client):
    pandas, numpy = pytest.importorskip("pandas"), pytest.importorskip("numpy")
    usages = [client.chat("hi").usage, client.chat("hi").usage]
    frame = pandas.DataFrame(usages)
    assert list(frame.columns) == list(CHAT["usage"]) and frame["total_tokens"].sum() == 20
    frame = pandas.DataFrame({"usage": usages, "n": [1, 2]})
    assert frame.shape == (2, 2) and frame["usage"][0] == CHAT["usage"]
    server.default = vectors()
    found = numpy.array(client.embedding(["1", "2", "3"]))
    assert found.shape == (3, 2) and found.dtype == float and found[2].tolist() == [3.0, 0.5]
    column = pandas.Series(["1", "2"], index=[7, 9])
    assert client.embedding(column) == client.embedding(column.to_numpy()) == [[1, 0.5], [2, 0.5]]
    for empty in (None, pandas.NA, float("nan")):
        rows = pandas.Series(["1", empty], dtype=object)
        error = client_error(lambda: client.embedding(rows), ValidationError)
        assert "[1]" in str(error)


def post_to_flask(handle):
    """What posts a file to a web application, whose handler hands on what it got."""
    flask = pytest.importorskip("flask")
    app = flask.Flask("app")
    app.post("/talk")(lambda: handle(flask.request.files["audio"]))
    web = app.test_client()
    return lambda name, content: web.post("/talk", data={"audio": (io.BytesIO(content), name)})


def post_to_fastapi(handle):
    fastapi = pytest.importorskip("fastapi")
    for needed in ("httpx", "python_multipart"):
        pytest.importorskip(needed)
    handle.__annotations__ = {"audio": fastapi.UploadFile}
    app = fastapi.FastAPI()
    app.post("/talk")(handle)
    web = importlib.import_module("fastapi.testclient").TestClient(app)
    return lambda name, content: web.post("/talk", files={"audio": (name, content, "audio/mpeg")})


@pytest.mark.parametrize("post_to", [post_to_fastapi, post_to_flask])
def test_what_a_web_application_got_goes_out_under_its_name(server, client, post_to):
    def handle(audio):
        text = client.transcribe_audio(audio).text
        client_error(lambda: client.upload_file(audio), ValidationError)  # it stands at its end
        getattr(audio, "file", audio).seek(0)
        return text + client.upload_file(audio).id

    server.default = Answer(json={"text": "good morning", "id": "file-1"})
    post = post_to(handle)
    for size in (100, 2_000_000):  # in memory, and on disk
        sound = b"ID3\x04" + os.urandom(size)
        answer = post("my talk.mp3", sound)
        assert answer.status_code == 200 and "good morningfile-1" in answer.text
        for part in map(part_of, server.requests[-2:]):
            assert part == ("file", "my talk.mp3", "audio/mpeg", sound)


# Settings, logging, the cache


def test_a_cache_that_is_not_safe_for_threads_never_gives_another_calls_answer(server, tmp_path):
    server.default = lambda request: chat_saying(request.json["messages"][-1]["content"])
    with contextlib.closing(shelve.open(str(tmp_path / "cache"))) as cache:
        client = new_client(server, cache=cache, max_concurrent_requests=16)

        def ask(number):
            texts = ["%d" % (n % 40) for n in range(number * 7, number * 7 + 60)]
            return [text for text in texts if client.chat(text).content != text]

        assert together(16, ask) == [[]] * 16
        assert client.stats()["succeeded"] == 16 * 60


LOGGING_STEPS = """
    import logging, sys, openai_mini
    make = lambda **more: openai_mini.OpenAIMini("k", base_url=sys.argv[1], max_retries=0, **more)
    steps = {
        "client": lambda: make(debug=True), "quiet": make,
        "basic": lambda: logging.basicConfig(level=logging.INFO, format="PROGRAM %(message)s"),
        "handler": lambda: logging.getLogger("openai_mini").addHandler(logging.StreamHandler()),
    }
    made = [steps[step]() for step in sys.argv[2:]]
    [one for one in made if one][0].chat("x")
"""


@pytest.mark.parametrize(
    "steps, level, times",
    [("client client", "", 1), ("basic client", "", 1), ("client basic", "", 1),
     ("quiet", " debug\n", 1), ("quiet basic", "info", 1), ("handler client", "", 1),
     ("basic quiet", "", 0)],
)  # fmt: skip
def test_each_line_of_the_log_comes_once_however_logging_is_set_up(server, steps, level, times):
    done = run_python(LOGGING_STEPS, server.url, *steps.split(), env={"OPENAI_LOG": level})
    lines = [line for line in done.stderr.splitlines() if "chat/completions" in line]
    assert done.returncode == 0 and len(lines) == times
    assert all("200" in line for line in lines)
    assert not steps.startswith("basic") or all(line.startswith("PROGRAM") for line in lines)


VARIABLES = {
    "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "HOST/v1", "OPENAI_MODEL": "m",
    "OPENAI_ORG_ID": "org", "OPENAI_PROJECT_ID": "proj", "OPENAI_ADMIN_KEY": "admin",
}  # fmt: skip
OF_AZURE = {
    "AZURE_OPENAI_ENDPOINT": "HOST", "OPENAI_API_VERSION": "v", "AZURE_OPENAI_API_KEY": "k",
    "OPENAI_MODEL": "m",
}  # fmt: skip


def asked_with(monkeypatch, server, variables, make) -> list:
    with monkeypatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value.replace("HOST", server.origin))
        with make() as client:
            client.admin.organization.users.list()
            client.chat("x", max_retries=0)
    for request in server.requests[-2:]:
        request.headers.pop("idempotency-key", None)
    return [(asked.target, asked.headers, asked.body) for asked in server.requests[-2:]]


@pytest.mark.parametrize("white", ["{}\n", "\t{} ", "", " \n"], ids=repr)
def test_white_space_is_no_part_of_a_variable_and_an_empty_one_unset(server, monkeypatch, white):
    least = {name: VARIABLES[name] for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL")}
    rows = [(VARIABLES, OpenAIMini, VARIABLES), (OF_AZURE, openai_mini.AzureOpenAI, OF_AZURE)]
    if "{}" not in white:
        rows = [(least, OpenAIMini, [*list(VARIABLES)[2:], "OPENAI_LOG"])]
    for variables, make, names in rows:
        clean = asked_with(monkeypatch, server, variables, make)
        for name in names:
            padded = {**variables, name: white.format(variables.get(name))}
            assert asked_with(monkeypatch, server, padded, make) == clean, name


# ------------------------------------------------------------------------------------------------
# Queue, fallbacks, streams, wire: what was found by trying to break them


def test_a_job_that_has_had_its_answer_keeps_no_slot_from_others():
    queue, told = openai_mini.RequestQueue(max_concurrent=2), threading.Event()

    def job():
        with queue.slot():
            pass
        return told.wait(10)  # work of its own

    with queue.slot():
        first = queue.submit(job)
        queue.submit(told.set).result(5)
        assert first.result(5)


def test_a_fallback_has_what_is_left_of_the_deadline_and_its_answer_is_not_kept(
    server, other_server
):
    kept, go, other = {}, threading.Event(), client_for(other_server)
    server.script(Answer(500, wait=go), Answer(503))
    with client_for(server, cache=kept, max_retries=0, fallback=other) as client:
        client_error(lambda: client.chat("hi", deadline=0.1), APITimeoutError)
        go.set()
        assert not other_server.requests
        assert client.chat("hi").content == "hello" and not kept


def test_a_choice_that_starts_late_is_waited_for(server, client):
    """A stream of two is not whole where one of them has ended."""
    server.script(Answer(sse=[chunk({"content": "A"}), chunk({}, "stop")], done=False))
    stream = client.stream_chat("hi", n=2)
    assert client_error(lambda: list(stream), StreamInterruptedError).partial.content == "A"


def test_an_error_in_a_parsed_streaming_response_is_a_failure(server):
    server.script(Answer(sse=[{"error": {"message": "boom", "code": "server_error"}}]))
    client = client_for(server, max_retries=0)
    create = client.chat.completions.with_streaming_response.create
    with pytest.raises(InternalServerError):
        with create(model="m", messages=[{"role": "user", "content": "x"}], stream=True) as answer:
            list(answer.parse())
    assert client.stats()["succeeded"] == 0 and client.stats()["failed"] == 1


@pytest.mark.parametrize("method, status", [("HEAD", 200), ("GET", 204)])
def test_an_answer_without_a_body_ends_whatever_its_headers_say(server, client, method, status):
    head = b"HTTP/1.1 %d X\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.script(Answer(raw=head % status))
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
        sock.sendall(Answer(json=CHAT).wire()[0][0])


def test_a_large_body_that_moves_is_not_silent():
    with SlowReader() as server:
        server.url = "http://127.0.0.1:%d/v1" % server.port
        with client_for(server, timeout=(5, 0.5), max_retries=0) as client:
            assert client.chat("x" * (48 << 20)).content == "hello"


def test_a_call_out_of_an_uploads_progress_leaves_the_upload_its_time(server, client):
    called = []

    def progress(sent, total):
        if not called:
            called.append(client.chat("hi", deadline=0.3).content)
            time.sleep(0.3)

    client.upload_file(b"x" * (1 << 20), progress=progress, max_retries=0)
    assert called == ["hello"] and len(server.requests) == 2


def packed(body: bytes, wbits: int) -> bytes:
    packer = zlib.compressobj(9, wbits=wbits)
    return packer.compress(body) + packer.flush()


CODED = [
    *(("deflate", packed(b"a" * size, -15), b"a" * size)
      for size in ((1 << 20) + more for more in (0, 7, 259, 5000))),
    # Zeros behind a member are no member.
    ("gzip", packed(b"one", 31) + b"\0" * 7 + packed(b"two", 31) + b"\0" * 600, b"onetwo"),
    ("gzip", b"", b""),
]  # fmt: skip


@pytest.mark.parametrize("coding, sent, body", CODED, ids=len)
def test_a_coded_body_is_read_to_its_end(server, client, coding, sent, body):
    headers = {"content-encoding": coding}
    server.script(Answer(body=sent, content_type="audio/mpeg", headers=headers))
    assert client.text_to_speech("hi") == body


def test_a_map_that_finds_no_thread_says_so_and_ends(monkeypatch):
    results = openai_mini.RequestQueue(1).map(len, ["a"])
    with monkeypatch.context() as patch, pytest.raises(QueueFullError):
        patch.setattr(threading.Thread, "start", lambda self: raising(RuntimeError("no thread")))
        next(results)
    assert list(results) == []


@pytest.mark.parametrize("answer", [{"raw": b""}, {"cut": 5}, {"body": "<p>"}], ids=str)
def test_a_call_that_fails_keeps_nothing_of_its_caller_alive(server, answer):
    server.default = Answer(**{"json": CHAT, **answer} if "body" not in answer else answer)

    def fail(client):
        mine = FakeClock()
        with contextlib.suppress(OpenAIError):
            client.chat("hi")
        return weakref.ref(mine)

    gc.disable()  # for it takes no garbage collector
    try:
        with client_for(server, max_retries=0) as client:
            assert fail(client)() is None
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_does_not_wait_for_the_reader_of_a_stream_in_its_parent(server):
    go_on = threading.Event()
    server.script(Answer(sse=chunks("a", "b"), wait=go_on, hold_after=1))
    with client_for(server) as client, client.stream_chat("hi") as stream:
        reader = threading.Thread(target=list, args=(stream,))
        reader.start()
        time.sleep(0.05)  # for it to wait at the socket
        assert in_child(lambda: client.chat("hi").content == "hello")
        go_on.set()
        reader.join(10)
    assert stream.content == "ab"


STREAMED_ODDLY = {  # data lines, or lines as they are; the text, as shown and as the message has it
    "a line of JSON first": ([b'{"meta": 1}\n\n', *chunks("a", "b")], "ab", "ab"),
    "an error that says nothing": ([*chunks("a", finish=None), b"error:\n\n", chunk({}, "stop")],
                                   "a", "a"),
    "a message that differs": ([chunk({"content": "helo"}),
                                {"choices": [{"index": 0, "delta": None, "finish_reason": "stop",
                                              "message": {"content": "hello"}}]}], "helo", "hello"),
}  # fmt: skip


@pytest.mark.parametrize("case", STREAMED_ODDLY)
def test_what_stands_between_the_events_of_a_stream_costs_no_text(server, case):
    sent, shown, told = STREAMED_ODDLY[case]
    lines = [one if isinstance(one, bytes) else b"data: %s\n\n" % json.dumps(one).encode()
             for one in (*sent, None)]  # fmt: skip
    body = b"".join(lines[:-1]) + b"data: [DONE]\n\n"
    server.script(Answer(body=body, content_type="text/event-stream"))
    with client_for(server, max_retries=0) as client, client.stream_chat("hi") as stream:
        assert "".join(piece.content for piece in stream) == shown
        assert stream.content == told == stream.message.content


def test_each_part_of_each_item_of_a_responses_stream_has_its_own_text(server):
    events = [
        {"type": "output_text.delta", "delta": "a", "output_index": 0, "content_index": 0},
        {"type": "output_text.done", "text": "b", "output_index": 0, "content_index": 1},
        {"type": "content_part.done", "part": {"type": "output_text", "text": "c"},
         "output_index": 1, "content_index": 0},
        {"type": "completed", "response": {"output": []}},
    ]  # fmt: skip
    sent = [dict(event, type="response." + event["type"]) for event in events]
    server.script(Answer(sse=sent, done=False))
    with client_for(server, max_retries=0) as client:
        stream = client.responses.create(model="m", input="x", stream=True)
        assert "".join(piece.content for piece in stream) == "abc" == stream.content


def test_a_tool_gets_a_whole_number_as_int_and_what_its_signature_does_not_name(server, client):
    def tool(a: int, **more):
        return repr((a, more))

    arguments = json.dumps({"a": 5.0, "b": 2})
    call = {"id": "c", "type": "function", "function": {"name": "tool", "arguments": arguments}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": asked, "finish_reason": "tool_calls"}
    server.script(Answer(json=dict(CHAT, choices=[choice])))
    client.run_tools("hi", [tool])
    assert server.requests[-1].json["messages"][-1]["content"] == "(5, {'b': 2})"


def test_a_303_to_a_get_is_followed_and_one_to_a_post_is_not(server, client):
    for method in ("GET", "POST"):
        server.script(Answer(303, headers={"location": "/v1/other"}))
        with contextlib.suppress(openai_mini.APIStatusError):
            client.with_options(max_retries=0).request(method, "/x")
    assert [request.path for request in server.requests] == ["/v1/x", "/v1/other", "/v1/x"]


def test_without_a_queue_no_more_connections_are_kept_than_a_queue_would_hold(server):
    gate = threading.Barrier(6)
    server.default = lambda request: gate.wait(10) is None or Answer(json=CHAT)
    options = {"use_request_queue": False, "max_concurrent_requests": 2}
    with client_for(server, **options) as client:
        assert together(6, lambda i: client.chat("hi").content) == ["hello"] * 6
        server.wait_closed(4)
    assert server.connections == 6


def test_a_dropped_stream_writes_no_line_of_the_log(server, caplog):
    server.script(Answer(sse=chunks("a", "b"), wait=threading.Event(), hold_after=1))
    with client_for(server, debug=True) as client, caplog.at_level("INFO", "openai_mini"):
        stream = client.stream_chat("hi")
        before = len(caplog.records)
        del stream
        gc.collect()
        assert len(caplog.records) == before


@pytest.mark.skipif(os.name != "posix", reason="a shell's redirections")
@pytest.mark.parametrize("ends", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_cli_with_closed_standard_streams_answers_or_ends_in_silence(ends):
    line = '"%s" "%s" --offline Hello %s' % (sys.executable, openai_mini.__file__, ends)
    done = subprocess.run(line, shell=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (b"Hello\n" if ends == "<&-" else b"")


def test_what_is_given_in_another_form_is_taken_or_refused_and_never_lost(server, client):
    given = openai_mini.OpenAIMini("k", base_url=server.url, timeout=openai_mini.NOT_GIVEN,
                                   max_retries=openai_mini.omit)  # fmt: skip
    assert given.timeout == (10, 600) and given.max_retries == 3
    reader = types.SimpleNamespace(read=lambda: b"x")  # its read() takes no size
    for call in (lambda: client.edit_image((b"\x89PNG1", b"\x89PNG2"), "x"),
                 lambda: client.chat(one for one in []), lambda: client.upload_file(reader),
                 lambda: client.download_file("f", to=False)):
        client_error(call, ValidationError)
    assert not server.requests
    text = '{"a": 1} and then he said'
    server.script(Answer(body=text, content_type="text/plain"))
    assert str(client.transcribe_audio(b"ID3", response_format="text")) == text
    client.embeddings.create(model="m", input=types.SimpleNamespace(tolist=lambda: ["a", "b"]))
    assert server.requests[-1].json["input"] == ["a", "b"]  # as of numpy and pandas
    answer = client.chat("hi")
    assert answer.content == "hello"
    copied = answer.model_copy()
    copied.choices[0].message.content = "new"
    assert copied.content == "new" and answer.content == "hello"
# ------------------------------------------------------------------------------------------------
# Uploads, tools and schemas, resources: what people met, and siblings of it.


def buffer_of(content, **names):
    """A buffer with a name as frameworks give it."""
    file = io.BytesIO(content)
    file.__dict__.update(names)
    return file


def fastapi_upload(content, filename):
    """As FastAPI's and Starlette's UploadFile: read() is a coroutine function."""

    async def read(size=-1):
        return content

    return types.SimpleNamespace(file=io.BytesIO(content), filename=filename, read=read)


def only_read(content, **more):
    return types.SimpleNamespace(read=io.BytesIO(content).read, **more)


WAV = b"RIFF\x24\0\0\0WAVEfmt " + bytes(28)
UPLOADS = {  # what is given, and the name, type and bytes that arrive
    "flask, no name": (lambda: buffer_of(MP3, name="audio", filename=""), "audio", None, MP3),
    "read alone": (lambda: only_read(MP3), "file.mp3", "audio/mpeg", MP3),
    "read and a name": (lambda: only_read(b"x", name="a.webp"), "a.webp", "image/webp", b"x"),
    "a buffer": (lambda: io.BytesIO(WAV), "file.wav", "audio/wav", WAV),
    "a name as bytes": (lambda: buffer_of(b"x", name=b"/tmp/a.m4a"), "a.m4a", "audio/mp4", b"x"),
    "a name of no file": (lambda: buffer_of(WAV, name="<stdin>"), "file.wav", "audio/wav", WAV),
    "no extension": (lambda: ("blob", WAV), "blob", "audio/wav", WAV),
    "a tuple": (lambda: ("b.flac", fastapi_upload(b"x", "a.mp3")), "b.flac", "audio/flac", b"x"),
}  # fmt: skip


@pytest.mark.parametrize("case", UPLOADS)
def test_what_can_be_read_goes_out_under_its_name_and_type(server, client, case, monkeypatch):
    import mimetypes

    bare = mimetypes.MimeTypes(())  # without what the system's tables add
    monkeypatch.setattr(mimetypes, "guess_type", bare.guess_type)
    make, name, kind, content = UPLOADS[case]
    server.default = Answer(json={"id": "f", "text": "t"})
    client.transcribe_audio(make(), model="m")
    client.files.create(file=make(), purpose="batch")
    for request in server.requests:
        part = part_of(request)
        assert (part.filename, part.body) == (name, content)
        assert kind is None or part.content_type == kind


@pytest.mark.filterwarnings("ignore:coroutine")
def test_an_upload_that_cannot_be_one_is_refused_before_anything_is_sent(server, client):
    async_read = types.SimpleNamespace(read=fastapi_upload(b"x", "a").read)
    for file, words in (
        (fastapi_upload(b"", "a.mp3"), "a.mp3"),
        (only_read(b""), "empty"), (async_read, "rb"), ("a path as str", "Path"),
    ):  # fmt: skip
        with pytest.raises(ValidationError, match=words):
            client.files.create(file=file, purpose="x")
    assert not server.requests


# Tools and schemas


class Size(enum.Enum):
    SMALL, LARGE = "small", "large"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


@dataclasses.dataclass
class Node:
    below: Optional["Node"]


INTEGER, STRING, NULL = {"type": "integer"}, {"type": "string"}, {"type": "null"}
SIZE = {"enum": ["small", "large"]}
POINT = {"type": "object", "required": ["x"],
         "properties": {"x": INTEGER, "y": {"type": "number"}}}  # fmt: skip
HINT_ROWS = [  # the hint, its schema, a JSON value and what the function gets, JSON it cannot be
    (int, INTEGER, 3, 3, "3"), (int, INTEGER, -1, -1, True), (str, STRING, "x", "x", None),
    (float, {"type": "number"}, 3, 3.0, "x"), (bool, {"type": "boolean"}, True, True, 1),
    (typing.Any, {}, [1], [1], NotImplemented), (object, {}, None, None, NotImplemented),
    (Optional[Size], {"anyOf": [SIZE, NULL]}, "small", Size.SMALL, "x"),
    (Optional[int], {"anyOf": [INTEGER, NULL]}, None, None, "x"),
    (typing.Union[Point, str], {"anyOf": [POINT, STRING]}, {"x": 1}, Point(1), {"z": 1}),
    (List[Size], {"type": "array", "items": SIZE}, ["small"], [Size.SMALL], "small"),
    (list, {"type": "array", "items": {}}, [1, "a"], [1, "a"], "x"),
    (typing.Dict[str, Point], {"type": "object", "additionalProperties": POINT},
     {"a": {"x": 1}}, {"a": Point(1)}, {"a": {}}),
    (dict, {"type": "object", "additionalProperties": {}}, {"a": 1}, {"a": 1}, [1]),
    (Point, POINT, {"x": 1, "y": 2}, Point(1, 2.0), {"x": "a"}),
    (typing.Literal["a", 2], {"enum": ["a", 2]}, 2, 2, "b"),
]  # fmt: skip


def tool_with(hint):
    """A function of a parameter with this hint, and the list of what it gets."""

    def tool(it):
        got.append(it)

    got = []
    tool.__annotations__["it"] = hint
    return tool, got


def called(client, server, tool, arguments):
    """The tool that run_tools tells of, and what it tells the model of a call."""
    server.script(chat_calling((tool.__name__, arguments)), chat_saying("done"))
    del server.requests[:]
    assert client.run_tools("go", [tool]).content == "done"
    first, second = (request.json for request in server.requests)
    return first["tools"][0]["function"]["parameters"], second["messages"][-1]["content"]


@pytest.mark.parametrize("hint, schema, value, expected, wrong", HINT_ROWS, ids=repr)
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


def test_the_definitions_of_a_class_are_where_its_references_lead(server, client):
    tool, got = tool_with(List[Person])
    parameters, _ = called(client, server, tool, {"it": [{"name": "Ada"}]})
    assert got[0][0].name == "Ada" and list(parameters["$defs"]) == ["Step"]
    items = parameters["properties"]["it"]["items"]
    assert items["properties"]["steps"]["items"] == {"$ref": "#/$defs/Step"}


async def async_tool(it: str) -> str:
    return it


async def async_generator(it: str):
    yield it


NO_HINTS = (bytes, typing.Callable, "NoSuchName", Node, List[bytes], typing.Dict[str, io.BytesIO],
            typing.Union[str, bytes])  # fmt: skip


@pytest.mark.parametrize(
    "tool",
    [
        async_tool, functools.partial(async_tool, "x"), ({"type": "object"}, async_tool),
        ({"type": "function", "function": {"name": "x"}}, async_tool), (async_tool,),
        {"type": "function", "function": {"name": "x"}}, *(tool_with(hint)[0] for hint in NO_HINTS),
    ],
)  # fmt: skip
def test_a_tool_that_no_schema_can_say_is_refused_before_anything_is_sent(server, client, tool):
    error = client_error(lambda: client.run_tools("go", [tool]), ValidationError)
    assert "tool" in str(error) and not server.requests


@pytest.mark.parametrize(
    "arguments, told",
    [
        ({"it": "a"}, "a"), ('{"it": "a"}', "a"), ('"{\\"it\\": \\"a\\"}"', "a"), ("", "none"),
        (" \n", "none"), ("null", "none"), (None, "none"), ("{}", "none"), ("7", "Error: "),
    ],
)  # fmt: skip
def test_arguments_are_read_in_whatever_form_they_come(server, client, arguments, told):
    def tool(it: str = "none") -> str:
        return it

    assert called(client, server, tool, arguments)[1].startswith(told)


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize("tool", [async_tool, async_generator])
def test_a_coroutine_as_a_result_is_told_as_an_error(server, client, tool):
    wrapped = functools.wraps(tool)(lambda it: tool(it))
    assert called(client, server, wrapped, {"it": "x"})[1].startswith("Error: ")


@pytest.mark.parametrize(
    "frame, is_read",
    [
        ("```json\n{}\n```", True), ("```\n{}\n```", True), ("```JSON {} ```", True),
        ("Here it is:\n\n```json\n{}\n```\nAs you asked.", True), ("\n {} \n", True),
        ("{} is it", False), ("```json\n{", False), ("```json\nno\n```", False),
    ],
)  # fmt: skip
def test_json_in_a_fence_is_parsed_and_what_cannot_be_is_not_lost(server, client, frame, is_read):
    text = frame.replace("{}", json.dumps({"name": "Ada", "note": "``` a ```"}))
    response = {"output": [{"content": [{"type": "output_text", "text": text}]}]}
    ask = {"model": "m", "messages": [{"role": "user", "content": "x"}], "response_format": Person}
    for answer, call in (
        (chat_saying(text), lambda: client.chat("x", schema={"type": "object"}).parsed),
        (chat_saying(text), lambda: client.chat("x", schema=Person).parsed),
        (chat_saying(text), lambda: client.chat.completions.parse(**ask).parsed),
        (Answer(json=response), lambda: client.responses.parse(text_format=Person).output_parsed),
    ):
        server.script(answer)
        if is_read:
            assert call().name == "Ada"
            continue
        with pytest.raises(openai_mini.APIResponseError, match="POST /") as caught:
            call()
        assert text in (caught.value.partial.content, caught.value.partial.output_text)


@pytest.mark.parametrize(
    "title, name, strict", [("The answer", "The_answer", True), (None, "answer", False)]
)
def test_a_schema_is_strict_where_it_says_so_and_has_its_own_name(
    server, client, title, name, strict
):
    schema = {"type": "object", "title": title, "additionalProperties": not strict}
    server.script(chat_saying("{}"))
    client.chat("x", schema=schema)
    sent = server.requests[0].json["response_format"]["json_schema"]
    assert sent == {"name": name, "strict": strict, "schema": schema}
    for wrong in ("text", 5, object):
        with pytest.raises(ValidationError, match="schema"):
            client.chat("x", schema=wrong)


# Resources


def test_what_is_put_onto_a_resource_stays_there(server, client):
    from unittest import mock

    for holder, name, call in (
        (client.beta.vector_stores, "list", lambda: client.beta.vector_stores.list()),
        (client, "chat", lambda: client.chat("hi")),
        (client, "embeddings", lambda: client.embeddings()),
        (client.files.with_raw_response, "list", lambda: client.files.with_raw_response.list()),
    ):
        with mock.patch.object(holder, name, return_value="stand-in") as stand_in:
            assert call() == "stand-in" and stand_in.call_count == 1
        assert not isinstance(getattr(holder, name), mock.Mock)
    assert not server.requests and client.chat("hi").content == "hello"


def test_methods_have_what_decorators_ask_of_a_function(client):
    for method, name in ((client.chat, "chat"), (client.beta.files.with_raw_response.list, "list")):
        wrapped = functools.wraps(method)(lambda *args, **kwargs: None)
        assert wrapped.__name__ == method.__name__ == name and inspect.unwrap(wrapped) is method
        assert isinstance(inspect.signature(method), inspect.Signature)


@pytest.mark.parametrize("make", [iter, lambda items: dict(enumerate(items)).values()])
def test_what_can_be_iterated_over_is_a_list_to_the_server(server, client, make):
    messages = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    client.responses.create(model="m", input=make(messages), include=iter(["x"]))
    client.files.list(extra_headers=collections.ChainMap({"x-mine": "1"}), metadata={"a": "b"})
    first, second = server.requests
    assert first.json == {"model": "m", "input": messages, "include": ["x"]}
    assert second.headers["x-mine"] == "1" and second.query == {"metadata[a]": "b"}


def test_embeddings_are_numbers_unless_base64_was_asked_for(server, client):
    text = base64.b64encode(struct.pack("<2f", 1.0, -0.5)).decode()
    as_text = {"encoding_format": "base64"}
    for form, asked, expected in ((text, {}, [1.0, -0.5]), ([1], {}, [1]), (text, as_text, text)):
        server.default = Answer(json={"data": [{"index": 0, "embedding": form}]})
        answer = client.embeddings.create(model="m", input="a", **asked)
        raw = client.embeddings.with_raw_response.create(model="m", input="a", **asked)
        assert answer.data[0].embedding == raw.parse().data[0].embedding == expected
        assert server.requests[-1].json == {"model": "m", "input": "a", **asked}
    server.default = Answer(json={"data": [{"index": 0, "embedding": "%%%"}]})
    with pytest.raises(openai_mini.APIResponseError, match="POST /embeddings"):
        client.embeddings.create(model="m", input="a")


# ------------------------------------------------------------------------------------------------
# Safety
#
# Nothing leaks, nobody is let in, and nothing grows without limit.

KEY = "sk-live-S3cr3t/0123+456789"


def safe_client(server, **options):
    usual = {"api_key": KEY, "max_retries": 1, "circuit_breaker": False}
    return client_for(server, **{**usual, **options})


# Keys


def words_of(error: BaseException) -> str:
    """All that could be printed, logged or stored of an error, and of what is behind it."""
    lines, chain = traceback.format_exception(type(error), error, error.__traceback__), [error]
    for one in chain:
        behind = (one.__cause__, one.__context__)
        chain += [other for other in behind if other is not None and other not in chain]
        lines += [str(one), repr(one), repr(one.args), repr(getattr(one, "__dict__", ""))]
        response = getattr(one, "response", None)
        if response is not None:
            lines += [repr(response), str(getattr(response, "headers", ""))]
            lines += [str(getattr(response, "text", ""))]
    if isinstance(error, OpenAIError):
        lines.append(pickle.dumps(error).decode("latin-1"))
    return "\n".join(lines)


HTML, RAW_KEY = "text/html", KEY.encode()
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ECHOES = [
    *(Answer(status, json=body) for status, body in [
        (401, {"error": {"message": "Incorrect API key provided: %s." % KEY, "code": KEY}}),
        (401, {"error": "no %s" % KEY}), (500, {"detail": [{"msg": KEY}]}), (400, {KEY: KEY}),
        (400, {"error": {"message": "no", "key": {"a": [KEY]}}}), (200, [KEY]), (200, KEY),
        (403, {"error": {"message": "m", "type": KEY, "param": KEY}}),
        (200, {"error": {"message": KEY}})]),
    *(Answer(status, json={}, headers=headers) for status, headers in [
        (403, {"x-echo": "Bearer " + KEY}), (200, {"content-encoding": KEY}),
        (307, {"location": "https://elsewhere.invalid/?key=" + KEY})]),
    *(Answer(status, body=body, content_type=kind) for status, body, kind in [
        (400, "<title>%s</title>" % KEY, HTML), (400, "key=" + KEY, None),
        (200, "<html>Bearer %s</html>" % KEY, HTML), (200, '{"key": "' + KEY, "application/json")]),
    *(Answer(sse=events) for events in [
        [{"error": {"message": "bad " + KEY}}], ["no JSON: " + KEY], ['["%s"]' % KEY],
        chunks("hel") + [("error", {"message": KEY})]]),
    *(Answer(raw=raw) for raw in [
        b"HTTP/1.1 %s\r\n\r\n" % RAW_KEY, RAW_KEY + b"\r\n\r\n",
        CHUNKED + RAW_KEY + b"\r\n",
        b"HTTP/1.1 400 No\r\nx: \r\n bad %s\r\n\r\n" % RAW_KEY]),
    Answer(json=CHAT, headers={"content-length": KEY}, close=True), Answer(raw=b"", reset=0),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ECHOES)))
def test_a_key_that_the_server_echoes_is_nowhere_to_be_read(
    server, faults_session, caplog, capfd, number
):
    caplog.set_level(logging.DEBUG)
    server.default = ECHOES[number]
    events, words = [], []
    options = {"debug": True, "on_event": events.append, "session": faults_session}
    with safe_client(server, **options) as client:
        for ask in (
            lambda: client.chat("hi"), lambda: list(client.stream_chat("hi")), client.list_models,
            lambda: client.request("POST", "/x", json={}), client.health,
            lambda: client.models.with_streaming_response.retrieve("m").__enter__().parse(),
            lambda: [client.models.with_streaming_response.retrieve("m").__enter__().json()],
        ):  # fmt: skip
            try:
                answer = ask()
                words += [str(answer["error"])] if "error" in answer else []
            except OpenAIError as error:
                words.append(words_of(error))
        words += [str(client.stats()), repr(client)]
    assert server.requests, "it was asked"
    records = repr([record.__dict__ for record in caplog.records])
    told = {"errors": "\n".join(words), "events": repr(events), "log": caplog.text + records}
    for place, text in dict(told, terminal="".join(capfd.readouterr())).items():
        at = text.find(KEY)
        assert at < 0, "the key is in the %s: %r" % (place, text[max(at - 150, 0) :][:300])


def test_the_key_is_nowhere_when_the_server_is_out_of_reach(server, tls_server, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    nobody, words = server.url, []
    server.close()
    for url in (nobody, tls_server.url, "http://\u2028bad.invalid/v1", nobody + "?api-key=x"):
        with contextlib.suppress(ValidationError):
            client = safe_client(server, base_url=url, debug=True)
            words += [words_of(client_error(lambda: client.chat("hi"))), repr(client)]
    assert words and KEY not in "".join(words) + caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "bad", ["\r\nX-Evil: 1", "\nx", "a\rX", "\0", "ключ", "\x7f", " x\ny"], ids=ascii
)
def test_what_no_header_holds_forges_none_and_is_refused_without_printing_a_key(
    server, faults_session, bad
):
    def ask(extra=None, method="POST", **options):
        client = client_for(server, session=faults_session, **options)
        return client.request(method, "/models", json={}, extra_headers=extra or {})

    key, value = KEY + bad + "tail-S3cr3t", "a" + bad + "b"
    for options in (
        {"api_key": key}, {"admin_api_key": key}, {"api_key": lambda: key},
        {"default_headers": {"Authorization": "Bearer " + key}}, {"extra": {"api-key": key}},
        {"organization": value}, {"project": value}, {"default_headers": {"x-mine": value}},
        {"default_headers": {value: "x"}}, {"extra": {"x-mine": value}}, {"method": "GET" + value},
    ):  # fmt: skip
        error = client_error(lambda: ask(**options), ValidationError)
        assert "S3cr3t" not in words_of(error)
    assert not server.requests


SECRET_HEADERS = """Authorization api-key x-functions-key X-Access-Key X-Amz-Signature Cookie
    X-Team-Token Helicone-Auth Ocp-Apim-Subscription-Key""".split()
OPEN_HEADERS = """X-Max-Tokens Helicone-Token-Limit-Exception-Handler X-Author
    idempotency-key""".split()


@pytest.mark.parametrize("header", SECRET_HEADERS + OPEN_HEADERS)
def test_what_is_secret_in_a_header_is_told_as_little_as_the_key(server, header):
    server.script(Answer(400, json={"error": {"message": "bad value-of-ours, bob"}}))
    with client_for(server, default_headers={header: "value-of-ours", "X-By": "bob"}) as client:
        error = client_error(lambda: client.chat("hi"), BadRequestError)
    assert ("value-of-ours" in str(error)) == (header in OPEN_HEADERS) and "bob" in str(error)


@pytest.mark.parametrize("key", ["x", "ollama"])
def test_a_key_as_short_as_a_word_is_not_taken_out_of_what_the_model_said(server, key):
    server.script(Answer(sse=chunks("run ollama in a box", finish=None), done=False))
    with client_for(server, api_key=key) as client, client.stream_chat("hi") as stream:
        error = client_error(lambda: list(stream), StreamInterruptedError)
    assert error.partial.content == "run ollama in a box"


def test_a_fallback_gets_no_key_of_another_server(server, other_server):
    server.default = Answer(500)
    own = client_for(other_server, api_key="sk-other")
    with client_for(server, fallback=own, max_retries=0) as client:
        headers = {"Authorization": "Bearer sk-first", "X-A": "1"}
        assert client.chat("hi", extra_headers=headers).content == "hello"
    assert client_sent(server) + client_sent(other_server) == ["Bearer sk-first", "Bearer sk-other"]
    assert client_sent(other_server, "x-a") == ["1"]


# To no other origin

AWAY = ["{other}/v1/chat/completions", "//127.0.0.1:{port}/x", "http://{host}@127.0.0.1:{port}/x",
        "https://{host}/v1", "", "http://[bad"]  # fmt: skip


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", AWAY)
def test_nothing_goes_to_another_origin_by_a_redirect_which_says_where_it_leads(
    server, other_server, faults_session, status, location
):
    host = server.origin.split("//")[1]
    place = location.format(other=other_server.origin, port=other_server.port, host=host)
    server.default = Answer(status, headers={"location": place} if place else {})
    with safe_client(server, session=faults_session) as client:
        for ask in (lambda: client.chat("hi"), client.list_models):
            error = client_error(ask)
            if faults_session and location == "http://[bad":
                continue  # which requests itself refuses
            assert error.status_code == status and "1 attempt" in str(error)
            leads = "https://" + host if "https" in place else "127.0.0.1:%d" % other_server.port
            assert leads in str(error) or location in ("", "http://[bad")
            assert KEY not in str(error)
    assert other_server.connections == 0 and len(server.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("base, to", [("127.0.0.1", ""), ("LocalHost", "http://localhost:%d")])
def test_a_redirect_within_the_origin_keeps_method_and_body(
    server, faults_session, status, base, to
):
    """Also where the host is written in other letters than those of base_url."""
    to = to and to % server.port
    server.script(Answer(status, headers={"location": to + "/v2/chat/completions?a=b"}))
    base = server.url.replace("127.0.0.1", base)
    with safe_client(server, session=faults_session, base_url=base) as client:
        assert client.chat("hi").content == "hello"
    first, second = server.requests
    assert (second.method, second.target) == ("POST", "/v2/chat/completions?a=b")
    assert second.body == first.body and second.headers["authorization"] == "Bearer " + KEY


def test_redirects_without_end_end(server):
    server.default = Answer(307, headers={"location": "/v1/chat/completions"})
    client_error(lambda: safe_client(server).chat("hi"), APIStatusError)
    assert len(server.requests) < 30


@pytest.mark.parametrize(
    "path", ["http://127.0.0.1:1/x", "//127.0.0.1:1/x", "https://elsewhere.invalid/v1/x",
             "{origin}@127.0.0.1:1/x", "{origin}.elsewhere.invalid/v1/x"],
)  # fmt: skip
def test_an_absolute_url_of_another_origin_is_refused(server, client, path):
    path = path.format(origin=server.origin)
    client_error(lambda: client.request("GET", path), ValidationError)
    client.request("GET", server.url + "/models")
    assert len(server.requests) == 1


def test_netrc_does_not_replace_the_key_and_cookies_do_not_come_back(
    server, faults_session, tmp_path, monkeypatch
):
    server.default = Answer(json=CHAT, headers={"set-cookie": "a=b; Path=/"})
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with safe_client(server, session=faults_session) as client:
        client.chat("hi")
        client.with_options(api_version="2024", api_key="azure").chat("hi")
    assert client_sent(server)[0] == "Bearer " + KEY and "Basic" not in str(client_sent(server)[1])
    assert client_sent(server, "api-key") == [None, "azure"]
    assert faults_session or client_sent(server, "cookie") == [None, None]


# Injection


@pytest.mark.parametrize(
    "path", ["/models\r\nX: 1", "/mod els", "/models\nHTTP/1.1", "/ä", "/a\0b"], ids=ascii
)
def test_a_path_or_query_of_request_forges_nothing(server, faults_session, path):
    params = {"c": "x\r\nX-Evil: 1 #", "d": ["ä", "&"]}
    options = {"session": faults_session, "default_query": {"a": "1&b=2"}}
    with client_for(server, **options) as client, contextlib.suppress(OpenAIError):
        client.request("GET", "/models", params=params)
        client.request("GET", path)
    first, *others = server.requests
    assert first.query == {"a": "1&b=2", "c": params["c"], "d[]": params["d"]}
    for request in others:
        assert "x" not in request.headers and request.version == "HTTP/1.1"
        assert request.target.isprintable() and ascii(request.target)[1:-1] == request.target


def test_control_characters_of_a_server_are_in_no_message(server, capfd):
    evil = "\x1b[31m\x07\x9b2J\u202e\r\n\0"
    with client_for(server, max_retries=0, debug=True) as client:
        for status in (400, 200):
            server.script(Answer(status, json={"error": {"message": "a" + evil, "code": evil}}))
            server.script(Answer(status, body="a" + evil, content_type=HTML))
            errors = ending(client), ending(client)
            assert all(isinstance(error, APIError) for error in errors)
            assert "".join(map(str, errors)).isprintable(), ascii(errors)
    told = "".join(capfd.readouterr())
    assert told.replace("\n", "").isprintable(), ascii(told)


# TLS and the way there


def test_a_certificate_of_another_host_is_refused(tls_server, monkeypatch):
    here = socket.getaddrinfo("127.0.0.1", tls_server.port, 0, socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: here)
    url = "https://elsewhere.invalid:%d/v1" % tls_server.port
    error = ending(safe_client(tls_server, base_url=url, verify=tls_server.cert_path))
    assert isinstance(error, APIConnectionError)
    assert "certificate" in str(error) and "1 attempt" in str(error)


def test_the_proxies_of_the_environment_are_used(server, tls_server, faults_session, monkeypatch):
    with Proxy(server) as plain, Proxy(tls_server) as tunnel:
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, plain.url.replace("//", "//us%40er:pa%3Ass@"))
        monkeypatch.setenv("https_proxy", tunnel.url)
        client = safe_client(server, base_url="http://far.invalid/v1", session=faults_session)
        assert ending(client) == streamed(client) == "hello"
        given = {"session": faults_session, "verify": tls_server.cert_path}
        assert ending(safe_client(tls_server, **given)) == "hello"
        assert plain.asked[0].target == "http://far.invalid/v1/chat/completions"
        assert plain.asked[0].headers["proxy-authorization"] == "Basic dXNAZXI6cGE6c3M="
        assert tunnel.asked[0].method == "CONNECT" and KEY not in repr(tunnel.asked[0].headers)
        assert client_sent(server, "host")[0] == "far.invalid"
        assert client_sent(server, "proxy-authorization") == [None, None]
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        safe_client(server, session=faults_session).chat("hi")
        assert len(plain.asked) == 2 and len(server.requests) == 3


@pytest.mark.parametrize("secure", [False, True], ids=["http:", "https:"])
def test_a_proxy_spoken_to_by_tls_is_verified_as_the_server_is(
    server, tls_server, monkeypatch, faults_session, secure
):
    target = tls_server if secure else server
    given = {"base_url": target.url.replace("127.0.0.1", "localhost"), "max_retries": 0}
    with TlsProxy(target) as proxy:
        monkeypatch.setenv("https_proxy" if secure else "http_proxy", proxy.url)
        if secure or not faults_session:  # requests checks no proxy that is asked for http:
            error = ending(safe_client(target, session=faults_session, **given))
            assert isinstance(error, APIConnectionError) and "certificate" in str(error)
        assert not proxy.asked
        given.update(session=faults_session and requests.Session(), verify=tls_server.cert_path)
        with safe_client(target, **given) as client:
            assert ending(client) == streamed(client) == "hello"
    assert {request.method for request in proxy.asked} == {"CONNECT" if secure else "POST"}
    assert len(target.requests) == 2


def test_a_proxy_that_does_not_answer_is_waited_for_as_a_connection_is(tls_server, monkeypatch):
    with LoopbackServer() as proxy:
        proxy.default = Answer(wait=threading.Event())
        monkeypatch.setenv("https_proxy", proxy.origin)
        error = ending(client_for(tls_server, timeout=(0.2, 30), max_retries=0))
    assert isinstance(error, APITimeoutError) and "0.2 s" in str(error)


def test_a_session_keeps_its_adapters_hooks_proxies_verify_and_its_auth_where_no_key_is_given(
    server, tls_server
):
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
        session.proxies["http"] = proxy.url
        session.headers.update({"x-mine": "1", "authorization": "Bearer other"})
        session.cookies.set("a", "b")
        session.params["p"] = "q"
        session.verify, session.auth = tls_server.cert_path, ("user", "password")
        client = safe_client(server, session=session)
        assert ending(client) == streamed(client) == "hello" and len(sent) == 2
        assert ending(safe_client(tls_server, session=session)) == "hello"
        for url in (server.url, "mine://somewhere/v1"):
            assert ending(OpenAIMini(base_url=url, session=session)) == "hello"
    first = server.requests[0]
    assert len(sent) == len(proxy.asked) == 4 and heard[0] == "{"
    assert first.headers["x-mine"] == "1" and first.headers["cookie"] == "a=b"
    assert first.query == {"p": "q"}
    assert client_sent(server) == ["Bearer " + KEY] * 2 + ["Basic dXNlcjpwYXNzd29yZA=="] * 2


# Exhaustion


def gzip_bomb(block: bytes) -> list:
    """1 MiB of gzip that is a GiB, 1 MiB in each piece: `block`, again and again."""
    packer = zlib.compressobj(9, wbits=31)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress((block * (1 << 20))[: 1 << 20]) + packer.flush(zlib.Z_FULL_FLUSH)
    return [start] + [piece] * 1024


@pytest.mark.parametrize("status, kind, name, block", [
    (200, "application/json", "BODY", b"["), (500, HTML, "ERROR", b"<"),
    (200, "text/event-stream", "EVENT", b"x"), (200, "text/event-stream", "EVENT", b"data:\n"),
])  # fmt: skip
def test_a_gzip_bomb_stops_at_a_limit_that_has_a_name(
    server, monkeypatch, status, kind, name, block
):
    """The limits are lowered so that this is quick."""
    monkeypatch.setattr(openai_mini, "MAX_%s_BYTES" % name, (1 if name == "EVENT" else 4) << 20)
    how = {"content_type": kind, "headers": {"content-encoding": "gzip"}, "framing": "close"}
    bomb = gzip_bomb(block)
    server.default = Answer(status, pieces=lambda: iter(bomb), **how)
    with safe_client(server, max_retries=0) as client:
        tracemalloc.start()
        try:
            work = functools.partial(client.request, "POST", "/x")
            error = client_error(work if name != "EVENT" else lambda: streamed(client), APIError)
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


@pytest.mark.parametrize("part", ENDLESS)
def test_an_answer_whose_head_or_framing_has_no_end_stops(server, part):
    server.default = Answer(raw=ENDLESS[part])
    error = ending(safe_client(server, max_retries=0))
    assert isinstance(error, APIError) and len(str(error)) < 800


PAGES = {
    "html": "<html><title>Down</title>" + "<p>x</p>" * (10 << 17), "blank": " " * (10 << 20) + "<",
    **{"%s..." % name: name * (2 << 20) for name in ("<", "<title", "<title>", "<>a &\n\n<&<a")},
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_error_pages_of_10_mib_give_short_messages_in_time_linear_to_their_size(server, page):
    """What took the square of the time would not end today."""
    server.default = Answer(502, body=PAGES[page], content_type=HTML)
    error = ending(safe_client(server, max_retries=0))
    assert isinstance(error, InternalServerError) and len(str(error)) < 800
    assert "Down" in str(error) or page != "html"


def run_python(script: str, *argv: str, timeout: float = 60, env=None, **options):
    """A script that ran in a fresh interpreter which has the module; its output as text."""
    folder = os.path.dirname(os.path.abspath(openai_mini.__file__))
    environment = dict(os.environ, PYTHONPATH=folder, PYTHONIOENCODING="utf-8", **(env or {}))
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *argv], env=environment, timeout=timeout,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", **options,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------
# The wire as it is
#
# What people's networks and surroundings do, over real sockets; a sibling of each kind with it.


def ending(client, **options):
    """The text of one chat, or the error of ours that it raised."""
    try:
        return client.chat("hi", **options).content
    except OpenAIError as error:
        return error


def streamed(client) -> str:
    return "".join(piece.content for piece in client.stream_chat("hi"))


def patient_client(server, **options):
    """A client that would ask four times, with a breaker that opens at the first failure."""
    breaker = openai_mini.CircuitBreaker(failure_threshold=1)
    return client_for(server, circuit_breaker=breaker, **options)


def assert_is_of_this_side(error, client, *names) -> None:
    """Told at once, by the name of what to change, and no failure of the service."""
    assert isinstance(error, OpenAIError) and any(name in str(error) for name in names), error
    assert "attempts" not in str(error) and client.stats()["retries"] == 0
    assert client.stats()["circuit"]["state"] == "closed"


# Connections


@pytest.mark.parametrize("idle_s, wall_s, connections", [(30, 30, 3), (61, 61, 4), (0, -3600, 3)])
@pytest.mark.parametrize("ask", [ending, streamed])
def test_a_connection_that_lay_idle_over_a_minute_is_not_used_again(
    server, client, monkeypatch, idle_s, wall_s, connections, ask
):
    gate, monotonic, wall = threading.Barrier(3), time.monotonic, time.time
    server.default = lambda request: (gate.wait(10), usual(request))[1]
    assert together(3, lambda i: ask(client)) == ["hello"] * 3
    server.default = usual
    assert ask(client) == "hello" and server.connections == 3
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + idle_s)
    monkeypatch.setattr(time, "time", lambda: wall() + wall_s)
    assert ask(client) == ask(client) == "hello" and server.connections == connections
    assert server.requests[-1].connection == server.requests[-2].connection


@pytest.mark.parametrize("how", ["max_concurrent_requests", "use_request_queue", "copy"])
def test_a_pool_is_as_large_as_the_queue_that_feeds_it(server, caplog, how):
    gate = threading.Barrier(30)
    server.default = lambda request: (gate.wait(10), usual(request))[1]
    queue = {"use_request_queue": openai_mini.RequestQueue(30)}
    options = {"max_concurrent_requests": 30} if how[0] == "m" else queue
    with client_for(server, **({} if how == "copy" else options)) as client:
        client = client.with_options(**options)
        for _ in range(3):
            assert together(30, lambda i: ending(client)) == ["hello"] * 30
    assert server.connections == 30 and not caplog.records


class Refusing(LoopbackServer):
    """Answers once the head of a request has come, and closes with the rest of it unread."""

    def serve(self, number, sock):
        with sock.makefile("rb", 0) as reader:
            _read_head(reader)
        sock.sendall(self.default.wire()[0][0])
        with contextlib.suppress(OSError, ValueError):
            sock.settimeout(0.2)
            sock.unwrap() if self.tls else sock.shutdown(socket.SHUT_WR)
        self._closing.wait(0.3)


@pytest.mark.parametrize("status", [413, 401])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("what", ["upload", "chat"])
def test_a_body_refused_before_its_end_gives_the_answer_that_was_sent(status, tls, what):
    with Refusing(tls=tls) as server:
        server.default = Answer(status, json={"error": "the file is over 10 MB"}, close=True)
        with client_for(server, verify=certificate()[0]) as client:
            work = {"upload": lambda: client.upload_file(("a.bin", bytes(20_000_000))),
                    "chat": lambda: client.chat("x" * 20_000_000)}[what]  # fmt: skip
            error = client_error(work, APIStatusError)
    assert error.status_code == status and "over 10 MB" in str(error)
    assert "1 attempt" in str(error) and server.connections == 1


# Answers' heads


@pytest.mark.parametrize(
    "coding", ["UTF-8", "none", "identity, identity", "", "x-gzip", "X-GZIP", "gzip, none"]
)
def test_a_coding_that_is_none_is_passed_over_and_x_gzip_is_gzip(server, client, coding):
    error, events = {"error": {"message": "no such thing"}}, [*chunks("hel", "lo"), "[DONE]"]
    for status, body, kind in (
        (200, json.dumps(CHAT).encode(), JSON), (404, json.dumps(error).encode(), JSON),
        (200, b"".join(map(sse_bytes, events)), EVENTS),
    ):  # fmt: skip
        body = packed(body, 31) if "gzip" in coding.lower() else body
        headers = {"content-encoding": coding, "content-type": kind}
        server.script(Answer(status, body=body, headers=headers))
    assert ending(client) == "hello" and "no such thing" in str(ending(client))
    assert streamed(client) == "hello"


EVENTS, JSON = "text/event-stream", "application/json"


@pytest.mark.parametrize(
    "kinds", [[EVENTS, EVENTS], [EVENTS + "; charset=utf-8", EVENTS], [EVENTS + ", " + EVENTS],
              [JSON + ", %s; charset=utf-8" % EVENTS], [JSON, EVENTS], ["TEXT/Event-Stream"]],
)  # fmt: skip
def test_of_several_content_types_the_one_that_fits_is_taken(server, client, kinds):
    headers = [("content-type", kind) for kind in kinds]
    server.script(Answer(sse=chunks("hel", "lo"), headers=headers))
    assert streamed(client) == "hello"
    headers = [(name, kind.lower().replace(EVENTS, JSON)) for name, kind in headers]
    server.script(*[Answer(json=CHAT, headers=headers)] * 2)
    assert ending(client) == "hello"
    assert isinstance(client.request("GET", "/x"), openai_mini.Result)


@pytest.mark.parametrize("name, value", [("retry-after", "7"), ("retry-after-ms", "7000")])
def test_a_wait_that_is_told_twice_is_known(server, name, value):
    for pairs in ([(name, value)] * 2, [(name, "%s, %s" % (value, value))]):
        server.script(Answer(429, json={}, headers=pairs))
        assert ending(client_for(server, max_retries=0)).retry_after == 7


BODY = json.dumps(CHAT).encode()
STREAM = b"".join(sse_bytes(item) for item in chunks("hel", "lo"))  # its end is the transfer's


@pytest.mark.parametrize("end", ["0\r\n", "0\r\n\r\n", "0;x=y\r\n", "000\r\n", "0\r\nX-A: b\r\n"])
@pytest.mark.parametrize("ask, body, kind", [(ending, BODY, JSON), (streamed, STREAM, EVENTS)])
def test_a_last_chunk_needs_no_empty_line_behind_it(server, faults_session, end, ask, body, kind):
    head = "content-type: %s\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % (kind, len(body))
    server.default = faults_raw(head.encode() + body + b"\r\n" + end.encode())
    with client_for(server, session=faults_session) as client:
        assert ask(client) == "hello" and len(server.requests) == 1


@pytest.mark.parametrize("headers", [90, 120, 300, "70 KB"])
@pytest.mark.parametrize("status", [200, 500])
def test_many_headers_are_read_or_told_after_one_attempt(server, faults_session, headers, status):
    many = [("x-edge", "1")] * headers if headers != "70 KB" else [("x-trace", "a" * 70_000)]
    server.default = Answer(status, json=CHAT if status == 200 else {}, headers=many, close=True)
    with client_for(server, session=faults_session) as client:
        got = ending(client)
    too_many = "header" in str(got)  # for this side: what cannot be read is not asked for again
    assert len(server.requests) == (1 if too_many or status == 200 else 4)
    assert too_many and "1 attempt" in str(got) or got == "hello" or status == 500
    assert headers != 90 or not too_many


# Trust


OWN, FOLDER, USUAL = "the server's own", "a folder with that", requests.certs.where()
TRUST = [  # variables, verify=, what comes of it
    ({}, None, "certificate"), ({}, False, "hello"), ({}, FOLDER, "hello"),
    ({"SSL_CERT_FILE": OWN}, None, "hello"), ({"SSL_CERT_DIR": FOLDER}, None, "hello"),
    ({"REQUESTS_CA_BUNDLE": FOLDER}, None, "hello"), ({"CURL_CA_BUNDLE": OWN}, None, "hello"),
    ({"REQUESTS_CA_BUNDLE": OWN}, USUAL, "certificate"),
    ({"SSL_CERT_FILE": OWN}, USUAL, "certificate"),
    ({"SSL_CERT_FILE": OWN, "REQUESTS_CA_BUNDLE": USUAL}, None, "certificate"),
    ({"REQUESTS_CA_BUNDLE": USUAL}, OWN, "hello"),
]  # fmt: skip


@pytest.mark.parametrize("variables, verify, right", TRUST, ids=str)
def test_verify_wins_over_a_variable_of_requests_and_that_over_openssls(
    tls_server, faults_session, monkeypatch, tmp_path, variables, verify, right
):
    if "SSL_CERT" in str(variables) and right == "hello":
        faults_session = None  # a session does not know them
    command = ["openssl", "x509", "-hash", "-noout", "-in", tls_server.cert_path]
    name = subprocess.check_output(command).decode().strip() + ".0"
    shutil.copy(tls_server.cert_path, str(tmp_path / name))
    places = {OWN: tls_server.cert_path, FOLDER: str(tmp_path)}
    for name, value in variables.items():
        monkeypatch.setenv(name, places.get(value, value))
    given = {"session": faults_session, "verify": places.get(verify, verify)}
    with patient_client(tls_server, **given) as client:
        got = ending(client)
        assert right in str(got)
        if right == "hello":
            assert streamed(client) == "hello"
        else:
            assert "verify=" in str(got) and "1 attempt" in str(got) and not tls_server.requests


@pytest.mark.parametrize("how", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "verify"])
@pytest.mark.parametrize("bundle", [b"no certificate", b"", None, b"-----BEGIN CERTI",
                                    "", "0", "False", "/dev/null"])  # fmt: skip
def test_a_bundle_that_is_no_pem_is_named_at_once_and_turns_no_verification_off(
    tls_server, faults_session, monkeypatch, tmp_path, how, bundle
):
    """Bytes are a file's, a str is the setting itself."""
    path = bundle if isinstance(bundle, str) else str(tmp_path / "bundle.pem")
    if isinstance(bundle, bytes):
        (tmp_path / "bundle.pem").write_bytes(bundle)
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    monkeypatch.setenv(how, path)
    given = {"session": None if how == "SSL_CERT_FILE" else faults_session}
    given["verify"] = path if how == "verify" else None
    with patient_client(tls_server, **given) as client:
        error = ending(client)
        if path:
            assert_is_of_this_side(error, client, path)
    assert isinstance(error, OpenAIError) and not tls_server.requests


def test_verify_may_be_a_context_and_nothing_unknown(tls_server, faults_session):
    def told(verify, session=None):  # urllib3 1.26 takes no context for an address of numbers
        url = tls_server.url.replace("127.0.0.1", "localhost")
        return client_for(None, base_url=url, verify=verify, session=session).chat("hi").content

    trusting = ssl.create_default_context(cafile=tls_server.cert_path)
    assert told(trusting) == "hello"
    client_error(lambda: told(ssl.create_default_context()), APIConnectionError)
    for verify in (["ca.pem"], 3.5, object(), {"a": 1}, *[trusting][: bool(faults_session)]):
        assert "verify" in str(client_error(lambda: told(verify, faults_session), ValidationError))


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
    "http://mallory:hunter2@127.0.0.1:99999", "http://mallory:hunter\n2@AT", "ftp://mallory@AT",
    "mallory:hunter2@AT:x", "http://mallory:hunter2@[AT",
]  # fmt: skip


@pytest.mark.parametrize("number, value", list(enumerate(BAD_PROXIES)))
def test_a_proxy_that_is_no_url_is_understood_or_told_without_its_password(
    server, tls_server, faults_session, monkeypatch, number, value
):
    name = ("HTTP_PROXY", "https_proxy", "ALL_PROXY")[number % 3]
    target = server if name == "HTTP_PROXY" else tls_server
    url = "%s://far.invalid/v1" % ("https" if target.tls else "http")
    with Proxy(target) as proxy:
        monkeypatch.setenv(name, value.replace("AT", "127.0.0.1:%d" % proxy.port))
        client = patient_client(None, base_url=url, session=faults_session, verify=False)
        got = ending(client)
    if got != "hello":
        told = words_of(got) if not faults_session else str(got)
        assert not re.search("mallory|hunter|two", told), told
        assert_is_of_this_side(got, client, "proxy", "PROXY")
        assert faults_session or value.strip() != "http://AT" and name.lower() in told.lower()


@pytest.mark.parametrize("status, attempts", [(407, 1), (502, 3), (503, 3)])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_password_that_a_proxy_wants_is_asked_for_once_and_a_proxy_that_is_down_again(
    server, faults_session, monkeypatch, status, attempts, scheme
):
    headers = {"proxy-authenticate": "Basic"}
    server.default = Answer(status, body="<p>", headers=headers, close=True)
    monkeypatch.setenv(scheme + "_proxy", server.origin.replace("//", "//mallory:hunter2@"))
    given = {"base_url": scheme + "://127.0.0.1:9/v1", "max_retries": 2}
    error = ending(client_for(server, session=faults_session, **given))
    assert len(server.requests) == attempts and "%d attempt" % attempts in str(error)
    assert isinstance(error, APIError) and "hunter2" not in str(error)
    assert "proxy" in str(error).lower() or status != 407 and scheme == "http"


class PlainHttp(Listener):
    """Says what servers say to a handshake of TLS that they do not understand."""

    def serve(self, number, sock):
        sock.recv(1 << 16)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("wrong", ["https", "http", "nobody", "no host", "proxy"])
def test_an_error_of_a_connection_names_host_and_port_and_the_setting_to_change(
    server, tls_server, faults_session, monkeypatch, wrong
):
    with PlainHttp() as plain:
        target = {"http": tls_server, "https": plain}.get(wrong, server)
        place = "127.0.0.1:%d" % target.port
        if target is server:
            server.close()
        url = "%s://%s/v1" % ("https" if wrong == "https" else "http", place)
        if wrong == "no host":
            url, place = "http://nowhere.invalid:81/v1", "nowhere.invalid"
        elif wrong == "proxy":
            monkeypatch.setenv("HTTP_PROXY", server.origin)
            url = "http://far.invalid/v1"
        error = ending(client_for(None, base_url=url, session=faults_session, max_retries=2))
    assert isinstance(error, APIConnectionError), repr(error)
    assert ("proxy" if wrong == "proxy" else "base_url=") in str(error).lower()
    assert place in str(error) and "3 attempts" in str(error)
    assert wrong != "nobody" or isinstance(error.__cause__, ConnectionRefusedError)


# This program


@pytest.mark.parametrize("huge", [1e10, 1e300, 10**30, float("inf")], ids=str)
def test_a_huge_time_is_no_limit(server, faults_session, huge):
    how = {"timeout": (huge, huge), "deadline": huge, "session": faults_session}
    with client_for(server, **how) as client:
        assert ending(client) == streamed(client) == client.submit("chat", "x").result(10).content
    with openai_mini.RequestQueue(1).slot(timeout=huge):
        pass


def test_headers_as_bytes_go_out_as_they_are(server, faults_session):
    headers = {"X-A": b"v", b"X-B": b"w", "X-C": "größe".encode("latin-1")}
    with client_for(server, session=faults_session, default_headers=headers) as client:
        client.chat("hi", extra_headers={b"X-D": "x", "X-E": b"\xe2\x82\xac"})
        for bad in ({"X-A": b"a\r\nX-Evil: 1"}, {b"X-A\n": "a"}):
            client_error(lambda: client.chat("hi", extra_headers=bad), ValidationError)
    (asked,) = server.requests
    sent = [asked.headers["x-" + letter] for letter in "abcde"]
    assert sent == ["v", "w", "größe", "x", "\xe2\x82\xac"]


@pytest.mark.parametrize("status, headers", [(429, {"retry-after": "2"}), (500, {})])
def test_a_wait_goes_by_what_time_sleep_is_at_that_moment(server, monkeypatch, status, headers):
    server.script(Answer(status, headers=headers))
    client, slept = client_for(server, use_request_queue=False, initial_retry_delay=2), []
    monkeypatch.setattr(time, "sleep", slept.append)
    assert ending(client) == "hello" and slept


IN_A_HANDLER = """
    import signal, sys, openai_mini
    client = openai_mini.OpenAIMini("k", base_url=sys.argv[1], max_retries=0, timeout=5)
    work, is_first = sys.argv[2], sys.argv[3] == "first"
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
         "client.submit('chat', 'x').result(5)"]  # fmt: skip


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers of the system here")
@pytest.mark.parametrize("work", CALLS)
@pytest.mark.parametrize("when", ["first", "warm"])
def test_a_call_in_a_signals_handler_amid_another_is_answered_as_that_one_is(server, work, when):
    done = run_python(IN_A_HANDLER, server.url, work, when)
    assert done.stdout == "all were answered\n", done


UNDER_GEVENT = """
    from gevent import monkey
    monkey.patch_all()
    import gevent, sys
    import openai_mini
    client = openai_mini.OpenAIMini("k", base_url=sys.argv[1], max_concurrent_requests=50)
    jobs = [gevent.spawn(client.chat, "together") for _ in range(50)]
    gevent.joinall(jobs, raise_error=True)
    print(sum(job.value.content == "hello" for job in jobs), list(client.map(len, ["a", "bc"])))
    for queue in (True, False):
        job = gevent.spawn(client.with_options(use_request_queue=queue).chat, "slow")
        ticks = 0
        while not job.ready():
            ticks += 1
            gevent.sleep(0.01)
        print(job.get().content, ticks > 2)
    print("".join(piece.content for piece in client.stream_chat("x")))
"""


def test_under_gevent_fifty_calls_run_at_once_and_a_wait_blocks_nobody_else(server):
    pytest.importorskip("gevent")
    gate, slow = threading.Barrier(50), itertools.cycle([True, False])

    def answer(request):
        if b"together" in request.body:
            gate.wait(20)
        is_slow = b"slow" in request.body and next(slow)
        return Answer(429, headers={"retry-after-ms": "300"}) if is_slow else usual(request)

    server.default = answer
    done = run_python(UNDER_GEVENT, server.url)
    assert done.stdout == "50 [1, 2]\nhello True\nhello True\nhello\n" and not done.stderr, done


# Ends

OPENED = """
    import atexit, signal, sys, threading
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
    "in a callback": "window.stream = opened(); window.close = lambda: window.stream.close()",
    "in a traceback": """
    try:
        stream = opened()
        raise KeyError
    except KeyError as error:
        kept = [error, stream]
        kept.append(kept)""",
    "a streaming response": "window.answer = client.models.with_streaming_response.list()",
    "a map": "window.results = client.map('chat', ['x'] * 200); next(window.results)",
    "jobs at work": "window.jobs = [client.submit('stream_chat', 'x') for _ in range(30)]",
    "a thread that reads": "threading.Thread(target=lambda: list(opened()), daemon=True).start()",
    "closed by atexit": "window.stream = opened(); atexit.register(window.stream.close)",
    "with session=": "import requests; client = client.with_options(session=requests.Session())\n"
    "    window.stream = opened()",
}


@pytest.fixture
def endless(server):
    """Streams begin and do not end, what says `wait` waits; all else is answered."""
    stream = Answer(sse=chunks("a", "b"), wait=threading.Event(), hold_after=1)
    held = Answer(wait=threading.Event())
    server.default = lambda request: (
        stream if b'"stream":true' in request.body else held if b"wait" in request.body
        else usual(request))  # fmt: skip
    return server


@pytest.mark.parametrize("where", LEFT)
@pytest.mark.parametrize("code", [0, 3])
def test_what_is_left_at_the_end_of_a_program_is_let_go_in_silence(endless, where, code):
    end = "\n    print('end', flush=True)\n    sys.exit(%d)\n" % code
    done = run_python(OPENED + "    " + LEFT[where] + end, endless.url, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (code, "end\n", "")


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
    "threads": "[threading.Thread(target=client.chat, args=('wait',), daemon=True).start()"
    " for _ in range(20)]",
}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers of the system here")
@pytest.mark.parametrize("work", AT_WORK)
@pytest.mark.parametrize("when", ["cold 0.001", "cold 0.03", "cold 0.1", "warm 0.001", "warm 0.05"])
def test_a_program_may_end_at_any_moment(endless, work, when):
    """In its first imports an interrupt may become another exception of the standard library's."""
    state, after_s = when.split()
    argv = endless.url, after_s, state, AT_WORK[work]
    done = run_python(OPENED + STOPPED, *argv, timeout=20)
    is_amid_imports = state == "cold" and done.returncode == 1
    assert is_amid_imports or done.returncode == 7 and "openai_mini" not in done.stderr, done


# A line that loses things


class Line(Listener):
    """Passes bytes on to a server, piece by piece; `fate(is_answer, count)`, asked before each with
    the bytes that have gone that way, is "hole" (nothing gets through any more), "cut" (reset), or
    seconds to hold it back."""

    def __init__(self, to, fate):
        self._to, self._fate = ("127.0.0.1", to.port), fate
        super().__init__()
        self.url = "http://127.0.0.1:%d/v1" % self.port

    def serve(self, number, sock):
        with socket.create_connection(self._to) as onward, selectors.DefaultSelector() as selector:
            counts = {sock: 0, onward: 0}
            for one in counts:
                selector.register(one, selectors.EVENT_READ)
            while True:
                for source in [key.fileobj for key, _ in selector.select()]:
                    fate = self._fate(source is onward, counts[source])
                    if fate == "cut":
                        linger = struct.pack("ii", 1, 0)
                        return sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    if fate == "hole":  # a line that is dead says nothing, not even an end
                        return self._closing.wait(1)
                    piece = source.recv(1 << 14)
                    if not piece:
                        return
                    time.sleep(fate)
                    counts[source] += len(piece)
                    (onward if source is sock else sock).sendall(piece)


FATES = {  # what: (its fate, whether of the answer, after bytes), what comes out, requests
    "5 % held back": (("late", None, 0), None, 20),
    "hole in an answer": (("hole", True, 20), APITimeoutError, 2),
    "hole in a stream": (("hole", True, 150), APITimeoutError, 1),
    "hole in an upload": (("hole", False, 1 << 16), APITimeoutError, 0),
    "cut in a stream": (("cut", True, 150), APIError, 1),
    "cut in an upload": (("cut", False, 1 << 16), APIConnectionError, 0),
}


@pytest.mark.parametrize("what", FATES)
def test_over_a_bad_line_a_call_ends_and_is_billed_as_often_as_allowed(server, what):
    """A POST that timed out may have been billed: it is sent once more at most, a stream that has
    begun not at all."""
    (fate, of_answer, after), right, billed = FATES[what]
    lottery = random.Random(5)

    def fate_of(is_answer, count):
        if fate == "late":
            return 0.2 * (lottery.random() < 0.05)
        return fate if is_answer is of_answer and count >= after else 0

    answer = Answer(json=CHAT, drip=100, pause=0.005)
    stream = Answer(sse=chunks(*"abcdefgh"), pause=0.02)
    server.default = lambda asked: stream if b'"stream":true' in asked.body else answer
    options = {"timeout": (5, 5 if fate == "late" else 0.3), "max_retries": 2}
    with Line(server, fate_of) as line, client_for(line, **options) as client:
        work = {"answer": lambda: client.chat("hi"), "stream": lambda: streamed(client),
                "upload": lambda: client.upload_file(bytes(30_000_000))}  # fmt: skip
        if fate == "late":
            assert [ending(client) for _ in range(20)] == ["hello"] * 20
        else:
            client_error(work[what.split()[-1]], right)
        assert client.stats()["queue"] == {"running": 0, "waiting": 0}
    assert len(server.requests) == billed


def test_a_host_whose_address_changes_is_found_at_its_new_one(server, monkeypatch):
    found, real = [], socket.getaddrinfo
    with LoopbackServer() as gone:
        ports = [gone.port, server.port]

    def look_up(host, port, *args, **how):
        found.append(host)
        return real("127.0.0.1", ports[min(len(found), 2) - 1], *args, **how)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with client_for(server, base_url="http://moving.invalid/v1", max_retries=1) as client:
        assert ending(client) == "hello" and found == ["moving.invalid"] * 2


# Packed


def imports_in(code) -> set:
    """The names in the import statements of compiled code, which is what packers read."""
    found = {step.argval for step in dis.get_instructions(code) if step.opname == "IMPORT_NAME"}
    return found.union(*[imports_in(part) for part in code.co_consts if hasattr(part, "co_code")])


def test_packers_see_what_the_module_imports_late():
    source = pathlib.Path(openai_mini.__file__).read_text("utf-8")
    late = {name.partition(".")[0] for name in imports_in(compile(source, "openai_mini", "exec"))}
    assert not {"requests", "urllib3", "json", "threading", "ssl", "argparse", "zlib"} - late


# Opt-in: OPENAI_MINI_PACKED=1 makes real packages (read here, as no test sees such variables).
if os.environ.get("OPENAI_MINI_PACKED"):

    @pytest.mark.parametrize("packer", ["PyInstaller", "zipapp"])
    def test_a_packed_program_runs_with_nothing_named_to_its_packer(
        server, tls_server, tmp_path, packer
    ):
        main = textwrap.dedent(WITHOUT_SSL).partition("import openai_mini")[2]
        (tmp_path / "__main__.py").write_text("import sys, openai_mini" + main)
        shutil.copy(openai_mini.__file__, str(tmp_path / "openai_mini.py"))
        if packer == "zipapp":
            for name in "requests urllib3 certifi idna charset_normalizer".split():
                found = importlib.util.find_spec(name)
                shutil.copytree(os.path.dirname(found.origin), str(tmp_path / name))
            zipapp.create_archive(str(tmp_path), str(tmp_path) + ".pyz")
            command = [sys.executable, "-I", str(tmp_path) + ".pyz"]
        else:
            build = [sys.executable, "-m", "PyInstaller", "-n", "packed", "--onefile"]
            subprocess.run([*build, "__main__.py"], cwd=str(tmp_path), check=True, stderr=-3)
            command = [str(tmp_path / "dist" / "packed")]
        done = subprocess.run([*command, server.url, tls_server.url], stdout=-1, stderr=-1)
        first, second = done.stdout.decode().splitlines()
        assert first == "hello" and "certificate" in second, done


# ------------------------------------------------------------------------------------------------
# Offline
#
# base_url="echo:" answers in the process.


@pytest.fixture
def offline():
    with OpenAIMini(base_url="echo:") as client:
        yield client


def test_offline_a_chat_echoes_the_last_user_message(offline):
    roles = [("system", "be brief"), ("user", "first"), ("user", "second  line\n")]
    messages = [{"role": role, "content": text} for role, text in roles + [("assistant", "aye")]]
    result = offline.chat(messages, model="m")
    assert (result.content, result.finish_reason, result.model) == ("second  line\n", "stop", "m")
    assert result.usage.total_tokens > 0
    parts = [{"type": "text", "text": "what is"}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert offline.chat([{"role": "user", "content": parts}]).content == "what is"
    client_error(lambda: offline.request("POST", "/embeddings", json={}))


@pytest.mark.parametrize("text", ["Hello, big world", " leading", "end \n\n", "größe\u2028b", " "])
def test_offline_a_stream_is_real_event_stream_bytes_through_the_real_parser(offline, text):
    with offline.stream_chat(text) as stream:
        pieces = [chunk.content for chunk in stream]
    assert "".join(pieces) == stream.content == text and len(pieces) == text.count(" ") + 1
    assert (stream.finish_reason, stream.message.role) == ("stop", "assistant")
    assert stream.response.headers["content-type"].startswith("text/event-stream")
    assert stream.usage.total_tokens


def test_offline_a_schema_is_answered_by_what_it_allows(offline):
    kinds = {"string": "echo", "integer": 0, "array": [], "boolean": False, "number": 0}
    inner = {"type": "object", "properties": {kind: {"type": kind} for kind in kinds}}
    named = {"Inner": inner, "Color": {"enum": ["red"], "type": "string"}}
    references = {name: {"$ref": "#/$defs/" + name} for name in named}
    schema = {"type": "object", "properties": references, "$defs": named}
    assert offline.chat("x", schema=schema).parsed == {"Inner": kinds, "Color": "red"}


def test_offline_embeddings_are_unit_vectors_that_depend_on_the_text_alone(offline):
    one, two, again = offline.embedding(["a", "b", "a"])
    assert one == again != two and len(one) == len(two) > 1
    assert math.isclose(sum(x * x for x in one), 1, rel_tol=1e-6)
    assert OpenAIMini(base_url="echo:", api_key="sk-other").embedding("a") == [one]
    assert len(offline.embedding(["x"] * 3000)) == 3000
    assert len(offline.embedding([[1, 2], [3]])) == 2


def test_offline_every_endpoint_of_the_table_gives_a_small_valid_answer(offline, tmp_path):
    health, result = offline.health(), offline.moderation("x").results[0]
    assert offline.list_models() == ["echo"] and (health["ok"], health["models"]) == (True, 1)
    assert result.flagged is False and result.categories.violence is False
    for image in (offline.generate_image("x"), offline.edit_image(b"\x89PNG...", "x")):
        (path,) = image.save(tmp_path)
        assert path.endswith(".png") and open(path, "rb").read().startswith(b"\x89PNG")
    to = tmp_path / "speech.mp3"
    assert offline.text_to_speech("x", to=to) == to.stat().st_size > 0
    for method in (offline.transcribe_audio, offline.translate_audio):
        assert method(b"ID3").text and str(method(b"ID3", response_format="text"))
    file = offline.upload_file(b"{}", purpose="batch")
    assert file.id and file.object == "file" and isinstance(offline.download_file(file.id), bytes)
    assert offline.run_tools("hi", []).content == "hi"
    assert offline.request("POST", "/things", json={"a": [1]}).echo == {"a": [1]}


def test_offline_copies_pickles_the_queue_and_statistics_work_too(offline, server, monkeypatch):
    for other in (offline, offline.copy(), pickle.loads(pickle.dumps(offline))):
        assert other.chat("x").content == "x"
    assert offline.with_options(base_url=server.url).chat("x").content == "hello"
    assert [r.content for r in offline.map("chat", ["a", "b"])] == ["a", "b"]
    messages = [{"role": "user", "content": "hey"}]
    assert offline.chat.completions.create(messages=messages).content == "hey"
    stats = offline.stats()
    assert stats["requests"] == stats["succeeded"] == 6 and stats["tokens"]["total"] > 0
    monkeypatch.setenv("OPENAI_BASE_URL", "echo:")
    assert openai_mini.OpenAI().chat("hi").content == "hi" and len(server.requests) == 1


OFFLINE_SCRIPT = """
    import os, socket, sys
    def refuse(*args, **kw): raise SystemExit('a socket was made')
    socket.socket.__init__ = refuse
    import openai_mini
    client = openai_mini.OpenAIMini(base_url='echo:')
    print(client.chat('hi').content, client.list_models(), len(client.embedding('a')))
    print(sorted({'requests', 'urllib3', 'ssl'} & set(sys.modules)), flush=True)
    pid = os.fork() if hasattr(os, 'fork') else 0
    if not pid:
        os._exit(0 if client.chat('child').content == 'child' else 3)
    print(os.waitpid(pid, 0)[1])
"""


def test_offline_nothing_of_the_network_is_imported_or_opened_and_a_forked_child_can_ask():
    assert run_python(OFFLINE_SCRIPT).stdout.splitlines() == ["hi ['echo'] 1", "[]", "0"]


# ------------------------------------------------------------------------------------------------
# Command line
#
# In this process, as a process of its own, and on a terminal.

CLI_FILE = os.path.abspath(openai_mini.__file__)
CLI_WORDS = {  # each command, and what it needs
    **dict.fromkeys(["chat", "embed", "image", "speak", "moderate", "download"], ["text"]),
    **dict.fromkeys(["transcribe", "translate", "upload"], [CLI_FILE]),
    "models": [], "health": [], "request": ["POST", "/x"],
}  # fmt: skip


class CliInput(io.TextIOWrapper):
    """A standard input with these bytes, or a terminal."""

    def __init__(self, content=b"", tty=False):
        super().__init__(io.BytesIO(content), encoding="utf-8")
        self.isatty = lambda: tty


@pytest.fixture
def cli(monkeypatch, capfdbinary):
    """cli(*argv, piped=None) -> (exit code, stdout, stderr) of main(argv)."""

    def run(*argv, piped=None):
        monkeypatch.setattr(sys, "stdin", CliInput(piped or b"", piped is None))
        try:
            code = openai_mini.main([str(word) for word in argv])
        except SystemExit as end:  # argparse's
            code = end.code
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return run


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
    """A process of the file, run as a script, with pipes."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    options = {"env": cli_env(), **pipes, **options}
    return subprocess.Popen([sys.executable, CLI_FILE, *argv], **options)


def cli_process(*argv, piped=None, **options):
    """(exit code, stdout, stderr) of a finished process."""
    if piped is not None:
        options["stdin"] = subprocess.PIPE
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
    with contextlib.suppress(OSError):  # EIO: the other end is gone
        for piece in iter(lambda: os.read(leader, 65536), b""):
            shown += piece
    os.close(leader)
    return process.wait(60), shown.decode().replace("\r\n", "\n")


# chat


def test_cli_options_go_where_they_belong_wherever_they_stand(cli, cli_server):
    argv = ["-m", "mine", "-s", "be brief", "-p", "temperature=0.5", "-p", "user=me"]
    argv += ["-p", 'metadata={"a": "b"}', "-p", "note=a=b", "--", "-5 there"]
    assert cli(*argv) == (0, "hello\n", "")
    request = cli_server.requests[0]
    system, user = {"role": "system", "content": "be brief"}, {"role": "user", "content": argv[-1]}
    assert request.headers["authorization"] == "Bearer sk-secret" and request.json == {
        "messages": [system, user], "model": "mine", "stream": True, "temperature": 0.5,
        "user": "me", "metadata": {"a": "b"}, "note": "a=b",
    }  # fmt: skip
    assert cli("-m", "x", "moderate", "some", "--json", "words")[0] == 0
    assert cli_server.requests[1].json == {"input": "some words", "model": "x"}
    code, out, err = cli("--json", "Hello")
    assert (code, json.loads(out), out.count("\n"), err) == (0, CHAT, 1, "")
    assert cli("Hello", "--no-stream")[:2] == (0, "hello\n")
    assert not any("stream" in request.json for request in cli_server.requests[2:])


@pytest.mark.parametrize(
    "argv, piped, sent",
    [([], b"all of it\n", "all of it\n"), (["-"], b"all of it", "all of it"),
     (["chat"], b"all of it", "all of it"), (["chat", "models"], b"", "models"),
     (["Sum", "up"], b"the notes", "Sum up\n\nthe notes"),
     ([], b"\xef\xbb\xbfwith a mark", "with a mark"),
     ([], "größe 😀\r\n".encode("utf-16"), "größe 😀\r\n"),
     (["-"], b"\xfe\xff" + "größe".encode("utf-16-be"), "größe")],
)  # fmt: skip
def test_cli_a_pipe_is_read_also_as_utf_16_and_with_a_mark(cli, cli_server, argv, piped, sent):
    assert cli(*argv, piped=piped)[0] == 0
    assert cli_server.requests[0].json["messages"] == [{"role": "user", "content": sent}]


@pytest.mark.parametrize(
    "content",
    ["Köln".encode("utf-16-le"), "ASCII without a mark".encode("utf-16-le"), "ü".encode("utf-32"),
     "Köln".encode("latin-1"), codecs.BOM_UTF16_LE + b"odd", b"\x89PNG\r\n\x1a\n\0\0"],
)  # fmt: skip
def test_cli_what_is_no_text_is_refused_in_one_line(cli, tmp_path, content):
    schema = tmp_path / "schema.json"
    schema.write_bytes(content)
    for argv, piped, named in ((["--schema", schema, "x"], None, "schema.json"),
                               ([], content, "standard input")):  # fmt: skip
        code, out, err = cli("--offline", *argv, piped=piped)
        assert (code, out, err.count("\n")) == (2, "", 1) and named in err


@pytest.mark.parametrize("argv", [["Sum up"], ["Sum up", "-"], []])
def test_cli_what_comes_in_two_pieces_is_read_to_its_end(argv):
    process = cli_started("--offline", *argv, stdin=subprocess.PIPE)
    process.stdin.write(b"first ")
    process.stdin.flush()
    out, err = process.communicate(b"second", timeout=60)
    assert (err, out.split()[-2:]) == (b"", [b"first", b"second"])


@pytest.mark.parametrize("argv", [["embed", "Hello"], ["models"]])
def test_cli_a_pipe_that_stays_silent_is_not_waited_for_where_words_are_given(argv):
    process = cli_started("--offline", *argv, stdin=subprocess.PIPE)  # which nobody closes
    try:
        assert process.wait(20) == 0 and process.stdout.read()
        assert (b"-" in process.stderr.read()) == (argv != ["models"])
    finally:
        process.kill()
        process.communicate()


def test_cli_images_are_attached_and_a_schema_shapes_the_answer(cli, cli_server, tmp_path):
    path, schema = tmp_path / "photo.jpg", tmp_path / "schema.json"
    path.write_bytes(b"\xff\xd8\xff photo")
    assert cli("-a", path, "-a", "https://x.test/y.png", "What is this?")[0] == 0
    data = "data:image/jpeg;base64," + base64.b64encode(b"\xff\xd8\xff photo").decode()
    text, *images = cli_server.requests[0].json["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is this?"}
    urls = (data, "https://x.test/y.png")
    assert images == [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    for encoding in ("utf-8-sig", "utf-16"):
        schema.write_text('{"type": "object", "title": "Größe"}', encoding=encoding)
        cli_server.script(chat_saying('{"a": 1}'))
        assert cli("--schema", schema, "Hello") == (0, '{"a": 1}\n', "")
        sent = cli_server.requests[-1].json["response_format"]["json_schema"]
        assert sent["schema"] == {"type": "object", "title": "Größe"}


# The other commands

CLI_ROWS = [
    ("embed text", "/embeddings", {"input": ["text"]}, "[1.0, 2.0]\n"),
    ("moderate some words", "/moderations", {"input": "some words"}, '"violence": true'),
    ("models", "/models", {}, "m-1\nm-2\n"),
    ("request post /x -p a=1 -m m", "/x", {"a": 1, "model": "m"}, ""),
    ('request POST /x {"a":2}', "/x", {"a": 2}, ""),
    ("upload FILE -p purpose=batch", "/files", {}, "x-1\n"),
    ("transcribe FILE", "/audio/transcriptions", {}, "said\n"),
]


def cli_answers(request):
    data = [{"id": "m-1", "index": 0, "embedding": [1.0, 2.0]}, {"id": "m-2"}]
    data = data[:1] if request.path.endswith("embeddings") else data
    flagged = {"flagged": True, "categories": {"violence": True, "hate": False}}
    more = {"results": [flagged], "id": "x-1", "text": "said"}
    return Answer(json={"object": "list", "data": data, **more})


@pytest.mark.parametrize("argv, path, body, out", CLI_ROWS)
def test_cli_each_command_calls_its_method(cli, cli_server, argv, path, body, out):
    cli_server.default, words = cli_answers, argv.replace("FILE", CLI_FILE).split()
    code, shown, err = cli(*words)
    assert (code, err) == (0, "") and out in shown
    code, shown, err = cli(*words, "--json")
    assert (code, err) == (0, "") and json.loads(shown)
    for request in cli_server.requests:
        assert request.path == "/v1" + path
        assert not body or dict(request.json, **body) == request.json


def test_cli_request_has_parameters_in_the_query_of_a_get_and_a_body_from_a_pipe(cli, cli_server):
    assert cli("request", "GET", "/files", "-p", "limit=2", "-p", "after=x")[0] == 0
    first = cli_server.requests[0]
    assert first.query == {"limit": "2", "after": "x"} and not first.body
    assert cli("request", "POST", "/x", "-", piped=b"no json")[0] == 2
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
    cli_server.script(Answer(sse=chunks("a", "b")))
    piped = json.dumps(body).encode()
    code, out, err = cli("request", "POST", "/chat/completions", "-", piped=piped)
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "") and [r.json for r in cli_server.requests[1:]] == [body]
    assert [line["choices"][0]["delta"].get("content") for line in lines][-3:-1] == ["a", "b"]


@pytest.mark.parametrize("command", CLI_WORDS)
def test_cli_every_command_works_offline_and_writes_where_o_says(cli, tmp_path, command):
    to = tmp_path if command == "image" else tmp_path / "to"
    code, out, err = cli("--offline", command, *CLI_WORDS[command], "-o", to)
    assert (code, err) == (0, "") and out
    if command in ("speak", "download"):
        written = to.read_text()
        assert out.strip() == str(to) and written
        assert cli("--offline", command, "text") == (0, written, "")
    elif command == "image":
        path = pathlib.Path(out.strip())
        assert path.parent == to and path.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("argv, name", [("transcribe", "mp3"), ("upload -", ""), ("upload", "")])
def test_cli_what_is_piped_is_the_file(cli, cli_server, argv, name):
    cli_server.default = Answer(json={"text": "t", "id": "file-1"})
    assert cli(*argv.split(), "-p", "user=me", piped=b"ID3 talk")[0] == 0
    parts = {part.name: part for part in cli_server.requests[0].parts}
    assert parts["file"].body == b"ID3 talk" and parts["user"].body == b"me"
    assert parts["file"].filename.endswith(name)


def test_cli_health_says_so_by_its_exit_code(cli, cli_server):
    for code, answer in ((0, usual), (1, Answer(500, body="broken"))):
        cli_server.default = answer
        told, out, err = cli("health")
        assert (told, json.loads(out)["ok"], err) == (code, not code, "")


# What goes wrong


@pytest.mark.parametrize(
    "argv, about",
    [("", "TEXT"), ("transcribe", "FILE"), ("request GET", "PATH"), ("models what?", "models"),
     ("download a b", "ID"), ("--no-such-option x", "--no-such-option"), ("-m", "-m"),
     ("-p temperature x", "-p"), ("-p temperature=NaN x", "temperature"), ("download ..", "id"),
     ("--base-url nonsense x", "base_url"), ("--base-url http://u:p@127.0.0.1 x", "base_url"),
     ("--schema BROKEN x", "broken.json")],
)  # fmt: skip
def test_cli_a_usage_error_is_one_line_and_2(cli, cli_server, tmp_path, argv, about):
    broken = tmp_path / "broken.json"
    broken.write_text("{broken")
    code, out, err = cli(*argv.replace("BROKEN", str(broken)).split())
    assert (code, out) == (2, "") and err.startswith("openai-mini: ") and err.count("\n") == 1
    assert about in err and not cli_server.requests and "u:p" not in err


def test_cli_no_key_names_the_three_ways_on_and_a_bad_one_is_not_printed(cli, monkeypatch):
    for key, words in (("", ["OPENAI_API_KEY", "--base-url", "--offline"]), ("sk-sec\nret", [])):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        code, out, err = cli("Hello")
        assert (code, out, err.count("\n")) == (2, "", 1) and "sk-" not in err
        assert all(word in err for word in words)


@pytest.mark.parametrize("command", CLI_WORDS)
def test_cli_a_wrong_key_is_one_line_and_1(cli, cli_server, command):
    said = "Incorrect API key: sk-secret\nx\x1b[2J"
    cli_server.default = Answer(401, json={"error": {"message": said, "code": "invalid_api_key"}})
    code, out, err = cli(command, *CLI_WORDS[command])
    assert code == 1 and "API key" in err + out and "sk-secret" not in err + out
    assert (err + out).count("\n") == 1 and "\x1b" not in err + out


def test_cli_what_fails_is_one_line_and_1(cli, cli_server, tmp_path):
    cli_server.default = Answer(404, body="<html><title>Nope</title>")
    missing, refused = tmp_path / "missing.mp3", ["--base-url", "http://127.0.0.1:1/v1"]
    for argv, about in (
        (["models"], "base_url"), (["upload", missing], "missing.mp3"),
        (["-a", missing, "x"], "missing.mp3"), (["--schema", missing, "x"], "missing.mp3"),
        ([*refused, "-p", "max_retries=0", "Hi"], "POST /chat/completions"),
        (["--offline", "download", "f", "-o", tmp_path / "no" / "where"], "no"),
    ):  # fmt: skip
        code, out, err = cli(*argv)
        assert (code, out, err.count("\n")) == (1, "", 1) and about in err, argv
    cli_server.script(Answer(sse=chunks("half an ", "answer", finish=None), done=False))
    code, out, err = cli("Hello")
    assert (code, out, err.count("\n")) == (1, "half an answer\n", 1)


def test_cli_help_names_commands_and_options_and_the_version_is_told(cli):
    code, out, err = cli("--help")
    assert (code, err) == (0, "")
    assert all(name in out for name in [*CLI_WORDS, "--offline", "--schema", "--no-stream"])
    assert cli("--version") == (0, "openai-mini %s\n" % openai_mini.__version__, "")


# As a process


def test_cli_it_runs_as_a_script_and_as_a_module(server):
    assert cli_process("--offline", "Hello") == (0, b"Hello\n", b"")
    assert cli_process("--offline", "-s", "x", piped="Größe\n".encode())[1] == "Größe\n".encode()
    env = cli_env(OPENAI_BASE_URL="http://127.0.0.1:1/v1")  # which --base-url wins over
    how = {"cwd": os.path.dirname(CLI_FILE), "env": env, "stdin": subprocess.DEVNULL, "timeout": 60}
    for given, word in (
        (["-m", "openai_mini", "--base-url", server.url, "Hello"], b"hello"),
        (["-OO", CLI_FILE, "--offline", "Hello"], b"Hello"),
        (["-OO", CLI_FILE, "--help"], b"commands: "),
    ):  # fmt: skip
        assert word in subprocess.check_output([sys.executable, *given], **how)


def test_cli_verbose_is_a_line_for_each_attempt_on_stderr_without_the_key(server):
    server.script(Answer(500, body="no", headers={"retry-after": "0"}))
    env = cli_env(OPENAI_BASE_URL=server.url, OPENAI_API_KEY="sk-secret")
    code, out, err = cli_process("--verbose", "Hello", env=env)
    assert (code, out) == (0, b"hello\n") and b"sk-secret" not in err
    assert err.count(b"/chat/completions") >= 3


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_cli_an_output_that_cannot_show_a_letter_still_gets_the_rest(server, encoding):
    server.default = Answer(sse=[chunk({"content": "a\ud800b€"}), chunk({}, "stop")])
    env = cli_env(OPENAI_BASE_URL=server.url, PYTHONIOENCODING=encoding)
    code, out, _ = cli_process("Hello", env=env)
    assert code == 0 and out.startswith(b"a?b")


def test_cli_a_closed_pipe_is_quiet(server):
    server.default = Answer(sse=chunks(*["word " * 1000] * 200))
    with cli_started("--base-url", server.url, "Hello") as process:
        assert process.stdout.read(4) == b"word"
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait(60) in (0, 141)
    server.wait_for(lambda: not server.in_flight and not server.open_connections)
    for argv in (["Hello"], ["embed", "x"], ["speak", "x"]):  # closed from the start
        reading, writing = os.pipe()
        os.close(reading)
        code, _, err = cli_process("--offline", *argv, stdout=writing)
        os.close(writing)
        assert code in (0, 141) and err == b""


@pytest.mark.skipif(os.name == "nt", reason="signals differ")
@pytest.mark.parametrize("shown, held", [(b"a", 1), (b"", None)], ids=["in a stream", "before"])
def test_cli_ctrl_c_is_130_and_quiet(server, shown, held):
    server.default = Answer(sse=chunks("a", "b"), wait=threading.Event(), hold_after=held)
    with cli_started("--base-url", server.url, "Hello") as process:
        server.wait_for(lambda: server.in_flight == 1)
        assert process.stdout.read(len(shown)) == shown
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=30)[1]
    assert process.returncode == 130 and b"Traceback" not in err and err.count(b"\n") <= 1
    server.wait_for(lambda: not server.in_flight)


# On a terminal

EVIL = "a\x1b]0;title\x07b\x9b31mc\r\x08\x7f\u202e\u2066d\te\u00a0f\u200d\n"


def evil_answer(request):
    answers = {
        "completions": Answer(sse=[chunk({"content": EVIL}), chunk({}, "stop")]),
        "content": Answer(body=EVIL.encode(), content_type="application/octet-stream"),
        "bad": Answer(400, json={"error": {"message": EVIL + "wipe"}}),
    }
    usual = Answer(json={"object": "list", "data": [{"id": EVIL}], "text": EVIL, "id": EVIL})
    return answers.get(request.path.split("/")[-1], usual)


@pytest.mark.parametrize(
    "argv", ["hi", "models", "transcribe FILE", "upload FILE", "health", "request GET /x --json",
             "request GET /content", "request GET /bad"],
)  # fmt: skip
def test_cli_control_characters_of_a_server_never_reach_a_terminal_raw(server, argv):
    server.default = evil_answer
    words = argv.replace("FILE", CLI_FILE).split(" ")
    code, shown = cli_terminal("--base-url", server.url, *words)
    rest = re.sub(r"[^\r\n]*%[^\r\n]*\r", "", shown.replace("\x1b[K", ""))  # without progress
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u202e\u2066]", rest), shown
    assert code == ("bad" in argv)
    assert argv != "hi" or "\te\u00a0f\u200d" in rest, "what is no control character stays"
    assert "bad" not in argv or "wipe" in rest


def test_cli_progress_is_on_stderr_where_it_is_a_terminal_only(server, tmp_path):
    server.default = lambda request: (
        Answer(json={"id": "f"}) if request.body else Answer(pieces=[b"x" * 200_000] * 3)
    )
    path, to = str(tmp_path / "in.bin"), str(tmp_path / "out")
    pathlib.Path(path).write_bytes(b"x" * 600_000)
    for argv in (["upload", path], ["download", "file-1", "-o", to]):
        code, shown = cli_terminal("--base-url", server.url, *argv)
        assert code == 0 and "100 %" in shown
        code, _, err = cli_process("--base-url", server.url, *argv)
        assert (code, err) == (0, b"")
    server.default = Answer(400, json={"error": {"message": "too large"}})
    code, shown = cli_terminal("--base-url", server.url, "upload", path)
    line = shown.rstrip().split("\r")[-1].replace("\x1b[K", "")
    assert code == 1 and line.startswith("openai-mini: ") and "too large" in line


def test_cli_on_a_terminal_it_answers_as_it_arrives_and_keeps_bytes_in_a_file(tmp_path):
    assert cli_terminal("--offline", "Hello big world") == (0, "Hello big world\n")
    code, shown = cli_terminal("--offline")
    assert code == 2 and shown.count("\n") == 1 and "--help" in shown
    code, shown = cli_terminal("--offline", "-", typed=b"typed text\n\x04")
    assert code == 0 and shown.endswith("typed text\n")
    code, shown = cli_terminal("--offline", "speak", "good day", cwd=tmp_path)
    assert code == 0 and "speech.mp3" in shown and (tmp_path / "speech.mp3").read_bytes()


# Servers: the same script and command line against every kind: offline and the loopback server
# always, servers that others wrote where OPENAI_MINI_TEST_SERVERS names some, as `base_url key
# model`, with semicolons between. Read here, as a fixture takes such variables away.
SERVERS = ["echo: - echo", "loopback sk-test m"]
SERVERS += filter(str.strip, os.environ.get("OPENAI_MINI_TEST_SERVERS", "").split(";"))


@pytest.mark.parametrize("row", SERVERS)
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
    for argv in (["Hello"], ["--no-stream", "Hello"]):
        shown = cli_process("-m", model, "-p", "user=me", *argv, env=env)[1]
        assert shown.decode().strip() == answer.content.strip()
    assert cli_process("models", env=env)[1].strip()


# Opt-in: OPENAI_MINI_LLAMA names a Python that has xllamacpp (llama.cpp's server) and gguf. The
# model says "w0w1w2" to whatever it is told: each token leads to the next one of its words.
LLAMA_PYTHON = os.environ.get("OPENAI_MINI_LLAMA")
LLAMA_SERVER = """
    import sys, time, gguf, numpy, xllamacpp
    size, words, tokens = 64, 3, [b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % i for i in range(256)]
    tokens += [b"w%d" % i for i in range(words)]
    made = gguf.GGUFWriter("tiny.gguf", "llama")
    for name, value in {"context_length": 2048, "embedding_length": size, "block_count": 1,
                        "feed_forward_length": size, "head_count": 4, "head_count_kv": 4,
                        "layer_norm_rms_eps": 1e-5, "rope_dimension_count": 16,
                        "vocab_size": len(tokens), "tokenizer_model": "llama",
                        "tokenizer_pre": "default", "token_list": tokens,
                        "token_scores": [0.0] * len(tokens), "bos_token_id": 1, "eos_token_id": 2,
                        "token_types": [2, 3, 3] + [6] * 256 + [1] * words, "unk_token_id": 0,
                        "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}:",
                        }.items():
        getattr(made, "add_" + name)(value)
    names = "attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down".split()
    weights = {"blk.0.%s.weight" % name: numpy.zeros((size, size)) for name in names}
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        weights[name + ".weight"] = numpy.ones(size)
    embedded, output = (numpy.zeros((len(tokens), size)) for _ in range(2))
    embedded[:, 0] = output[2, words] = 4
    for at in range(words):
        embedded[at - words] = numpy.eye(size)[at + 1]
        output[at - words, at] = 4
    weights.update({"token_embd.weight": embedded, "output.weight": output})
    for name, array in weights.items():
        made.add_tensor(name, array.astype(numpy.float32))
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
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "cwd": str(tmp_path)}
    with subprocess.Popen(argv, **pipes) as running:
        try:
            assert running.stdout.readline() == b"listens\n"
            row = "http://127.0.0.1:%d/v1 sk-test tiny.gguf" % port
            test_one_script_and_one_command_line_run_on_every_server(server, row)
        finally:
            running.kill()


# ------------------------------------------------------------------------------------------------
# Official
#
# Side by side with the official package (it needs Python 3.10): every method sends the same
# request, and scripts print and send the same.

OFFICIAL_IS_HERE = importlib.util.find_spec("openai") is not None
OFFICIAL_VERSION, OFFICIAL_METHODS = "3.57.0", 396  # what the module's tables were made for
OFFICIAL_MISSES = {"realtime.calls.create"}  # its body is an SDP offer; the README has it too
OFFICIAL_RETIRED = ("beta.assistants", "beta.threads")  # the rule alone, no exceptions of their own
OFFICIAL_OPTIONS = (  # of all methods; the last two are for the method's own use
    "self extra_headers extra_query extra_body timeout output_type tool_handlers"
).split()


def official_sent(request: Request) -> dict:
    """What matters of a request, as plain data."""
    kind = request.headers.get("content-type", "").partition(";")[0]
    body = request.parts if kind.startswith("multipart") else request.body
    return {
        "where": (request.method, request.path, kind),
        "query": sorted(parse_qsl(request.target.partition("?")[2])),
        "body": request.json if kind == "application/json" and body else body,
        "headers": [request.headers.get(name) for name in ("openai-beta", "authorization")],
        "idempotency": request.headers.get("idempotency-key") == "text",  # what the example is
    }  # fmt: skip


def official_answer(request: Request) -> Answer:
    """A small answer of the kind that was asked for."""
    said = (b'"stream":true', b'name="stream"\r\n\r\ntrue')
    wants = any(word in request.body for word in said) or "stream=true" in request.target
    if wants or request.headers["accept"] == "text/event-stream":
        return Answer(sse=chunks("a") if "chat" in request.path else [])
    listed = {"id": "x_1", "object": "list", "data": [], "has_more": False}
    return Answer(json=dict(listed, choices=CHAT["choices"]))


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
    except Exception:  # the small answer need not please the official package
        if not forgive or not server.requests:
            raise
    (request,) = server.requests
    return official_sent(request)


def official_differences(ours, theirs) -> list:
    """What differs, but for the base64 that the official package asks for everywhere, and for the
    `"stream": false` that its parse() adds."""
    bodies = [ours["body"], theirs["body"]]
    if all(isinstance(body, dict) for body in bodies) and bodies[1].get("stream") is False:
        bodies[0].setdefault("stream", False)
    if "/v1/embeddings" in theirs["where"] and "encoding_format" not in ours["body"]:
        theirs["body"].pop("encoding_format", None)
    both = [(name, ours[name], theirs[name]) for name in theirs if ours[name] != theirs[name]]
    return ["%s: %.200r instead of %.200r" % one for one in both]


@pytest.mark.skipif(not OFFICIAL_IS_HERE, reason="no official package here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_official_method_sends_the_same_request(server, capsys):
    """Method, path, query, body, parts, content type, OpenAI-Beta and which key."""
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
    told = "%d of %d methods alike beside openai %s; misses: %s"
    told %= len(methods) - len(wrong), len(methods), openai.__version__, ", ".join(wrong) or "none"
    with capsys.disabled():
        print("\n" + told)
    if openai.__version__ != OFFICIAL_VERSION:  # what has come or gone since is no fault of ours
        assert len(wrong) <= len(methods) * 0.05, told
        return
    left = {name: found for name, found in wrong.items() if not name.startswith(OFFICIAL_RETIRED)}
    assert len(methods) == OFFICIAL_METHODS
    assert set(left) == OFFICIAL_MISSES, "\n".join("%s\n  %s" % one for one in left.items())


# Scripts as the official README, examples and cookbook have them. Each runs twice against the
# loopback server, once with each package.

MATH = {"steps": [{"explanation": "subtract", "output": "8x = -29"}], "answer": "x"}
REFUSALS = {"missing": 404, "busy": 429, "broken": 500, "wrong": 400}
VECTORS = {"cat": [1.0, 0.0, 0.5], "dog": [0.75, 0.25, 0.5], "car": [0.0, 1.0, -0.25]}
BATCH_LINE = {"custom_id": "row-1", "response": {"status_code": 200, "body": CHAT}}
FLAGGED = {
    "flagged": True, "categories": {"self-harm": False, "harassment/threatening": True},
    "category_scores": {"self-harm": 0.25, "harassment/threatening": 0.75},
}  # fmt: skip


def official_response(text: str) -> dict:
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    made = {"id": "resp_1", "object": "response", "created_at": 1764000000, "status": "completed"}
    return dict(made, model="gpt-5.5", usage=usage, tools=[], output=[message])


def official_responses(request: Request, asked: dict) -> Answer:
    if not asked.get("stream"):
        text = json.dumps(MATH) if "text" in asked else "Ahoy of %s" % asked["model"]
        return Answer(json=official_response(text), headers={"x-request-id": "req_9"})
    events = [("response.output_text.delta", {"delta": piece}) for piece in ("Ahoy", ", ", "matey")]
    events.append(("response.completed", {"response": official_response("Ahoy, matey")}))
    numbered = [(k, dict(more, type=k, sequence_number=n)) for n, (k, more) in enumerate(events)]
    return Answer(sse=numbered, done=False)


def official_chat(request: Request, asked: dict) -> Answer:
    if asked["model"] in REFUSALS:
        error = {"message": "no", "type": "a_type", "param": "model", "code": "a_code"}
        headers = {"x-request-id": "req_bad"}
        return Answer(REFUSALS[asked["model"]], json={"error": error}, headers=headers)
    function = {"name": "get_weather", "arguments": '{"city": "Oslo"}'}
    call = {"id": "call_1", "type": "function", "function": function}
    wants_call = asked.get("tools") and asked["messages"][-1]["role"] == "user"
    if asked.get("stream"):
        return Answer(sse=chunks("Say", " this", usage=CHAT["usage"]))
    text = "hello after %d" % len(asked["messages"])
    text = json.dumps(MATH) if "json_schema" in asked.get("response_format", {}) else text
    message = dict(CHAT["choices"][0]["message"], content=text)
    message.update({"content": None, "tool_calls": [call]} if wants_call else {})
    choices = [dict(CHAT["choices"][0], message=message)]
    return Answer(json=dict(CHAT, choices=choices), headers={"x-request-id": "req_123"})


def official_vectors(request: Request, asked: dict) -> Answer:
    vectors = [VECTORS.get(text, [0.5, -0.25, 1.0]) for text in asked["input"]]
    if asked.get("encoding_format") == "base64":
        vectors = [base64.b64encode(struct.pack("<3f", *one)).decode() for one in vectors]
    data = [{"object": "embedding", "index": n, "embedding": v} for n, v in enumerate(vectors)]
    usage = {"prompt_tokens": 2, "total_tokens": 2}
    return Answer(json={"object": "list", "data": data, "model": "m", "usage": usage})


def official_audio(request: Request, asked: dict) -> Answer:
    if request.path.endswith("speech"):
        return Answer(body=b"ID3 speech", content_type="audio/mpeg")
    if any(part.body == b"srt" for part in request.parts):
        return Answer(body="1\n00:00 --> 00:01\nhello\n")
    return Answer(json={"text": "heard %s" % request.parts[-1].filename})


def official_thing(request: Request, asked: dict) -> Answer:
    """A list of two pages with two things each, by the cursor; or what was made or asked for."""
    kind = request.path.split("/")[-1]
    if request.method == "GET":
        after = int(request.query.get("after", "x_0").split("_")[-1])
        data = [{"id": "x_%d" % n, "object": kind, "created_at": 7} for n in (after + 1, after + 2)]
        return Answer(json={"object": "list", "data": data, "has_more": after < 2})
    made = dict(asked, id="made_1", object="thing", created_at=7, path=request.path, status="made")
    if not asked and request.body:
        file = [part for part in request.parts if part.filename][0]
        made.update(filename=file.filename, bytes=len(file.body))
    return Answer(json=made)


OFFICIAL_WORLD = {  # what a server of the API would answer, by the beginning of the path
    "/v1/chat/completions": official_chat, "/v1/responses": official_responses,
    "/v1/embeddings": official_vectors, "/v1/audio": official_audio,
    "/v1/files/file-out/content": lambda *_: Answer(body=json.dumps(BATCH_LINE).encode() + b"\n"),
    "/v1/moderations": lambda *_: Answer(json={"id": "m", "model": "m", "results": [FLAGGED]}),
    "": official_thing,
}  # fmt: skip


def official_world(request: Request) -> Answer:
    is_json = request.headers.get("content-type") == "application/json"
    asked = request.json if is_json and request.body else {}
    begins = next(start for start in OFFICIAL_WORLD if request.path.startswith(start))
    return OFFICIAL_WORLD[begins](request, asked)


OFFICIAL_START = """\
import base64, json, os, math
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
    print(response.output_text, response.id, response.status, response.usage.total_tokens)
    print(response.output[0].content[0].text, response._request_id)
    for event in client.responses.create(model="m", input="One sentence.", stream=True):
        if event.type == "response.output_text.delta":
            print(event.delta, end="")
        print(event.type, event.sequence_number)
    """,
    "vision": """
    Path("a.png").write_bytes(b"png")
    url = f"data:image/png;base64,{base64.b64encode(Path('a.png').read_bytes()).decode()}"
    image = {"type": "input_image", "image_url": url}
    print(client.responses.create(
        model="m", input=[{"role": "user", "content": [image]}]).output_text)
    part = {"type": "image_url", "image_url": {"url": url, "detail": "high"}}
    answer = complete(model="m", messages=[{"role": "user", "content": [part]}], max_tokens=300)
    print(answer.choices[0].message.content, answer.choices[0].finish_reason)
    print(answer._request_id, answer.service_tier, answer.usage.total_tokens)
    """,
    "errors": """
    for model in ("missing", "busy", "broken", "wrong"):
        try:
            complete(model=model, messages=[])
        except openai.RateLimitError as e:
            print("A 429 status code was received; we should back off a bit.", e.status_code)
        except openai.APIStatusError as e:
            print(type(e).__name__, e.status_code, e.request_id, e.code, e.type, e.param, e.body)
            print(e.response.status_code, e.response.headers["x-request-id"], e.response.json())
    try:
        OpenAI(base_url="http://127.0.0.1:9/v1", max_retries=0).models.list()
    except openai.APIConnectionError as e:
        print("The server could not be reached", isinstance(e, openai.APIError))
    """,
    "streams": """
    for chunk in complete(model="m", messages=hi, stream=True):
        if chunk.choices:
            print(chunk.choices[0].delta.content, end="")
    with complete(model="m", messages=[], stream=True) as stream:
        for chunk in stream:
            print(chunk.choices[0].delta.role, chunk.choices[0].delta.content)
            break
    """,
    "audio": """
    speech, ask = Path("speech.mp3"), dict(model="tts-1", voice="alloy", input="the quick fox")
    with client.audio.speech.with_streaming_response.create(**ask) as response:
        response.stream_to_file(speech)
    print(speech.read_bytes(), client.audio.speech.create(**ask).read())
    print(client.audio.translations.create(model="whisper-1", file=speech).text)
    with open(speech, "rb") as file:
        print(client.audio.transcriptions.create(model="whisper-1", file=file,
              response_format="srt", timestamp_granularities=["word"]))
    """,
    "structured output": """
    from typing import List
    from pydantic import BaseModel
    class Step(BaseModel):
        explanation: str
        output: str
    class MathResponse(BaseModel):
        steps: List[Step]
        answer: str
    message = client.chat.completions.parse(
        model="m", messages=hi, response_format=MathResponse).choices[0].message
    print(message.parsed.steps, message.parsed.answer, message.refusal)
    rsp = client.responses.parse(input="solve 8x + 31 = 2", model="m", text_format=MathResponse)
    print(rsp.output_parsed.answer, [i.parsed for out in rsp.output for i in out.content])
    """,
    "function calling": """
    function = {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}
    ask = dict(model="m", tools=[{"type": "function", "function": function}])
    messages = list(hi)
    message = complete(messages=messages, **ask).choices[0].message
    messages.append(message)
    for call in message.tool_calls or []:
        print(call.id, call.type, call.function.name)
        degrees = json.dumps(dict(json.loads(call.function.arguments), degrees=4))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": degrees})
    second = complete(messages=messages, **ask)
    print(second.choices[0].message.content, hasattr(message, "reasoning_content"))
    """,
    "embeddings with a table": """
    import csv, io
    def get_embedding(text, **kwargs):
        return client.embeddings.create(input=[text], model="m", **kwargs).data[0].embedding
    table = [dict(text=text, embedding=get_embedding(text)) for text in ("cat", "dog", "car")]
    query = get_embedding("cat", encoding_format="float")
    for row in table:
        row["similarity"] = sum(x * y for x, y in zip(row["embedding"], query))
    out = io.StringIO()
    csv.DictWriter(out, list(table[0])).writerows(sorted(table, key=lambda row: -row["similarity"]))
    print(out.getvalue())
    answer = client.embeddings.create(model="m", input=["cat", "b"])
    print([(item.index, item.embedding) for item in answer.data], answer.usage.total_tokens)
    """,
    "moderation": """
    result = client.moderations.create(input="text", model="omni-moderation-latest").results[0]
    print(result.flagged, result.categories.self_harm, result.categories.harassment_threatening)
    print(result.category_scores.self_harm)
    """,
    "files, batches, fine-tuning": """
    row = {"custom_id": "row-1", "method": "POST", "body": {"model": "m", "messages": hi}}
    Path("batch.jsonl").write_text(json.dumps(row))
    print(client.files.create(file=Path("batch.jsonl"), purpose="fine-tune").filename)
    with open("batch.jsonl", "rb") as file:
        uploaded = client.files.create(file=file, purpose="batch")
    batch = client.batches.create(input_file_id=uploaded.id, endpoint="/v1/chat/completions",
                                  completion_window="24h", metadata={"a": "b"})
    print(uploaded.bytes, batch.id, batch.status, batch.metadata, batch.errors)
    print(client.batches.cancel("b").path, [one.id for one in client.batches.list(limit=2)])
    content = client.files.content("file-out")
    content.write_to_file("copy.jsonl")
    print(content.read() == Path("copy.jsonl").read_bytes() == content.content)
    for row in map(json.loads, content.text.splitlines()):
        print(row["custom_id"], row["response"]["body"]["choices"][0]["message"]["content"])
    print(client.fine_tuning.jobs.create(model="m", training_file="f").training_file)
    """,
    "retrying with a decorator": """
    import functools, inspect
    def retry(func):
        @functools.wraps(func)
        def wrapper(*args, **kwargs):
            for number in range(4):
                try:
                    return func(*args, **kwargs)
                except openai.RateLimitError as e:
                    print("retrying", func.__name__, type(e).__name__, e.status_code)
            raise Exception("Maximum number of retries exceeded.")
        return wrapper
    ask = retry(complete)
    print(ask.__name__, "self" in inspect.signature(ask).parameters)
    print(ask(model="m", messages=hi).choices[0].message.content)
    try:
        ask(model="busy", messages=hi)
    except Exception as e:
        print(e)
    """,
    "mocking in a test": """
    from unittest import mock
    def answer(text):
        return mock.Mock(choices=[mock.Mock(message=mock.Mock(content=text))])
    def summarise(client):
        made = client.chat.completions.create(model="m", messages=hi)
        return made.choices[0].message.content
    with mock.patch.object(client.chat.completions, "create", return_value=answer("x")) as fake:
        print(summarise(client), fake.call_args.kwargs["model"], fake.call_count)
    print(summarise(client))
    with mock.patch("openai.OpenAI") as made:
        made.return_value.chat.completions.create.return_value = answer("y")
        print(summarise(openai.OpenAI()))
    def logged(*args, **kwargs):
        print("asked", sorted(kwargs))
        return complete(*args, **kwargs)
    client.chat.completions.create = logged
    print(summarise(client))
    """,
}


def official_run(script: str, package: str, server) -> tuple:
    """(what a script prints, what it sends) with `package` as its openai."""
    source = OFFICIAL_START + textwrap.dedent(script)
    source = source.replace("from openai import", "from %s import" % package)
    source = source.replace("import openai\n", "import %s as openai\n" % package)
    source = source.replace('patch("openai.', 'patch("%s.' % package)
    del server.requests[:]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(source, package, "exec", dont_inherit=True), {"__name__": "__main__"})
    return printed.getvalue(), [official_sent(request) for request in server.requests]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", OFFICIAL_SCRIPTS)
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


# ------------------------------------------------------------------------------------------------
# Readme

README = pathlib.Path(openai_mini.__file__).resolve().with_name("README.md")
# Recipes with libraries of the reader's choice: each has a test of its own elsewhere.
README_TRIED_ELSEWHERE = (
    "opentelemetry", "prometheus_client", "ProcessPoolExecutor", "dask", "completion_window",
)  # fmt: skip


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
    """The two that set up an environment are run by .ci/run and by whoever begins."""
    shim = readme_folder / "openai-mini"
    shim.write_text('#!/bin/sh\nexec "%s" -m openai_mini "$@"\n' % sys.executable)
    shim.chmod(0o755)
    env = dict(os.environ, PATH="%s%s%s" % (readme_folder, os.pathsep, os.environ["PATH"]))
    lines = [line for block in readme_blocks("sh") for line in block.splitlines()]
    commands = [line for line in lines if "openai-mini" in line and ".venv" not in line]
    for command in commands:
        how = {"env": env, "stdin": subprocess.DEVNULL, "stdout": -1, "stderr": -1, "timeout": 60}
        done = subprocess.run(["sh", "-c", command], **how)
        assert done.returncode == 0, (command, done.stderr)
    assert (readme_folder / "summary.txt").read_text() == "some notes\n" and len(commands) >= 5


def test_the_version_stands_in_the_head_of_the_file_and_in_the_changes():
    head = pathlib.Path(openai_mini.__file__).read_text("utf-8")[:2000]
    changes = README.read_text("utf-8").split("\n## Changes\n")[1]
    assert "openai_mini " + openai_mini.__version__ in head
    assert changes.split("\n### ")[1].split("\n")[0] == openai_mini.__version__


README_USE = """
    from .vendor1 import openai_mini as one
    from .vendor2 import openai_mini as two
    for module in (one, two):
        print(module.__version__, module.OpenAIMini(base_url="echo:").chat("Hello").content)
    print(issubclass(one.APIError, two.APIError))
"""


def test_copies_of_two_versions_live_side_by_side_in_another_package(tmp_path):
    place, version = tmp_path / "src", '"%s"' % openai_mini.__version__
    source = pathlib.Path(openai_mini.__file__).read_text("utf-8")
    for number in "12":
        vendor = place / "app" / ("vendor" + number)
        vendor.mkdir(parents=True)
        text = source.replace(version, '"%s.0"' % number)
        (vendor / "openai_mini.py").write_text(text, encoding="utf-8")
    (place / "app" / "use.py").write_text(textwrap.dedent(README_USE))
    (place / "__main__.py").write_text("import app.use\n")
    zipapp.create_archive(str(place), str(tmp_path / "app.pyz"))
    for started in (place, tmp_path / "app.pyz"):
        command = [sys.executable, "-I", str(started)]
        done = subprocess.run(command, stdout=-1, stderr=-1, timeout=60)
        assert done.stdout.decode().split() == "1.0 Hello 2.0 Hello False".split(), done.stderr


def test_importing_the_module_loads_nothing_that_it_may_not_need():
    code = "import sys; old = set(sys.modules); import openai_mini; print(set(sys.modules) - old)"
    assert set(ast.literal_eval(run_python(code).stdout)) <= {"__future__", "openai_mini"}


# ------------------------------------------------------------------------------------------------
# Fuzz
#
# Inputs that nobody thought of. OPENAI_MINI_FUZZ=100000 tries that many of each kind.

FUZZ_INPUTS = int(os.environ.get("OPENAI_MINI_FUZZ") or 30)


def fuzz(*strategies):
    """Run the test with that many inputs of the strategies."""
    checks = list(hypothesis.HealthCheck)
    settings = hypothesis.settings(max_examples=FUZZ_INPUTS, suppress_health_check=checks)
    return lambda test: settings(hypothesis.given(*strategies)(test))


FUZZ_NAMES = st.sampled_from(
    """error message detail code type param msg loc choices delta content tool_calls index usage
    finish_reason data id object has_more last_id output text function name arguments status
    response role""".split()
)
FUZZ_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (st.lists(inner, max_size=3)
                   | st.dictionaries(FUZZ_NAMES | st.text(max_size=3), inner, max_size=4)),
    max_leaves=12,
)  # fmt: skip
FUZZ_FORMS = st.sampled_from(
    ["%s", '{"error": %s}', "data: %s\n\n", "data: %s\n\ndata: [DONE]\n\n"]
)
FUZZ_BODIES = st.one_of(
    st.builds(lambda form, value: form % json.dumps(value), FUZZ_FORMS, ANY | FUZZ_JSON),
    st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    st.sampled_from([b"<html><title>", b"[" * 5000, b"9" * 5000, b'"\\ud800"', b"\xed\xa0\x80",
                     b"NaN", b"-Infinity", b"{", b""]),
)  # fmt: skip
FUZZ_HEADER = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20)
FUZZ_HEADERS = st.fixed_dictionaries({
    name: st.sampled_from(values) | FUZZ_HEADER for name, values in {
        "content-type": ["application/json", "text/event-stream", "text/html", "a/b+json", ""],
        "retry-after": ["1", "-1", "1e9", "Wed, 21 Oct 2015 07:28:00 GMT", "nan", "9" * 400,
                        "Mon, 1 Jan 0000 00:00:00 -9999"],
        "retry-after-ms": ["", "5", "-5", "5.5.5", "."], "x-should-retry": ["", "true", "false"],
        "content-encoding": ["", "", "", "identity", "gzip", "deflate", "br"],
        "x-request-id": [""], "location": [""],
    }.items()
})  # fmt: skip
FUZZ_LENGTHS = st.sampled_from(
    [None, None, None, "0", "5", "-1", "99999999999999999999", "1, 1", "0x5", "+5", "\xb2", ""]
)
FUZZ_FRAMINGS = st.sampled_from(["length", "chunked", "close"])
FUZZ_STATUSES = st.sampled_from(
    [200] * 6 + [201, 204, 301, 304, 400, 401, 404, 408, 413, 429, 500, 529, 599, 999]
)


FUZZ_WHICH = st.sampled_from(  # each way in which an answer is read
    [*ANY_CALL, lambda c, to: c.request("GET", "/x"), lambda c, to: c.download_file("f")]
)


@pytest.fixture(scope="module")
def fuzz_server(tmp_path_factory):
    given = {"max_retries": 0, "circuit_breaker": False, "use_request_queue": False}
    with LoopbackServer() as server, client_for(server, timeout=(5, 5), **given) as client:
        yield server, client, tmp_path_factory.mktemp("fuzz")


@fuzz(FUZZ_STATUSES, FUZZ_BODIES, FUZZ_HEADERS, FUZZ_LENGTHS, FUZZ_FRAMINGS, FUZZ_WHICH)
def test_any_answer_is_a_result_or_an_error_of_ours(
    fuzz_server, status, body, headers, length, framing, call
):
    server, client, folder = fuzz_server
    if length is not None:
        headers = dict(headers, **{"content-length": length})
    server.requests.clear()
    server.default = Answer(status, body=body, headers=headers, framing=framing, close=True)
    try:
        call(client, folder)
    except OpenAIError as error:
        assert len(str(error)) < 1200 and str(error).isprintable(), ascii(str(error))
        assert error.retry_after is None or error.retry_after >= 0


RAW_HEADS = [
    b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", b"HTTP/1.0 503 \r\n\r\n",
]  # fmt: skip


@fuzz(st.binary(max_size=200), st.sampled_from(RAW_HEADS), FUZZ_WHICH)
def test_any_bytes_on_the_socket_are_a_result_or_an_error_of_ours(fuzz_server, content, head, call):
    server, client, folder = fuzz_server
    server.requests.clear()
    server.default = Answer(raw=head + content)
    with contextlib.suppress(OpenAIError):
        call(client, folder)
