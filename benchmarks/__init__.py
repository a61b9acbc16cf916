"""Programs that measure what the README promises, each beside a floor measured in the same run."""
