"""What openai_mini costs, as ratios within one run. Linux and macOS, Python 3.8 and later.

    python bench_openai_mini.py                     every question, about five minutes
    python bench_openai_mini.py --quick             the same, smaller, within a minute
    python bench_openai_mini.py --only warm_call    one question (may be repeated)
    python bench_openai_mini.py --chart             with the main ratios as text bars
    python bench_openai_mini.py --json              for machines

Measured against `requests` as a user writes it, `http.client` as the floor, and the official
`openai` where it is installed. Microseconds differ between machines, ratios hardly: every ratio is
between the best of several rounds that were run in turns. CPU is user plus system time of the
client's process alone; the server is a process of its own, on the same core except where threads
are the question.

Rooms, in order: the server, measuring, the contenders, the questions, the table.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import gc
import http.client
import importlib.util
import io
import json
import math
import os
import platform
import random
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, Iterator, List, Mapping, NamedTuple, Sequence, Tuple
from urllib.parse import urlsplit
from urllib.request import urlopen

HERE = Path(__file__).resolve().parent
KEY = "sk-bench"
MODEL = "gpt-5.4-mini"
QUESTION = [{"role": "user", "content": "Say hello."}]
INPUTS = ["a short text to embed"] * 256
KIB, MIB = 1 << 10, 1 << 20
MAXRSS_UNIT = 1 if sys.platform == "darwin" else KIB
Work = Callable[[], Any]
Input = Tuple[str, List[Any]]  # a base_url and a method's arguments

# ------------------------------------------------------------------------------------------------
# The server
#
# Bytes made beforehand and a thread per connection, so that the client is what is measured. The
# first two segments of the path say what comes back, and the rest is not looked at: a client whose
# base_url is http://127.0.0.1:PORT/stream/200000 gets 200,000 chunks whatever it asks for.

CHUNK = {
    "id": "chatcmpl-BqXmT4rJkZ0vYcW8sLhN1dEfGaUo2",
    "object": "chat.completion.chunk",
    "created": 1795478400,
    "model": "gpt-5.4-mini-2026-03-17",
    "service_tier": "default",
    "system_fingerprint": None,
    "choices": [
        {"index": 0, "delta": {"content": " token"}, "logprobs": None, "finish_reason": None}
    ],
}
LAST_CHUNK = dict(CHUNK, choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
DELTA = {  # of a Responses stream, about as long as a chat's chunk
    "type": "response.output_text.delta",
    "sequence_number": 1000,
    "item_id": "msg_BqXmT4rJkZ0vYcW8sLhN1dEfGaUo2BqXmT4rJkZ0vYcW8sLhN1dEfGaUo2",
    "output_index": 0,
    "content_index": 0,
    "delta": " token",
    "logprobs": [],
    "obfuscation": "XmT4rJkZ0",
}
COMPLETED = {"type": "response.completed", "response": {"status": "completed", "output": []}}
CHAT = {
    "id": "chatcmpl-BqXmT4rJkZ0vYcW8sLhN1dEfGaUo2",
    "object": "chat.completion",
    "created": 1795478400,
    "model": "gpt-5.4-mini-2026-03-17",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello!", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
    "service_tier": "default",
}
FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 1,
    "created_at": 1795478400,
    "filename": "data.bin",
    "purpose": "fine-tune",
    "status": "processed",
}


def _http(body: bytes, content_type: str = "application/json") -> bytes:
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: %s\r\nx-request-id: req_1\r\ncontent-length: %d\r\n\r\n"
    )
    return (head % (content_type, len(body))).encode() + body


def _transfer_chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def embeddings_body(kind: str) -> bytes:
    """256 vectors of 1,536 numbers: as 'base64', or as text of 9 or of 17 digits.

    Nine digits, as api.openai.com writes them, are what a float of four bytes can say; servers in
    Python write the same number with up to 17.
    """
    packed = struct.pack("<1536f", *(math.sin(1000.0 * i) / 25 for i in range(1536)))
    vector = f'"{base64.b64encode(packed).decode()}"'
    if kind != "base64":
        form = "%.9g" if kind == "text9" else "%r"
        vector = "[" + ",".join(form % number for number in struct.unpack("<1536f", packed)) + "]"
    one = '{"object":"embedding","index":%d,"embedding":%s}'
    data = ",".join(one % (index, vector) for index in range(len(INPUTS)))
    tail = '],"model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}}'
    return ('{"object":"list","data":[' + data + tail).encode()


@functools.lru_cache(maxsize=None)
def _made_beforehand(kind: str) -> bytes:
    if kind in ("chat", "slow"):
        return _http(json.dumps(CHAT).encode())
    if kind in ("base64", "text9", "text17"):
        return _http(embeddings_body(kind))
    if kind == "upload":
        return _http(json.dumps(FILE).encode())
    return _transfer_chunk(_named(DELTA) if kind == "delta" else _event(CHUNK))


def _named(event: dict[str, Any]) -> bytes:
    return b"event: %s\n%s" % (event["type"].encode(), _event(event))


def _send_stream(connection: socket.socket, chunks: int, named: bool = False) -> None:
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    connection.sendall(head)
    one = _made_beforehand("delta" if named else "chunk")  # one event per transfer chunk
    per_block = 64 * KIB // len(one)
    block = one * per_block
    for _ in range(chunks // per_block):
        connection.sendall(block)
    last = _named(COMPLETED) if named else _event(LAST_CHUNK) + b"data: [DONE]\n\n"
    connection.sendall(one * (chunks % per_block) + _transfer_chunk(last) + b"0\r\n\r\n")


def _send_download(connection: socket.socket, size: int) -> None:
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: %d\r\n\r\n"
    connection.sendall((head % size).encode())
    block = bytes(MIB)
    for _ in range(size // MIB):
        connection.sendall(block)


_sink = memoryview(bytearray(MIB))  # uploads end here; all threads write over it, none reads it
_slow_connections: list[socket.socket] = []


def _answer(connection: socket.socket, kind: str, number: int) -> None:
    if kind == "stream":
        _send_stream(connection, number)
    elif kind == "responses":
        _send_stream(connection, number, named=True)
    elif kind == "download":
        _send_download(connection, number)
    elif kind == "count":
        connection.sendall(_http(b"%d" % len(_slow_connections)))
    else:
        if kind == "slow":
            time.sleep(number / 1000.0)
            if connection not in _slow_connections:
                _slow_connections.append(connection)
        connection.sendall(_made_beforehand(kind))


def _serve_connection(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = b""
    while True:
        while b"\r\n\r\n" not in received:
            piece = connection.recv(64 * KIB)
            if not piece:
                return
            received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        missing = int(length.group(1)) - len(body) if length else 0
        while missing > 0:
            missing -= connection.recv_into(_sink, min(missing, len(_sink))) or missing
        received = b""  # nobody here sends the next request before the answer
        _, kind, number, *_ = head.split(b" ", 2)[1].decode().split("/")
        _answer(connection, kind, int(number))


def _serve_quietly(connection: socket.socket) -> None:
    with connection, contextlib.suppress(ConnectionError):  # a peer that has gone is no news here
        _serve_connection(connection)


def serve() -> None:
    """Serve until stdin ends, so that no server outlives its benchmark. Prints its port."""

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve_quietly, args=(connection,), daemon=True).start()

    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


@contextlib.contextmanager
def server(one_core: bool = True) -> Iterator[str]:
    """The server's address, for as long as the block lasts.

    It shares a core with this process where the system can do that: on two, the kernel's part of a
    transfer is done by either, and one and the same upload takes 0.1 or 0.5 ms per MiB of our CPU.
    """
    if one_core and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    command = [sys.executable, "-c", f"import {Path(__file__).stem} as bench; bench.serve()"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=clean_environment(), stdin=pipe, stdout=pipe) as process:
        assert process.stdin and process.stdout
        yield "http://127.0.0.1:%d" % int(process.stdout.readline())
        process.stdin.close()


# ------------------------------------------------------------------------------------------------
# Measuring


def clean_environment() -> dict[str, str]:
    """Ours without what would steer a client, or keep Python from keeping its compiled modules."""
    unwanted = re.compile(
        r"openai_|.*_proxy$|.*_ca_bundle$|pythondontwritebytecode$", re.IGNORECASE
    )
    kept = {name: value for name, value in os.environ.items() if not unwanted.match(name)}
    path = os.pathsep.join(filter(None, [str(HERE), kept.get("PYTHONPATH")]))
    return dict(kept, PYTHONPATH=path, PYTHONHASHSEED="0")


def in_child(function: str, *args: Any) -> Any:
    """What a function of this file returns in a fresh process."""
    script = (
        f"import json, sys, {Path(__file__).stem} as bench\n"
        "result = getattr(bench, sys.argv[1])(*json.loads(sys.argv[2]))\n"
        "print(json.dumps(result))"
    )
    command = [sys.executable, "-c", script, function, json.dumps(args)]
    done = subprocess.run(command, env=clean_environment(), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def best(
    works: dict[str, Work], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """The fewest seconds of each work; they take turns, so that a noisy moment hits all alike.

    The first run of each is the warm-up, and all must come to the same answer.
    """
    answers = {name: work() for name, work in works.items()}
    if len({repr(answer) for answer in answers.values()}) > 1:
        raise SystemExit(f"the contenders did not do the same work: {answers}")
    fewest = dict.fromkeys(works, float("inf"))
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name, work in works.items():
            gc.collect()
            start = clock()
            work()
            fewest[name] = min(fewest[name], clock() - start)
    return fewest


def repeat(work: Work, times: int) -> Work:
    def run() -> Any:
        for _ in range(times - 1):
            work()
        return work()

    return run


def in_threads(work: Work, times: int, threads: int) -> Any:
    """Do the work `times` times, spread over so many threads; returns one of the answers."""
    answers = []

    def run() -> None:
        for _ in range(times // threads):
            answer = work()
        answers.append(answer)

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    (answer,) = set(answers)
    assert len(answers) == threads  # else one of them has died, which its traceback tells
    return answer


def peak_bytes() -> int:
    """The most memory this process has had.

    Under Linux getrusage says of a child at least the peak of its parent; VmHWM does not.
    """
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * KIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT


def growth(contender: str, method: str, small: Input, large: Input) -> int:
    """How many bytes the peak rises from the small input to the large one."""

    def run(base_url: str, args: list[Any]) -> None:
        getattr(globals()[contender](base_url), method)(*args)

    run(*small)
    run(*small)
    before = peak_bytes()
    run(*large)
    return peak_bytes() - before


class Process(NamedTuple):
    cpu_s: float
    peak_bytes: int
    modules: int


def run_script(script: str) -> Process:
    """Run it in a fresh interpreter. The probe at its end costs every script the same."""
    probe = (
        "\nimport sys"
        "\nmodules = len(sys.modules)"
        "\ntry: peak = int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
        "\nexcept OSError: peak = 0"
        "\nprint(modules, peak)"
    )
    command = [sys.executable, "-c", script + probe]
    process = subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE)
    with process:
        assert process.stdout
        lines = process.stdout.read().splitlines()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = status
    if status:
        raise SystemExit("this script failed:\n" + script)
    modules, peak_kib = map(int, lines[-1].split())
    peak = peak_kib * KIB or used.ru_maxrss * MAXRSS_UNIT
    return Process(used.ru_utime + used.ru_stime, peak, modules)


def best_processes(scripts: dict[str, str], rounds: int) -> dict[str, Process]:
    """The least of each figure, after one round of warm-up that also compiles what is imported.

    In random order: what runs after a large process finds the caches cold, which costs 0.5 ms.
    """
    runs: dict[str, list[Process]] = {name: [] for name in scripts}
    for _ in range(rounds + 1):
        for name in random.sample(list(scripts), len(scripts)):
            runs[name].append(run_script(scripts[name]))
    return {name: Process(*map(min, zip(*all_runs[1:]))) for name, all_runs in runs.items()}


class Row(NamedTuple):
    """One line of the table. `mark` is the most the ratio may be; without a peer, the value."""

    what: str
    ours: float
    unit: str
    peer: str = ""
    theirs: float | None = None
    mark: float | None = None
    aim: float | None = None

    @property
    def measured(self) -> float:
        return self.ours if self.theirs is None else self.ours / self.theirs

    @property
    def verdict(self) -> str:
        if self.mark is None:
            return ""
        if self.measured > self.mark:
            return "missed"
        return "beaten" if self.aim is not None and self.measured <= self.aim else "met"


def against(
    what: str, unit: str, costs: dict[str, float], marks: Mapping[str, Sequence[float]]
) -> list[Row]:
    """Rows that compare the first of the costs with each of the others; a mark may bring an aim."""
    (_, ours), *others = costs.items()
    return [Row(what, ours, unit, peer, cost, *marks.get(peer, ())) for peer, cost in others]


def scaled(costs: dict[str, float], factor: float) -> dict[str, float]:
    return {name: cost * factor for name, cost in costs.items()}


# ------------------------------------------------------------------------------------------------
# The contenders
#
# The same work, each time as its user would write it. What they import they import when they are
# made, so that a process which measures one does not carry the others.


class Mini:
    """The module under test."""

    name = "openai_mini"

    def __init__(self, base_url: str, **options: Any):
        from openai_mini import OpenAIMini

        self.client: Any = OpenAIMini(api_key=KEY, base_url=base_url, **options)

    def chat(self) -> str:
        return self.client.chat(QUESTION).content

    def stream(self) -> int:
        return sum(len(chunk.content) for chunk in self.client.stream_chat(QUESTION))

    def responses(self) -> int:
        stream = self.client.responses.create(model=MODEL, input="Say hello.", stream=True)
        return sum(len(chunk.content) for chunk in stream)

    def embeddings(self, form: str) -> tuple[int, float]:
        vectors = self.client.embedding(INPUTS, encoding_format=form)
        return len(vectors), round(sum(vectors[-1]), 6)

    def upload(self, path: str) -> str:
        return self.client.upload_file(path).id

    def download(self, to: str) -> int:
        return self.client.download_file("file-1", to=to)

    def map_chats(self, calls: int) -> list[str]:
        return [answer.content for answer in self.client.map("chat", [QUESTION] * calls)]

    def chat_of(self, _: int) -> str:
        return self.chat()

    def submit_many(self, jobs: int) -> int:
        futures = [self.client.submit(len, "abc") for _ in range(jobs)]
        return sum(future.result() for future in futures)

    def chat_in_threads(self, calls: int, threads: int) -> str:
        return in_threads(self.chat, calls, threads)


class Requests:
    """Plain requests with a session, as its documentation shows it."""

    name = "requests"

    def __init__(self, base_url: str):
        import requests

        self.base_url = base_url
        self.session = requests.Session()
        self.session.headers["Authorization"] = "Bearer " + KEY

    def post(self, path: str, body: dict[str, Any]) -> Any:
        response = self.session.post(self.base_url + path, json=body, timeout=60)
        response.raise_for_status()
        return response.json()

    def chat(self) -> str:
        answer = self.post("/chat/completions", {"model": MODEL, "messages": QUESTION})
        return answer["choices"][0]["message"]["content"]

    def stream(self) -> int:
        characters = 0
        body = {"model": MODEL, "messages": QUESTION, "stream": True}
        url = self.base_url + "/chat/completions"
        with self.session.post(url, json=body, stream=True, timeout=60) as response:
            for line in response.iter_lines():
                if line.startswith(b"data: ") and line != b"data: [DONE]":
                    chunk = json.loads(line[6:])
                    characters += len(chunk["choices"][0]["delta"].get("content") or "")
        return characters

    def upload(self, path: str) -> str:
        with open(path, "rb") as file:
            response = self.session.post(
                self.base_url + "/files", files={"file": file}, data={"purpose": "fine-tune"}
            )
        return response.json()["id"]

    def download(self, to: str) -> int:
        url = self.base_url + "/files/file-1/content"
        with self.session.get(url, stream=True) as response, open(to, "wb") as file:
            for piece in response.iter_content(64 * KIB):
                file.write(piece)
        return os.path.getsize(to)


class HttpClient:
    """http.client: the least that Python can do over HTTP."""

    name = "http.client"

    def __init__(self, base_url: str):
        address = urlsplit(base_url)
        assert address.hostname
        self.path = address.path
        self.connection = http.client.HTTPConnection(address.hostname, address.port)
        self.headers = {"Authorization": "Bearer " + KEY, "Content-Type": "application/json"}

    def post(self, path: str, body: dict[str, Any]) -> http.client.HTTPResponse:
        data = json.dumps(body).encode()
        self.connection.request("POST", self.path + path, data, self.headers)
        return self.connection.getresponse()

    def chat(self) -> str:
        answer = self.post("/chat/completions", {"model": MODEL, "messages": QUESTION}).read()
        return json.loads(answer)["choices"][0]["message"]["content"]

    def stream(self) -> int:
        characters = 0
        body = {"model": MODEL, "messages": QUESTION, "stream": True}
        for line in self.post("/chat/completions", body):
            if line.startswith(b"data: {"):
                chunk = json.loads(line[6:])
                characters += len(chunk["choices"][0]["delta"].get("content") or "")
        return characters

    def upload(self, path: str) -> str:
        """With sendfile: the file's bytes never enter this process."""
        edge = b"--b\r\nContent-Disposition: form-data; name=%s\r\n\r\n"
        head = edge % b'"purpose"' + b"fine-tune\r\n" + edge % b'"file"; filename="data.bin"'
        tail = b"\r\n--b--\r\n"
        length = len(head) + os.path.getsize(path) + len(tail)
        self.connection.putrequest("POST", self.path + "/files")
        self.connection.putheader("Content-Type", "multipart/form-data; boundary=b")
        self.connection.putheader("Content-Length", str(length))
        self.connection.endheaders(head)
        with open(path, "rb") as file:
            self.connection.sock.sendfile(file)
        self.connection.send(tail)
        return json.loads(self.connection.getresponse().read())["id"]

    def download(self, to: str) -> int:
        self.connection.request("GET", self.path + "/files/file-1/content", headers=self.headers)
        with open(to, "wb") as file:
            shutil.copyfileobj(self.connection.getresponse(), file)
        return os.path.getsize(to)


