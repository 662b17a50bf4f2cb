"""Change the parameters of a request as `overrides` configures. Otherwise calls are forwarded unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from proxy.config.overrides import Override
from proxy.cooperative import Cooperative
from proxy.errors import BadRequest
from proxy.inference.request.body import Bytes, joined_in_steps
from proxy.inference.request.json_body import JsonBody
from proxy.inference.request.json_outline import Outline
from proxy.patterns import Matcher, matcher

_SELECTS_OTHERS = (
    "The request cannot be sent to the provider: with the parameters that the proxy's configuration changes for this "
    "model, it would select another model or refer to stored state."
)


class Member(Struct, frozen=True):
    """A member of a JSON object, with its bytes."""

    name: str
    separator: Bytes
    """What is between the previous member, or the start, and the name."""
    key: Bytes
    """The name as in the body, in quotes."""
    colon: Bytes
    value: Bytes


class ParamOverrides:
    """The `overrides` of one provider that change parameters."""

    def __init__(self, overrides: Iterable[Override]) -> None:
        self._overrides: Sequence[tuple[Matcher, Override, Mapping[str, bytes]]] = [
            (
                matcher(given.match),
                given,
                {name: msgspec.json.encode(given.set_params[name]) for name in given.set_params},
            )
            for given in overrides
            if given.changes_params
        ]

    def __bool__(self) -> bool:
        return bool(self._overrides)

    def applied(self, body: bytes, own_id: str) -> Cooperative[bytes]:
        """Return a JSON object with the changes for a model, by the provider's id, in the order of the file.

        All other bytes stay. Raises BadRequest if a field of the body is duplicate, or if the changed body selects
        a model that this one does not, or refers to stored state.
        """
        matching = [(given, values) for matches, given, values in self._overrides if matches(own_id)]
        if not matching:
            return body
        try:
            members, end = yield from _members(body)
        except ValueError as error:
            raise BadRequest(f"The request body {error}.") from error
        head = members[0].separator
        for given, values in matching:
            members = _set(_dropped(_renamed(members, given.rename_params), given.drop_params), values)
        first, *others = members  # `model` at least
        pieces = [piece for member in others for piece in (member.separator, member.key, member.colon, member.value)]
        changed = yield from joined_in_steps((head, first.key, first.colon, first.value, *pieces, end))
        if changed != body:
            before = yield from JsonBody.read(body)
            after = yield from JsonBody.read(changed)
            _check(before, after)
        return changed


def _check(before: JsonBody, after: JsonBody) -> None:
    """Raises BadRequest: the guards and the access rules apply to what is sent."""
    if not set(after.models) <= set(before.models) or not after.references <= before.references:
        raise BadRequest(_SELECTS_OTHERS)


def _members(body: bytes) -> Cooperative[tuple[list[Member], Bytes]]:
    """Return the members of a JSON object, and what is after the last one. Raises ValueError."""
    outline = Outline(body)
    yield from outline.read()
    members = []
    view, last = memoryview(body), 0
    for name, name_start, name_end, start, end in (yield from outline.members(outline.start)):
        members.append(
            Member(name, view[last:name_start], view[name_start:name_end], view[name_end:start], view[start:end])
        )
        last = end
    return members, view[last:]


def _renamed(members: Sequence[Member], names: Mapping[str, str]) -> list[Member]:
    """Rename members. One whose new name another member has is dropped: the caller has set it under that name."""
    taken = {member.name for member in members if member.name not in names}
    renamed = []
    for member in members:
        name = names.get(member.name, member.name)
        if name == member.name:
            renamed.append(member)
        elif name not in taken:
            taken.add(name)
            renamed.append(msgspec.structs.replace(member, name=name, key=msgspec.json.encode(name)))
    return renamed


def _dropped(members: Sequence[Member], names: Iterable[str]) -> list[Member]:
    return [member for member in members if member.name not in names]


def _set(members: Sequence[Member], values: Mapping[str, bytes]) -> list[Member]:
    """Replace the values of members, and add those that are missing at the end."""
    present = {member.name for member in members}
    replaced = [msgspec.structs.replace(each, value=values.get(each.name, each.value)) for each in members]
    added = [
        Member(name, b",", msgspec.json.encode(name), b":", value)
        for name, value in values.items()
        if name not in present
    ]
    return replaced + added
