"""One file that talks to the OpenAI API and to every server that speaks it.

    from openai_mini import OpenAIMini
    client = OpenAIMini(base_url="echo:")  # offline; with no argument: OPENAI_API_KEY, api.openai.com
    print(client.chat("Hello").content)

Copy this file into a project or install it; it needs `requests`, `urllib3` and Python 3.8 or later.
Rooms, bottom up, each knowing only those above it: errors, server-sent events, circuit breaker,
request queue, results and streams, uploads, wire, client, resources, offline transport, command line.

openai_mini 1.0.0. MIT licence: use, copy, change and pass on this file, with this notice; it comes
without warranty of any kind. Copyright (c) 2026 the openai_mini developers.
"""

from __future__ import annotations

import _thread
import io
import sys
import time

__version__ = "1.0.0"

# What is asked for where the caller names no model. Edit it in a copy; `model=`, and for chat
# OPENAI_MODEL, win over it.
DEFAULT_MODELS = {
    "chat": "gpt-5.4-mini", "embedding": "text-embedding-3-small", "image": "gpt-image-2",
    "speech": "gpt-4o-mini-tts", "transcription": "gpt-transcribe",
    "moderation": "omni-moderation-latest",
}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, Mapping


class _Late:
    """A module that is imported when a name of it is first used: what is not needed costs nothing."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(__import__(self._name, fromlist=("*",)), attribute)
        self.__dict__[attribute] = value  # found there from now on, without this call
        return value


base64, collections, heapq, inspect, json = map(_Late, "base64 collections heapq inspect json".split())
os, random, re, requests, socket = map(_Late, "os random re requests socket".split())
tempfile, threading, url_parse, urllib3 = map(_Late, "tempfile threading urllib.parse urllib3".split())
codecs, mimetypes, zlib = map(_Late, "codecs mimetypes zlib".split())

_fork_survivors: list[Any] = []  # a WeakSet, once something needs to know of forks


def _survive_fork(thing: Any) -> None:
    """Have `thing._after_fork()` called, before anything else, in each child that is forked."""
    if not _fork_survivors:
        import weakref

        _fork_survivors.append(weakref.WeakSet())
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)
    _fork_survivors[0].add(thing)


def _after_fork() -> None:
    """In a child: the other threads are gone, and with them who held a lock or ran an import.

    A module whose import another thread had begun stays locked for ever in the child, so it is
    forgotten with all below it, and imported anew. What this thread itself imports goes on.
    """
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    for name, reference in list(locks.items()):
        if getattr(reference(), "owner", None) not in (None, _thread.get_ident()):
            del locks[name]
            for other in [other for other in sys.modules if (other + ".").startswith(name + ".")]:
                del sys.modules[other]
    for thing in list(_fork_survivors[0]):
        thing._after_fork()


def _logger() -> Any:
    import logging

    return logging.getLogger("openai_mini")


class _NotGiven:
    """The type of NOT_GIVEN: an argument with this value is left out of the request."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN = omit = _NotGiven()


# ------------------------------------------------------------------------------------------------
# Errors
#
# Every error that leaves the module is one of these. A message says what happened, to which method
# and path, after how many attempts, and what to do. This room knows the shapes in which servers
# tell of errors, and nothing of how an answer is fetched.


class OpenAIError(Exception):
    """The base of all errors of this module. `.message` is also its `str()`."""

    code = type = param = body = request_id = response = partial = None  # type: Any
    status_code: int | None = None
    retry_after: float | None = None
    _what = _advice = ""
    _transient = False
    _may_be_done = False  # the server may have done the work, and billed it

    def __init__(self, message: str = "", advice: str = "", **details: Any) -> None:
        super().__init__(" ".join(filter(None, (message, advice))))
        self._what, self._advice = message, advice
        self.__dict__.update(details)

    @property
    def message(self) -> str:
        return str(self)

    @property
    def is_auth_error(self) -> bool:
        """True for 401 and 403: the key, or what it may do, is the trouble."""
        return self.status_code in (401, 403)

    @property
    def is_rate_limit_error(self) -> bool:
        return isinstance(self, RateLimitError)

    @property
    def is_transient_error(self) -> bool:
        """True where the same call may well succeed later."""
        return self._transient

    def _place(self, where: str, attempts: int) -> OpenAIError:
        """Say in the message where it happened and how often it was tried."""
        if not str(self).startswith(where):
            tried = "after %d attempt%s" % (attempts, "s" * (attempts != 1))
            text = "%s: %s, %s. %s" % (where, self._what.rstrip(". "), tried, self._advice)
            self.args = (text.rstrip(),)
        self.__cause__ = self.__context__ = None  # what a library said may hold the URL or the key
        return self


class APIError(OpenAIError):
    """The call could not be made or answered.

    `.code`, `.type`, `.param` are the server's words, `.body` its inner error object, `.request_id`,
    `.status_code` and `.response` the answer's; `.retry_after` is what it asks to wait, in seconds.
    Errors out of a stream carry `.partial`, the message as far as it got.
    """


class APIConnectionError(APIError):
    """No answer: the server could not be reached, or the connection broke."""

    _transient = True


class APITimeoutError(APIConnectionError):
    """No answer in time: see `timeout=` and `deadline=`."""


class APIResponseError(APIError):
    """An answer that is not what it says it is: broken JSON, HTML, a body cut short."""


class StreamInterruptedError(APIError):
    """A stream ended before its end: `.partial` is what had come of the message."""

    _transient = True


class APIStatusError(APIError):
    """The server answered with an error status."""


class BadRequestError(APIStatusError):
    """400: the request is wrong."""


class AuthenticationError(APIStatusError):
    """401: the API key is missing or wrong."""


class PermissionDeniedError(APIStatusError):
    """403: the key may not do this."""


class NotFoundError(APIStatusError):
    """404: no such path, model or object."""


class ConflictError(APIStatusError):
    """409: the object was changed meanwhile."""


class UnprocessableEntityError(APIStatusError):
    """422: the request cannot be processed."""


class RateLimitError(APIStatusError):
    """429: too many requests, or a quota is used up."""


class InternalServerError(APIStatusError):
    """500 and over: the server failed."""


class CircuitOpenError(OpenAIError):
    """The circuit breaker is open, nothing was sent. `.retry_after`: seconds until a probe may go."""


class QueueFullError(OpenAIError):
    """More callers wait for a slot than the queue takes."""


class QueueTimeoutError(OpenAIError):
    """No slot came free in time."""


class ToolLoopError(OpenAIError):
    """The model went on calling tools; `.messages` is the conversation so far."""


class ValidationError(OpenAIError, ValueError):
    """An argument is wrong; nothing was sent."""


_SERVER = "The trouble is the server's: try again later."
_STATUSES: dict[int, tuple[Any, str, str]] = {  # what happened, and what to do next
    400: (BadRequestError, "the request was refused", ""),
    401: (AuthenticationError, "the API key was not accepted",
          "Check the API key: api_key=, or OPENAI_API_KEY."),
    403: (PermissionDeniedError, "permission denied",
          "Check what the API key, organization= and project= may do."),
    404: (NotFoundError, "not found", "Check base_url= and the path."),
    408: (APIStatusError, "the server gave up waiting", _SERVER),
    409: (ConflictError, "conflict", "Read the object again before you change it."),
    413: (APIStatusError, "the request is too large", "Send less at once."),
    422: (UnprocessableEntityError, "the request was refused", ""),
    429: (RateLimitError, "rate limit reached", "Try again later, or lower requests_per_minute=."),
    500: (InternalServerError, "the server failed", _SERVER),
    502: (InternalServerError, "a gateway failed", _SERVER),
    503: (InternalServerError, "the server is overloaded", _SERVER),
    504: (InternalServerError, "a gateway timed out", _SERVER),
    529: (InternalServerError, "the server is overloaded", _SERVER),
}  # fmt: skip
# An error in a stream or under status 200 has no status of its own: its code or type says it.
_ERROR_CODES = {
    400: "invalid_request_error invalid_prompt context_length_exceeded content_filter",
    401: "authentication_error invalid_api_key",
    403: "permission_error permission_denied",
    404: "not_found_error model_not_found",
    429: "rate_limit_error rate_limit_exceeded insufficient_quota requests tokens",
    529: "overloaded_error",
}
MAX_MESSAGE_CHARS = 500  # of a server's own words in a message: error pages can be MBs


def _plain(text: str, most: int = MAX_MESSAGE_CHARS) -> str:
    """`text` on one line, without control characters, shortened to `most` characters."""
    text = " ".join(text[: 4 * most].split())
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= most else text[: most - 3] + "..."


def _shown(text: str) -> str:
    """The start of what a server sent, of an HTML page its title, else its words."""
    if text.lstrip()[:1] != "<":
        return _plain(text)
    title = re.search(r"<title[^>]*>([^<]{1,500})", text[:100_000], re.I)
    return "an HTML page: " + _plain(title[1] if title else re.sub("<[^>]*>?", " ", text[:9999]), 200)


def _error_object(data: Any) -> tuple[str, Any]:
    """The message and the inner error object in `data`, in any of the shapes that servers use.

    >>> _error_object({"error": {"message": "no", "code": "x"}})
    ('no', {'message': 'no', 'code': 'x'})
    """
    if isinstance(data, list) and data:
        data = data[0]
    if not isinstance(data, dict):
        return ("" if data is None else _shown(str(data))), data
    inner = data.get("error") or data.get("detail") or data
    if isinstance(inner, list):  # FastAPI: what is wrong, place by place
        parts = [part if isinstance(part, dict) else {"msg": part} for part in inner[:5]]
        places = [".".join(map(str, part.get("loc") or ())) for part in parts]
        said = [str(part.get("msg") or part.get("message") or part) for part in parts]
        return "; ".join(": ".join(filter(None, pair)) for pair in zip(places, said)), data
    if isinstance(inner, dict):
        words = [inner.get(name) for name in ("message", "detail", "error", "msg")]
        words += [data.get("message"), str(dict(inner))]
        return next(word for word in words if word and isinstance(word, str)), inner
    return str(inner), inner


def _status_error(response: Response, said: str, body: Any) -> APIStatusError:
    """The error for an answer with an error status, or with an error in it."""
    inner = body if isinstance(body, dict) else {}
    code, kind, status = inner.get("code"), inner.get("type"), response.status_code
    if status < 300:
        status = _status_of(code, kind, inner.get("status"))
    cls, name, advice = _STATUSES.get(status) or _STATUSES[500 if status >= 500 else 400]
    cls = cls if status in _STATUSES or status >= 500 else APIStatusError
    retry_after = _retry_after(response.headers)
    if "insufficient_quota" in (code, kind):
        advice = "The quota is used up: waiting does not help, look at the account's billing."
    elif status == 404 and "model" in "%s %s" % (code, said):
        advice = "list_models() tells which models there are."
    elif status == 429 and retry_after is not None:
        advice = "Try again in %.3g s, or lower requests_per_minute=." % retry_after
    elif 300 <= status < 400:
        name, advice = "a redirect that is not followed", "Set base_url= to where the server is."
    what = "%d %s%s" % (status, name, ": " + _plain(said) if said else "")
    error: APIStatusError = cls(what, advice, code=code, type=kind, param=inner.get("param"), body=body)
    error.status_code, error.retry_after = status, retry_after
    error.request_id, error.response = response.request_id, response
    asked = (response.headers.get("x-should-retry") or "").strip().lower()
    error._transient = status in (408, 409, 429) or status >= 500
    if "insufficient_quota" in (code, kind) or asked in ("true", "false"):
        error._transient = asked == "true"
    return error


def _status_of(*words: Any) -> int:
    """The status that an error's code or type stands for; 500 where they say nothing known."""
    for word in map(str, words):
        if len(word) == 3 and word.isdigit() and "400" <= word < "600":
            return int(word)
        for status, codes in _ERROR_CODES.items():
            if word in codes.split():
                return status
    return 500


def _retry_after(headers: Any) -> float | None:
    """The seconds that an answer asks to wait (RFC 9110, section 10.2.3), or None."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = (headers.get(name) or "").strip()[:64]
        if value.isascii() and value.replace(".", "", 1).isdigit():
            return float(value) * unit
    try:
        import email.utils

        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError, AttributeError, OSError):
        return None  # a header that nobody can read asks for nothing
    return max(0.0, moment - time.time())


def _without(secrets: Iterable[str], value: Any) -> Any:
    """`value` (text or JSON) without the keys in it, as servers echo them."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "[key]")
    elif isinstance(value, dict):
        return type(value)((_without(secrets, k), _without(secrets, v)) for k, v in value.items())
    elif isinstance(value, list):
        return [_without(secrets, item) for item in value]
    return value


def _check_number(name: str, value: Any, least: float, most: float = float("inf")) -> None:
    """Refuse what is no number from `least` to `most`."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not least <= value <= most:
        limit = "from %g to %g" % (least, most) if most < float("inf") else "of at least %g" % least
        raise ValidationError("%s= is %r: a number %s is needed" % (name, value, limit))


# ------------------------------------------------------------------------------------------------
# Server-sent events
#
# Bytes in, events out, with no knowledge of HTTP. The rules are the standard's:
# https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation


class ServerSentEvent:
    """One event: `.event` (its type), `.data`, `.id` (the last one set), `.retry` (ms, or None)."""

    __slots__ = ("event", "data", "id", "retry")

    def __init__(self, event: str, data: str, id: str = "", retry: int | None = None) -> None:
        self.event = event
        self.data = data
        self.id = id
        self.retry = retry

    def __repr__(self) -> str:
        return "ServerSentEvent(event=%r, data=%r)" % (self.event, self.data)


MAX_EVENT_BYTES = 16 << 20  # an image of a stream, as base64, has 4 MB; a line without end has no end


def iter_sse(
    chunks: Iterable[bytes], max_event_bytes: int = MAX_EVENT_BYTES
) -> Iterator[ServerSentEvent]:
    """Yield the complete events in `chunks` (bytes, cut anywhere), each when its blank line has come.

    As the standard has it: the id persists, a block without data is no event, an event without
    its blank line at the end is dropped. Time is linear in the bytes.

    >>> [event.data for event in iter_sse([b"data: a", b"b\\n\\ndata: c"])]
    ['ab']

    Raises APIResponseError where an event is larger than `max_event_bytes`.
    """
    name, last_id, retry = "", "", None
    data: list[bytes] = []
    size = 0
    for line in _sse_lines(chunks, max_event_bytes):
        if line[:6] == b"data: ":  # by far the most
            data.append(line[6:])
        elif not line:
            if data:
                text = (data[0] if len(data) == 1 else b"\n".join(data)).decode("utf-8", "replace")
                yield ServerSentEvent(name or "message", text, last_id, retry)
                data = []
            name, retry, size = "", None, 0
            continue
        else:
            field, _, value = line.partition(b":")
            if value[:1] == b" ":
                value = value[1:]
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value.decode("utf-8", "replace")
            elif field == b"id" and b"\0" not in value:
                last_id = value.decode("utf-8", "replace")
            elif field == b"retry" and value.isdigit() and len(value) < 16:
                retry = int(value)  # bytes.isdigit knows ASCII digits only, as the standard asks
            elif not field:
                continue  # a comment is part of no event
        size += len(line)
        if size > max_event_bytes:
            raise _event_too_large(max_event_bytes)


def _sse_lines(chunks: Iterable[bytes], max_line_bytes: int) -> Iterator[bytes]:
    """Yield the complete lines in `chunks`, ended by LF, CR or CRLF and by nothing else."""
    partial = bytearray()  # the unfinished line: grows in place, so that no byte is copied twice
    after_cr = False
    for chunk in _without_bom(chunks):
        if after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]  # the second half of a CRLF: the line has ended at the first
        after_cr = chunk[-1:] == b"\r"
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if lines:
            if partial:
                lines[0] = bytes(partial + lines[0])
                partial = bytearray()
            yield from lines
        partial += rest
        if len(partial) > max_line_bytes:
            raise _event_too_large(max_line_bytes)


def _without_bom(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the chunks that are not empty, without a byte order mark at the very start."""
    start: bytes | None = b""  # what has come while it may yet be a byte order mark
    for chunk in chunks:
        if start is not None:
            start += bytes(chunk)
            if len(start) < 3 and b"\xef\xbb\xbf".startswith(start):
                continue
            chunk = start[3:] if start[:3] == b"\xef\xbb\xbf" else start
            start = None
        if chunk:
            yield chunk if chunk.__class__ is bytes else bytes(chunk)


def _event_too_large(limit: int) -> APIResponseError:
    return APIResponseError("an event of the stream is larger than %d bytes" % limit)


# ------------------------------------------------------------------------------------------------
# Circuit breaker
#
# closed     enough failures in the window   -> open
# open       reset_timeout has passed        -> half_open  (noticed when asked; there is no timer)
# half_open  success_threshold in a row      -> closed
# half_open  one failure                     -> open
# half_open  probe given back                -> half_open, another may go
#
# _lock guards state and counts. It is never held while the caller's work or on_change runs.
# Outcomes are counted in buckets of a tenth of the window: constant memory, and one may count up to
# a tenth of the window too long. Each opening begins a new generation, and what a call of an older
# generation comes to counts for nothing. This room knows errors, and nothing of HTTP.

_BUCKETS = 10