class HttpClients:
    """http.client for threads, which cannot share a connection: as many as are in use at once."""

    name = "http.client"

    def __init__(self, base_url: str):
        self.base_url = base_url
        self.idle: list[HttpClient] = []

    def chat(self) -> str:
        try:
            client = self.idle.pop()
        except IndexError:
            client = HttpClient(self.base_url)
        answer = client.chat()
        self.idle.append(client)
        return answer


class Official:
    """The official package."""

    name = "openai"

    def __init__(self, base_url: str):
        from openai import OpenAI

        self.client: Any = OpenAI(api_key=KEY, base_url=base_url)

    def chat(self) -> str:
        answer = self.client.chat.completions.create(model=MODEL, messages=QUESTION)
        return answer.choices[0].message.content

    def stream(self) -> int:
        chunks = self.client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
        return sum(len(chunk.choices[0].delta.content or "") for chunk in chunks)

    def embeddings(self, form: str) -> tuple[int, float]:
        # left to itself it asks for base64 and decodes it; asked for base64 it hands that out
        asked = {} if form == "base64" else {"encoding_format": form}
        answer = self.client.embeddings.create(
            model="text-embedding-3-small", input=INPUTS, **asked
        )
        return len(answer.data), round(sum(answer.data[-1].embedding), 6)

    def upload(self, path: str) -> str:
        return self.client.files.create(file=Path(path), purpose="fine-tune").id

    def download(self, to: str) -> int:
        with self.client.files.with_streaming_response.content("file-1") as response:
            response.stream_to_file(to)
        return os.path.getsize(to)


