"""Tests of openai_mini, in the order of its rooms. Run with: python -m pytest"""

from __future__ import annotations

import array
import ast
import atexit
import base64
import concurrent.futures
import contextlib
import copy
import email.utils
import functools
import gc
import hashlib
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
import urllib.parse
import warnings
import weakref
import zipapp
import zlib
from collections import namedtuple
from concurrent.futures import CancelledError
from typing import List, Optional
from urllib.parse import parse_qsl, urlsplit

import hypothesis
import hypothesis.strategies as st
import pytest
import requests

import openai_mini
from openai_mini import AuthenticationError, OpenAIError, OpenAIMini, ValidationError

# ------------------------------------------------------------------------------------------------
# Helpers
#
# A clock to turn by hand, a loopback server that plays a script, a proxy, and fixtures.
#
# Nothing of `requests` is mocked: the faults that matter live in sockets. The server keeps what it
# was asked and wakes who waits for it, so that tests meet it at events and never at sleeps.


signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell runs behind ignores it

# Examples are few (the suite is quick) and never timed; none are kept in the working directory.
hypothesis.settings.register_profile("suite", deadline=None, database=None, max_examples=100)
hypothesis.settings.load_profile("suite")

NOT_SENT = object()  # tells Answer() from Answer(json=None), whose body is `null`


class FakeClock:
    """A clock that moves only when told; `clock.sleep(s)` advances it and is noted in `sleeps`."""

    def __init__(self, now: float = 1000.0):
        self.now = now
        self.sleeps: list = []
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.advance(seconds)


# What servers answer

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1764000000,
    "model": "gpt-5.4-mini",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hello", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}


def chunk(delta: dict, finish=None, index: int = 0, **more) -> dict:
    """One chunk of a streamed chat completion."""
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    start = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1764000000}
    return dict(start, model="gpt-5.4-mini", choices=[choice], **more)


def chunks(*texts: str, finish="stop", usage=None) -> list:
    """Chunks as a chat streams them: one for each text, the finish reason, and the usage.

    The first has the role too. `finish=None` and `usage=None` leave out the chunk that has it.
    """
    made = [chunk({"content": text}) for text in texts]
    if made:
        made[0] = chunk({"role": "assistant", "content": texts[0]})
    if finish is not None:
        made.append(chunk({}, finish))
    if usage is not None:
        made.append(dict(chunk({}), choices=[], usage=usage))
    return made


def sse_bytes(item) -> bytes:
    """An item of `Answer(sse=...)`: bytes as they are, ("name", item) as a named event, all else as
    a data line: a str as it is, other things as JSON.
    """
    if isinstance(item, bytes):
        return item
    if isinstance(item, tuple):
        return b"event: " + item[0].encode() + b"\n" + sse_bytes(item[1])
    text = item if isinstance(item, str) else json.dumps(item)
    return b"data: " + text.encode() + b"\n\n"


REASONS = {
    200: "OK",
    204: "No Content",
    302: "Found",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
}


class Answer:
    """One scripted HTTP answer. It has no state, so one may be given many times.

    The body is one of `json`, `body` (bytes or str), `sse` (see `sse_bytes`; `done` adds `[DONE]`)
    and `pieces` (a list of bytes, or a function that returns an iterator, for bodies that no memory
    should hold); `drip=n` cuts any of them into pieces of n bytes. Each piece goes out by itself,
    as one transfer chunk where the framing is "chunked" (the default for `sse`; else "length"; also
    "close" and "http10"). `gzip`: True or "gzip", "deflate", "rawdeflate"; every piece is flushed,
    so that it can be read at once.

    `headers`: a dict or a list of pairs; one given here replaces one that would be computed (so
    that a false Content-Length can be told). `early`: bytes of a 1xx answer, sent first. `raw`:
    these bytes (or a list of them) and nothing else.

    `wait`: an Event to wait for: before anything is sent, or with `hold_after=n` once the head and
    n pieces are out (n may be all of them: then the end of the body is held back). `pause`: seconds
    between the pieces.

    `cut=n`: the connection is closed cleanly after n bytes of the body (of `raw`, where given;
    transfer framing not counted, Content-Length tells the whole); `reset=n`: the same, with a RST.
    `close`: True says `Connection: close` and closes; "silent" closes without a word; the default
    closes where it must. `body_read=n`: answer when n bytes of the request's body have come; the
    rest is read only to be thrown away.
    """

    def __init__(
        self,
        status: int = 200,
        *,
        json=NOT_SENT,
        body=None,
        sse=None,
        pieces=None,
        done: bool = True,
        headers=(),
        content_type=None,
        framing=None,
        gzip=False,
        drip=None,
        early: bytes = b"",
        raw=None,
        wait=None,
        hold_after=None,
        pause: float = 0,
        cut=None,
        reset=None,
        close=None,
        body_read=None,
    ):
        self.status = status
        self.json, self.body, self.sse, self.pieces, self.done = json, body, sse, pieces, done
        self.headers = list(headers.items()) if isinstance(headers, dict) else list(headers)
        self.content_type = content_type
        self.framing = framing or ("length" if sse is None else "chunked")
        self.coding = "gzip" if gzip is True else gzip
        self.drip, self.early, self.raw = drip, early, raw
        self.wait, self.hold_after, self.pause = wait, hold_after, pause
        self.cut, self.reset, self.body_read = cut, reset, body_read
        if close is None:
            ends = self.framing in ("close", "http10")
            breaks = any(option is not None for option in (raw, cut, reset, body_read))
            close = "silent" if ends or breaks else False
        self.close = close

    def wire(self, bodiless: bool = False, closing: bool = False):
        """What goes over the socket, the head first, and whether the body is an iterator."""
        limit = self.cut if self.reset is None else self.reset
        if self.raw is not None:
            raw = [self.raw] if isinstance(self.raw, bytes) else self.raw
            return list(_framed(raw, False, limit)), False
        lazy = callable(self.pieces)
        payloads = _coded(self._payloads(), self.coding)
        if self.framing == "length" and lazy and self._header("content-length") is None:
            raise ValueError("a lazy body has no length: give it as a header, or another framing")
        if not lazy:
            payloads = list(payloads)
        if bodiless or self.status in (204, 304):
            return [self._head(None, closing)], False
        head = self._head(None if lazy else sum(map(len, payloads)), closing)
        frames = _framed(payloads, self.framing == "chunked", limit)
        if lazy:
            return _chained(head, frames), True
        frames = list(frames)
        held_before_end = self.hold_after == len(frames) - 1
        if self.framing == "chunked" and limit is None and len(frames) > 1 and not held_before_end:
            # The end comes with the last piece, as most servers send it.
            frames[-2:] = [frames[-2] + frames[-1]]
        if self.sse is None and self.pieces is None and not self.drip and self.hold_after is None:
            return [head + b"".join(frames)], False
        return [head] + frames, False

    def _payloads(self):
        if self.sse is not None:
            pieces = [sse_bytes(item) for item in self.sse] + [b"data: [DONE]\n\n"] * self.done
        elif self.pieces is not None:
            pieces = self.pieces() if callable(self.pieces) else self.pieces
        elif self.json is not NOT_SENT:
            pieces = [json.dumps(self.json).encode()]
        else:
            pieces = [self.body.encode() if isinstance(self.body, str) else self.body or b""]
        if not self.drip:
            return pieces
        whole = b"".join(pieces)
        return [whole[i : i + self.drip] for i in range(0, len(whole), self.drip)]

    def _header(self, name: str):
        return next((value for key, value in self.headers if key.lower() == name), None)

    def _head(self, length, closing: bool) -> bytes:
        content_type = self.content_type
        if content_type is None:
            is_text = isinstance(self.body, str)
            plain = "text/plain; charset=utf-8" if is_text else "application/octet-stream"
            content_type = plain if self.json is NOT_SENT else "application/json"
            if self.sse is not None:
                content_type = "text/event-stream; charset=utf-8"
        computed = [("content-type", content_type)] if content_type else []
        if self.coding:
            computed.append(("content-encoding", self.coding.replace("raw", "")))
        if self.framing == "chunked" and self.status not in (204, 304):
            computed.append(("transfer-encoding", "chunked"))
        elif self.framing == "length" and length is not None:
            computed.append(("content-length", str(length)))
        if self.close is True or self.framing == "close" or (closing and not self.close):
            computed.append(("connection", "close"))
        pairs = [pair for pair in computed if self._header(pair[0]) is None] + self.headers
        version = "HTTP/1.0" if self.framing == "http10" else "HTTP/1.1"
        lines = ["%s %d %s" % (version, self.status, REASONS.get(self.status, "Whatever"))]
        lines += ["%s: %s" % pair for pair in pairs]
        return "\r\n".join(lines + ["", ""]).encode("latin-1")


def _coded(payloads, coding):
    """The pieces under a content coding, each flushed, so that it can be read when it comes."""
    if not coding:
        yield from payloads
        return
    wbits = {"gzip": 31, "deflate": 15, "rawdeflate": -15}[coding]
    packer = zlib.compressobj(wbits=wbits)
    for payload in payloads:
        yield packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


def _framed(payloads, chunked: bool, limit):
    """The pieces as they go over the wire; with a limit that many bytes of them, and no end."""
    for payload in payloads:
        if limit is not None and limit <= 0:
            return
        part = payload[:limit]
        if limit is not None:
            limit -= len(part)
        if chunked and payload:
            part = b"%x\r\n" % len(payload) + part + b"\r\n" * (len(part) == len(payload))
        if part:
            yield part
    if chunked and limit is None:
        yield b"0\r\n\r\n"


def _chained(head, frames):
    yield head
    yield from frames


def usual(request: Request) -> Answer:
    """What the server answers when its script is empty: chat, streamed or not, or an empty list."""
    if not request.path.endswith("/chat/completions"):
        return Answer(json={"object": "list", "data": []})
    return Answer(sse=chunks("hel", "lo")) if request.json.get("stream") else Answer(json=CHAT)


# What servers are asked

Part = namedtuple("Part", "name filename content_type body")


class Request:
    """One request as it came.

    `query` has a list where a name is repeated; `headers` has its names in small letters; `length`
    is that of the body, also where the body was not kept; `connection` counts from 1.
    """

    def __init__(self, raw_head: bytes, connection: int):
        self.raw_head, self.connection = raw_head, connection
        self.body, self.length = b"", 0
        lines = raw_head.decode("latin-1").split("\r\n")
        self.method, self.target, self.version = lines[0].split(" ", 2)
        self.headers: dict = {}
        for line in lines[1:-2]:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip()
            self.headers[name] = (
                self.headers[name] + ", " + value if name in self.headers else value
            )
        target = self.target
        if "://" in target.partition("?")[0]:  # the absolute form, as proxies get it
            target = "/" + target.split("://", 1)[1].partition("/")[2]
        self.path, _, query = target.partition("?")
        self.query: dict = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            have = self.query.get(name, NOT_SENT)
            if have is NOT_SENT:
                self.query[name] = value
            else:
                self.query[name] = (have if isinstance(have, list) else [have]) + [value]

    def __repr__(self) -> str:
        return "<%s %s, %d bytes>" % (self.method, self.target, self.length)

    @property
    def wants_close(self) -> bool:
        return self.headers.get("connection") == "close" or self.version == "HTTP/1.0"

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def part_heads(self) -> list:
        """The head of each part of a multipart body, well-formed to its last byte, as bytes."""
        return [head for head, _ in self._split_parts()]

    @property
    def parts(self) -> list:
        """(name, filename, content_type, bytes) of each part; names as they stand in quotes."""
        found = []
        for head, body in self._split_parts():
            text = head.decode("utf-8")
            fields = {}
            for line in text.split("\r\n"):
                key, _, value = line.partition(":")
                fields[key.lower()] = value.strip()
            quoted = dict(
                re.findall(r';\s*(name|filename)="([^"]*)"', fields["content-disposition"])
            )
            found.append(
                Part(quoted.get("name"), quoted.get("filename"), fields.get("content-type"), body)
            )
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


class HungUp(OSError):
    """The other side has closed the connection."""


def _has_hung_up(sock) -> bool:
    """Whether the other side has closed; what it may have sent is left where it is."""
    # poll() where there is one: select() takes no descriptor over 1023.
    with getattr(selectors, "PollSelector", selectors.SelectSelector)() as selector:
        try:
            selector.register(sock, selectors.EVENT_READ)
            if not selector.select(0):
                return False
            # Of the class below: TLS allows no peeking.
            return not socket.socket.recv(sock, 1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except (OSError, ValueError):
            return True


def _read_head(reader) -> bytes:
    lines: list = []
    while not lines or lines[-1] not in (b"\r\n", b"\n"):
        lines.append(reader.readline())
        if not lines[-1]:
            raise HungUp("at the end of %d lines" % (len(lines) - 1))
    return b"".join(lines)


class Listener:
    """A socket on 127.0.0.1 with a thread for each connection; `serve` says what it does."""

    tls = False

    def __init__(self, port: int = 0):
        self.connections = 0  # accepted so far
        self.hung_up = 0  # closed by the client so far
        self.failures: list = []  # tracebacks of what went wrong in here
        self._changed = threading.Condition()  # guards what is counted; notified at each change
        self._closing = threading.Event()
        self._open: dict = {}  # number -> socket
        self._dropped: set = set()
        self._threads: set = set()
        self._listening = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port = self._listening.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="loopback-accept", daemon=True)
        self._acceptor.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()
        assert not self.failures, "\n".join(self.failures)

    def serve(self, number: int, sock) -> None:
        raise NotImplementedError

    def prepare(self, sock):
        return sock

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
        assert not any(thread.is_alive() for thread in list(self._threads)), "a thread hangs"

    @property
    def open_connections(self) -> int:
        return len(self._open)

    def drop_connections(self) -> None:
        """Close all connections from this side, idle or not."""
        with self._changed:
            self._dropped.update(self._open)
            for sock in self._open.values():
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def wait_for(self, condition, timeout: float = 10, what: str = "condition") -> bool:
        """Wait until `condition()` is true, asking at each change here; it must become so."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout), "%s: not in %s s" % (what, timeout)
        return True

    def wait_closed(self, number: int = 1, timeout: float = 10) -> bool:
        """Wait until clients have closed `number` connections in all."""
        return self.wait_for(lambda: self.hung_up >= number, timeout, "%d hung up" % number)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
                if self._closing.is_set():
                    sock.close()
                    return
            except OSError:  # no descriptors left: others may go
                self.failures.append(traceback.format_exc())
                time.sleep(0.05)
                continue
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock = self.prepare(sock)
            except OSError:  # gone already
                sock.close()
                continue
            with self._changed:
                self.connections += 1
                number = self.connections
                self._open[number] = sock
                name = "loopback-%d" % number
                thread = threading.Thread(
                    target=self._run, args=(number, sock), name=name, daemon=True
                )
                self._threads.add(thread)
                self._changed.notify_all()
            thread.start()

    def _run(self, number: int, sock) -> None:
        gone = False
        try:
            self.serve(number, sock)
        except OSError:
            gone = number not in self._dropped and not self._closing.is_set()
        except Exception:
            self.failures.append(traceback.format_exc())
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

    An entry of the script, and `default`, which answers when the script is empty, may be a function
    of the request. `requests` is what came, in order of its last byte. `max_in_flight` counts
    requests from their last byte to the last segment of their answer. With `keep_bodies = False`
    only the length of bodies is kept.
    """

    def __init__(self, port: int = 0, tls: bool = False):
        self.requests: list = []
        self.default = usual
        self.keep_bodies = True
        self.max_in_flight = 0
        self._answers: list = []
        self._in_flight: dict = {}  # number of the connection -> socket
        self.tls = tls
        if tls:
            self.cert_path, key_path = certificate()
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(self.cert_path, key_path)
        super().__init__(port)
        self.origin = "%s://127.0.0.1:%d" % ("https" if tls else "http", self.port)
        self.url = self.origin + "/v1"

    def script(self, *answers) -> None:
        self._answers.extend(answers)

    @property
    def unplayed(self) -> int:
        """How many answers of the script are left."""
        return len(self._answers)

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def wait_requests(self, number: int = 1, timeout: float = 10) -> bool:
        """Wait until `number` requests in all have been read to their last byte."""
        return self.wait_for(lambda: len(self.requests) >= number, timeout, "%d requests" % number)

    def prepare(self, sock):
        if self.tls:  # the handshake is the connection's thread's
            sock = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return sock

    def serve(self, number: int, sock) -> None:
        if self.tls:
            sock.do_handshake()
        with sock.makefile("rb", 1 << 16) as reader:
            while self._serve_one(number, sock, reader):
                pass

    def _serve_one(self, number: int, sock, reader) -> bool:
        """Read a request and answer it; whether the connection stays open."""
        request = Request(_read_head(reader), number)
        with self._changed:
            limit = getattr(self._answers[0], "body_read", None) if self._answers else None
            answer = None if limit is None else self._answers.pop(0)
        kept = []
        for piece in _read_body(reader, request.headers, limit):
            request.length += len(piece)
            if self.keep_bodies:
                kept.append(piece)
        request.body = b"".join(kept)
        with self._changed:
            self.requests.append(request)
            if answer is None:
                answer = self._answers.pop(0) if self._answers else self.default
            if len(self._in_flight) >= self.max_in_flight:
                # Those that were abandoned a moment ago do not count.
                for other in [n for n, s in self._in_flight.items() if _has_hung_up(s)]:
                    del self._in_flight[other]
            self._in_flight[number] = sock
            self.max_in_flight = max(self.max_in_flight, len(self._in_flight))
            self._changed.notify_all()
        try:
            if not isinstance(answer, Answer):
                answer = answer(request)
            self._send(sock, answer, request)
        finally:
            self._answered(number)
        if answer.reset is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif limit is not None:
            socket.socket.shutdown(sock, socket.SHUT_WR)
            while reader.read1(1 << 16):
                pass
        elif self.tls and answer.cut is None and answer.close:
            sock.settimeout(0)  # tells the end, and does not wait for the other side to tell it
            with contextlib.suppress(OSError, ValueError):
                sock.unwrap()
        return not (answer.close or request.wants_close)

    def _answered(self, number: int) -> None:
        with self._changed:
            self._in_flight.pop(number, None)
            self._changed.notify_all()

    def _send(self, sock, answer: Answer, request: Request) -> None:
        if answer.early:
            sock.sendall(answer.early)
        if answer.wait is not None and answer.hold_after is None:
            self._hold(sock, answer.wait)
        segments, lazy = answer.wire(request.method == "HEAD", request.wants_close)
        sent = -1  # pieces of the body, which the head is not
        for segment in segments:
            if answer.wait is not None and sent == answer.hold_after:
                self._hold(sock, answer.wait)
            elif sent > 0 and answer.pause:
                self._hold(sock, threading.Event(), answer.pause)
            if not lazy and sent == len(segments) - 2:
                # Not after the last bytes: who has them may be back with the next request.
                self._answered(request.connection)
            sock.sendall(segment)
            sent += 1
        if answer.wait is not None and sent == answer.hold_after:
            self._hold(sock, answer.wait)

    def _hold(self, sock, event, seconds: float = 3600) -> None:
        """Wait for the event; raises when the client hangs up or the server is closed."""
        end = time.monotonic() + seconds
        step_s = 0.001
        while not event.is_set() and time.monotonic() < end:
            if self._closing.is_set() or _has_hung_up(sock):
                raise HungUp("while an answer was held back")
            event.wait(min(step_s, max(0.0, end - time.monotonic())))
            step_s = min(0.02, step_s * 1.5)


def _read_body(reader, headers: dict, limit=None):
    """The body's bytes in pieces, transfer coding undone."""

    def exactly(count):
        while count:
            piece = reader.read(min(count, 1 << 16))
            if not piece:
                raise HungUp("in the middle of a body")
            count -= len(piece)
            yield piece

    if headers.get("transfer-encoding", "").lower() != "chunked":
        length = int(headers.get("content-length", 0))
        yield from exactly(length if limit is None else min(length, limit))
        return
    left = limit
    while left is None or left > 0:
        line = reader.readline()
        if not line:
            raise HungUp("in the middle of a body")
        size = int(line.partition(b";")[0], 16)
        if not size:
            while reader.readline() not in (b"\r\n", b"\n", b""):
                pass
            return
        yield from exactly(size if left is None else min(size, left))
        if left is not None:
            left -= size
        if left is None or left >= 0:
            reader.readline()


class Proxy(Listener):
    """A forward proxy, for the absolute form and for CONNECT; `asked` is the `Request`s it got.

    All goes to `to`, a server of ours, whatever address was asked for, so that nothing leaves the
    machine.
    """

    def __init__(self, to: LoopbackServer, port: int = 0):
        self.asked: list = []
        self._to = ("127.0.0.1", to.port)
        super().__init__(port)
        self.url = "http://127.0.0.1:%d" % self.port

    def serve(self, number: int, sock) -> None:
        with sock.makefile("rb", 0) as reader:  # unbuffered: what follows the head is not ours
            request = Request(_read_head(reader), number)
        self.asked.append(request)
        with socket.create_connection(self._to, timeout=30) as onward:
            if request.method == "CONNECT":
                sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                origin = urlsplit(request.target)._replace(scheme="", netloc="").geturl()
                head = request.raw_head.replace(request.target.encode(), origin.encode() or b"/", 1)
                kept = [line for line in head.split(b"\r\n") if not _is_for_the_proxy(line)]
                kept.insert(1, b"Connection: close")
                onward.sendall(b"\r\n".join(kept))
            with contextlib.suppress(OSError):
                _relay(sock, onward)


class TlsProxy(Proxy):
    """A proxy that is spoken to by TLS, with the certificate of the TLS servers here."""

    def __init__(self, to: LoopbackServer):
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate())
        super().__init__(to)
        self.url = "https://localhost:%d" % self.port  # urllib3 1.26.5 checks no IP address

    def serve(self, number: int, sock) -> None:
        sock.settimeout(30)
        with contextlib.suppress(ssl.SSLError):  # of a client that does not trust it
            sock.do_handshake()
            super().serve(number, sock)

    def prepare(self, sock):
        return self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)


def _is_for_the_proxy(line: bytes) -> bool:
    return line.lower().startswith((b"proxy-", b"connection:"))


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
    folder = tempfile.mkdtemp(prefix="loopback-tls-")
    atexit.register(_remove, folder, os.getpid())
    wish, cert, key = (os.path.join(folder, name) for name in ("wish.cnf", "cert.pem", "key.pem"))
    with open(wish, "w") as file:
        file.write(
            "[req]\ndistinguished_name = dn\nx509_extensions = ext\nprompt = no\n"
            "[dn]\nCN = localhost\n[ext]\n"
            "subjectAltName = IP:127.0.0.1, DNS:localhost\nbasicConstraints = critical, CA:TRUE\n"
            "keyUsage = critical, digitalSignature, keyCertSign\nsubjectKeyIdentifier = hash\n"
        )
    made = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert]
    subprocess.run(
        ["openssl", "req", "-x509", "-config", wish] + made, check=True, capture_output=True
    )
    return cert, key


def _remove(folder: str, pid: int) -> None:
    if os.getpid() == pid:  # not a child that was forked
        shutil.rmtree(folder, ignore_errors=True)


# Threads, and what must not be left of them


def together(number: int, work, timeout: float = 60) -> list:
    """Run `work(i)` in threads that start as one; what each returned, or what it raised."""
    barrier = threading.Barrier(number)
    results: list = [None] * number

    def run(i: int) -> None:
        barrier.wait(timeout)
        try:
            results[i] = work(i)
        except BaseException as error:  # a result like others: the caller looks at it
            results[i] = error

    threads = [
        threading.Thread(target=run, args=(i,), name="together-%d" % i, daemon=True)
        for i in range(number)
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    hanging = [thread.name for thread in threads if thread.is_alive()]
    assert not hanging, "still running after %s s: %s" % (timeout, hanging)
    return results


def eventually(condition, timeout: float = 10, what: str = "it") -> bool:
    """Wait until `condition()` is true, for what no server here notices; it must become so."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "%s: not in %s s" % (what, timeout)
        time.sleep(0.002)
    return True


def threads_left() -> set:
    """The living threads, without those of the servers in here."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith("loopback-")}


def fds_left() -> set:
    """(number, what it is) of each open descriptor; empty where the system does not tell."""
    found = set()
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(
                OSError
            ):  # the descriptor that this listing used is gone by now
                found.add((int(name), os.readlink("/proc/self/fd/" + name)))
    return found


@contextlib.contextmanager
def nothing_left_over(timeout: float = 10):
    """What is done in here leaves no thread and no descriptor; they have a moment to go."""
    threads, fds = threads_left(), fds_left()
    yield
    gc.collect()
    end = time.monotonic() + timeout
    while True:
        left = [thread.name for thread in threads_left() - threads] + sorted(fds_left() - fds)
        if not left:
            return
        assert time.monotonic() < end, "left over: %s" % left
        time.sleep(0.005)


# Fixtures


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No test sees the keys, endpoints, proxies and certificate bundles of whoever runs it."""
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    bundles = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    for name in list(os.environ):
        is_ours = name.upper().startswith(("OPENAI_", "AZURE_OPENAI_"))
        if is_ours or name.upper() in proxies or name in bundles:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=sys.version_info < (3, 9))
def no_collection_in_deep_json(request):
    """Python 3.8 ends ("Cannot recover from stack overflow") where Python code runs at its limit
    of recursion, as a finalizer or hypothesis's gc callback does in JSON of 1,000 levels."""
    deep = re.search("deep|objects|nested", request.node.name)
    if deep:
        gc.disable()
    yield
    if deep:
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
    client = openai_mini.OpenAIMini(
        api_key="sk-test", base_url=server.url, initial_retry_delay=0.001, timeout=(5, 10)
    )
    with client:
        yield client


# ------------------------------------------------------------------------------------------------
# Sse


# The clauses are those of https://html.spec.whatwg.org/multipage/server-sent-events.html,
# "Parsing an event stream" and "Interpreting an event stream".

SSE_BOM = b"\xef\xbb\xbf"


def sse_event(data, event="message", id="", retry=None):
    return (event, data, id, retry)


def sse_events(*all_data):
    return [sse_event(data) for data in all_data]


def sse_retry(value: bytes, expected):
    """A row of SSE_CASES: a retry field with this value, next to data."""
    name = "retry field %r" % value
    return (name, b"retry:" + value + b"\ndata:x\n\n", [sse_event("x", retry=expected)])


def sse_utf8(name: str, value: bytes, expected: str):
    """A row of SSE_CASES: these bytes as the data of an event."""
    return ("utf-8: " + name, b"data:" + value + b"\n\n", sse_events(expected))


# (id, bytes of the stream, [(event, data, id, retry), ...])
SSE_CASES = [
    # Nothing to tell
    ("empty stream", b"", []),
    ("one LF", b"\n", []),
    ("blank lines only", b"\n\n\r\r\r\n\r\n", []),
    ("BOM only", SSE_BOM, []),
    ("BOM and blank lines", SSE_BOM + b"\n\n", []),
    ("comment only", b": hi\n\n", []),
    ("unknown field only", b"foo: bar\n\n", []),
    # The ends of lines and of events
    ("LF", b"data: a\n\n", sse_events("a")),
    ("CRLF", b"data: a\r\n\r\n", sse_events("a")),
    ("CR", b"data: a\r\r", sse_events("a")),
    ("LF CR is two ends", b"data: a\n\rdata: b\n\n", sse_events("a", "b")),
    ("CR CRLF is two ends", b"data: a\r\r\ndata: b\n\n", sse_events("a", "b")),
    ("CRLF LF is two ends", b"data: a\r\n\ndata: b\n\n", sse_events("a", "b")),
    ("CRLF CR is two ends", b"data: a\r\n\rdata: b\n\n", sse_events("a", "b")),
    ("LF CRLF is two ends", b"data: a\n\r\ndata: b\n\n", sse_events("a", "b")),
    ("CRLF is one end", b"data: a\r\ndata: b\r\n\r\n", sse_events("a\nb")),
    ("CR between data lines", b"data: a\rdata: b\r\r", sse_events("a\nb")),
    ("three kinds of end", b"data: a\ndata: b\r\ndata: c\r\n\n", sse_events("a\nb\nc")),
    ("many blank lines", b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", sse_events("a", "b")),
    (
        "many blank CRLF lines",
        b"\r\n\r\ndata: a\r\n\r\n\r\n\r\ndata: b\r\n\r\n",
        sse_events("a", "b"),
    ),
    ("many blank CR lines", b"\r\rdata: a\r\r\r\rdata: b\r\r", sse_events("a", "b")),
    (
        "ends of each event differ",
        b"data:1\n\ndata:2\r\r\ndata:3\r\n\r\n",
        sse_events("1", "2", "3"),
    ),
    ("VT ends no line", b"data: a\x0bdata: b\n\n", sse_events("a\x0bdata: b")),
    ("FF ends no line", b"data: a\x0cdata: b\n\n", sse_events("a\x0cdata: b")),
    (
        "FS, GS, RS, US end no line",
        b"data: a\x1cb\x1dc\x1ed\x1fe\n\n",
        sse_events("a\x1cb\x1dc\x1ed\x1fe"),
    ),
    ("NEL ends no line", b"data: a\xc2\x85data: b\n\n", sse_events("a\x85data: b")),
    ("U+2028 ends no line", b"data: a\xe2\x80\xa8data: b\n\n", sse_events("a\u2028data: b")),
    ("U+2029 ends no line", b"data: a\xe2\x80\xa9data: b\n\n", sse_events("a\u2029data: b")),
    ("NEL between events is a field", b"data: a\n\xc2\x85\n\n", sse_events("a")),
    ("backslash-n ends no line", rb"data: a\n\ndata: b" + b"\n\n", sse_events(r"a\n\ndata: b")),
    # The end of the stream
    ("unfinished line is dropped", b"data: a", []),
    ("unfinished event is dropped, LF", b"data: a\n", []),
    ("unfinished event is dropped, CR", b"data: a\r", []),
    ("unfinished event is dropped, CRLF", b"data: a\r\n", []),
    ("unfinished second event is dropped", b"data: a\n\ndata: b\n", sse_events("a")),
    ("unfinished second line is dropped", b"data: a\n\ndata: b", sse_events("a")),
    ("unfinished third line is dropped", b"data: a\n\ndata: b\ndata: c", sse_events("a")),
    ("ends with LF CR", b"data: a\n\r", sse_events("a")),
    ("ends with CRLF CR", b"data: a\r\n\r", sse_events("a")),
    ("ends in a comment", b"data: a\n\n: bye", sse_events("a")),
    ("ends in a field name", b"data: a\n\ndat", sse_events("a")),
    ("ends in half a character", b"data: a\n\ndata: \xe2\x82", sse_events("a")),
    # The byte order mark
    ("BOM", SSE_BOM + b"data: a\n\n", sse_events("a")),
    ("BOM before a comment", SSE_BOM + b": x\ndata: a\n\n", sse_events("a")),
    ("BOM before a blank line", SSE_BOM + b"\ndata: a\n\n", sse_events("a")),
    ("BOM before CR", SSE_BOM + b"\r\ndata: a\r\r", sse_events("a")),
    (
        "second BOM is part of the name",
        SSE_BOM + SSE_BOM + b"data: a\n\ndata: b\n\n",
        sse_events("b"),
    ),
    (
        "BOM before a later event",
        b"data: a\n\n" + SSE_BOM + b"data: b\n\ndata: c\n\n",
        sse_events("a", "c"),
    ),
    ("BOM before a later line", b"data: a\n" + SSE_BOM + b"data: b\n\n", sse_events("a")),
    (
        "BOM after a first blank line",
        b"\n" + SSE_BOM + b"data: a\n\ndata: b\n\n",
        sse_events("b"),
    ),
    ("BOM in data", b"data: " + SSE_BOM + b"a\n\n", sse_events("\ufeffa")),
    ("BOM as data after a BOM", SSE_BOM + b"data:" + SSE_BOM + b"\n\n", sse_events("\ufeff")),
    ("two bytes of a BOM", b"\xef\xbbdata: a\n\ndata: b\n\n", sse_events("b")),
    ("one byte of a BOM", b"\xefdata: a\n\ndata: b\n\n", sse_events("b")),
    ("two bytes of a BOM, then a line's end", b"\xef\xbb\ndata: a\n\n", sse_events("a")),
    ("two bytes of a BOM and no more", b"\xef\xbb", []),
    ("BOM of UTF-16", b"\xff\xfedata: a\n\ndata: b\n\n", sse_events("b")),
    # The colon and the space
    ("no space", b"data:a\n\n", sse_events("a")),
    ("one space", b"data: a\n\n", sse_events("a")),
    ("two spaces", b"data:  a\n\n", sse_events(" a")),
    ("a space at the end stays", b"data: a \n\n", sse_events("a ")),
    ("a tab stays", b"data:\ta\n\n", sse_events("\ta")),
    ("a space and a tab", b"data: \ta\n\n", sse_events("\ta")),
    ("a no-break space stays", b"data:\xc2\xa0a\n\n", sse_events("\xa0a")),
    ("a space before the colon", b"data : a\ndata: b\n\n", sse_events("b")),
    ("a space before the name", b" data: a\ndata: b\n\n", sse_events("b")),
    ("a tab before the name", b"\tdata: a\ndata: b\n\n", sse_events("b")),
    ("colons in the value", b"data: a:b: c\n\n", sse_events("a:b: c")),
    ("a colon first in the value", b"data::a\n\n", sse_events(":a")),
    ("a space and a colon first in the value", b"data: :a\n\n", sse_events(":a")),
    ("a line of one space", b"data: a\n \ndata: b\n\n", sse_events("a\nb")),
    ("lines of white space", b"data: a\n\t\ndata: b\n \t \n\n", sse_events("a\nb")),
    # data
    ("no value", b"data:\n\n", sse_events("")),
    ("no value but a space", b"data: \n\n", sse_events("")),
    ("no value but two spaces", b"data:  \n\n", sse_events(" ")),
    ("no colon", b"data\n\n", sse_events("")),
    ("no colon, twice", b"data\ndata\n\n", sse_events("\n")),
    ("two lines", b"data: a\ndata: b\n\n", sse_events("a\nb")),
    ("three lines, one of them empty", b"data: a\ndata\ndata: c\n\n", sse_events("a\n\nc")),
    ("empty first line", b"data:\ndata: b\n\n", sse_events("\nb")),
    ("empty last line", b"data: a\ndata:\n\n", sse_events("a\n")),
    ("empty events between others", b"data\n\ndata: a\n\ndata:\n\n", sse_events("", "a", "")),
    ("data of one event stays in it", b"data: a\n\ndata: b\n\n", sse_events("a", "b")),
    ("NUL in data", b"data: a\0b\n\n", sse_events("a\0b")),
    ("NUL as data", b"data:\0\n\n", sse_events("\0")),
    ("JSON", b'data: {"a": "b: c\\n"}\n\n', sse_events('{"a": "b: c\\n"}')),
    ("the end of a chat", b"data: {}\n\ndata: [DONE]\n\n", sse_events("{}", "[DONE]")),
    ("a longer line", b"data:" + b"x" * 300 + b"\n\n", sse_events("x" * 300)),
    # Names of fields
    ("capitals are other names", b"Data: a\nDATA: b\ndata: c\n\n", sse_events("c")),
    ("a longer name", b"datas: a\nda-ta: b\ndata: c\n\n", sse_events("c")),
    ("a shorter name", b"dat: a\nd: b\ndata: c\n\n", sse_events("c")),
    ("a name that begins as another", b"data_x\ndatadata: b\ndata: c\n\n", sse_events("c")),
    ("NUL in a name", b"data\0: a\n\0data: b\ndata: c\n\n", sse_events("c")),
    ("unknown fields", b"foo: a\nbar\ndata: x\nbaz:\n\n", sse_events("x")),
    ("unknown fields make no event", b"foo: a\n\nbar: b\n\ndata: x\n\n", sse_events("x")),
    ("markup", b"<p>no\n</p>\n\ndata: a\n\n", sse_events("a")),
    ("JSON without a field", b'{"data": "a"}\n\ndata: b\n\n', sse_events("b")),
    # Comments
    ("comment between data lines", b"data: a\n: hi\ndata: b\n\n", sse_events("a\nb")),
    ("comment of a colon", b":\ndata: a\n:\n\n", sse_events("a")),
    ("comment that looks like data", b":data: a\n: data: b\ndata: c\n\n", sse_events("c")),
    ("comment of two colons", b"::data: a\ndata: b\n\n", sse_events("b")),
    ("keep-alive comments", b": ping\n\n: ping\n\ndata: a\n\n: ping\n\n", sse_events("a")),
    ("comment with NUL", b":\0\ndata: a\n\n", sse_events("a")),
    ("comment with bad UTF-8", b": \xff\xfe\ndata: a\n\n", sse_events("a")),
    ("comment ended by CR", b": a\rdata: b\r\r", sse_events("b")),
    ("comment does not end an event", b"data: a\n:\n", []),
    # event
    ("event", b"event: add\ndata: a\n\n", [sse_event("a", "add")]),
    ("event after data", b"data: a\nevent: add\n\n", [sse_event("a", "add")]),
    ("event without space", b"event:add\ndata: a\n\n", [sse_event("a", "add")]),
    ("event with two spaces", b"event:  add \ndata: a\n\n", [sse_event("a", " add ")]),
    ("event twice, the last one counts", b"event: a\nevent: b\ndata: x\n\n", [sse_event("x", "b")]),
    ("event emptied", b"event: a\nevent:\ndata: x\n\n", sse_events("x")),
    ("event emptied without colon", b"event: a\nevent\ndata: x\n\n", sse_events("x")),
    ("event emptied by a space", b"event: a\nevent: \ndata: x\n\n", sse_events("x")),
    (
        "event is forgotten",
        b"event: a\ndata: x\n\ndata: y\n\n",
        [sse_event("x", "a"), sse_event("y")],
    ),
    ("event without data is no event", b"event: a\n\n", []),
    ("event without data is forgotten", b"event: a\n\ndata: x\n\n", sse_events("x")),
    ("event with empty data", b"event: a\ndata:\n\n", [sse_event("", "a")]),
    ("event with NUL", b"event: a\0b\ndata: x\n\n", [sse_event("x", "a\0b")]),
    ("event beyond ASCII", b"event: \xc3\xa9\ndata: x\n\n", [sse_event("x", "\xe9")]),
    ("event with bad UTF-8", b"event: \xff\ndata: x\n\n", [sse_event("x", "\ufffd")]),
    ("event named message", b"event: message\ndata: x\n\n", sse_events("x")),
    ("event named data", b"event: data\ndata: event\n\n", [sse_event("event", "data")]),
    ("Event is another name", b"Event: a\ndata: x\n\n", sse_events("x")),
    # id
    ("id", b"id: 7\ndata: a\n\n", [sse_event("a", id="7")]),
    ("id after data", b"data: a\nid: 7\n\n", [sse_event("a", id="7")]),
    (
        "id persists",
        b"id: 7\ndata: a\n\ndata: b\n\n",
        [sse_event("a", id="7"), sse_event("b", id="7")],
    ),
    ("id twice, the last one counts", b"id: 1\nid: 2\ndata: a\n\n", [sse_event("a", id="2")]),
    (
        "id changes",
        b"id: 1\ndata: a\n\nid: 2\ndata: b\n\n",
        [sse_event("a", id="1"), sse_event("b", id="2")],
    ),
    ("id emptied", b"id: 1\ndata: a\n\nid:\ndata: b\n\n", [sse_event("a", id="1"), sse_event("b")]),
    (
        "id emptied without colon",
        b"id: 1\ndata: a\n\nid\ndata: b\n\n",
        [sse_event("a", id="1"), sse_event("b")],
    ),
    ("id emptied by a space", b"id: 1\n\nid: \ndata: b\n\n", sse_events("b")),
    ("id without data persists", b"id: 1\n\ndata: a\n\n", [sse_event("a", id="1")]),
    ("id without data is no event", b"id: 1\n\n", []),
    ("id with two spaces", b"id:  1 \ndata: a\n\n", [sse_event("a", id=" 1 ")]),
    ("id beyond ASCII", b"id: \xe2\x82\xac\ndata: a\n\n", [sse_event("a", id="\u20ac")]),
    ("id with NUL is ignored", b"id: 1\0\ndata: a\n\n", sse_events("a")),
    ("id of NUL is ignored", b"id:\0\ndata: a\n\n", sse_events("a")),
    ("id with NUL leaves the last one", b"id: 1\nid: 2\0\ndata: a\n\n", [sse_event("a", id="1")]),
    (
        "id with NUL leaves an earlier event's",
        b"id: 1\n\nid: \x002\ndata: a\n\n",
        [sse_event("a", id="1")],
    ),
    ("id after an id with NUL", b"id: 1\0\nid: 2\ndata: a\n\n", [sse_event("a", id="2")]),
    ("id of an unfinished event", b"id: 1\ndata: a\n\nid: 2\ndata: b\n", [sse_event("a", id="1")]),
    ("ID is another name", b"ID: 1\nId: 2\ndata: a\n\n", sse_events("a")),
    ("id with bad UTF-8", b"id: \xff\ndata: a\n\n", [sse_event("a", id="\ufffd")]),
    # retry
    sse_retry(b"1000", 1000),
    sse_retry(b" 1000", 1000),
    sse_retry(b"0", 0),
    sse_retry(b"007", 7),
    sse_retry(b"123456789012345", 123456789012345),
    sse_retry(b"", None),
    sse_retry(b" ", None),
    sse_retry(b"  5", None),
    sse_retry(b"5 ", None),
    sse_retry(b"\t5", None),
    sse_retry(b"+5", None),
    sse_retry(b"-5", None),
    sse_retry(b"1_000", None),
    sse_retry(b"+1_0", None),
    sse_retry(b"1,000", None),
    sse_retry(b"1.0", None),
    sse_retry(b"1e3", None),
    sse_retry(b"0x10", None),
    sse_retry(b"5s", None),
    sse_retry(b"ten", None),
    sse_retry(b"5\0", None),
    sse_retry("\u0665".encode(), None),  # ARABIC-INDIC DIGIT FIVE, which int() takes
    sse_retry("5\u0665".encode(), None),
    sse_retry("\uff15".encode(), None),  # FULLWIDTH DIGIT FIVE
    sse_retry("\u00b2".encode(), None),  # SUPERSCRIPT TWO, which str.isdigit() takes
    sse_retry(b"\xff", None),
    ("retry without colon", b"retry\ndata: a\n\n", sse_events("a")),
    ("retry after data", b"data: a\nretry: 5\n\n", [sse_event("a", retry=5)]),
    (
        "retry twice, the last one counts",
        b"retry: 5\nretry: 6\ndata: a\n\n",
        [sse_event("a", retry=6)],
    ),
    (
        "a bad retry leaves the last one",
        b"retry: 5\nretry: x\ndata: a\n\n",
        [sse_event("a", retry=5)],
    ),
    (
        "retry is its own block's",
        b"retry: 5\ndata: a\n\ndata: b\n\n",
        [sse_event("a", retry=5), sse_event("b")],
    ),
    ("retry without data is no event", b"retry: 5\n\n", []),
    ("retry without data is forgotten", b"retry: 5\n\ndata: a\n\n", sse_events("a")),
    ("Retry is another name", b"Retry: 5\ndata: a\n\n", sse_events("a")),
    # UTF-8
    sse_utf8("two bytes", b"\xc3\xa9", "\xe9"),
    sse_utf8("three bytes", b"\xe2\x82\xac", "\u20ac"),
    sse_utf8("four bytes", b"\xf0\x9f\x98\x80", "\U0001f600"),
    sse_utf8("combining marks stay", b"e\xcc\x81", "e\u0301"),
    sse_utf8("a noncharacter", b"\xef\xbf\xbe", "\ufffe"),
    sse_utf8("the replacement character itself", b"\xef\xbf\xbd", "\ufffd"),
    sse_utf8("a byte that never stands", b"a\xffb", "a\ufffdb"),
    sse_utf8("a continuation alone", b"a\x80b", "a\ufffdb"),
    sse_utf8("NEL as one byte", b"a\x85b", "a\ufffdb"),
    sse_utf8("half of two", b"\xc3", "\ufffd"),
    sse_utf8("two of three", b"\xe2\x82", "\ufffd"),
    sse_utf8("two of three, then ASCII", b"\xe2\x82a", "\ufffda"),
    sse_utf8("three of four", b"\xf0\x9f\x98", "\ufffd"),
    sse_utf8("three of four, then another", b"\xf0\x9f\x98\xc3\xa9", "\ufffd\xe9"),
    sse_utf8("overlong slash", b"\xc0\xaf", "\ufffd\ufffd"),
    sse_utf8("overlong LF", b"a\xc0\x8ab", "a\ufffd\ufffdb"),
    sse_utf8("a surrogate", b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
    sse_utf8("over U+10FFFF", b"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"),
    sse_utf8("Latin-1", b"caf\xe9", "caf\ufffd"),
    ("bad UTF-8 before CRLF", b"data: \xe2\x82\r\n\r\n", sse_events("\ufffd")),
    ("bad UTF-8 swallows no line", b"data: \xe2\ndata: \xf0\x9f\r\r", sse_events("\ufffd\n\ufffd")),
    ("bad UTF-8 in a name", b"dat\xffa: a\n\xffdata: b\ndata: c\n\n", sse_events("c")),
    # The examples of the standard
    (
        "standard: stocks",
        b"data: YHOO\ndata: +2\ndata: 10\n\n",
        sse_events("YHOO\n+2\n10"),
    ),
    (
        "standard: four blocks",
        b": test stream\n\ndata: first event\nid: 1\n\n"
        b"data:second event\nid\n\ndata:  third event\n",
        [sse_event("first event", id="1"), sse_event("second event")],
    ),
    ("standard: two events of three", b"data\n\ndata\ndata\n\ndata:", sse_events("", "\n")),
    ("standard: the space", b"data:test\n\ndata: test\n\n", sse_events("test", "test")),
    (
        "all fields in one block",
        b"retry: 9\r\nevent: e\r\nid: i\r\n: c\r\nx: y\r\ndata: d\r\ndata: f\r\n\r\n",
        [sse_event("d\nf", "e", "i", 9)],
    ),
    (
        "field parsing",
        b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n"
        b" data:32\ndata:4\n\n",
        sse_events("\0\n 2\n1\n3\n\n4"),
    ),
    ("newlines", b"data:test\r\ndata\ndata:test\r\n\r", sse_events("test\n\ntest")),
]


def sse_read(pieces, **limits) -> list:
    events = openai_mini.iter_sse(pieces, **limits)
    return [(event.event, event.data, event.id, event.retry) for event in events]


def sse_cut_anywhere(stream: bytes, rng: random.Random) -> list:
    """The stream in pieces of random length, some of them empty."""
    edges = sorted(rng.randrange(len(stream) + 1) for _ in range(rng.randrange(12)))
    return [stream[a:b] for a, b in zip([0] + edges, edges + [len(stream)])]


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


sse_table = pytest.mark.parametrize(
    "stream, expected", [pytest.param(*case[1:], id=case[0]) for case in SSE_CASES]
)


def test_the_table_of_event_streams_names_each_case_once():
    assert len({case[0] for case in SSE_CASES}) == len(SSE_CASES) >= 120


@sse_table
def test_a_stream_is_read_by_the_standard_wherever_it_is_cut(stream, expected):
    """Whole, byte by byte, cut in two at every place, and cut at random."""
    assert sse_read([stream]) == expected
    assert sse_read([stream[i : i + 1] for i in range(len(stream))]) == expected
    for i in range(len(stream) + 1):
        assert sse_read([stream[:i], stream[i:]]) == expected, "cut at %d" % i
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(20):
        pieces = sse_cut_anywhere(stream, rng)
        assert sse_read(pieces) == expected, "seed %d, pieces %r" % (seed, pieces)


def test_the_table_agrees_with_the_model():
    """So an error in either is noticed: the model is what random streams are held against."""
    wrong = [case[0] for case in SSE_CASES if sse_model(case[1]) != case[2]]
    assert wrong == []


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview], ids=lambda kind: kind.__name__)
def test_pieces_may_be_of_any_bytes_like_kind(kind):
    for _, stream, expected in SSE_CASES:
        for size in (1, 2, 7, 1000):
            pieces = [kind(stream[i : i + size]) for i in range(0, len(stream), size)]
            assert sse_read(pieces) == expected


def test_a_buffer_may_be_used_again_for_the_next_piece():
    """As with recv_into: what a piece held is taken before the next one is asked for."""

    def refilled(stream, buffer):
        for i in range(0, len(stream), len(buffer)):
            piece = stream[i : i + len(buffer)]
            buffer[: len(piece)] = piece
            yield memoryview(buffer)[: len(piece)]

    for _, stream, expected in SSE_CASES:
        for size in (1, 2, 3, 5, 16):
            assert sse_read(refilled(stream, bytearray(size))) == expected


def test_empty_pieces_change_nothing():
    for _, stream, expected in SSE_CASES:
        pieces = [b""]
        for i in range(len(stream)):
            pieces += [stream[i : i + 1], b"", b""]
        assert sse_read(pieces) == expected


def test_any_iterable_of_bytes_is_taken():
    for iterable in (
        [b"data: a\n\n"],
        (b"data: a\n\n",),
        iter([b"data: a\n\n"]),
        {b"data: a\n\n": 1},
    ):
        assert sse_read(iterable) == sse_events("a")
    assert sse_read([]) == []


# Promptness


class SseTooFar(Exception):
    """The parser asked for more than it needed."""


def sse_no_further(*pieces):
    yield from pieces
    raise SseTooFar


SSE_BLANK_LINES = [
    a + b for a in (b"\n", b"\r\n", b"\r") for b in (b"\n", b"\r\n", b"\r") if a + b != b"\r\n"
]


@pytest.mark.parametrize("ends", SSE_BLANK_LINES, ids=repr)
@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
def test_an_event_is_yielded_as_soon_as_its_blank_line_has_come(ends, bytewise):
    """A CR may be half of a CRLF, but the line that it ends has ended: nobody waits for the LF."""
    if ends.endswith(b"\r\n"):
        ends = ends[:-1]  # its CR is enough
    stream = b"id: 1" + ends[:1] + b"data: a" + ends
    pieces = [stream[i : i + 1] for i in range(len(stream))] if bytewise else [stream]
    events = openai_mini.iter_sse(sse_no_further(*pieces))
    first = next(events)
    assert (first.data, first.id) == ("a", "1")
    with pytest.raises(SseTooFar):
        next(events)


def test_all_events_of_a_piece_are_yielded_before_the_next_is_asked_for():
    events = openai_mini.iter_sse(
        sse_no_further(b"data: 1\n\ndata: 2\r\n\r\ndata: 3\r\rdata: 4\n\ndata: 5\n")
    )
    assert [event.data for event in itertools.islice(events, 4)] == ["1", "2", "3", "4"]
    with pytest.raises(SseTooFar):
        next(events)


def test_an_event_is_yielded_at_once_though_the_stream_began_like_a_byte_order_mark():
    for start in (b"", b"\xef", b"\xef\xbb", SSE_BOM):
        events = openai_mini.iter_sse(sse_no_further(start, b"\ndata: a\n\n"))
        assert next(events).data == "a"


def test_nothing_is_asked_for_before_the_first_event_is():
    openai_mini.iter_sse(sse_no_further())


def test_what_the_source_raises_comes_through():
    events = openai_mini.iter_sse(sse_no_further(b"data: a\n\ndata: b"))
    assert next(events).data == "a"
    with pytest.raises(SseTooFar):
        next(events)
    assert list(events) == []


def test_the_lf_of_a_crlf_that_comes_late_ends_nothing_more():
    pieces = [b"data: a\r", b"\ndata: b\r", b"\n", b"\r", b"\n", b"data: c\r", b"", b"\n\r", b"\n"]
    assert sse_read(pieces) == sse_events("a\nb", "c")


# Limits


def test_an_event_of_exactly_the_limit_passes_and_one_over_it_does_not():
    """Counted with all its bytes it passes; counted with none but those of its data it does not."""
    for limit in (20, 1000, 70000):
        for head, ends in (
            (b"data:", b"\n\n"),
            (b"data: ", b"\r\n\r\n"),
            (b"id: 1\rdata: ", b"\r\r"),
        ):
            fits = head + b"x" * (limit - len(head + ends)) + ends
            over = head + b"x" * (limit + 1) + ends
            for size in (limit, 1000):
                cut_fits = [fits[i : i + size] for i in range(0, len(fits), size)]
                cut_over = [over[i : i + size] for i in range(0, len(over), size)]
                assert len(sse_read(cut_fits, max_event_bytes=limit)) == 1
                with pytest.raises(openai_mini.APIResponseError):
                    sse_read(cut_over, max_event_bytes=limit)


SSE_ENDLESS = {  # what a stream that never ends its event repeats, after what it begins with
    "a line of data": (b"data: ", b"x" * 100),
    "an empty line of data, again and again": (b"", b"data\n"),
    "lines of data": (b"", b"data: " + b"x" * 100 + b"\n"),
    "lines of data ended by CR": (b"", b"data: " + b"x" * 100 + b"\r"),
    "an event's name": (b"event: ", b"x" * 100),
    "an id": (b"data: 1\nid: ", b"x" * 100),
    "a retry": (b"retry: ", b"9" * 100),
    "a field of another name": (b"foo: ", b"x" * 100),
    "a name without a colon": (b"", b"x" * 100),
    "a name like data": (b"", b"data" * 25),
    "a line after an event": (b"data: 1\n\ndata: ", b"x" * 100),
}


@pytest.mark.parametrize("start, again", list(SSE_ENDLESS.values()), ids=list(SSE_ENDLESS))
@pytest.mark.parametrize("size", [1, 100, 5000])
def test_an_event_over_the_limit_is_refused_and_not_read_to_its_end(start, again, size):
    limit, taken = 10000, []

    def endless():
        stream = itertools.chain(start, itertools.cycle(again))
        while True:
            piece = bytes(itertools.islice(stream, size))
            taken.append(len(piece))
            assert sum(taken[-2:]) and len(taken) * size < 20 * limit, "no end to what it takes"
            yield piece

    events = openai_mini.iter_sse(endless(), max_event_bytes=limit)
    with pytest.raises(openai_mini.APIResponseError) as caught:
        for event in events:
            assert event.data == "1"
    assert str(caught.value)
    assert list(events) == []


def test_what_was_complete_before_an_event_over_the_limit_is_yielded():
    stream = b"data: 1\n\ndata: 2\n\ndata: " + b"x" * 5000
    for pieces in ([stream], [stream[i : i + 7] for i in range(0, len(stream), 7)]):
        got = []
        with pytest.raises(openai_mini.APIResponseError):
            for event in openai_mini.iter_sse(pieces, max_event_bytes=100):
                got.append(event.data)
        assert got == ["1", "2"]


def test_the_limit_is_that_of_one_event_not_of_the_stream_nor_of_a_piece():
    stream = b"event: e\ndata: abc\ndata: def\n\n" * 1000
    expected = [sse_event("abc\ndef", "e")] * 1000
    for size in (1, 10, 1000, len(stream)):
        pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
        assert sse_read(pieces, max_event_bytes=100) == expected


def test_keep_alive_comments_are_no_part_of_an_event():
    """Hours of them, also within an event that is being sent, are within any limit."""
    for ping in (b": ping\n", b":\n", b": ping\r", b": ping\r\n", b": ping\n\n"):
        stream = [b"data: a\n\n"] + [ping] * 1000 + [b"data: b\n\n"]
        assert sse_read(stream, max_event_bytes=100) == sse_events("a", "b")
    stream = [b"data: a\n"] + [b": ping\n"] * 1000 + [b"data: b\n\n"]
    assert sse_read(stream, max_event_bytes=100) == sse_events("a\nb")


def test_the_default_limit_lets_a_picture_through():
    """Streams of images hold some MB of base64 in one event; 64 MB in a line are no event."""
    piece = b"x" * (1 << 16)
    stream = [b"data: "] + [piece] * 192 + [b"\n\n"]
    assert [len(data) for _, data, _, _ in sse_read(stream)] == [192 << 16]
    with pytest.raises(openai_mini.APIResponseError):
        sse_read(itertools.chain([b"data: "], itertools.repeat(piece, 1024)))


SSE_UNHELD = {  # what may come for ever without an event: each line is short, or a comment
    "a comment without an end": (b": ", b"x" * 100),
    "comments": (b"", b": " + b"x" * 97 + b"\n"),
    "comments within an event": (b"data: a\n", b": " + b"x" * 97 + b"\n"),
    "fields of another name": (b"", b"foo: " + b"x" * 94 + b"\n"),
    "names of the event": (b"", b"event: " + b"x" * 92 + b"\n"),
    "ids": (b"", b"id: " + b"x" * 95 + b"\n"),
    "ids with blank lines": (b"", b"id: " + b"x" * 94 + b"\n\n"),
    "retries": (b"", b"retry: " + b"9" * 92 + b"\n"),
    "blank lines": (b"", b"\n" * 100),
    "blank CRLF lines": (b"", b"\r\n" * 50),
}


@pytest.mark.parametrize("start, again", list(SSE_UNHELD.values()), ids=list(SSE_UNHELD))
def test_what_makes_no_event_takes_no_memory(start, again):
    """Refused at the limit or passed over, but not kept: 100 KB under a limit of 8 KB."""
    pieces = itertools.chain([start], itertools.repeat(again * 10, 100))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with contextlib.suppress(openai_mini.APIResponseError):
            assert list(openai_mini.iter_sse(pieces, max_event_bytes=1 << 13)) == []
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 50000


def test_a_retry_is_read_however_many_digits_it_has():
    """More than 64 bits hold; the fewest that int() can be told to refuse are over 640."""
    for digits in (19, 20, 40, 640):
        stream = b"retry: " + b"9" * digits + b"\ndata: a\n\n"
        assert sse_read([stream]) == [sse_event("a", retry=int("9" * digits))]


def test_a_retry_of_thousands_of_digits_is_no_foreign_error():
    """int() refuses over 4,300 digits: such a field may be ignored, but nothing else may happen."""
    events = sse_read([b"retry: " + b"9" * 5000 + b"\ndata: a\n\n"])
    assert [event[:3] for event in events] == [("message", "a", "")]


# Linear in the bytes

# (what a stream begins with, repeats and ends with, the size of its pieces, its length)
SSE_LONG = {
    "one line in small pieces": (b"data: ", b"x" * 512, b"\n\n", 512, 1 << 20),
    "one line with a CR last": (b"data: ", b"x" * 512, b"\r\r", 512, 1 << 20),
    "many data lines in small pieces": (b"", b"data: " + b"x" * 57 + b"\n", b"\n", 512, 1 << 20),
    "a comment in small pieces": (b": ", b"x" * 512, b"\n\n", 512, 1 << 20),
    "many events in one piece": (b"", b"data: 12345678\n\n", b"", 1 << 30, 1 << 16),
    "many CR events in one piece": (b"", b"data: 12345678\r\r", b"", 1 << 30, 1 << 16),
    "many data lines in one piece": (b"", b"data: 123456789\n", b"\n", 1 << 30, 1 << 16),
    "one CR far from all LF": (b"\r", b"data: 12345678\n\n", b"", 1 << 30, 1 << 16),
    "one LF far from all CR": (b"\n", b"data: 12345678\r\r", b"", 1 << 30, 1 << 16),
    "blank lines in one piece": (b"", b"\n", b"", 1 << 30, 1 << 16),
    "colons": (b"data: ", b":" * 512, b"\n\n", 512, 1 << 20),
}


def sse_cpu_s(start: bytes, again: bytes, end: bytes, size: int, length: int) -> float:
    """The least of two: seconds that this thread computes to read a stream of that length."""
    stream = start + again * (length // len(again)) + end
    pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
    took = []
    for _ in range(2):
        begun = time.thread_time()
        for _event in openai_mini.iter_sse(pieces):
            pass
        took.append(time.thread_time() - begun)
    return min(took)


@pytest.mark.parametrize("shape", list(SSE_LONG.values()), ids=list(SSE_LONG))
def test_the_time_is_linear_in_the_bytes(shape):
    """Eight times the bytes take about 8 times as long, 64 times if it were quadratic.

    A quarter of a second is short enough whatever the factor: times that small say little.
    """
    eight_fold_s = sse_cpu_s(*shape[:-1], 8 * shape[-1])
    assert eight_fold_s < 0.25 or eight_fold_s < 30 * sse_cpu_s(*shape)


# Random streams

# fmt: off
SSE_TOKENS = [
    b"data", b"data:", b"data: ", b"event", b"event: e", b"id", b"id: ", b"retry", b"retry: 1",
    b":", b"\x20", b"\x20\x20", b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", SSE_BOM,
    SSE_BOM[:1], SSE_BOM[1:], b"\0", b"x", b"1", b"+", b"_", b"[DONE]", b"\xc3\xa9", b"\xc3",
    b"\xa9", b"\xe2\x80\xa8", b"\xe2\x80", b"\xf0\x9f\x98\x80", b"\xf0\x9f", b"\xff", b"\xc2\x85",
    b"\x85", b"\x0b", b"\x0c", b"\x1c", b"\t", b"\xd9\xa5", b"Data: ", b"foo: bar",
]
# fmt: on
sse_streams = st.lists(st.sampled_from(SSE_TOKENS), max_size=40).map(b"".join)


@hypothesis.given(sse_streams, st.randoms(use_true_random=False))
@hypothesis.settings(max_examples=400)
def test_any_stream_reads_as_the_model_reads_it(stream, rng):
    expected = sse_model(stream)
    assert sse_read([stream]) == expected
    assert sse_read([stream[i : i + 1] for i in range(len(stream))]) == expected
    assert sse_read(sse_cut_anywhere(stream, rng)) == expected


@hypothesis.given(st.binary(max_size=200), st.randoms(use_true_random=False))
def test_any_bytes_read_as_the_model_reads_them(stream, rng):
    stream = SSE_BOM[: rng.randrange(4)] + b"data:" + stream + b"\n\nid:" + stream + b"\r\rdata\n\n"
    assert sse_read(sse_cut_anywhere(stream, rng)) == sse_model(stream)


@hypothesis.given(sse_streams, st.randoms(use_true_random=False), st.integers(0, 60))
def test_a_limit_lets_no_event_change(stream, rng, limit):
    """Under a limit a stream reads as without it, or as far as that and then an error."""
    expected, got = sse_model(stream), []
    events = openai_mini.iter_sse(sse_cut_anywhere(stream, rng), max_event_bytes=limit)
    try:
        for event in events:
            got.append((event.event, event.data, event.id, event.retry))
    except openai_mini.APIResponseError:
        assert got == expected[: len(got)]
    else:
        assert got == expected
        assert all(len(event[1].encode()) <= 3 * limit for event in got)  # U+FFFD is 3 bytes for 1


# ------------------------------------------------------------------------------------------------
# Errors


# Every error class and attribute, each shape in which servers tell of errors, and what must not be
# in any of it: a key.

ERRORS_TREE = {  # class: (base, status)
    "APIError": ("OpenAIError", None),
    "APIConnectionError": ("APIError", None),
    "APITimeoutError": ("APIConnectionError", None),
    "APIStatusError": ("APIError", None),
    "APIResponseError": ("APIError", None),
    "StreamInterruptedError": ("APIError", None),
    "BadRequestError": ("APIStatusError", 400),
    "AuthenticationError": ("APIStatusError", 401),
    "PermissionDeniedError": ("APIStatusError", 403),
    "NotFoundError": ("APIStatusError", 404),
    "ConflictError": ("APIStatusError", 409),
    "UnprocessableEntityError": ("APIStatusError", 422),
    "RateLimitError": ("APIStatusError", 429),
    "InternalServerError": ("APIStatusError", 500),
    "CircuitOpenError": ("OpenAIError", None),
    "QueueFullError": ("OpenAIError", None),
    "QueueTimeoutError": ("OpenAIError", None),
    "ToolLoopError": ("OpenAIError", None),
    "ValidationError": ("OpenAIError", None),
}


@pytest.fixture
def errors_once(server, client):
    """Has the server give an answer to one attempt at chat() and returns the error."""

    def raised(answer, call=None, **options):
        server.script(answer)
        with pytest.raises(openai_mini.OpenAIError) as caught:
            once = client.with_options(**{"max_retries": 0, **options})
            call(once) if call else once.chat("hi")
        return caught.value

    return raised


def test_the_errors_are_the_tree_that_the_contract_draws():
    for name, (base, _) in ERRORS_TREE.items():
        assert getattr(openai_mini, name).__bases__[0] is getattr(openai_mini, base), name
    assert openai_mini.OpenAIError.__bases__ == (Exception,)
    assert issubclass(openai_mini.ValidationError, ValueError)


@pytest.mark.parametrize(
    "status, name",
    [(status, name) for name, (_, status) in ERRORS_TREE.items() if status]
    + [(402, "APIStatusError"), (408, "APIStatusError"), (413, "APIStatusError")]
    + [(418, "APIStatusError"), (302, "APIStatusError"), (501, "InternalServerError")]
    + [(502, "InternalServerError"), (503, "InternalServerError"), (504, "InternalServerError")]
    + [(529, "InternalServerError"), (599, "InternalServerError")],
)
def test_each_status_has_its_class_and_flags(errors_once, status, name):
    error = errors_once(Answer(status, json={"error": {"message": "so it is"}}))
    assert type(error) is getattr(openai_mini, name)
    assert error.status_code == error.response.status_code == status
    assert "so it is" in error.message and str(status) in str(error)
    assert error.is_auth_error is (status in (401, 403))
    assert error.is_rate_limit_error is (status == 429)
    assert error.is_transient_error is (status in (408, 409, 429) or status >= 500)


def test_an_error_has_all_that_the_server_said(errors_once):
    inner = {"message": "too hot", "type": "invalid_request_error", "param": "t", "code": "c1"}
    headers = {"x-request-id": "req_7", "retry-after": "2"}
    error = errors_once(Answer(400, json={"error": dict(inner, more=[1])}, headers=headers))
    assert (error.code, error.type, error.param) == ("c1", "invalid_request_error", "t")
    assert error.body == dict(inner, more=[1])
    assert error.request_id == error.response.request_id == "req_7"
    assert error.retry_after == 2
    assert error.response.headers["X-Request-Id"] == "req_7"
    assert error.response.json()["error"]["more"] == [1] and "too hot" in error.response.text


def test_an_error_made_by_hand_has_every_attribute():
    for name in ERRORS_TREE:
        error = getattr(openai_mini, name)("what happened")
        assert str(error) == error.message == "what happened"
        for attribute in "code type param body request_id status_code retry_after response".split():
            assert getattr(error, attribute) is None
        assert error.partial is None
        assert error.is_auth_error is error.is_rate_limit_error is False or "RateLimit" in name


ERROR_SHAPES = {  # body: (what the message has of it, code, body)
    '{"error": {"message": "m1", "code": "c"}}': ("m1", "c", {"message": "m1", "code": "c"}),
    '{"error": {"message": "m1", "code": 17}}': ("m1", 17, {"message": "m1", "code": 17}),
    '{"error": "in words"}': ("in words", None, "in words"),
    '{"message": "in words", "code": "c"}': ("in words", "c", {"message": "in words", "code": "c"}),
    '{"object": "error", "message": "vllm", "code": 40}': ("vllm", 40, None),
    '{"detail": "in words"}': ("in words", None, "in words"),
    '{"detail": {"message": "deeper", "code": "c"}}': ("deeper", "c", None),
    '{"detail": [{"loc": ["body", "n"], "msg": "too many"}]}': ("body.n: too many", None, None),
    '{"detail": ["a", "b"]}': ("a; b", None, None),
    '{"errors": [{"message": "first"}, {"message": "second"}]}': ("first; second", None, None),
    '[{"error": {"message": "of google", "status": "X"}}]': ("of google", None, None),
    '{"error": {"message": null, "detail": "aside"}}': ("aside", None, None),
    '{"error": {"code": "only_code"}}': ("only_code", "only_code", None),
    '{"error": true, "message": "beside"}': ("beside", None, None),
    '{"error": {}, "message": "beside"}': ("beside", None, None),
    '{"error": null, "detail": "beside"}': ("beside", None, None),
    '{"fault": {"faultstring": "apigee"}}': ("apigee", None, None),
    '{"error": {"message": {"text": "inner"}}}': ("inner", None, None),
    '{"error": [{"message": "in a list"}]}': ("in a list", None, None),
    '"a string"': ("a string", None, "a string"),
    "17": ("17", None, None),
    "null": ("", None, None),
    "[]": ("", None, None),
    "{}": ("", None, None),
    "": ("", None, None),
    "plain words": ("plain words", None, "plain words"),
    "<html><head><title>502 Bad &amp; Sad</title></head><body>x</body></html>": (
        "an HTML page: 502 Bad", None, None
    ),
    "<!DOCTYPE html>\n<p>no <b>title</b> here": ("no title here", None, None),
    '{"error": {"message": "cut': ('"cut', None, None),
    "\ufeff" + '{"error": {"message": "after a mark"}}': ("after a mark", None, None),
}  # fmt: skip


@pytest.mark.parametrize("body", ERROR_SHAPES)
def test_each_shape_of_error_body_is_read(errors_once, body):
    said, code, inner = ERROR_SHAPES[body]
    error = errors_once(Answer(400, body=body.encode()))
    assert type(error) is openai_mini.BadRequestError
    assert said in error.message and error.message.startswith("POST /chat/completions: 400 ")
    assert error.code == code and (inner is None or error.body == inner)
    assert len(error.message) < 1000 and "\n" not in error.message
    pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"error": {"message": "w " * (5 << 20)}}).encode(),
        json.dumps({"error": {"code": "c", "data": ["w"] * (1 << 18)}}).encode(),
        json.dumps({"detail": [{"loc": ["a"], "msg": "m"}] * (1 << 15)}).encode(),
        b"<html><p>" + b"w " * (5 << 20),
        b"<title" * (10 << 17),
        b"<" * (10 << 20),
        b"[" * (10 << 20),
        b'{"error":' * 100000,
        b'{"error":{"a":' + b"[" * 3000 + b"]" * 3000 + b"}}",
        b"\xff\xfe\0" * (3 << 20),
        b" " * (10 << 20),
        b'{"error": {"message": ' + b"9" * 10000 + b"}}",
        b'{"error": {"message": "\\ud800 alone"}}',
    ],
    ids="words other detail html title angle deep objects nested bytes blank digits lone".split(),
)
def test_a_huge_or_absurd_error_body_makes_a_short_message(errors_once, body):
    error = errors_once(Answer(500, body=body))
    assert type(error) is openai_mini.InternalServerError and error.status_code == 500
    assert 20 < len(error.message) < 1000
    error.message.encode()
    pickle.loads(pickle.dumps(error))


ERROR_CODES = {  # what an error under status 200 says: (class, status)
    "invalid_request_error": ("BadRequestError", 400),
    "context_length_exceeded": ("BadRequestError", 400),
    "invalid_api_key": ("AuthenticationError", 401),
    "authentication_error": ("AuthenticationError", 401),
    "permission_error": ("PermissionDeniedError", 403),
    "model_not_found": ("NotFoundError", 404),
    "rate_limit_exceeded": ("RateLimitError", 429),
    "insufficient_quota": ("RateLimitError", 429),
    "overloaded_error": ("InternalServerError", 529),
    "server_error": ("InternalServerError", 500),
    "nobody_knows": ("InternalServerError", 500),
    "503": ("InternalServerError", 503),
    404: ("NotFoundError", 404),
    "200": ("InternalServerError", 500),
}


@pytest.mark.parametrize("code", ERROR_CODES)
@pytest.mark.parametrize("where", ["json", "first", "later", "event", "type"])
def test_an_error_under_status_200_is_the_one_that_its_code_says(errors_once, code, where):
    name, status = ERROR_CODES[code]
    inner = {"message": "so it is", "code": code}
    told = {
        "json": Answer(json={"error": inner}),
        "first": Answer(sse=[{"error": inner}]),
        "later": Answer(sse=[chunk({"content": "he"}), {"error": inner}]),
        "event": Answer(sse=[chunk({"content": "he"}), ("error", inner)]),
        "type": Answer(sse=[dict(inner, type="error")]),
    }[where]
    error = errors_once(told, None if where == "json" else lambda c: list(c.stream_chat("hi")))
    assert type(error) is getattr(openai_mini, name)
    assert (error.status_code, error.code) == (status, code) and "so it is" in error.message
    assert error.body["message"] == "so it is"
    if where in ("later", "event"):
        assert error.partial.content == "he"


@pytest.mark.parametrize("data", ['{"error": "text"}', "text", '{"error": {"message": "text"}}'])
def test_an_error_event_may_say_it_in_any_shape(errors_once, data):
    answer = Answer(sse=[chunk({"content": "he"}), ("error", data)])
    error = errors_once(answer, lambda c: list(c.stream_chat("hi")))
    assert isinstance(error, openai_mini.InternalServerError) and "text" in error.message


@pytest.mark.parametrize("data", [{"error": None}, {"error": ""}, {"error": {}}])
def test_an_empty_error_is_none(server, client, data):
    """Some servers send the field in each answer."""
    server.script(
        Answer(json=dict(CHAT, **data)), Answer(sse=[dict(c, **data) for c in chunks("a")])
    )
    assert client.chat("hi").content == "hello"
    assert "".join(c.content for c in client.stream_chat("hi")) == "a"


def errors_date(seconds: float, form: str = "%a, %d %b %Y %H:%M:%S GMT") -> str:
    return time.strftime(form, time.gmtime(time.time() + seconds))


RETRY_AFTER = {  # headers: seconds, None for none
    (("retry-after", "7"),): 7,
    (("retry-after", "0"),): 0,
    (("retry-after", " 1.5 "),): 1.5,
    (("retry-after", "00012"),): 12,
    (("retry-after-ms", "1500"),): 1.5,
    (("retry-after-ms", "250.5"), ("retry-after", "9")): 0.2505,
    (("retry-after-ms", "soon"), ("retry-after", "9")): 9,
    (("retry-after", "99999999999999999999"),): 1e20,
    (("retry-after", "-5"),): None,
    (("retry-after", "+5"),): None,
    (("retry-after", "1_0"),): None,
    (("retry-after", "1e3"),): None,
    (("retry-after", "inf"),): None,
    (("retry-after", "nan"),): None,
    (("retry-after", "0x10"),): None,
    (("retry-after", "."),): None,
    (("retry-after", ""),): None,
    (("retry-after", "5, 6"),): None,
    (("retry-after", "soon"),): None,
    (("retry-after", "\xb2"),): None,
    (("retry-after", "9" * 5000),): 1e64,
    (("retry-after", "Mon, 99 Foo 2026 99:99:99 GMT"),): None,
    (("retry-after", "Mon, 01 Jan 99999 00:00:00 GMT"),): None,
    (("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),): 0,
    (("retry-after", "Sunday, 06-Nov-94 08:49:37 GMT"),): 0,
    (("retry-after", "Sun Nov  6 08:49:37 1994"),): 0,
    (): None,
}


@pytest.mark.parametrize("headers", RETRY_AFTER, ids=repr)
def test_retry_after_is_read_in_all_its_forms(errors_once, headers):
    expected = RETRY_AFTER[headers]
    error = errors_once(Answer(429, json={"error": "x"}, headers=headers), max_retry_delay=0)
    if expected is None:
        assert error.retry_after is None
    elif expected < 1e6:
        assert error.retry_after == pytest.approx(expected)
    else:
        assert error.retry_after > 1e6


@pytest.mark.parametrize(
    "form", ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"]
)
def test_retry_after_as_a_date_is_the_seconds_until_then_in_gmt(errors_once, monkeypatch, form):
    if hasattr(time, "tzset"):
        monkeypatch.setenv("TZ", "XYZ5")  # where nobody is on Greenwich time
        time.tzset()
    try:
        header = {"retry-after": errors_date(100, form)}
        error = errors_once(Answer(503, json={"error": "x"}, headers=header), max_retry_delay=0)
        assert 90 < error.retry_after <= 100
    finally:
        monkeypatch.undo()
        if hasattr(time, "tzset"):
            time.tzset()


@pytest.mark.parametrize(
    "answer, words",
    [
        (Answer(401, json={"error": {"message": "no"}}), "API key"),
        (Answer(403, json={}), "project="),
        (Answer(404, json={}), "base_url="),
        (Answer(404, json={"error": {"message": "x", "code": "model_not_found"}}), "list_models()"),
        (Answer(404, json={"error": "The model `y` does not exist"}), "list_models()"),
        (Answer(429, json={}), "rate limit"),
        (Answer(429, json={"error": {"code": "insufficient_quota"}}), "billing"),
        (Answer(413, json={}), "Send less"),
        (Answer(500, json={}), "later"),
        (Answer(302, headers={"location": "https://elsewhere.invalid/"}), "base_url="),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.status),
)
def test_a_message_says_what_where_how_often_and_what_next(errors_once, answer, words):
    message = str(errors_once(answer))
    assert message.startswith("POST /chat/completions: %d " % answer.status)
    assert "after 1 attempt" in message and "attempts" not in message and words in message


def test_a_message_counts_the_attempts(server, client):
    server.script(*[Answer(500, json={"error": "x"})] * 3)
    with pytest.raises(openai_mini.InternalServerError, match="after 3 attempts"):
        client.chat("hi", max_retries=2)
    with pytest.raises(openai_mini.APIConnectionError, match=r"^GET /models: .*after 1 attempt\b"):
        client.with_options(base_url="http://127.0.0.1:1/v1", max_retries=0).list_models()


def test_a_used_up_quota_is_not_transient(errors_once):
    for name in ("code", "type"):
        error = errors_once(
            Answer(429, json={"error": {"message": "x", name: "insufficient_quota"}})
        )
        assert error.is_rate_limit_error and not error.is_transient_error


def test_a_message_is_printable_whatever_a_server_says(errors_once):
    text = "a\x1b[31mb\x07c\u202ed\r\ne\x9bf"
    for body in (text, json.dumps({"error": {"message": text}}), "<title>" + text + "</title>"):
        message = str(errors_once(Answer(400, body=body.encode())))
        assert message.isprintable() and "a?[31mb?c?d e?f" in message


# Pickles


def test_every_error_pickles_with_all_it_has():
    partial = openai_mini.Result(content="so far")
    for name in ["OpenAIError", *ERRORS_TREE]:
        error = getattr(openai_mini, name)("what", "advice")
        error.code, error.retry_after, error.partial = "c", 1.5, partial
        error._place("GET /x", 2)
        for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert (
                type(again) is type(error) and str(again) == str(error) and "GET /x" in str(again)
            )
            assert again.__dict__ == error.__dict__ and again.is_transient_error in (True, False)


def test_an_error_out_of_a_call_pickles(errors_once):
    inner = {"message": "m", "code": "c", "param": "p", "type": "t"}
    error = errors_once(
        Answer(429, json={"error": inner}, headers={"retry-after": "3"}), max_retry_delay=0
    )
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and again.body == error.body and again.retry_after == 3
    assert again.response.status_code == 429 and again.response.headers["Retry-After"] == "3"
    assert again.response.json() == {"error": inner}


def test_an_error_out_of_a_stream_pickles_with_its_partial_message(errors_once):
    error = errors_once(
        Answer(sse=chunks("he", finish=None), done=False), lambda c: list(c.stream_chat("hi"))
    )
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, openai_mini.StreamInterruptedError) and again.partial.content == "he"


# Keys

ERRORS_KEY = "sk-Zq7/hush+key=="


def errors_echoes(said: str) -> dict:
    """What servers may do with a key that they were given."""
    return {
        "in a message": Answer(401, json={"error": {"message": "Wrong: " + said, "code": said}}),
        "as a code": Answer(400, json={"error": {"message": "x", "type": said, "param": said}}),
        "as a name": Answer(400, json={"error": {said: 1, "a": [{"b": said}]}}),
        "escaped": Answer(400, body=json.dumps({"error": said}).replace("/", "\\/")),
        "in text": Answer(500, body="the key %s is wrong" % said),
        "in HTML": Answer(502, body="<title>%s</title>" % said),
        "in a header": Answer(400, json={}, headers={"x-request-id": said, "x-you-sent": said}),
        "in a location": Answer(302, headers={"location": "http://elsewhere.invalid/" + said}),
        "under 200": Answer(json={"error": {"message": said}}),
        "as broken JSON": Answer(body="{%s" % said, content_type="application/json"),
        "as a JSON string": Answer(json=said),
        "with no end": Answer(body='{"a": "%s"' % said, content_type="application/json"),
        "as the start of a long text": Answer(400, body="x" * 480 + said + "y" * 100),
    }  # fmt: skip


def errors_stream_echoes(said: str) -> dict:
    return {
        "an error event": Answer(sse=[("error", {"message": said})]),
        "an error after a chunk": Answer(
            sse=[chunk({"content": "a"}), {"error": {"message": said}}]
        ),
        "a chunk that is no JSON": Answer(sse=[said]),
        "a later chunk that is no JSON": Answer(
            sse=[chunk({"content": "a"}), "[1, " + json.dumps(said)]
        ),
        "a later chunk that is no object": Answer(
            sse=[chunk({"content": "a"}), json.dumps([said])]
        ),
        "a page": Answer(body="<title>%s</title>" % said, content_type="text/html"),
        "text": Answer(body=said),
        "a cut stream": Answer(sse=[chunk({"content": said})], done=False),
    }


def errors_show(error: BaseException) -> str:
    """All that can be seen of an error, down to the errors behind it."""
    shown = []
    seen: list = [error]
    for one in seen:
        shown += [str(one), repr(one), repr(one.args), repr(getattr(one, "__dict__", ""))]
        shown += [repr(pickle.dumps(one, protocol)) for protocol in (0, 2, 4)]
        shown += ["".join(traceback.format_exception(type(one), one, one.__traceback__))]
        response = getattr(one, "response", None)
        if response is not None:
            shown += [repr(response.content), repr(dict(response.headers)), repr(response.url)]
        seen += [e for e in (one.__cause__, one.__context__) if e is not None and e not in seen]
    return "\n".join(shown)


@pytest.mark.parametrize("how", ["bearer", "azure", "extra"])
@pytest.mark.parametrize("case", [*errors_echoes(""), *errors_stream_echoes("")])
def test_no_key_that_a_server_echoes_is_in_an_error(errors_once, how, case):
    options = {"api_key": "sk-other"}
    if how == "extra":
        options["default_headers"] = {"Authorization": "Bearer " + ERRORS_KEY}
    else:
        options["api_key"] = ERRORS_KEY
    if how == "azure":
        options["api_version"] = "v1"
    streamed = case in errors_stream_echoes("")
    answer = (errors_stream_echoes if streamed else errors_echoes)(ERRORS_KEY)[case]
    call = (lambda c: list(c.stream_chat("hi"))) if streamed else None
    shown = errors_show(errors_once(answer, call, **options))
    assert "hush" not in shown and "Zq7" not in shown


def test_no_key_is_behind_an_error_of_the_network(client):
    other = client.with_options(base_url="http://127.0.0.1:1/v1", api_key=ERRORS_KEY, max_retries=0)
    for call in (other.list_models, lambda: other.stream_chat("x")):
        with pytest.raises(openai_mini.APIConnectionError) as caught:
            call()
        assert "hush" not in errors_show(caught.value)


@pytest.mark.parametrize(
    "key", ["sk-hush\nmore", "sk-\xe9hush", "sk-hush\x00", "sk-\u20achush", 74747]
)
def test_a_key_no_header_can_hold_is_nowhere_in_the_error(server, key):
    for given in (key, lambda: key):
        with pytest.raises(openai_mini.ValidationError) as caught:
            openai_mini.OpenAIMini(api_key=given, base_url=server.url).chat("hi")
        shown = errors_show(caught.value)
        assert "hush" not in shown and "74747" not in shown
    assert not server.requests


# ------------------------------------------------------------------------------------------------
# Breaker


# The states are those of the contract: closed, open, half_open.


def breaker_of(clock=None, **options):
    return openai_mini.CircuitBreaker(clock=clock or FakeClock(), **options)


def breaker_play(steps: str, breaker, clock) -> None:
    """Play steps, separated by commas: `fail 4` (calls), `ok 2`, `give back`, `allow`, `refuse`,
    `success`, `failure`, `release`, `wait 29.9`, `reset`; the name of a state is a check."""
    for step in steps.split(", "):
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


BREAKER_HALF_OPEN = "fail 5, open, wait 30, half_open, "
# (id, options, steps)
BREAKER_CASES = [
    ("new", {}, "closed"),
    ("exactly at the threshold", {}, "fail 4, closed, fail, open, refuse"),
    ("threshold 1", {"failure_threshold": 1}, "closed, fail, open"),
    ("successes alone", {}, "ok 1000, closed"),
    ("rate not reached", {}, "ok 6, fail 5, closed"),
    ("rate reached exactly", {}, "ok 5, fail 4, closed, fail, open"),
    ("rate reached later", {}, "ok 6, fail 5, closed, fail, open"),
    ("asked at failures only", {}, "ok 6, fail 5, closed, wait 66, ok, closed"),
    ("rate without rounding", {"failure_rate": 0.1, "failure_threshold": 3}, "ok 27, fail 3, open"),
    ("rate 0", {"failure_rate": 0}, "ok 1000, fail 4, closed, fail, open"),
    ("rate 1", {"failure_rate": 1}, "ok, fail 100, closed, wait 66, fail 4, closed, fail, open"),
    ("given back counts as neither", {}, "fail 4, give 100, closed, fail, open"),
    ("the whole window counts", {}, "fail 4, wait 60, fail, open"),
    (
        "what left the window is forgotten",
        {},
        "fail 4, wait 66, fail, closed, fail 3, closed, fail, open",
    ),
    ("a tenth too long at most", {"window": 10}, "fail 4, wait 11, fail, closed"),
    ("successes are forgotten too", {}, "ok 100, wait 66, fail 5, open"),
    ("forgotten after long", {}, "fail 4, wait 1e6, fail, closed"),
    (
        "open until the time has passed",
        {},
        "fail 5, open, wait 29.9, open, refuse, wait 0.1, half_open",
    ),
    ("noticed by allow()", {}, "fail 5, wait 30, allow, half_open"),
    ("reset_timeout 0", {"reset_timeout": 0}, "fail 5, half_open"),
    (
        "one probe at a time",
        {},
        BREAKER_HALF_OPEN + "allow, refuse, refuse, success, half_open, allow, refuse",
    ),
    ("successes close it", {}, BREAKER_HALF_OPEN + "ok, half_open, ok, closed"),
    ("success threshold 1", {"success_threshold": 1}, BREAKER_HALF_OPEN + "ok, closed"),
    (
        "success threshold 3",
        {"success_threshold": 3},
        BREAKER_HALF_OPEN + "ok 2, half_open, ok, closed",
    ),
    (
        "one failure opens it",
        {},
        BREAKER_HALF_OPEN + "fail, open, refuse, wait 29.9, open, wait 0.1, half_open",
    ),
    (
        "in a row",
        {},
        BREAKER_HALF_OPEN + "ok, fail, open, wait 30, half_open, ok, half_open, ok, closed",
    ),
    (
        "probe given back",
        {},
        BREAKER_HALF_OPEN + "allow, refuse, release, half_open, allow, refuse",
    ),
    ("given back is not in a row", {}, BREAKER_HALF_OPEN + "ok, give, half_open, ok, closed"),
    (
        "begun before it opened",
        {},
        "allow, fail 5, wait 30, half_open, success, half_open, ok, half_open",
    ),
    (
        "failure from before",
        {},
        "allow, fail 5, wait 30, half_open, failure, half_open, ok 2, closed",
    ),
    (
        "from before, once closed",
        {},
        "allow, " + BREAKER_HALF_OPEN + "ok 2, fail 4, failure, closed, fail, open",
    ),
    ("release from before", {}, "allow, " + BREAKER_HALF_OPEN + "release, allow, refuse"),
    ("closing forgets", {}, BREAKER_HALF_OPEN + "ok 2, fail 4, closed, fail, open"),
    ("reset", {}, "fail 5, open, reset, closed, fail 4, closed, fail, open"),
    (
        "reset of a probe",
        {},
        BREAKER_HALF_OPEN + "allow, reset, closed, allow, allow, fail 4, closed, fail, open",
    ),
    ("outcomes without allow()", {}, "failure, failure, failure, failure, closed, failure, open"),
]


@pytest.mark.parametrize("options, steps", [case[1:] for case in BREAKER_CASES],
                         ids=[case[0] for case in BREAKER_CASES])  # fmt: skip
def test_a_breaker_has_the_state_of_the_contract(options, steps):
    clock = FakeClock()
    breaker_play(steps, breaker_of(clock, **options), clock)


class BreakerModel:
    """The contract as a list of outcomes: slow, and all of it remembered."""

    def __init__(self, threshold, rate, window, reset_timeout, successes):
        self.threshold, self.rate, self.window = threshold, rate, window
        self.reset_timeout, self.needed = reset_timeout, successes
        self.now, self.generation = 0.0, 0
        self.turn("closed")

    def turn(self, state):
        self.state, self.outcomes, self.in_a_row, self.probing = state, [], 0, False
        if state == "open":
            self.opened_at = self.now
            self.generation += 1

    def look(self):
        if self.state == "open" and self.now - self.opened_at >= self.reset_timeout:
            self.turn("half_open")

    def allow(self):
        self.look()
        if self.state == "open" or self.probing:
            return None
        self.probing = self.state == "half_open"
        return self.generation

    def outcome(self, generation, good, real):
        """`real` decides where an outcome may, or may not, count a tenth too long."""
        if generation != self.generation or self.state == "open":
            return
        if self.state == "half_open":
            self.probing = False
            self.in_a_row += good is True
            if good is False:
                self.turn("open")
            elif self.in_a_row >= self.needed:
                self.turn("closed")
        elif good is not None:
            self.outcomes.append((self.now, good))
            answers = {self.failing(self.window), self.failing(self.window * 1.1)}
            if not good and (answers == {True} or len(answers) == 2 and real == "open"):
                self.turn("open")

    def failing(self, most_s):
        recent = [good for at, good in self.outcomes if self.now - at <= most_s]
        failures = recent.count(False)
        return failures >= self.threshold and failures / len(recent) >= self.rate


BREAKER_STEPS = st.one_of(
    st.sampled_from(["allow", "allow", "success", "failure", "failure", "release", "state"]),
    st.sampled_from(["reset"]),
    st.sampled_from([0.5, 1.0, 2.5, 10.0, 11.5, 30.0]),
)


@hypothesis.given(
    st.integers(1, 4), st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.sampled_from([2.5, 30.0]),
    st.integers(1, 3), st.lists(BREAKER_STEPS, max_size=80),
)  # fmt: skip
@hypothesis.settings(max_examples=300)
def test_a_breaker_does_what_the_contract_says_in_any_order_of_steps(
    threshold, rate, reset_timeout, successes, steps
):
    clock, told = FakeClock(0.0), [("", "closed")]
    breaker = openai_mini.CircuitBreaker(
        threshold, rate, 10.0, reset_timeout, successes, lambda *change: told.append(change), clock
    )
    model = BreakerModel(threshold, rate, 10.0, reset_timeout, successes)
    allowed: list = []  # generations, as the model has them
    for step in steps:
        if isinstance(step, float):
            clock.advance(step)
            model.now += step
        elif step == "allow":
            generation = model.allow()
            assert breaker.allow() is (generation is not None)
            allowed += [generation] if generation is not None else []
        elif step == "reset":
            breaker.reset()
            model.turn("closed")
        elif step != "state" and allowed:
            getattr(breaker, step)()
            good = {"success": True, "failure": False, "release": None}[step]
            model.outcome(allowed.pop(), good, breaker.state)
        model.look()
        assert breaker.state == model.state
    assert all(old == before for (_, before), (old, _) in zip(told, told[1:])), told
    assert told[-1][1] == model.state


def test_retry_after_counts_down_while_the_circuit_is_open():
    clock = FakeClock()
    breaker = breaker_of(clock)
    assert breaker.retry_after == 0.0
    breaker_play("fail 5, wait 10", breaker, clock)
    assert breaker.retry_after == pytest.approx(20)
    with pytest.raises(openai_mini.CircuitOpenError) as caught:
        breaker.call(len, "x")
    assert caught.value.retry_after == pytest.approx(20) and "20 s" in str(caught.value)
    clock.advance(25)
    assert breaker.retry_after == 0.0 and breaker.state == "half_open"


def test_memory_is_constant_over_any_number_of_outcomes():
    clock = FakeClock()
    breaker = breaker_of(clock, failure_rate=0.9)
    for i in range(20000):
        (breaker.failure if i % 2 else breaker.success)()
        clock.advance(0.37)
    assert breaker.state == "closed" and len(breaker._buckets) <= 11
    for _ in range(1000):
        breaker.allow()  # and never told what it came to
    assert len(breaker._local.allowed) <= 100


@pytest.mark.parametrize("options", [
    {"failure_threshold": 0}, {"failure_rate": 1.5}, {"failure_rate": -1}, {"window": 0},
    {"window": float("nan")}, {"reset_timeout": -1}, {"success_threshold": 0},
    {"failure_threshold": "5"}, {"failure_threshold": True}, {"failure_threshold": 2.5},
    {"success_threshold": 1.5},
])  # fmt: skip
def test_a_breaker_that_cannot_work_is_refused(options):
    with pytest.raises(openai_mini.ValidationError, match=next(iter(options))):
        openai_mini.CircuitBreaker(**options)


def breaker_raising(error):
    def function():
        raise error

    return function


# (what the work raises, what that says of the service)
BREAKER_OUTCOMES = [
    (openai_mini.APIConnectionError("x"), "failure"),
    (openai_mini.APITimeoutError("x"), "failure"),
    (openai_mini.InternalServerError("x", status_code=500), "failure"),
    (openai_mini.APIResponseError("x"), "failure"),
    (openai_mini.StreamInterruptedError("x"), "failure"),
    (OSError("x"), "failure"),
    (openai_mini.RateLimitError("x", status_code=429), "success"),
    (openai_mini.BadRequestError("x", status_code=400), "success"),
    (openai_mini.APIStatusError("x", status_code=408), "success"),
    (openai_mini.ValidationError("x"), "neither"),
    (KeyboardInterrupt(), "neither"),
    (SystemExit(), "neither"),
    (GeneratorExit(), "neither"),
]


@pytest.mark.parametrize("way", ["call", "with"])
@pytest.mark.parametrize("error, says", BREAKER_OUTCOMES,
                         ids=[type(error).__name__ for error, _ in BREAKER_OUTCOMES])  # fmt: skip
def test_an_error_of_the_guarded_work_counts_by_the_rule(error, says, way):
    clock = FakeClock()
    breaker = breaker_of(clock, success_threshold=1)
    breaker_play(BREAKER_HALF_OPEN.strip(", "), breaker, clock)
    with pytest.raises(type(error)) as caught:
        if way == "call":
            breaker.call(breaker_raising(error))
        with breaker:
            raise error
    assert caught.value is error
    expected = {"failure": "open", "success": "closed", "neither": "half_open"}[says]
    assert breaker.state == expected
    assert breaker.allow() is (expected != "open")  # a probe has given its place back


def test_call_and_with_pass_work_through_and_refuse_it_while_open():
    clock, ran = FakeClock(), []
    breaker = breaker_of(clock)
    assert breaker.call(sorted, [2, 1], reverse=True) == [2, 1]
    with breaker as entered:
        assert entered is breaker
    breaker_play("fail 5", breaker, clock)
    with pytest.raises(openai_mini.CircuitOpenError):
        breaker.call(ran.append, 1)
    with pytest.raises(openai_mini.CircuitOpenError), breaker:
        ran.append(2)
    assert not ran


def test_on_change_is_told_each_change_and_may_raise_or_ask_back(caplog):
    told, clock = [], FakeClock()

    def on_change(old, new):
        told.append((old, new, breaker.state, breaker.allow()))
        breaker.release()
        raise RuntimeError("a listener's trouble")

    breaker = breaker_of(clock, on_change=on_change)
    steps = "fail 5, open, wait 30, half_open, fail, wait 30, ok 2, closed, reset"
    breaker_play(steps, breaker, clock)
    assert [change[:2] for change in told] == [
        ("closed", "open"), ("open", "half_open"), ("half_open", "open"), ("open", "half_open"),
        ("half_open", "closed"),
    ]  # fmt: skip
    assert told[0][2:] == ("open", False) and told[1][2:] == ("half_open", True)
    assert "a listener's trouble" in caplog.text
    assert breaker.opened == 2


def test_ctrl_c_in_on_change_takes_no_probe():
    def on_change(old, new):
        if new == "half_open":
            raise KeyboardInterrupt

    clock = FakeClock()
    breaker = breaker_of(clock, on_change=on_change)
    breaker_play("fail 5, wait 30", breaker, clock)
    with pytest.raises(KeyboardInterrupt):
        breaker.allow()
    assert breaker.state == "half_open" and breaker.allow()


def test_nothing_is_held_while_the_guarded_work_or_on_change_runs():
    inside, go_on = threading.Event(), threading.Event()
    breaker = openai_mini.CircuitBreaker(1, on_change=lambda *_: inside.set() or go_on.wait(10))
    working = threading.Thread(target=breaker.call, args=(go_on.wait, 10))
    working.start()
    listening = threading.Thread(target=breaker.failure)
    listening.start()
    assert inside.wait(10)
    assert breaker.state == "open" and not breaker.allow()  # from a third thread, and at once
    breaker.success()
    go_on.set()
    working.join(10)
    listening.join(10)
    assert not working.is_alive() and not listening.is_alive()


def test_a_finalizer_may_report_in_the_midst_of_a_report():
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
    breaker = breaker_of(Clock(), failure_threshold=900)
    together(4, lambda i: [breaker.failure() for _ in range(100)])
    assert not left or breaker.state == "closed"
    together(1, lambda i: [breaker.failure() for _ in range(500)])
    assert breaker.state == "open"


def test_the_counts_of_many_threads_add_up():
    breaker = breaker_of(failure_threshold=4001, failure_rate=0)
    together(8, lambda i: [breaker.allow() and breaker.failure() for _ in range(500)])
    assert breaker.state == "closed"
    breaker.failure()
    assert breaker.state == "open" and breaker.opened == 1


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
    assert all(old == before for (_, before), (old, _) in zip(told, told[1:]))
    assert len(told) > 3


def test_a_breaker_pickles_as_it_is_set_up():
    breaker = openai_mini.CircuitBreaker(2, 0.25, 10.0, 5.0, 3)
    breaker_play("fail 2, open", breaker, None)
    copy = pickle.loads(pickle.dumps(breaker))
    assert copy.state == "closed"
    names = "failure_threshold failure_rate window reset_timeout success_threshold".split()
    assert [getattr(copy, name) for name in names] == [2, 0.25, 10.0, 5.0, 3]
    breaker_play("fail 2, open", copy, None)


# In the client


def breaker_half_open(**options):
    clock = FakeClock()
    breaker = breaker_of(clock, **options)
    breaker_play(BREAKER_HALF_OPEN.strip(", "), breaker, clock)
    return breaker


def breaker_client(server, breaker, **options):
    options = dict({"max_retries": 0, "initial_retry_delay": 0.001, "timeout": (5, 10)}, **options)
    options = dict(options, base_url=server.url, circuit_breaker=breaker)
    return openai_mini.OpenAIMini("sk-test", **options)


def breaker_ctrl_c(when) -> threading.Thread:
    """A Ctrl-C in this thread as soon as `when()` returns."""

    def press():
        when()
        signal.pthread_kill(target, signal.SIGINT)

    target = threading.get_ident()
    thread = threading.Thread(target=press, name="loopback-ctrl-c", daemon=True)
    thread.start()
    return thread


def test_of_50_threads_at_a_half_open_breaker_exactly_one_reaches_the_server(server):
    answer_now, refused = threading.Event(), []
    server.script(Answer(json=CHAT, wait=answer_now))
    client = breaker_client(server, breaker_half_open())

    def ask(i):
        try:
            return client.chat("hi").content
        except openai_mini.CircuitOpenError:
            refused.append(i)
            if len(refused) == 49:
                answer_now.set()

    results = together(50, ask)
    assert results.count("hello") == 1 and len(refused) == 49
    assert len(server.requests) == 1
    assert client.chat("hi").content == "hello" and client.stats()["circuit"]["state"] == "closed"
    client.close()


def test_calls_over_an_open_circuit_touch_no_network(server):
    breaker = breaker_of()
    client = breaker_client(server, breaker, max_retries=3)
    server.default = Answer(500)
    with pytest.raises(openai_mini.InternalServerError):
        client.chat("hi")
    assert len(server.requests) == 4 and breaker.state == "closed"
    with pytest.raises(openai_mini.InternalServerError):  # which opened it, and says more
        client.chat("hi")
    assert len(server.requests) == 5 and breaker.state == "open"
    with pytest.raises(openai_mini.CircuitOpenError) as caught:
        client.chat("hi")
    assert caught.value.retry_after == pytest.approx(30)
    assert "/chat/completions" in str(caught.value)
    assert len(server.requests) == 5
    assert client.stats()["circuit"] == {"state": "open", "opened": 1}
    client.close()


@pytest.mark.parametrize("answer, state", [
    (Answer(500), "open"), (Answer(503), "open"), (Answer(429), "closed"), (Answer(404), "closed"),
    (Answer(body="<html>", content_type="text/html"), "open"), (Answer(json=CHAT, cut=5), "open"),
    (Answer(json=CHAT, reset=5), "open"), (Answer(json=CHAT), "closed"),
], ids="500 503 429 404 html cut reset good".split())  # fmt: skip
def test_an_answer_counts_as_what_it_says_of_the_service(server, answer, state):
    breaker = breaker_half_open(success_threshold=1)
    server.script(answer)
    with breaker_client(server, breaker) as client:
        try:
            client.chat("hi")
        except openai_mini.APIError:
            pass
    assert breaker.state == state


def test_a_connection_that_is_refused_and_one_that_is_silent_are_failures(server):
    breaker = breaker_half_open()
    with breaker_client(server, breaker, timeout=(5, 0.05)) as client:
        server.script(Answer(wait=threading.Event()))
        with pytest.raises(openai_mini.APITimeoutError):
            client.chat("hi")
    assert breaker.state == "open"
    breaker = breaker_half_open()
    server.close()
    with breaker_client(server, breaker) as client:
        with pytest.raises(openai_mini.APIConnectionError):
            client.chat("hi")
    assert breaker.state == "open"


def test_what_is_refused_before_it_is_sent_takes_no_probe(server):
    breaker = breaker_half_open()
    with breaker_client(server, breaker) as client:
        with pytest.raises(openai_mini.ValidationError):
            client.chat([])
        with pytest.raises(openai_mini.QueueFullError):
            breaker_fill_queue(client)
    assert breaker.state == "half_open" and breaker.allow()


def breaker_fill_queue(client):
    with client._queue.slot():
        filled = client.with_options(use_request_queue=client._queue)
        client._queue.max_concurrent, client._queue.size = 1, 0
        filled.chat("hi")


def test_a_probe_that_ctrl_c_interrupts_gives_its_place_back(server):
    breaker = breaker_half_open()
    server.script(Answer(wait=threading.Event()))
    with breaker_client(server, breaker) as client:
        thread = breaker_ctrl_c(server.wait_requests)
        with pytest.raises(KeyboardInterrupt):
            client.chat("hi")
        thread.join(10)
        assert breaker.state == "half_open"
        assert client.stats()["queue"] == {"running": 0, "waiting": 0}
        assert client.chat("hi").content == "hello"


def test_a_stream_is_a_success_at_its_first_event_and_dropping_it_is_nothing_more(server):
    breaker = breaker_half_open(success_threshold=1)
    go_on = threading.Event()
    with breaker_client(server, breaker) as client:
        server.script(Answer(sse=chunks("a", "b"), wait=go_on, hold_after=1))
        stream = client.stream_chat("hi")
        assert next(stream).content == "a"
        assert breaker.state == "closed"
        del stream
        gc.collect()
        assert breaker.state == "closed" and client.stats()["queue"]["running"] == 0


def test_a_stream_that_breaks_off_is_a_failure(server):
    breaker = breaker_of(failure_threshold=1)
    with breaker_client(server, breaker) as client:
        server.script(Answer(sse=chunks("a", "b", finish=None), done=False))
        with pytest.raises(openai_mini.StreamInterruptedError):
            list(client.stream_chat("hi"))
    assert breaker.state == "open"


def test_what_the_callers_own_callable_raises_says_nothing_of_the_service(server):
    breaker = breaker_half_open()

    def key():
        raise LookupError("no key today")

    with openai_mini.OpenAIMini(key, base_url=server.url, circuit_breaker=breaker) as client:
        with pytest.raises(LookupError):
            client.chat("hi")
    assert breaker.state == "half_open" and breaker.allow()


def test_a_breaker_may_be_shared_between_clients_or_left_out(server):
    breaker = breaker_of(failure_threshold=1)
    one, other, without = (breaker_client(server, given) for given in (breaker, breaker, False))
    server.script(Answer(500))
    with pytest.raises(openai_mini.InternalServerError):
        one.chat("hi")
    with pytest.raises(openai_mini.CircuitOpenError):
        other.chat("hi")
    assert without.chat("hi").content == "hello"
    assert without.stats()["circuit"]["state"] is None
    for client in (one, other, without):
        client.close()


def test_after_a_fork_the_probe_is_the_parents_and_both_sides_work():
    breaker = breaker_half_open()
    assert breaker.allow() and not breaker.allow()
    pid = os.fork()
    if not pid:
        os._exit(not (breaker.state == "half_open" and breaker.allow()))
    assert os.waitpid(pid, 0)[1] == 0
    assert not breaker.allow()
    breaker.success()
    assert breaker.allow()


# ------------------------------------------------------------------------------------------------
# Queue


HIGH, NORMAL, LOW = openai_mini.HIGH, openai_mini.NORMAL, openai_mini.LOW


def queue_of(*args, clock=None, **options):
    queue = openai_mini.RequestQueue(*args, **options)
    if clock:
        queue._clock = clock
    return queue


def queue_is_empty(queue) -> bool:
    return eventually(lambda: (queue.running, queue.waiting) == (0, 0), 10, "an empty queue")


def queue_waits(queue, number: int) -> bool:
    return eventually(lambda: queue.waiting == number, 10, "%d waiting" % number)


class QueueCaller(threading.Thread):
    """A thread that takes a slot, notes it in `order`, and keeps it until told."""

    def __init__(self, queue, name="", order=None, priority=NORMAL, timeout=None, keep=None):
        super().__init__(name=name, daemon=True)
        self.queue, self.order, self.keep = queue, order if order is not None else [], keep
        self.options = (priority, timeout)
        self.error = None
        self.start()

    def run(self):
        try:
            with self.queue.slot(*self.options):
                self.order.append(self.name)
                if self.keep:
                    assert self.keep.wait(10)
        except Exception as error:
            self.error = error


def queue_client(server, **options):
    options = dict({"initial_retry_delay": 0.001, "timeout": (5, 10)}, **options)
    return openai_mini.OpenAIMini("sk-test", base_url=server.url, **options)


def queue_last_text(request) -> str:
    return request.json["messages"][-1]["content"]


def queue_answer(text: str) -> dict:
    message = {"role": "assistant", "content": text}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def queue_ctrl_c(when) -> threading.Thread:
    """A Ctrl-C in this thread as soon as `when()` returns."""

    def press():
        when()
        signal.pthread_kill(target, signal.SIGINT)

    target = threading.get_ident()
    thread = threading.Thread(target=press, name="loopback-ctrl-c", daemon=True)
    thread.start()
    return thread


# Slots


def test_slots_go_by_priority_then_by_arrival():
    queue, order = queue_of(1), []
    callers = []
    with queue.slot():
        for n, priority in enumerate([LOW, NORMAL, HIGH, LOW, NORMAL, HIGH]):
            callers.append(QueueCaller(queue, "%d-%d" % (priority, n), order, priority))
            queue_waits(queue, n + 1)
        assert not order
    for caller in callers:
        caller.join(10)
    assert order == ["0-2", "0-5", "1-1", "1-4", "2-0", "2-3"]
    assert queue_is_empty(queue)


def test_callers_and_jobs_stand_in_the_same_order():
    queue, order = queue_of(1), []
    with queue.slot():
        low = queue.submit(order.append, "low job", priority=LOW)
        caller = QueueCaller(queue, "caller", order)
        queue_waits(queue, 2)
        normal = queue.submit(order.append, "normal job")
        high = queue.submit(order.append, "high job", priority=HIGH)
        assert queue.waiting == 4 and not order
    for future in (low, normal, high):
        future.result(10)
    caller.join(10)
    assert order == ["high job", "caller", "normal job", "low job"]


def test_never_more_slots_are_taken_than_there_are():
    queue, taken, most = queue_of(3, 1000), [], []

    def work(i):
        with queue.slot(i % 3):
            taken.append(i)
            most.append(len(taken))
            time.sleep(0.0005)
            taken.remove(i)

    assert together(30, lambda i: [work(i) for _ in range(20)] and None) == [None] * 30
    assert max(most) == 3 and len(most) == 600
    assert queue_is_empty(queue)


@pytest.mark.parametrize("size", [0, 2])
def test_one_caller_too_many_is_refused_at_once(size):
    queue, keep = queue_of(1, size), threading.Event()
    holder = QueueCaller(queue, keep=keep)
    eventually(lambda: queue.running == 1)
    waiting = [QueueCaller(queue) for _ in range(size)]
    queue_waits(queue, size)
    with pytest.raises(openai_mini.QueueFullError, match="%d callers" % size):
        queue.slot(HIGH).acquire()
    assert queue.waiting == size
    keep.set()
    for caller in [holder] + waiting:
        caller.join(10)
        assert caller.error is None
    assert queue_is_empty(queue)
    with queue.slot():
        assert queue.running == 1


@pytest.mark.parametrize("timeout", [0, 0.02])
def test_a_wait_over_its_timeout_is_an_error_and_leaves_the_line(timeout):
    queue = queue_of(1)
    with queue.slot():
        with pytest.raises(openai_mini.QueueTimeoutError, match="slot"):
            queue.slot(timeout=timeout).acquire()
        assert (queue.running, queue.waiting) == (1, 0)
    with queue.slot(timeout=0):  # there is no wait where one is free
        assert queue.running == 1
    assert queue_is_empty(queue)


def test_no_more_than_per_minute_start_in_any_minute():
    clock, order = FakeClock(), []
    queue = queue_of(10, per_minute=2, clock=clock)
    for _ in range(2):
        with queue.slot():
            clock.advance(10)
    callers = [QueueCaller(queue, str(n), order) for n in range(3)]
    queue_waits(queue, 3)
    for at, running in [(39.9, 0), (0.2, 1), (9.8, 1), (0.2, 2), (49, 2), (11, 3)]:
        clock.advance(at)
        queue._mailbox.post(queue._grant)  # has them look at the clock
        eventually(lambda expected=running: len(order) == expected)
        assert queue.waiting == 3 - running
    for caller in callers:
        caller.join(10)


def test_a_limit_per_minute_holds_for_jobs_as_well_and_they_wait_without_end():
    clock, order = FakeClock(), []
    queue = queue_of(10, 0, per_minute=2, clock=clock)
    futures = [queue.submit(order.append, n) for n in range(5)]
    for moment in (2, 4):
        eventually(lambda expected=moment: len(order) == expected)
        queue_waits(queue, 5 - moment)
        clock.advance(60)
        queue._mailbox.post(queue._grant)
    futures[4].result(10)
    assert [set(order[:2]), set(order[2:4]), order[4:]] == [{0, 1}, {2, 3}, [4]]
    assert queue_is_empty(queue)


def test_nothing_starts_during_a_pause_and_all_does_after_it():
    queue, order = queue_of(2), []
    with queue.slot():
        began_at = time.monotonic()
        queue.pause(0.1)
        queue.pause(0.01)  # a shorter one does not end it
        callers = [QueueCaller(queue, str(n), order) for n in range(3)]
        future = queue.submit(time.monotonic)
        queue_waits(queue, 4)
        with pytest.raises(openai_mini.QueueTimeoutError):
            queue.slot(HIGH, timeout=0.01).acquire()
        assert not order
    for caller in callers:
        caller.join(10)
    assert len(order) == 3 and future.result(10) - began_at >= 0.1
    assert queue_is_empty(queue)


def test_the_next_in_line_watches_the_pause_when_the_first_gives_up():
    queue, order = queue_of(1), []
    queue.pause(0.1)
    first = QueueCaller(queue, "first", order, HIGH, timeout=0.03)
    queue_waits(queue, 1)
    second = QueueCaller(queue, "second", order)
    first.join(10)
    second.join(10)
    assert isinstance(first.error, openai_mini.QueueTimeoutError) and order == ["second"]


def test_a_slot_is_given_back_once():
    queue = queue_of(2)
    slot = queue.slot().acquire()
    with queue.slot():
        slot.release()
        slot.release()
        assert queue.running == 1
        with slot:  # it may be taken again
            assert queue.running == 2
    assert queue_is_empty(queue)
    queue.slot().release()  # never taken
    assert queue.running == 0


def test_a_slot_that_is_dropped_comes_back():
    queue, order = queue_of(1), []
    slot = queue.slot().acquire()
    caller = QueueCaller(queue, "next", order)
    queue_waits(queue, 1)
    del slot
    caller.join(10)
    assert order == ["next"] and queue_is_empty(queue)


def test_a_slot_that_waited_out_a_pause_comes_back_when_it_is_dropped():
    queue = queue_of(1)
    queue.pause(0.01)
    slot = queue.slot().acquire()
    assert queue.running == 1
    del slot
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


def test_who_comes_after_a_pause_does_not_overtake_who_has_waited():
    """The pause is over, and nobody has been woken yet."""
    clock = FakeClock()
    queue = queue_of(1, clock=clock)
    queue.pause(100)
    keep = threading.Event()
    first = QueueCaller(queue, keep=keep)
    assert queue_waits(queue, 1)
    clock.advance(101)
    with pytest.raises(openai_mini.QueueTimeoutError):
        queue.slot(timeout=0).acquire()
    keep.set()
    first.join(10)
    assert first.error is None and queue_is_empty(queue)


def test_ctrl_c_while_waiting_leaves_no_slot():
    queue, order = queue_of(1), []
    slot = queue.slot().acquire()
    thread = queue_ctrl_c(lambda: queue_waits(queue, 1))
    with pytest.raises(KeyboardInterrupt):
        queue.slot().acquire()
    thread.join(10)
    assert (queue.running, queue.waiting) == (1, 0)
    slot.release()
    with queue.slot(timeout=0):
        order.append(1)
    assert queue_is_empty(queue)


def test_ctrl_c_at_any_moment_leaves_no_slot():
    """A Ctrl-C that comes as soon as the main thread runs, wherever that is by then."""
    queue = queue_of(2)
    for n in range(60):
        with pytest.raises(KeyboardInterrupt):
            queue_ctrl_c(lambda n=n: [None for _ in range(n * 200)])
            while True:
                with queue.slot(timeout=5):
                    pass
    queue._mailbox.post(queue._grant)  # whatever was left over is done now
    assert queue_is_empty(queue)
    assert together(2, lambda i: queue.slot(timeout=5).acquire().release()) == [None, None]


def test_a_ctrl_c_at_work_for_others_leaves_nobody_waiting():
    mailbox, answers = openai_mini._Mailbox(), []
    asker = threading.Thread(target=lambda: answers.append(mailbox.ask(len, "abc")), daemon=True)

    def interrupted():
        if asker.ident:
            return  # it is done once more
        asker.start()
        eventually(lambda: len(mailbox._posted) == 2)  # behind what is done now
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mailbox.post(interrupted)
    asker.join(10)
    assert answers == [3]


def test_a_queue_that_cannot_work_is_refused():
    bad = [{"max_concurrent": 0}, {"size": -1}, {"per_minute": 0}, {"size": "5"}]
    for options in (*bad, {"max_concurrent": 2.5}, {"size": 2.5}, {"per_minute": 2.5}):
        with pytest.raises(openai_mini.ValidationError, match=next(iter(options))):
            openai_mini.RequestQueue(**options)


def test_a_queue_pickles_as_it_is_set_up():
    queue = queue_of(3, 7, 60)
    with queue.slot():
        copy = pickle.loads(pickle.dumps(queue))
    assert (copy.max_concurrent, copy.size, copy.per_minute, copy.running) == (3, 7, 60, 0)
    assert copy.submit(len, "abc").result(10) == 3


def test_after_a_fork_both_sides_work_and_slots_are_the_parents():
    queue, keep = queue_of(2), threading.Event()
    mine = queue.slot().acquire()
    other = QueueCaller(queue, keep=keep)
    eventually(lambda: queue.running == 2)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            mine.release()  # was the parent's: nothing happens here
            with queue.slot(timeout=5), queue.slot(timeout=5):
                assert queue.running == 2
            code = list(queue.map(len, ["a", "bb"])) != [1, 2]
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert queue.running == 2
    keep.set()
    other.join(10)
    mine.release()
    assert queue_is_empty(queue)
    assert queue.submit(len, "abc").result(10) == 3


# Jobs


def test_jobs_run_in_daemon_threads_that_end_when_idle():
    queue, daemons, names = queue_of(4), [], set()

    def job(n):
        daemons.append(threading.current_thread().daemon)
        names.add(threading.current_thread())
        return n

    with nothing_left_over():
        futures = [queue.submit(job, n) for n in range(100)]
        assert [future.result(10) for future in futures] == list(range(100))
        assert all(daemons) and queue_is_empty(queue)
    with nothing_left_over():
        assert queue.submit(job, 1).result(10) == 1


def test_at_most_max_concurrent_jobs_run_and_none_overflows():
    queue, now, most = queue_of(3, 0), [], []

    def job(n):
        now.append(n)
        most.append(len(now))
        time.sleep(0.001)
        now.remove(n)

    futures = [queue.submit(job, n) for n in range(100)]
    for future in futures:
        future.result(10)
    assert max(most) == 3


def test_jobs_and_callers_share_the_slots():
    queue, ran = queue_of(1), []
    with queue.slot():
        future = queue.submit(ran.append, 1)
        queue_waits(queue, 1)
        assert not ran
    future.result(10)
    assert ran == [1] and queue_is_empty(queue)


def test_what_a_job_raises_comes_out_of_its_future():
    queue = queue_of(1)
    for error in (ValueError("x"), SystemExit(3), KeyboardInterrupt()):

        def job(error=error):
            raise error

        assert queue.submit(job).exception(10) is error
    assert queue.submit(len, "abc").result(10) == 3
    assert queue_is_empty(queue)


def test_a_job_that_is_cancelled_before_it_began_never_runs():
    queue, ran = queue_of(1), []
    with nothing_left_over(), queue.slot():
        futures = [queue.submit(ran.append, n) for n in range(3)]
        assert futures[1].cancel() and queue.waiting == 2
        assert futures[0].cancel() and futures[2].cancel() and queue.waiting == 0
        with pytest.raises(CancelledError):
            futures[1].result(10)
    assert not ran and queue_is_empty(queue)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_job_that_waits_for_jobs_of_its_own_does_not_wait_for_ever(depth):
    queue = queue_of(1)

    def job(depth):
        if not depth:
            return 1
        inner = queue.submit(job, depth - 1).result(10)
        return inner + sum(queue.map(job, [0, 0]))

    assert queue.submit(job, depth).result(10) == 1 + 2 * depth
    assert queue_is_empty(queue)


def test_nothing_of_a_job_lives_on_in_the_queue():
    class Thing:
        pass

    queue, thing = queue_of(1), Thing()
    gone = weakref.ref(thing)
    gc.disable()  # for it takes no garbage collector
    try:
        future = queue.submit(lambda thing: thing, thing)
        assert future.result(10) is thing and queue_is_empty(queue)
        del thing, future
        eventually(lambda: gone() is None)
    finally:
        gc.enable()


def test_where_the_system_has_no_thread_left_the_future_says_so(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    queue = queue_of(1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert isinstance(queue.submit(len, "abc").exception(10), openai_mini.QueueFullError)
    assert queue.submit(len, "abc").result(10) == 3


# map


def test_map_gives_results_in_the_order_of_the_inputs():
    queue = queue_of(8)

    def job(n, factor):
        time.sleep(random.random() / 1000)
        return n * factor

    assert list(queue.map(job, range(200), factor=2)) == [2 * n for n in range(200)]
    assert list(queue.map(job, [], factor=2)) == []
    assert queue_is_empty(queue)


@pytest.mark.parametrize("size", [0, 1, 5])
def test_map_reads_no_further_ahead_than_the_size_of_the_queue(size):
    queue, read = queue_of(4, size), []

    def inputs():
        for n in itertools.count():
            read.append(n)
            yield n

    results = queue.map(str, inputs())
    for n in range(50):
        assert next(results) == str(n)
        assert len(read) <= n + 1 + max(size, 1)
    results.close()
    assert list(results) == []


def test_map_over_an_endless_generator_takes_constant_memory():
    queue = queue_of(4, 10)
    living: weakref.WeakSet = weakref.WeakSet()

    class Input:
        def __init__(self):
            living.add(self)

    results = queue.map(lambda thing: thing, (Input() for _ in itertools.count()))
    most = 0
    for _ in zip(range(2000), results):
        most = max(most, len(living))
    assert most <= 20
    del results
    assert queue_is_empty(queue)


def test_map_closes_down_when_its_consumer_stops():
    queue, ran, go_on = queue_of(2, 50), [], threading.Event()

    def job(n):
        ran.append(n)
        return n == 0 or go_on.wait(10)

    with nothing_left_over():
        for _ in queue.map(job, itertools.count()):
            break
        assert queue.waiting == 0
        go_on.set()
    begun = len(ran)
    assert begun <= 5 and queue_is_empty(queue) and len(ran) == begun


def test_map_raises_what_a_call_raised_in_its_place_and_goes_on():
    results = queue_of(2).map(lambda n: 6 // n, [1, 0, 2])
    assert next(results) == 6
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == [3]


def test_map_raises_what_its_inputs_raise_and_loses_no_result_by_it():
    def inputs():
        yield "a"
        yield "bb"
        raise LookupError("no more")

    results, seen = queue_of(2).map(len, inputs()), []
    while len(seen) < 4:
        try:
            seen.append(next(results))
        except (LookupError, StopIteration) as error:
            seen.append(type(error))
    assert sorted(seen, key=str) == [1, 2, LookupError, StopIteration] and seen[-1] is StopIteration
    with pytest.raises(openai_mini.ValidationError):
        queue_of(2).map(len, 3)


def test_ctrl_c_while_waiting_for_a_result_loses_none():
    queue, go_on = queue_of(1), threading.Event()
    results = queue.map(lambda n: go_on.wait(10) and n, [0, 1, 2])
    thread = queue_ctrl_c(lambda: eventually(lambda: queue.running == 1))
    with pytest.raises(KeyboardInterrupt):
        next(results)
    thread.join(10)
    go_on.set()
    assert list(results) == [0, 1, 2]


def test_the_interpreter_exits_within_a_second_with_work_pending():
    code = (
        "import openai_mini, threading, time\n"
        "queue = openai_mini.RequestQueue(2)\n"
        "for _ in range(10): queue.submit(time.sleep, 60)\n"
        "results = queue.map(time.sleep, iter(lambda: 60, 0))\n"
        "threading.Thread(target=next, args=(results,), daemon=True).start()\n"
        "while queue.running < 2: pass\n"
        "print(time.time())\n"
    )
    path = os.path.dirname(openai_mini.__file__)
    done = subprocess.run([sys.executable, "-c", code], env=dict(os.environ, PYTHONPATH=path),
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0 and not done.stderr
    assert time.time() - float(done.stdout) < 1


# In the client


def test_the_server_never_sees_more_at_once_than_max_concurrent(server):
    def answer(request):
        if request.json.get("stream"):
            return Answer(sse=chunks("a", "b"), pause=0.001)
        return Answer(json=CHAT, drip=200, pause=0.001)

    server.default = answer
    client = queue_client(server, max_concurrent_requests=3)

    def work(i):
        for n in range(4):
            if (i + n) % 3 == 0:
                assert [chunk.content for chunk in client.stream_chat("x")][:2] == ["a", "b"]
            elif (i + n) % 3 == 1:
                assert client.chat("x").content == "hello"
            else:
                assert client.submit("chat", "x").result(20).content == "hello"

    assert together(12, work) == [None] * 12
    assert server.max_in_flight == 3 and len(server.requests) == 48
    assert client.stats()["queue"] == {"running": 0, "waiting": 0}
    client.close()


def test_a_stream_keeps_its_slot_to_its_end_however_it_ends(server):
    go_on = threading.Event()
    client = queue_client(server, max_concurrent_requests=1)

    def held():
        server.script(Answer(sse=chunks("a", "b"), wait=go_on, hold_after=1))
        stream = client.stream_chat("x")
        assert client.stats()["queue"]["running"] == 1
        with pytest.raises(openai_mini.QueueTimeoutError):
            client.chat("x", timeout=(5, 0.02))
        return stream

    def free():
        return client.stats()["queue"]["running"] == 0

    held().close()
    assert free()
    with held():
        pass
    assert free()
    stream = held()
    del stream
    assert free()
    stream = held()
    go_on.set()
    assert "".join(chunk.content for chunk in stream) == "ab"
    assert free()
    client.close()


def test_the_slot_is_free_while_a_call_waits_to_retry(server):
    client = queue_client(server, max_concurrent_requests=1, initial_retry_delay=1)
    states = []
    client._sleep = lambda seconds: states.append(client.stats()["queue"])
    server.script(Answer(500), Answer(500))
    assert client.submit("chat", "x").result(10).content == "hello"
    assert client.chat("x").content == "hello"
    assert states == [{"running": 0, "waiting": 0}] * 2
    client.close()


def test_a_429_pauses_every_caller_for_as_long_as_the_server_asks(server):
    client = queue_client(server, max_concurrent_requests=1, max_retries=2)
    arrived = []

    def answer(request):
        arrived.append(time.monotonic())
        return Answer(json=CHAT)

    server.script(Answer(429, headers={"retry-after": "1"}))
    server.default = answer
    began_at = time.monotonic()
    results = together(8, lambda i: client.chat("x", priority=i % 3))
    assert [result.content for result in results] == ["hello"] * 8
    assert min(arrived) - began_at >= 1 and len(arrived) == 8
    client.close()


def test_a_pause_is_no_longer_than_max_retry_delay(server):
    client = queue_client(server, max_retry_delay=0.05)
    server.script(Answer(429, headers={"retry-after": "3600"}))
    with pytest.raises(openai_mini.RateLimitError) as caught:
        client.chat("x")
    assert caught.value.retry_after == 3600
    assert client.chat("x", timeout=5).content == "hello"
    client.close()


def test_a_call_waits_for_its_slot_no_longer_than_its_timeout_and_its_deadline(server):
    client = queue_client(server, max_concurrent_requests=1, queue_size=1)
    with client._queue.slot():
        for limits in ({"timeout": (5, 0.02)}, {"deadline": 0.02}):
            with pytest.raises(openai_mini.QueueTimeoutError, match="POST /chat/completions"):
                client.chat("x", **limits)
        caller = QueueCaller(client._queue)
        queue_waits(client._queue, 1)
        with pytest.raises(openai_mini.QueueFullError, match="queue_size"):
            client.chat("x")
        waiting = [client.submit("chat", str(n), timeout=(5, 5)) for n in range(5)]
    assert [future.result(10).content for future in waiting] == ["hello"] * 5
    caller.join(10)
    assert len(server.requests) == 5
    client.close()


def test_a_job_that_calls_the_client_does_not_deadlock(server):
    client = queue_client(server, max_concurrent_requests=1)

    def job(text):
        first = client.chat(text)
        with client.stream_chat(first.content) as stream:
            said = "".join(chunk.content for chunk in stream)
        inner = client.submit("chat", said).result(10)
        return [first.content, said, inner.content] + [r.content for r in client.map("chat", "ab")]

    expected = ["hello", "hello", "hello", "hello", "hello"]
    assert client.submit(job, "x").result(20) == expected
    assert list(client.map(job, ["x", "y"])) == [expected] * 2
    assert server.max_in_flight == 1 and client.stats()["queue"]["running"] == 0
    client.close()


def test_a_stream_out_of_a_job_keeps_its_slot_and_gives_it_back(server):
    client = queue_client(server, max_concurrent_requests=1)
    stream = client.submit("stream_chat", "x").result(10)
    assert client.stats()["queue"]["running"] == 1
    gc.disable()
    try:
        del stream
        assert client.stats()["queue"]["running"] == 0
    finally:
        gc.enable()
    assert client.chat("x").content == "hello"
    client.close()


def test_client_map_is_in_order_while_answers_are_not(server):
    server.default = lambda request: Answer(
        json=queue_answer(queue_last_text(request)), drip=60, pause=random.random() / 200
    )
    options = {"max_concurrent_requests": 4, "queue_size": 8}
    with nothing_left_over(), queue_client(server, **options) as client:
        asked = [str(n) for n in range(40)]
        assert [r.content for r in client.map("chat", asked, priority=LOW)] == asked
        assert 1 < server.max_in_flight <= 4


def test_jobs_work_without_a_queue_for_calls(server):
    client = queue_client(server, use_request_queue=False, max_concurrent_requests=2)
    assert [r.content for r in client.map("chat", ["a"] * 6)] == ["hello"] * 6
    assert server.max_in_flight <= 2
    client.close()


def test_a_queue_may_be_shared_between_clients(server):
    queue = queue_of(1, 0)
    one, other = (queue_client(server, use_request_queue=queue) for _ in range(2))
    with one.stream_chat("x"):
        with pytest.raises(openai_mini.QueueFullError):
            other.chat("x")
    assert other.chat("x").content == "hello"
    assert queue_is_empty(queue)
    one.close()
    other.close()


def test_ctrl_c_in_the_clients_queue_leaves_no_slot(server):
    client = queue_client(server, max_concurrent_requests=1)
    with client._queue.slot():
        thread = queue_ctrl_c(lambda: queue_waits(client._queue, 1))
        with pytest.raises(KeyboardInterrupt):
            client.chat("x")
        thread.join(10)
    assert client.chat("x").content == "hello" and queue_is_empty(client._queue)
    client.close()


def test_after_a_fork_the_client_works_on_both_sides(server):
    client = queue_client(server, max_concurrent_requests=1)
    stream = client.stream_chat("x")
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = [r.content for r in client.map("chat", "ab", deadline=5)] != ["hello"] * 2
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert "".join(chunk.content for chunk in stream) == "hello"
    assert client.submit("chat", "x").result(10).content == "hello"
    client.close()


def test_of_200_threads_against_a_server_that_fails_a_third_all_is_accounted_for():
    """Every call ends in its own result or in an error of ours, and nothing is left over."""
    dice = random.Random(1)
    troubles = [
        Answer(500), Answer(503, headers={"retry-after": "0"}), Answer(400, body="no"),
        Answer(429, headers={"retry-after": "0"}), Answer(json=CHAT, cut=20),
        Answer(json=CHAT, reset=0), Answer(raw=b""), Answer(body="<p>", content_type="text/html"),
    ]  # fmt: skip

    def answer(request):
        trouble = dice.choice(troubles) if dice.random() < 1 / 3 else None
        return trouble or Answer(json=queue_answer(queue_last_text(request)))

    def work(i):
        counts = {"ok": 0, "failed": 0}
        for n in range(50):
            text = "%d-%d" % (i, n)
            try:
                ask = client.chat if n % 5 else lambda text: client.submit("chat", text).result(60)
                assert ask(text).content == text
                counts["ok"] += 1
            except openai_mini.OpenAIError:
                counts["failed"] += 1
        return counts

    with nothing_left_over(), LoopbackServer() as server:
        server.default = answer
        breaker = openai_mini.CircuitBreaker(failure_rate=0.99)
        client = queue_client(server, queue_size=150, circuit_breaker=breaker, max_retries=1)
        results = together(200, work, timeout=120)
        errors = [result for result in results if not isinstance(result, dict)]
        assert not errors, errors[:3]
        stats = client.stats()
        assert sum(counts["ok"] for counts in results) == stats["succeeded"] > 5000
        assert sum(counts["failed"] for counts in results) == stats["failed"] > 0
        assert stats["requests"] == 10000 and stats["abandoned"] == 0
        assert sum(stats["errors"].values()) == stats["failed"]
        assert stats["queue"] == {"running": 0, "waiting": 0}
        assert server.max_in_flight <= 10
        client.close()


# ------------------------------------------------------------------------------------------------
# Results


# What a call returns: JSON with attributes, lists that go on over pages, bytes, and files that are
# whole or not there.


def results_of(client, server, data, **how):
    """What request() makes of this JSON, over a socket."""
    text = data if isinstance(data, (str, bytes)) else json.dumps(data)
    server.script(Answer(body=text, content_type="application/json", **how))
    return client.request("GET", "/anything")


def test_attributes_reach_every_depth(server, client):
    server.script(Answer(json=CHAT))
    result = client.chat("hi")
    assert isinstance(result, dict) and result == CHAT
    assert (
        result.choices[0].message.content == "hello" == result["choices"][0]["message"]["content"]
    )
    assert result.usage.total_tokens == 10 and type(result.choices[0].message) is openai_mini.Result
    assert results_of(client, server, [[{"a": [{"b": 1}]}]])[0][0].a[0].b == 1


def test_what_is_not_there_reads_none(server, client):
    result = results_of(client, server, {"a": {"b": None}})
    assert result.nothing is None and result.a.b is None and result.a.nothing is None
    assert result.content is None and result.choices is None and result.output_text is None
    assert getattr(result, "x", 5) is None and "nothing" not in result
    with pytest.raises(KeyError):
        result["nothing"]
    for name in ("_x", "__len_hint__", "_repr_html_", "__array__"):
        assert not hasattr(result, name)


RESULTS_KEYS = {  # key: the name by which it is reached
    "plain": "plain",
    "self-harm": "self_harm",
    "self-harm/intent": "self_harm_intent",
    "harassment/threatening": "harassment_threatening",
    "a.b c": "a_b_c",
    "class": "class",
    "schema": "schema_",
    "from": "from_",
    "_hidden": "_hidden",
    "a\nb": "a_b",
    "content": "content",
    "message": "message",
    "output_text": "output_text",
    "parsed": "parsed",
    "data": "data",
    "id": "id",
    "\xe9t\xe9": "\xe9t\xe9",
}


@pytest.mark.parametrize("key", RESULTS_KEYS)
def test_a_key_is_reached_by_its_name(server, client, key):
    result = results_of(client, server, {"other": 1, key: "it"})
    assert getattr(result, RESULTS_KEYS[key]) == "it" == result[key]


@pytest.mark.parametrize(
    "key",
    "items keys values get pop update copy clear to_dict to_json model_dump model_dump_json "
    "request_id headers status_code _request_id".split(),
)
def test_methods_and_the_answers_own_names_win_over_keys(server, client, key):
    headers = {"x-request-id": "req_1", "x-other": "y"}
    result = results_of(client, server, {key: "the key"}, headers=headers)
    assert result[key] == "the key" and getattr(result, key) is not result[key]
    assert (result.request_id, result._request_id, result.status_code) == ("req_1", "req_1", 200)
    assert result.headers["X-Other"] == "y"
    if callable(getattr(result, key)):
        assert key in result.to_dict()


def test_an_exact_key_wins_over_a_similar_one(server, client):
    result = results_of(client, server, {"a-b": 1, "a_b": 2, "c": 3, "c_": 4})
    assert result.a_b == 2 and result.c == 3 and result.c_ == 4


def test_of_a_chat_answer_the_first_choice_is_at_hand(server, client):
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    two = [{"index": 0, "message": message, "finish_reason": "tool_calls"}, CHAT["choices"][0]]
    server.script(Answer(json=dict(CHAT, choices=two)))
    result = client.chat("hi")
    assert result.content is None and result.tool_calls == [call]
    assert result.message == message and result.finish_reason == "tool_calls"
    assert result.message.tool_calls[0].function.name == "f"


def test_of_a_responses_answer_all_text_is_at_hand(server, client):
    output = [
        {"type": "reasoning", "summary": []},
        {"type": "message", "content": [{"type": "output_text", "text": "a"}, {"type": "refusal"}]},
        {"type": "function_call", "name": "f"},
        {"type": "message", "content": [{"type": "output_text", "text": "b"}]},
    ]
    result = results_of(client, server, {"object": "response", "output": output})
    assert result.output_text == "ab"
    assert results_of(client, server, {"output": []}).output_text == ""


@pytest.mark.parametrize("odd", [None, 1, "text", [], [None], ["x"], [1], [[]], {}, {"0": 1}, True])
def test_answers_of_an_odd_shape_have_no_content_and_raise_nothing(server, client, odd):
    shapes = [{"choices": odd}, {"choices": [{"message": odd}]}, {"output": odd}]
    shapes += [{"output": [{"content": odd}]}, {"output": [{"content": [{"type": "output_text"}]}]}]
    for shape in shapes:
        result = results_of(client, server, shape)
        for name in ("content", "tool_calls", "finish_reason", "output_text"):
            assert not getattr(result, name) or name == "output_text"


def test_a_result_can_be_written_to(server, client):
    result = results_of(client, server, {"a": 1})
    result.b = 2
    result.a += 1
    assert result == {"a": 2, "b": 2}
    assert {"a", "b", "request_id", "to_dict"} <= set(dir(result))


def test_numbers_order_and_unknown_fields_stay_as_sent(server, client):
    text = '{"z": 1.0, "a": 12345678901234567890123, "m": -0.0, "e": 1e400, "t": true, "n": null,'
    text += ' "f": 0.1, "x": {"b": [1, 1.0], "a": "\\u00e9\\ud83d\\ude00"}}'
    result = results_of(client, server, text)
    assert list(result) == list("zametnfx") and list(result.x) == ["b", "a"]
    assert repr(dict(result)["z"]) == "1.0" and result.a == 12345678901234567890123
    assert repr(result.m) == "-0.0" and result.e == float("inf") and result.t is True
    assert result.x.a == "\xe9\U0001f600" and json.dumps(result.x.b) == "[1, 1.0]"


def test_it_turns_into_plain_data_and_back(server, client):
    data = {"a": [{"b": {"c": "\xe9\u2028"}}], "n": None}
    result = results_of(client, server, data)
    for plain in (result.to_dict(), result.model_dump(), result.model_dump(mode="json")):
        assert plain == data and type(plain) is dict
        assert type(plain["a"][0]) is dict and type(plain["a"][0]["b"]) is dict
    for text in (result.to_json(), result.model_dump_json(), result.model_dump_json(indent=2)):
        assert json.loads(text) == data and "\xe9" in text
    assert json.loads(json.dumps(result)) == data and {**result} == data
    assert "\n" in result.to_json() and "\n" not in result.model_dump_json()
    plain = result.to_dict()
    plain["a"].clear()
    assert result.a


def results_kinds(server, client) -> list:
    server.script(Answer(json=CHAT), Answer(json={"data": [{"id": 1}], "has_more": True}))
    server.script(Answer(json={"text": "words"}))
    headers = {"x-request-id": "req_9"}
    server.script(Answer(body=b"\0\xff", content_type="audio/mpeg", headers=headers))
    made = [client.chat("hi"), client.files.list(), client.transcribe_audio(b"ID3x")]
    return made + [client.text_to_speech("hi")]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_results_pickle_and_copy_with_their_kind_and_without_the_key(server, client, protocol):
    for result in results_kinds(server, client):
        raw = pickle.dumps(result, protocol)
        assert b"sk-test" not in raw
        for again in (pickle.loads(raw), copy.copy(result), copy.deepcopy(result)):
            assert again == result and type(again) is type(result)
            if isinstance(result, openai_mini.Result):
                assert again.request_id == result.request_id and again.status_code == 200
                assert type(again.get("choices", [result])[0]) in (openai_mini.Result, type(result))


def test_a_copy_of_a_result_is_its_own(server, client):
    result = results_of(client, server, {"a": {"b": 1}})
    deep = copy.deepcopy(result)
    deep.a.b = 2
    assert result.a.b == 1 and type(deep.a) is openai_mini.Result


def test_a_transcript_is_its_text(server, client):
    server.script(Answer(json={"text": "words", "usage": {}}), Answer(body="1\n00:00\nwords"))
    assert str(client.transcribe_audio(b"ID3x")) == "words"
    transcript = client.transcribe_audio(b"ID3x", response_format="srt")
    assert transcript.text == str(transcript) == "1\n00:00\nwords"


# JSON that is none, or more than JSON

RESULTS_BROKEN = {
    "nothing": (b"", "empty"),
    "blank": (b" \r\n", "empty"),
    "cut": (b'{"choices": [', "no JSON"),
    "HTML": (b"<html><title>Sign in</title>", "Sign in"),
    "text": (b"upstream says no", "upstream says no"),
    "two values": (b"{}{}", "no JSON"),
    "deep": (b"[" * 100000, "deep"),
    "deep objects": (b'{"a":' * 100000 + b"1" + b"}" * 100000, "deep"),
    "digits": (b'{"a": ' + b"9" * 10000 + b"}", "no JSON"),
    "an array": (b"[1]", "no JSON object"),
    "a string": (b'"x"', "no JSON object"),
    "null": (b"null", "no JSON object"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "no JSON"),
    "bad UTF-8": (b'{"a": "\xff"}', "no JSON"),
}


@pytest.mark.parametrize("case", RESULTS_BROKEN)
def test_an_answer_that_is_no_json_object_is_an_error_that_says_what_came(server, client, case):
    body, words = RESULTS_BROKEN[case]
    server.script(Answer(body=body, content_type="application/json"))
    digits_pass = case == "digits" and not hasattr(__import__("sys"), "get_int_max_str_digits")
    if digits_pass:  # this Python reads them
        assert client.chat("hi").a == int("9" * 10000)
        return
    with pytest.raises(openai_mini.APIResponseError) as caught:
        client.chat("hi")
    message = str(caught.value)
    assert message.startswith("POST /chat/completions: ") and words in message
    assert (
        len(message) < 500
        and caught.value.response is None
        or caught.value.response.status_code == 200
    )


def test_lone_surrogates_duplicate_keys_and_a_mark_are_taken(server, client):
    assert results_of(client, server, b'{"a": 1, "a": 2, "b": "\\ud800"}').a == 2
    assert results_of(client, server, b'{"b": "\\ud800"}').to_dict() == {"b": "\ud800"}
    assert results_of(client, server, b'\xef\xbb\xbf{"a": 1}').a == 1
    assert results_of(client, server, b"null") is None
    assert results_of(client, server, b"[]") == []


# Pages


def results_pages(*pages):
    """Answers of a list: each page's items, all but the last with has_more."""
    rows = [[{"id": name} for name in page] for page in pages]
    last = len(rows) - 1
    return [
        Answer(json={"object": "list", "data": d, "has_more": i < last}) for i, d in enumerate(rows)
    ]


def results_ids(page) -> str:
    return "".join(item.id for item in page)


def test_a_list_goes_over_all_items_of_all_pages_as_they_are_reached(server, client):
    server.script(*results_pages("ab", "c", "de"))
    page = client.files.list(limit=2, purpose="x")
    assert [item.id for item in page.data] == ["a", "b"] and len(server.requests) == 1
    items = iter(page)
    assert [next(items).id for _ in range(2)] == ["a", "b"] and len(server.requests) == 1
    assert next(items).id == "c" and len(server.requests) == 2
    assert results_ids(items) == "de" and len(server.requests) == 3
    queries = [request.query for request in server.requests]
    asked = {"limit": "2", "purpose": "x"}
    assert queries == [asked, dict(asked, after="b"), dict(asked, after="c")]
    assert [item.id for item in page.data] == ["a", "b"]


def test_pages_can_be_turned_by_hand(server, client):
    server.script(*results_pages("ab", "c"))
    page = client.files.list()
    assert page.has_next_page()
    second = page.get_next_page()
    assert [item.id for item in second.data] == ["c"] and not second.has_next_page()
    assert second.get_next_page() is None and len(server.requests) == 2


RESULTS_LISTS = {  # answers, the items, the requests made
    "one page": (results_pages("ab"), "ab", 1),
    "an empty one": (results_pages(""), "", 1),
    "no has_more: until empty": (
        [Answer(json={"data": [{"id": "a"}]}), Answer(json={"data": []})], "a", 2
    ),
    "a page that repeats": ([Answer(json={"data": [{"id": "a"}], "has_more": True})] * 3, "a", 2),
    "an empty page that has more": (results_pages("a", "", "b"), "a", 2),
    "last_id": (
        [Answer(json={"data": [{"x": 1, "id": "a"}], "has_more": True, "last_id": "L"}),
         Answer(json={"data": [{"id": "b"}], "has_more": False})], "ab", 2
    ),
    "items without ids": ([Answer(json={"data": [{"id": "a"}, "b"], "has_more": True})], None, 1),
    "null": ([Answer(json={"data": None, "has_more": True})], "", 1),
}  # fmt: skip


@pytest.mark.parametrize("case", RESULTS_LISTS)
def test_where_a_list_ends(server, client, case):
    answers, expected, requests = RESULTS_LISTS[case]
    server.script(*answers)
    items = list(client.files.list())
    assert expected is None or "".join(item.id for item in items) == expected
    assert len(server.requests) == requests
    if case == "last_id":
        assert server.requests[1].query == {"after": "L"}


def test_a_pickled_list_does_not_pass_its_first_page_off_as_all(server, client):
    server.script(results_pages("ab", "c")[0], *results_pages("x"))
    more, whole = client.files.list(), client.files.list()
    items = iter(pickle.loads(pickle.dumps(more)))
    assert next(items).id == "a" and next(items).id == "b"
    with pytest.raises(openai_mini.OpenAIError):
        next(items)
    assert results_ids(pickle.loads(pickle.dumps(whole))) == "x"


# Bytes


def test_a_binary_answer_is_bytes_with_the_official_names(server, client, tmp_path):
    body = "h\xe9llo".encode()
    headers = {"x-request-id": "req_3"}
    server.script(Answer(body=body, content_type="application/octet-stream", headers=headers))
    binary = client.files.content("file-1")
    assert binary == body and isinstance(binary, bytes) and binary.content == binary.read() == body
    assert type(binary.read()) is bytes and binary.text == "h\xe9llo"
    assert b"".join(binary.iter_bytes(2)) == body and binary.response.request_id == "req_3"
    for name in ("write_to_file", "stream_to_file"):
        getattr(binary, name)(tmp_path / name)
        getattr(binary, name)(str(tmp_path / name))
        assert (tmp_path / name).read_bytes() == body
    assert len(os.listdir(tmp_path)) == 2


# Files


def results_download(client, server, to, **how):
    server.script(Answer(**{"body": b"new" * 1000, **how}))
    return client.download_file("file-1", to)


def test_a_file_appears_whole(server, client, tmp_path):
    old_mask = os.umask(0o027)
    try:
        assert results_download(client, server, tmp_path / "x") == 3000
    finally:
        os.umask(old_mask)
    assert (tmp_path / "x").read_bytes() == b"new" * 1000 and os.listdir(tmp_path) == ["x"]
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


@pytest.mark.parametrize("how", [{"cut": 2000}, {"reset": 2000}, {"status": 500}], ids=str)
def test_a_file_that_does_not_come_whole_leaves_all_as_it_was(server, client, tmp_path, how):
    (tmp_path / "old").write_bytes(b"old")
    once = client.with_options(max_retries=0)
    for name in ("old", "new"):
        with pytest.raises(openai_mini.APIError):
            results_download(once, server, str(tmp_path / name), **how)
    assert os.listdir(tmp_path) == ["old"] and (tmp_path / "old").read_bytes() == b"old"


def test_while_it_comes_a_file_is_not_there(server, client, tmp_path):
    let = threading.Event()
    server.script(Answer(pieces=[b"a" * 100, b"b" * 100], wait=let, hold_after=1))
    future = client.submit("download_file", "file-1", str(tmp_path / "x"))
    server.wait_requests(1)
    assert not (tmp_path / "x").exists()
    let.set()
    assert future.result(10) == 200 and os.listdir(tmp_path) == ["x"]


@pytest.mark.skipif(os.name != "posix", reason="links and devices are those of POSIX")
def test_a_link_stays_a_link_and_a_device_a_device(server, client, tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    results_download(client, server, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"new" * 1000
    read_end, write_end = os.pipe()
    try:
        assert results_download(client, server, "/dev/fd/%d" % write_end) == 3000
        assert os.read(read_end, 5000) == b"new" * 1000
    finally:
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize("place", ["no/such/folder/x", "folder", "n" * 300])
def test_a_place_that_cannot_be_written_is_an_oserror(server, client, tmp_path, place):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        results_download(client, server, tmp_path / place)
    assert os.listdir(tmp_path) == ["folder"] and not os.listdir(tmp_path / "folder")


def test_a_long_name_is_no_obstacle(server, client, tmp_path):
    assert results_download(client, server, tmp_path / ("n" * 250)) == 3000


def test_an_open_file_is_written_from_where_it_stands(server, client):
    file = io.BytesIO(b"old")
    file.seek(3)
    assert results_download(client, server, file) == 3000
    assert file.getvalue() == b"old" + b"new" * 1000


# Images

RESULTS_PICTURES = {
    "png": b"\x89PNG\r\n\x1a\n", "jpg": b"\xff\xd8\xff\xe0", "webp": b"RIFF\0\0\0\0WEBPVP8 ",
    "bin": b"whatever",
}  # fmt: skip


def test_images_are_saved_whether_they_came_inline_or_as_urls(server, client, tmp_path):
    inline = [{"b64_json": base64.b64encode(body).decode()} for body in RESULTS_PICTURES.values()]
    linked = [
        {"url": server.origin + "/picture?sig=1"},
        {"url": server.origin + "/p", "b64_json": None},
    ]
    server.script(Answer(json={"data": inline + linked}))
    server.script(
        Answer(body=RESULTS_PICTURES["png"]), Answer(body=b"BM", content_type="image/bmp")
    )
    paths = client.generate_image("x").save(tmp_path)
    assert len(set(paths)) == 6 == len(os.listdir(tmp_path))
    bodies = [open(path, "rb").read() for path in paths]
    assert bodies == [*RESULTS_PICTURES.values(), RESULTS_PICTURES["png"], b"BM"]
    assert [path.rsplit(".")[-1] for path in paths[:5]] == [*RESULTS_PICTURES, "png"]
    assert all(os.path.isfile(path) for path in paths)
    assert [request.target for request in server.requests[1:]] == ["/picture?sig=1", "/p"]
    for request in server.requests[1:]:
        assert "sk-test" not in repr(request.headers)


def test_saving_twice_overwrites_nothing(server, client, tmp_path):
    server.default = Answer(json={"data": [{"b64_json": "AAAA"}]})
    first, second = (
        client.generate_image("x").save(tmp_path),
        client.generate_image("y").save(tmp_path),
    )
    assert len({*first, *second}) == 2 == len(os.listdir(tmp_path))


@pytest.mark.parametrize(
    "image, error",
    [
        ({"b64_json": "A"}, openai_mini.APIResponseError),
        ({"b64_json": "\xe9"}, openai_mini.APIResponseError),
        ({"b64_json": 7}, openai_mini.APIResponseError),
        ({}, openai_mini.APIResponseError),
        ({"url": "http://127.0.0.1:1/x"}, openai_mini.APIConnectionError),
        ({"url": "file:///etc/hosts"}, openai_mini.OpenAIError),
        ({"url": 7}, openai_mini.OpenAIError),
    ],
)
def test_an_image_that_cannot_be_had_is_an_error_of_ours(server, client, tmp_path, image, error):
    server.script(Answer(json={"data": [image]}))
    with pytest.raises(error):
        client.generate_image("x").save(tmp_path)
    assert os.listdir(tmp_path) == []


def test_an_image_whose_url_says_no_is_an_error_and_no_file(server, client, tmp_path):
    server.script(
        Answer(json={"data": [{"url": server.origin + "/gone"}]}), Answer(404, body="gone")
    )
    with pytest.raises(openai_mini.APIError):
        client.generate_image("x").save(tmp_path)
    assert os.listdir(tmp_path) == []


def test_images_need_a_folder_that_is_there(server, client, tmp_path):
    server.script(Answer(json={"data": [{"b64_json": "AAAA"}]}))
    with pytest.raises(OSError):
        client.generate_image("x").save(tmp_path / "none")


def test_vectors_that_are_broken_base64_are_an_error_of_ours(server, client):
    good = base64.b64encode(struct.pack("<2f", 0.5, -1)).decode()
    server.script(Answer(json={"data": [{"embedding": good, "index": 0}]}))
    assert client.embedding("x") == [[0.5, -1.0]]
    server.script(Answer(json={"data": [{"embedding": "A", "index": 0}]}))
    with pytest.raises(openai_mini.APIResponseError):
        client.embedding("x")


# ------------------------------------------------------------------------------------------------
# Client


# ------------------------------------------------------------------------------------------------
# Client: constructor, headers, keys, attempts


def client_for(server, **options):
    options = {"api_key": "sk-test", "initial_retry_delay": 0.001, "timeout": (5, 10), **options}
    return OpenAIMini(base_url=options.pop("base_url", server.url), **options)


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


# The constructor and the environment


def test_without_arguments_the_environment_says_who_asks_whom(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env\n")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    monkeypatch.setenv("OPENAI_MODEL", "env-model")
    OpenAIMini().chat("hi")
    asked = server.requests[0]
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == "Bearer sk-env"
    assert asked.headers["openai-organization"] == "org-1"
    assert asked.headers["openai-project"] == "proj-1"
    assert asked.json["model"] == "env-model"


def test_arguments_win_over_the_environment(server, monkeypatch):
    for name in ("API_KEY", "BASE_URL", "ORG_ID", "PROJECT_ID", "MODEL"):
        monkeypatch.setenv("OPENAI_" + name, "wrong")
    client = client_for(server, organization="org-2", project="proj-2", model="arg-model")
    client.chat("hi")
    client.chat("hi", model="call-model")
    first, second = server.requests
    assert first.headers["authorization"] == "Bearer sk-test"
    assert first.headers["openai-organization"] == "org-2"
    assert first.headers["openai-project"] == "proj-2"
    assert (first.json["model"], second.json["model"]) == ("arg-model", "call-model")


def test_no_key_is_an_error_only_against_the_default_host(server):
    assert "OPENAI_API_KEY" in str(client_error(OpenAIMini, AuthenticationError))
    assert OpenAIMini(base_url=server.url).chat("hi").content == "hello"
    assert "authorization" not in server.requests[0].headers


def test_an_empty_key_counts_as_none(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    OpenAIMini(api_key="", base_url=server.url).chat("hi")
    assert server.requests[0].headers["authorization"] == "Bearer sk-env"


CLIENT_BAD_ARGUMENTS = [
    {"base_url": "ftp://host/v1"},
    {"base_url": "localhost:8000"},
    {"base_url": "http:///v1"},
    {"base_url": "http://host:99999/v1"},
    {"base_url": "https://user:secret-pw@host/v1"},
    {"api_key": 42},
    {"timeout": 0},
    {"timeout": -1},
    {"timeout": "10"},
    {"timeout": (1, 2, 3)},
    {"timeout": (1, "2")},
    {"timeout": float("nan")},
    {"deadline": 0},
    {"deadline": "5"},
    {"max_retries": -1},
    {"max_retries": True},
    {"max_retries": None},
    {"max_retries": 2.5},
    {"initial_retry_delay": -1},
    {"backoff_factor": 0.5},
    {"max_retry_delay": "60"},
    {"max_concurrent_requests": 0},
    {"queue_size": -1},
    {"requests_per_minute": 0},
    {"use_request_queue": "yes"},
    {"circuit_breaker": "yes"},
    {"fallback": "https://other.example/v1"},
    {"session": "session"},
    {"cache": 42},
    {"cache": True},
    {"on_event": "print"},
    {"default_headers": {"X-A": "one\r\nX-B: two"}},
    {"default_headers": {"X A": "one"}},
    {"default_headers": [("X-A", "one")]},
    {"organization": "org\n1"},
]


@pytest.mark.parametrize("options", CLIENT_BAD_ARGUMENTS, ids=repr)
def test_a_wrong_argument_is_refused_by_name(options):
    """At once, in one sentence, without what is secret in it."""
    options = {"base_url": "http://127.0.0.1:9/v1", **options}
    error = client_error(lambda: OpenAIMini(**{"api_key": "sk-test", **options}), ValidationError)
    name, value = list(options.items())[-1]
    said = str(error)
    words = {"default_headers": "X", "organization": "OpenAI-Organization"}
    words.update(max_concurrent_requests="max_concurrent", queue_size="size")
    words.update(requests_per_minute="per_minute")
    assert words.get(name, name) in said
    assert "secret-pw" not in said and "\n" not in said


def test_an_unknown_argument_is_a_type_error_as_in_any_python():
    with pytest.raises(TypeError):
        OpenAIMini(base_url="echo:", max_retrys=3)


@pytest.mark.parametrize("end", ["", "/", "//", "?tenant=7", "/?tenant=7"])
def test_a_base_url_may_end_as_it_likes_and_keeps_its_query(server, end):
    client = client_for(server, base_url=server.url + end)
    client.chat("hi", extra_query={"b": 1})
    asked = server.requests[0]
    assert asked.path == "/v1/chat/completions"
    assert asked.query == {"b": "1", **({"tenant": "7"} if "?" in end else {})}


def test_a_base_url_may_have_no_path_or_a_long_one(server):
    client_for(server, base_url=server.origin).chat("hi")
    client_for(server, base_url=server.origin + "/a%20b/openai/v1").chat("hi")
    paths = [asked.path for asked in server.requests]
    assert paths == ["/chat/completions", "/a%20b/openai/v1/chat/completions"]


def test_a_user_and_password_in_base_url_are_not_shown():
    error = client_error(lambda: OpenAIMini(base_url="https://me:secret@host/v1"), ValidationError)
    assert "secret" not in str(error) and "api_key" in str(error)


# Copies


def test_a_copy_shares_session_queue_breaker_and_statistics(server):
    client = client_for(server)
    for twin in (client.with_options(timeout=3), client.copy(max_retries=0), client):
        twin.chat("hi")
    assert server.connections == 1
    assert client.stats()["requests"] == client.with_options().stats()["requests"] == 3
    server.default = Answer(500)
    for _ in range(5):
        client_error(lambda: client.with_options(max_retries=0).chat("hi"))
    assert isinstance(client_error(lambda: client.chat("hi")), openai_mini.CircuitOpenError)


def test_a_copy_for_another_server_has_a_breaker_of_its_own(server):
    client = client_for(server, max_retries=0)
    server.default = Answer(500)
    for _ in range(5):
        client_error(lambda: client.chat("hi"))
    assert client.stats()["circuit"]["state"] == "open"
    with LoopbackServer() as other:
        copy = client.with_options(base_url=other.url)
        assert copy.chat("hi").content == "hello"
        assert copy.stats()["circuit"]["state"] == "closed"
    assert client.with_options(timeout=3).stats()["circuit"]["state"] == "open"


def test_a_copy_has_what_it_was_given_and_the_original_stays(server):
    client = client_for(server, default_headers={"X-A": "1"}, organization="org-1")
    copy = client.with_options(default_headers={"X-B": "2"}, api_key="sk-other", model="m")
    copy.chat("hi")
    client.chat("hi")
    first, second = server.requests
    assert first.headers["authorization"] == "Bearer sk-other"
    assert "x-a" not in first.headers and first.headers["x-b"] == "2"
    assert first.headers["openai-organization"] == "org-1"
    assert first.json["model"] == "m"
    assert second.headers["authorization"] == "Bearer sk-test"
    assert "x-b" not in second.headers and second.headers["x-a"] == "1"


def test_a_copy_with_an_unknown_option_is_refused(server):
    error = client_error(lambda: client_for(server).with_options(timeouts=3), ValidationError)
    assert "timeouts" in str(error)


def test_a_copy_with_other_limits_has_a_queue_of_its_own(server):
    client = client_for(server)
    gate = threading.Event()
    server.default = Answer(json=CHAT, wait=gate)
    copy = client.with_options(max_concurrent_requests=1)
    jobs = [copy.submit("chat", "hi") for _ in range(3)]
    server.wait_requests(1)
    assert copy.stats()["queue"]["running"] == 1
    assert client.stats()["queue"]["running"] == 0
    gate.set()
    assert [job.result(10).content for job in jobs] == ["hello"] * 3
    assert server.max_in_flight == 1


def test_close_may_be_called_again_and_with_closes(server):
    with client_for(server) as client:
        client.chat("hi")
    client.close()
    client.close()
    server.wait_closed(1)


def test_its_repr_names_the_server_and_no_key(server):
    client = client_for(server, base_url=server.url + "?sig=secret")
    assert server.url in repr(client)
    assert "sk-test" not in repr(client) and "secret" not in repr(client)


# Headers, query, body


def test_headers_of_the_call_win_over_the_clients_whatever_their_case(server):
    client = client_for(server, default_headers={"X-Team": "a", "user-agent": "mine", "X-Off": "1"})
    client.chat("hi", extra_headers={"x-team": "b", "X-OFF": None, "X-New": "n"})
    headers = server.requests[0].headers
    assert (headers["x-team"], headers["user-agent"], headers["x-new"]) == ("b", "mine", "n")
    assert "x-off" not in headers


def test_a_callers_authorization_header_replaces_the_key(server):
    client_for(server, default_headers={"authorization": "Basic Zm9v"}).chat("hi")
    client_for(server).chat("hi", extra_headers={"Authorization": "Bearer other"})
    sent = [asked.headers["authorization"] for asked in server.requests]
    assert sent == ["Basic Zm9v", "Bearer other"]


def test_a_header_that_cannot_be_sent_is_refused_before_anything_is_sent(server):
    client = client_for(server)
    for value in ("a\r\nX-B: b", "a\nb", "\u0142", "a\x00b"):
        error = client_error(
            lambda: client.chat("hi", extra_headers={"X-A": value}), ValidationError
        )
        assert "X-A" in str(error)
    assert not server.requests


def test_query_parameters_add_up_and_nest_as_the_official_package_has_them(server):
    client = client_for(server, default_query={"a": 1, "flag": True})
    client.request("GET", "/things", params={"b": [1, 2], "c": {"d": False}, "no": None})
    assert server.requests[0].query == {
        "a": "1", "flag": "true", "b[]": ["1", "2"], "c[d]": "false",
    }  # fmt: skip


def test_extra_body_goes_out_unchecked_over_the_arguments(server):
    client_for(server).chat("hi", temperature=1, extra_body={"temperature": 9, "vendor": {"x": 1}})
    body = server.requests[0].json
    assert body["temperature"] == 9 and body["vendor"] == {"x": 1}


def test_not_given_arguments_are_left_out_and_none_is_null(server):
    client_for(server).chat("hi", stop=openai_mini.NOT_GIVEN, user=None)
    body = server.requests[0].json
    assert "stop" not in body and body["user"] is None


def test_api_version_has_azures_manners(server):
    client_for(server, api_version="2026-01-01").chat("hi")
    client_for(server, api_version="2026-01-01", api_key=lambda: "token").chat("hi")
    first, second = server.requests
    assert first.query == second.query == {"api-version": "2026-01-01"}
    assert first.headers["api-key"] == "sk-test" and "authorization" not in first.headers
    assert second.headers["authorization"] == "Bearer token" and "api-key" not in second.headers


def test_the_admin_key_is_sent_for_admin_calls_only(server, monkeypatch):
    client = client_for(server, admin_api_key="sk-admin")
    client.admin.organization.projects.list()
    client.files.list()
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-env-admin")
    client_for(server).admin.organization.projects.list()
    monkeypatch.delenv("OPENAI_ADMIN_KEY")
    client_for(server).admin.organization.projects.list()
    sent = [asked.headers["authorization"][7:] for asked in server.requests]
    assert sent == ["sk-admin", "sk-test", "sk-env-admin", "sk-test"]


# Keys


def test_a_callable_key_is_asked_for_every_attempt(server):
    keys = iter(["one", "two", "three\n"])
    server.script(Answer(500), Answer(500), Answer(json=CHAT))
    client_for(server, api_key=lambda: next(keys)).chat("hi")
    sent = [asked.headers["authorization"] for asked in server.requests]
    assert sent == ["Bearer one", "Bearer two", "Bearer three"]


def test_after_a_401_a_callable_key_is_asked_once_more(server):
    keys = iter("abcdef")
    client = client_for(server, api_key=lambda: next(keys))
    server.script(Answer(401), Answer(json=CHAT), Answer(401), Answer(401))
    assert client.chat("hi").content == "hello"
    client_error(lambda: client.chat("hi"), AuthenticationError)
    sent = [asked.headers["authorization"][7:] for asked in server.requests]
    assert sent == ["a", "b", "c", "d"]


def test_a_401_is_final_for_a_string_and_without_retries(server):
    server.default = Answer(401)
    client_error(lambda: client_for(server).chat("hi"), AuthenticationError)
    client = client_for(server, api_key=lambda: "token", max_retries=0)
    client_error(lambda: client.chat("hi"), AuthenticationError)
    assert len(server.requests) == 2


@pytest.mark.parametrize("key", ["sk-hush\nX: y", "sk-hush\u0142", "sk-\x00hush", "sk-hush\u2028a"])
def test_a_key_that_no_header_can_hold_is_refused_without_printing_it(server, key):
    for error in (
        client_error(lambda: client_for(server, api_key=key), ValidationError),
        client_error(lambda: client_for(server, admin_api_key=key), ValidationError),
        client_error(lambda: client_for(server, api_key=lambda: key).chat("hi"), ValidationError),
    ):
        assert "hush" not in "".join(traceback.format_exception(None, error, error.__traceback__))
        assert "key" in str(error)
    assert not server.requests


def test_what_a_callable_key_raises_reaches_the_caller_and_gives_the_slot_back(server):
    def no_token():
        raise LookupError("the vault is shut")

    client = client_for(server, api_key=no_token)
    with pytest.raises(LookupError, match="vault"):
        client.chat("hi")
    assert client.stats()["queue"]["running"] == 0 and client.stats()["failed"] == 1
    assert client.stats()["circuit"]["state"] == "closed"


def test_no_key_is_in_any_text_of_an_error_even_if_the_server_echoes_it(server):
    echo = {"error": {"message": "bad key sk-test-123", "param": "Bearer sk-test-123"}}
    server.default = Answer(401, json=echo, headers={"x-said": "sk-test-123"})
    client = client_for(server, api_key="sk-test-123")
    error = client_error(lambda: client.chat("hi"), AuthenticationError)
    texts = [str(error), repr(error), repr(error.body), repr(pickle.loads(pickle.dumps(error)))]
    texts += traceback.format_exception(None, error, error.__traceback__)
    texts += [error.response.text, repr(error.response.json()), repr(error.__dict__)]
    assert not [text for text in texts if "sk-test-123" in text]
    assert "API key" in str(error)


def test_a_netrc_entry_does_not_replace_the_key(server, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password wrong\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    client_for(server).chat("hi")
    client_for(server, session=requests.Session()).chat("hi")
    assert {asked.headers["authorization"] for asked in server.requests} == {"Bearer sk-test"}


# Time


def test_a_silent_server_is_a_timeout_that_says_how_long_it_was_waited_for(server):
    server.default = Answer(json=CHAT, wait=threading.Event())
    client = client_for(server, timeout=0.05, max_retries=0)
    error = client_error(lambda: client.chat("hi"), openai_mini.APITimeoutError)
    assert "0.05 s" in str(error) and "POST /chat/completions" in str(error)
    assert "timeout=" in str(error)
    client = client_for(server, max_retries=0)
    client_error(lambda: client.chat("hi", timeout=(5, 0.05)), openai_mini.APITimeoutError)


def test_a_timeout_of_none_waits(server):
    gate = threading.Event()
    server.default = Answer(json=CHAT, wait=gate)
    job = client_for(server, timeout=None).submit("chat", "hi")
    server.wait_requests(1)
    gate.set()
    assert job.result(10).content == "hello"


def test_a_post_that_may_have_been_done_is_retried_once_at_most(server):
    server.default = Answer(json=CHAT, wait=threading.Event())
    client = client_for(server, timeout=0.04, max_retries=5, circuit_breaker=False)
    error = client_error(lambda: client.chat("hi"), openai_mini.APITimeoutError)
    assert len(server.requests) == 2 and "2 attempts" in str(error)


def test_a_get_is_retried_after_each_read_timeout(server):
    server.default = Answer(json={}, wait=threading.Event())
    client = client_for(server, timeout=0.04, max_retries=2)
    client_error(client.list_models, openai_mini.APITimeoutError)
    assert len(server.requests) == 3


def test_the_deadline_ends_a_call_that_waits_for_an_answer(server):
    server.default = Answer(json=CHAT, wait=threading.Event())
    client = client_for(server, deadline=0.05)
    error = client_error(lambda: client.chat("hi"), openai_mini.APITimeoutError)
    assert "deadline" in str(error) and len(server.requests) == 1
    error = client_error(lambda: client.list_models(deadline=0.04), openai_mini.APITimeoutError)
    assert len(server.requests) == 2


def test_the_deadline_ends_a_body_that_drips(server):
    server.default = Answer(json=CHAT, drip=1, pause=0.01)
    client = client_for(server, deadline=0.1, max_retries=0)
    assert "deadline" in str(client_error(lambda: client.chat("hi"), openai_mini.APITimeoutError))


def test_a_wait_past_the_deadline_is_not_waited_for(server):
    server.default = Answer(429, headers={"retry-after": "5"})
    client, waits = client_sleeping(server, deadline=2)
    error = client_error(lambda: client.chat("hi"), openai_mini.RateLimitError)
    assert (waits, error.retry_after, len(server.requests)) == ([], 5, 1)


def test_the_deadline_counts_the_wait_for_a_slot(server):
    gate = threading.Event()
    server.default = Answer(json=CHAT, wait=gate)
    client = client_for(server, max_concurrent_requests=1, max_retries=0)
    job = client.submit("chat", "hi")
    server.wait_requests(1)
    client_error(lambda: client.chat("hi", deadline=0.03), openai_mini.QueueTimeoutError)
    gate.set()
    job.result(10)


# The attempts of a call


def client_date(seconds):
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


QUOTA = {
    "error": {
        "message": "no money left",
        "type": "insufficient_quota",
        "code": "insufficient_quota",
    }
}
RETRY_CASES = [  # id, answer, how many attempts, what was waited for: seconds, or (least, most)
    ("408", Answer(408), 2, (0, 0.5)),
    ("409", Answer(409), 2, (0, 0.5)),
    ("429", Answer(429), 2, (0, 0.5)),
    ("500", Answer(500), 2, (0, 0.5)),
    ("503", Answer(503), 2, (0, 0.5)),
    ("529", Answer(529), 2, (0, 0.5)),
    ("599", Answer(599), 2, (0, 0.5)),
    ("400", Answer(400), 1, None),
    ("403", Answer(403), 1, None),
    ("404", Answer(404), 1, None),
    ("413", Answer(413), 1, None),
    ("422", Answer(422), 1, None),
    ("reset", Answer(json=CHAT, reset=0), 2, (0, 0.5)),
    ("closed without a word", Answer(raw=b""), 2, (0, 0.5)),
    ("body cut short", Answer(json=CHAT, cut=20), 2, (0, 0.5)),
    ("chunked body cut short", Answer(json=CHAT, framing="chunked", cut=20), 2, (0, 0.5)),
    (
        "gzip cut short",
        Answer(json=CHAT, gzip=True, framing="chunked", drip=9, cut=30),
        2,
        (0, 0.5),
    ),
    ("no JSON", Answer(body="<html>"), 1, None),
    ("seconds", Answer(429, headers={"retry-after": "7"}), 2, 7),
    ("seconds and a fraction", Answer(503, headers={"retry-after": "1.5"}), 2, 1.5),
    ("none", Answer(503, headers={"retry-after": "0"}), 2, 0),
    (
        "milliseconds first",
        Answer(429, headers={"retry-after-ms": "250", "retry-after": "9"}),
        2,
        0.25,
    ),
    ("a date", lambda: Answer(429, headers={"retry-after": client_date(30)}), 2, (10, 31)),
    ("a date gone by", Answer(429, headers={"retry-after": client_date(-90)}), 2, 0),
    ("unreadable", Answer(429, headers={"retry-after": "soon"}), 2, (0, 0.5)),
    ("negative", Answer(429, headers={"retry-after": "-3"}), 2, (0, 0.5)),
    ("not a number", Answer(429, headers={"retry-after": "nan"}), 2, (0, 0.5)),
    ("other digits", Answer(429, headers={"retry-after": b"\xb2".decode("latin-1")}), 2, (0, 0.5)),
    ("too long to wait", Answer(429, headers={"retry-after": "61"}), 1, None),
    ("for ever", Answer(429, headers={"retry-after": "9" * 400}), 1, None),
    ("told to retry", Answer(400, headers={"x-should-retry": "true"}), 2, (0, 0.5)),
    ("told not to", Answer(503, headers={"x-should-retry": "false"}), 1, None),
    ("quota", Answer(429, json=QUOTA), 1, None),
    ("quota, with a time", Answer(429, json=QUOTA, headers={"retry-after": "1"}), 1, None),
    ("error under 200", Answer(json={"error": {"code": "rate_limit_exceeded"}}), 2, (0, 0.5)),
    ("error under 200 that stays", Answer(json={"error": {"code": 400}}), 1, None),
]


@pytest.mark.parametrize(
    "answer, attempts, wait", [c[1:] for c in RETRY_CASES], ids=[c[0] for c in RETRY_CASES]
)
def test_what_is_tried_again_and_when(server, answer, attempts, wait):
    answer = answer() if callable(answer) else answer  # a date is made when it is sent
    server.script(answer, Answer(json=CHAT))
    client, waits = client_sleeping(server)
    if attempts == 1:
        error = client_error(lambda: client.chat("hi"))
        assert "after 1 attempt" in str(error)
    else:
        assert client.chat("hi").content == "hello"
        least, most = wait if isinstance(wait, tuple) else (wait, wait)
        assert len(waits) == 1 and least <= waits[0] <= most, waits
    assert len(server.requests) == attempts
    assert client.stats()["retries"] == attempts - 1


def test_the_waits_grow_exponentially_with_full_jitter_up_to_a_limit(server, monkeypatch):
    drawn = []
    monkeypatch.setattr(random, "uniform", lambda least, most: drawn.append((least, most)) or most)
    openai_mini.random.__dict__.pop("uniform", None)
    server.default = Answer(500)
    client, waits = client_sleeping(server, max_retries=6, max_retry_delay=5, circuit_breaker=False)
    client_error(lambda: client.chat("hi"))
    openai_mini.random.__dict__.pop("uniform", None)
    assert waits == [0.5, 1, 2, 4, 5, 5] and {least for least, _ in drawn} == {0}


def test_the_ten_thousandth_attempt_waits_no_longer_than_the_longest(server):
    server.script(*[Answer(500, headers={"retry-after": "x"})] * 1200)
    client, waits = client_sleeping(server, max_retries=1200, circuit_breaker=False)
    assert client.chat("hi").content == "hello"
    assert len(waits) == 1200 and max(waits) <= 60


def test_max_retries_0_is_exactly_one_attempt(server):
    faults = [
        Answer(500),
        Answer(429),
        Answer(json=CHAT, reset=0),
        Answer(json=CHAT, cut=9),
        Answer(raw=b""),
    ]
    for number, fault in enumerate(faults, 1):
        server.script(fault)
        client, waits = client_sleeping(server, max_retries=number % 2, circuit_breaker=False)
        client_error(lambda: client.chat("hi", max_retries=0))
        assert len(server.requests) == number and not waits


def test_one_idempotency_key_for_all_attempts_of_a_post_and_another_for_the_next(server):
    server.script(Answer(500), Answer(json=CHAT, reset=0), Answer(json=CHAT), Answer(json=CHAT))
    client = client_for(server)
    client.chat("hi")
    client.chat("hi")
    client.list_models()
    keys = [asked.headers.get("idempotency-key") for asked in server.requests]
    assert keys[0] == keys[1] == keys[2] != keys[3] and keys[0] and keys[4] is None


def test_a_callers_idempotency_key_is_kept(server):
    client_for(server).chat("hi", extra_headers={"idempotency-key": "mine"})
    assert server.requests[0].headers["idempotency-key"] == "mine"


def test_a_pooled_connection_that_died_is_replaced_and_is_no_attempt(server):
    client = client_for(server, max_retries=0)
    client.chat("hi")
    server.drop_connections()
    eventually(lambda: not server.open_connections)
    assert client.chat("hi").content == "hello"
    assert server.connections == 2 and client.stats()["retries"] == 0


def test_no_slot_is_held_while_a_call_waits_to_retry(server):
    server.script(Answer(500), Answer(json=CHAT))
    client = client_for(server, max_concurrent_requests=1)
    client._sleep = lambda seconds: running.append(client.stats()["queue"]["running"])
    running = []
    client.chat("hi")
    assert running == [0]


def test_an_unreachable_server_is_named_with_its_remedy():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = "http://127.0.0.1:%d/v1" % taken.getsockname()[1]
        client = OpenAIMini(api_key="sk-test", base_url=url, initial_retry_delay=0.001)
        error = client_error(lambda: client.chat("hi"), openai_mini.APIConnectionError)
    assert "refused" in str(error) and "4 attempts" in str(error) and "base_url" in str(error)
    assert error.__cause__ is None and error.__context__ is None


def test_a_certificate_that_is_not_trusted_is_not_tried_again(tls_server):
    client, waits = client_sleeping(tls_server)
    error = client_error(lambda: client.chat("hi"), openai_mini.APIConnectionError)
    assert "certificate" in str(error) and "verify=" in str(error) and not waits
    assert tls_server.connections == 1
    tls_server.failures.clear()
    assert client_for(tls_server, verify=tls_server.cert_path).chat("hi").content == "hello"
    assert client_for(tls_server, verify=False).chat("hi").content == "hello"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_within_the_origin_keeps_method_body_and_key(server, status):
    server.script(Answer(status, headers={"location": "/v2/chat?x=1"}), Answer(json=CHAT))
    assert client_for(server).chat("hi").content == "hello"
    first, second = server.requests
    assert (second.method, second.target) == ("POST", "/v2/chat?x=1")
    assert second.body == first.body
    assert second.headers["authorization"] == "Bearer sk-test"


def test_a_303_never_turns_a_post_into_a_get(server):
    server.script(Answer(303, headers={"location": "/v2"}), Answer(json={}))
    client_error(lambda: client_for(server).chat("hi"), openai_mini.APIStatusError)
    assert len(server.requests) == 1


def test_a_redirect_to_another_origin_is_not_followed(server):
    with LoopbackServer() as other:
        for location in (other.url, "//127.0.0.1:%d/v1" % other.port, "https:" + server.origin[5:]):
            server.script(Answer(307, headers={"location": location}))
            error = client_error(lambda: client_for(server).chat("hi"), openai_mini.APIStatusError)
            assert "redirect" in str(error)
        assert not other.connections and len(server.requests) == 3


def test_a_circle_of_redirects_ends(server):
    server.default = Answer(307, headers={"location": "/v1/chat/completions"})
    error = client_error(lambda: client_for(server).chat("hi"), openai_mini.APIStatusError)
    assert "redirect" in str(error) and len(server.requests) <= 10


def test_a_redirect_without_a_place_is_an_error(server):
    server.script(Answer(302))
    client_error(lambda: client_for(server).chat("hi"), openai_mini.APIStatusError)


def test_when_the_circuit_opens_between_two_attempts_the_last_real_error_is_raised(server):
    server.default = Answer(500, json={"error": {"message": "the pump broke"}})
    client = client_for(server, circuit_breaker=openai_mini.CircuitBreaker(failure_threshold=2))
    error = client_error(lambda: client.chat("hi"), openai_mini.InternalServerError)
    assert "pump" in str(error) and len(server.requests) == 2
    client_error(lambda: client.chat("hi"), openai_mini.CircuitOpenError)
    assert len(server.requests) == 2


# Fallbacks


@pytest.mark.parametrize(
    "fault", [Answer(500), Answer(429), Answer(json=CHAT, reset=0)], ids=["500", "429", "reset"]
)
def test_a_fallback_answers_when_the_first_server_does_not(server, fault):
    server.default = fault
    with LoopbackServer() as other:
        second = client_for(other, api_key="sk-other", model="other-model")
        client = client_for(server, fallback=second, max_retries=1)
        assert client.chat("hi").content == "hello"
        assert "".join(chunk.content for chunk in client.stream_chat("hi")) == "hello"
        assert len(server.requests) == 4
        asked = other.requests[0]
        assert asked.headers["authorization"] == "Bearer sk-other"
        assert asked.json["model"] == "other-model"
        stats = client.stats()
        assert (stats["requests"], stats["succeeded"], stats["failed"]) == (2, 2, 0)


def test_fallbacks_go_in_order_and_the_last_error_is_raised(server):
    server.default = Answer(503)
    with LoopbackServer() as second, LoopbackServer() as third:
        second.default = Answer(500)
        rest = [client_for(second, max_retries=0), client_for(third, max_retries=0)]
        client = client_for(server, max_retries=0, fallback=rest)
        assert client.chat("hi").content == "hello"
        third.default = Answer(504, json={"error": "third"})
        assert "third" in str(client_error(lambda: client.chat("hi")))
        counts = [len(each.requests) for each in (server, second, third)]
        assert counts == [2, 2, 2]


def test_an_open_circuit_goes_to_the_fallback(server):
    server.default = Answer(500)
    with LoopbackServer() as other:
        breaker = openai_mini.CircuitBreaker(failure_threshold=1)
        fallback = client_for(other)
        client = client_for(server, fallback=fallback, circuit_breaker=breaker, max_retries=0)
        for _ in range(3):
            client.chat("hi")
        assert (len(server.requests), len(other.requests)) == (1, 3)


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_what_another_server_would_refuse_too_does_not_go_to_the_fallback(server, status):
    server.default = Answer(status)
    with LoopbackServer() as other:
        client_error(lambda: client_for(server, fallback=client_for(other)).chat("hi"))
        assert not other.requests


def test_a_stream_that_has_begun_does_not_go_to_the_fallback(server):
    server.default = Answer(sse=chunks("a", "b"), cut=250)
    with LoopbackServer() as other:
        stream = client_for(server, fallback=client_for(other)).stream_chat("hi")
        client_error(lambda: list(stream), openai_mini.StreamInterruptedError)
        assert not other.requests


# A session of the caller's, logging


def test_a_callers_session_is_used_as_it_is(server):
    session = requests.Session()
    session.headers["X-Session"] = "mine"
    session.params = {"s": "1"}
    session.cookies.set("c", "1")
    seen = []
    session.hooks["response"].append(lambda answer, **kw: seen.append(answer.status_code))
    client = client_for(server, session=session)
    server.script(Answer(500), Answer(json=CHAT))
    assert client.chat("hi").content == "hello"
    assert [chunk.content for chunk in client.stream_chat("hi")][:2] == ["hel", "lo"]
    assert seen == [500, 200, 200]
    assert server.requests[0].headers["x-session"] == "mine"
    assert server.requests[0].headers["authorization"] == "Bearer sk-test"
    client.close()
    assert session.get(server.url + "/models").status_code == 200


def test_a_session_that_was_closed_still_works_as_in_requests(server):
    session = requests.Session()
    session.close()
    assert client_for(server, session=session).chat("hi").content == "hello"


def test_racing_threads_share_the_connections_of_one_pool(server):
    client = client_for(server, max_concurrent_requests=4)
    together(16, lambda i: client.chat("hi"))
    together(16, lambda i: client.chat("hi"))
    assert server.connections <= 4 and server.max_in_flight <= 4
    assert client.stats()["succeeded"] == 32


@pytest.mark.parametrize("how", ["debug=True", "debug", "info"])
def test_debug_writes_a_line_for_each_attempt_and_retry_and_no_key(server, monkeypatch, how):
    """In a process of its own, as a logger's level stays set."""
    server.script(Answer(500), Answer(json=CHAT))
    script = (
        "import openai_mini, sys; c = openai_mini.OpenAIMini('sk-test', base_url=sys.argv[1],"
        " initial_retry_delay=0.001, debug=sys.argv[2] == 'debug=True'); c.chat('my prompt')"
    )
    if "=" not in how:
        monkeypatch.setenv("OPENAI_LOG", how)
    folder = os.path.dirname(openai_mini.__file__)
    run = subprocess.run(
        [sys.executable, "-c", script, server.url, how],
        stderr=subprocess.PIPE,
        check=True,
        cwd=folder,
    )
    text = run.stderr.decode()
    assert "sk-test" not in text and "my prompt" not in text
    assert "status=500" in text and "status=200" in text and "retry" in text
    assert "/chat/completions" in text
    assert len(text.splitlines()) == 3


def test_without_debug_nothing_is_logged(server, caplog):
    caplog.set_level(logging.DEBUG, "openai_mini")
    client_for(server).chat("hi")
    assert not [record for record in caplog.records if record.name == "openai_mini"]


# ------------------------------------------------------------------------------------------------
# Stream


# Streams over real sockets: each chunk when it has been sent, whole or an error, and nothing left
# behind. `stream_*` are the helpers.

STREAM_FRAMINGS = ["chunked", "length", "close", "http10"]


def stream_text(stream) -> str:
    return "".join(chunk.content for chunk in stream)


def stream_events(*datas, name=None) -> bytes:
    """Events of these JSON values, and no [DONE]."""
    return b"".join(sse_bytes((name, data) if name else data) for data in datas)


def stream_typed(*types, **more) -> list:
    """Events of a Responses stream and its like: each says its kind in `type`."""
    return [dict(more, type=kind, sequence_number=i) for i, kind in enumerate(types)]


def stream_delta(delta: dict, finish=None, index: int = 0) -> dict:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


@pytest.fixture
def stream_once(client):
    return client.with_options(max_retries=0, circuit_breaker=False)


# When a chunk comes


@pytest.mark.parametrize("coding", [False, "gzip", "deflate", "rawdeflate"])
@pytest.mark.parametrize("framing", STREAM_FRAMINGS)
def test_each_chunk_reaches_the_caller_while_the_server_holds_back_the_rest(
    server, client, framing, coding
):
    for hold_after in (1, 2):
        let = threading.Event()
        how = {"framing": framing, "gzip": coding, "wait": let, "hold_after": hold_after}
        server.script(Answer(sse=chunks("a", "b", "c"), **how))
        stream = client.stream_chat("hi")
        got = [next(stream).content for _ in range(hold_after)]
        assert got == ["a", "b"][:hold_after] and not let.is_set()
        let.set()
        assert "".join(got) + stream_text(stream) == "abc" == stream.content


@pytest.mark.parametrize("framing", STREAM_FRAMINGS)
def test_an_event_cut_over_segments_comes_when_its_blank_line_has_come(server, client, framing):
    whole = stream_events(*chunks("\xe9\u20ac\U0001f600", "b"))
    first_end = whole.index(b"\n\n") + 2
    cuts = sorted({0, 1, 3, 7, first_end // 2, first_end - 1, first_end, len(whole)})
    pieces = [whole[a:b] for a, b in zip(cuts, cuts[1:])]
    let = threading.Event()
    held = len(pieces) - 1
    how = {"content_type": "text/event-stream", "framing": framing, "pause": 0.002}
    server.script(Answer(pieces=pieces, wait=let, hold_after=held, **how))
    stream = client.stream_chat("hi")
    assert next(stream).content == "\xe9\u20ac\U0001f600" and not let.is_set()
    let.set()
    assert stream_text(stream) == "b"


@pytest.mark.parametrize("coding", [False, "gzip", "deflate", "rawdeflate"])
@pytest.mark.parametrize("framing", STREAM_FRAMINGS)
def test_a_stream_may_come_in_pieces_of_any_size(server, client, framing, coding):
    for drip in (1, 2, 7, 100, 5000):
        count = 40 if drip > 2 else 4
        texts = ["t\xe9xt %d " % number for number in range(count)]
        answer = Answer(sse=chunks(*texts), framing=framing, gzip=coding, drip=drip)
        server.script(answer)
        assert stream_text(client.stream_chat("hi")) == "".join(texts)


def test_stream_chat_waits_for_the_first_chunk_and_asks_for_a_stream(server, client):
    let = threading.Event()
    server.script(Answer(sse=chunks("a"), wait=let, hold_after=0))
    future = client.submit("stream_chat", "hi", temperature=0)
    server.wait_requests(1)
    assert not future.done()
    let.set()
    with future.result(10) as stream:
        assert stream_text(stream) == "a"
    assert server.requests[0].json["stream"] is True and server.requests[0].json["temperature"] == 0


@pytest.mark.parametrize("way", ["request", "completions", "responses"])
def test_other_calls_stream_as_well(server, client, way):
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    if way == "responses":
        last = {"type": "response.completed", "response": {"usage": {"output_tokens": 3}}}
        delta = {"type": "response.output_text.delta", "delta": "hel"}
        server.script(Answer(sse=[delta, dict(delta, delta="lo"), last], done=False))
        stream = client.responses.create(model="m", input="hi", stream=True)
    elif way == "request":
        stream = client.request("POST", "/chat/completions", json=body, stream=True)
    else:
        stream = client.chat.completions.create(**body)
    assert isinstance(stream, openai_mini.Stream) and iter(stream) is stream
    assert stream_text(stream) == "hello" == stream.content


# Whether it is whole


def stream_wholeness():
    """Name, events, whether [DONE] follows, and whether that is a whole stream."""
    a, end = stream_delta({"content": "a"}), stream_delta({}, "stop")
    usage = {"choices": [], "usage": {"total_tokens": 3}}
    cases = [
        ("text and [DONE]", [a], True, True),
        ("text", [a], False, False),
        ("[DONE] alone", [], True, True),
        ("nothing", [], False, False),
        ("a comment", [b": hi\n\n"], False, False),
        ("a finish reason", [a, end], False, True),
        ("a finish reason and usage", [a, end, usage], False, True),
        ("usage before the finish reason", [a, dict(end, usage={"total_tokens": 3})], False, True),
        ("usage only", [usage], False, False),
        (
            "one of two choices ended",
            [a, stream_delta({"content": "b"}, None, 1), end],
            False,
            False,
        ),
        ("both ended", [a, stream_delta({}, "stop", 1), end], False, True),
        ("a role only", [stream_delta({"role": "assistant"})], False, False),
        ("another kind of event", [{"type": "thing.happened"}], False, True),
        ("an untyped event", [{"a": 1}], False, True),
        ("another kind and chat without an end", [{"a": 1}, a], False, False),
        ("an error in null", [dict(a, error=None), end], False, True),
        ("a filter's finish reason", [stream_delta({}, "content_filter")], False, True),
        ("half an event after the end", [a, end, b"data: {"], False, True),
        ("half an event", [a, b"data: {"], False, False),
    ]
    lasts = "response.completed response.failed response.incomplete image_generation.completed "
    lasts += "image_edit.completed transcript.text.done speech.audio.done"
    for last in lasts.split():
        begun = last.rsplit(".", 1)[0] + ".delta"
        cases += [(last, stream_typed(begun, last), False, True)]
        cases += [(begun + " only", stream_typed(begun), False, False)]
        cases += [(begun + " and [DONE]", stream_typed(begun), True, True)]
        cases += [(begun + ", others after it", stream_typed(begun, "thing"), False, False)]
        cases += [
            (last + " named", [(last, data) for data in stream_typed(begun, last)], False, True)
        ]
    return cases


@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize(
    "items, done, whole", [pytest.param(*case[1:], id=case[0]) for case in stream_wholeness()]
)
def test_half_a_stream_is_never_passed_off_as_a_whole_one(
    server, stream_once, items, done, whole, framing
):
    server.script(Answer(sse=items, done=done, framing=framing))
    got = []
    try:
        for piece in stream_once.stream_chat("hi"):
            got.append(piece)
        assert whole
    except openai_mini.StreamInterruptedError as error:
        assert not whole
        assert str(error).startswith("POST /chat/completions: ") and "1 attempt" in str(error)
        assert error.partial.content in (None, "a") and error.is_transient_error
    assert len(got) == len([item for item in items if not isinstance(item, bytes)])


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_cut_anywhere_a_stream_is_interrupted_unless_it_was_whole(server, stream_once, framing):
    events = [
        stream_delta({"content": "h\xe9"}),
        stream_delta({"content": "llo"}),
        stream_delta({}, "stop"),
    ]
    body = [json.dumps(event, ensure_ascii=False, separators=(",", ":")) for event in events]
    answer = {"sse": body, "framing": framing}
    pieces = [sse_bytes(item) for item in body]
    ends = [len(b"".join(pieces[: i + 1])) for i in range(3)]
    for cut in range(ends[2] + len(b"data: [DONE]\n\n")):
        server.script(Answer(cut=cut, **answer))
        got = []
        try:
            for piece in stream_once.stream_chat("hi"):
                got.append(piece.content)
            assert cut >= ends[2]
        except openai_mini.StreamInterruptedError as error:
            assert cut < ends[2], error
            assert (error.partial.content or "") == "".join(got)
        assert len(got) == sum(end <= cut for end in ends), cut


@pytest.mark.parametrize("coding", [False, "gzip"])
@pytest.mark.parametrize("how", ["cut", "reset"])
@pytest.mark.parametrize("framing", STREAM_FRAMINGS)
def test_a_connection_lost_in_mid_stream_interrupts_it(server, client, framing, how, coding):
    whole = Answer(sse=chunks("abc", "def"), framing="length", gzip=coding)
    # Within the second event
    size = sum(map(len, whole.wire()[0][1:2])) + 8
    server.script(
        Answer(sse=chunks("abc", "def"), framing=framing, gzip=coding, pause=0.01, **{how: size})
    )
    stream = client.stream_chat("hi")
    with pytest.raises(openai_mini.StreamInterruptedError) as caught:
        stream_text(stream)
    assert caught.value.partial.content == stream.content == "abc"
    assert len(server.requests) == 1 and list(stream) == []
    assert stream.stats["chunks"] == 1 and client.stats()["streams"]["interrupted"] == 1


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_events_of_other_kinds_need_the_end_of_their_transfer(server, stream_once, framing):
    server.script(Answer(sse=[{"a": 1}, {"a": 2}], done=False, framing=framing, cut=20))
    stream = stream_once.request("POST", "/things", stream=True)
    with pytest.raises(openai_mini.StreamInterruptedError):
        list(stream)


def test_until_its_first_event_a_stream_is_tried_again(server, client):
    server.script(Answer(sse=chunks("a"), cut=20), Answer(sse=[], done=False), Answer(503, json={}))
    assert stream_text(client.stream_chat("hi")) == "a" or server.unplayed == 0
    assert len(server.requests) == 4 and client.stats()["retries"] == 3


def test_after_the_finish_reason_no_silence_makes_it_half(server, client, monkeypatch):
    """A server that keeps the connection open without a [DONE] is not waited for long."""
    monkeypatch.setattr(openai_mini, "LINGER_S", 0.1)
    let = threading.Event()
    server.script(Answer(sse=chunks("a"), done=False, wait=let, hold_after=2))
    stream = client.stream_chat("hi")
    assert stream_text(stream) == "a" and stream.finish_reason == "stop"
    server.wait_closed(1)


@pytest.mark.parametrize("framing", STREAM_FRAMINGS)
def test_after_done_the_iterator_ends_though_the_server_holds_on(server, client, framing):
    let = threading.Event()
    body = chunks("a") + [b"data: [DONE]\n\n", b": more\n\n", stream_delta({"content": "b"})]
    server.script(Answer(sse=body, done=False, framing=framing, wait=let, hold_after=3))
    stream = client.stream_chat("hi")
    assert stream_text(stream) == "a" and not let.is_set()
    server.wait_closed(1)
    assert client.stats()["queue"]["running"] == 0


@pytest.mark.parametrize("coding", [False, "gzip", "deflate"])
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_where_the_end_came_with_done_the_connection_is_used_again(server, client, framing, coding):
    body = stream_events(*chunks("a", "b"), "[DONE]")  # sent in one segment, with its end
    how = {"content_type": "text/event-stream", "framing": framing, "gzip": coding}
    server.default = Answer(body=body, **how)
    for _ in range(4):
        assert stream_text(client.stream_chat("hi")) == "ab"
    assert server.connections == 1 and server.hung_up == 0


# Ways to leave it


def stream_left_by_close(stream):
    stream.close()
    stream.close()
    assert list(stream) == []


def stream_left_by_with(stream):
    with stream as entered:
        assert entered is stream


def stream_left_by_exception(stream):
    with pytest.raises(ZeroDivisionError), stream:
        for _ in stream:
            raise ZeroDivisionError


def stream_left_by_break(stream):
    for _ in stream:
        break


def stream_left_unread(stream):
    assert stream is not None


STREAM_LEAVING = {
    "close()": stream_left_by_close,
    "with": stream_left_by_with,
    "an exception": stream_left_by_exception,
    "dropped in mid loop": stream_left_by_break,
    "dropped unread": stream_left_unread,
}


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("way", STREAM_LEAVING)
def test_leaving_a_stream_frees_its_connection_and_slot_at_once(request, client, way, tls):
    """With the garbage collector off, so that dropping alone must do it."""
    server = request.getfixturevalue("tls_server" if tls else "server")
    client = client.with_options(base_url=server.url, verify=server.cert_path if tls else None)
    server.script(Answer(sse=chunks("a", "b"), wait=threading.Event(), hold_after=1))
    gc.collect()
    gc.disable()
    try:
        # A list, so that the call below takes the only reference there is.
        held = [client.stream_chat("hi")]
        assert client.stats()["queue"]["running"] == 1
        STREAM_LEAVING[way](held.pop())
        server.wait_closed(1, 5)
    finally:
        gc.enable()
    stats = client.stats()
    assert stats["queue"]["running"] == 0
    assert stats["streams"]["abandoned"] == stats["abandoned"] == 1 and not stats["failed"]


@pytest.mark.parametrize("read_one", [True, False])
def test_leaving_a_stream_that_is_kept_frees_it_as_well(server, client, read_one):
    server.script(Answer(sse=chunks("abc", "b"), wait=threading.Event(), hold_after=1))
    with client.stream_chat("hi") as stream:
        if read_one:
            next(stream)
    server.wait_closed(1)
    assert stream.content == "abc" and stream.message.content == "abc" and list(stream) == []


def test_an_abandoned_stream_gives_its_slot_to_who_waits(server, client):
    client = client.with_options(max_concurrent_requests=1)
    server.script(Answer(sse=chunks("a"), wait=threading.Event(), hold_after=1))
    stream = client.stream_chat("hi")
    future = client.submit("chat", "next")
    eventually(lambda: client.stats()["queue"]["waiting"] == 1)
    del stream
    assert future.result(10).content == "hello"


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_close_from_another_thread_wakes_a_blocked_reader(request, client, framing, tls):
    server = request.getfixturevalue("tls_server" if tls else "server")
    client = client.with_options(
        base_url=server.url, verify=server.cert_path if tls else None, timeout=(5, 300)
    )
    answer = Answer(sse=chunks("a", "b"), framing=framing, wait=threading.Event(), hold_after=1)
    server.script(answer)
    stream = client.stream_chat("hi")
    got, reading = [], threading.Event()

    def read():
        got.append(next(stream).content)
        reading.set()
        got.append(list(stream))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert reading.wait(10)
    time.sleep(0.05)  # until it waits for bytes, most likely
    stream.close()
    reader.join(10)
    assert not reader.is_alive() and got == ["a", []]
    server.wait_closed(1)
    assert client.stats()["queue"]["running"] == 0 and client.stats()["abandoned"] == 1


def test_streams_leave_nothing_behind(server, client):
    client.chat("warm up")
    client.close()
    eventually(lambda: not server.open_connections)
    with nothing_left_over():
        for ending in ({}, {"cut": 300}, {"done": False}):
            server.script(Answer(sse=chunks("abc", "b"), **ending))
            with contextlib.suppress(openai_mini.StreamInterruptedError):
                list(client.stream_chat("hi"))
            assert client.chat("again").content == "hello"
        client.close()
    assert client.stats()["queue"]["running"] == 0


# Silence


def stream_with_comments(comment: bytes):
    yield stream_events(*chunks("a", finish=None))
    while True:
        time.sleep(0.03)
        yield comment


@pytest.mark.parametrize("comment", [b": ping\n\n", b":", b"event: ping\n\n", b"\n"], ids=repr)
def test_comments_do_not_renew_the_time_of_a_silent_stream(server, client, comment):
    pieces = {"content_type": "text/event-stream", "framing": "chunked"}
    server.script(Answer(pieces=lambda: stream_with_comments(comment), **pieces))
    begun = time.monotonic()
    stream = client.stream_chat("hi", timeout=(5, 0.3))
    with pytest.raises(openai_mini.APITimeoutError) as caught:
        list(stream)
    assert time.monotonic() - begun < 5 and caught.value.partial.content == "a"
    assert str(caught.value).startswith("POST /chat/completions: ") and "timeout=" in str(
        caught.value
    )
    server.wait_closed(1)


def test_a_silent_stream_times_out_with_what_had_come(server, client):
    server.script(Answer(sse=chunks("a", "b"), wait=threading.Event(), hold_after=1))
    stream = client.stream_chat("hi", timeout=(5, 0.2))
    with pytest.raises(openai_mini.APITimeoutError) as caught:
        list(stream)
    assert caught.value.partial.content == "a" and len(server.requests) == 1
    server.wait_closed(1)


def test_a_stream_may_take_longer_than_the_timeout_while_events_come(server, client):
    server.script(Answer(sse=chunks(*"abcdef"), pause=0.1))
    begun = time.monotonic()
    assert stream_text(client.stream_chat("hi", timeout=(5, 0.45))) == "abcdef"
    assert time.monotonic() - begun > 0.45


def test_a_slow_reader_is_no_silent_server(server, client):
    let = threading.Event()
    server.script(Answer(sse=chunks("a", "b"), wait=let, hold_after=1))
    stream = client.stream_chat("hi", timeout=(5, 0.2))
    next(stream)
    time.sleep(0.3)
    let.set()
    assert stream_text(stream) == "b"


def test_a_deadline_ends_a_stream_that_goes_on_and_on(server, client):
    def endless():
        while True:
            yield stream_events(*chunks("a", finish=None))
            time.sleep(0.02)

    pieces = {"content_type": "text/event-stream", "framing": "chunked"}
    server.script(Answer(pieces=endless, **pieces))
    stream = client.stream_chat("hi", deadline=0.4)
    with pytest.raises(openai_mini.APITimeoutError, match="deadline") as caught:
        list(stream)
    assert set(caught.value.partial.content) == {"a"} and len(server.requests) == 1
    server.wait_closed(1)


# What is no stream


def test_a_json_answer_to_a_streaming_call_is_one_chunk(server, client):
    server.script(Answer(json=CHAT))
    stream = client.stream_chat("hi")
    pieces = list(stream)
    assert pieces == [CHAT] and pieces[0].content == "hello" == stream.content
    assert stream.finish_reason == "stop" and stream.usage == CHAT["usage"]
    assert stream.message == CHAT["choices"][0]["message"] and stream.stats["chunks"] == 1
    assert client.chat("again").content == "hello" and server.connections == 1


STREAM_ODD = {  # what comes instead of a stream, and what the error says of it
    "HTML": (Answer(body="<title>Sign in</title>", content_type="text/html"), "Sign in"),
    "text": (Answer(body="no such thing"), "no such thing"),
    "bytes": (Answer(body=b"\0\1"), "octet-stream"),
    "broken JSON": (Answer(body="{", content_type="application/json"), "no JSON"),
    "an array": (Answer(json=[1]), "no JSON object"),
    "an empty JSON": (Answer(body="", content_type="application/json"), "empty"),
    "a chunk of text": (Answer(sse=["hello"]), "hello"),
    "a chunk of HTML": (Answer(sse=["<title>Gone</title>"]), "Gone"),
    "a chunk of a number": (Answer(sse=["17"]), "17"),
    "a chunk of an array": (Answer(sse=["[1]"]), "[1]"),
    "a chunk of null": (Answer(sse=["null"]), "null"),
    "a chunk cut short": (Answer(sse=['{"choices": [']), "no JSON"),
    "a chunk and more": (Answer(sse=["{} {}"]), "no JSON"),
    "a deep chunk": (Answer(sse=["[" * 100000]), "deep"),
}


@pytest.mark.parametrize(
    "case, later", [(c, late) for c in STREAM_ODD for late in {False, "chunk" in c}]
)
def test_what_is_no_stream_is_an_error_that_says_what_came(server, stream_once, case, later):
    answer, words = STREAM_ODD[case]
    if later:
        answer = Answer(sse=[stream_delta({"content": "a"})] + answer.sse)
    server.script(answer)
    with pytest.raises(openai_mini.APIResponseError) as caught:
        list(stream_once.stream_chat("hi"))
    message = str(caught.value)
    assert (
        message.startswith("POST /chat/completions: ") and words in message and len(message) < 500
    )
    assert len(server.requests) == 1 and (caught.value.partial.content == "a" if later else True)
    assert stream_once.stats()["queue"]["running"] == 0


STREAM_ODD_VALUES = [None, True, 0, 1.5, "text", [], [1], ["x"], [[]], [None], {}, {"a": 1}, 10**30]


@pytest.mark.parametrize("odd", STREAM_ODD_VALUES, ids=repr)
def test_a_chunk_of_an_odd_shape_is_read_past_or_an_error_of_ours(server, stream_once, odd):
    choice = {"index": 0, "delta": {"content": "a"}, "finish_reason": None}
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    deltas = [dict(choice["delta"], **{key: odd}) for key in ("content", "tool_calls", "x", "role")]
    deltas += [{"tool_calls": [dict(call, **{key: odd})]} for key in call]
    deltas += [{"tool_calls": [dict(call, function={key: odd})]} for key in ("name", "arguments")]
    shapes = [{"choices": [dict(choice, delta=delta)]} for delta in deltas]
    shapes += [
        {"choices": odd},
        {"choices": [dict(choice, delta=odd)]},
        {"usage": odd},
        {"type": odd},
    ]
    shapes += [
        {"choices": [dict(choice, **{key: odd})]} for key in ("index", "finish_reason", "message")
    ]
    shapes += [{"type": "response.completed", "response": odd}, {"content": odd}, {"error": odd}]
    shapes += [{"type": "response.output_text.delta", "delta": odd}]
    good = [stream_delta({"tool_calls": [call]}), stream_delta({"content": "b"}, "stop")]
    for shape in shapes:
        for events in ([shape] + good, good + [shape]):
            server.script(Answer(sse=events))
            try:
                stream = stream_once.stream_chat("hi")
                assert all(type(piece.content) is str for piece in stream), shape
                for value in (stream.message, stream.choices, stream.stats, stream.tool_calls):
                    json.dumps(value)
                assert isinstance(stream.content, (str, list, dict)) or stream.content is odd
            except openai_mini.APIError as error:
                assert str(error).startswith("POST ")


# The message


def stream_calls(*pieces) -> list:
    return [stream_delta({"tool_calls": list(piece)}) for piece in pieces]


def stream_call(name, arguments, id="c1") -> dict:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def stream_piece(arguments=None, name=None, id=None, index=None, **more) -> dict:
    function = {"arguments": arguments, "name": name}
    piece = {
        "id": id,
        "index": index,
        "function": {k: v for k, v in function.items() if v is not None},
    }
    return dict({k: v for k, v in piece.items() if v is not None}, **more)


sp = stream_piece  # in the table below it stands often
STREAM_CALLS = {  # pieces, and the calls that they make
    "by index": (
        [[sp("", "f", "c1", 0, type="function")], [sp('{"a"', index=0)], [sp(":1}", index=0)]],
        [stream_call("f", '{"a":1}')],
    ),
    "two, interleaved": (
        [[sp("", "f", "c1", 0)], [sp("", "g", "c2", 1)], [sp("1", index=0), sp("2", index=1)]],
        [stream_call("f", "1"), stream_call("g", "2", "c2")],
    ),
    "starting at 1": ([[sp("", "f", "c1", 1)], [sp("1", index=1)]], [stream_call("f", "1")]),
    "without index": ([[sp("", "f", "c1")], [sp("1")], [sp("2")]], [stream_call("f", "12")]),
    "two without index": (
        [[sp("", "f", "c1")], [sp("1")], [sp("", "g", "c2")], [sp("2")]],
        [stream_call("f", "1"), stream_call("g", "2", "c2")],
    ),
    "two at once without index": (
        [[sp("1", "f", "c1"), sp("2", "g", "c2")]],
        [stream_call("f", "1"), stream_call("g", "2", "c2")],
    ),
    "name and id in each piece": (
        [[sp("1", "f", "c1", 0)], [sp("2", "f", "c1", 0)], [sp("3", "f", "c1", 0)]],
        [stream_call("f", "123")],
    ),
    "the same without index": (
        [[sp("1", "f", "c1")], [sp("2", "f", "c1")]], [stream_call("f", "12")]
    ),
    "one index, two ids": (
        [[sp("1", "f", "c1", 0)], [sp("2", "g", "c2", 0)]],
        [stream_call("f", "1"), stream_call("g", "2", "c2")],
    ),
    "empty id and type after the first": (
        [[sp("1", "f", "c1", 0, type="function")], [sp("2", "", "", 0, type="")]],
        [stream_call("f", "12")],
    ),
    "nulls after the first": (
        [[sp("1", "f", "c1", 0)], [dict(sp("2", index=0), id=None, type=None)]],
        [stream_call("f", "12")],
    ),
    "a name in pieces": (
        [[sp("", "get_", "c1", 0)], [sp("1", "x", index=0)]], [stream_call("get_x", "1")]
    ),
    "whole calls without index and id": (
        [[sp("1", "f")], [sp("2", "g")]],
        [dict(stream_call("f", "1", None)), dict(stream_call("g", "2", None))],
    ),
    "named None": ([[sp("1", "None", "c1", 0)]], [stream_call("None", "1")]),
}  # fmt: skip


@pytest.mark.parametrize("case", STREAM_CALLS)
def test_tool_calls_are_put_together(server, client, case):
    pieces, expected = STREAM_CALLS[case]
    for call in expected:
        if call["id"] is None:
            del call["id"]
    server.script(Answer(sse=stream_calls(*pieces) + [stream_delta({}, "tool_calls")]))
    with client.stream_chat("hi") as stream:
        assert [piece.content for piece in stream] == [""] * (len(pieces) + 1)
    assert stream.tool_calls == expected == stream.message.tool_calls
    assert stream.finish_reason == "tool_calls" and stream.content == ""
    assert stream.message.content is None and stream.message.role == "assistant"
    assert stream.tool_calls[0].function.name == expected[0]["function"]["name"]
    client.chat([{"role": "user", "content": "hi"}, stream.message])
    sent = server.requests[-1].json["messages"][1]
    assert sent == {"role": "assistant", "content": None, "tool_calls": expected}


def test_all_of_a_message_is_put_together(server, client):
    deltas = [
        {"role": "assistant", "content": "", "refusal": None, "reasoning_content": "Let "},
        {"role": "assistant", "content": None, "reasoning_content": "me"},
        {"content": "\xe9", "annotations": [{"a": 1}], "flag": False},
        {"content": "\ud83d", "annotations": [{"a": 2}], "count": 2},
        {"content": "x", "function_call": {"name": "f", "arguments": "1"}},
        {
            "function_call": {"arguments": "2"},
            "audio": {"id": "a1", "data": "AA", "transcript": "o"},
        },
        {"audio": {"data": "BB", "transcript": "h"}, "details": [{"index": 0, "text": "a"}]},
        {"details": [{"index": 1, "text": "c"}, {"index": 0, "text": "b"}]},
    ]
    server.script(
        Answer(sse=[stream_delta(delta) for delta in deltas] + [stream_delta({}, "stop")])
    )
    stream = client.stream_chat("hi")
    pieces = [piece.content for piece in stream]
    assert pieces == ["", "", "\xe9", "\ud83d", "x", "", "", "", ""]
    assert stream.message == {
        "role": "assistant", "content": "\xe9\ud83dx", "refusal": None,
        "reasoning_content": "Let me",
        "annotations": [{"a": 1}, {"a": 2}], "flag": False, "count": 2,
        "function_call": {"name": "f", "arguments": "12"},
        "audio": {"id": "a1", "data": "AABB", "transcript": "oh"},
        "details": [{"index": 0, "text": "ab"}, {"index": 1, "text": "c"}],
    }  # fmt: skip
    assert type(stream.message.audio) is openai_mini.Result and stream.message.audio.id == "a1"


def test_with_n_over_1_each_choice_is_kept_apart(server, client):
    events = [
        stream_delta({"role": "assistant", "content": t}, None, i) for i, t in [(1, "x"), (0, "a")]
    ]
    both = {"choices": [*stream_delta({"content": "y"}, None, 1)["choices"],
                        *stream_delta({"content": "b"})["choices"]]}  # fmt: skip
    ends = [stream_delta({}, "length", 1), stream_delta({}, "stop", 0)]
    server.script(Answer(sse=[*events, both, *ends], done=False))
    with client.stream_chat("hi", n=2) as stream:
        assert [piece.content for piece in stream] == ["", "a", "b", "", ""]
    assert stream.content == "ab" == stream.message.content and stream.finish_reason == "stop"
    assert [choice.index for choice in stream.choices] == [0, 1]
    assert [choice.message.content for choice in stream.choices] == ["ab", "xy"]
    assert [choice.finish_reason for choice in stream.choices] == ["stop", "length"]


@pytest.mark.parametrize(
    "pieces",
    [
        [b"event: error\n", b'data: {"choices": [], "message": "overloaded"}\n\n'],
        [b'data: {"choices": [], "error": {"message": "overloaded"}}\n\n'],
    ],
    ids=["named in the piece before", "beside choices"],
)
def test_an_error_is_raised_though_it_looks_like_a_chunk(server, client, pieces):
    first = ("data: %s\n\n" % json.dumps(stream_delta({"content": "a"}))).encode()
    server.default = Answer(
        pieces=[first, *pieces, b"data: [DONE]\n\n"], pause=0.02, content_type="text/event-stream"
    )
    stream = client.stream_chat("hi")
    with pytest.raises(openai_mini.InternalServerError, match="overloaded") as caught:
        list(stream)
    assert caught.value.partial.content == "a"


def test_an_index_sent_as_text_is_that_index(server, client):
    server.script(Answer(sse=[stream_delta({"content": t}, None, "0") for t in "abc"]))
    stream = client.stream_chat("hi")
    assert [piece.content for piece in stream] == ["a", "b", "c"] and stream.content == "abc"


def test_so_far_as_it_got_all_is_at_hand(server, client):
    let = threading.Event()
    server.script(
        Answer(sse=chunks("a", "b", usage={"completion_tokens": 7}), wait=let, hold_after=1)
    )
    stream = client.stream_chat("hi")
    assert stream.content == "a" and stream.finish_reason is None is stream.usage
    assert next(stream).content == "a" and stream.message == {"role": "assistant", "content": "a"}
    let.set()
    list(stream)
    assert (
        stream.content == "ab" and stream.usage.completion_tokens == 7 and stream.tool_calls is None
    )


def test_its_times_and_counts_are_told(server, client):
    server.script(
        Answer(sse=chunks("a", "b", usage={"completion_tokens": 7}), pause=0.02, wait=None)
    )
    stream = client.stream_chat("hi")
    list(stream)
    stats = stream.stats
    assert stats["chunks"] == 4 and 0.05 < stats["duration_s"] < 10
    assert 0 < stats["ttft_s"] < stats["duration_s"] and 0.01 < stats["avg_chunk_interval_s"] < 5
    assert stats["tokens_per_s"] == pytest.approx(7 / stats["duration_s"])
    server.script(Answer(sse=chunks("a"), headers={"x-request-id": "req_5"}))
    stream = client.stream_chat("hi")
    list(stream)
    assert stream.stats["tokens_per_s"] is None and stream.stats["avg_chunk_interval_s"] >= 0
    assert stream.response.request_id == "req_5" and stream.response.status_code == 200
    told = client.stats()["streams"]
    assert (told["started"], told["completed"], told["chunks"]) == (2, 2, 6) and told["ttft_s"] > 0


def test_the_first_token_is_timed_from_the_call_on(server, client):
    """A server may hold back its headers until it has something to say."""

    def slow(request):
        time.sleep(0.1)
        return Answer(sse=chunks("a"))

    server.script(slow)
    with client.stream_chat("hi") as stream:
        list(stream)
    assert stream.stats["ttft_s"] >= 0.1


def test_of_a_responses_stream_text_usage_and_end_are_known(server, client):
    usage = {"input_tokens": 2, "output_tokens": 5, "total_tokens": 7}
    events = stream_typed("response.created", "response.output_item.added")
    events += [{"type": "response.output_text.delta", "delta": text} for text in ("he", "", "y")]
    events += [{"type": "response.function_call_arguments.delta", "delta": "{}"}]
    events += [{"type": "response.completed", "response": {"usage": usage, "error": None}}]
    server.script(Answer(sse=[(event["type"], event) for event in events], done=False))
    with client.request("POST", "/responses", json={"stream": True}, stream=True) as stream:
        pieces = list(stream)
    assert pieces == events and [piece.type for piece in pieces][-1] == "response.completed"
    assert [piece.content for piece in pieces] == ["", "", "he", "", "y", "", ""]
    assert stream.content == "hey" == stream.message.content and stream.usage == usage
    assert stream.stats["tokens_per_s"] > 0 and stream.stats["chunks"] == 7
    assert client.stats()["tokens"] == {"prompt": 2, "completion": 5, "total": 7}


def test_a_cut_responses_stream_tells_what_had_come(server, client):
    events = stream_typed("response.created")
    events += [{"type": "response.output_text.delta", "delta": "half"}]
    server.script(Answer(sse=events, done=False))
    with pytest.raises(openai_mini.StreamInterruptedError) as caught:
        list(client.responses.create(model="m", input="x", stream=True))
    assert caught.value.partial.content == "half"
    server.script(
        Answer(sse=events + [{"type": "error", "code": "rate_limit_exceeded", "message": "m"}])
    )
    with pytest.raises(openai_mini.RateLimitError) as caught:
        list(client.responses.create(model="m", input="x", stream=True))
    assert caught.value.partial.content == "half" and caught.value.code == "rate_limit_exceeded"


# Size


def test_memory_stays_constant_over_100000_chunks_but_for_the_text(server, client):
    """Counted in blocks of the allocator: a list of the pieces would hold one for each."""
    at = 0

    def many():
        for number in range(0, 100000, 100):
            texts = (
                json.dumps(stream_delta({"content": "%06d " % n}))
                for n in range(number, number + 100)
            )
            yield "".join("data: %s\n\n" % text for text in texts).encode()
        yield stream_events(stream_delta({}, "stop"), "[DONE]")

    server.script(Answer(pieces=many, content_type="text/event-stream", framing="chunked"))
    stream = client.stream_chat("hi")
    for number, piece in enumerate(stream):
        if number == 5000:
            del piece
            gc.collect()
            before = sys.getallocatedblocks()
        at = number
    del piece
    gc.collect()
    assert at == 100000 and sys.getallocatedblocks() - before < 5000
    assert stream.content == "".join("%06d " % n for n in range(100000))


def test_an_event_without_an_end_stops_at_the_limit(server, stream_once):
    def endless():
        yield b"data: "
        while True:
            yield b"x" * (1 << 20)

    server.script(Answer(pieces=endless, content_type="text/event-stream", framing="chunked"))
    with pytest.raises(openai_mini.APIResponseError, match=str(openai_mini.MAX_EVENT_BYTES)):
        stream_once.stream_chat("hi")
    server.wait_closed(1)


def test_an_event_of_several_mb_passes(server, client):
    picture = "A" * (4 << 20)
    server.script(
        Answer(sse=[{"type": "image_generation.completed", "b64_json": picture}], done=False)
    )
    (piece,) = client.request("POST", "/images/generations", json={}, stream=True)
    assert piece.b64_json == picture


# ------------------------------------------------------------------------------------------------
# Faults
#
# Faults of servers and networks: the right result or error, after the right number of attempts.
#
# Each is tried over real sockets; nothing hangs, and no foreign exception leaves.


BROKEN = openai_mini.APIConnectionError
WRONG = openai_mini.APIResponseError
LATE = openai_mini.APITimeoutError
HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n"


def faults_client(server, **options):
    """A client of `server` with short waits and no breaker in the way."""
    usual = {"api_key": "sk-test", "base_url": server.url, "initial_retry_delay": 0.001}
    usual.update(timeout=(5, 10), max_retries=2, circuit_breaker=False)
    return openai_mini.OpenAIMini(**dict(usual, **options))


@pytest.fixture(params=["own pools", "session="])
def faults_session(request):
    """What session= is: nothing, or a session of the caller's."""
    if request.param == "own pools":
        yield None
    else:
        with requests.Session() as session:
            yield session


def faults_ending(client, stream=False, **options):
    """The text of one call, or the error of ours that it raised."""
    try:
        if not stream:
            return client.chat("hi", **options).content
        with client.stream_chat("hi", **options) as chunks_of_it:
            return "".join(chunk_of_it.content for chunk_of_it in chunks_of_it)
    except openai_mini.OpenAIError as error:
        assert str(error).startswith("POST /chat/completions: "), error
        assert pickle.loads(pickle.dumps(error)).args == error.args
        return error


# (id, the answer each time, how a call ends, how a stream ends, attempts of both: max_retries=2)
CUT_AT = len(json.dumps(CHAT)) // 2
FAULT_CASES = [
    ("reset before the headers", Answer(raw=b"", reset=0), BROKEN, BROKEN, 3, 3),
    (
        "reset in the headers",
        Answer(raw=b"HTTP/1.1 200 OK\r\ncont", reset=99),
        BROKEN,
        BROKEN,
        3,
        3,
    ),
    ("reset after the headers", Answer(json=CHAT, reset=0), BROKEN, BROKEN, 3, 3),
    ("reset in the body", Answer(json=CHAT, reset=20), BROKEN, BROKEN, 3, 3),
    ("empty reply", Answer(raw=b""), BROKEN, BROKEN, 3, 3),
    ("end in the headers", Answer(raw=b"HTTP/1.1 200 OK\r\ncont"), BROKEN, BROKEN, 3, 3),
    ("no HTTP at all", Answer(raw=b"220 smtp ready\r\n"), BROKEN, BROKEN, 3, 3),
    ("HTTP/1.0", Answer(json=CHAT, framing="http10"), "hello", "hello", 1, 1),
    ("chunked", Answer(json=CHAT, framing="chunked", drip=7), "hello", "hello", 1, 1),
    ("Connection: close", Answer(json=CHAT, framing="close"), "hello", "hello", 1, 1),
    ("gzip", Answer(json=CHAT, gzip=True), "hello", "hello", 1, 1),
    ("deflate", Answer(json=CHAT, gzip="deflate"), "hello", "hello", 1, 1),
    ("deflate, raw", Answer(json=CHAT, gzip="rawdeflate", drip=9), "hello", "hello", 1, 1),
    ("two members", Answer(body=b"", headers={}), WRONG, WRONG, 1, 1),  # filled in below
    (
        "gzip that is none",
        Answer(json=CHAT, headers={"content-encoding": "gzip"}),
        WRONG,
        WRONG,
        3,
        3,
    ),
    ("a coding unknown", Answer(json=CHAT, headers={"content-encoding": "br"}), WRONG, WRONG, 1, 1),
    ("cut, with a length", Answer(json=CHAT, cut=CUT_AT), WRONG, WRONG, 3, 3),
    ("cut, chunked", Answer(json=CHAT, framing="chunked", cut=CUT_AT), WRONG, WRONG, 3, 3),
    ("cut, gzip", Answer(json=CHAT, gzip=True, framing="close", cut=60), WRONG, WRONG, 3, 3),
    (
        "cut, gzip, chunked",
        Answer(json=CHAT, gzip=True, framing="chunked", cut=60),
        WRONG,
        WRONG,
        3,
        3,
    ),
    ("cut, to the end", Answer(json=CHAT, framing="close", cut=CUT_AT), WRONG, WRONG, 1, 1),
    ("cut, HTTP/1.0", Answer(json=CHAT, framing="http10", cut=CUT_AT), WRONG, WRONG, 1, 1),
    (
        "chunks that are none",
        Answer(
            raw=b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n"
        ),
        WRONG,
        WRONG,
        3,
        3,
    ),
    (
        "a negative chunk",
        Answer(
            raw=b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            b"transfer-encoding: chunked\r\n\r\n-5\r\n{}\r\n"
        ),
        WRONG,
        WRONG,
        3,
        3,
    ),
    ("empty", Answer(body=b"", content_type="application/json"), WRONG, WRONG, 1, 1),
    ("HTML", Answer(body="<title>Login</title>", content_type="text/html"), WRONG, WRONG, 1, 1),
    ("a list", Answer(json=[]), WRONG, WRONG, 1, 1),
    ("null", Answer(json=None), WRONG, WRONG, 1, 1),
    (
        "100,000 deep",
        Answer(body=b'{"a":' * 100_000, content_type="application/json"),
        WRONG,
        WRONG,
        1,
        1,
    ),
    ("204", Answer(204), WRONG, WRONG, 1, 1),
    ("stream cut before its first event", Answer(sse=["x"], cut=3), WRONG, WRONG, 3, 3),
    ("stream of an unfinished chunk", Answer(sse=['{"choices":'], done=False), WRONG, WRONG, 1, 1),
]


def faults_two_members() -> bytes:
    import gzip

    text = json.dumps(CHAT).encode()
    return gzip.compress(text[:50]) + gzip.compress(text[50:])


FAULT_CASES[13] = (
    "gzip in two members",
    Answer(
        body=faults_two_members(),
        content_type="application/json",
        headers={"content-encoding": "gzip"},
    ),
    "hello",
    "hello",
    1,
    1,
)


@pytest.mark.parametrize("case", FAULT_CASES, ids=lambda case: case[0])
@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
def test_a_fault_ends_in_the_right_way_after_the_right_attempts(
    server, faults_session, case, stream
):
    _, answer, *endings = case
    expected, attempts = endings[stream], endings[2 + stream]
    if faults_session and case[0] == "end in the headers" and not stream:
        expected, attempts = WRONG, 1  # http.client takes it for a whole head, and an empty body
    server.default = answer
    with faults_client(server, session=faults_session) as client:
        ending = faults_ending(client, stream)
        if isinstance(expected, str):
            assert ending == expected
        else:
            kinds = (expected, openai_mini.StreamInterruptedError) if stream else expected
            assert isinstance(ending, kinds), repr(ending)
            assert "after %d attempt" % attempts in str(ending)
        assert len(server.requests) == attempts
        keys = {request.headers["idempotency-key"] for request in server.requests}
        assert len(keys) == 1
        server.default = usual  # what was left of the last connection does no harm
        assert faults_ending(client, stream) == "hello"
        assert client.stats()["queue"] == {"running": 0, "waiting": 0}


def test_nobody_listens(server):
    server.close()
    with faults_client(server) as client:
        error = faults_ending(client)
    assert isinstance(error, BROKEN) and not isinstance(error, LATE)
    assert "refused" in str(error) and "after 3 attempts" in str(error) and "base_url" in str(error)


def test_a_host_without_an_address(monkeypatch):
    asked = []

    def unknown(*args, **kwargs):
        asked.append(args)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    client = openai_mini.OpenAIMini(
        "sk", base_url="http://nowhere.invalid/v1", max_retries=1, initial_retry_delay=0.001
    )
    error = faults_ending(client)
    assert isinstance(error, BROKEN) and "Name or service not known" in str(error)
    assert len(asked) == 2 and "after 2 attempts" in str(error)


def test_a_host_that_takes_no_connection_is_given_up_after_the_connect_timeout():
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(3):  # fills its backlog
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                caller.connect(deaf.getsockname())
        url = "http://127.0.0.1:%d/v1" % deaf.getsockname()[1]
        client = openai_mini.OpenAIMini(
            "sk", base_url=url, timeout=(0.1, 30), max_retries=1, initial_retry_delay=0.001
        )
        error = faults_ending(client)
    assert isinstance(error, LATE) and "no connection in 0.1 s, after 2 attempts" in str(error)


def test_what_the_caller_handles_meanwhile_is_no_cause(server):
    """A call in an except block, and a stream read in one, fail for reasons of their own."""
    server.script(Answer(sse=chunks("hel"), reset=250))
    with faults_client(server, max_retries=0) as client:
        stream = client.stream_chat("hi")
        try:
            raise TimeoutError("another's")
        except TimeoutError:
            with pytest.raises(openai_mini.StreamInterruptedError):
                list(stream)
            server.script(Answer(raw=b"", reset=0))
            error = faults_ending(client)
    assert isinstance(error, BROKEN) and not isinstance(error, LATE)


def test_a_dead_pooled_connection_is_replaced_whichever_session_is_used(server, faults_session):
    with faults_client(server, max_retries=0, session=faults_session) as client:
        assert client.chat("1").content == "hello"
        server.drop_connections()
        server.wait_for(lambda: not server.open_connections)
        assert client.chat("2").content == "hello"
    assert server.connections == 2 and len(server.requests) == 2


def test_a_pooled_connection_that_dies_under_the_request_is_replaced_too(server):
    with faults_client(server, max_retries=0) as client:
        server.script(
            Answer(json=CHAT), Answer(raw=b""), Answer(json=CHAT), Answer(raw=b"", reset=0)
        )
        assert client.chat("1").content == "hello"
        assert client.chat("2").content == "hello"
        assert client.upload_file(b"{}\n" * 100_000).object == "list"
        assert [request.connection for request in server.requests] == [1, 1, 2, 2, 3]
        assert client.stats()["retries"] == 0


def test_a_pooled_connection_that_breaks_off_an_answer_is_an_attempt(server):
    """The server was at work: that it is asked again must be the caller's wish."""
    with faults_client(server, max_retries=0) as client:
        server.script(Answer(json=CHAT), Answer(raw=b"HTTP/1.1 200 OK\r\ncont", reset=99))
        assert client.chat("1").content == "hello"
        assert isinstance(faults_ending(client), BROKEN)
    assert len(server.requests) == 2


# Slowness


def test_headers_that_drip_do_not_renew_the_time(server):
    head = b"HTTP/1.1 200 OK\r\n" + b"x-more: y\r\n" * 90
    server.default = Answer(raw=[head[i : i + 4] for i in range(0, len(head), 4)], pause=0.02)
    for options in ({"timeout": (5, 0.25)}, {"deadline": 0.25}):
        with faults_client(server, max_retries=0, **options) as client:
            began_at = time.monotonic()
            assert isinstance(faults_ending(client), LATE)
            assert time.monotonic() - began_at < 3
    assert len(server.requests) == 2


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_body_may_be_slow_but_not_beyond_the_deadline(server, framing, faults_session):
    server.default = Answer(json=CHAT, drip=40, pause=0.03, framing=framing)
    with faults_client(server, session=faults_session, timeout=(5, 0.5)) as client:
        assert client.chat("hi").content == "hello"  # each piece renews the time
        error = faults_ending(client, deadline=0.15)
    assert isinstance(error, LATE) and "deadline" in str(error) and len(server.requests) == 2


def test_a_server_that_never_answers_a_post_is_asked_twice_at_most(server, faults_session):
    server.default = Answer(wait=threading.Event())
    with faults_client(server, timeout=(5, 0.08), max_retries=5, session=faults_session) as client:
        error = faults_ending(client)
        assert isinstance(error, LATE) and "no answer in 0.08 s, after 2 attempts" in str(error)
        assert len(server.requests) == 2
        with pytest.raises(LATE, match="after 4 attempts"):  # reading again costs nothing
            client.list_models(max_retries=3)
        assert server.wait_closed(6) and client.stats()["queue"]["running"] == 0


def test_a_body_that_stops_is_late(server, faults_session):
    server.default = Answer(json=CHAT, drip=40, wait=threading.Event(), hold_after=2)
    with faults_client(server, timeout=(5, 0.15), session=faults_session) as client:
        assert isinstance(faults_ending(client), LATE)
    assert len(server.requests) == 2


@pytest.mark.parametrize("framing", ["chunked", "close", "http10"])
def test_a_stream_that_falls_silent_is_late_and_keeps_what_came(server, framing, faults_session):
    wait = threading.Event()
    server.default = Answer(sse=chunks("hel", "lo"), framing=framing, wait=wait, hold_after=1)
    with faults_client(server, timeout=(5, 0.15), session=faults_session) as client:
        error = faults_ending(client, stream=True)
        assert isinstance(error, LATE) and error.partial.content == "hel"
        assert len(server.requests) == 1 and server.wait_closed(1)
        assert client.stats()["queue"]["running"] == 0


@pytest.mark.parametrize("first", [[], chunks("hel")[:1]], ids=["at once", "after an event"])
def test_comments_do_not_keep_a_stream_alive(server, first, faults_session):
    pings = first + [b": ping\n\n"] * 500
    server.default = Answer(sse=pings, pause=0.03)
    with faults_client(server, timeout=(5, 0.2), max_retries=1, session=faults_session) as client:
        began_at = time.monotonic()
        assert isinstance(faults_ending(client, stream=True), LATE)
        assert time.monotonic() - began_at < 5
    assert len(server.requests) == (1 if first else 2)


def test_a_stream_of_comments_alone_is_no_answer(server):
    server.default = Answer(sse=[b": ping\n\n"] * 3, done=False)
    with faults_client(server) as client:
        assert isinstance(faults_ending(client, stream=True), openai_mini.StreamInterruptedError)
    assert len(server.requests) == 3


# Informational answers


@pytest.mark.parametrize("early", [HINTS, HINTS * 3, b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS])
def test_early_hints_are_passed_over(server, early):
    server.default = lambda request: Answer(json=dict(CHAT, id=request.json["user"]), early=early)
    with faults_client(server) as client:
        for user in ("1", "2", "3"):
            assert client.chat("hi", user=user).id == user
    assert server.connections == 1 and len(server.requests) == 3


def test_early_hints_never_give_a_session_the_answer_of_another_call(server):
    """http.client takes a 103 for the answer: with session= that is a failure, and no mix-up."""
    server.default = lambda request: Answer(json=dict(CHAT, id=request.json["user"]))
    with requests.Session() as session, faults_client(server, session=session) as client:
        for user in ("1", "2", "3"):
            server.script(Answer(json=dict(CHAT, id=user), early=HINTS))
            assert client.chat("hi", user=user).id == user
            assert client.chat("hi", user="own" + user).id == "own" + user


def test_a_switch_of_protocols_is_refused(server):
    server.default = Answer(
        raw=b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n\x81\x00"
    )
    with faults_client(server) as client:
        assert isinstance(faults_ending(client), openai_mini.APIError)
        server.default = usual
        assert client.chat("hi").content == "hello"


# Statuses and what they ask for

STATUS_CASES = [
    (400, openai_mini.BadRequestError, 1),
    (401, openai_mini.AuthenticationError, 1),
    (402, openai_mini.APIStatusError, 1),
    (403, openai_mini.PermissionDeniedError, 1),
    (404, openai_mini.NotFoundError, 1),
    (408, openai_mini.APIStatusError, 3),
    (409, openai_mini.ConflictError, 3),
    (418, openai_mini.APIStatusError, 1),
    (422, openai_mini.UnprocessableEntityError, 1),
    (425, openai_mini.APIStatusError, 1),
    (429, openai_mini.RateLimitError, 3),
    (500, openai_mini.InternalServerError, 3),
    (502, openai_mini.InternalServerError, 3),
    (503, openai_mini.InternalServerError, 3),
    (504, openai_mini.InternalServerError, 3),
    (529, openai_mini.InternalServerError, 3),
    (599, openai_mini.InternalServerError, 3),
    (304, openai_mini.APIStatusError, 1),
]


@pytest.mark.parametrize("status, cls, attempts", STATUS_CASES, ids=lambda value: str(value))
def test_a_status_is_retried_or_not(server, status, cls, attempts):
    server.default = Answer(status, json={"error": {"message": "why", "code": "c"}})
    with faults_client(server) as client:
        for stream in (False, True):
            server.requests.clear()
            error = faults_ending(client, stream)
            assert isinstance(error, cls) and error.status_code == status
            assert len(server.requests) == attempts
            if status != 304:
                assert error.code == "c" and "why" in str(error)


@pytest.mark.parametrize("cut", [{"cut": 5}, {"reset": 5}, {"gzip": True, "cut": 9}], ids=str)
def test_an_error_page_that_breaks_off_keeps_its_status(server, cut):
    server.default = Answer(400, json={"error": {"message": "why"}}, **cut)
    with faults_client(server) as client:
        error = faults_ending(client)
    assert isinstance(error, openai_mini.BadRequestError) and len(server.requests) == 1


def test_insufficient_quota_is_not_retried(server):
    server.default = Answer(429, json={"error": {"message": "m", "code": "insufficient_quota"}})
    with faults_client(server) as client:
        assert "billing" in str(faults_ending(client))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "status, asked, attempts",
    [(400, "true", 3), (429, "false", 1), (500, "FALSE", 1), (500, "perhaps", 3), (401, "true", 3)],
)
def test_x_should_retry_is_obeyed(server, status, asked, attempts):
    server.default = Answer(status, json={}, headers={"x-should-retry": asked})
    with faults_client(server) as client:
        assert isinstance(faults_ending(client), openai_mini.APIStatusError)
    assert len(server.requests) == attempts


def faults_date(seconds_ahead: float) -> str:
    return email.utils.formatdate(time.time() + seconds_ahead, usegmt=True)


# (headers, the wait: seconds, (least, most), "backoff", or "never" for one that is not waited for)
RETRY_AFTER_CASES = [
    ({"retry-after": "7"}, 7),
    ({"retry-after": " 7 "}, 7),
    ({"retry-after": "0"}, 0),
    ({"retry-after": "1.5"}, 1.5),
    ({"retry-after-ms": "250"}, 0.25),
    ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
    ({"retry-after": "60"}, 60),
    ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
    ({"Retry-After": 40}, (20, 41)),
    ({"retry-after": -999}, 0),
    ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
    ({"retry-after": "Wednesday, 21-Oct-15 07:28:00 GMT"}, 0),
    ({"retry-after": "Wed Oct 21 07:28:00 2015"}, 0),
    ({"retry-after": "61"}, "never"),
    ({"retry-after": "99999999999999999999"}, "never"),
    ({"retry-after": "9" * 5000}, "never"),
    ({"retry-after": 9999}, "never"),
    ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, "never"),
    ({"retry-after": "-5"}, "backoff"),
    ({"retry-after": "inf"}, "backoff"),
    ({"retry-after": "nan"}, "backoff"),
    ({"retry-after": "1e3"}, "backoff"),
    ({"retry-after": "soon"}, "backoff"),
    ({"retry-after": ""}, "backoff"),
    ({"retry-after": "\xb2"}, "backoff"),
    ({"retry-after": "5, 10"}, "backoff"),
    ({"retry-after": "0x10"}, "backoff"),
    ({"retry-after": "1_0"}, "backoff"),
    ({"retry-after": "."}, "backoff"),
    ({"retry-after": "1.2.3"}, "backoff"),
    ({"retry-after": "Fri, xx Dec 2099 99:99:99 GMT"}, "backoff"),
    ({"retry-after": "Fri, 31 Dec 99999999999999999999 23:59:59 GMT"}, "backoff"),
    ({}, "backoff"),
]


@pytest.mark.parametrize("case", RETRY_AFTER_CASES, ids=lambda case: str(case[0])[:60])
def test_retry_after_is_obeyed_in_every_form_and_not_when_absurd(server, monkeypatch, case):
    headers, wait = case  # a number stands for the date so many seconds ahead
    headers = {k: faults_date(v) if isinstance(v, int) else v for k, v in headers.items()}
    server.script(Answer(429, json={}, headers=headers))
    clock = FakeClock()
    with faults_client(server, max_retries=1, use_request_queue=False) as client:
        monkeypatch.setattr(client, "_sleep", clock.sleep)
        ending = faults_ending(client)
    if wait == "never":
        assert isinstance(ending, openai_mini.RateLimitError) and ending.retry_after > 60
        assert clock.sleeps == [] and len(server.requests) == 1
        return
    assert ending == "hello" and len(clock.sleeps) == 1
    least, most = (
        (0, 0.001) if wait == "backoff" else wait if isinstance(wait, tuple) else (wait, wait)
    )
    assert least <= clock.sleeps[0] <= most


def test_a_wait_that_ends_past_the_deadline_is_not_begun(server):
    server.default = Answer(503, json={}, headers={"retry-after": "30"})
    with faults_client(server) as client:
        began_at = time.monotonic()
        error = faults_ending(client, deadline=20)
        assert error.status_code == 503 and error.retry_after == 30
        assert time.monotonic() - began_at < 10 and len(server.requests) == 1


# JSON that is odd


def faults_content(text: str) -> Answer:
    """A chat answer whose content is the JSON text `text`."""
    body = json.dumps(CHAT).replace('"hello"', text)
    return Answer(body=body.encode("utf-8", "surrogatepass"), content_type="application/json")


def test_integers_of_10000_digits_are_read_or_refused(server):
    server.default = faults_content('"x", "big": ' + "7" * 10_000)
    with faults_client(server) as client:
        ending = faults_ending(client)
    assert ending == "x" or isinstance(ending, WRONG) and len(str(ending)) < 500
    assert len(server.requests) == 1


@pytest.mark.parametrize("text", ['"a\\ud800b"', '"a\ud800b"'], ids=["escaped", "raw"])
def test_lone_surrogates_come_as_they_were_sent_and_can_be_sent_back(server, text):
    server.default = faults_content(text)
    with faults_client(server) as client:
        message = client.chat("hi").message
        assert message.content == "a\ud800b"
        client.chat([message, {"role": "user", "content": "go on"}])
    assert server.requests[1].json["messages"][0]["content"] == "a\ud800b"


def test_the_last_of_duplicate_keys_counts(server):
    server.default = faults_content('"first", "content": "last"')
    with faults_client(server) as client:
        assert client.chat("hi").content == "last"


@pytest.mark.parametrize(
    "item",
    [
        "[" * 100_000,
        '{"choices": ' + "7" * 10_000 + "}",
        '{"choices": ' + '{"a":' * 100_000,
        "{} {}",
        "7",
        "null",
        '"text"',
        "{",
        "\udcff".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
    ids=lambda item: item[:12],
)
def test_a_chunk_that_is_no_json_object_ends_the_stream_in_an_error(server, item):
    server.default = Answer(sse=chunks("hel")[:1] + [item])
    with faults_client(server) as client:
        error = faults_ending(client, stream=True)
    if isinstance(error, AttributeError):
        raise error
    assert isinstance(error, openai_mini.APIError) and error.partial.content == "hel"
    assert len(str(error)) < 500 and len(server.requests) == 1


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": 7},
        {"choices": [7]},
        {"choices": [{"delta": "x"}]},
        {"choices": [{"index": "one", "delta": {"content": "x"}}]},
        {"choices": [{"delta": {"content": 7}}]},
        {"choices": [{"delta": {"tool_calls": "x"}}]},
        {"choices": [{"delta": {"tool_calls": [7]}}]},
        {"choices": {"a": 1}},
        {"usage": "much", "choices": []},
        {"type": "response.completed", "response": 7},
        {"type": 7},
        {"error": 7},
        {"error": []},
        {"error": [[]]},
        {"choices": [{"message": []}]},
        {"choices": [{"index": {}, "delta": {}}]},
        {"choices": [{"index": [0], "delta": {"content": "x"}}]},
    ],
    ids=str,
)
def test_no_shape_of_an_answer_raises_a_foreign_exception(server, odd):
    server.default = lambda request: (
        Answer(sse=[odd]) if request.json.get("stream") else Answer(json=odd)
    )
    with faults_client(server, max_retries=0) as client:
        with contextlib.suppress(openai_mini.OpenAIError):
            with client.stream_chat("hi") as stream:
                assert all(isinstance(piece.content, str) for piece in stream)
            assert isinstance(stream.content, str)
            assert stream.message and stream.stats and stream.choices is not None
        with contextlib.suppress(openai_mini.OpenAIError):
            result = client.chat("hi")
            assert str(result) and result.to_json()
            assert [result.content, result.message, result.tool_calls, result.finish_reason]
        assert client.stats()["requests"] == 2


# Ctrl-C


@contextlib.contextmanager
def faults_ctrl_c(when):
    """A SIGINT for this thread once `when()` has returned; it must come out, and soon."""

    def strike():
        when()
        time.sleep(0.05)  # a signal just before a system call would not end that
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=strike, name="loopback-ctrl-c", daemon=True)
    began_at = time.monotonic()
    with nothing_left_over():
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            yield
        assert time.monotonic() - began_at < 8
        thread.join(10)


def test_ctrl_c_ends_a_call_that_waits_for_its_answer(server):
    client = faults_client(server)
    server.default = Answer(wait=threading.Event())
    with faults_ctrl_c(server.wait_requests):
        client.chat("hi")
    assert server.wait_closed(1)
    stats = client.stats()
    assert stats["queue"] == {"running": 0, "waiting": 0} and stats["abandoned"] == 1
    assert len(server.requests) == 1


def test_ctrl_c_ends_the_wait_before_a_retry(server):
    told = threading.Event()
    client = faults_client(server, on_event=lambda event: event["event"] == "retry" and told.set())
    server.default = Answer(
        500, json={}, headers={"retry-after": "50", "connection": "close"}, close=True
    )
    with faults_ctrl_c(lambda: told.wait(10)):
        client.chat("hi")
    stats = client.stats()
    assert stats["queue"] == {"running": 0, "waiting": 0} and stats["abandoned"] == 1
    assert len(server.requests) == 1


def test_ctrl_c_ends_the_wait_in_the_queue(server):
    queue = openai_mini.RequestQueue(max_concurrent=1)
    client = faults_client(server, use_request_queue=queue)
    with queue.slot():
        with faults_ctrl_c(lambda: eventually(lambda: queue.waiting == 1)):
            client.chat("hi")
        assert (queue.running, queue.waiting) == (1, 0)
    assert queue.running == 0 and not server.requests


def test_ctrl_c_ends_a_stream(server):
    client = faults_client(server)
    server.default = Answer(sse=chunks("hel", "lo"), wait=threading.Event(), hold_after=1)
    got = []
    with faults_ctrl_c(lambda: eventually(lambda: got)):
        for piece in client.stream_chat("hi"):
            got.append(piece.content)
    assert got == ["hel"] and server.wait_closed(1)
    stats = client.stats()
    assert stats["queue"] == {"running": 0, "waiting": 0}
    assert stats["abandoned"] == 1 and stats["failed"] == 0


# Money

# (what happens, the answer, a stream?, how often the server did the work: max_retries=3, and 0)
MONEY_CASES = [
    ("the connection is refused, or the host unknown", "closed", False, 0, 0),
    ("500, 502, 503, 504, 529", Answer(503, json={}), False, 4, 1),
    ("408, 409, 429", Answer(429, json={}), False, 4, 1),
    ("400, 401, 403, 404, 422", Answer(400, json={}), False, 1, 1),
    (
        "429 insufficient_quota",
        Answer(429, json={"error": {"code": "insufficient_quota"}}),
        False,
        1,
        1,
    ),
    (
        "`x-should-retry: false`, whatever the status",
        Answer(500, json={}, headers={"x-should-retry": "false"}),
        False,
        1,
        1,
    ),
    ("the connection breaks before the answer", Answer(raw=b"", reset=0), False, 4, 1),
    ("the body is cut short", Answer(json=CHAT, cut=40), False, 4, 1),
    (
        "the body is broken in its coding",
        Answer(json=CHAT, headers={"content-encoding": "gzip"}),
        False,
        4,
        1,
    ),
    ("no answer within `timeout` (POST)", Answer(wait=threading.Event()), False, 2, 1),
    ("`deadline` passes", "deadline", False, 1, 1),
    ("status 200, but no JSON", Answer(body="<html>", content_type="text/html"), False, 1, 1),
    ("a stream breaks before its first event", Answer(sse=[b": ping\n\n"], done=False), True, 4, 1),
    ("a stream breaks after its first event", Answer(sse=chunks("hel"), cut=250), True, 1, 1),
    (
        "a stream falls silent after its first event",
        Answer(sse=chunks("hel"), wait=threading.Event(), hold_after=1),
        True,
        1,
        1,
    ),
    ("a stream is closed by the caller", "close", True, 1, 1),
]


@pytest.mark.parametrize("case", MONEY_CASES, ids=lambda case: case[0])
@pytest.mark.parametrize("max_retries", [3, 0])
def test_a_server_that_did_the_work_is_asked_again_as_often_as_the_readme_says(
    server, case, max_retries
):
    _, answer, stream, *counts = case
    worked = []

    def work(request):
        worked.append(request.headers["idempotency-key"])
        if isinstance(answer, Answer):
            return answer
        return Answer(wait=threading.Event()) if answer == "deadline" else usual(request)

    server.default = work
    if answer == "closed":
        server.close()
    timeouts = {"deadline": 0.2} if answer == "deadline" else {"timeout": (5, 0.2)}
    with faults_client(server, max_retries=max_retries, **timeouts) as client:
        if answer == "close":
            with client.stream_chat("hi") as abandoned:
                next(abandoned)
        else:
            assert isinstance(faults_ending(client, stream), openai_mini.OpenAIError)
    assert len(worked) == counts[max_retries == 0]
    assert len(set(worked)) <= 1, "all attempts of a call have one idempotency key"


# ------------------------------------------------------------------------------------------------
# Uploads
#
# Files go out from disk as they are read, under one harmless name, the same on every attempt.


UPLOADS_FULL = bool(os.environ.get("OPENAI_MINI_FULL"))
UPLOADED = {"id": "file-1", "object": "file"}


@pytest.fixture
def uploads_server(server):
    server.default = Answer(json=UPLOADED)
    return server


def uploads_part(request, name: str = "file"):
    return next(part for part in request.parts if part.name == name)


# (what the caller gives, the name that arrives; None: any)
UPLOADS_NAMES = [
    ("data.jsonl", "data.jsonl"),
    ("my file.txt", "my file.txt"),
    ('a"b.txt', "a%22b.txt"),
    ("a\r\nb.txt", "a%0D%0Ab.txt"),
    ("a\nX-Evil: 1\n\nboo.txt", "a%0AX-Evil: 1%0A%0Aboo.txt"),
    ('x"\r\nContent-Type: text/html\r\n\r\n', "x%22%0D%0AContent-Type: text%0D%0AhtmlX"),
    ("größe-日本.txt", "größe-日本.txt"),
    ("../../etc/passwd", "passwd"),
    ("C:\\temp\\a.txt", "a.txt"),
    ("/abs/olute.txt", "olute.txt"),
    ("folder/", "upload"),
    ("..", None),
    ("\ud800.txt", None),
    ("a;b=c.txt", "a;b=c.txt"),
    ("%22.txt", "%22.txt"),
    ("nul\0.txt", None),
    ("x" * 3000, "x" * 3000),
    ("\x7f\x1b[31m.txt", None),
    ("\u2028.txt", "\u2028.txt"),
]
UPLOADS_NAMES[5] = (
    'x"\r\nContent-Type: text-html\r\n\r\n',
    "x%22%0D%0AContent-Type: text-html%0D%0A%0D%0A",
)


@pytest.mark.parametrize("name, arrives", UPLOADS_NAMES, ids=lambda value: ascii(value)[:30])
@pytest.mark.parametrize("how", ["file_name", "tuple", "attribute", "request"])
def test_a_file_name_arrives_as_one_name_however_it_is_given(
    uploads_server, client, name, arrives, how
):
    if how == "file_name":
        client.upload_file(b"{}", file_name=name)
    elif how == "tuple":
        client.upload_file((name, b"{}"))
    elif how == "request":
        client.request("POST", "/files", files={"file": (name, b"{}")}, data={"purpose": "x"})
    else:
        file = io.BytesIO(b"{}")
        file.name = name
        client.upload_file(file)
    (request,) = uploads_server.requests
    head = request.part_heads[-1]
    assert head.count(b"\r\n") == 1 and head.count(b'"') == 4, (
        "one disposition, one type: %r" % head
    )
    part = uploads_part(request)
    assert part.body == b"{}"
    if how == "request":  # goes out as the caller wrote it
        return
    assert "/" not in part.filename and "\\" not in part.filename
    assert part.filename not in ("", ".", "..")
    if arrives is not None and how != "attribute":
        assert part.filename == arrives


def test_a_path_on_disk_gives_its_last_part_as_the_name(uploads_server, client, tmp_path):
    path = tmp_path / 'it"s.jsonl'
    path.write_bytes(b"{}\n")
    for given in (path, str(path), (None, path), open(path, "rb")):
        client.upload_file(given)
    assert {uploads_part(request).filename for request in uploads_server.requests} == {
        "it%22s.jsonl"
    }


def test_fields_and_content_types_cannot_forge_a_header(uploads_server, client):
    client.request(
        "POST",
        "/files",
        data={'a"\r\nX: y': "1\r\n--x", "b": "ü"},
        files={'f"\r\n': ("a.txt", b"1", "text/plain\r\nX-Evil: 1")},
    )
    heads = uploads_server.requests[0].part_heads
    assert [head.count(b"\r\n") for head in heads] == [0, 0, 1]
    assert [part.body for part in uploads_server.requests[0].parts] == [
        b"1\r\n--x",
        "ü".encode(),
        b"1",
    ]


def test_what_cannot_be_uploaded_is_named_and_nothing_is_sent(uploads_server, client, tmp_path):
    empty, secret = tmp_path / "empty.txt", tmp_path / "secret.txt"
    empty.write_bytes(b"")
    secret.write_bytes(b"x")
    secret.chmod(0)
    cases = [
        (tmp_path / "missing.txt", OSError, "missing.txt"),
        (tmp_path, OSError, tmp_path.name),
        (empty, openai_mini.ValidationError, "empty.txt"),
        (b"", openai_mini.ValidationError, "empty"),
        (io.BytesIO(b""), openai_mini.ValidationError, "empty"),
        (io.StringIO("text"), openai_mini.ValidationError, "rb"),
        (7, openai_mini.ValidationError, "7"),
        (None, openai_mini.ValidationError, "None"),
        (("a.txt",), openai_mini.ValidationError, "a.txt"),
        (("a.txt", "no such file"), OSError, "no such file"),
        ("nul\0byte", openai_mini.ValidationError, "nul"),
    ]
    if not os.access(str(secret), os.R_OK):  # root reads everything
        cases.append((secret, OSError, "secret.txt"))
    with nothing_left_over():
        for given, cls, words in cases:
            for send in (client.upload_file, client.transcribe_audio):
                with pytest.raises(cls, match=re.escape(words)):
                    send(given)
    assert not uploads_server.requests


def test_the_bytes_are_the_same_on_every_attempt(server, client, tmp_path):
    """Of a path, bytes, a file from where it stands, and a pipe."""
    client = client.with_options(circuit_breaker=False)
    content = os.urandom(400_000)
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    read_end, write_end = os.pipe()
    threading.Thread(
        target=lambda: open(write_end, "wb").write(content), name="loopback-pipe", daemon=True
    ).start()
    standing = open(path, "rb")
    standing.seek(1000)
    pipe = open(read_end, "rb")
    for given, expected in (
        (path, content),
        (content, content),
        (bytearray(content), content),
        (memoryview(content), content),
        (standing, content[1000:]),
        (io.BytesIO(content), content),
        (pipe, content),
    ):
        server.requests.clear()
        server.script(
            Answer(503, json={}),
            Answer(raw=b"", reset=0),
            Answer(429, json={}),
            Answer(json=UPLOADED),
        )
        assert client.upload_file(given).id == "file-1"
        bodies = [uploads_part(request).body for request in server.requests]
        assert len(bodies) == 4 and all(body == expected for body in bodies)
        lengths = {request.headers["content-length"] for request in server.requests}
        assert lengths == {str(len(server.requests[0].body))}
    standing.close()
    pipe.close()


def test_a_request_refused_in_mid_upload_gives_the_servers_error(server, client, tmp_path):
    """A server that answers early and closes: its answer counts, not the broken pipe."""
    path = tmp_path / "big.bin"
    path.write_bytes(b"x" * 4_000_000)
    server.default = Answer(413, json={"error": {"message": "too much"}}, body_read=10_000)
    with pytest.raises(openai_mini.APIStatusError, match="too much") as caught:
        client.upload_file(path)
    assert caught.value.status_code == 413 and len(server.requests) == 1


def test_progress_counts_up_to_the_whole_and_anew_for_each_attempt(server, client):
    server.script(Answer(503, json={}))
    server.default = Answer(json=UPLOADED)
    told = []
    client.upload_file(b"x" * 1_000_000, progress=lambda sent, total: told.append((sent, total)))
    total = int(server.requests[0].headers["content-length"])
    assert {pair[1] for pair in told} == {total} and [pair[0] for pair in told].count(total) == 2
    first = [pair[0] for pair in told[: len(told) // 2]]
    assert (
        first == sorted(first)
        and 5 < len(first) < 100
        and told[len(told) // 2 :] == told[: len(first)]
    )


def test_an_upload_may_take_longer_than_the_read_timeout(uploads_server, client):
    """Silence counts from the last bytes that were sent."""
    slowly = lambda sent, total: time.sleep(0.05)  # noqa: E731
    client.upload_file(b"x" * 2_500_000, progress=slowly, timeout=(5, 0.2), max_retries=0)
    assert len(uploads_server.requests) == 1


def test_what_progress_raises_reaches_the_caller(server, client):
    def progress(sent, total):
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        client.upload_file(b"x" * 1_000_000, progress=progress)
    assert client.stats()["queue"]["running"] == 0


def test_a_file_that_shrinks_while_it_goes_out_is_an_error_that_names_it(server, client, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"x" * 1_000_000)

    def shrink(sent, total):
        os.truncate(str(path), 1000)

    with pytest.raises(OSError, match="log.jsonl"):
        client.upload_file(path, progress=shrink)
    assert client.stats()["queue"]["running"] == 0 and not server.requests


def test_a_file_that_grows_is_sent_as_long_as_it_was(uploads_server, client, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"x" * 300_000)

    def grow(sent, total):
        with open(path, "ab") as file:
            file.write(b"more")

    client.upload_file(path, progress=grow)
    assert uploads_part(uploads_server.requests[0]).body == b"x" * 300_000


def test_a_file_that_cannot_seek_is_read_once(uploads_server, client):
    class Unseekable(io.RawIOBase):
        def __init__(self):
            self.left = [b"a" * 70_000, b"b" * 70_000]

        def readable(self):
            return True

        def readinto(self, buffer):
            if not self.left:
                return 0
            piece = self.left[0][: len(buffer)]
            self.left[0] = self.left[0][len(piece) :]
            if not self.left[0]:
                self.left.pop(0)
            buffer[: len(piece)] = piece
            return len(piece)

    uploads_server.script(Answer(500, json={}))
    client.upload_file(Unseekable(), file_name="pipe.bin")
    for request in uploads_server.requests:
        part = uploads_part(request)
        assert part.filename == "pipe.bin" and part.body == b"a" * 70_000 + b"b" * 70_000


def test_a_file_of_the_callers_stays_open_and_ours_are_closed(uploads_server, client, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"x")
    with open(path, "rb") as file:
        client.upload_file(file)
        assert not file.closed
    client.upload_file(path)
    before = fds_left()
    for _ in range(3):
        client.upload_file(path)
        uploads_server.script(Answer(400, json={}))
        with pytest.raises(openai_mini.BadRequestError):
            client.upload_file(path)
    gc.collect()
    assert not {what for _, what in fds_left() - before if what == str(path)}


def test_bytes_get_a_name_by_their_first_bytes(uploads_server, client):
    for content, extension in (
        (b"ID3...", "mp3"),
        (b"RIFF....WAVE", "wav"),
        (b"\x89PNG...", "png"),
        (b"%PDF-1", "pdf"),
        (b'{"a": 1}', "jsonl"),
        (b"\0\0\0 ftypM4A ", "m4a"),
    ):
        client.upload_file(content)
        assert uploads_part(uploads_server.requests[-1]).filename.endswith("." + extension)


def test_a_caller_s_session_uploads_the_same(uploads_server, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(os.urandom(300_000))
    uploads_server.script(Answer(503, json={}))
    with requests.Session() as session:
        client = openai_mini.OpenAIMini(
            "sk", base_url=uploads_server.url, session=session, initial_retry_delay=0.001
        )
        told = []
        client.upload_file(path, progress=lambda sent, total: told.append(sent))
    for request in uploads_server.requests:
        assert uploads_part(request).body == path.read_bytes()
        assert "transfer-encoding" not in request.headers
    assert told[-1] == uploads_server.requests[0].length


# Downloads


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_download_is_written_as_it_arrives_and_counted(server, client, tmp_path, framing):
    content, told = os.urandom(300_000), []
    server.default = Answer(body=content, framing=framing, drip=70_000)
    target = tmp_path / "out.bin"
    count = client.download_file("file-1", target, progress=lambda *pair: told.append(pair))
    assert count == len(content) and target.read_bytes() == content
    assert told[-1] == (len(content), len(content) if framing == "length" else None)
    into = io.BytesIO()
    assert client.download_file("file-1", into) == len(content) and into.getvalue() == content
    assert client.download_file("file-1") == content


def test_a_download_cut_short_leaves_the_old_file_and_no_half_one(server, client, tmp_path):
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    for fault in ({"cut": 1000}, {"reset": 1000}, {"framing": "chunked", "cut": 1000}):
        server.default = Answer(body=b"x" * 300_000, **fault)
        with pytest.raises(openai_mini.APIError):
            client.download_file("file-1", target, max_retries=1)
        assert os.listdir(str(tmp_path)) == ["out.bin"] and target.read_bytes() == b"old"


def test_a_download_that_cannot_be_written_is_the_callers_oserror(server, client, tmp_path):
    server.default = Answer(body=b"x" * 1000)
    with pytest.raises(OSError):
        client.download_file("file-1", tmp_path / "no folder" / "out.bin")
    with pytest.raises(OSError):
        client.download_file("file-1", tmp_path)
    assert client.stats()["queue"]["running"] == 0


# Memory: in a process of its own, which says how much its peak grew

UPLOADS_MEMORY = """
    import resource, sys
    sys.path.insert(0, {module!r})
    import openai_mini

    client = openai_mini.OpenAIMini("sk", base_url={url!r})
    work = lambda size: {work}
    for _ in range(3):  # what is imported and allocated once
        work(1 << 20)
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    before = peak()
    work({size})
    print(peak() - before)
"""


def uploads_growth_kb(server, work: str, size: int) -> int:
    script = textwrap.dedent(UPLOADS_MEMORY).format(
        module=os.path.dirname(os.path.abspath(openai_mini.__file__)),
        url=server.url,
        work=work,
        size=size,
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, timeout=300
    )
    return int(done.stdout) // (1024 if sys.platform == "darwin" else 1)


def uploads_size(full: int) -> int:
    """The sizes of the contract with OPENAI_MINI_FULL=1, an eighth of them else."""
    return full if UPLOADS_FULL else full // 8


def test_an_upload_of_1_gib_needs_less_than_2_mib(uploads_server, tmp_path):
    uploads_server.keep_bodies = False
    path = tmp_path / "sparse.bin"
    size = uploads_size(1 << 30)
    path.write_bytes(b"")
    work = "(open({0!r}, 'wb').truncate(size), client.upload_file({0!r}))".format(str(path))
    assert uploads_growth_kb(uploads_server, work, size) < 2048
    assert uploads_server.requests[-1].length > size


def test_a_download_of_256_mib_needs_less_than_2_mib(server, tmp_path):
    block, size = hashlib.sha256(b"x").digest() * 4096, uploads_size(256 << 20)

    def answer(request):
        length = int(request.query["size"])
        pieces = length // len(block)
        return Answer(
            pieces=lambda: (block for _ in range(pieces)), headers={"content-length": length}
        )

    server.default = answer
    target = str(tmp_path / "out.bin")
    work = "client.download_file('file-1', %r, extra_query={'size': size})" % target
    assert uploads_growth_kb(server, work, size) < 2048
    assert os.path.getsize(target) == size


# ------------------------------------------------------------------------------------------------
# Endpoints
#
# Each row of the README's table of methods, against the loopback server, and its samples.


ENDPOINTS_PNG = b"\x89PNG\r\n\x1a\n-the rest of an image-"
ENDPOINTS_JPG = b"\xff\xd8\xff\xe0-the rest of a photo-"
ENDPOINTS_MP3 = b"ID3\x04-the rest of a song-"


def endpoints_said(content, finish="stop", **message):
    """A chat answer with this content."""
    message = dict({"role": "assistant", "content": content}, **message)
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return dict(CHAT, choices=[choice])


def endpoints_called(*calls):
    """A chat answer that asks for tools: (name, arguments as text) each."""
    asked = [
        {"id": "call_%d" % i, "type": "function", "function": {"name": name, "arguments": text}}
        for i, (name, text) in enumerate(calls)
    ]
    return endpoints_said(None, "tool_calls", tool_calls=asked)


# The table: what is called, what is sent, what comes back.

ENDPOINTS_JSON = [
    (
        "moderation",
        lambda c: c.moderation("bad words"),
        ("POST", "/v1/moderations", {"input": "bad words", "model": "omni-moderation-latest"}),
    ),
    (
        "moderation of a list, by another model",
        lambda c: c.moderation(["a", "b"], model="text-moderation-007"),
        ("POST", "/v1/moderations", {"input": ["a", "b"], "model": "text-moderation-007"}),
    ),
    (
        "image",
        lambda c: c.generate_image("a cat", size="1024x1024", n=2),
        (
            "POST",
            "/v1/images/generations",
            {"prompt": "a cat", "size": "1024x1024", "n": 2, "model": "gpt-image-2"},
        ),
    ),
    (
        "image by dall-e-3, which passes through by name",
        lambda c: c.generate_image("a cat", model="dall-e-3"),
        ("POST", "/v1/images/generations", {"prompt": "a cat", "model": "dall-e-3"}),
    ),
    (
        "speech",
        lambda c: c.text_to_speech("good day"),
        (
            "POST",
            "/v1/audio/speech",
            {"input": "good day", "voice": "alloy", "model": "gpt-4o-mini-tts"},
        ),
    ),
    (
        "speech with everything",
        lambda c: c.text_to_speech("hi", "nova", model="tts-1", response_format="wav", speed=1.5),
        (
            "POST",
            "/v1/audio/speech",
            {
                "input": "hi",
                "voice": "nova",
                "model": "tts-1",
                "response_format": "wav",
                "speed": 1.5,
            },
        ),
    ),
    ("models", lambda c: c.list_models(), ("GET", "/v1/models", None)),
    ("download", lambda c: c.download_file("file-1"), ("GET", "/v1/files/file-1/content", None)),
    (
        "chat of a str",
        lambda c: c.chat("hi", temperature=0.5),
        (
            "POST",
            "/v1/chat/completions",
            {
                "messages": [{"role": "user", "content": "hi"}],
                "temperature": 0.5,
                "model": "gpt-5.4-mini",
            },
        ),
    ),
    (
        "chat by gpt-4o-mini",
        lambda c: c.chat([{"role": "system", "content": "s"}], model="gpt-4o-mini", user="u"),
        (
            "POST",
            "/v1/chat/completions",
            {"messages": [{"role": "system", "content": "s"}], "model": "gpt-4o-mini", "user": "u"},
        ),
    ),
    (
        "a parameter that is not given, and one that is null",
        lambda c: c.chat("hi", model="m", seed=openai_mini.NOT_GIVEN, stop=None),
        (
            "POST",
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "hi"}], "model": "m", "stop": None},
        ),
    ),
    (
        "embedding",
        lambda c: c.embedding("text", dimensions=2),
        (
            "POST",
            "/v1/embeddings",
            {"input": ["text"], "model": "text-embedding-3-small", "dimensions": 2},
        ),
    ),
]


@pytest.mark.parametrize(
    "call, sent", [case[1:] for case in ENDPOINTS_JSON], ids=[case[0] for case in ENDPOINTS_JSON]
)
def test_each_method_sends_exactly_what_its_row_says(server, client, call, sent):
    server.default = lambda request: Answer(
        json=dict(CHAT, data=[{"id": "m", "index": 0, "embedding": [0.0, 1.0]}])
    )
    call(client)
    (request,) = server.requests
    assert (request.method, request.path) == sent[:2]
    assert (request.json if request.body else None) == sent[2]


@pytest.mark.parametrize(
    "call",
    [
        lambda c, **o: c.chat("hi", **o),
        lambda c, **o: list(c.stream_chat("hi", **o)),
        lambda c, **o: c.embedding("x", **o),
        lambda c, **o: c.moderation("x", **o),
        lambda c, **o: c.generate_image("x", **o),
        lambda c, **o: c.edit_image(ENDPOINTS_PNG, "x", **o),
        lambda c, **o: c.text_to_speech("x", **o),
        lambda c, **o: c.transcribe_audio(ENDPOINTS_MP3, **o),
        lambda c, **o: c.translate_audio(ENDPOINTS_MP3, **o),
        lambda c, **o: c.upload_file(b"{}", **o),
        lambda c, **o: c.download_file("file-1", **o),
        lambda c, **o: c.list_models(**o),
        lambda c, **o: c.health(**o),
        lambda c, **o: c.run_tools("hi", [], **o),
        lambda c, **o: c.request("POST", "/x", json={}, **o),
    ],
)
def test_every_method_takes_the_options_of_a_call(server, client, call):
    def answer(request):
        if "application/json" in request.headers.get("content-type", "") and request.json.get(
            "stream"
        ):
            return Answer(sse=chunks("a"))
        return Answer(json=dict(CHAT, text="t", data=[{"id": "m", "index": 0, "embedding": [1.0]}]))

    server.default = answer
    call(
        client,
        timeout=9,
        deadline=60,
        max_retries=0,
        priority=openai_mini.HIGH,
        extra_headers={"x-mine": "1"},
        extra_query={"q": "2"},
        extra_body={},
    )
    request = server.requests[0]
    assert request.headers["x-mine"] == "1" and request.query["q"] == "2"
    for name in (b"priority", b"max_retries", b"deadline", b"timeout"):
        assert name not in request.body


def test_default_models_can_be_edited_and_openai_model_is_for_chat(server, client, monkeypatch):
    monkeypatch.setitem(openai_mini.DEFAULT_MODELS, "moderation", "mine")
    monkeypatch.setenv("OPENAI_MODEL", "from-env")
    client.moderation("x")
    client.chat("x")
    client.with_options(model="mine too").chat("x")
    assert [r.json["model"] for r in server.requests] == ["mine", "from-env", "mine too"]


# Chat


def test_a_chat_result_has_what_is_asked_for_most(server, client):
    server.script(Answer(json=CHAT, headers={"x-request-id": "req-1"}))
    result = client.chat("hi")
    assert (result.content, result.finish_reason, result.tool_calls) == ("hello", "stop", None)
    assert (result.usage.total_tokens, result.choices[0].message.content) == (10, "hello")
    assert (result.request_id, result.status_code, result.no_such_thing) == ("req-1", 200, None)
    assert result.headers["content-type"] == "application/json"


def test_a_results_message_goes_back_as_it_came(server, client):
    server.script(Answer(json=endpoints_called(("f", "{}"))))
    result = client.chat("hi")
    client.chat([{"role": "user", "content": "hi"}, result.choices[0].message])
    assert (
        server.requests[1].json["messages"][1]
        == endpoints_called(("f", "{}"))["choices"][0]["message"]
    )


class EndpointsModel:
    """What pydantic's classes have of importance here."""

    def __init__(self, **fields):
        self.__dict__.update(fields)

    @classmethod
    def model_json_schema(cls):
        inner = {"type": "object", "properties": {"x": {"type": "integer", "default": 1}}}
        properties = {"name": {"type": "string"}, "inner": inner}
        return {"title": "M", "type": "object", "properties": properties, "required": ["name"]}

    @classmethod
    def model_validate_json(cls, text):
        fields = json.loads(text)
        if "name" not in fields:
            raise ValueError("name: field required")
        return cls(**fields)


def test_schema_as_a_dict_makes_parsed(server, client):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    server.script(Answer(json=endpoints_said('{"a": 1}')))
    result = client.chat("hi", schema=schema)
    assert result.parsed == {"a": 1} and result.parsed.a == 1
    sent = server.requests[0].json
    assert sent["response_format"]["type"] == "json_schema" and "schema" not in sent
    assert sent["response_format"]["json_schema"]["schema"] == schema
    assert sent["response_format"]["json_schema"]["name"]


def test_schema_as_a_class_makes_parsed_one_of_it_and_is_strict(server, client):
    server.script(Answer(json=endpoints_said('{"name": "Ada"}')))
    parsed = client.chat("hi", schema=EndpointsModel).parsed
    assert isinstance(parsed, EndpointsModel) and parsed.name == "Ada"
    sent = server.requests[0].json["response_format"]["json_schema"]
    assert sent["strict"] is True and sent["name"] == "EndpointsModel"
    assert sent["schema"]["required"] == ["name", "inner"]
    assert sent["schema"]["additionalProperties"] is False
    inner = sent["schema"]["properties"]["inner"]
    assert inner["additionalProperties"] is False and inner["required"] == ["x"]


def test_an_answer_that_does_not_fit_the_schema_is_an_error(server, client):
    server.script(Answer(json=endpoints_said("{}")))
    with pytest.raises(openai_mini.APIResponseError, match="name: field required"):
        client.chat("hi", schema=EndpointsModel)
    server.script(Answer(json=endpoints_said("no JSON")))
    with pytest.raises(openai_mini.APIResponseError):
        client.chat("hi", schema={"type": "object"})
    server.script(Answer(json=endpoints_said('{"a": "cut o', finish="length")))
    with pytest.raises(openai_mini.APIResponseError, match="token"):
        client.chat("hi", schema={"type": "object"})


def test_a_refusal_has_no_parsed(server, client):
    server.script(Answer(json=endpoints_said(None, refusal="I will not")))
    result = client.chat("hi", schema={"type": "object"})
    assert result.parsed is None and result.choices[0].message.refusal == "I will not"


# Embeddings


def endpoints_vectors(request, as_base64=False, most=10**9, turned=False):
    """The embeddings of inputs that are numbers, or lists of them, each as two floats."""
    inputs = request.json["input"]
    if len(inputs) > most:
        said = "batch size is invalid, it should not be larger than %d." % most
        return Answer(400, json={"error": {"message": said, "type": "invalid_request_error"}})
    data = []
    for index, one in enumerate(inputs):
        vector = [float(one[0] if isinstance(one, list) else one), 0.5]
        if as_base64:
            floats = array.array("f", vector)
            if sys.byteorder == "big":
                floats.byteswap()
            vector = base64.b64encode(floats.tobytes()).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    return Answer(json={"object": "list", "data": data[::-1] if turned else data})


def test_a_text_gives_a_list_of_one_vector(server, client):
    server.default = endpoints_vectors
    assert client.embedding("7") == [[7.0, 0.5]]
    assert client.embedding(["7", "8"]) == [[7.0, 0.5], [8.0, 0.5]]
    assert client.embedding(iter(["7", "8"])) == [[7.0, 0.5], [8.0, 0.5]]


def test_tokens_are_one_input_and_lists_of_tokens_are_many(server, client):
    server.default = endpoints_vectors
    assert client.embedding([1, 2, 3]) == [[1.0, 0.5]]
    assert client.embedding([[1, 2, 3], [4]]) == [[1.0, 0.5], [4.0, 0.5]]
    assert [r.json["input"] for r in server.requests] == [[[1, 2, 3]], [[1, 2, 3], [4]]]


@pytest.mark.parametrize("as_base64", [False, True])
@pytest.mark.parametrize("asked", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
def test_base64_and_floats_are_read_whichever_was_asked_for(server, client, as_base64, asked):
    server.default = lambda request: endpoints_vectors(request, as_base64=as_base64, turned=True)
    vectors = client.embedding(["1", "2", "3"], **asked)
    assert vectors == [[1.0, 0.5], [2.0, 0.5], [3.0, 0.5]]
    assert all(type(number) is float for vector in vectors for number in vector)
    assert server.requests[0].json.get("encoding_format") == asked.get("encoding_format")


def test_ten_thousand_inputs_come_back_in_order(server, client):
    server.default = endpoints_vectors
    vectors = client.embedding([str(i) for i in range(10_000)])
    assert [vector[0] for vector in vectors] == list(range(10_000))
    assert [len(r.json["input"]) for r in server.requests] == [2048] * 4 + [10_000 - 4 * 2048]


def test_a_server_that_takes_ten_at_a_time_is_served(server, client):
    server.default = lambda request: endpoints_vectors(request, most=10)
    vectors = client.embedding([str(i) for i in range(1000)])
    assert [vector[0] for vector in vectors] == list(range(1000))
    assert len(server.requests) <= 170, "what was learned is remembered for the rest"


@pytest.mark.parametrize("status", [413, 422])
def test_inputs_are_halved_at_the_other_words_for_too_much(server, client, status):
    server.script(Answer(status, body="too large"))
    server.default = endpoints_vectors
    assert len(client.embedding(["1", "2", "3"])) == 3
    assert [len(r.json["input"]) for r in server.requests] == [3, 1, 1, 1]


def test_one_input_that_is_too_much_is_the_servers_error(server, client):
    server.default = lambda request: endpoints_vectors(request, most=0)
    with pytest.raises(openai_mini.BadRequestError, match="batch size"):
        client.embedding(["1", "2", "3", "4"])
    assert len(server.requests) == 3


def test_other_refusals_halve_nothing(server, client):
    server.script(Answer(401, json={"error": {"message": "no"}}))
    with pytest.raises(openai_mini.AuthenticationError):
        client.embedding(["1", "2", "3", "4"])
    assert len(server.requests) == 1


def test_long_inputs_are_split_by_size_too(server, client):
    server.default = lambda request: Answer(
        json={"data": [{"index": i, "embedding": [1.0]} for i in range(len(request.json["input"]))]}
    )
    assert len(client.embedding(["x" * 250_000] * 5)) == 5
    assert 1 < len(server.requests) <= 5


@pytest.mark.parametrize("data", [[], None, [{"index": 0, "embedding": [1.0]}], [{"index": 0}] * 2])
def test_fewer_vectors_than_inputs_is_an_error(server, client, data):
    server.script(Answer(json={"object": "list", "data": data}))
    with pytest.raises(openai_mini.APIResponseError):
        client.embedding(["1", "2"])


def test_no_inputs_are_no_vectors_and_no_request(server, client):
    assert client.embedding([]) == [] and not server.requests


def test_a_deadline_is_that_of_all_parts_together(server, client):
    client._sleep = lambda seconds: None
    data = [{"index": i, "embedding": [1.0]} for i in range(2048)]
    server.default = lambda request: Answer(json={"data": data}, wait=_endpoints_lag())
    with pytest.raises(openai_mini.APITimeoutError):
        client.embedding(["x"] * 2048 * 20, deadline=0.5)
    assert len(server.requests) < 12


class _endpoints_lag:
    """An event that is set after a tenth of a second."""

    def __init__(self):
        self.until = time.monotonic() + 0.1

    def is_set(self):
        return time.monotonic() > self.until

    def wait(self, timeout):
        time.sleep(min(timeout, 0.01))


# Moderation and images


def test_moderations_categories_are_looped_over(server, client):
    categories = {"violence": True, "self-harm": False, "harassment/threatening": True}
    server.script(Answer(json={"results": [{"flagged": True, "categories": categories}]}))
    result = client.moderation("bad").results[0]
    assert result.flagged is True
    assert [name for name, is_so in result.categories.items() if is_so] == [
        "violence",
        "harassment/threatening",
    ]
    assert result.categories.self_harm is False and result.categories.harassment_threatening


def test_images_sent_inline_are_saved(server, client, tmp_path):
    sent = [{"b64_json": base64.b64encode(raw).decode()} for raw in (ENDPOINTS_PNG, ENDPOINTS_JPG)]
    server.script(Answer(json={"created": 1, "data": sent}))
    result = client.generate_image("two", n=2)
    paths = result.save(tmp_path)
    assert [os.path.splitext(path)[1] for path in paths] == [".png", ".jpg"]
    assert [open(path, "rb").read() for path in paths] == [ENDPOINTS_PNG, ENDPOINTS_JPG]
    assert sorted(os.listdir(str(tmp_path))) == sorted(map(os.path.basename, paths))


def test_images_sent_as_urls_are_saved_and_the_key_stays_here(server, client, tmp_path):
    with LoopbackServer() as other:
        other.default = Answer(body=ENDPOINTS_PNG)
        server.script(Answer(json={"data": [{"url": other.origin + "/img?sig=1"}]}))
        result = client.generate_image("one")
        assert result.data[0].url.startswith("http")
        (path,) = result.save(str(tmp_path))
        assert open(path, "rb").read() == ENDPOINTS_PNG
        assert "authorization" not in other.requests[0].headers
        other.default = Answer(404, body="gone")
        with pytest.raises(openai_mini.APIError):
            result.save(str(tmp_path / "."))
        assert os.listdir(str(tmp_path)) == [os.path.basename(path)]


def test_an_image_that_is_gone_is_told_with_its_status_and_without_its_signed_url(server, client):
    url = server.origin + "/image.png?sig=SIGNED"
    server.script(Answer(json={"data": [{"url": url}]}), Answer(404))
    with pytest.raises(openai_mini.NotFoundError, match="GET an image from 127.0.0.1: 404") as gone:
        client.generate_image("x").save(".")
    assert "SIGNED" not in str(gone.value)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "", "http://"])
def test_an_image_url_that_is_no_web_address_is_an_error_of_ours(server, client, tmp_path, url):
    server.script(Answer(json={"data": [{"url": url}]}))
    with pytest.raises(openai_mini.APIError):
        client.generate_image("one").save(tmp_path)


def test_images_that_are_broken_or_absent_are_errors_of_ours(server, client, tmp_path):
    server.script(Answer(json={"data": [{"b64_json": "!"}]}), Answer(json={"data": [{}]}))
    for _ in range(2):
        with pytest.raises(openai_mini.APIResponseError):
            client.generate_image("one").save(tmp_path)


def test_one_image_is_edited_with_its_mask(server, client, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(ENDPOINTS_PNG)
    client.edit_image(path, "a hat", mask=ENDPOINTS_PNG + b"mask", size="auto", n=1)
    request = server.requests[0]
    assert request.path == "/v1/images/edits"
    parts = {part.name: part for part in request.parts}
    assert (parts["image"].filename, parts["image"].body) == ("photo.png", ENDPOINTS_PNG)
    assert (parts["image"].content_type, parts["mask"].filename) == ("image/png", "file.png")
    fields = {name: part.body for name, part in parts.items() if part.filename is None}
    assert fields == {"prompt": b"a hat", "model": b"gpt-image-2", "size": b"auto", "n": b"1"}


def test_a_nested_schema_is_strict_to_its_leaves(server, client):
    class Outer(EndpointsModel):
        @classmethod
        def model_json_schema(cls):
            step = {"type": "object", "properties": {"default": {"type": "string"}}}
            ref = {"$ref": "#/$defs/Step", "description": "the first"}
            steps = {"type": "array", "items": {"$ref": "#/$defs/Step"}, "default": []}
            properties = {"first": ref, "steps": steps, "n": {"type": "integer", "default": 3}}
            return {"type": "object", "properties": properties, "$defs": {"Step": step}}

    server.script(Answer(json=endpoints_said('{"name": "x"}')))
    client.chat("hi", schema=Outer)
    schema = server.requests[0].json["response_format"]["json_schema"]["schema"]
    strict = {"additionalProperties": False, "required": ["default"], "type": "object"}
    strict["properties"] = {"default": {"type": "string"}}
    assert schema["$defs"] == {"Step": strict}
    assert schema["properties"] == {
        "first": dict(strict, description="the first"),
        "steps": {"type": "array", "items": {"$ref": "#/$defs/Step"}},
        "n": {"type": "integer"},
    }
    assert schema["required"] == ["first", "steps", "n"]


def test_many_images_are_edited_together(server, client):
    client.edit_image([ENDPOINTS_PNG, ("b.jpg", ENDPOINTS_JPG)], "mix", model="m")
    files = [part for part in server.requests[0].parts if part.filename]
    assert [(part.name, part.filename) for part in files] == [
        ("image[]", "file.png"),
        ("image[]", "b.jpg"),
    ]


# Audio


def test_speech_comes_as_bytes(server, client):
    server.script(Answer(body=ENDPOINTS_MP3, content_type="audio/mpeg"))
    speech = client.text_to_speech("hi")
    assert speech == ENDPOINTS_MP3 and isinstance(speech, bytes)
    assert speech.content == speech.read() == ENDPOINTS_MP3


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_speech_is_written_to_a_path_or_a_file_as_it_arrives(server, client, tmp_path, framing):
    pieces, seen, path = [b"a" * 1000, b"b" * 500], [], tmp_path / "speech.mp3"
    server.default = Answer(pieces=pieces, framing=framing)
    count = client.text_to_speech("hi", to=path, progress=lambda *done: seen.append(done))
    assert count == 1500 and path.read_bytes() == b"".join(pieces)
    total = 1500 if framing == "length" else None
    assert seen[-1] == (1500, total) and os.listdir(str(tmp_path)) == ["speech.mp3"]
    assert client.text_to_speech("hi", to=str(path)) == 1500
    file = io.BytesIO()
    assert client.text_to_speech("hi", to=file) == 1500 and file.getvalue() == path.read_bytes()
    with open(str(path), "ab") as file:
        client.text_to_speech("hi", to=file)
    assert path.read_bytes() == b"".join(pieces) * 2


def test_speech_reaches_a_file_while_the_server_holds_back_the_rest(server, client):
    go, first = threading.Event(), threading.Event()
    server.script(Answer(pieces=[b"abc", b"def"], framing="chunked", wait=go, hold_after=1))

    class Player:
        got = b""

        def write(self, piece):
            self.got += piece
            first.set()

    player = Player()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(client.text_to_speech, "hi", to=player)
        assert first.wait(10) and player.got == b"abc"
        go.set()
        assert future.result(10) == 6 and player.got == b"abcdef"


def test_progress_is_told_where_the_bytes_are_returned_too(server, client):
    server.default, seen = Answer(body=b"x" * 10), []
    client.text_to_speech("hi", progress=lambda *done: seen.append(done))
    client.download_file("file-1", progress=lambda *done: seen.append(done))
    assert seen == [(10, 10), (10, 10)]


def endpoints_audio(tmp_path):
    path = tmp_path / "talk.mp3"
    path.write_bytes(ENDPOINTS_MP3)
    opened = io.BytesIO(b"skipped" + ENDPOINTS_MP3)
    opened.seek(7)
    return [
        (str(path), "talk.mp3", "audio/mpeg"),
        (path, "talk.mp3", "audio/mpeg"),
        (ENDPOINTS_MP3, "file.mp3", "audio/mpeg"),
        (("my.mp3", ENDPOINTS_MP3), "my.mp3", "audio/mpeg"),
        (("my.bin", path, "audio/x-own"), "my.bin", "audio/x-own"),
        (("my.mp3", opened), "my.mp3", "audio/mpeg"),
    ]


@pytest.mark.parametrize("number", range(6))
def test_audio_is_taken_from_a_path_bytes_a_file_and_a_tuple(server, client, tmp_path, number):
    server.default = Answer(json={"text": "hello there"})
    audio, name, kind = endpoints_audio(tmp_path)[number]
    result = client.transcribe_audio(audio, language="en", timestamp_granularities=["word"])
    assert result.text == "hello there" and str(result) == "hello there"
    parts = server.requests[0].parts
    sent = [(p.name, p.filename, p.content_type, p.body) for p in parts if p.filename]
    assert sent == [("file", name, kind, ENDPOINTS_MP3)]
    assert sorted((p.name, p.body) for p in parts if not p.filename) == [
        ("language", b"en"),
        ("model", b"gpt-transcribe"),
        ("timestamp_granularities[]", b"word"),
    ]


@pytest.mark.parametrize(
    "kind, body, content_type",
    [
        ("text", "plain words\n", "text/plain; charset=utf-8"),
        ("srt", "1\n00:00:00,000 --> 00:00:01,000\nGrüße\n", "text/plain"),
        ("vtt", "WEBVTT\n\n00:00.000 --> 00:01.000\nhi\n", "text/vtt"),
        ("text", "words", "application/json"),
    ],
)
def test_the_text_formats_are_text_too(server, client, kind, body, content_type):
    server.default = Answer(body=body, content_type=content_type)
    for method in (client.transcribe_audio, client.translate_audio):
        result = method(ENDPOINTS_MP3, response_format=kind)
        assert result.text == body and str(result) == body and "%s" % result == body


def test_a_verbose_transcription_keeps_its_segments(server, client):
    segments = [{"id": 0, "start": 0.0, "end": 1.5, "text": "hi"}]
    server.script(Answer(json={"text": "hi", "duration": 1.5, "segments": segments}))
    result = client.transcribe_audio(ENDPOINTS_MP3, response_format="verbose_json")
    assert (result.segments[0].end, result.duration, str(result)) == (1.5, 1.5, "hi")


def test_a_translation_goes_to_its_own_path(server, client):
    server.script(Answer(json={"text": "hi"}))
    assert str(client.translate_audio(ENDPOINTS_MP3, prompt="p")) == "hi"
    assert server.requests[0].path == "/v1/audio/translations"


# Files


def test_upload_sends_purpose_name_and_progress(server, client, tmp_path):
    server.default = Answer(json={"id": "file-1", "object": "file", "filename": "t.jsonl"})
    path, seen = tmp_path / "train.jsonl", []
    path.write_bytes(b'{"a": 1}\n' * 50_000)
    result = client.upload_file(path, progress=lambda sent, total: seen.append((sent, total)))
    assert result.id == "file-1" and result.filename == "t.jsonl"
    request = server.requests[0]
    assert request.headers["content-length"] == str(request.length) == str(seen[-1][1])
    parts = {part.name: part for part in request.parts}
    assert parts["purpose"].body == b"fine-tune" and parts["file"].filename == "train.jsonl"
    assert parts["file"].body == path.read_bytes()
    assert seen == sorted(seen) and len(seen) > 3 and seen[-1][0] == seen[-1][1]
    client.upload_file(b"{}", purpose="batch", file_name="b.jsonl")
    parts = {part.name: part for part in server.requests[1].parts}
    assert (parts["purpose"].body, parts["file"].filename) == (b"batch", "b.jsonl")


def test_an_upload_that_is_retried_sends_the_same_bytes(server, client, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(os.urandom(300_000))
    server.script(Answer(500, body="no"), Answer(429, headers={"retry-after": "0"}))
    client.upload_file(path)
    assert len({request.body for request in server.requests}) == 1 and len(server.requests) == 3
    assert path.read_bytes() in server.requests[0].body


@pytest.mark.parametrize(
    "name", ['a"b.txt', "a\r\nX-Evil: 1.txt", "../../etc/passwd", "C:\\dir\\b.txt", "Größe.txt", ""]
)
def test_a_file_name_arrives_as_one_harmless_name(server, client, name):
    client.upload_file(b"data", file_name=name)
    (part,) = [part for part in server.requests[0].parts if part.filename]
    assert part.body == b"data" and "/" not in part.filename and "\\" not in part.filename
    assert "\n" not in part.filename and "x-evil" not in server.requests[0].headers
    if name == "Größe.txt":
        assert part.filename == name


def test_a_file_that_cannot_be_sent_is_named_and_nothing_is_sent(server, client, tmp_path):
    missing, empty, text = tmp_path / "missing.txt", tmp_path / "empty.txt", tmp_path / "text.txt"
    empty.write_bytes(b"")
    text.write_text("words")
    with pytest.raises(FileNotFoundError, match="missing.txt"):
        client.upload_file(missing)
    with pytest.raises(OSError, match=tmp_path.name):
        client.upload_file(tmp_path)
    with pytest.raises(openai_mini.ValidationError, match="empty.txt"):
        client.upload_file(empty)
    with open(str(text)) as file, pytest.raises(openai_mini.ValidationError, match="text.txt"):
        client.upload_file(file)
    with pytest.raises(openai_mini.ValidationError):
        client.upload_file(42)
    assert not server.requests


def test_a_file_comes_as_bytes_or_into_a_path_or_a_file(server, client, tmp_path):
    server.default, seen = Answer(body=b"0123456789" * 100_000, framing="length"), []
    assert client.download_file("file-1") == b"0123456789" * 100_000
    path = tmp_path / "out.bin"
    count = client.download_file("file-1", path, progress=lambda *done: seen.append(done))
    assert count == 1_000_000 and path.read_bytes() == b"0123456789" * 100_000
    assert seen == sorted(seen) and seen[-1] == (1_000_000, 1_000_000)
    with open(str(tmp_path / "two"), "wb") as file:
        assert client.download_file("file-1", to=file) == 1_000_000
    assert sorted(os.listdir(str(tmp_path))) == ["out.bin", "two"]


@pytest.mark.parametrize("fault", [{"cut": 5000}, {"reset": 5000}])
def test_a_cut_download_leaves_the_old_file_and_no_half_one(server, client, tmp_path, fault):
    path = tmp_path / "kept.bin"
    path.write_bytes(b"old")
    server.default = Answer(body=b"x" * 10_000, **fault)
    with pytest.raises(openai_mini.APIError):
        client.download_file("file-1", path, max_retries=1)
    assert path.read_bytes() == b"old" and os.listdir(str(tmp_path)) == ["kept.bin"]
    assert len(server.requests) == 2
    server.default = Answer(body=b"new")
    assert client.download_file("file-1", path) == 3 and path.read_bytes() == b"new"


def test_a_cut_download_into_an_open_file_is_not_begun_again(server, client):
    file = io.BytesIO()
    server.script(Answer(body=b"x" * 10_000, cut=5000), Answer(body=b"y" * 10_000))
    with contextlib.suppress(openai_mini.APIError):
        client.download_file("file-1", file)
    assert file.getvalue() in (b"x" * 5000, b"y" * 10_000)


def test_an_error_answer_is_not_written_into_the_file(server, client, tmp_path):
    path = tmp_path / "kept.bin"
    path.write_bytes(b"old")
    server.script(Answer(404, json={"error": {"message": "No such File object: file-9"}}))
    with pytest.raises(openai_mini.NotFoundError, match="file-9"):
        client.download_file("file-9", path)
    assert path.read_bytes() == b"old"
    with pytest.raises(OSError, match="nowhere"):
        client.download_file("file-9", tmp_path / "nowhere" / "x")
    with pytest.raises(OSError, match=tmp_path.name):
        client.download_file("file-9", tmp_path)


@pytest.mark.parametrize("file_id", ["", ".", "..", None])
def test_a_file_id_that_is_no_id_is_refused(server, client, file_id):
    with pytest.raises(openai_mini.ValidationError, match="file_id"):
        client.download_file(file_id)
    assert not server.requests


def test_a_file_id_cannot_leave_its_path(server, client):
    client.download_file("../models?x=1#y/ü")
    assert server.requests[0].target == "/v1/files/..%2Fmodels%3Fx=1%23y%2F%C3%BC/content"


# Models and health


def test_models_are_listed_by_id(server, client):
    server.script(Answer(json={"object": "list", "data": [{"id": "b"}, {"id": "a"}]}))
    assert client.list_models() == ["b", "a"]


def test_health_tells_and_never_raises(server, client):
    server.script(Answer(json={"data": [{"id": "a"}, {"id": "b"}]}))
    health = client.health()
    assert (health["ok"], health["models"]) == (True, 2)
    assert (health["circuit"], health["error"]) == ("closed", None)
    assert 0 <= health["latency_s"] < 10
    for answer in (Answer(500, body="broken"), Answer(body="<html>"), Answer(json=[1]), None):
        if answer:
            server.script(answer)
        else:
            server.close()
        health = client.health()
        assert health["ok"] is False and health["error"] and health["models"] is None
    assert len(server.requests) == 4, "it asks once"


@pytest.mark.parametrize("body", [{"data": 5}, {"data": [5]}, {"data": [{}]}, {}])
def test_health_and_models_live_with_odd_lists(server, client, body):
    server.default = Answer(json=body)
    assert set(client.health()) == {"ok", "latency_s", "models", "circuit", "error"}
    with contextlib.suppress(openai_mini.APIError):
        assert client.list_models() == []


# Tools


def endpoints_weather(city: str, days: int = 1, unit: Optional[str] = None) -> str:
    """The weather in a city."""
    return "%s in %s for %d" % ("sun", city, days)


def test_run_tools_plays_the_whole_round(server, client):
    server.script(
        Answer(json=endpoints_called(("endpoints_weather", '{"city": "Bonn", "days": 2}'))),
        Answer(json=endpoints_said("It is sunny.")),
    )
    result = client.run_tools("How is Bonn?", [endpoints_weather], temperature=0)
    assert result.content == "It is sunny."
    roles = [message["role"] for message in result.messages]
    assert roles == ["user", "assistant", "tool", "assistant"]
    first, second = (request.json for request in server.requests)
    assert first["temperature"] == second["temperature"] == 0
    assert second["messages"][2] == {
        "role": "tool",
        "tool_call_id": "call_0",
        "content": "sun in Bonn for 2",
    }
    (tool,) = first["tools"]
    assert tool["type"] == "function"
    described = tool["function"]
    assert described["name"] == "endpoints_weather"
    assert described["description"] == "The weather in a city."
    parameters = described["parameters"]
    assert parameters["properties"]["city"] == {"type": "string"}
    assert parameters["properties"]["days"]["type"] == "integer"
    assert parameters["required"] == ["city"]


def test_tools_can_be_given_as_schema_and_function(server, client):
    parameters = {"type": "object", "properties": {"x": {"type": "number"}}}
    whole = {"type": "function", "function": {"name": "half", "parameters": parameters}}

    def double(x):
        return {"twice": 2 * x}

    tools = [(parameters, double), (whole, lambda x: [x / 2])]
    server.script(
        Answer(json=endpoints_called(("double", '{"x": 4}'), ("half", '{"x": 4}'))),
        Answer(json=endpoints_said("done")),
    )
    messages = client.run_tools("go", tools).messages
    assert server.requests[0].json["tools"][0]["function"]["parameters"] == parameters
    assert server.requests[0].json["tools"][1] == whole
    assert [json.loads(m["content"]) for m in messages[2:4]] == [{"twice": 8}, [2.0]]
    assert [m["tool_call_id"] for m in messages[2:4]] == ["call_0", "call_1"]


def endpoints_raising():
    raise RuntimeError("the disk is full")


@pytest.mark.parametrize(
    "name, arguments, told",
    [
        ("no_such_tool", "{}", "no_such_tool"),
        (None, "{}", "Error"),
        ("endpoints_weather", '{"city": "Bo', "Error"),
        ("endpoints_weather", "[1]", "Error"),
        ("endpoints_weather", "[" * 100_000, "Error"),
        ("endpoints_weather", '{"town": "Bonn"}', "town"),
        ("endpoints_weather", "", "city"),
        ("endpoints_raising", "", "the disk is full"),
        ("endpoints_raising", None, "the disk is full"),
        ("endpoints_object", "{}", "object"),
        ("endpoints_cyclic", "{}", "Error"),
    ],
)
def test_what_goes_wrong_with_a_tool_is_told_to_the_model(server, client, name, arguments, told):
    def endpoints_object():
        return object()

    def endpoints_cyclic():
        ring = []
        ring.append(ring)
        return ring

    tools = [endpoints_weather, endpoints_raising, endpoints_object, endpoints_cyclic]
    server.script(
        Answer(json=endpoints_called((name, arguments))), Answer(json=endpoints_said("sorry"))
    )
    result = client.run_tools("go", tools)
    assert result.content == "sorry"
    content = server.requests[1].json["messages"][2]["content"]
    assert isinstance(content, str) and told in content and len(content) < 2000


def test_endless_calls_end_in_a_tool_loop_error(server, client):
    server.default = Answer(json=endpoints_called(("endpoints_weather", '{"city": "Bonn"}')))
    with pytest.raises(openai_mini.ToolLoopError, match="max_rounds") as caught:
        client.run_tools("go", [endpoints_weather], max_rounds=3)
    assert len(server.requests) == 3 and len(caught.value.messages) == 7


def test_a_tool_may_be_interrupted_and_what_it_is_given_is_left_alone(server, client):
    messages = [{"role": "user", "content": "hi"}]

    def stop():
        raise KeyboardInterrupt

    server.default = Answer(json=endpoints_called(("stop", "{}")))
    with pytest.raises(KeyboardInterrupt):
        client.run_tools(messages, [stop])
    assert messages == [{"role": "user", "content": "hi"}]


def test_run_tools_without_a_call_is_a_chat(server, client):
    result = client.run_tools("hi", [endpoints_weather])
    assert result.content == "hello" and len(result.messages) == 2


def test_hints_become_schemas(server, client):
    def tool(
        a: int,
        b: float,
        c: bool,
        d: List[str],
        e: dict,
        f: Optional[int],
        g: str,
        h=None,
        *rest,
        i: list = (),
        **more,
    ):
        """Does it."""

    client.run_tools("hi", [tool])
    parameters = server.requests[0].json["tools"][0]["function"]["parameters"]
    properties = parameters["properties"]
    assert {name: properties[name].get("type") for name in "abcdefghi"} == {
        "a": "integer",
        "b": "number",
        "c": "boolean",
        "d": "array",
        "e": "object",
        "f": "integer",
        "g": "string",
        "h": None,
        "i": "array",
    }
    assert properties["d"]["items"] == {"type": "string"}
    assert parameters["required"] == list("abcdefg") and set(properties) == set("abcdefghi")


def test_a_method_of_an_object_is_a_tool_without_its_self(server, client):
    class Shop:
        def price(self, item: str) -> float:
            return 2.5

    server.script(
        Answer(json=endpoints_called(("price", '{"item": "tea"}'))),
        Answer(json=endpoints_said("2.50")),
    )
    assert client.run_tools("tea?", [Shop().price]).content == "2.50"
    assert server.requests[1].json["messages"][2]["content"] == "2.5"


# request(), and the verbs of the official client


@pytest.mark.parametrize(
    "answer, expected",
    [
        (Answer(json={"a": {"b": 1}}), {"a": {"b": 1}}),
        (Answer(json=[1, 2]), [1, 2]),
        (Answer(body="words", content_type="text/plain"), "words"),
        (Answer(body="a,b", content_type="text/csv; charset=utf-8"), "a,b"),
        (Answer(body=b"\x00\xff", content_type="application/octet-stream"), b"\x00\xff"),
        (Answer(body=b"\x00\xff", content_type="audio/mpeg"), b"\x00\xff"),
        (Answer(body='{"a": 1}', content_type="application/problem+json"), {"a": 1}),
        (Answer(204), b""),
    ],
)
def test_request_returns_what_the_content_type_says(server, client, answer, expected):
    server.script(answer)
    result = client.request("get", "/anything")
    assert result == expected or not result and not expected
    assert server.requests[0].method == "GET"
    if expected == {"a": {"b": 1}}:
        assert result.a.b == 1 and result.status_code == 200


def test_request_sends_json_forms_files_and_raw_bodies(server, client):
    client.request("POST", "/a", json={"x": [1, None]}, params={"q": "1 2", "l": [1, 2]})
    client.request("PUT", "b", data=b"raw", extra_headers={"content-type": "text/plain"})
    client.request("POST", "/c", data={"k": "v", "f": True}, files={"file": ("n.txt", b"data")})
    client.request("DELETE", "/d/1")
    one, two, three, four = server.requests
    assert (one.method, one.path, one.json) == ("POST", "/v1/a", {"x": [1, None]})
    assert one.query == {"q": "1 2", "l[]": ["1", "2"]}
    assert (two.path, two.body, two.headers["content-type"]) == ("/v1/b", b"raw", "text/plain")
    assert [(p.name, p.filename, p.body) for p in three.parts] == [
        ("k", None, b"v"),
        ("f", None, b"true"),
        ("file", "n.txt", b"data"),
    ]
    assert (four.method, four.body, "content-type" in four.headers) == ("DELETE", b"", False)


def test_request_streams(server, client):
    server.script(Answer(sse=chunks("a", "b")))
    with client.request("POST", "/chat/completions", json={"stream": True}, stream=True) as stream:
        assert isinstance(stream, openai_mini.Stream)
        assert "".join(chunk.content for chunk in stream) == "ab"
    server.script(Answer(sse=chunks("a", "b")))
    stream = client.request("POST", "/chat/completions", json={"stream": True})
    assert [chunk.content for chunk in stream][:2] == ["a", "b"]


def test_an_absolute_url_is_taken_below_the_base_url_only(server, client):
    client.request("GET", server.url + "/models?x=1")
    assert server.requests[0].target == "/v1/models?x=1"
    with LoopbackServer() as other:
        for url in (
            other.url + "/models",
            "//127.0.0.1:%d/v1/models" % other.port,
            "https" + server.url[4:] + "/models",
            server.url.replace("http://", "http://user@") + "/x",
            server.url + "-evil/x",
        ):
            with pytest.raises(openai_mini.ValidationError):
                client.request("GET", url)
        assert len(server.requests) == 1 and not other.requests


def test_request_refuses_what_it_does_not_know(server, client):
    with pytest.raises((openai_mini.ValidationError, TypeError), match="jsn"):
        client.request("POST", "/x", jsn={})
    for path in ("", "/x\r\nEvil: 1", "/x y"):
        with contextlib.suppress(openai_mini.ValidationError):
            client.request("GET", path)
    assert all(r.raw_head.count(b"\r\n") > 3 for r in server.requests)
    assert not any("evil" in r.headers for r in server.requests)
    with pytest.raises(openai_mini.ValidationError):
        client.request("GE T", "/x")
    with pytest.raises(openai_mini.ValidationError):
        client.request("GET\r\nEvil: 1\r\n", "/x")


@pytest.mark.parametrize("verb", ["get", "post", "put", "patch", "delete"])
def test_the_verbs_of_the_official_client_work(server, client, verb):
    server.script(Answer(json={"ok": True}))
    options = {"params": {"a": "1"}, "headers": {"x-mine": "2"}}
    body = {} if verb == "get" else {"body": {"b": 2}}
    result = getattr(client, verb)("/things", cast_to=object, options=options, **body)
    assert result.ok is True
    (request,) = server.requests
    assert (request.method, request.query) == (verb.upper(), {"a": "1"})
    assert request.headers["x-mine"] == "2"
    assert (json.loads(request.body) if request.body else {}) == body.get("body", {})


def test_post_streams_as_the_official_client_does(server, client):
    stream = client.post(
        "/chat/completions", cast_to=object, body={"stream": True}, stream=True, stream_cls=object
    )
    assert "".join(chunk.content for chunk in stream) == "hello"


# submit and map


def test_methods_are_submitted_and_mapped_by_name(server, client):
    server.default = lambda request: Answer(
        json=endpoints_said(request.json["messages"][0]["content"].upper())
    )
    future = client.submit("chat", "hi", priority=openai_mini.HIGH, model="m")
    assert isinstance(future, concurrent.futures.Future) and future.result(10).content == "HI"
    assert server.requests[0].json["model"] == "m"
    texts = [chr(97 + i) for i in range(20)]
    results = client.map("chat", texts, model="m")
    assert [result.content for result in results] == [text.upper() for text in texts]
    assert list(client.map(len, ["a", "bb"])) == [1, 2]
    create = client.submit(
        "chat.completions.create", model="m", messages=[{"role": "user", "content": "deep"}]
    )
    assert create.result(10).content == "DEEP"


def test_an_unknown_method_is_refused_when_it_is_named(server, client):
    for call in (lambda: client.submit("chatt", "x"), lambda: client.map("chatt", ["x"])):
        with pytest.raises((AttributeError, openai_mini.ValidationError), match="chat"):
            call()


def test_an_error_of_a_submitted_call_is_its_result(server, client):
    server.default = Answer(400, json={"error": {"message": "no"}})
    with pytest.raises(openai_mini.BadRequestError):
        client.submit("chat", "hi").result(10)
    with pytest.raises(openai_mini.BadRequestError):
        list(client.map("chat", ["hi"]))


# Validation

ENDPOINTS_MESSAGES = [
    [],
    None,
    42,
    {"role": "user", "content": "x"},
    ["x"],
    [{"content": "x"}],
    [{"role": "boss", "content": "x"}],
    [{"role": "user"}],
    [{"role": "user", "content": None}],
    [{"role": "assistant"}],
    [{"role": ["user"], "content": "x"}],
    [{"role": "user", "content": "x"}, "y"],
    b"bytes",
]


@pytest.mark.parametrize("messages", ENDPOINTS_MESSAGES, ids=repr)
@pytest.mark.parametrize("method", ["chat", "stream_chat", "run_tools"])
def test_messages_of_the_wrong_shape_are_refused_before_anything_is_sent(
    server, client, messages, method
):
    more = ([],) if method == "run_tools" else ()
    with pytest.raises(openai_mini.ValidationError, match="messages") as caught:
        getattr(client, method)(messages, *more)
    assert isinstance(caught.value, ValueError) and "\n" not in str(caught.value)
    assert not server.requests


def test_messages_of_the_right_shape_go_out(server, client):
    messages = [{"role": role, "content": "x"} for role in ("developer", "system", "user", "tool")]
    messages += [
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "assistant", "refusal": "no"},
        {"role": "function", "name": "f", "content": "x"},
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "assistant", "content": ""},
    ]
    client.chat(messages)
    client.chat(tuple(messages))
    assert [request.json["messages"] for request in server.requests] == [messages, messages]


@pytest.mark.parametrize(
    "params, named",
    [
        ({"metadata": {"a": float("nan")}}, "metadata.a"),
        ({"x": [1, float("inf")]}, r"x\[1\]"),
        ({"x": {"y": [{"z": object()}]}}, r"x\.y\[0\]\.z"),
        ({"x": {1, 2}}, "x .*set"),
        ({"x": b"bytes"}, "x .*bytes"),
        ({"x": {(1, 2): 3}}, "x"),
    ],
)
def test_what_json_cannot_hold_is_named_by_its_place(server, client, params, named):
    with pytest.raises(openai_mini.ValidationError, match=named):
        client.chat("hi", **params)
    ring = {}
    ring["ring"] = ring
    with pytest.raises(openai_mini.ValidationError):
        client.request("POST", "/x", json=ring)
    assert not server.requests


ENDPOINTS_WRONG = [
    {"temperature": -0.1},
    {"temperature": 2.1},
    {"temperature": "hot"},
    {"temperature": True},
    {"temperature": float("nan")},
    {"top_p": -0.1},
    {"top_p": 1.1},
    {"frequency_penalty": -2.1},
    {"presence_penalty": 2.1},
    {"max_tokens": 0},
    {"max_tokens": 131073},
    {"max_tokens": 1.5},
    {"max_completion_tokens": 0},
    {"n": 0},
    {"n": 129},
    {"stop": ["a", "b", "c", "d", "e"]},
    {"stop": ""},
    {"stop": ["a", ""]},
    {"stop": 5},
    {"logprobs": 1},
    {"top_logprobs": 2},
    {"top_logprobs": 21, "logprobs": True},
    {"top_logprobs": 1, "logprobs": False},
    {"seed": 1.5},
    {"seed": "x"},
]


@pytest.mark.parametrize("params", ENDPOINTS_WRONG, ids=repr)
def test_ranges_are_checked_on_the_default_host_only(server, client, params):
    client._default_host = True
    with pytest.raises(openai_mini.ValidationError, match=next(iter(params))) as caught:
        client.chat("hi", **params)
    assert repr(next(iter(params.values()))) in str(caught.value)
    with pytest.raises(openai_mini.ValidationError):
        client.stream_chat("hi", **params)
    assert not server.requests
    client._default_host = False
    if params.get("temperature") == params.get("temperature"):  # NaN goes nowhere
        client.chat("hi", **params)
        assert {name: server.requests[-1].json[name] for name in params} == params


def test_validate_turns_the_checks_on_everywhere_or_off(server, client):
    with pytest.raises(openai_mini.ValidationError, match="temperature"):
        client.with_options(validate=True).chat("hi", temperature=3)
    unchecked = client.with_options(validate=False)
    unchecked._default_host = True
    unchecked.chat("hi", temperature=3)
    client._default_host = True
    client.chat("hi", extra_body={"temperature": 3})
    assert [request.json["temperature"] for request in server.requests] == [3, 3]


def test_the_edges_of_the_ranges_are_inside(server, client):
    client._default_host = True
    rows = [
        {"temperature": 0, "top_p": 0, "n": 1, "frequency_penalty": -2, "presence_penalty": 2},
        {"temperature": 2, "top_p": 1.0, "n": 128, "stop": ["a"] * 4, "seed": -5},
        {"logprobs": True, "top_logprobs": 0, "stop": "x", "max_completion_tokens": 131072},
        {"temperature": None, "logprobs": None, "top_logprobs": None, "stop": None, "seed": None},
    ]
    for row in rows:
        client.chat("hi", **row)
        assert {name: server.requests[-1].json[name] for name in row} == row


# What is said otherwise to the default host, and only to it.


@pytest.mark.parametrize("default_host", [True, False])
def test_only_the_default_host_gets_its_own_wording(server, client, default_host):
    client._default_host = default_host
    server.default = lambda request: (
        endpoints_vectors(request, True) if "input" in request.json else usual(request)
    )
    client.chat("hi", max_tokens=5)
    list(client.stream_chat("hi", max_tokens=5))
    client.embedding("1")
    chat, stream, embedding = (request.json for request in server.requests)
    for body in (chat, stream):
        assert body.get("max_completion_tokens") == (5 if default_host else None)
        assert body.get("max_tokens") == (None if default_host else 5)
    expected = {"include_usage": True} if default_host else None
    assert stream.get("stream_options") == expected and "stream_options" not in chat
    assert embedding.get("encoding_format") == ("base64" if default_host else None)


def test_what_the_caller_wrote_wins_on_the_default_host_too(server, client):
    client._default_host = True
    server.default = lambda request: (
        endpoints_vectors(request) if "input" in request.json else usual(request)
    )
    client.chat("hi", max_tokens=5, max_completion_tokens=6)
    list(client.stream_chat("hi", stream_options={"include_usage": False}))
    client.embedding("1", encoding_format="float")
    client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "x"}], max_tokens=7
    )
    chat, stream, embedding, official = (request.json for request in server.requests)
    assert (chat["max_tokens"], chat["max_completion_tokens"]) == (5, 6)
    assert stream["stream_options"] == {"include_usage": False}
    assert embedding["encoding_format"] == "float"
    assert official["max_tokens"] == 7 and "max_completion_tokens" not in official


# The samples of a usage guide, in their Python form


def test_sample_the_key_by_argument_and_by_environment(server, monkeypatch):
    openai_mini.OpenAIMini(api_key="sk-arg", base_url=server.url).chat("hi")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    options = {"organization": "org", "project": "proj", "timeout": 30, "max_retries": 5}
    with openai_mini.OpenAI(**options) as client:
        client.chat("hi")
    first, second = server.requests
    assert first.headers["authorization"] == "Bearer sk-arg"
    assert second.headers["authorization"] == "Bearer sk-env"
    assert second.headers["openai-organization"] == "org"
    assert second.headers["openai-project"] == "proj"


def test_sample_streaming_loops(server, client, capsys):
    server.default = Answer(sse=chunks("Hel", "lo"))
    for chunk in client.stream_chat("Say hello", temperature=0.7):
        print(chunk.content, end="")
    stream = client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    for chunk in stream:
        print(chunk.choices[0].delta.content or "", end="")
    assert capsys.readouterr().out == "HelloHello"


def test_sample_tools_by_hand(server, client):
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    messages = [{"role": "user", "content": "2 + 3?"}]
    server.script(
        Answer(json=endpoints_called(("add", '{"a": 2, "b": 3}'))),
        Answer(json=endpoints_said("5")),
    )
    result = client.chat(messages, tools=tools, tool_choice="auto")
    messages.append(result.choices[0].message)
    for call in result.tool_calls:
        arguments = json.loads(call.function.arguments)
        total = arguments["a"] + arguments["b"]
        messages.append({"role": "tool", "tool_call_id": call.id, "content": str(total)})
    assert client.chat(messages, tools=tools).content == "5"
    assert server.requests[1].json["messages"][2]["content"] == "5"


def test_sample_rate_limit_errors(server, client):
    said = {"error": {"message": "Slow down", "type": "requests", "code": "rate_limit_exceeded"}}
    server.script(Answer(429, json=said, headers={"retry-after": "120"}))
    with pytest.raises(openai_mini.RateLimitError) as caught:
        client.chat("hi")
    assert caught.value.retry_after == 120 and caught.value.code == "rate_limit_exceeded"
    assert caught.value.is_rate_limit_error and caught.value.status_code == 429


def test_sample_priorities(server, client):
    one = client.with_options(max_concurrent_requests=1)
    go, order = threading.Event(), []

    def answer(request):
        order.append(request.json["messages"][0]["content"])
        return Answer(json=CHAT, wait=go if order[-1] == "first" else None)

    server.default = answer
    futures = [one.submit("chat", "first")]
    server.wait_requests(1)
    levels = [("low", openai_mini.LOW), ("normal", openai_mini.NORMAL), ("high", openai_mini.HIGH)]
    futures += [one.submit("chat", text, priority=level) for text, level in levels]
    go.set()
    for future in futures:
        assert future.result(10).content == "hello"
    assert order == ["first", "high", "normal", "low"]


def test_sample_files_and_fine_tuning(server, client):
    server.script(
        Answer(json={"id": "file-1"}),
        Answer(json={"id": "ftjob-1", "status": "queued"}),
        Answer(json={"object": "list", "data": [{"filename": "a"}], "has_more": False}),
        Answer(json={"id": "file-1", "deleted": True}),
    )
    file = client.upload_file(("train.jsonl", b"{}\n"), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(training_file=file.id, model="gpt-4o-mini")
    assert job.status == "queued"
    assert [one.filename for one in client.files.list()] == ["a"]
    assert client.files.delete(file.id).deleted is True
    assert server.requests[1].json == {"training_file": "file-1", "model": "gpt-4o-mini"}


# ------------------------------------------------------------------------------------------------
# Resources


RESOURCES_PAGES = {  # by the cursor that asks for it
    None: {"object": "list", "data": [{"id": "a"}, {"id": "b"}], "has_more": True, "last_id": "b"},
    "b": {"object": "list", "data": [{"id": "c"}], "has_more": False},
}
RESOURCES_RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "output": [
        {"type": "reasoning", "summary": []},
        {"type": "message", "content": [{"type": "output_text", "text": '{"a": 1}'}]},
        {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]},
    ],
}


class ResourcesAnswer:
    """A class as pydantic makes them, as far as we know them."""

    @classmethod
    def model_json_schema(cls):
        return {"type": "object", "title": "It", "properties": {"a": {"type": "integer"}}}

    @classmethod
    def model_validate_json(cls, text):
        made = cls()
        made.a = json.loads(text)["a"]
        return made


def resources_last(server) -> tuple:
    request = server.requests[-1]
    return request.method, request.target.replace("/v1", "", 1)


# ids


@pytest.mark.parametrize(
    "value, path",
    [
        ("f 1", "f%201"),
        ("a/b", "a%2Fb"),
        ("a?b#c", "a%3Fb%23c"),
        ("a\nb", "a%0Ab"),
        ("%2e%2e", "%252e%252e"),
        ("..%2f", "..%252f"),
        ("...", "..."),
        ("é☃", "%C3%A9%E2%98%83"),
        ("ft:gpt:org::x", "ft:gpt:org::x"),
        ("{file_id}", "%7Bfile_id%7D"),
        (5, "5"),
    ],
)
def test_an_id_stays_one_segment_of_the_path(server, client, value, path):
    client.files.retrieve(value)
    assert resources_last(server) == ("GET", "/files/" + path)
    client.vector_stores.files.retrieve("f", vector_store_id=value)
    assert resources_last(server) == ("GET", "/vector_stores/%s/files/f" % path)


@pytest.mark.parametrize("value", ["", ".", "..", None])
def test_an_id_that_no_path_can_hold_is_refused_before_anything_is_sent(server, client, value):
    for call in (
        lambda: client.files.retrieve(value),
        lambda: client.files.delete(file_id=value),
        lambda: client.vector_stores.files.list(vector_store_id=value),
        lambda: client.download_file(value),
    ):
        with pytest.raises(openai_mini.ValidationError, match="_id"):
            call()
    assert server.requests == []


def test_a_missing_id_or_one_too_many_is_a_type_error_that_names_it(server, client):
    for call, words in (
        (lambda: client.files.retrieve(), r"files.retrieve\(\) takes file_id"),
        (lambda: client.vector_stores.files.retrieve("f"), "vector_store_id"),
        (lambda: client.files.retrieve("a", "b"), "file_id by keyword"),
        (lambda: client.files.retrieve("a", file_id="b"), "file_id by keyword"),
        (lambda: client.chat.completions.create("m"), "no id"),
    ):
        with pytest.raises(TypeError, match=words):
            call()
    assert server.requests == []


# names


def test_an_unknown_resource_is_an_attribute_error_that_suggests_the_nearest(client):
    for name, near in (("file", "files"), ("embedings", "embedding"), ("respnses", "responses")):
        with pytest.raises(AttributeError, match="did you mean '%s" % near):
            getattr(client, name)
    with pytest.raises(AttributeError, match="'qqqq'") as caught:
        client.qqqq  # noqa: B018
    assert "did you mean" not in str(caught.value)
    with pytest.raises(AttributeError, match="did you mean 'Stream'"):
        openai_mini.Streem  # noqa: B018
    assert not hasattr(client, "_private") and not hasattr(client.files, "_private")


def test_an_unknown_verb_is_an_attribute_error_and_nothing_is_sent(server, client):
    with pytest.raises(AttributeError, match=r"client.files has no 'creat'.*'create'"):
        client.files.creat(file=b"x")
    with pytest.raises(AttributeError, match="upload_and_poll"):
        client.vector_stores.files.upload_and_poll(vector_store_id="v", file=b"x")
    with pytest.raises(AttributeError, match="client.chat.completions"):
        client.chat.completions.with_raw_response.make()
    with pytest.raises(AttributeError, match="client has no 'files'"):
        client.files()
    for call in (client.beta.create, client.beta, client.with_raw_response):
        with pytest.raises(AttributeError, match="client.* has no"):
            call()
    assert server.requests == []


def test_a_verb_that_the_server_does_not_know_is_its_404(server, client):
    server.script(Answer(404, json={"error": {"message": "Invalid URL (POST /v1/models)"}}))
    with pytest.raises(openai_mini.NotFoundError, match="POST /models.*Invalid URL"):
        client.models.create(name="x")


def test_a_prompt_can_explore(client):
    assert {"chat", "files", "vector_stores", "embedding", "stats"} <= set(dir(client))
    assert {"create", "list", "retrieve", "delete", "with_raw_response"} <= set(dir(client.files))
    assert repr(client.files) == "<openai_mini client.files>"
    assert repr(client.vector_stores.files.list) == "<openai_mini client.vector_stores.files.list>"
    assert "completions" in dir(client.chat)
    assert not any(name.startswith("_repr_") for name in dir(client.files))


# what goes out


def test_chat_is_a_method_and_a_namespace(server, client):
    assert client.chat("hi").content == "hello"
    assert client.chat.completions.create(model="m", messages=[]).choices[0].message.content
    assert [request.path for request in server.requests] == ["/v1/chat/completions"] * 2
    assert server.requests[1].json == {"model": "m", "messages": []}


def test_exactly_what_the_caller_wrote_is_sent(server):
    """No model of ours, no renamed max_tokens, no stream_options, and nothing is checked."""
    client = openai_mini.OpenAIMini("sk", base_url=server.url, validate=True)
    written = {"messages": "?", "max_tokens": 0, "temperature": 9, "stream": False, "user": None}
    client.chat.completions.create(**written)
    assert server.requests[0].json == written


@pytest.mark.parametrize("empty", ["NOT_GIVEN", "omit"])
def test_not_given_is_left_out_of_body_query_and_headers(server, client, empty):
    empty = getattr(openai_mini, empty)
    client.chat.completions.create(model="m", messages=[], stop=empty, timeout=empty)
    assert server.requests[-1].json == {"model": "m", "messages": []}
    client.files.list(limit=empty, after="x", extra_query={"q": empty})
    assert resources_last(server) == ("GET", "/files?after=x")
    client.files.create(file=("a", b"1"), purpose=empty)
    assert [part.name for part in server.requests[-1].parts] == ["file"]
    assert not empty


def test_extra_headers_query_and_body_go_along(server, client):
    extra = {"extra_headers": {"X-A": "b"}, "extra_query": {"q": [1, 2]}, "extra_body": {"n": 2}}
    client.chat.completions.create(model="m", messages=[], n=1, **extra)
    request = server.requests[-1]
    assert request.headers["x-a"] == "b" and request.query == {"q[]": ["1", "2"]}
    assert request.json == {"model": "m", "messages": [], "n": 2}
    client.files.create(file=("a", b"1"), purpose="p", **extra)
    request = server.requests[-1]
    assert request.headers["x-a"] == "b" and request.query == {"q[]": ["1", "2"]}
    fields = {part.name: part.body for part in request.parts}
    assert fields == {"purpose": b"p", "n": b"2", "file": b"1"}


def test_a_timeout_of_one_call_is_its_own(server, client):
    server.default = Answer(json={}, wait=threading.Event())
    with pytest.raises(openai_mini.APITimeoutError):
        client.models.list(timeout=0.05, max_retries=0)
    with pytest.raises(openai_mini.APITimeoutError):
        client.with_options(timeout=0.05, max_retries=0).models.list()


def test_files_are_known_by_their_kind_of_value(server, client, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}")
    with open(str(path), "rb") as opened:
        for file in (path, opened, ("a.jsonl", b"{}"), ("a.jsonl", path), ("a.jsonl", opened)):
            opened.seek(0)
            client.files.create(file=file, purpose="batch")
            fields = {part.name: (part.filename, part.body) for part in server.requests[-1].parts}
            assert fields == {"purpose": (None, b"batch"), "file": ("a.jsonl", b"{}")}
    client.images.edit(image=[("a", b"1"), ("b", b"2")], mask=("m", b"3"), prompt="p", n=2)
    parts = [(part.name, part.body) for part in server.requests[-1].parts]
    files = [("image[]", b"1"), ("image[]", b"2"), ("mask", b"3")]
    assert parts == [("prompt", b"p"), ("n", b"2")] + files
    with pytest.raises(openai_mini.ValidationError, match="file= is a str"):  # never opened
        client.files.create(file=str(path), purpose="x")


def test_results_in_arguments_are_no_files(server, client):
    """Every name of a Result reads None, `read` too."""
    server.default = Answer(json=RESOURCES_RESPONSE)
    first = client.responses.create(input="x")
    client.responses.create(input=first.output, metadata=first.output[0], previous=first)
    assert server.requests[-1].json["input"] == RESOURCES_RESPONSE["output"]


def test_the_default_host_gets_what_the_caller_wrote_and_no_more(server):
    """embeddings.create: the vectors come back as floats, whichever way the server sends them."""
    client = openai_mini.OpenAIMini("sk", base_url=server.url)
    server.script(Answer(json={"object": "list", "data": [{"index": 0, "embedding": [0.5]}]}))
    assert client.embeddings.create(model="m", input="a").data[0].embedding == [0.5]
    assert server.requests[0].json == {"model": "m", "input": "a"}


def test_admin_calls_use_the_admin_key_and_no_others_do(server, monkeypatch):
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin")
    client = openai_mini.OpenAIMini("sk-plain", base_url=server.url)
    client.admin.organization.projects.list()
    client.models.list()
    keys = [request.headers["authorization"] for request in server.requests]
    assert keys == ["Bearer sk-admin", "Bearer sk-plain"]
    assert server.requests[0].path == "/v1/organization/projects"
    given = openai_mini.OpenAIMini("sk", admin_api_key="sk-given", base_url=server.url)
    given.admin.organization.users.list()
    assert server.requests[-1].headers["authorization"] == "Bearer sk-given"
    monkeypatch.delenv("OPENAI_ADMIN_KEY")
    openai_mini.OpenAIMini("sk-only", base_url=server.url).admin.organization.users.list()
    assert server.requests[-1].headers["authorization"] == "Bearer sk-only"


def test_beta_headers_go_where_the_official_client_sends_them(server, client):
    for call, header in (
        (client.vector_stores.list, "assistants=v2"),
        (client.beta.assistants.list, "assistants=v2"),
        (client.beta.agents.list, "agents=v1"),
        (client.beta.responses.create, None),
        (client.files.list, None),
    ):
        call()
        assert server.requests[-1].headers.get("openai-beta") == header
    client.vector_stores.list(extra_headers={"openai-beta": "mine"})
    assert server.requests[-1].headers["openai-beta"] == "mine"
    client.beta.responses.create(betas=["a", "b"], model="m")
    assert server.requests[-1].headers["openai-beta"] == "a,b"
    assert server.requests[-1].json == {"model": "m"}


# what comes back


def resources_pages(request: Request) -> Answer:
    return Answer(json=RESOURCES_PAGES[request.query.get("after")])


def test_a_list_pages_as_it_is_iterated(server, client):
    server.default = resources_pages
    page = client.files.list(limit=2, extra_headers={"x-a": "b"}, extra_query={"q": "1"})
    assert [one.id for one in page.data] == ["a", "b"] and page.has_next_page()
    assert len(server.requests) == 1
    found = iter(page)
    assert [next(found).id, next(found).id] == ["a", "b"] and len(server.requests) == 1
    assert [one.id for one in found] == ["c"]
    first, second = server.requests
    assert second.query == {"limit": "2", "q": "1", "after": "b"}
    assert second.headers["x-a"] == "b" and second.headers["authorization"] == "Bearer sk-test"
    assert [one.id for one in page] == ["a", "b", "c"]  # once more from the start
    last = page.get_next_page()
    assert [one.id for one in last.data] == ["c"] and not last.has_next_page()


def test_pages_of_an_admin_list_and_of_a_subresource_go_on_as_they_began(server, client):
    server.default = resources_pages
    client = client.with_options(admin_api_key="sk-admin")
    assert len(list(client.admin.organization.users.list())) == 3
    assert server.requests[-1].headers["authorization"] == "Bearer sk-admin"
    assert len(list(client.vector_stores.files.list("v"))) == 3
    assert server.requests[-1].path == "/v1/vector_stores/v/files"
    assert server.requests[-1].headers["openai-beta"] == "assistants=v2"


def test_a_list_without_has_more_goes_on_until_a_page_is_empty_or_repeats(server, client):
    server.script(Answer(json={"data": [{"id": "a"}]}), Answer(json={"data": []}))
    assert [one.id for one in client.files.list()] == ["a"]
    assert len(server.requests) == 2
    server.default = Answer(json={"data": [{"id": "a"}], "has_more": True})
    assert [one.id for one in client.files.list()] == ["a"]
    assert len(server.requests) == 4


def test_other_cursors_are_followed_too(server, client):
    pages = [{"data": [{"id": "a"}], "has_more": True, "next": "n2"}, {"data": [{"id": "b"}]}]
    server.script(*[Answer(json=page) for page in pages])
    server.default = Answer(json={"data": []})
    assert [one.id for one in client.admin.organization.roles.list()] == ["a", "b"]
    assert server.requests[1].query == {"after": "n2"}
    server.script(*[Answer(json=page) for page in pages])
    found = client.beta.agents.environments.files.list("e")
    assert [one.id for one in found][:2] == ["a", "b"]
    assert {"page": "n2"} in [request.query for request in server.requests]


def test_an_answer_with_data_is_iterated_over_without_another_request(server, client):
    server.default = Answer(json={"object": "list", "data": [{"id": "a"}, {"id": "b"}]})
    for answer in (
        client.models.list(),
        client.vector_stores.search("v", query="q"),
        client.vector_stores.files.content("f", vector_store_id="v"),
    ):
        assert [one.id for one in answer] == ["a", "b"]
        assert not answer.has_next_page()
    assert len(server.requests) == 3


def test_binary_answers_are_bytes_with_the_official_names(server, client, tmp_path):
    body = b"\x00\xffID3"
    server.default = Answer(body=body)
    for answer in (
        client.files.content("f"),
        client.audio.speech.create(model="m", input="x", voice="v"),
        client.containers.files.content.retrieve("f", container_id="c"),
        client.videos.download_content("v"),
    ):
        assert isinstance(answer, bytes) and answer == body
        assert answer.content == answer.read() == body
        assert b"".join(answer.iter_bytes()) == body
        answer.write_to_file(tmp_path / "one")
        answer.stream_to_file(str(tmp_path / "two"))
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == body
    server.default = Answer(body="text", content_type="application/json")
    assert client.files.content("f").text == "text"
    assert client.files.retrieve_content("f") == "text"


def test_transcriptions_are_results_or_the_text_that_was_asked_for(server, client):
    server.script(Answer(json={"text": "hello"}), Answer(body="1\n00:00\n"))
    make = client.audio.transcriptions.create
    assert make(file=("a.mp3", b"1"), model="m").text == "hello"
    assert make(file=("a.mp3", b"1"), model="m", response_format="srt") == "1\n00:00\n"


def test_an_answer_without_a_body_is_an_empty_result(server, client):
    server.script(Answer(204))
    assert not client.responses.delete("r")


def test_results_tell_their_request_and_absent_names_are_none(server, client):
    kinds = {"self-harm": True, "harassment/threatening": False}
    server.script(
        Answer(json={"results": [{"categories": kinds}]}, headers={"x-request-id": "req_1"}),
        Answer(json=RESOURCES_RESPONSE, headers={"x-request-id": "req_2"}),
    )
    result = client.moderations.create(input="x")
    assert result._request_id == "req_1" and result.nothing is None
    assert result.results[0].categories.self_harm is True
    assert result.results[0].categories.harassment_threatening is False
    response = client.responses.create(input="x")
    assert response.output_text == '{"a": 1}' and response._request_id == "req_2"


def test_a_streamed_answer_is_a_stream_of_chunks(server, client):
    with client.chat.completions.create(model="m", messages=[], stream=True) as stream:
        assert [chunk.choices[0].delta.content for chunk in stream] == ["hel", "lo", None]
    assert server.requests[0].headers["accept"] == "text/event-stream"
    kinds = ["response.created", "response.output_text.delta", "response.completed"]
    events = [(kind, {"type": kind, "delta": "x", "response": {}}) for kind in kinds]
    server.default = Answer(sse=events, done=False)
    for stream in (
        client.responses.create(input="x", stream=True),
        client.responses.retrieve("r", stream=True, starting_after=3),
        client.beta.agents.sessions.events.stream("s"),
    ):
        assert [event.type for event in stream] == kinds
    assert server.requests[-2].query == {"stream": "true", "starting_after": "3"}


# raw and streaming responses


def test_a_raw_response_has_headers_and_parses_on_demand(server, client):
    server.default = Answer(json=CHAT, headers={"x-request-id": "req_1", "X-My": "mine"})
    for raw in (
        client.chat.completions.with_raw_response.create(model="m", messages=[]),
        client.with_raw_response.chat.completions.create(model="m", messages=[]),
    ):
        assert raw.status_code == 200 and raw.headers["x-my"] == raw.headers.get("X-MY") == "mine"
        assert raw.request_id == "req_1" and raw.http_response.status_code == 200
        assert json.loads(raw.text) == json.loads(raw.content) == raw.json() == CHAT
        assert raw.parse().choices[0].message.content == "hello"
        assert raw.retries_taken == 0
    assert pickle.loads(pickle.dumps(raw)).headers["x-my"] == "mine"  # noqa: S301


def test_a_raw_response_counts_its_retries(server, client):
    server.script(Answer(500), Answer(json=CHAT))
    raw = client.chat.completions.with_raw_response.create(model="m", messages=[])
    assert raw.retries_taken == 1


def test_the_raw_response_of_a_stream_parses_to_the_stream(server, client):
    """litellm calls it so."""
    ask = client.chat.completions.with_raw_response.create
    raw = ask(model="m", messages=[], stream=True)
    assert raw.status_code == 200 and raw.headers["content-type"].startswith("text/event-stream")
    assert "".join(chunk.content for chunk in raw.parse()) == "hello"


def test_a_raw_response_of_a_binary_answer_and_of_a_list(server, client):
    server.script(Answer(body=b"\x00\x01"), Answer(json=RESOURCES_PAGES[None]))
    raw = client.files.with_raw_response.content("f")
    assert raw.content == b"\x00\x01" == raw.parse().read()
    server.default = resources_pages
    page = client.files.with_raw_response.list().parse()
    assert [one.id for one in page] == ["a", "b", "c"]


def test_an_error_is_raised_from_raw_and_streaming_calls_too(server, client):
    server.default = Answer(404, json={"error": {"message": "no such file"}})
    with pytest.raises(openai_mini.NotFoundError, match="no such file"):
        client.files.with_raw_response.retrieve("f")
    with pytest.raises(openai_mini.NotFoundError, match="no such file"):
        client.files.with_streaming_response.content("f").__enter__()


def test_a_streaming_response_is_read_as_it_arrives(server, client, tmp_path):
    go_on = threading.Event()
    pieces = [b"first\n", b"second"]
    server.script(Answer(pieces=pieces, wait=go_on, hold_after=1, framing="chunked"))
    with client.files.with_streaming_response.content("f") as response:
        assert response.status_code == 200
        pieces = response.iter_bytes()
        assert next(pieces) == b"first\n"
        go_on.set()
        assert b"".join(pieces) == b"second"
    server.default = Answer(body="a\nb\u2028c\nd")
    with client.files.with_streaming_response.content("f") as response:
        assert list(response.iter_lines()) == ["a", "b\u2028c", "d"]
    with client.files.with_streaming_response.content("f") as response:
        assert "".join(response.iter_text()) == "a\nb\u2028c\nd"
    with client.files.with_streaming_response.content("f") as response:
        response.stream_to_file(tmp_path / "file")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "a\nb\u2028c\nd"
    server.default = Answer(json=CHAT)
    ask = client.chat.completions.with_streaming_response.create
    with ask(model="m", messages=[]) as response:
        assert json.loads(response.read()) == response.json() == CHAT
        assert response.parse().content == "hello"
    assert client.stats()["queue"]["running"] == 0


def test_a_streaming_response_has_the_official_methods(server, client):
    server.default = Answer(body="abcde")
    ask = client.files.with_streaming_response.content
    with ask("f") as response:
        assert response.text() == "abcde" and response.read() == b"abcde"
    with ask("f") as response:
        assert list(response.iter_bytes(2)) == [b"ab", b"cd", b"e"]
    server.default = Answer(sse=chunks("a", "b"))
    ask = client.chat.completions.with_streaming_response.create
    with ask(model="m", messages=[], stream=True) as response:
        assert "".join(chunk.content for chunk in response.parse()) == "ab"
    stats = client.stats()
    assert (stats["succeeded"], stats["streams"]["completed"]) == (3, 1)


def test_a_streaming_response_cut_short_is_a_failure_that_says_where(server):
    breaker = openai_mini.CircuitBreaker(failure_threshold=1)
    client = openai_mini.OpenAIMini("k", base_url=server.url, circuit_breaker=breaker)
    server.default = Answer(body="abcde", cut=3)
    with client.files.with_streaming_response.content("f") as response:
        with pytest.raises(openai_mini.APIResponseError, match="GET /files/f/content: .*1 attempt"):
            response.read()
    stats = client.stats()
    assert (stats["succeeded"], stats["failed"], stats["queue"]["running"]) == (0, 1, 0)
    assert breaker.state == "open"
    client.close()


def test_a_dropped_streaming_or_raw_answer_gives_slot_and_probe_back_at_once(server):
    clock = FakeClock()
    breaker = openai_mini.CircuitBreaker(failure_threshold=1, clock=clock)
    client = openai_mini.OpenAIMini(
        "k", base_url=server.url, circuit_breaker=breaker, max_concurrent_requests=1, max_retries=0
    )
    breaker.failure()
    clock.now += 100
    server.default = Answer(sse=chunks("a"), hold_after=1, wait=threading.Event())
    gc.disable()
    try:
        for kind in ("with_streaming_response", "with_raw_response"):
            ask = getattr(client.chat.completions, kind).create
            answer = ask(model="m", messages=[], stream=True, timeout=5)
            del answer
            assert client.stats()["queue"]["running"] == 0
    finally:
        gc.enable()
    assert client.stats()["abandoned"] == 2
    client.close()


def test_an_error_about_what_is_in_an_answer_says_where_and_how_often(server, client):
    server.default = Answer(json={"data": [], "key": "sk-test"}, headers={"x-request-id": "req_9"})
    with pytest.raises(openai_mini.APIResponseError, match="POST /embeddings: .*1 att") as caught:
        client.embedding(["x"])
    assert caught.value.request_id == "req_9" and caught.value.response.status_code == 200
    assert "sk-test" not in str(caught.value) + repr(pickle.loads(pickle.dumps(caught.value)))
    server.default = resources_chat_of("no JSON")
    with pytest.raises(openai_mini.APIResponseError, match="POST /chat/completions: "):
        client.chat("hi", schema={"type": "object"})


def test_the_key_may_be_set_later_as_in_the_official_package(server):
    client = openai_mini.OpenAIMini("old", base_url=server.url)
    client.api_key = "new"
    client.chat("hi")
    pickle.loads(pickle.dumps(client)).chat("hi")
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Bearer new"] * 2 and client.api_key == "new"
    with pytest.raises(openai_mini.ValidationError):
        client.api_key = "a\nb"
    with pytest.raises(AttributeError):
        client.base_url = "http://127.0.0.1:9"
    client.close()


def test_offline_answers_by_a_schema_and_refuses_what_cannot_be_echoed():
    client = openai_mini.OpenAIMini(base_url="echo:", max_retries=0)
    point = {"type": "object", "properties": {"x": {"type": "integer"}}}
    schema = {
        "type": "object", "$defs": {"point": point},
        "properties": {"at": {"$ref": "#/$defs/point"}, "kind": {"enum": ["a", "b"]},
                       "name": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
    }  # fmt: skip
    assert client.chat("hi", schema=schema).parsed == {"at": {"x": 0}, "kind": "a", "name": "echo"}
    assert len(client.embeddings.create(model="m", input="hello").data) == 1
    assert len(client.embeddings.create(model="m", input=[1, 2]).data) == 1
    with pytest.raises(openai_mini.BadRequestError):
        client.embeddings.create(model="m")
    assert client.chat([{"role": "user", "content": ["a", "b"]}]).content == ""


@pytest.mark.parametrize(
    "call, names",
    [
        (lambda c: c.text_to_speech("x", to=io.StringIO()), "to="),
        (lambda c: c.download_file("f", to=5), "to="),
        (lambda c: c.request("POST", "/x", json={}, files={"f": b"x"}), "json="),
        (lambda c: c.request("POST", "/x", data=[("a", "1")]), "data="),
        (lambda c: c.request("POST", "/x", data=io.BytesIO(b"x")), "data="),
        (lambda c: c.chat("hi", extra_headers=["a"]), "extra_headers="),
        (lambda c: c.chat("hi", extra_body=[1]), "extra_body="),
        (lambda c: c.translate_audio(b"abc", temperature=float("nan")), "temperature"),
        (lambda c: c.run_tools("hi", [functools.partial(len)]), "cannot be described"),
        (lambda c: c.files.create(file="train.jsonl", purpose="fine-tune"), "pathlib.Path"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is(server, client, call, names):
    with pytest.raises(openai_mini.ValidationError, match=names):
        call(client)
    assert server.requests == []


def test_a_query_may_be_pairs_or_text_as_with_requests(server, client):
    for params in ([("a", 1), ("a", 2)], "?a=1&a=2", {"a": "1"}):
        client.request("GET", "/x", params=params)
    sent = [request.target.partition("?")[2] for request in server.requests]
    assert sent == ["a=1&a=2", "a=1&a=2", "a=1"]


def test_not_given_leaves_an_option_as_it_is(server):
    options = dict.fromkeys(["timeout", "max_retries", "organization"], openai_mini.NOT_GIVEN)
    client = openai_mini.OpenAIMini("k", base_url=server.url, **options)
    assert (client.timeout, client.max_retries) == ((10, 600), 3)
    assert client.chat("hi", timeout=openai_mini.NOT_GIVEN).content == "hello"
    timeout = types.SimpleNamespace(connect=1.0, read=2.0)  # has the shape of httpx.Timeout
    assert client.with_options(timeout=timeout).timeout == (1.0, 2.0)
    client.close()


def test_health_raises_nothing_also_where_the_key_cannot_be_had(server):
    def key():
        raise RuntimeError("no vault")

    told = openai_mini.OpenAIMini(key, base_url=server.url).health()
    assert told["ok"] is False and "no vault" in told["error"]


def test_a_transcript_as_text_may_begin_with_a_brace(server, client):
    server.default = Answer(body="{music} hello", content_type="text/plain")
    assert str(client.transcribe_audio(b"x", response_format="text")) == "{music} hello"
    server.default = Answer(body='{"text": "hi"}', content_type="text/plain")
    assert client.transcribe_audio(b"x").text == "hi"


def test_a_file_that_was_opened_for_an_upload_is_closed(server, client, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"{}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client.upload_file(path)
        gc.collect()


def test_an_answer_in_memory_is_limited_with_progress_too(server, client, monkeypatch):
    monkeypatch.setattr(openai_mini, "MAX_BODY_BYTES", 1000)
    server.default = Answer(body=b"x" * 5000)
    with pytest.raises(openai_mini.APIResponseError, match="larger than 1000"):
        client.download_file("f", progress=lambda done, total: None)


def test_parse_works_on_a_raw_answer_too(server, client):
    class Place:
        __name__ = "Place"

        @classmethod
        def model_json_schema(cls):
            return {"type": "object", "properties": {"city": {"type": "string"}}}

        @classmethod
        def model_validate_json(cls, text):
            return json.loads(text)["city"]

    server.default = resources_chat_of('{"city": "Paris"}')
    ask = client.chat.completions.with_raw_response.parse
    answer = ask(model="m", messages=[], response_format=Place).parse()
    assert answer.choices[0].message.parsed == answer.parsed == "Paris"


@pytest.mark.parametrize("choices", [[None], [{"message": None}], "x", [{"message": "m"}]], ids=str)
def test_parsing_reads_past_choices_of_any_shape(server, client, choices):
    server.default = Answer(json={"choices": choices, "output": ["x", {"content": [1]}]})
    assert client.chat("hi", schema={"type": "object"}).parsed is None


def test_a_streaming_response_that_is_left_early_gives_its_slot_back(server, client):
    server.default = Answer(pieces=[b"x" * 100, b"y"], hold_after=1, wait=threading.Event())
    for _ in range(12):  # more than there are slots
        with client.files.with_streaming_response.content("f") as response:
            assert next(response.iter_bytes())
    assert client.stats()["queue"]["running"] == 0


# parse


def resources_chat_of(text) -> Answer:
    choice = dict(CHAT["choices"][0], message={"role": "assistant", "content": text})
    return Answer(json=dict(CHAT, choices=[choice]))


def test_chat_parse_gives_an_instance_of_the_class(server, client):
    server.script(resources_chat_of('{"a": 1}'), resources_chat_of(None))
    ask = {"model": "m", "messages": [], "response_format": ResourcesAnswer}
    message = client.chat.completions.parse(**ask).choices[0].message
    assert isinstance(message.parsed, ResourcesAnswer) and message.parsed.a == 1
    assert json.loads(json.dumps(message)) == {"role": "assistant", "content": '{"a": 1}'}
    sent = server.requests[0].json["response_format"]
    assert sent["type"] == "json_schema" and sent["json_schema"]["strict"] is True
    assert sent["json_schema"]["schema"]["required"] == ["a"]
    assert server.requests[0].path == "/v1/chat/completions"
    assert client.chat.completions.parse(**ask).choices[0].message.parsed is None  # a refusal


def test_each_choice_and_each_text_is_parsed_by_itself(server, client):
    choices = [{"index": n, "message": {"content": '{"a": %d}' % n}} for n in range(2)]
    server.script(Answer(json=dict(CHAT, choices=choices)))
    ask = {"model": "m", "messages": [], "response_format": ResourcesAnswer, "n": 2}
    answer = client.beta.chat.completions.parse(**ask)
    assert [choice.message.parsed.a for choice in answer.choices] == [0, 1]
    parts = [{"type": "output_text", "text": '{"a": %d}' % n} for n in range(2)]
    server.script(Answer(json={"output": [{"type": "message", "content": parts}]}))
    response = client.responses.parse(model="m", input="x", text_format=ResourcesAnswer)
    assert [part.parsed.a for part in response.output[0].content] == [0, 1]
    assert response.output_parsed.a == 0


def test_responses_parse_gives_an_instance_of_the_class(server, client):
    server.default = Answer(json=RESOURCES_RESPONSE)
    ask = {"model": "m", "input": "x", "text_format": ResourcesAnswer}
    response = client.responses.parse(text={"verbosity": "low"}, **ask)
    assert response.output_parsed.a == 1 and response.output[1].content[0].parsed.a == 1
    sent = server.requests[0].json
    assert sent["text"]["verbosity"] == "low" and sent["text"]["format"]["type"] == "json_schema"
    assert sent["text"]["format"]["name"] == "ResourcesAnswer" and "text_format" not in sent
    assert client.responses.parse(**ask).output_parsed.a == 1


def test_parse_without_a_class_is_create(server, client):
    answer = client.chat.completions.parse(
        model="m", messages=[], response_format={"type": "json_object"}
    )
    assert answer.choices[0].message.content == "hello"
    assert server.requests[0].json["response_format"] == {"type": "json_object"}


def test_an_answer_that_does_not_fit_the_class_is_a_response_error(server, client):
    server.script(resources_chat_of("not JSON"))
    with pytest.raises(openai_mini.APIResponseError, match="schema"):
        client.chat.completions.parse(model="m", messages=[], response_format=ResourcesAnswer)


# any request


def test_undocumented_requests_go_through_the_verbs_of_the_client(server, client):
    server.default = lambda request: Answer(json={"method": request.method})
    assert client.post("/foo", cast_to=object, body={"a": 1}).method == "POST"
    assert server.requests[-1].json == {"a": 1}
    options = {"params": {"q": "1"}, "headers": {"x-a": "b"}}
    for verb in ("get", "delete"):
        assert getattr(client, verb)("/foo", cast_to=object, options=options).method == verb.upper()
        assert server.requests[-1].query == {"q": "1"} and server.requests[-1].headers["x-a"] == "b"
    for verb in ("put", "patch"):
        assert getattr(client, verb)("foo", body=[1], cast_to=object).method == verb.upper()
        assert server.requests[-1].json == [1]


# Azure


def test_an_azure_client_puts_its_deployment_key_and_version_where_azure_wants_them(server):
    client = openai_mini.AzureOpenAI(
        azure_endpoint=server.origin + "/", azure_deployment="my dep", api_key="k", api_version="v1"
    )
    client.chat.completions.create(model="m", messages=[])
    request = server.requests[-1]
    assert request.target == "/openai/deployments/my%20dep/chat/completions?api-version=v1"
    assert request.headers["api-key"] == "k" and "authorization" not in request.headers


def test_an_azure_client_without_a_deployment_takes_it_from_the_model(server, monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.origin)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_API_VERSION", "v2")
    client = openai_mini.AzureOpenAI()
    client.embeddings.create(model="dep", input="x")
    assert server.requests[-1].path == "/openai/deployments/dep/embeddings"
    client.files.list()
    assert server.requests[-1].target == "/openai/files?api-version=v2"
    token = openai_mini.AzureOpenAI(azure_ad_token_provider=lambda: "token")
    token.files.list()
    assert server.requests[-1].headers["authorization"] == "Bearer token"


def test_an_azure_client_asks_below_openai_itself_for_what_is_of_no_deployment(server, monkeypatch):
    """And for forms too at the deployment, which without a name is the model."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.origin)
    monkeypatch.setenv("OPENAI_API_VERSION", "v1")
    server.default = Answer(json={"data": [], "text": ""})
    for named in (None, "dep"):
        client = openai_mini.AzureOpenAI(api_key="k", azure_deployment=named)
        client.list_models()
        client.upload_file(b"x")
        client.responses.create(model="m", input="hi")
        client.transcribe_audio(b"x", model="m")
        client.images.edit(model="m", image=b"x", prompt="p")
        client.close()
        assert [request.path for request in server.requests[-5:]] == [
            "/openai/models", "/openai/files", "/openai/responses",
            "/openai/deployments/%s/audio/transcriptions" % (named or "m"),
            "/openai/deployments/%s/images/edits" % (named or "m"),
        ]  # fmt: skip


def test_an_azure_client_never_sends_the_key_of_openai(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.delenv("AZURE_OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("AZURE_OPENAI_AD_TOKEN", raising=False)
    with pytest.raises(openai_mini.AuthenticationError, match="AZURE_OPENAI_API_KEY"):
        openai_mini.AzureOpenAI(azure_endpoint="http://127.0.0.1:9", api_version="v")


def test_an_azure_client_needs_an_endpoint_and_a_version():
    with pytest.raises(openai_mini.ValidationError, match="api_version"):
        openai_mini.AzureOpenAI(azure_endpoint="http://127.0.0.1:9", api_key="k")
    with pytest.raises(openai_mini.ValidationError, match="azure_endpoint"):
        openai_mini.AzureOpenAI(api_version="v", api_key="k")


# the module as a client


@pytest.fixture
def resources_module(server):
    """A copy of the module of its own, to set its options."""
    spec = importlib.util.spec_from_file_location("openai_mini_copy", openai_mini.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.base_url = server.url
    return module


def test_the_module_itself_is_a_client(server, resources_module, monkeypatch):
    openai = resources_module
    assert openai.api_key is None
    openai.api_key = "sk-module"
    openai.default_headers = {"x-foo": "true"}
    answer = openai.chat.completions.create(model="m", messages=[])
    assert answer.choices[0].message.content == "hello"
    request = server.requests[-1]
    assert request.headers["authorization"] == "Bearer sk-module"
    assert request.headers["x-foo"] == "true"
    assert [list(openai.models.list()), openai.chat("hi").content] == [[], "hello"]
    openai.api_key = "sk-other"  # is heeded at the next call
    openai.files.list()
    assert server.requests[-1].headers["authorization"] == "Bearer sk-other"
    openai.api_key = None
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    openai.files.list()
    assert server.requests[-1].headers["authorization"] == "Bearer sk-environment"
    assert server.connections <= 3


def test_the_module_keeps_one_client_while_its_options_stay(server, resources_module):
    resources_module.api_key = "sk"
    for _ in range(3):
        resources_module.files.list()
    assert server.connections == 1


def test_the_module_has_no_other_names(resources_module):
    with pytest.raises(AttributeError, match="did you mean 'responses'"):
        resources_module.respones  # noqa: B018
    with pytest.raises(AttributeError):
        resources_module.AsyncOpenAI  # noqa: B018
    assert not hasattr(resources_module, "__path__")
    scope: dict = {"openai_mini_copy": resources_module}
    sys.modules["openai_mini_copy"] = resources_module
    try:
        exec("from openai_mini_copy import OpenAI, NotFoundError", scope)  # noqa: S102
    finally:
        del sys.modules["openai_mini_copy"]
    assert scope["OpenAI"] is resources_module.OpenAIMini


def test_a_star_import_brings_the_public_names_and_no_module():
    scope: dict = {}
    exec("from openai_mini import *", scope)
    brought = {name for name in scope if name != "__builtins__"}
    errors = {name for name in vars(openai_mini) if name.endswith("Error")}
    assert errors | {"OpenAIMini", "NOT_GIVEN", "main", "iter_sse", "Stream"} <= brought
    assert not brought & {"json", "sys", "time", "requests", "annotations", "TYPE_CHECKING"}


# errors by the official names

RESOURCES_ERRORS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "InternalServerError",
}


@pytest.mark.parametrize("status", RESOURCES_ERRORS)
def test_errors_have_the_official_classes_and_attributes(server, status):
    client = openai_mini.OpenAI(api_key="sk", base_url=server.url, max_retries=0)
    error = {"message": "said", "type": "a_type", "param": "a_param", "code": "a_code"}
    server.script(Answer(status, json={"error": error}, headers={"x-request-id": "req_1"}))
    with pytest.raises(getattr(openai_mini, RESOURCES_ERRORS[status])) as caught:
        client.responses.create(model="m", input="x")
    raised = caught.value
    assert isinstance(raised, openai_mini.APIStatusError) and "said" in raised.message
    assert (raised.status_code, raised.request_id, raised.body) == (status, "req_1", error)
    assert (raised.code, raised.type, raised.param) == ("a_code", "a_type", "a_param")
    assert raised.response.status_code == status and raised.response.json() == {"error": error}
    assert raised.response.headers["x-request-id"] == "req_1"
    assert str(raised).startswith("POST /responses")


def test_no_connection_and_no_answer_in_time_are_the_official_errors(server):
    for names in (("APIConnectionError", "APIError"), ("APITimeoutError", "APIConnectionError")):
        assert issubclass(*[getattr(openai_mini, name) for name in names])
    client = openai_mini.OpenAI(api_key="sk", base_url="http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(openai_mini.APIConnectionError, match="GET /models"):
        client.models.list()


# calls through the queue and the cache, as all others


def test_a_call_by_its_dotted_name_goes_through_submit_and_map(server, client):
    answer = client.submit("chat.completions.create", model="m", messages=[]).result(10)
    assert answer.choices[0].message.content == "hello"
    found = client.map(lambda name: client.models.retrieve(name), ["a", "b"])
    assert len(list(found)) == 2
    assert client.submit("files.retrieve", "f").result(10).object == "list"
    assert server.requests[-1].path == "/v1/files/f"


# ------------------------------------------------------------------------------------------------
# Observe


# ------------------------------------------------------------------------------------------------
# Statistics, events, cache

OBSERVE_MILLION = os.environ.get("OPENAI_MINI_MILLION")  # read before the fixture hides it
OBSERVE_USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


def observe_client(server, **options):
    options = {"api_key": "sk-test", "initial_retry_delay": 0.001, "timeout": (5, 10), **options}
    return OpenAIMini(base_url=server.url, **options)


def observe_readme(word):
    """The code block of the README that has `word` in it, to be run as it stands there."""
    folder = pathlib.Path(__file__).parent
    texts = [
        path.read_text("utf-8")
        for path in sorted(folder.glob("*.md"))
        if path.name.lower()[:6] == "readme"
    ]
    blocks = [block for text in texts for block in re.findall(r"```python\n(.*?)```", text, re.S)]
    return next(block for block in blocks if word in block)


def observe_told(client_options, server, work):
    """The (event, some fields) of what `work(client)` does, and the events whole."""
    events = []
    with contextlib.suppress(OpenAIError):
        work(observe_client(server, on_event=events.append, **client_options))
    return [event["event"] for event in events], events


# Statistics


def test_the_statistics_agree_with_a_server_that_counts(server):
    client = observe_client(server, cache={})
    limits = {"x-ratelimit-remaining-requests": "59", "X-RateLimit-Limit-Tokens": "1000"}
    server.script(Answer(500, json={"error": "no"}), Answer(json=CHAT, headers=limits))
    client.chat("one")
    client.chat("one")
    server.script(
        Answer(400, json={"error": "bad"}), Answer(sse=chunks("a", "b", usage=OBSERVE_USAGE))
    )
    with pytest.raises(OpenAIError):
        client.chat("two")
    assert [chunk.content for chunk in client.stream_chat("three")][:2] == ["a", "b"]
    stats = client.stats()
    assert (stats["requests"], stats["succeeded"], stats["failed"], stats["abandoned"]) == (
        4,
        3,
        1,
        0,
    )
    assert stats["retries"] == 1 and stats["errors"] == {"BadRequestError": 1}
    assert stats["tokens"] == {"prompt": 18, "completion": 3, "total": 21}
    assert stats["bytes_sent"] == sum(len(asked.body) for asked in server.requests)
    assert stats["bytes_received"] > len(json.dumps(CHAT))
    assert stats["cache"] == {"hits": 1, "misses": 2}
    assert stats["queue"] == {"running": 0, "waiting": 0}
    assert stats["circuit"] == {"state": "closed", "opened": 0}
    told = {name.lower(): value for name, value in stats["rate_limit"].items()}
    assert told == {name.lower(): value for name, value in limits.items()}
    streams = stats["streams"]
    names = ("started", "completed", "interrupted", "abandoned", "chunks")
    assert {name: streams[name] for name in names} == {
        "started": 1, "completed": 1, "interrupted": 0, "abandoned": 0, "chunks": 4,
    }  # fmt: skip
    latency = stats["latency_s"]
    assert latency["count"] == 3 and 0 <= latency["p50"] <= latency["p95"] <= latency["max"]
    assert 0 < latency["mean"] <= latency["max"] and 0 < streams["ttft_s"] < 10


def test_before_the_first_call_all_is_zero_and_times_are_none():
    stats = OpenAIMini(base_url="echo:").stats()
    assert stats["requests"] == stats["succeeded"] == stats["bytes_received"] == 0
    assert stats["errors"] == {} == stats["rate_limit"]
    assert stats["latency_s"] == {"count": 0, "mean": None, "p50": None, "p95": None, "max": None}
    assert stats["streams"]["ttft_s"] is None
    json.dumps(stats)


def test_streams_are_counted_by_how_they_end(server):
    client = observe_client(server, max_retries=0)
    list(client.stream_chat("whole"))
    server.script(Answer(sse=chunks("a", "b"), cut=250))
    with pytest.raises(OpenAIError):
        list(client.stream_chat("cut"))
    with client.stream_chat("left") as stream:
        next(stream)
    client.stream_chat("dropped")
    gc.collect()
    server.script(
        Answer(sse=[{"error": {"message": "at once", "code": "server_error"}}]), Answer(500)
    )
    for _ in range(2):
        with pytest.raises(OpenAIError):
            client.stream_chat("never began")
    stats = client.stats()
    assert (stats["requests"], stats["succeeded"], stats["failed"], stats["abandoned"]) == (
        6,
        1,
        3,
        2,
    )
    streams = stats["streams"]
    assert (streams["started"], streams["completed"]) == (4, 1)
    assert (streams["interrupted"], streams["abandoned"]) == (1, 2)


def test_an_error_event_that_is_retried_counts_one_call(server):
    """The first event of a stream was an error: the call goes on with another attempt."""
    server.script(Answer(sse=[{"error": {"message": "busy", "code": "server_error"}}]))
    client = observe_client(server)
    list(client.stream_chat("hi"))
    stats = client.stats()
    assert (stats["requests"], stats["succeeded"], stats["failed"], stats["retries"]) == (
        1,
        1,
        0,
        1,
    )
    assert (stats["streams"]["started"], stats["streams"]["completed"]) == (1, 1)


def test_ctrl_c_counts_as_abandoned(server):
    def interrupted():
        raise KeyboardInterrupt

    client = observe_client(server, api_key=interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.chat("hi")
    stats = client.stats()
    assert (stats["abandoned"], stats["failed"], stats["queue"]["running"]) == (1, 0, 0)


def test_the_sums_hold_after_200_threads_of_random_faults(server):
    faults = [
        lambda text: Answer(500, json={"error": "x"}),
        lambda text: Answer(429, headers={"retry-after": "0"}),
        lambda text: Answer(400, json={"error": "x"}),
        lambda text: Answer(json=CHAT, cut=30),
        lambda text: Answer(body="<html>"),
    ]
    draw = random.Random(6)

    def answer(request):
        text = request.json["messages"][0]["content"]
        if draw.random() < 0.3:
            return draw.choice(faults)(text)
        if request.json.get("stream"):
            return Answer(sse=chunks(text, "!", usage=OBSERVE_USAGE))
        choice = dict(CHAT["choices"][0], message={"role": "assistant", "content": text})
        return Answer(json=dict(CHAT, choices=[choice]))

    server.default = answer
    client = observe_client(server, max_retries=1, circuit_breaker=False, queue_size=1000)

    def calls(i):
        good = bad = 0
        for n in range(3):
            text = "%d/%d" % (i, n)
            try:
                if n == 1:
                    stream = client.stream_chat(text)
                    assert "".join(chunk.content for chunk in stream) == text + "!"
                else:
                    assert client.chat(text).content == text
                good += 1
            except OpenAIError:
                bad += 1
        return good, bad

    with nothing_left_over():
        ended = together(200, calls)
        client.close()
        server.drop_connections()
        eventually(lambda: not server.open_connections)
    stats, good, bad = client.stats(), sum(e[0] for e in ended), sum(e[1] for e in ended)
    assert (stats["requests"], stats["succeeded"], stats["failed"]) == (600, good, bad)
    assert good + bad == 600 and bad and stats["abandoned"] == 0
    assert sum(stats["errors"].values()) == bad
    assert len(server.requests) == 600 + stats["retries"]
    assert stats["queue"] == {"running": 0, "waiting": 0}
    assert stats["latency_s"]["count"] == good
    assert stats["bytes_sent"] <= sum(asked.length for asked in server.requests)
    streams = stats["streams"]
    assert (
        streams["started"] == streams["completed"] + streams["interrupted"] + streams["abandoned"]
    )


def test_memory_stays_constant_however_many_calls_are_counted():
    """A million with OPENAI_MINI_MILLION=1; the transport is a simulated one."""
    client = OpenAIMini(base_url="echo:", on_event=lambda event: None)
    rounds = 1_000_000 if OBSERVE_MILLION else 1500
    tracemalloc.start()
    try:
        for _ in range(1100):  # what grows up to its bound
            client.chat("warm")
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(rounds):
            client.chat("call")
            if number % 10 == 0:
                list(client.stream_chat("call"))
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 30_000, "%d bytes more after %d calls" % (grown, rounds)


# Events


def test_the_events_tell_the_whole_life_of_a_retried_call(server):
    server.script(
        Answer(503, headers={"x-request-id": "r1", "retry-after": "0.001"}),
        Answer(json=CHAT, reset=5),
        Answer(json=CHAT, headers={"x-request-id": "r3"}),
    )
    names, events = observe_told({}, server, lambda client: client.chat("hi"))
    assert names == [
        "request",
        "response",
        "retry",
        "request",
        "response",
        "retry",
        "request",
        "response",
    ]
    assert [event["attempt"] for event in events] == [1, 1, 1, 2, 2, 2, 3, 3]
    assert len({event["id"] for event in events}) == 1
    assert {(event["method"], event["path"], event["model"]) for event in events} == {
        ("POST", "/chat/completions", openai_mini.DEFAULT_MODELS["chat"])
    }
    failed, waited, last = events[1], events[2], events[-1]
    assert (failed["status"], failed["request_id"], failed["error"]) == (
        503,
        "r1",
        "InternalServerError",
    )
    assert (waited["wait_s"], waited["error"]) == (0.001, "InternalServerError")
    assert events[5]["error"] == "APIConnectionError"
    assert (last["status"], last["request_id"], last["usage"]) == (200, "r3", CHAT["usage"])
    assert last["duration_s"] >= 0 and "error" not in last and "state" not in last


def test_the_events_of_a_call_that_fails_end_with_an_error(server):
    server.default = Answer(500)
    names, events = observe_told({"max_retries": 1}, server, lambda client: client.chat("hi"))
    assert names == ["request", "response", "retry", "request", "response", "error"]
    assert events[-1]["error"] == "InternalServerError" and events[-1]["duration_s"] > 0
    server.default = Answer(json=CHAT, reset=0)
    names, events = observe_told({"max_retries": 0}, server, lambda client: client.chat("hi"))
    assert names[0] == "request" and names[-1] == "error"
    assert events[-1]["error"] == "APIConnectionError"


def test_the_events_tell_the_life_of_a_stream(server):
    server.default = Answer(sse=chunks("a", "b", usage=OBSERVE_USAGE))
    names, events = observe_told({}, server, lambda client: list(client.stream_chat("hi")))
    assert names == ["request", "response", "stream_end"]
    assert (events[1]["status"], events[1]["state"]) == (200, "streaming")
    assert (events[2]["state"], events[2]["usage"]) == ("completed", OBSERVE_USAGE)
    assert events[2]["duration_s"] >= events[1]["duration_s"]
    server.default = Answer(sse=chunks("a", "b"), cut=250)
    names, events = observe_told({}, server, lambda client: list(client.stream_chat("hi")))
    assert names == ["request", "response", "stream_end"]
    assert (events[2]["state"], events[2]["error"]) == ("interrupted", "StreamInterruptedError")
    server.default = usual
    names, events = observe_told({}, server, lambda client: client.stream_chat("hi").close())
    assert (names[-1], events[-1]["state"]) == ("stream_end", "abandoned")


def test_the_events_tell_of_a_circuit_that_opens_and_closes(server):
    clock = FakeClock()
    breaker = openai_mini.CircuitBreaker(failure_threshold=2, success_threshold=1, clock=clock)
    events = []
    client = observe_client(server, max_retries=0, circuit_breaker=breaker, on_event=events.append)
    server.script(Answer(500), Answer(500))
    for _ in range(3):
        with pytest.raises(OpenAIError):
            client.chat("hi")
    clock.advance(60)
    client.chat("hi")
    assert [event["state"] for event in events if event["event"] == "circuit"] == [
        "open",
        "half_open",
        "closed",
    ]
    refused = [event for event in events if event.get("error") == "CircuitOpenError"]
    assert [event["event"] for event in refused] == ["error"]
    assert [event["event"] for event in events].count("request") == 3


def test_the_events_of_a_fallback_belong_to_the_call(server):
    with LoopbackServer() as other:
        server.default = Answer(500)
        options = {"max_retries": 0, "fallback": observe_client(other)}
        names, events = observe_told(options, server, lambda client: client.chat("hi"))
    assert names == ["request", "response", "request", "response"]
    assert [event.get("status") for event in events] == [None, 500, None, 200]
    assert len({event["id"] for event in events}) == 1


def test_no_key_and_no_prompt_is_in_any_event(server):
    echo = {"error": {"message": "sk-test said my prompt", "param": "sk-test"}}
    server.default = Answer(500, json=echo, headers={"x-echo": "sk-test"})
    events = []
    client = observe_client(server, on_event=events.append, max_retries=1)
    for call in (client.chat, client.stream_chat, client.embedding, client.generate_image):
        with pytest.raises(OpenAIError):
            call("my prompt")
    assert events and "sk-test" not in repr(events) and "my prompt" not in repr(events)


def test_a_hook_that_raises_breaks_nothing_and_is_logged(server, caplog):
    def hook(event):
        raise LookupError("the collector is down")

    client = observe_client(server, on_event=hook)
    server.script(Answer(500))
    assert client.chat("hi").content == "hello"
    assert [chunk.content for chunk in client.stream_chat("hi")][:2] == ["hel", "lo"]
    assert client.stats()["succeeded"] == 2 and client.stats()["queue"]["running"] == 0
    assert "the collector is down" in caplog.text and "sk-test" not in caplog.text


def test_a_hook_may_call_the_client_itself(server):
    seen = []

    def hook(event):
        if event["event"] == "response" and not seen:
            seen.append(None)
            seen[0] = client.with_options(on_event=None).chat("from the hook").content

    client = observe_client(server, on_event=hook)
    assert client.chat("hi").content == "hello" and seen == ["hello"]


def observe_run(block, client_class, **names):
    space = {"OpenAIMini": client_class, **names}
    exec(block, space)  # noqa: S102  the README's own words
    return space


def test_the_readmes_adapter_tells_opentelemetry(server):
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    space = observe_run(observe_readme("opentelemetry"), lambda **kw: observe_client(server, **kw))
    server.script(Answer(500), Answer(json=CHAT), Answer(sse=chunks("a", usage=OBSERVE_USAGE)))
    space["client"].chat("hi")
    list(space["client"].stream_chat("hi"))
    spans = [dict(span.attributes) for span in exporter.get_finished_spans()]
    assert [span.get("error.type") for span in spans] == ["InternalServerError", None, None]
    assert [span["gen_ai.usage.output_tokens"] for span in spans] == [0, 1, 2]
    assert {span["gen_ai.request.model"] for span in spans} == {openai_mini.DEFAULT_MODELS["chat"]}
    assert {span["gen_ai.operation.name"] for span in spans} == {"chat"}
    assert not space["spans"]


def test_the_readmes_adapter_counts_for_prometheus(server):
    prometheus = pytest.importorskip("prometheus_client")
    space = observe_run(observe_readme("prometheus"), lambda **kw: observe_client(server, **kw))
    server.script(Answer(500), Answer(json=CHAT), Answer(sse=chunks("a", usage=OBSERVE_USAGE)))
    space["client"].chat("hi")
    list(space["client"].stream_chat("hi"))
    model = openai_mini.DEFAULT_MODELS["chat"]
    value = prometheus.REGISTRY.get_sample_value
    names = {"event": "response", "model": model, "error": "InternalServerError"}
    assert value("openai_steps_total", names) == 1
    assert value("openai_steps_total", dict(names, error="")) == 2
    assert value("openai_tokens_total", {"model": model, "kind": "prompt_tokens"}) == 18
    assert value("openai_tokens_total", {"model": model, "kind": "total_tokens"}) is None


# The cache


@contextlib.contextmanager
def observe_cache(kind, folder):
    if kind == "dict":
        yield {}
    elif kind == "shelve":
        with shelve.open(str(folder / "cache")) as cache:
            yield cache
    else:
        with pytest.importorskip("diskcache").Cache(str(folder / "cache")) as cache:
            yield cache


@pytest.mark.parametrize("kind", ["dict", "shelve", "diskcache"])
def test_a_repeated_call_is_answered_from_the_cache(server, tmp_path, kind):
    with observe_cache(kind, tmp_path) as cache:
        client = observe_client(server, cache=cache)
        first, second = client.chat("hi"), client.chat("hi")
        assert first == second and second.content == "hello" and type(second) is type(first)
        client.chat("other")
        client.chat("hi", temperature=1)
        client.chat("hi", extra_query={"a": 1})
        assert len(server.requests) == 4
        assert client.stats()["cache"] == {"hits": 1, "misses": 4}
        assert observe_client(server, cache=cache, api_key="sk-2").chat("hi").content == "hello"
        assert len(server.requests) == 4
        assert "sk-test" not in repr([(key, cache[key]) for key in list(cache)])


def test_each_endpoint_that_may_be_cached_is(server):
    server.default = Answer(json={"object": "x", "data": [{"embedding": [1.0]}], "results": []})
    client = observe_client(server, cache={})
    calls = [
        lambda: client.chat.completions.create(
            messages=[{"role": "user", "content": "a"}], model="m"
        ),
        lambda: client.embeddings.create(input="a", model="m"),
        lambda: client.embedding("a"),
        lambda: client.moderation("a"),
        lambda: client.completions.create(prompt="a", model="m"),
        lambda: client.responses.create(input="a", model="m"),
        lambda: client.request("POST", "/responses", json={"input": "b", "model": "m"}),
    ]
    for number, call in enumerate(calls, 1):
        assert call() == call()
        assert len(server.requests) == number


def test_nothing_else_is_answered_from_the_cache(server):
    client = observe_client(server, cache={}, max_retries=0)
    for _ in range(2):
        list(client.stream_chat("hi"))
        client.list_models()
        client.generate_image("x")
        client.request("POST", "/files", json={})
        client.chat.completions.with_raw_response.create(messages=[], model="m")
    assert len(server.requests) == 10
    server.script(Answer(500), Answer(400), Answer(json={"error": {"code": 400}}), Answer(body="{"))
    for _ in range(4):
        with pytest.raises(OpenAIError):
            client.chat("new")
    assert client.chat("new").content == "hello"
    assert len(server.requests) == 15


def test_the_cache_answers_also_while_the_circuit_is_open(server):
    breaker = openai_mini.CircuitBreaker(failure_threshold=1)
    client = observe_client(server, cache={}, max_retries=0, circuit_breaker=breaker)
    client.chat("hi")
    server.default = Answer(500)
    with pytest.raises(OpenAIError):
        client.chat("other")
    assert breaker.state == "open"
    assert client.chat("hi").content == "hello"


class ObserveBrokenCache(dict):
    def get(self, key, default=None):
        raise OSError("the disk is gone")

    __getitem__ = __setitem__ = __contains__ = get


def test_a_cache_that_raises_is_logged_and_passed_over(server, caplog):
    client = observe_client(server, cache=ObserveBrokenCache())
    assert client.chat("hi").content == client.chat("hi").content == "hello"
    assert len(server.requests) == 2 and "the disk is gone" in caplog.text
    assert [record.levelno for record in caplog.records][:1] == [logging.ERROR]


@pytest.mark.parametrize("rubbish", [b"{", b"\xff\xfe", 42, None, "[]", b"[1]"], ids=repr)
def test_a_cache_that_holds_rubbish_is_passed_over(server, rubbish):
    cache = {}
    client = observe_client(server, cache=cache)
    client.chat("hi")
    cache.update({key: rubbish for key in cache})
    assert client.chat("hi").content == "hello"


def test_threads_share_a_cache(server):
    client = observe_client(server, cache={})
    for _ in range(2):
        together(15, lambda i: client.chat("hi %d" % (i % 3)))
    stats = client.stats()
    assert stats["cache"]["hits"] + stats["cache"]["misses"] == 30
    assert stats["cache"]["misses"] == len(server.requests) <= 15


# ------------------------------------------------------------------------------------------------
# Processes


# ------------------------------------------------------------------------------------------------
# Pickling, processes, forks

PROCESSES_DASK = os.environ.get("OPENAI_MINI_DASK")  # read before the fixture hides it
processes_that_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def processes_client(server, **options):
    options = {"api_key": "sk-test", "initial_retry_delay": 0.001, "timeout": (5, 10), **options}
    return OpenAIMini(base_url=server.url, **options)


def processes_echo(request):
    """The server says what it was asked."""
    text = request.json["messages"][-1]["content"]
    choice = dict(CHAT["choices"][0], message={"role": "assistant", "content": text})
    return Answer(json=dict(CHAT, choices=[choice]))


def processes_child(work, within_s=20):
    """Fork; in the child run `work()`. The child's pid: it exits with 0 if the work returned True,
    and is killed when it hangs."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.alarm(within_s)
        code = 0 if work() is True else 2
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def processes_code(pid):
    """The exit code of a child; a signal's number, negative, where one ended it."""
    status = os.waitpid(pid, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


# Pickling


def test_a_client_pickles_with_its_options_and_starts_its_counts_anew(server):
    options = {"organization": "org-1", "default_headers": {"X-A": "1"}, "max_retries": 7}
    client = processes_client(server, model="m", on_event=print, **options)
    client.with_options(on_event=None).chat("hi")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(client.with_options(on_event=None), protocol))
        assert again.stats()["requests"] == 0
        assert again.chat("hi").content == "hello"
    first, second = server.requests[:2]
    for name in ("authorization", "openai-organization", "x-a"):
        assert first.headers[name] == second.headers[name]
    assert second.json["model"] == "m" and again.max_retries == 7
    assert pickle.loads(pickle.dumps(client)).on_event is print


def test_what_comes_back_pickles_too(server):
    client = processes_client(server, max_retries=0)
    result = client.chat("hi")
    again = pickle.loads(pickle.dumps(result))
    assert again == result and again.content == "hello" and again.status_code == 200
    server.script(
        Answer(429, json={"error": {"message": "slow", "code": "c"}}, headers={"retry-after": "3"})
    )
    with pytest.raises(OpenAIError) as caught:
        client.chat("hi")
    error = pickle.loads(pickle.dumps(caught.value))
    assert str(error) == str(caught.value) and type(error) is openai_mini.RateLimitError
    assert (error.retry_after, error.code, error.status_code) == (3, "c", 429)


def test_breakers_queues_and_sessions_given_to_a_client_travel_with_it(server):
    breaker = openai_mini.CircuitBreaker(failure_threshold=1)
    queue = openai_mini.RequestQueue(3)
    session = requests.Session()
    session.headers["X-S"] = "1"
    fallback = processes_client(server)
    client = processes_client(
        server, circuit_breaker=breaker, use_request_queue=queue, session=session, fallback=fallback
    )
    again = pickle.loads(pickle.dumps(client))
    assert again.chat("hi").content == "hello"
    assert server.requests[0].headers["x-s"] == "1"
    server.default = Answer(500)
    for _ in range(2):
        with pytest.raises(OpenAIError):
            again.chat("hi", max_retries=0)
    assert again.stats()["circuit"]["state"] == "open" and breaker.state == "closed"


def test_a_pickle_from_another_version_is_refused_in_words(monkeypatch):
    data = pickle.dumps(OpenAIMini(base_url="echo:"))
    monkeypatch.setattr(openai_mini, "__version__", "9.9.9")
    with pytest.raises(openai_mini.ValidationError) as caught:
        pickle.loads(data)
    assert "9.9.9" in str(caught.value) and "version" in str(caught.value)


def test_what_cannot_be_pickled_says_so_and_not_the_key(server):
    client = processes_client(server, on_event=lambda event: None, api_key="sk-hush")
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)) as caught:
        pickle.dumps(client)
    assert "sk-hush" not in str(caught.value)


# Pools of processes


@pytest.mark.parametrize(
    "how", [m for m in ("spawn", "fork") if m in multiprocessing.get_all_start_methods()]
)
def test_200_chats_over_two_workers_are_each_answered_once(server, how):
    server.default = processes_echo
    client = processes_client(server)
    client.chat("warm")  # so that under fork there is a connection that must not be shared
    texts = ["chat %d" % i for i in range(200)]
    context = multiprocessing.get_context(how)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        answers = list(pool.map(client.chat, texts, chunksize=5))
    assert [answer.content for answer in answers] == texts
    asked = [request.json["messages"][0]["content"] for request in server.requests[1:]]
    assert sorted(asked) == sorted(texts)
    assert client.chat("still here").content == "still here"


@processes_that_fork
def test_a_pool_of_multiprocessing_takes_the_client(server):
    server.default = processes_echo
    client = processes_client(server)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert [r.content for r in pool.map(client.chat, ["a", "b", "c"])] == ["a", "b", "c"]


@pytest.mark.skipif(not PROCESSES_DASK, reason="opt-in: OPENAI_MINI_DASK=1, with dask[distributed]")
def test_the_readmes_recipe_for_dask_answers_each_prompt_once(server):
    server.default = processes_echo
    prompts = ["chat %d" % i for i in range(200)]
    space = {"client": processes_client(server), "prompts": prompts}
    exec(processes_readme("dask.distributed"), space)  # noqa: S102  the README's own words
    assert [answer.content for answer in space["answers"]] == prompts
    asked = [request.json["messages"][0]["content"] for request in server.requests]
    assert sorted(asked) == sorted(prompts)


def processes_readme(word):
    """The code block of the README that has `word` in it, to be run as it stands there."""
    folder = pathlib.Path(__file__).parent
    texts = [
        path.read_text("utf-8")
        for path in sorted(folder.glob("*.md"))
        if path.name.lower()[:6] == "readme"
    ]
    blocks = [block for text in texts for block in re.findall(r"```python\n(.*?)```", text, re.S)]
    return next(block for block in blocks if word in block)


# Forks


@processes_that_fork
def test_a_child_makes_connections_of_its_own(server):
    """Parent and child on one socket would get each other's answers."""
    server.default = processes_echo
    client = processes_client(server)
    client.chat("warm")
    pids = [
        processes_child(
            lambda n=n: all(
                client.chat("%d/%d" % (n, i)).content == "%d/%d" % (n, i) for i in range(20)
            )
        )
        for n in range(3)
    ]
    for i in range(20):
        assert client.chat("parent %d" % i).content == "parent %d" % i
    assert [processes_code(pid) for pid in pids] == [0, 0, 0]
    assert server.connections == 4


@processes_that_fork
def test_a_shared_session_is_split_by_a_fork(server):
    server.default = processes_echo
    session = requests.Session()
    client = processes_client(server, session=session)
    client.chat("warm")
    pid = processes_child(
        lambda: all(client.chat("c%d" % i).content == "c%d" % i for i in range(20))
    )
    for i in range(20):
        assert client.chat("p%d" % i).content == "p%d" % i
    assert processes_code(pid) == 0 and server.connections == 2


@processes_that_fork
def test_a_fork_with_an_open_stream_leaves_it_to_the_parent(server):
    """The child ends it, drops it and exits: the parent's connection hears nothing of that."""
    gate = threading.Event()
    server.script(Answer(sse=chunks("a", "b", "c"), wait=gate, hold_after=1))
    client = processes_client(server, max_concurrent_requests=1)
    stream = client.stream_chat("hi")
    assert next(stream).content == "a"

    def child():
        with pytest.raises(openai_mini.StreamInterruptedError):
            list(stream)  # half an answer is no whole one in the child either
        stream.close()
        return client.chat("child").content == "hello" and client.stats()["queue"]["running"] == 0

    assert processes_code(processes_child(child)) == 0
    assert server.hung_up == 0 or server.open_connections
    gate.set()
    assert [chunk.content for chunk in stream] == ["b", "c", ""]
    assert client.stats()["streams"]["completed"] == 1


@processes_that_fork
def test_a_fork_in_the_middle_of_calls_does_not_hang_the_child(server):
    server.default = processes_echo
    client = processes_client(server, max_concurrent_requests=2, cache={})
    ended = threading.Event()

    def calls():
        number = 0
        while not ended.is_set():
            number += 1
            client.chat("t%d/%d" % (threading.get_ident(), number))

    threads = [threading.Thread(target=calls, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        server.wait_requests(20)
        draw, codes = random.Random(7), []
        for n in range(12):
            time.sleep(draw.random() * 0.01)
            text = "child %d" % n
            pid = processes_child(
                lambda text=text: (
                    client.chat(text).content == text
                    and client.submit("chat", text + "!").result(10).content == text + "!"
                    and client.stats()["queue"]["waiting"] == 0
                )
            )
            codes.append(processes_code(pid))
    finally:
        ended.set()
        for thread in threads:
            thread.join(10)
    assert codes == [0] * 12
    assert not any(thread.is_alive() for thread in threads)


PROCESSES_IMPORT = """
import os, random, signal, sys, threading, time
import openai_mini
assert "requests" not in sys.modules and "logging" not in sys.modules
client = openai_mini.OpenAIMini("sk-test", base_url=sys.argv[1], timeout=10)
draw = random.Random(int(sys.argv[2]))
threading.Thread(target=client.chat, args=("first",), daemon=True).start()
pids = []
for n in range(5):
    time.sleep(draw.random() * 0.05)
    pid = os.fork()
    if not pid:
        signal.alarm(30)
        good = client.chat("child").content == "hello"
        os._exit(0 if good else 3)
    pids.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in pids]
sys.exit("children ended with %r" % codes if any(codes) else 0)
"""


@processes_that_fork
def test_a_fork_during_the_first_import_does_not_hang_the_child(server):
    """Many random moments: the imports of the first call take some tenths of a second."""
    seed = random.randrange(1 << 30)
    folder = os.path.dirname(openai_mini.__file__)
    for number in range(2):
        command = [sys.executable, "-c", PROCESSES_IMPORT, server.url, str(seed + number)]
        run = subprocess.run(command, stderr=subprocess.PIPE, cwd=folder, timeout=120)
        assert run.returncode == 0, "seed %d: %s" % (seed + number, run.stderr.decode())


@processes_that_fork
def test_a_fork_waits_for_an_import_that_is_under_way(server, tmp_path, monkeypatch):
    (tmp_path / "slowly_imported.py").write_text(
        "import threading, time\nstarted.set()\ntime.sleep(0.1)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    openai_mini.OpenAIMini("sk-test", base_url=server.url)  # from now on forks are known of
    late, started = openai_mini._Late("slowly_imported"), threading.Event()
    monkeypatch.setattr("builtins.started", started, raising=False)
    thread = threading.Thread(target=lambda: late.whole)
    thread.start()
    assert started.wait(10)
    pid = processes_child(lambda: sys.modules["slowly_imported"].whole)
    thread.join(10)
    assert processes_code(pid) == 0


@processes_that_fork
def test_a_fork_that_calls_the_childs_hook_alone_leaves_a_client_that_works(server, client):
    def child():
        openai_mini._after_fork()  # as uWSGI does it, here once more
        with contextlib.closing(openai_mini.OpenAIMini("sk-test", base_url=server.url)) as other:
            pid = processes_child(lambda: other.chat("hi").content == "hello")
        return client.chat("hi").content == "hello" and processes_code(pid) == 0

    client.chat("hi")
    assert processes_code(processes_child(child)) == 0
    assert openai_mini._no_fork.acquire(False), "the parent's is free"
    openai_mini._no_fork.release()


# The Batch API


def processes_batch_server(server, states):
    """/files and /batches, as OpenAI has them; a batch goes through `states`."""
    files, left = {}, list(states)

    def answer(request):
        parts = request.path.split("/")[2:]
        if request.method == "POST" and parts == ["files"]:
            named = {part.name: part for part in request.parts}
            files["file-in"] = named["file"].body
            assert named["purpose"].body == b"batch" and named["file"].filename.endswith(".jsonl")
            return Answer(json={"id": "file-in", "object": "file", "purpose": "batch"})
        if parts[0] == "files":
            asked = [json.loads(line) for line in files["file-in"].splitlines()]
            lines = []
            for one in reversed(asked):  # in any order
                text = one["body"]["messages"][0]["content"].upper()
                body = {
                    "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]
                }
                lines.append(
                    {"custom_id": one["custom_id"], "response": {"status_code": 200, "body": body}}
                )
            return Answer(body="\n".join(map(json.dumps, lines)).encode())
        if request.method == "POST":
            assert request.json["input_file_id"] == "file-in"
        status, total = left.pop(0), len(files["file-in"].splitlines())
        counts = {"total": total, "completed": total if status == "completed" else 0, "failed": 0}
        done = {"output_file_id": "file-out"} if status == "completed" else {}
        return Answer(
            json={
                "id": "batch-1",
                "object": "batch",
                "status": status,
                "request_counts": counts,
                **done,
            }
        )

    server.default = answer


def test_the_readmes_recipe_for_the_batch_api_reads_all_answers(server, capsys):
    states = ["validating", "in_progress", "finalizing", "completed"]
    processes_batch_server(server, states)
    space = {"client": processes_client(server), "prompts": ["a", "b\nc", "d"], "poll_s": 0}
    exec(processes_readme("custom_id"), space)  # noqa: S102  the README's own words
    assert space["answers"] == {0: "A", 1: "B\nC", 2: "D"}
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == states[1:]
    assert "completed: 3 of 3" in "%s: 3 of 3" % space["batch"].status


# ------------------------------------------------------------------------------------------------
# Safety
#
# Nothing leaks, nobody is let in, and nothing grows without limit.


KEY = "sk-live-S3cr3t/0123+456789"


def safety_client(server, **options):
    usual = {"api_key": KEY, "base_url": server.url, "initial_retry_delay": 0.001, "max_retries": 1}
    return openai_mini.OpenAIMini(**dict(usual, timeout=(5, 10), circuit_breaker=False, **options))


@pytest.fixture(params=["own pools", "session="])
def safety_session(request):
    if request.param == "own pools":
        yield None
    else:
        with requests.Session() as session:
            yield session


# Keys


def safety_chain(error: BaseException) -> list:
    """The error and all that is behind it."""
    found = [error]
    for one in found:
        for other in (one.__cause__, one.__context__):
            if other is not None and other not in found:
                found.append(other)
    return found


def safety_words_of(error: BaseException) -> str:
    """All that could be printed, logged or stored of an error."""
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    for one in safety_chain(error):
        lines += [str(one), repr(one), repr(one.args), repr(getattr(one, "__dict__", ""))]
        response = getattr(one, "response", None)
        if response is not None:
            lines += [
                repr(response),
                str(getattr(response, "headers", "")),
                str(getattr(response, "text", "")),
            ]
    if isinstance(error, openai_mini.OpenAIError):
        lines.append(pickle.dumps(error).decode("latin-1"))
        lines += [repr(error.body), str(error.code), str(error.type), str(error.param)]
    return "\n".join(lines)


ECHOES = [
    Answer(401, json={"error": {"message": "Incorrect API key provided: %s." % KEY, "code": KEY}}),
    Answer(401, json={"error": "no %s" % KEY}),
    Answer(500, json={"detail": [{"msg": KEY}]}),
    Answer(400, json={KEY: KEY}),
    Answer(400, body="<title>%s</title>" % KEY, content_type="text/html"),
    Answer(400, body="key=" + KEY),
    Answer(400, json={"error": {"message": "no", "key": {"a": [KEY]}}}),
    Answer(403, json={}, headers={"x-echo": "Bearer " + KEY}),
    Answer(403, json={"error": {"message": "m", "type": KEY, "param": KEY}}),
    Answer(307, headers={"location": "https://elsewhere.invalid/?key=" + KEY}),
    Answer(200, body="<html>Bearer %s</html>" % KEY, content_type="text/html"),
    Answer(200, body='{"key": "%s"' % KEY, content_type="application/json"),
    Answer(200, json=[KEY]),
    Answer(200, json={"error": {"message": KEY}}),
    Answer(200, json=KEY),
    Answer(200, json={}, headers={"content-encoding": KEY}),
    Answer(200, sse=[{"error": {"message": "bad " + KEY}}]),
    Answer(200, sse=["no JSON: " + KEY]),
    Answer(200, sse=chunks("hel") + [("error", {"message": KEY})]),
    Answer(200, sse=['["%s"]' % KEY]),
    Answer(raw=b"HTTP/1.1 %s\r\n\r\n" % KEY.encode()),
    Answer(raw=KEY.encode() + b"\r\n\r\n"),
    Answer(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + KEY.encode() + b"\r\n"),
    Answer(raw=b"HTTP/1.1 400 No\r\nx: \r\n bad " + KEY.encode() + b"\r\n\r\n"),
    Answer(200, json=CHAT, headers={"content-length": KEY}, close=True),
    Answer(raw=b"", reset=0),
]


@pytest.mark.parametrize("number", range(len(ECHOES)))
def test_a_key_that_the_server_echoes_is_nowhere_to_be_read(
    server, safety_session, caplog, capfd, number
):
    caplog.set_level(logging.DEBUG)
    server.default = ECHOES[number]
    events, words = [], []
    options = {"debug": True, "on_event": events.append, "session": safety_session}
    with safety_client(server, **options) as client:
        for ask in (
            lambda: client.chat("hi"),
            lambda: list(client.stream_chat("hi")),
            lambda: client.request("POST", "/x", json={}),
            client.list_models,
            client.health,
        ):
            try:
                answer = ask()
            except openai_mini.OpenAIError as error:
                words.append(safety_words_of(error))
            else:
                if isinstance(answer, dict) and "error" in answer:
                    words.append(str(answer["error"]))
        words += [str(client.stats()), repr(client)]
    assert server.requests, "it was asked"
    for place, text in (
        ("errors", "\n".join(words)),
        ("events", repr(events)),
        ("log", caplog.text),
        ("records", repr([record.__dict__ for record in caplog.records])),
        ("terminal", "".join(capfd.readouterr())),
    ):
        at = text.find(KEY)
        assert at < 0, "the key is in the %s: %r" % (place, text[max(at - 150, 0) :][:300])


def test_the_key_is_nowhere_when_the_server_is_out_of_reach(server, tls_server, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    nobody = "http://127.0.0.1:%d/v1" % server.port
    server.close()
    words = []
    for url in (nobody, tls_server.url, "http://\u2028bad.invalid/v1", nobody + "?api-key=x"):
        with contextlib.suppress(openai_mini.ValidationError):
            client = openai_mini.OpenAIMini(
                KEY, base_url=url, max_retries=1, initial_retry_delay=0.001, debug=True
            )
            try:
                client.chat("hi")
            except openai_mini.OpenAIError as error:
                words.append(safety_words_of(error))
            words.append(repr(client))
    assert words and KEY not in "".join(words) + caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "bad", ["\r\nX-Evil: 1", "\nx", "\x00", "ключ", "\u2019", "\x7f", " x\ny"], ids=ascii
)
def test_a_key_that_no_header_holds_is_refused_without_printing_it(server, bad):
    key = KEY + bad + "tail-S3cr3t"
    for make in (
        lambda: openai_mini.OpenAIMini(key, base_url=server.url),
        lambda: openai_mini.OpenAIMini("x", admin_api_key=key, base_url=server.url),
        lambda: openai_mini.OpenAIMini(lambda: key, base_url=server.url).chat("hi"),
        lambda: openai_mini.OpenAIMini(
            "x", base_url=server.url, default_headers={"Authorization": "Bearer " + key}
        ).chat("hi"),
        lambda: openai_mini.OpenAIMini("x", base_url=server.url).chat(
            "hi", extra_headers={"api-key": key}
        ),
    ):
        with pytest.raises(openai_mini.ValidationError) as caught:
            make()
        assert "S3cr3t" not in safety_words_of(caught.value)
    assert not server.requests


def test_a_trailing_newline_of_the_key_is_stripped(server):
    openai_mini.OpenAIMini(KEY + "\r\n", base_url=server.url).chat("hi")
    assert server.requests[0].headers["authorization"] == "Bearer " + KEY


def test_a_key_in_base_url_is_refused_without_printing_it():
    for url in ("https://user:S3cr3t@host/v1", "https://S3cr3t@host/v1"):
        with pytest.raises(openai_mini.ValidationError) as caught:
            openai_mini.OpenAIMini("x", base_url=url)
        assert "S3cr3t" not in safety_words_of(caught.value)


# To no other origin


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "{other}/v1/chat/completions",
        "//127.0.0.1:{port}/x",
        "http://{host}@127.0.0.1:{port}/x",
        "https://{host}/v1",
        "",
    ],
)
def test_nothing_goes_to_another_origin_by_a_redirect(server, safety_session, status, location):
    with LoopbackServer() as other:
        host = server.origin.split("//")[1]
        place = location.format(other=other.origin, port=other.port, host=host)
        server.default = Answer(status, headers={"location": place} if place else {})
        with safety_client(server, session=safety_session, max_retries=0) as client:
            for ask in (lambda: client.chat("hi"), client.list_models):
                with pytest.raises(openai_mini.APIStatusError, match="redirect"):
                    ask()
        assert other.connections == 0 and len(server.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_within_the_origin_keeps_method_and_body(server, safety_session, status):
    server.script(Answer(status, headers={"location": "/v2/chat/completions?a=b"}))
    with safety_client(server, session=safety_session) as client:
        assert client.chat("hi").content == "hello"
    first, second = server.requests
    assert (second.method, second.target) == ("POST", "/v2/chat/completions?a=b")
    assert second.body == first.body and second.headers["authorization"] == "Bearer " + KEY


def test_redirects_without_end_end(server):
    server.default = Answer(307, headers={"location": "/v1/chat/completions"})
    with safety_client(server) as client, pytest.raises(openai_mini.APIStatusError):
        client.chat("hi")
    assert len(server.requests) < 30


@pytest.mark.parametrize(
    "path",
    [
        "http://127.0.0.1:1/x",
        "//127.0.0.1:1/x",
        "https://elsewhere.invalid/v1/x",
        "{origin}@127.0.0.1:1/x",
        "{origin}.elsewhere.invalid/v1/x",
    ],
)
def test_an_absolute_url_of_another_origin_is_refused(server, path):
    with safety_client(server) as client:
        with pytest.raises(openai_mini.ValidationError):
            client.request("GET", path.format(origin=server.origin))
        client.request("GET", server.url + "/models")
    assert len(server.requests) == 1


def test_netrc_does_not_replace_the_key(server, safety_session, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with safety_client(server, session=safety_session) as client:
        client.chat("hi")
        client.with_options(api_version="2024", api_key="azure").chat("hi")
    assert server.requests[0].headers["authorization"] == "Bearer " + KEY
    assert server.requests[1].headers["api-key"] == "azure"
    assert "Basic" not in server.requests[1].headers.get("authorization", "")


def test_cookies_of_a_server_do_not_come_back(server):
    server.default = Answer(json=CHAT, headers={"set-cookie": "a=b; Path=/"})
    with safety_client(server) as client:
        client.chat("1")
        client.chat("2")
    assert "cookie" not in server.requests[1].headers


# Injection


@pytest.mark.parametrize(
    "value", ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX", "\0", "日本"], ids=ascii
)
def test_no_header_can_be_forged(server, safety_session, value):
    base = {"api_key": "x", "base_url": server.url, "session": safety_session}
    for ask in (
        lambda: openai_mini.OpenAIMini(organization=value, **base).chat("hi"),
        lambda: openai_mini.OpenAIMini(project=value, **base).chat("hi"),
        lambda: openai_mini.OpenAIMini(default_headers={"x-mine": value}, **base).chat("hi"),
        lambda: openai_mini.OpenAIMini(default_headers={value: "x"}, **base).chat("hi"),
        lambda: openai_mini.OpenAIMini(**base).chat("hi", extra_headers={"x-mine": value}),
        lambda: openai_mini.OpenAIMini(**base).request("GET\r\n" + value, "/models"),
    ):
        with pytest.raises(openai_mini.ValidationError):
            ask()
    assert not server.requests


@pytest.mark.parametrize(
    "path_id",
    [
        "a/b",
        "../../v1/models",
        "a?b=c",
        "a#b",
        "a b",
        "a\r\nX: 1",
        "ä",
        "%2e%2e",
        "\\",
        "\0",
        "\ud800",
    ],
    ids=ascii,
)
def test_a_path_id_stays_one_segment(server, path_id):
    with safety_client(server) as client:
        try:
            client.files.retrieve(path_id)
            client.download_file(path_id)
        except openai_mini.ValidationError:
            return  # refused is as good
    first, second = server.requests
    assert first.target.startswith("/v1/files/") and second.target.startswith("/v1/files/")
    assert first.target.count("/") == 3 and second.target.count("/") == 4
    assert "?" not in first.target and first.target.isprintable() and "x" not in first.headers


@pytest.mark.parametrize("path_id", ["", ".", "..", None])
def test_a_path_id_that_would_leave_its_place_is_refused(server, path_id):
    with safety_client(server) as client:
        for ask in (client.files.retrieve, client.download_file, client.files.delete):
            with pytest.raises(openai_mini.ValidationError):
                ask(path_id)
    assert not server.requests


@pytest.mark.parametrize(
    "path", ["/models\r\nX: 1", "/mod els", "/models\nHTTP/1.1", "/ä", "/a\0b"], ids=ascii
)
def test_a_path_of_request_forges_nothing(server, safety_session, path):
    with safety_client(server, session=safety_session) as client:
        with contextlib.suppress(openai_mini.OpenAIError):
            client.request("GET", path)
    for request in server.requests:
        assert "x" not in request.headers and request.version == "HTTP/1.1"
        assert request.target.isprintable() and request.target.isascii()


def test_query_values_are_encoded(server):
    with safety_client(server, default_query={"a": "1&b=2"}) as client:
        client.request("GET", "/models", params={"c": "x\r\nX-Evil: 1 #", "d[]": ["ä", "&"]})
    query = server.requests[0].query
    assert query == {"a": "1&b=2", "c": "x\r\nX-Evil: 1 #", "d[][]": ["ä", "&"]} or "d[]" in query
    assert query["c"] == "x\r\nX-Evil: 1 #"


def test_control_characters_of_a_server_are_in_no_message(server, capfd):
    evil = "\x1b[31m\x07\x9b2J\u202e\r\n\0"
    for status in (400, 200):
        server.script(Answer(status, json={"error": {"message": "a" + evil + "b", "code": evil}}))
        server.script(Answer(status, body="a" + evil, content_type="text/html"))
        with safety_client(server, max_retries=0, debug=True) as client:
            for _ in range(2):
                with pytest.raises(openai_mini.APIError) as caught:
                    client.chat("hi")
                assert str(caught.value).isprintable(), ascii(str(caught.value))
    told = "".join(capfd.readouterr())
    assert not [char for char in told if not char.isprintable() and char != "\n"], ascii(told)


# TLS and the way there


def test_a_server_with_a_certificate_of_its_own_is_refused_with_advice_and_once(
    tls_server, safety_session
):
    with safety_client(tls_server, session=safety_session, max_retries=3) as client:
        with pytest.raises(openai_mini.APIConnectionError) as caught:
            client.chat("hi")
    assert "certificate" in str(caught.value) and "verify=" in str(caught.value)
    assert "after 1 attempt" in str(caught.value)
    assert tls_server.connections == 1 and not tls_server.requests


def test_a_certificate_named_by_verify_is_trusted(tls_server, safety_session):
    with safety_client(tls_server, session=safety_session, verify=tls_server.cert_path) as client:
        assert client.chat("hi").content == "hello"
        assert "".join(piece.content for piece in client.stream_chat("hi")) == "hello"
    with safety_client(tls_server, session=safety_session, verify=False) as client:
        assert client.chat("hi").content == "hello"
    with safety_client(tls_server, verify=False) as client:
        assert client.chat("hi").content == "hello"
        with pytest.raises(openai_mini.APIConnectionError):
            client.with_options(verify=None).chat("hi")


def test_a_certificate_of_another_host_is_refused(tls_server, monkeypatch):
    here = socket.getaddrinfo("127.0.0.1", tls_server.port, 0, socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: here)
    url = "https://elsewhere.invalid:%d/v1" % tls_server.port
    client = openai_mini.OpenAIMini("x", base_url=url, verify=tls_server.cert_path)
    with pytest.raises(openai_mini.APIConnectionError, match="certificate.*after 1 attempt"):
        client.chat("hi")


@pytest.mark.parametrize("name", ["CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
@pytest.mark.parametrize("value", ["", "0", "False", "/dev/null"])
def test_no_environment_variable_turns_verification_off(
    tls_server, safety_session, monkeypatch, name, value
):
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    with pytest.raises(openai_mini.OpenAIError):
        safety_client(tls_server, session=safety_session, max_retries=0).chat("hi")
    assert not tls_server.requests


def test_a_bundle_of_the_environment_is_used_and_verify_wins_over_it(
    tls_server, safety_session, monkeypatch
):
    for name in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        with monkeypatch.context() as patched:
            patched.setenv(name, tls_server.cert_path)
            assert safety_client(tls_server, session=safety_session).chat("hi").content == "hello"
            fresh = (
                safety_session and requests.Session()
            )  # before 2.32 a connection forgets its verify
            with pytest.raises(openai_mini.APIConnectionError):
                safety_client(tls_server, session=fresh, verify=requests.certs.where()).chat("hi")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", requests.certs.where())
    fresh = safety_session and requests.Session()
    client = safety_client(tls_server, session=fresh, verify=tls_server.cert_path)
    assert client.chat("hi").content == "hello"


def test_a_bundle_that_is_missing_is_named(tls_server, safety_session, monkeypatch):
    client = safety_client(tls_server, session=safety_session, verify="/no/such/bundle.pem")
    with pytest.raises((openai_mini.OpenAIError, OSError), match="/no/such/bundle.pem"):
        client.chat("hi")


def test_the_proxies_of_the_environment_are_used(server, tls_server, safety_session, monkeypatch):
    with Proxy(server) as plain, Proxy(tls_server) as tunnel:
        monkeypatch.setenv("HTTP_PROXY", plain.url.replace("//", "//us%40er:pa%3Ass@"))
        monkeypatch.setenv("http_proxy", plain.url.replace("//", "//us%40er:pa%3Ass@"))
        monkeypatch.setenv("https_proxy", tunnel.url)
        client = openai_mini.OpenAIMini(
            KEY, base_url="http://far.invalid/v1", session=safety_session
        )
        assert client.chat("hi").content == "hello"
        assert "".join(piece.content for piece in client.stream_chat("hi")) == "hello"
        with safety_client(
            tls_server, session=safety_session, verify=tls_server.cert_path
        ) as secure:
            assert secure.chat("hi").content == "hello"
        assert plain.asked[0].target == "http://far.invalid/v1/chat/completions"
        assert plain.asked[0].headers["proxy-authorization"] == "Basic dXNAZXI6cGE6c3M="
        assert tunnel.asked[0].method == "CONNECT"
        assert KEY not in repr(tunnel.asked[0].headers)
        assert server.requests[0].headers["host"] == "far.invalid"
        assert "proxy-authorization" not in server.requests[0].headers
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        safety_client(server, session=safety_session).chat("hi")
        assert len(plain.asked) == 2 and len(server.requests) == 3


def test_a_proxy_that_refuses_is_an_error_that_names_the_proxy(
    tls_server, monkeypatch, safety_session
):
    with LoopbackServer() as grumpy:
        grumpy.default = Answer(407, close=True)
        monkeypatch.setenv("https_proxy", grumpy.origin)
        with pytest.raises(openai_mini.APIConnectionError, match="(?i)proxy"):
            safety_client(tls_server, session=safety_session, verify=tls_server.cert_path).chat(
                "hi"
            )
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:%d" % grumpy.port)
    with pytest.raises(openai_mini.APIConnectionError, match="(?i)proxy"):
        safety_client(tls_server, session=safety_session, verify=tls_server.cert_path).chat("hi")
    assert not tls_server.requests


@pytest.mark.parametrize("secure", [False, True], ids=["http:", "https:"])
def test_a_proxy_spoken_to_by_tls_is_verified_as_the_server_is(
    server, tls_server, monkeypatch, safety_session, secure
):
    target = tls_server if secure else server
    checks = secure or not safety_session  # requests checks no proxy that is asked for http:
    with TlsProxy(target) as proxy:
        monkeypatch.setenv("https_proxy" if secure else "http_proxy", proxy.url)
        url = target.url.replace("127.0.0.1", "localhost")
        given = {"base_url": url, "session": safety_session, "max_retries": 0}
        if checks:
            with pytest.raises(openai_mini.APIConnectionError, match="certificate"):
                safety_client(target, **given).chat("hi")
        assert not proxy.asked
        fresh = safety_session and requests.Session()
        given.update(session=fresh, verify=tls_server.cert_path)
        with safety_client(target, **given) as client:
            assert client.chat("hi").content == "hello"
            assert "".join(piece.content for piece in client.stream_chat("hi")) == "hello"
    assert {request.method for request in proxy.asked} == {"CONNECT" if secure else "POST"}
    assert len(target.requests) == 2


@pytest.mark.parametrize("secure", [False, True], ids=["http:", "https:"])
def test_closing_a_stream_through_a_tls_proxy_ends_it_at_both(
    server, tls_server, monkeypatch, secure
):
    target = tls_server if secure else server
    target.script(Answer(sse=chunks("a", "b"), wait=threading.Event(), hold_after=1))
    with TlsProxy(target) as proxy:
        monkeypatch.setenv("https_proxy" if secure else "http_proxy", proxy.url)
        with safety_client(target, verify=tls_server.cert_path) as client, nothing_left_over():
            with client.stream_chat("hi") as stream:
                next(stream)
                reader = threading.Thread(target=list, args=(stream,), daemon=True)
                reader.start()
                stream.close()
                reader.join(5)
                assert not reader.is_alive()
            target.wait_closed()
            proxy.wait_for(lambda: not proxy.open_connections)
    assert stream.stats["chunks"] == 1


def test_a_session_keeps_its_adapters_hooks_proxies_and_verify(server, tls_server):
    class Adapter(requests.adapters.HTTPAdapter):
        sent = 0

        def send(self, *args, **kwargs):
            Adapter.sent += 1
            return super().send(*args, **kwargs)

    heard = []
    with requests.Session() as session, Proxy(server) as proxy:
        session.mount("http://", Adapter())
        session.hooks["response"].append(
            lambda answer, **kw: heard.append((answer.status_code, answer.text[:1]))
        )
        session.proxies["http"] = proxy.url
        session.headers["x-mine"] = "1"
        session.headers["authorization"] = "Bearer other"
        session.cookies.set("a", "b")
        session.params["p"] = "q"
        session.verify = tls_server.cert_path
        session.auth = ("user", "password")
        client = safety_client(server, session=session)
        assert client.chat("hi").content == "hello"
        assert "".join(piece.content for piece in client.stream_chat("hi")) == "hello"
        assert safety_client(tls_server, session=session).chat("hi").content == "hello"
    first = server.requests[0]
    assert Adapter.sent == 2 and len(proxy.asked) == 2 and heard[0] == (200, "{")
    assert first.headers["x-mine"] == "1" and first.headers["cookie"] == "a=b"
    assert first.headers["authorization"] == "Bearer " + KEY and first.query == {"p": "q"}


# Exhaustion


def safety_bomb(block: bytes, blocks: int):
    """gzip that grows a thousandfold: `block` filled up to 1 MiB, as often as asked for."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    packed = packer.compress((block * (1 << 20))[: 1 << 20]) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(blocks):
        yield packed


def safety_peak(work) -> int:
    """The most bytes that Python had allocated beyond what it had before."""
    import tracemalloc

    tracemalloc.start()
    try:
        with contextlib.suppress(openai_mini.OpenAIError):
            work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "status, kind, limit, block",
    [
        (200, "application/json", "MAX_BODY_BYTES", b"["),
        (200, "text/plain", "MAX_BODY_BYTES", b"x"),
        (400, "application/json", "MAX_ERROR_BYTES", b" "),
        (500, "text/html", "MAX_ERROR_BYTES", b"<"),
        (200, "text/event-stream", "MAX_EVENT_BYTES", b"x"),
        (200, "text/event-stream", "MAX_EVENT_BYTES", b":"),
        (200, "text/event-stream", "MAX_EVENT_BYTES", b"data:\n"),
    ],
    ids=lambda value: str(value)[:16],
)
def test_a_gzip_bomb_stops_at_a_limit_that_has_a_name(
    server, monkeypatch, status, kind, limit, block
):
    """1 MiB on the wire is 1 GiB; the limits are lowered so that this is quick."""
    monkeypatch.setattr(openai_mini, limit, (1 if limit == "MAX_EVENT_BYTES" else 4) << 20)
    bomb = list(safety_bomb(block, 1024))
    assert sum(map(len, bomb)) < 5 << 20
    server.default = Answer(
        status,
        pieces=lambda: iter(bomb),
        framing="close",
        content_type=kind,
        headers={"content-encoding": "gzip"},
    )
    ended = []

    def ask():
        try:
            list(client.stream_chat("hi")) if "event" in kind else client.request("POST", "/x")
        except openai_mini.APIError as error:
            ended.append(error)
            raise

    with safety_client(server, max_retries=0) as client:
        peak = safety_peak(ask)
    (error,) = ended
    assert len(str(error)) < 800
    assert peak < 32 << 20, "%d MiB" % (peak >> 20)
    if status == 200:
        assert isinstance(error, openai_mini.APIResponseError) and "bytes" in str(error)
    else:
        assert error.status_code == status


def test_transfer_chunks_and_trailers_without_end_stop(server):
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    for endless in (b"0" * 1000, b"5;ext=" + b"x" * 1000, b"0\r\n" + b"X: y\r\n" * 200):
        server.default = Answer(raw=[head, endless] + [endless[-900:]] * 2000)
        with safety_client(server, max_retries=0) as client, pytest.raises(openai_mini.APIError):
            client.chat("hi")


def test_heads_without_end_stop(server):
    for endless in (
        b"HTTP/1.1 200 " + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 5000,
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 100_000,
        b"HTTP/1.1 103 Hints\r\n\r\n" * 50_000,
    ):
        server.default = Answer(raw=endless)
        with safety_client(server, max_retries=0) as client:
            with pytest.raises(openai_mini.APIError) as caught:
                client.chat("hi")
        assert len(str(caught.value)) < 800


@pytest.mark.parametrize(
    "page",
    [
        {
            "body": "<html><title>Down</title>" + "<p>x</p>" * (10 << 17),
            "content_type": "text/html",
        },
        {"json": {"error": {"message": "m" * (10 << 20)}}},
        {"body": "<" * (10 << 20)},
        {"json": {"detail": [{"msg": "x" * 100, "loc": ["a"] * 1000}] * 500}},
        {"body": " " * (10 << 20)},
        {"body": b"\xff" * (10 << 20)},
        {"json": ["x"] * (1 << 20)},
        {"json": {"error": {"code": "c" * (10 << 20)}}},
    ],
    ids=lambda page: str(page)[:40],
)
def test_error_pages_of_10_mib_give_short_messages(server, page):
    server.default = Answer(502, **page)
    with safety_client(server, max_retries=0) as client:
        with pytest.raises(openai_mini.InternalServerError) as caught:
            client.chat("hi")
    assert len(str(caught.value)) < 800
    if "html" in str(page.get("content_type")):
        assert "Down" in str(caught.value)


# The surroundings


def test_nothing_is_read_from_the_working_directory(server, tmp_path):
    """An audit hook sees each file that is opened, also by a relative path."""
    for name in (
        ".env",
        ".netrc",
        "openai.toml",
        "setup.cfg",
        "cacert.pem",
        "requests.py",
        "json.py",
    ):
        (tmp_path / name).write_text("raise SystemExit('read')")
    script = textwrap.dedent("""
        import os, sys
        sys.path[:] = [{module!r}] + [path for path in sys.path if path not in ("", os.getcwd())]
        here, opened = os.getcwd(), []
        def hook(event, args):
            if event in ("open", "os.listdir", "os.scandir") and isinstance(args[0], (str, bytes)):
                opened.append(os.path.abspath(os.fsdecode(args[0])))
        sys.addaudithook(hook)
        import openai_mini
        with openai_mini.OpenAIMini("sk", base_url={url!r}) as client:
            client.chat("hi"), list(client.stream_chat("hi")), client.upload_file(b"ID3")
        print([path for path in opened if path.startswith(here)])
    """).format(module=os.path.dirname(os.path.abspath(openai_mini.__file__)), url=server.url)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=str(tmp_path),
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        timeout=60,
    )
    assert done.stdout.decode().strip() == "[]"


def test_the_source_calls_nothing_that_runs_what_it_is_given():
    import ast

    with open(openai_mini.__file__, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    called = {ast.dump(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for name in ("eval", "exec", "compile", "system", "popen", "load_module"):
        assert not [call for call in called if "'%s'" % name in call and "'re'" not in call]
    words = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not words & {"loads"} or "pickle" not in {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }


# ------------------------------------------------------------------------------------------------
# Offline
#
# base_url="echo:" answers in the process.


@pytest.fixture
def echo():
    with openai_mini.OpenAIMini(base_url="echo:") as client:
        yield client


def offline_python(script: str, *args: str, **env: str) -> str:
    """What a script prints in a fresh interpreter that has the module and no key."""
    folder = os.path.dirname(os.path.abspath(openai_mini.__file__))
    env = dict(os.environ, PYTHONPATH=folder, **env)
    run = subprocess.run(
        [sys.executable, "-c", script] + list(args), env=env, capture_output=True, timeout=60
    )
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout.decode()


def test_chat_echoes_the_last_user_message(echo):
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "user", "content": "second  line\n"},
        {"role": "assistant", "content": "aye"},
    ]
    result = echo.chat(messages)
    assert result.content == "second  line\n" and result.finish_reason == "stop"
    assert result.usage.total_tokens == result.usage.prompt_tokens + result.usage.completion_tokens
    assert echo.chat("Hello", model="m").model == "m"


def test_chat_echoes_the_text_of_parts(echo):
    parts = [{"type": "text", "text": "what is"}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert "what is" in echo.chat([{"role": "user", "content": parts}]).content


@pytest.mark.parametrize(
    "text", ["Hello, big world", " leading", "trailing \n\n", "one", "a\u2028b", "größe 😀", " "]
)
def test_a_stream_is_real_event_stream_bytes_through_the_real_parser(echo, text):
    with echo.stream_chat(text) as stream:
        pieces = [chunk.content for chunk in stream]
    assert "".join(pieces) == stream.content == text
    assert len([piece for piece in pieces if piece]) == max(len(text.split()), 1)
    assert (stream.finish_reason, stream.message.role) == ("stop", "assistant")
    assert stream.response.headers["content-type"].startswith("text/event-stream")
    assert stream.usage.total_tokens is not None and stream.stats["chunks"] == len(pieces)


def test_embeddings_are_unit_vectors_that_depend_on_the_text_alone(echo):
    one, two, again = echo.embedding(["a", "b", "a"])
    assert one == again != two and len(one) == len(two) > 1
    assert math.isclose(sum(x * x for x in one), 1, rel_tol=1e-6)
    assert echo.embedding("a") == [one]
    other = openai_mini.OpenAIMini(base_url="echo:", api_key="sk-other")
    assert other.embedding("a") == [one]
    assert len(echo.embedding([str(i) for i in range(5000)])) == 5000
    assert len(echo.embedding([[1, 2], [3]])) == 2


def test_every_endpoint_of_the_table_gives_a_small_valid_answer(echo, tmp_path):
    assert echo.list_models() == ["echo"]
    assert echo.health()["ok"] is True and echo.health()["models"] == 1
    result = echo.moderation("x").results[0]
    assert result.flagged is False and result.categories.violence is False
    for image in (echo.generate_image("x"), echo.edit_image(b"\x89PNG...", "x")):
        (path,) = image.save(tmp_path)
        assert path.endswith(".png") and open(path, "rb").read().startswith(b"\x89PNG")
    assert isinstance(echo.text_to_speech("x"), bytes) and echo.text_to_speech("x")
    to = tmp_path / "speech.mp3"
    assert echo.text_to_speech("x", to=to) == to.stat().st_size > 0
    for method in (echo.transcribe_audio, echo.translate_audio):
        assert method(b"ID3").text and str(method(b"ID3", response_format="text"))
    file = echo.upload_file(b"{}", purpose="batch")
    assert file.id and file.object == "file"
    assert isinstance(echo.download_file(file.id), bytes)
    assert echo.download_file(file.id, tmp_path / "out") > 0
    assert echo.request("POST", "/anything", json={"a": 1})
    assert echo.run_tools("hi", []).content == "hi"


def test_the_officials_shape_works_offline_too(echo):
    create = echo.chat.completions.create
    messages = [{"role": "user", "content": "hey"}]
    assert create(model="m", messages=messages).choices[0].message.content == "hey"
    pieces = [c.choices[0].delta.content for c in create(model="m", messages=messages, stream=True)]
    assert "".join(filter(None, pieces)) == "hey"
    assert [model.id for model in echo.models.list()] == ["echo"]


def test_submit_map_stats_and_events_work_offline(echo):
    assert [r.content for r in echo.map("chat", ["a", "b"])] == ["a", "b"]
    assert echo.submit("chat", "c").result(10).content == "c"
    seen = []
    echo.with_options(on_event=seen.append).chat("d")
    assert [event["event"] for event in seen] == ["request", "response"]
    assert echo.stats()["requests"] == echo.stats()["succeeded"] == 4
    assert echo.stats()["tokens"]["total"] > 0


def test_a_client_with_a_base_url_leaves_the_echo(echo, server):
    assert echo.with_options(base_url=server.url).chat("x").content == "hello"
    assert echo.chat("x").content == "x" and len(server.requests) == 1


def test_the_environment_can_say_echo(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "echo:")
    assert openai_mini.OpenAI().chat("hi").content == "hi"
    assert openai_mini.OpenAI(api_key="sk-x", model="m").chat("hi").model == "m"


def test_it_closes_pickles_and_copies_like_any_client(echo):
    import pickle

    assert pickle.loads(pickle.dumps(echo)).chat("hi").content == "hi"
    assert echo.copy().chat("hi").content == "hi"
    echo.close()
    echo.close()


def test_validation_is_as_everywhere(echo):
    with pytest.raises(openai_mini.ValidationError):
        echo.chat([])


def test_nothing_of_the_network_is_imported_or_opened():
    script = (
        "import sys, socket\n"
        "def refuse(*args, **kw): raise SystemExit('a socket was made')\n"
        "socket.socket.__init__ = refuse\n"
        "import openai_mini\n"
        "client = openai_mini.OpenAIMini(base_url='echo:')\n"
        "print(client.chat('hi').content, client.list_models(), len(client.embedding('a')))\n"
        "with client.stream_chat('a b') as stream: print([c.content for c in stream])\n"
        "print(sorted({'requests', 'urllib3', 'ssl'} & set(sys.modules)))\n"
    )
    lines = offline_python(script).splitlines()
    assert lines[0] == "hi ['echo'] 1" and "'a', ' b'" in lines[1] and lines[2] == "[]"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_it_works_in_a_forked_child():
    script = (
        "import os, openai_mini\n"
        "client = openai_mini.OpenAIMini(base_url='echo:')\n"
        "client.chat('hi')\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    os._exit(0 if client.chat('child').content == 'child' else 3)\n"
        "print(os.waitpid(pid, 0)[1])\n"
    )
    assert offline_python(script) == "0\n"


def test_the_answer_to_anything_else_says_what_was_asked(echo):
    assert echo.request("POST", "/things", json={"a": [1]}).echo == {"a": [1]}
    assert echo.request("GET", "/things?x=1", params={"y": 2})
    assert json.loads(echo.request("POST", "/things", json={"a": 1}).to_json())


# ------------------------------------------------------------------------------------------------
# Cli
#
# The command line, in this process, as a process of its own, and on a terminal.


CLI_FILE = os.path.abspath(openai_mini.__file__)
CLI_COMMANDS = "chat embed image speak transcribe translate moderate upload download models health"
CLI_COMMANDS = (CLI_COMMANDS + " request").split()


class CliInput(io.TextIOWrapper):
    """A standard input with these bytes, or a terminal."""

    def __init__(self, content=b"", tty=False):
        super().__init__(io.BytesIO(content), encoding="utf-8")
        self.tty = tty

    def isatty(self):
        return self.tty


@pytest.fixture
def cli(monkeypatch, capfdbinary):
    """cli(*argv, piped=None) -> (exit code, stdout, stderr) of main(argv)."""

    def run(*argv, piped=None):
        stdin = CliInput(tty=True) if piped is None else CliInput(piped)
        monkeypatch.setattr(sys, "stdin", stdin)
        code = openai_mini.main([str(word) for word in argv])
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
    return dict(kept, PYTHONIOENCODING="utf-8", **more)


def cli_process(*argv, piped=None, timeout=60, **options):
    """The finished process of the file, run as a script."""
    options.setdefault("env", cli_env())
    if piped is None:
        options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(
        [sys.executable, CLI_FILE] + list(argv),
        input=piped,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=timeout,
        **options,
    )


def cli_terminal(*argv, typed=b"", interrupt_at=None, **env):
    """(exit code, all that a terminal shows) of the file run in a pty."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, CLI_FILE] + list(argv),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=cli_env(**env),
        start_new_session=True,
    )
    os.close(follower)
    if typed:
        os.write(leader, typed)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other end is gone
        while True:
            piece = os.read(leader, 65536)
            if not piece:
                break
            shown += piece
            if interrupt_at is not None and interrupt_at in shown:
                interrupt_at = None
                process.send_signal(signal.SIGINT)
    os.close(leader)
    return process.wait(60), shown.decode()


# chat


@pytest.mark.parametrize(
    "argv, said",
    [
        (["Hello"], "Hello\n"),
        (["Hello", "big", "world"], "Hello big world\n"),
        (["chat", "Hello"], "Hello\n"),
        (["chat", "models"], "models\n"),
        (["--no-stream", "Hello"], "Hello\n"),
        (["Hello", "--no-stream"], "Hello\n"),
        (["-m", "m", "Hello", "-p", "temperature=1"], "Hello\n"),
        (["--", "-5 + 3"], "-5 + 3\n"),
        (["ends with a line break\n"], "ends with a line break\n"),
        (["größe 😀"], "größe 😀\n"),
    ],
)
def test_a_text_is_answered_on_stdout(cli, argv, said):
    assert cli("--offline", *argv) == (0, said, "")


def test_options_go_where_they_belong(cli, cli_server):
    argv = ["-m", "my-model", "-s", "be brief", "-p", "temperature=0.5", "-p", "user=me", "--"]
    argv[8:8] = ["-p", 'metadata={"a": "b"}', "-p", "n=2", "-p", "note=a=b"]
    assert cli(*argv, "Hello there") == (0, "hello\n", "")
    request = cli_server.requests[0]
    assert request.headers["authorization"] == "Bearer sk-secret"
    assert request.json == {
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "Hello there"},
        ],
        "model": "my-model",
        "stream": True,
        "temperature": 0.5,
        "user": "me",
        "metadata": {"a": "b"},
        "n": 2,
        "note": "a=b",
    }


def test_options_may_stand_anywhere(cli, cli_server):
    assert cli("-m", "x", "moderate", "some", "--json", "words")[0] == 0
    assert cli_server.requests[0].json == {"input": "some words", "model": "x"}


@pytest.mark.parametrize(
    "argv, piped, sent",
    [
        ([], b"all of it\n", "all of it\n"),
        (["-"], b"all of it", "all of it"),
        (["chat"], b"all of it", "all of it"),
        (["Summarise"], b"the notes", "Summarise\n\nthe notes"),
        (["Summarise:", "-"], b"the notes", "Summarise: the notes"),
        (["Hello"], b"", "Hello"),
        ([], b"\xef\xbb\xbfwith a mark", "with a mark"),
        ([], b"no \xff UTF-8", "no \ufffd UTF-8"),
    ],
)
def test_a_pipe_is_read(cli, cli_server, argv, piped, sent):
    assert cli(*argv, piped=piped)[0] == 0
    assert cli_server.requests[0].json["messages"] == [{"role": "user", "content": sent}]


def test_a_dash_reads_what_is_typed(cli, cli_server, monkeypatch):
    monkeypatch.setattr(sys, "stdin", CliInput(b"typed", tty=True))
    assert openai_mini.main(["-"]) == 0
    assert cli_server.requests[0].json["messages"][0]["content"] == "typed"


def test_json_is_the_whole_answer(cli, cli_server):
    code, out, err = cli("--json", "Hello")
    assert (code, err) == (0, "") and json.loads(out) == CHAT and out.count("\n") == 1
    assert "stream" not in cli_server.requests[0].json


def test_an_image_is_attached(cli, cli_server, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8\xff photo")
    assert cli("-a", path, "-a", "https://x.test/y.png", "What is this?")[0] == 0
    text, photo, link = cli_server.requests[0].json["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is this?"}
    data = "data:image/jpeg;base64," + base64.b64encode(b"\xff\xd8\xff photo").decode()
    assert photo == {"type": "image_url", "image_url": {"url": data}}
    assert link == {"type": "image_url", "image_url": {"url": "https://x.test/y.png"}}


def test_a_schema_file_shapes_the_answer(cli, cli_server, tmp_path):
    path = tmp_path / "schema.json"
    path.write_text('{"type": "object", "title": "T"}')
    answer = dict(CHAT, choices=[{"message": {"role": "assistant", "content": '{"a": 1}'}}])
    cli_server.script(Answer(json=answer))
    assert cli("--schema", path, "Hello") == (0, '{"a": 1}\n', "")
    sent = cli_server.requests[0].json["response_format"]["json_schema"]
    assert sent["schema"] == {"type": "object", "title": "T"}


# The other commands

CLI_ROWS = [
    (["embed", "text"], "/v1/embeddings", {"input": ["text"]}, "[1.0, 2.0]\n"),
    (["moderate", "some", "words"], "/v1/moderations", {"input": "some words"}, '"violence": true'),
    (["models"], "/v1/models", None, "m-1\nm-2\n"),
    (["download", "file-1"], "/v1/files/file-1/content", None, None),
    (["request", "GET", "/models"], "/v1/models", None, None),
    (["request", "post", "/x", "-p", "a=1", "-m", "m"], "/v1/x", {"a": 1}, None),
    (["request", "POST", "/x", '{"a": 2}'], "/v1/x", {"a": 2}, None),
]


def cli_answers(request):
    data = [{"id": "m-1", "index": 0, "embedding": [1.0, 2.0]}, {"id": "m-2"}]
    data = data[:1] if request.path.endswith("embeddings") else data
    flagged = {"flagged": True, "categories": {"violence": True, "hate": False}}
    return Answer(json={"object": "list", "data": data, "results": [flagged], "id": "x-1"})


@pytest.mark.parametrize("argv, path, body, out", CLI_ROWS, ids=[" ".join(r[0]) for r in CLI_ROWS])
@pytest.mark.parametrize("as_json", [False, True])
def test_each_command_calls_its_method(cli, cli_server, argv, path, body, out, as_json):
    cli_server.default = cli_answers
    code, shown, err = cli(*argv, *(["--json"] if as_json else []))
    assert (code, err) == (0, "")
    request = cli_server.requests[0]
    assert request.path == path
    if body is not None:
        assert dict(request.json, **body) == request.json
    if as_json:
        json.loads(shown)
    elif out is not None:
        assert out in shown


def test_a_get_by_request_has_its_parameters_in_the_query(cli, cli_server):
    assert cli("request", "GET", "/files", "-p", "limit=2", "-p", "after=x")[0] == 0
    request = cli_server.requests[0]
    assert request.query == {"limit": "2", "after": "x"} and not request.body


def test_request_reads_its_body_from_a_pipe(cli, cli_server):
    assert cli("request", "POST", "/x", "-", piped=b'{"a": [1]}')[0] == 0
    assert cli_server.requests[0].json == {"a": [1]}
    assert cli("request", "POST", "/x", "-", piped=b"no json")[0] == 2
    assert len(cli_server.requests) == 1


def test_images_are_saved_and_their_paths_printed(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("--offline", "image", "a", "cat")
    assert (code, err) == (0, "") and (tmp_path / out.strip()).read_bytes()[1:4] == b"PNG"
    (tmp_path / "folder").mkdir()
    code, out, _ = cli("--offline", "image", "a cat", "-o", tmp_path / "folder")
    assert os.path.dirname(out.strip()) == str(tmp_path / "folder")
    assert json.loads(cli("--offline", "image", "a cat", "--json")[1])["data"]


def test_speech_and_downloads_go_to_a_file_or_to_a_pipe(cli, tmp_path):
    for command in (["speak", "good", "day"], ["download", "file-1"]):
        path = tmp_path / command[0]
        code, out, err = cli("--offline", *command, "-o", path)
        assert (code, out, err) == (0, "%s\n" % path, "") and path.read_bytes()
        code, out, err = cli("--offline", *command)
        assert (code, out.encode(), err) == (0, path.read_bytes(), "")


@pytest.mark.parametrize("command", ["transcribe", "translate"])
def test_audio_becomes_text(cli, cli_server, tmp_path, command):
    cli_server.default = Answer(json={"text": "hello there"})
    path = tmp_path / "talk.mp3"
    path.write_bytes(b"ID3 talk")
    assert cli(command, path, "-p", "language=en", "-m", "m") == (0, "hello there\n", "")
    assert cli(command, "-", piped=b"ID3 talk")[:2] == (0, "hello there\n")
    assert json.loads(cli(command, path, "--json")[1]) == {"text": "hello there"}
    files = [[p for p in r.parts if p.filename][0] for r in cli_server.requests]
    assert [(f.filename, f.body) for f in files[:2]] == [
        ("talk.mp3", b"ID3 talk"),
        ("file.mp3", b"ID3 talk"),
    ]
    fields = {p.name: p.body for p in cli_server.requests[0].parts}
    assert (fields["language"], fields["model"]) == (b"en", b"m")


def test_an_upload_prints_its_id(cli, cli_server, tmp_path):
    cli_server.default = Answer(json={"id": "file-7", "object": "file"})
    path = tmp_path / "b.jsonl"
    path.write_bytes(b"{}\n")
    assert cli("upload", path, "-p", "purpose=batch") == (0, "file-7\n", "")
    fields = {p.name: p.body for p in cli_server.requests[0].parts}
    assert fields == {"purpose": b"batch", "file": b"{}\n"}


def test_health_says_so_by_its_exit_code(cli, cli_server):
    code, out, err = cli("health")
    assert (code, err) == (0, "") and json.loads(out)["ok"] is True
    cli_server.default = Answer(500, body="broken")
    code, out, err = cli("health")
    assert code == 1 and json.loads(out)["ok"] is False and err.count("\n") <= 1


def test_moderate_is_a_line_of_json_for_each_input(cli):
    code, out, err = cli("--offline", "moderate", "x")
    assert (code, err) == (0, "") and json.loads(out)["flagged"] is False


@pytest.mark.parametrize("command", CLI_COMMANDS)
def test_every_command_works_offline(cli, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "in.mp3"
    path.write_bytes(b"ID3")
    words = {"request": ["POST", "/x"], "transcribe": [path], "translate": [path], "upload": [path]}
    takes_none = command in ("models", "health")
    code, out, err = cli("--offline", command, *words.get(command, [] if takes_none else ["text"]))
    assert (code, err) == (0, "") and out


# What goes wrong


@pytest.mark.parametrize(
    "argv, about",
    [
        ([], "text"),
        (["chat"], "text"),
        (["embed"], "text"),
        (["transcribe"], "FILE"),
        (["upload"], "FILE"),
        (["download"], "ID"),
        (["request"], "METHOD"),
        (["request", "GET"], "PATH"),
        (["--no-such-option", "x"], "--no-such-option"),
        (["-p", "temperature", "x"], "KEY=VALUE"),
        (["-p", "=1", "x"], "KEY=VALUE"),
        (["-p", "messages=[]", "x"], "messages"),
        (["-p", "temperature=NaN", "x"], "temperature"),
        (["-m"], "-m"),
        (["--base-url", "nonsense", "x"], "base_url"),
        (["--base-url", "ftp://x", "x"], "base_url"),
        (["--base-url", "http://u:p@127.0.0.1", "x"], "base_url"),
        (["--schema", "{broken}", "x"], "{broken}"),
        (["download", ".."], "file_id"),
        (["models", "what?"], "what?"),
        (["download", "a", "b"], "b"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_usage_error_is_one_line_and_2(cli, cli_server, tmp_path, argv, about):
    broken = tmp_path / "broken.json"
    broken.write_text("{broken")
    argv = [str(broken) if word == "{broken}" else word for word in argv]
    code, out, err = cli(*argv)
    assert (code, out) == (2, "") and err.startswith("openai-mini: ") and err.count("\n") == 1
    assert (about if about != "{broken}" else "broken.json") in err
    assert "Traceback" not in err and not cli_server.requests and "u:p" not in err


def test_no_key_names_the_three_ways_on(cli):
    code, out, err = cli("Hello")
    assert (code, out) == (2, "") and err.count("\n") == 1
    for way in ("OPENAI_API_KEY", "--base-url", "--offline"):
        assert way in err


def test_a_key_that_no_header_can_hold_is_not_printed(cli, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-sec\nret")
    code, out, err = cli("Hello")
    assert (code, out) == (2, "") and "sk-" not in err and err.count("\n") == 1


def test_a_wrong_key_is_one_line_and_1(cli, cli_server):
    said = "Incorrect API key: sk-secret\nx\x1b[2J"
    said = {"error": {"message": said, "code": "invalid_api_key"}}
    cli_server.default = Answer(401, json=said)
    for command in CLI_COMMANDS:
        words = {"request": ["GET", "/x"]}.get(command, ["text"])
        words = [] if command in ("models", "health") else words
        words = [CLI_FILE] if command in ("transcribe", "translate", "upload") else words
        code, out, err = cli(command, *words)
        assert code == 1 and "API key" in err + out and "sk-secret" not in err + out
        assert err.count("\n") == 1 and err.startswith("openai-mini: ") and "\x1b" not in err


def test_a_wrong_url_is_one_line_and_1(cli, cli_server):
    cli_server.default = Answer(404, body="<html><title>Nope</title>")
    code, out, err = cli("models")
    assert (code, out) == (1, "") and "base_url" in err and err.count("\n") == 1
    code, out, err = cli("--base-url", "http://127.0.0.1:1/v1", "-p", "max_retries=0", "Hi")
    assert (code, out) == (1, "") and "POST /chat/completions" in err and err.count("\n") == 1


def test_a_missing_file_is_one_line_and_1(cli, cli_server, tmp_path):
    missing = str(tmp_path / "missing.mp3")
    for argv in (["transcribe", missing], ["upload", missing], ["-a", missing, "x"]):
        code, out, err = cli(*argv)
        assert (code, out) == (1, "") and "missing.mp3" in err and err.count("\n") == 1
    code, out, err = cli("--schema", missing, "x")
    assert code in (1, 2) and "missing.mp3" in err and err.count("\n") == 1
    assert cli("download", "file-1", "-o", str(tmp_path / "no" / "where"))[0] == 1


def test_a_stream_that_is_cut_prints_what_came_and_1(cli, cli_server):
    cli_server.script(Answer(sse=chunks("half an ", "answer", finish=None), done=False))
    code, out, err = cli("Hello")
    assert code == 1 and out == "half an answer\n" and err.count("\n") == 1


def test_help_shows_commands_and_samples(cli):
    code, out, err = cli("--help")
    assert (code, err) == (0, "") and "samples" in out.lower()
    assert 'openai-mini "' in out and "| openai-mini -s" in out
    for name in CLI_COMMANDS + ["--offline", "--schema", "--json", "--no-stream", "--verbose"]:
        assert name in out
    assert cli("-h")[0] == 0 and max(map(len, out.splitlines())) <= 100


def test_version_is_told(cli):
    assert cli("--version") == (0, "openai-mini %s\n" % openai_mini.__version__, "")


def test_verbose_is_a_line_for_each_attempt_on_stderr_without_the_key(cli_server):
    cli_server.script(Answer(500, body="no", headers={"retry-after": "0"}))
    env = cli_env(OPENAI_BASE_URL=cli_server.url, OPENAI_API_KEY="sk-secret")
    run = cli_process("--verbose", "Hello", env=env)
    assert (run.returncode, run.stdout) == (0, b"hello\n")
    assert run.stderr.count(b"/chat/completions") >= 3 and b"sk-secret" not in run.stderr


def test_the_base_url_option_wins_over_the_environment(cli, server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert cli("--base-url", server.url, "Hello") == (0, "hello\n", "")
    assert "authorization" not in server.requests[0].headers


# As a process


def test_it_runs_as_a_script_and_as_a_module():
    assert cli_process("--offline", "Hello").stdout == b"Hello\n"
    run = subprocess.run(
        [sys.executable, "-m", "openai_mini", "--offline", "Hello"],
        cwd=os.path.dirname(CLI_FILE),
        env=cli_env(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=60,
    )
    assert (run.returncode, run.stdout) == (0, b"Hello\n")


def test_a_pipe_goes_through_a_process():
    run = cli_process("--offline", "-s", "Summarise", piped="die Größe\n".encode())
    assert (run.returncode, run.stdout.decode(), run.stderr) == (0, "die Größe\n", b"")
    run = cli_process("--offline", "Summarise", piped=b"notes")
    assert run.stdout == b"Summarise\n\nnotes\n"


def test_usage_errors_and_missing_keys_exit_with_2():
    for argv in (["--nonsense"], ["Hello"], ["upload"]):
        run = cli_process(*argv)
        assert run.returncode == 2 and run.stderr.count(b"\n") == 1 and not run.stdout


def test_an_output_that_cannot_show_a_letter_still_gets_the_rest(server):
    server.default = Answer(sse=[chunk({"content": "a\ud800b€"}), chunk({}, "stop")])
    for encoding in ("ascii", "latin-1", "utf-8"):
        env = dict(cli_env(OPENAI_BASE_URL=server.url), PYTHONIOENCODING=encoding)
        run = cli_process("Hello", env=env)
        assert run.returncode == 0 and run.stdout.startswith(b"a?b"), run


def test_a_closed_pipe_is_quiet(server):
    server.default = Answer(sse=chunks(*["word " * 1000] * 200))
    process = subprocess.Popen(
        [sys.executable, CLI_FILE, "--base-url", server.url, "Hello"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=cli_env(),
    )
    assert process.stdout.read(4) == b"word"
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait(60) in (0, 141)
    process.stderr.close()
    server.wait_for(lambda: not server.in_flight and not server.open_connections)


@pytest.mark.parametrize("argv", [["--help"], ["Hello"], ["embed", "x"], ["speak", "x"]])
def test_a_pipe_that_was_closed_from_the_start_is_quiet_too(argv):
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [sys.executable, CLI_FILE, "--offline"] + argv,
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
        env=cli_env(),
    )
    os.close(writing)
    assert process.communicate(timeout=60)[1] == b"" and process.returncode in (0, 141)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line_and_1():
    with open("/dev/full", "wb") as full:
        run = subprocess.run(
            [sys.executable, CLI_FILE, "--offline", "Hello"],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            env=cli_env(),
            timeout=60,
        )
    assert run.returncode == 1 and run.stderr.count(b"\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="signals differ")
def test_ctrl_c_is_130_and_quiet_wherever_it_comes(server):
    go = threading.Event()
    server.default = lambda request: Answer(sse=chunks("a", "b"), wait=go, hold_after=held.pop())
    held = [None, 1]
    for shown in (b"a", b""):
        process = subprocess.Popen(
            [sys.executable, CLI_FILE, "--base-url", server.url, "Hello"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=cli_env(),
        )
        server.wait_for(lambda: server.in_flight == 1)
        assert process.stdout.read(len(shown)) == shown
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130 and b"Traceback" not in err and err.count(b"\n") <= 1
        server.wait_for(lambda: not server.in_flight)
    go.set()


# On a terminal


def test_a_terminal_shows_the_answer_as_it_arrives():
    code, shown = cli_terminal("--offline", "Hello big world")
    assert (code, shown) == (0, "Hello big world\r\n")


def test_control_characters_of_a_server_never_reach_a_terminal_raw(server):
    evil = "a\x1b]0;title\x07b\x9b31mc\r\x08\x7f\u202e\u2066d\te\u00a0f\u200d\n"
    answer = [chunk({"content": evil}), chunk({}, "stop")]
    server.default = lambda request: (
        Answer(sse=answer)
        if request.path.endswith("completions")
        else Answer(
            json={"object": "list", "data": [{"id": evil}], "text": evil, "id": evil},
            headers={"x-request-id": "x"},
        )
        if "content" not in request.path
        else Answer(body=evil.encode())
    )
    url = ["--base-url", server.url]
    for argv in (
        ["hi"],
        ["models"],
        ["transcribe", CLI_FILE],
        ["upload", CLI_FILE],
        ["request", "GET", "/x"],
        ["request", "GET", "/x", "--json"],
        ["download", "file-1"],
        ["health"],
    ):
        code, shown = cli_terminal(*(url + argv))
        assert code == 0, shown
        rest = shown.replace("\r\n", "\n").replace("\x1b[K", "")
        rest = re.sub(r"\d+ bytes[^\r]*\r", "", rest)
        assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u202e\u2066]", rest), (argv, shown)
        if argv == ["hi"]:
            assert "\te\u00a0f\u200d" in rest, "what is no control character stays"


def test_an_error_on_a_terminal_is_plain(server):
    server.default = Answer(400, json={"error": {"message": "no\x1b[2Jwipe\x9b"}})
    code, shown = cli_terminal("--base-url", server.url, "hi")
    assert code == 1 and "\x1b[2J" not in shown and "\x9b" not in shown and "wipe" in shown


def test_progress_is_on_stderr_where_it_is_a_terminal_only(server, tmp_path):
    server.default = lambda request: (
        Answer(json={"id": "f"}) if request.body else Answer(pieces=[b"x" * 200_000] * 3)
    )
    path = tmp_path / "in.bin"
    path.write_bytes(b"x" * 600_000)
    url = ["--base-url", server.url]
    for argv in (["upload", str(path)], ["download", "file-1", "-o", str(tmp_path / "out")]):
        code, shown = cli_terminal(*(url + argv))
        assert code == 0 and "bytes" in shown and "100 %" in shown
        run = cli_process(*(url + argv))
        assert (run.returncode, run.stderr) == (0, b"")


def test_a_terminal_without_words_is_told_how_to_use_it():
    code, shown = cli_terminal("--offline")
    assert code == 2 and shown.count("\n") == 1 and "--help" in shown


def test_a_dash_reads_from_a_terminal_until_its_end():
    code, shown = cli_terminal("--offline", "-", typed=b"typed text\n\x04")
    assert code == 0 and shown.replace("\r", "").endswith("typed text\n")


def test_speech_on_a_terminal_goes_to_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, shown = cli_terminal("--offline", "speak", "good day")
    assert code == 0 and "speech.mp3" in shown and (tmp_path / "speech.mp3").read_bytes()


def test_ctrl_c_on_a_terminal_is_130(server):
    go = threading.Event()
    server.default = Answer(sse=chunks("one", "two"), wait=go, hold_after=1)
    code, shown = cli_terminal("--base-url", server.url, "hi", interrupt_at=b"one")
    go.set()
    assert code == 130 and "Traceback" not in shown


# ------------------------------------------------------------------------------------------------
# Official


OFFICIAL_IS_HERE = importlib.util.find_spec("openai") is not None
OFFICIAL_VERSION, OFFICIAL_METHODS = "3.57.0", 396  # what the module's tables were made for
OFFICIAL_MISSES = {  # the README has them too
    "realtime.calls.create": "its body is an SDP offer; Realtime is left out",
}

OFFICIAL_OPTIONS = (  # of all methods; the last two are for the method's own use
    "self extra_headers extra_query extra_body timeout output_type tool_handlers"
).split()

# Without the official package (it needs Python 3.10) this table is what is compared. Its requests
# were recorded from openai 3.57.0, a row for each kind of exception from the rule:
# attribute path, arguments, keywords, what is sent, the body.
EXPECTED_REQUESTS = [
    ("models.list", (), {}, "GET /models", None),
    ("models.retrieve", ("m:1",), {}, "GET /models/m:1", None),
    ("models.delete", (), {"model": "a b"}, "DELETE /models/a%20b", None),
    ("chat.completions.create", (), {"model": "m", "n": 2}, "POST /chat/completions",
     {"model": "m", "n": 2}),
    ("chat.completions.list", (), {"metadata": {"a": "b"}, "limit": 2},
     "GET /chat/completions?metadata%5Ba%5D=b&limit=2", None),
    ("chat.completions.messages.list", ("c/1",), {}, "GET /chat/completions/c%2F1/messages", None),
    ("batches.cancel", ("b",), {}, "POST /batches/b/cancel", None),
    ("files.content", ("f",), {}, "GET /files/f/content", None),
    ("fine_tuning.jobs.list_events", ("j",), {}, "GET /fine_tuning/jobs/j/events", None),
    ("fine_tuning.checkpoints.permissions.retrieve", ("ft:1",), {},
     "GET /fine_tuning/checkpoints/ft:1/permissions", None),
    ("fine_tuning.alpha.graders.run", (), {"grader": {}}, "POST /fine_tuning/alpha/graders/run",
     {"grader": {}}),
    ("vector_stores.files.list", ("v",), {"filter": "failed"},
     "GET /vector_stores/v/files?filter=failed", None),
    ("vector_stores.files.content", ("f",), {"vector_store_id": "v"},
     "GET /vector_stores/v/files/f/content", None),
    ("vector_stores.file_batches.list_files", ("b",), {"vector_store_id": "v"},
     "GET /vector_stores/v/file_batches/b/files", None),
    ("containers.files.content.retrieve", ("f",), {"container_id": "c"},
     "GET /containers/c/files/f/content", None),
    ("conversations.items.create", ("c",), {"items": [], "include": ["a", "b"]},
     "POST /conversations/c/items?include%5B%5D=a&include%5B%5D=b", {"items": []}),
    ("responses.input_tokens.count", (), {}, "POST /responses/input_tokens", {}),
    ("responses.cancel", ("r",), {}, "POST /responses/r/cancel", None),
    ("responses.compact", (), {"model": "m"}, "POST /responses/compact", {"model": "m"}),
    ("images.generate", (), {"prompt": "p", "user": None}, "POST /images/generations",
     {"prompt": "p", "user": None}),
    ("beta.threads.runs.create", ("t",), {"assistant_id": "a", "include": ["x"]},
     "POST /threads/t/runs?include%5B%5D=x", {"assistant_id": "a"}),
    ("beta.threads.create_and_run", (), {"assistant_id": "a"}, "POST /threads/runs",
     {"assistant_id": "a"}),
    ("beta.responses.retrieve", ("r",), {"betas": ["a", "b"]}, "GET /responses/r?beta=true", None),
    ("evals.runs.output_items.list", ("r",), {"eval_id": "e"},
     "GET /evals/e/runs/r/output_items", None),
    ("webhooks.event_types.list", (), {}, "GET /webhook_event_types", None),
    ("videos.get_character", ("c",), {}, "GET /videos/characters/c", None),
    ("realtime.calls.reject", ("c",), {}, "POST /realtime/calls/c/reject", {}),
    ("realtime.calls.hangup", ("c",), {}, "POST /realtime/calls/c/hangup", None),
    ("admin.organization.usage.costs", (), {"start_time": 1},
     "GET /organization/costs?start_time=1", None),
    ("admin.organization.usage.embeddings", (), {"start_time": 1, "models": ["m"]},
     "GET /organization/usage/embeddings?start_time=1&models%5B%5D=m", None),
    ("admin.organization.projects.rate_limits.update_rate_limit", ("r",),
     {"project_id": "p", "max_images_per_1_minute": 3},
     "POST /organization/projects/p/rate_limits/r", {"max_images_per_1_minute": 3}),
    ("admin.organization.projects.users.roles.list", ("u",), {"project_id": "p"},
     "GET /projects/p/users/u/roles", None),
    ("admin.organization.data_retention.retrieve", (), {},
     "GET /organization/data_retention", None),
]  # fmt: skip


def official_sent(request: Request) -> dict:
    """What matters of a request, as plain data."""
    kind = request.headers.get("content-type", "")
    is_form = kind.startswith("multipart/form-data;")
    body = request.body
    if is_form:
        body = request.parts
    elif kind == "application/json" and body:
        body = request.json
    return {
        "method": request.method,
        "path": request.path,
        "query": sorted(urllib.parse.parse_qsl(request.target.partition("?")[2])),
        "body": body,
        "content type": "multipart/form-data" if is_form else kind,
        "beta": request.headers.get("openai-beta"),
        "key": request.headers.get("authorization"),
    }


def official_answer(request: Request) -> Answer:
    """A small answer of the kind that was asked for."""
    body = request.body
    if b'"stream":true' in body or b'name="stream"\r\n\r\ntrue' in body:
        return Answer(sse=[])
    if "stream=true" in request.target or request.headers["accept"] == "text/event-stream":
        return Answer(sse=[])
    return Answer(json={"id": "x_1", "object": "list", "data": [], "has_more": False})


def official_walk(resource, path=()):
    """Yield (attribute path, bound method) of each method that itself sends a request."""
    from openai._resource import SyncAPIResource

    sends = {"_post", "_get", "_put", "_patch", "_delete", "_get_api_list"}
    for name in dir(type(resource)):
        member = inspect.getattr_static(type(resource), name)
        if name.startswith(("_", "with_")):
            continue
        if inspect.isfunction(member) and path:
            if sends.intersection(inspect.unwrap(member).__code__.co_names):
                yield path + (name,), getattr(resource, name)
        elif hasattr(member, "func"):  # a cached property
            part = getattr(resource, name)
            if isinstance(part, SyncAPIResource):
                yield from official_walk(part, path + (name,))


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
    if origin is not None:
        return [official_example(args[0], depth + 1)] * 2
    return plain.get(hint, "text")


def official_styles(method):
    """{style: (args, kwargs)} of one method: what its signature says can be written."""
    import openai
    from typing_extensions import get_type_hints

    function = inspect.unwrap(method)
    texts = [text for text in function.__code__.co_consts if isinstance(text, str)]
    ids = [name for text in texts if text[:1] == "/" for name in re.findall(r"{(\w+)}", text)]
    hints, values, required, by_position = get_type_hints(function), {}, [], []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in OFFICIAL_OPTIONS:
            continue
        values[name] = official_example(hints[name])
        if name in ids:
            values[name] = "the-" + name
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                by_position.append(name)
        if parameter.default is parameter.empty:
            required.append(name)
    streams = "stream" in values
    if streams:
        values["stream"] = False
    variants = inspect.getclosurevars(method.__func__).nonlocals.get("variants")  # of overloads
    sets = [set(required).union(variant) - {"stream"} for variant in variants or [()]]
    fewest = {name: values[name] for name in values if name in sets[0] or name in ids}
    args = tuple(fewest[name] for name in by_position)
    rest = {name: value for name, value in fewest.items() if name not in by_position}
    others = {name: value for name, value in values.items() if name not in by_position}
    styles = {"fewest": (args, rest), "all": (args, others), "by keyword": ((), fewest)}
    for wanted in sets[1:]:
        kwargs = {name: values[name] for name in values if name in wanted or name in ids}
        styles["overload with " + ", ".join(sorted(wanted))] = ((), kwargs)
    if streams:
        styles["stream"] = (args, dict(rest, stream=True))
    assert not any(isinstance(value, openai.NotGiven) for value in values.values())
    return styles


def official_request(server, client, path, args, kwargs, forgive: bool = False):
    """The one request that `client.<path>(*args, **kwargs)` sends."""
    del server.requests[:]
    method = client
    for name in path:
        method = getattr(method, name)
    try:
        answer = method(*args, **kwargs)
    except Exception:  # the small answer need not please the official package
        if not forgive or not server.requests:
            raise
    else:
        close = getattr(answer, "close", None)
        if close:
            close()
    assert len(server.requests) == 1
    return official_sent(server.requests[0])


def official_differences(ours, theirs) -> list:
    """What differs, but for the base64 that the official package asks for everywhere, and for the
    `"stream": false` that its parse() adds."""
    bodies = [ours["body"], theirs["body"]]
    if all(isinstance(body, dict) for body in bodies) and bodies[1].get("stream") is False:
        bodies[0].setdefault("stream", False)
    if theirs["path"] == "/v1/embeddings" and "encoding_format" not in ours["body"]:
        theirs["body"].pop("encoding_format", None)
    both = [(name, ours[name], theirs[name]) for name in theirs if ours[name] != theirs[name]]
    return ["%s: %.200r instead of %.200r" % one for one in both]


def ours_beside_official(server):
    ours = openai_mini.OpenAIMini(
        api_key="plain-key", admin_api_key="admin-key", base_url=server.url, max_retries=0
    )
    if not OFFICIAL_IS_HERE:
        return ours, None
    import openai

    keys = {"api_key": "plain-key", "admin_api_key": "admin-key"}
    return ours, openai.OpenAI(base_url=server.url, max_retries=0, **keys)


def test_requests_recorded_from_the_official_package_are_sent_alike(server):
    ours, _ = ours_beside_official(server)
    server.default = official_answer
    for attribute, args, kwargs, line, body in EXPECTED_REQUESTS:
        sent = official_request(server, ours, attribute.split("."), args, dict(kwargs))
        request = server.requests[0]
        assert "%s %s" % (request.method, request.target.replace("/v1", "", 1)) == line, attribute
        assert sent["body"] == (b"" if body is None else body), attribute
        key = "Bearer admin-key" if attribute.startswith("admin.") else "Bearer plain-key"
        assert sent["key"] == key, attribute


def test_every_official_method_sends_the_same_request(server, capsys):
    """Method, path, query, body, parts, content type, OpenAI-Beta and which key."""
    if not OFFICIAL_IS_HERE:
        with capsys.disabled():
            print("\nno official package here (it needs Python 3.10): compared with a table")
        assert len(EXPECTED_REQUESTS) > 30
        return
    import openai

    ours, theirs = ours_beside_official(server)
    server.default = official_answer
    calls, wrong, total = 0, {}, 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path, method in official_walk(theirs):
            total += 1
            for style, (args, kwargs) in official_styles(method).items():
                calls += 1
                want = official_request(server, theirs, path, args, dict(kwargs), forgive=True)
                try:
                    got = official_request(server, ours, path, args, dict(kwargs))
                    found = official_differences(got, want)
                except Exception as error:
                    found = [repr(error)]
                if found:
                    wrong.setdefault(".".join(path), []).append("%s: %s" % (style, found))
    told = "%d of %d methods alike, in %d calls, " % (total - len(wrong), total, calls)
    told += "beside openai %s; misses: %s" % (openai.__version__, ", ".join(wrong) or "none")
    with capsys.disabled():
        print("\n" + told)
    if openai.__version__ != OFFICIAL_VERSION:  # what has come or gone since is no fault of ours
        assert len(wrong) <= total * 0.05, told
        return
    assert total == OFFICIAL_METHODS
    text = "\n".join("%s\n  %s" % (name, "\n  ".join(found)) for name, found in wrong.items())
    assert set(wrong) == set(OFFICIAL_MISSES), text


# Scripts as the official README and examples have them. Each runs twice against the loopback
# server, once with each package.


def official_message(text: str) -> dict:
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    return dict(message, content=[part])


def official_response(text: str) -> dict:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1764000000,
        "status": "completed",
        "model": "gpt-5.5",
        "output": [official_message(text)],
        "tools": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
    }


def official_events(after: int = -1) -> list:
    start = dict(official_response(""), status="in_progress", output=[])
    events = [{"type": "response.created", "response": start}]
    for piece in ("Ahoy", ", ", "matey"):
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        events.append({"type": "response.output_text.delta", "delta": piece, **place})
    events.append({"type": "response.completed", "response": official_response("Ahoy, matey")})
    numbered = [dict(event, sequence_number=number) for number, event in enumerate(events)]
    return [(event["type"], event) for event in numbered if event["sequence_number"] > after]


OFFICIAL_MATH = {"steps": [{"explanation": "subtract", "output": "8x = -29"}], "answer": "x"}
OFFICIAL_TOOL_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
}


def official_chat(request: Request) -> Answer:
    body, message = request.json, dict(CHAT["choices"][0]["message"])
    refusals = {"missing": 404, "busy": 429, "broken": 500, "wrong": 400}
    if body["model"] in refusals:
        error = {"message": "no", "type": "a_type", "param": "model", "code": "a_code"}
        status = refusals[body["model"]]
        return Answer(status, json={"error": error}, headers={"x-request-id": "req_bad"})
    if body.get("stream"):
        return Answer(sse=chunks("Say", " this", usage=CHAT["usage"]))
    if "json_schema" in body.get("response_format", {}):
        message["content"] = json.dumps(OFFICIAL_MATH)
    elif body.get("tools") and body["messages"][-1]["role"] == "user":
        message.update(content=None, tool_calls=[OFFICIAL_TOOL_CALL])
    else:
        message["content"] = "hello after %d" % len(body["messages"])
    choice = dict(CHAT["choices"][0], message=message)
    headers = {"x-request-id": "req_123", "x-my-header": "mine"}
    return Answer(json=official_order(dict(CHAT, choices=[choice])), headers=headers)


def official_order(answer: dict) -> dict:
    """Keys in the order in which the official package prints them; ours are as they were sent."""
    return {"id": answer["id"], **json.loads(json.dumps(answer, sort_keys=True))}


def official_things(request: Request, kind: str) -> Answer:
    """Two pages of two things, by the cursor."""
    after = int(request.query.get("after", "%s_0" % kind).split("_")[-1])
    data = [{"id": "%s_%d" % (kind, n), "object": kind} for n in (after + 1, after + 2)]
    data = [dict(one, created_at=7, filename="%s.txt" % one["id"], status="ok") for one in data]
    return Answer(json={"object": "list", "data": data, "has_more": after < 2})


def official_world(request: Request) -> Answer:
    path, method = request.path.partition("/v1")[2] or request.path, request.method
    body = b"" if request.headers.get("content-type") != "application/json" else request.body
    asked = json.loads(body) if body else {}
    if path.endswith("/chat/completions"):
        return official_chat(request)
    if path == "/responses/resp_1":
        return Answer(sse=official_events(int(request.query["starting_after"])), done=False)
    if path == "/responses" and asked.get("stream"):
        return Answer(sse=official_events(), done=False)
    if path == "/responses":
        text = json.dumps(OFFICIAL_MATH) if "text" in asked else "Ahoy of %s" % asked["model"]
        return Answer(json=official_response(text), headers={"x-request-id": "req_9"})
    if path == "/embeddings":
        number = len(asked["input"]) if isinstance(asked["input"], list) else 1
        vector = [0.5, -0.25, 1.0]
        if asked.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack("<3f", *vector)).decode()
        data = [{"object": "embedding", "index": n, "embedding": vector} for n in range(number)]
        usage = {"prompt_tokens": 2, "total_tokens": 2}
        return Answer(json={"object": "list", "data": data, "model": "m", "usage": usage})
    if path == "/images/generations" and asked.get("stream"):
        partial = {"type": "image_generation.partial_image", "partial_image_index": 0}
        last = {"type": "image_generation.completed", "b64_json": "aGk="}
        events = [dict(partial, b64_json="aA=="), last]
        return Answer(sse=[(event["type"], event) for event in events], done=False)
    if path.startswith("/images/"):
        return Answer(json={"created": 7, "data": [{"b64_json": "aGVsbG8=", "url": None}]})
    if path == "/audio/speech":
        return Answer(body=b"ID3 speech", content_type="audio/mpeg")
    if path.startswith("/audio/"):
        if any(part.body == b"srt" for part in request.parts):
            return Answer(body="1\n00:00 --> 00:01\nhello\n")
        return Answer(json={"text": "heard %s" % request.parts[-1].filename})
    if path == "/moderations":
        kinds = {"self-harm": False, "harassment/threatening": True}
        result = {"flagged": True, "categories": kinds, "category_scores": {"self-harm": 0.25}}
        return Answer(json={"id": "modr_1", "model": "m", "results": [result]})
    if path == "/completions":
        choice = {"text": "4", "index": 0, "logprobs": None, "finish_reason": "stop"}
        made = {"id": "cmpl_1", "object": "text_completion", "created": 7, "model": "m"}
        ends = dict(choice, text=",", finish_reason="length")
        return Answer(sse=[official_order(dict(made, choices=[one])) for one in (choice, ends)])
    if path == "/models":
        data = [{"id": name, "object": "model", "owned_by": "us"} for name in ("m-1", "m-2")]
        return Answer(json={"object": "list", "data": data})
    if path.endswith("/content") and method == "GET":
        return Answer(body=b"the bytes of a file")
    if path.endswith("/search"):
        found = {"file_id": "file_1", "filename": "a.txt", "score": 0.5, "attributes": {}}
        data = [dict(found, content=[{"type": "text", "text": "it"}])]
        page = {"object": "vector_store.search_results.page", "search_query": ["q"]}
        return Answer(json=dict(page, data=data, has_more=False, next_page=None))
    if path == "/responses/input_tokens":
        return Answer(json={"object": "response.input_tokens", "input_tokens": 11})
    if path == "/foo":
        return Answer(json={"foo": asked, "query": request.query}, headers={"x-foo": "bar"})
    kind = path.rstrip("/").split("/")[-1]
    if method == "GET" and kind.endswith("s") and "_" not in kind.replace("vector_", ""):
        return official_things(request, kind)
    if method == "DELETE":
        return Answer(json={"id": kind, "object": "thing.deleted", "deleted": True})
    made = dict(asked, id="made_1", object="thing", created_at=7, path=path, status="made")
    if request.headers.get("content-type", "").startswith("multipart/"):
        made["filename"] = [part.filename for part in request.parts if part.filename][0]
        made["bytes"] = len([part.body for part in request.parts if part.filename][0])
    return Answer(json=made)


OFFICIAL_SCRIPTS = {
    "readme: responses": """
        import os
        from openai import OpenAI
        client = OpenAI(api_key=os.environ.get("OPENAI_API_KEY"))
        response = client.responses.create(
            model="gpt-5.5",
            instructions="You are a coding assistant that talks like a pirate.",
            input="How do I check if a Python object is an instance of a class?",
        )
        print(response.output_text, response.id, response.status, response.usage.total_tokens)
        print(response.output[0].content[0].text, response._request_id)
        """,
    "readme: chat, nested parameters": """
        from openai import OpenAI
        client = OpenAI()
        completion = client.chat.completions.create(
            model="gpt-5.5",
            messages=[
                {"role": "developer", "content": "Talk like a pirate."},
                {"role": "user", "content": "How?"},
            ],
            response_format={"type": "json_object"},
        )
        print(completion.choices[0].message.content, completion.usage.total_tokens)
        print(completion.choices[0].message.tool_calls, completion.service_tier)
        print(completion._request_id, completion.to_json())
        """,
    "readme: vision": """
        from openai import OpenAI
        client = OpenAI()
        response = client.responses.create(
            model="gpt-5.5",
            input=[{
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is in this image?"},
                    {"type": "input_image", "image_url": "https://example.com/a.png"},
                ],
            }],
        )
        print(response.output_text)
        """,
    "readme: streamed responses": """
        from openai import OpenAI
        client = OpenAI()
        stream = client.responses.create(model="gpt-5.5", input="One sentence.", stream=True)
        for event in stream:
            if event.type == "response.output_text.delta":
                print(event.delta, end="")
            print(event.type, event.sequence_number)
        """,
    "readme: pages": """
        from openai import OpenAI
        client = OpenAI()
        all_jobs = []
        for job in client.fine_tuning.jobs.list(limit=20):
            all_jobs.append(job)
        print([job.id for job in all_jobs])
        first_page = client.fine_tuning.jobs.list(limit=20)
        if first_page.has_next_page():
            next_page = first_page.get_next_page()
            print("number of items we just fetched:", len(next_page.data))
            print(next_page.has_next_page())
        for job in first_page.data:
            print(job.id)
        """,
    "readme: an upload": """
        from pathlib import Path
        from openai import OpenAI
        client = OpenAI()
        Path("input.jsonl").write_text('{"a": 1}')
        made = client.files.create(file=Path("input.jsonl"), purpose="fine-tune")
        print(made.id, made.filename, made.bytes)
        with open("input.jsonl", "rb") as file:
            print(client.files.create(file=file, purpose="batch").filename)
        print(client.files.create(file=("b.txt", b"bytes", "text/plain"), purpose="x").filename)
        print([one.filename for one in client.files.list()])
        print(client.files.retrieve("file-1").path, client.files.delete("file-1").deleted)
        content = client.files.content("file-1")
        print(content.read(), content.text, content.content)
        content.write_to_file("copy.txt")
        print(Path("copy.txt").read_text())
        """,
    "readme: errors": """
        import openai
        from openai import OpenAI
        client = OpenAI(max_retries=0)
        for model in ("missing", "busy", "broken", "wrong"):
            try:
                client.chat.completions.create(model=model, messages=[])
            except openai.RateLimitError as e:
                print("A 429 status code was received; we should back off a bit.", e.status_code)
            except openai.APIStatusError as e:
                print("Another non-200-range status code was received", type(e).__name__)
                print(e.status_code, e.response.status_code, e.request_id, e.code, e.type, e.param)
                print(e.body, e.response.headers["x-request-id"], e.response.json())
        try:
            OpenAI(base_url="http://127.0.0.1:9/v1", max_retries=0).models.list()
        except openai.APIConnectionError as e:
            print("The server could not be reached", isinstance(e, openai.APIError))
        try:
            client.files.retrieve("")
        except ValueError:
            print("no id")
        """,
    "readme: retries, timeouts, a copy": """
        from openai import OpenAI
        client = OpenAI(max_retries=0, timeout=20.0, organization="org", project="proj")
        messages = [{"role": "user", "content": "How can I get the name of the current day?"}]
        print(client.with_options(max_retries=5).chat.completions.create(
            messages=messages, model="gpt-5.5", timeout=5).choices[0].message.content)
        copy = client.with_options(timeout=5.0).copy(default_headers={"x-a": "b"})
        print(copy.models.list().data[1].id)
        with OpenAI() as other:
            print([model.id for model in other.models.list()], other.models.retrieve("m").path)
        """,
    "readme: raw and streaming responses": """
        from openai import OpenAI
        client = OpenAI()
        ask = dict(model="gpt-5.5", messages=[{"role": "user", "content": "Say this is a test"}])
        response = client.chat.completions.with_raw_response.create(**ask)
        print(response.headers.get("X-My-Header"), response.status_code, response.request_id)
        print(response.parse().choices[0].message.content, response.http_response.status_code)
        with client.chat.completions.with_streaming_response.create(**ask) as response:
            print(response.headers.get("X-My-Header"))
            for line in response.iter_lines():
                print(line)
        with client.chat.completions.with_streaming_response.create(**ask) as response:
            print(response.parse().choices[0].message.content, response.json()["id"])
        raw = client.chat.completions.with_raw_response.create(stream=True, **ask)
        for chunk in raw.parse():
            print([choice.delta.content for choice in chunk.choices])
        """,
    "readme: undocumented requests": """
        from openai import OpenAI
        client = OpenAI()
        answer = client.post("/foo", cast_to=object, body={"my_param": True})
        print(answer)
        print(client.get("/foo", cast_to=object, options={"params": {"a": "b"}}))
        completion = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}],
            extra_headers={"x-a": "b"}, extra_query={"q": "1"}, extra_body={"min_p": 0.5},
        )
        print(completion.id)
        """,
    "demo.py": """
        from openai import OpenAI
        client = OpenAI()
        print("----- streaming request -----")
        stream = client.chat.completions.create(
            model="gpt-5.5",
            messages=[{"role": "user", "content": "How do I output all files?"}],
            stream=True,
        )
        for chunk in stream:
            if not chunk.choices:
                continue
            print(chunk.choices[0].delta.content, end="")
        print()
        with client.chat.completions.create(model="m", messages=[], stream=True) as stream:
            for chunk in stream:
                print(chunk.choices[0].delta.role, chunk.choices[0].delta.content)
                break
        """,
    "module_client.py": """
        import os
        import openai
        openai.api_key = "..."
        openai.base_url = os.environ["OPENAI_BASE_URL"] + "/"
        openai.default_headers = {"x-foo": "true"}
        stream = openai.chat.completions.create(
            model="gpt-4", messages=[{"role": "user", "content": "How?"}], stream=True
        )
        for chunk in stream:
            if chunk.choices:
                print(chunk.choices[0].delta.content or "", end="", flush=True)
        print(openai.embeddings.create(model="m", input="a").data[0].embedding)
        """,
    "streaming.py": """
        from openai import OpenAI
        client = OpenAI()
        response = client.completions.create(
            model="gpt-3.5-turbo-instruct", prompt="1,2,3,", max_tokens=5, stream=True
        )
        first = next(response)
        print(f"got response data: {first.to_json()}")
        for data in response:
            print(data.to_json())
        """,
    "audio.py": """
        from pathlib import Path
        from openai import OpenAI
        openai = OpenAI()
        speech = Path("speech.mp3")
        with openai.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input="the quick brown fox"
        ) as response:
            response.stream_to_file(speech)
        print(speech.read_bytes())
        print(openai.audio.speech.create(model="tts-1", voice="alloy", input="x").read())
        print(openai.audio.transcriptions.create(model="whisper-1", file=speech).text)
        print(openai.audio.translations.create(model="whisper-1", file=speech).text)
        print(openai.audio.transcriptions.create(
            model="whisper-1", file=open(speech, "rb"), response_format="srt",
            timestamp_granularities=["word"]))
        """,
    "picture.py, image_stream.py": """
        import base64
        from openai import OpenAI
        client = OpenAI()
        response = client.images.generate(prompt="An astronaut", model="gpt-image-2")
        print(base64.b64decode(response.data[0].b64_json), response.data[0].url)
        edited = client.images.edit(
            image=[("a.png", b"one"), ("b.png", b"two")], prompt="merge", model="gpt-image-2", n=2)
        print(edited.created, len(edited.data))
        stream = client.images.generate(
            model="gpt-image-1", prompt="A cute baby sea otter", stream=True, partial_images=3)
        for event in stream:
            if event.type == "image_generation.partial_image":
                print(event.partial_image_index + 1, len(event.b64_json))
            elif event.type == "image_generation.completed":
                print("done", base64.b64decode(event.b64_json))
        """,
    "parsing.py, structured_outputs.py": """
        from typing import List
        from pydantic import BaseModel
        from openai import OpenAI
        class Step(BaseModel):
            explanation: str
            output: str
        class MathResponse(BaseModel):
            steps: List[Step]
            answer: str
        client = OpenAI()
        completion = client.chat.completions.parse(
            model="gpt-4o-2024-08-06",
            messages=[{"role": "user", "content": "solve 8x + 31 = 2"}],
            response_format=MathResponse,
        )
        message = completion.choices[0].message
        if message.parsed:
            print(message.parsed.steps, "answer:", message.parsed.answer)
        rsp = client.responses.parse(
            input="solve 8x + 31 = 2", model="gpt-4o-2024-08-06", text_format=MathResponse)
        for output in rsp.output:
            for item in output.content:
                print(item.type, item.parsed)
        print(rsp.output_parsed.answer)
        """,
    "function calling": """
        import json
        from openai import OpenAI
        client = OpenAI()
        messages = [{"role": "user", "content": "What is the weather in Oslo?"}]
        parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
        function = {"name": "get_weather", "parameters": parameters}
        tools = [{"type": "function", "function": function}]
        first = client.chat.completions.create(model="gpt-5.5", messages=messages, tools=tools)
        messages.append(first.choices[0].message)
        for call in first.choices[0].message.tool_calls:
            arguments = json.loads(call.function.arguments)
            print(call.id, call.type, call.function.name, arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "4 degrees"})
        second = client.chat.completions.create(model="gpt-5.5", messages=messages, tools=tools)
        print(second.choices[0].message.content)
        """,
    "embeddings": """
        from openai import OpenAI
        client = OpenAI()
        answer = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
        for item in answer.data:
            print(item.index, item.embedding, len(item.embedding))
        print(answer.usage.total_tokens, answer.model)
        """,
    "moderation": """
        from openai import OpenAI
        client = OpenAI()
        result = client.moderations.create(input="text", model="omni-moderation-latest").results[0]
        print(result.flagged, result.categories.self_harm, result.categories.harassment_threatening)
        print(result.category_scores.self_harm)
        """,
    "batches and fine-tuning": """
        from openai import OpenAI
        client = OpenAI()
        batch = client.batches.create(
            input_file_id="f", endpoint="/v1/responses", completion_window="24h",
            metadata={"a": "b"})
        print(batch.id, batch.status, batch.metadata, batch.errors)
        print(client.batches.retrieve("b").path, client.batches.cancel("b").path)
        print([one.id for one in client.batches.list(limit=2)])
        job = client.fine_tuning.jobs.create(model="m", training_file="f")
        print(job.id, job.training_file, client.fine_tuning.jobs.cancel("j").path)
        print([one.id for one in client.fine_tuning.jobs.list_events("j", limit=2)])
        """,
    "vector stores": """
        from openai import OpenAI
        client = OpenAI()
        store = client.vector_stores.create(name="docs")
        print(store.id, store.name)
        print(client.vector_stores.files.create(vector_store_id="v", file_id="f").id)
        print([one.id for one in client.vector_stores.files.list("v")])
        for found in client.vector_stores.search("v", query="q", max_num_results=3):
            print(found.filename, found.score, found.content[0].text)
        print(client.vector_stores.files.delete("f", vector_store_id="v").deleted)
        print(client.vector_stores.delete(vector_store_id="v").id)
        """,
    "background.py, responses_input_tokens.py": """
        from openai import OpenAI
        client = OpenAI()
        id = None
        with client.responses.create(
            input="solve 8x + 31 = 2", model="m", background=True, stream=True
        ) as stream:
            for event in stream:
                if event.type == "response.created":
                    id = event.response.id
                if "output_text" in event.type:
                    print(event.delta)
                if event.sequence_number == 2:
                    break
        print("Interrupted. Continuing...")
        with client.responses.retrieve(response_id=id, stream=True, starting_after=2) as stream:
            for event in stream:
                if "output_text" in event.type:
                    print(event.delta)
        counted = client.responses.input_tokens.count(
            model="gpt-5", input=[{"type": "message", "role": "user", "content": "Weather?"}])
        print(f"input tokens: {counted.input_tokens}")
        """,
    "azure.py": """
        import os
        from openai import AzureOpenAI
        endpoint = os.environ.pop("OPENAI_BASE_URL").replace("/v1", "/")
        client = AzureOpenAI(api_version="2023-07-01", azure_endpoint=endpoint, api_key="k",
                             azure_deployment="deployment-name")
        completion = client.chat.completions.create(
            model="<ignored>", messages=[{"role": "user", "content": "How?"}])
        print(completion.to_json())
        client = AzureOpenAI(api_version="2023-07-01", azure_endpoint=endpoint, api_key="k")
        completion = client.chat.completions.create(
            model="deployment-name", messages=[{"role": "user", "content": "How?"}])
        print(completion.to_json())
        print(client.files.list().data[0].id)
        """,
    "assistants": """
        import warnings
        warnings.simplefilter("ignore")
        from openai import OpenAI
        client = OpenAI()
        assistant = client.beta.assistants.create(name="Tutor", model="m", tools=[])
        thread = client.beta.threads.create()
        print(assistant.id, assistant.name, thread.id)
        message = client.beta.threads.messages.create(thread_id="t", role="user", content="Hi")
        run = client.beta.threads.runs.create(thread_id="t", assistant_id="a")
        print(message.content, run.status, client.beta.threads.runs.retrieve("r", thread_id="t").id)
        print([one.id for one in client.beta.threads.messages.list("t", order="asc")])
        """,
}


def official_run(script: str, package: str, server) -> tuple:
    """(what a script prints, what it sends) with `package` as its openai."""
    source = textwrap.dedent(script).replace("from openai import", "from %s import" % package)
    source = source.replace("import openai\n", "import %s as openai\n" % package)
    del server.requests[:]
    os.environ.update(OPENAI_API_KEY="sk-test", OPENAI_BASE_URL=server.url)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = compile(source, package, "exec", dont_inherit=True)
        exec(code, {"__name__": "__main__"})  # noqa: S102
    return printed.getvalue(), [official_sent(request) for request in server.requests]


@pytest.mark.parametrize("name", OFFICIAL_SCRIPTS)
def test_an_official_script_prints_and_sends_the_same(name, server, tmp_path, monkeypatch):
    """Without the official package it must at least run, and print something."""
    if "pydantic" in OFFICIAL_SCRIPTS[name] and not importlib.util.find_spec("pydantic"):
        monkeypatch.setitem(sys.modules, "pydantic", official_stand_in_for_pydantic())
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.setenv(variable, "")  # so that it is gone afterwards
    monkeypatch.chdir(tmp_path)
    server.default = official_world
    try:
        printed, sent = official_run(OFFICIAL_SCRIPTS[name], "openai_mini", server)
        assert printed
        if not OFFICIAL_IS_HERE:
            return
        want_printed, want_sent = official_run(OFFICIAL_SCRIPTS[name], "openai", server)
    finally:
        for option in ("api_key", "base_url", "default_headers"):
            openai_mini.__dict__[option] = None
    assert printed == want_printed
    assert len(sent) == len(want_sent)
    for got, want in zip(sent, want_sent):
        assert official_differences(got, want) == []


def official_stand_in_for_pydantic():
    """As much of it as the script needs: one class whose children read JSON."""

    class BaseModel:
        @classmethod
        def model_json_schema(cls):
            return {"type": "object", "properties": {}}

        @classmethod
        def model_validate_json(cls, text):
            made = cls()
            made.__dict__.update(json.loads(text))
            return made

    return types.SimpleNamespace(BaseModel=BaseModel)


# Opt-in: a server that validates requests against OpenAI's description of its API judges them.
# OPENAI_MINI_SPEC_SERVER is its URL, read here, as no test sees the environment's own.
OFFICIAL_SPEC_SERVER = os.environ.get("OPENAI_MINI_SPEC_SERVER")


def official_verdict(client, path, args, kwargs) -> str:
    """'' if the server took the request, 'unknown' if it has no such path, else what it says."""
    method = client
    for name in path:
        method = getattr(method, name)
    try:
        answer = method(*args, **kwargs)
        getattr(answer, "close", bool)()
    except Exception as error:
        status = getattr(error, "status_code", None)
        said = str(getattr(error, "body", None) or error)
        if status in (404, 405):
            return "unknown"
        if status is None:
            return ""  # the answer is made up: let it be
        return "%s %s" % (status, said)
    return ""


if OFFICIAL_SPEC_SERVER and OFFICIAL_IS_HERE:

    def test_the_described_api_refuses_no_request(capsys):
        """One call per method with the fewest arguments; what it refuses from both clients alike is
        the made-up arguments' fault."""
        import openai

        keys = {"api_key": "plain-key", "admin_api_key": "admin-key", "max_retries": 0}
        ours = openai_mini.OpenAIMini(
            base_url=OFFICIAL_SPEC_SERVER, circuit_breaker=False, timeout=10, **keys
        )
        theirs = openai.OpenAI(base_url=OFFICIAL_SPEC_SERVER, timeout=10, **keys)
        total, unknown, refused = 0, 0, []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for path, method in official_walk(theirs):
                total += 1
                args, kwargs = official_styles(method)["fewest"]
                verdict = official_verdict(ours, path, args, dict(kwargs))
                if verdict == "unknown":
                    unknown += 1
                elif verdict:
                    alike = official_verdict(theirs, path, args, dict(kwargs))
                    refused.append((".".join(path), verdict, "alike" if alike else "ONLY OURS"))
        with capsys.disabled():
            print("\n%d calls, %d not described, %d refused" % (total, unknown, len(refused)))
            for row in refused:
                print("%s (%s): %.300s" % (row[0], row[2], row[1]))
        only_ours = {name for name, _, who in refused if who != "alike"}
        assert only_ours <= set(OFFICIAL_MISSES)


# ------------------------------------------------------------------------------------------------
# Servers


# The same script and the same command line against every kind of server: offline and the loopback
# server always, servers that others wrote where OPENAI_MINI_TEST_SERVERS names some, as
# `base_url key model`, with semicolons between. Read here, as a fixture takes such variables away.
SERVERS_NAMED = os.environ.get("OPENAI_MINI_TEST_SERVERS", "")

SERVERS_SCRIPT = """
import sys
import openai_mini

client = openai_mini.OpenAIMini(base_url=sys.argv[1], api_key=sys.argv[2], model=sys.argv[3])
answer = client.chat("Hello")
print(repr(answer.content), answer.finish_reason)
with client.stream_chat("Hello") as stream:
    pieces = [chunk.content for chunk in stream]
print(repr("".join(pieces)), stream.finish_reason)
print(stream.content == "".join(pieces) == stream.message.content, len(client.list_models()) > 0)
"""


def servers_run(*arguments: str) -> str:
    environ = dict(os.environ, PYTHONPATH=os.path.dirname(openai_mini.__file__))
    done = subprocess.run(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL, timeout=120, env=environ, universal_newlines=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def servers_check(base_url: str, key: str, model: str) -> None:
    out = servers_run("-c", SERVERS_SCRIPT, base_url, key, model).splitlines()
    assert out[0].endswith(" stop") and out[0] == out[1] and out[2] == "True True", out
    said = ast.literal_eval(out[0][: -len(" stop")])
    environ_free = ("--base-url", base_url, "-m", model, "-p", "user=me")
    os.environ["OPENAI_API_KEY"] = key
    try:
        for more in ([], ["--no-stream"]):
            told = servers_run("-m", "openai_mini", *environ_free, *more, "Hello")
            assert told.strip() == said.strip()
        assert servers_run("-m", "openai_mini", "models", "--base-url", base_url).strip()
    finally:
        del os.environ["OPENAI_API_KEY"]


def servers_answer(request):
    if request.path.endswith("/models"):
        return Answer(json={"object": "list", "data": [{"id": "m", "object": "model"}]})
    if request.json.get("stream"):
        return Answer(sse=chunks("hel", "lo"))
    return Answer(json=CHAT)


def test_one_script_and_one_command_line_run_offline_and_on_the_loopback_server(server):
    server.default = servers_answer
    servers_check("echo:", "", "echo")
    servers_check(server.url, "sk-test", "m")


def test_the_same_on_servers_that_others_wrote():
    """Opt-in: with none named, what this module's own reading of the variable gives is checked."""
    rows = [row.split() for row in SERVERS_NAMED.split(";") if row.strip()]
    assert all(len(row) == 3 for row in rows), "base_url key model; base_url key model"
    for row in rows:
        servers_check(*row)
    print("servers tried:", [row[0] for row in rows] or "none named")


# ------------------------------------------------------------------------------------------------
# Readme


README_PATH = os.path.join(os.path.dirname(os.path.abspath(openai_mini.__file__)), "README.md")
README_PIXEL = "iVBORw0KGgo="  # the first bytes of a PNG are enough here
# Recipes with libraries of the reader's choice: each has a test of its own elsewhere.
README_TRIED_ELSEWHERE = (
    "opentelemetry", "prometheus_client", "ProcessPoolExecutor", "dask", "completion_window",
)  # fmt: skip


def readme_blocks(language: str) -> list:
    with open(README_PATH, encoding="utf-8") as file:
        return re.findall(r"^```%s\n(.*?)^```" % language, file.read(), re.M | re.S)


def readme_answer(request):
    """What a server of the API would answer to anything that the README asks."""
    path, asked = request.path, request.json if request.body[:1] == b"{" else {}
    if path.endswith("/chat/completions"):
        if asked.get("stream"):
            return Answer(
                sse=chunks("hel", "lo", usage={"total_tokens": 2, "completion_tokens": 1})
            )
        if asked.get("response_format"):
            return Answer(json=readme_chat('{"city": "Paris"}'))
        if asked.get("tools") and asked["messages"][-1]["role"] == "user":
            call = {"id": "c1", "type": "function"}
            call["function"] = {"name": "weather", "arguments": '{"city": "Paris"}'}
            return Answer(json=readme_chat(None, [call]))
        return Answer(json=CHAT)
    if path.endswith("/responses"):
        return Answer(sse=[{"type": "response.completed", "response": {"id": "r"}}], done=False)
    if path.endswith("/embeddings"):
        data = [{"index": i, "embedding": [1.0, 0.0]} for i in range(len(asked["input"]))]
        return Answer(json={"object": "list", "data": data})
    if path.endswith("/moderations"):
        return Answer(json={"results": [{"flagged": False, "categories": {"violence": False}}]})
    if "/images/" in path:
        return Answer(json={"data": [{"b64_json": README_PIXEL}]})
    if path.endswith("/speech") or path.endswith("/content"):
        return Answer(body=b"ID3 some bytes", content_type="audio/mpeg")
    if "/audio/" in path:
        return Answer(json={"text": "good morning"})
    if path.endswith("/models") or path.endswith("/files") and request.method == "GET":
        return Answer(json={"object": "list", "data": [{"id": "m1"}], "has_more": False})
    return Answer(json={"id": "obj-1", "object": "thing", "status": "completed"})


def readme_chat(content, tool_calls=None) -> dict:
    message = {"role": "assistant", "content": content, "tool_calls": tool_calls}
    reason = "tool_calls" if tool_calls else "stop"
    return {"choices": [{"index": 0, "message": message, "finish_reason": reason}]}


@pytest.fixture
def readme_folder(server, tmp_path, monkeypatch):
    server.default = readme_answer
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(README_PATH))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "notes.txt").write_text("some notes")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff photo")
    return tmp_path


def test_each_python_block_of_the_readme_runs(readme_folder, capsys):
    blocks = readme_blocks("python")
    assert len(blocks) >= 7
    for number, block in enumerate(blocks):
        if not any(word in block for word in README_TRIED_ELSEWHERE):
            exec(compile(block, "README block %d" % number, "exec"), {"__name__": "readme"})
    assert "Hello" in capsys.readouterr().out


def test_each_command_of_the_readme_runs(readme_folder, server):
    """The two that set up an environment are run by .ci/run and by whoever begins."""
    shim = readme_folder / "openai-mini"
    shim.write_text('#!/bin/sh\nexec "%s" -m openai_mini "$@"\n' % sys.executable)
    shim.chmod(0o755)
    path = "%s%s%s" % (readme_folder, os.pathsep, os.environ["PATH"])
    lines = [line for block in readme_blocks("sh") for line in block.splitlines()]
    commands = [line for line in lines if "openai-mini" in line and ".venv" not in line]
    assert len(commands) >= 5
    for command in commands:
        done = subprocess.run(
            ["sh", "-c", command], env=dict(os.environ, PATH=path), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, universal_newlines=True,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stderr)
    assert (readme_folder / "summary.txt").read_text().strip() == "hello"
    assert b"some notes" in b"".join(request.body for request in server.requests)


def test_the_version_stands_in_the_head_of_the_file_and_in_the_changes():
    with open(openai_mini.__file__, encoding="utf-8") as file:
        head = file.read(2000)
    with open(README_PATH, encoding="utf-8") as file:
        changes = file.read().split("\n## Changes\n")[1]
    assert "openai_mini " + openai_mini.__version__ in head
    assert changes.split("\n### ")[1].split("\n")[0] == openai_mini.__version__


def readme_vendored(folder, *versions: str) -> None:
    """A package `app` with a copy of the module, under each of `versions`, as a project has it."""
    with open(openai_mini.__file__, encoding="utf-8") as file:
        source = file.read()
    for version in versions:
        vendor = folder / "app" / ("vendor" + version.replace(".", "_"))
        vendor.mkdir(parents=True)
        (vendor / "__init__.py").write_text("")
        (vendor / "openai_mini.py").write_text(
            source.replace('"%s"' % openai_mini.__version__, '"%s"' % version), encoding="utf-8"
        )
    (folder / "app" / "__init__.py").write_text("")
    (folder / "app" / "use.py").write_text(README_USE)


README_USE = """
from .vendor1_0 import openai_mini as one
from .vendor2_0 import openai_mini as two

for module in (one, two):
    client = module.OpenAIMini(base_url="echo:")
    print(module.__version__, client.chat("Hello").content)
try:
    one.iter_sse([b"x" * 9], max_event_bytes=1).__next__()
except two.APIResponseError:
    print("mixed up")
except one.APIResponseError:
    print("apart")
"""


@pytest.mark.parametrize("zipped", [False, True], ids=["as files", "in a zipapp"])
def test_copies_of_two_versions_live_side_by_side_in_another_package(tmp_path, zipped):
    readme_vendored(tmp_path / "src", "1.0", "2.0")
    place = tmp_path / "src"
    (place / "__main__.py").write_text("import app.use\n")
    if zipped:
        zipapp.create_archive(str(place), str(tmp_path / "app.pyz"))
        place = tmp_path / "app.pyz"
    done = subprocess.run(
        [sys.executable, "-I", str(place)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        timeout=60, universal_newlines=True,
    )  # fmt: skip
    assert done.stdout.split("\n")[:3] == ["1.0 Hello", "2.0 Hello", "apart"], done.stderr


def test_importing_the_module_loads_nothing_that_it_may_not_need():
    code = (
        "import sys; known = set(sys.modules); import openai_mini; print(set(sys.modules) - known)"
    )
    folder = os.path.dirname(os.path.abspath(openai_mini.__file__))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, stdout=subprocess.PIPE, timeout=60,
        universal_newlines=True,
    )  # fmt: skip
    assert set(ast.literal_eval(done.stdout)) <= {"__future__", "openai_mini"}


# ------------------------------------------------------------------------------------------------
# Fuzz
#
# Inputs that nobody thought of. OPENAI_MINI_FUZZ=100000 tries that many of each kind.


FUZZ_INPUTS = int(os.environ.get("OPENAI_MINI_FUZZ") or 30)


def fuzz(*strategies):
    """Run the test with that many inputs of the strategies."""
    settings = hypothesis.settings(
        max_examples=FUZZ_INPUTS,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    return lambda test: settings(hypothesis.given(*strategies)(test))


FUZZ_LINES = st.sampled_from(
    [
        b"data: ",
        b"data:",
        b"data",
        b"event: ",
        b"id: ",
        b"retry: ",
        b":",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\xef\xbb\xbf",
        b"\0",
        b"[DONE]",
        b"{}",
        b'{"choices":[{"delta":{"content":"x"},"index":0}]}',
        b"\xff",
        b"\xe2\x80\xa8",
        b" ",
    ]
)
FUZZ_SSE = st.lists(st.one_of(FUZZ_LINES, st.binary(max_size=8)), max_size=30).map(b"".join)


@fuzz(FUZZ_SSE, st.randoms(use_true_random=False))
def test_any_bytes_are_the_same_events_however_they_are_cut(content, chance):
    def events(pieces):
        found = [(e.event, e.data, e.id, e.retry) for e in openai_mini.iter_sse(pieces)]
        assert all(type(event[1]) is str and "\n" not in event[0] for event in found)
        return found

    cuts = sorted(chance.randrange(len(content) + 1) for _ in range(chance.randrange(6)))
    ends = cuts + [len(content)]
    pieces = [content[a:b] for a, b in zip([0] + cuts, ends)]  # noqa: B905
    assert (
        events(pieces)
        == events([content])
        == events([content[i : i + 1] for i in range(len(content))])
    )


@fuzz(FUZZ_SSE, st.integers(0, 64))
def test_a_limit_on_events_is_kept(content, limit):
    try:
        for event in openai_mini.iter_sse([content], max_event_bytes=limit):
            assert len(event.data) <= limit
    except openai_mini.APIResponseError:  # a broken byte counts as what it becomes, U+FFFD
        assert len(content.decode("utf-8", "replace").encode()) > limit


FUZZ_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "error message detail code type param msg loc choices message delta "
                "content tool_calls index "
                "finish_reason usage data id object has_more last_id output "
                "text function name arguments status "
                "response role".split()
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
FUZZ_BODIES = st.one_of(
    FUZZ_JSON.map(lambda value: json.dumps(value).encode()),
    FUZZ_JSON.map(lambda value: json.dumps({"error": value}).encode()),
    FUZZ_JSON.map(lambda value: json.dumps({"choices": [value]}).encode()),
    FUZZ_JSON.map(
        lambda value: json.dumps({"choices": [{"delta": value, "message": value}]}).encode()
    ),
    FUZZ_JSON.map(
        lambda value: json.dumps({"type": "response.completed", "response": value}).encode()
    ),
    FUZZ_JSON.map(lambda value: json.dumps({"data": [value], "usage": value}).encode()),
    FUZZ_JSON.map(lambda value: b"data: %s\n\n" % json.dumps(value).encode()),
    FUZZ_JSON.map(lambda value: b"data: %s\n\n" % json.dumps({"choices": [value]}).encode()),
    FUZZ_JSON.map(
        lambda value: (
            b'data: {"choices": [{"delta": %s}]}\n\ndata: [DONE]\n\n' % json.dumps(value).encode()
        )
    ),
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    st.sampled_from(
        [
            b"<html><title>",
            b"[" * 5000,
            b"9" * 5000,
            b'"\\ud800"',
            b"\xed\xa0\x80",
            b"NaN",
            b"-Infinity",
            b"{",
            b"",
        ]
    ),
)
FUZZ_HEADER = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20)
FUZZ_HEADERS = st.fixed_dictionaries(
    {
        "content-type": st.sampled_from(
            [
                "application/json",
                "text/event-stream",
                "text/event-stream",
                "text/html",
                "a/b+json",
                "",
            ]
        )
        | FUZZ_HEADER,
        "retry-after": st.sampled_from(
            [
                "1",
                "-1",
                "1e9",
                "Wed, 21 Oct 2015 07:28:00 GMT",
                "nan",
                "9" * 400,
                "Mon, 1 Jan 0000 00:00:00 -9999",
            ]
        )
        | FUZZ_HEADER
        | st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT")),
        "retry-after-ms": st.sampled_from(["", "5", "-5", "5.5.5", "."]) | FUZZ_HEADER,
        "x-should-retry": st.sampled_from(["", "true", "false"]) | FUZZ_HEADER,
        "content-encoding": st.sampled_from(["", "", "", "identity", "gzip", "deflate", "br"])
        | FUZZ_HEADER,
        "x-request-id": FUZZ_HEADER,
        "location": FUZZ_HEADER,
    }
)
FUZZ_LENGTHS = st.sampled_from(
    [None, None, None, "0", "5", "-1", "99999999999999999999", "1, 1", "0x5", "+5", "\xb2", ""]
)
FUZZ_FRAMINGS = st.sampled_from(["length", "chunked", "close"])
FUZZ_STATUSES = st.sampled_from(
    [200] * 6 + [201, 204, 301, 304, 400, 401, 404, 408, 413, 429, 500, 529, 599, 999]
)


def fuzz_client(server):
    return openai_mini.OpenAIMini(
        "sk-fuzz",
        base_url=server.url,
        max_retries=0,
        timeout=(5, 5),
        circuit_breaker=False,
        use_request_queue=False,
    )


def fuzz_calls(client):
    """Each way in which an answer is read, and what a caller does with the outcome."""

    def chat():
        result = client.chat("hi")
        return [
            result.content,
            result.message,
            result.tool_calls,
            result.finish_reason,
            result.to_json(),
        ]

    def stream():
        with client.stream_chat("hi") as chunks_of_it:
            texts = [piece.content for piece in chunks_of_it]
        assert all(type(text) is str for text in texts) and type(chunks_of_it.content) is str
        return [chunks_of_it.message, chunks_of_it.choices, chunks_of_it.stats, chunks_of_it.usage]

    def pages():
        return list(itertools.islice(client.files.list(), 3))

    return [
        chat,
        stream,
        pages,
        client.list_models,
        lambda: client.embedding(["a"]),
        lambda: client.transcribe_audio(b"ID3"),
        lambda: client.moderation("x").results,
        lambda: client.request("GET", "/x"),
        lambda: getattr(client.responses.create(input="x"), "output_text", ""),
        lambda: client.download_file("f"),
    ]


@pytest.fixture(scope="module")
def fuzz_server():
    with LoopbackServer() as server:
        with fuzz_client(server) as client:
            yield server, client


@fuzz(FUZZ_STATUSES, FUZZ_BODIES, FUZZ_HEADERS, FUZZ_LENGTHS, FUZZ_FRAMINGS, st.integers(0, 9))
def test_any_answer_is_a_result_or_an_error_of_ours(
    fuzz_server, status, body, headers, length, framing, which
):
    server, client = fuzz_server
    if length is not None:
        headers = dict(headers, **{"content-length": length})
    server.requests.clear()
    server.default = Answer(status, body=body, headers=headers, framing=framing, close=True)
    try:
        fuzz_calls(client)[which]()
    except openai_mini.OpenAIError as error:
        assert len(str(error)) < 1200 and str(error).isprintable(), ascii(str(error))
        assert error.retry_after is None or error.retry_after >= 0
    assert client.stats()["requests"] >= 1


@fuzz(st.binary(max_size=200), st.integers(0, 9))
def test_any_bytes_on_the_socket_are_a_result_or_an_error_of_ours(fuzz_server, content, which):
    server, client = fuzz_server
    server.requests.clear()
    heads = [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
        b"HTTP/1.0 503 \r\n\r\n",
    ]
    server.default = Answer(raw=heads[len(content) % len(heads)] + content)
    with contextlib.suppress(openai_mini.OpenAIError):
        fuzz_calls(client)[which]()


def test_the_time_of_hostile_inputs_is_linear():
    """Four times the input takes about four times as long, and not sixteen."""
    streams = {
        "short lines": lambda n: [b"data:\n" * n],
        "one line": lambda n: [b"x" * 64] * n,
        "carriage returns": lambda n: [b"\r"] * n,
        "comments": lambda n: [b":\n" * n],
        "ids": lambda n: [b"id: 1\n\n" * n],
    }
    pages = {
        "noise": lambda n: "<>a &\n\n<&<a" * n,
        "titles cut short": lambda n: "<title" * n,
        "angles": lambda n: "<" * n,
        "titles": lambda n: "<title>" * n,
        "blanks": lambda n: " " * n + "<",
    }

    def read(pieces):
        for _ in openai_mini.iter_sse(pieces, max_event_bytes=1 << 30):
            pass

    def cost(work, hostile):
        best = float("inf")
        for _ in range(3):
            began_at = time.process_time()
            work(hostile)
            best = min(best, time.process_time() - began_at)
        return best

    for work, inputs in ((read, streams), (openai_mini._shown, pages)):
        for name, make in inputs.items():
            once = max(cost(work, make(10_000)), 0.001)
            assert cost(work, make(40_000)) < 10 * once, name


# ------------------------------------------------------------------------------------------------
# Found by trying to break it


def test_a_choice_that_starts_late_is_waited_for(server):
    """A stream of two is not whole where one of them has ended."""
    server.script(Answer(sse=[chunk({"content": "A"}), chunk({}, "stop")], done=False))
    with client_for(server, max_retries=0) as client:
        with pytest.raises(openai_mini.StreamInterruptedError) as caught:
            list(client.stream_chat("hi", n=2))
        assert caught.value.partial.content == "A"


def test_a_fallback_has_what_is_left_of_the_deadline(server):
    with LoopbackServer() as second, client_for(second) as other:
        go = threading.Event()
        server.script(Answer(500, wait=go))
        client = client_for(server, deadline=0.1, max_retries=0, fallback=other)
        with client, pytest.raises(openai_mini.APITimeoutError):
            client.chat("hi")
        go.set()
        assert len(second.requests) == 0


def test_a_fallback_does_not_keep_its_answer_in_the_first_ones_cache(server, caplog):
    with LoopbackServer() as second, client_for(second) as other:
        server.script(Answer(503))
        kept: dict = {}
        with client_for(server, cache=kept, max_retries=0, fallback=other) as client:
            assert client.chat("hi").content == "hello"
        assert not kept and not caplog.records


@pytest.mark.parametrize("priority", ["high", None, float("nan")])
def test_a_wrong_priority_harms_no_other_caller(priority):
    queue = openai_mini.RequestQueue(1)
    go = threading.Event()
    first = queue.submit(go.wait)
    for stand in (lambda: queue.submit(len, "a", priority=priority), lambda: queue.slot(priority)):
        with pytest.raises(openai_mini.ValidationError, match="priority"):
            stand()
    second = queue.submit(len, "ab")
    go.set()
    assert first.result(10) and second.result(10) == 2


def test_a_job_is_not_refused_its_next_slot():
    queue = openai_mini.RequestQueue(1, size=0)
    took, go = threading.Event(), threading.Event()

    def job():
        with queue.slot():
            pass
        took.set()
        go.wait(10)
        with queue.slot():
            return "done"

    future = queue.submit(job)
    assert took.wait(10)
    with queue.slot():
        go.set()
        while not (queue.waiting or future.done()):
            time.sleep(0.001)
    assert future.result(10) == "done"


@pytest.mark.parametrize("method, status", [("HEAD", 200), ("GET", 204)])
def test_an_answer_without_a_body_ends_whatever_its_headers_say(server, method, status):
    head = b"HTTP/1.1 %d X\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.script(Answer(raw=head % status))
    with client_for(server, timeout=5, max_retries=0) as client:
        client.request(method, "/models")


def test_a_location_that_is_no_url_is_told_as_its_status(server):
    server.script(Answer(302, headers={"Location": "http://[bad"}))
    with client_for(server) as client, pytest.raises(openai_mini.APIStatusError) as caught:
        client.chat("hi")
    assert caught.value.status_code == 302


def test_an_empty_authorization_is_no_secret(server):
    server.script(Answer(400, json={"error": {"message": "bad thing"}}))
    with client_for(server, default_headers={"Authorization": ""}) as client:
        with pytest.raises(openai_mini.BadRequestError, match="bad thing"):
            client.chat("hi")


def test_an_error_in_a_parsed_streaming_response_is_a_failure(server):
    server.script(Answer(sse=[{"error": {"message": "boom", "code": "server_error"}}]))
    with client_for(server, max_retries=0) as client:
        create = client.chat.completions.with_streaming_response.create
        with pytest.raises(openai_mini.InternalServerError):
            with create(model="m", messages=[{"role": "user", "content": "x"}], stream=True) as got:
                list(got.parse())
        assert client.stats()["succeeded"] == 0 and client.stats()["failed"] == 1


def test_each_breaker_of_a_clients_copies_tells_its_own_changes(server):
    told = []
    with client_for(
        server, max_retries=0, circuit_breaker=openai_mini.CircuitBreaker(failure_threshold=1),
        on_event=lambda event: event["event"] == "circuit" and told.append(event["state"]),
    ) as client:  # fmt: skip
        copy = client.with_options(circuit_breaker=openai_mini.CircuitBreaker())
        server.script(Answer(500))
        for _ in range(2):
            with pytest.raises(openai_mini.OpenAIError):
                client.chat("hi")
            assert copy.chat("hi").content == "hello"
    assert told == ["open"]


def test_the_limit_of_an_event_is_in_bytes_however_it_is_cut():
    event = ("data: " + "\u20ac" * 20).encode()
    for pieces in ([event + b"\n\n"], [event, b"\n\n"]):
        with pytest.raises(openai_mini.APIResponseError):
            list(openai_mini.iter_sse(pieces, 40))
        assert [e.data for e in openai_mini.iter_sse(pieces, 66)] == ["\u20ac" * 20]


@pytest.mark.parametrize(
    "call, word",
    [
        (lambda client: client.chat("hi", stream=True), "stream_chat"),
        (lambda client: client.chat("hi", schema=int), "schema"),
        (lambda client: client.embedding(None), "input"),
        (lambda client: client.embedding({"a": 1}), "input"),
        (lambda client: client.request(5, "/x"), "request"),
        (lambda client: client.request("GET", 5), "request"),
        (lambda client: client.upload_file((5, b"x")), "name of a file"),
        (lambda client: client.upload_file(b"x", file_name=5), "name of a file"),
    ],
)
def test_a_value_of_a_wrong_type_is_named(server, call, word):
    with client_for(server) as client, pytest.raises(openai_mini.ValidationError, match=word):
        call(client)
    assert not server.requests


def test_cli_request_prints_a_line_for_each_chunk_of_a_stream(cli, cli_server):
    cli_server.script(Answer(sse=chunks("a", "b")))
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
    words = "request", "POST", "/chat/completions", "-"
    code, out, err = cli(*words, piped=json.dumps(body).encode())
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and not err and cli_server.requests[0].json == body
    assert [line["choices"][0]["delta"].get("content") for line in lines][-3:-1] == ["a", "b"]


@pytest.mark.parametrize("command", ["chat", "embed", "moderate", "models", "upload"])
def test_cli_an_output_file_where_there_is_no_file_is_wrong_use(cli, cli_server, command, tmp_path):
    words = [] if command == "models" else ["x"]
    code, _, err = cli(command, *words, "-o", tmp_path / "out")
    assert code == 2 and "-o" in err and not cli_server.requests


@pytest.mark.parametrize("name", ["to", "progress"])
def test_cli_an_argument_that_is_no_parameter_is_wrong_use(cli, cli_server, name, tmp_path):
    code, _, err = cli("speak", "x", "-p", "%s=%s" % (name, tmp_path / "out"))
    assert code == 2 and name in err and not cli_server.requests


@pytest.mark.parametrize("command", ["transcribe", "translate", "upload"])
def test_cli_what_is_piped_is_the_file(cli, cli_server, command):
    cli_server.script(Answer(json={"text": "t", "id": "file-1"}))
    code, _, err = cli(command, piped=b"RIFF1234WAVE")
    assert code == 0, err
    assert b"RIFF1234WAVE" in cli_server.requests[0].body


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_cli_runs_where_a_standard_stream_is_closed(closed):
    command = '"%s" "%s" --offline Hello %s' % (sys.executable, openai_mini.__file__, closed)
    done = subprocess.run(command, shell=True, stdout=-1, stderr=-1, env=cli_env(), timeout=60)
    assert done.returncode in ((0,) if ">&-" not in closed.split() else (0, 1))
    assert b"Traceback" not in done.stderr
    assert (done.stdout.strip() == b"Hello") == (">&-" not in closed.split())


def test_a_verbs_options_are_the_calls(server):
    server.default = Answer(500)
    sent = {"headers": {"X-A": "1"}, "params": {"a": "b"}, "extra_json": {"c": 2}}
    options = {"max_retries": 1, **sent}
    with client_for(server) as client:
        with pytest.raises(openai_mini.InternalServerError):
            client.post("/x", body={"d": 3}, cast_to=dict, options=options)
        with pytest.raises(openai_mini.ValidationError, match="no_such"):
            client.get("/x", cast_to=dict, options={"no_such": 1})
    request = server.requests[0]
    assert len(server.requests) == 2 and request.json == {"d": 3, "c": 2}
    assert request.headers["x-a"] == "1" and "/x?a=b" in repr(request)


def test_a_second_reader_of_a_stream_is_told_so(server):
    held = threading.Event()
    server.script(Answer(sse=chunks("a", "b"), wait=held, hold_after=1))
    with client_for(server) as client, client.stream_chat("hi") as stream:
        texts = [next(stream).content]
        reader = threading.Thread(target=lambda: texts.extend(chunk.content for chunk in stream))
        reader.start()
        stack = lambda: traceback.extract_stack(sys._current_frames()[reader.ident])  # noqa: E731
        eventually(lambda: "_next" in [frame.name for frame in stack()])  # it waits for bytes
        with pytest.raises(openai_mini.ValidationError, match="another thread reads"):
            next(stream)
        held.set()
        reader.join(10)
    assert "".join(texts) == stream.content == "ab", "who was first reads on to the end"


def test_text_that_ends_inside_a_character_is_told_by_its_mark(server):
    server.script(Answer(body=b"a\xe2\x82", content_type="text/plain"))
    with client_for(server) as client:
        with client.files.with_streaming_response.content("file-1") as answer:
            assert "".join(answer.iter_text(1)) == "a\ufffd"


def test_a_file_with_none_for_its_type_has_one_by_its_name(server):
    with client_for(server) as client:
        client.upload_file(("a.txt", b"xyz", None))
        client.files.create(file=("a.txt", b"xyz", None), purpose="fine-tune")
    for request in server.requests:
        assert ("file", "a.txt", "text/plain", b"xyz") in request.parts


class FirstPiece(Listener):
    """Answers what came with the first piece of a request: all that one send has sent."""

    def serve(self, number: int, sock) -> None:
        piece = sock.recv(1 << 22)
        length = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", piece).group(1))
        came = len(piece.partition(b"\r\n\r\n")[2])
        left = length - came
        while left:
            left -= len(sock.recv(left))
        body = json.dumps({"came": came, "length": length}).encode()
        head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        sock.sendall((head % len(body)).encode() + body)


def test_a_small_body_goes_out_with_the_head():
    with FirstPiece() as server:
        url = "http://127.0.0.1:%d/v1" % server.port
        with openai_mini.OpenAIMini("sk", base_url=url) as client:
            small, large = client.chat("hi"), client.chat("x" * openai_mini.BLOCK_BYTES)
    assert small.came == small.length > 0
    assert large.length > openai_mini.BLOCK_BYTES, "all of it arrives"


@pytest.mark.parametrize("count", [0, 1, 200, 201, 202, 40_404])
def test_a_text_of_many_pieces_is_their_sum_and_takes_little(count):
    text = openai_mini._Text()
    for number in range(count):
        text.add("%d," % number)
    assert str(text) == "".join("%d," % number for number in range(count))
    assert len(text) <= 201 + count // 200


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_an_answer_cut_in_its_head_is_none(server, tmp_path, framing):
    answer = Answer(body=b"", content_type="audio/mpeg", framing=framing, headers={"x-a": "b" * 9})
    head = answer.wire(False, False)[0][0].partition(b"\r\n\r\n")[0]
    with client_for(server, max_retries=0, circuit_breaker=False) as client:
        for cut in [*range(0, len(head), 7), len(head), len(head) + 2]:
            server.script(Answer(raw=(head + b"\r\n\r\n")[:cut]))
            with pytest.raises(openai_mini.APIConnectionError):
                client.text_to_speech("hi", to=tmp_path / "out.mp3")
            server.script(Answer(raw=(head + b"\r\n\r\n")[:cut]))
            with pytest.raises(openai_mini.APIConnectionError):
                client.files.delete("file-1")
    assert not list(tmp_path.iterdir())


def test_no_bytes_at_all_are_no_gzip_where_the_end_of_the_connection_is_theirs(server):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-encoding: gzip\r\n"
    with client_for(server, max_retries=0) as client:
        server.script(Answer(raw=head + b"\r\n"))
        with pytest.raises(openai_mini.APIResponseError, match="cut short"):
            client.text_to_speech("hi")
        server.script(Answer(raw=head + b"content-length: 0\r\n\r\n"))
        assert client.text_to_speech("hi") == b""


@pytest.mark.parametrize("more", [0, 7, 70, 105, 140, 259, 5000])
def test_raw_deflate_of_a_megabyte_and_more_is_read_to_its_end(server, more):
    body, deflate = b"a" * ((1 << 20) + more), zlib.compressobj(9, wbits=-15)
    packed = deflate.compress(body) + deflate.flush()
    headers = {"content-encoding": "deflate"}
    server.script(Answer(body=packed, content_type="audio/mpeg", headers=headers))
    with client_for(server, max_retries=0) as client:
        assert client.text_to_speech("hi") == body


def test_zeros_behind_a_member_of_gzip_are_no_member(server):
    import gzip

    headers = {"content-encoding": "gzip"}
    body = gzip.compress(b"one") + b"\0" * 7 + gzip.compress(b"two") + b"\0" * 600
    server.script(Answer(body=body, content_type="audio/mpeg", headers=headers))
    with client_for(server, max_retries=0) as client:
        assert client.text_to_speech("hi") == b"onetwo"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_does_not_answer_is_waited_for_as_a_connection_is(
    tls_server, monkeypatch, scheme
):
    class Silent(Listener):
        def serve(self, number, sock):
            sock.recv(1 << 16)
            while sock.recv(1 << 16):
                pass

    with Silent() as proxy:
        monkeypatch.setenv("https_proxy", "%s://localhost:%d" % (scheme, proxy.port))
        given = {"timeout": (0.2, 30), "max_retries": 0, "verify": tls_server.cert_path}
        with client_for(tls_server, **given) as client:
            with pytest.raises(openai_mini.APITimeoutError, match="no connection in 0.2 s"):
                client.chat("hi")


class SlowReader(Listener):
    """Takes a request by the megabyte, with a pause after each."""

    def serve(self, number, sock):
        head, _, body = sock.recv(1 << 16).partition(b"\r\n\r\n")
        left = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head).group(1)) - len(body)
        while left:
            for _ in range(16):
                left -= len(sock.recv(min(left, 1 << 16)))
            time.sleep(0.02)
        body = json.dumps(CHAT).encode()
        head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        sock.sendall((head % len(body)).encode() + body)


def test_a_large_body_that_moves_is_not_silent():
    with SlowReader() as server:
        url = "http://127.0.0.1:%d/v1" % server.port
        with openai_mini.OpenAIMini("sk", base_url=url, timeout=(5, 0.5), max_retries=0) as client:
            assert client.chat("x" * (48 << 20)).content == CHAT["choices"][0]["message"]["content"]


def test_a_call_out_of_an_uploads_progress_leaves_the_upload_its_time(server, client):
    called = []

    def progress(sent, total):
        if not called:
            called.append(client.chat("hi", deadline=0.3).content)
            time.sleep(0.3)

    client.with_options(max_retries=0).upload_file(b"x" * (1 << 20), progress=progress)
    assert len(called) == 1 and len(server.requests) == 2


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers of the system here")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a finalizer
def test_interrupts_at_any_moment_leave_a_client_that_works():
    """What a handler raises may come between any two steps in the main thread."""
    client, handler = openai_mini.OpenAIMini(base_url="echo:"), signal.default_int_handler
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for _ in range(300):
            with contextlib.suppress(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0003, 0.0015), 0.05)
                while True:
                    client.chat("x")
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    (answer,) = together(1, lambda i: (client.chat("y", timeout=3).content, client.stats()))
    assert answer[0] == "y"
    gc.collect()
    client.chat("z")  # whoever posts does what is left
    assert client.stats()["queue"] == {"running": 0, "waiting": 0}


def test_streams_of_map_leave_a_slot_to_the_job_that_tries_again(server):
    server.script(Answer(500))
    with client_for(server, max_concurrent_requests=3, timeout=(5, 5)) as client:
        client._sleep = lambda wait_s: time.sleep(0.1)  # the others begin meanwhile
        answers = ["".join(c.content for c in s) for s in client.map("stream_chat", list("abcde"))]
    assert answers == ["hello"] * 5


def test_a_probe_whose_leave_is_dropped_gives_its_place_back():
    clock = FakeClock()
    breaker = openai_mini.CircuitBreaker(failure_threshold=1, clock=clock)
    breaker.failure()
    clock.advance(31)
    leave = openai_mini._Leave()
    assert breaker._admit(leave) and not breaker.allow()
    del leave
    assert breaker.allow()


def test_a_key_in_what_is_no_json_is_not_told_by_a_streamed_response(server):
    key = "sk-SECRETKEY123456"
    with client_for(server, api_key=key, max_retries=0) as client:
        for read in ("parse", "json"):
            server.script(Answer(body=b"Bearer sk-SECRETKEY123456 is odd", content_type="text/x"))
            with client.models.with_streaming_response.retrieve("m") as answer:
                with pytest.raises(openai_mini.APIResponseError) as caught:
                    getattr(answer, read)()
            assert "GET /models/m: " in str(caught.value) and "is odd" in str(caught.value)
            assert key not in str(caught.value) and key.encode() not in pickle.dumps(caught.value)


@pytest.mark.parametrize("header", ["Helicone-Auth", "Ocp-Apim-Subscription-Key", "X-Team-Token"])
def test_what_is_secret_in_other_headers_is_not_told_either(server, header):
    server.script(Answer(400, json={"error": {"message": "bad s3cr3t-of-ours, bob"}}))
    headers = {header: "s3cr3t-of-ours", "X-Author": "bob"}
    with client_for(server, default_headers=headers) as client:
        with pytest.raises(openai_mini.BadRequestError) as caught:
            client.chat("hi")
    assert "s3cr3t" not in str(caught.value) and "bob" in str(caught.value)


def test_a_fallback_gets_no_key_of_another_server(server):
    with LoopbackServer() as other:
        server.default = Answer(500)
        own = client_for(other, api_key="sk-other")
        with client_for(server, fallback=own, max_retries=0) as client:
            headers = {"Authorization": "Bearer sk-first", "X-A": "1"}
            assert client.chat("hi", extra_headers=headers).content == "hello"
        assert server.requests[0].headers["authorization"] == "Bearer sk-first"
        assert other.requests[0].headers["authorization"] == "Bearer sk-other"
        assert other.requests[0].headers["x-a"] == "1"


def test_a_proxys_password_is_not_told(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://user:PASSW0RD@127.0.0.1:99999")
    with client_for(server, base_url="http://far.invalid/v1", max_retries=0) as client:
        with pytest.raises(openai_mini.OpenAIError) as caught:
            client.chat("hi")
    assert "PASSW0RD" not in str(caught.value) and "127.0.0.1:99999" in str(caught.value)


@pytest.mark.parametrize("key", ["x", "ollama"])
def test_a_key_as_short_as_a_word_is_not_taken_out_of_what_the_model_said(server, key):
    server.script(Answer(sse=chunks("run ollama in a box", finish=None), done=False))
    with client_for(server, api_key=key) as client, client.stream_chat("hi") as stream:
        with pytest.raises(openai_mini.StreamInterruptedError) as caught:
            list(stream)
    assert caught.value.partial.content == "run ollama in a box"


def test_who_waits_out_a_pause_is_told_of_it():
    queue = openai_mini.RequestQueue()
    queue.pause(30)
    with pytest.raises(openai_mini.QueueTimeoutError, match="nothing may start") as caught:
        queue.slot(timeout=0.01).acquire()
    assert 29 < caught.value.retry_after < 30


def test_a_ctrl_c_between_a_slots_grant_and_its_word_loses_none():
    queue, fired = openai_mini.RequestQueue(max_concurrent=1), []

    def trace(frame, event, arg):
        if frame.f_code.co_name == "wake" and event == "line" and not fired:
            fired.append(frame.f_lineno)
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(KeyboardInterrupt), queue.slot():
            pass
    finally:
        sys.settrace(before)
    assert fired
    for _ in range(3):
        with queue.slot(timeout=5):
            assert (queue.running, queue.waiting) == (1, 0)


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


def test_a_probe_that_a_thread_was_allowed_outlives_the_thread():
    clock = FakeClock()
    breaker = openai_mini.CircuitBreaker(failure_threshold=1, success_threshold=1, clock=clock)
    breaker.failure()
    clock.advance(31)
    assert [together(1, lambda i: breaker.allow()) for _ in range(3)] == [[True], [False], [False]]
    breaker.success()  # by whichever thread
    assert breaker.state == "closed"


def test_a_slot_that_is_used_again_is_waited_for_again():
    queue, running, most = openai_mini.RequestQueue(max_concurrent=2), [], []

    def work(i):
        slot = queue.slot()
        for _ in range(200):
            with slot:
                running.append(i)
                most.append(len(running))
                running.remove(i)

    assert together(8, work) == [None] * 8
    assert max(most) <= 2


@pytest.mark.parametrize(
    "header, is_secret",
    [("Authorization", True), ("api-key", True), ("x-functions-key", True), ("X-Access-Key", True),
     ("X-Amz-Signature", True), ("Cookie", True), ("X-Team-Token", True), ("X-Max-Tokens", False),
     ("Helicone-Token-Limit-Exception-Handler", False), ("Idempotency-Key", False),
     ("idempotency-key", False), ("X-Author", False)],
)  # fmt: skip
def test_a_headers_name_tells_whether_it_is_secret(header, is_secret):
    assert openai_mini._is_secret(header) == is_secret
