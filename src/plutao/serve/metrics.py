"""What the service counts, in Prometheus' form: requests, tokens, seconds to the first token, the queue."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """The numbers of one application; a registry of its own, so that two in one process do not mix.

    Labels are routes as written in the code, never addresses as called, and models that exist: what strangers send can't
    make new rows.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "plutao_http_requests", "Requests answered.", ("route", "method", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "plutao_http_request_seconds",
            "From a request's arrival to the last byte of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge("plutao_http_requests_in_flight", "Requests being answered.", registry=self.registry)
        self.tokens = Counter(
            "plutao_tokens", "Tokens read and written.", ("model", "direction"), registry=self.registry
        )
        self.answers = Counter(
            "plutao_answers", "Answers by why they ended.", ("model", "reason"), registry=self.registry
        )
        self.first_token = Histogram(
            "plutao_first_token_seconds",
            "From a job's submission to its first token.",
            ("model",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.running = Gauge("plutao_engine_running", "Answers being written.", registry=self.registry)
        self.waiting = Gauge("plutao_engine_waiting", "Requests that wait for a slot.", registry=self.registry)
        self.slots = Gauge("plutao_engine_slots", "Answers that can be written at once.", registry=self.registry)
        self.speed = Gauge("plutao_engine_tokens_per_second", "Tokens written a second.", registry=self.registry)

    def exposition(self) -> bytes:
        """The page a Prometheus server reads."""
        return generate_latest(self.registry)
