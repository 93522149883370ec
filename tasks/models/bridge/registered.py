"""The one place that makes tf_keras know the layers and functions of the bridge, before a twin is opened."""


def load() -> None:
    """Register them; a twin that has none of them opens without."""
