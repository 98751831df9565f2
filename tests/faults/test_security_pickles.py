"""A pickle that would leave a mark, planted in every place that is read back, with digests that fit it."""

import ast
import io
import pickle
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.errors import PipelineError
from tests.faults.planted import MARK_VARIABLE, READERS, LeavesAMark, Place, extension_schema
from tests.support.jobs import ROOT


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the pickle leaves its mark."""
    path = tmp_path / "mark"
    monkeypatch.setenv(MARK_VARIABLE, str(path))
    return path


def as_pickle() -> bytes:
    return pickle.dumps({"state": LeavesAMark()}, protocol=2)


def as_torch_file() -> bytes:
    buffer = io.BytesIO()
    torch.save({"state": LeavesAMark()}, buffer)
    return buffer.getvalue()


def as_parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table([[0, 1]], schema=extension_schema()), sink)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def as_text() -> bytes:
    return pickle.dumps(LeavesAMark(), protocol=0)


FORMS = {"pickle": as_pickle, "pickle in ASCII": as_text, "torch file": as_torch_file, "Parquet": as_parquet}


@pytest.mark.parametrize("reader", READERS)
def test_a_pickle_that_is_read_back_is_never_run(tmp_path: Path, mark: Path, reader: str) -> None:
    place = Place(tmp_path)
    for form, make in FORMS.items():
        try:
            READERS[reader](place, make())
            outcome = "taken for data"
        except (PipelineError, pa.ArrowException, OSError, LookupError, ValueError) as error:
            outcome = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        print(f"{form} as {reader}: {outcome}")
        assert not mark.exists()


def test_the_trap_is_a_real_one(mark: Path) -> None:
    for load in (
        lambda: pickle.loads(as_pickle()),
        lambda: pickle.loads(as_text()),
        lambda: torch.load(io.BytesIO(as_torch_file()), weights_only=False),
        lambda: pickle.loads(extension_schema().field(0).metadata[b"ARROW:extension:metadata"]),
    ):
        load()  # type: ignore[no-untyped-call]
        assert mark.exists()
        mark.rmdir()


UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE = {"read_pickle", "unsafe_load", "full_load", "UnsafeLoader", "FullLoader"}
ALLOWED = {("pipeline/encoders/checkpoints.py", "UnpicklingError")}


def suspicious(tree: ast.AST) -> Iterator[str]:
    """What runs what it reads, by the names that Python has for it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (ast.unparse(node.value) in UNPICKLERS or node.attr in UNSAFE):
            yield node.attr
        if isinstance(node, ast.ImportFrom) and node.module in UNPICKLERS:
            yield node.module or ""
        if not isinstance(node, ast.Call):
            continue
        name, keywords = ast.unparse(node.func), {one.arg: ast.unparse(one.value) for one in node.keywords}
        if name in {"eval", "exec", "compile", "__import__", "os.system", "np.load", "numpy.load"}:
            yield name
        if name == "torch.load" and keywords.get("weights_only") != "True":
            yield name
        if name == "yaml.load" and [ast.unparse(one) for one in node.args[1:]] != ["_PlainLoader"]:
            yield name
        if {"allow_pickle", "shell"} & keywords.keys():
            yield f"{name}({', '.join(map(str, keywords))})"


def test_no_line_of_the_product_runs_what_it_reads() -> None:
    found = {
        (str(file.relative_to(ROOT)), name)
        for package in ("pipeline", "jobs")
        for file in (ROOT / package).rglob("*.py")
        for name in suspicious(ast.parse(file.read_text()))
    }
    assert found == ALLOWED
    for line in ("pickle.loads(x)", "torch.load(f)", "np.load(f)", "yaml.load(f, yaml.Loader)", "eval(x)"):
        assert list(suspicious(ast.parse(line))), f"{line} would be found"
