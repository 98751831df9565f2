"""Bad images and bad labels, through whole jobs: what cannot be used is named with its reason, the rest is mined."""

import os
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.corpus.reader import Corpus
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import Generation, generations
from tests.support.jobs import ROOT, command, environment, succeed
from tests.unit.corpus.samples import encode, quarantined, write_folder

BOMB_SIDE = 20_000
MAX_IMAGE_BYTES, MEMORY_LIMIT_BYTES = 2**21, 1.5 * 2**30


def photo(seed: int) -> Image.Image:
    """A smooth picture: a few random waves."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:24, 0:24] / 24
    waves = sum(np.sin(2 * np.pi * (a * x + b * y) + c) for a, b, c in rng.uniform(-3, 3, (4, 3)))
    return Image.fromarray((127 + 30 * waves).clip(0, 255).astype(np.uint8))


def png(width: int, height: int, colour: int, compressed: bytes) -> bytes:
    """A PNG of 8 bits a channel with these compressed pixels, whether they fit its header or not."""
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", compressed), (b"IEND", b""))
    coded = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + coded


def zeros(num_bytes: int) -> bytes:
    """Zeros, compressed a thousandfold: one compressed megabyte, repeated."""
    packer = zlib.compressobj(9)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (num_bytes // 2**20 + 1) + b"\x03\x00"


GOOD = {f"person-{label}/{i}.png": encode(photo(100 * label + i)) for label in range(6) for i in range(5)}
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script><image href="file:///etc/passwd"/></svg>'
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n"
BAD = {
    "person-0/empty.jpg": (b"", "undecodable"),
    "person-0/truncated.jpg": (encode(photo(1), "JPEG")[:200], "undecodable"),
    "person-0/declares-much.png": (png(60_000, 60_000, 0, zlib.compress(b"")), "too_large"),
    "person-1/unpacks-to-much.png": (png(BOMB_SIDE, BOMB_SIDE, 6, zeros(BOMB_SIDE**2 * 4)), "too_large"),
    "person-1/many-bytes.bmp": (encode(Image.new("RGB", (900, 900)), "BMP"), "too_large"),
    "person-1/text.jpg": (b"This is not an image.\n", "undecodable"),
    "person-2/drawing.png": (SVG, "undecodable"),
    "person-2/document.jpg": (b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF", "undecodable"),
    "person-2/program.png": (EPS, "undecodable"),
    "person-3/tiff.png": (encode(photo(2), "TIFF"), "undecodable"),
    "person-3/icon.gif": (encode(photo(3), "ICO"), "undecodable"),
    "person-3/notes.txt": (b"remember", "stray_file"),
    "stray.png": (encode(photo(4)), "stray_file"),
}  # fmt: skip
RENAMED = {"person-4/in-truth-a-gif.jpg": encode(photo(5), "GIF")}
"""What an image is, its bytes say."""


LINKED = {
    "person-5/link.jpg": "undecodable",
    "person-5/others": "stray_file",
    "person-5/pipe.jpg": "stray_file",
}


def write_people(folder: Path) -> tuple[Path, dict[str, str]]:
    """The source, and the reason for which each of its bad entries is left out."""
    people = write_folder(folder, GOOD | RENAMED | {name: content for name, (content, _) in BAD.items()})
    (people / "person-5" / "link.jpg").symlink_to("/etc/passwd")
    (people / "person-5" / "others").symlink_to(folder.parent)
    os.mkfifo(people / "person-5" / "pipe.jpg")
    return people, LINKED | {name: reason for name, (_, reason) in BAD.items()}


def run_within_memory(arguments: list[str]) -> tuple[int, float]:
    """Exit code of a job, and the most memory that it held, in bytes."""
    job = subprocess.Popen(arguments, cwd=ROOT, env=environment())
    _, status, usage = os.wait4(job.pid, 0)
    job.returncode = os.waitstatus_to_exitcode(status)
    return job.returncode, usage.ru_maxrss * 1024


def test_broken_and_hostile_images_are_quarantined_unread_and_the_others_are_mined(
    warm_ray: None, tmp_path: Path
) -> None:
    people, expected = write_people(tmp_path / "people")
    bomb = len(BAD["person-1/unpacks-to-much.png"][0])
    print(f"injected: {expected}; {bomb:,} bytes that unpack to {BOMB_SIDE**2 * 4:,}")
    assert bomb < MAX_IMAGE_BYTES, "turned away for its pixels, not for its bytes"
    flags = (
        "--workspace", tmp_path / "w", "--corpus.source.kind=image_folder", f"--corpus.source.path={people}",
        "--corpus.test_fraction=0", f"--corpus.max_image_bytes={MAX_IMAGE_BYTES}",
        "--transform.height=16", "--transform.width=16", "--mining.band.mode=hard",
    )  # fmt: skip
    code, memory = run_within_memory(command("prepare", *flags))
    print(f"prepare held {memory / 2**30:.2f} GiB")
    assert code == 0 and memory < MEMORY_LIMIT_BYTES

    workspace = Workspace.open(str(tmp_path / "w"), "main")
    corpus = Corpus.open(workspace)
    rejected = quarantined(workspace)
    assert {row["path"]: row["reason"] for row in rejected} == expected
    assert all(row["detail"] for row in rejected) and "root:" not in str(rejected), "and nothing of what they hold"
    paths = [path for part in range(corpus.num_parts) for path in corpus.read_paths(part)]
    assert sorted(paths) == sorted(GOOD | RENAMED)

    mined = succeed("mine", *flags).report["generation"]
    dataset = generations(workspace)
    triplets = Generation(dataset, dataset.read(0)).shard(0)
    per_label = np.bincount(corpus.labels)
    assert mined["num_triplets"] == len(triplets) == (per_label * (per_label - 1)).sum(), "every pair is answered"
