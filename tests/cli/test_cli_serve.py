"""`fcnet serve` answers what `fcnet predict` writes, and says what is wrong with a request in the same words."""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

import fcnet
from fcnet import api, signals
from fcnet.cli import main
from fcnet.runs.model import Predictor

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("starlette", "uvicorn"))), reason="the extra serve answers requests"
)

ROOT = Path(fcnet.__file__).parents[1]
JSON, CSV = "application/json", "text/csv"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a trained net of numbers and categories, and a table whose cells are missing, new and quoted."""
    folder = tmp_path_factory.mktemp("serve")
    rows = [f"{i % 7},{i % 5 / 3:.3f},{'uvw'[i % 3]},{'ab'[i % 2]}" for i in range(120)]
    (folder / "t.csv").write_text("\n".join(["n,x,kind,y", *rows]) + "\n", encoding="utf-8")
    odd = ["3,,u", ",1.5,new", '2,0.25,"a ""b"", c"', "1e3,-4,", "6,2,w"]
    (folder / "new.csv").write_text("\n".join(["n,x,kind", *odd]) + "\n", encoding="utf-8")
    done = fcnet.train(
        {
            "name": "t",
            "output": str(folder / "runs"),
            "data": {"train": str(folder / "t.csv"), "target": "y"},
            "network": {"layers": [8]},
            "training": {"epochs": 3},
        }
    )
    assert done.path == folder / "runs" / "t"
    return folder


@pytest.fixture
def service(place):
    """The net's service with small limits, in this process."""
    from fcnet.serving import Limits, Service

    return Service(Predictor.read(place / "runs" / "t" / "best.npz"), Limits(body=4000, rows=50, seconds=0.2))


def ask(service, path, body=None, kind=JSON, method=None, pieces=None, **headers):
    """(status, content type, body) of one request to the application itself; `pieces`: what comes of the body."""
    sent = []
    coming = iter(pieces if pieces is not None else [body or b""])

    async def receive():
        piece = next(coming, None)
        if piece is None:
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": piece, "more_body": pieces is not None}

    async def send(message):
        sent.append(message)

    about = {"content-type": kind} if body is not None or pieces is not None else {}
    named = {**about, **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http",
        "method": method or ("GET" if not about else "POST"),
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }
    asyncio.run(service.app()(scope, receive, send))
    found = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], found["content-type"], b"".join(message.get("body", b"") for message in sent)


def predicted(place, table="new.csv"):
    """What `fcnet predict` writes of a table of the folder."""
    out = place / f"out-{table}"
    assert main(["predict", str(place / table), "-c", str(place / "runs" / "t"), "-o", str(out), "-q"]) == 0
    return out.read_bytes()


ROWS = [
    {"n": 3, "x": None, "kind": "u"},
    {"n": None, "x": 1.5, "kind": "new"},
    {"n": 2, "x": 0.25, "kind": 'a "b", c'},
    {"n": 1000, "x": -4.0, "kind": None},
    {"n": 6, "x": 2, "kind": "w"},
]


def test_csv_gets_the_very_bytes_of_predict(service, place, capsys):
    """The answer to a table is the file that the command writes of it."""
    status, kind, body = ask(service, "/predict", (place / "new.csv").read_bytes(), CSV)

    assert (status, kind) == (200, "text/csv; charset=utf-8")
    assert body == predicted(place)


def test_json_gets_the_numbers_of_predict(service, place, capsys):
    """Rows of JSON have the predictions of the same rows in a table, label and every digit of every number."""
    status, _, body = ask(service, "/predict", json.dumps({"rows": ROWS}).encode())

    head, *lines = predicted(place).decode().splitlines()
    answer = json.loads(body)
    assert status == 200
    assert [",".join(str(row[name]) for name in head.split(",")) for row in answer["predictions"]] == lines
    assert any('"new"' in notice for notice in answer["notices"])


