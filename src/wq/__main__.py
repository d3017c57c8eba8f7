"""`python -m wq`."""

import sys

from wq.cli.main import main

sys.exit(main())
