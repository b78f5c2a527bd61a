"""Redis Cluster: which node is told what, so that a flow runs on several servers as it does on one.

`routing`, `talking`, `views` and `scanning` say what is to be sent, without I/O; `conversations` has the words they
share with `nodes` and `lines`, which send it in sync and async code. `clients` makes the clients of a URL.
"""
