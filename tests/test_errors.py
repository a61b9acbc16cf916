"""The tree of errors."""

from __future__ import annotations

import pickle

import pytest

from horde_model_reference import errors

ERRORS = (
    errors.ReferenceUnavailable("clip", "nobody answered"),
    errors.ModelNotFound("Delibrate", "image_generation", ("Deliberate",)),
    errors.UnknownCategory("clop", ("clip",)),
    errors.UnknownSource("beta", ("horde",)),
    errors.UnknownField("nfsw", "ImageGenerationModelRecord", ("nsfw",), ("nsfw",)),
    errors.MalformedInput("is no JSON", where="clip.json", record="A", field="name"),
    errors.UnsafeName("../x", "leaves its folder"),
    errors.SettingsInvalid((("OFFLINE", "must be true or false"),)),
    errors.ConfigurationLocked("offline", True, False),
    errors.SourceUnavailable("PRIMARY", "refused"),
    errors.RevisionUnknown(7, 3),
    errors.MissingExtra("serving", "service"),
    errors.StoreUnavailable("sqlite:///x", "is locked"),
    errors.WriteConflict("sqlite:///x", "clip", "A", 1, 2),
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_arrives_whole_in_another_process(error: errors.HordeModelReferenceError) -> None:
    """A worker's `ProcessPoolExecutor` once broke with `TypeError: missing 1 required positional argument`."""
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error)
    assert (str(arrived), vars(arrived)) == (str(error), vars(error))
