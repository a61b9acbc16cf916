"""Every error that leaves this package, as one tree.

```
HordeModelReferenceError
├── ReferenceUnavailable (RuntimeError)   no source could give a category
├── ModelNotFound (RuntimeError)          the category is there, the model is not
├── UnknownCategory (KeyError, ValueError) no such category is known here
├── UnknownSource (ValueError)            a source id that nobody registered
├── UnknownField (ValueError)             a query named a field that its records do not have
├── MalformedInput (ValueError)           a file, record or field that cannot be read
├── UnsafeName (ValueError)               a name that would leave its folder or deceive a reader
├── SettingsInvalid (ValueError)          a setting that cannot be what it says
├── ConfigurationLocked (RuntimeError)    the manager exists already with another value
├── SourceUnavailable                     one source did not answer, or answered nonsense
├── RevisionUnknown (LookupError)         a revision that is not there (yet, or any more)
├── ChangeNotFound (LookupError)          no proposed change has that number
├── ModelExists (ValueError)              a proposal would create what is there already
├── ChangeRefused (ValueError)            moderation does not allow that now; says what it does
├── ChangeOutdated                        the record moved since the change was proposed
├── NotAllowed (PermissionError)          the user may not do that
├── UsersUnavailable                      the AI Horde does not tell whose key it is
├── MissingExtra (ImportError)            a feature whose packages are not installed
└── StoreError                            the database
    ├── StoreUnavailable                  locked, unreachable, unreadable, out of space
    ├── StoreCorrupt                      its content contradicts itself
    ├── StoreTooNew                       written by a later version of this package
    └── WriteConflict                     the record moved since it was read
```

Each carries its facts as attributes; the text is for people and may change. The two exceptions to that are
`ReferenceUnavailable` and `ModelNotFound`, whose text the logs of GPU workers are searched for.
"""

from __future__ import annotations

__all__ = ["ChangeNotFound", "ChangeOutdated", "ChangeRefused", "ConfigurationLocked", "HordeModelReferenceError"]
__all__ += ["MalformedInput", "MissingExtra", "ModelExists", "ModelNotFound", "NotAllowed", "ReferenceUnavailable"]
__all__ += ["RevisionUnknown", "SettingsInvalid", "SourceUnavailable", "StoreCorrupt", "StoreError", "StoreTooNew"]
__all__ += ["StoreUnavailable", "UnknownCategory", "UnknownField", "UnknownSource", "UnsafeName", "UsersUnavailable"]
__all__ += ["WriteConflict"]


class HordeModelReferenceError(Exception):
    """The root: `except HordeModelReferenceError` catches everything this package raises on purpose."""

    def __reduce__(self) -> tuple[object, ...]:
        # What is raised in one process of a pool must arrive in another: each class has parameters of its own.
        return type(self).__new__, (type(self), *self.args), vars(self)


class ReferenceUnavailable(HordeModelReferenceError, RuntimeError):
    """No source could give the category. `reason` says what each of them answered."""

    def __init__(self, category: str, reason: str = "") -> None:
        super().__init__(f"Model reference for category {category} not found or could not be parsed.")
        self.category, self.reason = category, reason
        if reason:
            self.add_note(reason)


class ModelNotFound(HordeModelReferenceError, RuntimeError):
    """The category was read and holds no model of that name; `close` are names much like it."""

    def __init__(self, name: str, category: str, close: tuple[str, ...] = ()) -> None:
        super().__init__(f"Model {name} not found in category {category}.")
        self.name, self.category, self.close = name, category, close
        if close:
            self.add_note(f"Did you mean {', '.join(close)}?")