class CircuitBreaker:
    """Stops calls to a service that fails, and lets single probes find out when it is back.

    Closed until, among the outcomes of the last `window` seconds, at least `failure_threshold` are
    failures and they are at least `failure_rate` of all. Then open for `reset_timeout` seconds, then
    half open: one probe at a time; `success_threshold` successes in a row close it, one failure
    opens it again. May be shared between threads and clients.

    >>> breaker = CircuitBreaker(failure_threshold=1)
    >>> breaker.call(len, "ok"), breaker.state
    (2, 'closed')

    `on_change(old, new)` is told of each change of state; what it raises is logged. `clock` returns
    seconds. By pickle goes how it is set up; state and counts begin anew on the other side.
    """

    def __init__(
        self, failure_threshold: int = 5, failure_rate: float = 0.5, window: float = 60.0,
        reset_timeout: float = 30.0, success_threshold: int = 2,
        on_change: Callable[[str, str], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        _check_number("failure_threshold", failure_threshold, 1)
        _check_number("failure_rate", failure_rate, 0, 1)
        _check_number("window", window, 1e-6)
        _check_number("reset_timeout", reset_timeout, 0)
        _check_number("success_threshold", success_threshold, 1)
        self.failure_threshold, self.failure_rate, self.window = failure_threshold, failure_rate, window
        self.reset_timeout, self.success_threshold = reset_timeout, success_threshold
        self.on_change, self.clock = on_change, clock
        self.opened = 0  # how often it has opened
        self._state, self._opened_at, self._generation = "closed", 0.0, 0
        self._successes = 0  # in a row, while half open
        self._buckets: dict[int, list[int]] = {}  # number of the bucket: [successes, failures]
        self._after_fork()
        _survive_fork(self)

    def _after_fork(self) -> None:
        self._lock = _thread.allocate_lock()
        self._local = threading.local()  # .generation: of the call that this thread was allowed last
        self._probing = False

    def __reduce__(self) -> Any:
        setup = (self.failure_threshold, self.failure_rate, self.window, self.reset_timeout)
        return type(self), (*setup, self.success_threshold, self.on_change, self.clock)

    def __repr__(self) -> str:
        return "<CircuitBreaker %s>" % self.state

    @property
    def state(self) -> str:
        """'closed', 'open' or 'half_open'."""
        with self._lock:
            change, state = self._notice_time(), self._state
        self._tell(change)
        return state

    @property
    def retry_after(self) -> float:
        """Seconds until an open circuit lets a probe by; 0.0 in the other states."""
        with self._lock:
            left = self._opened_at + self.reset_timeout - self.clock()
            return max(0.0, left) if self._state == "open" else 0.0

    def allow(self) -> bool:
        """Whether a call may go now. Each True is owed one success(), failure() or release()."""
        generation = self._admit()
        if generation is not None:
            self._local.generation = generation
        return generation is not None

    def success(self) -> None:
        """The call that was allowed succeeded."""
        self._settle(self._allowed(), True)

    def failure(self) -> None:
        """The call that was allowed failed."""
        self._settle(self._allowed(), False)

    def release(self) -> None:
        """The call that was allowed came to nothing: it counts as neither."""
        self._settle(self._allowed(), None)

    def reset(self) -> None:
        """Close the circuit and forget all outcomes, also those of calls that are under way."""
        with self._lock:
            self._generation += 1
            change = self._turn("closed")
        self._tell(change)

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What `function(*args, **kwargs)` returns; CircuitOpenError, with nothing called, if open."""
        with self:
            return function(*args, **kwargs)

    def __enter__(self) -> CircuitBreaker:
        if not self.allow():
            raise self._refusal()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._settle(self._allowed(), _speaks_for_service(error))

    def _refusal(self) -> CircuitOpenError:
        wait_s = self.retry_after
        advice = "Nothing was sent. A probe may go in %.3g s." % wait_s
        what = "the circuit is open, as the service has failed too often"
        return CircuitOpenError(what, advice, retry_after=wait_s)

    def _allowed(self) -> int:
        """The generation of the call whose outcome this thread reports. Where another thread asked
        for it, the present one is the best guess. The client keeps it with the call instead."""
        return self._local.__dict__.pop("generation", self._generation)  # type: ignore[no-any-return]

    def _admit(self) -> int | None:
        """Let a call go and return its generation, or None."""
        with self._lock:
            change = self._notice_time()
            allowed = self._state == "closed" or self._state == "half_open" and not self._probing
            self._probing = self._probing or allowed and self._state == "half_open"
            generation = self._generation
        self._tell(change)
        return generation if allowed else None

    def _settle(self, generation: int, succeeded: bool | None) -> None:
        """Count what a call came to; None is neither success nor failure."""
        change = None
        with self._lock:
            if generation != self._generation or self._state == "open":
                return
            if self._state == "half_open":
                self._probing = False
                self._successes += succeeded is True
                if succeeded is False:
                    change = self._turn("open")
                elif self._successes >= self.success_threshold:
                    change = self._turn("closed")
            elif succeeded is not None:
                number = int(self.clock() / self.window * _BUCKETS)
                self._bucket(number)[0 if succeeded else 1] += 1
                if not succeeded and self._failing(number - _BUCKETS):
                    change = self._turn("open")
        self._tell(change)

    def _bucket(self, number: int) -> list[int]:
        if number not in self._buckets:
            for old in [old for old in self._buckets if old < number - _BUCKETS]:
                del self._buckets[old]
            self._buckets[number] = [0, 0]
        return self._buckets[number]

    def _failing(self, oldest: int) -> bool:
        recent = [counts for number, counts in self._buckets.items() if number >= oldest]
        failures = sum(counts[1] for counts in recent)
        enough = self.failure_rate * (failures + sum(counts[0] for counts in recent))
        return failures >= self.failure_threshold and failures >= enough

    def _notice_time(self) -> tuple[str, str] | None:
        due = self._state == "open" and self.clock() - self._opened_at >= self.reset_timeout
        return self._turn("half_open") if due else None

    def _turn(self, state: str) -> tuple[str, str] | None:
        """Change the state: the only place that does. Returns the change, to be told without the lock."""
        old, self._state = self._state, state
        self._probing, self._successes = False, 0
        if state == "open":
            self._opened_at = self.clock()
            self._generation += 1
            self.opened += 1
        elif state == "closed":
            self._buckets.clear()
        return (old, state) if old != state else None

    def _tell(self, change: tuple[str, str] | None) -> None:
        if change and self.on_change:
            try:
                self.on_change(*change)
            except Exception:  # a listener's trouble is not the caller's
                _logger().exception("on_change%r raised", change)


def _speaks_for_service(error: BaseException | None) -> bool | None:
    """Whether an outcome is the service's success (True), its failure (False) or neither (None)."""
    if error is None:
        return True
    if isinstance(error, ValidationError) or not isinstance(error, Exception):
        return None
    return isinstance(error, APIStatusError) and (error.status_code or 0) < 500


# ------------------------------------------------------------------------------------------------
# Request queue
#
# A slot is the right to have one attempt under way. Slots go by priority, then by arrival. All that
# changes the queue is posted to one mailbox, so no two threads change it at once, and nobody ever
# waits for a lock but for the one of its own slot:
#
# waiting  -> granted   whoever frees the way grants the slot and releases its lock
# waiting  -> refused   at once, where too many wait
# waiting  -> released  its caller gave up (a timeout, Ctrl-C)
# granted  -> released  given back: by release(), by leaving `with`, or by the garbage collector
#
# Where only time is in the way (a pause, the limit per minute) the first in line is made the watch:
# it sleeps until the gate opens, on behalf of all. This room knows errors, and nothing of HTTP.

HIGH, NORMAL, LOW = 0, 1, 2


class _Mailbox:
    """Does small pieces of work one at a time, in the order in which they were posted.

    A thread that finds another at it leaves its work to that one, who does it before it goes. So
    post() blocks nobody: not even a finalizer that the garbage collector runs in the very thread
    that is at work here, where a lock would wait for itself.
    """

    def __init__(self) -> None:
        self._at_work = _thread.allocate_lock()
        self._posted: Any = collections.deque()

    def post(self, work: Callable[..., Any], *args: Any) -> None:
        """Have `work(*args)` done: at once, or by the thread that is at work here now."""
        self._posted.append((work, args))
        while self._posted and self._at_work.acquire(False):
            try:
                while self._posted:
                    work, args = self._posted.popleft()
                    work(*args)
            finally:
                self._at_work.release()

    def ask(self, work: Callable[[], Any]) -> Any:
        """What `work()` returns, done in its turn. Not for finalizers: it waits."""
        answers: Any = collections.deque()
        done = _thread.allocate_lock()
        done.acquire()
        self.post(lambda: answers.append(work()))
        self.post(done.release)
        done.acquire()
        return answers.pop()


class _Slot:
    """The right to one attempt under way. A context manager; release() may be called at any time."""

    state = "new"

    def __init__(self, queue: RequestQueue, priority: int, timeout: float | None) -> None:
        self.queue, self.priority, self.timeout = queue, priority, timeout

    def acquire(self) -> _Slot:
        """Wait for the turn. Raises QueueFullError, or QueueTimeoutError after `timeout` seconds."""
        self.lock = _thread.allocate_lock()
        self.lock.acquire()  # released by who grants or refuses the slot, or makes it the watch
        self.mailbox = self.queue._mailbox
        self.state = "waiting"
        try:
            self.mailbox.post(self.queue._arrive, self)
            if self.state != "granted":
                self._wait()
        except BaseException:
            self.release()  # also where the turn came in the meantime
            raise
        return self

    def _wait(self) -> None:
        queue = self.queue
        end = float("inf") if self.timeout is None else queue._clock() + self.timeout
        while self.state == "waiting":
            now, gate = queue._clock(), queue._gate()
            if now >= end:
                advice = "Raise max_concurrent_requests= or the timeout, or send less at once."
                raise QueueTimeoutError("no slot came free in %.3g s" % (self.timeout or 0), advice)
            until = min(end, gate) if queue._watch is self and gate > now else end
            self.lock.acquire(True, min(until - now, threading.TIMEOUT_MAX))
            self.mailbox.post(queue._grant)
        if self.state == "refused":
            advice = "Raise queue_size=, or send less at once."
            raise QueueFullError("%d callers wait for a slot already" % queue.size, advice)

    def release(self) -> None:
        """Give the slot back, once; the first in line gets it."""
        if self.state in ("waiting", "granted"):
            self.mailbox.post(self.queue._leave, self)

    __enter__ = acquire

    def __exit__(self, *exc_info: Any) -> None:
        self.release()

    __del__ = release


class RequestQueue:
    """At most `max_concurrent` at once and `per_minute` started in any minute, by priority.

    Callers over that wait by priority (HIGH, NORMAL, LOW), then by arrival; over `size` waiting
    there is QueueFullError at once. May be shared between threads and clients.

    >>> queue = RequestQueue(max_concurrent=2)
    >>> with queue.slot(HIGH, timeout=5.0):
    ...     queue.running
    1
    >>> list(queue.map(len, ["a", "bb"]))
    [1, 2]
    """

    def __init__(
        self, max_concurrent: int = 10, size: int = 100, per_minute: int | None = None
    ) -> None:
        _check_number("max_concurrent", max_concurrent, 1)
        _check_number("size", size, 0)
        _check_number("per_minute", 1 if per_minute is None else per_minute, 1)
        self.max_concurrent, self.size, self.per_minute = max_concurrent, size, per_minute
        self._clock = time.monotonic
        self._paused_until = 0.0
        self._starts: Any = collections.deque(maxlen=per_minute or 0)
        self._after_fork()
        _survive_fork(self)

    def _after_fork(self) -> None:
        """Begin with nobody here: what was granted before stays with the old mailbox."""
        self._mailbox = _Mailbox()
        self._running = self._arrivals = self._workers = 0
        self._line: list[tuple[int, int, _Slot]] = []  # a heap, the first in line on top
        self._jobs: list[Any] = []  # a heap of (priority, arrival, job)
        self._watch: _Slot | None = None
        self._worker_ids: set[int] = set()

    def __reduce__(self) -> Any:
        return type(self), (self.max_concurrent, self.size, self.per_minute)

    def __repr__(self) -> str:
        return "<RequestQueue %d running, %d waiting>" % (self.running, self.waiting)

    @property
    def running(self) -> int:
        """How many slots are taken."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many callers wait for a slot."""
        return len(self._line)

    def slot(self, priority: int = NORMAL, timeout: float | None = None) -> _Slot:
        """A context manager that waits for a slot, `timeout` seconds at most, and gives it back."""
        return _Slot(self, priority, timeout)

    def pause(self, seconds: float) -> None:
        """Start nothing for `seconds`. What runs already goes on."""
        self._mailbox.post(self._pause_until, self._clock() + seconds)

    def submit(
        self, function: Callable[..., Any], *args: Any, priority: int = NORMAL, **kwargs: Any
    ) -> Any:
        """Have `function(*args, **kwargs)` called by a daemon thread; returns its Future.

        At most `max_concurrent` run at once; however many wait, none times out or is refused. From
        within a job it is called there and then: a job that waits for another cannot wait for ever.
        """
        from concurrent.futures import Future

        future: Any = Future()
        job = (future, function, args, kwargs)
        if _thread.get_ident() in self._worker_ids:
            _run_job(*job)
        else:
            self._mailbox.post(self._add_job, priority, job)
        return future

    def map(
        self, function: Callable[..., Any], inputs: Iterable[Any], *, priority: int = NORMAL,
        **kwargs: Any,
    ) -> Iterator[Any]:  # fmt: skip
        """`function(input, **kwargs)` for each of `inputs`, results in the order of the inputs.

        At most `size` inputs are read ahead. Where a call raises, that is raised in its place, and
        the next one goes on behind it.
        """
        kwargs["priority"] = priority
        return _Map(lambda value: self.submit(function, value, **kwargs), inputs, max(self.size, 1))

    # What follows runs in the mailbox: in one thread at a time.

    def _arrive(self, slot: _Slot) -> None:
        self._arrivals += 1
        heapq.heappush(self._line, (slot.priority, self._arrivals, slot))
        self._grant()
        if slot.state == "waiting" and len(self._line) > self.size:
            self._remove(slot)
            self._decide(slot, "refused")

    def _leave(self, slot: _Slot) -> None:
        if slot.mailbox is self._mailbox:
            if slot.state == "granted":
                self._running -= 1
            elif slot.state == "waiting":
                self._remove(slot)
        slot.state = "released"
        self._grant()

    def _remove(self, slot: _Slot) -> None:
        self._line = [entry for entry in self._line if entry[2] is not slot]
        heapq.heapify(self._line)

    def _grant(self) -> None:
        """Grant slots to the first in line as long as there are any and the gate is open."""
        while self._line and self._running < self.max_concurrent:
            now, first = self._clock(), self._line[0][2]
            if now < self._gate():
                if self._watch is not first:
                    self._watch = first
                    self._decide(first, "waiting")
                return
            heapq.heappop(self._line)
            self._running += 1
            self._starts.append(now)
            self._decide(first, "granted")

    def _decide(self, slot: _Slot, state: str) -> None:
        """Set the slot's state and wake its caller, who sees what it is by then."""
        slot.state = state
        if slot.lock.locked():
            slot.lock.release()

    def _gate(self) -> float:
        """The moment before which nothing starts."""
        full = self.per_minute is not None and len(self._starts) == self.per_minute
        return max(self._paused_until, self._starts[0] + 60.0 if full else 0.0)

    def _pause_until(self, moment: float) -> None:
        self._paused_until = max(self._paused_until, moment)
        self._grant()

    def _add_job(self, priority: int, job: Any) -> None:
        self._arrivals += 1
        heapq.heappush(self._jobs, (priority, self._arrivals, job))
        if self._workers < self.max_concurrent:
            try:
                threading.Thread(target=self._work, name="openai_mini", daemon=True).start()
                self._workers += 1
            except RuntimeError:  # no thread is left: those that run do the job
                if not self._workers:
                    self._jobs.clear()
                    job[0].set_exception(QueueFullError("the system has no thread left"))

    def _next_job(self) -> Any:
        if self._jobs:
            return heapq.heappop(self._jobs)[2]
        self._workers -= 1
        return None

    def _work(self) -> None:
        """What a worker does: one job after the other, until there is none."""
        identity, mailbox = _thread.get_ident(), self._mailbox
        self._worker_ids.add(identity)
        job = mailbox.ask(self._next_job)
        while job:
            _run_job(*job)
            del job  # its result belongs to the caller alone
            job = mailbox.ask(self._next_job)
        self._worker_ids.discard(identity)


def _run_job(future: Any, function: Any, args: Any, kwargs: Any) -> None:
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)


class _Map:
    """The results of many jobs, in order. A class and not a generator, so that dropping it, used or
    not, ends it: what has not begun is cancelled."""

    def __init__(self, submit: Callable[[Any], Any], inputs: Any, ahead: int) -> None:
        self._futures: Any = collections.deque()
        if not hasattr(inputs, "__iter__"):
            raise ValidationError("the inputs of map are no iterable: %r" % type(inputs).__name__)
        self._inputs, self._submit, self._ahead = iter(inputs), submit, ahead
        self._exhausted: Any = None  # True, or what the inputs raised

    def __iter__(self) -> _Map:
        return self

    def __next__(self) -> Any:
        """The next result. One input is read for each, and more while the result is not there."""
        self._read_input()
        while not self._exhausted and len(self._futures) < self._ahead:
            if self._futures[0].done():
                break
            self._read_input()
        if self._futures:
            return self._futures.popleft().result()
        error, self._exhausted = self._exhausted, True
        raise StopIteration if error is True else error

    def _read_input(self) -> None:
        if self._exhausted:
            return
        try:
            self._futures.append(self._submit(next(self._inputs)))
        except StopIteration:
            self._exhausted = True
        except Exception as error:  # the inputs' own: raised behind the results before it
            self._exhausted = error

    def close(self) -> None:
        """Cancel what has not begun."""
        self._exhausted = True
        while self._futures:
            self._futures.popleft().cancel()

    __del__ = close


# ------------------------------------------------------------------------------------------------
# Results and streams
#
# What a call returns. A Result is the server's JSON and nothing else; a Stream reads chunks and puts
# the message together. This room knows server-sent events, and takes bytes from wherever they come.


class Response:
    """What came with an answer: `.status_code`, `.headers`, `.request_id`; of an error or a raw answer
    also the body, as `.content`, `.text`, `.json()`, and as `.parse()`, what the call would return."""

    def __init__(self, status_code: int, headers: Any, method: str, url: str) -> None:
        self.status_code, self.headers, self.method, self.url = status_code, headers, method, url
        self.content = b""
        self.retries_taken = 0

    request_id = property(lambda self: self.headers.get("x-request-id"))
    text = property(lambda self: self.content.decode("utf-8", "replace"))
    http_response = property(lambda self: self)

    def json(self) -> Any:
        return _parse_json(self.content)

    def parse(self) -> Any:
        return self._parse(self.content)  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return "<Response [%d]>" % self.status_code

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_parse"}


class Result(dict):  # type: ignore[type-arg]
    """A JSON object with attribute access at every depth: `r.choices[0].message.content`.

    A name that is not there reads None. A key that is no Python name is reached with `_` for what is
    not allowed in one: `r.categories.self_harm`. Of a chat answer `.content`, `.message`,
    `.tool_calls` and `.finish_reason` are those of its first choice; of a Responses answer
    `.output_text` is all text. `.request_id`, `.headers`, `.status_code` are the HTTP answer's.
    """

    __slots__ = ("_response", "_parsed")  # set on the outermost one only

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        if name[0] == "_":
            raise AttributeError(name)
        if name in ("content", "message", "tool_calls", "finish_reason") and self.get("choices"):
            choice = self["choices"][0]
            return choice[name] if name in choice else (choice.get("message") or {}).get(name)
        if name == "output_text" and isinstance(self.get("output"), list):
            parts = [part for item in self["output"] for part in item.get("content") or ()]
            return "".join(part["text"] for part in parts if part.get("type") == "output_text")
        if name == "parsed":
            return getattr(self, "_parsed", None)
        for key in self:
            if not key.isidentifier() or name[-1] == "_":
                if re.sub(r"\W", "_", key) == name.rstrip("_"):
                    return self[key]
        return None

    def __setattr__(self, name: str, value: Any) -> None:
        if name[0] == "_":
            super().__setattr__(name, value)
        else:
            self[name] = value

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(key for key in self if key.isidentifier())]

    request_id = _request_id = property(lambda self: self._of_response("request_id"))
    headers = property(lambda self: self._of_response("headers"))
    status_code = property(lambda self: self._of_response("status_code"))

    def _of_response(self, name: str) -> Any:
        return getattr(getattr(self, "_response", None), name, None)

    def to_dict(self, **_: Any) -> dict[str, Any]:
        """The same as plain dicts and lists."""
        return json.loads(json.dumps(self))  # type: ignore[no-any-return]

    def to_json(self, indent: int | None = 2, **_: Any) -> str:
        """The same as JSON text."""
        return json.dumps(self, indent=indent, ensure_ascii=False)  # type: ignore[no-any-return]

    def model_dump_json(self, indent: int | None = None, **_: Any) -> str:
        return self.to_json(indent)

    model_dump = to_dict

    def save(self, folder: Any) -> list[str]:
        """Write the images of an image answer into `folder`; returns their paths.

        An image that the server keeps behind a URL is fetched, without the key. Raises OSError where
        the folder cannot be written, and APIConnectionError where an image cannot be fetched.
        """
        paths = []
        for number, image in enumerate(self.get("data") or (), 1):
            content = _from_base64(image["b64_json"]) if "b64_json" in image else _fetch(image["url"])
            paths.append(os.path.join(folder, "image-%d.%s" % (number, _extension(content))))
            _write_whole(paths[-1], [content])
        return paths


