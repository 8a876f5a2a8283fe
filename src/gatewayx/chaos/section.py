"""What every mapping of a policy has in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

Finding = tuple[tuple[str | int, ...], str]
"""Where inside a section, and what is wrong there."""


class PolicySection(BaseModel):
    """A mapping of a policy: unknown keys are refused, values are not coerced.

    `findings` holds the rules between its values. They are told together with what is wrong with
    the values themselves, so that a person mends a policy in one go.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)

    @classmethod
    def findings(cls, data: Mapping[str, Any]) -> Iterator[Finding]:
        """What is wrong between the values of `data`, which need not be valid by themselves."""
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        found = list(cls.findings(data)) if isinstance(data, Mapping) else []
        errors: list[InitErrorDetails] = [
            InitErrorDetails(
                type=PydanticCustomError("policy", "{message}", {"message": message}),
                loc=location,
                input=data,
            )
            for location, message in found
        ]
        try:
            checked = handler(data)
        except ValidationError as error:
            errors += map(_again, error.errors(include_url=False))
        if errors:
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return checked


def _again(detail: ErrorDetails) -> InitErrorDetails:
    """An error of pydantic's as one that can be raised once more."""
    kind = PydanticCustomError(detail["type"], "{message}", {
        **detail.get("ctx", {}), "message": detail["msg"]
    })  # fmt: skip
    return InitErrorDetails(type=kind, loc=detail["loc"], input=detail["input"])
