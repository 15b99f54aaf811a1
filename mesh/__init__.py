"""The ground every DAC service stands on: one table of services, one transport, one way to fail.

It owns no business: nothing here knows what a budget or a model's answer is. Only `mesh.app` knows the services.
"""
