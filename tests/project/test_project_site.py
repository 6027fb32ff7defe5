"""The documentation is right: its commands run, its configs load, its generated pages are of today, the site builds."""

from __future__ import annotations

import gzip
import importlib.util
import inspect
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import browser
import pytest
import yaml

import fcnet
from fcnet import signals
from fcnet.cli import main
from fcnet.cli.group import COMMANDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ELSEWHERE = {"serve", "sklearn"}  # pages whose commands have tests of their own
with_mkdocs = pytest.mark.skipif(
    not all(map(find_spec, ("mkdocs", "material", "latex2mathml"))), reason="the extra docs builds the site"
)
FEW = {"train": ["training.epochs=2", "backend=numpy", "threads=1"]}
"""What is set besides, so that all pages take seconds: how good a net is does not stand on them."""


def module(name: str) -> ModuleType:
    """A script of docs/."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def commands(page: Path) -> list[str]:
    """The lines of its shell blocks, and those of its indented blocks that call fcnet."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```sh\n(.*?)^```$|^    (fcnet [^\n]*[^&\n])$", text, re.MULTILINE | re.DOTALL)
    return [line.split("  #")[0].strip() for block, line in found for line in (line or block).splitlines()]


PAGES = sorted(page.stem for page in DOCS.glob("*.md") if page.stem not in ELSEWHERE and commands(page))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages take for granted: `config.yaml`, `people.csv`, a teacher's and a pupil's config, some runs."""
    folder = tmp_path_factory.mktemp("prepared")
    for name in ("data", "configs"):
        shutil.copytree(ROOT / name, folder / name)
    whole = (ROOT / "data" / "breast_cancer.csv").read_text().splitlines()
    (folder / "people.csv").write_text("\n".join([whole[0].replace("diagnosis", "income"), *whole[1:120]]) + "\n")
    patients = [f"{line},{i // 3},{i // 5}" for i, line in enumerate(whole[1:])]
    (folder / "patients.csv").write_text("\n".join([f"{whole[0]},patient,day", *patients]) + "\n")
    shutil.copy(folder / "data" / "wine.csv", folder / "train.csv")
    few = "training: {epochs: 1}\nbackend: numpy\nthreads: 1\n"
    for name, layers in (("config", [8]), ("large", [32]), ("small", [4])):
        data = "data: {train: train.csv, target: cultivar}\n"
        (folder / f"{name}.yaml").write_text(f"{data}network: {{layers: {layers}}}\n{few}")
    (folder / "my").mkdir()
    header, cells = ",".join(["label", *(f"p{i}" for i in range(784))]), ",".join(map(str, range(784)))
    pixels = "\n".join([header, *(f"{i % 10},{cells}" for i in range(60))]).encode()
    for name in ("train", "test"):
        (folder / "my" / f"{name}.csv.gz").write_bytes(gzip.compress(pixels))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(signals, "install", lambda: None)
        ready = ["training.epochs=1", "backend=numpy", "threads=1", "-q"]
        for _ in range(2):
            assert main(["train", "configs/digits.yaml", *ready]) == 0
        assert main(["train", "configs/iris.yaml", "-o", "sweep", *ready]) == 0
        assert main(["train", "people.csv", "--target", "income", *ready]) == 0
    return folder


@pytest.fixture
def clone(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with what the commands name."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signals, "install", lambda: None)
    monkeypatch.setattr("os.fsync", lambda fd: None)
    return tmp_path


@pytest.mark.parametrize("page", [*(f"docs/{page}.md" for page in PAGES), "README.md", "data/README.md"])
def test_the_commands_of_a_page_run(page: str, clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line of its shell blocks is a command of fcnet that ends with exit code 0, in their order."""
    lines = commands(ROOT / page)
    if page == "README.md":  # the others have a test of their own
        lines = [line for line in lines if "people.csv" in line or "config.yaml" in line]
    assert lines

    for line in lines:
        first, name, *words = shlex.split(line)
        assert first == "fcnet", line
        words = [each for word in words for each in (sorted(map(str, clone.glob(word))) if "*" in word else [word])]

        code = main([name, *words, *FEW.get(name, [])])

        assert code == 0, f"{line}\n{capsys.readouterr().err}"


