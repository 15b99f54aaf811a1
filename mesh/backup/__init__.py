"""Backup and restore: the database, the keys and the configuration in one encrypted file, taken while DAC runs.

`envelope` is the file's form, `dump` speaks to pg_dump and pg_restore, `archive` says what belongs into a backup,
`restoration` puts one back whole or not at all, `upgrade` takes one before a data folder changes its shape.
"""