OFFICIAL: tuple[type[Official], ...] = (Official,) if importlib.util.find_spec("openai") else ()
PEERS = (Mini, Requests, HttpClient) + OFFICIAL

# ------------------------------------------------------------------------------------------------
# The questions
#
# Each runs in a process of its own, so that none pays for what another has left behind, and returns
# the rows of its answer. Marks stand where they are asked for.


def import_cost(quick: bool) -> list[Row]:
    """What does `import openai_mini` cost over a bare interpreter, next to `import requests`?"""
    names = ["openai_mini", "requests", "http.client"] + ["openai"] * len(OFFICIAL)
    scripts = dict({name: "import " + name for name in names}, bare="pass")
    runs = best_processes(scripts, rounds=8 if quick else 25)
    bare = runs.pop("bare")
    cpu = {name: (run.cpu_s - bare.cpu_s) * 1e3 for name, run in runs.items()}
    memory = {name: (run.peak_bytes - bare.peak_bytes) / MIB for name, run in runs.items()}
    return [
        *against("import, CPU", "ms", cpu, {"requests": (0.035,)}),
        *against("import, peak memory", "MiB", memory, {"requests": (0.05,)}),
        Row("import", runs["openai_mini"].modules - bare.modules, "modules", mark=4),
    ]


def whole_process(quick: bool) -> list[Row]:
    """What does a script cost that imports, asks once and prints, from its start to its end?"""
    scripts = {
        "openai_mini": """
import openai_mini
client = openai_mini.OpenAIMini(api_key=key, base_url=url)
print(client.chat(messages, model=model).content)
""",
        "requests": """
import requests
body = {"model": model, "messages": messages}
headers = {"Authorization": "Bearer " + key}
response = requests.post(url + "/chat/completions", json=body, headers=headers, timeout=60)
print(response.json()["choices"][0]["message"]["content"])
""",
        "openai": """
import openai
client = openai.OpenAI(api_key=key, base_url=url)
print(client.chat.completions.create(messages=messages, model=model).choices[0].message.content)
""",
    }
    if not OFFICIAL:
        del scripts["openai"]
    with server() as url:
        told = f"key, url, model, messages = {(KEY, url + '/chat/0', MODEL, QUESTION)!r}\n"
        filled = {name: told + script for name, script in scripts.items()}
        runs = best_processes(filled, rounds=4 if quick else 15)
    cpu = {name: run.cpu_s * 1e3 for name, run in runs.items()}
    memory = {name: run.peak_bytes / MIB for name, run in runs.items()}
    what = "a whole process: import, one chat, print"
    return [
        *against(what + ", CPU", "ms", cpu, {"requests": (0.85,), "openai": (0.22,)}),
        *against(what + ", peak memory", "MiB", memory, {"requests": (0.95,)}),
    ]


