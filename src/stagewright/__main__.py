# SPDX-License-Identifier: Apache-2.0
"""``python -m stagewright`` is the command ``stagewright``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
