"""What can go wrong in modeling; interfaces translate these into messages and status codes."""


class ModelingError(Exception):
    """Base class; the message is one sentence that a user can act on."""


class NoChampion(ModelingError):
    """No version serves yet."""


class ModelUnavailable(ModelingError):
    """The champion exists but cannot be loaded."""


class EngineOverloaded(ModelingError):
    """More texts wait than the engine accepts."""


class Conflict(ModelingError):
    """The request is right; the state of the models does not allow it now."""


class NotEnoughData(ModelingError):
    """Too few or too one-sided labels to train on."""


class TrainingInProgress(Conflict):
    """A run of this scheme is queued or running already."""


class BrokerAway(ModelingError):
    """No worker can be told of a run; the run is kept."""


class RegistryError(ModelingError):
    """The model registry refused or cannot be reached."""


class GateRefused(Conflict):
    """The gate says that a version is not good enough to serve; a person may override it."""


class ChampionDamaged(GateRefused):
    """The champion's files are damaged: nothing can be held against it, nor pass for that."""
