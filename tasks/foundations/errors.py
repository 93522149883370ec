"""Every error a user can meet, in one tree, because the command line turns each kind into one exit code.

    SlipwayError              exit 1: something failed while working
    ├── InputError            exit 2: the config, the data or the model given by the user is wrong
    ├── StepFailed            a step failed for a readable reason; costs its candidate only
    │   ├── NotApplicable     the technique cannot be applied to this model
    │   ├── ProofFailed       the technique ran, but the final file does not show what was asked
    │   ├── WorkerKilled      the worker process died (signal, out of memory)
    │   └── TimedOut          the step exceeded its time limit
    ├── DigestMismatch        bytes on disk are not the bytes that were published
    ├── GoldenMismatch        a loaded model does not give the answers stored with it
    ├── Conflict              somebody else moved the same model first
    ├── NotServing            a server does not answer with the version that it was told to serve
    └── Refused               exit 3: a gate or a rule of promotion says no
        └── Inconclusive      exit 4: the measurements cannot decide

A failed gate inside `evaluation` is a `Verdict` value, not an exception: only the flow decides what it means.
"""


class SlipwayError(Exception):
    """Base of all errors whose message is written for the user.

    The message says what happened, with which value, what was expected and what to do next.
    """

    exit_code = 1


class InputError(SlipwayError):
    """The user's config, data, model or command line is wrong; nothing was started or changed."""

    exit_code = 2


class StepFailed(SlipwayError):
    """One step failed for the reason in its message; other candidates go on."""


class NotApplicable(StepFailed):
    """A technique cannot be applied to this model; the message names the layer or operator."""


class ProofFailed(StepFailed):
    """The final file does not show what the technique promised."""


class WorkerKilled(StepFailed):
    """The worker process ended without an answer (killed by a signal, out of memory)."""


class TimedOut(StepFailed):
    """A step ran longer than its limit and was stopped."""


class DigestMismatch(SlipwayError):
    """The content of a stored artifact is not what its digest says."""


class GoldenMismatch(SlipwayError):
    """A loaded model does not give its golden answers within their tolerances; it must not serve."""


class Conflict(SlipwayError):
    """Another process moved the same model first."""


class NotServing(SlipwayError):
    """A server that has to follow a move says that it cannot, or does not answer in time."""


class Refused(SlipwayError):
    """A gate or a rule of promotion refuses the move; the champion is untouched."""

    exit_code = 3


class Inconclusive(Refused):
    """The measurements are not good enough to decide either way."""

    exit_code = 4
