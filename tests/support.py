"""Where the repository is; commands without the seconds that a new process takes to import torch;
and W&B without W&B: its files read back, and a server on loopback."""

from __future__ import annotations

import gzip
import json
import math
import os
import runpy
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from bn_repro.analysis.tables import unpacked
from bn_repro.records import histograms
from bn_repro.records.reader import read_correct
from bn_repro.tracking.series import History

ROOT = Path(__file__).parent.parent


# --- commands -------------------------------------------------------------------------------------


def as_lines(rows: Iterable[Any]) -> str:
    """What a file of rows holds: each as JSON, on a line of its own."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def history_of(directory: Path) -> list[tuple[int, dict[str, Any]]]:
    """The steps that a logger has of a run's records by now."""
    return History(directory).steps(whole_to=math.inf)


def answers_of(directory: Path) -> dict[str, Any]:
    """``correct.npz`` with its bits as bools, one an image."""
    found = read_correct(directory)
    n = found.pop("images")
    return {k: v if isinstance(v, int) else unpacked(v, n) for k, v in found.items()}


def call(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *words: str,
    command: str = "train",
) -> tuple[int, str, str]:
    """:func:`bn_repro` of a command, by default ``train``."""
    return bn_repro(monkeypatch, capsys, command, *words)


def bn_repro(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, str]:
    """The exit code of ``bn-repro <words>`` and what it prints; in this process."""
    from bn_repro.cli import command

    monkeypatch.setattr(sys, "argv", ["/bin/bn-repro", *words])
    with pytest.raises(SystemExit) as end:
        command.main()
    code, printed = end.value.code or 0, capsys.readouterr()
    assert isinstance(code, int)
    return code, printed.out, printed.err


class Forked:
    """A function in a process of its own, to be waited for and killed as ``Popen``'s are.

    It is forked from the scheduler's server, which has imported torch.
    """

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        from bn_repro.sweep.local import process_context

        context = process_context()
        pipes = [context.Pipe(duplex=False) for _ in range(2)]
        self._pipes = [ours for ours, _ in pipes]
        self.stdout, self.stderr = (os.fdopen(p.fileno(), closefd=False) for p in self._pipes)
        theirs = [theirs for _, theirs in pipes]
        self._process = context.Process(
            target=_piped, args=(*theirs, function, *arguments), daemon=True
        )
        self._process.start()
        for end in theirs:
            end.close()

    @property
    def returncode(self) -> int | None:
        """Its exit code, once it has one."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self._process.exitcode

    def kill(self) -> None:
        """By SIGKILL."""
        self._process.kill()

    def terminate(self) -> None:
        """By SIGTERM."""
        self._process.terminate()

    def stop(self) -> None:
        """By SIGSTOP: it is frozen."""
        os.kill(self._process.pid or 0, signal.SIGSTOP)

    def interrupt(self) -> None:
        """By SIGINT, as Ctrl-C does."""
        os.kill(self._process.pid or 0, signal.SIGINT)

    def communicate(self, timeout: float = 600) -> tuple[str, str]:
        """What it said, once it has ended; a few lines, which the pipes hold until then."""
        self._process.join(timeout)
        assert self.returncode is not None, f"not over within {timeout} s"
        return self.stdout.read(), self.stderr.read()


def _piped(
    out: Connection, err: Connection, function: Callable[..., object], *arguments: object
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which the server does not hear
    for end, stream in ((out, 1), (err, 2)):
        os.dup2(end.fileno(), stream)
        end.close()
    function(*arguments)


def train(words: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    """``train.py`` with these words, for :class:`Forked`; ``env`` is besides the server's."""
    os.environ.update(env or {})
    sys.argv = [str(ROOT / "scripts" / "train.py"), *words]
    runpy.run_path(sys.argv[0], run_name="__main__")


# --- offline files: W&B 0.31 has no reader of its own any more ------------------------------------

BLOCK, HEADER = 32768, 7


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a ``.wandb`` file: LevelDB's log format behind seven bytes of its own."""
    from wandb.proto import wandb_internal_pb2 as protocol

    content, at, parts = path.read_bytes(), HEADER, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:  # the rest of a block too short for a header is padding
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + HEADER])
        if at + HEADER + length > len(content):
            return  # still being written
        parts += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield protocol.Record.FromString(parts)  # pyright: ignore[reportAttributeAccessIssue]
            parts = b""


