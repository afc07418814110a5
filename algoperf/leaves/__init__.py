"""States to arrays and JSON, and back, exactly: what checkpoints are made of.

A state is a tree of Python objects. `Writer` takes it apart: arrays by path, and a
structure in JSON that says what is where. `Reader` puts it together again. Where a
template (the state that `init_optimizer_state` has just made) has an object of the same
kind in the same place, that very object is filled; where the state has changed its
structure since, objects are made anew from what the structure records. Backends derive
both classes to add arrays of their frameworks.

| object | saved as |
| --- | --- |
| None, bool, int, float, str, bytes, complex, enum members, ranges, dates, paths | value |
| list, tuple, namedtuple, dict, set, deque, their relatives and subclasses | members in order |
| dataclasses and all other objects of classes written in Python | attributes |
| NumPy arrays and scalars; generators of Python and NumPy | array; state |
| modules, classes, functions that can be imported | name |
| functions within functions, lambdas, bound methods, partials | code by name, what they hold |
| an object that occurs again, also within itself | reference |
| loggers, locks, objects of the benchmark | nothing: the template has them |
| anything else: open files, iterators, threads … | refused with path and type |

Nothing of a submission runs when a state is taken apart: no `__reduce__`, no
`state_dict`, no property. Putting it together makes objects without `__init__`. Classes
and functions are looked up by name, never unpickled.
"""

from algoperf.leaves.differences import Leaves, differences
from algoperf.leaves.nodes import MISSING, Node, join
from algoperf.leaves.reader import Reader
from algoperf.leaves.writer import Writer

__all__ = ["Leaves", "MISSING", "Node", "Reader", "Writer", "differences", "join"]
