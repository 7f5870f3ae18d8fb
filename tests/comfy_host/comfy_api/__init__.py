"""The namespace from which a "V3" node pack imports its base classes (see ``latest``)."""
