"""What modeling does, split by noun; commands, tasks, views and the admin call these."""
