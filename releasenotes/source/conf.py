# SPDX-License-Identifier: Apache-2.0
"""How Sphinx builds the release notes."""

extensions = [
    'openstackdocstheme',
    'reno.sphinxext',
]

project = 'nova-blockcopy release notes'
copyright = 'nova-blockcopy developers'

# release notes are of all versions
version = ''
release = ''

html_theme = 'openstackdocs'
html_theme_options = {
    'display_badge': False,
    'show_other_versions': False,
}
openstackdocs_auto_name = False
openstackdocs_auto_version = False
openstackdocs_pdf_link = False
