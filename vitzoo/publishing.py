"""Where this function stood in 0.1; it is in `vitzoo.publish.push`."""

from vitzoo.publish.push import prepare

__all__ = ["prepare"]
