"""`fcnet serve`: a trained net behind HTTP."""

from __future__ import annotations

from pathlib import Path

import click

from fcnet import signals
from fcnet.cli import streams
from fcnet.cli.command import FILE, Command, as_json, talk
from fcnet.errors import UsageError

EXAMPLE = """
fcnet serve runs/digits
fcnet serve runs/digits --port 8080
curl -H 'Content-Type: text/csv' --data-binary @digits.csv http://127.0.0.1:8000/predict
"""

PACKAGES = "starlette", "uvicorn"


@click.command(cls=Command, example=EXAMPLE, short_help="Answer requests for predictions over HTTP.")
@click.argument("checkpoint", required=False, type=FILE)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    metavar="N",
    help="The port; 0: any that is free.",
)
@click.option(
    "--max-rows",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Rows of a request at most.",
)
@click.option(
    "--max-bytes",
    type=click.IntRange(1),
    default=16 << 20,
    show_default=True,
    metavar="N",
    help="Bytes of a request at most.",
)
@as_json
@talk
def command(
    checkpoint: Path | None,
    host: str,
    port: int,
    max_rows: int,
    max_bytes: int,
    json_: bool,
    quiet: bool,
) -> None:
    """Answer POST /predict with what `fcnet predict` writes, for rows as JSON or CSV; also GET /schema, /health,
    /metrics and /openapi.json.

    CHECKPOINT is a file or a run folder, which stands for its best.npz; without it, the newest complete run under runs/
    is taken. Only this machine is answered unless --host says otherwise; there is no encryption and no password, which
    is for a proxy in front. SIGTERM or Ctrl-C ends it, exit 0, when the requests under way are answered.
    """
    from fcnet import extras
    from fcnet.runs import folder
    from fcnet.runs.model import Predictor

    for package in PACKAGES:
        if not extras.installed(package):
            raise UsageError(f"fcnet serve needs {package}, which is not installed; {extras.PACKAGES[package].cure}")
    from fcnet import serving

    with signals.raising():
        net = Predictor.read(folder.resolve(checkpoint))
        service = serving.Service(net, serving.Limits(max_bytes, max_rows))

    def started(address: str) -> None:
        if json_:
            streams.show_json({"url": address, "checkpoint": str(net.path)})
        elif not quiet:
            streams.say(f"{streams.word(net.path)} at {address}/predict; Ctrl-C ends it")

    with signals.polling():
        serving.serve(service, host, port, started)
