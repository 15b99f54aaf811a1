"""Answers that more than one chat gets: the response cache's part of a chat, and calls that equal chats share."""
