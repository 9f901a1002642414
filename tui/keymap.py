"""Which keys do what, once an operator has given actions others. Pure.

1. An action is known by its name, the `id` of its binding.
2. No key does two things at one place. Which of them would win is nobody's guess, so it is refused.
"""

from collections.abc import Iterable, Mapping, Sequence

from textual.binding import Binding

from workrs.domain.errors import ConfigError


def keymap(asked: Iterable[tuple[str, str]], places: Sequence[Sequence[Binding]]) -> dict[str, str]:
    """Return the keys of each action that has others than at first, as Textual writes them.

    Args:
        asked: an action and its keys, with commas between them.
        places: what can be done at one time: on a list, on a page, in a dialog.

    Raises:
        ConfigError: there is no such action, or a key would do two things.
    """
    first = {each.id: _keys(each.key) for place in places for each in place if each.id}
    given: dict[str, tuple[str, ...]] = {}
    for action, text in asked:
        if action not in first:
            raise ConfigError(f"--key: there is no action {action!r}: {', '.join(sorted(first))}")
        given[action] = _keys(text)
        if not given[action]:
            raise ConfigError(f"--key: {action} has no key left")
    for place in places:
        _check({**first, **given}, [each.id for each in place if each.id])
    return {action: ",".join(keys) for action, keys in given.items()}


def _check(keys: Mapping[str, tuple[str, ...]], actions: Iterable[str]) -> None:
    owners: dict[str, str] = {}
    for action in actions:
        for key in keys[action]:
            owner = owners.setdefault(key, action)
            if owner != action:
                raise ConfigError(
                    f"--key: {key} would be {owner} and {action}: give one of them another key"
                )


def _keys(text: str) -> tuple[str, ...]:
    """Return keys by the names Textual hears them under: `!` is exclamation_mark."""
    given = [part.strip() for part in text.split(",") if part.strip()]
    return tuple(each.key for key in given for each in Binding.make_bindings([Binding(key, "_")]))
