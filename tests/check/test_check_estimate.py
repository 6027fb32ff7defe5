"""What a run will need is told before it begins, and close to what it takes; what cannot fit is refused with exit 9."""

import gzip
import tracemalloc

import numpy as np
import pytest
from check_cases import prepared, run, settings, write_table

from fcnet import files, machine, train
from fcnet.backends import choice
from fcnet.backends.numpy import NumpyBackend
from fcnet.data.options import Data
from fcnet.data.source import MemorySource
from fcnet.errors import LimitError
from fcnet.machine import Limit
from fcnet.nn.activations import ACTIVATIONS
from fcnet.nn.layers import LAYERS
from fcnet.optim.rules import OPTIMIZERS, of_matrices
from fcnet.runs.model import BATCH
from fcnet.training import estimate
from fcnet.training.prepare import prepare
from fcnet.training.program import Forward, Program
from fcnet.training.state import State


def allow(monkeypatch, free, total=None):
    """A machine that has so much memory left."""
    monkeypatch.setattr(machine, "memory", lambda: [Limit(total or free, free, "this machine")])


def forbid_allocation(monkeypatch):
    def allocated(*_):
        raise AssertionError("memory was asked for")

    monkeypatch.setattr(State, "new", allocated)


def taken(subject, backend=None):
    """The peak of what is allocated for all that a run holds: state, buffers, copies, one step, one pass."""
    data, loss = subject.data, subject.head.loss
    dtype = np.dtype(subject.settings.dtype)
    table = subject.head.one_hot(dtype)
    source = MemorySource(data.inputs, data.y, data.w, rows=data.parts["train"], one_hot=table)
    backend = backend or NumpyBackend()
    tracemalloc.start()
    try:
        state = State.new(subject.network, subject.update.names, dtype)
        program = Program(backend, subject.network, loss, subject.update, state)
        subject.network.initialise(state.θ, state.q, 0, data.inputs[:32])
        best, kept = (state.θ.copy(), state.q.copy()), state.copy()
        forward = Forward(backend, subject.network, state.θ, state.q, BATCH)
        program.run(
            source, subject.update.scalars(np.array([1]), np.array([1.0])), subject.settings.training.batch_size
        )
        forward(data.inputs)
        assert best
        assert kept
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def needed(subject):
    return sum(part.bytes for part in subject.estimate().memory)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_memory_for_parameters_is_what_is_taken(tmp_path, optimizer, dtype):
    """With any optimizer the estimate is at least what a run of wide layers takes, and at most twice that."""
    rule = {"name": optimizer}
    if of_matrices(OPTIMIZERS[optimizer]()):
        rule = {"name": "sgd", "momentum": 0.9, "groups": [{**rule, "match": "W*"}]}
    subject = prepared(tmp_path, network={"layers": [700, 600]}, optimizer=rule, dtype=dtype)

    assert taken(subject) <= 1.02 * needed(subject)
    assert needed(subject) <= 2 * taken(subject)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_memory_for_activations_is_what_is_taken(tmp_path, activation):
    """With any activation, with dropout and clipping, the same holds for what the rows take."""
    subject = prepared(
        tmp_path,
        network={"layers": [64, 96, 64], "activation": activation, "dropout": 0.2, "input_dropout": 0.1},
        training={"batch_size": 63, "clip_norm": 1.0},
    )

    assert taken(subject) <= 1.02 * needed(subject)
    assert needed(subject) <= 2 * taken(subject)


