"""What `where` means, in retrieving, voting, counting, reading and deleting.

A `where` is a mapping of fields to values; it finds the passages of the documents for which all of
it is true. It is written as in other vector stores:

    {"label": "billing"}                                        equal; the same as {"label": {"$eq": "billing"}}
    {"year": {"$gte": 2020, "$lt": date(2024, 1, 1)}}           all operators on a field must hold
    {"source": {"$in": ["faq", "manual"]}, "year": 2020}        and so must all fields
    {"$or": [{"year": 2020}, {"$not": {"source": "faq"}}]}      $and and $or take lists, $not one mapping
    {"title": {"$contains": "password reset"}}                  all the words, in any order
    {"document_id": {"$prefix": "manual/"}}                     what begins so

The fields are those that the index declares, `label` and `document_id`. A dotted name is an entry within another:
{"author.name": "Ann"}. An index built with `any_field=True` takes every other entry too, as a tag: by equality or by
how it begins.

    tag      $eq $ne $in $nin $contains     A list has each of its elements: $eq and $contains mean the same. 1 equals
                                            1.0; True and "1" are other values.
             $prefix                        How a str begins; the server is asked for all values of the field first.
    numeric  $eq $ne $in $nin               Numbers, True and False as 1 and 0, dates and ISO 8601 strings as seconds
             $gt $gte $lt $lte              since 1970 UTC; compared as 64-bit floats.
    text     $contains                      Whole words as `ragknn.text._words` finds them, without case but with their
                                            endings.
    any      $not                           {"year": {"$not": {"$gt": 2020}}}

None means that a document lacks the field: {"year": None} finds those without, {"year": {"$ne": None}} those with
it. $ne, $nin and $not find what lacks the field too; all others do not. None and {} find everything.

A filter that makes no sense raises before anything is sent, so that a misspelled filter never finds too much.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Where: TypeAlias = Mapping[str, Any]
