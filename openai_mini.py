"""One file that talks to the OpenAI API and to every server that speaks it.

    from openai_mini import OpenAIMini
    client = OpenAIMini(base_url="echo:")  # offline; else OPENAI_API_KEY and api.openai.com
    print(client.chat("Hello").content)

It needs `requests`, `urllib3` and Python 3.8 or later. Its rooms are in bottom-up order.

openai_mini 2.0.0. MIT licence: use, copy, change and pass on this file, with this notice; it comes
without warranty of any kind. Copyright (c) 2026 the openai_mini developers.
"""

from __future__ import annotations

# JSON is of type Any:
# mypy: disable-error-code="no-any-return"
import _thread
import io
import sys
import time

__version__ = "2.0.0"
__all__ = ["OpenAIMini", "OpenAI", "Client", "AzureOpenAI", "CircuitBreaker", "RequestQueue",
           "iter_sse", "main", "Stream", "Result", "Page", "Transcript", "Binary", "Response",
           "ServerSentEvent", "HIGH", "NORMAL", "LOW", "NOT_GIVEN", "omit", "DEFAULT_MODELS",
           "OpenAIError", "APIError", "APIConnectionError", "APITimeoutError", "APIResponseError",
           "APIResponseValidationError", "LengthFinishReasonError",
           "ContentFilterFinishReasonError", "StreamInterruptedError", "APIStatusError",
           "BadRequestError", "AuthenticationError", "PermissionDeniedError", "NotFoundError",
           "ConflictError", "UnprocessableEntityError", "RateLimitError", "InternalServerError",
           "CircuitOpenError", "QueueFullError", "QueueTimeoutError", "ToolLoopError",
           "ValidationError"]

# Edit them in your copy. `model=` comes first, then, for chat, OPENAI_MODEL.
DEFAULT_MODELS = {"chat": "gpt-5.4-mini", "embedding": "text-embedding-3-small",
                  "image": "gpt-image-2", "speech": "gpt-4o-mini-tts",
                  "transcription": "gpt-transcribe", "moderation": "omni-moderation-latest"}

TYPE_CHECKING = False


class _Late:
    """Stands for a module until one of its names is used."""

    def __init__(self, name: str) -> None:
        self._name, self._package = name, name.partition(".")[0]
        globals()[self._package] = self

    def __getattr__(self, attribute: str) -> Any:
        _importing.append(_thread.get_ident())
        try:
            module = globals()[self._package] = __import__(self._name)
        finally:
            _importing.remove(_thread.get_ident())
        return getattr(module, attribute)


_importing: list[int] = []  # threads that import: no call may be made in their signal handlers


if TYPE_CHECKING:  # never runs: read by type checkers, and packers such as PyInstaller
    from typing import Any, Callable, Iterable, Iterator
    import argparse, base64, bisect, certifi, collections, contextlib, copy
    import concurrent.futures, difflib, encodings.idna, functools, hashlib, inspect
    import itertools, json, logging, mimetypes, os, random, re, requests, select
    import socket, threading, typing, urllib.parse, urllib3, weakref, zlib
else:
    for _name in """argparse base64 bisect certifi collections concurrent.futures contextlib copy
            difflib encodings.idna functools hashlib inspect itertools json logging mimetypes os
            random re requests select socket threading typing urllib.parse urllib3 weakref
            zlib""".split():
        _Late(_name)


# --------------------
# Errors


class OpenAIError(Exception):
    """The base of all errors of this module."""

    code = type = param = body = response = partial = status_code = retry_after = None  # type: Any
    _transient = _may_be_done = False  # it may succeed later; it may have been done, and billed

    def __init__(self, message: str = "", *, advice: str = "", **details: Any) -> None:
        super().__init__(message.rstrip(". ") + ". " + advice if advice else message)
        self._what, self._advice = message.rstrip(". "), advice
        self.status_code = getattr(details.get("response"), "status_code", None)
        if isinstance(details.get("body"), dict):
            self.code, self.type, self.param = map(details["body"].get, ("code", "type", "param"))
        self.__dict__.update(details)

    message = property(str)
    request_id = property(lambda self: getattr(self.response, "headers", {}).get("x-request-id"))
    is_auth_error = property(lambda self: self.status_code in (401, 403))
    is_rate_limit_error = property(lambda self: isinstance(self, RateLimitError))
    is_transient_error = property(lambda self: self._transient)

    def _locate(self, exchange: Any) -> None:
        call, self.response, partial = exchange.call, exchange.response, self.partial
        secrets, proxy = call.secrets, re.split("//|@", exchange.limits.proxy)[-1].strip("/")
        if proxy and proxy not in self._what:
            self._what += ", through the proxy " + proxy
        for holder in filter(None, (self, self.response)):
            vars(holder).update(_without(secrets, vars(holder)))
        # A key such as `ollama` may be a word of the model's.
        self.partial = _without([secret for secret in secrets if len(secret) > 11], partial)
        times = ", after %d attempt%s" % (call.attempts, "s" * (call.attempts > 1))
        parts = (call.method, call.path, self._what, times if isinstance(self, APIError) else "")
        self.args = (_plain("%s %s: %s%s. " % parts + self._advice, 2000),)
        self.__context__ = None  # may contain a key


class APIError(OpenAIError):
    """The server's: `.code`, `.type`, `.param`, `.body` (the inner error object), `.request_id`,
    `.status_code`, `.response`. `.retry_after`: seconds. `.partial`: what came before the error."""


class APIConnectionError(APIError):
    """No connection, or a broken one: `.__cause__` is an OSError."""

    _transient = True


class APITimeoutError(APIConnectionError):
    """No answer within `timeout=` or `deadline=`."""


class APIResponseError(APIError):
    """Broken JSON, HTML, a body cut short, or no answer in it."""


# The official package's names.
LengthFinishReasonError = ContentFilterFinishReasonError = APIResponseError
APIResponseValidationError = APIResponseError


class StreamInterruptedError(APIError):
    """A stream broke off: `.partial` is the message so far."""

    _transient = True


class APIStatusError(APIError):
    """The server answered with an error."""


class BadRequestError(APIStatusError):
    """400."""


class AuthenticationError(APIStatusError):
    """401: the API key."""


class PermissionDeniedError(APIStatusError):
    """403."""


class NotFoundError(APIStatusError):
    """404: path, model or object."""


class ConflictError(APIStatusError):
    """409."""


class UnprocessableEntityError(APIStatusError):
    """422."""


class RateLimitError(APIStatusError):
    """429: too many requests, or no quota."""


class InternalServerError(APIStatusError):
    """500 and over."""


class CircuitOpenError(OpenAIError):
    """Nothing was sent. `.retry_after`: seconds until a probe."""


class QueueFullError(OpenAIError):
    """Too many callers wait for a slot."""


class QueueTimeoutError(OpenAIError):
    """No slot came free in time."""


class ToolLoopError(OpenAIError):
    """The model goes on calling tools: see `.messages`."""


class ValidationError(OpenAIError, ValueError):
    """An argument is wrong; nothing was sent."""


_STATUSES = {
    200: (APIResponseError, "This is no answer: check base_url=."),
    400: (BadRequestError, "Check the arguments."),
    401: (AuthenticationError, "Check the API key: api_key= or OPENAI_API_KEY."),
    403: (PermissionDeniedError, "Check the key, organization= and project=."),
    404: (NotFoundError, "Check base_url=; asked for was {url}."),
    409: (ConflictError, "Read the object again first."),
    422: (UnprocessableEntityError, "Check the arguments."),
    429: (RateLimitError, "The rate limit is reached: wait, or lower requests_per_minute=."),
    500: (InternalServerError, "Try again later.")}
# The status of an error under 200, by words of its codes or, without them, its text.
_ERROR_WORDS = {
    401: "authentication_error|invalid_api_key", 403: "permission_(error|denied)", 404: "not_found",
    429: "rate.?limit|too many req|insufficient_quota|^(requests|tokens)$",
    400: "invalid_(request|prompt)|context_length|content_filter", 529: "overload|busy|capac",
    500: "server|internal|unavailable"}
_WORDS = "loc message msg error_msg detail errors error base_resp status_msg metadata raw".split()


def _plain(text: str, limit: int = 500) -> str:
    text = "".join(c if c.isprintable() else "?" for c in " ".join(text[: 4 * limit].split()))
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _error_text(value: Any) -> str:
    if isinstance(value, dict):
        value = [value[name] for name in _WORDS if value.get(name)]
    if isinstance(value, list):
        return _plain("; ".join(filter(None, dict.fromkeys(map(_error_text, value[:5])))))
    return "" if value is None or value is True else _plain(str(value))


def _error_of(exchange: Any, body: Any, location: str = "", partial: Any = None) -> APIError:
    response, body = exchange.response, _without(exchange.call.secrets, body)
    outer = [*_dicts(body), {}][0]
    inner = next(filter(None, map(outer.get, ("error", "errors", "detail"))), body)
    holder, text = inner if isinstance(inner, dict) else outer, _error_text(body)
    codes = [str(holder.get(name)) for name in ("code", "type", "error_type", "status")]
    status = response.status_code
    if 200 <= status < 300:
        numbers = [int(code) for code in codes if re.fullmatch("[45][0-9][0-9]", code)]
        words = "\n".join(c for c in codes if not re.fullmatch("[0-9]*|None|error", c)) or text
        rows = [row for row, expr in _ERROR_WORDS.items() if re.search("(?im)" + expr, words)]
        status = [*numbers, *rows, 200][0]
    retry = status in (408, 409, 429) or status >= 500
    cls, advice = _STATUSES.get(min(status, 500), (APIStatusError, "Check the arguments."))
    if "insufficient_quota" in codes:
        retry, advice = False, "The quota is used up: see the account's billing."
    elif re.search("(?i)model.*(exist|found)|(valid|known) model", "%s %s" % (codes, text)):
        advice = "See list_models()."
    retry = {"true": True, "false": False}.get(response.headers.get("x-should-retry"), retry)
    words = (location and "-> %.200s " % location) + (text or _plain(str(inner or ""), 200))
    return cls("%d %s" % (status, words), advice=advice.replace("{url}", response.url),
               body=inner or None, response=response, status_code=status, partial=partial,
               retry_after=_retry_after(response.headers), _transient=retry)


def _retry_after(headers: Any) -> float | None:
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if number := re.match(r"\s*(\d+(\.\d*)?)\s*(,|$)", headers.get(name) or "", re.A):
            return float(number[1]) * unit
    with contextlib.suppress(Exception):
        return urllib3.Retry().parse_retry_after(headers.get("retry-after"))
    return None


def _without(keys: Iterable[str], value: Any, depth: int = 0) -> Any:
    """Return `value` without secrets, and parts that are nested too deep."""
    if isinstance(value, str):
        for key in keys:
            value = value.replace(key, "[key]")
    elif isinstance(value, bytes):
        value = _without(keys, value.decode("utf-8", "replace")).encode("utf-8", "replace")
    elif hasattr(value, "items"):
        value = type(value)(_without(keys, pair, depth + 1) for pair in value.items() if depth < 98)
    elif isinstance(value, (list, tuple)):
        value = type(value)(_without(keys, item, depth + 1) for item in value if depth < 99)
    return value


def _dicts(value: Any) -> list[Any]:
    """Return the JSON objects in a list, or `value` if it is one."""
    return [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, dict)]


def _check_number(name: str, value: Any, least: float, most: float = float("inf")) -> None:
    kind = int if isinstance(least, int) else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
        needed = "a whole number" if kind is int else "a number", least, most
        raise ValidationError("%s= is %r: %s from %g to %g is needed" % (name, value, *needed))


def _guarded(name: str, function: Any, *args: Any) -> Any:
    try:
        return function(*args)
    except Exception:
        logging.getLogger("openai_mini").exception("%s raised", name)


# --------------------
# Lock
#
# One kind of lock for the breaker, the queue and the statistics, and one hook for forked children.


class _Lock:
    """A lock that finalizers can use.

    A finalizer may run in the thread that holds the lock, so it must not wait: it calls defer(),
    all others do(). Deferred work must not raise. Work under the lock is short, and none of the
    caller's. A signal handler may enter the lock again.
    """

    def __init__(self) -> None:
        self._lock: Any = _thread.RLock()
        self.deferred: Any = collections.deque()

    def do(self, work: Callable[..., Any], *args: Any) -> Any:
        try:
            with self._lock:
                return work(*args)
        finally:
            if self.deferred:  # by a thread that found the lock taken
                self.drain()

    def defer(self, work: Callable[..., Any], *args: Any) -> None:
        """Do the work now if the lock is free, else let its holder do it."""
        self.deferred.append((work, args))
        self.drain()

    def drain(self) -> None:
        while self.deferred and not self._lock._is_owned() and self._lock.acquire(False):
            try:
                while self.deferred:
                    work, args = self.deferred.popleft()
                    work(*args)
            finally:
                self._lock.release()


_renewed_after_fork: list[Any] = []  # holds one WeakSet once it is needed


def _renew_after_fork(obj: Any) -> None:
    """Call `obj._renew()` in each forked child, where locks of other threads stay taken."""
    if not _renewed_after_fork:
        _renewed_after_fork.append(weakref.WeakSet())
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_renew_all)
    _renewed_after_fork[0].add(obj)


def _renew_all() -> None:
    for obj in list(_renewed_after_fork[0]):
        obj._renew()


# --------------------
# Server-sent events
#
# Bytes in, events out, by the rules of
# https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
# The parser keeps the bytes of the unfinished event, and decodes the complete ones at once.

MAX_EVENT_BYTES = 16 << 20


class ServerSentEvent:
    """`.event` (its type), `.data`, `.id` (the last one set), `.retry` (ms or None)."""

    event, data, id = "message", "", ""
    retry: int | None = None


def iter_sse(chunks: Iterable[bytes], max_event_bytes: int = MAX_EVENT_BYTES) -> Iterator[Any]:
    """Yield the events in `chunks` (bytes, cut anywhere), each at its blank line. One of more than
    `max_event_bytes` raises APIResponseError.

    >>> [event.data for event in iter_sse([b"data: a", b"b\\n\\ndata: c"])]
    ['ab']
    """
    parser = _EventParser(max_event_bytes)
    for chunk in chunks:
        for block in parser.blocks(bytes(memoryview(chunk))):  # bytes(5) would be five zeros
            if event := parser.event_of(block):
                yield event


class _EventParser:
    """Makes blocks (the lines of an event) of bytes, and events of blocks."""

    _encoding = "utf-8-sig"

    def __init__(self, max_event_bytes: int) -> None:
        self._limit, self._after_cr, self._last_id = max_event_bytes, False, ""
        self._buffer = bytearray()  # the unfinished event, its lines ended by LF

    def blocks(self, chunk: bytes) -> Iterable[str]:
        if self._after_cr or b"\r" in chunk:
            raw = b"\r" * self._after_cr + chunk  # it may begin with the LF of a CRLF
            chunk = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")[self._after_cr :]
            self._after_cr = raw[-1:] == b"\r"
        buffer = self._buffer
        buffer += chunk
        end = buffer.rfind(b"\n\n", max(len(buffer) - len(chunk) - 1, 0))
        if end < 0:
            self._check_size(len(buffer))
            return ()
        self._buffer = buffer[end + 2 :]
        del buffer[end:]
        blocks = buffer.decode(self._encoding, "replace").split("\n\n")
        self._encoding = "utf-8"
        if end <= self._limit:
            return blocks
        # One by one: those before the large one come.
        return (block for block in blocks if not self._check_size(len(block.encode())))

    def _check_size(self, size: int) -> Any:
        if size > self._limit:
            raise APIResponseError("an event of the stream is larger than %d bytes" % self._limit)

    def event_of(self, block: str) -> ServerSentEvent | None:
        event, data = ServerSentEvent(), []
        first, _, last = block.rpartition("\n")
        # The usual lines first: half the time.
        if last[:6] == "data: " and (not first or first[:7] == "event: " and "\n" not in first):
            event.event, event.data, event.id = first[7:] or "message", last[6:], self._last_id
            return event
        for name, _, value in (line.partition(":") for line in block.split("\n")):
            value = value[1:] if value[:1] == " " else value
            if name == "event":
                event.event = value or "message"
            elif name == "data":
                data.append(value)
            elif name == "id" and "\0" not in value:
                self._last_id = value
            elif name == "retry" and value.isascii() and value.isdigit() and len(value) <= 640:
                event.retry = int(value)  # int() may refuse longer numbers
        event.data, event.id = "\n".join(data), self._last_id
        return event if data else None


# --------------------
# Circuit breaker
#
# closed     enough failures in the window   -> open
# open       reset_timeout has passed        -> half_open  (noticed when asked)
# half_open  success_threshold in a row      -> closed
# half_open  one failure                     -> open
# half_open  a probe without an outcome      -> half_open
#
# The lock guards the state and the counts, never the guarded work or on_change. Each opening begins
# a generation: outcomes of older calls are ignored. Outcomes are counted in buckets: memory is
# constant, and one may count for a bucket too long.

_BUCKETS = 10


class _Permit:
    """The right to make one call. The breaker refers to it weakly: a lost probe blocks nothing."""

    reported = False

    def __init__(self, generation: int) -> None:
        self.generation = generation


