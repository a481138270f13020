"""One file that talks to the OpenAI API and to every server that speaks it.

    from openai_mini import OpenAIMini
    client = OpenAIMini(base_url="echo:")  # offline; else OPENAI_API_KEY and api.openai.com
    print(client.chat("Hello").content)

Copy this file into a project or install it; it needs `requests`, `urllib3` and Python 3.8 or later.
Rooms, bottom up, each knowing only those above it: errors, server-sent events, circuit breaker,
request queue, results and streams, uploads, wire, client, resources, offline transport, command
line.

openai_mini 1.0.0. MIT licence: use, copy, change and pass on this file, with this notice; it comes
without warranty of any kind. Copyright (c) 2026 the openai_mini developers.
"""

from __future__ import annotations

import _thread
import io
import sys
import time

__version__ = "1.0.0"
__all__ = [
    "OpenAIMini", "OpenAI", "Client", "AzureOpenAI", "CircuitBreaker", "RequestQueue", "iter_sse",
    "main", "Stream", "StreamedResponse", "Result", "Page", "Transcript", "Binary", "Response",
    "ServerSentEvent", "HIGH", "NORMAL", "LOW", "NOT_GIVEN", "omit", "DEFAULT_MODELS",
    "OpenAIError", "APIError", "APIConnectionError", "APITimeoutError", "APIResponseError",
    "StreamInterruptedError", "APIStatusError", "BadRequestError", "AuthenticationError",
    "PermissionDeniedError", "NotFoundError", "ConflictError", "UnprocessableEntityError",
    "RateLimitError", "InternalServerError", "CircuitOpenError", "QueueFullError",
    "QueueTimeoutError", "ToolLoopError", "ValidationError",
]  # fmt: skip

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


_no_fork = _thread.RLock()  # held where a fork would leave the child half a module, or half a lock


class _Late:
    """A module that is imported when a name of it is first used; what is not needed is free."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        with _no_fork:
            value = getattr(__import__(self._name, fromlist=("*",)), attribute)
        self.__dict__[attribute] = value  # found there from now on, without this call
        return value


base64, codecs, collections, heapq = map(_Late, "base64 codecs collections heapq".split())
inspect, itertools, json = map(_Late, "inspect itertools json".split())
mimetypes, os, random = map(_Late, "mimetypes os random".split())
re, requests, socket, tempfile, zlib = map(_Late, "re requests socket tempfile zlib".split())
threading, url_parse, urllib3 = map(_Late, "threading urllib.parse urllib3".split())
weakref = _Late("weakref")

_fork_survivors: list[Any] = []  # a WeakSet, once something needs to know of forks


def _survive_fork(thing: Any) -> None:
    """Have `thing._after_fork()` called, before anything else, in each child that is forked."""
    if not _fork_survivors:
        import logging  # noqa: F401

        _fork_survivors.append(weakref.WeakSet())
        if hasattr(os, "register_at_fork"):
            # Hooks run in reverse: were logging's the later one, it would hold logging's lock while
            # this one waits for an import, which may want that lock.
            os.register_at_fork(
                before=lambda: _no_fork.acquire(), after_in_parent=lambda: _no_fork.release(),
                after_in_child=_after_fork,
            )  # fmt: skip
    _fork_survivors[0].add(thing)


def _after_fork() -> None:
    """In a child: the other threads are gone, and with them who held a lock or ran an import.

    A module whose import another thread had begun stays locked for ever in the child, so it is
    forgotten with all below it, and imported anew. What this thread itself imports goes on. A lock
    that is nobody's is forgotten too: a thread may just have been about to take it.
    """
    global _no_fork
    _no_fork = _thread.RLock()  # not all that fork, as uWSGI, have the hook called that takes it
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    for name, reference in list(locks.items()):
        owner = getattr(reference(), "owner", None)
        if owner != _thread.get_ident():
            locks.pop(name, None)
        if owner not in (None, _thread.get_ident()):
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
    status_code = retry_after = None  # type: Any
    _transient = _may_be_done = False  # the latter: the server may have billed the work

    def __init__(self, message: str = "", advice: str = "", **details: Any) -> None:
        super().__init__(" ".join(filter(None, (message, advice))))
        self._what, self._advice = message, advice
        self.__dict__.update(details)

    message = property(str)
    is_auth_error = property(lambda self: self.status_code in (401, 403))
    is_rate_limit_error = property(lambda self: isinstance(self, RateLimitError))
    is_transient_error = property(lambda self: self._transient)  # the same may well succeed later

    def _place(self, where: str, attempts: int, secrets: Any = (), response: Any = None) -> None:
        """Say where it happened and how often it was tried; take out the keys that were echoed, and
        the errors of libraries, in which the URL or the key may stand."""
        self.response = self.response or response
        self.request_id = self.request_id or getattr(self.response, "request_id", None)
        partial = self.partial  # what the model has said may well have a key as short as `ollama`
        for holder in filter(None, (self, self.response)):
            vars(holder).update(_without(secrets, vars(holder)))
        if partial is not None:
            self.partial = _without([secret for secret in secrets if len(secret) > 11], partial)
        if not str(self).startswith(where):
            tried = ", after %d attempt%s" % (attempts, "s"[attempts == 1 :])
            told = (where, self._what.rstrip(". "), tried if isinstance(self, APIError) else "")
            self.args = (_plain("%s: %s%s. " % told + self._advice, 2000),)
        self.__cause__ = self.__context__ = None


class APIError(OpenAIError):
    """The call could not be made or answered.

    `.code`, `.type`, `.param` are the server's words, `.body` its inner error object;
    `.request_id`, `.status_code`, `.response` of the answer; `.retry_after`: seconds to wait.
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
    """The circuit breaker is open, nothing was sent. `.retry_after`: seconds until a probe goes."""


class QueueFullError(OpenAIError):
    """More callers wait for a slot than the queue takes."""


class QueueTimeoutError(OpenAIError):
    """No slot came free in time."""


class ToolLoopError(OpenAIError):
    """The model went on calling tools; `.messages` is the conversation so far."""


class ValidationError(OpenAIError, ValueError):
    """An argument is wrong; nothing was sent."""


_STATUSES: dict[int, tuple[type[APIStatusError], str, str]] = {  # what happened, what to do next
    300: (APIStatusError, "a redirect that is not followed", "Set base_url= to where it leads."),
    400: (BadRequestError, "the request was refused", ""),
    401: (AuthenticationError, "the API key was not accepted", "Check api_key= or OPENAI_API_KEY."),
    403: (PermissionDeniedError, "permission denied", "Check the key, organization= and project=."),
    404: (NotFoundError, "not found", "Check base_url= and the path."),
    408: (APIStatusError, "the server gave up waiting", "Try again later."),
    409: (ConflictError, "conflict", "Read the object again before you change it."),
    413: (APIStatusError, "the request is too large", "Send less at once."),
    422: (UnprocessableEntityError, "the request was refused", ""),
    429: (RateLimitError, "rate limit reached", "Try again later, or lower requests_per_minute=."),
    500: (InternalServerError, "the server failed", "The trouble is the server's: try later."),
}
# An error in a stream or under status 200 has no status of its own: its code or type says it.
_ERROR_CODES = {
    "invalid_request_error": 400, "invalid_prompt": 400, "context_length_exceeded": 400,
    "content_filter": 400, "authentication_error": 401, "invalid_api_key": 401,
    "permission_error": 403, "permission_denied": 403, "not_found_error": 404,
    "model_not_found": 404, "rate_limit_error": 429, "rate_limit_exceeded": 429,
    "insufficient_quota": 429, "requests": 429, "tokens": 429, "overloaded_error": 529,
}  # fmt: skip
_NO_MODEL = "model.*(exist|found|name)|(unknown|invalid) model"  # in words of which server ever
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
    title = re.search(r"<title[^<>]*>([^<]{1,500})", text[:100_000], re.I)
    words = title[1] if title else re.sub("<[^>]*>?", " ", text[:9999])
    return "an HTML page: " + _plain(words, 200)


def _said(value: Any) -> str:
    """The words of an error, in any of the shapes that servers use.

    >>> _said({"detail": [{"loc": ["body", "n"], "msg": "too many"}]})
    'body.n: too many'
    """
    if isinstance(value, list):
        return "; ".join(map(_said, value[:5]))
    if not isinstance(value, dict):
        return "" if value is None else _shown(str(value))
    names = ("message", "msg", "detail", "errors", "error")
    words = next((value[name] for name in names if value.get(name) not in (None, "", True)), None)
    text = _said(words) or (str(dict(value)) if value else "")
    place = value.get("loc")  # FastAPI says where in the request
    return "%s: %s" % (".".join(map(str, place)), text) if isinstance(place, list) else text


def _error_object(data: Any) -> tuple[str, Any]:
    """The words and the inner error object in what a server sent with an error.

    >>> _error_object({"error": {"message": "no", "code": "x"}})
    ('no', {'message': 'no', 'code': 'x'})
    """
    data = data[0] if isinstance(data, list) and data else data
    found = map((data if isinstance(data, dict) else {}).get, ("error", "errors", "detail"))
    inner = next((one for one in found if one and isinstance(one, (str, dict, list))), data)
    return _said(data if isinstance(inner, str) else inner), inner


def _status_error(response: Response, said: str, body: Any) -> APIStatusError:
    """The error for an answer with an error status, or with an error in it."""
    inner = body if isinstance(body, dict) else {}
    code, kind, status = inner.get("code"), inner.get("type"), response.status_code
    if status < 300:
        status = _status_of(code, kind, inner.get("status"))
    known = 300 if status < 400 else min(status, 500)
    cls, name, advice = _STATUSES.get(known, (APIStatusError, "the request was refused", ""))
    retry_after, spent = _retry_after(response.headers), "insufficient_quota" in (code, kind)
    if spent:
        advice = "The quota is used up: waiting does not help, look at the account's billing."
    elif code == "model_not_found" or status in (400, 404) and re.search(_NO_MODEL, said, re.I):
        advice = "list_models() tells which models there are."
    elif status == 429 and retry_after is not None:
        advice = "Try again in %.3g s, or lower requests_per_minute=." % retry_after
    asked = (response.headers.get("x-should-retry") or "").strip().lower()
    transient = not spent and (status in (408, 409, 429) or status >= 500)
    return cls(
        "%d %s%s" % (status, name, ": " + _plain(said) if said else ""), advice,
        code=code, type=kind, param=inner.get("param"), body=body, response=response,
        status_code=status, retry_after=retry_after, request_id=response.request_id,
        _transient=asked == "true" if asked in ("true", "false") else transient,
    )  # fmt: skip


def _status_of(*words: Any) -> int:
    """The status that an error's code or type stands for; 500 where they say nothing known."""
    for word in map(str, words):
        if word in _ERROR_CODES or re.fullmatch("[45][0-9][0-9]", word):
            return _ERROR_CODES.get(word) or int(word)
    return 500


def _retry_after(headers: Any) -> float | None:
    """The seconds that an answer asks to wait (RFC 9110, section 10.2.3), or None."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = (headers.get(name) or "").strip()[:64]
        if value.isascii() and value.replace(".", "", 1).isdigit():
            return float(value) * unit
    from email.utils import mktime_tz, parsedate_tz

    try:
        return max(0.0, mktime_tz(parsedate_tz(value)) - time.time())  # type: ignore[arg-type]
    except (TypeError, ValueError, LookupError, OverflowError):
        return None  # a header that nobody can read asks for nothing


def _without(secrets: Iterable[str], value: Any, depth: int = 0) -> Any:
    """`value` without the keys in it, as servers echo them; nothing below 99 levels of JSON."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "[key]").replace(secret.replace("/", "\\/"), "[key]")
    elif isinstance(value, bytes):
        return _without(secrets, value.decode("utf-8", "replace")).encode("utf-8", "replace")
    elif hasattr(value, "items") and depth < 99:  # of JSON, or headers
        clean = [(_without(secrets, k), _without(secrets, v, depth + 1)) for k, v in value.items()]
        return type(value)(clean)
    elif isinstance(value, (list, tuple, dict)):
        return type(value)(_without(secrets, item, depth + 1) for item in value if depth < 99)
    return value


def _check_number(name: str, value: Any, least: float, most: float = float("inf")) -> None:
    """Refuse what is no number from `least` to `most`; a whole one where `least` is an int."""
    kind = int if isinstance(least, int) else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
        limit = "from %g to %g" % (least, most) if most < float("inf") else "of at least %g" % least
        what = "a whole number" if kind is int else "a number"
        raise ValidationError("%s= is %r: %s %s is needed" % (name, value, what, limit))


# ------------------------------------------------------------------------------------------------
# Server-sent events
#
# Bytes in, events out, with no knowledge of HTTP. The rules are the standard's:
# https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation


class ServerSentEvent:
    """One event: `.event` (its type), `.data`, `.id` (the last one set), `.retry` (ms, or None)."""

    event, data, id = "message", "", ""  # until set: most events have no more than data
    retry: int | None = None

    def __repr__(self) -> str:
        return "ServerSentEvent(event=%r, data=%r)" % (self.event, self.data)


MAX_EVENT_BYTES = 16 << 20  # an image of a stream, as base64, has 4 MB


def iter_sse(chunks: Iterable[bytes], max_event_bytes: int = MAX_EVENT_BYTES) -> Iterator[Any]:
    """Yield the events in `chunks` (bytes, cut anywhere), each when its blank line has come.

    As the standard has it: the id persists, a block without data is no event, an event without
    its blank line at the end is dropped. Time is linear in the bytes.

    >>> [event.data for event in iter_sse([b"data: a", b"b\\n\\ndata: c"])]
    ['ab']

    Raises APIResponseError where an event is larger than `max_event_bytes`.
    """
    block = _Block(max_event_bytes)
    for text in _sse_lines(chunks, max_event_bytes):
        yield from block.events(text)


class _Block:
    """The lines of an event as far as they have come. `last_id` outlives it, as the standard has
    it; `size` counts its bytes, without comments, which are part of no event."""

    def __init__(self, max_event_bytes: int) -> None:
        self.limit, self.last_id = max_event_bytes, ""
        self._begin()

    def _begin(self) -> None:
        self.size = 0
        self.data: list[str] = []
        self.fields: dict[str, Any] = {}  # its name and its retry

    def events(self, text: str) -> Iterator[ServerSentEvent]:
        """Yield the events that end in `text`, which is lines ended by LF."""
        *ended, unfinished = text.split("\n\n")
        for lines in ended:
            one_line = lines[:6] == "data: " and "\n" not in lines  # as of by far the most
            if one_line and not self.size and len(lines) * 4 <= self.limit:  # bytes at the most
                event = ServerSentEvent()
                event.data = lines[6:]
                if self.last_id:
                    event.id = self.last_id
                yield event
            else:
                yield from filter(None, map(self._take, [*lines.split("\n"), ""]))
        yield from filter(None, map(self._take, unfinished.split("\n")[:-1]))

    def _take(self, line: str) -> ServerSentEvent | None:
        """Take a line; a blank one ends the event, and returns it where there is data."""
        if line and line[0] != ":":
            self.size += len(line) if line.isascii() else len(line.encode())
            if self.size > self.limit:
                raise _event_too_large(self.limit)
            self._take_field(*line.partition(":")[::2])
        if line or not self.size:
            return None
        event, data, fields = ServerSentEvent(), self.data, self.fields
        self._begin()
        vars(event).update(fields, data="\n".join(data), id=self.last_id)
        return event if data else None

    def _take_field(self, field: str, value: str) -> None:
        value = value[1:] if value[:1] == " " else value
        if field == "data":
            self.data.append(value)
        elif field == "event":
            self.fields["event"] = value or "message"
        elif field == "id" and "\0" not in value:
            self.last_id = value
        elif field == "retry" and re.fullmatch("[0-9]{1,640}", value):
            self.fields["retry"] = int(value)  # which may refuse more digits


def _sse_lines(chunks: Iterable[bytes], max_line_bytes: int) -> Iterator[str]:
    """Yield the lines in `chunks`, all whole ones that are there, as a text of lines ended by LF.

    In the chunks LF, CR or CRLF ends a line, and nothing else. Decoded at once: a line end is never
    part of another character in UTF-8, broken or not.
    """
    partial = bytearray()  # the unfinished line: grows in place, so that no byte is copied twice
    after_cr, at_start = False, True
    for chunk in filter(None, map(bytes, chunks)):
        if after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]  # the second half of a CRLF: the line has ended at the first
        after_cr = chunk[-1:] == b"\r"
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = chunk.rfind(b"\n") + 1
        if end:
            partial += chunk[:end]
            text = partial.decode("utf-8", "replace")
            if at_start and text[:1] == "\ufeff":  # a byte order mark
                text = text[1:]
            at_start, partial = False, bytearray()
            yield text
        partial += chunk[end:]
        if len(partial) > max_line_bytes:
            raise _event_too_large(max_line_bytes)
    if partial:  # dispatches no event, but ends a text
        yield partial.decode("utf-8", "replace")


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
# What changes the state goes through one mailbox, what on_change is told through another: nothing
# is held while on_change or the caller's work runs. Outcomes are counted in buckets: constant
# memory, and one may count a bucket too long. Each opening begins a generation, and what a call of
# an older one comes to counts for nothing. This room knows errors, and nothing of HTTP.

_BUCKETS = 10  # of a window


class _Mailbox:
    """Does small pieces of work one at a time, in the order in which they were posted.

    A thread that finds another at it leaves its work to that one, who does it before it goes. So
    post() blocks nobody: not even a finalizer that the garbage collector runs in the very thread
    that is at work here, where a lock would wait for itself.

    A Ctrl-C may come anywhere in the main thread. Work that it ends is done once more by whoever
    posts next, and has to bear that.
    """

    def __init__(self, then: Callable[[], Any] | None = None) -> None:
        self._at_work: Any = _thread.RLock()  # knows its owner, also where a Ctrl-C lost count
        self._posted, self._then = collections.deque(), then

    def post(self, work: Callable[..., Any], *args: Any) -> None:
        """Have `work(*args)` done; `then()` is called by who did it, when all is done."""
        self._posted.append((work, args))
        if self._at_work._is_owned():
            return  # a finalizer's, out of the work of this thread, which goes on with it
        try:
            try:
                self._do_all()
            except BaseException:
                self._stop()
                raise
        except BaseException:  # twice, for a Ctrl-C that came in the first
            self._stop()
            raise

    def _do_all(self) -> None:
        posted, at_work = self._posted, self._at_work
        while posted and at_work.acquire(False):  # again, for what came at the end
            while posted:
                work, args = posted[0]
                try:
                    work(*args)
                except Exception:
                    posted.popleft()  # it would raise again
                    raise
                posted.popleft()
            at_work.release()
            if self._then:
                self._then()

    def _stop(self) -> None:
        if self._at_work._is_owned():
            self._at_work.release()

    def ask(self, work: Callable[..., Any], *args: Any) -> Any:
        """What `work(*args)` returns, done in its turn. Not for finalizers: it waits."""
        answers: list[Any] = []
        answered = _thread.allocate_lock()
        answered.acquire()
        try:
            self.post(self._answer, answers, answered, work, args)
            while not answered.acquire(True, 1.0):
                self.post(int)  # nothing: does what is left, where a Ctrl-C ended who was at it
        except BaseException:
            answers.append(None)  # nobody asks any more
            raise
        return answers[0]

    def _answer(self, answers: list[Any], answered: Any, work: Any, args: Any) -> None:
        if not answers:
            answers.append(work(*args))
        if answered.locked():
            answered.release()


class _Leave:
    """To make a call, given in a generation. An _Attempt is one too. A probe's place is free again
    when its leave is dropped, by whatever: were it lost, the circuit would never close again."""

    generation: int | None = None


