"""What goes on meanwhile: flows that are ended or disturbed between two of their steps, and threads at work."""

import threading
from contextlib import contextmanager

from ragknn import AsyncIndex, Index
from ragknn._protocol.flows import within


class Killed(BaseException):
    """As if the process had ended here."""


def up_to(flow, steps):
    """Run so many steps of the flow, and end as if the process had ended there, unless it was done before."""
    sent = None
    for _ in range(steps):
        try:
            sent = yield flow.send(sent)
        except StopIteration as stop:
            return stop.value
    flow.close()
    raise Killed


class Steps:
    """Counts the steps that calls on an index take, and disturbs one of them."""

    def __init__(self):
        self.count, self._at, self._disturb = 0, -1, None

    def index(self, faces, *args, **options):
        """Return an index whose steps are counted, whatever is called on it."""
        return faces.made(self._counting(Index), self._counting(AsyncIndex), *args, **options)

    def disturb(self, at, disturb):
        """Count from 0, and disturb what comes before its step of this number, or before each for None."""
        self.count, self._at, self._disturb = 0, at, disturb

    def _counting(self, kind):
        steps = self

        class Counted(kind):
            def _drive(self, flow, **options):
                return super()._drive(within(flow, steps._counted), **options)

        return Counted

    def _counted(self, step):
        if self._at is None or self.count == self._at:
            self._disturb()
        self.count += 1
        return (yield step)


@contextmanager
def at_work(url, name, works, **options):
    """Let a thread do each of the works on an index that it has open, again and again, while the block runs."""
    ended, errors = threading.Event(), []

    def going_on(work):
        try:
            with Index(name, url=url, **options) as index:
                while not ended.is_set():
                    work(index)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=going_on, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert errors == []
