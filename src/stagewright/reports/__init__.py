# SPDX-License-Identifier: Apache-2.0
"""What people see: tables for the terminal and a page for the browser.

``view`` reads the documents, ``words`` says in plain words what they state, ``terminal`` and ``page``
draw; neither draws anything that the other two did not provide.
"""
