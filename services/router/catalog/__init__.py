"""The models there are: what files, providers and sources say of them, listed and found."""