class CircuitBreaker:
    """Stops calls to a service that fails. Threads and clients may share it.

    It opens when at least `failure_threshold` outcomes of the last `window` seconds are failures,
    and at least `failure_rate` of all. `reset_timeout` seconds later it lets one probe at a time
    through. `on_change(old, new)` is called after each change of state.
    """

    # `opened` is the generation, `_buckets` has number: [failures, successes].
    _state, _opened_at, opened, _successes = "closed", 0.0, 0, 0
    _buckets: dict[int, list[int]] = {}

    def __init__(self, failure_threshold: int = 5, failure_rate: float = 0.5,
                 window: float = 60.0, reset_timeout: float = 30.0, success_threshold: int = 2,
                 on_change: Any = None, clock: Any = time.monotonic) -> None:
        _check_number("failure_threshold", failure_threshold, 1)
        _check_number("failure_rate", failure_rate, 0.0, 1)
        _check_number("window", window, 1e-6)
        _check_number("reset_timeout", reset_timeout, 0.0)
        _check_number("success_threshold", success_threshold, 1)
        self.failure_threshold, self.success_threshold = failure_threshold, success_threshold
        self.failure_rate, self.window, self.reset_timeout = failure_rate, window, reset_timeout
        self.on_change, self.clock = on_change, clock
        self._renew()
        _renew_after_fork(self)

    def _renew(self) -> None:
        self._lock, self._changes = _Lock(), _Lock()  # for the state; for the calls of on_change
        self._allowed: dict[int, Any] = {}
        self._probe: Any = None

    def __reduce__(self) -> Any:
        setup = (self.failure_threshold, self.failure_rate, self.window, self.reset_timeout)
        return type(self), (*setup, self.success_threshold, self.on_change, self.clock)

    state = property(lambda self: self._do(self._get_state), doc="'closed', 'open' or 'half_open'.")

    @property
    def retry_after(self) -> float:
        """Seconds until a call may be made; `reset_timeout` while a probe is under way."""
        probe = self._probe
        if self._state != "open":
            return self.reset_timeout if probe and probe() else 0.0
        return max(0.0, self._opened_at + self.reset_timeout - self.clock())

    def allow(self) -> bool:
        """Whether a call may be made; then report success(), failure() or release()."""
        permit = self._admit()
        if permit:
            new: Any = collections.deque(maxlen=100)
            self._allowed.setdefault(_thread.get_ident(), new).append(permit)
        return permit is not None

    def success(self) -> None:
        self._report(self._pop_allowed(), True)

    def failure(self) -> None:
        self._report(self._pop_allowed(), False)

    def release(self) -> None:
        self._report(self._pop_allowed(), None)

    def reset(self) -> None:
        """Close the circuit and forget all outcomes."""
        self._do(self._set_state, "closed")

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Return `function(*args, **kwargs)`, or raise CircuitOpenError."""
        with self:
            return function(*args, **kwargs)

    def __enter__(self) -> CircuitBreaker:
        if not self.allow():
            raise self._open_error()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._report(self._pop_allowed(), _outcome(error))

    def _pop_allowed(self) -> _Permit:
        allowed = self._allowed.get(_thread.get_ident())
        return allowed.pop() if allowed else _Permit(self.opened)  # reports for another thread

    def _open_error(self) -> CircuitOpenError:
        what, wait_s = "the circuit is open: nothing was sent, a probe may go", self.retry_after
        return CircuitOpenError("%s in %.3g s" % (what, wait_s), retry_after=wait_s)

    def _admit(self) -> Any:
        permit = _Permit(self.opened)  # before the state is read: it may open in between
        return permit if self._state == "closed" else self._do(self._new_permit)

    def _report(self, permit: _Permit, succeeded: bool | None) -> None:
        self._lock.defer(self._count, permit, succeeded)
        if succeeded is not None:  # else a finalizer's, in which on_change must not run
            self._changes.drain()

    def _do(self, work: Callable[..., Any], *args: Any) -> Any:
        """Do the work under the lock, then call on_change, in order, one thread at a time."""
        result = self._lock.do(work, *args)
        self._changes.drain()
        return result

    # What follows runs under the lock.

    def _set_state(self, state: str) -> None:
        if state == "open":
            self._opened_at, self.opened = self.clock(), self.opened + 1
        if self.on_change and state != self._state:
            change = ("on_change", self.on_change, self._state, state)
            self._changes.deferred.append((_guarded, change))
        self._state, self._probe = state, None
        self._successes, self._buckets = 0, {}

    def _get_state(self) -> str:
        if self._state == "open" and not self.retry_after:
            self._set_state("half_open")
        return self._state

    def _new_permit(self) -> _Permit | None:
        if self._get_state() == "open" or self._probe and self._probe():
            return None
        permit = _Permit(self.opened)
        self._probe = weakref.ref(permit) if self._state == "half_open" else None
        return permit

    def _count(self, permit: _Permit, succeeded: bool | None) -> None:
        is_counted = succeeded is False or not permit.reported  # a stream fails after its success
        permit.reported = True
        if not is_counted or permit.generation != self.opened or self._state == "open":
            return
        self._probe, is_half_open = None, self._state == "half_open"
        self._successes += succeeded is True
        if succeeded is not None:
            number = int(self.clock() / self.window * _BUCKETS)
            if number not in self._buckets:
                recent = {k: n for k, n in self._buckets.items() if k >= number - _BUCKETS}
                self._buckets = {**recent, number: [0, 0]}
            self._buckets[number][succeeded] += 1
        if succeeded is False and (is_half_open or self._fails_too_often()):
            self._set_state("open")
        elif is_half_open and self._successes >= self.success_threshold:
            self._set_state("closed")

    def _fails_too_often(self) -> bool:
        failures, successes = map(sum, zip(*self._buckets.values()))
        rate = failures / (failures + successes)  # not a product: 0.1 * 30 > 3
        return failures >= self.failure_threshold and rate >= self.failure_rate


def _outcome(error: BaseException | None) -> bool | None:
    """Return True (success), False (failure) or None (neither)."""
    is_refused = isinstance(error, OpenAIError) and not isinstance(error, APIError)
    if is_refused or not isinstance(error, Exception):
        return True if error is None else None
    return isinstance(error, APIStatusError) and (error.status_code or 0) < 500


# --------------------
# Request queue
#
# A slot is the right to have one attempt under way. Callers and jobs stand in two lines, by
# priority, then by arrival; the first of both starts next. The queue's lock guards all of this.
# Whoever frees a slot grants it to the next one and wakes it:
# - A caller waits for the lock of its own slot. To be woken means to look at the slot again.
# - A worker thread waits with a slot for any job, and is granted both together.
# - While a pause or per_minute blocks all, they sleep to its end; the first one up grants.
# A dropped slot gives itself back, so the queue refers only to slots that wait.

HIGH, NORMAL, LOW = 0, 1, 2


class _Slot:
    """A context manager. Any thread may call release(), also twice."""

    state = "new"  # then waiting, granted, released
    # `place`: (priority, number) in line. `work`: a worker's job.
    place, work = (), None  # type: Any, Any

    def __init__(self, queue: RequestQueue, priority: Any, timeout: float | None, job: Any) -> None:
        # `job`: the place of the job that has this slot or asks for it.
        self.queue, self.priority, self.timeout, self.job = queue, priority, timeout, job
        self.lock = _thread.allocate_lock()  # released to wake wait()

    def acquire(self) -> _Slot:
        try:
            if self.state != "granted":
                self.queue._lock.do(self.queue._arrive, self)
            if self.state == "waiting" and not self.wait(self.timeout):
                pause_s = max(self.queue._paused_until - self.queue._clock(), 0.0)
                what = "no slot came free in %.3g s (pause: %.3g s): close streams, or send less"
                raise QueueTimeoutError(what % (self.timeout, pause_s), retry_after=pause_s or None)
        except BaseException:
            self.release()
            raise
        return self

    def wait(self, seconds: float | None) -> bool:
        queue, clock = self.queue, self.queue._clock
        end = clock() + (float("inf") if seconds is None else seconds)
        while self.state == "waiting":
            now = clock()
            if now >= end:
                return False
            until = queue._paused_until if now < queue._paused_until < end else end
            # 1 s: a Ctrl-C just before it would go unnoticed.
            self.lock.acquire(True, min(until - now, 1.0))
            queue._lock.do(queue._grant)
        return True

    def release(self, *exc_info: Any, retry: bool = False) -> None:
        """`retry`: one stays free for its job, which will retry."""
        if self.state in ("waiting", "granted"):
            self.queue._lock.defer(self.queue._take_back, self, retry)
            self.state = "released"

    __enter__, __exit__, __del__ = acquire, release, release


class RequestQueue:
    """At most `max_concurrent` at once, and at most `per_minute` started in any minute.

    Callers over that wait by priority (HIGH, NORMAL, LOW), then by arrival; over `size` waiting
    raise QueueFullError. Threads and clients may share it.
    """

    def __init__(self, max_concurrent: int = 10, size: int = 100,
                 per_minute: int | None = None) -> None:
        _check_number("max_concurrent", max_concurrent, 1)
        _check_number("size", size, 0)
        _check_number("per_minute", 1 if per_minute is None else per_minute, 1)
        self.max_concurrent, self.size, self.per_minute = max_concurrent, size, per_minute
        self._starts: Any = collections.deque([float("-inf")] * (per_minute or 0), per_minute or 0)
        # The numbers go on in a forked child, where slots of the parent may come back.
        self._clock, self._paused_until, self._numbers = time.monotonic, 0.0, itertools.count()
        self._renew()
        _renew_after_fork(self)

    def _renew(self) -> None:
        self._lock, self._insort = _Lock(), bisect.insort
        # Sorted, as (priority, number, slot) and (priority, number, job).
        self._callers, self._jobs = [], []  # type: Any, Any
        # Ids of granted slots; places of jobs that wait to retry.
        self._held, self._retrying = set(), set()  # type: set[int], set[Any]
        # How many; slots of the idle; threads of clients within an attempt.
        self._workers, self._idle, self.active = 0, [], []  # type: int, list[_Slot], list[int]
        self._local = threading.local()  # in a worker: .job (its place), .slot until it is used

    def __reduce__(self) -> Any:
        return type(self), (self.max_concurrent, self.size, self.per_minute)

    running = property(lambda self: len(self._held), doc="How many slots are taken.")
    waiting = property(lambda self: len(self._callers) + len(self._jobs), doc="How many wait.")

    def slot(self, priority: float = NORMAL, timeout: float | None = None) -> _Slot:
        """A context manager: a slot, or QueueTimeoutError. A job's first slot is its own."""
        _check_number("priority", priority, float("-inf"))
        local = self._local.__dict__
        return local.pop("slot", None) or _Slot(self, priority, timeout, local.get("job"))

    def pause(self, seconds: float) -> None:
        self._lock.defer(self._pause_until, self._clock() + seconds)

    def submit(self, function: Any, /, *args: Any, priority: float = NORMAL, **kw: Any) -> Any:
        """Have a daemon thread call `function(*args, **kw)` with a slot; return its Future."""
        return self._submit([], args, priority, function, kw)[0]

    def _submit(self, results: Any, args: Any, priority: float, function: Any, kw: Any) -> Any:
        """`results` has the future before a thread starts: a Ctrl-C loses nothing."""
        _check_number("priority", priority, float("-inf"))
        future: Any = concurrent.futures.Future()
        place, job = (priority, next(self._numbers)), (future, function, args, kw)
        future.add_done_callback(lambda done: self._lock.defer(self._end_job, place, done))
        is_nested = "job" in self._local.__dict__  # called at once: it could wait forever
        too_few = not is_nested and self._lock.do(self._add_job, (*place, job))
        results.append(future)
        if is_nested:
            self._run(job, is_nested)
        elif too_few:
            try:
                threading.Thread(target=self._work, name="openai_mini", daemon=True).start()
            except RuntimeError as error:
                if self._lock.do(self._end_worker) and not self._workers:  # else one runs it
                    results.pop().cancel()
                    raise QueueFullError("no thread can be started: %s" % error) from None
        return results

    def map(self, function: Any, inputs: Any, *, priority: float = NORMAL, **kw: Any) -> _Map:
        """Yield `function(input, **kw)` for each of `inputs`, in order, or raise its error. At most
        `size` inputs are read ahead."""
        if not hasattr(inputs, "__iter__"):
            raise ValidationError("map() needs an iterable, not %r" % type(inputs).__name__)
        return _Map(self, iter(inputs), priority, function, kw)

    # What follows runs under the lock.

    def _arrive(self, slot: _Slot) -> None:
        is_free = len(self._held) < self.max_concurrent and not self._callers and not self._jobs
        if is_free and self._clock() >= self._paused_until:
            return self._start(slot)
        slot.state, slot.place = "waiting", (slot.priority, next(self._numbers))
        self._insort(self._callers, (*slot.place, slot))
        self._grant()
        if slot.state == "waiting" and len(self._callers) > self.size and not slot.job:
            raise QueueFullError("%d callers wait already: raise queue_size=" % self.size)

    def _take_back(self, slot: _Slot, retry: bool) -> None:
        _remove(self._callers, slot.place)
        self._held.discard(id(slot))
        if retry and slot.job:
            self._retrying.add(slot.job)
        self._grant()

    def _grant(self) -> None:
        """Grant free slots to callers, or to jobs if a worker is idle. Jobs leave one free for each
        that waits to retry: streams could keep all while their reader waits for it."""
        while len(self._held) < self.max_concurrent and (self._callers or self._jobs):
            taken = len(self._held) + len(self._retrying)
            jobs = self._jobs if self._idle and taken < self.max_concurrent else []
            line = min(filter(None, (self._callers, jobs)), default=None)
            if line is None or self._clock() < self._paused_until:
                return
            try:
                slot = self._idle.pop() if line is self._jobs else None
                *place, item = line.pop(0)
            except IndexError:  # a signal handler took it
                continue
            if slot:
                slot.work, slot.job = item, tuple(place)
            self._start(slot or item)

    def _start(self, slot: _Slot) -> None:
        slot.state = "granted"
        self._held.add(id(slot))
        self._retrying.discard(slot.job)
        if slot.lock.locked():
            slot.lock.release()
        if self.per_minute:
            self._starts.append(self._clock())
            self._pause_until(self._starts[0] + 60.0)

    def _pause_until(self, until: float) -> None:
        if until > self._paused_until:
            self._paused_until = until
            for slot in (*self._idle, *(waiting[2] for waiting in self._callers)):
                if slot.lock.locked():
                    slot.lock.release()

    def _add_job(self, item: Any) -> bool:
        """Return whether a thread must be started; it is counted here."""
        self._insort(self._jobs, item)
        self._grant()
        # Twice as many: some may be ending a job, without a slot.
        too_few = len(self._idle) < len(self._jobs) and self._workers < 2 * self.max_concurrent
        self._workers += too_few
        return too_few

    def _end_job(self, place: Any, future: Any) -> None:
        self._retrying.discard(place)
        if _remove(self._jobs, place):
            future.set_running_or_notify_cancel()  # wakes concurrent.futures.wait()
        self._grant()

    def _offer(self, slot: _Slot) -> None:
        slot.state = "waiting"
        self._idle.append(slot)
        self._grant()

    def _end_worker(self, slot: _Slot | None = None) -> bool:
        """Return whether a worker may end. No slot: it did not start."""
        if slot and (self._jobs or slot.state != "waiting"):
            return False
        self._idle = [idle for idle in self._idle if idle is not slot]
        self._workers -= 1
        return True

    # What follows runs outside the lock.

    def _work(self) -> None:
        local = self._local.__dict__
        while True:
            slot = _Slot(self, None, None, None)
            self._lock.do(self._offer, slot)
            while not slot.wait(0.5):
                if self._lock.do(self._end_worker, slot):
                    return
            local["slot"], local["job"] = slot, slot.job
            del slot  # it comes back when the job drops it
            self._run(vars(local["slot"]).pop("work"), is_nested=False)

    def _run(self, job: Any, is_nested: bool) -> None:
        """Call a job's function. The slot comes back before the future is set."""
        future, function, args, kw = job
        finish, value = future.cancelled, ()  # type: Any, Any  # does nothing
        if future.set_running_or_notify_cancel():
            try:
                finish, value = future.set_result, (function(*args, **kw),)
            except BaseException as error:
                finish, value = future.set_exception, (error,)
        if not is_nested:
            self.slot().release()  # the job's slot or, if it was used, a new one
        finish(*value)
        del job, future, function, args, value, finish  # a traceback would make a cycle


def _remove(line: list[Any], place: Any) -> bool:
    index = bisect.bisect_left(line, place)
    is_there = index < len(line) and line[index][:2] == place
    del line[index : index + is_there]
    return is_there


class _Map:
    """Dropped, it cancels jobs that have not begun; an unstarted generator would not."""

    def __init__(self, queue: RequestQueue, inputs: Iterator[Any], *job: Any) -> None:
        self._queue, self._inputs, self._job = queue, inputs, job
        self._results: Any = collections.deque()

    def __iter__(self) -> _Map:
        return self

    def __next__(self) -> Any:
        results = self._results
        for _, value in zip(range(max(self._queue.size, 1) - len(results)), self._inputs):
            self._queue._submit(results, (value,), *self._job)
            if results[0].done():
                break
        if not results:
            raise StopIteration
        results[0].exception()  # waits here: a Ctrl-C loses no result
        try:
            return results.popleft().result()
        except StopIteration as error:  # it would end the map
            raise RuntimeError("the call raised StopIteration") from error

    def close(self) -> None:
        self._inputs = iter(())
        while self._results:
            self._results.popleft().cancel()

    __del__ = close


# --------------------
# Results

BLOCK_BYTES = 256 << 10  # read or sent at a time: smaller blocks cost CPU
MAX_BODY_BYTES = 256 << 20  # in memory: 2048 embeddings as text have 130 MB
# Names that scripts probe for and that no official object has.
_FOREIGN_NAMES = "reasoning_content reasoning thinking ndim dtype shape tolist iloc".split()


class _Closing:
    def __enter__(self: Any) -> Any:
        return self

    def __exit__(self: Any, *exc_info: Any) -> None:
        self.close()


class _Readable:
    """Reads a body: `_content`, or, if that is None, what `_exchange` receives."""

    _exchange: Any = None
    _content: Any = b""

    content = property(lambda self: self.read())
    text = property(lambda self: self.read().decode("utf-8", "replace"))

    def _try(self, read: Any, *args: Any) -> Any:
        try:
            return read(*args)
        except OpenAIError as error:
            if self._exchange is not None:
                self._exchange.end(error)
                error._locate(self._exchange)
            raise

    def read(self) -> bytes:
        if self._content is None:
            self._content = self._try(self._exchange.body.read_all)
        return self._content

    def json(self) -> Any:
        return self._try(_parse_json, self.read())

    def iter_bytes(self, chunk_size: Any = None) -> Iterator[bytes]:
        """Yield the body as it arrives. `chunk_size` has no effect."""
        pieces = self._exchange.body.pieces() if self._content is None else iter([self._content])
        return iter(lambda: self._try(next, pieces, b""), b"")

    def iter_lines(self) -> Iterator[str]:
        rest = bytearray()
        for piece in self.iter_bytes():
            rest += piece
            *lines, rest = rest.split(b"\n") if b"\n" in piece else [rest]
            yield from (line.decode("utf-8", "replace").rstrip("\r") for line in lines)
        if rest:
            yield rest.decode("utf-8", "replace")

    def write_to_file(self, file: Any, chunk_size: Any = None) -> None:
        """Write the body to a path, whole or not at all."""
        _write_whole(file, self.iter_bytes())

    stream_to_file = write_to_file


class Response(_Readable, _Closing):
    """The HTTP answer: `.status_code`, `.headers`, `.request_id`, `.url`; a raw one also has the
    body, and `.parse()`, the result of the call."""

    _stream: Any = None  # of parse(), which owns the exchange
    request_id = property(lambda self: self.headers.get("x-request-id"))

    def __init__(self, status_code: int, headers: Any, url: str) -> None:
        self.status_code, self.headers, self.url = status_code, headers, url

    def _with_body(self, exchange: Any, content: bytes | None = None) -> Response:
        answer = Response(self.status_code, self.headers, self.url)
        answer._exchange, answer._content = exchange, content
        return answer

    def parse(self) -> Any:
        if self._exchange.call.read != "stream":
            return self._try(_parse, self._exchange, self.read())
        self._stream = self._stream or self._try(self._exchange.open_stream)
        return self._stream

    def close(self, error: Any = None) -> None:
        if self._exchange is not None:
            self._exchange.end(error)

    def __del__(self) -> None:
        if self._stream is None:
            self.close(GeneratorExit())


