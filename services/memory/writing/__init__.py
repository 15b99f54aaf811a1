"""What a model of the operator's writes for memory: facts taken from turns, and summaries. Off unless one is named;
never on the path of a chat, and never beyond its organisation's budgets.
"""
