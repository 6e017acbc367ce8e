# SPDX-License-Identifier: Apache-2.0
"""How Sphinx builds the documentation."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / '_ext'))

extensions = [
    'generated_tables',
    'message_tables',
    'state_diagram',
    'openstackdocstheme',
    'oslo_config.sphinxext',
    'reno.sphinxext',
    'sphinx.ext.autodoc',
    'sphinx.ext.graphviz',
]

project = 'nova-blockcopy'
copyright = 'nova-blockcopy developers'

html_theme = 'openstackdocs'
html_theme_options = {
    'display_badge': False,
    'show_other_versions': False,
}
html_static_path = ['_static']
html_css_files = ['tables.css']
openstackdocs_auto_name = False
openstackdocs_pdf_link = False

man_pages = [
    (
        'cli/nova-blockcopy',
        'nova-blockcopy',
        'show, steer and settle the migrations of a compute host',
        ['nova-blockcopy developers'],
        1,
    ),
    (
        'cli/nova-blockcopy-status',
        'nova-blockcopy-status',
        'check a compute host of nova-blockcopy',
        ['nova-blockcopy developers'],
        1,
    ),
]

autodoc_typehints = 'none'
add_module_names = False

graphviz_output_format = 'svg'
