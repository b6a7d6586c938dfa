"""The way back: who asks for what and why, within which bounds, and the answer. Without HTTP."""
