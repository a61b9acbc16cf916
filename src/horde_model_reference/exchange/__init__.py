"""Between the store and files: what a folder or bundle holds, taking it in, writing it out, keeping the mirror."""
