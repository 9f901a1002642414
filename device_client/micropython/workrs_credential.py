"""What a device that `workrs enrol device` let in shows a node, for workrs.py.

    device = workrs.Device(**workrs_credential.load("pump-7.pem"), outbox="jobs")

The one file has the name, the nodes, the authority and the key and certificate or the password. A
node is only taken whose certificate is of that authority and names the address that was dialled.
Whether its dates are looked at is the port's: a board without a clock cannot.
"""

from binascii import a2b_base64

import tls


def load(path):
    """Return the keywords that Device takes from the file at *path*. Raises OSError, ValueError."""
    found, parts = {}, []
    with open(path) as file:
        for line in file:
            line = line.strip()
            if line[:5] == "-----":
                if line[5:6] == "B":
                    parts.append(b"")
            elif parts:
                parts[-1] += a2b_base64(line)
            else:
                word, _, value = line.partition(": ")
                found[word] = value
    if found.get("workrs-credential") != "1" or len(parts) not in (1, 3):
        raise ValueError(path + " is no credential")
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.verify_mode = tls.CERT_REQUIRED
    context.load_verify_locations(parts[-1])
    if len(parts) == 3:
        context.load_cert_chain(parts[1], parts[0])
    return {
        "name": found["name"],
        "nodes": [node.partition("=")[2] for node in found["nodes"].split()],
        "password": found.get("password"),
        "ssl_context": context,
    }