class Result(dict):  # type: ignore[type-arg]
    """A JSON object with attributes at every depth: `r.choices[0].message.content`.

    An absent name is None; `_` stands for what no name has: `r.categories.self_harm`. A chat has
    `.content`, `.message` (to be sent back), `.tool_calls`, `.finish_reason`, a Responses answer
    `.output_text`, the outermost object `.request_id`, `.headers`, `.status_code`.
    """

    _response = _message = None  # type: Any  # of the outermost object

    def __getattr__(self, name: str) -> Any:
        if self._response and name in ("headers", "request_id", "_request_id", "status_code"):
            return getattr(self._response, name.lstrip("_"))
        if name in ("message", "content", "tool_calls", "finish_reason") and "choices" in self:
            return _choice_attribute(self, name)
        if name in self:
            return self[name]
        for key in self.keys():
            if re.sub(r"\W", "_", key) in (name, name.rstrip("_")):
                return self[key]
        if name == "output_text" and "output" in self:
            return _text_of([self["output"]])
        # Scripts probe an event (its type has a dot) for all attributes.
        if name[0] == "_" or name in _FOREIGN_NAMES or "." in str(self.get("type")):
            raise AttributeError(name)
        return None

    def __setattr__(self, name: str, value: Any) -> None:
        (vars(self) if name[0] == "_" else self)[name] = value

    __delattr__ = dict.__delitem__

    def to_dict(self, *, exclude_none: bool = False, **options: Any) -> Any:
        """Return plain dicts and lists. `include=`, `exclude=`: some names at the top."""
        kept, left_out = options.get("include") or self, options.get("exclude") or ()
        kept = {k: v for k, v in self.items() if k in kept and k not in left_out}
        return json.loads(json.dumps(kept), object_pairs_hook=lambda pairs: {
            k: v for k, v in pairs if v is not None or not exclude_none})

    def to_json(self, indent: int | None = 2, **options: Any) -> str:
        return json.dumps(self.to_dict(**options), indent=indent, ensure_ascii=False)

    def model_dump_json(self, indent: int | None = None, **options: Any) -> str:
        return self.to_json(indent, **options)

    def model_copy(self, *, update: Any = None, deep: bool = False) -> Result:
        copied = type(self)(copy.deepcopy({**self}), **(update or {}))
        vars(copied).update(vars(self), _message=None)
        return copied

    model_dump = dict = to_dict
    json = model_dump_json
    model_extra = property(lambda self: self)

    def save(self, folder: Any) -> list[str]:
        """Write the images, also those behind URLs, to new files; return the paths."""
        items, paths = _dicts(self.get("data") or self.get("images")) or [self], []
        images = [str(one.get("b64_json") or one.get("url") or "") for one in items]
        if not any(images):
            raise APIResponseError("the answer has no image: " + _error_text(items))
        for text in filter(None, images):
            encoded = text.rpartition("base64,")[2]
            content = _fetch(text) if text[:4].lower() == "http" else _from_base64(encoded)
            paths.append(_new_file(folder, "image-%d." + _extension(content)))
            _write_whole(paths[-1], [content])
        return paths


def _choice_attribute(result: Result, name: str) -> Any:
    choice = (_dicts(result["choices"]) or [{}])[0]
    if result._message is None and isinstance(choice.get("message"), dict):
        result._message = _fit_message(choice["message"], "call_%s_" % os.urandom(8).hex())
    message = result._message or {}
    own = {"message": result._message, "finish_reason": choice.get("finish_reason")}
    return {**message, **own, "content": _text_of(message.get("content"))}.get(name)


def _text_of(content: Any) -> str | None:
    """Return a str, the texts in a list of parts, or other values as JSON."""
    if isinstance(content, list):
        parts = [part if isinstance(part, dict) else {"text": part} for part in content]
        parts = [p for p in parts if p.get("type") in ("text", "output_text", "message", None)]
        return "".join(_text_of(p.get("text") or p.get("content")) or "" for p in parts)
    if isinstance(content, (dict, int, float)):
        return json.dumps(content)
    return str(content) if isinstance(content, (str, _Text)) else None


def _fit_message(message: Any, id_prefix: str) -> Any:
    if message.get("role") == "assistant" and "tool_calls" not in message:
        return message
    fit = Result({"role": None, "content": None, **message}, role="assistant")
    calls: dict[str, Any] = {}
    for call in _dicts(fit.pop("tool_calls", None)):
        call_id = str(call.get("id") or "")  # some servers give two calls one id
        call_id = id_prefix + str(len(calls)) if call_id in ("", *calls) else call_id
        calls[call_id] = _fit_call({**call, "id": call_id}, call_id)
    if calls:
        fit.tool_calls = [*calls.values()]
    return fit


def _fit_call(call: dict[str, Any], new_id: str) -> Result:
    fit = Result(call, id=call.get("id") or new_id, type=call.get("type") or "function")
    fit.pop("index", None)
    function = call.get("function")
    if isinstance(function, dict):
        arguments = _text_of(function.get("arguments") or {})
        fit.function = Result(function, name=function.get("name") or "", arguments=arguments)
    return fit


class Transcript(Result):
    """A transcription: its `str()` is `.text`."""

    def __str__(self) -> str:
        return str(self.get("text") or "")


class Page(Result):
    """A list: `.data` is the first page; iterating yields the items of all pages."""

    _fetch: Any = None

    def __iter__(self) -> Iterator[Any]:
        page: Page | None = self
        while page is not None:
            items = page.get("data")
            yield from items if isinstance(items, list) else ()
            page = page.get_next_page()

    def has_next_page(self) -> bool:
        return bool(self._cursor())

    def get_next_page(self) -> Page | None:
        """Return the next page, or None; one that repeats is the last."""
        cursor = self._cursor()
        page = cursor and self._fetch(cursor)
        return page if page and page._cursor() != cursor else None

    def _cursor(self) -> Any:
        data, last = self.get("data"), [{}, *_dicts(self.get("data"))][-1]
        cursor = self.get("next", last.get("id") or self.get("last_id"))
        return cursor if self._fetch and (data or self.get("has_more")) else None


class Binary(_Readable, bytes):
    """A binary answer: bytes that also read as a Response does."""

    _content: Any = property(bytes)


def _new_file(folder: Any, name: str) -> str:  # type: ignore[return]
    for number in itertools.count(1):
        path = os.path.join(folder, name % number)
        with contextlib.suppress(FileExistsError), open(path, "xb"):
            return path


