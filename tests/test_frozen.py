"""``frozen.dataclass``: as the standard ``dataclass(frozen=True)``, made in less time."""

import copy
import dataclasses
import pickle
import time
from typing import ClassVar, Optional

import pytest

from runcommand import facts as facts_module
from runcommand.frozen import dataclass


@dataclass(frozen=True)
class Own:
    place: str
    number: int = 1
    note: Optional[str] = None
    LIMIT: ClassVar[int] = 9


@dataclasses.dataclass(frozen=True)
class Standard:
    place: str
    number: int = 1
    note: Optional[str] = None
    LIMIT: ClassVar[int] = 9


BOTH = pytest.mark.parametrize("cls", [Own, Standard])


@BOTH
def test_values_are_taken_by_place_and_by_name(cls):
    made = cls("here", note="x")
    assert (made.place, made.number, made.note, made.LIMIT) == ("here", 1, "x", 9)
    assert made == cls("here", 1, "x") and hash(made) == hash(cls(note="x", place="here"))
    assert made != cls("there", 1, "x") and made != ("here", 1, "x")
    assert repr(made) == f"{cls.__name__}(place='here', number=1, note='x')"


@BOTH
@pytest.mark.parametrize(
    "arguments",
    [
        ((), {}),
        (("a", 1, "b", "c"), {}),
        (("a",), {"place": "b"}),
        (("a",), {"colour": "blue"}),
        ((), {"colour": "blue"}),
        ((), {"number": 2}),
        (("a",), {"LIMIT": 2}),
    ],
    ids=["missing", "too-many", "twice", "unknown", "unknown-for-missing", "only-others", "class"],
)
def test_wrong_values_are_refused(cls, arguments):
    given, named = arguments
    with pytest.raises(TypeError):
        cls(*given, **named)


@BOTH
def test_nothing_can_be_changed(cls):
    made = cls("here")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.place = "there"
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.colour = "blue"
    with pytest.raises(dataclasses.FrozenInstanceError):
        del made.place
    assert made == cls("here")


@BOTH
def test_the_standard_functions_work_on_it(cls):
    made = cls("here", 2)
    assert dataclasses.is_dataclass(made)
    assert [field.name for field in dataclasses.fields(made)] == ["place", "number", "note"]
    assert dataclasses.replace(made, number=3) == cls("here", 3)
    assert dataclasses.asdict(made) == {"place": "here", "number": 2, "note": None}
    with pytest.raises(TypeError):
        dataclasses.replace(made, colour="blue")


@BOTH
def test_it_survives_a_copy(cls):
    made = cls("here", 2)
    assert copy.deepcopy(made) == made == pickle.loads(pickle.dumps(made))


@pytest.mark.parametrize("decorator", [dataclass, dataclasses.dataclass])
def test_a_class_of_one_field_of_none_and_of_a_base(decorator):
    @decorator(frozen=True)
    class Empty:
        pass

    @decorator(frozen=True)
    class One:
        """With a check of its own."""

        value: int

        def __post_init__(self):
            if self.value < 0:
                raise ValueError("less than none")

        def __repr__(self):
            return "its own"

    @decorator(frozen=True)
    class Two(One):
        other: int = 2

    assert Empty() == Empty() and One(1) == One(1) != One(2) and hash(One(1)) == hash(One(1))
    assert repr(One(1)) == "its own" and Two(1) == Two(1, 2) != One(1)
    assert repr(Two(1)).endswith("Two(value=1, other=2)")
    for cls in (One, Two):
        with pytest.raises(ValueError, match="less than none"):
            cls(-1)


def test_all_facts_are_made_so():
    """A class of the standard decorator among them costs a start as much as eight of these."""
    classes = [
        cls
        for cls in vars(facts_module).values()
        if isinstance(cls, type) and dataclasses.is_dataclass(cls)
    ]
    assert len(classes) > 30
    assert [cls for cls in classes if cls.__init__ is not Own.__init__] == []


def test_making_a_class_costs_a_fraction_of_the_standard_one():
    def seconds(decorator):
        began = time.process_time()
        for _ in range(50):
            names = {f"field{number}": "int" for number in range(10)}
            decorator(frozen=True)(type("Made", (), {"__annotations__": names}))
        return time.process_time() - began

    own = min(seconds(dataclass) for _ in range(3))
    standard = min(seconds(dataclasses.dataclass) for _ in range(3))
    assert own < standard / 3
