"""How good the router's choice of a model is, on public results: `python -m bench.routing --data DIR [--json]`.

The protocols are those of RouterBench (AIQ), RouteLLM (APGR, CPT) and cross-validation with a paired bootstrap; the
method, and what each figure means, is in docs/benchmarks.md.
"""
