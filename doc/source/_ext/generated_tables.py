# SPDX-License-Identifier: Apache-2.0
"""Tables that are generated from the code while the pages are built.

* ``state-table``: the states, their meaning, and the states that may follow
* ``operation-table``: the messages that a destination answers
* ``metric-table`` of a list of metrics: name, type, labels and meaning
* ``value-table`` of a module and an enumeration: the values and their meaning
* ``field-table`` of a module and a dataclass: the fields and their meaning
* ``alert-table`` of a file: the alerts, their meaning, and what to do
* ``module-tables`` of a package: a table for the package and one for each
  package below, with the purpose of each module

The build fails if a state, an operation or a module has no documentation.
"""

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import pathlib
import re
from collections.abc import Iterable
from typing import Any
from collections.abc import Iterator

import yaml
from docutils import nodes
from docutils import statemachine
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

from nova_blockcopy import states
from nova_blockcopy.metrics import catalogue
from nova_blockcopy.migration.destination import dispatcher
from nova_blockcopy.migration.destination import operations


class Table(SphinxDirective):
    """A table whose cells are reStructuredText."""

    header: tuple[str, ...]
    widths: str

    def run(self) -> list[nodes.Node]:
        return self.parsed(self.lines(self.rows()))

    def lines(self, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
        yield '.. list-table::'
        yield '   :header-rows: 1'
        yield f'   :widths: {self.widths}'
        yield ''
        for row in (self.header, *rows):
            for number, cell in enumerate(row):
                mark = '* -' if number == 0 else '  -'
                yield f'   {mark} {cell}'

    def parsed(self, lines: Iterable[str]) -> list[nodes.Node]:
        content = statemachine.StringList(
            list(lines), source=self.get_location()
        )
        parent = nodes.Element()
        self.state.nested_parse(content, self.content_offset, parent)
        return parent.children

    def rows(self) -> Iterable[tuple[str, ...]]:
        raise NotImplementedError

    def depend_on(self, path: str | None) -> None:
        if path is not None:
            self.env.note_dependency(path)


class StateTable(Table):
    header = ('State', 'Meaning', 'May be followed by', 'Can be undone')
    widths = '12 46 26 16'

    def rows(self) -> Iterable[tuple[str, ...]]:
        self.depend_on(states.__file__)
        analyzer = ModuleAnalyzer.for_module(states.__name__)
        documented = analyzer.find_attr_docs()
        for state in states.State:
            doc = documented[(states.State.__name__, state.name)]
            following = [
                f'``{new}``'
                for new in states.State
                if (state, new) in states.ALLOWED
            ]
            yield (
                f'``{state}``',
                ' '.join(doc).strip(),
                ', '.join(following) or 'nothing',
                _undo(state),
            )


class MetricTable(Table):
    header = ('Metric', 'Type', 'Labels', 'Meaning')
    widths = '40 10 20 30'
    required_arguments = 1

    def rows(self) -> Iterable[tuple[str, ...]]:
        self.depend_on(catalogue.__file__)
        for metric in getattr(catalogue, self.arguments[0]):
            yield (
                f'``{metric.name}``',
                metric.kind,
                ', '.join(f'``{label}``' for label in metric.labels),
                metric.help,
            )


class MemberTable(Table):
    """The members of a class, each with the comment above it."""

    widths = '20 80'
    required_arguments = 2

    def members(self, of: Any) -> Iterable[tuple[str, str]]:
        """Return the name of each member, and the text for its row."""
        raise NotImplementedError

    def rows(self) -> Iterable[tuple[str, ...]]:
        module, name = self.arguments
        found = importlib.import_module(module)
        self.depend_on(found.__file__)
        documented = ModuleAnalyzer.for_module(module).find_attr_docs()
        for member, shown in self.members(getattr(found, name)):
            doc = documented[name, member]
            yield f'``{shown}``', ' '.join(doc).strip()


class ValueTable(MemberTable):
    header = ('Value', 'Meaning')

    def members(self, of: Any) -> Iterable[tuple[str, str]]:
        return [(value.name, str(value)) for value in of]


class FieldTable(MemberTable):
    header = ('Field', 'Meaning')

    def members(self, of: Any) -> Iterable[tuple[str, str]]:
        return [(each.name, each.name) for each in dataclasses.fields(of)]


class AlertTable(Table):
    header = ('Alert', 'Severity', 'Meaning', 'What to do')
    widths = '28 10 28 34'
    required_arguments = 1

    def rows(self) -> Iterable[tuple[str, ...]]:
        path = pathlib.Path(self.env.relfn2path(self.arguments[0])[1])
        self.depend_on(str(path))
        (group,) = yaml.safe_load(path.read_text(encoding='utf-8'))['groups']
        for rule in group['rules']:
            texts = rule['annotations']
            yield (
                f'``{rule["alert"]}``',
                rule['labels']['severity'],
                _placeholders(texts['summary']),
                _placeholders(texts['action']),
            )


class OperationTable(Table):
    header = ('Operation', 'Values', 'Act of the destination')
    widths = '16 30 54'

    def rows(self) -> Iterable[tuple[str, ...]]:
        self.depend_on(operations.__file__)
        self.depend_on(dispatcher.__file__)
        methods = [
            (name, method)
            for name, method in vars(operations.Operations).items()
            if name in dispatcher.OPERATIONS
        ]
        if len(methods) != len(dispatcher.OPERATIONS):
            raise self.error('an operation is no method of Operations')
        for name, method in methods:
            values = list(inspect.signature(method).parameters)[1:]
            yield (
                f'``{name}``',
                ', '.join(f'``{value}``' for value in values) or 'none',
                _summary(inspect.getdoc(method), name),
            )


class ModuleTables(Table):
    header = ('Module', 'Purpose')
    widths = '20 80'
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise self.error(f'{name} is no package')
        (folder,) = map(pathlib.Path, spec.submodule_search_locations)
        lines: list[str] = []
        for path in sorted(folder.rglob('__init__.py')):
            below = path.parent.relative_to(folder).parts
            rows = list(self.modules(path.parent))
            # the tests are not a part of the product
            if rows and 'tests' not in below:
                lines += [f'.. rubric:: ``{".".join((name, *below))}``', '']
                lines += [*self.lines(rows), '']
        return self.parsed(lines)

    def modules(self, folder: pathlib.Path) -> Iterator[tuple[str, ...]]:
        for path in sorted(folder.glob('*.py')):
            self.depend_on(str(path))
            if path.stem != '__init__':
                module = ast.parse(path.read_text(encoding='utf-8'))
                yield (
                    f'``{path.stem}``',
                    _summary(ast.get_docstring(module), str(path)),
                )


def _undo(state: states.State) -> str:
    """Whether a migration in a state can be undone, in words."""
    if state in states.REVERSIBLE:
        return 'yes'
    if states.can_undo(state):
        return 'while no disk has pivoted'
    return 'no'


def _placeholders(text: str) -> str:
    """Put words in place of the labels in the text of an alert."""
    text = text.replace('{{ $labels.instance_uuid }}', 'UUID')
    text = text.replace('{{ $labels.instance }}', 'HOST')
    named = re.sub(
        r'{{ \$labels\.(\w+) }}', lambda found: found[1].upper(), text
    )
    return re.sub(r'"([^"]+)"', r'``\1``', named)


def _summary(doc: str | None, of: str) -> str:
    """The first paragraph of a docstring, in one line."""
    if not doc:
        raise ValueError(f'{of} has no docstring')
    return ' '.join(doc.split('\n\n')[0].split())


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive('state-table', StateTable)
    app.add_directive('operation-table', OperationTable)
    app.add_directive('metric-table', MetricTable)
    app.add_directive('value-table', ValueTable)
    app.add_directive('field-table', FieldTable)
    app.add_directive('alert-table', AlertTable)
    app.add_directive('module-tables', ModuleTables)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