def test_the_answer_has_the_format_that_is_accepted(service, place, capsys):
    """JSON rows can be answered by CSV, with the notices in a header, and a table by JSON."""
    status, kind, body = ask(service, "/predict", json.dumps(ROWS).encode(), accept=CSV)
    other, _, rows = ask(service, "/predict", (place / "new.csv").read_bytes(), CSV, accept=JSON)

    assert (status, kind, body) == (200, "text/csv; charset=utf-8", predicted(place))
    assert (other, len(json.loads(rows)["predictions"])) == (200, 5)


@pytest.mark.parametrize("many", [[f"é{i} " * 70 for i in range(9)], ["é" * 9000], ["few"]])
def test_notices_in_a_header_are_a_list_however_long_they_are(many):
    """Those that it has no room for are left out, or cut, and the rest can be read."""
    from fcnet.serving import _listed

    text = _listed(many)

    told = json.loads(text)
    assert text.isascii()
    assert len(text) <= 4000
    assert told
    assert all(given.startswith(each.removesuffix("…")) for given, each in zip(many, told, strict=False))


@pytest.mark.parametrize(
    ("accepted", "answered"),
    [
        ("*/*", JSON),
        ("text/html", JSON),
        ("text/*", CSV),
        ("application/json;q=0.1, text/csv", CSV),
        ("text/csv; q=0.1, application/json", JSON),
        ("application/json;q=0, */*;q=0.5", CSV),
        ("Text/CSV;q=x", JSON),
    ],
)
def test_what_is_accepted_has_weights(accepted, answered, service):
    """As HTTP has them: the format that is liked best; that of the body where both are liked alike, or none is."""
    _, kind, _ = ask(service, "/predict", json.dumps(ROWS).encode(), accept=accepted)

    assert kind.partition(";")[0] == answered


def test_blank_lines_of_a_table_are_no_rows(service, place):
    """However many there are, the rows are predicted."""
    status, _, body = ask(service, "/predict", b"n,x,kind\n" + b"1,2,u\n" * 3 + b"\n\r\n" * 99, CSV)

    assert (status, len(body.splitlines())) == (200, 4)


def test_numbers_and_truths_are_categories_as_a_table_spells_them(service, place):
    """What stands in a table as 1, 2.5 and True may come as a number or a truth; none is too large for a text."""
    cells = {"1": 1, "2.5": 2.5, "True": True, "3": 3.0, str(10**400): 10**400}
    one, other = (
        json.loads(ask(service, "/predict", json.dumps([{"n": 1, "x": 1, "kind": c} for c in each]).encode())[2])
        for each in (cells, cells.values())
    )

    assert one == other
    assert len(one["predictions"]) == 5


def test_bounds_of_a_number_are_the_last_that_are_taken(service):
    """The document's least and greatest number of a column are predicted, and the next floats beyond are not."""
    low, high = (service.row()["properties"]["x"][end] for end in ("minimum", "maximum"))

    statuses = [
        ask(service, "/predict", json.dumps([{"n": 1, "x": x, "kind": "u"}]).encode())[0]
        for x in (low, high, math.nextafter(low, -math.inf), math.nextafter(high, math.inf))
    ]

    assert statuses == [200, 200, 422, 422]


def test_no_rows_have_no_predictions(service):
    """An empty list is a request like another."""
    assert json.loads(ask(service, "/predict", b"[]")[2]) == {"predictions": [], "notices": []}
    assert ask(service, "/predict", b"[]", accept=CSV)[2] == b"prediction,p(a),p(b)\n"


ROW = {"n": 1, "x": 2, "kind": "u"}


