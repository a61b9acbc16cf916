"""The names of the package: each resolves on first use, to the object that its documented import paths give."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import horde_model_reference as hmr

SAME = {
    "KNOWN_IMAGE_GENERATION_BASELINE": ("meta_consts", "model_consts.image"),
    "MODEL_REFERENCE_CATEGORY": ("meta_consts",),
    "MODEL_DOMAIN": ("meta_consts",),
    "MODEL_PURPOSE": ("meta_consts",),
    "ModelClassification": ("meta_consts",),
    "CategoryDescriptor": ("meta_consts",),
    "get_category_descriptor": ("meta_consts",),
    "get_baseline_native_resolution": ("meta_consts", "model_consts.image"),
    "ModelReferenceManager": ("model_reference_manager",),
    "PrefetchStrategy": ("model_reference_manager",),
    "DeferredPrefetchHandle": ("model_reference_manager",),
    "HORDE_SOURCE_ID": ("source_consts", "providers"),
    "ANY_SOURCE": ("source_consts", "providers"),
    "SourceSelector": ("source_consts", "providers"),
    "ModelProvider": ("providers", "providers.base"),
    "StaticModelProvider": ("providers", "providers.static_provider"),
    "ModelReferenceBackend": ("backends", "backends.base"),
    "ImageGenerationModelRecord": ("model_reference_records",),
    "GenericModelRecord": ("model_reference_records",),
    "DownloadRecord": ("model_reference_records",),
    "LoraModelRecord": ("model_reference_records",),
    "ModelQuery": ("query",),
    "ImageGenerationQuery": ("query",),
    "TextFields": ("query_fields",),
    "horde_model_reference_paths": ("path_consts",),
    "get_model_name_variants": ("text_backend_names",),
}

NEEDED = {
    "AudioFields",
    "BaselineDescriptor",
    "BlipFields",
    "ClipFields",
    "ControlNetFields",
    "EsrganFields",
    "FieldRef",
    "GenericFields",
    "HordeModelReferenceSettings",
    "ImageFields",
    "KNOWN_TAGS",
    "LicenseAssignment",
    "ModelLicensing",
    "ModelProviderRegistry",
    "OrderSpec",
    "Predicate",
    "TextFields",
    "TextModelQuery",
    "VideoFields",
    "build_image_query",
    "build_text_query",
    "false",
    "horde_model_reference_settings",
    "register_category",
    "register_image_baseline",
    "register_record_type",
    "true",
    "unknown_model_licensing",
}


@pytest.mark.parametrize("name", hmr.__all__)
def test_every_exported_name_resolves(name: str) -> None:
    """And is listed by `dir`."""
    assert getattr(hmr, name) is not None
    assert name in dir(hmr)


@pytest.mark.parametrize("name", SAME)
def test_a_name_is_one_object_at_all_its_import_paths(name: str) -> None:
    """Clients mix the paths, and compare by identity."""
    for module in SAME[name]:
        assert getattr(importlib.import_module(f"horde_model_reference.{module}"), name) is getattr(hmr, name), module


def test_the_names_clients_import_are_exported() -> None:
    """Of the contract's public names, those that this version has."""
    assert not {*NEEDED, *SAME} - {*hmr.__all__}
    assert sorted(hmr.__all__, key=lambda name: (name.startswith("__"), name)) == hmr.__all__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """As in any module; an import of it is an ImportError."""
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = hmr.nonsense
    with pytest.raises(ImportError):
        importlib.import_module("horde_model_reference.nonsense")


def test_exported_classes_survive_pickling() -> None:
    """A worker passes them between processes: the class is found again where it says it is defined."""
    for name in ("MODEL_REFERENCE_CATEGORY", "PrefetchStrategy", "ImageGenerationModelRecord", "ModelQuery"):
        assert pickle.loads(pickle.dumps(getattr(hmr, name))) is getattr(hmr, name)


def test_importing_all_names_at_once_works_in_a_fresh_interpreter() -> None:
    """`from horde_model_reference import *` imports everything, prints nothing, and needs no extra."""
    program = "import sys; from horde_model_reference import *; assert 'sqlalchemy' not in sys.modules"
    command = [sys.executable, "-W", "error", "-c", program]
    source = Path(hmr.__file__).parents[1]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_objects_of_the_application_stay_collectable() -> None:
    """The first use of a name froze the collector: a model on the GPU in a reference cycle was never freed."""
    program = """
import gc, weakref
class Model: pass
held = [[] for _ in range(50_000)]
model = Model(); model.itself = model; freed = weakref.ref(model)
import horde_model_reference
horde_model_reference.StaticModelProvider
del model; gc.collect()
assert freed() is None
"""
    subprocess.run([sys.executable, "-c", program], check=True)
