"""The edge: HTTP/SSE and gRPC in, the chat pipeline, and identity (organisations and API keys).

It owns who calls and the order of a request's steps. It never decides what a service owns: which model (router), what
it costs (budget), how to talk to a provider (provider), what is remembered (memory), what happened (audit). No
service calls back into it.
"""