@pytest.mark.parametrize(
    ("body", "kind", "status", "said"),
    [
        (b"{]", JSON, 400, "it is no JSON"),
        (b"[1e999, NaN]", JSON, 400, "NaN is no number of JSON"),
        (b"\xff[]", JSON, 400, "it is no JSON"),
        (b"[" * 3000, JSON, 400, "it is no JSON"),
        (b"7", JSON, 422, "it is no list of rows"),
        (b'{"rows": [], "x": 1}', JSON, 422, "it is no list of rows"),
        ([{**ROW, "n": "3"}], JSON, 422, 'body: row index 0: column "n": "3" is not a number; send a number or null'),
        ([{**ROW, "n": True}], JSON, 422, 'column "n": true is not a number'),
        ([{**ROW, "kind": []}], JSON, 422, 'column "kind": [] is no cell of a table'),
        ([ROW, {"n": 1, "x": 2}], JSON, 422, 'row index 1: column "kind": is missing; null stands for a missing cell'),
        ([{**ROW, "n": 1e39}], JSON, 422, 'column "n": 1e+39 is infinite or outside float32'),
        ([{**ROW, "n": 10**400}], JSON, 422, 'column "n" holds a number outside float32'),
        ([ROW] * 51, JSON, 413, "51 rows, and at most 50 are predicted at a time"),
        (b"n,x,kind\n1,2,u\n1,oops,u\n", CSV, 422, 'body:3: column "x": "oops" is not a number'),
        (b"n,x\n1,2\n", CSV, 422, 'no column "kind"'),
        (b"n,x,kind\n" + b"1,2,u\n" * 51, CSV, 413, "51 rows, and at most 50"),
        (b"n,x,kind\r" + b"1,2,u\r" * 51, CSV, 413, "51 rows, and at most 50"),
        (b"n,x,kind\n" + b"1,2,u\n" * 1000, CSV, 413, "more than 4,000 bytes"),
        (b"\x1f\x8b\x08abc", CSV, 415, "it is packed"),
        (b"<a/>", "text/xml", 415, '"text/xml" is not read; send application/json or text/csv'),
    ],
)
def test_what_is_wrong_is_said_as_on_the_command_line(service, body, kind, status, said):
    """The status is of the 4xx, and the texts name place, what was found and what to do."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()

    found, answered, text = ask(service, "/predict", sent, kind)

    assert (found, answered) == (status, JSON)
    assert said in "\n".join(json.loads(text)["errors"])


def test_the_text_of_an_error_is_predicts_own(service, place, capsys):
    """A table that `fcnet predict` refuses is refused with the same problems and its exit code."""
    (place / "bad.csv").write_text("n,x,kind\n1,2,u\nx,y,u\n", encoding="utf-8")

    _, _, body = ask(service, "/predict", (place / "bad.csv").read_bytes(), CSV)
    code = main(["predict", str(place / "bad.csv"), "-c", str(place / "runs" / "t"), "-o", str(place / "no.csv"), "-q"])

    told = capsys.readouterr().err.replace(str(place / "bad.csv"), "body")
    answer = json.loads(body)
    assert answer["exit"] == code == 4
    assert "".join(f"fcnet: {line}\n" for line in answer["errors"]) == told


def test_a_body_that_does_not_arrive_is_waited_for_and_no_longer(service):
    """After the time limit the request is refused, whatever came of it."""
    status, _, body = ask(service, "/predict", pieces=[b'[{"n":'])

    assert (status, json.loads(body)["errors"]) == (408, ["body: it did not arrive within 0.2 s"])


def test_a_body_without_a_length_is_limited_too(service):
    """What streams in is refused as soon as it is too much."""
    status, _, _ = ask(service, "/predict", pieces=[b"x" * 3000, b"x" * 3000, b"x" * 3000])

    assert status == 413


def test_more_than_can_wait_are_told_to_come_again(service, monkeypatch):
    """A queue without an end would answer nobody in time."""
    monkeypatch.setattr("fcnet.serving.WAITING", 0)

    status, _, body = ask(service, "/predict", b"[]")

    assert status == 503
    assert "try again" in json.loads(body)["errors"][0]


@pytest.mark.parametrize(("path", "method", "status"), [("/nowhere", "GET", 404), ("/predict", "GET", 405)])
def test_what_there_is_not_is_json_too(service, path, method, status):
    """Unknown pages and methods are errors of the same form."""
    found, kind, body = ask(service, path, method=method)

    assert (found, kind) == (status, JSON)
    assert json.loads(body).keys() == {"errors", "exit"}


def test_the_pages_say_what_the_net_is(service):
    """Health, the columns of a row and of a prediction, and an OpenAPI document with every page and every status."""
    health, schema, document = (json.loads(ask(service, f"/{p}")[2]) for p in ("health", "schema", "openapi.json"))

    assert (health["status"], health["name"]) == ("ok", "t")
    assert schema["prediction"] == ["prediction", "p(a)", "p(b)"]
    assert schema["classes"] == ["a", "b"]
    assert schema["row"]["required"] == ["n", "x", "kind"]
    assert schema["row"]["properties"]["n"]["type"] == ["number", "null"]
    assert document["components"]["schemas"]["Row"] == schema["row"]
    assert set(document["paths"]) == {"/predict", "/health", "/schema", "/metrics", "/openapi.json"}
    assert set(document["paths"]["/predict"]["post"]["responses"]) == {
        "200", "400", "408", "413", "415", "422", "503",
    }  # fmt: skip


def test_metrics_count_requests_and_rows(service):
    """Every line is one of Prometheus's text format, and the sums are those of the requests."""
    for body in (b"[]", json.dumps(ROWS).encode(), b"{"):
        ask(service, "/predict", body)

    _, kind, body = ask(service, "/metrics")

    lines = body.decode().splitlines()
    assert kind.startswith("text/plain; version=0.0.4")
    assert all(
        re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [\d.e+-]+', line) for line in lines
    )
    assert 'fcnet_requests_total{path="/predict",status="200"} 2' in lines
    assert 'fcnet_requests_total{path="/predict",status="400"} 1' in lines
    assert "fcnet_rows_total 5" in lines
    assert 'fcnet_request_seconds_count{path="/predict"} 3' in lines


