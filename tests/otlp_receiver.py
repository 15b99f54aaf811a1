"""An OTLP/gRPC receiver in the test's own process: the real exporters send to it, tests ask what came."""

import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent import futures

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc


@dataclasses.dataclass(frozen=True)
class Span:
    """A received span."""

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict
    failed: bool


def _value(any_value):
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in any_value.array_value.values]
    return getattr(any_value, kind) if kind else None


class OtlpReceiver(trace_grpc.TraceServiceServicer):
    """Collects spans and metrics; `until` waits for what a test needs."""

    def __init__(self):
        self.spans, self.metrics, self.raw = [], {}, b""
        self._news = threading.Condition()
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        trace_grpc.add_TraceServiceServicer_to_server(self, self._server)
        metrics_grpc.add_MetricsServiceServicer_to_server(_Metrics(self), self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self):
        self._server.start()
        return self

    def __exit__(self, *_):
        self._server.stop(0).wait()

    def Export(self, request, context):
        with self._news:
            self.raw += request.SerializeToString()
            for resource in request.resource_spans:
                service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
                for span in (span for scope in resource.scope_spans for span in scope.spans):
                    attributes = {one.key: _value(one.value) for one in span.attributes}
                    ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
                    self.spans.append(Span(service, span.name, span.kind, *ids, attributes, span.status.code == 2))
            self._news.notify_all()
        return trace_pb2.ExportTraceServiceResponse()

    def take_metrics(self, request):
        with self._news:
            self.raw += request.SerializeToString()
            for resource in request.resource_metrics:
                for metric in (one for scope in resource.scope_metrics for one in scope.metrics):
                    self.metrics[metric.name] = metric
            self._news.notify_all()
        return metrics_pb2.ExportMetricsServiceResponse()

    def until(self, found: Callable, timeout_s: float = 20.0):
        """What `found(self)` returns once it is true; fails after `timeout_s` with what did come."""
        end = time.monotonic() + timeout_s
        with self._news:
            while not (result := found(self)):
                left = end - time.monotonic()
                names = sorted({(span.service, span.name) for span in self.spans})
                assert left > 0, f"not received in {timeout_s} s; came: {names} {sorted(self.metrics)}"
                self._news.wait(left)
            return result

    def named(self, part: str) -> list[Span]:
        """The spans with `part` in their name."""
        return [span for span in self.spans if part in span.name]


class _Metrics(metrics_grpc.MetricsServiceServicer):
    def __init__(self, receiver):
        self._receiver = receiver

    def Export(self, request, context):
        return self._receiver.take_metrics(request)