class Chunk(Result):
    """A piece of a stream: a Result whose `.content` is always a str, '' where it has no text."""

    __slots__ = ()

    @property
    def content(self) -> str:
        for choice in self.get("choices") or ():
            if not choice.get("index"):
                text = (choice.get("delta") or choice.get("message") or {}).get("content")
                return text if isinstance(text, str) else ""
        return self["content"] if isinstance(self.get("content"), str) else ""


class Transcript(Result):
    """A transcription: `.text`, which is also its `str()`."""

    __slots__ = ()

    def __str__(self) -> str:
        return self.get("text") or ""


class Page(Result):
    """A list answer: `.data` is the first page; iterating goes over all items of all pages."""

    __slots__ = ("_fetch",)  # asks for another page with a query

    def __iter__(self) -> Iterator[Any]:
        page: Page | None = self
        while page is not None:
            yield from page.get("data") or ()
            page = page.get_next_page()

    def has_next_page(self) -> bool:
        return bool(self._next_query())

    def get_next_page(self) -> Page | None:
        """The next page, or None after the last; a page that repeats is the last."""
        query = self._next_query()
        page = self._fetch(query) if query else None
        return page if page and page.get("data") and page["data"] != self["data"] else None

    def _next_query(self) -> dict[str, Any]:
        """What asks for the next page; a list that does not say goes on until a page is empty."""
        items = self.get("data")
        if not items or self.get("has_more") is False or getattr(self, "_fetch", None) is None:
            return {}
        last = items[-1] if isinstance(items[-1], dict) else {}
        after = self["next"] if "next" in self else self.get("last_id") or last.get("id")
        return {"after": after} if after else {}


class Binary(bytes):
    """A binary answer: bytes, which also has the official package's names."""

    response: Response
    content = property(bytes)
    text = property(lambda self: self.decode("utf-8", "replace"))

    def read(self) -> bytes:
        return bytes(self)

    def iter_bytes(self, chunk_size: int = 65536) -> Iterator[bytes]:
        return (self[at : at + chunk_size] for at in range(0, len(self), chunk_size))

    def write_to_file(self, file: Any) -> None:
        """Write the answer to the path `file`, whole or not at all."""
        _write_whole(file, [self])

    stream_to_file = write_to_file


def _write_whole(path: Any, pieces: Iterable[bytes]) -> int:
    """Write a file that appears under its name when it is whole, or not at all; returns its size."""
    path, mask = os.path.abspath(path), os.umask(0)
    os.umask(mask)
    if os.path.isdir(path):
        raise IsADirectoryError(21, "Is a folder, not a file", path)
    folder, name = os.path.split(path)
    handle, beside = tempfile.mkstemp(".part", name + ".", folder)
    try:
        with open(handle, "wb") as file:
            size = sum(map(file.write, pieces))
        os.chmod(beside, 0o666 & ~mask)  # as open() would have made it
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
    return size


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text)  # type: ignore[no-any-return]
    except (ValueError, TypeError) as error:
        raise APIResponseError("the base64 in the answer is broken: %s" % error)


_FIRST_BYTES = {
    b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"fLaC": "flac", b"OggS": "ogg", b"ID3": "mp3",
    b"\x1aE\xdf\xa3": "webm", b"\xff\xfb": "mp3", b"\xff\xf3": "mp3", b"%PDF": "pdf", b"{": "jsonl",
}  # fmt: skip


def _extension(content: bytes) -> str:
    if content[:4] == b"RIFF":
        return "webp" if content[8:12] == b"WEBP" else "wav"
    if content[4:8] == b"ftyp":
        return "m4a"
    return next((name for start, name in _FIRST_BYTES.items() if content.startswith(start)), "bin")


def _parse_json(content: bytes | str) -> Any:
    """JSON as Results, or an APIResponseError that says what came instead."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig", "surrogatepass")
        return json.loads(text, object_hook=Result)
    except RecursionError:
        reason = "nested too deep"
    except ValueError as error:
        reason = _plain(str(error), 80)
    start = content[:500] if isinstance(content, str) else content[:500].decode("utf-8", "replace")
    if not start.strip():
        raise APIResponseError("the answer is empty where JSON was due")
    raise APIResponseError("the answer is no JSON (%s) but %s" % (reason, _shown(start)[:100]))


class _Text:
    """Text that grows by pieces, joined by the thousand: a list of all would take ten times as much."""

    __slots__ = ("blocks", "pieces")

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self.pieces: list[str] = []

    def add(self, piece: str) -> None:
        self.pieces.append(piece)
        if len(self.pieces) == 1000:
            self.blocks.append("".join(self.pieces))
            self.pieces.clear()

    def __str__(self) -> str:
        return "".join(self.blocks + self.pieces)


def _merge(message: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a piece to a message: text grows, lists grow by index, what names a thing is set."""
    for key, value in delta.items():
        have = message.get(key)
        if isinstance(value, str) and key not in ("role", "id", "type"):
            if key == "name" and str(have) == value:
                continue  # some servers repeat it in every piece
            if not isinstance(have, _Text):
                have = message[key] = _Text()
            have.add(value)
        elif isinstance(value, dict):
            if not isinstance(have, dict):
                have = message[key] = {}
            _merge(have, value)
        elif isinstance(value, list):
            if not isinstance(have, list):
                have = message[key] = []
            for piece in value:
                if isinstance(piece, dict) and (key == "tool_calls" or "index" in piece):
                    _merge(_item_for(piece, have), piece)
                else:
                    have.append(piece)
        elif value is not None or have is None:
            message[key] = value


def _item_for(piece: dict[str, Any], items: list[Any]) -> dict[str, Any]:
    """The item that a piece continues: by index and id where it has them, else the last, or a new one."""
    index, identity = piece.get("index"), piece.get("id")
    for item in reversed(items):
        if index is None or item.get("index", index) == index:
            if not identity or (item.get("id") or identity) == identity:
                return item  # type: ignore[no-any-return]
    items.append({})
    return items[-1]  # type: ignore[no-any-return]


def _finished(value: Any) -> Any:
    """What was put together, as Results and str."""
    if isinstance(value, dict):
        return Result((key, _finished(item)) for key, item in value.items())
    if isinstance(value, list):
        return [_finished(item) for item in value]
    return str(value) if isinstance(value, _Text) else value


# The events that say that the whole is done, and the families of events that need one.
_LAST_EVENTS = frozenset(
    "response.completed response.failed response.incomplete image_generation.completed "
    "image_edit.completed transcript.text.done speech.audio.done".split()
)
_FAMILIES = ("response.", "image_generation.", "image_edit.", "transcript.text.", "speech.audio.")
LINGER_S = 5.0  # how long a stream that is whole may take to send its usage and its end


class Stream:
    """The chunks of an answer as they arrive: an iterator and a context manager.

    `close()`, leaving `with`, an exception and dropping it end the request at once. During and after
    it: `.content` (all text), `.message`, `.tool_calls`, `.finish_reason`, `.choices`, `.usage`,
    `.stats`, `.response`. Raises StreamInterruptedError where the stream ends before its end,
    APITimeoutError where the server is silent, or what an error event says; each with `.partial`.

    It is whole at `[DONE]`, when each choice has its finish reason, or at an event that says so;
    a stream of events of other kinds also when the body ends.
    """

    def __init__(self, attempt: _Attempt) -> None:
        self.response = attempt.response
        self.usage: Any = None
        self._attempt = attempt
        self._started_at = self._first_at = self._last_at = time.monotonic()
        self._count = 0
        self._choices: dict[int, dict[str, Any]] = {}
        self._output = _Text()  # of a Responses stream
        self._kind = ""  # 'chat', or 'family' once an event of one has come
        self._whole = self._closed = False
        self._first: Chunk | None = None
        self._chunks = self._read()
        _survive_fork(self)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Chunk:
        if self._first is not None:
            chunk, self._first = self._first, None
            return chunk
        try:
            return next(self._chunks)
        except StopIteration:
            self._attempt.end(None)
            raise
        except BaseException as error:
            if self._closed:  # by another thread, while this one waited
                raise StopIteration from None
            self._attempt.end(self._explained(error))
            raise

    def _begin(self) -> Stream:
        """Wait for the first chunk: up to here the call may be tried again."""
        self._first = next(self._chunks, None)
        return self

    def _explained(self, error: BaseException) -> BaseException:
        if isinstance(error, OpenAIError):
            error.partial = self.message
            error._place(self._attempt.where, self._attempt.number)
        return error

    def _read(self) -> Iterator[Chunk]:
        """Yield the chunks; end where the stream is whole."""
        if self._attempt.content_type == "application/json":
            self._whole = True
            yield self._add(Chunk(self._attempt.parse("object", self._attempt.content())), "")
            return
        self._attempt.expect_events()
        scan = json.JSONDecoder(object_hook=Result).scan_once
        for event in iter_sse(self._pieces()):
            data = event.data
            if data[:6] == "[DONE]":
                self._whole = True
                return
            try:
                value, end = scan(data, 0)
            except (StopIteration, ValueError, RecursionError):
                value, end = _parse_json(data), len(data)
            if value.__class__ is not Result or end != len(data.rstrip()):
                raise APIResponseError("a chunk is no JSON object but %s" % _plain(data, 80))
            yield self._add(Chunk(value), event.event)
        if not self._is_whole():
            raise StreamInterruptedError("the stream ended before its end")

    def _pieces(self) -> Iterator[bytes]:
        """Yield the body's bytes; silence counts from the last event, comments do not renew it."""
        count = -1
        while True:
            if count != self._count:
                count = self._count
                self._attempt.limits.begin_wait(LINGER_S if count and self._is_whole() else None)
            try:
                piece = self._attempt.body.read()
            except APIError as error:
                if count and self._is_whole():
                    return
                if not count or isinstance(error, APITimeoutError):
                    raise
                raise StreamInterruptedError("the stream broke off: %s" % error._what)
            if not piece:
                return
            yield piece

    def _is_whole(self) -> bool:
        if self._kind == "chat" and not self._whole:
            choices = self._choices.values()
            return bool(choices) and all(choice["finish_reason"] for choice in choices)
        return self._whole or not self._kind and self._count > 0

    def _add(self, chunk: Chunk, event: str) -> Chunk:
        """Take a chunk into the message, or raise the error that it tells of."""
        self._last_at = time.monotonic()
        if not self._count:
            self._first_at = self._last_at
        self._count += 1
        if "error" in chunk or event == "error":
            self._attempt.raise_error(chunk, event == "error")
        if "choices" in chunk:
            self._kind = "chat"
            for choice in chunk["choices"] or ():
                self._add_choice(choice)
        elif isinstance(chunk.get("type"), str):
            self._add_event(chunk, chunk["type"])
        if chunk.get("usage"):
            self.usage = chunk["usage"]
        return chunk

    def _add_choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index") or 0
        known = self._choices.get(index)
        if known is None:
            message = {"role": "assistant", "content": None}
            known = {"index": index, "message": message, "finish_reason": None}
            self._choices[index] = known
        if choice.get("finish_reason"):
            known["finish_reason"] = choice["finish_reason"]
        delta = choice.get("delta") or choice.get("message")
        if delta:
            _merge(known["message"], delta)

    def _add_event(self, chunk: Chunk, kind: str) -> None:
        if kind == "response.output_text.delta":
            self._output.add(str(chunk.get("delta") or ""))
        elif kind in _LAST_EVENTS:
            self._whole = True
            self.usage = (chunk.get("response") or {}).get("usage") or self.usage
        if kind.startswith(_FAMILIES):
            self._kind = "family"

    @property
    def choices(self) -> list[Result]:
        """Each choice as far as it got: `.index`, `.message`, `.finish_reason`."""
        choices = [_finished(self._choices[index]) for index in sorted(self._choices)]
        for choice in choices:
            for call in choice["message"].get("tool_calls") or ():
                call.pop("index", None)  # of the stream, not of the message
                call.setdefault("type", "function")
        return choices

    @property
    def message(self) -> Result:
        """The whole message of choice 0 as far as it got, fit to be sent back."""
        for choice in self.choices:
            if choice["index"] == 0:
                return choice["message"]  # type: ignore[no-any-return]
        return Result(role="assistant", content=str(self._output) or None)

    content = property(lambda self: self.message.get("content") or "")
    tool_calls = property(lambda self: self.message.get("tool_calls"))
    finish_reason = property(lambda self: self._choices.get(0, {}).get("finish_reason"))

    @property
    def stats(self) -> dict[str, Any]:
        """`duration_s`, `ttft_s` (to the first chunk), `chunks`, `avg_chunk_interval_s`, and
        `tokens_per_s` where the server sent the usage, else None."""
        duration_s, usage = self._last_at - self._started_at, self.usage or {}
        tokens = usage.get("completion_tokens") or usage.get("output_tokens")
        gaps = max(self._count - 1, 1)
        return {
            "duration_s": duration_s, "ttft_s": self._first_at - self._started_at,
            "chunks": self._count, "avg_chunk_interval_s": (self._last_at - self._first_at) / gaps,
            "tokens_per_s": tokens / duration_s if tokens and duration_s > 0 else None,
        }  # fmt: skip

    def close(self) -> None:
        """End the request now; a reader in another thread wakes up. May be called again."""
        self._closed, self._first, self._chunks = True, None, iter(())
        self._attempt.end(None, abandoned=True)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    __del__ = close

    def _after_fork(self) -> None:
        self._chunks = iter(())
        self._attempt.forget()


# ------------------------------------------------------------------------------------------------
# Uploads
#
# A form (RFC 7578) is read from disk as it goes out, as often as it is sent; its length is known
# before. This room knows nothing of who sends it.

BLOCK_BYTES = 128 << 10  # smaller ones double the CPU of an upload


class _File:
    """One file to upload: a path, bytes, a binary file from where it stands, or (name, any of these[,
    content type])."""

    def __init__(self, file: Any, name: str | None = None) -> None:
        kind = None
        if isinstance(file, tuple) and len(file) in (2, 3):
            name, kind, file = name or file[0], file[2] if len(file) == 3 else None, file[1]
        if isinstance(file, (str, os.PathLike)):
            name, file = name or os.path.basename(file), open(file, "rb", buffering=0)
        elif isinstance(file, (bytes, bytearray, memoryview)):
            name, file = name or "file." + _extension(bytes(file[:16])), io.BytesIO(file)
        elif not hasattr(file, "read"):
            raise ValidationError("a path, bytes or a binary file is needed, not %r" % (file,))
        if isinstance(file.read(0), str):
            raise ValidationError("%r is open as text: open it with mode 'rb'" % (file,))
        named = getattr(file, "name", None)
        self.name = name or (os.path.basename(named) if isinstance(named, str) else "upload")
        self.type = kind or mimetypes.guess_type(self.name)[0] or "application/octet-stream"
        if not getattr(file, "seekable", lambda: True)():
            file = _spooled(file)
        self.file, self.start = file, file.tell()
        self.size = file.seek(0, 2) - self.start
        if not self.size:
            raise ValidationError("the file %r is empty: nothing was sent" % self.name)

    def blocks(self) -> Iterator[Any]:
        """Yield its bytes from the start, as many as were announced."""
        self.file.seek(self.start)
        left = self.size
        while left:
            block = self.file.read(min(left, BLOCK_BYTES))
            if not block:
                raise OSError(5, "The file became shorter while it was sent", self.name)
            left -= len(block)
            yield block


def _spooled(file: Any) -> Any:
    """What a pipe gives, on disk: its length is needed, and perhaps its bytes once more."""
    import shutil

    spool = tempfile.TemporaryFile()
    shutil.copyfileobj(file, spool)
    spool.seek(0)
    return spool


class _Form:
    """A multipart form as an iterable of bytes; `progress(sent, total)` is called as it goes out."""

    def __init__(self, fields: Any, files: Any, progress: Any = None) -> None:
        boundary = os.urandom(16).hex()
        self.content_type = "multipart/form-data; boundary=" + boundary
        self.progress = progress
        self.error: BaseException | None = None  # what reading a file or the caller's progress raised
        self._parts: list[Any] = []
        head = '--%s\r\nContent-Disposition: form-data; name="%%s"' % boundary
        for name, value in fields:
            self._parts.append(((head + "\r\n\r\n%s\r\n") % (_quoted(name), value)).encode())
        head += '; filename="%s"\r\nContent-Type: %s\r\n\r\n'
        for name, file in files:
            filled = head % (_quoted(name), _quoted(file.name), _quoted(file.type))
            self._parts += [filled.encode("utf-8", "replace"), file, b"\r\n"]
        self._parts.append(b"--%s--\r\n" % boundary.encode())
        self.length = sum(p.size if isinstance(p, _File) else len(p) for p in self._parts)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        sent, self.error = 0, None
        try:
            for part in self._parts:
                for block in part.blocks() if isinstance(part, _File) else (part,):
                    yield block
                    sent += len(block)
                    if self.progress:
                        self.progress(sent, self.length)
        except Exception as error:
            self.error = error
            raise


def _quoted(name: str) -> str:
    """A name as HTML's multipart rules have it, so that it cannot end its header.

    https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data
    """
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


# ------------------------------------------------------------------------------------------------
# Wire
#
# One request out, one body in. Without a `session=` of the caller's the way is urllib3's pools alone,
# with the environment's proxies and certificates as requests reads them. This room turns each
# trouble on the way into an error of ours; it does not know what is asked, or why.