class CircuitBreaker:
    """Stops calls to a service that fails, and lets single probes find out when it is back.

    Closed until, among the outcomes of the last `window` seconds, at least `failure_threshold` are
    failures and they are at least `failure_rate` of all. Then open for `reset_timeout` seconds,
    then half open: one probe at a time; `success_threshold` successes in a row close it, one
    failure opens it again. May be shared between threads and clients.

    >>> breaker = CircuitBreaker(failure_threshold=1)
    >>> breaker.call(len, "ok"), breaker.state
    (2, 'closed')

    `on_change(old, new)` is told of each change of state; what it raises is logged. `clock` returns
    seconds. By pickle goes how it is set up; state and counts begin anew on the other side.
    """

    def __init__(
        self, failure_threshold: int = 5, failure_rate: float = 0.5, window: float = 60.0,
        reset_timeout: float = 30.0, success_threshold: int = 2,
        on_change: Callable[[str, str], Any] | None = None, clock: Any = time.monotonic,
    ) -> None:  # fmt: skip
        _check_number("failure_threshold", failure_threshold, 1)
        _check_number("failure_rate", failure_rate, 0.0, 1)
        _check_number("window", window, 1e-6)
        _check_number("reset_timeout", reset_timeout, 0.0)
        _check_number("success_threshold", success_threshold, 1)
        self.failure_threshold, self.success_threshold = failure_threshold, success_threshold
        self.failure_rate, self.window, self.reset_timeout = failure_rate, window, reset_timeout
        self.on_change, self.clock = on_change, clock
        self._state, self._opened_at = "closed", 0.0
        self.opened = 0  # how often it has opened: the number of the generation as well
        self._successes = 0  # in a row, while half open
        self._buckets: list[list[int]] = []  # [number of the bucket, failures, successes]
        self._after_fork()
        _survive_fork(self)

    def _after_fork(self) -> None:
        self._changes, self._news = collections.deque(), _Mailbox()  # what on_change is told of
        self._mailbox = _Mailbox(self._pass_on_news)
        self._local = threading.local()  # .allowed: the leave of the calls this thread may make
        self._probe: Any = None  # a weak reference to the leave of the one under way
        self._allowed_last: Any = None  # what allow() gave lives until it is reported

    def __reduce__(self) -> Any:
        setup = (self.failure_threshold, self.failure_rate, self.window, self.reset_timeout)
        return type(self), (*setup, self.success_threshold, self.on_change, self.clock)

    @property
    def state(self) -> str:
        """'closed', 'open' or 'half_open'."""
        return self._mailbox.ask(self._state_now)  # type: ignore[no-any-return]

    @property
    def retry_after(self) -> float:
        """Seconds until an open circuit lets a probe by; 0.0 in the other states."""
        left = self._opened_at + self.reset_timeout - self.clock()
        return max(0.0, left) if self._state == "open" else 0.0

    def allow(self) -> bool:
        """Whether a call may go now. Each True is owed one success(), failure() or release()."""
        leave = _Leave()
        if self._admit(leave):
            self._allowed_last = leave  # by whichever thread
            self._allowed().append(leave)
        return leave.generation is not None

    def success(self) -> None:
        """The call that was allowed succeeded."""
        self._report(True)

    def failure(self) -> None:
        """The call that was allowed failed."""
        self._report(False)

    def release(self) -> None:
        """The call that was allowed came to nothing: it counts as neither."""
        self._report(None)

    def reset(self) -> None:
        """Close the circuit and forget all outcomes."""
        self._mailbox.ask(self._turn, "closed")

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What `function(*args, **kwargs)` returns, or a CircuitOpenError, with nothing called."""
        leave = _Leave()
        if not self._admit(leave):
            raise self._refusal()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            self._settle(leave.generation, _speaks_for_service(error))
            raise
        self._settle(leave.generation, True)
        return result

    def __enter__(self) -> CircuitBreaker:
        if not self.allow():
            raise self._refusal()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._report(_speaks_for_service(error))

    def _refusal(self) -> CircuitOpenError:
        what, wait_s = "the circuit is open, as the service has failed too often", self.retry_after
        advice = "Nothing was sent. A probe may go in %.3g s." % wait_s
        return CircuitOpenError(what, advice, retry_after=wait_s)

    def _allowed(self) -> Any:
        return self._local.__dict__.setdefault("allowed", collections.deque(maxlen=100))

    def _report(self, succeeded: bool | None) -> None:
        """Count the call that this thread was allowed last. Where it was allowed none, another was,
        and the present generation is the best guess; the client keeps it with the call instead."""
        allowed = self._allowed()
        self._settle(allowed.pop().generation if allowed else self.opened, succeeded)

    def _admit(self, leave: Any) -> bool:
        """Whether a call may go; `leave` then has its generation."""
        generation = self.opened
        if self._state == "closed":  # read second: had it opened in between, it would say so
            leave.generation = generation
            return True
        if self._state == "open":
            self._mailbox.ask(self._state_now)  # on_change, which may raise, is told of it first
        return self._mailbox.ask(self._let_go, leave)  # type: ignore[no-any-return]

    def _settle(self, generation: int | None, succeeded: bool | None) -> None:
        """Count what a call came to; None is neither success nor failure. Safe in a finalizer."""
        self._mailbox.post(self._count, generation, succeeded)

    def _pass_on_news(self) -> None:
        if self._changes:
            self._news.post(self._tell)

    def _tell(self) -> None:
        while self._changes:
            change = self._changes.popleft()
            try:
                self.on_change(*change)  # type: ignore[misc]
            except Exception:  # a listener's trouble is not the caller's
                _logger().exception("on_change%r raised", change)

    # What follows runs in the mailbox: in one thread at a time.

    def _state_now(self) -> str:
        if self._state == "open" and self.clock() - self._opened_at >= self.reset_timeout:
            self._turn("half_open")
        return self._state

    def _let_go(self, leave: Any) -> bool:
        state = self._state_now()
        probe = self._probe and self._probe()
        if state == "open" or probe not in (None, leave):
            return False
        leave.generation = self.opened
        self._probe = weakref.ref(leave) if state == "half_open" else None
        return True

    def _count(self, generation: int, succeeded: bool | None) -> None:
        if generation != self.opened or self._state == "open":
            return
        if self._state == "half_open":
            self._probe = None
            self._successes += succeeded is True
            if succeeded is False:
                self._turn("open")
            elif self._successes >= self.success_threshold:
                self._turn("closed")
        elif succeeded is not None and self._failing(succeeded):
            self._turn("open")

    def _failing(self, succeeded: bool) -> bool:
        """Count an outcome in its bucket; whether it is the failure that opens the circuit."""
        number = int(self.clock() / self.window * _BUCKETS)
        if not self._buckets or self._buckets[-1][0] != number:
            recent = [bucket for bucket in self._buckets if bucket[0] >= number - _BUCKETS]
            self._buckets = [*recent, [number, 0, 0]]
        self._buckets[-1][1 + succeeded] += 1
        if succeeded:
            return False
        _, failures, successes = map(sum, zip(*self._buckets))
        rate = failures / (failures + successes)  # not the product: 0.1 * 30 is more than 3
        return failures >= self.failure_threshold and rate >= self.failure_rate

    def _turn(self, state: str) -> None:
        """Change the state: the only place that does."""
        if state == "open":
            self._opened_at = self.clock()
            self.opened += 1
        if self.on_change and state != self._state:
            self._changes.append((self._state, state))
        self._state, self._probe, self._successes, self._buckets = state, None, 0, []


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
# changes the queue goes through its mailbox; who waits, waits for the lock of its own slot:
#
# waiting  -> granted   whoever frees the way grants the slot and releases its lock
# waiting  -> refused   at once, where too many wait; a worker's, where no job waits for it
# waiting  -> released  its caller gave up (a timeout, Ctrl-C)
# granted  -> released  given back: by release(), by leaving `with`, or by the garbage collector
#
# A job stands in a line like a caller. In its turn it goes to a worker thread, with a slot that the
# job's first attempt takes over. Where only time is in the way (a pause, the limit per minute), the
# first in line sleeps until then on behalf of all. This room knows errors, and nothing of HTTP.

HIGH, NORMAL, LOW = 0, 1, 2


class _Slot:
    """The right to one attempt under way: a context manager. release() may come at any time."""

    state = "new"
    wakes_at = 0.0  # to see whether time is still in the way, if it is the first in line
    job: Any = None  # that it is granted for, if it is a worker's: its entry in the line
    number = -1  # of the job that it is for
    is_owed = False  # another one to that job, as its attempt is to be made again
    may_be_refused = True  # not within a job, which has been taken on

    def __init__(self, queue: RequestQueue, priority: int, timeout: float | None) -> None:
        self.queue, self.priority = queue, priority
        self.timeout = float("inf") if timeout is None else timeout

    def acquire(self) -> _Slot:
        """Wait for the turn. Raises QueueFullError, and QueueTimeoutError after `timeout` s."""
        has_one = self.state == "granted" and id(self) in self.queue._held
        if not has_one and not self.wait(self.queue._arrive):
            advice = "Raise queue_size=, or send less at once."
            raise QueueFullError("%d callers wait for a slot already" % self.queue.size, advice)
        return self

    def wait(self, arrive: Callable[[_Slot], None]) -> bool:
        """Arrive and wait; whether the slot was granted."""
        self.state, self.lock = "waiting", _thread.allocate_lock()
        self.lock.acquire()  # wake() releases it
        try:
            self.queue._mailbox.post(arrive, self)
            if self.state == "waiting":
                self._wait_until_woken(self.queue._clock)
        except BaseException:
            self.release()  # also where the turn came in the meantime
            raise
        return self.state == "granted"

    def _wait_until_woken(self, clock: Any) -> None:
        end = clock() + self.timeout
        while self.state == "waiting":
            now = clock()
            if now >= end:
                raise self._timeout_error(self.queue._opens_at - now)
            until = min(end, self.wakes_at) if self.wakes_at > now else end
            # By the second: Python loses a Ctrl-C that comes just before a thread begins to wait.
            self.lock.acquire(True, min(until - now, 1.0))
            self.queue._mailbox.post(self.queue._grant)

    def _timeout_error(self, pause_s: float) -> QueueTimeoutError:
        what = "no slot came free in %.3g s" % self.timeout
        advice = "Raise max_concurrent_requests= or the timeout, or send less at once."
        if pause_s > 0:
            what = "nothing may start in the next %.3g s" % pause_s
            advice = "A server has asked for that, or requests_per_minute=. Raise the timeout."
        return QueueTimeoutError(what, advice, retry_after=max(pause_s, 0.0) or None)

    def wake(self, state: str) -> None:
        """Set the state and wake who waits, and sees what it is by then. Runs in the mailbox."""
        self.state = state
        if self.lock.locked():
            self.lock.release()

    def release(self) -> None:
        """Give the slot back, once; the first in line gets it."""
        if self.state in ("waiting", "granted"):
            self.queue._mailbox.post(self.queue._leave, self)
            self.state = "released"

    def __exit__(self, *exc_info: Any) -> None:
        self.release()

    __enter__, __del__ = acquire, release


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
        self._clock, self._opens_at = time.monotonic, 0.0  # until then nothing starts
        self._starts: Any = collections.deque(maxlen=per_minute or 0)
        self._after_fork()
        _survive_fork(self)

    def _after_fork(self) -> None:
        """Begin with nobody here: what was granted before is the parent's."""
        self._mailbox, self._local = _Mailbox(), threading.local()
        self._held: set[int] = set()  # ids of slots: one that is dropped must not live on here
        self._callers: list[Any] = []  # a heap of (priority, arrival, slot)
        self._jobs: list[Any] = []  # a heap of (priority, arrival, future, work)
        self._idle: list[_Slot] = []  # of workers that wait for a job
        self._numbers, self._workers = itertools.count(), 0
        self._granting: Any = None  # (slot, its entry or that of a job), until that has left
        self._under_way: set[int] = set()  # numbers of jobs
        self._owed: set[int] = set()  # of those that have no slot, as they wait to try again

    def __reduce__(self) -> Any:
        return type(self), (self.max_concurrent, self.size, self.per_minute)

    running = property(lambda self: len(self._held), doc="How many slots are taken.")
    waiting = property(lambda self: len(self._callers) + len(self._jobs), doc="How many wait.")

    def slot(self, priority: int = NORMAL, timeout: float | None = None) -> _Slot:
        """A context manager that waits for a slot, `timeout` seconds at most, and gives it back.

        In a job, the first is the slot that the job has already."""
        if priority.__class__ is not int:  # as by far the most are
            _check_number("priority", priority, float("-inf"))
        local = self._local.__dict__
        slot: _Slot = local.pop("slot", None) or _Slot(self, priority, timeout)
        if local:
            slot.may_be_refused, slot.number = False, local["number"]
        return slot

    def pause(self, seconds: float) -> None:
        """Start nothing for `seconds`, for whomever. What runs already goes on."""
        self._mailbox.post(self._pause_until, self._clock() + seconds)

    def submit(self, function: Any, *args: Any, priority: int = NORMAL, **kw: Any) -> Any:
        """Have `function(*args, **kw)` called by a daemon thread; returns its Future.

        It begins when a slot is granted, and however many wait, none times out or is refused. From
        within a job it is called there and then: a job that waits for another cannot wait for ever.
        """
        from concurrent.futures import Future

        _check_number("priority", priority, float("-inf"))
        future: Any = Future()
        job = (priority, next(self._numbers), future, lambda: function(*args, **kw))
        if "is_worker" in self._local.__dict__:
            self._do(job)
        else:
            self._mailbox.post(self._add_job, job)
            future.add_done_callback(self._forget)
        return future

    def map(self, function: Any, inputs: Any, *, priority: int = NORMAL, **kw: Any) -> _Map:
        """`function(input, **kw)` for each of `inputs`, results in the order of the inputs.

        At most `size` inputs are read ahead. Where a call raises, that is raised in its place, and
        the next one goes on behind it; what the inputs raise is raised at once, and loses nothing.
        """
        kw["priority"] = priority
        return _Map(lambda value: self.submit(function, value, **kw), inputs, self.size)

    def _forget(self, future: Any) -> None:
        if future.cancelled():
            self._mailbox.post(self._leave, future)

    # What follows runs in the mailbox: in one thread at a time, and perhaps twice. So who is
    # granted a slot leaves the line after that; who stands in it twice is granted one once.

    def _arrive(self, slot: _Slot) -> None:
        if slot.state != "waiting":
            return None
        if id(slot) in self._held:  # a Ctrl-C came before it was told so
            return self._start(slot)
        free = len(self._held) < self.max_concurrent and not self._callers and not self._jobs
        if free and self._clock() >= self._opens_at:
            return self._start(slot)  # by far the most: without standing in line
        heapq.heappush(self._callers, (slot.priority, next(self._numbers), slot))
        self._grant()
        if slot.state == "waiting" and len(self._callers) > self.size and slot.may_be_refused:
            self._leave(slot)
            slot.wake("refused")

    def _leave(self, item: Any) -> None:
        """A slot comes back, or a caller gave up, or a job was cancelled."""
        if id(item) in self._held:
            self._held.remove(id(item))
            if item.is_owed and item.number in self._under_way:
                self._owed.add(item.number)
            if not (self._callers or self._jobs or self._idle):
                return  # nobody waits, as mostly
        else:
            for line in (self._callers, self._jobs):
                line[:] = [entry for entry in line if entry[2] is not item]
                heapq.heapify(line)
        self._grant()

    def _add_job(self, job: Any) -> None:
        if self._workers < self.max_concurrent:
            try:
                threading.Thread(target=self._work, name="openai_mini", daemon=True).start()
                self._workers += 1
            except RuntimeError as error:  # no thread is left: those that run do the job
                if not self._workers:
                    return job[2].set_exception(QueueFullError(str(error)))  # type: ignore
        heapq.heappush(self._jobs, job)
        self._grant()

    def _offer(self, slot: _Slot) -> None:
        """A worker is free for a job."""
        if slot.state == "waiting" and slot not in self._idle:
            self._idle.append(slot)
        self._grant()

    def _grant(self) -> None:
        while self._grant_first():
            pass
        while len(self._idle) > len(self._jobs):
            self._idle[-1].wake("refused")
            self._idle.pop()
            self._workers -= 1

    def _grant_first(self) -> bool:
        """Grant a slot to the first in line, if there is one to grant and nothing is in the way.

        A job has to leave one for each that is owed one. Else streams, which keep theirs, could
        have all, while who reads them waits for the job that is first."""
        if self._granting:
            self._finish_grant()
        free = self.max_concurrent - len(self._held)
        if not (self._callers or self._jobs) or free <= 0:
            return False
        jobs = self._jobs if self._idle and free > len(self._owed) else []
        lines = [line for line in (self._callers, jobs) if line]
        if not lines:
            return False
        line = min(lines)
        slot = self._idle[-1] if line is jobs else line[0][2]
        if self._clock() < self._opens_at:
            if slot.wakes_at != self._opens_at:
                slot.wakes_at = self._opens_at
                slot.wake(slot.state)
            return False
        self._granting = slot, line[0]
        self._finish_grant()
        return True

    def _finish_grant(self) -> None:
        slot, first = self._granting
        is_worker = slot in self._idle
        if slot.state == "waiting":
            if is_worker:
                slot.job, slot.number = first, first[1]
                self._under_way.add(slot.number)
            self._start(slot)
        if is_worker:
            self._idle.remove(slot)
            self._workers -= slot.state == "refused"
        for line in (self._callers, self._jobs) if slot.state != "refused" else ():
            while line and line[0] is first:
                heapq.heappop(line)
        self._granting = None

    def _end_job(self, number: int) -> None:
        self._under_way.discard(number)
        self._owed.discard(number)
        self._grant()

    def _start(self, slot: _Slot) -> None:
        self._held.add(id(slot))
        if self._owed:
            self._owed.discard(slot.number)
        slot.wake("granted")
        if self.per_minute:
            self._starts.append(self._clock())
            if len(self._starts) == self.per_minute:
                self._pause_until(self._starts[0] + 60.0)

    def _pause_until(self, moment: float) -> None:
        self._opens_at = max(self._opens_at, moment)

    # What follows runs in the worker threads.

    def _work(self) -> None:
        """Do one job after the other, until there is none."""
        self._local.is_worker, self._local.number = True, -1
        slot = _Slot(self, LOW, None)
        while slot.wait(self._offer):
            job, slot.job, self._local.slot = slot.job, None, slot
            self._local.number = job[1]
            slot = _Slot(self, LOW, None)  # for the next one: this one is the job's
            self._do(job)
            del job  # its result belongs to the caller alone

    def _do(self, job: Any) -> None:
        """Do a job. Its slot is back when its result is told: who has it finds nothing running."""
        _, number, future, work = job
        value, tell = None, None
        if future.set_running_or_notify_cancel():
            try:
                value, tell = work(), future.set_result
            except BaseException as error:
                value, tell = error, future.set_exception
        self.slot().release()  # the job's, where no attempt has taken it over
        self._mailbox.post(self._end_job, number)
        if tell:
            tell(value)
        del job, future, work, value, tell  # a traceback knows this frame: a cycle


class _Map:
    """The results of many jobs, in order. A class and not a generator, so that dropping it, used or
    not, ends it: what has not begun is cancelled."""

    def __init__(self, submit: Callable[[Any], Any], inputs: Any, ahead: int) -> None:
        self._futures: Any = collections.deque()
        if not hasattr(inputs, "__iter__"):
            raise ValidationError("the inputs of map are no iterable: %r" % type(inputs).__name__)
        self._inputs, self._submit, self._ahead = iter(inputs), submit, max(ahead, 1)

    def __iter__(self) -> _Map:
        return self

    def __next__(self) -> Any:
        """The next result. One input is read for each, and more while the result is not there."""
        futures = self._futures
        for _, value in zip(range(self._ahead - len(futures)), self._inputs):
            futures.append(self._submit(value))
            if futures[0].done():
                break
        if not futures:
            raise StopIteration
        futures[0].exception()  # waits: Ctrl-C here loses no result
        return futures.popleft().result()

    def close(self) -> None:
        """Cancel what has not begun."""
        self._inputs = iter(())
        while self._futures:
            self._futures.popleft().cancel()

    __del__ = close


# ------------------------------------------------------------------------------------------------
# Results and streams
#
# What a call returns. A Result is the server's JSON and nothing else; a Stream reads chunks, and an
# _Assembly puts the message together. This room knows server-sent events, and takes bytes from
# wherever they come. What a server sent may have any shape.


