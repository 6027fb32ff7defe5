"""A trained net behind HTTP: rows as JSON or CSV in, what `fcnet predict` writes of them out."""

from __future__ import annotations

import asyncio
import csv
import errno
import io
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any, cast

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import fcnet
from fcnet import files, machine, signals
from fcnet.api import Model
from fcnet.data.encodings import Fitted, NumberColumn
from fcnet.data.encodings.encoding import encoded
from fcnet.data.numbers import grammar
from fcnet.data.spelling import spelled
from fcnet.errors import DataError, FcnetError, Problem, UsageError, escape
from fcnet.records import dataclass
from fcnet.runs.model import Predictor
from fcnet.runs.predictions import label_cell, number_cells, text_cell

BODY = "body"
"""How error texts call what came."""

WAITING = 64
"""Predictions that may wait for a thread; who comes then is told to come again."""

GRACE = 10
"""Seconds that requests under way have when the server is asked to end."""

POLL = 0.05

BOUNDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0)
"""Seconds, the upper ends of the classes in which durations of requests are counted."""

JSON, CSV = "application/json", "text/csv"

SHOWN = 20
"""Problems of a body that are listed."""

HEADER = 4000
"""Letters of notices that a header holds."""


@dataclass(frozen=True)
class Limits:
    """What a request may ask for: bytes and rows of a body, and seconds in which it has to arrive."""

    body: int = 16 << 20
    rows: int = 10_000
    seconds: float = 30.0


class Refused(Exception):
    """An answer of the 4xx or 5xx kind: the status, what is wrong, and the exit code of the same on a command line."""

    def __init__(self, status: int, errors: Sequence[str], code: int | None = None) -> None:
        super().__init__(status)
        self.status, self.errors, self.code = status, errors, code