MAX_BODY_BYTES = 256 << 20  # of an answer kept in memory: 2048 embeddings as text are 130 MB
MAX_ERROR_BYTES = 16 << 20  # of an error page


class _Limits:
    """How long one attempt may be silent, and until when its call may last."""

    def __init__(self, connect: float | None, read: float | None, ends_at: float) -> None:
        self.connect, self.read, self.ends_at = connect, read, ends_at
        self.begin_wait()

    def begin_wait(self, most: float | None = None) -> None:
        """From now on silence counts."""
        waits = [seconds for seconds in (self.read, most) if seconds is not None]
        self.silent_until = time.monotonic() + min(waits) if waits else float("inf")

    def left(self) -> float | None:
        """Seconds that the next wait may take; raises socket.timeout where none are left."""
        until = min(self.silent_until, self.ends_at)
        left = until - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        return left if until < float("inf") else None


class _TimedReader(io.RawIOBase):
    """A socket's raw reader that asks the limits of the attempt before each wait for bytes."""

    def __init__(self, raw: Any, limits: _Limits) -> None:
        self.raw, self.limits = raw, limits
        self._sock = raw._sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        self._sock.settimeout(self.limits.left())
        return self.raw.readinto(buffer)

    def close(self) -> None:
        self.raw.close()
        super().close()


def _connection_class(base: Any, local: Any) -> Any:
    """urllib3's connection class `base` with limits on reading, and without informational answers.

    `local`, a threading.local, has the `.limits` of the attempt that this thread makes, and is told
    in `.connected` whether a connection was opened for it.
    """
    from http.client import HTTPResponse

    class Answer(HTTPResponse):
        def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            self.fp: Any = io.BufferedReader(_TimedReader(self.fp.detach(), local.limits))

        def _read_status(self) -> Any:
            """A 103 is passed over as http.client passes over a 100 (RFC 9110, section 15.2)."""
            version, status, reason = super()._read_status()  # type: ignore[misc]
            return version, 100 if 101 < status < 200 else status, reason

    class Connection(base):  # type: ignore[misc]
        response_class = Answer

        def connect(self) -> Any:
            local.connected = True
            super().connect()
            self.sock.settimeout(local.limits.left())  # sending may take longer than connecting

    return Connection


class _Pools:
    """Our own session: pools of connections by origin; no cookies, no redirects, no netrc."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._after_fork()

    def _after_fork(self) -> None:
        self._lock = _thread.allocate_lock()  # guards the making of routes: each is made once
        self._local = threading.local()
        self._routes: dict[Any, Any] = {}  # (origin, verify): (pool, prefix of the target, headers)

    def send(self, request: _Request, limits: _Limits) -> Any:
        """Send, and return urllib3's answer with its headers read and its body unread."""
        key = (request.origin, request.verify)
        if key not in self._routes:
            with self._lock:
                if key not in self._routes:
                    self._routes[key] = self._make_route(*key)
        pool, prefix, headers = self._routes[key]
        headers = dict(headers, **request.headers) if headers else request.headers
        local, left = self._local, limits.left()
        local.limits = limits
        connect = min(wait for wait in (limits.connect, left, 1e6) if wait is not None)
        while True:
            local.connected = False
            try:
                return pool.urlopen(
                    request.method, prefix + request.target, request.body, headers, retries=False,
                    redirect=False, assert_same_host=False, preload_content=False,
                    decode_content=False, timeout=urllib3.Timeout(connect=connect, read=left),
                )  # fmt: skip
            except urllib3.exceptions.ProtocolError:
                if local.connected:  # else a pooled connection had died: that is no attempt
                    raise

    def _make_route(self, origin: str, verify: Any) -> Any:
        url, proxy = urllib3.util.parse_url(origin), _environment_proxy(origin)
        options = {"blocksize": BLOCK_BYTES, "socket_options": _socket_options(), "maxsize": self.size}
        if url.scheme == "https":
            options["ssl_context"] = _ssl_context(verify)
        prefix, headers = "", {}
        if proxy:
            adapter = requests.adapters.HTTPAdapter()
            adapter._pool_maxsize = options.pop("maxsize")
            manager = adapter.proxy_manager_for(proxy, **options)
            if url.scheme == "http" and not proxy.lower().startswith("socks"):
                prefix, headers = origin, adapter.proxy_headers(proxy)
        else:
            manager = urllib3.PoolManager(**options)
        pool = manager.connection_from_host(url.host, url.port, url.scheme)
        pool.ConnectionCls = _connection_class(pool.ConnectionCls, self._local)
        return pool, prefix, headers

    def close(self) -> None:
        with self._lock:
            routes, self._routes = self._routes, {}
        for pool, _, _ in routes.values():
            pool.close()


def _ssl_context(verify: Any) -> Any:
    """One context for all connections. `verify`: None or True is the environment's bundle, else that
    of requests; a path is a bundle or a folder; False turns verification off, and nothing else does."""
    context = urllib3.util.ssl_.create_urllib3_context()
    if verify is False:
        context.check_hostname, context.verify_mode = False, 0
        return context
    if verify in (None, True):
        verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    bundle = verify or requests.certs.where()
    if not os.path.exists(bundle):
        raise ValidationError("no certificates at %r: see verify= and REQUESTS_CA_BUNDLE" % bundle)
    context.load_verify_locations(**{"capath" if os.path.isdir(bundle) else "cafile": bundle})
    return context


def _socket_options() -> list[Any]:
    """Keep-alive, so that no NAT forgets a connection that waits minutes for its answer."""
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        try:
            options.append((socket.IPPROTO_TCP, getattr(socket, name), 60))
        except AttributeError:
            pass  # not on this system
    return options


def _environment_proxy(url: str) -> Any:
    """The proxy that requests would take for `url`; it is asked only if there may be one."""
    if sys.platform not in ("win32", "darwin"):
        if not any(name.lower().endswith("_proxy") for name in os.environ):
            return None
    proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    return requests.utils.prepend_scheme_if_needed(proxy, "http") if proxy else None


class _CallersSession:
    """A requests.Session of the caller's, used as it is: its adapters, proxies, hooks and cookies."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def send(self, request: _Request, limits: _Limits) -> Any:
        session, verify, url = self.session, request.verify, request.origin + request.target
        asked = requests.Request(request.method, url, data=request.body, auth=_Auth(request.headers))
        prepared = session.prepare_request(asked)
        if verify is None and session.verify is not True:
            verify = session.verify  # over the environment, as whoever set it meant
        settings = session.merge_environment_settings(prepared.url, {}, True, verify, None)
        if settings["verify"] is not False:
            settings["verify"] = settings["verify"] or True  # an empty variable turns nothing off
        timeout = (limits.connect, limits.left())
        answer = session.send(prepared, timeout=timeout, allow_redirects=False, **settings)
        if getattr(answer, "_content_consumed", False):  # a hook has read it
            answer.raw = io.BytesIO(answer.content)
            answer.headers.pop("content-encoding", None)
        answer.raw.status, answer.raw.headers = answer.status_code, answer.headers
        return answer.raw

    def close(self) -> None:
        """It is the caller's to close."""

    def _after_fork(self) -> None:
        for adapter in self.session.adapters.values():  # new pools, as after a journey by pickle
            if hasattr(adapter, "__setstate__"):
                adapter.__setstate__(adapter.__getstate__())


class _Auth:
    """Our headers as requests' auth=: no netrc entry and no header of the session replaces them."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers

    def __call__(self, prepared: Any) -> Any:
        prepared.headers.update(self.headers)
        return prepared


class _Body:
    """The body of an answer as it arrives, out of its transfer coding and its content coding.

    Transfer chunks are undone here, all that have arrived at once, and not one by one as http.client
    does it: a stream has one for each event.
    """

    def __init__(self, raw: Any, limits: _Limits) -> None:
        self._raw, self._limits = raw, limits
        self._fp = getattr(raw, "_fp", raw)  # http.client's answer, or what stands for it
        reader = getattr(self._fp, "fp", None) or self._fp
        self._receive = getattr(reader, "read1", None) or reader.read
        self._socket = getattr(getattr(reader, "raw", None), "_sock", None)
        self._chunked = bool(getattr(self._fp, "chunked", False))
        self._left = 0 if self._chunked else getattr(self._fp, "length", None)  # of chunk or body
        self._rest = b""  # the head of a chunk as far as it has come
        self.ended = self._left == 0 and not self._chunked
        self.received = 0
        coding = (raw.headers.get("content-encoding") or "identity").strip().lower()
        self._inflate = None if coding == "identity" else _Inflate(coding)

    def read(self) -> bytes:
        """The next bytes, as soon as there are any; b'' at the end."""
        inflate = self._inflate
        try:
            while True:
                if inflate and inflate.pending:
                    piece = inflate.decode(b"")
                elif self.ended:
                    if inflate:
                        inflate.check_end()
                    return b""
                else:
                    piece = self._next()
                    if inflate:
                        piece = inflate.decode(piece)
                if piece:
                    return piece
        except (OSError, ValueError, AttributeError) as error:  # the last two: closed meanwhile
            raise _wire_error(error, self._limits)

    def pieces(self) -> Iterator[bytes]:
        """Yield the rest of the body; each piece renews the time."""
        piece = self.read()
        while piece:
            yield piece
            self._limits.begin_wait()
            piece = self.read()

    def read_all(self, limit: int) -> bytes:
        """The whole body; an APIResponseError where it is over `limit` bytes."""
        pieces, size = [], 0
        for piece in self.pieces():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise APIResponseError("the answer is larger than %d bytes" % limit)
        return b"".join(pieces)

    def _next(self) -> bytes:
        if self._socket is not None:
            self._socket.settimeout(self._limits.left())
        data: bytes = self._receive(65536)
        self.received += len(data)
        if self._chunked and data:
            return self._undo_chunks(data)
        if self._left is not None and data:
            self._left -= len(data)
            self.ended = self._left <= 0
        elif self._left or self._chunked:
            raise _cut_short()
        else:
            self.ended = self.ended or not data
        return data

    def _undo_chunks(self, data: bytes) -> bytes:
        """RFC 9112, section 7.1. `_left` is what the chunk still has to come, with its line end."""
        out, at = [], 0
        if self._left:
            out.append(data[: max(self._left - 2, 0)])
            at = min(self._left, len(data))
            self._left -= at
        else:
            data = self._rest + data
        self._rest = b""
        while at < len(data):
            end = data.find(b"\n", at)
            if end < 0:
                break
            try:
                size = int(data[at:end].split(b";")[0], 16)
            except ValueError:
                raise _cut_short("broken in its transfer coding")
            if not size:  # the last chunk: trailers, if any, end with an empty line
                trailers = data[end + 1 :]
                self.ended = trailers[:2] == b"\r\n" or b"\r\n\r\n" in trailers
                break
            out.append(data[end + 1 : end + 1 + size])
            at = end + 3 + size
        if at > len(data):
            self._left = at - len(data)
        elif at < len(data) and not self.ended:
            self._rest = data[at:]
            if len(self._rest) > 65536:
                raise _cut_short("broken in its transfer coding")
        return b"".join(out)

    def release(self) -> None:
        """Give the connection back to its pool if the body was read to its end, else end it."""
        if not self.ended:
            return self.close()
        self._fp.close()
        getattr(self._raw, "release_conn", self._fp.close)()

    def close(self) -> None:
        """End the connection now; a reader in another thread wakes up."""
        if self._socket is not None:
            try:
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            except OSError:
                pass  # it is down already
        self.drop()

    def drop(self) -> None:
        """Let the connection go without a word to the other side: after a fork it is the parent's."""
        self.ended = True
        try:
            self._raw.close()
        except (OSError, RuntimeError, AttributeError):
            pass  # another thread reads it, and sees the end now


def _cut_short(how: str = "cut short") -> APIResponseError:
    error = APIResponseError("the body of the answer is " + how, "Try again.")
    error._transient = True
    return error


class _Inflate:
    """Undoes gzip (one member or several) and deflate (with its zlib header or without it), in pieces
    of bounded size."""

    def __init__(self, coding: str) -> None:
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise APIResponseError("the answer has the content coding %r, not asked for" % coding)
        self._modes = [15, -15] if coding == "deflate" else [31]
        self._object = zlib.decompressobj(self._modes[0])
        self._begun = False
        self.pending = b""

    def decode(self, data: bytes) -> bytes:
        data = self.pending + data
        if self._object.eof and data:
            self._object = zlib.decompressobj(self._modes[0])
        try:
            out: bytes = self._object.decompress(data, 1 << 20)
        except zlib.error:
            if self._begun or len(self._modes) == 1:
                raise _cut_short("broken in its content coding")
            self._object = zlib.decompressobj(self._modes.pop())
            return self.decode(data)
        self._begun = self._begun or bool(data)
        self.pending = self._object.unconsumed_tail or self._object.unused_data
        return out

    def check_end(self) -> None:
        if self._begun and not self._object.eof:
            raise _cut_short()


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what is behind it, down to the one that began it."""
    causes = [error]
    for cause in causes:
        inner = (getattr(cause, "reason", None), *getattr(cause, "args", ()), cause.__cause__)
        for other in (*inner, cause.__context__):
            if isinstance(other, BaseException) and other not in causes and len(causes) < 20:
                causes.append(other)
    return causes


def _wire_error(error: BaseException, limits: _Limits) -> APIError:
    """The error of ours for what urllib3, requests, the socket or the TLS layer raised."""
    causes = _causes(error)
    kinds = " ".join(type(cause).__name__ for cause in causes)
    roots = [cause for cause in causes if isinstance(cause, OSError) and cause.strerror]
    said = _plain((roots[-1].strerror or "") if roots else str(causes[-1]), 200)
    result = APIConnectionError
    if "CertVerif" in kinds or "CertificateError" in kinds or "CERTIFICATE_VERIFY" in said:
        advice = "If the server is yours, pass verify='path/to/its/certificate.pem'."
        refused = APIConnectionError("the server's certificate is not trusted: %s" % said, advice)
        refused._transient = False
        return refused
    if time.monotonic() >= limits.ends_at:
        return APITimeoutError("the deadline has passed", "Raise deadline=, or ask for less.")
    if "ConnectTimeout" in kinds:
        advice = "Check base_url=, the network and proxies, or raise timeout=."
        return APITimeoutError("no connection in %.3g s" % (limits.connect or 0), advice)
    if "timeout" in kinds or "ReadTimeout" in kinds or "Timeout" in kinds:
        late = APITimeoutError("no answer in %.3g s" % (limits.read or 0), "Raise timeout= or ask for less.")
        late._may_be_done = True
        return late
    if "IncompleteRead" in kinds:
        return _cut_short()
    if "gaierror" in kinds or "NameResolution" in kinds:
        return result("the host name is not known: " + said, "Check base_url= and the network.")
    if "ProxyError" in kinds or "Tunnel connection failed" in said:
        return result("the proxy failed: " + said, "Check HTTP_PROXY, HTTPS_PROXY and NO_PROXY.")
    if "ConnectionRefused" in kinds:
        return result("connection refused", "Check base_url=, and whether the server runs.")
    return result("the connection broke: " + (said or kinds), "Try again, or look at what is between.")


# ------------------------------------------------------------------------------------------------
# Client
#
# Each method says what goes where and hands a _Call to one loop, OpenAIMini._perform: _prepare builds
# the request, an _Attempt sends it and reads the answer, _wait_before_retry decides about another.

DEFAULT_HOST = "https://api.openai.com"
MAX_REDIRECTS = 5
_CALL_OPTIONS = frozenset(
    "timeout deadline max_retries priority extra_headers extra_query extra_body".split()
)
_SECRET_HEADERS = ("authorization", "api-key", "x-api-key", "cookie", "proxy-authorization")
_CACHED_PATHS = ("/chat/completions", "/completions", "/embeddings", "/moderations", "/responses")
_RANGES = {  # of chat's parameters on the default host (API reference, create chat completion)
    "temperature": (0, 2), "top_p": (0, 1), "frequency_penalty": (-2, 2), "presence_penalty": (-2, 2),
    "max_tokens": (1, 131072), "max_completion_tokens": (1, 131072), "n": (1, 128),
    "top_logprobs": (0, 20),
}  # fmt: skip
_ROLES = ("developer", "system", "user", "assistant", "tool", "function")
MAX_EMBEDDING_INPUTS = 2048  # of one request, and as many characters as 300,000 tokens may have at least
MAX_EMBEDDING_CHARS = 600_000


class _Request:
    """What goes out. Made anew for each client at which a call is tried."""

    __slots__ = ("method", "origin", "target", "headers", "body", "verify")


class _Call:
    """One call of the caller's: what is asked, how the answer is read, and how far it is."""

    json: Any = None
    form: Any = None
    content: bytes | None = None  # a body that is neither JSON nor a form
    model_for: str | None = None  # the kind of model to ask for where none is named
    friendly = False  # whether the default host gets what it needs beyond what the caller wrote
    sink: Any = None  # (where a download goes, progress)
    raw = admin = False
    cache_key: str | None = None
    attempts = read_timeouts = 0
    asked_key_again = False

    def __init__(self, method: str, path: str, read: str, options: dict[str, Any], **more: Any) -> None:
        self.method, self.path, self.read = method, path, read
        self.options = {name: options.pop(name) for name in _CALL_OPTIONS & options.keys()}
        self.query: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        self.id = os.urandom(8).hex()
        self.started_at = time.monotonic()
        self.__dict__.update(more)

    def resolve(self, client: OpenAIMini) -> None:
        """Set what the caller left open to what the client has for it."""
        timeout, deadline = self.options.get("timeout"), self.options.get("deadline", client.deadline)
        self.timeout = client.timeout if timeout is None else _timeout_pair(timeout)
        self.ends_at = float("inf") if deadline is None else self.started_at + deadline
        retries = self.options.get("max_retries")
        self.max_retries = client.max_retries if retries is None else retries
        self.attempts = 0


