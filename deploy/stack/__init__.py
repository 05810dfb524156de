"""Starts what docker-compose.yml describes, without Docker: `make stack`.

Commands, environment, order, health checks and replicas are read from the compose file, and the
configuration of nginx and Prometheus from the files that it mounts, so that what is tried here is
what is deployed. Servers come from Debian's packages. Everything lives under var/stack; Ctrl-C
stops it all.
"""

from deploy.stack.life import Stack
from deploy.stack.process import ROOT, StackError
from deploy.stack.programs import missing

__all__ = ["ROOT", "Stack", "StackError", "missing"]
