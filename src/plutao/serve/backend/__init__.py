"""What answers behind the API: our engine in a process of its own, or any OpenAI-compatible engine by its address."""