def configs() -> list[tuple[str, str]]:
    """(page, the lines of a config that it shows); of a key that stands twice, each alone."""
    found = []
    for page in sorted(DOCS.glob("*.md")):
        for text in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            parts = re.findall(r"^\w.*\n(?:[ #].*\n)*", text, re.MULTILINE)
            keys = [part.partition(":")[0] for part in parts]
            found += [(page.stem, part) for part in parts] if len({*keys}) < len(keys) else [(page.stem, text)]
    return [(page, text) for page, text in found if not text.startswith("stages:")]


@pytest.mark.parametrize(("page", "text"), configs())
def test_the_configs_of_a_page_hold(page: str, text: str, clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`fcnet check` finds nothing wrong with them, in a config of two classes and some patients."""
    base = "" if text.startswith("data:") else "data: {train: patients.csv, target: diagnosis}\n"
    (clone / "shown.yaml").write_text(f"{base}{text}", encoding="utf-8")

    assert main(["check", "shown.yaml", "-q"]) == 0, capsys.readouterr().err


@pytest.mark.skipif(shutil.which("bash") is None, reason="it is a script for bash")
@pytest.mark.parametrize("stopped", [False, True])
def test_the_job_of_the_cluster_page_is_put_back_where_it_was_stopped(stopped: bool, clone: Path) -> None:
    """A scheduler's signal reaches the training, whose checkpoint and code 75 put the job back into the queue."""
    (lines,) = re.findall(r"^    #!/bin/bash\n((?:    .*\n)+)", (DOCS / "howto-cluster.md").read_text(), re.MULTILINE)
    job = inspect.cleandoc(lines).replace("/scratch/$USER", str(clone))
    (clone / "job").write_text(job.replace("config.yaml", "config.yaml training.epochs=100000") if stopped else job)
    (clone / "bin").mkdir()
    called = {"fcnet": f'exec "{sys.executable}" -m fcnet "$@"', "scontrol": f'echo "$@" >>"{clone}/queue"'}
    for name, body in called.items():
        (clone / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (clone / "bin" / name).chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SLURM_JOB_ID": "7"}
    environment["PATH"] = f"{clone / 'bin'}:{os.environ['PATH']}"

    with subprocess.Popen(["bash", "job"], env=environment, stderr=subprocess.PIPE) as started:
        if stopped:
            while not (clone / "runs" / "config" / "last.npz").is_file() and started.poll() is None:
                time.sleep(0.05)
            started.send_signal(signal.SIGUSR1)
        _, said = started.communicate(timeout=120)

    assert started.returncode == (75 if stopped else 0), said
    queue = clone / "queue"
    assert (queue.read_text() if queue.exists() else "") == ("requeue 7\n" if stopped else "")
    assert (clone / "runs" / "config" / "last.npz").is_file()


def test_dvc_finds_what_the_page_says(clone: Path) -> None:
    """The stage's command leaves the files that it names, with the columns that are plotted."""
    (text,) = re.findall(r"^```yaml\n(stages:.*?)^```$", (DOCS / "progress.md").read_text(), re.MULTILINE | re.DOTALL)
    stage = yaml.safe_load(text)["stages"]["train"]

    _, *words = shlex.split(stage["cmd"])
    assert main([*words, "training.epochs=2", "-q"]) == 0
    named = [
        *stage["deps"],
        *stage["outs"],
        *(path for key in ("params", "metrics", "plots") for each in stage[key] for path in each),
    ]
    assert all((clone / path).is_file() for path in named)
    (plot,) = stage["plots"]
    ((path, about),) = plot.items()
    header = (clone / path).read_text().splitlines()[0].split(",")
    assert {about["x"], about["y"]} <= {*header}
    assert json.loads((clone / "runs/iris/metrics.json").read_text())["test"]["accuracy"]["value"] <= 1


def test_pages_have_commands() -> None:
    """The tutorial and every page of how-tos are among those that are run."""
    assert {"tutorial", *(page.stem for page in DOCS.glob("howto-*.md"))} <= set(PAGES)


def test_the_reference_of_commands_is_of_today() -> None:
    """docs/commands.md is what `python docs/_commands.py > docs/commands.md` writes."""
    assert (DOCS / "commands.md").read_text(encoding="utf-8") == module("_commands").reference()


def test_commands_in_running_text_exist() -> None:
    """Whatever a page calls a command of fcnet, or an option of one, is one."""
    wrong = []
    for page in DOCS.glob("*.md"):
        for name, rest in re.findall(r"`fcnet ([a-z]+)((?: [^`]*)?)`", page.read_text(encoding="utf-8")):
            options = {each for param in COMMANDS[name].params for each in param.opts} if name in COMMANDS else set()
            named = set(re.findall(r"(?<![\w-])--[a-z-]+", rest)) - {"--help"}
            if name not in COMMANDS or not named <= options:
                wrong.append(f"{page.name}: fcnet {name}{rest}")

    assert not wrong


def test_keys_in_running_text_exist() -> None:
    """A dotted key that a how-to or a page for newcomers names is a key of the config."""
    from fcnet.config.reference import table

    known = {row.key.partition(" (")[0] for row in table()}
    sections = {key.split(".")[0] for key in known if "." in key}
    named = {
        (page.name, key)
        for page in [*DOCS.glob("howto-*.md"), DOCS / "coming-from.md", DOCS / "tutorial.md"]
        for key in re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)+)[:=`]", page.read_text(encoding="utf-8"))
        if key.split(".")[0] in sections
    }

    assert len(named) > 15
    assert {(page, key) for page, key in named if key not in known} == set()


def test_the_site_has_every_page() -> None:
    """Every document of docs/ stands in the site's navigation once, and nothing else does."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    nav = re.findall(r"- ([\w-]+\.md)$", text, re.MULTILINE)

    pages = [name for name in nav if not name.startswith("project-")]
    assert sorted(pages) == sorted(path.name for path in DOCS.glob("*.md"))
    assert {name for name in nav if name.startswith("project-")} == {
        "project-contributing.md", "project-changelog.md", "project-data.md", "project-benchmarks.md",
    }  # fmt: skip


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_a_formula_ends_on_its_line(page: Path) -> None:
    """Neither the site nor GitHub reads one that goes on in the next."""
    text = re.sub(r"^```.*?^```|^    .*?$|`[^`\n]+`|\$\$.*?\$\$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)

    assert [line for line in text.splitlines() if line.count("$") % 2] == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a warning."""
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.long
@with_mkdocs
def test_the_site_names_nothing_that_lies_elsewhere(site: Path) -> None:
    """No page loads anything from another site, or may; formulas are drawn by the browser, and pictures are there."""
    pages = {path.name: path.read_text(encoding="utf-8") for path in site.glob("*.html")}

    loaded = [each for text in pages.values() for each in re.findall(r"<(?:script|link|img)[^>]+//[^>]+>", text)]
    assert loaded == []
    assert [name for name, text in pages.items() if module("_site").POLICY not in text] == ["404.html"]
    assert pages["derivation.html"].count("<math") > 400
    assert "$" not in re.sub(r"<(code|script|pre).*?</\1>", "", pages["derivation.html"], flags=re.DOTALL)
    shown = {page: re.findall(r'<img [^>]*src="([^"]+)"', text) for page, text in pages.items()}
    assert {"reports.html", "recipes.html", "index.html"} <= {page for page, names in shown.items() if names}
    assert all((site / name).is_file() for names in shown.values() for name in names)


@pytest.mark.long
@with_mkdocs
@pytest.mark.skipif(browser.installed() is None, reason="there is no Chromium")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_site_is_shown_without_a_network(width: int, scheme: str, site: Path, tmp_path: Path) -> None:
    """Its console says nothing, nothing is asked for but its own files, and no page is wider than the screen."""
    shown = browser.Browser(tmp_path)
    for page in sorted(site.glob("*.html")):
        if page.name == "404.html":  # its paths begin at the server's root
            continue
        shown.open(page, width, scheme)

        assert shown.complaints() == [], page.name
        assert all(each.startswith((site.as_uri(), "data:", "blob:")) for each in shown.requests()), page.name
        assert shown.evaluate("document.documentElement.scrollWidth") <= width, page.name
    shown.close()


@pytest.mark.skipif(not find_spec("mlflow"), reason="records in MLflow")
def test_a_run_is_recorded_in_mlflow(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The script of the page leaves parameters, each epoch's scores and the net in MLflow's store."""
    assert main(["train", "data/iris.csv", "--target", "species", "training.epochs=3", "-q"]) == 0
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"file:{clone}/store"}
    environment |= {"MLFLOW_ALLOW_FILE_STORE": "true", "GIT_PYTHON_REFRESH": "quiet"}
    script = [sys.executable, str(DOCS / "to_mlflow.py"), "runs/iris"]

    done = subprocess.run(script, cwd=clone, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    kept = {path.relative_to(clone / "store").parts[2:] for path in (clone / "store").rglob("*") if path.is_file()}
    assert not find_spec("onnx") or ("artifacts", "model.onnx") in kept
    assert {("artifacts", "best.npz"), ("params", "optimizer.lr"), ("metrics", "val_loss")} <= kept
    (losses,) = (clone / "store").rglob("metrics/val_loss")
    assert len(losses.read_text().splitlines()) == 3


def test_the_package_is_described() -> None:
    """CITATION.cff has the package's name, licence, version and its day, as the changelog has them."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))

    assert (cited["title"], cited["license"], cited["type"]) == ("fcnet", "MIT", "software")
    assert {"cff-version", "message", "authors", "abstract"} <= set(cited)
    assert cited["version"] == fcnet.__version__
    day = f"## {cited['version']} ({cited['date-released']})"
    assert day in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()


def test_the_workflow_runs_what_ci_runs() -> None:
    """Linux and macOS, by the one script that says what must hold."""
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))

    (job,) = flow["jobs"].values()
    assert {system.partition("-")[0] for system in job["strategy"]["matrix"]["os"]} == {"ubuntu", "macos"}
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]) for step in job["steps"] if "uses" in step)
    pythons = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", each)]
    assert job["strategy"]["matrix"]["python"] == pythons
    parsed = subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], capture_output=True, text=True, check=False)
    assert (parsed.returncode, parsed.stderr) == (0, "")


def test_the_container_starts_fcnet_as_a_user_of_its_own() -> None:
    """Its entry point is the command line, its extras are those of pyproject.toml, and it is not root's."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")

    (entry,) = re.findall(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)
    assert json.loads(entry) == ["fcnet"]
    assert re.search(r"^USER (?!root)", text, re.MULTILINE)
    (extras,) = re.findall(r"\[(fast,serve)\]", text)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f"\n{extra} = [" in project for extra in extras.split(","))


def test_the_terminal_is_drawn_as_it_was() -> None:
    """A line that is begun again is written over, a long one goes on below, and the picture holds nothing but text."""
    drawing = module("_terminal")

    assert drawing.screen("epoch 1/2\repoch 2/2\r         \rbest 1\r\nfiles\r\n") == ["best 1", "files"]
    picture = drawing.drawn([("fcnet a", ["<b> & " + "x" * drawing.COLUMNS, "notice: n"]), ("fcnet b", [])])
    texts = [each.text for each in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["$ fcnet a", "<b> & " + "x" * (drawing.COLUMNS - 6), "x" * 6, "notice: n", "$ fcnet b"]


def test_the_pictures_are_small_and_ask_for_nothing() -> None:
    """Those of docs/ are of less than 200 kB, the drawn ones have no script and no address, and a page shows each."""
    pictures = [*DOCS.glob("*.svg"), *DOCS.glob("pictures/*")]
    pages = "".join(path.read_text(encoding="utf-8") for path in [*DOCS.glob("*.md"), ROOT / "README.md"])

    assert len(pictures) >= 3
    for picture in pictures:
        assert picture.stat().st_size < 200_000
        assert picture.name in pages
        if picture.suffix == ".svg":
            text = picture.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
            assert not re.search(r"<script|https?:|href", text)


def test_the_terminal_of_the_readme_shows_its_commands() -> None:
    """It holds each command that docs/_terminal.py runs, and the scores that came of it."""
    picture = ET.parse(DOCS / "pictures" / "terminal.svg")
    texts = [each.text or "" for each in picture.iter("{http://www.w3.org/2000/svg}text")]

    assert [text.removeprefix("$ ") for text in texts if text.startswith("$ ")] == [*module("_terminal").COMMANDS]
    assert any(re.search(r"accuracy +[01]\.\d+ +[01]\.\d+ +0\.\d+", text) for text in texts)