WIDE = {
    "dense": {"units": 256},
    "dropout": {"rate": 0.3},
    "glu": {"units": 256},
    "residual": {"layers": [300, 1024]},
    "pbld": {"frequencies": 400},
    "periodic": {"frequencies": 200},
    "piecewise": {"bins": 300},
    "cosine": {"size": 300},
    "heads": {"units": 256},
    "batch_ensemble": {"units": 256},
}


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("name", [name for name in LAYERS if name != "embedding"])  # these columns have no codes
def test_memory_of_every_layer_is_estimated(tmp_path, name, backend):
    """What a layer adds to what a run takes, but for a tenth of a megabyte of objects, is at most what it adds to the
    estimate, on either backend."""
    if backend == "numba":
        pytest.importorskip("numba")
    found = []
    for own in ([], [{"name": name, **WIDE.get(name, {})}]):
        front = [{"name": "fan_out", "members": 2}] if name in ("heads", "batch_ensemble") else []
        subject = prepared(tmp_path, network={"layers": [*front, 1024, *own, 8]}, training={"batch_size": 63})
        taken(subject, choice.make(backend))  # compiles what is compiled once
        found.append((taken(subject, choice.make(backend)), needed(subject)))
    (before, estimated), (after, all_estimated) = found

    assert after - before - 100_000 <= 1.02 * (all_estimated - estimated)


def test_memory_of_a_deep_net_is_estimated(tmp_path):
    """A thousand layers are no reason to be refused, nor to estimate for long."""
    subject = prepared(tmp_path, network={"layers": [8] * 1000})

    estimate.refuse(subject.estimate(), tmp_path)

    assert needed(subject) < 200e6


def test_r5_r1_a_layer_of_a_million_squared_is_refused_with_the_arithmetic(tmp_path, monkeypatch):
    """Before the data are read or anything is allocated, exit 9 says what the weights and the rest would take."""
    forbid_allocation(monkeypatch)
    allow(monkeypatch, 16 * 10**9)

    with pytest.raises(LimitError) as caught:
        prepare(settings(tmp_path, data={"train": "not-there.csv"}, network={"layers": [10**6, 10**6]}), 1)

    assert str(caught.value) == (
        "network.layers: needs 4.0 TB (weights) + 4.0 TB (gradient) + 8.0 TB (optimizer) + 4.0 TB (best epoch) + 12 TB "
        "(last good step) = 32 TB of memory, and this machine allows 16 GB; use fewer units"
    )
    assert caught.value.exit_code == 9


def test_what_the_data_make_too_large_is_refused_too(tmp_path, monkeypatch):
    """Widths that only the data decide count as well, and what is in use is said."""
    subject = prepared(tmp_path, network={"layers": [2000]})
    allow(monkeypatch, 10**6, total=10**8)

    with pytest.raises(LimitError, match=r"this machine allows 100 MB, of which 99 MB are in use; use fewer units"):
        estimate.refuse(subject.estimate(), tmp_path)


def test_a_huge_batch_is_refused_by_its_own_key(tmp_path, monkeypatch):
    """Where the batch is what does not fit, it is what the message asks to make smaller."""
    part = estimate.Usage("batch", 2 * 10**9, "", "training.batch_size")
    allow(monkeypatch, 10**9)

    with pytest.raises(LimitError) as caught:
        estimate.refuse_memory([estimate.Usage("weights", 10**6, ""), part])

    assert str(caught.value) == (
        "training.batch_size: needs 2.0 GB (batch) + 1.0 MB (the rest) = 2.0 GB of memory, and this machine allows "
        "1.0 GB; use smaller batches"
    )


@pytest.mark.parametrize(("free", "begun", "fits"), [(10**9, False, True), (1000, False, False), (1000, True, False)])
def test_a_small_disk_is_refused_with_the_arithmetic(tmp_path, monkeypatch, free, begun, fits):
    """Both checkpoints, a copy while saving and the log must fit on the disk; a resumed run needs the copy alone."""
    subject = prepared(tmp_path)
    monkeypatch.setattr(files, "disk_free", lambda _: free)

    if fits:
        estimate.refuse(subject.estimate(), tmp_path, begun)
        return
    with pytest.raises(
        LimitError, match=r"of disk, and 1\.0 kB are free; free some space, or choose another"
    ) as caught:
        estimate.refuse(subject.estimate(), tmp_path, begun)

    assert ("best.npz" in str(caught.value)) is not begun