def installed_size(quick: bool) -> list[Row]:
    """How much does an installation take on the disk, with all that it needs?"""
    names = {
        "openai_mini": ["requests", "urllib3", "certifi", "idna", "charset_normalizer"],
        "requests": ["requests", "urllib3", "certifi", "idna", "charset_normalizer"],
        "openai": "openai pydantic pydantic_core annotated_types typing_extensions httpx httpcore "
                  "h11 anyio sniffio certifi idna distro jiter tqdm typing_inspection".split(),
    }  # fmt: skip
    if not OFFICIAL:
        del names["openai"]
    costs = {peer: sum(map(_bytes_of, wanted)) / MIB for peer, wanted in names.items()}
    costs["openai_mini"] += (HERE / "openai_mini.py").stat().st_size / MIB
    return against("installed size", "MiB", costs, {})


def _bytes_of(name: str) -> int:
    """The bytes of an installed distribution's files, without compiled ones."""
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        return 0
    paths = [Path(str(one.locate())) for one in files if not str(one).endswith(".pyc")]
    return sum(path.stat().st_size for path in paths if path.exists())


def warm_call(quick: bool) -> list[Row]:
    """What does a call cost over bare requests, once all is loaded and connected?"""
    calls = 100 if quick else 300
    with server() as url:
        works = {peer.name: repeat(peer(url + "/chat/0").chat, calls) for peer in PEERS}
        costs = best(works, rounds=8 if quick else 15)
    marks = {"requests": (0.50,), "openai": (0.35,)}
    return against("one warm call, CPU", "µs", scaled(costs, 1e6 / calls), marks)


