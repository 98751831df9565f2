import dataclasses
import sys
from pathlib import Path

from pipeline.stages.node_facts import describe_room, differences, look_at_node


def test_a_node_has_room_and_versions() -> None:
    node = look_at_node(None)
    assert 0 < node.memory_free_bytes < node.memory_bytes and node.cache_free_bytes > 0 and node.num_cpus > 0
    assert node.versions["python"] == sys.version.split()[0]
    assert "memory free" in describe_room(node) and node.cache_dir in describe_room(node)


def test_the_cache_of_the_corpus_is_weighed(tmp_path: Path) -> None:
    (tmp_path / "fingerprint").mkdir()
    (tmp_path / "fingerprint" / "part-00000.arrow").write_bytes(bytes(5000))
    assert look_at_node(str(tmp_path)).cache_bytes == 5000


def test_nodes_with_other_versions_are_named_and_a_missing_extra_is_no_difference() -> None:
    node = look_at_node(None)
    here = node.versions | {"faiss-gpu-cu12": "1.12.0"}
    other = dataclasses.replace(node, versions=node.versions | {"torch": "2.0.0"})
    assert differences(here, [node, node]) == []
    assert differences(here, [node, other, other]) == [f"2 nodes have torch 2.0.0, here {node.versions['torch']}"]
