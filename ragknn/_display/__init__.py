"""How results show themselves: as lines in a terminal; as cards, tables and pictures in a notebook. No I/O.

Whatever comes from outside is escaped in HTML, which loads nothing and has no style sheet: it is as readable on dark as
on light ground, and passes the sanitizers of notebooks.
"""