def test_without_its_packages_serve_is_wrong_usage(capsys, monkeypatch):
    """The message has the command that installs them."""
    monkeypatch.setattr("fcnet.extras.installed", lambda name: False)

    code = main(["serve", "runs/t"])

    assert code == 2
    assert "starlette, which is not installed; pip install 'fcnet[serve]'" in capsys.readouterr().err


@contextmanager
def serving(place, *words):
    """(process, port) of a server of the folder's net."""
    command = [sys.executable, "-m", "fcnet", "serve", "runs/t", "--port", "0", "--json", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as server:
        try:
            head = b""
            while not head.endswith(b"}\n"):
                line = server.stdout.readline()
                assert line, server.stderr.read()
                head += line
            yield server, int(json.loads(head)["url"].rpartition(":")[2])
        finally:
            server.kill()


def post(connection, body, kind):
    connection.request("POST", "/predict", body, {"Content-Type": kind})
    answer = connection.getresponse()
    return answer.status, answer.read()


def resident(server):
    """Bytes of memory of a process, 0 where the system does not tell."""
    status = Path(f"/proc/{server.pid}/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else 0


def load(place, seconds):
    """Two clients at once, for so long: how many answers, those that were wrong, and how much memory has grown."""
    table, rows = (place / "new.csv").read_bytes(), json.dumps(ROWS).encode()
    right = {CSV: predicted(place)}
    wrong, counts = [], []
    with serving(place) as (server, port):

        def client(body, kind, until):
            connection, n = http.client.HTTPConnection("127.0.0.1", port, timeout=60), 0
            while time.monotonic() < until:
                status, answer = post(connection, body, kind)
                n += 1
                if (status, answer) != (200, right.setdefault(kind, answer)):
                    wrong.append(answer)
            connection.close()
            counts.append(n)

        def both(until):
            clients = [threading.Thread(target=client, args=(*what, until)) for what in ((table, CSV), (rows, JSON))]
            for each in clients:
                each.start()
            for each in clients:
                each.join()

        both(time.monotonic() + min(seconds, 5) / 2)
        before = resident(server)
        both(time.monotonic() + seconds)
        grown = resident(server) - before
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    return counts, wrong, grown


def test_two_clients_get_no_wrong_answer(place, capsys):
    """At once and many times over, each gets what it would get alone, and the server does not grow."""
    counts, wrong, grown = load(place, 2)

    assert min(counts) > 3
    assert not wrong
    assert grown < 16e6


@pytest.mark.long
def test_half_a_minute_of_two_clients(place, capsys):
    """The same for 30 seconds."""
    counts, wrong, grown = load(place, 30)

    assert sum(counts) > 1000
    assert not wrong
    assert grown < 16e6


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_when_requests_are_answered(place, number):
    """A request under way gets its answer, later ones none, and the exit code is 0."""
    body = json.dumps(ROWS).encode()
    with serving(place) as (server, port):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.putrequest("POST", "/predict")
            connection.putheader("Content-Type", JSON)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            connection.send(body[:10])
            time.sleep(0.3)
            server.send_signal(number)
            time.sleep(0.3)
            connection.send(body[10:])
            status = connection.getresponse().status
        code = server.wait(30)

    assert (status, code) == (200, 0)


def test_a_host_that_there_is_not_is_wrong_usage(place, monkeypatch, capsys):
    """The cure names the option that is wrong."""
    monkeypatch.setattr(signals, "install", lambda: None)

    code = main(["serve", str(place / "runs/t"), "--host", "256.256.256.256"])
    out, err = capsys.readouterr()

    assert (code, out) == (2, "")
    assert re.fullmatch(r"fcnet: cannot listen on 256\.256\.256\.256:\d+: .*; choose another --host\n", err)


def test_a_port_that_is_taken_is_wrong_usage(place):
    """The message names it, and what to choose."""
    with serving(place) as (_, port):
        done = subprocess.run(
            [sys.executable, "-m", "fcnet", "serve", "runs/t", "--port", str(port)],
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 2
    assert re.fullmatch(rf"fcnet: cannot listen on 127\.0\.0\.1:{port}: .*; choose another --port\n", done.stderr)


@pytest.mark.long
@pytest.mark.skipif(not find_spec("schemathesis"), reason="schemathesis makes requests from the document")
@pytest.mark.parametrize(("kind", "excluded"), [(JSON, []), (CSV, ["positive_data_acceptance"])])
def test_every_request_of_the_document_is_answered_as_it_says(place, service, kind, excluded):
    """Rows that the document allows get predictions, others a documented error, and no request ends in a 500.

    Of a table it only says that it is text, of which most is none.
    """
    document = service.openapi()
    contents = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    document["paths"]["/predict"]["post"]["requestBody"]["content"] = {kind: contents[kind]}
    (place / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
    with serving(place) as (_, port):
        command = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json"]
        command += ["--url", f"http://127.0.0.1:{port}", "--max-examples", "200", "--seed", "0"]
        command += ["--generation-database", "none", "--request-timeout", "30"]
        command += ["--exclude-checks", ",".join(["unsupported_method", *excluded])]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Tested: " in done.stdout


def test_predictions_come_from_the_one_model(service, place):
    """The service's net and Python's give the same columns for one frame."""
    table = {"n": [3.0, 6.0], "x": [1.0, 2.0], "kind": ["u", "w"]}

    columns, _ = service.model.columns(table)

    assert {name: [*column] for name, column in api.load(place / "runs" / "t").predict_columns(table).items()} == {
        name: [*column] for name, column in columns.items()
    }


def test_the_page_has_every_status_and_every_path(service):
    """docs/serve.md names what the OpenAPI document does."""
    text = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    document = service.openapi()

    statuses = {code for row in re.findall(r"^\| ([\d, ]+) \|", text, re.MULTILINE) for code in row.split(", ")}
    assert statuses - {"404", "405"} == set(document["paths"]["/predict"]["post"]["responses"]) - {"200"}
    assert set(re.findall(r"^\| `(?:GET|POST) (/[\w.]+)`", text, re.MULTILINE)) == set(document["paths"])


def test_the_requests_of_the_page_are_answered(service):
    """The rows in its examples have the form that is read."""
    text = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    (rows,) = re.findall(r"-d '(\[.*\])'", text)

    status, _, body = ask(service, "/predict", rows.encode())

    assert (status, json.loads(body)["errors"][0][:18]) == (422, "body: row index 0:")