class UnknownCategory(HordeModelReferenceError, KeyError, ValueError):
    """No category of that name is known; `register_category` adds one at run time."""

    def __init__(self, category: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(category)
        self.category, self.known = category, known

    def __str__(self) -> str:
        return f"unknown category {self.category!r}; known are {', '.join(self.known)}"


class UnknownSource(HordeModelReferenceError, ValueError):
    """A read named a source id that no provider registered."""

    def __init__(self, source_id: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(f"unknown source {source_id!r}; registered are {', '.join(known)}")
        self.source_id, self.known = source_id, known


class UnknownField(HordeModelReferenceError, ValueError):
    """A query named a field that its records do not have; `close` are fields with much the same name."""

    def __init__(self, name: str, record_type: str, known: tuple[str, ...], close: tuple[str, ...] = ()) -> None:
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        super().__init__(f"{record_type} has no field {name!r}.{hint} Valid fields are {', '.join(known)}.")
        self.name, self.known, self.close = name, known, close


class MalformedInput(HordeModelReferenceError, ValueError):
    """Something that was read is not what it must be: in the file or at the address `where`, at `record`, `field`."""

    def __init__(self, reason: str, *, where: str = "", record: str = "", field: str = "") -> None:
        place = ": ".join(part for part in (where, record, field) if part)
        super().__init__(f"{place}: {reason}" if place else reason)
        self.reason, self.where, self.record, self.field = reason, where, record, field


class UnsafeName(HordeModelReferenceError, ValueError):
    """A model, category or file name that this package refuses to use; `reason` says which character or part."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name!r}: {reason}")
        self.name, self.reason = name, reason


class SettingsInvalid(HordeModelReferenceError, ValueError):
    """One or more settings cannot be used; `problems` lists (environment variable, reason)."""

    def __init__(self, problems: tuple[tuple[str, str], ...]) -> None:
        super().__init__("\n".join(f"{name}: {reason}" for name, reason in problems))
        self.problems = problems


class ConfigurationLocked(HordeModelReferenceError, RuntimeError):
    """A second construction of the manager asked for another value of `parameter` than the one in force."""

    def __init__(self, parameter: str, in_force: object, asked: object) -> None:
        text = f"ModelReferenceManager exists already with {parameter}={in_force!r}; {asked!r} was asked for. "
        super().__init__(text + "Use ModelReferenceManager.get_instance(), or reset() first.")
        self.parameter, self.in_force, self.asked = parameter, in_force, asked


class SourceUnavailable(HordeModelReferenceError):
    """One source did not answer, or its answer could not be used; another may still. `absent`: nothing is wrong with
    it, it has none of what was asked for. `retry_after`: in how many seconds asking may help, where somebody said."""

    def __init__(self, source: str, reason: str, *, absent: bool = False, retry_after: float | None = None) -> None:
        super().__init__(f"{source}: {reason}")
        self.source, self.reason, self.absent, self.retry_after = source, reason, absent, retry_after

    @classmethod
    def after(cls, refusals: list[SourceUnavailable]) -> SourceUnavailable:
        """All of several sources refused: one error with each reason, leaving out who merely has none, if it can."""
        told = [r for r in refusals if not r.absent] or refusals
        soonest = min((r.retry_after for r in told if r.retry_after is not None), default=None)
        sources, texts = dict.fromkeys(r.source for r in told), dict.fromkeys(map(str, told))
        both = cls(", ".join(sources), "; ".join(texts), absent=told[0].absent, retry_after=soonest)
        both.args = (both.reason,)
        return both


class RevisionUnknown(HordeModelReferenceError, LookupError):
    """The revision asked for is not in the store; it holds 0 to `newest`."""

    def __init__(self, revision: int, newest: int) -> None:
        super().__init__(f"revision {revision} is not known; the newest is {newest}")
        self.revision, self.newest = revision, newest


class ChangeNotFound(HordeModelReferenceError, LookupError):
    """No change of that number is in the queue."""

    def __init__(self, change_id: int) -> None:
        super().__init__(f"Pending change {change_id} not found")
        self.change_id = change_id


class ModelExists(HordeModelReferenceError, ValueError):
    """The category has a model of that name already."""

    def __init__(self, name: str, category: str) -> None:
        super().__init__(f"Model {name} exists in category {category} already; propose an update of it.")
        self.name, self.category = name, category


class ChangeRefused(HordeModelReferenceError, ValueError):
    """What was asked for does not go with the change as it is; `allowed` is what does."""

    def __init__(self, change_id: int, reason: str, allowed: tuple[str, ...] = ()) -> None:
        hint = f"; allowed now: {', '.join(allowed)}" if allowed else ""
        super().__init__(f"change {change_id} {reason}{hint}")
        self.change_id, self.reason, self.allowed = change_id, reason, allowed


class ChangeOutdated(HordeModelReferenceError):
    """The record is not what the change was made against. `difference` is what became of it since, as JSON."""

    def __init__(self, change_id: int, base: int, actual: int, difference: tuple[object, ...] = ()) -> None:
        moved = f"was made against revision {base} of the record, which is at {actual} now"
        super().__init__(f"change {change_id} {moved}: rebase, reject or withdraw it")
        self.change_id, self.base, self.actual, self.difference = change_id, base, actual, difference


class NotAllowed(HordeModelReferenceError, PermissionError):
    """The user is known and may not do that."""


class UsersUnavailable(HordeModelReferenceError):
    """The AI Horde did not say whose key it is; `retry_after` is in how many seconds asking again may help."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.retry_after = reason, retry_after


class MissingExtra(HordeModelReferenceError, ImportError):
    """A feature was asked for whose packages are an extra that is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs more packages: pip install 'horde_model_reference[{extra}]'")
        self.feature, self.extra = feature, extra


class StoreError(HordeModelReferenceError):
    """The database could not do what was asked; nothing was changed."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}")
        self.url, self.reason = url, reason


class StoreUnavailable(StoreError):
    """Locked, unreachable, read-only or out of space: the data is as it was, and trying again may work."""


class StoreCorrupt(StoreError):
    """The file is no database, or its content contradicts itself (see `verify`)."""


class StoreTooNew(StoreError):
    """A later version of this package wrote the database; this one does not touch it."""


class WriteConflict(StoreError):
    """The record is at another revision than the one the change was made against."""

    def __init__(self, url: str, category: str, name: str, expected: int | None, actual: int | None) -> None:
        super().__init__(url, f"{category}/{name} is at revision {actual}, the change was made against {expected}")
        self.category, self.name, self.expected, self.actual = category, name, expected, actual