class _Stats:
    """Counts in constant memory. They are posted to a mailbox, as streams end in finalizers too."""

    def __init__(self) -> None:
        self.mailbox = _Mailbox()
        self.counts = dict.fromkeys(
            "requests succeeded failed abandoned retries bytes_sent bytes_received".split(), 0
        )
        self.errors: dict[str, int] = {}
        self.tokens = {"prompt": 0, "completion": 0, "total": 0}
        self.streams = dict.fromkeys("started completed interrupted abandoned chunks".split(), 0)
        self.cache = {"hits": 0, "misses": 0}
        self.times: dict[str, float] = {"ttft": 0.0, "latency": 0.0, "max": 0.0}
        self.latencies: Any = collections.deque(maxlen=1000)  # for the percentiles
        self.rate_limit: dict[str, str] = {}

    def add(self, counts: dict[str, int], **more: int) -> None:
        self.mailbox.post(self._add, counts, more)

    def _add(self, counts: dict[str, int], more: dict[str, int]) -> None:
        for name, count in more.items():
            counts[name] = counts.get(name, 0) + count

    def end(self, outcome: str, error: Any, latency_s: float, usage: Any, stream: Any) -> None:
        """Count a call that has ended as `outcome`: succeeded, failed or abandoned."""
        self._add(self.counts, {outcome: 1})
        if outcome == "failed":
            self._add(self.errors, {type(error).__name__: 1})
        if outcome == "succeeded":
            self.times["latency"] += latency_s
            self.times["max"] = max(self.times["max"], latency_s)
            self.latencies.append(latency_s)
        if isinstance(usage, dict):
            prompt = usage.get("prompt_tokens") or usage.get("input_tokens") or 0
            completion = usage.get("completion_tokens") or usage.get("output_tokens") or 0
            total = usage.get("total_tokens") or prompt + completion
            self._add(self.tokens, {"prompt": prompt, "completion": completion, "total": total})
        if stream is not None:
            name = {"succeeded": "completed", "failed": "interrupted"}.get(outcome, outcome)
            self._add(self.streams, {name: 1, "chunks": stream._count})
            self.times["ttft"] += stream._first_at - stream._started_at

    def snapshot(self) -> dict[str, Any]:
        count, latencies, streams = self.counts["succeeded"], sorted(self.latencies), self.streams
        ended = streams["completed"] + streams["interrupted"] + streams["abandoned"]
        latency = {
            "count": count, "mean": self.times["latency"] / count if count else None,
            "p50": latencies[len(latencies) // 2] if count else None,
            "p95": latencies[len(latencies) * 95 // 100] if count else None,
            "max": self.times["max"] if count else None,
        }  # fmt: skip
        return {
            **self.counts, "errors": dict(self.errors), "latency_s": latency,
            "tokens": dict(self.tokens), "cache": dict(self.cache),
            "streams": dict(streams, ttft_s=self.times["ttft"] / ended if ended else None),
            "rate_limit": dict(self.rate_limit),
        }  # fmt: skip


class _Attempt:
    """One attempt at a call: its slot, its leave of the breaker, its answer. end() gives all back."""

    def __init__(self, client: OpenAIMini, call: _Call, request: _Request) -> None:
        self.client, self.call, self.request = client, call, request
        self.where, self.number = "%s %s" % (call.method, call.path), call.attempts
        self.slot: Any = None
        self.generation: int | None = None  # of the breaker, once it let this attempt go
        self.body: Any = None
        self.stream: Stream | None = None
        self._ended = _thread.allocate_lock()  # taken by the one end() that counts

    def run(self) -> Any:
        """What the caller gets. A Stream takes slot and connection along and ends the attempt itself."""
        try:
            self._start()
            result = self._read()
        except BaseException as error:
            self.end(error)
            raise
        if self.stream is None and not isinstance(result, StreamedResponse):
            self.end(None)
        return result

    def _start(self) -> None:
        """Slot, breaker, send: the headers of the answer are here when it returns."""
        client, call = self.client, self.call
        self.limits = _Limits(*call.timeout, call.ends_at)
        if client._queue is not None:
            waits = (call.timeout[1], call.ends_at - time.monotonic())
            longest = min(wait for wait in waits if wait is not None)
            priority = call.options.get("priority")
            priority = NORMAL if priority is None else priority
            self.slot = client._queue.slot(priority, None if longest == float("inf") else longest)
            self.slot.acquire()
        if client._breaker is not None:
            self.generation = client._breaker._admit()
            client._notice_circuit(call)
            if self.generation is None:
                raise client._breaker._refusal()
        self.secrets = client._authorize(call, self.request)
        client._emit("request", call)
        self.limits.begin_wait()
        self._send()

    def _send(self) -> None:
        request = self.request
        for _ in range(MAX_REDIRECTS + 1):
            failure: Any = None
            began_at = time.monotonic()
            try:
                raw = self.client._transport.send(request, self.limits)
            except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
                failure = getattr(request.body, "error", None) or error
                if not isinstance(failure, ValidationError) and failure is error:
                    failure = _wire_error(error, self.limits)
            if failure is not None:
                raise failure  # here, where what a library said, with its URL, is not the context
            self.body = _Body(raw, self.limits)
            self.response = Response(raw.status, raw.headers, request.method, request.origin + self.call.path)
            self._note_answer(began_at)
            if not 300 <= raw.status < 400 or not self._follow(raw.headers.get("location")):
                break
        if not 200 <= raw.status < 300:
            self._raise_status()

    def _note_answer(self, began_at: float) -> None:
        client, response = self.client, self.response
        stats = client._shared.stats
        if self.request.body:
            stats.add(stats.counts, bytes_sent=len(self.request.body))
        limits = {k: v for k, v in response.headers.items() if k.lower().startswith("x-ratelimit-")}
        if limits:
            stats.rate_limit = limits
        if client._watched:
            duration_s, request_id = time.monotonic() - began_at, response.request_id
            client._emit("response", self.call, status=response.status_code,
                         duration_s=duration_s, request_id=request_id)  # fmt: skip

    def _follow(self, location: str | None) -> bool:
        """Go where the server says, within its origin; the method and the body stay what they are."""
        request = self.request
        url = url_parse.urlsplit(url_parse.urljoin(request.origin + request.target, location or ""))
        moved = "%s://%s" % (url.scheme, url.netloc) == request.origin and location
        if not moved or self.response.status_code == 303 and request.method != "GET":
            return False
        self.body.close()
        request.target = (url.path or "/") + ("?" + url.query if url.query else "")
        return True

    def _raise_status(self) -> None:
        try:
            content = self.body.read_all(MAX_ERROR_BYTES)
        except APIError:
            content = b""  # the status says enough
        text = _without(self.secrets, content.decode("utf-8", "replace"))
        self.response.content = text.encode()
        try:
            said, body = _error_object(_without(self.secrets, _parse_json(text)))
        except APIResponseError:
            said, body = _shown(text), _plain(text) or None
        raise _status_error(self.response, said, body)

    def raise_error(self, data: dict[str, Any], certain: bool = False) -> None:
        """Raise the error that an answer under status 200 tells of, if it tells of one."""
        if certain or data.get("error"):
            said, body = _error_object(_without(self.secrets, data))
            raise _status_error(self.response, said, body)

    @property
    def content_type(self) -> str:
        kind = self.response.headers.get("content-type") or ""
        return kind.split(";")[0].strip().lower()  # type: ignore[no-any-return]

    def content(self) -> bytes:
        return self.body.read_all(MAX_BODY_BYTES)  # type: ignore[no-any-return]

    def expect_events(self) -> None:
        """An APIResponseError where the answer is no event stream."""
        if self.content_type not in ("text/event-stream", ""):
            start = self.body.read()[:2000].decode("utf-8", "replace")
            what = "the answer is %s, not an event stream: %s"
            raise APIResponseError(what % (self.content_type, _shown(start)[:200]))

    def _read(self) -> Any:
        """Read the answer as the call says; 'auto' goes by its Content-Type."""
        kind, call = self.call.read, self.call
        if kind == "auto":
            kind = self.content_type
            short = {"text/event-stream": "stream", "application/json": "json"}.get(kind)
            kind = short or ("json" if kind.endswith("+json") else "text" if kind[:5] == "text/" else "bytes")
        if kind == "stream":
            stats = self.client._shared.stats
            stats.add(stats.streams, started=1)
            self.stream = Stream(self)
            return self.stream._begin()
        if kind == "open":
            return StreamedResponse(self)
        if call.sink:
            return self._download(*call.sink)
        content = self.content()
        result = self.parse(kind, content)
        self.usage = result.get("usage") if isinstance(result, Result) else None
        if call.cache_key:
            self.client._remember(call, content)
        if call.raw:
            self.response.content, self.response.retries_taken = content, call.attempts - 1
            self.response._parse = lambda content: self.parse(kind, content)  # type: ignore
            return self.response
        return result

    def parse(self, kind: str, content: bytes) -> Any:
        """What the caller gets for a body, by the kind of the answer."""
        if kind == "bytes":
            binary = Binary(content)
            binary.response = self.response
            return binary
        if kind == "text":
            return content.decode("utf-8", "replace")
        if kind == "transcript" and self.content_type != "application/json" and content[:1] != b"{":
            data: Any = Result(text=content.decode("utf-8", "replace"))
        else:
            data = _parse_json(content) if content or kind != "json" else Result()
        if not isinstance(data, Result):
            if kind == "json":
                return data
            raise APIResponseError("the answer is no JSON object but %s" % _plain(repr(data), 80))
        if data.get("object") in (None, "error"):
            self.raise_error(data, data.get("object") == "error")
        result: Result = {"page": Page, "transcript": Transcript}.get(kind, Result)(data)
        result._response = self.response
        if isinstance(result, Page):
            result._fetch = lambda query: self.client._next_page(self.call, query)
        return result

    def _download(self, to: Any, progress: Any) -> int:
        """The body into a path, whole or not at all, or into an open file; the count of its bytes."""
        pieces = self.body.pieces()
        if progress:
            total = self.response.headers.get("content-length") or ""
            pieces = _watched(pieces, progress, int(total) if total.isdigit() else None)
        if isinstance(to, (str, os.PathLike)):
            return _write_whole(to, pieces)
        return sum(len(piece) for piece in pieces if to.write(piece) is not to)

    def end(self, error: BaseException | None, abandoned: bool = False) -> None:
        """Give back slot, connection and the breaker's leave, and count what it came to. Once; safe in
        a finalizer."""
        if not self._ended.acquire(False):
            return
        client, call = self.client, self.call
        if self.body is not None:
            stats = client._shared.stats
            stats.add(stats.counts, bytes_received=self.body.received)
            (self.body.close if error or abandoned else self.body.release)()
        if self.generation is not None:
            spoken = None if abandoned else _speaks_for_service(error)
            client._breaker._settle(self.generation, spoken)
            client._notice_circuit(call)
        if isinstance(error, RateLimitError) and error.retry_after and client._queue is not None:
            client._queue.pause(min(error.retry_after, client.max_retry_delay))
        if self.slot is not None:
            self.slot.release()
        if self.stream is not None and self.stream._count:
            client._end_call(call, error, abandoned, self.stream)

    def forget(self) -> None:
        """In a forked child: connection, slot and leave are the parent's."""
        self._ended.acquire(False)
        if self.body is not None:
            self.body.drop()


def _watched(pieces: Iterable[bytes], progress: Any, total: int | None) -> Iterator[bytes]:
    count = 0
    for piece in pieces:
        yield piece
        count += len(piece)
        progress(count, total)


class StreamedResponse(Response):
    """An answer whose body is read as it arrives: a context manager, as of with_streaming_response."""

    def __init__(self, attempt: _Attempt) -> None:
        self.__dict__.update(attempt.response.__dict__)
        self._attempt = attempt

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        return self._attempt.body.pieces()  # type: ignore[no-any-return]

    def iter_text(self, chunk_size: int | None = None) -> Iterator[str]:
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        return (decode(piece) for piece in self.iter_bytes())

    def iter_lines(self) -> Iterator[str]:
        for line in _sse_lines(self.iter_bytes(), MAX_BODY_BYTES):
            yield line.decode("utf-8", "replace")

    def read(self) -> bytes:
        self.content = self.content or self._attempt.content()
        return self.content

    def json(self) -> Any:
        return _parse_json(self.read())

    def parse(self) -> Any:
        return self._attempt.parse(self._attempt.call.kind, self.read())

    def stream_to_file(self, file: Any) -> None:
        _write_whole(file, self.iter_bytes())

    def close(self) -> None:
        self._attempt.end(None)

    def __enter__(self) -> StreamedResponse:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()


class _Shared:
    """What a client and its copies have in common besides transport, queue and breaker."""

    def __init__(self) -> None:
        self.stats = _Stats()
        self.circuit = "closed"  # the state that was told last


class OpenAIMini:
    """A client of the OpenAI API, or of any server that speaks it.

    >>> client = OpenAIMini(base_url="echo:")  # offline
    >>> client.chat("Hello").content
    'Hello'

    `api_key`: a string, or a callable that returns one, asked at every attempt; else OPENAI_API_KEY.
    `base_url`: else OPENAI_BASE_URL, else https://api.openai.com/v1. `timeout`: seconds, one number or
    (connect, read); the read part limits silence. `deadline`: seconds for a whole call. Every method
    that calls takes `timeout=`, `deadline=`, `max_retries=`, `priority=`, `extra_headers=`,
    `extra_query=` and `extra_body=`. Errors are OpenAIErrors; wrong arguments are ValidationErrors.
    """

    _sleep = staticmethod(time.sleep)

    def __init__(
        self, api_key: str | Callable[[], str] | None = None, *, base_url: str | None = None,
        admin_api_key: str | None = None, organization: str | None = None,
        project: str | None = None, api_version: str | None = None, model: str | None = None,
        timeout: Any = (10, 600), deadline: float | None = None, max_retries: int = 3,
        initial_retry_delay: float = 0.5, backoff_factor: float = 2.0, max_retry_delay: float = 60.0,
        use_request_queue: bool | RequestQueue = True, max_concurrent_requests: int = 10,
        queue_size: int = 100, requests_per_minute: int | None = None,
        circuit_breaker: CircuitBreaker | bool | None = None, fallback: Any = None,
        default_headers: Mapping[str, str] | None = None,
        default_query: Mapping[str, Any] | None = None, verify: bool | str | None = None,
        session: Any = None, cache: Any = None, validate: bool | None = None, debug: bool = False,
        on_event: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:  # fmt: skip
        options = {name: value for name, value in locals().items() if name != "self"}
        self._configure(options, None)

    def _configure(self, options: dict[str, Any], parent: OpenAIMini | None) -> None:
        self._options, environ = options, os.environ.get
        for name in _OPTIONS_READ_AS_THEY_ARE:
            setattr(self, name, options[name])
        for name in ("initial_retry_delay", "max_retry_delay", "max_retries"):
            _check_number(name, options[name], 0)
        _check_number("backoff_factor", options["backoff_factor"], 1, 1000)
        self.timeout = _timeout_pair(options["timeout"])
        self.organization = options["organization"] or environ("OPENAI_ORG_ID")
        self.project = options["project"] or environ("OPENAI_PROJECT_ID")
        self._set_base_url(options["base_url"] or environ("OPENAI_BASE_URL") or DEFAULT_HOST + "/v1")
        self._key = _checked_key("api_key", options["api_key"] or environ("OPENAI_API_KEY"))
        admin = options["admin_api_key"] or environ("OPENAI_ADMIN_KEY")
        self._admin_key = _checked_key("admin_api_key", admin) or self._key
        if not self._key and self._default_host:
            what = "no API key: pass api_key=, set OPENAI_API_KEY, or name another server by base_url="
            raise AuthenticationError(what)
        if not hasattr(options["cache"], "__setitem__") and options["cache"] is not None:
            raise ValidationError("cache= is no mapping: %r" % (options["cache"],))
        if not callable(options["on_event"]) and options["on_event"] is not None:
            raise ValidationError("on_event= cannot be called: %r" % (options["on_event"],))
        self._headers = self._static_headers()
        log = "debug" if self.debug else (environ("OPENAI_LOG") or "").lower()
        self._log = _logging_at(log) if log in ("debug", "info") else None
        self._watched = bool(self._log or self.on_event)
        self._share(parent)

    def _share(self, parent: OpenAIMini | None) -> None:
        """Take transport, queue, breaker and statistics from the client that this one is a copy of,
        where its options ask for no others."""
        options, old = self._options, parent._options if parent else {}
        changed = {name for name in options if name not in old or options[name] is not old[name]}
        self._shared = parent._shared if parent else _Shared()
        limits = ["max_concurrent_requests", "queue_size", "requests_per_minute"]
        if parent and not changed & {"session", "max_concurrent_requests"} and parent._echo == self._echo:
            self._transport: Any = parent._transport
        elif self._echo:
            self._transport = _Echo()
        elif self.session is not None:
            self._transport = _CallersSession(self.session)
        else:
            self._transport = _Pools(self.max_concurrent_requests)
        given = self.use_request_queue
        if parent and not changed & {"use_request_queue", *limits}:
            self._jobs, self._queue = parent._jobs, parent._queue
        else:
            made = given if isinstance(given, RequestQueue) else RequestQueue(*map(options.get, limits))
            self._jobs, self._queue = made, made if given else None
        if parent and "circuit_breaker" not in changed and parent._base == self._base:
            self._breaker = parent._breaker
        else:
            given = self.circuit_breaker
            self._breaker = CircuitBreaker() if given is None or given is True else given or None
        _survive_fork(self._transport)
        _survive_fork(self)

    def _after_fork(self) -> None:
        self._shared.stats.mailbox = _Mailbox()

    def _set_base_url(self, base_url: Any) -> None:
        self.base_url, self._echo = str(base_url), str(base_url) == "echo:"
        url = url_parse.urlsplit("http://echo/" if self._echo else self.base_url.strip())
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValidationError("base_url=%r is no http:// or https:// URL" % self.base_url)
        if url.username is not None or url.password is not None:
            raise ValidationError("base_url= holds a user or a password: pass api_key= instead")
        self._origin = "%s://%s" % (url.scheme, url.netloc)
        self._base = self._origin + url.path.rstrip("/")
        self._default_host = self._origin == DEFAULT_HOST
        self._query = url_parse.parse_qsl(url.query, keep_blank_values=True)
        self._query += _pairs_in(self.default_query)
        if self.api_version:
            self._query.append(("api-version", self.api_version))

    def _static_headers(self) -> dict[str, str]:
        headers = {
            "User-Agent": "openai_mini/" + __version__, "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate", "OpenAI-Organization": self.organization,
            "OpenAI-Project": self.project,
        }  # fmt: skip
        return _merged_headers(headers, self.default_headers)

    def with_options(self, **options: Any) -> OpenAIMini:
        """A copy with other constructor arguments. It shares session, queue, breaker and statistics; a
        new base_url gets a breaker of its own."""
        unknown = options.keys() - self._options.keys()
        if unknown:
            raise ValidationError("with_options() knows no %s" % ", ".join(sorted(unknown)))
        client = type(self).__new__(type(self))
        client._configure({**self._options, **options}, self)
        return client

    copy = with_options

    def close(self) -> None:
        """Close the connections that are not in use. May be called again."""
        self._transport.close()

    def __enter__(self) -> OpenAIMini:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return "<OpenAIMini %s>" % _plain(self._base if not self._echo else "echo:", 100)

    def __getstate__(self) -> dict[str, Any]:
        return {"version": __version__, "options": self._options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state.get("version") != __version__:
            what = "this client was pickled by openai_mini %s, here is %s: use one version"
            raise ValidationError(what % (state.get("version"), __version__))
        self._configure(state["options"], None)

    # The one loop of all calls.

    def _run(self, call: _Call) -> Any:
        """What the call returns, from this client or, where it cannot, from a fallback."""
        stats = self._shared.stats
        stats.add(stats.counts, requests=1)
        fallbacks = self.fallback or ()
        fallbacks = [fallbacks] if isinstance(fallbacks, OpenAIMini) else fallbacks
        error: BaseException | None = None
        for client in (self, *fallbacks):
            try:
                return client._perform(call)
            except BaseException as caught:
                error = caught
            if not isinstance(error, OpenAIError) or not _another_server_may_do(error):
                break
        assert error is not None
        self._end_call(call, error)
        raise error

    def _perform(self, call: _Call) -> Any:
        """Attempt the call until it succeeds, or until trying again is of no use."""
        call.resolve(self)
        request = self._prepare(call)
        last: OpenAIError | None = None
        if self.cache is not None and call.method == "POST":
            hit, result = self._recall(call, request)
            if hit:
                return result
        while True:
            call.attempts += 1
            attempt = _Attempt(self, call, request)
            try:
                result = attempt.run()
            except OpenAIError as caught:
                error = caught
            else:
                if attempt.stream is None:
                    self._end_call(call, None, usage=getattr(attempt, "usage", None))
                return result
            if isinstance(error, CircuitOpenError) and last is not None:
                raise last  # what opened the circuit says more
            last = error._place(attempt.where, call.attempts)
            wait_s = self._wait_before_retry(call, error)
            if wait_s is None:
                raise last
            stats = self._shared.stats
            stats.add(stats.counts, retries=1)
            self._emit("retry", call, wait_s=wait_s, error=type(error).__name__)
            self._sleep(wait_s)

    def _wait_before_retry(self, call: _Call, error: OpenAIError) -> float | None:
        """Seconds to wait before another attempt, or None where there is to be none."""
        if error.status_code == 401 and callable(self._key) and call.max_retries:
            if not call.asked_key_again:
                call.asked_key_again = True
                return 0.0
        if not error._transient or call.attempts > call.max_retries:
            return None
        if error._may_be_done and call.method == "POST":
            call.read_timeouts += 1
            if call.read_timeouts > 1:
                return None
        wait_s = error.retry_after
        if wait_s is None:  # full jitter: callers that failed together do not come back together
            backoff = self.initial_retry_delay * self.backoff_factor ** min(call.attempts - 1, 64)
            wait_s = random.uniform(0, min(backoff, self.max_retry_delay))
        over = wait_s > self.max_retry_delay or time.monotonic() + wait_s >= call.ends_at
        return None if over else wait_s

    def _end_call(
        self, call: _Call, error: BaseException | None, abandoned: bool = False, stream: Any = None,
        usage: Any = None,
    ) -> None:  # fmt: skip
        usage = stream.usage if stream else usage
        outcome = "failed" if isinstance(error, Exception) else "succeeded"
        if abandoned or error is not None and not isinstance(error, Exception):
            outcome = "abandoned"
        latency_s, stats = time.monotonic() - call.started_at, self._shared.stats
        stats.mailbox.post(stats.end, outcome, error, latency_s, usage, stream)
        if self._watched:
            name = type(error).__name__ if error else None
            event = "stream_end" if stream else "error" if error else ""
            if event:
                self._emit(event, call, error=name, usage=usage, duration_s=latency_s)

    def _emit(self, event: str, call: _Call, **fields: Any) -> None:
        """Tell on_event and the log. No key and no text of a prompt is in what they get."""
        if not self._watched:
            return
        model = call.json.get("model") if isinstance(call.json, dict) else None
        told = {"event": event, "id": call.id, "method": call.method, "path": call.path,
                "model": model, "attempt": call.attempts}  # fmt: skip
        told.update((name, value) for name, value in fields.items() if value is not None)
        if self.on_event:
            try:
                self.on_event(told)
            except Exception:  # a listener's trouble is not the caller's
                _logger().exception("on_event raised")
        if self._log:
            line = " ".join("%s=%s" % (name, value) for name, value in told.items() if name != "event")
            (self._log.info if event != "request" else self._log.debug)("%s %s", event, line)

    def _notice_circuit(self, call: _Call) -> None:
        state = self._breaker._state
        if state != self._shared.circuit:
            self._shared.circuit = state
            self._emit("circuit", call, state=state)

    # How a request is built.

    def _prepare(self, call: _Call) -> _Request:
        request = _Request()
        body = call.json
        if isinstance(body, dict):
            body = {name: value for name, value in body.items() if value is not NOT_GIVEN}
            if call.model_for and body.get("model") is None:
                body["model"] = self._default_model(call.model_for)
            if call.friendly:
                self._befriend(call, body)
            body.update(call.options.get("extra_body") or {})
        call.sent_json = body
        request.method, request.origin, request.verify = call.method, self._origin, self.verify
        query = [*self._query, *_pairs_in(call.query), *_pairs_in(call.options.get("extra_query"))]
        path = call.path if call.path[:1] == "/" else "/" + call.path
        request.target = self._base[len(self._origin) :] + path
        if query:
            request.target += ("&" if "?" in path else "?") + url_parse.urlencode(query)
        headers = dict(self._headers)
        request.body = call.content
        if call.form is not None:
            request.body, headers["Content-Type"] = call.form, call.form.content_type
            headers["Content-Length"] = str(call.form.length)
        elif body is not None:
            request.body, headers["Content-Type"] = _json_bytes(body), "application/json"
        if call.method == "POST":
            headers["Idempotency-Key"] = "openai-mini-" + call.id
        if call.read == "stream":
            headers["Accept"] = "text/event-stream"
        request.headers = _merged_headers(headers, call.headers, call.options.get("extra_headers"))
        return request

    def _default_model(self, kind: str) -> str:
        if kind == "chat":
            return self.model or os.environ.get("OPENAI_MODEL") or DEFAULT_MODELS["chat"]
        return DEFAULT_MODELS[kind]

    def _befriend(self, call: _Call, body: dict[str, Any]) -> None:
        """Check what the caller wrote, and say it as the default host wants it."""
        chat = call.path == "/chat/completions"
        if chat and (self._default_host if self.validate is None else self.validate):
            _check_chat(body)
        if not self._default_host:
            return
        if chat and "max_tokens" in body and "max_completion_tokens" not in body:
            body["max_completion_tokens"] = body.pop("max_tokens")
        if chat and body.get("stream"):
            body.setdefault("stream_options", {"include_usage": True})
        if call.path == "/embeddings":
            body.setdefault("encoding_format", "base64")

    def _authorize(self, call: _Call, request: _Request) -> list[str]:
        """Put the key into the headers; returns all that is secret in them."""
        key = self._admin_key if call.admin else self._key
        bearer = callable(key) or not self.api_version
        if callable(key):
            key = _checked_key("what api_key= returned", key())
        names = {name.lower() for name in _merged_headers(self.default_headers, call.options.get("extra_headers"))}
        if key and not names & {"authorization", "api-key"}:
            request.headers["Authorization" if bearer else "api-key"] = "Bearer " + key if bearer else key
        secrets = [value for name, value in request.headers.items() if name.lower() in _SECRET_HEADERS]
        return sorted({part for value in secrets for part in (value, value.split(" ")[-1])}, key=len)[::-1]

    # The cache.

    def _recall(self, call: _Call, request: _Request) -> Any:
        """(True, the result) where the cache has the answer to this very request."""
        if call.path not in _CACHED_PATHS or call.read != "object" or call.raw:
            return False, None
        import hashlib

        stats, asked = self._shared.stats, "%s%s\n" % (request.origin, request.target)
        call.cache_key = hashlib.sha256(asked.encode() + request.body).hexdigest()
        try:
            content = self.cache.get(call.cache_key)
            if content is None:
                raise KeyError
            hit = Result(_parse_json(content))
        except KeyError:
            stats.add(stats.cache, misses=1)
            return False, None
        except Exception:  # the caller's mapping: a cache that fails costs a request, not the answer
            _logger().exception("the cache raised")
            return False, None
        stats.add(stats.cache, hits=1)
        self._end_call(call, None)
        return True, hit

    def _remember(self, call: _Call, content: bytes) -> None:
        try:
            self.cache[call.cache_key] = content
        except Exception:
            _logger().exception("the cache raised")

    # The methods of the table in the README.

    def _post(self, path: str, read: str, body: Any, params: dict[str, Any], **more: Any) -> Any:
        call = _Call("POST", path, read, params, **more)
        call.json = {**body, **params}
        return self._run(call)

    @property
    def chat(self) -> _Chat:
        """`client.chat(messages, ...)` answers a conversation; `client.chat.completions.create(...)`
        is the same in the official package's shape."""
        return _Chat(self, ("chat",))

    def stream_chat(self, messages: Any, *, model: str | None = None, **params: Any) -> Stream:
        """The answer to a conversation in chunks, each with `.content`, a str.

        `messages` as for chat(). Waits for the first chunk. Raises OpenAIError, also while the
        stream is read; a stream cut before its end is a StreamInterruptedError.
        """
        body = {"messages": _messages(messages), "model": model, "stream": True}
        return self._post("/chat/completions", "stream", body, params, model_for="chat", friendly=True)  # type: ignore

    def embedding(self, input: Any, *, model: str | None = None, **params: Any) -> list[list[float]]:
        """One vector (a list of float) per input, in order; `input` is a str or a list of any length.

        It goes out in parts of at most 2048 inputs, halved where the server says that it is too much.
        Raises APIResponseError where there are fewer vectors than inputs.
        """
        one = isinstance(input, str) or bool(input) and isinstance(input[0], int)
        inputs = [input] if one else list(input)
        if not inputs:
            raise ValidationError("input is empty: a str or a list of str is needed")
        vectors: list[list[float]] = []
        for part in _embedding_parts(inputs):
            vectors += self._embed(part, model, params)
        return vectors

    def _embed(self, inputs: list[Any], model: str | None, params: dict[str, Any]) -> list[list[float]]:
        try:
            answer = self._post(
                "/embeddings", "object", {"input": inputs, "model": model}, dict(params),
                model_for="embedding", friendly=True,
            )  # fmt: skip
        except (BadRequestError, UnprocessableEntityError, APIStatusError) as error:
            if len(inputs) == 1 or error.status_code not in (400, 413, 422):
                raise
            middle = len(inputs) // 2
            first = self._embed(inputs[:middle], model, params)
            return first + self._embed(inputs[middle:], model, params)
        items = answer.get("data") or []
        if len(items) != len(inputs):
            what = "POST /embeddings: %d vectors came for %d inputs"
            raise APIResponseError(what % (len(items), len(inputs)))
        items = sorted(items, key=lambda item: item.get("index") or 0)
        return [_vector(item.get("embedding")) for item in items]

    def moderation(self, input: Any, **params: Any) -> Result:
        """Whether `input` (a str, or a list) is harmful: `.results[0].flagged`, `.categories`."""
        body = {"input": input}
        return self._post("/moderations", "object", body, params, model_for="moderation")  # type: ignore

    def generate_image(self, prompt: str, **params: Any) -> Result:
        """Images by a text: `.data[0].b64_json` or `.url`; `.save(folder)` writes them."""
        body = {"prompt": prompt}
        return self._post("/images/generations", "object", body, params, model_for="image")  # type: ignore

    def edit_image(self, image: Any, prompt: str, *, mask: Any = None, **params: Any) -> Result:
        """Images made from `image`, a file or a list of them, where `mask` lets it; see generate_image."""
        images = image if isinstance(image, list) else [image]
        files = [("image[]" if len(images) > 1 else "image", one) for one in images]
        files += [("mask", mask)] if mask is not None else []
        fields = {"prompt": prompt, **params}
        return self._upload("/images/edits", "object", files, fields, "image")  # type: ignore

    def text_to_speech(
        self, text: str, voice: str = "alloy", *, model: str | None = None, to: Any = None,
        progress: Any = None, **params: Any,
    ) -> Any:  # fmt: skip
        """Speech as bytes (MP3 unless `response_format=`). With `to`, a path or a binary file, it is
        written as it arrives and the count of bytes is returned; `progress(received, total)`."""
        body = {"input": text, "voice": voice, "model": model}
        sink = (to, progress) if to is not None else None
        return self._post("/audio/speech", "bytes", body, params, model_for="speech", sink=sink)

    def transcribe_audio(self, file: Any, **params: Any) -> Result:
        """The text of an audio file: `.text`, also its `str()`. `file`: a path, bytes, a binary file or
        (name, any of these). `response_format=` may be json, text, srt, vtt, verbose_json."""
        path = "/audio/transcriptions"
        return self._upload(path, "transcript", [("file", file)], params, "transcription")  # type: ignore

    def translate_audio(self, file: Any, **params: Any) -> Result:
        """The same in English."""
        path, params = "/audio/translations", {"model": "whisper-1", **params}
        return self._upload(path, "transcript", [("file", file)], params, "transcription")  # type: ignore

    def upload_file(
        self, file: Any, *, purpose: str = "fine-tune", file_name: str | None = None,
        progress: Any = None, **params: Any,
    ) -> Result:  # fmt: skip
        """Upload a file (a path, bytes, a binary file or (name, any of these)) from disk as it goes out;
        `progress(sent, total)` is called on the way. Returns its `.id`."""
        params["purpose"] = purpose
        files = [("file", _File(file, file_name))]
        return self._upload("/files", "object", files, params, None, progress)  # type: ignore

    def _upload(
        self, path: str, read: str, files: Any, params: dict[str, Any], model_for: Any, progress: Any = None
    ) -> Any:
        call = _Call("POST", path, read, params)
        if model_for:
            params["model"] = params.get("model") or self._default_model(model_for)
        opened = [(name, _harmless(file)) for name, file in files]
        call.form = _Form(_pairs_in(params), opened, progress)
        return self._run(call)

    def download_file(self, file_id: str, to: Any = None, *, progress: Any = None, **params: Any) -> Any:
        """A file's bytes. With `to`, a path or a binary file, they are written as they arrive and their
        count is returned; a path appears whole or not at all. `progress(received, total)`."""
        call = _Call("GET", "/files/%s/content" % _path_id("file_id", file_id), "bytes", params)
        call.sink = (to, progress) if to is not None else None
        return self._run(call)

    def list_models(self, **params: Any) -> list[str]:
        """The ids of the models."""
        models = self._run(_Call("GET", "/models", "object", params))
        return [model["id"] for model in models.get("data") or () if "id" in model]

    def health(self, **params: Any) -> dict[str, Any]:
        """`ok`, `latency_s`, `models` (how many), `circuit`, `error`. Raises nothing."""
        error, count, began_at = None, None, time.monotonic()
        try:
            count = len(self.list_models(**{"max_retries": 0, **params}))
        except OpenAIError as caught:
            error = str(caught)
        latency_s, circuit = time.monotonic() - began_at, self._breaker.state if self._breaker else None
        return {"ok": error is None, "latency_s": latency_s, "models": count, "circuit": circuit,
                "error": error}  # fmt: skip

    def run_tools(self, messages: Any, tools: Any, *, max_rounds: int = 10, **params: Any) -> Result:
        """Chat, call the tools that the model asks for, tell it what they returned, until it answers.

        `tools`: functions (described by signature, hints and docstring) or (schema, function) pairs.
        A tool that raises, is unknown or gets broken arguments is told to the model. The Result has the
        conversation as `.messages`. Raises ToolLoopError after `max_rounds` requests.
        """
        messages = list(_messages(messages))
        described = [_described_tool(tool) for tool in tools]
        functions = {schema["function"]["name"]: function for schema, function in described}
        for _ in range(max_rounds):
            result = self.chat(messages, tools=[schema for schema, _ in described], **dict(params))
            message = result.message or Result()
            messages.append(message)
            if not message.get("tool_calls"):
                result["messages"] = messages
                return result
            for call in message["tool_calls"]:
                messages.append({"role": "tool", "tool_call_id": call.get("id"),
                                 "content": _called_tool(functions, call)})  # fmt: skip
        what = "the model still calls tools after %d requests: raise max_rounds=" % max_rounds
        raise ToolLoopError(what, messages=messages)

    def request(
        self, method: str, path: str, *, json: Any = None, data: Any = None, files: Any = None,
        params: Any = None, stream: bool = False, **options: Any,
    ) -> Any:  # fmt: skip
        """Any request below base_url. Returns Result, Stream, bytes or text by the answer's Content-Type.

        `data`: a form's fields with `files` (a dict of files), else bytes or a str. An absolute URL of
        another origin is refused with a ValidationError.
        """
        call = _Call(method.upper(), self._path_of(path), "stream" if stream else "auto", options)
        if options:
            raise ValidationError("request() knows no %s" % ", ".join(sorted(options)))
        call.json, call.query = json, params or {}
        if files is not None or isinstance(data, dict):
            pairs = files.items() if hasattr(files, "items") else files or ()
            call.form = _Form(_pairs_in(data), [(name, _File(file)) for name, file in pairs])
        elif data is not None:
            call.content = data.encode() if isinstance(data, str) else data
        return self._run(call)

    def _path_of(self, path: str) -> str:
        url = url_parse.urlsplit(path)
        if not url.scheme and not url.netloc:
            return path
        if "%s://%s" % (url.scheme, url.netloc) != self._origin or not path.startswith(self._base):
            raise ValidationError("%r is not below base_url=%r" % (path, self._base))
        return path[len(self._base) :]

    def get(self, path: str, **options: Any) -> Any:
        """The official package's client.get(path, cast_to=, options=...)."""
        return self._verb("GET", path, options)

    def post(self, path: str, **options: Any) -> Any:
        return self._verb("POST", path, options)

    def put(self, path: str, **options: Any) -> Any:
        return self._verb("PUT", path, options)

    def patch(self, path: str, **options: Any) -> Any:
        return self._verb("PATCH", path, options)

    def delete(self, path: str, **options: Any) -> Any:
        return self._verb("DELETE", path, options)

    def _verb(self, method: str, path: str, options: dict[str, Any]) -> Any:
        given = dict(options.pop("options", None) or {})
        for name in ("cast_to", "stream_cls"):
            options.pop(name, None)
        options["json"], options["params"] = options.pop("body", None), given.get("params")
        options.setdefault("extra_headers", given.get("headers"))
        return self.request(method, path, **options)

    def submit(self, method: Any, *args: Any, priority: int = NORMAL, **kwargs: Any) -> Any:
        """Have a method (its name, or any callable) called by a daemon thread; returns its Future."""
        function, kwargs = self._job(method, priority, kwargs)
        return self._jobs.submit(lambda: function(*args, **kwargs), priority=priority)

    def map(self, method: Any, inputs: Iterable[Any], *, priority: int = NORMAL, **kwargs: Any) -> Iterator[Any]:
        """A method (its name, or any callable) over `inputs`: an iterator of results in their order.

        At most `queue_size` inputs are read ahead, so that a million need no memory.
        """
        function, kwargs = self._job(method, priority, kwargs)
        return self._jobs.map(lambda value: function(value, **kwargs), inputs, priority=priority)

    def _job(self, method: Any, priority: int, kwargs: dict[str, Any]) -> Any:
        if callable(method):
            return method, kwargs
        function: Any = self
        for name in str(method).split("."):
            function = getattr(function, name)
        return function, {**kwargs, "priority": priority}

    def stats(self) -> dict[str, Any]:
        """What has been counted so far: see the README. Times are in seconds."""
        stats, queue, breaker = self._shared.stats, self._jobs, self._breaker
        told: dict[str, Any] = stats.mailbox.ask(stats.snapshot)
        told["queue"] = {"running": queue.running, "waiting": queue.waiting}
        told["circuit"] = {"state": breaker.state if breaker else None,
                           "opened": breaker.opened if breaker else 0}  # fmt: skip
        return told

    def __getattr__(self, name: str) -> Any:
        if name in _TOP_LEVEL:
            return _Resource(self, (name,))
        raise _unknown_name("OpenAIMini", name, (*_TOP_LEVEL, *dir(type(self))))

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *_TOP_LEVEL]


OpenAI = Client = OpenAIMini

_OPTIONS_READ_AS_THEY_ARE = (
    "api_version model deadline max_retries initial_retry_delay backoff_factor max_retry_delay "
    "use_request_queue max_concurrent_requests circuit_breaker fallback default_headers "
    "default_query verify session cache validate debug on_event"
).split()


def AzureOpenAI(
    *, azure_endpoint: str | None = None, azure_deployment: str | None = None,
    azure_ad_token_provider: Any = None, azure_ad_token: str | None = None, **options: Any,
) -> OpenAIMini:  # fmt: skip
    """A client of an Azure deployment. Else AZURE_OPENAI_ENDPOINT, AZURE_OPENAI_API_KEY,
    AZURE_OPENAI_AD_TOKEN and OPENAI_API_VERSION are read."""
    environ = os.environ.get
    endpoint = azure_endpoint or environ("AZURE_OPENAI_ENDPOINT")
    options["api_version"] = options.get("api_version") or environ("OPENAI_API_VERSION")
    if not options["api_version"]:
        raise ValidationError("api_version= is needed, or OPENAI_API_VERSION")
    if not options.get("base_url"):
        if not endpoint:
            raise ValidationError("azure_endpoint= is needed, or AZURE_OPENAI_ENDPOINT")
        deployment = "/deployments/" + _path_id("azure_deployment", azure_deployment) if azure_deployment else ""
        options["base_url"] = endpoint.rstrip("/") + "/openai" + deployment
    token = azure_ad_token or environ("AZURE_OPENAI_AD_TOKEN")
    key = azure_ad_token_provider or options.pop("api_key", None) or environ("AZURE_OPENAI_API_KEY")
    return OpenAIMini(key or (token and _Constant(token)), **options)


class _Constant:
    """A callable that returns one value, fit for pickling."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __call__(self) -> str:
        return self.value


def _another_server_may_do(error: OpenAIError) -> bool:
    kinds = (CircuitOpenError, APIConnectionError, RateLimitError, InternalServerError)
    return isinstance(error, (*kinds, StreamInterruptedError))


def _logging_at(level: str) -> Any:
    import logging

    logger = _logger()
    logger.setLevel(level.upper())
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s openai_mini %(message)s"))
        logger.addHandler(handler)
    return logger


def _checked_key(name: str, key: Any) -> Any:
    """A key that a header can hold; what is wrong with another is said without printing it."""
    if key is None or callable(key):
        return key
    if not isinstance(key, str):
        raise ValidationError("%s is no str but %s" % (name, type(key).__name__))
    key = key.strip()
    if not key.isascii() or not key.isprintable():
        raise ValidationError("%s has a character that no header can hold, as a line break" % name)
    return key


def _timeout_pair(timeout: Any) -> tuple[Any, Any]:
    pair = timeout if isinstance(timeout, (tuple, list)) else (timeout, timeout)
    for seconds in pair:
        _check_number("timeout", 1 if seconds is None else seconds, 1e-3)
    if len(pair) != 2:
        raise ValidationError("timeout=%r: seconds, or (connect, read)" % (timeout,))
    return pair[0], pair[1]


def _merged_headers(*layers: Any) -> dict[str, str]:
    """Headers of which the later win, whatever their case; None takes one away."""
    merged: dict[str, tuple[str, str]] = {}
    for layer in layers:
        for name, value in (layer or {}).items():
            merged.pop(name.lower(), None)
            if value is None or value is NOT_GIVEN:
                continue
            if re.search(r"[^\x20-\x7e\t\x80-\xff]", str(value)) or not re.fullmatch(r"[!-9;-~]+", name):
                raise ValidationError("the header %r has a character that no header can hold" % name)
            merged[name.lower()] = (name, str(value))
    return dict(merged.values())


def _pairs_in(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Query or form fields as the official client has them: a[]=1, a[]=2, b[c]=true; None left out."""
    if value is None or value is NOT_GIVEN:
        return []
    if hasattr(value, "items"):
        inner = [(name + "[%s]" % key if name else str(key), item) for key, item in value.items()]
        return [pair for key, item in inner for pair in _pairs_in(item, key)]
    if isinstance(value, (list, tuple)):
        return [pair for item in value for pair in _pairs_in(item, name + "[]")]
    return [(name, str(value).lower() if isinstance(value, bool) else str(value))]


def _path_id(name: str, value: Any) -> str:
    """An id as it stands in a path (RFC 3986, section 3.3)."""
    if value is None or str(value) in ("", ".", ".."):
        raise ValidationError("%s is %r: no path can hold that" % (name, value))
    return url_parse.quote(str(value), safe="!$&'()*+,;=:@")  # type: ignore[no-any-return]


def _harmless(file: Any) -> _File:
    """A file whose name is one name, not a path."""
    file = file if isinstance(file, _File) else _File(file)
    file.name = re.split(r"[/\\]", file.name)[-1] or "upload"
    return file  # type: ignore[no-any-return]


def _json_bytes(body: Any) -> bytes:
    reason = ""
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":"), default=_plain_data).encode()  # type: ignore
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error)
    raise ValidationError("the request is no JSON: %s" % (_not_json(body, "") or _plain(reason, 80)))


