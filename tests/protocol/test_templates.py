"""Commands of which all but one argument is packed once."""

import hiredis
from hypothesis import given
from hypothesis import strategies as st

from ragknn._protocol.templates import Template
from ragknn.server._packing import packed

ARGUMENTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9) | st.binary(max_size=9), max_size=4)


@given(ARGUMENTS, st.binary(max_size=2_000), ARGUMENTS)
def test_what_goes_to_the_server_is_what_goes_there_for_the_same_words(before, value, after):
    template = Template.of(tuple(before), tuple(after))
    command = template.filled(value)
    assert command == (*before, value, *after)
    assert command.wire == hiredis.pack_command((*before, value, *after))
    assert packed(None, [command, ("PING",)]) == [command.wire + hiredis.pack_command(("PING",))]
