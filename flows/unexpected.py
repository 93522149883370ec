"""A sentence for what nobody has foreseen: the last line of defence, which must not break itself."""

import errno

ADVICE = {
    **dict.fromkeys(
        (errno.EROFS, errno.EACCES, errno.EPERM),
        "Let SLIPWAY_HOME name a folder that this user may write, or give that right, and run the same command again.",
    ),
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        "Free some space (`python -m flows clean CONFIG`) and run the same command again.",
    ),
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE), "Raise the limit of open files (`ulimit -n`) and run the same command again."
    ),
}


def describe(error: Exception) -> str:
    """What went wrong: path, reason and next move where the system refused something, else the kind of the mistake."""
    text = _text(error)
    if not isinstance(error, OSError) or not error.strerror:
        return f"unexpected {type(error).__name__}: {text}."
    place = f"{_name(error.filename)}: " if error.filename is not None else ""
    move = ADVICE.get(error.errno or 0, "Put that right and run the same command again.")
    return f"{place}{error.strerror}. {move}"


def _text(error: Exception) -> str:
    try:
        return str(error).rstrip(".") or "no message"
    except Exception:  # noqa: BLE001 - of a library's error, whose own text is broken
        return "its message cannot be shown"


def _name(file: object) -> str:
    return file.decode(errors="replace") if isinstance(file, bytes) else str(file)
