"""The node daemon: votes on jobs, keeps them on disk, offers them, answers devices."""
