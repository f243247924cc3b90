"""Every error that this service raises on purpose.

::

    ServiceError                 its text is one line that says what to do
    ├── SettingsError            give up: a setting must be changed first
    ├── BrokerSoftwareError      retry: the embedded broker could not be set up
    ├── MonitorPortTaken         retry with a pause: another program has the monitor's port
    ├── AlreadyRunning           give up: another process of this folder holds the place
    ├── KafkaUnavailable         retry with a pause: no broker answers, or it refuses us
    ├── MonitorUnavailable       retry with a pause: nobody answers at the monitor's port
    ├── SupervisordUnavailable   retry with a pause: nobody answers on supervisord's socket
    ├── SpoolError               retry with a pause: nothing was stored or removed
    ├── TokenFileDamaged         wait for another file: what is there holds no tokens
    ├── TwitchIdUnavailable      retry with a pause: Twitch's sign-in gives no answer that counts
    ├── TwitchIdRefused          give up: Twitch's sign-in says no, and will again
    └── HandoffError             drop the connection: the peer does not speak the protocol

Whoever catches a ServiceError at the edge of a process prints its text and no traceback, and ends with its
exit code.
"""

EXIT_FAILED = 1
EXIT_BAD_SETTING = 2


class ServiceError(Exception):
    """An error that was foreseen; ``str()`` of it is one line for the user."""

    exit_code = EXIT_FAILED
    """Of the process that it ends."""


class SettingsError(ServiceError):
    """A setting or a file of settings is unusable. Retrying does not help."""

    exit_code = EXIT_BAD_SETTING


class BrokerSoftwareError(ServiceError):
    """Java or the jars of the embedded broker are missing and could not be fetched. Retry later."""


class MonitorPortTaken(ServiceError):
    """The monitor cannot listen at its port. Retry after a pause, or change the setting."""


class AlreadyRunning(ServiceError):
    """Another process already does this job in this folder. Retrying does not help."""


class KafkaUnavailable(ServiceError):
    """No broker answers, or none lets us in. Retry after a pause."""


class MonitorUnavailable(ServiceError):
    """The monitor does not run, or does not answer. Retry after a pause."""


class SupervisordUnavailable(ServiceError):
    """supervisord does not run, or does not answer. Retry after a pause."""


class SpoolError(ServiceError):
    """The spool cannot be read or written now. Retry after a pause; nothing was stored or removed."""


class TokenFileDamaged(ServiceError):
    """The token file is there and holds no tokens that can be read. Wait until it is another one."""


class TwitchIdUnavailable(ServiceError):
    """Twitch's sign-in does not answer, is in trouble, or says nothing sensible. Retry after a pause."""


class TwitchIdRefused(ServiceError):
    """Twitch's sign-in says no; the same request will be refused again.

    ``status`` is the HTTP status, ``message`` Twitch's reason.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"Twitch refuses ({status}): {message}")
        self.status = status
        self.message = message


class HandoffError(ServiceError):
    """The peer sent something that is not the hand-off protocol. Drop the connection."""