class Response:
    """What came with an answer: `.status_code`, `.headers`, `.request_id`; of an error or a raw
    answer also `.content`, `.text`, `.json()`, and `.parse()`: what the call would return."""

    content, retries_taken = b"", 0
    _told: Any = ()  # where, how often and with which secrets it was asked for

    def __init__(self, status_code: int, headers: Any, method: str, url: str) -> None:
        self.status_code, self.headers, self.method, self.url = status_code, headers, method, url

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
        return {name: value for name, value in self.__dict__.items() if name[0] != "_"}

    def placed(self, error: OpenAIError) -> OpenAIError:
        """An error about what is in the answer, with where and how often it was asked for."""
        if self._told:
            where, attempts, secrets = self._told
            error._place(where, attempts, secrets, self)
        return error


def _dicts(value: Any) -> list[Any]:
    """The JSON objects in a list, if it is one."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


class Result(dict):  # type: ignore[type-arg]
    """A JSON object with attribute access at every depth: `r.choices[0].message.content`.

    A name that is not there reads None. A key that is no Python name is reached with `_` for what
    is not allowed in one: `r.categories.self_harm`. Of a chat answer `.content`, `.message`,
    `.tool_calls` and `.finish_reason` are those of its first choice; of a Responses answer
    `.output_text` is all text. `.request_id`, `.headers`, `.status_code` are the HTTP answer's.
    """

    _response = _parsed = None  # type: Any  # set on the outermost one only

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        if name[0] == "_":
            raise AttributeError(name)
        if name in ("content", "message", "tool_calls", "finish_reason"):
            choice = (_dicts(self.get("choices")) or [{}])[0]
            message = (_dicts([choice.get("message")]) or [{}])[0]
            return choice.get(name, message.get(name))
        if name == "output_text" and "output" in self:
            parts = [p for item in _dicts(self["output"]) for p in _dicts(item.get("content"))]
            texts = [part.get("text") for part in parts if part.get("type") == "output_text"]
            return "".join(text for text in texts if isinstance(text, str))
        if name in ("parsed", "output_parsed"):
            return self._parsed
        keys = [key for key in self.keys() if re.sub(r"\W", "_", key) in (name, name.rstrip("_"))]
        return self[keys[0]] if keys else None

    def __setattr__(self, name: str, value: Any) -> None:
        if name[0] == "_":
            super().__setattr__(name, value)
        else:
            self[name] = value

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *filter(str.isidentifier, self.keys())]

    request_id = _request_id = property(lambda self: getattr(self._response, "request_id", None))
    headers = property(lambda self: getattr(self._response, "headers", None))
    status_code = property(lambda self: getattr(self._response, "status_code", None))

    def to_dict(self, **_: Any) -> dict[str, Any]:
        """The same as plain dicts and lists."""
        return json.loads(json.dumps(self))  # type: ignore[no-any-return]

    def to_json(self, indent: int | None = 2, **_: Any) -> str:
        """The same as JSON text."""
        return str(json.dumps(self, indent=indent, ensure_ascii=False))

    def model_dump_json(self, indent: int | None = None, **_: Any) -> str:
        return self.to_json(indent)

    model_dump = to_dict

    def save(self, folder: Any) -> list[str]:
        """Write the images of an image answer into `folder`, over no other; returns their paths.

        An image that the server keeps behind a URL is fetched, without the key. Raises OSError
        where the folder cannot be written, APIError where an image is broken or cannot be had.
        """
        paths: list[str] = []
        for image in _dicts(self.get("data")):
            text, url = image.get("b64_json"), image.get("url")
            content = _from_base64(text) if text or not url else _fetch(url)
            name, number = "image-%d." + _extension(content), 1
            while os.path.exists(os.path.join(folder, name % number)):
                number += 1
            paths.append(os.path.join(folder, name % number))
            _write_whole(paths[-1], [content])
        return paths


class Transcript(Result):
    """A transcription: `.text`, which is also its `str()`."""

    def __str__(self) -> str:
        return str(self.get("text") or "")


class Page(Result):
    """A list answer: `.data` is the first page; iterating goes over all items of all pages."""

    _fetch: Any = None  # asks for another page with a query

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
        if not items or self.get("has_more") is False or self._fetch is None:
            return {}
        last = (_dicts(items[-1:]) or [{}])[0]
        after = self["next"] if "next" in self else self.get("last_id") or last.get("id")
        return {"after": after} if after else {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fetch": self._fetch and _fetch_no_more}


def _fetch_no_more(query: dict[str, Any]) -> Any:
    raise OpenAIError("a copied or pickled list has one page: ask for the next with %r" % query)


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
    """Write a file that appears under its name when it is whole, or not; returns its size."""
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:  # a device or a pipe, whose place no file can take
            return sum(map(file.write, pieces))
    path = os.path.realpath(path)  # a link stays one
    beside = os.path.join(os.path.dirname(path), ".%s.part" % os.urandom(8).hex())
    try:
        with open(beside, "xb") as file:
            size = sum(map(file.write, pieces))
        os.replace(beside, path)
    except BaseException:
        if os.path.exists(beside):
            os.unlink(beside)
        raise
    return size


def _from_base64(text: Any) -> bytes:
    try:
        content: bytes = base64.b64decode(text)
        if 4 * len(content) == 3 * len(text) - 4 * text[-2:].count("="):  # it skips what is none
            return content
    except (ValueError, TypeError):
        pass  # it is broken, as what is too short
    raise APIResponseError("base64 in the answer is broken or missing")


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


_decoders: list[Any] = []  # one, made when it is needed: json.loads would make one at each call


def _decoder() -> Any:
    if not _decoders:
        _decoders.append(json.JSONDecoder(object_hook=Result))
    return _decoders[0]


def _parse_json(content: bytes | str, only_object: bool = False) -> Any:
    """JSON as Results, or an APIResponseError that says what came instead."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8", "surrogatepass")
        value = _decoder().decode(text.lstrip("\ufeff"))
        if not only_object or isinstance(value, Result):
            return value
        reason = " object"
    except RecursionError:
        reason = " (nested too deep)"
    except ValueError as error:
        reason = " (%s)" % _plain(str(error), 80)
    start = content[:500] if isinstance(content, str) else content[:500].decode("utf-8", "replace")
    if not start.strip():
        raise APIResponseError("the answer is empty where JSON was due")
    raise APIResponseError("the answer is no JSON%s but %s" % (reason, _shown(start)[:100]))


class _Text(list):  # type: ignore[type-arg]
    """Text that grows by pieces, joined by the hundreds: a list of all takes ten times as much."""

    joined = 0  # how many of it are hundreds; joining them once more would be quadratic

    def add(self, piece: str) -> None:
        self.append(piece)
        if len(self) - self.joined > 200:
            self[self.joined :] = ["".join(self[self.joined :])]
            self.joined += 1

    def __str__(self) -> str:
        return "".join(self)


def _merge(message: dict[str, Any], delta: dict[str, Any], depth: int = 0) -> None:
    """Add a piece to a message: text grows, lists grow by index, what names a thing is set."""
    if depth > 50:
        raise ValueError("nested too deep")
    for key, value in delta.items():
        have = message.get(key)
        if isinstance(value, str) and key not in ("role", "id", "type"):
            if have.__class__ is not _Text:
                have = message[key] = _Text()
            if key != "name" or str(have) != value:  # some servers repeat it in every piece
                have.add(value)
        elif isinstance(value, dict):
            if not isinstance(have, dict):
                have = message[key] = {}
            _merge(have, value, depth + 1)
        elif isinstance(value, list):
            if have.__class__ is not list:
                have = message[key] = []
            for piece in value:
                if isinstance(piece, dict) and (key == "tool_calls" or "index" in piece):
                    _merge(_item_for(piece, have), piece, depth + 1)
                else:
                    have.append(piece)
        elif have is None or value not in (None, ""):
            message[key] = value


def _item_for(piece: dict[str, Any], items: list[Any]) -> dict[str, Any]:
    """The item that a piece continues, from the last one back, or a new one."""
    for item in reversed(items):
        if item.__class__ is dict and _continues(piece, item):
            return item
    items.append({})
    return items[-1]  # type: ignore[no-any-return]


def _continues(piece: dict[str, Any], item: dict[str, Any]) -> bool:
    """Whether no index, no id and no name says that the piece begins another item."""
    for key in ("index", "id"):
        if piece.get(key) not in (None, "") and item.get(key) not in (None, "", piece[key]):
            return False
    new, old = piece.get("function") or {}, item.get("function") or {}
    other = new.get("name") and str(old.get("name")) != new["name"]
    return not (other and str(old.get("arguments") or ""))


def _finished(value: Any) -> Any:
    """What was put together, as Results and str."""
    if value.__class__ is dict:
        return Result((key, _finished(item)) for key, item in value.items())
    if value.__class__ is list:
        return [_finished(item) if item.__class__ is dict else item for item in value]
    return str(value) if value.__class__ is _Text else value


# The events that say that the whole is done, and the families of events that need one.
_LAST_EVENTS = frozenset(
    "response.completed response.failed response.incomplete image_generation.completed "
    "image_edit.completed transcript.text.done speech.audio.done".split()
)
_FAMILIES = ("response.", "image_generation.", "image_edit.", "transcript.text.", "speech.audio.")
LINGER_S = 5.0  # how long a stream that is whole may take to send its usage and its end


class _Assembly:
    """A streamed answer as far as it has come. It does not know the Stream, so that dropping that
    one drops it at once."""

    def __init__(self, started_at: float, asked_for: int) -> None:
        self.started_at = self.first_at = self.last_at = started_at
        self.count, self.asked_for = 0, asked_for  # chunks that came; choices that have to
        self.parts: dict[int, dict[str, Any]] = {}  # choices by index
        self.text = _Text()  # of a Responses stream
        self.usage: Any = None
        self.kind = ""  # 'chat', or 'family' once an event of one has come
        self.done = False

    def add(self, chunk: Result, event: str = "message") -> Result:
        """Take a chunk in and return it; an APIResponseError where it has not the shape of one."""
        self.last_at = time.monotonic()
        if not self.count:
            self.first_at = self.last_at
        self.count += 1
        try:
            if "choices" in chunk:
                self.kind, text = "chat", ""
                for choice in chunk["choices"] or ():
                    text = self._add_choice(choice) or text
            else:
                text = self._add_event(chunk, chunk.get("type") or event)
            if "usage" in chunk and isinstance(chunk["usage"], dict):
                self.usage = chunk["usage"]
            chunk.__dict__["content"] = text  # a Result's own way to set one sets a key
            return chunk
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            pass  # it is not what a chunk is, and the error would not say so
        what = _plain(chunk.to_json(None), 200)
        raise APIResponseError("a chunk has a shape that none should have: " + what)

    def _add_choice(self, choice: dict[str, Any]) -> str:
        """Take in what a chunk has of a choice; returns the text of the first one."""
        get = dict.get  # a Result's own would be looked for by its __getattr__ each time
        index = get(choice, "index") or 0
        known = self.parts.get(index)
        if known is None:
            new: dict[str, Any] = {"index": int(index), "finish_reason": None}  # "0" is 0 too
            new["message"] = {"role": "assistant", "content": None}
            known = self.parts.setdefault(new["index"], new)
        if get(choice, "finish_reason"):
            known["finish_reason"] = choice["finish_reason"]
        delta = get(choice, "delta") or get(choice, "message") or {}
        piece, text = get(delta, "content"), known["message"]["content"]
        if len(delta) == 1 and piece.__class__ is str and text.__class__ is _Text:
            text.add(piece)  # by far the most: the short way through _merge
        else:
            _merge(known["message"], delta)
        return piece if piece.__class__ is str and not known["index"] else ""

    def _add_event(self, chunk: Result, kind: str) -> str:
        if kind in _LAST_EVENTS:
            self.done, self.usage = True, (chunk.get("response") or {}).get("usage")
        if kind.startswith(_FAMILIES):
            self.kind = "family"
        text = chunk.get("delta") if chunk.get("type") == "response.output_text.delta" else None
        if not isinstance(text, str):
            return ""
        self.text.add(text)
        return text

    @property
    def whole(self) -> bool:
        """Whether its end has come, however the transfer ends."""
        ended = [part["finish_reason"] for part in self.parts.values()]
        return self.done or self.kind == "chat" and len(ended) >= self.asked_for and all(ended)

    @property
    def choices(self) -> list[Result]:
        """Each choice as far as it got: `.index`, `.message`, `.finish_reason`."""
        choices = [_finished(self.parts[index]) for index in sorted(self.parts)]
        for choice in choices:
            for call in _dicts(choice["message"].get("tool_calls")):
                call.pop("index", None)  # of the stream, not of the message
                call["type"] = call.get("type") or "function"
        return choices

    @property
    def message(self) -> Any:
        """The whole message of choice 0 as far as it got, fit to be sent back."""
        default = Result(role="assistant", content=str(self.text) or None)
        return next((choice["message"] for choice in self.choices if choice["index"] == 0), default)

    @property
    def content(self) -> str:
        text = self.message.get("content")
        return text if isinstance(text, str) else ""

    tool_calls = property(lambda self: self.message.get("tool_calls"))
    finish_reason = property(lambda self: self.parts.get(0, {}).get("finish_reason"))

    @property
    def stats(self) -> dict[str, Any]:
        duration_s, usage = self.last_at - self.started_at, self.usage or {}
        tokens: Any = usage.get("completion_tokens") or usage.get("output_tokens")
        gap_s = (self.last_at - self.first_at) / max(self.count - 1, 1)
        known = isinstance(tokens, (int, float)) and duration_s > 0
        return {
            "duration_s": duration_s, "ttft_s": self.first_at - self.started_at,
            "chunks": self.count, "avg_chunk_interval_s": gap_s,
            "tokens_per_s": tokens / duration_s if known else None,
        }  # fmt: skip


def _pieces(attempt: _Attempt, so_far: _Assembly) -> Iterator[bytes]:
    """Yield the body's bytes; silence counts from the last event, comments do not renew it."""
    count = -1
    while True:
        if count != so_far.count:
            count = so_far.count
            attempt.limits.begin_wait(LINGER_S if so_far.whole else None)
        try:
            piece, broken = attempt.body.read(), ""
        except APIError as error:
            piece, broken = b"", error._what
            if isinstance(error, APITimeoutError) and not so_far.whole:
                raise
        if not piece:
            # Events that no rule is known for may end with the transfer, if that ends well.
            if so_far.whole or so_far.count and not so_far.kind and not broken:
                return
            advice = "What came is in .partial: go on from there, or try again."
            what = "the stream ended before its end" + (broken and ": " + broken)
            raise StreamInterruptedError(what, advice)
        yield piece


def _chunks(attempt: _Attempt, so_far: _Assembly) -> Iterator[Result]:
    """Yield the chunks of an answer; end where it is whole."""
    if attempt.content_type == "application/json":
        so_far.done = True
        yield so_far.add(attempt.parse("object", attempt.content()))
        return
    attempt.expect_events()
    scan, block = _decoder().scan_once, _Block(MAX_EVENT_BYTES)
    for text in _sse_lines(_pieces(attempt, so_far), MAX_EVENT_BYTES):
        at = 0
        while text[at : at + 7] == "data: {" and not block.size:  # by far the most: a short way
            try:
                chunk, end = scan(text, at + 6)
            except (StopIteration, ValueError, RecursionError):
                break
            if text[end : end + 2] != "\n\n" or "choices" not in chunk or "error" in chunk:
                break
            yield so_far.add(chunk)
            at = end + 2
        for event in block.events(text[at:]):
            if event.data[:6] == "[DONE]":
                so_far.done = True
                return
            yield so_far.add(_chunk_of(event, attempt), event.event)


def _chunk_of(event: ServerSentEvent, attempt: _Attempt) -> Result:
    """The chunk that an event holds; raises the error that it tells of."""
    is_error = event.event == "error"
    try:
        chunk: Result = _parse_json(event.data, True)
    except APIResponseError:
        if not is_error:
            raise
        chunk = Result(message=event.data)
    is_error = is_error or chunk.get("type") == "error"
    if is_error or "error" in chunk:
        attempt.raise_error(chunk, is_error)
    return chunk


def _of_what_has_come(name: str) -> Any:
    return property(lambda self: getattr(self._so_far, name), doc=getattr(_Assembly, name).__doc__)


class Stream:
    """The chunks of an answer as they arrive: an iterator and a context manager.

    `close()`, leaving `with`, an exception and dropping it end the request at once. During and
    after it: `.content` (all text), `.message`, `.tool_calls`, `.finish_reason`, `.choices`,
    `.usage`, `.response`, and `.stats`: `duration_s`, `ttft_s` (to the first chunk), `chunks`,
    `avg_chunk_interval_s`, and `tokens_per_s` where the server sent the usage, else None.
    Raises StreamInterruptedError where it ends before its end, APITimeoutError where the server is
    silent, or what an error event says; each with `.partial`.

    It is whole at `[DONE]`, when each choice has its finish reason, or at an event that says so;
    a stream of events of other kinds also when the body ends.
    """

    def __init__(self, attempt: _Attempt) -> None:
        self.response, self._attempt = attempt.response, attempt
        self._so_far = _Assembly(attempt.call.started_at, attempt.call.choices)
        self._chunks: Iterator[Result] = _chunks(attempt, self._so_far)
        self._closed = False
        _survive_fork(self)

    content, message, choices = map(_of_what_has_come, ("content", "message", "choices"))
    tool_calls, finish_reason = map(_of_what_has_come, ("tool_calls", "finish_reason"))
    stats, usage = _of_what_has_come("stats"), property(lambda self: self._so_far.usage)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Result:
        try:
            return next(self._chunks)
        except StopIteration:
            self._attempt.end(None)
            raise
        except BaseException as error:
            if self._closed:  # by another thread, while this one waited
                raise StopIteration from None
            if isinstance(error, ValueError) and "generator already executing" in str(error):
                raise ValidationError("another thread reads this stream: one may") from None
            self._attempt.end(self._explained(error))
            raise

    def _begin(self) -> Stream:
        """Wait for the first chunk: up to here the call may be tried again."""
        try:
            first = [chunk for chunk in [next(self._chunks, None)] if chunk is not None]
            self._chunks = itertools.chain(first, self._chunks)
        except OpenAIError as error:
            self._explained(error)
            raise
        self._attempt.stream, self._attempt.handed_over = self._so_far, True
        return self

    def _explained(self, error: BaseException) -> BaseException:
        if isinstance(error, OpenAIError):
            error.partial = self.message
            self._attempt.place(error)
        return error

    def close(self) -> None:
        """End the request now; a reader in another thread wakes up. May be called again."""
        self._closed, self._chunks = True, iter(())
        self._attempt.end(None, abandoned=True)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    __del__ = close

    def _after_fork(self) -> None:
        """In a child: what has not come is the parent's, so that here the stream breaks off."""
        self._attempt.forget()
        self._chunks = _chunks(self._attempt, self._so_far)


# ------------------------------------------------------------------------------------------------
# Uploads
#
# A form (RFC 7578) is read from disk as it goes out, as often as it is sent; its length is known
# before. This room knows nothing of who sends it.

BLOCK_BYTES = 256 << 10  # at a time, up and down: smaller ones cost CPU


