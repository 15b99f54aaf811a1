"""Timings show Prometheus what the client library's own histogram would."""

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from mesh.timings import Timings

BOUNDS = (0.001, 0.5, 1, 300)


def test_the_page_is_the_one_of_the_client_librarys_histogram():
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    made = Timings("x_seconds", "What took so long.", ("a", "b"), registry=ours, buckets=BOUNDS)
    known = Histogram("x_seconds", "What took so long.", ("a", "b"), registry=theirs, buckets=BOUNDS)
    for labels in (("p", "q"), ("p", 'r "quoted"')):
        # On a bound, between two of them, above all of them.
        for seconds in (0, 0.001, 0.0011, 0.5, 7, 300, 301):
            made.labels(*labels).observe(seconds)
            known.labels(*labels).observe(seconds)
    page = generate_latest(ours)
    assert page == generate_latest(theirs)
    assert b'x_seconds_bucket{a="p",b="q",le="+Inf"} 7.0' in page


def test_the_same_labels_are_the_same_histogram_and_too_few_are_none():
    made = Timings("x_seconds", "What took so long.", ("a", "b"), registry=CollectorRegistry(), buckets=BOUNDS)
    assert made.labels("p", "q") is made.labels("p", "q")
    with pytest.raises(ValueError, match="has the labels"):
        made.labels("p")