def _write_whole(path: Any, pieces: Iterable[bytes]) -> int:
    """Write a file that appears when it is whole, or an empty one (a temporary file) in place,
    which an error empties; return the size."""
    target = os.path.realpath(path)  # a link stays a link
    in_place = os.path.exists(path) and not os.path.getsize(path)
    part = "%s.%s.part" % (target, os.urandom(4).hex())
    try:
        with open(path if in_place else part, "wb") as file:
            size = sum(map(file.write, pieces))
        if not in_place:
            with contextlib.suppress(OSError):
                os.chmod(part, os.stat(target).st_mode & 0o7777)
            os.replace(part, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.truncate(path, 0) if in_place else os.unlink(part)
        raise
    return size


def _limited(pieces: Iterable[bytes]) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise APIResponseError("the answer is larger than %d bytes: pass to=" % MAX_BODY_BYTES)
        yield piece


def _from_base64(text: Any) -> bytes:
    with contextlib.suppress(ValueError, TypeError):
        return base64.b64decode(text, validate=True)
    raise APIResponseError("base64 in the answer is broken or missing")


_FIRST_BYTES = {  # patterns, and the extension of a file's name
    rb"\x89PNG": "png", rb"\xff\xd8\xff": "jpg", rb"GIF8": "gif", rb"RIFF....WEBP": "webp",
    rb"RIFF": "wav", rb"....ftypM4A": "m4a", rb"....ftyp(?!avif|hei)": "mp4", rb"fLaC": "flac",
    rb"OggS": "ogg", rb"\xff[\xf0\xf1\xf8\xf9]": "aac", rb"ID3|\xff[\xe2-\xfb]": "mp3",
    rb"\x1aE\xdf\xa3": "webm", rb"%PDF": "pdf", rb"(\xef\xbb\xbf)?\{": "jsonl", rb"": "bin"}


def _extension(content: bytes) -> str:
    return next(name for start, name in _FIRST_BYTES.items() if re.match(b"(?s)" + start, content))


def _parse_json(content: bytes | str, only_object: bool = False) -> Any:
    if isinstance(content, bytes) and re.search(rb"data: ?\[DONE]\s*$", content[-32:]):
        content = content[: content.rfind(b"data:")]  # some servers end JSON with it
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(content, object_hook=Result, strict=False)
        if not only_object or isinstance(value, Result):
            return value
    start = content[:500] if isinstance(content, str) else content[:500].decode("utf-8", "replace")
    what = "the answer is not a JSON object but " + (_error_text(start)[:100] or "empty")
    raise APIResponseError(what, advice="Check base_url=, which often ends in /v1.")


# --------------------
# Streams
#
# Deltas add up, a whole `message` replaces, names and constants are set once, and a function name
# after finished arguments begins another tool call. Other events are read as choices of a chat.
# Only the caller refers to the Stream, so dropping it ends the request.

LINGER_S = 5.0  # how long the usage and the end of a whole stream are waited for
_CUT = "the stream was cut (what came is in .partial)"
_CONSTANTS = frozenset("role id type name format model object call_id status".split())


class _Text(bytearray):
    """Text that grows, as UTF-8: a list of str takes ten times the memory."""

    def __str__(self) -> str:
        return self.decode("utf-8", "surrogatepass")


def _merged(so_far: Any, piece: Any, key: str = "") -> Any:
    """Return `so_far`, extended by a piece, in place where it can be."""
    if piece is None or key in _CONSTANTS:
        return piece if piece and not so_far else so_far
    if key in ("content", "arguments") or isinstance(so_far, _Text):  # a text, whatever is sent
        piece = piece if isinstance(piece, (str, list)) else _text_of(piece)
    if isinstance(piece, list) or isinstance(piece, str) and isinstance(so_far, list):
        items = _parts(so_far)
        for part in _parts(piece):
            item = _continued(part, items)
            merged = _merged(item, part)
            if item is None:
                items.append(merged)
        return items
    if isinstance(piece, str):
        is_new = key == "arguments" and piece[:1] == "{" and _is_whole(so_far)  # told again
        text = so_far if isinstance(so_far, _Text) and not is_new else _Text()
        text += piece.encode("utf-8", "surrogatepass")
        return text
    if not isinstance(piece, dict):
        return piece
    fields = so_far if isinstance(so_far, dict) else {}
    for name, value in piece.items():
        fields[name] = _merged(fields.get(name), value, name)
    return fields


def _parts(content: Any) -> list[Any]:
    if content and isinstance(content, (str, _Text)):
        return [{"type": "text", "text": content}]
    return content if isinstance(content, list) else []


def _continued(piece: Any, items: list[Any]) -> Any:
    if not isinstance(piece, dict) or "encrypted" in str(piece.get("type")):
        return None
    items, call = _dicts(items), piece.get("function") or {}
    if call and not call.get("name"):  # arguments, at times with another id each
        known = [item for item in items if not _differ(item, piece, "index", "id")]
        known = known or [item for item in items if not _differ(item, piece, "index")]
        return (known or ([] if piece.get("id") and "index" in piece else items) or [None])[-1]
    if not call and "index" not in piece:  # a text continues the last item only
        items = items[-1:] if piece.get("type") in ("text", "output_text", "thinking") else []
    found = [item for item in items if not _differ(item, piece, "type", "index", "id")]
    old = found and found[-1].get("function") or {}
    is_same = found and piece.get("id") and piece["id"] == found[-1].get("id")
    ends = not is_same and call.get("arguments") and _is_whole(old.get("arguments"))
    return None if not found or ends or _differ(old, call, "name") else found[-1]


def _is_whole(arguments: Any) -> bool:
    text = bytes(arguments or b"").rstrip()
    return text[-1:] == b"}" and isinstance(_json_or_text(text), dict)


def _differ(one: Any, other: Any, *names: str) -> bool:
    """Whether both have a value for one of the names, and not the same."""
    return any(len({one.get(n), other.get(n)} - {None, ""}) > 1 for n in names)


# The last events of an answer, and the families that need one.
_LAST_EVENTS = """response.completed response.failed response.incomplete transcript.text.done
    image_generation.completed image_edit.completed speech.audio.done""".split()
_FAMILIES = tuple(name.rpartition(".")[0] + "." for name in _LAST_EVENTS)
_TEXT_FIELDS = {
    "response.output_text.delta": "delta", "transcript.text.delta": "delta",
    "response.output_text.done": "text", "response.content_part.done": "part",
    "response.output_item.done": "item"}


def _pieces(exchange: Any, so_far: _Accumulator) -> Iterator[bytes]:
    """Yield the body, and b"" at its end. Events renew the limit of silence."""
    piece, count = b"\n", -1
    while piece:
        if count != so_far.count:
            limits, count = exchange.limits, so_far.count
            limits.begin_wait(min(LINGER_S, limits.read) if so_far.is_over else 0.0)
        try:
            piece = exchange.body.read()
        except APITimeoutError:
            raise
        except APIError as error:
            raise StreamInterruptedError(_CUT + ": " + error._what) from error.__cause__
        so_far.last_at = time.monotonic()
        yield piece


def _chunks(exchange: Any, so_far: _Accumulator) -> Iterator[Result]:
    parser = _EventParser(4 * MAX_EVENT_BYTES)
    scan = json.JSONDecoder(object_hook=Result, strict=False).scan_once  # type: ignore
    try:
        kind = _kind_of(exchange)
        if kind != "stream":
            whole = _parse_as(exchange, kind, exchange.body.read_all())
            so_far.done, so_far.last_at = True, time.monotonic()
            yield so_far.add(whole, "response.completed")
        for piece in _pieces(exchange, so_far):
            for block in parser.blocks(piece or b"\n\n"):  # the last one may lack its blank line
                data, kind = block[6:].rstrip(), "message"
                if block[:7] != "data: {" or "\n" in block:
                    data, kind = _data_of(block, parser, exchange)
                try:
                    chunk, end = scan(data, 0)
                except (StopIteration, ValueError, RecursionError):
                    chunk, end = None, -1
                if end == len(data) and chunk.__class__ is Result:
                    yield so_far.add(chunk, kind)
                elif data[:6] == "[DONE]":
                    so_far.done = so_far.done or not so_far.suspect
                    return so_far.check_end()
                elif data and piece and not so_far.is_over:  # else: cut, or junk
                    yield so_far.add(_parse_json(data, only_object=True), kind)
        so_far.check_end()
    except OpenAIError as error:
        error.partial = so_far.message
        if not (so_far.is_whole and isinstance(error, (APITimeoutError, StreamInterruptedError))):
            raise


def _data_of(block: str, parser: _EventParser, exchange: Any) -> tuple[str, str]:
    if re.search(r"(?m)^(\{|error:)", block):  # errors of some servers, and of llama.cpp
        block = re.sub(r"(?m)^\{", "data: {", re.sub("(?m)^error:", "event: error\ndata:", block))
    event = parser.event_of(block) or ServerSentEvent()
    data = re.sub(r"\n\[DONE]$", "", event.data.strip())
    if data and event.event == "error":
        raise _error_of(exchange, _json_or_text(data))
    return data, event.event


def _json_or_text(text: Any) -> Any:
    with contextlib.suppress(APIResponseError):
        return _parse_json(text)
    return text


def _raise_error_in(data: Any, exchange: Any, any_kind: bool = True, needed: Any = ()) -> None:
    """Raise the error in an answer. `any_kind`: in a batch too, which may have failed. `needed`:
    names, one of which a choice must have."""
    data = data if isinstance(data, dict) else {}
    choices = _dicts(data.get("choices"))
    for holder in (data, *choices) if any_kind or data.get("object") in (None, "error") else ():
        error = holder.get("error") or getattr(holder.get("base_resp"), "status_code", 0)  # MiniMax
        if error and (not isinstance(error, dict) or any(error.values())):
            raise _error_of(exchange, holder, partial=data)
        reason = "%s %s" % (holder.get("finish_reason"), holder.get("native_finish_reason"))
        if re.search("(?i)error|abort|insufficient|malformed", reason):
            broken = {"message": "the model broke off: " + reason, "code": "server_error"}
            raise _error_of(exchange, broken, partial=data)
    messages = _dicts([choice.get(name) for choice in choices for name in needed])
    if data.get("object") == "error" or needed and not any(messages):
        raise _error_of(exchange, data, partial=data)


class _Accumulator:
    # suspect: a chunk without choices, perhaps an error; text_kind: that of the events whose texts
    # count, as others repeat them
    usage, suspect, text_kind = None, None, ""  # type: Any, Any, str
    # ended: choices with a finish reason, which some servers send in each chunk; is_last: this one
    # has nothing else
    done, is_last, count, ended = False, False, 0, 0
    is_over = property(lambda self: self.done or self.is_last and self.is_whole)
    is_whole = property(lambda self: self.done or self._n <= self.ended == len(self.by_index))

    def __init__(self, exchange: Any) -> None:
        self._exchange, call = exchange, exchange.call
        self.began_at = self.first_at = self.last_at = call.began_at
        # vLLM ends each part of a transcription.
        self._n = sys.maxsize if "/audio/trans" in call.path else call.n
        new = lambda: {"message": {"role": None, "content": None}, "finish_reason": None}
        self.by_index: Any = collections.defaultdict(new)

    def check_end(self) -> None:
        if not (self.is_whole or self.suspect) and (self.by_index or not self.count):
            raise StreamInterruptedError(_CUT)
        has_none = self._exchange.call.needs_choice and not self.by_index
        if has_none or self.suspect and not self.is_whole:
            raise _error_of(self._exchange, self.suspect or {})

    def add(self, chunk: Result, kind: str) -> Result:
        self.count, text = self.count + 1, ""
        if "error" in chunk or "base_resp" in chunk:
            _raise_error_in(chunk, self._exchange)
        try:
            self.is_last = self.is_last or "choices" in chunk and not chunk["choices"]
            for choice in "choices" in chunk and chunk["choices"] or self._choices_of(chunk, kind):
                text += self._add_choice(choice)
            if "usage" in chunk and chunk["usage"] or "response" in chunk or "x_groq" in chunk:
                for holder in _dicts([chunk, chunk.get("x_groq"), chunk.get("response")]):
                    self.usage = holder.get("usage") or self.usage
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
            raise APIResponseError("a chunk has an odd shape: %.200s" % chunk.json()) from None
        chunk.__dict__["content"] = text
        return chunk

    def _add_choice(self, choice: dict[str, Any], get: Any = dict.get) -> str:
        """Return the text, if it is choice 0. `get`: that of a Result is slower."""
        index = get(choice, "index") or 0
        entry = self.by_index.get(index) or self.by_index[int(index)]
        message, delta = entry["message"], get(choice, "delta") or {"content": get(choice, "text")}
        content, text = message["content"], get(delta, "content")
        if text.__class__ is str and len(delta) == 1 and content.__class__ is _Text:
            content += text.encode("utf-8", "surrogatepass")  # the usual chunk
        else:
            _merged(message, delta)
            text = _text_of(text) or ""
        if "message" in choice:
            text += _replace_message(message, choice["message"] or {})
        finish_reason = get(choice, "finish_reason")
        if finish_reason and finish_reason != "null":
            entry["finish_reason"] = finish_reason
            self.is_last = self.count > 1 and not (text or any({**delta, "role": ""}.values()))
            self.ended = len([e for e in self.by_index.values() if e["finish_reason"]])
        if finish_reason or "error" in choice:
            self.usage = get(choice, "usage") or self.usage
            _raise_error_in(choice, self._exchange)
        return "" if index and int(index) else text

    def _choices_of(self, event: Result, kind: str, get: Any = dict.get) -> list[Any]:
        if "error" in (get(event, "type"), get(event, "object")):
            raise _error_of(self._exchange, event)
        if self._exchange.call.needs_choice and not self.suspect and _error_text(event):
            self.suspect = event
        kind = get(event, "type") or kind
        if not kind.startswith(_FAMILIES):
            return []
        if kind in _LAST_EVENTS:
            answer, self.done = event.get("response") or event, True
            text = _text_of([answer.get("output") or answer.get("text")])
            return [{"message": {"content": text}}]
        text = get(event, _TEXT_FIELDS.get(kind))
        text = text if text.__class__ is str else _text_of([text])
        self.text_kind = self.text_kind or (kind if text else "")
        return [{"delta": {"content": text if kind == self.text_kind else ""}}]

    @property
    def choices(self) -> list[Result]:
        choices = [{"index": index, **choice} for index, choice in sorted(self.by_index.items())]
        choices = json.loads(json.dumps(choices, default=str), object_hook=Result)
        for choice in choices:
            prefix = "call_%s_%d_" % (self._exchange.call.id, choice["index"])  # the same each time
            choice["message"] = _fit_message(choice["message"], prefix)
        return choices

    @property
    def message(self) -> Any:
        empty = Result(role="assistant", content=None)
        return next((one["message"] for one in self.choices if not one["index"]), empty)


def _replace_message(message: dict[str, Any], whole: Any) -> str:
    so_far, text = (_text_of(m.get("content")) or "" for m in (message, whole))
    for name, value in _merged({}, whole).items():
        if value and (name != "content" or len(text) >= len(so_far)):
            message[name] = value
    return text[len(so_far) :] if text.startswith(so_far) else ""  # shown text stays


class Stream(_Closing):
    """The chunks of an answer as they arrive: an iterator and a context manager.

    `close()`, leaving `with`, an exception and dropping the stream end the request. As far as it
    got: `.content` (all text), `.message` (to be sent back), `.tool_calls`, `.finish_reason`,
    `.choices`, `.usage`, `.response`, `.stats` (times in seconds; `ttft_s`: to the first chunk).
    Raises StreamInterruptedError if the stream is cut, APITimeoutError if the server is silent,
    or an event's error, each with `.partial`.
    """

    _closed = False
    usage = property(lambda self: self._so_far.usage)
    choices = property(lambda self: self._so_far.choices)
    message = property(lambda self: self._so_far.message)
    content = property(lambda self: _text_of(self.message.get("content")) or "")
    tool_calls = property(lambda self: self.message.get("tool_calls"))
    finish_reason = property(lambda self: self._so_far.by_index.get(0, {}).get("finish_reason"))

    def __init__(self, exchange: Any) -> None:
        self._exchange = exchange  # first: __del__ needs it
        self._so_far = _Accumulator(exchange)
        self.response = exchange.response._with_body(exchange)
        chunks = _chunks(exchange, self._so_far)
        # Until the first chunk the call may be tried again.
        self._chunks: Any = itertools.chain([*itertools.islice(chunks, 1)], chunks)
        self._so_far.first_at = self._so_far.last_at

    __iter__ = _Closing.__enter__

    def __next__(self) -> Result:
        try:
            return next(self._chunks)
        except BaseException as error:
            if self._closed:
                raise StopIteration from None
            if isinstance(error, ValueError) and "already executing" in str(error):
                raise ValidationError("another thread reads this stream") from None
            if isinstance(error, OpenAIError):
                error._locate(self._exchange)
            self._exchange.end(None if isinstance(error, StopIteration) else error, stream=self)
            raise

    @property
    def stats(self) -> dict[str, Any]:
        so_far, tokens = self._so_far, _tokens_in(self.usage)["completion"]
        duration_s, ttft_s = (at - so_far.began_at for at in (so_far.last_at, so_far.first_at))
        return {"duration_s": duration_s, "ttft_s": ttft_s, "chunks": so_far.count,
                "avg_chunk_interval_s": (duration_s - ttft_s) / max(so_far.count - 1, 1),
                "tokens_per_s": tokens / duration_s if tokens * duration_s else None}

    def close(self) -> None:
        """End the request; a reader in another thread wakes up."""
        self._closed, self._chunks = True, iter(())
        self._exchange.end(GeneratorExit(), stream=self)

    __del__ = close


# --------------------
# Uploads
#
# A form (RFC 7578) of known length, read from disk as it is sent.

# Not known to all systems.
_TYPES = {"webp": "image/webp", **{n: "audio/" + n for n in "flac m4a ogg opus wav webm".split()}}
# As in HTML: no name can end its header.
_QUOTES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


def _is_file(value: Any) -> bool:
    """Whether this is a file, (name, file[, type]) or a list of them."""
    if isinstance(value, (list, tuple)):
        return any(map(_is_file, value[:1] if isinstance(value, list) else value[1:2]))
    kinds = (bytes, bytearray, memoryview, os.PathLike, _File)
    return isinstance(value, kinds) or callable(getattr(value, "read", None))


class _File:
    """A path, bytes, a binary file from where it stands, a web framework's upload object, or (name,
    any of these[, content type])."""

    def __init__(self, file: Any, name: str | None = None) -> None:
        is_tuple = isinstance(file, tuple) and len(file) > 1 and not _is_file(file[0])
        given_name, file, kind = (*file, None)[:3] if is_tuple else (None, file, None)
        try:
            if isinstance(file, (str, os.PathLike)):
                file = open(file, "rb", buffering=0)
                weakref.finalize(self, file.close)
            elif isinstance(file, (bytes, bytearray, memoryview)):
                file = io.BytesIO(file)
            # FastAPI's own read() is a coroutine.
            self.file = getattr(file, "file", file) if hasattr(file, "filename") else file
            memoryview(self.file.read(0))
        except (AttributeError, TypeError, ValueError):
            raise ValidationError("not a path, bytes or a file in 'rb': %.200r" % (file,)) from None
        if not (hasattr(self.file, "seekable") and self.file.seekable()):
            self.file = io.BytesIO(self.file.read())
        self.start = self.file.tell()
        extension = _extension(self.file.read(16))
        # Flask's `name` is the form's field. Others are "<stdin>" or a number.
        own: Any = getattr(file, "filename", None) or getattr(file, "name", None)
        own = os.path.basename(own).strip("<>") if isinstance(own, str) else ""
        own = own if "." in own else "%s.%s" % (own or "file", extension)
        self.name = str(name or given_name or own).translate(_QUOTES)
        suffix = self.name.rpartition(".")[2].lower() if "." in self.name else extension
        more = (_TYPES.get(n) or mimetypes.guess_type("x." + n)[0] for n in (suffix, extension))
        self.type = next(filter(None, (kind, *more, "application/octet-stream"))).translate(_QUOTES)
        self.file.seek(0, 2)
        self.size = self.file.tell() - self.start
        if self.size < min(self.start, 1):
            raise ValidationError("%r stands at its end: seek(0) first" % self.name)
        self.file.seek(self.start)

    def __iter__(self) -> Iterator[Any]:
        self.file.seek(self.start)
        left = self.size
        while left:
            if not (block := self.file.read(min(left, BLOCK_BYTES))):
                raise OSError(5, "The file became shorter while it was sent", self.name)
            left -= len(block)
            yield block


class _FromCaller(Exception):
    """Its `__context__` is what the caller's file or progress= raised."""


class _Form:
    def __init__(self, pairs: Iterable[Any], progress: Any = None) -> None:
        boundary, self._progress, parts = os.urandom(16).hex(), progress, []
        self.content_type = "multipart/form-data; boundary=" + boundary
        for name, value in pairs:
            head = 'Content-Disposition: form-data; name="%s"' % name.translate(_QUOTES)
            if isinstance(value, _File):
                head += '; filename="%s"\r\nContent-Type: %s' % (value.name, value.type)
            parts += ["--%s\r\n%s\r\n\r\n" % (boundary, head), value, "\r\n"]
        parts.append("--%s--\r\n" % boundary)
        self._parts = [(p.encode("utf-8", "replace"),) if isinstance(p, str) else p for p in parts]

    def __len__(self) -> int:
        return sum(p.size if isinstance(p, _File) else len(p[0]) for p in self._parts)

    def __iter__(self) -> Iterator[Any]:
        sent = 0
        try:
            for block in itertools.chain(*self._parts):
                yield block
                sent += len(block)
                if self._progress:
                    self._progress(sent, len(self))
            self.rewind()  # now: another thread may send the same file
        except Exception:  # an OSError would look like a connection failure
            raise _FromCaller from None

    def rewind(self) -> None:
        for part in self._parts:
            if isinstance(part, _File):
                with contextlib.suppress(Exception):  # it may be closed: the answer counts
                    part.file.seek(part.start)


# --------------------
# Wire
#
# Sends a request, reads a body, turns a failure into an error.

DEAD_S = 1.0  # a pooled connection that fails later was alive


class _Limits:
    connecting, has_head, reusable, proxy, last = False, False, True, "", -1

    def __init__(self, call: Any) -> None:
        self.connect, self.read = (seconds or float("inf") for seconds in call.timeout)
        self.ends_at, self.host = call.ends_at, call.origin.split("//")[1]
        self.pid, self.outer_error = os.getpid(), sys.exc_info()[1]

    def begin_wait(self, timeout: float = 0.0) -> None:
        self.silent_until = time.monotonic() + (timeout or self.read)

    def remaining(self) -> float:
        left = min(self.silent_until, self.ends_at) - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        return min(left, 1e6)

    def receive(self, sock: Any, buffer: Any) -> Any:
        sock.settimeout(self.remaining())
        self.last = sock.recv_into(buffer)
        return self.last

    def response_class(self, sock: Any, *args: Any, **kwargs: Any) -> Any:
        answer: Any = urllib3.connection.HTTPConnection.response_class(sock, *args, **kwargs)
        answer.fp.raw.readinto = functools.partial(self.receive, sock)
        return answer

    def blocks(self, conn: Any, body: Any) -> Any:
        for block in body:
            self.set_timeout(conn)
            yield block

    def set_timeout(self, conn: Any) -> None:
        self.begin_wait()
        if conn.sock:  # not vcrpy's
            conn.sock.settimeout(self.remaining())


class _Pools:
    """urllib3's pools, without a lock, for signal handlers."""

    def __init__(self, size: int) -> None:
        self.size, self._pools = size, {}  # type: int, dict[Any, Any]  # by origin, verify, pid

    def close(self) -> None:
        for pool in [*self._pools.values()]:
            pool.idle.clear()

    def send(self, call: Any, limits: _Limits) -> Any:
        key = (call.origin, call.verify, limits.pid)
        pool = self._pools.get(key) or self._pools.setdefault(key, _new_pool(*key[:2], self.size))
        limits.proxy, dead_until = pool.proxy_url, time.monotonic() + DEAD_S
        while True:
            try:
                conn, idle_since = pool.idle.pop()
            except IndexError:
                conn, idle_since = pool._new_conn(), 0.0
            if time.time() - idle_since > 60 or urllib3.util.connection.is_connection_dropped(conn):
                conn.close()
            is_new = conn.sock is None
            try:
                return _send_request(pool, conn, call, limits)
            except BaseException as error:
                conn.close()
                has_ended = isinstance(error, (ConnectionError, urllib3.connection.BaseSSLError))
                if is_new or limits.last > 0 or not has_ended or time.monotonic() > dead_until:
                    raise


def _new_pool(origin: str, verify: Any, size: int) -> Any:
    encodings.idna.getregentry  # noqa: B018 (not in a signal handler)
    proxy, tcp = _proxy_for(origin), socket.IPPROTO_TCP
    context = _ssl_context(verify) if origin[:6] == "https:" else None
    alive = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (tcp, socket.TCP_NODELAY, 1)]
    alive += [(tcp, socket.TCP_KEEPIDLE, 60)] if hasattr(socket, "TCP_KEEPIDLE") else []
    options: Any = {"socket_options": alive, "ssl_context": context}
    manager: Any = urllib3.PoolManager(**options)
    if proxy:
        manager = requests.adapters.HTTPAdapter().proxy_manager_for(proxy, **options)
    pool: Any = manager.connection_from_url(origin)
    pool.ConnectionCls = type("Conn", (pool.ConnectionCls,), {"__del__": pool.ConnectionCls.close})
    pool.idle = collections.deque(maxlen=size)
    # monotonic() may stop while the machine sleeps.
    pool._put_conn = lambda conn, idle=pool.idle: idle.append((conn, time.time()))
    pool.prefix, pool.proxy_url = origin if pool.proxy and origin[:5] == "http:" else "", proxy
    return pool


def _send_request(pool: Any, conn: Any, call: Any, limits: _Limits) -> Any:
    is_tunnel, limits.reusable = pool.proxy and not pool.prefix, True
    conn.response_class = limits.response_class
    if conn.sock is None:
        limits.begin_wait(limits.connect)
        conn.timeout, limits.connecting = limits.remaining(), True
        pool._prepare_proxy(conn) if is_tunnel else conn.connect()
        limits.connecting = False
    target = pool.prefix + urllib.parse.quote(call.target, "!$%&'()*+,/:;=?@~")
    headers = {**call.sent_headers, **({} if is_tunnel else pool.proxy_headers)}
    limits.set_timeout(conn)
    body = limits.blocks(conn, call.body) if call.is_form else call.body
    try:
        conn.request(call.method, target, body, headers)
    except (ConnectionError, urllib3.connection.BaseSSLError):
        limits.reusable = False  # a server may answer and refuse the body
    limits.begin_wait()
    answer = super(urllib3.connection.HTTPConnection, conn).getresponse()
    limits.has_head = limits.last != 0
    if not limits.has_head:  # http.client accepts a cut one
        raise OSError("the answer ended in its head")
    more: Any = {"status": answer.status, "request_method": call.method, "preload_content": False}
    return urllib3.HTTPResponse(answer, answer.headers.items(), pool=pool, connection=conn, **more)


_PROXY_URL = r"((https?|socks[45]\w?)://)?(([^\s/?#\\]*@)?([\w.-]+|\[[\w:.]+])(:[1-6]?\d{1,4})?/?)"


def _proxy_for(origin: str, proxies: Any = None) -> str:
    is_set = any(_environ(n) for n in os.environ if re.fullmatch("(?i)(https?|all)_proxy", n))
    if proxies is None and not is_set and sys.platform not in ("win32", "darwin"):
        return ""
    proxies = requests.utils.get_environ_proxies(origin, None) if proxies is None else proxies
    url = (requests.utils.select_proxy(origin, proxies) or "").strip()
    found = re.fullmatch(_PROXY_URL, url, re.I)
    if url and not found:
        raise ValidationError("%s_PROXY or ALL_PROXY is no URL" % origin.split(":")[0].upper())
    return (found[1] or "http://").lower() + found[3] if found else ""


def _environ(name: str) -> str | None:
    """Return a variable without white space and docker's quotes, or None."""
    value = (os.environ.get(name) or "").strip()
    return re.sub(r"""^(["'])(.*)\1$""", r"\2", value).strip() or None


def _ssl_context(verify: Any) -> Any:
    if getattr(urllib3.connection, "ssl", None) is None:
        raise ValidationError("https:// needs a Python with the ssl module")
    if hasattr(verify, "wrap_socket"):
        return verify
    context = urllib3.util.ssl_.create_urllib3_context(cert_reqs=0 if verify is False else None)
    if verify in (None, True):
        names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
        verify = next(filter(None, map(_environ, names)), None) or certifi.where()
    try:
        if verify:
            kind = "capath" if os.path.isdir(verify) else "cafile"
            context.load_verify_locations(**{kind: verify})
    except (OSError, ValueError):
        raise ValidationError("no certificates in %r (verify= or a variable)" % verify) from None
    return context


class _Session:
    def __init__(self, session: Any) -> None:
        self.session = session
        _renew_after_fork(self)

    def send(self, call: Any, limits: _Limits) -> Any:
        session, url = self.session, call.origin + call.target
        has_key = {"authorization", "api-key"} & {*map(str.lower, call.sent_headers)}
        auth = (lambda sent: sent) if has_key else None  # not netrc's or the session's
        request = requests.Request(call.method, url, call.sent_headers, None, call.body, auth=auth)
        prepared = session.prepare_request(request)
        call.added_headers, limits.reusable = prepared.headers, True
        kwargs = session.merge_environment_settings(url, {}, True, call.verify, None)
        kwargs["verify"] = kwargs["verify"] or kwargs["verify"] is not False
        limits.proxy = _proxy_for(call.origin, kwargs["proxies"])
        kwargs["proxies"][call.origin.split(":")[0]] = limits.proxy
        kwargs["timeout"] = (min(limits.connect, limits.remaining()), limits.remaining())
        try:
            answer = session.send(prepared, allow_redirects=False, **kwargs)
        except OSError as error:
            if kwargs["verify"] is not True:
                _ssl_context(kwargs["verify"])
            if (answer := getattr(error, "response", None)) is None:
                raise
        if answer.raw is None or getattr(answer, "_content", False) is not False:
            answer.raw = io.BytesIO(answer.content)
            answer.headers.pop("content-encoding", None)
        answer.raw.status, answer.raw.headers = answer.status_code, answer.headers
        return answer.raw

    def _renew(self) -> None:
        # Copies have new pools.
        self.session.adapters.update({p: copy.copy(a) for p, a in self.session.adapters.items()})


