"""The documented import paths of the vocabularies, by the kind of model they belong to; the code is in `domain`."""