class Service:
    """One net and its answers, for any number of requests at a time; as many are computed as there are processors."""

    def __init__(self, net: Predictor, limits: Limits) -> None:
        self.net, self.limits = net, limits
        self.model = Model(net)
        self.counts = Counts()
        self._pool = ThreadPoolExecutor(machine.cores(), "predict")
        self._waiting = 0

    def app(self) -> Starlette:
        """The application: four pages for GET, and /predict for POST."""
        pages: dict[str, Callable[[], Response]] = {
            "/health": lambda: _json(self.health()),
            "/schema": lambda: _json(self.schema()),
            "/openapi.json": lambda: _json(self.openapi()),
            "/metrics": lambda: PlainTextResponse(self.counts.text(), media_type="text/plain; version=0.0.4"),
        }
        routes = [Route(path, self._page(path, make), methods=["GET"]) for path, make in pages.items()]
        routes.append(Route("/predict", self._timed("/predict", self.predict), methods=["POST"]))
        return Starlette(routes=routes, exception_handlers={HTTPException: _unknown})

    def _page(self, path: str, make: Callable[[], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return make()

        return self._timed(path, answer)

    def _timed(
        self, path: str, answer: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """The answer, counted; whatever is refused is JSON with what is wrong."""

        async def timed(request: Request) -> Response:
            start = perf_counter()
            try:
                response = await answer(request)
            except Refused as refused:
                response = _refusal(refused)
            self.counts.add(path, response.status_code, perf_counter() - start)
            return response

        return timed

    async def predict(self, request: Request) -> Response:
        """The predictions for the rows of the body, in its own format or in the one that `Accept` names."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in (JSON, CSV):
            raise Refused(415, [f'Content-Type: "{escape(kind)}" is not read; send {JSON} or {CSV}'])
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Refused(415, ["Content-Encoding: send the body as it is"])
        answer = _accepted(request.headers.get("accept", ""), kind)
        body = await self._body(request)
        if self._waiting >= WAITING:
            raise Refused(503, [f"{WAITING} requests are waiting; try again in a moment"])
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            response, n = await loop.run_in_executor(self._pool, self.answer, kind, answer, body)
        finally:
            self._waiting -= 1
        self.counts.rows += n  # here, where one thread alone counts
        return response

    async def _body(self, request: Request) -> bytes:
        most = self.limits.body
        large = Refused(413, [f"{BODY}: more than {most:,} bytes; send fewer rows at a time"], 9)
        said = request.headers.get("content-length", "")
        if said.isdigit() and int(said) > most:
            raise large
        pieces, size = [], 0
        try:
            async with asyncio.timeout(self.limits.seconds):
                async for piece in request.stream():
                    pieces.append(piece)
                    size += len(piece)
                    if size > most:
                        raise large
        except TimeoutError:
            raise Refused(408, [f"{BODY}: it did not arrive within {self.limits.seconds:g} s"]) from None
        except ClientDisconnect:
            raise Refused(400, ["the client went away"]) from None
        return b"".join(pieces)

    def answer(self, kind: str, wanted: str, body: bytes) -> tuple[Response, int]:
        """The response to a body of JSON rows or CSV, and how many rows it is of."""
        try:
            data = self._columns(body) if kind == JSON else self._table(body)
            columns: dict[str, Any] = {name: [] for name in self.model.heading}
            notices: list[str] = []
            if data is not None:
                columns, notices = self.model.columns(data, shown=BODY)
        except FcnetError as error:
            said = (replace(each, file=BODY if each.file == "data" else each.file) for each in error.problems)
            problems = [*map(str, said)][:SHOWN]
            raise Refused(422, problems, error.exit_code) from None
        n = len(next(iter(columns.values())))
        if wanted == CSV:
            cells = [_cells(column) for column in columns.values()]
            lines = [",".join(map(text_cell, columns)), *map(",".join, zip(*cells, strict=True)), ""]
            told = {"fcnet-notices": _listed(notices[:SHOWN])} if notices else None
            return Response("\n".join(lines).encode("utf-8", "surrogateescape"), media_type=CSV, headers=told), n
        named = [dict(zip(columns, row, strict=True)) for row in zip(*map(_values, columns.values()), strict=True)]
        return _json({"predictions": named, "notices": notices}), n

    def _many(self, n: int) -> Refused:
        return Refused(413, [f"{BODY}: {n:,} rows, and at most {self.limits.rows:,} are predicted at a time"], 9)

    def _table(self, body: bytes) -> io.BytesIO:
        if body[:2] == b"\x1f\x8b":
            raise Refused(415, [f"{BODY}: it is packed; send the table as it is"])
        if body.count(b"\n") + body.count(b"\r") > self.limits.rows:
            text = io.TextIOWrapper(io.BytesIO(body), errors="replace", newline="")
            try:
                n = sum(map(bool, csv.reader(text))) - self.net.config.data.header  # but for blank lines
            except csv.Error:
                n = 0  # its reader says what is wrong
            if n > self.limits.rows:
                raise self._many(n)
        return io.BytesIO(body)

    def _columns(self, body: bytes) -> dict[str, Any] | None:
        """The columns of JSON rows, None where there is no row; Refused for what is no list of rows, DataError for
        columns that are missing and cells of another type."""
        rows = _rows(body)
        if len(rows) > self.limits.rows:
            raise self._many(len(rows))
        if not rows:
            return None
        features = self.net.encoder.in_file
        problems = []
        columns: dict[str, Any] = {}
        for feature in features:
            allowed: tuple[type, ...] = (int, float) if feature.kind == "number" else (int, float, bool, str)
            cells = []
            for i, row in enumerate(rows):
                cell = row.get(feature.name)
                if feature.name not in row:
                    problems.append(_at(i, feature.name, "is missing; null stands for a missing cell"))
                elif cell is not None and type(cell) not in allowed:
                    what = "is not a number; send a number or null" if feature.kind == "number" else _NO_CELL
                    problems.append(_at(i, feature.name, f"{json.dumps(cell)[:60]} {what}"))
                cells.append(cell)
            if not problems:
                columns[feature.name] = self._array(cells, feature.kind, feature.name)
        if problems:
            more = [Problem(f"and {len(problems) - SHOWN:,} more")] if len(problems) > SHOWN else []
            raise DataError([*problems[:SHOWN], *more])
        unknown = {name for row in rows for name in row} - set(columns) - set(self.net.target.names)
        return {**columns, **dict.fromkeys(sorted(unknown)[:SHOWN], np.zeros(len(rows)))}

    def _array(self, cells: list[Any], kind: str, name: str) -> Any:
        array = np.empty(len(cells), object if kind == "category" else np.float64)
        try:
            array[:] = [_text(cell) for cell in cells] if kind == "category" else [_number(cell) for cell in cells]
        except OverflowError:
            raise DataError(f'column "{name}" holds a number outside {self.net.config.dtype}', file=BODY) from None
        return array

    def health(self) -> dict[str, Any]:
        """That it is there, and which net it has."""
        header = self.net.header
        about = {"name": header["name"], "run": header.get("run"), "epoch": header["epoch"]}
        return {"status": "ok", "fcnet": fcnet.__version__, **about}

    def schema(self) -> dict[str, Any]:
        """The columns of a row as JSON Schema, and those of a prediction."""
        classes = self.model.classes
        return {
            "task": self.net.target.task,
            "targets": list(self.net.target.names),
            "classes": None if classes is None else list(classes),
            "row": self.row(),
            "prediction": self.model.heading,
        }

    def row(self) -> dict[str, Any]:
        """A row as JSON Schema."""
        features = self.net.encoder.in_file
        return {
            "type": "object",
            "properties": {each.name: self._cell(each) for each in features},
            "required": [each.name for each in features],
        }

    def _cell(self, feature: Fitted) -> dict[str, Any]:
        """A cell of a column; of numbers the least and the greatest whose input the net's dtype can hold."""
        if not isinstance(feature, NumberColumn):
            return {"type": ["string", "number", "boolean", "null"]}
        options, dtype = self.net.config.data, self.net.config.dtype
        state = {key: np.array([value]) for key, value in feature.state.items()}
        most = np.finfo(dtype).max

        def fits(x: float) -> bool:
            with np.errstate(all="ignore"):
                return bool((np.abs(encoded(feature.encoding, np.array([[x]]), state)) <= most).all())

        limit = grammar(options, dtype).limit
        low, high = (_furthest(fits, start, end) for start, end in ((feature.low, -limit), (feature.high, limit)))
        return {"type": ["number", "null"], "minimum": low, "maximum": high}

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        rows = {"type": "array", "items": {"$ref": "#/components/schemas/Row"}, "maxItems": self.limits.rows}
        body = {
            "anyOf": [
                rows,
                {"type": "object", "properties": {"rows": rows}, "required": ["rows"], "additionalProperties": False},
            ]
        }
        done = {
            "type": "object",
            "properties": {
                "predictions": {"type": "array", "items": {"type": "object", "required": self.model.heading}},
                "notices": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["predictions", "notices"],
        }
        error = {
            "type": "object",
            "properties": {
                "errors": {"type": "array", "items": {"type": "string"}},
                "exit": {"type": ["integer", "null"]},
            },
            "required": ["errors", "exit"],
        }
        refused = {
            "description": "What is wrong",
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
        texts = {"type": "string"}
        predict = {
            "summary": "Predict for every row",
            "requestBody": {"required": True, "content": {JSON: {"schema": body}, CSV: {"schema": texts}}},
            "responses": {
                "200": {"description": "Predictions", "content": {JSON: {"schema": done}, CSV: {"schema": texts}}},
                **{str(code): refused for code in (400, 408, 413, 415, 422, 503)},
            },
        }
        pages = {"/health": JSON, "/schema": JSON, "/openapi.json": JSON, "/metrics": "text/plain"}
        gets = {
            path: {"get": {"summary": path[1:], "responses": {"200": {"description": path[1:], "content": {kind: {}}}}}}
            for path, kind in pages.items()
        }
        return {
            "openapi": "3.1.0",
            "info": {"title": f"fcnet: {self.net.header['name']}", "version": fcnet.__version__},
            "paths": {"/predict": {"post": predict}, **gets},
            "components": {"schemas": {"Row": self.row(), "Error": error}},
        }


class Counts:
    """What was asked and how long it took, as Prometheus reads it."""

    def __init__(self) -> None:
        self.rows = 0
        self._requests: Counter[tuple[str, int]] = Counter()
        self._classes: Counter[tuple[str, float]] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, path: str, status: int, seconds: float) -> None:
        """One request was answered."""
        self._requests[path, status] += 1
        self._seconds[path] += seconds
        for bound in BOUNDS:
            if seconds <= bound:
                self._classes[path, bound] += 1

    def text(self) -> str:
        """The text format."""
        paths = sorted({path for path, _ in self._requests})
        totals = {path: sum(n for (each, _), n in self._requests.items() if each == path) for path in paths}
        name = "fcnet_request_seconds"
        lines = ["# HELP fcnet_requests_total Requests by path and status.", "# TYPE fcnet_requests_total counter"]
        lines += [
            f'fcnet_requests_total{{path="{p}",status="{s}"}} {n}' for (p, s), n in sorted(self._requests.items())
        ]
        lines += ["# HELP fcnet_rows_total Rows predicted.", "# TYPE fcnet_rows_total counter"]
        lines += [f"fcnet_rows_total {self.rows}", f"# HELP {name} Seconds a request took.", f"# TYPE {name} histogram"]
        for path in paths:
            lines += [f'{name}_bucket{{path="{path}",le="{b:g}"}} {self._classes[path, b]}' for b in BOUNDS]
            lines.append(f'{name}_bucket{{path="{path}",le="+Inf"}} {totals[path]}')
            lines += [
                f'{name}_sum{{path="{path}"}} {self._seconds[path]!r}',
                f'{name}_count{{path="{path}"}} {totals[path]}',
            ]
        return "\n".join([*lines, ""])


_NO_CELL = "is no cell of a table; send a text, a number, true, false or null"


def _furthest(fits: Callable[[float], bool], start: float, end: float) -> float:
    """The float nearest to `end` up to which all from `start` on fit, which does."""
    if fits(end):
        return end
    good, bad = _ordinal(start), _ordinal(end)
    while abs(bad - good) > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(_float(middle)) else (good, middle)
    return _float(good)


def _ordinal(x: float) -> int:
    """The place of a float among all floats; 0 has 0."""
    place = int(np.float64(abs(x)).view(np.int64))
    return place if x >= 0 else -place


def _float(place: int) -> float:
    return math.copysign(float(np.int64(abs(place)).view(np.float64).item()), place)


def _accepted(said: str, kind: str) -> str:
    """Which of the two formats a header `Accept` likes best; `kind` where it likes both alike, or none."""
    liked: dict[str, float] = {}
    for each in said.lower().split(","):
        name, *more = (word.strip() for word in each.split(";"))
        weights = [word.removeprefix("q=") for word in more if word.startswith("q=")]
        try:
            liked[name] = float(weights[0]) if weights else 1.0
        except ValueError:
            liked[name] = 0.0

    def weight(each: str) -> float:
        return next((liked[name] for name in (each, f"{each.partition('/')[0]}/*", "*/*") if name in liked), 0.0)

    return max((kind, JSON, CSV), key=weight)


def _number(cell: Any) -> float:
    return math.nan if cell is None else float(cell)


def _text(cell: Any) -> str | None:
    """A category as a table would spell it."""
    if isinstance(cell, int | float) and not abs(cell) <= sys.float_info.max:
        return str(cell)
    return cell if cell is None else spelled(cell)


def _at(i: int, name: str, text: str) -> Problem:
    return Problem(f'row index {i}: column "{name}": {text}', file=BODY)


def _rows(body: bytes) -> list[dict[str, Any]]:
    """The rows of a JSON body; Refused."""

    def no(text: str) -> object:
        raise ValueError(f"{text} is no number of JSON")

    try:
        found = json.loads(body, parse_constant=no)
    except (ValueError, RecursionError) as error:
        raise Refused(400, [f"{BODY}: it is no JSON ({escape(str(error))})"]) from None
    if isinstance(found, dict) and found.keys() == {"rows"}:
        found = found["rows"]
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise Refused(422, [f'{BODY}: it is no list of rows; send [{{"column": value, …}}, …] or {{"rows": […]}}'])
    return cast("list[dict[str, Any]]", found)


def _values(column: Any) -> list[Any]:
    """The numbers that stand in the file of predictions, or the labels."""
    if isinstance(column, list):
        return column
    return [float(str(x)) for x in column] if column.dtype == np.float32 else cast("list[Any]", column.tolist())


def _listed(notices: list[str]) -> str:
    """The notices as a JSON list, so many as a header holds; the first is cut where it is too long by itself."""
    while len(text := files.json_text(notices, only_ascii=True)) > HEADER:
        notices = notices[:-1] or [f"{notices[0][: len(notices[0]) // 2]}…"]
    return text


def _cells(column: Any) -> list[str]:
    return list(map(label_cell, column)) if isinstance(column, list) else number_cells(column)


def _json(value: Mapping[str, Any], status: int = 200) -> Response:
    return Response(files.json_text(value, only_ascii=True), status, media_type=JSON)


def _refusal(refused: Refused) -> Response:
    response = _json({"errors": list(refused.errors), "exit": refused.code}, refused.status)
    if refused.status == 503:
        response.headers["retry-after"] = "1"
    return response


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _json({"errors": [str(error.detail)], "exit": None}, error.status_code)
    response.headers.update(error.headers or {})
    return response


class Server(uvicorn.Server):
    """A server that leaves signals to fcnet: one of them ends it when the requests under way are answered."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured."""
        yield


def serve(service: Service, host: str, port: int, started: Callable[[str], object]) -> None:
    """Answer requests until a signal comes; `started` hears the address. UsageError where that is not to be had."""
    settings = uvicorn.Config(
        service.app(),
        host,
        port,
        log_config=None,
        log_level="critical",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=GRACE,
        h11_max_incomplete_event_size=64 << 10,
    )
    asyncio.run(_serve(Server(settings), host, port, started))


async def _serve(server: Server, host: str, port: int, started: Callable[[str], object]) -> None:
    try:  # what uvicorn would end the process for
        probe = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
        probe.close()
    except (OSError, OverflowError) as error:
        why = files.reason(error) if isinstance(error, OSError) else "there is no such port"
        of_port = isinstance(error, OverflowError) or error.errno in (errno.EADDRINUSE, errno.EACCES)
        other = "--port" if of_port else "--host"
        raise UsageError(f"cannot listen on {host}:{port}: {why}; choose another {other}") from None
    running, said = asyncio.ensure_future(server.serve()), False
    while not running.done():
        if server.started and not said:
            place = server.servers[0].sockets[0].getsockname()
            started(f"http://{f'[{host}]' if ':' in host else host}:{place[1]}")
            said = True
        if signals.stop() is not None:
            server.should_exit = True
        await asyncio.wait([running], timeout=POLL)
    await running
