"""The values in a pickle, read without running it: nothing that a pickle names is imported or called.

A pickle is a program for a stack machine. `read_pickle` has the instructions that plain values need. What the program
names is a `Global`, an object that it would make is a `StandIn`, and a few functions, such as those that rebuild
tensors, are replaced by functions of our own.
"""

import pickletools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from models.safe_load.limits import DAMAGE, MAX_NAME, check_extent, check_name

MAX_STEPS = 1_000_000  # instructions of one pickle; most have some thousands
MAX_COPIED = 1_000_000  # values that are copied, as where a list is made a set; of a text, each 32 characters are one
MAX_BITS = 512  # of an integer; states of random generators have 128
MAX_KEY = 32  # parts of a tuple that is a key
_TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_VALUES = frozenset((*_TEXTS, *_BYTES, *_NUMBERS))
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class Global:
    """The name of a class or function in a pickle."""

    name: str


class StandIn:
    """Replaces an object of a file whose class must not be run; it only holds what the file gives it.

    Attributes:
        kind: Name of the class.
        values: What the class would be called with.
        attributes: Its state, by name; under `state` if that has no names.
        items: What the file appends to it, if its class is a list.
    """

    __slots__ = ("attributes", "items", "kind", "values")

    def __init__(self, kind: str, values: tuple[Any, ...]) -> None:
        self.kind, self.values = kind, values
        self.attributes: dict[str, Any] = {}
        self.items: list[Any] = []

    def keep(self, state: Any) -> None:
        """Keep what the file would give the object as its state."""
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):  # with __slots__
            state = (state[0] if isinstance(state[0], dict) else {}) | state[1]
        named = state if isinstance(state, dict) else {"state": state}
        self.attributes.update((key, value) for key, value in named.items() if isinstance(key, str))


@dataclass(frozen=True)
class Rules:
    """What a pickle may name, and what is done in place of it.

    Attributes:
        allowed: Whether a stand-in may be made of a name. Other names are reported.
        functions: By name, our function in place of the one of the file.
        stored: Makes the value of a persistent id.
    """

    allowed: Callable[[str], bool]
    functions: Mapping[str, Callable[..., Any]]
    stored: Callable[[Any], Any]


def read_pickle(stream: BinaryIO, rules: Rules) -> tuple[Any, list[str], list[str]]:
    """Return the value of the pickle at the stream's position, all names in it, and those that are not allowed.

    Raises ValueError (or another of limits.DAMAGE) if it is damaged, or larger than any real one.

    >>> import io, pickle
    >>> rules = Rules(lambda name: False, {}, stored=lambda key: None)
    >>> read_pickle(io.BytesIO(pickle.dumps({"a": [1, 2.5, None]})), rules)
    ({'a': [1, 2.5, None]}, [], [])
    >>> value, names, refused = read_pickle(io.BytesIO(pickle.dumps(print)), rules)
    >>> value, refused
    (Global(name='builtins.print'), ['builtins.print'])
    """
    machine, value = _Machine(rules), None
    try:
        for steps, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if steps > MAX_STEPS:
                raise ValueError(f"it has more than {MAX_STEPS:,} values")
            machine.step(opcode.name, argument)
        (value,) = machine.stack
        check_extent(value, _parts)
    except DAMAGE:
        if not machine.refused:  # a pickle with code is said to be one, whatever follows the code
            raise
    return value, machine.names, machine.refused