def _plain_data(value: Any) -> Any:
    """What an object of another library's says of itself as plain data."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError("%s cannot be JSON" % type(value).__name__)


def _not_json(value: Any, place: str, depth: int = 0) -> str:
    """Which part of `value` JSON cannot hold, and where it is."""
    if isinstance(value, dict) and depth < 50:
        for key, item in value.items():
            if not isinstance(key, (str, int, float, bool, type(None))):
                return "%s has the key %r" % (place or "it", key)
            found = _not_json(item, "%s.%s" % (place, key) if place else str(key), depth + 1)
            if found:
                return found
    elif isinstance(value, (list, tuple)) and depth < 50:
        found = (_not_json(item, "%s[%d]" % (place, i), depth + 1) for i, item in enumerate(value))
        return next(filter(None, found), "")
    elif isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return "%s is %r" % (place, value)
    elif not isinstance(value, (str, int, float, type(None), dict, list, tuple)):
        return "" if hasattr(value, "model_dump") else "%s is a %s" % (place, type(value).__name__)
    return ""


def _messages(messages: Any) -> list[Any]:
    """`messages` as a list, if it has the structure of one; a str is one user message."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if not isinstance(messages, (list, tuple)) or not messages:
        raise ValidationError("messages is no list of messages, and no str: %r" % type(messages).__name__)
    for number, message in enumerate(messages):
        place = "messages[%d]" % number
        if not isinstance(message, dict):
            raise ValidationError("%s is no dict but %s" % (place, type(message).__name__))
        if message.get("role") not in _ROLES:
            raise ValidationError("%s has the role %r, not one of %s" % (place, message.get("role"), ", ".join(_ROLES)))
        if message.get("content") is None and not (message["role"] == "assistant" and len(message) > 1):
            raise ValidationError("%s has no content" % place)
    return list(messages)


