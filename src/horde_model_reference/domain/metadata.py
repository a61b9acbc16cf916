"""What is known of a category as a whole: how often it changed, when, and how."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, Field

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.events import Event, Operation

__all__ = ["CategoryHistory", "CategoryMetadata"]


@dataclass(frozen=True)
class CategoryHistory:
    """The events of one category in numbers: how many of each operation, the first one's time, and the last one."""

    counts: dict[Operation, int]
    first_at: int
    last: Event


class CategoryMetadata(BaseModel):
    """The metadata of a category, times in Unix seconds. Counts go back to the first event, imports included."""

    category: Category
    last_updated: int
    last_operation_type: Operation | None = None
    last_operation_model: str | None = None
    total_creates: int = Field(default=0, ge=0)
    total_updates: int = Field(default=0, ge=0)
    total_deletes: int = Field(default=0, ge=0)
    total_models: int = Field(default=0, ge=0)
    initialization_time: int
    last_successful_operation: int
    error_count: int = 0
    metadata_schema_version: str = "1.0.0"
    backend_type: str

    @classmethod
    def of(cls, category: Category, history: CategoryHistory, *, models: int, backend: str) -> CategoryMetadata:
        """The metadata that a history amounts to, for a category that now has that many models."""
        return cls(
            category=category,
            last_updated=history.last.at // 1000,
            last_operation_type=history.last.operation,
            last_operation_model=history.last.name,
            total_creates=history.counts.get(Operation.CREATE, 0),
            total_updates=history.counts.get(Operation.UPDATE, 0),
            total_deletes=history.counts.get(Operation.DELETE, 0),
            total_models=models,
            initialization_time=history.first_at // 1000,
            last_successful_operation=history.last.at // 1000,
            backend_type=backend,
        )
