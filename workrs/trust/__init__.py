"""Who may connect, and what each may say: certificates, passwords and permissions.

`kind` names the four kinds of members; `credential` is the one file that a member has;
`acl` says which topics a kind may use; `authority` issues and revokes; `cluster_directory`
keeps what `workrs init` made; `node_folder` is what a node has of it.
"""
