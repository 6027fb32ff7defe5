"""The memory that a process may use: the machine's, its control group's, its address space, whichever is least."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fcnet
from fcnet import files, machine
from fcnet.machine import size


@pytest.fixture
def system(tmp_path, monkeypatch):
    """An empty /sys/fs/cgroup and /proc/self to fill; writes files by path."""
    monkeypatch.setattr(machine, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "_SELF", tmp_path / "self")
    monkeypatch.setattr(files, "address_space", lambda: None)
    monkeypatch.setattr(machine, "_physical", lambda: iter([64 * 10**9]))

    def write(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    return write


def test_the_machine_is_the_limit_where_nothing_else_is(system):
    """Without control group and ulimit it is the machine's memory."""
    assert machine.memory() == [machine.Limit(64 * 10**9, 64 * 10**9, "this machine")]


def test_r4_a_version_2_group_is_seen_with_its_parents(system):
    """memory.max of the process's own group counts, and that of every group above it."""
    system("self/cgroup", "0::/user/job\n")
    system("cgroup/user/job/memory.max", "max\n")
    system("cgroup/user/memory.max", "2000000000\n")

    least = machine.memory()[0]

    assert (least.total, least.setter) == (2 * 10**9, "the control group's limit")


def test_a_container_sees_its_limit_at_the_root(system):
    """Where the group's own path is not mounted, as in a container, the root's limit holds."""
    system("self/cgroup", "0::/../../docker/0123\n")
    system("cgroup/memory.max", "512000000\n")

    assert machine.memory()[0].total == 512_000_000


def test_a_version_1_group_is_seen(system):
    """memory.limit_in_bytes counts; the huge number that stands for no limit does not."""
    system("self/cgroup", "5:cpu:/\n4:memory:/batch\n0::/\n")
    system("cgroup/memory/batch/memory.limit_in_bytes", "1000000000\n")
    system("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")

    assert [limit.total for limit in machine.memory()] == [10**9, 64 * 10**9]


def test_what_the_process_uses_is_taken_off(system, monkeypatch):
    """The pages that are resident count against memory, those that are mapped against the address space."""
    page = os.sysconf("SC_PAGE_SIZE")
    system("self/statm", "1000 100 50 1 0 200 0\n")
    monkeypatch.setattr(files, "address_space", lambda: 3000 * page)

    space, physical = machine.memory()

    assert (space.free, space.setter) == (2000 * page, "the limit on the address space (ulimit -v)")
    assert physical.free == 64 * 10**9 - 100 * page


@pytest.fixture
def many(monkeypatch):
    """A machine of 64 processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)


def test_the_least_quota_of_the_groups_above_counts(system, many):
    """A process in a group without a quota has that of the groups above it, of which the smallest is the one."""
    system("self/cgroup", "0::/pod/box/job\n")
    system("cgroup/cpu.max", "max 100000\n")
    system("cgroup/pod/cpu.max", "150000 100000\n")
    system("cgroup/pod/box/cpu.max", "800000 100000\n")
    system("cgroup/pod/box/job/cpu.max", "max 100000\n")

    assert machine.cores() == 2


def test_a_version_1_quota_counts(system, many):
    """Version 1 keeps quota and period in two files, under a controller that may share its folder; -1 is no quota."""
    system("self/cgroup", "7:cpu,cpuacct:/slice/job\n0::/\n")
    system("cgroup/cpu/slice/job/cpu.cfs_quota_us", "-1\n")
    system("cgroup/cpu/slice/job/cpu.cfs_period_us", "100000\n")
    system("cgroup/cpu/slice/cpu.cfs_quota_us", "300000\n")
    system("cgroup/cpu/slice/cpu.cfs_period_us", "100000\n")

    assert machine.cores() == 3


def test_groups_are_looked_for_where_they_are_mounted(system, many, tmp_path):
    """The mount points are the system's to choose, and a container's are mounts of its own group."""
    one, two = tmp_path / "the groups", tmp_path / "unified"
    escaped = str(one).replace(" ", "\\040")
    system("self/cgroup", "4:memory,hugetlb:/box/job\n3:cpu:/elsewhere\n0::/host/box/job\n")
    system(
        "self/mountinfo",
        f"31 23 0:28 /box {escaped} rw,relatime shared:9 - cgroup cgroup rw,memory,hugetlb\n"
        f"32 23 0:29 /box {escaped}/cpu rw,relatime - cgroup cgroup rw,cpu\n"
        f"33 23 0:30 /host {two} rw,relatime - cgroup2 cgroup2 rw\n",
    )
    system("the groups/job/memory.limit_in_bytes", "2000000000\n")
    system("the groups/memory.limit_in_bytes", "3000000000\n")
    system("the groups/cpu/cpu.cfs_quota_us", "1200000\n")
    system("the groups/cpu/cpu.cfs_period_us", "100000\n")
    system("unified/box/cpu.max", "500000 100000\n")
    system("cgroup/cpu.max", "100000 100000\n")

    assert [limit.total for limit in machine.memory()] == [2 * 10**9, 3 * 10**9, 64 * 10**9]
    assert machine.cores() == 5


@pytest.mark.parametrize("quota", ["", "max", "max 100000", "0 0", "-1 100000", "100000", "\u00b2 1", "1e5 1e5"])
def test_a_quota_that_makes_no_sense_is_none(system, many, quota):
    """All processors are used where the control group says nothing that can be understood."""
    system("self/cgroup", "0::/\n")
    system("cgroup/cpu.max", quota)

    assert machine.cores() == 64


@pytest.mark.parametrize("text", ["", "\n", "lots", "0::/\n1", "0", "::\n:", "\x00\xff", "0::/\x00/a"])
def test_files_that_make_no_sense_are_no_limit(system, text):
    """Whatever the system's files hold, the answer is a number and no error."""
    system("self/cgroup", text)
    system("self/statm", text)
    system("self/mountinfo", text)
    system("cgroup/memory.max", text)

    assert machine.memory()[-1].total == 64 * 10**9


def test_ulimit_is_seen(tmp_path):
    """`ulimit -v` refuses a net that the machine could hold, with exit 9 and the arithmetic."""
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i}.5,{i % 2}\n" for i in range(40)))
    (tmp_path / "c.yaml").write_text("data: {train: t.csv, target: b}\nnetwork: {layers: [20000, 20000]}\n")
    command = f"ulimit -v 8000000 && exec {sys.executable} -m fcnet check c.yaml"
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(fcnet.__file__).parents[1]), "OMP_NUM_THREADS": "1"}

    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 9, done.stderr
    assert "needs 1.6 GB (weights) + " in done.stderr
    assert "the limit on the address space (ulimit -v) allows 8.2 GB" in done.stderr


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (9_949, "9.9 kB"), (9_950, "10 kB")]
    + [(999_499, "999 kB"), (999_500, "1.0 MB"), (4 * 10**12, "4.0 TB"), (12 * 10**15, "12 PB"), (10**19, "10,000 PB")],
)
def test_sizes_are_for_people(n, text):
    """Bytes are written with two digits at the least, in the unit that keeps them short."""
    assert size(n) == text
