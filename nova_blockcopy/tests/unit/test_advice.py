# SPDX-License-Identifier: Apache-2.0
"""Each error says what is wrong, where, and what to do.

* What is wrong: the message has more than values.
* Where: the message names a host, a guest, a path or another place.
* What to do: a sentence, or a part of one, begins with an order, such as
  "Set" or "check".

A class whose message is only completed by its reason passes this on: then
each place in the code that raises the error must give a reason with an order.
A reason that is another error of the tree has one, because that error has.
"""

import ast
import functools
import inspect
import pathlib
import re

import ddt

import nova_blockcopy
from nova_blockcopy import exception
from nova_blockcopy.tests.unit import base

_PACKAGE = pathlib.Path(nova_blockcopy.__file__).parent
_ORDERS = (
    'abort add attach begin build change check choose compare convert copy '
    'correct create define delete detach do end find give have increase '
    'install keep let look make migrate move name open put raise remove '
    'rename renew repair report resize restart run see set settle shut '
    'start undefine upgrade use wait wake widen write'
).split()
#: An order at the begin of a sentence or of a part of one.
_ORDER = re.compile(
    r'(?:^|[.!?] |[;:] |, (?:or|and) |, |^<x> )(?:then |do not )?'
    rf'(?:{"|".join(_ORDERS)})\b',
    re.IGNORECASE,
)
_KEYWORD = re.compile(r'%\((\w+)\)s')
_PLACES = {
    *('command', 'directory', 'disk', 'guest', 'home', 'host', 'instance'),
    *('name', 'operation', 'option', 'path', 'pid', 'section', 'uri'),
}
#: Nothing is to be done: a person has wanted this.
_WANTED = {exception.Aborted, exception.Declined}
#: Have no message of their own, or one that is about no place.
_NOWHERE = {
    exception.BlockCopyError,
    exception.Refused,
    exception.Declined,
    exception.DeltasTooLarge,  # the source decides
    exception.InvalidTransition,  # a fault of this code
    exception.NoEngine,  # it says "this host"
    exception.TooLate,  # the reason names the disk
    exception.XMLError,
}
#: Reasons that are no literals, by class and expression, with the module and
#: the functions that make them.
_MADE_ELSEWHERE = {
    ('BaseRefused', 'reason'): ('plan', '_unusable|_wrong_.*'),
    ('CertificateUnusable', 'reason'): ('certificate', 'fault'),
    ('DestinationUnreachable', 'fault'): ('host/reach', 'fault'),
    ('DestinationUnreachable', 'reason'): ('host/reach', 'fault'),
    ('DiskRefused', "f'{reason}.'"): ('plan', '_check_movable|_unexport.*'),
    ('ExportsRefused', "f'{fault}.'"): (
        'migration/destination/claims',
        'place_fault',
    ),
    ('GuestBusy', 'reason'): ('migration/source/disturbance', 'busy'),
    ('GuestUnfit', 'reason'): ('host/fitness', '_.*'),
    ('ImageError', 'reason'): ('host/visibility', 'blind_spot'),
    ('InvalidOption', 'fault'): ('conf/rules', '_fault_.*'),
    ('NoRoom', '_said(system.free, wanted)'): (
        'migration/reservations',
        '_said',
    ),
    ('SourceRebooted', 'remedy'): ('migration/source/recovery', '_bring_over'),
    ('SourceUnreachable', 'reason'): ('host/reach', 'fault'),
    ('Unsafe', 'found.refusal'): ('cli/verdict', '_why_.*'),
    ('UnsafeDirectory', 'reason'): ('host/directories', 'unusable|refusal'),
    ('UsersUnseen', 'reason'): ('host/visibility', 'blind_spot'),
}
#: End an operation of Nova with a reason.
_STOP_NOVA = ('MigrationError', 'refusal', 'failure')
#: More functions that make reasons.
_ALSO_MADE = {
    ('migration/source/disturbance', '_reasons|_changed|_other_disks'),
    ('migration/source/reboot', 'check'),
    ('obstacle', 'of'),
}
#: An error of the tree, as a reason.
_OTHER_ERROR = {
    ('BaseRefused', 'e'),
    ('CannotFreeze', 'e'),
    ('DiskRefused', 'e'),
    ('ExportError', 'e'),
    ('GuestEnded', 'error'),
    ('MigrationUndone', 'error'),
    ('SeedFailed', 'e'),
    ('Unsettled', 'reason'),
}

TREE = [
    kind
    for _name, kind in inspect.getmembers(exception, inspect.isclass)
    if issubclass(kind, exception.BlockCopyError)
]


def orders(text):
    return _ORDER.search(text) is not None


