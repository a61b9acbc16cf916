"""The HTTP edge: who asks, what they get, and what an error looks like. Rules live below."""
