"""Docker Engines of the project's own, what this machine can checkpoint, and job images.

The modules here start programs and touch mounts and cgroups of Linux; only programs that run
containers import them.
"""
