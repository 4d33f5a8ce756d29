"""What can be set, and where do values come from?"""

from spectranet.config.schema import *  # noqa: F403
from spectranet.config.schema import __all__ as __all__
