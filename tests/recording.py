"""A tracer provider that keeps its spans, on OpenTelemetry's API alone: its SDK makes redis-py slow to import."""

from contextlib import contextmanager
from itertools import count
from types import MappingProxyType

from opentelemetry import trace

_numbers = count(1)


class Span(trace.Span):
    """What a span was told; it knows its parent."""

    def __init__(self, ended, name, parent, kind, attributes):
        self._ended = ended
        self.name, self.parent, self.kind = name, parent, kind
        self.attributes, self.events, self.status = dict(attributes or {}), [], trace.Status()
        self._context = trace.SpanContext(next(_numbers), next(_numbers), is_remote=False)

    def get_span_context(self):
        return self._context

    def set_attribute(self, key, value):
        assert isinstance(value, str | bool | int | float), f"{key}: the SDK refuses {value!r}"
        assert self.is_recording()
        self.attributes[key] = value

    def set_attributes(self, attributes):
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def add_event(self, name, attributes=None, timestamp=None):
        self.events.append((name, attributes))

    def record_exception(self, exception, attributes=None, timestamp=None, escaped=False):
        self.add_event("exception", {"message": str(exception)})

    def update_name(self, name):
        self.name = name

    def set_status(self, status, description=None):
        self.status = status

    def is_recording(self):
        return not isinstance(self.attributes, MappingProxyType)

    def end(self, end_time=None):
        assert self.is_recording(), "ended twice"
        self.attributes = MappingProxyType(self.attributes)
        self._ended.append(self)

    def __repr__(self):
        return f"{self.name} {dict(self.attributes)} {self.events} {self.status.description}"


class Recorder(trace.TracerProvider, trace.Tracer):
    """A provider and its only tracer.

    Attributes:
        ended: the spans, in the order in which they ended.
        begun: how many were begun.
    """

    def __init__(self):
        self.ended, self.begun = [], 0

    def get_tracer(self, *names, **options):
        return self

    def start_span(self, name, context=None, kind=trace.SpanKind.INTERNAL, attributes=None, *args, **options):
        self.begun += 1
        parent = trace.get_current_span(context)
        return Span(self.ended, name, parent if isinstance(parent, Span) else None, kind, attributes)

    @contextmanager
    def start_as_current_span(self, name, *args, **options):
        with trace.use_span(self.start_span(name, *args, **options), end_on_exit=True) as span:
            yield span
