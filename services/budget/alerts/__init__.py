"""Thresholds that were crossed, told by webhook and mail."""