class _Body:
    # unread: what read() returns next
    unread, received, progress = b"", 0, None  # type: bytes, int, Any

    def __init__(self, raw: Any, limits: _Limits) -> None:
        self._raw, self._limits, limits.outer_error = raw, limits, None
        self._fp = getattr(raw, "_fp", raw)
        reader = getattr(self._fp, "fp", None) or self._fp
        self._socket: Any = getattr(getattr(reader, "raw", None), "_sock", None)
        if self._socket is not None:
            reader.raw.readinto = functools.partial(limits.receive, self._socket)
        self._length = None if self._socket is None else raw.length_remaining
        self.ended = 0 in (self._length, getattr(self._fp, "length", None))
        header = raw.headers.get("content-encoding") or ""
        self._coding = coding = re.search("(?i)gzip|deflate|br$|zstd", header)
        size = 1 << 13 if coding else BLOCK_BYTES
        receive = functools.partial(getattr(reader, "read1", reader.read), size)
        blocks = () if self.ended else iter(receive, b"")
        limits.begin_wait()
        pieces = self._framed(blocks, self._socket is not None and raw.chunked)
        self._pieces: Any = filter(None, _inflated(pieces, coding[0]) if coding else pieces)

    def read(self) -> bytes:
        data, self.unread = self.unread, b""
        try:
            data = data or next(self._pieces, b"")
            if not (data or self.ended):
                raise ValueError
            return data
        except OSError as error:
            error.__context__ = None  # perhaps the caller's
            raise _wire_error(error, self._limits)
        except (ValueError, zlib.error):
            self.ended = False
            raise APIResponseError("the body is cut short: try again", _transient=True) from None

    def peek(self) -> bytes:
        """Return the first six bytes or more; read() returns them again."""
        start = b""
        with contextlib.suppress(StopIteration, APIResponseError):
            while len(start.strip()) < 6:
                start += next(iter(self.read, b""))
        self.unread = start
        return start

    def pieces(self) -> Iterator[bytes]:
        self._limits.begin_wait()
        count = 0
        for piece in iter(self.read, b""):
            yield piece
            count += len(piece)
            if self.progress:
                self.progress(count, self._length)
            self._limits.begin_wait()

    def read_all(self) -> bytes:
        return b"".join(_limited(self.pieces()))

    def _framed(self, blocks: Iterable[bytes], is_chunked: bool) -> Iterator[bytes]:
        """Undo chunks (RFC 9112, 7.1); those that came together are one piece."""
        head = re.compile(rb"(?:\r?\n)?[ \t]*([\da-fA-F]+)[ \t\r]*(;[^\n]*)?\n")
        # rest: half a head; left: bytes to come of the chunk or body
        rest, left = b"", 0 if is_chunked else self._length or sys.maxsize
        for data in blocks:
            self.received += len(data)
            data, pos = rest + data, left
            out = [data[:pos]]
            while is_chunked and pos < len(data) and not self.ended:
                if not (found := head.match(data, pos)):
                    break
                start, size = found.end(), int(found[1], 16)
                out.append(data[start : start + size])
                pos, self.ended = start + size, not size
            left, rest = max(pos - len(data), 0), data[pos:]
            if self.ended:
                self._limits.reusable = b"\n\r\n" in data[pos - 1 :]
            self.ended = self.ended or not (left or is_chunked)
            yield b"".join(out)
            if self.ended or b"\n" in rest[2:] or len(rest) > 65536:  # no head of a chunk
                return
        is_empty = self._limits.has_head and not self._coding or self._socket is None
        if self._length is None and not is_chunked and (self.received or is_empty):
            self.ended = True

    def release(self) -> None:
        if not (self.ended and self._limits.reusable):
            return self.close()
        self._pieces = iter(())  # it refers to self
        self._fp.close()
        getattr(self._raw, "release_conn", self._fp.close)()

    def close(self) -> None:
        self._limits.reusable, self._pieces = False, iter(())
        for end in (lambda: self._socket.shutdown(2), self._raw.close):
            try:
                end()
            except (OSError, RuntimeError, AttributeError, ValueError):
                pass


def _inflated(pieces: Iterator[bytes], coding: str) -> Iterator[bytes]:
    is_gzip = coding.lower() == "gzip"
    decoder: Any = (urllib3.response.GzipDecoder if is_gzip else urllib3.response.DeflateDecoder)()
    size = 0
    for piece in pieces:
        if not size and is_gzip and piece and piece[0] not in b"\x1fx":  # vcrpy has decoded it
            yield piece
            return (yield from pieces)
        size += len(piece)
        yield decoder.decompress(piece)
    yield decoder.flush()
    if size and not (decoder._obj.eof or getattr(decoder, "_state", 0) == 2):  # 2: padding
        raise ValueError("cut short")


def _wire_error(error: Any, limits: _Limits) -> Exception:
    known = (OSError, ValueError, urllib3.exceptions.HTTPError, urllib3.connection.HTTPException)
    is_of_socket = re.search("^timed out$|operation timed out", str(error))
    by_handler = isinstance(error, TimeoutError) and error.errno is None and not is_of_socket
    if isinstance(error, ValidationError) or by_handler or not isinstance(error, known):
        return error
    names, os_error, root, cause = "", None, error, error  # type: Any, Any, Any, Any
    while cause not in (None, limits.outer_error):
        names, root = names + type(cause).__name__ + " ", cause
        cause.__traceback__ = None  # its frames refer to the request
        if isinstance(cause, OSError) and type(cause).__module__[:8] != "requests":
            os_error = cause
        cause = cause.__cause__ or not cause.__suppress_context__ and cause.__context__ or None
    # Without a proxy's password:
    text = _plain(re.sub(r"//\S*@", "//", getattr(root, "strerror", None) or str(root)), 200)
    is_hopeless = re.search("(?i)cert|failed: 40|LineTooLong|HTTPException |_VERSION", names + text)
    if isinstance(error, ValueError) and not is_hopeless:
        return ValidationError("this cannot be sent: " + text, advice="Check base_url=, ALL_PROXY.")
    is_over, is_connecting = time.monotonic() >= limits.ends_at, limits.connecting
    is_late, is_connecting = is_over or "imeout" in names, is_connecting or "ConnectT" in names
    cls, what = APIConnectionError, "the connection to %s failed: %s" % (limits.host, text or names)
    if is_late:
        limit = "%.3g s" % (limits.connect if is_connecting else limits.read)
        what = "no answer from %s within %s" % (limits.host, "deadline=" if is_over else limit)
        cls = APITimeoutError
    advice = "Check base_url= (http or https, host, port), timeout=, proxy, certificate (verify=)."
    problem = cls(what, advice=advice, _transient=not is_hopeless)
    problem._may_be_done, problem.__cause__ = is_late and not is_connecting, os_error
    return problem


def _fetch(url: Any) -> bytes:
    more: Any = {"stream": True, "auth": lambda sent: sent}  # no netrc
    with contextlib.suppress(OSError, ValueError), requests.get(url, timeout=60, **more) as answer:
        answer.raise_for_status()
        return b"".join(_limited(answer.iter_content(BLOCK_BYTES)))
    raise APIConnectionError("GET %s failed" % url.split("?")[0], advice="Ask for b64_json.")


# --------------------
# Calls
#
# _Call -> OpenAIMini._run -> _perform -> _Exchange (an attempt) -> transport -> _Body ->
# _read_answer -> then.

_CALL_OPTIONS = ("timeout", "deadline", "max_retries", "priority")
# `_began_at`: of the first of several calls with one deadline.
_ALL_CALL_OPTIONS = {*_CALL_OPTIONS, "extra_headers", "extra_query", "extra_body", "_began_at"}
_MINIMUM = {"timeout": 1e-3, "deadline": 1e-3, "max_retries": 0, "initial_retry_delay": 0.0,
            "max_retry_delay": 0.0, "backoff_factor": 1.0, "priority": float("-inf")}


class _Call:
    """The request, how to read the answer, and the progress.

    `read`: object (of JSON), json (any), page (a list with next pages), transcript (text or JSON),
    bytes, stream, auto (by the Content-Type).
    """

    # owner: the client that was called; handed_over: the caller ends the exchange
    json = form = content = to = progress = model_kind = then = owner = breaker = None  # type: Any
    timeout = deadline = max_retries = priority = verify = body = model = usage = None  # type: Any
    is_form = admin = has_key = handed_over = is_final = False
    raw, origin, target, ends_at, n, sent, received = "", "", "", float("inf"), 1, 0, 0
    sent_headers = added_headers = {}  # type: Any  # added: by a session

    def __init__(self, method: str, path: str, read: str, options: Any, **more: Any) -> None:
        self.method, self.path, self.read = method, "/" + path.lstrip("/"), read
        self.options = {name: options.pop(name) for name in _ALL_CALL_OPTIONS & options.keys()}
        self.query, self.headers = {}, {}  # type: Any, Any
        self.id, self.began_at = os.urandom(8).hex(), time.monotonic()
        self.needs_choice = path == "/chat/completions" and method == "POST"
        self.__dict__.update(more)
        if self.to and isinstance(self.to, (str, os.PathLike)):  # checked before it is billed
            os.stat(os.path.dirname(os.path.realpath(self.to)))
        elif hasattr(self.to, "encoding") or not (self.to is None or hasattr(self.to, "write")):
            raise ValidationError("to=%.80r: a path or a binary file is needed" % (self.to,))

    def begin(self, client: OpenAIMini) -> None:
        self.attempts, self.read_timeouts, self.asked_key_again, self.cache_key = 0, 0, False, ""
        self.breaker = client._breaker
        given = {name: v for name, v in self.options.items() if v not in (None, NOT_GIVEN)}
        for name in _CALL_OPTIONS:
            setattr(self, name, _checked_option(name, given.get(name, getattr(client, name))))
        if client is self.owner and self.deadline is not None:  # a fallback gets what remains
            self.ends_at = self.options.get("_began_at", self.began_at) + self.deadline

    def end(self, error: Any, stream: Any = None) -> None:
        failed, usage = isinstance(error, Exception), (stream or self).usage
        outcome = "failed" if failed else "abandoned" if error else "succeeded"
        state = stream and {"succeeded": "completed", "failed": "interrupted"}.get(outcome, outcome)
        calls = {outcome: 1, "bytes_sent": self.sent, "bytes_received": self.received}
        streams = {state: 1, "chunks": stream.stats["chunks"]} if stream else {}
        errors, stats = {type(error).__name__: 1} if failed else {}, self.owner._stats
        stats.add(calls=calls, errors=errors, streams=streams, tokens=_tokens_in(usage))
        if not error:
            stats.latencies.append(time.monotonic() - self.began_at)
        if stream or error:
            self.emit("stream_end" if stream else "error", None, error, usage=usage, state=state)

    def emit(self, event: str, attempt: Any = None, error: Any = None, **fields: Any) -> None:
        owner, dropped = self.owner, isinstance(error, GeneratorExit)  # a finalizer writes no log
        if not owner.on_event and not owner._log or sys.is_finalizing():
            return
        if not dropped:
            self.emit_circuit()
        record = {"event": event, "id": self.id, "method": self.method, "path": self.path,
                  "model": self.model, "attempt": self.attempts}
        answer = attempt.response if attempt else error
        fields["status"] = getattr(answer, "status_code", None)
        fields["request_id"] = _without(self.secrets, getattr(answer, "request_id", None))
        fields["duration_s"] = time.monotonic() - (attempt or self).began_at
        fields["error"] = type(error).__name__ if error and not dropped else None
        record.update((name, value) for name, value in fields.items() if value is not None)
        if owner.on_event:
            _guarded("on_event", owner.on_event, record)
        if owner._log and event != "request" and not dropped:
            line = " ".join("%s=%s" % (name, _plain(str(v), 200)) for name, v in record.items())
            owner._log.disabled = False  # dictConfig() disables it
            owner._log.log(20 if owner._log.hasHandlers() else 30, line)  # 30 is shown

    def emit_circuit(self) -> None:
        breaker, states = self.breaker, self.owner._stats.circuits
        if breaker and breaker._state != states.get(breaker, "closed"):
            states[breaker] = breaker._state
            self.emit("circuit", state=states[breaker])

    @property
    def secrets(self) -> list[str]:
        query = urllib.parse.parse_qsl(self.target.partition("?")[2])
        pairs = [*self.sent_headers.items(), *self.added_headers.items(), *query]
        values = [str(value) for name, value in pairs if _is_secret(name)]
        parts = {part for v in values for part in (v, v.split(" ")[-1], *re.findall("=([^;]*)", v))}
        return sorted((part for part in parts if len(part) > 3), key=len, reverse=True)


def _checked_option(name: str, value: Any) -> Any:
    pair = (value.connect, value.read) if hasattr(value, "connect") else value
    pair = tuple(pair) if isinstance(pair, (tuple, list)) and len(pair) == 2 else (value, value)
    for number in pair if name == "timeout" else (value,):
        if number is not None or name not in ("timeout", "deadline"):
            _check_number(name, number, _MINIMUM[name])
    return pair if name == "timeout" else value


def _tokens_in(usage: Any) -> dict[str, int]:
    get = {n: c for u in _dicts(usage) for n, c in u.items() if isinstance(c, int)}.get
    prompt = get("prompt_tokens") or get("input_tokens") or 0
    answer = get("completion_tokens") or get("output_tokens") or 0
    return {"prompt": prompt, "completion": answer, "total": get("total_tokens") or prompt + answer}