def example(kind, reason='something is odd.'):
    values = {word: f'<{word}>' for word in _KEYWORD.findall(kind.msg_fmt)}
    if 'reason' in values:
        values['reason'] = reason
    if 'remedy' in values:
        values['remedy'] = reason
    return str(kind(**values))


def _literal(node):
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return ''.join(_literal(value) or '<x>' for value in values)
        case ast.Attribute(attr='NO_IMAGE'):
            return 'it is no image.'
    return ''


def _called(node):
    """The name of the class that a call makes, also by ``partial``."""
    if isinstance(node.func, ast.Attribute) and node.func.attr == 'partial':
        (node, *_more) = node.args
        return node.attr if isinstance(node, ast.Attribute) else ''
    return getattr(node.func, 'attr', getattr(node.func, 'id', ''))


@functools.cache
def raised():
    """Where each class of the tree is made: place, expression, literal."""
    names = {kind.__name__ for kind in TREE}
    found: dict[str, list[tuple[str, str, str]]] = {}
    for path in sorted(_PACKAGE.rglob('*.py')):
        if 'tests' in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or _called(node) not in names:
                continue
            reasons = [
                word.value
                for word in node.keywords
                if word.arg in ('reason', 'remedy')
            ]
            where = f'{path.relative_to(_PACKAGE)}:{node.lineno}'
            for reason in reasons:
                found.setdefault(_called(node), []).append(
                    (where, ast.unparse(reason), _literal(reason))
                )
    return found


def _sentences(module, functions):
    """The sentences that functions return, yield or hand on as a reason."""
    tree = ast.parse((_PACKAGE / f'{module}.py').read_text())
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and re.fullmatch(
            functions, function.name
        ):
            for node in ast.walk(function):
                values: list[ast.expr | None] = []
                match node:
                    case ast.Return(value=value) | ast.Yield(value=value):
                        values = [value]
                    case ast.Assign(targets=[ast.Name(id='reason')]):
                        values = [node.value]
                    case ast.Call() if _called(node) == 'failure':
                        values = [*node.args]
                # one word, or a name, is no sentence
                yield from (
                    literal
                    for literal in map(_literal, values)
                    if literal.count(' ') > 2
                )


@ddt.ddt
class TestAdvice(base.TestCase):
    def test_an_order_is_recognised(self):
        for text in (
            'it is full. Make room.',
            'it is full; set another one',
            'it is full. Then: wait, or set another one.',
        ):
            self.assertTrue(orders(text), text)
        for text in (
            'it cannot be used',
            'libvirt did not set the name. It is too late.',
            'the user is not allowed to check it.',
        ):
            self.assertFalse(orders(text), text)

    @ddt.data(*TREE)
    def test_it_says_what_to_do(self, kind):
        if kind in _WANTED or orders(example(kind)):
            return
        self.assertRegex(kind.msg_fmt, r'%\((reason|remedy)\)s\.?$')
        for where, expression, literal in raised().get(kind.__name__, ()):
            known = (kind.__name__, expression)
            if known in _OTHER_ERROR or known in _MADE_ELSEWHERE:
                continue
            self.assertTrue(orders(literal), f'{where}: {literal}')

    @ddt.data(*TREE)
    def test_it_says_where(self, kind):
        words = set(_KEYWORD.findall(kind.msg_fmt))
        self.assertTrue(kind in _NOWHERE or words & _PLACES, kind.msg_fmt)

    @ddt.data(*TREE)
    def test_it_says_what_is_wrong(self, kind):
        own = _KEYWORD.sub('', kind.msg_fmt)
        if kind not in (exception.BlockCopyError, exception.Refused):
            self.assertGreater(len(re.findall(r'[a-z]{2,}', own)), 0)

    def test_what_nova_shows_says_what_to_do(self):
        """The reasons with which the driver stops Nova."""
        told = [
            (path.name, literal)
            for path in sorted((_PACKAGE / 'nova').glob('*.py'))
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and _called(node) in _STOP_NOVA
            for value in (*node.args, *(word.value for word in node.keywords))
            # one value alone is the message of an error of the tree
            for literal in [_literal(value)]
            if literal.count(' ') > 2
        ]
        self.assertGreater(len(told), 10)
        for place, text in told:
            # so is a value at the end
            self.assertTrue(
                orders(text) or text.endswith('<x>'), f'{place}: {text}'
            )

    @ddt.data(*sorted({*_MADE_ELSEWHERE.values(), *_ALSO_MADE}))
    @ddt.unpack
    def test_each_reason_that_a_function_makes(self, module, functions):
        told = list(_sentences(module, functions))
        self.assertNotEqual([], told)
        for text in told:
            # the rest is the reason of another function
            self.assertTrue(orders(text) or text.endswith('<x>'), text)
