"""What perfsim raises.

PerfsimError              anything a person can mend; the message is ready to be shown
├── InputError            a file or option that cannot be used; a line for each problem, `file:line: what; what to do`
├── UnknownNameError      a card, model, system or software that is not in the specs; carries the nearest names
└── UnsupportedError      a combination perfsim does not model; never replaced by the nearest one
"""


class PerfsimError(ValueError):
    """Base of all errors perfsim raises on purpose; the message is ready to be shown to a person."""


class InputError(PerfsimError):
    """A file or an option that cannot be used; one problem a line, each `file:line: what; what to do`."""


class UnknownNameError(PerfsimError):
    """A name that is not in the specs."""


class UnsupportedError(PerfsimError):
    """A combination that perfsim does not model."""
