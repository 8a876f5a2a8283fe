"""Regions that processes share by descriptor."""

import gc
import mmap
import os
import subprocess
import sys

import pytest

from gatewayx.primitives import Counter, Histogram, SharedRegion

COUNTING = """
import sys
from gatewayx.primitives import Counter, Histogram, SharedRegion

region = SharedRegion.attach(int(sys.argv[1]))
counter = Counter(region=region, cell=3)
histogram = Histogram([0.5], region=region, cell=8)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20_000):
    counter.inc()
    histogram.observe(0.25)
"""


def test_processes_count_in_the_same_cells() -> None:
    region = SharedRegion.create(16)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", COUNTING, str(region.fd)],
            pass_fds=[region.fd],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    counter = Counter(region=region, cell=3)
    for _ in range(20_000):
        counter.inc()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert counter.value == 60_000
    snapshot = Histogram([0.5], region=region, cell=8).snapshot()
    assert (snapshot.buckets[0], snapshot.count, snapshot.sum) == ((0.5, 40_000), 40_000, 10_000.0)
    assert Counter(region=region, cell=2).value == Counter(region=region, cell=4).value == 0


def test_what_a_killed_process_counted_stays() -> None:
    region = SharedRegion.create(1)
    script = COUNTING.split("histogram =")[0].replace("cell=3", "cell=0") + (
        "counter.inc(7)\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", script, str(region.fd)]
    assert subprocess.run(command, pass_fds=[region.fd], check=False).returncode == -9
    assert Counter(region=region).value == 7


def test_objects_keep_the_memory_alive() -> None:
    region = SharedRegion.create(4)
    attached = SharedRegion.attach(region.fd)
    assert attached.fd != region.fd
    assert (region.cells, attached.cells) == (4, 4)
    counter, same = Counter(region=region, cell=1), Counter(region=attached, cell=1)
    del region, attached
    gc.collect()
    counter.inc(5)
    assert same.value == 5


def test_a_region_closes_its_descriptor() -> None:
    region = SharedRegion.create(4)
    fd = region.fd
    os.fstat(fd)
    assert not os.get_inheritable(fd)
    del region
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_what_does_not_fit_is_refused() -> None:
    region = SharedRegion.create(12)
    Counter(region=region, cell=11)
    Histogram(region=region, cell=1)
    for cell in (12, 2**32 - 1):
        with pytest.raises(ValueError, match="do not fit"):
            Counter(region=region, cell=cell)
    with pytest.raises(ValueError, match="11 cells from 2 on do not fit into 12"):
        Histogram(region=region, cell=2)
    with pytest.raises(ValueError, match="there is none"):
        Counter(cell=1)


def test_a_region_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no possible region"):
        SharedRegion.create(0)


def test_descriptors_of_something_else_are_refused(tmp_path: os.PathLike[str]) -> None:
    with pytest.raises(ValueError, match="not a descriptor"):
        SharedRegion.attach(-1)
    with open(os.path.join(tmp_path, "file"), "wb+") as file:
        file.write(bytes(4096))
        with pytest.raises(ValueError, match="not one of a region"):
            SharedRegion.attach(file.fileno())
    with pytest.raises(OSError, match="Bad file descriptor"):
        SharedRegion.attach(100_000)


def sealed_file(content: bytes) -> int:
    """An anonymous file whose size is sealed, as a region's is, with other content."""
    import fcntl

    fd = os.memfd_create("other", os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def header_of(cells: int) -> bytes:
    region = SharedRegion.create(cells)
    with mmap.mmap(region.fd, 64) as mapped:
        return mapped[:64]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(4096), "no region"),
        (b"x" * 4096, "no region"),
        (b"x", "too small"),
        (header_of(1000) + bytes(64), "too small"),
        (header_of(8)[:8] + (2 << 32 | 1).to_bytes(8, "little") + header_of(8)[16:] + bytes(64),
         "another geometry"),
    ],
    ids=["blank", "foreign", "tiny", "cut", "another geometry"],
)  # fmt: skip
def test_files_that_only_look_like_a_region_are_refused(content: bytes, message: str) -> None:
    fd = sealed_file(content)
    try:
        with pytest.raises(ValueError, match=message):
            SharedRegion.attach(fd)
    finally:
        os.close(fd)


def test_a_region_cannot_shrink_under_its_users() -> None:
    region = SharedRegion.create(4)
    with pytest.raises(PermissionError):
        os.ftruncate(region.fd, 0)
    Counter(region=region).inc()