def _check_chat(body: dict[str, Any]) -> None:
    for name, (least, most) in _RANGES.items():
        if body.get(name) is not None:
            _check_number(name, body[name], least, most)
    stop, seed, logprobs = body.get("stop"), body.get("seed"), body.get("logprobs")
    stops = [stop] if isinstance(stop, str) else stop or []
    if len(stops) > 4 or not all(isinstance(one, str) and one for one in stops):
        raise ValidationError("stop is %r: at most 4 texts, none of them empty" % (stop,))
    if logprobs is not None and not isinstance(logprobs, bool):
        raise ValidationError("logprobs is %r: True or False is needed" % (logprobs,))
    if body.get("top_logprobs") is not None and not logprobs:
        raise ValidationError("top_logprobs is %r: it needs logprobs=True" % body["top_logprobs"])
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise ValidationError("seed is %r: an int is needed" % (seed,))


def _embedding_parts(inputs: list[Any]) -> Iterator[list[Any]]:
    part: list[Any] = []
    size = 0
    for one in inputs:
        if part and (len(part) == MAX_EMBEDDING_INPUTS or size + len(one) > MAX_EMBEDDING_CHARS):
            yield part
            part, size = [], 0
        part.append(one)
        size += len(one)
    yield part


def _vector(embedding: Any) -> list[float]:
    """A vector sent as JSON numbers, or as base64 of little-endian 32-bit floats."""
    if not isinstance(embedding, str):
        return embedding  # type: ignore[no-any-return]
    import array

    vector = array.array("f", _from_base64(embedding))
    if sys.byteorder == "big":
        vector.byteswap()
    return vector.tolist()


def _schema_parts(schema: Any) -> Any:
    """The response_format for `schema`: a JSON schema, or a class that has one."""
    if isinstance(schema, dict):
        name, strict = schema.get("title") or "answer", schema.get("additionalProperties") is False
    else:
        name, strict, schema = schema.__name__, True, _strict(schema.model_json_schema())
    name = re.sub(r"[^\w-]", "_", name)
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": strict}}


def _strict(schema: Any) -> Any:
    """A schema as the API's strict mode wants it: all properties required, no others."""
    if isinstance(schema, dict):
        schema = {key: _strict(value) for key, value in schema.items() if key != "default"}
        if schema.get("type") == "object" and "properties" in schema:
            schema.update(additionalProperties=False, required=list(schema["properties"]))
    elif isinstance(schema, list):
        schema = [_strict(item) for item in schema]
    return schema


def _parsed(schema: Any, result: Result) -> Any:
    content = result.content
    if not content:
        return None  # a refusal, or a tool call
    if result.finish_reason == "length":
        raise APIResponseError("the answer was cut at max_tokens", "Allow more tokens.", partial=result)
    if isinstance(schema, dict):
        return _parse_json(content)
    try:
        return schema.model_validate_json(content)
    except ValueError as error:
        reason = _plain(str(error), 200)
    raise APIResponseError("the answer does not fit the schema: %s" % reason, body=result)


_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


def _described_tool(tool: Any) -> tuple[dict[str, Any], Any]:
    """(the tool object for the API, the function) of a function or a (schema, function) pair."""
    schema, function = tool if isinstance(tool, tuple) else (None, tool)
    if schema and "function" in schema:
        return schema, function
    described = {"name": function.__name__, "description": inspect.getdoc(function) or "",
                 "parameters": schema or _schema_of(function)}  # fmt: skip
    return {"type": "function", "function": described}, function


def _schema_of(function: Any) -> dict[str, Any]:
    """The JSON schema of a function's parameters, by its signature and type hints."""
    import typing

    hints, properties, required = typing.get_type_hints(function), {}, []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        properties[name] = _schema_of_hint(hints.get(name))
        if parameter.default is parameter.empty:
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def _schema_of_hint(hint: Any) -> dict[str, Any]:
    import typing

    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return {"enum": list(args)}
    if args and type(None) in args:  # Optional, or X | None
        args = tuple(arg for arg in args if arg is not type(None))
        return _schema_of_hint(args[0]) if len(args) == 1 else {}
    kind = _JSON_TYPES.get(origin or hint)
    if kind == "array" and args:
        return {"type": kind, "items": _schema_of_hint(args[0])}
    return {"type": kind} if kind else {}


def _called_tool(functions: dict[str, Any], call: Any) -> str:
    """What a tool returned, as text for the model; what goes wrong is told to it too."""
    asked = call.get("function") or {}
    function = functions.get(asked.get("name"))
    if function is None:
        return "Error: there is no tool %r; there are %s" % (asked.get("name"), ", ".join(functions))
    try:
        arguments = json.loads(asked.get("arguments") or "{}")
        if not isinstance(arguments, dict):
            raise ValueError("they are no JSON object")
    except (ValueError, TypeError, RecursionError) as error:
        return "Error: the arguments are broken: %s" % _plain(str(error), 200)
    try:
        answer = function(**arguments)
        return answer if isinstance(answer, str) else json.dumps(answer, default=str)
    except Exception as error:  # whatever the tool raises is the model's to know
        return "Error: %s: %s" % (type(error).__name__, _plain(str(error)))


# ------------------------------------------------------------------------------------------------
# Resources
#
# The official package's shape by rule: the attribute path is the URL path, the verb is the method. A
# segment in the plural has an id, named after its singular; one in the singular has none. Ids come by
# keyword, the last one also by position. What is left is the query of a GET or DELETE and the body
# of a POST; a file in it makes it a form. The tables hold what this gets wrong of openai 3.52.0.

_TOP_LEVEL = (
    "admin audio batches beta completions containers content_provenance_checks conversations "
    "embeddings evals files fine_tuning images live models moderations organization realtime "
    "responses skills uploads vector_stores videos webhooks"
).split()


def _table(rows: str) -> dict[str, str]:
    return dict(row.strip().split(": ") for row in rows.strip().splitlines())


# By verb or segment.verb: the method and what follows the segment, {} for its id. Any other verb is
# a POST to {}/verb.
_VERBS = _table("""
    create: POST
    list: GET
    retrieve: GET {}
    update: POST {}
    delete: DELETE {}
    parse: POST
    stream: POST
    content: GET {}/content
    retrieve_content: GET {}/content
    download_content: GET {}/content
    download_recording: GET {}/content
    events.stream: GET
    list_rate_limits: GET
    update_rate_limit: POST {}
    list_events: GET {}/events
    list_files: GET {}/files
    list_items: GET {}/items
    create_and_run: POST /runs
    create_character: POST /characters
    get_character: GET /characters/{character_id}
    create_variation: POST /variations
    generate: POST /generations
    edit: POST /edits
    extend: POST /extensions
    live.create: POST /sessions
    activate: POST /activate
    deactivate: POST /deactivate
    compact: POST /compact
    count: POST
    permissions.retrieve: GET
    reject: POST {}/reject
    rotate_secret: POST {}/rotate_secret
""")
# Ids that are not named after the singular, and plurals of which there is one (no id).
_IDS = _table("""
    alerts: id
    cases: id
    models: model
    versions: version
    checkpoints: fine_tuned_model_checkpoint
    admin_api_keys: key_id
    batches: batch_id
    file_batches: batch_id
    external_storage: external_storage_id
    federation_rules: workload_identity_federation_rule_id
    jobs: fine_tuning_job_id
    spend_alerts: alert_id
    templates: environment_template_id
    voice_consents: consent_id
""")
_NO_IDS = "graders service_tier_settings hosted_tool_permissions model_permissions".split()
# Here the first has no id, though elsewhere it has.
_NO_ID_BETWEEN = (
    "agents/automations agents/environments agents/sessions environments/templates "
    "responses/input_tokens translations/client_secrets"
).split()
_MOVED = _table("""
    agents/vaults: vaults
    organization/usage/costs: organization/costs
    webhooks/event_types: webhook_event_types
    webhooks: webhook_endpoints
""")
# What the official client sends as OpenAI-Beta below an attribute path.
_BETA = _table("""
    beta.agents.: agents=v1
    beta.assistants.: assistants=v2
    beta.chatkit.: chatkit_beta=v1
    beta.realtime.: assistants=v2
    beta.threads.: assistants=v2
    vector_stores.: assistants=v2
""")
_IN_HEADER = {"betas": "OpenAI-Beta", "idempotency_key": "Idempotency-Key"}  # arguments sent so
_INCLUDE_IN_QUERY = ("beta.threads.runs", "conversations.items")  # of their POSTs too
_FORMS = ("/audio/voices", "/videos")  # also without a file
_LEFT_OUT = (  # helpers that make many requests or none: see the README
    "connect for_result poll prepare prepare_directory unwrap upload upload_file_chunked "
    "verify_signature wait_for_processing"
).split()


def _template(path: tuple[str, ...]) -> tuple[str, str]:
    """The method and the URL path of an attribute path, with the names of ids in braces.

    >>> _template(("vector_stores", "files", "content"))
    ('GET', '/vector_stores/{vector_store_id}/files/{file_id}/content')
    """
    verb, place = path[-1], "/".join(name for name in path[:-1] if name not in ("beta", "admin"))
    if place == "organization/usage":  # reports, one a verb
        place, verb = place + "/" + verb, "list"
    for attribute, moved in _MOVED.items():
        if (place + "/").startswith(attribute + "/"):
            place = moved + place[len(attribute) :]
            break
    if place.startswith("organization/projects/") and place.endswith("/roles"):
        place = place[len("organization/") :]  # the one part of projects that is not below it
    segments = place.split("/")
    row = _VERBS.get(segments[-1] + "." + verb) or _VERBS.get(verb) or "POST {}/" + verb
    method, _, rest = row.partition(" ")
    url = ""
    for segment, following in zip(segments, segments[1:]):
        no_id = segment + "/" + following in _NO_ID_BETWEEN
        url += "/" + segment + ("" if no_id else _id_of(segment))
    return method, url + "/" + segments[-1] + rest.replace("{}", _id_of(segments[-1]))


def _id_of(segment: str) -> str:
    """'files' -> '/{file_id}', 'content' -> ''."""
    plural = segment.endswith("s") and segment not in _NO_IDS
    name = _IDS.get(segment, segment[:-1] + "_id" if plural else "")
    return "/{" + name + "}" if name else ""