class _Stats:
    def __init__(self) -> None:
        self._lock = _Lock()
        _renew_after_fork(self)
        # The states emitted last, the last headers.
        self.circuits, self.headers = weakref.WeakKeyDictionary(), {}  # type: Any, Any
        self.latencies: Any = collections.deque(maxlen=1000)
        groups = {"calls": "requests succeeded failed abandoned retries bytes_sent bytes_received",
                  "streams": "started completed interrupted abandoned chunks ttft_s",
                  "errors": "", "tokens": "prompt completion total", "cache": "hits misses"}
        self.counts = {group: dict.fromkeys(names.split(), 0) for group, names in groups.items()}

    _renew = __init__

    def add(self, **counts: Any) -> None:
        self._lock.defer(self._add, counts)

    def _add(self, counts: Any) -> None:
        for group, more in counts.items():
            totals = self.counts[group]
            totals.update({name: totals.get(name, 0) + n for name, n in more.items()})

    def snapshot(self) -> dict[str, Any]:
        groups, last = self._lock.do(copy.deepcopy, self.counts), sorted(self.latencies.copy())
        calls, streams = groups.pop("calls"), groups["streams"]
        streams["ttft_s"] = streams["ttft_s"] / streams["started"] if streams["started"] else None
        latency_s = {"count": calls["succeeded"], "mean": sum(last) / len(last) if last else None}
        for name, share in (("p50", 500), ("p95", 950), ("max", 999)):
            latency_s[name] = last[len(last) * share // 1000] if last else None
        limits = {k: v for k, v in self.headers.items() if k.lower().startswith("x-ratelimit-")}
        return {**calls, **groups, "latency_s": latency_s, "rate_limit": limits}


class _Exchange:
    slot = permit = body = response = None  # type: Any

    def __init__(self, client: OpenAIMini, call: _Call) -> None:
        self.client, self.call, self.began_at = client, call, time.monotonic()
        self.limits, self._ended = _Limits(call), _thread.allocate_lock()

    def run(self) -> Any:
        thread, active = _thread.get_ident(), self.client._queue.active
        active.append(thread)
        try:
            # A nested call, e.g. in on_event, would wait for itself.
            self._start(needs_slot=active.count(thread) == 1)
            result = _read_answer(self)
            if not self.call.handed_over:
                self.end(None)  # `then` may make a call
            return result
        except BaseException as error:
            self.end(error)
            if self.call.form is not None:
                self.call.form.rewind()
            raise
        finally:
            active.remove(thread)

    def _start(self, needs_slot: bool) -> None:
        """Take a slot, ask the breaker, send; redirects stay within the origin."""
        client, call, breaker = self.client, self.call, self.call.breaker
        if breaker and breaker.retry_after:
            raise breaker._open_error()
        if client.use_request_queue and needs_slot:
            timeout = min(self.limits.read, call.ends_at - time.monotonic())
            self.slot = client._queue.slot(call.priority, timeout).acquire()
        self.permit = breaker and breaker._admit()
        if breaker and not self.permit:
            raise breaker._open_error()
        client._authorize(call)
        call.emit("request")
        self.limits.begin_wait()
        for _ in range(6):
            self._send()
            status, headers = self.response.status_code, self.response.headers
            if 200 <= status < 300:
                return
            location = str(headers.get("location") or "") if status < 400 else ""
            target = re.match("(?i)(%s)?(/(?!/)[^#]*)" % re.escape(call.origin), location)
            if not target or status == 303 and call.method != "GET":
                break
            self.body.close()
            call.target = target[2]
        with contextlib.suppress(APIError):
            self.response._content = self.body.read_all()
        raise _error_of(self, _json_or_text(self.response.text), location.split("?")[0])

    def _send(self) -> None:
        call = self.call
        try:
            raw = self.client._transport(call, self.limits)
        except _FromCaller as error:
            raise error.__context__ from None  # type: ignore[misc]
        except Exception as error:
            raise _wire_error(error, self.limits)  # a variable would make a cycle
        self.body, url = _Body(raw, self.limits), call.origin + call.target.split("?")[0]
        self.response = Response(raw.status, raw.headers, url)
        call.sent += len(call.body or b"")
        call.owner._stats.headers = raw.headers

    def open_stream(self) -> Stream:
        stream = Stream(self)
        self.call.owner._stats.add(streams={"started": 1, "ttft_s": stream.stats["ttft_s"]})
        if self.permit is not None:
            self.call.breaker._report(self.permit, True)
        self.call.emit("response", self, None, usage=self.call.usage, state="streaming")
        self.call.handed_over = True
        return stream

    def end(self, error: Any, stream: Any = None) -> None:
        """Give all back. `error`: a GeneratorExit in a finalizer."""
        if self.limits.pid != os.getpid() or not self._ended.acquire(False):
            return  # the parent's, or ended
        client, call, is_ours = self.client, self.call, isinstance(error, OpenAIError)
        if self.body is not None:
            call.received += self.body.received
            (self.body.close if error else self.body.release)()
        if self.permit is not None:
            call.breaker._report(self.permit, _outcome(error) if is_ours or not error else None)
        if isinstance(error, RateLimitError) and error.retry_after:
            client._queue.pause(min(error.retry_after, client.max_retry_delay))
        if self.slot is not None:
            retry = is_ours and error._transient and call.attempts <= call.max_retries
            self.slot.release(retry=retry and not call.handed_over)
        if call.handed_over:
            call.end(error, stream)
        if not (stream or self.response is None or isinstance(error, GeneratorExit)):
            call.emit("response", self, error, usage=call.usage)


def _read_answer(exchange: _Exchange) -> Any:
    call, body = exchange.call, exchange.body
    if call.raw == "with_streaming_response" or call.raw and call.read == "stream":
        call.handed_over = True
        return exchange.response._with_body(exchange)
    kind = _kind_of(exchange)
    if "stream" in (kind, call.read):
        return exchange.open_stream()
    body.progress = None if call.is_form else call.progress
    if kind == "bytes" and call.to is not None:
        return _download(exchange)
    content = body.read_all()
    result = _parse_as(exchange, kind, content)
    call.usage = result.get("usage") if isinstance(result, Result) else None
    if call.cache_key:
        entry = call.cache_key.encode() + content
        _guarded("cache=", exchange.client.cache.__setitem__, call.cache_key, entry)
    return exchange.response._with_body(exchange, content) if call.raw else result


_BEGINNINGS = rb"""(?xs)(?:\xef\xbb\xbf)?\s*(?:
    (?P<json> \{\s*["}] | \[\s*[\[{\]] ) | (?P<page> <(?i:!doctype|html)\W ) | (?P<nothing> \Z ) |
    (?P<events> (?:data|event|id|retry|error)?: ) | )"""


def _kind_of(exchange: _Exchange, content: bytes | None = None) -> str:
    """Return how to read an answer: by the call, Content-Type, and first bytes."""
    call, path = exchange.call, exchange.call.path
    if call.read in ("object", "json", "page") or call.read == "bytes" and path != "/audio/speech":
        return call.read
    types = (exchange.response.headers.get("content-type") or "").lower()
    has_events, is_json = "event-stream" in types, re.search(r"[/+]json(?![\w-])", types)
    start = exchange.body.peek() if content is None else content
    begins = re.match(_BEGINNINGS, start).lastgroup  # type: ignore[union-attr]
    if call.read == "auto":
        kind = "json" if is_json else "text" if types.startswith("text/") else "bytes"
        return ("json" if begins == "json" else "stream") if has_events else kind
    if call.read == "stream":
        is_stream = begins == "events" or (has_events or not types) and begins != "json"
        return "stream" if is_stream else "object"
    is_empty = begins == "nothing" and call.read == "bytes"  # no speech
    return "object" if has_events or is_empty or begins in ("json", "page") else call.read


def _parse(exchange: _Exchange, content: bytes) -> Any:
    value, then = _parse_as(exchange, _kind_of(exchange, content), content), exchange.call.then
    return then(value) if then else value


def _parse_as(exchange: _Exchange, kind: str, content: bytes) -> Any:
    call = exchange.call
    if kind in ("bytes", "text"):
        return Binary(content) if kind == "bytes" else content.decode("utf-8", "replace")
    if kind == "transcript":
        content = json.dumps({"text": content.decode("utf-8", "replace")}).encode()
    has_choice = call.needs_choice or call.to is not None  # no JSON is written as speech
    data = _parse_json(content or b"{}" if kind == "json" else content, kind != "json")
    names = ("message", "delta") if call.read == "stream" else ("message",)
    _raise_error_in(data, exchange, has_choice, names if has_choice else ())
    if call.read == "bytes" or not isinstance(data, Result):
        return Binary(content) if call.read == "bytes" else data
    is_list = kind == "page" or kind == "json" and type(data.get("data", 0)) in (list, type(None))
    result = (Page if is_list else Transcript if call.read == "transcript" else Result)(data)
    result._response = exchange.response
    has_more = kind == "page" if data.get("has_more") is None else data["has_more"]
    if is_list and has_more and call.method == "GET":
        result._fetch = functools.partial(_next_page, exchange)
    return result


def _next_page(exchange: _Exchange, cursor: str) -> Any:  # its lock keeps the key from a pickle
    call = exchange.call
    more = {"query": {**call.query, "after": cursor}, "headers": call.headers, "admin": call.admin}
    return exchange.client._run(_Call(call.method, call.path, "page", {**call.options}, **more))


def _download(exchange: _Exchange) -> Any:
    call, pieces, count = exchange.call, exchange.body.pieces(), 0
    if not hasattr(call.to, "write"):
        return _write_whole(call.to, pieces)
    for piece in pieces:
        call.is_final = True  # no attempt may write it again
        count += len(piece)
        while piece:  # a raw file may write a part
            piece = piece[call.to.write(piece) or len(piece) :]
    return count


# --------------------
# Client
#
# A call begins and ends in _run; _perform makes its attempts; _prepare builds the request.

DEFAULT_HOST = "https://api.openai.com"
_SOURCES = {"api_key": "API_KEY", "admin_api_key": "ADMIN_KEY", "base_url": "BASE_URL",
            "model": "MODEL", "organization": "ORG_ID", "project": "PROJECT_ID"}
# Groups: origin, path, query, fragment.
_SERVER_URL = r"([\w+.-]+://(?:\[[\w:.%]+\]|[^/?#@\s:[\]]+)(?::\d{0,5})?)(/[^?#]*|)(\?[^#]*|)(#.*|)"
_FALLBACK_ERRORS = (CircuitOpenError, APIConnectionError, RateLimitError, InternalServerError,
                    StreamInterruptedError)
_CACHED_PATHS = ("/chat/completions", "/completions", "/embeddings", "/moderations", "/responses")
MAX_EMBEDDING_INPUTS, MAX_EMBEDDING_CHARS = 2048, 600_000  # of a request: 300,000 tokens


NotGiven = type("NotGiven", (), {"__bool__": lambda _: False, "__reduce__": lambda _: "NOT_GIVEN"})
NOT_GIVEN = omit = NotGiven()  # an argument with this value is left out of the request


class OpenAIMini(_Closing):
    """A client of the OpenAI API, or of any server that speaks it.

    >>> client = OpenAIMini(base_url="echo:")  # offline
    >>> client.chat("Hello").content
    'Hello'

    Times are seconds: `timeout` without data, one or (connect, read); `deadline` of a whole call.
    `api_key` may be a callable, `fallback` a client or several, `cache` a mapping. Each call takes
    `timeout`, `deadline`, `max_retries`, `priority`, `extra_headers`, `extra_query`, `extra_body`.
    """

    chat: _Chat
    priority, _log = NORMAL, None  # type: int, Any
    base_url = property(lambda self: vars(self)["base_url"], doc="The server as it was given.")

    def __init__(self, api_key: Any = None, *, base_url: str | None = None,
                 admin_api_key: str | None = None, organization: str | None = None,
                 project: str | None = None, api_version: str | None = None,
                 model: str | None = None, timeout: Any = (10, 600), deadline: float | None = None,
                 max_retries: int = 3, initial_retry_delay: float = 0.5,
                 backoff_factor: float = 2.0, max_retry_delay: float = 60.0,
                 use_request_queue: bool | RequestQueue = True, max_concurrent_requests: int = 10,
                 queue_size: int = 100, requests_per_minute: int | None = None,
                 circuit_breaker: Any = None, fallback: Any = None, default_headers: Any = None,
                 default_query: Any = None, verify: Any = None, session: Any = None,
                 cache: Any = None, validate: bool | None = None, debug: bool = False,
                 on_event: Any = None) -> None:
        self._configure({name: value for name, value in locals().items() if name != "self"})

    def _configure(self, options: Any) -> None:
        self._options = tuple(options)
        for name, value in options.items():
            if name in _SOURCES:
                value = value or _environ("OPENAI_" + _SOURCES[name])
            if name in _MINIMUM:
                value = _checked_option(name, value)
            vars(self)[name] = value
        is_context = hasattr(self.verify, "wrap_socket") and self.session is None
        if not (is_context or isinstance(self.verify, (bool, str, os.PathLike, type(None)))):
            raise ValidationError("verify= is no bool, path or, without session=, SSLContext")
        self._set_server()
        if not self.api_key and self._default_host:
            raise AuthenticationError("no API key: give api_key=, OPENAI_API_KEY or base_url=")
        own = {"User-Agent": "openai_mini/" + __version__, "Accept": "application/json",
               "Accept-Encoding": "gzip, deflate", "OpenAI-Organization": self.organization,
               "OpenAI-Project": self.project}
        self._headers = _merged_headers(own, self.default_headers)
        rest = self.fallback or []
        self._fallbacks = list(rest) if isinstance(rest, (list, tuple)) else [rest]
        if not all(hasattr(client, "_perform") for client in self._fallbacks):
            raise ValidationError("fallback= is no client or list of clients")
        if self.debug or (_environ("OPENAI_LOG") or "").lower() in ("debug", "info"):
            self._log = logging.getLogger("openai_mini")
            self._log.setLevel("INFO")
        queue, breaker, self._stats = self.use_request_queue, self.circuit_breaker, _Stats()
        self._sizes = self.max_concurrent_requests, self.queue_size, self.requests_per_minute
        self._queue = queue if isinstance(queue, RequestQueue) else RequestQueue(*self._sizes)
        self._breaker = CircuitBreaker() if breaker in (None, True) else breaker or None
        self._pools = _Pools(self._queue.max_concurrent)
        send = (self._pools if self.session is None else _Session(self.session)).send
        self._transport = _echo if self.base_url == "echo:" else send

    def _set_server(self) -> None:
        base_url = vars(self)["base_url"] = str(self.base_url or DEFAULT_HOST + "/v1").strip()
        url = re.fullmatch(_SERVER_URL, "http://echo" if base_url == "echo:" else base_url)
        is_http = url and re.match("(?i)https?:", url[0])
        if not url or self.session is None and not is_http:
            raise ValidationError("base_url= (or its variable) is no URL or has a password")
        self._origin = url[1].lower() if is_http else url[1]
        self._base = self._origin + url[2].rstrip("/")
        self._default_host = self._origin == DEFAULT_HOST
        own = dict(urllib.parse.parse_qsl(url[3][1:], keep_blank_values=True))
        self._query = {"api-version": self.api_version or None, **own, **(self.default_query or {})}

    def with_options(self, **options: Any) -> OpenAIMini:
        """Return a copy with other arguments. It shares queue and statistics, and connections and
        breaker of the same server."""
        client = type(self).__new__(type(self))
        OpenAIMini.__init__(client, **{**self.__getstate__(), **options})
        client._stats, is_same_server = self._stats, client.base_url == self.base_url
        if client._sizes == self._sizes and client.use_request_queue is self.use_request_queue:
            client._queue = self._queue
            if client.session is self.session and is_same_server:
                client._transport, client._pools = self._transport, self._pools
        if client.circuit_breaker is self.circuit_breaker:
            client._breaker = self._breaker if is_same_server else copy.copy(self._breaker)
        return client

    copy = with_options

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._pools.close()

    def __getstate__(self) -> Any:
        return {name: getattr(self, name) for name in self._options}

    __setstate__ = _configure

    def _run(self, call: _Call) -> Any:
        if _thread.get_ident() in _importing:
            raise OpenAIError("a signal's handler made a call amid an import")
        call.owner, clients = self, [self, *self._fallbacks]
        self._stats.add(calls={"requests": 1})
        try:
            for client in clients:
                try:
                    result = client._perform(call)
                    if not call.handed_over:
                        call.end(None)
                    return result
                except _FALLBACK_ERRORS:
                    if client is clients[-1] or call.is_final or time.monotonic() >= call.ends_at:
                        raise
                    call.emit_circuit()  # a fallback has its own circuit
        except BaseException as error:
            call.end(error)
            raise

    def _perform(self, call: _Call) -> Any:
        call.begin(self)
        _prepare(self, call)
        if (hit := self._cached_result(call)) is not None:
            return hit
        while True:
            call.attempts += 1
            exchange = _Exchange(self, call)
            try:
                result = exchange.run()
                return call.then(result) if call.then and not call.raw else result
            except OpenAIError as error:
                error._locate(exchange)
                if (wait_s := self._wait_before_retry(call, error)) is None:
                    raise
                call.owner._stats.add(calls={"retries": 1})
                call.emit("retry", None, error, wait_s=wait_s)
                self._sleep(wait_s)
                if self._breaker and self._breaker.retry_after:
                    raise

    _sleep = staticmethod(lambda s: time.sleep(s))

    def _wait_before_retry(self, call: _Call, error: OpenAIError) -> float | None:
        is_key = error.status_code == 401 and callable(self.api_key) and call.max_retries
        if is_key and not call.asked_key_again:
            call.asked_key_again = True
            return 0.0
        call.read_timeouts += error._may_be_done and call.method == "POST"
        if not error._transient or call.attempts > call.max_retries or call.read_timeouts > 1:
            return None
        if (wait_s := error.retry_after) is None:  # full jitter
            backoff = self.initial_retry_delay * self.backoff_factor ** min(call.attempts - 1, 64)
            wait_s = random.uniform(0, min(backoff, self.max_retry_delay))  # noqa: S311  # nosec
        too_long = wait_s > self.max_retry_delay or time.monotonic() + wait_s >= call.ends_at
        is_shut = self._breaker and self._breaker.retry_after > wait_s
        return None if too_long or is_shut or call.is_final else wait_s

    def _authorize(self, call: _Call) -> None:
        key = call.admin and self.admin_api_key or self.api_key
        is_bearer = callable(key) or not self.api_version
        key = (key() if callable(key) else key) or ""
        if not isinstance(key, str) or re.search("[^ -~]", key.strip()):
            raise ValidationError("api_key= (or its variable) is no text for a header")
        if key.strip() and not call.has_key:
            name, start = ("Authorization", "Bearer ") if is_bearer else ("api-key", "")
            call.sent_headers[name] = start + re.sub("(?i)^bearer +", "", key.strip())

    def _cached_result(self, call: _Call) -> Any:
        cacheable = call.path in _CACHED_PATHS and call.read != "stream" and not call.raw
        if self.cache is None or not cacheable or not isinstance(call.body, bytes):
            return None
        request = ("%s%s\n" % (call.origin, call.target)).encode() + call.body
        call.cache_key = hashlib.sha256(request).hexdigest()
        hit = _guarded("cache=", self._read_cache, call)
        call.owner._stats.add(cache={"misses" if hit is None else "hits": 1})
        return hit

    def _read_cache(self, call: _Call) -> Any:
        key, dummy = call.cache_key, _Exchange(self, call)
        dummy.response = Response(200, {"content-type": "application/json"}, call.path)
        entry = self.cache.get(key) or b""
        # A shelve may mix up threads' answers.
        return _parse(dummy, bytes(entry[64:])) if entry[:64] == key.encode() else None

    def _post(self, path: str, body: Any, params: Any, read: str = "object", **more: Any) -> Any:
        call = _Call("POST", path, read, params, **more)
        call.json = {**body, **params}
        call.model_kind = next((kind for kind in DEFAULT_MODELS if kind in path), None)
        if call.json.get("stream") or params.get("stream_format") == "sse":
            call.read = "stream"
        return self._run(call)

    def stream_chat(self, messages: Any, *, model: str | None = None, **params: Any) -> Stream:
        """Return the answer as a Stream of chunks, each with `.content`, a str."""
        body = {"messages": _messages(messages), "model": model, "stream": True}
        return self._post("/chat/completions", body, params)

    def embedding(self, input: Any, *, model: str | None = None, **params: Any) -> list[Any]:
        """Return a list of floats for each of `input`, a str or a list. An error has those so far
        as `.partial`."""
        inputs = _as_list(input)
        if not isinstance(inputs, list) or inputs and isinstance(inputs[0], int):
            inputs = [inputs]
        if any(text is None for text in inputs):
            raise ValidationError("input[%d] is None" % inputs.index(None))
        _json_bytes({"input": inputs})  # all is checked before anything is billed
        params.update(model=model, _began_at=time.monotonic())
        vectors, max_inputs = [], MAX_EMBEDDING_INPUTS  # type: list[list[float]], int
        while len(vectors) < len(inputs):
            part = inputs[len(vectors) : len(vectors) + max_inputs]
            sizes = itertools.accumulate(len(str(text)) for text in part)
            part = part[: max(sum(size <= MAX_EMBEDDING_CHARS for size in sizes), 1)]
            then = functools.partial(_vectors, len(part))
            try:
                vectors += self._post("/embeddings", {"input": part}, {**params}, then=then)
            except OpenAIError as error:
                error.partial = vectors
                if len(part) == 1 or not _is_too_much_at_once(error):
                    raise
                max_inputs = len(part) // 2
        return vectors

    def moderation(self, input: Any, **params: Any) -> Result:
        """Tell whether a str, or each of a list, is harmful: `.results[0].flagged`."""
        return self._post("/moderations", {"input": input}, params)

    def generate_image(self, prompt: str, **params: Any) -> Any:
        """Make images: `.data[0].b64_json` or `.url`, `.save(folder)`; a Stream if stream=True."""
        return self._post("/images/generations", {"prompt": prompt}, params)

    def edit_image(self, image: Any, prompt: str, *, mask: Any = None, **params: Any) -> Any:
        """Change `image`, a file or a list of files, where `mask` allows it."""
        images = list(map(_File, image)) if isinstance(image, list) else _File(image)
        body = {"prompt": prompt, "image": images, "mask": mask and _File(mask)}
        return self._post("/images/edits", body, params, is_form=True)

    def text_to_speech(self, text: str, voice: str = "alloy", *, model: str | None = None,
                       to: Any = None, progress: Any = None, **params: Any) -> Any:
        """Return speech as bytes. `to`, `progress`: as for download_file()."""
        body = {"input": text, "voice": voice, "model": model}
        return self._post("/audio/speech", body, params, "bytes", to=to, progress=progress)

    def transcribe_audio(self, file: Any, **params: Any) -> Any:
        """Return the `.text` of a path, bytes, a binary file, or (name, any of these)."""
        body = {"file": _File(file)}
        return self._post("/audio/transcriptions", body, params, "transcript", is_form=True)

    def translate_audio(self, file: Any, **params: Any) -> Any:
        """Return the text in English: of OpenAI's models only whisper-1 can."""
        body = {"file": _File(file), "model": "whisper-1"}
        return self._post("/audio/translations", body, params, "transcript", is_form=True)

    def upload_file(self, file: Any, *, purpose: str = "fine-tune", file_name: str | None = None,
                    progress: Any = None, **params: Any) -> Result:
        """Upload a file (as for transcribe_audio()). `progress(sent, total)` is called."""
        body = {"purpose": purpose, "file": _File(file, file_name)}
        return self._post("/files", body, params, is_form=True, progress=progress)

    def download_file(self, file_id: str, to: Any = None, *, progress: Any = None,
                      **params: Any) -> Any:
        """Return a file's bytes, or their number if written `to` a path or a binary file.
        `progress(received, total)` is called."""
        path, more = "/files/%s/content" % _path_id("file_id", file_id), {"query": params, "to": to}
        return self._run(_Call("GET", path, "bytes", params, progress=progress, **more))

    def list_models(self, **params: Any) -> list[str]:
        """Return the models' ids."""
        return self._run(_Call("GET", "/models", "json", params, query=params, then=_model_ids))

    def health(self, **params: Any) -> dict[str, Any]:
        """Return `ok`, `latency_s`, `models` (a count), `circuit`, `error`."""
        models, message, began_at = None, None, time.monotonic()
        try:
            models = len(self.list_models(**{"max_retries": 0, **params}))
        except Exception as error:  # also from a callable api_key=
            message = str(error) or repr(error)
        health = {"ok": message is None, "latency_s": time.monotonic() - began_at, "models": models}
        return {**health, "circuit": self._breaker and self._breaker.state, "error": message}

    def run_tools(self, messages: Any, tools: Any, *, max_rounds: int = 10, **kw: Any) -> Result:
        """Chat, and call the tools that the model asks for: functions with hints and docstring, or
        (schema, function) pairs. The Result has `.messages`. More than `max_rounds` requests would
        be a ToolLoopError."""
        messages, began_at = _messages(messages), time.monotonic()
        described = [_described_tool(tool) for tool in tools or ()]
        functions = {schema["function"]["name"]: function for schema, function in described}
        kw["tools"] = [schema for schema, _ in described] or NOT_GIVEN
        for _ in range(max_rounds):
            result = self.chat(messages, _began_at=began_at, **kw)
            messages.append(result.message)
            if not result.tool_calls:
                result["messages"] = messages
                return result
            if result.finish_reason == "length":  # a call that is cut may look whole
                break
            messages += [_tool_message(functions, call) for call in result.tool_calls]
            kw.pop("tool_choice", None)  # else each round is forced to call
        raise ToolLoopError("tool calls go on: raise max_rounds= or max_tokens=", messages=messages)

    def request(self, method: str, path: str, *, json: Any = None, data: Any = None,
                files: Any = None, params: Any = None, stream: bool = False,
                **options: Any) -> Any:
        """Send any request: by the answer's Content-Type a Result, Stream, bytes or text. `data`: a
        form's fields, bytes or a str. `files`: a dict."""
        path = path[len(self._base) :] if path.startswith(self._base + "/") else path
        if re.match(r"([\w+.-]+:)?//", path):
            raise ValidationError("%r is not below base_url=%r" % (path, self._base))
        call = _Call(str(method).upper(), path, "stream" if stream else "auto", options)
        call.is_form = files is not None or isinstance(data, dict)
        is_wrong = data is not None and not isinstance(data, dict if call.is_form else (bytes, str))
        is_wrong = is_wrong or not all(hasattr(x, "items") for x in (files or {}, params or {}))
        if options or is_wrong or json is not None and (call.is_form or data is not None):
            raise ValidationError("request() takes json=, or data= and files=, not %s" % [*options])
        if call.is_form:
            json = {**(data or {}), **{n: _File(file) for n, file in dict(files or {}).items()}}
        call.json, call.query, call.needs_choice = json, dict(params or {}), False
        call.content = data.encode() if isinstance(data, str) else data
        return self._run(call)

    def submit(self, method: Any, /, *args: Any, priority: int = NORMAL, **kw: Any) -> Any:
        """Call a method (by name) or a callable in a daemon thread: a Future."""
        return self._queue.submit(self._job(method, priority), *args, priority=priority, **kw)

    def map(self, method: Any, inputs: Any, *, priority: int = NORMAL, **kw: Any) -> Iterator[Any]:
        """Iterate over the results in order. At most `queue_size` inputs are read ahead."""
        return iter(self._queue.map(self._job(method, priority), inputs, priority=priority, **kw))

    def _job(self, method: Any, priority: int) -> Any:
        is_name = isinstance(method, str)  # of ours: its retries have the priority, too
        return functools.partial(getattr(self, method), priority=priority) if is_name else method

    def stats(self) -> dict[str, Any]:
        """Return counts, latencies, and the state of queue, circuit and rate limit."""
        queue, breaker = self._queue, self._breaker
        counts = {"running": queue.running, "waiting": queue.waiting}
        circuit = {"state": breaker and breaker.state, "opened": breaker.opened if breaker else 0}
        return {**self._stats.snapshot(), "queue": counts, "circuit": circuit}

    def __getattr__(self, name: str) -> Any:
        if name in ("get", "post", "put", "patch", "delete"):
            return lambda path, *, body=None, cast_to=None, stream_cls=None, **more: self.request(
                name, path, json=body, **more)
        raise _unknown_name("OpenAIMini", name, dir(self))


OpenAI = OpenAIMini  # a chained assignment is no type for mypy
Client = OpenAIMini


def AzureOpenAI(*, azure_endpoint: str | None = None, azure_deployment: str | None = None,
                api_key: Any = None, azure_ad_token_provider: Any = None,
                api_version: str | None = None, **options: Any) -> OpenAIMini:
    """Return a client for Azure. Defaults: AZURE_OPENAI_ENDPOINT, _API_KEY, _AD_TOKEN."""
    version = api_version or _environ("OPENAI_API_VERSION")
    endpoint = azure_endpoint or _environ("AZURE_OPENAI_ENDPOINT")
    key = azure_ad_token_provider or api_key or _environ("AZURE_OPENAI_API_KEY")
    token = _environ("AZURE_OPENAI_AD_TOKEN") or ""
    if not (version and endpoint and (key or token)):  # OPENAI_API_KEY is not for Azure
        raise ValidationError("Azure needs azure_endpoint=, api_version=, AZURE_OPENAI_API_KEY")
    base_url = re.sub(r"(/openai(/.*)?)?/*([?#].*)?$", "", endpoint.strip()) + "/openai"
    if azure_deployment:
        base_url += "/deployments/" + _path_id("azure_deployment", azure_deployment)
    # A callable's key is a bearer token, and a method can be pickled.
    return OpenAIMini(key or token.strip, base_url=base_url, api_version=version, **options)


def _prepare(client: OpenAIMini, call: _Call) -> None:
    body, extra_body = call.json, call.options.get("extra_body") or {}
    if isinstance(body, dict) or extra_body and body is None and call.method != "GET":
        body = {name: value for name, value in (body or {}).items() if value is not NOT_GIVEN}
        if call.model_kind:
            default = call.model_kind == "chat" and client.model or DEFAULT_MODELS[call.model_kind]
            body["model"] = body.get("model") or default
            _adapt_for_openai(client, call, body)
        body.update(extra_body)
        call.model, choices = body.get("model"), body.get("n")
        call.n = choices if isinstance(choices, int) else 1
    call.origin, call.verify, call.target = client._origin, client.verify, _target(client, call)
    if call.is_form and call.form is None:
        fields = sorted(_pairs_in(body), key=lambda pair: isinstance(pair[1], _File))
        call.form = _Form(fields, call.progress)
    headers, call.body = dict(client._headers), call.form or call.content
    if call.is_form:
        headers["Content-Type"] = call.form.content_type
        headers["Content-Length"] = str(len(call.form))
    elif body is not None:
        call.body, headers["Content-Type"] = _json_bytes(body), "application/json"
    if call.method == "POST":
        headers["Idempotency-Key"] = "openai-mini-" + call.id
    if call.read == "stream":
        headers["Accept"] = "text/event-stream"
    extra = call.options.get("extra_headers")
    if extra and call.owner is not client:  # a key is for one server
        extra = {name: value for name, value in extra.items() if not _is_secret(name)}
    if call.headers or extra:
        headers = _merged_headers(headers, call.headers, extra)
    call.sent_headers = headers
    call.has_key = any(name.lower() in ("authorization", "api-key") for name in headers)


def _target(client: OpenAIMini, call: _Call) -> str:
    path, base = call.path, client._base[len(client._origin) :]
    if azure := client.api_version and re.fullmatch("(.*/openai)(/deployments/.+)?", base):
        base, of_models = azure[1], r"/((chat/)?completions|embeddings|(audio|images)/\w+)"
        if re.fullmatch(of_models, path):
            base += azure[2] or "/deployments/" + _path_id("model", call.model)
    query = {**client._query, **call.query, **(call.options.get("extra_query") or {})}
    encoded = urllib.parse.urlencode(_pairs_in(query), errors="surrogatepass")
    return base + path + (encoded and ("&" if "?" in path else "?") + encoded)


def _adapt_for_openai(client: OpenAIMini, call: _Call, body: Any) -> None:
    is_chat, is_openai = call.path == "/chat/completions", client._default_host
    if is_chat and (is_openai if client.validate is None else client.validate):
        _check_chat(body)
    if is_openai and is_chat and "max_tokens" in body and "max_completion_tokens" not in body:
        body["max_completion_tokens"] = body.pop("max_tokens")
    if is_openai and is_chat and body.get("stream"):
        body.setdefault("stream_options", {"include_usage": True})
    if is_openai and call.path == "/embeddings":
        body.setdefault("encoding_format", "base64")


def _is_secret(header: str) -> bool:
    words = "auth(ori[sz]|entic|-|$)|(?<!idempotency-)key$|token$|secret|passw|credent|sign|cookie"
    return bool(re.search(words, header.lower()))


def _merged_headers(*layers: Any) -> dict[str, str]:
    merged: Any = {}
    for name, value in (pair for layer in layers for pair in (layer or {}).items()):
        if not re.fullmatch(r"[!-9;-~]+\n[\t -~\x80-\xff]*", "%s\n%s" % (name, value)):
            raise ValidationError("the header %r has a wrong character" % name)
        merged[name.lower()] = (name, value)
    return {name: str(value) for name, value in merged.values() if value not in (None, NOT_GIVEN)}


def _pairs_in(value: Any, name: str = "") -> list[Any]:
    """Return query or form fields: a[]=1, a[]=2, b[c]=true."""
    if _is_file(value) and not isinstance(value, list):
        return [(name, value if isinstance(value, _File) else _File(value))]
    if hasattr(value, "items"):
        inner = [(name + "[%s]" % key if name else str(key), item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        inner = [(name + "[]", item) for item in value]
    else:
        is_number = isinstance(value, (int, float))
        return [(name, _json_bytes(value, name).decode() if is_number else str(value))]
    given = [(key, item) for key, item in inner if item is not None and item is not NOT_GIVEN]
    return [pair for key, item in given for pair in _pairs_in(item, key)]


def _path_id(name: str, value: Any) -> str:
    if value is None or re.search(r"^\.{0,2}\Z|[\ud800-\udfff]", str(value)):
        raise ValidationError("%s is %r: no path can hold that" % (name, value))
    return urllib.parse.quote(str(value), safe="!$&'()*+,;=:@")


def _json_bytes(value: Any, path: str = "") -> bytes:
    """Return JSON; an error names a place: 'messages[0].content'."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        reason = _plain(str(error), 80)
    is_list = isinstance(value, (list, tuple))
    items = enumerate(value) if is_list else value.items() if isinstance(value, dict) else ()
    for key, item in items if len(path) < 200 else ():
        _json_bytes(item, path + ("[%s]" if is_list else ".%s") % (key,))
    raise ValidationError("%s cannot be JSON: %s" % (path.lstrip(".") or "this", reason))


def _messages(messages: Any) -> list[Any]:
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    listed = list(messages) if hasattr(messages, "__iter__") else []
    for number, message in enumerate(listed or [None]):
        role = message.get("role") if isinstance(message, dict) else None
        is_call = role == "assistant" and len(message) > 1
        if role not in _ROLES or message.get("content") is None and not is_call:
            raise ValidationError("messages[%d] needs content and a role: %s" % (number, _ROLES))
    return listed


_ROLES = ("developer", "system", "user", "assistant", "tool", "function")
_RANGES = {"temperature": (0.0, 2), "top_p": (0.0, 1), "top_logprobs": (0, 20), "n": (1, 128),
           "frequency_penalty": (-2.0, 2), "presence_penalty": (-2.0, 2), "max_tokens": (1, 131072),
           "max_completion_tokens": (1, 131072), "seed": (-1 << 63, 1 << 63)}


def _check_chat(body: Any) -> None:
    params = {name: value for name, value in body.items() if value is not None}
    for name in _RANGES.keys() & params.keys():
        _check_number(name, params[name], *_RANGES[name])
    stop, logprobs, top = map(params.get, ("stop", "logprobs", "top_logprobs"))
    stops = stop if isinstance(stop, list) else [stop]
    if stop is not None and (len(stops) > 4 or not all(s and isinstance(s, str) for s in stops)):
        raise ValidationError("stop= is %r: at most 4 texts, none empty" % (stop,))
    if not isinstance(logprobs, (bool, type(None))) or top is not None and not logprobs:
        raise ValidationError("logprobs= is %r, top_logprobs= %r: needs True" % (logprobs, top))


def _model_ids(answer: Any) -> list[str]:
    with contextlib.suppress(LookupError, TypeError):
        models = answer if isinstance(answer, (list, Page)) else answer["data"]
        return [str(model["id"]) for model in models]
    raise APIResponseError("the answer is not a list of models: %.100r" % (answer,))


# What servers say of too large a batch.
_TOO_MUCH = (r"(?i)^413(?!.*tokens)|(?<!physical )batch.size|too many (?!tokens\W*$)|array too long"
             r"|at most|per (request|pred|submitted)|<=|or less|less than or|supports up to|超过"
             r"|exceeds limit")


def _is_too_much_at_once(error: OpenAIError) -> bool:
    about_input = error.status_code in (400, 413, 422) and error.param in (None, "", "input")
    words = "%s %s" % (error.status_code, _error_text(error.body))
    return about_input and "dimension" not in words and bool(re.search(_TOO_MUCH, words))


def _vectors(count: int, answer: Any) -> list[list[float]]:
    with contextlib.suppress(AttributeError, LookupError, TypeError, ValueError):
        items = answer["data"]
        by_index = {n if i.get("index") is None else i["index"]: i for n, i in enumerate(items)}
        vectors = [_vector(by_index[index]["embedding"]) for index in range(count)]
        if len(by_index) == len(items) == count and all(sum(v) * 0 == 0 for v in vectors):
            return vectors
    raise APIResponseError("the answer has no %d vectors in order: %.100r" % (count, answer))


def _vector(embedding: Any) -> list[Any]:
    if isinstance(embedding, list):
        return [*map(float, embedding)]
    order, content = 1 if sys.byteorder == "little" else -1, _from_base64(embedding)
    if len(content) % 4:
        raise APIResponseError("an embedding in the answer is cut")
    return memoryview(content[::order]).cast("f").tolist()[::order]


# --------------------
# Tools and schemas
#
# What a schema cannot express is refused before it is sent.


def _by_schema(schema: Any) -> tuple[Any, Any]:
    described, read = schema, _parse_json
    if hasattr(schema, "model_json_schema"):
        described, read = schema.model_json_schema(), schema.model_validate_json
        described = json.loads(json.dumps(described), object_hook=_strict)
    if not isinstance(described, dict):
        raise ValidationError("schema=%.80r is no dict, or class with a schema" % (schema,))
    name = getattr(schema, "__name__", None) or described.get("title") or "answer"
    form = {"name": re.sub("[^a-zA-Z0-9_-]", "_", name)[:64], "schema": described,
            "strict": described.get("additionalProperties") is False}
    return {"type": "json_schema", "json_schema": form}, functools.partial(_with_parsed, read)


def _strict(part: Any) -> Any:
    if all(isinstance(value, dict) for value in part.values()):
        return part
    part.pop("default", None)
    if "$ref" in part and len(part) > 1:
        part = {"anyOf": [{"$ref": part.pop("$ref")}], **part}
    if "properties" in part:
        part.update(additionalProperties=False, required=list(part["properties"]))
    return part


def _with_parsed(read: Any, result: Any) -> Any:
    """Set `.parsed` of each message or text, the first one's also of `result`."""
    items = [i for i in _dicts(result.get("output")) if i.get("phase") in (None, "final_answer")]
    texts = [p for i in items for p in _dicts(i.get("content")) if p.get("type") == "output_text"]
    if result.finish_reason == "length":
        raise APIResponseError("the answer was cut off: raise max_tokens=", partial=result)
    for part in reversed(_dicts([c.get("message") for c in _dicts(result.get("choices"))]) + texts):
        text = None if result.tool_calls else _text_of(part.get("content", part.get("text")))
        try:
            value = read(_json_in(text)) if text else None
        except (APIResponseError, ValueError) as error:
            what = "the answer does not fit the schema (%s)" % _plain(str(error), 200)
            raise APIResponseError(what, partial=result) from None
        for one in (part, result):  # attributes, not keys of the JSON
            vars(one).update(parsed=value, output_parsed=value)
    return result


def _json_in(text: str) -> str:
    text = re.sub(r"(?s)^(?!\s*[{[]).*</think>", "", text)
    found = re.match(r"(?s)(?!\s*[{[]).*?```\w*\s*([{[].*[}\]])\s*(```|$)", text)
    return found[1] if found else text


def _described_tool(tool: Any) -> tuple[Any, Any]:
    try:
        schema, function = tool if isinstance(tool, tuple) else (None, tool)
        if not schema or "function" not in schema:
            described = {"name": function.__name__, "description": inspect.getdoc(function) or ""}
            schema, function = (schema, function) if schema else _read_parameters(function)
            schema = {"type": "function", "function": {**described, "parameters": schema}}
        return schema, function
    except Exception as error:
        raise ValidationError("no tool: %r: %r; pass (schema, function)" % (tool, error)) from None


def _read_parameters(function: Any) -> tuple[Any, Any]:
    hints, parameters = typing.get_type_hints(function), inspect.signature(function).parameters
    named = {name: p for name, p in parameters.items() if "VAR_" not in p.kind.name}
    read = {name: _read_hint(hints.get(name, object)) for name in named}
    properties = {name: schema for name, (schema, _) in read.items()}
    required = [name for name, p in named.items() if p.default is p.empty]

    def call(**values: Any) -> Any:
        # Models give null for what they leave out.
        given = {name: v for name, v in values.items() if v is not None or name in required}
        return function(**{n: read[n][1](v) if n in read else v for n, v in given.items()})

    return {"type": "object", "properties": properties, "required": required}, call


_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object",
               type(None): "null"}


def _read_hint(hint: Any) -> tuple[Any, Any]:
    """Return the schema of a hint, and what makes its value of JSON."""
    kind, args = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind in (typing.Any, object):
        return {}, lambda value: value
    if kind is typing.Union or type(hint).__name__ == "UnionType":  # X | Y
        read = [_read_hint(arg) for arg in args]
        return {"anyOf": [s for s, _ in read]}, lambda value: _first_that_fits(read, value)
    if kind is typing.Literal or hasattr(kind, "__members__"):
        members = {getattr(m, "value", m): m for m in args or kind}
        kinds = {"type": "string"} if all(isinstance(value, str) for value in members) else {}
        return {**kinds, "enum": [*members]}, members.__getitem__
    if kind is list:
        item, make = _read_hint(args[0] if args else object)
        return {"type": "array", "items": item}, lambda value: [*map(make, _checked(list, value))]
    return {"type": _JSON_TYPES[kind]}, functools.partial(_checked, kind)


def _first_that_fits(read: list[Any], value: Any) -> Any:
    for _, make in read:
        with contextlib.suppress(LookupError, TypeError, ValueError):
            return make(value)
    raise TypeError("%.80r does not fit its hint" % (value,))


def _checked(kind: Any, value: Any) -> Any:
    """Return a value of type `kind`. 1 and 1.0 have both; true is no number."""
    made = kind(value) if {kind, type(value)} == {int, float} else value
    if type(made) is not kind or made != value:
        raise TypeError("%.80r is not of type %s" % (value, kind.__name__))
    return made


def _tool_message(functions: Any, call: Any) -> Any:
    function = call.get("function") or {}
    arguments = function.get("arguments")
    try:
        while isinstance(arguments, str):  # JSON, perhaps encoded twice
            arguments = json.loads(arguments.strip() or "{}", strict=False)
        raw = functions[function.get("name")](**(arguments or {}))
        if any(hasattr(raw, name) for name in ("__await__", "__anext__", "__next__")):
            raise TypeError("it returned %r, not a result" % (raw,))
        content = raw if isinstance(raw, str) else json.dumps(raw, default=str, ensure_ascii=False)
    except Exception as error:
        content = "Error: %s: %s" % (type(error).__name__, _plain(str(error)))
        if isinstance(arguments, str):  # not JSON: servers refuse such a message
            function["arguments"] = "{}"
    return {"role": "tool", "tool_call_id": call["id"], "content": content}


# --------------------
# Resources
#
# The shape of openai 3.57.0 by rule: the attribute path is the URL path, the verb the method. After
# a plural comes an id, named after the singular. Ids come by keyword, the last one also by
# position; the rest is the query, or a POST's body.

_TOP_LEVEL = """admin audio batches beta chat completions containers content_provenance_checks
    conversations decisions embeddings evals files fine_tuning images live models moderations
    realtime responses safety skills uploads vector_stores videos webhooks with_raw_response
    with_streaming_response""".split()
# The method, and what follows the id (/) or the segment without it (:); else POST/verb.
_VERBS = dict(pair.split("=") for pair in """create=POST list=GET retrieve=GET/ update=POST/
    delete=DELETE/ accept= archive= cancel= complete= fork= hangup= pause= refer= reject= remix=
    resume= rotate_secret= run= search= test= validate= activate=POST:activate parse=POST
    compact=POST:compact count=POST deactivate=POST:deactivate content=GET/content
    retrieve_content=GET/content download_content=GET/content download_recording=GET/content
    list_events=GET/events list_files=GET/files list_items=GET/items events.stream=GET
    permissions.retrieve=GET list_rate_limits=GET update_rate_limit=POST/ live.create=POST:sessions
    create_character=POST:characters get_character=GET:characters/ edit=POST:edits
    create_variation=POST:variations extend=POST:extensions generate=POST:generations""".split())
# Exceptions: patterns in such a URL, and what replaces them.
_URLS = dict(pair.split("=", 1) for pair in r"""^/beta(/responses.*?)/?$=\1?beta=true
    ^/(beta|admin)/=/ ^/organization(/projects/.*/roles)=\1 usage/costs=costs
    ^/agents/{agent_id}/vaults=/vaults (external_storage)/=\1/{\1_id}/
    /{\w+}/(automations|environments|sessions|templates|input_tokens)=/\1
    /{(grader|hosted_tool_permission|model_permission|service_tier_setting)_id}=
    (file_)?batche_id=batch_id {(alert|case)_id={id (admin_api|spend)_(key|alert)_id=\2_id
    {model_id={model {version_id={version {checkpoint_id={fine_tuned_model_checkpoint
    {job_={fine_tuning_job_ {template_={environment_template_ {voice_consent_={consent_
    {federation_={workload_identity_federation_""".split())
# The header OpenAI-Beta.
_BETA = {"agents": "agents=v1", "chatkit": "chatkit_beta=v1", "vector_stores": "assistants=v2"}


def _template(path: tuple[str, ...]) -> tuple[str, str]:
    """("files", "content") -> ("GET", "/files/{file_id}/content")."""
    *before, last, verb = ["", *path]
    row = "GET:" + verb if last == "usage" else _VERBS.get(last + "." + verb, _VERBS.get(verb))
    if row is None or not last:
        raise _unknown_name(".".join(["client", *path[:-1]]), verb, _VERBS)
    method, end = re.fullmatch("([A-Z]+)(.*)", row or "POST/" + verb).groups()  # type: ignore
    url = re.sub(r"(\w+)s/", r"\1s/{\1_id}/", "/".join([*before, last]) + end).replace(":", "/")
    for pattern, replacement in _URLS.items():
        url = re.sub(pattern, replacement, url)
    return method, url.rstrip("/")


def _how_to_read(url: str, verb: str, params: Any) -> tuple[str, Any]:
    schema = params.get("response_format") or params.get("text_format")
    if params.get("stream") or verb == "stream" or params.get("stream_format") == "sse":
        return "stream", None
    if url == "/audio/speech" or url.endswith("/content") and "vector_stores" not in url:
        return "bytes", None
    if schema in ("text", "srt", "vtt"):
        return "transcript", str
    if url == "/embeddings" and params.get("encoding_format") in (None, "float"):
        return "json", _with_numbers
    if not isinstance(schema, type):
        return "page" if verb.startswith("list") and url != "/models" else "json", None
    fmt, then = _by_schema(schema)
    if params.pop("text_format", None):
        params["text"] = {**(params.get("text") or {}), "format": {**fmt.pop("json_schema"), **fmt}}
    else:
        params["response_format"] = fmt
    return "json", then


def _resolve(resource: _Resource, args: Any, params: Any) -> _Call:
    path, (method, template), raw = resource._path, resource._route, resource._raw
    read, then = _how_to_read(template, path[-1], params)
    ids = re.findall(r"{(\w+)}", template)
    if len(args) > len(ids[-1:]) or params.keys() & {*ids} != {*ids[: len(ids) - len(args)]}:
        raise TypeError("%s() needs %s: by keyword, the last also by position" % (path[-1], ids))
    params.update(zip(ids[-1:], args))
    url = template.format(**{name: _path_id(name, params.pop(name)) for name in ids})
    call = _Call(method, url, read, params, raw=raw, admin=path[0] == "admin", then=then)
    betas = params.pop("betas", ()) or [_BETA[name] for name in path[:2] if name in _BETA]
    headers = {"OpenAI-Beta": ",".join(betas), "Idempotency-Key": params.pop("idempotency_key", "")}
    call.headers = {name: value for name, value in headers.items() if value}
    if path[-3:-1] == ("conversations", "items"):
        call.query = {"include": params.pop("include", None)}  # also for a POST
    if method != "POST":
        call.query.update(params)
    elif path[:2] == ("beta", "agents") and params:  # `async` is a keyword in Python
        call.json = json.loads(_json_bytes(params).replace(b'"async_":', b'"async":'))
    elif params or _VERBS.get(path[-1]) and path[-2] != "invocations":
        call.json = params
        call.is_form = url in ("/audio/voices", "/videos") or any(map(_is_file, params.values()))
    return call


def _with_numbers(result: Any) -> Any:
    for item in _dicts(getattr(result, "data", None)):
        if isinstance(item.get("embedding"), str):
            item["embedding"] = _vector(item["embedding"])
    return result


def _as_list(value: Any) -> Any:
    if isinstance(value, (str, type, typing.Mapping)) or _is_file(value):
        return value
    return list(value) if hasattr(value, "__iter__") else value


def _unknown_name(where: str, name: str, names: Iterable[str]) -> AttributeError:
    hints = map(": did you mean {!r}?".format, difflib.get_close_matches(name, names, 1))
    return AttributeError("%s has no %r%s" % (where, name, "".join(hints)))


class _Resource:
    """A part of the API, or a verb. Attributes are kept, so that patches stay."""

    _route: Any = None

    def __init__(self, client: Any, path: tuple[str, ...], raw: str = "") -> None:
        self._client, self._path, self._raw = client, path, raw
        self.__name__, self.__qualname__ = (path or ("",))[-1], ".".join(path)

    def __getattr__(self, name: str) -> Any:
        if name[0] == "_":
            raise AttributeError(name)
        raw = name if name.startswith("with_") else ""
        path = self._path if raw else (*self._path, name)
        kind = _Chat if path == ("chat",) else _Resource
        return vars(self).setdefault(name, kind(self._client, path, raw or self._raw))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        params = {name: _as_list(value) for name, value in kwargs.items() if value is not NOT_GIVEN}
        self._route = self._route or _template(self._path)
        return self._client._run(_resolve(self, args, params))


class _Chat(_Resource):
    """Call it, or use `client.chat.completions`."""

    def __call__(self, messages: Any, *, model: str | None = None, schema: Any = None,
                 **params: Any) -> Result:
        """Return the answer to `messages` (a list, or a str: one user message): `.content`,
        `.tool_calls`, `.finish_reason`, `.usage`. `schema`: a JSON schema, or a class such as
        pydantic's, for `.parsed`. The rest is sent as it is."""
        if params.get("stream"):
            raise ValidationError("for stream=True use stream_chat()")
        form, then = (NOT_GIVEN, None) if schema is None else _by_schema(schema)
        body = {"messages": _messages(messages), "model": model, "response_format": form}
        return self._client._post("/chat/completions", body, params, then=then)


class _TopLevel(str):
    def __get__(self, client: Any, owner: Any = None) -> Any:
        if client is None:  # on the class: for help() and specs
            return _Chat.__call__ if self == "chat" else self
        return getattr(vars(client).setdefault("_root", _Resource(client, ())), str(self))


for _name in _TOP_LEVEL:
    setattr(OpenAIMini, _name, _TopLevel(_name))


class _Module(type(sys)):  # type: ignore[misc]
    """A name that the module does not have can be neither read nor set."""

    def __getattr__(self, name: str) -> Any:
        raise _unknown_name("the module (make a client: OpenAI())", name, __all__)

    def __setattr__(self, name: str, value: Any) -> None:
        getattr(self, name)  # openai.api_key = "..." would have no effect
        super().__setattr__(name, value)

    def __reduce__(self) -> Any:  # for cloudpickle, which knows modules by their exact class
        return __import__, (self.__name__, None, None, ["main"])


if vars(sys.modules.get(__name__, sys)) is globals():  # not where exec() runs this file
    sys.modules[__name__].__class__ = _Module


# --------------------
# Offline transport
#
# base_url="echo:" answers in the process, through the usual parsers.


def _echo_chat(body: Any) -> Any:
    users = [m.get("content") for m in _dicts(body.get("messages")) if m.get("role") == "user"]
    text, is_stream = _text_of(users[-1:]) or "", body.get("stream")
    form = (body.get("response_format") or {}).get("json_schema")
    if form:
        text = json.dumps(dict.fromkeys(form["schema"].get("properties", ()), 0))
    name, pieces = ("delta", re.split("(?= )", text)) if is_stream else ("message", [text])
    choices = [{"index": 0, name: {"role": "assistant", "content": piece}} for piece in pieces]
    choices[-1]["finish_reason"] = "stop"
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    answers = [{"choices": [choice], "usage": usage} for choice in choices]
    lines = map("data: {}\n\n".format, [*map(json.dumps, answers), "[DONE]"])
    return "".join(lines).encode() if is_stream else answers[0]


def _echo_embeddings(body: Any) -> Any:
    texts = body["input"] if isinstance(body.get("input"), list) else [body.get("input")]
    hashes = [zlib.crc32(json.dumps(text).encode()) for text in texts]
    vectors = [[(2 * (bits >> n & 1) - 1) / 32**0.5 for n in range(32)] for bits in hashes]
    return {"data": [{"index": i, "embedding": vector} for i, vector in enumerate(vectors)]}


_ECHO_ANSWERS: Any = {  # part of the path: the answer, or its function
    "completions": _echo_chat, "embeddings": _echo_embeddings, "speech": b"ID3 echo",
    "models": {"object": "list", "data": [{"id": "echo", "object": "model"}]},
    "moderations": {"results": [{"flagged": False, "categories": {"violence": False}}]},
    "content": b"echo", "files": {"id": "file-echo", "object": "file"},
    "images": {"data": [{"b64_json":
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNgAAAAAgAB5Sfe/AAAAABJRU5ErkJggg=="
    }]}, "": lambda body: {"echo": body, "text": "echo"}}


def _echo(call: Any, limits: _Limits) -> Any:
    body = json.loads(call.body) if isinstance(call.json, dict) and not call.is_form else {}
    answer = next(answer for part, answer in _ECHO_ANSWERS.items() if part in call.path)
    answer = answer(body) if callable(answer) else answer
    kind = "text/event-stream" if body.get("stream") else "application/octet-stream"
    if isinstance(answer, dict):
        answer = {"id": "echo", "created": 0, "model": body.get("model"), **answer}
        answer, kind = json.dumps(answer).encode(), "application/json"
    raw: Any = io.BytesIO(answer)
    raw.status, raw.headers = 200, {"content-type": kind, "x-request-id": "echo"}
    return raw


# --------------------
# Command line
#
# By command: method, arguments, and the attribute to show or the file to write.

_COMMANDS = dict(row.split("=") for row in """chat=chat:TEXT:content embed=embedding:TEXT:
    image=generate_image:TEXT:save speak=text_to_speech:TEXT:speech.mp3 models=list_models::
    transcribe=transcribe_audio:FILE:text translate=translate_audio:FILE:text health=health::
    moderate=moderation:TEXT:results upload=upload_file:FILE:id request=request:METHOD/PATH:
    download=download_file:ID:download.out""".split())


def _parser() -> Any:
    parser = argparse.ArgumentParser("openai-mini", usage=argparse.SUPPRESS)
    add, more = parser.add_argument, {"dest": "param", "action": "append"}  # type: Any, Any
    add("words", nargs="*", help="TEXT, FILE, ID or METHOD PATH; commands: " + " ".join(_COMMANDS))
    add("-m", "--model", **more, metavar="ID", type=lambda value: ("model", value))
    add("-p", "--param", **more, metavar="KEY=VALUE", type=_key_value, help="any field")
    add("--schema", **more, metavar="FILE", type=lambda value: ("schema", _json_object(value)))
    add("-s", "--system", metavar="TEXT")
    add("-a", "--attach", action="append", type=_image, metavar="IMAGE", help="a file or URL")
    add("-o", "--output", help="a file, or a folder for images")
    add("--json", action="store_true", help="the whole answer as JSON")
    add("--no-stream", action="store_true")
    add("--base-url", metavar="URL")
    add("--offline", dest="base_url", action="store_const", const="echo:")
    add("--verbose", action="store_true", help="a line per attempt")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Return 0, 1 (no whole answer), 2 (wrong usage) or 130 (Ctrl-C)."""
    try:
        argv = sys.argv[1:] if argv is None else argv
        end = (*argv, "--").index("--")  # all that follows are words
        args = _parser().parse_intermixed_args(argv[:end])
        args.words = (args.words or ["chat"]) + argv[end + 1 :]
        return _run_command(args)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except (OpenAIError, OSError, ValueError, TypeError) as error:
        has_no_key = isinstance(error, AuthenticationError) and error.status_code is None
        hint = ". Here: --base-url URL, or --offline." if has_no_key else ""
        print("openai-mini: " + _plain(str(error), 1000) + hint, file=sys.stderr)
        return 2 if has_no_key or isinstance(error, (ValueError, TypeError)) else 1


def _run_command(args: Any) -> int:
    command = args.words.pop(0) if args.words[0] in _COMMANDS else "chat"
    client = OpenAIMini(base_url=args.base_url, debug=args.verbose)
    method, takes, target = _COMMANDS[command].split(":")
    words, options = _arguments(command, takes, target, args)
    is_stream = command == "chat" and not (args.json or args.no_stream or "schema" in options)
    result = part = getattr(client, "stream_chat" if is_stream else method)(*words, **options)
    if is_stream:
        _print((chunk.content for chunk in result), end="")
        part = [] if result.content.endswith("\n") else [""]
    elif "to" in options:  # the result is a count; b"" flushes stdout
        part = options["to"] if isinstance(options["to"], str) else b""
    elif target and not args.json:
        part = result.save(args.output or ".") if target == "save" else getattr(result, target)
    _print(part if isinstance(part, Stream) or isinstance(part, list) and not args.json else [part])
    if command == "chat" and not args.json and result.finish_reason in ("length", "content_filter"):
        raise OpenAIError("the answer is not whole: " + result.finish_reason)
    return int(command == "health" and not result["ok"])


def _arguments(command: str, takes: str, target: str, args: Any) -> tuple[Any, Any]:
    words, options = args.words, dict(args.param or ())
    if command == "request":
        body = {**(_json_object(words.pop()) if len(words) == 3 else {}), **options}
        options = {"params" if re.match("(?i)get|del", " ".join(words)) else "json": body or None}
    elif takes == "TEXT":
        words = [_text(words)]
    elif takes == "FILE" and (words == ["-"] or not (words or sys.stdin.isatty())):
        words = [sys.stdin.buffer.read()]
    if len(words) != len(re.findall(r"\w+", takes)) or not all(words):
        raise ValidationError("%s takes %s; see --help" % (command, takes or "no words"))
    if command == "chat":
        content = [{"type": "text", "text": words[0]}, *args.attach] if args.attach else words[0]
        system = [{"role": "system", "content": args.system}] if args.system else []
        words = [[*system, {"role": "user", "content": content}]]
    if target == "save":
        os.listdir(args.output or ".")  # an error here is not billed
    if "." in target:
        to = args.output or (target if sys.stdout.isatty() else "-")
        options["to"] = sys.stdout.buffer if to == "-" else to
    if ("." in target or command == "upload") and sys.stderr.isatty():
        options["progress"] = lambda done, total: sys.stderr.write("%.1f MB\r" % (done / 1e6))
    return words, options


def _image(value: str) -> Any:
    if not value.startswith(("http:", "https:", "data:")):
        image = _File(value)
        value = "data:%s;base64,%s" % (image.type, base64.b64encode(b"".join(image)).decode())
    return {"type": "image_url", "image_url": {"url": value}}


def _key_value(pair: str) -> Any:
    name, value = pair.split("=", 1)
    return name, _json_or_text(value)


def _json_object(value: str) -> Any:
    return {**json.loads(value if value[:1] == "{" else _read(value))}


def _read(name: str) -> str:
    """Return a text in UTF-8, -16 or -32. `-` is standard input."""
    with sys.stdin.buffer if name == "-" else open(name, "rb") as file:
        content = file.read()
    return content.decode(json.detect_encoding(content))


def _text(words: list[str]) -> str:
    text = " ".join(word for word in words if word != "-")
    if "-" not in words and sys.stdin.isatty():
        return text
    with contextlib.suppress(OSError):  # Windows: read to the end
        if text and "-" not in words and not select.select([sys.stdin.buffer], [], [], 2)[0]:
            print("openai-mini: no input in 2 s: ignored; - waits for it", file=sys.stderr)
            return text
    return "\n\n".join(filter(None, [text, _read("-")]))


def _print(items: Iterable[Any], end: str = "\n") -> None:
    out, encoding = sys.stdout, sys.stdout.encoding or "utf-8"
    for item in items:
        if isinstance(item, bytes) and not (item and out.isatty()):
            out.buffer.write(item)
        else:
            if not isinstance(item, str):
                item = json.dumps(item, default=str, ensure_ascii="utf" not in encoding.lower())
            if out.isatty():
                item = re.sub("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "?", item)
            out.write((item + end).encode(encoding, "replace").decode(encoding))
        out.flush()


if __name__ == "__main__":
    sys.exit(main())
