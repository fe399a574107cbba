"""`python -m lot_cli`: the `lot` command."""

import sys

from lot_cli.main import main

sys.exit(main())
