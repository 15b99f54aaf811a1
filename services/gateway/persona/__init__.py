"""One voice, whichever provider answers: the organisation's preamble goes along with a chat, and what a provider's
model says of itself is put in the organisation's name. Owns those two; never touches code, JSON, quotations, or what is
said of somebody else, and never denies that an AI speaks.
"""
