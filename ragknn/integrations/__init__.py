"""ragknn in the frameworks that pipelines are built with; each is a package of its own here, and an extra.

They are written with the public names of ragknn alone, as anyone's own adapter would be, and nothing else in ragknn
imports them but the command that starts one.
"""

__all__: list[str] = []
