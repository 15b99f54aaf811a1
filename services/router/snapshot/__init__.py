"""What is shipped of sources' data, in the form of `sources/last_good.py`. README.md says whose it is."""
