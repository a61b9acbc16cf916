"""The authoritative registry of AI model metadata for the AI Horde.

    from horde_model_reference import MODEL_REFERENCE_CATEGORY, ModelReferenceManager

    manager = ModelReferenceManager()
    manager.image_generation_models["Deliberate"].baseline

Importing this package remembers the environment and does nothing else: each name below is looked up in its module when
it is first used.
"""

from __future__ import annotations

from horde_model_reference import _environment as _environment  # first: it remembers the variables as they are now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from horde_model_reference.domain.categories import *
    from horde_model_reference.domain.names import *
    from horde_model_reference.domain.predicates import *
    from horde_model_reference.domain.query import *
    from horde_model_reference.domain.record_parts import *
    from horde_model_reference.domain.records import *
    from horde_model_reference.domain.vocabulary import *
    from horde_model_reference.errors import *
    from horde_model_reference.model_reference_manager import *
    from horde_model_reference.path_consts import *
    from horde_model_reference.providers import *
    from horde_model_reference.reference import *
    from horde_model_reference.settings import *
    from horde_model_reference.sources.local import *
    from horde_model_reference.text_backend_names import *
    from horde_model_reference.watching import *

__version__ = "8.90.0"

_TABLE = """
    domain.categories: CategoryDescriptor MODEL_CLASSIFICATION_LOOKUP MODEL_DOMAIN MODEL_PURPOSE
        MODEL_REFERENCE_CATEGORY ModelClassification get_all_registered_categories get_category_descriptor
        get_weights_marker_folders register_category
    domain.names: ANY_SOURCE HORDE_SOURCE_ID SourceSelector
    domain.predicates: AudioFields BlipFields ClipFields CodeformerFields ControlNetFields EsrganFields FieldRef
        GenericFields GfpganFields ImageFields MiscellaneousFields OrderSpec Predicate SafetyCheckerFields
        TextFields VideoFields false true
    domain.query: ImageGenerationQuery ModelQuery TextModelQuery build_image_query build_text_query
    domain.record_parts: DownloadRecord LicenseAssignment LicenseDefinition LicenseEvidence LicenseObligation
        LicensedAsset LicensedAssetKind ModelLicensing PermissionStatus SCHEMA_VERSION unknown_model_licensing
    domain.records: GenericModelRecord ImageGenerationModelRecord LoraModelRecord TextGenerationModelRecord
        TextualInversionModelRecord get_record_type_for_category register_record_type
    domain.vocabulary: BaselineDescriptor KNOWN_IMAGE_GENERATION_BASELINE KNOWN_TAGS MODEL_STYLE
        get_all_registered_baselines get_baseline_descriptor get_baseline_native_resolution get_known_tags
        register_image_baseline
    errors: HordeModelReferenceError MalformedInput ModelNotFound ReferenceUnavailable UnknownCategory UnknownField
        UnknownSource
    model_reference_manager: DeferredPrefetchHandle ModelReferenceManager PrefetchStrategy
    path_consts: DEFAULT_SHOWCASE_FOLDER_NAME horde_model_reference_paths
    providers: ModelProvider ModelProviderRegistry PENDING_SOURCE_ID PendingModelProvider StaticModelProvider
    reference: CategoryStatus Reference
    settings: CanonicalFormat HordeModelReferenceSettings R2Settings ReplicateMode horde_model_reference_settings
    sources.local: ModelReferenceBackend
    text_backend_names: get_model_name_variants has_legacy_text_backend_prefix strip_backend_prefix
    watching: ReferenceChange
"""
_FEW = 40_000
_MODULE_OF: dict[str, str] = {}
for _row in _TABLE.replace("\n        ", " ").splitlines():
    _module, _, _names = _row.strip().partition(": ")
    _MODULE_OF |= dict.fromkeys(_names.split(), _module)

__all__ = [*sorted(_MODULE_OF), "__version__"]  # noqa: PLE0604  (the table above is the list)


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import gc
    from importlib import import_module

    from horde_model_reference.process import bulk

    alone = len(gc.get_objects()) < _FEW  # what the application has made already must stay collectable
    with bulk():
        value: object = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    if alone:
        gc.freeze()  # classes and schemas live as long as the process: no collection, also not the last, need walk them
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
