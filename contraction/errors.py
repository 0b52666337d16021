"""Every error and warning of the four packages.

A message says what was wrong (with names and numbers), what was expected, and what to do.
All errors derive from `TnetError`, and each also from the built-in class a caller would guess.
"""


class TnetError(Exception):
    """Root of every error raised on purpose by tnet."""


class InputError(TnetError, ValueError):
    """An argument has the right type and a wrong value."""


class NonFiniteError(InputError):
    """The data hold NaN or infinity where every entry must be finite."""


class ShapeError(InputError):
    """The shape of an array does not fit."""


class RankError(InputError):
    """A rank, or a list of ranks, cannot be used."""


class StructureError(InputError):
    """A network graph is malformed, or of the wrong kind for the algorithm."""


class GaugeError(StructureError):
    """The orthogonality centre is not where the algorithm needs it."""


class PlanError(InputError):
    """A contraction cannot be planned as asked."""


class DTypeError(TnetError, TypeError):
    """The element type of an array cannot be used."""


class BackendError(TnetError, TypeError):
    """Arrays of several namespaces or devices are mixed, or of an unknown one."""


class DeviceError(TnetError, RuntimeError):
    """A device or an optional package that was asked for is not there."""


class MemoryBudgetError(TnetError, MemoryError):
    """The work does not fit the memory it was allowed; nothing was allocated."""


class ConvergenceError(TnetError, RuntimeError):
    """An iteration or a LAPACK driver did not converge, and every fall-back failed too."""


class FileFormatError(TnetError, ValueError):
    """A file is damaged, hostile, or not of the format it claims."""


class CheckpointError(TnetError, RuntimeError):
    """A run folder is damaged or was written by a newer version."""


class RunLockedError(TnetError, RuntimeError):
    """Another process is working in this run folder."""


class WorkerError(TnetError, RuntimeError):
    """A worker process ended again and again over the same task."""


class PrecisionWarning(UserWarning):
    """A tolerance lies below what the arithmetic can reach, or digits were lost."""


class CacheFolderWarning(UserWarning):
    """The cache folder cannot be written to, so that nothing is remembered between runs."""
