# SPDX-License-Identifier: GPL-2.0-or-later
# Puts style, scripts and their licences into the page: @NAME@ in the template is the file NAME.
file(READ ${TEMPLATE} page)
foreach(part STYLE D3_SELECTION_LICENCE D3_SELECTION D3_HIERARCHY_LICENCE D3_HIERARCHY SCRIPT)
  file(READ ${${part}} text)
  string(REPLACE "@${part}@" "${text}" page "${page}")
endforeach()
file(WRITE ${PAGE} "${page}")