class _File:
    """One file to upload: a path, bytes, a binary file from where it stands, or
    (name, any of these[, content type])."""

    _opened: Any = None  # by us, so that we close it

    def __init__(self, file: Any, name: str | None = None) -> None:
        pair = isinstance(file, tuple) and len(file) in (2, 3)
        given, file, kind = (*file, None)[:3] if pair else (None, file, None)
        if isinstance(file, (str, os.PathLike)) and "\0" not in str(file):
            file = self._opened = open(file, "rb", buffering=0)
        elif isinstance(file, (bytes, bytearray, memoryview)):
            given, file = given or "file." + _extension(bytes(file[:16])), io.BytesIO(file)
        usable = hasattr(file, "read") and not getattr(file, "closed", False)
        if not usable or isinstance(file.read(0), str):
            raise ValidationError("a path, bytes or a file open in 'rb' is needed: %r" % (file,))
        if not isinstance(name or given or "", str):
            raise ValidationError("the name of a file is %r: a str is needed" % (name or given,))
        own = getattr(file, "name", None)  # a number, of a file from a descriptor
        self.name = name or given or (os.path.basename(own) if isinstance(own, str) else "upload")
        self.type = kind or mimetypes.guess_type(self.name)[0] or "application/octet-stream"
        if not getattr(file, "seekable", lambda: True)():
            pipe, file = file, tempfile.TemporaryFile()  # to know its length, and to rewind
            file.writelines(iter(lambda: pipe.read(BLOCK_BYTES), b""))
            file.seek(0)
        self.file, self.start = file, file.tell()
        self.size = file.seek(0, 2) - self.start
        if not self.size:
            raise ValidationError("the file %r is empty: nothing was sent" % self.name)

    def __del__(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def __iter__(self) -> Iterator[Any]:
        """Its bytes from the start, as many as were announced."""
        self.file.seek(self.start)
        left = self.size
        while left:
            block = self.file.read(min(left, BLOCK_BYTES))
            if not block:
                raise OSError(5, "The file became shorter while it was sent", self.name)
            left -= len(block)
            yield block


class _Form:
    """A multipart form as an iterable of bytes; `progress(sent, total)` is called on the way."""

    def __init__(self, fields: Any, files: Any, progress: Any = None) -> None:
        boundary, self.progress = os.urandom(16).hex(), progress
        self.content_type = "multipart/form-data; boundary=" + boundary
        self.error: BaseException | None = None  # what a file or the caller's progress raised
        parts: list[Any] = []
        for name, value in [*fields, *files]:
            head = '--%s\r\nContent-Disposition: form-data; name="%s"' % (boundary, _quoted(name))
            if isinstance(value, _File):
                names = _quoted(value.name), _quoted(value.type)
                head += '; filename="%s"\r\nContent-Type: %s' % names
            parts += [head + "\r\n\r\n", value, "\r\n"]
        parts.append("--%s--\r\n" % boundary)
        self._parts = [p.encode("utf-8", "replace") if isinstance(p, str) else p for p in parts]
        self.length = sum(p.size if isinstance(p, _File) else len(p) for p in self._parts)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        sent, self.error = 0, None
        try:
            for part in self._parts:
                for block in part if isinstance(part, _File) else (part,):
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
# One request out, one body in. Without a `session=` of the caller's the way is urllib3's pools
# alone, with the environment's proxies and certificates as requests reads them. This room turns
# each trouble on the way into an error of ours; it does not know what is asked, or why.

MAX_BODY_BYTES = 256 << 20  # of an answer kept in memory: 2048 embeddings as text are 130 MB
MAX_ERROR_BYTES = 16 << 20  # of an error page
DEAD_S = 1.0  # a pooled connection that ends later than that was not dead: the server was at work


class _Limits:
    """How long one attempt may be silent, and until when its call may last."""

    alive = False  # whether the connection is a new one, or has begun to answer
    connecting = False  # through a proxy and TLS too
    at_end = False  # whether the connection has ended

    def __init__(self, connect: float | None, read: float | None, ends_at: float) -> None:
        self.connect, self.read, self.ends_at = connect, read or float("inf"), ends_at
        self.handled = sys.exc_info()[1]  # by the caller: no cause of what happens in here
        self.begin_wait()

    def begin_wait(self, most: float | None = None) -> None:
        """From now on silence counts."""
        patience = self.connect or float("inf") if self.connecting else self.read
        self.silent_until = time.monotonic() + min(patience, most or patience)

    def left(self) -> float | None:
        """Seconds that the next wait may take; raises socket.timeout where none are left."""
        left = min(self.silent_until, self.ends_at) - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        return left if left < float("inf") else None

    def limit(self, sock: Any) -> None:
        """Have `sock` wait for as long as is left, to a thousandth: telling it is a system call, at
        which all other threads try to run."""
        left, told = self.left(), getattr(sock, "gettimeout", lambda: None)()  # not of pyOpenSSL
        if left is None or told is None or abs(told - left) * 1000 > left:
            sock.settimeout(left)


def _connection_class(base: Any, local: Any) -> Any:
    """urllib3's connection class `base`, which asks `local.limits`, those of the attempt that the
    thread makes, before each wait, and passes over informational answers."""

    class Reader(socket.SocketIO):  # type: ignore[misc, name-defined]
        def readinto(self, buffer: Any) -> Any:
            self.limits.limit(self._sock)
            count = super().readinto(buffer)
            self.limits.alive |= bool(count)
            self.limits.at_end = not count
            return count

    class Answer(base.response_class):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            raw = self.fp.raw  # a SocketIO, whichever kind of socket is behind it
            raw.__class__, raw.limits = Reader, local.limits

        def begin(self) -> None:
            super().begin()
            if local.limits.at_end:  # which http.client takes for the end of the head
                raise ConnectionResetError("the answer ended in its head")

        def _read_status(self) -> Any:
            """A 103 is passed over as http.client passes over a 100 (RFC 9110, section 15.2)."""
            version, status, reason = super()._read_status()
            return version, 100 if 101 < status < 200 else status, reason

    class Connection(base):  # type: ignore[misc]
        response_class = Answer

        def connect(self) -> None:
            limits, body = local.limits, local.body
            limits.alive = limits.connecting = True
            local.body = b""  # it is not that of a proxy's CONNECT
            super().connect()
            limits.connecting, local.body = False, body

        def send(self, data: Any) -> None:
            if self.sock is None:
                self.connect()
            if local.body:
                data, local.body = data + local.body, b""
            data = memoryview(data)
            for start in range(0, len(data), BLOCK_BYTES):  # each renews the time
                local.limits.begin_wait()
                local.limits.limit(self.sock)
                super().send(data[start : start + BLOCK_BYTES])

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
        with self._lock:
            if key not in self._routes:
                self._routes[key] = self._make_route(*key)
            pool, prefix, headers = self._routes[key]
        headers = {**headers, **request.headers} if headers else request.headers
        outer, self._local.limits = getattr(self._local, "limits", None), limits
        try:
            return self._open(pool, request, prefix + request.target, headers)
        finally:
            self._local.limits = outer  # of an upload, where its progress= makes this call

    def _open(self, pool: Any, request: _Request, target: str, headers: Any) -> Any:
        limits, dead_until = self._local.limits, time.monotonic() + DEAD_S
        # One send for both is less work than one each, for all on the way.
        with_head = isinstance(request.body, bytes) and len(request.body) <= BLOCK_BYTES
        while True:
            limits.alive, limits.at_end, left = False, False, limits.left()
            connect = min(limits.connect or 1e6, left or 1e6)
            self._local.body, body = (request.body, None) if with_head else (b"", request.body)
            try:
                return pool.urlopen(
                    request.method, target, body, headers, retries=False,
                    redirect=False, assert_same_host=False, preload_content=False,
                    decode_content=False, timeout=urllib3.Timeout(connect=connect, read=left),
                )  # fmt: skip
            except (urllib3.exceptions.ProtocolError, urllib3.exceptions.SSLError):
                if limits.alive or time.monotonic() > dead_until:
                    raise  # else a pooled connection had died: that is no attempt

    def _make_route(self, origin: str, verify: Any) -> Any:
        settings = _settings(requests.Session(), origin, verify)
        proxy = requests.utils.select_proxy(origin, settings["proxies"]) or ""
        proxy = proxy and requests.utils.prepend_scheme_if_needed(proxy, "http")
        tcp, names = socket.IPPROTO_TCP, ("TCP_KEEPIDLE", "TCP_KEEPINTVL")  # not on every system
        alive = [(tcp, getattr(socket, name), 60) for name in names if hasattr(socket, name)]
        alive += [(tcp, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        context = _ssl_context(settings["verify"]) if "https:" in origin + proxy else None
        options = {"socket_options": alive, "ssl_context": context}
        manager, prefix, headers = urllib3.PoolManager(maxsize=self.size, **options), "", {}
        if proxy:
            adapter = requests.adapters.HTTPAdapter(1, self.size)
            if not proxy.startswith("socks"):
                options["proxy_ssl_context"] = context
                if origin.startswith("http:"):  # else there is a tunnel
                    prefix, headers = origin, adapter.proxy_headers(proxy)
            manager = adapter.proxy_manager_for(proxy, **options)
        pool = manager.connection_from_url(origin)
        pool.ConnectionCls = _connection_class(pool.ConnectionCls, self._local)
        return pool, prefix, headers

    def close(self) -> None:
        routes, self._routes = self._routes, {}
        for pool, *_ in routes.values():
            pool.close()


def _settings(session: Any, url: str, verify: Any) -> Any:
    """Proxies and certificates for `url` by the session and the environment. `verify` wins over the
    session's, that over the environment's, and only False turns verification off."""
    verify = session.verify if verify is None else verify
    settings = session.merge_environment_settings(url, {}, True, verify, None)
    settings["verify"] = settings["verify"] or settings["verify"] is not False
    return settings


def _ssl_context(verify: Any) -> Any:
    """One context for all connections: the certificates are read once."""
    bundle = requests.certs.where() if verify is True else verify
    if bundle and not os.path.exists(bundle):
        raise ValidationError("no certificates at %r: see verify= and REQUESTS_CA_BUNDLE" % bundle)
    with _no_fork:  # OpenSSL has locks of its own
        context = urllib3.util.ssl_.create_urllib3_context(cert_reqs=None if verify else 0)
        if bundle:
            place = "capath" if os.path.isdir(bundle) else "cafile"
            context.load_verify_locations(**{place: bundle})
    return context


class _CallersSession:
    """A requests.Session of the caller's, used as it is: adapters, proxies, hooks and cookies."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def send(self, request: _Request, limits: _Limits) -> Any:
        def add_headers(prepared: Any) -> Any:  # as auth=: no netrc, no header of the session wins
            prepared.headers.update(request.headers)
            return prepared

        session, url = self.session, request.origin + request.target
        asked = requests.Request(request.method, url, data=request.body, auth=add_headers)
        prepared = session.prepare_request(asked)
        settings, timeout = _settings(session, url, request.verify), (limits.connect, limits.left())
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


class _Body:
    """The body of an answer as it arrives, out of its transfer coding and its content coding.

    Transfer chunks are undone here, all that have arrived at once, and not one by one as by
    http.client: a stream has one for each event.
    """

    def __init__(self, raw: Any, limits: _Limits) -> None:
        self._raw, self._limits = raw, limits
        self._fp = getattr(raw, "_fp", raw)  # http.client's answer, or what stands for it
        reader = getattr(self._fp, "fp", None) or self._fp
        self._receive = getattr(reader, "read1", None) or reader.read
        self._socket = getattr(getattr(reader, "raw", None), "_sock", None)
        self._left: Any = getattr(self._fp, "length", None)  # 0 after HEAD and 204, chunked or not
        self._chunked = bool(getattr(self._fp, "chunked", False)) and self._left != 0
        self._left = 0 if self._chunked else self._left
        self._rest, self.received = b"", 0  # the head of a chunk as far as it has come
        self.ended = self._left == 0 and not self._chunked
        coding = (raw.headers.get("content-encoding") or "identity").strip().lower()
        self._inflated = None if coding == "identity" else self._inflate(coding)

    def read(self) -> bytes:
        """The next bytes, as soon as there are any; b'' at the end."""
        try:
            return self._next() if self._inflated is None else next(self._inflated, b"")
        except OSError as error:
            error.__context__ = None  # of whoever reads here while he handles something else
            raise _wire_error(error, self._limits) from None
        except (ValueError, zlib.error):  # the former also where another thread has closed it
            raise _broken("broken in its coding") from None

    def pieces(self) -> Iterator[bytes]:
        """Yield the rest of the body; each piece renews the time."""
        self._limits.begin_wait()
        for piece in iter(self.read, b""):
            yield piece
            self._limits.begin_wait()

    def read_all(self, limit: int) -> bytes:
        """The whole body; an APIResponseError where it is over `limit` bytes."""
        return b"".join(_at_most(limit, self.pieces()))

    def _next(self) -> bytes:
        while not self.ended:
            if self._socket is not None:
                self._limits.limit(self._socket)
            data: bytes = self._receive(BLOCK_BYTES)
            self.received += len(data)
            if not data and self._left is not None:
                raise _broken("cut short")
            if self._chunked:
                data = self._undo_chunks(data)
            elif self._left is None:  # the end of the connection is that of the body
                self.ended = not data
            else:
                data, self._left = data[: self._left], self._left - len(data)
                self.ended = self._left <= 0
            if data:
                return data
        return b""

    def _undo_chunks(self, data: bytes) -> bytes:
        """RFC 9112, section 7.1; a ValueError where it is broken. `_left` is what the chunk still
        has to come, with its line end."""
        data, at, head, size = self._rest + data, self._left, b"", 1
        out = [data[: max(at - 2, 0)]]
        while at < len(data) and size > 0:
            start = data.find(b"\n", at) + 1
            if not start:
                break
            if data[at:start] != head:  # else the chunk is as long as the one before, as most are
                head = data[at:start]
                size = int(head.split(b";")[0], 16)
            if size > 0:
                at = start + size
                out.append(data[start:at])
                at += 2  # the end of its line
        self._left, self._rest = max(at - len(data), 0), data[at:]
        if not size:  # the last chunk: trailers, if any, end with an empty line
            self.ended = b"\n\r\n" in self._rest
        if size < 0 or len(self._rest) > 65536 and not self.ended:
            raise ValueError("no head of a chunk")
        return b"".join(out)

    def _inflate(self, coding: str) -> Iterator[bytes]:
        """Undo gzip (one member or several) or deflate (with its zlib header or without)."""
        if coding not in ("gzip", "deflate"):
            raise APIResponseError("the answer has the content coding %r, not asked for" % coding)
        unzip, piece, most = None, b"", 1 << 20  # at a time: a bomb grows a thousandfold
        for data in iter(self._next, b""):
            while data or len(piece) == most:
                if unzip is None or unzip.eof:
                    if coding == "gzip":
                        data = data.lstrip(b"\0")  # what pads a member
                    if not data:
                        break
                    headed = coding == "gzip" or data[0] & 15 == 8
                    unzip = zlib.decompressobj(47 if headed else -15)  # 47: gzip or zlib
                piece = unzip.decompress(data, most)
                data = unzip.unconsumed_tail or unzip.unused_data
                if piece:
                    yield piece
        if not unzip.eof if unzip else self._left is None:
            raise _broken("cut short")

    def release(self) -> None:
        """Give the connection back to its pool if the body was read to its end, else end it."""
        if not self.ended:
            return self.close()
        self._fp.close()
        getattr(self._raw, "release_conn", self._fp.close)()

    def close(self) -> None:
        """End the connection now; a reader in another thread wakes up."""
        try:
            # Of TLS within a proxy's TLS urllib3 makes a thing that is no socket, but has one.
            socket.socket.shutdown(getattr(self._socket, "socket", self._socket), socket.SHUT_RDWR)
        except (OSError, TypeError):
            pass  # it is down already, or of another kind
        self.drop()

    def drop(self) -> None:
        """Let the connection go without a word: after a fork it is the parent's."""
        self.ended = True
        try:
            self._raw.close()
        except (OSError, RuntimeError, AttributeError):
            pass  # another thread reads it, and sees the end now


def _at_most(limit: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield `pieces`; an APIResponseError where they come to more than `limit` bytes."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise APIResponseError("the answer is larger than %d bytes" % limit)
        yield piece


def _broken(how: str) -> APIResponseError:
    return APIResponseError("the body of the answer is " + how, "Try again.", _transient=True)


_TROUBLES = [  # by the names of what was raised; the last one fits all
    ("deadline", APITimeoutError, "the deadline has passed", "Raise deadline=, or ask for less."),
    ("argument", ValidationError, "the request cannot be sent: {said}", ""),
    ("Cert", APIConnectionError, "the server's certificate is not trusted: {said}",
     "If the server is yours, pass verify='path/to/its/certificate.pem'."),
    ("ConnectTimeout", APITimeoutError, "no connection in {connect:.3g} s",
     "Check base_url=, and HTTPS_PROXY."),
    ("timeout|Timeout", APITimeoutError, "no answer in {read:.3g} s", "Raise timeout=."),
    ("Proxy", APIConnectionError, "the proxy failed: {said}", "Check HTTPS_PROXY and NO_PROXY."),
    ("Refused|gaierror", APIConnectionError, "{said}", "Check base_url=, and the server."),
    ("", APIConnectionError, "the connection broke: {said}", "Try again."),
]  # fmt: skip


def _wire_error(error: BaseException, limits: _Limits) -> OpenAIError:
    """The error of ours for what urllib3, requests, the socket or the TLS layer raised."""
    causes: list[Any] = [error]
    while causes[-1].__context__ not in (None, limits.handled):
        causes.append(causes[-1].__context__)
    kinds = " ".join(type(cause).__name__ for cause in causes)
    if time.monotonic() >= limits.ends_at:
        kinds = "deadline"
    elif isinstance(error, ValueError):
        kinds = "argument"
    elif limits.connecting and "imeout" in kinds:
        kinds = "ConnectTimeout"
    reasons = [cause.strerror for cause in causes if getattr(cause, "strerror", None)]
    said = _plain(reasons[-1] if reasons else str(causes[-1]), 200)
    said = re.sub(r"//\S*@", "//", said)  # a proxy's password
    names, cls, what, advice = next(row for row in _TROUBLES if re.search(row[0], kinds))
    what = what.format(said=said, connect=limits.connect or 0, read=limits.read)
    flags = {"_transient": names not in ("argument", "Cert"), "_may_be_done": "timeout" in names}
    return cls(what, advice, **flags)


# ------------------------------------------------------------------------------------------------
# Client
#
# Each method says what goes where and hands a _Call to one loop, OpenAIMini._perform: _prepare
# builds the request, an _Attempt sends it and reads the answer, _wait_before_retry decides whether
# there is another.

DEFAULT_HOST = "https://api.openai.com"
MAX_REDIRECTS = 5
_CALL_OPTIONS = frozenset(
    "timeout deadline max_retries priority extra_headers extra_query extra_body".split()
)
# The constructor's numbers, and the least each may be.
_CHECKS = {
    "timeout": 1e-3, "deadline": 1e-3, "max_retries": 0, "initial_retry_delay": 0.0,
    "max_retry_delay": 0.0, "backoff_factor": 1.0,
}  # fmt: skip
_ANOTHER_SERVER_MAY_DO = (
    CircuitOpenError, APIConnectionError, RateLimitError, InternalServerError,
    StreamInterruptedError,
)  # fmt: skip
_OPEN_HEADERS = frozenset(
    "user-agent accept accept-encoding content-type content-length idempotency-key "
    "openai-organization openai-project openai-beta".split()
)
_OF_A_DEPLOYMENT = (  # as the official client has it; all else is below /openai itself
    "/chat/completions", "/completions", "/embeddings", "/audio/speech", "/audio/transcriptions",
    "/audio/translations", "/images/generations", "/images/edits",
)  # fmt: skip
_CACHED_PATHS = ("/chat/completions", "/completions", "/embeddings", "/moderations", "/responses")
# Of one embeddings request: its inputs, and the characters that 300,000 tokens have at the least.
MAX_EMBEDDING_INPUTS = 2048
MAX_EMBEDDING_CHARS = 600_000


class _Request:
    """What goes out. Made anew for each client at which a call is tried."""

    method: str
    origin: str
    target: str
    headers: dict[str, str]
    body: Any
    verify: Any
    has_key: bool  # the caller's headers hold one already


class _Call:
    """One call of the caller's: what is asked, how the answer is read, and how far it is."""

    json: Any = None
    form: Any = None
    content: bytes | None = None  # a body that is neither JSON nor a form
    model_for: str | None = None  # the kind of model to ask for where none is named
    sink: Any = None  # (where a download goes, progress)
    raw = ""  # or "with_raw_response", "with_streaming_response"
    admin = False
    cache_key: str | None = None
    model: Any = None  # what is asked for in the end
    owner: Any = None  # the client whose statistics and listener are told, of a fallback's too
    choices = 1  # how many are asked for
    ends_at = float("inf")
    attempts = read_timeouts = 0
    asked_key_again = False

    def __init__(self, method: str, path: str, read: str, options: Any, **more: Any) -> None:
        self.method, self.path, self.read = method, path, read
        self.options = {name: options.pop(name) for name in _CALL_OPTIONS & options.keys()}
        self.query: dict[str, Any] = {}
        self.headers: dict[str, Any] = {}
        self.id = os.urandom(8).hex()
        self.started_at = time.monotonic()
        self.__dict__.update(more)
        to = self.sink[0] if self.sink else None
        is_path = to is None or isinstance(to, (str, os.PathLike))
        if not is_path and (not hasattr(to, "write") or isinstance(to, io.TextIOBase)):
            raise ValidationError("to=%r: a path or a file open for bytes is needed" % (to,))
        if not hasattr(self.options.get("extra_headers") or {}, "items"):
            raise ValidationError("extra_headers= is no dict: %r" % self.options["extra_headers"])
        if not isinstance(self.options.get("extra_body") or {}, dict):
            raise ValidationError("extra_body= is no dict: %r" % (self.options["extra_body"],))

    def resolve(self, client: OpenAIMini) -> None:
        """Check the options of the call; what it leaves open is as the client has it."""
        for name in ("timeout", "deadline", "max_retries", "priority"):
            given = self.options.get(name)
            value = getattr(client, name) if given is None or given is NOT_GIVEN else given
            setattr(self, name, _checked_option(name, value))
        if client is self.owner and self.deadline is not None:  # a fallback has what is left of it
            self.ends_at = self.started_at + self.deadline
        self.attempts = self.read_timeouts = 0
        self.asked_key_again, self.cache_key = False, None

    timeout: Any
    deadline: Any
    max_retries: Any
    priority: Any


_STREAM_OUTCOMES = {"succeeded": "completed", "failed": "interrupted"}


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
            counts = {name: count for name, count in usage.items() if isinstance(count, int)}
            prompt = counts.get("prompt_tokens") or counts.get("input_tokens") or 0
            completion = counts.get("completion_tokens") or counts.get("output_tokens") or 0
            total = counts.get("total_tokens") or prompt + completion
            self._add(self.tokens, {"prompt": prompt, "completion": completion, "total": total})
        if stream is not None:
            name = _STREAM_OUTCOMES.get(outcome, outcome)
            self._add(self.streams, {name: 1, "chunks": stream.count})
            self.times["ttft"] += stream.first_at - stream.started_at

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
    """One attempt at a call: its slot, its leave of the breaker, its answer. end() ends all."""

    def __init__(self, client: OpenAIMini, call: _Call, request: _Request) -> None:
        self.client, self.call, self.request = client, call, request
        self.where, self.number = "%s %s" % (call.method, call.path), call.attempts
        self.slot: Any = None
        self.generation: int | None = None  # of the breaker, once it let this attempt go
        self.spoken = False  # whether the breaker was told of a success
        self.usage: Any = None
        self.body: Any = None
        self.stream: _Assembly | None = None  # once a stream is the caller's
        self.handed_over = False  # what the caller has got calls end()
        self.secrets: list[str] = []
        self.response: Any = None
        self.sent_bytes = 0
        self._ended = _thread.allocate_lock()  # taken by the one end() that counts

    def run(self) -> Any:
        """What the caller gets. A Stream takes slot and connection along and calls end() itself."""
        try:
            self._start()
            result = self._read()
        except BaseException as error:
            self.end(error)
            raise
        if not self.handed_over:
            self.end(None)
        return result

    def _start(self) -> None:
        """Slot, breaker, send: the headers of the answer are here when it returns."""
        client, call = self.client, self.call
        connect, read = call.timeout
        self.limits = _Limits(connect, read, call.ends_at)
        if client._queue is not None:
            longest = min(read or float("inf"), call.ends_at - time.monotonic())
            self.slot = client._queue.slot(call.priority, longest)
            self.slot.acquire()
        if client._breaker is not None:
            admitted = client._breaker._admit(self)
            client._notice_circuit(call)
            if not admitted:
                raise client._breaker._refusal()
        self.secrets = client._authorize(call, self.request)
        client._emit("request", call)
        self.began_at = time.monotonic()
        self.limits.begin_wait()
        self._send()

    def _send(self) -> None:
        request = self.request
        for _ in range(MAX_REDIRECTS + 1):
            failure: Any = None
            try:
                raw = self.client._transport.send(request, self.limits)
            except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
                failure = getattr(request.body, "error", None) or error
                if not isinstance(failure, ValidationError) and failure is error:
                    failure = _wire_error(error, self.limits)
            if failure is not None:
                raise failure  # here, where what a library said, with its URL, is not the context
            self.body = _Body(raw, self.limits)
            url = request.origin + request.target.split("?")[0]
            self.response = Response(raw.status, raw.headers, request.method, url)
            self.response.retries_taken = self.number - 1
            self.response._told = (self.where, self.number, self.secrets)
            self._note_answer()
            if not 300 <= raw.status < 400 or not self._follow(raw.headers.get("location")):
                break
        if not 200 <= raw.status < 300:
            self._raise_status()

    def _note_answer(self) -> None:
        self.sent_bytes += len(self.request.body or b"")
        headers = self.response.headers.items()
        limits = {name: value for name, value in headers if name.lower().startswith("x-ratelimit-")}
        if limits:
            self.call.owner._shared.stats.rate_limit = limits

    def _tell(self, error: BaseException | None, state: str | None = None) -> None:
        """Tell on_event and the log of an answer: at its end, of a stream at its first event."""
        if self.response is not None and self.call.owner._watched:
            self.client._emit(
                "response", self.call, status=self.response.status_code, usage=self.usage,
                state=state, request_id=self.response.request_id,
                duration_s=time.monotonic() - self.began_at,
                error=type(error).__name__ if error else None,
            )  # fmt: skip

    def _speak(self, spoken: bool | None) -> None:
        """Tell the breaker what the attempt came to; after a success only a failure is news."""
        if self.generation is not None and (not self.spoken or spoken is False):
            self.client._breaker._settle(self.generation, spoken)
            self.client._notice_circuit(self.call)
            self.spoken = True

    def _follow(self, location: str | None) -> bool:
        """Go where the server says, within its origin; method and body stay what they are."""
        request = self.request
        try:
            to = url_parse.urljoin(request.origin + request.target, location or "")
            url = url_parse.urlsplit(to)
        except ValueError:
            return False  # that is no URL
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
        self.response.content = text.encode("utf-8", "replace")
        if text[:5] == "data:":  # some servers tell of an error in an event stream
            event = next(iter_sse([self.response.content, b"\n\n"]), None)
            text = event.data if event else text
        try:
            parsed = _parse_json(text)
            if "\\" in text:  # it may have spelt a key in another way
                parsed = _without(self.secrets, parsed)
            said, body = _error_object(parsed)
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
        return str(kind).split(";")[0].strip().lower()

    def content(self) -> bytes:
        return self.body.read_all(MAX_BODY_BYTES)  # type: ignore[no-any-return]

    def expect_events(self) -> None:
        """An APIResponseError where the answer is no event stream."""
        if self.content_type not in ("text/event-stream", ""):
            start = self.body.read()[:2000].decode("utf-8", "replace")
            what = "the answer is %s, not an event stream: %s"
            raise APIResponseError(what % (_plain(self.content_type, 80), _shown(start)[:200]))

    def _read(self) -> Any:
        """Read the answer as the call says; 'auto' goes by its Content-Type."""
        kind, call = self.call.read, self.call
        if call.raw == "with_streaming_response":
            return StreamedResponse(self)
        if kind == "auto":
            kind = {"text/event-stream": "stream"}.get(self.content_type, self.content_type)
            if kind.startswith("text/"):
                kind = "text"
            elif kind != "stream":
                kind = "json" if re.fullmatch(r"application/(\S+\+)?json", kind) else "bytes"
        if kind == "stream":
            return self.open_stream()
        if call.sink and call.sink != (None, None):
            return self._download(*call.sink)
        content = self.content()
        result = self.parse(kind, content)
        self.usage = result.get("usage") if isinstance(result, Result) else None
        if call.cache_key and isinstance(result, Result):
            self.client._remember(call, content)
        if call.raw:
            self.response.content, self.response._parse = content, self.parser(kind)
            return self.response
        return result

    def open_stream(self) -> Stream:
        """The answer as a Stream, which is the caller's from its first chunk on."""
        stream = Stream(self)._begin()
        stats = self.call.owner._shared.stats
        stats.add(stats.streams, started=1)
        self._speak(True)
        self._tell(None, "streaming")
        return stream

    def parser(self, kind: str = "") -> Callable[[bytes], Any]:
        return lambda content: self.parse(kind or self.call.read, content)

    def place(self, error: OpenAIError) -> None:
        """Have the error say where it happened and how often it was tried."""
        error._place(self.where, self.number, self.secrets, self.response)

    def parse(self, kind: str, content: bytes) -> Any:
        """What the caller gets for a body, by the kind of the answer."""
        if kind == "bytes":
            binary = Binary(content)
            binary.response = self.response
            return binary
        if kind == "text":
            return content.decode("utf-8", "replace")
        if kind == "transcript":
            data: Any = self._transcript(content)
        else:
            data = _parse_json(content, kind != "json") if content or kind != "json" else Result()
        if not isinstance(data, Result):
            return data
        if data.get("object") in (None, "error"):
            self.raise_error(data, data.get("object") == "error")
        if kind == "json" and isinstance(data.get("data"), list):
            result: Result = Page(data)  # iterates over its items, though no page follows
        else:
            result = {"page": Page, "transcript": Transcript}.get(kind, Result)(data)
        result._response = self.response
        if kind == "page":
            result._fetch = lambda query: _next_page(self.client, self.call, query)
        return result

    def _transcript(self, content: bytes) -> Result:
        """JSON, or one of the text formats, which may begin with a brace too."""
        if content.lstrip()[:1] == b"{":
            try:
                return _parse_json(content, True)  # type: ignore[no-any-return]
            except APIResponseError:
                if self.content_type[:5] != "text/":
                    raise
        return Result(text=content.decode("utf-8", "replace"))

    def _download(self, to: Any, progress: Any) -> Any:
        """The body into a path, whole or not at all, or into an open file; returns its size."""
        pieces = self.body.pieces()
        if progress:
            total = self.response.headers.get("content-length") or ""
            pieces = _watched(pieces, progress, int(total) if total.isdigit() else None)
        if to is None:
            return self.parse("bytes", b"".join(_at_most(MAX_BODY_BYTES, pieces)))
        if isinstance(to, (str, os.PathLike)):
            return _write_whole(to, pieces)
        count = 0
        try:
            for piece in pieces:
                to.write(piece)
                count += len(piece)
        except APIError as error:
            error._transient = error._transient and not count  # what is written stays written
            raise
        return count

    def end(self, error: BaseException | None, abandoned: bool = False) -> None:
        """Give back slot, connection and the breaker's leave, and count what it came to. Once;
        safe in a finalizer."""
        if not self._ended.acquire(False):
            return
        client, call = self.client, self.call
        if self.body is not None:
            stats = call.owner._shared.stats
            counts = {"bytes_sent": self.sent_bytes, "bytes_received": self.body.received}
            stats.add(stats.counts, **counts)
            (self.body.close if error or abandoned else self.body.release)()
        ours = error is None or isinstance(error, OpenAIError)  # the caller's own say nothing
        self._speak(_speaks_for_service(error) if ours and not abandoned else None)
        if isinstance(error, RateLimitError) and error.retry_after and client._queue is not None:
            client._queue.pause(min(error.retry_after, client.max_retry_delay))
        if self.slot is not None:
            if isinstance(error, OpenAIError) and error._transient:
                self.slot.is_owed = call.attempts <= call.max_retries
            self.slot.release()
        if self.handed_over:
            call.owner._end_call(call, error, abandoned, self.stream, self.usage)
        if self.stream is None and not abandoned:
            self._tell(error)

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
    """An answer whose body is read as it arrives: what with_streaming_response gives."""

    def __init__(self, attempt: _Attempt) -> None:
        self.__dict__.update(attempt.response.__dict__)
        self._attempt, self._parse = attempt, attempt.parser()
        attempt.handed_over = True

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Yield the body as it arrives, or in pieces of `chunk_size` bytes."""
        pieces = self._pieces()
        return pieces if chunk_size is None else _in_pieces_of(chunk_size, pieces)

    def _pieces(self) -> Iterator[bytes]:
        try:
            yield from self._attempt.body.pieces()
        except OpenAIError as error:
            self._attempt.end(error)
            self._attempt.place(error)
            raise

    def iter_text(self, chunk_size: int | None = None) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for piece in self.iter_bytes(chunk_size):
            yield decoder.decode(piece)
        yield decoder.decode(b"", final=True)

    def iter_lines(self) -> Iterator[str]:
        for text in _sse_lines(self._pieces(), MAX_BODY_BYTES):
            yield from text.split("\n")[: text.count("\n") or 1]

    def read(self) -> bytes:
        self.content = self.content or b"".join(_at_most(MAX_BODY_BYTES, self._pieces()))
        return self.content

    def text(self) -> str:  # a method in the official package too
        return self.read().decode("utf-8", "replace")

    def json(self) -> Any:
        return self._parsed(_parse_json)

    def parse(self) -> Any:
        """What the call would return: of a stream its chunks as they arrive."""
        return self._parsed(self._parse)

    def _parsed(self, parse: Callable[[bytes], Any]) -> Any:
        try:
            if parse is self._parse and self._attempt.call.read == "stream":
                return self._attempt.open_stream()
            return parse(self.read())
        except BaseException as error:
            self._attempt.end(error)
            if isinstance(error, OpenAIError):
                self._attempt.place(error)
            raise

    def stream_to_file(self, file: Any) -> None:
        _write_whole(file, self._pieces())

    def close(self) -> None:
        self._attempt.end(None)

    def __enter__(self) -> StreamedResponse:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def __del__(self) -> None:
        self._attempt.end(None, abandoned=True)


def _in_pieces_of(size: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = bytearray()
    for piece in pieces:
        rest += piece
        while len(rest) >= size:
            yield bytes(rest[:size])
            del rest[:size]
    if rest:
        yield bytes(rest)


class _Shared:
    """What a client and its copies have in common besides transport, queue and breaker."""

    def __init__(self) -> None:
        self.stats = _Stats()
        self.circuits: dict[Any, str] = {}  # the state that was told last, by breaker


class OpenAIMini:
    """A client of the OpenAI API, or of any server that speaks it.

    >>> client = OpenAIMini(base_url="echo:")  # offline
    >>> client.chat("Hello").content
    'Hello'

    `api_key`: a string, or a callable that returns one, asked at every attempt; else
    OPENAI_API_KEY. `base_url`: else OPENAI_BASE_URL, else https://api.openai.com/v1. `model`: of
    chats that name none.

    `timeout`: seconds, one number or (connect, read); the read part limits silence. `deadline`:
    seconds for a whole call. `max_retries`: attempts after the first, each after a random time of
    up to `initial_retry_delay * backoff_factor ** n` seconds, at most `max_retry_delay`.

    `max_concurrent_requests`, `queue_size` (how many may wait), `requests_per_minute`: the queue;
    `use_request_queue`: False for none, or a RequestQueue to share. `circuit_breaker`: False for
    none, or a CircuitBreaker to share. `fallback`: a client or several, asked where this one's
    server cannot answer.

    `verify`: False, or a bundle's path. `session`: a requests.Session, used as it is. `cache`: a
    mapping that keeps answers to repeated calls. `validate`: whether chat's parameters are checked
    first; None: on api.openai.com alone. `debug`: a line an attempt on stderr. `on_event`: called
    with a dict at each step.

    Every method that calls takes `timeout=`, `deadline=`, `max_retries=`, `priority=`,
    `extra_headers=`, `extra_query=` and `extra_body=`. Errors are OpenAIErrors, wrong arguments
    ValidationErrors.
    """

    _sleep = staticmethod(time.sleep)
    priority = NORMAL
    timeout: Any
    deadline: Any
    max_retries: Any
    initial_retry_delay: Any
    backoff_factor: Any
    max_retry_delay: Any
    _shared: _Shared
    _transport: Any
    _queue: Any
    _jobs: Any
    _breaker: Any

    def __init__(
        self, api_key: str | Callable[[], str] | None = None, *, base_url: str | None = None,
        admin_api_key: str | None = None, organization: str | None = None,
        project: str | None = None, api_version: str | None = None, model: str | None = None,
        timeout: Any = (10, 600), deadline: float | None = None, max_retries: int = 3,
        initial_retry_delay: float = 0.5, backoff_factor: float = 2.0,
        max_retry_delay: float = 60.0,
        use_request_queue: bool | RequestQueue = True, max_concurrent_requests: int = 10,
        queue_size: int = 100, requests_per_minute: int | None = None,
        circuit_breaker: CircuitBreaker | bool | None = None, fallback: Any = None,
        default_headers: Mapping[str, str] | None = None,
        default_query: Mapping[str, Any] | None = None, verify: bool | str | None = None,
        session: Any = None, cache: Any = None, validate: bool | None = None, debug: bool = False,
        on_event: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:  # fmt: skip
        options = {name: value for name, value in locals().items() if name != "self"}
        defaults = type(self).__init__.__kwdefaults__ or {}
        for name in [name for name, value in options.items() if value is NOT_GIVEN]:
            options[name] = defaults.get(name)
        self._configure(options, None)

    def _configure(self, options: dict[str, Any], parent: OpenAIMini | None) -> None:
        self._options, environ = options, os.environ.get
        for name in _OPTIONS_READ_AS_THEY_ARE:
            setattr(self, name, options[name])
        for name in _CHECKS:
            setattr(self, name, _checked_option(name, options[name]))
        for name, good in (
            ("use_request_queue", isinstance(self.use_request_queue, (bool, RequestQueue))),
            ("circuit_breaker", isinstance(self.circuit_breaker or False, (bool, CircuitBreaker))),
            ("session", self.session is None or hasattr(self.session, "prepare_request")),
            ("cache", self.cache is None or hasattr(self.cache, "__setitem__")),
            ("on_event", self.on_event is None or callable(self.on_event)),
            ("default_headers", hasattr(self.default_headers or {}, "items")),
            ("default_query", hasattr(self.default_query or {}, "items")),
        ):
            if not good:
                raise ValidationError("%s= cannot be %r" % (name, options[name]))
        given = options["fallback"] or ()
        self._fallbacks = list(given) if isinstance(given, (list, tuple)) else [given]
        if not all(isinstance(client, OpenAIMini) for client in self._fallbacks):
            raise ValidationError("fallback=%r: a client or a list of clients is needed" % (given,))
        self.organization = options["organization"] or environ("OPENAI_ORG_ID")
        self.project = options["project"] or environ("OPENAI_PROJECT_ID")
        default = environ("OPENAI_BASE_URL") or DEFAULT_HOST + "/v1"
        self._set_base_url(options["base_url"] or default)
        self._key = _checked_key("api_key", options["api_key"] or environ("OPENAI_API_KEY"))
        admin = options["admin_api_key"] or environ("OPENAI_ADMIN_KEY")
        self._admin_key = _checked_key("admin_api_key", admin) or self._key
        if not self._key and self._default_host:
            what = "no API key: pass api_key=, set OPENAI_API_KEY, or name a server by base_url="
            raise AuthenticationError(what)
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
        same_way = not changed & {"session", "max_concurrent_requests"}
        if parent and same_way and parent._echo == self._echo:
            self._transport = parent._transport
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
            made: Any = given
            if not isinstance(given, RequestQueue):
                made = RequestQueue(*(options[name] for name in limits))
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
        given, self._echo = str(base_url), str(base_url) == "echo:"
        try:
            url = url_parse.urlsplit("http://echo/" if self._echo else given.strip())
            url.port  # noqa: B018 (the look-up checks it)
        except ValueError as error:
            raise ValidationError("base_url=%r is no URL: %s" % (given, error)) from None
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValidationError("base_url=%r is no http:// or https:// URL" % given)
        if url.username is not None or url.password is not None:
            raise ValidationError("base_url= holds a user or a password: pass api_key= instead")
        self._base_url = given
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

    @property
    def api_key(self) -> Any:
        """The key, or what returns it; may be set, as in the official package."""
        return self._key

    @api_key.setter
    def api_key(self, key: Any) -> None:
        self._key = _checked_key("api_key", key)
        self._options = {**self._options, "api_key": key}

    @property
    def base_url(self) -> str:
        """The server as it was given. For another one: with_options(base_url=)."""
        return self._base_url

    def with_options(self, **options: Any) -> OpenAIMini:
        """A copy with other constructor arguments. It shares session, queue, breaker, statistics;
        a new base_url gets a breaker of its own."""
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
        call.owner, stats = self, self._shared.stats
        stats.add(stats.counts, requests=1)
        error: BaseException | None = None
        try:
            for client in (self, *self._fallbacks):
                try:
                    return client._perform(call)
                except BaseException as caught:
                    error = caught
                late = time.monotonic() >= call.ends_at
                if late or not isinstance(error, _ANOTHER_SERVER_MAY_DO):
                    break
            self._end_call(call, error)
            raise error or OpenAIError  # the loop returns, or leaves one
        finally:
            error = None  # it knows this frame: a cycle would keep all that the caller has here

    def _perform(self, call: _Call) -> Any:
        """Attempt the call until it succeeds, or until trying again is of no use."""
        call.resolve(self)
        request = self._prepare(call)
        if self.cache is not None:
            hit = self._recall(call, request)
            if hit is not None:
                call.owner._end_call(call, None)
                return hit
        last: OpenAIError | None = None
        try:
            while True:
                call.attempts += 1
                attempt = _Attempt(self, call, request)
                try:
                    result = attempt.run()
                except OpenAIError as error:
                    if last is None or not isinstance(error, CircuitOpenError):
                        last = error  # else what opened the circuit says more
                        attempt.place(last)
                    wait_s = self._wait_before_retry(call, error)
                else:
                    if not attempt.handed_over:
                        call.owner._end_call(call, None, usage=attempt.usage)
                    return result
                if wait_s is None:
                    raise last
                stats = call.owner._shared.stats
                stats.add(stats.counts, retries=1)
                self._emit("retry", call, wait_s=wait_s, error=type(last).__name__)
                self._sleep(wait_s)
        finally:
            last = None  # as in _run

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
            wait_s = random.uniform(0, min(backoff, self.max_retry_delay))  # nosec B311
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
            if stream is not None:
                state = _STREAM_OUTCOMES.get(outcome, outcome)
                more = {"state": state, "usage": usage, "error": name}
                self._emit("stream_end", call, duration_s=latency_s, **more)
            elif error is not None:
                self._emit("error", call, error=name, duration_s=latency_s)

    def _emit(self, event: str, call: _Call, **fields: Any) -> None:
        """Tell on_event and the log. No key and no text of a prompt is in what they get."""
        owner = call.owner
        if not owner._watched:
            return
        told = {"event": event, "id": call.id, "method": call.method, "path": call.path,
                "model": call.model, "attempt": call.attempts}  # fmt: skip
        told.update((name, value) for name, value in fields.items() if value is not None)
        if owner.on_event:
            try:
                owner.on_event(told)
            except Exception:  # a listener's trouble is not the caller's
                _logger().exception("on_event raised")
        if owner._log and event != "request":  # a line for each attempt, when it is over
            fields = {name: value for name, value in told.items() if name != "event"}
            owner._log.info("%s %s", event, " ".join(
                "%s=%s" % (name, _plain(str(value), 200)) for name, value in fields.items()))

    def _notice_circuit(self, call: _Call) -> None:
        state = self._breaker._state
        if state != self._shared.circuits.get(self._breaker, "closed"):
            self._shared.circuits[self._breaker] = state
            self._emit("circuit", call, state=state)

    # How a request is built.

    def _prepare(self, call: _Call) -> _Request:
        request = _Request()
        body = call.json
        if isinstance(body, dict):
            body = {name: value for name, value in body.items() if value is not NOT_GIVEN}
            if call.model_for:
                if body.get("model") is None:
                    body["model"] = self._default_model(call.model_for)
                self._befriend(call, body)
            body.update(call.options.get("extra_body") or {})
            call.model, choices = body.get("model"), body.get("n")
            call.choices = max(choices, 1) if isinstance(choices, int) else 1
        request.method, request.origin, request.verify = call.method, self._origin, self.verify
        query = [*self._query, *_query(call.query), *_query(call.options.get("extra_query"))]
        path = call.path if call.path[:1] == "/" else "/" + call.path
        base = self._base[len(self._origin) :]
        if self.api_version:  # Azure: a deployment is in base_url=, or named after the model
            openai, deployments, _ = base.partition("/openai/deployments/")
            if deployments and path not in _OF_A_DEPLOYMENT:
                base = openai + "/openai"
            elif base.endswith("/openai") and path in _OF_A_DEPLOYMENT and call.model:
                path = "/deployments/" + _path_id("model", call.model) + path
        request.target = base + path
        if query:
            request.target += ("&" if "?" in path else "?") + url_parse.urlencode(query)
        headers = dict(self._headers)
        request.body = call.content
        if call.form is not None:
            request.body, headers["Content-Type"] = call.form, call.form.content_type
            headers["Content-Length"] = str(call.form.length)
        elif body is not None:
            request.body, headers["Content-Type"] = _json_bytes(body), "application/json"
        if isinstance(request.body, bytes):
            headers["Content-Length"] = str(len(request.body))
        if call.method == "POST":
            headers["Idempotency-Key"] = "openai-mini-" + call.id
        if call.read == "stream":
            headers["Accept"] = "text/event-stream"
        extra = call.options.get("extra_headers")
        if extra and call.owner is not self:  # a fallback's server gets no key of another
            extra = {name: value for name, value in extra.items() if not _is_secret(name)}
        if call.headers or extra:
            headers = _merged_headers(headers, call.headers, extra)
        request.headers = headers
        request.has_key = any(name.lower() in ("authorization", "api-key") for name in headers)
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
        if key and not request.has_key:
            if bearer:
                request.headers["Authorization"] = "Bearer " + key
            else:
                request.headers["api-key"] = key
        parts: set[str] = set()
        for name, value in request.headers.items():
            if _is_secret(name):
                least = 4 if name.lower() in ("authorization", "api-key") else 8
                cookies = [pair.partition("=")[2] for pair in value.split(";")]
                found = [value, value.split(" ")[-1], *cookies]
                parts.update(part for part in found if len(part) >= least)
        return sorted(parts, key=len, reverse=True)  # the longest first, as one may hold another

    # The cache.

    def _recall(self, call: _Call, request: _Request) -> Any:
        """The result, where the cache has the answer to this very request; else None."""
        asked_for = call.path in _CACHED_PATHS and call.read in ("object", "json", "auto")
        if not asked_for or call.raw or not isinstance(request.body, bytes):
            return None
        import hashlib

        stats, asked = call.owner._shared.stats, "%s%s\n" % (request.origin, request.target)
        call.cache_key = hashlib.sha256(asked.encode() + request.body).hexdigest()
        hit = None
        try:
            content = self.cache[call.cache_key]
            known = _Attempt(self, call, request)
            known.response = Response(200, {}, call.method, request.origin + call.path)
            hit = known.parse("object", content)
        except KeyError:
            pass  # it is not there yet
        except Exception:  # a cache that fails costs a request, not the answer
            _logger().exception("the cache raised, or holds what is no answer")
        stats.add(stats.cache, **{"misses" if hit is None else "hits": 1})
        return hit

    def _remember(self, call: _Call, content: bytes) -> None:
        try:
            self.cache[call.cache_key] = content
        except Exception:
            _logger().exception("the cache raised")

    # The methods of the table in the README.

    def _post(self, path: str, read: str, body: Any, params: dict[str, Any], **more: Any) -> Result:
        call = _Call("POST", path, read, params, **more)
        call.json = {**body, **params}
        result: Result = self._run(call)
        return result

    def _get(self, path: str, read: str, params: dict[str, Any], **more: Any) -> Any:
        call = _Call("GET", path, read, params, **more)
        call.query = params
        return self._run(call)

    def _upload(
        self, path: str, read: str, params: Any, model: Any = None, progress: Any = None
    ) -> Result:
        call = _Call("POST", path, read, params)
        params["model"] = params.get("model") or model
        params.update(call.options.get("extra_body") or {})
        call.model = params["model"]
        call.form = _Form(_pairs_in(params), (), progress)
        result: Result = self._run(call)
        return result

    @property
    def chat(self) -> _Chat:
        """`client.chat(messages, ...)` answers a conversation; `client.chat.completions` is the
        official package's shape."""
        return _Chat(self, ("chat",))

    def stream_chat(self, messages: Any, *, model: str | None = None, **params: Any) -> Stream:
        """The answer to a conversation in chunks, each with `.content`, a str.

        `messages` as for chat(). Waits for the first chunk. Raises OpenAIError, also while the
        stream is read; a stream cut before its end is a StreamInterruptedError.
        """
        body = {"messages": _messages(messages), "model": model, "stream": True}
        stream: Any = self._post("/chat/completions", "stream", body, params, model_for="chat")
        return stream  # type: ignore[no-any-return]

    def embedding(
        self, input: Any, *, model: str | None = None, **params: Any
    ) -> list[list[float]]:
        """A vector (list of float) per input, in order; `input`: a str, or a list of any length.

        Sent in parts of at most 2048 inputs, halved where the server says that it is too much.
        Raises APIResponseError where there are fewer vectors than inputs.
        """
        if isinstance(input, (bytes, dict)) or not hasattr(input, "__iter__"):
            raise ValidationError("input=%.80r: a str, or a list of them, is needed" % (input,))
        inputs = [input] if isinstance(input, str) else list(input)
        inputs = [inputs] if inputs and isinstance(inputs[0], int) else inputs  # tokens of one text
        vectors: list[list[float]] = []
        most, began_at = MAX_EMBEDDING_INPUTS, time.monotonic()
        while len(vectors) < len(inputs):
            part = _embedding_part(inputs[len(vectors) : len(vectors) + most])
            body, options = {"input": part, "model": model}, self._left_of(params, began_at)
            try:
                answer = self._post("/embeddings", "object", body, options, model_for="embedding")
            except APIStatusError as error:
                if len(part) == 1 or error.status_code not in (400, 413, 422):
                    raise
                most = len(part) // 2
            else:
                vectors += _vectors(answer, len(part))
        return vectors

    def _left_of(self, params: dict[str, Any], began_at: float) -> dict[str, Any]:
        """The options of the next of several requests, with what is left of their deadline."""
        deadline = params.get("deadline", self.deadline)
        if deadline is not None:
            _check_number("deadline", deadline, 0.0)
            deadline = max(began_at + deadline - time.monotonic(), 0.001)
        return {**params, "deadline": deadline}

    def moderation(self, input: Any, **params: Any) -> Result:
        """Whether `input` (a str, or a list) is harmful: `.results[0].flagged`, `.categories`."""
        body = {"input": input}
        return self._post("/moderations", "object", body, params, model_for="moderation")

    def generate_image(self, prompt: str, **params: Any) -> Result:
        """Images by a text: `.data[0].b64_json` or `.url`; `.save(folder)` writes them."""
        body = {"prompt": prompt}
        return self._post("/images/generations", "object", body, params, model_for="image")

    def edit_image(self, image: Any, prompt: str, *, mask: Any = None, **params: Any) -> Result:
        """Images made from `image`, a file or a list of them, where `mask` lets it."""
        images = list(map(_harmless, image)) if isinstance(image, list) else _harmless(image)
        params.update(prompt=prompt, image=images, mask=mask and _harmless(mask))
        return self._upload("/images/edits", "object", params, DEFAULT_MODELS["image"])

    def text_to_speech(
        self, text: str, voice: str = "alloy", *, model: str | None = None, to: Any = None,
        progress: Any = None, **params: Any,
    ) -> Any:  # fmt: skip
        """Speech as bytes (MP3 unless `response_format=`). With `to`, a path or a binary file, it
        is written as it arrives, and its size returned; `progress(received, total)`."""
        body, more = {"input": text, "voice": voice, "model": model}, {"sink": (to, progress)}
        return self._post("/audio/speech", "bytes", body, params, model_for="speech", **more)

    def transcribe_audio(self, file: Any, **params: Any) -> Result:
        """The text of an audio file: `.text`, also its `str()`. `file`: a path, bytes, a binary
        file or (name, any of these). `response_format=`: json, text, srt, vtt, verbose_json."""
        params["file"], model = _harmless(file), DEFAULT_MODELS["transcription"]
        return self._upload("/audio/transcriptions", "transcript", params, model)

    def translate_audio(self, file: Any, **params: Any) -> Result:
        """The same in English, by whisper-1 unless `model=` is given: others only transcribe."""
        params["file"] = _harmless(file)
        return self._upload("/audio/translations", "transcript", params, "whisper-1")

    def upload_file(
        self, file: Any, *, purpose: str = "fine-tune", file_name: str | None = None,
        progress: Any = None, **params: Any,
    ) -> Result:  # fmt: skip
        """Upload a file (a path, bytes, a binary file or (name, any of these)) from disk as it goes
        out; `progress(sent, total)` is called on the way. Returns its `.id`."""
        params.update(purpose=purpose, file=_harmless(_File(file, file_name)))
        return self._upload("/files", "object", params, progress=progress)

    def download_file(
        self, file_id: str, to: Any = None, *, progress: Any = None, **params: Any
    ) -> Any:
        """A file's bytes. With `to`, a path or a binary file, they are written as they arrive, and
        counted; a path appears whole or not at all. `progress(received, total)`."""
        path = "/files/%s/content" % _path_id("file_id", file_id)
        return self._get(path, "bytes", params, sink=(to, progress))

    def list_models(self, **params: Any) -> list[str]:
        """The ids of the models."""
        answer = self._get("/models", "object", params)
        ids = _found_in(answer, "list of models", lambda: [one["id"] for one in answer["data"]])
        return list(map(str, ids))

    def health(self, **params: Any) -> dict[str, Any]:
        """`ok`, `latency_s`, `models` (how many), `circuit`, `error`. Raises nothing."""
        told: dict[str, Any] = {"models": None, "error": None}
        began_at, params = time.monotonic(), {"max_retries": 0, **params}
        try:
            told["models"] = len(self.list_models(**params))
        except Exception as error:  # of a callable api_key= too
            told["error"] = str(error) or repr(error)
        told.update(ok=told["error"] is None, latency_s=time.monotonic() - began_at)
        return {**told, "circuit": self._breaker and self._breaker.state}

    def run_tools(
        self, messages: Any, tools: Any, *, max_rounds: int = 10, **params: Any
    ) -> Result:
        """Chat, call the tools that the model asks for, tell it what they returned, and so on.

        `tools`: functions (described by signature, hints, docstring) or (schema, function) pairs.
        A tool that raises, is unknown or gets broken arguments is told to the model. The Result has
        the conversation as `.messages`. Raises ToolLoopError after `max_rounds` requests.
        """
        messages, began_at = _messages(messages), time.monotonic()
        described = [_described_tool(tool) for tool in tools]
        functions = {schema["function"]["name"]: function for schema, function in described}
        if described:
            params["tools"] = [schema for schema, _ in described]
        for _ in range(max_rounds):
            result = self.chat(messages, **self._left_of(params, began_at))
            messages.append(result.message)
            if not result.tool_calls:
                result["messages"] = messages
                return result
            calls = result.tool_calls if isinstance(result.tool_calls, list) else []
            messages += [_tool_message(functions, call) for call in calls]
        what = "the model still calls tools after %d requests: raise max_rounds=" % max_rounds
        raise ToolLoopError(what, messages=messages)

    def request(
        self, method: str, path: str, *, json: Any = None, data: Any = None, files: Any = None,
        params: Any = None, stream: bool = False, **options: Any,
    ) -> Any:
        """Any request below base_url. Returns Result, Stream, bytes or text by its Content-Type.

        `data`: a form's fields with `files` (a dict of files), else bytes or a str. An absolute URL
        of another origin is refused with a ValidationError.
        """
        if not isinstance(method, str) or not isinstance(path, str):
            raise ValidationError("request(%.80r, %.80r): two str are needed" % (method, path))
        if re.match(r"([\w+.-]+:)?//", path):
            if not path.startswith(self._base + "/"):
                raise ValidationError("%r is not below base_url=%r" % (path, self._base))
            path = path[len(self._base) :]
        call = _Call(method.upper(), path, "stream" if stream else "auto", options)
        if options or not method.isalpha() or not method.isascii():
            raise ValidationError("request() knows no %s" % (", ".join(options) or repr(method)))
        if json is not None and (data is not None or files is not None):
            raise ValidationError("request() takes json= or data= and files=, not both")
        call.json, call.query = json, params or {}
        if files is not None or isinstance(data, dict):
            pairs = files.items() if hasattr(files, "items") else files or ()
            call.form = _Form(_pairs_in(data), [(name, _File(file)) for name, file in pairs])
        elif data is not None:
            call.content = data.encode() if isinstance(data, str) else data
            if not isinstance(call.content, (bytes, bytearray)):
                raise ValidationError("data=%.80r: a dict, bytes or a str is needed" % (data,))
        return self._run(call)

    def _verb(
        self, method: str, path: str, body: Any = None, options: Any = None, cast_to: Any = None,
        stream_cls: Any = None, **more: Any,
    ) -> Any:
        """client.get(path, cast_to=, options=), .post and so on, as of the official package."""
        names = {"headers": "extra_headers", "extra_json": "extra_body"}
        given = {names.get(name, name): value for name, value in (options or {}).items()}
        return self.request(method, path, json=body, **{**given, **more})

    def submit(self, method: Any, *args: Any, priority: int = NORMAL, **kwargs: Any) -> Any:
        """Have a method (its name, or any callable) called by a daemon thread: a Future."""
        function = self._job(method, priority, kwargs)
        return self._jobs.submit(lambda: function(*args), priority=priority)

    def map(
        self, method: Any, inputs: Iterable[Any], *, priority: int = NORMAL, **kwargs: Any
    ) -> Iterator[Any]:
        """A method (its name, or any callable) over `inputs`: an iterator of results in order.

        At most `queue_size` inputs are read ahead, so that a million need no memory.
        """
        return iter(self._jobs.map(self._job(method, priority, kwargs), inputs, priority=priority))

    def _job(self, method: Any, priority: int, kwargs: dict[str, Any]) -> Any:
        if isinstance(method, str):
            import operator

            method, kwargs = operator.attrgetter(method)(self), {**kwargs, "priority": priority}
        return lambda *args: method(*args, **kwargs)

    def stats(self) -> dict[str, Any]:
        """What has been counted so far, a dict; calls are `succeeded + failed + abandoned`.

        `requests` (calls), `succeeded`, `failed`, `abandoned`, `retries`, `errors` by class,
        `latency_s`, `tokens`, `streams`, `bytes_sent`, `bytes_received`, `queue`, `circuit`,
        `rate_limit` (the last answer's x-ratelimit-*), `cache`. Times are in seconds.
        """
        stats, queue, breaker = self._shared.stats, self._jobs, self._breaker
        state, opened = (breaker.state, breaker.opened) if breaker else (None, 0)
        told: dict[str, Any] = stats.mailbox.ask(stats.snapshot)
        told["queue"] = {"running": queue.running, "waiting": queue.waiting}
        return {**told, "circuit": {"state": state, "opened": opened}}

    def __getattr__(self, name: str) -> Any:
        if name in _OFFICIAL_VERBS:
            return lambda path, **options: self._verb(name.upper(), path, **options)
        if name in _TOP_LEVEL:
            return getattr(_Resource(self, ()), name)
        raise _unknown_name("OpenAIMini", name, (*_TOP_LEVEL, *dir(type(self))))

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *_TOP_LEVEL, *_OFFICIAL_VERBS]


OpenAI = OpenAIMini  # a chained assignment would be no type to mypy
Client = OpenAIMini

_OFFICIAL_VERBS = ("get", "post", "put", "patch", "delete")
_OPTIONS_READ_AS_THEY_ARE = (
    "api_version model "
    "use_request_queue max_concurrent_requests circuit_breaker fallback default_headers "
    "default_query verify session cache validate debug on_event"
).split()


def AzureOpenAI(
    *, azure_endpoint: str | None = None, azure_deployment: str | None = None, api_key: Any = None,
    azure_ad_token_provider: Any = None, api_version: str | None = None, **options: Any,
) -> OpenAIMini:  # fmt: skip
    """A client of an Azure deployment. Else AZURE_OPENAI_ENDPOINT, AZURE_OPENAI_API_KEY,
    AZURE_OPENAI_AD_TOKEN and OPENAI_API_VERSION are read."""
    environ = os.environ.get
    version = api_version or environ("OPENAI_API_VERSION")
    endpoint = azure_endpoint or environ("AZURE_OPENAI_ENDPOINT")
    if not version or not endpoint and not options.get("base_url"):
        what = "azure_endpoint= or AZURE_OPENAI_ENDPOINT, api_version= or OPENAI_API_VERSION"
        raise ValidationError("what is needed: " + what)
    place = (endpoint or "").rstrip("/") + "/openai"
    if azure_deployment:
        place += "/deployments/" + _path_id("azure_deployment", azure_deployment)
    options.setdefault("base_url", place)
    key = azure_ad_token_provider or api_key or environ("AZURE_OPENAI_API_KEY")
    token = environ("AZURE_OPENAI_AD_TOKEN")  # what a callable returns goes as a bearer
    if not key and not token:  # OPENAI_API_KEY is nothing for Azure to know
        what = "no key for Azure: pass api_key= or azure_ad_token_provider=, or set "
        raise AuthenticationError(what + "AZURE_OPENAI_API_KEY or AZURE_OPENAI_AD_TOKEN")
    return OpenAIMini(key or (token and token.strip), api_version=version, **options)


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
    if not isinstance(key, str) or not key.strip().isascii() or not key.strip().isprintable():
        raise ValidationError("%s is no str, or holds what no header can, as a line break" % name)
    return key.strip()


def _checked_option(name: str, value: Any) -> Any:
    """A number that the caller gave for `name`, once it is known to be one; a timeout as a pair."""
    if name == "timeout":
        if hasattr(value, "connect") and hasattr(value, "read"):  # as httpx.Timeout
            value = (value.connect, value.read)
        pair = value if isinstance(value, (tuple, list)) else (value, value)
        if len(pair) != 2:
            raise ValidationError("timeout=%r: seconds, or (connect, read)" % (value,))
        for seconds in pair:
            _check_number(name, 1 if seconds is None else seconds, _CHECKS[name])
        return tuple(pair)
    if value is not None or name != "deadline":
        _check_number(name, value, _CHECKS.get(name, float("-inf")))
    return value


def _is_secret(header: str) -> bool:
    """Whether a header of this name holds a key or the like."""
    words = "authori[sz]|authentic|auth$|auth-|key$|token$|secret|passw|credential|signat|cookie"
    return header.lower() not in _OPEN_HEADERS and bool(re.search(words, header.lower()))


def _merged_headers(*layers: Any) -> dict[str, str]:
    """Headers of which the later win, whatever their case; None takes one away."""
    merged: dict[str, tuple[str, str]] = {}
    for name, value in (pair for layer in layers for pair in (layer or {}).items()):
        merged.pop(name.lower(), None)
        if value is None or value is NOT_GIVEN:
            continue
        if not re.fullmatch(r"[!-9;-~]+\n[\t -~\x80-\xff]*", "%s\n%s" % (name, value)):
            raise ValidationError("the header %r has a character that no header can hold" % name)
        merged[name.lower()] = (name, str(value))
    return dict(merged.values())


def _pairs_in(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Query or form fields as the official client has them: a[]=1, a[]=2, b[c]=true; no None."""
    if value is None or value is NOT_GIVEN:
        return []
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise ValidationError("%s= is %r: no request can hold that" % (name, value))
    if isinstance(value, _File) or _is_file(value) and not isinstance(value, list):
        return [(name, value if isinstance(value, _File) else _File(value))]
    if hasattr(value, "items"):
        inner = [(name + "[%s]" % key if name else str(key), item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        inner = [(name + "[]", item) for item in value]
    else:
        return [(name, str(value).lower() if isinstance(value, bool) else str(value))]
    return [pair for key, item in inner for pair in _pairs_in(item, key)]


def _query(value: Any) -> list[tuple[str, Any]]:
    """The pairs of a query: of a dict, a list of pairs, or a str, as requests takes them."""
    if isinstance(value, str):
        return list(url_parse.parse_qsl(value.lstrip("?"), keep_blank_values=True))
    if isinstance(value, (list, tuple)):
        return [pair for key, item in value for pair in _pairs_in(item, str(key))]
    return _pairs_in(value)


def _path_id(name: str, value: Any) -> str:
    """An id as it stands in a path (RFC 3986, section 3.3)."""
    if value is None or str(value) in ("", ".", ".."):
        raise ValidationError("%s is %r: no path can hold that" % (name, value))
    return str(url_parse.quote(str(value), safe="!$&'()*+,;=:@", errors="replace"))


def _harmless(file: Any) -> _File:
    """A file whose name is one name, not a path."""
    opened = file if isinstance(file, _File) else _File(file)
    name = re.split(r"[/\\]", opened.name)[-1]
    opened.name = name if name.strip(". ") else "upload"
    return opened


def _json_bytes(body: Any) -> bytes:
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()  # type: ignore
    except (TypeError, ValueError, RecursionError) as error:
        reason = _plain(str(error), 80)
    raise ValidationError("%s cannot be JSON: %s" % (_place_of_no_json(body) or "this", reason))


def _place_of_no_json(value: Any, place: str = "") -> str:
    """Where the innermost part of `value` is that JSON cannot hold: 'messages[0].content'."""
    is_list = isinstance(value, (list, tuple))
    items = enumerate(value) if is_list else value.items() if isinstance(value, dict) else ()
    for key, item in items:
        where = "%s[%d]" % (place, key) if is_list else ("%s.%s" % (place, key)).lstrip(".")
        try:
            json.dumps(item, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            return _place_of_no_json(item, where) if len(where) < 200 else where
    return place


def _messages(messages: Any) -> list[Any]:
    """`messages` as a list, if it has the structure of one; a str is one user message."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if not isinstance(messages, (list, tuple)) or not messages:
        raise ValidationError("messages is no list of messages, and no str: %.80r" % (messages,))
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in _ROLES:
            what = "messages[%d] is no dict with a role of %s" % (number, ", ".join(_ROLES))
            raise ValidationError(what)
        if message.get("content") is None and (role != "assistant" or len(message) < 2):
            raise ValidationError("messages[%d] has no content" % number)
    return list(messages)


_ROLES = ("developer", "system", "user", "assistant", "tool", "function")
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 2), "top_p": (0.0, 1), "frequency_penalty": (-2.0, 2),
    "presence_penalty": (-2.0, 2), "max_tokens": (1, 131072), "max_completion_tokens": (1, 131072),
    "n": (1, 128), "top_logprobs": (0, 20), "seed": (-(1 << 63), 1 << 63),
}


def _check_chat(body: dict[str, Any]) -> None:
    """Chat's parameters as the API reference limits them."""
    given = {name: value for name, value in body.items() if value is not None}
    for name in _RANGES.keys() & given.keys():
        _check_number(name, given[name], *_RANGES[name])
    stop, logprobs = given.get("stop", []), given.get("logprobs", False)
    stops = stop if isinstance(stop, list) else [stop]
    if len(stops) > 4 or not all(one and isinstance(one, str) for one in stops):
        raise ValidationError("stop= is %r: at most 4 texts, none of them empty" % (stop,))
    if not isinstance(logprobs, bool):
        raise ValidationError("logprobs= is %r: True or False is needed" % (logprobs,))
    if "top_logprobs" in given and not logprobs:
        raise ValidationError("top_logprobs= is %r: it needs logprobs=True" % given["top_logprobs"])


def _found_in(answer: Any, what: str, find: Callable[[], Any]) -> Any:
    """What `find()` finds in an answer; an APIResponseError where that has another shape."""
    try:
        return find()
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        said = "the answer has no %s: %s" % (what, _plain(json.dumps(answer), 100))
        error = APIResponseError(said)
    raise answer._response.placed(error)


def _embedding_part(inputs: list[Any]) -> list[Any]:
    """As many of the first inputs as one request may hold by their size."""
    size = 0
    for count, one in enumerate(inputs):
        size += len(str(one))
        if count and size > MAX_EMBEDDING_CHARS:
            return inputs[:count]
    return inputs


def _vectors(answer: Result, count: int) -> Any:
    """The `count` vectors of an answer, in the order of their inputs."""

    def find() -> list[list[float]]:
        items = sorted(answer["data"], key=lambda item: item.get("index") or 0)
        return [_vector(items[index]["embedding"]) for index in range(count)]

    return _found_in(answer, "%d vectors, one for each input" % count, find)


def _vector(embedding: Any) -> list[float]:
    """A vector sent as numbers, or as base64 of little-endian 32-bit floats."""
    if isinstance(embedding, str):
        import array

        numbers = array.array("f", _from_base64(embedding))
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers.tolist()
    return list(map(float, embedding))


def _schema_parts(schema: Any) -> Any:
    """The response_format for `schema`: a JSON schema, or a class that has one."""
    if isinstance(schema, dict):
        name, strict = schema.get("title") or "answer", schema.get("additionalProperties") is False
    elif not hasattr(schema, "model_json_schema"):
        what = "schema=%.80r: a dict (a JSON schema) or a class with model_json_schema is needed"
        raise ValidationError(what % (schema,))
    else:
        name, strict, schema = schema.__name__, True, schema.model_json_schema()
        schema = _strict(schema, schema.get("$defs"))
    described = {"name": re.sub(r"[^\w-]", "_", name), "schema": schema, "strict": strict}
    return {"type": "json_schema", "json_schema": described}


def _strict(schema: Any, defs: Any) -> Any:
    """A schema as the API's strict mode wants it: all properties required, no others, no default
    values, and nothing beside a $ref."""
    if isinstance(schema, list):
        return [_strict(item, defs) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema and len(schema) > 1:
        schema = {**defs[schema["$ref"].split("/")[-1]], **schema}
        del schema["$ref"]
    items = [pair for pair in schema.items() if pair[0] != "default" or isinstance(pair[1], dict)]
    schema = {key: _strict(value, defs) for key, value in items}
    if schema.get("type") == "object" and "properties" in schema:
        schema.update(additionalProperties=False, required=list(schema["properties"]))
    return schema


def _parsed(schema: Any, result: Result) -> Any:
    """What the content of `result` says, as `schema` has it; None of a refusal or a tool call."""
    if not result.content:
        return None
    if result.finish_reason == "length":
        what = "the answer was cut at max_tokens"
        raise APIResponseError(what, "Allow more tokens.", partial=result)
    try:
        read = _parse_json if isinstance(schema, dict) else schema.model_validate_json
        return read(result.content)
    except ValueError as error:
        what = "the answer does not fit the schema: " + _plain(str(error), 200)
        raise APIResponseError(what, body=result) from None


_JSON_TYPES = {
    str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"
}  # fmt: skip


def _described_tool(tool: Any) -> tuple[dict[str, Any], Any]:
    """(the tool object for the API, the function) of a function or a (schema, function) pair."""
    schema, function = tool if isinstance(tool, tuple) else (None, tool)
    if schema and "function" in schema:
        return schema, function
    try:
        described = {"name": function.__name__, "description": inspect.getdoc(function) or ""}
        described["parameters"] = schema or _schema_of(function)
    except (AttributeError, NameError, TypeError, ValueError) as error:
        what = "the tool %r cannot be described (%s): pass (tool object, function)"
        raise ValidationError(what % (function, error)) from None
    return {"type": "function", "function": described}, function


def _schema_of(function: Any) -> dict[str, Any]:
    """The JSON schema of a function's parameters, by its signature and type hints."""
    import typing

    hints, parameters = typing.get_type_hints(function), inspect.signature(function).parameters
    named = [one for one in parameters.values() if "VAR_" not in one.kind.name]
    properties = {one.name: _schema_of_hint(hints.get(one.name)) for one in named}
    required = [one.name for one in named if one.default is one.empty]
    return {"type": "object", "properties": properties, "required": required}


def _schema_of_hint(hint: Any) -> dict[str, Any]:
    import typing

    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return {"enum": list(args)}
    if args[1:] == (type(None),):  # Optional[X], or X | None
        return _schema_of_hint(args[0])
    kind = _JSON_TYPES.get(origin or hint)
    items = {"items": _schema_of_hint(args[0])} if kind == "array" and args else {}
    return {"type": kind, **items} if kind else {}


def _tool_message(functions: dict[str, Any], call: Any) -> dict[str, Any]:
    """The answer to a model's call of a tool; what goes wrong is told to the model too."""
    try:
        asked = call["function"]
        if asked["name"] not in functions:
            raise LookupError("no tool %r, only %s" % (asked["name"], ", ".join(functions)))
        answer = functions[asked["name"]](**json.loads(asked.get("arguments") or "{}"))
        content = answer if isinstance(answer, str) else json.dumps(answer, default=str)
    except Exception as error:  # whatever it is, it is the model's to know
        content = "Error: %s: %s" % (type(error).__name__, _plain(str(error)))
    return {"role": "tool", "tool_call_id": getattr(call, "id", None), "content": content}


# ------------------------------------------------------------------------------------------------
# Resources
#
# The official package's shape by rule: the attribute path is the URL path, the verb the method. A
# segment in the plural has an id, named after its singular; one in the singular has none. Ids come
# by keyword, the last one also by position. What is left is the query of a GET or DELETE and the
# body of a POST; a file in it makes it a form. The tables: what this gets wrong of openai 3.57.0.


def _table(*rows: str) -> dict[str, str]:
    """'a=b c' -> {'a': 'b', 'c': ''}."""
    return dict(pair.partition("=")[::2] for row in rows for pair in row.split())


_TOP_LEVEL = """admin audio batches beta chat completions containers content_provenance_checks
    conversations decisions embeddings evals files fine_tuning images live models moderations
    realtime responses safety skills uploads vector_stores videos webhooks with_raw_response
    with_streaming_response""".split()
_MOVED = _table(  # an attribute path that is not the URL path: a pattern, and what it becomes
    # Names that only sort the attributes; groups that the API keeps elsewhere.
    r"^(beta|admin)/= ^agents/vaults=vaults ^webhooks/event_types=webhook_event_types",
    r"^webhooks/=webhook_endpoints/ ^organization/(projects/.*roles/)=\1",
    # Reports, each with a verb of its own; one is kept elsewhere.
    r"^(organization/usage/\w+)$=\1/list ^organization/usage/costs=organization/costs",
)
# By verb, or segment.verb: the method, and what follows the segment, {} for its id.
_VERBS = _table(
    "create=POST list=GET retrieve=GET/{} update=POST/{} delete=DELETE/{}",  # the rule
    # The API's own: POST/{}/verb. Two of them send {} where there is nothing to send.
    "accept archive cancel complete fork hangup pause refer remix resume run search test validate",
    "submit_tool_outputs reject=POST/{}/reject rotate_secret=POST/{}/rotate_secret",
    # About all of a segment.
    "activate=POST/activate compact=POST/compact count=POST deactivate=POST/deactivate",
    # `create` and `retrieve` by other names.
    "parse=POST content=GET/{}/content retrieve_content=GET/{}/content events.stream=GET",
    "download_content=GET/{}/content download_recording=GET/{}/content permissions.retrieve=GET",
    # The verb names a segment, perhaps the same once more.
    "list_rate_limits=GET update_rate_limit=POST/{} list_events=GET/{}/events",
    "list_files=GET/{}/files list_items=GET/{}/items create_and_run=POST/runs",
    "create_character=POST/characters get_character=GET/characters/{character_id}",
    "create_variation=POST/variations generate=POST/generations edit=POST/edits",
    "extend=POST/extensions live.create=POST/sessions",
)
_IDS = _table(
    # Not named after the singular; the last is of a singular.
    "admin_api_keys=key_id alerts=id batches=batch_id cases=id file_batches=batch_id models=model",
    "checkpoints=fine_tuned_model_checkpoint jobs=fine_tuning_job_id spend_alerts=alert_id",
    "federation_rules=workload_identity_federation_rule_id templates=environment_template_id",
    "versions=version voice_consents=consent_id external_storage=external_storage_id",
    # Plurals of which there is one, or whose id is left out before the segment after the slash.
    "graders hosted_tool_permissions model_permissions service_tier_settings agents/automations",
    "agents/environments agents/sessions environments/templates responses/input_tokens",
    "translations/client_secrets",
)
_BETA = _table(  # what the official client sends as OpenAI-Beta
    "beta.agents=agents=v1 beta.assistants=assistants=v2 beta.chatkit=chatkit_beta=v1",
    "beta.realtime=assistants=v2 beta.threads=assistants=v2 vector_stores=assistants=v2",
)


def _template(path: tuple[str, ...]) -> tuple[str, str, bool]:
    """The method and URL path of an attribute path, ids in braces; whether {} is sent for nothing.

    >>> _template(("vector_stores", "files", "content"))
    ('GET', '/vector_stores/{vector_store_id}/files/{file_id}/content', True)
    """
    place = "/".join(path)
    for pattern, moved in _MOVED.items():
        place = re.sub(pattern, moved, place)
    *before, last, verb = ["", *place.split("/")]
    row = _VERBS.get(last + "." + verb, _VERBS.get(verb))
    if row is None or not last:
        raise _unknown_name(".".join(["client", *path[:-1]]), verb, _VERBS)
    method, _, rest = (row or "POST/{}/" + verb).partition("/")
    url = "".join(a + _id_of(a, b) + "/" for a, b in zip(before, [*before[1:], last])) + last
    return method, url + ("/" + rest if rest else "").replace("/{}", _id_of(last)), bool(row)


def _id_of(segment: str, following: str = "") -> str:
    """'files' -> '/{file_id}', 'content' -> ''; `following` is the next segment."""
    singular = segment[:-1] + "_id" if segment.endswith("s") else ""
    name = _IDS.get(segment + "/" + following, _IDS.get(segment, singular))
    return "/{%s}" % name if name else ""


def _resolve(path: tuple[str, ...], args: tuple[Any, ...], given: dict[str, Any]) -> _Call:
    """The call that `client.<path>(*args, **given)` stands for."""
    method, template, sends_empty = _template(path)
    read, url = _read_as(template, path[-1], given), _filled(path, template, args, given)
    call = _Call(method, url, read, given, admin=path[0] == "admin")
    if isinstance(given.get("file"), str):
        raise ValidationError("file= is a str: give a pathlib.Path, an open binary file or bytes")
    betas, key = given.pop("betas", ()), given.pop("idempotency_key", None)  # go as headers
    beta = ",".join(betas) or _BETA.get(path[0]) or _BETA.get(".".join(path[:2]))
    call.headers = {"OpenAI-Beta": beta, **({"Idempotency-Key": key} if key else {})}
    call.query = {"beta": "true"} if path[:2] == ("beta", "responses") else {}
    if path[-3:-1] in (("threads", "runs"), ("conversations", "items")):
        call.query["include"] = given.pop("include", None)  # of a POST too
    if method != "POST":
        call.query.update(given)
    elif template in ("/audio/voices", "/videos") or any(map(_is_file, given.values())):
        call.model = given.get("model")
        pairs = _pairs_in({**given, **(call.options.get("extra_body") or {})})
        call.form = _Form(sorted(pairs, key=lambda pair: isinstance(pair[1], _File)), ())
    elif path[:2] == ("beta", "agents") and given:  # Python cannot name `async`: they say `async_`
        call.json = json.loads(_json_bytes(given).replace(b'"async_":', b'"async":'))
    elif given or sends_empty and path[-2] != "invocations":
        call.json = given
    if method != "GET" and call.form is None:
        call.headers["Content-Type"] = "application/json"  # without a body too
    return call


def _read_as(url: str, verb: str, given: dict[str, Any]) -> str:
    """How the answer is read, as _Attempt.parse has it."""
    if given.get("stream") or verb == "stream":
        return "stream"
    if verb == "retrieve_content" or given.get("response_format") in ("text", "srt", "vtt"):
        return "text"
    if url == "/audio/speech" or url.endswith("/content") and "vector_stores" not in url:
        return "bytes"
    return "page" if verb.startswith("list") and url != "/models" else "json"


def _filled(path: Any, url: str, args: tuple[Any, ...], given: dict[str, Any]) -> str:
    """The URL path with its ids, which are taken out of `given`; the last may be in `args`."""
    ids = re.findall(r"{(\w+)}", url)
    if len(args) > len(ids[-1:]) or given.keys() & {*ids} != {*ids[: len(ids) - len(args)]}:
        what = "%s() takes %s by keyword, the last also by position; nothing else by position"
        raise TypeError(what % (".".join(path), ", ".join(ids) or "no id"))
    given.update(zip(ids[-1:], args))
    for name in ids:
        url = url.replace("{%s}" % name, _path_id(name, given.pop(name)))
    return url


def _is_file(value: Any) -> bool:
    """Whether an argument is a file, (name, file) or (name, file, type), or a list of them."""
    if isinstance(value, (list, tuple)):
        return any(map(_is_file, value[:1] if isinstance(value, list) else value[1:2]))
    return isinstance(value, (bytes, bytearray, os.PathLike)) or callable(getattr(value, "read", 0))


def _next_page(client: OpenAIMini, call: _Call, query: dict[str, Any]) -> Any:
    """The page of a list that `query`, {"after": ...}, asks for."""
    if call.path.startswith("/agents/environments/"):
        query = {"page": query["after"]}  # the one list that calls it so
    more = {"query": {**call.query, **query}, "headers": call.headers, "admin": call.admin}
    return client._run(_Call("GET", call.path, "page", dict(call.options), **more))


def _unknown_name(where: str, name: str, known: Iterable[str]) -> AttributeError:
    import difflib

    near = difflib.get_close_matches(name, [one for one in known if one[0] != "_"], 1)
    hint = ": did you mean %r?" % near[0] if near else ""
    return AttributeError("%s has no %r%s" % (where, name, hint))


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
        schema = given.get("response_format") or given.pop("text_format", None)
        if isinstance(schema, type):
            form = _schema_parts(schema)
            if "chat" in self._path:
                given["response_format"] = form
            else:
                form = {**form.pop("json_schema"), **form}
                given["text"] = {**(given.get("text") or {}), "format": form}
        call = _resolve(self._path, args, given)
        call.raw = self._raw
        result = self._client._run(call)
        if call.raw and isinstance(result, Stream):
            return _RawStream(result)
        if isinstance(schema, type):
            if call.raw:
                read = result._parse
                result._parse = lambda content: _with_parsed(schema, read(content))
            elif isinstance(result, Result):
                return _with_parsed(schema, result)
        return result

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *"create list retrieve update delete with_raw_response".split()]

    def __repr__(self) -> str:
        return "<openai_mini client.%s>" % ".".join(self._path)


class _RawStream(Response):
    """A stream's answer; the Stream, which is its parse(), does not know it, so that both go at
    once when they are dropped."""

    def __init__(self, stream: Stream) -> None:
        self.__dict__.update(stream.response.__dict__)
        self._parse = lambda content: stream


def _with_parsed(schema: Any, result: Result) -> Result:
    """Set `.parsed` of a chat's messages or a Responses answer's texts; `result` has the first."""
    choices = [one for one in _dicts(result.get("choices")) if _dicts([one.get("message")])]
    texts = [(one["message"], Result(choices=[one])) for one in choices]
    parts = [part for item in _dicts(result.get("output")) for part in _dicts(item.get("content"))]
    parts = [part for part in parts if part.get("type") == "output_text"]
    texts += [(part, Result(content=part.get("text"))) for part in parts]
    try:
        for holder, text in reversed(texts):
            holder._parsed = result._parsed = _parsed(schema, text)
    except APIResponseError as error:
        raise result._response.placed(error) from None
    return result


class _Chat(_Resource):
    """`client.chat(messages)` answers; `client.chat.completions` is the official shape."""

    completions = property(lambda self: self.__getattr__("completions"))

    def __call__(
        self, messages: Any, *, model: str | None = None, schema: Any = None, **params: Any
    ) -> Result:
        """The answer to a conversation: `.content`, `.tool_calls`, `.finish_reason`, `.usage`.

        `messages`: a list of messages, or a str, which is one user message. `schema`: a JSON
        schema, or a class with `model_json_schema` and `model_validate_json`; the answer is then
        also `.parsed`. Any other argument goes out as it is. Raises OpenAIError.
        """
        if params.get("stream"):
            raise ValidationError("chat() gives whole answers: for stream=True use stream_chat()")
        body = {"messages": _messages(messages), "model": model}
        if schema is not None:
            body["response_format"] = _schema_parts(schema)
        more = {"model_for": "chat"}
        result: Result = self._client._post("/chat/completions", "object", body, params, **more)
        return result if schema is None else _with_parsed(schema, result)


_module_client: list[Any] = [None, None]  # (its options, the client)


def __getattr__(name: str) -> Any:
    """`openai_mini.chat` and the like, of a client made from `openai_mini.api_key` and so on."""
    options = ["api_key", *(OpenAIMini.__init__.__kwdefaults__ or ())]
    if name in options:
        return None  # nobody has set it
    if name not in _TOP_LEVEL:
        raise _unknown_name("openai_mini", name, (*_TOP_LEVEL, *globals()))
    given = {one: globals()[one] for one in options if one in globals()}
    if _module_client[0] != given:
        _module_client[:] = given, OpenAIMini(**given)
    return getattr(_module_client[1], name)


# ------------------------------------------------------------------------------------------------
# Offline transport
#
# base_url="echo:" answers in the process, through the same parsers as any answer.


def _echo_chat(asked: dict[str, Any]) -> Any:
    """The last user message, whole or as the bytes of an event stream; a schema's least answer."""
    users = [one for one in _dicts(asked.get("messages")) if one.get("role") == "user"]
    content = users[-1].get("content") if users else ""
    texts = [part.get("text") or "" for part in _dicts(content)]
    text = content if isinstance(content, str) else " ".join(texts)
    form = asked.get("response_format") or {}
    if form.get("type") == "json_schema":
        schema = form["json_schema"]["schema"]
        text = json.dumps(_echo_by_schema(schema, schema.get("$defs")))
    count = len(text.split())
    usage = {"prompt_tokens": count, "completion_tokens": count, "total_tokens": 2 * count}
    if not asked.get("stream"):
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return {"object": "chat.completion", "choices": [{"index": 0, **choice}], "usage": usage}
    words = [{"content": word} for word in re.findall(r"\s*\S+(?:\s+$)?|\s+", text)]
    choices: list[Any] = [{"index": 0, "delta": one} for one in ({"role": "assistant"}, *words, {})]
    choices[-1]["finish_reason"] = "stop"
    events: list[Any] = [{"object": "chat.completion.chunk", "choices": [one]} for one in choices]
    events[-1]["usage"] = usage
    lines = ["data: %s\n\n" % json.dumps(event) for event in events]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


def _echo_by_schema(schema: dict[str, Any], defs: Any) -> Any:
    """The least that a JSON schema allows, where it has no limits."""
    if "$ref" in schema:
        return _echo_by_schema(defs[schema["$ref"].split("/")[-1]], defs)
    if "anyOf" in schema:
        return _echo_by_schema(schema["anyOf"][0], defs)
    if schema.get("type") == "object":
        properties = schema.get("properties", {}).items()
        return {name: _echo_by_schema(one, defs) for name, one in properties}
    least = {"string": "echo", "integer": 0, "number": 0.0, "boolean": False, "array": []}
    return schema["enum"][0] if "enum" in schema else least.get(schema.get("type", ""))


def _echo_embeddings(asked: dict[str, Any]) -> Any:
    """Unit vectors, the same for the same text."""
    import hashlib

    data, inputs = [], asked["input"]
    if isinstance(inputs, str) or isinstance(inputs[0], int):
        inputs = [inputs]
    for index, one in enumerate(inputs):
        numbers = [byte - 127.5 for byte in hashlib.sha256(json.dumps(one).encode()).digest()]
        length = sum(number * number for number in numbers) ** 0.5
        data.append({"index": index, "embedding": [number / length for number in numbers]})
    return {"object": "list", "data": data}


_ECHO_IMAGE = {"data": [{"b64_json": (  # one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)}]}  # fmt: skip
_ECHO_ANSWERS: dict[str, Any] = {  # by the last segment of the path: what is answered, or makes it
    "completions": _echo_chat, "embeddings": _echo_embeddings,
    "models": {"object": "list", "data": [{"id": "echo", "object": "model"}], "has_more": False},
    "moderations": {"results": [{"flagged": False, "categories": {"violence": False}}]},
    "generations": _ECHO_IMAGE, "edits": _ECHO_IMAGE, "speech": b"ID3 echo", "content": b"echo",
    "transcriptions": {"text": "echo"}, "translations": {"text": "echo"},
    "files": {"id": "file-echo", "object": "file", "filename": "echo"},
}  # fmt: skip


class _Echo:
    """A transport that has the answers itself."""

    def send(self, request: _Request, limits: _Limits) -> Any:
        body, name = request.body, request.target.split("?")[0].split("/")[-1]
        asked = json.loads(body) if isinstance(body, bytes) and body[:1] == b"{" else {}
        answer = _ECHO_ANSWERS.get(name, {"object": "echo", "echo": asked})
        status, kind = 200, "application/octet-stream"
        try:
            answer = answer(asked) if callable(answer) else answer
        except (AttributeError, LookupError, TypeError) as error:
            status, answer = 400, {"error": {"message": "not what can be echoed: %r" % error}}
        if isinstance(answer, dict):
            answer = {"id": "echo", "created": 0, "model": asked.get("model"), **answer}
            answer, kind = json.dumps(answer).encode(), "application/json"
        elif answer[:5] == b"data:":
            kind = "text/event-stream"
        raw = _EchoAnswer(answer)
        raw.status = status
        raw.headers = {"content-type": kind, "x-request-id": "echo"}
        return raw

    def close(self) -> None:
        """There is nothing to close, and nothing to begin anew in a forked child."""

    _after_fork = close


class _EchoAnswer(io.BytesIO):
    status = 200
    headers: dict[str, str] = {}


def _fetch(url: Any) -> bytes:
    """What is at a URL that an answer named; nothing of ours is sent there."""
    where = "GET an image from %s" % (url_parse.urlsplit(str(url)).hostname or "nowhere")
    try:  # an auth= that adds nothing keeps netrc's key out
        with requests.get(url, stream=True, timeout=(10, 600), auth=lambda sent: sent) as answer:
            if answer.ok:
                return b"".join(_at_most(MAX_BODY_BYTES, answer.iter_content(BLOCK_BYTES)))
            response = Response(answer.status_code, answer.headers, "GET", "")
            problem: OpenAIError = _status_error(response, "", None)
    except (OSError, ValueError) as error:
        said = _wire_error(error, _Limits(10, 600, float("inf")))._what
        said = said.replace(str(url), "its URL")  # which may be signed, and so be a secret
        problem = APIConnectionError("an image could not be fetched: " + said)
    problem._place(where, 1)
    raise problem


# ------------------------------------------------------------------------------------------------
# Command line
#
# A table of commands over the client's methods; main(argv) returns the exit code.

_COMMANDS = {  # the method, what it takes, and what of its result is shown
    "chat": ("chat", "messages", "content"), "embed": ("embedding", "input", ""),
    "image": ("generate_image", "prompt", ""), "speak": ("text_to_speech", "text", ""),
    "transcribe": ("transcribe_audio", "file", "text"),
    "translate": ("translate_audio", "file", "text"),
    "moderate": ("moderation", "input", "results"), "upload": ("upload_file", "file", "id"),
    "download": ("download_file", "file_id", ""), "models": ("list_models", "", ""),
    "health": ("health", "", ""), "request": ("request", "method path", ""),
}  # fmt: skip


def _parser() -> Any:
    import argparse

    parser: Any = argparse.ArgumentParser(
        "openai-mini", "openai-mini [COMMAND] [OPTIONS] [TEXT | FILE | ID | METHOD PATH [JSON]]",
        epilog="commands: %s\n\n%s" % (" ".join(_COMMANDS), main.__doc__),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.error = _usage_error
    add = parser.add_argument
    add("words", nargs="*", help="a pipe is read too; - stands for it")
    add("-m", "--model")
    add("-s", "--system", help="what the model is told to be")
    add("-p", "--param", action="append", default=[], metavar="KEY=VALUE", help="any parameter")
    add("-a", "--attach", action="append", default=[], metavar="IMAGE", help="a file or URL")
    add("-o", "--output", metavar="PATH", help="the file to write, or the folder of images")
    add("--schema", metavar="FILE", help="a JSON schema for the answer of chat")
    add("--json", action="store_true", help="the whole answer as JSON")
    add("--no-stream", action="store_true", help="the answer when it is whole")
    add("--base-url", metavar="URL", help="another server")
    add("--offline", action="store_true", help="answer in the process: no key, no network")
    add("--verbose", action="store_true", help="a line for each attempt on stderr")
    add("--version", action="version", version="openai-mini " + __version__)
    return parser


def _usage_error(what: str) -> ValidationError:
    raise ValidationError(what + "; see openai-mini --help")


def main(argv: list[str] | None = None) -> int:
    """The exit code is 0, 1 (the call failed), 2 (wrong usage) or 130 (Ctrl-C).

    samples:
      openai-mini "Why is the sky blue?"
      cat notes | openai-mini -s "Summarise in three lines" > summary
      openai-mini -m gpt-5.4-mini -p temperature=0.2 -a photo.jpg "What is this?"
      openai-mini embed "a text"
      openai-mini image "a lighthouse" -p size=1024x1024 -o pictures
      openai-mini speak "Good morning" -o morning.mp3
      openai-mini transcribe talk.mp3
      openai-mini upload train.jsonl -p purpose=fine-tune
      openai-mini download file-abc -o answers.jsonl
      openai-mini request GET /files -p limit=5 | jq .data
      openai-mini --base-url http://localhost:11434/v1 -m llama3 "Hello"
      openai-mini --offline "Hello"
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed
            setattr(sys, name, open(os.devnull, "r+"))
    try:
        _run_command(_parser().parse_intermixed_args(argv))
        sys.stdout.flush()
        return 0
    except (SystemExit, BrokenPipeError):  # --help and --version; nobody reads on
        return 0
    except KeyboardInterrupt:
        return 130
    except (OpenAIError, OSError) as error:
        print("openai-mini: " + _plain(str(error), 1000), file=sys.stderr)
        return 2 if isinstance(error, ValidationError) else 1
    finally:
        try:
            sys.stdout.flush()
        except OSError:  # told already: the interpreter's end need not fail at it once more
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _run_command(asked: Any) -> None:
    command = asked.words.pop(0) if asked.words and asked.words[0] in _COMMANDS else "chat"
    method, takes, shown = _COMMANDS[command]
    base_url = "echo:" if asked.offline else asked.base_url
    try:
        client = OpenAIMini(base_url=base_url, debug=asked.verbose)
    except AuthenticationError:
        what = "no API key: set OPENAI_API_KEY, name a server with --base-url, or try --offline"
        raise ValidationError(what) from None
    arguments = _arguments(command, takes.split(), asked)
    if command == "chat" and not (asked.no_stream or asked.json or asked.schema):
        return _print_stream(client.stream_chat(**arguments))
    try:
        result = getattr(client, method)(**arguments)
    finally:
        if sys.stderr.isatty():
            sys.stderr.write("\x1b[K")  # wipes what is left of a progress bar
    if command == "image" and not asked.json:
        result = result.save(asked.output or ".")
    if arguments.get("to"):  # the result is only a count
        _print([arguments["to"]] if isinstance(arguments["to"], str) else [])
    else:
        _print([result] if asked.json else getattr(result, shown) if shown else result)
    if command == "health" and not result["ok"]:
        raise OpenAIError(result["error"])


def _arguments(command: str, names: list[str], asked: Any) -> dict[str, Any]:
    """What the command's method is called with; `-p` wins over all."""
    given, words, takes = _given(asked), asked.words, " ".join(names).upper() or "no words"
    if command == "request":
        body = words.pop() if len(words) == 3 else "{}"
        given = {**_json_object("the body", _piped() if body == "-" else body), **given}
        given = {"params" if words[:1] in (["GET"], ["DELETE"]) else "json": given or None}
    elif names and names[0] not in ("file", "file_id"):
        words, takes = [text for text in [_text(words)] if text], "a text"
    elif not words and names[:1] == ["file"] and not sys.stdin.isatty():
        words = ["-"]
    if asked.output and command not in ("image", "speak", "download"):
        _usage_error("-o is for image, speak and download; %s writes to a > file" % command)
    if len(words) != len(names):
        _usage_error("%s takes %s, not %s" % (command, takes, " ".join(words) or "nothing"))
    arguments = dict(zip(names, words))
    if command == "chat":
        arguments["messages"] = _chat_messages(words[0], asked)
    if arguments.get("file") == "-":
        arguments["file"] = sys.stdin.buffer.read()
    if asked.schema:
        with open(asked.schema, encoding="utf-8") as file:
            arguments["schema"] = _json_object(asked.schema, file.read())
    if command in ("speak", "download"):
        shown = "speech.mp3" if command == "speak" else None
        arguments["to"] = asked.output or (shown if sys.stdout.isatty() else sys.stdout.buffer)
    if command in ("speak", "download", "upload") and sys.stderr.isatty():
        arguments["progress"] = _bar
    return {**arguments, **given}


def _given(asked: Any) -> dict[str, Any]:
    """What `-m` and `-p` say; a value that is no JSON is a text."""
    given = {"model": asked.model} if asked.model else {}
    for pair in asked.param:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            _usage_error("-p %s: KEY=VALUE is needed" % pair)
        if name in ("to", "progress"):
            _usage_error("-p %s: that is no parameter of a request; -o names a file" % pair)
        try:
            given[name] = json.loads(value)
        except ValueError:
            given[name] = value
    return given


def _json_object(what: str, text: str) -> dict[str, Any]:
    try:
        return {**json.loads(text)}
    except (ValueError, TypeError) as error:
        raise ValidationError("%s is no JSON object: %s" % (what, error)) from None


def _piped() -> str:
    return sys.stdin.buffer.read().decode("utf-8-sig", "replace")


def _text(words: list[str]) -> str:
    """The words, with what is piped in where `-` stands, else behind them."""
    if "-" in words:
        return " ".join(_piped() if word == "-" else word for word in words)
    piped = _piped() if sys.stdin and not sys.stdin.isatty() else ""
    return "\n\n".join(filter(None, [" ".join(words), piped]))


def _chat_messages(text: str, asked: Any) -> list[Any]:
    content: list[Any] = [{"type": "text", "text": text}]
    for url in asked.attach:
        if not url.startswith(("http:", "https:", "data:")):
            kind = mimetypes.guess_type(url)[0] or "image/png"
            with open(url, "rb") as file:
                url = "data:%s;base64,%s" % (kind, base64.b64encode(file.read()).decode())
        content.append({"type": "image_url", "image_url": {"url": url}})
    system = [{"role": "system", "content": asked.system}] if asked.system else []
    return [*system, {"role": "user", "content": content if asked.attach else text}]


def _print_stream(stream: Stream) -> None:
    with stream:
        try:
            for chunk in stream:
                _say(chunk.content)
        finally:
            _say("" if stream.content.endswith("\n") else "\n")


def _print(value: Any) -> None:
    """A line for each item of a list or a stream; text as it is, bytes too, all else as JSON."""
    for item in value if isinstance(value, (list, Stream)) else [value]:
        if isinstance(item, bytes) and not sys.stdout.isatty():
            sys.stdout.buffer.write(item)
            continue
        text = item.decode("utf-8", "replace") if isinstance(item, bytes) else item
        ascii_only = "utf" not in (sys.stdout.encoding or "utf-8").lower()
        _say((text if isinstance(text, str) else json.dumps(text, ensure_ascii=ascii_only)) + "\n")


def _say(text: str) -> None:
    """To stdout; on a terminal without what could command it, or turn the order of its text."""
    if sys.stdout.isatty():
        text = re.sub("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "?", text)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


def _bar(done: int, total: int | None) -> None:
    """Progress on a terminal; what is printed next begins where it does."""
    share = ", %d %%" % (100 * done // total) if total else ""
    sys.stderr.write("%d bytes%s\r" % (done, share))


if __name__ == "__main__":
    sys.exit(main())
