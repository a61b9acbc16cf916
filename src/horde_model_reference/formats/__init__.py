"""Pure codecs between bytes and documents: v2, legacy JSON, legacy CSV. No I/O."""