def _resolve(path: tuple[str, ...], args: tuple[Any, ...], given: dict[str, Any]) -> _Call:
    """The call that `client.<path>(*args, **given)` stands for."""
    dotted, verb = ".".join(path), path[-1]
    if verb in _LEFT_OUT or verb.endswith(("_and_poll", "_and_stream", "_stream")):
        raise AttributeError("%s is left out of openai_mini: see its README" % dotted)
    method, url = _template(path)
    read = _read_as(url, verb, given)
    url = _filled(url, dotted, args, given)
    call = _Call(method, url, read, given, admin=path[0] == "admin")
    for prefix in _BETA:
        if dotted.startswith(prefix):
            call.headers["OpenAI-Beta"] = _BETA[prefix]
    for name in _IN_HEADER.keys() & given.keys():
        value = given.pop(name)
        call.headers[_IN_HEADER[name]] = value if isinstance(value, str) else ",".join(value)
    if dotted.startswith("beta.responses."):
        call.query["beta"] = "true"
    if method != "POST":
        call.query.update(given)
        return call
    if ".".join(path[:-1]) in _INCLUDE_IN_QUERY and "include" in given:
        call.query["include"] = given.pop("include")
    if verb == "stream":
        given["stream"] = True
    files = [pair for name, value in given.items() for pair in _files_in(name, value)]
    if files or url in _FORMS:
        fields = {name: value for name, value in given.items() if not _files_in(name, value)}
        call.form = _Form(_pairs_in(fields), [(name, _File(file)) for name, file in files])
    elif given or verb in _VERBS and not dotted.endswith("invocations.create"):
        call.json = _without_underscores(given) if dotted.startswith("beta.agents.") else given
    return call


def _read_as(url: str, verb: str, given: dict[str, Any]) -> str:
    if given.get("stream") or verb == "stream":
        return "stream"
    if verb == "retrieve_content":
        return "text"
    if url.endswith("/content") and "vector_stores" not in url or url == "/audio/speech":
        return "bytes"
    if url.startswith("/audio/tran"):
        return "json" if given.get("response_format") in (None, "json", "verbose_json") else "text"
    pages = verb.startswith("list") or url.startswith("/vector_stores/") and verb in ("search", "content")
    return "page" if pages or verb in ("activate", "deactivate") else "json"


def _filled(url: str, dotted: str, args: tuple[Any, ...], given: dict[str, Any]) -> str:
    """The URL path with its ids, which are taken out of `given`; the last may be in `args`."""
    names = re.findall(r"{(\w+)}", url)
    if len(args) > len(names[-1:]):
        raise TypeError("%s() takes one id at most by position, all else by name" % dotted)
    given.update(zip(names[-1:], args))
    for name in names:
        if name not in given:
            raise TypeError("%s() needs %s=" % (dotted, name))
        url = url.replace("{%s}" % name, _path_id(name, given.pop(name)))
    return url


def _files_in(name: str, value: Any) -> list[tuple[str, Any]]:
    """The (field, file) pairs that an argument stands for; none if it is no file or list of them."""
    if isinstance(value, list) and value and all(map(_is_file, value)):
        return [(name + "[]", item) for item in value]
    return [(name, value)] if _is_file(value) else []


def _is_file(value: Any) -> bool:
    if isinstance(value, tuple) and len(value) > 1:
        value = value[1]
    return isinstance(value, (bytes, bytearray)) or hasattr(value, "read") or hasattr(value, "__fspath__")


def _without_underscores(value: Any) -> Any:
    """`async` cannot be a Python name, so the agents' arguments say `async_`, at any depth."""
    if isinstance(value, list):
        return [_without_underscores(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {"async" if k == "async_" else k: _without_underscores(v) for k, v in value.items()}


def _unknown_name(where: str, name: str, known: Iterable[str]) -> AttributeError:
    import difflib

    near = difflib.get_close_matches(name, [one for one in known if one[0] != "_"], 1)
    return AttributeError("%s has no %r%s" % (where, name, ": did you mean %r?" % near[0] if near else ""))


class _Resource:
    """A part of the API in the official package's shape: `client.files.list()` and the like.

    An attribute is a part of it or a verb: create, list, retrieve, update, delete, content, ...
    """

    def __init__(self, client: Any, path: tuple[str, ...], raw: str = "") -> None:
        self._client, self._path, self._raw = client, path, raw

    def __getattr__(self, name: str) -> _Resource:
        if name[0] == "_":
            raise AttributeError(name)
        if name in ("with_raw_response", "with_streaming_response"):
            return _Resource(self._client, self._path, name)
        return _Resource(self._client, (*self._path, name), self._raw)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = {name: value for name, value in kwargs.items() if value is not NOT_GIVEN}
        schema, model = None, given.get("text_format") or given.get("response_format")
        if self._path[-1] == "parse":
            given.pop("text_format", None)
            if isinstance(model, type):
                schema, form = model, _schema_parts(model)
                if self._path[0] == "chat":
                    given["response_format"] = form
                else:
                    form = {"type": "json_schema", **form["json_schema"]}
                    given["text"] = {**(given.get("text") or {}), "format": form}
        call = _resolve(self._path, args, given)
        call.raw, call.kind = self._raw == "with_raw_response", call.read
        if self._raw == "with_streaming_response":
            call.read = "open"
        result = self._client._run(call)
        return _with_parsed(schema, result) if schema else result

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), "create", "list", "retrieve", "update", "delete"]

    def __repr__(self) -> str:
        return "<openai_mini client.%s>" % ".".join(self._path)


def _with_parsed(schema: Any, result: Result) -> Result:
    """`.parsed` of each message of a chat, `.output_parsed` of a Responses answer."""
    for choice in result.get("choices") or ():
        choice["message"]["parsed"] = _parsed(schema, Result(choices=[choice]))
    if "output" in result:
        result["output_parsed"] = _parsed(schema, Result(content=result.output_text))
    return result


class _Chat(_Resource):
    """`client.chat(messages)` answers a conversation; `client.chat.completions` is the official shape."""

    def __call__(  # type: ignore[override]
        self, messages: Any, *, model: str | None = None, schema: Any = None, **params: Any
    ) -> Result:
        """The answer to a conversation: `.content`, `.tool_calls`, `.finish_reason`, `.usage`.

        `messages`: a list of messages, or a str, which is one user message. `schema`: a JSON schema, or
        a class with `model_json_schema` and `model_validate_json`; the answer is then also `.parsed`.
        Any other argument goes out as it is. Raises OpenAIError.
        """
        body = {"messages": _messages(messages), "model": model}
        if schema is not None:
            body["response_format"] = _schema_parts(schema)
        result = self._client._post("/chat/completions", "object", body, params, model_for="chat", friendly=True)
        if schema is not None:
            result._parsed = _parsed(schema, result)
        return result  # type: ignore[no-any-return]


def __getattr__(name: str) -> Any:
    """`openai_mini.chat` and the like, of a client made for it from `openai_mini.api_key` and so on."""
    if name in _TOP_LEVEL or name == "chat":
        names = ("api_key", "base_url", "organization", "project", "timeout", "max_retries", "default_headers")
        given = {option: globals()[option] for option in names if globals().get(option) is not None}
        kept = globals().setdefault("_module_client", [None, None])
        if kept[0] != given:
            kept[:] = given, OpenAIMini(**given)
        return getattr(kept[1], name)
    raise _unknown_name("openai_mini", name, (*_TOP_LEVEL, *globals()))


# ------------------------------------------------------------------------------------------------
# Offline transport
#
# base_url="echo:" answers in the process, through the same parsers as any answer.


class _Echo:
    def send(self, request: _Request, limits: _Limits) -> Any:
        path = request.target.split("?")[0].strip("/").split("/")
        body = request.body
        asked = json.loads(body) if isinstance(body, bytes) and body[:1] == b"{" else {}
        kind, answer = self.answer(path, asked)
        return _EchoAnswer(kind, answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def answer(self, path: list[str], asked: dict[str, Any]) -> tuple[str, Any]:
        base = {"id": "echo-1", "created": 0, "model": asked.get("model") or "echo"}
        name = path[-1]
        if name == "completions":
            text = _last_text(asked.get("messages") or [])
            if asked.get("stream"):
                return "text/event-stream", _echo_stream(base, text)
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return "application/json", {**base, "object": "chat.completion", "choices": [choice], "usage": _echo_usage(text)}
        if name == "embeddings":
            given = asked.get("input")
            inputs = given if isinstance(given, list) else [given]
            data = [{"object": "embedding", "index": i, "embedding": _echo_vector(str(one))} for i, one in enumerate(inputs)]
            return "application/json", {**base, "object": "list", "data": data, "usage": _echo_usage("")}
        if name == "models":
            return "application/json", {"object": "list", "data": [{"id": "echo", "object": "model", "created": 0, "owned_by": "echo"}]}
        if name == "moderations":
            return "application/json", {**base, "results": [{"flagged": False, "categories": {"violence": False}, "category_scores": {"violence": 0.0}}]}
        if name in ("generations", "edits"):
            return "application/json", {"created": 0, "data": [{"b64_json": _ECHO_PNG}]}
        if name in ("speech", "content"):
            return "application/octet-stream", b"ID3echo"
        if name in ("transcriptions", "translations"):
            return "application/json", {"text": "echo"}
        if name == "files":
            return "application/json", {"id": "file-echo", "object": "file", "bytes": 0, "created_at": 0, "filename": "echo", "purpose": "fine-tune"}
        return "application/json", {**base, "object": "echo", "echo": asked}


class _EchoAnswer(io.BytesIO):
    def __init__(self, kind: str, body: bytes) -> None:
        super().__init__(body)
        self.status, self.headers = 200, {"content-type": kind, "x-request-id": "echo"}


_ECHO_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def _last_text(messages: list[Any]) -> str:
    content = next((m.get("content") for m in reversed(messages) if m.get("role") == "user"), "")
    if isinstance(content, list):
        content = " ".join(str(part.get("text") or "") for part in content)
    return str(content)


def _echo_usage(text: str) -> dict[str, int]:
    count = len(text.split())
    return {"prompt_tokens": count, "completion_tokens": count, "total_tokens": 2 * count}


def _echo_stream(base: dict[str, Any], text: str) -> bytes:
    words = re.findall(r"\s*\S+\s*$|\s*\S+|\s+", text)
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in words), {}]
    lines = []
    for number, delta in enumerate(deltas, 1):
        choice = {"index": 0, "delta": delta, "finish_reason": "stop" if number == len(deltas) else None}
        chunk = {**base, "object": "chat.completion.chunk", "choices": [choice]}
        if number == len(deltas):
            chunk["usage"] = _echo_usage(text)
        lines.append("data: %s\n\n" % json.dumps(chunk))
    return ("".join(lines) + "data: [DONE]\n\n").encode()


def _echo_vector(text: str) -> list[float]:
    """A unit vector that is the same for the same text."""
    import hashlib

    numbers = [byte - 127.5 for byte in hashlib.sha256(text.encode("utf-8", "replace")).digest()]
    length = sum(number * number for number in numbers) ** 0.5
    return [number / length for number in numbers]


def _fetch(url: str) -> bytes:
    """What is at a URL that an answer named; nothing of ours is sent there."""
    try:
        with requests.get(url, stream=True, timeout=(10, 600)) as answer:
            answer.raise_for_status()
            return b"".join(answer.iter_content(BLOCK_BYTES))
    except (OSError, ValueError) as error:
        problem = _wire_error(error, _Limits(10, 600, float("inf")))
    raise APIConnectionError("an image could not be fetched: " + problem._what)


# ------------------------------------------------------------------------------------------------
# Command line


def _parser() -> Any:
    import argparse

    parser = argparse.ArgumentParser(
        prog="openai-mini", description="Talk to the OpenAI API, or to any server that speaks it.",
        formatter_class=argparse.RawDescriptionHelpFormatter, epilog=_SAMPLES,
    )  # fmt: skip
    parser.add_argument("command", choices=list(_COMMANDS), help="chat is the default")
    parser.add_argument("words", nargs="*", help="a text, file or id; - or a pipe reads stdin")
    add = parser.add_argument
    add("-m", "--model")
    add("-s", "--system", help="what the model is told to be")
    add("-p", "--param", action="append", default=[], metavar="KEY=VALUE", help="any parameter")
    add("-a", "--attach", action="append", default=[], metavar="IMAGE", help="an image for chat")
    add("-o", "--output", metavar="PATH", help="where to write what is binary")
    add("--schema", metavar="FILE", help="a JSON schema for the answer of chat")
    add("--json", action="store_true", help="the whole answer as JSON")
    add("--no-stream", action="store_true")
    add("--base-url", metavar="URL")
    add("--offline", action="store_true", help="answer in the process: no key, no network")
    add("--verbose", action="store_true", help="a line for each attempt on stderr")
    add("--version", action="version", version="openai-mini " + __version__)
    return parser


_SAMPLES = """samples:
  openai-mini "Why is the sky blue?"
  cat notes.txt | openai-mini -s "Summarise in three lines" > summary.txt
  openai-mini chat -m gpt-5.4-mini -p temperature=0.2 -a photo.jpg "What is this?"
  openai-mini embed "a text" --json
  openai-mini speak "Good morning" -o morning.mp3
  openai-mini transcribe talk.mp3
  openai-mini request GET /models
  openai-mini --base-url http://localhost:11434/v1 -m llama3 "Hello"
"""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code: 0, 1 (an error of the API), 2 (usage), 130 (Ctrl-C)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    if not any(word in _COMMANDS for word in argv[:1]) and argv[:1] not in (["-h"], ["--help"], ["--version"]):
        argv.insert(0, "chat")
    asked = parser.parse_intermixed_args(argv)
    try:
        client = OpenAIMini(
            base_url="echo:" if asked.offline else asked.base_url, model=asked.model, debug=asked.verbose
        )
    except OpenAIError as error:
        if isinstance(error, AuthenticationError):
            error = OpenAIError("no API key: set OPENAI_API_KEY, name a server with --base-url, or try --offline")
        print("openai-mini: %s" % error, file=sys.stderr)
        return 2
    try:
        _COMMANDS[asked.command](client, asked, _params(asked))
        sys.stdout.flush()
        return 0
    except (OpenAIError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads on: be quiet about it
            return 0
        print("openai-mini: %s" % _plain(str(error), 1000), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _params(asked: Any) -> dict[str, Any]:
    params = {}
    for pair in asked.param:
        name, equals, value = pair.partition("=")
        if not equals:
            raise SystemExit("openai-mini: -p %s: KEY=VALUE is needed" % pair)
        try:
            params[name] = json.loads(value)
        except ValueError:
            params[name] = value
    return params


def _words(asked: Any, first: int = 0) -> str:
    words = asked.words[first:]
    if words == ["-"] or not words and not sys.stdin.isatty():
        return sys.stdin.read()
    piped = "" if sys.stdin.isatty() or asked.command != "chat" else _piped()
    return " ".join(words) + ("\n\n" + piped if piped else "")


def _piped() -> str:
    return ""


def _say(text: str, end: str = "\n") -> None:
    """To stdout; on a terminal without the control characters by which a server could command it."""
    if sys.stdout.isatty():
        text = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
    sys.stdout.write(text.encode(sys.stdout.encoding or "utf-8", "replace").decode(sys.stdout.encoding or "utf-8") + end)
    sys.stdout.flush()


def _tell(asked: Any, result: Any, text: Any) -> None:
    if asked.json:
        _say(json.dumps(result, ensure_ascii=False))
    else:
        _say(text if isinstance(text, str) else json.dumps(text, ensure_ascii=False))


def _bar(done: int, total: Any) -> None:
    if sys.stderr.isatty():
        share = " %3d %%" % (100 * done // total) if total else ""
        sys.stderr.write("\r%d bytes%s%s" % (done, share, "\n" if done == total else ""))


def _do_chat(client: OpenAIMini, asked: Any, params: Any) -> None:
    text = _words(asked)
    content: Any = text
    if asked.attach:
        content = [{"type": "text", "text": text}]
        for path in asked.attach:
            with open(path, "rb") as file:
                data = file.read()
            kind = mimetypes.guess_type(path)[0] or "image/png"
            url = "data:%s;base64,%s" % (kind, base64.b64encode(data).decode())
            content.append({"type": "image_url", "image_url": {"url": url}})
    messages = [{"role": "system", "content": asked.system}] if asked.system else []
    messages.append({"role": "user", "content": content})
    if asked.schema:
        with open(asked.schema, encoding="utf-8") as file:
            params["schema"] = json.load(file)
    if asked.no_stream or asked.json or asked.schema:
        result = client.chat(messages, **params)
        return _tell(asked, result, result.content or "")
    with client.stream_chat(messages, **params) as stream:
        for chunk in stream:
            if chunk.content:
                _say(chunk.content, "")
        if not stream.content.endswith("\n"):
            _say("")


def _do_embed(client: OpenAIMini, asked: Any, params: Any) -> None:
    vectors = client.embedding([_words(asked)], model=asked.model, **params)
    _say(json.dumps(vectors[0]))


def _do_image(client: OpenAIMini, asked: Any, params: Any) -> None:
    result = client.generate_image(_words(asked), **_modelled(asked, params))
    _tell(asked, result, "\n".join(result.save(asked.output or ".")))


def _do_speak(client: OpenAIMini, asked: Any, params: Any) -> None:
    to = asked.output or (sys.stdout.buffer if not sys.stdout.isatty() else "speech.mp3")
    client.text_to_speech(_words(asked), to=to, progress=_bar, **_modelled(asked, params))


def _do_transcribe(client: OpenAIMini, asked: Any, params: Any) -> None:
    do = client.translate_audio if asked.command == "translate" else client.transcribe_audio
    result = do(asked.words[0], **_modelled(asked, params))
    _tell(asked, result, result.text)


def _do_moderate(client: OpenAIMini, asked: Any, params: Any) -> None:
    result = client.moderation(_words(asked), **_modelled(asked, params))
    flagged = [name for name, value in (result.results[0].categories or {}).items() if value]
    _tell(asked, result, "flagged: " + ", ".join(flagged) if flagged else "not flagged")


def _do_upload(client: OpenAIMini, asked: Any, params: Any) -> None:
    result = client.upload_file(asked.words[0], progress=_bar, **params)
    _tell(asked, result, result.id)


def _do_download(client: OpenAIMini, asked: Any, params: Any) -> None:
    to = asked.output or (asked.words[1] if len(asked.words) > 1 else sys.stdout.buffer)
    client.download_file(asked.words[0], to, progress=_bar, **params)


def _do_models(client: OpenAIMini, asked: Any, params: Any) -> None:
    models = client.list_models()
    _tell(asked, models, "\n".join(models))


def _do_health(client: OpenAIMini, asked: Any, params: Any) -> None:
    health = client.health()
    _tell(asked, health, health)
    if not health["ok"]:
        raise OpenAIError("not healthy")


def _do_request(client: OpenAIMini, asked: Any, params: Any) -> None:
    method, path = asked.words[:2]
    result = client.request(method, path, json=params or None)
    if isinstance(result, bytes):
        sys.stdout.buffer.write(result)
    else:
        _tell(asked, result, result)


def _modelled(asked: Any, params: dict[str, Any]) -> dict[str, Any]:
    return {"model": asked.model, **params} if asked.model else params


_COMMANDS = {
    "chat": _do_chat, "embed": _do_embed, "image": _do_image, "speak": _do_speak,
    "transcribe": _do_transcribe, "translate": _do_transcribe, "moderate": _do_moderate,
    "upload": _do_upload, "download": _do_download, "models": _do_models, "health": _do_health,
    "request": _do_request,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
