"""Templates of the Mosquitto configuration; `broker.mosquitto` fills them in.

They use `string.Template` placeholders. Each line says why it is there: a setting whose
reason nobody knows is a setting nobody dares to change.
"""
