"""The page that a node serves to people who upload jobs rather than publish them.

1. Whoever signs in is, to the cluster, the device of that name: what the page sends and reads goes
   over a connection to the bus, and to the blob stores, that was opened with the visitor's own
   credential. So permissions, quotas and bars hold as for every device, and the node's own rights
   are never used. The names of functions alone are read from the node's memory.
2. Nothing in an answer is built from what a request says but through templates that escape it. No
   name of an uploaded file is ever part of a path.
3. Scripts, styles and pictures come from this package; the policy in every answer forbids others.
4. All of it works without a script in the browser: the one there is saves reloading.
5. What visitors can make grow has a bound: sessions, connections, uploads, jobs that are shown.

Not promised: that other users of this machine cannot read the node's memory, where the password of
whoever is signed in has to stand; and that a name protects anything in a cluster without passwords.
"""
