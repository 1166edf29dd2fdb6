"""The golden files in tests/data/golden, which the tests of C, Python and Lua read: a batch in its wire form, its hash, and
the canonical form of each payload."""

import pathlib

import csync

GOLDEN = pathlib.Path(__file__).parents[1] / "data" / "golden"


def test_the_golden_batch():
    text = (GOLDEN / "batch.json").read_text().strip()
    batch = csync.Batch.from_json(text)
    assert batch.to_json() == text
    assert csync.batch_hash(batch) == (GOLDEN / "batch.hash").read_text().strip()


def test_the_golden_rows_read_as_values_and_written_again():
    batch = csync.Batch.from_json((GOLDEN / "batch.json").read_text())
    for change, line in zip(batch, (GOLDEN / "canonical.txt").read_text().splitlines(), strict=True):
        assert csync.canonical_json(change.payload_json or "null") == line
        again = csync.Change(1, "note", change.pk, change.operation, change.payload, "o", change.timestamp)
        assert csync.canonical_json(again.payload_json or "null") == line
