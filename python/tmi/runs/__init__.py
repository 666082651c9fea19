"""A run or an audit on disk, from its first stage to its report."""
