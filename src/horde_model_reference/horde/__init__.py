"""The AI Horde, asked over its API: whose a key is, and what its workers and users do."""
