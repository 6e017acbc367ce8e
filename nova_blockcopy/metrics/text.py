# SPDX-License-Identifier: Apache-2.0
"""Metrics in the text format of Prometheus."""

import itertools
import math
from collections.abc import Iterable
from collections.abc import Iterator
from operator import itemgetter

import prometheus_client
from prometheus_client import core
from prometheus_client import registry

from nova_blockcopy.metrics import catalogue
from nova_blockcopy.metrics import distribution
from nova_blockcopy.metrics import tally


class _Once(registry.Collector):
    """The samples of one moment."""

    def __init__(self, samples: Iterable[tally.Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[core.Metric]:
        position = {each: i for i, each in enumerate(catalogue.ALL)}
        found = sorted(self._samples, key=lambda each: position[each[0]])
        for metric, samples in itertools.groupby(found, key=itemgetter(0)):
            yield _family(metric, samples)


def render(samples: Iterable[tally.Sample]) -> bytes:
    """Write samples as text."""
    collected = prometheus_client.CollectorRegistry()
    collected.register(_Once(samples))
    return prometheus_client.generate_latest(collected)


def _family(
    metric: catalogue.Metric, samples: Iterable[tally.Sample]
) -> core.Metric:
    family: core.Metric
    if metric.kind is catalogue.Kind.HISTOGRAM:
        family = histogram = core.HistogramMetricFamily(
            metric.name, metric.help, labels=metric.labels
        )
        for _metric, labels, value in samples:
            if isinstance(value, distribution.Distribution):
                buckets = [
                    (_limit(bound), float(count))
                    for bound, count in value.buckets()
                ]
                histogram.add_metric(labels, buckets, value.total)
        return family
    kind = (
        core.CounterMetricFamily
        if metric.kind is catalogue.Kind.COUNTER
        else core.GaugeMetricFamily
    )
    family = plain = kind(metric.name, metric.help, labels=metric.labels)
    for _metric, labels, value in samples:
        if not isinstance(value, distribution.Distribution):
            plain.add_metric(labels, value)
    return family


def _limit(bound: float) -> str:
    """The limit of a bucket, as the format has it."""
    return '+Inf' if math.isinf(bound) else str(bound)
