"""The assistant and the people who use it: who answers, and what they say of its answers."""