class _Machine:
    def __init__(self, rules: Rules) -> None:
        self.rules, self.functions = rules, rules.functions
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.names: list[str] = []
        self.refused: list[str] = []
        self.copied = 0

    def step(self, name: str, argument: Any) -> None:
        """Do one instruction."""
        if name in _VALUES:
            self.stack.append(_checked(argument))
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in _TUPLES:
            self.stack.append(tuple(self._take(_TUPLES[name])))
        elif name in ("GLOBAL", "INST"):
            self._name(*argument.split(" ", 1))
            if name == "INST":
                kind = self.stack.pop()
                self.stack.append(self._made(kind, self._marked()))
        elif (method := getattr(self, f"_do_{name.lower()}", None)) is not None:
            method()
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise ValueError(f"it has the instruction {name}, which tensors and plain values do not need")

    def _take(self, count: int) -> list[Any]:
        """Return the last values of the stack, taken off it."""
        if count > len(self.stack):
            raise ValueError("it takes more values than it has")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def _marked(self) -> list[Any]:
        return self._take(max(len(self.stack) - self.marks.pop(), 0))

    def _copy(self, values: Iterable[Any]) -> None:
        """Count what is copied, because an instruction can do that again and again with a value from before."""
        for value in values:
            if isinstance(value, str | bytes | list | tuple | dict | set | frozenset):
                self.copied += len(value) // 32 if isinstance(value, str | bytes) else len(value)
        if self.copied > MAX_COPIED:
            raise ValueError("it copies its values again and again")

    def _name(self, module: Any, name: Any) -> None:
        full = f"{check_name(module)}.{check_name(name)}"
        self.names.append(full)
        if full not in self.functions and not self.rules.allowed(full):
            self.refused.append(full)
        self.stack.append(Global(full))

    def _made(self, kind: Any, arguments: Any) -> Any:
        """Return what stands for an object that the file would make."""
        if not isinstance(kind, Global) or not isinstance(arguments, tuple | list):
            raise ValueError("it makes an object of something that is no class")
        self._copy((arguments, *arguments))
        make = self.functions.get(kind.name)
        return make(*arguments) if make is not None else StandIn(kind.name, tuple(arguments))

    def _keep(self, target: StandIn, state: Any) -> None:
        self._copy((state, *state) if isinstance(state, tuple) else (state,))
        target.keep(state)

    def _do_mark(self) -> None:
        self.marks.append(len(self.stack))

    def _do_pop(self) -> None:
        self.stack.pop()

    def _do_pop_mark(self) -> None:
        self._marked()

    def _do_dup(self) -> None:
        self.stack.append(self.stack[-1])

    def _do_memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _do_empty_list(self) -> None:
        self.stack.append([])

    def _do_empty_dict(self) -> None:
        self.stack.append({})

    def _do_empty_set(self) -> None:
        self.stack.append(set())

    def _do_list(self) -> None:
        self.stack.append(self._marked())

    def _do_tuple(self) -> None:
        self.stack.append(tuple(self._marked()))

    def _do_dict(self) -> None:
        items = self._marked()
        self.stack.append({})
        self._set_items(items)

    def _do_frozenset(self) -> None:
        self.stack.append(frozenset(map(check_key, self._marked())))

    def _do_append(self) -> None:
        self._append(self._take(1))

    def _do_appends(self) -> None:
        self._append(self._marked())

    def _append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        target = target.items if isinstance(target, StandIn) else target
        if not isinstance(target, list):
            raise ValueError(f"it appends to a {type(target).__name__}")
        target.extend(items)

    def _do_setitem(self) -> None:
        self._set_items(self._take(2))

    def _do_setitems(self) -> None:
        self._set_items(self._marked())

    def _set_items(self, items: list[Any]) -> None:
        pairs = {check_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}
        target = self.stack[-1]
        if isinstance(target, StandIn):  # of a class that is a dictionary
            self._keep(target, pairs)
        elif isinstance(target, dict):
            target.update(pairs)
        else:
            raise ValueError(f"it sets items of a {type(target).__name__}")

    def _do_additems(self) -> None:
        items = self._marked()
        if not isinstance(self.stack[-1], set):
            raise ValueError(f"it adds to a {type(self.stack[-1]).__name__}")
        self.stack[-1].update(map(check_key, items))

    def _do_stack_global(self) -> None:
        self._name(*self._take(2))

    def _do_reduce(self) -> None:
        self.stack.append(self._made(*self._take(2)))

    _do_newobj = _do_reduce

    def _do_newobj_ex(self) -> None:
        kind, arguments, named = self._take(3)
        made = self._made(kind, arguments)
        if named and not isinstance(made, StandIn):
            raise ValueError("it gives a plain value names")
        if named:
            self._keep(made, named)
        self.stack.append(made)

    def _do_obj(self) -> None:
        kind, *arguments = self._marked()
        self.stack.append(self._made(kind, arguments))

    def _do_build(self) -> None:
        (state,) = self._take(1)
        target = self.stack[-1]
        if isinstance(target, StandIn):
            self._keep(target, state)
        elif not isinstance(target, dict):  # the attributes of an ordered dictionary, such as _metadata, are left out
            raise ValueError(f"it changes a {type(target).__name__}")

    def _do_binpersid(self) -> None:
        (key,) = self._take(1)
        self.stack.append(self.rules.stored(key))


def check_key(key: Any) -> Any:
    """Return a key of a dictionary or a set; raises ValueError for what could take long to compare, or to print."""
    if isinstance(key, str):
        return check_name(key)
    if isinstance(key, int) and not -(2**63) <= key < 2**64:
        raise ValueError("it has a key of more than 64 bits")  # many of these can have the same hash
    if isinstance(key, tuple) and len(key) <= MAX_KEY and all(isinstance(p, str | int | float | None) for p in key):
        return tuple(map(check_key, key))
    if isinstance(key, bytes) and len(key) > MAX_NAME:
        raise ValueError(f"it has a key of {len(key)} bytes")
    if key is None or isinstance(key, int | float | bytes | Global | StandIn):
        return key
    raise ValueError(f"it has a {type(key).__name__} as a key")


def _checked(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ValueError(f"it has a number of more than {MAX_BITS} bits")
    return value


def _parts(value: Any) -> Iterable[Any] | None:
    """Return what a value is made of, or None for a value without parts."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple | set | frozenset):
        return value
    return (value.values, value.attributes, value.items) if isinstance(value, StandIn) else None