def test_the_disk_estimate_is_what_a_run_leaves(tmp_path):
    """best.npz and last.npz are about as large as estimated."""
    subject = prepared(tmp_path, network={"layers": [300, 200]}, training={"epochs": 2})
    run = train(settings(tmp_path, network={"layers": [300, 200]}, training={"epochs": 2}))

    parts = {part.name: part.bytes for part in subject.estimate().disk}
    for name in ("best.npz", "last.npz"):
        assert (run.path / name).stat().st_size == pytest.approx(parts[name], rel=0.05)


@pytest.mark.parametrize("packed", [False, True])
def test_r2_a_table_beyond_the_memory_is_refused_from_its_first_part(tmp_path, monkeypatch, packed):
    """The number of cells is guessed from the size and the first megabyte, packed or not; nothing more is read."""
    text = b"1.5,2.5,3.5,4.5\n" * 200_000
    name = "big.csv.gz" if packed else "big.csv"
    rng = np.random.default_rng(0)
    noisy = b"".join(b"%d,%d,%d,%d\n" % tuple(row) for row in rng.integers(0, 10**9, (60_000, 4)))
    (tmp_path / name).write_bytes(gzip.compress(noisy) if packed else text)
    allow(monkeypatch, 10**6)

    with pytest.raises(LimitError) as caught:
        estimate.refuse_table(Data(train=name), tmp_path, "float32")

    expected = "2.9" if packed else "9.6"
    found, _, rest = str(caught.value).removeprefix("data.train: needs ").partition(" MB (table)")
    assert float(found) == pytest.approx(float(expected), rel=0.1)
    assert rest == " of memory, and this machine allows 1.0 MB; use fewer rows or columns"


def test_the_number_of_cells_is_guessed_well(tmp_path):
    """A regular table's cells are guessed to a few in a hundred."""
    (tmp_path / "a.csv").write_bytes(b"a,b,c\n" + b"12.5,3.25,1e5\n" * 300_000)

    guessed = estimate._cells(tmp_path / "a.csv", (tmp_path / "a.csv").stat().st_size, "auto")

    assert guessed == pytest.approx(900_000, rel=0.02)


@pytest.mark.parametrize("name", ["missing.csv", "", "a\0b.csv"])
def test_a_table_that_cannot_be_looked_at_is_left_to_its_reader(tmp_path, name):
    """The guess never fails: what is wrong with a file is for the reader to say."""
    (tmp_path / "small.csv").write_text("a,b\n1,2\n")

    estimate.refuse_table(Data(train=name), tmp_path, "float32")
    estimate.refuse_table(Data(train="small.csv"), tmp_path, "float32")


def test_a_damaged_gzip_table_is_left_to_its_reader(tmp_path, monkeypatch):
    """A large file that only begins like gzip is not refused for its size."""
    (tmp_path / "a.csv.gz").write_bytes(b"\x1f\x8b" + bytes(range(256)) * 8000)
    allow(monkeypatch, 10)

    estimate.refuse_table(Data(train="a.csv.gz"), tmp_path, "float32")


def test_r3_memory_error_while_training_is_exit_9(tmp_path, monkeypatch, capsys):
    """An allocation that fails in the middle ends with exit 9 and one line; the old checkpoint is as it was."""
    write_table(tmp_path)
    (tmp_path / "c.yaml").write_text(
        f"data: {{train: plants.csv, target: flower}}\noutput: {tmp_path}/runs\ntraining: {{epochs: 3}}\n"
    )
    assert run(capsys, "train", tmp_path / "c.yaml", "-q")[0] == 0
    before = (tmp_path / "runs/c/last.npz").read_bytes()

    def none_left(*_):
        raise MemoryError

    monkeypatch.setattr(Program, "run", none_left)
    code, out, err = run(capsys, "train", tmp_path / "c.yaml", "--overwrite", "-q")

    assert code == 9
    assert out == ""
    assert err.startswith("fcnet: out of memory; ")
    assert err.count("\n") == 1
    assert (tmp_path / "runs/c/last.npz").read_bytes() == before
