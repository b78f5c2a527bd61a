"""Which commands opening, looking and writing send, and what they make of the replies: flows, no I/O."""
