"""Static Envoy configuration from Python data: the edge in front of the gateway and the mutual-TLS sidecar of a pod.

It owns what Envoy is told (listeners, routes, limits, clusters, certificates by file) and nothing that Envoy does:
there is no control plane, and no service imports it. A changed configuration is a new file and a restarted Envoy.
"""
