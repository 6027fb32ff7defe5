"""`fcnet explain`: the derivation with the user's own net, on the terminal and as one page."""

import importlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from check_cases import learnable, run, settings, write_table, wrong_activation

from fcnet.data.target import tasks_of
from fcnet.formulas import Formula, Sym
from fcnet.formulas.notation import formula, line
from fcnet.nn.activations import ACTIVATIONS
from fcnet.nn.losses import LOSSES
from fcnet.optim.rules import OPTIMIZERS, of_matrices
from fcnet.reports import explain, explain_page, explain_text
from fcnet.reports.notation import mathml, plain


@pytest.fixture
def plants(tmp_path, monkeypatch):
    """A config beside its table, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    write_table(tmp_path)
    (tmp_path / "plants.yaml").write_text(
        "data: {train: plants.csv, target: flower, exclude: [name], class_weight: balanced}\n"
        "network: {layers: [{units: 6, dropout: 0.1}, 4], activation: tanh}\nthreads: 1\n"
    )
    return tmp_path


def test_every_equation_has_its_arrays_its_code_and_its_check(plants, capsys):
    """The terminal shows the four equations of each layer, with shapes, lengths, functions and relative errors."""
    code, out, err = run(capsys, "explain", "plants.yaml")

    assert code == 0
    assert "plants: one step, taken apart\n" in out
    for equation in (
        "A₁ = Z₁ W₁ᵀ + b₁",
        "Z₂ = tanh(A₁)",
        "(9)  Z₂ ← M₂ ∘ Z₂",
        "P = exp(Z₄ − max(Z₄)) / Σ(exp(Z₄ − max(Z₄)))",
        "L = Σ(w ∘ ℓ) / B = ",
        "Δ₃ = w ∘ ∂ℓ/∂Z₄ / B,  ∂ℓ/∂Z₄ = P − Y",
        "(1)  E₂ = Δ₂ ∘ (1 − Z₃²)",
        "(2)  Δ₁ = E₂ W₂",
        "(3)  db₂ = Σᵣ E₂",
        "(4)  dW₂ = E₂ᵀ Z₂",
        "(9)  Δ₁ ← M₂ ∘ Δ₁",
        "m′ = 0.9 · m + 0.1 · g",
    ):
        assert equation in out, equation
    assert re.search(r"A₁ 32×6 ‖\d+(\.\d+)?‖ · Z₁ 32×9 ‖\d+(\.\d+)?‖ · W₁ 6×9 ‖\d", out)
    assert re.search(r"fcnet\.nn\.layers\.dense:Dense\.backward, line \d+", out)
    assert re.search(r"fcnet\.nn\.activations:Tanh\.vjp, line \d+", out)
    assert out.count("✓") == 21
    assert "✗" not in out
    assert max(map(len, out.splitlines())) <= 80
    assert out.endswith("next: fcnet train plants.yaml\n")
    assert err == ""


def test_the_lines_named_are_where_the_functions_are(tmp_path):
    """Module and line lead to the definition of the function that is named."""
    found = explain.explanation(settings(tmp_path, network={"layers": [3], "dropout": 0.5}), everything=True)

    for sections in found.parts.values():
        for equation in (e for section in sections for e in section.equations):
            module, name = equation.code.split(":")
            text = Path(importlib.import_module(module).__file__).read_text(encoding="utf-8").splitlines()
            assert text[equation.line - 1].strip().startswith(f"def {name.split('.')[-1]}(")


def test_the_first_layers_gradient_at_the_input_is_not_asked_for(tmp_path):
    """Equation (2) stands in every layer but the first, where nobody needs it."""
    found = explain.explanation(settings(tmp_path, network={"layers": [3, 3]}), everything=True)

    numbers = [[e.number for e in section.equations] for section in found.parts["Backward"]]

    assert numbers == [["(1)", "(3)", "(4)", "(2)"], ["(1)", "(3)", "(4)", "(2)"], ["(1)", "(3)", "(4)"]]


def test_a_deep_net_is_cut_unless_all_is_asked_for(tmp_path):
    """Of many layers the first and last are explained, and how many are left out is said."""
    found = explain.explanation(settings(tmp_path, network={"layers": [3] * 30}), everything=False)

    told = "\n".join(explain_text.lines(found, 80))

    assert found.left_out == 23
    assert told.count("… 23 layers between them not shown; -v shows all") == 2
    assert "Z₅ = " in told
    assert "Z₆ = " not in told


def test_a_wrong_formula_is_found_and_is_exit_1(plants, capsys, monkeypatch):
    """With a vjp that is off by a thousandth, its equation is marked on the terminal and the command fails."""
    wrong_activation(monkeypatch)

    code, out, err = run(capsys, "explain", "plants.yaml")

    assert code == 1
    assert re.search(r"\(1\)  E₂ = 1\.001 · .* ✗ WRONG 1e-03\n", out)
    assert re.search(r"\(1\)  E₃ = Δ₃ +✓", out)
    assert err == (
        "fcnet: the equation of E2 does not hold, nor those that follow from it (db2, dW2, Δ1, Δ1, E1, db1, dW1): "
        "its function has a mistake\n"
    )


def test_the_page_is_one_file_that_needs_nothing_else(plants, capsys):
    """-o writes HTML in which no element loads anything, with a language, a title and headings in order."""
    code, out, _ = run(capsys, "explain", "plants.yaml", "-o", "e.html")
    text = (plants / "e.html").read_text(encoding="utf-8")

    assert code == 0
    assert out == "files    e.html        next: fcnet train plants.yaml\n"
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(page.tags)
    assert not re.search(r"(src=|url\(|@import|https?://)", text)
    assert '<html lang="en">' in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert [h for h in page.tags if h in ("h1", "h2", "h3")][:3] == ["h1", "h2", "h3"]
    assert page.tags.count("h2") == 4
    assert page.tags.count("math") > 50
    assert "21 of 21 checks agree" in text
    assert '<a href="#forward">' in text
    assert 'id="forward"' in text


def test_names_from_strangers_are_text_on_the_page(tmp_path):
    """A name with markup or control characters in it is shown and neither obeyed nor printed raw."""
    found = explain.explanation(settings(tmp_path), everything=False)
    hostile = explain.Explanation("<script>\x1b]0;x", *list(vars(found).values())[1:])

    text = explain_page.page(hostile)
    told = "\n".join(explain_text.lines(hostile, 80))

    assert "<script>" not in text
    assert "&lt;script&gt;\\x1b]0;x" in text
    assert "\x1b" not in text + told


def test_the_output_replaces_a_file_with_a_notice_and_never_an_input(plants, capsys):
    """An older page is replaced, and said; the config and the table are refused with exit 2."""
    (plants / "e.html").write_text("old")

    replaced = run(capsys, "explain", "plants.yaml", "-o", "e.html")
    config = run(capsys, "explain", "plants.yaml", "-o", "plants.yaml")
    table = run(capsys, "explain", "plants.yaml", "-o", "plants.csv")

    assert replaced[0] == 0
    assert replaced[2] == "notice: e.html is replaced\n"
    assert (config[0], table[0]) == (2, 2)
    assert (plants / "plants.csv").read_text().startswith("size,")


def test_a_dash_sends_the_page_to_stdout(capsys, plants):
    """`explain -o -` prints the page that `-o FILE` writes, and no file named - appears."""
    run(capsys, "explain", "plants.yaml", "-o", "e.html")

    code, page, _ = run(capsys, "explain", "plants.yaml", "-o", "-")

    assert (code, page) == (0, (plants / "e.html").read_text(encoding="utf-8"))
    assert not (plants / "-").exists()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_can_be_written_down(name):
    """An activation and its vjp, by being registered, have a line that speaks of their symbols."""
    f = ACTIVATIONS[name]()
    names = {"a": "A_{1}", "z": "Z_{2}", "δ": "Δ_{1}"}

    value, back = line(f.f(Sym("a")), names), line(f.vjp(Sym("a"), Sym("z"), Sym("δ")), names)

    assert "A₁" in plain(value)
    assert "Δ₁" in plain(back)
    for text in (value, back):
        assert text.count("(") == text.count(")")
        assert mathml(text).startswith("<math>")


@pytest.mark.parametrize(("task", "loss"), [(task, name) for name, loss in LOSSES.items() for task in tasks_of(loss)])
def test_every_loss_and_task_can_be_explained(tmp_path, task, loss):
    """Whatever is learned, with whatever loss, can be explained, and all checks hold."""
    data = learnable(tmp_path, LOSSES[loss])

    found = explain.explanation(settings(tmp_path, task, loss=loss, data=data), everything=False)

    assert all(check.passed for check in found.checks), found.checks
    assert explain_text.lines(found, None)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_can_be_written_down(name):
    """An update has a line for every vector, in which later lines use the new values of earlier ones."""
    rule = OPTIMIZERS[name]()
    results = Formula(
        rule.update(Sym("g"), Sym("θ"), {v: Sym(v) for v in rule.vectors()}, Sym("lr"), Sym("decay"), Sym("t"))
    )

    lines = formula(results, {})

    averaged = "average" in results.results  # θ is made of the average then, which is a line of its own
    assert lines[-1].startswith("θ′ = average′" if averaged else "θ′ = θ")
    # of matrices the direction, which moves the vectors, stands in place of g
    told = " ".join(lines[1:]) if averaged else lines[-1]
    assert all(f"{v}′" in told for v in rule.vectors()) or ("g" in lines[-1] and of_matrices(rule))


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (Sym("a") - (Sym("b") - Sym("c")), "a − (b − c)"),
        (Sym("a") - (Sym("b") + Sym("c")), "a − (b + c)"),
        (Sym("a") + (Sym("b") - Sym("c")), "a + b − c"),
        (Sym("a") / (Sym("b") / Sym("c")), "a / (b / c)"),
        (Sym("a") * Sym("a") - 1.0, "a² − 1"),
        ((Sym("a") + 1.0) * (Sym("a") + 1.0), "(a + 1)²"),
        (-(Sym("a") * Sym("b")), "−a ∘ b"),
        (-(Sym("a") + Sym("b")), "−(a + b)"),
        (Sym("a") * -2.0, "a · (−2)"),
    ],
)
def test_brackets_stand_where_they_are_needed(expression, text):
    """A line of text means the expression that it was made of, and has no brackets to spare around sums."""
    assert plain(line(expression, {})) == text


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("W_{1}^{T}", "<msubsup><mi>W</mi><mn>1</mn><mi>T</mi></msubsup>"),
        ("0.9^{t}", "<msup><mn>0.9</mn><mi>t</mi></msup>"),
        (")^{2}", '<msup><mo stretchy="false">)</mo><mn>2</mn></msup>'),
        ("θ′", '<mi>θ</mi><mo lspace="0" rspace="0">′</mo>'),
        ("dW_{2}", '<mo lspace="0" rspace="0">d</mo><msub><mi>W</mi><mn>2</mn></msub>'),
        ("a<b", '<mi>a</mi><mo stretchy="false">&lt;</mo><mi>b</mi>'),
        ("1e-3", "<mn>1e-3</mn>"),
    ],
)
def test_a_line_becomes_mathml(text, markup):
    """What stands below and above stays with the letter, number or bracket that it belongs to."""
    assert mathml(text) == f"<math><mrow>{markup}</mrow></math>"


class Page(HTMLParser):
    """Which elements a page has, and which of them are not closed."""

    def __init__(self):
        super().__init__()
        self.tags, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "br", "link", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_every_rule_is_explained_with_what_it_moves(plants, capsys):
    """Where groups have rules of their own, each has its equations under its rates and the names of its parameters."""
    rule = 'optimizer={name: adamw, lr: 0.01, groups: [{match: "W*", name: muon, momentum: 0.8}]}'

    code, out, _ = run(capsys, "explain", "plants.yaml", rule, "training.clip_norm=0.1")

    assert code == 0
    adamw, muon = out.index("adamw, lr = 0.01, t = 1, decay = 0.01 on weights, of b1, b2, b3"), out.index("muon, lr")
    assert "muon, lr = 0.02, t = 1, of W1, W2, W3" in out
    assert adamw < out.index("m′ = 0.9 · m + 0.1 · g") < muon
    assert muon < out.index("d = direction(g, momentum)") < out.index("θ′ = θ − lr · d")
    assert out.count("θ′ − θ 1") == 1  # the step that all of them make


def test_a_solver_is_explained_by_its_first_iteration(plants, capsys):
    """L-BFGS goes straight down at first, as far as its line search says, and the loss falls."""
    code, out, _ = run(capsys, "explain", "plants.yaml", "optimizer=lbfgs", "network.layers=[6, 4]")

    assert code == 0
    assert re.search(r"lbfgs, α = [\d.e-]+\n", out)
    assert re.search(r"θ′ = θ \+ α · p +✓", out)
    before, after = map(float, re.search(r"L goes from ([\d.]+) to ([\d.]+), by −", out).groups())
    assert after < before


def test_an_encoding_is_shown_as_a_formula(plants, capsys):
    """What becomes of a cell before the first layer stands in front of it, with the file that says so."""
    _, out, _ = run(capsys, "explain", "plants.yaml")

    shown = out[: out.index("layer 1: ")]
    assert "4 columns, standard\n          z = (x − mean) / scale\n" in shown
    assert re.search(r"fcnet\.data\.encodings\.standard:Standard\.f, line \d+", shown)
