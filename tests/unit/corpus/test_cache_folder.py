import hashlib
import mmap
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline.corpus.cache import ExampleCache
from pipeline.corpus.cache_folder import CacheFolder, CacheSize, cache_size
from pipeline.corpus.reader import Corpus
from pipeline.errors import InputError, UnavailableError
from tests.support.jobs import ROOT
from tests.support.small_disk import fill
from tests.unit.corpus.samples import faces, folder_config, make_corpus, write_folder

LIMIT = 100


def content_of(name: str, size: int) -> bytes:
    return (name * size).encode()[:size]


def path_of(root: Path, name: str) -> Path:
    """Of three corpora."""
    return root / f"{ord(name) % 3:016x}" / f"part-{ord(name):05d}.arrow"


def make(folder: CacheFolder, root: Path, name: str, size: int) -> mmap.mmap:
    """Makes a part of so many bytes, as a process does that needs it."""
    file = path_of(root, name)
    with folder.sole_maker(file) as unfinished:
        return folder.finish(unfinished, file, size, lambda sink: sink.write(content_of(name, size)))


class Machine(RuleBasedStateMachine):
    """Parts are opened, made, let go; a list of (name, size), the longest unused first, says what must be there."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.folder = CacheFolder(self.root, LIMIT)
        self.model: dict[str, int] = {}
        self.opened: dict[str, mmap.mmap] = {}

    def use(self, name: str, size: int) -> None:
        self.model.pop(name, None)
        self.model[name] = size

    @rule(name=st.sampled_from("abcdefgh"), size=st.integers(1, 60))
    def need(self, name: str, size: int) -> None:
        found = self.opened.get(name) or self.folder.map(path_of(self.root, name))
        assert (found is None) is (name not in self.model)
        if found is not None:
            if name not in self.opened:
                self.use(name, self.model[name])
            self.opened[name] = found
            return
        expected = dict(self.model)
        for old in self.model:
            if sum(expected.values()) + size > LIMIT and old not in self.opened:
                del expected[old]
        if sum(expected.values()) + size > LIMIT:
            with pytest.raises(InputError, match=r"cluster\.cache_gib"):
                make(self.folder, self.root, name, size)
            self.model = expected
            return
        self.model = expected
        self.opened[name] = make(self.folder, self.root, name, size)
        self.use(name, size)

    @precondition(lambda self: self.opened)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        del self.opened[data.draw(st.sampled_from(sorted(self.opened)))]

    @rule(name=st.sampled_from("abcdefgh"))
    def give_up_making(self, name: str) -> None:
        if name in self.opened:
            return
        with self.folder.sole_maker(path_of(self.root, name)):
            pass

    @invariant()
    def the_folder_holds_what_was_used_last_and_no_more_than_it_may(self) -> None:
        there = {chr(int(path.stem[5:])): path.stat().st_size for path in self.root.glob("*/part-*.arrow")}
        assert there == self.model and sum(there.values()) <= LIMIT
        assert cache_size(self.root) == CacheSize(
            len({ord(name) % 3 for name in there}), len(there), sum(there.values())
        )
        for name, mapped in self.opened.items():
            assert mapped[:] == content_of(name, self.model[name])
        assert not list(self.root.glob("*/.part-*"))

    def teardown(self) -> None:
        self.opened.clear()
        shutil.rmtree(self.root)


TestFolder = Machine.TestCase
TestFolder.settings = settings(max_examples=60, stateful_step_count=30)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return make_corpus(tmp_path, folder_config(write_folder(tmp_path / "faces", faces()), examples_per_part=3))


PROGRAM = """
import hashlib, sys
from pipeline.corpus.cache import ExampleCache
from pipeline.corpus.reader import Corpus
from pipeline.storage.workspace import Workspace

read_part = Corpus.read_part
def counted(self, part):
    print("fetched", part, flush=True)
    {before}
    return read_part(self, part)
Corpus.read_part = counted
corpus = Corpus.open(Workspace.open(sys.argv[1], "main"))
cache = ExampleCache(corpus, sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
cache.build()
print("built", hashlib.sha256(b"".join(cache.content(i) for i in range(12))).hexdigest(), sep="\\n", flush=True)
sys.stdin.readline()
"""


@contextmanager
def readers(folder: Path, number: int, before: str = "pass") -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes that open all of a corpus when they are told, and keep it open until they are told again."""
    command = [sys.executable, "-c", PROGRAM.format(before=before), str(folder / "workspace"), str(folder / "cache")]
    started = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(number)
    ]
    try:
        for one in started:
            assert line_of(one) == "ready"
        yield started
    finally:
        for one in started:
            one.kill()
            one.communicate()


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def lines_until_built(process: "subprocess.Popen[str]") -> list[str]:
    """What a process says until it has built its cache, from which it then reads all contents as they are."""
    lines = list(iter(lambda: line_of(process), "built"))
    assert line_of(process) == hashlib.sha256(b"".join(faces().values())).hexdigest()
    return lines


