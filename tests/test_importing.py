import gc
import subprocess
import sys

from agentscope_tuner.importing import without_collection


def test_nothing_is_collected_in_a_block_and_everything_after_it() -> None:
    with without_collection():
        assert not gc.isenabled()
        with without_collection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_program_that_has_no_collection_keeps_it_so() -> None:
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_a_block_has_imported_is_looked_through_no_more() -> None:
    program = """
import gc
from agentscope_tuner.importing import without_collection

with without_collection():
    import transformers, torch
print(gc.isenabled(), gc.get_freeze_count(), len(gc.get_objects()))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    enabled, frozen, left = ran.stdout.split()
    assert enabled == "True"
    assert int(frozen) > 100_000 > int(left)


def test_a_block_that_imports_next_to_nothing_leaves_what_is_there_to_collection() -> None:
    """A run's model, say, in a process that runs again."""
    before = gc.get_freeze_count()
    with without_collection():
        import json  # noqa: F401
    assert gc.get_freeze_count() == before