def queue_and_breaker(quick: bool) -> list[Row]:
    """What do the request queue and the circuit breaker add to a warm call?"""
    calls = 10  # few, as turns that are short drift least
    with server() as url:
        full = Mini(url + "/chat/0")
        bare = Mini(url + "/chat/0")
        # Both are copies of one client, so that they send over the same connection.
        full.client, copy = full.client.with_options(), full.client.with_options
        bare.client = copy(circuit_breaker=False, use_request_queue=False)
        works = {
            "openai_mini": repeat(full.chat, calls),
            "itself without them": repeat(bare.chat, calls),
        }
        costs = best(works, rounds=100 if quick else 1500)
    what = "a warm call with queue and breaker, CPU"
    return against(what, "µs", scaled(costs, 1e6 / calls), {"itself without them": (1.05,)})


def stream_chunk(quick: bool) -> list[Row]:
    """What does one chunk of a long stream cost, and what stays of it in memory?"""
    chunks = 20_000 if quick else 200_000
    payload = _event(CHUNK)[6:]

    def parse_alone() -> float:
        return sum(
            len(json.loads(payload)["choices"][0]["delta"]["content"]) for _ in range(chunks)
        )

    with server() as url:
        sizes = {peer: chunks // 20 if peer is Official else chunks for peer in PEERS}
        works = {
            peer.name: _per_unit(peer("%s/stream/%d" % (url, size)).stream, size)
            for peer, size in sizes.items()
        }
        works["json.loads of the same bytes"] = _per_unit(parse_alone, chunks)
        responses = Mini("%s/responses/%d" % (url, chunks))
        works["one of a Responses stream"] = _per_unit(responses.responses, chunks)
        costs = best(works, rounds=3 if quick else 5)
        few, many = (f"{url}/stream/{count}" for count in (2_000, 200_000))
        grown = in_child("growth", "Mini", "stream", (few, []), (many, []))
    for peer, size in sizes.items():
        costs[peer.name] *= chunks / size
    marks = {"requests": (0.65,), "json.loads of the same bytes": (1.2,), "openai": (0.05,)}
    of_responses = costs.pop("one of a Responses stream")
    what = f"one of {chunks:,} stream chunks"
    return [
        Row("one chunk of a Responses stream, CPU", of_responses * 1e6 / chunks, "µs",
            "one of a chat", costs["openai_mini"] * 1e6 / chunks, 1.2),
        *against(what + ", CPU", "µs", scaled(costs, 1e6 / chunks), marks),
        Row("one of 200,000 stream chunks, growth", grown / 200_000, "bytes", mark=20),
    ]


def _per_unit(work: Callable[[], float], units: int) -> Work:
    """The work, its answer divided: runs of different length then have the same answer."""
    return lambda: work() / units


def event_parser(quick: bool) -> list[Row]:
    """How fast is `iter_sse` over pieces of 64 KiB, with small events and with huge ones?"""
    parsers: dict[str, Callable[[bytes], int]] = {"openai_mini": _our_parser}
    if OFFICIAL:
        parsers["openai"] = _official_parser
    parsers["requests' iter_lines"] = _lines_by_requests
    size = (8 if quick else 32) * MIB
    bodies = {
        "events of 100 bytes": (b"data: " + b"x" * 92 + b"\n\n") * (size // 100),
        "named events of 100 bytes": _named_events(100) * (size // 100),
        "events of 4 MB": (b"data: " + b"x" * 4_000_000 + b"\n\n") * (size // (4 * MIB)),
    }
    ours = {}
    rows = []
    for what, body in bodies.items():
        works: dict[str, Work] = {
            name: functools.partial(parser, body) for name, parser in parsers.items()
        }
        costs = scaled(best(works, rounds=3 if quick else 5), 1e3 / (len(body) / 1e6))
        ours[what] = costs["openai_mini"]
        # Of a huge event most is the memory of its bytes and of its text, which nobody can save.
        marks = {} if "4 MB" in what else {"openai": (1 / 6,)}
        rows += against("iter_sse, 1 MB in " + what, "ms", costs, marks)
    small, named, huge = ours.values()
    plain = "itself, in events of 100 bytes"
    return [
        *rows,
        Row("iter_sse, 1 MB in named events of 100 bytes", named, "ms", plain, small, 1.5),
        Row("iter_sse, 1 MB in events of 4 MB", huge, "ms", plain, small, 1.0),
    ]


def _named_events(size: int) -> bytes:
    head, end = b"event: response.output_text.delta\ndata: ", b"\n\n"
    return head + b"x" * (size - len(head) - len(end)) + end


def _pieces(body: bytes) -> Iterator[bytes]:
    return (body[at : at + 64 * KIB] for at in range(0, len(body), 64 * KIB))


def _our_parser(body: bytes) -> int:
    from openai_mini import iter_sse

    return sum(len(event.data) for event in iter_sse(_pieces(body)))


def _official_parser(body: bytes) -> int:
    from openai._streaming import SSEDecoder

    return sum(len(event.data) for event in SSEDecoder().iter_bytes(_pieces(body)))


def _lines_by_requests(body: bytes) -> int:
    import requests

    response = requests.Response()
    response.raw = io.BytesIO(body)
    lines = response.iter_lines(64 * KIB)
    return sum(len(line[6:].decode()) for line in lines if line.startswith(b"data: "))


def embeddings(quick: bool) -> list[Row]:
    """What do 256 embeddings of 1,536 numbers cost, from the call to the lists of floats?"""
    rows = []
    with server() as url:
        for kind in ("base64", "text9", "text17"):
            form = "base64" if kind == "base64" else "float"
            works: dict[str, Work] = {
                peer.name: functools.partial(peer(f"{url}/{kind}/0").embeddings, form)
                for peer in (Mini,) + OFFICIAL
            }
            texts = ("text9", "text17") if kind == "base64" else (kind,)
            for text in texts:
                works[_LOADS % text[4:]] = functools.partial(_parsed, embeddings_body(text))
            costs = scaled(best(works, rounds=5 if quick else 11), 1e3)
            mark = 0.30 if kind == "base64" else 1.1
            marks = {_LOADS % text[4:]: (mark,) for text in texts}
            what = "base64" if kind == "base64" else f"text, {kind[4:]} digits"
            rows += against(f"256 embeddings as {what}, CPU", "ms", costs, marks)
    return rows


_LOADS = "json.loads of the text, %s digits"


def _parsed(text: bytes) -> tuple[int, float]:
    data = json.loads(text)["data"]
    return len(data), round(sum(data[-1]["embedding"]), 6)


def upload(quick: bool) -> list[Row]:
    """What does a large upload cost, and does the memory grow with the file?"""
    size = (64 if quick else 512) * MIB
    small_size = 32 * MIB  # for those that read the whole file into memory
    with server() as url, tempfile.TemporaryDirectory() as folder:
        tiny, small, large = (
            _file_of(Path(folder, "%d.bin" % bytes_), bytes_)
            for bytes_ in (4 * MIB, small_size, size)
        )
        base_url = url + "/upload/0"
        works: dict[str, Work] = {
            "openai_mini": functools.partial(Mini(base_url).upload, large),
            "http.client and sendfile": functools.partial(HttpClient(base_url).upload, large),
        }
        whole = (Requests,) + OFFICIAL
        for peer in whole:
            works[peer.name] = functools.partial(peer(base_url).upload, small)
        costs = best(works, rounds=4 if quick else 7)
        grown = in_child("growth", "Mini", "upload", (base_url, [tiny]), (base_url, [large]))
    for peer in whole:
        costs[peer.name] *= size / small_size
    what = "upload of %d MiB" % (size // MIB)
    return [
        *against(what + ", CPU", "ms", scaled(costs, 1e3), {"http.client and sendfile": (2.5,)}),
        Row(what + ", growth", grown / KIB, "KiB", mark=1024),
    ]


def _file_of(path: Path, size: int) -> str:
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(b"x" * MIB)
    return str(path)


def download(quick: bool) -> list[Row]:
    """What does a large download to a file cost, and does the memory grow with it?"""
    size = (32 if quick else 256) * MIB
    with server() as url, tempfile.TemporaryDirectory() as folder:
        base_url = "%s/download/%d" % (url, size)
        works: dict[str, Work] = {
            peer.name: functools.partial(peer(base_url).download, str(Path(folder, peer.name)))
            for peer in PEERS
        }
        costs = best(works, rounds=4 if quick else 7)
        to = [str(Path(folder, "grown"))]
        little = "%s/download/%d" % (url, 4 * MIB)
        grown = in_child("growth", "Mini", "download", (little, to), (base_url, to))
    what = "download of %d MiB to a file" % (size // MIB)
    return [
        *against(what + ", CPU", "ms", scaled(costs, 1e3), {"http.client": (1.15,)}),
        Row(what + ", growth", grown / KIB, "KiB", mark=1024),
    ]


def ten_at_once(quick: bool) -> list[Row]:
    """How near do calls come to the ideal, 10 at once to a server that takes 20 ms for each?"""
    calls = 100 if quick else 500
    with server(one_core=False) as url:
        works: dict[str, Work] = {
            peer.name: functools.partial(in_threads, peer(url + "/slow/20").chat, calls, 10)
            for peer in (Mini, Requests)
        }
        works["openai_mini"]()
        connections = _slow_connections_of(url)
        costs = best(works, 3, time.perf_counter)
    costs["the ideal"] = calls / 10 * 0.020
    what = "%d calls of 20 ms, 10 at once" % calls
    return [
        *against(what + ", wall", "s", costs, {"the ideal": (1.2,)}),
        Row(what, connections, "connections", mark=10),
    ]


def _slow_connections_of(url: str) -> int:
    with urlopen(url + "/count/0") as answer:
        return int(answer.read())


def map_in_order(quick: bool) -> list[Row]:
    """How near does `map` come to the ideal and to a thread pool, and what does `submit` cost?"""
    calls = 100 if quick else 500
    with server(one_core=False) as url:
        slow, fast = Mini(url + "/slow/20"), Mini(url + "/chat/0")
        works: dict[str, Work] = {"openai_mini": lambda: len(slow.map_chats(calls))}
        costs = best(works, 3, time.perf_counter)
        with ThreadPoolExecutor(10) as pool:
            works = {
                "openai_mini": lambda: len(fast.map_chats(calls)),
                "a ThreadPoolExecutor": lambda: len([*pool.map(fast.chat_of, range(calls))]),
            }
            rates = best(works, 5 if quick else 9, time.perf_counter)
        submit_s = best({"submit": lambda: fast.submit_many(1000)}, 5, time.perf_counter)["submit"]
    costs["the ideal"] = calls / 10 * 0.020
    return [
        *against("map over %d calls of 20 ms, wall" % calls, "s", costs, {"the ideal": (1.25,)}),
        *against("map over %d quick calls, 10 at once, wall" % calls, "s", rates,
                 {"a ThreadPoolExecutor": (1 / 0.9,)}),
        Row("submit of a function, and its result", submit_s * 1e3, "µs", mark=60),
    ]


def many_threads(quick: bool) -> list[Row]:
    """Does a call cost more when 100 threads share a client, and does any of it stay in memory?"""
    total = 3_000 if quick else 20_000
    rounds = 3 if quick else 5
    calls = total // rounds
    works: dict[str, Work] = {}
    with server(one_core=False) as url:
        base_url = url + "/chat/0"
        for peer in (Mini, Requests, HttpClients):
            for threads in (100, 1):
                work = functools.partial(in_threads, peer(base_url).chat, calls, threads)
                works[f"{peer.name} {threads}"] = work
        costs = scaled(best(works, rounds), 1e6 / calls)
        some, many = (base_url, [1_000, 10]), (base_url, [20_000, 10])
        grown = in_child("growth", "Mini", "chat_in_threads", some, many)
    what = f"one of {total:,} calls"
    rows = []
    for name in ("openai_mini", "requests", "http.client"):
        label = what if name == "openai_mini" else f"with {name}: {what}"
        hundred = costs[f"{name} 100"]
        label += " in 100 threads, CPU"
        if name == "openai_mini":
            rows += [Row(label, hundred, "µs", "requests in 100", costs["requests 100"], 0.6)]
        rows += [Row(label, hundred, "µs", "in 1", costs[f"{name} 1"])]  # what threads cost Python
    # less than the smallest object that a call could leave behind
    return [*rows, Row("one of 20,000 calls, growth", grown / 20_000, "bytes", mark=24)]


QUESTIONS = (
    import_cost,
    whole_process,
    installed_size,
    warm_call,
    queue_and_breaker,
    stream_chunk,
    event_parser,
    embeddings,
    upload,
    download,
    ten_at_once,
    map_in_order,
    many_threads,
)

# ------------------------------------------------------------------------------------------------
# The table


def _versions() -> dict[str, str | None]:
    """Version by name; None for what is not installed."""
    import openai_mini

    found: dict[str, str | None] = {"openai_mini": openai_mini.__version__}
    found["Python"] = platform.python_version()
    for name in ("requests", "urllib3", "openai"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _machine() -> str:
    with contextlib.suppress(OSError, IndexError):
        model = Path("/proc/cpuinfo").read_text().split("model name\t: ")[1].splitlines()[0]
        return "%s, %d cores, %s" % (platform.platform(), os.cpu_count() or 0, model)
    return "%s, %d cores" % (platform.platform(), os.cpu_count() or 0)


def _figure(value: float | None) -> str:
    """Three digits that count: 0.0123, 1.23, 12.3, 1,234."""
    if value is None:
        return ""
    if abs(value) >= 100 or value == int(value):
        return format(value, ",.0f")
    return f"{value:.3g}"


def _cells(row: Row) -> list[str]:
    theirs = "" if row.theirs is None else f"{_figure(row.theirs)} {row.unit}"
    ratio = "" if row.theirs is None else f"{row.measured:.3f}"
    mark = _figure(row.mark)
    if row.aim is not None:
        mark += f" ({_figure(row.aim)})"
    ours = f"{_figure(row.ours)} {row.unit}"
    return [row.what, ours, row.peer, theirs, ratio, mark, row.verdict]


def table(rows: list[Row]) -> str:
    head = ["what", "takes", "against", "which takes", "ratio", "at most (aim)", ""]
    lines = [head] + [_cells(row) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    padded = [[cell.ljust(width) for cell, width in zip(line, widths)] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in padded)


CHARTED = (  # the rows of the chart: what it is called there, the row, the peers
    ("a cold process, CPU", "a whole process: import, one chat, print, CPU"),
    ("a cold process, memory", "a whole process: import, one chat, print, peak memory"),
    ("import, CPU", "import, CPU"),
    ("a warm call, CPU", "one warm call, CPU"),
    ("a stream chunk, CPU", "stream chunks, CPU"),
    ("installed size", "installed size"),
)


def chart(rows: list[Row], width: int = 40) -> str:
    """Text bars: what openai_mini, requests and openai take, the longest as 100 %."""
    lines = []
    for title, what in CHARTED:
        peers = ("requests", "openai")
        found = [row for row in rows if row.what.endswith(what) and row.peer in peers]
        costs = {row.peer: row.theirs or 0.0 for row in found}
        if not costs:
            continue
        costs = {"openai_mini": found[0].ours, **costs}
        longest = max(costs.values())
        lines.append(title)
        for name, cost in costs.items():
            bar = "#" * max(1, round(width * cost / longest))
            lines.append("  %-11s %-*s %s %s" % (name, width, bar, _figure(cost), found[0].unit))
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    names = [question.__name__ for question in QUESTIONS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer rounds")
    parser.add_argument(
        "--only", action="append", choices=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--chart", action="store_true", help="the main ratios as text bars too")
    parser.add_argument("--json", action="store_true", help="figures for machines")
    args = parser.parse_args(argv)
    versions = _versions()
    started = time.monotonic()
    rows: list[Row] = []
    failed = 0
    for question in QUESTIONS:
        if args.only and question.__name__ not in args.only:
            continue
        print(question.__doc__, file=sys.stderr, flush=True)
        try:
            rows += [Row(*row) for row in in_child(question.__name__, args.quick)]
        except subprocess.CalledProcessError as error:
            failed += 1
            print("%s ended with %d" % (question.__name__, error.returncode), file=sys.stderr)
    command = " ".join(["python", Path(__file__).name] + (sys.argv[1:] if argv is None else argv))
    date = time.strftime("%Y-%m-%d")
    if args.json:
        measured = [dict(row._asdict(), measured=row.measured, verdict=row.verdict) for row in rows]
        about = {"date": date, "command": command, "machine": _machine(), "versions": versions}
        print(json.dumps(dict(about, rows=measured), indent=1))
        return failed
    here = [f"{name} {version}" for name, version in versions.items() if version]
    print(f"{date}: {command}, {time.monotonic() - started:.0f} s")
    print(", ".join(here))
    print(_machine())
    for name, version in versions.items():
        if version is None:
            print(f"skipped: {name} is not installed")
    print("\n" + table(rows))
    if args.chart:
        print("\n" + chart(rows))
    return failed


if __name__ == "__main__":
    sys.exit(main())
