"""What the reference is made of: pure values and rules. No I/O, no clock, no log, no settings."""