def test_processes_that_need_a_part_at_once_fetch_it_once_and_all_read_the_right_contents(
    corpus: Corpus, tmp_path: Path
) -> None:
    with readers(tmp_path, 3) as processes:
        for one in processes:
            tell(one)
        fetched = sorted(line for one in processes for line in lines_until_built(one))
    assert fetched == [f"fetched {part}" for part in range(corpus.num_parts)]


def test_what_another_process_has_open_stays_and_goes_when_that_is_killed(corpus: Corpus, tmp_path: Path) -> None:
    other = make_corpus(
        tmp_path / "other", folder_config(write_folder(tmp_path / "other" / "faces", faces(5)), examples_per_part=5)
    )
    cache = tmp_path / "cache"
    with readers(tmp_path, 1) as (reader,):
        tell(reader)
        lines_until_built(reader)
        full = cache_size(cache)
        assert full.num_parts == corpus.num_parts
        needed = ExampleCache(other, tmp_path / "elsewhere")
        needed.build()
        limit_gib = max(full.num_bytes, cache_size(tmp_path / "elsewhere").num_bytes) / 2**30
        with pytest.raises(InputError, match=r"in use of it on this machine .* raise cluster\.cache_gib"):
            ExampleCache(other, cache, limit_gib).build()
        assert cache_size(cache) == full
        reader.send_signal(signal.SIGKILL)
        reader.wait()
        ExampleCache(other, cache, limit_gib).build()
    assert cache_size(cache).num_bytes <= limit_gib * 2**30


def test_who_is_killed_while_it_makes_a_part_leaves_it_to_the_next(corpus: Corpus, tmp_path: Path) -> None:
    with readers(tmp_path, 1, before="sys.stdin.readline()") as (stuck,), readers(tmp_path, 1) as (waiting,):
        tell(stuck)
        assert line_of(stuck) == "fetched 0"
        tell(waiting)
        stuck.send_signal(signal.SIGKILL)
        assert lines_until_built(waiting) == [f"fetched {part}" for part in range(corpus.num_parts)]
    assert cache_size(tmp_path / "cache").num_parts == corpus.num_parts
    assert not list((tmp_path / "cache").glob("*/.part-*"))


def test_a_part_that_is_gone_is_fetched_again_and_what_was_mapped_stays_readable(
    corpus: Corpus, tmp_path: Path
) -> None:
    cache = ExampleCache(corpus, tmp_path / "cache")
    cache.build()
    shutil.rmtree(tmp_path / "cache")  # somebody tidies up
    assert [cache.content(example) for example in range(12)] == list(faces().values())
    again = ExampleCache(corpus, tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache")
    assert [again.content(example) for example in range(12)] == list(faces().values())


def test_on_a_full_disk_old_parts_make_room_and_then_one_sentence_says_so(disk: Path) -> None:
    folder = CacheFolder(disk, 2**40)
    make(folder, disk, "a", 500_000)
    kept = make(folder, disk, "b", 500_000)
    fill(disk, 100_000)
    make(folder, disk, "c", 400_000)
    assert [path_of(disk, name).exists() for name in "abc"] == [False, True, True]
    assert kept[:3] == b"bbb"
    c = folder.map(path_of(disk, "c"))
    with pytest.raises(OSError, match="No space left on device"):
        make(folder, disk, "d", 900_000)
    assert c is not None and not list(disk.glob("*/.part-*"))


def test_a_full_disk_is_an_error_that_names_the_setting(corpus: Corpus, disk: Path) -> None:
    fill(disk, 4096)
    with pytest.raises(UnavailableError, match=r"No space left on device.*make room or set cluster\.cache_dir"):
        ExampleCache(corpus, disk / "cache").build()


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert cache_size(tmp_path / "nowhere") == CacheSize(0, 0, 0)
    assert str(CacheSize(2, 1200, 3_000_000)) == "1,200 parts of 2 corpora, 3.0 MB"
