"""The field namespaces say exactly what the record classes have."""

from __future__ import annotations

import pytest

from horde_model_reference import query_fields
from horde_model_reference.domain import records
from horde_model_reference.query_fields import FieldRef

NAMESPACES: dict[str, type[records.GenericModelRecord]] = {
    "AudioFields": records.AudioGenerationModelRecord,
    "BlipFields": records.BlipModelRecord,
    "ClipFields": records.ClipModelRecord,
    "CodeformerFields": records.CodeformerModelRecord,
    "ControlNetFields": records.ControlNetModelRecord,
    "EsrganFields": records.EsrganModelRecord,
    "GenericFields": records.GenericModelRecord,
    "GfpganFields": records.GfpganModelRecord,
    "ImageFields": records.ImageGenerationModelRecord,
    "MiscellaneousFields": records.MiscellaneousModelRecord,
    "SafetyCheckerFields": records.SafetyCheckerModelRecord,
    "TextFields": records.TextGenerationModelRecord,
    "VideoFields": records.VideoGenerationModelRecord,
}


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_a_namespace_has_the_fields_of_its_record_class(namespace: str) -> None:
    """Each a reference of its own name; a field added to a record and forgotten here fails."""
    fields = getattr(query_fields, namespace)
    names = [name for cls in reversed(fields.__mro__) for name in getattr(cls, "__annotations__", ())]
    assert sorted(names) == sorted(NAMESPACES[namespace].model_fields)
    for name in names:
        reference = getattr(fields, name)
        assert isinstance(reference, FieldRef)
        assert reference.path == (name,)
