//! Forward: delivers alerts to destinations through bounded outboxes on disk.