class OfflineRun:
    """What the one offline run under ``folder`` holds, once W&B's own process has written it."""

    def __init__(self, folder: Path) -> None:
        (self.path,) = (folder / "wandb").glob("offline-run-*/*.wandb")
        records = list(wandb_records(self.path))
        for _ in range(2400):  # two minutes
            if records and records[-1].WhichOneof("record_type") == "exit":
                break
            time.sleep(0.05)
            records = list(wandb_records(self.path))
        self.records = [(r.WhichOneof("record_type"), r) for r in records]
        self.about = self.of("run")[0].run
        self.config = {c.key: json.loads(c.value_json) for c in self.about.config.update}

    def of(self, kind: str) -> list[Any]:
        """The records of one kind."""
        return [record for name, record in self.records if name == kind]

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows, without the clock's part; ``_step`` is W&B's axis, histograms are counts."""
        rows = [with_counts(_items(record.history.item)) for record in self.of("history")]
        return [{k: v for k, v in r.items() if k not in ("_timestamp", "_runtime")} for r in rows]

    @property
    def summary(self) -> dict[str, Any]:
        """The summary as it ends up."""
        found: dict[str, Any] = {}
        for record in self.of("summary"):
            found |= _items(record.summary.update)
        return found


def _items(items: Any) -> dict[str, Any]:
    return {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}


def with_counts(row: dict[str, Any]) -> dict[str, Any]:
    """A row of W&B's with the counts in the place of each histogram, whose bins are ours."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if not key.startswith("histogram/"):
            found[key] = value
        elif isinstance(value, dict):  # as the server gets it
            found |= with_counts({f"{key}/{part}": v for part, v in value.items()})
        elif key.endswith("/bins"):
            assert value == histograms.edges()
        elif key.endswith("/_type"):
            assert value == "histogram"
        else:
            found[key.removesuffix("/values")] = value
    return found


# --- online: what a W&B server answers ------------------------------------------------------------


