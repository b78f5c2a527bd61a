"""A search index that was dropped, and that another client makes again: nobody takes a part of it for all."""

import json

from reading import EMBEDDER, FIELDS, Told, calls, documents
from stores import keys_of

from ragknn import CommandRefused, Document, IncompleteRetrieval, Index, Indexer, aimport_index, import_index
from ragknn._protocol.opening import create_command

MANY = 500  # which the server takes many times as long to read as a client takes to ask
WHERE = {"t": "t1"}


def filled(url, name):
    with Index(name, url=url, embedder=EMBEDDER, fields=FIELDS) as index:
        Indexer(index).add(documents(MANY)).raise_for_failures()


def opened_anew(client, index):
    """Drop the search index, and let another client make it again, which does not wait until it is there."""
    client.execute_command("FT.DROPINDEX", keys_of(client, index.name).searched)
    Index(index.name, url=index.url, timeout=0.001).open()


def created_by_hand(client, index):
    """Do the same as who is not of ragknn does, under the name that it had."""
    keys = keys_of(client, index.name)
    with client.pipeline() as at_once:
        at_once.execute_command("FT.DROPINDEX", keys.searched)
        at_once.execute_command(*create_command(keys, index.schema))
        at_once.execute_command("FT.ALIASADD", keys.alias, keys.searched)
        at_once.execute()


# What opens an index by itself waits there until it can be searched, and then no longer.
ASIDE = {"list_indexes", "import", "export", "describe"}
SLOW = {"tune", "tune a voter", "scan_recall", "evaluate", "much text", "all documents", "passages"}


def test_each_read_is_whole_or_says_that_it_is_not(faces, redis_url, index_name, client, tmp_path):
    filled(redis_url, index_name)
    with faces.index(index_name, url=redis_url, embedder=EMBEDDER, timeout=10) as index:
        opened_anew(client, index)
        index.wait_until_searchable()  # from now on, equally near passages stay in the order in which they are read
        told = set()
        for name, call in calls(faces, index, tmp_path).items():
            if name in ASIDE | SLOW:
                continue
            expected = call()
            opened_anew(client, index)
            try:
                assert (name, call()) == (name, expected)
            except (IncompleteRetrieval, Told):
                told.add(name)
            index.wait_until_searchable()
    assert told  # by those that do not wait


def imported(faces, index):
    try:
        return faces.call(import_index, aimport_index, index._keys.alias, "copy", url=index.url, dry_run=True).passages
    except CommandRefused:  # which says that it is being built, or has more by now
        return MANY


def test_what_is_counted_or_chosen_by_a_filter_is_waited_for(faces, redis_url, index_name, client):
    filled(redis_url, index_name)
    with faces.index(index_name, url=redis_url, timeout=10) as index:
        indexer = faces.indexer(index)
        match = index.count(WHERE)
        kept = Document("v0001", "pears", None, {"t": "t1"})
        calls = [
            (index.count, MANY),
            (lambda: index.count(WHERE), match),
            (lambda: index.count_documents(WHERE), match),
            (lambda: sum(index.values("t").values()), MANY),
            (lambda: len(list(index.documents(where=WHERE))), match),
            (lambda: len(list(index.passages(where=WHERE))), match),
            (lambda: index.count({"t": {"$prefix": "t"}}), MANY),
            (lambda: imported(faces, index), MANY),
            (lambda: indexer.update(where=WHERE, label="c").updated, match),
            (lambda: indexer.sync([kept], where=WHERE, delete_most=True).deleted, match - 1),
            (lambda: indexer.delete_where({"n": {"$gte": 0}}), MANY - match),
        ]
        for number, (call, expected) in enumerate(calls):
            created_by_hand(client, index)
            assert (number, call()) == (number, expected)
        created_by_hand(client, index)
        assert (told := index.describe()).percent_indexed < 1 or told.documents == 1


def test_it_is_made_again_under_another_name_of_the_same_index(faces, redis_url, index_name, client):
    filled(redis_url, index_name)
    with faces.index(index_name, url=redis_url) as index:
        before = keys_of(client, index_name)
        client.execute_command("FT.DROPINDEX", before.searched)
        with faces.index(index_name, url=redis_url) as late:
            now = keys_of(client, index_name)
            assert now.version not in (None, before.version)
            told = json.loads(client.hget(now.manifest, "schema"))
            assert late.schema == index.schema
            assert told["version"] == late.schema.version
            assert late.count() == index.count() == MANY
