"""Threads, their trees and their messages: saved, searched, exported."""