class WandbServer:
    """As much of a W&B server, on loopback, as its client needs to send runs and go on with them.

    ``runs[id]`` has the lines of each file stream by their offset, ``told[id]`` what a run said of
    itself; ``requests`` has the names of artifacts, and reports.
    """

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, dict[int, str]]] = {}
        self.told: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        handler = type("Handler", (_Handler,), {"wandb": self})
        self._http = _Quiet(("127.0.0.1", 0), handler)
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        """Answer no more."""
        self._http.shutdown()
        self._http.server_close()

    def history(self, run: str) -> list[dict[str, Any]]:
        """The rows that the server has of a run; histograms are counts."""
        lines = self.runs[run].get("wandb-history.jsonl", {})
        return [with_counts(json.loads(lines[offset])) for offset in sorted(lines)]

    def summary(self, run: str) -> dict[str, Any]:
        """The run's summary."""
        lines = self.runs[run]["wandb-summary.json"]
        return json.loads(lines[max(lines)])

    def stream(self, run: str, body: dict[str, Any]) -> None:
        """A part of a run's files."""
        for name, part in (body.get("files") or {}).items():
            lines = self.runs.setdefault(run, {}).setdefault(name, {})
            lines |= {part["offset"] + k: line for k, line in enumerate(part["content"])}

    def answer(self, query: str, asked: dict[str, Any]) -> dict[str, Any]:
        """The data that a GraphQL query or mutation gets."""
        entity = {"id": "E", "name": "me"}
        project = {"id": "P", "name": asked.get("project"), "entity": entity}
        if "query Viewer" in query:
            viewer = {"id": "U", "entity": "me", "username": "me", "email": "", "flags": "{}"}
            return {"viewer": {**viewer, "teams": {"edges": []}}}
        if "query GetDefaultEntity" in query:
            return {"viewer": {"id": "U", "entity": "me"}}
        if "query RunResumeStatus" in query:
            return {"model": {**project, "bucket": self._bucket(asked["name"])}}
        if "mutation UpsertBucket" in query:
            new = asked["name"] not in self.runs
            self.told.setdefault(asked["name"], {}).update(
                {key: asked[key] for key in asked if asked[key] is not None}
            )
            self.runs.setdefault(asked["name"], {})
            bucket = {**(self._bucket(asked["name"]) or {}), "project": project}
            return {"upsertBucket": {"bucket": bucket, "inserted": new}}
        if "mutation CreateRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/{name}"} for name in asked["files"]]
            return {"createRunFiles": {"runID": "B", "uploadHeaders": [], "files": files}}
        if "query ArtifactType" in query:
            return {"project": {"artifact": None}}
        if "query GetProjects" in query:
            page = {"endCursor": None, "hasNextPage": False}
            return {"models": {"pageInfo": page, "edges": []}}
        if "upsertModel" in query:
            return {"upsertModel": {"project": project, "model": project, "inserted": True}}
        if "upsertView" in query:
            self.requests.append(asked["spec"])
            where = {"name": asked["projectName"], "entityName": asked["entityName"]}
            view = {"id": "V", "name": asked["name"], "displayName": asked["displayName"]}
            view |= {"description": "", "type": "runs", "spec": asked["spec"], "project": where}
            return {"upsertView": {"view": view, "inserted": True}}
        if "query ArtifactMembershipByName" in query:
            self.requests.append(f"asked for {asked['name']}")
            return {"project": {"artifactCollectionMembership": _membership(asked)}}
        if "useArtifact" in query:
            self.requests.append(f"{asked['runName']} used {asked['artifactID']}")
            return {"useArtifact": {"artifact": {"id": asked["artifactID"]}}}
        if "mutation CreateArtifact" in query:
            self.requests.append(f"artifact {asked['input']['artifactCollectionName']}")
            sequence = {"latestArtifact": {"id": "A"}}
            artifact = {"id": "A", "state": "COMMITTED", "artifactSequence": sequence}
            return {"createArtifact": {"artifact": artifact}}
        return {"serverInfo": {"features": []}}

    def _bucket(self, run: str) -> dict[str, Any] | None:
        """What W&B tells of a run that it has."""
        if run not in self.runs:
            return None
        lines = self.runs[run].get("wandb-history.jsonl", {})
        last = [lines[max(lines)]] if lines else []
        summary = self.runs[run].get("wandb-summary.json", {0: "{}"})
        return {
            **{"id": f"B-{run}", "name": run, "displayName": run, "description": "", "notes": ""},
            **{"config": "{}", "tags": [], "sweepName": None, "wandbConfig": '{"t": {"1": [1]}}'},
            **{"historyLineCount": len(lines), "eventsLineCount": 0, "logLineCount": 0},
            **{"historyTail": json.dumps(last), "eventsTail": "[]"},
            "summaryMetrics": summary[max(summary)],
        }


def _membership(asked: dict[str, Any]) -> dict[str, Any]:
    """What W&B tells of an artifact that is asked for as ``name:alias``."""
    name, alias = asked["name"].split(":")
    entity = {"name": asked["entity"]}
    project = {"id": "P", "internalId": "P", "name": asked["project"], "entity": entity}
    collection = {"__typename": "ArtifactSequence", "name": name, "project": project}
    aliases = [{"__typename": "ArtifactAlias", "id": "L", "alias": alias}]
    time = "2026-01-02T03:04:05"
    artifact = {
        **{"__typename": "Artifact", "id": f"id of {name}", "artifactSequence": collection},
        **{"versionIndex": 0, "artifactType": {"name": "model"}, "description": "", "tags": []},
        **{"metadata": "{}", "ttlDurationSeconds": -2, "ttlIsInherited": True, "size": 1},
        **{"historyStep": None, "state": "COMMITTED", "digest": "", "commitHash": "0"},
        **{"fileCount": 1, "createdAt": time, "updatedAt": time},
        "aliases": [{**alias, "artifactCollection": collection} for alias in aliases],
    }
    of = {"__typename": "ArtifactCollectionMembership", "id": "M", "versionIndex": 0}
    of |= {"createdAt": time, "aliases": aliases}
    return {**of, "artifactCollection": collection, "artifact": artifact}


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is none of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wandb: WandbServer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """GraphQL, or a part of a run's files."""
        body = self._body()
        if self.path.endswith("/graphql"):
            asked = json.loads(body)
            answer = self.wandb.answer(asked["query"], asked.get("variables") or {})
            return self._reply({"data": answer})
        if self.path.endswith("/file_stream"):
            self.wandb.stream(self.path.split("/")[-2], json.loads(body))
        return self._reply({})

    def do_PUT(self) -> None:
        """A file."""
        self._body()
        self._reply({})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        return gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body

    def _reply(self, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
