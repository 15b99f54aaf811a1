"""Policies that are tried beside the one in force."""
