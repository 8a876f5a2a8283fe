"""From policies to the engine's form: plain numbers, absolute times, a block for each rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gatewayx.chaos.model import Delay, Fault, Policy, Rule, StringMatch


def compile_policy(policy: Policy, blocks: Sequence[int], applied_ms: int) -> dict[str, Any]:
    """What the engine reads of one policy; `blocks` has one for each rule."""
    selector = policy.spec.selector
    return {
        "name": policy.name,
        "service": selector.service,
        "namespace": selector.namespace,
        "rules": [
            _rule(rule, block, applied_ms)
            for rule, block in zip(policy.spec.rules, blocks, strict=True)
        ],
    }


def expires_ms(fault: Fault, applied_ms: int) -> int:
    """When a rule ends, in milliseconds since 1970; 0 for never."""
    return applied_ms + round(fault.duration_seconds * 1000) if fault.duration_seconds else 0


def _rule(rule: Rule, block: int, applied_ms: int) -> dict[str, Any]:
    fault, match = rule.fault, rule.match
    return {
        "block": block,
        "expires_unix_ms": expires_ms(fault, applied_ms),
        "method": _text(match.method),
        "path": _text(match.path),
        "headers": [[header.name, _text(header)] for header in match.headers],
        "percentage": float(fault.percentage),
        "sample_header": fault.sample_by.header if fault.sample_by else None,
        "seed": fault.seed,
        "max_active": fault.max_active_faults,
        "start_delay_ms": fault.start_delay_ms,
        "delay": _delay(fault.delay) if fault.delay else None,
        "abort": (
            {"status": fault.abort.httpStatus, "body": fault.abort.body} if fault.abort else None
        ),
        "reset": fault.reset,
        "truncate_after_bytes": fault.truncate.after_bytes if fault.truncate else None,
        "throttle_bytes_per_second": fault.throttle.bytes_per_second if fault.throttle else None,
    }


def _text(match: StringMatch | None) -> Mapping[str, str] | None:
    if match is None:
        return None
    given = {"exact": match.exact, "prefix": match.prefix, "regex": match.regex}
    return {kind: text for kind, text in given.items() if text is not None}


def _delay(delay: Delay) -> dict[str, Any]:
    if delay.distribution is None:
        return {"fixed": {"ms": delay.fixed_delay_ms}}
    parameters = delay.model_dump(exclude_none=True, exclude={"distribution"})
    return {delay.distribution: parameters}
