"""The metrics for Prometheus, of the same moment as what is shown."""

from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from shared.reports import BUCKET_SECONDS, ProducerReport
from workers.monitor_metric_table import METRICS, Metric, Moment


def exposition(moment: Moment, accept: str) -> tuple[bytes, str]:
    """The text in the format that ``accept``, the header of that name, asks for; and its content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Moment(moment))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Moment(Collector):
    def __init__(self, moment: Moment) -> None:
        self._moment = moment

    def collect(self) -> Iterable[Family]:
        has_events = self._moment.overview.kafka.events_topic is not None
        return [_family(metric, self._moment) for metric in METRICS if has_events or not metric.of_events]


def _family(metric: Metric, moment: Moment) -> Family:
    if metric.kind == "histogram":
        return _histogram(metric, moment.producer)
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in metric.values(moment):
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, producer: ProducerReport) -> Family:
    counts = producer.delivery_buckets or [0] * (len(BUCKET_SECONDS) + 1)
    bounds = [*map(str, BUCKET_SECONDS), "+Inf"]
    family = HistogramMetricFamily(metric.name, metric.help)
    family.add_metric(
        [], list(zip(bounds, accumulate(counts), strict=False)), sum_value=producer.delivery_seconds
    )
    return family
